/*
 * runtime.h
 *		What every room may use of the ground floor: settings, shared control
 *		blocks, the clock, worker life cycle and wake-ups.
 *
 * Locking contract.  FeShared and the FeDatabase array live in the main
 * shared memory segment.  Taking or giving back an FeDatabase slot needs
 * fe_shared->lock exclusively; a process that serves a database (its workers)
 * or runs in it (any backend) may keep the pointer as long as it is connected
 * to that database: a slot is only reused once the database has no worker.
 * Plain fields of FeDatabase are guarded by FeDatabase.mutex, atomics by
 * themselves.
 */
#ifndef FE_RUNTIME_H
#define FE_RUNTIME_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "postmaster/bgworker.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#define FE_EXTENSION_NAME	"feature_engine"
#define FE_LIBRARY_NAME		"feature_engine"
#define FE_SCHEMA			"feature_engine"
#define FE_DEF_SCHEMA		"feature_engine_def"
#define FE_SERVER_NAME		"feature_engine"	/* our foreign server */

#define FE_ERROR_LEN		512
#define FE_MAX_HELPERS		4	/* capture, backfill, checkpoint workers of one database */

/* Our replication slot of a database: FE_SLOT_PREFIX and the database's OID */
#define FE_SLOT_PREFIX		"feature_engine_"
#define FE_PLUGIN_NAME		"feature_engine"

/* Microseconds since 2000-01-01 UTC, as TimestampTz. */
typedef int64 FeTime;

#define FE_USEC_PER_SEC		INT64CONST(1000000)

/* ---- settings (settings.c) ------------------------------------------- */

extern char *fe_setting_redis_url;		/* "" = no pushing */
extern int	fe_setting_push_interval;	/* ms */
extern int	fe_setting_time_refresh;	/* s */
extern int	fe_setting_memory;			/* MB, limit in force (SIGHUP) */
extern int	fe_setting_max_memory;		/* MB, reservation (postmaster) */
extern int	fe_setting_max_databases;	/* postmaster */
extern int	fe_setting_max_feature_views;	/* postmaster, whole server */
extern int	fe_setting_max_wal_lag;		/* MB */
extern int	fe_setting_checkpoint_interval; /* s */
extern int	fe_setting_checkpoint_wal;	/* MB */
extern int	fe_setting_max_values_per_entity;
extern int	fe_setting_exact_horizon;	/* s */
extern bool fe_setting_read_your_writes;
extern bool fe_setting_allow_stale;
extern char *fe_setting_inject_error;	/* tests only, see fe_inject_point */
extern char *fe_setting_inject_crash;	/* tests only, see fe_inject_crash */
extern char *fe_setting_inject_wait;	/* tests only, see fe_inject_wait */
/* as_of: parsed by its check hook; fe_as_of_is_set says whether it counts */
extern bool fe_as_of_is_set;
extern FeTime fe_as_of;
/* watermark: likewise */
extern bool fe_watermark_is_set;
extern FeTime fe_watermark;

extern void fe_settings_init(void);		/* from _PG_init */

/* ---- shared control blocks (shared.c) -------------------------------- */

typedef enum FeWorkerState
{
	FE_WORKER_STOPPED = 0,
	FE_WORKER_STARTING,
	FE_WORKER_CREATING_SLOT,	/* waiting for running transactions */
	FE_WORKER_RUNNING,
	FE_WORKER_MEMORY_FULL,		/* applying stopped: feature_engine.memory */
	FE_WORKER_BACKOFF,			/* failed; the launcher starts it again */
	FE_WORKER_PARKED,			/* out of the way of a database command */
	FE_WORKER_NO_SLOT			/* slot given up: feature_engine.max_wal_lag */
} FeWorkerState;

/* One worker process, as the launcher and status see it. */
typedef struct FeWorkerSlot
{
	pid_t		pid;			/* 0 = not running */
	FeWorkerState state;
	int			failures;		/* in a row; reset by progress */
	bool		finished;		/* ended by itself with exit code 0 */
	bool		database_gone;	/* failed because its database is not there */
	TimestampTz last_failure;
	TimestampTz next_start;		/* back-off: not before */
	char		last_error[FE_ERROR_LEN];	/* kept after recovery, see last_failure */
} FeWorkerSlot;

typedef struct FeDatabase
{
	Oid			dboid;			/* InvalidOid = free */
	slock_t		mutex;
	FeWorkerSlot ingest;
	FeWorkerSlot pusher;
	pid_t		helpers[FE_MAX_HELPERS];	/* of the ingest worker, 0 = free */
	bool		wanted;			/* somebody asked for workers */
	int			parkers;		/* database commands that hold us off */
	pid_t		parked_by;		/* the last of them, 0 = none */
	Latch	   *ingest_latch;	/* NULL while there is no worker */
	Latch	   *capture_latch;
	pid_t		capture_pid;	/* one of helpers, or 0 */
	Latch	   *pusher_latch;

	/*
	 * Bumped by fe_request_worker (create, drop, alter, DROP EXTENSION, ...):
	 * the ingest worker looks at the catalogue again when it has changed.
	 */
	pg_atomic_uint32 requests;
	/* 1 = start a pusher; set by fe_request_pusher, consumed by the launcher */
	pg_atomic_uint32 pusher_wanted;
	/*
	 * 1 = the launcher asks the ingest worker to drop its slot at once: it
	 * holds back more than max_wal_lag.  The worker drops the slot, then
	 * clears the flag; when it does not react the launcher does both.
	 */
	pg_atomic_uint32 give_up_slot;
	/* a backend looked this slot up and may hold the pointer */
	pg_atomic_uint32 referenced;

	/* capture may wait on its latch; a committer that sees 1 sets the latch */
	pg_atomic_uint32 capture_sleeping;
	/* highest commit end LSN announced by a backend (XLogFlush up to it) */
	pg_atomic_uint64 announced_lsn;
	/* everything that committed before this is visible (0 = no state); it
	 * outlives the worker, as the state does: ingest_latch tells whether one
	 * runs */
	pg_atomic_uint64 applied_lsn;
	/* the merge step is under way: state is unusable if the worker dies now */
	pg_atomic_uint32 merging;
	/* changes with every loss of state; pusher and readers compare */
	pg_atomic_uint64 generation;
	/* bumped by the ingest worker whenever it has reloaded the catalogue */
	pg_atomic_uint64 catalog_loads;
	/* rounds of the ingest worker's that ended for want of memory */
	pg_atomic_uint64 full_rounds;
	ConditionVariable progress;	/* applied_lsn moved, a view changed state */

	/* test clock: PG_INT64_MIN = the wall clock runs */
	pg_atomic_uint64 clock_override;

	/* Redis, written by the pusher */
	pg_atomic_uint64 pushes;
	pg_atomic_uint64 push_failures;
	pg_atomic_uint64 push_field_errors;
	bool		redis_connected;
	char		redis_error[FE_ERROR_LEN];
	TimestampTz redis_error_at;

	pg_atomic_uint64 transactions;	/* applied */
	pg_atomic_uint64 changes;
	TimestampTz last_commit_ts;	/* commit time of the last applied one */
	uint64		heap_id;		/* opaque to runtime: memory/heap.h */
} FeDatabase;

typedef struct FeShared
{
	LWLock	   *lock;			/* database slots */
	Latch	   *launcher_latch;	/* NULL while it does not run */
	pid_t		launcher_pid;
	pg_atomic_uint32 scan_requests; /* launcher: look for new databases */
	pg_atomic_uint32 layout_changes;	/* bumped when a slot is taken/freed */
	int			ndatabases;		/* == fe_setting_max_databases */
	FeDatabase	databases[FLEXIBLE_ARRAY_MEMBER];
} FeShared;

extern PGDLLIMPORT FeShared *fe_shared; /* NULL: library not preloaded */

/*
 * Rooms that need shared memory register a size and a start-up callback from
 * their own init (called by _PG_init); shared.c runs them all in the request
 * and start-up hooks.  Named LWLock tranches are requested by the room itself
 * in its request callback.
 */
typedef struct FeShmemRoom
{
	const char *name;
	Size		(*size) (void);
	void		(*request) (void);	/* may be NULL: RequestNamedLWLockTranche etc. */
	void		(*init) (void *area, bool found);

	/*
	 * A database slot is given back (database dropped, or nothing to do in
	 * it): forget what is kept for it.  No worker of it runs.  Called with
	 * fe_shared->lock held exclusively, in the launcher or in the backend
	 * that dropped the database; must not fail.  May be NULL.
	 */
	void		(*release) (FeDatabase *db);
} FeShmemRoom;

extern void fe_shmem_register(const FeShmemRoom *room);
extern void fe_runtime_init(void);	/* from _PG_init: settings, hooks, launcher */

/* This process's database slot, or NULL where no worker ever served it. */
extern FeDatabase *fe_my_database(void);
/* The same, taking a slot when there is none yet (ERROR when all are taken). */
extern FeDatabase *fe_my_database_or_claim(void);
extern void fe_require_preloaded(void); /* ERROR with the setting to change */
extern void fe_require_primary(const char *function);	/* ERROR on a standby */

/*
 * A database's slot or NULL; the caller holds fe_shared->lock (any mode) or
 * can live with a slot that is given back meanwhile.
 */
extern FeDatabase *fe_find_database(Oid dboid);
/* NULL when all slots are taken; in the launcher. */
extern FeDatabase *fe_claim_database(Oid dboid);
/* Gives a slot back unless it is in use (force: whatever the case). */
extern bool fe_release_database(FeDatabase *db, bool force);

/* ---- wake-ups (wakeup.c) ---------------------------------------------- */

/* End of this session's last commit record, InvalidXLogRecPtr = none yet. */
extern XLogRecPtr fe_session_last_commit(void);
/* Ingest worker: the database has views to be pushed; starts the pusher. */
extern void fe_request_pusher(FeDatabase *db);
/* The launcher shall look for databases it does not know, after commit. */
extern void fe_request_scan_at_commit(void);
extern void fe_wake_launcher(void);
/* There is WAL to decode that no commit announced. */
extern void fe_wake_capture(FeDatabase *db);
extern void fe_wakeup_init(void);	/* from fe_runtime_init */

/*
 * Asks the launcher (after commit, if called in a transaction that wrote) to
 * see to it that this database has its workers; wakes the ingest worker if it
 * runs already.  Called by create/drop/alter, sync() and readers that find no
 * worker.
 */
extern void fe_request_worker(void);

/* ---- commit times (commits.c) ------------------------------------------ */

extern void fe_commits_init(void);		/* from fe_runtime_init */
/* Ingest worker: the transaction that ends at lsn, before it is merged. */
extern void fe_commits_note(FeDatabase *db, XLogRecPtr lsn, TimestampTz at);
/* When it committed; false: it is none of the last ones. */
extern bool fe_commits_find(FeDatabase *db, XLogRecPtr lsn, TimestampTz *at);

/* ---- clock (clock.c) -------------------------------------------------- */

/* The engine's present: the test clock where set, else the wall clock. */
extern FeTime fe_clock_now(void);
/* Does the test clock stand still? */
extern bool fe_clock_is_frozen(void);
/* T of evaluation: override below, as_of, test clock, statement_timestamp(). */
extern FeTime fe_clock_eval_time(void);
/* Evaluation at a given T by a worker or scan; returns the old override.
 * PG_INT64_MIN = none. */
extern FeTime fe_clock_set_eval_time(FeTime t);

/*
 * The watermark at which is_final() judges: what is given here, else the setting
 * watermark, else T.  fe_clock_watermark: is one of the first two there?
 */
typedef struct FeWatermark
{
	bool		given;
	FeTime		value;
} FeWatermark;

extern bool fe_clock_watermark(FeTime *watermark);
extern FeWatermark fe_clock_set_watermark(FeWatermark w);	/* returns the old one */

/* ---- workers (launcher.c, worker.c, crashes.c, park.c) --------------------------- */

#define FE_ROLE_INGEST		"ingest"
#define FE_ROLE_CAPTURE		"capture"
#define FE_ROLE_PUSHER		"pusher"
#define FE_ROLE_BACKFILL	"backfill"
#define FE_ROLE_CHECKPOINT	"checkpoint"

/* Entry points, each in the room whose work it is. */
extern PGDLLEXPORT void fe_launcher_main(Datum arg);
extern PGDLLEXPORT void fe_ingest_worker_main(Datum dboid);
extern PGDLLEXPORT void fe_capture_worker_main(Datum dboid);
extern PGDLLEXPORT void fe_pusher_worker_main(Datum dboid);
extern PGDLLEXPORT void fe_backfill_worker_main(Datum arg);

/*
 * Common prologue of a database worker: signals, connection to the database,
 * registration in its FeDatabase, the exit hook that records the error and
 * sets the back-off.  Returns the database slot.
 */
extern FeDatabase *fe_worker_start(Oid dboid, const char *role);
/* Clears the failure count after real progress. */
extern void fe_worker_made_progress(void);
/*
 * The ingest worker, against crashes of the server that repeat themselves
 * (crashes.c): after its start it is in danger until it says otherwise.
 */
extern void fe_crashes_begin(Oid dboid);
extern void fe_crashes_set_danger(bool danger);
/* Starts in a row that did not get through, this one included. */
extern int	fe_crashes_starts(void);
/* Worker state as status shows it. */
extern void fe_worker_set_state(FeWorkerState state);
/*
 * Waits on MyLatch (+ socket when >= 0; timeout < 0: for ever), resets the
 * latch, handles interrupts and SIGHUP reload (sets fe_worker_reloaded).
 * Returns WaitLatchOrSocket's result.
 */
extern int	fe_worker_wait(long timeout_ms, pgsocket sock, int sock_events);
/* Settings were read again; the worker clears it once it has looked. */
extern bool fe_worker_reloaded;
/* Role of this process when it is one of our workers, else NULL. */
extern const char *fe_worker_role;

/* Was this process asked to stop what it does (pg_cancel_backend)? */
extern bool fe_worker_is_cancel(const ErrorData *edata);
/*
 * First thing in a PG_CATCH that the worker outlives: the error, in cxt, which
 * becomes current; what was under way is rolled back: the transaction, or
 * inside of one the subtransaction that was begun for what failed (the caller
 * sets CurrentResourceOwner back).  A canceled query is raised again.
 */
extern ErrorData *fe_worker_caught(MemoryContext cxt);
extern ErrorData *fe_worker_caught_inside(MemoryContext cxt);

/* The last error this worker reported, "" = none; for exit callbacks. */
extern const char *fe_worker_last_error(void);
/* Is SIGTERM the cause of this worker's end? */
extern bool fe_worker_was_told_to_end(void);

/*
 * Starts a helper of this database; called by the ingest worker.
 * extra (BGW_EXTRALEN bytes) is the helper's MyBgworkerEntry->bgw_extra; the
 * caller is notified (latch) when it starts and ends.  False: no process slot
 * is free at the moment, try again later.
 */
extern bool fe_start_helper(Oid dboid, const char *role, const char *function,
							const char *extra, BackgroundWorkerHandle **handle);
/* Ingest worker, at its start: those of the one before shall be gone. */
extern void fe_worker_end_helpers(void);
/* Counts a failure and sets the back-off; the caller holds the mutex. */
extern void fe_worker_record_failure(FeWorkerSlot *slot, const char *message,
									 TimestampTz now);
/* Fills in what our dynamic workers have in common. */
extern void fe_worker_describe(BackgroundWorker *bgw, Oid dboid,
							   const char *role, const char *function);

extern void fe_launcher_register(void); /* from fe_runtime_init */
extern void fe_park_init(void);			/* from fe_runtime_init */
extern void fe_shared_init(void);		/* from fe_runtime_init */

/*
 * Tests: the process is killed when feature_engine.inject_crash names this point.
 * Alone where an error must not be raised.
 */
extern void fe_inject_crash_here(const char *name);

static inline void
fe_inject_crash(const char *name)
{
	if (unlikely(fe_setting_inject_crash[0] != '\0'))
		fe_inject_crash_here(name);
}

/*
 * Tests: the same, or raises an ERROR when feature_engine.inject_error names this
 * point.  fe_worker_wait is the point named like the worker's role.
 */
extern void fe_inject_point_raise(const char *name);

static inline void
fe_inject_point(const char *name)
{
	fe_inject_crash(name);
	if (unlikely(fe_setting_inject_error[0] != '\0'))
		fe_inject_point_raise(name);
}

/*
 * Tests: a worker stays here while feature_engine.inject_wait, a list with commas,
 * names this point; pg_stat_activity.query says "held at ..." meanwhile.
 */
extern void fe_inject_wait_here(const char *name);

static inline void
fe_inject_wait(const char *name)
{
	if (unlikely(fe_setting_inject_wait[0] != '\0'))
		fe_inject_wait_here(name);
}

#endif							/* FE_RUNTIME_H */
