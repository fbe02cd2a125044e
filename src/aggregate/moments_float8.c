/*
 * moments_float8.c
 *		Accumulator kind "float moments": sum, avg and the variance family of
 *		float8, and avg and the variance family of float4 (which PostgreSQL
 *		computes in float8 too).
 *
 * Why exact.  Rows leave again, and a sum that once held 1e300 must give back
 * the 1 that was beside it: no floating-point representation of fixed width
 * does (113 bits lose it as surely as 53), and the squares need twice the
 * width.  A double is an integer times a power of two, though, so its sum and
 * the sum of its squares can be kept exactly in fixed point; then the order
 * does not matter, a retraction leaves no trace, equal values have variance 0,
 * and the result is rounded once.  It costs about as much as compensated
 * (double-double) sums, and less than __float128, which is done in software.
 *
 * Inline, 32 bytes, or 64 with squares: a window of 128 (256) bits whose
 * lowest bit is worth 2^(anchor - 1074), and its square for the squares.  It
 * is placed by the first row so that values 2^22 times smaller and 2^32 times
 * greater fit; it moves down while there is room.  Rows that do not fit, and
 * the window's content when it is about to overflow, go to exact binary sums
 * in the heap, as large as the spread of the exponents demands (1 kB for all
 * of float8).  NaN and infinities are counted there as well.
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared.  The file is a long one because all of it needs the structs
 * below, which are nobody else's business.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate/image.h"
#include "aggregate/int256.h"
#include "aggregate/moments_float8.h"
#include "catalog/pg_type.h"
#include "utils/float.h"
#include "utils/memutils.h"

typedef struct FloatAcc
{
	int64		count:48;		/* finite rows */
	uint64		anchor:16;		/* position of bit 0, multiple of 16 */
	FeRef		more;			/* FloatMore */
	uint32		unused;
	int128		sum;
	uint64		squares[4];		/* FE_ACC_SQUARES only; two's complement */
} FloatAcc;

typedef struct FloatMore
{
	int64		nan;
	int64		pinf;
	int64		ninf;
	FeRef		sum;			/* unit 2^-1074 */
	FeRef		squares;		/* unit 2^-2148 */
} FloatMore;

/* Positions of bits count from the least double's, 2^-1074. */
#define LOWEST_EXPONENT	(-1074)
#define ANCHOR_STEP		FE_BINARY_BITS	/* so that windows begin with a digit */
#define MAX_POSITION	2045	/* of the greatest double's mantissa */
#define ROOM_BELOW		22		/* bits a new window leaves below the first value */
#define MAX_SHIFT		54		/* of a 53-bit mantissa in the window */
#define SUM_LIMIT		125		/* bits the sum may have; one value less than 2^107 */
#define SQUARES_LIMIT	253

static void
float_prepare(FeAccSpec *spec)
{
	spec->size = FE_SQUARES(spec) ? sizeof(FloatAcc) : offsetof(FloatAcc, squares);
}

/* ---- the out-of-line part ------------------------------------------------ */

static FloatMore *
get_more(FeHeap *heap, FloatAcc *acc)
{
	if (acc->more == 0)
		acc->more = fe_heap_alloc0(heap, sizeof(FloatMore));
	return fe_heap_ptr(acc->more);
}

/* Empties the window into the exact sums. */
static void
spill_window(FeHeap *heap, const FeAccSpec *spec, FloatAcc *acc, FloatMore *more)
{
	int32		digits[FE_DIGITS256];
	int			lo = acc->anchor / FE_BINARY_BITS;
	int			n;

	n = fe_digits_of_uint128(acc->sum < 0 ? -(uint128) acc->sum : (uint128) acc->sum,
							 FE_BINARY_BASE, digits);
	fe_exact_add(heap, &more->sum, lo, digits, n, acc->sum < 0 ? -1 : 1);
	acc->sum = 0;
	if (FE_SQUARES(spec) && !is_zero256(acc->squares))
	{
		uint64		abs[4];
		bool		negative = abs256(acc->squares, abs);

		n = digits256(abs, digits);
		fe_exact_add(heap, &more->squares, 2 * lo, digits, n, negative ? -1 : 1);
		memset(acc->squares, 0, sizeof(acc->squares));
	}
}

/* Adds one value, and its square, to the exact sums. */
static void
add_exactly(FeHeap *heap, const FeAccSpec *spec, FloatMore *more, FeFloatParts p, int sign)
{
	int32		digits[FE_DIGITS256];
	int			n;

	n = fe_digits_of_uint128((uint128) p.mantissa << (p.position % FE_BINARY_BITS),
							 FE_BINARY_BASE, digits);
	fe_exact_add(heap, &more->sum, p.position / FE_BINARY_BITS, digits, n,
				 p.negative ? -sign : sign);
	if (FE_SQUARES(spec))
	{
		int			position = 2 * p.position;

		n = fe_digits_of_uint128(((uint128) p.mantissa * p.mantissa) << (position % FE_BINARY_BITS),
								 FE_BINARY_BASE, digits);
		fe_exact_add(heap, &more->squares, position / FE_BINARY_BITS, digits, n, sign);
	}
}

/* ---- writing -------------------------------------------------------------- */

static inline bool
window_empty(const FeAccSpec *spec, const FloatAcc *acc)
{
	return acc->sum == 0 && (!FE_SQUARES(spec) || is_zero256(acc->squares));
}

/* Moves the window's lowest bit down to a position; false: no room. */
static bool
lower_window(const FeAccSpec *spec, FloatAcc *acc, int anchor)
{
	int			shift = acc->anchor - anchor;

	if (!fits128(acc->sum, SUM_LIMIT - shift))
		return false;
	if (FE_SQUARES(spec))
	{
		if (!fits256(acc->squares, SQUARES_LIMIT - 2 * shift))
			return false;
		shift256(acc->squares, 2 * shift);
	}
	acc->sum = (int128) ((uint128) acc->sum << shift);
	acc->anchor = anchor;
	return true;
}

/* Makes the value a multiple of the window's lowest bit, and small enough. */
static inline bool
fit_window(const FeAccSpec *spec, FloatAcc *acc, FeFloatParts *p)
{
	int			below = acc->anchor - p->position;

	if (likely(below <= 0 && below >= -MAX_SHIFT))
		return true;
	if (window_empty(spec, acc))
	{
		acc->anchor = Max(p->position - ROOM_BELOW, 0) / ANCHOR_STEP * ANCHOR_STEP;
		return true;
	}
	if (below <= 0)
		return below >= -MAX_SHIFT;
	if (below < 53 && (p->mantissa & ((UINT64CONST(1) << below) - 1)) == 0)
	{
		p->mantissa >>= below;
		p->position = acc->anchor;
		return true;
	}
	return lower_window(spec, acc, p->position / ANCHOR_STEP * ANCHOR_STEP);
}

static void
float_apply_special(FeHeap *heap, FloatAcc *acc, double x, int sign)
{
	FloatMore  *more = get_more(heap, acc);

	if (isnan(x))
		more->nan += sign;
	else if (x > 0)
		more->pinf += sign;
	else
		more->ninf += sign;
}

static void
float_apply(FeHeap *heap, const FeAccSpec *spec, void *accp, const FeAccInput *in, int sign)
{
	FloatAcc   *acc = accp;
	FeFloatParts	p;
	double		x;
	int			shift;
	int64		high;

	if (in->isnull)
		return;
	x = spec->argtype == FLOAT4OID ? DatumGetFloat4(in->value) : DatumGetFloat8(in->value);
	if (unlikely(isnan(x) || isinf(x)))
	{
		float_apply_special(heap, acc, x, sign);
		return;
	}
	acc->count += sign;
	p = fe_split_float(x);
	if (p.mantissa == 0)
		return;
	if (unlikely(!fit_window(spec, acc, &p)))
	{
		add_exactly(heap, spec, get_more(heap, acc), p, sign);
		return;
	}
	shift = p.position - acc->anchor;
	{
		int128		v = (int128) p.mantissa << shift;

		acc->sum += (p.negative == (sign > 0)) ? -v : v;
	}
	high = (int64) (acc->sum >> 64);
	if (FE_SQUARES(spec))
	{
		uint64		v[4];

		spread256((uint128) p.mantissa * p.mantissa, 2 * shift, v);
		add256(acc->squares, v, sign < 0);
		/* the same test as below: 2^61 in the highest word is far enough */
		if (unlikely((acc->squares[3] + (UINT64CONST(1) << 61)) >> 62 != 0))
			high = PG_INT64_MAX;
	}
	if (unlikely((((uint64) high) + (UINT64CONST(1) << 61)) >> 62 != 0))
		spill_window(heap, spec, acc, get_more(heap, acc));
}

static void
float_clear(FeHeap *heap, const FeAccSpec *spec, void *accp)
{
	FloatAcc   *acc = accp;

	if (acc->more != 0)
	{
		FloatMore  *more = fe_heap_ptr(acc->more);

		fe_exact_free(heap, &more->sum);
		fe_exact_free(heap, &more->squares);
		fe_heap_free(heap, acc->more, sizeof(FloatMore));
	}
	memset(acc, 0, spec->size);
}

/* Brings two windows to the same place, or empties the higher one. */
static void
align_windows(FeHeap *heap, const FeAccSpec *spec, FloatAcc *dst, FloatAcc *src)
{
	FloatAcc   *higher = dst->anchor > src->anchor ? dst : src;
	FloatAcc   *lower = higher == dst ? src : dst;

	if (window_empty(spec, src))
		src->anchor = dst->anchor;
	else if (window_empty(spec, dst))
		dst->anchor = src->anchor;
	else if (higher->anchor != lower->anchor && !lower_window(spec, higher, lower->anchor))
	{
		spill_window(heap, spec, higher, get_more(heap, higher));
		higher->anchor = lower->anchor;
	}
}

static void
float_combine(FeHeap *heap, const FeAccSpec *spec, void *dstp, void *srcp)
{
	FloatAcc   *dst = dstp;
	FloatAcc   *src = srcp;
	bool		full;

	align_windows(heap, spec, dst, src);
	dst->count += src->count;
	dst->sum += src->sum;
	full = !fits128(dst->sum, SUM_LIMIT);
	if (FE_SQUARES(spec))
	{
		add256(dst->squares, src->squares, false);
		full |= !fits256(dst->squares, SQUARES_LIMIT);
	}
	if (full)
		spill_window(heap, spec, dst, get_more(heap, dst));
	if (src->more != 0)
	{
		FloatMore  *from = fe_heap_ptr(src->more);
		FloatMore  *to = get_more(heap, dst);

		to->nan += from->nan;
		to->pinf += from->pinf;
		to->ninf += from->ninf;
		fe_exact_combine(heap, &to->sum, &from->sum);
		fe_exact_combine(heap, &to->squares, &from->squares);
	}
	float_clear(heap, spec, src);
}

/*
 * Whether a row needs anything depends on the window, which is not known here:
 * numbers of a usual size are taken to fit, and others to be neighbours of
 * each other (the exact sums grow to 3.2 kB at most).
 */
static Size
float_room(const FeAccSpec *spec, const FeAccInput *in)
{
	double		x;

	if (in->isnull)
		return 0;
	x = spec->argtype == FLOAT4OID ? DatumGetFloat4(in->value) : DatumGetFloat8(in->value);
	if (x == 0 || (fabs(x) > 1e-10 && fabs(x) < 1e15))
		return 0;
	return fe_heap_chunk_size(sizeof(FloatMore)) + 2 * fe_heap_chunk_size(128);
}

/* ---- reading -------------------------------------------------------------- */

struct FeAccRead
{
	const FeAccSpec *spec;
	int			final;
	int64		count;
	int64		nan;
	int64		pinf;
	int64		ninf;
	FloatAcc	window;			/* while all windows are at one place */
	FeBig		sum;
	FeBig		squares;
	MemoryContext cxt;
};

static FeAccRead *
float_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->spec = spec;
	r->final = final->id;
	Assert(!fe_final_has_squares(final->id) || FE_SQUARES(spec));
	r->cxt = CurrentMemoryContext;
	fe_big_init(&r->sum, r->cxt);
	fe_big_init(&r->squares, r->cxt);
	return r;
}

static void
float_read_reset(FeAccRead *r)
{
	r->count = r->nan = r->pinf = r->ninf = 0;
	memset(&r->window, 0, sizeof(r->window));
	fe_big_reset(&r->sum);
	fe_big_reset(&r->squares);
}

/* Adds a window's content to the big sums. */
static void
read_window(FeAccRead *r, const FloatAcc *acc)
{
	int32		digits[FE_DIGITS256];
	int			lo = acc->anchor / FE_BINARY_BITS;
	int			n;

	n = fe_digits_of_uint128(acc->sum < 0 ? -(uint128) acc->sum : (uint128) acc->sum,
							 FE_BINARY_BASE, digits);
	fe_big_add(&r->sum, lo, digits, n, acc->sum < 0 ? -1 : 1);
	if (fe_final_has_squares(r->final) && !is_zero256(acc->squares))
	{
		uint64		abs[4];
		bool		negative = abs256(acc->squares, abs);

		n = digits256(abs, digits);
		fe_big_add(&r->squares, 2 * lo, digits, n, negative ? -1 : 1);
	}
}

static void
float_read_add(FeAccRead *r, const void *accp)
{
	const FloatAcc *acc = accp;
	bool		squares = fe_final_has_squares(r->final);
	FloatAcc   *w = &r->window;

	r->count += acc->count;
	if (w->sum == 0 && is_zero256(w->squares))
		w->anchor = acc->anchor;
	if (w->anchor == acc->anchor && fits128(w->sum, SUM_LIMIT) &&
		(!squares || fits256(w->squares, SQUARES_LIMIT)))
	{
		w->sum += acc->sum;
		if (squares)
			add256(w->squares, acc->squares, false);
	}
	else
		read_window(r, acc);
	if (acc->more != 0)
	{
		const FloatMore *more = fe_heap_ptr(acc->more);

		r->nan += more->nan;
		r->pinf += more->pinf;
		r->ninf += more->ninf;
		fe_big_add_exact(&r->sum, more->sum);
		if (squares)
			fe_big_add_exact(&r->squares, more->squares);
	}
}

double
fe_float_deviations(int64 n, const FeBig *products, const FeBig *a, const FeBig *b)
{
	FeBig		count;
	FeBig		product;
	FeBig		square;
	int32		digits[FE_DIGITS128];
	double		m;
	int			exponent;
	double		result;

	fe_big_init(&count, CurrentMemoryContext);
	fe_big_init(&product, CurrentMemoryContext);
	fe_big_init(&square, CurrentMemoryContext);
	fe_big_add(&count, 0, digits, fe_digits_of_uint128(n, FE_BINARY_BASE, digits), 1);
	fe_big_carry(&count, FE_BINARY_BASE);
	fe_big_mul(&product, &count, products, FE_BINARY_BASE);
	fe_big_mul(&square, a, b, FE_BINARY_BASE);
	fe_big_sub_big(&product, &square);
	fe_big_carry(&product, FE_BINARY_BASE);
	if (product.sign == 0)
		return 0.0;
	m = fe_big_frexp(&product, &exponent);
	result = ldexp(m / (double) n, exponent + 2 * LOWEST_EXPONENT);
	if (isinf(result))
		float_overflow_error();
	return result;
}

void
fe_float_totals(FeAccRead *r, FeFloatTotals *totals)
{
	Assert(fe_final_has_squares(r->final));
	read_window(r, &r->window);
	memset(&r->window, 0, sizeof(r->window));
	fe_big_carry(&r->sum, FE_BINARY_BASE);
	fe_big_carry(&r->squares, FE_BINARY_BASE);
	totals->count = r->count;
	totals->nan = r->nan;
	totals->pinf = r->pinf;
	totals->ninf = r->ninf;
	totals->sum = &r->sum;
	totals->squares = &r->squares;
}

/* Of a canonical sum. */
static double
rounded_sum(const FeBig *sum)
{
	int			exponent;
	double		result;

	if (sum->sign == 0)
		return 0.0;
	result = fe_big_frexp(sum, &exponent);
	result = ldexp(result, exponent + LOWEST_EXPONENT);
	if (isinf(result))
		float_overflow_error();
	return result;
}

double
fe_float_sum(const FeFloatTotals *totals)
{
	if (totals->nan > 0 || (totals->pinf > 0 && totals->ninf > 0))
		return get_float8_nan();
	if (totals->pinf > 0 || totals->ninf > 0)
		return totals->pinf > 0 ? get_float8_infinity() : -get_float8_infinity();
	return rounded_sum(totals->sum);
}

static Datum
float_read_final(FeAccRead *r, bool *isnull)
{
	int64		total = r->count + r->nan + r->pinf + r->ninf;
	double		result;

	if (r->final == FE_FINAL_COUNT)
	{
		*isnull = false;
		return Int64GetDatum(total);
	}
	*isnull = total <= (fe_final_is_sample(r->final) ? 1 : 0);
	if (*isnull)
		return (Datum) 0;
	if (r->nan > 0 || (r->pinf > 0 && r->ninf > 0) ||
		(fe_final_has_squares(r->final) && (r->pinf > 0 || r->ninf > 0)))
		return Float8GetDatum(get_float8_nan());
	if (r->pinf > 0 || r->ninf > 0)
		return Float8GetDatum(r->pinf > 0 ? get_float8_infinity() : -get_float8_infinity());

	read_window(r, &r->window);
	memset(&r->window, 0, sizeof(r->window));
	fe_big_carry(&r->sum, FE_BINARY_BASE);
	if (fe_final_has_squares(r->final))
	{
		fe_big_carry(&r->squares, FE_BINARY_BASE);
		result = fe_float_deviations(r->count, &r->squares, &r->sum, &r->sum);
		result = Max(result, 0.0);
		result /= fe_final_is_sample(r->final) ? r->count - 1 : r->count;
		if (r->final == FE_FINAL_STDDEV_POP || r->final == FE_FINAL_STDDEV_SAMP)
			result = sqrt(result);
		return Float8GetDatum(result);
	}
	result = rounded_sum(&r->sum);
	if (r->final == FE_FINAL_AVG)
		result /= (double) r->count;
	return Float8GetDatum(result);
}

/* ---- byte form ------------------------------------------------------------ */

/* 256 bits: 2 * bytes that count, + 1 if negative; those bytes of the absolute */
static void
write_squares(const uint64 *squares, StringInfo out)
{
	uint64		abs[4];
	bool		negative = abs256(squares, abs);
	int			n = 32;

	while (n > 0 && ((abs[(n - 1) / 8] >> (8 * ((n - 1) % 8))) & 0xFF) == 0)
		n--;
	fe_image_put(out, n * 2 + negative);
	for (int i = 0; i < n; i += 8)
		fe_image_put_fixed(out, abs[i / 8], Min(n - i, 8));
}

static void
read_squares(uint64 *squares, FeImageIn *in)
{
	uint64		head = fe_image_get(in);
	uint64		abs[4] = {0};
	int			n = (int) (head / 2);

	memset(squares, 0, sizeof(abs));
	if (head / 2 > sizeof(abs))
	{
		fe_image_fail(in, "a sum is out of range");
		return;
	}
	for (int i = 0; i < n; i += 8)
		abs[i / 8] = fe_image_get_fixed(in, Min(n - i, 8));
	add256(squares, abs, head % 2 != 0);
	/* with a bit to spare: the limits themselves are allowed on one side */
	if (!fits256(abs, SQUARES_LIMIT + 1) || (int64) abs[3] < 0)
		fe_image_fail(in, "a sum is out of range");
}

/*
 * count; digits below the window, times 2, + 1 if there is a FloatMore; sum;
 * squares.  Then of the FloatMore the counts and the exact sums.
 */
static void
float_image_write(const FeAccSpec *spec, const void *accp, StringInfo out)
{
	const FloatAcc *acc = accp;
	const FloatMore *more;

	fe_image_put_signed(out, acc->count);
	fe_image_put(out, acc->anchor / ANCHOR_STEP * 2 + (acc->more != 0));
	fe_image_put_int128(out, acc->sum);
	if (FE_SQUARES(spec))
		write_squares(acc->squares, out);
	if (acc->more == 0)
		return;
	more = fe_heap_ptr(acc->more);
	fe_image_put_signed(out, more->nan);
	fe_image_put_signed(out, more->pinf);
	fe_image_put_signed(out, more->ninf);
	fe_exact_write(more->sum, out);
	fe_exact_write(more->squares, out);
}

static void
read_more(FeHeap *heap, FloatAcc *acc, FeImageIn *in)
{
	FloatMore  *more = NULL;
	int64		nan;
	int64		pinf;
	int64		ninf;

	if (heap == NULL)
		fe_image_add_room(in, sizeof(FloatMore));
	else
		more = get_more(heap, acc);
	nan = fe_image_get_signed(in);
	pinf = fe_image_get_signed(in);
	ninf = fe_image_get_signed(in);
	if (more != NULL)
	{
		more->nan = nan;
		more->pinf = pinf;
		more->ninf = ninf;
	}
	fe_exact_read(heap, more != NULL ? &more->sum : NULL, in);
	fe_exact_read(heap, more != NULL ? &more->squares : NULL, in);
}

static void
float_image_read(FeHeap *heap, const FeAccSpec *spec, void *accp, FeImageIn *in)
{
	FloatAcc   *acc = accp;
	uint64		squares[4];
	int64		count = fe_image_get_narrow(in, 48);
	uint64		anchor = fe_image_get(in);
	int128		sum = fe_image_get_int128(in);

	if (anchor / 2 > MAX_POSITION / ANCHOR_STEP || !fits128(sum, SUM_LIMIT + 1))
		fe_image_fail(in, "a sum is out of range");
	if (FE_SQUARES(spec))
		read_squares(squares, in);
	if (heap != NULL)
	{
		acc->count = count;
		acc->anchor = anchor / 2 * ANCHOR_STEP;
		acc->sum = sum;
		if (FE_SQUARES(spec))
			memcpy(acc->squares, squares, sizeof(squares));
	}
	if (anchor % 2 != 0 && in->error == NULL)
		read_more(heap, acc, in);
}

const FeAccKind fe_acc_moments_float8 = {
	.name = "float moments",
	.prepare = float_prepare,
	.apply = float_apply,
	.combine = float_combine,
	.clear = float_clear,
	.room = float_room,
	.read_create = float_read_create,
	.read_reset = float_read_reset,
	.read_add = float_read_add,
	.read_final = float_read_final,
	.image_write = float_image_write,
	.image_read = float_image_read
};
