/*
 * walguard.c
 *		Keeps our replication slots from filling the primary's disk, and finds
 *		those that nobody owns any more.
 *
 * Part of the launcher process.  Reads the slot array under
 * ReplicationSlotControlLock (shared) and each slot's spinlock.
 *
 * A slot that holds back more WAL than feature_engine.max_wal_lag is given up:
 * its ingest worker is asked to drop it (FeDatabase.give_up_slot).  Where no
 * worker runs, or none reacts within GRACE_MS, whoever holds the slot is ended
 * and the launcher drops it.  Views are rebuilt when the worker is well again.
 *
 * A slot without a wanted database (the extension is gone, or everything was
 * restored from a base backup): its database is probed, and the worker started
 * there drops the slot when it finds no view.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "runtime/launcher.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define GRACE_MS			10000
#define ORPHAN_PROBE_MS		60000
#define REST_AFTER_DROP_MS	5000

/* One of our slots, as of the last look. */
typedef struct GuardedSlot
{
	char		name[NAMEDATALEN];
	Oid			dboid;
	pid_t		active_pid;
	XLogRecPtr	restart_lsn;
} GuardedSlot;

/* A slot that is being given up. */
typedef struct GiveUp
{
	Oid			dboid;
	TimestampTz since;
	bool		overdue;
} GiveUp;

static List *give_ups = NIL;	/* GiveUp * in TopMemoryContext */
static TimestampTz next_orphan_probe = 0;

static bool
is_ours(const ReplicationSlot *slot)
{
	return slot->in_use && SlotIsLogical(slot) &&
		strcmp(NameStr(slot->data.plugin), FE_PLUGIN_NAME) == 0 &&
		strncmp(NameStr(slot->data.name), FE_SLOT_PREFIX, strlen(FE_SLOT_PREFIX)) == 0;
}

/* Copies our slots into an array; returns how many there are. */
static int
look_at_slots(GuardedSlot **result)
{
	GuardedSlot *slots;
	int			n = 0;

	*result = NULL;
	if (max_replication_slots <= 0)
		return 0;
	slots = palloc(max_replication_slots * sizeof(GuardedSlot));
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		if (!is_ours(slot))
			continue;
		SpinLockAcquire(&slot->mutex);
		strlcpy(slots[n].name, NameStr(slot->data.name), NAMEDATALEN);
		slots[n].dboid = slot->data.database;
		slots[n].active_pid = slot->active_pid;
		slots[n].restart_lsn = slot->data.restart_lsn;
		SpinLockRelease(&slot->mutex);
		n++;
	}
	LWLockRelease(ReplicationSlotControlLock);
	*result = slots;
	return n;
}

bool
fe_guard_has_slot(Oid dboid)
{
	GuardedSlot *slots;
	int			n = look_at_slots(&slots);
	bool		found = false;

	for (int i = 0; i < n; i++)
		found |= slots[i].dboid == dboid;
	if (slots)
		pfree(slots);
	return found;
}

/* ---- giving up ------------------------------------------------------------ */

static GiveUp *
find_give_up(Oid dboid)
{
	ListCell   *lc;

	foreach(lc, give_ups)
	{
		GiveUp	   *g = lfirst(lc);

		if (g->dboid == dboid)
			return g;
	}
	return NULL;
}

bool
fe_guard_holds_back(Oid dboid)
{
	GiveUp	   *g = find_give_up(dboid);

	return g != NULL && g->overdue;
}

static void
forget_give_up(GiveUp *g)
{
	FeDatabase *db = fe_find_database(g->dboid);

	if (db != NULL)
		pg_atomic_write_u32(&db->give_up_slot, 0);
	give_ups = list_delete_ptr(give_ups, g);
	pfree(g);
}

static GiveUp *
begin_give_up(const GuardedSlot *slot, XLogRecPtr lag, TimestampTz now)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	GiveUp	   *g = palloc0(sizeof(GiveUp));
	FeDatabase *db = fe_find_database(slot->dboid);

	g->dboid = slot->dboid;
	g->since = now;
	give_ups = lappend(give_ups, g);
	MemoryContextSwitchTo(old);

	ereport(WARNING,
			(errmsg("giving up replication slot \"%s\" of database %u",
					slot->name, slot->dboid),
			 errdetail("It holds back %llu MB of write-ahead log, more than \"%s.max_wal_lag\" (%d MB).",
					   (unsigned long long) (lag / (1024 * 1024)),
					   FE_EXTENSION_NAME, fe_setting_max_wal_lag),
			 errhint("Feature views are rebuilt when their worker is well again; see feature_engine.status.")));

	if (db != NULL)
	{
		Latch	   *latch;

		pg_atomic_write_u32(&db->give_up_slot, 1);
		SpinLockAcquire(&db->mutex);
		latch = db->ingest_latch;
		SpinLockRelease(&db->mutex);
		if (latch != NULL)
			SetLatch(latch);
	}
	return g;
}

/* The slot is gone; the worker may come back after a pause. */
static void
note_dropped(Oid dboid, TimestampTz now)
{
	FeDatabase *db = fe_find_database(dboid);
	TimestampTz start = TimestampTzPlusMilliseconds(now, REST_AFTER_DROP_MS);

	if (db == NULL)
		return;
	SpinLockAcquire(&db->mutex);
	db->ingest.state = FE_WORKER_NO_SLOT;
	db->ingest.next_start = Max(db->ingest.next_start, start);
	SpinLockRelease(&db->mutex);
}

/*
 * One step; true when the launcher has dropped the slot.  If somebody takes
 * the slot between our look and the drop, the error ends the launcher, and the
 * next one tries again.
 */
static bool
give_up_step(GiveUp *g, const GuardedSlot *slot, TimestampTz now)
{
	FeDatabase *db = fe_find_database(slot->dboid);
	bool		has_worker = db != NULL &&
		(db->ingest.pid != 0 || db->ingest.state == FE_WORKER_STARTING);

	if (has_worker && !g->overdue &&
		!TimestampDifferenceExceeds(g->since, now, GRACE_MS))
		return false;

	g->overdue = true;
	if (slot->active_pid != 0)
	{
		(void) kill(slot->active_pid, SIGTERM);
		return false;
	}
	if (has_worker)
	{
		/* it may be about to take the slot: end it first */
		if (db->ingest.pid != 0)
			(void) kill(db->ingest.pid, SIGTERM);
		return false;
	}
	ReplicationSlotDrop(slot->name, true);
	note_dropped(slot->dboid, now);
	return true;
}

/* Ends matters whose slot has gone or has caught up. */
static void
close_give_ups(const GuardedSlot *slots, int n, XLogRecPtr limit, XLogRecPtr now_lsn)
{
	ListCell   *lc;

restart:
	foreach(lc, give_ups)
	{
		GiveUp	   *g = lfirst(lc);
		bool		open = false;

		for (int i = 0; i < n; i++)
			open |= slots[i].dboid == g->dboid && slots[i].restart_lsn != InvalidXLogRecPtr &&
				slots[i].restart_lsn + limit < now_lsn;
		if (!open)
		{
			forget_give_up(g);
			goto restart;
		}
	}
}

/* ---- the look --------------------------------------------------------------- */

static void
probe_orphans(const GuardedSlot *slots, int n, TimestampTz now)
{
	if (now < next_orphan_probe)
		return;
	for (int i = 0; i < n; i++)
	{
		FeDatabase *db = fe_find_database(slots[i].dboid);

		if (slots[i].active_pid == 0 && (db == NULL || !db->wanted))
		{
			fe_launcher_probe(slots[i].dboid, true);
			next_orphan_probe = TimestampTzPlusMilliseconds(now, ORPHAN_PROBE_MS);
		}
	}
}

bool
fe_guard_run(TimestampTz now)
{
	GuardedSlot *slots;
	int			n = look_at_slots(&slots);
	XLogRecPtr	now_lsn = GetXLogInsertRecPtr();
	XLogRecPtr	limit = (XLogRecPtr) fe_setting_max_wal_lag * 1024 * 1024;

	close_give_ups(slots, n, limit, now_lsn);
	for (int i = 0; i < n; i++)
	{
		GiveUp	   *g;

		if (slots[i].restart_lsn == InvalidXLogRecPtr ||
			slots[i].restart_lsn + limit >= now_lsn)
			continue;
		g = find_give_up(slots[i].dboid);
		if (g == NULL)
			g = begin_give_up(&slots[i], now_lsn - slots[i].restart_lsn, now);
		if (give_up_step(g, &slots[i], now))
			forget_give_up(g);
	}
	probe_orphans(slots, n, now);
	if (slots)
		pfree(slots);
	return give_ups != NIL;
}
