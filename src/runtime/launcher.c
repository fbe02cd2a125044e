/*
 * launcher.c
 *		The launcher: one process for the server that starts each database's
 *		workers and starts them again when they fail.
 *
 * A static background worker, started when recovery has ended (so a standby
 * has none before its promotion) and connected to no database, only to the
 * shared catalogs.  Takes fe_shared->lock and FeDatabase.mutex for moments.
 *
 * A worker, as FeWorkerSlot.state shows it:
 *
 *	                    request or scan
 *	    STOPPED ------------------------------> STARTING
 *	     ^  ^                                    |  |  ^
 *	     |  | exit 0: nothing to do              |  |  | next_start has come
 *	     |  +------------------------------------+  |  |
 *	     |  |                                       |  |
 *	     |  +-- CREATING_SLOT, RUNNING, <-----------+  |
 *	     |      MEMORY_FULL                            |
 *	     |        |       |  error, SIGTERM            |
 *	     |        |       +------------------------> BACKOFF
 *	     |        | database command           0.1 s, doubling to 60 s;
 *	     |        v                            progress resets it
 *	     +---- PARKED
 *	   command done
 *
 * NO_SLOT stands in for BACKOFF after the replication slot was given up.
 *
 * A database is wanted from a request (fe_request_worker) until its ingest
 * worker ends with exit code 0 and no request came since that worker was
 * started (FeDatabase.requests): then the worker looked and found no view, and
 * the slot is given back.  Without a request databases are found by scans of
 * pg_database: at start, and after CREATE DATABASE.  Each is probed by starting
 * its ingest worker once, those with a replication slot of ours first.
 *
 * All that matters is in shared memory, so that the launcher itself may fail
 * and be restarted by the postmaster; workers go on meanwhile.  The handles it
 * keeps only tell it of workers that ended before they could register.
 *
 * The guard of the primary's disk (walguard.c) is called from the loop here; the
 * one against crashes that repeat themselves (crashes.c) before a first start.
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "runtime/compat.h"
#include "runtime/launcher.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define MAX_WAIT_MS			10000
#define GUARD_INTERVAL_MS	5000
#define PROBE_RETRY_MS		1000
#define MAX_STARTING		2	/* probes under way at a time */
#define EXHAUSTED_FIRST_MS	1000
#define EXHAUSTED_MAX_MS	10000

/* What the launcher remembers of the database in a slot. */
typedef struct LauncherEntry
{
	Oid			dboid;
	BackgroundWorkerHandle *ingest;
	BackgroundWorkerHandle *pusher;
	uint32		served_requests;	/* db->requests when ingest was started */
	bool		looked;			/* for crashes before the first start */
} LauncherEntry;

static LauncherEntry *entries;

static List *probes = NIL;		/* databases to look at */
static List *known = NIL;		/* databases of the last scan */
static uint32 scans_done = 0;
static bool scanned = false;

/* max_worker_processes is used up: said once, tried more and more seldom */
static int64 exhausted_ms = 0;
static bool slots_taken_reported = false;

/* When the loop has something to do at the latest. */
static TimestampTz next_due;

static void
due_at(TimestampTz t)
{
	next_due = Min(next_due, t);
}

/* ---- finding databases ---------------------------------------------------- */

static bool
connectable(Form_pg_database form)
{
	/* datconnlimit -2: DROP DATABASE was interrupted */
	return form->datallowconn && form->datconnlimit != -2;
}

/* Is the database there and open to connections? */
static bool
database_connectable(Oid dboid)
{
	HeapTuple	tuple;
	bool		result = false;

	StartTransactionCommand();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	if (HeapTupleIsValid(tuple))
	{
		result = connectable((Form_pg_database) GETSTRUCT(tuple));
		ReleaseSysCache(tuple);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	return result;
}

void
fe_launcher_probe(Oid dboid, bool first)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	if (!list_member_oid(probes, dboid))
		probes = first ? lcons_oid(dboid, probes) : lappend_oid(probes, dboid);
	MemoryContextSwitchTo(old);
}

/*
 * Queues all databases that earlier scans did not see.  Templates are left
 * alone (being connected to one is a nuisance) unless they have a slot of ours.
 */
static void
scan_databases(void)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	List	   *seen = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		bool		has_slot = fe_guard_has_slot(form->oid);
		MemoryContext cxt;

		if (!connectable(form) || (form->datistemplate && !has_slot))
			continue;
		if (!list_member_oid(known, form->oid))
			fe_launcher_probe(form->oid, has_slot);
		cxt = MemoryContextSwitchTo(TopMemoryContext);
		seen = lappend_oid(seen, form->oid);
		MemoryContextSwitchTo(cxt);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();

	MemoryContextSwitchTo(old);
	list_free(known);
	known = seen;
}

static void
scan_if_requested(void)
{
	uint32		requests = pg_atomic_read_u32(&fe_shared->scan_requests);

	if (scanned && requests == scans_done)
		return;
	scan_databases();
	scans_done = requests;
	scanned = true;
}

/* Workers that have been started and have not found out what there is to do. */
static int
count_starting(void)
{
	int			n = 0;

	for (int i = 0; i < fe_shared->ndatabases; i++)
	{
		if (OidIsValid(fe_shared->databases[i].dboid) &&
			fe_shared->databases[i].ingest.state == FE_WORKER_STARTING)
			n++;
	}
	return n;
}

/* Marks queued databases as wanted, a few at a time. */
static void
feed_probes(TimestampTz now)
{
	int			starting = count_starting();

	while (probes != NIL)
	{
		FeDatabase *db;

		due_at(TimestampTzPlusMilliseconds(now, PROBE_RETRY_MS));
		if (starting >= MAX_STARTING)
			return;
		db = fe_claim_database(linitial_oid(probes));
		if (db == NULL)
		{
			if (!slots_taken_reported)
				ereport(LOG,
						(errmsg("%s cannot look at database %u: all %d places for databases are taken",
								FE_EXTENSION_NAME, linitial_oid(probes),
								fe_shared->ndatabases),
						 errhint("Raise \"%s.max_databases\" and restart the server.",
								 FE_EXTENSION_NAME)));
			slots_taken_reported = true;
			return;
		}
		slots_taken_reported = false;
		probes = list_delete_first(probes);
		SpinLockAcquire(&db->mutex);
		db->wanted = true;
		SpinLockRelease(&db->mutex);
		starting++;
	}
}

/* ---- starting workers -------------------------------------------------------- */

/* The worker was not started; try again later, more and more seldom. */
static void
report_exhausted(FeDatabase *db, FeWorkerSlot *slot, TimestampTz now)
{
	static const char *const message =
	"no background worker slot is free\nHINT: Raise \"max_worker_processes\" and restart the server.";

	if (exhausted_ms == 0)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%s cannot start a worker for database %u: no background worker slot is free",
						FE_EXTENSION_NAME, db->dboid),
				 errhint("Raise \"max_worker_processes\" and restart the server.")));
	exhausted_ms = exhausted_ms == 0 ? EXHAUSTED_FIRST_MS :
		Min(EXHAUSTED_MAX_MS, exhausted_ms * 2);

	SpinLockAcquire(&db->mutex);
	slot->state = FE_WORKER_BACKOFF;
	slot->last_failure = now;
	slot->next_start = TimestampTzPlusMilliseconds(now, exhausted_ms);
	strlcpy(slot->last_error, message, FE_ERROR_LEN);
	SpinLockRelease(&db->mutex);
	due_at(slot->next_start);
}

/* Marks the start first: a command that parks the database now waits for it. */
static void
start_worker(FeDatabase *db, FeWorkerSlot *slot, const char *role,
			 const char *function, BackgroundWorkerHandle **handle, TimestampTz now)
{
	MemoryContext old;
	BackgroundWorker bgw;
	bool		parked;
	bool		started;

	SpinLockAcquire(&db->mutex);
	parked = db->parkers > 0;
	if (!parked)
	{
		slot->state = FE_WORKER_STARTING;
		slot->finished = false;
		slot->database_gone = false;
	}
	SpinLockRelease(&db->mutex);
	if (parked)
		return;

	if (*handle)
		pfree(*handle);
	*handle = NULL;
	fe_worker_describe(&bgw, db->dboid, role, function);
	old = MemoryContextSwitchTo(TopMemoryContext);
	started = RegisterDynamicBackgroundWorker(&bgw, handle);
	MemoryContextSwitchTo(old);

	if (started)
		exhausted_ms = 0;
	else
		report_exhausted(db, slot, now);
}

/*
 * A worker that is STARTING and has ended without registering itself: its
 * process could not be created or could not load the library.
 */
static void
check_start(FeDatabase *db, FeWorkerSlot *slot, BackgroundWorkerHandle *handle,
			TimestampTz now)
{
	pid_t		pid;

	if (slot->state != FE_WORKER_STARTING || slot->pid != 0)
		return;
	if (handle != NULL && GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED)
		return;

	SpinLockAcquire(&db->mutex);
	if (slot->state == FE_WORKER_STARTING && slot->pid == 0)
	{
		if (handle == NULL)
			slot->state = FE_WORKER_STOPPED;	/* started by a launcher before us */
		else
			fe_worker_record_failure(slot, "worker process ended before it began; see the server log", now);
	}
	SpinLockRelease(&db->mutex);
}

/* ---- tending a database --------------------------------------------------------- */

/*
 * Not wanted any more.  The pusher has the keys of the last views to remove
 * and then ends by itself, unless its database is not to be connected to.
 */
static void
retire(FeDatabase *db, bool pusher_too)
{
	pid_t		pusher;

	SpinLockAcquire(&db->mutex);
	db->wanted = false;
	db->ingest.finished = false;
	pusher = db->pusher.pid;
	if (db->pusher_latch)
		SetLatch(db->pusher_latch);
	SpinLockRelease(&db->mutex);
	if (pusher != 0 && pusher_too)
		(void) kill(pusher, SIGTERM);
}

/* Exit code 0: nothing to do, unless somebody asked since the start. */
static void
check_finished(FeDatabase *db, LauncherEntry *entry)
{
	bool		again;

	if (!db->ingest.finished)
		return;
	SpinLockAcquire(&db->mutex);
	again = pg_atomic_read_u32(&db->requests) != entry->served_requests;
	if (again)
		db->ingest.finished = false;
	SpinLockRelease(&db->mutex);
	if (!again)
		retire(db, false);
}

static bool
may_start(FeDatabase *db, FeWorkerSlot *slot, TimestampTz now)
{
	if (slot->pid != 0 || slot->state == FE_WORKER_STARTING || db->parkers > 0)
		return false;
	if (slot->next_start > now)
	{
		due_at(slot->next_start);
		return false;
	}
	return true;
}

static void
tend_ingest(FeDatabase *db, LauncherEntry *entry, TimestampTz now)
{
	check_start(db, &db->ingest, entry->ingest, now);
	if (db->ingest.database_gone)
	{
		(void) fe_release_database(db, true);
		return;
	}
	check_finished(db, entry);

	if (!entry->looked && db->ingest.pid == 0)
		fe_crashes_hold_back(db, now);
	entry->looked = true;
	if (!db->wanted || fe_guard_holds_back(db->dboid) ||
		!may_start(db, &db->ingest, now))
		return;
	if (!database_connectable(db->dboid))
	{
		retire(db, true);
		return;
	}

	/* before the start, so that a request during it counts as a new one */
	entry->served_requests = pg_atomic_read_u32(&db->requests);
	start_worker(db, &db->ingest, FE_ROLE_INGEST, "fe_ingest_worker_main",
				 &entry->ingest, now);
}

/*
 * The pusher starts when the ingest worker asks for it and comes back after
 * failures; exit code 0 means it is not needed until asked for again.
 */
static void
tend_pusher(FeDatabase *db, LauncherEntry *entry, TimestampTz now)
{
	FeWorkerState state;

	check_start(db, &db->pusher, entry->pusher, now);
	state = db->pusher.state;
	if (!db->wanted || db->ingest.pid == 0)
		return;
	if (state != FE_WORKER_BACKOFF && state != FE_WORKER_PARKED &&
		pg_atomic_read_u32(&db->pusher_wanted) == 0)
		return;
	if (!may_start(db, &db->pusher, now))
		return;
	pg_atomic_write_u32(&db->pusher_wanted, 0);
	start_worker(db, &db->pusher, FE_ROLE_PUSHER, "fe_pusher_worker_main",
				 &entry->pusher, now);
}

static void
forget_entry(LauncherEntry *entry)
{
	if (entry->ingest)
		pfree(entry->ingest);
	if (entry->pusher)
		pfree(entry->pusher);
	memset(entry, 0, sizeof(*entry));
}

static void
tend_databases(TimestampTz now)
{
	for (int i = 0; i < fe_shared->ndatabases; i++)
	{
		FeDatabase *db = &fe_shared->databases[i];
		LauncherEntry *entry = &entries[i];

		if (entry->dboid != db->dboid)
		{
			forget_entry(entry);
			entry->dboid = db->dboid;
			entry->served_requests = 0;
		}
		if (!OidIsValid(db->dboid))
			continue;
		tend_ingest(db, entry, now);
		tend_pusher(db, entry, now);
		if (!db->wanted)
			(void) fe_release_database(db, false);
	}
}

/* ---- the process ------------------------------------------------------------------- */

static void
launcher_exit(int code, Datum arg)
{
	fe_shared->launcher_latch = NULL;
	fe_shared->launcher_pid = 0;
}

static void
begin(void)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	fe_shared->launcher_pid = MyProcPid;
	fe_shared->launcher_latch = MyLatch;
	on_shmem_exit(launcher_exit, 0);

	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	MemoryContextSwitchTo(TopMemoryContext);
	entries = palloc0(fe_shared->ndatabases * sizeof(LauncherEntry));
	pgstat_report_appname(FE_EXTENSION_NAME " launcher");
}

void
fe_launcher_main(Datum arg)
{
	TimestampTz next_guard = 0;

	begin();
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();

		next_due = TimestampTzPlusMilliseconds(now, MAX_WAIT_MS);
		scan_if_requested();
		if (now >= next_guard)
		{
			bool		urgent = fe_guard_run(now);

			next_guard = TimestampTzPlusMilliseconds(now, urgent ? 500 : GUARD_INTERVAL_MS);
		}
		due_at(next_guard);
		feed_probes(now);
		tend_databases(now);

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next_due)),
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

void
fe_launcher_register(void)
{
	BackgroundWorker bgw;

	/* pg_upgrade wants nobody in its databases */
	if (IsBinaryUpgrade)
		return;
	memset(&bgw, 0, sizeof(bgw));
	bgw.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	bgw.bgw_start_time = BgWorkerStart_RecoveryFinished;
	bgw.bgw_restart_time = 5;
	strlcpy(bgw.bgw_name, FE_EXTENSION_NAME " launcher", BGW_MAXLEN);
	strlcpy(bgw.bgw_type, FE_EXTENSION_NAME " launcher", BGW_MAXLEN);
	strlcpy(bgw.bgw_library_name, FE_LIBRARY_NAME, sizeof(bgw.bgw_library_name));
	strlcpy(bgw.bgw_function_name, "fe_launcher_main", sizeof(bgw.bgw_function_name));
	RegisterBackgroundWorker(&bgw);
}
