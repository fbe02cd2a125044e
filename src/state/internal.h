/*
 * internal.h
 *		What the state room's own files share; no other room includes this.
 *
 * A view's entities hang in a hash table that grows by linear hashing, one
 * bucket at a time: buckets lie in segments of the heap that are found through
 * a directory.  A bucket is a cache line of references, each with a part of its
 * entity's hash: memory is slow, and so only the entity that is looked for is
 * touched, and none when a bucket is split.  There are never fewer buckets than
 * partitions, so that an entity's partition (the low bits of its hash) never
 * changes, and splitting a bucket concerns one partition only.
 *
 * Locks.  FeTable.nbuckets is atomic.  Everything else reachable from a bucket
 * (overflow, entities, panes) is guarded by the LWLock of the bucket's
 * partition: shared to read, exclusive to write.  As there is one writer it
 * may read without the lock, except for FeEntity.flags, which the pusher
 * changes too, under the lock held exclusively.  The dirty list (head, tail,
 * FeEntity.dirty_next) is guarded by FeTable.dirty_mutex, which may be taken
 * while a partition lock is held, never the other way round.  What a checkpoint
 * cycle is about is atomic, and set while no saver is at work.  Slots are claimed
 * and released under the slot lock.
 *
 * A slot that is released changes its incarnation first and then takes every
 * partition lock once: whoever finds the incarnation unchanged under a
 * partition lock may trust what the table refers to in that partition.
 */
#ifndef FE_STATE_INTERNAL_H
#define FE_STATE_INTERNAL_H

#include "memory/seq.h"
#include "port/pg_bitutils.h"
#include "state/state.h"

#define FE_PARTITIONS		128 /* of a view */
#define FE_STATE_LOCKS		1024	/* shared by all views, a power of two */
#define FE_SEGMENT_BUCKETS	128
#define FE_BUCKET_SLOTS		7
#define FE_FIRST_DIR		16	/* segments in the first directory block */
#define FE_DIRS				18
#ifndef FE_MAX_TOMBSTONES		/* a unit test has less patience */
#define FE_MAX_TOMBSTONES	100000
#endif

/* ---- shared structures -------------------------------------------------- */

/* What is in FeViewShared.table. */
typedef struct FeTable
{
	pg_atomic_uint32 incarnation;	/* of the slot; changes on claim and release */
	pg_atomic_uint32 nbuckets;	/* 0 = no table yet */
	uint32		entity_serial;	/* last one given; not reset with the slot */
	uint32		epoch;			/* counts truncates */
	FeRef		layout;			/* FeSharedLayout: how to free without a plan */
	FeRef		dirs[FE_DIRS];	/* directory blocks, each as big as all before */
	slock_t		dirty_mutex;
	FeRef		dirty_head;		/* oldest */
	FeRef		dirty_tail;

	/* checkpoints; see save.c.  Changed by the writer, stored_lsn by the saver */
	pg_atomic_uint32 cycle;		/* counts cycles begun, 0 = none */
	pg_atomic_uint32 cycle_serial;	/* entity_serial when the last one began */
	uint32		pending_truncates;	/* epochs since the last one was ended */
	pg_atomic_uint32 cycle_broken;	/* tombstones were dropped since it began */
	pg_atomic_uint32 full_wanted;	/* 1 until a full one is stored */
	uint32		graves;			/* tombstones here for the checkpoint's sake only */
	pg_atomic_uint64 cycle_lsn; /* where replay starts once it is stored */
	pg_atomic_uint64 cycle_since;	/* what it writes: later changes only */
	pg_atomic_uint64 stored_lsn;	/* cycle_lsn of the last one stored, 0 = none */
	pg_atomic_uint64 replay_end;	/* no image loaded is newer; 0 = none loaded */

	/* here, for a writer lives only until the catalogue is looked at again */
	uint32		sweep_bucket;	/* where the round of the sweep goes on */
	uint32		sweep_rounds;
	uint32		live_round;		/* the round when counts had become real, 0 = not yet */
} FeTable;

typedef struct FeBucket
{
	struct
	{
		FeRef		ref;
		uint32		tag;		/* lower half of the entity's hash */
	}			slots[FE_BUCKET_SLOTS];
	uint32		n;				/* slots in use, from the first one on */
	FeRef		overflow;		/* FeBucket; only where all slots are in use */
} FeBucket;

/* FeEntity.flags */
#define FE_ENTITY_QUEUED	0x01	/* on the dirty list: must not be freed */
#define FE_ENTITY_TAKEN		0x02	/* the pusher is at it: must not be freed */
#define FE_ENTITY_PUSHED	0x04	/* its key is in Redis: must not be freed */
#define FE_ENTITY_CHANGED	0x08	/* by the source, and not taken since */
#define FE_ENTITY_RENEW		0x10	/* was CHANGED when it was taken */
#define FE_ENTITY_TOMBSTONE 0x20	/* empty, here for the pusher's sake only */
#define FE_ENTITY_NULLKEY	0x40	/* some key is NULL: never pushed */
#define FE_ENTITY_TOUCHED	0x80	/* by the fe_state_apply under way */
#define FE_ENTITY_OLD		0x100	/* too old for its serial to tell */
#define FE_ENTITY_GRAVE		0x200	/* a tombstone for the checkpoint's sake only */

#define FE_ENTITY_HELD		(FE_ENTITY_QUEUED | FE_ENTITY_TAKEN | FE_ENTITY_PUSHED)

/*
 * An entity: this header, an FeSeq of panes per track, the block of lifetime
 * accumulators, the packed key.
 */
typedef struct FeEntity
{
	uint64		hash;
	uint32		kept;			/* rows of arguments in it, by fe_kept_rows */
	FeRef		dirty_next;
	uint32		serial;			/* tells incarnations of an entity apart */
	uint32		keylen;			/* bytes of the packed key */
	XLogRecPtr	lsn;			/* of the last source change */
	int64		nrows:46;		/* signed: a delete may overtake its row */
	uint64		epoch:8;
	uint64		flags:10;
} FeEntity;

#define FE_ENTITY_NROWS_BITS	46

/* Head of a pane; accumulators follow. */
typedef struct FePane
{
	int64		start;
	int64		rows:55;		/* signed */
	int64		level:8;
	uint64		begins:1;		/* a session, although the one before is near */
} FePane;

#define FE_PANE_ROWS_BITS	55

#define FE_PANE_ACCS	sizeof(FePane)

/* How a view's memory is laid out, kept beside it. */
typedef struct FeSharedAcc
{
	FeAccSpec	spec;			/* without kind and cmp */
	int64		kind;			/* FeAccKind, as distance from fe_state_anchor */
	int32		track;
	uint32		offset;
} FeSharedAcc;

typedef struct FeSharedLayout
{
	uint32		size;			/* of this chunk */
	int32		ntracks;
	int32		naccs;
	uint32		lifetime_size;
	uint32		pane_size[FE_MAX_TRACKS];
	FeSharedAcc accs[FLEXIBLE_ARRAY_MEMBER];
} FeSharedLayout;

/* ---- layout, in local memory (entity.c) --------------------------------- */

typedef struct FeLayoutAcc
{
	const FeAccSpec *spec;
	Size		offset;			/* from the start of the pane or entity */
} FeLayoutAcc;

typedef struct FeLayoutTrack
{
	Size		pane_size;
	const FeGrid *grid;			/* NULL when made without a plan */
	int			naccs;
	FeLayoutAcc *accs;
} FeLayoutTrack;

typedef struct FeLayout
{
	int			ntracks;
	FeLayoutTrack tracks[FE_MAX_TRACKS];
	Size		lifetime;		/* offsets in an entity */
	Size		lifetime_size;
	Size		key;
	int			nlifetime;
	FeLayoutAcc *lifetime_accs;
	bool		bitwise;		/* keys are compared as packed */
} FeLayout;

extern FeLayout *fe_layout_of_plan(const FePlan *plan);
extern FeLayout *fe_layout_of_shared(const FeSharedLayout *shared);
extern FeRef fe_layout_share(FeHeap *heap, const FePlan *plan);
extern bool fe_layout_matches(const FeSharedLayout *shared, const FePlan *plan);

/* ---- keys (key.c) -------------------------------------------------------- */

/* A key to look for. */
typedef struct FeKeyProbe
{
	uint64		hash;
	Datum		values[FE_MAX_KEYS];
	bool		nulls[FE_MAX_KEYS];
	bool		has_nulls;
	Size		len;
	char	   *packed;
	Size		size;			/* of packed, when it is larger than space */
	uint64		space[16];
} FeKeyProbe;

/* Packs values/nulls; flattens values that are toasted in CurrentMemoryContext. */
extern void fe_key_pack(const FePlan *plan, FeKeyProbe *probe);
/* Points into the entity: valid as long as its lock is held. */
extern void fe_key_unpack(const FePlan *plan, const FeLayout *layout, const FeEntity *e,
						  Datum *values, bool *nulls);
/*
 * A packed key from outside, aligned to 8, into a probe, hash included.  False:
 * it is not what fe_key_pack makes.  The probe is to be freed in either case.
 */
extern bool fe_key_read(const FePlan *plan, const char *packed, Size len, bool has_nulls,
						FeKeyProbe *probe);
extern void fe_key_free(FeKeyProbe *probe);
extern bool fe_key_equal_slow(const FePlan *plan, const FeLayout *layout, const FeEntity *e,
							  const FeKeyProbe *probe);

static inline char *
fe_entity_key(const FeLayout *layout, const FeEntity *e)
{
	return (char *) e + layout->key;
}

static inline bool
fe_key_equal(const FePlan *plan, const FeLayout *layout, const FeEntity *e,
			 const FeKeyProbe *probe)
{
	if (e->hash != probe->hash)
		return false;
	if (!layout->bitwise)
		return fe_key_equal_slow(plan, layout, e, probe);
	if (e->keylen != probe->len ||
		((e->flags & FE_ENTITY_NULLKEY) != 0) != probe->has_nulls)
		return false;
	if (probe->len == sizeof(uint64))
		return *(const uint64 *) fe_entity_key(layout, e) == *(const uint64 *) probe->packed;
	return memcmp(fe_entity_key(layout, e), probe->packed, probe->len) == 0;
}

/* ---- slots (views.c) ------------------------------------------------------ */

extern const char fe_state_anchor;	/* an address in this library */

static inline FeTable *
fe_view_table(FeViewShared *view)
{
	return (FeTable *) view->table;
}

extern LWLock *fe_partition_lock(const FeViewShared *view, uint64 hash);
/* Is this still the view that the plan describes?  For use under a lock. */
extern bool fe_view_is(const FeViewShared *view, const FePlan *plan);

/* Counters that only the writer changes. */
static inline void
fe_count(pg_atomic_uint64 *counter, int64 delta)
{
	pg_atomic_write_u64(counter, pg_atomic_read_u64(counter) + delta);
}

/* ---- table (table.c) ------------------------------------------------------ */

static inline FeBucket *
fe_table_bucket(const FeTable *table, uint32 bucket)
{
	uint32		segment = bucket / FE_SEGMENT_BUCKETS;
	int			dir = 0;
	uint32		first = 0;
	const FeRef *refs;

	if (segment >= FE_FIRST_DIR)
	{
		dir = pg_leftmost_one_pos32(segment) - 3;	/* 16..31 -> 1 */
		first = (FE_FIRST_DIR / 2) << dir;
	}
	refs = fe_heap_ptr(table->dirs[dir]);
	return (FeBucket *) fe_heap_ptr(refs[segment - first]) + bucket % FE_SEGMENT_BUCKETS;
}

static inline FeBucket *
fe_bucket_next(const FeBucket *bucket)
{
	return bucket->overflow == 0 ? NULL : fe_heap_ptr(bucket->overflow);
}

/*
 * The entities of a bucket by number; 0 when there are no more.  Where one is
 * taken out another comes into its place.
 */
static inline FeRef
fe_bucket_entity(const FeBucket *bucket, uint32 number)
{
	for (; number >= FE_BUCKET_SLOTS; number -= FE_BUCKET_SLOTS)
	{
		bucket = fe_bucket_next(bucket);
		if (bucket == NULL)
			return 0;
	}
	return number < bucket->n ? bucket->slots[number].ref : 0;
}

static inline uint32
fe_table_bucket_of(uint32 nbuckets, uint64 hash)
{
	uint32		high = (uint32) 2 << pg_leftmost_one_pos32(nbuckets - 1);
	uint32		bucket = (uint32) hash & (high - 1);

	return bucket < nbuckets ? bucket : bucket & (high / 2 - 1);
}

/* Bucket of a hash; NULL while there is no table. */
static inline FeBucket *
fe_table_bucket_for(FeTable *table, uint64 hash)
{
	uint32		nbuckets = pg_atomic_read_u32(&table->nbuckets);

	if (nbuckets == 0)
		return NULL;
	pg_read_barrier();
	return fe_table_bucket(table, fe_table_bucket_of(nbuckets, hash));
}

extern FeEntity *fe_table_find(FeTable *table, const FePlan *plan, const FeLayout *layout,
							   const FeKeyProbe *probe, FeRef *ref);
extern FeEntity *fe_table_find_ref(FeTable *table, FeEntityRef ref);
extern void fe_table_create(FeHeap *heap, FeTable *table);
extern void fe_table_insert(FeHeap *heap, FeTable *table, FeRef ref);
extern void fe_table_unlink(FeHeap *heap, FeTable *table, FeRef ref);
/* Splits buckets as the number of entities asks for; takes partition locks. */
extern void fe_table_grow(FeHeap *heap, FeViewShared *view);
extern Size fe_table_room(void);
extern void fe_table_free(FeHeap *heap, FeTable *table);

/*
 * Walks a table that may grow meanwhile: groups of buckets that began as one.
 * Every entity belongs to one group for good, and a group to one partition.
 */
static inline uint32
fe_table_groups(FeTable *table)
{
	uint32		nbuckets = pg_atomic_read_u32(&table->nbuckets);

	return nbuckets == 0 ? 0 : (uint32) 1 << pg_leftmost_one_pos32(nbuckets);
}

/* ---- entities and panes (entity.c, pane.c) ---------------------------------- */

static inline FeSeq *
fe_entity_seqs(const FeEntity *e)
{
	return (FeSeq *) ((char *) e + sizeof(FeEntity));
}

static inline Size
fe_entity_size(const FeLayout *layout, Size keylen)
{
	return layout->key + keylen;
}

static inline int64
fe_pane_end(const FeGrid *grid, const FePane *pane)
{
	return pane->level == 0 ? pane->start + 1 :
		fe_grid_pane_end(grid, pane->level, pane->start);
}

/* Not linked into the table yet. */
extern FeRef fe_entity_create(FeHeap *heap, FeTable *table, const FeLayout *layout,
							  const FeKeyProbe *probe);
/* Frees panes and what accumulators own; returns the number of panes. */
extern uint32 fe_entity_clear(FeHeap *heap, const FeLayout *layout, FeEntity *e);
extern void fe_entity_free(FeHeap *heap, const FeLayout *layout, FeRef ref);
/* No panes, no rows, nothing in the lifetime accumulators? */
extern bool fe_entity_has_content(const FeLayout *layout, const FeEntity *e);

/* The pane for an event time, made if need be. */
extern FePane *fe_pane_upsert(FeHeap *heap, const FeLayoutTrack *track, FeSeq *seq,
							  int64 ts, FeTime t_min, int32 *added);
/*
 * A pane has come into being at ts, in a track of sessions: it begins one if the
 * session before it has ended by the watermark.
 */
extern void fe_pane_begin_session(const FeLayoutTrack *track, const FeSeq *seq,
								  const FeWindow *group, int64 ts, int64 watermark);
/* First pane that ends after ts. */
extern uint32 fe_pane_first_after(const FeLayoutTrack *track, const FeSeq *seq, int64 ts);
/* Removes the pane at ts if no row is in it; certain: its rows are real ones. */
extern uint32 fe_pane_remove_if_empty(FeHeap *heap, const FeLayoutTrack *track, FeSeq *seq,
									  int64 ts, bool certain);
extern uint32 fe_pane_remove_all_empty(FeHeap *heap, const FeLayoutTrack *track, FeSeq *seq,
									   bool certain);
extern bool fe_pane_can_consolidate(const FeLayoutTrack *track, const FeSeq *seq, FeTime t_min);
/* Both return how many panes there are less. */
extern uint32 fe_pane_consolidate(FeHeap *heap, const FeLayoutTrack *track, FeSeq *seq,
								  FeTime t_min);
extern uint32 fe_pane_drop(FeHeap *heap, const FeLayoutTrack *track, FeSeq *seq,
						   int64 cutoff, int64 *rows);

/* ---- the writer (apply.c, sweep.c) --------------------------------------- */

typedef struct FeApplyAcc
{
	const FeAccSpec *spec;
	Size		offset;			/* from the start of the pane or entity */
	int			arg;
	int			order;
	Oid			order_type;
	int			filter;
} FeApplyAcc;

typedef struct FeApplyTrack
{
	int			naccs;
	FeApplyAcc *accs;
} FeApplyTrack;

/* A pane that lost its last row. */
typedef struct FeZeroedPane
{
	FeEntity   *entity;
	int			track;
	int64		ts;
} FeZeroedPane;

#define FE_MAX_ZEROED	8
#define FE_MAX_FOLDS	64

/* A state that is to take the place of an accumulator's rows. */
typedef struct FeFolded
{
	const FeAccSpec *spec;
	void	   *acc;
	struct varlena *state;
} FeFolded;

struct FeStateWriter
{
	FeHeap	   *heap;
	FeViewShared *view;
	FeTable    *table;
	FePlan	   *plan;
	FeLayout   *layout;
	FeApplyTrack tracks[FE_MAX_TRACKS];
	int			nlifetime;
	FeApplyAcc *lifetime;

	/* the fe_state_apply under way */
	XLogRecPtr	lsn;
	bool		replaying;		/* some entities have this transaction in them */
	FeTime		t_min;			/* events before may be merged */
	bool		live;			/* counts are real: backfill is over */
	bool		just_live;		/* ... and panes that came to nothing in it are left */
	int32		panes;			/* net change */
	int32		expired;
	uint32		merge_tracks;	/* tracks that are worth consolidating */
	int			nzeroed;		/* may exceed FE_MAX_ZEROED: look everywhere */
	FeZeroedPane zeroed[FE_MAX_ZEROED];
	FeRef	   *touched;
	int			ntouched;
	int			max_touched;
	FeKeyProbe	probe;

	/* fold.c: entities with much to fold, and what came of the one at hand */
	MemoryContext fold_cxt;
	FeAccRead **folders;		/* by accumulators of the layout */
	FeEntityRef folds[FE_MAX_FOLDS];
	int			nfolds;
	uint32		fold_rows;		/* accumulators of so many are folded */
	FeRef		folding;
	List	   *folded;			/* FeFolded * */
	bool		fold_broken;	/* an error: not again by this writer */

	/* an entity that keeps more than it may, until it is asked for */
	FeRef		overfull;
	uint32		overfull_serial;
	FeRef		overfull_tried; /* folding it has been tried */
};

/* What has come or gone since before was read of fe_kept_rows is the entity's. */
static inline void
fe_entity_count_kept(FeEntity *e, int64 before)
{
	e->kept += (uint32) (fe_kept_rows - before);
}

/* Remembers an entity one of whose accumulators has become worth folding (fold.c). */
extern void fe_fold_note(FeStateWriter *w, FeRef ref, const FeEntity *e);

/*
 * An entity changed: it is freed if it is empty and nobody holds it, else it is
 * put on the dirty list as it should.  source: by a row, not by time.  Its
 * partition lock is held exclusively.  True: freed.
 */
extern bool fe_entity_settle(FeStateWriter *w, FeRef ref, bool source);

/*
 * Are the counts of rows real?  Not while existing rows are read and a delete may
 * come before its row.
 */
static inline bool
fe_view_counts_are_real(FeViewShared *view)
{
	uint32		state = pg_atomic_read_u32(&view->state);

	return state == FE_VIEW_LIVE || state == FE_VIEW_RECOVERING;
}

/* ---- checkpoints (save.c, load.c) ----------------------------------------- */

/*
 * Was the entity there when the last cycle began?  Serials may wrap round: the
 * sweep marks entities long before theirs could be taken for a later one.
 */
static inline bool
fe_entity_is_old(uint32 cycle_serial, const FeEntity *e)
{
	return (e->flags & FE_ENTITY_OLD) != 0 || (int32) (cycle_serial - e->serial) >= 0;
}

/* Does an entity that is empty have to be kept, for a checkpoint to tell of it? */
extern bool fe_entity_must_stay(FeTable *table, const FeEntity *e);
/* Makes an entity a tombstone (grave: for the checkpoint only), or alive. */
extern void fe_entity_set_tombstone(FeStateWriter *w, FeEntity *e, bool tombstone, bool grave);
/* Tests: puts an entity's image in its place. */
extern void fe_entity_exercise_image(FeStateWriter *w, FeEntity *e);

/* ---- dirty list (dirty.c) ------------------------------------------------- */

extern void fe_dirty_queue(FeViewShared *view, FeRef ref);
/* Takes the whole list; its entities stay marked as queued. */
extern FeRef fe_dirty_detach(FeViewShared *view);

#endif							/* FE_STATE_INTERNAL_H */
