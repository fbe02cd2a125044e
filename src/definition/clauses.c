/*
 * clauses.c
 *		Clauses of a query that no feature view can have: refused with what, where
 *		and what to do instead.
 *
 * Runs wherever a definition is created or compiled; takes no locks.
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"

#include "definition/flatten.h"

int
fe_targets_location(List *targets)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		int			location = exprLocation((Node *) ((TargetEntry *) lfirst(lc))->expr);

		if (location >= 0)
			return location;
	}
	return -1;
}

static int
sort_location(List *clauses, List *targets)
{
	SortGroupClause *first = linitial(clauses);
	ListCell   *lc;

	foreach(lc, targets)
	{
		TargetEntry *tle = lfirst(lc);

		if (tle->ressortgroupref == first->tleSortGroupRef)
			return exprLocation((Node *) tle->expr);
	}
	return -1;
}

typedef struct FindNode
{
	NodeTag		tag;
	Node	   *found;
} FindNode;

static bool
find_node(Node *node, void *arg)
{
	FindNode   *find = arg;

	if (node == NULL)
		return false;
	if (nodeTag(node) == find->tag)
	{
		find->found = node;
		return true;
	}
	if (IsA(node, Query))
		return false;
	return expression_tree_walker(node, find_node, arg);
}

/* Location of the first node of a kind among a query's own expressions. */
static int
node_location(Query *query, NodeTag tag)
{
	FindNode	find = {tag, NULL};

	if (find_node((Node *) query->targetList, &find) ||
		find_node(query->jointree->quals, &find) ||
		find_node((Node *) query->jointree->fromlist, &find) ||
		find_node(query->havingQual, &find))
		return exprLocation(find.found);
	return -1;
}

typedef struct FindSetReturning
{
	const FeAnalysis *a;
	int			location;
} FindSetReturning;

/* Any but our own hop(), which may be a key; where it is none it is refused later. */
static bool
find_set_returning(Node *node, void *arg)
{
	FindSetReturning *find = arg;

	if (node == NULL)
		return false;
	if ((IsA(node, FuncExpr) && ((FuncExpr *) node)->funcretset &&
		 !fe_is_group_function(find->a, ((FuncExpr *) node)->funcid)) ||
		(IsA(node, OpExpr) && ((OpExpr *) node)->opretset))
	{
		find->location = exprLocation(node);
		return true;
	}
	return expression_tree_walker(node, find_set_returning, arg);
}

void
fe_flat_refuse(const FeFlatLevel *level, int location, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s not supported in a feature view", what),
			 hint ? errhint("%s", hint) : 0,
			 fe_errposition(level->a, location)));
}

static void
refuse_expressions(const FeFlatLevel *level)
{
	Query	   *query = level->query;
	FindSetReturning returning = {level->a, -1};

	if (query->hasWindowFuncs)
		fe_flat_refuse(level, node_location(query, T_WindowFunc), _("window functions (OVER) are"),
					   _("Aggregates over windows of time are written as "
						 "sum(x) FILTER (WHERE rolling(event_time, '7 days'))."));
	if (query->hasSubLinks)
		fe_flat_refuse(level, node_location(query, T_SubLink), _("subqueries in expressions are"),
					   _("Rows of other tables are looked up by a unique key with JOIN or LEFT JOIN in FROM."));
	if (query->hasTargetSRFs && find_set_returning((Node *) query->targetList, &returning))
		fe_flat_refuse(level, returning.location, _("set-returning functions are"), NULL);
	if (query->groupingSets != NIL || query->groupDistinct)
		fe_flat_refuse(level, exprLocation((Node *) query->groupingSets),
					   _("GROUPING SETS, ROLLUP and CUBE are"),
					   _("Create one feature view for each set of key columns."));
}

void
fe_flat_refuse_clauses(const FeFlatLevel *level)
{
	Query	   *query = level->query;

	if (query->commandType != CMD_SELECT || query->utilityStmt != NULL)
		fe_flat_refuse(level, -1, _("statements other than SELECT are"), NULL);
	if (query->hasModifyingCTE)
		fe_flat_refuse(level, -1, _("data-modifying WITH queries are"), NULL);
	if (query->hasRecursive)
		fe_flat_refuse(level, linitial_node(CommonTableExpr, query->cteList)->location,
					   _("recursive WITH queries are"), NULL);
	refuse_expressions(level);
	if (query->hasDistinctOn || query->distinctClause != NIL)
		fe_flat_refuse(level, sort_location(query->distinctClause, query->targetList),
					   _("DISTINCT is"),
					   _("Name the columns in GROUP BY instead."));
	if (query->limitCount != NULL || query->limitOffset != NULL)
		fe_flat_refuse(level,
					   exprLocation(query->limitCount ? query->limitCount : query->limitOffset),
					   _("LIMIT and OFFSET are"), _("Use LIMIT in the query that reads the feature view."));
	if (query->sortClause != NIL)
		fe_flat_refuse(level, sort_location(query->sortClause, query->targetList), _("ORDER BY is"),
					   _("Use ORDER BY in the query that reads the feature view."));
	if (query->rowMarks != NIL)
		fe_flat_refuse(level, -1, _("FOR UPDATE and FOR SHARE are"), NULL);
}
