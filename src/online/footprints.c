/*
 * footprints.c
 *		What the pusher remembers of keys in Redis beyond its own life.
 *		Runs in the pusher, in transactions.
 *
 * Every way in which a view writes has a row (definition/footprint.h), made
 * before its first push.  A row that belongs to no view of today's catalogue
 * stands for keys of a view that was dropped, redefined or taken offline: it
 * becomes a retired view, which is cleaned, and goes when that is done.  Where
 * that cannot be finished (Redis is down, the process ends) the row is still
 * there for the next pusher.  Keys on a server that redis_url does not name any
 * more are left alone.
 */
#include "postgres.h"

#include "access/xact.h"
#include "definition/footprint.h"
#include "nodes/value.h"
#include "online/pusher.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* ---- rows of current views ------------------------------------------------------ */

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(strVal(lfirst(a)), strVal(lfirst(b)));
}

static FeFootprint *
footprint_of(const FePushView *view)
{
	FeFootprint *f = palloc0(sizeof(FeFootprint));

	f->view = view->name;
	f->layout = view->layout->name;
	f->template = view->layout->keys_text(view);
	f->ttl = view->ttl;
	for (int i = 0; i < view->ncolumns; i++)
		f->fields = lappend(f->fields,
							makeString(view->plan->columns[view->columns[i].column].name));
	list_sort(f->fields, compare_names);
	return f;
}

static bool
same_keys_and_fields(const FeFootprint *a, const FeFootprint *b)
{
	return strcmp(a->view, b->view) == 0 && strcmp(a->layout, b->layout) == 0 &&
		strcmp(a->template, b->template) == 0 && equal(a->fields, b->fields);
}

void
fe_push_record_footprint(FePushView *view, List *rows)
{
	FeFootprint *ours = footprint_of(view);
	ListCell   *lc;

	foreach(lc, rows)
	{
		FeFootprint *row = lfirst(lc);

		if (!same_keys_and_fields(row, ours))
			continue;
		view->footprint = row->id;
		view->renew_all = row->ttl != ours->ttl;
		return;
	}
	fe_footprint_insert(ours);
	view->footprint = ours->id;
}

/* ---- rows of no view ---------------------------------------------------------------- */

/* What is needed to find and to remove the keys. */
static void
make_retired(FePusher *p, const FeFootprint *row)
{
	MemoryContext cxt = AllocSetContextCreate(p->cxt, "feature_engine retired view",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FePushView *view = palloc0(sizeof(FePushView));
	ListCell   *lc;

	view->cxt = cxt;
	view->retired = true;
	view->footprint = row->id;
	view->name = pstrdup(row->view);
	fe_layout_set_up(view, row->layout, row->template);
	view->ttl = row->ttl;
	view->columns = palloc0(sizeof(FePushColumn) * Max(1, list_length(row->fields)));
	foreach(lc, row->fields)
	{
		FePushColumn *col = &view->columns[view->ncolumns++];

		view->layout->set_column(view, col, strVal(lfirst(lc)), InvalidOid);
	}
	dlist_push_tail(&p->views, &view->node);
	fe_scan_start(view);
	MemoryContextSwitchTo(old);
}

/* The view that has this footprint: a current one before a retired one. */
static FePushView *
find_holder(FePusher *p, int64 id)
{
	FePushView *found = NULL;
	dlist_iter	it;

	dlist_foreach(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);

		if (view->footprint == id && (found == NULL || !view->retired))
			found = view;
	}
	return found;
}

/* A view came back in the very form whose keys were being removed. */
static void
stop_cleaning(FePusher *p)
{
	dlist_iter	it;

	dlist_foreach(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);

		if (!view->retired || view->footprint == 0 || find_holder(p, view->footprint)->retired)
			continue;
		fe_scan_end(view);
		view->cleaned = false;
		view->footprint = 0;
	}
}

void
fe_push_retire_footprints(FePusher *p, List *rows)
{
	ListCell   *lc;

	stop_cleaning(p);
	foreach(lc, rows)
	{
		FeFootprint *row = lfirst(lc);

		if (find_holder(p, row->id) == NULL)
			make_retired(p, row);
	}
}

/* Runs a change of the view's row in a transaction of its own. */
static void
begin_change(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
end_change(FePusher *p)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(p->cxt);
}

void
fe_push_ttl_holds(FePusher *p, FePushView *view)
{
	if (view->footprint == 0)
		return;
	begin_change();
	fe_footprint_set_ttl(view->footprint, view->ttl);
	end_change(p);
}

/* The ingest worker of a database without views waits for this. */
static void
wake_ingest(FePusher *p)
{
	Latch	   *latch;

	SpinLockAcquire(&p->db->mutex);
	latch = p->db->ingest_latch;
	SpinLockRelease(&p->db->mutex);
	if (latch)
		SetLatch(latch);
}

void
fe_push_forget_footprint(FePusher *p, FePushView *view)
{
	begin_change();
	fe_footprint_delete(view->footprint);
	end_change(p);
	wake_ingest(p);
}
