/*
 * reader.c
 *		Prepares readers: which panes go to which aggregate, at which T.
 *
 * Any process; no locks.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "state/reader.h"

/* ---- building ------------------------------------------------------------------ */

/* WHERE's windows hold for every aggregate, whether the plan repeats them or not. */
static FeWindowSet
windows_of(const FePlan *plan, const FeAgg *agg)
{
	return agg->track == plan->where_track ?
		agg->windows | plan->where_windows : agg->windows;
}

/* The range of a set of windows, made when missing; there is room for it. */
static FeReadRange *
range_of(FeStateReader *r, int track, FeWindowSet set)
{
	FeReadTrack *t = NULL;

	for (int i = 0; i < r->ntracks; i++)
		if (r->tracks[i].track == track)
			t = &r->tracks[i];
	if (t == NULL)
	{
		t = &r->tracks[r->ntracks++];
		t->track = track;
		t->layout = &r->layout->tracks[track];
		t->nranges = 0;
		t->ranges = palloc0((r->plan->naggs + 1) * sizeof(FeReadRange));
	}
	for (int i = 0; i < t->nranges; i++)
		if (t->ranges[i].set == set)
			return &t->ranges[i];
	if (t->nranges == FE_MAX_WINDOWS)
		elog(ERROR, "too many combinations of windows");
	t->ranges[t->nranges].set = set;
	t->ranges[t->nranges].adds = palloc(Max(r->plan->naggs, 1) * sizeof(FeReadAdd));
	return &t->ranges[t->nranges++];
}

static void
add_aggregate(FeStateReader *r, int i)
{
	const FePlan *plan = r->plan;
	const FeAgg *agg = &plan->aggs[i];
	FeReadFinal *final;
	FeReadRange *range = NULL;
	FeReadAdd  *add;

	if (agg->acc == FE_WINDOW)
		return;					/* whoever takes rows apart knows it */
	final = &r->finals[r->nfinals++];
	final->out = plan->nkeys + i;
	final->read = NULL;
	final->kind = NULL;
	if (agg->track == FE_LIFETIME)
		r->unwindowed = true;
	else
		range = range_of(r, agg->track, windows_of(plan, agg));
	final->range = range;
	if (agg->acc == FE_ROWS)
		return;

	if (agg->final->call)
	{
		r->as_owner = true;
		r->runs_code |= fe_final_runs_code(agg->final);
	}
	final->kind = plan->accs[agg->acc].spec->kind;
	final->read = final->kind->read_create(plan->accs[agg->acc].spec, agg->final);
	add = range ? &range->adds[range->nadds++] : &r->lifetime[r->nlifetime++];
	add->add = final->kind->read_add;
	add->read = final->read;
	add->offset = plan->accs[agg->acc].offset + (range ? FE_PANE_ACCS : r->layout->lifetime);
}

static void
add_aggregates(FeStateReader *r)
{
	const FePlan *plan = r->plan;

	r->lifetime = palloc(Max(plan->naggs, 1) * sizeof(FeReadAdd));
	r->finals = palloc(Max(plan->naggs, 1) * sizeof(FeReadFinal));
	if (plan->where_track >= 0)
		r->where = range_of(r, plan->where_track, plan->where_windows);
	for (int i = 0; i < plan->naggs; i++)
		if (r->all_wanted || bms_is_member(i, r->wanted))
			add_aggregate(r, i);
	/* windows of GROUP BY are there at any T, and hold what is there now */
	if (plan->group_window >= 0 &&
		plan->where_windows == (FeWindowSet) 1 << plan->group_window)
		r->unwindowed = true;
}

FeStateReader *
fe_reader_create_set(FeStateReader *r)
{
	MemoryContext old = MemoryContextSwitchTo(r->cxt);
	FeStateReader *set = palloc0(sizeof(FeStateReader));

	set->plan = r->plan;
	set->layout = r->layout;
	set->all_wanted = r->all_wanted;
	set->wanted = r->wanted;
	add_aggregates(set);
	MemoryContextSwitchTo(old);
	return set;
}

FeStateReader *
fe_state_reader_create(FePlan *plan, FeViewShared *view, const Bitmapset *aggs,
					   MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FeStateReader *r = palloc0(sizeof(FeStateReader));

	r->plan = plan;
	r->view = view;
	r->table = fe_view_table(view);
	r->cxt = cxt;
	r->incarnation = pg_atomic_read_u32(&r->table->incarnation);
	pg_read_barrier();
	if (!fe_view_is(view, plan))
	{
		r->problem = FE_READ_GONE;
		fe_reader_raise(r);
	}
	r->layout = fe_layout_of_plan(plan);
	r->all_wanted = aggs == NULL;
	r->wanted = bms_copy(aggs);
	if (plan->group_window >= 0)
	{
		r->group = &plan->windows[plan->group_window];
		r->max_rows = 16;
		r->rows = palloc0(r->max_rows * sizeof(FeReadRow));
	}
	add_aggregates(r);
	r->max_pending = 16;
	r->pending = palloc(r->max_pending * sizeof(FeEntityRef));
	MemoryContextSwitchTo(old);
	return r;
}

bool
fe_state_reader_renew(FeStateReader *r)
{
	r->bound = false;
	r->newest = 0;
	r->problem = FE_READ_OK;
	if (pg_atomic_read_u32(&r->table->incarnation) != r->incarnation)
		return false;
	pg_read_barrier();
	return fe_view_is(r->view, r->plan);
}

/* ---- binding to T ----------------------------------------------------------------- */

fe_compat_noreturn static void raise_as_of(FeStateReader *r, FeTime T, const char *detail);

static void
raise_as_of(FeStateReader *r, FeTime T, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("feature view \"%s\" cannot be evaluated as of %s",
					r->plan->name, timestamptz_to_str(T)),
			 errdetail_internal("%s", detail),
			 errhint("Values are exact for times up to feature_engine.exact_horizon (%d s) ago and for the future.",
					 fe_setting_exact_horizon)));
}

/*
 * An aggregate without a window describes the rows that are there now.  Checked
 * once for a T, so that a long statement does not outlive its own.
 */
void
fe_reader_bind(FeStateReader *r, FeTime T)
{
	if (r->bound && r->T == T)
		return;
	r->bound = false;
	if (r->unwindowed &&
		T < fe_clock_now() - fe_setting_exact_horizon * FE_USEC_PER_SEC)
		raise_as_of(r, T, r->group ?
					_("What its windows of GROUP BY hold is known for the present only.") :
					_("It has an aggregate without a window, whose value is known for the present only."));
	for (int i = 0; i < r->ntracks; i++)
	{
		FeReadTrack *t = &r->tracks[i];

		t->lo = PG_INT64_MAX;
		t->hi = PG_INT64_MIN;
		for (int j = 0; j < t->nranges; j++)
		{
			FeReadRange *range = &t->ranges[j];

			range->range = fe_window_set_range(r->plan->windows, range->set, T);
			if (range->range.lo >= range->range.hi)
				continue;
			t->lo = Min(t->lo, range->range.lo);
			t->hi = Max(t->hi, range->range.hi);
		}
	}
	r->T = T;
	r->bound = true;
}

/* Reports r->problem.  No lock is held. */
void
fe_reader_raise(FeStateReader *r)
{
	char	   *time;

	if (r->problem == FE_READ_GONE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature view \"%s\" was dropped or is being rebuilt", r->plan->name),
				 errhint("Repeat the query.")));
	time = pstrdup(timestamptz_to_str(r->problem_time));
	if (r->problem == FE_READ_MERGED)
		raise_as_of(r, r->T,
					psprintf(_("Events around %s have been merged and cannot be told apart any more."), time));
	raise_as_of(r, r->T,
				psprintf(_("Events before %s are no longer kept."), time));
}
