/*
 * window_functions.c
 *		The SQL functions rolling() and tumbling() as a batch query runs them.
 *
 * In a feature view they are never called: windows.c reads their arguments.
 * They are written in C so that the planner does not inline them away.  Run in
 * backends; no locks.
 */
#include "postgres.h"

#include "fmgr.h"
#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "definition/definition.h"
#include "runtime/runtime.h"

PG_FUNCTION_INFO_V1(fe_sql_rolling);
PG_FUNCTION_INFO_V1(fe_sql_tumbling);

/* The window of the last call, made from the same argument values. */
typedef struct WindowCache
{
	Oid			type;			/* of the event time */
	bool		valid;
	Interval	args[3];
	bool		nulls[3];
	int64		origin;
	FeWindow	window;
} WindowCache;

int64
fe_window_usecs(const Interval *interval, const char *name)
{
	int64		usecs;

	if (!fe_interval_usecs(interval, &usecs))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a window must not have months or years", name),
				 errhint("Their length varies. Write '30 days' instead of '1 month', '365 days' "
						 "instead of '1 year'.")));
	return usecs;
}

static WindowCache *
get_cache(FunctionCallInfo fcinfo)
{
	WindowCache *cache = fcinfo->flinfo->fn_extra;

	if (cache == NULL)
	{
		cache = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(WindowCache));
		cache->type = get_fn_expr_argtype(fcinfo->flinfo, 0);
		fcinfo->flinfo->fn_extra = cache;
	}
	return cache;
}

/* Are the interval arguments what they were in the last call? */
static bool
same_intervals(FunctionCallInfo fcinfo, WindowCache *cache, int n)
{
	bool		same = cache->valid;

	for (int i = 0; i < n; i++)
	{
		Interval	value = {0};

		if (!PG_ARGISNULL(i + 1))
			value = *PG_GETARG_INTERVAL_P(i + 1);
		if (cache->nulls[i] != PG_ARGISNULL(i + 1) ||
			cache->args[i].month != value.month || cache->args[i].day != value.day ||
			cache->args[i].time != value.time)
			same = false;
		cache->nulls[i] = PG_ARGISNULL(i + 1);
		cache->args[i] = value;
	}
	return same;
}

static void
refuse_null_width(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("width of a window must not be NULL")));
}

/* rolling(ts, width interval, hop interval, before interval) */
Datum
fe_sql_rolling(PG_FUNCTION_ARGS)
{
	WindowCache *cache = get_cache(fcinfo);
	FeWindow   *w = &cache->window;

	if (!same_intervals(fcinfo, cache, 3))
	{
		cache->valid = false;
		memset(w, 0, sizeof(FeWindow));
		w->kind = FE_WINDOW_ROLLING;
		if (cache->nulls[0])
			refuse_null_width();
		w->width = fe_window_usecs(&cache->args[0], "width");
		if (!cache->nulls[1])
			w->hop = fe_window_usecs(&cache->args[1], "hop");
		else if (w->width > 0)
			w->hop = fe_window_default_hop(w->width);
		w->has_before = !cache->nulls[2];
		if (w->has_before)
			w->before = fe_window_usecs(&cache->args[2], "before");
		fe_check_window(w, NULL, -1);
		cache->valid = true;
	}
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_BOOL(fe_window_contains(w, fe_clock_eval_time(),
									  fe_event_time(PG_GETARG_DATUM(0), cache->type)));
}

/* tumbling(ts, width interval, origin timestamptz) */
Datum
fe_sql_tumbling(PG_FUNCTION_ARGS)
{
	WindowCache *cache = get_cache(fcinfo);
	FeWindow   *w = &cache->window;
	int64		origin = PG_ARGISNULL(2) ? FE_WINDOW_EPOCH : PG_GETARG_TIMESTAMPTZ(2);

	if (!same_intervals(fcinfo, cache, 1) || cache->origin != origin)
	{
		cache->valid = false;
		memset(w, 0, sizeof(FeWindow));
		w->kind = FE_WINDOW_TUMBLING;
		if (cache->nulls[0])
			refuse_null_width();
		w->width = fe_window_usecs(&cache->args[0], "width");
		if (TIMESTAMP_NOT_FINITE(origin))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("origin of a window must be finite")));
		w->origin = origin;
		fe_check_window(w, NULL, -1);
		cache->origin = origin;
		cache->valid = true;
	}
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_BOOL(fe_window_contains(w, fe_clock_eval_time(),
									  fe_event_time(PG_GETARG_DATUM(0), cache->type)));
}
