/*
 * backfill_worker.c
 *		Building views from the rows that are already there: the helper.
 *
 * A dynamic background worker of its own, started by the ingest worker.  It
 * reads one or more tables, or their partitions, under one snapshot and sends the
 * captured columns of every row as change records.  It takes ACCESS SHARE on the tables, a reader's
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
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "replication/message.h"
#include "runtime/compat.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "ingest/ingest.h"

#define FE_MESSAGE_BYTES	(64 * 1024)

typedef struct FeHelper
{
	dsm_segment *seg;
	FeBackfillShared *shared;
	shm_mq_handle *queue;
	FeCaptureSet *set;
	List	   *locked;			/* Oids: the set's tables and all partitions */
	List	   *parts;			/* FePart * */
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

/* ---- tables ---------------------------------------------------------------- */

/* The set's tables, and the partitions that they have by now. */
static List *
tables_to_lock(FeHelper *h)
{
	FePartitions partitions = {0};
	List	   *relids = NIL;

	for (int i = 0; i < h->set->ntables; i++)
	{
		relids = lappend_oid(relids, h->set->tables[i].relid);
		fe_partitions_add(&partitions, h->set->tables[i].relid, NULL);
	}
	for (int i = 0; i < partitions.n; i++)
		if (!partitions.items[i].detaching)
			relids = list_append_unique_oid(relids, partitions.items[i].relid);
	return relids;
}

static void
unlock_tables(List *relids)
{
	ListCell   *lc;

	foreach(lc, relids)
		UnlockRelationOid(lfirst_oid(lc), AccessShareLock);
}

/*
 * Locks those that are not locked yet, if that is possible at once.  InvalidOid,
 * or else the one that is in use; then none more is locked.
 */
static Oid
lock_at_once(FeHelper *h, List *relids)
{
	List	   *locked = NIL;
	ListCell   *lc;

	foreach(lc, relids)
	{
		if (list_member_oid(h->locked, lfirst_oid(lc)))
			continue;
		if (!ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock))
		{
			unlock_tables(locked);
			return lfirst_oid(lc);
		}
		locked = lappend_oid(locked, lfirst_oid(lc));
	}
	h->locked = list_concat(h->locked, locked);
	return InvalidOid;
}

/* Waits for one table at a time, holding no other's lock meanwhile. */
static void
lock_tables(FeHelper *h)
{
	Oid			in_use = linitial_oid(tables_to_lock(h));

	for (;;)
	{
		Oid			next;

		LockRelationOid(in_use, AccessShareLock);
		h->locked = list_make1_oid(in_use);
		next = lock_at_once(h, tables_to_lock(h));
		if (!OidIsValid(next))
			return;
		unlock_tables(h->locked);
		in_use = next;
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Whatever the snapshot sees of partitions that were attached or created while we
 * locked must be locked as well, before the snapshot: false, another one is
 * needed.  A partition cannot go while the tables are locked, but for DETACH
 * CONCURRENTLY: the worker will see that.
 */
static bool
lock_new_partitions(FeHelper *h)
{
	int			before = list_length(h->locked);
	Oid			in_use = lock_at_once(h, tables_to_lock(h));

	if (OidIsValid(in_use))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("partition \"%s\" is in use", get_rel_name(in_use))));
	return list_length(h->locked) == before;
}

static void
estimate_rows(FeHelper *h)
{
	ListCell   *lc;

	h->shared->rows_expected = 0;
	foreach(lc, h->locked)
	{
		HeapTuple	tup = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_class form;

		if (!HeapTupleIsValid(tup))
			continue;
		form = (Form_pg_class) GETSTRUCT(tup);
		if (form->relkind == RELKIND_RELATION && form->reltuples > 0)
			h->shared->rows_expected += form->reltuples;
		ReleaseSysCache(tup);
	}
}

/* ---- the snapshot ---------------------------------------------------------- */

/*
 * Takes a snapshot and publishes it, with a position in the log that decoding
 * is sure to reach and that lies after the commit of whatever it sees.
 */
static Snapshot
publish_snapshot(FeHelper *h)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	FeBackfillShared *shared = h->shared;

	while (!lock_new_partitions(h))
	{
		UnregisterSnapshot(snapshot);
		snapshot = RegisterSnapshot(GetLatestSnapshot());
	}
	estimate_rows(h);

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

/* ---- columns -------------------------------------------------------------------- */

/* A table without partitions, or one of the partitions. */
typedef struct FePart
{
	Relation	rel;
	const FeCaptureTable *table;	/* whose rows it has */
	AttrNumber *attnums;		/* by column of the table, its own */
	AttrNumber	max_attnum;
} FePart;

/* The worker reads rows as its capture set has them; before the lock that may change. */
static void
require_column(const FeCaptureColumn *col, Relation rel, AttrNumber attnum)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Form_pg_attribute att = attnum > 0 && attnum <= desc->natts ?
		TupleDescAttr(desc, attnum - 1) : NULL;

	if (att == NULL || att->attisdropped || att->atttypid != col->atttypid ||
		att->attlen != col->attlen || att->attbyval != col->attbyval ||
		att->attalign != col->attalign)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" was altered before it could be read",
						RelationGetRelationName(rel))));
}

static void
open_part(FeHelper *h, const FeCaptureTable *table, Oid relid)
{
	FePart	   *part = palloc0(sizeof(FePart));

	part->rel = try_table_open(relid, NoLock);
	if (part->rel == NULL)
		proc_exit(0);			/* dropped meanwhile: so is the view, or it is built anew */
	part->table = table;
	part->attnums = palloc0(Max(table->natts, 1) * sizeof(AttrNumber));
	for (int i = 0; i < table->natts; i++)
	{
		const FeCaptureColumn *col = &table->atts[i];

		part->attnums[i] = relid == table->relid ? col->attnum :
			get_attnum(relid, get_attname(table->relid, col->attnum, false));
		require_column(col, part->rel, part->attnums[i]);
		part->max_attnum = Max(part->max_attnum, part->attnums[i]);
	}
	h->parts = lappend(h->parts, part);
}

/*
 * What is to be read, when all is locked and the snapshot stands.  A partition that
 * came later is not locked, and has no rows that the snapshot sees, or the worker
 * will have everything read again.
 */
static void
open_parts(FeHelper *h)
{
	for (int i = 0; i < h->set->ntables; i++)
	{
		const FeCaptureTable *table = &h->set->tables[i];
		FePartitions partitions = {0};

		if (!fe_is_partitioned(table->relid))
		{
			open_part(h, table, table->relid);
			continue;
		}
		fe_partitions_add(&partitions, table->relid, NULL);
		for (int p = 0; p < partitions.n; p++)
			if (!partitions.items[p].detaching &&
				!fe_is_partitioned(partitions.items[p].relid) &&
				list_member_oid(h->locked, partitions.items[p].relid))
				open_part(h, table, partitions.items[p].relid);
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
write_row(FeHelper *h, const FePart *part, TupleTableSlot *slot, Datum *values, char *states)
{
	const FeCaptureTable *table = part->table;

	if (part->max_attnum > 0)
		slot_getsomeattrs(slot, part->max_attnum);
	for (int i = 0; i < table->natts; i++)
	{
		const FeCaptureColumn *col = &table->atts[i];
		int			a = part->attnums[i] - 1;

		states[i] = slot->tts_isnull[a] ? FE_COLUMN_NULL : FE_COLUMN_VALUE;
		values[i] = slot->tts_values[a];
		if (states[i] == FE_COLUMN_VALUE && col->attlen == -1)
			values[i] = PointerGetDatum(PG_DETOAST_DATUM_PACKED(values[i]));
	}
	fe_record_write_change(&h->buf, FE_RECORD_READ, table, InvalidXLogRecPtr, NULL, NULL, values,
						   states);
}

static void
scan_part(FeHelper *h, const FePart *part, Snapshot snapshot)
{
	TableScanDesc scan = table_beginscan(part->rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(part->rel, NULL);
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "backfill row",
												  ALLOCSET_DEFAULT_SIZES);
	Datum	   *values = palloc0((part->table->natts + 1) * sizeof(Datum));
	char	   *states = palloc0(part->table->natts + 1);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(row_cxt);

		CHECK_FOR_INTERRUPTS();
		write_row(h, part, slot, values, states);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_cxt);
		if (h->buf.len >= FE_MESSAGE_BYTES)
			send_message(h);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	MemoryContextDelete(row_cxt);
	/* a message has rows of one table only */
	send_message(h);
}

static void
scan_parts(FeHelper *h, Snapshot snapshot)
{
	ListCell   *lc;

	Oid			last = h->shared->last_relid;

	initStringInfo(&h->buf);
	start_message(h);
	foreach(lc, h->parts)
		if (((FePart *) lfirst(lc))->table->relid != last)
			scan_part(h, lfirst(lc), snapshot);
	foreach(lc, h->parts)
		if (((FePart *) lfirst(lc))->table->relid == last)
			scan_part(h, lfirst(lc), snapshot);
}

void
fe_backfill_worker_main(Datum arg)
{
	FeHelper	h = {0};
	ListCell   *lc;
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
	lock_tables(&h);
	fe_inject_wait("backfill-locked");
	snapshot = agree_on_snapshot(&h);
	PushActiveSnapshot(snapshot);
	fe_inject_wait("backfill-scan");
	open_parts(&h);
	scan_parts(&h, snapshot);
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
	set_phase(&h, FE_BACKFILL_SCANNED);
	send_bytes(&h, 1, "");
	wait_phase_change(&h, FE_BACKFILL_SCANNED);
	foreach(lc, h.parts)
		table_close(((FePart *) lfirst(lc))->rel, AccessShareLock);
	CommitTransactionCommand();
	proc_exit(0);
}
