/*
 * reader.c
 *		Opening a feature view and evaluating its entities.
 *
 * Runs in backends.  Aggregates are read by the state room under its partition
 * locks; the expressions around them are evaluated here, without any lock, as
 * the view's owner in a security-restricted context, with a search_path that
 * the reader does not choose: the same value for every reader, and in Redis.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "pgstat.h"
#include "runtime/compat.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "serve/serve.h"

/* ---- may it be read? ------------------------------------------------------- */

fe_compat_noreturn static void
raise_not_ready(FePlan *plan, FeViewShared *shared, FeViewState state)
{
	char		error[FE_ERROR_LEN];

	fe_plan_check_owner(plan);
	if (state == FE_VIEW_FAILED)
	{
		fe_view_get_error(shared, error, sizeof(error));
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature view \"%s\" has stopped", plan->name),
				 fe_may_see_errors(plan->owner) ? errdetail("%s", error) : 0,
				 fe_plan_is_stream(plan) ?
				 errhint("It goes on by itself, from where it stopped, when the reason is gone; see feature_engine.status. Set feature_engine.allow_stale to read the last values.") :
				 errhint("It is rebuilt by itself; see feature_engine.status. Set feature_engine.allow_stale to read the last values.")));
	}
	if (state == FE_VIEW_RECOVERING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature view \"%s\" is not caught up yet", plan->name),
				 errdetail("Its stored state is being loaded (" UINT64_FORMAT " of about %.0f entities), and later changes are replayed.",
						   pg_atomic_read_u64(&shared->backfill_done), shared->backfill_total),
				 errhint("Wait with feature_engine.sync(), or set feature_engine.allow_stale to read what there is.")));
	if (state == FE_VIEW_BACKFILLING)
	{
		uint64		done = pg_atomic_read_u64(&shared->events);

		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature view \"%s\" is not caught up yet", plan->name),
				 shared->backfill_total > 0 ?
				 errdetail("Existing rows are being read: " UINT64_FORMAT " of about %.0f.",
						   done, shared->backfill_total) :
				 errdetail("Existing rows are being read: " UINT64_FORMAT " so far.", done),
				 errhint("Wait with feature_engine.sync(), or set feature_engine.allow_stale to read what there is.")));
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("feature view \"%s\" is not caught up yet", plan->name),
			 errdetail("Its existing rows are not being read yet."),
			 errhint("Wait with feature_engine.sync(); feature_engine.status tells what the worker is doing.")));
}

static FeViewShared *
find_shared(FePlan *plan)
{
	FeViewShared *shared = fe_view_find(MyDatabaseId, plan->viewid);

	if (shared && shared->state_version != plan->state_version)
		return NULL;
	return shared;
}

/* A session's reads see its own commits. */
static void
wait_for_own_writes(void)
{
	FeDatabase *db = fe_my_database();
	XLogRecPtr	lsn = fe_session_last_commit();

	if (db == NULL || lsn == InvalidXLogRecPtr)
		return;
	ConditionVariablePrepareToSleep(&db->progress);
	while (pg_atomic_read_u64(&db->applied_lsn) < lsn)
	{
		fe_wake_capture(db);
		ConditionVariableTimedSleep(&db->progress, 100, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

FeViewShared *
fe_serve_open(FePlan *plan)
{
	FeViewShared *shared;
	FeViewState state;

	fe_require_preloaded();
	if (fe_setting_read_your_writes)
		wait_for_own_writes();
	shared = find_shared(plan);
	state = shared ? pg_atomic_read_u32(&shared->state) : FE_VIEW_FREE;
	if (state == FE_VIEW_LIVE)
		return shared;
	if (state != FE_VIEW_FREE && fe_setting_allow_stale)
		return shared;
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature views cannot be read on a standby"),
				 errdetail("Their values are in the memory of the primary, which follows its own log."),
				 errhint("Read them on the primary, or from Redis. After a promotion they are loaded, or built from their tables.")));
	fe_request_worker();
	raise_not_ready(plan, shared, state);
}

/* ---- readers ------------------------------------------------------------------- */

/*
 * Making a reader takes as long as some lookups, so that idle ones are kept for
 * the next statement.  A reader's memory belongs to its plan's: it goes when the
 * plan does, and an equal pointer is the same plan.  A reader in use is on no
 * list, so that nobody else takes it; its lease lies in the user's memory, whose
 * end without a release (an error) is the end of a reader in an unknown state.
 */
typedef struct FeServeLease
{
	FeServeReader *reader;		/* NULL: released, or gone with its plan */
	MemoryContextCallback on_end;
} FeServeLease;

#define FE_IDLE_READERS		32
#define FE_IDLE_MEMORY		(256 * 1024)	/* a larger one is not kept */

static dlist_head idle = DLIST_STATIC_INIT(idle);
static int	nidle = 0;
static uint64 roles_version = 0;

static void
reader_deleted(void *arg)
{
	FeServeReader *r = arg;

	if (r->lease)
		r->lease->reader = NULL;
	else
	{
		dlist_delete(&r->node);
		nidle--;
	}
}

static void
lease_ended(void *arg)
{
	FeServeLease *lease = arg;

	if (lease->reader)
		MemoryContextDelete(lease->reader->cxt);
}

/* Roles have changed: functions that could be called may not be any more. */
static void
roles_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	roles_version++;
}

static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterSyscacheCallback(AUTHOID, roles_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, roles_changed, (Datum) 0);
	registered = true;
}

/*
 * Is there a node that keeps what it has found out about a type, which ALTER
 * TYPE or ALTER DOMAIN may change without the plan being compiled again?
 */
static bool
depends_on_types(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_List:
		case T_Var:
		case T_Const:
		case T_FuncExpr:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
		case T_BoolExpr:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_BooleanTest:
		case T_SQLValueFunction:
			break;
		case T_NullTest:
			if (((NullTest *) node)->argisrow)
				return true;
			break;
		default:
			return true;
	}
	return expression_tree_walker(node, depends_on_types, context);
}

/* Are there aggregates among them whose functions may keep anything? */
static bool
runs_user_aggregate(const FePlan *plan, const Bitmapset *aggs)
{
	int			i = -1;

	while ((i = bms_next_member(aggs, i)) >= 0)
	{
		const FeFinal *final = plan->aggs[i].final;

		if (final != NULL && final->call != NULL && fe_final_runs_code(final))
			return true;
	}
	return false;
}

static bool
may_be_kept(const FePlan *plan, const Bitmapset *columns)
{
	for (int i = 0; i < plan->ncolumns; i++)
		if ((columns == NULL || bms_is_member(i, columns)) &&
			(depends_on_types((Node *) plan->columns[i].expr, NULL) ||
			 runs_user_aggregate(plan, plan->columns[i].aggs)))
			return false;
	return !depends_on_types((Node *) plan->having, NULL) &&
		!runs_user_aggregate(plan, plan->having_aggs);
}

static FeServeReader *
make_reader(FePlan *plan, FeViewShared *shared, const Bitmapset *columns)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "feature reader",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FeServeReader *r = palloc0(sizeof(FeServeReader));
	int			n = plan->nkeys + plan->naggs;

	/* once a reader: whatever changes it ends the plan, or roles_version */
	fe_plan_check_owner(plan);
	r->cxt = cxt;
	r->plan = plan;
	r->shared = shared;
	r->user = GetUserId();
	r->roles_version = roles_version;
	r->columns = bms_copy(columns);
	r->output = fe_output_program_create(plan, r->columns, cxt);
	r->reader = fe_state_reader_create(plan, shared, fe_output_program_aggs(r->output), cxt);
	r->values = palloc0((n + 1) * sizeof(Datum));
	r->nulls = palloc0((n + 1) * sizeof(bool));
	r->row_cxt = AllocSetContextCreate(cxt, "feature row", ALLOCSET_SMALL_SIZES);
	r->window_cxt = AllocSetContextCreate(cxt, "feature window row", ALLOCSET_SMALL_SIZES);
	r->keys_cxt = AllocSetContextCreate(cxt, "feature keys", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(old);
	return r;
}

/* An idle one for this, if there is. */
static FeServeReader *
find_idle(const FePlan *plan, const FeViewShared *shared, const Bitmapset *columns)
{
	dlist_iter	iter;

	dlist_foreach(iter, &idle)
	{
		FeServeReader *r = dlist_container(FeServeReader, node, iter.cur);

		if (r->plan != plan || r->user != GetUserId() || r->roles_version != roles_version ||
			(r->columns == NULL) != (columns == NULL) || !bms_equal(r->columns, columns))
			continue;
		if (r->shared == shared && fe_state_reader_renew(r->reader))
			return r;
		MemoryContextDelete(r->cxt);
		return NULL;
	}
	return NULL;
}

FeServeReader *
fe_serve_reader_create(FePlan *plan, const Bitmapset *columns, FeTime T)
{
	FeViewShared *shared = fe_serve_open(plan);
	FeServeLease *lease = palloc0(sizeof(FeServeLease));
	FeServeReader *r = find_idle(plan, shared, columns);

	if (r)
	{
		dlist_delete(&r->node);
		nidle--;
	}
	else
	{
		register_callbacks();
		r = make_reader(plan, shared, columns);
		r->T = T;
		if (!may_be_kept(plan, columns))
			return r;			/* the caller's, like all he allocates */
		r->on_delete.func = reader_deleted;
		r->on_delete.arg = r;
		r->lease = lease;
		MemoryContextSetParent(r->cxt, plan->cxt);
		MemoryContextRegisterResetCallback(r->cxt, &r->on_delete);
	}
	r->T = T;
	r->lease = lease;
	lease->reader = r;
	lease->on_end.func = lease_ended;
	lease->on_end.arg = lease;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &lease->on_end);
	return r;
}

void
fe_serve_reader_release(FeServeReader *r)
{
	if (r->lease == NULL)
		return;
	r->lease->reader = NULL;
	r->lease = NULL;
	dlist_push_head(&idle, &r->node);
	nidle++;
	fe_output_program_reset(r->output);
	MemoryContextReset(r->row_cxt);
	MemoryContextReset(r->window_cxt);
	MemoryContextReset(r->keys_cxt);
	if (MemoryContextMemAllocated(r->cxt, true) > FE_IDLE_MEMORY)
		MemoryContextDelete(r->cxt);
	if (nidle > FE_IDLE_READERS)
		MemoryContextDelete(dlist_tail_element(FeServeReader, node, &idle)->cxt);
}

/* ---- evaluation -------------------------------------------------------------- */

/*
 * The output row of the aggregates in r->values; false where HAVING says no.
 * Results live in row_cxt or in the program, until the next entity.
 */
static bool
evaluate(FeServeReader *r, Datum *values, bool *nulls)
{
	FeOwnerContext owner;
	bool		exists;

	fe_output_program_input(r->output, r->values, r->nulls, r->T);
	fe_owner_enter(&owner, r->plan, fe_output_program_runs_code(r->output));
	exists = fe_output_program_having(r->output);
	if (exists)
		for (int i = 0; i < r->plan->ncolumns; i++)
		{
			nulls[i] = true;
			if (r->columns == NULL || bms_is_member(i, r->columns))
				values[i] = fe_output_program_column(r->output, i, &nulls[i]);
		}
	fe_owner_leave(&owner);
	return exists;
}

static void
next_entity(FeServeReader *r)
{
	fe_output_program_reset(r->output);
	MemoryContextReset(r->row_cxt);
	r->next_row = 0;

	/*
	 * Before the entity is looked at: what it says of a window that has ended by
	 * this watermark is the last word, if rows are only added.
	 */
	if (r->plan->uses_final)
	{
		FeTime		watermark;

		if (!fe_clock_watermark(&watermark))
			watermark = fe_view_watermark(r->shared, r->plan);
		fe_output_program_watermark(r->output, watermark);
	}
}

/* The row of this number of the entity found; false where HAVING says no. */
static bool
entity_row(FeServeReader *r, int row, Datum *values, bool *nulls)
{
	MemoryContext old = CurrentMemoryContext;
	bool		exists;

	if (r->plan->group_window >= 0)
	{
		fe_output_program_reset(r->output);
		MemoryContextReset(r->window_cxt);
		MemoryContextSwitchTo(r->window_cxt);
	}
	fe_state_row(r->reader, row, r->values, r->nulls);
	exists = evaluate(r, values, nulls);
	MemoryContextSwitchTo(old);
	return exists;
}

bool
fe_serve_next(FeServeReader *r, Datum *values, bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(r->row_cxt);
	bool		exists = false;

	while (!exists && r->next_row < fe_state_rows(r->reader))
	{
		CHECK_FOR_INTERRUPTS();
		exists = entity_row(r, r->next_row++, values, nulls);
	}
	MemoryContextSwitchTo(old);
	return exists;
}

static bool
find_entity(FeServeReader *r, const Datum *keys, const bool *keynulls)
{
	MemoryContext old;
	bool		found;

	next_entity(r);
	old = MemoryContextSwitchTo(r->row_cxt);
	found = fe_state_lookup(r->reader, keys, keynulls, r->T, r->values, r->nulls, NULL);
	MemoryContextSwitchTo(old);
	return found;
}

bool
fe_serve_lookup(FeServeReader *r, const Datum *keys, const bool *keynulls,
				Datum *values, bool *nulls)
{
	return find_entity(r, keys, keynulls) && fe_serve_next(r, values, nulls);
}

bool
fe_serve_newest(FeServeReader *r, const Datum *keys, const bool *keynulls,
				Datum *values, bool *nulls)
{
	bool		exists = false;
	int			wanted = 1;
	MemoryContext old;

	/* one will do, unless HAVING has something against it */
	do
	{
		fe_state_want_newest(r->reader, wanted);
		if (!find_entity(r, keys, keynulls) && fe_state_rows_complete(r->reader))
			break;
		old = MemoryContextSwitchTo(r->row_cxt);
		for (int row = fe_state_newest_row(r->reader); row >= 0 && !exists; row--)
			exists = entity_row(r, row, values, nulls);
		MemoryContextSwitchTo(old);
		wanted *= 8;
	} while (!exists && !fe_state_rows_complete(r->reader));
	fe_state_want_newest(r->reader, 0);
	return exists;
}

void
fe_serve_scan_begin(FeServeReader *r)
{
	fe_state_scan_begin(r->reader);
	r->scanning = false;
}

bool
fe_serve_scan_next(FeServeReader *r, Datum *values, bool *nulls)
{
	for (;;)
	{
		MemoryContext old;
		bool		found;

		if (r->scanning && fe_serve_next(r, values, nulls))
			return true;
		next_entity(r);
		old = MemoryContextSwitchTo(r->row_cxt);
		found = fe_state_scan_next(r->reader, r->T, r->values, r->nulls, NULL);
		MemoryContextSwitchTo(old);
		if (!found)
			return false;
		r->scanning = true;
	}
}
