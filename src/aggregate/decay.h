/*
 * decay.h
 *		exp_decay_sum: the sum of x * 2^(-(T - ts) / half-life) over the rows with ts
 *		<= T (private to this room).  What the accumulator kind and the SQL
 *		aggregate share.
 *
 * With k = floor(ts / half-life) a term is x 2^(ts / half-life - k), rounded to a
 * double, times 2^k, which only moves its bits.  So the sum of the terms is kept
 * exactly, does not depend on T, and is multiplied by 2^(-T / half-life) when it
 * is read: nothing overflows, however far events and T lie from the epoch, rows
 * leave without a trace, and the order of rows does not matter.
 *
 * The unit of a sum is 2^-1074 at k = 0.  T is never before the latest event; so
 * what is below 2^-1138 at that event's k is below any double at T, and is cut off.
 * That bounds a sum to some 300 bytes.
 */
#ifndef FE_DECAY_H
#define FE_DECAY_H

#include "aggregate/kinds.h"
#include "aggregate/wide.h"
#include "datatype/timestamp.h"

/* The half-life that ts belongs to; *part: how much of it has passed, [0, 1). */
extern int64 fe_decay_period(int64 ts, int64 half_life, double *part);
/* x, finite, at ts. */
extern void fe_decay_term(FeWideTerm *term, double x, int64 ts, int64 half_life);
/* Of a sum whose latest event is of period k, the lowest limb that matters. */
extern int64 fe_decay_least(int64 k);
#define FE_DECAY_LIMBS	64		/* more than there ever are above that one */

/* The sum at T, of specials, too; ERROR if it is beyond float8. */
extern double fe_decay_final(const FeWide *sum, const FeSpecials *special, int64 T,
							 int64 half_life);

/* Microseconds of a half-life; NULL is a half-life that will do. */
extern const char *fe_half_life_problem(const Interval *half_life, int64 *usecs);

#endif							/* FE_DECAY_H */
