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

	/* scan */
	uint32		groups;
	uint32		next_group;
	FeEntityRef *pending;		/* of the current group */
	int			npending;
	int			max_pending;
};

/* Computes the ranges at T; ERROR when lifetime values are not known for T. */
extern void fe_reader_bind(FeStateReader *r, FeTime T);
fe_compat_noreturn extern void fe_reader_raise(FeStateReader *r);

#endif							/* FE_STATE_READER_H */
