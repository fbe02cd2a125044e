/*
 * arms.c
 *		What a plan reads: each of its inputs with the row expressions over its
 *		own rows.
 *
 * Runs wherever a definition is compiled; no locks beyond the catalogues'.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"

#include "definition/definition.h"

/* Which columns of its rows the arm's row program reads. */
static void
find_source_attrs(FeArm *arm)
{
	Bitmapset  *attrs = NULL;
	int			i = -1;

	pull_varattnos((Node *) arm->rowexprs, 1, &attrs);
	while ((i = bms_next_member(attrs, i)) >= 0)
		arm->source_attrs = bms_add_member(arm->source_attrs,
										   i + FirstLowInvalidHeapAttributeNumber);
	if (arm->form == FE_FORM_CHANGES)
		fe_changes_split_attrs(arm, arm->source_attrs);
}

/* An expression of the common row over an arm's: folded and checked like any other. */
static Node *
arm_expression(FePlanBuilder *b, FeFlatArm *flat, Node *expr, const char *what)
{
	FuncExpr   *call;

	expr = eval_const_expressions(NULL, fe_flat_over_arm(expr, flat));
	call = fe_find_window_call(b->a, expr);
	if (call)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a window cannot be used below UNION ALL in a feature view"),
				 errhint("Select the event time there, and write the window in the WHERE or FILTER "
						 "of the grouped query."),
				 fe_errposition(b->a, call->location)));
	fe_refuse_mutable(b->a, expr, what, false);
	return expr;
}

/*
 * Every arm has the common row's expressions over its own rows, and as the last
 * one what lets its rows pass: the condition on the common row and its own.
 */
static void
make_arm(FePlanBuilder *b, FeFlatArm *flat, FeArm *arm)
{
	FePlan	   *plan = b->plan;
	List	   *conditions = NIL;
	Node	   *where;
	ListCell   *lc;

	for (int i = 0; i < plan->where; i++)
		arm->rowexprs = lappend(arm->rowexprs,
								arm_expression(b, flat, list_nth(plan->rowexprs, i),
											   _("an expression")));
	foreach(lc, flat->where)
		conditions = lappend(conditions, lfirst(lc));
	foreach(lc, b->where_conditions)
		conditions = lappend(conditions, fe_flat_over_arm(lfirst(lc), flat));
	where = (Node *) make_ands_explicit(conditions);
	where = arm_expression(b, &(FeFlatArm) {0}, where, _("the WHERE clause"));
	arm->where = IsA(where, Const) && !((Const *) where)->constisnull &&
		DatumGetBool(((Const *) where)->constvalue) ? FE_NO_EXPR : plan->where;
	arm->rowexprs = lappend(arm->rowexprs, where);
}

void
fe_plan_make_arms(FePlanBuilder *b)
{
	FePlan	   *plan = b->plan;
	ListCell   *lc;

	if (fe_flat_has_common_row(b->flat))
	{
		plan->where = list_length(plan->rowexprs);
		plan->rowexprs = lappend(plan->rowexprs, make_ands_explicit(b->where_conditions));
	}
	plan->narms = list_length(b->flat->arms);
	plan->arms = palloc0(sizeof(FeArm) * plan->narms);
	foreach(lc, b->flat->arms)
	{
		FeFlatArm  *flat = lfirst(lc);
		FeArm	   *arm = &plan->arms[foreach_current_index(lc)];

		arm->source = flat->source;
		arm->form = flat->form;
		arm->location = flat->location;
		if (fe_flat_has_common_row(b->flat))
			make_arm(b, flat, arm);
		else if (arm->form == FE_FORM_DIMENSION)
			arm->where = FE_NO_EXPR;
		else
		{
			arm->rowexprs = plan->rowexprs;
			arm->where = plan->where;
		}
		if (plan->join)
			arm->source_attrs = fe_join_source_attrs(plan->join, foreach_current_index(lc));
		else
			find_source_attrs(arm);
	}
	fe_changes_check_arms(b->a, plan);
}
