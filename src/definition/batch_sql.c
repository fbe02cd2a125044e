/*
 * batch_sql.c
 *		The stored definition of a view as a batch query, in pieces.
 *
 * Runs in the user's backend, as the view's owner.  As a rule it is the stored
 * view itself.  It is written out anew from its flattened form, over rows that the
 * statement chooses, where it has no plain form (session()) or where rows that were
 * not there yet at a past T must be left out.  Takes no locks.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "definition/batch.h"
#include "definition/definition.h"

/* ---- pieces -------------------------------------------------------------------- */

bool
fe_batch_is_key(const FeBatch *b, int column)
{
	for (int i = 0; i < b->nkeys; i++)
		if (b->keys[i].column == column)
			return true;
	return false;
}

void
fe_batch_append_columns(StringInfo sql, const FePlan *plan)
{
	for (int i = 0; i < plan->ncolumns; i++)
		appendStringInfo(sql, "%sc%d", i ? ", " : "", i);
}

void
fe_batch_append_keys(const FeBatch *b, StringInfo sql, const char *x)
{
	for (int i = 0; i < b->nkeys; i++)
		appendStringInfo(sql, "%s%s%sc%d", i ? ", " : "", x ? x : "", x ? "." : "",
						 b->keys[i].column);
}

void
fe_batch_append_key_match(const FeBatch *b, StringInfo sql, const char *x, const char *y)
{
	for (int i = 0; i < b->nkeys; i++)
		appendStringInfo(sql, "%s%s.c%d %s %s.c%d", i ? " AND " : "", x, b->keys[i].column,
						 fe_operator_text(b->keys[i].key->eqop), y, b->keys[i].column);
}

static bool
is_session(const FeBatch *b)
{
	const FePlan *plan = b->plan;

	return plan->group_window >= 0 && plan->windows[plan->group_window].kind == FE_WINDOW_SESSION;
}

/* OFFSET 0: the keys go down, where an index helps.  They do not through gaps and islands. */
void
fe_batch_begin_rows(FeBatch *b, bool looked_up)
{
	appendStringInfoString(&b->sql, "SELECT x.* FROM ");
	if (b->sampled && (looked_up || !is_session(b)))
		appendStringInfoString(&b->sql, "k, LATERAL (SELECT * FROM ");
}

void
fe_batch_end_rows(FeBatch *b, bool looked_up)
{
	bool		by_key = looked_up || !is_session(b);

	if (!b->sampled)
		return;
	appendStringInfoString(&b->sql, by_key ? " WHERE " : " WHERE EXISTS (SELECT FROM k WHERE ");
	fe_batch_append_key_match(b, &b->sql, "x", "k");
	appendStringInfoString(&b->sql, by_key ? " OFFSET 0) AS x" : ")");
}

/* session() is a column of the source's (see append_sessions), by what this node is written as. */
#define SESSION_COLUMN	"case_test_expr"

static Node *
replace_session(Node *node, void *arg)
{
	const FeBatch *b = arg;

	if (node == NULL)
		return NULL;
	if (equal(node, b->flat->window->expr))
	{
		CaseTestExpr *column = makeNode(CaseTestExpr);

		column->typeId = TSTZRANGEOID;
		column->typeMod = -1;
		return (Node *) column;
	}
	return expression_tree_mutator(node, replace_session, arg);
}

/* An expression over the row, in parentheses. */
char *
fe_batch_expression(const FeBatch *b, Node *expr)
{
	if (is_session(b))
		expr = replace_session(expr, (void *) b);
	return psprintf("(%s)", deparse_expression(expr, b->names, true, false));
}

/*
 * So many of the table's pages that they hold more than sample rows (0: all of
 * it), by what the server believes the table's size to be.
 */
static double
sample_percent(Oid relid, int sample)
{
	HeapTuple	tup = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	double		rows = 0;

	if (HeapTupleIsValid(tup))
	{
		rows = ((Form_pg_class) GETSTRUCT(tup))->reltuples;
		ReleaseSysCache(tup);
	}
	return sample > 0 && rows > 0 ? Min(100.0, 100.0 * (10.0 * sample + 1000.0) / rows) : 100.0;
}

/* Without what inherits from it, partitions aside. */
static char *
only_relation(Oid relid)
{
	return psprintf("%s%s", fe_is_partitioned(relid) ? "" : "ONLY ", fe_qualified_relation(relid));
}

static void
append_table(FeBatch *b, Oid relid, int sample)
{
	double		percent = sample_percent(relid, sample);

	appendStringInfoString(&b->sql, only_relation(relid));
	if (percent < 100)
		appendStringInfo(&b->sql, " TABLESAMPLE SYSTEM (%g)", percent);
}

/* sep: what comes before the first; returns what comes before another one. */
static const char *
append_conditions(FeBatch *b, List *where, List *names, const char *sep)
{
	ListCell   *lc;

	foreach(lc, where)
	{
		appendStringInfo(&b->sql, "%s(%s)", sep,
						 deparse_expression(lfirst(lc), names, true, false));
		sep = " AND ";
	}
	return sep;
}

/* ---- rows that were not there yet ------------------------------------------------ */

/* An event time as timestamptz. */
static char *
utc_time(char *text, Oid type)
{
	switch (getBaseType(type))
	{
		case TIMESTAMPOID:
			return psprintf("(%s AT TIME ZONE 'UTC')", text);
		case DATEOID:
			return psprintf("(%s::timestamp AT TIME ZONE 'UTC')", text);
		default:
			return text;
	}
}

/* Of a source table, named so in the statement. */
static const char *
append_event_time(FeBatch *b, Oid relid, const char *name, const char *sep)
{
	char	   *column;

	if (b->past != FE_PAST_COLUMN)
		return sep;
	column = psprintf("%s.%s", name, quote_identifier(b->event_time));
	appendStringInfo(&b->sql, "%s%s <= feature_engine.now()", sep,
					 utc_time(column, get_atttype(relid, get_attnum(relid, b->event_time))));
	return " AND ";
}

/*
 * Rows of which no event has happened yet.  Those without any event time stay, as
 * they do in the present.
 */
static const char *
append_window_times(FeBatch *b, const char *sep)
{
	const FePlan *plan = b->plan;

	if (b->past != FE_PAST_WINDOWS)
		return sep;
	appendStringInfo(&b->sql, "%s(least(", sep);
	for (int i = 0; i < plan->ntracks; i++)
	{
		char	   *time = fe_batch_expression(b, list_nth(plan->rowexprs, plan->tracks[i].expr));

		appendStringInfo(&b->sql, "%s%s", i ? ", " : "", utc_time(time, plan->tracks[i].type));
	}
	appendStringInfoString(&b->sql, ") <= feature_engine.now()) IS NOT FALSE");
	return " AND ";
}

/* ---- FROM and WHERE ---------------------------------------------------------------- */

/* One query of a UNION ALL; implicit casts are written, for they are the union's. */
static void
append_arm(FeBatch *b, const FeFlatArm *arm, int sample)
{
	List	   *names = fe_row_names(NULL, arm->source);
	const char *sep = "SELECT ";
	ListCell   *lc;

	foreach(lc, arm->columns)
	{
		appendStringInfo(&b->sql, "%s%s", sep, deparse_expression(lfirst(lc), names, true, true));
		sep = ", ";
	}
	appendStringInfoString(&b->sql, arm->columns == NIL ? "SELECT FROM " : " FROM ");
	append_table(b, arm->source, sample);
	sep = append_conditions(b, arm->where, names, " WHERE ");
	(void) append_event_time(b, arm->source, quote_identifier(get_rel_name(arm->source)), sep);
}

static void
append_arms(FeBatch *b, int sample)
{
	const char *sep = "(";
	ListCell   *lc;

	foreach(lc, b->flat->arms)
	{
		appendStringInfoString(&b->sql, sep);
		append_arm(b, lfirst(lc), sample);
		sep = " UNION ALL ";
	}
	sep = ") AS u(";
	for (int i = 0; i < b->flat->row_desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(b->flat->row_desc, i);

		appendStringInfo(&b->sql, "%s%s", sep, quote_identifier(NameStr(att->attname)));
		sep = ", ";
	}
	appendStringInfoString(&b->sql, b->flat->row_desc->natts == 0 ? ") AS u" : ")");
}

/* The fact table with its dimensions; a sample is one of the fact table. */
static void
append_joins(FeBatch *b, int sample)
{
	const FeJoin *join = b->flat->join;
	StringInfo	sql = &b->sql;
	double		percent = sample_percent(join->relids[0], sample);

	for (int i = 0; i < join->ncolumns; i++)
		appendStringInfo(sql, "%sa%d.%s AS %s", i ? ", " : "(SELECT ", join->columns[i].arm,
						 quote_identifier(get_attname(join->relids[join->columns[i].arm],
													  join->columns[i].attnum, false)),
						 quote_identifier(NameStr(TupleDescAttr(b->flat->row_desc, i)->attname)));
	appendStringInfo(sql, " FROM %s AS a0", only_relation(join->relids[0]));
	if (percent < 100)
		appendStringInfo(sql, " TABLESAMPLE SYSTEM (%g)", percent);
	for (int d = 0; d < join->ndims; d++)
	{
		appendStringInfo(sql, " %sJOIN %s AS a%d", join->dims[d].outer ? "LEFT " : "",
						 only_relation(join->relids[d + 1]), d + 1);
		for (int k = 0; k < join->dims[d].nkeys; k++)
			appendStringInfo(sql, " %s %s", k ? "AND" : "ON",
							 fe_join_key_text(join, d, k, "a"));
	}
	(void) append_event_time(b, join->relids[0], "a0", " WHERE ");
	appendStringInfoString(sql, ") AS u");
}

/*
 * What the definition reads, or of each table a sample for so many entities.  Returns
 * what comes before another condition.
 */
static const char *
append_rows(FeBatch *b, int sample)
{
	Oid			source = ((FeFlatArm *) linitial(b->flat->arms))->source;
	const char *sep = " WHERE ";

	appendStringInfoString(&b->sql, " FROM ");
	if (b->flat->join)
		append_joins(b, sample);
	else if (b->flat->row_desc)
		append_arms(b, sample);
	else
	{
		append_table(b, source, sample);
		sep = append_event_time(b, source, b->alias, sep);
	}
	sep = append_conditions(b, b->flat->where, b->names, sep);
	return append_window_times(b, sep);
}

/* Rows of entities of the sample: no others matter for their sessions. */
static void
append_sampled(FeBatch *b)
{
	appendStringInfoString(&b->sql, " AND EXISTS (SELECT FROM k AS fe_check_key");
	for (int i = 0; i < b->plan->nkeys; i++)
	{
		const FeBatchKey *key = &b->keys[i];

		appendStringInfo(&b->sql, "%s%s %s fe_check_key.c%d", i ? " AND " : " WHERE ",
						 fe_batch_expression(b, key->key->expr), fe_operator_text(key->key->eqop),
						 key->column);
	}
	appendStringInfoChar(&b->sql, ')');
}

/*
 * Gaps and islands: the source's rows with the session of each.  Of three queries
 * the innermost tells where one begins, the next numbers them.
 */
static void
append_sessions(FeBatch *b)
{
	const FeWindow *w = &b->plan->windows[b->plan->group_window];
	StringInfo	sql = &b->sql;
	StringInfoData keys;
	char	   *gap = psprintf("interval '%s'", fe_format_usecs(w->width));
	Node	   *event = linitial(castNode(FuncExpr, b->flat->window->expr)->args);
	char	   *time = utc_time(fe_batch_expression(b, event), exprType(event));
	const char *sep;

	initStringInfo(&keys);
	for (int i = 0; i < b->plan->nkeys; i++)
		appendStringInfo(&keys, "%sfe_check_k%d", i ? ", " : "", i);
	appendStringInfo(sql, " FROM (SELECT s.*, tstzrange(min(fe_check_ts) OVER i, max(fe_check_ts) OVER i + %s) AS "
					 SESSION_COLUMN, gap);
	appendStringInfo(sql, " FROM (SELECT s.*, sum(fe_check_new) OVER (PARTITION BY %s ORDER BY fe_check_ts) "
					 "AS fe_check_island", keys.data);
	appendStringInfo(sql, " FROM (SELECT s.*, CASE WHEN fe_check_ts - lag(fe_check_ts) OVER "
					 "(PARTITION BY %s ORDER BY fe_check_ts) <= %s THEN 0 ELSE 1 END AS fe_check_new",
					 keys.data, gap);
	appendStringInfo(sql, " FROM (SELECT %s.*, %s AS fe_check_ts",
					 b->alias, time);
	for (int i = 0; i < b->plan->nkeys; i++)
	{
		FeFlatKey  *key = list_nth(b->flat->keys, i);

		appendStringInfo(sql, ", %s AS fe_check_k%d", fe_batch_expression(b, key->expr), i);
	}
	sep = append_rows(b, 0);
	appendStringInfo(sql, "%sisfinite(%s)", sep, time);
	if (b->sampled)
		append_sampled(b);
	if (w->retention != 0)
		appendStringInfo(sql, " AND %s + %s > feature_engine.now() - interval '%s'", time, gap,
						 fe_format_usecs(w->retention));
	appendStringInfo(sql, ") AS s) AS s) AS s WINDOW i AS (PARTITION BY %s, fe_check_island)) AS %s",
					 keys.data, b->alias);
}

void
fe_batch_append_source(FeBatch *b, int sample)
{
	if (is_session(b))
		append_sessions(b);
	else
		(void) append_rows(b, sample);
}

/* The keys' expressions over the source row, named as the relation's columns. */
void
fe_batch_append_source_keys(FeBatch *b)
{
	for (int i = 0; i < b->nkeys; i++)
		appendStringInfo(&b->sql, "%s%s AS c%d", i ? ", " : "",
						 fe_batch_expression(b, b->keys[i].key->expr), b->keys[i].column);
}

/* ---- the definition ---------------------------------------------------------------- */

/* Written out anew; all keys are outputs, so GROUP BY names them by number. */
static char *
flat_query(const FeBatch *all)
{
	FeBatch		b = *all;
	const FePlan *plan = b.plan;
	const char *sep = " HAVING ";
	ListCell   *lc;

	initStringInfo(&b.sql);
	foreach(lc, b.flat->targets)
		appendStringInfo(&b.sql, "%s%s", foreach_current_index(lc) ? ", " : "(SELECT ",
						 fe_batch_expression(&b, ((FeFlatTarget *) lfirst(lc))->expr));
	fe_batch_append_source(&b, 0);
	for (int i = 0; i < plan->nkeys; i++)
		appendStringInfo(&b.sql, "%s%d", i ? ", " : " GROUP BY ", plan->keys[i].column + 1);
	if (plan->group_window >= 0)
		appendStringInfo(&b.sql, ", %d", plan->window_column + 1);
	foreach(lc, b.flat->having)
	{
		appendStringInfo(&b.sql, "%s%s", sep, fe_batch_expression(&b, lfirst(lc)));
		sep = " AND ";
	}
	appendStringInfoChar(&b.sql, ')');
	return b.sql.data;
}

/* Without the windows that retention hides (of sessions their events are left out). */
static char *
visible_query(const FeBatch *b)
{
	const FePlan *plan = b->plan;
	const FeWindow *window = plan->group_window < 0 ? NULL : &plan->windows[plan->group_window];
	char	   *query = is_session(b) || b->past != FE_PAST_NONE ? flat_query(b) :
		fe_qualified_relation(plan->defview);
	StringInfoData sql;

	if (window == NULL || window->retention == 0 || is_session(b))
		return query;
	initStringInfo(&sql);
	appendStringInfo(&sql, "(SELECT * FROM %s AS x(", query);
	fe_batch_append_columns(&sql, plan);
	appendStringInfo(&sql, ") WHERE (upper(c%d) > feature_engine.now() - interval '%s') IS NOT FALSE)",
					 plan->window_column, fe_format_usecs(window->retention));
	return sql.data;
}

/* As they are served: no key is NULL, and of several windows there is the newest. */
static char *
served_query(const FeBatch *b)
{
	const FePlan *plan = b->plan;
	bool		newest = plan->group_window >= 0 && !fe_batch_is_key(b, plan->window_column);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "(SELECT ");
	if (newest)
	{
		appendStringInfoString(&sql, "DISTINCT ON (");
		fe_batch_append_keys(b, &sql, NULL);
		appendStringInfoString(&sql, ") ");
	}
	appendStringInfo(&sql, "* FROM %s AS x(", visible_query(b));
	fe_batch_append_columns(&sql, plan);
	appendStringInfoString(&sql, ") WHERE ");
	for (int i = 0; i < b->nkeys; i++)
		appendStringInfo(&sql, "%sc%d IS NOT NULL", i ? " AND " : "", b->keys[i].column);
	if (newest)
	{
		appendStringInfo(&sql, " AND (lower(c%d) <= feature_engine.now()) IS NOT FALSE ORDER BY ",
						 plan->window_column);
		fe_batch_append_keys(b, &sql, NULL);
		appendStringInfo(&sql, ", lower(c%d) DESC NULLS LAST", plan->window_column);
	}
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

char *
fe_batch_query(const FeBatch *b)
{
	return b->served ? served_query(b) : visible_query(b);
}

/* ---- what is asked for ----------------------------------------------------------------- */

void
fe_batch_init(FeBatch *b, const FePlan *plan)
{
	FeFlatArm  *first;
	FeAnalysis	a;

	memset(b, 0, sizeof(FeBatch));
	b->plan = plan;
	b->flat = fe_plan_flatten(plan);
	fe_analysis_init(&a, NULL, NULL);
	fe_take_window_key(&a, b->flat);
	for (int i = 0; i < plan->nkeys; i++)
		b->keys[b->nkeys++] = (FeBatchKey) {plan->keys[i].column, list_nth(b->flat->keys, i)};
	if (plan->group_window >= 0)
		b->keys[b->nkeys++] = (FeBatchKey) {plan->window_column, b->flat->window};
	first = linitial(b->flat->arms);
	b->alias = b->flat->row_desc ? "u" : quote_identifier(get_rel_name(first->source));
	b->names = fe_row_names(b->flat->row_desc, first->source);
	initStringInfo(&b->sql);
}

void
fe_batch_set_served(FeBatch *b, bool per_window)
{
	b->served = true;
	if (b->plan->group_window >= 0 && !per_window)
		b->nkeys = b->plan->nkeys;
}
