/*
 * image.c
 *		One entity in position-independent bytes: written from shared memory,
 *		checked, and built in the heap again.
 *
 * Pure: a layout and bytes, no locks.  Writing needs the entity's partition
 * lock in any mode (the writer itself needs none); building happens in an
 * entity that nobody can see yet.  Integers are image.h's.
 *
 *	flags		1 = tombstone, 2 = some key is NULL
 *	lsn			of the last source change in it
 *	key			its length, the packed key
 * a tombstone ends here
 *	nrows
 *	lifetime	accumulators, in the plan's order
 *	each track	number of panes, panes by time:
 *		head	level, + 16 if the start is written as it is, + 32 if it begins a session
 *		start	else in steps of the level from the first possible one after
 *				the pane before: two panes can neither overlap nor be out of order
 *		rows
 *		accumulators
 */
#include "postgres.h"

#include "aggregate/image.h"
#include "state/image.h"

#define ENTITY_TOMBSTONE	0x01
#define ENTITY_NULLKEY		0x02

#define PANE_LEVEL			0x0F
#define PANE_RAW_START		0x10
#define PANE_BEGINS			0x20

StaticAssertDecl(FE_GRID_LEVELS <= PANE_LEVEL + 1, "levels of a grid must fit");

/* ---- writing -------------------------------------------------------------------- */

static inline void
write_accs(const FeLayoutAcc *accs, int n, const void *at, StringInfo out)
{
	for (int i = 0; i < n; i++)
		accs[i].spec->kind->image_write(accs[i].spec, (const char *) at + accs[i].offset, out);
}

/* The first start of a level's pane at or after a time. */
static inline int64
start_after(const FeGrid *grid, int level, int64 ts)
{
	int64		start = fe_grid_pane_start(grid, level, ts);

	return start < ts ? fe_grid_pane_end(grid, level, start) : start;
}

static inline int64
step_of(const FeGrid *grid, int level)
{
	return level == 0 ? 1 : grid->step[level];
}

/* after: end of the pane before; NULL for the first one. */
static void
write_pane_start(const FeGrid *grid, const FePane *pane, const int64 *after, StringInfo out)
{
	int			level = pane->level;
	int			begins = pane->begins ? PANE_BEGINS : 0;
	int64		step = step_of(grid, level);
	int64		first = after ? start_after(grid, level, *after) : 0;
	uint64		distance = (uint64) pane->start - (uint64) first;

	if (after == NULL || pane->start < first || distance % step != 0)
	{
		fe_image_put(out, level | begins | PANE_RAW_START);
		fe_image_put_signed(out, pane->start);
	}
	else
	{
		fe_image_put(out, level | begins);
		fe_image_put(out, distance / step);
	}
}

static void
write_track(const FeLayoutTrack *track, const FeSeq *seq, StringInfo out)
{
	const int64 *after = NULL;
	int64		end;
	FeSeqIter	it;
	const FePane *pane;

	fe_image_put(out, seq->count);
	fe_seq_iter(&it, seq, track->pane_size, 0);
	while ((pane = fe_seq_next(&it)) != NULL)
	{
		write_pane_start(track->grid, pane, after, out);
		fe_image_put_signed(out, pane->rows);
		write_accs(track->accs, track->naccs, pane, out);
		end = fe_pane_end(track->grid, pane);
		after = &end;
	}
}

void
fe_image_write(const FeLayout *layout, const FeEntity *e, StringInfo out)
{
	bool		tombstone = (e->flags & FE_ENTITY_TOMBSTONE) != 0;

	fe_image_put(out, (tombstone ? ENTITY_TOMBSTONE : 0) |
				 ((e->flags & FE_ENTITY_NULLKEY) ? ENTITY_NULLKEY : 0));
	fe_image_put(out, e->lsn);
	fe_image_put(out, e->keylen);
	fe_image_put_bytes(out, fe_entity_key(layout, e), e->keylen);
	if (tombstone)
		return;
	fe_image_put_signed(out, e->nrows);
	write_accs(layout->lifetime_accs, layout->nlifetime, e, out);
	for (int t = 0; t < layout->ntracks; t++)
		write_track(&layout->tracks[t], &fe_entity_seqs(e)[t], out);
}

/* ---- reading -------------------------------------------------------------------- */

bool
fe_image_open(FeEntityImage *image, const char *data, Size len)
{
	FeImageIn  *in = &image->in;
	uint64		flags;

	fe_image_in_init(in, data, len);
	flags = fe_image_get(in);
	if (flags & ~(uint64) (ENTITY_TOMBSTONE | ENTITY_NULLKEY))
		fe_image_fail(in, "an entity has unknown flags");
	image->tombstone = (flags & ENTITY_TOMBSTONE) != 0;
	image->nullkey = (flags & ENTITY_NULLKEY) != 0;
	image->lsn = fe_image_get(in);
	image->keylen = fe_image_get_count(in, 1);
	image->key = fe_image_get_bytes(in, image->keylen);
	image->content = in->cur;
	return in->error == NULL;
}

static inline void
read_accs(FeHeap *heap, const FeLayoutAcc *accs, int n, void *at, FeImageIn *in)
{
	for (int i = 0; i < n && in->error == NULL; i++)
		accs[i].spec->kind->image_read(heap, accs[i].spec,
									   heap ? (char *) at + accs[i].offset : NULL, in);
}

static void
read_pane_start(const FeGrid *grid, FePane *pane, const int64 *after, FeImageIn *in)
{
	uint64		head = fe_image_get(in);
	int			level = head & PANE_LEVEL;
	int64		distance;

	if (head > (PANE_LEVEL | PANE_RAW_START | PANE_BEGINS) || level >= grid->nlevels ||
		(after == NULL && (head & PANE_RAW_START) == 0))
	{
		fe_image_fail(in, "a pane has an unknown form");
		return;
	}
	pane->level = level;
	pane->begins = (head & PANE_BEGINS) != 0;
	if (head & PANE_RAW_START)
	{
		pane->start = fe_image_get_signed(in);
		if ((after != NULL && pane->start < *after) ||
			fe_grid_pane_start(grid, level, pane->start) != pane->start)
			fe_image_fail(in, "panes are out of order or place");
	}
	else if (__builtin_mul_overflow(fe_image_get(in), step_of(grid, level), &distance) ||
			 __builtin_add_overflow(start_after(grid, level, *after), distance, &pane->start))
		fe_image_fail(in, "the time of a pane is out of range");
	if (fe_pane_end(grid, pane) <= pane->start)
		fe_image_fail(in, "the time of a pane is out of range");
}

/* heap NULL: checks, and adds up what it takes. */
static void
read_track(FeHeap *heap, const FeLayoutTrack *track, FeSeq *seq, FeImageIn *in)
{
	/* a pane has three numbers of its own, an accumulator one at least */
	uint32		n = fe_image_get_count(in, 3 + track->naccs);
	const int64 *after = NULL;
	int64		end;
	FeSeqIter	it;

	if (heap == NULL)
	{
		in->room += fe_seq_load_room(n, track->pane_size);
		in->largest = Max(in->largest, fe_seq_load_largest(n, track->pane_size));
	}
	else
	{
		fe_seq_load(heap, seq, track->pane_size, n);
		fe_seq_iter(&it, seq, track->pane_size, 0);
	}
	for (uint32 i = 0; i < n && in->error == NULL; i++)
	{
		FePane		local = {0};
		FePane	   *pane = heap ? fe_seq_next(&it) : &local;

		read_pane_start(track->grid, pane, after, in);
		pane->rows = fe_image_get_narrow(in, FE_PANE_ROWS_BITS);
		read_accs(heap, track->accs, track->naccs, pane, in);
		if (in->error != NULL)
			return;
		end = fe_pane_end(track->grid, pane);
		after = &end;
	}
}

static void
read_content(FeHeap *heap, const FeLayout *layout, FeEntityImage *image, FeEntity *e)
{
	FeImageIn  *in = &image->in;
	int64		nrows;

	in->cur = image->content;
	if (image->tombstone)
		return;
	nrows = fe_image_get_narrow(in, FE_ENTITY_NROWS_BITS);
	if (heap != NULL)
		e->nrows = nrows;
	read_accs(heap, layout->lifetime_accs, layout->nlifetime, e, in);
	for (int t = 0; t < layout->ntracks && in->error == NULL; t++)
		read_track(heap, &layout->tracks[t], heap ? &fe_entity_seqs(e)[t] : NULL, in);
}

bool
fe_image_check(const FeLayout *layout, FeEntityImage *image)
{
	FeImageIn  *in = &image->in;

	in->room = 0;
	in->largest = 0;
	fe_image_add_room(in, fe_entity_size(layout, image->keylen));
	read_content(NULL, layout, image, NULL);
	if (in->cur != in->end)
		fe_image_fail(in, "bytes are left over");
	return in->error == NULL;
}

void
fe_image_build(FeHeap *heap, const FeLayout *layout, FeEntityImage *image, FeEntity *e)
{
	read_content(heap, layout, image, e);
	Assert(image->in.error == NULL && image->in.cur == image->in.end);
}

void
fe_image_close(FeEntityImage *image)
{
	fe_image_in_free(&image->in);
}
