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
 * A large transaction is applied in several passes over its records (passes.c).
 * The first one of a view evaluates every row, so an error stops that view before
 * any of the transaction is merged into it.
 *
 * Takes no locks itself; the state room locks one entity at a time.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "ingest/group.h"

#define FE_GROUP_OPS		4096	/* row images evaluated before a merge */
#define FE_KEEP_OPS			(256 * 1024)	/* room for so many is kept */
#define FE_SCRATCH			256
#define FE_PREFETCH_BUCKET	40
#define FE_PREFETCH_ENTITY	26
#define FE_PREFETCH_PANES	12

/* How a pass, or the merge of a group, ended. */
typedef enum PassResult
{
	PASS_DONE,
	PASS_AGAIN,					/* begin it again after what is merged */
	PASS_NO_MEMORY
} PassResult;

static void
make_arrays(FeApply *apply)
{
	apply->max_ops = FE_GROUP_OPS * 2;
	apply->ops = MemoryContextAllocHuge(TopMemoryContext, apply->max_ops * sizeof(FeOp));
	apply->max_scratch = FE_SCRATCH;
	apply->scratch = MemoryContextAllocHuge(TopMemoryContext,
											apply->max_scratch * sizeof(FeDelta));
}

/* What one large transaction needed is not kept for ever. */
static void
trim_arrays(FeApply *apply)
{
	if (apply->max_ops <= FE_KEEP_OPS && apply->max_scratch <= FE_KEEP_OPS)
		return;
	pfree(apply->ops);
	pfree(apply->scratch);
	make_arrays(apply);
}

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
	apply->row_cxt = AllocSetContextCreate(TopMemoryContext, "feature_engine joined row",
										   ALLOCSET_DEFAULT_SIZES);
	apply->net_cxt = AllocSetContextCreate(TopMemoryContext, "feature_engine dimensions",
										   ALLOCSET_DEFAULT_SIZES);
	make_arrays(apply);
	apply->max_txns = FE_GROUP_OPS;
	apply->txns = MemoryContextAlloc(TopMemoryContext, apply->max_txns * sizeof(FeGroupTxn));
	return apply;
}

void
fe_apply_start(FeApply *apply, FeBatch *batch, FeBackfillJob *job)
{
	apply->batch = batch;
	apply->job = job;
	apply->merged_some = false;
	fe_passes_begin(apply);
	fe_event_times_begin_pass(apply);
	fe_skip_relax(apply->ingest);
}

FeIngestView *
fe_apply_failed_view(FeApply *apply, bool *skips)
{
	FeIngestView *view = apply->failed;

	/*
	 * A row that is left out is so in every pass: what is merged remains right.  A
	 * view that stops is built anew, whatever is merged into it; but an error that
	 * was not raised in its first pass is none of the row's.
	 */
	*skips = apply->skips;
	if (apply->merged_some && !apply->skips && fe_pass_part(apply) > 0)
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
	apply->times = NULL;
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

	if (!apply->job)
		fe_commits_note(apply->ingest->db, txn->end_lsn, txn->commit_time);
	/* in each pass: transactions before and after it are in the same ones */
	foreach(lc, txn->truncated)
		fe_state_truncate_begin(((FeIngestView *) lfirst(lc))->writer, txn->end_lsn,
								apply->parts, fe_pass_part(apply));
	foreach(lc, txn->left_out)
	{
		FeLeftOut  *count = lfirst(lc);
		FeViewShared *view = count->view->shared;

		pg_atomic_write_u64(&view->skipped, pg_atomic_read_u64(&view->skipped) + count->skipped);
		pg_atomic_write_u64(&view->expired, pg_atomic_read_u64(&view->expired) + count->expired);
		pg_atomic_write_u64(&view->late, pg_atomic_read_u64(&view->late) + count->late);
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
	fe_event_times_merged(apply, txn);
	foreach(lc, txn->rebuilt)
		fe_ingest_rebuild_view(apply->ingest, lfirst(lc), FE_TRUNCATED_IN_PART);
}

/* A transaction is in: everybody may see it. */
static void
publish_txn(FeApply *apply, const FeGroupTxn *txn)
{
	FeDatabase *db = apply->ingest->db;

	if (apply->job)
		return;
	apply->ingest->stream_lsn = txn->end_lsn;
	if (txn->end_lsn <= pg_atomic_read_u64(&db->applied_lsn))
		return;					/* read once more */
	pg_atomic_write_u64(&db->applied_lsn, txn->end_lsn);
	pg_atomic_write_u64(&db->transactions, pg_atomic_read_u64(&db->transactions) + 1);
	pg_atomic_write_u64(&db->changes, pg_atomic_read_u64(&db->changes) + txn->changes);
	db->last_commit_ts = txn->commit_time;
}

/*
 * A transaction that is only partly in leaves the mark standing, also while it
 * waits for memory and rows of a backfill are merged.
 */
static void
clear_mark(const FeApply *apply)
{
	if (!apply->ingest->apply->merged_some)
		pg_atomic_write_u32(&apply->ingest->db->merging, 0);
}

/*
 * Merges the first transactions of the group; the caller has made room.  Until
 * the mark is cleared nothing may raise an error.
 */
static void
merge_txns(FeApply *apply, int n)
{
	bool		last = apply->pass + 1 == fe_passes_count(apply);
	FeTime		now = fe_clock_now();

	fe_inject_point("merge");
	pg_atomic_write_u32(&apply->ingest->db->merging, 1);
	for (int t = 0; t < n; t++)
	{
		merge_txn(apply, &apply->txns[t], now);
		apply->pass_txns++;
		fe_inject_crash("merging");
		if (last)
			publish_txn(apply, &apply->txns[t]);
		else
			apply->merged_some = true;
	}
	clear_mark(apply);
	fe_ingest_check_bounds(apply->ingest);
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
bool
fe_apply_has_room(const FeApply *apply, Size room)
{
	return fe_heap_has_room(apply->ingest->heap, room / 2);
}

/* How many of the group's transactions there is room for. */
static int
count_fitting(const FeApply *apply, Size *room)
{
	int			fits = 0;

	*room = apply->room;
	if (fe_apply_has_room(apply, *room))
		return apply->ntxns;
	for (*room = 0; fits < apply->ntxns; fits++)
	{
		*room += txn_room(apply, &apply->txns[fits]);
		/* what only shrinks state may always go on */
		if (*room > 0 && !fe_apply_has_room(apply, *room))
			break;
	}
	return fits;
}

/* Merges the group as far as memory allows. */
static PassResult
merge_group(FeApply *apply)
{
	Size		room;
	int			fits = count_fitting(apply, &room);

	if (fits > 0)
	{
		fe_change_times_flush(apply);
		merge_txns(apply, fits);
	}
	if (fits == apply->ntxns)
		return PASS_DONE;
	if (fits > 0)
		return PASS_AGAIN;
	if (fe_passes_divide_room(apply, apply->txns[0].end - apply->txns[0].first, room))
		return PASS_AGAIN;
	return PASS_NO_MEMORY;
}

/* ---- rows without records ---------------------------------------------------- */

void
fe_apply_begin_rows(FeApply *apply, FeBackfillJob *job)
{
	apply->job = job;
	apply->pass = 0;
	apply->pass_txns = 0;
	apply->whole_txns = 0;
	apply->groups = 1;
	apply->parts = 1;
	fe_net_forget(apply);
	reset_group(apply);
	memset(&apply->current, 0, sizeof(FeGroupTxn));
	apply->current.end_lsn = fe_backfill_lsn(job);
}

bool
fe_apply_merge_rows(FeApply *apply)
{
	if (!fe_apply_has_room(apply, apply->room))
		return false;
	apply->current.first = 0;
	apply->current.end = apply->nops;
	apply->txns[0] = apply->current;
	apply->ntxns = 1;
	merge_txns(apply, 1);
	reset_group(apply);
	return true;
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
	if (apply->net != NULL)
		fe_net_apply(apply);
}

static void
end_txn(FeApply *apply)
{
	apply->current.end = apply->nops;
	fe_event_times_end_txn(apply);
	fe_evaluate_truncations(apply);
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
		case FE_RECORD_TRUNCATE_PART:
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

/*
 * After a record, in the middle of a transaction or at its end: the group is
 * merged when it is large enough.
 */
static PassResult
end_record(FeApply *apply, bool commit)
{
	PassResult	result;

	if (unlikely(apply->times != NULL))
		fe_change_times_relieve(apply);
	/* what comes after it needs dimensions as it has left them */
	if (commit && (apply->nops >= FE_GROUP_OPS || apply->net != NULL))
	{
		result = merge_group(apply);
		if (result == PASS_DONE)
		{
			reset_group(apply);
			fe_net_forget(apply);
		}
		return result;
	}
	if (commit || !fe_pass_is_full(apply))
		return PASS_DONE;

	/* what is whole makes room; then the transaction is begun again */
	if (apply->ntxns == 0)
		return fe_passes_divide_rows(apply) ? PASS_AGAIN : PASS_DONE;
	result = merge_group(apply);
	return result == PASS_DONE ? PASS_AGAIN : result;
}

/*
 * The transaction at hand is to be read again, after what is before it has been
 * merged.
 */
static PassResult
leave_txn(FeApply *apply)
{
	PassResult	result;

	apply->again = false;
	if (apply->ntxns == 0)
		return PASS_AGAIN;
	result = merge_group(apply);
	return result == PASS_DONE ? PASS_AGAIN : result;
}

/* The first transaction changes dimensions: what it does to them comes first. */
static void
begin_net(FeApply *apply)
{
	fe_net_forget(apply);
	apply->again = false;
	apply->stopped = false;
	if (apply->net_wanted)
		fe_net_collect(apply, apply->pass_txns);
	apply->net_wanted = false;
}

/* One pass over the batch, leaving out transactions that are already merged. */
static PassResult
run_pass(FeApply *apply)
{
	uint64		skip = apply->pass_txns;
	PassResult	result;
	FeRecord	rec;

	reset_group(apply);
	fe_event_times_begin(apply);
	begin_net(apply);
	fe_batch_rewind(apply->batch);
	while (fe_batch_next(apply->batch, &rec))
	{
		bool		commit = rec.kind == FE_RECORD_COMMIT;

		if (skip > 0)
		{
			if (commit)
				skip--;
			continue;
		}
		if (rec.kind == FE_RECORD_BEGIN && apply->pass_txns + apply->ntxns == apply->until)
		{
			apply->stopped = true;
			break;
		}
		evaluate_record(apply, &rec);
		result = apply->again ? leave_txn(apply) : end_record(apply, commit);
		if (result != PASS_DONE)
			return result;
		CHECK_FOR_INTERRUPTS();
	}
	return merge_group(apply);
}

FeApplyResult
fe_apply_run(FeApply *apply)
{
	MemoryContext cxt = MemoryContextSwitchTo(apply->group_cxt);
	PassResult	result = PASS_DONE;

	apply->last_table = NULL;
	apply->failed = NULL;
	apply->skips = false;
	apply->net_wanted = false;
	apply->correcting = false;
	while (apply->pass < fe_passes_count(apply) && result != PASS_NO_MEMORY)
	{
		result = run_pass(apply);
		if (result == PASS_DONE)
		{
			apply->pass++;
			apply->pass_txns = apply->whole_txns;
			if (apply->stopped && apply->pass == fe_passes_count(apply))
			{
				fe_passes_next(apply);
				clear_mark(apply);
			}
			fe_event_times_begin_pass(apply);
		}
	}
	if (result == PASS_DONE)
	{
		apply->merged_some = false;
		clear_mark(apply);
	}
	reset_group(apply);
	fe_net_forget(apply);
	trim_arrays(apply);
	MemoryContextSwitchTo(cxt);
	return result == PASS_DONE ? FE_APPLY_DONE : FE_APPLY_NO_MEMORY;
}
