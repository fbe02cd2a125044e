/*
 * stream.c
 *		The ingest worker's end of the stream of change records.
 *
 * In the ingest worker; takes no locks.  Starts the capture worker, puts its
 * messages together to batches of whole transactions, and tells it which tables
 * to capture and how far the slot may go.
 *
 * Other tables come into use between two batches, when the message about them
 * arrives: until then, records have the columns of the tables before.
 */
#include "postgres.h"

#include "capture/internal.h"
#include "capture/plugin.h"
#include "capture/stream.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/* Tables that were asked for and are not in use yet. */
typedef struct FeWantedTables
{
	uint32		generation;
	dsm_segment *seg;
	FeCaptureSet *set;
	MemoryContext context;		/* of the set */
} FeWantedTables;

struct FeCapture
{
	MemoryContext context;
	dsm_segment *seg;
	FeStreamShared *shared;
	shm_mq_handle *queue;
	BackgroundWorkerHandle *handle;

	FeBatch    *batch;
	bool		complete;		/* it was handed out, or is empty: begin anew */
	bool		in_transaction; /* it ends in the middle of one */
	bool		ended;			/* the process was stopped from outside */
	uint64		transactions;
	XLogRecPtr	position;

	List	   *wanted;			/* FeWantedTables *, ascending */
	char	   *last_tables;	/* text form of the last ones */
	uint32		generation;		/* of the last ones */
	uint32		arrived;		/* of those that come with the next batch */
	FeCaptureSet *set;			/* of the batch's records */
	MemoryContext set_context;
	FeDecodedXids *read;
};

/* ---- starting and ending ---------------------------------------------------- */

/* on_dsm_detach callback: also when this process ends, however that comes about. */
static void
reader_gone(dsm_segment *seg, Datum arg)
{
	FeStreamShared *shared = dsm_segment_address(seg);

	pg_atomic_write_u32(&shared->reader_gone, 1);
	if (shared->decoder_proc)
		SetLatch(&shared->decoder_proc->procLatch);
}

static void
create_segment(FeCapture *cap, XLogRecPtr start_lsn)
{
	shm_mq	   *mq;

	cap->seg = dsm_create(FE_STREAM_HEAD + FE_STREAM_QUEUE_BYTES, 0);
	dsm_pin_mapping(cap->seg);
	cap->shared = dsm_segment_address(cap->seg);
	memset(cap->shared, 0, sizeof(FeStreamShared));
	cap->shared->start_lsn = start_lsn;
	pg_atomic_init_u32(&cap->shared->reader_gone, 0);
	pg_atomic_init_u64(&cap->shared->confirm_lsn, InvalidXLogRecPtr);
	pg_atomic_init_u32(&cap->shared->tables_handle, 0);
	pg_atomic_init_u32(&cap->shared->tables_generation, 0);

	mq = shm_mq_create((char *) cap->shared + FE_STREAM_HEAD, FE_STREAM_QUEUE_BYTES);
	shm_mq_set_receiver(mq, MyProc);
	cap->queue = shm_mq_attach(mq, cap->seg, NULL);
	on_dsm_detach(cap->seg, reader_gone, (Datum) 0);
}

static void
start_worker(FeCapture *cap)
{
	char		extra[BGW_EXTRALEN] = {0};
	dsm_handle	handle = dsm_segment_handle(cap->seg);

	memcpy(extra, &handle, sizeof(handle));
	if (!fe_start_helper(MyDatabaseId, FE_ROLE_CAPTURE, "fe_capture_worker_main", extra,
						 &cap->handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker slot is free to decode the write-ahead log"),
				 errhint("Raise \"max_worker_processes\" and restart the server.")));
	shm_mq_set_handle(cap->queue, cap->handle);
}

FeCapture *
fe_capture_open(XLogRecPtr start_lsn, const FeCaptureSet *set)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "feature_engine capture",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	FeCapture  *cap = palloc0(sizeof(FeCapture));

	/* a user's large transaction is not stopped by a limit meant for queries */
	SetConfigOption("temp_file_limit", "-1", PGC_SUSET, PGC_S_OVERRIDE);
	cap->context = context;
	cap->position = start_lsn;
	cap->batch = fe_batch_create();
	cap->complete = true;
	cap->set = fe_capture_set_copy(NULL);
	cap->read = fe_decoded_xids_create();
	create_segment(cap, start_lsn);
	MemoryContextSwitchTo(old);
	fe_capture_set_tables(cap, set);
	MemoryContextSwitchTo(context);
	start_worker(cap);
	MemoryContextSwitchTo(old);
	return cap;
}

void
fe_capture_close(FeCapture *cap)
{
	ListCell   *lc;

	TerminateBackgroundWorker(cap->handle);
	WaitForBackgroundWorkerShutdown(cap->handle);
	foreach(lc, cap->wanted)
		dsm_detach(((FeWantedTables *) lfirst(lc))->seg);
	dsm_detach(cap->seg);
	fe_batch_free(cap->batch);
	MemoryContextDelete(cap->context);
}

/* ---- tables --------------------------------------------------------------------- */

void
fe_capture_set_tables(FeCapture *cap, const FeCaptureSet *set)
{
	MemoryContext old = MemoryContextSwitchTo(cap->context);
	char	   *text = fe_capture_set_format(set);
	FeWantedTables *wanted;

	if (cap->last_tables != NULL && strcmp(text, cap->last_tables) == 0)
	{
		pfree(text);
		MemoryContextSwitchTo(old);
		return;
	}
	if (cap->last_tables)
		pfree(cap->last_tables);
	cap->last_tables = text;

	wanted = palloc0(sizeof(FeWantedTables));
	wanted->generation = ++cap->generation;
	wanted->context = AllocSetContextCreate(cap->context, "feature_engine capture set",
											ALLOCSET_SMALL_SIZES);
	wanted->seg = dsm_create(strlen(text) + 1, 0);
	dsm_pin_mapping(wanted->seg);
	strcpy(dsm_segment_address(wanted->seg), text);
	cap->wanted = lappend(cap->wanted, wanted);
	MemoryContextSwitchTo(wanted->context);
	wanted->set = fe_capture_set_copy(set);
	MemoryContextSwitchTo(old);

	pg_atomic_write_u32(&cap->shared->tables_handle, dsm_segment_handle(wanted->seg));
	pg_write_barrier();
	pg_atomic_write_u32(&cap->shared->tables_generation, wanted->generation);
	if (cap->shared->decoder_proc)
		SetLatch(&cap->shared->decoder_proc->procLatch);
}

static bool
tables_have_arrived(const FeCapture *cap)
{
	return cap->wanted != NIL &&
		((FeWantedTables *) linitial(cap->wanted))->generation <= cap->arrived;
}

/* From here on records have the tables that the last notice was about. */
static void
use_arrived_tables(FeCapture *cap)
{
	while (tables_have_arrived(cap))
	{
		FeWantedTables *wanted = linitial(cap->wanted);

		cap->wanted = list_delete_first(cap->wanted);
		if (cap->set_context)
			MemoryContextDelete(cap->set_context);
		cap->set = wanted->set;
		cap->set_context = wanted->context;
		dsm_detach(wanted->seg);
		pfree(wanted);
	}
}

bool
fe_capture_tables_in_use(const FeCapture *cap)
{
	return cap->wanted == NIL;
}

const FeCaptureTable *
fe_capture_table(const FeCapture *cap, Oid relid)
{
	return fe_capture_set_find(cap->set, relid);
}

/* ---- reading ---------------------------------------------------------------------- */

/* The process is gone.  Its error is ours; somebody's SIGTERM is none. */
static void
note_end(FeCapture *cap)
{
	if (cap->shared->error[0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg_internal("%s", cap->shared->error)));
	if (cap->shared->decoder_proc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the process that decodes the write-ahead log did not start"),
				 errhint("The server log may have the cause.")));
	cap->ended = true;
}

static void
take_tables(FeCapture *cap, const FeStreamMessage *head, const char *payload, Size len)
{
	for (Size at = 0; at < len; at += sizeof(TransactionId))
	{
		TransactionId xid;

		memcpy(&xid, payload + at, sizeof(xid));
		fe_decoded_xids_add(cap->read, xid);
	}
	cap->arrived = head->number;
}

static void
take_records(FeCapture *cap, const FeStreamMessage *head, const char *payload, Size len)
{
	StringInfo	buf = fe_batch_buffer(cap->batch);

	if (buf->len + len > FE_BATCH_MEMORY)
		fe_batch_spill(cap->batch);
	if (len > 0)
		appendBinaryStringInfo(buf, payload, len);
	cap->in_transaction = head->kind == FE_STREAM_PIECE;
	if (head->kind == FE_STREAM_WHOLE)
	{
		cap->transactions += head->number;
		cap->position = head->position;
	}
}

/* One message; false: there is none. */
static bool
take_message(FeCapture *cap)
{
	Size		nbytes;
	void	   *data;
	FeStreamMessage head;
	const char *payload;

	switch (shm_mq_receive(cap->queue, &nbytes, &data, true))
	{
		case SHM_MQ_WOULD_BLOCK:
			return false;
		case SHM_MQ_DETACHED:
			note_end(cap);
			return false;
		case SHM_MQ_SUCCESS:
			break;
	}
	memcpy(&head, data, sizeof(head));
	payload = (const char *) data + sizeof(head);
	if (head.kind == FE_STREAM_TABLES)
		take_tables(cap, &head, payload, nbytes - sizeof(head));
	else
		take_records(cap, &head, payload, nbytes - sizeof(head));
	return true;
}

static void
begin_batch(FeCapture *cap)
{
	fe_batch_reset(cap->batch);
	cap->transactions = 0;
	cap->complete = false;
	use_arrived_tables(cap);
}

FeBatch *
fe_capture_read(FeCapture *cap, Size max_bytes, XLogRecPtr *position)
{
	XLogRecPtr	before = cap->position;

	if (cap->complete)
		begin_batch(cap);
	while ((cap->in_transaction || fe_batch_bytes(cap->batch) < max_bytes) &&
		   take_message(cap))
	{
		/* other tables: records before the notice are a batch of their own */
		if (!tables_have_arrived(cap))
			continue;
		if (fe_batch_bytes(cap->batch) > 0)
			break;
		use_arrived_tables(cap);
	}
	*position = cap->position;
	if (cap->in_transaction ||
		(cap->position == before && fe_batch_bytes(cap->batch) == 0))
		return NULL;
	cap->complete = true;
	fe_batch_finish(cap->batch, cap->transactions);
	return cap->batch;
}

bool
fe_capture_ended(const FeCapture *cap)
{
	return cap->ended;
}

void
fe_capture_note_read(FeCapture *cap, TransactionId xid)
{
	fe_decoded_xids_add(cap->read, xid);
}

bool
fe_capture_was_read(FeCapture *cap, TransactionId xid)
{
	return fe_decoded_xids_member(cap->read, xid);
}

bool
fe_capture_read_from(FeCapture *cap, TransactionId xid)
{
	return fe_decoded_xids_from(cap->read, xid);
}

/* ---- progress of the slot ---------------------------------------------------------- */

void
fe_capture_confirm(FeCapture *cap, XLogRecPtr lsn)
{
	pg_atomic_write_u64(&cap->shared->confirm_lsn, lsn);
	if (cap->shared->decoder_proc)
		SetLatch(&cap->shared->decoder_proc->procLatch);
}
