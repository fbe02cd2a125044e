/*
 * batch_past.c
 *		What the tables as they are now can tell of a past T, and what they cannot.
 *
 * The windows of a definition leave out every event later than T, so a windowed
 * value at a past T is that of the rows known now.  An aggregate without a window
 * takes in whatever is in the table: unless a column says when each row came to be,
 * its past values cannot be told.  Nor can is_final(), for old watermarks are stored
 * nowhere.  Runs in the user's backend; catalogues only.
 */
#include "postgres.h"

#include "access/attnum.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "definition/batch.h"
#include "definition/definition.h"

/* Does a window of WHERE leave out what is later than T? */
static bool
where_moves(const FePlan *plan)
{
	FeWindowSet windows = plan->where_windows;

	if (plan->group_window >= 0)
		windows &= ~((FeWindowSet) 1 << plan->group_window);
	return windows != 0;
}

static void
check_event_time(const FePlan *plan, Oid relid, const char *column)
{
	AttrNumber	attnum = get_attnum(relid, column);
	Oid			type = attnum > 0 ? getBaseType(get_atttype(relid, attnum)) : InvalidOid;

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", column, get_rel_name(relid)),
				 errhint("event_time names a column of what feature view \"%s\" reads: the time at which a "
						 "row came to be.", plan->name)));
	/* which rows are left out tells of the column, which the definition need not show */
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck(relid, attnum, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error_col(ACLCHECK_NO_PRIV, OBJECT_COLUMN, get_rel_name(relid), column);
	if (type != TIMESTAMPTZOID && type != TIMESTAMPOID && type != DATEOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("event_time must be of type timestamptz, timestamp or date, and column \"%s\" of "
						"table \"%s\" is of type %s", column, get_rel_name(relid),
						format_type_be(get_atttype(relid, attnum)))));
}

void
fe_batch_set_past(FeBatch *b, const char *event_time)
{
	const FePlan *plan = b->plan;

	if (event_time)
	{
		/* of a join the table that is aggregated, which is the first */
		for (int i = 0; i < (plan->join ? 1 : plan->narms); i++)
			check_event_time(plan, plan->arms[i].source, event_time);
		b->past = FE_PAST_COLUMN;
		b->event_time = event_time;
	}
	else if (plan->ntracks > 0 && !where_moves(plan))
		b->past = FE_PAST_WINDOWS;
}

/* ---- what cannot be told -------------------------------------------------------- */

/* Is there an aggregate without a window among these? */
static bool
any_lifetime(const FePlan *plan, const Bitmapset *aggs)
{
	int			i = -1;

	while ((i = bms_next_member(aggs, i)) >= 0)
		if (plan->aggs[i].windows == 0)
			return true;
	return false;
}

char *
fe_batch_past_problem(const FeBatch *b, int column, bool *undated)
{
	const FePlan *plan = b->plan;
	const char *what = column < 0 ? "HAVING" : psprintf("\"%s\"", plan->columns[column].name);
	Node	   *expr = column < 0 ? (Node *) plan->having : (Node *) plan->columns[column].expr;
	FeAnalysis	a;

	fe_analysis_init(&a, NULL, NULL);
	*undated = false;
	if (fe_contains_final(&a, expr))
		return psprintf(_("%s asks is_final(), and past watermarks are not stored."), what);
	if (b->past == FE_PAST_COLUMN)
		return NULL;
	*undated = true;
	if (column < 0 && b->past == FE_PAST_NONE && !where_moves(plan))
		return pstrdup(_("No window tells which rows were there already."));
	if (any_lifetime(plan, column < 0 ? plan->having_aggs : plan->columns[column].aggs))
		return psprintf(_("%s has an aggregate without a window, which takes in all rows that are there now."),
						what);
	*undated = false;
	return NULL;
}

bool
fe_batch_having_uses_time(const FePlan *plan)
{
	FeAnalysis	a;

	fe_analysis_init(&a, NULL, NULL);
	return plan->having != NULL &&
		(fe_contains_now(&a, (Node *) plan->having, NULL) ||
		 fe_plan_aggs_use_time(plan, plan->having_aggs));
}
