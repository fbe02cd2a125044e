/*
 * group.h
 *		The group of transactions that is evaluated (evaluate.c), then merged
 *		(apply.c); no other file includes this.
 */
#ifndef FE_GROUP_H
#define FE_GROUP_H

#include "ingest/ingest.h"

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
	List	   *truncated;		/* FeIngestView * cleared by it */
	List	   *skips;			/* FeSkipCount * */
} FeGroupTxn;

/* Row images of a transaction that a view left out because of an error. */
typedef struct FeSkipCount
{
	FeIngestView *view;
	uint64		images;
} FeSkipCount;

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

	/* transaction being read */
	TransactionId xid;
	FeGroupTxn	current;

	/* passes over a spilled transaction */
	uint32		npasses;		/* 1 = in memory */
	uint32		pass;
	bool		merged_some;

	FeIngestView *failed;		/* its expression raised the error */
	bool		skips;			/* and it will leave the row out */
	FeDelta    *scratch;		/* deltas of one entity, for fe_state_apply */
	int			max_scratch;
	FeIngestTable *last_table;	/* of the record read last */
	const FeCaptureTable *last_columns;
};

/* ---- evaluate.c ----------------------------------------------------------- */

/*
 * One record of the transaction being read: its row images are evaluated for
 * every view that takes them.  ERROR: see fe_apply_failed_view.
 */
extern void fe_evaluate_change(FeApply *apply, const FeRecord *rec);
/* TRUNCATE: what the transaction did to the view so far no longer counts. */
extern void fe_evaluate_truncate(FeApply *apply, const FeRecord *rec);

#endif							/* FE_GROUP_H */
