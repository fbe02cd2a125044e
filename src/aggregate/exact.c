/*
 * exact.c
 *		Exact sums of any size (see exact.h).
 *
 * The fe_exact_* functions run in the ingest worker under the entity's
 * partition lock, except that readers look at a sum under the same lock,
 * shared, by fe_big_add_exact.  The fe_big_* functions work on local memory.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate/exact.h"
#include "aggregate/image.h"
#include "utils/memutils.h"

typedef struct FeExact
{
	int32		lo;
	int32		n;
	int64		d[FLEXIBLE_ARRAY_MEMBER];
} FeExact;

#define EXACT_SIZE(n) (offsetof(FeExact, d) + (Size) (n) * sizeof(int64))

/* Makes the sum cover n digits from lo on; returns the place of digit lo. */
static int64 *
exact_reach(FeHeap *heap, FeRef *ref, int32 lo, int n)
{
	FeExact    *old = NULL;
	FeExact    *new;
	FeRef		newref;
	int32		newlo = lo;
	int32		newhi = lo + n;

	if (*ref != 0)
	{
		old = fe_heap_ptr(*ref);
		if (lo >= old->lo && lo + n <= old->lo + old->n)
			return old->d + (lo - old->lo);
		newlo = Min(lo, old->lo);
		newhi = Max(lo + n, old->lo + old->n);
	}
	newref = fe_heap_alloc0(heap, EXACT_SIZE(newhi - newlo));
	new = fe_heap_ptr(newref);
	new->lo = newlo;
	new->n = newhi - newlo;
	if (old != NULL)
	{
		memcpy(new->d + (old->lo - newlo), old->d, old->n * sizeof(int64));
		fe_heap_free(heap, *ref, EXACT_SIZE(old->n));
	}
	*ref = newref;
	return new->d + (lo - newlo);
}

void
fe_exact_add(FeHeap *heap, FeRef *ref, int32 lo, const int32 *digits, int n, int sign)
{
	int64	   *d;

	if (n == 0)
		return;
	d = exact_reach(heap, ref, lo, n);
	for (int i = 0; i < n; i++)
		d[i] += sign * digits[i];
}

void
fe_exact_combine(FeHeap *heap, FeRef *dst, FeRef *src)
{
	FeExact    *s;
	int64	   *d;

	if (*src == 0)
		return;
	if (*dst == 0)
	{
		*dst = *src;
		*src = 0;
		return;
	}
	s = fe_heap_ptr(*src);
	d = exact_reach(heap, dst, s->lo, s->n);
	for (int i = 0; i < s->n; i++)
		d[i] += s->d[i];
	fe_exact_free(heap, src);
}

void
fe_exact_free(FeHeap *heap, FeRef *ref)
{
	if (*ref != 0)
	{
		FeExact    *e = fe_heap_ptr(*ref);

		fe_heap_free(heap, *ref, EXACT_SIZE(e->n));
		*ref = 0;
	}
}

Size
fe_exact_room(int n)
{
	return fe_heap_chunk_size(EXACT_SIZE(n + 64));
}

/* ---- byte form ----------------------------------------------------------- */

/* Beyond any digit of a numeric's or a double's square. */
#define MAX_DIGITS	(1 << 17)

/* The number of digits (0: no sum), the first one's place, the digits. */
void
fe_exact_write(FeRef ref, StringInfo out)
{
	const FeExact *e = fe_heap_ptr(ref);

	fe_image_put(out, ref == 0 ? 0 : e->n);
	if (ref == 0)
		return;
	fe_image_put_signed(out, e->lo);
	for (int i = 0; i < e->n; i++)
		fe_image_put_signed(out, e->d[i]);
}

void
fe_exact_read(FeHeap *heap, FeRef *ref, FeImageIn *in)
{
	uint32		n = fe_image_get_count(in, 1);
	int64		lo;
	FeExact    *e = NULL;

	if (n == 0)
		return;
	lo = fe_image_get_signed(in);
	if (n > MAX_DIGITS || lo < -MAX_DIGITS || lo > MAX_DIGITS)
		fe_image_fail(in, "a sum is out of range");
	if (heap == NULL)
		fe_image_add_room(in, EXACT_SIZE(n));
	else
	{
		*ref = fe_heap_alloc(heap, EXACT_SIZE(n));
		e = fe_heap_ptr(*ref);
		e->lo = (int32) lo;
		e->n = n;
	}
	for (uint32 i = 0; i < n; i++)
	{
		int64		digit = fe_image_get_narrow(in, 63);

		if (e != NULL)
			e->d[i] = digit;
	}
}

/* ---- local form -------------------------------------------------------- */

void
fe_big_init(FeBig *big, MemoryContext cxt)
{
	memset(big, 0, sizeof(FeBig));
	big->cxt = cxt;
}

/* Makes the number cover n digits from lo on; returns the place of digit lo. */
static int64 *
big_reach(FeBig *big, int32 lo, int n)
{
	int32		newlo = lo;
	int32		newhi = lo + n;
	int			shift;

	if (big->n > 0)
	{
		newlo = Min(lo, big->lo);
		newhi = Max(newhi, big->lo + big->n);
	}
	if (newhi - newlo > big->size)
	{
		int			size = Max(newhi - newlo + 16, big->size * 2);

		if (big->d == NULL)
			big->d = MemoryContextAlloc(big->cxt, size * sizeof(int64));
		else
			big->d = repalloc(big->d, size * sizeof(int64));
		big->size = size;
	}
	if (big->n == 0)
	{
		memset(big->d, 0, (newhi - newlo) * sizeof(int64));
		big->lo = newlo;
		big->n = newhi - newlo;
		return big->d;
	}
	shift = big->lo - newlo;
	if (shift > 0)
	{
		memmove(big->d + shift, big->d, big->n * sizeof(int64));
		memset(big->d, 0, shift * sizeof(int64));
		big->lo = newlo;
		big->n += shift;
	}
	if (newhi - newlo > big->n)
	{
		memset(big->d + big->n, 0, (newhi - newlo - big->n) * sizeof(int64));
		big->n = newhi - newlo;
	}
	return big->d + (lo - big->lo);
}

void
fe_big_add(FeBig *big, int32 lo, const int32 *digits, int n, int sign)
{
	int64	   *d;

	if (n == 0)
		return;
	d = big_reach(big, lo, n);
	for (int i = 0; i < n; i++)
		d[i] += sign * digits[i];
}

void
fe_big_add_exact(FeBig *big, FeRef ref)
{
	FeExact    *e;
	int64	   *d;

	if (ref == 0)
		return;
	e = fe_heap_ptr(ref);
	d = big_reach(big, e->lo, e->n);
	for (int i = 0; i < e->n; i++)
		d[i] += e->d[i];
}

/* Both canonical; the result is not until the next fe_big_carry. */
void
fe_big_sub_big(FeBig *big, const FeBig *other)
{
	int64	   *d;

	if (big->sign < 0)
		for (int i = 0; i < big->n; i++)
			big->d[i] = -big->d[i];
	if (other->n == 0)
		return;
	d = big_reach(big, other->lo, other->n);
	for (int i = 0; i < other->n; i++)
		d[i] -= other->sign * other->d[i];
}

/* One pass of carries; what leaves the top becomes new digits, the last of
 * them negative if the number is. */
static void
big_propagate(FeBig *big, int base)
{
	int64		carry = 0;

	for (int i = 0; i < big->n; i++)
	{
		int64		t = big->d[i] + carry;

		carry = t / base;
		t -= carry * base;
		if (t < 0)
		{
			t += base;
			carry--;
		}
		big->d[i] = t;
	}
	while (carry != 0)
	{
		int64	   *top = big_reach(big, big->lo + big->n, 1);

		*top = (carry < 0) ? carry : carry % base;
		carry = (carry < 0) ? 0 : carry / base;
	}
}

void
fe_big_carry(FeBig *big, int base)
{
	int			skip = 0;

	big->sign = 1;
	big_propagate(big, base);
	if (big->n > 0 && big->d[big->n - 1] < 0)
	{
		big->sign = -1;
		for (int i = 0; i < big->n; i++)
			big->d[i] = -big->d[i];
		big_propagate(big, base);
	}
	while (big->n > 0 && big->d[big->n - 1] == 0)
		big->n--;
	while (skip < big->n && big->d[skip] == 0)
		skip++;
	if (skip > 0 && big->n > 0)
	{
		memmove(big->d, big->d + skip, (big->n - skip) * sizeof(int64));
		big->lo += skip;
		big->n -= skip;
	}
	if (big->n == 0)
		big->sign = 0;
}

void
fe_big_mul(FeBig *dst, const FeBig *a, const FeBig *b, int base)
{
	int64	   *d;

	fe_big_reset(dst);
	if (a->n == 0 || b->n == 0)
		return;
	/* a column sums at most 2^16 products below 2^32 */
	Assert(Min(a->n, b->n) < 0x10000);
	d = big_reach(dst, a->lo + b->lo, a->n + b->n);
	for (int i = 0; i < a->n; i++)
		for (int j = 0; j < b->n; j++)
			d[i + j] += a->d[i] * b->d[j];
	fe_big_carry(dst, base);
	dst->sign *= a->sign * b->sign;
}

double
fe_big_frexp(const FeBig *big, int *exponent)
{
	uint64		m = 0;
	int			i = big->n - 1;

	/*
	 * 49 to 64 leading bits, then on to at least 58; whatever is below only
	 * decides the rounding of the conversion to double, as a sticky last bit.
	 */
	for (; i >= 0 && m < (UINT64CONST(1) << 48); i--)
		m = (m << FE_BINARY_BITS) | (uint64) big->d[i];
	*exponent = FE_BINARY_BITS * (big->lo + i + 1);
	if (i >= 0)
	{
		if (m < (UINT64CONST(1) << 56))
		{
			m = (m << 8) | ((uint64) big->d[i] >> 8);
			*exponent -= 8;
			if ((big->d[i] & 0xFF) != 0)
				m |= 1;
			i--;
		}
		for (; i >= 0; i--)
			if (big->d[i] != 0)
				m |= 1;
	}
	return big->sign * (double) m;
}
