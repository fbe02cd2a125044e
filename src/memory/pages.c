/*
 * pages.c
 *		The reservation and its pool of pages.
 *
 * The reservation lies in the main shared memory segment:
 *
 *		Pool | FeHeap per database slot | page map | pages
 *
 * It is made at server start and not touched until used: pages from
 * pool->fresh on never were, and have no valid map entry.  Below, every page
 * belongs to a run that is free, or that one heap holds.  Free runs are kept in
 * lists by length; neighbours are joined at once, through the map entries of
 * their first and last pages.  A run that ends at pool->fresh is not kept but
 * lowers it.  Page 0 is never handed out, so that no reference is 0.
 *
 * The start-up callbacks run in the postmaster, the release callback where a
 * database slot is given back, all else in the ingest workers.  See pages.h for
 * locks; ours is held for a few dozen instructions, but for giving back a whole
 * heap and for finding a long run at the last resort.  Lock order:
 * fe_shared->lock, then ours.
 *
 * Always: pool->promised <= free pages.  So a promise holds whatever other
 * heaps do.
 */
#include "memory/standalone.h"

#ifndef FE_FRONTEND

#include "runtime/runtime.h"
#endif

#include "memory/pages.h"

/*
 * Lists of free runs: of 1, 2, 3, 4 pages, then of up to 8, 16, ... pages.  The
 * longest reservation that references can address has 2^23 pages.
 */
#define POOL_LISTS		23
#define POOL_MAX_PAGES	((uint32) 1 << (32 - FE_PAGE_SHIFT))
/* Runs of a list that are looked at before a longer one is taken. */
#define POOL_FIRST_FIT	32

#define PAGES_PER_MB	(1024 * 1024 / FE_PAGE_SIZE)

typedef struct Pool
{
	uint32		npages;			/* page 0 included */
	uint32		fresh;			/* pages from here on were never used */
	uint32		used;			/* pages that heaps hold */
	uint32		promised;		/* sum over heaps */
	uint32		runs[POOL_LISTS];	/* first free run, 0 = none */
	int			nheaps;
} Pool;

char	   *fe_heap_base = NULL;
FePage	   *fe_page_map = NULL;

static Pool *pool = NULL;
static FeHeap *heaps = NULL;

#ifndef FE_FRONTEND
static LWLock *pool_lock = NULL;	/* NULL: private arena */

static inline void
lock_pool(void)
{
	if (pool_lock)
		LWLockAcquire(pool_lock, LW_EXCLUSIVE);
}

static inline void
unlock_pool(void)
{
	if (pool_lock)
		LWLockRelease(pool_lock);
}

/* Pages that all heaps together may hold. */
static inline uint32
limit_pages(void)
{
	if (pool_lock == NULL)
		return pool->npages - 1;
	return Min(pool->npages - 1, (uint32) fe_setting_memory * PAGES_PER_MB);
}
#else
#define lock_pool()
#define unlock_pool()
#define limit_pages()	(pool->npages - 1)
#endif

/* ---- the lists of free runs; the caller holds the lock ---------------- */

static int
list_of(uint32 npages)
{
	int			list = 4;

	if (npages <= 4)
		return npages - 1;
	while (npages > (uint32) 1 << (list - 1))
		list++;
	return list;
}

static void
run_set(uint32 page, uint32 npages, FePageKind kind)
{
	FePage	   *first = &fe_page_map[page];
	FePage	   *last = first + npages - 1;

	last->kind = kind;
	last->back = npages - 1;
	first->kind = kind;
	first->back = 0;
	first->npages = npages;
}

static void
run_link(uint32 page)
{
	FePage	   *run = &fe_page_map[page];
	uint32	   *list = &pool->runs[list_of(run->npages)];

	run->prev = 0;
	run->next = *list;
	if (*list != 0)
		fe_page_map[*list].prev = page;
	*list = page;
}

static void
run_unlink(uint32 page)
{
	FePage	   *run = &fe_page_map[page];

	if (run->prev != 0)
		fe_page_map[run->prev].next = run->next;
	else
		pool->runs[list_of(run->npages)] = run->next;
	if (run->next != 0)
		fe_page_map[run->next].prev = run->prev;
}

/* Adds a run to the free ones, joined with its neighbours. */
static void
run_give(uint32 page, uint32 npages)
{
	FePage	   *before = &fe_page_map[page - 1];

	if (page > 1 && before->kind == FE_PAGE_FREE)
	{
		uint32		first = page - 1 - before->back;

		run_unlink(first);
		npages += page - first;
		page = first;
	}
	if (page + npages < pool->fresh && fe_page_map[page + npages].kind == FE_PAGE_FREE)
	{
		run_unlink(page + npages);
		npages += fe_page_map[page + npages].npages;
	}
	if (page + npages == pool->fresh)
	{
		pool->fresh = page;
		return;
	}
	run_set(page, npages, FE_PAGE_FREE);
	run_link(page);
}

/*
 * A free run of at least npages, still in its list; 0 = none.  Looks at so many
 * of the list where only some may be long enough.
 */
static uint32
run_find(uint32 npages, uint32 patience)
{
	int			list = list_of(npages);
	uint32		page = pool->runs[list];

	while (page != 0 && fe_page_map[page].npages < npages)
		page = patience-- > 0 ? fe_page_map[page].next : 0;
	while (page == 0 && ++list < POOL_LISTS)
		page = pool->runs[list];
	return page;
}

static inline bool
run_fits_fresh(uint32 npages)
{
	return npages <= pool->npages - pool->fresh;
}

static uint32
run_take(uint32 npages)
{
	uint32		page = run_find(npages, POOL_FIRST_FIT);
	uint32		rest;

	if (page == 0 && run_fits_fresh(npages))
	{
		page = pool->fresh;
		pool->fresh += npages;
		return page;
	}
	if (page == 0)
		page = run_find(npages, POOL_MAX_PAGES);
	if (page == 0)
		return 0;

	run_unlink(page);
	rest = fe_page_map[page].npages - npages;
	if (rest > 0)
	{
		run_set(page + npages, rest, FE_PAGE_FREE);
		run_link(page + npages);
	}
	return page;
}

/* ---- heaps take and give ------------------------------------------------- */

uint32
fe_pages_take(FeHeap *heap, uint32 npages, FePageKind kind)
{
	uint32		page = 0;
	uint32		kept;

	lock_pool();
	/* a slab would do with one page: the promise is for no more */
	kept = Min(kind == FE_PAGE_SLAB ? 1 : npages, heap->promised);
	if (npages - kept <= pool->npages - 1 - pool->used - pool->promised)
		page = run_take(npages);
	if (page != 0)
	{
		heap->promised -= kept;
		pool->promised -= kept;
		heap->npages += npages;
		pool->used += npages;
		run_set(page, npages, kind);
		fe_page_map[page].owner = heap->number;
	}
	unlock_pool();
	return page;
}

void
fe_pages_give(FeHeap *heap, uint32 page)
{
	uint32		npages = fe_page_map[page].npages;

	lock_pool();
	Assert(fe_page_map[page].owner == heap->number);
	heap->npages -= npages;
	pool->used -= npages;
	run_give(page, npages);
	unlock_pool();
}

void
fe_pages_give_all(FeHeap *heap)
{
	uint32		page = 1;

	lock_pool();
	while (page < pool->fresh && heap->npages > 0)
	{
		FePage	   *run = &fe_page_map[page];
		uint32		npages = run->npages;

		/* free runs before it are joined with it; what follows is still there */
		if (run->kind != FE_PAGE_FREE && run->owner == heap->number)
		{
			heap->npages -= npages;
			pool->used -= npages;
			run_give(page, npages);
		}
		page += npages;
	}
	pool->promised -= heap->promised;
	heap->promised = 0;
	Assert(heap->npages == 0);
	unlock_pool();
}

bool
fe_pages_promise(FeHeap *heap, uint32 npages, uint32 run)
{
	uint32		others;
	bool		result;

	/* nothing to be asked while an earlier promise covers it, about */
	if (run <= 1 && npages <= heap->promised && heap->promised <= 4 * npages + 64)
		return true;

	lock_pool();
	others = pool->used + (pool->promised - heap->promised);
	result = others <= limit_pages() && npages <= limit_pages() - others &&
		(run_fits_fresh(run) || run_find(run, POOL_MAX_PAGES) != 0);
	/* a refusal changes nothing: the earlier promise may still be counted on */
	if (result)
	{
		pool->promised += npages - heap->promised;
		heap->promised = npages;
	}
	unlock_pool();
	return result;
}

/* ---- start-up -------------------------------------------------------------- */

static inline Size
align_line(Size size)
{
	return (size + 63) / 64 * 64;
}

static Size
map_offset(int nheaps)
{
	return align_line(sizeof(Pool)) + align_line(nheaps * sizeof(FeHeap));
}

static Size
area_size(uint32 npages, int nheaps)
{
	/* a page more, to align */
	return map_offset(nheaps) + (Size) npages * sizeof(FePage) +
		(Size) (npages + 1) * FE_PAGE_SIZE;
}

static void
area_layout(char *area, uint32 npages, int nheaps)
{
	uintptr_t	pages;

	pool = (Pool *) area;
	heaps = (FeHeap *) (area + align_line(sizeof(Pool)));
	fe_page_map = (FePage *) (area + map_offset(nheaps));
	pages = (uintptr_t) (fe_page_map + npages) + FE_PAGE_SIZE - 1;
	fe_heap_base = (char *) (pages & ~(uintptr_t) (FE_PAGE_SIZE - 1));
}

/* The pages and their map are left alone: memory is touched as it is used. */
static void
pool_init(uint32 npages, int nheaps)
{
	memset(pool, 0, sizeof(Pool));
	pool->npages = npages;
	pool->fresh = 1;
	pool->nheaps = nheaps;
	memset(heaps, 0, nheaps * sizeof(FeHeap));
	for (int i = 0; i < nheaps; i++)
		heaps[i].number = i;
}

FeHeap *
fe_heap_create_private(Size limit)
{
	static char *arena = NULL;
	uint32		npages = Min(limit / FE_PAGE_SIZE + 1, POOL_MAX_PAGES);

#ifndef FE_FRONTEND
	if (pool_lock != NULL)
		elog(ERROR, "a private heap is possible only without shared memory");
#endif
	free(arena);
	arena = malloc(area_size(npages, 2));
	if (arena == NULL)
		return NULL;
	fe_heap_classes_init();
	area_layout(arena, npages, 2);
	pool_init(npages, 2);
	return &heaps[0];
}

#ifdef FE_FRONTEND

FeHeap *
fe_heap_private_neighbour(void)
{
	return &heaps[1];
}

#else							/* !FE_FRONTEND */

#define POOL_TRANCHE	FE_EXTENSION_NAME "_memory"

static uint32
reserved_pages(void)
{
	return Min((uint64) fe_setting_max_memory * PAGES_PER_MB + 1, POOL_MAX_PAGES);
}

static Size
room_size(void)
{
	return area_size(reserved_pages(), fe_setting_max_databases);
}

static void
room_request(void)
{
	RequestNamedLWLockTranche(POOL_TRANCHE, 1);
}

static void
room_init(void *area, bool found)
{
	area_layout(area, reserved_pages(), fe_setting_max_databases);
	pool_lock = &(GetNamedLWLockTranche(POOL_TRANCHE))->lock;
	if (!found)
		pool_init(reserved_pages(), fe_setting_max_databases);
}

static void
room_release(FeDatabase *db)
{
	FeHeap	   *heap = &heaps[db - fe_shared->databases];

	fe_heap_reset(heap);
	heap->dboid = InvalidOid;
}

static const FeShmemRoom memory_room = {
	.name = "feature_engine memory",
	.size = room_size,
	.request = room_request,
	.init = room_init,
	.release = room_release,
};

void
fe_heap_init(void)
{
	fe_heap_classes_init();
	fe_shmem_register(&memory_room);
}

FeHeap *
fe_heap_of_database(Oid dboid)
{
	FeDatabase *db;
	FeHeap	   *heap = NULL;

	fe_require_preloaded();
	LWLockAcquire(fe_shared->lock, LW_SHARED);
	db = fe_find_database(dboid);
	if (db != NULL)
	{
		heap = &heaps[db - fe_shared->databases];
		/* given back and empty, or this database's */
		Assert(heap->dboid == dboid || heap->npages == 0);
		heap->dboid = dboid;
	}
	LWLockRelease(fe_shared->lock);
	if (heap == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("database with OID %u has no slot for feature state", dboid)));
	return heap;
}

#endif							/* !FE_FRONTEND */
