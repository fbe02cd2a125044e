/*
 * current.c
 *		Accumulator kind "current": the value of a column that all rows of an
 *		entity have in common, as they do where the entity is one row of a table
 *		with a primary key.
 *
 * Values are told apart by their bytes alone, so that any type will do, with or
 * without an order, and what is given back is the row's own value to the last
 * digit of its scale.  Counts are signed: while a table is being read, a row's
 * delete can come before the row, and its next version before the end of the
 * one before.  So it is a multiset; but there is hardly ever more than one
 * value, which stands in the accumulator itself, and all others in a sequence
 * that exists only while there are any.  NULLs are not kept: no value is NULL.
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared.
 */
#include "postgres.h"

#include "aggregate/value.h"
#include "aggregate/value_image.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

typedef struct Member
{
	FeValue		value;
	int64		count;			/* not 0, but for the first of an empty accumulator */
} Member;

typedef struct CurrentAcc
{
	Member		first;
	FeRef		rest;			/* FeSeq of Member: the others; 0 = none */
	uint32		unused;
} CurrentAcc;

static void
current_prepare(FeAccSpec *spec)
{
	spec->order = spec->argbyval ? FE_ORDER_INT8 : FE_ORDER_BYTES;
	spec->hashed = true;
	spec->packable = (spec->arglen == -1 &&
					  get_typstorage(spec->argtype) != TYPSTORAGE_PLAIN);
	spec->size = sizeof(CurrentAcc);
}

static inline FeSeq *
rest_of(const CurrentAcc *acc)
{
	return fe_heap_ptr(acc->rest);
}

static int
compare_member(const void *element, const void *key, void *arg)
{
	const FeValueProbe *probe = key;

	return fe_value_compare_images(probe->spec,
								   fe_value_datum(probe->spec, &((const Member *) element)->value),
								   probe->value);
}

/* moved: the value is in the heap already, and becomes the member's. */
static void
set_value(FeHeap *heap, const FeValueProbe *probe, FeValue *moved, Member *member)
{
	if (moved != NULL)
		member->value = *moved;
	else
		fe_value_store(heap, probe, &member->value);
}

/* The first value is gone: another takes its place, if there is one. */
static void
next_first(FeHeap *heap, CurrentAcc *acc)
{
	if (acc->rest == 0)
	{
		memset(acc, 0, sizeof(CurrentAcc));
		return;
	}
	acc->first = *(Member *) fe_seq_get(rest_of(acc), sizeof(Member), 0);
	fe_seq_delete(heap, rest_of(acc), sizeof(Member), 0);
}

static void
drop_empty_rest(FeHeap *heap, CurrentAcc *acc)
{
	if (acc->rest == 0 || rest_of(acc)->count > 0)
		return;
	fe_seq_clear(heap, rest_of(acc), sizeof(Member));
	fe_heap_free(heap, acc->rest, sizeof(FeSeq));
	acc->rest = 0;
}

static void
change_rest(FeHeap *heap, CurrentAcc *acc, const FeValueProbe *probe, FeValue *moved, int64 by)
{
	Member	   *m;
	FeValue		value;
	bool		found;
	uint32		pos;

	if (acc->rest == 0)
		acc->rest = fe_heap_alloc0(heap, sizeof(FeSeq));
	m = fe_seq_upsert(heap, rest_of(acc), sizeof(Member), probe, compare_member, NULL, &found);
	m->count += by;
	if (!found)
		set_value(heap, probe, moved, m);
	if (m->count != 0)
	{
		if (found && moved != NULL)
			fe_value_free(heap, probe->spec, moved);
		return;
	}
	/* the search compares with the value: free it afterwards */
	value = m->value;
	(void) fe_seq_search(rest_of(acc), sizeof(Member), probe, compare_member, NULL, &pos);
	fe_seq_delete(heap, rest_of(acc), sizeof(Member), pos);
	fe_value_free(heap, probe->spec, &value);
	if (found && moved != NULL)
		fe_value_free(heap, probe->spec, moved);
}

static void
change_count(FeHeap *heap, CurrentAcc *acc, const FeValueProbe *probe, FeValue *moved, int64 by)
{
	if (acc->first.count == 0)
	{
		set_value(heap, probe, moved, &acc->first);
		acc->first.count = by;
	}
	else if (compare_member(&acc->first, probe, NULL) != 0)
		change_rest(heap, acc, probe, moved, by);
	else
	{
		acc->first.count += by;
		if (moved != NULL)
			fe_value_free(heap, probe->spec, moved);
		if (acc->first.count == 0)
		{
			fe_value_free(heap, probe->spec, &acc->first.value);
			next_first(heap, acc);
		}
	}
	drop_empty_rest(heap, acc);
}

static void
current_apply(FeHeap *heap, const FeAccSpec *spec, void *acc, const FeAccInput *in, int sign)
{
	FeValueProbe probe;

	if (in->isnull)
		return;
	fe_value_probe(&probe, spec, in->value);
	change_count(heap, acc, &probe, NULL, sign);
	if (!spec->argbyval && probe.value != in->value)
		pfree(DatumGetPointer(probe.value));
}

static void
current_combine(FeHeap *heap, const FeAccSpec *spec, void *dstp, void *srcp)
{
	CurrentAcc *dst = dstp;
	CurrentAcc *src = srcp;
	FeValueProbe probe;

	while (src->first.count != 0)
	{
		Member		m = src->first;

		next_first(heap, src);
		drop_empty_rest(heap, src);
		fe_value_probe_kept(&probe, spec, &m.value);
		change_count(heap, dst, &probe, &m.value, m.count);
	}
}

static void
current_clear(FeHeap *heap, const FeAccSpec *spec, void *accp)
{
	CurrentAcc *acc = accp;

	while (acc->first.count != 0)
	{
		fe_value_free(heap, spec, &acc->first.value);
		next_first(heap, acc);
		drop_empty_rest(heap, acc);
	}
}

/* Mostly the value alone; but it may be one that comes beside another. */
static Size
current_room(const FeAccSpec *spec, const FeAccInput *in)
{
	if (in->isnull)
		return 0;
	return fe_value_room(spec, in->value) + fe_heap_chunk_size(sizeof(FeSeq)) +
		2 * sizeof(Member);
}

/* ---- reading -------------------------------------------------------------- */

struct FeAccRead
{
	const FeAccSpec *spec;
	MemoryContext cxt;
	bool		found;
	Datum		value;			/* by reference: in buffer */
	Pointer		buffer;
	Size		size;			/* of buffer */
};

static FeAccRead *
current_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->spec = spec;
	r->cxt = CurrentMemoryContext;
	return r;
}

static void
current_read_reset(FeAccRead *r)
{
	r->found = false;
}

static void
keep_value(FeAccRead *r, Datum value)
{
	Size		size;

	r->found = true;
	r->value = value;
	if (r->spec->argbyval)
		return;
	size = r->spec->arglen == -1 ? VARSIZE_ANY(DatumGetPointer(value)) : r->spec->arglen;
	if (size > r->size)
	{
		if (r->buffer != NULL)
			pfree(r->buffer);
		r->buffer = NULL;
		r->size = 0;
		r->buffer = MemoryContextAlloc(r->cxt, size);
		r->size = size;
	}
	memcpy(r->buffer, DatumGetPointer(value), size);
	r->value = PointerGetDatum(r->buffer);
}

/* Rows of one entity agree: whichever value is there is the one. */
static void
current_read_add(FeAccRead *r, const void *accp)
{
	const CurrentAcc *acc = accp;
	FeSeqIter	it;
	const Member *m;

	if (acc->first.count > 0)
		keep_value(r, fe_value_datum(r->spec, &acc->first.value));
	else if (acc->rest != 0)
	{
		fe_seq_iter(&it, rest_of(acc), sizeof(Member), 0);
		while ((m = fe_seq_next(&it)) != NULL)
			if (m->count > 0)
				keep_value(r, fe_value_datum(r->spec, &m->value));
	}
}

static Datum
current_read_final(FeAccRead *r, bool *isnull)
{
	*isnull = !r->found;
	if (!r->found)
		return (Datum) 0;
	return datumCopy(r->value, r->spec->argbyval, r->spec->arglen);
}

/* ---- byte form ------------------------------------------------------------ */

static void
write_member(FeValueChain *chain, const Member *m, StringInfo out)
{
	fe_value_write(chain, fe_value_datum(chain->spec, &m->value), out);
	fe_image_put_signed(out, m->count);
}

/* The number of members, then each one's value and count, the first one first. */
static void
current_image_write(const FeAccSpec *spec, const void *accp, StringInfo out)
{
	const CurrentAcc *acc = accp;
	FeValueChain chain;
	FeSeqIter	it;
	const Member *m;

	if (acc->first.count == 0)
	{
		fe_image_put(out, 0);
		return;
	}
	fe_image_put(out, acc->rest == 0 ? 1 : (uint64) rest_of(acc)->count + 1);
	fe_value_chain_init(&chain, spec);
	write_member(&chain, &acc->first, out);
	if (acc->rest == 0)
		return;
	fe_seq_iter(&it, rest_of(acc), sizeof(Member), 0);
	while ((m = fe_seq_next(&it)) != NULL)
		write_member(&chain, m, out);
}

/*
 * Those after the first are in the order of their bytes.  The first is only
 * known to differ from its neighbour: one that stood there twice would be
 * counted apart, which the row that ends it would show, as any wrong count.
 */
static bool
is_in_order(const FeValueChain *chain, uint32 i)
{
	int			result;

	if (i == 0)
		return true;
	result = fe_value_compare_images(chain->spec, chain->before.value, chain->probe.value);
	return i == 1 ? result != 0 : result < 0;
}

static void
add_member_room(const FeAccSpec *spec, const FeValueProbe *probe, FeImageIn *in)
{
	Size		size = fe_value_room(spec, probe->value);

	if (size > 0)
		fe_image_add_room(in, size);
}

static void
current_image_read(FeHeap *heap, const FeAccSpec *spec, void *accp, FeImageIn *in)
{
	CurrentAcc *acc = accp;
	uint32		n = fe_image_get_count(in, 2);
	FeValueChain chain;
	FeSeqIter	it;

	if (n > 1 && heap == NULL)
	{
		fe_image_add_room(in, sizeof(FeSeq));
		in->room += fe_seq_load_room(n - 1, sizeof(Member));
	}
	else if (n > 1)
	{
		acc->rest = fe_heap_alloc0(heap, sizeof(FeSeq));
		fe_seq_load(heap, rest_of(acc), sizeof(Member), n - 1);
		fe_seq_iter(&it, rest_of(acc), sizeof(Member), 0);
	}
	fe_value_chain_init(&chain, spec);
	for (uint32 i = 0; i < n && fe_value_read(&chain, in); i++)
	{
		int64		count = fe_image_get_signed(in);

		if (heap != NULL)
		{
			Member	   *m = i == 0 ? &acc->first : fe_seq_next(&it);

			fe_value_store(heap, &chain.probe, &m->value);
			m->count = count;
			continue;
		}
		if (count == 0 || !is_in_order(&chain, i))
			fe_image_fail(in, "values are not in their order");
		add_member_room(spec, &chain.probe, in);
	}
}

const FeAccKind fe_acc_current = {
	.name = "current",
	.prepare = current_prepare,
	.apply = current_apply,
	.combine = current_combine,
	.clear = current_clear,
	.room = current_room,
	.read_create = current_read_create,
	.read_reset = current_read_reset,
	.read_add = current_read_add,
	.read_final = current_read_final,
	.image_write = current_image_write,
	.image_read = current_image_read
};
