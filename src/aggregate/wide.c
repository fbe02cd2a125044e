/*
 * wide.c
 *		Exact sums in two's complement: the arithmetic (see wide.h).
 *
 * Pure functions; no locks.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate/wide.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#define LIMB_BITS	64

/* ---- terms ---------------------------------------------------------------- */

static inline int64
floor_limb(int64 bit)
{
	return bit >= 0 ? bit / LIMB_BITS : -((-bit + LIMB_BITS - 1) / LIMB_BITS);
}

/* limbs *= m */
static int
multiply(uint64 *limb, int n, uint64 m)
{
	uint64		carry = 0;

	for (int i = 0; i < n; i++)
	{
		uint128		t = (uint128) limb[i] * m + carry;

		limb[i] = (uint64) t;
		carry = (uint64) (t >> LIMB_BITS);
	}
	if (carry != 0)
		limb[n++] = carry;
	return n;
}

void
fe_wide_term(FeWideTerm *term, double x, int power, int64 shift)
{
	uint64		bits;
	uint64		mantissa;
	int			exponent;
	int			zeros;
	int64		position;

	memcpy(&bits, &x, sizeof(bits));
	mantissa = bits & ((UINT64CONST(1) << 52) - 1);
	exponent = (bits >> 52) & 0x7FF;
	if (exponent != 0)
		mantissa |= UINT64CONST(1) << 52;
	term->negative = (bits >> 63) != 0 && (power & 1) != 0;
	term->n = 0;
	term->lo = 0;
	if (mantissa == 0)
		return;

	/* integers and the like have short powers */
	zeros = pg_rightmost_one_pos64(mantissa);
	mantissa >>= zeros;
	position = (int64) power * (Max(exponent - 1, 0) + zeros) + shift;
	term->limb[0] = mantissa;
	term->n = 1;
	for (int i = 1; i < power; i++)
		term->n = multiply(term->limb, term->n, mantissa);
	term->lo = floor_limb(position);
	term->n = multiply(term->limb, term->n,
					   UINT64CONST(1) << (position - term->lo * LIMB_BITS));
}

/* ---- sums ----------------------------------------------------------------- */

/* One more limb, when the top one could not take a carry and keep its sign. */
static inline bool
top_is_full(const FeWide *sum)
{
	int64		top = (int64) sum->limb[sum->n - 1];

	return top >= INT64CONST(1) << 62 || top < -(INT64CONST(1) << 62);
}

bool
fe_wide_fits(const FeWide *sum, int64 lo, int n, int64 least, int64 *newlo, uint32 *newn)
{
	int64		hi = lo + n + 1;

	lo = Max(lo, least);
	if (sum != NULL)
	{
		int64		top = sum->lo + sum->n + (top_is_full(sum) ? 1 : 0);

		if (lo >= sum->lo && sum->lo >= least && hi <= sum->lo + sum->n && !top_is_full(sum))
			return true;
		hi = Max(hi, top);
		lo = Max(Min(lo, sum->lo), least);
	}
	hi = Max(hi, lo + 1);
	*newlo = lo;
	*newn = (uint32) (hi - lo);
	return false;
}

void
fe_wide_move(FeWide *to, const FeWide *from)
{
	uint64		sign = 0;
	int64		before = 0;		/* limbs of it below from's */

	if (from != NULL && (int64) from->limb[from->n - 1] < 0)
		sign = ~UINT64CONST(0);
	if (from != NULL)
		before = from->lo - to->lo;
	for (int64 i = 0; i < to->n; i++)
	{
		if (from == NULL || i < before)
			to->limb[i] = 0;
		else
			to->limb[i] = i - before < from->n ? from->limb[i - before] : sign;
	}
	to->unused = 0;
}

void
fe_wide_add(FeWide *sum, const FeWideTerm *term, int sign)
{
	uint64		flip = term->negative == (sign > 0) ? ~UINT64CONST(0) : 0;
	uint64		carry = flip & 1;
	int64		skip = sum->lo - term->lo;
	int64		i = 0;

	for (int64 k = Max(skip, 0); k < term->n; k++)
	{
		uint128		t;

		i = k - skip;
		t = (uint128) sum->limb[i] + (term->limb[k] ^ flip) + carry;
		sum->limb[i] = (uint64) t;
		carry = (uint64) (t >> LIMB_BITS);
		i++;
	}
	if (Max(skip, 0) >= term->n)
		return;
	/* what is above the term is all zeros, or all ones */
	for (; i < sum->n && carry != (flip & 1); i++)
	{
		uint128		t = (uint128) sum->limb[i] + flip + carry;

		sum->limb[i] = (uint64) t;
		carry = (uint64) (t >> LIMB_BITS);
	}
}

void
fe_wide_add_wide(FeWide *sum, const FeWide *other)
{
	uint64		sign = (int64) other->limb[other->n - 1] < 0 ? ~UINT64CONST(0) : 0;
	int64		before = other->lo - sum->lo;
	uint64		carry = 0;

	for (int64 i = Max(before, 0); i < sum->n; i++)
	{
		uint64		v = i - before < other->n ? other->limb[i - before] : sign;
		uint128		t = (uint128) sum->limb[i] + v + carry;

		sum->limb[i] = (uint64) t;
		carry = (uint64) (t >> LIMB_BITS);
	}
}

/* ---- local memory ------------------------------------------------------------ */

static void
reach(FeWideLocal *local, int64 lo, int n, int64 least)
{
	FeWide	   *old = local->sum;
	FeWide	   *new = local->space;
	int64		newlo;
	uint32		newn;

	if (fe_wide_fits(old, lo, n, least, &newlo, &newn))
		return;
	if (old != NULL || FE_WIDE_SIZE(newn) > local->size)
	{
		local->size = FE_WIDE_SIZE(newn + 2);
		new = MemoryContextAlloc(local->cxt, local->size);
	}
	new->lo = newlo;
	new->n = newn;
	fe_wide_move(new, old);
	if (new != local->space && local->space != NULL)
		pfree(local->space);
	local->space = local->sum = new;
}

void
fe_wide_local_add(FeWideLocal *local, const FeWideTerm *term, int64 least)
{
	if (term->n == 0 || term->lo + term->n <= least)
		return;
	reach(local, term->lo, term->n, least);
	fe_wide_add(local->sum, term, 1);
}

void
fe_wide_local_add_wide(FeWideLocal *local, const FeWide *other, int64 least)
{
	if (other == NULL || other->lo + other->n <= least)
		return;
	reach(local, other->lo, other->n, least);
	fe_wide_add_wide(local->sum, other);
}

/* ---- results ----------------------------------------------------------------- */

/* The lowest limb that is not 0; n: there is none. */
static uint32
lowest_limb(const FeWide *sum)
{
	uint32		i = 0;

	while (sum != NULL && i < sum->n && sum->limb[i] == 0)
		i++;
	return i;
}

/* A limb of the absolute value. */
static inline uint64
absolute_limb(const FeWide *sum, uint32 i, uint32 lowest)
{
	if ((int64) sum->limb[sum->n - 1] >= 0 || i < lowest)
		return sum->limb[i];
	return i == lowest ? -sum->limb[i] : ~sum->limb[i];
}

static inline bool
is_negative(const FeWide *sum)
{
	return (int64) sum->limb[sum->n - 1] < 0;
}

void
fe_wide_to_big(FeBig *big, const FeWide *sum)
{
	uint32		lowest = lowest_limb(sum);

	for (uint32 i = lowest; sum != NULL && i < sum->n; i++)
	{
		uint64		limb = absolute_limb(sum, i, lowest);
		int32		digits[LIMB_BITS / FE_BINARY_BITS];

		for (int d = 0; d < lengthof(digits); d++)
			digits[d] = (limb >> (d * FE_BINARY_BITS)) & (FE_BINARY_BASE - 1);
		if (limb != 0)
			fe_big_add(big, (int32) (sum->lo + i) * lengthof(digits), digits, lengthof(digits),
					   is_negative(sum) ? -1 : 1);
	}
}

double
fe_wide_frexp(const FeWide *sum, int64 *exponent)
{
	uint32		lowest = lowest_limb(sum);
	uint32		i;
	uint64		top;
	uint64		next;
	int			shift;

	*exponent = 0;
	if (sum == NULL || lowest == sum->n)
		return 0.0;
	for (i = sum->n - 1; (top = absolute_limb(sum, i, lowest)) == 0; i--)
		;
	next = i > 0 ? absolute_limb(sum, i - 1, lowest) : 0;
	shift = LIMB_BITS - 1 - pg_leftmost_one_pos64(top);
	*exponent = (sum->lo + i) * LIMB_BITS - shift;
	if (shift > 0)
	{
		top = (top << shift) | (next >> (LIMB_BITS - shift));
		next <<= shift;
	}
	/* what is below decides the rounding only, as a sticky last bit */
	if (next != 0 || (i > 0 && lowest < i - 1))
		top |= 1;
	return is_negative(sum) ? -(double) top : (double) top;
}

/* ---- rows that are no numbers ----------------------------------------------- */

void
fe_specials_count(FeSpecials *s, double x, int sign)
{
	if (isnan(x))
		s->nan += sign;
	else if (x > 0)
		s->pinf += sign;
	else
		s->ninf += sign;
}

void
fe_specials_add(FeSpecials *s, const FeSpecials *other)
{
	s->nan += other->nan;
	s->pinf += other->pinf;
	s->ninf += other->ninf;
}
