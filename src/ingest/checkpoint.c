/*
 * checkpoint.c
 *		Checkpoints as the ingest worker drives them, and recovery from them.
 *
 * In the ingest worker.  A cycle is due after checkpoint_interval, or after
 * checkpoint_wal of write-ahead log, if anything changed.  It is begun here, between
 * two transactions, and written by a process of its own (../durable/).  The slot is
 * confirmed up to where replay must start: the oldest position stored of any view,
 * or its first one that is being stored.  A view of which nothing is stored yet
 * holds nothing back; after a crash it is built from its table.
 *
 * Recovery: when shared memory is new, each view is loaded that was stored whole,
 * by this server, for today's definition, at a position that the slot still has;
 * the others wait for a backfill.  Then decoding starts at the oldest position, and
 * a view is live when it has caught up with what was in the log at that time.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "durable/durable.h"
#include "ingest/ingest.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "runtime/compat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/pidfile.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Pause after a cycle that failed; a fraction of the interval at most. */
#define FE_CHECKPOINT_RETRY_MS	5000
/* Without changes a cycle is only worth it for so much WAL. */
#define FE_IDLE_WAL				(16 * 1024 * 1024)
/* Everything is written again when the changes since take more than this ... */
#define FE_FULL_FACTOR			2
/* ... and at least so many bytes. */
#define FE_FULL_BYTES			(1024 * 1024)

/* ---- which views, from where ------------------------------------------------------ */

/* Does the view, or the one that it is a part of, take changes? */
static bool
is_applying(const FeIngestView *view)
{
	return view->whole ? view->whole->applying : view->applying;
}

static bool
is_live(const FeIngestView *view)
{
	return is_applying(view) &&
		pg_atomic_read_u32(&view->shared->state) == FE_VIEW_LIVE;
}

/*
 * The position as of which the view can be stored, and replayed from; none if its
 * state is not complete.  A stream that has stopped keeps its state, and may be
 * like that for long: a restart must find it.
 */
static XLogRecPtr
storable_at(FeIngest *ingest, const FeIngestView *view)
{
	if (is_live(view))
		return pg_atomic_read_u64(&ingest->db->applied_lsn);
	if (pg_atomic_read_u32(&view->shared->state) == FE_VIEW_FAILED && fe_history_keeps_state(view))
		return view->shared->resume_lsn;
	return InvalidXLogRecPtr;
}

/* Replay after a crash starts here at the latest: so far the slot may move. */
XLogRecPtr
fe_checkpoint_position(FeIngest *ingest)
{
	XLogRecPtr	position = pg_atomic_read_u64(&ingest->db->applied_lsn);
	ListCell   *lc;

	if (ingest->stream_lsn != InvalidXLogRecPtr)
		position = Min(position, ingest->stream_lsn);
	foreach(lc, ingest->states)
	{
		FeIngestView *view = lfirst(lc);
		XLogRecPtr	replay = fe_state_replay_lsn(view->shared);
		XLogRecPtr	hold = fe_history_hold(view);

		if (is_applying(view) && replay != InvalidXLogRecPtr)
			position = Min(position, replay);
		if (hold != InvalidXLogRecPtr)
			position = Min(position, hold);
	}
	return position;
}

/* ---- a cycle ------------------------------------------------------------------------- */

static bool
wants_full(FeViewShared *view)
{
	uint64		more = pg_atomic_read_u64(&view->stored_more_bytes);
	uint64		full = pg_atomic_read_u64(&view->stored_full_bytes);

	return more > Max(full * FE_FULL_FACTOR, FE_FULL_BYTES);
}

/*
 * What an earlier build of a view left in the store goes at once: a crash must
 * not bring it back, for the log does not tell all that makes a view be built
 * anew.  The caller sees to it that nobody is writing.
 */
static void
forget_earlier_builds(FeIngest *ingest)
{
	ListCell   *lc;

	foreach(lc, ingest->states)
	{
		FeIngestView *view = lfirst(lc);

		if (view->store_is_ours)
			continue;
		fe_ingest_begin();
		fe_durable_forget(view->plan->viewid);
		fe_ingest_end();
		view->store_is_ours = true;
	}
}

/* Begins a cycle for every view that can be stored. */
static bool
begin_cycle(FeIngest *ingest)
{
	bool		any = false;
	ListCell   *lc;

	forget_earlier_builds(ingest);
	foreach(lc, ingest->states)
	{
		FeIngestView *view = lfirst(lc);
		XLogRecPtr	lsn = storable_at(ingest, view);

		if (lsn == InvalidXLogRecPtr)
			continue;
		fe_state_cycle_begin(view->writer, lsn, wants_full(view->shared));
		any = true;
	}
	ingest->checkpoint_changes = pg_atomic_read_u64(&ingest->db->changes);
	return any;
}

/* Switched off: nothing may hold the slot back for the sake of what is stored. */
static void
forget_stored(FeIngest *ingest)
{
	ListCell   *lc;

	foreach(lc, ingest->states)
	{
		FeIngestView *view = lfirst(lc);

		if (!is_live(view) || fe_state_replay_lsn(view->shared) == InvalidXLogRecPtr)
			continue;
		fe_state_cycle_forget(view->writer);
		view->store_is_ours = false;
	}
}

static bool
is_due(FeIngest *ingest, TimestampTz now)
{
	XLogRecPtr	applied = pg_atomic_read_u64(&ingest->db->applied_lsn);
	uint64		wal = applied - Min(applied, ingest->checkpoint_end);
	bool		changed = pg_atomic_read_u64(&ingest->db->changes) != ingest->checkpoint_changes;
	ListCell   *lc;

	if (fe_setting_checkpoint_interval == 0 || now < ingest->checkpoint_retry)
		return false;
	/* a view that became live a moment ago is worth a cycle, too, even if it has stopped since */
	foreach(lc, ingest->states)
	{
		FeIngestView *view = lfirst(lc);
		bool		stored = fe_state_stored_lsn(view->shared) != InvalidXLogRecPtr;

		if (storable_at(ingest, view) == InvalidXLogRecPtr)
			continue;
		if (view->store_soon && (!stored || is_live(view)))
			return true;
		changed |= !stored;
	}
	if (wal >= (uint64) fe_setting_checkpoint_wal * 1024 * 1024)
		return true;
	if (!changed && wal < FE_IDLE_WAL)
		return false;
	return TimestampDifferenceExceeds(ingest->checkpoint_time, now,
									  fe_setting_checkpoint_interval * 1000);
}

static void
start_cycle(FeIngest *ingest, TimestampTz now)
{
	char		extra[BGW_EXTRALEN] = {0};
	MemoryContext old;

	if (!begin_cycle(ingest))
		return;
	ingest->checkpoint_retry = TimestampTzPlusMilliseconds(now, FE_CHECKPOINT_RETRY_MS);
	/* one that gets to run only after our end must not meet our successor's */
	memcpy(extra, &MyProcPid, sizeof(MyProcPid));
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (!fe_start_helper(MyDatabaseId, FE_ROLE_CHECKPOINT, "fe_checkpoint_worker_main", extra,
						 &ingest->checkpoint))
		ingest->checkpoint = NULL;	/* no process is free: later */
	MemoryContextSwitchTo(old);
}

/* Is every live view stored at the position of the last cycle? */
static void
end_cycle(FeIngest *ingest, TimestampTz now)
{
	bool		complete = true;
	ListCell   *lc;

	pfree(ingest->checkpoint);
	ingest->checkpoint = NULL;
	foreach(lc, ingest->states)
	{
		FeIngestView *view = lfirst(lc);

		if (is_live(view) && !fe_state_cycle_is_stored(view->shared))
			complete = false;
	}
	if (!complete)
		return;
	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		if (is_live(view) && fe_state_stored_lsn(view->shared) != InvalidXLogRecPtr)
			view->store_soon = false;
	}
	ingest->checkpoint_retry = 0;
	ingest->checkpoints++;
	ingest->checkpoint_time = now;
	ingest->checkpoint_end = pg_atomic_read_u64(&ingest->db->applied_lsn);
}

void
fe_checkpoint_step(FeIngest *ingest)
{
	TimestampTz now = GetCurrentTimestamp();
	pid_t		pid;

	if (ingest->checkpoint != NULL)
	{
		if (GetBackgroundWorkerPid(ingest->checkpoint, &pid) == BGWH_STOPPED)
			end_cycle(ingest, now);
		return;
	}
	if (fe_setting_checkpoint_interval == 0)
		forget_stored(ingest);
	forget_earlier_builds(ingest);
	/* what is live is ahead of a stream that was rewound: then it has no position */
	if (fe_apply_in_middle(ingest->apply) || fe_history_rewound(ingest) || !is_due(ingest, now))
		return;
	start_cycle(ingest, now);
}

/* ---- recovery ------------------------------------------------------------------------- */

XLogRecPtr
fe_checkpoint_end_of_log(void)
{
	XLogRecPtr	lsn = fe_compat_log_message(FE_EXTENSION_NAME, "", 0);

	XLogFlush(lsn);
	return lsn;
}

static bool
load_state(FeIngestView *view, const FeStored *stored, const char **why)
{
	view->shared->backfill_total = stored->entities;
	if (!fe_durable_load(view->plan, stored, view->writer, view->shared, why))
		return false;
	fe_state_load_end(view->writer, stored->lsn, stored->event_time);
	pg_atomic_write_u64(&view->shared->stored_full_bytes, stored->full_bytes);
	pg_atomic_write_u64(&view->shared->stored_more_bytes, stored->more_bytes);
	view->store_is_ours = true;
	return true;
}

/*
 * What rows contribute to a joined view depends on the rows of other tables at
 * that moment.  To replay changes they must be as they were: all of the view and
 * its parts at one position.  So it is when nothing changed while they were
 * written, as at an orderly shutdown.
 */
static bool
load_parts(FeIngestView *view, const FeStored *stored, const char **why)
{
	bool		exact = fe_state_loaded_lsn(view->shared) <= stored->lsn;

	for (int i = 0; i < view->join->nparts && exact; i++)
	{
		FeIngestView *part = view->join->parts[i];
		FeStored	of_part;

		if (!fe_durable_find(part->plan, &of_part, why))
			return false;
		exact = of_part.lsn == stored->lsn;
		if (exact && !load_state(part, &of_part, why))
			return false;
		exact = exact && fe_state_loaded_lsn(part->shared) <= stored->lsn;
	}
	if (!exact)
		*why = "its tables changed while it was written";
	view->join->loaded = exact;
	return exact;
}

bool
fe_checkpoint_load_view(FeIngest *ingest, FeIngestView *view, const FeStored *stored,
						const char **why)
{
	fe_ingest_set_state(view, FE_VIEW_RECOVERING);
	if (!load_state(view, stored, why))
		return false;
	if (view->join && !load_parts(view, stored, why))
	{
		if (*why == NULL)
			*why = "a part of it is missing";
		return false;
	}
	pg_atomic_write_u32(&view->shared->resync, 1);
	view->applying = true;
	view->replay_from = stored->lsn;
	view->live_lsn = fe_checkpoint_end_of_log();
	view->scanned = true;
	ereport(LOG,
			(errmsg("feature view \"%s\" has been loaded with " UINT64_FORMAT " entities",
					view->plan->name, pg_atomic_read_u64(&view->shared->entities)),
			 errdetail("Changes are replayed from %X/%X to %X/%X.",
					   LSN_FORMAT_ARGS(stored->lsn), LSN_FORMAT_ARGS(view->live_lsn))));
	return true;
}

/* Is what is stored of the partitions of today, but for new ones that were empty? */
static bool
is_of_partitions(const FeIngestView *view)
{
	FePartitions *stored;

	if (!fe_plan_reads_partitions(view->plan))
		return true;
	stored = fe_durable_partitions(view->plan);
	return stored != NULL &&
		fe_partitions_compare(stored, view->partitions) != FE_PARTITIONS_OTHERS;
}

XLogRecPtr
fe_checkpoint_recover(FeIngest *ingest, XLogRecPtr confirmed)
{
	XLogRecPtr	start = InvalidXLogRecPtr;
	ListCell   *lc;

	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);
		FeStored	stored;
		const char *why = NULL;
		bool		found;

		if (pg_atomic_read_u32(&view->shared->state) != FE_VIEW_WAITING)
			continue;
		fe_ingest_begin();
		if (fe_plan_is_stream(view->plan))
		{
			XLogRecPtr	from = fe_history_recover(ingest, view, confirmed);

			if (from != InvalidXLogRecPtr)
				start = start == InvalidXLogRecPtr ? from : Min(start, from);
			fe_ingest_end();
			continue;
		}
		found = fe_durable_find(view->plan, &stored, &why);
		if (found && !fe_slot_reaches(MyDatabaseId, stored.lsn))
		{
			why = "the replication slot does not reach back to it";
			found = false;
		}
		if (found && !is_of_partitions(view))
		{
			why = "partitions were attached, detached or dropped since";
			found = false;
		}
		if (found && fe_checkpoint_load_view(ingest, view, &stored, &why))
			start = start == InvalidXLogRecPtr ? stored.lsn : Min(start, stored.lsn);
		else if (why != NULL)
		{
			ereport(WARNING,
					(errmsg("feature view \"%s\" is built from its table: its stored state cannot be used",
							view->plan->name),
					 errdetail("%s.", why)));
			fe_ingest_reset_view(ingest, view);
		}
		fe_ingest_end();
	}
	/* in between there is nothing */
	return start == InvalidXLogRecPtr ? start : Max(start, confirmed);
}

/* ---- at shutdown ------------------------------------------------------------------------ */

/* Does the whole server stop?  The postmaster writes so into its lock file. */
static bool
server_is_stopping(void)
{
	char		path[MAXPGPATH];
	char		line[128];
	bool		stopping = false;
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s", DataDir, "postmaster.pid");
	file = fopen(path, "r");
	if (file == NULL)
		return false;
	for (int n = 1; fgets(line, sizeof(line), file) != NULL; n++)
		stopping |= n == LOCK_FILE_LINE_PM_STATUS &&
			strncmp(line, PM_STATUS_STOPPING, strlen(PM_STATUS_STOPPING)) == 0;
	fclose(file);
	return stopping;
}

/* One process less that might still be writing. */
static void
stop_writing(FeIngest *ingest)
{
	if (ingest->checkpoint == NULL)
		return;
	TerminateBackgroundWorker(ingest->checkpoint);
	WaitForBackgroundWorkerShutdown(ingest->checkpoint);
	ingest->checkpoint = NULL;
}

/* Is state such that it can be stored, as of a position? */
static bool
may_write(FeIngest *ingest)
{
	return ingest->ready && fe_setting_checkpoint_interval != 0 &&
		pg_atomic_read_u32(&ingest->db->merging) == 0 &&
		!fe_apply_in_middle(ingest->apply) && !fe_history_rewound(ingest);
}

/*
 * The slot is gone: state is about to be thrown away, and what is not stored now of
 * a view over changes() is lost.
 */
void
fe_checkpoint_rescue(FeIngest *ingest)
{
	bool		any = false;
	ListCell   *lc;

	foreach(lc, ingest->views)
		any |= fe_plan_is_stream(((FeIngestView *) lfirst(lc))->plan);
	if (!any || !may_write(ingest))
		return;
	stop_writing(ingest);
	if (begin_cycle(ingest))
		fe_durable_write_all(false);
}

/* Leaves nothing before the slot that pg_upgrade would miss. */
static void
leave_slot(FeIngest *ingest)
{
	if (!FE_COMPAT_UPGRADE_TAKES_SLOTS)
		return;
	if (ingest->capture != NULL)
		fe_capture_close(ingest->capture);
	ingest->capture = NULL;
	fe_slot_skip_own(MyDatabaseId, fe_checkpoint_position(ingest));
}

/*
 * before_shmem_exit callback.  An orderly shutdown waits for us; after it, nothing
 * has to be replayed.  An error here only ends the attempt.
 */
void
fe_checkpoint_at_exit(int code, Datum arg)
{
	FeIngest   *ingest = (FeIngest *) DatumGetPointer(arg);

	if (!fe_worker_was_told_to_end() || !ingest->ready || ingest->loading_views ||
		pg_atomic_read_u32(&ingest->db->merging) != 0 ||
		fe_apply_in_middle(ingest->apply) || !server_is_stopping())
		return;
	AbortOutOfAnyTransaction();
	stop_writing(ingest);
	if (may_write(ingest) && begin_cycle(ingest))
		fe_durable_write_all(false);
	leave_slot(ingest);
}
