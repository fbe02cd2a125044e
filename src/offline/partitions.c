/*
 * partitions.c
 *		The partitions of a history: a month each, or a day.
 *
 * In the pusher, and in backfill_history().  A partition is made as a table of its own
 * and then attached, for which readers and writers of the others do not wait (ADD
 * and DROP of whole partitions: retention.c).  Bounds are cut where others are in
 * the way: those of months where there are days now, or the user's own.  Where the
 * user has made a default partition none are made: it takes what is in no other.
 */
#include "postgres.h"

#include "access/table.h"
#include "commands/defrem.h"
#include "offline/internal.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define DAYS_UP_TO	(31 * USECS_PER_DAY)	/* a retention this short: partitions of days */

/* ---- those that are there -------------------------------------------------------------- */

static FeTime
bound_time(PartitionBoundInfo bounds, int i)
{
	switch (bounds->kind[i][0])
	{
		case PARTITION_RANGE_DATUM_MINVALUE:
			return PG_INT64_MIN;
		case PARTITION_RANGE_DATUM_MAXVALUE:
			return PG_INT64_MAX;
		default:
			return DatumGetTimestampTz(bounds->datums[i][0]);
	}
}

/* *has_default: there is one for all other times. */
static List *
read_partitions(const FePlan *plan, bool *has_default)
{
	Relation	rel = table_open(plan->history, AccessShareLock);
	PartitionDesc desc = RelationGetPartitionDesc(rel, true);
	PartitionBoundInfo bounds = desc->boundinfo;
	List	   *result = NIL;

	*has_default = bounds != NULL && partition_bound_has_default(bounds);
	for (int i = 0; bounds != NULL && i < bounds->ndatums - 1; i++)
	{
		FeOfflinePartition *p;

		/* what lies above bound i is that of the next one */
		if (bounds->indexes[i + 1] < 0)
			continue;
		p = palloc(sizeof(FeOfflinePartition));
		p->relid = desc->oids[bounds->indexes[i + 1]];
		p->lo = bound_time(bounds, i);
		p->hi = bound_time(bounds, i + 1);
		result = lappend(result, p);
	}
	table_close(rel, NoLock);
	return result;
}

List *
fe_offline_partitions(const FeOffline *h)
{
	bool		has_default;

	return read_partitions(h->plan, &has_default);
}

/* ---- new ones --------------------------------------------------------------------------- */

static FeTime
time_of_date(int year, int month, int day)
{
	return (FeTime) (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
}

static bool
by_day(const FePlan *plan)
{
	int64		retention = plan->options.history_retention;

	return retention > 0 && retention <= DAYS_UP_TO;
}

/* The month or day, in UTC, that holds t; its name. */
static char *
slice_of(const FePlan *plan, FeTime t, FeTime *lo, FeTime *hi)
{
	int64		days = t / USECS_PER_DAY;
	int			year;
	int			month;
	int			day;

	if (t < 0 && t % USECS_PER_DAY != 0)
		days--;
	j2date((int) days + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (by_day(plan))
	{
		*lo = days * USECS_PER_DAY;
		*hi = *lo + USECS_PER_DAY;
		return psprintf("p%04d%02d%02d", year, month, day);
	}
	*lo = time_of_date(year, month, 1);
	*hi = month == 12 ? time_of_date(year + 1, 1, 1) : time_of_date(year, month + 1, 1);
	return psprintf("p%04d%02d", year, month);
}

FeTime
fe_offline_slice_start(const FeOffline *h, FeTime t)
{
	FeTime		lo;
	FeTime		hi;

	(void) slice_of(h->plan, t, &lo, &hi);
	return lo;
}

/* In ISO form with an offset from UTC, whatever DateStyle is. */
char *
fe_offline_time_literal(FeTime t)
{
	return psprintf("'%s'::timestamptz", timestamptz_to_str(t));
}

static void
create_partition(const FePlan *plan, const char *label, FeTime lo, FeTime hi)
{
	Oid			schema = get_rel_namespace(plan->history);
	char	   *name = ChooseRelationName(get_rel_name(plan->history), NULL, label, schema, false);
	char	   *part = quote_qualified_identifier(get_namespace_name(schema), name);
	char	   *table = fe_qualified_relation(plan->history);

	fe_offline_execute(psprintf("CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
								" INCLUDING STORAGE INCLUDING GENERATED)", part, table));
	fe_offline_execute(psprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)",
								table, part, fe_offline_time_literal(lo),
								fe_offline_time_literal(hi)));
}

bool
fe_offline_make_partition(const FePlan *plan, FeTime T, FeTime *covered_lo, FeTime *covered_hi)
{
	FeTime		lo;
	FeTime		hi;
	bool		has_default;
	ListCell   *lc;
	char	   *label = slice_of(plan, T, &lo, &hi);

	foreach(lc, read_partitions(plan, &has_default))
	{
		FeOfflinePartition *p = lfirst(lc);

		if (p->lo <= T && T < p->hi)
		{
			*covered_lo = p->lo;
			*covered_hi = p->hi;
			return true;
		}
		if (p->hi <= T)
			lo = Max(lo, p->hi);
		else
			hi = Min(hi, p->lo);
	}
	if (has_default)
	{
		*covered_lo = lo;		/* it takes what lies between the others */
		*covered_hi = hi;
		return true;
	}
	create_partition(plan, label, lo, hi);
	return false;
}

void
fe_offline_make_room(FeOffline *h, FeTime T)
{
	/* until it is certain */
	h->covered_lo = h->covered_hi = 0;
	(void) fe_offline_make_partition(h->plan, T, &h->covered_lo, &h->covered_hi);
}
