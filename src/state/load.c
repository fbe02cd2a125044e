/*
 * load.c
 *		State from a checkpoint's chunks.
 *
 * Runs in the ingest worker, the only writer; FeDatabase.merging is set.  An
 * entity is checked wholly, then room is made sure of, then it is built where
 * nobody sees it, and linked under its partition's lock: nothing that is wrong
 * in its bytes, and no lack of memory, leaves a part of it.
 *
 * Chunks may come in any order, and an entity several times: its latest image
 * counts, a tombstone being one.  Newest first is the cheapest order.
 *
 * Afterwards fe_state_apply leaves alone what an entity has in it already:
 * changes up to its LSN, as long as they are not past the latest image loaded.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "state/image.h"

/* A segment of the table, and pieces of its directory. */
#define TABLE_ROOM			(64 * 1024)

/* An image's key, aligned, and what it is in the table. */
typedef struct LoadKey
{
	uint64		space[32];
	char	   *copy;
	FeKeyProbe	probe;
	FeRef		ref;			/* of the entity that has this key, 0 = none */
} LoadKey;

static bool
open_key(FeStateWriter *w, const FeEntityImage *image, LoadKey *key)
{
	key->copy = (char *) key->space;
	if (image->keylen > sizeof(key->space))
		key->copy = palloc(image->keylen);
	memcpy(key->copy, image->key, image->keylen);
	key->ref = 0;
	if (!fe_key_read(w->plan, key->copy, image->keylen, image->nullkey, &key->probe))
		return false;
	/* sets ref if there is one */
	(void) fe_table_find(w->table, w->plan, w->layout, &key->probe, &key->ref);
	return true;
}

static void
close_key(LoadKey *key)
{
	fe_key_free(&key->probe);
	if (key->copy != (char *) key->space)
		pfree(key->copy);
}

static uint32
count_panes(const FeLayout *layout, const FeEntity *e)
{
	uint32		panes = 0;

	for (int t = 0; t < layout->ntracks; t++)
		panes += fe_entity_seqs(e)[t].count;
	return panes;
}

/*
 * Gives an entity the content of another one, which is freed.  The partition's
 * lock is held exclusively.
 */
static void
replace_content(FeStateWriter *w, FeEntity *e, FeRef fresh)
{
	FeEntity   *from = fe_heap_ptr(fresh);

	w->panes -= fe_entity_clear(w->heap, w->layout, e);
	memcpy((char *) e + sizeof(FeEntity), (char *) from + sizeof(FeEntity),
		   w->layout->key - sizeof(FeEntity));
	w->panes += count_panes(w->layout, e);
	e->nrows = from->nrows;
	e->kept = from->kept;
	e->lsn = from->lsn;
	e->epoch = from->epoch;
	fe_entity_free(w->heap, w->layout, fresh);
}

/* Links the entity just built, or puts it in the place of the one that is there. */
static void
install(FeStateWriter *w, LoadKey *key, FeRef fresh, bool tombstone)
{
	LWLock	   *lock = fe_partition_lock(w->view, key->probe.hash);
	FeEntity   *e = fe_heap_ptr(fresh);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (key->ref != 0)
	{
		e = fe_heap_ptr(key->ref);
		replace_content(w, e, fresh);
	}
	else
	{
		fe_table_insert(w->heap, w->table, fresh);
		w->panes += count_panes(w->layout, e);
		fe_count(&w->view->entities, 1);
		if (e->flags & FE_ENTITY_NULLKEY)
			fe_count(&w->view->null_keys, 1);
	}
	fe_entity_set_tombstone(w, e, tombstone, (e->flags & FE_ENTITY_HELD) == 0);
	LWLockRelease(lock);
	fe_table_grow(w->heap, w->view);
}

static FeLoadResult
load_checked(FeStateWriter *w, FeEntityImage *image, LoadKey *key)
{
	int64		kept = fe_kept_rows;
	FeRef		fresh;
	FeEntity   *e;

	if (!fe_heap_has_room_for(w->heap, image->in.room + TABLE_ROOM,
							  Max(image->in.largest, TABLE_ROOM)))
		return FE_LOAD_NO_MEMORY;
	fresh = fe_entity_create(w->heap, w->table, w->layout, &key->probe);
	e = fe_heap_ptr(fresh);
	e->lsn = image->lsn;
	fe_image_build(w->heap, w->layout, image, e);
	fe_entity_count_kept(e, kept);
	install(w, key, fresh, image->tombstone);
	if (image->lsn > pg_atomic_read_u64(&w->table->replay_end))
		pg_atomic_write_u64(&w->table->replay_end, image->lsn);
	return FE_LOAD_DONE;
}

static FeLoadResult
load_entity(FeStateWriter *w, const char *data, Size len, const char **why)
{
	FeEntityImage image;
	LoadKey		key;
	FeLoadResult result = FE_LOAD_INVALID;

	if (!fe_image_open(&image, data, len))
	{
		*why = image.in.error;
		return FE_LOAD_INVALID;
	}
	if (!open_key(w, &image, &key))
		*why = "a key is malformed";
	else if (key.ref != 0 && ((FeEntity *) fe_heap_ptr(key.ref))->lsn >= image.lsn)
		result = FE_LOAD_DONE;	/* a later image is there */
	else if (!fe_image_check(w->layout, &image))
		*why = image.in.error;
	else
		result = load_checked(w, &image, &key);
	close_key(&key);
	fe_image_close(&image);
	return result;
}

/* Is the chunk one of this view's?  Then its cut-offs count. */
static bool
accept_chunk(FeStateWriter *w, const FeChunk *chunk, const char **why)
{
	if (chunk->state_version != w->plan->state_version ||
		chunk->ntracks != w->plan->ntracks ||
		chunk->fingerprint != fe_layout_fingerprint(w->plan))
	{
		*why = "it is of another definition";
		return false;
	}
	for (int t = 0; t < chunk->ntracks; t++)
		if (chunk->cutoff[t] > (int64) pg_atomic_read_u64(&w->view->cutoff[t]))
			pg_atomic_write_u64(&w->view->cutoff[t], (uint64) chunk->cutoff[t]);
	return true;
}

FeLoadResult
fe_state_load(FeStateWriter *w, const char *data, Size len, Size *done, const char **why)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "feature state load",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	Size		before = fe_heap_used(w->heap);
	FeLoadResult result = FE_LOAD_INVALID;
	FeChunk		chunk;

	w->panes = 0;
	if (fe_chunk_open(&chunk, data, len, why) && accept_chunk(w, &chunk, why))
	{
		const char *pos = *done == 0 ? chunk.entities : data + *done;
		const char *image;
		Size		size;

		result = FE_LOAD_DONE;
		*done = pos - data;
		while (result == FE_LOAD_DONE && fe_chunk_next(&chunk, &pos, &image, &size, why))
		{
			result = load_entity(w, image, size, why);
			if (result == FE_LOAD_DONE)
				*done = pos - data;
		}
		if (*why != NULL)
			result = FE_LOAD_INVALID;
	}
	fe_count(&w->view->panes, w->panes);
	fe_count(&w->view->bytes, (int64) fe_heap_used(w->heap) - (int64) before);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	return result;
}

void
fe_state_load_end(FeStateWriter *w, XLogRecPtr start, int64 event_time)
{
	FeTable    *table = w->table;

	pg_atomic_write_u32(&table->cycle_serial, table->entity_serial);
	pg_atomic_write_u64(&table->cycle_lsn, start);
	pg_atomic_write_u64(&w->view->event_time, (uint64) event_time);
	pg_atomic_write_u64(&table->stored_lsn, start);
	pg_atomic_write_u32(&table->cycle_broken, 0);
	pg_atomic_write_u32(&table->full_wanted, 0);
	if (pg_atomic_read_u32(&table->cycle) == 0)
		pg_atomic_write_u32(&table->cycle, 1);
}

void
fe_state_replay_until(FeStateWriter *w, XLogRecPtr lsn)
{
	FeTable    *table = w->table;

	pg_atomic_write_u64(&table->replay_end, Max(lsn, pg_atomic_read_u64(&table->replay_end)));
}

#ifdef USE_ASSERT_CHECKING
/*
 * Writes an entity, builds another one from the bytes, and finds that it has the
 * same bytes.  Where feature_engine.inject_error is 'state_image' the first one
 * gets its content: whatever an image lacks is then missing from the values,
 * which other tests compare.  (Not always: it moves everything about in memory.)
 */
void
fe_entity_exercise_image(FeStateWriter *w, FeEntity *e)
{
	LWLock	   *lock = fe_partition_lock(w->view, e->hash);
	FeEntityImage image;
	StringInfoData first;
	StringInfoData second;
	LoadKey		key;
	FeRef		fresh;
	Size		before = fe_heap_used(w->heap);

	initStringInfo(&first);
	initStringInfo(&second);
	fe_image_write(w->layout, e, &first);
	if (!fe_image_open(&image, first.data, first.len) || !open_key(w, &image, &key) ||
		key.probe.hash != e->hash || fe_heap_ptr(key.ref) != (void *) e ||
		!fe_image_check(w->layout, &image))
		elog(PANIC, "image of an entity cannot be read: %s",
			 image.in.error ? image.in.error : "its key is malformed");
	if ((e->flags & FE_ENTITY_TOMBSTONE) == 0 &&
		fe_heap_has_room_for(w->heap, image.in.room, image.in.largest))
	{
		fresh = fe_entity_create(w->heap, w->table, w->layout, &key.probe);
		((FeEntity *) fe_heap_ptr(fresh))->lsn = e->lsn;
		fe_image_build(w->heap, w->layout, &image, fe_heap_ptr(fresh));
		fe_image_write(w->layout, fe_heap_ptr(fresh), &second);
		if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
			elog(PANIC, "image of an entity that was read is another one");
		if (fe_heap_used(w->heap) - before > image.in.room)
			elog(PANIC, "an entity takes more memory than its image says");
		if (strcmp(fe_setting_inject_error, "state_image") == 0)
		{
			LWLockAcquire(lock, LW_EXCLUSIVE);
			((FeEntity *) fe_heap_ptr(fresh))->epoch = e->epoch;
			((FeEntity *) fe_heap_ptr(fresh))->kept = e->kept;
			replace_content(w, e, fresh);
			LWLockRelease(lock);
		}
		else
		{
			fe_entity_clear(w->heap, w->layout, fe_heap_ptr(fresh));
			fe_entity_free(w->heap, w->layout, fresh);
		}
	}
	close_key(&key);
	fe_image_close(&image);
	pfree(first.data);
	pfree(second.data);
}
#endif
