/*
 * window.c
 *		Window arithmetic and the grid of panes.
 *
 * Pure functions, any process, no locks.  All times are microseconds since
 * 2000-01-01 UTC; INT64_MIN and INT64_MAX are the infinities.
 *
 * Every window has a tail (its range's lower end) that only moves forward with
 * T, on a lattice: multiples of the hop for a rolling one, origin + k * width
 * for a tumbling one, every microsecond for an exact one.  The head is T
 * itself, or, in a window that ended some time before T, lies on the tail's
 * lattice and ahead of the tail.  So all that can ever cut a pane at T >= t_min
 * is the part of the lattice from the tail at t_min on, and T.  Membership in a
 * window is one interval of T, [enters, leaves).
 *
 * Windows and the grid are in one file, if a long one: the grid is nothing but what
 * windows do to panes, by the same arithmetic.
 */
#ifndef FE_FRONTEND
#include "postgres.h"
#endif

#include "window/window.h"

#define USEC_PER_SEC	((int64) 1000000)
#define TIME_MIN		INT64_MIN
#define TIME_MAX		INT64_MAX
/* What a timestamp can be: datatype/timestamp.h's MIN_ and END_TIMESTAMP. */
#define STAMP_MIN		(-INT64_C(211813488000000000))
#define STAMP_END		INT64_C(9223371331200000000)

/* Where a window's boundaries can be, and how far behind T the tail is. */
typedef struct Lattice
{
	int64		step;			/* >= 1 */
	int64		offset;
	int64		lag;			/* tail(T) = floor(T - lag) */
} Lattice;

static const int default_hops_s[] = {
	86400, 43200, 21600, 10800, 7200, 3600, 1800, 900, 300, 60, 30, 15, 5, 1
};

/* ---- saturating arithmetic -------------------------------------------- */

static inline int64
add_sat(int64 a, int64 b)
{
	if (b > 0)
		return a > TIME_MAX - b ? TIME_MAX : a + b;
	return a < TIME_MIN - b ? TIME_MIN : a + b;
}

static inline int64
sub_sat(int64 a, int64 b)
{
	if (b > 0)
		return a < TIME_MIN + b ? TIME_MIN : a - b;
	return a > TIME_MAX + b ? TIME_MAX : a - b;
}

/* a mod step, never negative */
static inline int64
modulo(int64 a, int64 step)
{
	int64		rem = a % step;

	return rem < 0 ? rem + step : rem;
}

static int64
gcd(int64 a, int64 b)
{
	while (b != 0)
	{
		int64		rem = a % b;

		a = b;
		b = rem;
	}
	return a;
}

static inline int64
min_time(int64 a, int64 b)
{
	return a < b ? a : b;
}

static inline int64
max_time(int64 a, int64 b)
{
	return a > b ? a : b;
}

static inline bool
is_infinite(int64 t)
{
	return t == TIME_MIN || t == TIME_MAX;
}

/* ---- one window --------------------------------------------------------- */

int64
fe_window_default_hop(int64 width)
{
	for (int i = 0; i < (int) (sizeof(default_hops_s) / sizeof(int)); i++)
	{
		int64		hop = default_hops_s[i] * USEC_PER_SEC;

		if (hop <= width / 100)
			return hop;
	}
	return 0;
}

int64
fe_window_floor_origin(int64 t, int64 step, int64 origin)
{
	int64		rem;

	if (step <= 1)
		return t;
	/* one division where t - origin does not overflow, that is nearly always */
	if (origin > 0 ? t >= TIME_MIN + origin : t <= TIME_MAX + origin)
		rem = modulo(t - origin, step);
	else
	{
		rem = modulo(t, step) - modulo(origin, step);
		if (rem < 0)
			rem += step;
	}
	return sub_sat(t, rem);
}

int64
fe_window_floor(int64 t, int64 step)
{
	return fe_window_floor_origin(t, step, FE_WINDOW_EPOCH);
}

/* How far the window's end is behind T. */
static inline int64
window_before(const FeWindow *w)
{
	return w->has_before ? w->before : 0;
}

/* What the windows hold that are shown at T. */
static FeRange
group_range(const FeWindow *w, int64 T)
{
	FeRange		range = {TIME_MIN + 1, TIME_MAX};
	int64		cut = sub_sat(T, w->retention);

	if (w->retention == 0)
		return range;
	if (w->kind == FE_WINDOW_SESSION)
		range.lo = add_sat(sub_sat(cut, w->width), 1);
	else						/* start of the first that ends after it */
		range.lo = add_sat(fe_window_floor_origin(sub_sat(cut, w->width), w->hop, w->origin),
						   w->hop);
	range.lo = max_time(range.lo, TIME_MIN + 1);
	return range;
}

FeRange
fe_window_range(const FeWindow *w, int64 T)
{
	FeRange		range;

	if (fe_window_is_group(w))
		return group_range(w, T);
	if (w->kind == FE_WINDOW_TUMBLING)
	{
		range.lo = fe_window_floor_origin(T, w->width, w->origin);
		range.hi = add_sat(T, 1);
	}
	else
	{
		int64		head = sub_sat(T, window_before(w));

		range.lo = fe_window_floor(sub_sat(head, w->width), w->hop);
		range.hi = w->has_before ? fe_window_floor(head, w->hop) : add_sat(T, 1);
	}

	/* hi is exclusive and at most +infinity; -infinity needs keeping out */
	range.lo = max_time(range.lo, TIME_MIN + 1);
	range.hi = max_time(range.hi, range.lo);
	return range;
}

FeRange
fe_window_set_range(const FeWindow *ws, FeWindowSet set, int64 T)
{
	FeRange		range = {TIME_MIN, TIME_MAX};

	for (int i = 0; set != 0; i++, set >>= 1)
	{
		FeRange		one;

		if ((set & 1) == 0)
			continue;
		one = fe_window_range(&ws[i], T);
		range.lo = max_time(range.lo, one.lo);
		range.hi = min_time(range.hi, one.hi);
	}
	range.hi = max_time(range.hi, range.lo);
	return range;
}

bool
fe_window_contains(const FeWindow *w, int64 T, int64 ts)
{
	FeRange		range = fe_window_range(w, T);

	return range.lo <= ts && ts < range.hi;
}

/* First lattice point after ts: a boundary there leaves ts behind. */
static int64
window_next_boundary(const FeWindow *w, int64 ts)
{
	if (w->kind == FE_WINDOW_TUMBLING)
		return add_sat(fe_window_floor_origin(ts, w->width, w->origin), w->width);
	return add_sat(fe_window_floor(ts, w->hop), w->hop > 0 ? w->hop : 1);
}

int64
fe_window_enters(const FeWindow *w, int64 ts)
{
	if (is_infinite(ts))
		return TIME_MAX;
	if (fe_window_is_group(w))
		return TIME_MIN;
	if (w->kind == FE_WINDOW_ROLLING && w->has_before)
		return add_sat(window_next_boundary(w, ts), w->before);
	return ts;
}

int64
fe_window_leaves(const FeWindow *w, int64 ts)
{
	int64		boundary;

	if (is_infinite(ts))
		return TIME_MAX;
	if (fe_window_is_group(w))
		return w->retention == 0 || ts == FE_NULL_WINDOW ? TIME_MAX :
			add_sat(fe_group_last_end(w, ts), w->retention);
	boundary = window_next_boundary(w, ts);
	if (w->kind == FE_WINDOW_TUMBLING)
		return boundary;
	return add_sat(add_sat(boundary, w->width), window_before(w));
}

/* ---- windows of GROUP BY ----------------------------------------------- */

static inline bool
is_window(FeRange window)
{
	return window.lo >= STAMP_MIN && window.hi < STAMP_END;
}

bool
fe_group_tumble(const FeWindow *w, int64 ts, FeRange *window)
{
	if (is_infinite(ts) || ts == FE_NULL_WINDOW)
		return false;
	window->lo = fe_window_floor_origin(ts, w->width, w->origin);
	window->hi = add_sat(window->lo, w->width);
	return is_window(*window);
}

int64
fe_group_time(const FeWindow *w, int64 ts, bool isnull)
{
	FeRange		window;

	if (w->kind == FE_WINDOW_TUMBLE)
		return !isnull && fe_group_tumble(w, ts, &window) ? ts : FE_NULL_WINDOW;
	if (isnull || is_infinite(ts))
		return FE_NO_WINDOW;
	if (w->apart)
		return fe_window_floor_origin(ts, w->hop, w->origin);
	window.lo = ts;
	window.hi = fe_group_last_end(w, ts);
	return w->kind == FE_WINDOW_HOP || is_window(window) ? ts : FE_NO_WINDOW;
}

bool
fe_group_next_hop(const FeWindow *w, int64 ts, FeRange *window)
{
	/* start of the first window that ends after ts */
	int64		first = add_sat(fe_window_floor_origin(sub_sat(ts, w->width), w->hop, w->origin),
								w->hop);

	if (window->lo < window->hi)
		first = max_time(first, add_sat(window->lo, w->hop));
	if (first < STAMP_MIN)
		first = add_sat(fe_window_floor_origin(STAMP_MIN - 1, w->hop, w->origin), w->hop);
	window->lo = first;
	window->hi = add_sat(first, w->width);
	return is_window(*window);
}

/* Windows [t, t + gap) that touch are one: as Spark and Flink merge them. */
bool
fe_group_same_session(const FeWindow *w, int64 earlier, int64 later)
{
	return later <= add_sat(earlier, w->width);
}

int64
fe_group_last_end(const FeWindow *w, int64 ts)
{
	if (ts == FE_NULL_WINDOW || is_infinite(ts))
		return TIME_MAX;
	if (w->kind == FE_WINDOW_SESSION)
		return add_sat(ts, w->width);
	return add_sat(fe_window_floor_origin(ts, w->hop, w->origin), w->width);
}

/* ---- the grid's levels -------------------------------------------------- */

/*
 * Levels come in two sorts.  Of a lattice that holds the boundaries of all
 * windows, the finest step is the gcd of theirs; once the windows of short
 * reach are past, the gcd of the rest will do, which is a multiple: one level
 * for each such suffix of the windows sorted by reach.
 *
 * But a pane must have ended before it can be used (the head is exact), and a
 * tumbling window of 30 days would keep a month of points.  So wide gaps
 * between levels are filled by intermediate ones, down to about a second: a
 * busy entity then holds a dozen panes of each level at most.
 */
#define GRID_WIDE_GAP	16
#define GRID_BEST_RATIO 12
#define GRID_MOST_RATIO 1024
#define GRID_FINEST		USEC_PER_SEC

static Lattice
window_lattice(const FeWindow *w)
{
	Lattice		lattice;

	if (fe_window_is_group(w))
	{
		lattice.step = w->kind == FE_WINDOW_SESSION ? 1 :
			w->apart ? w->hop : gcd(w->width, w->hop);
		lattice.offset = modulo(w->origin, lattice.step);
		lattice.lag = TIME_MAX;
	}
	else if (w->kind == FE_WINDOW_TUMBLING)
	{
		lattice.step = w->width;
		lattice.offset = modulo(w->origin, lattice.step);
		lattice.lag = 0;
	}
	else
	{
		lattice.step = w->hop > 0 ? w->hop : 1;
		lattice.offset = modulo(FE_WINDOW_EPOCH, lattice.step);
		lattice.lag = add_sat(w->width, window_before(w));
	}
	return lattice;
}

/* The coarsest lattice that holds the points of both. */
static Lattice
lattice_join(Lattice a, Lattice b)
{
	int64		apart = a.offset > b.offset ?
		a.offset - b.offset : b.offset - a.offset;

	a.step = gcd(gcd(a.step, b.step), apart);
	a.offset = modulo(a.offset, a.step);
	return a;
}

static int64
window_reach(const FeWindow *w)
{
	if (fe_window_is_group(w))
		return TIME_MAX;
	return add_sat(w->width, window_before(w));
}

static void
sort_by_reach(const FeWindow *ws, int nwindows, int *order)
{
	for (int i = 0; i < nwindows; i++)
	{
		int			j = i;

		for (; j > 0 && window_reach(&ws[order[j - 1]]) > window_reach(&ws[i]); j--)
			order[j] = order[j - 1];
		order[j] = i;
	}
}

/* The gcds over suffixes, finest first; a step of 1 is level 0 already. */
static int
suffix_levels(const FeWindow *ws, int nwindows, Lattice *levels)
{
	int			order[FE_MAX_WINDOWS];
	Lattice		coarsest_first[FE_MAX_WINDOWS];
	Lattice		cur = {0, 0, 0};
	int			n = 0;

	sort_by_reach(ws, nwindows, order);
	for (int i = nwindows - 1; i >= 0; i--)
	{
		Lattice		lattice = window_lattice(&ws[order[i]]);

		cur = i == nwindows - 1 ? lattice : lattice_join(cur, lattice);
		if (cur.step <= 1)
			break;
		if (n == 0 || coarsest_first[n - 1].step != cur.step)
			coarsest_first[n++] = cur;
	}
	for (int i = 0; i < n; i++)
		levels[i] = coarsest_first[n - 1 - i];
	return n;
}

/* Leaves out the levels that are least missed until there are at most max. */
static int
thin_levels(Lattice *levels, int n, int max)
{
	while (n > max)
	{
		int			victim = 1;

		for (int i = 2; i < n - 1; i++)
		{
			if (levels[i + 1].step / levels[i - 1].step <
				levels[victim + 1].step / levels[victim - 1].step)
				victim = i;
		}
		for (int i = victim; i < n - 1; i++)
			levels[i] = levels[i + 1];
		n--;
	}
	return n;
}

/*
 * A step between level i and the one below that divides the one and is a
 * multiple of the other; 0 if the gap is narrow or nothing fits.
 */
static int64
step_between(const Lattice *levels, int i, int64 *gap)
{
	int64		step = levels[i].step;
	int64		quotient = i > 0 ? step / levels[i - 1].step : step;
	int64		most = i > 0 ? quotient / 2 : step / GRID_FINEST;

	*gap = i > 0 ? quotient : step / GRID_FINEST;
	if (*gap <= GRID_WIDE_GAP)
		return 0;
	for (int64 ratio = GRID_BEST_RATIO; ratio > 1; ratio--)
	{
		if (quotient % ratio == 0)
			return step / ratio;
	}
	for (int64 ratio = GRID_BEST_RATIO + 1; ratio <= GRID_MOST_RATIO && ratio <= most; ratio++)
	{
		if (quotient % ratio == 0)
			return step / ratio;
	}
	return 0;
}

/* Fills gaps, widest first, while there is room. */
static int
fill_levels(Lattice *levels, int n, int max)
{
	while (n < max)
	{
		int			where = -1;
		int64		widest = 0;
		int64		step = 0;

		for (int i = 0; i < n; i++)
		{
			int64		gap;
			int64		candidate = step_between(levels, i, &gap);

			if (candidate != 0 && gap > widest)
			{
				where = i;
				widest = gap;
				step = candidate;
			}
		}
		if (where < 0)
			break;
		for (int i = n; i > where; i--)
			levels[i] = levels[i - 1];
		levels[where].step = step;
		levels[where].offset = modulo(levels[where].offset, step);
		n++;
	}
	return n;
}

void
fe_grid_init(FeGrid *grid, const FeWindow *ws, int nwindows,
			 const FeWindowSet *sets, int nsets)
{
	Lattice		levels[FE_MAX_WINDOWS];
	int			n;

	grid->nwindows = nwindows;
	for (int i = 0; i < nwindows; i++)
		grid->windows[i] = ws[i];
	grid->nsets = nsets > 0 ? nsets : nwindows;
	for (int i = 0; i < grid->nsets; i++)
		grid->sets[i] = nsets > 0 ? sets[i] : (FeWindowSet) 1 << i;

	grid->timeless = nwindows > 0;
	for (int i = 0; i < nwindows; i++)
		grid->timeless &= fe_window_is_group(&ws[i]);

	n = suffix_levels(ws, nwindows, levels);
	n = thin_levels(levels, n, FE_GRID_LEVELS - 1);
	if (!grid->timeless)
		n = fill_levels(levels, n, FE_GRID_LEVELS - 1);

	grid->nlevels = n + 1;
	grid->step[0] = 1;
	grid->offset[0] = 0;
	grid->aligned[0] = ~(FeWindowSet) 0;
	for (int level = 1; level <= n; level++)
	{
		Lattice    *l = &levels[level - 1];

		grid->step[level] = l->step;
		grid->offset[level] = l->offset;
		grid->aligned[level] = 0;
		for (int i = 0; i < nwindows; i++)
		{
			Lattice		bounds = window_lattice(&ws[i]);

			if (bounds.step % l->step == 0 &&
				modulo(bounds.offset, l->step) == l->offset)
				grid->aligned[level] |= (FeWindowSet) 1 << i;
		}
	}
}

/* ---- questions to the grid ---------------------------------------------- */

int64
fe_grid_cutoff(const FeGrid *grid, int64 t_min)
{
	int64		cutoff = TIME_MAX;

	/* tails only move forward, so the range at t_min tells all */
	for (int i = 0; i < grid->nsets; i++)
		cutoff = min_time(cutoff,
						  fe_window_set_range(grid->windows, grid->sets[i], t_min).lo);
	return cutoff;
}

/* Can a boundary of the window be strictly inside [start, end) at a T >= t_min? */
static bool
window_cuts(const FeWindow *w, int64 start, int64 end, int64 t_min)
{
	bool		tumbling = w->kind == FE_WINDOW_TUMBLING;
	Lattice		all = window_lattice(w);
	int64		step = tumbling ? w->width : w->hop > 0 ? w->hop : 1;
	int64		tail = tumbling ? t_min :	/* before it is rounded down */
		sub_sat(t_min, window_reach(w));
	int64		last;

	if (fe_window_is_group(w))
		return fe_window_floor_origin(end - 1, all.step, all.offset) > start;
	if (tail >= add_sat(end - 1, step))
		return false;			/* passed */
	last = fe_window_floor_origin(end - 1, step,
								  tumbling ? w->origin : FE_WINDOW_EPOCH);
	/* last >= floor(tail), as the tail may still come there */
	return last > start && tail < add_sat(last, step);
}

int
fe_grid_level(const FeGrid *grid, int64 ts, int64 t_min)
{
	if (is_infinite(ts) || ts == FE_NULL_WINDOW)
		return 0;
	if (grid->timeless)
		return grid->nlevels - 1;
	if (ts >= t_min)
		return 0;
	for (int level = grid->nlevels - 1; level > 0; level--)
	{
		int64		start = fe_grid_pane_start(grid, level, ts);
		int64		end = fe_grid_pane_end(grid, level, start);
		FeWindowSet misaligned = ~grid->aligned[level];
		bool		cut = end > t_min;

		if (grid->nwindows < FE_MAX_WINDOWS)
			misaligned &= ((FeWindowSet) 1 << grid->nwindows) - 1;
		for (int i = 0; misaligned != 0 && !cut; i++, misaligned >>= 1)
		{
			if ((misaligned & 1) != 0)
				cut = window_cuts(&grid->windows[i], start, end, t_min);
		}
		if (!cut)
			return level;
	}
	return 0;
}

int64
fe_grid_pane_start(const FeGrid *grid, int level, int64 ts)
{
	if (level == 0)
		return ts;
	return fe_window_floor_origin(ts, grid->step[level], grid->offset[level]);
}

int64
fe_grid_pane_end(const FeGrid *grid, int level, int64 start)
{
	return add_sat(start, level == 0 ? 1 : grid->step[level]);
}

int64
fe_grid_next_change(const FeGrid *grid, int64 start, int64 end, int64 now)
{
	int64		enters[FE_MAX_WINDOWS];
	int64		leaves[FE_MAX_WINDOWS];
	int64		next = TIME_MAX;

	/* wholly inside: from when its last event enters until its first leaves */
	for (int i = 0; i < grid->nwindows; i++)
	{
		enters[i] = fe_window_enters(&grid->windows[i], sub_sat(end, 1));
		leaves[i] = fe_window_leaves(&grid->windows[i], start);
	}
	for (int s = 0; s < grid->nsets; s++)
	{
		FeWindowSet set = grid->sets[s];
		int64		from = TIME_MIN;
		int64		until = TIME_MAX;

		for (int i = 0; set != 0; i++, set >>= 1)
		{
			if ((set & 1) == 0)
				continue;
			from = max_time(from, enters[i]);
			until = min_time(until, leaves[i]);
		}
		if (from >= until)
			continue;			/* never all at once */
		if (from > now)
			next = min_time(next, from);
		else if (until > now)
			next = min_time(next, until);
	}
	return next;
}
