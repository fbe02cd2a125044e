/*
 * decay_acc.c
 *		Accumulator kind "decaying sum": exp_decay_sum(x, ts, half-life).
 *
 * Belongs to panes of ts under a window that reaches from the beginning of time
 * to T: so events of the future wait, and those of the past are one pane soon.
 * 24 bytes and the sum in the heap, 50 to 300 bytes, see decay.h.
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate/decay.h"
#include "utils/float.h"
#include "utils/memutils.h"

typedef struct DecayAcc
{
	int64		count;			/* finite rows */
	FeRef		sum;
	FeRef		special;		/* FeSpecials */
	int64		latest;			/* greatest period of a row; 0 while there is no sum */
} DecayAcc;

static void
decay_prepare(FeAccSpec *spec)
{
	spec->size = sizeof(DecayAcc);
}

static void
decay_apply(FeHeap *heap, const FeAccSpec *spec, void *accp, const FeAccInput *in, int sign)
{
	DecayAcc   *acc = accp;
	FeWideTerm	term;
	double		x;
	double		part;
	int64		k;

	if (in->isnull || in->order_isnull || in->order == PG_INT64_MIN || in->order == PG_INT64_MAX)
		return;
	x = DatumGetFloat8(in->value);
	if (unlikely(isnan(x) || isinf(x)))
	{
		fe_specials_heap_count(heap, &acc->special, x, sign);
		return;
	}
	acc->count += sign;
	fe_decay_term(&term, x, in->order, spec->params.n);
	if (term.n == 0)
		return;
	k = fe_decay_period(in->order, spec->params.n, &part);
	acc->latest = acc->sum == 0 ? k : Max(acc->latest, k);
	fe_wide_heap_add(heap, &acc->sum, &term, sign, fe_decay_least(acc->latest));
}

static void
decay_clear(FeHeap *heap, const FeAccSpec *spec, void *accp)
{
	DecayAcc   *acc = accp;

	fe_wide_heap_free(heap, &acc->sum);
	fe_specials_heap_free(heap, &acc->special);
	memset(acc, 0, sizeof(DecayAcc));
}

static void
decay_combine(FeHeap *heap, const FeAccSpec *spec, void *dstp, void *srcp)
{
	DecayAcc   *dst = dstp;
	DecayAcc   *src = srcp;

	dst->count += src->count;
	if (src->sum != 0)
		dst->latest = dst->sum == 0 ? src->latest : Max(dst->latest, src->latest);
	fe_wide_heap_combine(heap, &dst->sum, &src->sum, fe_decay_least(dst->latest));
	fe_specials_heap_combine(heap, &dst->special, &src->special);
	decay_clear(heap, spec, src);
}

static Size
decay_room(const FeAccSpec *spec, const FeAccInput *in)
{
	return in->isnull || in->order_isnull ? 0 : fe_wide_room(1);
}

/* ---- reading -------------------------------------------------------------- */

struct FeAccRead
{
	const FeAccSpec *spec;
	int64		T;
	int64		count;
	FeSpecials	special;
	FeWideLocal sum;
	int64		latest;
};

static FeAccRead *
decay_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->spec = spec;
	fe_wide_local_init(&r->sum, CurrentMemoryContext);
	return r;
}

static void
decay_read_reset(FeAccRead *r)
{
	r->count = 0;
	memset(&r->special, 0, sizeof(r->special));
	fe_wide_local_reset(&r->sum);
}

static void
decay_read_at(FeAccRead *r, int64 T)
{
	r->T = T;
}

static void
decay_read_add(FeAccRead *r, const void *accp)
{
	const DecayAcc *acc = accp;

	r->count += acc->count;
	if (acc->special != 0)
		fe_specials_add(&r->special, fe_heap_ptr(acc->special));
	if (acc->sum == 0)
		return;
	r->latest = r->sum.sum == NULL ? acc->latest : Max(r->latest, acc->latest);
	fe_wide_local_add_wide(&r->sum, fe_wide_ptr(acc->sum), fe_decay_least(r->latest));
}

static Datum
decay_read_final(FeAccRead *r, bool *isnull)
{
	*isnull = r->count <= 0 && !fe_specials_any(&r->special);
	return *isnull ? (Datum) 0 :
		Float8GetDatum(fe_decay_final(r->sum.sum, &r->special, r->T, r->spec->params.n));
}

/* ---- byte form ------------------------------------------------------------ */

/* count, latest period, the sum, the counts of what is no number */
static void
decay_image_write(const FeAccSpec *spec, const void *accp, StringInfo out)
{
	const DecayAcc *acc = accp;

	fe_image_put_signed(out, acc->count);
	fe_image_put_signed(out, acc->latest);
	fe_wide_write(acc->sum, out);
	fe_specials_write(acc->special, out);
}

static void
decay_image_read(FeHeap *heap, const FeAccSpec *spec, void *accp, FeImageIn *in)
{
	DecayAcc   *acc = accp;
	int64		count = fe_image_get_narrow(in, 48);
	int64		latest = fe_image_get_signed(in);
	int64		least = fe_decay_least(latest);

	/* what periods can be is the same as for event times */
	if (latest < PG_INT64_MIN / 2 || latest > PG_INT64_MAX / 2)
		fe_image_fail(in, "a period is out of range");
	if (heap != NULL)
	{
		acc->count = count;
		acc->latest = latest;
	}
	fe_wide_read(heap, heap != NULL ? &acc->sum : NULL, least, least + FE_DECAY_LIMBS, in);
	fe_specials_read(heap, heap != NULL ? &acc->special : NULL, in);
}

const FeAccKind fe_acc_decay = {
	.name = "decaying sum",
	.prepare = decay_prepare,
	.apply = decay_apply,
	.combine = decay_combine,
	.clear = decay_clear,
	.room = decay_room,
	.read_create = decay_read_create,
	.read_reset = decay_read_reset,
	.read_at = decay_read_at,
	.read_add = decay_read_add,
	.read_final = decay_read_final,
	.image_write = decay_image_write,
	.image_read = decay_image_read
};
