/*
 * outputs.c
 *		From a flattened definition to the output program: columns and HAVING as
 *		expressions over keys and aggregate results.
 *
 * Runs wherever a definition is compiled; no locks beyond the catalogues'.
 */
#include "postgres.h"

#include "access/attnum.h"
#include "access/nbtree.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "definition/definition.h"
#include "definition/template.h"

typedef struct OutputContext
{
	FePlanBuilder *b;
	Bitmapset  *aggs;			/* aggregates met */
} OutputContext;

/* ---- expressions over keys and aggregates -------------------------------------- */

/* The number of the key that an expression is, or -1. */
static int
find_key(FePlanBuilder *b, Node *expr)
{
	ListCell   *lc;

	foreach(lc, b->flat->keys)
		if (equal(((FeFlatKey *) lfirst(lc))->expr, expr))
			return foreach_current_index(lc);
	return -1;
}

static Node *
make_key_var(FePlanBuilder *b, int key, Node *expr)
{
	Var		   *var = makeVar(1, key + 1, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);

	var->location = exprLocation(expr);
	return (Node *) var;
}

/* Do equal values look the same?  As btree asks it, which deduplicates them then. */
static bool
looks_like_its_equals(Oid type, Oid collation)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
	Oid			intype = entry->btree_opintype;
	Oid			proc = InvalidOid;

	if (OidIsValid(entry->btree_opf))
		proc = get_opfamily_proc(entry->btree_opf, intype, intype, BTEQUALIMAGE_PROC);
	return OidIsValid(proc) &&
		DatumGetBool(OidFunctionCall1Coll(proc, collation, ObjectIdGetDatum(intype)));
}

/*
 * A column that the keys determine: the value that all rows of the entity have.
 * So is a key of a type whose equal values may differ in form (1.0 and 1.00),
 * for the entity keeps that of its first row.
 */
static Node *
make_current_var(OutputContext *cxt, Var *column)
{
	FePlanBuilder *b = cxt->b;
	int			i = fe_plan_add_current(b, column);
	Var		   *var = makeVar(1, b->plan->nkeys + i + 1, column->vartype, column->vartypmod,
							  column->varcollid, 0);

	cxt->aggs = bms_add_member(cxt->aggs, i);
	var->location = column->location;
	return (Node *) var;
}

static Node *
make_agg_var(OutputContext *cxt, Aggref *agg)
{
	FePlanBuilder *b = cxt->b;
	int			i = fe_plan_add_aggregate(b, agg);
	Var		   *var = makeVar(1, b->plan->nkeys + i + 1, agg->aggtype, -1, agg->aggcollid, 0);

	cxt->aggs = bms_add_member(cxt->aggs, i);
	var->location = agg->location;
	return (Node *) var;
}

/* Of a column of the row. */
static const char *
column_name(FePlanBuilder *b, AttrNumber attnum)
{
	const FeFlatArm *arm = linitial(b->flat->arms);

	if (b->flat->row_desc)
		return NameStr(TupleDescAttr(b->flat->row_desc, attnum - 1)->attname);
	if (arm->form == FE_FORM_CHANGES)
		return fe_changes_column_name(arm->source, attnum);
	return get_attname(arm->source, attnum, false);
}

static Node *
make_window_var(OutputContext *cxt)
{
	int			i = fe_plan_add_window(cxt->b);

	cxt->aggs = bms_add_member(cxt->aggs, i);
	return (Node *) makeVar(1, cxt->b->plan->nkeys + i + 1, TSTZRANGEOID, -1, InvalidOid, 0);
}

static Node *
output_mutator(Node *node, void *arg)
{
	OutputContext *cxt = arg;
	FePlanBuilder *b = cxt->b;
	int			key;

	if (node == NULL)
		return NULL;
	key = find_key(b, node);
	if (key >= 0 && !(b->flat->determined && IsA(node, Var) &&
					  !looks_like_its_equals(exprType(node), exprCollation(node))))
		return make_key_var(b, key, node);
	if (b->flat->window && equal(b->flat->window->expr, node))
		return make_window_var(cxt);
	if (IsA(node, Aggref))
		return make_agg_var(cxt, (Aggref *) node);
	if (IsA(node, Var) && b->flat->determined)
		return make_current_var(cxt, (Var *) node);
	if (IsA(node, Var))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" is neither a key nor inside an aggregate",
						column_name(b, ((Var *) node)->varattno)),
				 b->flat->joined_key ?
				 errdetail("That its table's primary key is in GROUP BY counts only where no tables "
						   "are joined.") : 0,
				 errhint("Add it to GROUP BY, or take its latest value with last(column, "
						 "event_time)."),
				 fe_errposition(b->a, ((Var *) node)->location)));
	return expression_tree_mutator(node, output_mutator, arg);
}

static Expr *
make_output(FePlanBuilder *b, Node *expr, const char *what, Bitmapset **aggs, bool *uses_time)
{
	OutputContext cxt = {b, NULL};
	FuncExpr   *window;

	expr = output_mutator(expr, &cxt);
	expr = eval_const_expressions(NULL, expr);
	window = fe_find_window_call(b->a, expr);
	if (window)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a window cannot be used in %s of a feature view", what),
				 errhint("rolling() and tumbling() stand in WHERE or FILTER."),
				 fe_errposition(b->a, window->location)));
	fe_refuse_mutable(b->a, expr, what, true);
	*aggs = cxt.aggs;
	if (fe_contains_final(b->a, expr))
		b->plan->uses_final = true;
	if (uses_time)
		*uses_time = fe_contains_now(b->a, expr, NULL) || fe_contains_final(b->a, expr) ||
			fe_plan_aggs_use_time(b->plan, cxt.aggs);
	return (Expr *) expr;
}

/* ---- columns ---------------------------------------------------------------------- */

static void
refuse_name(FePlanBuilder *b, const char *name, Node *expr)
{
	if (strcmp(name, "_ts") == 0 || strcmp(name, "_lsn") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("column name \"%s\" is reserved in a feature view", name),
				 errdetail("Redis hashes hold the time of evaluation as _ts and the position as "
						   "_lsn."),
				 fe_errposition(b->a, exprLocation(expr))));
	if (strcmp(name, "?column?") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
				 errmsg("a column of a feature view needs a name"),
				 errhint("Write ... AS name."),
				 fe_errposition(b->a, exprLocation(expr))));
	for (int i = 0; i < b->plan->ncolumns; i++)
		if (strcmp(b->plan->columns[i].name, name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" specified more than once", name),
					 fe_errposition(b->a, exprLocation(expr))));
}

static void
analyze_column(FePlanBuilder *b, FeFlatTarget *target)
{
	FePlan	   *plan = b->plan;
	FeColumn   *column = &plan->columns[plan->ncolumns];
	int			key = find_key(b, target->expr);

	refuse_name(b, target->name, target->expr);
	column->name = target->name;
	column->type = exprType(target->expr);
	column->typmod = exprTypmod(target->expr);
	column->collation = exprCollation(target->expr);
	column->key = -1;
	column->expr = make_output(b, target->expr, _("an output column"), &column->aggs,
							   &column->uses_time);
	if (key >= 0 && plan->keys[key].column < 0)
	{
		column->key = key;
		plan->keys[key].column = plan->ncolumns;
		plan->keys[key].name = target->name;
	}
	else if (IsA(column->expr, Var) && plan->window_column < 0 && b->window_agg >= 0 &&
			 ((Var *) column->expr)->varattno == plan->nkeys + b->window_agg + 1)
		plan->window_column = plan->ncolumns;
	plan->ncolumns++;
}

static void
refuse_missing_key(FePlanBuilder *b, Node *key)
{
	if (b->flat->current)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("each column of the primary key must be an output column of a feature view"),
				 errdetail("A query without GROUP BY serves the current values of each row, which its primary key names."),
				 errhint("Add column \"%s\" to the columns of SELECT; or name other key columns in GROUP BY.",
						 get_attname(((FeFlatArm *) linitial(b->flat->arms))->source,
									 ((Var *) key)->varattno, false))));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("each key must be an output column of a feature view"),
			 errhint("Add the GROUP BY expression to the columns of SELECT."),
			 fe_errposition(b->a, exprLocation(key))));
}

static void
require_column(FePlanBuilder *b, FeFlatKey *key, int column)
{
	if (column < 0)
		refuse_missing_key(b, key->expr);
}

static void
require_keys(FePlanBuilder *b)
{
	int			nkeys = b->plan->nkeys;
	ListCell   *lc;

	foreach(lc, b->flat->keys)
		require_column(b, lfirst(lc), b->plan->keys[foreach_current_index(lc)].column);
	if (b->flat->window)
	{
		require_column(b, b->flat->window, b->plan->window_column);
		nkeys++;
	}
	if (b->plan->ncolumns == nkeys)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a feature view needs at least one feature besides its keys"),
				 b->flat->current ? errhint("Add another column of the table.") :
				 errhint("Add an aggregate, for example count(*) AS events.")));
}

static void
analyze_having(FePlanBuilder *b)
{
	Node	   *having;

	if (b->flat->having == NIL)
		return;
	having = (Node *) make_ands_explicit(b->flat->having);
	b->plan->having = make_output(b, having, _("HAVING"), &b->plan->having_aggs, NULL);
}

/* ---- row descriptions ----------------------------------------------------------------- */

static void
make_descriptors(FePlan *plan)
{
	plan->input_desc = CreateTemplateTupleDesc(plan->nkeys + plan->naggs);
	for (int i = 0; i < plan->nkeys; i++)
	{
		FeKey	   *key = &plan->keys[i];

		TupleDescInitEntry(plan->input_desc, i + 1, key->name, key->type, key->typmod, 0);
		TupleDescInitEntryCollation(plan->input_desc, i + 1, key->collation);
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		FeAgg	   *agg = &plan->aggs[i];

		TupleDescInitEntry(plan->input_desc, plan->nkeys + i + 1, NULL, agg->type, agg->typmod, 0);
		TupleDescInitEntryCollation(plan->input_desc, plan->nkeys + i + 1, agg->collation);
	}
	plan->output_desc = CreateTemplateTupleDesc(plan->ncolumns);
	for (int i = 0; i < plan->ncolumns; i++)
	{
		FeColumn   *column = &plan->columns[i];

		TupleDescInitEntry(plan->output_desc, i + 1, column->name, column->type, column->typmod, 0);
		TupleDescInitEntryCollation(plan->output_desc, i + 1, column->collation);
	}
}

void
fe_analyze_outputs(FePlanBuilder *b)
{
	ListCell   *lc;

	b->plan->columns = palloc0(sizeof(FeColumn) * list_length(b->flat->targets));
	foreach(lc, b->flat->targets)
		analyze_column(b, lfirst(lc));
	require_keys(b);
	analyze_having(b);
	make_descriptors(b->plan);
}

/* ---- options that name columns ----------------------------------------------------------- */

static void
mark_online(FePlan *plan, const char *name)
{
	for (int i = 0; i < plan->ncolumns; i++)
		if (strcmp(plan->columns[i].name, name) == 0)
		{
			if (plan->columns[i].key >= 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("online column \"%s\" is a key", name),
						 errdetail("Keys are part of the Redis key; online names features.")));
			plan->columns[i].online = true;
			return;
		}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("online column \"%s\" is not a column of the feature view", name)));
}

static void
refuse_beside_hop(const FePlan *plan)
{
	const char *what = NULL;

	/* an aggregate over all rows until now has a window, too, which nobody wrote */
	for (int i = 0; i < plan->naggs && what == NULL; i++)
		for (int w = 0; w < plan->nwindows; w++)
			if (((plan->aggs[i].windows >> w) & 1) && plan->windows[w].width == FE_WINDOW_ALL_TIME)
				what = psprintf("%s()", plan->aggs[i].final->name);
	for (int w = 0; w < plan->nwindows; w++)
		if (w != plan->group_window && plan->windows[w].width != FE_WINDOW_ALL_TIME)
			what = NULL;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s cannot stand beside hop() in a feature view over changes, or an append_only "
					"one, with a watermark", what ? what : _("rolling() and tumbling()")),
			 errdetail("Rows that are late for some windows of hop() and not for others cannot be told "
					   "apart in it."),
			 errhint("Create another feature view for it, or leave the watermark out.")));
}

/*
 * Of rows that come late some windows of hop() may be over and others not: those
 * that share a pane cannot be told apart then.
 */
static void
apply_to_group_window(FePlan *plan)
{
	const FeViewOptions *o = &plan->options;
	int			n = plan->group_window;
	FeGrid	   *grid = &plan->tracks[plan->window_track[n]].grid;
	FeWindow   *w = &plan->windows[n];
	FeGrid		old = *grid;

	w->retention = o->retention;
	w->apart = w->kind == FE_WINDOW_HOP && fe_plan_only_adds(plan) && o->watermark >= 0;
	if (w->apart && grid->nwindows > 1)
		refuse_beside_hop(plan);
	old.windows[plan->window_bit[n]] = *w;
	fe_grid_init(grid, old.windows, old.nwindows, old.sets, old.nsets);
}

static void
apply_window_options(FePlan *plan)
{
	const FeViewOptions *o = &plan->options;

	if (plan->group_window < 0 && (o->retention != 0 || o->watermark >= 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs a window in GROUP BY", o->retention != 0 ? "retention" : "watermark"),
				 errdetail("Nothing else ends."),
				 errhint("Write GROUP BY key, tumble(event_time, '1 day'), or hop() or session(). To "
						 "forget old events, use rolling() in WHERE.")));
	if (plan->uses_final && o->watermark < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("is_final() needs a watermark"),
				 errhint("Create the feature view with watermark => '1 hour', or as long as events may "
						 "be late.")));
	if (plan->group_window >= 0)
		apply_to_group_window(plan);
}

void
fe_apply_options(FePlan *plan)
{
	ListCell   *lc;

	apply_window_options(plan);
	for (int i = 0; i < plan->ncolumns; i++)
		plan->columns[i].online = plan->options.online_enabled && plan->options.online == NIL &&
			plan->columns[i].key < 0;
	foreach(lc, plan->options.online)
		mark_online(plan, lfirst(lc));
	if (plan->options.redis_layout == FE_LAYOUT_HASH)
		(void) fe_template_of_plan(plan);
}
