/*
 * options.c
 *		Options of a feature view: read from the arguments of SQL functions,
 *		checked, and compared with those of other views.
 *
 * Runs in backends; no locks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "definition/definition.h"
#include "definition/template.h"

int64
fe_interval_argument(FunctionCallInfo fcinfo, int n, const char *name, int64 min, int64 max)
{
	int64		usecs;

	if (!fe_interval_usecs(PG_GETARG_INTERVAL_P(n), &usecs))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not have months or years", name),
				 errhint("Write '30 days' instead of '1 month'.")));
	if (usecs < min || usecs > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %s and %s", name, fe_format_usecs(min),
						fe_format_usecs(max))));
	return usecs;
}

static void
online_option(ArrayType *array, FeViewOptions *options)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
	options->online = NIL;
	options->online_enabled = n > 0;
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("online must not contain NULL")));
		options->online = lappend(options->online, TextDatumGetCString(elems[i]));
	}
}

/* redis_key, ttl, push_interval, time_refresh, online; NULL: as it was. */
void
fe_options_from_args(FunctionCallInfo fcinfo, int first, FeViewOptions *options)
{
	if (!PG_ARGISNULL(first))
	{
		char	   *template = text_to_cstring(PG_GETARG_TEXT_PP(first));

		options->redis_key = template[0] != '\0' ? template : NULL;
	}
	if (!PG_ARGISNULL(first + 1))
		options->ttl = fe_interval_argument(fcinfo, first + 1, "ttl", 0, 36500 * USECS_PER_DAY);
	if (!PG_ARGISNULL(first + 2))
		options->push_interval = (int)
			(fe_interval_argument(fcinfo, first + 2, "push_interval", 0, USECS_PER_DAY) / 1000);
	if (!PG_ARGISNULL(first + 3))
		options->time_refresh = (int)
			(fe_interval_argument(fcinfo, first + 3, "time_refresh", USECS_PER_SEC,
							 365 * USECS_PER_DAY) / USECS_PER_SEC);
	if (!PG_ARGISNULL(first + 4))
		online_option(PG_GETARG_ARRAYTYPE_P(first + 4), options);
}

void
fe_window_options_from_args(FunctionCallInfo fcinfo, int first, FeViewOptions *options)
{
	if (!PG_ARGISNULL(first))
		options->retention = fe_interval_argument(fcinfo, first, "retention", 0, 36500 * USECS_PER_DAY);
	if (!PG_ARGISNULL(first + 1))
		options->watermark = fe_interval_argument(fcinfo, first + 1, "watermark", 0,
											 36500 * USECS_PER_DAY);
}

void
fe_history_options_from_args(FunctionCallInfo fcinfo, int first, FeViewOptions *options)
{
	if (!PG_ARGISNULL(first))
		options->offline = PG_GETARG_BOOL(first);
	if (!PG_ARGISNULL(first + 1))
		options->history_interval = fe_interval_argument(fcinfo, first + 1, "history_interval",
													USECS_PER_SEC / 1000, 36500 * USECS_PER_DAY);
	if (!PG_ARGISNULL(first + 2))
		options->history_retention = fe_interval_argument(fcinfo, first + 2, "history_retention",
													 USECS_PER_HOUR, 36500 * USECS_PER_DAY);
}

/* ---- on_error ---------------------------------------------------------------------- */

static const char *const on_error_names[] = {
	[FE_ON_ERROR_STOP] = "stop",
	[FE_ON_ERROR_SKIP] = "skip"
};

const char *
fe_on_error_name(FeOnError on_error)
{
	return on_error_names[on_error];
}

bool
fe_on_error_by_name(const char *name, FeOnError *on_error)
{
	for (int i = 0; i < lengthof(on_error_names); i++)
		if (strcmp(name, on_error_names[i]) == 0)
		{
			*on_error = (FeOnError) i;
			return true;
		}
	return false;
}

void
fe_on_error_from_arg(FunctionCallInfo fcinfo, int n, FeViewOptions *options)
{
	char	   *name;

	if (PG_ARGISNULL(n))
		return;
	name = text_to_cstring(PG_GETARG_TEXT_PP(n));
	if (!fe_on_error_by_name(name, &options->on_error))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for on_error: \"%s\"", name),
				 errhint("It is 'stop' or 'skip'.")));
}

/* ---- redis_layout -------------------------------------------------------------------- */

static const char *const redis_layout_names[] = {
	[FE_LAYOUT_HASH] = "hash",
	[FE_LAYOUT_FEAST] = "feast"
};

const char *
fe_redis_layout_name(FeRedisLayout layout)
{
	return redis_layout_names[layout];
}

bool
fe_redis_layout_by_name(const char *name, FeRedisLayout *layout)
{
	for (int i = 0; i < lengthof(redis_layout_names); i++)
		if (strcmp(name, redis_layout_names[i]) == 0)
		{
			*layout = (FeRedisLayout) i;
			return true;
		}
	return false;
}

void
fe_layout_options_from_args(FunctionCallInfo fcinfo, int first, FeViewOptions *options)
{
	if (!PG_ARGISNULL(first))
	{
		char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(first));

		if (!fe_redis_layout_by_name(name, &options->redis_layout))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for redis_layout: \"%s\"", name),
					 errhint("It is 'hash' or 'feast'.")));
		if (options->redis_layout != FE_LAYOUT_FEAST)
			options->feast_project = NULL;
	}
	if (!PG_ARGISNULL(first + 1))
		options->feast_project = text_to_cstring(PG_GETARG_TEXT_PP(first + 1));
}

/* ---- views that share a Redis key ------------------------------------------------- */

static void
check_clash(const FePlan *plan, const FePlan *other)
{
	if (plan->options.redis_layout == FE_LAYOUT_FEAST)
	{
		fe_feast_check_clash(plan, other);
		return;
	}
	if (!fe_template_same_structure(fe_template_of_plan(plan), fe_template_of_plan(other)))
		return;
	for (int i = 0; i < plan->ncolumns; i++)
		for (int j = 0; j < other->ncolumns; j++)
			if (plan->columns[i].online && other->columns[j].online &&
				strcmp(plan->columns[i].name, other->columns[j].name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("feature \"%s\" would be written to the same Redis hash by feature "
								"view \"%s\"", plan->columns[i].name, other->name),
						 errhint("Give the feature another name, leave it out with online => ..., "
								 "or use another redis_key.")));
}

/*
 * Has the other view the same project, or does its template begin as ours does?
 * Spares loading its plan.
 */
static bool
may_clash(const FePlan *plan, const FeTemplate *ours, const FeCatalogRow *row)
{
	FeTemplate *theirs;
	char	   *start;

	if (row->options.redis_layout != plan->options.redis_layout)
		return false;
	if (plan->options.redis_layout == FE_LAYOUT_FEAST)
		return strcmp(row->options.feast_project, plan->options.feast_project) == 0;
	if (row->options.redis_key)
	{
		theirs = fe_template_parse(row->options.redis_key);
		return fe_template_same_structure(ours, theirs);
	}
	start = psprintf("%s:", row->name);
	return ours->nparts > 0 && ours->parts[0].literal != NULL &&
		strcmp(ours->parts[0].literal, start) == 0;
}

/* except: the view that this one replaces, or the view itself. */
void
fe_check_clashes(const FePlan *plan, int32 except)
{
	FeTemplate *ours = fe_template_of_plan(plan);
	ListCell   *lc;

	foreach(lc, fe_catalog_read())
	{
		FeCatalogRow *row = lfirst(lc);

		if (row->viewid == except || (except != 0 && row->replaces == except) ||
			!may_clash(plan, ours, row))
			continue;
		check_clash(plan, fe_plan_by_id(row->viewid, false));
	}
}
