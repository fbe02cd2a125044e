/*
 * sweep.c
 *		Maintenance by the ingest worker: old panes, empty entities, TRUNCATE.
 *
 * Being the only writer, it looks at entities without their lock and takes the
 * partition lock, exclusively, of those that there is something to do about.
 * Like fe_state_apply all this belongs into a merge step: an error halfway (no
 * memory to combine two panes) would leave panes wrong.
 */
#include "postgres.h"

#include "state/internal.h"

/* Combining panes may take memory before it gives some back. */
#define MERGE_ROOM			(64 * 1024)
/* Panes, and empty buckets, that cost as much to look at as an entity does. */
#define PANES_PER_ENTITY	8
#define BUCKETS_PER_ENTITY	16
/* With assertions: one entity of so many is written and built again, each round. */
#define FE_EXERCISE_EVERY	4

/* ---- empty entities -------------------------------------------------------------- */

static bool
is_empty(const FeStateWriter *w, const FeEntity *e)
{
	int			where = w->plan->where_track;

	/* while rows and their deletes may come in any order, 0 proves nothing */
	if (!w->live)
		return !fe_entity_has_content(w->layout, e);
	if (where >= 0)
		return fe_entity_seqs(e)[where].count == 0;
	return e->nrows == 0;
}

static void
free_entity(FeStateWriter *w, FeRef ref)
{
	FeEntity   *e = fe_heap_ptr(ref);

	fe_count(&w->view->entities, -1);
	if (e->flags & FE_ENTITY_NULLKEY)
		fe_count(&w->view->null_keys, -1);
	fe_entity_set_tombstone(w, e, false, false);
	fe_table_unlink(w->heap, w->table, ref);
	fe_entity_free(w->heap, w->layout, ref);
}

bool
fe_entity_settle(FeStateWriter *w, FeRef ref, bool source)
{
	FeEntity   *e = fe_heap_ptr(ref);
	bool		online = fe_view_is_followed(w->view) && (e->flags & FE_ENTITY_NULLKEY) == 0;
	bool		was_tombstone = (e->flags & FE_ENTITY_TOMBSTONE) != 0;
	bool		empty = is_empty(w, e);
	bool		grave = false;

	if (empty)
	{
		uint64		held = online ? FE_ENTITY_HELD : FE_ENTITY_QUEUED | FE_ENTITY_TAKEN;

		w->panes -= fe_entity_clear(w->heap, w->layout, e);
		grave = (e->flags & held) == 0;
		if (grave && !fe_entity_must_stay(w->table, e))
		{
			free_entity(w, ref);
			return true;
		}
	}
	if (empty != was_tombstone || grave != ((e->flags & FE_ENTITY_GRAVE) != 0))
		fe_entity_set_tombstone(w, e, empty, grave);
	if (grave)
		return false;			/* nobody else need know */
	if (online && source)
		e->flags |= FE_ENTITY_CHANGED;
	/* by time alone only the end is news: the pusher follows windows itself */
	if (online && (source || (empty && !was_tombstone)))
		fe_dirty_queue(w->view, ref);
	return false;
}

/*
 * So many vanished entities wait for the pusher that it cannot be reaching
 * Redis: forget what it was to do, and have it start over when it can.
 */
static void
drop_tombstones(FeStateWriter *w)
{
	FeRef		ref = fe_dirty_detach(w->view);

	while (ref != 0)
	{
		FeEntity   *e = fe_heap_ptr(ref);
		FeRef		next = e->dirty_next;
		LWLock	   *lock = fe_partition_lock(w->view, e->hash);

		LWLockAcquire(lock, LW_EXCLUSIVE);
		e->flags &= ~FE_ENTITY_QUEUED;
		if (e->flags & FE_ENTITY_TOMBSTONE)
		{
			e->flags &= ~FE_ENTITY_PUSHED;
			if (e->flags & FE_ENTITY_TAKEN)
				;				/* the pusher reports on it */
			else if (fe_entity_must_stay(w->table, e))
				fe_entity_set_tombstone(w, e, true, true);
			else
				free_entity(w, ref);
		}
		LWLockRelease(lock);
		ref = next;
	}
	/* only now: whoever starts over must find nobody marked as queued */
	pg_atomic_write_u32(&w->view->resync, 1);
	pg_atomic_write_u32(&w->view->reoffer, 0);
}

/*
 * More entities have vanished than a checkpoint is worth remembering one by
 * one: this one's will not be complete, and the next one writes everything.  But
 * while changes are being replayed tombstones tell what has been applied.
 */
static void
check_graves(FeStateWriter *w)
{
	uint64		entities = pg_atomic_read_u64(&w->view->entities);

	if (w->table->graves > Max(FE_MAX_TOMBSTONES, entities / 4) &&
		w->lsn > pg_atomic_read_u64(&w->table->replay_end))
		pg_atomic_write_u32(&w->table->cycle_broken, 1);
}

/* Serials wrap round: an entity is marked before its own could be misread. */
static inline bool
is_ageing(const FeStateWriter *w, const FeEntity *e)
{
	return (e->flags & FE_ENTITY_OLD) == 0 &&
		w->table->entity_serial - e->serial > (uint32) 1 << 30;
}

/* ---- panes ---------------------------------------------------------------------- */

/*
 * Announced before anything is dropped, so that a reader who finds panes
 * missing under a lock finds the reason too.
 */
static void
publish_cutoffs(FeStateWriter *w)
{
	for (int t = 0; t < w->layout->ntracks; t++)
	{
		pg_atomic_uint64 *cutoff = &w->view->cutoff[t];
		int64		now = fe_grid_cutoff(w->layout->tracks[t].grid, w->t_min);

		if (now > (int64) pg_atomic_read_u64(cutoff))
			pg_atomic_write_u64(cutoff, (uint64) now);
	}
	pg_write_barrier();
}

static inline int64
cutoff_of(const FeStateWriter *w, int t)
{
	return (int64) pg_atomic_read_u64(&w->view->cutoff[t]);
}

static bool
has_expired(const FeStateWriter *w, int t, const FeSeq *seq)
{
	const FeLayoutTrack *track = &w->layout->tracks[t];

	return seq->count > 0 &&
		fe_pane_end(track->grid, fe_seq_get(seq, track->pane_size, 0)) <= cutoff_of(w, t);
}

static bool
panes_want_work(const FeStateWriter *w, const FeEntity *e)
{
	for (int t = 0; t < w->layout->ntracks; t++)
	{
		const FeSeq *seq = &fe_entity_seqs(e)[t];

		if (has_expired(w, t, seq) || (w->just_live && seq->count > 0) ||
			fe_pane_can_consolidate(&w->layout->tracks[t], seq, w->t_min))
			return true;
	}
	return false;
}

static void
tidy_panes(FeStateWriter *w, FeEntity *e)
{
	bool		may_merge = fe_heap_has_room_for(w->heap, MERGE_ROOM, 0);
	int64		kept = fe_kept_rows;

	for (int t = 0; t < w->layout->ntracks; t++)
	{
		const FeLayoutTrack *track = &w->layout->tracks[t];
		FeSeq	   *seq = &fe_entity_seqs(e)[t];

		if (has_expired(w, t, seq))
		{
			int64		rows;

			w->panes -= fe_pane_drop(w->heap, track, seq, cutoff_of(w, t), &rows);
			if (t == w->plan->where_track)
				e->nrows -= rows;
		}
		if (w->just_live)
			w->panes -= fe_pane_remove_all_empty(w->heap, track, seq, true);
		if (may_merge)
			w->panes -= fe_pane_consolidate(w->heap, track, seq, w->t_min);
	}
	fe_entity_count_kept(e, kept);
}

/* ---- the round ------------------------------------------------------------------- */

/* What it costs to have looked at the entity. */
static int
sweep_entity(FeStateWriter *w, FeRef ref)
{
	FeEntity   *e = fe_heap_ptr(ref);
	bool		panes = panes_want_work(w, e);
	int			cost = 1;

	for (int t = 0; t < w->layout->ntracks; t++)
		cost += fe_entity_seqs(e)[t].count / PANES_PER_ENTITY;
#ifdef USE_ASSERT_CHECKING
	if (e->serial % FE_EXERCISE_EVERY == w->table->sweep_rounds % FE_EXERCISE_EVERY)
		fe_entity_exercise_image(w, e);
#endif
	if (panes || is_empty(w, e) || is_ageing(w, e))
	{
		LWLock	   *lock = fe_partition_lock(w->view, e->hash);

		LWLockAcquire(lock, LW_EXCLUSIVE);
		if (is_ageing(w, e))
			e->flags |= FE_ENTITY_OLD;
		if (panes)
			tidy_panes(w, e);
		if (fe_fold_is_due)
			fe_fold_note(w, ref, e);
		fe_entity_settle(w, ref, false);
		LWLockRelease(lock);
	}
	return cost;
}

static void
begin(FeStateWriter *w, FeTime now)
{
	w->t_min = now - fe_setting_exact_horizon * FE_USEC_PER_SEC;
	w->live = fe_view_counts_are_real(w->view);
	w->panes = 0;
}

static void
end(FeStateWriter *w, Size used_before)
{
	if (w->panes != 0)
		fe_count(&w->view->panes, w->panes);
	fe_count(&w->view->bytes, (int64) fe_heap_used(w->heap) - (int64) used_before);
}

void
fe_state_publish_cutoffs(FeStateWriter *w, FeTime now)
{
	begin(w, now);
	publish_cutoffs(w);
}

bool
fe_state_sweep(FeStateWriter *w, int budget, FeTime now)
{
	uint32		nbuckets = pg_atomic_read_u32(&w->table->nbuckets);
	Size		before = fe_heap_used(w->heap);
	bool		round;

	begin(w, now);
	publish_cutoffs(w);
	if (pg_atomic_read_u64(&w->view->tombstones) - w->table->graves > FE_MAX_TOMBSTONES)
		drop_tombstones(w);
	check_graves(w);

	/*
	 * While existing rows are read, a pane without a row may be one whose row is
	 * still to come.  When all have come, this round and the next one remove them.
	 */
	if (w->live && w->table->live_round == 0)
		w->table->live_round = w->table->sweep_rounds + 1;
	w->just_live = w->live && w->table->sweep_rounds <= w->table->live_round;
	while (budget > 0 && w->table->sweep_bucket < nbuckets)
	{
		const FeBucket *bucket = fe_table_bucket(w->table, w->table->sweep_bucket++);
		uint32		i = 0;
		FeRef		ref;

		if (w->table->sweep_bucket % BUCKETS_PER_ENTITY == 0)
			budget--;
		while ((ref = fe_bucket_entity(bucket, i)) != 0)
		{
			budget -= sweep_entity(w, ref);
			if (fe_bucket_entity(bucket, i) == ref)
				i++;
		}
	}
	round = w->table->sweep_bucket >= nbuckets;
	if (round)
	{
		w->table->sweep_bucket = 0;
		w->table->sweep_rounds++;
	}
	end(w, before);
	return round;
}

/* ---- TRUNCATE ----------------------------------------------------------------------- */

/*
 * Clears entities that are of an older epoch still, unless they were loaded with
 * the truncation in them.  end: the transaction is over, its entities change.
 */
static void
clear_old_entities(FeStateWriter *w, XLogRecPtr lsn, bool end_of_txn)
{
	bool		replaying = lsn <= pg_atomic_read_u64(&w->table->replay_end);
	uint32		nbuckets = pg_atomic_read_u32(&w->table->nbuckets);
	Size		before = fe_heap_used(w->heap);

	begin(w, 0);
	for (uint32 b = 0; b < nbuckets; b++)
	{
		const FeBucket *bucket = fe_table_bucket(w->table, b);
		uint32		i = 0;
		FeRef		ref;

		while ((ref = fe_bucket_entity(bucket, i)) != 0)
		{
			FeEntity   *e = fe_heap_ptr(ref);

			if (e->epoch != (uint8) w->table->epoch)
			{
				LWLock	   *lock = fe_partition_lock(w->view, e->hash);

				LWLockAcquire(lock, LW_EXCLUSIVE);
				e->epoch = (uint8) w->table->epoch;
				if (!replaying || e->lsn < lsn)
				{
					w->panes -= fe_entity_clear(w->heap, w->layout, e);
					if (end_of_txn)
					{
						e->lsn = Max(e->lsn, lsn);
						fe_entity_settle(w, ref, true);
					}
				}
				LWLockRelease(lock);
			}
			if (fe_bucket_entity(bucket, i) == ref)
				i++;
		}
	}
	end(w, before);
	w->table->pending_truncates = 0;
}

/* Entities of other parts of the hash space are of this epoch: they stay. */
static void
keep_other_parts(FeStateWriter *w, uint32 parts, uint32 part)
{
	uint32		nbuckets = pg_atomic_read_u32(&w->table->nbuckets);

	for (uint32 b = 0; b < nbuckets; b++)
	{
		const FeBucket *bucket = fe_table_bucket(w->table, b);
		FeRef		ref;

		for (uint32 i = 0; (ref = fe_bucket_entity(bucket, i)) != 0; i++)
		{
			FeEntity   *e = fe_heap_ptr(ref);

			if (e->hash % parts != part)
			{
				LWLock	   *lock = fe_partition_lock(w->view, e->hash);

				LWLockAcquire(lock, LW_EXCLUSIVE);
				e->epoch = (uint8) w->table->epoch;
				LWLockRelease(lock);
			}
		}
	}
}

void
fe_state_truncate_begin(FeStateWriter *w, XLogRecPtr lsn, uint32 parts, uint32 part)
{
	/* entities keep 8 bits of the epoch: let none come round to an old one */
	if (++w->table->pending_truncates >= PG_UINT8_MAX)
		clear_old_entities(w, lsn, false);
	w->table->epoch++;
	if (parts > 1)
		keep_other_parts(w, parts, part);
}

void
fe_state_truncate_end(FeStateWriter *w, XLogRecPtr lsn)
{
	clear_old_entities(w, lsn, true);
}
