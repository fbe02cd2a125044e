/*
 * shown.c
 *		A hash in Redis for each window of an entity (a template with
 *		{window_start}).
 *
 * Runs in the pusher; private memory, no locks.  Of each entity it is known which
 * windows have a hash, and a hash of what is in it: of an entity that changes only
 * the windows that have changed are written, and windows that have vanished are
 * deleted.  All that is done about one entity is one unit on its way.  Where that
 * fails, everything of the entity is written again, and the keyspace is looked
 * through for hashes that should be gone.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "online/pusher.h"
#include "utils/memutils.h"

typedef struct ShownWindow
{
	FeTime		start;
	uint64		content;		/* FE_CONTENT_UNKNOWN: to be written */
} ShownWindow;

typedef struct ShownEntity
{
	FeRef		ref;
	uint32		serial;
	uint32		status;			/* of the hash table */
	int			n;
	ShownWindow *windows;		/* ascending */
} ShownEntity;

#define SH_PREFIX		shown
#define SH_ELEMENT_TYPE	ShownEntity
#define SH_KEY_TYPE		FeRef
#define SH_KEY			ref
#define SH_HASH_KEY(tb, key)	murmurhash32(key)
#define SH_EQUAL(tb, a, b)		((a) == (b))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct FeShown
{
	MemoryContext parent;
	MemoryContext cxt;
	shown_hash *entities;
};

static void
make_table(FeShown *shown)
{
	shown->cxt = AllocSetContextCreate(shown->parent, "feature_engine shown windows",
									   ALLOCSET_DEFAULT_SIZES);
	shown->entities = shown_create(shown->cxt, 64, NULL);
}

FeShown *
fe_shown_create(MemoryContext cxt)
{
	FeShown    *shown = MemoryContextAllocZero(cxt, sizeof(FeShown));

	shown->parent = cxt;
	make_table(shown);
	return shown;
}

/* An entry of an earlier entity at the same place is none of this one. */
static ShownEntity *
find(FeShown *shown, FeEntityRef ref)
{
	ShownEntity *e = shown_lookup(shown->entities, ref.ref);

	return e != NULL && e->serial == ref.serial ? e : NULL;
}

static void
forget_entity(FeShown *shown, FeRef ref)
{
	ShownEntity *e = shown_lookup(shown->entities, ref);

	if (e == NULL)
		return;
	if (e->windows)
		pfree(e->windows);
	shown_delete_item(shown->entities, e);
}

void
fe_shown_forget(FePushView *view, FeEntityRef ref)
{
	ShownEntity *e = view->shown ? find(view->shown, ref) : NULL;

	if (view->shown == NULL)
		return;
	for (int i = 0; e != NULL && i < e->n; i++)
		e->windows[i].content = FE_CONTENT_UNKNOWN;
	/* a deletion may be what has failed, and of that nothing is left here */
	fe_scan_restart(view, false);
}

/* Whoever says so looks for keys of no entity, too. */
void
fe_shown_forget_all(FePushView *view)
{
	if (view->shown == NULL)
		return;
	MemoryContextDelete(view->shown->cxt);
	make_table(view->shown);
}

/* ---- one entity -------------------------------------------------------------------- */

/* What a window is to be in Redis. */
typedef struct WindowState
{
	FeTime		start;
	uint64		content;
	FePushVector v;
} WindowState;

/* All rows, with their texts; an error leaves nothing half done. */
static WindowState *
evaluate_windows(FePusher *p, FePushView *view, FeEntityRef ref, FeTime T, bool isolated,
				 FeEvaluated *ev, int *n)
{
	int			rows = ev->found && ev->exists ? fe_state_rows(view->reader) : 0;
	WindowState *states = palloc(Max(rows, 1) * sizeof(WindowState));
	FeRange    *windows = palloc(Max(rows, 1) * sizeof(FeRange));

	*n = 0;
	for (int row = 0; row < rows; row++)
	{
		WindowState *state = &states[*n];

		windows[*n] = fe_state_row_window(view->reader, row);
		state->start = windows[*n].lo;
		if (state->start == PG_INT64_MAX)
			continue;
		CHECK_FOR_INTERRUPTS();
		ev->v.texts = palloc0(Max(view->ncolumns, 1) * sizeof(char *));
		ev->v.lens = palloc0(Max(view->ncolumns, 1) * sizeof(int));
		if (!fe_push_row(p, view, ref, T, row, isolated, ev))
			continue;
		fe_record_window(p, view, ref, ev, windows[*n]);
		ev->v.key = fe_encode_key(view, ev->values, state->start, &ev->v.keylen);
		ev->v.lsn = ev->info.lsn;
		state->content = fe_encode_content(view, &ev->v);
		state->v = ev->v;
		(*n)++;
	}
	fe_record_windows_end(p, view, ref, ev, windows, *n);
	return states;
}

static FeUnitKind
unit_kind(FePushReason reason, const FeEvaluated *ev, bool retry, bool is_new)
{
	if (reason == FE_PUSH_DIRTY)
		return ev->info.changed ? FE_UNIT_CHANGE : FE_UNIT_REFILL;
	return retry || is_new ? FE_UNIT_CHANGE : FE_UNIT_TIME;
}

/* Appends what brings Redis from what is shown to these windows; number of replies. */
static int
encode_windows(FePusher *p, FePushView *view, const ShownEntity *e, WindowState *states, int n,
			   FePushReason reason, bool retry, const FeEvaluated *ev)
{
	int			old = 0;
	int			nold = e ? e->n : 0;
	int			replies = 0;

	for (int i = 0; i < n || old < nold;)
	{
		bool		gone = old < nold && (i == n || e->windows[old].start < states[i].start);
		bool		known = !gone && old < nold && e->windows[old].start == states[i].start;

		if (gone)
		{
			int			len;
			char	   *key = fe_encode_key(view, ev->values, e->windows[old++].start, &len);

			replies += fe_encode_gone(p, view, key, len);
			continue;
		}
		if (!known || retry || e->windows[old].content != states[i].content)
		{
			states[i].v.known = known && !retry && e->windows[old].content != FE_CONTENT_UNKNOWN;
			replies += fe_encode_push(p, view, unit_kind(reason, ev, retry, !known),
									  &states[i].v);
		}
		i++;
		if (known)
			old++;
	}
	return replies;
}

static void
remember(FeShown *shown, FeEntityRef ref, const WindowState *states, int n)
{
	ShownEntity *e;
	bool		found;

	forget_entity(shown, ref.ref);
	if (n == 0)
		return;
	e = shown_insert(shown->entities, ref.ref, &found);
	e->serial = ref.serial;
	e->n = n;
	e->windows = MemoryContextAlloc(shown->cxt, n * sizeof(ShownWindow));
	for (int i = 0; i < n; i++)
		e->windows[i] = (ShownWindow) {states[i].start, states[i].content};
}

void
fe_push_windows(FePusher *p, FePushView *view, FeEntityRef ref, FePushReason reason, FeTime T,
				bool isolated, FeEvaluated *ev)
{
	FeScheduleEntry *entry = fe_schedule_get(view->schedule, ref, false);
	bool		retry = entry && entry->retry;
	WindowState *states;
	int			n;
	int			replies;
	FeUnitKind	kind;

	if (!ev->found || fe_push_any_null(view->plan, ev->nulls))
	{
		forget_entity(view->shown, ref.ref);
		fe_push_note_schedule(view, ref, FE_CONTENT_GONE, FE_NEVER);
		fe_state_set_pushed(view->shared, view->plan, ref, false);
		return;
	}
	states = evaluate_windows(p, view, ref, T, isolated, ev, &n);
	ev->exists = n > 0;
	fe_push_note_schedule(view, ref, FE_CONTENT_GONE, fe_push_next_date(view, ev, T));
	if (!view->to_redis)
	{
		fe_owed_add(view, ref, n > 0, reason == FE_PUSH_DIRTY, retry);
		return;
	}
	replies = encode_windows(p, view, find(view->shown, ref), states, n, reason, retry, ev);
	remember(view->shown, ref, states, n);
	if (replies == 0)
	{
		fe_state_set_pushed(view->shared, view->plan, ref, n > 0);
		return;
	}
	kind = n == 0 ? FE_UNIT_GONE : unit_kind(reason, ev, retry, false);
	fe_flight_add(p, kind, replies, view, &ref, reason == FE_PUSH_DIRTY);
}
