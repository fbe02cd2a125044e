/*
 * skip.c
 *		Views with on_error => 'skip': rows whose expressions raise an error are
 *		left out, counted, and told of in the log.
 *
 * Runs in the ingest worker, inside its transaction.  To go on after an error
 * takes a subtransaction begun before, which costs more than evaluating most
 * rows.  So rows are evaluated without one until the first error, which aborts
 * the worker's transaction: nothing of the group is merged yet, and it is read
 * again, the view's rows *with care* now, each in a subtransaction.  That goes on
 * until many rows in a row have raised none, and at least to the end of the batch:
 * a large transaction is not read again for each of its errors.
 *
 * Whether a row raises an error must depend on the row alone, since it must be
 * left out, too, when it is retracted.  Hence what is skipped: errors that its
 * values can cause.  What comes from elsewhere stops the view as it would with
 * 'stop'.  Takes no locks but the spinlock of the view's error.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "ingest/ingest.h"

#define FE_CAREFUL_IMAGES	10000	/* without an error, before care ends */
#define FE_SKIP_REPORT_MS	(60 * 1000)

/*
 * Classes of errors that do not come from a row's values: they would come and go
 * for the same row.  Class 42 is what the expression names and cannot have (a
 * table that its function reads was dropped, EXECUTE was revoked).
 */
static bool
is_from_elsewhere(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case MAKE_SQLSTATE('0', '8', '0', '0', '0'):	/* connection */
		case MAKE_SQLSTATE('2', '5', '0', '0', '0'):	/* transaction state */
		case MAKE_SQLSTATE('2', '8', '0', '0', '0'):	/* authorization */
		case MAKE_SQLSTATE('3', 'D', '0', '0', '0'):	/* no such database */
		case MAKE_SQLSTATE('3', 'F', '0', '0', '0'):	/* no such schema */
		case MAKE_SQLSTATE('4', '0', '0', '0', '0'):	/* deadlock, serialization */
		case MAKE_SQLSTATE('4', '2', '0', '0', '0'):	/* names and rights */
		case MAKE_SQLSTATE('5', '3', '0', '0', '0'):	/* memory, disk */
		case MAKE_SQLSTATE('5', '5', '0', '0', '0'):	/* object in use, lock */
		case MAKE_SQLSTATE('5', '7', '0', '0', '0'):	/* cancel, shutdown */
		case MAKE_SQLSTATE('5', '8', '0', '0', '0'):	/* input and output */
		case MAKE_SQLSTATE('F', '0', '0', '0', '0'):	/* configuration file */
		case MAKE_SQLSTATE('H', 'V', '0', '0', '0'):	/* foreign data */
		case MAKE_SQLSTATE('X', 'X', '0', '0', '0'):	/* internal, corrupt */
			return true;
	}
	return false;
}

bool
fe_skip_allows(const FeIngestView *view, const ErrorData *edata)
{
	return view->plan->options.on_error == FE_ON_ERROR_SKIP &&
		!is_from_elsewhere(edata->sqlerrcode);
}

void
fe_skip_take_care(FeIngestView *view)
{
	view->careful = FE_CAREFUL_IMAGES;
}

void
fe_skip_relax(FeIngest *ingest)
{
	ListCell   *lc;

	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		if (view->careful == 1)
			view->careful = 0;
	}
}

/*
 * After the error of a careful evaluation: rolls back, and raises it again unless
 * the view may skip it.
 */
static void
recover(FeIngestView *view, MemoryContext cxt)
{
	ErrorData  *edata = fe_worker_caught_inside(cxt);

	if (!fe_skip_allows(view, edata))
		ReThrowError(edata);
	fe_view_set_error(view->shared, edata->message, 0);
	fe_skip_take_care(view);
	fe_ingest_renew_programs(view);
}

bool
fe_skip_evaluate(FeIngestView *view, MemoryContext cxt, bool (*evaluate) (void *arg),
				 void *arg, bool *skipped)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool in = false;

	*skipped = false;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		in = evaluate(arg);
		ReleaseCurrentSubTransaction();
		if (view->careful > 1)
			view->careful--;
	}
	PG_CATCH();
	{
		recover(view, cxt);
		*skipped = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return in;
}

void
fe_skip_report(FeIngest *ingest)
{
	ListCell   *lc;

	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);
		uint64		skipped = pg_atomic_read_u64(&view->shared->skipped);
		TimestampTz now;
		char		error[FE_ERROR_LEN];

		if (skipped == view->skips_reported)
			continue;
		now = GetCurrentTimestamp();
		if (now < view->next_skip_report)
			continue;
		fe_view_get_error(view->shared, error, sizeof(error));
		ereport(LOG,
				(errmsg_plural("feature view \"%s\" has left out " UINT64_FORMAT " row image, whose expressions raise an error",
							   "feature view \"%s\" has left out " UINT64_FORMAT " row images, whose expressions raise errors",
							   skipped, view->plan->name, skipped),
				 errdetail("The last error was: %s", error)));
		view->skips_reported = skipped;
		view->next_skip_report = TimestampTzPlusMilliseconds(now, FE_SKIP_REPORT_MS);
	}
}
