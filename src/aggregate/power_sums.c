/*
 * power_sums.c
 *		Accumulator kind "power sums": skewness and kurtosis of float8.
 *
 * Why exact sums: see moments_float8.c; central moments from power sums lose all
 * their digits when the mean is large, unless the sums are exact and the
 * subtraction is, too.  Both are done in integers here, and rounded afterwards.
 *
 * 32 bytes, and for each power a sum in the heap as wide as the spread of the
 * values demands: for money of a few digits about 200 bytes in all.  NaN and
 * infinities are counted apart; with any of them the result is NaN.
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared.  The final form runs without locks, in batch queries, too.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate/power_sums.h"

typedef struct PowerAcc
{
	int64		count;			/* finite rows */
	FeRef		sums[FE_POWERS];
	FeRef		special;		/* FeSpecials */
	uint32		unused;
} PowerAcc;

/* Limbs of the sums of doubles to a power: all of float8 and some for the count. */
#define MOST_LIMBS(power) (2098 * (power) / 64 + 8)

static void
power_prepare(FeAccSpec *spec)
{
	spec->size = sizeof(PowerAcc);
}

static void
power_apply(FeHeap *heap, const FeAccSpec *spec, void *accp, const FeAccInput *in, int sign)
{
	PowerAcc   *acc = accp;
	double		x;

	if (in->isnull)
		return;
	x = DatumGetFloat8(in->value);
	if (unlikely(isnan(x) || isinf(x)))
	{
		fe_specials_heap_count(heap, &acc->special, x, sign);
		return;
	}
	acc->count += sign;
	for (int k = 0; k < FE_POWERS; k++)
	{
		FeWideTerm	term;

		fe_wide_term(&term, x, k + 1, 0);
		fe_wide_heap_add(heap, &acc->sums[k], &term, sign, FE_WIDE_KEEP_ALL);
	}
}

static void
power_clear(FeHeap *heap, const FeAccSpec *spec, void *accp)
{
	PowerAcc   *acc = accp;

	for (int k = 0; k < FE_POWERS; k++)
		fe_wide_heap_free(heap, &acc->sums[k]);
	fe_specials_heap_free(heap, &acc->special);
	memset(acc, 0, sizeof(PowerAcc));
}

static void
power_combine(FeHeap *heap, const FeAccSpec *spec, void *dstp, void *srcp)
{
	PowerAcc   *dst = dstp;
	PowerAcc   *src = srcp;

	dst->count += src->count;
	for (int k = 0; k < FE_POWERS; k++)
		fe_wide_heap_combine(heap, &dst->sums[k], &src->sums[k], FE_WIDE_KEEP_ALL);
	fe_specials_heap_combine(heap, &dst->special, &src->special);
	power_clear(heap, spec, src);
}

static Size
power_room(const FeAccSpec *spec, const FeAccInput *in)
{
	Size		room = 0;

	for (int k = 0; k < FE_POWERS && !in->isnull; k++)
		room += fe_wide_room(k + 1);
	return room;
}

/* ---- reading -------------------------------------------------------------- */

struct FeAccRead
{
	int			final;
	int64		count;
	FeSpecials	special;
	FeWideLocal sums[FE_POWERS];
};

static FeAccRead *
power_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->final = final->id;
	for (int k = 0; k < FE_POWERS; k++)
		fe_wide_local_init(&r->sums[k], CurrentMemoryContext);
	return r;
}

static void
power_read_reset(FeAccRead *r)
{
	r->count = 0;
	memset(&r->special, 0, sizeof(r->special));
	for (int k = 0; k < FE_POWERS; k++)
		fe_wide_local_reset(&r->sums[k]);
}

static void
power_read_add(FeAccRead *r, const void *accp)
{
	const PowerAcc *acc = accp;

	r->count += acc->count;
	if (acc->special != 0)
		fe_specials_add(&r->special, fe_heap_ptr(acc->special));
	for (int k = 0; k < FE_POWERS; k++)
		fe_wide_local_add_wide(&r->sums[k], fe_wide_ptr(acc->sums[k]), FE_WIDE_KEEP_ALL);
}

static Datum
power_read_final(FeAccRead *r, bool *isnull)
{
	double		result;

	*isnull = !fe_power_sums_final(r->final, r->count, &r->special, r->sums, &result);
	return *isnull ? (Datum) 0 : Float8GetDatum(result);
}

/* ---- byte form ------------------------------------------------------------ */

/* count, the sums, the counts of what is no number */
static void
power_image_write(const FeAccSpec *spec, const void *accp, StringInfo out)
{
	const PowerAcc *acc = accp;

	fe_image_put_signed(out, acc->count);
	for (int k = 0; k < FE_POWERS; k++)
		fe_wide_write(acc->sums[k], out);
	fe_specials_write(acc->special, out);
}

static void
power_image_read(FeHeap *heap, const FeAccSpec *spec, void *accp, FeImageIn *in)
{
	PowerAcc   *acc = accp;
	int64		count = fe_image_get_narrow(in, 48);

	if (heap != NULL)
		acc->count = count;
	for (int k = 0; k < FE_POWERS; k++)
		fe_wide_read(heap, heap != NULL ? &acc->sums[k] : NULL, 0, MOST_LIMBS(k + 1), in);
	fe_specials_read(heap, heap != NULL ? &acc->special : NULL, in);
}

const FeAccKind fe_acc_power_sums = {
	.name = "power sums",
	.prepare = power_prepare,
	.apply = power_apply,
	.combine = power_combine,
	.clear = power_clear,
	.room = power_room,
	.read_create = power_read_create,
	.read_reset = power_read_reset,
	.read_add = power_read_add,
	.read_final = power_read_final,
	.image_write = power_image_write,
	.image_read = power_image_read
};
