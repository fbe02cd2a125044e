/*
 * seq_tree.c
 *		Sequences of several chunks: how the tree grows and shrinks; see seq.c.
 *
 * Runs in the ingest worker only.
 */
#include "memory/standalone.h"

#include "memory/seq_internal.h"

/* ---- insertion ------------------------------------------------------------ */

static uint32
node_sum(const Node *node)
{
	uint32		sum = 0;

	for (uint32 i = 0; i < node->n; i++)
		sum += node->child[i].count;
	return sum;
}

static void
node_insert(Node *node, uint32 idx, Child child)
{
	memmove(&node->child[idx + 1], &node->child[idx], (node->n - idx) * sizeof(Child));
	node->child[idx] = child;
	node->n++;
}

/*
 * Memory for splitting the path's chunk and all full nodes above, in spare[];
 * ERROR without having taken any.
 */
static void
take_spares(FeHeap *heap, Size elsize, const Path *path, FeRef *spare)
{
	int			n = 0;
	int			wanted = 2;		/* a chunk, and a new top */

	for (int level = path->levels - 1; level >= 0; level--)
	{
		if (path->node[level]->n < NODE_FANOUT)
		{
			wanted--;			/* no new top */
			break;
		}
		wanted++;
	}
	Assert(wanted <= MAX_LEVELS + 1);
	for (; n < wanted; n++)
	{
		Size		size = n == 0 ? chunk_max(elsize) * elsize : sizeof(Node);

		spare[n] = fe_heap_try_alloc(heap, size);
		if (spare[n] != 0)
			continue;
		while (--n >= 0)
			fe_heap_free(heap, spare[n], n == 0 ? chunk_max(elsize) * elsize : sizeof(Node));
		fe_heap_exhausted(size);
	}
}

/*
 * Enters a new right neighbour of the path's child at this level and above;
 * spare nodes for those that are full.  left: what is now in the child itself.
 */
static void
enter_right(FeSeq *seq, const Path *path, uint32 left, Child right, const FeRef *spare)
{
	Node	   *top;
	FeRef		new_top;

	for (int level = path->levels - 1; level >= 0; level--)
	{
		Node	   *node = path->node[level];
		uint32		idx = path->idx[level];
		Node	   *sibling;
		FeRef		ref;
		uint32		keep;

		node->child[idx].count = left;
		if (node->n < NODE_FANOUT)
		{
			node_insert(node, idx + 1, right);
			while (--level >= 0)
				path->node[level]->child[path->idx[level]].count++;
			return;
		}
		ref = *spare++;
		sibling = fe_heap_ptr(ref);
		/* at the end all stay; as for chunks */
		keep = idx == NODE_FANOUT - 1 && path->last ? NODE_FANOUT : NODE_FANOUT / 2;
		sibling->n = NODE_FANOUT - keep;
		sibling->unused = 0;
		memcpy(sibling->child, &node->child[keep], sibling->n * sizeof(Child));
		node->n = keep;
		if (idx + 1 > keep || keep == NODE_FANOUT)
			node_insert(sibling, idx + 1 - keep, right);
		else
			node_insert(node, idx + 1, right);
		left = node_sum(node);
		right.ref = ref;
		right.count = node_sum(sibling);
	}

	new_top = *spare;
	top = fe_heap_ptr(new_top);
	top->n = 2;
	top->unused = 0;
	top->child[0].ref = seq->root;
	top->child[0].count = left;
	top->child[1] = right;
	seq->root = new_top;
	seq->capacity = path->levels + 1;
}

/* Splits the path's full chunk and makes room at idx of it. */
static char *
split_chunk(FeHeap *heap, FeSeq *seq, Size elsize, const Path *path, uint32 idx)
{
	FeRef		spare[MAX_LEVELS + 2];
	uint32		count = path->count;
	uint32		keep = path->last && idx == count ? count : count / 2;
	uint16		no_head = 0;
	char	   *left;
	char	   *right;
	char	   *gap;
	Child		child;

	take_spares(heap, elsize, path, spare);
	left = fe_heap_ptr(path->chunk);
	right = fe_heap_ptr(spare[0]);
	memcpy(right, left + keep * elsize, (count - keep) * elsize);

	child.ref = spare[0];
	child.count = count - keep;
	if (idx > keep || keep == count)
	{
		gap = chunk_open_gap(right, elsize, count, &no_head, child.count, idx - keep);
		child.count++;
	}
	else
		gap = chunk_open_gap(left, elsize, count, &no_head, keep++, idx);
	enter_right(seq, path, keep, child, spare + 1);
	seq->nchunks++;
	return gap;
}

char *
fe_seq_tree_open_gap(FeHeap *heap, FeSeq *seq, Size elsize, const Path *path, uint32 idx)
{
	uint32		capacity = chunk_max(elsize);
	uint16		no_head = 0;
	char	   *gap;

	if (path->count == capacity)
		return split_chunk(heap, seq, elsize, path, idx);
	gap = chunk_open_gap(fe_heap_ptr(path->chunk), elsize, capacity,
						 path->first ? &seq->head : &no_head, path->count, idx);
	for (int level = 0; level < path->levels; level++)
		path->node[level]->child[path->idx[level]].count++;
	return gap;
}

/* ---- deletion --------------------------------------------------------------- */

/* The top node goes while it has one child only. */
static void
tree_lower(FeHeap *heap, FeSeq *seq, Size elsize)
{
	while (seq->capacity > 0)
	{
		Node	   *node = fe_heap_ptr(seq->root);
		FeRef		child = node->child[0].ref;

		if (node->n > 1)
			return;
		fe_heap_free(heap, seq->root, sizeof(Node));
		seq->root = child;
		seq->capacity--;
	}
	seq->capacity = chunk_max(elsize);
	Assert(seq->nchunks == 1);
}

/*
 * Moves all of the right one of two neighbours into the left one; they are
 * chunks if elsize is not 0, else nodes.
 */
static void
join_children(FeSeq *seq, Size elsize, Child *left, Child *right, bool first)
{
	char	   *to = fe_heap_ptr(left->ref);
	char	   *from = fe_heap_ptr(right->ref);

	if (elsize == 0)
	{
		Node	   *a = (Node *) to;
		Node	   *b = (Node *) from;

		memcpy(&a->child[a->n], b->child, b->n * sizeof(Child));
		a->n += b->n;
	}
	else
	{
		if (first && seq->head > 0)
		{
			memmove(to, to + seq->head * elsize, left->count * elsize);
			seq->head = 0;
		}
		memcpy(to + left->count * elsize, from, right->count * elsize);
	}
	left->count += right->count;
}

static void
node_remove(Node *node, uint32 idx)
{
	node->n--;
	memmove(&node->child[idx], &node->child[idx + 1], (node->n - idx) * sizeof(Child));
}

/*
 * Child idx of a node has become smaller: frees it when empty, or joins it with
 * a neighbour.  below: levels of nodes below it; leftmost: the node is the
 * first of its level.  True if the node has lost a child.
 */
static bool
tree_tidy(FeHeap *heap, FeSeq *seq, Size elsize, Node *node, uint32 idx, int below, bool leftmost)
{
	uint32		most = below > 0 ? NODE_FANOUT : chunk_max(elsize);
	Size		size = below > 0 ? sizeof(Node) : most * elsize;

	if (node->child[idx].count == 0)
	{
		/* a node without elements has lost its last child just now */
		if (below == 0 && leftmost && idx == 0)
			seq->head = 0;
		fe_heap_free(heap, node->child[idx].ref, size);
		node_remove(node, idx);
		seq->nchunks -= below == 0;
		return true;
	}

	/* with the left neighbour, else with the right one */
	for (uint32 right = Max(idx, 1); right <= idx + 1 && right < node->n; right++)
	{
		Child	   *a = &node->child[right - 1];
		Child	   *b = &node->child[right];
		uint32		both = below == 0 ? a->count + b->count :
			((Node *) fe_heap_ptr(a->ref))->n + ((Node *) fe_heap_ptr(b->ref))->n;

		if (both > most * 3 / 4)
			continue;
		join_children(seq, below > 0 ? 0 : elsize, a, b, leftmost && right == 1);
		fe_heap_free(heap, b->ref, size);
		node_remove(node, right);
		seq->nchunks -= below == 0;
		return true;
	}
	return false;
}

void
fe_seq_tree_shrunk(FeHeap *heap, FeSeq *seq, Size elsize, const Path *path)
{
	bool		leftmost[MAX_LEVELS];
	bool		lost = true;

	for (int level = 0; level < path->levels; level++)
	{
		path->node[level]->child[path->idx[level]].count--;
		leftmost[level] = level == 0 || (leftmost[level - 1] && path->idx[level - 1] == 0);
	}
	for (int level = path->levels - 1; level >= 0 && lost; level--)
		lost = tree_tidy(heap, seq, elsize, path->node[level], path->idx[level],
						 path->levels - 1 - level, leftmost[level]);
	tree_lower(heap, seq, elsize);
}

/* Frees a child with all that is below it. */
static void
free_child(FeHeap *heap, FeSeq *seq, Size elsize, FeRef ref, int below)
{
	if (below > 0)
	{
		Node	   *node = fe_heap_ptr(ref);

		for (uint32 i = 0; i < node->n; i++)
			free_child(heap, seq, elsize, node->child[i].ref, below - 1);
		fe_heap_free(heap, ref, sizeof(Node));
	}
	else
	{
		fe_heap_free(heap, ref, chunk_max(elsize) * elsize);
		seq->nchunks--;
	}
}

void
fe_seq_tree_drop_front(FeHeap *heap, FeSeq *seq, Size elsize, uint32 n)
{
	FeRef		ref = seq->root;

	for (int below = seq->capacity - 1; below >= 0; below--)
	{
		Node	   *node = fe_heap_ptr(ref);
		uint32		whole = 0;

		while (node->child[whole].count <= n)
		{
			n -= node->child[whole].count;
			free_child(heap, seq, elsize, node->child[whole].ref, below);
			whole++;
		}
		if (whole > 0)
		{
			/* the first chunk has gone, and its head with it */
			seq->head = 0;
			node->n -= whole;
			memmove(node->child, node->child + whole, node->n * sizeof(Child));
		}
		node->child[0].count -= n;
		ref = node->child[0].ref;
	}
	seq->head += n;
	tree_lower(heap, seq, elsize);
}

void
fe_seq_tree_free(FeHeap *heap, FeSeq *seq, Size elsize)
{
	free_child(heap, seq, elsize, seq->root, seq->capacity);
}
