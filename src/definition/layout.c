/*
 * layout.c
 *		From the accumulators of a plan to how they lie in panes and entities.
 *
 * Runs wherever a definition is compiled; no locks.
 */
#include "postgres.h"

#include "definition/definition.h"

#define PANE_HEADER_SIZE	16	/* state's header of a pane */

/* ---- sharing of accumulators ------------------------------------------------------------- */

/* An accumulator that holds all that i is there for; i where there is none. */
static int
find_shared(FePlanBuilder *b, int i, bool *of_order)
{
	const FeAcc *acc = &b->plan->accs[i];

	for (int j = 0; j < b->plan->naccs; j++)
	{
		const FeAcc *other = &b->plan->accs[j];
		FeAccSharing sharing;

		if (j == i || other->track != acc->track || other->filter != acc->filter)
			continue;
		sharing = fe_acc_sharing(&b->matches[i], b->flags[i], &b->matches[j]);
		*of_order = sharing == FE_SHARE_ORDER;
		if ((sharing == FE_SHARE_ARGUMENT && other->arg == acc->arg) ||
			(sharing == FE_SHARE_ORDER && other->order == acc->arg))
			return j;
	}
	return i;
}

/*
 * Leaves accumulators out that another one makes superfluous; their aggregates
 * read that.  What is left out is never what another one is left out for.
 */
void
fe_plan_share_accumulators(FePlanBuilder *b)
{
	FePlan	   *plan = b->plan;
	int		   *shared = palloc(sizeof(int) * (plan->naccs + 1));
	int		   *moved = palloc(sizeof(int) * (plan->naccs + 1));
	bool	   *of_order = palloc0(sizeof(bool) * (plan->naccs + 1));
	int			kept = 0;

	for (int i = 0; i < plan->naccs; i++)
		shared[i] = find_shared(b, i, &of_order[i]);
	for (int i = 0; i < plan->naccs; i++)
	{
		if (shared[i] != i)
			continue;
		plan->accs[kept] = plan->accs[i];
		b->matches[kept] = b->matches[i];
		b->flags[kept] = b->flags[i];
		moved[i] = kept++;
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		FeAgg	   *agg = &plan->aggs[i];

		if (agg->acc < 0)
			continue;
		agg->of_order = shared[agg->acc] != agg->acc && of_order[agg->acc];
		agg->acc = moved[shared[agg->acc]];
	}
	plan->naccs = kept;
}

/* ---- layout ----------------------------------------------------------------------------- */

static void
lay_out_track(FePlanBuilder *b, FeTrack *track, int number)
{
	FePlan	   *plan = b->plan;
	FeWindowSet sets[FE_MAX_WINDOWS];
	FeWindow	windows[FE_MAX_WINDOWS];
	int			nwindows = track->grid.nwindows;
	ListCell   *lc;

	memcpy(windows, track->grid.windows, sizeof(FeWindow) * nwindows);
	foreach(lc, b->sets[number])
	{
		FeWindowSet set = 0;

		for (int w = 0; w < plan->nwindows; w++)
			if (*(FeWindowSet *) lfirst(lc) & ((FeWindowSet) 1 << w))
				set |= (FeWindowSet) 1 << plan->window_bit[w];
		sets[foreach_current_index(lc)] = set;
	}
	fe_grid_init(&track->grid, windows, nwindows, sets, list_length(b->sets[number]));
}

/* Offsets count from the start of the accumulators: a pane's header comes first. */
void
fe_plan_lay_out(FePlanBuilder *b)
{
	FePlan	   *plan = b->plan;

	plan->lifetime_accs = palloc0(sizeof(int) * (plan->naccs + 1));
	for (int t = 0; t < plan->ntracks; t++)
	{
		plan->tracks[t].pane_size = PANE_HEADER_SIZE;
		plan->tracks[t].accs = palloc0(sizeof(int) * (plan->naccs + 1));
		lay_out_track(b, &plan->tracks[t], t);
	}
	for (int i = 0; i < plan->naccs; i++)
	{
		FeAcc	   *acc = &plan->accs[i];

		/* of a lifetime one there is a single accumulator to read */
		if (acc->track == FE_LIFETIME)
			b->flags[i] |= FE_ACC_SINGLE;
		acc->spec = fe_acc_spec_create(&b->matches[i], b->flags[i]);
		if (acc->track == FE_LIFETIME)
		{
			acc->offset = plan->lifetime_size;
			plan->lifetime_size += acc->spec->size;
			plan->lifetime_accs[plan->nlifetime++] = i;
		}
		else
		{
			FeTrack    *track = &plan->tracks[acc->track];

			acc->offset = track->pane_size - PANE_HEADER_SIZE;
			track->pane_size += acc->spec->size;
			track->accs[track->naccs++] = i;
		}
	}
}
