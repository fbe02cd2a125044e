/*
 * vanished.c
 *		Entities that the history still has, and the view perhaps not.
 *
 * In the pusher.  Who vanishes while nobody looks (a restart, a rebuild) leaves a
 * last row that is not a deletion.  The walk goes through the keys of the history
 * in their order, some in each transaction, and makes each such key a *suspect*;
 * so is a key that vanished within an interval that had its row.  Whoever pushes
 * looks suspects up in the view.
 */
#include "postgres.h"

#include "offline/internal.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* ---- suspects ------------------------------------------------------------------------- */

static Datum
copy_key(const FeOffline *h, int i, Datum value)
{
	Form_pg_attribute att = TupleDescAttr(h->desc, FE_OFFLINE_KEY(h, i) - 1);

	return datumCopy(value, att->attbyval, att->attlen);
}

void
fe_offline_add_suspect(FeOffline *h, const Datum *keys, FeTime due)
{
	MemoryContext old = MemoryContextSwitchTo(h->cxt);
	FeSuspect  *s = palloc0(offsetof(FeSuspect, keys) + h->shape->nkeys * sizeof(Datum));
	dlist_iter	it;

	s->due = due;
	for (int i = 0; i < h->shape->nkeys; i++)
		s->keys[i] = copy_key(h, i, keys[i]);
	MemoryContextSwitchTo(old);
	/* dates come in order, nearly */
	dlist_reverse_foreach(it, &h->suspects)
	{
		FeSuspect  *other = dlist_container(FeSuspect, node, it.cur);

		if (other->due <= due)
		{
			dlist_insert_after(&other->node, &s->node);
			return;
		}
	}
	dlist_push_head(&h->suspects, &s->node);
}

FeTime
fe_offline_next_suspect(const FeOffline *h)
{
	dlist_head *suspects = unconstify(dlist_head *, &h->suspects);

	return dlist_is_empty(suspects) ? PG_INT64_MAX :
		dlist_container(FeSuspect, node, dlist_head_node(suspects))->due;
}

/* The keys are copied to CurrentMemoryContext. */
bool
fe_offline_suspect(FeOffline *h, FeTime now, Datum *keys)
{
	FeSuspect  *s;

	if (fe_offline_next_suspect(h) > now)
		return false;
	s = dlist_container(FeSuspect, node, dlist_pop_head_node(&h->suspects));
	fe_offline_saw_deletion(h, now);	/* if it comes back the table is asked */
	for (int i = 0; i < h->shape->nkeys; i++)
	{
		keys[i] = copy_key(h, i, s->keys[i]);
		if (!TupleDescAttr(h->desc, FE_OFFLINE_KEY(h, i) - 1)->attbyval)
			pfree(DatumGetPointer(s->keys[i]));
	}
	pfree(s);
	return true;
}

/* ---- the walk -------------------------------------------------------------------------- */

void
fe_offline_walk_begin(FeOffline *h)
{
	h->walking = true;
	h->walked = false;
	h->walk_keys = NULL;
	if (h->walk_cxt)
		MemoryContextReset(h->walk_cxt);
	else
		h->walk_cxt = AllocSetContextCreate(h->cxt, "feature_engine walk through history",
											ALLOCSET_SMALL_SIZES);
}

bool
fe_offline_walking(const FeOffline *h)
{
	return h->walking;
}

static void
remember_last(FeOffline *h, const Datum *keys)
{
	MemoryContext old;

	MemoryContextReset(h->walk_cxt);
	old = MemoryContextSwitchTo(h->walk_cxt);
	h->walk_keys = palloc(h->shape->nkeys * sizeof(Datum));
	for (int i = 0; i < h->shape->nkeys; i++)
		h->walk_keys[i] = copy_key(h, i, keys[i]);
	MemoryContextSwitchTo(old);
}

static void
read_keys(FeOffline *h, void *arg)
{
	int			n = h->shape->nkeys;
	int			result;

	result = SPI_execute_plan(fe_offline_statement(h, h->walk_keys ? FE_OFFLINE_WALK_NEXT :
												   FE_OFFLINE_WALK_FIRST),
							  h->walk_keys, NULL, false, 0);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "statement on history failed: %s", SPI_result_code_string(result));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Datum		keys[FE_MAX_KEYS + 1];
		bool		isnull;

		for (int k = 0; k < n; k++)
			keys[k] = SPI_getbinval(tuple, desc, k + 1, &isnull);
		if (!DatumGetBool(SPI_getbinval(tuple, desc, n + 1, &isnull)))
			fe_offline_add_suspect(h, keys, PG_INT64_MIN);
		else
			fe_offline_saw_deletion(h, DatumGetTimestampTz(SPI_getbinval(tuple, desc, n + 2,
																		 &isnull)));
		if (i + 1 == SPI_processed)
			remember_last(h, keys);
	}
	*(bool *) arg = SPI_processed > 0;
}

bool
fe_offline_walk_step(FeOffline *h, FeViewShared *shared)
{
	bool		more = false;

	if (!fe_offline_run(h, shared, read_keys, NULL, &more))
		return false;
	if (!more)
	{
		h->walking = false;
		h->walked = true;
	}
	return more;
}
