/* links: src/memory/heap.c src/memory/pages.c src/memory/seq.c src/memory/seq_tree.c */
/*
 * test_memory.c
 *		Unit tests of the state's memory: random operations on heaps and sorted
 *		sequences beside simple models.  TAP output; fixed seeds.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/heap.h"
#include "memory/pages.h"
#include "memory/seq.h"
#include "tap.h"

#define MB		((Size) 1024 * 1024)
#define PAGE	((Size) 8192)

#define Min(x, y)	((x) < (y) ? (x) : (y))

typedef uint64_t u64;

static void
is(u64 got, u64 expected, const char *name)
{
	ok(got == expected, name);
	if (got != expected)
		printf("# got %llu, expected %llu\n", (unsigned long long) got,
			   (unsigned long long) expected);
}

static u64	rng = 88172645463325252ULL;

static u64
next_random(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static uint32
below(uint32 n)
{
	return next_random() % n;
}

/* ---- heap ------------------------------------------------------------------ */

#define MAX_BLOCKS	4000

typedef struct Block
{
	FeRef		ref;
	Size		size;
	unsigned char mark;
} Block;

static Block blocks[MAX_BLOCKS];
static int	nblocks;

static Size
random_size(void)
{
	switch (below(20))
	{
		case 0:
			return 1 + below(100000);
		case 1:
		case 2:
			return 1 + below(9000);
		default:
			return 1 + below(700);
	}
}

static bool
block_is_intact(const Block *b)
{
	unsigned char *data = fe_heap_ptr(b->ref);

	for (Size i = 0; i < b->size; i++)
	{
		if (data[i] != b->mark)
			return false;
	}
	return true;
}

static bool
block_alloc(FeHeap *heap)
{
	Block	   *b = &blocks[nblocks];

	b->size = random_size();
	b->mark = below(256);
	b->ref = fe_heap_try_alloc(heap, b->size);
	if (b->ref == 0)
		return false;
	/* all of the chunk may be used */
	memset(fe_heap_ptr(b->ref), b->mark, fe_heap_chunk_size(b->size));
	nblocks++;
	return true;
}

static bool
block_free(FeHeap *heap, int i)
{
	bool		intact = block_is_intact(&blocks[i]);

	fe_heap_free(heap, blocks[i].ref, blocks[i].size);
	blocks[i] = blocks[--nblocks];
	return intact;
}

static int
by_ref(const void *a, const void *b)
{
	FeRef		x = ((const Block *) a)->ref;
	FeRef		y = ((const Block *) b)->ref;

	return x < y ? -1 : x > y;
}

static int
count_overlaps(void)
{
	int			overlaps = 0;

	qsort(blocks, nblocks, sizeof(Block), by_ref);
	for (int i = 1; i < nblocks; i++)
		overlaps += (Size) (blocks[i].ref - blocks[i - 1].ref) * FE_HEAP_GRANULE <
			fe_heap_chunk_size(blocks[i - 1].size);
	return overlaps;
}

static Size
sum_of_chunks(void)
{
	Size		sum = 0;

	for (int i = 0; i < nblocks; i++)
		sum += fe_heap_chunk_size(blocks[i].size);
	return sum;
}

static void
test_heap_random(void)
{
	FeHeap	   *heap = fe_heap_create_private(64 * MB);
	int			damaged = 0;
	int			overlaps = 0;
	int			miscounted = 0;
	int			unaligned = 0;

	nblocks = 0;
	for (int i = 0; i < 80000; i++)
	{
		/* the population swings between none and many */
		bool		grow = (i / 4000) % 2 == 0 ? below(10) < 7 : below(10) < 3;

		if (grow && nblocks < MAX_BLOCKS)
		{
			if (block_alloc(heap))
				unaligned += (uintptr_t) fe_heap_ptr(blocks[nblocks - 1].ref) % 16 != 0;
		}
		else if (nblocks > 0)
			damaged += !block_free(heap, below(nblocks));
		if (i % 2000 == 0)
		{
			overlaps += count_overlaps();
			miscounted += fe_heap_used(heap) != sum_of_chunks();
			miscounted += fe_heap_pages_bytes(heap) < fe_heap_used(heap);
		}
	}
	is(overlaps, 0, "heap: allocations do not overlap");
	is(unaligned, 0, "heap: allocations are aligned to 16");
	is(miscounted, 0, "heap: used is the sum of chunk sizes, within the pages held");
	while (nblocks > 0)
		damaged += !block_free(heap, nblocks - 1);
	is(damaged, 0, "heap: contents are preserved until freed");
	is(fe_heap_used(heap), 0, "heap: nothing used after everything is freed");
	is(fe_heap_pages_bytes(heap), 0, "heap: all pages given back");
	is(fe_heap_alloc(heap, 63 * MB) != 0, 1, "heap: and joined to one run");
	fe_heap_reset(heap);
	is(fe_heap_pages_bytes(heap), 0, "heap: reset gives everything back");
}

/* Sizes change all the time, the total does not: pages must not grow. */
static void
test_heap_flat(void)
{
	FeHeap	   *heap = fe_heap_create_private(64 * MB);
	Size		early = 0;
	Size		late = 0;

	nblocks = 0;
	for (int i = 0; i < 200000; i++)
	{
		if (nblocks == 3000)
			block_free(heap, below(nblocks));
		else if (!block_alloc(heap))
			break;
		if (i < 60000 && fe_heap_pages_bytes(heap) > early)
			early = fe_heap_pages_bytes(heap);
		if (i >= 60000 && fe_heap_pages_bytes(heap) > late)
			late = fe_heap_pages_bytes(heap);
	}
	ok(late < early + early / 8, "heap: memory stays flat while contents come and go");
	printf("# pages held at most: %zu kB, later %zu kB, for %zu kB\n",
		   early / 1024, late / 1024, sum_of_chunks() / 1024);
	fe_heap_reset(heap);
}

static void
test_heap_classes(void)
{
	Size		largest_waste = 0;

	fe_heap_create_private(MB);
	for (Size size = 1; size <= 20000; size++)
	{
		Size		chunk = fe_heap_chunk_size(size);

		if (chunk < size || fe_heap_chunk_size(chunk) != chunk)
			largest_waste = 1000;
		if (size >= 128 && size <= 2048 && (chunk - size) * 1000 / chunk > largest_waste)
			largest_waste = (chunk - size) * 1000 / chunk;
	}
	ok(largest_waste <= 125, "heap: an eighth of a chunk is wasted at most (128 to 2048 bytes)");
	is(fe_heap_chunk_size(1), 16, "heap: 16 bytes are the least");
	is(fe_heap_chunk_size(8193), 16384, "heap: large pieces take whole pages");
}

static void
test_heap_full(void)
{
	FeHeap	   *heap = fe_heap_create_private(4 * MB);
	int			n = 0;
	FeRef		ref;

	while (fe_heap_try_alloc(heap, 1000) != 0)
		n++;
	is(n, 4096, "heap: the whole reservation can be used");
	is(fe_heap_try_alloc(heap, 16), 0, "heap: then there is no more");
	ok(!fe_heap_has_room(heap, 16), "heap: and no room");
	fe_heap_reset(heap);
	ok(fe_heap_has_room(heap, MB), "heap: room again after a reset");
	ok(!fe_heap_has_room(heap, 5 * MB), "heap: no room for more than there is");
	ok(!fe_heap_has_room(heap, ~(Size) 0), "heap: no room for absurd sizes");

	/* every second page is taken: much is free, but nothing long */
	while ((ref = fe_heap_try_alloc(heap, 2 * PAGE)) != 0)
	{
		fe_heap_free(heap, ref, 2 * PAGE);
		fe_heap_alloc(heap, PAGE + 1);
		if (fe_heap_try_alloc(heap, 8192) == 0)
			break;
	}
	fe_heap_reset(heap);
	is(fe_heap_pages_bytes(heap), 0, "heap: reset of a fragmented heap");
}

/* Pages go back as they empty; one of a class stays while others are in use. */
static void
test_heap_gives_back(void)
{
	FeHeap	   *heap = fe_heap_create_private(4 * MB);
	FeRef		refs[10000];

	for (int i = 0; i < 10000; i++)
		refs[i] = fe_heap_alloc(heap, 64);
	for (int i = 1; i < 10000; i++)
		fe_heap_free(heap, refs[i], 64);
	ok(fe_heap_pages_bytes(heap) <= 2 * PAGE, "heap: empty pages are given back");
	fe_heap_free(heap, refs[0], 64);
	refs[0] = fe_heap_alloc(heap, 128);
	refs[1] = fe_heap_alloc(heap, 64);
	fe_heap_free(heap, refs[1], 64);
	is(fe_heap_pages_bytes(heap), 2 * PAGE, "heap: but a class's last one is kept for the next");
	fe_heap_free(heap, refs[0], 128);
	is(fe_heap_pages_bytes(heap), 0, "heap: until all is free");
}

/*
 * The worst case for a promise: a piece of each class, each as small as the
 * class takes, and a neighbour that leaves no other page.
 */
static void
test_heap_promise_worst(void)
{
	FeHeap	   *heap = fe_heap_create_private(MB);
	FeHeap	   *neighbour = fe_heap_private_neighbour();
	int			broken = 0;

	for (int copies = 1; copies <= 3; copies++)
	{
		Size		bytes = 0;
		Size		size;

		for (size = 16; size <= 8192; size = fe_heap_chunk_size(size) + 1)
			bytes += copies * size;
		broken += !fe_heap_has_room(heap, bytes);
		while (fe_heap_try_alloc(neighbour, PAGE + 1) != 0)
			;
		while (fe_heap_try_alloc(neighbour, 6000) != 0)
			;
		ok(!fe_heap_has_room(neighbour, 16), "heap: what is promised to one is not there for others");
		for (size = 16; size <= 8192; size = fe_heap_chunk_size(size) + 1)
		{
			for (int i = 0; i < copies; i++)
				broken += fe_heap_try_alloc(heap, size) == 0;
		}
		fe_heap_reset(heap);
		fe_heap_reset(neighbour);
	}

	/* slabs of several pages, made while there is plenty, are not paid from the promise */
	broken += !fe_heap_has_room(heap, 20000);
	for (int i = 0; i < 4; i++)
		broken += fe_heap_try_alloc(heap, 1000 + i * 100) == 0;
	while (fe_heap_try_alloc(neighbour, 6000) != 0)
		;
	broken += fe_heap_try_alloc(heap, 7600) == 0;
	broken += fe_heap_try_alloc(heap, 7600) == 0;
	is(broken, 0, "heap: a promise is kept at the worst");
}

/* A promise of has_room is kept, whatever the pieces are, in a crowded heap. */
static void
test_heap_promise(void)
{
	int			broken = 0;
	int			promised = 0;

	for (int round = 0; round < 150; round++)
	{
		FeHeap	   *heap = fe_heap_create_private((1 + below(6)) * MB);
		Size		bytes;

		nblocks = 0;
		while (nblocks < MAX_BLOCKS && block_alloc(heap))
			;
		for (int n = below(nblocks); n > 0; n--)
			block_free(heap, below(nblocks));

		bytes = below(4) ? below(200000) : below(3000);
		while (bytes >= 16 && !fe_heap_has_room(heap, bytes))
			bytes /= 2;
		promised += bytes >= 16;
		while (bytes >= 16)
		{
			Size		size = 16 + below(below(4) ? 300 : 20000);

			if (size > bytes || below(100) == 0)
				size = bytes;
			broken += fe_heap_try_alloc(heap, size) == 0;
			bytes -= size;
		}
	}
	is(broken, 0, "heap: where there was room, allocations succeed");
	ok(promised > 100, "heap: there was room most times");
}

/* ---- sequences --------------------------------------------------------------- */

/* An element is a key, then bytes that depend on it. */
static int
compare_keys(const void *element, const void *key, void *arg)
{
	u64			a;
	u64			b = *(const u64 *) key;

	memcpy(&a, element, sizeof(a));
	(*(long *) arg)++;
	return a < b ? -1 : a > b;
}

static void
fill_element(char *element, Size elsize, u64 key)
{
	memcpy(element, &key, sizeof(key));
	memset(element + sizeof(key), (int) (key * 31 % 251), elsize - sizeof(key));
}

static bool
element_is(const char *element, Size elsize, u64 key)
{
	char		expected[256];

	fill_element(expected, elsize, key);
	return element != NULL && memcmp(element, expected, elsize) == 0;
}

/* The model: a sorted array. */
static u64	model[20000];
static uint32 nmodel;

static uint32
model_search(u64 key)
{
	uint32		lo = 0;
	uint32		hi = nmodel;

	while (lo < hi)
	{
		uint32		mid = (lo + hi) / 2;

		if (model[mid] < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void
model_delete(uint32 pos, uint32 n)
{
	nmodel -= n;
	memmove(&model[pos], &model[pos + n], (nmodel - pos) * sizeof(u64));
}

static long ncompares;

static int
seq_upsert(FeHeap *heap, FeSeq *seq, Size elsize, u64 key)
{
	uint32		pos = model_search(key);
	bool		expected = pos < nmodel && model[pos] == key;
	bool		found;
	char	   *element = fe_seq_upsert(heap, seq, elsize, &key, compare_keys, &ncompares, &found);

	if (found != expected)
		return 1;
	if (found)
		return !element_is(element, elsize, key);
	for (Size i = 0; i < elsize; i++)
	{
		if (element[i] != 0)
			return 1;
	}
	fill_element(element, elsize, key);
	memmove(&model[pos + 1], &model[pos], (nmodel - pos) * sizeof(u64));
	model[pos] = key;
	nmodel++;
	return 0;
}

static int
seq_check(const FeSeq *seq, Size elsize)
{
	FeSeqIter	it;
	uint32		from = nmodel > 0 ? below(nmodel) : 0;
	uint32		n = from;
	char	   *element;
	int			bad = seq->count != nmodel;

	fe_seq_iter(&it, seq, elsize, from);
	while ((element = fe_seq_next(&it)) != NULL && n < nmodel)
		bad += !element_is(element, elsize, model[n++]);
	bad += n != nmodel || element != NULL;
	for (int i = 0; i < 20 && nmodel > 0; i++)
	{
		uint32		pos = below(nmodel);
		u64			key = model[pos] + below(2);
		uint32		got;

		bad += !element_is(fe_seq_get(seq, elsize, pos), elsize, model[pos]);
		pos = model_search(key);
		element = fe_seq_search(seq, elsize, &key, compare_keys, &ncompares, &got);
		bad += got != pos;
		bad += (element != NULL) != (pos < nmodel && model[pos] == key);
		bad += element != NULL && !element_is(element, elsize, key);
		bad += element != fe_seq_find(seq, elsize, &key, compare_keys, &ncompares);
	}
	return bad;
}

/* One operation of a random kind; what kinds depends on the phase. */
static int
seq_operation(FeHeap *heap, FeSeq *seq, Size elsize, uint32 phase, uint32 room)
{
	uint32		kind = below(100);
	uint32		n;
	u64			last = nmodel > 0 ? model[nmodel - 1] : 1000000;

	if (nmodel >= room)
		kind = 90 + below(10);
	switch (phase)
	{
		case 0:					/* grows at random places */
			if (kind < 85)
				return seq_upsert(heap, seq, elsize, below(2000000));
			break;
		case 1:					/* grows at the end, nearly in order */
			if (kind < 85)
				return seq_upsert(heap, seq, elsize, last + 5 - below(7));
			break;
		case 2:					/* slides: in at the end, out at the front */
			if (kind < 50)
				return seq_upsert(heap, seq, elsize, last + 1 + below(3));
			n = Min(1 + below(2), nmodel);
			fe_seq_drop_front(heap, seq, elsize, n);
			model_delete(0, n);
			return 0;
		case 3:					/* grows at the front */
			if (kind < 80 && nmodel > 0 && model[0] > 10)
				return seq_upsert(heap, seq, elsize, model[0] - 1 - below(3));
			break;
		default:				/* shrinks */
			if (kind < 20)
				return seq_upsert(heap, seq, elsize, below(2000000));
	}
	if (nmodel == 0)
		return 0;
	if (kind == 99 && below(20) == 0)
	{
		n = 1 + below(Min(nmodel, 300));
		fe_seq_drop_front(heap, seq, elsize, n);
		model_delete(0, n);
		return 0;
	}
	/* anywhere, or near one of the ends */
	n = below(3) ? below(nmodel) : below(2) ? below(Min(nmodel, 5)) :
		nmodel - 1 - below(Min(nmodel, 5));
	fe_seq_delete(heap, seq, elsize, n);
	model_delete(n, 1);
	return 0;
}

static void
test_seq_random(Size elsize)
{
	FeHeap	   *heap = fe_heap_create_private(64 * MB);
	char		name[100];
	int			bad = 0;
	int			grown = 0;
	int			tall = 0;

	for (int round = 0; round < 12; round++)
	{
		static const uint32 rooms[] = {3, 30, 200, 1000, 4000, 15000};
		uint32		room = rooms[round % 6];
		FeSeq		seq;

		memset(&seq, 0, sizeof(seq));
		nmodel = 0;
		for (int stretch = 0; stretch < 8; stretch++)
		{
			uint32		phase = stretch < 2 ? below(2) : below(5);
			int			n = Min(room, elsize < 200 ? 4000 : 8000);

			for (int i = 0; i < n; i++)
			{
				bad += seq_operation(heap, &seq, elsize, phase, room);
				if (i % (n / 5 + 1) == 0)
					bad += seq_check(&seq, elsize);
			}
			bad += seq_check(&seq, elsize);
			grown += seq.nchunks > 1;
			tall += seq.nchunks > 1 && seq.capacity > 1;
		}
		fe_seq_clear(heap, &seq, elsize);
		bad += seq.count != 0 || seq.root != 0;
		bad += fe_heap_used(heap) != 0;
	}
	snprintf(name, sizeof(name), "seq: as a sorted array, elements of %zu bytes", elsize);
	is(bad, 0, name);
	printf("# %d of 96 checks with several chunks, %d with several levels\n", grown, tall);
	snprintf(name, sizeof(name), "seq: all memory is back, elements of %zu bytes", elsize);
	is(fe_heap_pages_bytes(heap), 0, name);
}

/* Three levels of nodes. */
static void
test_seq_large(void)
{
	Size		elsize = 200;
	FeHeap	   *heap = fe_heap_create_private(512 * MB);
	FeSeq		seq;
	FeSeqIter	it;
	uint32		count = 60000;
	int			bad = 0;
	char	   *element;
	u64			expected = 0;

	memset(&seq, 0, sizeof(seq));
	/* 7919 is prime to it: every key once, in no order */
	for (u64 i = 0; i < count; i++)
	{
		u64			key = i * 7919 % count;

		fill_element(fe_seq_upsert(heap, &seq, elsize, &key, compare_keys, &ncompares, NULL),
					 elsize, key);
	}
	is(seq.count, count, "seq: 60,000 elements in random order");
	ok(seq.nchunks > 63 * 63, "seq: in a tree of three levels");
	fe_seq_iter(&it, &seq, elsize, 0);
	while ((element = fe_seq_next(&it)) != NULL)
		bad += !element_is(element, elsize, expected++);
	bad += expected != count;
	is(bad, 0, "seq: all in order");

	for (uint32 i = 0; i < count / 5 * 4; i++)
		fe_seq_delete(heap, &seq, elsize, below(seq.count));
	fe_seq_iter(&it, &seq, elsize, 0);
	for (expected = 0; (element = fe_seq_next(&it)) != NULL; expected++)
		bad += element != fe_seq_get(&seq, elsize, expected);
	bad += expected != count / 5;
	is(bad, 0, "seq: four in five of them deleted");
	ok(fe_heap_used(heap) < 3 * elsize * seq.count, "seq: chunks are joined as they empty");
	fe_seq_drop_front(heap, &seq, elsize, seq.count - 1);
	is(seq.nchunks, 1, "seq: dropped from the front down to one chunk");
	ok(fe_heap_used(heap) <= 1024, "seq: which shrinks");
	while (seq.count > 0)
		fe_seq_delete(heap, &seq, elsize, seq.count - 1);
	is(fe_heap_pages_bytes(heap), 0, "seq: all memory is back");
}

/* Costs of the common cases, in comparisons and memory rather than time. */
static void
test_seq_costs(void)
{
	Size		elsize = 24;
	FeHeap	   *heap = fe_heap_create_private(128 * MB);
	FeSeq		seq;
	u64			key = 0;
	Size		most = 0;

	memset(&seq, 0, sizeof(seq));
	ncompares = 0;
	for (; key < 100000; key++)
		fill_element(fe_seq_upsert(heap, &seq, elsize, &key, compare_keys, &ncompares, NULL),
					 elsize, key);
	ok(ncompares < 4 * 100000, "seq: appending takes a few comparisons");
	ok(fe_heap_used(heap) < 100000 * elsize * 11 / 10, "seq: filled in order it is dense");
	fe_seq_clear(heap, &seq, elsize);

	for (key = 0; key < 100000; key++)
	{
		fill_element(fe_seq_upsert(heap, &seq, elsize, &key, compare_keys, &ncompares, NULL),
					 elsize, key);
		if (seq.count > 50)
			fe_seq_drop_front(heap, &seq, elsize, 1);
		if (fe_heap_used(heap) > most)
			most = fe_heap_used(heap);
	}
	ok(most <= 51 * elsize * 3 / 2, "seq: sliding in one chunk does not make it grow");
	fe_seq_clear(heap, &seq, elsize);
}

/* Out of memory: upsert_room was enough, and a failed one changes nothing. */
static void
test_seq_room(void)
{
	int			bad = 0;

	for (int round = 0; round < 60; round++)
	{
		static const Size sizes[] = {16, 24, 64, 200, 1000};
		Size		elsize = sizes[below(5)];
		FeHeap	   *heap = fe_heap_create_private(MB);
		FeSeq		seq;
		Size		room = 0;

		memset(&seq, 0, sizeof(seq));
		for (;;)
		{
			u64			key = next_random();
			Size		used = fe_heap_used(heap);

			room = fe_seq_upsert_room(&seq, elsize);
			if (!fe_heap_has_room(heap, room))
				break;
			fe_seq_upsert(heap, &seq, elsize, &key, compare_keys, &ncompares, NULL);
			bad += fe_heap_used(heap) > used + room;
		}
		bad += fe_heap_pages_bytes(heap) < MB / 2;
		fe_seq_clear(heap, &seq, elsize);
		bad += fe_heap_used(heap) != 0;
	}
	is(bad, 0, "seq: an upsert takes no more than upsert_room");
}

static sigjmp_buf out_of_memory;

static void
on_abort(int signo)
{
	siglongjmp(out_of_memory, 1);
}

/* What was there before the upsert that failed. */
static Size full_used;
static uint32 full_count;

/* Without a server the error is an abort(); here it is caught. */
static void
upsert_until_full(FeHeap *heap, FeSeq *seq, Size elsize)
{
	if (sigsetjmp(out_of_memory, 1) != 0)
		return;
	for (;;)
	{
		u64			key = 1 + next_random() % 1000000007;

		full_used = fe_heap_used(heap);
		full_count = seq->count;
		memcpy(fe_seq_upsert(heap, seq, elsize, &key, compare_keys, &ncompares, NULL),
			   &key, sizeof(key));
	}
}

/* Elements of a sequence, 0 if they are out of order. */
static uint32
count_in_order(const FeSeq *seq, Size elsize)
{
	FeSeqIter	it;
	uint32		n = 0;
	u64			last = 0;
	char	   *element;

	fe_seq_iter(&it, seq, elsize, 0);
	for (; (element = fe_seq_next(&it)) != NULL; n++)
	{
		u64			key;

		memcpy(&key, element, sizeof(key));
		if (key <= last)
			return 0;
		last = key;
	}
	return n;
}

static void
test_seq_full(void)
{
	static const Size sizes[] = {16, 24, 64, 200, 1000};
	int			bad = 0;
	void		(*old) (int) = signal(SIGABRT, on_abort);

	for (int round = 0; round < 40; round++)
	{
		Size		elsize = sizes[round % 5];
		FeHeap	   *heap = fe_heap_create_private(MB / 4 + round * PAGE);
		FeSeq		seq;

		memset(&seq, 0, sizeof(seq));
		upsert_until_full(heap, &seq, elsize);
		bad += seq.count != full_count || seq.count == 0 ||
			fe_heap_used(heap) != full_used;
		bad += count_in_order(&seq, elsize) != seq.count;
		fe_seq_clear(heap, &seq, elsize);
		bad += fe_heap_used(heap) != 0;
	}
	is(bad, 0, "seq: an upsert that finds no memory changes nothing");

	/* a full chunk; memory for another one, but not for the node above both */
	{
		FeHeap	   *heap = fe_heap_create_private(MB);
		FeRef		chunk = fe_heap_alloc(heap, 2048);
		FeSeq		seq;

		memset(&seq, 0, sizeof(seq));
		for (u64 key = 1; key <= 128; key++)
			memcpy(fe_seq_upsert(heap, &seq, 16, &key, compare_keys, &ncompares, NULL),
				   &key, sizeof(key));
		while (fe_heap_try_alloc(heap, 2048) != 0)
			;
		while (fe_heap_try_alloc(heap, 512) != 0)
			;
		fe_heap_free(heap, chunk, 2048);
		upsert_until_full(heap, &seq, 16);
		ok(seq.count == 128 && seq.nchunks == 1 && fe_heap_used(heap) == full_used &&
		   count_in_order(&seq, 16) == 128, "seq: nor does one that finds only a part of it");
	}
	signal(SIGABRT, old);
}

int
main(void)
{
	test_heap_classes();
	test_heap_random();
	test_heap_flat();
	test_heap_full();
	test_heap_promise();
	test_heap_promise_worst();
	test_heap_gives_back();
	test_seq_random(16);
	test_seq_random(24);
	test_seq_random(64);
	test_seq_random(200);
	test_seq_large();
	test_seq_costs();
	test_seq_room();
	test_seq_full();
	return done_testing();
}
