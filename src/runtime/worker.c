/*
 * worker.c
 *		What the workers of a database have in common: how they begin, wait,
 *		report their state, and how their end is recorded.
 *
 * Runs in the ingest, capture, pusher and backfill workers.  Takes fe_shared->lock
 * (shared) and FeDatabase.mutex, for moments.
 *
 * A worker does not recover from an ERROR: it ends with exit code 1, and the
 * launcher starts it again (see there).  The order of the exit callbacks
 * matters: ours is registered before the process connects, and therefore runs
 * after it has released its replication slot, left the procarray and so the
 * database.  pid = 0 in FeDatabase means really gone: park.c relies on it.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "runtime/runtime.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define BACKOFF_FIRST_MS	100
#define BACKOFF_MAX_MS		60000

const char *fe_worker_role = NULL;
bool		fe_worker_reloaded = false;

static FeDatabase *my_db = NULL;
static FeWorkerSlot *my_slot = NULL;	/* NULL in a helper of the ingest worker */
static int	my_helper = -1;		/* index in FeDatabase.helpers */

/* The last error this process reported, for the exit callback. */
static char last_error[FE_ERROR_LEN];
static int	last_sqlstate = 0;
static emit_log_hook_type prev_emit_log_hook = NULL;

/* ---- failures ---------------------------------------------------------- */

/*
 * Keeps what was reported, so that status can show why a worker ended.  A hook
 * and not PG_TRY, because FATAL ends the process without passing a PG_CATCH.
 */
static void
remember_error(ErrorData *edata)
{
	if (edata->elevel >= ERROR)
	{
		last_sqlstate = edata->sqlerrcode;
		snprintf(last_error, sizeof(last_error), "%s%s%s%s%s",
				 edata->message ? edata->message : "unknown error",
				 edata->detail ? "\nDETAIL: " : "",
				 edata->detail ? edata->detail : "",
				 edata->hint ? "\nHINT: " : "",
				 edata->hint ? edata->hint : "");
	}
	if (prev_emit_log_hook)
		prev_emit_log_hook(edata);
}

/* By who raises it: users' functions may use the same code. */
bool
fe_worker_is_cancel(const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_QUERY_CANCELED && edata->funcname != NULL &&
		strcmp(edata->funcname, "ProcessInterrupts") == 0;
}

/*
 * The error must have left its own context before anything else may fail, and
 * the stack of errors be empty before a rollback.
 */
static ErrorData *
take_error(MemoryContext cxt)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(cxt);
	edata = CopyErrorData();
	if (fe_worker_is_cancel(edata))
		PG_RE_THROW();
	FlushErrorState();
	return edata;
}

ErrorData *
fe_worker_caught(MemoryContext cxt)
{
	ErrorData  *edata = take_error(cxt);

	AbortCurrentTransaction();
	MemoryContextSwitchTo(cxt);
	return edata;
}

ErrorData *
fe_worker_caught_inside(MemoryContext cxt)
{
	ErrorData  *edata = take_error(cxt);

	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(cxt);
	return edata;
}

const char *
fe_worker_last_error(void)
{
	return last_error;
}

bool
fe_worker_was_told_to_end(void)
{
	return last_sqlstate == ERRCODE_ADMIN_SHUTDOWN;
}

/* 0.1 s, doubling with each failure in a row, up to a minute. */
static int64
backoff_ms(int failures)
{
	return failures > 10 ? BACKOFF_MAX_MS :
		Min(BACKOFF_MAX_MS, (int64) BACKOFF_FIRST_MS << (failures - 1));
}

/* Counts a failure; the caller holds the mutex. */
void
fe_worker_record_failure(FeWorkerSlot *slot, const char *message, TimestampTz now)
{
	if (slot->failures < 1000)
		slot->failures++;
	slot->last_failure = now;
	slot->next_start = TimestampTzPlusMilliseconds(now, backoff_ms(slot->failures));
	strlcpy(slot->last_error, message, FE_ERROR_LEN);
	if (slot->state != FE_WORKER_NO_SLOT)
		slot->state = FE_WORKER_BACKOFF;
}

/* State of ingest or pusher after its end; the caller holds the mutex. */
static void
record_end(int code, TimestampTz now)
{
	if (my_db->parkers > 0)
		my_slot->state = FE_WORKER_PARKED;
	else if (code == 0)
	{
		my_slot->state = FE_WORKER_STOPPED;
		my_slot->finished = true;
	}
	else if (fe_worker_was_told_to_end())
	{
		/* somebody's SIGTERM is no fault of ours, but do come back */
		my_slot->next_start = TimestampTzPlusMilliseconds(now, BACKOFF_FIRST_MS);
		if (my_slot->state != FE_WORKER_NO_SLOT)
			my_slot->state = FE_WORKER_BACKOFF;
	}
	else
	{
		my_slot->database_gone = (last_sqlstate == ERRCODE_UNDEFINED_DATABASE);
		fe_worker_record_failure(my_slot,
								 last_error[0] ? last_error : "unknown error", now);
	}
}

/* on_shmem_exit callback */
static void
worker_exit(int code, Datum arg)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&my_db->mutex);
	if (my_slot != NULL)
	{
		my_slot->pid = 0;
		if (my_slot == &my_db->ingest)
			my_db->ingest_latch = NULL;
		else
			my_db->pusher_latch = NULL;
		record_end(code, now);
	}
	else
	{
		my_db->helpers[my_helper] = 0;
		if (my_db->capture_pid == MyProcPid)
		{
			my_db->capture_latch = NULL;
			my_db->capture_pid = 0;
		}
		if (code != 0 && !fe_worker_was_told_to_end() && last_error[0])
		{
			strlcpy(my_db->ingest.last_error, last_error, FE_ERROR_LEN);
			my_db->ingest.last_failure = now;
		}
	}
	SpinLockRelease(&my_db->mutex);

	/* applied_lsn stays: the next worker goes on from there with our state */
	ConditionVariableBroadcast(&my_db->progress);
	fe_wake_launcher();
}

/* ---- beginning --------------------------------------------------------- */

/* The caller holds the mutex. */
static bool
attach_helper(FeDatabase *db, const char *role)
{
	for (int i = 0; i < FE_MAX_HELPERS && db->parkers == 0; i++)
	{
		if (db->helpers[i] != 0)
			continue;
		db->helpers[i] = MyProcPid;
		my_helper = i;
		if (strcmp(role, FE_ROLE_CAPTURE) == 0)
		{
			db->capture_latch = MyLatch;
			db->capture_pid = MyProcPid;
		}
		return true;
	}
	return false;
}

/*
 * Registers this process in its database's slot.  False: it is not wanted any
 * more (slot given back, parked) or runs already (the launcher was restarted).
 */
static bool
attach(FeDatabase *db, const char *role)
{
	bool		ok = false;

	SpinLockAcquire(&db->mutex);
	if (strcmp(role, FE_ROLE_INGEST) != 0 && strcmp(role, FE_ROLE_PUSHER) != 0)
		ok = attach_helper(db, role);
	else
	{
		bool		is_ingest = strcmp(role, FE_ROLE_INGEST) == 0;
		FeWorkerSlot *slot = is_ingest ? &db->ingest : &db->pusher;

		if (slot->pid == 0 && db->parkers > 0)
			slot->state = FE_WORKER_PARKED;
		else if (slot->pid == 0)
		{
			slot->pid = MyProcPid;
			slot->state = FE_WORKER_STARTING;
			slot->finished = false;
			slot->database_gone = false;
			if (is_ingest)
				db->ingest_latch = MyLatch;
			else
				db->pusher_latch = MyLatch;
			my_slot = slot;
			ok = true;
		}
	}
	SpinLockRelease(&db->mutex);
	return ok;
}

/* Settings of roles and databases are meant for people, not for workers. */
static void
override_settings(const char *appname)
{
	static const char *const overrides[][2] = {
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"default_transaction_isolation", "read committed"},
	};

	for (int i = 0; i < lengthof(overrides); i++)
		SetConfigOption(overrides[i][0], overrides[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", appname, PGC_USERSET, PGC_S_OVERRIDE);
}

FeDatabase *
fe_worker_start(Oid dboid, const char *role)
{
	FeDatabase *db;
	char		appname[NAMEDATALEN];

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	/* a reload between the fork and the handler has been lost */
	ConfigReloadPending = true;

	if (fe_shared == NULL)
		proc_exit(0);

	/* under the lock the slot cannot be given back before we are in it */
	LWLockAcquire(fe_shared->lock, LW_SHARED);
	db = fe_find_database(dboid);
	if (db != NULL && attach(db, role))
		my_db = db;
	LWLockRelease(fe_shared->lock);
	if (my_db == NULL)
	{
		fe_wake_launcher();
		proc_exit(0);
	}
	on_shmem_exit(worker_exit, 0);
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = remember_error;
	fe_worker_role = role;

	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	CHECK_FOR_INTERRUPTS();

	snprintf(appname, sizeof(appname), "%s %s", FE_EXTENSION_NAME, role);
	override_settings(appname);
	pgstat_report_appname(appname);
	pgstat_report_activity(STATE_IDLE, NULL);
	return db;
}

/* ---- life -------------------------------------------------------------- */

void
fe_worker_made_progress(void)
{
	if (my_slot != NULL && my_slot->failures != 0)
	{
		SpinLockAcquire(&my_db->mutex);
		my_slot->failures = 0;
		SpinLockRelease(&my_db->mutex);
	}
}

void
fe_worker_set_state(FeWorkerState state)
{
	if (my_slot != NULL && my_slot->state != state)
	{
		SpinLockAcquire(&my_db->mutex);
		my_slot->state = state;
		SpinLockRelease(&my_db->mutex);
		ConditionVariableBroadcast(&my_db->progress);
	}
}

int
fe_worker_wait(long timeout_ms, pgsocket sock, int sock_events)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	int			result;

	fe_inject_point(fe_worker_role);
	if (timeout_ms >= 0)
		events |= WL_TIMEOUT;
	/* without a socket there is a prepared wait set: half the system calls */
	if (sock != PGINVALID_SOCKET)
		result = WaitLatchOrSocket(MyLatch, events | sock_events, sock, timeout_ms,
								   PG_WAIT_EXTENSION);
	else
		result = WaitLatch(MyLatch, events, timeout_ms, PG_WAIT_EXTENSION);
	if (result & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		fe_worker_reloaded = true;
	}
	return result;
}

void
fe_inject_crash_here(const char *name)
{
	if (strcmp(fe_setting_inject_crash, name) == 0)
		(void) kill(MyProcPid, SIGKILL);
}

void
fe_inject_point_raise(const char *name)
{
	if (strcmp(fe_setting_inject_error, name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("injected error at \"%s\"", name),
				 errhint("Reset \"%s.inject_error\".", FE_EXTENSION_NAME)));
}

/* Is name one of the list's, which has commas and no blanks? */
static bool
is_listed(const char *list, const char *name)
{
	size_t		len = strlen(name);

	for (const char *at = list; at != NULL; at = strchr(at, ','))
	{
		at += *at == ',';
		if (strncmp(at, name, len) == 0 && (at[len] == ',' || at[len] == '\0'))
			return true;
	}
	return false;
}

void
fe_inject_wait_here(const char *name)
{
	char		held[NAMEDATALEN];

	if (!is_listed(fe_setting_inject_wait, name))
		return;
	snprintf(held, sizeof(held), "held at %s", name);
	pgstat_report_activity(STATE_RUNNING, held);
	while (is_listed(fe_setting_inject_wait, name))
		fe_worker_wait(20, PGINVALID_SOCKET, 0);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* ---- helpers ------------------------------------------------------------ */

void
fe_worker_describe(BackgroundWorker *bgw, Oid dboid, const char *role,
				   const char *function)
{
	memset(bgw, 0, sizeof(*bgw));
	bgw->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	bgw->bgw_start_time = BgWorkerStart_RecoveryFinished;
	bgw->bgw_restart_time = BGW_NEVER_RESTART;
	bgw->bgw_notify_pid = MyProcPid;
	bgw->bgw_main_arg = ObjectIdGetDatum(dboid);
	snprintf(bgw->bgw_name, BGW_MAXLEN, "%s %s worker for database %u",
			 FE_EXTENSION_NAME, role, dboid);
	snprintf(bgw->bgw_type, BGW_MAXLEN, "%s %s", FE_EXTENSION_NAME, role);
	strlcpy(bgw->bgw_library_name, FE_LIBRARY_NAME, sizeof(bgw->bgw_library_name));
	strlcpy(bgw->bgw_function_name, function, sizeof(bgw->bgw_function_name));
}

bool
fe_start_helper(Oid dboid, const char *role, const char *function, const char *extra,
				BackgroundWorkerHandle **handle)
{
	BackgroundWorker bgw;

	fe_worker_describe(&bgw, dboid, role, function);
	memcpy(bgw.bgw_extra, extra, BGW_EXTRALEN);
	return RegisterDynamicBackgroundWorker(&bgw, handle);
}

void
fe_worker_end_helpers(void)
{
	for (;;)
	{
		pid_t		pids[FE_MAX_HELPERS];
		int			n = 0;

		SpinLockAcquire(&my_db->mutex);
		for (int i = 0; i < FE_MAX_HELPERS; i++)
			if (my_db->helpers[i] != 0)
				pids[n++] = my_db->helpers[i];
		SpinLockRelease(&my_db->mutex);
		if (n == 0)
			return;
		for (int i = 0; i < n; i++)
			(void) kill(pids[i], SIGTERM);
		fe_worker_wait(10, PGINVALID_SOCKET, 0);
	}
}
