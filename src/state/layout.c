/*
 * layout.c
 *		Where things lie in entities and panes of a view.
 *
 * Writers and readers derive the layout from their plan.  A view also keeps it
 * in shared memory, so that state can be freed when no plan is left: the view
 * is dropped, or its definition is another one by now.  No locks.
 */
#include "postgres.h"

#include "state/internal.h"

static void
set_offsets(FeLayout *layout, Size lifetime_size)
{
	layout->lifetime = sizeof(FeEntity) + layout->ntracks * sizeof(FeSeq);
	layout->lifetime_size = lifetime_size;
	layout->key = MAXALIGN(layout->lifetime + lifetime_size);
}

FeLayout *
fe_layout_of_plan(const FePlan *plan)
{
	FeLayout   *layout = palloc0(sizeof(FeLayout));

	layout->ntracks = plan->ntracks;
	set_offsets(layout, plan->lifetime_size);
	layout->bitwise = true;
	for (int k = 0; k < plan->nkeys; k++)
		layout->bitwise &= plan->keys[k].bitwise;

	layout->nlifetime = plan->nlifetime;
	layout->lifetime_accs = palloc(plan->nlifetime * sizeof(FeLayoutAcc));
	for (int i = 0; i < plan->nlifetime; i++)
	{
		const FeAcc *acc = &plan->accs[plan->lifetime_accs[i]];

		layout->lifetime_accs[i].spec = acc->spec;
		layout->lifetime_accs[i].offset = layout->lifetime + acc->offset;
	}
	for (int t = 0; t < plan->ntracks; t++)
	{
		const FeTrack *track = &plan->tracks[t];
		FeLayoutTrack *to = &layout->tracks[t];

		to->pane_size = track->pane_size;
		to->grid = &track->grid;
		to->naccs = track->naccs;
		to->accs = palloc(track->naccs * sizeof(FeLayoutAcc));
		for (int i = 0; i < track->naccs; i++)
		{
			const FeAcc *acc = &plan->accs[track->accs[i]];

			to->accs[i].spec = acc->spec;
			to->accs[i].offset = FE_PANE_ACCS + acc->offset;
		}
	}
	return layout;
}

/* ---- the copy in shared memory ---------------------------------------------- */

static Size
shared_size(int naccs)
{
	return offsetof(FeSharedLayout, accs) + naccs * sizeof(FeSharedAcc);
}

/*
 * What is needed to free accumulators.  A kind is a constant of this library:
 * its distance from another one is the same in every process.
 */
FeRef
fe_layout_share(FeHeap *heap, const FePlan *plan)
{
	Size		size = shared_size(plan->naccs);
	FeRef		ref = fe_heap_alloc0(heap, size);
	FeSharedLayout *shared = fe_heap_ptr(ref);

	shared->size = size;
	shared->ntracks = plan->ntracks;
	shared->naccs = plan->naccs;
	shared->lifetime_size = plan->lifetime_size;
	for (int t = 0; t < plan->ntracks; t++)
		shared->pane_size[t] = plan->tracks[t].pane_size;
	for (int i = 0; i < plan->naccs; i++)
	{
		FeSharedAcc *acc = &shared->accs[i];

		acc->spec = *plan->accs[i].spec;
		acc->kind = (const char *) acc->spec.kind - &fe_state_anchor;
		acc->spec.kind = NULL;
		acc->spec.folds = NULL;
		memset(&acc->spec.cmp, 0, sizeof(FmgrInfo));
		acc->track = plan->accs[i].track;
		acc->offset = plan->accs[i].offset;
	}
	return ref;
}

bool
fe_layout_matches(const FeSharedLayout *shared, const FePlan *plan)
{
	if (shared->ntracks != plan->ntracks || shared->naccs != plan->naccs ||
		shared->lifetime_size != plan->lifetime_size)
		return false;
	for (int t = 0; t < plan->ntracks; t++)
		if (shared->pane_size[t] != plan->tracks[t].pane_size)
			return false;
	for (int i = 0; i < plan->naccs; i++)
	{
		const FeSharedAcc *acc = &shared->accs[i];

		if (acc->kind != (const char *) plan->accs[i].spec->kind - &fe_state_anchor ||
			acc->track != plan->accs[i].track || acc->offset != plan->accs[i].offset)
			return false;
	}
	return true;
}

/* For fe_entity_clear and fe_entity_free only. */
FeLayout *
fe_layout_of_shared(const FeSharedLayout *shared)
{
	FeLayout   *layout = palloc0(sizeof(FeLayout));

	layout->ntracks = shared->ntracks;
	set_offsets(layout, shared->lifetime_size);
	layout->lifetime_accs = palloc(shared->naccs * sizeof(FeLayoutAcc));
	for (int t = 0; t < shared->ntracks; t++)
	{
		layout->tracks[t].pane_size = shared->pane_size[t];
		layout->tracks[t].accs = palloc(shared->naccs * sizeof(FeLayoutAcc));
	}
	for (int i = 0; i < shared->naccs; i++)
	{
		const FeSharedAcc *acc = &shared->accs[i];
		bool		lifetime = acc->track == FE_LIFETIME;
		FeLayoutAcc *to = lifetime ? &layout->lifetime_accs[layout->nlifetime++] :
			&layout->tracks[acc->track].accs[layout->tracks[acc->track].naccs++];
		FeAccSpec  *spec = palloc(sizeof(FeAccSpec));

		*spec = acc->spec;
		spec->kind = (const FeAccKind *) (&fe_state_anchor + acc->kind);
		to->spec = spec;
		to->offset = acc->offset + (lifetime ? layout->lifetime : FE_PANE_ACCS);
	}
	return layout;
}
