/*
 * table.c
 *		The entities of a view by hash: linear hashing in the heap.
 *
 * Changed by the ingest worker only, under the partition's lock exclusively;
 * read by any process with the lock held in any mode.  See internal.h.
 */
#include "postgres.h"

#include "state/internal.h"

/* Splits start above this load; a successful search meets 1.4 entities then. */
#define LOAD_NUMERATOR		3
#define LOAD_DENOMINATOR	4
#define MAX_SPLITS			2	/* at a time, to keep up with insertions */

#define SPLITS_AHEAD		16	/* buckets to look ahead for; less than FE_PARTITIONS */

#define SEGMENT_SIZE		(FE_SEGMENT_BUCKETS * sizeof(FeRef))

FeEntity *
fe_table_find(FeTable *table, const FePlan *plan, const FeLayout *layout,
			  const FeKeyProbe *probe, FeRef *ref)
{
	FeRef	   *slot = fe_table_slot(table, probe->hash);
	FeRef		cur = slot ? *slot : 0;

	while (cur != 0)
	{
		FeEntity   *e = fe_heap_ptr(cur);

		if (fe_key_equal(plan, layout, e, probe))
		{
			*ref = cur;
			return e;
		}
		cur = e->next;
	}
	return NULL;
}

/* Not through the reference: what it points to may be anything by now. */
FeEntity *
fe_table_find_ref(FeTable *table, FeEntityRef ref)
{
	FeRef	   *slot = fe_table_slot(table, ref.hash);
	FeRef		cur = slot ? *slot : 0;

	while (cur != 0)
	{
		FeEntity   *e = fe_heap_ptr(cur);

		if (cur == ref.ref)
			return e->serial == ref.serial && e->hash == ref.hash ? e : NULL;
		cur = e->next;
	}
	return NULL;
}

void
fe_table_insert(FeTable *table, FeRef ref)
{
	FeEntity   *e = fe_heap_ptr(ref);
	FeRef	   *slot = fe_table_slot(table, e->hash);

	e->next = *slot;
	*slot = ref;
}

void
fe_table_unlink(FeTable *table, FeRef ref)
{
	FeEntity   *e = fe_heap_ptr(ref);
	FeRef	   *link = fe_table_slot(table, e->hash);

	while (*link != ref)
		link = &((FeEntity *) fe_heap_ptr(*link))->next;
	*link = e->next;
	e->serial = 0;
}

/* ---- growing ------------------------------------------------------------------- */

static Size
dir_size(int dir)
{
	return sizeof(FeRef) * (dir == 0 ? FE_FIRST_DIR : (FE_FIRST_DIR / 2) << dir);
}

/* Makes the segment that begins with this bucket; false: no more can be had. */
static bool
add_segment(FeHeap *heap, FeTable *table, uint32 bucket)
{
	uint32		segment = bucket / FE_SEGMENT_BUCKETS;
	int			dir = segment < FE_FIRST_DIR ? 0 : pg_leftmost_one_pos32(segment) - 3;
	uint32		first = dir == 0 ? 0 : (FE_FIRST_DIR / 2) << dir;
	FeRef	   *refs;

	if (dir >= FE_DIRS)
		return false;
	if (table->dirs[dir] == 0)
		table->dirs[dir] = fe_heap_alloc0(heap, dir_size(dir));
	refs = fe_heap_ptr(table->dirs[dir]);
	if (refs[segment - first] == 0)
		refs[segment - first] = fe_heap_alloc0(heap, SEGMENT_SIZE);
	return true;
}

void
fe_table_create(FeHeap *heap, FeTable *table)
{
	add_segment(heap, table, 0);
	pg_write_barrier();
	pg_atomic_write_u32(&table->nbuckets, FE_PARTITIONS);
}

/*
 * Moves what belongs there from a bucket into the new one at the table's end.
 * Readers of other partitions may see the number of buckets change at any
 * time: it makes no difference to their hashes.
 */
static void
split_bucket(FeViewShared *view, FeTable *table, uint32 nbuckets)
{
	uint32		low = (uint32) 1 << pg_leftmost_one_pos32(nbuckets);
	LWLock	   *lock = fe_partition_lock(view, nbuckets);
	FeRef	   *from = fe_table_bucket(table, nbuckets - low);
	FeRef	   *to = fe_table_bucket(table, nbuckets);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	while (*from != 0)
	{
		FeRef		ref = *from;
		FeEntity   *e = fe_heap_ptr(ref);

		if (e->hash & low)
		{
			*from = e->next;
			e->next = *to;
			*to = ref;
		}
		else
			from = &e->next;
	}
	pg_write_barrier();
	pg_atomic_write_u32(&table->nbuckets, nbuckets + 1);
	LWLockRelease(lock);
}

/*
 * Has the entities of buckets that will be split soon brought nearer: the first
 * of one, and of another, whose first one has arrived by now, the second.
 */
static inline void
prefetch_splits(const FeTable *table, uint32 nbuckets)
{
	uint32		low = (uint32) 1 << pg_leftmost_one_pos32(nbuckets);
	uint32		bucket = nbuckets - low + SPLITS_AHEAD;
	FeRef		first = *fe_table_bucket(table, bucket);
	FeRef		arrived;

	__builtin_prefetch(fe_heap_ptr(first), 1);
	arrived = *fe_table_bucket(table, bucket - SPLITS_AHEAD / 2);
	if (arrived != 0)
		__builtin_prefetch(fe_heap_ptr(((FeEntity *) fe_heap_ptr(arrived))->next), 1);
}

void
fe_table_grow(FeHeap *heap, FeViewShared *view)
{
	FeTable    *table = fe_view_table(view);
	uint64		entities = pg_atomic_read_u64(&view->entities);

	for (int i = 0; i < MAX_SPLITS; i++)
	{
		uint32		nbuckets = pg_atomic_read_u32(&table->nbuckets);

		if (entities * LOAD_DENOMINATOR <= (uint64) nbuckets * LOAD_NUMERATOR)
			break;
		if (nbuckets % FE_SEGMENT_BUCKETS == 0 && !add_segment(heap, table, nbuckets))
			break;
		split_bucket(view, table, nbuckets);
		prefetch_splits(table, nbuckets);
	}
}

/* What one insertion may add, on the average. */
Size
fe_table_room(void)
{
	return MAX_SPLITS * sizeof(FeRef);
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
			fe_heap_free(heap, refs[i], SEGMENT_SIZE);
		fe_heap_free(heap, table->dirs[dir], dir_size(dir));
		table->dirs[dir] = 0;
	}
}
