/*
 * union.c
 *		UNION ALL below the grouping: several inputs of one row.
 *
 * The columns of the union are a row that its arms have in common: what stands
 * above is over that row.  Each query of the union is flattened to a row of its
 * own, a table's or again a union's, and its columns become expressions over the
 * rows of one or several tables, cast to the union's types as PostgreSQL's
 * planner casts them.
 *
 * Runs wherever a definition is created or compiled; takes no locks.
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parsetree.h"
#include "runtime/compat.h"

#include "definition/flatten.h"

/* Location of the second operand's columns. */
int
fe_union_location(Query *query, Node *operation)
{
	Node	   *right = ((SetOperationStmt *) operation)->rarg;
	Query	   *subquery;

	while (IsA(right, SetOperationStmt))
		right = ((SetOperationStmt *) right)->larg;
	subquery = rt_fetch(((RangeTblRef *) right)->rtindex, query->rtable)->subquery;
	fe_compat_inline_group_columns(subquery);
	return fe_targets_location(subquery->targetList);
}

/* ---- one query of the union -------------------------------------------------- */

/* The columns of a query that only projects, over its row. */
static List *
columns_of(FeFlatLevel *level)
{
	List	   *columns = NIL;
	ListCell   *lc;

	foreach(lc, level->query->targetList)
	{
		TargetEntry *tle = lfirst(lc);

		if (tle->resjunk)
			continue;
		columns = lappend(columns, level->query->setOperations ?
						  fe_union_column(level, tle->resno) :
						  fe_flatten_expr((Node *) tle->expr, level));
	}
	return columns;
}

static List *
over_arm(List *exprs, const FeFlatArm *arm)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, exprs)
		result = lappend(result, fe_flat_over_arm(lfirst(lc), arm));
	return result;
}

/* The arms of one query: as many as its own row has. */
static List *
arms_of_query(FeFlatLevel *level, int rtindex)
{
	FeFlatRow  *row = palloc0(sizeof(FeFlatRow));
	FeFlatLevel *below = fe_flat_level(level, level->a, row,
									   rt_fetch(rtindex, level->query->rtable)->subquery);
	List	   *columns;
	List	   *arms = NIL;
	ListCell   *lc;

	fe_flatten_projection(below);
	if (row->arms == NIL)
		fe_flat_refuse(level, fe_targets_location(below->query->targetList),
					   _("a query without a table is"), NULL);
	if (list_length(row->tables) > 1)
		fe_flat_refuse(level, fe_targets_location(below->query->targetList),
					   _("joins below UNION ALL are"),
					   _("Join the feature view with other tables when reading it."));
	columns = columns_of(below);
	foreach(lc, row->arms)
	{
		FeFlatArm  *of = lfirst(lc);
		FeFlatArm  *arm = palloc0(sizeof(FeFlatArm));

		*arm = *of;
		arm->where = list_concat_copy(of->where, over_arm(row->where, of));
		arm->columns = over_arm(columns, of);
		arms = lappend(arms, arm);
	}
	return arms;
}

/* ---- the tree of operations ----------------------------------------------------- */

/* As generate_setop_tlist() of the planner does it. */
static Node *
cast_column(Node *expr, Oid type, Oid collation)
{
	if (exprType(expr) != type)
		expr = coerce_to_common_type(NULL, expr, type, "UNION/INTERSECT/EXCEPT");
	if (exprCollation(expr) != collation)
		expr = applyRelabelType(expr, exprType(expr), exprTypmod(expr), collation,
								COERCE_IMPLICIT_CAST, -1, false);
	return expr;
}

static void
cast_columns(FeFlatArm *arm, SetOperationStmt *op)
{
	ListCell   *lc;
	ListCell   *type;
	ListCell   *collation;

	forthree(lc, arm->columns, type, op->colTypes, collation, op->colCollations)
		lfirst(lc) = cast_column(lfirst(lc), lfirst_oid(type), lfirst_oid(collation));
}

static void
refuse_operation(FeFlatLevel *level, SetOperationStmt *op)
{
	int			location = fe_union_location(level->query, (Node *) op);

	if (op->op == SETOP_UNION)
		fe_flat_refuse(level, location, _("UNION without ALL is"),
					   _("Write UNION ALL: every row counts. To count what is different, use "
						 "count(DISTINCT column)."));
	fe_flat_refuse(level, location, op->op == SETOP_INTERSECT ? _("INTERSECT is") : _("EXCEPT is"),
				   _("Only UNION ALL can bring several tables together."));
}

static List *
arms_of(FeFlatLevel *level, Node *node)
{
	SetOperationStmt *op;
	List	   *arms;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return arms_of_query(level, ((RangeTblRef *) node)->rtindex);
	op = castNode(SetOperationStmt, node);
	if (op->op != SETOP_UNION || !op->all)
		refuse_operation(level, op);
	arms = arms_of(level, op->larg);
	arms = list_concat(arms, arms_of(level, op->rarg));
	foreach(lc, arms)
		cast_columns(lfirst(lc), op);
	return arms;
}

static TupleDesc
describe_row(Query *query)
{
	SetOperationStmt *op = castNode(SetOperationStmt, query->setOperations);
	TupleDesc	desc = CreateTemplateTupleDesc(list_length(op->colTypes));

	for (int i = 0; i < desc->natts; i++)
	{
		TargetEntry *tle = list_nth(query->targetList, i);

		TupleDescInitEntry(desc, i + 1, tle->resname, list_nth_oid(op->colTypes, i),
						   list_nth_int(op->colTypmods, i), 0);
		TupleDescInitEntryCollation(desc, i + 1, list_nth_oid(op->colCollations, i));
	}
	return desc;
}

void
fe_flatten_union(FeFlatLevel *level)
{
	FeFlatRow  *row = level->row;

	if (row->arms != NIL)
		fe_flat_refuse(level, fe_targets_location(level->query->targetList),
					   _("joins with UNION ALL are"),
					   _("Join the feature view with other tables when reading it."));
	row->arms = arms_of(level, level->query->setOperations);
	row->desc = describe_row(level->query);
}

Node *
fe_union_column(FeFlatLevel *level, AttrNumber attnum)
{
	Form_pg_attribute att = TupleDescAttr(level->row->desc, attnum - 1);

	return (Node *) makeVar(1, attnum, att->atttypid, att->atttypmod, att->attcollation, 0);
}
