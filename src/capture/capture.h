/*
 * capture.h
 *		From the write-ahead log to change records.
 *
 * The local transport decodes in the calling process with our own output
 * plugin.  All calls are made by the ingest worker.  None may be made inside
 * a transaction of the caller's, except where noted.
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
	FE_SLOT_INVALID,			/* WAL removed, or not one of ours */
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

/* A sequence of whole transactions, spilled to a temporary file when large. */
typedef struct FeBatch FeBatch;

typedef struct FeCapture FeCapture;

/* Acquires the slot and prepares decoding from start_lsn (or the slot's
 * confirmed position when that is later or start_lsn is invalid). */
extern FeCapture *fe_capture_open(Oid dboid, XLogRecPtr start_lsn, const FeCaptureSet *set);
/* Other tables or columns from now on (copies the set). */
extern void fe_capture_set_tables(FeCapture *cap, const FeCaptureSet *set);
extern void fe_capture_close(FeCapture *cap);	/* releases the slot */

/*
 * Decodes until the end of flushed WAL, or until the batch holds about
 * max_bytes or max_transactions.  A latch that is set does not cut it short:
 * whoever waits for us sets it after each batch.  Returns the batch (valid
 * until the next call), possibly empty.  *position gets the LSN up to which everything that
 * committed is in this or earlier batches; *at_end says whether the end of WAL
 * was reached.
 */
extern FeBatch *fe_capture_read(FeCapture *cap, Size max_bytes, int max_transactions,
								XLogRecPtr *position, bool *at_end);
/* Iterates over the batch's records; the memory of a record stays valid until
 * the end of its transaction only when the batch is in memory
 * (fe_batch_in_memory), otherwise until the next call. */
extern void fe_batch_rewind(FeBatch *batch);
extern bool fe_batch_next(FeBatch *batch, FeRecord *rec);
extern bool fe_batch_in_memory(const FeBatch *batch);
extern uint64 fe_batch_transactions(const FeBatch *batch);
extern Size fe_batch_bytes(const FeBatch *batch);

/* Was this top-level transaction decoded, though a snapshot taken now may not
 * see it yet?  False for those that all new snapshots see. */
extern bool fe_capture_was_decoded(FeCapture *cap, TransactionId xid);
/* Was any from this one on?  For a snapshot's xmax: its list ends there. */
extern bool fe_capture_decoded_from(FeCapture *cap, TransactionId xid);
/* XLogFlush up to a commit's announced end; returns up to where WAL is flushed
 * and so readable.  To be called before fe_capture_read. */
extern XLogRecPtr fe_capture_flush_to(XLogRecPtr lsn);

/* The slot need not keep WAL for transactions that ended before lsn. */
extern void fe_capture_confirm(FeCapture *cap, XLogRecPtr lsn);

/*
 * Must be called when the caller goes from decoding to a transaction of its
 * own and back: keeps historic and present catalogue caches apart.
 */
extern void fe_capture_leave(FeCapture *cap);
extern void fe_capture_enter(FeCapture *cap);

/* A batch built by the caller (backfill rows). */
extern FeBatch *fe_batch_create(void);
extern StringInfo fe_batch_buffer(FeBatch *batch);	/* append records here */
extern void fe_batch_reset(FeBatch *batch);
extern void fe_batch_free(FeBatch *batch);

#endif							/* FE_CAPTURE_H */
