/*
 * rows.h
 *		Tables with columns of every form, random rows of them, and change records
 *		of those.  Include it once, in a test program.
 */
#ifndef FE_TEST_ROWS_H
#define FE_TEST_ROWS_H

#include "pg_doubles.h"

#include "capture/record.h"
#include "catalog/pg_type_d.h"

#define MAX_COLUMNS		12
#define FORMS			14
#define RELID			4711

/* ---- random numbers: the same ones everywhere ---------------------------- */

static uint64 random_state = 1;

static uint32
random_below(uint32 n)
{
	random_state = random_state * UINT64CONST(6364136223846793005) +
		UINT64CONST(1442695040888963407);
	return (uint32) (random_state >> 33) % n;
}

/* ---- rows to write --------------------------------------------------------- */

/* Every form a type can have in PostgreSQL. */
static const FeCaptureColumn forms[FORMS] = {
	{0, 1, true, TYPALIGN_CHAR},	/* boolean */
	{0, 2, true, TYPALIGN_SHORT},	/* smallint */
	{0, 4, true, TYPALIGN_INT}, /* integer */
	{0, 8, true, TYPALIGN_DOUBLE},	/* bigint */
	{0, 16, false, TYPALIGN_CHAR},	/* uuid */
	{0, 64, false, TYPALIGN_CHAR},	/* name */
	{0, 6, false, TYPALIGN_SHORT},	/* tid */
	{0, 6, false, TYPALIGN_INT},	/* macaddr */
	{0, 12, false, TYPALIGN_DOUBLE},	/* timetz */
	{0, 16, false, TYPALIGN_DOUBLE},	/* interval */
	{0, 3, false, TYPALIGN_CHAR},	/* an odd one of a user */
	{0, -1, false, TYPALIGN_INT},	/* text */
	{0, -1, false, TYPALIGN_DOUBLE},	/* int8[] */
	{0, -2, false, TYPALIGN_CHAR}	/* cstring */
};

typedef struct Row
{
	Datum		values[MAX_COLUMNS];
	char		states[MAX_COLUMNS];
	Size		sizes[MAX_COLUMNS]; /* of by-reference values */
} Row;

static void
set_columns(FeCaptureTable *table, FeCaptureColumn *columns, int natts)
{
	AttrNumber	attnum = 0;

	for (int i = 0; i < natts; i++)
	{
		columns[i] = forms[random_below(FORMS)];
		columns[i].attnum = attnum += 1 + random_below(3);
	}
	table->relid = RELID;
	table->natts = natts;
	table->atts = columns;
	table->max_attnum = attnum;
}

static void
fill_random(char *p, Size size)
{
	for (Size i = 0; i < size; i++)
		p[i] = (char) random_below(256);
}

static Datum
random_varlena(Size *size)
{
	static const Size lengths[] = {0, 1, 60, 124, 125, 126, 127, 252, 60 + 64, 1000, 5000};
	Size		length = lengths[random_below(lengthof(lengths))];
	bool		is_short = length <= VARATT_SHORT_MAX - VARHDRSZ_SHORT && random_below(2) == 0;
	char	   *p;

	*size = length + (is_short ? VARHDRSZ_SHORT : VARHDRSZ);
	p = palloc(*size);
	fill_random(p, *size);
	if (is_short)
		SET_VARSIZE_SHORT(p, *size);
	else
		SET_VARSIZE(p, *size);
	return PointerGetDatum(p);
}

static Datum
random_value(const FeCaptureColumn *column, Size *size)
{
	int64		number = ((int64) random_below(UINT32_MAX) << 32) | random_below(UINT32_MAX);
	char	   *p;

	*size = 0;
	if (column->attbyval)
	{
		switch (column->attlen)
		{
			case 1:
				return CharGetDatum((char) number);
			case 2:
				return Int16GetDatum((int16) number);
			case 4:
				return Int32GetDatum((int32) number);
			default:
				return Int64GetDatum(number);
		}
	}
	if (column->attlen == -1)
		return random_varlena(size);
	*size = column->attlen > 0 ? column->attlen : 1 + random_below(40);
	p = palloc(*size);
	fill_random(p, *size);
	if (column->attlen == -2)
	{
		for (Size i = 0; i < *size; i++)
			p[i] |= 1;
		p[*size - 1] = '\0';
	}
	return PointerGetDatum(p);
}

static void
make_row(const FeCaptureTable *table, Row *row)
{
	for (int i = 0; i < table->natts; i++)
	{
		uint32		kind = random_below(8);

		row->states[i] = kind == 0 ? FE_COLUMN_NULL
			: kind == 1 ? FE_COLUMN_ABSENT : FE_COLUMN_VALUE;
		row->values[i] = random_value(&table->atts[i], &row->sizes[i]);
	}
}

static void
free_row(const FeCaptureTable *table, Row *row)
{
	for (int i = 0; i < table->natts; i++)
		if (!table->atts[i].attbyval)
			pfree(DatumGetPointer(row->values[i]));
}

/* ---- records ------------------------------------------------------------------ */

static XLogRecPtr written_lsn;	/* of the last change; some tell none */

static void
write_change(StringInfo buf, FeRecordKind kind, const FeCaptureTable *table,
			 const Row *old, const Row *new)
{
	written_lsn = random_below(2) ? InvalidXLogRecPtr : 1 + random_below(UINT32_MAX);
	fe_record_write_change(buf, kind, table, written_lsn, old ? old->values : NULL,
						   old ? old->states : NULL, new ? new->values : NULL,
						   new ? new->states : NULL);
}

/* One record of each kind, on a table with a column of every form. */
static int
make_samples(FeCaptureTable *table, FeCaptureColumn *columns, StringInfoData *samples)
{
	Row			old;
	Row			new;
	int			n = 0;

	random_state = 5;
	for (int i = 0; i < MAX_COLUMNS; i++)
	{
		columns[i] = forms[FORMS - 1 - i];
		columns[i].attnum = i + 1;
	}
	*table = (FeCaptureTable) {RELID, MAX_COLUMNS, columns, MAX_COLUMNS};
	make_row(table, &old);
	make_row(table, &new);
	for (int i = 0; i < 9; i++)
		initStringInfo(&samples[i]);
	fe_record_write_begin(&samples[n++], 1, 2, 3, 4);
	fe_record_write_commit(&samples[n++]);
	fe_record_write_truncate(&samples[n++], RELID, false);
	write_change(&samples[n++], FE_RECORD_INSERT, table, NULL, &new);
	write_change(&samples[n++], FE_RECORD_UPDATE, table, &old, &new);
	write_change(&samples[n++], FE_RECORD_UPDATE, table, NULL, &new);
	write_change(&samples[n++], FE_RECORD_DELETE, table, &old, NULL);
	write_change(&samples[n++], FE_RECORD_DELETE, table, NULL, NULL);
	write_change(&samples[n++], FE_RECORD_READ, table, NULL, &new);
	return n;
}

/* ---- reading them --------------------------------------------------------------- */

typedef struct Spread
{
	Datum		values[MAX_COLUMNS * 3];
	bool		nulls[MAX_COLUMNS * 3];
	char		states[MAX_COLUMNS * 3];
} Spread;

/* A copy in memory of exactly that size. */
static char *
exact_copy(const char *data, Size size)
{
	char	   *copy = malloc(Max(size, 1));

	if (size > 0)
		memcpy(copy, data, size);
	return copy;
}

#endif							/* FE_TEST_ROWS_H */
