/*
 * evaluate.c
 *		An entity's values at T.  Runs in the pusher, in the transactions of slice.c;
 *		state's functions take and give back its locks, nothing is held while
 *		expressions run.
 *
 * Expressions are the user's: they run as the view's owner in a
 * security-restricted operation.  The usual entity is evaluated without any
 * precaution; what is done about errors is said in slice.c.  An isolated column
 * is evaluated in a subtransaction of its own, and left out where it fails.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "online/pusher.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

static int	guc_level;
static Oid	own_userid;
static int	own_sec;

/* ---- identity ------------------------------------------------------------- */

void
fe_push_enter(const FePushView *view)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&own_userid, &own_sec);
	if (!view->retired)			/* else nothing of its owner's runs */
		SetUserIdAndSecContext(view->plan->owner, own_sec | SECURITY_RESTRICTED_OPERATION);
	guc_level = NewGUCNestLevel();
}

/* Ends it; after an ERROR, AbortCurrentTransaction does the same. */
void
fe_push_leave(void)
{
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(own_userid, own_sec);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* ---- programs ------------------------------------------------------------- */

static void
drop_column_program(FePushColumn *col)
{
	if (col->cxt)
		MemoryContextDelete(col->cxt);
	col->cxt = NULL;
	col->prog = NULL;
	col->reader = NULL;
}

/* After an error too: expressions keep state between calls, now half done. */
void
fe_push_drop_programs(FePushView *view)
{
	if (view->program_cxt)
		MemoryContextDelete(view->program_cxt);
	view->program_cxt = NULL;
	view->prog = NULL;
	view->reader = NULL;
	for (int i = 0; i < view->nall; i++)
		drop_column_program(&view->columns[i]);
}

void
fe_push_make_programs(FePushView *view)
{
	Bitmapset  *columns = NULL;
	MemoryContext old;

	if (view->reader != NULL)
		return;
	fe_push_drop_programs(view);
	view->program_cxt = AllocSetContextCreate(view->cxt, "feature_engine push program",
											  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(view->program_cxt);
	for (int i = 0; i < view->nall; i++)
		columns = bms_add_member(columns, view->columns[i].column);
	view->prog = fe_output_program_create(view->plan, columns, view->program_cxt);
	view->reader = fe_state_reader_create(view->plan, view->shared,
										  fe_output_program_aggs(view->prog),
										  view->program_cxt);
	MemoryContextSwitchTo(old);
}

static void
make_column_program(FePushView *view, FePushColumn *col)
{
	MemoryContext old;

	if (col->reader != NULL)
		return;
	drop_column_program(col);
	col->cxt = AllocSetContextCreate(view->cxt, "feature_engine push column",
									 ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(col->cxt);
	col->prog = fe_output_program_create(view->plan, bms_make_singleton(col->column), col->cxt);
	col->reader = fe_state_reader_create(view->plan, view->shared,
										 fe_output_program_aggs(col->prog), col->cxt);
	MemoryContextSwitchTo(old);
}

/* ---- evaluation ----------------------------------------------------------- */

bool
fe_push_any_null(const FePlan *plan, const bool *nulls)
{
	for (int i = 0; i < plan->nkeys; i++)
		if (nulls[i])
			return true;
	return false;
}

void
fe_push_note_field_error(FePusher *p, FePushView *view, const FePushColumn *col, const char *why)
{
	char		message[FE_ERROR_LEN];

	pg_atomic_fetch_add_u64(&p->db->push_field_errors, 1);
	if (col != NULL)
		snprintf(message, sizeof(message), "feature \"%s\" of feature view \"%s\": %s",
				 view->plan->columns[col->column].name, view->plan->name, why);
	else
		snprintf(message, sizeof(message), "feature view \"%s\": %s", view->plan->name, why);
	fe_push_note_error(p, message);
}

/* A column's value for the history, and its text for Redis. */
static void
take_column(FePusher *p, FePushView *view, FeOutputProgram *prog, int i, FeEvaluated *ev)
{
	FePushColumn *col = &view->columns[i];
	const char *problem = NULL;
	bool		isnull;
	Datum		value = fe_output_program_column(prog, col->column, &isnull);

	if (view->to_history)
	{
		Form_pg_attribute att = TupleDescAttr(view->plan->output_desc, col->column);

		ev->feature_nulls[i] = isnull;
		if (!isnull)
			ev->features[i] = datumCopy(value, att->attbyval, att->attlen);
	}
	if (i >= view->ncolumns)
		return;
	ev->v.texts[i] = isnull ? NULL :
		fe_encode_value(view, col, value, &ev->v.lens[i], &problem);
	if (problem != NULL)
		fe_push_note_field_error(p, view, col, problem);
}

static void
leave_out_column(const FePushView *view, int i, FeEvaluated *ev)
{
	if (view->to_history)
		ev->feature_nulls[i] = true;
	if (i < view->ncolumns)
		ev->v.texts[i] = NULL;
}

/* The row is one of the view's; its values are the program's input then. */
static bool
take_row(FeStateReader *reader, FeOutputProgram *prog, FeTime T, int row, FeEvaluated *ev)
{
	fe_state_row(reader, row, ev->values, ev->nulls);
	fe_output_program_watermark(prog, ev->watermark);
	fe_output_program_input(prog, ev->values, ev->nulls, T);
	return fe_output_program_having(prog);
}

/*
 * Of what has been looked up the row that is wanted, which is that of the newest
 * window that has begun and is a row of the view.  False: there is none.
 */
static bool
take_wanted_row(FeStateReader *reader, FeOutputProgram *prog, FeTime T, FeEvaluated *ev)
{
	int			row = ev->start == FE_NEVER ? fe_state_newest_row(reader) :
		fe_state_rows(reader) - 1;

	for (; row >= 0; row--)
		if ((ev->start == FE_NEVER || fe_state_row_window(reader, row).lo == ev->start) &&
			take_row(reader, prog, T, row, ev))
			return true;
	return false;
}

/*
 * One column by itself, left out if it fails.  lookup: its aggregates too, and
 * with them existence; else ev's values are used.  False: it failed.
 */
static bool
evaluate_isolated(FePusher *p, FePushView *view, int i, FeEntityRef ref, FeTime T,
				  bool lookup, FeEvaluated *ev)
{
	FePushColumn *col = &view->columns[i];
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = false;

	leave_out_column(view, i, ev);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		make_column_program(view, col);
		if (lookup)
			ev->exists = fe_state_lookup_ref(col->reader, ref, T, ev->values, ev->nulls,
											 &ev->info, &ev->found);
		if (!lookup || (ev->found && ev->exists))
		{
			if (lookup)
				ev->exists = take_wanted_row(col->reader, col->prog, T, ev);
			else
			{
				fe_output_program_watermark(col->prog, ev->watermark);
				fe_output_program_input(col->prog, ev->values, ev->nulls, T);
			}
			if (ev->exists)
				take_column(p, view, col->prog, i, ev);
			fe_output_program_reset(col->prog);
		}
		ReleaseCurrentSubTransaction();
		ok = true;
	}
	PG_CATCH();
	{
		ErrorData  *edata = fe_worker_caught_inside(cxt);

		drop_column_program(col);
		fe_push_note_field_error(p, view, col, edata->message);
		leave_out_column(view, i, ev);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	return ok;
}

/* The aggregates cannot all be computed: column by column. */
static void
evaluate_each(FePusher *p, FePushView *view, FeEntityRef ref, FeTime T, FeEvaluated *ev)
{
	int			good = -1;

	for (int i = 0; i < view->nall; i++)
	{
		if (!evaluate_isolated(p, view, i, ref, T, true, ev))
			continue;
		good = i;
		if (!ev->found || !ev->exists)
			return;
	}
	if (good < 0)
	{
		/* another time may bring one */
		ev->exists = true;
		fe_push_note_schedule(view, ref, FE_CONTENT_UNKNOWN, fe_push_next_date(view, ev, T));
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("no feature of an entity could be computed")));
	}
	ev->found = ev->exists = true;
}

/* The columns of the row that is the program's input. */
static void
evaluate_columns(FePusher *p, FePushView *view, FeEntityRef ref, FeTime T, FeEvaluated *ev)
{
	for (int i = 0; i < view->nall; i++)
	{
		if (view->columns[i].isolated)
		{
			evaluate_isolated(p, view, i, ref, T, false, ev);
			continue;
		}
		view->at_column = i;
		take_column(p, view, view->prog, i, ev);
	}
	view->at_column = FE_NO_COLUMN;
	fe_output_program_reset(view->prog);
}

void
fe_push_lookup(FePushView *view, FeEntityRef ref, FeTime T, FeEvaluated *ev)
{
	view->at_column = FE_NO_COLUMN;
	ev->exists = fe_state_lookup_ref(view->reader, ref, T, ev->values, ev->nulls,
									 &ev->info, &ev->found);
}

static void
evaluate_all(FePusher *p, FePushView *view, FeEntityRef ref, FeTime T, FeEvaluated *ev)
{
	/* of several rows the newest will do, unless HAVING has something against it */
	for (int wanted = 1;; wanted *= 8)
	{
		fe_state_want_newest(view->reader, wanted);
		fe_push_lookup(view, ref, T, ev);
		if (!ev->found)
			return;
		ev->exists = ev->exists && take_wanted_row(view->reader, view->prog, T, ev);
		if (ev->exists || fe_state_rows_complete(view->reader))
			break;
	}
	if (ev->exists)
		evaluate_columns(p, view, ref, T, ev);
}

bool
fe_push_is_row(FePushView *view, int row, FeTime T, FeEvaluated *ev)
{
	return take_row(view->reader, view->prog, T, row, ev);
}

bool
fe_push_row(FePusher *p, FePushView *view, FeEntityRef ref, FeTime T, int row, bool isolated,
			FeEvaluated *ev)
{
	if (isolated)
	{
		ev->start = fe_state_row_window(view->reader, row).lo;
		evaluate_each(p, view, ref, T, ev);
		return ev->found && ev->exists;
	}
	if (!take_row(view->reader, view->prog, T, row, ev))
		return false;
	evaluate_columns(p, view, ref, T, ev);
	return true;
}

void
fe_push_evaluate(FePusher *p, FePushView *view, FeEntityRef ref, bool isolated, FeEvaluated *ev)
{
	(void) fe_clock_set_eval_time(ev->v.T);
	if (view->per_window)
		fe_push_lookup(view, ref, ev->v.T, ev);
	else if (isolated)
		evaluate_each(p, view, ref, ev->v.T, ev);
	else
		evaluate_all(p, view, ref, ev->v.T, ev);
}
