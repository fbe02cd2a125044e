/*
 * pane.c
 *		The panes of one entity in one track: sorted by time, never overlapping.
 *
 * Levels of a grid nest, so two panes are either disjoint or one holds the
 * other; where a coarser pane is made, the finer ones inside it are combined
 * into it.  Ingest worker only, with the entity's partition lock held
 * exclusively (the functions with a const FeSeq change nothing, and the writer
 * may call them without the lock).
 */
#include "postgres.h"

#include "state/internal.h"

/* FeSeqCompare: a pane against an event time in it. */
static int
compare_pane(const void *element, const void *key, void *arg)
{
	const FePane *pane = element;
	int64		ts = *(const int64 *) key;

	if (ts < pane->start)
		return 1;
	return ts < fe_pane_end(arg, pane) ? 0 : -1;
}

static inline FePane *
pane_at(const FeLayoutTrack *track, const FeSeq *seq, uint32 pos)
{
	return fe_seq_get(seq, track->pane_size, pos);
}

static inline void
combine(FeHeap *heap, const FeLayoutTrack *track, FePane *dst, FePane *src)
{
	dst->rows += src->rows;
	for (int i = 0; i < track->naccs; i++)
	{
		const FeLayoutAcc *acc = &track->accs[i];

		acc->spec->kind->combine(heap, acc->spec, (char *) dst + acc->offset,
								 (char *) src + acc->offset);
	}
}

static inline void
clear_pane(FeHeap *heap, const FeLayoutTrack *track, FePane *pane)
{
	for (int i = 0; i < track->naccs; i++)
		track->accs[i].spec->kind->clear(heap, track->accs[i].spec,
										 (char *) pane + track->accs[i].offset);
}

uint32
fe_pane_first_after(const FeLayoutTrack *track, const FeSeq *seq, int64 ts)
{
	uint32		pos;

	fe_seq_search(seq, track->pane_size, &ts, compare_pane, (void *) track->grid, &pos);
	return pos;
}

/* ---- adding an event ----------------------------------------------------------- */

/*
 * Turns the pane at pos, and all after it that begin before end, into one pane
 * [start, end) of this level.
 */
static FePane *
absorb(FeHeap *heap, const FeLayoutTrack *track, FeSeq *seq, uint32 pos,
	   int64 start, int64 end, int level, int32 *added)
{
	FePane	   *into = pane_at(track, seq, pos);
	uint32		last = pos;

	into->start = start;
	into->level = level;
	while (last + 1 < seq->count)
	{
		FePane	   *pane = pane_at(track, seq, last + 1);

		if (pane->start >= end)
			break;
		combine(heap, track, into, pane);
		last++;
	}
	*added -= last - pos;
	for (; last > pos; last--)
		fe_seq_delete(heap, seq, track->pane_size, last);
	return pane_at(track, seq, pos);
}

FePane *
fe_pane_upsert(FeHeap *heap, const FeLayoutTrack *track, FeSeq *seq,
			   int64 ts, FeTime t_min, int32 *added)
{
	const FeGrid *grid = track->grid;
	FePane	   *pane;
	int64		start = ts;
	int			level = 0;
	bool		found;

	if (ts < t_min || grid->timeless)
	{
		pane = fe_seq_find(seq, track->pane_size, &ts, compare_pane, (void *) grid);
		if (pane)
			return pane;
		level = fe_grid_level(grid, ts, t_min);
	}
	if (level > 0)
	{
		int64		end;
		uint32		pos;

		start = fe_grid_pane_start(grid, level, ts);
		end = fe_grid_pane_end(grid, level, start);
		pos = fe_pane_first_after(track, seq, start);
		if (pos < seq->count && pane_at(track, seq, pos)->start < end)
			return absorb(heap, track, seq, pos, start, end, level, added);
	}

	pane = fe_seq_upsert(heap, seq, track->pane_size, &start, compare_pane,
						 (void *) grid, &found);
	if (!found)
	{
		pane->start = start;
		pane->level = level;
		pane->begins = 0;
		(*added)++;
	}
	return pane;
}

/*
 * Only the last event of a session that has ended can be near, and before: an event
 * that is not late comes after all of them.  Where the next one is of the same
 * session as the one before, that session has not ended.
 */
void
fe_pane_begin_session(const FeLayoutTrack *track, const FeSeq *seq, const FeWindow *group,
					  int64 ts, int64 watermark)
{
	uint32		pos = fe_pane_first_after(track, seq, ts);
	FePane	   *pane = pane_at(track, seq, pos);
	FePane	   *before = pos > 0 ? pane_at(track, seq, pos - 1) : NULL;
	FePane	   *after = pos + 1 < seq->count ? pane_at(track, seq, pos + 1) : NULL;

	pane->begins = before && fe_group_same_session(group, before->start, ts) &&
		fe_group_last_end(group, before->start) <= watermark &&
		!(after && !after->begins && fe_group_same_session(group, before->start, after->start));
	if (after && fe_group_same_session(group, ts, after->start))
		after->begins = 0;
}

/* ---- taking panes away --------------------------------------------------------- */

static bool
all_zero(const FeLayoutTrack *track, const FePane *pane)
{
	const char *bytes = (const char *) pane;

	for (Size i = FE_PANE_ACCS; i < track->pane_size; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

uint32
fe_pane_remove_if_empty(FeHeap *heap, const FeLayoutTrack *track, FeSeq *seq,
						int64 ts, bool certain)
{
	uint32		pos;
	FePane	   *pane = fe_seq_search(seq, track->pane_size, &ts, compare_pane,
									 (void *) track->grid, &pos);

	if (pane == NULL || pane->rows != 0 || !(certain || all_zero(track, pane)))
		return 0;
	clear_pane(heap, track, pane);
	fe_seq_delete(heap, seq, track->pane_size, pos);
	return 1;
}

/* The same for all panes. */
uint32
fe_pane_remove_all_empty(FeHeap *heap, const FeLayoutTrack *track, FeSeq *seq, bool certain)
{
	uint32		removed = 0;

	for (uint32 pos = seq->count; pos-- > 0;)
		removed += fe_pane_remove_if_empty(heap, track, seq,
										   pane_at(track, seq, pos)->start, certain);
	return removed;
}

uint32
fe_pane_drop(FeHeap *heap, const FeLayoutTrack *track, FeSeq *seq, int64 cutoff, int64 *rows)
{
	uint32		n = 0;

	*rows = 0;
	while (n < seq->count)
	{
		FePane	   *pane = pane_at(track, seq, n);

		if (fe_pane_end(track->grid, pane) > cutoff)
			break;
		*rows += pane->rows;
		clear_pane(heap, track, pane);
		n++;
	}
	if (n > 0)
		fe_seq_drop_front(heap, seq, track->pane_size, n);
	return n;
}

/* ---- consolidation --------------------------------------------------------------- */

/* The pane that events of a pane could be in, at best. */
typedef struct Target
{
	int64		start;
	int64		end;
	int			level;
} Target;

static Target
target_of(const FeGrid *grid, const FePane *pane, FeTime t_min)
{
	Target		target;

	target.level = pane->level;
	target.start = pane->start;
	if (pane->start < t_min && pane->level < grid->nlevels - 1)
	{
		int			level = fe_grid_level(grid, pane->start, t_min);

		if (level > pane->level)
		{
			target.level = level;
			target.start = fe_grid_pane_start(grid, level, pane->start);
		}
	}
	target.end = fe_grid_pane_end(grid, target.level, target.start);
	return target;
}

bool
fe_pane_can_consolidate(const FeLayoutTrack *track, const FeSeq *seq, FeTime t_min)
{
	const FeGrid *grid = track->grid;
	int			top = grid->nlevels - 1;
	int64		slot_end = PG_INT64_MIN;	/* of the previous pane, at the top level */
	FeSeqIter	it;
	FePane	   *pane;

	if (seq->count < 2 || top == 0)
		return false;
	fe_seq_iter(&it, seq, track->pane_size, 0);
	while ((pane = fe_seq_next(&it)) != NULL && pane->start < t_min)
	{
		/* only panes in the same slice of the top level can ever meet */
		if (pane->start < slot_end)
		{
			Target		target = target_of(grid, pane, t_min);

			if (target.start < pane->start)
			{
				uint32		pos = fe_pane_first_after(track, seq, target.start);

				if (pane_at(track, seq, pos)->start < pane->start)
					return true;
			}
		}
		else
			slot_end = fe_grid_pane_end(grid, top,
										fe_grid_pane_start(grid, top, pane->start));
	}
	return false;
}

/*
 * From the youngest to the oldest, so that what is saved is left at the front.
 * A pane that has no company in its target stays as it is: it is as exact as
 * it can be.
 */
uint32
fe_pane_consolidate(FeHeap *heap, const FeLayoutTrack *track, FeSeq *seq, FeTime t_min)
{
	const FeGrid *grid = track->grid;
	uint32		kept = fe_pane_first_after(track, seq, t_min);
	Target		target = {0, 0, 0};
	FePane	   *into = NULL;

	/* from kept on: done, or too young */
	for (uint32 pos = kept; pos-- > 0;)
	{
		FePane	   *pane = pane_at(track, seq, pos);

		if (into != NULL && pane->start >= target.start)
		{
			into->start = target.start;
			into->level = target.level;
			combine(heap, track, into, pane);
			continue;
		}
		target = target_of(grid, pane, t_min);
		kept--;
		into = pane;
		if (kept != pos)
		{
			into = pane_at(track, seq, kept);
			memcpy(into, pane, track->pane_size);
		}
	}
	if (kept > 0)
		fe_seq_drop_front(heap, seq, track->pane_size, kept);
	return kept;
}
