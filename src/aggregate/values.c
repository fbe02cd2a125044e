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
	FeSqlRun   *run;			/* made when it is first needed */

	/* of all accumulators so far */
	KeptRow    *rows;
	Size		nrows;
	Size		max_rows;
	char	   *bytes;
	Size		nbytes;
	Size		max_bytes;

	/* the run under way */
	Size		next;
	int64		again;			/* how often rows[next] is still to be given */
};

static FeAccRead *
values_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->spec = spec;
	r->call = final->call;
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

static bool
next_row(void *arg, TupleTableSlot *slot)
{
	FeAccRead  *r = arg;
	const KeptRow *row = &r->rows[r->next];

	if (r->next >= r->nrows)
		return false;
	fe_arguments_unpack(r->call->columns, r->bytes + row->at, row->len,
						slot->tts_values, slot->tts_isnull);
	if (r->again == 0)
		r->again = r->call->distinct ? 1 : row->count;
	if (--r->again == 0)
		r->next++;
	return true;
}

static Datum
values_read_final(FeAccRead *r, bool *isnull)
{
	unite_rows(r);
	r->next = 0;
	r->again = 0;
	if (r->run == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(r->cxt);

		r->run = fe_sql_run_create(r->call);
		MemoryContextSwitchTo(old);
	}
	return fe_sql_run(r->run, next_row, r, isnull);
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
	.image_write = fe_multiset_image_write,
	.image_read = fe_multiset_image_read
};
