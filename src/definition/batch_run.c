/*
 * batch_run.c
 *		Running batch queries of a view: at a given T, as its owner.
 *
 * Runs in the user's backend.  Whoever asks for it has checked that the user may
 * see the result.  Takes no locks but those of the statements.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "definition/batch.h"
#include "definition/definition.h"

/* Beside those that expressions run under. */
static const char *const settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"},
	/* scans repeat themselves */
	{"synchronize_seqscans", "off"},
	/* T is set in this process only */
	{"max_parallel_workers_per_gather", "0"}
};

static void
run_as_owner(const FePlan *plan, FeBatchCallback call, void *arg)
{
	Oid			userid;
	int			sec;
	int			nestlevel = NewGUCNestLevel();

	GetUserIdAndSecContext(&userid, &sec);
	SetUserIdAndSecContext(plan->owner, sec | SECURITY_RESTRICTED_OPERATION);
	fe_settings_fix(false);
	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	call(arg);
	SPI_finish();
	AtEOXact_GUC(false, nestlevel);
	SetUserIdAndSecContext(userid, sec);
}

static void
run_at(const FePlan *plan, FeTime T, FeWatermark watermark, FeBatchCallback call, void *arg)
{
	volatile FeWatermark old_watermark = fe_clock_set_watermark(watermark);
	FeTime		old = fe_clock_set_eval_time(T);

	PG_TRY();
	{
		run_as_owner(plan, call, arg);
	}
	PG_FINALLY();
	{
		(void) fe_clock_set_eval_time(old);
		(void) fe_clock_set_watermark(old_watermark);
	}
	PG_END_TRY();
}

/*
 * A view that skips rows has no batch query that can be run while such rows are
 * there: it raises their error.
 */
void
fe_batch_run(const FePlan *plan, FeTime T, FeWatermark watermark, FeBatchCallback call, void *arg)
{
	MemoryContext cxt = CurrentMemoryContext;

	if (plan->options.on_error != FE_ON_ERROR_SKIP)
	{
		run_at(plan, T, watermark, call, arg);
		return;
	}
	PG_TRY();
	{
		run_at(plan, T, watermark, call, arg);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
		if (edata->hint == NULL && edata->sqlerrcode != ERRCODE_QUERY_CANCELED)
			edata->hint = psprintf("Feature view \"%s\" has on_error => 'skip': it leaves out rows that "
								   "raise an error, which its batch query cannot. Such rows must be "
								   "corrected, or excluded by the definition, before the two can be "
								   "compared.", plan->name);
		ReThrowError(edata);
	}
	PG_END_TRY();
}
