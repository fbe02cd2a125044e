/*
 * serve.h
 *		Reading features: what the serve room's files share, and what observe
 *		may call.
 */
#ifndef FE_SERVE_H
#define FE_SERVE_H

#include "lib/ilist.h"
#include "utils/palloc.h"

#include "definition/plan.h"
#include "state/state.h"

/*
 * The view's state, once it may be read: live, caught up with the session's
 * own commits where feature_engine.read_your_writes asks for it.  ERROR
 * (object not in prerequisite state) that says how far it is otherwise.
 */
extern FeViewShared *fe_serve_open(FePlan *plan);

struct FeServeLease;

/* A view opened for evaluation: state reader and output program together. */
typedef struct FeServeReader
{
	FePlan	   *plan;
	FeViewShared *shared;
	FeStateReader *reader;
	FeOutputProgram *output;
	FeTime		T;
	const Bitmapset *columns;	/* wanted output columns, NULL = all */
	Datum	   *values;			/* keys, then aggregates */
	bool	   *nulls;
	MemoryContext row_cxt;		/* reset for each entity */
	MemoryContext window_cxt;	/* ... and for each of its rows, where there are several */
	int			next_row;		/* of the entity */
	bool		scanning;		/* a scan has found one */
	MemoryContext keys_cxt;		/* for the caller's keys */

	/* for being used again, see reader.c */
	MemoryContext cxt;			/* all of it */
	dlist_node	node;			/* among the idle ones */
	struct FeServeLease *lease; /* who uses it; NULL: idle */
	Oid			user;			/* whose right to call functions was checked */
	uint64		roles_version;	/* ... and when */
	MemoryContextCallback on_delete;
} FeServeReader;

/*
 * columns: 0-based output columns that are wanted, NULL = all.  The reader is
 * the caller's until it is released or CurrentMemoryContext goes.  A released
 * one is kept for the next that asks for the same; results are gone.
 */
extern FeServeReader *fe_serve_reader_create(FePlan *plan, const Bitmapset *columns, FeTime T);
extern void fe_serve_reader_release(FeServeReader *r);
/*
 * One entity's row, into arrays of plan->ncolumns; columns that are not wanted
 * are NULL.  False: no such entity at T.  Of a view with a window in GROUP BY the
 * first row, by time; fe_serve_next gives the others.
 */
extern bool fe_serve_lookup(FeServeReader *r, const Datum *keys, const bool *keynulls,
							Datum *values, bool *nulls);
extern bool fe_serve_next(FeServeReader *r, Datum *values, bool *nulls);
/* The same, but the row of the newest window that has begun. */
extern bool fe_serve_newest(FeServeReader *r, const Datum *keys, const bool *keynulls,
							Datum *values, bool *nulls);
extern void fe_serve_scan_begin(FeServeReader *r);
extern bool fe_serve_scan_next(FeServeReader *r, Datum *values, bool *nulls);

/* Waits until everything committed before the call is visible in SQL (and in
 * Redis) in all views, or in the one of that name; returns the LSN.
 * timeout_ms < 0: for ever. */
extern XLogRecPtr fe_serve_sync(long timeout_ms, bool redis, bool history, const char *view);

#endif							/* FE_SERVE_H */
