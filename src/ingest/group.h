/*
 * group.h
 *		The group of transactions that is evaluated (evaluate.c), then merged
 *		(apply.c), in one or several passes (passes.c); no other file includes this.
 */
#ifndef FE_GROUP_H
#define FE_GROUP_H

#include "ingest/ingest.h"
#include "nodes/memnodes.h"

typedef struct FeNet FeNet;

/* One row image's contribution to one view, or to a part of it. */
typedef struct FeOp
{
	FeDelta		delta;
	FeIngestView *view;
} FeOp;

/* A transaction of the group: ops [first, end). */
typedef struct FeGroupTxn
{
	int			first;
	int			end;
	XLogRecPtr	end_lsn;
	int64		commit_time;
	int			changes;
	List	   *truncations;	/* FeTruncation * */
	List	   *truncated;		/* FeIngestView * cleared by it */
	List	   *rebuilt;		/* FeIngestView * that must be built anew after it */
	List	   *left_out;		/* FeLeftOut * */
	List	   *event_times;	/* FeTxnEventTime * */
} FeGroupTxn;

/* The highest event time of a transaction, of a view with a window in GROUP BY. */
typedef struct FeTxnEventTime
{
	FeIngestView *view;
	int64		time;
} FeTxnEventTime;

/* Of a view that reads several tables or partitions, those that a transaction truncated. */
typedef struct FeTruncation
{
	FeIngestView *view;
	List	   *relids;
	bool		mixed;			/* rows of the transaction came before, or not all is gone */
} FeTruncation;

/* Row images of a transaction that a view left out. */
typedef struct FeLeftOut
{
	FeIngestView *view;
	uint64		skipped;		/* because of an error */
	uint64		expired;		/* out of all windows */
	uint64		late;			/* by the watermark */
} FeLeftOut;

typedef struct FeTimes FeTimes;

struct FeApply
{
	FeIngest   *ingest;
	FeBatch    *batch;
	FeBackfillJob *job;
	uint64		pass_txns;		/* transactions of the batch merged in this pass */

	/* the group being built: all in group_cxt */
	MemoryContext group_cxt;
	MemoryContext careful_cxt;	/* one row image's evaluation, where errors are skipped */
	FeOp	   *ops;
	int			nops;
	int			max_ops;
	FeGroupTxn *txns;
	int			ntxns;
	int			max_txns;
	Size		room;			/* heap bytes that merging may take */
	FeTimes    *times;			/* of changed rows, for before_at; NULL = none yet */

	/* transaction being read */
	TransactionId xid;
	FeGroupTxn	current;

	/* passes over the batch: each takes a part of the entities of a group of views */
	uint32		groups;
	uint32		parts;
	uint32		pass;
	uint64		whole_txns;		/* transactions merged before there were so many */
	Size		limit;			/* of the memory that evaluated rows take */
	bool		merged_some;	/* transactions, in some passes and not in all */
	uint64		until;			/* transactions that these passes are over */
	bool		stopped;		/* there are more of them */
	bool		over_parts;		/* there were joined views when they began */

	/* joins */
	MemoryContext row_cxt;		/* one joined row's evaluation */
	MemoryContext net_cxt;
	FeNet	   *net;			/* what the transaction at hand does to dimensions, or NULL */
	bool		net_wanted;		/* begin again with that of the first transaction left */
	bool		again;			/* begin again: the transaction at hand cannot go on so */
	bool		correcting;		/* rows that were counted already are evaluated */

	FeIngestView *failed;		/* its expression raised the error */
	bool		skips;			/* and it will leave the row out */
	FeDelta    *scratch;		/* deltas of one entity, for fe_state_apply */
	int			max_scratch;
	FeIngestTable *last_table;	/* of the record read last */
	const FeCaptureTable *last_columns;
};

/* Why such a view is built anew, for the log. */
#define FE_TRUNCATED_IN_PART	"one of the tables or partitions that it reads was truncated"

/* ---- passes.c -------------------------------------------------------------- */

extern void fe_passes_begin(FeApply *apply);
/* The passes over some transactions are done, and there are more: over the next. */
extern void fe_passes_next(FeApply *apply);
extern bool fe_passes_divide_rows(FeApply *apply);
extern bool fe_passes_divide_room(FeApply *apply, int nops, Size room);

/* Passes that evaluate rows for views. */
static inline uint32
fe_passes_over_views(const FeApply *apply)
{
	return apply->groups * apply->parts;
}

/*
 * Parts of joined views are looked at until all of a transaction is evaluated.  So
 * they have passes of their own, after those, if there are several.
 */
static inline uint32
fe_passes_count(const FeApply *apply)
{
	uint32		n = fe_passes_over_views(apply);

	return n > 1 && apply->over_parts ? 2 * n : n;
}

static inline bool
fe_pass_is_over_views(const FeApply *apply)
{
	return apply->pass < fe_passes_over_views(apply);
}

static inline bool
fe_pass_is_over_parts(const FeApply *apply)
{
	return fe_passes_over_views(apply) == 1 || !fe_pass_is_over_views(apply);
}

/* The part of the entities that this pass takes. */
static inline uint32
fe_pass_part(const FeApply *apply)
{
	return apply->pass % apply->parts;
}

/* Does the pass bring in the last that a transaction brings to the views it takes? */
static inline bool
fe_pass_ends_views(const FeApply *apply)
{
	return fe_pass_part(apply) == apply->parts - 1;
}

/* By a number that no other view's coming or going changes. */
static inline bool
fe_pass_takes_view(const FeApply *apply, const FeIngestView *view)
{
	if (!fe_pass_is_over_views(apply) && view->join == NULL)
		return false;
	return (uint32) view->plan->viewid % apply->groups ==
		apply->pass % fe_passes_over_views(apply) / apply->parts;
}

static inline bool
fe_pass_is_full(const FeApply *apply)
{
	return apply->nops * sizeof(FeOp) + apply->group_cxt->mem_allocated > apply->limit;
}

/* ---- apply.c ---------------------------------------------------------------- */

/* Is there room in state for what rows may take, by their fe_state_room? */
extern bool fe_apply_has_room(const FeApply *apply, Size room);
/*
 * Rows of a backfill that are in no batch: begin, evaluate them, merge them,
 * evaluate more.  False: there is no room for them.
 */
extern void fe_apply_begin_rows(FeApply *apply, FeBackfillJob *job);
extern bool fe_apply_merge_rows(FeApply *apply);

/* ---- changes.c ------------------------------------------------------------ */

/*
 * The change row of a record, into table->change; its images have been read with
 * their states.  False: the view leaves it out, for the log does not tell all that
 * is needed of it; ERROR where the view must not.
 */
extern bool fe_change_row(FeApply *apply, const FeIngestUse *use, FeIngestTable *table,
						  const FeRecord *rec);

/* ---- change_times.c ------------------------------------------------------- */

/*
 * Notes that the record changes a row, whose images are in the table's arrays, at
 * the current transaction's commit; when it was changed before, false: not known.
 */
extern bool fe_change_time(FeApply *apply, const FeIngestUse *use, const FeIngestTable *table,
						   const FeRecord *rec, TimestampTz *before_at);
extern void fe_change_times_truncate(FeApply *apply, const FeIngestUse *use, Oid relid);
/* Before the group is merged: ends the transaction, and begins another. */
extern void fe_change_times_flush(FeApply *apply);
/* The same between two records, where there are many; there are some. */
extern void fe_change_times_relieve(FeApply *apply);

/* ---- evaluate.c ----------------------------------------------------------- */

/*
 * One record of the transaction being read: its row images are evaluated for
 * every view that takes them.  ERROR: see fe_apply_failed_view.
 */
extern void fe_evaluate_change(FeApply *apply, const FeRecord *rec);
/* TRUNCATE: what the transaction did to the view so far no longer counts. */
extern void fe_evaluate_truncate(FeApply *apply, const FeRecord *rec);
/* At the end of the transaction: which views it leaves to be built anew. */
extern void fe_evaluate_truncations(FeApply *apply);

/* For joins: the pieces of that. */
extern FeIngestTable *fe_evaluate_table(FeApply *apply, Oid relid);
extern bool fe_evaluate_takes(const FeApply *apply, const FeIngestView *view);
extern void fe_evaluate_decode(FeApply *apply, FeIngestTable *table, const FeRecord *rec,
							   int *absent_old);
extern bool fe_evaluate_check_old(FeApply *apply, FeIngestView *view, const FeRecord *rec,
								  int absent_old);
/* The row's contribution; its values are in CurrentMemoryContext, or point into the row. */
extern bool fe_evaluate_row(FeApply *apply, const FeIngestUse *use, const Datum *row,
							const bool *rownulls, int sign, FeOp *op);
extern bool fe_evaluate_same(const FeIngestView *view, const FeDelta *a, const FeDelta *b);
/* evaluate(arg), whose error stops this view or is skipped by it, as the view's owner. */
extern void fe_evaluate_guarded(FeApply *apply, FeIngestView *view,
								void (*evaluate) (void *arg), void *arg);
/* Drops what the transaction did to the view, or part, so far; false: that was nothing. */
extern bool fe_evaluate_drop(FeApply *apply, const FeIngestView *view);
extern void fe_group_push(FeApply *apply, const FeOp *op);
/* A row that goes and one that comes in its place (NULL: none), unless they are the same. */
extern void fe_group_push_update(FeApply *apply, const FeOp *oldop, const FeOp *newop);

/* ---- join.c ------------------------------------------------------------------- */

/* A key of a dimension, as a delta of a part. */
typedef struct FeJoinProbe
{
	FeDelta		delta;
	Datum		values[FE_MAX_KEYS + 2];
	bool		nulls[FE_MAX_KEYS + 2];
} FeJoinProbe;

/* A record of the fact table; the arrays hold its rows. */
extern void fe_join_fact_change(FeApply *apply, const FeIngestUse *use, FeIngestTable *table,
								const FeRecord *rec);
/* A record of a dimension, while its rows are only collected. */
extern void fe_join_dimension_change(FeApply *apply, const FeIngestUse *use,
									 FeIngestTable *table, const FeRecord *rec);

/* TRUNCATE of either. */
extern void fe_join_fact_truncate(FeApply *apply, const FeIngestUse *use);
extern void fe_join_dimension_truncate(FeApply *apply, const FeIngestUse *use);

/* The key of a dimension's row.  False: it has a NULL, and so is never looked up. */
extern bool fe_join_dimension_key(const FeIngestView *view, int d, const Datum *row,
								  const bool *rownulls, FeJoinProbe *probe);
/* The key that the joined row at hand has for a dimension.  False: it has a NULL. */
extern bool fe_join_row_key(const FeIngestView *view, int d, int part, FeJoinProbe *probe);
/* The image of a dimension's row, whose columns of the joined row are in it. */
extern Datum fe_join_dimension_image(const FeIngestView *view, int d, const Datum *row,
									 const bool *rownulls);
/* Puts a dimension's row, or NULLs (image 0), into the joined row. */
extern void fe_join_put_dimension(const FeIngestView *view, int d, Datum image);
/*
 * Looks up the rows of dimensions for the joined row at hand, but for that of
 * dimension except; before: those that the transaction at hand has not changed
 * yet, of dimensions after that one.  False: there is none where one is needed.
 */
extern bool fe_join_look_up(FeApply *apply, FeIngestView *view, int except);
/* Evaluates the joined row; the op's values last as long as the group. */
extern bool fe_join_evaluate(FeApply *apply, FeIngestView *view, int sign, FeOp *op);
/* Takes images into or out of a part, as often as count says. */
extern void fe_join_push_part(FeApply *apply, FeIngestView *view, int part,
							  const FeJoinProbe *probe, Datum image, int64 count);
/* A fact row as it is kept for a dimension, into the joined row. */
extern void fe_join_put_fact(const FeIngestView *view, int d, Datum image);

/* ---- join_net.c ------------------------------------------------------------------ */

/*
 * What the transaction after the first n of the batch does to dimensions, in all;
 * to be known before any of its rows is evaluated.
 */
extern void fe_net_collect(FeApply *apply, uint64 n);
extern void fe_net_forget(FeApply *apply);
/*
 * The changes of dimensions themselves, and of what is joined with them.  Called
 * when the transaction begins.
 */
extern void fe_net_apply(FeApply *apply);
/*
 * The row of a key, 0 = none: in state, and after what the transaction at hand does
 * if changed.  ERROR if there are several.
 */
extern Datum fe_net_row(FeApply *apply, FeIngestView *view, int d, const FeJoinProbe *probe,
						bool changed);

/* ---- event_times.c --------------------------------------------------------- */

/* A row image that enters: its event time is noted.  True: it is left out, for all
 * its windows have ended by *watermark; PG_INT64_MIN: there is none. */
extern bool fe_event_time_is_late(FeApply *apply, FeIngestView *view, const Datum *values,
								  const bool *nulls, FeTime *watermark);
/* A pass over the batch begins; an attempt at what is not merged yet; a transaction
 * has been read; one has been merged. */
extern void fe_event_times_begin_pass(FeApply *apply);
extern void fe_event_times_begin(FeApply *apply);
extern void fe_event_times_end_txn(FeApply *apply);
extern void fe_event_times_merged(FeApply *apply, const FeGroupTxn *txn);

#endif							/* FE_GROUP_H */
