/*
 * maintain.c
 *		What the ingest worker does between batches.
 *
 * Sweeps panes that no window needs any more and entities that have vanished,
 * drives checkpoints (checkpoint.c), lets the slot move on, puts views that have
 * caught up into service, and says whether a crash now would be likely to come
 * again.  Everything here is due by time; nothing waits.
 */
#include "postgres.h"

#include "ingest/ingest.h"
#include "utils/timestamp.h"

#define FE_SWEEP_ROUND			300 /* slices in which a table is gone over */
#define FE_SWEEP_SLICE			64	/* entities at least */
#define FE_SWEEP_GONE			10	/* slices for as many entities as have vanished ... */
#define FE_SWEEP_GONE_SLICE		10000	/* ... but no more than so many in each */
#define FE_SWEEP_AT_ONCE		30	/* slices, when the worker comes round late ... */
#define FE_SWEEP_MOST			100000	/* ... of so many entities together */
#define FE_PARTS_LATER			(60 * FE_USEC_PER_SEC)
#define FE_CONFIRM_MS			1000
#define FE_CONFIRM_BYTES		(16 * 1024 * 1024)
#define FE_CRASH_WATCH_MS		(10 * 60 * 1000)

/*
 * What a part keeps of a row must not go before the row has left the view, or a
 * change of what it was joined with would not correct it any more.
 */
static FeTime
now_of_parts(void)
{
	return fe_clock_now() - FE_PARTS_LATER;
}

/* ---- sweeping ------------------------------------------------------------------ */

/*
 * As many slices as time has gone by for: under load a batch may take longer than
 * one, and what has expired must not pile up meanwhile.
 */
static void
sweep(FeIngest *ingest)
{
	TimestampTz now = GetCurrentTimestamp();
	int			slices;
	ListCell   *lc;

	if (now < ingest->next_sweep || fe_apply_in_middle(ingest->apply))
		return;
	slices = 1 + Min((now - ingest->next_sweep) / (FE_SWEEP_MS * INT64CONST(1000)),
					 FE_SWEEP_AT_ONCE - 1);
	ingest->next_sweep = TimestampTzPlusMilliseconds(now, FE_SWEEP_MS);
	fe_ingest_begin();
	pg_atomic_write_u32(&ingest->db->merging, 1);
	foreach(lc, ingest->states)
	{
		FeIngestView *view = lfirst(lc);
		uint64		gone = pg_atomic_read_u64(&view->shared->tombstones) / FE_SWEEP_GONE;
		int			budget;

		budget = FE_SWEEP_SLICE + pg_atomic_read_u64(&view->shared->entities) / FE_SWEEP_ROUND;
		budget = Max(budget, Min(slices * budget, FE_SWEEP_MOST)) + Min(gone, FE_SWEEP_GONE_SLICE);
		fe_state_sweep(view->writer, budget, view->whole ? now_of_parts() : fe_clock_now());
	}
	pg_atomic_write_u32(&ingest->db->merging, 0);
	fe_ingest_end();
}

bool
fe_ingest_sweep_is_due(FeIngest *ingest)
{
	ListCell   *lc;

	foreach(lc, ingest->views)
	{
		FeViewShared *view = ((FeIngestView *) lfirst(lc))->shared;

		if (pg_atomic_read_u64(&view->tombstones) > 0 &&
			(!view->online || view->offline || ingest->db->redis_connected))
			return true;
	}
	return false;
}

/* ---- all else -------------------------------------------------------------------- */

/* Lets the server recycle WAL, on an idle source too. */
static void
confirm(FeIngest *ingest)
{
	TimestampTz now = GetCurrentTimestamp();
	XLogRecPtr	position = fe_checkpoint_position(ingest);

	if (ingest->capture == NULL || position <= ingest->confirmed_lsn ||
		(now < ingest->next_confirm && position - ingest->confirmed_lsn < FE_CONFIRM_BYTES))
		return;
	fe_capture_confirm(ingest->capture, position);
	ingest->confirmed_lsn = position;
	ingest->next_confirm = TimestampTzPlusMilliseconds(now, FE_CONFIRM_MS);
}

/*
 * New definitions that have caught up take the place of the ones they replace.
 * A reader that holds the relation, where its columns change, is not disturbed:
 * the swap waits for its turn.
 */
static void
swap_replacements(FeIngest *ingest)
{
	ListCell   *lc;

	ingest->swap_waits = false;
	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		if (view->plan->replaces == 0 ||
			pg_atomic_read_u32(&view->shared->state) != FE_VIEW_LIVE)
			continue;
		fe_ingest_begin();
		ingest->swap_waits |= !fe_definition_swap(view->plan->viewid);
		fe_ingest_end();
	}
}

/*
 * Is there work at hand that might crash the server, and would again: what was in
 * the log when we began, a backfill, a checkpoint?  Where that has happened, the
 * next checkpoint is waited for, too.
 */
static bool
in_danger(const FeIngest *ingest)
{
	if (pg_atomic_read_u64(&ingest->db->applied_lsn) < ingest->end_at_start ||
		ingest->job != NULL || ingest->checkpoint != NULL)
		return true;
	return fe_crashes_starts() > 1 && ingest->checkpoints == 0 &&
		fe_setting_checkpoint_interval != 0 &&
		!TimestampDifferenceExceeds(ingest->started, GetCurrentTimestamp(), FE_CRASH_WATCH_MS);
}

void
fe_ingest_maintain(FeIngest *ingest)
{
	sweep(ingest);
	fe_skip_report(ingest);
	fe_checkpoint_step(ingest);
	confirm(ingest);
	fe_backfill_finish_views(ingest);
	swap_replacements(ingest);
	fe_crashes_set_danger(in_danger(ingest));
}
