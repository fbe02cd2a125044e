/*
 * flight.c
 *		What is on its way to Redis: a ring of commands without a reply yet.
 *		Runs in the pusher; takes no locks itself (state's functions do).
 *
 * Values are absolute, so whatever was under way when a connection broke is
 * simply pushed again.  Errors that Redis answers are of three sorts: of one
 * key (it holds something else: tried again in a while), of one view's keys
 * (no permission: the view pauses), of the server (full, read-only, loading,
 * scripts lost: the connection is closed and made anew, with a back-off).
 */
#include "postgres.h"

#include "online/pusher.h"
#include "utils/timestamp.h"

#define REFUSED_RETRY	(10 * FE_USEC_PER_SEC)
#define PAUSE_FIRST		100		/* ms */
#define PAUSE_MAX		5000

/* Room for a whole slice? */
bool
fe_flight_has_room(const FePusher *p)
{
	return p->queued - p->finished <= FE_MAX_UNITS - FE_PUSH_SLICE &&
		fe_redis_unsent(p->redis) < FE_MAX_UNSENT;
}

void
fe_flight_add(FePusher *p, FeUnitKind kind, int replies, FePushView *view,
			  const FeEntityRef *ref, bool taken)
{
	FeUnit	   *unit = &p->units[p->queued % FE_MAX_UNITS];

	Assert(p->queued - p->finished < FE_MAX_UNITS);
	unit->view = view;
	unit->kind = kind;
	unit->replies = replies;
	unit->outcome = FE_OUTCOME_OK;
	unit->taken = taken;
	unit->ref = ref != NULL ? *ref : (FeEntityRef) {0};
	if (view != NULL)
		view->inflight++;
	p->queued++;
	fe_redis_sent(p->redis, replies);
}

void
fe_push_note_error(FePusher *p, const char *message)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&p->db->mutex);
	strlcpy(p->db->redis_error, message, FE_ERROR_LEN);
	p->db->redis_error_at = now;
	SpinLockRelease(&p->db->mutex);
}

void
fe_push_schedule_again(FePushView *view, FeEntityRef ref, FeTime due, bool as_change)
{
	FeScheduleEntry *e = fe_schedule_get(view->schedule, ref, true);

	fe_shown_forget(view, ref);
	e->content = FE_CONTENT_UNKNOWN;
	if (as_change && !e->retry)
	{
		e->retry = true;
		view->retries++;
	}
	fe_schedule_at(view->schedule, e, due);
}

/* What the unit stood for is to be done again. */
static void
requeue(FePusher *p, const FeUnit *unit)
{
	FePushView *view = unit->view;

	switch (unit->kind)
	{
		case FE_UNIT_MARK:
		case FE_UNIT_CHECK:
			break;
		case FE_UNIT_SCAN:
		case FE_UNIT_STALE:
			fe_scan_restart(view, unit->kind == FE_UNIT_SCAN);
			break;
		default:
			/* a view that is not live any more will be filled when it is */
			if (view->retired || view->shared == NULL)
				break;
			fe_shown_forget(view, unit->ref);
			if (unit->taken)
				fe_state_put_dirty(view->shared, view->plan, unit->ref);
			else
				fe_push_schedule_again(view, unit->ref, fe_clock_now(),
							   unit->kind == FE_UNIT_CHANGE);
	}
	fe_ticket_failed(p, FE_SINK_REDIS);
}

/* Redis holds something else under this entity's key. */
static void
refuse(FePusher *p, const FeUnit *unit)
{
	FePushView *view = unit->view;

	pg_atomic_fetch_add_u64(&p->db->push_failures, 1);
	if (unit->kind == FE_UNIT_STALE || view->retired || view->shared == NULL)
		return;
	fe_ticket_failed(p, FE_SINK_REDIS);
	fe_state_set_pushed(view->shared, view->plan, unit->ref, unit->kind != FE_UNIT_GONE);
	if (unit->kind != FE_UNIT_GONE)
		fe_push_schedule_again(view, unit->ref, fe_clock_now() + REFUSED_RETRY, true);
}

static void
pause_view(FePusher *p, const FeUnit *unit)
{
	FePushView *view = unit->view;
	TimestampTz now = GetCurrentTimestamp();

	if (unit->kind == FE_UNIT_SCAN && !view->retired)
	{
		fe_scan_end(view);		/* may not look: stale keys stay */
		return;
	}
	requeue(p, unit);
	if (now < view->retry_at)
		return;					/* one of the same batch */
	pg_atomic_fetch_add_u64(&p->db->push_failures, 1);
	view->retry_delay = Min(PAUSE_MAX, Max(PAUSE_FIRST, view->retry_delay * 2));
	view->retry_at = TimestampTzPlusMilliseconds(now, view->retry_delay);
}

/* Is something newer about the same entity on its way? */
static bool
is_superseded(const FePusher *p, const FeUnit *unit)
{
	for (uint64 i = p->finished + 1; i < p->queued; i++)
	{
		const FeUnit *other = &p->units[i % FE_MAX_UNITS];

		if (other->ref.ref == unit->ref.ref && other->view == unit->view)
			return true;
	}
	return false;
}

static void
confirm(FePusher *p, const FeUnit *unit)
{
	FePushView *view = unit->view;

	view->retry_delay = 0;
	p->reconnect_delay = 0;
	fe_worker_made_progress();
	if (unit->kind == FE_UNIT_STALE)
		return;
	pg_atomic_fetch_add_u64(&p->db->pushes, 1);
	if (view->retired || view->shared == NULL)
		return;
	/* an entity that came back and went again must not be freed too early */
	if (unit->kind == FE_UNIT_GONE && is_superseded(p, unit))
		return;
	fe_state_set_pushed(view->shared, view->plan, unit->ref, unit->kind != FE_UNIT_GONE);
}

static FeOutcome
classify(const char *error)
{
	/* before Redis 7 a script's errors come wrapped in text of its own */
	if (strstr(error, "WRONGTYPE") != NULL)
		return FE_OUTCOME_REFUSED;
	if (strncmp(error, "NOPERM", 6) == 0)
		return FE_OUTCOME_PAUSE;
	return FE_OUTCOME_BROKEN;
}

/* The error in a reply, that of EXEC's commands included; NULL = none. */
static const char *
error_in(const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_ERROR)
		return reply->str;
	if (reply->type == REDIS_REPLY_ARRAY)
		for (size_t i = 0; i < reply->elements; i++)
			if (reply->element[i]->type == REDIS_REPLY_ERROR)
				return reply->element[i]->str;
	return NULL;
}

/* Redis's message without what it may quote of our arguments. */
static void
note_reply(FePusher *p, const FeUnit *unit, const char *error)
{
	char		message[FE_ERROR_LEN];
	char	   *quoted;

	if (unit->view != NULL)
		snprintf(message, sizeof(message), "feature view \"%s\": Redis: %s",
				 unit->view->name, error);
	else
		snprintf(message, sizeof(message), "Redis: %s", error);
	if ((quoted = strstr(message, ", with args")) != NULL)
		*quoted = '\0';
	fe_push_note_error(p, message);
	strlcpy(p->redis->error, message, sizeof(p->redis->error));
}

static bool
is_sentinel(const FeUnit *unit)
{
	return unit->kind == FE_UNIT_MARK || unit->kind == FE_UNIT_CHECK;
}

static void
settle(FePusher *p, const FeUnit *unit, FeOutcome outcome)
{
	switch (outcome)
	{
		case FE_OUTCOME_OK:
			if (unit->view != NULL && unit->kind != FE_UNIT_SCAN)
				confirm(p, unit);
			break;
		case FE_OUTCOME_REFUSED:
			if (unit->view != NULL)
				refuse(p, unit);
			break;
		case FE_OUTCOME_PAUSE:
			if (unit->view != NULL)
				pause_view(p, unit);
			break;
		case FE_OUTCOME_BROKEN:
			requeue(p, unit);
			break;
	}
	if (unit->view != NULL)
		unit->view->inflight--;
	p->finished++;
}

bool
fe_flight_collect(FePusher *p)
{
	redisReply *reply;

	while ((reply = fe_redis_reply(p->redis)) != NULL)
	{
		FeUnit	   *unit = &p->units[p->finished % FE_MAX_UNITS];
		const char *error = error_in(reply);

		Assert(p->finished < p->queued);
		/* the first error counts: what follows (EXECABORT) comes of it */
		if (error != NULL && unit->outcome == FE_OUTCOME_OK)
		{
			unit->outcome = classify(error);
			if (!is_sentinel(unit) || unit->outcome == FE_OUTCOME_BROKEN)
				note_reply(p, unit, error);
		}
		if (is_sentinel(unit) && fe_sentinel_reply(p, unit->kind, reply, error))
		{
			fe_fill_all(p);
			fe_ticket_failed(p, FE_SINK_REDIS);
		}
		if (error == NULL && unit->kind == FE_UNIT_SCAN)
			fe_scan_reply(unit->view, reply);
		else
			freeReplyObject(reply);
		if (--unit->replies > 0 && unit->outcome != FE_OUTCOME_BROKEN)
			continue;
		settle(p, unit, unit->outcome);
		if (unit->outcome == FE_OUTCOME_BROKEN)
			return false;
		fe_inject_point("pushed");
		fe_inject_wait("pushed");
	}
	Assert(!fe_redis_connected(p->redis) || p->redis->owed > 0 || p->finished == p->queued);
	return fe_redis_connected(p->redis);
}

void
fe_flight_crash(FePusher *p)
{
	while (p->finished < p->queued)
		settle(p, &p->units[p->finished % FE_MAX_UNITS], FE_OUTCOME_BROKEN);
	fe_redis_close(p->redis);
}
