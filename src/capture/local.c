/*
 * local.c
 *		The local transport: logical decoding in the calling process.
 *
 * In the ingest worker.  No walsender and no socket: the WAL is read and decoded
 * here, and the output plugin appends its records to our batch.  The slot is
 * held from open to close; no lock is held between calls.
 *
 * What the server's decoding code expects of its callers, and is easily missed:
 *
 * - A decoding context made outside of a transaction marks the process as one
 *   whose snapshots nobody respects (PROC_IN_LOGICAL_DECODING).  Ours has
 *   transactions of its own that write, so it is made inside one, in
 *   long-lived memory.  fe_capture_leave checks that.
 * - read_local_xlog_page_no_wait reports the end of WAL through the reader's
 *   private_data, which is the context itself unless replaced.
 * - Decoding a transaction starts and aborts one of the server's own, which
 *   leaves TopMemoryContext as the current context, and no resource
 *   owner.  Hence also: no transaction of the caller's may be open.
 * - Resuming is exact at the *end* of a commit record, or any later record
 *   boundary.
 *
 * After an ERROR nothing here can be used any more; the process is expected to
 * exit, which releases the slot and removes temporary files.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogutils.h"
#include "capture/internal.h"
#include "capture/plugin.h"
#include "miscadmin.h"
#include "replication/decode.h"
#include "replication/logical.h"
#include "replication/slot.h"
#include "runtime/compat.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

/*
 * A call returns after so much WAL at the latest, also when nothing in it was
 * for us: so that the caller can confirm it, and no WAL is held for nothing.
 */
#define MAX_WAL_PER_READ	(16 * 1024 * 1024)
/* How often a confirmed position alone makes the server store the slot. */
#define SAVE_INTERVAL_MS	10000

struct FeCapture
{
	MemoryContext context;
	LogicalDecodingContext *decoding;
	ReadLocalXLogPageNoWaitPrivate end_of_wal;	/* the reader's private_data */
	/* all that committed before is in batches; at first ahead of the reader */
	XLogRecPtr	position;
	XLogRecPtr	flushed;		/* WAL is flushed this far, at least */
	bool		decodes;		/* caches belong to decoding (enter, leave) */
	FePluginSink sink;
	MemoryContext set_context;	/* the captured tables */
	FeBatch    *batch;
	FeDecodedXids *decoded;
	TimestampTz saved_at;		/* slot marked to be stored */
};

/* ---- what the plugin calls ------------------------------------------------ */

static void
sink_spill(FePluginSink *sink)
{
	fe_batch_spill(((FeCapture *) sink->arg)->batch);
}

static void
sink_seen(FePluginSink *sink, TransactionId xid)
{
	fe_decoded_xids_add(((FeCapture *) sink->arg)->decoded, xid);
}

/* ---- opening and closing --------------------------------------------------- */

static void
require_usable_slot(void)
{
	ReplicationSlot *slot = MyReplicationSlot;

	fe_slot_require_own(MyDatabaseId);
	if (fe_compat_slot_invalidated(&slot->data))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("replication slot \"%s\" has lost the write-ahead log it needs",
						NameStr(slot->data.name)),
				 errdetail("The server removed it because of max_slot_wal_keep_size.")));
}

/*
 * Settings of this process: our library is allowed, and a large transaction of
 * a user is not stopped by a limit meant for the temporary files of queries.
 */
static void
adjust_settings(void)
{
	fe_slot_allow_plugin();
	if (superuser())
		SetConfigOption("temp_file_limit", "-1", PGC_SUSET, PGC_S_SESSION);
}

static void
create_context(FeCapture *cap, XLogRecPtr start_lsn)
{
	MemoryContext old = MemoryContextSwitchTo(cap->context);

	/* the server only moves a start forward, with a log message each time */
	start_lsn = Max(start_lsn, MyReplicationSlot->data.confirmed_flush);
	fe_plugin_local_sink = &cap->sink;
	cap->decoding = CreateDecodingContext(start_lsn, NIL, false,
										  XL_ROUTINE(.page_read = read_local_xlog_page_no_wait,
													 .segment_open = wal_segment_open,
													 .segment_close = wal_segment_close),
										  NULL, NULL, NULL);
	fe_plugin_local_sink = NULL;
	cap->decoding->reader->private_data = &cap->end_of_wal;
	cap->position = start_lsn;
	MemoryContextSwitchTo(old);
}

FeCapture *
fe_capture_open(Oid dboid, XLogRecPtr start_lsn, const FeCaptureSet *set)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "feature_engine capture",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	FeCapture  *cap = palloc0(sizeof(FeCapture));
	NameData	name;

	Assert(dboid == MyDatabaseId);
	Assert(!IsTransactionState());
	cap->context = context;
	cap->batch = fe_batch_create();
	cap->sink.buf = fe_batch_buffer(cap->batch);
	cap->sink.spill_at = FE_BATCH_MEMORY;
	cap->sink.spill = sink_spill;
	cap->sink.seen = sink_seen;
	cap->sink.arg = cap;
	fe_capture_set_tables(cap, set);

	fe_slot_name(dboid, &name);
	StartTransactionCommand();
	CheckLogicalDecodingRequirements();
	adjust_settings();
	fe_compat_slot_acquire(NameStr(name));
	require_usable_slot();
	create_context(cap, start_lsn);
	CommitTransactionCommand();

	MemoryContextSwitchTo(context);
	cap->decoded = fe_decoded_xids_create();
	MemoryContextSwitchTo(old);

	/* from where all transactions after the start can be put together */
	XLogBeginRead(cap->decoding->reader, MyReplicationSlot->data.restart_lsn);
	fe_caches_watch();
	InvalidateSystemCaches();
	cap->decodes = true;
	return cap;
}

void
fe_capture_set_tables(FeCapture *cap, const FeCaptureSet *set)
{
	MemoryContext context = AllocSetContextCreate(cap->context, "feature_engine capture set",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	fe_plugin_sink_set_tables(&cap->sink, fe_capture_set_copy(set));
	MemoryContextSwitchTo(old);
	if (cap->set_context != NULL)
		MemoryContextDelete(cap->set_context);
	cap->set_context = context;
}

void
fe_capture_close(FeCapture *cap)
{
	Assert(!IsTransactionState());
	fe_capture_leave(cap);
	FreeDecodingContext(cap->decoding);
	ReplicationSlotMarkDirty();
	ReplicationSlotSave();
	ReplicationSlotRelease();
	fe_batch_free(cap->batch);
	MemoryContextDelete(cap->context);
}

/* ---- reading ---------------------------------------------------------------- */

/* Reads and decodes one WAL record; false at the end of flushed WAL. */
static bool
decode_record(FeCapture *cap)
{
	XLogReaderState *reader = cap->decoding->reader;
	char	   *message = NULL;

	cap->end_of_wal.end_of_wal = false;
	if (XLogReadRecord(reader, &message) == NULL)
	{
		/* not complete yet: the next call begins with the same record again */
		if (cap->end_of_wal.end_of_wal)
			return false;
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("could not read the write-ahead log at %X/%X: %s",
						LSN_FORMAT_ARGS(reader->EndRecPtr),
						message ? message : "no record found")));
	}
	LogicalDecodingProcessRecord(cap->decoding, reader);
	return true;
}

/*
 * Something flushed that was not decoded yet?  Spares reading a page at the end
 * of WAL, and a spinlock that all writers of WAL take before that.
 */
static bool
more_flushed(FeCapture *cap)
{
	XLogRecPtr	decoded = cap->decoding->reader->EndRecPtr;

	if (decoded >= cap->flushed)
		cap->flushed = GetFlushRecPtr(NULL);
	return decoded < cap->flushed;
}

static bool
enough_read(FeCapture *cap, XLogRecPtr start, Size max_bytes, int max_transactions)
{
	if (fe_batch_bytes(cap->batch) >= max_bytes ||
		cap->sink.transactions >= (uint64) max_transactions)
		return true;
	return cap->decoding->reader->EndRecPtr - start >= MAX_WAL_PER_READ;
}

/*
 * A transaction's records come all at once, when its commit record is decoded;
 * so between WAL records the batch holds whole transactions.
 */
FeBatch *
fe_capture_read(FeCapture *cap, Size max_bytes, int max_transactions,
				XLogRecPtr *position, bool *at_end)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	XLogReaderState *reader = cap->decoding->reader;
	XLogRecPtr	start = reader->EndRecPtr;

	if (IsTransactionState() || !cap->decodes)
		elog(ERROR, "decoding was called in between a transaction");
	fe_batch_reset(cap->batch);
	cap->sink.transactions = 0;
	*at_end = false;
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!more_flushed(cap) || !decode_record(cap))
		{
			*at_end = true;
			break;
		}
		MemoryContextSwitchTo(context);
	} while (!enough_read(cap, start, max_bytes, max_transactions));
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	fe_batch_finish(cap->batch, cap->sink.transactions);
	cap->position = Max(cap->position, reader->EndRecPtr);
	*position = cap->position;
	return cap->batch;
}

/*
 * Was this top-level transaction decoded, though a snapshot taken now may not
 * see it?  False for those that every new snapshot sees.
 */
bool
fe_capture_was_decoded(FeCapture *cap, TransactionId xid)
{
	return fe_decoded_xids_member(cap->decoded, xid);
}

bool
fe_capture_decoded_from(FeCapture *cap, TransactionId xid)
{
	return fe_decoded_xids_from(cap->decoded, xid);
}

/*
 * Makes WAL readable up to lsn, the end of a commit record that a backend
 * announced: with synchronous_commit = off it may not be flushed yet.
 * Returns up to where WAL is flushed.
 */
XLogRecPtr
fe_capture_flush_to(XLogRecPtr lsn)
{
	XLogRecPtr	flushed = GetFlushRecPtr(NULL);

	if (lsn <= flushed)
		return flushed;
	/* never ask for more than was written: that would be an error */
	if (lsn <= GetXLogInsertRecPtr())
		XLogFlush(lsn);
	return GetFlushRecPtr(NULL);
}

/* ---- progress of the slot ----------------------------------------------------- */

/*
 * The server moves restart_lsn and catalog_xmin on (to candidates that it notes
 * when it decodes a record of running transactions) and then stores the slot;
 * a confirmed position alone is stored with the next checkpoint after we marked
 * the slot, which is enough: we know where to start ourselves.
 */
void
fe_capture_confirm(FeCapture *cap, XLogRecPtr lsn)
{
	ReplicationSlot *slot = MyReplicationSlot;
	XLogRecPtr	restart = slot->data.restart_lsn;
	TimestampTz now;

	lsn = Min(lsn, cap->position);
	if (XLogRecPtrIsInvalid(lsn))
		return;
	LogicalConfirmReceivedLocation(lsn);

	/* the server does this itself only where catalog_xmin moves, too */
	if (slot->data.restart_lsn != restart)
		ReplicationSlotsComputeRequiredLSN();

	now = GetCurrentTimestamp();
	if (TimestampDifferenceExceeds(cap->saved_at, now, SAVE_INTERVAL_MS))
	{
		ReplicationSlotMarkDirty();
		cap->saved_at = now;
	}
}

/* ---- between decoding and transactions ------------------------------------------ */

void
fe_capture_leave(FeCapture *cap)
{
	if (MyProc->statusFlags & PROC_IN_LOGICAL_DECODING)
		elog(ERROR, "process is marked as a decoding one: its own transactions would be lost");
	if (cap->decodes)
		fe_caches_switch(cap->decoding->reader->EndRecPtr);
	cap->decodes = false;
}

void
fe_capture_enter(FeCapture *cap)
{
	Assert(!IsTransactionState());
	if (!cap->decodes)
		fe_caches_switch(cap->decoding->reader->EndRecPtr);
	cap->decodes = true;
}
