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

/* In an element: the value itself, or where it is in the heap. */
typedef union FeValue
{
	Datum		datum;
	struct
	{
		FeRef		ref;
		uint32		prefix;		/* if different, they order the values */
	}			heap;
} FeValue;

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
extern void fe_value_store(FeHeap *heap, const FeValueProbe *probe, FeValue *value);
extern void fe_value_free(FeHeap *heap, const FeAccSpec *spec, FeValue *value);
/* Heap bytes that storing a value takes, toasted or not. */
extern Size fe_value_room(const FeAccSpec *spec, Datum value);

static inline Datum
fe_value_datum(const FeAccSpec *spec, const FeValue *value)
{
	return spec->argbyval ? value->datum : PointerGetDatum(fe_heap_ptr(value->heap.ref));
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

/* An element's value against a probe. */
static inline int
fe_value_compare_probe(const FeValue *value, const FeValueProbe *probe)
{
	const FeAccSpec *spec = probe->spec;
	int			result;

	if (FE_ORDER_HAS_PREFIX(spec->order) && value->heap.prefix != probe->prefix)
		return value->heap.prefix > probe->prefix ? 1 : -1;
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

#endif							/* FE_VALUE_H */
