/*
 * join.c
 *		Views with joins: from a row of the fact table, and the rows of dimensions
 *		that it looks up, to what it contributes.
 *
 * A transaction changes such a view by
 *
 *		rows of the fact table that change, with the dimensions as they are after it,
 *		and rows that were there, with what it does to the dimensions' rows
 *
 * of which the second part is join_net.c's.  For that, both tables' rows are kept in
 * *parts* of the view (definition/join_plans.c), by the key that joins them.  Parts
 * change in the same merges as the view.  While a group of transactions is evaluated
 * they are as before it, so one that changes a dimension begins a group, and ends it.
 *
 * Dimension 0's part keeps all rows of the fact table that could ever be joined,
 * those with a NULL key in an outer join too; the others leave these out.
 *
 * Runs in the ingest worker, inside its transaction; being the only writer of
 * state it reads parts without locks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "ingest/group.h"

/* ---- keys -------------------------------------------------------------------------- */

/* Integers of all widths are compared as int8. */
static Datum
key_value(const FeJoinKey *key, Oid type, Datum value)
{
	if (key->type != INT8OID)
		return value;
	switch (type)
	{
		case INT2OID:
			return Int64GetDatum(DatumGetInt16(value));
		case INT4OID:
			return Int64GetDatum(DatumGetInt32(value));
		default:
			return value;
	}
}

static void
begin_probe(FeJoinProbe *probe)
{
	memset(probe, 0, sizeof(FeJoinProbe));
	memset(probe->nulls, true, sizeof(probe->nulls));
	probe->delta.values = probe->values;
	probe->delta.nulls = probe->nulls;
}

static void
set_key(const FePlan *part, int k, FeJoinProbe *probe, Datum value, bool isnull)
{
	probe->values[part->keys[k].expr] = value;
	probe->nulls[part->keys[k].expr] = isnull;
}

bool
fe_join_dimension_key(const FeIngestView *view, int d, const Datum *row, const bool *rownulls,
					  FeJoinProbe *probe)
{
	const FeDimension *dim = &view->plan->join->dims[d];
	const FePlan *part = view->plan->join->parts[FE_PART_ROWS(d)];

	begin_probe(probe);
	for (int k = 0; k < dim->nkeys; k++)
	{
		const FeJoinKey *key = &dim->keys[k];

		if (rownulls[key->attnum - 1])
			return false;
		set_key(part, k, probe, key_value(key, key->dim_type, row[key->attnum - 1]), false);
	}
	probe->delta.hash = fe_key_hash(part, probe->values, probe->nulls);
	return true;
}

bool
fe_join_row_key(const FeIngestView *view, int d, int part, FeJoinProbe *probe)
{
	const FeDimension *dim = &view->plan->join->dims[d];
	const FePlan *plan = view->plan->join->parts[part];
	const FeIngestJoin *join = view->join;
	bool		has_null = false;

	begin_probe(probe);
	for (int k = 0; k < dim->nkeys; k++)
	{
		const FeJoinKey *key = &dim->keys[k];
		bool		isnull = join->nulls[key->column];
		Datum		value = join->row[key->column];

		set_key(plan, k, probe, isnull ? (Datum) 0 : key_value(key, key->fact_type, value), isnull);
		has_null |= isnull;
	}
	probe->delta.hash = fe_key_hash(plan, probe->values, probe->nulls);
	return !has_null;
}

/* ---- images and the joined row --------------------------------------------------------- */

Datum
fe_join_dimension_image(const FeIngestView *view, int d, const Datum *row, const bool *rownulls)
{
	const FeJoin *plan = view->plan->join;
	const FeDimension *dim = &plan->dims[d];
	Datum	   *values = palloc(sizeof(Datum) * (dim->ncolumns + 1));
	bool	   *nulls = palloc(sizeof(bool) * (dim->ncolumns + 1));

	for (int i = 0; i < dim->ncolumns; i++)
	{
		int			att = plan->columns[dim->first + i].attnum - 1;

		values[i] = row[att];
		nulls[i] = rownulls[att];
	}
	return PointerGetDatum(fe_row_image(&view->join->forms[FE_PART_ROWS(d)], values, nulls));
}

void
fe_join_put_dimension(const FeIngestView *view, int d, Datum image)
{
	const FeDimension *dim = &view->plan->join->dims[d];
	FeIngestJoin *join = view->join;

	if (image != 0)
		fe_row_image_read(&join->forms[FE_PART_ROWS(d)], image, join->row + dim->first,
						  join->nulls + dim->first);
	else
		memset(join->nulls + dim->first, true, sizeof(bool) * dim->ncolumns);
}

/* The joined row at hand, as its fact row is kept for a dimension. */
static Datum
fact_image(const FeIngestView *view, int d)
{
	const FeDimension *dim = &view->plan->join->dims[d];
	const FeIngestJoin *join = view->join;
	Datum	   *values = palloc(sizeof(Datum) * (dim->nkept + 1));
	bool	   *nulls = palloc(sizeof(bool) * (dim->nkept + 1));

	for (int i = 0; i < dim->nkept; i++)
	{
		values[i] = join->row[dim->kept[i]];
		nulls[i] = join->nulls[dim->kept[i]];
	}
	return PointerGetDatum(fe_row_image(&join->forms[FE_PART_FACTS(d)], values, nulls));
}

void
fe_join_put_fact(const FeIngestView *view, int d, Datum image)
{
	const FeDimension *dim = &view->plan->join->dims[d];
	FeIngestJoin *join = view->join;
	Datum	   *values = palloc(sizeof(Datum) * (dim->nkept + 1));
	bool	   *nulls = palloc(sizeof(bool) * (dim->nkept + 1));

	fe_row_image_read(&join->forms[FE_PART_FACTS(d)], image, values, nulls);
	for (int i = 0; i < dim->nkept; i++)
	{
		join->row[dim->kept[i]] = values[i];
		join->nulls[dim->kept[i]] = nulls[i];
	}
}

/* A row of the fact table's own arrays. */
static void
put_fact_row(const FeIngestView *view, const Datum *fact, const bool *factnulls)
{
	const FeJoin *plan = view->plan->join;
	FeIngestJoin *join = view->join;

	for (int i = 0; i < plan->ncolumns && plan->columns[i].arm == 0; i++)
	{
		join->row[i] = fact[plan->columns[i].attnum - 1];
		join->nulls[i] = factnulls[plan->columns[i].attnum - 1];
	}
}

/* ---- evaluation ------------------------------------------------------------------------- */

bool
fe_join_look_up(FeApply *apply, FeIngestView *view, int except)
{
	const FeJoin *plan = view->plan->join;

	for (int d = 0; d < plan->ndims; d++)
	{
		FeJoinProbe probe;
		Datum		image = 0;

		if (d == except)
			continue;
		if (fe_join_row_key(view, d, FE_PART_ROWS(d), &probe))
			image = fe_net_row(apply, view, d, &probe, d < except || except < 0);
		if (image == 0 && !plan->dims[d].outer)
			return false;
		fe_join_put_dimension(view, d, image);
	}
	return true;
}

/* Values that last as long as the group; the caller is in another context. */
static void
keep_values(FeApply *apply, const FeIngestView *view, FeDelta *delta)
{
	MemoryContext old = MemoryContextSwitchTo(apply->group_cxt);
	int			n = view->nvalues;
	Datum	   *values = palloc(n * (sizeof(Datum) + sizeof(bool)));
	bool	   *nulls = (bool *) (values + n);

	memcpy(values, delta->values, n * sizeof(Datum));
	memcpy(nulls, delta->nulls, n * sizeof(bool));
	for (int i = 0; i < n; i++)
		if (!nulls[i] && !view->typbyval[i])
			values[i] = datumCopy(values[i], false, view->typlen[i]);
	delta->values = values;
	delta->nulls = nulls;
	MemoryContextSwitchTo(old);
}

bool
fe_join_evaluate(FeApply *apply, FeIngestView *view, int sign, FeOp *op)
{
	const FeIngestUse use = {view, 0};

	if (!fe_evaluate_row(apply, &use, view->join->row, view->join->nulls, sign, op))
		return false;
	keep_values(apply, view, &op->delta);
	return true;
}

void
fe_join_push_part(FeApply *apply, FeIngestView *view, int part, const FeJoinProbe *probe,
				  Datum image, int64 count)
{
	FeIngestView *p = view->join->parts[part];
	int			images = p->plan->accs[0].arg;
	MemoryContext old;
	FeOp		op;
	int			n = p->nvalues;

	if (probe->delta.hash % apply->parts != fe_pass_part(apply))
		return;
	old = MemoryContextSwitchTo(apply->group_cxt);
	op.view = p;
	op.delta.hash = probe->delta.hash;
	op.delta.sign = count < 0 ? -1 : 1;
	op.delta.watermark = PG_INT64_MIN;
	op.delta.values = palloc(n * (sizeof(Datum) + sizeof(bool)));
	op.delta.nulls = (bool *) (op.delta.values + n);
	memcpy(op.delta.values, probe->values, n * sizeof(Datum));
	memcpy(op.delta.nulls, probe->nulls, n * sizeof(bool));
	for (int k = 0; k < p->plan->nkeys; k++)
	{
		int			e = p->plan->keys[k].expr;

		if (!op.delta.nulls[e])
			op.delta.values[e] = datumCopy(op.delta.values[e], p->plan->keys[k].typbyval,
										   p->plan->keys[k].typlen);
	}
	op.delta.values[images] = datumCopy(image, false, -1);
	op.delta.nulls[images] = false;
	for (; count != 0; count -= op.delta.sign)
		fe_group_push(apply, &op);
	MemoryContextSwitchTo(old);
}

/* ---- changes of the fact table ------------------------------------------------------------ */

/* May the row at hand ever be joined? */
static bool
may_be_joined(const FeIngestView *view)
{
	const FeJoin *plan = view->plan->join;
	FeJoinProbe probe;

	for (int d = 0; d < plan->ndims; d++)
		if (!plan->dims[d].outer && !fe_join_row_key(view, d, FE_PART_ROWS(d), &probe))
			return false;
	return true;
}

/* The row at hand, for the parts that keep rows of the fact table. */
static void
push_fact(FeApply *apply, FeIngestView *view, int sign)
{
	const FeJoin *plan = view->plan->join;

	for (int d = 0; d < plan->ndims; d++)
	{
		int			part = FE_PART_FACTS(d);
		FeJoinProbe probe;

		if (!fe_join_row_key(view, d, part, &probe) && d > 0)
			continue;
		if (plan->time_column >= 0)
		{
			int			time = plan->parts[part]->tracks[0].expr;

			probe.values[time] = view->join->row[plan->time_column];
			probe.nulls[time] = view->join->nulls[plan->time_column];
		}
		fe_join_push_part(apply, view, part, &probe, fact_image(view, d), sign);
	}
}

/*
 * One row of the fact table.  True: it contributes to the view, too.
 */
static bool
take_fact(FeApply *apply, FeIngestView *view, const Datum *fact, const bool *factnulls,
		  int sign, FeOp *op)
{
	MemoryContext old = MemoryContextSwitchTo(apply->row_cxt);
	bool		in = false;

	put_fact_row(view, fact, factnulls);
	if (may_be_joined(view))
	{
		if (fe_pass_is_over_parts(apply))
			push_fact(apply, view, sign);
		if (fe_pass_is_over_views(apply) && view->join->loaded &&
			fe_join_look_up(apply, view, -1))
			in = fe_join_evaluate(apply, view, sign, op);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(apply->row_cxt);
	return in;
}

/* Are all columns that the view knows the same? */
static bool
same_fact(const FeIngestView *view, const FeIngestTable *table)
{
	const FeJoin *plan = view->plan->join;

	for (int i = 0; i < plan->ncolumns && plan->columns[i].arm == 0; i++)
	{
		Form_pg_attribute att = TupleDescAttr(view->plan->row_desc, i);
		int			n = plan->columns[i].attnum - 1;

		if (table->oldnulls[n] != table->newnulls[n])
			return false;
		if (!table->oldnulls[n] &&
			!datumIsEqual(table->oldvalues[n], table->newvalues[n], att->attbyval, att->attlen))
			return false;
	}
	return true;
}

void
fe_join_fact_change(FeApply *apply, const FeIngestUse *use, FeIngestTable *table,
					const FeRecord *rec)
{
	FeIngestView *view = use->view;
	FeOp		oldop;
	FeOp		newop;
	bool		has_old = false;
	bool		has_new = false;

	if (rec->has_old && rec->has_new && same_fact(view, table))
		return;
	if (rec->has_old)
		has_old = take_fact(apply, view, table->oldvalues, table->oldnulls, -1, &oldop);
	if (rec->has_new)
		has_new = take_fact(apply, view, table->newvalues, table->newnulls, 1, &newop);
	fe_group_push_update(apply, has_old ? &oldop : NULL, has_new ? &newop : NULL);
}

/* ---- changes of dimensions, where nothing is joined yet -------------------------------------- */

/*
 * What a transaction does to a dimension has to be known as a whole before
 * anything of it is evaluated: it is read once more then.
 */
static bool
is_netted(FeApply *apply, const FeIngestView *view)
{
	if (!view->join->loaded)
		return false;
	if (apply->net == NULL)
	{
		apply->again = true;
		/* transactions before it are merged first */
		apply->net_wanted = apply->ntxns == 0;
	}
	return true;
}

static void
take_dimension(FeApply *apply, FeIngestView *view, int d, const Datum *row, const bool *rownulls,
			   int sign)
{
	MemoryContext old = MemoryContextSwitchTo(apply->row_cxt);
	FeJoinProbe probe;

	if (fe_join_dimension_key(view, d, row, rownulls, &probe))
		fe_join_push_part(apply, view, FE_PART_ROWS(d), &probe,
						  fe_join_dimension_image(view, d, row, rownulls), sign);
	MemoryContextSwitchTo(old);
	MemoryContextReset(apply->row_cxt);
}

void
fe_join_dimension_change(FeApply *apply, const FeIngestUse *use, FeIngestTable *table,
						 const FeRecord *rec)
{
	FeIngestView *view = use->view;

	if (is_netted(apply, view) || !fe_pass_is_over_parts(apply))
		return;
	if (rec->has_old)
		take_dimension(apply, view, use->arm - 1, table->oldvalues, table->oldnulls, -1);
	if (rec->has_new)
		take_dimension(apply, view, use->arm - 1, table->newvalues, table->newnulls, 1);
}

/* ---- TRUNCATE ------------------------------------------------------------------------------ */

static void
truncate_state(FeApply *apply, FeIngestView *view)
{
	(void) fe_evaluate_drop(apply, view);
	apply->current.truncated = list_append_unique_ptr(apply->current.truncated, view);
}

void
fe_join_dimension_truncate(FeApply *apply, const FeIngestUse *use)
{
	if (!is_netted(apply, use->view) && fe_pass_is_over_parts(apply))
		truncate_state(apply, use->view->join->parts[FE_PART_ROWS(use->arm - 1)]);
}

/* No rows of the fact table are kept any more, for any dimension. */
void
fe_join_fact_truncate(FeApply *apply, const FeIngestUse *use)
{
	FeIngestView *view = use->view;

	if (fe_pass_is_over_views(apply))
		truncate_state(apply, view);
	for (int d = 0; d < view->plan->join->ndims && fe_pass_is_over_parts(apply); d++)
		truncate_state(apply, view->join->parts[FE_PART_FACTS(d)]);
}
