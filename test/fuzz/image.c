/* links: src/state/image.c src/state/chunk.c src/state/key.c src/state/layout.c */
/* links: src/state/entity.c src/state/pane.c src/aggregate/count.c */
/* links: src/aggregate/moments_int.c src/aggregate/moments_numeric.c */
/* links: src/aggregate/moments_float8.c src/aggregate/multiset.c src/aggregate/ordered.c */
/* links: src/aggregate/values.c src/aggregate/bools.c src/aggregate/bits.c */
/* links: src/aggregate/intervals.c src/aggregate/comoments.c */
/* links: src/aggregate/value.c src/aggregate/value_image.c src/aggregate/exact.c */
/* links: src/aggregate/decimal.c src/window/window.c src/memory/heap.c src/memory/pages.c */
/* links: src/memory/seq.c src/memory/seq_tree.c src/memory/seq_load.c */
/* flags: -Wno-missing-field-initializers -Wno-unused-function -DUSE_ASSERT_CHECKING=1 */
/*
 * image.c
 *		Fuzz target: the byte form of an entity with one kind of accumulator.
 *
 * Input: a byte that chooses the kind, by its number in every_kind.h, then an
 * image.  What is accepted must be state like any other: it is changed, written,
 * read again and freed, and nothing is left in the heap.
 */
#include "../unit/images.h"
#include "fuzz.h"

static FePlan plans[MAX_ACCS];
static FeLayout *layouts[MAX_ACCS];

static void
set_up(void)
{
	heap = fe_heap_create_private((Size) 512 * 1024 * 1024);
	make_specs();
	for (int i = 0; i < nspecs; i++)
	{
		make_plan(&i, 1);
		plans[i] = plan;
		layouts[i] = layout;
	}
}

static void
choose(int which)
{
	if (heap == NULL)
		set_up();
	plan = plans[which];
	layout = layouts[which];
}

static void
sample_entity(int which, const char *what, int rows, int wild, bool tombstone)
{
	StringInfo	out = buffer();
	FeRef		ref = new_entity(which, wild == 2);
	FeEntity   *e = fe_heap_ptr(ref);
	char		name[128];

	for (int i = 0; i < rows; i++)
		random_row(e, wild, 9000 * DAY + i);
	if (tombstone)
	{
		fe_entity_clear(heap, layout, e);
		e->flags |= FE_ENTITY_TOMBSTONE;
	}
	out->data[out->len++] = (char) which;
	fe_image_write(layout, e, out);
	snprintf(name, sizeof(name), "%02d-%s-%s", which, specs[which].kind->name, what);
	fuzz_sample(name, out->data, out->len);
	free_entity(ref);
}

static void
fuzz_samples(void)
{
	if (heap == NULL)
		set_up();
	for (int i = 0; i < nspecs; i++)
	{
		random_state = i + 1;
		choose(i);
		sample_entity(i, "few", 3, 0, false);
		sample_entity(i, "column", 12, 1, false);
		sample_entity(i, "any", 6, 2, false);
	}
	choose(0);
	sample_entity(0, "tombstone", 1, 1, true);
	/* so many panes that they are a tree */
	sample_entity(0, "tree", 1500, 2, false);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *why;
	FeRef		ref;

	if (heap == NULL)
		set_up();
	if (size == 0 || data[0] >= nspecs)
		return 0;
	choose(data[0]);
	random_state = fuzz_seed(data, size);
	ref = build((const char *) data + 1, size - 1, &why);
	fuzz_accepted = ref != 0;
	if (ref != 0)
		use(ref);
	if (nfailed > 0)
		fuzz_bug("state that was read is not like any other");
	if (fe_heap_used(heap) != 0)
		fuzz_bug("something is left in the heap");
	return 0;
}
