/* links: src/capture/record.c */
/* flags: -Wno-missing-field-initializers */
/*
 * test_record.c
 *		Unit tests of the change record: what is written is read again, for every
 *		form of column; and whatever else is read raises an error or stays inside
 *		the record.  Every record is read from memory of exactly its size, so that
 *		the address sanitizer sees a byte too far.  TAP output; fixed seeds.
 */
#include "rows.h"
#include "tap.h"

/* ---- reading back ------------------------------------------------------------ */

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

/* ---- round trips --------------------------------------------------------------- */

static const FeRecordKind change_kinds[] = {
	FE_RECORD_INSERT, FE_RECORD_UPDATE, FE_RECORD_DELETE, FE_RECORD_READ
};

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
		rec.lsn == written_lsn &&
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
	fe_record_write_truncate(&buf, RELID, false);
	fe_record_write_truncate(&buf, RELID, true);
	fe_record_write_commit(&buf);
	cursor = buf.data;
	limit = buf.data + buf.len;
	ok(fe_record_read(&cursor, limit, &rec) && rec.kind == FE_RECORD_BEGIN &&
	   rec.xid == 4294967295U && rec.commit_lsn == UINT64CONST(0x1234567890) &&
	   rec.end_lsn == UINT64CONST(0x1234567998) && rec.commit_time == -5,
	   "BEGIN carries xid, both LSNs and the commit time");
	ok(fe_record_read(&cursor, limit, &rec) && rec.kind == FE_RECORD_TRUNCATE &&
	   rec.relid == RELID && !rec.has_old && !rec.has_new, "TRUNCATE carries the relation");
	ok(fe_record_read(&cursor, limit, &rec) && rec.kind == FE_RECORD_TRUNCATE_PART &&
	   rec.relid == RELID && !rec.has_old && !rec.has_new, "so does TRUNCATE of a part");
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
		fe_record_write_change(&buf, FE_RECORD_INSERT, table, InvalidXLogRecPtr, NULL, NULL,
							   &value, &state);
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
	return done_testing();
}
