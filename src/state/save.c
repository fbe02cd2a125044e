/*
 * save.c
 *		State for a checkpoint: which entities, which tombstones, in which bytes.
 *
 * A cycle is begun by the ingest worker, between two transactions; its position
 * S is where replay would start.  Then the saver, in another process, walks the
 * table while the worker goes on merging, and writes each entity as it finds it,
 * with the position of its last change: replay from S leaves alone what an image
 * has in it (fe_state_load).  It holds a partition's lock, shared, for one
 * entity at a time.
 *
 * Three rules make that complete.
 *
 * 1. Only entities that were there when the cycle began are written ("old"; their
 *	  serial tells).  Younger ones are made by replay from S.
 * 2. Of those, the ones that changed after the start of the last stored cycle:
 *	  the others are in the store as they are.  Time alone changes nothing that
 *	  needs to be stored: what has expired will expire again.
 * 3. An old entity that vanishes and had changed since then (its last row's
 *	  delete is such a change) stays as a tombstone until a cycle that began
 *	  later is stored.  The saver writes the tombstone, with its position, so
 *	  that neither an older image nor a replayed delete brings anything back.
 *
 * So nothing needs to be done about an entity after it was written, and a cycle
 * that is not completed does no harm: its images are as good as others.
 *
 * Tombstones are bounded.  When there are too many the sweep drops them and the
 * cycle is broken: it cannot be completed unless every entity has been looked at
 * already, and cycles are full, replacing the whole store, until one is stored.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "state/image.h"

struct FeStateSaver
{
	FePlan	   *plan;
	FeViewShared *view;
	FeTable    *table;
	FeLayout   *layout;
	MemoryContext cxt;
	uint32		incarnation;
	uint64		fingerprint;

	uint32		cycle;
	uint32		cycle_serial;
	XLogRecPtr	lsn;
	XLogRecPtr	since;
	bool		broken;

	uint32		groups;
	uint32		next_group;
	FeEntityRef *pending;		/* of the current group */
	int			npending;
	int			max_pending;
	uint32		nentities;		/* in the chunk */
	int64		event_time;
	StringInfoData scratch;
};

/* ---- the writer's side ------------------------------------------------------------ */

bool
fe_state_cycle_begin(FeStateWriter *w, XLogRecPtr lsn, bool full)
{
	FeTable    *table = w->table;

	/* one is wanted until it is stored, however many are begun */
	if (pg_atomic_read_u32(&table->cycle_broken) != 0)
		pg_atomic_write_u32(&table->full_wanted, 1);
	if (pg_atomic_read_u32(&table->full_wanted) != 0)
		full = true;
	pg_atomic_write_u32(&table->cycle_serial, table->entity_serial);
	pg_atomic_write_u64(&table->cycle_lsn, lsn);
	pg_atomic_write_u64(&w->view->cycle_event_time, pg_atomic_read_u64(&w->view->event_time));
	pg_atomic_write_u64(&table->cycle_since,
						full ? 0 : pg_atomic_read_u64(&table->stored_lsn));
	pg_atomic_write_u32(&table->cycle_broken, 0);
	pg_write_barrier();
	pg_atomic_write_u32(&table->cycle, Max(pg_atomic_read_u32(&table->cycle) + 1, 1));
	return full;
}

void
fe_state_cycle_forget(FeStateWriter *w)
{
	pg_atomic_write_u32(&w->table->cycle, 0);
	pg_atomic_write_u64(&w->table->stored_lsn, 0);
	pg_atomic_write_u32(&w->table->full_wanted, 1);
}

bool
fe_entity_must_stay(FeTable *table, const FeEntity *e)
{
	return pg_atomic_read_u32(&table->cycle) != 0 &&
		pg_atomic_read_u32(&table->cycle_broken) == 0 &&
		e->lsn > pg_atomic_read_u64(&table->stored_lsn) &&
		fe_entity_is_old(pg_atomic_read_u32(&table->cycle_serial), e);
}

void
fe_entity_set_tombstone(FeStateWriter *w, FeEntity *e, bool tombstone, bool grave)
{
	if (e->flags & FE_ENTITY_TOMBSTONE)
		fe_count(&w->view->tombstones, -1);
	if (e->flags & FE_ENTITY_GRAVE)
		w->table->graves--;
	e->flags &= ~(FE_ENTITY_TOMBSTONE | FE_ENTITY_GRAVE);
	if (!tombstone)
		return;
	e->flags |= FE_ENTITY_TOMBSTONE;
	fe_count(&w->view->tombstones, 1);
	if (grave)
	{
		e->flags |= FE_ENTITY_GRAVE;
		w->table->graves++;
	}
}

/* ---- the saver --------------------------------------------------------------------- */

FeStateSaver *
fe_state_saver_create(FePlan *plan, FeViewShared *view, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FeStateSaver *s = palloc0(sizeof(FeStateSaver));
	FeTable    *table = fe_view_table(view);

	s->plan = plan;
	s->view = view;
	s->table = table;
	s->cxt = cxt;
	s->incarnation = pg_atomic_read_u32(&table->incarnation);
	s->cycle = pg_atomic_read_u32(&table->cycle);
	pg_read_barrier();
	s->cycle_serial = pg_atomic_read_u32(&table->cycle_serial);
	s->lsn = pg_atomic_read_u64(&table->cycle_lsn);
	s->since = pg_atomic_read_u64(&table->cycle_since);
	s->event_time = (int64) pg_atomic_read_u64(&view->cycle_event_time);
	s->layout = fe_layout_of_plan(plan);
	s->fingerprint = fe_layout_fingerprint(plan);
	s->groups = fe_table_groups(table);
	s->max_pending = 16;
	s->pending = palloc(s->max_pending * sizeof(FeEntityRef));
	initStringInfo(&s->scratch);
	MemoryContextSwitchTo(old);
	pg_read_barrier();
	if (s->cycle == 0 || pg_atomic_read_u32(&table->cycle) != s->cycle || !fe_view_is(view, plan))
		return NULL;
	return s;
}

int64
fe_state_saver_event_time(const FeStateSaver *s)
{
	return s->event_time;
}

XLogRecPtr
fe_state_saver_lsn(const FeStateSaver *s, bool *full)
{
	*full = s->since == 0;
	return s->lsn;
}

/* Is this still the view, and the cycle, that the saver is for?  Under a lock. */
static bool
still_valid(FeStateSaver *s)
{
	if (pg_atomic_read_u32(&s->table->incarnation) != s->incarnation ||
		pg_atomic_read_u32(&s->table->cycle) != s->cycle)
		s->broken = true;
	return !s->broken;
}

/* Rules 1 and 2; tombstones that are still there are among them. */
static inline bool
is_due(const FeStateSaver *s, const FeEntity *e)
{
	return (s->since == 0 || e->lsn > s->since) && fe_entity_is_old(s->cycle_serial, e);
}

static inline void
save_entity(FeStateSaver *s, const FeEntity *e, StringInfo chunk)
{
	fe_chunk_add(chunk, s->layout, e, &s->scratch);
	s->nentities++;
}

static void
add_pending(FeStateSaver *s, FeRef ref, const FeEntity *e)
{
	if (s->npending == s->max_pending)
	{
		s->max_pending *= 2;
		s->pending = repalloc_huge(s->pending, s->max_pending * sizeof(FeEntityRef));
	}
	s->pending[s->npending].ref = ref;
	s->pending[s->npending].serial = e->serial;
	s->pending[s->npending].hash = e->hash;
	s->npending++;
}

/* Remembers a group's entities that are due, and writes the last at once. */
static void
save_group(FeStateSaver *s, uint32 group, StringInfo chunk)
{
	LWLock	   *lock = fe_partition_lock(s->view, group);
	uint32		nbuckets;

	LWLockAcquire(lock, LW_SHARED);
	nbuckets = still_valid(s) ? pg_atomic_read_u32(&s->table->nbuckets) : 0;
	for (uint32 b = group; b < nbuckets; b += s->groups)
	{
		const FeBucket *bucket = fe_table_bucket(s->table, b);

		for (; bucket != NULL; bucket = fe_bucket_next(bucket))
		{
			for (uint32 i = 0; i < bucket->n; i++)
			{
				const FeEntity *e = fe_heap_ptr(bucket->slots[i].ref);

				if (is_due(s, e))
					add_pending(s, bucket->slots[i].ref, e);
			}
		}
	}
	if (s->npending > 0)
		save_entity(s, fe_heap_ptr(s->pending[--s->npending].ref), chunk);
	LWLockRelease(lock);
}

/* One that is not there any more was allowed to go. */
static void
save_pending(FeStateSaver *s, StringInfo chunk)
{
	FeEntityRef ref = s->pending[--s->npending];
	LWLock	   *lock = fe_partition_lock(s->view, ref.hash);
	const FeEntity *e;

	LWLockAcquire(lock, LW_SHARED);
	if (still_valid(s) && (e = fe_table_find_ref(s->table, ref)) != NULL)
		save_entity(s, e, chunk);
	LWLockRelease(lock);
}

bool
fe_state_save(FeStateSaver *s, StringInfo chunk, Size size)
{
	FeChunk		header;

	fe_chunk_begin(chunk, s->plan->ntracks);
	s->nentities = 0;
	while (!s->broken && (s->nentities == 0 || (Size) chunk->len < size) &&
		   (s->npending > 0 || s->next_group < s->groups))
	{
		if (s->next_group % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (s->npending > 0)
			save_pending(s, chunk);
		else
			save_group(s, s->next_group++, chunk);
	}
	if (s->broken || s->nentities == 0)
		return false;

	header.state_version = s->plan->state_version;
	header.fingerprint = s->fingerprint;
	header.nentities = s->nentities;
	header.ntracks = s->plan->ntracks;
	/* after the entities: not before anything that is missing from them */
	pg_read_barrier();
	for (int t = 0; t < header.ntracks; t++)
		header.cutoff[t] = (int64) pg_atomic_read_u64(&s->view->cutoff[t]);
	fe_chunk_finish(chunk, &header);
	return true;
}

uint32
fe_state_saved_entities(const FeStateSaver *s)
{
	return s->nentities;
}

bool
fe_state_saver_complete(FeStateSaver *s)
{
	LWLock	   *lock = fe_partition_lock(s->view, 0);
	bool		complete;

	LWLockAcquire(lock, LW_SHARED);
	complete = still_valid(s) && s->npending == 0 && s->next_group >= s->groups &&
		pg_atomic_read_u32(&s->table->cycle_broken) == 0;
	LWLockRelease(lock);
	return complete;
}

void
fe_state_saver_stored(FeStateSaver *s)
{
	LWLock	   *lock = fe_partition_lock(s->view, 0);

	LWLockAcquire(lock, LW_SHARED);
	if (still_valid(s))
	{
		pg_atomic_write_u64(&s->table->stored_lsn, s->lsn);
		if (s->since == 0)
			pg_atomic_write_u32(&s->table->full_wanted, 0);
	}
	LWLockRelease(lock);
}

/* ---- what is stored --------------------------------------------------------------- */

XLogRecPtr
fe_state_stored_lsn(FeViewShared *view)
{
	return pg_atomic_read_u64(&fe_view_table(view)->stored_lsn);
}

XLogRecPtr
fe_state_replay_lsn(FeViewShared *view)
{
	FeTable    *table = fe_view_table(view);
	XLogRecPtr	stored = pg_atomic_read_u64(&table->stored_lsn);

	if (stored == InvalidXLogRecPtr && pg_atomic_read_u32(&table->cycle) != 0)
		return pg_atomic_read_u64(&table->cycle_lsn);
	return stored;
}

bool
fe_state_cycle_is_stored(FeViewShared *view)
{
	FeTable    *table = fe_view_table(view);

	return pg_atomic_read_u32(&table->cycle) == 0 ||
		pg_atomic_read_u64(&table->stored_lsn) == pg_atomic_read_u64(&table->cycle_lsn);
}
