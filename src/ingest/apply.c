/*
 * apply.c
 *		From a batch of change records to state: evaluate, then merge.
 *
 * Runs in the ingest worker, inside a transaction of its own.  The batch is
 * taken in groups of whole transactions.  Everything that can fail comes
 * first: reading records, evaluating the views' row expressions as their
 * owners, making sure of memory.  The merge that follows cannot fail; if the
 * worker dies in it all the same, FeDatabase.merging says that state is lost.
 *
 * A large transaction is applied in several passes over its records, each
 * taking the entities of one part of the hash space, so that every entity still
 * changes in one step.  The first pass evaluates every row, so an error stops
 * it before anything is merged.
 *
 * Takes no locks itself; the state room locks one entity at a time.
 */
#include "postgres.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "ingest/ingest.h"

#define FE_GROUP_OPS		4096	/* row images evaluated before a merge */
#define FE_PASS_BYTES		(64 * 1024 * 1024)	/* evaluated rows of a pass */
#define FE_SMALL_BATCH		(1024 * 1024)
#define FE_ROOM_PER_BYTE	8	/* of state, for a byte of records, amply */
#define FE_MAX_TIGHT_PASSES 64
#define FE_PREFETCH_BUCKET	40
#define FE_PREFETCH_ENTITY	26
#define FE_PREFETCH_PANES	12

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

static int
compare_xids(const void *a, const void *b)
{
	TransactionId x = *(const TransactionId *) a;
	TransactionId y = *(const TransactionId *) b;

	return (x > y) - (x < y);
}

/*
 * Did the snapshot see this committed top-level transaction?  It decides by
 * the copied list alone: pg_subtrans may be truncated by now.
 */
bool
fe_seen_visible(const FeSeenSnapshot *seen, TransactionId xid)
{
	if (TransactionIdPrecedes(xid, seen->xmin))
		return true;
	if (TransactionIdFollowsOrEquals(xid, seen->xmax))
		return false;
	return bsearch(&xid, seen->xip, seen->nxip, sizeof(TransactionId), compare_xids) == NULL;
}

/* Does this view take the current transaction's changes? */
static inline bool
view_takes(const FeApply *apply, const FeIngestView *view)
{
	if (apply->job)
		return fe_backfill_has_view(apply->job, view);
	if (!view->applying || apply->current.end_lsn <= view->replay_from)
		return false;
	return view->seen == NULL || !fe_seen_visible(view->seen, apply->xid);
}

static void
reset_group(FeApply *apply)
{
	MemoryContextReset(apply->group_cxt);
	apply->nops = 0;
	apply->ntxns = 0;
	apply->room = 0;
}

/* ---- evaluation ---------------------------------------------------------- */

/*
 * In a spilled batch a record's memory goes away with the next record, so
 * results that may point into it are copied.
 */
static void
copy_values(const FeIngestView *view, Datum *values, const bool *nulls)
{
	for (int i = 0; i < view->nvalues; i++)
		if (!nulls[i] && !view->typbyval[i])
			values[i] = datumCopy(values[i], false, view->typlen[i]);
}

/*
 * Evaluates one row image for a view.  False: the row is not in the view, or
 * not in this pass.
 */
static bool
evaluate_row(FeApply *apply, FeIngestView *view, const Datum *row, const bool *rownulls,
			 int sign, FeOp *op)
{
	int			n = view->nvalues;
	Datum	   *values = palloc(n * (sizeof(Datum) + sizeof(bool)));
	bool	   *nulls = (bool *) (values + n);
	FeRowResult result = fe_row_program_eval(view->program, row, rownulls,
											 view->shared->cutoff, values, nulls);

	if (result != FE_ROW_IN)
	{
		if (result == FE_ROW_EXPIRED && apply->pass == 0)
			pg_atomic_write_u64(&view->shared->expired,
								pg_atomic_read_u64(&view->shared->expired) + 1);
		pfree(values);
		return false;
	}
	op->view = view;
	op->delta.sign = sign;
	op->delta.values = values;
	op->delta.nulls = nulls;
	op->delta.hash = fe_key_hash(view->plan, values, nulls);
	if (apply->npasses > 1)
	{
		if (op->delta.hash % apply->npasses != apply->pass)
		{
			pfree(values);
			return false;
		}
		copy_values(view, values, nulls);
	}
	return true;
}

/* One row image to be evaluated with care, see fe_skip_evaluate. */
typedef struct FeCarefulImage
{
	FeApply    *apply;
	FeIngestView *view;
	const Datum *row;
	const bool *rownulls;
	int			sign;
	FeOp	   *op;
} FeCarefulImage;

static bool
evaluate_image(void *arg)
{
	FeCarefulImage *image = arg;

	return evaluate_row(image->apply, image->view, image->row, image->rownulls, image->sign,
						image->op);
}

/* It is counted when its transaction is merged: till then it may be read again. */
static void
note_skipped(FeApply *apply, FeIngestView *view)
{
	FeSkipCount *count;
	ListCell   *lc;

	if (apply->pass > 0)
		return;
	foreach(lc, apply->current.skips)
	{
		count = lfirst(lc);
		if (count->view == view)
		{
			count->images++;
			return;
		}
	}
	count = palloc(sizeof(FeSkipCount));
	count->view = view;
	count->images = 1;
	apply->current.skips = lappend(apply->current.skips, count);
}

/* evaluate_row for a view whose expressions raise errors at present. */
static bool
evaluate_carefully(FeApply *apply, FeCarefulImage *image)
{
	FeIngestView *view = image->view;
	FeDelta    *delta = &image->op->delta;
	int			n = view->nvalues;
	bool		skipped = false;
	bool		in = fe_skip_evaluate(view, apply->careful_cxt, evaluate_image, image, &skipped);

	if (skipped)
		note_skipped(apply, view);
	else if (in)
	{
		Datum	   *values = palloc(n * (sizeof(Datum) + sizeof(bool)));

		memcpy(values, delta->values, n * (sizeof(Datum) + sizeof(bool)));
		delta->values = values;
		delta->nulls = (bool *) (values + n);
		copy_values(view, delta->values, delta->nulls);
	}
	MemoryContextReset(apply->careful_cxt);
	return in;
}

static inline bool
evaluate(FeApply *apply, FeIngestView *view, const Datum *row, const bool *rownulls,
		 int sign, FeOp *op)
{
	FeCarefulImage image = {apply, view, row, rownulls, sign, op};

	if (likely(view->careful == 0))
		return evaluate_row(apply, view, row, rownulls, sign, op);
	return evaluate_carefully(apply, &image);
}

/* Same values, byte for byte: the update leaves the view as it was. */
static bool
same_contribution(const FeIngestView *view, const FeDelta *a, const FeDelta *b)
{
	if (a->hash != b->hash)
		return false;
	for (int i = 0; i < view->nvalues; i++)
	{
		if (a->nulls[i] != b->nulls[i])
			return false;
		if (a->nulls[i] || a->values[i] == b->values[i])
			continue;
		if (view->typbyval[i] ||
			!datumIsEqual(a->values[i], b->values[i], false, view->typlen[i]))
			return false;
	}
	return true;
}

static void
push_op(FeApply *apply, const FeOp *op)
{
	if (apply->nops == apply->max_ops)
	{
		apply->max_ops *= 2;
		apply->ops = repalloc_huge(apply->ops, apply->max_ops * sizeof(FeOp));
	}
	apply->ops[apply->nops++] = *op;
	apply->room += fe_state_room(op->view->writer, &op->delta, 1);
}

/*
 * What the log tells of a row that changed must be the whole old row.  A view
 * that cannot know it stops, with the reason, rather than be wrong.
 */
static bool
check_old_row(FeApply *apply, FeIngestView *view, const FeRecord *rec, int absent_old)
{
	if (view->plan->options.append_only)
	{
		fe_ingest_fail_view(apply->ingest, view,
							"the feature view is append_only, but a row of its table was updated or deleted");
		return false;
	}
	if (!rec->has_old || absent_old > 0)
	{
		fe_ingest_fail_view(apply->ingest, view,
							"the old values of a changed row are not in the log: the table needs REPLICA IDENTITY FULL");
		return false;
	}
	return true;
}

static void
evaluate_for_view(FeApply *apply, FeIngestView *view, FeIngestTable *table,
				  const FeRecord *rec, int absent_old)
{
	FeOp		oldop;
	FeOp		newop;
	bool		has_old = false;
	bool		has_new = false;
	FeOwnerContext owner;

	if (rec->kind == FE_RECORD_UPDATE || rec->kind == FE_RECORD_DELETE)
	{
		if (!check_old_row(apply, view, rec, absent_old))
			return;
	}

	fe_owner_enter(&owner, view->plan, fe_row_program_runs_code(view->program));
	if (rec->has_old)
		has_old = evaluate(apply, view, table->oldvalues, table->oldnulls, -1, &oldop);
	if (rec->has_new)
		has_new = evaluate(apply, view, table->newvalues, table->newnulls, 1, &newop);
	fe_owner_leave(&owner);

	if (has_old && has_new && same_contribution(view, &oldop.delta, &newop.delta))
		return;
	if (has_old)
		push_op(apply, &oldop);
	if (has_new)
		push_op(apply, &newop);
}

/*
 * An error in a view's expression stops that view, not the others: whoever
 * called fe_apply_run ends the transaction, and begins again without the view.
 * Or, if the view skips such rows, with this view's taken with care.
 */
static void
evaluate_guarded(FeApply *apply, FeIngestView *view, FeIngestTable *table,
				 const FeRecord *rec, int absent_old)
{
	PG_TRY();
	{
		evaluate_for_view(apply, view, table, rec, absent_old);
	}
	PG_CATCH();
	{
		MemoryContext cxt = MemoryContextSwitchTo(apply->group_cxt);
		ErrorData  *edata = CopyErrorData();

		if (view->careful == 0 && fe_skip_allows(view, edata))
		{
			fe_skip_take_care(view);
			apply->failed = view;
			apply->skips = true;
		}
		else if (edata->sqlerrcode != ERRCODE_ADMIN_SHUTDOWN &&
				 edata->sqlerrcode != ERRCODE_QUERY_CANCELED)
		{
			fe_ingest_fail_view(apply->ingest, view, edata->message);
			apply->failed = view;
		}
		MemoryContextSwitchTo(cxt);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static FeIngestTable *
find_table(FeApply *apply, Oid relid)
{
	if (apply->last_table == NULL || apply->last_table->relid != relid)
	{
		apply->last_table = fe_ingest_table(apply->ingest, relid);
		apply->last_columns = apply->job ? fe_backfill_columns(apply->job) :
			fe_capture_table(apply->ingest->capture, relid);
	}
	return apply->last_table;
}

static void
evaluate_change(FeApply *apply, const FeRecord *rec)
{
	FeIngestTable *table = find_table(apply, rec->relid);
	bool		decoded = false;
	int			absent_old = 0;

	if (table == NULL)
		return;
	for (int i = 0; i < table->nviews; i++)
	{
		FeIngestView *view = table->views[i];

		if (!view_takes(apply, view))
			continue;
		if (!decoded)
		{
			if (rec->has_old)
				absent_old = fe_record_read_image(rec, true, apply->last_columns,
												  table->oldvalues, table->oldnulls, NULL);
			if (rec->has_new)
				fe_record_read_image(rec, false, apply->last_columns,
									 table->newvalues, table->newnulls, NULL);
			decoded = true;
			apply->current.changes++;
		}
		evaluate_guarded(apply, view, table, rec, absent_old);
	}
}

/* TRUNCATE: what the transaction did to the view so far no longer counts. */
static void
evaluate_truncate(FeApply *apply, const FeRecord *rec)
{
	FeIngestTable *table = find_table(apply, rec->relid);

	if (table == NULL)
		return;
	for (int i = 0; i < table->nviews; i++)
	{
		FeIngestView *view = table->views[i];
		int			kept = apply->current.first;

		if (!view_takes(apply, view))
			continue;
		for (int op = apply->current.first; op < apply->nops; op++)
			if (apply->ops[op].view != view)
				apply->ops[kept++] = apply->ops[op];
		apply->nops = kept;
		apply->current.truncated = list_append_unique_ptr(apply->current.truncated, view);
		apply->current.changes++;
	}
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
			evaluate_truncate(apply, rec);
			break;
		case FE_RECORD_INSERT:
		case FE_RECORD_UPDATE:
		case FE_RECORD_DELETE:
		case FE_RECORD_READ:
			evaluate_change(apply, rec);
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
