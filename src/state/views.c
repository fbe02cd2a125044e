/*
 * views.c
 *		Slots of feature views in shared memory, and the room's locks.
 *
 * Slots are claimed and released by ingest workers, under the slot lock;
 * every process may look them up without a lock, by an array of identities
 * that is published last and withdrawn first.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "runtime/runtime.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "state/internal.h"

#define FE_STATE_TRANCHE	"feature_engine_state"
#define FE_SLOT_LOCK		FE_STATE_LOCKS	/* the one after the partitions' */

/* Slots follow their identities, each on cache lines of its own. */
typedef struct FeStateArea
{
	int			nslots;
	pg_atomic_uint64 identity[FLEXIBLE_ARRAY_MEMBER];	/* 0 = free */
} FeStateArea;

StaticAssertDecl(sizeof(FeTable) <= sizeof(((FeViewShared *) 0)->table),
				 "FeTable must fit into FeViewShared.table");
StaticAssertDecl(sizeof(FeEntity) == 40 && sizeof(FePane) == 16,
				 "headers of entities and panes are meant to be small");

const char	fe_state_anchor = 0;

static FeStateArea *area;
static char *slots;
static LWLockPadded *locks;

#define SLOT_STRIDE		CACHELINEALIGN(sizeof(FeViewShared))
#define IDENTITIES_SIZE(n) \
	CACHELINEALIGN(offsetof(FeStateArea, identity) + (n) * sizeof(pg_atomic_uint64))

/* ---- start-up -------------------------------------------------------------- */

static Size
state_size(void)
{
	Size		size = IDENTITIES_SIZE(fe_setting_max_feature_views);

	/* one line more: the area is aligned only to what others need */
	return add_size(add_size(size, PG_CACHE_LINE_SIZE),
					mul_size(fe_setting_max_feature_views, SLOT_STRIDE));
}

static void
state_request(void)
{
	RequestNamedLWLockTranche(FE_STATE_TRANCHE, FE_STATE_LOCKS + 1);
}

static void
state_init(void *memory, bool found)
{
	area = (FeStateArea *) CACHELINEALIGN(memory);
	slots = (char *) area + IDENTITIES_SIZE(fe_setting_max_feature_views);
	locks = GetNamedLWLockTranche(FE_STATE_TRANCHE);
	if (found)
		return;

	memset(area, 0, state_size() - PG_CACHE_LINE_SIZE);
	area->nslots = fe_setting_max_feature_views;
	for (int i = 0; i < area->nslots; i++)
	{
		FeViewShared *view = fe_view_slot(i);

		pg_atomic_init_u64(&area->identity[i], 0);
		SpinLockInit(&view->mutex);
		SpinLockInit(&fe_view_table(view)->dirty_mutex);
	}
}

static void
state_release(FeDatabase *db)
{
	fe_view_forget_all(db->dboid);
}

/* Places that are taken; some may come or go meanwhile. */
static FePlaces
count_places(void)
{
	FePlaces	places = {0};

	for (int i = 0; i < area->nslots; i++)
	{
		uint64		identity = pg_atomic_read_u64(&area->identity[i]);

		places.all += identity != 0;
		places.ours += identity != 0 && identity >> 32 == MyDatabaseId;
	}
	return places;
}

void
fe_state_init(void)
{
	static const FeShmemRoom room = {
		.name = "feature_engine state",
		.size = state_size,
		.request = state_request,
		.init = state_init,
		.release = state_release,
	};

	fe_shmem_register(&room);
	fe_plan_places = count_places;
}

/* ---- looking up --------------------------------------------------------------- */

int
fe_view_count(void)
{
	return area->nslots;
}

FeViewShared *
fe_view_slot(int i)
{
	return (FeViewShared *) (slots + i * SLOT_STRIDE);
}

static inline int
slot_index(const FeViewShared *view)
{
	return ((const char *) view - slots) / SLOT_STRIDE;
}

static inline uint64
identity(Oid dboid, int32 viewid)
{
	return (uint64) dboid << 32 | (uint32) viewid;
}

FeViewShared *
fe_view_find(Oid dboid, int32 viewid)
{
	uint64		id = identity(dboid, viewid);

	for (int i = 0; i < area->nslots; i++)
	{
		if (pg_atomic_read_u64(&area->identity[i]) == id)
		{
			pg_read_barrier();
			return fe_view_slot(i);
		}
	}
	return NULL;
}

LWLock *
fe_partition_lock(const FeViewShared *view, uint64 hash)
{
	uint32		lock = slot_index(view) * FE_PARTITIONS + hash % FE_PARTITIONS;

	return &locks[lock % FE_STATE_LOCKS].lock;
}

bool
fe_view_is(const FeViewShared *view, const FePlan *plan)
{
	return pg_atomic_read_u64(&area->identity[slot_index(view)]) ==
		identity(MyDatabaseId, plan->viewid) &&
		view->state_version == plan->state_version;
}

/* ---- claiming and releasing ---------------------------------------------------- */

static void
init_slot(FeViewShared *view, Oid dboid, int32 viewid, int32 state_version, bool online)
{
	FeTable    *table = fe_view_table(view);

	view->dboid = dboid;
	view->viewid = viewid;
	view->state_version = state_version;
	view->last_error[0] = '\0';
	view->last_error_at = 0;
	view->retry_at = 0;
	view->failures = 0;
	view->resume_lsn = InvalidXLogRecPtr;
	view->resume_upto = InvalidXLogRecPtr;
	view->resume_gap = false;
	view->backfill_total = 0;
	view->online = online;
	view->offline = false;		/* whoever claims it knows */
	view->history_error[0] = '\0';
	view->history_error_at = 0;
	pg_atomic_write_u64(&view->history_rows, 0);
	pg_atomic_write_u64(&view->history_failures, 0);
	pg_atomic_write_u64(&view->history_at, (uint64) PG_INT64_MIN);
	pg_atomic_write_u64(&view->backfill_done, 0);
	pg_atomic_write_u64(&view->stored_full_bytes, 0);
	pg_atomic_write_u64(&view->stored_more_bytes, 0);
	pg_atomic_write_u64(&view->events, 0);
	pg_atomic_write_u64(&view->expired, 0);
	pg_atomic_write_u64(&view->skipped, 0);
	pg_atomic_write_u64(&view->late, 0);
	pg_atomic_write_u64(&view->entities, 0);
	pg_atomic_write_u64(&view->panes, 0);
	pg_atomic_write_u64(&view->bytes, 0);
	pg_atomic_write_u64(&view->dirty, 0);
	pg_atomic_write_u64(&view->tombstones, 0);
	pg_atomic_write_u64(&view->null_keys, 0);
	pg_atomic_write_u64(&view->event_time, (uint64) PG_INT64_MIN);
	pg_atomic_write_u64(&view->cycle_event_time, (uint64) PG_INT64_MIN);
	for (int i = 0; i < FE_MAX_TRACKS; i++)
		pg_atomic_write_u64(&view->cutoff[i], (uint64) PG_INT64_MIN);
	pg_atomic_write_u32(&view->resync, 0);
	pg_atomic_write_u32(&view->reoffer, 0);
	pg_atomic_write_u64(&view->partitions_hash, 0);

	pg_atomic_write_u32(&table->nbuckets, 0);
	table->epoch = 0;
	table->layout = 0;
	memset(table->dirs, 0, sizeof(table->dirs));
	table->dirty_head = 0;
	table->dirty_tail = 0;
	pg_atomic_write_u32(&table->cycle, 0);
	pg_atomic_write_u32(&table->cycle_serial, 0);
	pg_atomic_write_u32(&table->cycle_broken, 0);
	pg_atomic_write_u32(&table->full_wanted, 1);
	table->graves = 0;
	table->pending_truncates = 0;
	pg_atomic_write_u64(&table->cycle_lsn, 0);
	pg_atomic_write_u64(&table->cycle_since, 0);
	pg_atomic_write_u64(&table->stored_lsn, 0);
	pg_atomic_write_u64(&table->replay_end, 0);
	table->sweep_bucket = 0;
	table->sweep_rounds = 0;
	table->live_round = 0;
	pg_atomic_write_u32(&view->state, FE_VIEW_WAITING);
}

FeViewShared *
fe_view_claim(Oid dboid, int32 viewid, int32 state_version, bool online)
{
	LWLock	   *lock = &locks[FE_SLOT_LOCK].lock;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < area->nslots; i++)
	{
		FeViewShared *view = fe_view_slot(i);

		if (pg_atomic_read_u64(&area->identity[i]) != 0 ||
			pg_atomic_read_u32(&view->state) != FE_VIEW_FREE)
			continue;
		init_slot(view, dboid, viewid, state_version, online);
		pg_atomic_fetch_add_u32(&fe_view_table(view)->incarnation, 1);
		pg_write_barrier();
		pg_atomic_write_u64(&area->identity[i], identity(dboid, viewid));
		LWLockRelease(lock);
		return view;
	}
	LWLockRelease(lock);
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("too many feature views"),
			 errdetail("All %d places for feature views of this server are in use.",
					   area->nslots),
			 errhint("Increase feature_engine.max_feature_views and restart the server, "
					 "or drop a feature view.")));
}

/*
 * From here on nobody finds anything in the view: the identity is gone, and
 * who holds a pointer sees the incarnation changed.  The dirty list is empty,
 * so that the pusher touches no entity through it.
 */
static void
withdraw(FeViewShared *view)
{
	pg_atomic_write_u64(&area->identity[slot_index(view)], 0);
	pg_atomic_fetch_add_u32(&fe_view_table(view)->incarnation, 1);
	(void) fe_dirty_detach(view);
}

/* Waits until nobody is at a partition who came before withdraw(). */
static void
wait_for_partition(const FeViewShared *view, uint32 partition)
{
	LWLock	   *lock = fe_partition_lock(view, partition);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	LWLockRelease(lock);
}

static void
free_entities(FeHeap *heap, FeTable *table, const FeLayout *layout)
{
	uint32		nbuckets = pg_atomic_read_u32(&table->nbuckets);

	for (uint32 b = 0; b < nbuckets; b++)
	{
		const FeBucket *bucket = fe_table_bucket(table, b);
		FeRef		ref;

		for (uint32 i = 0; (ref = fe_bucket_entity(bucket, i)) != 0; i++)
		{
			fe_entity_clear(heap, layout, fe_heap_ptr(ref));
			fe_entity_free(heap, layout, ref);
		}
	}
}

/*
 * The plan is not needed (the view may be long dropped): how its memory is
 * laid out is kept with it.
 */
void
fe_view_release(FeHeap *heap, FeViewShared *view, FePlan *plan)
{
	FeTable    *table = fe_view_table(view);

	withdraw(view);
	for (uint32 p = 0; p < FE_PARTITIONS; p++)
		wait_for_partition(view, p);
	if (table->layout != 0)
	{
		FeSharedLayout *shared = fe_heap_ptr(table->layout);
		MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "feature view release",
												  ALLOCSET_SMALL_SIZES);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		free_entities(heap, table, fe_layout_of_shared(shared));
		fe_table_free(heap, table);
		fe_heap_free(heap, table->layout, shared->size);
		table->layout = 0;
		MemoryContextSwitchTo(old);
		MemoryContextDelete(cxt);
	}
	pg_atomic_write_u32(&view->state, FE_VIEW_FREE);
}

void
fe_view_forget_all(Oid dboid)
{
	for (int i = 0; i < area->nslots; i++)
	{
		FeViewShared *view = fe_view_slot(i);

		if (view->dboid != dboid || pg_atomic_read_u32(&view->state) == FE_VIEW_FREE)
			continue;
		withdraw(view);
		for (uint32 p = 0; p < FE_PARTITIONS; p++)
			wait_for_partition(view, p);
		pg_atomic_write_u32(&view->state, FE_VIEW_FREE);
	}
}

/* ---- small changes --------------------------------------------------------------- */

void
fe_view_set_state(FeViewShared *view, FeViewState state)
{
	pg_atomic_write_u32(&view->state, state);
}

FeTime
fe_view_watermark(FeViewShared *view, const FePlan *plan)
{
	FeTime		event = (FeTime) pg_atomic_read_u64(&view->event_time);

	/* an event time is far from where this could overflow */
	return event == PG_INT64_MIN ? event : event - plan->options.watermark;
}

/* NULL: no error any more. */
bool
fe_view_has_stopped(FeViewShared *view)
{
	bool		again;

	SpinLockAcquire(&view->mutex);
	again = view->retry_at == 0;
	SpinLockRelease(&view->mutex);
	return !again && pg_atomic_read_u32(&view->state) == FE_VIEW_FAILED;
}

void
fe_view_set_error(FeViewShared *view, const char *message, TimestampTz retry_at)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&view->mutex);
	if (message == NULL)
		view->last_error[0] = '\0';
	else
		strlcpy(view->last_error, message, sizeof(view->last_error));
	view->last_error_at = message == NULL ? 0 : now;
	view->retry_at = retry_at;
	SpinLockRelease(&view->mutex);
}

void
fe_view_get_error(FeViewShared *view, char *error, Size size)
{
	SpinLockAcquire(&view->mutex);
	strlcpy(error, view->last_error, size);
	SpinLockRelease(&view->mutex);
}
