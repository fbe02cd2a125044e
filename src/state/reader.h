/*
 * reader.h
 *		A reader bound to the aggregates it computes (private to state).
 *
 * Aggregates are grouped by track and by range of event times, so that each
 * pane is looked at once and added to all that want it.
 */
#ifndef FE_STATE_READER_H
#define FE_STATE_READER_H

#include "runtime/compat.h"
#include "state/internal.h"

/* An accumulator to add where its range holds the pane. */
typedef struct FeReadAdd
{
	void		(*add) (FeAccRead *r, const void *acc);
	FeAccRead  *read;
	Size		offset;			/* from the start of the pane or entity */
} FeReadAdd;

/* A distinct set of windows; its range at the T of evaluation. */
typedef struct FeReadRange
{
	FeWindowSet set;			/* plan windows */
	FeRange		range;
	int64		rows;			/* in it, of the entity being read */
	int			nadds;
	FeReadAdd  *adds;
} FeReadRange;

typedef struct FeReadTrack
{
	int			track;
	const FeLayoutTrack *layout;
	int64		lo;				/* union of the ranges */
	int64		hi;
	int			nranges;
	FeReadRange *ranges;
} FeReadTrack;

/* An aggregate's result. */
typedef struct FeReadFinal
{
	int			out;			/* in values: keys come first */
	FeAccRead  *read;			/* NULL: a row count */
	const FeAccKind *kind;
	const FeReadRange *range;	/* row count: NULL = of the entity */
} FeReadFinal;

/* A row of an entity: a window of GROUP BY that holds something. */
typedef struct FeReadRow
{
	FeRange		window;
	bool		isnull;			/* of rows that have no window */
	struct FeStateReader *set;	/* what its aggregates have taken in */
} FeReadRow;

/* Why a value cannot be given exactly. */
typedef enum FeReadProblem
{
	FE_READ_OK = 0,
	FE_READ_GONE,				/* the view was released */
	FE_READ_MERGED,				/* a pane straddles a boundary */
	FE_READ_DROPPED				/* events before the cut-off are needed */
} FeReadProblem;

struct FeStateReader
{
	FePlan	   *plan;
	FeViewShared *view;
	FeTable    *table;
	FeLayout   *layout;
	MemoryContext cxt;
	uint32		incarnation;

	int			ntracks;
	FeReadTrack tracks[FE_MAX_TRACKS];
	const FeReadRange *where;	/* NULL: an entity exists while it has rows */
	int			nlifetime;
	FeReadAdd  *lifetime;
	bool		unwindowed;		/* some aggregate has no window */
	int			nfinals;
	FeReadFinal *finals;
	bool		as_owner;		/* some final runs an SQL aggregate */
	bool		runs_code;		/* ... with functions of users */

	bool		bound;
	FeTime		T;				/* that ranges are computed for */

	/* of the read under way */
	FeKeyProbe	probe;
	int64		nrows;
	FeReadProblem problem;
	int64		problem_time;

	/* of a view with a window in GROUP BY: rows of the entity read last */
	const FeWindow *group;		/* NULL: there is one row an entity */
	Bitmapset  *wanted;			/* aggregates; with all_wanted, all */
	bool		all_wanted;
	int			newest;			/* only so many of the windows that have begun; 0 = all */
	bool		complete;		/* these are all there are */
	int			nfound;
	int			max_rows;
	FeReadRow  *rows;			/* each with a set of its own, made when first needed */

	/* scan */
	uint32		groups;
	uint32		next_group;
	FeEntityRef *pending;		/* of the current group */
	int			npending;
	int			max_pending;
};

/*
 * A reader for one row of an entity: aggregates only, bound like r, which reads
 * the rest.
 */
extern FeStateReader *fe_reader_create_set(FeStateReader *r);
/* Under the lock: takes apart what the entity holds (rows.c).  False: see r->problem. */
extern bool fe_rows_collect(FeStateReader *r, const FeEntity *e, FeTime *next_change);
/* One track's panes, or those of one window, into a reader's ranges (read.c). */
extern void fe_read_reset(FeStateReader *r);
extern bool fe_read_pane(FeStateReader *r, FeReadTrack *t, const FePane *pane, int64 end);
/* Results of what has been read; without keys. */
extern void fe_read_results(FeStateReader *r, Datum *values, bool *nulls);
/* What time alone changes about panes of a track. */
typedef struct FeReadChange
{
	uint64		leaving;		/* ranges whose first pane to leave has been met */
	uint64		entering;		/* the same of the first one to enter */
	FeTime		next;
} FeReadChange;

extern void fe_read_note_change(const FePlan *plan, const FeReadTrack *t, const FePane *pane,
								int64 end, FeReadChange *change);

/* Computes the ranges at T; ERROR when lifetime values are not known for T. */
extern void fe_reader_bind(FeStateReader *r, FeTime T);
fe_compat_noreturn extern void fe_reader_raise(FeStateReader *r);

#endif							/* FE_STATE_READER_H */
