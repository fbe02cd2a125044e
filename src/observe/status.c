/*
 * status.c
 *		What feature_engine.status shows: one row per feature view, read from
 *		shared memory.
 *
 * Runs in backends.  Takes each control block's spinlock for the length of a
 * copy; counters are atomics.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "capture/capture.h"
#include "definition/plan.h"
#include "memory/heap.h"
#include "state/state.h"

PG_FUNCTION_INFO_V1(fe_view_status);
PG_FUNCTION_INFO_V1(fe_worker_status);

static const char *
view_state_name(FeViewState state)
{
	switch (state)
	{
		case FE_VIEW_FREE:
		case FE_VIEW_WAITING:
			return "waiting";
		case FE_VIEW_BACKFILLING:
			return "backfilling";
		case FE_VIEW_RECOVERING:
			return "recovering";
		case FE_VIEW_LIVE:
			return "live";
		case FE_VIEW_FAILED:
			return "failed";
	}
	return "unknown";
}

static const char *
worker_state_name(FeWorkerState state)
{
	switch (state)
	{
		case FE_WORKER_STOPPED:
			return "stopped";
		case FE_WORKER_STARTING:
			return "starting";
		case FE_WORKER_CREATING_SLOT:
			return "creating slot";
		case FE_WORKER_RUNNING:
			return "running";
		case FE_WORKER_MEMORY_FULL:
			return "memory full";
		case FE_WORKER_BACKOFF:
			return "waiting to restart";
		case FE_WORKER_PARKED:
			return "parked";
		case FE_WORKER_NO_SLOT:
			return "slot given up";
	}
	return "unknown";
}

static void
put_text(Datum *values, bool *nulls, int i, const char *str)
{
	nulls[i] = (str == NULL || str[0] == '\0');
	values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(str);
}

/* An error's message may hold values: only who may see them does. */
static void
put_error(Datum *values, bool *nulls, int i, const char *error, bool may_see)
{
	put_text(values, nulls, i, error[0] == '\0' || may_see ? error : "<insufficient privilege>");
}

static void
put_time(Datum *values, bool *nulls, int i, TimestampTz t)
{
	nulls[i] = (t == 0);
	values[i] = TimestampTzGetDatum(t);
}

static Datum
counter(pg_atomic_uint64 *c)
{
	return Int64GetDatum((int64) pg_atomic_read_u64(c));
}

/* Share of the existing rows that are read, in percent. */
static void
put_backfill(Datum *values, bool *nulls, int i, FeViewShared *view, FeViewState state)
{
	double		done = state == FE_VIEW_RECOVERING ?
		(double) pg_atomic_read_u64(&view->backfill_done) :
		(double) pg_atomic_read_u64(&view->events);
	double		pct = 0;

	if (state == FE_VIEW_LIVE)
		pct = 100;
	else if (view->backfill_total > 0)
		pct = Min(99.9, 100 * done / view->backfill_total);
	else
		nulls[i] = (state != FE_VIEW_WAITING);
	values[i] = Float8GetDatum(pct);
}

/* What is kept for a view and, where it has joins, of the rows of its tables. */
static int64
memory_of(const FeViewShared *view)
{
	int64		bytes = 0;

	for (int i = 0; i < fe_view_count(); i++)
	{
		FeViewShared *other = fe_view_slot(i);

		if (other->dboid == view->dboid && fe_view_of_part(other->viewid) == view->viewid &&
			pg_atomic_read_u32(&other->state) != FE_VIEW_FREE)
			bytes += pg_atomic_read_u64(&other->bytes);
	}
	return bytes;
}

/* history_rows, history_failures, history_at, history_error, history_error_at */
static void
put_history(Datum *values, bool *nulls, int i, FeViewShared *view, bool may_see)
{
	char		error[FE_ERROR_LEN];
	TimestampTz error_at;

	SpinLockAcquire(&view->mutex);
	strlcpy(error, view->history_error, sizeof(error));
	error_at = view->history_error_at;
	SpinLockRelease(&view->mutex);
	values[i] = counter(&view->history_rows);
	values[i + 1] = counter(&view->history_failures);
	nulls[i] = nulls[i + 1] = !view->offline;
	values[i + 2] = counter(&view->history_at);
	nulls[i + 2] = (int64) pg_atomic_read_u64(&view->history_at) == PG_INT64_MIN;
	put_error(values, nulls, i + 3, error, may_see);
	put_time(values, nulls, i + 4, error[0] != '\0' ? error_at : 0);
}

#define FE_VIEW_STATUS_COLS 21

/*
 * view_status(): (viewid, state, backfill_pct, events, late, expired, skipped,
 * entities, panes, memory_bytes, dirty, tombstones, null_keys, last_error,
 * last_error_at, event_time, history_rows, history_failures, history_at, history_error,
 * history_error_at)
 */
Datum
fe_view_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; fe_shared && i < fe_view_count(); i++)
	{
		FeViewShared *view = fe_view_slot(i);
		FeViewState state = pg_atomic_read_u32(&view->state);
		Datum		values[FE_VIEW_STATUS_COLS];
		bool		nulls[FE_VIEW_STATUS_COLS] = {0};
		char		error[FE_ERROR_LEN];
		TimestampTz error_at;
		bool		may_see;

		if (view->dboid != MyDatabaseId || state == FE_VIEW_FREE || view->viewid < 0)
			continue;
		SpinLockAcquire(&view->mutex);
		strlcpy(error, view->last_error, sizeof(error));
		error_at = view->last_error_at;
		SpinLockRelease(&view->mutex);
		values[0] = Int32GetDatum(view->viewid);
		values[1] = CStringGetTextDatum(view_state_name(state));
		put_backfill(values, nulls, 2, view, state);
		values[3] = counter(&view->events);
		values[4] = counter(&view->late);
		values[5] = counter(&view->expired);
		values[6] = counter(&view->skipped);
		values[7] = counter(&view->entities);
		values[8] = counter(&view->panes);
		values[9] = Int64GetDatum(memory_of(view));
		values[10] = counter(&view->dirty);
		values[11] = counter(&view->tombstones);
		values[12] = counter(&view->null_keys);
		may_see = fe_may_see_errors(fe_owner_of_view(view->viewid));
		put_error(values, nulls, 13, error, may_see);
		put_time(values, nulls, 14, error_at);
		values[15] = counter(&view->event_time);
		nulls[15] = (int64) pg_atomic_read_u64(&view->event_time) == PG_INT64_MIN;
		put_history(values, nulls, 16, view, may_see);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

#define FE_WORKER_STATUS_COLS 19

static void
put_slot_positions(Datum *values, bool *nulls, FeDatabase *db, int at)
{
	XLogRecPtr	restart = InvalidXLogRecPtr;
	XLogRecPtr	applied = pg_atomic_read_u64(&db->applied_lsn);
	XLogRecPtr	end = RecoveryInProgress() ? InvalidXLogRecPtr : GetXLogWriteRecPtr();
	FeSlotStatus slot = fe_slot_status(MyDatabaseId, &restart, NULL, NULL);

	values[at] = LSNGetDatum(applied);
	nulls[at] = applied == InvalidXLogRecPtr;
	values[at + 1] = Int64GetDatum(end > applied ? (int64) (end - applied) : 0);
	nulls[at + 1] = nulls[at];
	values[at + 2] = Int64GetDatum(end > restart ? (int64) (end - restart) : 0);
	nulls[at + 2] = slot != FE_SLOT_USABLE && slot != FE_SLOT_IN_USE;
}

/*
 * worker_status(): (ingest_state, ingest_pid, capture_pid, applied_lsn, lag_bytes,
 * slot_retained_bytes, last_commit, transactions, changes, failures,
 * last_error, last_error_at, pusher_pid, redis_connected, pushes,
 * push_failures, push_field_errors, redis_error, redis_error_at); no row where
 * no worker ever served this database
 */
Datum
fe_worker_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FeDatabase *db = fe_shared ? fe_my_database() : NULL;
	Datum		values[FE_WORKER_STATUS_COLS];
	bool		nulls[FE_WORKER_STATUS_COLS] = {0};
	FeWorkerSlot ingest;
	FeWorkerSlot pusher;
	pid_t		capture_pid;
	char		redis_error[FE_ERROR_LEN];

	InitMaterializedSRF(fcinfo, 0);
	if (db == NULL)
		return (Datum) 0;
	SpinLockAcquire(&db->mutex);
	ingest = db->ingest;
	pusher = db->pusher;
	capture_pid = db->capture_pid;
	strlcpy(redis_error, db->redis_error, sizeof(redis_error));
	SpinLockRelease(&db->mutex);

	values[0] = CStringGetTextDatum(worker_state_name(ingest.state));
	values[1] = Int32GetDatum(ingest.pid);
	nulls[1] = ingest.pid == 0;
	values[2] = Int32GetDatum(capture_pid);
	nulls[2] = capture_pid == 0;
	put_slot_positions(values, nulls, db, 3);
	put_time(values, nulls, 6, db->last_commit_ts);
	values[7] = counter(&db->transactions);
	values[8] = counter(&db->changes);
	values[9] = Int32GetDatum(ingest.failures);
	put_error(values, nulls, 10, ingest.last_error, fe_may_see_errors(InvalidOid));
	put_time(values, nulls, 11, ingest.last_failure);
	values[12] = Int32GetDatum(pusher.pid);
	nulls[12] = pusher.pid == 0;
	values[13] = BoolGetDatum(db->redis_connected);
	values[14] = counter(&db->pushes);
	values[15] = counter(&db->push_failures);
	values[16] = counter(&db->push_field_errors);
	put_error(values, nulls, 17, redis_error[0] ? redis_error : pusher.last_error,
			  fe_may_see_errors(InvalidOid));
	put_time(values, nulls, 18, redis_error[0] ? db->redis_error_at : pusher.last_failure);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}
