/*
 * wakeup.c
 *		Who wakes whom: commits wake the capture worker, requests the launcher.
 *
 * What a commit sets off runs in every backend, where an error would be a PANIC
 * (the transaction cannot be aborted any more).  It therefore allocates
 * nothing, takes no LWLock, reports nothing, and works on atomics, latches and,
 * only where a request is pending, a short spinlock.  It may find a slot that
 * is being given back; all it does to it is harmless: an LSN that is valid for
 * the whole server, and a wake-up.  Latches are those of PGPROC entries, which
 * never go away.
 *
 * It runs in two steps.  The transaction callback notes the commit; the release
 * of the transaction's last resources acts on it.  Only in between are cache
 * invalidations sent and locks released: a worker that was woken by the
 * callback itself would look at the catalogue, find nothing new in its caches,
 * and sleep on.
 *
 * XactLastCommitEnd is set by RecordTransactionCommit, before the callback,
 * whenever the transaction wrote WAL; also by the session's own transaction
 * around COMMIT PREPARED.  At synchronous_commit = off the WAL may not be
 * flushed yet: the worker calls XLogFlush up to announced_lsn.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "runtime/runtime.h"
#include "utils/resowner.h"

static XLogRecPtr session_last_commit = InvalidXLogRecPtr;

/* To be done once the current transaction has committed. */
static bool request_pending = false;
static bool scan_pending = false;

/* The transaction has committed; its resources are being released. */
static bool commit_noted = false;

/* The slot found without the lock; see above. */
static FeDatabase *commit_database = NULL;
static uint32 commit_layout = 0;
static bool commit_database_known = false;

XLogRecPtr
fe_session_last_commit(void)
{
	return session_last_commit;
}

void
fe_wake_launcher(void)
{
	Latch	   *latch = fe_shared ? fe_shared->launcher_latch : NULL;

	if (latch != NULL)
		SetLatch(latch);
}

void
fe_wake_capture(FeDatabase *db)
{
	if (pg_atomic_read_u32(&db->capture_sleeping) != 0 &&
		pg_atomic_exchange_u32(&db->capture_sleeping, 0) != 0)
	{
		Latch	   *latch = db->capture_latch;

		if (latch != NULL)
			SetLatch(latch);
	}
}

/* Lock-free search; the answer is kept while the table does not change. */
static FeDatabase *
find_commit_database(void)
{
	uint32		layout = pg_atomic_read_u32(&fe_shared->layout_changes);

	if (!commit_database_known || layout != commit_layout)
	{
		pg_read_barrier();
		commit_database = fe_find_database(MyDatabaseId);
		commit_layout = layout;
		commit_database_known = true;
	}
	return commit_database;
}

/*
 * Announces WAL up to lsn and wakes the worker if it sleeps.  Its side: set
 * capture_sleeping, barrier, look at announced_lsn again, wait.
 */
static void
announce_commit(FeDatabase *db, XLogRecPtr lsn)
{
	uint64		seen = pg_atomic_read_u64(&db->announced_lsn);

	while (seen < lsn)
	{
		if (pg_atomic_compare_exchange_u64(&db->announced_lsn, &seen, lsn))
			break;
	}
	pg_memory_barrier();
	fe_wake_capture(db);
}

/*
 * The counter moves before "wanted" is set: the launcher, which clears wanted
 * only while the counter stands where it was when the worker started, misses
 * neither.
 */
static void
request_now(FeDatabase *db)
{
	Latch	   *latch;

	pg_atomic_fetch_add_u32(&db->requests, 1);
	SpinLockAcquire(&db->mutex);
	db->wanted = true;
	latch = db->ingest_latch;
	SpinLockRelease(&db->mutex);

	if (latch != NULL)
		SetLatch(latch);
	fe_wake_launcher();
}

void
fe_request_worker(void)
{
	FeDatabase *db = fe_my_database_or_claim();

	/* now, for what is committed already, and again at commit */
	request_now(db);
	if (IsTransactionState())
		request_pending = true;
}

void
fe_request_scan_at_commit(void)
{
	if (fe_shared != NULL)
		scan_pending = true;
}

void
fe_request_pusher(FeDatabase *db)
{
	pg_atomic_write_u32(&db->pusher_wanted, 1);
	fe_wake_launcher();
}

static void
after_commit(void)
{
	if (XactLastCommitEnd != session_last_commit)
	{
		session_last_commit = XactLastCommitEnd;
		if (fe_worker_role == NULL)
		{
			FeDatabase *db = find_commit_database();

			if (db != NULL)
				announce_commit(db, session_last_commit);
		}
	}
	if (unlikely(request_pending))
	{
		FeDatabase *db = find_commit_database();

		request_pending = false;
		if (db != NULL)
			request_now(db);
	}
	if (unlikely(scan_pending))
	{
		scan_pending = false;
		pg_atomic_fetch_add_u32(&fe_shared->scan_requests, 1);
		fe_wake_launcher();
	}
}

static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			commit_noted = true;
			break;
		case XACT_EVENT_PREPARE:

			/*
			 * Whoever commits it may be another session, which knows nothing
			 * of the request; the launcher is asked here, and readers ask
			 * again where the worker came too early.
			 */
		case XACT_EVENT_ABORT:
			commit_noted = false;
			request_pending = false;
			scan_pending = false;
			(void) fe_clock_set_eval_time(PG_INT64_MIN);
			break;
		default:
			break;
	}
}

static void
release_callback(ResourceReleasePhase phase, bool isCommit, bool isTopLevel,
				 void *arg)
{
	if (commit_noted && isTopLevel && phase == RESOURCE_RELEASE_AFTER_LOCKS)
	{
		commit_noted = false;
		if (fe_shared != NULL)
			after_commit();
	}
}

void
fe_wakeup_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterResourceReleaseCallback(release_callback, NULL);
}
