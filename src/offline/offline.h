/*
 * offline.h
 *		The history of feature views: rows of the table that definition/history.h
 *		describes, written by the pusher.
 *
 * A writer belongs to one view and lives in one process.  What has been evaluated
 * is *offered*; a *write* then decides, of all that was offered since the last one,
 * what is news, and appends it in one transaction of its own, as the view's owner.
 * What was recorded of an entity last is kept in private memory, bounded by the
 * number of entities; where it is not known (after a start) it is looked up.
 *
 * An error (the table is gone, the disk is full) costs the write: the history
 * pauses, longer each time, and whoever writes offers everything again afterwards.
 */
#ifndef FE_OFFLINE_H
#define FE_OFFLINE_H

#include "definition/history.h"
#include "definition/plan.h"
#include "state/state.h"

typedef struct FeOffline FeOffline;

/* What is to be recorded of an entity, or of one of its windows. */
typedef struct FeOfflineRow
{
	FeEntityRef ref;			/* ref.ref 0: not in memory any more */
	int64		window;			/* tells windows of an entity apart, where each is recorded */
	FeTime		T;
	TimestampTz created;
	XLogRecPtr	lsn;
	bool		deleted;		/* it does not exist at T: features are not looked at */
	const Datum *keys;			/* as FeHistoryShape.keys */
	const Datum *features;		/* as FeHistoryShape.features */
	const bool *nulls;
} FeOfflineRow;

/* In a transaction, for a view with options.offline; lives in cxt. */
extern FeOffline *fe_offline_create(FePlan *plan, MemoryContext cxt);
extern const FeHistoryShape *fe_offline_shape(const FeOffline *h);

/* May it be written to now, or does it pause? */
extern bool fe_offline_ready(const FeOffline *h, TimestampTz now);
/* ... till then; DT_NOBEGIN: it does not */
extern TimestampTz fe_offline_retry_at(const FeOffline *h);

/*
 * Copies the row, if it may be news.  Nothing is written yet; no transaction is
 * needed; raises no errors but out of memory.
 */
extern void fe_offline_offer(FeOffline *h, const FeOfflineRow *row);
/* So many rows wait for the next write. */
extern int	fe_offline_offered(const FeOffline *h);
/* As it was when so many rows had been offered. */
extern void fe_offline_take_back(FeOffline *h, int offered);

/*
 * An entity whose values are news, but for which it is too early: of this interval
 * it has a row.  To be offered again then.
 */
typedef void (*FeOfflineHeld) (void *arg, FeEntityRef ref, FeTime until);

/*
 * Outside of transactions.  False: it failed, nothing was recorded, what was
 * offered is forgotten, and the history pauses.
 */
extern bool fe_offline_write(FeOffline *h, FeViewShared *shared, FeOfflineHeld held, void *arg);
/* Everything will be offered again: what is known of entities counts no more. */
extern void fe_offline_forget(FeOffline *h);
/* Since then every entity has been offered; one could not be, as it could not be evaluated. */
extern void fe_offline_all_offered(FeOffline *h);
extern void fe_offline_missed(FeOffline *h);

/*
 * Entities that vanished unseen.  begin: from now on all that the history has a
 * last row of, and which is not deleted, is walked through.  step: the next part
 * of it, in a transaction of its own; false: it has come to the end, or pauses.
 * suspect: the next key that may have vanished and is due; is it not there, its
 * deletion is to be offered (ref.ref 0).
 */
extern void fe_offline_walk_begin(FeOffline *h);
extern bool fe_offline_walking(const FeOffline *h);
extern bool fe_offline_walk_step(FeOffline *h, FeViewShared *shared);
extern bool fe_offline_suspect(FeOffline *h, FeTime now, Datum *keys);
/* The first date at which there is a suspect, PG_INT64_MAX = none. */
extern FeTime fe_offline_next_suspect(const FeOffline *h);

/* Drops what is older than history_retention, when it is time to look. */
extern bool fe_offline_retention_is_due(const FeOffline *h, TimestampTz now);
extern void fe_offline_retention_step(FeOffline *h, FeViewShared *shared, TimestampTz now);

#endif							/* FE_OFFLINE_H */
