/*
 * decay.c
 *		Exponentially decaying sums: terms, and values at T (see decay.h).
 *
 * Pure functions over local memory; no locks.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate/decay.h"
#include "common/int.h"
#include "utils/float.h"
#include "utils/timestamp.h"

int64
fe_decay_period(int64 ts, int64 half_life, double *part)
{
	int64		k = ts / half_life;
	int64		rest = ts % half_life;

	if (rest < 0)
	{
		k--;
		rest += half_life;
	}
	*part = (double) rest / (double) half_life;
	return k;
}

void
fe_decay_term(FeWideTerm *term, double x, int64 ts, int64 half_life)
{
	double		part;
	int64		k = fe_decay_period(ts, half_life, &part);

	/* half of it, so that nothing overflows, one place higher */
	fe_wide_term(term, x * (exp2(part) / 2), 1, k + 1);
}

int64
fe_decay_least(int64 k)
{
	int64		bit = k - 64;

	return bit >= 0 ? bit / 64 : -((-bit + 63) / 64);
}

double
fe_decay_final(const FeWide *sum, const FeSpecials *special, int64 T, int64 half_life)
{
	double		part;
	int64		k = fe_decay_period(T, half_life, &part);
	int64		exponent;
	double		m = fe_wide_frexp(sum, &exponent);
	double		result;

	if (special->nan > 0 || (special->pinf > 0 && special->ninf > 0))
		return get_float8_nan();
	if (special->pinf > 0 || special->ninf > 0)
		return special->pinf > 0 ? get_float8_infinity() : -get_float8_infinity();
	if (m == 0)
		return 0.0;
	/* m has up to 64 bits; the exponent may be far from that of any double */
	exponent += -1074 - k;
	result = ldexp(m * exp2(-part), (int) Max(Min(exponent, 4000), -4000));
	if (isinf(result))
		float_overflow_error();
	return result;
}

const char *
fe_half_life_problem(const Interval *half_life, int64 *usecs)
{
	if (half_life->month != 0)
		return _("a half-life must not have months or years");
	if (pg_mul_s64_overflow(half_life->day, USECS_PER_DAY, usecs) ||
		pg_add_s64_overflow(*usecs, half_life->time, usecs))
		return _("a half-life is out of range");
	if (*usecs <= 0)
		return _("a half-life must be greater than zero");
	return NULL;
}
