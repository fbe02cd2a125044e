/*
 * skew_sql.c
 *		The statement of skew_report(): history and batch side by side at T.
 *
 * A chain of WITH queries: h, the newest recorded row of each entity; f, the
 * entities of which something was recorded shortly after T; s, the entities that
 * are there by the history; b, those of the batch query; then what
 * definition/batch_compare.c makes of them.  A value that differs does not count
 * where its entity is in f: what happened at T takes a moment to be recorded.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "offline/skew.h"

char *
fe_skew_problem(const FeSkew *s, int column)
{
	const FeBatch *b = &s->past.batch;
	bool		undated;
	char	   *problem = fe_batch_past_problem(b, column, &undated);

	if (problem == NULL && column < 0 && fe_batch_having_uses_time(b->plan))
		return pstrdup(_("HAVING depends on now(), which is looked at every time_refresh only."));
	if (problem == NULL || !undated)
		return problem;
	return psprintf(_("%s Not compared without event_time."), problem);
}

/* ---- the two sides -------------------------------------------------------------------- */

/* h, f, s */
static void
append_history(FeSkew *s)
{
	const FePast *p = &s->past;
	StringInfo	sql = &s->past.batch.sql;

	appendStringInfoString(sql, "h(");
	fe_batch_append_columns(sql, p->plan);
	appendStringInfoString(sql, ", here, et) AS MATERIALIZED (SELECT ");
	fe_past_append_columns(p, sql);
	appendStringInfoString(sql, ", NOT is_deleted, event_timestamp FROM ");
	fe_past_append_newest(p, sql, "event_timestamp <= feature_engine.now()");
	appendStringInfoString(sql, " AS x), f(");
	for (int i = 0; i < p->shape->nkeys; i++)
		appendStringInfo(sql, "%sc%d", i ? ", " : "", p->shape->keys[i]);
	appendStringInfoString(sql, ") AS MATERIALIZED (SELECT DISTINCT ");
	fe_past_append_keys(p, sql);
	appendStringInfo(sql, " FROM %s WHERE event_timestamp > feature_engine.now() "
					 "AND event_timestamp <= feature_engine.now() + interval '%s'), ",
					 p->table, fe_format_usecs(s->lag + p->plan->options.history_interval));
	appendStringInfoString(sql, "s AS (SELECT * FROM h WHERE here), ");
}

static void
append_batch(FeSkew *s)
{
	FeBatch    *b = &s->past.batch;

	appendStringInfo(&b->sql, "b AS MATERIALIZED (SELECT * FROM %s AS x(", fe_batch_query(b));
	fe_batch_append_columns(&b->sql, b->plan);
	appendStringInfoString(&b->sql, ")), ");
}

/* ---- value by value ---------------------------------------------------------------------- */

/* A text as a number, or NULL for types that are none. */
static char *
number(Oid type, const char *text)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
			return psprintf("%s::numeric", text);
		case FLOAT4OID:
		case FLOAT8OID:
			return psprintf("%s::float8::numeric", text);
		default:
			return NULL;
	}
}

/* Columns of d: by how much a and b differ, and what that is measured by. */
static char *
distance(Oid type)
{
	char	   *a = number(type, "a");
	char	   *b = number(type, "b");

	if (a == NULL)
		return pstrdup("NULL::numeric, NULL::numeric");
	return psprintf("CASE WHEN a = b THEN 0 ELSE abs(%s - %s) END, greatest(abs(%s), abs(%s))",
					a, b, a, b);
}

/* Rows d(i, a, b, differs, missing, extra, distance, size) of one entity. */
static void
append_values(FeSkew *s)
{
	const FePlan *plan = s->past.plan;
	FeBatch    *b = &s->past.batch;
	StringInfo	sql = &b->sql;

	appendStringInfoString(sql, "LATERAL (SELECT -1, CASE WHEN n0 = 0 THEN 'missing' ELSE 'exists' END, "
						   "CASE WHEN n1 = 0 THEN 'missing' ELSE 'exists' END, n0 <> n1, n0 < n1, n0 > n1, "
						   "NULL::numeric, NULL::numeric");
	appendStringInfoString(sql, fe_skew_problem(s, -1) ? " WHERE false" : " WHERE n0 + n1 > 0");
	for (int i = 0; i < plan->ncolumns; i++)
	{
		if (fe_batch_is_key(b, i) || fe_skew_problem(s, i))
			continue;
		appendStringInfo(sql, " UNION ALL SELECT %d, a, b, a IS DISTINCT FROM b AND NOT coalesce(%s, false), "
						 "a IS NULL AND b IS NOT NULL, a IS NOT NULL AND b IS NULL, %s "
						 "FROM (SELECT v%d_0, v%d_1) AS t(a, b) WHERE n0 = 1 AND n1 = 1%s",
						 i, fe_batch_same_value(b, i), distance(plan->columns[i].type), i, i,
						 plan->columns[i].uses_time ? " AND h.et = feature_engine.now()" : "");
	}
	appendStringInfoString(sql, ") AS d(i, a, b, differs, missing, extra, distance, size)");
}

/* jsonb of a differing value; the least text of all is shown, which is always the same. */
static void
append_example(FeSkew *s)
{
	FeBatch    *b = &s->past.batch;
	StringInfo	sql = &b->sql;

	appendStringInfoString(sql, "min(jsonb_build_object('key', jsonb_build_object(");
	for (int i = 0; i < b->nkeys; i++)
		appendStringInfo(sql, "%s%s, g.c%d", i ? ", " : "",
						 quote_literal_cstr(b->plan->columns[b->keys[i].column].name),
						 b->keys[i].column);
	appendStringInfoString(sql, "), 'event_timestamp', feature_engine.now(), 'history', a, 'batch', b)::text) "
						   "FILTER (WHERE differs AND counts)");
}

/* float8 takes neither the greatest nor the least numerics; NaN is greater than all. */
static char *
as_float8(const char *value)
{
	return psprintf("CASE WHEN %s > 1e300 THEN 'Infinity' WHEN %s < 1e-300 THEN 0 ELSE (%s)::float8 END",
					value, value, value);
}

static void
append_counts(FeSkew *s)
{
	FeBatch    *b = &s->past.batch;
	StringInfo	sql = &b->sql;

	appendStringInfo(sql, " SELECT i, count(*) FILTER (WHERE counts), "
					 "count(*) FILTER (WHERE differs AND counts), "
					 "count(*) FILTER (WHERE differs AND counts AND missing), "
					 "count(*) FILTER (WHERE differs AND counts AND extra), "
					 "max(CASE WHEN distance = 0 THEN 0 WHEN distance < 'Infinity' THEN %s ELSE 'Infinity' END) "
					 "FILTER (WHERE counts AND distance IS NOT NULL), "
					 "max(%s) FILTER (WHERE counts AND distance IS NOT NULL), ",
					 as_float8("distance / size"), as_float8("distance"));
	append_example(s);
	appendStringInfoString(sql, " FROM g LEFT JOIN h ON ");
	fe_batch_append_key_match(b, sql, "g", "h");
	appendStringInfoString(sql, " LEFT JOIN f ON ");
	fe_batch_append_key_match(b, sql, "g", "f");
	appendStringInfoString(sql, ", ");
	append_values(s);
	appendStringInfo(sql, ", LATERAL (SELECT NOT differs OR f.c%d IS NULL) AS e(counts) GROUP BY i",
					 b->keys[0].column);
}

static bool
compares_anything(const FeSkew *s)
{
	for (int i = -1; i < s->past.plan->ncolumns; i++)
		if (!(i >= 0 && fe_batch_is_key(&s->past.batch, i)) && fe_skew_problem(s, i) == NULL)
			return true;
	return false;
}

char *
fe_skew_statement(FeSkew *s)
{
	StringInfo	sql = &s->past.batch.sql;

	if (!compares_anything(s))
		return NULL;
	resetStringInfo(sql);
	appendStringInfoString(sql, "WITH ");
	append_history(s);
	append_batch(s);
	fe_batch_append_groups(&s->past.batch);
	append_counts(s);
	return sql->data;
}
