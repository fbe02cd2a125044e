/*
 * slice.c
 *		A slice of entities: each is evaluated, and what has to be done about it in
 *		Redis and the history is appended and offered.
 *
 * Runs in the pusher, a slice in one transaction; no lock is held.  When an
 * expression raises an error the transaction is rolled back, its column is marked
 * as isolated, and the entity is done again: from then on that column is
 * evaluated by itself.  When the aggregates themselves fail (an overflow), every
 * column of this one entity is looked up and evaluated by itself.  What the
 * history is offered is written at the end, in a transaction of its own.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "online/pusher.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define BROKEN_RETRY	5000	/* ms, for a view that cannot be evaluated at all */

/* ---- what is to be done --------------------------------------------------- */

void
fe_push_note_schedule(FePushView *view, FeEntityRef ref, uint64 content, FeTime due)
{
	FeScheduleEntry *e = fe_schedule_get(view->schedule, ref, due != FE_NEVER);

	if (e == NULL)
		return;
	if (e->retry)
		view->retries--;
	e->retry = false;
	if (due == FE_NEVER)
	{
		fe_schedule_remove(view->schedule, ref);
		return;
	}
	e->content = content;
	fe_schedule_at(view->schedule, e, due);
}

FeTime
fe_push_next_date(const FePushView *view, const FeEvaluated *ev, FeTime T)
{
	FeTime		due = ev->info.next_change;
	int			refresh = view->plan->options.time_refresh;

	if ((view->uses_time && ev->exists) || view->having_uses_time)
	{
		if (refresh < 0)
			refresh = fe_setting_time_refresh;
		due = Min(due, T + Max(refresh, 1) * FE_USEC_PER_SEC);
	}
	return due;
}

/* Appends what brings Redis up to date.  Nothing in here fails half way. */
static void
push_evaluated(FePusher *p, FePushView *view, FeEntityRef ref, FePushReason reason,
			   FeEvaluated *ev)
{
	FeScheduleEntry *e = fe_schedule_get(view->schedule, ref, false);
	uint64		before = e ? e->content : FE_CONTENT_UNKNOWN;
	bool		retry = e && e->retry;
	bool		dirty = reason == FE_PUSH_DIRTY;
	uint64		content = FE_CONTENT_GONE;
	FeTime		due;
	FeUnitKind	kind;
	int			replies;

	if (!ev->found || fe_push_any_null(view->plan, ev->nulls))
	{
		fe_push_note_schedule(view, ref, content, FE_NEVER);
		fe_state_set_pushed(view->shared, view->plan, ref, false);
		return;
	}
	due = fe_push_next_date(view, ev, ev->v.T);
	if (!view->to_redis)
	{
		fe_push_note_schedule(view, ref, FE_CONTENT_UNKNOWN, due);
		fe_owed_add(view, ref, ev->exists, dirty, retry);
		return;
	}
	ev->v.key = fe_encode_key(view, ev->values, 0, &ev->v.keylen);
	if (ev->v.key == NULL)
	{
		fe_push_note_field_error(p, view, NULL, "a key has no form in this layout");
		fe_push_note_schedule(view, ref, content, due);
		fe_state_set_pushed(view->shared, view->plan, ref, false);
		return;
	}
	ev->v.lsn = ev->info.lsn;
	if (ev->exists && (due != FE_NEVER || !dirty))
		content = fe_encode_content(view, &ev->v);	/* to be compared then, or now */
	fe_push_note_schedule(view, ref, content, due);

	if (!dirty && !retry && content == before)
		return;
	if (!ev->exists)
	{
		(void) fe_encode_gone(p, view, ev->v.key, ev->v.keylen);
		fe_flight_add(p, FE_UNIT_GONE, 1, view, &ref, dirty);
		return;
	}
	if (dirty)
		kind = ev->info.changed ? FE_UNIT_CHANGE : FE_UNIT_REFILL;
	else						/* an entity that comes into being is no renewal */
		kind = retry || before == FE_CONTENT_GONE ? FE_UNIT_CHANGE : FE_UNIT_TIME;
	ev->v.known = dirty && ev->info.pushed && !retry;
	replies = fe_encode_push(p, view, kind, &ev->v);
	fe_flight_add(p, kind, replies, view, &ref, dirty);
}

/* Entities whose last change is after upto may have got it after T. */
typedef struct SliceTime
{
	FeTime		T;
	XLogRecPtr	upto;
} SliceTime;

/*
 * At a T that is not before the commit of anything that is in the entity: a change
 * may have been merged since the slice began.  What is recorded would else have
 * been known before it happened.
 */
static void
look_at_no_future(FePusher *p, FePushView *view, FeEntityRef ref, const SliceTime *time,
				  bool isolated, FeEvaluated *ev)
{
	XLogRecPtr	seen = time->upto;

	ev->v.T = time->T;
	for (;;)
	{
		fe_push_evaluate(p, view, ref, isolated, ev);
		if (!view->to_history || !ev->found || ev->info.lsn <= seen || fe_clock_is_frozen())
			return;
		seen = ev->info.lsn;
		ev->v.T = fe_clock_now();
	}
}

static void
push_one(FePusher *p, FePushView *view, FeEntityRef ref, FePushReason reason,
		 const SliceTime *time, bool isolated)
{
	MemoryContext old = MemoryContextSwitchTo(p->slice_cxt);
	int			n = view->plan->nkeys + view->plan->naggs;
	FeEvaluated ev = {0};

	ev.values = palloc0(n * sizeof(Datum));
	ev.nulls = palloc0(n * sizeof(bool));
	ev.v.texts = palloc0(Max(view->ncolumns, 1) * sizeof(char *));
	ev.v.lens = palloc0(Max(view->ncolumns, 1) * sizeof(int));
	ev.features = palloc0(Max(view->nall, 1) * sizeof(Datum));
	ev.feature_nulls = palloc0(Max(view->nall, 1) * sizeof(bool));
	ev.info.next_change = FE_NEVER;
	ev.start = FE_NEVER;
	ev.watermark = fe_view_watermark(view->shared, view->plan);

	/*
	 * An entity may only be freed while Redis does not have it.  One that was
	 * taken off the dirty list is held anyway.
	 */
	if (reason == FE_PUSH_DUE)
		fe_state_set_pushed(view->shared, view->plan, ref, true);
	look_at_no_future(p, view, ref, time, isolated, &ev);
	if (view->per_window)
		fe_push_windows(p, view, ref, reason, ev.v.T, isolated, &ev);
	else
	{
		fe_record_entity(p, view, ref, &ev);
		push_evaluated(p, view, ref, reason, &ev);
	}

	MemoryContextSwitchTo(old);
	MemoryContextReset(p->slice_cxt);
}

/* ---- slices ---------------------------------------------------------------- */

typedef struct Slice
{
	volatile int next;			/* entity under way */
	volatile bool isolated;		/* ... column by column */
	volatile int mark;			/* length of the output before it */
	volatile int offered;		/* rows for the history before it */
	volatile bool begun;		/* an entity is under way */
} Slice;

static void
run_slice(FePusher *p, FePushView *view, const FeEntityRef *refs, int n,
		  FePushReason reason, Slice *slice)
{
	SliceTime	time;

	slice->begun = false;
	fe_push_enter(view);
	time.upto = pg_atomic_read_u64(&p->db->applied_lsn);
	pg_read_barrier();
	time.T = fe_clock_now();
	fe_inject_wait("slice");
	(void) fe_clock_set_eval_time(time.T);
	fe_push_make_programs(view);
	slice->begun = true;
	for (; slice->next < n; slice->next++)
	{
		slice->mark = p->redis->out.len;
		slice->offered = fe_record_offered(view);
		push_one(p, view, refs[slice->next], reason, &time, slice->isolated);
		slice->isolated = false;
	}
	fe_clock_set_eval_time(PG_INT64_MIN);
	fe_push_leave();
}

/*
 * After an ERROR, in a clean state: decides how to go on.  False: the view is
 * not what it was, the rest is left to whoever comes after it.
 */
static bool
recover_slice(FePusher *p, FePushView *view, const FeEntityRef *refs, int n,
			  FePushReason reason, Slice *slice, ErrorData *edata)
{
	int			column = view->at_column;

	fe_push_drop_programs(view);
	if (!fe_push_view_ready(view))
		return false;
	if (!slice->begun)
	{
		fe_push_note_field_error(p, view, NULL, edata->message);
		view->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BROKEN_RETRY);
		return false;
	}
	if (column != FE_NO_COLUMN && !slice->isolated)
	{
		view->columns[column].isolated = true;
		return true;
	}
	if (!slice->isolated)
	{
		slice->isolated = true;
		return true;
	}

	/* Not even column by column: this entity stays as it is in Redis. */
	fe_push_note_field_error(p, view, NULL, edata->message);
	if (reason == FE_PUSH_DIRTY)
		fe_state_set_pushed(view->shared, view->plan, refs[slice->next], true);
	fe_record_missed(view);
	slice->isolated = false;
	slice->next++;
	return true;
}

void
fe_push_refs(FePusher *p, FePushView *view, const FeEntityRef *refs, int n,
			 FePushReason reason)
{
	MemoryContext cxt = CurrentMemoryContext;
	Slice		slice = {.mark = p->redis->out.len, .offered = fe_record_offered(view)};

	while (slice.next < n)
	{
		ErrorData  *volatile edata = NULL;

		PG_TRY();
		{
			run_slice(p, view, refs, n, reason, &slice);
		}
		PG_CATCH();
		{
			edata = fe_worker_caught(cxt);
		}
		PG_END_TRY();
		if (edata == NULL)
			break;

		/* what was appended for the entity under way is no whole command, and its rows not all */
		p->redis->out.len = slice.mark;
		p->redis->out.data[slice.mark] = '\0';
		fe_record_take_back(view, slice.offered);
		fe_clock_set_eval_time(PG_INT64_MIN);
		MemoryContextReset(p->slice_cxt);
		if (!recover_slice(p, view, refs, n, reason, &slice, edata))
		{
			for (int i = slice.next; i < n && reason == FE_PUSH_DIRTY; i++)
				fe_state_put_dirty(view->shared, view->plan, refs[i]);
			view->live = false; /* filled when it is found live again */
			fe_ticket_failed(p, FE_SINK_REDIS);
			fe_ticket_failed(p, FE_SINK_HISTORY);
			break;
		}
		FreeErrorData(edata);
	}
	/* before anything of it is sent to Redis */
	if (view->recorder)
		fe_record_write(p, view);
}
