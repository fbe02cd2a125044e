/* links: src/window/window.c */
/*
 * test_window.c
 *		Unit tests of window arithmetic: the rules of the windows table by hand,
 *		then random windows against brute force.  TAP output; fixed seeds.
 */
#include <inttypes.h>
#include <stdio.h>

#include "window/window.h"
#include "tap.h"

#define SEC		((int64) 1000000)
#define MINUTE	(60 * SEC)
#define HOUR	(60 * MINUTE)
#define DAY		(24 * HOUR)

static void
is(int64 got, int64 expected, const char *name)
{
	ok(got == expected, name);
	if (got != expected)
		printf("# got %" PRId64 ", expected %" PRId64 "\n", got, expected);
}

/* ---- random numbers: the same ones everywhere ---------------------------- */

static uint64 rng = 20240229;

static uint64
next_random(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* lo <= result <= hi */
static int64
between(int64 lo, int64 hi)
{
	return lo + (int64) (next_random() % (uint64) (hi - lo + 1));
}

/* ---- helpers -------------------------------------------------------------- */

/* microseconds since 2000-01-01 of a Unix time in seconds */
static int64
unix_time(int64 seconds)
{
	return seconds * SEC + FE_WINDOW_EPOCH;
}

static FeWindow
rolling(int64 width, int64 hop)
{
	FeWindow	w = {.kind = FE_WINDOW_ROLLING, .width = width, .hop = hop};

	return w;
}

static FeWindow
rolling_before(int64 width, int64 hop, int64 before)
{
	FeWindow	w = {.kind = FE_WINDOW_ROLLING, .width = width, .hop = hop, .has_before = true,
	.before = before};

	return w;
}

static FeWindow
tumbling(int64 width, int64 origin)
{
	FeWindow	w = {.kind = FE_WINDOW_TUMBLING, .width = width, .origin = origin};

	return w;
}

/* Of GROUP BY; a session has no slide. */
static FeWindow
group(FeWindowKind kind, int64 width, int64 slide, int64 origin, int64 retention)
{
	FeWindow	w = {.kind = kind, .width = width, .hop = slide, .origin = origin,
	.retention = retention};

	return w;
}

/* The definition again, with none of the code under test. */
static int64
plain_floor(int64 t, int64 step, int64 origin)
{
	__int128	d = (__int128) t - origin;
	__int128	rem;

	if (step == 0)
		return t;
	rem = d % step;
	if (rem < 0)
		rem += step;
	return (int64) (t - rem);
}

static bool
holds(const FeWindow *w, int64 T, int64 ts)
{
	int64		end = T - w->before;

	if (w->kind == FE_WINDOW_TUMBLING)
		return plain_floor(T, w->width, w->origin) <= ts && ts <= T;
	if (w->has_before)
		return plain_floor(end - w->width, w->hop, FE_WINDOW_EPOCH) <= ts &&
			ts < plain_floor(end, w->hop, FE_WINDOW_EPOCH);
	return plain_floor(T - w->width, w->hop, FE_WINDOW_EPOCH) <= ts && ts <= T;
}

static bool
set_holds(const FeWindow *ws, FeWindowSet set, int64 T, int64 ts)
{
	for (int i = 0; i < FE_MAX_WINDOWS; i++)
	{
		if ((set >> i & 1) && !holds(&ws[i], T, ts))
			return false;
	}
	return true;
}

/* A window of up to 40 units; hops and offsets of every sort. */
static FeWindow
random_window(int64 unit)
{
	static const int widths[] = {1, 2, 3, 5, 6, 8, 12, 20, 24, 30, 36, 40};
	static const int hops[] = {0, 0, 1, 2, 3, 4, 6, 12};
	int64		width = widths[between(0, 11)] * unit;
	int64		hop = hops[between(0, 7)] * unit;

	switch (between(0, 3))
	{
		case 0:
			return tumbling(width, between(0, 1) ? FE_WINDOW_EPOCH : between(-50, 50) * unit);
		case 1:
			return rolling_before(width, hop, between(0, 30) * unit);
		default:
			return rolling(width, hop);
	}
}

static FeGrid
random_grid(int64 unit)
{
	FeGrid		grid;
	FeWindow	ws[FE_MAX_WINDOWS];
	FeWindowSet sets[FE_MAX_WINDOWS];
	int			nwindows = between(0, 9) ? between(1, 5) : between(6, 30);
	int			nsets = between(1, 4);

	for (int i = 0; i < nwindows; i++)
		ws[i] = random_window(unit);
	for (int i = 0; i < nsets; i++)
	{
		sets[i] = (FeWindowSet) 1 << between(0, nwindows - 1);
		if (between(0, 1))
			sets[i] |= (FeWindowSet) 1 << between(0, nwindows - 1);
	}
	fe_grid_init(&grid, ws, nwindows, sets, nsets);
	return grid;
}

/* ---- by hand --------------------------------------------------------------- */

static void
test_default_hop(void)
{
	is(fe_window_default_hop(7 * DAY), HOUR, "default hop of 7 days is 1 hour");
	is(fe_window_default_hop(30 * DAY), 6 * HOUR, "default hop of 30 days is 6 hours");
	is(fe_window_default_hop(90 * DAY), 12 * HOUR, "default hop of 90 days is 12 hours");
	is(fe_window_default_hop(100 * DAY), DAY, "default hop of 100 days is a day");
	is(fe_window_default_hop(3650 * DAY), DAY, "default hop never exceeds a day");
	is(fe_window_default_hop(DAY), 5 * MINUTE, "default hop of a day is 5 minutes");
	is(fe_window_default_hop(HOUR), 30 * SEC, "default hop of an hour is 30 seconds");
	is(fe_window_default_hop(100 * SEC), SEC, "default hop of 100 s is 1 s");
	is(fe_window_default_hop(100 * SEC - 1), 0, "below 100 s the default is exact");
}

static void
test_floor(void)
{
	is(fe_window_floor(unix_time(7 * 86400 + 5), 7 * DAY), unix_time(7 * 86400),
	   "floor aligns to the Unix epoch, not to 2000-01-01");
	is(fe_window_floor(unix_time(-1), HOUR), unix_time(-3600), "floor before 1970 goes down");
	is(fe_window_floor(12345, 0), 12345, "floor by 0 is the identity");
	is(fe_window_floor_origin(3 * HOUR, 2 * HOUR, 90 * MINUTE), 90 * MINUTE, "floor from an origin");
	is(fe_window_floor_origin(HOUR, 2 * HOUR, 90 * MINUTE), -30 * MINUTE, "floor before the origin");
	ok(fe_window_floor(INT64_MAX, DAY) > INT64_MAX - DAY &&
	   fe_window_floor(INT64_MIN, DAY) == INT64_MIN, "floor saturates");
}

static void
test_rolling(void)
{
	FeWindow	w = rolling(7 * DAY, HOUR);
	int64		T = unix_time(1700000000);	/* 22:13:20 */
	int64		tail = unix_time(1700000000 - 7 * 86400 - 13 * 60 - 20);

	is(fe_window_range(&w, T).lo, tail, "rolling: tail is floor(T - W, H)");
	is(fe_window_range(&w, T).hi, T + 1, "rolling: head is T, T included");
	ok(fe_window_contains(&w, T, T) && !fe_window_contains(&w, T, T + 1),
	   "rolling: an event dated after T waits");
	ok(fe_window_contains(&w, T, tail) && !fe_window_contains(&w, T, tail - 1),
	   "rolling: the tail itself belongs to the window");
	is(fe_window_enters(&w, T), T, "rolling: enters at its event time");
	is(fe_window_leaves(&w, tail), tail + HOUR + 7 * DAY, "rolling: leaves with its hop");

	w = rolling(10 * SEC, 0);
	ok(fe_window_contains(&w, T, T - 10 * SEC) && !fe_window_contains(&w, T, T - 10 * SEC - 1),
	   "hop 0: T - W <= ts to the microsecond");
	is(fe_window_leaves(&w, T), T + 10 * SEC + 1, "hop 0: leaves one microsecond after W");
}

static void
test_before(void)
{
	FeWindow	w = rolling_before(7 * DAY, HOUR, 7 * DAY);
	int64		T = unix_time(1700000000);
	int64		head = unix_time(1700000000 - 7 * 86400 - 13 * 60 - 20);

	is(fe_window_range(&w, T).lo, head - 7 * DAY, "before: tail is floor(T - D - W, H)");
	is(fe_window_range(&w, T).hi, head, "before: head is floor(T - D, H), excluded");
	is(fe_window_enters(&w, head), head + HOUR + 7 * DAY, "before: enters with its hop");
	is(fe_window_leaves(&w, head), head + HOUR + 14 * DAY, "before: leaves W later");
	w = rolling_before(SEC, 0, 5 * SEC);
	is(fe_window_enters(&w, 0), 5 * SEC + 1, "before, hop 0: ts < T - D");
	is(fe_window_leaves(&w, 0), 6 * SEC + 1, "before, hop 0: T - D - W <= ts");
}

static void
test_tumbling(void)
{
	FeWindow	w = tumbling(30 * DAY, FE_WINDOW_EPOCH);
	int64		start = unix_time((int64) 655 * 30 * 86400);

	is(fe_window_range(&w, start + DAY).lo, start, "tumbling: start aligned to the Unix epoch");
	is(fe_window_range(&w, start + DAY).hi, start + DAY + 1, "tumbling: up to T, T included");
	is(fe_window_leaves(&w, start), start + 30 * DAY, "tumbling: all leave when the window turns");
	is(fe_window_leaves(&w, start + 30 * DAY - 1), start + 30 * DAY, "tumbling: the last one too");
	is(fe_window_range(&w, start + 30 * DAY).lo, start + 30 * DAY, "tumbling: a start begins a new window");
	w = tumbling(7 * DAY, 2 * DAY);
	is(fe_window_range(&w, 0).lo, -5 * DAY, "tumbling: origin may be after T");
}

static void
test_extremes(void)
{
	FeWindow	ws[4];
	FeGrid		grid;
	static const int64 far[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};
	bool		none = true;

	ws[0] = rolling(7 * DAY, HOUR);
	ws[1] = rolling_before(INT64_MAX, 0, INT64_MAX);
	ws[2] = tumbling(INT64_MAX, INT64_MIN);
	ws[3] = rolling(INT64_MAX, INT64_MAX);
	for (int w = 0; w < 4; w++)
	{
		for (int t = 0; t < 7; t++)
		{
			none = none && !fe_window_contains(&ws[w], far[t], INT64_MIN);
			none = none && !fe_window_contains(&ws[w], far[t], INT64_MAX);
		}
		none = none && fe_window_enters(&ws[w], INT64_MIN) == INT64_MAX;
		none = none && fe_window_enters(&ws[w], INT64_MAX) == INT64_MAX;
	}
	ok(none, "infinite event times are in no window");

	/* whatever comes out, nothing overflows (run with -fsanitize=undefined) */
	fe_grid_init(&grid, ws, 4, NULL, 0);
	for (int t = 0; t < 7; t++)
	{
		for (int s = 0; s < 7; s++)
		{
			for (int w = 0; w < 4; w++)
			{
				fe_window_enters(&ws[w], far[s]);
				fe_window_leaves(&ws[w], far[s]);
			}
			fe_grid_level(&grid, far[s], far[t]);
			fe_grid_next_change(&grid, far[s], far[s], far[t]);
		}
		fe_grid_cutoff(&grid, far[t]);
	}
	ok(true, "arithmetic at the limits saturates");
	is(fe_window_set_range(ws, 0, 0).lo, INT64_MIN, "an empty set holds everything");
}

static int64
step_at(const FeGrid *grid, int64 ts, int64 t_min)
{
	int			level = fe_grid_level(grid, ts, t_min);

	return level == 0 ? 0 : grid->step[level];
}

static void
test_grid(void)
{
	FeGrid		grid;
	FeWindow	ws[3];
	FeWindowSet sets[3];
	int64		now = unix_time((int64) 655 * 30 * 86400 + 20 * 86400);

	ws[0] = rolling(7 * DAY, HOUR);
	ws[1] = rolling(30 * DAY, 6 * HOUR);
	ws[2] = rolling(90 * DAY, 12 * HOUR);
	fe_grid_init(&grid, ws, 3, NULL, 0);
	is(step_at(&grid, now, now), 0, "grid: events at t_min are points");
	is(step_at(&grid, now + DAY, now), 0, "grid: future events are points");
	is(step_at(&grid, now - 2 * HOUR, now), HOUR, "grid: an hour for the 7-day window");
	is(step_at(&grid, now - 7 * DAY, now), HOUR, "grid: up to its tail");
	is(step_at(&grid, now - 7 * DAY - 1, now), 6 * HOUR, "grid: 6 hours past 7 days");
	is(step_at(&grid, now - 30 * DAY - 1, now), 12 * HOUR, "grid: 12 hours past 30 days");
	is(fe_grid_cutoff(&grid, now), now - 90 * DAY, "grid: nothing older than the longest window");
	ok(step_at(&grid, now + 20 * MINUTE, now + 30 * MINUTE) > 0 &&
	   step_at(&grid, now + 20 * MINUTE, now + 30 * MINUTE) < HOUR,
	   "grid: in the hour under way panes are finer, but not points");

	sets[0] = 1 | 4;
	sets[1] = 2;
	fe_grid_init(&grid, ws, 3, sets, 2);
	is(fe_grid_cutoff(&grid, now), now - 30 * DAY, "cut-off: ANDed windows need what all hold");
	sets[1] = 0;
	fe_grid_init(&grid, ws, 3, sets, 2);
	is(fe_grid_cutoff(&grid, now), INT64_MIN, "cut-off: an empty set needs everything");
	fe_grid_init(&grid, NULL, 0, NULL, 0);
	is(fe_grid_cutoff(&grid, now), INT64_MAX, "cut-off: no windows, nothing to keep");
	is(fe_grid_level(&grid, now - DAY, now), 0, "grid without windows: points");

	ws[0] = tumbling(30 * DAY, FE_WINDOW_EPOCH);
	fe_grid_init(&grid, ws, 1, NULL, 0);
	is(step_at(&grid, now - 21 * DAY, now), 30 * DAY, "tumbling: a window that is over is one pane");
	ok(step_at(&grid, now - 10 * DAY, now) >= DAY, "tumbling: the one under way is not kept in points");
	is(fe_grid_next_change(&grid, now - DAY, now - DAY + 1, now), now + 10 * DAY,
	   "next change: when the window turns");

	ws[0] = tumbling(20 * DAY, FE_WINDOW_EPOCH + 40 * MINUTE);
	ws[1] = rolling(7 * DAY, HOUR);
	fe_grid_init(&grid, ws, 2, NULL, 0);
	is(step_at(&grid, now - DAY, now), 20 * MINUTE,
	   "windows aligned differently: panes that suit both");

	ws[0] = rolling(30 * DAY, 0);
	fe_grid_init(&grid, ws, 1, NULL, 0);
	is(grid.nlevels, 1, "hop 0: points only");
	ws[1] = rolling(90 * DAY, 12 * HOUR);
	fe_grid_init(&grid, ws, 2, NULL, 0);
	is(step_at(&grid, now - 29 * DAY, now), 0, "hop 0 beside a longer window: points at first");
	is(step_at(&grid, now - 31 * DAY, now), 12 * HOUR, "then the longer window's panes");
}

/* Panes one busy entity can hold: what a pane's level must have ended for. */
static void
test_busy_entity(void)
{
	FeGrid		grid;
	FeWindow	w = tumbling(30 * DAY, FE_WINDOW_EPOCH);
	int64		now = unix_time((int64) 656 * 30 * 86400) - 1;
	int			npanes = 0;

	fe_grid_init(&grid, &w, 1, NULL, 0);
	for (int64 ts = fe_window_range(&w, now).lo; ts < now; npanes++)
	{
		int			level = fe_grid_level(&grid, ts, now);

		if (level == 0)
			break;
		ts = fe_grid_pane_end(&grid, level, fe_grid_pane_start(&grid, level, ts));
	}
	ok(npanes < 100, "a month of constant events is under 100 panes");
	printf("# %d panes, %d levels\n", npanes, grid.nlevels);
}

/* ---- properties --------------------------------------------------------------- */

static void
prop_contains(void)
{
	int			bad = 0;

	for (int i = 0; i < 300000; i++)
	{
		FeWindow	w = random_window(between(0, 1) ? 1 : SEC + between(0, 9));
		int64		T = between(-1000, 1000) * w.width / 7;
		int64		ts = T - between(-2, 80) * w.width / 30 + between(-2, 2);
		FeRange		r = fe_window_range(&w, T);

		bad += fe_window_contains(&w, T, ts) != holds(&w, T, ts);
		bad += (r.lo <= ts && ts < r.hi) != holds(&w, T, ts);
	}
	is(bad, 0, "contains and range agree with the definition");
}

static void
prop_enters_leaves(void)
{
	int			bad = 0;

	for (int i = 0; i < 8000; i++)
	{
		FeWindow	w = random_window(1);
		int64		ts = between(-500, 500);
		int64		enters = fe_window_enters(&w, ts);
		int64		leaves = fe_window_leaves(&w, ts);

		for (int64 T = ts - 100; T < ts + 200; T++)
			bad += holds(&w, T, ts) != (enters <= T && T < leaves);
	}
	is(bad, 0, "an event is in the window exactly from enters until leaves");
}

static void
prop_set_range(void)
{
	int			bad = 0;

	for (int i = 0; i < 50000; i++)
	{
		FeGrid		grid = random_grid(1);
		int64		T = between(-500, 500);
		int64		ts = T - between(-5, 100);
		FeRange		r = fe_window_set_range(grid.windows, grid.sets[0], T);

		bad += (r.lo <= ts && ts < r.hi) != set_holds(grid.windows, grid.sets[0], T, ts);
	}
	is(bad, 0, "a set's range holds what all its windows hold");
}

/* Is some boundary of a window strictly inside the pane at T? */
static bool
cut_at(const FeGrid *grid, int64 start, int64 end, int64 T)
{
	for (int i = 0; i < grid->nwindows; i++)
	{
		bool		first = holds(&grid->windows[i], T, start);

		/* ranges are intervals: look at the ends, and at a window inside */
		if (first != holds(&grid->windows[i], T, end - 1))
			return true;
		for (int64 ts = start; !first && end - start < 100 && ts < end; ts++)
		{
			if (holds(&grid->windows[i], T, ts))
				return true;
		}
	}
	return false;
}

static bool
cut_later(const FeGrid *grid, int64 start, int64 end, int64 t_min, int64 horizon)
{
	for (int64 T = t_min; T < t_min + horizon; T++)
	{
		if (cut_at(grid, start, end, T))
			return true;
	}
	return false;
}

static void
prop_grid_small(void)
{
	int			cut = 0;
	int			timid = 0;
	int			levels[FE_GRID_LEVELS] = {0};

	for (int i = 0; i < 6000; i++)
	{
		FeGrid		grid = random_grid(1);
		int64		t_min = between(-300, 300);
		int64		ts = t_min - between(-5, 120);
		int			level = fe_grid_level(&grid, ts, t_min);
		int64		start = fe_grid_pane_start(&grid, level, ts);
		int64		end = fe_grid_pane_end(&grid, level, start);

		levels[level]++;
		if (start > ts || ts >= end)
			cut++;
		if (level > 0 && cut_later(&grid, start, end, t_min, 200))
			cut++;
		if (level < grid.nlevels - 1 && ts < t_min)
		{
			start = fe_grid_pane_start(&grid, level + 1, ts);
			end = fe_grid_pane_end(&grid, level + 1, start);
			if (end <= t_min && !cut_later(&grid, start, end, t_min, 200))
				timid++;
		}
	}
	is(cut, 0, "no window ever cuts a pane (microsecond windows, every T)");
	is(timid, 0, "the next coarser pane would be cut, or has not ended");
	ok(levels[1] > 300 && levels[2] > 100, "several levels were met");
}

/* Seconds-wide windows, where gaps between levels are filled. */
static void
prop_grid_large(void)
{
	int			cut = 0;
	int			not_nested = 0;
	int			split = 0;
	int			levels[FE_GRID_LEVELS] = {0};

	for (int i = 0; i < 20000; i++)
	{
		FeGrid		grid = random_grid(between(1, 3) * 10 * SEC);
		int64		t_min = between(-4000 * SEC, 4000 * SEC);
		int64		ts = t_min - between(0, 2000 * SEC);
		int64		other;
		int			level = fe_grid_level(&grid, ts, t_min);
		int64		start = fe_grid_pane_start(&grid, level, ts);
		int64		end = fe_grid_pane_end(&grid, level, start);
		int64		later = t_min + between(0, 1000 * SEC);
		int			later_level = fe_grid_level(&grid, ts, later);
		int64		later_start = fe_grid_pane_start(&grid, later_level, ts);

		levels[level]++;
		for (int j = 0; level > 0 && j < 20; j++)
			cut += cut_at(&grid, start, end, t_min + between(0, j < 3 ? 2 : 2500 * SEC));
		/* the moments when the pane's ends enter or leave, and just around */
		for (int w = 0; level > 0 && w < grid.nwindows; w++)
		{
			int64		T[4] = {fe_window_enters(&grid.windows[w], start),
				fe_window_enters(&grid.windows[w], end - 1),
				fe_window_leaves(&grid.windows[w], start),
			fe_window_leaves(&grid.windows[w], end - 1)};

			for (int j = 0; j < 4; j++)
			{
				cut += T[j] >= t_min && cut_at(&grid, start, end, T[j]);
				cut += T[j] > t_min && cut_at(&grid, start, end, T[j] - 1);
			}
		}
		not_nested += later_level < level || later_start > start ||
			fe_grid_pane_end(&grid, later_level, later_start) < end;
		other = between(start, end - 1);
		split += fe_grid_level(&grid, other, t_min) != level;
	}
	is(cut, 0, "no window ever cuts a pane (windows of minutes)");
	is(not_nested, 0, "the pane at a later t_min contains the earlier one");
	is(split, 0, "all event times of a pane get the same pane");
	ok(levels[1] > 300 && levels[2] > 300 && levels[3] > 30, "several levels were met");
}

static void
prop_levels(void)
{
	int			bad = 0;

	for (int i = 0; i < 20000; i++)
	{
		FeGrid		grid = random_grid(between(0, 1) ? between(1, 100) : HOUR + between(0, 1) * 7);

		bad += grid.nlevels < 1 || grid.nlevels > FE_GRID_LEVELS;
		for (int l = 2; l < grid.nlevels; l++)
		{
			bad += grid.step[l] <= grid.step[l - 1] || grid.step[l] % grid.step[l - 1] != 0;
			bad += (grid.offset[l] - grid.offset[l - 1]) % grid.step[l - 1] != 0;
		}
	}
	is(bad, 0, "each level's step is a multiple of the one before, at its offset");
}

/* More gcds than levels. */
static void
test_many_levels(void)
{
	FeGrid		grid;
	FeWindow	ws[40];
	int			bad = 0;

	for (int i = 0; i < 40; i++)
		ws[i] = rolling(((int64) 2 << i) + i, (int64) 2 << i);
	fe_grid_init(&grid, ws, 40, NULL, 0);
	is(grid.nlevels, FE_GRID_LEVELS, "levels are capped");
	for (int l = 2; l < grid.nlevels; l++)
		bad += grid.step[l] % grid.step[l - 1] != 0;
	is(bad, 0, "and still nested");
	is(grid.step[1], 2, "the finest is kept");
	is(grid.step[FE_GRID_LEVELS - 1], (int64) 2 << 39, "the coarsest is kept");
}

static void
prop_cutoff(void)
{
	int			bad = 0;
	int			loose = 0;

	for (int i = 0; i < 1500; i++)
	{
		FeGrid		grid = random_grid(1);
		int64		t_min = between(-300, 300);
		int64		cutoff = fe_grid_cutoff(&grid, t_min);
		bool		needed = false;

		for (int64 T = t_min; T < t_min + 150; T++)
		{
			for (int s = 0; s < grid.nsets; s++)
			{
				for (int64 ts = cutoff - 60; ts < cutoff; ts++)
					bad += set_holds(grid.windows, grid.sets[s], T, ts);
				needed = needed || set_holds(grid.windows, grid.sets[s], T, cutoff);
			}
		}
		/* tight where each set is one window */
		for (int s = 0; s < grid.nsets; s++)
			needed = needed || (grid.sets[s] & (grid.sets[s] - 1)) != 0;
		loose += !needed;
	}
	is(bad, 0, "no set holds an event before the cut-off at any T >= t_min");
	is(loose, 0, "for single windows the cut-off itself is still held");
}

static void
prop_next_change(void)
{
	int			bad = 0;

	for (int i = 0; i < 5000; i++)
	{
		FeGrid		grid = random_grid(1);
		int64		now = between(-300, 300);
		int64		ts = now - between(-20, 100);
		int			level = fe_grid_level(&grid, ts, now);
		int64		start = fe_grid_pane_start(&grid, level, ts);
		int64		end = fe_grid_pane_end(&grid, level, start);
		int64		next = fe_grid_next_change(&grid, start, end, now);
		int64		expected = INT64_MAX;

		for (int64 T = now + 1; T < now + 300 && expected == INT64_MAX; T++)
		{
			for (int s = 0; s < grid.nsets; s++)
			{
				if (set_holds(grid.windows, grid.sets[s], T, ts) !=
					set_holds(grid.windows, grid.sets[s], T - 1, ts))
					expected = T;
			}
		}
		bad += next != expected;
	}
	is(bad, 0, "next change is the first T at which some set takes or drops the pane");
}

/* ---- windows of GROUP BY ---------------------------------------------------- */

static void
test_tumble(void)
{
	FeWindow	month = group(FE_WINDOW_TUMBLE, 30 * DAY, 30 * DAY, FE_WINDOW_EPOCH, 0);
	FeWindow	lesson = group(FE_WINDOW_TUMBLE, 30 * DAY, 30 * DAY, unix_time(1767312000), 0);
	int64		ts = unix_time(1768521600); /* 2026-01-16 00:00 */
	FeRange		window;

	ok(fe_group_tumble(&month, ts, &window), "a finite time has a window");
	is(window.lo, unix_time(1767744000), "aligned to 1970: from 2026-01-07");
	(void) fe_group_tumble(&lesson, ts, &window);
	is(window.lo, unix_time(1767312000), "aligned to an origin: from 2026-01-02");
	is(window.hi, unix_time(1767312000) + 30 * DAY, "to 2026-02-01");
	ok(!fe_group_tumble(&month, INT64_MAX, &window), "infinity has none");
	ok(!fe_group_tumble(&month, INT64_C(9223371331199999999), &window),
	   "nor has what ends after the last timestamp");
	is(fe_group_time(&month, INT64_MIN, false), FE_NULL_WINDOW, "such rows are kept aside");
	is(fe_group_time(&month, ts, true), FE_NULL_WINDOW, "and so is NULL");
	is(fe_group_time(&month, ts, false), ts, "others by their time");
	is(fe_group_last_end(&lesson, ts), unix_time(1767312000) + 30 * DAY,
	   "it is late when the watermark has come to the window's end");
}

static void
test_hop(void)
{
	FeWindow	w = group(FE_WINDOW_HOP, 10 * MINUTE, 5 * MINUTE, FE_WINDOW_EPOCH, 0);
	int64		noon = unix_time(1704110400);	/* 2024-01-01 12:00 */
	FeRange		window = {0, 0};

	ok(fe_group_next_hop(&w, noon + 8 * MINUTE, &window), "12:08 has a window");
	is(window.lo, noon, "the first of 12:08 begins at 12:00");
	(void) fe_group_next_hop(&w, noon + 8 * MINUTE, &window);
	is(window.lo, noon + 5 * MINUTE, "the next at 12:05");
	(void) fe_group_next_hop(&w, noon + 8 * MINUTE, &window);
	ok(window.lo > noon + 8 * MINUTE, "and that is all");
	is(fe_group_last_end(&w, noon + 8 * MINUTE), noon + 15 * MINUTE, "12:08 is late at 12:15");
	is(fe_group_last_end(&w, noon + 4 * MINUTE), noon + 10 * MINUTE, "12:04 at 12:10");
	is(fe_group_time(&w, 0, true), FE_NO_WINDOW, "NULL is in no window");
	w.apart = true;
	is(fe_group_time(&w, noon + 8 * MINUTE, false), noon + 5 * MINUTE,
	   "kept apart: by the start of the last window");
}

static void
test_session(void)
{
	FeWindow	w = group(FE_WINDOW_SESSION, HOUR, 0, FE_WINDOW_EPOCH, DAY);

	ok(fe_group_same_session(&w, 0, HOUR), "a gap of just that length ends no session");
	ok(!fe_group_same_session(&w, 0, HOUR + 1), "a longer one does");
	is(fe_group_last_end(&w, 7 * HOUR), 8 * HOUR, "an event alone is a session of one gap");
	is(fe_group_time(&w, INT64_MAX, false), FE_NO_WINDOW, "infinity is in none");
	is(fe_window_range(&w, 10 * DAY).lo, 9 * DAY - HOUR + 1, "retention cuts by events");
}

/* All windows by brute force: what is shown, what panes hold, when it goes. */
static void
prop_group(void)
{
	int			bad_range = 0;
	int			bad_leave = 0;
	int			bad_cut = 0;
	int			bad_hops = 0;

	for (int i = 0; i < 20000; i++)
	{
		int64		width = between(1, 40);
		int64		slide = between(1, width);
		int64		retention = between(0, 3) ? between(1, 50) : 0;
		FeWindow	w = group(between(0, 1) ? FE_WINDOW_HOP : FE_WINDOW_TUMBLE, width, slide,
							  between(-50, 50), retention);
		FeGrid		grid;
		int64		T = between(-200, 200);
		int64		ts = T - between(-20, 150);
		FeRange		range;
		FeRange		window = {0, 0};
		int64		start;
		int			level;
		bool		shown;

		if (w.kind == FE_WINDOW_TUMBLE)
			w.hop = slide = width;
		range = fe_window_range(&w, T);
		start = plain_floor(ts, slide, w.origin);	/* of the last window */
		shown = retention == 0 || start + width > T - retention;
		bad_range += shown != (range.lo <= ts && ts < range.hi);
		bad_leave += fe_window_leaves(&w, ts) !=
			(retention == 0 ? INT64_MAX : start + width + retention);

		fe_grid_init(&grid, &w, 1, NULL, 0);
		level = fe_grid_level(&grid, ts, T);
		for (int64 t = fe_grid_pane_start(&grid, level, ts);
			 t < fe_grid_pane_end(&grid, level, fe_grid_pane_start(&grid, level, ts)); t++)
			bad_cut += plain_floor(t, slide, w.origin) != start ||
				plain_floor(t - width, slide, w.origin) != plain_floor(ts - width, slide, w.origin);

		for (int64 s = plain_floor(ts - width, slide, w.origin) + slide; s <= ts; s += slide)
			bad_hops += !fe_group_next_hop(&w, ts, &window) || window.lo != s ||
				window.hi != s + width;
	}
	is(bad_range, 0, "what must be kept is in windows that end after T - retention");
	is(bad_leave, 0, "it leaves when the last of its windows is hidden");
	is(bad_cut, 0, "no window's boundary lies in a pane");
	is(bad_hops, 0, "next_hop gives all windows of a time, in order");
}

/* rolling() beside a window of GROUP BY: panes are cut by both, however old. */
static void
prop_group_grid(void)
{
	int			bad = 0;
	int			timeless = 0;

	for (int i = 0; i < 5000; i++)
	{
		FeWindow	ws[3];
		FeWindowSet sets[2] = {1, 3};
		FeGrid		grid;
		int64		T = between(-100, 400);
		int64		ts = T - between(0, 300);
		int64		start;
		int			level;

		ws[0] = group(FE_WINDOW_HOP, between(2, 30), 0, between(-9, 9), 0);
		ws[0].hop = between(1, ws[0].width);
		ws[1] = random_window(1);
		fe_grid_init(&grid, ws, 2, sets, 2);
		timeless += grid.timeless;
		level = fe_grid_level(&grid, ts, T);
		start = fe_grid_pane_start(&grid, level, ts);
		for (int64 t = start; t < fe_grid_pane_end(&grid, level, start); t++)
		{
			bad += plain_floor(t, ws[0].hop, ws[0].origin) !=
				plain_floor(ts, ws[0].hop, ws[0].origin);
			for (int64 later = T; later < T + 60; later++)
				bad += holds(&ws[1], later, t) != holds(&ws[1], later, ts);
		}
	}
	is(bad, 0, "beside rolling() no boundary of either lies in a pane, at any T to come");
	is(timeless, 0, "and T matters");
}

int
main(void)
{
	test_default_hop();
	test_floor();
	test_rolling();
	test_before();
	test_tumbling();
	test_extremes();
	test_grid();
	test_busy_entity();
	test_many_levels();
	prop_contains();
	prop_enters_leaves();
	prop_set_range();
	prop_grid_small();
	prop_grid_large();
	prop_levels();
	prop_cutoff();
	prop_next_change();
	test_tumble();
	test_hop();
	test_session();
	prop_group();
	prop_group_grid();
	return done_testing();
}
