/*
 * evaluate.c
 *		An entity's values at T, and what has to be done about them in Redis and the history.
 *		Runs in the pusher, in short transactions; state's functions take and
 *		give back its locks, nothing is held while expressions run.
 *
 * Expressions are the user's: they run as the view's owner in a
 * security-restricted operation.  The usual entity is evaluated without any
 * precaution.  When an expression raises an error the transaction is rolled
 * back, the column is marked as isolated, and the entity is done again: from
 * then on that column is evaluated in a subtransaction of its own, and left out
 * where it fails.  When the aggregates themselves fail (an overflow), every
 * column of this one entity is looked up and evaluated by itself.
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

#define NO_COLUMN		(-1)
#define BROKEN_RETRY	5000	/* ms, for a view that cannot be evaluated at all */

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

/* Counts a field that is left out, and shows why. */
static void
note_field_error(FePusher *p, FePushView *view, const FePushColumn *col, const char *why)
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
		note_field_error(p, view, col, problem);
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
		ErrorData  *edata;

		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		drop_column_program(col);
		note_field_error(p, view, col, edata->message);
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
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("no feature of an entity could be computed")));
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
	view->at_column = NO_COLUMN;
	fe_output_program_reset(view->prog);
}

void
fe_push_lookup(FePushView *view, FeEntityRef ref, FeTime T, FeEvaluated *ev)
{
	view->at_column = NO_COLUMN;
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

/* ---- what is to be done --------------------------------------------------- */

void
fe_push_note_schedule(FePushView *view, FeEntityRef ref, uint64 content, FeTime due)
{
	FeScheduleEntry *e = fe_schedule_get(view->schedule, ref, due != FE_NEVER);

	if (e == NULL)
		return;
	if (e->retry)
		view->retries--;
	e->retry = false;
	if (due == FE_NEVER)
	{
		fe_schedule_remove(view->schedule, ref);
		return;
	}
	e->content = content;
	fe_schedule_at(view->schedule, e, due);
}

FeTime
fe_push_next_date(const FePushView *view, const FeEvaluated *ev, FeTime T)
{
	FeTime		due = ev->info.next_change;
	int			refresh = view->plan->options.time_refresh;

	if ((view->uses_time && ev->exists) || view->having_uses_time)
	{
		if (refresh < 0)
			refresh = fe_setting_time_refresh;
		due = Min(due, T + Max(refresh, 1) * FE_USEC_PER_SEC);
	}
	return due;
}

/*
 * Not now, or not at all: Redis is away, or the view does not go there.  The entity
 * is on no list any more.
 */
static void
put_off(FePushView *view, FeEntityRef ref, bool exists, bool dirty, bool retry)
{
	if (view->online)
		fe_owed_add(view, ref, exists, dirty, retry);
	else
		fe_state_set_pushed(view->shared, view->plan, ref, exists);
}

/* Appends what brings Redis up to date.  Nothing in here fails half way. */
static void
push_evaluated(FePusher *p, FePushView *view, FeEntityRef ref, FePushReason reason,
			   FeEvaluated *ev)
{
	FeScheduleEntry *e = fe_schedule_get(view->schedule, ref, false);
	uint64		before = e ? e->content : FE_CONTENT_UNKNOWN;
	bool		retry = e && e->retry;
	bool		dirty = reason == FE_PUSH_DIRTY;
	uint64		content = FE_CONTENT_GONE;
	FeTime		due;
	FeUnitKind	kind;
	int			replies;

	if (!ev->found || fe_push_any_null(view->plan, ev->nulls))
	{
		fe_push_note_schedule(view, ref, content, FE_NEVER);
		fe_state_set_pushed(view->shared, view->plan, ref, false);
		return;
	}
	due = fe_push_next_date(view, ev, ev->v.T);
	if (!view->to_redis)
	{
		fe_push_note_schedule(view, ref, FE_CONTENT_UNKNOWN, due);
		put_off(view, ref, ev->exists, dirty, retry);
		return;
	}
	ev->v.key = fe_encode_key(view, ev->values, 0, &ev->v.keylen);
	if (ev->v.key == NULL)
	{
		note_field_error(p, view, NULL, "a key has no form in this layout");
		fe_push_note_schedule(view, ref, content, due);
		fe_state_set_pushed(view->shared, view->plan, ref, false);
		return;
	}
	ev->v.lsn = ev->info.lsn;
	if (ev->exists && (due != FE_NEVER || !dirty))
		content = fe_encode_content(view, &ev->v);	/* to be compared then, or now */
	fe_push_note_schedule(view, ref, content, due);

	if (!dirty && !retry && content == before)
		return;
	if (!ev->exists)
	{
		(void) fe_encode_gone(p, view, ev->v.key, ev->v.keylen);
		fe_flight_add(p, FE_UNIT_GONE, 1, view, &ref, dirty);
		return;
	}
	if (dirty)
		kind = ev->info.changed ? FE_UNIT_CHANGE : FE_UNIT_REFILL;
	else						/* an entity that comes into being is no renewal */
		kind = retry || before == FE_CONTENT_GONE ? FE_UNIT_CHANGE : FE_UNIT_TIME;
	ev->v.known = dirty && ev->info.pushed && !retry;
	replies = fe_encode_push(p, view, kind, &ev->v);
	fe_flight_add(p, kind, replies, view, &ref, dirty);
}

/* Entities whose last change is after upto may have got it after T. */
typedef struct SliceTime
{
	FeTime		T;
	XLogRecPtr	upto;
} SliceTime;

static void
look_at(FePusher *p, FePushView *view, FeEntityRef ref, bool isolated, FeEvaluated *ev)
{
	(void) fe_clock_set_eval_time(ev->v.T);
	if (view->per_window)
		fe_push_lookup(view, ref, ev->v.T, ev);
	else if (isolated)
		evaluate_each(p, view, ref, ev->v.T, ev);
	else
		evaluate_all(p, view, ref, ev->v.T, ev);
}

/*
 * At a T that is not before the commit of anything that is in the entity: a change
 * may have been merged since the slice began.  What is recorded would else have
 * been known before it happened.
 */
static void
look_at_no_future(FePusher *p, FePushView *view, FeEntityRef ref, const SliceTime *time,
				  bool isolated, FeEvaluated *ev)
{
	XLogRecPtr	seen = time->upto;

	ev->v.T = time->T;
	for (;;)
	{
		look_at(p, view, ref, isolated, ev);
		if (!view->to_history || !ev->found || ev->info.lsn <= seen || fe_clock_is_frozen())
			return;
		seen = ev->info.lsn;
		ev->v.T = fe_clock_now();
	}
}

static void
push_one(FePusher *p, FePushView *view, FeEntityRef ref, FePushReason reason,
		 const SliceTime *time, bool isolated)
{
	MemoryContext old = MemoryContextSwitchTo(p->slice_cxt);
	int			n = view->plan->nkeys + view->plan->naggs;
	FeEvaluated ev = {0};

	ev.values = palloc0(n * sizeof(Datum));
	ev.nulls = palloc0(n * sizeof(bool));
	ev.v.texts = palloc0(Max(view->ncolumns, 1) * sizeof(char *));
	ev.v.lens = palloc0(Max(view->ncolumns, 1) * sizeof(int));
	ev.features = palloc0(Max(view->nall, 1) * sizeof(Datum));
	ev.feature_nulls = palloc0(Max(view->nall, 1) * sizeof(bool));
	ev.info.next_change = FE_NEVER;
	ev.start = FE_NEVER;
	ev.watermark = fe_view_watermark(view->shared, view->plan);

	/*
	 * An entity may only be freed while Redis does not have it.  One that was
	 * taken off the dirty list is held anyway.
	 */
	if (reason == FE_PUSH_DUE)
		fe_state_set_pushed(view->shared, view->plan, ref, true);
	look_at_no_future(p, view, ref, time, isolated, &ev);
	if (view->per_window)
		fe_push_windows(p, view, ref, reason, ev.v.T, isolated, &ev);
	else
	{
		fe_record_entity(p, view, ref, &ev);
		push_evaluated(p, view, ref, reason, &ev);
	}

	MemoryContextSwitchTo(old);
	MemoryContextReset(p->slice_cxt);
}

/* ---- slices ---------------------------------------------------------------- */

typedef struct Slice
{
	volatile int next;			/* entity under way */
	volatile bool isolated;		/* ... column by column */
	volatile int mark;			/* length of the output before it */
	volatile bool begun;		/* an entity is under way */
} Slice;

static void
run_slice(FePusher *p, FePushView *view, const FeEntityRef *refs, int n,
		  FePushReason reason, Slice *slice)
{
	SliceTime	time;

	slice->begun = false;
	fe_push_enter(view);
	time.upto = pg_atomic_read_u64(&p->db->applied_lsn);
	pg_read_barrier();
	time.T = fe_clock_now();
	(void) fe_clock_set_eval_time(time.T);
	fe_push_make_programs(view);
	slice->begun = true;
	for (; slice->next < n; slice->next++)
	{
		slice->mark = p->redis->out.len;
		push_one(p, view, refs[slice->next], reason, &time, slice->isolated);
		slice->isolated = false;
	}
	fe_clock_set_eval_time(PG_INT64_MIN);
	fe_push_leave();
}

/*
 * After an ERROR, in a clean state: decides how to go on.  False: the view is
 * not what it was, the rest is left to whoever comes after it.
 */
static bool
recover_slice(FePusher *p, FePushView *view, const FeEntityRef *refs, int n,
			  FePushReason reason, Slice *slice, ErrorData *edata)
{
	int			column = view->at_column;

	fe_push_drop_programs(view);
	if (!fe_push_view_ready(view))
		return false;
	if (!slice->begun)
	{
		note_field_error(p, view, NULL, edata->message);
		view->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BROKEN_RETRY);
		return false;
	}
	if (column != NO_COLUMN && !slice->isolated)
	{
		view->columns[column].isolated = true;
		return true;
	}
	if (!slice->isolated)
	{
		slice->isolated = true;
		return true;
	}

	/* Not even column by column: this entity stays as it is in Redis. */
	note_field_error(p, view, NULL, edata->message);
	if (reason == FE_PUSH_DIRTY)
		fe_state_set_pushed(view->shared, view->plan, refs[slice->next], true);
	slice->isolated = false;
	slice->next++;
	return true;
}

void
fe_push_refs(FePusher *p, FePushView *view, const FeEntityRef *refs, int n,
			 FePushReason reason)
{
	MemoryContext cxt = CurrentMemoryContext;
	Slice		slice = {.mark = p->redis->out.len};

	while (slice.next < n)
	{
		ErrorData  *volatile edata = NULL;

		PG_TRY();
		{
			run_slice(p, view, refs, n, reason, &slice);
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(cxt);
			edata = CopyErrorData();
			if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
				PG_RE_THROW();
			FlushErrorState();
			AbortCurrentTransaction();
			MemoryContextSwitchTo(cxt);
		}
		PG_END_TRY();
		if (edata == NULL)
			break;

		/* what was appended for the entity under way is no whole command */
		p->redis->out.len = slice.mark;
		p->redis->out.data[slice.mark] = '\0';
		fe_clock_set_eval_time(PG_INT64_MIN);
		MemoryContextReset(p->slice_cxt);
		if (!recover_slice(p, view, refs, n, reason, &slice, edata))
		{
			for (int i = slice.next; i < n && reason == FE_PUSH_DIRTY; i++)
				fe_state_put_dirty(view->shared, view->plan, refs[i]);
			view->live = false; /* filled when it is found live again */
			fe_ticket_failed(p, FE_SINK_REDIS);
			fe_ticket_failed(p, FE_SINK_HISTORY);
			break;
		}
		FreeErrorData(edata);
	}
	/* before anything of it is sent to Redis */
	if (view->recorder)
		fe_record_write(p, view);
}
