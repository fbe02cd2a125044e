/*
 * apply.c
 *		From a batch of change records to state: evaluate, then merge.
 *
 * Runs in the ingest worker, inside a transaction of its own.  The batch is
 * taken in groups of whole transactions.  Everything that can fail comes
 * first: reading records, evaluating rows (evaluate.c), making sure of memory.
 * The merge that follows cannot fail; if the worker dies in it all the same,
 * FeDatabase.merging says that state is lost.
 *
 * A large transaction is applied in several passes over its records, each
 * taking the entities of one part of the hash space, so that every entity still
 * changes in one step.  The first pass evaluates every row, so an error stops
 * it before anything is merged.
 *
 * Takes no locks itself; the state room locks one entity at a time.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "ingest/group.h"

#define FE_GROUP_OPS		4096	/* row images evaluated before a merge */
#define FE_PASS_BYTES		(64 * 1024 * 1024)	/* evaluated rows of a pass */
#define FE_SMALL_BATCH		(1024 * 1024)
#define FE_ROOM_PER_BYTE	8	/* of state, for a byte of records, amply */
#define FE_MAX_TIGHT_PASSES 64
#define FE_PREFETCH_BUCKET	40
#define FE_PREFETCH_ENTITY	26
#define FE_PREFETCH_PANES	12

FeApply *
fe_apply_create(FeIngest *ingest)
{
	FeApply    *apply = MemoryContextAllocZero(TopMemoryContext, sizeof(FeApply));

	apply->ingest = ingest;
	apply->group_cxt = AllocSetContextCreate(TopMemoryContext, "feature_engine apply",
											 ALLOCSET_DEFAULT_MINSIZE, 64 * 1024,
											 ALLOCSET_DEFAULT_MAXSIZE);
	apply->careful_cxt = AllocSetContextCreate(TopMemoryContext, "feature_engine careful row",
											   ALLOCSET_DEFAULT_SIZES);
	apply->max_ops = FE_GROUP_OPS * 2;
	apply->ops = MemoryContextAllocHuge(TopMemoryContext, apply->max_ops * sizeof(FeOp));
	apply->max_txns = FE_GROUP_OPS;
	apply->txns = MemoryContextAlloc(TopMemoryContext, apply->max_txns * sizeof(FeGroupTxn));
	apply->max_scratch = 256;
	apply->scratch = MemoryContextAllocHuge(TopMemoryContext,
											apply->max_scratch * sizeof(FeDelta));
	return apply;
}

/*
 * In how many passes: evaluated rows, about twice their records, are held in
 * our own memory; and where state is nearly full, less of the entities at a
 * time need less room to be made sure of.  Small batches take one.
 */
static uint32
choose_passes(const FeApply *apply, Size bytes)
{
	uint32		passes = 1 + (uint32) (bytes * 2 / FE_PASS_BYTES);

	if (bytes < FE_SMALL_BATCH)
		return 1;
	while (passes < FE_MAX_TIGHT_PASSES &&
		   !fe_heap_has_room(apply->ingest->heap, bytes * FE_ROOM_PER_BYTE / passes))
		passes *= 2;
	return passes;
}

void
fe_apply_start(FeApply *apply, FeBatch *batch, FeBackfillJob *job)
{
	apply->batch = batch;
	apply->job = job;
	apply->pass_txns = 0;
	apply->pass = 0;
	apply->merged_some = false;
	apply->npasses = choose_passes(apply, fe_batch_bytes(batch));
	fe_skip_relax(apply->ingest);
}

FeIngestView *
fe_apply_failed_view(FeApply *apply, bool *skips)
{
	FeIngestView *view = apply->failed;

	/* a row that is left out is so in every pass: what is merged remains right */
	*skips = apply->skips;
	if (apply->merged_some && !apply->skips)
		view = NULL;
	apply->failed = NULL;
	apply->skips = false;
	return view;
}

bool
fe_apply_in_middle(const FeApply *apply)
{
	return apply->merged_some;
}

static void
reset_group(FeApply *apply)
{
	MemoryContextReset(apply->group_cxt);
	apply->nops = 0;
	apply->ntxns = 0;
	apply->room = 0;
}

/* ---- merging ------------------------------------------------------------- */

static int
compare_ops(const void *a, const void *b)
{
	const FeOp *x = a;
	const FeOp *y = b;

	if (x->view->index != y->view->index)
		return x->view->index < y->view->index ? -1 : 1;
	if (x->delta.hash != y->delta.hash)
		return x->delta.hash < y->delta.hash ? -1 : 1;
	return 0;
}

/* All row images of one hash of one view: one atomic change. */
static void
merge_entity(FeApply *apply, const FeOp *ops, int n, XLogRecPtr lsn, FeTime now)
{
	if (n == 1)
	{
		fe_state_apply(ops->view->writer, &ops->delta, 1, lsn, now);
		return;
	}
	if (n > apply->max_scratch)
	{
		apply->max_scratch = n * 2;
		apply->scratch = repalloc_huge(apply->scratch, apply->max_scratch * sizeof(FeDelta));
	}
	for (int i = 0; i < n; i++)
		apply->scratch[i] = ops[i].delta;
	fe_state_apply(ops->view->writer, apply->scratch, n, lsn, now);
}

static inline void
prefetch_ops(const FeApply *apply, int at)
{
	const FeOp *op;

	if (at + FE_PREFETCH_BUCKET < apply->nops)
	{
		op = &apply->ops[at + FE_PREFETCH_BUCKET];
		fe_state_prefetch(op->view->writer, op->delta.hash, 0);
	}
	if (at + FE_PREFETCH_ENTITY < apply->nops)
	{
		op = &apply->ops[at + FE_PREFETCH_ENTITY];
		fe_state_prefetch(op->view->writer, op->delta.hash, 1);
	}
	if (at + FE_PREFETCH_PANES < apply->nops)
	{
		op = &apply->ops[at + FE_PREFETCH_PANES];
		fe_state_prefetch(op->view->writer, op->delta.hash, 2);
	}
}

static void
merge_txn(FeApply *apply, FeGroupTxn *txn, FeTime now)
{
	FeOp	   *ops = apply->ops;
	int			n = txn->end - txn->first;
	ListCell   *lc;

	/* in each pass: transactions before and after it are in the same ones */
	foreach(lc, txn->truncated)
		fe_state_truncate_begin(((FeIngestView *) lfirst(lc))->writer, txn->end_lsn,
								apply->npasses, apply->pass);
	foreach(lc, txn->skips)
	{
		FeSkipCount *count = lfirst(lc);
		pg_atomic_uint64 *skipped = &count->view->shared->skipped;

		pg_atomic_write_u64(skipped, pg_atomic_read_u64(skipped) + count->images);
	}
	if (n > 1)
		qsort(ops + txn->first, n, sizeof(FeOp), compare_ops);
	for (int i = txn->first; i < txn->end;)
	{
		int			first = i;

		do
		{
			prefetch_ops(apply, i);
			i++;
		} while (i < txn->end && ops[i].delta.hash == ops[first].delta.hash &&
				 ops[i].view == ops[first].view);
		merge_entity(apply, ops + first, i - first, txn->end_lsn, now);
	}
	foreach(lc, txn->truncated)
		fe_state_truncate_end(((FeIngestView *) lfirst(lc))->writer, txn->end_lsn);
}

/* A transaction is in: everybody may see it. */
static void
publish_txn(FeApply *apply, const FeGroupTxn *txn)
{
	FeDatabase *db = apply->ingest->db;

	if (apply->job)
		return;
	pg_atomic_write_u64(&db->applied_lsn, txn->end_lsn);
	pg_atomic_write_u64(&db->transactions, pg_atomic_read_u64(&db->transactions) + 1);
	pg_atomic_write_u64(&db->changes, pg_atomic_read_u64(&db->changes) + txn->changes);
	db->last_commit_ts = txn->commit_time;
}

/*
 * Merges transactions [from, to) of the group; the caller has made room.  From
 * here to the end nothing may raise an error.
 */
static void
merge_txns(FeApply *apply, int from, int to)
{
	FeDatabase *db = apply->ingest->db;
	FeTime		now = fe_clock_now();

	fe_inject_point("merge");
	pg_atomic_write_u32(&db->merging, 1);
	for (int t = from; t < to; t++)
	{
		merge_txn(apply, &apply->txns[t], now);
		apply->pass_txns++;
		fe_inject_crash("merging");
		if (apply->pass + 1 == apply->npasses)
			publish_txn(apply, &apply->txns[t]);
		else
			apply->merged_some = true;
	}
	if (apply->pass + 1 == apply->npasses)
		apply->merged_some = false;
	/*
	 * A transaction that is only partly in leaves the mark standing, also while
	 * it waits for memory and rows of a backfill are merged.
	 */
	if (!apply->ingest->apply->merged_some)
		pg_atomic_write_u32(&db->merging, 0);
}

static Size
txn_room(const FeApply *apply, const FeGroupTxn *txn)
{
	Size		room = 0;

	for (int i = txn->first; i < txn->end; i++)
		room += fe_state_room(apply->ops[i].view->writer, &apply->ops[i].delta, 1);
	return room;
}

/*
 * Is there room for what these rows may take?  fe_heap_has_room allows for
 * double; the estimate already is about twice what rows really need.
 */
static bool
has_room(const FeApply *apply, Size room)
{
	return fe_heap_has_room(apply->ingest->heap, room / 2);
}

/* Merges the group as far as memory allows. */
static FeApplyResult
merge_group(FeApply *apply)
{
	int			fits = apply->ntxns;

	if (apply->ntxns == 0)
		return FE_APPLY_DONE;
	if (!has_room(apply, apply->room))
	{
		Size		room = 0;

		for (fits = 0; fits < apply->ntxns; fits++)
		{
			FeGroupTxn *txn = &apply->txns[fits];

			/* what only shrinks state may always go on */
			room += txn_room(apply, txn);
			if (room > 0 && !has_room(apply, room))
				break;
		}
	}
	if (fits > 0)
		merge_txns(apply, 0, fits);
	return fits == apply->ntxns ? FE_APPLY_DONE : FE_APPLY_NO_MEMORY;
}

/* ---- the loop over records ------------------------------------------------ */

static void
begin_txn(FeApply *apply, const FeRecord *rec)
{
	apply->xid = rec->xid;
	if (apply->job == NULL && apply->pass == 0)
		fe_capture_note_read(apply->ingest->capture, rec->xid);
	memset(&apply->current, 0, sizeof(FeGroupTxn));
	apply->current.first = apply->nops;
	apply->current.end_lsn = rec->end_lsn;
	apply->current.commit_time = rec->commit_time;
}

static void
end_txn(FeApply *apply)
{
	apply->current.end = apply->nops;
	if (apply->ntxns == apply->max_txns)
	{
		apply->max_txns *= 2;
		apply->txns = repalloc(apply->txns, apply->max_txns * sizeof(FeGroupTxn));
	}
	apply->txns[apply->ntxns++] = apply->current;
}

static void
evaluate_record(FeApply *apply, const FeRecord *rec)
{
	switch (rec->kind)
	{
		case FE_RECORD_BEGIN:
			begin_txn(apply, rec);
			break;
		case FE_RECORD_COMMIT:
			end_txn(apply);
			break;
		case FE_RECORD_TRUNCATE:
			fe_evaluate_truncate(apply, rec);
			break;
		case FE_RECORD_INSERT:
		case FE_RECORD_UPDATE:
		case FE_RECORD_DELETE:
		case FE_RECORD_READ:
			fe_evaluate_change(apply, rec);
			break;
	}
}

/* One pass over the batch, leaving out transactions that are already merged. */
static FeApplyResult
run_pass(FeApply *apply)
{
	uint64		skip = apply->pass_txns;
	FeRecord	rec;

	fe_batch_rewind(apply->batch);
	reset_group(apply);
	while (fe_batch_next(apply->batch, &rec))
	{
		if (skip > 0)
		{
			if (rec.kind == FE_RECORD_COMMIT)
				skip--;
			continue;
		}
		evaluate_record(apply, &rec);
		if (rec.kind == FE_RECORD_COMMIT && apply->nops >= FE_GROUP_OPS)
		{
			if (merge_group(apply) != FE_APPLY_DONE)
				return FE_APPLY_NO_MEMORY;
			reset_group(apply);
			CHECK_FOR_INTERRUPTS();
		}
	}
	return merge_group(apply);
}

FeApplyResult
fe_apply_run(FeApply *apply)
{
	MemoryContext cxt = MemoryContextSwitchTo(apply->group_cxt);
	FeApplyResult result = FE_APPLY_DONE;

	apply->last_table = NULL;
	apply->failed = NULL;
	apply->skips = false;
	for (; apply->pass < apply->npasses; apply->pass++)
	{
		result = run_pass(apply);
		if (result != FE_APPLY_DONE)
			break;
		apply->pass_txns = 0;
	}
	reset_group(apply);
	MemoryContextSwitchTo(cxt);
	return result;
}
