/*
 * internal.h
 *		What the files of the offline room share.
 */
#ifndef FE_OFFLINE_INTERNAL_H
#define FE_OFFLINE_INTERNAL_H

#include "access/htup.h"
#include "executor/spi.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "offline/offline.h"

/* What was recorded last of an entity, or of a window of it (memory.c). */
typedef struct FeOfflineKey
{
	FeRef		ref;
	int64		window;
} FeOfflineKey;

typedef struct FeOfflineEntry
{
	FeOfflineKey key;
	uint32		serial;
	bool		left_out;		/* what follows could not be recorded */
	uint32		status;			/* of the hash table */
	uint64		hash;			/* of the features */
	XLogRecPtr	lsn;
	FeTime		T;				/* event_timestamp */
} FeOfflineEntry;

struct offline_hash;

typedef enum FeOfflineState
{
	FE_OFFLINE_NEW,				/* to be recorded */
	FE_OFFLINE_UNKNOWN,			/* what was recorded last is to be looked up */
	FE_OFFLINE_HELD,			/* too early */
	FE_OFFLINE_SAME,			/* is recorded already */
	FE_OFFLINE_LEFT_OUT			/* cannot be recorded: too wide for an index */
} FeOfflineState;

/* A row that was offered. */
typedef struct FeOffered
{
	FeEntityRef ref;
	FeOfflineState state;
	int64		window;
	FeTime		T;
	FeTime		until;			/* held: till then */
	XLogRecPtr	lsn;
	uint64		hash;
	bool		deleted;
	HeapTuple	tuple;			/* by FeOffline.desc */
} FeOffered;

typedef enum FeOfflineStatement
{
	FE_OFFLINE_INSERT,			/* over rows that were offered */
	FE_OFFLINE_LOOKUP,			/* likewise */
	FE_OFFLINE_WALK_FIRST,
	FE_OFFLINE_WALK_NEXT		/* after the keys that are its parameters */
} FeOfflineStatement;
#define FE_OFFLINE_STATEMENTS	4

/* A key whose entity may have vanished. */
typedef struct FeSuspect
{
	dlist_node	node;
	FeTime		due;
	Datum		keys[FLEXIBLE_ARRAY_MEMBER];
} FeSuspect;

struct FeOffline
{
	FePlan	   *plan;
	MemoryContext cxt;
	FeHistoryShape *shape;
	bool		every_change;	/* is recorded, also if it changes no value */

	/* rows as they are handed to statements: number, keys, fixed columns, features */
	TupleDesc	desc;
	MemoryContext slice_cxt;	/* of what was offered */
	FeOffered  *offered;
	int			noffered;
	int			maxoffered;

	struct offline_hash *entries;
	bool		all_offered;	/* every entity has been, since it was last forgotten */
	bool		walked;			/* ... and the history gone through */
	bool		missed;			/* but one that could not be evaluated */
	FeTime		gone_until;		/* T of the latest deletion */

	/* statements, made for the table's name */
	char	   *table;			/* quoted; NULL: none are made */
	SPIPlanPtr	plans[FE_OFFLINE_STATEMENTS];

	FeTime		covered_lo;		/* a partition is there for these times */
	FeTime		covered_hi;

	dlist_head	suspects;		/* by date */
	bool		walking;
	MemoryContext walk_cxt;
	Datum	   *walk_keys;		/* the last ones, NULL: none yet */

	TimestampTz retry_at;		/* paused till then */
	int			retry_delay;	/* ms */
	TimestampTz next_left_out;	/* not told of again before that */
	TimestampTz next_retention;
	FeTime		retention_seen;	/* when old partitions were looked for last */
	FeTime		busy_since;		/* since when none could be dropped, 0: not so */
	int64		tell_busy_after;	/* when that is said next */
};

/* The column of desc that stands for a key, a fixed one, a feature; from 1 on. */
#define FE_OFFLINE_NUMBER		1
#define FE_OFFLINE_KEY(h, i)	(2 + (i))
#define FE_OFFLINE_EVENT(h)		(2 + (h)->shape->nkeys)
#define FE_OFFLINE_CREATED(h)	(3 + (h)->shape->nkeys)
#define FE_OFFLINE_LSN(h)		(4 + (h)->shape->nkeys)
#define FE_OFFLINE_DELETED(h)	(5 + (h)->shape->nkeys)
#define FE_OFFLINE_FEATURE(h, i)	(6 + (h)->shape->nkeys + (i))

#define FE_OFFLINE_ROWS		"offered"	/* the name of the rows in statements */

/* ---- memory.c ---- */
extern void fe_offline_memory_init(FeOffline *h);
extern FeOfflineEntry *fe_offline_known(FeOffline *h, const FeOffered *o);
extern void fe_offline_learn(FeOffline *h, const FeOffered *o, uint64 hash, FeTime T);
extern void fe_offline_unlearn(FeOffline *h, const FeOffered *o);
/* It was tried, and cannot be recorded. */
extern void fe_offline_learn_left_out(FeOffline *h, const FeOffered *o);
/* A last row of this time is a deletion. */
extern void fe_offline_saw_deletion(FeOffline *h, FeTime T);
/* Compares with what is known; sets state and until. */
extern void fe_offline_judge(FeOffline *h, FeOffered *o);
/* The same, of what the table has been asked about: afterwards that is known. */
extern void fe_offline_judge_by(FeOffline *h, FeOffered *o, uint64 hash, FeTime T);
extern uint64 fe_offline_hash(const FeOffline *h, const Datum *features, const bool *nulls);
#define FE_OFFLINE_HASH_DELETED	UINT64CONST(1)
#define FE_OFFLINE_HASH_OTHER	UINT64CONST(2)	/* of none that is offered now */

/* ---- run.c ---- */

/* Work of one transaction, with SPI, as the view's owner. */
typedef void (*FeOfflineWork) (FeOffline *h, void *arg);
/*
 * False: an error, which is shown; the history pauses.  careful: what is done instead
 * where the error is a limit of PostgreSQL's that a row exceeds, or NULL.
 */
extern bool fe_offline_run(FeOffline *h, FeViewShared *shared, FeOfflineWork work,
						   FeOfflineWork careful, void *arg);
/* The same for work that can wait: nothing pauses. */
extern bool fe_offline_run_aside(FeOffline *h, FeViewShared *shared, FeOfflineWork work,
								 void *arg);
/* So many rows were left out, one of them for that reason: counted, and told now and then. */
extern void fe_offline_show_left_out(FeOffline *h, FeViewShared *shared, int n, const char *why);
/* Runs a statement; SPI is connected. */
extern void fe_offline_execute(const char *sql);

/* ---- insert.c ---- */
/* Runs a plan over the offered rows of that state from one number up to another;
 * how many there were.  SPI is connected. */
extern int	fe_offline_execute_over(FeOffline *h, FeOfflineStatement statement,
									FeOfflineState state, int from, int to, int expected);
/* Inserts all that is new; rows that PostgreSQL's limits do not allow are left out,
 * and why the last of them (NULL: none).  How many were inserted. */
extern int	fe_offline_insert_carefully(FeOffline *h, char **why);

/* ---- statements.c ---- */
/* Made when it is needed first, and for the table's name; SPI is connected, with the rows. */
extern SPIPlanPtr fe_offline_statement(FeOffline *h, FeOfflineStatement which);
/* Callback of the writer's memory context. */
extern void fe_offline_forget_plans(void *writer);
/* Lists of the history's columns, each with this prefix; there may be no features. */
extern char *fe_offline_keys(const FeOffline *h, const char *prefix);
extern char *fe_offline_features(const FeOffline *h, const char *prefix);
/* All of them, as rows are inserted; with this in place of event_timestamp. */
extern char *fe_offline_columns(const FeOffline *h, const char *event_timestamp);

/* ---- partitions.c ---- */

typedef struct FeOfflinePartition
{
	Oid			relid;
	FeTime		lo;				/* PG_INT64_MIN, PG_INT64_MAX: no bound */
	FeTime		hi;
} FeOfflinePartition;

/* All but a default one, ascending. */
extern List *fe_offline_partitions(const FeOffline *h);
/* Sees to it that rows of this time have a place; SPI is connected. */
extern void fe_offline_make_room(FeOffline *h, FeTime T);
/*
 * The same without a writer.  True: there was one already, for the times from lo up
 * to hi.
 */
extern bool fe_offline_make_partition(const FePlan *plan, FeTime T, FeTime *lo, FeTime *hi);
/* The beginning of the month or day that has a partition with t in it. */
extern FeTime fe_offline_slice_start(const FeOffline *h, FeTime t);
/* A finite time as a literal of type timestamptz. */
extern char *fe_offline_time_literal(FeTime t);

/* ---- vanished.c ---- */
extern void fe_offline_add_suspect(FeOffline *h, const Datum *keys, FeTime due);

#endif							/* FE_OFFLINE_INTERNAL_H */
