/*
 * columns.c
 *		Copies the captured columns out of a decoded heap tuple.
 *
 * Runs in the output plugin's change callback, under the historic snapshot:
 * column by column, by number, nothing of a type is called.  No locks.
 *
 * This is heap_deform_tuple cut down to what is captured: it stops at the last
 * captured column and jumps over columns before it wherever offsets are fixed.
 * Captured columns are described by the catalogue of the present, the tuple by
 * that of its time; where the two do not agree (the column did not exist yet,
 * was dropped, or had another type), its value is not known and the column is
 * marked absent.  That happens only while decoding is behind such a DDL, for
 * tables captured since: no view depends on the value then.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "capture/plugin.h"
#include "runtime/compat.h"

/* Is this attribute of the past what the capture set describes? */
static inline bool
attribute_fits(Form_pg_attribute att, const FeCaptureColumn *column)
{
	return att->attlen == column->attlen &&
		att->attbyval == column->attbyval &&
		att->attalign == column->attalign &&
		!att->attisdropped &&
		(!OidIsValid(column->atttypid) || att->atttypid == column->atttypid);
}

/*
 * Stores one value.  True: memory was allocated for it.  A value in the TOAST
 * table did not change in this update, and is not in the tuple: absent, until
 * the caller finds it in the old row.
 */
static inline bool
store_value(Form_pg_attribute att, Datum value, Datum *result, char *state,
			bool *has_external, MemoryContext detoast_context)
{
	*state = FE_COLUMN_VALUE;
	*result = value;
	if (att->attlen == -1)
	{
		char	   *data = DatumGetPointer(value);

		if (unlikely(VARATT_IS_EXTERNAL(data) || VARATT_IS_COMPRESSED(data)))
		{
			MemoryContext old;

			if (VARATT_IS_EXTERNAL_ONDISK(data))
			{
				*state = FE_COLUMN_ABSENT;
				*has_external = true;
				return false;
			}
			old = MemoryContextSwitchTo(detoast_context);
			*result = PointerGetDatum(PG_DETOAST_DATUM(value));
			MemoryContextSwitchTo(old);
			return true;
		}
	}
	return false;
}

/* The columns that the tuple is too short for: added after it was written. */
static bool
copy_missing(const FeCaptureTable *table, int next, TupleDesc desc, Datum *values,
			 char *states, MemoryContext detoast_context)
{
	bool		allocated = false;

	for (; next < table->natts; next++)
	{
		const FeCaptureColumn *column = &table->atts[next];
		bool		isnull;
		bool		external;
		Datum		value;

		values[next] = (Datum) 0;
		states[next] = FE_COLUMN_ABSENT;
		if (column->attnum > desc->natts ||
			!attribute_fits(TupleDescAttr(desc, column->attnum - 1), column))
			continue;
		value = getmissingattr(desc, column->attnum, &isnull);
		if (isnull)
			states[next] = FE_COLUMN_NULL;
		else
			allocated |= store_value(TupleDescAttr(desc, column->attnum - 1), value,
									 &values[next], &states[next], &external,
									 detoast_context);
	}
	return allocated;
}

/*
 * Fills values and states (arrays by position in the capture table).  Values
 * point into the tuple, the tuple descriptor or detoast_context; returns
 * whether anything was allocated there.  *has_external is set when a value
 * is one of an unchanged TOAST column.  One loop, if a long one, as in
 * heap_deform_tuple: it runs over every column of every change.
 */
bool
fe_copy_columns(const FeCaptureTable *table, TupleDesc desc, HeapTuple tuple,
				Datum *values, char *states, bool *has_external,
				MemoryContext detoast_context)
{
	HeapTupleHeader header = tuple->t_data;
	bool		hasnulls = HeapTupleHasNulls(tuple);
	bits8	   *bits = header->t_bits;
	char	   *data = (char *) header + header->t_hoff;
	int			natts = Min(HeapTupleHeaderGetNatts(header), desc->natts);
	bool		slow = false;	/* offsets are not fixed any more */
	bool		allocated = false;
	uint32		off = 0;
	int			next = 0;

	natts = Min(natts, table->max_attnum);
	for (int attno = 0; attno < natts; attno++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, attno);
		FeCompatDeformAttr *form = fe_compat_deform_attr(desc, attno);
		const FeCaptureColumn *column = &table->atts[next];
		bool		captured = column->attnum == attno + 1;

		if (hasnulls && att_isnull(attno, bits))
		{
			slow = true;
			if (captured)
			{
				values[next] = (Datum) 0;
				states[next++] = attribute_fits(att, column) ? FE_COLUMN_NULL
					: FE_COLUMN_ABSENT;
			}
			continue;
		}

		/* as heap_deform_tuple does it */
		if (!slow && form->attcacheoff >= 0)
			off = form->attcacheoff;
		else if (form->attlen == -1)
		{
			if (!slow && off == fe_compat_align_nominal(off, form))
				form->attcacheoff = off;
			else
			{
				off = fe_compat_align_pointer(off, form, data + off);
				slow = true;
			}
		}
		else
		{
			off = fe_compat_align_nominal(off, form);
			if (!slow)
				form->attcacheoff = off;
		}

		if (captured)
		{
			if (likely(attribute_fits(att, column)))
				allocated |= store_value(att, fetchatt(form, data + off), &values[next],
										 &states[next], has_external, detoast_context);
			else
			{
				values[next] = (Datum) 0;
				states[next] = FE_COLUMN_ABSENT;
			}
			next++;
		}
		off = att_addlength_pointer(off, form->attlen, data + off);
		if (form->attlen <= 0)
			slow = true;
	}
	if (unlikely(next < table->natts))
		allocated |= copy_missing(table, next, desc, values, states, detoast_context);
	return allocated;
}
