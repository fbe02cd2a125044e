/*
 * retention.c
 *		Old partitions of a history are dropped.
 *
 * In the pusher, one partition in a transaction.  What an entity's last row in it
 * says holds on: it goes to the beginning of the next partition first, so that
 * the value as of every time within the retention stays what it was.  A lock that
 * is not to be had at once (a training query runs) is tried for again later.
 */
#include "postgres.h"

#include "offline/internal.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define LOOK_EVERY	(60 * 1000)	/* ms */

/* The last rows of a partition, as of its end. */
static void
carry_forward(FeOffline *h, const FeOfflinePartition *p)
{
	StringInfoData buf;
	StringInfoData keys;

	initStringInfo(&keys);
	for (int i = 0; i < h->shape->nkeys; i++)
		appendStringInfo(&keys, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(h->plan->columns[h->shape->keys[i]].name));
	fe_offline_make_room(h, p->hi);
	initStringInfo(&buf);
	appendStringInfo(&buf, "INSERT INTO %s (%s) SELECT %s, %s, created, lsn, is_deleted",
					 fe_history_name(h->plan->history), fe_offline_columns(h, ""), keys.data,
					 fe_offline_time_literal(p->hi));
	for (int i = 0; i < h->shape->nfeatures; i++)
		appendStringInfo(&buf, ", %s",
						 quote_identifier(h->plan->columns[h->shape->features[i]].name));
	appendStringInfo(&buf, " FROM (SELECT DISTINCT ON (%s) * FROM %s ORDER BY %s, event_timestamp DESC)"
					 " l WHERE NOT is_deleted ON CONFLICT (%s, event_timestamp) DO NOTHING",
					 keys.data, fe_history_name(p->relid), keys.data, keys.data);
	fe_offline_execute(buf.data);
}

static void
drop_one(FeOffline *h, void *arg)
{
	FeTime		end = fe_clock_now() - h->plan->options.history_retention;
	ListCell   *lc;

	foreach(lc, fe_offline_partitions(h))
	{
		FeOfflinePartition *p = lfirst(lc);

		if (p->hi > end || p->hi == PG_INT64_MAX)
			continue;
		(void) set_config_option("lock_timeout", "100ms", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		carry_forward(h, p);
		fe_offline_execute(psprintf("DROP TABLE %s", fe_history_name(p->relid)));
		h->covered_lo = h->covered_hi = 0;
		*(bool *) arg = true;
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

void
fe_offline_retention_step(FeOffline *h, FeViewShared *shared, TimestampTz now)
{
	bool		dropped = false;
	FeTime		seen = fe_clock_now();

	if (!fe_offline_retention_is_due(h, now))
		return;
	h->next_retention = TimestampTzPlusMilliseconds(now, LOOK_EVERY);
	if (fe_offline_run(h, shared, drop_one, &dropped) && dropped)
		h->next_retention = now;	/* there may be another one */
	else
		h->retention_seen = seen;
}
