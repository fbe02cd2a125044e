/*
 * create.c
 *		create_feature_view(): from a query to catalogue entries.
 *
 * Runs in the user's backend and transaction.  It only writes catalogue rows;
 * the ingest worker acts on them once they are committed (waiting for it here
 * would be waiting for ourselves).  Locks: ACCESS SHARE on the source, SHARE
 * ROW EXCLUSIVE on our catalogue until commit.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "commands/tablecmds.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "replication/slot.h"
#include "runtime/compat.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/regproc.h"
#include "utils/varlena.h"

#include "definition/definition.h"
#include "definition/history.h"
#include "definition/query_text.h"
#include "definition/services.h"

PG_FUNCTION_INFO_V1(fe_create_feature_view);
PG_FUNCTION_INFO_V1(fe_create_feature_view_from);

#define ARG_NAME		0
#define ARG_DEFINITION	1
#define ARG_OPTIONS		2
#define ARG_APPEND_ONLY 7
#define ARG_REPLACE		8
#define ARG_ON_ERROR	9
#define ARG_WINDOWS		10
#define ARG_SNAPSHOT	12
#define ARG_HISTORY		13
#define ARG_LAYOUT		16

/* ---- the query ------------------------------------------------------------------ */

static bool
check_permissions(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		fe_compat_check_permissions((Query *) node);
		return query_tree_walker((Query *) node, check_permissions, context, 0);
	}
	return expression_tree_walker(node, check_permissions, context);
}

static RawStmt *
parse_definition(const char *text)
{
	List	   *raw = raw_parser(text, RAW_PARSE_DEFAULT);
	SelectStmt *select;

	if (list_length(raw) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the definition of a feature view must be one SELECT statement")));
	select = (SelectStmt *) linitial_node(RawStmt, raw)->stmt;
	if (!IsA(select, SelectStmt) || select->intoClause != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the definition of a feature view must be a SELECT statement"),
				 errhint("The first argument is the name, the second the query.")));
	return linitial(raw);
}

/*
 * Workers run the definition's functions, and no worker is the user: whatever
 * he may not call must not come to them.
 */
static void
check_functions(Query *query, Oid role)
{
	Oid			funcid = fe_find_forbidden((Node *) query, role);

	if (OidIsValid(funcid))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(funcid));
}

FeNewDefinition *
fe_definition_analyze(const char *text, bool append_only)
{
	FeNewDefinition *def = palloc0(sizeof(FeNewDefinition));
	FeQueryText given;
	RawStmt    *raw;
	Query	   *query;
	FeFlat	   *flat;

	fe_query_text_begin(&given, text);
	raw = parse_definition(text);
	fe_analysis_init(&def->a, text, copyObject(raw->stmt));
	query = parse_analyze_fixedparams(raw, text, NULL, 0, NULL);
	fe_query_text_end(&given);

	(void) check_permissions((Node *) query, NULL);
	fe_changes_check_rights(&def->a, query, GetUserId());
	check_functions(query, GetUserId());
	def->a.check = true;
	def->a.append_only = append_only;
	def->query = fe_break_ties(fe_replace_now(&def->a, query));
	def->plan = palloc0(sizeof(FePlan));
	def->plan->cxt = CurrentMemoryContext;
	flat = fe_flatten(&def->a, copyObject(def->query));
	fe_analyze(&def->a, flat, def->plan);
	if (flat->current)
		def->query = fe_current_query(flat);
	return def;
}

/* The text of a view that is given as the definition. */
char *
fe_definition_text_of_view(Oid view)
{
	AclResult	acl;

	if (get_rel_relkind(view) != RELKIND_VIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a view", get_rel_name(view)),
				 errhint("Pass a view, or the query as text.")));
	acl = pg_class_aclcheck(view, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_VIEW, get_rel_name(view));
	return TextDatumGetCString(DirectFunctionCall1(pg_get_viewdef, ObjectIdGetDatum(view)));
}

/* ---- what the server must offer ----------------------------------------------------- */

static void
require_server(void)
{
	fe_require_preloaded();
	if (wal_level < WAL_LEVEL_LOGICAL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature views need wal_level = logical"),
				 errhint("ALTER SYSTEM SET wal_level = logical; then restart the server.")));
	if (max_replication_slots < 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature views need a replication slot, and max_replication_slots is 0"),
				 errhint("ALTER SYSTEM SET max_replication_slots = 10; then restart the server.")));
}

/*
 * Is there a place for the view in shared memory?  The worker takes it after the commit, and
 * would stop without, and all views of the database with it; so this counts those that have
 * none yet.
 */
static void
require_place(const FePlan *plan)
{
	int			needed = 1 + (plan->join ? plan->join->nparts : 0);
	FePlaces	taken = fe_plan_places();
	int			ours = Max(taken.ours, list_length(fe_catalog_read()));

	if (taken.all - taken.ours + ours + needed > fe_setting_max_feature_views)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many feature views"),
				 errdetail("Of %d places for feature views of this server %d are in use, and this one takes %d.",
						   fe_setting_max_feature_views, taken.all - taken.ours + ours, needed),
				 errhint("Increase feature_engine.max_feature_views and restart the server, "
						 "or drop a feature view.")));
}

/* ---- name and place ------------------------------------------------------------------- */

static RangeVar *
parse_name(const char *name)
{
	RangeVar   *rv = makeRangeVarFromNameList(fe_compat_qualified_name(name));

	if (rv->catalogname)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("name of a feature view must be 'name' or 'schema.name': \"%s\"", name)));
	return rv;
}

/* Schema for the relation; the user must be allowed to create there. */
static char *
creation_schema(RangeVar *rv)
{
	Oid			existing;
	Oid			schema = RangeVarGetAndCheckCreationNamespace(rv, NoLock, &existing);

	if (OidIsValid(existing))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", rv->relname),
				 errhint("A feature view is read as a relation of its name: choose another name.")));
	if (isAnyTempNamespace(schema))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("a feature view cannot be temporary")));
	return get_namespace_name(schema);
}

/* ---- creating -------------------------------------------------------------------------- */

/*
 * What a join is looked up by stays unique, as a view's GROUP BY of a primary key
 * does: its constraint or index is dropped with the view only.
 */
static void
record_unique_keys(Oid definition, const FePlan *plan)
{
	ObjectAddress view;
	ObjectAddress key;

	ObjectAddressSet(view, RelationRelationId, definition);
	for (int d = 0; plan->join && d < plan->join->ndims; d++)
	{
		Oid			index = plan->join->dims[d].index;
		Oid			constraint = get_index_constraint(index);

		if (OidIsValid(constraint))
			ObjectAddressSet(key, ConstraintRelationId, constraint);
		else
			ObjectAddressSet(key, RelationRelationId, index);
		recordDependencyOn(&view, &key, DEPENDENCY_NORMAL);
	}
}

static Oid
create_new(FeNewDefinition *def, FeCatalogRow *row, RangeVar *rv)
{
	char	   *schema = creation_schema(rv);
	Oid			owner = GetUserId();

	fe_apply_options(def->plan);
	fe_feast_check(def->plan, &def->a, def->query);
	require_place(def->plan);
	fe_check_clashes(def->plan, 0);
	row->viewid = fe_catalog_next_id();
	row->definition = fe_create_definition_view(row->name, def->query);
	row->relation = fe_create_relation(schema, row->name, def->plan, owner);
	fe_record_dependency(row->relation, row->definition);
	record_unique_keys(row->definition, def->plan);
	if (row->options.offline)
		row->history = fe_history_ensure(def->plan, row->relation, row->viewid, InvalidOid);
	fe_catalog_insert(row);
	return row->relation;
}

/* The same columns in the same order, and perhaps more at the end. */
static void
check_columns(const FeCatalogRow *old, const FePlan *plan)
{
	Relation	rel = relation_open(old->relation, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	int			n = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const FeColumn *column = n < plan->ncolumns ? &plan->columns[n] : NULL;

		if (att->attisdropped)
			continue;
		n++;
		if (column == NULL || strcmp(NameStr(att->attname), column->name) != 0 ||
			att->atttypid != column->type || att->atttypmod != column->typmod ||
			att->attcollation != column->collation)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("cannot replace feature view \"%s\": column %d must stay \"%s\" of type %s",
							old->name, n, NameStr(att->attname),
							format_type_with_typemod(att->atttypid, att->atttypmod)),
					 errhint("New columns can be added at the end; for anything else drop the feature "
							 "view and create it again.")));
	}
	relation_close(rel, NoLock);
}

static void
drop_pending(int32 viewid)
{
	ListCell   *lc;

	foreach(lc, fe_catalog_read())
	{
		FeCatalogRow *row = lfirst(lc);
		ObjectAddress view;
		Oid			userid;
		int			sec;

		if (row->replaces != viewid)
			continue;
		fe_catalog_delete(row->viewid);
		ObjectAddressSet(view, RelationRelationId, row->definition);
		fe_become_owner(&userid, &sec);
		performDeletion(&view, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
		fe_become_self(userid, sec);
		CommandCounterIncrement();
	}
}

/*
 * The new definition is a catalogue row of its own, whose state the ingest
 * worker builds beside the old one's; fe_definition_swap makes it the view.
 */
static Oid
create_replacement(FeNewDefinition *def, FeCatalogRow *row, FeCatalogRow *old)
{
	Oid			relation = old->relation;

	if (!fe_compat_class_ownercheck(relation, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FOREIGN_TABLE, get_rel_name(relation));
	/* whoever replaces it: it stays the owner's view, and runs as he */
	def->plan->owner = fe_relation_owner(relation);
	fe_plan_check_owner(def->plan);
	check_functions(def->query, def->plan->owner);
	check_columns(old, def->plan);
	fe_apply_options(def->plan);
	fe_feast_check(def->plan, &def->a, def->query);
	drop_pending(old->viewid);
	require_place(def->plan);
	fe_check_clashes(def->plan, old->viewid);
	row->viewid = fe_catalog_next_id();
	row->definition = fe_create_definition_view(row->name, def->query);
	record_unique_keys(row->definition, def->plan);
	row->generation = old->generation;
	row->replaces = old->viewid;
	row->history = old->history;
	if (row->options.offline)
		row->history = fe_history_ensure(def->plan, relation, old->viewid, old->history);
	fe_catalog_insert(row);
	CommandCounterIncrement();
	fe_replace_at_once(old->viewid, row->viewid);
	return relation;
}

static void
refuse_append_only_join(const FeNewDefinition *def)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("append_only => true cannot be used with joins"),
			 errdetail("A change of a joined row takes what it was joined with out of the features, "
					   "and puts it in again."),
			 errhint("Leave append_only out; the tables need REPLICA IDENTITY FULL."),
			 fe_errposition(&def->a,
							fe_relation_location(&def->a, def->plan->join->relids[1], 0))));
}

static Oid
create_feature_view(FunctionCallInfo fcinfo, const char *query)
{
	FeCatalogRow row = {.version = 1, .generation = 1};
	FeNewDefinition *def;
	FeCatalogRow *old;
	RangeVar   *rv;

	rv = parse_name(text_to_cstring(PG_GETARG_TEXT_PP(ARG_NAME)));
	require_server();
	fe_catalog_lock();
	row.name = rv->relname;
	row.options.push_interval = -1;
	row.options.time_refresh = -1;
	row.options.online_enabled = true;
	fe_options_from_args(fcinfo, ARG_OPTIONS, &row.options);
	fe_on_error_from_arg(fcinfo, ARG_ON_ERROR, &row.options);
	row.options.watermark = -1;
	fe_window_options_from_args(fcinfo, ARG_WINDOWS, &row.options);
	fe_history_options_from_args(fcinfo, ARG_HISTORY, &row.options);
	fe_layout_options_from_args(fcinfo, ARG_LAYOUT, &row.options);
	fe_feast_settle_options(&row.options);
	row.options.append_only = !PG_ARGISNULL(ARG_APPEND_ONLY) && PG_GETARG_BOOL(ARG_APPEND_ONLY);
	row.options.snapshot = PG_ARGISNULL(ARG_SNAPSHOT) || PG_GETARG_BOOL(ARG_SNAPSHOT);
	old = fe_catalog_by_name(row.name);
	if (old && (PG_ARGISNULL(ARG_REPLACE) || !PG_GETARG_BOOL(ARG_REPLACE)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("feature view \"%s\" already exists", row.name),
				 errhint("Use replace => true to give it a new definition.")));
	if (!old)
		fe_services_refuse_view_name(row.name);
	def = fe_definition_analyze(query, row.options.append_only);
	if (row.options.append_only && def->plan->join)
		refuse_append_only_join(def);
	def->plan->name = row.name;
	def->plan->options = row.options;
	if (!row.options.snapshot && !fe_plan_is_stream(def->plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("snapshot => false is for feature views over changes()"),
				 errdetail("The features of this one describe the rows of its table, all of them.")));
	fe_request_worker();
	return old ? create_replacement(def, &row, old) : create_new(def, &row, rv);
}

static void
require_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s of a feature view must not be NULL", name)));
}

/* create_feature_view(name text, query text, ...) */
Datum
fe_create_feature_view(PG_FUNCTION_ARGS)
{
	require_argument(fcinfo, ARG_NAME, "name");
	require_argument(fcinfo, ARG_DEFINITION, "definition");
	PG_RETURN_OID(create_feature_view(fcinfo,
									  text_to_cstring(PG_GETARG_TEXT_PP(ARG_DEFINITION))));
}

/* create_feature_view(name text, definition regclass, ...) */
Datum
fe_create_feature_view_from(PG_FUNCTION_ARGS)
{
	require_argument(fcinfo, ARG_NAME, "name");
	require_argument(fcinfo, ARG_DEFINITION, "definition");
	PG_RETURN_OID(create_feature_view(fcinfo,
									  fe_definition_text_of_view(PG_GETARG_OID(ARG_DEFINITION))));
}
