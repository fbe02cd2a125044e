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

#include <sys/resource.h>

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
 * A cycle may last; whoever decodes and merges may not wait for it.  Where there
 * are fewer processors than work, it gets a tenth of one at this value.  A lock is
 * held for one entity only, and whoever waits for it leaves us a processor.
 */
#define CHECKPOINT_NICE		10

typedef struct FeWriting
{
	FePlan	   *plan;
	FeStateSaver *saver;
	MemoryContext cxt;
	StringInfoData chunk;
	XLogRecPtr	lsn;
	bool		full;
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

/* As many chunks as go into a transaction.  False: there are no more. */
static bool
write_chunks(FeWriting *w)
{
	bool		more = true;

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
	return more;
}

/* The cycle is whole: recovery may build on it. */
static void
write_row(FeWriting *w)
{
	Oid			types[] = {INT4OID, INT8OID, OIDOID, INT4OID, LSNOID, INT8OID, BOOLOID,
	INT8OID, INT8OID, INT4OID, INT8OID};
	Datum		values[] = {Int32GetDatum(w->plan->viewid),
		Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId),
		Int32GetDatum(w->plan->state_version), LSNGetDatum(w->lsn), Int64GetDatum(w->cycle),
		BoolGetDatum(w->full), Int64GetDatum(w->entities), Int64GetDatum(w->bytes),
	Int32GetDatum(FE_CHECKPOINT_FORMAT), Int64GetDatum(w->number)};

	begin_transaction();
	fe_durable_execute("INSERT INTO feature_engine.checkpoint AS c (viewid, format,"
					   " system_identifier, database, state_version, replay_lsn, cycle, full_cycle,"
					   " chunks, entities, full_bytes, more_bytes)"
					   " VALUES ($1, $10, $2, $3, $4, $5, $6, $6, $11, $8, $9, 0)"
					   " ON CONFLICT (viewid) DO UPDATE SET format = $10, system_identifier = $2,"
					   " database = $3, state_version = $4, replay_lsn = $5, cycle = $6,"
					   " full_cycle = CASE WHEN $7 THEN $6 ELSE c.full_cycle END,"
					   " chunks = CASE WHEN $7 THEN $11 ELSE c.chunks + $11 END,"
					   " entities = CASE WHEN $7 THEN $8 ELSE c.entities + $8 END,"
					   " full_bytes = CASE WHEN $7 THEN $9 ELSE c.full_bytes END,"
					   " more_bytes = CASE WHEN $7 THEN 0 ELSE c.more_bytes + $9 END,"
					   " written_at = pg_catalog.now()",
					   lengthof(types), types, values, SPI_OK_INSERT);
	if (w->full)
		fe_durable_execute("DELETE FROM feature_engine.checkpoint_chunk"
						   " WHERE viewid = $1 AND cycle < $6",
						   lengthof(types), types, values, SPI_OK_DELETE);
	fe_inject_point("checkpoint-row");
	end_transaction();
}

bool
fe_durable_write(FePlan *plan, FeViewShared *view)
{
	FeWriting	w = {.plan = plan};
	MemoryContext old;
	bool		whole;

	w.cxt = AllocSetContextCreate(TopMemoryContext, "feature_engine checkpoint",
								  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(w.cxt);
	initStringInfo(&w.chunk);
	w.saver = fe_state_saver_create(plan, view, w.cxt);
	if (w.saver == NULL)
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(w.cxt);
		return false;
	}
	w.lsn = fe_state_saver_lsn(w.saver, &w.full);
	while (write_chunks(&w))
		;
	MemoryContextSwitchTo(w.cxt);
	whole = fe_state_saver_complete(w.saver);
	if (whole)
	{
		write_row(&w);
		fe_inject_point("checkpoint-stored");
		fe_inject_wait("checkpoint-stored");
		fe_state_saver_stored(w.saver);
		if (w.full)
			pg_atomic_write_u64(&view->stored_full_bytes, w.bytes);
		pg_atomic_write_u64(&view->stored_more_bytes,
							w.full ? 0 : pg_atomic_read_u64(&view->stored_more_bytes) + w.bytes);
		pg_atomic_write_u64(&view->stored_at, (uint64) GetCurrentTimestamp());
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(w.cxt);
	return whole;
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

void
fe_durable_write_all(void)
{
	MemoryContext cxt = AllocSetContextCreate(TopMemoryContext, "feature_engine plans to store",
											  ALLOCSET_DEFAULT_SIZES);
	ListCell   *lc;

	SetConfigOption("synchronous_commit", "local", PGC_USERSET, PGC_S_OVERRIDE);
	foreach(lc, load_plans(cxt))
	{
		FePlan	   *plan = lfirst(lc);
		FeViewShared *view = fe_view_find(MyDatabaseId, plan->viewid);

		if (view != NULL && view->state_version == plan->state_version &&
			pg_atomic_read_u32(&view->state) == FE_VIEW_LIVE)
			(void) fe_durable_write(plan, view);
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
	if (setpriority(PRIO_PROCESS, 0, CHECKPOINT_NICE) != 0)
		elog(DEBUG1, "could not lower the priority of the checkpoint worker: %m");
	fe_inject_point(FE_ROLE_CHECKPOINT);
	fe_inject_wait(FE_ROLE_CHECKPOINT);
	fe_durable_write_all();
	proc_exit(0);
}
