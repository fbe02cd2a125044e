/*
 * statements.c
 *		The SQL statements on a history table, prepared once.
 *
 * In the pusher, in its transactions.  Rows that were offered are a relation of
 * the statement (an ephemeral one) with columns c1, c2, ...  Names and operators
 * are written with their schemas: the search_path is that of pg_catalog.
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "offline/internal.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#define WALK_KEYS	256

/* ---- columns ------------------------------------------------------------------------- */

static const char *
column_name(const FeOffline *h, int column)
{
	return quote_identifier(h->plan->columns[column].name);
}

/* a.k1, a.k2 */
static char *
column_list(const FeOffline *h, const char *prefix, const int *columns, int n)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
		appendStringInfo(&buf, "%s%s%s", i > 0 ? ", " : "", prefix, column_name(h, columns[i]));
	return buf.data;
}

char *
fe_offline_keys(const FeOffline *h, const char *prefix)
{
	return column_list(h, prefix, h->shape->keys, h->shape->nkeys);
}

char *
fe_offline_features(const FeOffline *h, const char *prefix)
{
	return column_list(h, prefix, h->shape->features, h->shape->nfeatures);
}

char *
fe_offline_columns(const FeOffline *h, const char *event_timestamp)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%s, %s, created, lsn, is_deleted", fe_offline_keys(h, ""),
					 event_timestamp);
	if (h->shape->nfeatures > 0)
		appendStringInfo(&buf, ", %s", fe_offline_features(h, ""));
	return buf.data;
}

/* ---- comparisons of keys ---------------------------------------------------------------- */

/* What the history's keys are compared with. */
typedef enum KeySide
{
	SIDE_OFFERED,				/* e, a row that was offered */
	SIDE_KEY,					/* k, keys by their names */
	SIDE_PARAMETERS
} KeySide;

static char *
key_term(const FeOffline *h, KeySide side, int i)
{
	switch (side)
	{
		case SIDE_OFFERED:
			return psprintf("e.c%d", FE_OFFLINE_KEY(h, i));
		case SIDE_KEY:
			return psprintf("k.%s", column_name(h, h->shape->keys[i]));
		case SIDE_PARAMETERS:
			break;
	}
	return psprintf("$%d", i + 1);
}

static TypeCacheEntry *
key_type(const FeOffline *h, int i)
{
	return lookup_type_cache(h->plan->columns[h->shape->keys[i]].type,
							 TYPECACHE_EQ_OPR | TYPECACHE_GT_OPR);
}

/* h.k1 = e.c2, of key i */
static void
append_key(StringInfo buf, const FeOffline *h, int i, Oid op, KeySide side)
{
	appendStringInfo(buf, "h.%s %s %s", column_name(h, h->shape->keys[i]), fe_operator_text(op),
					 key_term(h, side, i));
}

/* The first n keys are equal. */
static void
append_equal(StringInfo buf, const FeOffline *h, int n, KeySide side)
{
	for (int i = 0; i < n; i++)
	{
		appendStringInfoString(buf, i > 0 ? " AND " : "");
		append_key(buf, h, i, key_type(h, i)->eq_opr, side);
	}
}

/* ---- writing ------------------------------------------------------------------------ */

static char *
insert_statement(const FeOffline *h)
{
	StringInfoData buf;
	char	   *keys = fe_offline_keys(h, "");
	int			last = FE_OFFLINE_FEATURE(h, h->shape->nfeatures);

	initStringInfo(&buf);
	appendStringInfo(&buf, "INSERT INTO %s (%s) SELECT DISTINCT ON (", h->table,
					 fe_offline_columns(h, "event_timestamp"));
	for (int c = FE_OFFLINE_KEY(h, 0); c <= FE_OFFLINE_EVENT(h); c++)
		appendStringInfo(&buf, "%sc%d", c > FE_OFFLINE_KEY(h, 0) ? ", " : "", c);
	appendStringInfoString(&buf, ") ");
	for (int c = FE_OFFLINE_KEY(h, 0); c < last; c++)
		appendStringInfo(&buf, "%sc%d", c > FE_OFFLINE_KEY(h, 0) ? ", " : "", c);
	appendStringInfoString(&buf, " FROM " FE_OFFLINE_ROWS " ORDER BY ");
	for (int c = FE_OFFLINE_KEY(h, 0); c <= FE_OFFLINE_EVENT(h); c++)
		appendStringInfo(&buf, "c%d, ", c);
	appendStringInfo(&buf, "c%d DESC ON CONFLICT (%s, event_timestamp) DO UPDATE SET"
					 " created = excluded.created, lsn = excluded.lsn,"
					 " is_deleted = excluded.is_deleted", FE_OFFLINE_NUMBER, keys);
	for (int i = 0; i < h->shape->nfeatures; i++)
	{
		const char *name = column_name(h, h->shape->features[i]);

		appendStringInfo(&buf, ", %s = excluded.%s", name, name);
	}
	return buf.data;
}

/* Of each row: when the last one was recorded, and whether it says the same. */
static char *
lookup_statement(const FeOffline *h)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT e.c%d, l.event_timestamp, l.is_deleted, l.same FROM "
					 FE_OFFLINE_ROWS " e CROSS JOIN LATERAL (SELECT h.event_timestamp, h.is_deleted,"
					 " ROW(%s)::record OPERATOR(pg_catalog.*=) ROW(",
					 FE_OFFLINE_NUMBER, fe_offline_features(h, "h."));
	for (int i = 0; i < h->shape->nfeatures; i++)
		appendStringInfo(&buf, "%se.c%d", i > 0 ? ", " : "", FE_OFFLINE_FEATURE(h, i));
	appendStringInfo(&buf, ")::record AS same FROM %s h WHERE ", h->table);
	append_equal(&buf, h, h->shape->nkeys, SIDE_OFFERED);
	appendStringInfoString(&buf, " ORDER BY h.event_timestamp DESC LIMIT 1) l");
	return buf.data;
}

/* ---- the walk ------------------------------------------------------------------------ */

static Oid
namespace_of_operator(Oid op)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(op));
	Oid			result = HeapTupleIsValid(tuple) ?
		((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace : InvalidOid;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

/* (h.k1, h.k2) > (k.k1, k.k2), in a form that an index serves if it can. */
static void
append_after(StringInfo buf, const FeOffline *h, KeySide side)
{
	int			n = h->shape->nkeys;
	Oid			schema = namespace_of_operator(key_type(h, 0)->gt_opr);
	bool		same = true;

	for (int i = 1; i < n; i++)
		same &= namespace_of_operator(key_type(h, i)->gt_opr) == schema;
	if (same)
	{
		const char *row = n > 1 ? "ROW" : "";

		appendStringInfo(buf, "%s(%s) %s %s(", row, fe_offline_keys(h, "h."),
						 fe_operator_text(key_type(h, 0)->gt_opr), row);
		for (int i = 0; i < n; i++)
			appendStringInfo(buf, "%s%s", i > 0 ? ", " : "", key_term(h, side, i));
		appendStringInfoString(buf, ")");
		return;
	}
	for (int i = 0; i < n; i++)
	{
		appendStringInfoString(buf, i == 0 ? "((" : " OR (");
		append_equal(buf, h, i, side);
		appendStringInfoString(buf, i == 0 ? "" : " AND ");
		append_key(buf, h, i, key_type(h, i)->gt_opr, side);
		appendStringInfoString(buf, ")");
	}
	appendStringInfoString(buf, ")");
}

/*
 * The next keys in order, each found by the index, and of their last row: is it a
 * deletion, when?
 */
static char *
walk_statement(const FeOffline *h, bool first)
{
	StringInfoData buf;
	char	   *keys = fe_offline_keys(h, "h.");

	initStringInfo(&buf);
	appendStringInfo(&buf, "WITH RECURSIVE k AS ((SELECT %s FROM %s h ", keys, h->table);
	if (!first)
	{
		appendStringInfoString(&buf, "WHERE ");
		append_after(&buf, h, SIDE_PARAMETERS);
	}
	appendStringInfo(&buf, " ORDER BY %s LIMIT 1) UNION ALL SELECT n.* FROM k CROSS JOIN LATERAL"
					 " (SELECT %s FROM %s h WHERE ", keys, keys, h->table);
	append_after(&buf, h, SIDE_KEY);
	appendStringInfo(&buf, " ORDER BY %s LIMIT 1) n)"
					 " SELECT k.*, l.is_deleted, l.event_timestamp FROM (SELECT * FROM k LIMIT %d) k CROSS JOIN LATERAL"
					 " (SELECT h.is_deleted, h.event_timestamp FROM %s h WHERE ", keys, WALK_KEYS, h->table);
	append_equal(&buf, h, h->shape->nkeys, SIDE_KEY);
	appendStringInfo(&buf, " ORDER BY h.event_timestamp DESC LIMIT 1) l ORDER BY %s",
					 fe_offline_keys(h, "k."));
	return buf.data;
}

/* ---- preparing ------------------------------------------------------------------------ */

static void
forget_plans(FeOffline *h)
{
	for (int i = 0; i < FE_OFFLINE_STATEMENTS; i++)
	{
		if (h->plans[i])
			SPI_freeplan(h->plans[i]);
		h->plans[i] = NULL;
	}
	if (h->table)
		pfree(h->table);
	h->table = NULL;
}

void
fe_offline_forget_plans(void *arg)
{
	FeOffline  *h = arg;

	h->table = NULL;			/* goes by itself */
	forget_plans(h);
}

static char *
text_of(const FeOffline *h, FeOfflineStatement which)
{
	switch (which)
	{
		case FE_OFFLINE_INSERT:
			return insert_statement(h);
		case FE_OFFLINE_LOOKUP:
			return lookup_statement(h);
		case FE_OFFLINE_WALK_FIRST:
		case FE_OFFLINE_WALK_NEXT:
			break;
	}
	return walk_statement(h, which == FE_OFFLINE_WALK_FIRST);
}

static SPIPlanPtr
prepare(const FeOffline *h, FeOfflineStatement which)
{
	char	   *sql = text_of(h, which);
	int			nargs = which == FE_OFFLINE_WALK_NEXT ? h->shape->nkeys : 0;
	Oid			types[FE_MAX_KEYS + 1];
	SPIPlanPtr	plan;

	for (int i = 0; i < nargs; i++)
		types[i] = h->plan->columns[h->shape->keys[i]].type;
	plan = SPI_prepare(sql, nargs, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "could not keep a plan");
	return plan;
}

SPIPlanPtr
fe_offline_statement(FeOffline *h, FeOfflineStatement which)
{
	char	   *table = fe_qualified_relation(h->plan->history);

	if (table == NULL)
		elog(ERROR, "history table %u is gone", h->plan->history);
	if (h->table == NULL || strcmp(h->table, table) != 0)
	{
		forget_plans(h);
		h->table = MemoryContextStrdup(h->cxt, table);
	}
	if (h->plans[which] == NULL)
		h->plans[which] = prepare(h, which);
	return h->plans[which];
}
