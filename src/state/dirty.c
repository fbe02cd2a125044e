/*
 * dirty.c
 *		Entities that wait for the pusher, and what it says about them.
 *
 * The ingest worker appends to the list as it applies; the pusher takes from
 * its front, oldest first, so that under load every entity gets its turn.  An
 * entity is on the list once at most, and an entity that is on it, or that has
 * been taken and not reported on yet, is not freed.
 *
 * Every entity taken is to be reported on by fe_state_set_pushed, or put back.
 * A pusher that starts anew marks everything dirty: it cannot know what its
 * predecessor had taken.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "state/internal.h"

#define TAKE_AT_ONCE	64		/* entities followed while the mutex is held */

/* ---- the list ------------------------------------------------------------------- */

/* The entity's partition lock is held exclusively. */
void
fe_dirty_queue(FeViewShared *view, FeRef ref)
{
	FeTable    *table = fe_view_table(view);
	FeEntity   *e = fe_heap_ptr(ref);

	if (e->flags & FE_ENTITY_QUEUED)
		return;
	e->flags |= FE_ENTITY_QUEUED;
	e->dirty_next = 0;
	SpinLockAcquire(&table->dirty_mutex);
	if (table->dirty_tail != 0)
		((FeEntity *) fe_heap_ptr(table->dirty_tail))->dirty_next = ref;
	else
		table->dirty_head = ref;
	table->dirty_tail = ref;
	fe_count(&view->dirty, 1);
	SpinLockRelease(&table->dirty_mutex);
}

FeRef
fe_dirty_detach(FeViewShared *view)
{
	FeTable    *table = fe_view_table(view);
	FeRef		head;

	SpinLockAcquire(&table->dirty_mutex);
	head = table->dirty_head;
	table->dirty_head = 0;
	table->dirty_tail = 0;
	pg_atomic_write_u64(&view->dirty, 0);
	SpinLockRelease(&table->dirty_mutex);
	return head;
}

/*
 * Unlinks up to max entities.  They stay marked as queued, so nobody frees
 * them, or queues them again, before the caller has been at them.  *length is
 * what the list's was.
 */
static int
unlink_some(FeViewShared *view, const FePlan *plan, FeEntityRef *refs, int max,
			uint32 *incarnation, uint64 *length)
{
	FeTable    *table = fe_view_table(view);
	int			n = 0;

	SpinLockAcquire(&table->dirty_mutex);
	*length = pg_atomic_read_u64(&view->dirty);
	*incarnation = pg_atomic_read_u32(&table->incarnation);
	if (fe_view_is(view, plan))
	{
		while (n < max && table->dirty_head != 0)
		{
			FeEntity   *e = fe_heap_ptr(table->dirty_head);

			refs[n].ref = table->dirty_head;
			refs[n].serial = e->serial;
			refs[n].hash = e->hash;
			n++;
			table->dirty_head = e->dirty_next;
		}
		if (table->dirty_head == 0)
			table->dirty_tail = 0;
		fe_count(&view->dirty, -n);
	}
	SpinLockRelease(&table->dirty_mutex);
	return n;
}

/* ---- for the pusher ---------------------------------------------------------------- */

/*
 * One that is queued again while we are at it comes after all that were there in
 * the beginning: it is not taken twice.
 */
int
fe_state_take_dirty(FeViewShared *view, FePlan *plan, FeEntityRef *refs, int max)
{
	FeTable    *table = fe_view_table(view);
	int			taken = 0;

	while (taken < max)
	{
		uint32		incarnation;
		uint64		length;
		int			n = unlink_some(view, plan, refs + taken,
									Min(max - taken, TAKE_AT_ONCE), &incarnation, &length);

		if (n == 0)
			break;
		if (taken == 0)
			max = Min((uint64) max, length);
		for (int i = 0; i < n; i++)
		{
			LWLock	   *lock = fe_partition_lock(view, refs[taken + i].hash);
			bool		valid;

			LWLockAcquire(lock, LW_EXCLUSIVE);
			valid = pg_atomic_read_u32(&table->incarnation) == incarnation;
			if (valid)
			{
				FeEntity   *e = fe_heap_ptr(refs[taken + i].ref);

				e->flags |= FE_ENTITY_TAKEN;
				if (e->flags & FE_ENTITY_CHANGED)
					e->flags |= FE_ENTITY_RENEW;
				e->flags &= ~(FE_ENTITY_QUEUED | FE_ENTITY_CHANGED);
			}
			LWLockRelease(lock);
			if (!valid)
				return taken;	/* the view has just been released */
		}
		taken += n;
		fe_inject_wait("taken");
	}
	return taken;
}

/*
 * Locks the partition of an entity and finds it.  NULL: it is gone, and nothing
 * is locked.
 */
static FeEntity *
lock_entity(FeViewShared *view, const FePlan *plan, FeEntityRef ref, LWLock **lock)
{
	FeEntity   *e = NULL;

	*lock = fe_partition_lock(view, ref.hash);
	LWLockAcquire(*lock, LW_EXCLUSIVE);
	if (fe_view_is(view, plan))
		e = fe_table_find_ref(fe_view_table(view), ref);
	if (e == NULL)
		LWLockRelease(*lock);
	return e;
}

void
fe_state_put_dirty(FeViewShared *view, FePlan *plan, FeEntityRef ref)
{
	LWLock	   *lock;
	FeEntity   *e = lock_entity(view, plan, ref, &lock);

	if (e == NULL)
		return;
	fe_dirty_queue(view, ref.ref);
	e->flags &= ~FE_ENTITY_TAKEN;
	LWLockRelease(lock);
}

/* A tombstone that nobody holds any more is freed by the next sweep. */
void
fe_state_set_pushed(FeViewShared *view, FePlan *plan, FeEntityRef ref, bool pushed)
{
	LWLock	   *lock;
	FeEntity   *e = lock_entity(view, plan, ref, &lock);

	if (e == NULL)
		return;
	e->flags &= ~(FE_ENTITY_TAKEN | FE_ENTITY_RENEW | FE_ENTITY_PUSHED);
	if (pushed)
		e->flags |= FE_ENTITY_PUSHED;
	LWLockRelease(lock);
}

void
fe_state_mark_all_dirty(FeViewShared *view, FePlan *plan, bool changed)
{
	FeTable    *table = fe_view_table(view);
	uint32		groups = fe_table_groups(table);

	if (!fe_view_is_followed(view))
		return;
	for (uint32 group = 0; group < groups; group++)
	{
		LWLock	   *lock = fe_partition_lock(view, group);

		if (group % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		LWLockAcquire(lock, LW_EXCLUSIVE);
		if (!fe_view_is(view, plan))
			groups = 0;
		else
		{
			uint32		nbuckets = pg_atomic_read_u32(&table->nbuckets);

			for (uint32 b = group; b < nbuckets; b += groups)
			{
				const FeBucket *bucket = fe_table_bucket(table, b);
				FeRef		ref;

				for (uint32 i = 0; (ref = fe_bucket_entity(bucket, i)) != 0; i++)
				{
					FeEntity   *e = fe_heap_ptr(ref);

					if (e->flags & FE_ENTITY_NULLKEY)
						continue;
					/* a key made anew wants its expiry set, as after a change */
					if (changed)
						e->flags |= FE_ENTITY_CHANGED;
					fe_dirty_queue(view, ref);
				}
			}
		}
		LWLockRelease(lock);
	}
}
