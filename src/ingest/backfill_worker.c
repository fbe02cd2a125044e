/*
 * backfill_worker.c
 *		Building views from the rows that are already there: the helper.
 *
 * A dynamic background worker of its own, started by the ingest worker.  It
 * reads one or more tables under one snapshot and sends the captured columns of
 * every row as change records.  It takes ACCESS SHARE on the tables, a reader's
 * lock, before the snapshot, and keeps it until the worker has applied the last
 * row.  It never waits for a lock while it holds another: a transaction that
 * locks the tables in another order must not become part of a deadlock.
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
	FeCaptureSet *set;
	Relation   *rels;			/* by table of the set */
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
	shm_mq	   *mq;

	h->seg = dsm_attach(handle);
	if (h->seg == NULL)
		proc_exit(0);			/* the worker has given the job up */
	dsm_pin_mapping(h->seg);
	h->shared = dsm_segment_address(h->seg);
	h->shared->helper_proc = MyProc;
	h->set = fe_capture_set_parse((char *) h->shared + h->shared->tables_offset);
	mq = (shm_mq *) ((char *) h->shared + h->shared->queue_offset);
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

/* ---- tables ---------------------------------------------------------------- */

/* Locks every table but the first, if that is possible at once. */
static int
lock_others(FeHelper *h, int first)
{
	for (int i = 0; i < h->set->ntables; i++)
	{
		if (i == first || ConditionalLockRelationOid(h->set->tables[i].relid, AccessShareLock))
			continue;
		for (int j = 0; j < i; j++)
			if (j != first)
				UnlockRelationOid(h->set->tables[j].relid, AccessShareLock);
		return i;
	}
	return -1;
}

/* Waits for one table at a time, holding no other's lock meanwhile. */
static void
lock_tables(FeHelper *h)
{
	int			first = 0;

	for (;;)
	{
		int			taken;

		LockRelationOid(h->set->tables[first].relid, AccessShareLock);
		taken = lock_others(h, first);
		if (taken < 0)
			return;
		UnlockRelationOid(h->set->tables[first].relid, AccessShareLock);
		first = taken;
		CHECK_FOR_INTERRUPTS();
	}
}

/* The worker reads rows as its capture set has them; before the lock that may change. */
static void
check_columns(const FeCaptureTable *table, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < table->natts; i++)
	{
		const FeCaptureColumn *col = &table->atts[i];
		Form_pg_attribute att = col->attnum <= desc->natts ?
			TupleDescAttr(desc, col->attnum - 1) : NULL;

		if (att == NULL || att->attisdropped || att->atttypid != col->atttypid ||
			att->attlen != col->attlen || att->attbyval != col->attbyval ||
			att->attalign != col->attalign)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" was altered before it could be read",
							RelationGetRelationName(rel))));
	}
}

static void
open_tables(FeHelper *h)
{
	int			n = h->set->ntables;

	h->rels = palloc0(n * sizeof(Relation));
	lock_tables(h);
	for (int i = 0; i < n; i++)
	{
		Relation	rel = try_table_open(h->set->tables[i].relid, NoLock);

		if (rel == NULL)
			proc_exit(0);		/* dropped meanwhile: so is the view */
		check_columns(&h->set->tables[i], rel);
		h->rels[i] = rel;
		if (rel->rd_rel->reltuples > 0)
			h->shared->rows_expected += rel->rd_rel->reltuples;
	}
}

/* ---- rows -------------------------------------------------------------------- */

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
write_row(FeHelper *h, const FeCaptureTable *table, TupleTableSlot *slot, Datum *values,
		  char *states)
{
	if (table->max_attnum > 0)
		slot_getsomeattrs(slot, table->max_attnum);
	for (int i = 0; i < table->natts; i++)
	{
		const FeCaptureColumn *col = &table->atts[i];
		int			a = col->attnum - 1;

		states[i] = slot->tts_isnull[a] ? FE_COLUMN_NULL : FE_COLUMN_VALUE;
		values[i] = slot->tts_values[a];
		if (states[i] == FE_COLUMN_VALUE && col->attlen == -1)
			values[i] = PointerGetDatum(PG_DETOAST_DATUM_PACKED(values[i]));
	}
	fe_record_write_change(&h->buf, FE_RECORD_READ, table, InvalidXLogRecPtr, NULL, NULL, values,
						   states);
}

static void
scan_table(FeHelper *h, const FeCaptureTable *table, Relation rel, Snapshot snapshot)
{
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "backfill row",
												  ALLOCSET_DEFAULT_SIZES);
	Datum	   *values = palloc0((table->natts + 1) * sizeof(Datum));
	char	   *states = palloc0(table->natts + 1);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(row_cxt);

		CHECK_FOR_INTERRUPTS();
		write_row(h, table, slot, values, states);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_cxt);
		if (h->buf.len >= FE_MESSAGE_BYTES)
			send_message(h);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	MemoryContextDelete(row_cxt);
}

static void
scan_tables(FeHelper *h, Snapshot snapshot)
{
	initStringInfo(&h->buf);
	start_message(h);
	for (int i = 0; i < h->set->ntables; i++)
		scan_table(h, &h->set->tables[i], h->rels[i], snapshot);
	send_message(h);
}

void
fe_backfill_worker_main(Datum arg)
{
	FeHelper	h = {0};
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
	open_tables(&h);
	fe_inject_wait("backfill-locked");
	snapshot = agree_on_snapshot(&h);
	PushActiveSnapshot(snapshot);
	fe_inject_wait("backfill-scan");
	scan_tables(&h, snapshot);
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
	set_phase(&h, FE_BACKFILL_SCANNED);
	send_bytes(&h, 1, "");
	wait_phase_change(&h, FE_BACKFILL_SCANNED);
	for (int i = 0; i < h.set->ntables; i++)
		table_close(h.rels[i], AccessShareLock);
	CommitTransactionCommand();
	proc_exit(0);
}
