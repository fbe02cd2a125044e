/*
 * event_times.c
 *		The highest event times that views with a window in GROUP BY have seen, and
 *		what is too late because of them.
 *
 * Runs in the ingest worker; takes no locks.  A view's watermark moves after a whole
 * transaction.  Rows are evaluated some transactions ahead of what is merged, and,
 * of a batch that needs several passes, more than once: so that a row is judged by
 * the same watermark whenever it is evaluated, what has been evaluated and what has
 * been merged in the pass at hand are kept apart, and everybody else sees the
 * highest time of what has been merged whole.  Rows of a backfill count for nothing.
 */
#include "postgres.h"

#include "ingest/group.h"

static int64
seen_by_all(const FeIngestView *view)
{
	return (int64) pg_atomic_read_u64(&view->shared->event_time);
}

void
fe_event_times_begin_pass(FeApply *apply)
{
	ListCell   *lc;

	if (apply->job == NULL)
		foreach(lc, apply->ingest->views)
		{
			FeIngestView *view = lfirst(lc);

			view->pass_event_time = seen_by_all(view);
		}
}

void
fe_event_times_begin(FeApply *apply)
{
	ListCell   *lc;

	if (apply->job == NULL)
		foreach(lc, apply->ingest->views)
		{
			FeIngestView *view = lfirst(lc);

			view->event_time = view->pass_event_time;
		}
}

static void
note_event_time(FeApply *apply, FeIngestView *view, int64 time)
{
	FeTxnEventTime *seen;
	MemoryContext old;
	ListCell   *lc;

	/* an event of the future tells nothing about what is still to come */
	time = Min(time, apply->current.commit_time);
	foreach(lc, apply->current.event_times)
	{
		seen = lfirst(lc);
		if (seen->view != view)
			continue;
		seen->time = Max(seen->time, time);
		return;
	}
	if (time <= view->event_time)
		return;
	old = MemoryContextSwitchTo(apply->group_cxt);
	seen = palloc(sizeof(FeTxnEventTime));
	seen->view = view;
	seen->time = time;
	apply->current.event_times = lappend(apply->current.event_times, seen);
	MemoryContextSwitchTo(old);
}

bool
fe_event_time_is_late(FeApply *apply, FeIngestView *view, const Datum *values, const bool *nulls,
					  FeTime *watermark)
{
	const FePlan *plan = view->plan;
	const FeTrack *track = &plan->tracks[plan->where_track];
	int64		time;

	*watermark = PG_INT64_MIN;
	if (apply->job || nulls[track->expr])
		return false;
	time = fe_event_time(values[track->expr], track->type);
	if (time == PG_INT64_MIN || time == PG_INT64_MAX)
		return false;
	note_event_time(apply, view, time);
	if (!plan->options.append_only || plan->options.watermark < 0 ||
		view->event_time == PG_INT64_MIN)
		return false;
	*watermark = view->event_time - plan->options.watermark;
	return fe_group_last_end(&plan->windows[plan->group_window], time) <= *watermark;
}

void
fe_event_times_end_txn(FeApply *apply)
{
	ListCell   *lc;

	foreach(lc, apply->current.event_times)
	{
		FeTxnEventTime *seen = lfirst(lc);

		seen->view->event_time = Max(seen->view->event_time, seen->time);
	}
}

void
fe_event_times_merged(FeApply *apply, const FeGroupTxn *txn)
{
	ListCell   *lc;

	foreach(lc, txn->event_times)
	{
		FeTxnEventTime *seen = lfirst(lc);
		FeIngestView *view = seen->view;

		view->pass_event_time = Max(view->pass_event_time, seen->time);
		if (fe_pass_ends_views(apply) && view->pass_event_time > seen_by_all(view))
			pg_atomic_write_u64(&view->shared->event_time, (uint64) view->pass_event_time);
	}
}
