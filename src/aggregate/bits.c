/*
 * bits.c
 *		Accumulator kind "bits": bit_and, bit_or and bit_xor of int2, int4, int8.
 *
 * For every bit the number of rows in which it is set: bit_or asks whether that is
 * above 0, bit_and whether it is that of all rows, bit_xor whether it is odd.  The
 * 64 counters are kept upright: word k ("plane" k) holds digit k of each, in two's
 * complement, the last plane being the sign.  So a row is added to all of them
 * by a few operations on words, as a carry seldom goes far, and n rows take about
 * log2(n) + 2 words, in the heap.
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared.
 */
#include "postgres.h"

#include "aggregate/image.h"
#include "aggregate/kinds.h"
#include "catalog/pg_type.h"

#define MAX_PLANES		72		/* more than counts of 64 bits ever take */
#define PLANE_STEP		2		/* a granule of the heap */

typedef struct BitsAcc
{
	int64		count;			/* rows */
	FeRef		planes;			/* uint64[nplanes], 0 = none */
	uint32		nplanes;		/* a multiple of PLANE_STEP */
} BitsAcc;

static void
bits_prepare(FeAccSpec *spec)
{
	spec->size = sizeof(BitsAcc);
}

/* ---- planes ------------------------------------------------------------------ */

static inline uint64
sign_of(const uint64 *planes, uint32 n)
{
	return n == 0 ? 0 : planes[n - 1];
}

static inline uint64
plane_at(const uint64 *planes, uint32 n, uint32 k)
{
	return k < n ? planes[k] : sign_of(planes, n);
}

/* dst += src; dst has room for MAX_PLANES. */
static void
add_planes(uint64 *dst, uint32 *ndst, const uint64 *src, uint32 nsrc)
{
	uint32		n = Min(Max(*ndst, nsrc) + PLANE_STEP, MAX_PLANES);
	uint64		carry = 0;

	for (uint32 k = *ndst; k < n; k++)
		dst[k] = sign_of(dst, *ndst);
	for (uint32 k = 0; k < n; k++)
	{
		uint64		a = dst[k];
		uint64		b = plane_at(src, nsrc, k);

		dst[k] = a ^ b ^ carry;
		carry = (a & b) | (carry & (a | b));
	}
	/* planes that say what the one below them says */
	while (n > 0 && sign_of(dst, n) == dst[n - 2] &&
		   dst[n - 2] == (n > PLANE_STEP ? dst[n - 3] : 0))
		n -= PLANE_STEP;
	*ndst = n;
}

static void
free_planes(FeHeap *heap, BitsAcc *acc)
{
	if (acc->planes != 0)
		fe_heap_free(heap, acc->planes, acc->nplanes * sizeof(uint64));
	acc->planes = 0;
	acc->nplanes = 0;
}

/* Puts n planes in the place of those that are there. */
static void
set_planes(FeHeap *heap, BitsAcc *acc, const uint64 *planes, uint32 n)
{
	if (acc->nplanes != n)
	{
		FeRef		fresh = n == 0 ? 0 : fe_heap_alloc(heap, n * sizeof(uint64));

		free_planes(heap, acc);
		acc->planes = fresh;
		acc->nplanes = n;
	}
	if (n > 0)
		memcpy(fe_heap_ptr(acc->planes), planes, n * sizeof(uint64));
}

/* The general way, where a counter outgrows its planes or all may be 0 again. */
static void
add_slowly(FeHeap *heap, BitsAcc *acc, uint64 bits, int sign)
{
	uint64		planes[MAX_PLANES];
	uint64		one[PLANE_STEP] = {bits, sign > 0 ? 0 : bits};
	uint32		n = acc->nplanes;

	if (n > 0)
		memcpy(planes, fe_heap_ptr(acc->planes), n * sizeof(uint64));
	add_planes(planes, &n, one, PLANE_STEP);
	set_planes(heap, acc, planes, n);
}

/* ---- writing ------------------------------------------------------------------- */

static inline uint64
bits_of(const FeAccSpec *spec, Datum value)
{
	switch (spec->argtype)
	{
		case INT2OID:
			return (uint16) DatumGetInt16(value);
		case INT4OID:
			return (uint32) DatumGetInt32(value);
		default:
			return (uint64) DatumGetInt64(value);
	}
}

static void
bits_apply(FeHeap *heap, const FeAccSpec *spec, void *accp, const FeAccInput *in, int sign)
{
	BitsAcc    *acc = accp;
	uint64		bits;
	uint64	   *planes;

	if (in->isnull)
		return;
	acc->count += sign;
	bits = bits_of(spec, in->value);
	if (bits == 0 && (acc->count != 0 || acc->planes == 0))
		return;
	planes = acc->planes == 0 ? NULL : fe_heap_ptr(acc->planes);
	/* no carry or borrow reaches the last two planes: one of these bits stops it */
	if (planes != NULL && acc->count != 0 && acc->nplanes > PLANE_STEP)
	{
		uint64		left = bits;

		for (uint32 k = 0; k < acc->nplanes - PLANE_STEP; k++)
			left &= sign > 0 ? planes[k] : ~planes[k];
		if (left == 0)
		{
			for (uint32 k = 0; bits != 0; k++)
			{
				uint64		old = planes[k];

				planes[k] = old ^ bits;
				bits &= sign > 0 ? old : ~old;
			}
			return;
		}
	}
	add_slowly(heap, acc, bits, sign);
}

static void
bits_combine(FeHeap *heap, const FeAccSpec *spec, void *dstp, void *srcp)
{
	BitsAcc    *dst = dstp;
	BitsAcc    *src = srcp;
	uint64		planes[MAX_PLANES];
	uint32		n = dst->nplanes;

	dst->count += src->count;
	if (src->planes != 0)
	{
		if (n > 0)
			memcpy(planes, fe_heap_ptr(dst->planes), n * sizeof(uint64));
		add_planes(planes, &n, fe_heap_ptr(src->planes), src->nplanes);
		set_planes(heap, dst, planes, n);
		free_planes(heap, src);
	}
	src->count = 0;
}

static void
bits_clear(FeHeap *heap, const FeAccSpec *spec, void *acc)
{
	free_planes(heap, acc);
	memset(acc, 0, sizeof(BitsAcc));
}

/* Planes become more with the logarithm of the rows. */
static Size
bits_room(const FeAccSpec *spec, const FeAccInput *in)
{
	return in->isnull ? 0 : fe_heap_chunk_size(8 * sizeof(uint64));
}

/* ---- reading --------------------------------------------------------------------- */

struct FeAccRead
{
	int			final;
	Oid			type;
	int64		count;
	uint32		nplanes;
	uint64		planes[MAX_PLANES];
};

static FeAccRead *
bits_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->final = final->id;
	r->type = spec->argtype;
	return r;
}

static void
bits_read_reset(FeAccRead *r)
{
	r->count = 0;
	r->nplanes = 0;
}

static void
bits_read_add(FeAccRead *r, const void *accp)
{
	const BitsAcc *acc = accp;

	r->count += acc->count;
	if (acc->planes != 0)
		add_planes(r->planes, &r->nplanes, fe_heap_ptr(acc->planes), acc->nplanes);
}

static uint64
result_bits(const FeAccRead *r)
{
	uint64		any = 0;
	uint64		all = ~UINT64CONST(0);

	if (r->final == FE_FINAL_BIT_XOR)
		return plane_at(r->planes, r->nplanes, 0);
	for (uint32 k = 0; k < 64 || k < r->nplanes; k++)
	{
		uint64		plane = plane_at(r->planes, r->nplanes, k);
		bool		digit = k < 64 && ((uint64) r->count >> k) & 1;

		any |= plane;
		all &= digit ? plane : ~plane;
	}
	return r->final == FE_FINAL_BIT_AND ? all : any & ~sign_of(r->planes, r->nplanes);
}

static Datum
bits_read_final(FeAccRead *r, bool *isnull)
{
	uint64		bits;

	*isnull = r->count <= 0;
	if (*isnull)
		return (Datum) 0;
	bits = result_bits(r);
	switch (r->type)
	{
		case INT2OID:
			return Int16GetDatum((int16) bits);
		case INT4OID:
			return Int32GetDatum((int32) bits);
		default:
			return Int64GetDatum((int64) bits);
	}
}

/* ---- byte form --------------------------------------------------------------------- */

/* The number of rows, of planes, the planes. */
static void
bits_image_write(const FeAccSpec *spec, const void *accp, StringInfo out)
{
	const BitsAcc *acc = accp;
	const uint64 *planes = acc->planes == 0 ? NULL : fe_heap_ptr(acc->planes);

	fe_image_put_signed(out, acc->count);
	fe_image_put(out, acc->nplanes);
	for (uint32 k = 0; k < acc->nplanes; k++)
		fe_image_put_fixed(out, planes[k], sizeof(uint64));
}

static void
bits_image_read(FeHeap *heap, const FeAccSpec *spec, void *accp, FeImageIn *in)
{
	BitsAcc    *acc = accp;
	int64		count = fe_image_get_signed(in);
	uint32		n = fe_image_get_count(in, sizeof(uint64));
	uint64		planes[MAX_PLANES];

	/* with room for what later rows may add */
	if (n % PLANE_STEP != 0 || n > MAX_PLANES - 8 * PLANE_STEP)
	{
		fe_image_fail(in, "counters of bits are out of range");
		return;
	}
	for (uint32 k = 0; k < n; k++)
		planes[k] = fe_image_get_fixed(in, sizeof(uint64));
	if (heap == NULL)
	{
		if (n > 0)
			fe_image_add_room(in, n * sizeof(uint64));
		return;
	}
	acc->count = count;
	set_planes(heap, acc, planes, n);
}

const FeAccKind fe_acc_bits = {
	.name = "bits",
	.prepare = bits_prepare,
	.apply = bits_apply,
	.combine = bits_combine,
	.clear = bits_clear,
	.room = bits_room,
	.read_create = bits_read_create,
	.read_reset = bits_read_reset,
	.read_add = bits_read_add,
	.read_final = bits_read_final,
	.image_write = bits_image_write,
	.image_read = bits_image_read
};
