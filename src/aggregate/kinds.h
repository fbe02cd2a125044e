/*
 * kinds.h
 *		The kinds of accumulators among themselves (private to this room).
 */
#ifndef FE_KINDS_H
#define FE_KINDS_H

#include "aggregate/aggregate.h"
#include "aggregate/decimal.h"

/* FeFinal.id */
typedef enum FeFinalId
{
	FE_FINAL_COUNT,
	FE_FINAL_COUNT_DISTINCT,
	FE_FINAL_SUM,
	FE_FINAL_AVG,
	FE_FINAL_VAR_POP,
	FE_FINAL_VAR_SAMP,
	FE_FINAL_STDDEV_POP,
	FE_FINAL_STDDEV_SAMP,
	FE_FINAL_MIN,
	FE_FINAL_MAX,
	FE_FINAL_FIRST,
	FE_FINAL_LAST,
	FE_FINAL_BOOL_AND,
	FE_FINAL_BOOL_OR,
	FE_FINAL_BIT_AND,
	FE_FINAL_BIT_OR,
	FE_FINAL_BIT_XOR,
	FE_FINAL_REGR_COUNT,
	FE_FINAL_REGR_SXX,
	FE_FINAL_REGR_SYY,
	FE_FINAL_REGR_SXY,
	FE_FINAL_REGR_AVGX,
	FE_FINAL_REGR_AVGY,
	FE_FINAL_REGR_R2,
	FE_FINAL_REGR_SLOPE,
	FE_FINAL_REGR_INTERCEPT,
	FE_FINAL_COVAR_POP,
	FE_FINAL_COVAR_SAMP,
	FE_FINAL_CORR,
	FE_FINAL_CALL				/* FeFinal.call, by PostgreSQL itself */
} FeFinalId;

extern const FeAccKind fe_acc_count;	/* count.c */
extern const FeAccKind fe_acc_moments_int;	/* moments_int.c */
extern const FeAccKind fe_acc_moments_numeric;	/* moments_numeric.c */
extern const FeAccKind fe_acc_moments_float8;	/* moments_float8.c */
extern const FeAccKind fe_acc_multiset; /* multiset.c */
extern const FeAccKind fe_acc_ordered;	/* ordered.c */
extern const FeAccKind fe_acc_bools;	/* bools.c */
extern const FeAccKind fe_acc_bits; /* bits.c */
extern const FeAccKind fe_acc_intervals;	/* intervals.c */
extern const FeAccKind fe_acc_comoments;	/* comoments.c */
extern const FeAccKind fe_acc_values;	/* values.c */

#define FE_SQUARES(spec) (((spec)->flags & FE_ACC_SQUARES) != 0)

static inline bool
fe_final_has_squares(int id)
{
	return id >= FE_FINAL_VAR_POP && id <= FE_FINAL_STDDEV_SAMP;
}

static inline bool
fe_final_is_sample(int id)
{
	return id == FE_FINAL_VAR_SAMP || id == FE_FINAL_STDDEV_SAMP;
}

/*
 * variance.c: numeric's variance family from exact sums, by PostgreSQL's own
 * final functions.  sum is in units of its digits, squares too; both canonical
 * base 10^4; scale is the greatest display scale of the rows.  n > 0 finite
 * rows, none special; for the sample forms n > 1.
 */
extern Datum fe_numeric_variance(int final, int64 n, const FeBig *sum, const FeBig *squares,
								 int scale);
/* Adds v * 10^-scale to a decimal sum. */
extern void fe_big_add_int128(FeBig *big, int128 v, int scale);

#endif							/* FE_KINDS_H */
