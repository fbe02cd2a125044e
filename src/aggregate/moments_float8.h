/*
 * moments_float8.h
 *		What moments_float8.c offers to kinds that are made of its sums (private to
 *		this room).
 */
#ifndef FE_MOMENTS_FLOAT8_H
#define FE_MOMENTS_FLOAT8_H

#include "aggregate/exact.h"
#include "aggregate/kinds.h"

/* A finite double: (-1)^negative * mantissa * 2^(position - 1074) */
typedef struct FeFloatParts
{
	uint64		mantissa;
	int			position;
	bool		negative;
} FeFloatParts;

static inline FeFloatParts
fe_split_float(double x)
{
	FeFloatParts p;
	uint64		bits;
	int			exponent;

	memcpy(&bits, &x, sizeof(bits));
	exponent = (bits >> 52) & 0x7FF;
	p.negative = (bits >> 63) != 0;
	p.mantissa = bits & ((UINT64CONST(1) << 52) - 1);
	p.position = 0;
	if (exponent != 0)
	{
		p.mantissa |= UINT64CONST(1) << 52;
		p.position = exponent - 1;
	}
	return p;
}

/* All that a reader has added up; its sums are canonical. */
typedef struct FeFloatTotals
{
	int64		count;			/* finite values */
	int64		nan;
	int64		pinf;
	int64		ninf;
	FeBig	   *sum;			/* unit 2^-1074 */
	FeBig	   *squares;		/* unit 2^-2148 */
} FeFloatTotals;

/* Once, before the reader is reset; it must be one for a final with squares. */
extern void fe_float_totals(FeAccRead *r, FeFloatTotals *totals);
/* The sum, with NaN and infinities as PostgreSQL adds them up. */
extern double fe_float_sum(const FeFloatTotals *totals);
/*
 * (n * products - a * b) / n, exactly, then one rounding: the sum of products of
 * deviations.  products in units of 2^-2148; all canonical.
 */
extern double fe_float_deviations(int64 n, const FeBig *products, const FeBig *a,
								  const FeBig *b);

#endif							/* FE_MOMENTS_FLOAT8_H */
