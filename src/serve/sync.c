/*
 * sync.c
 *		feature_engine.sync(): wait until everything committed is visible.
 *
 * Runs in backends, with interruptible waits on the database's condition
 * variable; no locks held.  The call writes a mark of its own into the log, so
 * that there is a position to wait for which decoding is sure to reach.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/message.h"
#include "runtime/compat.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "online/online.h"
#include "serve/serve.h"

#define FE_SYNC_POLL_MS		100
#define FE_SYNC_MEMORY_MS	3000	/* how long memory may be full before it is an error */

PG_FUNCTION_INFO_V1(fe_sync);

/* What is still missing. */
typedef struct FeSyncWait
{
	FeDatabase *db;
	XLogRecPtr	lsn;
	TimestampTz start;
	TimestampTz deadline;		/* 0 = none */
} FeSyncWait;

static void
raise_failed(FePlan *plan, FeViewShared *shared)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("feature view \"%s\" has stopped", plan->name),
			 errdetail("%s", shared->last_error),
			 errhint("See feature_engine.status; it is rebuilt by itself.")));
}

/*
 * Is every view live in the layout that the catalogue says, and every new
 * definition in the place of the one it replaces?  The catalogue is read anew
 * each time: replacements take their place while we wait.
 */
static bool
views_are_live(void)
{
	bool		installed;
	ListCell   *lc;

	AcceptInvalidationMessages();
	InvalidateCatalogSnapshot();
	foreach(lc, fe_plan_list(&installed))
	{
		FePlan	   *plan = fe_plan_by_id(lfirst_int(lc), true);
		FeViewShared *shared;
		FeViewState state;

		if (plan == NULL)
			continue;
		shared = fe_view_find(MyDatabaseId, plan->viewid);
		if (shared == NULL || shared->state_version != plan->state_version)
			return false;
		state = pg_atomic_read_u32(&shared->state);
		if (state == FE_VIEW_FAILED)
			raise_failed(plan, shared);
		if (state != FE_VIEW_LIVE || plan->replaces != 0)
			return false;
	}
	return true;
}

static void
check_worker(FeSyncWait *w)
{
	/* the limit may have been raised a moment ago: the worker looks by itself */
	if (w->db->ingest.state == FE_WORKER_MEMORY_FULL &&
		TimestampDifferenceExceeds(w->start, GetCurrentTimestamp(), FE_SYNC_MEMORY_MS))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("feature views do not take in changes: feature_engine.memory is full"),
				 errhint("Raise feature_engine.memory and reload the configuration; nothing is lost meanwhile.")));
	if (w->deadline != 0 && GetCurrentTimestamp() > w->deadline)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("feature_engine.sync() timed out"),
				 errdetail("Changes up to %X/%X are visible; waited for %X/%X.",
						   LSN_FORMAT_ARGS(pg_atomic_read_u64(&w->db->applied_lsn)),
						   LSN_FORMAT_ARGS(w->lsn)),
				 errhint("feature_engine.status tells what the worker is doing.")));
}

static void
sleep_a_little(FeSyncWait *w)
{
	CHECK_FOR_INTERRUPTS();
	check_worker(w);
	if (w->db->ingest_latch && pg_atomic_read_u32(&w->db->ingest_sleeping))
		SetLatch(w->db->ingest_latch);
	ConditionVariableTimedSleep(&w->db->progress, FE_SYNC_POLL_MS, PG_WAIT_EXTENSION);
}

XLogRecPtr
fe_serve_sync(long timeout_ms, bool redis)
{
	FeSyncWait	w = {0};
	bool		installed;

	fe_require_preloaded();
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature_engine.sync() cannot be used on a standby")));
	w.lsn = fe_compat_log_message(FE_EXTENSION_NAME, "sync", 4);
	XLogFlush(w.lsn);
	if (fe_plan_list(&installed) == NIL)
		return w.lsn;
	w.db = fe_my_database_or_claim();
	if (w.db->ingest_latch == NULL)
		fe_request_worker();
	w.start = GetCurrentTimestamp();
	if (timeout_ms >= 0)
		w.deadline = TimestampTzPlusMilliseconds(w.start, timeout_ms);

	ConditionVariablePrepareToSleep(&w.db->progress);
	while (pg_atomic_read_u64(&w.db->applied_lsn) < w.lsn || !views_are_live())
		sleep_a_little(&w);
	if (redis && fe_setting_redis_url && fe_setting_redis_url[0] != '\0')
	{
		uint64		ticket = fe_online_ticket(w.db);

		while (!fe_online_done(w.db, ticket))
			sleep_a_little(&w);
	}
	ConditionVariableCancelSleep();
	return w.lsn;
}

/* sync(timeout interval DEFAULT '5 minutes', redis boolean DEFAULT false) */
Datum
fe_sync(PG_FUNCTION_ARGS)
{
	long		timeout_ms = -1;
	bool		redis = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);

	if (!PG_ARGISNULL(0))
	{
		Interval   *span = PG_GETARG_INTERVAL_P(0);

		timeout_ms = span->time / 1000 +
			(span->day + span->month * INT64CONST(30)) * (USECS_PER_DAY / 1000);
		if (timeout_ms < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("timeout must not be negative")));
	}
	PG_RETURN_LSN(fe_serve_sync(timeout_ms, redis));
}
