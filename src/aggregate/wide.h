/*
 * wide.h
 *		Exact sums of doubles, and of their powers, in two's complement.
 *
 * A double is an integer times a power of two, and so is any power of it; a sum
 * of such terms kept in fixed point is exact.  Then the order of the rows does
 * not matter, a retraction leaves no trace, and a stream, a batch query and the
 * parts of a parallel one have the same sum to the last bit.
 *
 * A sum is a run of 64-bit limbs, the lowest first, as wide as the terms it has
 * met; its unit is the caller's business (2^-1074 for doubles, 2^-2148 for their
 * squares, ...).  Pure functions over memory that the caller allocates, in the
 * heap or locally; no locks.
 */
#ifndef FE_WIDE_H
#define FE_WIDE_H

#include "aggregate/exact.h"
#include "aggregate/image.h"

typedef struct FeWide
{
	int64		lo;				/* the lowest limb's place: bit 64 * lo of the sum */
	uint32		n;				/* limbs; at least one is above every term */
	uint32		unused;
	uint64		limb[FLEXIBLE_ARRAY_MEMBER];
} FeWide;

#define FE_WIDE_SIZE(n) (offsetof(FeWide, limb) + (Size) (n) * sizeof(uint64))

/* What is added: (-1)^negative * limbs * 2^(64 * lo) */
#define FE_TERM_LIMBS	5		/* the fourth power of a mantissa, shifted */

typedef struct FeWideTerm
{
	int64		lo;
	int			n;				/* 0: nothing to add */
	bool		negative;
	uint64		limb[FE_TERM_LIMBS];
} FeWideTerm;

/* A finite double to a power of 1 to 4, times 2^shift; unit 2^(-1074 * power). */
extern void fe_wide_term(FeWideTerm *term, double x, int power, int64 shift);

/*
 * May limbs [lo, lo + n) be added to the sum (NULL: there is none)?  If not, it
 * must be moved to one of *newn limbs from *newlo on first.  Limbs below `least`
 * are given up: there are none afterwards.
 */
extern bool fe_wide_fits(const FeWide *sum, int64 lo, int n, int64 least,
						 int64 *newlo, uint32 *newn);
/*
 * to: lo and n are set, limbs are not.  from (may be NULL) is what it holds then;
 * limbs of it below to->lo are cut off.
 */
extern void fe_wide_move(FeWide *to, const FeWide *from);
/* Limbs of the term below the sum's are cut off.  sign: 1 or -1 */
extern void fe_wide_add(FeWide *sum, const FeWideTerm *term, int sign);
extern void fe_wide_add_wide(FeWide *sum, const FeWide *other);

/* Adds the sum to a big number in base 2^16. */
extern void fe_wide_to_big(FeBig *big, const FeWide *sum);
/* The sum is about result * 2^*exponent, rounded once; NULL is 0. */
extern double fe_wide_frexp(const FeWide *sum, int64 *exponent);

/* ---- sums in local memory --------------------------------------------------- */

typedef struct FeWideLocal
{
	MemoryContext cxt;
	FeWide	   *sum;			/* NULL: none yet */
	FeWide	   *space;
	Size		size;			/* of space */
} FeWideLocal;

static inline void
fe_wide_local_init(FeWideLocal *local, MemoryContext cxt)
{
	memset(local, 0, sizeof(FeWideLocal));
	local->cxt = cxt;
}

static inline void
fe_wide_local_reset(FeWideLocal *local)
{
	local->sum = NULL;
}

/* Limbs below `least` are given up. */
extern void fe_wide_local_add(FeWideLocal *local, const FeWideTerm *term, int64 least);
extern void fe_wide_local_add_wide(FeWideLocal *local, const FeWide *other, int64 least);

#define FE_WIDE_KEEP_ALL PG_INT64_MIN

/* ---- sums in the heap (wide_heap.c): *ref is 0 while there is none ------------ */

/* At most so many bytes for one sum of doubles to this power. */
extern Size fe_wide_room(int power);
extern void fe_wide_heap_add(FeHeap *heap, FeRef *ref, const FeWideTerm *term, int sign,
							 int64 least);
/* Adds *src to *dst and frees it.  Limbs below `least` are given up. */
extern void fe_wide_heap_combine(FeHeap *heap, FeRef *dst, FeRef *src, int64 least);
extern void fe_wide_heap_free(FeHeap *heap, FeRef *ref);
extern void fe_wide_write(FeRef ref, StringInfo out);
/* heap NULL: checks only.  All limbs are in [least, end). */
extern void fe_wide_read(FeHeap *heap, FeRef *ref, int64 least, int64 end, FeImageIn *in);

static inline FeWide *
fe_wide_ptr(FeRef ref)
{
	return ref == 0 ? NULL : (FeWide *) fe_heap_ptr(ref);
}

/* ---- rows that are no numbers ----------------------------------------------- */

typedef struct FeSpecials
{
	int64		nan;
	int64		pinf;
	int64		ninf;
} FeSpecials;

extern void fe_specials_count(FeSpecials *s, double x, int sign);
extern void fe_specials_add(FeSpecials *s, const FeSpecials *other);
extern void fe_specials_heap_count(FeHeap *heap, FeRef *ref, double x, int sign);
extern void fe_specials_heap_combine(FeHeap *heap, FeRef *dst, FeRef *src);
extern void fe_specials_heap_free(FeHeap *heap, FeRef *ref);
extern void fe_specials_write(FeRef ref, StringInfo out);
extern void fe_specials_read(FeHeap *heap, FeRef *ref, FeImageIn *in);

/* Each one still there counts, however many others have overtaken their rows. */
static inline bool
fe_specials_any(const FeSpecials *s)
{
	return s->nan > 0 || s->pinf > 0 || s->ninf > 0;
}

#endif							/* FE_WIDE_H */
