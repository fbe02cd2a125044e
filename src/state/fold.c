/*
 * fold.c
 *		Rows of arguments become states of their aggregate, where they may
 *		(FeAccSpec.folds): an accumulator of many rows keeps one state instead.
 *
 * Ingest worker, after a merge.  The aggregate's functions are users' code: they
 * run on a copy, without a lock, and may raise errors; being the only writer, the
 * worker may read without one.  Then, in a merge step, each state takes the
 * place of what it was made from, under the entity's partition lock.  Values do not
 * change, so neither readers nor checkpoints need to know.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "state/internal.h"

void
fe_fold_note(FeStateWriter *w, FeRef ref, const FeEntity *e)
{
	fe_fold_is_due = false;
	/* where there is no place, the next row tells of it again */
	if (w->nfolds == FE_MAX_FOLDS || w->fold_broken)
		return;
	w->folds[w->nfolds].ref = ref;
	w->folds[w->nfolds].serial = e->serial;
	w->folds[w->nfolds].hash = e->hash;
	w->nfolds++;
}

/* The reader that folds accumulator i of the plan's layout. */
static FeAccRead *
folder_of(FeStateWriter *w, int i, const FeAccSpec *spec)
{
	MemoryContext old = MemoryContextSwitchTo(w->fold_cxt);

	if (w->folders == NULL)
		w->folders = palloc0(w->plan->naccs * sizeof(FeAccRead *));
	if (w->folders[i] == NULL)
		w->folders[i] = spec->kind->read_create(spec, fe_fold_final(spec));
	MemoryContextSwitchTo(old);
	return w->folders[i];
}

/* at: the accumulators' pane or entity; first: number of the first of them. */
static void
fold_accs(FeStateWriter *w, const FeLayoutAcc *accs, int n, int first, char *at)
{
	for (int i = 0; i < n; i++)
	{
		const FeAccSpec *spec = accs[i].spec;
		void	   *acc = at + accs[i].offset;
		FeAccRead  *r;
		FeFolded   *folded;
		struct varlena *state;

		if (spec->folds == NULL || ((FeSeq *) acc)->count < w->fold_rows)
			continue;
		r = folder_of(w, first + i, spec);
		spec->kind->read_reset(r);
		spec->kind->read_add(r, acc);
		state = spec->kind->fold(r);
		if (state == NULL)
			continue;
		folded = palloc(sizeof(FeFolded));
		folded->spec = spec;
		folded->acc = acc;
		folded->state = state;
		w->folded = lappend(w->folded, folded);
	}
}

static void
fold_entity(FeStateWriter *w, FeEntity *e)
{
	const FeLayout *layout = w->layout;
	int			first = layout->nlifetime;

	fold_accs(w, layout->lifetime_accs, layout->nlifetime, 0, (char *) e);
	for (int t = 0; t < layout->ntracks; t++)
	{
		const FeLayoutTrack *track = &layout->tracks[t];
		FeSeqIter	it;
		char	   *pane;

		fe_seq_iter(&it, &fe_entity_seqs(e)[t], track->pane_size, 0);
		while (track->naccs > 0 && (pane = fe_seq_next(&it)) != NULL)
			fold_accs(w, track->accs, track->naccs, first, pane);
		first += track->naccs;
	}
}

bool
fe_state_fold_is_due(FeStateWriter *w)
{
	const FeEntity *e = w->overfull == 0 ? NULL : fe_heap_ptr(w->overfull);

	if (w->nfolds == 0)
		w->fold_rows = FE_FOLD_ROWS;
	/* of one that keeps too much: less is to be gained, but it is that or the end */
	if (w->nfolds == 0 && e != NULL && w->overfull_tried != w->overfull &&
		e->serial == w->overfull_serial)
	{
		w->overfull_tried = w->overfull;
		w->fold_rows = 2;
		fe_fold_note(w, w->overfull, e);
	}
	return w->nfolds > 0;
}

Size
fe_state_fold_prepare(FeStateWriter *w)
{
	const FeEntityRef *ref = &w->folds[--w->nfolds];
	FeEntity   *e = fe_table_find_ref(w->table, *ref);
	Size		room = 0;
	ListCell   *lc;

	w->folded = NIL;
	if (e == NULL || e->epoch != (uint8) w->table->epoch)
		return 0;
	w->folding = ref->ref;
	fold_entity(w, e);
	foreach(lc, w->folded)
	{
		FeFolded   *folded = lfirst(lc);
		FeAccInput	in = {.value = PointerGetDatum(folded->state), .order_isnull = true};

		room += folded->spec->kind->room(folded->spec, &in);
	}
	return room;
}

void
fe_state_fold_install(FeStateWriter *w)
{
	FeEntity   *e = fe_heap_ptr(w->folding);
	LWLock	   *lock = fe_partition_lock(w->view, e->hash);
	Size		before = fe_heap_used(w->heap);
	int64		kept = fe_kept_rows;
	ListCell   *lc;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	foreach(lc, w->folded)
	{
		FeFolded   *folded = lfirst(lc);

		folded->spec->kind->replace(w->heap, folded->spec, folded->acc, folded->state);
	}
	fe_entity_count_kept(e, kept);
	LWLockRelease(lock);
	w->folded = NIL;
	fe_count(&w->view->bytes, (int64) fe_heap_used(w->heap) - (int64) before);
}

void
fe_state_fold_give_up(FeStateWriter *w)
{
	MemoryContextReset(w->fold_cxt);
	w->folders = NULL;
	w->folded = NIL;
	w->nfolds = 0;
	w->fold_broken = true;
}
