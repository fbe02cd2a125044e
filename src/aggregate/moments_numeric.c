/*
 * moments_numeric.c
 *		Accumulator kind "numeric moments": sum, avg and the variance family of
 *		numeric, with the text that PostgreSQL gives.
 *
 * Inline, 32 bytes, or 48 with squares: a 128-bit sum in units of 10^-unit and
 * a 128-bit sum of squares in units of 10^-2unit, for rows that all have the
 * display scale `unit`.  That is what a numeric(p,s) column gives, and costs
 * no allocation.  What does not fit that form goes to a NumericMore in the
 * heap:
 *
 * - rows of several display scales: how many of each (a result has the
 *   greatest display scale among the rows now present).  The inline sums stay
 *   in use, in units of the greatest scale seen;
 * - NaN, Infinity, -Infinity: counted, not summed;
 * - numbers too big or too fine for 128 bits, and inline sums when they are
 *   about to overflow: exact decimal sums.  So the value is always
 *   inline + spilled, and nothing has to come back.
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared.  The file is a long one because all of it needs the structs
 * below, which are nobody else's business.
 */
#include "postgres.h"

#include "aggregate/image.h"
#include "aggregate/kinds.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

typedef struct NumericAcc
{
	int64		count:48;		/* finite rows */
	uint64		unit:16;		/* 0 .. FE_DECIMAL_MAX_POW */
	FeRef		more;			/* NumericMore; 0: all rows have scale unit */
	uint32		unused;
	int128		sum;
	int128		squares;		/* FE_ACC_SQUARES only */
} NumericAcc;

typedef struct ScaleCount
{
	int64		count:48;
	uint64		scale:16;
} ScaleCount;

typedef struct NumericMore
{
	int64		special[4];		/* by FeDecimalClass; [0] unused */
	FeRef		sum;			/* exact sums */
	FeRef		squares;
	FeRef		scales;			/* ScaleCount[capacity] */
	uint16		nscales;
	uint16		capacity;
} NumericMore;

#define INT128_MAX	((int128) (~(uint128) 0 >> 1))
#define ABS128(v)	((v) < 0 ? -(uint128) (v) : (uint128) (v))

static inline bool
inline_empty(const FeAccSpec *spec, const NumericAcc *acc)
{
	return acc->more == 0 && acc->count == 0 && acc->sum == 0 &&
		(!FE_SQUARES(spec) || acc->squares == 0);
}

/* v * 10^places; false when that overflows. */
static inline bool
scale_up(int128 *v, int places)
{
	while (places > 0)
	{
		int			step = Min(places, FE_DECIMAL_MAX_POW);

		if (*v == 0)
			return true;
		/* 2^63 * 10^19 < 2^127 spares the usual case the division */
		if ((step > 19 || ABS128(*v) > PG_INT64_MAX) &&
			ABS128(*v) > (uint128) (INT128_MAX / fe_pow10[step]))
			return false;
		*v *= fe_pow10[step];
		places -= step;
	}
	return true;
}

static void
num_prepare(FeAccSpec *spec)
{
	spec->size = FE_SQUARES(spec) ? sizeof(NumericAcc) : offsetof(NumericAcc, squares);
}

/* ---- the out-of-line part ---------------------------------------------- */

static void
count_scale(FeHeap *heap, NumericMore *more, int scale, int64 count)
{
	ScaleCount *s = fe_heap_ptr(more->scales);
	int			i;

	for (i = 0; i < more->nscales; i++)
		if (s[i].scale == scale)
			break;
	if (i < more->nscales)
	{
		s[i].count += count;
		if (s[i].count == 0)
			s[i] = s[--more->nscales];
		return;
	}
	if (count == 0)
		return;
	if (more->nscales == more->capacity)
	{
		int			capacity = more->capacity == 0 ? 4 : more->capacity * 2;
		FeRef		ref = fe_heap_alloc(heap, capacity * sizeof(ScaleCount));

		if (more->capacity > 0)
		{
			memcpy(fe_heap_ptr(ref), s, more->nscales * sizeof(ScaleCount));
			fe_heap_free(heap, more->scales, more->capacity * sizeof(ScaleCount));
		}
		more->scales = ref;
		more->capacity = capacity;
		s = fe_heap_ptr(ref);
	}
	s[more->nscales].scale = scale;
	s[more->nscales].count = count;
	more->nscales++;
}

/* The NumericMore; a new one takes over the rows counted inline. */
static NumericMore *
get_more(FeHeap *heap, NumericAcc *acc)
{
	NumericMore *more;

	if (acc->more == 0)
	{
		acc->more = fe_heap_alloc0(heap, sizeof(NumericMore));
		more = fe_heap_ptr(acc->more);
		count_scale(heap, more, acc->unit, acc->count);
	}
	return fe_heap_ptr(acc->more);
}

static void
spill(FeHeap *heap, FeRef *ref, int128 v, int scale)
{
	int32		digits[FE_DIGITS128];
	int32		lo;
	int			n = fe_decimal_digits(ABS128(v), scale, digits, &lo);

	fe_exact_add(heap, ref, lo, digits, n, v < 0 ? -1 : 1);
}

/* *total += v, both times 10^-scale; the old total is spilled if need be. */
static void
add_or_spill(FeHeap *heap, FeRef *ref, int128 *total, int128 v, int scale)
{
	int128		old = *total;

	if (!__builtin_add_overflow(old, v, total))
		return;
	spill(heap, ref, old, scale);
	*total = v;
}

static void
raise_unit(FeHeap *heap, const FeAccSpec *spec, NumericAcc *acc, NumericMore *more, int unit)
{
	int			places = unit - acc->unit;
	int128		old = acc->sum;

	if (!scale_up(&acc->sum, places))
	{
		spill(heap, &more->sum, old, acc->unit);
		acc->sum = 0;
	}
	if (FE_SQUARES(spec))
	{
		old = acc->squares;
		if (!scale_up(&acc->squares, 2 * places))
		{
			spill(heap, &more->squares, old, 2 * acc->unit);
			acc->squares = 0;
		}
	}
	acc->unit = unit;
}

/* The square of digits (lowest first); 2n digits.  Carries are brought home. */
static void
square_digits(const int32 *digits, int n, int32 *square)
{
	memset(square, 0, 2 * n * sizeof(int32));
	for (int i = 0; i < n; i++)
	{
		int64		carry = 0;

		for (int j = 0; j < n || carry != 0; j++)
		{
			int64		t = square[i + j] + carry;

			if (j < n)
				t += (int64) digits[i] * digits[j];
			square[i + j] = (int32) (t % FE_DECIMAL_BASE);
			carry = t / FE_DECIMAL_BASE;
		}
	}
}

/* Adds a number, and its square, to the exact sums. */
static void
add_exactly(FeHeap *heap, const FeAccSpec *spec, NumericMore *more, const FeDecimal *num, int sign)
{
	int32		local[96];
	int			n = num->ndigits;
	int32		lo = num->weight - n + 1;
	int32	   *digits = local;

	if (n > lengthof(local) / 3)
		digits = palloc(3 * n * sizeof(int32));
	for (int i = 0; i < n; i++)
		digits[i] = fe_decimal_digit(num, n - 1 - i);
	fe_exact_add(heap, &more->sum, lo, digits, n, num->negative ? -sign : sign);
	if (FE_SQUARES(spec))
	{
		square_digits(digits, n, digits + n);
		fe_exact_add(heap, &more->squares, 2 * lo, digits + n, 2 * n, sign);
	}
	if (digits != local)
		pfree(digits);
}

/* ---- writing ------------------------------------------------------------ */

/* Takes a row into the inline form, if that is all it needs. */
static inline bool
apply_inline(const FeAccSpec *spec, NumericAcc *acc, int64 v, int scale, int sign)
{
	int128		sum;
	int128		squares;
	int64		signed_v = sign < 0 ? -v : v;

	if (unlikely(acc->more != 0 || (scale != acc->unit && !inline_empty(spec, acc))))
		return false;
	if (unlikely(__builtin_add_overflow(acc->sum, (int128) signed_v, &sum)))
		return false;
	if (FE_SQUARES(spec))
	{
		if (unlikely(__builtin_add_overflow(acc->squares, (int128) v * signed_v, &squares)))
			return false;
		acc->squares = squares;
	}
	acc->sum = sum;
	acc->count += sign;
	acc->unit = scale;
	return true;
}

/* Any row. */
static pg_noinline void
apply_slow(FeHeap *heap, const FeAccSpec *spec, NumericAcc *acc, Datum value, int sign)
{
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(value);
	FeDecimal	num;
	NumericMore *more;
	int128		v = 0;
	bool		fits;

	fe_decimal_view(datum, &num);
	fits = num.class == FE_DECIMAL_FINITE && fe_decimal_to_int128(&num, &v);
	if (fits && ABS128(v) <= PG_INT64_MAX && apply_inline(spec, acc, (int64) v, num.scale, sign))
		return;

	more = get_more(heap, acc);
	if (num.class != FE_DECIMAL_FINITE)
	{
		more->special[num.class] += sign;
		return;
	}
	count_scale(heap, more, num.scale, sign);
	acc->count += sign;
	if (fits && num.scale > acc->unit)
		raise_unit(heap, spec, acc, more, num.scale);
	if (!fits || !scale_up(&v, acc->unit - num.scale) ||
		(FE_SQUARES(spec) && ABS128(v) > PG_INT64_MAX))
		add_exactly(heap, spec, more, &num, sign);
	else
	{
		add_or_spill(heap, &more->sum, &acc->sum, v * sign, acc->unit);
		if (FE_SQUARES(spec))
			add_or_spill(heap, &more->squares, &acc->squares, v * v * sign, 2 * acc->unit);
	}
	if ((Pointer) datum != DatumGetPointer(value))
		pfree(datum);
}

static void
num_apply(FeHeap *heap, const FeAccSpec *spec, void *acc, const FeAccInput *in, int sign)
{
	int64		v;
	int			scale;

	if (in->isnull)
		return;
	if (likely(fe_decimal_quick(DatumGetPointer(in->value), &scale, &v) &&
			   apply_inline(spec, acc, v, scale, sign)))
		return;
	apply_slow(heap, spec, acc, in->value, sign);
}

static void
combine_more(FeHeap *heap, NumericMore *dst, NumericMore *src)
{
	ScaleCount *s = fe_heap_ptr(src->scales);

	for (int i = 0; i < src->nscales; i++)
		count_scale(heap, dst, s[i].scale, s[i].count);
	for (int i = 1; i < lengthof(src->special); i++)
		dst->special[i] += src->special[i];
	fe_exact_combine(heap, &dst->sum, &src->sum);
	fe_exact_combine(heap, &dst->squares, &src->squares);
}

static void
num_clear(FeHeap *heap, const FeAccSpec *spec, void *accp)
{
	NumericAcc *acc = accp;

	if (acc->more != 0)
	{
		NumericMore *more = fe_heap_ptr(acc->more);

		fe_exact_free(heap, &more->sum);
		fe_exact_free(heap, &more->squares);
		if (more->capacity > 0)
			fe_heap_free(heap, more->scales, more->capacity * sizeof(ScaleCount));
		fe_heap_free(heap, acc->more, sizeof(NumericMore));
	}
	memset(acc, 0, spec->size);
}

static void
num_combine(FeHeap *heap, const FeAccSpec *spec, void *dstp, void *srcp)
{
	NumericAcc *dst = dstp;
	NumericAcc *src = srcp;
	NumericMore *more;
	int128		sum;
	int128		squares = 0;

	if (inline_empty(spec, src))
	{
		memset(src, 0, spec->size);
		return;
	}
	if (inline_empty(spec, dst))
	{
		memcpy(dst, src, spec->size);
		memset(src, 0, spec->size);
		return;
	}
	if (dst->more == 0 && src->more == 0 && dst->unit == src->unit &&
		!__builtin_add_overflow(dst->sum, src->sum, &sum) &&
		(!FE_SQUARES(spec) || !__builtin_add_overflow(dst->squares, src->squares, &squares)))
	{
		dst->count += src->count;
		dst->sum = sum;
		if (FE_SQUARES(spec))
			dst->squares = squares;
	}
	else
	{
		NumericMore *srcmore = get_more(heap, src);

		more = get_more(heap, dst);
		combine_more(heap, more, srcmore);
		dst->count += src->count;
		if (src->unit > dst->unit)
			raise_unit(heap, spec, dst, more, src->unit);
		else if (src->unit < dst->unit)
		{
			raise_unit(heap, spec, src, srcmore, dst->unit);
			fe_exact_combine(heap, &more->sum, &srcmore->sum);
			fe_exact_combine(heap, &more->squares, &srcmore->squares);
		}
		add_or_spill(heap, &more->sum, &dst->sum, src->sum, dst->unit);
		if (FE_SQUARES(spec))
			add_or_spill(heap, &more->squares, &dst->squares, src->squares, 2 * dst->unit);
	}
	num_clear(heap, spec, src);
}

static Size
num_room(const FeAccSpec *spec, const FeAccInput *in)
{
	Size		size = fe_heap_chunk_size(sizeof(NumericMore)) +
		fe_heap_chunk_size(4 * sizeof(ScaleCount));
	FeDecimal	num;
	int128		v;

	if (in->isnull)
		return 0;
	fe_decimal_view(PG_DETOAST_DATUM_PACKED(in->value), &num);
	if (num.class == FE_DECIMAL_FINITE &&
		(!fe_decimal_to_int128(&num, &v) || ABS128(v) > PG_INT64_MAX))
	{
		size += fe_exact_room(num.ndigits + FE_DIGITS128);
		if (FE_SQUARES(spec))
			size += fe_exact_room(2 * num.ndigits + FE_DIGITS128);
	}
	return size;
}

/* ---- reading ------------------------------------------------------------ */

struct FeAccRead
{
	int			final;
	bool		squares_kept;
	int64		count;
	int64		special[4];
	int			unit;
	int128		sum;
	int128		squares;
	FeBig		bigsum;
	FeBig		bigsquares;
	MemoryContext cxt;
	int			nscales;
	int			capacity;
	ScaleCount *scales;
};

static FeAccRead *
num_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->final = final->id;
	r->squares_kept = fe_final_has_squares(final->id);
	Assert(!r->squares_kept || FE_SQUARES(spec));
	r->cxt = CurrentMemoryContext;
	fe_big_init(&r->bigsum, r->cxt);
	fe_big_init(&r->bigsquares, r->cxt);
	r->capacity = 8;
	r->scales = palloc(r->capacity * sizeof(ScaleCount));
	return r;
}

static void
num_read_reset(FeAccRead *r)
{
	r->count = 0;
	memset(r->special, 0, sizeof(r->special));
	r->unit = 0;
	r->sum = r->squares = 0;
	fe_big_reset(&r->bigsum);
	fe_big_reset(&r->bigsquares);
	r->nscales = 0;
}

static void
read_scale(FeAccRead *r, int scale, int64 count)
{
	if (count == 0)
		return;
	for (int i = 0; i < r->nscales; i++)
	{
		if (r->scales[i].scale == scale)
		{
			r->scales[i].count += count;
			return;
		}
	}
	if (r->nscales == r->capacity)
	{
		r->capacity *= 2;
		r->scales = repalloc(r->scales, r->capacity * sizeof(ScaleCount));
	}
	r->scales[r->nscales].scale = scale;
	r->scales[r->nscales].count = count;
	r->nscales++;
}

/* *total += v, or to the big sum when the unit differs or it overflows. */
static void
read_value(int128 *total, FeBig *big, int128 v, bool same_unit, int scale)
{
	int128		sum;

	if (same_unit && !__builtin_add_overflow(*total, v, &sum))
		*total = sum;
	else
		fe_big_add_int128(big, v, scale);
}

static void
num_read_add(FeAccRead *r, const void *accp)
{
	const NumericAcc *acc = accp;
	bool		same;

	if (r->sum == 0 && r->squares == 0)
		r->unit = acc->unit;
	same = (r->unit == acc->unit);
	r->count += acc->count;
	read_value(&r->sum, &r->bigsum, acc->sum, same, acc->unit);
	if (r->squares_kept)
		read_value(&r->squares, &r->bigsquares, acc->squares, same, 2 * acc->unit);
	if (acc->more == 0)
		read_scale(r, acc->unit, acc->count);
	else
	{
		const NumericMore *more = fe_heap_ptr(acc->more);
		const ScaleCount *s = fe_heap_ptr(more->scales);

		for (int i = 0; i < more->nscales; i++)
			read_scale(r, s[i].scale, s[i].count);
		for (int i = 1; i < lengthof(more->special); i++)
			r->special[i] += more->special[i];
		fe_big_add_exact(&r->bigsum, more->sum);
		if (r->squares_kept)
			fe_big_add_exact(&r->bigsquares, more->squares);
	}
}

/* The sum as a numeric of the given display scale. */
static Numeric
read_sum(FeAccRead *r, int scale)
{
	int128		v = r->sum;
	int			unit = r->unit;

	if (r->bigsum.n > 0)
	{
		fe_big_add_int128(&r->bigsum, r->sum, r->unit);
		r->sum = 0;
		fe_big_carry(&r->bigsum, FE_DECIMAL_BASE);
		return fe_decimal_from_big(&r->bigsum, scale);
	}
	if (unit > scale)
		v /= fe_pow10[unit - scale];	/* exact: no row has these places */
	else if (!scale_up(&v, scale - unit))
	{
		fe_big_add_int128(&r->bigsum, r->sum, r->unit);
		r->sum = 0;
		fe_big_carry(&r->bigsum, FE_DECIMAL_BASE);
		return fe_decimal_from_big(&r->bigsum, scale);
	}
	return fe_decimal_from_int128(v, scale);
}

static Datum
read_variance(FeAccRead *r, int scale)
{
	fe_big_add_int128(&r->bigsum, r->sum, r->unit);
	r->sum = 0;
	fe_big_carry(&r->bigsum, FE_DECIMAL_BASE);
	fe_big_add_int128(&r->bigsquares, r->squares, 2 * r->unit);
	r->squares = 0;
	fe_big_carry(&r->bigsquares, FE_DECIMAL_BASE);
	return fe_numeric_variance(r->final, r->count, &r->bigsum, &r->bigsquares, scale);
}

static Datum
num_read_final(FeAccRead *r, bool *isnull)
{
	int64		nan = r->special[FE_DECIMAL_NAN];
	int64		pinf = r->special[FE_DECIMAL_PINF];
	int64		ninf = r->special[FE_DECIMAL_NINF];
	int64		total = r->count + nan + pinf + ninf;
	int			scale = 0;
	Numeric		sum;

	if (r->final == FE_FINAL_COUNT)
	{
		*isnull = false;
		return Int64GetDatum(total);
	}
	*isnull = total <= (fe_final_is_sample(r->final) ? 1 : 0);
	if (*isnull)
		return (Datum) 0;
	if (nan > 0 || (pinf > 0 && ninf > 0) ||
		(fe_final_has_squares(r->final) && (pinf > 0 || ninf > 0)))
		return NumericGetDatum(fe_decimal_special(FE_DECIMAL_NAN));
	if (pinf > 0 || ninf > 0)
		return NumericGetDatum(fe_decimal_special(pinf > 0 ? FE_DECIMAL_PINF : FE_DECIMAL_NINF));

	for (int i = 0; i < r->nscales; i++)
		if (r->scales[i].count > 0)
			scale = Max(scale, r->scales[i].scale);
	if (fe_final_has_squares(r->final))
		return read_variance(r, scale);
	sum = read_sum(r, scale);
	if (r->final == FE_FINAL_SUM)
		return NumericGetDatum(sum);
	return DirectFunctionCall2(numeric_div, NumericGetDatum(sum),
							   NumericGetDatum(int64_to_numeric(r->count)));
}

/* ---- byte form ------------------------------------------------------------ */

/*
 * count; 2 * unit, + 1 if there is a NumericMore; sum; squares.  Then of the
 * NumericMore the specials, the number of scales and each with its count, and
 * the exact sums.
 */
static void
num_image_write(const FeAccSpec *spec, const void *accp, StringInfo out)
{
	const NumericAcc *acc = accp;
	const NumericMore *more;
	const ScaleCount *s;

	fe_image_put_signed(out, acc->count);
	fe_image_put(out, acc->unit * 2 + (acc->more != 0));
	fe_image_put_int128(out, acc->sum);
	if (FE_SQUARES(spec))
		fe_image_put_int128(out, acc->squares);
	if (acc->more == 0)
		return;
	more = fe_heap_ptr(acc->more);
	s = fe_heap_ptr(more->scales);
	for (int i = 1; i < lengthof(more->special); i++)
		fe_image_put_signed(out, more->special[i]);
	fe_image_put(out, more->nscales);
	for (int i = 0; i < more->nscales; i++)
	{
		fe_image_put(out, s[i].scale);
		fe_image_put_signed(out, s[i].count);
	}
	fe_exact_write(more->sum, out);
	fe_exact_write(more->squares, out);
}

#define MAX_SCALE	0x3FFF		/* of a numeric */

static void
read_scales(FeHeap *heap, NumericMore *more, FeImageIn *in)
{
	uint32		n = fe_image_get_count(in, 2);
	ScaleCount *s = NULL;

	if (n > MAX_SCALE + 1)
		fe_image_fail(in, "there are too many display scales");
	if (n == 0 || in->error != NULL)
		return;
	if (heap == NULL)
		fe_image_add_room(in, n * sizeof(ScaleCount));
	else
	{
		more->scales = fe_heap_alloc(heap, n * sizeof(ScaleCount));
		more->nscales = more->capacity = n;
		s = fe_heap_ptr(more->scales);
	}
	for (uint32 i = 0; i < n; i++)
	{
		uint64		scale = fe_image_get(in);
		int64		count = fe_image_get_narrow(in, 48);

		if (scale > MAX_SCALE)
			fe_image_fail(in, "a display scale is out of range");
		if (s != NULL)
		{
			s[i].scale = scale;
			s[i].count = count;
		}
	}
}

static void
num_image_read(FeHeap *heap, const FeAccSpec *spec, void *accp, FeImageIn *in)
{
	NumericAcc *acc = accp;
	NumericMore *more = NULL;
	int64		count = fe_image_get_narrow(in, 48);
	uint64		unit = fe_image_get(in);
	int128		sum = fe_image_get_int128(in);
	int128		squares = FE_SQUARES(spec) ? fe_image_get_int128(in) : 0;

	if (unit / 2 > FE_DECIMAL_MAX_POW)
		fe_image_fail(in, "a display scale is out of range");
	if (heap != NULL)
	{
		acc->count = count;
		acc->unit = unit / 2;
		acc->sum = sum;
		if (FE_SQUARES(spec))
			acc->squares = squares;
	}
	if (unit % 2 == 0 || in->error != NULL)
		return;
	if (heap == NULL)
		fe_image_add_room(in, sizeof(NumericMore));
	else
	{
		acc->more = fe_heap_alloc0(heap, sizeof(NumericMore));
		more = fe_heap_ptr(acc->more);
	}
	for (int i = 1; i < lengthof(more->special); i++)
	{
		int64		rows = fe_image_get_signed(in);

		if (more != NULL)
			more->special[i] = rows;
	}
	read_scales(heap, more, in);
	fe_exact_read(heap, more != NULL ? &more->sum : NULL, in);
	fe_exact_read(heap, more != NULL ? &more->squares : NULL, in);
}

const FeAccKind fe_acc_moments_numeric = {
	.name = "numeric moments",
	.prepare = num_prepare,
	.apply = num_apply,
	.combine = num_combine,
	.clear = num_clear,
	.room = num_room,
	.read_create = num_read_create,
	.read_reset = num_read_reset,
	.read_add = num_read_add,
	.read_final = num_read_final,
	.image_write = num_image_write,
	.image_read = num_image_read
};
