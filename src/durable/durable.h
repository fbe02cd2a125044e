/*
 * durable.h
 *		Checkpoints: the state of live views in ordinary tables.
 *
 * The ingest worker decides when; a process of its own, or at shutdown the ingest
 * worker itself, writes.  What is stored is good for recovery only while the
 * replication slot still begins at or before it.
 */
#ifndef FE_DURABLE_H
#define FE_DURABLE_H

#include "postgres.h"
#include "definition/plan.h"
#include "state/state.h"

/* What is stored of one view. */
typedef struct FeStored
{
	XLogRecPtr	lsn;			/* replay starts here */
	int64		full_cycle;		/* chunks from this cycle ... */
	int64		cycle;			/* ... to this one count */
	int64		chunks;			/* so many */
	int64		entities;		/* images in them */
	int64		full_bytes;		/* of the full cycle's chunks */
	int64		more_bytes;		/* of those after it */
	int64		event_time;		/* the highest seen, PG_INT64_MIN = none */
} FeStored;

/*
 * Each inside a transaction of the caller's, who is the ingest worker.
 *
 * find: what is stored for this very definition in this very database, if it is
 * whole; *why is set where there is something that ought to be of use and is not.
 */
extern bool fe_durable_find(const FePlan *plan, FeStored *stored, const char **why);
/* The partitions that what is stored has rows of; NULL: not known. */
extern FePartitions *fe_durable_partitions(const FePlan *plan);
/*
 * Loads it into an empty view.  False: it is not intact,
 * *why says so, and what was loaded is to be thrown away.  ERROR when memory is
 * full.
 */
extern bool fe_durable_load(const FePlan *plan, const FeStored *stored, FeStateWriter *w,
							FeViewShared *view, const char **why);
/* Removes what is stored of a view; of all views but these. */
extern void fe_durable_forget(int32 viewid);
extern void fe_durable_forget_others(List *viewids);

/* ---- history.c: views over changes() ---- */

typedef struct FeHistory
{
	XLogRecPtr	began_lsn;		/* what committed from here on is in the view */
	XLogRecPtr	gap_from;		/* but for its last gap; invalid = none */
	XLogRecPtr	gap_to;
} FeHistory;

/* False: this generation of the view has no history yet. */
extern bool fe_durable_history_find(int32 viewid, int32 generation, FeHistory *history);
/* Its history begins; gaps of an earlier generation are forgotten. */
extern void fe_durable_history_begin(int32 viewid, int32 generation, XLogRecPtr lsn);
/* What committed between these positions is missing. */
extern void fe_durable_history_gap(int32 viewid, XLogRecPtr from, XLogRecPtr to,
								   const char *reason);

/* ---- change_times.c: before_at ---- */

typedef struct FeChangeTime
{
	int32		viewid;
	Oid			source;			/* table */
	bytea	   *key;			/* of the row that was changed */
	XLogRecPtr	lsn;			/* end of the transaction that did it */
	XLogRecPtr	change;			/* position of the change in it */
	TimestampTz at;				/* its commit */
	bool		deleted;
} FeChangeTime;

/* When the row was changed last before this change; false: not known. */
extern bool fe_durable_time_find(const FeChangeTime *change, TimestampTz *at);
/* Adds those of one view among them; times that are there already stay. */
extern void fe_durable_times_add(int32 viewid, const FeChangeTime *times, int n);
/* TRUNCATE, by the transaction that ends at lsn. */
extern void fe_durable_times_truncate(int32 viewid, Oid source, XLogRecPtr lsn);
/* Removes those that nobody looks for again when state is stored at a position; SPI
 * is connected. */
extern void fe_durable_times_prune(int32 viewid, XLogRecPtr since, XLogRecPtr stored);
/* All of a view. */
extern void fe_durable_times_forget(int32 viewid);

/*
 * Writes the cycles that were begun for the live views of the database, in
 * transactions of its own.  at_ease: slowly, as a worker of ours that has time.
 */
extern void fe_durable_write_all(bool at_ease);

extern PGDLLEXPORT void fe_checkpoint_worker_main(Datum dboid);

#endif							/* FE_DURABLE_H */
