/*
 * arguments.c
 *		A row of an aggregate's arguments as bytes, and back (see sql_call.h).
 *
 * pack_arguments() is part of the row program, where an aggregate has several
 * arguments or keeps them all: it runs in the ingest worker.  Unpacking is done
 * by who reads, without a lock.
 *
 * A row that leaves must give the bytes that it gave when it entered.  So values
 * are detoasted, and those of composite types are formed anew, without
 * compression: the fields of the same row may come compressed or not.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "aggregate/sql_call.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(fe_pack_arguments);

/* ---- one form for each value ------------------------------------------------------ */

static bool
is_composite(Oid type)
{
	return get_typtype(getBaseType(type)) == TYPTYPE_COMPOSITE;
}

/* Is it a composite type, or an array of one? */
static bool
has_fields(Oid type)
{
	Oid			element = get_element_type(getBaseType(type));

	return is_composite(type) || (OidIsValid(element) && is_composite(element));
}

static Datum flat_value(Datum value, Oid type);

static Datum
flat_composite(Datum value)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
											  HeapTupleHeaderGetTypMod(header));
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	HeapTupleData tuple;
	HeapTuple	flat;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
		if (!nulls[i] && TupleDescAttr(desc, i)->attlen == -1)
			values[i] = flat_value(values[i], TupleDescAttr(desc, i)->atttypid);
	flat = heap_form_tuple(desc, values, nulls);
	ReleaseTupleDesc(desc);
	return HeapTupleGetDatum(flat);
}

static Datum
flat_array(Datum value, Oid element)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(array, element, -1, false, TYPALIGN_DOUBLE, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			values[i] = flat_value(values[i], element);
	return PointerGetDatum(construct_md_array(values, nulls, ARR_NDIM(array), ARR_DIMS(array),
											  ARR_LBOUND(array), element, -1, false,
											  TYPALIGN_DOUBLE));
}

static Datum
flat_value(Datum value, Oid type)
{
	Oid			element = get_element_type(getBaseType(type));

	if (is_composite(type))
		return flat_composite(value);
	if (OidIsValid(element) && is_composite(element))
		return flat_array(value, element);
	return PointerGetDatum(PG_DETOAST_DATUM(value));
}

/* ---- to bytes ---------------------------------------------------------------------- */

typedef struct PackedColumn
{
	Oid			type;
	int16		len;
	bool		byval;
	bool		fields;
} PackedColumn;

typedef struct PackedRow
{
	int			ncolumns;
	PackedColumn columns[FLEXIBLE_ARRAY_MEMBER];
} PackedRow;

static PackedRow *
describe_row(FunctionCallInfo fcinfo)
{
	int			n = PG_NARGS() - 1;
	PackedRow  *row = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt,
										 offsetof(PackedRow, columns) + n * sizeof(PackedColumn));

	row->ncolumns = n;
	for (int i = 0; i < n; i++)
	{
		PackedColumn *column = &row->columns[i];

		column->type = get_fn_expr_argtype(fcinfo->flinfo, i + 1);
		if (!OidIsValid(column->type))
			elog(ERROR, "could not determine data type of argument %d", i + 1);
		get_typlenbyval(column->type, &column->len, &column->byval);
		if (column->len == -2)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("values of type %s cannot be kept", format_type_be(column->type))));
		column->fields = column->len == -1 && has_fields(column->type);
	}
	return row;
}

/* Bytes of a length, 7 bits each. */
static inline int
length_bytes(Size len)
{
	int			n = 1;

	for (; len >= 0x80; len >>= 7)
		n++;
	return n;
}

static inline char *
put_length(char *to, Size len)
{
	for (; len >= 0x80; len >>= 7)
		*to++ = (char) (len | 0x80);
	*to++ = (char) len;
	return to;
}

static char *
put_column(char *to, const PackedColumn *column, Datum value)
{
	Size		len = column->len;
	const char *from = DatumGetPointer(value);

	if (column->byval)
	{
		Datum		aligned = 0;	/* to may be anywhere */

		store_att_byval(&aligned, value, column->len);
		memcpy(to, &aligned, len);
		return to + len;
	}
	if (column->len == -1)
	{
		from = VARDATA_ANY(DatumGetPointer(value));
		len = VARSIZE_ANY_EXHDR(DatumGetPointer(value));
		to = put_length(to, len);
	}
	memcpy(to, from, len);
	return to + len;
}

/*
 * pack_arguments(required integer, VARIADIC "any") returns bytea
 *
 * required: bits 0 to 30 are those of columns without which the row does not count:
 * NULL if one of them is.  Bit 31: a byte comes first that says that it is a row.
 */
Datum
fe_pack_arguments(PG_FUNCTION_ARGS)
{
	PackedRow  *row = fcinfo->flinfo->fn_extra;
	uint32		required = (uint32) PG_GETARG_INT32(0);
	Datum		values[FUNC_MAX_ARGS];
	Size		head = required >> 31;
	Size		size;
	bytea	   *result;
	char	   *bitmap;
	char	   *to;

	if (row == NULL)
		fcinfo->flinfo->fn_extra = row = describe_row(fcinfo);
	size = head + (row->ncolumns + BITS_PER_BYTE - 1) / BITS_PER_BYTE;
	for (int i = 0; i < row->ncolumns; i++)
	{
		const PackedColumn *column = &row->columns[i];

		if (PG_ARGISNULL(i + 1))
		{
			if (i < 31 && (required >> i & 1))
				PG_RETURN_NULL();
			continue;
		}
		values[i] = PG_GETARG_DATUM(i + 1);
		if (column->len != -1)
		{
			size += column->len;
			continue;
		}
		values[i] = column->fields ? flat_value(values[i], column->type) :
			PointerGetDatum(PG_DETOAST_DATUM_PACKED(values[i]));
		size += VARSIZE_ANY_EXHDR(DatumGetPointer(values[i]));
		size += length_bytes(VARSIZE_ANY_EXHDR(DatumGetPointer(values[i])));
	}

	result = palloc(VARHDRSZ + size);
	SET_VARSIZE(result, VARHDRSZ + size);
	if (head > 0)
		*VARDATA(result) = FE_KEPT_ROW;
	bitmap = VARDATA(result) + head;
	to = bitmap + (row->ncolumns + BITS_PER_BYTE - 1) / BITS_PER_BYTE;
	memset(bitmap, 0, to - bitmap);
	for (int i = 0; i < row->ncolumns; i++)
	{
		if (PG_ARGISNULL(i + 1))
			bitmap[i / BITS_PER_BYTE] |= 1 << (i % BITS_PER_BYTE);
		else
			to = put_column(to, &row->columns[i], values[i]);
	}
	Assert(to == (char *) result + VARSIZE(result));
	PG_RETURN_BYTEA_P(result);
}

struct varlena *
fe_arguments_pack_state(TupleDesc desc, Datum value, bool isnull)
{
	const FormData_pg_attribute *att = TupleDescAttr(desc, 0);
	PackedColumn column = {.type = att->atttypid, .len = att->attlen, .byval = att->attbyval};
	Size		size = 2;
	bytea	   *result;

	if (!isnull && column.len == -1)
	{
		value = PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
		size += VARSIZE_ANY_EXHDR(DatumGetPointer(value));
		size += length_bytes(VARSIZE_ANY_EXHDR(DatumGetPointer(value)));
	}
	else if (!isnull)
		size += column.len;
	result = palloc(VARHDRSZ + size);
	SET_VARSIZE(result, VARHDRSZ + size);
	VARDATA(result)[0] = FE_KEPT_STATE;
	VARDATA(result)[1] = isnull;
	if (!isnull)
		put_column(VARDATA(result) + 2, &column, value);
	return result;
}

/* ---- and back ------------------------------------------------------------------------ */

pg_noinline static void
fail(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("kept arguments of an aggregate are malformed")));
}

static inline const char *
get_length(const char *from, const char *end, Size *len)
{
	*len = 0;
	for (int shift = 0; from < end && shift < 35; shift += 7)
	{
		Size		byte = (unsigned char) *from++;

		*len |= (byte & 0x7F) << shift;
		if (byte < 0x80)
			return from;
	}
	fail();
	return NULL;
}

/* The value at from; what comes after it is returned. */
static const char *
get_column(const char *from, const char *end, const FormData_pg_attribute *att, Datum *value)
{
	Size		len = att->attlen;
	Pointer		copy;

	if (att->attlen == -1)
		from = get_length(from, end, &len);
	if (len > (Size) (end - from) || len > MaxAllocSize - VARHDRSZ)
		fail();
	if (att->attbyval)
	{
		union
		{
			Datum		align;
			char		bytes[sizeof(Datum)];
		}			u;

		memcpy(u.bytes, from, len);
		*value = fetch_att(u.bytes, true, (int) len);
		return from + len;
	}
	if (att->attlen == -1)
	{
		copy = palloc(len + VARHDRSZ);
		SET_VARSIZE(copy, len + VARHDRSZ);
		memcpy(VARDATA(copy), from, len);
	}
	else
	{
		copy = palloc(len);
		memcpy(copy, from, len);
	}
	*value = PointerGetDatum(copy);
	return from + len;
}

void
fe_arguments_unpack(TupleDesc desc, const char *bytes, Size len, Datum *values, bool *nulls)
{
	const char *end = bytes + len;
	const char *from = bytes + (desc->natts + BITS_PER_BYTE - 1) / BITS_PER_BYTE;

	if (from > end)
		fail();
	for (int i = 0; i < desc->natts; i++)
	{
		nulls[i] = (bytes[i / BITS_PER_BYTE] >> (i % BITS_PER_BYTE)) & 1;
		values[i] = (Datum) 0;
		if (!nulls[i])
			from = get_column(from, end, TupleDescAttr(desc, i), &values[i]);
	}
	if (from != end)
		fail();
}
