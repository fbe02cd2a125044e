/*
 * seq_internal.h
 *		What the two files of sequences share; see seq.c for the structure.
 */
#ifndef FE_SEQ_INTERNAL_H
#define FE_SEQ_INTERNAL_H

#include "memory/seq.h"

#define CHUNK_BYTES		2048
#define CHUNK_MOST		128		/* elements */
#define CHUNK_LEAST		8
#define NODE_FANOUT		63		/* a node is 512 bytes */
/* Joining leaves nodes a third full at least: 20^8 is beyond any count. */
#define MAX_LEVELS		8

typedef struct Child
{
	FeRef		ref;
	uint32		count;			/* elements below */
} Child;

typedef struct Node
{
	uint32		n;
	uint32		unused;
	Child		child[NODE_FANOUT];
} Node;

/* Way from the top node to a chunk; [0] is the top. */
typedef struct Path
{
	int			levels;
	Node	   *node[MAX_LEVELS];
	uint32		idx[MAX_LEVELS];
	bool		first;			/* it is the sequence's first chunk */
	bool		last;
	FeRef		chunk;
	uint32		count;			/* elements in the chunk */
} Path;

/* Elements in a full chunk. */
static inline uint32
chunk_max(Size elsize)
{
	uint32		n = CHUNK_BYTES / (uint32) elsize;

	return n > CHUNK_MOST ? CHUNK_MOST : n < CHUNK_LEAST ? CHUNK_LEAST : n;
}

static inline bool
is_tree(const FeSeq *seq)
{
	return seq->nchunks > 1;
}

/* ---- changes of the tree (seq_tree.c) ------------------------------------ */

/*
 * Room for one more at idx of the path's chunk, splitting it when it is full;
 * the only chunk becomes a tree then.
 */
extern char *fe_seq_tree_open_gap(FeHeap *heap, FeSeq *seq, Size elsize,
								  const Path *path, uint32 idx);
/* The path's chunk has lost an element. */
extern void fe_seq_tree_shrunk(FeHeap *heap, FeSeq *seq, Size elsize, const Path *path);
/* Drops n elements, less than all there are. */
extern void fe_seq_tree_drop_front(FeHeap *heap, FeSeq *seq, Size elsize, uint32 n);
extern void fe_seq_tree_free(FeHeap *heap, FeSeq *seq, Size elsize);

/*
 * Opens a gap at idx in a chunk that has room for one more.  head: free
 * elements before the first, changed here.
 */
static inline char *
chunk_open_gap(char *chunk, Size elsize, uint32 capacity, uint16 *head, uint32 count, uint32 idx)
{
	char	   *elements = chunk + *head * elsize;

	if (*head > 0 && (idx < count / 2 || (*head + count == capacity && idx < count)))
	{
		memmove(elements - elsize, elements, idx * elsize);
		(*head)--;
		return chunk + (*head + idx) * elsize;
	}
	if (*head + count == capacity)
	{
		/* an append: all the way back, so that it is not for every one */
		memmove(chunk, elements, count * elsize);
		*head = 0;
		elements = chunk;
	}
	memmove(elements + (idx + 1) * elsize, elements + idx * elsize, (count - idx) * elsize);
	return elements + idx * elsize;
}

#endif							/* FE_SEQ_INTERNAL_H */
