/*
 * views.c
 *		The feature views that go to Redis, as the pusher keeps them.
 *		Runs in the pusher, catalogue access in a transaction of its own.
 *
 * A view that is dropped or redefined is *retired*: kept until nothing of it is
 * on its way any more.  Its keys are removed by way of its footprint
 * (footprints.c), or, when the extension itself was dropped and nothing is
 * recorded any more, by the retired view itself, as long as this process lives.
 * Several views may write to the same hashes (templates of the same structure, the
 * same keys of one Feast project); each knows about the others.
 */
#include "postgres.h"

#include "access/xact.h"
#include "definition/footprint.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "online/pusher.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define LOAD_RETRY		5000	/* ms, after a plan could not be loaded */

/* FeViewShared.resync: set by us once a fill has begun; 0 in a fresh slot, 1
 * when somebody asks for a fill. */
#define RESYNC_SEEN		2

/* ---- one view ------------------------------------------------------------- */

char *
fe_push_utf8(const char *text)
{
	if (GetDatabaseEncoding() == PG_UTF8)
		return pstrdup(text);
	return pstrdup(pg_server_to_any(text, strlen(text), PG_UTF8));
}

static void
add_column(FePushView *view, int i)
{
	const FeColumn *column = &view->plan->columns[i];
	FePushColumn *col = &view->columns[view->nall++];

	col->column = i;
	if (column->online)
		view->layout->set_column(view, col, column->name, column->type);
	view->uses_time |= column->uses_time;
}

/* Those that go to Redis come first. */
static void
set_columns(FePushView *view)
{
	FePlan	   *plan = view->plan;

	view->columns = palloc0(Max(plan->ncolumns, 1) * sizeof(FePushColumn));
	for (int i = 0; i < plan->ncolumns; i++)
		if (plan->columns[i].key < 0 && plan->columns[i].online)
			add_column(view, i);
	view->ncolumns = view->nall;
	for (int i = 0; i < plan->ncolumns && plan->options.offline; i++)
		if (plan->columns[i].key < 0 && !plan->columns[i].online)
			add_column(view, i);
}

/* Before its first push. */
static void
note_footprint(const FePusher *p, FePushView *view, List *footprints)
{
	if (view->online && view->footprint == 0 && p->url_text[0] != '\0')
		fe_push_record_footprint(view, footprints);
}

/*
 * In a subtransaction, which an error frees it with.  NULL: the view goes neither to
 * Redis nor to a history, not yet (it is a replacement under construction), or is gone.
 */
static FePushView *
make_view(FePusher *p, int32 viewid, List *footprints)
{
	MemoryContext cxt = AllocSetContextCreate(CurTransactionContext,
											  "feature_engine push view",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FePushView *view = palloc0(sizeof(FePushView));

	view->cxt = cxt;
	view->viewid = viewid;
	view->plan = fe_plan_load(viewid, cxt);
	if (view->plan == NULL || view->plan->replaces != 0 ||
		(!view->plan->options.online_enabled && !view->plan->options.offline))
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(cxt);
		return NULL;
	}
	view->name = view->plan->name;
	view->online = view->plan->options.online_enabled;
	view->ttl = (view->plan->options.ttl + 999) / 1000;
	fe_layout_set_up(view, NULL, NULL);
	set_columns(view);
	view->having_uses_time = contain_mutable_functions((Node *) view->plan->having) ||
		fe_plan_aggs_use_time(view->plan, view->plan->having_aggs);
	view->schedule = fe_schedule_create(cxt);
	if (view->per_window)
		view->shown = fe_shown_create(cxt);
	view->wants_fill = view->online;
	if (view->plan->options.offline)
		fe_record_create(view);
	MemoryContextSwitchTo(old);
	note_footprint(p, view, footprints);
	MemoryContextSetParent(cxt, p->cxt);
	return view;
}

void
fe_push_free_view(FePushView *view)
{
	Assert(view->inflight == 0);
	fe_scan_end(view);
	dlist_delete(&view->node);
	MemoryContextDelete(view->cxt);
}

/* Nothing is pushed for it any more; its keys are removed, if clean. */
static void
retire_view(FePushView *view, bool clean)
{
	fe_push_drop_programs(view);
	fe_scan_end(view);
	view->retired = true;
	view->live = false;
	view->shared = NULL;
	view->footprint = 0;
	if (clean && view->online)
		fe_scan_start(view);
}

/* ---- all views ------------------------------------------------------------ */

static FePushView *
find_view(FePusher *p, int32 viewid)
{
	dlist_iter	it;

	dlist_foreach(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);

		if (view->viewid == viewid && !view->retired)
			return view;
	}
	return NULL;
}

/* Does a current view write this field to the same hashes? */
static bool
field_is_kept(FePusher *p, const FePushView *retired, const FePushColumn *field)
{
	dlist_iter	it;

	dlist_foreach(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);

		if (view->retired || !view->online ||
			!fe_layout_same_keys(view, retired))
			continue;
		for (int i = 0; i < view->ncolumns; i++)
			if (view->columns[i].namelen == field->namelen &&
				memcmp(view->columns[i].name, field->name, field->namelen) == 0)
				return true;
	}
	return false;
}

/* Who writes to the same keys as this view, and for how long? */
static void
find_sharers(FePusher *p, FePushView *view)
{
	bool		shared_before = view->shares;
	bool		other_forever = false;
	int64		longest = 0;
	dlist_iter	it;

	view->shares = false;
	view->marks_kept = false;
	if (!view->retired && !view->online)
		return;
	dlist_foreach(it, &p->views)
	{
		FePushView *other = dlist_container(FePushView, node, it.cur);

		if (other == view || other->retired || !other->online ||
			!fe_layout_same_keys(other, view))
			continue;
		view->shares = true;
		view->marks_kept |= strcmp(other->own_lsn, view->own_lsn) == 0;
		other_forever |= other->ttl == 0;
		longest = Max(longest, other->ttl);
	}
	view->sharer_forever = other_forever || view->ttl == 0;
	view->sharer_ttl = other_forever ? 0 : longest;
	if (view->retired)
	{
		for (int i = 0; i < view->ncolumns; i++)
			view->columns[i].kept = field_is_kept(p, view, &view->columns[i]);
	}
	else if (view->shares != shared_before)
		view->wants_fill = true;
}

static bool
is_current(const FePushView *view)
{
	const FePlan *plan = fe_plan_by_id(view->viewid, true);

	return plan != NULL && plan->version == view->plan->version &&
		plan->owner == view->plan->owner && strcmp(plan->name, view->plan->name) == 0;
}

/*
 * The view as the catalogue has it now: old itself where that is current.  In a
 * subtransaction: a plan that cannot be loaded stops no other.
 */
static bool
load_view(FePusher *p, int32 viewid, FePushView *old, List *footprints, FePushView **result)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = false;

	*result = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		*result = old != NULL && is_current(old) ? old :
			make_view(p, viewid, footprints);
		if (*result == old && old != NULL)
			note_footprint(p, old, footprints);
		ReleaseCurrentSubTransaction();
		ok = true;
	}
	PG_CATCH();
	{
		ErrorData  *edata = fe_worker_caught_inside(cxt);

		fe_push_note_error(p, edata->message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	return ok;
}

/* A view as the catalogue has it now takes the place of the one we know. */
static void
replace_view(FePusher *p, FePushView *old, FePushView *view)
{
	if (old != NULL)
	{
		retire_view(old, false);
	}
	if (view != NULL)
		dlist_push_tail(&p->views, &view->node);
}

static void
load_in_transaction(FePusher *p)
{
	bool		installed;
	List	   *ids = fe_plan_list(&installed);
	List	   *footprints = fe_footprint_read();
	ListCell   *lc;
	dlist_mutable_iter it;

	fe_inject_wait("pusher_load");

	dlist_foreach_modify(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);

		if (!view->retired && !list_member_int(ids, view->viewid))
			retire_view(view, !installed);
	}
	foreach(lc, ids)
	{
		FePushView *old = find_view(p, lfirst_int(lc));
		FePushView *view;

		if (!load_view(p, lfirst_int(lc), old, footprints, &view))
			p->views_pending = true;
		else if (view != old)
			replace_view(p, old, view);
	}
	/* what could not be loaded may well own some of the rest */
	if (!p->views_pending)
		fe_push_retire_footprints(p, footprints);
	dlist_foreach_modify(it, &p->views)
		find_sharers(p, dlist_container(FePushView, node, it.cur));

	/* What shared keys with a retired view writes them once more. */
	dlist_foreach_modify(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);
		dlist_iter	other;

		if (!view->retired || view->scan == NULL || !view->shares)
			continue;
		dlist_foreach(other, &p->views)
		{
			FePushView *sharer = dlist_container(FePushView, node, other.cur);

			if (!sharer->retired && sharer->online &&
				fe_layout_same_keys(sharer, view))
				sharer->wants_fill = true;
		}
	}
}

void
fe_push_load_views(FePusher *p)
{
	uint64		loads = pg_atomic_read_u64(&p->db->catalog_loads);

	p->views_pending = false;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	load_in_transaction(p);
	fe_overlap_publish(p);
	PopActiveSnapshot();
	CommitTransactionCommand();
	p->catalog_loads = loads;
	p->views_loaded = true;
	p->views_retry = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOAD_RETRY);
	fe_ticket_failed(p, FE_SINK_REDIS);
	fe_ticket_failed(p, FE_SINK_HISTORY);
}

/* ---- slots ------------------------------------------------------------------ */

bool
fe_push_view_ready(const FePushView *view)
{
	const FeViewShared *shared = view->shared;

	return shared != NULL && shared->dboid == MyDatabaseId &&
		shared->viewid == view->viewid &&
		shared->state_version == view->plan->state_version &&
		pg_atomic_read_u32((pg_atomic_uint32 *) &shared->state) == FE_VIEW_LIVE;
}

void
fe_push_find_slots(FePusher *p)
{
	dlist_iter	it;

	dlist_foreach(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);
		bool		live_before = view->live;

		if (view->retired)
			continue;
		if (!fe_push_view_ready(view))
		{
			FeViewShared *shared = fe_view_find(MyDatabaseId, view->viewid);

			if (shared != view->shared)
				fe_push_drop_programs(view);
			view->shared = shared;
		}
		view->live = fe_push_view_ready(view);
		if (view->live &&
			(!live_before || pg_atomic_read_u32(&view->shared->resync) != RESYNC_SEEN))
			view->wants_fill = view->online;
		if (view->live && view->recorder && !view->wants_mark &&
			(!live_before || pg_atomic_read_u32(&view->shared->reoffer) == 0))
			fe_record_begin_again(view);
	}
}

void
fe_push_begin_fill(FePusher *p, FePushView *view)
{
	view->wants_fill = false;
	view->filling = true;
	view->drained[FE_SINK_REDIS] = false;
	pg_atomic_write_u32(&view->shared->resync, RESYNC_SEEN);
	pg_memory_barrier();
	fe_shown_forget_all(view);
	fe_state_mark_all_dirty(view->shared, view->plan, true);
	fe_scan_start(view);
	if (view->to_history && view->wants_mark)
		fe_record_marked(view);
}

void
fe_push_begin_record(FePushView *view)
{
	if (view->behind)
		fe_record_begin_again(view);
	if (!view->wants_mark)
		return;
	fe_record_marked(view);
	fe_state_mark_all_dirty(view->shared, view->plan, false);
}
