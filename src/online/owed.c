/*
 * owed.c
 *		What Redis is owed: entities that were evaluated for the history while
 *		Redis was away.
 *
 * Runs in the pusher; private memory, bounded by the number of entities and by a
 * limit above which the view is filled anew.  When Redis is back each is pushed as
 * it would have been: those that the source has changed by way of the dirty list,
 * on which they are held meanwhile, those that time has changed by their date.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "online/pusher.h"

#define MAX_OWED	(128 * 1024)

typedef struct OwedEntity
{
	FeRef		ref;
	uint32		serial;
	uint64		hash;
	uint32		status;			/* of the hash table */
	bool		taken;			/* off the dirty list */
	bool		change;			/* to be pushed as one */
	bool		exists;
} OwedEntity;

#define SH_PREFIX		owed
#define SH_ELEMENT_TYPE	OwedEntity
#define SH_KEY_TYPE		FeRef
#define SH_KEY			ref
#define SH_HASH_KEY(tb, key)	murmurhash32(key)
#define SH_EQUAL(tb, a, b)		((a) == (b))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static FeEntityRef
ref_of(const OwedEntity *e)
{
	return (FeEntityRef) {.ref = e->ref, .serial = e->serial, .hash = e->hash};
}

bool
fe_owed_any(const FePushView *view)
{
	return view->owed != NULL && view->owed->members > 0;
}

static void
forget(FePushView *view)
{
	owed_destroy(view->owed);
	view->owed = NULL;
}

/* Too many to remember: everything is pushed anew, and keys of no entity are looked for. */
static void
give_up(FePushView *view)
{
	owed_iterator it;
	OwedEntity *e;

	owed_start_iterate(view->owed, &it);
	while ((e = owed_iterate(view->owed, &it)) != NULL)
		fe_state_set_pushed(view->shared, view->plan, ref_of(e), e->exists);
	forget(view);
	view->wants_fill = true;
}

void
fe_owed_add(FePushView *view, FeEntityRef ref, bool exists, bool taken, bool change)
{
	OwedEntity *e;
	bool		found;

	if (!view->online || view->wants_fill)
	{
		fe_state_set_pushed(view->shared, view->plan, ref, exists);
		return;
	}
	if (view->owed == NULL)
		view->owed = owed_create(view->cxt, 64, NULL);
	e = owed_insert(view->owed, ref.ref, &found);
	if (!found || e->serial != ref.serial)
		e->taken = e->change = false;
	e->serial = ref.serial;
	e->hash = ref.hash;
	e->exists = exists;
	e->taken |= taken;
	e->change |= change;
	if (view->owed->members > MAX_OWED)
		give_up(view);
}

void
fe_owed_return(FePushView *view)
{
	owed_iterator it;
	OwedEntity *e;

	if (!fe_owed_any(view))
		return;
	owed_start_iterate(view->owed, &it);
	while ((e = owed_iterate(view->owed, &it)) != NULL)
	{
		fe_shown_forget(view, ref_of(e));
		if (e->taken)
			fe_state_put_dirty(view->shared, view->plan, ref_of(e));
		else
			fe_push_schedule_again(view, ref_of(e), fe_clock_now(), e->change);
	}
	forget(view);
	view->drained[FE_SINK_REDIS] = false;
}
