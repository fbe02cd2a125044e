/*
 * heap.h
 *		Memory for state: a reservation in shared memory made at server start,
 *		handed out in 16-byte granules through 32-bit references.
 *
 * One FeHeap belongs to one database.  Only that database's ingest worker
 * allocates and frees in it, so free lists need no lock; whole pages move
 * between heaps and the common pool under an LWLock.  The reservation is
 * mapped at the same address in every process, so a reference is resolved by
 * an addition.  Memory is never unmapped: reading through a stale reference is
 * safe, though what it finds may be anything.
 *
 * With FE_FRONTEND defined all this works over a private arena, for unit tests.
 */
#ifndef FE_HEAP_H
#define FE_HEAP_H

#ifdef FE_FRONTEND
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
typedef size_t Size;
typedef uint8_t uint8;
typedef uint16_t uint16;
typedef uint32_t uint32;
typedef unsigned int Oid;
#endif

typedef uint32 FeRef;			/* granule number; 0 = none */

#define FE_HEAP_GRANULE 16

typedef struct FeHeap FeHeap;

extern char *fe_heap_base;		/* start of the reservation */

static inline void *
fe_heap_ptr(FeRef ref)
{
	return fe_heap_base + (Size) ref * FE_HEAP_GRANULE;
}

extern void fe_heap_init(void); /* from _PG_init: registers the reservation */

/*
 * The heap of a database that has a slot (runtime.h); empty at first.  It
 * survives the worker, and is reset when the slot is given back.
 */
extern FeHeap *fe_heap_of_database(Oid dboid);
/* Gives all pages back (database dropped, state lost). */
extern void fe_heap_reset(FeHeap *heap);
/*
 * A heap in private memory, for unit tests: only where there is no reservation
 * (references have one base).  Replaces an earlier private heap.
 */
extern FeHeap *fe_heap_create_private(Size limit);

/*
 * Uninitialised memory of at least size bytes, aligned to 16.  ERROR (out of
 * memory) when the reservation is exhausted; callers make sure beforehand by
 * fe_heap_has_room.  The try form gives 0 instead.
 */
extern FeRef fe_heap_alloc(FeHeap *heap, Size size);
extern FeRef fe_heap_alloc0(FeHeap *heap, Size size);
extern FeRef fe_heap_try_alloc(FeHeap *heap, Size size);
/* The error that fe_heap_alloc raises. */
extern void fe_heap_exhausted(Size size);
/* size must be what was asked for at allocation (or its chunk size). */
extern void fe_heap_free(FeHeap *heap, FeRef ref, Size size);
/* What an allocation of size really takes, and may be used in full. */
extern Size fe_heap_chunk_size(Size size);

/*
 * Would allocations of this many more bytes (16 at least for each) stay below
 * feature_engine.memory and succeed, page rounding included?  True is a
 * promise: the pages are kept for this heap until its next call, and those
 * allocations do not fail.  Of single pieces above 8 kB it takes all bytes
 * (1 MB at most) for one; the second form says how large the largest is.
 */
extern bool fe_heap_has_room(FeHeap *heap, Size bytes);
extern bool fe_heap_has_room_for(FeHeap *heap, Size bytes, Size largest);
extern Size fe_heap_used(const FeHeap *heap);	/* bytes allocated */
extern Size fe_heap_pages_bytes(const FeHeap *heap);	/* bytes of pages held */

#endif							/* FE_HEAP_H */
