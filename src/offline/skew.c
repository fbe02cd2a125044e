/*
 * skew.c
 *		skew_report(): what was served, by the history, against the batch query
 *		computed anew at the same instants.
 *
 * Runs in the user's backend, all statements as the view's owner in a
 * security-restricted context.  One statement an instant counts what differs,
 * feature by feature; the counts are added up here.  Takes no locks.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "offline/internal.h"
#include "offline/skew.h"

PG_FUNCTION_INFO_V1(fe_skew_report);

#define MAX_INSTANTS	10000

typedef struct Report
{
	FeSkew		skew;
	int			instants;		/* that are wanted */
	int			ninstants;
	FeTime	   *times;
	MemoryContext cxt;			/* of what stays */
	FeSkewCounts *counts;		/* of entities, then of each column */
} Report;

/* ---- at which instants -------------------------------------------------------------- */

/*
 * The history's own, in as many parts of equal numbers as are wanted the last of
 * each.  What is younger than lag may still be under way.
 */
static void
choose_instants(Report *r)
{
	const FePast *p = &r->skew.past;
	char	   *sql = psprintf("SELECT max(event_timestamp) FROM (SELECT event_timestamp, "
							   "ntile(%d) OVER (ORDER BY event_timestamp) AS part FROM (SELECT DISTINCT event_timestamp "
							   "FROM %s WHERE event_timestamp BETWEEN %s AND %s) AS x) AS y GROUP BY part ORDER BY 1",
							   r->instants, p->table, fe_offline_time_literal(p->from),
							   fe_offline_time_literal(Min(p->to, fe_clock_now() - r->skew.lag)));

	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute: %s", sql);
	r->ninstants = (int) SPI_processed;
	r->times = palloc(Max(r->ninstants, 1) * sizeof(FeTime));
	for (int i = 0; i < r->ninstants; i++)
	{
		bool		isnull;

		r->times[i] = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[i],
														SPI_tuptable->tupdesc, 1, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* ---- one after the other -------------------------------------------------------------- */

static int64
get_count(HeapTuple row, TupleDesc desc, int n)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(row, desc, n, &isnull));
}

static void
add_error(HeapTuple row, TupleDesc desc, int n, float8 *max, bool *any)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, n, &isnull);

	if (isnull)
		return;
	*max = *any ? Max(*max, DatumGetFloat8(value)) : DatumGetFloat8(value);
	*any = true;
}

static void
add_counts(Report *r, HeapTuple row, TupleDesc desc)
{
	bool		isnull;
	int			column = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
	FeSkewCounts *c = &r->counts[column + 1];
	char	   *example = SPI_getvalue(row, desc, 8);

	c->compared += get_count(row, desc, 2);
	c->mismatches += get_count(row, desc, 3);
	c->missing += get_count(row, desc, 4);
	c->extra += get_count(row, desc, 5);
	add_error(row, desc, 6, &c->relative, &c->has_relative);
	add_error(row, desc, 7, &c->absolute, &c->has_absolute);
	if (c->example == NULL && example != NULL)
		c->example = MemoryContextStrdup(r->cxt, example);
}

static void
compare(void *arg)
{
	Report	   *r = arg;
	ErrorContextCallback context;
	char	   *sql;

	choose_instants(r);
	sql = fe_skew_statement(&r->skew);
	fe_past_begin_context(&r->skew.past, &context);
	for (int i = 0; i < r->ninstants && sql != NULL; i++)
	{
		CHECK_FOR_INTERRUPTS();
		(void) fe_clock_set_eval_time(r->times[i]);
		if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not execute: %s", sql);
		for (uint64 row = 0; row < SPI_processed; row++)
			add_counts(r, SPI_tuptable->vals[row], SPI_tuptable->tupdesc);
		SPI_freetuptable(SPI_tuptable);
	}
	error_context_stack = context.previous;
}

/* ---- the function ----------------------------------------------------------------------- */

static void
check_select(const FePlan *plan)
{
	AclResult	acl = pg_class_aclcheck(plan->history, GetUserId(), ACL_SELECT);

	fe_plan_check_select(plan);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, get_rel_name(plan->history));
}

/* Why a column, or the existence of entities (-1), is not or not always compared. */
static char *
note_of(const FeSkew *s, int column)
{
	const FePlan *plan = s->past.plan;
	char	   *problem = fe_skew_problem(s, column);

	if (problem)
		return problem;
	if (column >= 0 && plan->columns[column].uses_time)
		return pstrdup(_("Depends on now(): compared where it was recorded at that very instant."));
	return NULL;
}

static void
put_row(ReturnSetInfo *rsinfo, const FeSkew *s, int column, const FeSkewCounts *c)
{
	Datum		values[9];
	bool		nulls[9] = {0};
	char	   *note = note_of(s, column);

	nulls[0] = column < 0;
	values[0] = column < 0 ? (Datum) 0 : CStringGetTextDatum(s->past.plan->columns[column].name);
	values[1] = Int64GetDatum(c->compared);
	values[2] = Int64GetDatum(c->mismatches);
	values[3] = Int64GetDatum(c->missing);
	values[4] = Int64GetDatum(c->extra);
	nulls[5] = !c->has_relative;
	values[5] = Float8GetDatum(c->relative);
	nulls[6] = !c->has_absolute;
	values[6] = Float8GetDatum(c->absolute);
	nulls[7] = c->example == NULL;
	values[7] = c->example ? DirectFunctionCall1(jsonb_in, CStringGetDatum(c->example)) : (Datum) 0;
	nulls[8] = note == NULL;
	values[8] = note ? CStringGetTextDatum(note) : (Datum) 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * skew_report(view text, from timestamptz, to timestamptz, instants int,
 * event_time text, lag interval)
 */
Datum
fe_skew_report(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Report		r = {.cxt = CurrentMemoryContext};
	const FePlan *plan;

	InitMaterializedSRF(fcinfo, 0);
	fe_past_init(&r.skew.past, fcinfo);
	plan = r.skew.past.plan;
	check_select(plan);
	if (PG_ARGISNULL(3) || PG_GETARG_INT32(3) < 1 || PG_GETARG_INT32(3) > MAX_INSTANTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"instants\" must be between 1 and %d", MAX_INSTANTS)));
	r.instants = PG_GETARG_INT32(3);
	fe_past_set_event_time(&r.skew.past, fcinfo, 4);
	r.skew.lag = fe_past_interval(fcinfo, 5, "lag", 0);
	r.counts = palloc0((plan->ncolumns + 1) * sizeof(FeSkewCounts));
	fe_batch_run(plan, r.skew.past.from, (FeWatermark) {0}, compare, &r);
	for (int i = -1; i < plan->ncolumns; i++)
		if (i < 0 || !fe_batch_is_key(&r.skew.past.batch, i))
			put_row(rsinfo, &r.skew, i, &r.counts[i + 1]);
	return (Datum) 0;
}
