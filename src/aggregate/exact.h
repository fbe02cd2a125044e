/*
 * exact.h
 *		Exact sums of any size: arrays of signed digits in a small base.
 *
 * Every digit that is added is below 2^16, and a digit of the sum is 64 bits
 * wide: 2^47 additions fit, more than an accumulator's count can hold.  So
 * nothing is carried while rows come and go; an addition or its retraction is
 * one integer addition a digit, and the order does not matter.  Digit i stands
 * for d[i] * base^(lo + i).  Decimal sums use base 10^4, as numeric does,
 * binary ones 2^16.
 *
 * FeExact is the form in the heap (moments keep there what their inline sum
 * cannot hold); FeBig the local one, in which a reader brings carries home.
 */
#ifndef FE_EXACT_H
#define FE_EXACT_H

#include "memory/heap.h"

#define FE_DECIMAL_BASE		10000
#define FE_BINARY_BITS		16
#define FE_BINARY_BASE		(1 << FE_BINARY_BITS)

/* The same values of either sign, digits [0, base) */
#define FE_DIGITS128		12	/* enough for 128 bits and an alignment in both bases */
#define FE_DIGITS256		18	/* binary: 256 bits and an alignment */

/* Adds sign * digits to the sum at *ref, which is created when it is 0. */
extern void fe_exact_add(FeHeap *heap, FeRef *ref, int32 lo, const int32 *digits, int n, int sign);
/* Adds the sum at *src to that at *dst and frees it. */
extern void fe_exact_combine(FeHeap *heap, FeRef *dst, FeRef *src);
extern void fe_exact_free(FeHeap *heap, FeRef *ref);
/* Heap bytes that adding n digits may take, a neighbourhood of older ones included. */
extern Size fe_exact_room(int n);

typedef struct FeBig
{
	MemoryContext cxt;			/* of d */
	int64	   *d;
	int			size;			/* allocated digits */
	int			n;
	int32		lo;
	int			sign;			/* after fe_big_carry: -1, 0, 1 */
} FeBig;

extern void fe_big_init(FeBig *big, MemoryContext cxt);
static inline void
fe_big_reset(FeBig *big)
{
	big->n = 0;
	big->sign = 0;
}

extern void fe_big_add(FeBig *big, int32 lo, const int32 *digits, int n, int sign);
extern void fe_big_add_exact(FeBig *big, FeRef ref);
extern void fe_big_sub_big(FeBig *big, const FeBig *other);
/* Canonical form: all digits in [0, base), none of the outermost 0, sign apart. */
extern void fe_big_carry(FeBig *big, int base);
/* dst = a * b; a and b canonical, dst becomes so. */
extern void fe_big_mul(FeBig *dst, const FeBig *a, const FeBig *b, int base);
/* Canonical, base 2^16: the value is about result * 2^*exponent, rounded once. */
extern double fe_big_frexp(const FeBig *big, int *exponent);

/* v as digits in a base, lowest first; the number of digits. */
static inline int
fe_digits_of_uint128(uint128 v, int base, int32 *digits)
{
	int			n = 0;

	/* 128-bit divisions are slow: split off 64-bit parts of whole digits */
	while (v > PG_UINT64_MAX)
	{
		const uint64 chunk = (base == FE_DECIMAL_BASE) ?
		UINT64CONST(10000000000000000) : UINT64CONST(1) << 48;
		const int	per_chunk = (base == FE_DECIMAL_BASE) ? 4 : 3;
		uint64		part = (uint64) (v % chunk);
		int			i;

		v /= chunk;
		for (i = 0; i < per_chunk; i++)
		{
			digits[n++] = (int32) (part % base);
			part /= base;
		}
	}
	for (uint64 rest = (uint64) v; rest != 0; rest /= base)
		digits[n++] = (int32) (rest % base);
	return n;
}

#endif							/* FE_EXACT_H */
