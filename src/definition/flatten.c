/*
 * flatten.c
 *		From an analysed query to one grouped query over one row.
 *
 * Projecting subqueries, CTEs and LATERAL items below the grouping and outer
 * SELECTs above it only rename and compute: their columns are replaced by what
 * they stand for, until every expression is over the row (varno 1) and
 * aggregates.  Whatever else a query can contain is refused, here and in clauses.c.
 *
 * Runs wherever a definition is created or compiled; takes no locks.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "runtime/compat.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "definition/flatten.h"

static Node *flatten_expr(Node *node, void *arg);

FeFlatLevel *
fe_flat_level(FeFlatLevel *parent, FeAnalysis *a, FeFlatRow *row, Query *query)
{
	FeFlatLevel *level = palloc0(sizeof(FeFlatLevel));

	level->a = a;
	level->row = row;
	fe_compat_inline_group_columns(query);
	level->query = query;
	level->parent = parent;
	level->tables = palloc0(sizeof(int) * Max(list_length(query->rtable), 1));
	level->below = palloc0(sizeof(FeFlatLevel *) * Max(list_length(query->rtable), 1));
	return level;
}

static bool
is_grouped(const Query *query)
{
	return query->groupClause != NIL || query->hasAggs || query->groupingSets != NIL ||
		query->havingQual != NULL;
}

/* ---- columns of other queries of the nest ------------------------------------ */

static CommonTableExpr *
find_cte(FeFlatLevel *level, RangeTblEntry *rte, FeFlatLevel **at)
{
	ListCell   *lc;

	for (Index up = rte->ctelevelsup; up > 0 && level; up--)
		level = level->parent;
	if (level)
		foreach(lc, level->query->cteList)
		{
			CommonTableExpr *cte = lfirst(lc);

			if (strcmp(cte->ctename, rte->ctename) == 0)
			{
				*at = level;
				return cte;
			}
		}
	elog(ERROR, "could not find CTE \"%s\"", rte->ctename);
	return NULL;
}

/* The query behind a subquery or CTE of the range table; NULL for others. */
static FeFlatLevel *
level_below(FeFlatLevel *level, int rtindex)
{
	RangeTblEntry *rte = rt_fetch(rtindex, level->query->rtable);
	FeFlatLevel *parent = level;
	Query	   *query;

	if (level->below[rtindex - 1])
		return level->below[rtindex - 1];
	if (rte->rtekind == RTE_SUBQUERY)
		query = rte->subquery;
	else if (rte->rtekind == RTE_CTE && !rte->self_reference)
		query = castNode(Query, find_cte(level, rte, &parent)->ctequery);
	else
		return NULL;
	level->below[rtindex - 1] = fe_flat_level(parent, level->a, level->row, query);
	return level->below[rtindex - 1];
}

static Node *
source_column(FeFlatLevel *level, Var *var)
{
	Var		   *result;

	if (var->varattno == 0)
		fe_flat_refuse(level, var->location, _("references to a whole row are"),
					   _("Name the columns that are needed."));
	if (var->varattno < 0)
		fe_flat_refuse(level, var->location, _("system columns are"), NULL);
	if (fe_compat_is_virtual_column(rt_fetch(var->varno, level->query->rtable)->relid,
									var->varattno))
		fe_flat_refuse(level, var->location, _("virtual generated columns are"),
					   _("Their values are not in the write-ahead log. Write the column's expression "
						 "instead, or make the column STORED."));
	result = copyObject(var);
	fe_compat_forget_outer_joins(result);
	result->varno = level->tables[var->varno - 1];
	result->varlevelsup = 0;
	result->varnosyn = result->varno;
	result->varattnosyn = var->varattno;
	return (Node *) result;
}

/* What a column stands for, in terms of the source row. */
static Node *
flatten_var(Var *var, FeFlatLevel *level)
{
	RangeTblEntry *rte;
	FeFlatLevel *below;
	TargetEntry *tle;

	for (Index up = var->varlevelsup; up > 0; up--)
		level = level->parent;
	rte = rt_fetch(var->varno, level->query->rtable);
	if (rte->rtekind == RTE_RELATION && level->tables[var->varno - 1] != 0)
		return source_column(level, var);
	if (var->varattno == 0)
		fe_flat_refuse(level, var->location, _("references to a whole row are"),
					   _("Name the columns that are needed."));
	if (rte->rtekind == RTE_FUNCTION && level->changes == var->varno)
		return fe_changes_column(var);
	if (rte->rtekind == RTE_JOIN)
		return flatten_expr(list_nth(rte->joinaliasvars, var->varattno - 1), level);
	below = level_below(level, var->varno);
	if (below == NULL)
		fe_flat_refuse(level, var->location, _("this column's origin is"), NULL);
	if (below->query->setOperations)
		return fe_union_column(below, var->varattno);
	tle = list_nth(below->query->targetList, var->varattno - 1);
	return flatten_expr((Node *) tle->expr, below);
}

/* A column of a composite value, which may be a row before or after a change. */
static Node *
flatten_field(FieldSelect *field, FeFlatLevel *level)
{
	Node	   *arg = flatten_expr((Node *) field->arg, level);
	Node	   *column = fe_changes_field(level->a, field, arg);

	if (column)
		return column;
	field = (FieldSelect *) copyObject(field);
	field->arg = (Expr *) arg;
	return (Node *) field;
}

static Node *
flatten_expr(Node *node, void *arg)
{
	FeFlatLevel *level = arg;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
		return flatten_var((Var *) node, level);
	if (IsA(node, FieldSelect))
		return flatten_field((FieldSelect *) node, level);
	if (IsA(node, GroupingFunc))
		fe_flat_refuse(level, ((GroupingFunc *) node)->location, _("GROUPING() is"), NULL);
	return expression_tree_mutator(node, flatten_expr, level);
}

Node *
fe_flatten_expr(Node *node, FeFlatLevel *level)
{
	return flatten_expr(node, level);
}

/* ---- FROM ---------------------------------------------------------------------- */

static void
take_quals(FeFlatLevel *level, Node *quals, List **to)
{
	if (quals)
		*to = lappend(*to, flatten_expr(quals, level));
}

/* How many tables do the level's FROM and those below it name? */
static int
count_tables(FeFlatLevel *level)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, level->query->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);
		FeFlatLevel *below = NULL;

		if (rte->rtekind == RTE_SUBQUERY || rte->rtekind == RTE_CTE)
			below = level_below(level, foreach_current_index(lc) + 1);
		if (below)
			n += below->query->setOperations ? 1 : count_tables(below);
		else
			n += rte->rtekind == RTE_RELATION;
	}
	return n;
}

static void
take_source(FeFlatLevel *level, int rtindex)
{
	RangeTblEntry *rte = rt_fetch(rtindex, level->query->rtable);
	FeFlatRow  *row = level->row;
	FeFlatTable *table = palloc0(sizeof(FeFlatTable));
	FeFlatArm  *arm;
	ListCell   *lc;

	table->relid = rte->relid;
	foreach(lc, row->tables)
		table->mention += ((FeFlatTable *) lfirst(lc))->relid == rte->relid;
	if (row->desc != NULL)
	{
		foreach(lc, row->arms)
			table->mention += ((FeFlatArm *) lfirst(lc))->source == rte->relid;
		fe_flat_refuse(level, fe_relation_location(level->a, rte->relid, table->mention),
					   _("joins with UNION ALL are"),
					   _("Join the feature view with other tables when reading it."));
	}
	if (row->arms != NIL && ((FeFlatArm *) linitial(row->arms))->form == FE_FORM_CHANGES)
	{
		table->mention = ((FeFlatArm *) linitial(row->arms))->source == rte->relid;
		fe_flat_refuse(level, fe_relation_location(level->a, rte->relid, table->mention),
					   _("joins with changes() are"),
					   _("Join the feature view with other tables when reading it."));
	}
	if (rte->tablesample)
		fe_flat_refuse(level, fe_relation_location(level->a, rte->relid, 0), _("TABLESAMPLE is"),
					   NULL);
	fe_source_check(level->a, rte->relid, true);
	if (!rte->inh && rte->relkind == RELKIND_PARTITIONED_TABLE)
		fe_flat_refuse(level, fe_relation_location(level->a, rte->relid, 0),
					   _("ONLY a partitioned table, which has no rows of its own, is"), NULL);
	arm = palloc0(sizeof(FeFlatArm));
	arm->source = rte->relid;
	arm->form = FE_FORM_TABLE;
	row->arms = list_make1(arm);
	row->tables = lappend(row->tables, table);
	level->tables[rtindex - 1] = list_length(row->tables);
}

static void
take_function(FeFlatLevel *level, int rtindex)
{
	RangeTblEntry *rte = rt_fetch(rtindex, level->query->rtable);
	int			location = exprLocation(((RangeTblFunction *) linitial(rte->functions))->funcexpr);
	Oid			relid = fe_changes_table(level->a, rte);
	FeFlatArm  *arm;

	if (!OidIsValid(relid))
		fe_flat_refuse(level, location, _("functions in FROM are"), NULL);
	if (level->row->arms != NIL)
		fe_flat_refuse(level, location, _("joins with changes() are"),
					   _("Join the feature view with other tables when reading it."));
	fe_source_check(level->a, relid, false);
	arm = palloc0(sizeof(FeFlatArm));
	arm->source = relid;
	arm->form = FE_FORM_CHANGES;
	arm->location = location;
	level->row->arms = list_make1(arm);
	level->changes = rtindex;
	if (!level->a->stream)
		level->a->any_log = level->a->append_only;
	level->a->stream = true;
	level->a->append_only = true;
}

static void
flatten_from_ref(FeFlatLevel *level, int rtindex)
{
	RangeTblEntry *rte = rt_fetch(rtindex, level->query->rtable);
	FeFlatLevel *below;

	if (rte->rtekind == RTE_RELATION)
	{
		take_source(level, rtindex);
		return;
	}
	if (rte->rtekind == RTE_FUNCTION)
	{
		take_function(level, rtindex);
		return;
	}
	below = level_below(level, rtindex);
	if (below == NULL)
		fe_flat_refuse(level, exprLocation(rte->rtekind == RTE_VALUES ? (Node *) rte->values_lists :
										   (Node *) rte->tablefunc), _("this item of FROM is"),
					   _("FROM may hold tables, subqueries over them, UNION ALL, joins by a unique key, "
						 "or changes()."));
	fe_flatten_projection(below);
}

static void flatten_from_item(FeFlatLevel *level, Node *item);

/*
 * The side of an outer join that may be missing: a table.  (Of a projection its
 * expressions would have to be NULL where it is.)
 */
static void
flatten_optional(FeFlatLevel *level, Node *item, Node *quals)
{
	RangeTblEntry *rte = NULL;

	if (IsA(item, RangeTblRef))
		rte = rt_fetch(((RangeTblRef *) item)->rtindex, level->query->rtable);
	if (rte == NULL || rte->rtekind != RTE_RELATION)
		fe_flat_refuse(level, exprLocation(quals), _("outer joins with anything but a table are"),
					   _("Name the table itself on the outer side. A LATERAL item that names windows is "
						 "added with a comma: FROM orders, LATERAL (SELECT rolling(...) AS w) x."));
	take_source(level, ((RangeTblRef *) item)->rtindex);
	((FeFlatTable *) llast(level->row->tables))->outer = true;
}

static void
flatten_join(FeFlatLevel *level, JoinExpr *join)
{
	FeFlatTable *optional;

	switch (join->jointype)
	{
		case JOIN_INNER:
			flatten_from_item(level, join->larg);
			flatten_from_item(level, join->rarg);
			take_quals(level, join->quals, &level->row->where);
			return;
		case JOIN_LEFT:
			flatten_from_item(level, join->larg);
			flatten_optional(level, join->rarg, join->quals);
			break;
		case JOIN_RIGHT:
			flatten_from_item(level, join->rarg);
			flatten_optional(level, join->larg, join->quals);
			break;
		default:
			fe_flat_refuse(level, exprLocation(join->quals), _("FULL JOIN is"),
						   _("INNER JOIN and LEFT JOIN add the row with a given key to each row of one table."));
	}
	optional = llast(level->row->tables);
	take_quals(level, join->quals, &optional->on);
}

static void
flatten_from_item(FeFlatLevel *level, Node *item)
{
	if (IsA(item, RangeTblRef))
		flatten_from_ref(level, ((RangeTblRef *) item)->rtindex);
	else
		flatten_join(level, castNode(JoinExpr, item));
}

/* FROM and WHERE of a query at or below the grouping. */
static void
flatten_query_from(FeFlatLevel *level)
{
	ListCell   *lc;

	/* hints depend on it, of the first table that is looked at, too */
	if (level->a->check && count_tables(level) > 1)
		level->a->joined = true;
	foreach(lc, level->query->jointree->fromlist)
		flatten_from_item(level, lfirst(lc));
	take_quals(level, level->query->jointree->quals, &level->row->where);
}

void
fe_flatten_projection(FeFlatLevel *level)
{
	fe_flat_refuse_clauses(level);
	if (is_grouped(level->query))
		fe_flat_refuse(level, fe_targets_location(level->query->targetList),
					   _("grouping below the grouping is"),
					   _("One grouped query is allowed, with projections below and above it."));
	if (level->query->setOperations)
		fe_flatten_union(level);
	else
		flatten_query_from(level);
}

/* ---- the grouped query ---------------------------------------------------------- */

static void
flatten_keys(FeFlatLevel *level, FeFlat *flat)
{
	Query	   *query = level->query;
	ListCell   *lc;
	ListCell   *lk;

	foreach(lc, query->groupClause)
	{
		SortGroupClause *clause = lfirst(lc);
		TargetEntry *tle = NULL;
		FeFlatKey  *key = palloc0(sizeof(FeFlatKey));
		bool		known = false;

		foreach(lk, query->targetList)
			if (((TargetEntry *) lfirst(lk))->ressortgroupref == clause->tleSortGroupRef)
				tle = lfirst(lk);
		key->expr = flatten_expr((Node *) tle->expr, level);
		key->eqop = clause->eqop;
		if (!clause->hashable)
			fe_flat_refuse(level, exprLocation((Node *) tle->expr),
						   psprintf(_("a key of type %s, which cannot be hashed, is"),
									format_type_be(exprType(key->expr))), NULL);
		foreach(lk, flat->keys)
			known = known || equal(((FeFlatKey *) lfirst(lk))->expr, key->expr);
		if (!known)
			flat->keys = lappend(flat->keys, key);
	}
}

static void
refuse_ungrouped(FeFlatLevel *level)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a feature view needs GROUP BY with one or more key columns"),
			 errdetail("The key columns say whose features a row holds."),
			 errhint("Write SELECT customer_id, count(*) AS orders FROM ... GROUP BY customer_id."),
			 fe_errposition(level->a, fe_targets_location(level->query->targetList))));
}

/* What is grouped can be brought together when it is read. */
static void
refuse_union(FeFlatLevel *level)
{
	Query	   *query = level->query;

	if (query->setOperations)
		fe_flat_refuse(level, fe_union_location(query, query->setOperations),
					   _("UNION, INTERSECT and EXCEPT above the grouping are"),
					   _("Several tables are brought together below it: SELECT customer_id, count(*) "
						 "AS n FROM (SELECT customer_id FROM orders UNION ALL SELECT customer_id FROM "
						 "refunds) AS u GROUP BY customer_id."));
}

/*
 * Without GROUP BY and aggregates each row is an entity of its own: that is
 * GROUP BY of the primary key.
 */
static void
flatten_current(FeFlatLevel *top, FeFlat *flat)
{
	FeFlatArm  *arm;
	ListCell   *lc;

	flatten_query_from(top);
	if (top->row->arms == NIL)
		fe_flat_refuse(top, fe_targets_location(top->query->targetList), _("a query without a table is"),
					   NULL);
	if (list_length(top->row->tables) > 1)
	{
		FeFlatTable *second = lsecond(top->row->tables);

		fe_flat_refuse(top, fe_relation_location(top->a, second->relid, second->mention),
					   _("joins without GROUP BY are"),
					   _("A view of current values reads one table; join the feature view with other tables "
						 "when reading it."));
	}
	arm = linitial(top->row->arms);
	if (top->row->desc != NULL || arm->form != FE_FORM_TABLE)
		refuse_ungrouped(top);
	flat->arms = top->row->arms;
	flat->where = top->row->where;
	flat->current = true;
	flat->determined = true;
	foreach(lc, fe_primary_key(top->a, arm->source))
	{
		FeFlatKey  *key = palloc0(sizeof(FeFlatKey));

		key->expr = lfirst(lc);
		get_sort_group_operators(exprType(key->expr), false, true, false, NULL, &key->eqop, NULL,
								 NULL);
		flat->keys = lappend(flat->keys, key);
	}
}

/*
 * Walks down the outer SELECTs to the grouped one, and takes its clauses; a
 * query where none is grouped serves current values.
 */
static void
flatten_grouped(FeFlatLevel *level, FeFlat *flat)
{
	FeFlatLevel *top = level;
	List	   *outer = NIL;
	ListCell   *lc;

	fe_flat_refuse_clauses(level);
	while (!is_grouped(level->query))
	{
		List	   *from = level->query->jointree->fromlist;
		FeFlatLevel *below = NULL;

		refuse_union(level);
		if (list_length(from) == 1 && IsA(linitial(from), RangeTblRef))
			below = level_below(level, ((RangeTblRef *) linitial(from))->rtindex);
		if (below == NULL)
		{
			flatten_current(top, flat);
			return;
		}
		outer = lappend(outer, level);
		level = below;
		fe_flat_refuse_clauses(level);
	}
	if (level->query->groupClause == NIL)
		refuse_ungrouped(level);
	flatten_query_from(level);
	if (level->row->arms == NIL)
		fe_flat_refuse(level, fe_targets_location(level->query->targetList), _("a query without a table is"),
					   NULL);
	flat->arms = level->row->arms;
	flat->row_desc = level->row->desc;
	flat->where = level->row->where;
	flatten_keys(level, flat);
	/* the parser has found a primary key among them; of a join, it is not known whose */
	flat->determined = level->query->constraintDeps != NIL &&
		list_length(level->row->tables) <= 1;
	flat->joined_key = level->query->constraintDeps != NIL && !flat->determined;
	take_quals(level, level->query->havingQual, &flat->having);
	foreach(lc, outer)
	{
		FeFlatLevel *above = lfirst(lc);

		take_quals(above, above->query->jointree->quals, &flat->having);
	}
}

/* Of changes, rows as a whole must not be left anywhere. */
static void
refuse_images(FeAnalysis *a, FeFlat *flat)
{
	ListCell   *lc;

	foreach(lc, flat->arms)
	{
		FeFlatArm  *arm = lfirst(lc);

		fe_changes_refuse_images(a, (Node *) arm->where);
		fe_changes_refuse_images(a, (Node *) arm->columns);
	}
	fe_changes_refuse_images(a, (Node *) flat->where);
	foreach(lc, flat->keys)
		fe_changes_refuse_images(a, ((FeFlatKey *) lfirst(lc))->expr);
	foreach(lc, flat->targets)
		fe_changes_refuse_images(a, ((FeFlatTarget *) lfirst(lc))->expr);
	fe_changes_refuse_images(a, (Node *) flat->having);
}

FeFlat *
fe_flatten(FeAnalysis *a, Query *query)
{
	FeFlat	   *flat = palloc0(sizeof(FeFlat));
	FeFlatRow  *row = palloc0(sizeof(FeFlatRow));
	FeFlatLevel *top = fe_flat_level(NULL, a, row, query);
	ListCell   *lc;

	flatten_grouped(top, flat);
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst(lc);
		FeFlatTarget *target;

		if (tle->resjunk)
			continue;
		target = palloc0(sizeof(FeFlatTarget));
		target->name = pstrdup(tle->resname);
		target->expr = flatten_expr((Node *) tle->expr, top);
		flat->targets = lappend(flat->targets, target);
	}
	if (list_length(row->tables) > 1)
		fe_join_tables(a, flat, row->tables);
	refuse_images(a, flat);
	return flat;
}
