/*
 * power_sql.c
 *		The SQL aggregates skewness(x) and kurtosis(x), as a batch query runs them;
 *		accumulator kind "power sums" keeps the same sums for feature views.
 *
 * Run in backends, without locks.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate/power_sums.h"
#include "aggregate/sql_aggregate.h"

PG_FUNCTION_INFO_V1(fe_power_sums_transfn);
PG_FUNCTION_INFO_V1(fe_skewness_finalfn);
PG_FUNCTION_INFO_V1(fe_kurtosis_finalfn);
PG_FUNCTION_INFO_V1(fe_power_sums_combinefn);
PG_FUNCTION_INFO_V1(fe_power_sums_serialfn);
PG_FUNCTION_INFO_V1(fe_power_sums_deserialfn);

typedef struct PowerState
{
	int64		count;
	FeSpecials	special;
	FeWideLocal sums[FE_POWERS];
} PowerState;

static PowerState *
create_state(MemoryContext cxt)
{
	PowerState *state = MemoryContextAllocZero(cxt, sizeof(PowerState));

	for (int k = 0; k < FE_POWERS; k++)
		fe_wide_local_init(&state->sums[k], cxt);
	return state;
}

/* (internal, x float8) */
Datum
fe_power_sums_transfn(PG_FUNCTION_ARGS)
{
	MemoryContext cxt = fe_aggregate_context(fcinfo);
	PowerState *state = PG_ARGISNULL(0) ? create_state(cxt) : (PowerState *) PG_GETARG_POINTER(0);
	double		x;

	if (PG_ARGISNULL(1))
		PG_RETURN_POINTER(state);
	x = PG_GETARG_FLOAT8(1);
	if (isnan(x) || isinf(x))
	{
		fe_specials_count(&state->special, x, 1);
		PG_RETURN_POINTER(state);
	}
	state->count++;
	for (int k = 0; k < FE_POWERS; k++)
	{
		FeWideTerm	term;

		fe_wide_term(&term, x, k + 1, 0);
		fe_wide_local_add(&state->sums[k], &term, FE_WIDE_KEEP_ALL);
	}
	PG_RETURN_POINTER(state);
}

static Datum
final(FunctionCallInfo fcinfo, int which)
{
	PowerState *state = PG_ARGISNULL(0) ? NULL : (PowerState *) PG_GETARG_POINTER(0);
	double		result;

	(void) fe_aggregate_context(fcinfo);
	if (state == NULL || !fe_power_sums_final(which, state->count, &state->special, state->sums,
											  &result))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(result);
}

Datum
fe_skewness_finalfn(PG_FUNCTION_ARGS)
{
	return final(fcinfo, FE_FINAL_SKEWNESS);
}

Datum
fe_kurtosis_finalfn(PG_FUNCTION_ARGS)
{
	return final(fcinfo, FE_FINAL_KURTOSIS);
}

Datum
fe_power_sums_combinefn(PG_FUNCTION_ARGS)
{
	MemoryContext cxt = fe_aggregate_context(fcinfo);
	PowerState *to = PG_ARGISNULL(0) ? create_state(cxt) : (PowerState *) PG_GETARG_POINTER(0);
	PowerState *from = PG_ARGISNULL(1) ? NULL : (PowerState *) PG_GETARG_POINTER(1);

	if (from != NULL)
	{
		to->count += from->count;
		fe_specials_add(&to->special, &from->special);
		for (int k = 0; k < FE_POWERS; k++)
			fe_wide_local_add_wide(&to->sums[k], from->sums[k].sum, FE_WIDE_KEEP_ALL);
	}
	PG_RETURN_POINTER(to);
}

/* count, specials; of each sum its number of limbs, and the sum */
Datum
fe_power_sums_serialfn(PG_FUNCTION_ARGS)
{
	PowerState *state = (PowerState *) PG_GETARG_POINTER(0);
	StringInfoData buf;

	(void) fe_aggregate_context(fcinfo);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, (char *) &state->count, sizeof(int64));
	appendBinaryStringInfo(&buf, (char *) &state->special, sizeof(FeSpecials));
	for (int k = 0; k < FE_POWERS; k++)
	{
		FeWide	   *sum = state->sums[k].sum;
		uint32		n = sum ? sum->n : 0;

		appendBinaryStringInfo(&buf, (char *) &n, sizeof(n));
		if (n > 0)
			appendBinaryStringInfo(&buf, (char *) sum, (int) FE_WIDE_SIZE(n));
	}
	PG_RETURN_BYTEA_P(fe_serialized(&buf));
}

Datum
fe_power_sums_deserialfn(PG_FUNCTION_ARGS)
{
	PowerState *state;
	StringInfoData buf;

	(void) fe_aggregate_context(fcinfo);
	state = create_state(CurrentMemoryContext);
	fe_deserialize_begin(&buf, PG_GETARG_BYTEA_PP(0));
	fe_deserialize(&buf, &state->count, sizeof(int64));
	fe_deserialize(&buf, &state->special, sizeof(FeSpecials));
	for (int k = 0; k < FE_POWERS; k++)
	{
		uint32		n;
		FeWide	   *sum;

		fe_deserialize(&buf, &n, sizeof(n));
		if (n == 0)
			continue;
		sum = palloc(FE_WIDE_SIZE(n));
		fe_deserialize(&buf, sum, FE_WIDE_SIZE(n));
		fe_wide_local_add_wide(&state->sums[k], sum, FE_WIDE_KEEP_ALL);
		pfree(sum);
	}
	PG_RETURN_POINTER(state);
}
