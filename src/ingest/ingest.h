/*
 * ingest.h
 *		What the ingest room's own files share; no other room includes this.
 *
 * The ingest worker (worker.c) joins capture, definition and state: it reads a
 * batch of decoded changes, evaluates every row against the views of its table
 * (evaluate.c, skip.c), merges the results into state (apply.c), and builds new
 * views from their tables through a helper process (backfill.c, backfill_worker.c).
 */
#ifndef FE_INGEST_H
#define FE_INGEST_H

#include "capture/capture.h"
#include "definition/plan.h"
#include "durable/durable.h"
#include "ingest/row_image.h"
#include "memory/heap.h"
#include "runtime/runtime.h"
#include "state/state.h"
#include "storage/dsm.h"
#include "storage/shm_mq.h"
#include "utils/snapshot.h"

/* The snapshot a view was read under: its transactions are not applied again. */
typedef struct FeSeenSnapshot
{
	TransactionId xmin;
	TransactionId xmax;
	int			nxip;
	TransactionId *xip;			/* sorted, top-level transactions only */
} FeSeenSnapshot;

/* What is kept for the joins of a view (join.c). */
typedef struct FeIngestJoin
{
	int			nparts;
	struct FeIngestView **parts;
	FeImageForm *forms;			/* of the rows of each part */
	Datum	   *row;			/* a joined row being made */
	bool	   *nulls;
	bool		loaded;			/* all rows of the dimensions are there */
} FeIngestJoin;

/* One feature view as the ingest worker keeps it, or a part of a joined one. */
typedef struct FeIngestView
{
	MemoryContext cxt;			/* plan, program, writer */
	FePlan	   *plan;
	FeRowProgram **programs;	/* by arm */
	bool		runs_code;		/* some of them call functions of users */
	MemoryContext program_cxt;
	FeStateWriter *writer;
	FeViewShared *shared;
	int			nvalues;		/* row expressions, and their types' storage */
	int16	   *typlen;
	bool	   *typbyval;
	int			index;			/* in FeIngest.views */
	bool		applying;		/* takes part in decoded transactions */
	FeSeenSnapshot *seen;		/* NULL once nothing can be counted twice */
	XLogRecPtr	live_lsn;		/* backfilled: live when applied_lsn gets here */
	bool		scanned;		/* backfill has delivered every row */
	XLogRecPtr	replay_from;	/* recovered: what committed before is in */
	bool		store_is_ours;	/* what is stored of it is of this build */
	FeIngestJoin *join;			/* NULL: no joins */
	struct FeIngestView *whole; /* of a part: the view */
	const char *rebuild;		/* why it is to be built anew, or NULL */
	FePartitions *partitions;	/* of all its tables, as known; in cxt */
	bool		waits_for_detach;	/* and says so in its status */

	/* over changes() (history.c) */
	XLogRecPtr	began_lsn;		/* not written down yet: its history begins here */
	XLogRecPtr	hold_lsn;		/* and can be had from the log as long as nothing is stored */
	bool		store_soon;		/* a checkpoint is due whatever the time */
	/* highest event times, for the watermark: see evaluate.c */
	int64		pass_event_time;	/* of what is merged, in this pass over the batch */
	int64		event_time;		/* of what is evaluated, the transaction at hand aside */

	/* on_error => 'skip' (skip.c) */
	int			careful;		/* row images still to be evaluated with care */
	uint64		skips_reported; /* FeViewShared.skipped when the log told last */
	TimestampTz next_skip_report;	/* not before */
} FeIngestView;

/* An arm of a view that a table's rows are for. */
typedef struct FeIngestUse
{
	FeIngestView *view;
	int			arm;
} FeIngestUse;

/* One source table and what is known of its rows. */
typedef struct FeIngestTable
{
	Oid			relid;
	const FeCaptureTable *columns;	/* wanted; those of records: fe_capture_table */
	int			nuses;
	FeIngestUse *uses;			/* a view's are next to each other */
	Datum	   *oldvalues;
	bool	   *oldnulls;
	Datum	   *newvalues;
	bool	   *newnulls;

	/* where a view is over the table's changes; NULL: none is */
	Datum	   *change;			/* change row */
	bool	   *changenulls;
	char	   *oldstates;		/* FeColumnState, by attribute number - 1 */
	char	   *newstates;
} FeIngestTable;

typedef struct FeBackfillJob FeBackfillJob;
typedef struct FeApply FeApply;

typedef struct FeIngest
{
	FeDatabase *db;
	FeHeap	   *heap;
	FeCapture  *capture;
	uint64		catalog_seen;	/* fe_catalog_change_count() of the last load */
	bool		catalog_loaded;

	List	   *views;			/* FeIngestView * */
	List	   *states;			/* the same and the parts of each, after it */
	bool		loading_views;	/* neither list is whole */
	bool		joined;			/* some have joins */
	MemoryContext tables_cxt;	/* tables and capture set, rebuilt as a whole */
	int			ntables;
	FeIngestTable *tables;		/* ascending relid */
	FeCaptureSet *set;

	FeApply    *apply;
	FeApply    *backfill_apply;
	bool		memory_full;	/* applying has stopped for want of memory */
	FeBatch    *pending;		/* decoded and not wholly applied, or NULL */
	XLogRecPtr	pending_position;
	FeBackfillJob *job;			/* at most one at a time */

	bool		swap_waits;		/* a replacement could not take its place yet */
	bool		memory_reported;	/* and everybody was told */
	XLogRecPtr	confirmed_lsn;
	XLogRecPtr	published_lsn;	/* by this worker */
	XLogRecPtr	stream_lsn;		/* what the capture has brought is in up to here; 0 = none yet */
	TimestampTz started;
	XLogRecPtr	end_at_start;	/* of the log then */
	TimestampTz next_sweep;
	TimestampTz next_confirm;
	TimestampTz next_check;

	BackgroundWorkerHandle *checkpoint; /* a cycle is being written, or NULL */
	TimestampTz checkpoint_time;	/* end of the last one */
	XLogRecPtr	checkpoint_end; /* applied_lsn then */
	uint64		checkpoint_changes; /* FeDatabase.changes when it began */
	TimestampTz checkpoint_retry;	/* not before */
	uint64		checkpoints;	/* complete cycles of this worker */
	bool		ready;			/* the slot and all state are as they should be */
} FeIngest;

/* ---- worker.c ----------------------------------------------------------- */

/* A transaction with a snapshot, for one piece of the worker's work. */
extern void fe_ingest_begin(void);
extern void fe_ingest_end(void);

/* The stream shall go on at an earlier position; no batch is pending. */
extern void fe_ingest_rewind(FeIngest *ingest, XLogRecPtr lsn);

/* ---- maintain.c --------------------------------------------------------- */

#define FE_SWEEP_MS				100
/* What is due by time, between two batches. */
extern void fe_ingest_maintain(FeIngest *ingest);
/* Are there vanished entities that sweeping may free?  Not while only Redis holds them. */
extern bool fe_ingest_sweep_is_due(FeIngest *ingest);

/* ---- views.c: the catalogue's views and what they need ----------------- */

/* Brings ingest->views in line with the catalogue.  False: nothing to serve. */
extern bool fe_ingest_load_views(FeIngest *ingest);
/* tables.c: rebuilds tables and the capture set from ingest->views. */
extern void fe_ingest_build_tables(FeIngest *ingest);
extern FeIngestTable *fe_ingest_table(FeIngest *ingest, Oid relid);
/* Forgets the state of every view: they are built anew (why: for the log, or NULL). */
extern void fe_ingest_lose_state(FeIngest *ingest, const char *why);
/* Throws a view's state away; it waits for a new backfill not before retry_at. */
extern void fe_ingest_reset_view(FeIngest *ingest, FeIngestView *view);
/*
 * What the log does not tell row by row happened to a table: the view is built
 * anew, and says so till then.  Raises no error; why: a constant.
 */
extern void fe_ingest_rebuild_view(FeIngest *ingest, FeIngestView *view, const char *why);
/* Throws the state of such views away: they wait for a backfill. */
extern void fe_ingest_begin_rebuilds(FeIngest *ingest);
extern void fe_ingest_fail_view(FeIngest *ingest, FeIngestView *view, const char *message);
/* The state of a view, and of its parts. */
extern void fe_ingest_set_state(FeIngestView *view, FeViewState state);
/*
 * After a merge, inside the transaction: a view stops of which an entity keeps more
 * than max_values_per_entity.
 */
extern void fe_ingest_check_bounds(FeIngest *ingest);
/* After an error in its expressions; inside a transaction. */
extern void fe_ingest_renew_programs(FeIngestView *view);
/* Stops views whose table was altered so that the log does not tell all of it. */
extern void fe_ingest_check_sources(FeIngest *ingest);

/* ---- apply.c, evaluate.c ------------------------------------------------------------ */

typedef enum FeApplyResult
{
	FE_APPLY_DONE,
	FE_APPLY_NO_MEMORY			/* call again with the same batch when there is room */
} FeApplyResult;

extern FeApply *fe_apply_create(FeIngest *ingest);
/* Starts with a new batch; job != NULL: rows of that backfill. */
extern void fe_apply_start(FeApply *apply, FeBatch *batch, FeBackfillJob *job);
/* Applies from where it stopped.  Inside a transaction of the caller's. */
extern FeApplyResult fe_apply_run(FeApply *apply);
/*
 * After an ERROR of fe_apply_run: the view whose expression raised it, stopped
 * by now, or *skips: it will leave the row out.  The transaction aborted,
 * fe_apply_run can be called again.  NULL: any other error, or one that left
 * state half changed.
 */
extern FeIngestView *fe_apply_failed_view(FeApply *apply, bool *skips);
/* Has part of a transaction been merged (only possible for spilled ones)? */
extern bool fe_apply_in_middle(const FeApply *apply);
extern bool fe_seen_visible(const FeSeenSnapshot *seen, TransactionId xid);

/* ---- join_parts.c, join_load.c: views with joins -------------------------------------- */

/* Fills in view->join, with parts that have no state yet; in the view's context. */
extern void fe_join_create(FeIngestView *view);
/* These do nothing for a view without joins.  Find: false, a part has no state. */
extern bool fe_join_find_parts(FeIngestView *view);
extern void fe_join_claim_parts(FeIngestView *view);
extern void fe_join_release_parts(FeIngest *ingest, FeIngestView *view);
extern void fe_join_open_parts(FeIngest *ingest, FeIngestView *view);
extern void fe_join_adopt_parts(FeIngestView *view, FeIngestView *newer);
/*
 * Backfill: the rows of all dimensions are in.  Joins what rows of the fact table
 * the log has brought so far.  Inside a transaction.  False: no memory for it.
 */
extern bool fe_join_load(FeApply *apply, FeBackfillJob *job, FeIngestView *view);

/* ---- skip.c: on_error => 'skip' ------------------------------------------ */

/* May this view leave out a row image that raises this error? */
extern bool fe_skip_allows(const FeIngestView *view, const ErrorData *edata);
/* A row image raised an error: this view's are evaluated with care for a while. */
extern void fe_skip_take_care(FeIngestView *view);
/* Between two batches: views whose expressions raise no errors any more. */
extern void fe_skip_relax(FeIngest *ingest);

/*
 * Runs evaluate(arg) in a subtransaction and in the context cxt, which is empty
 * before; an error that the view skips rolls back and sets *skipped.  Any other
 * is raised again.
 */
extern bool fe_skip_evaluate(FeIngestView *view, MemoryContext cxt,
							 bool (*evaluate) (void *arg), void *arg, bool *skipped);
/* Says in the log what views have skipped, each at most every minute. */
extern void fe_skip_report(FeIngest *ingest);

/* ---- backfill.c ---------------------------------------------------------- */

/* Begins a job when a view waits and none runs. */
extern void fe_backfill_schedule(FeIngest *ingest);
/*
 * Moves the job on.  True: reading must rest (a snapshot is being taken).
 * Called outside any transaction.
 */
extern bool fe_backfill_step(FeIngest *ingest);
/* Is there a pause before the next snapshot is taken? */
extern bool fe_backfill_retakes(const FeIngest *ingest);
/* Applies rows that have arrived; inside a transaction.  False: none waiting. */
extern bool fe_backfill_consume(FeIngest *ingest);
/* Columns of a table's rows as the job sends them; NULL: it does not read the table. */
extern const FeCaptureTable *fe_backfill_columns(const FeBackfillJob *job, Oid relid);
/* Rows that the job reads are as of here. */
extern XLogRecPtr fe_backfill_lsn(const FeBackfillJob *job);
extern bool fe_backfill_has_view(const FeBackfillJob *job, const FeIngestView *view);
/* Stops the helper; its views wait again. */
extern void fe_backfill_cancel(FeIngest *ingest);
/* A view went away while its backfill runs. */
extern void fe_backfill_forget_view(FeIngest *ingest, FeIngestView *view);
/* A view's plan was loaded anew (options changed) while its backfill runs. */
extern void fe_backfill_replace_view(FeIngest *ingest, FeIngestView *old, FeIngestView *newer);
/* Views whose backfill is complete and that have caught up become live. */
extern void fe_backfill_finish_views(FeIngest *ingest);

/* ---- history.c: views over changes() --------------------------------------- */

/* Has the stream been read further already than it is now? */
extern bool fe_history_rewound(const FeIngest *ingest);
/* Writes down that the view's history begins, when it becomes live; outside transactions. */
extern void fe_history_begin(FeIngestView *view);
/* Before its first change; outside transactions. */
extern void fe_history_clear(const FeIngestView *view);
/* snapshot => false: false, its tables are not captured yet. */
extern bool fe_history_start_empty(FeIngest *ingest, FeIngestView *view);
/* The view is about to stop; it has caught up. */
extern void fe_history_stop(FeIngest *ingest, FeIngestView *view);
extern void fe_history_caught_up(FeIngestView *view);
/* Does a view that has stopped keep what it has? */
extern bool fe_history_keeps_state(const FeIngestView *view);
/* Tries views that have stopped again; outside transactions. */
extern void fe_history_step(FeIngest *ingest);
/* The slot must stay before this for the view's sake; InvalidXLogRecPtr: no matter. */
extern XLogRecPtr fe_history_hold(const FeIngestView *view);
/*
 * Inside a transaction: loads what is stored of a view that waits.  Returns where
 * the stream must start, InvalidXLogRecPtr where the view begins anew.
 */
extern XLogRecPtr fe_history_recover(FeIngest *ingest, FeIngestView *view, XLogRecPtr confirmed);

/* ---- checkpoint.c --------------------------------------------------------- */

/* Begins a cycle when one is due, looks after the one under way. */
extern void fe_checkpoint_step(FeIngest *ingest);
/* The slot may be confirmed up to here. */
extern XLogRecPtr fe_checkpoint_position(FeIngest *ingest);
/*
 * Loads what is stored and can be used, confirmed being where the slot begins.
 * Returns where replay starts, InvalidXLogRecPtr where nothing was loaded.
 */
extern XLogRecPtr fe_checkpoint_recover(FeIngest *ingest, XLogRecPtr confirmed);
/* Loads a view; false: what is stored is not intact, *why says so. */
extern bool fe_checkpoint_load_view(FeIngest *ingest, FeIngestView *view, const FeStored *stored,
									const char **why);
/* The end of the log, at a position that decoding is sure to reach. */
extern XLogRecPtr fe_checkpoint_end_of_log(void);
/* Writes what is live at once, where views over changes() would lose it else. */
extern void fe_checkpoint_rescue(FeIngest *ingest);
/* before_shmem_exit callback: an orderly shutdown of the server writes one. */
extern void fe_checkpoint_at_exit(int code, Datum arg);

/* ---- what the worker and its backfill helper share ----------------------- */

typedef enum FeBackfillPhase
{
	FE_BACKFILL_STARTING = 0,	/* helper: waiting for the tables' locks */
	FE_BACKFILL_LOCKED,			/* helper: locks held, waits for the word */
	FE_BACKFILL_TAKE_SNAPSHOT,	/* worker rests: take (or retake) a snapshot */
	FE_BACKFILL_SNAPSHOT,		/* helper: snapshot published */
	FE_BACKFILL_SCAN,			/* worker: go */
	FE_BACKFILL_SCANNED,		/* helper: every row is in the queue */
	FE_BACKFILL_FINISHED		/* worker: everything consumed, let go */
} FeBackfillPhase;

typedef struct FeBackfillShared
{
	pg_atomic_uint32 phase;
	Oid			dboid;
	pid_t		worker_pid;
	PGPROC	   *worker_proc;
	PGPROC	   *helper_proc;
	double		rows_expected;
	Size		tables_offset;	/* the capture set's text: tables, their columns */
	Oid			last_relid;		/* is read after all others; InvalidOid: none */
	Size		queue_offset;
	TransactionId xmin;
	TransactionId xmax;
	XLogRecPtr	snapshot_lsn;
	int			max_xip;
	int			nxip;
	TransactionId xip[FLEXIBLE_ARRAY_MEMBER];
} FeBackfillShared;

#define FE_BACKFILL_QUEUE_BYTES	(1024 * 1024)
#define FE_BACKFILL_MAGIC		0x46454246

#endif							/* FE_INGEST_H */
