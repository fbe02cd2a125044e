/*
 * join_parts.c
 *		The parts of joined views: each has a place for state of its own, which is
 *		claimed, released and in service together with the view's.
 *
 * Runs in the ingest worker.  Locks are the state room's.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "ingest/ingest.h"

/* ---- a view's join ----------------------------------------------------------------- */

static void
add_column(const FePlan *plan, FeImageForm *form, int column)
{
	fe_image_column_init(&form->columns[form->ncolumns++],
						 getBaseType(TupleDescAttr(plan->row_desc, column)->atttypid));
}

static void
make_form(const FePlan *plan, int part, FeImageForm *form)
{
	const FeDimension *dim = &plan->join->dims[part / 2];

	form->columns = palloc0(sizeof(FeImageColumn) * (plan->join->ncolumns + 1));
	if (part == FE_PART_ROWS(part / 2))
		for (int i = 0; i < dim->ncolumns; i++)
			add_column(plan, form, dim->first + i);
	else
		for (int i = 0; i < dim->nkept; i++)
			add_column(plan, form, dim->kept[i]);
}

void
fe_join_create(FeIngestView *view)
{
	FeJoin	   *plan = view->plan->join;
	FeIngestJoin *join;

	if (plan == NULL)
		return;
	join = view->join = palloc0(sizeof(FeIngestJoin));
	join->nparts = plan->nparts;
	join->parts = palloc0(sizeof(FeIngestView *) * plan->nparts);
	join->forms = palloc0(sizeof(FeImageForm) * plan->nparts);
	join->row = palloc0(sizeof(Datum) * plan->ncolumns);
	join->nulls = palloc0(sizeof(bool) * plan->ncolumns);
	for (int i = 0; i < plan->nparts; i++)
	{
		FeIngestView *part = palloc0(sizeof(FeIngestView));

		part->cxt = view->cxt;
		part->plan = plan->parts[i];
		part->nvalues = list_length(part->plan->rowexprs);
		part->whole = view;
		join->parts[i] = part;
		make_form(view->plan, i, &join->forms[i]);
	}
}

/* ---- state --------------------------------------------------------------------------- */

static int
count_parts(const FeIngestView *view)
{
	return view->join ? view->join->nparts : 0;
}

bool
fe_join_find_parts(FeIngestView *view)
{
	for (int i = 0; i < count_parts(view); i++)
	{
		FeIngestView *part = view->join->parts[i];

		part->shared = fe_view_find(MyDatabaseId, part->plan->viewid);
		if (part->shared == NULL)
			return false;
		part->store_is_ours = fe_state_stored_lsn(part->shared) != InvalidXLogRecPtr;
	}
	if (view->join)
		view->join->loaded = true;
	return true;
}

void
fe_join_claim_parts(FeIngestView *view)
{
	for (int i = 0; i < count_parts(view); i++)
	{
		FeIngestView *part = view->join->parts[i];

		part->shared = fe_view_claim(MyDatabaseId, part->plan->viewid, part->plan->state_version,
									 false);
		part->store_is_ours = false;
	}
	if (view->join)
		view->join->loaded = false;
}

void
fe_join_release_parts(FeIngest *ingest, FeIngestView *view)
{
	for (int i = 0; i < count_parts(view); i++)
	{
		FeIngestView *part = view->join->parts[i];
		FeViewShared *shared = fe_view_find(MyDatabaseId, part->plan->viewid);

		if (part->writer)
			fe_state_writer_free(part->writer);
		part->writer = NULL;
		part->shared = NULL;
		if (shared)
			fe_view_release(ingest->heap, shared, part->plan);
	}
}

void
fe_join_open_parts(FeIngest *ingest, FeIngestView *view)
{
	MemoryContext old = MemoryContextSwitchTo(view->cxt);

	for (int i = 0; i < count_parts(view); i++)
	{
		FeIngestView *part = view->join->parts[i];

		part->writer = fe_state_writer_create(ingest->heap, part->shared, part->plan);
	}
	MemoryContextSwitchTo(old);
}

void
fe_join_adopt_parts(FeIngestView *view, FeIngestView *newer)
{
	for (int i = 0; i < count_parts(view); i++)
	{
		newer->join->parts[i]->shared = view->join->parts[i]->shared;
		newer->join->parts[i]->store_is_ours = view->join->parts[i]->store_is_ours;
	}
	if (view->join)
		newer->join->loaded = view->join->loaded;
}

void
fe_ingest_set_state(FeIngestView *view, FeViewState state)
{
	for (int i = 0; i < count_parts(view); i++)
		fe_view_set_state(view->join->parts[i]->shared, state);
	fe_view_set_state(view->shared, state);
}
