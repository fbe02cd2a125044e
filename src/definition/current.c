/*
 * current.c
 *		Definitions without GROUP BY and aggregates: the current values of each
 *		row of a table with a primary key.
 *
 * Such a definition is stored as the query that means the same, grouped by the
 * columns of the primary key: SELECT id, status FROM t GROUP BY id.  PostgreSQL
 * knows that these determine all others, and that the stored view depends on
 * the constraint: it cannot be dropped from under the view, and pg_dump restores
 * the two in the right order.  So the rest of the engine only knows grouped
 * queries whose columns the keys determine.
 *
 * Runs in the creating backend; takes no locks beyond the catalogues'.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "runtime/compat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "definition/definition.h"
#include "definition/names.h"

/* ---- the primary key ------------------------------------------------------------ */

static void
refuse_table(const FeAnalysis *a, Oid relid, bool deferrable)
{
	char	   *name = get_rel_name(relid);
	const char *why = deferrable ?
		_("Its primary key is deferrable: within a transaction it need not hold.") :
		_("A query without GROUP BY and aggregates serves the current values of each row, which its "
		  "primary key names.");
	const char *hint = deferrable ? _("Make the primary key NOT DEFERRABLE.") :
		psprintf(_("ALTER TABLE %s ADD PRIMARY KEY (...); or name the key columns in GROUP BY, and "
				   "take each feature by an aggregate such as last(column, event_time)."),
				 fe_qualified_relation(relid));

	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("table \"%s\" needs a primary key to serve current values in a feature view",
					name),
			 errdetail("%s", why),
			 errhint("%s", hint),
			 fe_errposition(a, fe_relation_location(a, relid, 0))));
}

static Var *
make_column(Oid relid, AttrNumber attnum)
{
	Oid			type;
	int32		typmod;
	Oid			collation;
	Var		   *var;

	get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
	var = makeVar(1, attnum, type, typmod, collation, 0);
	var->location = -1;
	return var;
}

List *
fe_primary_key(const FeAnalysis *a, Oid relid)
{
	List	   *columns = NIL;
	Oid			constraint;
	HeapTuple	tup;
	Datum		conkey;
	bool		isnull;
	Datum	   *attnums;
	int			n;

	(void) get_primary_key_attnos(relid, false, &constraint);
	if (!OidIsValid(constraint))
	{
		(void) get_primary_key_attnos(relid, true, &constraint);
		refuse_table(a, relid, OidIsValid(constraint));
	}
	tup = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	conkey = SysCacheGetAttr(CONSTROID, tup, Anum_pg_constraint_conkey, &isnull);
	if (isnull)
		elog(ERROR, "null conkey for constraint %u", constraint);
	deconstruct_array(DatumGetArrayTypeP(conkey), INT2OID, sizeof(int16), true, TYPALIGN_SHORT,
					  &attnums, NULL, &n);
	for (int i = 0; i < n; i++)
		columns = lappend(columns, make_column(relid, DatumGetInt16(attnums[i])));
	ReleaseSysCache(tup);
	return columns;
}

/* ---- the query with GROUP BY ------------------------------------------------------ */

static char *
query_text(const FeFlat *flat)
{
	Oid			source = ((FeFlatArm *) linitial(flat->arms))->source;
	char	   *table = get_rel_name(source);
	List	   *names = deparse_context_for(table, source);
	const char *sep = "SELECT ";
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	foreach(lc, flat->targets)
	{
		FeFlatTarget *target = lfirst(lc);

		appendStringInfo(&sql, "%s%s AS %s", sep,
						 deparse_expression(target->expr, names, true, false),
						 quote_identifier(target->name));
		sep = ", ";
	}
	appendStringInfo(&sql, " FROM %s", fe_qualified_relation(source));
	sep = " WHERE ";
	foreach(lc, flat->where)
	{
		appendStringInfo(&sql, "%s(%s)", sep, deparse_expression(lfirst(lc), names, true, false));
		sep = " AND ";
	}
	sep = " GROUP BY ";
	foreach(lc, flat->keys)
	{
		appendStringInfo(&sql, "%s%s", sep,
						 deparse_expression(((FeFlatKey *) lfirst(lc))->expr, names, true, false));
		sep = ", ";
	}
	return sql.data;
}

/* PostgreSQL has written it, and reads it again as what it was. */
static void
check_columns(const FeFlat *flat, const Query *query)
{
	ListCell   *lc;
	ListCell   *lt;

	forboth(lc, query->targetList, lt, flat->targets)
	{
		Node	   *before = ((FeFlatTarget *) lfirst(lt))->expr;
		Node	   *after = (Node *) lfirst_node(TargetEntry, lc)->expr;

		if (exprType(before) != exprType(after) || exprTypmod(before) != exprTypmod(after) ||
			exprCollation(before) != exprCollation(after))
			elog(ERROR, "column \"%s\" of a feature view was not read as it was written",
				 ((FeFlatTarget *) lfirst(lt))->name);
	}
}

Query *
fe_current_query(const FeFlat *flat)
{
	char	   *text = query_text(flat);
	RawStmt    *raw = linitial_node(RawStmt, raw_parser(text, RAW_PARSE_DEFAULT));
	Query	   *query = parse_analyze_fixedparams(raw, text, NULL, 0, NULL);

	check_columns(flat, query);
	return query;
}
