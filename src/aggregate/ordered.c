/*
 * ordered.c
 *		Accumulator kind "ordered": first(x, ts) and last(x, ts), and with them
 *		min(ts) and max(ts).
 *
 * A sequence of (ts, x, count), 24 bytes each, sorted by ts and then by x's
 * btree order, NULL before all others.  So the last entry is what last()
 * wants: the greatest ts, among its rows the greatest x, a NULL only if there
 * is nothing else.  Values that are equal but look different have entries of
 * their own, as in a multiset.  first() takes the first entry, or the one behind it where
 * that is a NULL.  Counts are signed as in a multiset.
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared.
 */
#include "postgres.h"

#include "aggregate/value.h"
#include "utils/memutils.h"

typedef struct Entry
{
	int64		order;
	FeValue		value;
	int64		count:63;
	uint64		isnull:1;
} Entry;

typedef struct EntryProbe
{
	FeValueProbe value;
	int64		order;
	bool		isnull;
} EntryProbe;

static void
ordered_prepare(FeAccSpec *spec)
{
	fe_value_prepare(spec, true);
	spec->size = sizeof(FeSeq);
}

static int
compare_entry(const void *element, const void *key, void *arg)
{
	const Entry *e = element;
	const EntryProbe *probe = key;

	if (e->order != probe->order)
		return e->order > probe->order ? 1 : -1;
	if (e->isnull || probe->isnull)
		return (int) probe->isnull - (int) e->isnull;
	return fe_value_compare_probe(&e->value, &probe->value);
}

static void
free_entry_value(FeHeap *heap, const FeAccSpec *spec, Entry *e)
{
	if (!e->isnull)
		fe_value_free(heap, spec, &e->value);
}

/* Changes an entry's count; moved: an entry whose value becomes ours. */
static void
change_count(FeHeap *heap, FeSeq *seq, const EntryProbe *probe, Entry *moved, int64 by)
{
	const FeAccSpec *spec = probe->value.spec;
	Entry	   *e;
	bool		found;

	e = fe_seq_upsert(heap, seq, sizeof(Entry), probe, compare_entry, NULL, &found);
	if (!found)
	{
		e->order = probe->order;
		e->isnull = probe->isnull;
		if (moved != NULL)
			e->value = moved->value;
		else if (!probe->isnull)
			fe_value_store(heap, &probe->value, &e->value);
	}
	e->count += by;
	if (e->count == 0)
	{
		Entry		old = *e;
		uint32		pos;

		/* the search compares with the value: free it afterwards */
		fe_seq_search(seq, sizeof(Entry), probe, compare_entry, NULL, &pos);
		fe_seq_delete(heap, seq, sizeof(Entry), pos);
		free_entry_value(heap, spec, &old);
	}
	/* so does the probe */
	if (found && moved != NULL)
		free_entry_value(heap, spec, moved);
}

static void
ordered_apply(FeHeap *heap, const FeAccSpec *spec, void *acc, const FeAccInput *in, int sign)
{
	EntryProbe	probe;

	if (in->order_isnull)
		return;
	probe.order = in->order;
	probe.isnull = in->isnull;
	probe.value.spec = spec;
	if (!in->isnull)
		fe_value_probe(&probe.value, spec, in->value);
	change_count(heap, acc, &probe, NULL, sign);
	if (!in->isnull && !spec->argbyval && probe.value.value != in->value)
		pfree(DatumGetPointer(probe.value.value));
}

static void
ordered_combine(FeHeap *heap, const FeAccSpec *spec, void *dstp, void *srcp)
{
	FeSeq	   *dst = dstp;
	FeSeq	   *src = srcp;
	FeSeqIter	it;
	Entry	   *e;

	if (src->count > dst->count)
	{
		FeSeq		swap = *dst;

		*dst = *src;
		*src = swap;
	}
	fe_seq_iter(&it, src, sizeof(Entry), 0);
	while ((e = fe_seq_next(&it)) != NULL)
	{
		EntryProbe	probe;

		probe.order = e->order;
		probe.isnull = e->isnull;
		probe.value.spec = spec;
		if (!e->isnull)
			fe_value_probe_kept(&probe.value, spec, &e->value);
		change_count(heap, dst, &probe, e, e->count);
	}
	fe_seq_clear(heap, src, sizeof(Entry));
}

static void
ordered_clear(FeHeap *heap, const FeAccSpec *spec, void *acc)
{
	FeSeq	   *seq = acc;

	if (!spec->argbyval)
	{
		FeSeqIter	it;
		Entry	   *e;

		fe_seq_iter(&it, seq, sizeof(Entry), 0);
		while ((e = fe_seq_next(&it)) != NULL)
			free_entry_value(heap, spec, e);
	}
	fe_seq_clear(heap, seq, sizeof(Entry));
}

static Size
ordered_room(const FeAccSpec *spec, const FeAccInput *in)
{
	if (in->order_isnull)
		return 0;
	/* a sequence grows to at most twice its elements */
	return (in->isnull ? 0 : fe_value_room(spec, in->value)) + 2 * sizeof(Entry);
}

/* ---- reading -------------------------------------------------------------- */

struct FeAccRead
{
	const FeAccSpec *spec;
	bool		last;			/* last, max */
	bool		order_only;		/* min, max: of the event time */
	bool		any;
	int64		order;			/* the best one, where there is any */
	FeBest		best;			/* values of the rows at order */
};

static FeAccRead *
ordered_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->spec = spec;
	r->last = (final->id == FE_FINAL_LAST || final->id == FE_FINAL_MAX);
	r->order_only = (final->id == FE_FINAL_MIN || final->id == FE_FINAL_MAX);
	fe_best_init(&r->best, spec, r->last ? 1 : -1);
	return r;
}

static void
ordered_read_reset(FeAccRead *r)
{
	r->any = false;
	fe_best_reset(&r->best);
}

static Entry *
find_last(const FeSeq *seq)
{
	for (uint32 i = seq->count; i > 0; i--)
	{
		Entry	   *e = fe_seq_get(seq, sizeof(Entry), i - 1);

		if (e->count > 0)
			return e;
	}
	return NULL;
}

static Entry *
find_first(const FeSeq *seq)
{
	Entry	   *null = NULL;

	for (uint32 i = 0; i < seq->count; i++)
	{
		Entry	   *e = fe_seq_get(seq, sizeof(Entry), i);

		if (null != NULL && e->order != null->order)
			break;
		if (e->count > 0)
		{
			if (!e->isnull)
				return e;
			null = e;
		}
	}
	return null;
}

static void
ordered_read_add(FeAccRead *r, const void *acc)
{
	const FeSeq *seq = acc;
	Entry	   *e = r->last ? find_last(seq) : find_first(seq);

	if (e == NULL)
		return;
	if (r->any)
	{
		if (r->last ? e->order < r->order : e->order > r->order)
			return;
		if (e->order != r->order)
			fe_best_reset(&r->best);
	}
	r->any = true;
	r->order = e->order;
	if (r->order_only)
		return;
	fe_best_offer(&r->best, e->isnull ? (Datum) 0 : fe_value_datum(r->spec, &e->value), e->isnull);
}

static Datum
ordered_read_final(FeAccRead *r, bool *isnull)
{
	if (!r->order_only)
		return fe_best_result(&r->best, isnull);
	*isnull = !r->any;
	return r->any ? Int64GetDatum(r->order) : (Datum) 0;
}

const FeAccKind fe_acc_ordered = {
	.name = "ordered",
	.has_seq = true,
	.prepare = ordered_prepare,
	.apply = ordered_apply,
	.combine = ordered_combine,
	.clear = ordered_clear,
	.room = ordered_room,
	.read_create = ordered_read_create,
	.read_reset = ordered_read_reset,
	.read_add = ordered_read_add,
	.read_final = ordered_read_final
};
