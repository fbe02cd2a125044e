/*
 * worker.c
 *		The ingest worker: one per database that has feature views, and the only
 *		writer of that database's state.
 *
 * A dynamic background worker started by the launcher.  Its loop:
 *
 *		look at the catalogue when it changed	(views.c)
 *		see that there is a slot and a process that decodes	(../capture/)
 *		move a running backfill on				(backfill.c)
 *		read a batch of changes, apply it, publish the position	(apply.c)
 *		apply rows of a backfill
 *		maintenance: sweep panes, confirm the slot		(maintain.c)
 *		sleep until changes, a request or the next maintenance
 *
 * State survives the worker in shared memory: a new worker goes on at
 * applied_lsn, unless the old one died in a merge (FeDatabase.merging), or the
 * slot is gone; then everything is built anew.  When the database has no view
 * left the slot is dropped and the worker ends.
 *
 * No lock is held between steps, and no transaction while it waits.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/origin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "definition/footprint.h"
#include "durable/durable.h"
#include "ingest/ingest.h"
#include "online/online.h"

#define FE_BATCH_BYTES			(2 * 1024 * 1024)
#define FE_CHECK_MS				1000
#define FE_IDLE_MS				1000
#define FE_WELL_MS				10000	/* who lives so long is well */
#define FE_RETRY_MS				100 /* while memory is full or a swap waits */

/* A transaction for work that looks at tables or runs users' expressions. */
void
fe_ingest_begin(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
fe_ingest_end(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* ---- catalogue -------------------------------------------------------------------- */

static void
close_capture(FeIngest *ingest)
{
	if (ingest->capture)
		fe_capture_close(ingest->capture);
	ingest->capture = NULL;
	ingest->pending = NULL;		/* it was the capture's */
}

void
fe_ingest_rewind(FeIngest *ingest, XLogRecPtr lsn)
{
	Assert(ingest->pending == NULL);
	close_capture(ingest);
	ingest->stream_lsn = lsn;
}

static void
drop_slot(FeIngest *ingest)
{
	close_capture(ingest);
	fe_slot_drop(MyDatabaseId);
}

/* Are there keys in Redis, of former views or others? */
static bool
keys_in_redis(FeIngest *ingest)
{
	bool		any;

	fe_ingest_begin();
	any = fe_footprint_any();
	fe_ingest_end();
	return any;
}

/* Whether any view has a history, or is pushed to Redis, or was: then there must be a pusher. */
static bool
ask_for_pusher(FeIngest *ingest)
{
	bool		needed = false;
	ListCell   *lc;

	bool		redis = fe_setting_redis_url != NULL && fe_setting_redis_url[0] != '\0';

	foreach(lc, ingest->views)
	{
		const FeViewOptions *o = &((FeIngestView *) lfirst(lc))->plan->options;

		needed |= o->offline || (redis && o->online_enabled);
	}
	needed = needed || (redis && keys_in_redis(ingest));
	if (needed)
		fe_request_pusher(ingest->db);
	return needed;
}

/*
 * No views: leave nothing behind.  While the pusher removes what is left in
 * Redis this process stays, so that there is a pusher; it returns when the
 * catalogue has changed meanwhile.
 */
static void
leave(FeIngest *ingest)
{
	bool		installed;

	fe_ingest_begin();
	(void) fe_plan_list(&installed);
	if (installed)
		fe_durable_forget_others(NIL);
	fe_ingest_end();
	fe_ingest_lose_state(ingest, NULL);
	drop_slot(ingest);
	while (ask_for_pusher(ingest))
	{
		fe_worker_wait(FE_IDLE_MS, PGINVALID_SOCKET, 0);
		if (ingest->catalog_seen != fe_catalog_change_count())
			return;
	}
	proc_exit(0);
}

/* What is stored of views that are gone. */
static void
forget_stored(FeIngest *ingest)
{
	List	   *ids = NIL;
	ListCell   *lc;

	fe_ingest_begin();
	foreach(lc, ingest->states)
		ids = lappend_int(ids, ((FeIngestView *) lfirst(lc))->plan->viewid);
	if (ingest->catalog_loaded)
		fe_durable_forget_others(ids);
	fe_ingest_end();
}

static void
load_catalog(FeIngest *ingest)
{
	bool		any;

	for (;;)
	{
		fe_ingest_begin();
		any = fe_ingest_load_views(ingest);
		if (any)
			fe_ingest_build_tables(ingest);
		fe_ingest_end();
		if (any)
			break;
		fe_online_wake(ingest->db);
		leave(ingest);
	}
	forget_stored(ingest);
	if (ingest->capture)
		fe_capture_set_tables(ingest->capture, ingest->set);
	(void) ask_for_pusher(ingest);
	fe_online_wake(ingest->db);
}

/* Takes in what other sessions did to the catalogue. */
static void
notice_catalog_changes(FeIngest *ingest)
{
	StartTransactionCommand();
	CommitTransactionCommand();
	if (!ingest->catalog_loaded || ingest->catalog_seen != fe_catalog_change_count())
		load_catalog(ingest);
}

/* ---- the slot ----------------------------------------------------------------------- */

/*
 * The launcher found that the slot holds back more WAL than allowed.  The disk
 * of the primary comes first: give it up and begin again.
 */
static void
give_up_slot(FeIngest *ingest)
{
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("the replication slot of feature views held back more WAL than feature_engine.max_wal_lag"),
			 errdetail("The slot was dropped; the feature views of this database are rebuilt from their tables.")));
	drop_slot(ingest);
	pg_atomic_write_u32(&ingest->db->give_up_slot, 0);
	fe_checkpoint_rescue(ingest);
	fe_ingest_lose_state(ingest, NULL);
	load_catalog(ingest);
}

static void
ensure_capture(FeIngest *ingest)
{
	FeDatabase *db = ingest->db;
	FeSlotStatus status;
	XLogRecPtr	start = pg_atomic_read_u64(&db->applied_lsn);
	XLogRecPtr	confirmed;

	if (ingest->capture)
		return;
	if (ingest->stream_lsn != InvalidXLogRecPtr)
		start = Min(start, ingest->stream_lsn);
	status = fe_slot_status(MyDatabaseId, NULL, &confirmed, NULL);
	if (status == FE_SLOT_INVALID)
	{
		fe_slot_drop(MyDatabaseId);
		status = FE_SLOT_MISSING;
	}
	if (status == FE_SLOT_MISSING)
	{
		if (start != 0)
		{
			fe_checkpoint_rescue(ingest);
			fe_ingest_lose_state(ingest, "their replication slot is gone");
			load_catalog(ingest);
		}
		fe_worker_set_state(FE_WORKER_CREATING_SLOT);
		fe_slot_create(MyDatabaseId);
		start = InvalidXLogRecPtr;
	}
	else if (start != 0 && start < confirmed)
	{
		fe_checkpoint_rescue(ingest);
		fe_ingest_lose_state(ingest, "their replication slot was moved");
		load_catalog(ingest);
		start = InvalidXLogRecPtr;
	}
	if (start == InvalidXLogRecPtr)
	{
		fe_slot_status(MyDatabaseId, NULL, &confirmed, NULL);
		start = fe_checkpoint_recover(ingest, confirmed);
		if (start == InvalidXLogRecPtr)
			start = confirmed;
		pg_atomic_write_u64(&db->applied_lsn, start);
	}
	ingest->capture = fe_capture_open(start, ingest->set);
	ingest->published_lsn = start;
	ingest->stream_lsn = start;
	ingest->checkpoint_time = GetCurrentTimestamp();
	ingest->checkpoint_end = start;
	ingest->ready = true;
	fe_worker_set_state(FE_WORKER_RUNNING);
}

/* ---- applying ------------------------------------------------------------------------- */

/* Everything up to the position is in. */
static void
publish_position(FeIngest *ingest, XLogRecPtr position)
{
	FeDatabase *db = ingest->db;

	if (position > ingest->published_lsn)
	{
		/* a worker that fails each time, here or in decoding, does not get so far */
		if (ingest->published_lsn != InvalidXLogRecPtr)
			fe_worker_made_progress();
		ingest->published_lsn = position;
	}
	ingest->stream_lsn = Max(ingest->stream_lsn, position);
	if (position > pg_atomic_read_u64(&db->applied_lsn))
		pg_atomic_write_u64(&db->applied_lsn, position);
	ConditionVariableBroadcast(&db->progress);
}

static void
set_memory_full(FeIngest *ingest, bool full)
{
	if (full)
		pg_atomic_fetch_add_u64(&ingest->db->full_rounds, 1);
	if (full == ingest->memory_reported)
		return;
	ingest->memory_reported = full;
	fe_worker_set_state(full ? FE_WORKER_MEMORY_FULL : FE_WORKER_RUNNING);
	ConditionVariableBroadcast(&ingest->db->progress);
	if (full)
		ereport(WARNING,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("feature views have stopped taking in changes: feature_engine.memory is full"),
				 errdetail("%zu MB are in use; the limit is %d MB.",
						   fe_heap_used(ingest->heap) / (1024 * 1024), fe_setting_memory),
				 errhint("Raise feature_engine.memory (up to feature_engine.max_memory) and reload; nothing is lost meanwhile.")));
	else
		ereport(LOG, (errmsg("feature views take in changes again")));
}

/*
 * Work that applies rows, in a transaction.  An error in a view's expression
 * has stopped that view, or will be skipped; all others go on with the next call,
 * which true asks for.  Any other error ends the worker.
 */
static bool
run_guarded(FeIngest *ingest, FeApply *apply, bool (*work) (FeIngest *ingest))
{
	MemoryContext cxt = CurrentMemoryContext;
	FeIngestView *volatile failed = NULL;
	volatile bool more = false;
	bool		skips;

	fe_ingest_begin();
	PG_TRY();
	{
		more = work(ingest);
	}
	PG_CATCH();
	{
		failed = fe_apply_failed_view(apply, &skips);
		if (failed == NULL)
			PG_RE_THROW();
		MemoryContextSwitchTo(cxt);
		if (!skips)
			EmitErrorReport();
		FlushErrorState();
	}
	PG_END_TRY();
	if (failed)
	{
		AbortCurrentTransaction();
		fe_ingest_begin();
		fe_ingest_renew_programs(failed);
		more = true;
	}
	fe_ingest_end();
	MemoryContextSwitchTo(cxt);
	return more;
}

/* Applies the pending batch, or as much of it as memory allows. */
static bool
apply_pending(FeIngest *ingest)
{
	if (fe_apply_run(ingest->apply) == FE_APPLY_DONE)
	{
		fe_inject_point("merged");
		fe_inject_wait("merged");
		ingest->pending = NULL;
		publish_position(ingest, ingest->pending_position);
	}
	else
		ingest->memory_full = true;
	return false;
}

/* The next batch of changes, if there is any and none is pending. */
static void
read_batch(FeIngest *ingest)
{
	if (ingest->pending != NULL)
		return;
	ingest->pending = fe_capture_read(ingest->capture, FE_BATCH_BYTES,
									  &ingest->pending_position);
	if (ingest->pending != NULL)
	{
		if (fe_batch_transactions(ingest->pending) > 0)
		{
			fe_inject_point("decoded");
			fe_inject_wait("decoded");
		}
		fe_apply_start(ingest->apply, ingest->pending, NULL);
	}
	else if (fe_capture_ended(ingest->capture))
		close_capture(ingest);
}

/*
 * Reads and applies one batch.  True: there may be more.
 *
 * The catalogue is looked at in between: whoever waits for a position that the
 * batch reaches has seen his own ALTER TABLE, so must we.
 */
static bool
read_and_apply(FeIngest *ingest)
{
	fe_inject_wait("read");
	read_batch(ingest);
	if (ingest->pending == NULL)
		return ingest->capture == NULL;
	notice_catalog_changes(ingest);
	if (ingest->pending == NULL)
		return true;
	if (fe_batch_transactions(ingest->pending) == 0)
	{
		ingest->pending = NULL;
		publish_position(ingest, ingest->pending_position);
		return true;
	}
	if (run_guarded(ingest, ingest->apply, apply_pending))
		return true;
	fe_online_wake(ingest->db);
	return ingest->pending == NULL;
}

static bool
consume_backfill(FeIngest *ingest)
{
	if (ingest->job == NULL)
		return false;
	return run_guarded(ingest, ingest->backfill_apply, fe_backfill_consume);
}

/* ---- the loop ------------------------------------------------------------------------------ */

static void
check_sources(FeIngest *ingest)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now < ingest->next_check)
		return;
	ingest->next_check = TimestampTzPlusMilliseconds(now, FE_CHECK_MS);
	fe_ingest_begin();
	fe_ingest_check_sources(ingest);
	fe_ingest_end();
}

static void
sleep_until_work(FeIngest *ingest)
{
	bool		soon = ingest->memory_full || ingest->swap_waits ||
		fe_backfill_retakes(ingest);
	long		timeout = soon ? FE_RETRY_MS :
		fe_ingest_sweep_is_due(ingest) ? FE_SWEEP_MS : FE_IDLE_MS;

	fe_worker_wait(timeout, PGINVALID_SOCKET, 0);
}

static void
work_once(FeIngest *ingest)
{
	bool		more = false;

	fe_inject_point("ingest");
	fe_inject_wait("ingest");
	if (pg_atomic_read_u32(&ingest->db->give_up_slot))
		give_up_slot(ingest);
	if (fe_worker_reloaded)
	{
		fe_worker_reloaded = false;
		(void) ask_for_pusher(ingest);
	}
	notice_catalog_changes(ingest);
	ensure_capture(ingest);
	ingest->memory_full = false;
	check_sources(ingest);
	fe_history_step(ingest);
	ensure_capture(ingest);
	fe_backfill_schedule(ingest);
	if (!fe_backfill_step(ingest))
		more = read_and_apply(ingest);
	more |= consume_backfill(ingest);
	fe_ingest_maintain(ingest);
	set_memory_full(ingest, ingest->memory_full);
	if (TimestampDifferenceExceeds(ingest->started, GetCurrentTimestamp(), FE_WELL_MS))
		fe_worker_made_progress();
	if (more && !ingest->memory_full)
		fe_worker_wait(0, PGINVALID_SOCKET, 0);
	else
		sleep_until_work(ingest);
}

void
fe_ingest_worker_main(Datum arg)
{
	FeIngest   *ingest;

	ingest = MemoryContextAllocZero(TopMemoryContext, sizeof(FeIngest));
	ingest->db = fe_worker_start(DatumGetObjectId(arg), "ingest");
	ingest->heap = fe_heap_of_database(MyDatabaseId);
	ingest->started = GetCurrentTimestamp();
	ingest->end_at_start = GetFlushRecPtr(NULL);
	fe_crashes_begin(MyDatabaseId);
	fe_worker_end_helpers();
	ingest->apply = fe_apply_create(ingest);
	ingest->backfill_apply = fe_apply_create(ingest);
	/* what this process writes is never decoded again */
	replorigin_session_origin = DoNotReplicateId;
	/* what a user's function finds must not depend on who may create where */
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	fe_settings_fix(true);
	before_shmem_exit(fe_checkpoint_at_exit, PointerGetDatum(ingest));

	if (pg_atomic_read_u32(&ingest->db->merging))
		fe_ingest_lose_state(ingest, "the worker was stopped in the middle of a change");
	load_catalog(ingest);
	for (;;)
		work_once(ingest);
}
