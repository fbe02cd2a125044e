/*
 * table.c
 *		The entities of a view by hash: linear hashing in the heap.
 *
 * Changed by the ingest worker only, under the partition's lock exclusively;
 * read by any process with the lock held in any mode.  See internal.h.
 */
#include "postgres.h"

#include "state/internal.h"

/*
 * Splits start above this load.  Buckets that have not been split in this round
 * are fuller by a third then, and one in six of them overflows.
 */
#define ENTITIES_PER_BUCKET	4
#define MAX_SPLITS			2	/* at a time, to keep up with insertions */

#define SPLITS_AHEAD		8	/* buckets to look ahead for; less than FE_PARTITIONS */

#define SEGMENT_SIZE		(FE_SEGMENT_BUCKETS * sizeof(FeBucket))

FeEntity *
fe_table_find(FeTable *table, const FePlan *plan, const FeLayout *layout,
			  const FeKeyProbe *probe, FeRef *ref)
{
	const FeBucket *bucket = fe_table_bucket_for(table, probe->hash);

	for (; bucket != NULL; bucket = fe_bucket_next(bucket))
	{
		for (uint32 i = 0; i < bucket->n; i++)
		{
			FeEntity   *e;

			if (bucket->slots[i].tag != (uint32) probe->hash)
				continue;
			e = fe_heap_ptr(bucket->slots[i].ref);
			if (fe_key_equal(plan, layout, e, probe))
			{
				*ref = bucket->slots[i].ref;
				return e;
			}
		}
	}
	return NULL;
}

/* Not through the reference: what it points to may be anything by now. */
FeEntity *
fe_table_find_ref(FeTable *table, FeEntityRef ref)
{
	const FeBucket *bucket = fe_table_bucket_for(table, ref.hash);

	for (; bucket != NULL; bucket = fe_bucket_next(bucket))
	{
		for (uint32 i = 0; i < bucket->n; i++)
		{
			FeEntity   *e;

			if (bucket->slots[i].ref != ref.ref)
				continue;
			e = fe_heap_ptr(ref.ref);
			return e->serial == ref.serial && e->hash == ref.hash ? e : NULL;
		}
	}
	return NULL;
}

static inline void
add_slot(FeBucket *bucket, FeRef ref, uint32 tag)
{
	bucket->slots[bucket->n].ref = ref;
	bucket->slots[bucket->n].tag = tag;
	bucket->n++;
}

void
fe_table_insert(FeHeap *heap, FeTable *table, FeRef ref)
{
	FeEntity   *e = fe_heap_ptr(ref);
	FeBucket   *bucket = fe_table_bucket_for(table, e->hash);

	while (bucket->overflow != 0)
		bucket = fe_heap_ptr(bucket->overflow);
	if (bucket->n == FE_BUCKET_SLOTS)
	{
		bucket->overflow = fe_heap_alloc0(heap, sizeof(FeBucket));
		bucket = fe_heap_ptr(bucket->overflow);
	}
	add_slot(bucket, ref, (uint32) e->hash);
}

/* The last slot of the last overflow takes the place of the one taken out. */
void
fe_table_unlink(FeHeap *heap, FeTable *table, FeRef ref)
{
	FeEntity   *e = fe_heap_ptr(ref);
	FeBucket   *last = fe_table_bucket_for(table, e->hash);
	FeBucket   *before = NULL;
	FeBucket   *at = NULL;
	uint32		slot = 0;

	for (;;)
	{
		for (uint32 i = 0; at == NULL && i < last->n; i++)
		{
			if (last->slots[i].ref == ref)
			{
				at = last;
				slot = i;
			}
		}
		if (last->overflow == 0)
			break;
		before = last;
		last = fe_heap_ptr(last->overflow);
	}
	Assert(at != NULL && last->n > 0);
	last->n--;
	at->slots[slot] = last->slots[last->n];
	if (last->n == 0 && before != NULL)
	{
		fe_heap_free(heap, before->overflow, sizeof(FeBucket));
		before->overflow = 0;
	}
	e->serial = 0;
}

/* ---- growing ------------------------------------------------------------------- */

static Size
dir_size(int dir)
{
	return sizeof(FeRef) * (dir == 0 ? FE_FIRST_DIR : (FE_FIRST_DIR / 2) << dir);
}

/* Zeroed memory for *ref, where there is none yet. */
static bool
provide(FeHeap *heap, FeRef *ref, Size size)
{
	if (*ref == 0)
	{
		*ref = fe_heap_try_alloc(heap, size);
		if (*ref != 0)
			memset(fe_heap_ptr(*ref), 0, size);
	}
	return *ref != 0;
}

/*
 * Makes the segment that begins with this bucket; false: no more can be had, and
 * the table is to do with what it has.
 */
static bool
add_segment(FeHeap *heap, FeTable *table, uint32 bucket)
{
	uint32		segment = bucket / FE_SEGMENT_BUCKETS;
	int			dir = segment < FE_FIRST_DIR ? 0 : pg_leftmost_one_pos32(segment) - 3;
	uint32		first = dir == 0 ? 0 : (FE_FIRST_DIR / 2) << dir;
	FeRef	   *refs;

	if (dir >= FE_DIRS || !provide(heap, &table->dirs[dir], dir_size(dir)))
		return false;
	refs = fe_heap_ptr(table->dirs[dir]);
	return provide(heap, &refs[segment - first], SEGMENT_SIZE);
}

void
fe_table_create(FeHeap *heap, FeTable *table)
{
	if (!add_segment(heap, table, 0))
		fe_heap_exhausted(SEGMENT_SIZE);
	pg_write_barrier();
	pg_atomic_write_u32(&table->nbuckets, FE_PARTITIONS);
}

/* Adds a slot at the end; an overflow, where one begins, is the first spare one. */
static FeBucket *
append_slot(FeBucket *last, FeRef ref, uint32 tag, FeRef *spare)
{
	if (last->n == FE_BUCKET_SLOTS)
	{
		FeBucket   *next = fe_heap_ptr(*spare);

		Assert(*spare != 0);
		last->overflow = *spare;
		*spare = next->overflow;
		next->overflow = 0;
		next->n = 0;
		last = next;
	}
	add_slot(last, ref, tag);
	return last;
}

/*
 * Moves what belongs there from a bucket into the new one at the table's end.
 * Two buckets never need more overflow than the one had.  Readers of other
 * partitions may see the number of buckets change at any time: it makes no
 * difference to their hashes.
 */
static void
split_bucket(FeHeap *heap, FeViewShared *view, FeTable *table, uint32 nbuckets)
{
	uint32		low = (uint32) 1 << pg_leftmost_one_pos32(nbuckets);
	LWLock	   *lock = fe_partition_lock(view, nbuckets);
	FeBucket   *stay = fe_table_bucket(table, nbuckets - low);
	FeBucket   *go = fe_table_bucket(table, nbuckets);
	FeRef		spare = 0;
	FeBucket	old;
	FeRef		next;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	old = *stay;
	stay->n = go->n = 0;
	stay->overflow = go->overflow = 0;
	for (;;)
	{
		for (uint32 i = 0; i < old.n; i++)
		{
			FeBucket  **to = old.slots[i].tag & low ? &go : &stay;

			*to = append_slot(*to, old.slots[i].ref, old.slots[i].tag, &spare);
		}
		next = old.overflow;
		if (next == 0)
			break;
		/* a copy, so that the overflow itself can be used again at once */
		old = *(FeBucket *) fe_heap_ptr(next);
		((FeBucket *) fe_heap_ptr(next))->overflow = spare;
		spare = next;
	}
	pg_write_barrier();
	pg_atomic_write_u32(&table->nbuckets, nbuckets + 1);
	LWLockRelease(lock);
	while (spare != 0)
	{
		next = ((FeBucket *) fe_heap_ptr(spare))->overflow;
		fe_heap_free(heap, spare, sizeof(FeBucket));
		spare = next;
	}
}

/* Has a bucket that will be split soon brought nearer. */
static inline void
prefetch_splits(const FeTable *table, uint32 nbuckets)
{
	uint32		low = (uint32) 1 << pg_leftmost_one_pos32(nbuckets);

	__builtin_prefetch(fe_table_bucket(table, nbuckets - low + SPLITS_AHEAD), 1);
}

void
fe_table_grow(FeHeap *heap, FeViewShared *view)
{
	FeTable    *table = fe_view_table(view);
	uint64		entities = pg_atomic_read_u64(&view->entities);

	for (int i = 0; i < MAX_SPLITS; i++)
	{
		uint32		nbuckets = pg_atomic_read_u32(&table->nbuckets);

		if (entities <= (uint64) nbuckets * ENTITIES_PER_BUCKET)
			break;
		if (nbuckets % FE_SEGMENT_BUCKETS == 0 && !add_segment(heap, table, nbuckets))
			break;
		split_bucket(heap, view, table, nbuckets);
		prefetch_splits(table, nbuckets);
	}
}

/* What one insertion may add, on the average. */
Size
fe_table_room(void)
{
	/* a bucket for so many, and the overflow of some */
	return sizeof(FeBucket) / ENTITIES_PER_BUCKET + sizeof(FeRef);
}

static void
free_overflow(FeHeap *heap, FeBucket *segment)
{
	for (uint32 i = 0; i < FE_SEGMENT_BUCKETS; i++)
	{
		FeRef		ref = segment[i].overflow;

		while (ref != 0)
		{
			FeRef		next = ((FeBucket *) fe_heap_ptr(ref))->overflow;

			fe_heap_free(heap, ref, sizeof(FeBucket));
			ref = next;
		}
	}
}

void
fe_table_free(FeHeap *heap, FeTable *table)
{
	Assert(pg_atomic_read_u32(&table->nbuckets) == 0 ||
		   pg_atomic_read_u32(&table->nbuckets) >= FE_PARTITIONS);
	pg_atomic_write_u32(&table->nbuckets, 0);
	for (int dir = 0; dir < FE_DIRS && table->dirs[dir] != 0; dir++)
	{
		FeRef	   *refs = fe_heap_ptr(table->dirs[dir]);

		for (uint32 i = 0; i < dir_size(dir) / sizeof(FeRef) && refs[i] != 0; i++)
		{
			free_overflow(heap, fe_heap_ptr(refs[i]));
			fe_heap_free(heap, refs[i], SEGMENT_SIZE);
		}
		fe_heap_free(heap, table->dirs[dir], dir_size(dir));
		table->dirs[dir] = 0;
	}
}
