/* links: src/state/image.c src/state/chunk.c src/state/key.c src/state/layout.c */
/* links: src/state/entity.c src/state/pane.c src/aggregate/count.c */
/* links: src/aggregate/moments_int.c src/aggregate/moments_numeric.c */
/* links: src/aggregate/moments_float8.c src/aggregate/multiset.c src/aggregate/ordered.c */
/* links: src/aggregate/values.c src/aggregate/bools.c src/aggregate/bits.c */
/* links: src/aggregate/intervals.c src/aggregate/comoments.c */
/* links: src/aggregate/value.c src/aggregate/value_image.c src/aggregate/exact.c */
/* links: src/aggregate/decimal.c src/window/window.c src/memory/heap.c src/memory/pages.c */
/* links: src/memory/seq.c src/memory/seq_tree.c src/memory/seq_load.c */
/* flags: -Wno-missing-field-initializers */
/*
 * test_image.c
 *		Unit tests of the byte form of state: what is written is built again, for
 *		every kind of accumulator, so that it goes on like the original; and
 *		whatever else is read is refused, or is as good as any other state.  Images
 *		are read from memory of exactly their size, so that the address sanitizer
 *		sees a byte too far.  TAP output; fixed seeds.
 */
#include "images.h"

/* ---- one accumulator of each kind --------------------------------------------------- */

/* Builds dst from src's image; false: it cannot be read, or not as it should. */
static bool
copy_acc(const FeAccSpec *spec, const void *src, void *dst)
{
	StringInfo	out = buffer();
	FeImageIn	in;
	char	   *image;
	Size		used;
	bool		good;

	spec->kind->image_write(spec, src, out);
	image = exactly(out->data, out->len);
	fe_image_in_init(&in, image, out->len);
	spec->kind->image_read(NULL, spec, NULL, &in);
	good = in.error == NULL && in.cur == in.end;
	used = fe_heap_used(heap);
	in.cur = image;
	spec->kind->image_read(heap, spec, dst, &in);
	good &= in.error == NULL && in.cur == in.end && fe_heap_used(heap) - used <= in.room;
	fe_image_in_free(&in);
	pfree(image);
	return good;
}

static bool
same_image(const FeAccSpec *spec, const void *a, const void *b)
{
	StringInfo	x = buffer();
	StringInfo	y = buffer();

	spec->kind->image_write(spec, a, x);
	spec->kind->image_write(spec, b, y);
	return x->len == y->len && memcmp(x->data, y->data, x->len) == 0;
}

/*
 * Rows enter and leave; now and then the accumulator is copied through its
 * image, and original and copy have the same rows happen to them.  A field that
 * the image lacks shows in what comes after.
 */
static bool
round_trips(const FeAccSpec *spec, int wild, int rows)
{
	int64		acc[32];
	int64		copy[32];
	bool		good = true;

	memset(acc, 0, sizeof(acc));
	for (int round = 0; round < (rows > 100 ? 6 : 30) && good; round++)
	{
		uint64		seed;

		memset(copy, 0, sizeof(copy));
		good &= copy_acc(spec, acc, copy) && same_image(spec, acc, copy);
		seed = random_state;
		for (int pass = 0; pass < 2; pass++)
		{
			random_state = seed;
			for (int i = below(rows); i >= 0; i--)
				apply_random(spec, pass == 0 ? acc : copy, wild, below(3) == 0 ? -1 : 1);
		}
		good &= same_image(spec, acc, copy);
		spec->kind->clear(heap, spec, below(2) ? acc : copy);
		if (acc[0] == 0 && acc[1] == 0)
			memcpy(acc, copy, sizeof(acc));
	}
	spec->kind->clear(heap, spec, acc);
	return good;
}

static void
test_kinds(void)
{
	static const char *const wildness[] = {"few values", "values of a column", "any values"};
	char		name[128];

	for (int i = 0; i < nspecs; i++)
	{
		for (int wild = 0; wild < 3; wild++)
		{
			bool		good = round_trips(&specs[i], wild, 40);

			if (wild > 0)
				good &= round_trips(&specs[i], wild, 2000);
			snprintf(name, sizeof(name), "%s: %s come back", spec_names[i], wildness[wild]);
			ok(good && fe_heap_used(heap) == 0, name);
		}
	}
}

/* ---- entities -------------------------------------------------------------------------- */

static void
test_entities(void)
{
	bool		good = true;
	bool		tombstones = true;

	for (int n = 0; n < 60; n++)
	{
		FeRef		ref = new_entity(n, n % 5 == 0);
		FeEntity   *e = fe_heap_ptr(ref);
		int64		now = 9000 * DAY;

		for (int i = 0; i < n * 4; i++)
			random_row(e, n % 3, now += below(1000) * 100000);
		if (n % 2 == 0)
			fe_pane_consolidate(heap, &layout->tracks[0], fe_entity_seqs(e), now);
		good &= entity_round_trip(e);
		fe_entity_clear(heap, layout, e);
		e->flags |= FE_ENTITY_TOMBSTONE;
		tombstones &= entity_round_trip(e);
		free_entity(ref);
	}
	ok(good, "entities with all kinds in lifetime and panes come back");
	ok(tombstones, "so do tombstones");
	ok(fe_heap_used(heap) == 0, "and nothing is left in the heap");
}

/* Times at which a level's grid is cut off by the ends of time. */
static void
test_far_times(void)
{
	static const int64 times[] = {
		PG_INT64_MIN + 1, PG_INT64_MIN + DAY, -DAY, 0, DAY, 2 * DAY, PG_INT64_MAX - 1
	};
	FeRef		ref = new_entity(1, false);
	FeEntity   *e = fe_heap_ptr(ref);
	int32		added = 0;

	for (int i = 0; i < lengthof(times); i++)
	{
		FePane	   *pane = fe_pane_upsert(heap, &layout->tracks[0], fe_entity_seqs(e), times[i],
										  i < 4 ? 9000 * DAY : PG_INT64_MIN, &added);

		pane->rows = i + 1;
		pane->begins = i % 2;
	}
	ok(added == lengthof(times) && entity_round_trip(e), "panes at the ends of time come back");
	free_entity(ref);
}

/* ---- any bytes ------------------------------------------------------------------------- */

#define CORPUS	24

static StringInfoData corpus[CORPUS];

static void
make_corpus(void)
{
	for (int n = 0; n < CORPUS; n++)
	{
		FeRef		ref = new_entity(n, n % 5 == 0);
		FeEntity   *e = fe_heap_ptr(ref);

		for (int i = 0; i < n / 2; i++)
			random_row(e, n % 3, 9000 * DAY + i);
		initStringInfo(&corpus[n]);
		fe_image_write(layout, e, &corpus[n]);
		printf("# image %d: %d bytes\n", n, corpus[n].len);
		free_entity(ref);
	}
}

/* One of the usual ways in which bytes go wrong. */
static void
mutate(StringInfo s)
{
	const StringInfoData *other = &corpus[below(CORPUS)];
	int			at = below(s->len);
	int			n = 1 + below(9);

	switch (below(7))
	{
		case 0:
			s->data[at] ^= 1 << below(8);
			break;
		case 1:
			s->data[at] = (char) below(256);
			break;
		case 2:
			s->data[at] = (char) (below(2) ? 0xFF : 0x80);
			break;
		case 3:
			s->len = at + 1;
			break;
		case 4:
			n = Min(s->len - at, n);
			memset(s->data + at, below(2) ? 0xFF : 0, n);
			break;
		case 5:					/* bytes are missing */
			n = Min(s->len - at, n);
			memmove(s->data + at, s->data + at + n, s->len - at - n);
			s->len = Max(s->len - n, 1);
			break;
		default:				/* of another one */
			n = Min(Min(s->len - at, 4 * n), other->len);
			memcpy(s->data + at, other->data + below(other->len - n + 1), n);
	}
}

static void
test_any_bytes(int times)
{
	int			accepted = 0;
	int			refused = 0;

	for (int i = 0; i < times; i++)
	{
		const StringInfoData *from = &corpus[below(CORPUS)];
		StringInfo	s = buffer();
		const char *why;
		char	   *image;
		FeRef		ref;

		appendBinaryStringInfo(s, from->data, from->len);
		for (int n = below(4); n >= 0; n--)
			mutate(s);
		image = exactly(s->data, s->len);
		ref = build(image, s->len, &why);
		if (ref != 0)
		{
			accepted++;
			use(ref);
		}
		else
			refused++;
		pfree(image);
	}
	printf("# of %d mutations %d were refused\n", times, refused);
	ok(accepted > 0 && refused > accepted, "any bytes are refused, or are state");
	ok(fe_heap_used(heap) == 0, "what was refused has left nothing in the heap");
}

/* Every image, cut at every place. */
static void
test_cut_off(void)
{
	bool		good = true;

	for (int n = 0; n < CORPUS; n++)
	{
		for (int len = 0; len < corpus[n].len; len++)
		{
			char	   *image = exactly(corpus[n].data, len);
			const char *why;

			good &= build(image, len, &why) == 0;
			pfree(image);
		}
	}
	ok(good, "an image that is cut off is refused, wherever");
}

/* ---- chunks ------------------------------------------------------------------------------ */

static void
test_chunks(void)
{
	StringInfoData out;
	StringInfoData scratch;
	FeChunk		header = {0};
	FeChunk		chunk;
	const char *why;
	const char *pos;
	const char *image;
	Size		len;
	int			n = 0;
	bool		good = true;

	initStringInfo(&out);
	initStringInfo(&scratch);
	fe_chunk_begin(&out, 1);
	for (int i = 0; i < 10; i++)
	{
		FeRef		ref = new_entity(i, false);

		fe_chunk_add(&out, layout, fe_heap_ptr(ref), &scratch);
		free_entity(ref);
	}
	header.state_version = 7;
	header.fingerprint = fe_layout_fingerprint(&plan);
	header.nentities = 10;
	header.ntracks = 1;
	header.cutoff[0] = -5;
	fe_chunk_finish(&out, &header);

	ok(fe_chunk_open(&chunk, out.data, out.len, &why), "a chunk is opened");
	ok(chunk.state_version == 7 && chunk.fingerprint == header.fingerprint &&
	   chunk.nentities == 10 && chunk.ntracks == 1 && chunk.cutoff[0] == -5,
	   "its header is what was written");
	for (pos = chunk.entities; fe_chunk_next(&chunk, &pos, &image, &len, &why); n++)
		good &= build(image, len, &why) != 0;
	ok(good && n == 10 && why == NULL, "and its entities are");
	good = true;
	for (int i = 0; i < out.len; i++)
	{
		char	   *copy = exactly(out.data, out.len);

		copy[i] ^= 1 << below(8);
		good &= !fe_chunk_open(&chunk, copy, out.len, &why) && why != NULL;
		pfree(copy);
		copy = exactly(out.data, i);
		good &= !fe_chunk_open(&chunk, copy, i, &why) && why != NULL;
		pfree(copy);
	}
	ok(good, "a chunk with a bit changed, or cut off, is refused with a reason");
	specs[1].flags |= FE_ACC_SQUARES;
	ok(fe_layout_fingerprint(&plan) != header.fingerprint,
	   "another accumulator is another fingerprint");
	specs[1].flags &= ~FE_ACC_SQUARES;
	fe_heap_reset(heap);
}

int
main(void)
{
	heap = fe_heap_create_private((Size) 512 * 1024 * 1024);
	make_specs();
	make_plan_of_all();
	test_kinds();
	test_entities();
	test_far_times();
	make_corpus();
	test_cut_off();
	test_any_bytes(20000);
	test_chunks();
	return done_testing();
}
