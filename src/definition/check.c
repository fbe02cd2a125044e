/*
 * check.c
 *		check_feature_view(): the streamed values against the batch query.
 *
 * Runs in the user's backend.  Both sides are read by one statement at the
 * same T, as the view's owner.  The statement's snapshot and the streamed
 * state are not the same moment: what differs is looked at again after another
 * sync(), and only what differs every time is reported.  No lock on the source
 * but a reader's.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "definition/definition.h"

PG_FUNCTION_INFO_V1(fe_check_feature_view);

#define MAX_ATTEMPTS	4

/* One differing value. */
typedef struct Difference
{
	char	   *values[4];		/* key, feature, streamed, batch */
} Difference;

/* ---- the statement ---------------------------------------------------------------- */

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

/* c1, c2, ...: the relations' columns under names of our own */
static void
append_columns(StringInfo sql, const FePlan *plan)
{
	for (int i = 0; i < plan->ncolumns; i++)
		appendStringInfo(sql, "%sc%d", i ? ", " : "", i);
}

static void
append_sides(StringInfo sql, const FePlan *plan, int sample)
{
	appendStringInfoString(sql, "WITH s AS MATERIALIZED (SELECT * FROM ");
	appendStringInfo(sql, "%s AS t(", qualified_relation(plan->relation));
	append_columns(sql, plan);
	appendStringInfoChar(sql, ')');
	if (sample >= 0)
	{
		for (int i = 0; i < plan->nkeys; i++)
			appendStringInfo(sql, " %s c%d IS NOT NULL", i ? "AND" : "WHERE",
							 plan->keys[i].column);
		appendStringInfo(sql, " ORDER BY random() LIMIT %d", sample);
	}
	appendStringInfoString(sql, "), b AS MATERIALIZED (SELECT x.* FROM ");
	if (sample >= 0)
	{
		/* OFFSET 0: the keys go down into the grouped query, where an index helps */
		appendStringInfo(sql, "s, LATERAL (SELECT * FROM %s AS t(",
						 qualified_relation(plan->defview));
		append_columns(sql, plan);
		appendStringInfoChar(sql, ')');
		for (int i = 0; i < plan->nkeys; i++)
			appendStringInfo(sql, " %s t.c%d %s s.c%d", i ? "AND" : "WHERE",
							 plan->keys[i].column, operator_text(plan->keys[i].eqop),
							 plan->keys[i].column);
		appendStringInfoString(sql, " OFFSET 0) AS x");
	}
	else
	{
		appendStringInfo(sql, "%s AS x(", qualified_relation(plan->defview));
		append_columns(sql, plan);
		appendStringInfoChar(sql, ')');
	}
	appendStringInfoString(sql, "), u AS (SELECT 0 AS side, s.* FROM s "
						   "UNION ALL SELECT 1, b.* FROM b)");
}

/* One row an entity, with each feature's text on both sides. */
static void
append_groups(StringInfo sql, const FePlan *plan)
{
	appendStringInfoString(sql, ", g AS (SELECT count(*) FILTER (WHERE side = 0) AS n0, "
						   "count(*) FILTER (WHERE side = 1) AS n1");
	for (int i = 0; i < plan->nkeys; i++)
		appendStringInfo(sql, ", c%d", plan->keys[i].column);
	for (int i = 0; i < plan->ncolumns; i++)
		if (plan->columns[i].key < 0)
			for (int side = 0; side < 2; side++)
				appendStringInfo(sql, ", (array_agg(c%d::text) FILTER (WHERE side = %d))[1] "
								 "AS v%d_%d", i, side, i, side);
	appendStringInfoString(sql, " FROM u GROUP BY ");
	for (int i = 0; i < plan->nkeys; i++)
		appendStringInfo(sql, "%sc%d", i ? ", " : "", plan->keys[i].column);
	appendStringInfoChar(sql, ')');
}

/* Condition under which two different texts a and b are the same value. */
static char *
same_value(Oid type)
{
	TypeCacheEntry *entry;
	char	   *name;

	if (type == FLOAT4OID || type == FLOAT8OID)
		return "abs(a::float8 - b::float8) <= 1e-9 * greatest(abs(a::float8), abs(b::float8), 1)";
	entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	if (!OidIsValid(entry->eq_opr))
		return "false";
	name = format_type_be_qualified(type);
	return psprintf("a::%s %s b::%s", name, operator_text(entry->eq_opr), name);
}

static void
append_comparison(StringInfo sql, const FePlan *plan)
{
	const char *sep = "";

	appendStringInfoString(sql, " SELECT jsonb_build_object(");
	for (int i = 0; i < plan->nkeys; i++)
		appendStringInfo(sql, "%s%s, c%d", i ? ", " : "", quote_literal_cstr(plan->keys[i].name),
						 plan->keys[i].column);
	appendStringInfoString(sql, ")::text, d.* FROM g, LATERAL (");
	appendStringInfoString(sql, "SELECT NULL::text, CASE WHEN n0 = 1 THEN 'exists' "
						   "WHEN n0 = 0 THEN 'missing' ELSE n0 || ' rows' END, "
						   "CASE WHEN n1 = 1 THEN 'exists' WHEN n1 = 0 THEN 'missing' "
						   "ELSE n1 || ' rows' END WHERE n0 <> 1 OR n1 <> 1");
	for (int i = 0; i < plan->ncolumns; i++)
		if (plan->columns[i].key < 0)
		{
			sep = " UNION ALL ";
			appendStringInfo(sql, "%sSELECT %s, a, b FROM (SELECT v%d_0, v%d_1) AS t(a, b) "
							 "WHERE n0 = 1 AND n1 = 1 AND a IS DISTINCT FROM b "
							 "AND NOT coalesce(%s, false)", sep,
							 quote_literal_cstr(plan->columns[i].name), i, i,
							 same_value(plan->columns[i].type));
		}
	appendStringInfoString(sql, ") AS d");
}

static char *
build_statement(const FePlan *plan, int sample)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_sides(&sql, plan, sample);
	append_groups(&sql, plan);
	append_comparison(&sql, plan);
	return sql.data;
}

/* ---- running it ------------------------------------------------------------------------ */

static void
collect(List **differences, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Difference *d = palloc0(sizeof(Difference));

		for (int c = 0; c < 4; c++)
		{
			char	   *value = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, c + 1);

			d->values[c] = value ? pstrdup(value) : NULL;
		}
		*differences = lappend(*differences, d);
	}
	MemoryContextSwitchTo(old);
}

static void
run(const char *sql)
{
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not execute: %s", sql);
}

/* Both sides at one T, as the owner of the definition. */
static void
compare_once(const FePlan *plan, const char *sql, List **differences)
{
	MemoryContext cxt = CurrentMemoryContext;
	FeTime		old = fe_clock_set_eval_time(fe_as_of_is_set ? fe_as_of : fe_clock_now());

	PG_TRY();
	{
		Oid			userid;
		int			sec;
		int			nestlevel = NewGUCNestLevel();

		GetUserIdAndSecContext(&userid, &sec);
		SetUserIdAndSecContext(plan->owner, sec | SECURITY_RESTRICTED_OPERATION);
		(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		/* T is set in this process only */
		(void) set_config_option("max_parallel_workers_per_gather", "0", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		SPI_connect();
		run(sql);
		collect(differences, cxt);
		SPI_finish();
		AtEOXact_GUC(false, nestlevel);
		SetUserIdAndSecContext(userid, sec);
	}
	PG_FINALLY();
	{
		(void) fe_clock_set_eval_time(old);
	}
	PG_END_TRY();
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Those of the new list that were also in the old one. */
static List *
still_different(List *old, List *new)
{
	List	   *result = NIL;
	ListCell   *ln;
	ListCell   *lo;

	foreach(ln, new)
	{
		Difference *n = lfirst(ln);

		foreach(lo, old)
		{
			Difference *o = lfirst(lo);

			if (same_text(o->values[0], n->values[0]) && same_text(o->values[1], n->values[1]))
			{
				result = lappend(result, n);
				break;
			}
		}
	}
	return result;
}

static void
wait_until_caught_up(const FePlan *plan)
{
	SPI_connect();
	run(psprintf("SELECT feature_engine.sync(view => %s)",
				 quote_literal_cstr(plan->name)));
	SPI_finish();
}

/*
 * The statement for those entities that differed before is the whole one
 * again: differences are rare, and so are second attempts.
 */
static List *
find_differences(const FePlan *plan, int sample)
{
	char	   *sql = build_statement(plan, sample);
	List	   *differences = NIL;

	wait_until_caught_up(plan);
	compare_once(plan, sql, &differences);
	for (int i = 1; i < MAX_ATTEMPTS && differences != NIL; i++)
	{
		List	   *again = NIL;

		CHECK_FOR_INTERRUPTS();
		pg_usleep(10000L * i);
		wait_until_caught_up(plan);
		/* a sample would be another one */
		compare_once(plan, build_statement(plan, -1), &again);
		differences = still_different(differences, again);
	}
	return differences;
}

/* check_feature_view(name text, sample int) returns table (key, feature, streamed, batch) */
Datum
fe_check_feature_view(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FePlan	   *plan;
	AclResult	acl;
	ListCell   *lc;
	int			sample = PG_ARGISNULL(1) ? -1 : PG_GETARG_INT32(1);

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name of a feature view must not be NULL")));
	if (!PG_ARGISNULL(1) && sample < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sample must be greater than zero")));
	InitMaterializedSRF(fcinfo, 0);
	plan = fe_plan_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	acl = pg_class_aclcheck(plan->relation, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_FOREIGN_TABLE, get_rel_name(plan->relation));
	foreach(lc, find_differences(plan, sample))
	{
		Difference *d = lfirst(lc);
		Datum		values[4];
		bool		nulls[4];

		values[0] = DirectFunctionCall1(jsonb_in, CStringGetDatum(d->values[0]));
		nulls[0] = false;
		for (int c = 1; c < 4; c++)
		{
			nulls[c] = d->values[c] == NULL;
			values[c] = nulls[c] ? (Datum) 0 : CStringGetTextDatum(d->values[c]);
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
