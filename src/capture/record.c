/*
 * record.c
 *		The change record: writing and reading it, side by side.
 *
 * Runs wherever decoding runs (writing) and wherever changes are applied
 * (reading: the ingest worker); takes no locks, does no I/O, looks at no
 * catalogue.  Everything here is on the path of every single change.  It is one
 * file, if a long one, because whoever changes the one half must change the other.
 *
 * Layout, in the byte order and alignment of the machine (both ends of a
 * stream are the same build):
 *
 *	record	uint32 length (a multiple of 8), uint8 kind, uint8 flags,
 *			uint16 zero; then by kind
 *	begin	uint32 xid, uint32 zero, uint64 commit LSN, uint64 end LSN,
 *			int64 commit time
 *	truncate	uint32 relation, uint32 zero
 *	change	uint32 relation, uint32 offset of the new image (0 = none),
 *			uint64 its LSN if flagged,
 *			the old image if flagged, the new image if flagged
 *	image	(starts at a multiple of 8) uint16 number of columns, one state
 *			byte per column, then the values of those that have one, each
 *			aligned as its type asks, as in a heap tuple: a varlena with a
 *			short header stands unaligned, padding is zeros.  An image ends
 *			with padding to a multiple of 8, and exactly there the next
 *			image or record starts.
 *
 * Alignment counts from the record's start; since records lie at multiples of
 * 8 in memory, that is the same as aligning addresses.
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "capture/record.h"
#include "runtime/compat.h"
#include "utils/memutils.h"

typedef struct RecordHeader
{
	uint32		length;
	uint8		kind;
	uint8		flags;
	uint16		zero;
} RecordHeader;

typedef struct BeginRecord
{
	RecordHeader header;
	uint32		xid;
	uint32		zero;
	uint64		commit_lsn;
	uint64		end_lsn;
	int64		commit_time;
} BeginRecord;

typedef struct TruncateRecord
{
	RecordHeader header;
	uint32		relid;
	uint32		zero;
} TruncateRecord;

typedef struct ChangeRecord
{
	RecordHeader header;
	uint32		relid;
	uint32		new_offset;
} ChangeRecord;

#define FLAG_OLD			0x01
#define FLAG_NEW			0x02
#define FLAG_LSN			0x04

#define RECORD_ALIGN(n)		TYPEALIGN(8, (n))
#define IMAGE_HEADER		sizeof(uint16)
/* what one column takes at most when its value has 8 bytes or less */
#define COLUMN_SPACE		16

/*
 * Finds a table by its relation; the set's tables are in order.  NULL: not
 * captured.
 */
const FeCaptureTable *
fe_capture_set_find(const FeCaptureSet *set, Oid relid)
{
	int			low = 0;
	int			high = set->ntables - 1;

	while (low <= high)
	{
		int			middle = low + (high - low) / 2;
		const FeCaptureTable *table = &set->tables[middle];

		if (table->relid == relid)
			return table;
		if (table->relid < relid)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

/* Alignment of a type in bytes; a full varlena header is read as an uint32. */
static inline uintptr_t
align_bytes(char attalign)
{
	switch (attalign)
	{
		case TYPALIGN_CHAR:
			return 1;
		case TYPALIGN_SHORT:
			return ALIGNOF_SHORT;
		case TYPALIGN_INT:
			return ALIGNOF_INT;
		default:
			return ALIGNOF_DOUBLE;
	}
}

/* ---- writing ------------------------------------------------------------ */

static pg_noinline void
bad_value(const FeCaptureColumn *column)
{
	elog(ERROR, "value of column %d cannot be written into a change record",
		 column->attnum);
}

/* Makes room for n more bytes and returns the place to write at. */
static inline char *
reserve(StringInfo buf, Size n)
{
	if (unlikely((Size) (buf->maxlen - buf->len) <= n))
	{
		/* enlargeStringInfo takes an int, and refuses more than 1 GB */
		enlargeStringInfo(buf, (int) Min(n, (Size) MaxAllocSize));
	}
	return buf->data + buf->len;
}

static inline char *
start_record(StringInfo buf, Size fixed)
{
	if (unlikely(buf->len % 8 != 0))
		elog(ERROR, "change record would start at unaligned offset %d", buf->len);
	return reserve(buf, fixed);
}

static inline void
set_header(void *record, Size length, FeRecordKind kind, uint8 flags)
{
	RecordHeader *header = record;

	header->length = (uint32) length;
	header->kind = (uint8) kind;
	header->flags = flags;
	header->zero = 0;
}

void
fe_record_write_begin(StringInfo buf, TransactionId xid, XLogRecPtr commit_lsn,
					  XLogRecPtr end_lsn, int64 commit_time)
{
	BeginRecord *record = (BeginRecord *) start_record(buf, sizeof(BeginRecord));

	set_header(record, sizeof(BeginRecord), FE_RECORD_BEGIN, 0);
	record->xid = xid;
	record->zero = 0;
	record->commit_lsn = commit_lsn;
	record->end_lsn = end_lsn;
	record->commit_time = commit_time;
	buf->len += sizeof(BeginRecord);
}

void
fe_record_write_commit(StringInfo buf)
{
	set_header(start_record(buf, sizeof(RecordHeader)), sizeof(RecordHeader),
			   FE_RECORD_COMMIT, 0);
	buf->len += sizeof(RecordHeader);
}

void
fe_record_write_truncate(StringInfo buf, Oid relid, bool part)
{
	TruncateRecord *record = (TruncateRecord *) start_record(buf, sizeof(TruncateRecord));

	set_header(record, sizeof(TruncateRecord),
			   part ? FE_RECORD_TRUNCATE_PART : FE_RECORD_TRUNCATE, 0);
	record->relid = relid;
	record->zero = 0;
	buf->len += sizeof(TruncateRecord);
}

/*
 * Copies size bytes of an aligned or (align 1) unaligned value to p.  Up to 7
 * bytes of padding are cleared at once; COLUMN_SPACE leaves room for that.
 */
static inline char *
put_bytes(char *p, uintptr_t align, const void *data, Size size)
{
	memset(p, 0, 8);
	p = (char *) TYPEALIGN(align, p);
	memcpy(p, data, size);
	return p + size;
}

static inline char *
put_byval(char *p, const FeCaptureColumn *column, Datum value)
{
	memset(p, 0, 8);
	p = (char *) TYPEALIGN(align_bytes(column->attalign), p);
	switch (column->attlen)
	{
		case 8:
			memcpy(p, &value, 8);
			break;
		case 4:
			{
				int32		v = DatumGetInt32(value);

				memcpy(p, &v, 4);
				break;
			}
		case 2:
			{
				int16		v = DatumGetInt16(value);

				memcpy(p, &v, 2);
				break;
			}
		case 1:
			*p = DatumGetChar(value);
			break;
		default:
			bad_value(column);
	}
	return p + column->attlen;
}

/*
 * A value by reference; rest is the space that the columns after it may need.
 * The buffer may move: p is its current end, and the new end is returned.
 */
static char *
put_byref(StringInfo buf, char *p, const FeCaptureColumn *column, Datum value, Size rest)
{
	const char *data = DatumGetPointer(value);
	uintptr_t	align = align_bytes(column->attalign);
	Size		size;

	if (column->attlen > 0)
		size = column->attlen;
	else if (column->attlen == -2)
	{
		size = strlen(data) + 1;
		align = 1;
	}
	else if (column->attlen != -1)
	{
		bad_value(column);
		return p;				/* not reached */
	}
	else if (VARATT_IS_SHORT(data) && !VARATT_IS_EXTERNAL(data))
	{
		size = VARSIZE_SHORT(data);
		align = 1;
	}
	else
	{
		if (unlikely(VARATT_IS_EXTERNAL(data) || VARATT_IS_COMPRESSED(data)))
			bad_value(column);
		size = VARSIZE(data);
		align = Max(align, (uintptr_t) ALIGNOF_INT);
	}

	buf->len = p - buf->data;
	p = reserve(buf, size + rest);
	return put_bytes(p, align, data, size);
}

/* Writes an image at buf->len, a multiple of 8, and moves that to its end. */
static inline void
write_image(StringInfo buf, const FeCaptureTable *table, const Datum *values,
			const char *states)
{
	int			natts = table->natts;
	Size		rest = (Size) natts * COLUMN_SPACE + COLUMN_SPACE;
	char	   *p = reserve(buf, IMAGE_HEADER + natts + rest);
	uint16		count = (uint16) natts;

	memcpy(p, &count, sizeof(count));
	p += IMAGE_HEADER;
	memcpy(p, states, natts);
	p += natts;
	for (int i = 0; i < natts; i++)
	{
		const FeCaptureColumn *column = &table->atts[i];

		rest -= COLUMN_SPACE;
		if (states[i] != FE_COLUMN_VALUE)
			continue;
		if (column->attbyval)
			p = put_byval(p, column, values[i]);
		else
			p = put_byref(buf, p, column, values[i], rest + COLUMN_SPACE);
	}
	memset(p, 0, 8);
	buf->len = RECORD_ALIGN(p - buf->data);
}

void
fe_record_write_change(StringInfo buf, FeRecordKind kind, const FeCaptureTable *table,
					   XLogRecPtr lsn,
					   const Datum *oldvalues, const char *oldstates,
					   const Datum *newvalues, const char *newstates)
{
	int			start = buf->len;
	uint8		flags = 0;
	uint32		new_offset = 0;
	ChangeRecord *record;

	(void) start_record(buf, sizeof(ChangeRecord) + sizeof(lsn));
	buf->len += sizeof(ChangeRecord);
	if (lsn != InvalidXLogRecPtr)
	{
		memcpy(buf->data + buf->len, &lsn, sizeof(lsn));
		buf->len += sizeof(lsn);
		flags |= FLAG_LSN;
	}
	if (oldvalues != NULL)
	{
		write_image(buf, table, oldvalues, oldstates);
		flags |= FLAG_OLD;
	}
	if (newvalues != NULL)
	{
		new_offset = buf->len - start;
		write_image(buf, table, newvalues, newstates);
		flags |= FLAG_NEW;
	}
	record = (ChangeRecord *) (buf->data + start);
	set_header(record, buf->len - start, kind, flags);
	record->relid = table->relid;
	record->new_offset = new_offset;
}

/* ---- reading ------------------------------------------------------------ */

static pg_noinline void
malformed(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("malformed change record: %s", what)));
}

/* Is a record of this kind allowed, or obliged, to have these images? */
static inline bool
flags_fit(FeRecordKind kind, uint8 flags)
{
	uint8		images = flags & ~FLAG_LSN;

	switch (kind)
	{
		case FE_RECORD_INSERT:
		case FE_RECORD_READ:
			return images == FLAG_NEW;
		case FE_RECORD_UPDATE:
			return images == FLAG_NEW || images == (FLAG_NEW | FLAG_OLD);
		case FE_RECORD_DELETE:
			return images == 0 || images == FLAG_OLD;
		default:
			return flags == 0;
	}
}

static inline void
read_change(const char *start, Size length, uint8 flags, FeRecord *rec)
{
	ChangeRecord change;
	Size		head = sizeof(ChangeRecord) + ((flags & FLAG_LSN) != 0 ? sizeof(XLogRecPtr) : 0);
	Size		offset;

	if (unlikely(length < head))
		malformed("too short");
	memcpy(&change, start, sizeof(change));
	rec->lsn = InvalidXLogRecPtr;
	if ((flags & FLAG_LSN) != 0)
		memcpy(&rec->lsn, start + sizeof(change), sizeof(rec->lsn));
	offset = change.new_offset;
	rec->relid = change.relid;
	rec->has_old = (flags & FLAG_OLD) != 0;
	rec->has_new = (flags & FLAG_NEW) != 0;
	rec->old_image = rec->has_old ? start + head : NULL;
	rec->new_image = rec->has_new ? start + offset : NULL;

	if (!rec->has_new)
	{
		if (unlikely(offset != 0))
			malformed("unexpected new row");
	}
	else if (unlikely(offset % 8 != 0 || offset >= length ||
					  (rec->has_old ? offset <= head : offset != head)))
		malformed("misplaced new row");
	if (unlikely((rec->has_old || rec->has_new) != (length > head)))
		malformed("wrong length");
}

static void
read_begin(const char *start, Size length, FeRecord *rec)
{
	BeginRecord begin;

	if (length != sizeof(begin))
		malformed("wrong length");
	memcpy(&begin, start, sizeof(begin));
	rec->xid = begin.xid;
	rec->commit_lsn = begin.commit_lsn;
	rec->end_lsn = begin.end_lsn;
	rec->commit_time = begin.commit_time;
}

static void
read_truncate(const char *start, Size length, FeRecord *rec)
{
	TruncateRecord truncate;

	if (length != sizeof(truncate))
		malformed("wrong length");
	memcpy(&truncate, start, sizeof(truncate));
	rec->relid = truncate.relid;
	rec->lsn = InvalidXLogRecPtr;
	rec->has_old = rec->has_new = false;
	rec->old_image = rec->new_image = NULL;
}

bool
fe_record_read(const char **cursor, const char *limit, FeRecord *rec)
{
	const char *start = *cursor;
	RecordHeader header;

	if (start >= limit)
		return false;
	if (unlikely((uintptr_t) start % 8 != 0))
		malformed("unaligned");
	if (unlikely((Size) (limit - start) < sizeof(RecordHeader)))
		malformed("cut short");
	memcpy(&header, start, sizeof(header));
	if (unlikely(header.length % 8 != 0 || header.length < sizeof(RecordHeader)))
		malformed("impossible length");
	if (unlikely(header.length > (Size) (limit - start)))
		malformed("cut short");
	if (unlikely(header.zero != 0 || !flags_fit(header.kind, header.flags)))
		malformed("impossible header");

	rec->kind = header.kind;
	rec->end = start + header.length;
	switch (header.kind)
	{
		case FE_RECORD_INSERT:
		case FE_RECORD_UPDATE:
		case FE_RECORD_DELETE:
		case FE_RECORD_READ:
			read_change(start, header.length, header.flags, rec);
			break;
		case FE_RECORD_BEGIN:
			read_begin(start, header.length, rec);
			break;
		case FE_RECORD_TRUNCATE:
		case FE_RECORD_TRUNCATE_PART:
			read_truncate(start, header.length, rec);
			break;
		case FE_RECORD_COMMIT:
			if (header.length != sizeof(RecordHeader))
				malformed("wrong length");
			break;
		default:
			malformed("unknown kind");
	}
	*cursor = rec->end;
	return true;
}

static inline const char *
get_byval(const char *p, const char *limit, const FeCaptureColumn *column, Datum *value)
{
	p = (const char *) TYPEALIGN(align_bytes(column->attalign), p);
	if (unlikely(limit - p < column->attlen))
		malformed("column exceeds the row");
	switch (column->attlen)
	{
		case 8:
			memcpy(value, p, 8);
			break;
		case 4:
			{
				int32		v;

				memcpy(&v, p, 4);
				*value = Int32GetDatum(v);
				break;
			}
		case 2:
			{
				int16		v;

				memcpy(&v, p, 2);
				*value = Int16GetDatum(v);
				break;
			}
		case 1:
			*value = CharGetDatum(*p);
			break;
		default:
			malformed("impossible column width");
	}
	return p + column->attlen;
}

/* Finds the varlena that begins at p or, behind padding, after it. */
static inline const char *
get_varlena(const char *p, const char *limit, uintptr_t align, Size *size)
{
	align = Max(align, (uintptr_t) ALIGNOF_INT);
	if (p < limit && *p == 0)
		p = (const char *) TYPEALIGN(align, p);
	if (unlikely(p >= limit))
		malformed("column exceeds the row");
	if (VARATT_IS_1B(p))
	{
		if (unlikely(VARATT_IS_1B_E(p)))
			malformed("value is not in line");
		*size = VARSIZE_1B(p);
	}
	else
	{
		if (unlikely((uintptr_t) p % align != 0 || limit - p < VARHDRSZ))
			malformed("column exceeds the row");
		if (unlikely(!VARATT_IS_4B_U(p)))
			malformed("value is compressed");
		*size = VARSIZE_4B(p);
		if (unlikely(*size < VARHDRSZ))
			malformed("impossible value length");
	}
	return p;
}

static inline const char *
get_byref(const char *p, const char *limit, const FeCaptureColumn *column, Datum *value)
{
	Size		size;

	if (column->attlen == -1)
		p = get_varlena(p, limit, align_bytes(column->attalign), &size);
	else if (column->attlen == -2)
	{
		const char *end = memchr(p, '\0', limit - p);

		if (unlikely(end == NULL))
			malformed("column exceeds the row");
		size = end - p + 1;
	}
	else
	{
		p = (const char *) TYPEALIGN(align_bytes(column->attalign), p);
		size = column->attlen;
	}
	if (unlikely(column->attlen < -2 || size > (Size) (limit - p)))
		malformed("column exceeds the row");
	*value = PointerGetDatum(p);
	return p + size;
}

/*
 * p never leaves [image, limit]: limit is a multiple of 8, so aligning a
 * pointer below it cannot pass it.
 */
int
fe_record_read_image(const FeRecord *rec, bool old, const FeCaptureTable *table,
					 Datum *values, bool *nulls, char *states)
{
	const char *image = old ? rec->old_image : rec->new_image;
	const char *limit = old && rec->has_new ? rec->new_image : rec->end;
	int			natts = table->natts;
	int			nabsent = 0;
	const char *state;
	const char *p;
	uint16		count;

	if (unlikely(image == NULL))
		elog(ERROR, "change record has no %s row", old ? "old" : "new");
	if (unlikely((Size) (limit - image) < IMAGE_HEADER + natts))
		malformed("row is cut short");
	memcpy(&count, image, sizeof(count));
	if (unlikely(count != natts || rec->relid != table->relid))
		malformed("row does not match the captured columns");

	state = image + IMAGE_HEADER;
	p = state + natts;
	for (int i = 0; i < natts; i++)
	{
		const FeCaptureColumn *column = &table->atts[i];
		int			attr = column->attnum - 1;

		if (likely(state[i] == FE_COLUMN_VALUE))
		{
			p = column->attbyval ? get_byval(p, limit, column, &values[attr])
				: get_byref(p, limit, column, &values[attr]);
			nulls[attr] = false;
		}
		else
		{
			if (state[i] == FE_COLUMN_ABSENT)
				nabsent++;
			else if (unlikely(state[i] != FE_COLUMN_NULL))
				malformed("unknown column state");
			values[attr] = (Datum) 0;
			nulls[attr] = true;
		}
		if (states != NULL)
			states[attr] = state[i];
	}
	if (unlikely((const char *) RECORD_ALIGN(p) != limit))
		malformed("row has a wrong length");
	return nabsent;
}
