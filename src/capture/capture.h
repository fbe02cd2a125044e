/*
 * capture.h
 *		From the write-ahead log to change records.
 *
 * A process of its own decodes with our own output plugin and sends records to
 * the ingest worker, which makes all the calls below: so decoding and merging
 * each have a processor, and the catalogue caches of the past and of the present
 * never meet.
 */
#ifndef FE_CAPTURE_H
#define FE_CAPTURE_H

#include "capture/record.h"

#define FE_PLUGIN_NAME	"feature_engine"

extern void fe_slot_name(Oid dboid, NameData *name);	/* feature_engine_<dboid> */

/* State of this database's slot as the catalogue of slots has it. */
typedef enum FeSlotStatus
{
	FE_SLOT_MISSING,
	FE_SLOT_USABLE,
	FE_SLOT_INVALID,			/* of no use any more, or not one of ours */
	FE_SLOT_IN_USE				/* another process holds it */
} FeSlotStatus;

extern FeSlotStatus fe_slot_status(Oid dboid, XLogRecPtr *restart_lsn,
								   XLogRecPtr *confirmed_lsn, pid_t *holder);
/*
 * Creates the slot (waits for running transactions: interruptible).  Clear
 * ERRORs for wal_level, no free slot, output_plugin_libraries (set for this
 * process where the server knows the setting and the worker may).
 */
extern void fe_slot_create(Oid dboid);
extern void fe_slot_drop(Oid dboid);

/*
 * Does this database's slot bring all that committed from lsn on, but for what
 * this extension wrote itself?
 */
extern bool fe_slot_reaches(Oid dboid, XLogRecPtr lsn);
/*
 * At shutdown, when all that committed before lsn is stored and nobody holds the
 * slot: moves it to the end of the log, if nobody else has committed since.
 */
extern void fe_slot_skip_own(Oid dboid, XLogRecPtr lsn);

/* A sequence of whole transactions, spilled to a temporary file when large. */
typedef struct FeBatch FeBatch;

typedef struct FeCapture FeCapture;

/*
 * Starts a process that acquires the slot and decodes what committed from
 * start_lsn on (or from the slot's confirmed position when that is later).
 * Returns at once; when the process fails, the next fe_capture_read raises its
 * error.
 */
extern FeCapture *fe_capture_open(XLogRecPtr start_lsn, const FeCaptureSet *set);
/* Other tables or columns (copies the set): from some later batch on. */
extern void fe_capture_set_tables(FeCapture *cap, const FeCaptureSet *set);
/* Are the records of batches from now on those of the set given last? */
extern bool fe_capture_tables_in_use(const FeCapture *cap);
/* The columns of this table's records in the batch read last; NULL: it has none. */
extern const FeCaptureTable *fe_capture_table(const FeCapture *cap, Oid relid);
/* Ends the process and waits for that: the slot is released. */
extern void fe_capture_close(FeCapture *cap);

/*
 * What has been decoded and not read yet, about max_bytes of it; does not wait.
 * The batch is valid until the next call.  NULL when there is nothing: the
 * latch is set when there is.  *position gets the LSN up to which everything
 * that committed is in this or earlier batches.
 */
extern FeBatch *fe_capture_read(FeCapture *cap, Size max_bytes, XLogRecPtr *position);
/* Iterates over the batch's records; the memory of one is valid as long as the
 * batch or, if that was spilled, until the next call. */
extern void fe_batch_rewind(FeBatch *batch);
extern bool fe_batch_next(FeBatch *batch, FeRecord *rec);
extern uint64 fe_batch_transactions(const FeBatch *batch);
extern Size fe_batch_bytes(const FeBatch *batch);
/* Otherwise a record is only there until the next one is read. */
extern bool fe_batch_in_memory(const FeBatch *batch);
extern Size fe_batch_bytes_read(const FeBatch *batch);

/* Was the process stopped from outside?  Close, and open again. */
extern bool fe_capture_ended(const FeCapture *cap);

/* To be called for every transaction that is read from a batch. */
extern void fe_capture_note_read(FeCapture *cap, TransactionId xid);
/* Was this top-level transaction read, though a snapshot taken now may not
 * see it yet?  False for those that all new snapshots see. */
extern bool fe_capture_was_read(FeCapture *cap, TransactionId xid);
/* Was any from this one on?  For a snapshot's xmax: its list ends there. */
extern bool fe_capture_read_from(FeCapture *cap, TransactionId xid);

/* The slot need not keep WAL for transactions that ended before lsn. */
extern void fe_capture_confirm(FeCapture *cap, XLogRecPtr lsn);

/* A batch built by the caller (backfill rows). */
extern FeBatch *fe_batch_create(void);
extern StringInfo fe_batch_buffer(FeBatch *batch);	/* append records here */
extern void fe_batch_reset(FeBatch *batch);
extern void fe_batch_free(FeBatch *batch);

#endif							/* FE_CAPTURE_H */
