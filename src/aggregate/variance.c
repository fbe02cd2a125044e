/*
 * variance.c
 *		The variance family over exact decimal sums, by PostgreSQL's own code.
 *
 * numeric_var_samp() and its kin choose the scale of their result by rules of
 * their own, so that only they can give the same text.  Their state is
 * private to numeric.c, but it has a serial form (numeric_serialize), which we
 * build and let numeric_deserialize turn into a state: N int64; sum and sum of
 * squares, each as ndigits, weight, sign, display scale (int32) and the digits
 * (int16); greatest scale int32 and its count int64; counts of NaN, Infinity,
 * -Infinity (int64); all big-endian.  Runs in readers, without locks.
 */
#include "postgres.h"

#include "aggregate/kinds.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#define NUMERIC_SIGN_POS	0x0000
#define NUMERIC_SIGN_NEG	0x4000

void
fe_big_add_int128(FeBig *big, int128 v, int scale)
{
	int32		digits[FE_DIGITS128];
	int32		lo;
	int			n = fe_decimal_digits(v < 0 ? -(uint128) v : (uint128) v, scale, digits, &lo);

	fe_big_add(big, lo, digits, n, v < 0 ? -1 : 1);
}

static void
send_var(StringInfo buf, const FeBig *big, int scale)
{
	pq_sendint32(buf, big->n);
	pq_sendint32(buf, big->n > 0 ? big->lo + big->n - 1 : 0);
	pq_sendint32(buf, big->sign < 0 ? NUMERIC_SIGN_NEG : NUMERIC_SIGN_POS);
	pq_sendint32(buf, scale);
	for (int i = big->n - 1; i >= 0; i--)
		pq_sendint16(buf, (uint16) big->d[i]);
}

/* The deserial function wants to be called as an aggregate's. */
static Datum
call_deserialize(bytea *serial)
{
	static AggState aggstate = {.ss.ps.type = T_AggState};

	LOCAL_FCINFO(fcinfo, 2);

	InitFunctionCallInfoData(*fcinfo, NULL, 2, InvalidOid, (Node *) &aggstate, NULL);
	fcinfo->args[0].value = PointerGetDatum(serial);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = (Datum) 0;
	fcinfo->args[1].isnull = true;
	return numeric_deserialize(fcinfo);
}

Datum
fe_numeric_variance(int final, int64 n, const FeBig *sum, const FeBig *squares, int scale)
{
	StringInfoData buf;
	PGFunction	fn;
	Datum		state;
	Datum		result;

	LOCAL_FCINFO(fcinfo, 1);

	fn = final == FE_FINAL_VAR_POP ? numeric_var_pop :
		final == FE_FINAL_VAR_SAMP ? numeric_var_samp :
		final == FE_FINAL_STDDEV_POP ? numeric_stddev_pop : numeric_stddev_samp;

	pq_begintypsend(&buf);
	pq_sendint64(&buf, n);
	send_var(&buf, sum, scale);
	send_var(&buf, squares, 2 * scale);
	pq_sendint32(&buf, scale);
	pq_sendint64(&buf, 1);
	for (int i = 0; i < 3; i++)
		pq_sendint64(&buf, 0);

	state = call_deserialize(pq_endtypsend(&buf));
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = state;
	fcinfo->args[0].isnull = false;
	result = fn(fcinfo);
	if (fcinfo->isnull)
		elog(ERROR, "variance of " INT64_FORMAT " rows is undefined", n);
	return result;
}
