/*
 * sync.c
 *		feature_engine.sync(): wait until everything committed is visible.
 *
 * Runs in backends, with interruptible waits on the database's condition
 * variable; no locks held.  The call writes a mark of its own into the log, so
 * that there is a position to wait for which decoding is sure to reach.
 */
#include "postgres.h"

#include "access/xact.h"
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
#define FE_SYNC_MAX_MS		INT64CONST(3155760000000)	/* a century is for ever */
#define FE_SYNC_MEMORY_MS	3000	/* how long memory may be full before it is an error, */
#define FE_SYNC_FULL_ROUNDS	10	/* and how often the worker must have found it so meanwhile */

PG_FUNCTION_INFO_V1(fe_sync);

/* What is still missing. */
typedef struct FeSyncWait
{
	FeDatabase *db;
	XLogRecPtr	lsn;
	TimestampTz start;
	uint64		full_rounds;	/* at the start */
	TimestampTz deadline;		/* 0 = none */
	const char *view;			/* NULL = all views */
} FeSyncWait;

/* Views that have stopped are told of when all others are caught up. */
typedef struct FeSyncFailure
{
	int			count;
	bool		replacement;	/* the first one's new definition */
	bool		stream;			/* it is over changes() */
	char		name[NAMEDATALEN];
	char		error[FE_ERROR_LEN];
} FeSyncFailure;

static void
note_failure(FeSyncFailure *failure, FePlan *plan, FeViewShared *shared)
{
	if (failure->count++ > 0)
		return;
	strlcpy(failure->name, plan->name, sizeof(failure->name));
	failure->replacement = plan->replaces != 0;
	failure->stream = fe_plan_is_stream(plan);
	if (fe_may_see_errors(plan->owner))
		fe_view_get_error(shared, failure->error, sizeof(failure->error));
	else
		strlcpy(failure->error, "<insufficient privilege>", sizeof(failure->error));
}

/*
 * A view that has stopped fails the call, since what was promised of it does
 * not hold; but only after the others are caught up, so that whoever takes no
 * interest in it may go on.
 */
static void
raise_failure(const FeSyncFailure *failure)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 failure->replacement ?
			 errmsg("new definition of feature view \"%s\" has stopped", failure->name) :
			 errmsg("feature view \"%s\" has stopped", failure->name),
			 failure->count == 1 ? errdetail("%s", failure->error) :
			 errdetail_plural("%s; %d other view has stopped, too",
							  "%s; %d other views have stopped, too",
							  failure->count - 1, failure->error, failure->count - 1),
			 failure->stream ?
			 errhint("All other feature views are caught up. It goes on by itself, from where it stopped, when the reason is gone; see feature_engine.status, and sync(view => ...) to wait for one view.") :
			 errhint("All other feature views are caught up. It is rebuilt by itself; see feature_engine.status, and sync(view => ...) to wait for one view.")));
}

static inline bool
is_wanted(const FeSyncWait *w, const FePlan *plan)
{
	return w->view == NULL || strcmp(plan->name, w->view) == 0;
}

/*
 * Workers build what is committed: to wait here for a view of our own
 * transaction would be to wait for ourselves.
 */
static void
refuse_uncommitted(const FeSyncWait *w)
{
	ListCell   *lc;

	foreach(lc, fe_plan_list_uncommitted())
	{
		FePlan	   *plan = fe_plan_by_id(lfirst_int(lc), true);
		FeViewShared *shared;

		if (plan == NULL || !is_wanted(w, plan))
			continue;
		shared = fe_view_find(MyDatabaseId, plan->viewid);
		if (shared != NULL && shared->state_version == plan->state_version &&
			plan->replaces == 0)
			continue;			/* only its options were changed */
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature view \"%s\" is created or changed by this transaction", plan->name),
				 errdetail("A feature view is built after the transaction has committed, so sync() would wait for itself."),
				 errhint("Commit first, then call sync().")));
	}
}

/*
 * Is every view that has not stopped live in the layout that the catalogue
 * says, and every new definition in the place of the one it replaces?  The
 * catalogue is read anew each time: replacements take their place while we
 * wait.
 */
static bool
views_are_live(const FeSyncWait *w, FeSyncFailure *failure)
{
	bool		installed;
	ListCell   *lc;

	failure->count = 0;
	AcceptInvalidationMessages();
	InvalidateCatalogSnapshot();
	foreach(lc, fe_plan_list(&installed))
	{
		FePlan	   *plan = fe_plan_by_id(lfirst_int(lc), true);
		FeViewShared *shared;
		FeViewState state;

		if (plan == NULL || !is_wanted(w, plan))
			continue;
		shared = fe_view_find(MyDatabaseId, plan->viewid);
		if (shared == NULL || shared->state_version != plan->state_version)
			return false;
		state = pg_atomic_read_u32(&shared->state);
		if (state == FE_VIEW_LIVE && plan->replaces == 0)
			continue;
		if (!fe_view_has_stopped(shared))
			return false;
		note_failure(failure, plan, shared);
	}
	return true;
}

static void
check_worker(FeSyncWait *w)
{
	/* the limit may have been raised a moment ago: the worker looks by itself, in its own time */
	if (w->db->ingest.state == FE_WORKER_MEMORY_FULL &&
		pg_atomic_read_u64(&w->db->full_rounds) - w->full_rounds > FE_SYNC_FULL_ROUNDS &&
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
				 w->db->ingest.state == FE_WORKER_CREATING_SLOT &&
				 TransactionIdIsValid(GetTopTransactionIdIfAny()) ?
				 errhint("The replication slot is being created, which waits for transactions that have written, this one included: commit first.") :
				 errhint("feature_engine.status tells what the worker is doing.")));
}

static void
sleep_a_little(FeSyncWait *w)
{
	CHECK_FOR_INTERRUPTS();
	check_worker(w);
	fe_wake_capture(w->db);
	ConditionVariableTimedSleep(&w->db->progress, FE_SYNC_POLL_MS, PG_WAIT_EXTENSION);
}

static void
wait_for_sink(FeSyncWait *w, FeSink sink)
{
	uint64		ticket = fe_online_ticket(w->db, sink);

	while (!fe_online_done(w->db, sink, ticket))
		sleep_a_little(w);
}

XLogRecPtr
fe_serve_sync(long timeout_ms, bool redis, bool history, const char *view)
{
	FeSyncWait	w = {.view = view};
	FeSyncFailure failure;
	bool		installed;

	fe_require_preloaded();
	fe_require_primary("sync");
	w.lsn = fe_compat_log_message(FE_EXTENSION_NAME, "sync", 4);
	XLogFlush(w.lsn);
	if (fe_plan_list(&installed) == NIL)
		return w.lsn;
	refuse_uncommitted(&w);
	w.db = fe_my_database_or_claim();
	if (w.db->ingest_latch == NULL)
		fe_request_worker();
	w.start = GetCurrentTimestamp();
	w.full_rounds = pg_atomic_read_u64(&w.db->full_rounds);
	if (timeout_ms >= 0)
		w.deadline = TimestampTzPlusMilliseconds(w.start, timeout_ms);

	ConditionVariablePrepareToSleep(&w.db->progress);
	while (pg_atomic_read_u64(&w.db->applied_lsn) < w.lsn || !views_are_live(&w, &failure))
		sleep_a_little(&w);
	if (redis && fe_setting_redis_url && fe_setting_redis_url[0] != '\0')
		wait_for_sink(&w, FE_SINK_REDIS);
	if (history)
		wait_for_sink(&w, FE_SINK_HISTORY);
	ConditionVariableCancelSleep();
	if (failure.count > 0)
		raise_failure(&failure);
	return w.lsn;
}

/*
 * sync(timeout interval DEFAULT '5 minutes', redis boolean DEFAULT false,
 *		view text DEFAULT NULL, history boolean DEFAULT false)
 */
Datum
fe_sync(PG_FUNCTION_ARGS)
{
	long		timeout_ms = -1;
	bool		redis = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	bool		history = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	const char *view = NULL;

	if (!PG_ARGISNULL(0))
	{
		Interval   *span = PG_GETARG_INTERVAL_P(0);

		timeout_ms = span->time / 1000 +
			(span->day + span->month * INT64CONST(30)) * (USECS_PER_DAY / 1000);
		if (timeout_ms < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("timeout must not be negative")));
		if (timeout_ms > FE_SYNC_MAX_MS)
			timeout_ms = -1;
	}
	if (!PG_ARGISNULL(2))
		view = fe_plan_by_name(text_to_cstring(PG_GETARG_TEXT_PP(2)), false)->name;
	PG_RETURN_LSN(fe_serve_sync(timeout_ms, redis, history, view ? pstrdup(view) : NULL));
}
