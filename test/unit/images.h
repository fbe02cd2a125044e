/*
 * images.h
 *		Entities of every_kind.h's feature view as bytes, and back.  Include it once,
 *		in a test program.
 */
#ifndef FE_TEST_IMAGES_H
#define FE_TEST_IMAGES_H

#include "every_kind.h"
#include "tap.h"

/* ---- bytes -------------------------------------------------------------------------- */

/* An empty buffer, one of four by turns; large, as the double grows by inches. */
static StringInfo
buffer(void)
{
	static StringInfoData buffers[4];
	static int	turn;
	StringInfo	out = &buffers[turn = (turn + 1) % lengthof(buffers)];

	if (out->data == NULL)
	{
		initStringInfo(out);
		enlargeStringInfo(out, 8 * 1024 * 1024);
	}
	resetStringInfo(out);
	return out;
}

/* A copy of exactly this size. */
static char *
exactly(const char *data, Size len)
{
	return memcpy(palloc(len), data, len);
}

/* ---- entities -------------------------------------------------------------------------- */

static FeTable table;

static FeRef
new_entity(int64 id, bool null)
{
	FeKeyProbe	probe = {0};
	char		text[16];
	FeRef		ref;

	probe.values[0] = Int64GetDatum(id);
	probe.nulls[1] = null;
	probe.values[1] = varlena_of(text, snprintf(text, sizeof(text), "m%d", (int) (id % 7)));
	fe_key_pack(&plan, &probe);
	probe.hash = fe_key_hash_keys(&plan, probe.values, probe.nulls);
	ref = fe_entity_create(heap, &table, layout, &probe);
	fe_key_free(&probe);
	return ref;
}

static void
random_row(FeEntity *e, int wild, int64 now)
{
	const FeLayoutTrack *track = &layout->tracks[0];
	int64		ts = now - (int64) (random_bits() % (wild == 0 ? DAY : 40 * DAY));
	int32		added = 0;
	int			sign = below(4) == 0 ? -1 : 1;
	FePane	   *pane = fe_pane_upsert(heap, track, fe_entity_seqs(e), ts, now - 60000000, &added);

	e->nrows += sign;
	e->lsn++;
	pane->rows += sign;
	for (int i = 0; i < track->naccs; i++)
		apply_random(track->accs[i].spec, (char *) pane + track->accs[i].offset, wild, sign);
	for (int i = 0; i < layout->nlifetime; i++)
		apply_random(layout->lifetime_accs[i].spec, (char *) e + layout->lifetime_accs[i].offset,
					 wild, sign);
}

static void
free_entity(FeRef ref)
{
	fe_entity_clear(heap, layout, fe_heap_ptr(ref));
	fe_entity_free(heap, layout, ref);
}

/* The entity that these bytes are, or 0 and why not. */
static FeRef
build(const char *data, Size len, const char **why)
{
	FeEntityImage image;
	FeKeyProbe	probe = {0};
	char	   *key = NULL;
	FeRef		ref = 0;
	Size		used = fe_heap_used(heap);

	*why = "key";
	if (!fe_image_open(&image, data, len))
		*why = image.in.error;
	else
	{
		key = exactly(image.key, image.keylen);
		if (!fe_key_read(&plan, key, image.keylen, image.nullkey, &probe))
			;
		else if (!fe_image_check(layout, &image))
			*why = image.in.error;
		else if (!fe_heap_has_room_for(heap, image.in.room, image.in.largest))
			*why = "memory";
		else
		{
			ref = fe_entity_create(heap, &table, layout, &probe);
			((FeEntity *) fe_heap_ptr(ref))->lsn = image.lsn;
			fe_image_build(heap, layout, &image, fe_heap_ptr(ref));
			if (image.tombstone)
				((FeEntity *) fe_heap_ptr(ref))->flags |= FE_ENTITY_TOMBSTONE;
			if (fe_heap_used(heap) - used > image.in.room)
				ok(false, "an entity takes no more than its image says");
		}
		fe_key_free(&probe);
		pfree(key);
	}
	fe_image_close(&image);
	return ref;
}

/* Writes, builds and writes again. */
static bool
entity_round_trip(FeEntity *e)
{
	StringInfo	first = buffer();
	StringInfo	second = buffer();
	const char *why;
	char	   *image;
	FeRef		ref;
	bool		good;

	fe_image_write(layout, e, first);
	image = exactly(first->data, first->len);
	ref = build(image, first->len, &why);
	good = ref != 0;
	if (good)
	{
		FeEntity   *copy = fe_heap_ptr(ref);

		fe_image_write(layout, copy, second);
		good = first->len == second->len && memcmp(first->data, second->data, first->len) == 0 &&
			copy->hash == e->hash && copy->keylen == e->keylen;
		free_entity(ref);
	}
	else
		printf("# %s\n", why);
	pfree(image);
	return good;
}

/* What was accepted must be state like any other: written, changed, freed. */
static void
use(FeRef ref)
{
	FeEntity   *e = fe_heap_ptr(ref);

	if ((e->flags & FE_ENTITY_TOMBSTONE) == 0 && below(4) == 0)
		random_row(e, below(3), 9000 * DAY);
	if (!entity_round_trip(e))
		ok(false, "what was read can be written and read again");
	free_entity(ref);
}

#endif							/* FE_TEST_IMAGES_H */
