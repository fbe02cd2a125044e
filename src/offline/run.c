/*
 * run.c
 *		Transactions on history tables: as the view's owner, and what is done
 *		about errors.
 *
 * In the pusher.  The owner may put triggers on his table: everything up to and
 * including the commit runs as he, in a security-restricted context.  What is
 * written carries our mark, by which it is not decoded; not so where there are
 * triggers, which may write to tables that feature views read.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "offline/internal.h"
#include "replication/origin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define RETRY_FIRST		100		/* ms */
#define RETRY_MAX		10000
#define LOCK_WAIT		"500ms"	/* others' views wait as long */
#define TELL_EVERY		60000	/* ms */

typedef struct Run
{
	Oid			userid;
	int			sec;
	int			nestlevel;
} Run;

static void
set_option(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
}

/* The table, or an error that says what to do. */
static void
check_table(const FeOffline *h)
{
	Relation	rel = RelationIdGetRelation(h->plan->history);

	if (!OidIsValid(h->plan->history) || rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the history of feature view \"%s\" has no table", h->plan->name),
				 errhint("alter_feature_view('%s', offline => true) makes it.", h->plan->name)));
	fe_history_check_owner(h->plan);
	replorigin_session_origin = rel->rd_rel->relhastriggers ? InvalidRepOriginId :
		DoNotReplicateId;
	RelationClose(rel);
}

static void
begin(const FeOffline *h, Run *run)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&run->userid, &run->sec);
	SetUserIdAndSecContext(h->plan->owner, run->sec | SECURITY_RESTRICTED_OPERATION);
	run->nestlevel = NewGUCNestLevel();
	set_option("search_path", "pg_catalog, pg_temp");
	set_option("lock_timeout", LOCK_WAIT);
	check_table(h);
	SPI_connect();
}

/* Deferred triggers are the owner's, too: his identity is left after the commit. */
static void
commit(const Run *run)
{
	SPI_finish();
	AtEOXact_GUC(false, run->nestlevel);
	PopActiveSnapshot();
	CommitTransactionCommand();
	SetUserIdAndSecContext(run->userid, run->sec);
	replorigin_session_origin = InvalidRepOriginId;
}

static void
note_error(const FeOffline *h, FeViewShared *shared, const ErrorData *edata)
{
	char		message[FE_ERROR_LEN];

	snprintf(message, sizeof(message), "history: %s%s%s", edata->message,
			 edata->hint ? ". " : "", edata->hint ? edata->hint : "");
	pg_atomic_fetch_add_u64(&shared->history_failures, 1);
	SpinLockAcquire(&shared->mutex);
	strlcpy(shared->history_error, message, sizeof(shared->history_error));
	shared->history_error_at = GetCurrentTimestamp();
	SpinLockRelease(&shared->mutex);
}

static void
pause_after(FeOffline *h, const ErrorData *edata)
{
	if (h->retry_delay == 0)
		ereport(LOG,
				(errmsg("the history of feature view \"%s\" pauses: %s", h->plan->name,
						edata->message)));
	h->retry_delay = Min(RETRY_MAX, Max(RETRY_FIRST, h->retry_delay * 2));
	h->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), h->retry_delay);
}

void
fe_offline_show_left_out(FeOffline *h, FeViewShared *shared, int n, const char *why)
{
	TimestampTz now = GetCurrentTimestamp();

	pg_atomic_fetch_add_u64(&shared->history_failures, n);
	if (now < h->next_left_out)
		return;
	h->next_left_out = TimestampTzPlusMilliseconds(now, TELL_EVERY);
	ereport(LOG,
			(errmsg("the history of feature view \"%s\" leaves an entity out: %s", h->plan->name,
					why)));
}

static void
show_success(FeOffline *h, FeViewShared *shared)
{
	if (h->retry_delay > 0)
		ereport(LOG,
				(errmsg("the history of feature view \"%s\" goes on", h->plan->name)));
	h->retry_delay = 0;
	h->retry_at = DT_NOBEGIN;
	if (shared->history_error[0] == '\0')
		return;
	SpinLockAcquire(&shared->mutex);
	shared->history_error[0] = '\0';
	SpinLockRelease(&shared->mutex);
}

/* NULL: it went well. */
static ErrorData *
try_work(FeOffline *h, FeOfflineWork work, void *arg)
{
	MemoryContext cxt = CurrentMemoryContext;
	ErrorData  *volatile edata = NULL;

	PG_TRY();
	{
		Run			run;

		begin(h, &run);
		work(h, arg);
		fe_inject_point("history");
		commit(&run);
	}
	PG_CATCH();
	{
		edata = fe_worker_caught(cxt);
		replorigin_session_origin = InvalidRepOriginId;
		h->covered_lo = h->covered_hi = 0;	/* a partition may have been dropped */
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	return edata;
}

bool
fe_offline_run(FeOffline *h, FeViewShared *shared, FeOfflineWork work, FeOfflineWork careful,
			   void *arg)
{
	ErrorData  *edata = try_work(h, work, arg);

	if (edata && careful && edata->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
	{
		FreeErrorData(edata);
		edata = try_work(h, careful, arg);
	}
	if (edata == NULL)
	{
		show_success(h, shared);
		return true;
	}
	note_error(h, shared, edata);
	pause_after(h, edata);
	FreeErrorData(edata);
	return false;
}

bool
fe_offline_run_aside(FeOffline *h, FeViewShared *shared, FeOfflineWork work, void *arg)
{
	ErrorData  *edata = try_work(h, work, arg);

	if (edata == NULL)
		return true;
	note_error(h, shared, edata);
	FreeErrorData(edata);
	return false;
}

void
fe_offline_execute(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "\"%s\" failed: %s", sql, SPI_result_code_string(result));
}

bool
fe_offline_ready(const FeOffline *h, TimestampTz now)
{
	return now >= h->retry_at;
}

TimestampTz
fe_offline_retry_at(const FeOffline *h)
{
	return h->retry_at;
}
