/*
 * retention.c
 *		Old partitions of a history are dropped.
 *
 * In the pusher, one partition in a transaction.  What an entity's last row in it
 * says holds on: it goes to the beginning of the next partition, or of the one that
 * holds the end of the retention, first, so that the value as of every time within
 * the retention stays what it was.  A lock that
 * is not to be had at once (a training query runs) is not waited for, so that nobody
 * queues behind it: it is tried for again later.  Readers that follow each other without a
 * gap put it off for ever; the log says so, seldom.  A default partition is the user's.
 */
#include "postgres.h"

#include "offline/internal.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define LOOK_EVERY	(60 * 1000)	/* ms */
#define BUSY_EVERY	(2 * 1000)	/* ms, while somebody reads what is to be dropped */
#define TELL_AFTER	(5 * USECS_PER_MINUTE)	/* of that, then after twice the time */

typedef struct Retention
{
	bool		dropped;
	bool		busy;			/* not dropped: it is in use */
} Retention;

/* The last rows of a partition, as of a later time. */
static void
carry_forward(FeOffline *h, const FeOfflinePartition *p, FeTime to)
{
	char	   *keys = fe_offline_keys(h, "");

	fe_offline_make_room(h, to);
	fe_offline_execute(psprintf("INSERT INTO %s (%s) SELECT %s FROM"
								" (SELECT DISTINCT ON (%s) * FROM %s ORDER BY %s, event_timestamp DESC) l"
								" WHERE NOT is_deleted ON CONFLICT (%s, event_timestamp) DO NOTHING",
								fe_qualified_relation(h->plan->history),
								fe_offline_columns(h, "event_timestamp"),
								fe_offline_columns(h, fe_offline_time_literal(to)), keys,
								fe_qualified_relation(p->relid), keys, keys));
}

/* Not after the end of the retention; one that is dropped next, too, is as good as any. */
static FeTime
place_for(const FeOffline *h, const FeOfflinePartition *p, const ListCell *next, FeTime end)
{
	if (next && ((FeOfflinePartition *) lfirst(next))->lo <= end)
		return ((FeOfflinePartition *) lfirst(next))->lo;
	return Max(p->hi, fe_offline_slice_start(h, end));
}

/* DROP TABLE locks both, in that order. */
static bool
lock_at_once(const FeOffline *h, Oid partition)
{
	return ConditionalLockRelationOid(h->plan->history, AccessExclusiveLock) &&
		ConditionalLockRelationOid(partition, AccessExclusiveLock);
}

static void
drop_one(FeOffline *h, void *arg)
{
	Retention  *r = arg;
	FeTime		end = fe_clock_now() - h->plan->options.history_retention;
	List	   *partitions = fe_offline_partitions(h);
	ListCell   *lc;

	foreach(lc, partitions)
	{
		FeOfflinePartition *p = lfirst(lc);

		if (p->hi > end || p->hi == PG_INT64_MAX)
			continue;
		if (!lock_at_once(h, p->relid))
		{
			r->busy = true;
			return;
		}
		carry_forward(h, p, place_for(h, p, lnext(partitions, lc), end));
		fe_offline_execute(psprintf("DROP TABLE %s", fe_qualified_relation(p->relid)));
		h->covered_lo = h->covered_hi = 0;
		r->dropped = true;
		return;
	}
}

/* By the wall clock, and by ours, which tests turn. */
bool
fe_offline_retention_is_due(const FeOffline *h, TimestampTz now)
{
	int64		passed = fe_clock_now() - h->retention_seen;

	return h->plan->options.history_retention > 0 &&
		(now >= h->next_retention || passed < 0 || passed >= LOOK_EVERY * INT64CONST(1000));
}

/* By our clock; in no transaction. */
static void
note_busy(FeOffline *h, FeTime now)
{
	if (h->busy_since == 0 || now < h->busy_since)
	{
		h->busy_since = now;
		h->tell_busy_after = TELL_AFTER;
	}
	if (now - h->busy_since < h->tell_busy_after)
		return;
	ereport(WARNING,
			(errmsg("the history of feature view \"%s\" keeps partitions that are older than its history_retention",
					h->plan->name),
			 errdetail("Since %s they could not be dropped: each time it was tried, somebody used the table.",
					   timestamptz_to_str(h->busy_since)),
			 errhint("It takes a moment without a transaction that has read the history.")));
	while (h->tell_busy_after <= now - h->busy_since)
		h->tell_busy_after *= 2;
}

void
fe_offline_retention_step(FeOffline *h, FeViewShared *shared, TimestampTz now)
{
	Retention	r = {0};
	FeTime		seen = fe_clock_now();

	if (!fe_offline_retention_is_due(h, now))
		return;
	h->next_retention = TimestampTzPlusMilliseconds(now, LOOK_EVERY);
	if (fe_offline_run_aside(h, shared, drop_one, &r) && r.dropped)
	{
		h->next_retention = now;	/* there may be another one */
		h->busy_since = 0;
		return;
	}
	if (r.busy)
	{
		h->next_retention = TimestampTzPlusMilliseconds(now, BUSY_EVERY);
		note_busy(h, seen);
	}
	else
		h->busy_since = 0;
	h->retention_seen = seen;
}
