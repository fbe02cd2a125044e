/*
 * part_rows.c
 *		The rows that a part of a joined view keeps, for the ingest worker to look
 *		up and to go over.
 *
 * Ingest worker only: being the only writer it needs no lock, and what it is given
 * stays where it is until its next merge.  A part has one accumulator, a multiset
 * of images, in the entity or, where its rows leave with time, in panes.
 */
#include "postgres.h"

#include "state/internal.h"

static const FeApplyAcc *
images_of(const FeStateWriter *w)
{
	return w->layout->ntracks > 0 ? &w->tracks[0].accs[0] : &w->lifetime[0];
}

static void
begin_rows(const FeStateWriter *w, const FeEntity *e, FeRowsIter *it)
{
	it->w = w;
	it->entity = e;
	it->pane = 0;
	memset(&it->seq, 0, sizeof(it->seq));
	if (e != NULL && (e->flags & FE_ENTITY_TOMBSTONE) != 0)
		it->entity = NULL;
}

/* The next accumulator.  False: there are no more. */
static bool
next_accumulator(FeRowsIter *it)
{
	const FeStateWriter *w = it->w;
	const FeEntity *e = it->entity;
	const void *at = e;

	if (e == NULL)
		return false;
	if (w->layout->ntracks > 0)
	{
		const FeSeq *seq = &fe_entity_seqs(e)[0];

		if (it->pane >= seq->count)
			return false;
		at = fe_seq_get(seq, w->layout->tracks[0].pane_size, it->pane);
	}
	else if (it->pane > 0)
		return false;
	it->pane++;
	fe_multiset_iter(&it->seq, (const char *) at + images_of(w)->offset);
	return true;
}

bool
fe_state_part_next(FeRowsIter *it, Datum *image, int64 *count)
{
	for (;;)
	{
		if (it->pane > 0 && fe_multiset_next(&it->seq, images_of(it->w)->spec, image, count))
			return true;
		if (!next_accumulator(it))
			return false;
	}
}

void
fe_state_part_rows(FeStateWriter *w, const FeDelta *delta, FeRowsIter *it)
{
	FeKeyProbe	probe;
	FeRef		ref;

	fe_writer_probe(w, &probe, delta);
	begin_rows(w, fe_table_find(w->table, w->plan, w->layout, &probe, &ref), it);
	if (probe.packed != (char *) probe.space)
		pfree(probe.packed);
}

bool
fe_state_part_scan(FeStateWriter *w, FeRowsScan *scan, Datum *keys, bool *nulls, uint64 *hash,
				   FeRowsIter *it)
{
	uint32		nbuckets = pg_atomic_read_u32(&w->table->nbuckets);

	for (; scan->bucket < nbuckets; scan->bucket++, scan->number = 0)
	{
		const FeBucket *bucket = fe_table_bucket(w->table, scan->bucket);
		FeRef		ref = fe_bucket_entity(bucket, scan->number++);
		const FeEntity *e;

		if (ref == 0)
			continue;
		e = fe_heap_ptr(ref);
		fe_key_unpack(w->plan, w->layout, e, keys, nulls);
		*hash = e->hash;
		begin_rows(w, e, it);
		return true;
	}
	return false;
}

XLogRecPtr
fe_state_loaded_lsn(FeViewShared *view)
{
	return pg_atomic_read_u64(&fe_view_table(view)->replay_end);
}
