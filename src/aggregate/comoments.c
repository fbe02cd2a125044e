/*
 * comoments.c
 *		Accumulator kind "float comoments": corr, covar_* and regr_* of float8.
 *
 * Of the rows in which neither is NULL: the moments of y and of x as
 * moments_float8.c keeps them, and the sum of their products, exact as well, in
 * the heap.  So rows leave without a trace, and what PostgreSQL adds up row by
 * row (Youngs and Cramer) comes out rounded once; its own final functions make
 * the result.  An x (or y) that is the same in all rows has a sum of squared
 * deviations of exactly 0.
 *
 * The second argument comes as the "order" of a row: its eight bytes.
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate/image.h"
#include "aggregate/moments_float8.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"

#define HALF_SIZE	64			/* of a float accumulator with squares */

typedef struct CoAcc
{
	uint64		y[HALF_SIZE / sizeof(uint64)];
	uint64		x[HALF_SIZE / sizeof(uint64)];
	FeRef		products;		/* FeExact, unit 2^-2148 */
	uint32		unused;
} CoAcc;

static const FeAccKind *const half = &fe_acc_moments_float8;
static const FeAccSpec half_spec = {
	.kind = &fe_acc_moments_float8,
	.flags = FE_ACC_SQUARES,
	.argtype = FLOAT8OID,
	.arglen = sizeof(float8),
	.argbyval = true,
	.size = HALF_SIZE
};
static const FeFinal half_final = {"var_pop", FE_FINAL_VAR_POP, FE_ACC_SQUARES, NULL};

static void
co_prepare(FeAccSpec *spec)
{
	spec->size = sizeof(CoAcc);
}

/* ---- writing -------------------------------------------------------------------- */

static inline void
split_input(const FeAccInput *in, FeAccInput *y, FeAccInput *x)
{
	memset(y, 0, sizeof(FeAccInput));
	memset(x, 0, sizeof(FeAccInput));
	y->value = in->value;
	x->value = Int64GetDatum(in->order);
	y->order_isnull = x->order_isnull = true;
}

static void
add_product(FeHeap *heap, FeRef *products, double y, double x, int sign)
{
	FeFloatParts a = fe_split_float(y);
	FeFloatParts b = fe_split_float(x);
	int			position = a.position + b.position;
	int32		digits[FE_DIGITS128];
	int			n;

	n = fe_digits_of_uint128(((uint128) a.mantissa * b.mantissa) << (position % FE_BINARY_BITS),
							 FE_BINARY_BASE, digits);
	fe_exact_add(heap, products, position / FE_BINARY_BITS, digits, n,
				 a.negative != b.negative ? -sign : sign);
}

static void
co_apply(FeHeap *heap, const FeAccSpec *spec, void *accp, const FeAccInput *in, int sign)
{
	CoAcc	   *acc = accp;
	FeAccInput	y;
	FeAccInput	x;
	double		yvalue;
	double		xvalue;

	if (in->isnull || in->order_isnull)
		return;
	split_input(in, &y, &x);
	half->apply(heap, &half_spec, acc->y, &y, sign);
	half->apply(heap, &half_spec, acc->x, &x, sign);
	yvalue = DatumGetFloat8(y.value);
	xvalue = DatumGetFloat8(x.value);
	if (isfinite(yvalue) && isfinite(xvalue) && yvalue != 0 && xvalue != 0)
		add_product(heap, &acc->products, yvalue, xvalue, sign);
}

static void
co_combine(FeHeap *heap, const FeAccSpec *spec, void *dstp, void *srcp)
{
	CoAcc	   *dst = dstp;
	CoAcc	   *src = srcp;

	half->combine(heap, &half_spec, dst->y, src->y);
	half->combine(heap, &half_spec, dst->x, src->x);
	fe_exact_combine(heap, &dst->products, &src->products);
}

static void
co_clear(FeHeap *heap, const FeAccSpec *spec, void *accp)
{
	CoAcc	   *acc = accp;

	half->clear(heap, &half_spec, acc->y);
	half->clear(heap, &half_spec, acc->x);
	fe_exact_free(heap, &acc->products);
}

static Size
co_room(const FeAccSpec *spec, const FeAccInput *in)
{
	FeAccInput	y;
	FeAccInput	x;

	if (in->isnull || in->order_isnull)
		return 0;
	split_input(in, &y, &x);
	return half->room(&half_spec, &y) + half->room(&half_spec, &x) +
		fe_heap_chunk_size(32 * sizeof(int64));
}

/* ---- reading --------------------------------------------------------------------- */

struct FeAccRead
{
	int			final;
	FeAccRead  *y;
	FeAccRead  *x;
	FeBig		products;
};

static FeAccRead *
co_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->final = final->id;
	r->y = half->read_create(&half_spec, &half_final);
	r->x = half->read_create(&half_spec, &half_final);
	fe_big_init(&r->products, CurrentMemoryContext);
	return r;
}

static void
co_read_reset(FeAccRead *r)
{
	half->read_reset(r->y);
	half->read_reset(r->x);
	fe_big_reset(&r->products);
}

static void
co_read_add(FeAccRead *r, const void *accp)
{
	const CoAcc *acc = accp;

	half->read_add(r->y, acc->y);
	half->read_add(r->x, acc->x);
	fe_big_add_exact(&r->products, acc->products);
}

static PGFunction
final_function(int final)
{
	switch (final)
	{
		case FE_FINAL_REGR_SXX:
			return float8_regr_sxx;
		case FE_FINAL_REGR_SYY:
			return float8_regr_syy;
		case FE_FINAL_REGR_SXY:
			return float8_regr_sxy;
		case FE_FINAL_REGR_AVGX:
			return float8_regr_avgx;
		case FE_FINAL_REGR_AVGY:
			return float8_regr_avgy;
		case FE_FINAL_REGR_R2:
			return float8_regr_r2;
		case FE_FINAL_REGR_SLOPE:
			return float8_regr_slope;
		case FE_FINAL_REGR_INTERCEPT:
			return float8_regr_intercept;
		case FE_FINAL_COVAR_POP:
			return float8_covar_pop;
		case FE_FINAL_COVAR_SAMP:
			return float8_covar_samp;
		default:
			Assert(final == FE_FINAL_CORR);
			return float8_corr;
	}
}

static inline bool
has_special(const FeFloatTotals *t)
{
	return t->nan > 0 || t->pinf > 0 || t->ninf > 0;
}

/*
 * The transition state of PostgreSQL's float8_regr_accum: N, Sx, Sxx, Sy, Syy, Sxy.
 * A sum of deviations is NaN where a value is not finite.
 */
static ArrayType *
transition_state(FeAccRead *r, int64 n, const FeFloatTotals *y, const FeFloatTotals *x)
{
	bool		yspecial = has_special(y);
	bool		xspecial = has_special(x);
	double		nan = get_float8_nan();
	Datum		state[6];

	state[0] = Float8GetDatum((double) n);
	state[1] = Float8GetDatum(fe_float_sum(x));
	state[2] = Float8GetDatum(xspecial ? nan :
							  Max(fe_float_deviations(n, x->squares, x->sum, x->sum), 0.0));
	state[3] = Float8GetDatum(fe_float_sum(y));
	state[4] = Float8GetDatum(yspecial ? nan :
							  Max(fe_float_deviations(n, y->squares, y->sum, y->sum), 0.0));
	fe_big_carry(&r->products, FE_BINARY_BASE);
	state[5] = Float8GetDatum(xspecial || yspecial ? nan :
							  fe_float_deviations(n, &r->products, x->sum, y->sum));
	return construct_array(state, 6, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

static Datum
co_read_final(FeAccRead *r, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 1);
	FeFloatTotals y;
	FeFloatTotals x;
	int64		n;
	Datum		result;

	fe_float_totals(r->y, &y);
	fe_float_totals(r->x, &x);
	n = y.count + y.nan + y.pinf + y.ninf;
	*isnull = n <= 0 && r->final != FE_FINAL_REGR_COUNT;
	if (r->final == FE_FINAL_REGR_COUNT)
		return Int64GetDatum(n);
	if (*isnull)
		return (Datum) 0;
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = PointerGetDatum(transition_state(r, n, &y, &x));
	fcinfo->args[0].isnull = false;
	result = final_function(r->final) (fcinfo);
	*isnull = fcinfo->isnull;
	return result;
}

/* ---- byte form ---------------------------------------------------------------------- */

/* y, x, the products. */
static void
co_image_write(const FeAccSpec *spec, const void *accp, StringInfo out)
{
	const CoAcc *acc = accp;

	half->image_write(&half_spec, acc->y, out);
	half->image_write(&half_spec, acc->x, out);
	fe_exact_write(acc->products, out);
}

static void
co_image_read(FeHeap *heap, const FeAccSpec *spec, void *accp, FeImageIn *in)
{
	CoAcc	   *acc = accp;

	half->image_read(heap, &half_spec, heap ? acc->y : NULL, in);
	half->image_read(heap, &half_spec, heap ? acc->x : NULL, in);
	fe_exact_read(heap, heap ? &acc->products : NULL, in);
}

const FeAccKind fe_acc_comoments = {
	.name = "float comoments",
	.prepare = co_prepare,
	.apply = co_apply,
	.combine = co_combine,
	.clear = co_clear,
	.room = co_room,
	.read_create = co_read_create,
	.read_reset = co_read_reset,
	.read_add = co_read_add,
	.read_final = co_read_final,
	.image_write = co_image_write,
	.image_read = co_image_read
};
