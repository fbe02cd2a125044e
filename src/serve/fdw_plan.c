/*
 * fdw_plan.c
 *		The relation form of a feature view, planner's side: a foreign table of
 *		our own server.
 *
 * Runs in backends.  Two kinds of paths: a scan of all entities, and a lookup
 * by key where each key column is compared for equality, with the grouping's
 * own operator and collation, to something that is known before the scan: a
 * constant, a parameter, an array (IN list, at most one), or another relation's
 * column (a parameterised join).  These clauses are not checked again by the
 * executor, only in EvalPlanQual's rechecks: a lookup returns exactly the rows
 * that fulfil them.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "foreign/fdwapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "parser/parse_coerce.h"
#include "runtime/compat.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"

#include "serve/fdw.h"

PG_FUNCTION_INFO_V1(fe_fdw_handler);

#define FE_LOOKUP_COST		0.01	/* one entity, in units of cpu_tuple_cost * 10 */

/*
 * A scan looks into every partition of the hash table.  So few look-ups are cheaper
 * however few entities there are: who reads one does not meet the errors of others.
 */
#define FE_SCAN_COST		1.0

/* Where the value of a key comes from. */
typedef struct FeKeyClause
{
	RestrictInfo *rinfo;
	Expr	   *value;			/* key's value, or an array of them */
	bool		is_array;
} FeKeyClause;

typedef struct FeRelInfo
{
	FePlan	   *plan;
	double		entities;
	double		rows;			/* of an entity: windows of GROUP BY */
	FeKeyClause *fixed;			/* [nkeys] clauses without another relation */
} FeRelInfo;

/* ---- size --------------------------------------------------------------------- */

static void
get_rel_size(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	FeRelInfo  *info = palloc0(sizeof(FeRelInfo));
	FeViewShared *shared;

	info->plan = fe_plan_by_relation(relid, false);
	info->fixed = palloc0(info->plan->nkeys * sizeof(FeKeyClause));
	shared = fe_shared ? fe_view_find(MyDatabaseId, info->plan->viewid) : NULL;
	info->entities = shared ? (double) pg_atomic_read_u64(&shared->entities) : 1000;
	info->rows = 1;
	if (shared && info->plan->group_window >= 0 && info->entities > 0)
		info->rows = Max(pg_atomic_read_u64(&shared->panes) / info->entities, 1);
	baserel->fdw_private = info;
	baserel->tuples = Max(info->entities, 1) * info->rows;
	set_baserel_size_estimates(root, baserel);
}

/* ---- clauses --------------------------------------------------------------------- */

static bool
is_key_var(Node *node, Index relid, AttrNumber attno)
{
	if (node && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node && IsA(node, Var) && ((Var *) node)->varno == relid &&
		((Var *) node)->varattno == attno && ((Var *) node)->varlevelsup == 0;
}

/* Is it the grouping's equality, or its counterpart for another integer type? */
static bool
is_key_equality(const FeKey *key, Oid opno, Oid collation)
{
	List	   *families;
	ListCell   *lc;
	bool		same = (opno == key->eqop);

	if (OidIsValid(key->collation) && collation != key->collation)
		return false;
	if (same)
		return true;
	families = get_mergejoin_opfamilies(key->eqop);
	foreach(lc, families)
		if (get_op_opfamily_strategy(opno, lfirst_oid(lc)) == BTEqualStrategyNumber)
			same = true;
	return same;
}

/* Can a value of this type be turned into the key's?  The executor does it. */
static bool
value_type_fits(const FeKey *key, Oid type)
{
	Oid			key_type = getBaseType(key->type);

	type = getBaseType(type);
	if (type == key_type || IsBinaryCoercible(type, key_type))
		return true;
	return fe_is_integer(type) && fe_is_integer(key_type);
}

/* Does the clause fix the key (from the other side's value)? */
static bool
match_clause(RestrictInfo *rinfo, RelOptInfo *baserel, const FeKey *key, FeKeyClause *out)
{
	AttrNumber	attno = key->column + 1;
	Expr	   *clause = rinfo->clause;
	Expr	   *value = NULL;
	Oid			opno;
	Oid			collation;

	if (rinfo->pseudoconstant || contain_volatile_functions((Node *) clause))
		return false;
	memset(out, 0, sizeof(*out));
	if (IsA(clause, OpExpr) && list_length(((OpExpr *) clause)->args) == 2)
	{
		OpExpr	   *op = (OpExpr *) clause;

		opno = op->opno;
		collation = op->inputcollid;
		if (is_key_var(linitial(op->args), baserel->relid, attno))
			value = lsecond(op->args);
		else if (is_key_var(lsecond(op->args), baserel->relid, attno))
		{
			value = linitial(op->args);
			opno = get_commutator(opno);
		}
	}
	else if (IsA(clause, ScalarArrayOpExpr) && ((ScalarArrayOpExpr *) clause)->useOr)
	{
		ScalarArrayOpExpr *op = (ScalarArrayOpExpr *) clause;

		opno = op->opno;
		collation = op->inputcollid;
		if (is_key_var(linitial(op->args), baserel->relid, attno))
			value = lsecond(op->args);
		out->is_array = true;
	}
	if (value == NULL || !is_key_equality(key, opno, collation))
		return false;
	if (bms_is_member(baserel->relid, pull_varnos(NULL, (Node *) value)))
		return false;
	if (!value_type_fits(key, out->is_array ? get_base_element_type(exprType((Node *) value))
						 : exprType((Node *) value)))
		return false;
	out->rinfo = rinfo;
	out->value = value;
	return true;
}

static void
find_fixed_keys(RelOptInfo *baserel, FeRelInfo *info)
{
	bool		have_array = false;

	for (int k = 0; k < info->plan->nkeys; k++)
	{
		ListCell   *lc;

		foreach(lc, baserel->baserestrictinfo)
		{
			FeKeyClause found;

			if (!match_clause(lfirst(lc), baserel, &info->plan->keys[k], &found))
				continue;
			if (found.is_array && (have_array || info->fixed[k].rinfo))
				continue;
			if (info->fixed[k].rinfo && !info->fixed[k].is_array)
				break;
			/* a single value takes the place of the key's own array */
			have_array = found.is_array || (have_array && !info->fixed[k].is_array);
			info->fixed[k] = found;
		}
	}
}

/* ---- paths ------------------------------------------------------------------------- */

/* Expected number of values of an array on the right. */
static double
array_length(PlannerInfo *root, Expr *value)
{
	return fe_compat_estimate_array_length(root, (Node *) value);
}

/*
 * A lookup with these clauses.  fdw_private: the clauses, in key order; the
 * plan is made from them.
 */
static void
add_lookup_path(PlannerInfo *root, RelOptInfo *baserel, FeRelInfo *info,
				const FeKeyClause *keys)
{
	Relids		required = NULL;
	List	   *rinfos = NIL;
	double		lookups = 1;
	double		rows = 1;
	ParamPathInfo *ppi;
	Cost		cost;

	for (int k = 0; k < info->plan->nkeys; k++)
	{
		rinfos = lappend(rinfos, keys[k].rinfo);
		required = bms_union(required, keys[k].rinfo->clause_relids);
		if (keys[k].is_array)
			lookups = array_length(root, keys[k].value);
	}
	required = bms_del_member(bms_copy(required), baserel->relid);
	required = bms_union(required, baserel->lateral_relids);
	if (bms_is_empty(required))
	{
		required = NULL;
		rows = Min(baserel->rows, lookups * info->rows);
	}
	else
	{
		ppi = get_baserel_parampathinfo(root, baserel, required);
		rows = ppi ? Min(ppi->ppi_rows, lookups * info->rows) : lookups * info->rows;
	}
	cost = lookups * (FE_LOOKUP_COST + cpu_tuple_cost * 2);
	add_path(baserel, (Path *)
			 fe_compat_foreignscan_path(root, baserel, clamp_row_est(rows), cost,
										required, rinfos));
}

/* Called for each equivalence class: is this its member for our key column? */
typedef struct FeEcArg
{
	RelOptInfo *baserel;
	const FeKey *key;
} FeEcArg;

static bool
ec_member_matches_key(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec,
					  EquivalenceMember *em, void *arg)
{
	FeEcArg    *a = arg;

	return is_key_var((Node *) em->em_expr, a->baserel->relid, a->key->column + 1);
}

/* Join clauses that would fix this key. */
static List *
join_clauses_for_key(PlannerInfo *root, RelOptInfo *baserel, const FeKey *key)
{
	List	   *clauses = list_copy(baserel->joininfo);

	if (baserel->has_eclass_joins)
	{
		FeEcArg		arg = {baserel, key};

		clauses = list_concat(clauses,
							  generate_implied_equalities_for_column(root, baserel,
																	 ec_member_matches_key,
																	 &arg,
																	 baserel->lateral_referencers));
	}
	return clauses;
}

/* Lookups whose keys come from other relations. */
static void
add_join_paths(PlannerInfo *root, RelOptInfo *baserel, FeRelInfo *info)
{
	int			nkeys = info->plan->nkeys;
	FeKeyClause *keys = palloc0(nkeys * sizeof(FeKeyClause));

	for (int k = 0; k < nkeys; k++)
	{
		ListCell   *lc;

		keys[k] = info->fixed[k];
		foreach(lc, join_clauses_for_key(root, baserel, &info->plan->keys[k]))
		{
			RestrictInfo *rinfo = lfirst(lc);
			FeKeyClause found;

			if (!join_clause_is_movable_to(rinfo, baserel) ||
				!match_clause(rinfo, baserel, &info->plan->keys[k], &found) ||
				found.is_array)
				continue;
			if (nkeys == 1)
				add_lookup_path(root, baserel, info, &found);
			else if (keys[k].rinfo == NULL)
				keys[k] = found;
		}
		if (keys[k].rinfo == NULL)
			return;
	}
	if (nkeys > 1)
		add_lookup_path(root, baserel, info, keys);
}

static void
get_paths(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	FeRelInfo  *info = baserel->fdw_private;
	Cost		total = FE_SCAN_COST + info->entities * (FE_LOOKUP_COST / 4 + cpu_tuple_cost);
	bool		all = true;

	total += baserel->baserestrictcost.startup +
		info->entities * baserel->baserestrictcost.per_tuple;
	add_path(baserel, (Path *)
			 fe_compat_foreignscan_path(root, baserel, baserel->rows, total,
										baserel->lateral_relids, NIL));
	find_fixed_keys(baserel, info);
	for (int k = 0; k < info->plan->nkeys; k++)
		all &= info->fixed[k].rinfo != NULL;
	if (all)
		add_lookup_path(root, baserel, info, info->fixed);
	add_join_paths(root, baserel, info);
}

/* ---- plan ---------------------------------------------------------------------------- */

/* Output columns that the query reads, 0-based. */
static List *
wanted_columns(RelOptInfo *baserel, List *scan_clauses, FePlan *plan)
{
	Bitmapset  *attrs = NULL;
	List	   *columns = NIL;
	ListCell   *lc;
	bool		whole;

	pull_varattnos((Node *) baserel->reltarget->exprs, baserel->relid, &attrs);
	foreach(lc, scan_clauses)
		pull_varattnos((Node *) ((RestrictInfo *) lfirst(lc))->clause, baserel->relid, &attrs);
	whole = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, attrs);
	for (int i = 0; i < plan->ncolumns; i++)
		if (whole || bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, attrs))
			columns = lappend_int(columns, i);
	return columns;
}

/*
 * Does a lookup return exactly what the clause asks for?  It finds no entity
 * for NULL, which must be what the operator says, too.
 */
static bool
is_exact(const FeKey *key, const RestrictInfo *rinfo)
{
	Expr	   *clause = rinfo->clause;

	return op_strict(IsA(clause, OpExpr) ? ((OpExpr *) clause)->opno :
					 ((ScalarArrayOpExpr *) clause)->opno) && op_strict(key->eqop);
}

/* Moves the clauses that the lookup fulfils to *fulfilled; returns the others. */
static List *
split_clauses(List *scan_clauses, List *exact, List **fulfilled)
{
	List	   *others = NIL;
	ListCell   *lc;

	foreach(lc, scan_clauses)
	{
		RestrictInfo *rinfo = lfirst(lc);

		if (list_member_ptr(exact, rinfo) || is_redundant_derived_clause(rinfo, exact))
			*fulfilled = lappend(*fulfilled, rinfo);
		else
			others = lappend(others, rinfo);
	}
	return others;
}

static ForeignScan *
get_plan(PlannerInfo *root, RelOptInfo *baserel, Oid relid, ForeignPath *path,
		 List *tlist, List *scan_clauses, Plan *outer_plan)
{
	FeRelInfo  *info = baserel->fdw_private;
	List	   *values = NIL;
	List	   *columns = wanted_columns(baserel, scan_clauses, info->plan);
	List	   *types = NIL;
	List	   *key_types = NIL;
	List	   *exact = NIL;
	List	   *fulfilled = NIL;
	List	   *private;
	List	   *recheck = NIL;
	int			array_key = -1;
	int			k = 0;
	ListCell   *lc;

	foreach(lc, path->fdw_private)
	{
		FeKey	   *key = &info->plan->keys[k];
		FeKeyClause found;
		Oid			type;

		if (!match_clause(lfirst(lc), baserel, key, &found))
			elog(ERROR, "lost the key clause of a feature view lookup");
		values = lappend(values, found.value);
		type = exprType((Node *) found.value);
		if (found.is_array)
		{
			array_key = k;
			type = get_base_element_type(type);
		}
		types = lappend_oid(types, getBaseType(type));
		key_types = lappend_oid(key_types, getBaseType(key->type));
		if (is_exact(key, found.rinfo))
			exact = lappend(exact, found.rinfo);
		k++;
	}
	scan_clauses = split_clauses(scan_clauses, exact, &fulfilled);
	fulfilled = extract_actual_clauses(fulfilled, false);
	/* preparing a recheck at each execution is not free: only where it can happen */
	if (root->rowMarks != NIL || root->parse->commandType != CMD_SELECT)
		recheck = copyObject(fulfilled);
	private = list_make5(columns, makeInteger(values != NIL), makeInteger(array_key),
						 makeInteger(info->plan->viewid), types);
	return make_foreignscan(tlist, extract_actual_clauses(scan_clauses, false),
							baserel->relid, list_concat(values, fulfilled),
							lappend(private, key_types), NIL, recheck, outer_plan);
}

Datum
fe_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = get_rel_size;
	routine->GetForeignPaths = get_paths;
	routine->GetForeignPlan = get_plan;
	routine->BeginForeignScan = fe_fdw_begin;
	routine->IterateForeignScan = fe_fdw_iterate;
	routine->ReScanForeignScan = fe_fdw_rescan;
	routine->EndForeignScan = fe_fdw_end;
	routine->ExplainForeignScan = fe_fdw_explain;
	PG_RETURN_POINTER(routine);
}
