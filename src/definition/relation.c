/*
 * relation.c
 *		The two relations of a feature view: the stored definition, a real view
 *		in feature_engine_def, and the foreign table that users read.
 *
 * Both are created by the extension's owner.  The foreign table belongs to the
 * creating user, who needs no right on feature_engine_def or on the foreign
 * server.  The stored view stays the extension's: workers compile what stands in
 * it, unasked, so that nobody may change it.  Whoever reads it (as
 * check_feature_view does) reads with his own rights: security_invoker.  Runs in
 * the creating backend (columns are also added by the ingest worker at a
 * swap); takes the locks of CREATE VIEW and CREATE FOREIGN TABLE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "commands/view.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "definition/definition.h"

static Oid
definition_schema(void)
{
	return get_namespace_oid(FE_DEF_SCHEMA, false);
}

static void
fill_create(CreateStmt *create, const char *schema, const char *name, List *columns)
{
	create->relation = makeRangeVar(pstrdup(schema), pstrdup(name), -1);
	create->tableElts = columns;
	create->oncommit = ONCOMMIT_NOOP;
}

static void
let_all_read(Oid view)
{
	fe_catalog_execute(psprintf("GRANT SELECT ON %s TO PUBLIC",
								quote_qualified_identifier(FE_DEF_SCHEMA, get_rel_name(view))),
					   0, NULL, NULL, NULL);
}

Oid
fe_create_definition_view(const char *name, Query *query)
{
	CreateStmt *create = makeNode(CreateStmt);
	List	   *columns = NIL;
	ListCell   *lc;
	Oid			schema = definition_schema();
	Oid			view;
	Oid			userid;
	int			sec;

	if (OidIsValid(get_relname_relid(name, schema)))
		name = ChooseRelationName(name, NULL, "new", schema, false);
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst(lc);
		Node	   *expr = (Node *) tle->expr;

		if (!tle->resjunk)
			columns = lappend(columns, makeColumnDef(tle->resname, exprType(expr),
													 exprTypmod(expr), exprCollation(expr)));
	}
	fill_create(create, FE_DEF_SCHEMA, name, columns);
	create->options = list_make1(makeDefElem("security_invoker", (Node *) makeBoolean(true), -1));
	fe_become_owner(&userid, &sec);
	view = DefineRelation(create, RELKIND_VIEW, GetUserId(), NULL, NULL).objectId;
	CommandCounterIncrement();
	StoreViewQuery(view, query, false);
	CommandCounterIncrement();
	fe_become_self(userid, sec);
	let_all_read(view);
	fe_changes_depend_on_tables(view);
	return view;
}

static ColumnDef *
column_def(const FeColumn *column)
{
	return makeColumnDef(column->name, column->type, column->typmod, column->collation);
}

Oid
fe_create_relation(const char *schema, const char *name, const FePlan *plan, Oid owner)
{
	CreateForeignTableStmt *create = makeNode(CreateForeignTableStmt);
	List	   *columns = NIL;
	Oid			relation;
	Oid			userid;
	int			sec;

	for (int i = 0; i < plan->ncolumns; i++)
		columns = lappend(columns, column_def(&plan->columns[i]));
	fill_create(&create->base, schema, name, columns);
	create->servername = FE_SERVER_NAME;
	fe_become_owner(&userid, &sec);
	relation = DefineRelation(&create->base, RELKIND_FOREIGN_TABLE, owner, NULL, NULL).objectId;
	CommandCounterIncrement();
	CreateForeignTable(create, relation);
	CommandCounterIncrement();
	fe_become_self(userid, sec);
	return relation;
}

/* Adds the columns that the plan has and the relation has not, at the end. */
void
fe_add_relation_columns(Oid relation, const FePlan *plan)
{
	List	   *commands = NIL;
	Oid			userid;
	int			sec;

	for (int i = 0; i < plan->ncolumns; i++)
	{
		AlterTableCmd *command;

		if (get_attnum(relation, plan->columns[i].name) != InvalidAttrNumber)
			continue;
		command = makeNode(AlterTableCmd);
		command->subtype = AT_AddColumn;
		command->def = (Node *) column_def(&plan->columns[i]);
		commands = lappend(commands, command);
	}
	if (commands == NIL)
		return;
	fe_become_owner(&userid, &sec);
	AlterTableInternal(relation, commands, false);
	CommandCounterIncrement();
	fe_become_self(userid, sec);
}

/* Dropping the source with CASCADE drops the definition, and that the relation. */
void
fe_record_dependency(Oid relation, Oid definition)
{
	ObjectAddress depender;
	ObjectAddress referenced;

	ObjectAddressSet(depender, RelationRelationId, relation);
	ObjectAddressSet(referenced, RelationRelationId, definition);
	recordDependencyOn(&depender, &referenced, DEPENDENCY_NORMAL);
	fe_changes_depend_on_tables(definition);
}

/* Takes back every dependency of the relation on other relations. */
void
fe_forget_dependency(Oid relation)
{
	(void) deleteDependencyRecordsForClass(RelationRelationId, relation, RelationRelationId,
										   DEPENDENCY_NORMAL);
}
