/* links: src/capture/record.c src/capture/batch.c */
/* flags: -Wno-missing-field-initializers -Wno-unused-function -DUSE_ASSERT_CHECKING=1 */
/* flags: -DWINDOW_BYTES=64 */
/*
 * record.c
 *		Fuzz target: change records, from memory and through a batch's file.
 *
 * Input: a byte with the number of captured columns, a byte that chooses their
 * forms (rows.h), six unused ones, then records.  They must be read the same
 * way from memory and from a file, of which a small window is in memory; all
 * that they say must lie inside of the input.
 */
#include "../unit/rows.h"
#include "capture/internal.h"
#include "fuzz.h"
#include "storage/buffile.h"

#define HEAD	8

/* ---- doubles of what batch.c wants from a server ------------------------------ */

MemoryContext CurrentMemoryContext = NULL;
MemoryContext TopMemoryContext = NULL;
static void *pieces[16];		/* of the one context */

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name, Size a, Size b, Size c)
{
	return NULL;
}

void *
MemoryContextAlloc(MemoryContext cxt, Size size)
{
	for (int i = 0; i < lengthof(pieces); i++)
		if (pieces[i] == NULL)
			return pieces[i] = palloc(size);
	fuzz_bug("too many pieces of memory");
	return NULL;
}

void *
MemoryContextAllocZero(MemoryContext cxt, Size size)
{
	return memset(MemoryContextAlloc(cxt, size), 0, size);
}

void *
repalloc_huge(void *p, Size size)
{
	for (int i = 0; i < lengthof(pieces); i++)
		if (pieces[i] == p)
			return pieces[i] = repalloc(p, size);
	fuzz_bug("an unknown piece of memory");
	return NULL;
}

void
MemoryContextDelete(MemoryContext cxt)
{
	for (int i = 0; i < lengthof(pieces); i++)
	{
		free(pieces[i]);
		pieces[i] = NULL;
	}
}

int
errcode_for_file_access(void)
{
	return errcode(ERRCODE_IO_ERROR);
}

struct BufFile
{
	StringInfoData data;
	Size		at;
};

BufFile *
BufFileCreateTemp(bool interXact)
{
	BufFile    *file = palloc0(sizeof(BufFile));

	initStringInfo(&file->data);
	return file;
}

void
BufFileClose(BufFile *file)
{
	pfree(file->data.data);
	pfree(file);
}

void
BufFileWrite(BufFile *file, FeCompatFileBytes *bytes, size_t size)
{
	appendBinaryStringInfo(&file->data, (FeCompatBinary *) bytes, (int) size);
}

size_t
BufFileRead(BufFile *file, void *to, size_t size)
{
	size_t		n = Min(size, file->data.len - file->at);

	memcpy(to, file->data.data + file->at, n);
	file->at += n;
	return n;
}

int
BufFileSeek(BufFile *file, int fileno, off_t offset, int whence)
{
	file->at = offset;
	return 0;
}

/* ---- reading ---------------------------------------------------------------------- */

/* What was read, so that two ways of reading can be compared. */
typedef struct Reading
{
	uint64		digest;
	bool		raised;
	char		message[200];
} Reading;

static void
note(Reading *r, const void *bytes, Size len)
{
	for (Size i = 0; i < len; i++)
		r->digest = (r->digest ^ ((const unsigned char *) bytes)[i]) * UINT64CONST(1099511628211);
}

static void
note_number(Reading *r, uint64 n)
{
	note(r, &n, sizeof(n));
}

/* Touches all of a row. */
static void
note_row(Reading *r, const FeCaptureTable *table, const FeRecord *rec, bool old)
{
	const char *start = old ? rec->old_image : rec->new_image;
	Spread		got;

	note_number(r, fe_record_read_image(rec, old, table, got.values, got.nulls, got.states));
	for (int i = 0; i < table->natts; i++)
	{
		const FeCaptureColumn *column = &table->atts[i];
		int			attr = column->attnum - 1;
		const char *p = DatumGetPointer(got.values[attr]);
		Size		len;

		note(r, &got.states[attr], 1);
		if (got.nulls[attr] != (got.states[attr] != FE_COLUMN_VALUE))
			fuzz_bug("a column is NULL and has a value");
		if (got.nulls[attr])
			continue;
		if (column->attbyval)
		{
			note_number(r, got.values[attr]);
			continue;
		}
		if (p < start || p >= rec->end)
			fuzz_bug("a value is outside of its record");
		len = column->attlen > 0 ? column->attlen
			: column->attlen == -1 ? VARSIZE_ANY(p) : strnlen(p, rec->end - p) + 1;
		if (len > rec->end - p)
			fuzz_bug("a value reaches out of its record");
		note(r, p, len);
	}
}

static void
note_record(Reading *r, const FeCaptureTable *table, const FeRecord *rec)
{
	note_number(r, rec->kind);
	switch (rec->kind)
	{
		case FE_RECORD_BEGIN:
			note_number(r, rec->xid);
			note_number(r, rec->commit_lsn);
			note_number(r, rec->end_lsn);
			note_number(r, rec->commit_time);
			break;
		case FE_RECORD_COMMIT:
			break;
		default:
			note_number(r, rec->relid);
			note_number(r, rec->lsn);
			if (rec->has_old)
				note_row(r, table, rec, true);
			if (rec->has_new)
				note_row(r, table, rec, false);
	}
}

static void
end_reading(Reading *r, bool raised)
{
	r->raised = raised;
	r->message[0] = '\0';
	if (!raised)
		return;
	if (test_error_code != ERRCODE_DATA_CORRUPTED)
		fuzz_bug(test_error_message);
	strlcpy(r->message, test_error_message, sizeof(r->message));
}

static void
read_memory(Reading *r, const FeCaptureTable *table, const char *data, Size size)
{
	bool		raised;

	TEST_TRY(raised)
	{
		const char *cursor = data;
		FeRecord	rec;

		while (fe_record_read(&cursor, data + size, &rec))
			note_record(r, table, &rec);
	}
	TEST_END(raised);
	end_reading(r, raised);
}

static void
read_file(Reading *r, const FeCaptureTable *table, const char *data, Size size)
{
	FeBatch    *batch = fe_batch_create();
	bool		raised;

	appendBinaryStringInfo(fe_batch_buffer(batch), data, (int) size);
	fe_batch_spill(batch);
	fe_batch_finish(batch, 0);
	TEST_TRY(raised)
	{
		FeRecord	rec;

		while (fe_batch_next(batch, &rec))
			note_record(r, table, &rec);
	}
	TEST_END(raised);
	end_reading(r, raised);
	fe_batch_free(batch);
}

/* ---- inputs ------------------------------------------------------------------------- */

static void
choose_table(FeCaptureTable *table, FeCaptureColumn *columns, const uint8_t *head)
{
	int			natts = head[0] % (MAX_COLUMNS + 1);

	for (int i = 0; i < natts; i++)
	{
		columns[i] = forms[(head[1] + i) % FORMS];
		columns[i].attnum = i + 1;
	}
	*table = (FeCaptureTable) {RELID, natts, columns, natts};
}

static void
sample_change(const char *name, FeRecordKind kind, uint8 natts, uint8 form, bool old, bool new)
{
	char		head[HEAD] = {(char) natts, (char) form};
	FeCaptureColumn columns[MAX_COLUMNS];
	FeCaptureTable table;
	StringInfoData buf;
	Row			rows[2];

	choose_table(&table, columns, (const uint8_t *) head);
	make_row(&table, &rows[0]);
	make_row(&table, &rows[1]);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, head, HEAD);
	fe_record_write_begin(&buf, 1, 2, 3, 4);
	write_change(&buf, kind, &table, old ? &rows[0] : NULL, new ? &rows[1] : NULL);
	if (natts == 0)
	{
		fe_record_write_truncate(&buf, RELID, false);
		fe_record_write_truncate(&buf, RELID, true);
	}
	fe_record_write_commit(&buf);
	fuzz_sample(name, buf.data, buf.len);
	for (int i = 0; i < 2; i++)
		free_row(&table, &rows[i]);
	pfree(buf.data);
}

static void
fuzz_samples(void)
{
	char		name[32];

	random_state = 3;
	for (int form = 0; form < FORMS; form++)
	{
		snprintf(name, sizeof(name), "form-%02d", form);
		sample_change(name, FE_RECORD_READ, 1, form, false, true);
	}
	sample_change("insert", FE_RECORD_INSERT, 6, 0, false, true);
	sample_change("update", FE_RECORD_UPDATE, 6, 5, true, true);
	sample_change("update-without-old", FE_RECORD_UPDATE, 4, 9, false, true);
	sample_change("delete", FE_RECORD_DELETE, 5, 3, true, false);
	sample_change("delete-without-old", FE_RECORD_DELETE, 5, 3, false, false);
	sample_change("truncate", FE_RECORD_INSERT, 0, 0, false, true);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FeCaptureColumn columns[MAX_COLUMNS];
	FeCaptureTable table;
	Reading		memory = {0};
	Reading		file = {0};
	char	   *copy;

	if (size < HEAD)
		return 0;
	choose_table(&table, columns, data);
	copy = exact_copy((const char *) data + HEAD, size - HEAD);
	read_memory(&memory, &table, copy, size - HEAD);
	read_file(&file, &table, copy, size - HEAD);
	free(copy);
	if (memory.raised != file.raised || memory.digest != file.digest ||
		strcmp(memory.message, file.message) != 0)
		fuzz_bug("a batch in a file is read in another way than one in memory");
	fuzz_accepted = !memory.raised;
	return 0;
}
