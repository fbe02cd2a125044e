/*
 * check.c
 *		check_feature_view(): the streamed values against the batch query.
 *
 * Runs in the user's backend.  Both sides are read by one statement at the
 * same T, as the view's owner.  The statement's snapshot and the streamed
 * state are not the same moment: what differs is looked at again after another
 * sync(), and only what differs every time is reported.  No lock on the source
 * but a reader's.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "definition/batch.h"
#include "definition/definition.h"

PG_FUNCTION_INFO_V1(fe_check_feature_view);

#define MAX_ATTEMPTS	4

/* One differing value. */
typedef struct Difference
{
	char	   *values[4];		/* key, feature, streamed, batch */
} Difference;

/* ---- running it ------------------------------------------------------------------------ */

static void
collect(List **differences, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Difference *d = palloc0(sizeof(Difference));

		for (int c = 0; c < 4; c++)
		{
			char	   *value = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, c + 1);

			d->values[c] = value ? pstrdup(value) : NULL;
		}
		*differences = lappend(*differences, d);
	}
	MemoryContextSwitchTo(old);
}

static void
run(const char *sql)
{
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not execute: %s", sql);
}

/* The view's watermark, that windows are final by on both sides. */
static FeWatermark
current_watermark(const FePlan *plan)
{
	FeWatermark watermark = {false, 0};
	bool		isnull;

	if (plan->uses_final && !fe_clock_watermark(&watermark.value))
	{
		SPI_connect();
		run(psprintf("SELECT feature_engine.watermark(%s)", quote_literal_cstr(plan->name)));
		watermark.value = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0],
															SPI_tuptable->tupdesc, 1, &isnull));
		watermark.given = !isnull;
		SPI_finish();
	}
	return watermark;
}

typedef struct Comparison
{
	const FePlan *plan;
	int			sample;
	MemoryContext cxt;			/* of the list */
	List	  **differences;
} Comparison;

static void
run_comparison(void *arg)
{
	Comparison *c = arg;

	run(fe_check_statement(c->plan, c->sample));
	collect(c->differences, c->cxt);
}

/* Both sides at one T, as the owner of the definition. */
static void
compare(const FePlan *plan, int sample, List **differences)
{
	Comparison	c = {plan, sample, CurrentMemoryContext, differences};

	fe_batch_run(plan, fe_as_of_is_set ? fe_as_of : fe_clock_now(), current_watermark(plan),
				 run_comparison, &c);
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Those of the new list that were also in the old one. */
static List *
still_different(List *old, List *new)
{
	List	   *result = NIL;
	ListCell   *ln;
	ListCell   *lo;

	foreach(ln, new)
	{
		Difference *n = lfirst(ln);

		foreach(lo, old)
		{
			Difference *o = lfirst(lo);

			if (same_text(o->values[0], n->values[0]) && same_text(o->values[1], n->values[1]))
			{
				result = lappend(result, n);
				break;
			}
		}
	}
	return result;
}

static void
wait_until_caught_up(const FePlan *plan)
{
	SPI_connect();
	run(psprintf("SELECT feature_engine.sync(view => %s)",
				 quote_literal_cstr(plan->name)));
	SPI_finish();
}

/*
 * The statement for those entities that differed before is the whole one
 * again: differences are rare, and so are second attempts.
 */
static List *
find_differences(const FePlan *plan, int sample)
{
	List	   *differences = NIL;

	wait_until_caught_up(plan);
	compare(plan, sample, &differences);
	for (int i = 1; i < MAX_ATTEMPTS && differences != NIL; i++)
	{
		List	   *again = NIL;

		CHECK_FOR_INTERRUPTS();
		pg_usleep(10000L * i);
		wait_until_caught_up(plan);
		/* a sample would be another one */
		compare(plan, -1, &again);
		differences = still_different(differences, again);
	}
	return differences;
}

/* check_feature_view(name text, sample int) returns table (key, feature, streamed, batch) */
Datum
fe_check_feature_view(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FePlan	   *plan;
	ListCell   *lc;
	int			sample = PG_ARGISNULL(1) ? -1 : PG_GETARG_INT32(1);

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name of a feature view must not be NULL")));
	if (!PG_ARGISNULL(1) && sample < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sample must be greater than zero")));
	InitMaterializedSRF(fcinfo, 0);
	plan = fe_plan_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	fe_plan_check_select(plan);
	if (fe_plan_is_stream(plan))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("feature view \"%s\" is over the changes of a table and cannot be checked",
						plan->name),
				 errdetail("Changes are stored nowhere, so there is no query to compare it with.")));
	foreach(lc, find_differences(plan, sample))
	{
		Difference *d = lfirst(lc);
		Datum		values[4];
		bool		nulls[4];

		values[0] = DirectFunctionCall1(jsonb_in, CStringGetDatum(d->values[0]));
		nulls[0] = false;
		for (int c = 1; c < 4; c++)
		{
			nulls[c] = d->values[c] == NULL;
			values[c] = nulls[c] ? (Datum) 0 : CStringGetTextDatum(d->values[c]);
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
