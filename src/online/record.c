/*
 * record.c
 *		From evaluated entities to the history (offline/).
 *
 * Runs in the pusher, in its transactions; what is offered here is written at the
 * end of the slice, before what was appended for Redis is sent.  An entity that
 * vanished is known by its keys; of a view that records each window it is known
 * which windows were recorded, and those that have vanished are recorded as
 * deleted.  Where nothing is known of them (after a start) the history itself is
 * walked through for keys that the view does not have any more.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "offline/offline.h"
#include "online/pusher.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define SUSPECTS	256			/* looked at in one transaction */

/* ---- windows that were recorded --------------------------------------------------------- */

typedef struct RecordedEntity
{
	FeRef		ref;
	uint32		serial;
	uint32		status;			/* of the hash table */
	int			n;
	FeTime	   *windows;		/* start and end of each, ascending */
} RecordedEntity;

#define SH_PREFIX		recorded
#define SH_ELEMENT_TYPE	RecordedEntity
#define SH_KEY_TYPE		FeRef
#define SH_KEY			ref
#define SH_HASH_KEY(tb, key)	murmurhash32(key)
#define SH_EQUAL(tb, a, b)		((a) == (b))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct FeRecorder
{
	FeOffline  *offline;
	int		   *feature_at;		/* by number in the history: which of view->columns */
	MemoryContext windows_cxt;	/* of recorded; NULL: not each window is recorded */
	recorded_hash *recorded;
};

static void
forget_windows(FeRecorder *r, const FePushView *view)
{
	if (!fe_offline_shape(r->offline)->per_window)
		return;
	if (r->windows_cxt)
		MemoryContextDelete(r->windows_cxt);
	r->windows_cxt = AllocSetContextCreate(view->cxt, "feature_engine recorded windows",
										   ALLOCSET_DEFAULT_SIZES);
	r->recorded = recorded_create(r->windows_cxt, 64, NULL);
}

void
fe_record_create(FePushView *view)
{
	FeRecorder *r = palloc0(sizeof(FeRecorder));
	const FeHistoryShape *shape;

	r->offline = fe_offline_create(view->plan, view->cxt);
	shape = fe_offline_shape(r->offline);
	r->feature_at = palloc(Max(shape->nfeatures, 1) * sizeof(int));
	for (int i = 0; i < shape->nfeatures; i++)
		for (int c = 0; c < view->nall; c++)
			if (view->columns[c].column == shape->features[i])
				r->feature_at[i] = c;
	view->recorder = r;
	view->wants_mark = true;
	forget_windows(r, view);
}

/* ---- pace --------------------------------------------------------------------------------- */

bool
fe_record_ready(const FePushView *view, TimestampTz now)
{
	return view->recorder != NULL && fe_offline_ready(view->recorder->offline, now);
}

TimestampTz
fe_record_retry_at(const FePushView *view)
{
	return fe_offline_retry_at(view->recorder->offline);
}

FeTime
fe_record_due(const FePushView *view)
{
	return fe_offline_next_suspect(view->recorder->offline);
}

/* Something was not recorded: all of it is offered again. */
void
fe_record_begin_again(FePushView *view)
{
	view->behind = false;
	view->wants_mark = true;
	fe_offline_forget(view->recorder->offline);
	forget_windows(view->recorder, view);
}

void
fe_record_drained(FePushView *view)
{
	if (!view->wants_mark && !view->behind)
		fe_offline_all_offered(view->recorder->offline);
}

void
fe_record_missed(FePushView *view)
{
	if (view->recorder)
		fe_offline_missed(view->recorder->offline);
}

void
fe_record_marked(FePushView *view)
{
	view->wants_mark = false;
	pg_atomic_write_u32(&view->shared->reoffer, 1);
	view->drained[FE_SINK_HISTORY] = false;
	fe_offline_walk_begin(view->recorder->offline);
}

/* ---- offering ------------------------------------------------------------------------------ */

static TimestampTz
commit_time(const FePusher *p, XLogRecPtr lsn, FeTime T)
{
	TimestampTz at;

	if (fe_clock_is_frozen() || !fe_commits_find(p->db, lsn, &at))
		return T;
	return Min(at, T);
}

static void
offer(FePusher *p, FePushView *view, FeEntityRef ref, const FeEvaluated *ev, FeRange window,
	  bool deleted)
{
	FeRecorder *r = view->recorder;
	const FeHistoryShape *shape = fe_offline_shape(r->offline);
	FeOfflineRow row = {.ref = ref, .T = ev->v.T, .lsn = ev->info.lsn, .deleted = deleted};
	Datum		keys[FE_MAX_KEYS + 1];
	Datum	   *features = palloc(Max(shape->nfeatures, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(shape->nfeatures, 1) * sizeof(bool));

	for (int i = 0; i < shape->nkeys; i++)
	{
		int			key = view->plan->columns[shape->keys[i]].key;

		keys[i] = key >= 0 ? ev->values[key] :
			fe_window_datum(window);
	}
	for (int i = 0; i < shape->nfeatures && !deleted; i++)
	{
		features[i] = ev->features[r->feature_at[i]];
		nulls[i] = ev->feature_nulls[r->feature_at[i]];
	}
	if (shape->per_window)
		row.window = (int64) hash_bytes_extended((const unsigned char *) &window,
												 sizeof(window), 0);
	row.created = commit_time(p, ev->info.lsn, ev->v.T);
	row.keys = keys;
	row.features = features;
	row.nulls = nulls;
	fe_offline_offer(r->offline, &row);
}

int
fe_record_offered(const FePushView *view)
{
	return view->recorder ? fe_offline_offered(view->recorder->offline) : 0;
}

void
fe_record_take_back(FePushView *view, int offered)
{
	if (view->recorder)
		fe_offline_take_back(view->recorder->offline, offered);
}

void
fe_record_entity(FePusher *p, FePushView *view, FeEntityRef ref, const FeEvaluated *ev)
{
	if (view->to_history && ev->found && !fe_push_any_null(view->plan, ev->nulls))
		offer(p, view, ref, ev, (FeRange) {0, 0}, !ev->exists);
}

/* The windows of an entity come one after the other, in their order ... */
void
fe_record_window(FePusher *p, FePushView *view, FeEntityRef ref, const FeEvaluated *ev,
				 FeRange window)
{
	if (view->to_history)
		offer(p, view, ref, ev, window, false);
}

/* ... and in the end it is clear which are not there any more. */
void
fe_record_windows_end(FePusher *p, FePushView *view, FeEntityRef ref, const FeEvaluated *ev,
					  const FeRange *windows, int n)
{
	FeRecorder *r = view->recorder;
	RecordedEntity *e;
	bool		found;
	int			at = 0;

	if (!view->to_history)
		return;
	e = recorded_insert(r->recorded, ref.ref, &found);
	if (found && e->serial == ref.serial)
		for (int i = 0; i < e->n; i += 2)
		{
			while (at < n && windows[at].lo < e->windows[i])
				at++;
			if (at < n && windows[at].lo == e->windows[i] && windows[at].hi == e->windows[i + 1])
				continue;
			offer(p, view, ref, ev, (FeRange) {e->windows[i], e->windows[i + 1]}, true);
		}
	if (found && e->windows)
		pfree(e->windows);
	e->windows = NULL;
	e->serial = ref.serial;
	e->n = 2 * n;
	if (n == 0)
	{
		recorded_delete_item(r->recorded, e);
		return;
	}
	e->windows = MemoryContextAlloc(r->windows_cxt, 2 * n * sizeof(FeTime));
	for (int i = 0; i < n; i++)
	{
		e->windows[2 * i] = windows[i].lo;
		e->windows[2 * i + 1] = windows[i].hi;
	}
}

/* ---- writing -------------------------------------------------------------------------------- */

/* It comes up again then. */
static void
held(void *arg, FeEntityRef ref, FeTime until)
{
	FePushView *view = arg;
	FeScheduleEntry *e = fe_schedule_get(view->schedule, ref, true);

	fe_schedule_at(view->schedule, e, Min(e->due, until));
}

void
fe_record_write(FePusher *p, FePushView *view)
{
	FeOffline  *offline = view->recorder->offline;

	if (fe_offline_offered(offline) == 0)
		return;
	if (fe_offline_write(offline, view->shared, held, view))
		fe_worker_made_progress();
	else
	{
		view->behind = true;
		fe_ticket_failed(p, FE_SINK_HISTORY);
	}
}

/* ---- entities that vanished unseen ------------------------------------------------ */

/*
 * Is the row that a suspect key stands for still the view's?  *entity: where the state
 * still has what is left of it, if anything; its own evaluation may come later.
 */
static bool
is_there(FePushView *view, const Datum *keys, FeTime T, FeEvaluated *ev, FeRange *window,
		 FeEntityRef *entity)
{
	FeEntityInfo info = {0};
	bool		found;
	const FeHistoryShape *shape = fe_offline_shape(view->recorder->offline);
	Datum		state_keys[FE_MAX_KEYS];
	bool		nulls[FE_MAX_KEYS] = {false};

	for (int i = 0; i < shape->nkeys; i++)
	{
		int			key = view->plan->columns[shape->keys[i]].key;

		if (key >= 0)
			ev->values[key] = state_keys[key] = keys[i];
		else
			*window = fe_window_of_datum(keys[i]);
	}
	fe_state_want_newest(view->reader, 0);
	found = fe_state_lookup(view->reader, state_keys, nulls, T, ev->values, ev->nulls, &info);
	*entity = info.ref;
	if (!found)
		return false;
	if (!shape->per_window)
		return true;			/* and if it is no row of the view, it has been offered as such */
	for (int row = 0; row < fe_state_rows(view->reader); row++)
	{
		FeRange		other = fe_state_row_window(view->reader, row);

		if (other.lo == window->lo && other.hi == window->hi)
			return fe_push_is_row(view, row, T, ev);
	}
	return false;
}

/* A suspect that is no row of the view any more. */
typedef struct Vanished
{
	FeEvaluated ev;
	FeEntityRef entity;
	FeRange		window;
} Vanished;

static bool
has_vanished(FePusher *p, FePushView *view, const Datum *keys, Vanished *v)
{
	const FeHistoryShape *shape = fe_offline_shape(view->recorder->offline);
	int			n = view->plan->nkeys + view->plan->naggs;

	memset(v, 0, sizeof(Vanished));
	v->ev.info.lsn = pg_atomic_read_u64(&p->db->applied_lsn);
	v->ev.values = palloc0(n * sizeof(Datum));
	v->ev.nulls = palloc0(n * sizeof(bool));
	v->ev.watermark = fe_view_watermark(view->shared, view->plan);
	v->ev.v.T = fe_clock_now();
	(void) fe_clock_set_eval_time(v->ev.v.T);
	if (is_there(view, keys, v->ev.v.T, &v->ev, &v->window, &v->entity))
		return false;
	/* the state's own do not last: it is offered later */
	for (int i = 0; i < shape->nkeys; i++)
		if (view->plan->columns[shape->keys[i]].key >= 0)
			v->ev.values[view->plan->columns[shape->keys[i]].key] = keys[i];
	return true;
}

static pg_noinline void
look_at_suspects(FePusher *p, FePushView *view, Vanished *vanished, volatile int *n)
{
	Datum		keys[FE_MAX_KEYS + 1];

	fe_inject_wait("suspects");
	if (!fe_push_view_ready(view))
		return;					/* it is being built anew: who is missing has not vanished */
	for (int i = 0; i < SUSPECTS &&
		 fe_offline_suspect(view->recorder->offline, fe_clock_now(), keys); i++)
	{
		if (has_vanished(p, view, keys, &vanished[*n]))
			*n += 1;
	}
}

/*
 * At one T, which is not before what has taken them away: who is a suspect twice (it came
 * back meanwhile, and vanished again) is recorded once.
 */
static void
offer_vanished(FePusher *p, FePushView *view, Vanished *vanished, int n)
{
	FeTime		T = fe_clock_now();

	StartTransactionCommand();
	MemoryContextSwitchTo(p->slice_cxt);
	for (int i = 0; i < n; i++)
	{
		vanished[i].ev.v.T = T;
		offer(p, view, vanished[i].entity, &vanished[i].ev, vanished[i].window, true);
	}
	CommitTransactionCommand();
}

/* An error means that something has not been recorded. */
static void
look_safely(FePusher *p, FePushView *view)
{
	MemoryContext cxt = CurrentMemoryContext;
	Vanished   *vanished = MemoryContextAlloc(p->slice_cxt, SUSPECTS * sizeof(Vanished));
	volatile int n = 0;

	PG_TRY();
	{
		fe_push_enter(view);
		fe_push_make_programs(view);
		MemoryContextSwitchTo(p->slice_cxt);
		look_at_suspects(p, view, vanished, &n);
		(void) fe_clock_set_eval_time(PG_INT64_MIN);
		fe_push_leave();
	}
	PG_CATCH();
	{
		FreeErrorData(fe_worker_caught(cxt));
		(void) fe_clock_set_eval_time(PG_INT64_MIN);
		fe_push_drop_programs(view);
		if (!fe_push_view_ready(view))
			view->live = false;
	}
	PG_END_TRY();
	if (n > 0)
		offer_vanished(p, view, vanished, n);
	MemoryContextSwitchTo(cxt);
	MemoryContextReset(p->slice_cxt);
}

/* After all that is fresh: the walk, its suspects, and old partitions.  True: there is more. */
bool
fe_record_step(FePusher *p, FePushView *view, TimestampTz now)
{
	FeOffline  *offline = view->recorder->offline;

	if (fe_offline_next_suspect(offline) <= fe_clock_now())
	{
		look_safely(p, view);
		fe_record_write(p, view);
		return true;
	}
	if (fe_offline_walking(offline) && !view->wants_mark)
		return fe_offline_walk_step(offline, view->shared);
	fe_offline_retention_step(offline, view->shared, now);
	return false;
}

/* Nothing that is due now is still to be recorded. */
bool
fe_record_settled(const FePushView *view)
{
	return !view->wants_mark && !view->behind &&
		!fe_offline_walking(view->recorder->offline) &&
		!fe_offline_retention_is_due(view->recorder->offline, GetCurrentTimestamp()) &&
		fe_offline_next_suspect(view->recorder->offline) > fe_clock_now() &&
		fe_schedule_next(view->schedule) > fe_clock_now();
}
