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
	uint32		first;			/* pane that the windows of WHERE hold */
	FeTime		until;			/* rows whose windows begin later are not wanted */
	FeTime		next;			/* when the first of them begins */
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

/* Does the row begin too late to be wanted? */
static bool
is_beyond(Walk *walk, FeTime start)
{
	if (start <= walk->until)
		return false;
	walk->next = Min(walk->next, start);
	return true;
}

/* tumble and session, and hop with windows kept apart: each pane is in one window. */
static bool
collect_disjoint(Walk *walk, uint32 pos)
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
		if (is_beyond(walk, row->isnull ? PG_INT64_MAX - 1 : row->window.lo))
			break;
		if (!take_panes(walk, row, &pos))
			return false;
		end_row(r, row);
	}
	return true;
}

/* hop: windows one after the other, where there are panes. */
static bool
collect_hops(Walk *walk, uint32 pos, FeRange window)
{
	FeStateReader *r = walk->r;
	int64		shown = fe_window_range(r->group, r->T).lo;
	const FePane *pane;

	while ((pane = pane_at(walk, pos)) != NULL && pane->start < walk->t->hi)
	{
		FeReadRow  *row;
		uint32		next = pos;

		if (!fe_group_next_hop(r->group, pane->start, &window) || is_beyond(walk, window.lo))
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

/* ---- the newest windows only --------------------------------------------------- */

/* Number of panes before a time; one that holds it is among them. */
static uint32
panes_until(const Walk *walk, FeTime time)
{
	uint32		pos = fe_pane_first_after(walk->t->layout, walk->seq, time);
	const FePane *pane = pane_at(walk, pos);

	return pane != NULL && pane->start <= time ? pos + 1 : pos;
}

/* From the pane before pos back to the beginning of its session. */
static uint32
session_start(const Walk *walk, uint32 pos)
{
	const FePane *head = NULL;
	uint32		start = pos;

	while (pos > walk->first)
	{
		const FePane *pane = pane_at(walk, pos - 1);

		if (pane->rows != 0)
		{
			if (head != NULL && (head->begins ||
								 !fe_group_same_session(walk->r->group, pane->start, head->start)))
				break;
			head = pane;
			start = pos - 1;
		}
		pos--;
	}
	return head == NULL ? walk->first : start;
}

/* Where the last windows begin whose panes are among the first end ones. */
static uint32
newest_disjoint(const Walk *walk, uint32 end)
{
	const FeWindow *group = walk->r->group;
	uint32		pos = end;

	for (int n = 0; n < walk->r->newest && pos > walk->first; n++)
	{
		FeRange		window;

		if (group->kind == FE_WINDOW_SESSION)
			pos = session_start(walk, pos);
		else if (group->apart)
			pos--;
		else
		{
			(void) fe_group_tumble(group, pane_at(walk, pos - 1)->start, &window);
			pos = Max(fe_pane_first_after(walk->t->layout, walk->seq, window.lo), walk->first);
		}
	}
	return pos;
}

/* The same for windows of hop(), of which *window is to be the one before the first. */
static uint32
newest_hop(const Walk *walk, uint32 end, FeRange *window)
{
	const FeWindow *group = walk->r->group;
	FeTime		last = fe_window_floor_origin(walk->r->T, group->hop, group->origin);
	FeTime		back;
	FeTime		start;

	if (end == walk->first)
		return end;
	last = Min(last, fe_window_floor_origin(pane_at(walk, end - 1)->start, group->hop,
											group->origin));
	if (__builtin_mul_overflow(group->hop, walk->r->newest, &back) ||
		__builtin_sub_overflow(last, back, &start))
		return walk->first;		/* all of them */
	window->lo = start;
	window->hi = start + group->width;
	return Max(fe_pane_first_after(walk->t->layout, walk->seq, start + group->hop), walk->first);
}

/*
 * Where to begin, if only the newest of the windows that have begun are wanted.  The
 * last one may hold panes of the future, too.
 */
static uint32
newest_pos(Walk *walk, FeRange *window)
{
	const FeWindow *group = walk->r->group;
	FeTime		T = walk->r->T;
	FeTime		last = T;		/* event time that a window may hold that has begun */
	FeRange		now;
	uint32		pos;

	walk->until = T;
	if (group->kind == FE_WINDOW_TUMBLE && fe_group_tumble(group, T, &now))
		last = now.hi - 1;
	else if (group->kind == FE_WINDOW_HOP && !group->apart)
		last = fe_window_floor_origin(T, group->hop, group->origin) + group->width - 1;
	last = Min(last, walk->t->hi - 1);
	pos = Max(panes_until(walk, last), walk->first);
	return group->kind == FE_WINDOW_HOP && !group->apart ? newest_hop(walk, pos, window) :
		newest_disjoint(walk, pos);
}

/* ---- all of it -------------------------------------------------------------------- */

/*
 * The entity's own change is that of any row; and a window that begins becomes the
 * newest one.
 */
static void
note_changes(const Walk *walk, uint32 pos, FeTime *next_change)
{
	FeStateReader *r = walk->r;
	FeReadChange change = {0, 0, walk->next};
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
	Walk		walk = {.r = r, .t = &r->tracks[0], .until = PG_INT64_MAX, .next = PG_INT64_MAX};
	FeRange		window = {0, 0};
	uint32		pos;
	bool		ok;

	r->nfound = 0;
	r->complete = true;
	walk.seq = &fe_entity_seqs(e)[walk.t->track];
	if (walk.seq->count == 0)
		return true;
	/* what no window of WHERE holds is no event, of a session either */
	walk.first = fe_pane_first_after(walk.t->layout, walk.seq, r->where->range.lo);
	pos = r->newest > 0 ? newest_pos(&walk, &window) : walk.first;
	r->complete = pos == walk.first;
	ok = r->group->kind == FE_WINDOW_HOP && !r->group->apart ? collect_hops(&walk, pos, window) :
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
fe_state_want_newest(FeStateReader *r, int n)
{
	r->newest = n;
}

bool
fe_state_rows_complete(const FeStateReader *r)
{
	return r->group == NULL || r->complete;
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
