/*
 * join_plans.c
 *		How the rows of a joined view's tables are kept: as entities of *parts*.
 *
 * A joined view has two parts for each dimension: the dimension's rows by their
 * key, and the rows of the fact table by the same key.  Both are plans of their
 * own, as of
 *
 *		SELECT key, count(DISTINCT image) FROM row WHERE window GROUP BY key
 *
 * so that they have entities, panes and images like any view's.  The window is
 * there for the fact table's rows, where WHERE has one over a column of it: rows
 * that have left it need not be kept.  An image is what ../ingest/row_image.h says.
 *
 * Runs wherever a definition is compiled; takes no locks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"
#include "utils/typcache.h"

#include "definition/definition.h"

static Node *
replace_time_mutator(Node *node, void *time)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
		return copyObject((Node *) time);
	return expression_tree_mutator(node, replace_time_mutator, time);
}

/* The windows of WHERE, over the part's own event time. */
static List *
part_windows(const FePlanBuilder *b, Var *time)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, b->flat->where)
		if (fe_find_window_call(b->a, lfirst(lc)))
			result = lappend(result, replace_time_mutator(lfirst(lc), time));
	return result;
}

/* The column of the fact table that windows in WHERE are over, or -1. */
static int
window_column(const FePlanBuilder *b)
{
	const FePlan *plan = b->plan;
	Expr	   *time;
	int			column;

	if (plan->where_track < 0 || part_windows(b, makeVar(1, 1, INT4OID, -1, 0, 0)) == NIL)
		return -1;
	time = list_nth(plan->rowexprs, plan->tracks[plan->where_track].expr);
	if (!IsA(time, Var))
		return -1;
	column = ((Var *) time)->varattno - 1;
	return plan->join->columns[column].arm == 0 ? column : -1;
}

static Aggref *
count_images(Var *image)
{
	Aggref	   *agg = makeNode(Aggref);
	TargetEntry *tle = makeTargetEntry((Expr *) image, 1, NULL, false);
	SortGroupClause *distinct = makeNode(SortGroupClause);
	TypeCacheEntry *entry = lookup_type_cache(BYTEAOID, TYPECACHE_EQ_OPR | TYPECACHE_LT_OPR);

	tle->ressortgroupref = 1;
	distinct->tleSortGroupRef = 1;
	distinct->eqop = entry->eq_opr;
	distinct->sortop = entry->lt_opr;
	agg->aggfnoid = F_COUNT_ANY;
	agg->aggtype = INT8OID;
	agg->aggargtypes = list_make1_oid(BYTEAOID);
	agg->args = list_make1(tle);
	agg->aggdistinct = list_make1(distinct);
	agg->aggkind = 'n';
	agg->aggsplit = AGGSPLIT_SIMPLE;
	agg->location = -1;
	return agg;
}

static void
add_target(FeFlat *flat, char *name, Node *expr)
{
	FeFlatTarget *target = palloc0(sizeof(FeFlatTarget));

	target->name = name;
	target->expr = expr;
	flat->targets = lappend(flat->targets, target);
}

static FeFlat *
part_query(const FePlanBuilder *b, const FeDimension *dim, int time)
{
	FeFlat	   *flat = palloc0(sizeof(FeFlat));
	FeFlatArm  *arm = palloc0(sizeof(FeFlatArm));
	AttrNumber	attno = 1;

	arm->form = FE_FORM_PART;
	flat->arms = list_make1(arm);
	for (int k = 0; k < dim->nkeys; k++)
	{
		FeFlatKey  *key = palloc0(sizeof(FeFlatKey));

		key->expr = (Node *) makeVar(1, attno++, dim->keys[k].type, -1, dim->keys[k].collation, 0);
		key->eqop = lookup_type_cache(dim->keys[k].type, TYPECACHE_EQ_OPR)->eq_opr;
		flat->keys = lappend(flat->keys, key);
		add_target(flat, psprintf("k%d", k), key->expr);
	}
	if (time >= 0)
	{
		Form_pg_attribute att = TupleDescAttr(b->flat->row_desc, time);

		flat->where = part_windows(b, makeVar(1, attno++, att->atttypid, att->atttypmod,
											  InvalidOid, 0));
	}
	add_target(flat, "images", (Node *) count_images(makeVar(1, attno, BYTEAOID, -1, InvalidOid,
															 0)));
	return flat;
}

static FePlan *
part_plan(const FePlanBuilder *b, const FeDimension *dim, int time)
{
	FePlan	   *plan = palloc0(sizeof(FePlan));
	FeAnalysis	a;

	fe_analysis_init(&a, NULL, NULL);
	plan->cxt = b->plan->cxt;
	plan->name = b->plan->name;
	plan->options.push_interval = -1;
	plan->options.time_refresh = -1;
	fe_analyze(&a, part_query(b, dim, time), plan);
	Assert(plan->naccs == 1 && plan->nkeys == dim->nkeys);
	return plan;
}

void
fe_join_make_parts(FePlanBuilder *b)
{
	FeJoin	   *join = b->plan->join;

	join->time_column = window_column(b);
	join->nparts = 2 * join->ndims;
	join->parts = palloc0(sizeof(FePlan *) * join->nparts);
	for (int d = 0; d < join->ndims; d++)
	{
		join->parts[FE_PART_ROWS(d)] = part_plan(b, &join->dims[d], -1);
		join->parts[FE_PART_FACTS(d)] = part_plan(b, &join->dims[d], join->time_column);
	}
}

/* Once the view's own identity is known: parts have ids that no view has. */
void
fe_join_identify_parts(FePlan *plan)
{
	for (int i = 0; i < plan->join->nparts; i++)
	{
		FePlan	   *part = plan->join->parts[i];

		part->viewid = fe_part_id(plan->viewid, i);
		part->state_version = plan->state_version;
		part->version = plan->version;
		part->owner = plan->owner;
		part->name = plan->name;
	}
}
