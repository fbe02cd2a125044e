/*
 * power_final.c
 *		Skewness and kurtosis from exact power sums (see power_sums.h).
 *
 * With S_k the sum of x^k, the central moments times powers of n are integers
 * (in units of 2^(-1074 k)):
 *
 *		n^2 m2 = n S2 - S1^2
 *		n^3 m3 = n^2 S3 - 3 n S1 S2 + 2 S1^3
 *		n^4 m4 = n^3 S4 - 4 n^2 S1 S3 + 6 n S1^2 S2 - 3 S1^4
 *
 * and g1 and g2 are ratios in which n and the units cancel.  Source: Joanes and
 * Gill, Comparing measures of sample skewness and kurtosis (1998).  Local memory;
 * no locks; any process.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate/power_sums.h"
#include "utils/float.h"

/* dst += factor * a * b; all canonical, dst is so again */
static void
add_product(FeBig *dst, int factor, const FeBig *a, const FeBig *b)
{
	FeBig		product;
	FeBig		scaled;
	FeBig		f;
	int32		digit = abs(factor);

	fe_big_init(&product, CurrentMemoryContext);
	fe_big_init(&scaled, CurrentMemoryContext);
	fe_big_init(&f, CurrentMemoryContext);
	fe_big_add(&f, 0, &digit, 1, 1);
	fe_big_carry(&f, FE_BINARY_BASE);
	fe_big_mul(&product, a, b, FE_BINARY_BASE);
	fe_big_mul(&scaled, &product, &f, FE_BINARY_BASE);
	if (factor > 0)
		scaled.sign = -scaled.sign;
	fe_big_sub_big(dst, &scaled);
	fe_big_carry(dst, FE_BINARY_BASE);
}

static void
multiply(FeBig *dst, const FeBig *a, const FeBig *b)
{
	fe_big_init(dst, CurrentMemoryContext);
	fe_big_mul(dst, a, b, FE_BINARY_BASE);
}

/* A canonical number as m * 2^*exponent, 0.5 <= |m| < 1. */
static double
split(const FeBig *big, int *exponent)
{
	int			e;
	double		m = frexp(fe_big_frexp(big, exponent), &e);

	*exponent += e;
	return m;
}

/* m3 / m2^(3/2) */
static double
skewness(const FeBig *n, const FeBig *s, const FeBig *n2m2)
{
	FeBig		n3m3;
	FeBig		nn;
	FeBig		ns1;
	FeBig		s1s1;
	double		m2;
	double		m3;
	int			e2;
	int			e3;

	fe_big_init(&n3m3, CurrentMemoryContext);
	multiply(&nn, n, n);
	multiply(&ns1, n, &s[0]);
	multiply(&s1s1, &s[0], &s[0]);
	add_product(&n3m3, 1, &nn, &s[2]);
	add_product(&n3m3, -3, &ns1, &s[1]);
	add_product(&n3m3, 2, &s1s1, &s[0]);
	if (n3m3.sign == 0)
		return 0.0;
	m2 = split(n2m2, &e2);
	m3 = split(&n3m3, &e3);
	if (e2 % 2 != 0)
	{
		m2 *= 2;
		e2--;
	}
	return ldexp(m3 / (m2 * sqrt(m2)), e3 - e2 / 2 * 3);
}

/* m4 / m2^2 - 3, the subtraction exact as well */
static double
kurtosis(const FeBig *n, const FeBig *s, const FeBig *n2m2)
{
	FeBig		excess;
	FeBig		nn;
	FeBig		nnn;
	FeBig		nns1;
	FeBig		s1s1;
	FeBig		ns2;
	FeBig		square;
	double		top;
	double		bottom;
	int			etop;
	int			ebottom;

	fe_big_init(&excess, CurrentMemoryContext);
	multiply(&nn, n, n);
	multiply(&nnn, &nn, n);
	multiply(&nns1, &nn, &s[0]);
	multiply(&s1s1, &s[0], &s[0]);
	multiply(&ns2, n, &s[1]);
	multiply(&square, n2m2, n2m2);
	add_product(&excess, 1, &nnn, &s[3]);
	add_product(&excess, -4, &nns1, &s[2]);
	add_product(&excess, 6, &s1s1, &ns2);
	add_product(&excess, -3, &s1s1, &s1s1);
	add_product(&excess, -3, n2m2, n2m2);
	if (excess.sign == 0)
		return 0.0;
	top = split(&excess, &etop);
	bottom = split(&square, &ebottom);
	return ldexp(top / bottom, etop - ebottom);
}

bool
fe_power_sums_final(int final, int64 n, const FeSpecials *special, const FeWideLocal *sums,
					double *result)
{
	FeBig		count;
	FeBig		s[FE_POWERS];
	FeBig		n2m2;
	int32		digits[FE_DIGITS128];

	*result = get_float8_nan();
	if (fe_specials_any(special))
		return true;
	if (n <= 0)
		return false;
	fe_big_init(&count, CurrentMemoryContext);
	fe_big_add(&count, 0, digits, fe_digits_of_uint128(n, FE_BINARY_BASE, digits), 1);
	fe_big_carry(&count, FE_BINARY_BASE);
	for (int k = 0; k < FE_POWERS; k++)
	{
		fe_big_init(&s[k], CurrentMemoryContext);
		fe_wide_to_big(&s[k], sums[k].sum);
		fe_big_carry(&s[k], FE_BINARY_BASE);
	}
	fe_big_init(&n2m2, CurrentMemoryContext);
	add_product(&n2m2, 1, &count, &s[1]);
	add_product(&n2m2, -1, &s[0], &s[0]);
	if (n2m2.sign <= 0)
		return false;
	*result = final == FE_FINAL_SKEWNESS ? skewness(&count, s, &n2m2) :
		kurtosis(&count, s, &n2m2);
	return true;
}
