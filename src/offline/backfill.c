/*
 * backfill.c
 *		backfill_history(): rows of a view's history that nobody recorded, computed
 *		by its batch query over the tables as they are now.
 *
 * Runs in the user's backend, all statements as the view's owner in a
 * security-restricted context.  Three sets of rows go from step to step, in
 * tuplestores, which spill to disk: what the query says at T, what the history says
 * as of T, and the rows that the history had in the range before.  At each step
 * those entities get a row whose two values differ.
 *
 * What recorded rows say must stay as it was: nothing is computed at or after the
 * first of them, and where the history goes on after the range, each entity gets a
 * row at that instant that says what it said before.
 *
 * Locks: one backfill of a view at a time; at the end the catalogue of views, as definition
 * commands do; else those of the statements.
 *
 * The file is long because each statement stands beside the step that runs it.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "runtime/compat.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "offline/internal.h"
#include "offline/past.h"

PG_FUNCTION_INFO_V1(fe_backfill_history);

#define MAX_STEPS	100000
#define NO_TIME		PG_INT64_MAX

/* Relations of the statements. */
typedef enum StoreName
{
	STORE_NOW,					/* what the query says at T */
	STORE_BEFORE,				/* what the history says */
	STORE_OWN,					/* its rows after the last step, up to this one */
	STORE_OTHER,				/* filled by a statement over the others */
	STORES
} StoreName;

static const char *const store_names[] = {"fe_now", "fe_before", "fe_own", "fe_other"};

typedef struct Backfill
{
	FePast		past;
	int64		step;
	FeTime		last;			/* the last step's T */
	FeTime		next;			/* the history's first row after that, NO_TIME: none */
	FeTime		partitioned;	/* partitions are there for T before this */
	FeTime		created;
	XLogRecPtr	lsn;
	TupleDesc	desc;			/* of all stores: c0, c1, ..., here, et */
	EphemeralNamedRelationData stores[STORES];
	Tuplestorestate *recorded;	/* the history's rows in the range, by time */
	TupleTableSlot *row;		/* the next of them, or empty */
	Tuplestorestate *kept;		/* what the history says as of next */
	double		nkept;
	char	   *batch;			/* statements that every step runs */
	char	   *differs;
	char	   *insert;
	char	   *take_over;		/* what the history says, with its own rows up to the step */
	char	   *stay;			/* what the query says, but for rows that are there at the step */
	int64		written;
} Backfill;

/* ---- statements ------------------------------------------------------------------ */

/* "n.c0, n.c1, ..., n.here, n.et" */
static void
append_store_columns(const Backfill *bf, StringInfo sql, const char *x)
{
	for (int i = 0; i < bf->past.plan->ncolumns; i++)
		appendStringInfo(sql, "%s.c%d, ", x, i);
	appendStringInfo(sql, "%s.here, %s.et", x, x);
}

/* The history's columns, for a store. */
static char *
select_history(const Backfill *bf, const char *from, const char *rest)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	fe_past_append_columns(&bf->past, &sql);
	appendStringInfo(&sql, ", NOT is_deleted, event_timestamp FROM %s %s", from, rest);
	return sql.data;
}

/* The newest row of each entity under a condition, unless it is gone by that. */
static char *
select_newest(const Backfill *bf, const char *condition)
{
	StringInfoData from;

	initStringInfo(&from);
	fe_past_append_newest(&bf->past, &from, condition);
	return select_history(bf, from.data, "AS h WHERE NOT is_deleted");
}

static char *
select_batch(Backfill *bf)
{
	const FeBatch *b = &bf->past.batch;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	fe_batch_append_columns(&sql, b->plan);
	appendStringInfo(&sql, ", true, NULL::timestamptz FROM %s AS x(", fe_batch_query(b));
	fe_batch_append_columns(&sql, b->plan);
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* Entities whose features are not the same, to the last bit, now and before. */
static void
append_difference(const Backfill *bf, StringInfo sql)
{
	const FeHistoryShape *shape = bf->past.shape;

	appendStringInfoString(sql, " FROM fe_now AS n FULL JOIN fe_before AS b ON ");
	fe_batch_append_key_match(&bf->past.batch, sql, "n", "b");
	appendStringInfoString(sql, " WHERE n.here IS NULL OR b.here IS NULL");
	for (int side = 0; side < 2; side++)
	{
		appendStringInfoString(sql, side == 0 ? " OR ROW(" : ")::record OPERATOR(pg_catalog.*<>) ROW(");
		for (int i = 0; i < shape->nfeatures; i++)
			appendStringInfo(sql, "%s%s.c%d", i ? ", " : "", side == 0 ? "n" : "b",
							 shape->features[i]);
	}
	appendStringInfoString(sql, ")::record");
}

static char *
select_differs(const Backfill *bf)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT");
	append_difference(bf, &sql);
	appendStringInfoString(&sql, " LIMIT 1");
	return sql.data;
}

static char *
insert_differences(const Backfill *bf)
{
	const FeHistoryShape *shape = bf->past.shape;
	const FeColumn *columns = bf->past.plan->columns;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s (", bf->past.table);
	fe_past_append_keys(&bf->past, &sql);
	appendStringInfoString(&sql, ", event_timestamp, created, lsn, is_deleted");
	for (int i = 0; i < shape->nfeatures; i++)
		appendStringInfo(&sql, ", %s", quote_identifier(columns[shape->features[i]].name));
	appendStringInfoString(&sql, ") SELECT ");
	for (int i = 0; i < shape->nkeys; i++)
		appendStringInfo(&sql, "coalesce(n.c%d, b.c%d), ", shape->keys[i], shape->keys[i]);
	appendStringInfo(&sql, "feature_engine.now(), %s, '%X/%X'::pg_lsn, n.here IS NULL",
					 fe_offline_time_literal(bf->created), LSN_FORMAT_ARGS(bf->lsn));
	for (int i = 0; i < shape->nfeatures; i++)
		appendStringInfo(&sql, ", n.c%d", shape->features[i]);
	append_difference(bf, &sql);
	appendStringInfoString(&sql, " ON CONFLICT DO NOTHING");
	return sql.data;
}

/* A store with the history's own rows (under a condition) in place of those of their keys. */
static char *
select_overlaid(const Backfill *bf, StoreName base, const char *condition)
{
	const FeBatch *b = &bf->past.batch;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT * FROM (SELECT DISTINCT ON (");
	fe_batch_append_keys(b, &sql, NULL);
	appendStringInfo(&sql, ") * FROM fe_own WHERE %s ORDER BY ", condition);
	fe_batch_append_keys(b, &sql, NULL);
	appendStringInfoString(&sql, ", et DESC) AS o WHERE here UNION ALL SELECT ");
	append_store_columns(bf, &sql, "b");
	appendStringInfo(&sql, " FROM %s AS b WHERE NOT EXISTS (SELECT FROM fe_own AS o WHERE %s AND ",
					 store_names[base], condition);
	fe_batch_append_key_match(b, &sql, "b", "o");
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* ---- stores ------------------------------------------------------------------------ */

static Tuplestorestate *
new_tuples(void)
{
	return tuplestore_begin_heap(false, false, work_mem);
}

static double
fill(Tuplestorestate *tuples, const char *sql)
{
	DestReceiver *dest = CreateDestReceiver(DestTuplestore);
	SPIExecuteOptions options = {.read_only = true,.dest = dest};

	SetTuplestoreDestReceiverParams(dest, tuples, CurrentMemoryContext, true, NULL, NULL);
	if (SPI_execute_extended(sql, &options) < 0)
		elog(ERROR, "could not execute: %s", sql);
	dest->rDestroy(dest);
	return (double) SPI_processed;
}

static void
set_store(Backfill *bf, StoreName name, Tuplestorestate *tuples, double n)
{
	if (bf->stores[name].reldata)
		tuplestore_end(bf->stores[name].reldata);
	bf->stores[name].reldata = tuples;
	bf->stores[name].md.enrtuples = n;
}

static void
fill_store(Backfill *bf, StoreName name, const char *sql)
{
	Tuplestorestate *tuples = new_tuples();
	double		n = fill(tuples, sql);

	set_store(bf, name, tuples, n);
}

static void
swap_stores(Backfill *bf, StoreName a, StoreName b)
{
	void	   *tuples = bf->stores[a].reldata;
	double		n = bf->stores[a].md.enrtuples;

	bf->stores[a].reldata = bf->stores[b].reldata;
	bf->stores[a].md.enrtuples = bf->stores[b].md.enrtuples;
	bf->stores[b].reldata = tuples;
	bf->stores[b].md.enrtuples = n;
}

static void
make_stores(Backfill *bf)
{
	const FePlan *plan = bf->past.plan;
	TupleDesc	desc = CreateTemplateTupleDesc(plan->ncolumns + 2);

	for (int i = 0; i < plan->ncolumns; i++)
	{
		const FeColumn *c = &plan->columns[i];

		TupleDescInitEntry(desc, i + 1, psprintf("c%d", i), c->type, c->typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, c->collation);
	}
	TupleDescInitEntry(desc, plan->ncolumns + 1, "here", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, plan->ncolumns + 2, "et", TIMESTAMPTZOID, -1, 0);
	bf->desc = desc;
	for (int i = 0; i < STORES; i++)
	{
		EphemeralNamedRelation enr = &bf->stores[i];

		enr->md.name = pstrdup(store_names[i]);
		enr->md.tupdesc = desc;
		enr->md.enrtype = ENR_NAMED_TUPLESTORE;
		set_store(bf, i, new_tuples(), 0);
		if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
			elog(ERROR, "could not register %s", store_names[i]);
	}
}

/* ---- where the history begins and ends ------------------------------------------------ */

static bool
select_time(const char *sql, FeTime *result)
{
	bool		isnull;
	Datum		value;

	if (SPI_execute(sql, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not execute: %s", sql);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	*result = isnull ? NO_TIME : DatumGetTimestampTz(value);
	SPI_freetuptable(SPI_tuptable);
	return !isnull;
}

/* What to look at in turn: partitions by time, or the whole where one has no range. */
static List *
relations_by_time(Oid table)
{
	Relation	rel = relation_open(table, AccessShareLock);
	PartitionDesc partitions = RelationGetPartitionDesc(rel, true);
	List	   *result = NIL;

	if (OidIsValid(get_default_oid_from_partdesc(partitions)))
		result = list_make1_oid(table);
	else
		for (int i = 0; i < partitions->nparts; i++)
			result = lappend_oid(result, partitions->oids[i]);
	relation_close(rel, NoLock);
	return result;
}

/* The least event_timestamp under a condition, NO_TIME: there is none. */
static FeTime
first_time(const Backfill *bf, const char *condition)
{
	ListCell   *lc;
	FeTime		result;

	foreach(lc, relations_by_time(bf->past.plan->history))
		if (select_time(psprintf("SELECT min(event_timestamp) FROM %s WHERE %s",
								 fe_qualified_relation(lfirst_oid(lc)), condition), &result))
			return result;
	return NO_TIME;
}

/*
 * Rows of the pusher are created at the commit of what they show, before they are
 * evaluated; ours come later than their T.  Steps end before the first one of it.
 */
static void
stop_before_recorded(Backfill *bf)
{
	const FePlan *plan = bf->past.plan;
	FeTime		first = first_time(bf, "created <= event_timestamp");

	if (first > bf->last)
		return;
	if (first <= bf->past.from)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("history of feature view \"%s\" is recorded from %s on", plan->name,
						timestamptz_to_str(first)),
				 errdetail("What was served is not computed anew."),
				 errhint("Choose an earlier \"from\".")));
	bf->last = bf->past.from + (first - 1 - bf->past.from) / bf->step * bf->step;
	ereport(NOTICE,
			(errmsg("history of feature view \"%s\" is recorded from %s on and computed up to there",
					plan->name, timestamptz_to_str(first))));
}

/* ---- steps ---------------------------------------------------------------------------- */

/* Only where there is something to put in. */
static void
make_partition(Backfill *bf, FeTime T)
{
	FeTime		lo;
	FeTime		hi;

	if (T < bf->partitioned)
		return;
	if (SPI_execute(bf->differs, true, 1) < 0)
		elog(ERROR, "could not execute: %s", bf->differs);
	SPI_freetuptable(SPI_tuptable);
	if (SPI_processed > 0)
		bf->partitioned = fe_offline_make_partition(bf->past.plan, T, &lo, &hi) ? hi : T + 1;
}

/* A row at T for each entity that fe_now and fe_before tell apart. */
static void
write_differences(Backfill *bf, FeTime T)
{
	make_partition(bf, T);
	if (SPI_execute(bf->insert, false, 0) < 0)
		elog(ERROR, "could not execute: %s", bf->insert);
	bf->written += SPI_processed;
}

static FeTime
time_of_row(const Backfill *bf)
{
	bool		isnull;

	return TupIsNull(bf->row) ? NO_TIME :
		DatumGetTimestampTz(slot_getattr(bf->row, bf->desc->natts, &isnull));
}

static void
next_recorded(Backfill *bf)
{
	(void) tuplestore_gettupleslot(bf->recorded, true, false, bf->row);
}

/*
 * Fills fe_own with the history's rows up to T that have not been there yet.
 * *newest: event_timestamp of the last one.
 */
static bool
take_own(Backfill *bf, FeTime T, FeTime *newest)
{
	Tuplestorestate *tuples;
	double		n = 0;

	*newest = PG_INT64_MIN;
	if (time_of_row(bf) > T)
		return false;
	tuples = new_tuples();
	while (time_of_row(bf) <= T)
	{
		*newest = time_of_row(bf);
		tuplestore_puttupleslot(tuples, bf->row);
		next_recorded(bf);
		n++;
	}
	set_store(bf, STORE_OWN, tuples, n);
	return true;
}

static void
one_step(Backfill *bf, FeTime T)
{
	FeTime		newest;
	bool		own;

	(void) fe_clock_set_eval_time(T);
	fill_store(bf, STORE_NOW, bf->batch);
	own = take_own(bf, T, &newest);
	if (own)
	{
		fill_store(bf, STORE_OTHER, bf->take_over);
		swap_stores(bf, STORE_OTHER, STORE_BEFORE);
	}
	write_differences(bf, T);
	/* what is there already at T stays */
	if (own && newest == T)
	{
		fill_store(bf, STORE_OTHER, bf->stay);
		swap_stores(bf, STORE_OTHER, STORE_BEFORE);
	}
	else
		swap_stores(bf, STORE_NOW, STORE_BEFORE);
}

static void
end_stores(Backfill *bf)
{
	ExecDropSingleTupleTableSlot(bf->row);
	tuplestore_end(bf->recorded);
	for (int i = 0; i < STORES; i++)
	{
		(void) SPI_unregister_relation(store_names[i]);
		tuplestore_end(bf->stores[i].reldata);
	}
}

/* Later instants are as they were: what the last step says must not go on. */
static void
restore_later(Backfill *bf)
{
	if (bf->next == NO_TIME)
		return;
	(void) fe_clock_set_eval_time(bf->next);
	set_store(bf, STORE_NOW, bf->kept, bf->nkept);
	write_differences(bf, bf->next);
}

/* All that is known of the history before anything is written. */
static void
read_history(Backfill *bf)
{
	char	   *from = fe_offline_time_literal(bf->past.from);
	char	   *last = fe_offline_time_literal(bf->last);

	bf->next = first_time(bf, psprintf("event_timestamp > %s", last));
	fill_store(bf, STORE_BEFORE, select_newest(bf, psprintf("event_timestamp < %s", from)));
	bf->recorded = new_tuples();
	(void) fill(bf->recorded, select_history(bf, bf->past.table,
											 psprintf("WHERE event_timestamp BETWEEN %s AND %s ORDER BY event_timestamp",
													  from, last)));
	bf->row = MakeSingleTupleTableSlot(bf->desc, &TTSOpsMinimalTuple);
	next_recorded(bf);
	if (bf->next == NO_TIME)
		return;
	bf->kept = new_tuples();
	bf->nkept = fill(bf->kept, select_newest(bf, psprintf("event_timestamp <= %s",
														  fe_offline_time_literal(bf->next))));
}

static void
backfill(void *arg)
{
	Backfill   *bf = arg;
	ErrorContextCallback context;

	stop_before_recorded(bf);
	bf->created = Max(bf->created, bf->last + 1);
	bf->partitioned = PG_INT64_MIN;
	bf->batch = select_batch(bf);
	bf->differs = select_differs(bf);
	bf->insert = insert_differences(bf);
	bf->take_over = select_overlaid(bf, STORE_BEFORE, "true");
	bf->stay = select_overlaid(bf, STORE_NOW, "et = feature_engine.now()");
	make_stores(bf);
	read_history(bf);
	fe_past_begin_context(&bf->past, &context);
	for (FeTime T = bf->past.from; T <= bf->last; T += bf->step)
	{
		CHECK_FOR_INTERRUPTS();
		one_step(bf, T);
	}
	restore_later(bf);
	error_context_stack = context.previous;
	end_stores(bf);
}

/* ---- the function ----------------------------------------------------------------------- */

/* Every column must be one that the past tells. */
static void
check_told(const Backfill *bf)
{
	const FePlan *plan = bf->past.plan;

	for (int i = -1; i < plan->ncolumns; i++)
	{
		bool		undated;
		char	   *problem = fe_batch_past_problem(&bf->past.batch, i, &undated);

		if (problem)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("past values of feature view \"%s\" cannot be computed", plan->name),
					 errdetail("%s", problem),
					 undated ? errhint("Name the column of its source that tells when a row came to be, as in "
									   "event_time => 'created_at': rows later than the instant are left out then.") : 0));
	}
}

static void
check_range(const Backfill *bf, FeTime now)
{
	const FePast *p = &bf->past;
	int64		keep = p->plan->options.history_retention;

	if (p->to > now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"to\" must not be in the future")));
	if ((p->to - p->from) / bf->step >= MAX_STEPS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("backfill_history() takes at most %d steps", MAX_STEPS),
				 errhint("Choose a longer step, or call it for one part of the time after the other.")));
	if (keep > 0 && p->from < now - keep)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("feature view \"%s\" keeps its history for %s only", p->plan->name,
						fe_format_usecs(keep)),
				 errdetail("Rows at \"from\" would be dropped again."),
				 errhint("Choose a later \"from\", or a longer history_retention.")));
}

/* backfill_history(view text, from timestamptz, to timestamptz, step interval, event_time text) */
Datum
fe_backfill_history(PG_FUNCTION_ARGS)
{
	Backfill	bf = {0};
	FeTime		now = fe_clock_now();
	const FePlan *plan;

	fe_require_primary("backfill_history");
	fe_past_init(&bf.past, fcinfo);
	plan = bf.past.plan;
	if (!fe_compat_class_ownercheck(plan->relation, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FOREIGN_TABLE, get_rel_name(plan->relation));
	fe_history_check_owner(plan);
	bf.step = fe_past_interval(fcinfo, 3, "step", 1);
	fe_past_set_event_time(&bf.past, fcinfo, 4);
	check_range(&bf, now);
	check_told(&bf);
	bf.last = bf.past.from + (bf.past.to - bf.past.from) / bf.step * bf.step;
	bf.created = now;
	bf.lsn = GetXLogInsertRecPtr();
	/* nobody else locks this subobject */
	LockDatabaseObject(RelationRelationId, plan->history, 1, ShareUpdateExclusiveLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	fe_batch_run(plan, bf.past.from, (FeWatermark) {0}, backfill, &bf);
	PopActiveSnapshot();
	/* who was there at the last step and is not there now has a row that nobody else knows of */
	if (bf.written > 0 && plan->options.offline)
		fe_history_compare(plan);
	PG_RETURN_INT64(bf.written);
}
