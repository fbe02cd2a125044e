/*
 * history.c
 *		Views over changes(): their history is kept, and what it lacks is reported.
 *
 * Runs in the ingest worker.  The state of such a view cannot be built anew: the
 * changes that it counted are stored nowhere else.  So
 *
 * - the slot stays behind what is stored of it, and the first checkpoint is written
 *	 as soon as it is live;
 * - when an error stops it, its state stays as of the position before the
 *	 transaction with the error, and the slot stays there, too.  When it is tried
 *	 again the log is read from there once more: the stream is *rewound*, and all
 *	 other views leave alone what they have (FeIngestView.replay_from);
 * - where the log is gone (the slot was lost, or given up), it goes on with what is
 *	 stored of it and a gap, which is written down (../durable/history.c), and told
 *	 by status and in the server log; where nothing is stored it begins anew, and
 *	 the gap is all of its history.
 *
 * Takes no locks but those of the statements that write gaps down.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "durable/durable.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "ingest/ingest.h"

/* ---- gaps --------------------------------------------------------------------- */

static void
report_gap(const FeIngestView *view, XLogRecPtr from, XLogRecPtr to, const char *reason)
{
	fe_durable_history_gap(view->plan->viewid, from, to, reason);
	ereport(WARNING,
			(errmsg("feature view \"%s\" has missed the changes that committed between %X/%X and %X/%X: %s",
					view->plan->name, LSN_FORMAT_ARGS(from), LSN_FORMAT_ARGS(to), reason),
			 errdetail("It goes on without them. The gap stands in feature_engine.change_gaps.")));
}

/* ---- beginning ------------------------------------------------------------------ */

/*
 * A view whose first rows are in becomes live.  In a transaction of its own; if it
 * had a history before, that is lost.
 */
void
fe_history_begin(FeIngestView *view)
{
	const FePlan *plan = view->plan;
	FeHistory	history;

	if (view->began_lsn == InvalidXLogRecPtr)
		return;
	fe_ingest_begin();
	if (fe_durable_history_find(plan->viewid, plan->generation, &history))
		report_gap(view, history.began_lsn, view->began_lsn,
				   "what it had counted so far is lost, and it has begun anew");
	fe_durable_history_begin(plan->viewid, plan->generation, view->began_lsn);
	fe_ingest_end();
	view->hold_lsn = plan->options.snapshot ? InvalidXLogRecPtr : view->began_lsn;
	view->began_lsn = InvalidXLogRecPtr;
	view->store_soon = true;
}

/* A view is about to take the first change of a new history. */
void
fe_history_clear(const FeIngestView *view)
{
	if (!fe_plan_uses_before_at(view->plan))
		return;
	fe_ingest_begin();
	fe_durable_times_forget(view->plan->viewid);
	fe_ingest_end();
}

/*
 * A view without first rows is complete at once.  False: its tables are not
 * captured yet.
 */
bool
fe_history_start_empty(FeIngest *ingest, FeIngestView *view)
{
	if (!fe_capture_tables_in_use(ingest->capture) || fe_history_rewound(ingest))
		return false;
	fe_history_clear(view);
	view->applying = true;
	view->scanned = true;
	view->live_lsn = ingest->stream_lsn;
	view->began_lsn = ingest->stream_lsn;
	fe_view_set_state(view->shared, FE_VIEW_BACKFILLING);
	return true;
}

/* ---- stopping and going on ------------------------------------------------------- */

/* Has the stream been read further already than it is now? */
bool
fe_history_rewound(const FeIngest *ingest)
{
	return ingest->stream_lsn < pg_atomic_read_u64(&ingest->db->applied_lsn);
}

/*
 * The view is about to stop.  What committed before resume_lsn is in it; of what
 * came later perhaps some entities have some, and know by their LSN.
 */
void
fe_history_stop(FeIngest *ingest, FeIngestView *view)
{
	FeViewShared *shared = view->shared;
	uint32		state = pg_atomic_read_u32(&shared->state);

	if (!fe_plan_is_stream(view->plan) || state == FE_VIEW_FAILED)
		return;
	shared->resume_lsn = InvalidXLogRecPtr;
	shared->resume_gap = false;
	if (state != FE_VIEW_LIVE && state != FE_VIEW_RECOVERING)
		return;
	shared->resume_lsn = Max(ingest->stream_lsn, view->replay_from);
	shared->resume_upto = Max(pg_atomic_read_u64(&ingest->db->applied_lsn),
							  Max(ingest->pending_position, ingest->stream_lsn));
}

/* A stream that has stopped and is to be tried again, or has not caught up yet. */
static bool
is_to_resume(const FeIngestView *view)
{
	return fe_plan_is_stream(view->plan) &&
		pg_atomic_read_u32(&view->shared->state) == FE_VIEW_FAILED &&
		view->shared->resume_lsn != InvalidXLogRecPtr &&
		view->shared->retry_at <= GetCurrentTimestamp();
}

bool
fe_history_keeps_state(const FeIngestView *view)
{
	return fe_plan_is_stream(view->plan) && view->shared->resume_lsn != InvalidXLogRecPtr;
}

static void
resume(FeIngest *ingest, FeIngestView *view)
{
	FeViewShared *shared = view->shared;
	XLogRecPtr	applied = pg_atomic_read_u64(&ingest->db->applied_lsn);

	if (shared->resume_gap)
	{
		fe_ingest_begin();
		report_gap(view, shared->resume_lsn, applied,
				   "its table was such that the log does not tell all its changes");
		fe_durable_times_forget(view->plan->viewid);
		fe_ingest_end();
		shared->resume_gap = false;
	}
	view->replay_from = shared->resume_lsn;
	view->live_lsn = applied;
	view->applying = true;
	view->scanned = true;
	fe_state_replay_until(view->writer, shared->resume_upto);
	fe_view_set_state(shared, FE_VIEW_RECOVERING);
}

/*
 * Tries stopped views again.  The stream goes back to where the first of them is;
 * not while a table is read, or another view catches up.
 */
void
fe_history_step(FeIngest *ingest)
{
	XLogRecPtr	applied = pg_atomic_read_u64(&ingest->db->applied_lsn);
	XLogRecPtr	first = InvalidXLogRecPtr;
	ListCell   *lc;

	if (ingest->capture == NULL || ingest->job != NULL || ingest->pending != NULL ||
		fe_history_rewound(ingest))
		return;
	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		if (is_to_resume(view))
			first = first == InvalidXLogRecPtr ? view->shared->resume_lsn :
				Min(first, view->shared->resume_lsn);
	}
	if (first == InvalidXLogRecPtr)
		return;
	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		if (is_to_resume(view))
			resume(ingest, view);
		else if (view->applying)
			view->replay_from = Max(view->replay_from, applied);
	}
	if (first < ingest->stream_lsn)
		fe_ingest_rewind(ingest, first);
}

/* It has caught up. */
void
fe_history_caught_up(FeIngestView *view)
{
	view->shared->resume_lsn = InvalidXLogRecPtr;
}

/* ---- the slot ------------------------------------------------------------------------ */

/* The slot must not be moved past this for the view's sake; InvalidXLogRecPtr: it may. */
XLogRecPtr
fe_history_hold(const FeIngestView *view)
{
	XLogRecPtr	hold = view->hold_lsn;
	XLogRecPtr	stored = fe_state_stored_lsn(view->shared);
	XLogRecPtr	resume = view->shared->resume_lsn;

	if (!fe_plan_is_stream(view->plan))
		return InvalidXLogRecPtr;
	/* without checkpoints there is nothing to begin from after a crash */
	if (fe_setting_checkpoint_interval == 0)
		hold = InvalidXLogRecPtr;
	if (stored != InvalidXLogRecPtr)
		hold = stored;
	if (resume != InvalidXLogRecPtr)
		hold = hold == InvalidXLogRecPtr ? resume : Min(hold, resume);
	return hold;
}

/* ---- recovery ------------------------------------------------------------------------ */

/* Stored state is loaded: where does the stream go on? */
static XLogRecPtr
continue_from(FeIngestView *view, const FeStored *stored, const FeHistory *history,
			  XLogRecPtr confirmed)
{
	if (fe_slot_reaches(MyDatabaseId, stored->lsn))
		return stored->lsn;
	view->store_soon = true;
	/* written down already, and nothing was stored since */
	if (history->gap_from == stored->lsn && fe_slot_reaches(MyDatabaseId, history->gap_to))
		return history->gap_to;
	report_gap(view, stored->lsn, confirmed,
			   "the replication slot does not reach back to what was stored");
	/* what changed a row last may be in the gap */
	fe_durable_times_forget(view->plan->viewid);
	return confirmed;
}

/* All that was counted can be counted again. */
static XLogRecPtr
replay_all(FeIngestView *view, const FeHistory *history)
{
	view->applying = true;
	view->scanned = true;
	view->replay_from = history->began_lsn;
	view->hold_lsn = history->began_lsn;
	view->live_lsn = fe_checkpoint_end_of_log();
	view->shared->resume_lsn = history->began_lsn;
	view->shared->resume_upto = view->live_lsn;
	view->store_soon = true;
	fe_view_set_state(view->shared, FE_VIEW_RECOVERING);
	return history->began_lsn;
}

/*
 * Inside a transaction.  Returns where the stream must start for this view, which
 * waits and is empty; InvalidXLogRecPtr: it has no history, or none that is left.
 */
XLogRecPtr
fe_history_recover(FeIngest *ingest, FeIngestView *view, XLogRecPtr confirmed)
{
	const FePlan *plan = view->plan;
	FeHistory	history;
	FeStored	stored;
	const char *why = NULL;
	bool		known = fe_durable_history_find(plan->viewid, plan->generation, &history);
	XLogRecPtr	from;

	if (known && fe_durable_find(plan, &stored, &why))
	{
		if (fe_checkpoint_load_view(ingest, view, &stored, &why))
		{
			from = continue_from(view, &stored, &history, confirmed);
			view->replay_from = Max(view->replay_from, from);
			view->shared->resume_lsn = from;
			view->shared->resume_upto = view->live_lsn;
			return from;
		}
		fe_ingest_reset_view(ingest, view);
	}
	else if (known && why == NULL && !plan->options.snapshot &&
			 fe_slot_reaches(MyDatabaseId, history.began_lsn))
		return replay_all(view, &history);
	if (known)
		ereport(WARNING,
				(errmsg("feature view \"%s\" has lost its history and begins anew", plan->name),
				 errdetail("%s.", why ? why : "No state of it is stored")));
	return InvalidXLogRecPtr;
}
