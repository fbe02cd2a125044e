/*
 * moments_int.c
 *		Accumulator kind "integer moments": sum, avg and the variance family of
 *		int2, int4 and int8; sum of money.
 *
 * int2 and int4: one 128-bit word holds the sum in its lower 80 bits and the
 * count in the upper 48, so that a row is a single addition; 2^47 rows of the
 * greatest value fit.  int8 needs more than 80 bits and has its count apart.
 * The sum of squares is 128 bits wide; that of int8 can overflow and is then
 * emptied into an exact decimal sum in the heap.
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared.  Finals are PostgreSQL's own arithmetic: numeric_div for avg,
 * numeric's variance functions (variance.c).
 */
#include "postgres.h"

#include "aggregate/image.h"
#include "aggregate/kinds.h"
#include "catalog/pg_type.h"
#include "runtime/compat.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

typedef struct IntAcc
{
	int128		packed;			/* count << 80 + sum */
	int128		squares;		/* FE_ACC_SQUARES only */
} IntAcc;

typedef struct Int8Acc
{
	int64		count;
	int128		sum;
	int128		squares;		/* from here on FE_ACC_SQUARES only */
	FeRef		spill;			/* exact decimal sum of squares */
	uint32		unused;
} Int8Acc;

#define SUM_BITS	80

struct FeAccRead
{
	int			final;
	bool		squares_kept;
	bool		wide;			/* int8 */
	bool		money;
	int64		count;
	int128		sum;
	int128		squares;
	FeBig		spill;
};

static inline int128
packed_sum(int128 packed)
{
	return (int128) ((uint128) packed << (128 - SUM_BITS)) >> (128 - SUM_BITS);
}

/* money is an int8 of hundredths, or whatever the currency has. */
static inline bool
is_wide(const FeAccSpec *spec)
{
	return spec->argtype == INT8OID || spec->argtype == MONEYOID;
}

static void
int_prepare(FeAccSpec *spec)
{
	if (is_wide(spec))
		spec->size = FE_SQUARES(spec) ? sizeof(Int8Acc) : offsetof(Int8Acc, squares);
	else
		spec->size = FE_SQUARES(spec) ? sizeof(IntAcc) : offsetof(IntAcc, squares);
}

/* squares += v, the old value moving to *spill when it does not fit. */
static void
add_squares(FeHeap *heap, Int8Acc *acc, int128 v)
{
	int32		digits[FE_DIGITS128];
	int32		lo;
	int			n;
	int128		old = acc->squares;

	if (!__builtin_add_overflow(old, v, &acc->squares))
		return;
	n = fe_decimal_digits(old < 0 ? -(uint128) old : (uint128) old, 0, digits, &lo);
	fe_exact_add(heap, &acc->spill, lo, digits, n, old < 0 ? -1 : 1);
	acc->squares = v;
}

static void
int_apply(FeHeap *heap, const FeAccSpec *spec, void *acc, const FeAccInput *in, int sign)
{
	int64		x;

	if (in->isnull)
		return;
	if (is_wide(spec))
	{
		Int8Acc    *a = acc;

		x = DatumGetInt64(in->value);
		a->count += sign;
		a->sum += (int128) sign * x;
		if (FE_SQUARES(spec))
			add_squares(heap, a, (int128) x * x * sign);
	}
	else
	{
		IntAcc	   *a = acc;

		x = spec->argtype == INT4OID ? DatumGetInt32(in->value) : DatumGetInt16(in->value);
		a->packed += (((int128) 1 << SUM_BITS) + x) * sign;
		if (FE_SQUARES(spec))
			a->squares += (int64) sign * (x * x);
	}
}

static void
int_combine(FeHeap *heap, const FeAccSpec *spec, void *dst, void *src)
{
	if (is_wide(spec))
	{
		Int8Acc    *d = dst;
		Int8Acc    *s = src;

		d->count += s->count;
		d->sum += s->sum;
		if (FE_SQUARES(spec))
		{
			add_squares(heap, d, s->squares);
			fe_exact_combine(heap, &d->spill, &s->spill);
		}
	}
	else
	{
		IntAcc	   *d = dst;
		IntAcc	   *s = src;

		d->packed += s->packed;
		if (FE_SQUARES(spec))
			d->squares += s->squares;
	}
	memset(src, 0, spec->size);
}

static void
int_clear(FeHeap *heap, const FeAccSpec *spec, void *acc)
{
	if (is_wide(spec) && FE_SQUARES(spec))
		fe_exact_free(heap, &((Int8Acc *) acc)->spill);
	memset(acc, 0, spec->size);
}

static Size
int_room(const FeAccSpec *spec, const FeAccInput *in)
{
	int64		x;

	if (!is_wide(spec) || !FE_SQUARES(spec) || in->isnull)
		return 0;
	/* squares below 2^80 would need 2^47 rows to overflow */
	x = DatumGetInt64(in->value);
	if (x > -(INT64CONST(1) << 40) && x < (INT64CONST(1) << 40))
		return 0;
	return fe_exact_room(FE_DIGITS128);
}

/* ---- reading ----------------------------------------------------------- */

static FeAccRead *
int_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->final = final->id;
	r->squares_kept = fe_final_has_squares(final->id);
	Assert(!r->squares_kept || FE_SQUARES(spec));
	r->wide = is_wide(spec);
	r->money = (spec->argtype == MONEYOID);
	fe_big_init(&r->spill, CurrentMemoryContext);
	return r;
}

static void
int_read_reset(FeAccRead *r)
{
	r->count = 0;
	r->sum = 0;
	r->squares = 0;
	fe_big_reset(&r->spill);
}

static void
int_read_add(FeAccRead *r, const void *acc)
{
	int128		squares;

	if (r->wide)
	{
		const Int8Acc *a = acc;

		r->count += a->count;
		r->sum += a->sum;
		if (!r->squares_kept)
			return;
		fe_big_add_exact(&r->spill, a->spill);
		squares = a->squares;
	}
	else
	{
		const IntAcc *a = acc;
		int128		sum = packed_sum(a->packed);

		r->count += (int64) ((a->packed - sum) >> SUM_BITS);
		r->sum += sum;
		if (!r->squares_kept)
			return;
		squares = a->squares;
	}
	if (__builtin_add_overflow(r->squares, squares, &r->squares))
	{
		/* undo the wrapped addition; both go to the exact sum */
		r->squares = (int128) ((uint128) r->squares - (uint128) squares);
		fe_big_add_int128(&r->spill, r->squares, 0);
		r->squares = squares;
	}
}

static Datum
int_sum(FeAccRead *r)
{
	if (r->money)
	{
		if (FE_COMPAT_MONEY_IS_CHECKED && (r->sum > PG_INT64_MAX || r->sum < PG_INT64_MIN))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("money out of range")));
		return Int64GetDatum((int64) r->sum);
	}
	if (r->wide)
		return NumericGetDatum(fe_decimal_from_int128(r->sum, 0));
	if (r->sum > PG_INT64_MAX || r->sum < PG_INT64_MIN)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("bigint out of range")));
	return Int64GetDatum((int64) r->sum);
}

static Datum
int_read_final(FeAccRead *r, bool *isnull)
{
	FeBig		sum;

	if (r->final == FE_FINAL_COUNT)
	{
		*isnull = false;
		return Int64GetDatum(r->count);
	}
	*isnull = r->count <= (fe_final_is_sample(r->final) ? 1 : 0);
	if (*isnull)
		return (Datum) 0;
	if (r->final == FE_FINAL_SUM)
		return int_sum(r);
	if (r->final == FE_FINAL_AVG)
		return DirectFunctionCall2(numeric_div,
								   NumericGetDatum(fe_decimal_from_int128(r->sum, 0)),
								   NumericGetDatum(int64_to_numeric(r->count)));

	fe_big_init(&sum, CurrentMemoryContext);
	fe_big_add_int128(&sum, r->sum, 0);
	fe_big_carry(&sum, FE_DECIMAL_BASE);
	fe_big_add_int128(&r->spill, r->squares, 0);
	fe_big_carry(&r->spill, FE_DECIMAL_BASE);
	return fe_numeric_variance(r->final, r->count, &sum, &r->spill, 0);
}

/* ---- byte form ------------------------------------------------------------ */

/* count, sum; with squares: their sum, for int8 with what was spilled of it */
static void
int_image_write(const FeAccSpec *spec, const void *acc, StringInfo out)
{
	const IntAcc *a = acc;
	const Int8Acc *wide = acc;

	if (is_wide(spec))
	{
		fe_image_put_signed(out, wide->count);
		fe_image_put_int128(out, wide->sum);
	}
	else
	{
		int128		sum = packed_sum(a->packed);

		fe_image_put_signed(out, (int64) ((a->packed - sum) >> SUM_BITS));
		fe_image_put_int128(out, sum);
	}
	if (!FE_SQUARES(spec))
		return;
	if (is_wide(spec))
	{
		fe_image_put_int128(out, wide->squares);
		fe_exact_write(wide->spill, out);
	}
	else
		fe_image_put_int128(out, a->squares);
}

static void
int8_image_read(FeHeap *heap, const FeAccSpec *spec, Int8Acc *acc, FeImageIn *in)
{
	int64		count = fe_image_get_signed(in);
	int128		sum = fe_image_get_int128(in);
	int128		squares;

	if (heap != NULL)
	{
		acc->count = count;
		acc->sum = sum;
	}
	if (!FE_SQUARES(spec))
		return;
	squares = fe_image_get_int128(in);
	if (heap != NULL)
		acc->squares = squares;
	fe_exact_read(heap, heap != NULL ? &acc->spill : NULL, in);
}

static void
int_image_read(FeHeap *heap, const FeAccSpec *spec, void *accp, FeImageIn *in)
{
	IntAcc	   *acc = accp;
	int64		count;
	int128		sum;
	int128		squares = 0;

	if (is_wide(spec))
	{
		int8_image_read(heap, spec, accp, in);
		return;
	}
	count = fe_image_get_narrow(in, 128 - SUM_BITS);
	sum = fe_image_get_int128(in);
	if (sum >> (SUM_BITS - 1) != 0 && sum >> (SUM_BITS - 1) != -1)
		fe_image_fail(in, "a sum is out of range");
	if (FE_SQUARES(spec))
		squares = fe_image_get_int128(in);
	if (heap == NULL)
		return;
	acc->packed = (int128) ((uint128) (int128) count << SUM_BITS) + sum;
	if (FE_SQUARES(spec))
		acc->squares = squares;
}

const FeAccKind fe_acc_moments_int = {
	.name = "integer moments",
	.prepare = int_prepare,
	.apply = int_apply,
	.combine = int_combine,
	.clear = int_clear,
	.room = int_room,
	.read_create = int_read_create,
	.read_reset = int_read_reset,
	.read_add = int_read_add,
	.read_final = int_read_final,
	.image_write = int_image_write,
	.image_read = int_image_read
};
