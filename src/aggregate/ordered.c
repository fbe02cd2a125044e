/*
 * ordered.c
 *		Accumulator kind "ordered": first(x, ts), last(x, ts), and with them min(ts)
 *		and max(ts); first_n, last_n and last_distinct_n.
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
#include "aggregate/value_image.h"
#include "aggregate/value_list.h"
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
		fe_seq_swap(dst, src);
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
	FeValueList *list;			/* first_n and its kin: instead of all these */
	FeValuesMet met;			/* last_distinct_n */
};

static FeAccRead *
ordered_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->spec = spec;
	r->last = (final->id == FE_FINAL_LAST || final->id == FE_FINAL_MAX);
	r->order_only = (final->id == FE_FINAL_MIN || final->id == FE_FINAL_MAX);
	fe_best_init(&r->best, spec, r->last ? 1 : -1);
	if (fe_final_is_list(final->id))
	{
		r->list = palloc(sizeof(FeValueList));
		fe_value_list_init(r->list, spec, final->id, final->limit);
		if (final->id == FE_FINAL_LAST_DISTINCT_N)
			fe_values_met_init(&r->met, spec, CurrentMemoryContext);
	}
	return r;
}

static void
ordered_read_reset(FeAccRead *r)
{
	r->any = false;
	fe_best_reset(&r->best);
	if (r->list != NULL)
		fe_value_list_reset(r->list);
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
list_entry(FeAccRead *r, const Entry *e)
{
	fe_value_list_add(r->list, e->order,
					  e->isnull ? (Datum) 0 : fe_value_datum(r->spec, &e->value), e->isnull,
					  Min(e->count, r->list->limit));
}

/* At one ts the NULL comes before the others here, and after them in the result. */
static void
list_first(FeAccRead *r, const FeSeq *seq)
{
	int64		rows = 0;		/* of all times met */
	int64		values = 0;		/* of those that are not NULL at this time */
	int64		order = 0;
	FeSeqIter	it;
	const Entry *e;

	fe_seq_iter(&it, seq, sizeof(Entry), 0);
	while ((e = fe_seq_next(&it)) != NULL)
	{
		if (e->count <= 0)
			continue;
		if (e->order != order || rows == 0)
		{
			if (rows >= r->list->limit)
				break;
			order = e->order;
			values = 0;
		}
		if (values >= r->list->limit)
			break;
		list_entry(r, e);
		rows += e->count;
		values += e->isnull ? 0 : e->count;
	}
}

static void
list_last(FeAccRead *r, const FeSeq *seq)
{
	int64		rows = 0;

	for (uint32 i = seq->count; i > 0 && rows < r->list->limit; i--)
	{
		const Entry *e = fe_seq_get(seq, sizeof(Entry), i - 1);

		if (e->count <= 0)
			continue;
		list_entry(r, e);
		rows += e->count;
	}
}

/*
 * Each value's latest row, from the latest on, until there are enough different
 * ones.  Where only the type's own function can tell what is equal, which must
 * not run under the lock, all that look different are taken along.
 */
static void
list_last_distinct(FeAccRead *r, const FeSeq *seq)
{
	FeValueList *list = r->list;
	int			first = list->n;
	int			different = 0;

	fe_values_met_reset(&r->met);
	for (uint32 i = seq->count; i > 0 && different < list->limit; i--)
	{
		const Entry *e = fe_seq_get(seq, sizeof(Entry), i - 1);
		Datum		value;

		if (e->count <= 0 || e->isnull)
			continue;
		value = fe_value_datum(r->spec, &e->value);
		if (fe_values_met_contain(&r->met, list, first, value))
			continue;
		if (fe_value_is_image(r->spec))
			different++;
		else if (r->spec->order != FE_ORDER_GENERIC)
			different += !fe_value_list_has_equal(list, first, value);
		list_entry(r, e);
		fe_values_met_add(&r->met, list, first);
	}
}

static void
list_entries(FeAccRead *r, const FeSeq *seq)
{
	switch (r->list->final)
	{
		case FE_FINAL_FIRST_N:
			list_first(r, seq);
			break;
		case FE_FINAL_LAST_N:
			list_last(r, seq);
			break;
		default:
			list_last_distinct(r, seq);
	}
}

static void
ordered_read_add(FeAccRead *r, const void *acc)
{
	const FeSeq *seq = acc;
	Entry	   *e;

	if (r->list != NULL)
	{
		list_entries(r, seq);
		return;
	}
	e = r->last ? find_last(seq) : find_first(seq);
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
	if (r->list != NULL)
		return fe_value_list_result(r->list, isnull);
	if (!r->order_only)
		return fe_best_result(&r->best, isnull);
	*isnull = !r->any;
	return r->any ? Int64GetDatum(r->order) : (Datum) 0;
}

/* ---- byte form ------------------------------------------------------------ */

/*
 * The number of entries; of each the distance from the order before, twice, + 1
 * for a NULL; the value; the count.
 */
static void
ordered_image_write(const FeAccSpec *spec, const void *acc, StringInfo out)
{
	const FeSeq *seq = acc;
	FeValueChain chain;
	int64		before = 0;
	FeSeqIter	it;
	const Entry *e;

	fe_image_put(out, seq->count);
	fe_value_chain_init(&chain, spec);
	fe_seq_iter(&it, seq, sizeof(Entry), 0);
	while ((e = fe_seq_next(&it)) != NULL)
	{
		/* 65 bits, as the first may be negative */
		fe_image_put_int128(out, ((int128) e->order - before) * 2 + e->isnull);
		before = e->order;
		if (!e->isnull)
			fe_value_write(&chain, fe_value_datum(spec, &e->value), out);
		fe_image_put_signed(out, e->count);
	}
}

/* Is (order, value) after the entry before?  a NULL comes before all values. */
static bool
entry_ascends(const Entry *before, const Entry *e, const FeValueChain *chain)
{
	if (e->order != before->order)
		return e->order > before->order;
	return !e->isnull && (before->isnull || fe_value_ascends(chain));
}

/* Order, whether it is NULL, and count; the value is in the chain. */
static bool
read_entry(FeValueChain *chain, int64 before, Entry *e, FeImageIn *in)
{
	int128		head = fe_image_get_int128(in);
	int128		order = (head >> 1) + before;

	e->order = (int64) order;
	e->isnull = (uint64) head & 1;
	if (order != e->order)
		fe_image_fail(in, "an event time is out of range");
	if (in->error != NULL || (!e->isnull && !fe_value_read(chain, in)))
		return false;
	e->count = fe_image_get_narrow(in, 63);
	return in->error == NULL;
}

static void
ordered_image_read(FeHeap *heap, const FeAccSpec *spec, void *acc, FeImageIn *in)
{
	uint32		n = fe_image_get_count(in, 2);
	FeValueChain chain;
	FeSeqIter	it;
	Entry		before = {0};
	Entry		e = {0};

	if (heap == NULL)
		in->room += fe_seq_load_room(n, sizeof(Entry));
	else
	{
		fe_seq_load(heap, acc, sizeof(Entry), n);
		fe_seq_iter(&it, acc, sizeof(Entry), 0);
	}
	fe_value_chain_init(&chain, spec);
	for (uint32 i = 0; i < n && read_entry(&chain, before.order, &e, in); i++)
	{
		if (heap != NULL)
		{
			if (!e.isnull)
				fe_value_store(heap, &chain.probe, &e.value);
			*(Entry *) fe_seq_next(&it) = e;
			e.value.datum = 0;
		}
		else if (e.count == 0 || (i > 0 && !entry_ascends(&before, &e, &chain)))
			fe_image_fail(in, "entries are not in their order");
		else if (!e.isnull)
			fe_image_add_room(in, fe_value_room(spec, chain.probe.value));
		before = e;
	}
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
	.read_final = ordered_read_final,
	.image_write = ordered_image_write,
	.image_read = ordered_image_read
};
