/*
 * window.h
 *		Window arithmetic: which event times a window holds at T, when an event
 *		enters and leaves it, and how events may be cut into panes.
 *
 * Pure functions over int64 microseconds since 2000-01-01 UTC (a TimestampTz);
 * no server state, tested on its own (compiles with FE_FRONTEND defined, with
 * only <stdint.h>-like types).  Alignment is to the Unix epoch in UTC.
 * Infinite event times (INT64_MIN, INT64_MAX) are in no window.  All
 * arithmetic saturates instead of overflowing.
 */
#ifndef FE_WINDOW_H
#define FE_WINDOW_H

#ifdef FE_FRONTEND
#include <stdbool.h>
#include <stdint.h>
typedef int64_t int64;
typedef uint64_t uint64;
typedef uint32_t uint32;
#endif

#define FE_MAX_WINDOWS	64		/* distinct windows of one view */

/* 1970-01-01 UTC: what everything aligns to, and tumbling's default origin. */
#define FE_WINDOW_EPOCH	((int64) -10957 * 86400 * 1000000)

/*
 * Width and hop of a rolling window that begins before all of time (4714 BC) and
 * ends at T, until the year 8869.  A multiple of every usual hop.
 */
#define FE_WINDOW_ALL_TIME	((int64) 2520000 * 86400 * 1000000)

typedef uint64 FeWindowSet;		/* bit i = window i; the windows are ANDed */

typedef enum FeWindowKind
{
	FE_WINDOW_ROLLING,
	FE_WINDOW_TUMBLING,
	/* of GROUP BY: all event times that the windows shown at T hold; see below */
	FE_WINDOW_TUMBLE,
	FE_WINDOW_HOP,
	FE_WINDOW_SESSION
} FeWindowKind;

typedef struct FeWindow
{
	FeWindowKind kind;
	int64		width;			/* W > 0; session: the gap */
	int64		hop;			/* rolling: H >= 0, 0 = exact (a default one
								 * need not divide W); tumble, hop: the slide */
	bool		has_before;		/* rolling(..., before => D) */
	int64		before;			/* D */
	int64		origin;			/* tumbling, tumble, hop: any window's start; 0 is
								 * not the default, FE_WINDOW_EPOCH is */
	int64		retention;		/* tumble, hop, session: how long a window is shown
								 * after its end, 0 = for ever */
	bool		apart;			/* hop: each window has a pane of its own, at its
								 * start; else windows share panes of event times */
} FeWindow;

/* Event times lo <= ts < hi (hi = T + 1 where T itself belongs to it). */
typedef struct FeRange
{
	int64		lo;
	int64		hi;
} FeRange;

/* The default hop of rolling(ts, width): the widest step of at most width / 100. */
extern int64 fe_window_default_hop(int64 width);
/* floor(t, step) from the Unix epoch, or from an origin; step 0 gives t. */
extern int64 fe_window_floor(int64 t, int64 step);
extern int64 fe_window_floor_origin(int64 t, int64 step, int64 origin);

extern FeRange fe_window_range(const FeWindow *w, int64 T);
/* All windows of a set ANDed; an empty set gives everything (INT64 limits). */
extern FeRange fe_window_set_range(const FeWindow *ws, FeWindowSet set, int64 T);
extern bool fe_window_contains(const FeWindow *w, int64 T, int64 ts);

/*
 * First T at which ts is in the window; first T after that at which it is not
 * (it never comes back).  INT64_MAX = never.
 */
extern int64 fe_window_enters(const FeWindow *w, int64 ts);
extern int64 fe_window_leaves(const FeWindow *w, int64 ts);

/*
 * Windows of GROUP BY.  Each event time belongs to one window (tumble, session)
 * or to several (hop); which ones does not depend on T, but for the retention: at T
 * those are hidden that end at or before T - retention.  Of sessions the events
 * are: those that alone would have ended by then.  As an FeWindow, such a one
 * holds what must be kept for the windows that are shown.
 *
 * What has no event time (NULL, infinite, or so far off that a bound would be no
 * timestamp) is in no hop and in no session; tumble() gives NULL, and GROUP BY
 * makes a group of it.  That one is kept as if at FE_NULL_WINDOW.
 */
#define FE_NULL_WINDOW	(INT64_MAX - 1)
#define FE_NO_WINDOW	INT64_MIN

static inline bool
fe_window_is_group(const FeWindow *w)
{
	return w->kind >= FE_WINDOW_TUMBLE;
}

/*
 * The time to keep an event under; isnull: it has none.  Where windows are kept
 * apart that is the start of the last one that it is in.
 */
extern int64 fe_group_time(const FeWindow *w, int64 ts, bool isnull);
/* tumble: the window of ts.  False: it has none. */
extern bool fe_group_tumble(const FeWindow *w, int64 ts, FeRange *window);
/*
 * hop: the first window after *window (all of them, if that is not begun: lo >=
 * hi) that can hold an event at ts or later.  False: there is none.
 */
extern bool fe_group_next_hop(const FeWindow *w, int64 ts, FeRange *window);
/* Are two neighbouring events of one session? */
extern bool fe_group_same_session(const FeWindow *w, int64 earlier, int64 later);
/*
 * End of the last window that an event would be in if there were no other one:
 * when the watermark has come there, it is late.  TIME_MAX: never.
 */
extern int64 fe_group_last_end(const FeWindow *w, int64 ts);

/*
 * Panes.  A grid says how coarse the pane that holds an event time may be, so
 * that at no T >= t_min a boundary of any window falls inside it.  Level 0 is
 * a point (one exact event time); level i > 0 a slice of grid->step[i] us, at
 * offset grid->offset[i].  Steps grow with the level; each is a multiple of
 * the one before.
 */
#define FE_GRID_LEVELS	16

typedef struct FeGrid
{
	int			nwindows;
	FeWindow	windows[FE_MAX_WINDOWS];
	int			nlevels;		/* level 0 included */
	int64		step[FE_GRID_LEVELS];
	int64		offset[FE_GRID_LEVELS];
	/* windows whose every boundary is a boundary of this level too */
	FeWindowSet aligned[FE_GRID_LEVELS];
	/* window sets in use (each an AND): for the cut-off */
	int			nsets;
	FeWindowSet sets[FE_MAX_WINDOWS];
	bool		timeless;		/* windows of GROUP BY only: T is of no matter */
} FeGrid;

/*
 * ws: the windows over one event time; sets: the ANDs in use (bits index ws).
 * No sets = each window by itself.
 */
extern void fe_grid_init(FeGrid *grid, const FeWindow *ws, int nwindows,
						 const FeWindowSet *sets, int nsets);
/* Events before this are in no set's range at any T >= t_min.  INT64_MIN when
 * some set is empty (holds everything), INT64_MAX without windows. */
extern int64 fe_grid_cutoff(const FeGrid *grid, int64 t_min);
/*
 * Coarsest level allowed for the pane that holds ts; events at or after t_min
 * stay points.  Depends on the pane only: all ts of the pane so found get the
 * same level.  A later t_min never gives a finer one.
 */
extern int	fe_grid_level(const FeGrid *grid, int64 ts, int64 t_min);
/* Start of the level's pane that holds ts (ts itself at level 0). */
extern int64 fe_grid_pane_start(const FeGrid *grid, int level, int64 ts);
/* End (exclusive) of the pane: start + step, start + 1 at level 0. */
extern int64 fe_grid_pane_end(const FeGrid *grid, int level, int64 start);
/*
 * Smallest T > now at which some set's membership of a pane [start, end)
 * changes (INT64_MAX = never again).  A pane is in a set's range when all of
 * it is.
 */
extern int64 fe_grid_next_change(const FeGrid *grid, int64 start, int64 end, int64 now);

#endif							/* FE_WINDOW_H */
