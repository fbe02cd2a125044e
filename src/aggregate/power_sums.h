/*
 * power_sums.h
 *		Skewness and kurtosis from exact sums of the first four powers (private to
 *		this room): what the accumulator kind and the SQL aggregates share.
 */
#ifndef FE_POWER_SUMS_H
#define FE_POWER_SUMS_H

#include "aggregate/kinds.h"
#include "aggregate/wide.h"

#define FE_POWERS	4

/*
 * Of n finite rows the population's skewness g1 = m3 / m2^(3/2) or its excess
 * kurtosis g2 = m4 / m2^2 - 3, where m_k is the mean of the k-th powers of the
 * distances from the mean.  NaN if there are rows that are no finite numbers.
 * False: all rows are equal, or there is none, and 0/0 is no number.  sums[k - 1]
 * are of the k-th powers, in units of 2^(-1074 k).  Rounded in the last
 * operations only.
 */
extern bool fe_power_sums_final(int final, int64 n, const FeSpecials *special,
								const FeWideLocal *sums, double *result);

#endif							/* FE_POWER_SUMS_H */
