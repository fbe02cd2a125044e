/*
 * read.c
 *		Reading entities: by key, by reference, all of them.
 *
 * Any process.  Takes the entity's partition lock shared, adds up what the
 * aggregates need into local memory, and computes results after it has let go.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "state/reader.h"

/* Sequences up to this length are walked from their beginning. */
#define WALK_PANES		8

/* ---- panes ------------------------------------------------------------------------- */

/* Interval of T in which [start, end) is wholly in all windows of a set. */
static void
membership(const FePlan *plan, FeWindowSet set, int64 start, int64 end,
		   FeTime *from, FeTime *until)
{
	*from = PG_INT64_MIN;
	*until = PG_INT64_MAX;
	for (int i = 0; set != 0; i++, set >>= 1)
	{
		if ((set & 1) == 0)
			continue;
		*from = Max(*from, fe_window_enters(&plan->windows[i], end - 1));
		*until = Min(*until, fe_window_leaves(&plan->windows[i], start));
	}
}

/*
 * Windows only move forward, so of the panes in a range the first is the first
 * to leave it, and of those beyond it the first that will be in at all is the
 * first to enter.
 */
void
fe_read_note_change(const FePlan *plan, const FeReadTrack *t, const FePane *pane, int64 end,
					FeReadChange *change)
{
	for (int i = 0; i < t->nranges; i++)
	{
		const FeReadRange *range = &t->ranges[i];
		uint64		bit = UINT64CONST(1) << i;
		bool		inside = pane->start >= range->range.lo && end <= range->range.hi;
		bool		beyond = pane->start >= range->range.hi;
		FeTime		from;
		FeTime		until;

		if (inside && (change->leaving & bit) == 0)
		{
			membership(plan, range->set, pane->start, end, &from, &until);
			change->leaving |= bit;
			change->next = Min(change->next, until);
		}
		else if (beyond && (change->entering & bit) == 0)
		{
			membership(plan, range->set, pane->start, end, &from, &until);
			if (from >= until)
				continue;		/* never in */
			change->entering |= bit;
			change->next = Min(change->next, from);
		}
	}
}

static inline void
add_pane(FeReadRange *range, const FePane *pane)
{
	range->rows += pane->rows;
	for (int i = 0; i < range->nadds; i++)
	{
		const FeReadAdd *add = &range->adds[i];

		add->add(add->read, (const char *) pane + add->offset);
	}
}

/* Adds a pane to all ranges that hold it.  False: r->problem says why not. */
bool
fe_read_pane(FeStateReader *r, FeReadTrack *t, const FePane *pane, int64 end)
{
	for (int i = 0; i < t->nranges; i++)
	{
		FeReadRange *range = &t->ranges[i];

		if (pane->start >= range->range.hi || end <= range->range.lo)
			continue;
		if (pane->start < range->range.lo || end > range->range.hi)
		{
			r->problem = FE_READ_MERGED;
			r->problem_time = pane->start;
			return false;
		}
		add_pane(range, pane);
	}
	return true;
}

/* False: r->problem says why not. */
static bool
read_track(FeStateReader *r, FeReadTrack *t, const FeEntity *e, FeTime *next_change)
{
	const FeLayoutTrack *layout = t->layout;
	const FeSeq *seq = &fe_entity_seqs(e)[t->track];
	FeReadChange change = {0, 0, PG_INT64_MAX};
	FeSeqIter	it;
	const FePane *pane;

	if (seq->count == 0)
		return true;

	fe_seq_iter(&it, seq, layout->pane_size,
				seq->count <= WALK_PANES ? 0 : fe_pane_first_after(layout, seq, t->lo));
	while ((pane = fe_seq_next(&it)) != NULL)
	{
		int64		end = fe_pane_end(layout->grid, pane);

		if (pane->start >= t->hi && next_change == NULL)
			break;
		if (!fe_read_pane(r, t, pane, end))
			return false;
		if (next_change != NULL)
			fe_read_note_change(r->plan, t, pane, end, &change);
	}
	if (next_change != NULL)
		*next_change = Min(*next_change, change.next);
	return true;
}

/* ---- one entity -------------------------------------------------------------------- */

static void
copy_keys(const FeStateReader *r, const FeEntity *e, Datum *values, bool *nulls)
{
	fe_key_unpack(r->plan, r->layout, e, values, nulls);
	for (int k = 0; k < r->plan->nkeys; k++)
	{
		const FeKey *key = &r->plan->keys[k];

		if (!key->typbyval && !nulls[k])
			values[k] = datumCopy(values[k], false, key->typlen);
	}
}

/* Nothing has been read yet. */
void
fe_read_reset(FeStateReader *r)
{
	for (int i = 0; i < r->nfinals; i++)
		if (r->finals[i].read)
			r->finals[i].kind->read_reset(r->finals[i].read);
	for (int t = 0; t < r->ntracks; t++)
		for (int i = 0; i < r->tracks[t].nranges; i++)
			r->tracks[t].ranges[i].rows = 0;
}

/*
 * Under the lock: keys, accumulators, info.  What it finds wrong is left in
 * r->problem for finish() to raise.
 */
static void
collect(FeStateReader *r, FeRef ref, const FeEntity *e, Datum *values, bool *nulls,
		FeEntityInfo *info)
{
	copy_keys(r, e, values, nulls);
	fe_read_reset(r);
	if (info)
	{
		info->ref.ref = ref;
		info->ref.serial = e->serial;
		info->ref.hash = e->hash;
		info->lsn = e->lsn;
		info->next_change = PG_INT64_MAX;
		info->pushed = (e->flags & FE_ENTITY_PUSHED) != 0;
		info->changed = (e->flags & (FE_ENTITY_CHANGED | FE_ENTITY_RENEW)) != 0;
	}
	r->nrows = e->nrows;
	if (r->group)
	{
		(void) fe_rows_collect(r, e, info ? &info->next_change : NULL);
		return;
	}
	for (int i = 0; i < r->nlifetime; i++)
		r->lifetime[i].add(r->lifetime[i].read, (const char *) e + r->lifetime[i].offset);
	for (int i = 0; i < r->ntracks; i++)
		if (!read_track(r, &r->tracks[i], e, info ? &info->next_change : NULL))
			return;
}

static void
compute_finals(FeStateReader *r, Datum *values, bool *nulls)
{
	for (int i = 0; i < r->nfinals; i++)
	{
		const FeReadFinal *final = &r->finals[i];

		if (final->read)
			values[final->out] = final->kind->read_final(final->read, &nulls[final->out]);
		else
		{
			values[final->out] = Int64GetDatum(final->range ? final->range->rows : r->nrows);
			nulls[final->out] = false;
		}
	}
}

/* Of what has been read, after the lock. */
void
fe_read_results(FeStateReader *r, Datum *values, bool *nulls)
{
	FeOwnerContext owner;

	for (int i = 0; i < r->plan->naggs; i++)
	{
		values[r->plan->nkeys + i] = (Datum) 0;
		nulls[r->plan->nkeys + i] = true;
	}
	if (r->as_owner)
		fe_owner_enter(&owner, r->plan, r->runs_code);
	compute_finals(r, values, nulls);
	if (r->as_owner)
		fe_owner_leave(&owner);
}

/* After the lock: results.  False: the entity does not exist at T. */
static bool
finish(FeStateReader *r, Datum *values, bool *nulls)
{
	if (r->problem != FE_READ_OK)
		fe_reader_raise(r);
	if (r->group)
		return r->nfound > 0;	/* results are taken row by row */
	if ((r->where ? r->where->rows : r->nrows) <= 0)
		return false;
	fe_read_results(r, values, nulls);
	return true;
}

/* What is missing at T is missing from entities that are gone, too. */
static bool
cutoffs_allow(FeStateReader *r)
{
	for (int i = 0; i < r->ntracks; i++)
	{
		const FeReadTrack *t = &r->tracks[i];
		int64		cutoff = (int64) pg_atomic_read_u64(&r->view->cutoff[t->track]);

		if (t->lo < cutoff)
		{
			r->problem = FE_READ_DROPPED;
			r->problem_time = cutoff;
			return false;
		}
	}
	return true;
}

/*
 * Locks a partition and makes sure that it is still the same view's, and that
 * nothing has been dropped from it that T needs.
 */
static LWLock *
lock_shared(FeStateReader *r, uint64 hash)
{
	LWLock	   *lock = fe_partition_lock(r->view, hash);

	LWLockAcquire(lock, LW_SHARED);
	r->problem = FE_READ_OK;
	r->nfound = 0;
	r->complete = true;
	if (pg_atomic_read_u32(&r->table->incarnation) != r->incarnation)
		r->problem = FE_READ_GONE;
	if (r->problem != FE_READ_OK || !cutoffs_allow(r))
	{
		LWLockRelease(lock);
		fe_reader_raise(r);
	}
	return lock;
}

bool
fe_state_lookup(FeStateReader *r, const Datum *keys, const bool *keynulls, FeTime T,
				Datum *values, bool *nulls, FeEntityInfo *info)
{
	FeKeyProbe *probe = &r->probe;
	FeEntity   *e;
	LWLock	   *lock;
	FeRef		ref;

	fe_reader_bind(r, T);
	probe->hash = fe_key_hash_keys(r->plan, keys, keynulls);
	for (int k = 0; k < r->plan->nkeys; k++)
	{
		probe->values[k] = keys[k];
		probe->nulls[k] = keynulls[k];
	}
	fe_key_pack(r->plan, probe);

	lock = lock_shared(r, probe->hash);
	e = fe_table_find(r->table, r->plan, r->layout, probe, &ref);
	if (e != NULL)
		collect(r, ref, e, values, nulls, info);
	LWLockRelease(lock);

	if (probe->packed != (char *) probe->space)
		pfree(probe->packed);
	return e != NULL && finish(r, values, nulls);
}

bool
fe_state_lookup_ref(FeStateReader *r, FeEntityRef ref, FeTime T, Datum *values, bool *nulls,
					FeEntityInfo *info, bool *found)
{
	FeEntity   *e;
	LWLock	   *lock;

	fe_reader_bind(r, T);
	lock = lock_shared(r, ref.hash);
	e = fe_table_find_ref(r->table, ref);
	if (e != NULL)
		collect(r, ref.ref, e, values, nulls, info);
	LWLockRelease(lock);

	*found = e != NULL;
	return e != NULL && finish(r, values, nulls);
}

/* ---- all entities ---------------------------------------------------------------------- */

void
fe_state_scan_begin(FeStateReader *r)
{
	r->groups = fe_table_groups(r->table);
	r->next_group = 0;
	r->npending = 0;
}

static void
add_pending(FeStateReader *r, FeRef ref, const FeEntity *e)
{
	if (r->npending == r->max_pending)
	{
		r->max_pending *= 2;
		r->pending = repalloc_huge(r->pending, r->max_pending * sizeof(FeEntityRef));
	}
	r->pending[r->npending].ref = ref;
	r->pending[r->npending].serial = e->serial;
	r->pending[r->npending].hash = e->hash;
	r->npending++;
}

/* Remembers the group's entities, and reads the last of them at once. */
static bool
read_group(FeStateReader *r, uint32 group, FeTime T, Datum *values, bool *nulls,
		   FeEntityInfo *info)
{
	LWLock	   *lock = lock_shared(r, group);
	uint32		nbuckets = pg_atomic_read_u32(&r->table->nbuckets);
	FeEntity   *last = NULL;

	for (uint32 b = group; b < nbuckets; b += r->groups)
	{
		const FeBucket *bucket = fe_table_bucket(r->table, b);
		FeRef		ref;

		for (uint32 i = 0; (ref = fe_bucket_entity(bucket, i)) != 0; i++)
		{
			last = fe_heap_ptr(ref);
			add_pending(r, ref, last);
		}
	}
	if (last != NULL)
		collect(r, r->pending[--r->npending].ref, last, values, nulls, info);
	LWLockRelease(lock);
	return last != NULL && finish(r, values, nulls);
}

bool
fe_state_scan_next(FeStateReader *r, FeTime T, Datum *values, bool *nulls, FeEntityInfo *info)
{
	fe_reader_bind(r, T);
	for (;;)
	{
		bool		found;

		CHECK_FOR_INTERRUPTS();
		if (r->npending > 0)
		{
			if (fe_state_lookup_ref(r, r->pending[--r->npending], T, values, nulls, info, &found))
				return true;
		}
		else if (r->next_group >= r->groups)
			return false;
		else if (read_group(r, r->next_group++, T, values, nulls, info))
			return true;
	}
}
