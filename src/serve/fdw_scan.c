/*
 * fdw_scan.c
 *		The relation form of a feature view, executor's side.
 *
 * Runs in backends.  T is taken once, when the scan begins; each entity is
 * read on its own (a scan over many is not one snapshot).
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "serve/fdw.h"

typedef struct FeScan
{
	FePlan	   *plan;
	FeServeReader *reader;
	bool		lookup;
	int			array_key;		/* key given as an array, or -1 */
	List	   *exprs;			/* ExprState *, one per key */
	List	   *types;			/* of their values (array elements), without domains */
	List	   *key_types;		/* of the keys, likewise */

	bool		started;		/* keys are evaluated, or the scan has begun */
	bool		no_match;		/* a key is NULL or out of range; the only one is done */
	bool		found;			/* an entity, which may have more rows */
	Datum	   *keys;
	bool	   *keynulls;
	Datum	   *elements;		/* distinct values of the array key */
	int			nelements;
	int			next;
} FeScan;

bool
fe_integer_as(Oid key_type, Oid value_type, Datum *value)
{
	int64		v;

	if (key_type == value_type || !fe_is_integer(value_type))
		return true;
	v = value_type == INT2OID ? DatumGetInt16(*value) :
		value_type == INT4OID ? DatumGetInt32(*value) : DatumGetInt64(*value);
	if (key_type == INT8OID)
		*value = Int64GetDatum(v);
	else if (key_type == INT4OID && v >= PG_INT32_MIN && v <= PG_INT32_MAX)
		*value = Int32GetDatum((int32) v);
	else if (key_type == INT2OID && v >= PG_INT16_MIN && v <= PG_INT16_MAX)
		*value = Int16GetDatum((int16) v);
	else
		return false;
	return true;
}

static Bitmapset *
column_set(List *columns)
{
	Bitmapset  *set = NULL;
	ListCell   *lc;

	foreach(lc, columns)
		set = bms_add_member(set, lfirst_int(lc));
	/* none wanted is not the same as all wanted: take a key */
	return set ? set : bms_make_singleton(0);
}

/*
 * A replacement takes its place without a lock that would keep readers out, so
 * it may come between planning and here.  Its keys need not be the old ones'.
 */
static void
check_view(const FePlan *plan, int32 planned_for)
{
	if (plan->viewid != planned_for)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature view \"%s\" was replaced while the query was planned", plan->name),
				 errhint("Repeat the query.")));
}

/*
 * The relation's owner may do ALTER FOREIGN TABLE.  Rows are formed by the plan,
 * so that other columns than its own must not be taken for them.
 */
static void
check_relation_columns(const FePlan *plan, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		same = desc->natts == plan->ncolumns;

	for (int i = 0; same && i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		same = !att->attisdropped && att->atttypid == plan->columns[i].type;
	}
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("columns of foreign table \"%s\" are not those of feature view \"%s\"",
						RelationGetRelationName(rel), plan->name),
				 errhint("They have been altered: drop the feature view and create it again.")));
}

void
fe_fdw_begin(ForeignScanState *node, int eflags)
{
	ForeignScan *fs = (ForeignScan *) node->ss.ps.plan;
	FeScan	   *scan = palloc0(sizeof(FeScan));

	scan->plan = fe_plan_by_relation(RelationGetRelid(node->ss.ss_currentRelation), false);
	check_view(scan->plan, intVal(lfourth(fs->fdw_private)));
	check_relation_columns(scan->plan, node->ss.ss_currentRelation);
	scan->lookup = intVal(lsecond(fs->fdw_private)) != 0;
	scan->array_key = intVal(lthird(fs->fdw_private));
	scan->types = list_nth(fs->fdw_private, 4);
	scan->key_types = list_nth(fs->fdw_private, 5);
	for (int k = 0; k < list_length(scan->types); k++)
		scan->exprs = lappend(scan->exprs, ExecInitExpr(list_nth(fs->fdw_exprs, k),
														(PlanState *) node));
	scan->keys = palloc0(scan->plan->nkeys * sizeof(Datum));
	scan->keynulls = palloc0(scan->plan->nkeys * sizeof(bool));
	node->fdw_state = scan;
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	scan->reader = fe_serve_reader_create(scan->plan, column_set(linitial(fs->fdw_private)),
										  fe_clock_eval_time());
}

/* Is the value among the elements since this one already? */
static bool
is_repeated(FeScan *scan, const FeKey *key, Datum value, int since)
{
	for (int i = since; i < scan->nelements; i++)
		if (DatumGetBool(FunctionCall2Coll((FmgrInfo *) &key->eq, key->collation,
										   scan->elements[i], value)))
			return true;
	return false;
}

static int
compare_hashed(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return (x > y) - (x < y);
}

/*
 * The array's distinct elements of the key's type.  Equal values have equal
 * hashes, so only neighbours in hash order need be compared.
 */
static void
fill_elements(FeScan *scan, Datum array_value)
{
	typedef struct
	{
		uint64		hash;
		Datum		value;
	} FeHashed;
	int			k = scan->array_key;
	const FeKey *key = &scan->plan->keys[k];
	ArrayType  *array = DatumGetArrayTypeP(array_value);
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int			m = 0;
	int			run = 0;
	FeHashed   *hashed;

	get_typlenbyvalalign(ARR_ELEMTYPE(array), &typlen, &typbyval, &typalign);
	deconstruct_array(array, ARR_ELEMTYPE(array), typlen, typbyval, typalign,
					  &values, &nulls, &n);
	hashed = palloc(Max(n, 1) * sizeof(FeHashed));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i] || !fe_integer_as(list_nth_oid(scan->key_types, k),
									  list_nth_oid(scan->types, k), &values[i]))
			continue;
		hashed[m].value = values[i];
		hashed[m++].hash = DatumGetUInt64(FunctionCall2Coll((FmgrInfo *) &key->hash,
															key->collation, values[i],
															UInt64GetDatum(0)));
	}
	qsort(hashed, m, sizeof(FeHashed), compare_hashed);
	scan->elements = palloc(Max(m, 1) * sizeof(Datum));
	scan->nelements = 0;
	for (int i = 0; i < m; i++)
	{
		if (i > 0 && hashed[i].hash != hashed[i - 1].hash)
			run = scan->nelements;
		if (!is_repeated(scan, key, hashed[i].value, run))
			scan->elements[scan->nelements++] = hashed[i].value;
	}
}

static void
evaluate_keys(ForeignScanState *node, FeScan *scan)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	MemoryContext old = MemoryContextSwitchTo(scan->reader->keys_cxt);
	ListCell   *lc;
	int			k = 0;

	scan->no_match = false;
	scan->found = false;
	scan->next = 0;
	foreach(lc, scan->exprs)
	{
		scan->keys[k] = ExecEvalExpr((ExprState *) lfirst(lc), econtext, &scan->keynulls[k]);
		if (scan->keynulls[k])
			scan->no_match = true;
		else if (k == scan->array_key)
			fill_elements(scan, scan->keys[k]);
		else if (!fe_integer_as(list_nth_oid(scan->key_types, k),
								list_nth_oid(scan->types, k), &scan->keys[k]))
			scan->no_match = true;
		k++;
	}
	MemoryContextSwitchTo(old);
}

static bool
next_lookup(FeScan *scan, TupleTableSlot *slot)
{
	if (scan->found && fe_serve_next(scan->reader, slot->tts_values, slot->tts_isnull))
		return true;
	scan->found = false;
	while (!scan->no_match)
	{
		if (scan->array_key < 0)
			scan->no_match = true;	/* one key, one entity */
		else if (scan->next == scan->nelements)
			return false;
		else
			scan->keys[scan->array_key] = scan->elements[scan->next++];
		if (fe_serve_lookup(scan->reader, scan->keys, scan->keynulls,
							slot->tts_values, slot->tts_isnull))
		{
			scan->found = true;
			return true;
		}
	}
	return false;
}

TupleTableSlot *
fe_fdw_iterate(ForeignScanState *node)
{
	FeScan	   *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	bool		found;

	ExecClearTuple(slot);
	if (!scan->started)
	{
		if (scan->lookup)
			evaluate_keys(node, scan);
		else
			fe_serve_scan_begin(scan->reader);
		scan->started = true;
	}
	if (scan->lookup)
		found = next_lookup(scan, slot);
	else
		found = fe_serve_scan_next(scan->reader, slot->tts_values, slot->tts_isnull);
	return found ? ExecStoreVirtualTuple(slot) : slot;
}

void
fe_fdw_rescan(ForeignScanState *node)
{
	FeScan	   *scan = node->fdw_state;

	scan->started = false;
	MemoryContextReset(scan->reader->keys_cxt);
}

void
fe_fdw_end(ForeignScanState *node)
{
	FeScan	   *scan = node->fdw_state;

	if (scan && scan->reader)
		fe_serve_reader_release(scan->reader);
}

/*
 * The plans above ours, nearest first, so that parameters of a join are shown
 * as what they stand for.  Where we are not found, they remain parameters.
 */
static bool
find_ancestors(Plan *plan, Plan *ours, List **ancestors)
{
	if (plan == NULL)
		return false;
	if (plan == ours)
		return true;
	check_stack_depth();
	if (!find_ancestors(outerPlan(plan), ours, ancestors) &&
		!find_ancestors(innerPlan(plan), ours, ancestors))
		return false;
	*ancestors = lappend(*ancestors, plan);
	return true;
}

/* The conditions that the lookup itself fulfils. */
static void
explain_keys(ForeignScan *fs, ExplainState *es)
{
	List	   *ancestors = NIL;
	List	   *context;
	List	   *keys = list_copy_tail(fs->fdw_exprs, list_length(list_nth(fs->fdw_private, 4)));

	(void) find_ancestors(es->pstmt->planTree, (Plan *) fs, &ancestors);
	context = set_deparse_context_plan(es->deparse_cxt, (Plan *) fs, ancestors);
	ExplainPropertyText("Key", deparse_expression((Node *) make_ands_explicit(keys), context,
												  es->verbose, false), es);
}

void
fe_fdw_explain(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *fs = (ForeignScan *) node->ss.ps.plan;
	FeScan	   *scan = node->fdw_state;

	ExplainPropertyText("Feature View", scan->plan->name, es);
	ExplainPropertyText("Access", scan->lookup ?
						(scan->array_key < 0 ? "key lookup" : "key lookups from an array") :
						"all entities", es);
	if (list_length(fs->fdw_exprs) > list_length(scan->types))
		explain_keys(fs, es);
}
