/*
 * seq.h
 *		A sorted sequence of fixed-size elements in an FeHeap: panes of an
 *		entity, values of a multiset.
 *
 * Small sequences are one chunk that grows by allocation size; large ones are
 * a tree of chunks, so that an insertion in the middle moves at most one chunk
 * and no allocation is large.  An FeSeq is 16 bytes and all zeros when empty, so
 * that zeroed memory is a valid sequence.  Element pointers are valid until the
 * next insertion or deletion.  No locks here: the caller holds the entity's.
 */
#ifndef FE_SEQ_H
#define FE_SEQ_H

#include "memory/heap.h"

typedef struct FeSeq
{
	FeRef		root;			/* the chunk, or the top node when nchunks > 1 */
	uint32		count;			/* elements in all */
	uint32		nchunks;
	uint16		capacity;		/* elements in the only chunk / levels of nodes */
	uint16		head;			/* free elements before the first */
} FeSeq;

/* Orders an element against a probe key: <0 element before key, 0 same. */
typedef int (*FeSeqCompare) (const void *element, const void *key, void *arg);

/* Element equal to key, or NULL. */
extern void *fe_seq_find(const FeSeq *seq, Size elsize, const void *key,
						 FeSeqCompare cmp, void *arg);
/* The same; *pos (may be NULL) gets the index of the first element >= key. */
extern void *fe_seq_search(const FeSeq *seq, Size elsize, const void *key,
						   FeSeqCompare cmp, void *arg, uint32 *pos);
/*
 * Element equal to key; inserted zeroed at its place when missing (*found may
 * be NULL).  ERROR when out of memory, the sequence being as before.
 */
extern void *fe_seq_upsert(FeHeap *heap, FeSeq *seq, Size elsize, const void *key,
						   FeSeqCompare cmp, void *arg, bool *found);
/* Element by position, 0 .. count-1. */
extern void *fe_seq_get(const FeSeq *seq, Size elsize, uint32 pos);
/* These three never fail. */
extern void fe_seq_delete(FeHeap *heap, FeSeq *seq, Size elsize, uint32 pos);
/* Drops the first n elements. */
extern void fe_seq_drop_front(FeHeap *heap, FeSeq *seq, Size elsize, uint32 n);
extern void fe_seq_clear(FeHeap *heap, FeSeq *seq, Size elsize);

/* What each of them refers to changes places. */
static inline void
fe_seq_swap(FeSeq *a, FeSeq *b)
{
	FeSeq		swap = *a;

	*a = *b;
	*b = swap;
}

/* Bytes an upsert may take from the heap (for fe_heap_has_room), at most. */
extern Size fe_seq_upsert_room(const FeSeq *seq, Size elsize);

/*
 * Makes an empty sequence one of n elements, all zeroed and the chunks full,
 * which the caller then fills in by iteration, in their order.  fe_seq_load_room
 * says what it takes; ERROR (and a heap that has lost the pieces already taken)
 * when the caller has not made sure of that much.
 */
extern void fe_seq_load(FeHeap *heap, FeSeq *seq, Size elsize, uint32 n);
extern Size fe_seq_load_room(uint32 n, Size elsize);
/* Of that, the largest piece. */
extern Size fe_seq_load_largest(uint32 n, Size elsize);

/* Forward iteration from a position: while ((el = fe_seq_next(&it))) ... */
typedef struct FeSeqIter
{
	const FeSeq *seq;
	Size		elsize;
	uint32		pos;			/* of the first element after this chunk */
	uint32		left;			/* elements left in this chunk */
	char	   *cur;			/* next element in this chunk */
} FeSeqIter;

extern void fe_seq_iter(FeSeqIter *it, const FeSeq *seq, Size elsize, uint32 from);
extern void *fe_seq_next_chunk(FeSeqIter *it);

static inline void *
fe_seq_next(FeSeqIter *it)
{
	char	   *element = it->cur;

	if (it->left == 0)
		return fe_seq_next_chunk(it);
	it->left--;
	it->cur += it->elsize;
	return element;
}

#endif							/* FE_SEQ_H */
