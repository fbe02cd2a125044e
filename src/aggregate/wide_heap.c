/*
 * wide_heap.c
 *		Exact sums in two's complement in the heap, and their byte form.
 *
 * Run in the ingest worker under the entity's partition lock; fe_wide_write and
 * fe_specials_write in any process under the same lock.
 */
#include "postgres.h"

#include "aggregate/wide.h"

/* ---- sums ----------------------------------------------------------------- */

Size
fe_wide_room(int power)
{
	/* a term's limbs, one below for another exponent, one above for the carry */
	return fe_heap_chunk_size(FE_WIDE_SIZE(power + 3));
}

static void
reach(FeHeap *heap, FeRef *ref, int64 lo, int n, int64 least)
{
	FeRef		newref;
	FeWide	   *to;
	int64		newlo;
	uint32		newn;

	if (fe_wide_fits(fe_wide_ptr(*ref), lo, n, least, &newlo, &newn))
		return;
	newref = fe_heap_alloc(heap, FE_WIDE_SIZE(newn));
	to = fe_heap_ptr(newref);
	to->lo = newlo;
	to->n = newn;
	fe_wide_move(to, fe_wide_ptr(*ref));
	fe_wide_heap_free(heap, ref);
	*ref = newref;
}

void
fe_wide_heap_add(FeHeap *heap, FeRef *ref, const FeWideTerm *term, int sign, int64 least)
{
	if (term->n == 0 || term->lo + term->n <= least)
		return;
	reach(heap, ref, term->lo, term->n, least);
	fe_wide_add(fe_wide_ptr(*ref), term, sign);
}

void
fe_wide_heap_combine(FeHeap *heap, FeRef *dst, FeRef *src, int64 least)
{
	const FeWide *from = fe_wide_ptr(*src);

	if (from != NULL && *dst == 0)
	{
		*dst = *src;
		*src = 0;
		return;
	}
	if (from != NULL && from->lo + from->n > least)
	{
		reach(heap, dst, from->lo, from->n, least);
		fe_wide_add_wide(fe_wide_ptr(*dst), from);
	}
	fe_wide_heap_free(heap, src);
}

void
fe_wide_heap_free(FeHeap *heap, FeRef *ref)
{
	if (*ref != 0)
		fe_heap_free(heap, *ref, FE_WIDE_SIZE(fe_wide_ptr(*ref)->n));
	*ref = 0;
}

/* The number of limbs (0: no sum), the lowest one's place, the limbs. */
void
fe_wide_write(FeRef ref, StringInfo out)
{
	const FeWide *sum = fe_wide_ptr(ref);

	fe_image_put(out, sum == NULL ? 0 : sum->n);
	if (sum == NULL)
		return;
	fe_image_put_signed(out, sum->lo);
	/* the highest is often all sign */
	for (uint32 i = 0; i + 1 < sum->n; i++)
		fe_image_put_fixed(out, sum->limb[i], sizeof(uint64));
	fe_image_put_signed(out, (int64) sum->limb[sum->n - 1]);
}

void
fe_wide_read(FeHeap *heap, FeRef *ref, int64 least, int64 end, FeImageIn *in)
{
	uint32		n = fe_image_get_count(in, 1);
	FeWide	   *sum = NULL;
	int64		lo;

	if (n == 0)
		return;
	lo = fe_image_get_signed(in);
	if (lo < least || lo >= end || n > end - lo)
	{
		fe_image_fail(in, "a sum is out of range");
		return;
	}
	if (heap == NULL)
		fe_image_add_room(in, FE_WIDE_SIZE(n));
	else
	{
		*ref = fe_heap_alloc(heap, FE_WIDE_SIZE(n));
		sum = fe_wide_ptr(*ref);
		sum->lo = lo;
		sum->n = n;
		sum->unused = 0;
	}
	for (uint32 i = 0; i < n; i++)
	{
		uint64		limb = i + 1 < n ? fe_image_get_fixed(in, sizeof(uint64)) :
			(uint64) fe_image_get_signed(in);

		if (sum != NULL)
			sum->limb[i] = limb;
	}
}

/* ---- rows that are no numbers ----------------------------------------------- */

void
fe_specials_heap_count(FeHeap *heap, FeRef *ref, double x, int sign)
{
	if (*ref == 0)
		*ref = fe_heap_alloc0(heap, sizeof(FeSpecials));
	fe_specials_count(fe_heap_ptr(*ref), x, sign);
}

void
fe_specials_heap_combine(FeHeap *heap, FeRef *dst, FeRef *src)
{
	if (*src == 0)
		return;
	if (*dst == 0)
	{
		*dst = *src;
		*src = 0;
		return;
	}
	fe_specials_add(fe_heap_ptr(*dst), fe_heap_ptr(*src));
	fe_specials_heap_free(heap, src);
}

void
fe_specials_heap_free(FeHeap *heap, FeRef *ref)
{
	if (*ref != 0)
		fe_heap_free(heap, *ref, sizeof(FeSpecials));
	*ref = 0;
}

/* 1, if there are counts, and these. */
void
fe_specials_write(FeRef ref, StringInfo out)
{
	const FeSpecials *s;

	fe_image_put(out, ref != 0);
	if (ref == 0)
		return;
	s = fe_heap_ptr(ref);
	fe_image_put_signed(out, s->nan);
	fe_image_put_signed(out, s->pinf);
	fe_image_put_signed(out, s->ninf);
}

void
fe_specials_read(FeHeap *heap, FeRef *ref, FeImageIn *in)
{
	uint64		any = fe_image_get(in);
	FeSpecials	s;

	if (any > 1)
		fe_image_fail(in, "a count is too large");
	if (any != 1)
		return;
	s.nan = fe_image_get_narrow(in, 48);
	s.pinf = fe_image_get_narrow(in, 48);
	s.ninf = fe_image_get_narrow(in, 48);
	if (heap == NULL)
	{
		fe_image_add_room(in, sizeof(FeSpecials));
		return;
	}
	*ref = fe_heap_alloc(heap, sizeof(FeSpecials));
	*(FeSpecials *) fe_heap_ptr(*ref) = s;
}
