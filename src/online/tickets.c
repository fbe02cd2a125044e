/*
 * tickets.c
 *		Waiting until Redis has everything, and SQL's side of the pusher.
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
	pg_atomic_uint64 drawn;
	pg_atomic_uint64 done;
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
	{
		pg_atomic_init_u64(&all_tickets[i].drawn, 0);
		pg_atomic_init_u64(&all_tickets[i].done, 0);
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

/* Does any live view of the database go to Redis? */
static bool
any_online(Oid dboid)
{
	for (int i = 0; i < fe_view_count(); i++)
	{
		FeViewShared *view = fe_view_slot(i);

		if (view->dboid == dboid && view->online &&
			pg_atomic_read_u32(&view->state) == FE_VIEW_LIVE)
			return true;
	}
	return false;
}

uint64
fe_online_ticket(FeDatabase *db)
{
	uint64		ticket;

	require_redis();
	if (!any_online(db->dboid))
		return 0;
	ticket = pg_atomic_add_fetch_u64(&tickets_of(db)->drawn, 1);
	fe_online_wake(db);
	return ticket;
}

bool
fe_online_done(FeDatabase *db, uint64 ticket)
{
	return pg_atomic_read_u64(&tickets_of(db)->done) >= ticket;
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
all_drained(FePusher *p)
{
	dlist_iter	it;

	dlist_foreach(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);

		if (view->live && (!view->drained || view->wants_fill || view->retries > 0))
			return false;
	}
	return true;
}

void
fe_ticket_failed(FePusher *p)
{
	dlist_iter	it;

	p->cycle_drained = false;
	dlist_foreach(it, &p->views)
		dlist_container(FePushView, node, it.cur)->drained = false;
}

bool
fe_ticket_waiting(const FePusher *p)
{
	return p->cycle_ticket > pg_atomic_read_u64(&tickets_of(p->db)->done);
}

/* Called once a round of the main loop, after the dirty lists were looked at. */
void
fe_ticket_step(FePusher *p)
{
	FeTickets  *tickets = tickets_of(p->db);

	if (!fe_ticket_waiting(p))
	{
		uint64		drawn = pg_atomic_read_u64(&tickets->drawn);

		if (drawn <= p->cycle_ticket)
			return;				/* nobody waits */
		p->cycle_ticket = drawn;
		pg_memory_barrier();
		fe_ticket_failed(p);	/* a new cycle: nothing is drained yet */
		SetLatch(MyLatch);
		return;
	}
	if (!p->views_loaded || p->views_pending)
		return;
	if (!p->cycle_drained && all_drained(p))
	{
		p->cycle_drained = true;
		p->cycle_end = p->queued;
	}
	if (p->cycle_drained && p->finished >= p->cycle_end)
	{
		pg_atomic_write_u64(&tickets->done, p->cycle_ticket);
		ConditionVariableBroadcast(&p->db->progress);
		SetLatch(MyLatch);		/* others may have drawn meanwhile */
	}
}
