/*
 * history.c
 *		The history table of a feature view: its shape, and making it.
 *
 * Runs in the backend that creates, replaces or alters the view, or computes its past;
 * takes the locks of CREATE TABLE and ALTER TABLE ADD COLUMN.  All statements run as the view's
 * owner, who owns the table.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "runtime/compat.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#include "definition/definition.h"
#include "definition/history.h"
#include "definition/template.h"

/* Columns that every history has, after the keys. */
typedef struct FixedColumn
{
	const char *name;
	const char *definition;
	Oid			type;
} FixedColumn;

static const FixedColumn fixed_columns[] = {
	{"event_timestamp", "timestamptz NOT NULL", TIMESTAMPTZOID},
	{"created", "timestamptz NOT NULL", TIMESTAMPTZOID},
	{"lsn", "pg_lsn NOT NULL", LSNOID},
	{"is_deleted", "boolean NOT NULL", BOOLOID}
};

/* ---- shape ------------------------------------------------------------------------- */

FeHistoryShape *
fe_history_shape(const FePlan *plan)
{
	FeHistoryShape *shape = palloc0(sizeof(FeHistoryShape));

	shape->per_window = fe_template_of_plan(plan)->has_window;
	shape->keys = palloc(plan->ncolumns * sizeof(int));
	shape->features = palloc(plan->ncolumns * sizeof(int));
	for (int i = 0; i < plan->ncolumns; i++)
	{
		if (plan->columns[i].key >= 0 || (shape->per_window && i == plan->window_column))
			shape->keys[shape->nkeys++] = i;
		else
			shape->features[shape->nfeatures++] = i;
	}
	return shape;
}

static void
check_names(const FePlan *plan)
{
	for (int i = 0; i < plan->ncolumns; i++)
		for (int f = 0; f < lengthof(fixed_columns); f++)
			if (strcmp(plan->columns[i].name, fixed_columns[f].name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("a feature view with offline => true cannot have a column \"%s\"",
								plan->columns[i].name),
						 errdetail("Its history has a column of that name."),
						 errhint("Give the column another name in the query.")));
}

/* ---- a table that is there ------------------------------------------------------------ */

static char *
type_name(Oid type, int32 typmod)
{
	return format_type_extended(type, typmod,
								FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

static char *
partition_problem(Relation rel)
{
	PartitionKey key;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return pstrdup(_("It is not a partitioned table."));
	key = RelationGetPartitionKey(rel);
	if (key->strategy != PARTITION_STRATEGY_RANGE || key->partnatts != 1 ||
		key->partattrs[0] == 0 ||
		strcmp(get_attname(RelationGetRelid(rel), key->partattrs[0], false),
			   "event_timestamp") != 0)
		return pstrdup(_("It is not partitioned by range of event_timestamp."));
	return NULL;
}

static Form_pg_attribute
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att;
	}
	return NULL;
}

/* typmod -1 and no collation for the fixed ones */
static char *
column_problem(TupleDesc desc, const char *name, Oid type, int32 typmod, Oid collation,
			   bool needed)
{
	Form_pg_attribute att = find_column(desc, name);

	if (att == NULL)
		return needed ? psprintf(_("It has no column \"%s\"."), name) : NULL;
	if (att->atttypid != type || att->atttypmod != typmod)
		return psprintf(_("Its column \"%s\" is of type %s, and that of the feature view is %s."), name,
						format_type_with_typemod(att->atttypid, att->atttypmod),
						format_type_with_typemod(type, typmod));
	if (att->attcollation != collation)
		return psprintf(_("Its column \"%s\" has another collation than that of the feature view."), name);
	if (att->attgenerated != '\0')
		return psprintf(_("Its column \"%s\" is a generated one."), name);
	return NULL;
}

static char *
columns_problem(const FePlan *plan, const FeHistoryShape *shape, TupleDesc desc)
{
	char	   *problem = NULL;

	for (int f = 0; f < lengthof(fixed_columns) && !problem; f++)
		problem = column_problem(desc, fixed_columns[f].name, fixed_columns[f].type, -1,
								 InvalidOid, true);
	for (int i = 0; i < shape->nkeys + shape->nfeatures && !problem; i++)
	{
		bool		is_key = i < shape->nkeys;
		int			number = is_key ? shape->keys[i] : shape->features[i - shape->nkeys];
		const FeColumn *c = &plan->columns[number];

		problem = column_problem(desc, c->name, c->type, c->typmod, c->collation, is_key);
	}
	return problem;
}

static bool
is_key_name(const FePlan *plan, const FeHistoryShape *shape, const char *name)
{
	for (int i = 0; i < shape->nkeys; i++)
		if (strcmp(plan->columns[shape->keys[i]].name, name) == 0)
			return true;
	return strcmp(name, "event_timestamp") == 0;
}

static bool
is_fixed_name(const char *name)
{
	for (int f = 0; f < lengthof(fixed_columns); f++)
		if (strcmp(fixed_columns[f].name, name) == 0)
			return true;
	return false;
}

/* Features may be NULL; a column of no feature gets what is its default. */
static char *
not_null_problem(const FePlan *plan, const FeHistoryShape *shape, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *name = NameStr(att->attname);

		if (!att->attisdropped && att->attnotnull && !att->atthasdef && !is_fixed_name(name) &&
			!is_key_name(plan, shape, name))
			return psprintf(_("Its column \"%s\" is NOT NULL, and is none of the feature view's keys."),
							name);
	}
	return NULL;
}

/* Is it unique by just the keys and event_timestamp? */
static bool
is_unique_by_key(Relation index, TupleDesc desc, const FePlan *plan, const FeHistoryShape *shape)
{
	Form_pg_index form = index->rd_index;

	/* not valid: made ON ONLY the table, with partitions that lack it */
	if (!form->indisunique || !form->indimmediate || !form->indisvalid ||
		form->indnkeyatts != shape->nkeys + 1 ||
		RelationGetIndexExpressions(index) != NIL || RelationGetIndexPredicate(index) != NIL)
		return false;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, form->indkey.values[i] - 1);

		if (!is_key_name(plan, shape, NameStr(att->attname)))
			return false;
	}
	return true;
}

static char *
index_problem(Relation rel, const FePlan *plan, const FeHistoryShape *shape)
{
	bool		found = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		found |= is_unique_by_key(index, RelationGetDescr(rel), plan, shape);
		index_close(index, AccessShareLock);
	}
	return found ? NULL :
		pstrdup(_("It has no primary key of the feature view's keys and event_timestamp."));
}

char *
fe_history_problem(const FePlan *plan, const FeHistoryShape *shape, Oid table)
{
	Relation	rel = try_relation_open(table, AccessShareLock);
	char	   *problem;

	if (rel == NULL)
		return pstrdup(_("It does not exist."));
	problem = partition_problem(rel);
	if (!problem)
		problem = columns_problem(plan, shape, RelationGetDescr(rel));
	if (!problem)
		problem = not_null_problem(plan, shape, RelationGetDescr(rel));
	if (!problem)
		problem = index_problem(rel, plan, shape);
	relation_close(rel, NoLock);
	return problem;
}

/*
 * Just he, not a role that he is a member of (a superuser is one of all): who owns
 * the table decides what its triggers run, as the view's owner.
 */
void
fe_history_check_owner(const FePlan *plan)
{
	if (fe_relation_owner(plan->history) == plan->owner)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("history table \"%s\" does not belong to the owner of feature view \"%s\"",
					get_rel_name(plan->history), plan->name),
			 errhint("ALTER TABLE %s OWNER TO %s.", fe_qualified_relation(plan->history),
					 quote_identifier(GetUserNameFromId(plan->owner, false)))));
}

/* The other feature view that has this history, or NULL. */
static char *
other_user(Oid table, int32 viewid)
{
	ListCell   *lc;

	foreach(lc, fe_catalog_read())
	{
		FeCatalogRow *row = lfirst(lc);

		if (row->history == table && row->viewid != viewid && row->replaces != viewid)
			return row->name;
	}
	return NULL;
}

static void
check_table(const FePlan *plan, const FeHistoryShape *shape, Oid table, int32 viewid, Oid owner)
{
	char	   *problem;
	char	   *other = other_user(table, viewid);

	if (other)
		problem = psprintf(_("It holds the history of feature view \"%s\"."), other);
	else if (fe_relation_owner(table) != owner)
		problem = psprintf(_("It does not belong to the feature view's owner, \"%s\"."),
						   GetUserNameFromId(owner, false));
	else
		problem = fe_history_problem(plan, shape, table);
	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("relation \"%s\" cannot hold the history of feature view \"%s\"",
						get_rel_name(table), plan->name),
				 errdetail("%s", problem),
				 errhint("Rename it, or drop it if it is not needed, and another one is made.")));
}

/* ---- statements --------------------------------------------------------------------- */

static void
execute_as(Oid owner, const char *sql)
{
	Oid			userid;
	int			sec;
	int			nestlevel = NewGUCNestLevel();

	GetUserIdAndSecContext(&userid, &sec);
	SetUserIdAndSecContext(owner, sec | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not execute: %s", sql);
	SPI_finish();
	CommandCounterIncrement();
	AtEOXact_GUC(false, nestlevel);
	SetUserIdAndSecContext(userid, sec);
}

static void
append_column(StringInfo sql, const FeColumn *column)
{
	appendStringInfo(sql, "%s %s", quote_identifier(column->name),
					 type_name(column->type, column->typmod));
	if (OidIsValid(column->collation) && column->collation != get_typcollation(column->type))
		appendStringInfo(sql, " COLLATE %s", fe_qualified_collation(column->collation));
}

static Oid
create_table(const FePlan *plan, const FeHistoryShape *shape, Oid schema, const char *name,
			 Oid owner)
{
	StringInfoData sql;
	char	   *table = quote_qualified_identifier(get_namespace_name(schema), name);

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", table);
	for (int i = 0; i < shape->nkeys; i++)
	{
		append_column(&sql, &plan->columns[shape->keys[i]]);
		appendStringInfoString(&sql, " NOT NULL, ");
	}
	for (int f = 0; f < lengthof(fixed_columns); f++)
		appendStringInfo(&sql, "%s %s, ", fixed_columns[f].name, fixed_columns[f].definition);
	for (int i = 0; i < shape->nfeatures; i++)
	{
		append_column(&sql, &plan->columns[shape->features[i]]);
		appendStringInfoString(&sql, ", ");
	}
	appendStringInfoString(&sql, "PRIMARY KEY (");
	for (int i = 0; i < shape->nkeys; i++)
		appendStringInfo(&sql, "%s, ", quote_identifier(plan->columns[shape->keys[i]].name));
	appendStringInfoString(&sql, "event_timestamp)) PARTITION BY RANGE (event_timestamp)");
	execute_as(owner, sql.data);
	execute_as(owner, psprintf("COMMENT ON TABLE %s IS %s", table,
							   quote_literal_cstr(psprintf("history of feature view \"%s\", written by feature_engine: the newest row with event_timestamp <= t is the value as of t",
														   plan->name))));
	return get_relname_relid(name, schema);
}

static void
add_columns(const FePlan *plan, const FeHistoryShape *shape, Oid table, Oid owner)
{
	StringInfoData sql;
	int			n = 0;

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE %s ", fe_qualified_relation(table));
	for (int i = 0; i < shape->nfeatures; i++)
	{
		const FeColumn *column = &plan->columns[shape->features[i]];

		if (get_attnum(table, column->name) != InvalidAttrNumber)
			continue;
		appendStringInfo(&sql, "%sADD COLUMN ", n++ > 0 ? ", " : "");
		append_column(&sql, column);
	}
	if (n > 0)
		execute_as(owner, sql.data);
}

Oid
fe_history_ensure(const FePlan *plan, Oid relation, int32 viewid, Oid known)
{
	FeHistoryShape *shape = fe_history_shape(plan);
	Oid			schema = get_rel_namespace(relation);
	Oid			owner = fe_relation_owner(relation);
	char	   *name = makeObjectName(plan->name, NULL, "history");
	Oid			table = known;

	check_names(plan);
	if (!OidIsValid(table) || get_rel_name(table) == NULL)
		table = get_relname_relid(name, schema);
	if (!OidIsValid(table))
		return create_table(plan, shape, schema, name, owner);
	check_table(plan, shape, table, viewid, owner);
	add_columns(plan, shape, table, owner);
	return table;
}

/* As with every new version of a view. */
void
fe_history_compare(const FePlan *plan)
{
	Oid			type = INT4OID;
	Datum		viewid = Int32GetDatum(plan->viewid);

	fe_catalog_lock();
	fe_catalog_execute("UPDATE feature_engine." FE_CATALOG_TABLE
					   " SET version = version + 1 WHERE viewid = $1", 1, &type, &viewid, NULL);
}
