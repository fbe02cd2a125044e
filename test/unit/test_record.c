/* links: src/capture/record.c */
/* flags: -Wno-missing-field-initializers */
/*
 * test_record.c
 *		Unit tests of the change record: what is written is read again, for every
 *		form of column; and whatever else is read raises an error or stays inside
 *		the record.  Every record is read from memory of exactly its size, so that
 *		the address sanitizer sees a byte too far.  TAP output; fixed seeds.
 */
#include "pg_doubles.h"

#include "capture/record.h"
#include "catalog/pg_type_d.h"

#define MAX_COLUMNS		12
#define FORMS			14
#define RELID			4711

/* ---- TAP ---------------------------------------------------------------- */

static int	ntests = 0;
static int	nfailed = 0;

static void
ok(bool pass, const char *name)
{
	ntests++;
	if (!pass)
		nfailed++;
	printf("%sok %d - %s\n", pass ? "" : "not ", ntests, name);
}

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

/* ---- reading back ------------------------------------------------------------ */

typedef struct Spread
{
	Datum		values[MAX_COLUMNS * 3];
	bool		nulls[MAX_COLUMNS * 3];
	char		states[MAX_COLUMNS * 3];
} Spread;

static bool
row_equals(const FeCaptureTable *table, const Row *row, const FeRecord *rec, bool old)
{
	Spread		got;
	int			nabsent = fe_record_read_image(rec, old, table, got.values, got.nulls,
											   got.states);

	for (int i = 0; i < table->natts; i++)
	{
		const FeCaptureColumn *column = &table->atts[i];
		int			attr = column->attnum - 1;

		if (got.states[attr] != row->states[i] ||
			got.nulls[attr] != (row->states[i] != FE_COLUMN_VALUE))
			return false;
		if (row->states[i] == FE_COLUMN_ABSENT)
			nabsent--;
		if (row->states[i] != FE_COLUMN_VALUE)
			continue;
		if (column->attbyval ? got.values[attr] != row->values[i]
			: memcmp(DatumGetPointer(got.values[attr]), DatumGetPointer(row->values[i]),
					 row->sizes[i]) != 0)
			return false;
		/* what is read as an int or a double must be aligned as one */
		if (column->attlen > 0 && !column->attbyval &&
			got.values[attr] % (column->attalign == TYPALIGN_DOUBLE ? 8 :
								column->attalign == TYPALIGN_INT ? 4 :
								column->attalign == TYPALIGN_SHORT ? 2 : 1) != 0)
			return false;
	}
	return nabsent == 0;
}

/* A copy in memory of exactly that size. */
static char *
exact_copy(const char *data, Size size)
{
	char	   *copy = malloc(Max(size, 1));

	if (size > 0)
		memcpy(copy, data, size);
	return copy;
}

/* ---- round trips --------------------------------------------------------------- */

static const FeRecordKind change_kinds[] = {
	FE_RECORD_INSERT, FE_RECORD_UPDATE, FE_RECORD_DELETE, FE_RECORD_READ
};

static void
write_change(StringInfo buf, FeRecordKind kind, const FeCaptureTable *table,
			 const Row *old, const Row *new)
{
	fe_record_write_change(buf, kind, table, old ? old->values : NULL,
						   old ? old->states : NULL, new ? new->values : NULL,
						   new ? new->states : NULL);
}

static bool
change_round_trip(int natts)
{
	FeCaptureTable table;
	FeCaptureColumn columns[MAX_COLUMNS];
	Row			old;
	Row			new;
	StringInfoData buf;
	FeRecordKind kind = change_kinds[random_below(4)];
	bool		has_new = kind != FE_RECORD_DELETE;
	bool		has_old = (kind == FE_RECORD_UPDATE || kind == FE_RECORD_DELETE) &&
		random_below(3) > 0;
	FeRecord	rec;
	const char *cursor;
	char	   *copy;
	bool		good;

	set_columns(&table, columns, natts);
	make_row(&table, &old);
	make_row(&table, &new);
	initStringInfo(&buf);
	write_change(&buf, kind, &table, has_old ? &old : NULL, has_new ? &new : NULL);
	copy = exact_copy(buf.data, buf.len);
	cursor = copy;
	good = buf.len % 8 == 0 &&
		fe_record_read(&cursor, copy + buf.len, &rec) &&
		cursor == copy + buf.len && rec.kind == kind && rec.relid == RELID &&
		rec.has_old == has_old && rec.has_new == has_new &&
		(!has_old || row_equals(&table, &old, &rec, true)) &&
		(!has_new || row_equals(&table, &new, &rec, false)) &&
		!fe_record_read(&cursor, copy + buf.len, &rec);
	free_row(&table, &old);
	free_row(&table, &new);
	pfree(buf.data);
	free(copy);
	return good;
}

static void
test_changes(void)
{
	int			bad = 0;

	random_state = 7;
	for (int i = 0; i < 20000; i++)
		if (!change_round_trip(random_below(MAX_COLUMNS + 1)))
			bad++;
	ok(bad == 0, "20000 random changes of random tables are read as written");
}

/* Each form alone, NULL, absent and with a value, after each other form. */
static void
test_forms(void)
{
	int			bad = 0;

	random_state = 11;
	for (int i = 0; i < FORMS * FORMS * 3; i++)
	{
		FeCaptureColumn columns[2];
		FeCaptureTable table = {RELID, 2, columns, 2};
		Row			row;
		StringInfoData buf;
		FeRecord	rec;
		const char *cursor;

		columns[0] = forms[i % FORMS];
		columns[1] = forms[i / FORMS % FORMS];
		columns[0].attnum = 1;
		columns[1].attnum = 2;
		make_row(&table, &row);
		row.states[0] = FE_COLUMN_VALUE;
		row.states[1] = "nva"[i / FORMS / FORMS];
		initStringInfo(&buf);
		write_change(&buf, FE_RECORD_INSERT, &table, NULL, &row);
		cursor = buf.data;
		if (!fe_record_read(&cursor, buf.data + buf.len, &rec) ||
			!row_equals(&table, &row, &rec, false))
			bad++;
		free_row(&table, &row);
		pfree(buf.data);
	}
	ok(bad == 0, "every pair of column forms, with value, NULL and absent");
}

static void
test_transaction(void)
{
	StringInfoData buf;
	FeRecord	rec;
	const char *cursor;
	const char *limit;

	initStringInfo(&buf);
	fe_record_write_begin(&buf, 4294967295U, UINT64CONST(0x1234567890), UINT64CONST(0x1234567998),
						  INT64CONST(-5));
	fe_record_write_truncate(&buf, RELID);
	fe_record_write_commit(&buf);
	cursor = buf.data;
	limit = buf.data + buf.len;
	ok(fe_record_read(&cursor, limit, &rec) && rec.kind == FE_RECORD_BEGIN &&
	   rec.xid == 4294967295U && rec.commit_lsn == UINT64CONST(0x1234567890) &&
	   rec.end_lsn == UINT64CONST(0x1234567998) && rec.commit_time == -5,
	   "BEGIN carries xid, both LSNs and the commit time");
	ok(fe_record_read(&cursor, limit, &rec) && rec.kind == FE_RECORD_TRUNCATE &&
	   rec.relid == RELID && !rec.has_old && !rec.has_new, "TRUNCATE carries the relation");
	ok(fe_record_read(&cursor, limit, &rec) && rec.kind == FE_RECORD_COMMIT &&
	   !fe_record_read(&cursor, limit, &rec), "COMMIT, and the end of the data");
	pfree(buf.data);
}

/* ---- malformed input -------------------------------------------------------------- */

static volatile uint32 checksum;	/* so that reads are not optimised away */

/* Reads a record and touches all of what it says; false where it raised. */
static bool
read_all(const char *data, Size size, const FeCaptureTable *table)
{
	volatile bool complete = false;
	bool		raised;

	TEST_TRY(raised)
	{
		const char *cursor = data;
		FeRecord	rec;

		while (fe_record_read(&cursor, data + size, &rec))
		{
			for (int old = 0; old < 2; old++)
			{
				Spread		got;

				if (rec.kind == FE_RECORD_BEGIN || rec.kind == FE_RECORD_COMMIT ||
					!(old ? rec.has_old : rec.has_new))
					continue;
				fe_record_read_image(&rec, old, table, got.values, got.nulls, got.states);
				for (int i = 0; i < table->natts; i++)
				{
					const FeCaptureColumn *column = &table->atts[i];
					const char *p = DatumGetPointer(got.values[column->attnum - 1]);
					Size		length;

					if (got.nulls[column->attnum - 1] || column->attbyval)
						continue;
					length = column->attlen > 0 ? column->attlen
						: column->attlen == -1 ? VARSIZE_ANY(p) : strlen(p) + 1;
					if (p < data || p + length > data + size)
						printf("# value outside of the data\n"), nfailed++;
					for (Size b = 0; b < length; b++)
						checksum += (unsigned char) p[b];
				}
			}
		}
		complete = true;
	}
	TEST_END(raised);
	if (raised && test_error_code != ERRCODE_DATA_CORRUPTED)
		printf("# wrong error: %s\n", test_error_message), nfailed++;
	return complete;
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
	fe_record_write_truncate(&samples[n++], RELID);
	write_change(&samples[n++], FE_RECORD_INSERT, table, NULL, &new);
	write_change(&samples[n++], FE_RECORD_UPDATE, table, &old, &new);
	write_change(&samples[n++], FE_RECORD_UPDATE, table, NULL, &new);
	write_change(&samples[n++], FE_RECORD_DELETE, table, &old, NULL);
	write_change(&samples[n++], FE_RECORD_DELETE, table, NULL, NULL);
	write_change(&samples[n++], FE_RECORD_READ, table, NULL, &new);
	return n;
}

static void
test_truncation(const FeCaptureTable *table, const StringInfoData *samples, int n)
{
	int			survived = 0;
	int			survived_shorter = 0;

	for (int s = 0; s < n; s++)
	{
		for (int size = 1; size < samples[s].len; size++)
		{
			char	   *copy = exact_copy(samples[s].data, size);

			if (read_all(copy, size, table))
				survived++;
			/* the same with a length that claims to be right */
			if (size % 8 == 0)
			{
				uint32		length = size;

				memcpy(copy, &length, sizeof(length));
				if (read_all(copy, size, table))
					survived_shorter++;
			}
			free(copy);
		}
	}
	ok(survived == 0, "every truncation of every kind of record raises");
	ok(survived_shorter == 0, "also where the length is made to fit");
}

static void
test_bit_flips(const FeCaptureTable *table, const StringInfoData *samples, int n)
{
	int			survived_header = 0;

	for (int s = 0; s < n; s++)
	{
		for (int bit = 0; bit < samples[s].len * 8; bit++)
		{
			char	   *copy = exact_copy(samples[s].data, samples[s].len);

			copy[bit / 8] ^= 1 << (bit % 8);
			/* length and the unused bytes: always noticed */
			if (read_all(copy, samples[s].len, table) && (bit < 32 || (bit >= 48 && bit < 64)))
				survived_header++;
			free(copy);
		}
	}
	ok(survived_header == 0, "a flipped bit in a record's length raises");
	ok(nfailed == 0, "no flipped bit leads outside of the record");
}

static void
test_garbage(const FeCaptureTable *table, const StringInfoData *samples, int n)
{
	random_state = 99;
	for (int i = 0; i < 200000; i++)
	{
		const StringInfoData *sample = &samples[random_below(n)];
		char	   *copy = exact_copy(sample->data, sample->len);
		int			changes = 1 + random_below(6);

		for (int c = 0; c < changes; c++)
		{
			/* mostly where lengths, kinds and states are */
			int			at = random_below(3) ? random_below(Min(sample->len, 48))
				: random_below(sample->len);

			copy[at] = (char) random_below(256);
		}
		(void) read_all(copy, sample->len, table);
		free(copy);
	}
	ok(nfailed == 0, "200000 damaged records: an error or values inside the record");
}

static void
test_wrong_table(const FeCaptureTable *table, const StringInfoData *insert)
{
	FeCaptureTable other = *table;

	other.natts--;
	ok(!read_all(insert->data, insert->len, &other), "a record of other columns raises");
	other = *table;
	other.relid++;
	ok(!read_all(insert->data, insert->len, &other), "a record of another table raises");
}

static bool
write_raises(const FeCaptureTable *table, Datum value)
{
	char		state = FE_COLUMN_VALUE;
	StringInfoData buf;
	bool		raised;

	initStringInfo(&buf);
	TEST_TRY(raised)
	{
		fe_record_write_change(&buf, FE_RECORD_INSERT, table, NULL, NULL, &value, &state);
	}
	TEST_END(raised);
	pfree(buf.data);
	return raised;
}

static void
test_wrong_values(void)
{
	FeCaptureColumn column = {1, -1, false, TYPALIGN_INT};
	FeCaptureTable table = {RELID, 1, &column, 1};
	union
	{
		char		bytes[32];
		int64		aligned;
	}			external = {{0}},
				compressed = {{0}};

	SET_VARTAG_EXTERNAL(external.bytes, VARTAG_ONDISK);
	ok(write_raises(&table, PointerGetDatum(external.bytes)),
	   "a value in the TOAST table cannot be written");
	SET_VARSIZE_COMPRESSED(compressed.bytes, 20);
	ok(write_raises(&table, PointerGetDatum(compressed.bytes)),
	   "a compressed value cannot be written");
}

static void
test_set_find(void)
{
	FeCaptureTable tables[5] = {{10}, {20}, {30}, {40}, {4294967295U}};
	FeCaptureSet set = {5, tables};
	FeCaptureSet empty = {0, NULL};
	bool		good = true;

	for (int i = 0; i < 5; i++)
		good = good && fe_capture_set_find(&set, tables[i].relid) == &tables[i] &&
			fe_capture_set_find(&set, tables[i].relid - 1) == NULL;
	ok(good && fe_capture_set_find(&empty, 10) == NULL, "tables are found by their relation");
}

int
main(void)
{
	FeCaptureTable table;
	FeCaptureColumn columns[MAX_COLUMNS];
	StringInfoData samples[9];
	int			n;

	test_set_find();
	test_transaction();
	test_forms();
	test_changes();
	n = make_samples(&table, columns, samples);
	test_truncation(&table, samples, n);
	test_bit_flips(&table, samples, n);
	test_garbage(&table, samples, n);
	test_wrong_table(&table, &samples[3]);
	test_wrong_values();
	printf("1..%d\n", ntests);
	return nfailed > 0;
}
