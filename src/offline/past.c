/*
 * past.c
 *		What backfill_history() and skew_report() have in common: their arguments,
 *		and the texts of statements over a view's history.
 *
 * Runs in the user's backend; takes no locks.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "offline/past.h"

/* ---- arguments --------------------------------------------------------------------- */

static void
check_not_null(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"view", "from", "to"};

	for (int i = 0; i < lengthof(names); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be NULL", names[i])));
}

static void
check_range(const FePast *p)
{
	if (TIMESTAMP_NOT_FINITE(p->from) || TIMESTAMP_NOT_FINITE(p->to))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("\"from\" and \"to\" must be finite")));
	if (p->from > p->to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"from\" must not be later than \"to\"")));
}

void
fe_past_init(FePast *p, FunctionCallInfo fcinfo)
{
	const FePlan *plan;

	check_not_null(fcinfo);
	memset(p, 0, sizeof(FePast));
	p->from = PG_GETARG_TIMESTAMPTZ(1);
	p->to = PG_GETARG_TIMESTAMPTZ(2);
	check_range(p);
	plan = fe_plan_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	p->plan = plan;
	p->table = fe_qualified_relation(plan->history);
	if (p->table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature view \"%s\" has no history", plan->name),
				 errhint("SELECT alter_feature_view(%s, offline => true) makes its history table.",
						 quote_literal_cstr(plan->name))));
	if (fe_plan_is_stream(plan))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("feature view \"%s\" is over the changes of a table, and its past cannot be computed",
						plan->name),
				 errdetail("Changes are stored nowhere, so there is no query that computes it.")));
	fe_plan_check_owner(plan);
	p->shape = fe_history_shape(plan);
	fe_batch_init(&p->batch, plan);
	fe_batch_set_served(&p->batch, p->shape->per_window);
}

void
fe_past_set_event_time(FePast *p, FunctionCallInfo fcinfo, int n)
{
	fe_batch_set_past(&p->batch, PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n)));
}

int64
fe_past_interval(FunctionCallInfo fcinfo, int n, const char *name, int64 least)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be NULL", name)));
	return fe_interval_argument(fcinfo, n, name, least, 36500 * USECS_PER_DAY);
}

/* ---- errors ------------------------------------------------------------------------ */

static void
tell_instant(void *arg)
{
	const FePlan *plan = arg;

	errcontext("feature view \"%s\" as of %s", plan->name,
			   timestamptz_to_str(fe_clock_eval_time()));
}

void
fe_past_begin_context(const FePast *p, ErrorContextCallback *callback)
{
	callback->callback = tell_instant;
	callback->arg = unconstify(FePlan *, p->plan);
	callback->previous = error_context_stack;
	error_context_stack = callback;
}

/* ---- texts --------------------------------------------------------------------------- */

static void
append_column(const FePast *p, StringInfo sql, int column, bool first)
{
	appendStringInfo(sql, "%s%s", first ? "" : ", ",
					 quote_identifier(p->plan->columns[column].name));
}

void
fe_past_append_columns(const FePast *p, StringInfo sql)
{
	for (int i = 0; i < p->plan->ncolumns; i++)
		append_column(p, sql, i, i == 0);
}

void
fe_past_append_keys(const FePast *p, StringInfo sql)
{
	for (int i = 0; i < p->shape->nkeys; i++)
		append_column(p, sql, p->shape->keys[i], i == 0);
}

void
fe_past_append_newest(const FePast *p, StringInfo sql, const char *condition)
{
	appendStringInfoString(sql, "(SELECT DISTINCT ON (");
	fe_past_append_keys(p, sql);
	appendStringInfo(sql, ") * FROM %s WHERE %s ORDER BY ", p->table, condition);
	fe_past_append_keys(p, sql);
	appendStringInfoString(sql, ", event_timestamp DESC)");
}
