/*
 * rows.c
 *		The rows of an entity of a view that has a window in GROUP BY.
 *
 * Any process.  Under the entity's partition lock, shared, its panes are taken
 * apart by windows, each into a set of aggregates of its own: the rows of one
 * entity are all of one moment.  Results are computed after the lock.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "state/reader.h"

/* The next row, empty, with its ranges at T. */
static FeReadRow *
begin_row(FeStateReader *r)
{
	FeReadRow  *row;

	if (r->nfound == r->max_rows)
	{
		r->rows = repalloc_huge(r->rows, 2 * r->max_rows * sizeof(FeReadRow));
		memset(r->rows + r->max_rows, 0, r->max_rows * sizeof(FeReadRow));
		r->max_rows *= 2;
	}
	row = &r->rows[r->nfound];
	if (row->set == NULL)
		row->set = fe_reader_create_set(r);
	fe_read_reset(row->set);
	for (int i = 0; i < r->tracks[0].nranges; i++)
		row->set->tracks[0].ranges[i].range = r->tracks[0].ranges[i].range;
	return row;
}

/* It is a row if the windows of WHERE hold some of it. */
static void
end_row(FeStateReader *r, FeReadRow *row)
{
	if (row->set->where->rows > 0)
		r->nfound++;
}

/* Walks the panes of the entity from where the first window to be shown begins. */
typedef struct Walk
{
	FeStateReader *r;
	FeReadTrack *t;
	const FeSeq *seq;
} Walk;

static const FePane *
pane_at(const Walk *walk, uint32 pos)
{
	return pos < walk->seq->count ?
		fe_seq_get(walk->seq, walk->t->layout->pane_size, pos) : NULL;
}

static bool
take_pane(const Walk *walk, FeReadRow *row, const FePane *pane)
{
	if (fe_read_pane(row->set, &row->set->tracks[0], pane,
					 fe_pane_end(walk->t->layout->grid, pane)))
		return true;
	walk->r->problem = row->set->problem;
	walk->r->problem_time = row->set->problem_time;
	row->set->problem = FE_READ_OK;
	return false;
}

/* Does the pane belong to the next row?  last: the start of the one before, in this row. */
static inline bool
ends_row(const FeWindow *group, const FeReadRow *row, int64 last, const FePane *pane)
{
	if (group->kind == FE_WINDOW_SESSION)
		return last != PG_INT64_MIN &&
			(pane->begins || !fe_group_same_session(group, last, pane->start));
	if (group->apart)
		return pane->start >= row->window.lo + group->hop;
	return pane->start >= row->window.hi && !row->isnull;
}

/* The panes from *pos on that begin before end, which is moved on by a session. */
static bool
take_panes(const Walk *walk, FeReadRow *row, uint32 *pos)
{
	const FeWindow *group = walk->r->group;
	int64		hi = walk->t->hi;
	FeSeqIter	it;
	const FePane *pane;
	int64		last = PG_INT64_MIN;

	fe_seq_iter(&it, walk->seq, walk->t->layout->pane_size, *pos);
	while ((pane = fe_seq_next(&it)) != NULL && pane->start < hi)
	{
		/* rows came and went while the view was built: nothing happened then */
		if (pane->rows == 0)
		{
			(*pos)++;
			continue;
		}
		if (ends_row(group, row, last, pane))
			break;
		last = pane->start;
		if (!take_pane(walk, row, pane))
			return false;
		(*pos)++;
	}
	if (group->kind == FE_WINDOW_SESSION)
		row->window.hi = fe_group_last_end(group, last);
	return true;
}

/* tumble and session, and hop with windows kept apart: each pane is in one window. */
static bool
collect_disjoint(const Walk *walk, uint32 pos)
{
	FeStateReader *r = walk->r;
	const FePane *pane;

	while ((pane = pane_at(walk, pos)) != NULL && pane->start < walk->t->hi)
	{
		FeReadRow  *row;

		if (pane->rows == 0)
		{
			pos++;
			continue;
		}
		row = begin_row(r);
		row->isnull = false;
		if (r->group->kind == FE_WINDOW_TUMBLE)
			row->isnull = !fe_group_tumble(r->group, pane->start, &row->window);
		else
			row->window.lo = pane->start;
		if (r->group->apart)
			row->window.hi = row->window.lo + r->group->width;
		if (!take_panes(walk, row, &pos))
			return false;
		end_row(r, row);
	}
	return true;
}

/* hop: windows one after the other, where there are panes. */
static bool
collect_hops(const Walk *walk, uint32 pos)
{
	FeStateReader *r = walk->r;
	int64		shown = fe_window_range(r->group, r->T).lo;
	FeRange		window = {0, 0};
	const FePane *pane;

	while ((pane = pane_at(walk, pos)) != NULL && pane->start < walk->t->hi)
	{
		FeReadRow  *row;
		uint32		next = pos;

		if (!fe_group_next_hop(r->group, pane->start, &window))
			break;
		if (window.lo >= shown)
		{
			row = begin_row(r);
			row->window = window;
			row->isnull = false;
			if (!take_panes(walk, row, &next))
				return false;
			end_row(r, row);
		}
		/* what the window after this one does not hold any more */
		while (pane != NULL && pane->start < window.lo + r->group->hop)
			pane = pane_at(walk, ++pos);
	}
	return true;
}

/*
 * The entity's own change is that of any row; and a window that begins becomes the
 * newest one.
 */
static void
note_changes(const Walk *walk, uint32 pos, FeTime *next_change)
{
	FeStateReader *r = walk->r;
	FeReadChange change = {0, 0, PG_INT64_MAX};
	FeSeqIter	it;
	const FePane *pane;

	fe_seq_iter(&it, walk->seq, walk->t->layout->pane_size, pos);
	while ((pane = fe_seq_next(&it)) != NULL)
		fe_read_note_change(r->plan, walk->t, pane, fe_pane_end(walk->t->layout->grid, pane),
							&change);
	for (int i = 0; i < r->nfound; i++)
		if (!r->rows[i].isnull && r->rows[i].window.lo > r->T)
			change.next = Min(change.next, r->rows[i].window.lo);
	*next_change = Min(*next_change, change.next);
}

bool
fe_rows_collect(FeStateReader *r, const FeEntity *e, FeTime *next_change)
{
	Walk		walk = {.r = r, .t = &r->tracks[0]};
	uint32		pos;
	bool		ok;

	r->nfound = 0;
	walk.seq = &fe_entity_seqs(e)[walk.t->track];
	if (walk.seq->count == 0)
		return true;
	/* what no window of WHERE holds is no event, of a session either */
	pos = fe_pane_first_after(walk.t->layout, walk.seq, r->where->range.lo);
	ok = r->group->kind == FE_WINDOW_HOP && !r->group->apart ? collect_hops(&walk, pos) :
		collect_disjoint(&walk, pos);
	if (ok && next_change != NULL)
		note_changes(&walk, pos, next_change);
	return ok;
}

/* ---- what others see -------------------------------------------------------------- */

int
fe_state_rows(const FeStateReader *r)
{
	return r->group ? r->nfound : 1;
}

FeRange
fe_state_row_window(const FeStateReader *r, int i)
{
	FeRange		none = {PG_INT64_MAX, PG_INT64_MAX};

	return r->rows[i].isnull ? none : r->rows[i].window;
}

int
fe_state_newest_row(const FeStateReader *r)
{
	int			i = fe_state_rows(r) - 1;

	while (r->group && i >= 0 && fe_state_row_window(r, i).lo > r->T)
		i--;
	return i;
}

void
fe_state_row(FeStateReader *r, int i, Datum *values, bool *nulls)
{
	if (r->group == NULL)
		return;					/* there from the lookup */
	fe_read_results(r->rows[i].set, values, nulls);
	for (int a = 0; a < r->plan->naggs; a++)
		if (r->plan->aggs[a].acc == FE_WINDOW && !r->rows[i].isnull)
		{
			values[r->plan->nkeys + a] = fe_window_datum(r->rows[i].window);
			nulls[r->plan->nkeys + a] = false;
		}
}
