/*
 * count.c
 *		Accumulator kind "count": count(x), and count(*) with a row filter.
 *
 * Eight bytes, the number of rows whose x is not NULL.  Writers: the ingest
 * worker under the entity's lock; readers under the same lock, shared.
 */
#include "postgres.h"

#include "aggregate/image.h"
#include "aggregate/kinds.h"

struct FeAccRead
{
	int64		count;
};

static void
count_prepare(FeAccSpec *spec)
{
	spec->size = sizeof(int64);
}

static void
count_apply(FeHeap *heap, const FeAccSpec *spec, void *acc, const FeAccInput *in, int sign)
{
	if (!in->isnull)
		*(int64 *) acc += sign;
}

static void
count_combine(FeHeap *heap, const FeAccSpec *spec, void *dst, void *src)
{
	*(int64 *) dst += *(int64 *) src;
	*(int64 *) src = 0;
}

static void
count_clear(FeHeap *heap, const FeAccSpec *spec, void *acc)
{
	*(int64 *) acc = 0;
}

static Size
count_room(const FeAccSpec *spec, const FeAccInput *in)
{
	return 0;
}

static FeAccRead *
count_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	return palloc0(sizeof(FeAccRead));
}

static void
count_read_reset(FeAccRead *r)
{
	r->count = 0;
}

static void
count_read_add(FeAccRead *r, const void *acc)
{
	r->count += *(const int64 *) acc;
}

static Datum
count_read_final(FeAccRead *r, bool *isnull)
{
	*isnull = false;
	return Int64GetDatum(r->count);
}

/* ---- byte form ------------------------------------------------------------ */

static void
count_image_write(const FeAccSpec *spec, const void *acc, StringInfo out)
{
	fe_image_put_signed(out, *(const int64 *) acc);
}

static void
count_image_read(FeHeap *heap, const FeAccSpec *spec, void *acc, FeImageIn *in)
{
	int64		count = fe_image_get_signed(in);

	if (heap != NULL)
		*(int64 *) acc = count;
}

const FeAccKind fe_acc_count = {
	.name = "count",
	.prepare = count_prepare,
	.apply = count_apply,
	.combine = count_combine,
	.clear = count_clear,
	.room = count_room,
	.read_create = count_read_create,
	.read_reset = count_read_reset,
	.read_add = count_read_add,
	.read_final = count_read_final,
	.image_write = count_image_write,
	.image_read = count_image_read
};
