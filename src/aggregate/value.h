/*
 * value.h
 *		Values of any type with a btree order, kept in the heap: what multisets
 *		and ordered accumulators are made of (private to this room).
 */
#ifndef FE_VALUE_H
#define FE_VALUE_H

#include "aggregate/kinds.h"
#include "catalog/pg_type.h"
#include "utils/float.h"

/* How values of a spec compare: the common types without a function call. */
typedef enum FeValueOrder
{
	FE_ORDER_GENERIC = 0,		/* the type's btree function */
	FE_ORDER_BOOL,
	FE_ORDER_INT2,
	FE_ORDER_INT4,
	FE_ORDER_INT8,
	FE_ORDER_OID,
	FE_ORDER_FLOAT4,
	FE_ORDER_FLOAT8,
	/* from here on by reference, and with a prefix */
	FE_ORDER_NUMERIC,
	FE_ORDER_BYTES				/* memcmp, the shorter first */
} FeValueOrder;

#define FE_ORDER_HAS_PREFIX(order) ((order) >= FE_ORDER_NUMERIC)

/*
 * In an element: the value itself, or where it is in the heap.  A varlena that
 * is short enough, its header included, is in the element too: an access less
 * to memory that is seldom in a cache, and no allocation.  Its first byte tells
 * it from a prefix, which leaves that bit clear.
 */
typedef union FeValue
{
	Datum		datum;
	char		image[8];		/* a varlena with a header of one byte */
	struct
	{
		uint32		prefix;		/* if different, they order the values */
		FeRef		ref;
	}			heap;
} FeValue;

/* An order-preserving prefix that no varlena with a short header begins with. */
static inline uint32
fe_value_prefix(uint32 prefix)
{
#ifdef WORDS_BIGENDIAN
	return prefix >> 1;
#else
	return prefix & ~(uint32) 1;
#endif
}

/* Of a value by reference: is it in the element? */
static inline bool
fe_value_is_inline(const FeValue *value)
{
	return VARATT_IS_1B(value->image);
}

/* A value looked for. */
typedef struct FeValueProbe
{
	const FeAccSpec *spec;
	Datum		value;			/* detoasted */
	uint32		prefix;
} FeValueProbe;

/*
 * Sets spec->cmp and the private fields.  Needs the syscache.  shown: the
 * values themselves are given back, so the order must be the collation's, not
 * only its equality, and values that are equal but look different (1.0 and
 * 1.00, 0 and -0) are kept apart: a value that was given back must belong to a
 * row that is still there.  Otherwise any order will do: that of a hash, where
 * bytes tell what is equal.
 */
extern void fe_value_prepare(FeAccSpec *spec, bool shown);

extern void fe_value_probe(FeValueProbe *probe, const FeAccSpec *spec, Datum value);
/* The same for a value that is kept already. */
extern void fe_value_probe_kept(FeValueProbe *probe, const FeAccSpec *spec,
								const FeValue *value);
extern void fe_value_store(FeHeap *heap, const FeValueProbe *probe, FeValue *value);
extern void fe_value_free(FeHeap *heap, const FeAccSpec *spec, FeValue *value);
/* Heap bytes that storing a value takes, toasted or not. */
extern Size fe_value_room(const FeAccSpec *spec, Datum value);

/* Points into the element or the heap, and is valid as long as the value is there. */
static inline Datum
fe_value_datum(const FeAccSpec *spec, const FeValue *value)
{
	if (spec->argbyval)
		return value->datum;
	return PointerGetDatum(fe_value_is_inline(value) ? value->image :
						   fe_heap_ptr(value->heap.ref));
}

extern int	fe_value_compare_slow(const FeAccSpec *spec, Datum a, Datum b);
/* Some order of the bytes. */
extern int	fe_value_compare_images(const FeAccSpec *spec, Datum a, Datum b);

#define FE_COMPARE(a, b) (((a) > (b)) - ((a) < (b)))

static inline int
fe_value_compare(const FeAccSpec *spec, Datum a, Datum b)
{
	switch (spec->order)
	{
		case FE_ORDER_BOOL:
			return (int) DatumGetBool(a) - (int) DatumGetBool(b);
		case FE_ORDER_INT2:
			return (int) DatumGetInt16(a) - (int) DatumGetInt16(b);
		case FE_ORDER_INT4:
			return FE_COMPARE(DatumGetInt32(a), DatumGetInt32(b));
		case FE_ORDER_INT8:
			return FE_COMPARE(DatumGetInt64(a), DatumGetInt64(b));
		case FE_ORDER_OID:
			return FE_COMPARE(DatumGetObjectId(a), DatumGetObjectId(b));
		case FE_ORDER_FLOAT4:
			return float4_gt(DatumGetFloat4(a), DatumGetFloat4(b)) -
				float4_lt(DatumGetFloat4(a), DatumGetFloat4(b));
		case FE_ORDER_FLOAT8:
			return float8_gt(DatumGetFloat8(a), DatumGetFloat8(b)) -
				float8_lt(DatumGetFloat8(a), DatumGetFloat8(b));
		default:
			return fe_value_compare_slow(spec, a, b);
	}
}

/* The prefix of a value in the element, where that is a hash. */
extern uint32 fe_value_hash(const FeValue *value);

/* An element's value against a probe. */
static inline int
fe_value_compare_probe(const FeValue *value, const FeValueProbe *probe)
{
	const FeAccSpec *spec = probe->spec;
	int			result;

	if (FE_ORDER_HAS_PREFIX(spec->order))
	{
		uint32		prefix = probe->prefix;

		if (!fe_value_is_inline(value))
			prefix = value->heap.prefix;
		else if (spec->hashed)
			prefix = fe_value_hash(value);
		if (prefix != probe->prefix)
			return prefix > probe->prefix ? 1 : -1;
	}
	result = fe_value_compare(spec, fe_value_datum(spec, value), probe->value);
	if (result == 0 && spec->images)
		result = fe_value_compare_images(spec, fe_value_datum(spec, value), probe->value);
	return result;
}

/*
 * Readers' best value so far.  Offering copies the value and, for generic
 * orders, does not compare: readers offer under a lock, where a type's own
 * function must not run.
 */
typedef struct FeBest
{
	const FeAccSpec *spec;
	int			direction;		/* 1: the greater wins, -1: the lesser */
	MemoryContext cxt;
	int			n;
	int			size;
	struct FeBestSlot *slots;
} FeBest;

extern void fe_best_init(FeBest *best, const FeAccSpec *spec, int direction);
static inline void
fe_best_reset(FeBest *best)
{
	best->n = 0;
}

/* A NULL loses against everything. */
extern void fe_best_offer(FeBest *best, Datum value, bool isnull);
/* NULL if there was none, or none but NULLs; a copy in CurrentMemoryContext. */
extern Datum fe_best_result(FeBest *best, bool *isnull);

/* ---- multiset.c, for the kinds that are multisets -------------------------- */

/* An element of a multiset's sequence. */
typedef struct FeMember
{
	FeValue		value;
	int64		count;
} FeMember;

extern void fe_multiset_apply(FeHeap *heap, const FeAccSpec *spec, void *acc,
							  const FeAccInput *in, int sign);
extern void fe_multiset_combine(FeHeap *heap, const FeAccSpec *spec, void *dst, void *src);
extern void fe_multiset_clear(FeHeap *heap, const FeAccSpec *spec, void *acc);
extern Size fe_multiset_room(const FeAccSpec *spec, const FeAccInput *in);
extern void fe_multiset_image_write(const FeAccSpec *spec, const void *acc,
									struct StringInfoData *out);
extern void fe_multiset_image_read(FeHeap *heap, const FeAccSpec *spec, void *acc,
								   FeImageIn *in);

#endif							/* FE_VALUE_H */
