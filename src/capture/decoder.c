/*
 * decoder.c
 *		Logical decoding in the calling process.
 *
 * In the capture worker.  No walsender and no socket: the WAL is read and decoded
 * here, and the output plugin appends its records to a buffer of the caller's.
 * The slot is held from open until the process ends; no lock is held between
 * calls.
 *
 * What the server's decoding code expects of its callers, and is easily missed:
 *
 * - A decoding context made outside of a transaction marks the process as one
 *   whose snapshots nobody respects (PROC_IN_LOGICAL_DECODING).  Ours is made
 *   inside one, in long-lived memory, like that of any session which decodes.
 * - read_local_xlog_page_no_wait reports the end of WAL through the reader's
 *   private_data, which is the context itself unless replaced.
 * - Decoding a transaction starts and aborts one of the server's own, which
 *   leaves TopMemoryContext as the current context, and no resource
 *   owner.  Hence also: no transaction of the caller's may be open.
 * - Resuming is exact at the *end* of a commit record, or any later record
 *   boundary.
 * - Catalogue caches are filled as of the decoded position.  Nothing else may
 *   use them: this process has no other transactions.
 *
 * After an ERROR nothing here can be used any more; the process is expected to
 * exit, which releases the slot.
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
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

/*
 * A call returns after so much WAL at the latest, also when nothing in it was
 * for us: so that it can be confirmed, and no WAL is held for nothing.
 */
#define MAX_WAL_PER_READ	(1024 * 1024)
/* How often a confirmed position alone makes the server store the slot. */
#define SAVE_INTERVAL_MS	10000

struct FeDecoder
{
	MemoryContext context;
	LogicalDecodingContext *decoding;
	ReadLocalXLogPageNoWaitPrivate end_of_wal;	/* the reader's private_data */
	/* all that committed before has been decoded; at first ahead of the reader */
	XLogRecPtr	position;
	XLogRecPtr	flushed;		/* WAL is flushed this far, at least */
	FePluginSink *sink;
	MemoryContext set_context;	/* the captured tables */
	TimestampTz saved_at;		/* slot marked to be stored */
};

/* ---- opening ------------------------------------------------------------------ */

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

static void
create_context(FeDecoder *d, XLogRecPtr start_lsn)
{
	MemoryContext old = MemoryContextSwitchTo(d->context);

	/* the server only moves a start forward, with a log message each time */
	start_lsn = Max(start_lsn, MyReplicationSlot->data.confirmed_flush);
	fe_plugin_local_sink = d->sink;
	d->decoding = CreateDecodingContext(start_lsn, NIL, false,
										XL_ROUTINE(.page_read = read_local_xlog_page_no_wait,
												   .segment_open = wal_segment_open,
												   .segment_close = wal_segment_close),
										NULL, NULL, NULL);
	fe_plugin_local_sink = NULL;
	d->decoding->reader->private_data = &d->end_of_wal;
	d->position = start_lsn;
	MemoryContextSwitchTo(old);
}

FeDecoder *
fe_decoder_open(XLogRecPtr start_lsn, FePluginSink *sink)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "feature_engine decoding",
												  ALLOCSET_DEFAULT_SIZES);
	FeDecoder  *d = MemoryContextAllocZero(context, sizeof(FeDecoder));
	NameData	name;

	Assert(!IsTransactionState());
	d->context = context;
	d->sink = sink;
	fe_slot_name(MyDatabaseId, &name);
	StartTransactionCommand();
	CheckLogicalDecodingRequirements();
	fe_slot_allow_plugin();
	fe_compat_slot_acquire(NameStr(name));
	require_usable_slot();
	create_context(d, start_lsn);
	CommitTransactionCommand();
	if (MyProc->statusFlags & PROC_IN_LOGICAL_DECODING)
		elog(ERROR, "process is marked as a decoding one outside of a transaction");

	/* from where all transactions after the start can be put together */
	XLogBeginRead(d->decoding->reader, MyReplicationSlot->data.restart_lsn);
	InvalidateSystemCaches();
	return d;
}

void
fe_decoder_set_tables(FeDecoder *d, const char *tables)
{
	MemoryContext context = AllocSetContextCreate(d->context, "feature_engine capture set",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	fe_plugin_sink_set_tables(d->sink, fe_capture_set_parse(tables));
	MemoryContextSwitchTo(old);
	if (d->set_context != NULL)
		MemoryContextDelete(d->set_context);
	d->set_context = context;
}

/* ---- reading ---------------------------------------------------------------- */

/* Reads and decodes one WAL record; false at the end of flushed WAL. */
static bool
decode_record(FeDecoder *d)
{
	XLogReaderState *reader = d->decoding->reader;
	char	   *message = NULL;

	d->end_of_wal.end_of_wal = false;
	if (XLogReadRecord(reader, &message) == NULL)
	{
		/* not complete yet: the next call begins with the same record again */
		if (d->end_of_wal.end_of_wal)
			return false;
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("could not read the write-ahead log at %X/%X: %s",
						LSN_FORMAT_ARGS(reader->EndRecPtr),
						message ? message : "no record found")));
	}
	LogicalDecodingProcessRecord(d->decoding, reader);
	return true;
}

/*
 * Something flushed that was not decoded yet?  Spares reading a page at the end
 * of WAL, and a spinlock that all writers of WAL take before that.
 */
static bool
more_flushed(FeDecoder *d)
{
	XLogRecPtr	decoded = d->decoding->reader->EndRecPtr;

	if (decoded >= d->flushed)
		d->flushed = GetFlushRecPtr(NULL);
	return decoded < d->flushed;
}

/*
 * A transaction's records come all at once, when its commit record is decoded;
 * so between WAL records the buffer holds whole transactions.
 */
XLogRecPtr
fe_decoder_read(FeDecoder *d, int max_bytes, bool *at_end)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	XLogReaderState *reader = d->decoding->reader;
	XLogRecPtr	start = reader->EndRecPtr;

	Assert(!IsTransactionState());
	*at_end = false;
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!more_flushed(d) || !decode_record(d))
		{
			*at_end = true;
			break;
		}
	} while (d->sink->buf->len < max_bytes && reader->EndRecPtr - start < MAX_WAL_PER_READ);
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	d->position = Max(d->position, reader->EndRecPtr);
	return d->position;
}

/* Is there nothing flushed that has not been decoded? */
bool
fe_decoder_at_end(FeDecoder *d)
{
	return !more_flushed(d);
}

/*
 * Makes WAL readable up to lsn, the end of a commit record that a backend
 * announced: with synchronous_commit = off it may not be flushed yet.
 */
void
fe_decoder_flush_to(XLogRecPtr lsn)
{
	/* never ask for more than was written: that would be an error */
	if (lsn > GetFlushRecPtr(NULL) && lsn <= GetXLogInsertRecPtr())
		XLogFlush(lsn);
}

/* ---- progress of the slot ----------------------------------------------------- */

bool
fe_decoder_standbys_have(XLogRecPtr lsn)
{
	return fe_compat_standbys_have(MyReplicationSlot, lsn);
}

/*
 * The server moves restart_lsn and catalog_xmin on (to candidates that it notes
 * when it decodes a record of running transactions) and then stores the slot;
 * a confirmed position alone is stored with the next checkpoint after we marked
 * the slot, which is enough: we know where to start ourselves.
 */
void
fe_decoder_confirm(FeDecoder *d, XLogRecPtr lsn)
{
	ReplicationSlot *slot = MyReplicationSlot;
	XLogRecPtr	restart = slot->data.restart_lsn;
	TimestampTz now;

	/* back, the server would go as well, to where the log may be gone */
	lsn = Min(lsn, d->position);
	if (lsn < slot->data.confirmed_flush)
		return;
	LogicalConfirmReceivedLocation(lsn);

	/* the server does this itself only where catalog_xmin moves, too */
	if (slot->data.restart_lsn != restart)
		ReplicationSlotsComputeRequiredLSN();

	now = GetCurrentTimestamp();
	if (TimestampDifferenceExceeds(d->saved_at, now, SAVE_INTERVAL_MS))
	{
		ReplicationSlotMarkDirty();
		d->saved_at = now;
	}
}
