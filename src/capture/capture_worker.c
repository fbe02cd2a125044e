/*
 * capture_worker.c
 *		The capture worker: decodes a database's write-ahead log and streams change
 *		records to the ingest worker.
 *
 * A dynamic background worker, started and ended by the ingest worker (stream.c),
 * one per database that has feature views.  It holds the replication slot as long
 * as it lives.  Its loop:
 *
 *		take other tables, move the slot on, if the ingest worker says so
 *		decode up to a message's worth of records and send them
 *		at the end of the log: sleep until a commit
 *
 * A full queue makes it wait, in the middle of a transaction too: a log that is
 * not taken in is not read either.  It holds no lock then.  Committing backends
 * set its latch (wakeup.c).
 */
#include "postgres.h"

#include "access/xlog.h"
#include "capture/internal.h"
#include "capture/plugin.h"
#include "capture/stream.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#define MESSAGE_BYTES		(64 * 1024)
#define IDLE_MS				1000
/* A worker before us may need a moment to let the slot go. */
#define WAIT_FOR_SLOT_MS	5000
#define WAIT_FOR_SLOT_STEP	10

typedef struct FeCaptureWorker
{
	FeDatabase *db;
	FeStreamShared *shared;
	shm_mq_handle *queue;
	FeDecoder  *decoder;
	FePluginSink sink;
	StringInfoData buf;			/* records that were not sent */
	FeDecodedXids *decoded;
	uint32		generation;		/* of the tables in use */
	XLogRecPtr	sent;			/* position of the last message */
	XLogRecPtr	confirmed;
	/* to be confirmed, once chosen standbys have the log up to there */
	XLogRecPtr	to_confirm;
	XLogRecPtr	standbys_need;
} FeCaptureWorker;

/* ---- the stream ------------------------------------------------------------ */

static void
send_message(FeCaptureWorker *w, FeStreamKind kind, uint32 number, XLogRecPtr position,
			 const void *payload, Size len)
{
	FeStreamMessage head = {.kind = kind, .number = number, .position = position};
	shm_mq_iovec iov[2] = {{(const char *) &head, sizeof(head)}, {payload, len}};

	if (shm_mq_sendv(w->queue, iov, 2, false, kind != FE_STREAM_PIECE) != SHM_MQ_SUCCESS)
		proc_exit(0);			/* the ingest worker is gone */
}

static void
send_piece(FePluginSink *sink)
{
	FeCaptureWorker *w = sink->arg;

	send_message(w, FE_STREAM_PIECE, 0, InvalidXLogRecPtr, w->buf.data, w->buf.len);
	resetStringInfo(&w->buf);
}

static void
send_decoded(FeCaptureWorker *w, XLogRecPtr position)
{
	if (w->buf.len == 0 && position == w->sent)
		return;
	send_message(w, FE_STREAM_WHOLE, w->sink.transactions, position, w->buf.data, w->buf.len);
	resetStringInfo(&w->buf);
	w->sink.transactions = 0;
	w->sent = position;
}

static void
note_decoded(FePluginSink *sink, TransactionId xid)
{
	fe_decoded_xids_add(((FeCaptureWorker *) sink->arg)->decoded, xid);
}

/* ---- what the ingest worker asks for ------------------------------------------ */

/* The handle of the newest tables, and their generation. */
static dsm_handle
wanted_tables(FeStreamShared *shared, uint32 *generation)
{
	dsm_handle	handle;

	do
	{
		*generation = pg_atomic_read_u32(&shared->tables_generation);
		pg_read_barrier();
		handle = pg_atomic_read_u32(&shared->tables_handle);
		pg_read_barrier();
	} while (*generation != pg_atomic_read_u32(&shared->tables_generation));
	return handle;
}

/*
 * Takes other tables, between two transactions.  With the notice goes what was
 * decoded without them, and no snapshot is sure to see: nobody who reads a table
 * that was not captured then may miss it.
 */
static void
follow_tables(FeCaptureWorker *w)
{
	const TransactionId *xids;
	int			nxids;
	dsm_handle	handle;
	dsm_segment *seg;

	if (w->generation == pg_atomic_read_u32(&w->shared->tables_generation))
		return;
	Assert(w->buf.len == 0);
	handle = wanted_tables(w->shared, &w->generation);
	seg = dsm_attach(handle);
	if (seg == NULL)
		proc_exit(0);			/* the ingest worker is gone */
	fe_decoder_set_tables(w->decoder, dsm_segment_address(seg));
	dsm_detach(seg);
	nxids = fe_decoded_xids_unsettled(w->decoded, &xids);
	send_message(w, FE_STREAM_TABLES, w->generation, w->sent, xids,
				 nxids * sizeof(TransactionId));
}

/*
 * A standby takes over the slot's position when it has the log up to there; the
 * checkpoint that goes with the position is in the log after it.  So that no
 * standby that is to be promoted has the one and not the other, those which
 * synchronized_standby_slots names get the checkpoint first.
 */
static void
follow_confirmation(FeCaptureWorker *w)
{
	XLogRecPtr	lsn = pg_atomic_read_u64(&w->shared->confirm_lsn);

	if (XLogRecPtrIsInvalid(w->to_confirm))
	{
		if (lsn == w->confirmed)
			return;
		w->to_confirm = lsn;
		w->standbys_need = GetFlushRecPtr(NULL);
	}
	if (!fe_decoder_standbys_have(w->standbys_need))
		return;
	fe_decoder_confirm(w->decoder, w->to_confirm);
	w->confirmed = w->to_confirm;
	w->to_confirm = InvalidXLogRecPtr;
	fe_inject_point("confirmed");
	fe_inject_wait("confirmed");
}

/* ---- beginning ------------------------------------------------------------------ */

/* before_shmem_exit callback: the ingest worker shall tell why decoding ended. */
static void
leave_error(int code, Datum arg)
{
	FeStreamShared *shared = (FeStreamShared *) DatumGetPointer(arg);

	if (!fe_worker_was_told_to_end())
		strlcpy(shared->error, fe_worker_last_error(), FE_ERROR_LEN);
}

static void
attach(FeCaptureWorker *w)
{
	dsm_handle	handle;
	dsm_segment *seg;
	shm_mq	   *mq;

	memcpy(&handle, MyBgworkerEntry->bgw_extra, sizeof(handle));
	seg = dsm_attach(handle);
	if (seg == NULL)
		proc_exit(0);			/* the ingest worker is gone */
	dsm_pin_mapping(seg);
	w->shared = dsm_segment_address(seg);
	before_shmem_exit(leave_error, PointerGetDatum(w->shared));
	mq = (shm_mq *) ((char *) w->shared + FE_STREAM_HEAD);
	shm_mq_set_sender(mq, MyProc);
	w->queue = shm_mq_attach(mq, seg, NULL);
	w->shared->decoder_proc = MyProc;
}

static void
stop_if_alone(FeCaptureWorker *w)
{
	if (pg_atomic_read_u32(&w->shared->reader_gone))
		proc_exit(0);
}

/* Whoever else holds the slot after that is named by the error that follows. */
static void
wait_for_slot(FeCaptureWorker *w)
{
	for (int waited = 0; waited < WAIT_FOR_SLOT_MS; waited += WAIT_FOR_SLOT_STEP)
	{
		if (fe_slot_status(MyDatabaseId, NULL, NULL, NULL) != FE_SLOT_IN_USE)
			return;
		stop_if_alone(w);
		fe_worker_wait(WAIT_FOR_SLOT_STEP, PGINVALID_SOCKET, 0);
	}
}

static void
open_decoder(FeCaptureWorker *w)
{
	initStringInfo(&w->buf);
	w->sink.buf = &w->buf;
	w->sink.spill_at = MESSAGE_BYTES;
	w->sink.spill = send_piece;
	w->sink.seen = note_decoded;
	w->sink.arg = w;
	w->decoded = fe_decoded_xids_create();
	w->decoder = fe_decoder_open(w->shared->start_lsn, &w->sink);
}

/* ---- the loop --------------------------------------------------------------------- */

/*
 * The flag goes up before the last look at the log, so that a commit in between
 * either is seen or sets the latch.
 */
static void
sleep_until_work(FeCaptureWorker *w)
{
	FeDatabase *db = w->db;
	long		timeout = IDLE_MS;

	pg_atomic_write_u32(&db->capture_sleeping, 1);
	pg_memory_barrier();
	if (pg_atomic_read_u64(&db->announced_lsn) > w->sent || !fe_decoder_at_end(w->decoder))
		timeout = 0;
	fe_worker_wait(timeout, PGINVALID_SOCKET, 0);
	pg_atomic_write_u32(&db->capture_sleeping, 0);
}

static void
work_once(FeCaptureWorker *w)
{
	bool		at_end;

	fe_inject_point(FE_ROLE_CAPTURE);
	fe_inject_wait(FE_ROLE_CAPTURE);
	stop_if_alone(w);
	follow_tables(w);
	follow_confirmation(w);
	/* asynchronous commits are written by us, or they would be seen late */
	fe_decoder_flush_to(pg_atomic_read_u64(&w->db->announced_lsn));
	send_decoded(w, fe_decoder_read(w->decoder, MESSAGE_BYTES, &at_end));
	if (at_end)
		sleep_until_work(w);
	else
		fe_worker_wait(0, PGINVALID_SOCKET, 0);
}

void
fe_capture_worker_main(Datum dboid)
{
	FeCaptureWorker *w = MemoryContextAllocZero(TopMemoryContext, sizeof(FeCaptureWorker));

	w->db = fe_worker_start(DatumGetObjectId(dboid), FE_ROLE_CAPTURE);
	attach(w);
	wait_for_slot(w);
	open_decoder(w);
	for (;;)
		work_once(w);
}
