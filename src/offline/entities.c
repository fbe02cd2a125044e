/*
 * entities.c
 *		The entity query of a training set: which columns it has.
 *
 * Runs in backends, as the caller; takes the locks of parsing a SELECT (ACCESS
 * SHARE).  The query is only analysed here.  Later it stands within the statement
 * of the training set word for word, so it must be one SELECT by itself: then it
 * is one subquery there, too.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "parser/scansup.h"
#include "runtime/compat.h"

#include "definition/query_text.h"
#include "offline/training.h"

fe_compat_noreturn static void
raise_second(const char *text, const RawStmt *second)
{
	int			location = second->stmt_location;

	while (scanner_isspace(text[location]))
		location++;
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("the entity query must be one statement"),
			 fe_query_text_position(text, location)));
}

static RawStmt *
parse_select(const char *text)
{
	List	   *raw = raw_parser(text, RAW_PARSE_DEFAULT);
	SelectStmt *select;

	if (raw == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the entity query is empty"),
				 errhint("Write a SELECT of the key columns and event_timestamp.")));
	if (list_length(raw) > 1)
		raise_second(text, lsecond_node(RawStmt, raw));
	select = (SelectStmt *) linitial_node(RawStmt, raw)->stmt;
	if (!IsA(select, SelectStmt))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the entity query must be a SELECT statement"),
				 fe_query_text_position(text, linitial_node(RawStmt, raw)->stmt_location)));
	if (select->intoClause != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the entity query must not have INTO"),
				 errhint("create_training_set() makes a table of the training set."),
				 fe_query_text_position(text, exprLocation((Node *) select->intoClause->rel))));
	return linitial_node(RawStmt, raw);
}

/* Row locks of the query or of one within it; PostgreSQL tells of no position. */
static bool
refuse_locks(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, refuse_locks, context);
	if (((Query *) node)->rowMarks != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the entity query must not lock rows"),
				 errhint("Leave FOR UPDATE or FOR SHARE out.")));
	return query_tree_walker((Query *) node, refuse_locks, context, 0);
}

/* INSERT, UPDATE, DELETE, MERGE in WITH; below the top PostgreSQL refuses them. */
static void
refuse_changes(const Query *query, const char *text)
{
	ListCell   *lc;

	foreach(lc, query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);

		if (!IsA(cte->ctequery, Query) || ((Query *) cte->ctequery)->commandType == CMD_SELECT)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the entity query must not change data"),
				 errdetail("\"%s\" in its WITH clause does.", cte->ctename),
				 fe_query_text_position(text, cte->location)));
	}
}

static List *
columns_of_query(const Query *query)
{
	List	   *columns = NIL;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		FeEntityColumn *column;

		if (tle->resjunk)
			continue;
		column = palloc(sizeof(FeEntityColumn));
		column->name = pstrdup(tle->resname);
		column->type = exprType((Node *) tle->expr);
		column->typmod = exprTypmod((Node *) tle->expr);
		column->collation = exprCollation((Node *) tle->expr);
		column->location = exprLocation((Node *) tle->expr);
		columns = lappend(columns, column);
	}
	return columns;
}

/* The statement's own text: without what the parser has taken for a semicolon. */
static char *
text_of_statement(const char *text, const RawStmt *raw)
{
	const char *start = text + Max(raw->stmt_location, 0);
	int			len = raw->stmt_len > 0 ? raw->stmt_len : strlen(start);

	while (len > 0 && scanner_isspace(*start))
	{
		start++;
		len--;
	}
	while (len > 0 && scanner_isspace(start[len - 1]))
		len--;
	return pnstrdup(start, len);
}

FeEntities *
fe_entities_analyze(const char *text)
{
	FeEntities *entities = palloc0(sizeof(FeEntities));
	FeQueryText given;
	RawStmt    *raw;
	Query	   *query;

	fe_query_text_begin(&given, text);
	raw = parse_select(text);
	entities->text = text_of_statement(text, raw);
	query = parse_analyze_fixedparams(raw, text, NULL, 0, NULL);
	fe_query_text_end(&given);
	refuse_changes(query, text);
	(void) refuse_locks((Node *) query, NULL);
	entities->columns = columns_of_query(query);
	return entities;
}

FeEntityColumn *
fe_entities_column(const FeEntities *entities, const char *given, const char *name)
{
	FeEntityColumn *found = NULL;
	ListCell   *lc;

	foreach(lc, entities->columns)
	{
		FeEntityColumn *column = lfirst(lc);

		if (strcmp(column->name, name) != 0)
			continue;
		if (found)
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_COLUMN),
					 errmsg("the entity query has two columns \"%s\"", name),
					 fe_query_text_position(given, column->location)));
		found = column;
	}
	return found;
}
