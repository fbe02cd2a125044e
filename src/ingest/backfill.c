/*
 * backfill.c
 *		Building views from the rows that are already there: the ingest
 *		worker's side.
 *
 * Runs in the ingest worker.  One job at a time reads the tables of one view, for
 * all waiting views that need no others; the scan itself is a helper process
 * (backfill_worker.c) that sends rows through a bounded queue, so that other views
 * are not held up.
 *
 *	helper: lock the tables (ACCESS SHARE)		-> LOCKED
 *	worker: the tables are captured, stop reading the stream at P
 *												-> TAKE_SNAPSHOT
 *	helper: take snapshot S						-> SNAPSHOT
 *	worker: S must see whatever was read before P, else once more
 *			later transactions: skipped for these views exactly when S sees
 *			them; reading goes on				-> SCAN
 *	helper: all rows are in the queue			-> SCANNED
 *	worker: all rows applied					-> FINISHED (helper ends)
 *			live when everything that S saw has been read too
 *
 * A commit is decodable once flushed, but visible to snapshots only a moment
 * later; hence the check against recently read transactions.  The locks come
 * before the snapshot because TRUNCATE and rewrites are not MVCC-safe, and are
 * held until the last row is applied, so that they come after it in the log.
 *
 * The file is long because the states are told apart best in one place.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "ingest/ingest.h"

/* Messages applied before the worker looks at the log again. */
#define FE_CONSUME_MESSAGES 16

/* Pause before another snapshot: a commit may wait long for a standby. */
#define FE_RETAKE_MS		100

/*
 * So long a backfill waits for memory.  Meanwhile its helper holds the table's
 * lock and a snapshot, and no view gets on.
 */
#define FE_PATIENCE_MS		10000

struct FeBackfillJob
{
	MemoryContext cxt;
	List	   *views;			/* FeIngestView * */
	FeCaptureSet set;			/* what the helper sends */
	Oid			last;			/* the table that it reads after all others, or InvalidOid */
	dsm_segment *seg;
	FeBackfillShared *shared;
	shm_mq_handle *queue;
	BackgroundWorkerHandle *handle;
	FeBatch    *batch;			/* rows received and not yet applied */
	bool		batch_open;
	bool		started;		/* it has been begun */
	bool		all_received;
	bool		scanning;
	TimestampTz retake_at;		/* the snapshot missed something: take another */
	TimestampTz full_since;		/* no memory for its rows; 0 = there is */
};

bool
fe_backfill_has_view(const FeBackfillJob *job, const FeIngestView *view)
{
	return list_member_ptr(job->views, view);
}

const FeCaptureTable *
fe_backfill_columns(const FeBackfillJob *job, Oid relid)
{
	return fe_capture_set_find(&job->set, relid);
}

XLogRecPtr
fe_backfill_lsn(const FeBackfillJob *job)
{
	return job->shared->snapshot_lsn;
}

static FeBackfillPhase
phase_of(FeBackfillJob *job)
{
	return (FeBackfillPhase) pg_atomic_read_u32(&job->shared->phase);
}

static void
set_phase(FeBackfillJob *job, FeBackfillPhase phase)
{
	pg_write_barrier();
	pg_atomic_write_u32(&job->shared->phase, phase);
	if (job->shared->helper_proc)
		SetLatch(&job->shared->helper_proc->procLatch);
}

/* ---- starting ---------------------------------------------------------------- */

/* The tables that a view reads, as the capture set has them; false: one is gone. */
static bool
tables_of_view(FeIngest *ingest, FeIngestView *view, FeCaptureSet *set)
{
	FeCaptureSet tables = {0};

	tables.tables = palloc(sizeof(FeCaptureTable) * ingest->ntables);
	for (int i = 0; i < ingest->ntables; i++)
	{
		FeIngestTable *table = &ingest->tables[i];
		bool		used = false;

		for (int arm = 0; arm < view->plan->narms; arm++)
			used |= view->plan->arms[arm].source == table->relid;
		if (!used)
			continue;
		if (table->nuses == 0)
			return false;
		tables.tables[tables.ntables++] = *table->columns;
	}
	*set = *fe_capture_set_copy(&tables);
	pfree(tables.tables);
	return true;
}

/* Does the job read all that the view needs? */
static bool
job_serves(const FeBackfillJob *job, const FeIngestView *view)
{
	for (int arm = 0; arm < view->plan->narms; arm++)
		if (fe_capture_set_find(&job->set, view->plan->arms[arm].source) == NULL)
			return false;
	/* rows are joined as they come: those that they look up must be there */
	return view->join == NULL || view->plan->arms[0].source == job->last;
}

static void
create_segment(FeBackfillJob *job)
{
	int			max_xip = GetMaxSnapshotXidCount();
	char	   *tables = fe_capture_set_format(&job->set);
	Size		snapshot = MAXALIGN(offsetof(FeBackfillShared, xip) +
									sizeof(TransactionId) * max_xip);
	Size		head = snapshot + MAXALIGN(strlen(tables) + 1);
	FeBackfillShared *shared;
	shm_mq	   *mq;

	job->seg = dsm_create(head + FE_BACKFILL_QUEUE_BYTES, 0);
	dsm_pin_mapping(job->seg);
	shared = dsm_segment_address(job->seg);
	memset(shared, 0, head);
	pg_atomic_init_u32(&shared->phase, FE_BACKFILL_STARTING);
	shared->dboid = MyDatabaseId;
	shared->worker_proc = MyProc;
	shared->worker_pid = MyProcPid;
	shared->max_xip = max_xip;
	shared->last_relid = job->last;
	shared->tables_offset = snapshot;
	strcpy((char *) shared + snapshot, tables);
	shared->queue_offset = head;
	job->shared = shared;

	mq = shm_mq_create((char *) shared + head, FE_BACKFILL_QUEUE_BYTES);
	shm_mq_set_receiver(mq, MyProc);
	job->queue = shm_mq_attach(mq, job->seg, NULL);
}

static void
end_job(FeIngest *ingest)
{
	FeBackfillJob *job = ingest->job;

	ingest->job = NULL;
	if (job->handle)
		TerminateBackgroundWorker(job->handle);
	if (job->seg)
		dsm_detach(job->seg);
	if (job->batch)
		fe_batch_free(job->batch);
	MemoryContextDelete(job->cxt);
}

/* Does it begin with the changes that come? */
static bool
needs_no_rows(const FeIngestView *view)
{
	return fe_plan_is_stream(view->plan) && !view->plan->options.snapshot;
}

/* Does the view wait for a backfill that can begin? */
static bool
is_waiting(FeIngestView *view)
{
	if (pg_atomic_read_u32(&view->shared->state) != FE_VIEW_WAITING || needs_no_rows(view))
		return false;
	if (!fe_partitions_in_between(view->partitions))
	{
		if (view->waits_for_detach)
			fe_view_set_error(view->shared, NULL, 0);
		view->waits_for_detach = false;
		return true;
	}
	/* a change of the catalogue will come, and have us look again */
	if (!view->waits_for_detach)
		fe_view_set_error(view->shared, "a partition of its table is being detached; "
						  "DETACH PARTITION ... CONCURRENTLY has not finished", 0);
	view->waits_for_detach = true;
	return false;
}

/* Starts a job that reads the view's tables, for all views that they will do for. */
static void
start_job(FeIngest *ingest, FeIngestView *view)
{
	MemoryContext cxt = AllocSetContextCreate(TopMemoryContext, "feature view backfill",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FeBackfillJob *job = palloc0(sizeof(FeBackfillJob));
	char		extra[BGW_EXTRALEN] = {0};
	dsm_handle	handle;
	ListCell   *lc;

	job->cxt = cxt;
	if (!tables_of_view(ingest, view, &job->set))
	{
		/* so is the view: the drop's own notice makes us look again */
		MemoryContextSwitchTo(old);
		MemoryContextDelete(cxt);
		return;
	}
	if (view->join)
		job->last = view->plan->arms[0].source;
	foreach(lc, ingest->views)
		if (is_waiting(lfirst(lc)) && job_serves(job, lfirst(lc)))
			job->views = lappend(job->views, lfirst(lc));
	create_segment(job);
	job->batch = fe_batch_create();
	ingest->job = job;
	handle = dsm_segment_handle(job->seg);
	memcpy(extra, &handle, sizeof(handle));
	if (!fe_start_helper(MyDatabaseId, FE_ROLE_BACKFILL, "fe_backfill_worker_main", extra,
						 &job->handle))
	{
		/* no worker slot: the launcher tells; try again later */
		job->handle = NULL;
		end_job(ingest);
	}
	else
		shm_mq_set_handle(job->queue, job->handle);
	MemoryContextSwitchTo(old);
}

/* Failed views whose time has come wait for a backfill again. */
static void
retry_failed(FeIngest *ingest)
{
	ListCell   *lc;

	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		if (pg_atomic_read_u32(&view->shared->state) == FE_VIEW_FAILED &&
			view->shared->retry_at <= GetCurrentTimestamp() && !fe_history_keeps_state(view))
			fe_ingest_reset_view(ingest, view);
	}
}

void
fe_backfill_schedule(FeIngest *ingest)
{
	ListCell   *lc;

	fe_ingest_begin_rebuilds(ingest);
	retry_failed(ingest);
	if (ingest->pending || fe_history_rewound(ingest))
		return;
	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		if (needs_no_rows(view) &&
			pg_atomic_read_u32(&view->shared->state) == FE_VIEW_WAITING)
			(void) fe_history_start_empty(ingest, view);
		else if (ingest->job == NULL && is_waiting(view))
			start_job(ingest, view);
	}
}

/* ---- the snapshot -------------------------------------------------------------- */

static int
compare_xids(const void *a, const void *b)
{
	TransactionId x = *(const TransactionId *) a;
	TransactionId y = *(const TransactionId *) b;

	return (x > y) - (x < y);
}

/* Does the snapshot miss a transaction that was read before it was taken? */
static bool
snapshot_misses_read(FeIngest *ingest, FeBackfillShared *shared)
{
	for (int i = 0; i < shared->nxip; i++)
		if (fe_capture_was_read(ingest->capture, shared->xip[i]))
			return true;
	/* the youngest ones are not listed: nothing from xmax on is seen */
	return fe_capture_read_from(ingest->capture, shared->xmax);
}

static FeSeenSnapshot *
copy_snapshot(const FeBackfillShared *shared)
{
	FeSeenSnapshot *seen = MemoryContextAllocZero(TopMemoryContext,
												  sizeof(FeSeenSnapshot) +
												  sizeof(TransactionId) * shared->nxip);

	seen->xmin = shared->xmin;
	seen->xmax = shared->xmax;
	seen->nxip = shared->nxip;
	seen->xip = (TransactionId *) (seen + 1);
	memcpy(seen->xip, shared->xip, sizeof(TransactionId) * shared->nxip);
	qsort(seen->xip, seen->nxip, sizeof(TransactionId), compare_xids);
	return seen;
}

/* The snapshot stands: from here on the job's views take decoded transactions. */
static void
start_scan(FeIngest *ingest)
{
	FeBackfillJob *job = ingest->job;
	ListCell   *lc;

	foreach(lc, job->views)
	{
		FeIngestView *view = lfirst(lc);

		fe_state_publish_cutoffs(view->writer, fe_clock_now());
		view->seen = copy_snapshot(job->shared);
		view->live_lsn = job->shared->snapshot_lsn;
		if (fe_plan_is_stream(view->plan))
		{
			fe_history_clear(view);
			view->began_lsn = job->shared->snapshot_lsn;
		}
		view->applying = true;
		view->shared->backfill_total = job->shared->rows_expected;
		fe_ingest_set_state(view, FE_VIEW_BACKFILLING);
	}
	job->scanning = true;
	set_phase(job, FE_BACKFILL_SCAN);
}

/* The job cannot go on: its views begin again, later; till then they take no memory. */
static void
job_failed(FeIngest *ingest, const char *message)
{
	FeBackfillJob *job = ingest->job;
	List	   *views = list_copy(job->views);
	ListCell   *lc;

	end_job(ingest);
	foreach(lc, views)
	{
		FeIngestView *view = lfirst(lc);

		fe_ingest_reset_view(ingest, view);
		fe_ingest_fail_view(ingest, view, message);
	}
	list_free(views);
}

static void
helper_failed(FeIngest *ingest)
{
	job_failed(ingest, "reading the table's existing rows failed; the server log has the cause");
}

/* There is no memory for rows that have come. */
static void
wait_for_memory(FeIngest *ingest)
{
	FeBackfillJob *job = ingest->job;
	TimestampTz now = GetCurrentTimestamp();

	if (job->full_since == 0)
		job->full_since = now;
	if (TimestampDifferenceExceeds(job->full_since, now, FE_PATIENCE_MS))
		job_failed(ingest, "feature_engine.memory is full: the table's existing rows do not fit into it");
	else
		ingest->memory_full = true;
}

/*
 * Begins the scan if the snapshot will do.  If not, decoding goes on for the
 * other views until it is time for the next one.  False: decoding must rest,
 * the next one is being taken.
 */
static bool
accept_snapshot(FeIngest *ingest)
{
	FeBackfillJob *job = ingest->job;
	TimestampTz now = GetCurrentTimestamp();

	if (job->retake_at == 0)
	{
		if (!snapshot_misses_read(ingest, job->shared))
			start_scan(ingest);
		else
			job->retake_at = TimestampTzPlusMilliseconds(now, FE_RETAKE_MS);
		return true;
	}
	if (now < job->retake_at)
		return true;
	job->retake_at = 0;
	set_phase(job, FE_BACKFILL_TAKE_SNAPSHOT);
	return false;
}

bool
fe_backfill_retakes(const FeIngest *ingest)
{
	return ingest->job != NULL && ingest->job->retake_at != 0;
}

bool
fe_backfill_step(FeIngest *ingest)
{
	FeBackfillJob *job = ingest->job;
	pid_t		pid;

	if (job == NULL)
		return false;
	if (job->views == NIL)
	{
		end_job(ingest);
		return false;
	}
	switch (phase_of(job))
	{
		case FE_BACKFILL_LOCKED:
			/* what is not captured yet must be older than the snapshot */
			if (!fe_capture_tables_in_use(ingest->capture))
				return false;
			set_phase(job, FE_BACKFILL_TAKE_SNAPSHOT);
			return true;
		case FE_BACKFILL_SNAPSHOT:
			pg_read_barrier();
			fe_inject_wait("backfill-snapshot");
			return !accept_snapshot(ingest);
		case FE_BACKFILL_TAKE_SNAPSHOT:
			if (GetBackgroundWorkerPid(job->handle, &pid) != BGWH_STOPPED)
				return true;
			helper_failed(ingest);
			return false;
		default:
			/* while rows are in the queue, their end is found by receiving */
			if (!job->scanning &&
				GetBackgroundWorkerPid(job->handle, &pid) == BGWH_STOPPED)
				helper_failed(ingest);
			return false;
	}
}

/* ---- rows ------------------------------------------------------------------------ */

/* Every row is applied: let the table go. */
static void
finish_job(FeIngest *ingest)
{
	FeBackfillJob *job = ingest->job;
	ListCell   *lc;

	foreach(lc, job->views)
		((FeIngestView *) lfirst(lc))->scanned = true;
	set_phase(job, FE_BACKFILL_FINISHED);
	WaitForBackgroundWorkerShutdown(job->handle);
	end_job(ingest);
}

/* The next message into the batch.  False: nothing has come yet. */
static bool
receive_rows(FeIngest *ingest)
{
	FeBackfillJob *job = ingest->job;
	Size		nbytes;
	void	   *data;

	switch (shm_mq_receive(job->queue, &nbytes, &data, true))
	{
		case SHM_MQ_WOULD_BLOCK:
			return false;
		case SHM_MQ_DETACHED:
			helper_failed(ingest);
			return false;
		case SHM_MQ_SUCCESS:
			break;
	}
	if (nbytes == 1)
	{
		job->all_received = true;	/* the end mark */
		return false;
	}
	fe_batch_reset(job->batch);
	appendBinaryStringInfo(fe_batch_buffer(job->batch), data, nbytes);
	job->batch_open = true;
	return true;
}

/* The table that the rows in hand are of; InvalidOid: there are none. */
static Oid
table_of_rows(FeBackfillJob *job)
{
	FeRecord	rec;
	Oid			relid = InvalidOid;

	fe_batch_rewind(job->batch);
	if (!job->all_received && fe_batch_next(job->batch, &rec) &&
		fe_batch_next(job->batch, &rec) && rec.kind == FE_RECORD_READ)
		relid = rec.relid;
	fe_batch_rewind(job->batch);
	return relid;
}

/*
 * Joined views whose dimensions are all in, as rows of their fact table come, or
 * the end.  False: there is no memory.
 */
static bool
load_joins(FeIngest *ingest)
{
	FeBackfillJob *job = ingest->job;
	Oid			relid;
	bool		ok = true;
	ListCell   *lc;

	if (!OidIsValid(job->last))
		return true;
	relid = table_of_rows(job);
	foreach(lc, job->views)
	{
		FeIngestView *view = lfirst(lc);

		if (ok && view->join && !view->join->loaded &&
			(job->all_received || view->plan->arms[0].source == relid))
			ok = fe_join_load(ingest->backfill_apply, job, view);
	}
	return ok;
}

/* The message in hand, if it has not been begun. */
static bool
begin_rows(FeIngest *ingest)
{
	FeBackfillJob *job = ingest->job;

	if (!load_joins(ingest))
	{
		/* part of it is in: begin again */
		job_failed(ingest, "feature_engine.memory is full: rows of a joined view do not fit into it");
		return false;
	}
	if (job->all_received)
	{
		finish_job(ingest);
		return false;
	}
	if (!job->started)
		fe_apply_start(ingest->backfill_apply, job->batch, job);
	job->started = true;
	return true;
}

bool
fe_backfill_consume(FeIngest *ingest)
{
	for (int i = 0; i < FE_CONSUME_MESSAGES; i++)
	{
		FeBackfillJob *job = ingest->job;

		if (job == NULL || !job->scanning)
			return false;
		if (!job->batch_open && !job->all_received && !receive_rows(ingest) &&
			(ingest->job == NULL || !job->all_received))
			return false;
		if (!begin_rows(ingest))
			return false;
		if (fe_apply_run(ingest->backfill_apply) != FE_APPLY_DONE)
		{
			wait_for_memory(ingest);
			return false;
		}
		job->full_since = 0;
		job->batch_open = false;
		job->started = false;
	}
	return true;
}

void
fe_backfill_finish_views(FeIngest *ingest)
{
	ListCell   *lc;

	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		/*
		 * Whatever the snapshot saw has its commit record before live_lsn, so
		 * past it nothing can be counted twice.
		 */
		if (ingest->stream_lsn < view->live_lsn)
			continue;
		if (view->seen)
			pfree(view->seen);
		view->seen = NULL;
		if (!view->scanned)
			continue;
		view->scanned = false;
		fe_history_begin(view);
		fe_history_caught_up(view);
		fe_ingest_set_state(view, FE_VIEW_LIVE);
		ConditionVariableBroadcast(&ingest->db->progress);
		if (ingest->db->pusher_latch)
			SetLatch(ingest->db->pusher_latch);
	}
}

/* ---- letting go -------------------------------------------------------------------- */

void
fe_backfill_cancel(FeIngest *ingest)
{
	if (ingest->job)
		end_job(ingest);
}

void
fe_backfill_forget_view(FeIngest *ingest, FeIngestView *view)
{
	if (ingest->job)
		ingest->job->views = list_delete_ptr(ingest->job->views, view);
}

void
fe_backfill_replace_view(FeIngest *ingest, FeIngestView *old, FeIngestView *newer)
{
	ListCell   *lc;

	if (ingest->job == NULL)
		return;
	foreach(lc, ingest->job->views)
		if (lfirst(lc) == old)
			lfirst(lc) = newer;
}
