/*
 * heap.c
 *		Allocation from a database's heap: size classes in slabs, larger pieces
 *		as runs of pages.
 *
 * A slab is a page (of larger classes 2 or 4 pages) cut into chunks of one size.
 * Its map entry holds a list of the chunks given back, threaded through them,
 * and a mark from which on chunks were never used.  Slabs with room are in a
 * list of their class; allocation takes from the first of it.  A slab whose
 * chunks are all back goes back to the pool, unless it is the only one of its
 * class with room: so memory follows use, without a page going to and fro.
 *
 * Runs in the ingest worker that owns the heap, which needs no lock; see
 * pages.h for what moves pages.  Nothing here can be interrupted half-way.
 */
#include "memory/standalone.h"

#include "memory/pages.h"

#define LARGEST_CLASS	8192
/* A piece of unknown size that fe_heap_has_room provides for, in pages. */
#define ROOM_RUN		128

typedef struct SizeClass
{
	uint16		size;
	uint16		npages;			/* of a slab */
} SizeClass;

/*
 * From 128 bytes on, each at most an eighth larger than the one before (up to
 * 4 kB), and so that little is left at a slab's end.
 */
static const SizeClass classes[] = {
	{16, 1}, {32, 1}, {48, 1}, {64, 1}, {80, 1}, {96, 1}, {112, 1}, {128, 1},
	{144, 1}, {160, 1}, {176, 1}, {192, 1}, {208, 1}, {224, 1}, {240, 1}, {256, 1},
	{272, 1}, {288, 1}, {320, 1}, {352, 1}, {384, 1}, {416, 1}, {448, 1}, {480, 1},
	{512, 1}, {544, 1}, {576, 1}, {624, 1}, {672, 1}, {736, 1}, {816, 1}, {896, 1},
	{1024, 1},
	{1088, 2}, {1168, 2}, {1248, 2}, {1360, 2}, {1488, 2}, {1632, 2}, {1808, 2},
	{2048, 2},
	{2176, 4}, {2336, 4}, {2512, 4}, {2720, 4}, {2976, 4}, {3264, 4}, {3632, 4},
	{4096, 4}, {4672, 4}, {5456, 4}, {6544, 4}, {8192, 4}
};

#define NCLASSES ((int) (sizeof(classes) / sizeof(classes[0])))

/* Class of a size in granules, rounded up. */
static uint8 class_of[LARGEST_CLASS / FE_HEAP_GRANULE + 1];

void
fe_heap_classes_init(void)
{
	int			cls = 0;

	Assert(NCLASSES <= FE_HEAP_CLASSES);
	for (int i = 0; i <= LARGEST_CLASS / FE_HEAP_GRANULE; i++)
	{
		if (i * FE_HEAP_GRANULE > classes[cls].size)
			cls++;
		class_of[i] = cls;
	}
}

static inline int
size_class(Size size)
{
	return class_of[(size + FE_HEAP_GRANULE - 1) / FE_HEAP_GRANULE];
}

static inline uint32
size_pages(Size size)
{
	return (size + FE_PAGE_SIZE - 1) / FE_PAGE_SIZE;
}

/* ---- slabs -------------------------------------------------------------- */

/* Makes a slab the first of its class's. */
static void
slab_link(FeHeap *heap, uint32 pageno)
{
	FePage	   *slab = &fe_page_map[pageno];
	uint32	   *first = &heap->slabs[slab->cls];

	slab->prev = 0;
	slab->next = *first;
	if (*first != 0)
		fe_page_map[*first].prev = pageno;
	*first = pageno;
}

static void
slab_unlink(FeHeap *heap, uint32 pageno)
{
	FePage	   *slab = &fe_page_map[pageno];

	if (slab->prev != 0)
		fe_page_map[slab->prev].next = slab->next;
	else
		heap->slabs[slab->cls] = slab->next;
	if (slab->next != 0)
		fe_page_map[slab->next].prev = slab->prev;
}

/*
 * A new slab.  A single page will do where several are not to be had: that is
 * what fe_heap_has_room counts on.
 */
static pg_noinline uint32
slab_create(FeHeap *heap, int cls)
{
	uint32		npages = classes[cls].npages;
	uint32		pageno = fe_pages_take(heap, npages, FE_PAGE_SLAB);
	FePage	   *slab;

	if (pageno == 0 && npages > 1)
	{
		npages = 1;
		pageno = fe_pages_take(heap, npages, FE_PAGE_SLAB);
	}
	if (pageno == 0)
		return 0;

	slab = &fe_page_map[pageno];
	for (uint32 i = 1; i < npages; i++)
	{
		slab[i].kind = FE_PAGE_SLAB;
		slab[i].back = i;
	}
	slab->cls = cls;
	slab->nchunks = npages * FE_PAGE_SIZE / classes[cls].size;
	slab->nfree = slab->nchunks;
	slab->free = 0;
	slab->fresh = pageno << FE_PAGE_SHIFT;
	slab_link(heap, pageno);
	return pageno;
}

/* All chunks of all slabs are back: none is kept. */
static void
slabs_trim(FeHeap *heap)
{
	for (int cls = 0; cls < NCLASSES; cls++)
	{
		while (heap->slabs[cls] != 0)
		{
			uint32		pageno = heap->slabs[cls];

			slab_unlink(heap, pageno);
			fe_pages_give(heap, pageno);
		}
	}
}

/* ---- allocation ----------------------------------------------------------- */

static pg_noinline FeRef
alloc_large(FeHeap *heap, Size size)
{
	uint32		npages = size_pages(size);
	uint32		pageno = 0;

	if (size / FE_PAGE_SIZE < (uint32) 1 << (32 - FE_PAGE_SHIFT))
		pageno = fe_pages_take(heap, npages, FE_PAGE_LARGE);
	if (pageno == 0)
		return 0;
	heap->used += (Size) npages * FE_PAGE_SIZE;
	return pageno << FE_PAGE_SHIFT;
}

static inline FeRef
alloc(FeHeap *heap, Size size)
{
	int			cls;
	uint32		pageno;
	FePage	   *slab;
	FeRef		ref;

	if (unlikely(size > LARGEST_CLASS))
		return alloc_large(heap, size);

	cls = size_class(size);
	pageno = heap->slabs[cls];
	if (unlikely(pageno == 0))
	{
		pageno = slab_create(heap, cls);
		if (pageno == 0)
			return 0;
	}
	slab = &fe_page_map[pageno];
	ref = slab->free;
	if (ref != 0)
		slab->free = *(FeRef *) fe_heap_ptr(ref);
	else
	{
		ref = slab->fresh;
		slab->fresh += classes[cls].size / FE_HEAP_GRANULE;
	}
	if (unlikely(--slab->nfree == 0))
		slab_unlink(heap, pageno);
	heap->used += classes[cls].size;
	return ref;
}

pg_noinline void
fe_heap_exhausted(Size size)
{
#ifdef FE_FRONTEND
	abort();
#else
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory for feature state"),
			 errdetail("Failed on request of %zu bytes from the memory reserved at server start.",
					   size),
			 errhint("Raise \"feature_engine.max_memory\" and restart the server.")));
#endif
}

FeRef
fe_heap_alloc(FeHeap *heap, Size size)
{
	FeRef		ref = alloc(heap, size);

	if (unlikely(ref == 0))
		fe_heap_exhausted(size);
	return ref;
}

FeRef
fe_heap_try_alloc(FeHeap *heap, Size size)
{
	return alloc(heap, size);
}

FeRef
fe_heap_alloc0(FeHeap *heap, Size size)
{
	FeRef		ref = fe_heap_alloc(heap, size);

	memset(fe_heap_ptr(ref), 0, size);
	return ref;
}

/* A slab got its first free chunk, or its last one back, or it is no slab. */
static pg_noinline void
free_rarely(FeHeap *heap, uint32 pageno)
{
	FePage	   *page = &fe_page_map[pageno];

	if (page->kind == FE_PAGE_LARGE)
	{
		heap->used -= (Size) page->npages * FE_PAGE_SIZE;
		fe_pages_give(heap, pageno);
	}
	else
	{
		if (page->nfree == 1)
			slab_link(heap, pageno);
		if (page->nfree == page->nchunks && (page->prev != 0 || page->next != 0))
		{
			slab_unlink(heap, pageno);
			fe_pages_give(heap, pageno);
		}
	}
	if (heap->used == 0)
		slabs_trim(heap);
}

void
fe_heap_free(FeHeap *heap, FeRef ref, Size size)
{
	FePage	   *page = &fe_page_map[ref >> FE_PAGE_SHIFT];

	Assert(ref != 0 && page->kind != FE_PAGE_FREE);
	if (likely(page->kind == FE_PAGE_SLAB))
	{
		page -= page->back;
		Assert(page->owner == heap->number);
		Assert(size <= LARGEST_CLASS && page->cls == size_class(size));
		*(FeRef *) fe_heap_ptr(ref) = page->free;
		page->free = ref;
		heap->used -= classes[page->cls].size;
		page->nfree++;
		if (likely(page->nfree > 1 && page->nfree < page->nchunks))
			return;
	}
	free_rarely(heap, page - fe_page_map);
}

/* ---- the rest -------------------------------------------------------------- */

Size
fe_heap_chunk_size(Size size)
{
	if (size > LARGEST_CLASS)
		return (Size) size_pages(size) * FE_PAGE_SIZE;
	return classes[size_class(size)].size;
}

void
fe_heap_reset(FeHeap *heap)
{
	fe_pages_give_all(heap);
	heap->used = 0;
	memset(heap->slabs, 0, sizeof(heap->slabs));
}

/*
 * Pages for bytes at the worst.  Whatever the pieces, rounding up to chunks in
 * slabs of a single page, or to pages, at most doubles them (worst: 4097 bytes
 * take a page).  And each class that so many bytes can possibly meet begins a
 * slab.
 */
static uint32
pages_at_worst(Size bytes)
{
	Size		sum = FE_HEAP_GRANULE;
	int			met = 1;

	for (; met < NCLASSES && sum < bytes; met++)
		sum += classes[met - 1].size + 1;
	return size_pages(bytes * 2) + met;
}

bool
fe_heap_has_room_for(FeHeap *heap, Size bytes, Size largest)
{
	/* more than can be addressed at all? */
	if (bytes > (Size) 1 << 36)
		return false;
	return fe_pages_promise(heap, pages_at_worst(bytes),
							largest > LARGEST_CLASS ? size_pages(largest) : 1);
}

bool
fe_heap_has_room(FeHeap *heap, Size bytes)
{
	return fe_heap_has_room_for(heap, bytes, Min(bytes, (Size) ROOM_RUN * FE_PAGE_SIZE));
}

Size
fe_heap_used(const FeHeap *heap)
{
	return heap->used;
}

Size
fe_heap_pages_bytes(const FeHeap *heap)
{
	return (Size) heap->npages * FE_PAGE_SIZE;
}
