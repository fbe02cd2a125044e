/*
 * alter.c
 *		drop_feature_view(), alter_feature_view(), refresh_feature_view(), and
 *		the swap that ends a replacement.
 *
 * Runs in the user's backend; the swap in the ingest worker, inside its
 * transaction.  Locks: our catalogue until commit, and those of DROP VIEW,
 * DROP FOREIGN TABLE and ALTER FOREIGN TABLE ADD COLUMN.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "runtime/compat.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "definition/definition.h"
#include "definition/history.h"
#include "definition/services.h"

PG_FUNCTION_INFO_V1(fe_drop_feature_view);
PG_FUNCTION_INFO_V1(fe_alter_feature_view);
PG_FUNCTION_INFO_V1(fe_refresh_feature_view);

/* The catalogue row of a view that the user owns; locks the catalogue. */
static FeCatalogRow *
own_view(text *name, bool missing_ok)
{
	FeCatalogRow *row;

	fe_catalog_lock();
	row = fe_catalog_by_written_name(text_to_cstring(name));
	if (row == NULL)
	{
		if (!missing_ok)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("feature view \"%s\" does not exist", text_to_cstring(name))));
		return NULL;
	}
	if (!fe_compat_class_ownercheck(row->relation, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FOREIGN_TABLE, get_rel_name(row->relation));
	return row;
}

/* ---- drop ------------------------------------------------------------------------ */

static void
add_relation(ObjectAddresses *objects, Oid relid)
{
	ObjectAddress address;

	if (!OidIsValid(relid))
		return;
	ObjectAddressSet(address, RelationRelationId, relid);
	add_exact_object_address(&address, objects);
}

static void
drop_objects(ObjectAddresses *objects)
{
	Oid			userid;
	int			sec;

	fe_become_owner(&userid, &sec);
	performMultipleDeletions(objects, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	fe_become_self(userid, sec);
	free_object_addresses(objects);
	CommandCounterIncrement();
}

/* The history goes with the view, or stays, and whoever drops the view is told so. */
static void
drop_history(ObjectAddresses *objects, const FeCatalogRow *row, bool too)
{
	char	   *name = fe_qualified_relation(row->history);

	if (name == NULL)
		return;
	if (!too)
		ereport(NOTICE,
				(errmsg("history of feature view \"%s\" is kept in table %s", row->name, name),
				 errhint("A feature view of that name goes on with it; drop_feature_view(..., history => true) drops it.")));
	else if (!fe_compat_class_ownercheck(row->history, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(row->history));
	else
		add_relation(objects, row->history);
}

/* drop_feature_view(name text, if_exists boolean, history boolean) returns boolean */
Datum
fe_drop_feature_view(PG_FUNCTION_ARGS)
{
	FeCatalogRow *row = own_view(PG_GETARG_TEXT_PP(0), PG_GETARG_BOOL(1));
	ObjectAddresses *objects;
	ListCell   *lc;

	if (row == NULL)
		PG_RETURN_BOOL(false);
	fe_services_refuse_drop(row->name);
	objects = new_object_addresses();
	drop_history(objects, row, PG_GETARG_BOOL(2));
	foreach(lc, fe_catalog_read())
	{
		FeCatalogRow *other = lfirst(lc);

		if (other->viewid != row->viewid && other->replaces != row->viewid)
			continue;
		add_relation(objects, other->relation);
		add_relation(objects, other->definition);
		fe_catalog_delete(other->viewid);
	}
	drop_objects(objects);
	if (fe_shared != NULL)
		fe_request_worker();
	PG_RETURN_BOOL(true);
}

/* ---- alter ------------------------------------------------------------------------- */

static void
reset_option(FeViewOptions *options, const char *name)
{
	if (strcmp(name, "redis_key") == 0)
		options->redis_key = NULL;
	else if (strcmp(name, "ttl") == 0)
		options->ttl = 0;
	else if (strcmp(name, "push_interval") == 0)
		options->push_interval = -1;
	else if (strcmp(name, "time_refresh") == 0)
		options->time_refresh = -1;
	else if (strcmp(name, "online") == 0)
	{
		options->online = NIL;
		options->online_enabled = true;
	}
	else if (strcmp(name, "on_error") == 0)
		options->on_error = FE_ON_ERROR_STOP;
	else if (strcmp(name, "retention") == 0)
		options->retention = 0;
	else if (strcmp(name, "watermark") == 0)
		options->watermark = -1;
	else if (strcmp(name, "offline") == 0)
		options->offline = false;
	else if (strcmp(name, "history_interval") == 0)
		options->history_interval = 0;
	else if (strcmp(name, "history_retention") == 0)
		options->history_retention = 0;
	else if (strcmp(name, "redis_layout") == 0)
	{
		options->redis_layout = FE_LAYOUT_HASH;
		options->feast_project = NULL;
	}
	else if (strcmp(name, "feast_project") == 0)
		options->feast_project = NULL;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" cannot be reset", name),
				 errhint("Options are redis_key, ttl, push_interval, time_refresh, online, on_error, retention, watermark, offline, history_interval, history_retention, redis_layout and feast_project.")));
}

static void
reset_options(FeViewOptions *options, ArrayType *names)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			reset_option(options, TextDatumGetCString(elems[i]));
}

/*
 * alter_feature_view(name text, redis_key text, ttl interval, push_interval
 * interval, time_refresh interval, online text[], reset text[], on_error text,
 * retention interval, watermark interval, offline boolean, history_interval interval,
 * history_retention interval, redis_layout text, feast_project text)
 *
 * Another on_error or retention means other state (plan.c has it in the fingerprint): the
 * ingest worker builds the view anew, at once also where it had stopped.  One over changes()
 * cannot be: another retention would cost it its history, and is refused.
 */
Datum
fe_alter_feature_view(PG_FUNCTION_ARGS)
{
	FeCatalogRow *row;
	FePlan	   *plan;
	int64		retention;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name of a feature view must not be NULL")));
	row = own_view(PG_GETARG_TEXT_PP(0), false);
	retention = row->options.retention;
	if (!PG_ARGISNULL(6))
		reset_options(&row->options, PG_GETARG_ARRAYTYPE_P(6));
	fe_options_from_args(fcinfo, 1, &row->options);
	fe_on_error_from_arg(fcinfo, 7, &row->options);
	fe_window_options_from_args(fcinfo, 8, &row->options);
	fe_history_options_from_args(fcinfo, 10, &row->options);
	fe_layout_options_from_args(fcinfo, 13, &row->options);
	fe_feast_settle_options(&row->options);
	plan = fe_plan_load(row->viewid, CurrentMemoryContext);
	plan->options = row->options;
	fe_apply_options(plan);
	if (row->options.retention != retention && fe_plan_is_stream(plan))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("retention of a feature view over changes cannot be altered"),
				 errdetail("It would need other state, and changes cannot be read again."),
				 errhint("create_feature_view(..., replace => true) with another retention begins a new history.")));
	fe_feast_check(plan, NULL, NULL);
	fe_check_clashes(plan, row->viewid);
	if (row->options.offline)
		row->history = fe_history_ensure(plan, row->relation, row->viewid, row->history);
	row->version++;
	fe_catalog_update(row);
	if (fe_shared != NULL)
		fe_request_worker();
	PG_RETURN_VOID();
}

/* refresh_feature_view(name text): its state is built anew from the table. */
Datum
fe_refresh_feature_view(PG_FUNCTION_ARGS)
{
	FeCatalogRow *row = own_view(PG_GETARG_TEXT_PP(0), false);

	row->generation++;
	row->version++;
	fe_catalog_update(row);
	if (fe_shared != NULL)
		fe_request_worker();
	PG_RETURN_VOID();
}

/* ---- the end of a replacement --------------------------------------------------------- */

static void
drop_old_definition(const FeCatalogRow *old, Oid definition)
{
	ObjectAddresses *objects = new_object_addresses();
	char	   *name = get_rel_name(old->definition);

	add_relation(objects, old->definition);
	drop_objects(objects);
	if (name)
	{
		Oid			userid;
		int			sec;

		fe_become_owner(&userid, &sec);
		RenameRelationInternal(definition, name, true, false);
		fe_become_self(userid, sec);
		CommandCounterIncrement();
	}
}

static bool
needs_columns(Oid relation, const FePlan *plan)
{
	for (int i = 0; i < plan->ncolumns; i++)
		if (get_attnum(relation, plan->columns[i].name) == InvalidAttrNumber)
			return true;
	return false;
}

/*
 * A replacement that needs the same state takes the old one's place in the
 * old one's row, at once.  (Same generation, same definition of state.)
 */
void
fe_replace_at_once(int32 oldid, int32 newid)
{
	FePlan	   *oldplan = fe_plan_load(oldid, CurrentMemoryContext);
	FePlan	   *newplan = fe_plan_load(newid, CurrentMemoryContext);
	FeCatalogRow *old;
	FeCatalogRow *row;
	FeCatalogRow updated;

	if (oldplan->state_version != newplan->state_version ||
		oldplan->owner != newplan->owner)
		return;
	old = fe_catalog_by_id(oldid);
	row = fe_catalog_by_id(newid);
	fe_add_relation_columns(old->relation, newplan);
	fe_catalog_delete(newid);
	fe_forget_dependency(old->relation);
	fe_record_dependency(old->relation, row->definition);
	updated = *old;
	updated.definition = row->definition;
	updated.options = row->options;
	updated.history = row->history;
	updated.version++;
	fe_catalog_update(&updated);
	CommandCounterIncrement();
	drop_old_definition(old, row->definition);
}

bool
fe_definition_swap(int32 viewid)
{
	FeCatalogRow *row;
	FeCatalogRow *old;
	FeCatalogRow updated;
	FePlan	   *plan;

	if (!ConditionalLockRelationOid(fe_catalog_oid(false), ShareRowExclusiveLock))
		return false;
	row = fe_catalog_by_id(viewid);
	old = row ? fe_catalog_by_id(row->replaces) : NULL;
	if (row == NULL || old == NULL)
		return true;			/* dropped meanwhile */
	plan = fe_plan_load(viewid, CurrentMemoryContext);
	if (needs_columns(old->relation, plan))
	{
		if (!ConditionalLockRelationOid(old->relation, AccessExclusiveLock))
			return false;
		fe_add_relation_columns(old->relation, plan);
	}
	fe_catalog_delete(old->viewid);
	fe_forget_dependency(old->relation);
	fe_record_dependency(old->relation, row->definition);
	updated = *row;
	updated.relation = old->relation;
	updated.replaces = 0;
	updated.version = old->version + 1;
	fe_catalog_update(&updated);
	/* keys may be others now: queries planned before must be planned anew */
	CacheInvalidateRelcacheByRelid(old->relation);
	CommandCounterIncrement();
	drop_old_definition(old, row->definition);
	MemoryContextDelete(plan->cxt);
	return true;
}
