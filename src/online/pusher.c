/*
 * pusher.c
 *		The pusher worker: keeps Redis equal to SQL, and writes the history.  One
 *		process a database.
 *
 * A loop of short, bounded steps: take entities off the dirty lists, evaluate
 * them, append commands, send and receive what is possible, digest replies;
 * then those that are due because time has passed; then a few keys of the
 * search for stale ones.  Fresh changes always come first.  It waits only at
 * the end of a round, and never with a transaction or a lock.
 *
 * An evaluated vector has two sinks: Redis, and the history of a view with offline
 * => true (record.c), which is committed before anything of it is sent.
 *
 * Redis away: of views without a history nothing is taken off the dirty lists, which
 * live with the entities and so are bounded; of views with one the history goes on,
 * and Redis is owed what it has not got (owed.c).  The connection is tried again after
 * 0.1 to 5 seconds.  A history that cannot be written to pauses: Redis goes on, and
 * afterwards everything is compared with what the history has.  While the log is being
 * caught up with, what goes to histories alone takes a third of a processor at most:
 * capture and ingest need two.
 *
 * A server with another run id than the one that was filled, and the
 * first connection of this process, mean a refill: everything is marked dirty,
 * and keys of no entity are looked for.
 *
 * State of the connection, errors and counts stand in FeDatabase.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "online/pusher.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define RECONNECT_FIRST	100		/* ms */
#define RECONNECT_MAX	5000
#define LOOK_AROUND		1000	/* ms, the longest sleep: should a wake-up be missed */
#define BACKLOG			(4 * 1024 * 1024)	/* bytes of the log: it is being caught up with */
#define REST			2		/* ... then work on histories rests so many times as long */
#define REST_MAX		200		/* ms */

/* ---- connection ----------------------------------------------------------------- */

static void
show_connected(FePusher *p, bool connected)
{
	SpinLockAcquire(&p->db->mutex);
	p->db->redis_connected = connected;
	SpinLockRelease(&p->db->mutex);
}

/* The connection failed, or could not be made: try again later. */
static void
connection_lost(FePusher *p)
{
	fe_flight_crash(p);
	fe_ticket_failed(p, FE_SINK_REDIS);
	show_connected(p, false);
	fe_push_note_error(p, p->redis->error);
	pg_atomic_fetch_add_u64(&p->db->push_failures, 1);
	p->reconnect_delay = Min(RECONNECT_MAX, Max(RECONNECT_FIRST, p->reconnect_delay * 2));
	p->reconnect_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), p->reconnect_delay);
	if (!p->outage)
		ereport(LOG,
				(errmsg("pushing features to Redis is interrupted: %s", p->redis->error)));
	p->outage = true;
}

/* A new setting: the old server is left alone from now on. */
static void
follow_setting(FePusher *p)
{
	const char *error;

	if (p->url_text != NULL && strcmp(p->url_text, fe_setting_redis_url) == 0)
		return;
	fe_flight_crash(p);
	show_connected(p, false);
	if (p->url_text)
		pfree(p->url_text);
	p->url_text = MemoryContextStrdup(p->cxt, fe_setting_redis_url);
	p->run_id[0] = '\0';
	p->reconnect_delay = 0;
	p->reconnect_at = 0;
	p->views_loaded = false;	/* there may be footprints to note */
	if (p->url_text[0] == '\0')
	{
		p->reconnect_at = DT_NOEND;
		return;
	}
	if (!fe_redis_url_parse(p->url_text, &p->url, &error))
	{
		char		message[FE_ERROR_LEN];

		snprintf(message, sizeof(message), "feature_engine.redis_url: %s", error);
		fe_push_note_error(p, message);
		ereport(LOG,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"%s\"", "feature_engine.redis_url"),
				 errdetail("%s.", error)));
		p->reconnect_at = DT_NOEND; /* until it is changed */
	}
}

/* True: there is a connection.  While one is being made histories go on (work_meanwhile). */
static bool
ensure_connected(FePusher *p)
{
	bool		made;
	bool		fill;

	if (fe_redis_connected(p->redis))
		return true;
	if (GetCurrentTimestamp() < p->reconnect_at)
		return false;
	p->connecting = true;
	made = fe_redis_connect(p->redis, &p->url);
	p->connecting = false;
	if (!made)
	{
		connection_lost(p);
		return false;
	}
	fill = p->redis->run_id[0] == '\0' || strcmp(p->redis->run_id, p->run_id) != 0;
	if (fill)
		fe_fill_all(p);
	fe_sentinel_begin(p, fill);
	strlcpy(p->run_id, p->redis->run_id, sizeof(p->run_id));
	show_connected(p, true);
	if (p->outage)
		ereport(LOG, (errmsg("pushing features to Redis goes on")));
	p->outage = false;
	return true;
}

/* Sends, receives, digests. */
static bool
exchange(FePusher *p)
{
	if (fe_redis_connected(p->redis) && fe_redis_pump(p->redis) && fe_flight_collect(p))
		return true;
	connection_lost(p);
	return false;
}

/* ---- one round ------------------------------------------------------------------- */

static int
push_interval(const FePushView *view)
{
	int			ms = view->plan->options.push_interval;

	return ms < 0 ? fe_setting_push_interval : ms;
}

/*
 * Where may this view's entities go now?  Redis that is slow is waited for; where it
 * is away they go to the history alone, and Redis is owed them.
 */
static bool
choose_sinks(FePusher *p, FePushView *view, TimestampTz now)
{
	view->to_redis = view->live && view->online && fe_redis_connected(p->redis) &&
		now >= view->retry_at;
	view->to_history = view->live && fe_record_ready(view, now);
	if (view->to_redis && !fe_flight_has_room(p))
		return view->to_redis = view->to_history = false;
	if (!view->to_redis && p->resting)
		view->to_history = false;
	return view->to_redis || view->to_history;
}

/* Nobody waits, and ingest has much to do. */
static bool
should_rest(FePusher *p)
{
	return !fe_ticket_waiting(p) &&
		pg_atomic_read_u64(&p->db->applied_lsn) + BACKLOG < GetFlushRecPtr(NULL);
}

/* Work for histories alone was done since then. */
static void
rest(FePusher *p, TimestampTz since)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		pause = Min(REST * Max(now - since, 0), REST_MAX * INT64CONST(1000));

	p->rest_until = Max(p->rest_until, now) + pause;
}

/* Everything has been pushed and confirmed. */
static void
end_fill(FePusher *p, FePushView *view)
{
	if (view->filling && view->renew_all && view->retries == 0)
	{
		fe_push_ttl_holds(p, view);
		view->renew_all = false;
	}
	view->filling = false;
}

/* Entities are about to be taken, and not all sinks get them. */
static void
push_slice(FePusher *p, FePushView *view, const FeEntityRef *refs, int n, FePushReason reason)
{
	TimestampTz now = GetCurrentTimestamp();

	if (view->recorder && !view->to_history)
		view->behind = true;
	fe_push_refs(p, view, refs, n, reason);
	if (!view->to_redis && should_rest(p))
		rest(p, now);
}

/* Pushes a slice of what has changed.  True: there is more. */
static bool
push_dirty(FePusher *p, FePushView *view, TimestampTz now)
{
	FeEntityRef refs[FE_PUSH_SLICE];
	int			n;

	if (view->to_redis)
		fe_owed_return(view);
	if (view->to_history && view->behind)
		fe_push_begin_record(view);
	if (view->to_redis && view->wants_fill)
		fe_push_begin_fill(p, view);
	if (view->to_history)
		fe_push_begin_record(view);
	if (now < view->next_push && !fe_ticket_waiting(p))
		return false;
	n = fe_state_take_dirty(view->shared, view->plan, refs, FE_PUSH_SLICE);
	if (n == 0)
	{
		view->drained[FE_SINK_REDIS] |= view->to_redis;
		view->drained[FE_SINK_HISTORY] |= view->to_history;
		if (view->to_history)
			fe_record_drained(view);
		if (view->to_redis && view->inflight == 0)
			end_fill(p, view);
		return false;
	}
	push_slice(p, view, refs, n, FE_PUSH_DIRTY);
	if (n == FE_PUSH_SLICE)
		return true;
	/* the list is empty: let changes gather, unless somebody waits for it */
	view->next_push = TimestampTzPlusMilliseconds(now, push_interval(view));
	return false;
}

static bool
push_due(FePusher *p, FePushView *view, int max)
{
	FeEntityRef refs[FE_PUSH_SLICE];
	FeTime		now = fe_clock_now();
	int			n = 0;

	while (n < max && fe_schedule_pop(view->schedule, now, &refs[n]))
		n++;
	if (n > 0)
		push_slice(p, view, refs, n, FE_PUSH_DUE);
	return n == max;
}

/* What comes after all that is fresh.  True: there is more at once. */
static bool
work_in_the_background(FePusher *p, FePushView *view, bool others_first, TimestampTz now)
{
	bool		more = false;
	bool		scan = fe_redis_connected(p->redis) &&
	(view->retired ? now >= view->retry_at : !others_first);

	if (choose_sinks(p, view, now) && view->to_history)
		more |= fe_record_step(p, view, now);
	/* retired views first: current ones find what is left of their keys */
	if (scan && (view->retired || view->to_redis))
		more |= fe_scan_step(p, view);
	if (view->retired && view->scan == NULL && view->inflight == 0)
	{
		if (view->cleaned && view->footprint != 0)
			fe_push_forget_footprint(p, view);
		fe_push_free_view(view);
		more = true;			/* it is others' turn now */
	}
	return more;
}

/* Work on every view, fresh changes first.  True: there is more at once. */
static bool
work_on_views(FePusher *p, TimestampTz now)
{
	bool		more = false;
	bool		retired = false;
	dlist_mutable_iter it;

	p->resting = now < p->rest_until;
	dlist_foreach_modify(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);

		if (choose_sinks(p, view, now))
			more |= push_dirty(p, view, now);
	}
	dlist_foreach_modify(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);

		if (choose_sinks(p, view, now))
			more |= push_due(p, view, more ? FE_DUE_SLICE : FE_PUSH_SLICE);
		retired |= view->retired && view->scan != NULL;
	}
	dlist_foreach_modify(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);

		more |= work_in_the_background(p, view, retired, now);
	}
	return more;
}

/* When a view has to be looked at without any event: *wake on the wall clock, *due on ours. */
static void
wake_for_view(FePusher *p, const FePushView *view, TimestampTz now, TimestampTz *wake,
			  FeTime *due)
{
	bool		connected = fe_redis_connected(p->redis);
	bool		room = !connected || fe_flight_has_room(p);
	bool		redis = connected && room && (view->live ? view->online : view->scan != NULL);
	bool		history = view->live && view->recorder != NULL && (room || !view->online);

	if (redis && view->retry_at > now)
	{
		*wake = Min(*wake, view->retry_at);
		redis = false;
	}
	if (history && !fe_record_ready(view, now))
	{
		*wake = Min(*wake, fe_record_retry_at(view));
		history = false;
	}
	if (history && !redis && p->rest_until > now)
	{
		*wake = Min(*wake, p->rest_until);
		history = false;
	}
	if (!redis && !history)
		return;
	if (view->next_push > now)
		*wake = Min(*wake, view->next_push);
	if (view->live)
		*due = Min(*due, fe_schedule_next(view->schedule));
	if (history)
		*due = Min(*due, fe_record_due(view));
}

/* Milliseconds until something has to be done without any event. */
static long
time_to_wait(FePusher *p)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz wake = TimestampTzPlusMilliseconds(now, LOOK_AROUND);
	FeTime		due = FE_NEVER;
	dlist_iter	it;

	if (!fe_redis_connected(p->redis))
		wake = p->connecting ? wake : Min(wake, p->reconnect_at);
	else
	{
		if (p->redis->owed > 0)
			wake = Min(wake, TimestampTzPlusMilliseconds(p->redis->last_received,
														 FE_REDIS_REPLY_TIMEOUT));
		if (fe_flight_has_room(p) && !p->sentinel.asked)
			wake = Min(wake, p->sentinel.next);
	}
	dlist_foreach(it, &p->views)
		wake_for_view(p, dlist_container(FePushView, node, it.cur), now, &wake, &due);
	/* dates are on the engine's clock, which tests may stop or turn */
	if (due != FE_NEVER)
		wake = Min(wake, now + Min(Max(due - fe_clock_now(), 0), LOOK_AROUND * 1000));
	return TimestampDifferenceMilliseconds(now, wake);
}

/* A wait for a connection that is being made: the histories do not wait for it. */
static int
work_meanwhile(void *arg, long timeout, pgsocket sock, int events)
{
	FePusher   *p = arg;
	MemoryContext old = MemoryContextSwitchTo(p->cxt);
	long		mine;

	fe_push_find_slots(p);
	mine = work_on_views(p, GetCurrentTimestamp()) ? 0 : -1;
	fe_ticket_step(p);
	if (mine < 0)
		mine = time_to_wait(p);
	MemoryContextSwitchTo(old);
	return fe_worker_wait(timeout < 0 ? mine : Min(timeout, mine), sock, events);
}

/*
 * Has any view a history, does any go to Redis, or are keys of former views to be
 * removed?  What stands in no footprint (the extension was dropped) is removed if it
 * can be.
 */
static bool
has_work(FePusher *p)
{
	bool		redis = p->url_text[0] != '\0';
	dlist_iter	it;

	if (p->views_pending)
		return true;
	dlist_foreach(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);

		if (view->retired ? redis && view->footprint != 0 :
			view->recorder != NULL || (redis && view->online))
			return true;
	}
	return !dlist_is_empty(&p->views) && fe_redis_connected(p->redis);
}

/* Follows settings and the catalogue. */
static void
look_around(FePusher *p)
{
	fe_worker_reloaded = false;
	follow_setting(p);
	if (!p->views_loaded || pg_atomic_read_u64(&p->db->catalog_loads) != p->catalog_loads ||
		(p->views_pending && GetCurrentTimestamp() >= p->views_retry))
		fe_push_load_views(p);
	if (!has_work(p))
	{
		fe_sentinel_remove(p);
		proc_exit(0);
	}
	fe_push_find_slots(p);
}

static void
one_round(FePusher *p)
{
	bool		connected;
	bool		more;
	uint64		finished;

	fe_inject_wait("pusher");
	look_around(p);
	connected = ensure_connected(p);
	finished = p->finished;
	if (connected)				/* set before what it stands for is pushed */
		fe_sentinel_step(p, GetCurrentTimestamp());
	more = work_on_views(p, GetCurrentTimestamp());
	/* replies make room, and may bring keys to look at */
	if (connected)
		more |= exchange(p) && p->finished != finished;
	fe_ticket_step(p);
	if (fe_redis_connected(p->redis))
		fe_worker_wait(more && fe_flight_has_room(p) ? 0 : time_to_wait(p),
					   p->redis->sock, fe_redis_events(p->redis));
	else
		fe_worker_wait(more ? 0 : time_to_wait(p), PGINVALID_SOCKET, 0);
}

/* ---- the process ------------------------------------------------------------------- */

static FePusher *
create_pusher(FeDatabase *db)
{
	MemoryContext cxt = AllocSetContextCreate(TopMemoryContext, "feature_engine pusher",
											  ALLOCSET_DEFAULT_SIZES);
	FePusher   *p = MemoryContextAllocZero(cxt, sizeof(FePusher));

	p->db = db;
	p->cxt = cxt;
	p->slice_cxt = AllocSetContextCreate(cxt, "feature_engine push slice",
										 ALLOCSET_DEFAULT_SIZES);
	p->redis = fe_redis_create(cxt);
	p->redis->wait = work_meanwhile;
	p->redis->wait_arg = p;
	p->units = MemoryContextAlloc(cxt, FE_MAX_UNITS * sizeof(FeUnit));
	dlist_init(&p->views);
	return p;
}

static void
pusher_exit(int code, Datum arg)
{
	FePusher   *p = (FePusher *) DatumGetPointer(arg);

	show_connected(p, false);
}

void
fe_pusher_worker_main(Datum dboid)
{
	FeDatabase *db = fe_worker_start(DatumGetObjectId(dboid), FE_ROLE_PUSHER);
	FePusher   *p = create_pusher(db);

	before_shmem_exit(pusher_exit, PointerGetDatum(p));
	fe_encode_settings();
	/* a footprint is on disk before the first push; no standby is waited for */
	SetConfigOption("synchronous_commit", "local", PGC_SUSET, PGC_S_OVERRIDE);
	fe_worker_set_state(FE_WORKER_RUNNING);
	MemoryContextSwitchTo(p->cxt);
	for (;;)
	{
		one_round(p);
		MemoryContextSwitchTo(p->cxt);
	}
}
