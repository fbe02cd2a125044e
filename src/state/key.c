/*
 * key.c
 *		Keys as entities keep them: one after the other, as in a tuple.
 *
 * Equal values of a bitwise comparable type have one packed form only: never
 * toasted, a short header wherever it fits, padding zeroed.  Where some key is
 * NULL a bitmap of 2 bytes (FE_MAX_KEYS bits) follows the values.
 *
 * Packing takes no locks; comparing and unpacking need the partition's lock
 * (or to be the writer).
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "fmgr.h"

#include "state/internal.h"

/* ---- packing ------------------------------------------------------------------ */

/* Makes room for so many more bytes at the probe's end. */
static char *
extend(FeKeyProbe *probe, Size bytes)
{
	Size		need = probe->len + bytes;

	if (need > probe->size)
	{
		Size		size = Max(need, probe->size * 2);
		char	   *larger = palloc0(size);

		memcpy(larger, probe->packed, probe->len);
		if (probe->packed != (char *) probe->space)
			pfree(probe->packed);
		probe->packed = larger;
		probe->size = size;
	}
	return probe->packed + probe->len;
}

static void
align(FeKeyProbe *probe, char typalign)
{
	Size		to = att_align_nominal(probe->len, typalign);
	Size		pad = to - probe->len;

	memset(extend(probe, pad), 0, pad);
	probe->len = to;
}

static void
pack_varlena(FeKeyProbe *probe, Datum value)
{
	struct varlena *v = PG_DETOAST_DATUM_PACKED(value);
	Size		size = VARSIZE_ANY_EXHDR(v);
	char	   *to;

	if (size + VARHDRSZ_SHORT <= VARATT_SHORT_MAX)
	{
		to = extend(probe, size + VARHDRSZ_SHORT);
		SET_VARSIZE_SHORT(to, size + VARHDRSZ_SHORT);
		memcpy(VARDATA_SHORT(to), VARDATA_ANY(v), size);
		probe->len += size + VARHDRSZ_SHORT;
	}
	else
	{
		/* aligned for any type: what varlenas hold may want 8 */
		align(probe, TYPALIGN_DOUBLE);
		to = extend(probe, size + VARHDRSZ);
		SET_VARSIZE(to, size + VARHDRSZ);
		memcpy(VARDATA(to), VARDATA_ANY(v), size);
		probe->len += size + VARHDRSZ;
	}
}

static void
pack_value(FeKeyProbe *probe, const FeKey *key, Datum value)
{
	if (key->typbyval)
	{
		align(probe, key->typalign);
		store_att_byval(extend(probe, key->typlen), value, key->typlen);
		probe->len += key->typlen;
	}
	else if (key->typlen == -1)
		pack_varlena(probe, value);
	else
	{
		Size		size = key->typlen > 0 ? key->typlen :
			strlen(DatumGetCString(value)) + 1;

		align(probe, key->typalign);
		memcpy(extend(probe, size), DatumGetPointer(value), size);
		probe->len += size;
	}
}

void
fe_key_pack(const FePlan *plan, FeKeyProbe *probe)
{
	uint16		bitmap = 0;

	probe->len = 0;
	probe->packed = (char *) probe->space;
	probe->size = sizeof(probe->space);
	for (int k = 0; k < plan->nkeys; k++)
	{
		if (probe->nulls[k])
			bitmap |= 1 << k;
		else
			pack_value(probe, &plan->keys[k], probe->values[k]);
	}
	probe->has_nulls = bitmap != 0;
	if (probe->has_nulls)
	{
		memcpy(extend(probe, sizeof(bitmap)), &bitmap, sizeof(bitmap));
		probe->len += sizeof(bitmap);
	}
}

/* ---- unpacking ------------------------------------------------------------------- */

/* Types with longer alignment inside are copied where a short header is in the
 * way, by whoever detoasts the value; nothing is to be done about it here. */
void
fe_key_unpack(const FePlan *plan, const FeLayout *layout, const FeEntity *e,
			  Datum *values, bool *nulls)
{
	const char *packed = fe_entity_key(layout, e);
	uint16		bitmap = 0;
	Size		off = 0;

	if (e->flags & FE_ENTITY_NULLKEY)
		memcpy(&bitmap, packed + e->keylen - sizeof(bitmap), sizeof(bitmap));
	for (int k = 0; k < plan->nkeys; k++)
	{
		const FeKey *key = &plan->keys[k];

		nulls[k] = (bitmap & (1 << k)) != 0;
		if (nulls[k])
		{
			values[k] = (Datum) 0;
			continue;
		}
		if (key->typlen == -1)
			off = att_align_pointer(off, TYPALIGN_DOUBLE, -1, packed + off);
		else
			off = att_align_nominal(off, key->typalign);
		values[k] = fetch_att(packed + off, key->typbyval, key->typlen);
		off = att_addlength_pointer(off, key->typlen, packed + off);
	}
}

/* ---- keys from outside ------------------------------------------------------------ */

/* Bytes of the value at off, 0 if it does not end before limit. */
static Size
value_size(const FeKey *key, const char *packed, Size off, Size limit)
{
	Size		left = limit - off;
	const char *p = packed + off;
	Size		size;

	if (key->typlen > 0)
		size = key->typlen;
	else if (key->typlen == -2)
		size = strnlen(p, left) + 1;
	else if (left == 0 || VARATT_IS_1B_E(p) || (!VARATT_IS_1B(p) && left < VARHDRSZ))
		return 0;
	else if (VARATT_IS_1B(p))
		size = VARSIZE_1B(p);
	else
		size = VARATT_IS_4B_U(p) && VARSIZE_4B(p) >= VARHDRSZ ? VARSIZE_4B(p) : 0;
	return size <= left ? size : 0;
}

bool
fe_key_read(const FePlan *plan, const char *packed, Size len, bool has_nulls, FeKeyProbe *probe)
{
	uint16		bitmap = 0;
	Size		limit = len;
	Size		off = 0;

	probe->packed = (char *) probe->space;
	if (has_nulls && len < sizeof(bitmap))
		return false;
	if (has_nulls)
	{
		limit -= sizeof(bitmap);
		memcpy(&bitmap, packed + limit, sizeof(bitmap));
	}
	for (int k = 0; k < plan->nkeys; k++)
	{
		const FeKey *key = &plan->keys[k];
		Size		size;

		probe->values[k] = (Datum) 0;
		probe->nulls[k] = (bitmap & (1 << k)) != 0;
		if (probe->nulls[k])
			continue;
		if (key->typlen != -1)
			off = att_align_nominal(off, key->typalign);
		else if (off < limit)
			off = att_align_pointer(off, TYPALIGN_DOUBLE, -1, packed + off);
		if (off > limit || (size = value_size(key, packed, off, limit)) == 0)
			return false;
		probe->values[k] = fetch_att(packed + off, key->typbyval, key->typlen);
		off += size;
	}
	/* whatever else may be wrong is different when packed anew */
	fe_key_pack(plan, probe);
	if (off != limit || probe->len != len || probe->has_nulls != has_nulls ||
		memcmp(probe->packed, packed, len) != 0)
		return false;
	probe->hash = fe_key_hash_keys(plan, probe->values, probe->nulls);
	return true;
}

void
fe_key_free(FeKeyProbe *probe)
{
	if (probe->packed != (char *) probe->space)
		pfree(probe->packed);
}

/* ---- comparing -------------------------------------------------------------------- */

bool
fe_key_equal_slow(const FePlan *plan, const FeLayout *layout, const FeEntity *e,
				  const FeKeyProbe *probe)
{
	Datum		values[FE_MAX_KEYS];
	bool		nulls[FE_MAX_KEYS];

	fe_key_unpack(plan, layout, e, values, nulls);
	for (int k = 0; k < plan->nkeys; k++)
	{
		FeKey	   *key = &plan->keys[k];

		if (nulls[k] != probe->nulls[k])
			return false;
		if (!nulls[k] &&
			!DatumGetBool(FunctionCall2Coll(&key->eq, key->collation,
											values[k], probe->values[k])))
			return false;
	}
	return true;
}
