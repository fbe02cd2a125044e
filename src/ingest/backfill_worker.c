/*
 * backfill_worker.c
 *		Building views from the rows that are already there: the helper.
 *
 * A dynamic background worker of its own, started by the ingest worker.  It
 * reads one table under one snapshot and sends the captured columns of every
 * row as change records.  It takes ACCESS SHARE on the table, a reader's lock,
 * before the snapshot, and keeps it until the worker has applied the last row.
 * backfill.c draws the states.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "replication/message.h"
#include "runtime/compat.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "ingest/ingest.h"

#define FE_MESSAGE_BYTES	(64 * 1024)

typedef struct FeHelper
{
	dsm_segment *seg;
	FeBackfillShared *shared;
	shm_mq_handle *queue;
	FeCaptureTable columns;
	StringInfoData buf;
	XLogRecPtr	lsn;
} FeHelper;

static void
set_phase(FeHelper *h, FeBackfillPhase phase)
{
	pg_write_barrier();
	pg_atomic_write_u32(&h->shared->phase, phase);
	SetLatch(&h->shared->worker_proc->procLatch);
}

/*
 * Waits for the worker's word.  It may be gone without one: then so are we, and
 * the table's lock and the snapshot with us.
 */
static FeBackfillPhase
wait_phase_change(FeHelper *h, FeBackfillPhase from)
{
	for (;;)
	{
		FeBackfillPhase phase = pg_atomic_read_u32(&h->shared->phase);

		if (phase != from)
		{
			pg_read_barrier();
			return phase;
		}
		if (h->shared->worker_proc->pid != h->shared->worker_pid)
			proc_exit(0);
		fe_worker_wait(1000, PGINVALID_SOCKET, 0);
	}
}

static void
attach(FeHelper *h, dsm_handle handle)
{
	Size		head;
	shm_mq	   *mq;

	h->seg = dsm_attach(handle);
	if (h->seg == NULL)
		proc_exit(0);			/* the worker has given the job up */
	dsm_pin_mapping(h->seg);
	h->shared = dsm_segment_address(h->seg);
	h->shared->helper_proc = MyProc;
	head = MAXALIGN(offsetof(FeBackfillShared, xip) +
					sizeof(TransactionId) * h->shared->max_xip);
	mq = (shm_mq *) ((char *) h->shared + head);
	shm_mq_set_sender(mq, MyProc);
	h->queue = shm_mq_attach(mq, h->seg, NULL);
}

/*
 * Takes a snapshot and publishes it, with a position in the log that decoding
 * is sure to reach and that lies after the commit of whatever it sees.
 */
static Snapshot
publish_snapshot(FeHelper *h)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	FeBackfillShared *shared = h->shared;

	if (snapshot->xcnt > shared->max_xip)
		elog(ERROR, "snapshot holds too many transactions");
	shared->xmin = snapshot->xmin;
	shared->xmax = snapshot->xmax;
	shared->nxip = snapshot->xcnt;
	if (snapshot->xcnt > 0)		/* else xip may be NULL */
		memcpy(shared->xip, snapshot->xip, snapshot->xcnt * sizeof(TransactionId));
	h->lsn = fe_compat_log_message(FE_EXTENSION_NAME, "", 0);
	XLogFlush(h->lsn);
	shared->snapshot_lsn = h->lsn;
	set_phase(h, FE_BACKFILL_SNAPSHOT);
	return snapshot;
}

static Snapshot
agree_on_snapshot(FeHelper *h)
{
	Snapshot	snapshot = NULL;
	FeBackfillPhase phase = FE_BACKFILL_LOCKED;

	set_phase(h, FE_BACKFILL_LOCKED);
	for (;;)
	{
		phase = wait_phase_change(h, phase);
		if (phase == FE_BACKFILL_SCAN)
			return snapshot;
		Assert(phase == FE_BACKFILL_TAKE_SNAPSHOT);
		if (snapshot)
			UnregisterSnapshot(snapshot);
		snapshot = publish_snapshot(h);
		phase = FE_BACKFILL_SNAPSHOT;
	}
}

static void
fill_columns(FeHelper *h, TupleDesc desc)
{
	FeBackfillShared *shared = h->shared;

	h->columns.relid = shared->relid;
	h->columns.natts = shared->natts;
	h->columns.atts = palloc0(Max(shared->natts, 1) * sizeof(FeCaptureColumn));
	for (int i = 0; i < shared->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, shared->attnums[i] - 1);

		h->columns.atts[i].attnum = att->attnum;
		h->columns.atts[i].attlen = att->attlen;
		h->columns.atts[i].attbyval = att->attbyval;
		h->columns.atts[i].attalign = att->attalign;
		h->columns.atts[i].atttypid = att->atttypid;
		h->columns.max_attnum = att->attnum;
	}
}

static void
start_message(FeHelper *h)
{
	resetStringInfo(&h->buf);
	fe_record_write_begin(&h->buf, InvalidTransactionId, h->lsn, h->lsn, 0);
}

static void
send_bytes(FeHelper *h, Size nbytes, const void *data)
{
	if (shm_mq_send(h->queue, nbytes, data, false, true) != SHM_MQ_SUCCESS)
		proc_exit(0);			/* the worker has given the job up */
}

static void
send_message(FeHelper *h)
{
	fe_record_write_commit(&h->buf);
	send_bytes(h, h->buf.len, h->buf.data);
	start_message(h);
}

static void
write_row(FeHelper *h, TupleTableSlot *slot, Datum *values, char *states)
{
	if (h->columns.max_attnum > 0)
		slot_getsomeattrs(slot, h->columns.max_attnum);
	for (int i = 0; i < h->columns.natts; i++)
	{
		FeCaptureColumn *col = &h->columns.atts[i];
		int			a = col->attnum - 1;

		states[i] = slot->tts_isnull[a] ? FE_COLUMN_NULL : FE_COLUMN_VALUE;
		values[i] = slot->tts_values[a];
		if (states[i] == FE_COLUMN_VALUE && col->attlen == -1)
			values[i] = PointerGetDatum(PG_DETOAST_DATUM_PACKED(values[i]));
	}
	fe_record_write_change(&h->buf, FE_RECORD_READ, &h->columns, InvalidXLogRecPtr,
						   NULL, NULL, values, states);
}

static void
scan_table(FeHelper *h, Relation rel, Snapshot snapshot)
{
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "backfill row",
												  ALLOCSET_DEFAULT_SIZES);
	Datum	   *values = palloc0((h->columns.natts + 1) * sizeof(Datum));
	char	   *states = palloc0(h->columns.natts + 1);

	initStringInfo(&h->buf);
	start_message(h);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(row_cxt);

		CHECK_FOR_INTERRUPTS();
		write_row(h, slot, values, states);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_cxt);
		if (h->buf.len >= FE_MESSAGE_BYTES)
			send_message(h);
	}
	send_message(h);
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
}

void
fe_backfill_worker_main(Datum arg)
{
	FeHelper	h = {0};
	Relation	rel;
	Snapshot	snapshot;
	dsm_handle	handle;
	Oid			dboid = DatumGetObjectId(arg);

	memcpy(&handle, MyBgworkerEntry->bgw_extra, sizeof(handle));
	fe_worker_start(dboid, FE_ROLE_BACKFILL);
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "feature_engine backfill");
	attach(&h, handle);

	fe_inject_point(FE_ROLE_BACKFILL);
	StartTransactionCommand();
	fe_inject_wait("backfill-lock");
	rel = try_table_open(h.shared->relid, AccessShareLock);
	if (rel == NULL)
		proc_exit(0);			/* dropped meanwhile: so is the view */
	h.shared->rows_expected = rel->rd_rel->reltuples > 0 ? rel->rd_rel->reltuples : 0;
	fill_columns(&h, RelationGetDescr(rel));
	fe_inject_wait("backfill-locked");
	snapshot = agree_on_snapshot(&h);
	PushActiveSnapshot(snapshot);
	fe_inject_wait("backfill-scan");
	scan_table(&h, rel, snapshot);
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
	set_phase(&h, FE_BACKFILL_SCANNED);
	send_bytes(&h, 1, "");
	wait_phase_change(&h, FE_BACKFILL_SCANNED);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	proc_exit(0);
}
