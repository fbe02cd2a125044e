/*
 * apply.c
 *		The write path: rows enter and leave entities and panes.
 *
 * Runs in the ingest worker, in its merge step.  Takes the entity's partition
 * lock exclusively, once for all that a transaction does to a hash; then, if
 * the table is to grow, other partitions' locks one after the other.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "utils/memutils.h"

#include "state/internal.h"

/*
 * An entity that gets many events between two sweeps merges its panes itself,
 * each time that their number is a multiple of this.
 */
#define MERGE_EVERY		64

/* ---- the writer -------------------------------------------------------------- */

static FeApplyAcc *
apply_accs(const FePlan *plan, const int *accs, int n, Size base)
{
	FeApplyAcc *result = palloc(Max(n, 1) * sizeof(FeApplyAcc));

	for (int i = 0; i < n; i++)
	{
		const FeAcc *acc = &plan->accs[accs[i]];

		result[i].spec = acc->spec;
		result[i].offset = base + acc->offset;
		result[i].arg = acc->arg;
		result[i].order = acc->order;
		result[i].order_type = acc->order_type;
		result[i].filter = acc->filter;
	}
	return result;
}

FeStateWriter *
fe_state_writer_create(FeHeap *heap, FeViewShared *view, FePlan *plan)
{
	FeStateWriter *w = palloc0(sizeof(FeStateWriter));

	w->heap = heap;
	w->view = view;
	w->table = fe_view_table(view);
	w->plan = plan;
	w->layout = fe_layout_of_plan(plan);
	w->nlifetime = plan->nlifetime;
	w->lifetime = apply_accs(plan, plan->lifetime_accs, plan->nlifetime, w->layout->lifetime);
	for (int t = 0; t < plan->ntracks; t++)
	{
		const FeTrack *track = &plan->tracks[t];

		w->tracks[t].naccs = track->naccs;
		w->tracks[t].accs = apply_accs(plan, track->accs, track->naccs, FE_PANE_ACCS);
	}
	w->max_touched = 8;
	w->touched = palloc(w->max_touched * sizeof(FeRef));
	w->fold_rows = FE_FOLD_ROWS;
	w->fold_cxt = AllocSetContextCreate(CurrentMemoryContext, "feature_engine folding",
										ALLOCSET_SMALL_SIZES);

	if (w->table->layout == 0)
	{
		Size		before = fe_heap_used(heap);

		w->table->layout = fe_layout_share(heap, plan);
		fe_table_create(heap, w->table);
		fe_count(&view->bytes, fe_heap_used(heap) - before);
	}
	else if (!fe_layout_matches(fe_heap_ptr(w->table->layout), plan))
		elog(ERROR, "state of feature view \"%s\" does not fit its plan", plan->name);
	return w;
}

void
fe_state_writer_free(FeStateWriter *w)
{
	MemoryContextDelete(w->fold_cxt);
	pfree(w->touched);
	pfree(w);					/* the rest goes with its memory context */
}

/* ---- room --------------------------------------------------------------------- */

static inline void
acc_input(const FeApplyAcc *acc, const FeDelta *delta, FeAccInput *in)
{
	in->value = 0;
	in->isnull = false;
	in->order = 0;
	in->order_isnull = true;
	if (acc->arg != FE_NO_EXPR)
	{
		in->value = delta->values[acc->arg];
		in->isnull = delta->nulls[acc->arg];
	}
	if (acc->order != FE_NO_EXPR && !delta->nulls[acc->order])
	{
		in->order = fe_event_time(delta->values[acc->order], acc->order_type);
		in->order_isnull = false;
	}
}

static inline bool
filter_passes(const FeApplyAcc *acc, const FeDelta *delta)
{
	return acc->filter == FE_NO_EXPR ||
		(!delta->nulls[acc->filter] && DatumGetBool(delta->values[acc->filter]));
}

static Size
accs_room(const FeApplyAcc *accs, int n, const FeDelta *delta)
{
	Size		room = 0;

	for (int i = 0; i < n; i++)
	{
		FeAccInput	in;

		if (!filter_passes(&accs[i], delta))
			continue;
		acc_input(&accs[i], delta, &in);
		room += accs[i].spec->kind->room(accs[i].spec, &in);
	}
	return room;
}

static Size
key_room(const FePlan *plan, const FeDelta *delta)
{
	Size		room = sizeof(uint16);

	for (int k = 0; k < plan->nkeys; k++)
	{
		const FeKey *key = &plan->keys[k];
		Datum		value = delta->values[key->expr];

		if (delta->nulls[key->expr])
			continue;
		if (key->typlen > 0)
			room += key->typlen + sizeof(int64);
		else if (key->typlen == -1)
			room += toast_raw_datum_size(value) + sizeof(int64);
		else
			room += strlen(DatumGetCString(value)) + 1;
	}
	return room;
}

static inline int64
panes_of_row(const FePlan *plan)
{
	const FeWindow *group = plan->group_window >= 0 ? &plan->windows[plan->group_window] : NULL;

	return group && group->apart ? (group->width + group->hop - 1) / group->hop : 1;
}

/*
 * As much as rows of this sort take on the average of many, even if each makes
 * an entity: a pane more, sequences growing by a quarter, chunks being halved.
 * A few rows may take more, a chunk of panes or a segment of the table; that
 * much the heap's own rounding always leaves.
 */
Size
fe_state_room(FeStateWriter *w, const FeDelta *deltas, int n)
{
	bool		live = fe_view_counts_are_real(w->view);
	int64		panes = panes_of_row(w->plan);
	Size		room = 0;

	for (int i = 0; i < n; i++)
	{
		const FeDelta *delta = &deltas[i];

		/* what is in state can be taken out of it without memory */
		if (delta->sign < 0 && live)
			continue;
		room += fe_entity_size(w->layout, key_room(w->plan, delta)) + fe_table_room();
		room += accs_room(w->lifetime, w->nlifetime, delta);
		for (int t = 0; t < w->layout->ntracks; t++)
			room += panes * (4 * w->layout->tracks[t].pane_size +
							 accs_room(w->tracks[t].accs, w->tracks[t].naccs, delta));
	}
	return room;
}

/* ---- hints ---------------------------------------------------------------------- */

static inline void
prefetch_lines(const void *start, Size size)
{
	const char *p = start;

	for (Size off = 0; off < size; off += 64)
		__builtin_prefetch(p + off, 1);
}

/* The writer is the only one to change buckets: it may look at them without a lock. */
void
fe_state_prefetch(FeStateWriter *w, uint64 hash, int stage)
{
	const FeBucket *bucket = fe_table_bucket_for(w->table, hash);
	FeEntity   *e = NULL;

	if (stage == 0)
	{
		__builtin_prefetch(bucket);
		__builtin_prefetch(fe_partition_lock(w->view, hash), 1);
		return;
	}
	for (uint32 i = 0; i < bucket->n; i++)
		if (bucket->slots[i].tag == (uint32) hash)
			e = fe_heap_ptr(bucket->slots[i].ref);
	if (e == NULL)
		return;
	if (stage == 1)
	{
		prefetch_lines(e, Min(w->layout->key + sizeof(int64), 256));
		return;
	}
	for (int t = 0; t < w->layout->ntracks; t++)
	{
		const FeSeq *seq = &fe_entity_seqs(e)[t];
		Size		size = w->layout->tracks[t].pane_size;

		if (seq->nchunks == 1)
			prefetch_lines((char *) fe_heap_ptr(seq->root) +
						   (seq->head + seq->count - 1) * size, Min(2 * size, 256));
		else if (seq->nchunks > 1)
			prefetch_lines(fe_heap_ptr(seq->root), 512);
	}
	for (int i = 0; i < w->nlifetime; i++)
	{
		const FeSeq *seq = (FeSeq *) ((char *) e + w->lifetime[i].offset);

		if (w->lifetime[i].spec->kind->has_seq && seq->root != 0)
			prefetch_lines(fe_heap_ptr(seq->root), 128);
	}
}

/* ---- one row ----------------------------------------------------------------------- */

/* Forgets what is left from before a TRUNCATE. */
static void
clear_old_epoch(FeStateWriter *w, FeEntity *e)
{
	w->panes -= fe_entity_clear(w->heap, w->layout, e);
	e->epoch = (uint8) w->table->epoch;
}

static void
add_touched(FeStateWriter *w, FeRef ref, FeEntity *e)
{
	if (e->flags & FE_ENTITY_TOUCHED)
		return;
	e->flags |= FE_ENTITY_TOUCHED;
	if (w->ntouched == w->max_touched)
	{
		w->max_touched *= 2;
		w->touched = repalloc(w->touched, w->max_touched * sizeof(FeRef));
	}
	w->touched[w->ntouched++] = ref;
}

/*
 * The delta's entity, made if need be; NULL: it was loaded with this transaction
 * in it already.
 */
static FeEntity *
entity_of(FeStateWriter *w)
{
	FeRef		ref;
	FeEntity   *e = fe_table_find(w->table, w->plan, w->layout, &w->probe, &ref);

	if (e == NULL)
	{
		ref = fe_entity_create(w->heap, w->table, w->layout, &w->probe);
		fe_table_insert(w->heap, w->table, ref);
		e = fe_heap_ptr(ref);
		fe_count(&w->view->entities, 1);
		if (w->probe.has_nulls)
			fe_count(&w->view->null_keys, 1);
	}
	else if (w->replaying && e->lsn >= w->lsn)
	{
		e->epoch = (uint8) w->table->epoch;
		return NULL;
	}
	else if (e->epoch != (uint8) w->table->epoch)
		clear_old_epoch(w, e);
	add_touched(w, ref, e);
	return e;
}

static inline void
apply_accs_of_row(FeStateWriter *w, const FeApplyAcc *accs, int n, void *at,
				  const FeDelta *delta)
{
	for (int i = 0; i < n; i++)
	{
		const FeApplyAcc *acc = &accs[i];
		FeAccInput	in;

		if (!filter_passes(acc, delta))
			continue;
		acc_input(acc, delta, &in);
		acc->spec->kind->apply(w->heap, acc->spec, (char *) at + acc->offset, &in, delta->sign);
	}
}

static void
apply_to_pane(FeStateWriter *w, FeEntity *e, int t, int64 ts, const FeDelta *delta)
{
	const FeLayoutTrack *track = &w->layout->tracks[t];
	FeSeq	   *seq = &fe_entity_seqs(e)[t];
	int32		added = 0;
	FePane	   *pane = fe_pane_upsert(w->heap, track, seq, ts, w->t_min, &added);

	w->panes += added;
	if (added > 0 && delta->watermark != PG_INT64_MIN && w->plan->group_window >= 0)
	{
		const FeWindow *group = &w->plan->windows[w->plan->group_window];

		if (group->kind == FE_WINDOW_SESSION)
			fe_pane_begin_session(track, seq, group, ts, delta->watermark);
	}
	if (added > 0 && seq->count % MERGE_EVERY == 0)
		w->merge_tracks |= 1 << t;
	apply_accs_of_row(w, w->tracks[t].accs, w->tracks[t].naccs, pane, delta);
	pane->rows += delta->sign;
	if (pane->rows == 0)
	{
		if (w->nzeroed < FE_MAX_ZEROED)
		{
			w->zeroed[w->nzeroed].entity = e;
			w->zeroed[w->nzeroed].track = t;
			w->zeroed[w->nzeroed].ts = ts;
		}
		w->nzeroed++;
	}
}

/*
 * Into the windows of hop() that the row is in and that have not ended, each a pane
 * of its own.
 */
static void
apply_to_windows(FeStateWriter *w, FeEntity *e, int t, const FeDelta *delta)
{
	const FeWindow *group = &w->plan->windows[w->plan->group_window];
	const FeTrack *track = &w->plan->tracks[t];
	int64		cutoff = (int64) pg_atomic_read_u64(&w->view->cutoff[t]);
	int64		ts = fe_event_time(delta->values[track->expr], track->type);
	FeRange		window = {0, 0};

	while (fe_group_next_hop(group, ts, &window) && window.lo <= ts)
		if (window.lo >= cutoff && window.hi > delta->watermark)
			apply_to_pane(w, e, t, window.lo, delta);
}

static void
apply_delta(FeStateWriter *w, const FeDelta *delta)
{
	int			where = w->plan->where_track;
	int64		times[FE_MAX_TRACKS];
	bool		expired = false;
	bool		used = false;
	int64		kept;
	bool		apart = w->plan->group_window >= 0 && w->plan->windows[w->plan->group_window].apart;
	FeEntity   *e;

	for (int t = 0; t < w->layout->ntracks; t++)
		times[t] = fe_track_time(w->plan, t, delta->values, delta->nulls);
	if (where >= 0)
	{
		if (times[where] == PG_INT64_MIN)
			return;
		if (times[where] < (int64) pg_atomic_read_u64(&w->view->cutoff[where]))
		{
			w->expired++;
			return;
		}
	}
	e = entity_of(w);
	if (e == NULL)
		return;
	kept = fe_kept_rows;
	e->nrows += delta->sign;
	apply_accs_of_row(w, w->lifetime, w->nlifetime, e, delta);
	for (int t = 0; t < w->layout->ntracks; t++)
	{
		if (times[t] == PG_INT64_MIN)
			continue;
		if (times[t] < (int64) pg_atomic_read_u64(&w->view->cutoff[t]))
		{
			expired = true;
			continue;
		}
		used = true;
		if (apart)
			apply_to_windows(w, e, t, delta);
		else
			apply_to_pane(w, e, t, times[t], delta);
	}
	if (expired && !used)
		w->expired++;
	fe_entity_count_kept(e, kept);
}

/* ---- all rows of a hash --------------------------------------------------------------- */

static inline void
set_probe(FeStateWriter *w, const FeDelta *delta)
{
	FeKeyProbe *probe = &w->probe;

	probe->hash = delta->hash;
	for (int k = 0; k < w->plan->nkeys; k++)
	{
		int			expr = w->plan->keys[k].expr;

		probe->values[k] = delta->values[expr];
		probe->nulls[k] = delta->nulls[expr];
	}
	fe_key_pack(w->plan, probe);
}

static inline void
free_probe(FeStateWriter *w)
{
	if (w->probe.packed != (char *) w->probe.space)
		pfree(w->probe.packed);
}

/* Panes that have lost their last row. */
static void
remove_zeroed(FeStateWriter *w)
{
	for (int i = 0; i < Min(w->nzeroed, FE_MAX_ZEROED); i++)
	{
		const FeZeroedPane *z = &w->zeroed[i];
		int64		kept = fe_kept_rows;

		w->panes -= fe_pane_remove_if_empty(w->heap, &w->layout->tracks[z->track],
											&fe_entity_seqs(z->entity)[z->track],
											z->ts, w->live);
		fe_entity_count_kept(z->entity, kept);
	}
	if (w->nzeroed <= FE_MAX_ZEROED)
		return;
	for (int i = 0; i < w->ntouched; i++)
	{
		FeEntity   *e = fe_heap_ptr(w->touched[i]);
		int64		kept = fe_kept_rows;

		for (int t = 0; t < w->layout->ntracks; t++)
			w->panes -= fe_pane_remove_all_empty(w->heap, &w->layout->tracks[t],
												 &fe_entity_seqs(e)[t], w->live);
		fe_entity_count_kept(e, kept);
	}
}

static void
finish_entity(FeStateWriter *w, FeRef ref)
{
	FeEntity   *e = fe_heap_ptr(ref);
	int64		kept = fe_kept_rows;

	e->flags &= ~FE_ENTITY_TOUCHED;
	e->lsn = Max(e->lsn, w->lsn);
	for (int t = 0; w->merge_tracks >> t != 0; t++)
	{
		if (w->merge_tracks & (1 << t))
			w->panes -= fe_pane_consolidate(w->heap, &w->layout->tracks[t],
											&fe_entity_seqs(e)[t], w->t_min);
	}
	fe_entity_count_kept(e, kept);
	if (fe_fold_is_due)
		fe_fold_note(w, ref, e);
	if (e->kept > fe_setting_max_values_per_entity)
	{
		w->overfull = ref;
		w->overfull_tried = 0;
		w->overfull_serial = e->serial;
	}
	fe_entity_settle(w, ref, true);
}

void
fe_state_apply(FeStateWriter *w, const FeDelta *deltas, int n, XLogRecPtr lsn, FeTime now)
{
	LWLock	   *lock = fe_partition_lock(w->view, deltas[0].hash);
	Size		before = fe_heap_used(w->heap);

	w->lsn = lsn;
	w->replaying = lsn <= pg_atomic_read_u64(&w->table->replay_end);
	w->t_min = now - fe_setting_exact_horizon * FE_USEC_PER_SEC;
	w->live = fe_view_counts_are_real(w->view);
	w->panes = 0;
	w->expired = 0;
	w->merge_tracks = 0;
	w->nzeroed = 0;
	w->ntouched = 0;
	set_probe(w, &deltas[0]);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
		{
			free_probe(w);
			set_probe(w, &deltas[i]);
		}
		apply_delta(w, &deltas[i]);
	}
	/* not before the end: rows of a transaction come in any order */
	if (w->nzeroed > 0)
		remove_zeroed(w);
	for (int i = 0; i < w->ntouched; i++)
		finish_entity(w, w->touched[i]);
	LWLockRelease(lock);
	free_probe(w);

	fe_table_grow(w->heap, w->view);
	fe_count(&w->view->events, n);
	if (w->expired > 0)
		fe_count(&w->view->expired, w->expired);
	if (w->panes != 0)
		fe_count(&w->view->panes, w->panes);
	if (fe_heap_used(w->heap) != before)
		fe_count(&w->view->bytes, (int64) fe_heap_used(w->heap) - (int64) before);
}

/* ---- entities that keep too much ------------------------------------------------- */

bool
fe_state_overfull(FeStateWriter *w, uint32 *kept, Datum *keys, bool *nulls)
{
	const FeEntity *e;
	bool		still;

	if (w->overfull == 0)
		return false;
	e = fe_heap_ptr(w->overfull);
	still = e->serial == w->overfull_serial && e->kept > fe_setting_max_values_per_entity;
	w->overfull = 0;
	if (!still)
		return false;
	*kept = e->kept;
	fe_key_unpack(w->plan, w->layout, e, keys, nulls);
	return true;
}
