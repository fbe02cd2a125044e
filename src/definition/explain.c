/*
 * explain.c
 *		explain_feature_view(): what a definition would mean to the engine.
 *
 * A dry run of create_feature_view in the user's backend: parses and analyses,
 * writes nothing, needs neither workers nor a suitable wal_level.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "definition/definition.h"

PG_FUNCTION_INFO_V1(fe_explain_feature_view);

/* Rough sizes of what state adds; figures in docs/reference.md are measured. */
#define ENTITY_BYTES	96
#define TEXT_KEY_BYTES	24
#define MULTISET_BYTES	16		/* a value and its count */

typedef struct ExplainContext
{
	FePlan	   *plan;
	ReturnSetInfo *rsinfo;
	List	   *names;			/* deparse context of the row */
} ExplainContext;

static void
put(ExplainContext *cxt, const char *item, const char *value, const char *note)
{
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = CStringGetTextDatum(item);
	values[1] = CStringGetTextDatum(value);
	nulls[2] = note == NULL;
	values[2] = note ? CStringGetTextDatum(note) : (Datum) 0;
	tuplestore_putvalues(cxt->rsinfo->setResult, cxt->rsinfo->setDesc, values, nulls);
}

static char *
expr_text(ExplainContext *cxt, int expr)
{
	return deparse_expression(list_nth(cxt->plan->rowexprs, expr), cxt->names, false, false);
}

/* ---- source and keys ----------------------------------------------------------- */

static void
explain_partitions(ExplainContext *cxt, Oid source, const char *name)
{
	char	   *statements = fe_partitions_missing_identities(source);

	put(cxt, "source", name, statements == NULL ?
		"partitioned, replica identity FULL of every partition: updates and deletes are followed" :
		cxt->plan->join ? psprintf("partitioned; needs %.*s", (int) strlen(statements) - 1, statements) :
		psprintf("partitioned; needs %sor append_only => true", statements));
}

static void
explain_source(ExplainContext *cxt, Oid source)
{
	HeapTuple	tup = SearchSysCache1(RELOID, ObjectIdGetDatum(source));
	Form_pg_class rel;
	char	   *name;
	bool		full;
	bool		partitioned;

	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for relation %u", source);
	rel = (Form_pg_class) GETSTRUCT(tup);
	name = quote_qualified_identifier(get_namespace_name(rel->relnamespace), NameStr(rel->relname));
	full = rel->relreplident == REPLICA_IDENTITY_FULL;
	partitioned = rel->relkind == RELKIND_PARTITIONED_TABLE;
	ReleaseSysCache(tup);
	if (partitioned)
	{
		explain_partitions(cxt, source, name);
		return;
	}
	if (fe_plan_is_stream(cxt->plan))
		put(cxt, "changes of", name,
			full ? "replica identity FULL: the rows before and after each change are known" :
			"of the row before a change only the replica identity is known");
	else
		put(cxt, "source", name,
			full ? "replica identity FULL: updates and deletes are followed" :
			psprintf("needs ALTER TABLE %s REPLICA IDENTITY FULL%s", name,
					 cxt->plan->join ? "" : ", or append_only => true"));
}

/* By what a dimension is looked up. */
static void
explain_join(ExplainContext *cxt, int d)
{
	const FeJoin *join = cxt->plan->join;
	const FeDimension *dim = &join->dims[d];
	StringInfoData keys;

	initStringInfo(&keys);
	for (int k = 0; k < dim->nkeys; k++)
		appendStringInfo(&keys, "%s%s", k ? " AND " : "", fe_join_key_text(join, d, k, NULL));
	put(cxt, dim->outer ? "left join" : "join", keys.data,
		psprintf("by unique key: a change of a row of %s corrects what it was joined with",
				 quote_identifier(get_rel_name(join->relids[d + 1]))));
}

static void
explain_where(ExplainContext *cxt, const FeArm *arm)
{
	List	   *names = cxt->plan->join ? cxt->names :
		fe_row_names(arm->form == FE_FORM_CHANGES ? fe_arm_row_desc(arm) : NULL, arm->source);
	char	   *note = "evaluated once for each row image";

	if (arm->where < 0)
		return;
	if (cxt->plan->narms > 1 && cxt->plan->join == NULL)
		note = psprintf("%s of %s", note, get_rel_name(arm->source));
	put(cxt, "where", deparse_expression(list_nth(arm->rowexprs, arm->where), names, false, false),
		note);
}

static void
explain_sources_and_keys(ExplainContext *cxt)
{
	FePlan	   *plan = cxt->plan;
	List	   *seen = NIL;

	for (int i = 0; i < plan->narms; i++)
	{
		if (!list_member_oid(seen, plan->arms[i].source))
			explain_source(cxt, plan->arms[i].source);
		seen = lappend_oid(seen, plan->arms[i].source);
	}
	for (int d = 0; plan->join && d < plan->join->ndims; d++)
		explain_join(cxt, d);
	for (int i = 0; i < plan->nkeys; i++)
		put(cxt, "key", plan->keys[i].name,
			psprintf("%s, of type %s", expr_text(cxt, plan->keys[i].expr),
					 format_type_be(plan->keys[i].type)));
	for (int i = 0; i < plan->narms; i++)
		explain_where(cxt, &plan->arms[i]);
}

/* Columns and constants, or nothing but those put together for a generic aggregate. */
static bool
is_plain(Node *expr)
{
	FeAnalysis	a;
	ListCell   *lc;

	if (IsA(expr, Var) || IsA(expr, Const))
		return true;
	if (!IsA(expr, FuncExpr))
		return false;
	fe_analysis_init(&a, NULL, NULL);
	if (!fe_is_own_function(&a, ((FuncExpr *) expr)->funcid, "pack_arguments"))
		return false;
	foreach(lc, ((FuncExpr *) expr)->args)
		if (!is_plain(lfirst(lc)))
			return false;
	return true;
}

/* What an error does matters where something is computed for each row. */
static void
explain_errors(ExplainContext *cxt)
{
	int			computed = 0;
	ListCell   *lc;

	for (int i = 0; i < cxt->plan->narms; i++)
		foreach(lc, cxt->plan->arms[i].rowexprs)
			computed += !is_plain(lfirst(lc));
	if (computed > 0)
		put(cxt, "errors", psprintf(ngettext("%d expression over a row", "%d expressions over a row",
											 computed), computed),
			"an error in one stops the view; with on_error => 'skip' the row is left out and counted");
}

/* ---- windows -------------------------------------------------------------------- */

static char *
window_text(ExplainContext *cxt, int i)
{
	FePlan	   *plan = cxt->plan;
	FeWindow   *w = &plan->windows[i];
	char	   *ts = expr_text(cxt, plan->tracks[plan->window_track[i]].expr);

	if (w->kind == FE_WINDOW_TUMBLE)
		return psprintf("tumble(%s, '%s')", ts, fe_format_usecs(w->width));
	if (w->kind == FE_WINDOW_HOP)
		return psprintf("hop(%s, '%s', '%s')", ts, fe_format_usecs(w->width),
						fe_format_usecs(w->hop));
	if (w->kind == FE_WINDOW_SESSION)
		return psprintf("session(%s, '%s')", ts, fe_format_usecs(w->width));
	if (w->kind == FE_WINDOW_TUMBLING)
		return psprintf("tumbling(%s, '%s')", ts, fe_format_usecs(w->width));
	if (w->has_before)
		return psprintf("rolling(%s, '%s', before => '%s')", ts, fe_format_usecs(w->width),
						fe_format_usecs(w->before));
	return psprintf("rolling(%s, '%s')", ts, fe_format_usecs(w->width));
}

static void
explain_windows(ExplainContext *cxt)
{
	FePlan	   *plan = cxt->plan;

	for (int i = 0; i < plan->nwindows; i++)
	{
		FeWindow   *w = &plan->windows[i];
		char	   *note;

		if (w->width == FE_WINDOW_ALL_TIME)
			continue;			/* of an aggregate that takes in all until now */
		if (w->kind == FE_WINDOW_TUMBLE)
			note = "a row for each entity and window, kept in one pane";
		else if (w->kind == FE_WINDOW_HOP)
			note = "a row for each entity and window; windows share panes";
		else if (w->kind == FE_WINDOW_SESSION)
			note = "a row for each entity and session; every event time is kept apart";
		else if (w->kind == FE_WINDOW_TUMBLING)
			note = "starts anew when the next window begins";
		else if (w->hop == 0)
			note = "exact to the microsecond: every event time is kept apart";
		else
			note = psprintf("hop %s: the tail moves in these steps, at most " INT64_FORMAT
							" panes an entity", fe_format_usecs(w->hop), w->width / w->hop + 1);
		if (((plan->where_windows >> i) & 1) && i != plan->group_window)
			note = psprintf("%s; in WHERE: entities leave with their last row", note);
		put(cxt, "window", window_text(cxt, i), note);
	}
}

/* ---- aggregates ------------------------------------------------------------------- */

static char *
aggregate_text(ExplainContext *cxt, const FeAgg *agg)
{
	FePlan	   *plan = cxt->plan;
	StringInfoData buf;
	const char *sep = " FILTER (WHERE ";

	initStringInfo(&buf);
	if (agg->acc == FE_ROWS)
		appendStringInfoString(&buf, "count(*)");
	else if (agg->acc == FE_WINDOW)
		return window_text(cxt, plan->group_window);
	else
	{
		const FeAcc *acc = &plan->accs[agg->acc];
		int			arg = agg->of_order ? acc->order : acc->arg;
		bool		rows = IsA(list_nth(plan->rowexprs, arg), Const) &&
			strcmp(agg->final->name, "count") == 0;

		if (fe_final_source(agg->final))
			appendStringInfoString(&buf, deparse_expression((Node *) fe_final_source(agg->final),
															cxt->names, false, false));
		else
			appendStringInfo(&buf, "%s(%s%s%s)", agg->final->name,
							 rows ? "*" : expr_text(cxt, arg),
							 acc->order >= 0 && !agg->of_order ? ", " : "",
							 acc->order >= 0 && !agg->of_order ? expr_text(cxt, acc->order) : "");
		if (acc->filter >= 0)
		{
			appendStringInfo(&buf, "%s%s", sep, expr_text(cxt, acc->filter));
			sep = " AND ";
		}
	}
	for (int i = 0; i < plan->nwindows; i++)
		if (((agg->windows >> i) & 1) && i != plan->group_window &&
			plan->windows[i].width != FE_WINDOW_ALL_TIME)
		{
			appendStringInfo(&buf, "%s%s", sep, window_text(cxt, i));
			sep = " AND ";
		}
	if (strcmp(sep, " AND ") == 0)
		appendStringInfoChar(&buf, ')');
	return buf.data;
}

/*
 * Of the aggregates that read an accumulator, one tells about it: the first
 * whose own argument it keeps.
 */
static const FeAgg *
representative(const FePlan *plan, const FeAgg *agg)
{
	for (int i = 0; i < plan->naggs; i++)
		if (plan->aggs[i].acc == agg->acc && !plan->aggs[i].of_order)
			return &plan->aggs[i];
	return agg;
}

static void
explain_aggregates(ExplainContext *cxt)
{
	FePlan	   *plan = cxt->plan;

	for (int i = 0; i < plan->naggs; i++)
	{
		const FeAgg *agg = &plan->aggs[i];
		const FeAgg *first = agg->acc < 0 ? agg : representative(plan, agg);
		const char *note;

		if (agg->acc == FE_WINDOW)
			continue;
		if (agg->acc == FE_ROWS)
			note = "number of rows, kept anyway";
		else if (first != agg)
			note = psprintf("read from what is kept for %s", aggregate_text(cxt, first));
		else
			note = fe_acc_kind_describe(plan->accs[agg->acc].spec, fe_plan_is_stream(plan));
		if (agg->acc != FE_ROWS && fe_final_is_current(agg->final))
			put(cxt, "value", expr_text(cxt, plan->accs[agg->acc].arg), note);
		else
			put(cxt, "aggregate", aggregate_text(cxt, agg), note);
	}
}

/* ---- columns and costs --------------------------------------------------------------- */

/* Without the one of GROUP BY, which stays where it is. */
static FeWindowSet
moving_windows(const FePlan *plan, FeWindowSet windows)
{
	return plan->group_window < 0 ? windows : windows & ~((FeWindowSet) 1 << plan->group_window);
}

static bool
reads_windows(const FePlan *plan, const Bitmapset *aggs)
{
	int			i = -1;

	while ((i = bms_next_member(aggs, i)) >= 0)
		if (moving_windows(plan, plan->aggs[i].windows) != 0)
			return true;
	return false;
}

static void
explain_columns(ExplainContext *cxt)
{
	FePlan	   *plan = cxt->plan;
	bool		windows = moving_windows(plan, plan->where_windows) != 0;
	StringInfoData time;

	initStringInfo(&time);
	for (int i = 0; i < plan->ncolumns; i++)
	{
		FeColumn   *column = &plan->columns[i];

		if (column->key >= 0)
			continue;
		windows = windows || reads_windows(plan, column->aggs);
		if (column->uses_time)
			appendStringInfo(&time, "%s%s", time.len ? ", " : "", column->name);
		put(cxt, "feature", column->name,
			psprintf("%s%s", format_type_with_typemod(column->type, column->typmod),
					 column->uses_time ? ", depends on now()" :
					 reads_windows(plan, column->aggs) ? ", changes as windows move" : ""));
	}
	if (windows)
		put(cxt, "redis", "when windows move", "an entity is pushed again when a row enters or "
			"leaves one of its windows");
	if (time.len > 0)
		put(cxt, "redis", "every time_refresh", psprintf("for now() in %s", time.data));
	put(cxt, "redis", "when rows change", NULL);
}

/* Are its features the columns of a row? */
static bool
keeps_values_only(const FePlan *plan)
{
	for (int i = 0; i < plan->naggs; i++)
		if (plan->aggs[i].acc < 0 || !fe_final_is_current(plan->aggs[i].final))
			return false;
	return plan->naggs > 0;
}

static void
explain_memory(ExplainContext *cxt)
{
	FePlan	   *plan = cxt->plan;
	Size		entity = ENTITY_BYTES + plan->lifetime_size;

	for (int i = 0; i < plan->nkeys; i++)
		entity += plan->keys[i].typlen > 0 ? Max(plan->keys[i].typlen, 8) : TEXT_KEY_BYTES;
	put(cxt, "memory", psprintf("about %zu bytes an entity", entity),
		keeps_values_only(plan) ? "besides values of variable length" :
		"besides panes and the values that min, max, first, last and distinct keep");
	for (int i = 0; i < plan->ntracks; i++)
		put(cxt, "memory", psprintf("%zu bytes a pane", plan->tracks[i].pane_size),
			psprintf("of event time %s", expr_text(cxt, plan->tracks[i].expr)));
}

/* Of an image of these columns with its count, as a multiset keeps it. */
static Size
image_bytes(const FePlan *plan, const int *columns, int first, int n)
{
	Size		bytes = 1 + (n + 7) / 8;

	for (int i = 0; i < n; i++)
	{
		Form_pg_attribute att = TupleDescAttr(plan->row_desc, columns ? columns[i] : first + i);

		bytes += get_typavgwidth(att->atttypid, att->atttypmod);
	}
	return MAXALIGN(bytes + 8) + MULTISET_BYTES;
}

/* What joins keep, besides an entity for each key. */
static void
explain_join_memory(ExplainContext *cxt)
{
	const FeJoin *join = cxt->plan->join;
	Size		fact = 0;

	for (int d = 0; d < join->ndims; d++)
	{
		const FeDimension *dim = &join->dims[d];
		Size		row;

		fact += image_bytes(cxt->plan, dim->kept, 0, dim->nkept);
		row = ENTITY_BYTES + image_bytes(cxt->plan, NULL, dim->first, dim->ncolumns);
		put(cxt, "memory", psprintf("about %zu bytes a row of %s", row,
									quote_identifier(get_rel_name(join->relids[d + 1]))),
			psprintf("and about %d for each of its keys that %s has", ENTITY_BYTES,
					 quote_identifier(get_rel_name(join->relids[0]))));
	}
	put(cxt, "memory", psprintf("about %zu bytes a row of %s", fact,
								quote_identifier(get_rel_name(join->relids[0]))),
		join->time_column >= 0 ? "while it is in the window of WHERE; equal rows are kept once" :
		"for good: a window in WHERE bounds it; equal rows are kept once");
}

/* explain_feature_view(query text) returns table (item text, value text, note text) */
Datum
fe_explain_feature_view(PG_FUNCTION_ARGS)
{
	ExplainContext cxt;
	FeNewDefinition *def;

	InitMaterializedSRF(fcinfo, 0);
	/* as if append-only: the replica identity is reported, not refused */
	def = fe_definition_analyze(text_to_cstring(PG_GETARG_TEXT_PP(0)), true);
	cxt.plan = def->plan;
	cxt.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	cxt.names = fe_row_names(fe_plan_is_stream(cxt.plan) && cxt.plan->row_desc == NULL ?
							 fe_arm_row_desc(&cxt.plan->arms[0]) : cxt.plan->row_desc,
							 cxt.plan->arms[0].source);
	explain_sources_and_keys(&cxt);
	explain_errors(&cxt);
	explain_windows(&cxt);
	explain_aggregates(&cxt);
	explain_columns(&cxt);
	explain_memory(&cxt);
	if (cxt.plan->join)
		explain_join_memory(&cxt);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(fe_explain_feature_view_from);

/* explain_feature_view(definition regclass) */
Datum
fe_explain_feature_view_from(PG_FUNCTION_ARGS)
{
	fcinfo->args[0].value = CStringGetTextDatum(fe_definition_text_of_view(PG_GETARG_OID(0)));
	return fe_explain_feature_view(fcinfo);
}
