/*
 * tickets.c
 *		Waiting until Redis, or the history, has everything, and SQL's side of the pusher.
 *
 * A ticket is a number that any process draws from a counter in shared memory
 * (atomics only, no locks).  The pusher works in *cycles*: one begins by
 * reading the counter, has drained when every live view's dirty list was seen
 * empty since, and is over when all commands sent until then are confirmed.
 * Then every ticket drawn before it began is done.  A failure in between
 * begins the cycle anew.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "online/pusher.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"

/* One a database slot; numbers only grow, also when a slot changes hands. */
typedef struct FeTickets
{
	pg_atomic_uint64 drawn[FE_SINKS];
	pg_atomic_uint64 done[FE_SINKS];
} FeTickets;

static FeTickets *all_tickets;	/* as FeShared.databases */

PG_FUNCTION_INFO_V1(fe_push_now);

static Size
tickets_size(void)
{
	return mul_size(fe_setting_max_databases, sizeof(FeTickets));
}

static void
tickets_init(void *area, bool found)
{
	all_tickets = area;
	for (int i = 0; i < fe_setting_max_databases && !found; i++)
		for (int sink = 0; sink < FE_SINKS; sink++)
		{
			pg_atomic_init_u64(&all_tickets[i].drawn[sink], 0);
			pg_atomic_init_u64(&all_tickets[i].done[sink], 0);
		}
}

static const FeShmemRoom online_room = {
	.name = "feature_engine online",
	.size = tickets_size,
	.init = tickets_init,
};

void
fe_online_init(void)
{
	fe_shmem_register(&online_room);
	fe_overlap_init();
	fe_secret_init();
}

static FeTickets *
tickets_of(const FeDatabase *db)
{
	return &all_tickets[db - fe_shared->databases];
}

void
fe_online_wake(FeDatabase *db)
{
	Latch	   *latch;

	SpinLockAcquire(&db->mutex);
	latch = db->pusher_latch;
	SpinLockRelease(&db->mutex);
	if (latch)
		SetLatch(latch);
}

/* ---- drawing and asking ------------------------------------------------------ */

static void
require_redis(void)
{
	if (fe_setting_redis_url == NULL || fe_setting_redis_url[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("features are not pushed to Redis"),
				 errhint("Set \"feature_engine.redis_url\" and reload the configuration.")));
}

/* Does any live view of the database go there? */
static bool
any_live(Oid dboid, FeSink sink)
{
	for (int i = 0; i < fe_view_count(); i++)
	{
		FeViewShared *view = fe_view_slot(i);

		if (view->dboid == dboid && view->viewid >= 0 &&
			(sink == FE_SINK_REDIS ? view->online : view->offline) &&
			pg_atomic_read_u32(&view->state) == FE_VIEW_LIVE)
			return true;
	}
	return false;
}

uint64
fe_online_ticket(FeDatabase *db, FeSink sink)
{
	uint64		ticket;

	if (sink == FE_SINK_REDIS)
		require_redis();
	if (!any_live(db->dboid, sink))
		return 0;
	ticket = pg_atomic_add_fetch_u64(&tickets_of(db)->drawn[sink], 1);
	fe_online_wake(db);
	return ticket;
}

bool
fe_online_done(FeDatabase *db, FeSink sink, uint64 ticket)
{
	return pg_atomic_read_u64(&tickets_of(db)->done[sink]) >= ticket;
}

/*
 * push_now(view text) returns void: everything of the view is pushed again,
 * whatever Redis holds, and keys of no entity are removed.  Returns at once.
 */
Datum
fe_push_now(PG_FUNCTION_ARGS)
{
	FePlan	   *plan;
	FeDatabase *db;
	FeViewShared *view;

	fe_require_preloaded();
	fe_require_primary("push_now");
	plan = fe_plan_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	if (!has_privs_of_role(GetUserId(), plan->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of feature view %s", plan->name)));
	require_redis();
	if (!plan->options.online_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature view \"%s\" does not go to Redis", plan->name),
				 errhint("Choose features with alter_feature_view(..., online => ...).")));
	db = fe_my_database();
	view = fe_view_find(MyDatabaseId, plan->viewid);
	if (db != NULL && view != NULL)
	{
		pg_atomic_write_u32(&view->resync, 1);
		fe_online_wake(db);
	}
	PG_RETURN_VOID();
}

/* ---- the pusher's side --------------------------------------------------------- */

static bool
is_drained(const FePushView *view, FeSink sink)
{
	if (!view->live)
		return true;
	if (sink == FE_SINK_HISTORY)
		return view->recorder == NULL || (view->drained[sink] && fe_record_settled(view));
	return !view->online || (view->drained[sink] && !view->wants_fill && view->retries == 0 &&
							 !fe_owed_any(view));
}

static bool
all_drained(FePusher *p, FeSink sink)
{
	dlist_iter	it;

	dlist_foreach(it, &p->views)
		if (!is_drained(dlist_container(FePushView, node, it.cur), sink))
			return false;
	return true;
}

void
fe_ticket_failed(FePusher *p, FeSink sink)
{
	dlist_iter	it;

	if (sink == FE_SINK_REDIS)
		p->cycle_drained = false;
	dlist_foreach(it, &p->views)
		dlist_container(FePushView, node, it.cur)->drained[sink] = false;
}

static bool
is_awaited(const FePusher *p, FeSink sink)
{
	return p->cycle_ticket[sink] > pg_atomic_read_u64(&tickets_of(p->db)->done[sink]);
}

bool
fe_ticket_waiting(const FePusher *p)
{
	return is_awaited(p, FE_SINK_REDIS) || is_awaited(p, FE_SINK_HISTORY);
}

/* Is everything there that was to be when the cycle began? */
static bool
is_complete(FePusher *p, FeSink sink)
{
	if (sink == FE_SINK_HISTORY)
		return all_drained(p, sink);	/* what was taken off the list is committed */
	if (!fe_redis_connected(p->redis))
		return false;
	if (!p->cycle_drained && all_drained(p, sink))
	{
		p->cycle_drained = true;
		p->cycle_end = p->queued;
	}
	return p->cycle_drained && p->finished >= p->cycle_end;
}

static void
step(FePusher *p, FeSink sink)
{
	FeTickets  *tickets = tickets_of(p->db);

	if (!is_awaited(p, sink))
	{
		uint64		drawn = pg_atomic_read_u64(&tickets->drawn[sink]);

		if (drawn <= p->cycle_ticket[sink])
			return;				/* nobody waits */
		p->cycle_ticket[sink] = drawn;
		pg_memory_barrier();
		fe_ticket_failed(p, sink);	/* a new cycle: nothing is drained yet */
		SetLatch(MyLatch);
		return;
	}
	if (!p->views_loaded || p->views_pending)
		return;
	if (is_complete(p, sink))
	{
		pg_atomic_write_u64(&tickets->done[sink], p->cycle_ticket[sink]);
		ConditionVariableBroadcast(&p->db->progress);
		SetLatch(MyLatch);		/* others may have drawn meanwhile */
	}
}

/* Called once a round of the main loop, after the dirty lists were looked at. */
void
fe_ticket_step(FePusher *p)
{
	step(p, FE_SINK_REDIS);
	step(p, FE_SINK_HISTORY);
}
