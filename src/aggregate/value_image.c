/*
 * value_image.c
 *		Values in the byte form of state (see value_image.h, image.h).
 *
 * Writing happens under the entity's lock, in any process; reading without a
 * lock, as it may call a type's own comparison.  Bytes of a value by reference
 * are checked where this library itself looks into them (numeric); those of
 * other types are the type's business, as they are in a heap tuple.
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "aggregate/value_image.h"

void
fe_image_in_init(FeImageIn *in, const char *data, Size len)
{
	memset(in, 0, sizeof(FeImageIn));
	in->cur = data;
	in->end = data + len;
}

void
fe_image_in_free(FeImageIn *in)
{
	for (int i = 0; i < lengthof(in->scratch); i++)
		if (in->scratch[i].data != NULL)
			pfree(in->scratch[i].data);
	memset(in->scratch, 0, sizeof(in->scratch));
}

void
fe_value_chain_init(FeValueChain *chain, const FeAccSpec *spec)
{
	memset(chain, 0, sizeof(FeValueChain));
	chain->spec = spec;
}

/* ---- by value --------------------------------------------------------------- */

static inline bool
is_float(const FeAccSpec *spec)
{
	return spec->order == FE_ORDER_FLOAT4 || spec->order == FE_ORDER_FLOAT8;
}

static int64
integer_of(const FeAccSpec *spec, Datum value)
{
	switch (spec->arglen)
	{
		case sizeof(char):
			return (signed char) DatumGetChar(value);
		case sizeof(int16):
			return DatumGetInt16(value);
		case sizeof(int32):
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

/* As fetch_att makes them; false: too large for the type. */
static bool
datum_of(const FeAccSpec *spec, int64 v, Datum *value)
{
	switch (spec->arglen)
	{
		case sizeof(char):
			*value = CharGetDatum((char) v);
			return v == (signed char) v && (spec->order != FE_ORDER_BOOL || (v & ~1) == 0);
		case sizeof(int16):
			*value = Int16GetDatum((int16) v);
			return v == (int16) v;
		case sizeof(int32):
			*value = Int32GetDatum((int32) v);
			return v == (int32) v;
		default:
			*value = Int64GetDatum(v);
			return true;
	}
}

static void
write_by_value(FeValueChain *chain, Datum value, StringInfo out)
{
	const FeAccSpec *spec = chain->spec;
	int64		v;

	if (is_float(spec))
	{
		fe_image_put_fixed(out, (uint64) value, spec->arglen);
		return;
	}
	v = integer_of(spec, value);
	/* the difference may wrap round: so will the sum */
	fe_image_put_signed(out, (int64) ((uint64) v - (uint64) chain->last));
	chain->last = v;
}

static bool
read_by_value(FeValueChain *chain, FeImageIn *in)
{
	const FeAccSpec *spec = chain->spec;
	Datum		value;

	if (is_float(spec))
	{
		uint64		bits = fe_image_get_fixed(in, spec->arglen);

		value = spec->arglen == sizeof(int32) ? Int32GetDatum((int32) bits) : (Datum) bits;
	}
	else
	{
		chain->last = (int64) ((uint64) chain->last + (uint64) fe_image_get_signed(in));
		if (!datum_of(spec, chain->last, &value))
			fe_image_fail(in, "a value is out of its type's range");
	}
	if (in->error != NULL)
		return false;
	fe_value_probe(&chain->probe, spec, value);
	return true;
}

/* ---- by reference -------------------------------------------------------------- */

/* Is it a numeric that can be looked into? */
static bool
is_numeric(const char *data, Size len)
{
	uint16		header;
	Size		head = sizeof(uint16);
	int16		digit;

	if (len < head || len % sizeof(int16) != 0)
		return false;
	memcpy(&header, data, sizeof(uint16));
	if ((header & 0xC000) == 0xC000)
		return len == head;
	if ((header & 0x8000) == 0)
		head += sizeof(int16);
	if (len < head)
		return false;
	for (Size off = head; off < len; off += sizeof(int16))
	{
		memcpy(&digit, data + off, sizeof(int16));
		if (digit < 0 || digit >= FE_DECIMAL_BASE)
			return false;
		if (digit == 0 && (off == head || off + sizeof(int16) == len))
			return false;
	}
	return true;
}

/* One of two areas by turns, so that the value before is still there. */
static char *
scratch(FeValueChain *chain, FeImageIn *in, Size size)
{
	FeImageScratch *s = &in->scratch[chain->turn];

	chain->turn = 1 - chain->turn;
	if (size > s->size)
	{
		if (s->data != NULL)
			pfree(s->data);
		s->data = NULL;
		s->size = Max(size, 256);
		s->data = palloc(s->size);
	}
	return s->data;
}

static bool
read_by_reference(FeValueChain *chain, FeImageIn *in)
{
	const FeAccSpec *spec = chain->spec;
	bool		varlena = spec->arglen == -1;
	uint64		len = varlena ? fe_image_get(in) : (uint64) spec->arglen;
	const char *bytes = fe_image_get_bytes(in, len);
	char	   *value;

	if (bytes != NULL && len > MaxAllocSize - VARHDRSZ)
		fe_image_fail(in, "a value is too large");
	if (bytes != NULL && spec->order == FE_ORDER_NUMERIC && !is_numeric(bytes, len))
		fe_image_fail(in, "a numeric value is malformed");
	if (in->error != NULL)
		return false;
	value = scratch(chain, in, len + VARHDRSZ);
	if (!varlena)
		memcpy(value, bytes, len);
	else if (spec->packable && len + VARHDRSZ_SHORT <= VARATT_SHORT_MAX)
	{
		SET_VARSIZE_SHORT(value, len + VARHDRSZ_SHORT);
		memcpy(VARDATA_SHORT(value), bytes, len);
	}
	else
	{
		SET_VARSIZE(value, len + VARHDRSZ);
		memcpy(VARDATA(value), bytes, len);
	}
	fe_value_probe(&chain->probe, spec, PointerGetDatum(value));
	return true;
}

/* ---- both --------------------------------------------------------------------- */

void
fe_value_write(FeValueChain *chain, Datum value, StringInfo out)
{
	const FeAccSpec *spec = chain->spec;

	if (spec->argbyval)
		write_by_value(chain, value, out);
	else if (spec->arglen == -1)
	{
		Size		len = VARSIZE_ANY_EXHDR(DatumGetPointer(value));

		fe_image_put(out, len);
		fe_image_put_bytes(out, VARDATA_ANY(DatumGetPointer(value)), len);
	}
	else
		fe_image_put_bytes(out, DatumGetPointer(value), spec->arglen);
}

bool
fe_value_read(FeValueChain *chain, FeImageIn *in)
{
	chain->before = chain->probe;
	return chain->spec->argbyval ? read_by_value(chain, in) : read_by_reference(chain, in);
}

bool
fe_value_ascends(const FeValueChain *chain)
{
	const FeAccSpec *spec = chain->spec;
	const FeValueProbe *a = &chain->before;
	const FeValueProbe *b = &chain->probe;
	int			result;

	if (FE_ORDER_HAS_PREFIX(spec->order) && a->prefix != b->prefix)
		return a->prefix < b->prefix;
	result = fe_value_compare(spec, a->value, b->value);
	if (result == 0 && spec->images)
		result = fe_value_compare_images(spec, a->value, b->value);
	return result < 0;
}
