/*
 * decay_sql.c
 *		The SQL aggregate exp_decay_sum(x, ts, half_life), as a batch query runs
 *		it; accumulator kind "decaying sum" keeps the same sum for feature views.
 *
 * T is feature_engine.now(), which is the same for all rows of a statement.  Runs
 * in backends, without locks.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate/decay.h"
#include "aggregate/sql_aggregate.h"
#include "runtime/runtime.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(fe_exp_decay_sum_transfn);
PG_FUNCTION_INFO_V1(fe_exp_decay_sum_finalfn);

typedef struct DecayState
{
	Interval	half_life;
	int64		usecs;			/* the same */
	int64		T;
	Oid			time_type;
	int64		count;			/* finite rows */
	FeSpecials	special;
	int64		latest;			/* greatest period of a row in the sum */
	FeWideLocal sum;
} DecayState;

static DecayState *
create_state(FunctionCallInfo fcinfo, MemoryContext cxt, const Interval *half_life)
{
	int64		usecs;
	DecayState *state;

	fe_require_no_problem(fe_half_life_problem(half_life, &usecs));
	state = MemoryContextAllocZero(cxt, sizeof(DecayState));
	state->half_life = *half_life;
	state->usecs = usecs;
	state->T = fe_clock_eval_time();
	state->time_type = get_fn_expr_argtype(fcinfo->flinfo, 2);
	fe_wide_local_init(&state->sum, cxt);
	return state;
}

static void
add_row(DecayState *state, double x, int64 ts)
{
	FeWideTerm	term;
	double		part;
	int64		k;

	if (isnan(x) || isinf(x))
	{
		fe_specials_count(&state->special, x, 1);
		return;
	}
	state->count++;
	fe_decay_term(&term, x, ts, state->usecs);
	if (term.n == 0)
		return;
	k = fe_decay_period(ts, state->usecs, &part);
	state->latest = state->sum.sum == NULL ? k : Max(state->latest, k);
	fe_wide_local_add(&state->sum, &term, fe_decay_least(state->latest));
}

/* (internal, x float8, ts, half_life interval) */
Datum
fe_exp_decay_sum_transfn(PG_FUNCTION_ARGS)
{
	MemoryContext cxt = fe_aggregate_context(fcinfo);
	DecayState *state = PG_ARGISNULL(0) ? NULL : (DecayState *) PG_GETARG_POINTER(0);
	const Interval *half_life;
	int64		ts;

	fe_require_argument(fcinfo, 3, "exp_decay_sum");
	half_life = PG_GETARG_INTERVAL_P(3);
	if (state == NULL)
		state = create_state(fcinfo, cxt, half_life);
	fe_require_same(half_life->month == state->half_life.month &&
					half_life->day == state->half_life.day &&
					half_life->time == state->half_life.time, "exp_decay_sum");
	if (!PG_ARGISNULL(1) && fe_argument_time(fcinfo, 2, state->time_type, &ts) &&
		ts <= state->T && ts != PG_INT64_MIN)
		add_row(state, PG_GETARG_FLOAT8(1), ts);
	PG_RETURN_POINTER(state);
}

Datum
fe_exp_decay_sum_finalfn(PG_FUNCTION_ARGS)
{
	DecayState *state = PG_ARGISNULL(0) ? NULL : (DecayState *) PG_GETARG_POINTER(0);

	(void) fe_aggregate_context(fcinfo);
	if (state == NULL || (state->count == 0 && !fe_specials_any(&state->special)))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(fe_decay_final(state->sum.sum, &state->special, state->T, state->usecs));
}
