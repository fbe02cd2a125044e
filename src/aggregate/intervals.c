/*
 * intervals.c
 *		Accumulator kind "intervals": sum and avg of interval.
 *
 * An interval's months, days and microseconds are added up apart, as PostgreSQL
 * adds them, in integers that do not overflow; the result must fit into an interval,
 * where the batch query already raises the error when it does not on the way.
 * From PostgreSQL 17 on infinite ones are counted.  64 bytes.
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared.  avg is PostgreSQL's own division.
 */
#include "postgres.h"

#include "aggregate/image.h"
#include "aggregate/kinds.h"
#include "runtime/compat.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

typedef struct IntervalAcc
{
	int64		count;			/* finite ones */
	int64		pinf;
	int64		ninf;
	int64		months;
	int64		days;
	int64		unused;
	int128		usecs;
} IntervalAcc;

struct FeAccRead
{
	int			final;
	IntervalAcc total;
};

static void
intervals_prepare(FeAccSpec *spec)
{
	spec->size = sizeof(IntervalAcc);
}

static void
intervals_apply(FeHeap *heap, const FeAccSpec *spec, void *accp, const FeAccInput *in, int sign)
{
	IntervalAcc *acc = accp;
	const Interval *x;
	int			infinite;

	if (in->isnull)
		return;
	x = (const Interval *) DatumGetPointer(in->value);
	infinite = fe_compat_interval_infinity(x);
	if (infinite != 0)
	{
		*(infinite > 0 ? &acc->pinf : &acc->ninf) += sign;
		return;
	}
	acc->count += sign;
	acc->months += (int64) sign * x->month;
	acc->days += (int64) sign * x->day;
	acc->usecs += (int128) sign * x->time;
}

static void
add(IntervalAcc *dst, const IntervalAcc *src)
{
	dst->count += src->count;
	dst->pinf += src->pinf;
	dst->ninf += src->ninf;
	dst->months += src->months;
	dst->days += src->days;
	dst->usecs += src->usecs;
}

static void
intervals_combine(FeHeap *heap, const FeAccSpec *spec, void *dst, void *src)
{
	add(dst, src);
	memset(src, 0, sizeof(IntervalAcc));
}

static void
intervals_clear(FeHeap *heap, const FeAccSpec *spec, void *acc)
{
	memset(acc, 0, sizeof(IntervalAcc));
}

static Size
intervals_room(const FeAccSpec *spec, const FeAccInput *in)
{
	return 0;
}

/* ---- reading ------------------------------------------------------------------- */

static FeAccRead *
intervals_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->final = final->id;
	return r;
}

static void
intervals_read_reset(FeAccRead *r)
{
	memset(&r->total, 0, sizeof(r->total));
}

static void
intervals_read_add(FeAccRead *r, const void *acc)
{
	add(&r->total, acc);
}

static void
out_of_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("interval out of range")));
}

static Datum
intervals_read_final(FeAccRead *r, bool *isnull)
{
	const IntervalAcc *total = &r->total;
	Interval   *sum;

	*isnull = total->count + total->pinf + total->ninf <= 0;
	if (*isnull)
		return (Datum) 0;
	sum = palloc0(sizeof(Interval));
	if (total->pinf > 0 || total->ninf > 0)
	{
		if (total->pinf > 0 && total->ninf > 0)
			out_of_range();
		fe_compat_interval_set_infinity(sum, total->pinf > 0);
		return IntervalPGetDatum(sum);
	}
	sum->month = (int32) total->months;
	sum->day = (int32) total->days;
	sum->time = (int64) total->usecs;
	if (sum->month != total->months || sum->day != total->days || sum->time != total->usecs ||
		fe_compat_interval_infinity(sum) != 0)
		out_of_range();
	if (r->final == FE_FINAL_SUM)
		return IntervalPGetDatum(sum);
	return DirectFunctionCall2(interval_div, IntervalPGetDatum(sum),
							   Float8GetDatum((double) total->count));
}

/* ---- byte form ------------------------------------------------------------------- */

static void
intervals_image_write(const FeAccSpec *spec, const void *accp, StringInfo out)
{
	const IntervalAcc *acc = accp;

	fe_image_put_signed(out, acc->count);
	fe_image_put_signed(out, acc->pinf);
	fe_image_put_signed(out, acc->ninf);
	fe_image_put_signed(out, acc->months);
	fe_image_put_signed(out, acc->days);
	fe_image_put_int128(out, acc->usecs);
}

static void
intervals_image_read(FeHeap *heap, const FeAccSpec *spec, void *acc, FeImageIn *in)
{
	IntervalAcc read = {0};

	read.count = fe_image_get_signed(in);
	read.pinf = fe_image_get_signed(in);
	read.ninf = fe_image_get_signed(in);
	read.months = fe_image_get_signed(in);
	read.days = fe_image_get_signed(in);
	read.usecs = fe_image_get_int128(in);
	if (heap != NULL)
		memcpy(acc, &read, sizeof(read));
}

const FeAccKind fe_acc_intervals = {
	.name = "intervals",
	.prepare = intervals_prepare,
	.apply = intervals_apply,
	.combine = intervals_combine,
	.clear = intervals_clear,
	.room = intervals_room,
	.read_create = intervals_read_create,
	.read_reset = intervals_read_reset,
	.read_add = intervals_read_add,
	.read_final = intervals_read_final,
	.image_write = intervals_image_write,
	.image_read = intervals_image_read
};
