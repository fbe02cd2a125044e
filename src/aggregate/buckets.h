/*
 * buckets.h
 *		Values counted in numbered buckets: approx_percentile and histogram
 *		(private to this room).  What the accumulator kind and the SQL aggregates
 *		share: which bucket a value belongs to, and results from counts.
 *
 * The bucket of a value does not depend on other values, so counts are exactly
 * additive and retractable, and a result does not depend on the order of rows.
 *
 * DDSketch (Masson, Rim, Lee, DDSketch: a fast and fully-mergeable quantile
 * sketch with relative-error guarantees, VLDB 2019): buckets whose bounds are
 * within 1 % of a value between them, by a logarithm.  Ours is the cubic
 * interpolation between powers of two of DataDog's sketches-java, with 35 buckets
 * an octave, computed in integers: the same on every machine, and for ever.
 */
#ifndef FE_BUCKETS_H
#define FE_BUCKETS_H

#include "aggregate/kinds.h"

#define FE_DD_OCTAVE		35	/* buckets from a power of two to the next */
/* The relative error: tanh(0.01), as the logarithm's slope is at least 10/7 */
#define FE_DD_ERROR			0.01
/* Numbers in the order of values; those of negative ones are negative. */
#define FE_DD_ZERO			0
#define FE_DD_INFINITY		100000
#define FE_DD_NAN			100001

#define FE_HISTOGRAM_MOST	10000	/* bins */

typedef struct FeBucketCount
{
	int64		count:44;
	int64		number:20;
} FeBucketCount;

extern int32 fe_dd_bucket(double x);
/* The value that stands for a bucket: within 1 % of all in it. */
extern double fe_dd_value(int32 bucket);
/*
 * The bucket of the value that percentile_disc would return: of total > 0 values
 * in buckets by ascending number, that of rank ceil(fraction * total).
 */
extern int32 fe_dd_percentile(const FeBucketCount *buckets, int n, double fraction);

/* 0 below lo, 1 .. bins, bins + 1 from hi on, as width_bucket; NaN is above all. */
extern int32 fe_histogram_bucket(double x, double lo, double hi, int32 bins);
/* An array of bins + 2 counts; values above 0 only. */
extern Datum fe_histogram_array(const int64 *counts, int32 bins);

/* What is wrong with constant arguments; NULL: nothing. */
extern const char *fe_percentile_problem(double fraction);
extern const char *fe_histogram_problem(double lo, double hi, int32 bins);

/*
 * Buckets in local memory: sorted by number, without those of count 0 after
 * fe_bucket_set_tidy.
 */
typedef struct FeBucketSet
{
	MemoryContext cxt;
	int			n;
	int			sorted;			/* so many are sorted and different */
	int			size;
	FeBucketCount *buckets;
} FeBucketSet;

extern void fe_bucket_set_init(FeBucketSet *set, MemoryContext cxt);
static inline void
fe_bucket_set_reset(FeBucketSet *set)
{
	set->n = set->sorted = 0;
}

extern void fe_bucket_set_add(FeBucketSet *set, int32 number, int64 count);
/* Sorts, unites, and drops what is not above 0; the sum of what is left. */
extern int64 fe_bucket_set_tidy(FeBucketSet *set);

#endif							/* FE_BUCKETS_H */
