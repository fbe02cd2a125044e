/*
 * evaluate.c
 *		From change records to what each contributes to each view.
 *
 * Runs in the ingest worker, inside its transaction, as the owner of the view at
 * hand.  What a row contributes goes to the group that apply.c will merge; this
 * changes no state but that of a view which has to stop.  Takes no locks.
 */
#include "postgres.h"

#include "access/transam.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "ingest/group.h"

/* ---- which views take a transaction ---------------------------------------- */

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
bool
fe_evaluate_takes(const FeApply *apply, const FeIngestView *view)
{
	if (apply->job)
		return fe_backfill_has_view(apply->job, view);
	if (!view->applying || apply->current.end_lsn <= view->replay_from)
		return false;
	return view->seen == NULL || !fe_seen_visible(view->seen, apply->xid);
}

/* ---- one row image ---------------------------------------------------------- */

/*
 * What a view left out of the current transaction.  It is counted when that is
 * merged: till then it may be read again.
 */
static FeLeftOut *
left_out(FeApply *apply, FeIngestView *view)
{
	MemoryContext old;
	FeLeftOut  *count;
	ListCell   *lc;

	foreach(lc, apply->current.left_out)
	{
		count = lfirst(lc);
		if (count->view == view)
			return count;
	}
	old = MemoryContextSwitchTo(apply->group_cxt);
	count = palloc0(sizeof(FeLeftOut));
	count->view = view;
	apply->current.left_out = lappend(apply->current.left_out, count);
	MemoryContextSwitchTo(old);
	return count;
}

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
 * Evaluates one row image for an arm of a view.  False: the row is not in the
 * view, or not in this pass.
 */
static bool
evaluate_row(FeApply *apply, const FeIngestUse *use, const Datum *row, const bool *rownulls,
			 int sign, FeOp *op)
{
	FeIngestView *view = use->view;
	int			n = view->nvalues;
	Datum	   *values = palloc(n * (sizeof(Datum) + sizeof(bool)));
	bool	   *nulls = (bool *) (values + n);
	FeRowResult result = fe_row_program_eval(view->programs[use->arm], row, rownulls,
											 view->shared->cutoff, values, nulls);

	if (result != FE_ROW_IN)
	{
		if (result == FE_ROW_EXPIRED && fe_pass_part(apply) == 0 && !apply->correcting)
			left_out(apply, view)->expired++;
		pfree(values);
		return false;
	}
	op->delta.watermark = PG_INT64_MIN;
	/* once, whatever part the row belongs to */
	if (sign > 0 && view->plan->group_window >= 0 && !apply->correcting &&
		fe_event_time_is_late(apply, view, values, nulls, &op->delta.watermark))
	{
		if (fe_pass_part(apply) == 0)
			left_out(apply, view)->late++;
		pfree(values);
		return false;
	}
	op->view = view;
	op->delta.sign = sign;
	op->delta.values = values;
	op->delta.nulls = nulls;
	op->delta.hash = fe_key_hash(view->plan, values, nulls);
	if (op->delta.hash % apply->parts != fe_pass_part(apply))
	{
		pfree(values);
		return false;
	}
	if (!fe_batch_in_memory(apply->batch))
		copy_values(view, values, nulls);
	return true;
}

/* One row image to be evaluated with care, see fe_skip_evaluate. */
typedef struct FeCarefulImage
{
	FeApply    *apply;
	const FeIngestUse *use;
	const Datum *row;
	const bool *rownulls;
	int			sign;
	FeOp	   *op;
} FeCarefulImage;

static bool
evaluate_image(void *arg)
{
	FeCarefulImage *image = arg;

	return evaluate_row(image->apply, image->use, image->row, image->rownulls, image->sign,
						image->op);
}

/* evaluate_row for a view whose expressions raise errors at present. */
static bool
evaluate_carefully(FeApply *apply, FeCarefulImage *image)
{
	FeIngestView *view = image->use->view;
	FeDelta    *delta = &image->op->delta;
	int			n = view->nvalues;
	bool		skipped = false;
	bool		in = fe_skip_evaluate(view, apply->careful_cxt, evaluate_image, image, &skipped);

	if (skipped && fe_pass_part(apply) == 0 && !apply->correcting)
		left_out(apply, view)->skipped++;
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

bool
fe_evaluate_row(FeApply *apply, const FeIngestUse *use, const Datum *row, const bool *rownulls,
				int sign, FeOp *op)
{
	FeCarefulImage image = {apply, use, row, rownulls, sign, op};

	if (likely(use->view->careful == 0))
		return evaluate_row(apply, use, row, rownulls, sign, op);
	return evaluate_carefully(apply, &image);
}

/* Same values, byte for byte: the update leaves the view as it was. */
bool
fe_evaluate_same(const FeIngestView *view, const FeDelta *a, const FeDelta *b)
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

void
fe_group_push(FeApply *apply, const FeOp *op)
{
	if (apply->nops == apply->max_ops)
	{
		apply->max_ops *= 2;
		apply->ops = repalloc_huge(apply->ops, apply->max_ops * sizeof(FeOp));
	}
	apply->ops[apply->nops++] = *op;
	apply->room += fe_state_room(op->view->writer, &op->delta, 1);
}

/* A row that goes and one that comes in its place; NULL: there is none. */
void
fe_group_push_update(FeApply *apply, const FeOp *oldop, const FeOp *newop)
{
	if (oldop && newop && fe_evaluate_same(oldop->view, &oldop->delta, &newop->delta))
		return;
	if (oldop)
		fe_group_push(apply, oldop);
	if (newop)
		fe_group_push(apply, newop);
}

/*
 * What the log tells of a row that changed must be the whole old row.  A view
 * that cannot know it stops, with the reason, rather than be wrong.
 */
bool
fe_evaluate_check_old(FeApply *apply, FeIngestView *view, const FeRecord *rec, int absent_old)
{
	if ((rec->kind != FE_RECORD_UPDATE && rec->kind != FE_RECORD_DELETE) ||
		fe_plan_is_stream(view->plan))
		return true;
	if (view->plan->options.append_only)
	{
		fe_ingest_fail_view(apply->ingest, view,
							"the feature view is append_only, but a row of its table was updated or deleted");
		return false;
	}
	if (!rec->has_old || absent_old > 0)
	{
		fe_ingest_fail_view(apply->ingest, view,
							fe_is_partitioned(rec->relid) ?
							"the old values of a changed row are not in the log: every partition of the table needs REPLICA IDENTITY FULL" :
							"the old values of a changed row are not in the log: the table needs REPLICA IDENTITY FULL");
		return false;
	}
	return true;
}

/* A view over changes: the record is a row that comes. */
static void
evaluate_as_change(FeApply *apply, const FeIngestUse *use, FeIngestTable *table,
				   const FeRecord *rec)
{
	FeIngestView *view = use->view;
	FeOp		op;
	FeOwnerContext owner;
	bool		in;

	if (!fe_change_row(apply, use, table, rec))
	{
		if (fe_pass_part(apply) == 0)
			left_out(apply, view)->skipped++;
		return;
	}
	fe_owner_enter(&owner, view->plan, fe_row_program_runs_code(view->programs[use->arm]));
	in = fe_evaluate_row(apply, use, table->change, table->changenulls, 1, &op);
	fe_owner_leave(&owner);
	if (in)
		fe_group_push(apply, &op);
}

/* A record, for an arm that takes it. */
typedef struct FeArmRecord
{
	FeApply    *apply;
	const FeIngestUse *use;
	FeIngestTable *table;
	const FeRecord *rec;
} FeArmRecord;

static void
evaluate_for_arm(void *arg)
{
	FeArmRecord *record = arg;
	FeApply    *apply = record->apply;
	const FeIngestUse *use = record->use;
	FeIngestTable *table = record->table;
	const FeRecord *rec = record->rec;
	FeIngestView *view = use->view;
	FeOp		oldop;
	FeOp		newop;
	bool		has_old = false;
	bool		has_new = false;

	if (view->plan->arms[use->arm].form == FE_FORM_CHANGES)
	{
		evaluate_as_change(apply, use, table, rec);
		return;
	}
	if (view->join)
	{
		if (use->arm == 0)
			fe_join_fact_change(apply, use, table, rec);
		else
			fe_join_dimension_change(apply, use, table, rec);
		return;
	}
	if (rec->has_old)
		has_old = fe_evaluate_row(apply, use, table->oldvalues, table->oldnulls, -1, &oldop);
	if (rec->has_new)
		has_new = fe_evaluate_row(apply, use, table->newvalues, table->newnulls, 1, &newop);
	fe_group_push_update(apply, has_old ? &oldop : NULL, has_new ? &newop : NULL);
}

/*
 * An error in a view's expression stops that view, not the others: whoever
 * called fe_apply_run ends the transaction, and begins again without the view.
 * Or, if the view skips such rows, with this view's taken with care.
 */
void
fe_evaluate_guarded(FeApply *apply, FeIngestView *view, void (*evaluate) (void *arg), void *arg)
{
	PG_TRY();
	{
		FeOwnerContext owner;
		bool		as_owner = !fe_plan_is_stream(view->plan);

		/* a change row is put together first, partly from a table of our own */
		if (as_owner)
			fe_owner_enter(&owner, view->plan, view->runs_code);
		evaluate(arg);
		if (as_owner)
			fe_owner_leave(&owner);
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
		else if (!fe_worker_is_cancel(edata))
		{
			fe_ingest_fail_view(apply->ingest, view, edata->message);
			apply->failed = view;
		}
		MemoryContextSwitchTo(cxt);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* ---- one record -------------------------------------------------------------- */

FeIngestTable *
fe_evaluate_table(FeApply *apply, Oid relid)
{
	if (apply->last_table == NULL || apply->last_table->relid != relid)
	{
		apply->last_table = fe_ingest_table(apply->ingest, relid);
		apply->last_columns = apply->job ? fe_backfill_columns(apply->job, relid) :
			fe_capture_table(apply->ingest->capture, relid);
	}
	return apply->last_table;
}

/* Reads the record's row images into the table's arrays. */
void
fe_evaluate_decode(FeApply *apply, FeIngestTable *table, const FeRecord *rec, int *absent_old)
{
	*absent_old = 0;
	if (rec->has_old)
		*absent_old = fe_record_read_image(rec, true, apply->last_columns, table->oldvalues,
										   table->oldnulls, table->oldstates);
	if (rec->has_new)
		fe_record_read_image(rec, false, apply->last_columns, table->newvalues,
							 table->newnulls, table->newstates);
}

void
fe_evaluate_change(FeApply *apply, const FeRecord *rec)
{
	FeIngestTable *table = fe_evaluate_table(apply, rec->relid);
	bool		counted = false;
	bool		decoded = false;
	int			absent_old = 0;

	if (table == NULL)
		return;
	for (int i = 0; i < table->nuses; i++)
	{
		FeIngestView *view = table->uses[i].view;

		if (!fe_evaluate_takes(apply, view))
			continue;
		if (!counted)
			apply->current.changes++;
		counted = true;
		if (!fe_pass_takes_view(apply, view))
			continue;
		if (!decoded)
			fe_evaluate_decode(apply, table, rec, &absent_old);
		decoded = true;
		if (fe_evaluate_check_old(apply, view, rec, absent_old))
		{
			FeArmRecord record = {apply, &table->uses[i], table, rec};

			fe_evaluate_guarded(apply, view, evaluate_for_arm, &record);
		}
		if (apply->again)
			return;
	}
}

/* ---- TRUNCATE ---------------------------------------------------------------- */

/* Drops what the transaction did to the view so far; false: that was nothing. */
bool
fe_evaluate_drop(FeApply *apply, const FeIngestView *view)
{
	int			kept = apply->current.first;
	int			n = apply->nops;

	for (int op = apply->current.first; op < n; op++)
		if (apply->ops[op].view != view)
			apply->ops[kept++] = apply->ops[op];
	apply->nops = kept;
	return kept < n;
}

static bool
reads_other_tables(const FePlan *plan, Oid relid)
{
	for (int i = 0; i < plan->narms; i++)
		if (plan->arms[i].source != relid)
			return true;
	return false;
}

/* One of the tables of a view is empty; whether all are shows at the end. */
static void
note_truncation(FeApply *apply, FeIngestView *view, const FeRecord *rec)
{
	FeTruncation *truncation = NULL;
	ListCell   *lc;

	foreach(lc, apply->current.truncations)
		if (((FeTruncation *) lfirst(lc))->view == view)
			truncation = lfirst(lc);
	if (truncation == NULL)
	{
		truncation = palloc0(sizeof(FeTruncation));
		truncation->view = view;
		apply->current.truncations = lappend(apply->current.truncations, truncation);
	}
	truncation->relids = list_append_unique_oid(truncation->relids, rec->relid);
	/* whose rows these were is not known any more */
	truncation->mixed |= fe_evaluate_drop(apply, view) || rec->kind == FE_RECORD_TRUNCATE_PART;
}

/*
 * TRUNCATE: what the transaction did to the view so far no longer counts.  Of
 * a view that reads several tables or partitions that is not known before its
 * end.
 */
void
fe_evaluate_truncate(FeApply *apply, const FeRecord *rec)
{
	FeIngestTable *table = fe_evaluate_table(apply, rec->relid);

	if (table == NULL)
		return;
	for (int i = 0; i < table->nuses && !apply->again; i++)
	{
		const FeIngestUse *use = &table->uses[i];
		FeIngestView *view = use->view;

		if (!fe_evaluate_takes(apply, view) ||
			(i > 0 && table->uses[i - 1].view == view && view->join == NULL))
			continue;
		if (fe_plan_is_stream(view->plan))
		{
			/* nothing is ever taken back */
			if (fe_plan_uses_before_at(view->plan))
				fe_change_times_truncate(apply, &table->uses[i], table->relid);
			continue;
		}
		apply->current.changes++;
		if (!fe_pass_takes_view(apply, view))
			continue;
		if (rec->kind == FE_RECORD_TRUNCATE_PART ||
			(view->join == NULL && reads_other_tables(view->plan, rec->relid)))
			note_truncation(apply, view, rec);
		else if (view->join && use->arm > 0)
			fe_join_dimension_truncate(apply, use);
		else if (view->join)
			fe_join_fact_truncate(apply, use);
		else
		{
			(void) fe_evaluate_drop(apply, view);
			apply->current.truncated = list_append_unique_ptr(apply->current.truncated, view);
		}
	}
}

static bool
is_truncated_whole(const FeTruncation *truncation)
{
	const FePlan *plan = truncation->view->plan;

	for (int i = 0; i < plan->narms; i++)
		if (!list_member_oid(truncation->relids, plan->arms[i].source))
			return false;
	return !truncation->mixed;
}

/*
 * Several tables or partitions flow into the same accumulators: what one has
 * contributed cannot be taken out again without its rows.  If all of them
 * were emptied, before the transaction brought new rows, nothing is left;
 * else the view is built anew.
 */
void
fe_evaluate_truncations(FeApply *apply)
{
	ListCell   *lc;

	foreach(lc, apply->current.truncations)
	{
		FeTruncation *truncation = lfirst(lc);

		if (is_truncated_whole(truncation))
			apply->current.truncated = lappend(apply->current.truncated, truncation->view);
		else
			apply->current.rebuilt = lappend(apply->current.rebuilt, truncation->view);
	}
}
