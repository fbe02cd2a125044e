/*
 * value.c
 *		Values in the heap, and how they compare (see value.h).
 *
 * Storing and freeing happen in the ingest worker under the entity's lock;
 * comparisons also in readers, those of generic types without a lock.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "aggregate/value.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "port/pg_bswap.h"
#include "runtime/compat.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_locale.h"
#include "utils/typcache.h"

static const struct
{
	Oid			cmp;
	FeValueOrder order;
}			known_orders[] =
{
	{F_BTBOOLCMP, FE_ORDER_BOOL},
	{F_BTINT2CMP, FE_ORDER_INT2},
	{F_BTINT4CMP, FE_ORDER_INT4},
	{F_DATE_CMP, FE_ORDER_INT4},
	{F_BTINT8CMP, FE_ORDER_INT8},
	{F_CASH_CMP, FE_ORDER_INT8},
	{F_TIME_CMP, FE_ORDER_INT8},
	{F_TIMESTAMP_CMP, FE_ORDER_INT8},
	{F_TIMESTAMPTZ_CMP, FE_ORDER_INT8},
	{F_BTOIDCMP, FE_ORDER_OID},
	{F_BTFLOAT4CMP, FE_ORDER_FLOAT4},
	{F_BTFLOAT8CMP, FE_ORDER_FLOAT8},
	{F_NUMERIC_CMP, FE_ORDER_NUMERIC},
	{F_UUID_CMP, FE_ORDER_BYTES},
	{F_BYTEACMP, FE_ORDER_BYTES},
};

static FeValueOrder
order_of(const FeAccSpec *spec, Oid cmp, bool shown)
{
	if (cmp == F_BTTEXTCMP && OidIsValid(spec->collation))
	{
		if (fe_compat_collate_is_c(spec->collation) ||
			(!shown && get_collation_isdeterministic(spec->collation)))
			return FE_ORDER_BYTES;
		return FE_ORDER_GENERIC;
	}
	for (int i = 0; i < lengthof(known_orders); i++)
		if (known_orders[i].cmp == cmp)
			return known_orders[i].order;
	return FE_ORDER_GENERIC;
}

/*
 * Can values be equal and look different?  Not asked of composite types: the
 * same row may come with its fields compressed or not.
 */
static bool
has_images(const FeAccSpec *spec, Oid cmp)
{
	Oid			type = getBaseType(spec->argtype);

	switch (spec->order)
	{
		case FE_ORDER_GENERIC:
			break;
		case FE_ORDER_FLOAT4:
		case FE_ORDER_FLOAT8:
		case FE_ORDER_NUMERIC:
			return true;
		default:
			return false;
	}
	if (cmp == F_BTTEXTCMP && OidIsValid(spec->collation))
		return !get_collation_isdeterministic(spec->collation);
	while (OidIsValid(get_element_type(type)))
		type = getBaseType(get_element_type(type));
	return get_typtype(type) != TYPTYPE_COMPOSITE;
}

void
fe_value_prepare(FeAccSpec *spec, bool shown)
{
	TypeCacheEntry *type = lookup_type_cache(spec->argtype, TYPECACHE_CMP_PROC);

	if (!OidIsValid(type->cmp_proc))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify a comparison function for type %s",
						format_type_be(spec->argtype))));
	fmgr_info(type->cmp_proc, &spec->cmp);
	spec->order = order_of(spec, type->cmp_proc, shown);
	spec->hashed = !shown && spec->order == FE_ORDER_BYTES;
	spec->images = shown && has_images(spec, type->cmp_proc);
	spec->packable = (spec->arglen == -1 &&
					  get_typstorage(spec->argtype) != TYPSTORAGE_PLAIN);
}

/* ---- in the heap --------------------------------------------------------- */

/* The bytes of a value by reference. */
static inline const char *
value_bytes(const FeAccSpec *spec, Datum value, int *len)
{
	if (spec->arglen == -1)
	{
		*len = VARSIZE_ANY_EXHDR(DatumGetPointer(value));
		return VARDATA_ANY(DatumGetPointer(value));
	}
	*len = spec->arglen;
	return DatumGetPointer(value);
}

void
fe_value_probe(FeValueProbe *probe, const FeAccSpec *spec, Datum value)
{
	probe->spec = spec;
	probe->prefix = 0;
	if (spec->arglen == -1)
		value = PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	probe->value = value;
	if (spec->order == FE_ORDER_NUMERIC)
		probe->prefix = fe_value_prefix(fe_decimal_prefix(DatumGetPointer(value)));
	else if (spec->order == FE_ORDER_BYTES)
	{
		int			len;
		const char *bytes = value_bytes(spec, value, &len);

		if (spec->hashed)
			probe->prefix = hash_bytes((const unsigned char *) bytes, len);
		else
		{
			memcpy(&probe->prefix, bytes, Min(len, sizeof(uint32)));
			probe->prefix = pg_ntoh32(probe->prefix);
		}
		probe->prefix = fe_value_prefix(probe->prefix);
	}
}

void
fe_value_probe_kept(FeValueProbe *probe, const FeAccSpec *spec, const FeValue *value)
{
	if (!spec->argbyval && fe_value_is_inline(value))
	{
		fe_value_probe(probe, spec, fe_value_datum(spec, value));
		return;
	}
	probe->spec = spec;
	probe->value = fe_value_datum(spec, value);
	probe->prefix = spec->argbyval ? 0 : value->heap.prefix;
}

uint32
fe_value_hash(const FeValue *value)
{
	return fe_value_prefix(hash_bytes((const unsigned char *) VARDATA_SHORT(value->image),
									  VARSIZE_SHORT(value->image) - VARHDRSZ_SHORT));
}

/* Bytes a detoasted value takes when stored; *shorten: its header shrinks. */
static Size
stored_size(const FeAccSpec *spec, Pointer p, bool *shorten)
{
	*shorten = false;
	if (spec->arglen != -1)
		return spec->arglen;
	if (spec->packable && VARATT_CAN_MAKE_SHORT(p))
	{
		*shorten = true;
		return VARATT_CONVERTED_SHORT_SIZE(p);
	}
	return VARSIZE_ANY(p);
}

void
fe_value_store(FeHeap *heap, const FeValueProbe *probe, FeValue *value)
{
	Pointer		from;
	Pointer		to;
	Size		size;
	bool		shorten;

	if (probe->spec->argbyval)
	{
		value->datum = probe->value;
		return;
	}
	from = DatumGetPointer(probe->value);
	size = stored_size(probe->spec, from, &shorten);
	if (probe->spec->packable && size <= sizeof(value->image))
		to = value->image;
	else
	{
		value->heap.ref = fe_heap_alloc(heap, size);
		value->heap.prefix = probe->prefix;
		to = fe_heap_ptr(value->heap.ref);
	}
	if (shorten)
	{
		SET_VARSIZE_SHORT(to, size);
		memcpy(VARDATA_SHORT(to), VARDATA(from), size - VARHDRSZ_SHORT);
	}
	else
		memcpy(to, from, size);
}

void
fe_value_free(FeHeap *heap, const FeAccSpec *spec, FeValue *value)
{
	if (!spec->argbyval && !fe_value_is_inline(value) && value->heap.ref != 0)
	{
		Pointer		p = fe_heap_ptr(value->heap.ref);

		fe_heap_free(heap, value->heap.ref,
					 spec->arglen == -1 ? VARSIZE_ANY(p) : spec->arglen);
	}
	value->datum = 0;
}

Size
fe_value_room(const FeAccSpec *spec, Datum value)
{
	Size		size;

	if (spec->argbyval)
		return 0;
	if (spec->arglen != -1)
		return fe_heap_chunk_size(spec->arglen);
	size = toast_raw_datum_size(value);
	if (spec->packable && size - VARHDRSZ + VARHDRSZ_SHORT <= sizeof(FeValue))
		return 0;
	return fe_heap_chunk_size(size);
}

int
fe_value_compare_slow(const FeAccSpec *spec, Datum a, Datum b)
{
	if (spec->order == FE_ORDER_NUMERIC)
		return fe_decimal_compare(DatumGetPointer(a), DatumGetPointer(b));
	if (spec->order == FE_ORDER_BYTES)
		return fe_value_compare_images(spec, a, b);
	return DatumGetInt32(FunctionCall2Coll((FmgrInfo *) &spec->cmp, spec->collation, a, b));
}

int
fe_value_compare_images(const FeAccSpec *spec, Datum a, Datum b)
{
	int			alen;
	int			blen;
	const char *abytes;
	const char *bbytes;
	int			result;

	if (spec->argbyval)
	{
		/* a Datum's unused bits are not defined */
		switch (spec->arglen)
		{
			case sizeof(char):
				return FE_COMPARE(DatumGetChar(a), DatumGetChar(b));
			case sizeof(int16):
				return FE_COMPARE(DatumGetInt16(a), DatumGetInt16(b));
			case sizeof(int32):
				return FE_COMPARE(DatumGetInt32(a), DatumGetInt32(b));
			default:
				return FE_COMPARE(a, b);
		}
	}
	abytes = value_bytes(spec, a, &alen);
	bbytes = value_bytes(spec, b, &blen);
	result = memcmp(abytes, bbytes, Min(alen, blen));
	return result != 0 ? result : FE_COMPARE(alen, blen);
}

uint32
fe_value_hash_image(const FeAccSpec *spec, Datum value)
{
	int			len;
	const char *bytes;

	if (!spec->argbyval)
	{
		bytes = value_bytes(spec, value, &len);
		return hash_bytes((const unsigned char *) bytes, len);
	}
	switch (spec->arglen)
	{
		case sizeof(char):
			return murmurhash32((uint8) value);
		case sizeof(int16):
			return murmurhash32((uint16) value);
		case sizeof(int32):
			return murmurhash32((uint32) value);
		default:
			return murmurhash32((uint32) value ^ murmurhash32((uint32) (value >> 32)));
	}
}

bool
fe_value_is_image(const FeAccSpec *spec)
{
	if (spec->order == FE_ORDER_GENERIC)
		return !spec->images && spec->cmp.fn_oid == F_BTTEXTCMP;
	return !spec->images;
}

/* ---- the best value ------------------------------------------------------- */

typedef struct FeBestSlot
{
	Datum		value;
	bool		isnull;
	Pointer		buffer;			/* by reference: the copy */
	Size		size;			/* of buffer */
} FeBestSlot;

void
fe_best_init(FeBest *best, const FeAccSpec *spec, int direction)
{
	memset(best, 0, sizeof(FeBest));
	best->spec = spec;
	best->direction = direction;
	best->cxt = CurrentMemoryContext;
	best->size = 4;
	best->slots = palloc0(best->size * sizeof(FeBestSlot));
}

static void
best_set(FeBest *best, FeBestSlot *slot, Datum value, bool isnull)
{
	const FeAccSpec *spec = best->spec;
	Size		size;

	slot->isnull = isnull;
	slot->value = value;
	if (isnull || spec->argbyval)
		return;
	size = spec->arglen == -1 ? VARSIZE_ANY(DatumGetPointer(value)) : spec->arglen;
	if (size > slot->size)
	{
		if (slot->buffer != NULL)
			pfree(slot->buffer);
		slot->buffer = NULL;
		slot->size = 0;
		slot->buffer = MemoryContextAlloc(best->cxt, size);
		slot->size = size;
	}
	memcpy(slot->buffer, DatumGetPointer(value), size);
	slot->value = PointerGetDatum(slot->buffer);
}

void
fe_best_offer(FeBest *best, Datum value, bool isnull)
{
	if (best->n > 0)
	{
		FeBestSlot *first = &best->slots[0];

		if (isnull)
			return;
		if (first->isnull)
			best->n = 0;
		else if (best->spec->order != FE_ORDER_GENERIC)
		{
			if (fe_value_compare(best->spec, value, first->value) * best->direction > 0)
				best_set(best, first, value, false);
			return;
		}
	}
	if (best->n == best->size)
	{
		best->slots = repalloc(best->slots, 2 * best->size * sizeof(FeBestSlot));
		memset(best->slots + best->size, 0, best->size * sizeof(FeBestSlot));
		best->size *= 2;
	}
	best_set(best, &best->slots[best->n++], value, isnull);
}

Datum
fe_best_result(FeBest *best, bool *isnull)
{
	FeBestSlot *winner;

	*isnull = (best->n == 0 || best->slots[0].isnull);
	if (*isnull)
		return (Datum) 0;
	winner = &best->slots[0];
	for (int i = 1; i < best->n; i++)
		if (fe_value_compare(best->spec, best->slots[i].value, winner->value) *
			best->direction > 0)
			winner = &best->slots[i];
	return datumCopy(winner->value, best->spec->argbyval, best->spec->arglen);
}
