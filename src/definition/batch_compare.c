/*
 * batch_compare.c
 *		Two sides of a comparison, value by value: those of a view that were
 *		computed or recorded, and those of its batch query.
 *
 * Runs in the user's backend, as the view's owner.  A chain of WITH queries goes
 * from the relations s and b to g: z, the scale of what floating-point aggregates
 * take in; u, the rows of all of them; g, one row an entity with each feature's
 * text on both sides.  Takes no locks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

#include "definition/batch.h"
#include "definition/definition.h"

/* ---- the scale of floating-point inputs ---------------------------------------------- */

static bool
is_float(Oid type)
{
	return type == FLOAT4OID || type == FLOAT8OID;
}

static bool
find_aggrefs(Node *node, void *list)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		*(List **) list = lappend(*(List **) list, node);
		return false;
	}
	return expression_tree_walker(node, find_aggrefs, list);
}

/* Has the column a scale: is it a float made from aggregates over floats? */
static List *
float_aggrefs(const FeBatch *b, int column)
{
	FeFlatTarget *target = list_nth(b->flat->targets, column);
	List	   *aggrefs = NIL;
	List	   *result = NIL;
	ListCell   *lc;

	if (!is_float(b->plan->columns[column].type))
		return NIL;
	(void) find_aggrefs(target->expr, &aggrefs);
	foreach(lc, aggrefs)
	{
		Aggref	   *agg = lfirst(lc);

		if (agg->args != NIL &&
			is_float(exprType((Node *) linitial_node(TargetEntry, agg->args)->expr)))
			result = lappend(result, agg);
	}
	return result;
}

/* The greatest magnitude, NaN and infinities aside, that these aggregates take in. */
static void
append_scale(FeBatch *b, List *aggrefs, int column)
{
	ListCell   *lc;

	appendStringInfoString(&b->sql, ", greatest(0");
	foreach(lc, aggrefs)
	{
		Aggref	   *agg = lfirst(lc);
		TargetEntry *first = linitial(agg->args);
		char	   *arg = fe_batch_expression(b, (Node *) first->expr);

		appendStringInfo(&b->sql, ", max(CASE WHEN abs(%s::float8) < 'Infinity' THEN abs(%s::float8) END)",
						 arg, arg);
		if (agg->aggfilter)
			appendStringInfo(&b->sql, " FILTER (WHERE %s)",
							 fe_batch_expression(b, (Node *) agg->aggfilter));
	}
	appendStringInfo(&b->sql, ")::float8 AS z%d", column);
}

/* A row for each entity, with the scales of its columns. */
static void
append_scales(FeBatch *b)
{
	const FePlan *plan = b->plan;
	StringInfo	sql = &b->sql;

	appendStringInfoString(sql, "z AS MATERIALIZED (");
	fe_batch_begin_rows(b, false);
	appendStringInfoString(sql, "(SELECT ");
	fe_batch_append_source_keys(b);
	for (int i = 0; i < plan->ncolumns; i++)
	{
		List	   *aggrefs = float_aggrefs(b, i);

		if (aggrefs)
			append_scale(b, aggrefs, i);
	}
	fe_batch_append_source(b, 0);
	for (int i = 0; i < b->nkeys; i++)
		appendStringInfo(sql, "%s%d", i ? ", " : " GROUP BY ", i + 1);
	appendStringInfoString(sql, ") AS x");
	fe_batch_end_rows(b, false);
	appendStringInfoString(sql, "), ");
}

/* ---- the comparison --------------------------------------------------------------- */

/* Sides 0 and 1 are stream and batch; 2 has the scales. */
static void
append_union(FeBatch *b, bool scaled)
{
	static const char *const sides[] = {"s", "b", "z"};
	const FePlan *plan = b->plan;
	StringInfo	sql = &b->sql;

	appendStringInfoString(sql, "u AS (");
	for (int side = 0; side < (scaled ? 3 : 2); side++)
	{
		appendStringInfo(sql, "%sSELECT %d AS side", side ? " UNION ALL " : "", side);
		for (int i = 0; i < plan->ncolumns; i++)
			appendStringInfo(sql, side == 2 && !fe_batch_is_key(b, i) ? ", NULL" : ", c%d", i);
		for (int i = 0; i < plan->ncolumns; i++)
			if (float_aggrefs(b, i))
				appendStringInfo(sql, side == 2 ? ", z%d" : ", NULL::float8 AS z%d", i);
		appendStringInfo(sql, " FROM %s", sides[side]);
	}
	appendStringInfoString(sql, "), ");
}

/* One row an entity, with each feature's text on both sides. */
static void
append_groups(FeBatch *b)
{
	StringInfo	sql = &b->sql;
	const FePlan *plan = b->plan;

	appendStringInfoString(sql, "g AS (SELECT count(*) FILTER (WHERE side = 0) AS n0, "
						   "count(*) FILTER (WHERE side = 1) AS n1");
	appendStringInfoString(sql, ", ");
	fe_batch_append_keys(b, sql, NULL);
	for (int i = 0; i < plan->ncolumns; i++)
	{
		if (!fe_batch_is_key(b, i))
			for (int side = 0; side < 2; side++)
				appendStringInfo(sql, ", (array_agg(c%d::text) FILTER (WHERE side = %d))[1] "
								 "AS v%d_%d", i, side, i, side);
		if (float_aggrefs(b, i))
			appendStringInfo(sql, ", max(z%d) AS z%d", i, i);
	}
	appendStringInfoString(sql, " FROM u GROUP BY ");
	fe_batch_append_keys(b, sql, NULL);
	appendStringInfoChar(sql, ')');
}

void
fe_batch_append_groups(FeBatch *b)
{
	bool		scaled = false;

	for (int i = 0; i < b->plan->ncolumns; i++)
		scaled |= float_aggrefs(b, i) != NIL;
	if (scaled)
		append_scales(b);
	append_union(b, scaled);
	append_groups(b);
}

/*
 * Condition under which two different texts a and b are the same value.  Floats
 * are compared as numerics, which neither overflow nor underflow.
 */
char *
fe_batch_same_value(const FeBatch *b, int column)
{
	Oid			type = b->plan->columns[column].type;
	TypeCacheEntry *entry;
	char	   *name;

	if (is_float(type))
		return psprintf("CASE WHEN abs(a::float8) < 'Infinity' AND abs(b::float8) < 'Infinity' "
						"THEN abs(a::float8::numeric - b::float8::numeric) <= %s * "
						"greatest(abs(a::float8::numeric), abs(b::float8::numeric)%s) END",
						type == FLOAT4OID ? "0.00000024" : "0.000000001",
						float_aggrefs(b, column) ? psprintf(", z%d::numeric", column) : "");
	entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	if (!OidIsValid(entry->eq_opr))
		return "false";
	name = format_type_be_qualified(type);
	return psprintf("a::%s %s b::%s", name, fe_operator_text(entry->eq_opr), name);
}
