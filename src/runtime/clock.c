/*
 * clock.c
 *		The engine's present, and T, the instant of evaluation.
 *
 * Runs in every process; takes no locks beyond fe_my_database()'s.  A test can
 * freeze the clock of a database (feature_engine.set_clock), so that windows
 * are tested without sleeping.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "runtime/runtime.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define NO_OVERRIDE		PG_INT64_MIN

/* Set while something is evaluated at a given T. */
static FeTime eval_override = NO_OVERRIDE;

/* The test clock of this database, NO_OVERRIDE where it runs freely. */
static FeTime
test_clock(void)
{
	FeDatabase *db = fe_my_database();

	return db == NULL ? NO_OVERRIDE :
		(FeTime) pg_atomic_read_u64(&db->clock_override);
}

FeTime
fe_clock_now(void)
{
	FeTime		t = test_clock();

	return t != NO_OVERRIDE ? t : GetCurrentTimestamp();
}

bool
fe_clock_is_frozen(void)
{
	return test_clock() != NO_OVERRIDE;
}

FeTime
fe_clock_eval_time(void)
{
	FeTime		t;

	if (eval_override != NO_OVERRIDE)
		return eval_override;
	if (fe_as_of_is_set)
		return fe_as_of;
	t = test_clock();
	if (t != NO_OVERRIDE)
		return t;
	/* our workers run no statements */
	return fe_worker_role != NULL ? GetCurrentTimestamp() :
		GetCurrentStatementStartTimestamp();
}

FeTime
fe_clock_set_eval_time(FeTime t)
{
	FeTime		old = eval_override;

	eval_override = t;
	return old;
}

static FeWatermark eval_watermark = {false, 0};

bool
fe_clock_watermark(FeTime *watermark)
{
	bool		given = eval_watermark.given || fe_watermark_is_set;

	*watermark = eval_watermark.given ? eval_watermark.value :
		fe_watermark_is_set ? fe_watermark : fe_clock_eval_time();
	return given;
}

FeWatermark
fe_clock_set_watermark(FeWatermark w)
{
	FeWatermark old = eval_watermark;

	eval_watermark = w;
	return old;
}

PG_FUNCTION_INFO_V1(fe_now);

/* feature_engine.now(): T */
Datum
fe_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(fe_clock_eval_time());
}

PG_FUNCTION_INFO_V1(fe_set_clock);

/* feature_engine.set_clock(timestamptz): freezes the clock; NULL lets it run */
Datum
fe_set_clock(PG_FUNCTION_ARGS)
{
	FeDatabase *db;
	FeTime		t = NO_OVERRIDE;
	Latch	   *ingest;
	Latch	   *pusher;

	fe_require_preloaded();
	if (!PG_ARGISNULL(0))
	{
		t = PG_GETARG_TIMESTAMPTZ(0);
		if (TIMESTAMP_NOT_FINITE(t))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the clock cannot be set to an infinite time")));
	}
	db = fe_my_database_or_claim();
	pg_atomic_write_u64(&db->clock_override, (uint64) t);

	SpinLockAcquire(&db->mutex);
	ingest = db->ingest_latch;
	pusher = db->pusher_latch;
	SpinLockRelease(&db->mutex);
	if (ingest)
		SetLatch(ingest);
	if (pusher)
		SetLatch(pusher);
	PG_RETURN_VOID();
}
