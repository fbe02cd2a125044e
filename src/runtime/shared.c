/*
 * shared.c
 *		Shared control blocks: start-up of all rooms' shared memory, and the
 *		table of database slots.
 *
 * Start-up runs in the postmaster (shmem_request_hook, shmem_startup_hook);
 * the slot functions run in any process.
 *
 * Locks.  fe_shared->lock guards taking and giving back slots.  A slot's dboid
 * is written last when it is taken and first when it is given back, so that it
 * may be searched without the lock where a stale answer does no harm (the
 * transaction callback).  Whoever must not lose its slot looks it up by
 * fe_my_database(), which marks it referenced under the lock: a referenced
 * slot is given back only when no process is connected to its database, and a
 * process is counted as connected before it can look anything up.  Lock order:
 * fe_shared->lock, ProcArrayLock, FeDatabase.mutex.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "runtime/runtime.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#define MAX_ROOMS	16

FeShared   *fe_shared = NULL;

static const FeShmemRoom *rooms[MAX_ROOMS];
static int	nrooms = 0;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* This process's slot as of layout my_layout of the table. */
static FeDatabase *my_database = NULL;
static uint32 my_layout = 0;
static bool my_database_known = false;

/* ---- start-up --------------------------------------------------------- */

void
fe_shmem_register(const FeShmemRoom *room)
{
	if (!process_shared_preload_libraries_in_progress)
		return;					/* fe_require_preloaded tells whoever needs it */
	if (nrooms >= MAX_ROOMS)
		elog(ERROR, "too many rooms with shared memory");
	rooms[nrooms++] = room;
}

static void
request_shmem(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	for (int i = 0; i < nrooms; i++)
	{
		RequestAddinShmemSpace(add_size(rooms[i]->size(), MAXIMUM_ALIGNOF));
		if (rooms[i]->request)
			rooms[i]->request();
	}
}

static void
startup_shmem(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < nrooms; i++)
	{
		bool		found;
		void	   *area = ShmemInitStruct(rooms[i]->name, rooms[i]->size(), &found);

		rooms[i]->init(area, found);
	}
	LWLockRelease(AddinShmemInitLock);
}

static Size
shared_size(void)
{
	return add_size(offsetof(FeShared, databases),
					mul_size(fe_setting_max_databases, sizeof(FeDatabase)));
}

static void
shared_request(void)
{
	RequestNamedLWLockTranche(FE_EXTENSION_NAME, 1);
}

/* What stays valid through all uses of a slot. */
static void
init_slot(FeDatabase *db)
{
	SpinLockInit(&db->mutex);
	ConditionVariableInit(&db->progress);
	pg_atomic_init_u32(&db->requests, 0);
	pg_atomic_init_u32(&db->pusher_wanted, 0);
	pg_atomic_init_u32(&db->give_up_slot, 0);
	pg_atomic_init_u32(&db->referenced, 0);
	pg_atomic_init_u32(&db->capture_sleeping, 0);
	pg_atomic_init_u64(&db->announced_lsn, 0);
	pg_atomic_init_u64(&db->applied_lsn, 0);
	pg_atomic_init_u32(&db->merging, 0);
	pg_atomic_init_u64(&db->generation, 0);
	pg_atomic_init_u64(&db->catalog_loads, 0);
	pg_atomic_init_u64(&db->full_rounds, 0);
	pg_atomic_init_u64(&db->clock_override, (uint64) PG_INT64_MIN);
	pg_atomic_init_u64(&db->pushes, 0);
	pg_atomic_init_u64(&db->push_failures, 0);
	pg_atomic_init_u64(&db->push_field_errors, 0);
	pg_atomic_init_u64(&db->transactions, 0);
	pg_atomic_init_u64(&db->changes, 0);
}

static void
shared_init(void *area, bool found)
{
	fe_shared = area;
	if (found)
		return;
	memset(area, 0, shared_size());
	fe_shared->lock = &(GetNamedLWLockTranche(FE_EXTENSION_NAME))->lock;
	pg_atomic_init_u32(&fe_shared->scan_requests, 0);
	pg_atomic_init_u32(&fe_shared->layout_changes, 0);
	fe_shared->ndatabases = fe_setting_max_databases;
	for (int i = 0; i < fe_shared->ndatabases; i++)
		init_slot(&fe_shared->databases[i]);
}

static const FeShmemRoom runtime_room = {
	.name = "feature_engine runtime",
	.size = shared_size,
	.request = shared_request,
	.init = shared_init,
};

void
fe_shared_init(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shmem;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
	fe_shmem_register(&runtime_room);
}

void
fe_runtime_init(void)
{
	fe_settings_init();
	if (!process_shared_preload_libraries_in_progress)
		return;
	fe_shared_init();
	fe_commits_init();
	fe_wakeup_init();
	fe_park_init();
	fe_launcher_register();
}

void
fe_require_preloaded(void)
{
	if (fe_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s must be loaded via \"shared_preload_libraries\"",
						FE_EXTENSION_NAME),
				 errhint("Add \"shared_preload_libraries = '%s'\" to postgresql.conf (after a comma where other libraries are listed) and restart the server.",
						 FE_LIBRARY_NAME)));
}

void
fe_require_primary(const char *function)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s.%s() cannot be used on a standby", FE_EXTENSION_NAME, function),
				 errhint("Call it on the primary.")));
}

/* ---- database slots ---------------------------------------------------- */

FeDatabase *
fe_find_database(Oid dboid)
{
	if (fe_shared == NULL || !OidIsValid(dboid))
		return NULL;
	for (int i = 0; i < fe_shared->ndatabases; i++)
	{
		if (fe_shared->databases[i].dboid == dboid)
			return &fe_shared->databases[i];
	}
	return NULL;
}

static bool
has_processes(FeDatabase *db)
{
	bool		result;

	SpinLockAcquire(&db->mutex);
	result = db->ingest.pid != 0 || db->pusher.pid != 0 ||
		db->ingest.state == FE_WORKER_STARTING ||
		db->pusher.state == FE_WORKER_STARTING;
	for (int i = 0; i < FE_MAX_HELPERS; i++)
		result |= db->helpers[i] != 0;
	SpinLockRelease(&db->mutex);
	return result;
}

/*
 * May the slot go to another database?  The caller holds the lock exclusively.
 * A frozen clock is kept: it is the only thing in a slot that is not made
 * again by the database's workers.
 */
static bool
slot_is_idle(FeDatabase *db)
{
	if (db->wanted || db->parkers > 0 || has_processes(db))
		return false;
	if ((int64) pg_atomic_read_u64(&db->clock_override) != PG_INT64_MIN)
		return false;
	return pg_atomic_read_u32(&db->referenced) == 0 ||
		CountDBBackends(db->dboid) == 0;
}

/* Gives the slot back; the caller holds the lock exclusively. */
static void
free_slot(FeDatabase *db)
{
	for (int i = 0; i < nrooms; i++)
	{
		if (rooms[i]->release)
			rooms[i]->release(db);
	}
	db->dboid = InvalidOid;
	pg_write_barrier();
	pg_atomic_fetch_add_u32(&fe_shared->layout_changes, 1);
}

/*
 * Gives a free slot to a database; the caller holds the lock exclusively.  The
 * generation starts at the present, so that it never repeats an earlier one of
 * the same database, not even when the slot was given back meanwhile.
 */
static void
take_slot(FeDatabase *db, Oid dboid)
{
	memset(&db->ingest, 0, sizeof(FeWorkerSlot));
	memset(&db->pusher, 0, sizeof(FeWorkerSlot));
	memset(db->helpers, 0, sizeof(db->helpers));
	db->wanted = false;
	db->parkers = 0;
	db->parked_by = 0;
	db->ingest_latch = NULL;
	db->capture_latch = NULL;
	db->capture_pid = 0;
	db->pusher_latch = NULL;
	pg_atomic_write_u32(&db->requests, 0);
	pg_atomic_write_u32(&db->pusher_wanted, 0);
	pg_atomic_write_u32(&db->give_up_slot, 0);
	pg_atomic_write_u32(&db->referenced, 0);
	pg_atomic_write_u32(&db->capture_sleeping, 0);
	pg_atomic_write_u64(&db->announced_lsn, 0);
	pg_atomic_write_u64(&db->applied_lsn, 0);
	pg_atomic_write_u32(&db->merging, 0);
	pg_atomic_write_u64(&db->generation, (uint64) GetCurrentTimestamp());
	pg_atomic_write_u64(&db->catalog_loads, 0);
	pg_atomic_write_u64(&db->clock_override, (uint64) PG_INT64_MIN);
	pg_atomic_write_u64(&db->pushes, 0);
	pg_atomic_write_u64(&db->push_failures, 0);
	pg_atomic_write_u64(&db->push_field_errors, 0);
	db->redis_connected = false;
	db->redis_error[0] = '\0';
	db->redis_error_at = 0;
	pg_atomic_write_u64(&db->transactions, 0);
	pg_atomic_write_u64(&db->changes, 0);
	db->last_commit_ts = 0;
	db->heap_id = 0;
	pg_write_barrier();
	db->dboid = dboid;
	pg_write_barrier();
	pg_atomic_fetch_add_u32(&fe_shared->layout_changes, 1);
}

/* The database's slot, a free one, or an idle one; NULL when all are in use. */
static FeDatabase *
find_or_take_slot(Oid dboid)
{
	FeDatabase *db = fe_find_database(dboid);

	if (db != NULL)
		return db;
	for (int pass = 0; pass < 2; pass++)
	{
		for (int i = 0; i < fe_shared->ndatabases; i++)
		{
			db = &fe_shared->databases[i];
			if (pass == 1 && OidIsValid(db->dboid) && slot_is_idle(db))
				free_slot(db);
			if (!OidIsValid(db->dboid))
			{
				take_slot(db, dboid);
				return db;
			}
		}
	}
	return NULL;
}

FeDatabase *
fe_claim_database(Oid dboid)
{
	FeDatabase *db;

	LWLockAcquire(fe_shared->lock, LW_EXCLUSIVE);
	db = find_or_take_slot(dboid);
	LWLockRelease(fe_shared->lock);
	return db;
}

bool
fe_release_database(FeDatabase *db, bool force)
{
	bool		released = false;

	LWLockAcquire(fe_shared->lock, LW_EXCLUSIVE);
	if (OidIsValid(db->dboid) && (force || slot_is_idle(db)))
	{
		free_slot(db);
		released = true;
	}
	LWLockRelease(fe_shared->lock);
	return released;
}

FeDatabase *
fe_my_database(void)
{
	uint32		layout;

	if (fe_shared == NULL || !OidIsValid(MyDatabaseId))
		return NULL;
	layout = pg_atomic_read_u32(&fe_shared->layout_changes);
	if (my_database_known && layout == my_layout)
		return my_database;

	LWLockAcquire(fe_shared->lock, LW_SHARED);
	my_layout = pg_atomic_read_u32(&fe_shared->layout_changes);
	my_database = fe_find_database(MyDatabaseId);
	my_database_known = true;
	if (my_database != NULL)
		pg_atomic_write_u32(&my_database->referenced, 1);
	LWLockRelease(fe_shared->lock);
	return my_database;
}

FeDatabase *
fe_my_database_or_claim(void)
{
	FeDatabase *db;

	fe_require_preloaded();
	db = fe_my_database();
	if (db != NULL)
		return db;

	LWLockAcquire(fe_shared->lock, LW_EXCLUSIVE);
	db = find_or_take_slot(MyDatabaseId);
	if (db != NULL)
		pg_atomic_write_u32(&db->referenced, 1);
	LWLockRelease(fe_shared->lock);

	if (db == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases use %s", FE_EXTENSION_NAME),
				 errdetail("All %d places are taken.", fe_shared->ndatabases),
				 errhint("Raise \"%s.max_databases\" and restart the server.",
						 FE_EXTENSION_NAME)));
	return db;
}
