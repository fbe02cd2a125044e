/*
 * seq.c
 *		Sorted sequences: one chunk, or a counted B+tree of chunks.
 *
 * A chunk holds up to chunk_max() elements.  While there is one, it is as large
 * as its elements need, by allocation sizes.  Then seq->capacity counts levels
 * of nodes, and chunks have full size.  A node holds for each child a
 * reference and the number of elements below, which gives positions; it holds
 * no keys: the first element of a child's first chunk is its key.  Only the
 * first chunk may have free elements before its first (seq->head), so that
 * dropping from the front moves nothing.
 *
 * An insertion at the end of a full last chunk begins a new one instead of
 * halving it, so sequences that are filled in order are dense.  Neighbours
 * below one node are joined when they fit in three quarters of one.
 *
 * Changes run in the ingest worker, reads anywhere; the caller holds the lock
 * of what contains the sequence.  Whatever can fail for want of memory does so
 * before anything is changed.  seq_tree.c changes the tree.
 */
#include "memory/standalone.h"

#include "memory/seq_internal.h"

/* ---- finding the chunk --------------------------------------------------- */

/* The first element below a node's child; not for the sequence's first chunk. */
static inline char *
first_element(FeRef ref, int levels_below)
{
	for (; levels_below > 0; levels_below--)
		ref = ((Node *) fe_heap_ptr(ref))->child[0].ref;
	return fe_heap_ptr(ref);
}

static inline void
path_begin(const FeSeq *seq, Path *path)
{
	path->levels = seq->capacity;
	path->first = true;
	path->last = true;
}

/* Goes down to child idx of the node at this level. */
static inline FeRef
path_step(Path *path, int level, Node *node, uint32 idx)
{
	path->node[level] = node;
	path->idx[level] = idx;
	path->first &= idx == 0;
	path->last &= idx == node->n - 1;
	path->count = node->child[idx].count;
	return path->chunk = node->child[idx].ref;
}

/* The last chunk whose first element is not after key, or the first chunk. */
static void
path_to_key(const FeSeq *seq, const void *key, FeSeqCompare cmp, void *arg, Path *path)
{
	FeRef		ref = seq->root;

	path_begin(seq, path);
	for (int level = 0; level < path->levels; level++)
	{
		Node	   *node = fe_heap_ptr(ref);
		int			below = path->levels - 1 - level;
		uint32		lo = 0;
		uint32		hi = node->n - 1;

		/* the end first: most insertions are there */
		if (hi > 0 && cmp(first_element(node->child[hi].ref, below), key, arg) <= 0)
			lo = hi;
		else if (hi > 0)
			hi--;
		while (lo < hi)
		{
			uint32		mid = (lo + hi + 1) / 2;

			if (cmp(first_element(node->child[mid].ref, below), key, arg) <= 0)
				lo = mid;
			else
				hi = mid - 1;
		}
		ref = path_step(path, level, node, lo);
	}
}

/* The chunk that holds a position; returns the index within it. */
static uint32
path_to_pos(const FeSeq *seq, uint32 pos, Path *path)
{
	FeRef		ref = seq->root;

	path_begin(seq, path);
	for (int level = 0; level < path->levels; level++)
	{
		Node	   *node = fe_heap_ptr(ref);
		uint32		idx = 0;

		while (pos >= node->child[idx].count)
			pos -= node->child[idx++].count;
		ref = path_step(path, level, node, idx);
	}
	return pos;
}

/* Elements before the path's chunk. */
static uint32
path_pos(const Path *path)
{
	uint32		pos = 0;

	for (int level = 0; level < path->levels; level++)
	{
		for (uint32 i = 0; i < path->idx[level]; i++)
			pos += path->node[level]->child[i].count;
	}
	return pos;
}

static inline char *
path_elements(const FeSeq *seq, Size elsize, const Path *path)
{
	return (char *) fe_heap_ptr(path->chunk) + (path->first ? seq->head * elsize : 0);
}

/* A sequence of one chunk as a path without nodes. */
static inline void
path_to_only(const FeSeq *seq, Path *path)
{
	path->levels = 0;
	path->first = path->last = true;
	path->chunk = seq->root;
	path->count = seq->count;
}

/* Index of the first of count elements that is not before key. */
static inline uint32
chunk_search(char *elements, uint32 count, Size elsize, const void *key,
			 FeSeqCompare cmp, void *arg, bool *equal)
{
	uint32		lo = 0;
	uint32		hi = count;
	int			order;

	*equal = false;
	if (count == 0)
		return 0;
	/* the last element first: most probes are at the end */
	order = cmp(elements + (count - 1) * elsize, key, arg);
	if (order <= 0)
	{
		*equal = order == 0;
		return order == 0 ? count - 1 : count;
	}
	hi = count - 1;
	while (lo < hi)
	{
		uint32		mid = (lo + hi) / 2;

		order = cmp(elements + mid * elsize, key, arg);
		if (order == 0)
		{
			*equal = true;
			return mid;
		}
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* ---- reading --------------------------------------------------------------- */

void *
fe_seq_search(const FeSeq *seq, Size elsize, const void *key,
			  FeSeqCompare cmp, void *arg, uint32 *pos)
{
	Path		path;
	char	   *elements;
	uint32		idx;
	bool		equal;

	if (is_tree(seq))
		path_to_key(seq, key, cmp, arg, &path);
	else
		path_to_only(seq, &path);
	elements = path_elements(seq, elsize, &path);
	idx = chunk_search(elements, path.count, elsize, key, cmp, arg, &equal);
	if (pos)
		*pos = path_pos(&path) + idx;
	return equal ? elements + idx * elsize : NULL;
}

void *
fe_seq_find(const FeSeq *seq, Size elsize, const void *key,
			FeSeqCompare cmp, void *arg)
{
	return fe_seq_search(seq, elsize, key, cmp, arg, NULL);
}

void *
fe_seq_get(const FeSeq *seq, Size elsize, uint32 pos)
{
	Path		path;

	Assert(pos < seq->count);
	if (!is_tree(seq))
		return (char *) fe_heap_ptr(seq->root) + (seq->head + pos) * elsize;
	pos = path_to_pos(seq, pos, &path);
	return path_elements(seq, elsize, &path) + pos * elsize;
}

void
fe_seq_iter(FeSeqIter *it, const FeSeq *seq, Size elsize, uint32 from)
{
	it->seq = seq;
	it->elsize = elsize;
	it->pos = from;
	it->left = 0;
	it->cur = NULL;
}

void *
fe_seq_next_chunk(FeSeqIter *it)
{
	Path		path;
	uint32		idx;

	if (it->pos >= it->seq->count)
		return NULL;
	if (is_tree(it->seq))
		idx = path_to_pos(it->seq, it->pos, &path);
	else
	{
		path_to_only(it->seq, &path);
		idx = it->pos;
	}
	it->cur = path_elements(it->seq, it->elsize, &path) + idx * it->elsize;
	it->left = path.count - idx;
	it->pos += it->left;
	return fe_seq_next(it);
}

/* ---- insertion: one chunk ---------------------------------------------------- */

/* Capacity of an only chunk that is to hold so many elements. */
static uint32
capacity_for(Size elsize, uint32 elements)
{
	Size		chunk = fe_heap_chunk_size(elements * elsize);

	return Min((uint32) (chunk / elsize), chunk_max(elsize));
}

/*
 * Puts the elements into a chunk of another size, with a gap of so many
 * elements before position idx.  False when there is no memory.
 */
static bool
only_resize(FeHeap *heap, FeSeq *seq, Size elsize, uint32 capacity, uint32 idx, uint32 gap)
{
	FeRef		ref = fe_heap_try_alloc(heap, capacity * elsize);
	char	   *from;
	char	   *to;

	if (ref == 0)
		return false;
	if (seq->root != 0)
	{
		from = (char *) fe_heap_ptr(seq->root) + seq->head * elsize;
		to = fe_heap_ptr(ref);
		memcpy(to, from, idx * elsize);
		memcpy(to + (idx + gap) * elsize, from + idx * elsize, (seq->count - idx) * elsize);
		fe_heap_free(heap, seq->root, seq->capacity * elsize);
	}
	seq->root = ref;
	seq->capacity = capacity;
	seq->head = 0;
	seq->nchunks = 1;
	return true;
}

/* Makes room at idx of the only chunk; NULL when it is full and cannot grow. */
static char *
only_open_gap(FeHeap *heap, FeSeq *seq, Size elsize, uint32 idx)
{
	uint32		capacity = seq->capacity;
	uint32		free_elements = capacity - seq->count;
	uint32		most;

	/* moving elements up and down a nearly full chunk would cost more */
	if (seq->root != 0 && free_elements > 0 &&
		(seq->head == 0 || seq->head + seq->count < capacity || free_elements * 4 >= capacity))
		return chunk_open_gap(fe_heap_ptr(seq->root), elsize, capacity,
							  &seq->head, seq->count, idx);
	most = chunk_max(elsize);
	if (capacity < most)
	{
		uint32		elements = Min(seq->count + 1 + seq->count / 4, most);

		if (!only_resize(heap, seq, elsize, capacity_for(elsize, elements), idx, 1))
			fe_heap_exhausted(elements * elsize);
		return (char *) fe_heap_ptr(seq->root) + idx * elsize;
	}
	if (free_elements > 0)
		return chunk_open_gap(fe_heap_ptr(seq->root), elsize, capacity,
							  &seq->head, seq->count, idx);
	return NULL;
}

void *
fe_seq_upsert(FeHeap *heap, FeSeq *seq, Size elsize, const void *key,
			  FeSeqCompare cmp, void *arg, bool *found)
{
	Path		path;
	char	   *elements;
	char	   *gap;
	uint32		idx;
	bool		equal;

	if (is_tree(seq))
		path_to_key(seq, key, cmp, arg, &path);
	else
		path_to_only(seq, &path);
	elements = path_elements(seq, elsize, &path);
	idx = chunk_search(elements, path.count, elsize, key, cmp, arg, &equal);
	if (found)
		*found = equal;
	if (equal)
		return elements + idx * elsize;

	gap = is_tree(seq) ? NULL : only_open_gap(heap, seq, elsize, idx);
	if (gap == NULL)
		gap = fe_seq_tree_open_gap(heap, seq, elsize, &path, idx);
	seq->count++;
	memset(gap, 0, elsize);
	return gap;
}

Size
fe_seq_upsert_room(const FeSeq *seq, Size elsize)
{
	uint32		most = chunk_max(elsize);

	if (seq->count >= most)
		return fe_heap_chunk_size(most * elsize) +
			((is_tree(seq) ? seq->capacity : 0) + 1) * fe_heap_chunk_size(sizeof(Node));
	return fe_heap_chunk_size(Min(seq->count + 1 + seq->count / 4, most) * elsize);
}

/* ---- deletion ------------------------------------------------------------------- */

void
fe_seq_clear(FeHeap *heap, FeSeq *seq, Size elsize)
{
	if (is_tree(seq))
		fe_seq_tree_free(heap, seq, elsize);
	else if (seq->root != 0)
		fe_heap_free(heap, seq->root, seq->capacity * elsize);
	memset(seq, 0, sizeof(FeSeq));
}

/* Gives memory back once three quarters of the only chunk are free. */
static void
only_shrink(FeHeap *heap, FeSeq *seq, Size elsize)
{
	uint32		capacity;

	if (seq->count == 0)
	{
		fe_seq_clear(heap, seq, elsize);
		return;
	}
	if (seq->count * 4 > seq->capacity)
		return;
	capacity = capacity_for(elsize, seq->count + 1 + seq->count / 4);
	if (capacity < seq->capacity)
		(void) only_resize(heap, seq, elsize, capacity, 0, 0);
}

/* Removes element idx of a chunk, by moving the shorter side. */
static void
chunk_close_gap(FeSeq *seq, Size elsize, const Path *path, uint32 idx)
{
	char	   *elements = path_elements(seq, elsize, path);

	if (path->first && idx < path->count / 2)
	{
		memmove(elements + elsize, elements, idx * elsize);
		seq->head++;
	}
	else
		memmove(elements + idx * elsize, elements + (idx + 1) * elsize,
				(path->count - idx - 1) * elsize);
}

void
fe_seq_delete(FeHeap *heap, FeSeq *seq, Size elsize, uint32 pos)
{
	Path		path;
	uint32		idx = pos;

	Assert(pos < seq->count);
	if (is_tree(seq))
		idx = path_to_pos(seq, pos, &path);
	else
		path_to_only(seq, &path);
	chunk_close_gap(seq, elsize, &path, idx);
	seq->count--;
	if (is_tree(seq))
		fe_seq_tree_shrunk(heap, seq, elsize, &path);
	if (!is_tree(seq))
		only_shrink(heap, seq, elsize);
}

void
fe_seq_drop_front(FeHeap *heap, FeSeq *seq, Size elsize, uint32 n)
{
	if (n >= seq->count)
	{
		fe_seq_clear(heap, seq, elsize);
		return;
	}
	seq->count -= n;
	if (is_tree(seq))
		fe_seq_tree_drop_front(heap, seq, elsize, n);
	else
		seq->head += n;
	if (!is_tree(seq))
		only_shrink(heap, seq, elsize);
}
