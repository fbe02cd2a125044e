/*
 * ties.c
 *		Rows that ORDER BY in an aggregate leaves in no order.
 *
 * array_agg(x ORDER BY t) may put rows of the same t in any order, and a batch
 * query does, as the table's pages happen to lie.  So that stream and batch give
 * the same value, the arguments themselves are made the last terms of the ORDER
 * BY when the definition is stored: array_agg(x ORDER BY t, x), which is one of
 * the values that PostgreSQL could return for the query as it was written.
 * Arguments of a type without an order (json) are left as they are.
 *
 * Runs in the creating backend; no locks.
 */
#include "postgres.h"

#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/typcache.h"

#include "definition/definition.h"

static bool
is_sorted_by(const Aggref *agg, const TargetEntry *tle)
{
	ListCell   *lc;

	foreach(lc, agg->aggorder)
		if (tle->ressortgroupref != 0 &&
			((SortGroupClause *) lfirst(lc))->tleSortGroupRef == tle->ressortgroupref)
			return true;
	return false;
}

static Index
last_reference(const Aggref *agg)
{
	Index		last = 0;
	ListCell   *lc;

	foreach(lc, agg->args)
		last = Max(last, ((TargetEntry *) lfirst(lc))->ressortgroupref);
	return last;
}

static void
sort_by(Aggref *agg, TargetEntry *tle)
{
	Oid			type = exprType((Node *) tle->expr);
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_LT_OPR | TYPECACHE_EQ_OPR |
											  TYPECACHE_HASH_PROC);
	SortGroupClause *clause;

	if (type == RECORDOID || !OidIsValid(entry->lt_opr) || !OidIsValid(entry->eq_opr))
		return;
	if (tle->ressortgroupref == 0)
		tle->ressortgroupref = last_reference(agg) + 1;
	clause = makeNode(SortGroupClause);
	clause->tleSortGroupRef = tle->ressortgroupref;
	clause->eqop = entry->eq_opr;
	clause->sortop = entry->lt_opr;
	clause->hashable = OidIsValid(entry->hash_proc);
	agg->aggorder = lappend(agg->aggorder, clause);
}

/* DISTINCT has the arguments in its order already; an ordered set has nothing else. */
static Node *
break_ties(Node *node, void *arg)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, break_ties, arg, 0);
	node = expression_tree_mutator(node, break_ties, arg);
	if (IsA(node, Aggref))
	{
		Aggref	   *agg = (Aggref *) node;

		if (agg->aggkind != AGGKIND_NORMAL || agg->aggorder == NIL || agg->aggdistinct != NIL)
			return node;
		for (int i = 0; i < list_length(agg->aggargtypes); i++)
		{
			TargetEntry *tle = list_nth(agg->args, i);

			if (!IsA(tle->expr, Const) && !is_sorted_by(agg, tle))
				sort_by(agg, tle);
		}
	}
	return node;
}

Query *
fe_break_ties(Query *query)
{
	return query_tree_mutator(query, break_ties, NULL, 0);
}
