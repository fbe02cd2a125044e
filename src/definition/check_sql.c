/*
 * check_sql.c
 *		The statement of check_feature_view(): stream and batch side by side.
 *
 * Runs in the user's backend, as the view's owner.  A chain of WITH queries:
 * k, the keys to look at (a sample only); s, the streamed rows; b, those of the
 * stored definition; z, the scale of what floating-point aggregates take in; g,
 * one row an entity with each feature's text on both sides.  Takes no locks.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "definition/definition.h"

/* A column of those that tell rows apart: a key, or the window of GROUP BY. */
typedef struct CheckKey
{
	int			column;
	FeFlatKey  *key;
} CheckKey;

typedef struct CheckSql
{
	StringInfoData sql;
	const FePlan *plan;
	FeFlat	   *flat;			/* the stored definition over its row */
	int			nkeys;
	CheckKey	keys[FE_MAX_KEYS + 1];
	List	   *names;			/* of the row's columns, for deparsing */
	const char *alias;			/* the row's name in them */
	bool		scaled;			/* some column needs z */
} CheckSql;

/* ---- pieces -------------------------------------------------------------------- */

static char *
qualified_relation(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

static char *
operator_text(Oid op)
{
	HeapTuple	tup = SearchSysCache1(OPEROID, ObjectIdGetDatum(op));
	Form_pg_operator form;
	char	   *result;

	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for operator %u", op);
	form = (Form_pg_operator) GETSTRUCT(tup);
	result = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
					  NameStr(form->oprname));
	ReleaseSysCache(tup);
	return result;
}

/* Does the column tell rows apart? */
static bool
is_key(const CheckSql *c, int column)
{
	return c->plan->columns[column].key >= 0 || c->plan->window_column == column;
}

/* c1, c2, ...: the relations' columns under names of our own */
static void
append_columns(StringInfo sql, const FePlan *plan)
{
	for (int i = 0; i < plan->ncolumns; i++)
		appendStringInfo(sql, "%sc%d", i ? ", " : "", i);
}

static bool
is_session(const CheckSql *c)
{
	const FePlan *plan = c->plan;

	return plan->group_window >= 0 && plan->windows[plan->group_window].kind == FE_WINDOW_SESSION;
}

/* session() is a column of the source's (see append_sessions), by what this node is written as. */
#define SESSION_COLUMN	"case_test_expr"

static Node *
replace_session(Node *node, void *arg)
{
	const CheckSql *c = arg;

	if (node == NULL)
		return NULL;
	if (equal(node, c->flat->window->expr))
	{
		CaseTestExpr *column = makeNode(CaseTestExpr);

		column->typeId = TSTZRANGEOID;
		column->typeMod = -1;
		return (Node *) column;
	}
	return expression_tree_mutator(node, replace_session, arg);
}

/* An expression over the row, in parentheses. */
static char *
source_expression(const CheckSql *c, Node *expr)
{
	if (is_session(c))
		expr = replace_session(expr, (void *) c);
	return psprintf("(%s)", deparse_expression(expr, c->names, true, false));
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

static void
append_table(CheckSql *c, Oid relid, int sample)
{
	double		percent = sample_percent(relid, sample);

	appendStringInfo(&c->sql, "%s%s", fe_is_partitioned(relid) ? "" : "ONLY ",
					 qualified_relation(relid));
	if (percent < 100)
		appendStringInfo(&c->sql, " TABLESAMPLE SYSTEM (%g)", percent);
}

static void
append_conditions(CheckSql *c, List *where, List *names)
{
	const char *sep = " WHERE ";
	ListCell   *lc;

	foreach(lc, where)
	{
		appendStringInfo(&c->sql, "%s(%s)", sep,
						 deparse_expression(lfirst(lc), names, true, false));
		sep = " AND ";
	}
}

/* One query of a UNION ALL; implicit casts are written, for they are the union's. */
static void
append_arm(CheckSql *c, const FeFlatArm *arm, int sample)
{
	List	   *names = fe_row_names(NULL, arm->source);
	const char *sep = "SELECT ";
	ListCell   *lc;

	foreach(lc, arm->columns)
	{
		appendStringInfo(&c->sql, "%s%s", sep, deparse_expression(lfirst(lc), names, true, true));
		sep = ", ";
	}
	appendStringInfoString(&c->sql, arm->columns == NIL ? "SELECT FROM " : " FROM ");
	append_table(c, arm->source, sample);
	append_conditions(c, arm->where, names);
}

static void
append_arms(CheckSql *c, int sample)
{
	const char *sep = "(";
	ListCell   *lc;

	foreach(lc, c->flat->arms)
	{
		appendStringInfoString(&c->sql, sep);
		append_arm(c, lfirst(lc), sample);
		sep = " UNION ALL ";
	}
	sep = ") AS u(";
	for (int i = 0; i < c->flat->row_desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(c->flat->row_desc, i);

		appendStringInfo(&c->sql, "%s%s", sep, quote_identifier(NameStr(att->attname)));
		sep = ", ";
	}
	appendStringInfoString(&c->sql, c->flat->row_desc->natts == 0 ? ") AS u" : ")");
}

/* What the definition reads, or of each table a sample for so many entities. */
static void
append_rows(CheckSql *c, int sample)
{
	appendStringInfoString(&c->sql, " FROM ");
	if (c->flat->row_desc)
		append_arms(c, sample);
	else
		append_table(c, ((FeFlatArm *) linitial(c->flat->arms))->source, sample);
	append_conditions(c, c->flat->where, c->names);
}

/* The event time of session(), as timestamptz. */
static char *
session_time(const CheckSql *c)
{
	FuncExpr   *call = castNode(FuncExpr, c->flat->window->expr);
	Node	   *time = linitial(call->args);
	char	   *text = source_expression(c, time);

	switch (getBaseType(exprType(time)))
	{
		case TIMESTAMPOID:
			return psprintf("(%s AT TIME ZONE 'UTC')", text);
		case DATEOID:
			return psprintf("(%s::timestamp AT TIME ZONE 'UTC')", text);
		default:
			return text;
	}
}

/*
 * Gaps and islands: the source's rows with the session of each.  Of three queries
 * the innermost tells where one begins, the next numbers them.
 */
static void
append_sessions(CheckSql *c)
{
	const FeWindow *w = &c->plan->windows[c->plan->group_window];
	StringInfo	sql = &c->sql;
	StringInfoData keys;
	char	   *gap = psprintf("interval '%s'", fe_format_usecs(w->width));
	char	   *time = session_time(c);

	initStringInfo(&keys);
	for (int i = 0; i < c->plan->nkeys; i++)
		appendStringInfo(&keys, "%sfe_check_k%d", i ? ", " : "", i);
	appendStringInfo(sql, " FROM (SELECT s.*, tstzrange(min(fe_check_ts) OVER i, max(fe_check_ts) OVER i + %s) AS "
					 SESSION_COLUMN, gap);
	appendStringInfo(sql, " FROM (SELECT s.*, sum(fe_check_new) OVER (PARTITION BY %s ORDER BY fe_check_ts) "
					 "AS fe_check_island", keys.data);
	appendStringInfo(sql, " FROM (SELECT s.*, CASE WHEN fe_check_ts - lag(fe_check_ts) OVER "
					 "(PARTITION BY %s ORDER BY fe_check_ts) <= %s THEN 0 ELSE 1 END AS fe_check_new",
					 keys.data, gap);
	appendStringInfo(sql, " FROM (SELECT %s.*, %s AS fe_check_ts",
					 c->alias, time);
	for (int i = 0; i < c->plan->nkeys; i++)
	{
		FeFlatKey  *key = list_nth(c->flat->keys, i);

		appendStringInfo(sql, ", %s AS fe_check_k%d", source_expression(c, key->expr), i);
	}
	append_rows(c, 0);
	appendStringInfo(sql, "%s isfinite(%s)", c->flat->where ? " AND" : " WHERE", time);
	if (w->retention != 0)
		appendStringInfo(sql, " AND %s + %s > feature_engine.now() - interval '%s'", time, gap,
						 fe_format_usecs(w->retention));
	appendStringInfo(sql, ") AS s) AS s) AS s WINDOW i AS (PARTITION BY %s, fe_check_island)) AS %s",
					 keys.data, c->alias);
}

static void
append_source(CheckSql *c, int sample)
{
	if (is_session(c))
		append_sessions(c);
	else
		append_rows(c, sample);
}

/* The keys' expressions over the source row, named as the relation's columns. */
static void
append_source_keys(CheckSql *c)
{
	for (int i = 0; i < c->nkeys; i++)
		appendStringInfo(&c->sql, "%s%s AS c%d", i ? ", " : "",
						 source_expression(c, c->keys[i].key->expr), c->keys[i].column);
}

/* The definition of a view with sessions, which has no plain form. */
static char *
session_query(const CheckSql *all)
{
	CheckSql	c = *all;
	const char *sep = " HAVING ";
	ListCell   *lc;

	initStringInfo(&c.sql);
	foreach(lc, c.flat->targets)
		appendStringInfo(&c.sql, "%s%s", foreach_current_index(lc) ? ", " : "(SELECT ",
						 source_expression(&c, ((FeFlatTarget *) lfirst(lc))->expr));
	append_source(&c, 0);
	for (int i = 0; i < c.nkeys; i++)
		appendStringInfo(&c.sql, "%s%s", i ? ", " : " GROUP BY ",
						 source_expression(&c, c.keys[i].key->expr));
	foreach(lc, c.flat->having)
	{
		appendStringInfo(&c.sql, "%s%s", sep, source_expression(&c, lfirst(lc)));
		sep = " AND ";
	}
	appendStringInfoChar(&c.sql, ')');
	return c.sql.data;
}

/* What the batch form says; windows that retention hides are left out. */
static char *
batch_query(const CheckSql *c)
{
	const FePlan *plan = c->plan;
	StringInfoData sql;

	if (is_session(c))
		return session_query(c);
	if (plan->group_window < 0 || plan->windows[plan->group_window].retention == 0)
		return qualified_relation(plan->defview);
	initStringInfo(&sql);
	appendStringInfo(&sql, "(SELECT * FROM %s AS x(", qualified_relation(plan->defview));
	append_columns(&sql, plan);
	appendStringInfo(&sql, ") WHERE (upper(c%d) > feature_engine.now() - interval '%s') IS NOT FALSE)",
					 plan->window_column,
					 fe_format_usecs(plan->windows[plan->group_window].retention));
	return sql.data;
}

/* ---- which entities --------------------------------------------------------------- */

/*
 * Half of a sample's keys come from the stream, half from the table: what the
 * stream has not got is found, too.
 */
static void
append_sample(CheckSql *c, int sample)
{
	StringInfo	sql = &c->sql;
	const FePlan *plan = c->plan;

	appendStringInfoString(sql, "k AS MATERIALIZED (SELECT * FROM (SELECT ");
	for (int i = 0; i < c->nkeys; i++)
		appendStringInfo(sql, "%sc%d", i ? ", " : "", c->keys[i].column);
	appendStringInfo(sql, " FROM %s AS t(", qualified_relation(plan->relation));
	append_columns(sql, plan);
	appendStringInfo(sql, ") ORDER BY random() LIMIT %d) AS x UNION SELECT * FROM (SELECT * FROM "
					 "(SELECT DISTINCT ", (sample + 1) / 2);
	append_source_keys(c);
	append_source(c, Max(sample, 1));
	appendStringInfo(sql, ") AS y ORDER BY random() LIMIT %d) AS y), ", (sample + 1) / 2);
}

/* Rows x of the keys k. */
static void
append_key_match(CheckSql *c)
{
	for (int i = 0; i < c->nkeys; i++)
		appendStringInfo(&c->sql, " %s x.c%d %s k.c%d", i ? "AND" : "WHERE",
						 c->keys[i].column, operator_text(c->keys[i].key->eqop),
						 c->keys[i].column);
}

/* One side; of a sample by key.  OFFSET 0: the keys go down, where an index helps. */
static void
append_side(CheckSql *c, const char *name, const char *relation, int sample)
{
	StringInfo	sql = &c->sql;
	const FePlan *plan = c->plan;

	appendStringInfo(sql, "%s AS MATERIALIZED (SELECT x.* FROM ", name);
	if (sample >= 0)
		appendStringInfoString(sql, "k, LATERAL (SELECT * FROM ");
	appendStringInfo(sql, "%s AS x(", relation);
	append_columns(sql, plan);
	appendStringInfoChar(sql, ')');
	if (sample >= 0)
	{
		append_key_match(c);
		appendStringInfoString(sql, " OFFSET 0) AS x");
	}
	appendStringInfoString(sql, "), ");
}

/* ---- the scale of floating-point inputs ---------------------------------------------- */

static bool
is_float(Oid type)
{
	return type == FLOAT4OID || type == FLOAT8OID;
}

static bool
find_aggrefs(Node *node, void *list)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		*(List **) list = lappend(*(List **) list, node);
		return false;
	}
	return expression_tree_walker(node, find_aggrefs, list);
}

/* Has the column a scale: is it a float made from aggregates over floats? */
static List *
float_aggrefs(const CheckSql *c, int column)
{
	FeFlatTarget *target = list_nth(c->flat->targets, column);
	List	   *aggrefs = NIL;
	List	   *result = NIL;
	ListCell   *lc;

	if (!is_float(c->plan->columns[column].type))
		return NIL;
	(void) find_aggrefs(target->expr, &aggrefs);
	foreach(lc, aggrefs)
	{
		Aggref	   *agg = lfirst(lc);

		if (agg->args != NIL &&
			is_float(exprType((Node *) linitial_node(TargetEntry, agg->args)->expr)))
			result = lappend(result, agg);
	}
	return result;
}

/* The greatest magnitude, NaN and infinities aside, that these aggregates take in. */
static void
append_scale(CheckSql *c, List *aggrefs, int column)
{
	ListCell   *lc;

	appendStringInfoString(&c->sql, ", greatest(0");
	foreach(lc, aggrefs)
	{
		Aggref	   *agg = lfirst(lc);
		TargetEntry *first = linitial(agg->args);
		char	   *arg = source_expression(c, (Node *) first->expr);

		appendStringInfo(&c->sql, ", max(CASE WHEN abs(%s) < 'Infinity' THEN abs(%s::float8) END)",
						 arg, arg);
		if (agg->aggfilter)
			appendStringInfo(&c->sql, " FILTER (WHERE %s)",
							 source_expression(c, (Node *) agg->aggfilter));
	}
	appendStringInfo(&c->sql, ")::float8 AS z%d", column);
}

/* A row for each entity, with the scales of its columns. */
static void
append_scales(CheckSql *c, int sample)
{
	const FePlan *plan = c->plan;
	StringInfo	sql = &c->sql;

	appendStringInfoString(sql, "z AS MATERIALIZED (SELECT x.* FROM ");
	appendStringInfoString(sql, sample >= 0 ? "k, LATERAL (SELECT * FROM (SELECT " : "(SELECT ");
	append_source_keys(c);
	for (int i = 0; i < plan->ncolumns; i++)
	{
		List	   *aggrefs = float_aggrefs(c, i);

		if (aggrefs)
			append_scale(c, aggrefs, i);
	}
	append_source(c, 0);
	for (int i = 0; i < c->nkeys; i++)
		appendStringInfo(sql, "%s%d", i ? ", " : " GROUP BY ", i + 1);
	appendStringInfoString(sql, ") AS x");
	if (sample >= 0)
	{
		append_key_match(c);
		appendStringInfoString(sql, " OFFSET 0) AS x");
	}
	appendStringInfoString(sql, "), ");
}

/* ---- the comparison --------------------------------------------------------------- */

/* Sides 0 and 1 are stream and batch; 2 has the scales. */
static void
append_union(CheckSql *c)
{
	static const char *const sides[] = {"s", "b", "z"};
	const FePlan *plan = c->plan;
	StringInfo	sql = &c->sql;

	appendStringInfoString(sql, "u AS (");
	for (int side = 0; side < (c->scaled ? 3 : 2); side++)
	{
		appendStringInfo(sql, "%sSELECT %d AS side", side ? " UNION ALL " : "", side);
		for (int i = 0; i < plan->ncolumns; i++)
			appendStringInfo(sql, side == 2 && !is_key(c, i) ? ", NULL" : ", c%d", i);
		for (int i = 0; i < plan->ncolumns; i++)
			if (float_aggrefs(c, i))
				appendStringInfo(sql, side == 2 ? ", z%d" : ", NULL::float8 AS z%d", i);
		appendStringInfo(sql, " FROM %s", sides[side]);
	}
	appendStringInfoString(sql, "), ");
}

/* One row an entity, with each feature's text on both sides. */
static void
append_groups(CheckSql *c)
{
	StringInfo	sql = &c->sql;
	const FePlan *plan = c->plan;

	appendStringInfoString(sql, "g AS (SELECT count(*) FILTER (WHERE side = 0) AS n0, "
						   "count(*) FILTER (WHERE side = 1) AS n1");
	for (int i = 0; i < c->nkeys; i++)
		appendStringInfo(sql, ", c%d", c->keys[i].column);
	for (int i = 0; i < plan->ncolumns; i++)
	{
		if (!is_key(c, i))
			for (int side = 0; side < 2; side++)
				appendStringInfo(sql, ", (array_agg(c%d::text) FILTER (WHERE side = %d))[1] "
								 "AS v%d_%d", i, side, i, side);
		if (float_aggrefs(c, i))
			appendStringInfo(sql, ", max(z%d) AS z%d", i, i);
	}
	appendStringInfoString(sql, " FROM u GROUP BY ");
	for (int i = 0; i < c->nkeys; i++)
		appendStringInfo(sql, "%sc%d", i ? ", " : "", c->keys[i].column);
	appendStringInfoChar(sql, ')');
}

/*
 * Condition under which two different texts a and b are the same value.  Floats
 * are compared as numerics, which neither overflow nor underflow.
 */
static char *
same_value(const CheckSql *c, int column)
{
	Oid			type = c->plan->columns[column].type;
	TypeCacheEntry *entry;
	char	   *name;

	if (is_float(type))
		return psprintf("CASE WHEN abs(a::float8) < 'Infinity' AND abs(b::float8) < 'Infinity' "
						"THEN abs(a::float8::numeric - b::float8::numeric) <= %s * "
						"greatest(abs(a::float8::numeric), abs(b::float8::numeric)%s) END",
						type == FLOAT4OID ? "0.00000024" : "0.000000001",
						float_aggrefs(c, column) ? psprintf(", z%d::numeric", column) : "");
	entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	if (!OidIsValid(entry->eq_opr))
		return "false";
	name = format_type_be_qualified(type);
	return psprintf("a::%s %s b::%s", name, operator_text(entry->eq_opr), name);
}

/* Entities of the scales alone are on neither side: HAVING, say, leaves them out. */
static void
append_comparison(CheckSql *c)
{
	StringInfo	sql = &c->sql;
	const FePlan *plan = c->plan;

	appendStringInfoString(sql, " SELECT jsonb_build_object(");
	for (int i = 0; i < c->nkeys; i++)
		appendStringInfo(sql, "%s%s, c%d", i ? ", " : "",
						 quote_literal_cstr(plan->columns[c->keys[i].column].name),
						 c->keys[i].column);
	appendStringInfoString(sql, ")::text, d.* FROM g, LATERAL (");
	appendStringInfoString(sql, "SELECT NULL::text, CASE WHEN n0 = 1 THEN 'exists' "
						   "WHEN n0 = 0 THEN 'missing' ELSE n0 || ' rows' END, "
						   "CASE WHEN n1 = 1 THEN 'exists' WHEN n1 = 0 THEN 'missing' "
						   "ELSE n1 || ' rows' END WHERE (n0 <> 1 OR n1 <> 1) AND n0 + n1 > 0");
	for (int i = 0; i < plan->ncolumns; i++)
		if (!is_key(c, i))
			appendStringInfo(sql, " UNION ALL SELECT %s, a, b FROM (SELECT v%d_0, v%d_1) AS t(a, b) "
							 "WHERE n0 = 1 AND n1 = 1 AND a IS DISTINCT FROM b "
							 "AND NOT coalesce(%s, false)",
							 quote_literal_cstr(plan->columns[i].name), i, i, same_value(c, i));
	appendStringInfoString(sql, ") AS d");
}

char *
fe_check_statement(const FePlan *plan, int sample)
{
	CheckSql	c = {.plan = plan, .flat = fe_plan_flatten(plan)};

	FeAnalysis	a;

	fe_analysis_init(&a, NULL, NULL);
	fe_take_window_key(&a, c.flat);
	for (int i = 0; i < plan->nkeys; i++)
		c.keys[c.nkeys++] = (CheckKey) {plan->keys[i].column, list_nth(c.flat->keys, i)};
	if (plan->group_window >= 0)
		c.keys[c.nkeys++] = (CheckKey) {plan->window_column, c.flat->window};
	c.alias = c.flat->row_desc ? "u" :
		quote_identifier(get_rel_name(((FeFlatArm *) linitial(c.flat->arms))->source));
	c.names = fe_row_names(c.flat->row_desc, ((FeFlatArm *) linitial(c.flat->arms))->source);
	initStringInfo(&c.sql);
	appendStringInfoString(&c.sql, "WITH ");
	if (sample >= 0)
		append_sample(&c, sample);
	append_side(&c, "s", qualified_relation(plan->relation), sample);
	append_side(&c, "b", batch_query(&c), sample);
	for (int i = 0; i < plan->ncolumns; i++)
		c.scaled |= float_aggrefs(&c, i) != NIL;
	if (c.scaled)
		append_scales(&c, sample);
	append_union(&c);
	append_groups(&c);
	append_comparison(&c);
	return c.sql.data;
}
