/*
 * services.c
 *		The catalogue of feature services: create_feature_service(),
 *		drop_feature_service(), and what dropping a view means for them.
 *
 * Runs in backends.  Whoever writes holds the lock of definition commands on
 * the catalogue of views until commit; readers take ACCESS SHARE on the table of
 * services and read by its index.  A service belongs to who created it; it uses
 * views as SQL views use tables: whoever may read them may create one, and their
 * owners may drop it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "runtime/compat.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

#include "definition/definition.h"
#include "definition/services.h"

PG_FUNCTION_INFO_V1(fe_create_feature_service);
PG_FUNCTION_INFO_V1(fe_drop_feature_service);
PG_FUNCTION_INFO_V1(fe_service_shape);

#define SERVICE_TABLE	"feature_service"

/* Columns, in the order of the install script. */
enum
{
	COL_NAME = 1,
	COL_FEATURES,
	COL_FULL_NAMES,
	COL_OWNER,
	COL_LAST = COL_OWNER
};

/* ---- reading ---------------------------------------------------------------------- */

static FeService *
read_service(HeapTuple tuple, TupleDesc desc)
{
	FeService  *service = palloc0(sizeof(FeService));
	Datum		values[COL_LAST];
	bool		isnull;

	for (int i = 0; i < COL_LAST; i++)
		values[i] = heap_getattr(tuple, i + 1, desc, &isnull);
	service->name = TextDatumGetCString(values[COL_NAME - 1]);
	service->features = fe_feature_references(values[COL_FEATURES - 1]);
	service->full_names = DatumGetBool(values[COL_FULL_NAMES - 1]);
	/* InvalidOid, which nobody is but superusers: dropped, or missing where a dump is restored */
	service->owner = get_role_oid(NameStr(*DatumGetName(values[COL_OWNER - 1])), true);
	return service;
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(((const FeService *) lfirst(a))->name, ((const FeService *) lfirst(b))->name);
}

/* Services by the latest snapshot: that of a name, or all of them, in the order of their names. */
static List *
read_services(const char *name)
{
	Oid			schema = get_namespace_oid(FE_SCHEMA, true);
	Oid			oid = OidIsValid(schema) ? get_relname_relid(SERVICE_TABLE, schema) : InvalidOid;
	Relation	rel;
	Snapshot	snapshot;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	List	   *services = NIL;

	/* it may be missing before ALTER EXTENSION UPDATE, and at the end of DROP EXTENSION */
	if (!OidIsValid(oid))
		return NIL;
	rel = table_open(oid, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (name)
		ScanKeyInit(&key, COL_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	scan = systable_beginscan(rel, get_relname_relid(SERVICE_TABLE "_pkey", schema), name != NULL,
							  snapshot, name ? 1 : 0, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		services = lappend(services, read_service(tuple, RelationGetDescr(rel)));
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	list_sort(services, compare_names);
	return services;
}

/* A name as SQL reads it: folded unless quoted; NULL: it has several parts. */
static char *
fold_name(const char *name)
{
	List	   *names = fe_compat_qualified_name(name);

	return list_length(names) == 1 ? strVal(linitial(names)) : NULL;
}

FeService *
fe_service_by_name(const char *name, bool missing_ok)
{
	List	   *found = read_services(name);
	List	   *names = NIL;
	ListCell   *lc;

	if (found == NIL)
	{
		char	   *folded = fold_name(name);

		found = folded ? read_services(folded) : NIL;
	}
	if (found != NIL)
		return linitial(found);
	if (missing_ok)
		return NULL;
	foreach(lc, read_services(NULL))
		names = lappend(names, ((FeService *) lfirst(lc))->name);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("feature service \"%s\" does not exist", name),
			 fe_hint_similar(name, names)));
}

List *
fe_service_list(void)
{
	return read_services(NULL);
}

FeFeatureList *
fe_service_resolve(const FeService *service, bool missing_ok)
{
	return fe_features_resolve(service->features, service->full_names, service->name, missing_ok);
}

/* ---- services and views --------------------------------------------------------------- */

void
fe_services_refuse_view_name(const char *name)
{
	if (read_services(name) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("a feature service \"%s\" exists", name),
				 errdetail("Functions such as get_features() take the names of both."),
				 errhint("Choose another name for the feature view, or drop the service with drop_feature_service().")));
}

static bool
uses_view(const FeService *service, const char *view)
{
	ListCell   *lc;

	foreach(lc, service->features)
		if (fe_feature_of_view(lfirst(lc), view))
			return true;
	return false;
}

static List *
users_of_view(const char *view)
{
	List	   *users = NIL;
	ListCell   *lc;

	foreach(lc, read_services(NULL))
		if (uses_view(lfirst(lc), view))
			users = lappend(users, lfirst(lc));
	return users;
}

void
fe_services_refuse_drop(const char *view)
{
	List	   *users = users_of_view(view);
	FeService  *first;

	if (users == NIL)
		return;
	first = linitial(users);
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop feature view \"%s\" because feature service \"%s\" uses it",
					view, first->name),
			 errhint("Drop the service first, with drop_feature_service(%s), or give it other features, with create_feature_service(..., replace => true).",
					 quote_literal_cstr(first->name))));
}

static void
delete_service(const char *name)
{
	Oid			type = TEXTOID;
	Datum		value = CStringGetTextDatum(name);

	fe_catalog_execute("DELETE FROM feature_engine." SERVICE_TABLE " WHERE name = $1",
					   1, &type, &value, NULL);
}

void
fe_services_cascade_drop(const char *view)
{
	ListCell   *lc;

	foreach(lc, users_of_view(view))
	{
		FeService  *service = lfirst(lc);

		delete_service(service->name);
		ereport(NOTICE,
				(errmsg("drop cascades to feature service \"%s\"", service->name)));
	}
}

/* ---- create -------------------------------------------------------------------------------- */

static char *
service_name(FunctionCallInfo fcinfo)
{
	char	   *given;
	char	   *name;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name of a feature service must not be NULL")));
	given = text_to_cstring(PG_GETARG_TEXT_PP(0));
	name = fold_name(given);
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("name of a feature service has no schema: \"%s\"", given)));
	return name;
}

static void
check_rights(const FeFeatureList *list)
{
	for (int v = 0; v < list->nviews; v++)
		fe_plan_check_select(list->views[v]);
}

static void
check_name(const char *name, const FeService *old, bool replace)
{
	if (old && !replace)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("feature service \"%s\" already exists", name),
				 errhint("Use replace => true to give it other features.")));
	if (old && !has_privs_of_role(GetUserId(), old->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of feature service \"%s\"", name)));
	if (fe_catalog_by_name(name))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("a feature view \"%s\" exists", name),
				 errdetail("Functions such as get_features() take the names of both."),
				 errhint("Choose another name for the feature service.")));
}

/* The references as given, but for the names of views, which are written as SQL writes them. */
static Datum
stored_features(List *refs)
{
	int			n = list_length(refs);
	Datum	   *elems = palloc(n * sizeof(Datum));
	ListCell   *lc;

	foreach(lc, refs)
		elems[foreach_current_index(lc)] = CStringGetTextDatum(fe_feature_stored(lfirst(lc)));
	return PointerGetDatum(construct_array(elems, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * create_feature_service(name text, features text[], replace boolean,
 * full_feature_names boolean)
 */
Datum
fe_create_feature_service(PG_FUNCTION_ARGS)
{
	Oid			types[] = {TEXTOID, TEXTARRAYOID, BOOLOID, TEXTOID};
	char	   *name = service_name(fcinfo);
	bool		replace = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	bool		full_names = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	List	   *refs = PG_ARGISNULL(1) ? NIL : fe_feature_references(PG_GETARG_DATUM(1));
	List	   *old;
	Datum		values[4];

	fe_catalog_lock();
	old = read_services(name);
	check_name(name, old ? linitial(old) : NULL, replace);
	check_rights(fe_features_resolve(refs, full_names, NULL, false));
	values[0] = CStringGetTextDatum(name);
	values[1] = stored_features(refs);
	values[2] = BoolGetDatum(full_names);
	values[3] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
	fe_catalog_execute("INSERT INTO feature_engine." SERVICE_TABLE
					   " (name, features, full_feature_names, owner)"
					   " VALUES ($1, $2, $3, $4::name) ON CONFLICT (name) DO UPDATE"
					   " SET features = $2, full_feature_names = $3",
					   4, types, values, NULL);
	PG_RETURN_VOID();
}

/* ---- drop ------------------------------------------------------------------------------------ */

/* Its owner may, and the owner of a view that it uses. */
static bool
may_drop(const FeService *service)
{
	ListCell   *lc;

	if (has_privs_of_role(GetUserId(), service->owner))
		return true;
	foreach(lc, fe_catalog_read())
	{
		FeCatalogRow *row = lfirst(lc);

		if (row->replaces == 0 && uses_view(service, row->name) &&
			fe_compat_class_ownercheck(row->relation, GetUserId()))
			return true;
	}
	return false;
}

/* drop_feature_service(name text, if_exists boolean) returns boolean */
Datum
fe_drop_feature_service(PG_FUNCTION_ARGS)
{
	FeService  *service;

	fe_catalog_lock();
	service = fe_service_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_BOOL(1));
	if (service == NULL)
		PG_RETURN_BOOL(false);
	if (!may_drop(service))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of feature service \"%s\"", service->name)));
	delete_service(service->name);
	PG_RETURN_BOOL(true);
}

/* ---- what it consists of ---------------------------------------------------------------- */

static Datum
texts_array(List *texts)
{
	Datum	   *elems = palloc((list_length(texts) + 1) * sizeof(Datum));
	ListCell   *lc;

	foreach(lc, texts)
		elems[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(elems, list_length(texts), TEXTOID, -1, false,
										   TYPALIGN_INT));
}

/*
 * service_shape(name text, OUT columns text[], OUT keys text[]): for the view
 * feature_services; NULLs where a part of it is gone, or two columns have one name
 */
Datum
fe_service_shape(PG_FUNCTION_ARGS)
{
	FeService  *service = fe_service_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	FeFeatureList *list = fe_service_resolve(service, true);
	TupleDesc	desc;
	Datum		values[2] = {0};
	bool		nulls[2] = {true, true};
	List	   *columns = NIL;
	List	   *keys = NIL;
	ListCell   *lc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (list)
	{
		for (int i = 0; i < list->nfeatures; i++)
		{
			const FeColumn *c = fe_feature_column(list, i);

			columns = lappend(columns, fe_column_text(list->features[i].name, c->type, c->typmod));
		}
		foreach(lc, fe_features_keys(list))
		{
			FeJoinColumnName *key = lfirst(lc);

			keys = lappend(keys, fe_column_text(key->name, key->type, key->typmod));
		}
		values[0] = texts_array(columns);
		values[1] = texts_array(keys);
		nulls[0] = nulls[1] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
