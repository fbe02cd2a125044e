/*
 * pages.h
 *		The reservation as an array of 8 kB pages, and the pool that hands out
 *		runs of them.  Internal to the room: others see heap.h.
 *
 * Locks.  The pool, and what the page map says of free pages, is guarded by
 * one LWLock that the functions below take themselves.  Map entries of pages
 * that a heap holds, and the heap itself, are its owner's alone; npages and
 * promised change under the lock.
 */
#ifndef FE_PAGES_H
#define FE_PAGES_H

#include "memory/heap.h"

#define FE_PAGE_SIZE		8192
#define FE_PAGE_SHIFT		9	/* granules to pages */
#define FE_PAGE_GRANULES	(1 << FE_PAGE_SHIFT)

#define FE_HEAP_CLASSES		56	/* size classes; heap.c's table */

/* What the pages of a run are.  Pages that were never used have no entry. */
typedef enum FePageKind
{
	FE_PAGE_FREE = 1,
	FE_PAGE_SLAB,				/* chunks of one size class */
	FE_PAGE_LARGE				/* one allocation */
} FePageKind;

/*
 * Entry of the page map.  The first page's tells about the run; of the others
 * only kind and back are valid, in the last page of any run and in all pages of
 * a slab.
 */
typedef struct FePage
{
	FeRef		free;			/* slab: first of the chunks given back */
	FeRef		fresh;			/* slab: chunks from here on were never used */
	uint32		next;			/* list: free runs of the pool, or slabs of */
	uint32		prev;			/* a heap that have room; 0 = none */
	uint32		npages;			/* length of the run */
	uint32		back;			/* distance from the run's first page */
	uint16		nfree;			/* slab: chunks to be had */
	uint16		nchunks;		/* slab: chunks in all */
	uint16		owner;			/* heap's number */
	uint8		kind;
	uint8		cls;			/* slab: size class */
} FePage;

struct FeHeap
{
	Oid			dboid;			/* InvalidOid: belongs to no database */
	uint16		number;
	uint32		npages;			/* held */
	uint32		promised;		/* kept in the pool for this heap */
	Size		used;			/* bytes in chunks handed out */
	uint32		slabs[FE_HEAP_CLASSES]; /* first slab with room, 0 = none */
};

extern FePage *fe_page_map;

/* Number of a run of npages pages, 0 when there is none. */
extern uint32 fe_pages_take(FeHeap *heap, uint32 npages, FePageKind kind);
extern void fe_pages_give(FeHeap *heap, uint32 page);
extern void fe_pages_give_all(FeHeap *heap);
/* See fe_heap_has_room; run = length of the longest run wanted. */
extern bool fe_pages_promise(FeHeap *heap, uint32 npages, uint32 run);
extern void fe_heap_classes_init(void);

#ifdef FE_FRONTEND
/* Another heap of the private pool, as of another database: for tests. */
extern FeHeap *fe_heap_private_neighbour(void);
#endif

#endif							/* FE_PAGES_H */
