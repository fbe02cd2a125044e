/*
 * group_functions.c
 *		The SQL functions tumble(), hop() and session() as a batch query runs them.
 *
 * In a feature view they are never called: group_window.c reads their arguments.
 * They are written in C so that the planner does not inline them away.  Run in
 * backends; no locks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "runtime/compat.h"
#include "utils/lsyscache.h"
#include "utils/rangetypes.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "definition/definition.h"
#include "runtime/runtime.h"

PG_FUNCTION_INFO_V1(fe_sql_tumble);
PG_FUNCTION_INFO_V1(fe_sql_hop);
PG_FUNCTION_INFO_V1(fe_sql_session);
PG_FUNCTION_INFO_V1(fe_sql_is_final);

Datum
fe_window_datum(FeRange window)
{
	TypeCacheEntry *type = lookup_type_cache(TSTZRANGEOID, TYPECACHE_RANGE_INFO);
	RangeBound	lower = {.val = TimestampTzGetDatum(window.lo), .inclusive = true, .lower = true};
	RangeBound	upper = {.val = TimestampTzGetDatum(window.hi)};

	return RangeTypePGetDatum(fe_compat_make_range(type, &lower, &upper));
}

FeRange
fe_window_of_datum(Datum value)
{
	TypeCacheEntry *type = lookup_type_cache(TSTZRANGEOID, TYPECACHE_RANGE_INFO);
	RangeBound	lower;
	RangeBound	upper;
	bool		empty;

	range_deserialize(type, DatumGetRangeTypeP(value), &lower, &upper, &empty);
	if (empty || lower.infinite || upper.infinite)
		return (FeRange) {PG_INT64_MAX, PG_INT64_MAX};
	return (FeRange) {DatumGetTimestampTz(lower.val), DatumGetTimestampTz(upper.val)};
}

static int64
interval_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s of a window must not be NULL", name)));
	return fe_window_usecs(PG_GETARG_INTERVAL_P(n), name);
}

/* The window of these arguments: width, then slide where there is one, then origin. */
static FeWindow
window_of_call(FunctionCallInfo fcinfo, FeWindowKind kind)
{
	FeWindow	w = {.kind = kind, .origin = FE_WINDOW_EPOCH};
	int			origin = kind == FE_WINDOW_HOP ? 3 : 2;

	w.width = interval_argument(fcinfo, 1, "width");
	w.hop = kind == FE_WINDOW_HOP ? interval_argument(fcinfo, 2, "slide") : w.width;
	if (!PG_ARGISNULL(origin))
		w.origin = PG_GETARG_TIMESTAMPTZ(origin);
	if (TIMESTAMP_NOT_FINITE(w.origin))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("origin of a window must be finite")));
	fe_check_group_window(&w, NULL, -1);
	return w;
}

/* The event time, as fe_group_time has it. */
static int64
time_of_call(FunctionCallInfo fcinfo, const FeWindow *w)
{
	Oid			type = getBaseType(get_fn_expr_argtype(fcinfo->flinfo, 0));

	return fe_group_time(w, PG_ARGISNULL(0) ? 0 : fe_event_time(PG_GETARG_DATUM(0), type),
						 PG_ARGISNULL(0));
}

/* tumble(ts, width interval, origin timestamptz) returns tstzrange */
Datum
fe_sql_tumble(PG_FUNCTION_ARGS)
{
	FeWindow	w = window_of_call(fcinfo, FE_WINDOW_TUMBLE);
	FeRange		window;

	if (!fe_group_tumble(&w, time_of_call(fcinfo, &w), &window))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(fe_window_datum(window));
}

/* Where a series of calls of hop() is. */
typedef struct HopState
{
	FeWindow	w;
	int64		time;
	FeRange		window;			/* returned last */
} HopState;

/* hop(ts, width interval, slide interval, origin timestamptz) returns setof tstzrange */
Datum
fe_sql_hop(PG_FUNCTION_ARGS)
{
	FuncCallContext *series;
	HopState   *state;

	if (SRF_IS_FIRSTCALL())
	{
		series = SRF_FIRSTCALL_INIT();
		state = MemoryContextAllocZero(series->multi_call_memory_ctx, sizeof(HopState));
		state->w = window_of_call(fcinfo, FE_WINDOW_HOP);
		state->time = time_of_call(fcinfo, &state->w);
		series->user_fctx = state;
	}
	series = SRF_PERCALL_SETUP();
	state = series->user_fctx;
	/* what ends up outside of what timestamps can be is the first or the last ones */
	if (state->time == FE_NO_WINDOW || !fe_group_next_hop(&state->w, state->time, &state->window) ||
		state->window.lo > state->time)
		SRF_RETURN_DONE(series);
	SRF_RETURN_NEXT(series, fe_window_datum(state->window));
}

/*
 * is_final(window tstzrange) returns boolean: has it ended at or before the
 * watermark?  Called in the output of feature views, too, which give theirs.
 */
Datum
fe_sql_is_final(PG_FUNCTION_ARGS)
{
	RangeType  *range = PG_GETARG_RANGE_P(0);
	TypeCacheEntry *type = lookup_type_cache(TSTZRANGEOID, TYPECACHE_RANGE_INFO);
	RangeBound	lower;
	RangeBound	upper;
	bool		empty;
	FeTime		watermark;

	range_deserialize(type, range, &lower, &upper, &empty);
	if (empty)
		PG_RETURN_NULL();
	(void) fe_clock_watermark(&watermark);
	PG_RETURN_BOOL(!upper.infinite && DatumGetTimestampTz(upper.val) <= watermark);
}

/* session(ts, gap interval) */
Datum
fe_sql_session(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("session() works in the GROUP BY of a feature view only"),
			 errdetail("Which session a row belongs to depends on other rows."),
			 errhint("In a plain query, number the sessions with window functions: "
					 "sum((ts - lag(ts) OVER (PARTITION BY key ORDER BY ts) > gap)::int) OVER (...).")));
	PG_RETURN_NULL();
}
