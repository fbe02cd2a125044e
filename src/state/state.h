/*
 * state.h
 *		Entities and panes in shared memory: the only code that locks them.
 *
 * Writers: one ingest worker per database.  It takes an entity's partition
 * lock exclusively for the time of one entity's changes of one transaction.
 * Readers (backends, pusher) take it shared, copy what an evaluation needs,
 * and let go before they evaluate anything.  At most one partition lock is
 * held at a time.
 */
#ifndef FE_STATE_H
#define FE_STATE_H

#include "postgres.h"
#include "definition/plan.h"
#include "lib/stringinfo.h"
#include "memory/heap.h"

typedef enum FeViewState
{
	FE_VIEW_FREE = 0,			/* slot unused */
	FE_VIEW_WAITING,			/* known, backfill not begun */
	FE_VIEW_BACKFILLING,
	FE_VIEW_RECOVERING,			/* from a checkpoint, then from the log */
	FE_VIEW_LIVE,
	FE_VIEW_FAILED				/* an error stops this view; see last_error */
} FeViewState;

/* A feature view's shared control block. */
typedef struct FeViewShared
{
	Oid			dboid;
	int32		viewid;
	int32		state_version;	/* of the plan its state was built with */
	pg_atomic_uint32 state;		/* FeViewState */
	slock_t		mutex;			/* guards the plain fields below */
	char		last_error[FE_ERROR_LEN];
	TimestampTz last_error_at;
	TimestampTz retry_at;		/* failed: rebuilt not before */
	int			failures;

	/*
	 * Views over changes(), while they have stopped or catch up: what committed
	 * before is in, and what committed after resume_upto is not.  Ingest worker.
	 */
	XLogRecPtr	resume_lsn;		/* InvalidXLogRecPtr: all is in, or nothing is kept */
	XLogRecPtr	resume_upto;
	bool		resume_gap;		/* the log does not tell all that lies between */

	double		backfill_total; /* rows expected (estimate), 0 = unknown */
	pg_atomic_uint64 backfill_done; /* recovering: entities loaded */

	/* the last whole checkpoint and what was added since; by who writes it */
	pg_atomic_uint64 stored_full_bytes;
	pg_atomic_uint64 stored_more_bytes;

	/* changed by the writer only, dirty excepted */
	pg_atomic_uint64 events;	/* row images applied since build */
	pg_atomic_uint64 expired;	/* ignored: older than every window */
	pg_atomic_uint64 skipped;	/* left out: their expressions raised an error */
	pg_atomic_uint64 late;
	pg_atomic_uint64 entities;	/* in memory, tombstones included */
	pg_atomic_uint64 panes;
	pg_atomic_uint64 bytes;		/* allocated for this view */
	pg_atomic_uint64 dirty;		/* entities waiting for the pusher */
	pg_atomic_uint64 tombstones;	/* empty, kept until Redis and checkpoint know */
	pg_atomic_uint64 null_keys; /* entities never pushed: a NULL key */

	/* the history; by the pusher */
	pg_atomic_uint64 history_rows;	/* recorded */
	pg_atomic_uint64 history_failures;	/* transactions */
	pg_atomic_uint64 history_at;	/* event_timestamp of the last row, PG_INT64_MIN = none */
	char		history_error[FE_ERROR_LEN];	/* by mutex; "" = none now */
	TimestampTz history_error_at;

	/*
	 * Highest event time of the transactions that are in, with a window in GROUP BY
	 * (PG_INT64_MIN: none yet); and the same when the last checkpoint cycle began.
	 */
	pg_atomic_uint64 event_time;
	pg_atomic_uint64 cycle_event_time;

	/* events before cutoff[track] are gone (monotonic, INT64_MIN at first) */
	pg_atomic_uint64 cutoff[FE_MAX_TRACKS];

	/* pusher: list of dirty entities, oldest first */
	bool		online;			/* goes to Redis ... */
	bool		offline;		/* ... or to its history: changed entities are put on the list */
	pg_atomic_uint32 resync;	/* everything must be pushed and stale keys looked for */
	pg_atomic_uint32 reoffer;	/* 0: everything must be offered to the history */
	pg_atomic_uint64 partitions_hash;	/* of the partitions that state has rows of */

	/* entity table: linear hashing, private to state */
	uint64		table[24];
} FeViewShared;

extern void fe_state_init(void);	/* from _PG_init: shared memory */

/* Do changed entities go on the list? */
static inline bool
fe_view_is_followed(const FeViewShared *view)
{
	return view->online || view->offline;
}

/* ---- view slots ------------------------------------------------------- */

extern FeViewShared *fe_view_find(Oid dboid, int32 viewid);	/* NULL = none */
/* Ingest worker: a fresh slot (ERROR when max_feature_views are in use). */
extern FeViewShared *fe_view_claim(Oid dboid, int32 viewid, int32 state_version, bool online);
/* Ingest worker: frees all entities and the slot; readers inside are waited
 * for, later ones find the view gone.  plan is not used and may be NULL. */
extern void fe_view_release(FeHeap *heap, FeViewShared *view, FePlan *plan);
/* Crash of a worker in mid-merge, or a database that is gone: forget without
 * walking (the heap is reset as a whole by the caller). */
extern void fe_view_forget_all(Oid dboid);
extern void fe_view_set_state(FeViewShared *view, FeViewState state);
/* NULL: no error any more.  Leaves state and failures alone. */
/* Failed, and not about to be tried again at once. */
extern bool fe_view_has_stopped(FeViewShared *view);
extern void fe_view_set_error(FeViewShared *view, const char *message, TimestampTz retry_at);
/* Copies last_error ('' = none). */
extern void fe_view_get_error(FeViewShared *view, char *error, Size size);
/* As the view's option has it; PG_INT64_MIN: no event seen. */
extern FeTime fe_view_watermark(FeViewShared *view, const FePlan *plan);
extern int	fe_view_count(void);	/* slots, for status */
extern FeViewShared *fe_view_slot(int i);

/*
 * ---- writing (ingest worker only) -------------------------------------
 *
 * An error in the middle of apply, sweep or truncate leaves state unusable:
 * they run while FeDatabase.merging is set.
 */

typedef struct FeStateWriter FeStateWriter;

/* A row image's evaluated row program, entering (+1) or leaving (-1). */
typedef struct FeDelta
{
	uint64		hash;
	int			sign;
	Datum	   *values;			/* [row expressions] */
	bool	   *nulls;
	FeTime		watermark;		/* windows that have ended by then take it no more;
								 * PG_INT64_MIN: all do */
} FeDelta;

extern FeStateWriter *fe_state_writer_create(FeHeap *heap, FeViewShared *view, FePlan *plan);
extern void fe_state_writer_free(FeStateWriter *w);
/* Heap bytes that such deltas take, on the safe side as an average of many;
 * leaving a view that is live takes none. */
extern Size fe_state_room(FeStateWriter *w, const FeDelta *deltas, int n);
/*
 * Applies the deltas of one transaction that have the same hash, as one atomic
 * change of the entity (or entities) concerned.  now = engine clock, lsn =
 * the transaction's commit end LSN.
 */
extern void fe_state_apply(FeStateWriter *w, const FeDelta *deltas, int n,
						   XLogRecPtr lsn, FeTime now);
/*
 * Has an entity come to keep more than max_values_per_entity of late?  Asked after
 * a merge, by the writer; keys point into it.
 */
extern bool fe_state_overfull(FeStateWriter *w, uint32 *kept, Datum *keys, bool *nulls);
/*
 * Folding rows of arguments into states, between two merges.  While it is due:
 * prepare, as the view's owner, makes states of one entity's rows and gives the
 * heap bytes that they take (0: there is nothing to do); it may raise the errors of
 * the aggregate's functions: then the writer is told to give up.  install puts
 * them in their place, as a merge step (FeDatabase.merging).
 */
extern bool fe_state_fold_is_due(FeStateWriter *w);
extern Size fe_state_fold_prepare(FeStateWriter *w);
extern void fe_state_fold_install(FeStateWriter *w);
extern void fe_state_fold_give_up(FeStateWriter *w);
/*
 * Moves the view's cutoffs to what its windows need from now on.  The sweep
 * does so, too; called before existing rows are read, so that the old ones
 * among them need not be evaluated.
 */
extern void fe_state_publish_cutoffs(FeStateWriter *w, FeTime now);
/* Hints that a hash will be applied soon (stage 0: bucket, 1: entity, 2: panes). */
extern void fe_state_prefetch(FeStateWriter *w, uint64 hash, int stage);
/*
 * TRUNCATE: begin starts a new epoch, in which fe_state_apply first clears an
 * entity of an older one; end clears the entities that no delta touched.  Both
 * for the entities of one part of the hash space (hash % parts).
 */
extern void fe_state_truncate_begin(FeStateWriter *w, XLogRecPtr lsn, uint32 parts, uint32 part);
extern void fe_state_truncate_end(FeStateWriter *w, XLogRecPtr lsn);
/* The latest LSN of an image that was loaded; 0: none was. */
extern XLogRecPtr fe_state_loaded_lsn(FeViewShared *view);
/*
 * Maintenance: consolidates and drops panes, frees empty entities, over a part
 * of the table; returns true when a full round has been completed.  Cheap
 * enough to be called between batches; budget = entities to look at.
 */
extern bool fe_state_sweep(FeStateWriter *w, int budget, FeTime now);

/*
 * ---- parts of joined views (part_rows.c) -------------------------------------
 *
 * The rows that a part keeps of a key, as images with counts.  For the ingest
 * worker, which needs no lock, between two merges.
 */

typedef struct FeRowsIter
{
	const FeStateWriter *w;
	const void *entity;			/* NULL: no rows */
	uint32		pane;			/* the next one */
	FeSeqIter	seq;			/* of the accumulator at hand */
} FeRowsIter;

/* The rows of the delta's key. */
extern void fe_state_part_rows(FeStateWriter *w, const FeDelta *delta, FeRowsIter *it);
/* The next image, a bytea in state, and how often it is there (below 0: taken out
 * before it came in).  Of several panes the same one may come several times. */
extern bool fe_state_part_next(FeRowsIter *it, Datum *image, int64 *count);

/* All keys, in no order: *bucket and *number are 0 at first. */
typedef struct FeRowsScan
{
	uint32		bucket;
	uint32		number;
} FeRowsScan;

/*
 * The next key with its hash, and its rows.  keys may point into state.
 */
extern bool fe_state_part_scan(FeStateWriter *w, FeRowsScan *scan, Datum *keys, bool *nulls,
							   uint64 *hash, FeRowsIter *it);

/*
 * ---- checkpoints --------------------------------------------------------
 *
 * State is written in cycles, each by the same steps:
 *
 *	ingest worker, between two transactions:	fe_state_cycle_begin
 *	checkpoint process:		fe_state_saver_create
 *							fe_state_save until it gives no chunk; stores chunks
 *							fe_state_saver_complete: if true, commits the record
 *							that the cycle is whole; then fe_state_saver_stored
 *
 * What may be loaded: all chunks since the last full cycle that is whole, later
 * ones of cycles that are not whole included.  Replay starts at the position of
 * the last whole cycle.  When a full cycle is whole, older chunks are to be
 * removed.  Only views that are live are saved: a build's rows are not in the log.
 *
 * Chunks belong to one build of a view: when it is built anew (view claimed
 * again), chunks of the build before are to be removed before the new one's
 * first cycle is whole.
 */

typedef struct FeStateSaver FeStateSaver;

/*
 * lsn: everything up to here is applied, nothing after it; replay would start
 * here.  True: the cycle is full (wished, or there is nothing to build on).
 */
extern bool fe_state_cycle_begin(FeStateWriter *w, XLogRecPtr lsn, bool full);
/* No checkpoints of this view any more: keeps no tombstones for them. */
extern void fe_state_cycle_forget(FeStateWriter *w);

/*
 * In any process of the database; lives in cxt.  NULL: no cycle has begun, or
 * the view is not the plan's any more.
 */
extern FeStateSaver *fe_state_saver_create(FePlan *plan, FeViewShared *view, MemoryContext cxt);
/* The cycle's position; *full: it replaces all that was stored before. */
extern XLogRecPtr fe_state_saver_lsn(const FeStateSaver *s, bool *full);
/*
 * The next chunk, of about size bytes (one entity more at most), in the place of
 * chunk's content.  False: there is none, because all is written or because
 * the view is gone.  ERROR when an entity takes more than 1 GB.
 */
extern bool fe_state_save(FeStateSaver *s, StringInfo chunk, Size size);
/* The highest event time seen at the cycle's position. */
extern int64 fe_state_saver_event_time(const FeStateSaver *s);
/* Entities in the last chunk. */
extern uint32 fe_state_saved_entities(const FeStateSaver *s);
/* Has the cycle got everything?  Asked after the last chunk. */
extern bool fe_state_saver_complete(FeStateSaver *s);
/* It is durable, and the record that it is whole is too: lets tombstones go. */
extern void fe_state_saver_stored(FeStateSaver *s);

/* The position of what is stored; InvalidXLogRecPtr: nothing is. */
extern XLogRecPtr fe_state_stored_lsn(FeViewShared *view);
/*
 * Replay of this view starts nowhere before this: the position of what is stored
 * or, while nothing is, of the first cycle under way.  InvalidXLogRecPtr: neither.
 */
extern XLogRecPtr fe_state_replay_lsn(FeViewShared *view);
/* Is the cycle begun last stored? */
extern bool fe_state_cycle_is_stored(FeViewShared *view);

typedef enum FeLoadResult
{
	FE_LOAD_DONE,
	FE_LOAD_NO_MEMORY,			/* call again with the same *done when there is room */
	FE_LOAD_INVALID				/* *why; what was loaded is to be thrown away */
} FeLoadResult;

/*
 * Ingest worker, merging set, before the view is live: loads a chunk.  *done is
 * 0 at first, and how far it got afterwards.  Any bytes may be given; what the
 * check sum covers is trusted in one thing only, that values of types which this
 * library does not know are values of those types.  Their comparison functions
 * are called, without a lock, and may raise their errors.
 */
extern FeLoadResult fe_state_load(FeStateWriter *w, const char *chunk, Size len, Size *done,
								  const char **why);
/*
 * All chunks are loaded; replay starts at start, where event_time was the highest
 * that had been seen.  From now on fe_state_apply
 * and fe_state_truncate_* do not repeat what is in an entity already.  What is
 * pushed is not known: the pusher must fill and clean Redis (resync).
 */
extern void fe_state_load_end(FeStateWriter *w, XLogRecPtr start, int64 event_time);

/*
 * Transactions up to this position come (once more), and entities may have some of
 * them in them already: as after fe_state_load_end.
 */
extern void fe_state_replay_until(FeStateWriter *w, XLogRecPtr lsn);

/* ---- reading ----------------------------------------------------------- */

/* A name for an entity that may be gone by the time it is used. */
typedef struct FeEntityRef
{
	FeRef		ref;
	uint32		serial;
	uint64		hash;
} FeEntityRef;

/* What a read tells besides the values. */
typedef struct FeEntityInfo
{
	FeEntityRef ref;
	XLogRecPtr	lsn;			/* last source change */
	FeTime		next_change;	/* first T > now at which windows change the values */
	bool		pushed;			/* known to be in Redis */
	bool		changed;		/* source changed (or all marked dirty) since the last set_pushed */
} FeEntityInfo;

typedef struct FeStateReader FeStateReader;

/*
 * aggs: aggregates to compute (0-based), NULL = all.  Lives in cxt.  The view
 * must stay claimed: each read checks the slot's identity and raises an error
 * ("view was dropped/rebuilt") when it changed.
 */
extern FeStateReader *fe_state_reader_create(FePlan *plan, FeViewShared *view,
											 const Bitmapset *aggs, MemoryContext cxt);
/*
 * For use by another statement: forgets T.  False: the view's slot is no longer
 * the one it was made for.
 */
extern bool fe_state_reader_renew(FeStateReader *r);
/*
 * Values of one entity at T: keys, then aggregates [nkeys + naggs], in
 * CurrentMemoryContext.  False: the entity does not exist at T.  ERROR when
 * panes cannot give T exactly (as_of too old).  info may be NULL.
 */
extern bool fe_state_lookup(FeStateReader *r, const Datum *keys, const bool *keynulls,
							FeTime T, Datum *values, bool *nulls, FeEntityInfo *info);
/* By reference.  *found says whether the entity is still in memory (keys are
 * filled in then, even when it does not exist at T). */
extern bool fe_state_lookup_ref(FeStateReader *r, FeEntityRef ref, FeTime T,
								Datum *values, bool *nulls, FeEntityInfo *info, bool *found);
/* All entities; each exactly once if it exists throughout. */
extern void fe_state_scan_begin(FeStateReader *r);
extern bool fe_state_scan_next(FeStateReader *r, FeTime T, Datum *values, bool *nulls,
							   FeEntityInfo *info);

/*
 * Views with a window in GROUP BY have several rows an entity.  A lookup, or a step
 * of a scan, then finds the rows and fills in the keys; each row's aggregates are
 * to be asked for, before the next lookup.  Rows are in the order of their windows,
 * that of rows without a window last.  Where there is no such window, there is one
 * row, and the lookup has filled it in.
 */
extern int	fe_state_rows(const FeStateReader *r);
extern void fe_state_row(FeStateReader *r, int row, Datum *values, bool *nulls);
/* lo = PG_INT64_MAX: that of rows without one. */
extern FeRange fe_state_row_window(const FeStateReader *r, int row);
/* The last row whose window has begun at T, -1 = none. */
extern int	fe_state_newest_row(const FeStateReader *r);
/*
 * From the next lookup on only this many of the newest windows that have begun are
 * looked at, which is cheaper; 0: all again.  Complete: there are no older ones.
 */
extern void fe_state_want_newest(FeStateReader *r, int n);
extern bool fe_state_rows_complete(const FeStateReader *r);

/* ---- the pusher's side ------------------------------------------------- */

/*
 * Takes up to max entities off the dirty list.  Each must be reported on by
 * fe_state_set_pushed, or put back: until then it is not freed.  A pusher that
 * starts marks all dirty, as it cannot know what its predecessor had taken.
 */
extern int	fe_state_take_dirty(FeViewShared *view, FePlan *plan, FeEntityRef *refs, int max);
/* Puts one back (Redis failed). */
extern void fe_state_put_dirty(FeViewShared *view, FePlan *plan, FeEntityRef ref);
/* Marks every entity dirty; changed: as if the source had changed it (refill). */
extern void fe_state_mark_all_dirty(FeViewShared *view, FePlan *plan, bool changed);
/* Records that the entity's key is / is not in Redis any more: a tombstone
 * that is no longer pushed can be freed. */
extern void fe_state_set_pushed(FeViewShared *view, FePlan *plan, FeEntityRef ref, bool pushed);

#endif							/* FE_STATE_H */
