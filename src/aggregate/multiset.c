/*
 * multiset.c
 *		Accumulator kind "multiset": min, max and count(DISTINCT), which cannot
 *		be computed from a sum when rows may leave.
 *
 * A sequence of (value, count) in the type's btree order, 16 bytes each.
 * Counts are signed: while a table is being read, a row's delete can come
 * before the row.  Entries with a count of 0 do not exist, and those below are
 * not there for readers.
 *
 * Where min or max read it, values that are equal but look different (1.0 and
 * 1.00) have entries of their own.  Where only count(DISTINCT) does, they share
 * one, and text is sorted by a hash of its bytes, which for a deterministic
 * collation has the same equality and costs a fraction.
 *
 * What writes, and the byte form, also serve the kind "values" (values.c).
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared: min and max take one value from each pane, count(DISTINCT)
 * all, to unite them afterwards.
 */
#include "postgres.h"

#include "aggregate/value.h"
#include "aggregate/value_image.h"
#include "miscadmin.h"
#include "runtime/compat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

typedef struct MultisetAcc
{
	FeSeq		seq;
	/* only if COUNTS_ABSENT: count(DISTINCT) of a single accumulator */
	uint32		absent;			/* entries with a count below 0 */
	uint32		unused;
} MultisetAcc;

int64		fe_kept_rows = 0;
bool		fe_fold_is_due = false;

static inline void
count_kept(const FeAccSpec *spec, int64 by)
{
	if (spec->kind == &fe_acc_values)
		fe_kept_rows += by;
}

#define COUNTS_ABSENT(spec) \
	(((spec)->flags & (FE_ACC_DISTINCT | FE_ACC_SINGLE)) == (FE_ACC_DISTINCT | FE_ACC_SINGLE) && \
	 !(spec)->images)

static void
multiset_prepare(FeAccSpec *spec)
{
	fe_value_prepare(spec, (spec->flags & FE_ACC_COLLATED) != 0);
	spec->size = COUNTS_ABSENT(spec) ? sizeof(MultisetAcc) : offsetof(MultisetAcc, absent);
}

static int
compare_member(const void *element, const void *key, void *arg)
{
	return fe_value_compare_probe(&((const FeMember *) element)->value, key);
}

/*
 * Changes the count of a value.  moved: the value is in the heap already and
 * becomes ours.
 */
static void
change_count(FeHeap *heap, MultisetAcc *acc, const FeValueProbe *probe, FeValue *moved, int64 by)
{
	const FeAccSpec *spec = probe->spec;
	FeMember   *m;
	bool		found;
	int64		before;

	m = fe_seq_upsert(heap, &acc->seq, sizeof(FeMember), probe, compare_member, NULL, &found);
	before = m->count;
	m->count += by;
	if (!found)
	{
		count_kept(spec, 1);
		if (spec->folds != NULL && acc->seq.count >= FE_FOLD_ROWS)
			fe_fold_is_due = true;
	}
	if (!found && moved != NULL)
		m->value = *moved;
	else if (!found)
		fe_value_store(heap, probe, &m->value);
	if (COUNTS_ABSENT(spec))
		acc->absent += (m->count < 0) - (before < 0);
	if (m->count == 0)
	{
		FeValue		value = m->value;
		uint32		pos;

		/* the search compares with the value: free it afterwards */
		fe_seq_search(&acc->seq, sizeof(FeMember), probe, compare_member, NULL, &pos);
		fe_seq_delete(heap, &acc->seq, sizeof(FeMember), pos);
		fe_value_free(heap, spec, &value);
		count_kept(spec, -1);
	}
	/* so does the probe */
	if (found && moved != NULL)
		fe_value_free(heap, spec, moved);
}

void
fe_multiset_apply(FeHeap *heap, const FeAccSpec *spec, void *acc, const FeAccInput *in, int sign)
{
	FeValueProbe probe;

	if (in->isnull)
		return;
	fe_value_probe(&probe, spec, in->value);
	change_count(heap, acc, &probe, NULL, sign);
	if (!spec->argbyval && probe.value != in->value)
		pfree(DatumGetPointer(probe.value));
}

void
fe_multiset_combine(FeHeap *heap, const FeAccSpec *spec, void *dstp, void *srcp)
{
	MultisetAcc *dst = dstp;
	MultisetAcc *src = srcp;
	FeSeqIter	it;
	FeMember   *m;

	if (src->seq.count > dst->seq.count)
	{
		char		swap[sizeof(MultisetAcc)];

		memcpy(swap, dst, spec->size);
		memcpy(dst, src, spec->size);
		memcpy(src, swap, spec->size);
	}
	fe_seq_iter(&it, &src->seq, sizeof(FeMember), 0);
	while ((m = fe_seq_next(&it)) != NULL)
	{
		FeValueProbe probe;

		fe_value_probe_kept(&probe, spec, &m->value);
		change_count(heap, dst, &probe, &m->value, m->count);
	}
	count_kept(spec, -(int64) src->seq.count);
	fe_seq_clear(heap, &src->seq, sizeof(FeMember));
	memset(src, 0, spec->size);
}

void
fe_multiset_clear(FeHeap *heap, const FeAccSpec *spec, void *accp)
{
	MultisetAcc *acc = accp;

	if (!spec->argbyval)
	{
		FeSeqIter	it;
		FeMember   *m;

		fe_seq_iter(&it, &acc->seq, sizeof(FeMember), 0);
		while ((m = fe_seq_next(&it)) != NULL)
			fe_value_free(heap, spec, &m->value);
	}
	count_kept(spec, -(int64) acc->seq.count);
	fe_seq_clear(heap, &acc->seq, sizeof(FeMember));
	memset(acc, 0, spec->size);
}

Size
fe_multiset_room(const FeAccSpec *spec, const FeAccInput *in)
{
	if (in->isnull)
		return 0;
	/* a sequence grows to at most twice its elements */
	return fe_value_room(spec, in->value) + 2 * sizeof(FeMember);
}

/* ---- reading -------------------------------------------------------------- */

struct FeAccRead
{
	const FeAccSpec *spec;
	int			final;
	FeBest		best;			/* min, max */

	/* count(DISTINCT) */
	bool		single;
	int64		present;		/* of the only accumulator so far */
	int			runs;			/* accumulators with values */
	Size		n;
	Size		size;
	struct Collected *values;
	MemoryContext copies;		/* values by reference */
};

typedef struct Collected
{
	Datum		value;
	int64		count;
} Collected;

static FeAccRead *
multiset_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->spec = spec;
	r->final = final->id;
	if (final->id == FE_FINAL_COUNT_DISTINCT)
	{
		Assert(spec->flags & FE_ACC_DISTINCT);
		r->single = COUNTS_ABSENT(spec);
		r->size = 64;
		r->values = palloc(r->size * sizeof(Collected));
		if (!r->single && !spec->argbyval)
			r->copies = AllocSetContextCreate(CurrentMemoryContext, "distinct values",
											  ALLOCSET_SMALL_SIZES);
	}
	else
	{
		Assert(spec->flags & FE_ACC_COLLATED);
		fe_best_init(&r->best, spec, final->id == FE_FINAL_MAX ? 1 : -1);
	}
	return r;
}

static void
multiset_read_reset(FeAccRead *r)
{
	if (r->final != FE_FINAL_COUNT_DISTINCT)
		fe_best_reset(&r->best);
	r->present = 0;
	r->runs = 0;
	r->n = 0;
	if (r->copies != NULL)
		MemoryContextReset(r->copies);
}

static Datum
copy_value(FeAccRead *r, const FeValue *value)
{
	Pointer		from;
	Pointer		to;
	Size		size;

	if (r->spec->argbyval)
		return value->datum;
	from = DatumGetPointer(fe_value_datum(r->spec, value));
	size = r->spec->arglen == -1 ? VARSIZE_ANY(from) : r->spec->arglen;
	to = MemoryContextAlloc(r->copies, size);
	memcpy(to, from, size);
	return PointerGetDatum(to);
}

static void
collect(FeAccRead *r, const FeSeq *seq)
{
	FeSeqIter	it;
	FeMember   *m;

	if (r->n + seq->count > r->size)
	{
		r->size = Max(r->size * 2, r->n + seq->count);
		r->values = repalloc_huge(r->values, r->size * sizeof(Collected));
	}
	r->runs++;
	fe_seq_iter(&it, seq, sizeof(FeMember), 0);
	while ((m = fe_seq_next(&it)) != NULL)
	{
		r->values[r->n].value = copy_value(r, &m->value);
		r->values[r->n].count = m->count;
		r->n++;
	}
}

/* The least (greatest) value that is there. */
static void
offer_extreme(FeAccRead *r, const FeSeq *seq)
{
	bool		max = (r->final == FE_FINAL_MAX);

	for (uint32 i = 0; i < seq->count; i++)
	{
		FeMember   *m = fe_seq_get(seq, sizeof(FeMember), max ? seq->count - 1 - i : i);

		if (m->count > 0)
		{
			fe_best_offer(&r->best, fe_value_datum(r->spec, &m->value), false);
			return;
		}
	}
}

static void
multiset_read_add(FeAccRead *r, const void *accp)
{
	const MultisetAcc *acc = accp;

	if (acc->seq.count == 0)
		return;
	if (r->final != FE_FINAL_COUNT_DISTINCT)
		offer_extreme(r, &acc->seq);
	else if (r->single)
		r->present = (int64) acc->seq.count - acc->absent;
	else
		collect(r, &acc->seq);
}

static int
compare_collected(const void *a, const void *b, void *arg)
{
	return fe_value_compare(arg, ((const Collected *) a)->value, ((const Collected *) b)->value);
}

/* Distinct values whose counts, over all accumulators, are above 0. */
static int64
count_distinct(FeAccRead *r)
{
	int64		result = 0;
	bool		repeats = (r->runs > 1 || r->spec->images);
	Size		i = 0;

	if (r->runs > 1)
		qsort_arg(r->values, r->n, sizeof(Collected), compare_collected, (void *) r->spec);
	while (i < r->n)
	{
		Collected  *first = &r->values[i];
		int64		count = 0;

		do
		{
			CHECK_FOR_INTERRUPTS();
			count += r->values[i++].count;
		} while (i < r->n && repeats &&
				 compare_collected(first, &r->values[i], (void *) r->spec) == 0);
		result += (count > 0);
	}
	return result;
}

static Datum
multiset_read_final(FeAccRead *r, bool *isnull)
{
	if (r->final != FE_FINAL_COUNT_DISTINCT)
		return fe_best_result(&r->best, isnull);
	*isnull = false;
	return Int64GetDatum(r->single ? r->present : count_distinct(r));
}

/* ---- byte form ------------------------------------------------------------ */

/* The number of members, then each one's value and count. */
void
fe_multiset_image_write(const FeAccSpec *spec, const void *accp, StringInfo out)
{
	const MultisetAcc *acc = accp;
	FeValueChain chain;
	FeSeqIter	it;
	const FeMember *m;

	fe_image_put(out, acc->seq.count);
	fe_value_chain_init(&chain, spec);
	fe_seq_iter(&it, &acc->seq, sizeof(FeMember), 0);
	while ((m = fe_seq_next(&it)) != NULL)
	{
		fe_value_write(&chain, fe_value_datum(spec, &m->value), out);
		fe_image_put_signed(out, m->count);
	}
}

void
fe_multiset_image_read(FeHeap *heap, const FeAccSpec *spec, void *accp, FeImageIn *in)
{
	MultisetAcc *acc = accp;
	uint32		n = fe_image_get_count(in, 2);
	FeValueChain chain;
	FeSeqIter	it;

	if (heap == NULL)
		in->room += fe_seq_load_room(n, sizeof(FeMember));
	else
	{
		fe_seq_load(heap, &acc->seq, sizeof(FeMember), n);
		count_kept(spec, n);
		fe_seq_iter(&it, &acc->seq, sizeof(FeMember), 0);
	}
	fe_value_chain_init(&chain, spec);
	for (uint32 i = 0; i < n && fe_value_read(&chain, in); i++)
	{
		int64		count = fe_image_get_signed(in);

		if (heap != NULL)
		{
			FeMember   *m = fe_seq_next(&it);

			fe_value_store(heap, &chain.probe, &m->value);
			m->count = count;
			if (COUNTS_ABSENT(spec) && count < 0)
				acc->absent++;
			continue;
		}
		if (count == 0 || (i > 0 && !fe_value_ascends(&chain)))
			fe_image_fail(in, "values are not in their order");
		fe_image_add_room(in, fe_value_room(spec, chain.probe.value));
	}
}

const FeAccKind fe_acc_multiset = {
	.name = "multiset",
	.has_seq = true,
	.prepare = multiset_prepare,
	.apply = fe_multiset_apply,
	.combine = fe_multiset_combine,
	.clear = fe_multiset_clear,
	.room = fe_multiset_room,
	.read_create = multiset_read_create,
	.read_reset = multiset_read_reset,
	.read_add = multiset_read_add,
	.read_final = multiset_read_final,
	.image_write = fe_multiset_image_write,
	.image_read = fe_multiset_image_read
};
