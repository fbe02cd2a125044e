/*
 * values.c
 *		Accumulator kind "values": for aggregates that only PostgreSQL can compute,
 *		from the arguments of all rows.
 *
 * A multiset of rows of arguments (sql_call.h), as bytes, in the order of a hash:
 * the same sequences as a multiset's, and the same byte form.  To read is to
 * unite the rows of all panes in the window and to run the aggregate over them,
 * in the order of their bytes: what the aggregate is given does not depend on how
 * the rows came, or in which panes they lie.
 *
 * Where rows never leave but with their pane (append_only) and the aggregate can
 * combine states, many rows of an accumulator are folded into a state (PostgreSQL's
 * partial aggregation), which is kept in their place, as bytes like theirs.  So two
 * panes are still combined by uniting what they keep, without any code of users.
 *
 * Writers: the ingest worker under the entity's lock; readers copy under the same
 * lock, shared, and run the aggregate without it, as the view's owner.
 */
#include "postgres.h"

#include "aggregate/sql_call.h"
#include "aggregate/value.h"
#include "miscadmin.h"
#include "runtime/compat.h"
#include "utils/memutils.h"

static void
values_prepare(FeAccSpec *spec)
{
	/* any order of the bytes will do */
	fe_value_prepare(spec, false);
	spec->size = sizeof(FeSeq);
}

/* ---- reading ------------------------------------------------------------------------ */

typedef struct KeptRow
{
	Size		at;				/* in r->bytes */
	uint32		len;
	int64		count;
} KeptRow;

struct FeAccRead
{
	const FeAccSpec *spec;
	const FeSqlCall *call;
	MemoryContext cxt;
	FeSqlRun   *runs[FE_SQL_STEPS]; /* made when they are first needed */

	/* of all accumulators so far */
	KeptRow    *rows;
	Size		nrows;
	Size		max_rows;
	char	   *bytes;
	Size		nbytes;
	Size		max_bytes;

	/* the run under way: of entries from next to end, and of one more state */
	Size		next;
	Size		end;
	int64		again;			/* how often rows[next] is still to be given */
	bool		one_more;
	Datum		state;
	bool		state_isnull;
};

static FeAccRead *
values_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->spec = spec;
	r->call = spec->folds ? spec->folds : final->call;
	r->cxt = CurrentMemoryContext;
	r->max_rows = 16;
	r->rows = palloc(r->max_rows * sizeof(KeptRow));
	r->max_bytes = 1024;
	r->bytes = palloc(r->max_bytes);
	return r;
}

static void
values_read_reset(FeAccRead *r)
{
	r->nrows = 0;
	r->nbytes = 0;
}

static void
add_row(FeAccRead *r, Pointer image, int64 count)
{
	Size		len = VARSIZE_ANY_EXHDR(image);
	KeptRow    *row = &r->rows[r->nrows++];

	if (r->nbytes + len > r->max_bytes)
	{
		r->max_bytes = Max(r->max_bytes * 2, r->nbytes + len);
		r->bytes = repalloc_huge(r->bytes, r->max_bytes);
	}
	row->at = r->nbytes;
	row->len = len;
	row->count = count;
	memcpy(r->bytes + r->nbytes, VARDATA_ANY(image), len);
	r->nbytes += len;
}

static void
values_read_add(FeAccRead *r, const void *acc)
{
	const FeSeq *seq = acc;
	FeSeqIter	it;
	const FeMember *m;

	if (r->nrows + seq->count > r->max_rows)
	{
		r->max_rows = Max(r->max_rows * 2, r->nrows + seq->count);
		r->rows = repalloc_huge(r->rows, r->max_rows * sizeof(KeptRow));
	}
	fe_seq_iter(&it, seq, sizeof(FeMember), 0);
	while ((m = fe_seq_next(&it)) != NULL)
		add_row(r, DatumGetPointer(fe_value_datum(r->spec, &m->value)), m->count);
}

static int
compare_rows(const void *a, const void *b, void *arg)
{
	const KeptRow *x = a;
	const KeptRow *y = b;
	const char *bytes = arg;
	int			result = memcmp(bytes + x->at, bytes + y->at, Min(x->len, y->len));

	return result != 0 ? result : FE_COMPARE(x->len, y->len);
}

/* One entry for each row, in order; those that are not there are left out. */
static void
unite_rows(FeAccRead *r)
{
	Size		n = 0;
	Size		i = 0;

	qsort_arg(r->rows, r->nrows, sizeof(KeptRow), compare_rows, r->bytes);
	while (i < r->nrows)
	{
		KeptRow		row = r->rows[i++];

		CHECK_FOR_INTERRUPTS();
		while (i < r->nrows && compare_rows(&row, &r->rows[i], r->bytes) == 0)
			row.count += r->rows[i++].count;
		if (row.count > 0)
			r->rows[n++] = row;
	}
	r->nrows = n;
}

/* ---- running the aggregate --------------------------------------------------------- */

/* The entry at next; where there are states, a byte comes before its columns. */
static void
unpack_entry(FeAccRead *r, TupleDesc columns, TupleTableSlot *slot)
{
	const KeptRow *row = &r->rows[r->next];
	Size		head = r->spec->folds ? 1 : 0;

	if (row->len < head)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("kept arguments of an aggregate are malformed")));
	fe_arguments_unpack(columns, r->bytes + row->at + head, row->len - head,
						slot->tts_values, slot->tts_isnull);
	if (r->again == 0)
		r->again = r->call->distinct ? 1 : row->count;
	if (--r->again == 0)
		r->next++;
}

static bool
next_row(void *arg, TupleTableSlot *slot)
{
	FeAccRead  *r = arg;

	if (r->next >= r->end)
		return false;
	unpack_entry(r, r->call->columns, slot);
	return true;
}

static bool
next_state(void *arg, TupleTableSlot *slot)
{
	FeAccRead  *r = arg;

	if (r->next < r->end)
	{
		unpack_entry(r, r->call->state, slot);
		return true;
	}
	if (!r->one_more)
		return false;
	r->one_more = false;
	slot->tts_values[0] = r->state;
	slot->tts_isnull[0] = r->state_isnull;
	return true;
}

/* Over the entries from first to end. */
static Datum
run_step(FeAccRead *r, FeSqlStep step, Size first, Size end, bool *isnull)
{
	bool		states = step == FE_SQL_MERGE || step == FE_SQL_FINISH;

	r->next = first;
	r->end = end;
	r->again = 0;
	if (r->runs[step] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(r->cxt);

		r->runs[step] = fe_sql_run_create(r->call, step);
		MemoryContextSwitchTo(old);
	}
	return fe_sql_run(r->runs[step], states ? next_state : next_row, r, isnull);
}

/* How many of the united entries are rows: they come before the states. */
static Size
count_rows(const FeAccRead *r)
{
	Size		n = r->nrows;

	if (r->spec->folds == NULL)
		return n;
	while (n > 0 && r->rows[n - 1].len > 0 &&
		   r->bytes[r->rows[n - 1].at] == FE_KEPT_STATE)
		n--;
	return n;
}

/* Makes a state of the first nrows entries, to be taken together with the others. */
static void
take_rows(FeAccRead *r, Size nrows)
{
	r->one_more = false;
	if (nrows == 0)
		return;
	r->state = run_step(r, FE_SQL_PARTIAL, 0, nrows, &r->state_isnull);
	r->one_more = true;
}

static Datum
values_read_final(FeAccRead *r, bool *isnull)
{
	Size		nrows;

	unite_rows(r);
	nrows = count_rows(r);
	if (nrows == r->nrows)
		return run_step(r, FE_SQL_WHOLE, 0, nrows, isnull);
	take_rows(r, nrows);
	return run_step(r, FE_SQL_FINISH, nrows, r->nrows, isnull);
}

/* ---- folding --------------------------------------------------------------------------- */

static struct varlena *
values_fold(FeAccRead *r)
{
	Size		nrows;
	Datum		state;
	bool		isnull;

	unite_rows(r);
	if (r->nrows < 2)
		return NULL;
	nrows = count_rows(r);
	take_rows(r, nrows);
	if (nrows == r->nrows)
		return fe_arguments_pack_state(r->call->state, r->state, r->state_isnull);
	state = run_step(r, FE_SQL_MERGE, nrows, r->nrows, &isnull);
	return fe_arguments_pack_state(r->call->state, state, isnull);
}

static void
values_replace(FeHeap *heap, const FeAccSpec *spec, void *acc, struct varlena *folded)
{
	FeAccInput	in = {.value = PointerGetDatum(folded), .order_isnull = true};

	fe_multiset_clear(heap, spec, acc);
	fe_multiset_apply(heap, spec, acc, &in, 1);
}

const FeAccKind fe_acc_values = {
	.name = "values",
	.has_seq = true,
	.prepare = values_prepare,
	.apply = fe_multiset_apply,
	.combine = fe_multiset_combine,
	.clear = fe_multiset_clear,
	.room = fe_multiset_room,
	.read_create = values_read_create,
	.read_reset = values_read_reset,
	.read_add = values_read_add,
	.read_final = values_read_final,
	.fold = values_fold,
	.replace = values_replace,
	.image_write = fe_multiset_image_write,
	.image_read = fe_multiset_image_read
};
