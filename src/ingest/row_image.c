/*
 * row_image.c
 *		Some columns of a row as bytes.
 *
 * A bitmap of the columns that are not NULL, then their values as in a tuple,
 * aligned as if the first began at 0: never toasted, a short header wherever it
 * fits, padding zeroed.  So a row that leaves has the bytes with which it came.
 * Pure: no state, no locks; detoasting may read a table's TOAST only where a value
 * still points there, which those of records do not.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/tupmacs.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/lsyscache.h"

#include "ingest/row_image.h"
#include "runtime/compat.h"

#define BITMAP_BYTES(form)	(((form)->ncolumns + 7) / 8)

void
fe_image_column_init(FeImageColumn *column, Oid type)
{
	get_typlenbyvalalign(type, &column->len, &column->byval, &column->align);
	column->packable = column->len == -1 && get_typstorage(type) != TYPSTORAGE_PLAIN;
}

/* ---- writing -------------------------------------------------------------------- */

/* Bytes for a value at the next place of this alignment; zeroed. */
static char *
extend(StringInfo out, Size start, char align, Size bytes)
{
	Size		off = out->len - start;
	Size		pad = att_align_nominal(off, align) - off;

	enlargeStringInfo(out, pad + bytes);
	memset(out->data + out->len, 0, pad + bytes);
	out->len += pad + bytes;
	return out->data + out->len - bytes;
}

static void
put_varlena(StringInfo out, Size start, const FeImageColumn *column, Datum value)
{
	struct varlena *v = PG_DETOAST_DATUM_PACKED(value);
	Size		size = VARSIZE_ANY_EXHDR(v);
	char	   *to;

	if (column->packable && size + VARHDRSZ_SHORT <= VARATT_SHORT_MAX)
	{
		to = extend(out, start, TYPALIGN_CHAR, size + VARHDRSZ_SHORT);
		SET_VARSIZE_SHORT(to, size + VARHDRSZ_SHORT);
		memcpy(VARDATA_SHORT(to), VARDATA_ANY(v), size);
	}
	else
	{
		to = extend(out, start, TYPALIGN_DOUBLE, size + VARHDRSZ);
		SET_VARSIZE(to, size + VARHDRSZ);
		memcpy(VARDATA(to), VARDATA_ANY(v), size);
	}
	if ((Pointer) v != DatumGetPointer(value))
		pfree(v);
}

static void
put_value(StringInfo out, Size start, const FeImageColumn *column, Datum value)
{
	Size		size;

	if (column->len == -1)
	{
		put_varlena(out, start, column, value);
		return;
	}
	if (column->byval)
	{
		store_att_byval(extend(out, start, column->align, column->len), value, column->len);
		return;
	}
	size = column->len > 0 ? column->len : strlen(DatumGetCString(value)) + 1;
	memcpy(extend(out, start, column->align, size), DatumGetPointer(value), size);
}

bytea *
fe_row_image(const FeImageForm *form, const Datum *values, const bool *nulls)
{
	StringInfoData out;
	Size		head = VARHDRSZ + BITMAP_BYTES(form);
	Size		start = MAXALIGN(head);

	/* values are written where they are aligned, and then moved up to the bitmap */
	initStringInfo(&out);
	(void) extend(&out, 0, TYPALIGN_CHAR, start);
	for (int i = 0; i < form->ncolumns; i++)
	{
		if (nulls[i])
			continue;
		out.data[VARHDRSZ + i / 8] |= 1 << i % 8;
		put_value(&out, start, &form->columns[i], values[i]);
	}
	memmove(out.data + head, out.data + start, out.len - start);
	SET_VARSIZE(out.data, out.len - start + head);
	return (bytea *) out.data;
}

/* ---- reading -------------------------------------------------------------------- */

void
fe_row_image_read(const FeImageForm *form, Datum image, Datum *values, bool *nulls)
{
	const unsigned char *bitmap = (unsigned char *) VARDATA_ANY(DatumGetPointer(image));
	Size		size = VARSIZE_ANY_EXHDR(DatumGetPointer(image)) - BITMAP_BYTES(form);
	char	   *data = palloc(size + 1);
	Size		off = 0;

	memcpy(data, bitmap + BITMAP_BYTES(form), size);
	for (int i = 0; i < form->ncolumns; i++)
	{
		const FeImageColumn *column = &form->columns[i];

		nulls[i] = (bitmap[i / 8] & (1 << i % 8)) == 0;
		values[i] = (Datum) 0;
		if (nulls[i])
			continue;
		if (column->len == -1)
			off = att_align_pointer(off, TYPALIGN_DOUBLE, -1, data + off);
		else
			off = att_align_nominal(off, column->align);
		values[i] = fetch_att(data + off, column->byval, column->len);
		off = att_addlength_pointer(off, column->len, data + off);
	}
	Assert(off == size);
}

bool
fe_row_image_equal(Datum a, Datum b)
{
	Size		size = VARSIZE_ANY_EXHDR(DatumGetPointer(a));

	return size == VARSIZE_ANY_EXHDR(DatumGetPointer(b)) &&
		memcmp(VARDATA_ANY(DatumGetPointer(a)), VARDATA_ANY(DatumGetPointer(b)), size) == 0;
}
