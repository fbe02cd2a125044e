/*
 * buckets_acc.c
 *		Accumulator kind "buckets": approx_percentile and histogram of float8, as
 *		counts of numbered buckets (see buckets.h).
 *
 * A sequence of (number, count), 8 bytes each, in the order of numbers.  Counts
 * are signed, as in a multiset; entries with a count of 0 do not exist.  A
 * retraction is exact: it takes one off the same bucket.  Percentiles of one
 * argument share the accumulator, whatever their fractions.
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared.
 */
#include "postgres.h"

#include "aggregate/buckets.h"
#include "aggregate/image.h"

#define COUNT_BITS	44
#define IS_HISTOGRAM(spec) ((spec)->params.n > 0)

static void
buckets_prepare(FeAccSpec *spec)
{
	spec->size = sizeof(FeSeq);
}

static int
compare_bucket(const void *element, const void *key, void *arg)
{
	int32		number = (int32) ((const FeBucketCount *) element)->number;

	return (number > *(const int32 *) key) - (number < *(const int32 *) key);
}

static void
change_count(FeHeap *heap, FeSeq *seq, int32 number, int64 by)
{
	FeBucketCount *b = fe_seq_upsert(heap, seq, sizeof(FeBucketCount), &number, compare_bucket,
									 NULL, NULL);

	b->number = number;
	b->count += by;
	if (b->count == 0)
	{
		uint32		pos;

		fe_seq_search(seq, sizeof(FeBucketCount), &number, compare_bucket, NULL, &pos);
		fe_seq_delete(heap, seq, sizeof(FeBucketCount), pos);
	}
}

static void
buckets_apply(FeHeap *heap, const FeAccSpec *spec, void *acc, const FeAccInput *in, int sign)
{
	double		x;

	if (in->isnull)
		return;
	x = DatumGetFloat8(in->value);
	change_count(heap, acc, IS_HISTOGRAM(spec) ?
				 fe_histogram_bucket(x, spec->params.lo, spec->params.hi, (int32) spec->params.n) :
				 fe_dd_bucket(x), sign);
}

static void
buckets_clear(FeHeap *heap, const FeAccSpec *spec, void *acc)
{
	fe_seq_clear(heap, acc, sizeof(FeBucketCount));
}

static void
buckets_combine(FeHeap *heap, const FeAccSpec *spec, void *dstp, void *srcp)
{
	FeSeq	   *dst = dstp;
	FeSeq	   *src = srcp;
	FeSeqIter	it;
	FeBucketCount *b;

	if (src->count > dst->count)
		fe_seq_swap(dst, src);
	fe_seq_iter(&it, src, sizeof(FeBucketCount), 0);
	while ((b = fe_seq_next(&it)) != NULL)
		change_count(heap, dst, (int32) b->number, b->count);
	buckets_clear(heap, spec, src);
}

static Size
buckets_room(const FeAccSpec *spec, const FeAccInput *in)
{
	/* a sequence grows to at most twice its elements */
	return in->isnull ? 0 : Max(2 * sizeof(FeBucketCount), FE_HEAP_GRANULE);
}

/* ---- reading -------------------------------------------------------------- */

struct FeAccRead
{
	const FeAccSpec *spec;
	double		fraction;		/* percentile */
	FeBucketSet set;
	int64	   *counts;			/* histogram: bins + 2 */
};

static FeAccRead *
buckets_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->spec = spec;
	r->fraction = final->number;
	if (IS_HISTOGRAM(spec))
		r->counts = palloc0((spec->params.n + 2) * sizeof(int64));
	else
		fe_bucket_set_init(&r->set, CurrentMemoryContext);
	return r;
}

static void
buckets_read_reset(FeAccRead *r)
{
	if (r->counts != NULL)
		memset(r->counts, 0, (r->spec->params.n + 2) * sizeof(int64));
	fe_bucket_set_reset(&r->set);
}

static void
buckets_read_add(FeAccRead *r, const void *acc)
{
	FeSeqIter	it;
	const FeBucketCount *b;

	fe_seq_iter(&it, acc, sizeof(FeBucketCount), 0);
	while ((b = fe_seq_next(&it)) != NULL)
	{
		if (r->counts != NULL)
			r->counts[b->number] += b->count;
		else
			fe_bucket_set_add(&r->set, (int32) b->number, b->count);
	}
}

static Datum
buckets_read_final(FeAccRead *r, bool *isnull)
{
	*isnull = false;
	if (r->counts != NULL)
	{
		*isnull = true;
		for (int i = 0; i < r->spec->params.n + 2; i++)
			*isnull &= r->counts[i] <= 0;
		return *isnull ? (Datum) 0 : fe_histogram_array(r->counts, (int32) r->spec->params.n);
	}
	*isnull = fe_bucket_set_tidy(&r->set) == 0;
	return *isnull ? (Datum) 0 :
		Float8GetDatum(fe_dd_value(fe_dd_percentile(r->set.buckets, r->set.n, r->fraction)));
}

/* ---- byte form ------------------------------------------------------------ */

/* The number of buckets; of each the distance from the one before, and the count. */
static void
buckets_image_write(const FeAccSpec *spec, const void *acc, StringInfo out)
{
	const FeSeq *seq = acc;
	int64		before = 0;
	FeSeqIter	it;
	const FeBucketCount *b;

	fe_image_put(out, seq->count);
	fe_seq_iter(&it, seq, sizeof(FeBucketCount), 0);
	while ((b = fe_seq_next(&it)) != NULL)
	{
		fe_image_put_signed(out, b->number - before);
		fe_image_put_signed(out, b->count);
		before = b->number;
	}
}

static void
buckets_image_read(FeHeap *heap, const FeAccSpec *spec, void *acc, FeImageIn *in)
{
	uint32		n = fe_image_get_count(in, 2);
	int64		least = IS_HISTOGRAM(spec) ? 0 : -FE_DD_INFINITY;
	int64		most = IS_HISTOGRAM(spec) ? spec->params.n + 1 : FE_DD_NAN;
	int64		before = 0;
	FeSeqIter	it;

	if (heap == NULL)
		in->room += fe_seq_load_room(n, sizeof(FeBucketCount));
	else
	{
		fe_seq_load(heap, acc, sizeof(FeBucketCount), n);
		fe_seq_iter(&it, acc, sizeof(FeBucketCount), 0);
	}
	for (uint32 i = 0; i < n && in->error == NULL; i++)
	{
		int64		number = before + fe_image_get_narrow(in, 32);
		int64		count = fe_image_get_narrow(in, COUNT_BITS);

		if (heap != NULL)
		{
			FeBucketCount *b = fe_seq_next(&it);

			b->number = number;
			b->count = count;
		}
		else if (count == 0 || number < least || number > most || (i > 0 && number <= before))
			fe_image_fail(in, "buckets are not in their order");
		before = number;
	}
}

const FeAccKind fe_acc_buckets = {
	.name = "buckets",
	.has_seq = true,
	.prepare = buckets_prepare,
	.apply = buckets_apply,
	.combine = buckets_combine,
	.clear = buckets_clear,
	.room = buckets_room,
	.read_create = buckets_read_create,
	.read_reset = buckets_read_reset,
	.read_add = buckets_read_add,
	.read_final = buckets_read_final,
	.image_write = buckets_image_write,
	.image_read = buckets_image_read
};
