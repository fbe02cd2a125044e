/*
 * entity.c
 *		Making, emptying and freeing entities.
 *
 * Ingest worker only, with the entity's partition lock held exclusively where
 * readers can reach the entity.
 */
#include "postgres.h"

#include "state/internal.h"

FeRef
fe_entity_create(FeHeap *heap, FeTable *table, const FeLayout *layout, const FeKeyProbe *probe)
{
	FeRef		ref = fe_heap_alloc(heap, fe_entity_size(layout, probe->len));
	FeEntity   *e = fe_heap_ptr(ref);

	memset(e, 0, layout->key);
	if (++table->entity_serial == 0)
		table->entity_serial = 1;	/* 0 = freed */
	e->hash = probe->hash;
	e->serial = table->entity_serial;
	e->epoch = (uint8) table->epoch;
	e->keylen = probe->len;
	e->flags = probe->has_nulls ? FE_ENTITY_NULLKEY : 0;
	memcpy(fe_entity_key(layout, e), probe->packed, probe->len);
	return ref;
}

static inline void
clear_accs(FeHeap *heap, const FeLayoutAcc *accs, int n, void *at)
{
	for (int i = 0; i < n; i++)
		accs[i].spec->kind->clear(heap, accs[i].spec, (char *) at + accs[i].offset);
}

uint32
fe_entity_clear(FeHeap *heap, const FeLayout *layout, FeEntity *e)
{
	uint32		panes = 0;

	clear_accs(heap, layout->lifetime_accs, layout->nlifetime, e);
	for (int t = 0; t < layout->ntracks; t++)
	{
		const FeLayoutTrack *track = &layout->tracks[t];
		FeSeq	   *seq = &fe_entity_seqs(e)[t];
		FeSeqIter	it;
		void	   *pane;

		panes += seq->count;
		if (track->naccs > 0)
		{
			fe_seq_iter(&it, seq, track->pane_size, 0);
			while ((pane = fe_seq_next(&it)) != NULL)
				clear_accs(heap, track->accs, track->naccs, pane);
		}
		fe_seq_clear(heap, seq, track->pane_size);
	}
	e->nrows = 0;
	e->kept = 0;
	return panes;
}

void
fe_entity_free(FeHeap *heap, const FeLayout *layout, FeRef ref)
{
	FeEntity   *e = fe_heap_ptr(ref);

	fe_heap_free(heap, ref, fe_entity_size(layout, e->keylen));
}

bool
fe_entity_has_content(const FeLayout *layout, const FeEntity *e)
{
	const char *block = (const char *) e + layout->lifetime;

	if (e->nrows != 0)
		return true;
	for (int t = 0; t < layout->ntracks; t++)
		if (fe_entity_seqs(e)[t].count > 0)
			return true;
	for (Size i = 0; i < layout->lifetime_size; i++)
		if (block[i] != 0)
			return true;
	return false;
}
