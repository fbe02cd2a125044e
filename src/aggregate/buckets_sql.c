/*
 * buckets_sql.c
 *		The SQL aggregates approx_percentile(x, p) and histogram(x, lo, hi, n), as a
 *		batch query runs them; accumulator kind "buckets" keeps the same counts for
 *		feature views.
 *
 * Run in backends, without locks.
 */
#include "postgres.h"

#include "aggregate/buckets.h"
#include "aggregate/sql_aggregate.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(fe_approx_percentile_transfn);
PG_FUNCTION_INFO_V1(fe_approx_percentile_finalfn);
PG_FUNCTION_INFO_V1(fe_histogram_transfn);
PG_FUNCTION_INFO_V1(fe_histogram_finalfn);
PG_FUNCTION_INFO_V1(fe_buckets_combinefn);
PG_FUNCTION_INFO_V1(fe_buckets_serialfn);
PG_FUNCTION_INFO_V1(fe_buckets_deserialfn);

typedef struct Arguments
{
	double		fraction;
	double		lo;
	double		hi;
	int32		bins;			/* 0: a percentile */
	int32		unused;
} Arguments;

typedef struct BucketState
{
	Arguments	args;
	FeBucketSet set;
} BucketState;

static BucketState *
create_state(MemoryContext cxt, const Arguments *args)
{
	BucketState *state = MemoryContextAlloc(cxt, sizeof(BucketState));

	state->args = *args;
	fe_bucket_set_init(&state->set, cxt);
	return state;
}

/* ---- approx_percentile ------------------------------------------------------- */

/* (internal, x float8, fraction float8) */
Datum
fe_approx_percentile_transfn(PG_FUNCTION_ARGS)
{
	MemoryContext cxt = fe_aggregate_context(fcinfo);
	BucketState *state = PG_ARGISNULL(0) ? NULL : (BucketState *) PG_GETARG_POINTER(0);
	double		fraction;

	fe_require_argument(fcinfo, 2, "approx_percentile");
	fraction = PG_GETARG_FLOAT8(2);
	if (state == NULL)
	{
		Arguments	args = {.fraction = fraction};

		fe_require_no_problem(fe_percentile_problem(fraction));
		state = create_state(cxt, &args);
	}
	fe_require_same(state->args.fraction == fraction, "approx_percentile");
	if (!PG_ARGISNULL(1))
		fe_bucket_set_add(&state->set, fe_dd_bucket(PG_GETARG_FLOAT8(1)), 1);
	PG_RETURN_POINTER(state);
}

Datum
fe_approx_percentile_finalfn(PG_FUNCTION_ARGS)
{
	BucketState *state = PG_ARGISNULL(0) ? NULL : (BucketState *) PG_GETARG_POINTER(0);

	(void) fe_aggregate_context(fcinfo);
	if (state == NULL || fe_bucket_set_tidy(&state->set) == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(fe_dd_value(fe_dd_percentile(state->set.buckets, state->set.n,
												  state->args.fraction)));
}

/* ---- histogram --------------------------------------------------------------- */

/* (internal, x float8, lo float8, hi float8, bins int4) */
Datum
fe_histogram_transfn(PG_FUNCTION_ARGS)
{
	MemoryContext cxt = fe_aggregate_context(fcinfo);
	BucketState *state = PG_ARGISNULL(0) ? NULL : (BucketState *) PG_GETARG_POINTER(0);
	Arguments	args = {0};

	for (int i = 2; i <= 4; i++)
		fe_require_argument(fcinfo, i, "histogram");
	args.lo = PG_GETARG_FLOAT8(2);
	args.hi = PG_GETARG_FLOAT8(3);
	args.bins = PG_GETARG_INT32(4);
	if (state == NULL)
	{
		fe_require_no_problem(fe_histogram_problem(args.lo, args.hi, args.bins));
		state = create_state(cxt, &args);
	}
	fe_require_same(state->args.lo == args.lo && state->args.hi == args.hi &&
					state->args.bins == args.bins, "histogram");
	if (!PG_ARGISNULL(1))
		fe_bucket_set_add(&state->set, fe_histogram_bucket(PG_GETARG_FLOAT8(1), args.lo, args.hi,
														   args.bins), 1);
	PG_RETURN_POINTER(state);
}

Datum
fe_histogram_finalfn(PG_FUNCTION_ARGS)
{
	BucketState *state = PG_ARGISNULL(0) ? NULL : (BucketState *) PG_GETARG_POINTER(0);
	int64	   *counts;

	(void) fe_aggregate_context(fcinfo);
	if (state == NULL || fe_bucket_set_tidy(&state->set) == 0)
		PG_RETURN_NULL();
	counts = palloc0((state->args.bins + 2) * sizeof(int64));
	for (int i = 0; i < state->set.n; i++)
		counts[state->set.buckets[i].number] = state->set.buckets[i].count;
	PG_RETURN_DATUM(fe_histogram_array(counts, state->args.bins));
}

/* ---- parallel queries ----------------------------------------------------------- */

Datum
fe_buckets_combinefn(PG_FUNCTION_ARGS)
{
	MemoryContext cxt = fe_aggregate_context(fcinfo);
	BucketState *to = PG_ARGISNULL(0) ? NULL : (BucketState *) PG_GETARG_POINTER(0);
	BucketState *from = PG_ARGISNULL(1) ? NULL : (BucketState *) PG_GETARG_POINTER(1);

	if (from == NULL)
	{
		if (to == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(to);
	}
	if (to == NULL)
		to = create_state(cxt, &from->args);
	fe_require_same(memcmp(&to->args, &from->args, sizeof(Arguments)) == 0,
					to->args.bins > 0 ? "histogram" : "approx_percentile");
	for (int i = 0; i < from->set.n; i++)
		fe_bucket_set_add(&to->set, (int32) from->set.buckets[i].number,
						  from->set.buckets[i].count);
	PG_RETURN_POINTER(to);
}

Datum
fe_buckets_serialfn(PG_FUNCTION_ARGS)
{
	BucketState *state = (BucketState *) PG_GETARG_POINTER(0);
	StringInfoData buf;

	(void) fe_aggregate_context(fcinfo);
	(void) fe_bucket_set_tidy(&state->set);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, (char *) &state->args, sizeof(Arguments));
	appendBinaryStringInfo(&buf, (char *) &state->set.n, sizeof(int));
	appendBinaryStringInfo(&buf, (char *) state->set.buckets,
						   state->set.n * sizeof(FeBucketCount));
	PG_RETURN_BYTEA_P(fe_serialized(&buf));
}

Datum
fe_buckets_deserialfn(PG_FUNCTION_ARGS)
{
	BucketState *state;
	StringInfoData buf;
	Arguments	args;
	int			n;

	(void) fe_aggregate_context(fcinfo);
	fe_deserialize_begin(&buf, PG_GETARG_BYTEA_PP(0));
	fe_deserialize(&buf, &args, sizeof(args));
	fe_deserialize(&buf, &n, sizeof(n));
	state = create_state(CurrentMemoryContext, &args);
	for (int i = 0; i < n; i++)
	{
		FeBucketCount b;

		fe_deserialize(&buf, &b, sizeof(b));
		fe_bucket_set_add(&state->set, (int32) b.number, b.count);
	}
	PG_RETURN_POINTER(state);
}
