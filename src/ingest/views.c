/*
 * views.c
 *		The ingest worker's list of feature views, kept in line with the
 *		catalogue.  What follows from it for tables is in tables.c.
 *
 * Runs in the ingest worker.  fe_ingest_load_views runs inside a transaction;
 * the rest anywhere.  Locks are the state room's.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "ingest/ingest.h"

/* Why a view is built anew, for the log. */
#define FE_PARTITIONS_CHANGED	"partitions of its table were attached, detached or dropped"

#define FE_RETRY_FIRST_MS	1000
#define FE_RETRY_MAX_MS		(5 * 60 * 1000)

/* ---- one view ------------------------------------------------------------- */

static void
storage_of_values(FeIngestView *view)
{
	ListCell   *lc;
	int			i = 0;

	view->nvalues = list_length(view->plan->rowexprs);
	view->typlen = palloc(view->nvalues * sizeof(int16) + 1);
	view->typbyval = palloc(view->nvalues * sizeof(bool) + 1);
	foreach(lc, view->plan->rowexprs)
	{
		get_typlenbyval(exprType(lfirst(lc)), &view->typlen[i], &view->typbyval[i]);
		i++;
	}
}

/* NULL: there is no such view any more. */
static FeIngestView *
view_create(int32 viewid)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "feature view",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FeIngestView *view = palloc0(sizeof(FeIngestView));

	view->cxt = cxt;
	view->plan = fe_plan_load(viewid, cxt);
	if (view->plan == NULL)
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(cxt);
		return NULL;
	}
	view->partitions = fe_partitions_of_plan(view->plan, fe_catalog_watch);
	fe_ingest_renew_programs(view);
	storage_of_values(view);
	fe_join_create(view);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(cxt, TopMemoryContext);
	return view;
}

/*
 * The same, in a subtransaction: what the definition names can be dropped, with
 * the view, while we look it up.  NULL then; the drop's own notice makes us look
 * again.  So it does of a definition that says nothing yet: pg_restore makes a
 * view that needs a primary key in two steps.  *unfit: that is how it is.
 */
static FeIngestView *
view_create_if_possible(int32 viewid, bool *unfit)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	FeIngestView *volatile view = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		view = view_create(viewid);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		int			code = geterrcode();
		ErrorData  *error;

		if (code != ERRCODE_UNDEFINED_OBJECT && code != ERRCODE_UNDEFINED_TABLE &&
			code != ERRCODE_FEATURE_NOT_SUPPORTED)
			PG_RE_THROW();
		*unfit = (code == ERRCODE_FEATURE_NOT_SUPPORTED);
		error = fe_worker_caught_inside(cxt);
		if (*unfit)
			ereport(LOG,
					(errmsg("feature view %d waits for another definition: %s", viewid,
							error->message)));
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	return view;
}

/* A plan of the same state with other options or names takes the old one's place. */
static void
view_adopt(FeIngestView *view, FeIngestView *newer)
{
	newer->shared = view->shared;
	newer->pass_event_time = view->pass_event_time;
	newer->event_time = view->event_time;
	newer->applying = view->applying;
	newer->scanned = view->scanned;
	newer->seen = view->seen;
	newer->live_lsn = view->live_lsn;
	newer->replay_from = view->replay_from;
	newer->store_is_ours = view->store_is_ours;
	newer->began_lsn = view->began_lsn;
	newer->hold_lsn = view->hold_lsn;
	newer->store_soon = view->store_soon;
	newer->rebuild = view->rebuild;
	newer->waits_for_detach = view->waits_for_detach;
	newer->skips_reported = view->skips_reported;
	newer->next_skip_report = view->next_skip_report;
	fe_join_adopt_parts(view, newer);
}

/* Has nothing become of the partitions since an earlier worker looked? */
static bool
knows_partitions(const FeIngestView *view, FeViewShared *shared)
{
	if (pg_atomic_read_u64(&shared->partitions_hash) == fe_partitions_hash(view->partitions))
		return true;
	ereport(LOG,
			(errmsg("feature view \"%s\" is built anew: %s", view->plan->name,
					FE_PARTITIONS_CHANGED)));
	return false;
}

/*
 * Finds the view's state, or claims a place for it.  State of an earlier
 * worker is good when it was complete; half a backfill is begun again.
 */
static void
view_attach(FeIngest *ingest, FeIngestView *view)
{
	FePlan	   *plan = view->plan;
	FeViewShared *shared = fe_view_find(MyDatabaseId, plan->viewid);
	bool		online = plan->options.online_enabled;

	if (shared != NULL)
	{
		FeViewState state = pg_atomic_read_u32(&shared->state);

		if ((state == FE_VIEW_LIVE || state == FE_VIEW_FAILED) &&
			knows_partitions(view, shared) && fe_join_find_parts(view))
			view->shared = shared;
		else if (state == FE_VIEW_RECOVERING && fe_plan_is_stream(plan) &&
				 shared->resume_lsn != InvalidXLogRecPtr)
		{
			/* tried again at once: it goes on where it began to catch up */
			view->shared = shared;
			shared->resume_upto = Max(shared->resume_upto,
									  pg_atomic_read_u64(&ingest->db->applied_lsn));
			shared->retry_at = 0;
			fe_view_set_state(shared, FE_VIEW_FAILED);
		}
		else
			fe_view_release(ingest->heap, shared, plan);
	}
	if (view->shared == NULL)
	{
		fe_join_release_parts(ingest, view);
		view->shared = fe_view_claim(MyDatabaseId, plan->viewid, plan->state_version, online);
		fe_join_claim_parts(view);
		fe_ingest_set_state(view, FE_VIEW_WAITING);
	}
	pg_atomic_write_u64(&view->shared->partitions_hash, fe_partitions_hash(view->partitions));
	view->shared->online = online;
	view->shared->offline = plan->options.offline;
	view->applying = pg_atomic_read_u32(&view->shared->state) == FE_VIEW_LIVE;
	view->store_is_ours = fe_state_stored_lsn(view->shared) != InvalidXLogRecPtr;
	view->store_soon = fe_plan_is_stream(plan) && !view->store_is_ours;
}

static void
view_open_writer(FeIngest *ingest, FeIngestView *view)
{
	MemoryContext old = MemoryContextSwitchTo(view->cxt);

	view->writer = fe_state_writer_create(ingest->heap, view->shared, view->plan);
	MemoryContextSwitchTo(old);
	fe_join_open_parts(ingest, view);
}

static void
view_free(FeIngestView *view)
{
	if (view->writer)
		fe_state_writer_free(view->writer);
	MemoryContextDelete(view->cxt);
}

/* The view is gone from the catalogue, or is another one now. */
static void
view_drop(FeIngest *ingest, FeIngestView *view)
{
	fe_backfill_forget_view(ingest, view);
	if (view->writer)
		fe_state_writer_free(view->writer);
	view->writer = NULL;
	fe_join_release_parts(ingest, view);
	fe_view_release(ingest->heap, view->shared, view->plan);
	if (view->seen)
		pfree(view->seen);
	view_free(view);
}

void
fe_ingest_reset_view(FeIngest *ingest, FeIngestView *view)
{
	FePlan	   *plan = view->plan;
	int			failures = view->shared->failures;
	TimestampTz failed_at = view->shared->last_error_at;

	fe_backfill_forget_view(ingest, view);
	fe_state_writer_free(view->writer);
	fe_join_release_parts(ingest, view);
	fe_view_release(ingest->heap, view->shared, plan);
	view->shared = fe_view_claim(MyDatabaseId, plan->viewid, plan->state_version,
								 plan->options.online_enabled);
	view->shared->offline = plan->options.offline;
	fe_join_claim_parts(view);
	pg_atomic_write_u64(&view->shared->partitions_hash, fe_partitions_hash(view->partitions));
	view->shared->failures = failures;
	view->shared->last_error_at = failed_at;
	view_open_writer(ingest, view);
	view->applying = false;
	view->scanned = false;
	view->live_lsn = InvalidXLogRecPtr;
	view->replay_from = InvalidXLogRecPtr;
	view->store_is_ours = false;
	view->rebuild = NULL;
	view->waits_for_detach = false;
	view->skips_reported = 0;
	view->began_lsn = InvalidXLogRecPtr;
	view->hold_lsn = InvalidXLogRecPtr;
	view->store_soon = false;
	if (view->seen)
		pfree(view->seen);
	view->seen = NULL;
	fe_ingest_set_state(view, FE_VIEW_WAITING);
}

void
fe_ingest_rebuild_view(FeIngest *ingest, FeIngestView *view, const char *why)
{
	view->applying = false;
	fe_backfill_forget_view(ingest, view);
	view->scanned = false;
	view->rebuild = why;
	fe_ingest_set_state(view, FE_VIEW_WAITING);
	SetLatch(MyLatch);			/* at once, not when something else comes */
}

void
fe_ingest_begin_rebuilds(FeIngest *ingest)
{
	ListCell   *lc;

	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		if (view->rebuild == NULL)
			continue;
		if (pg_atomic_read_u32(&view->shared->state) == FE_VIEW_FAILED)
		{
			view->rebuild = NULL;	/* it stopped meanwhile: it is, when that may be */
			continue;
		}
		ereport(LOG,
				(errmsg("feature view \"%s\" is built anew: %s", view->plan->name, view->rebuild)));
		fe_ingest_reset_view(ingest, view);
	}
}

/* What the error left behind in the old one may be in any state. */
void
fe_ingest_renew_programs(FeIngestView *view)
{
	int			narms = view->plan->narms;

	if (view->program_cxt)
		MemoryContextDelete(view->program_cxt);
	view->programs = NULL;
	view->program_cxt = AllocSetContextCreate(view->cxt, "feature view program",
											  ALLOCSET_SMALL_SIZES);
	view->programs = MemoryContextAllocZero(view->program_cxt, sizeof(FeRowProgram *) * narms);
	view->runs_code = false;
	for (int i = 0; i < narms; i++)
	{
		if (view->plan->arms[i].form == FE_FORM_DIMENSION)
			continue;
		view->programs[i] = fe_row_program_create(view->plan, i, view->program_cxt);
		view->runs_code |= fe_row_program_runs_code(view->programs[i]);
	}
}

/*
 * Rebuilding reads the whole table, so a view that stops again and again is
 * rebuilt more and more seldom, also when it was live in between.
 */
void
fe_ingest_fail_view(FeIngest *ingest, FeIngestView *view, const char *message)
{
	int			failures;
	int			delay;

	if (TimestampDifferenceExceeds(view->shared->last_error_at, GetCurrentTimestamp(),
								   2 * FE_RETRY_MAX_MS))
		view->shared->failures = 0;
	failures = ++view->shared->failures;
	delay = Min(FE_RETRY_FIRST_MS << Min(failures - 1, 12), FE_RETRY_MAX_MS);

	ingest->next_check = 0;
	fe_history_stop(ingest, view);
	view->applying = false;
	/* a backfill that still runs must not bring it to life at its end */
	fe_backfill_forget_view(ingest, view);
	view->scanned = false;
	fe_view_set_error(view->shared, message,
					  TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay));
	fe_ingest_set_state(view, FE_VIEW_FAILED);
	ConditionVariableBroadcast(&ingest->db->progress);
	ereport(LOG,
			(errmsg("feature view \"%s\" has stopped: %s", view->plan->name, message),
			 fe_history_keeps_state(view) ?
			 errdetail("It is tried again in %d s, and goes on where it stopped.",
					   Max(delay / 1000, 1)) :
			 errdetail("It is rebuilt from its table in %d s.", Max(delay / 1000, 1))));
}

void
fe_ingest_lose_state(FeIngest *ingest, const char *why)
{
	ListCell   *lc;

	if (why != NULL)
		ereport(WARNING,
				(errmsg("state of the feature views of this database is discarded: %s", why),
				 errdetail("They are loaded from their checkpoints where these can be used, and else rebuilt from their tables.")));
	fe_backfill_cancel(ingest);
	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		view_free(view);
	}
	list_free(ingest->views);
	ingest->views = NIL;
	list_free(ingest->states);
	ingest->states = NIL;
	ingest->catalog_loaded = false;
	fe_view_forget_all(MyDatabaseId);
	fe_heap_reset(ingest->heap);
	pg_atomic_write_u64(&ingest->db->applied_lsn, 0);
	ingest->stream_lsn = InvalidXLogRecPtr;
	pg_atomic_write_u32(&ingest->db->merging, 0);
	pg_atomic_fetch_add_u64(&ingest->db->generation, 1);
}

/* ---- all views -------------------------------------------------------------- */

static FeIngestView *
find_view(FeIngest *ingest, int32 viewid)
{
	ListCell   *lc;

	foreach(lc, ingest->views)
		if (((FeIngestView *) lfirst(lc))->plan->viewid == viewid)
			return lfirst(lc);
	return NULL;
}

/*
 * State that an earlier worker left is good where it belongs to a view of today's
 * catalogue in the very layout it was built with.  The rest is given back.
 */
static void
release_strange_state(FeIngest *ingest, List *ids)
{
	for (int i = 0; i < fe_view_count(); i++)
	{
		FeViewShared *shared = fe_view_slot(i);
		FeIngestView *view;
		bool		unfit;
		bool		fits;

		if (shared->dboid != MyDatabaseId ||
			pg_atomic_read_u32(&shared->state) == FE_VIEW_FREE)
			continue;
		view = list_member_int(ids, fe_view_of_part(shared->viewid)) ?
			view_create_if_possible(fe_view_of_part(shared->viewid), &unfit) : NULL;
		fits = view != NULL && view->plan->state_version == shared->state_version;
		if (view)
			view_free(view);
		if (!fits)
			fe_view_release(ingest->heap, shared, NULL);
	}
}

/*
 * A partition that was created as one since the last look has brought no rows that
 * were not captured.  After anything else the state is not that of the table.
 */
static void
compare_partitions(FeIngest *ingest, FeIngestView *old, FeIngestView *view)
{
	FeViewState state = pg_atomic_read_u32(&view->shared->state);
	bool		holds = fe_partitions_compare(old->partitions, view->partitions) !=
		FE_PARTITIONS_OTHERS;
	bool		empty = state == FE_VIEW_WAITING && view->rebuild == NULL;

	if (!holds && state != FE_VIEW_WAITING && state != FE_VIEW_FAILED)
		fe_ingest_rebuild_view(ingest, view, FE_PARTITIONS_CHANGED);

	/* of the state that is there, which may be written to the store at this moment */
	if (holds || empty)
		pg_atomic_write_u64(&view->shared->partitions_hash,
							fe_partitions_hash(view->partitions));
}

/* NULL: it is gone or, if *unfit, waits for a change that will be noticed. */
static FeIngestView *
load_view(FeIngest *ingest, int32 viewid, bool *unfit)
{
	FeIngestView *old = find_view(ingest, viewid);
	FeIngestView *view = view_create_if_possible(viewid, unfit);

	ingest->views = list_delete_ptr(ingest->views, old);
	if (view == NULL)
	{
		if (old)
			view_drop(ingest, old);
		return NULL;
	}
	if (old && old->plan->state_version == view->plan->state_version)
	{
		view_adopt(old, view);
		/* with other options it may get on: tried at once */
		if (fe_history_keeps_state(view) && view->plan->version != old->plan->version)
			view->shared->retry_at = 0;
		fe_backfill_replace_view(ingest, old, view);
		compare_partitions(ingest, old, view);
		view->shared->online = view->plan->options.online_enabled;
		view->shared->offline = view->plan->options.offline;
		view_free(old);
	}
	else
	{
		if (old)
			view_drop(ingest, old);
		view_attach(ingest, view);
	}
	view_open_writer(ingest, view);
	return view;
}

/* All that has state, numbered. */
static void
list_states(FeIngest *ingest)
{
	ListCell   *lc;

	list_free(ingest->states);
	ingest->states = NIL;
	ingest->joined = false;
	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		view->index = list_length(ingest->states);
		ingest->states = lappend(ingest->states, view);
		for (int i = 0; view->join && i < view->join->nparts; i++)
		{
			view->join->parts[i]->index = list_length(ingest->states);
			ingest->states = lappend(ingest->states, view->join->parts[i]);
		}
		ingest->joined |= view->join != NULL;
	}
}

bool
fe_ingest_load_views(FeIngest *ingest)
{
	uint64		change_count = fe_catalog_change_count();
	bool		installed;
	List	   *ids = fe_plan_list(&installed);
	List	   *views = NIL;
	bool		complete = true;
	ListCell   *lc;
	MemoryContext old;

	ingest->loading_views = true;
	if (ingest->views == NIL)
		release_strange_state(ingest, ids);
	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		if (!list_member_int(ids, view->plan->viewid))
		{
			ingest->views = foreach_delete_current(ingest->views, lc);
			view_drop(ingest, view);
		}
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	foreach(lc, ids)
	{
		bool		unfit = false;
		FeIngestView *view = load_view(ingest, lfirst_int(lc), &unfit);

		if (view == NULL)
		{
			complete = complete && unfit;
			continue;
		}
		views = lappend(views, view);
		fe_inject_wait("load-views");
	}
	list_free(ingest->views);
	ingest->views = views;
	list_states(ingest);
	ingest->loading_views = false;
	MemoryContextSwitchTo(old);

	/* what has changed may be the tables, which the check is for: not later */
	ingest->next_check = 0;
	ingest->catalog_seen = change_count;
	ingest->catalog_loaded = complete;
	pg_atomic_fetch_add_u64(&ingest->db->catalog_loads, 1);
	ConditionVariableBroadcast(&ingest->db->progress);
	return ids != NIL;
}
