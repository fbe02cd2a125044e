/*
 * record.h
 *		The change record: the one format between the output plugin and whoever
 *		applies changes.  Writer and reader stand side by side; no I/O, no
 *		catalogue access.
 *
 * A stream of records, each: uint32 total length, uint8 kind, payload, padded
 * so that every record starts at a multiple of 8 (column images inside are
 * aligned as their type asks, relative to the record's start).
 * The reader trusts nothing: a record that is cut short or inconsistent is an
 * error, never a wild read.
 */
#ifndef FE_RECORD_H
#define FE_RECORD_H

#include "postgres.h"
#include "access/attnum.h"
#include "access/xlogdefs.h"
#include "lib/stringinfo.h"

typedef enum FeRecordKind
{
	FE_RECORD_BEGIN = 'B',		/* xid, commit LSN, end LSN, commit time */
	FE_RECORD_INSERT = 'I',		/* new */
	FE_RECORD_UPDATE = 'U',		/* old (may be absent), new */
	FE_RECORD_DELETE = 'D',		/* old (may be absent: no replica identity) */
	FE_RECORD_TRUNCATE = 'T',	/* relation */
	FE_RECORD_TRUNCATE_PART = 'P',	/* relation: one of its partitions, or some */
	FE_RECORD_READ = 'R',		/* new: a row of a first snapshot */
	FE_RECORD_COMMIT = 'C'
} FeRecordKind;

/* Which columns of a table are captured, and how their values look. */
typedef struct FeCaptureColumn
{
	AttrNumber	attnum;
	int16		attlen;
	bool		attbyval;
	char		attalign;
	Oid			atttypid;		/* InvalidOid: any type of that form will do */
} FeCaptureColumn;

/* What else a table's records tell; for views over the stream of its changes. */
#define FE_CAPTURE_LSN		0x01	/* the position of each change */
#define FE_CAPTURE_OLD_KEY	0x02	/* an old row of what the replica identity has, also of
									 * an update that left it as it was */

typedef struct FeCaptureTable
{
	Oid			relid;
	int			natts;			/* captured columns */
	FeCaptureColumn *atts;		/* ascending attnum */
	AttrNumber	max_attnum;
	uint8		flags;			/* FE_CAPTURE_... */
} FeCaptureTable;

typedef struct FeCaptureSet
{
	int			ntables;
	FeCaptureTable *tables;		/* ascending relid */
} FeCaptureSet;

extern const FeCaptureTable *fe_capture_set_find(const FeCaptureSet *set, Oid relid);
/* set.c: a deep copy (of NULL: an empty set), the text form, and back. */
extern FeCaptureSet *fe_capture_set_copy(const FeCaptureSet *set);
extern char *fe_capture_set_format(const FeCaptureSet *set);
extern FeCaptureSet *fe_capture_set_parse(const char *text);

/* One column of a row image: absent = a TOAST value that did not change and
 * that the old row doesn't tell either, or a column outside the replica
 * identity. */
typedef enum FeColumnState
{
	FE_COLUMN_NULL = 'n',
	FE_COLUMN_VALUE = 'v',
	FE_COLUMN_ABSENT = 'a'
} FeColumnState;

/* ---- writing ---- values: arrays by captured column position */
extern void fe_record_write_begin(StringInfo buf, TransactionId xid, XLogRecPtr commit_lsn,
								  XLogRecPtr end_lsn, int64 commit_time);
extern void fe_record_write_commit(StringInfo buf);
/* part: of a partitioned table, some partitions only */
extern void fe_record_write_truncate(StringInfo buf, Oid relid, bool part);
/* old/new: NULL = that image is absent.  Varlena values must be detoasted
 * (in line, not compressed; short headers are fine).  lsn: invalid = not told. */
extern void fe_record_write_change(StringInfo buf, FeRecordKind kind, const FeCaptureTable *table,
								   XLogRecPtr lsn,
								   const Datum *oldvalues, const char *oldstates,
								   const Datum *newvalues, const char *newstates);

/* ---- reading ---- */
typedef struct FeRecord
{
	FeRecordKind kind;
	TransactionId xid;			/* begin */
	XLogRecPtr	commit_lsn;
	XLogRecPtr	end_lsn;
	int64		commit_time;
	Oid			relid;			/* change, truncate */
	XLogRecPtr	lsn;			/* of the change, InvalidXLogRecPtr = not told */
	bool		has_old;
	bool		has_new;
	const char *old_image;		/* opaque: fe_record_read_image */
	const char *new_image;
	const char *end;
} FeRecord;

/*
 * Reads the record at *cursor (8-byte aligned memory, limit = end of data) and
 * advances.  False at the end of data; ERROR (data corrupted) when malformed.
 */
extern bool fe_record_read(const char **cursor, const char *limit, FeRecord *rec);
/*
 * Spreads an image into arrays indexed by attnum - 1 (size >= max_attnum).
 * By-reference values point into the record.  states (may be NULL) gets
 * FeColumnState per attribute; absent columns are set NULL.  Returns the
 * number of absent columns.
 */
extern int	fe_record_read_image(const FeRecord *rec, bool old, const FeCaptureTable *table,
								 Datum *values, bool *nulls, char *states);

#endif							/* FE_RECORD_H */
