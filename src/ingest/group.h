/*
 * group.h
 *		The group of transactions that is evaluated (evaluate.c), then merged
 *		(apply.c), in one or several passes (passes.c); no other file includes this.
 */
#ifndef FE_GROUP_H
#define FE_GROUP_H

#include "ingest/ingest.h"
#include "nodes/memnodes.h"

/* One row image's contribution to one view. */
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
extern bool fe_passes_divide_rows(FeApply *apply);
extern bool fe_passes_divide_room(FeApply *apply, int nops, Size room);

static inline uint32
fe_passes_count(const FeApply *apply)
{
	return apply->groups * apply->parts;
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
	return (uint32) view->plan->viewid % apply->groups == apply->pass / apply->parts;
}

static inline bool
fe_pass_is_full(const FeApply *apply)
{
	return apply->nops * sizeof(FeOp) + apply->group_cxt->mem_allocated > apply->limit;
}

/* ---- apply.c ---------------------------------------------------------------- */

/* Is there room in state for what rows may take, by their fe_state_room? */
extern bool fe_apply_has_room(const FeApply *apply, Size room);

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
