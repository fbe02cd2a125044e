/*
 * bools.c
 *		Accumulator kind "booleans": bool_and (every) and bool_or.
 *
 * The numbers of rows whose x is true and false, 16 bytes.  Writers: the ingest
 * worker under the entity's lock; readers under the same lock, shared.
 */
#include "postgres.h"

#include "aggregate/image.h"
#include "aggregate/kinds.h"

typedef struct BoolAcc
{
	int64		yes;
	int64		no;
} BoolAcc;

struct FeAccRead
{
	int			final;
	BoolAcc		total;
};

static void
bool_prepare(FeAccSpec *spec)
{
	spec->size = sizeof(BoolAcc);
}

static void
bool_apply(FeHeap *heap, const FeAccSpec *spec, void *accp, const FeAccInput *in, int sign)
{
	BoolAcc    *acc = accp;

	if (in->isnull)
		return;
	if (DatumGetBool(in->value))
		acc->yes += sign;
	else
		acc->no += sign;
}

static void
bool_combine(FeHeap *heap, const FeAccSpec *spec, void *dst, void *src)
{
	((BoolAcc *) dst)->yes += ((BoolAcc *) src)->yes;
	((BoolAcc *) dst)->no += ((BoolAcc *) src)->no;
	memset(src, 0, sizeof(BoolAcc));
}

static void
bool_clear(FeHeap *heap, const FeAccSpec *spec, void *acc)
{
	memset(acc, 0, sizeof(BoolAcc));
}

static Size
bool_room(const FeAccSpec *spec, const FeAccInput *in)
{
	return 0;
}

static FeAccRead *
bool_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->final = final->id;
	return r;
}

static void
bool_read_reset(FeAccRead *r)
{
	memset(&r->total, 0, sizeof(r->total));
}

static void
bool_read_add(FeAccRead *r, const void *acc)
{
	r->total.yes += ((const BoolAcc *) acc)->yes;
	r->total.no += ((const BoolAcc *) acc)->no;
}

static Datum
bool_read_final(FeAccRead *r, bool *isnull)
{
	*isnull = r->total.yes <= 0 && r->total.no <= 0;
	if (r->final == FE_FINAL_BOOL_AND)
		return BoolGetDatum(r->total.no <= 0);
	return BoolGetDatum(r->total.yes > 0);
}

/* ---- byte form ------------------------------------------------------------ */

static void
bool_image_write(const FeAccSpec *spec, const void *acc, StringInfo out)
{
	fe_image_put_signed(out, ((const BoolAcc *) acc)->yes);
	fe_image_put_signed(out, ((const BoolAcc *) acc)->no);
}

static void
bool_image_read(FeHeap *heap, const FeAccSpec *spec, void *accp, FeImageIn *in)
{
	BoolAcc    *acc = accp;
	int64		yes = fe_image_get_signed(in);
	int64		no = fe_image_get_signed(in);

	if (heap == NULL)
		return;
	acc->yes = yes;
	acc->no = no;
}

const FeAccKind fe_acc_bools = {
	.name = "booleans",
	.prepare = bool_prepare,
	.apply = bool_apply,
	.combine = bool_combine,
	.clear = bool_clear,
	.room = bool_room,
	.read_create = bool_read_create,
	.read_reset = bool_read_reset,
	.read_add = bool_read_add,
	.read_final = bool_read_final,
	.image_write = bool_image_write,
	.image_read = bool_image_read
};
