/*
 * seq_load.c
 *		Sequences made at once, as large as they are to be; see seq.c.
 *
 * Runs in the ingest worker, on a sequence that nobody else can see yet.  One
 * chunk while it suffices, else a tree whose chunks and nodes are full but for
 * the last of each level: what appending the elements one by one would give.
 */
#include "memory/standalone.h"

#include "memory/seq_internal.h"

static uint32
parts(uint32 n, uint32 each)
{
	return (n + each - 1) / each;
}

Size
fe_seq_load_room(uint32 n, Size elsize)
{
	uint32		most = chunk_max(elsize);
	uint32		chunks = parts(n, most);
	Size		room;

	if (chunks <= 1)
		return n == 0 ? 0 : fe_heap_chunk_size(n * elsize);
	room = (Size) chunks * fe_heap_chunk_size(most * elsize);
	for (uint32 nodes = chunks; nodes > 1;)
	{
		nodes = parts(nodes, NODE_FANOUT);
		room += (Size) nodes * fe_heap_chunk_size(sizeof(Node));
	}
	return room;
}

Size
fe_seq_load_largest(uint32 n, Size elsize)
{
	return Min(n, chunk_max(elsize)) * elsize;
}

/* Everything below a child of `below` levels of nodes that has n elements. */
static FeRef
load_child(FeHeap *heap, Size elsize, uint32 n, int below)
{
	uint32		each = chunk_max(elsize);
	FeRef		ref;
	Node	   *node;

	if (below == 0)
		return fe_heap_alloc0(heap, each * elsize);
	for (int i = 1; i < below; i++)
		each *= NODE_FANOUT;
	ref = fe_heap_alloc0(heap, sizeof(Node));
	node = fe_heap_ptr(ref);
	while (n > 0)
	{
		Child	   *child = &node->child[node->n++];

		child->count = Min(n, each);
		child->ref = load_child(heap, elsize, child->count, below - 1);
		n -= child->count;
	}
	return ref;
}

void
fe_seq_load(FeHeap *heap, FeSeq *seq, Size elsize, uint32 n)
{
	uint32		most = chunk_max(elsize);
	uint32		chunks = parts(n, most);
	int			levels = 0;

	Assert(seq->count == 0 && seq->root == 0);
	if (n == 0)
		return;
	if (chunks == 1)
	{
		Size		capacity = fe_heap_chunk_size(n * elsize) / elsize;

		seq->root = fe_heap_alloc0(heap, n * elsize);
		seq->capacity = Min(capacity, most);
	}
	else
	{
		for (uint32 nodes = chunks; nodes > 1; nodes = parts(nodes, NODE_FANOUT))
			levels++;
		seq->root = load_child(heap, elsize, n, levels);
		seq->capacity = levels;
	}
	seq->count = n;
	seq->nchunks = chunks;
	seq->head = 0;
}
