/*
 * check_sql.c
 *		The statement of check_feature_view(): stream and batch side by side.
 *
 * Runs in the user's backend, as the view's owner.  A chain of WITH queries:
 * k, the keys to look at (a sample only); s, the streamed rows; b, those of the
 * stored definition; then what batch_compare.c makes of them.  Takes no locks.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "definition/batch.h"
#include "definition/definition.h"

/* ---- which entities --------------------------------------------------------------- */

/*
 * Half of a sample's keys come from the stream, half from the table: what the
 * stream has not got is found, too.
 */
static void
append_sample(FeBatch *b, int sample)
{
	StringInfo	sql = &b->sql;
	const FePlan *plan = b->plan;

	appendStringInfoString(sql, "k AS MATERIALIZED (SELECT * FROM (SELECT ");
	fe_batch_append_keys(b, sql, NULL);
	appendStringInfo(sql, " FROM %s AS t(", fe_qualified_relation(plan->relation));
	fe_batch_append_columns(sql, plan);
	appendStringInfo(sql, ") ORDER BY random() LIMIT %d) AS x UNION SELECT * FROM (SELECT * FROM "
					 "(SELECT DISTINCT ", (sample + 1) / 2);
	fe_batch_append_source_keys(b);
	fe_batch_append_source(b, Max(sample, 1));
	appendStringInfo(sql, ") AS y ORDER BY random() LIMIT %d) AS y), ", (sample + 1) / 2);
}

static void
append_side(FeBatch *b, const char *name, const char *relation, bool looked_up)
{
	StringInfo	sql = &b->sql;

	appendStringInfo(sql, "%s AS MATERIALIZED (", name);
	fe_batch_begin_rows(b, looked_up);
	appendStringInfo(sql, "%s AS x(", relation);
	fe_batch_append_columns(sql, b->plan);
	appendStringInfoChar(sql, ')');
	fe_batch_end_rows(b, looked_up);
	appendStringInfoString(sql, "), ");
}

/* Entities of the scales alone are on neither side: HAVING, say, leaves them out. */
static void
append_comparison(FeBatch *b)
{
	StringInfo	sql = &b->sql;
	const FePlan *plan = b->plan;

	appendStringInfoString(sql, " SELECT jsonb_build_object(");
	for (int i = 0; i < b->nkeys; i++)
		appendStringInfo(sql, "%s%s, c%d", i ? ", " : "",
						 quote_literal_cstr(plan->columns[b->keys[i].column].name),
						 b->keys[i].column);
	appendStringInfoString(sql, ")::text, d.* FROM g, LATERAL (");
	appendStringInfoString(sql, "SELECT NULL::text, CASE WHEN n0 = 1 THEN 'exists' "
						   "WHEN n0 = 0 THEN 'missing' ELSE n0 || ' rows' END, "
						   "CASE WHEN n1 = 1 THEN 'exists' WHEN n1 = 0 THEN 'missing' "
						   "ELSE n1 || ' rows' END WHERE (n0 <> 1 OR n1 <> 1) AND n0 + n1 > 0");
	for (int i = 0; i < plan->ncolumns; i++)
		if (!fe_batch_is_key(b, i))
			appendStringInfo(sql, " UNION ALL SELECT %s, a, b FROM (SELECT v%d_0, v%d_1) AS t(a, b) "
							 "WHERE n0 = 1 AND n1 = 1 AND a IS DISTINCT FROM b "
							 "AND NOT coalesce(%s, false)",
							 quote_literal_cstr(plan->columns[i].name), i, i,
							 fe_batch_same_value(b, i));
	appendStringInfoString(sql, ") AS d");
}

char *
fe_check_statement(const FePlan *plan, int sample)
{
	FeBatch		b;

	fe_batch_init(&b, plan);
	appendStringInfoString(&b.sql, "WITH ");
	if (sample >= 0)
		append_sample(&b, sample);
	b.sampled = sample >= 0;
	append_side(&b, "s", fe_qualified_relation(plan->relation), true);
	append_side(&b, "b", fe_batch_query(&b), false);
	fe_batch_append_groups(&b);
	append_comparison(&b);
	return b.sql.data;
}
