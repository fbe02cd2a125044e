/*
 * checkpoint.c
 *		Writing the state of feature views to tables.
 *
 * In the checkpoint worker, which the ingest worker starts for each cycle, and at
 * shutdown in the ingest worker.  The ingest worker goes on merging meanwhile:
 * state/save.c says why the result is right all the same.
 *
 *	transaction after transaction:	chunks of entities, appended
 *	a last one:						the view's row: "this cycle is whole"; after a
 *									full cycle the chunks before it are removed
 *
 * Only when that is on disk does the ingest worker let the slot move on.  So
 * commits are synchronous, for this server's disk; and what is written here is not
 * decoded again (DoNotReplicateId).
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "durable/internal.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "replication/origin.h"
#include "runtime/runtime.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/*
 * A chunk is a row in a page of its own, as a rule: no TOAST, one WAL record.  The
 * entity that does not fit any more is in it; a longer chunk is toasted.
 */
#define CHUNK_BYTES			7000
/* Chunks of a transaction: vacuum does not wait long for it. */
#define CHUNKS_PER_COMMIT	1024
/*
 * After each transaction a cycle rests for so many times as long as that took: it
 * may last, and there may be no processor to spare.  (Not by a lower priority: who
 * is to write the log must not be kept from it while others wait for that.)
 */
#define REST_FACTOR			2
#define REST_MAX_MS			1000

typedef struct FeWriting
{
	FePlan	   *plan;
	FeStateSaver *saver;
	MemoryContext cxt;
	StringInfoData chunk;
	XLogRecPtr	lsn;
	XLogRecPtr	since;			/* what was stored before */
	bool		full;
	bool		at_ease;		/* with rests */
	FeViewShared *view;
	bytea	   *partitions;		/* NULL: there are none, or they are not known */
	int64		cycle;
	int32		number;			/* of the next chunk */
	int64		entities;
	int64		bytes;
} FeWriting;

static void
begin_transaction(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

static void
end_transaction(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/*
 * Numbers are never used again, not even those of cycles that were given up.  The
 * chunks of such a cycle go: what is in them is due once more.
 */
static int64
next_cycle(int32 viewid)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(viewid)};
	bool		isnull;
	int64		cycle;

	fe_durable_execute("SELECT greatest((SELECT max(cycle) FROM feature_engine.checkpoint_chunk"
					   "  WHERE viewid = $1), (SELECT cycle FROM feature_engine.checkpoint"
					   "  WHERE viewid = $1), 0) + 1", 1, types, values, SPI_OK_SELECT);
	cycle = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
										&isnull));
	fe_durable_execute("DELETE FROM feature_engine.checkpoint_chunk WHERE viewid = $1"
					   " AND cycle > coalesce((SELECT cycle FROM feature_engine.checkpoint"
					   "  WHERE viewid = $1), 0)", 1, types, values, SPI_OK_DELETE);
	return cycle;
}

static SPIPlanPtr
insert_plan(void)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT4OID, INT8OID, INT4OID, BYTEAOID};

	if (plan == NULL)
	{
		plan = SPI_prepare("INSERT INTO feature_engine.checkpoint_chunk (viewid, cycle, number, data)"
						   " VALUES ($1, $2, $3, $4)", 4, types);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare the statement for chunks");
	}
	return plan;
}

static void
insert_chunk(FeWriting *w)
{
	bytea	   *data = palloc(VARHDRSZ + w->chunk.len);
	Datum		values[] = {Int32GetDatum(w->plan->viewid), Int64GetDatum(w->cycle),
	Int32GetDatum(w->number++), PointerGetDatum(data)};

	SET_VARSIZE(data, VARHDRSZ + w->chunk.len);
	memcpy(VARDATA(data), w->chunk.data, w->chunk.len);
	if (SPI_execute_plan(insert_plan(), values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not store a chunk");
	w->bytes += w->chunk.len;
	w->entities += fe_state_saved_entities(w->saver);
	pfree(data);
}

static void
rest(TimestampTz began)
{
	long		took = TimestampDifferenceMilliseconds(began, GetCurrentTimestamp());

	fe_worker_wait(Min(took * REST_FACTOR, REST_MAX_MS), PGINVALID_SOCKET, 0);
}

/*
 * As many chunks as go into a transaction.  False: there are no more.  They need
 * not be on disk before the row is that makes them count.
 */
static bool
write_chunks(FeWriting *w)
{
	TimestampTz began = GetCurrentTimestamp();
	bool		more = true;

	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	begin_transaction();
	if (w->cycle == 0)
		w->cycle = next_cycle(w->plan->viewid);
	for (int i = 0; i < CHUNKS_PER_COMMIT; i++)
	{
		CHECK_FOR_INTERRUPTS();
		more = fe_state_save(w->saver, &w->chunk, CHUNK_BYTES);
		if (!more)
			break;
		insert_chunk(w);
	}
	end_transaction();
	fe_inject_point("checkpoint-chunks");
	fe_inject_wait("checkpoint-chunks");
	if (more && w->at_ease)
		rest(began);
	return more;
}

/*
 * The partitions that state has rows of, as the ingest worker knows them.  Where
 * the catalogue is ahead of it they are not known, and recovery must not take the
 * view for whole.  To be called while it is sure that state is the one that is
 * written: before the cycle turns out to be complete.
 */
static void
note_partitions(FeWriting *w)
{
	FePartitions *partitions;

	if (!fe_plan_reads_partitions(w->plan))
		return;
	partitions = fe_partitions_of_plan(w->plan, NULL);
	if (fe_partitions_hash(partitions) == pg_atomic_read_u64(&w->view->partitions_hash))
	{
		MemoryContext old = MemoryContextSwitchTo(w->cxt);

		w->partitions = fe_partitions_encode(partitions);
		MemoryContextSwitchTo(old);
	}
}

static void
write_partitions(FeWriting *w)
{
	Oid			types[] = {INT4OID, BYTEAOID};
	Datum		values[] = {Int32GetDatum(w->plan->viewid), PointerGetDatum(w->partitions)};

	if (w->partitions != NULL)
		fe_durable_execute("UPDATE feature_engine.checkpoint SET partitions = $2 WHERE viewid = $1",
						   lengthof(types), types, values, SPI_OK_UPDATE);
	else if (fe_plan_reads_partitions(w->plan))
		fe_durable_execute("UPDATE feature_engine.checkpoint SET partitions = NULL WHERE viewid = $1",
						   1, types, values, SPI_OK_UPDATE);
}

/* The cycle is whole: recovery may build on it. */
static void
write_row(FeWriting *w)
{
	Oid			types[] = {INT4OID, INT8OID, OIDOID, INT4OID, LSNOID, INT8OID, BOOLOID,
	INT8OID, INT8OID, INT4OID, INT8OID, INT8OID};
	Datum		values[] = {Int32GetDatum(w->plan->viewid),
		Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId),
		Int32GetDatum(w->plan->state_version), LSNGetDatum(w->lsn), Int64GetDatum(w->cycle),
		BoolGetDatum(w->full), Int64GetDatum(w->entities), Int64GetDatum(w->bytes),
		Int32GetDatum(FE_CHECKPOINT_FORMAT), Int64GetDatum(w->number),
	Int64GetDatum(fe_state_saver_event_time(w->saver))};

	SetConfigOption("synchronous_commit", "local", PGC_USERSET, PGC_S_OVERRIDE);
	begin_transaction();
	fe_durable_execute("INSERT INTO feature_engine.checkpoint AS c (viewid, format,"
					   " system_identifier, database, state_version, replay_lsn, cycle, full_cycle,"
					   " chunks, entities, full_bytes, more_bytes, event_time)"
					   " VALUES ($1, $10, $2, $3, $4, $5, $6, $6, $11, $8, $9, 0, $12)"
					   " ON CONFLICT (viewid) DO UPDATE SET format = $10, system_identifier = $2,"
					   " database = $3, state_version = $4, replay_lsn = $5, cycle = $6,"
					   " full_cycle = CASE WHEN $7 THEN $6 ELSE c.full_cycle END,"
					   " chunks = CASE WHEN $7 THEN $11 ELSE c.chunks + $11 END,"
					   " entities = CASE WHEN $7 THEN $8 ELSE c.entities + $8 END,"
					   " full_bytes = CASE WHEN $7 THEN $9 ELSE c.full_bytes END,"
					   " more_bytes = CASE WHEN $7 THEN 0 ELSE c.more_bytes + $9 END,"
					   " event_time = $12, written_at = pg_catalog.now()",
					   lengthof(types), types, values, SPI_OK_INSERT);
	write_partitions(w);
	if (w->full)
		fe_durable_execute("DELETE FROM feature_engine.checkpoint_chunk"
						   " WHERE viewid = $1 AND cycle < $6",
						   lengthof(types), types, values, SPI_OK_DELETE);
	if (fe_plan_uses_before_at(w->plan))
		fe_durable_times_prune(w->plan->viewid, w->full ? InvalidXLogRecPtr : w->since, w->lsn);
	fe_inject_point("checkpoint-row");
	end_transaction();
}

/*
 * Writes the cycle that was begun for a view, in transactions of its own.  Where it
 * cannot be completed (the view is gone, or changed too much meanwhile) what was
 * stored before still counts.
 */
static void
write_view(FePlan *plan, FeViewShared *view, bool at_ease)
{
	FeWriting	w = {.plan = plan, .view = view, .at_ease = at_ease};
	MemoryContext old;

	w.cxt = AllocSetContextCreate(TopMemoryContext, "feature_engine checkpoint",
								  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(w.cxt);
	initStringInfo(&w.chunk);
	w.saver = fe_state_saver_create(plan, view, w.cxt);
	if (w.saver == NULL)
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(w.cxt);
		return;
	}
	w.lsn = fe_state_saver_lsn(w.saver, &w.full);
	w.since = fe_state_stored_lsn(view);
	while (write_chunks(&w))
		;
	begin_transaction();
	note_partitions(&w);
	end_transaction();
	MemoryContextSwitchTo(w.cxt);
	if (fe_state_saver_complete(w.saver))
	{
		write_row(&w);
		fe_inject_point("checkpoint-stored");
		fe_inject_wait("checkpoint-stored");
		fe_state_saver_stored(w.saver);
		if (w.full)
			pg_atomic_write_u64(&view->stored_full_bytes, w.bytes);
		pg_atomic_write_u64(&view->stored_more_bytes,
							w.full ? 0 : pg_atomic_read_u64(&view->stored_more_bytes) + w.bytes);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(w.cxt);
}

/* The plans of the database's views, which do not change under a transaction. */
static List *
load_plans(MemoryContext cxt)
{
	bool		installed;
	List	   *plans = NIL;
	ListCell   *lc;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, fe_plan_list(&installed))
	{
		FePlan	   *plan = fe_plan_load(lfirst_int(lc), cxt);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		if (plan != NULL)
			plans = lappend(plans, plan);
		MemoryContextSwitchTo(old);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	return plans;
}

/* Is its state complete?  So it is of a stream that has stopped, and keeps it, too. */
static bool
is_complete(FeViewShared *view)
{
	uint32		state = pg_atomic_read_u32(&view->state);

	return state == FE_VIEW_LIVE ||
		(state == FE_VIEW_FAILED && view->resume_lsn != InvalidXLogRecPtr);
}

/* A view, or a part of one, if it is complete in today's layout. */
static void
write_if_complete(FePlan *plan, bool at_ease)
{
	FeViewShared *view = fe_view_find(MyDatabaseId, plan->viewid);

	if (view != NULL && view->state_version == plan->state_version && is_complete(view))
		write_view(plan, view, at_ease);
}

void
fe_durable_write_all(bool at_ease)
{
	MemoryContext cxt = AllocSetContextCreate(TopMemoryContext, "feature_engine plans to store",
											  ALLOCSET_DEFAULT_SIZES);
	ListCell   *lc;

	foreach(lc, load_plans(cxt))
	{
		FePlan	   *plan = lfirst(lc);

		write_if_complete(plan, at_ease);
		for (int i = 0; plan->join && i < plan->join->nparts; i++)
			write_if_complete(plan->join->parts[i], at_ease);
	}
	MemoryContextDelete(cxt);
}

/* Does the ingest worker that asked for this cycle live? */
static bool
is_wanted(FeDatabase *db)
{
	int			asker;
	bool		same;

	memcpy(&asker, MyBgworkerEntry->bgw_extra, sizeof(asker));
	SpinLockAcquire(&db->mutex);
	same = db->ingest.pid == asker;
	SpinLockRelease(&db->mutex);
	return same;
}

void
fe_checkpoint_worker_main(Datum dboid)
{
	FeDatabase *db = fe_worker_start(DatumGetObjectId(dboid), FE_ROLE_CHECKPOINT);

	if (!is_wanted(db))
		proc_exit(0);
	/* what this process writes is never decoded again */
	replorigin_session_origin = DoNotReplicateId;
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	fe_inject_point(FE_ROLE_CHECKPOINT);
	fe_inject_wait(FE_ROLE_CHECKPOINT);
	fe_durable_write_all(true);
	proc_exit(0);
}
