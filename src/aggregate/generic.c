/*
 * generic.c
 *		Recognises any SQL aggregate that no specialised kind computes: PostgreSQL
 *		does, from the arguments of the rows, which kind "values" keeps.
 *
 * Refused is what would not give the batch query's value: an aggregate that takes
 * its rows in an order and is not told which, and one whose functions do not
 * depend on their arguments alone.  PostgreSQL does not say which aggregates
 * depend on the order.  Its own are listed here; of a user's it is believed
 * that they do not, unless the call has an ORDER BY.
 *
 * Runs in whoever compiles a definition; needs the system caches, no locks.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "aggregate/sql_call.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_agg.h"
#include "parser/parse_func.h"
#include "runtime/runtime.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* Of pg_catalog; some are of later versions only. */
static const char *const order_sensitive[] = {
	"any_value", "array_agg", "string_agg", "xmlagg",
	"json_agg", "json_agg_strict", "jsonb_agg", "jsonb_agg_strict",
	"json_object_agg", "json_object_agg_strict",
	"json_object_agg_unique", "json_object_agg_unique_strict",
	"jsonb_object_agg", "jsonb_object_agg_strict",
	"jsonb_object_agg_unique", "jsonb_object_agg_unique_strict"
};

static bool
refuse(FeAggRefusal *why, char *message, char *detail, char *hint)
{
	why->sqlstate = ERRCODE_FEATURE_NOT_SUPPORTED;
	why->message = message;
	why->detail = detail;
	why->hint = hint;
	return false;
}

static char *
not_supported(const Aggref *agg)
{
	return psprintf(_("aggregate function %s is not supported in a feature view"),
					format_procedure(agg->aggfnoid));
}

/* ---- the order of the rows -------------------------------------------------------- */

static bool
is_order_sensitive(Oid fn)
{
	char	   *name;

	if (fn == F_SUM_FLOAT4)
		return true;			/* it is rounded at each step */
	if (get_func_namespace(fn) != PG_CATALOG_NAMESPACE)
		return false;
	name = get_func_name(fn);
	for (int i = 0; i < lengthof(order_sensitive); i++)
		if (strcmp(name, order_sensitive[i]) == 0)
			return true;
	return false;
}

/* DISTINCT sorts the rows, as an ordered set does. */
static bool
check_order(const Aggref *agg, FeAggRefusal *why)
{
	char	   *name = get_func_name(agg->aggfnoid);

	if (agg->aggkind != AGGKIND_NORMAL || agg->aggorder != NIL || agg->aggdistinct != NIL ||
		!is_order_sensitive(agg->aggfnoid))
		return true;
	if (agg->aggfnoid == F_SUM_FLOAT4)
		return refuse(why, not_supported(agg),
					  pstrdup(_("Its result depends on the order of the rows, because it is rounded to real at each step.")),
					  pstrdup(_("Cast the argument: sum(x::float8).")));
	return refuse(why,
				  psprintf(_("%s without ORDER BY is not supported in a feature view"), name),
				  pstrdup(_("Its result depends on the order of the rows.")),
				  psprintf(_("Say which: %s(... ORDER BY event_time, id)."), name));
}

/* ---- functions that are not immutable --------------------------------------------- */

/* Has the JSON form of a type's values to do with the session? */
static bool
json_depends_on_session(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);
	Oid			cast_fn;
	Oid			output;
	bool		varlena;

	/* these have a form of their own */
	if (base == BOOLOID || base == DATEOID || base == TIMESTAMPOID || base == JSONOID ||
		base == JSONBOID)
		return false;
	if (base == TIMESTAMPTZOID || base == RECORDOID || base == RECORDARRAYOID)
		return true;
	if (OidIsValid(element))
		return json_depends_on_session(element);
	if (get_typtype(base) == TYPTYPE_COMPOSITE)
	{
		TupleDesc	desc = lookup_rowtype_tupdesc(base, -1);
		bool		result = false;

		for (int i = 0; i < desc->natts; i++)
			result = result || (!TupleDescAttr(desc, i)->attisdropped &&
								json_depends_on_session(TupleDescAttr(desc, i)->atttypid));
		ReleaseTupleDesc(desc);
		return result;
	}
	if (base >= FirstNormalObjectId)
	{
		cast_fn = get_cast_oid(base, JSONOID, true);
		if (OidIsValid(cast_fn))
			return true;
	}
	getTypeOutputInfo(base, &output, &varlena);
	return func_volatile(output) != PROVOLATILE_IMMUTABLE;
}

static bool
is_json_aggregate(const Aggref *agg)
{
	return agg->aggfnoid < FirstNormalObjectId &&
		strncmp(get_func_name(agg->aggfnoid), "json", 4) == 0;
}

/* Arguments of the JSON aggregates, which are stable because of some types only. */
static bool
check_json_arguments(const Aggref *agg, FeAggRefusal *why)
{
	for (int i = 0; i < list_length(agg->aggargtypes); i++)
	{
		TargetEntry *tle = list_nth(agg->args, i);
		Oid			type = exprType((Node *) tle->expr);

		if (IsA(tle->expr, Const) || !json_depends_on_session(type))
			continue;
		return refuse(why,
					  psprintf(_("%s of type %s is not supported in a feature view"),
							   get_func_name(agg->aggfnoid), format_type_be(type)),
					  pstrdup(_("Its JSON form depends on the session's settings.")),
					  getBaseType(type) == TIMESTAMPTZOID ?
					  pstrdup(_("Say in which time zone: write the timestamptz as (... AT TIME ZONE 'UTC').")) :
					  pstrdup(_("Convert the value by an immutable function first.")));
	}
	return true;
}

/*
 * Of a C function over an internal state, which only an aggregate can call,
 * nothing ever reads the label, and "volatile" is what it gets without one (those
 * of the extension hll have none): it says nothing.
 */
static bool
is_label_meant(Oid fn)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fn));
	Form_pg_proc form;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", fn);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	result = form->provolatile != PROVOLATILE_VOLATILE || form->prolang != ClanguageId ||
		form->pronargs == 0 || form->proargtypes.values[0] != INTERNALOID;
	ReleaseSysCache(tuple);
	return result;
}

static bool
check_function(const Aggref *agg, Oid fn, FeAggRefusal *why)
{
	char		volatility;

	if (!OidIsValid(fn))
		return true;
	volatility = func_volatile(fn);
	if (volatility == PROVOLATILE_IMMUTABLE || !is_label_meant(fn))
		return true;
	if (volatility == PROVOLATILE_STABLE && is_json_aggregate(agg))
		return check_json_arguments(agg, why);
	return refuse(why, not_supported(agg),
				  psprintf(_("Its function %s is %s; it must be immutable."), format_procedure(fn),
						   volatility == PROVOLATILE_VOLATILE ? "volatile" :
						   "stable, not immutable"),
				  agg->aggfnoid < FirstNormalObjectId ? NULL :
				  pstrdup(_("If its result depends on nothing but its arguments, declare it IMMUTABLE.")));
}

typedef struct AggregateFunctions
{
	Oid			trans;
	Oid			final;
	Oid			combine;
	Oid			serial;
	Oid			deserial;
	Oid			transtype;
} AggregateFunctions;

static AggregateFunctions
functions_of(Oid fn)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(fn));
	Form_pg_aggregate form;
	AggregateFunctions result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", fn);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	result.trans = form->aggtransfn;
	result.final = form->aggfinalfn;
	result.combine = form->aggcombinefn;
	result.serial = form->aggserialfn;
	result.deserial = form->aggdeserialfn;
	result.transtype = form->aggtranstype;
	ReleaseSysCache(tuple);
	return result;
}

/* ---- columns ------------------------------------------------------------------------ */

static bool
check_column(const Aggref *agg, Node *expr, FeAggRefusal *why)
{
	Oid			type = exprType(expr);

	if (type != RECORDOID && type != RECORDARRAYOID && get_typlen(type) != -2)
		return true;
	return refuse(why,
				  psprintf(_("%s of type %s is not supported in a feature view"),
						   get_func_name(agg->aggfnoid), format_type_be(type)),
				  pstrdup(_("Its values cannot be kept.")), NULL);
}

/*
 * An argument with columns in the place of what is kept: all of it, of a ROW()
 * its fields (which a process knows only while it computes them), of a constant
 * nothing.  NULL: refused.
 */
static Node *
take_columns(FeSqlCall *call, Node *expr, FeAggRefusal *why)
{
	ListCell   *lc;
	int			n = 0;

	if (IsA(expr, Const))
		return expr;
	if (IsA(expr, RowExpr))
	{
		RowExpr    *row = (RowExpr *) expr;

		foreach(lc, row->args)
			if ((lfirst(lc) = take_columns(call, lfirst(lc), why)) == NULL)
				return NULL;
		return expr;
	}
	if (!check_column(call->source, expr, why))
		return NULL;
	foreach(lc, call->column_exprs)
	{
		n++;
		if (equal(lfirst(lc), expr))
			break;
	}
	if (lc == NULL)
	{
		call->column_exprs = lappend(call->column_exprs, expr);
		n++;
	}
	return (Node *) makeVar(OUTER_VAR, n, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);
}

/*
 * Columns without which a strict transition function is not called: the bits that
 * pack_arguments takes.
 */
static int32
required_columns(const FeSqlCall *call, Oid transfn)
{
	const Aggref *agg = call->agg;
	int32		bits = 0;
	int			i = 0;
	ListCell   *lc;

	if (agg->aggkind != AGGKIND_NORMAL || !func_strict(transfn))
		return 0;
	foreach(lc, agg->args)
	{
		Node	   *expr = (Node *) ((TargetEntry *) lfirst(lc))->expr;

		if (i++ >= list_length(agg->aggargtypes))
			break;
		if (IsA(expr, Var) && ((Var *) expr)->varattno <= 31)
			bits |= (int32) 1 << (((Var *) expr)->varattno - 1);
	}
	return bits;
}

static void
describe_columns(FeSqlCall *call)
{
	ListCell   *lc;

	call->columns = CreateTemplateTupleDesc(list_length(call->column_exprs));
	foreach(lc, call->column_exprs)
	{
		AttrNumber	n = foreach_current_index(lc) + 1;
		Node	   *expr = lfirst(lc);

		TupleDescInitEntry(call->columns, n, NULL, exprType(expr), exprTypmod(expr), 0);
		TupleDescInitEntryCollation(call->columns, n, exprCollation(expr));
	}
}

/* pack_arguments(required, columns ...); a constant where there is no column. */
static Node *
pack_expression(const FeSqlCall *call, Oid transfn)
{
	Oid			types[2] = {INT4OID, ANYOID};
	Oid			pack;
	Const	   *required;

	if (call->column_exprs == NIL)
		return (Node *) makeConst(BYTEAOID, -1, InvalidOid, -1,
								  CStringGetTextDatum(""), false, false);
	pack = LookupFuncName(list_make2(makeString(FE_SCHEMA), makeString("pack_arguments")),
						  2, types, false);
	required = makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
						 Int32GetDatum(required_columns(call, transfn) |
									   (call->folds ? PG_INT32_MIN : 0)), false, true);
	return (Node *) makeFuncExpr(pack, BYTEAOID, lcons(required, copyObject(call->column_exprs)),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/* ---- the call ------------------------------------------------------------------------ */

/* As the planner leaves it to the executor. */
static void
complete_call(Aggref *agg, Oid transtype)
{
	Oid			types[FUNC_MAX_ARGS];
	int			n = get_aggregate_argtypes(agg, types);

	agg->aggtranstype = resolve_aggregate_transtype(agg->aggfnoid, transtype, types, n);
	agg->aggfilter = NULL;
	agg->agglevelsup = 0;
	agg->aggsplit = AGGSPLIT_SIMPLE;
	agg->aggno = 0;
	agg->aggtransno = 0;
	agg->location = -1;
}

static bool
fold_direct_arguments(Aggref *agg, FeAggRefusal *why)
{
	ListCell   *lc;

	foreach(lc, agg->aggdirectargs)
	{
		lfirst(lc) = eval_const_expressions(NULL, lfirst(lc));
		if (!IsA(lfirst(lc), Const))
			return refuse(why,
						  psprintf(_("the direct arguments of %s must be constant in a feature view"),
								   get_func_name(agg->aggfnoid)),
						  NULL, NULL);
	}
	return true;
}

/* ... or what depends on settings, as the JSON form of floats and intervals does. */
static bool
runs_user_code(const FeSqlCall *call)
{
	if (is_json_aggregate(call->agg))
		return true;
	if (call->agg->aggfnoid >= FirstNormalObjectId || call->agg->aggtype >= FirstNormalObjectId)
		return true;
	for (int i = 0; i < call->columns->natts; i++)
		if (TupleDescAttr(call->columns, i)->atttypid >= FirstNormalObjectId)
			return true;
	return false;
}

static FeSqlCall *
make_call(const Aggref *agg, const AggregateFunctions *fns, FeAggRefusal *why)
{
	FeSqlCall  *call = palloc0(sizeof(FeSqlCall));
	ListCell   *lc;

	call->source = copyObject((Aggref *) agg);
	call->source->aggfilter = NULL;
	call->agg = copyObject((Aggref *) agg);
	call->distinct = agg->aggdistinct != NIL;
	complete_call(call->agg, fns->transtype);
	if (!fold_direct_arguments(call->agg, why))
		return NULL;
	foreach(lc, call->agg->args)
	{
		TargetEntry *tle = lfirst(lc);
		Node	   *expr = eval_const_expressions(NULL, (Node *) tle->expr);

		tle->expr = (Expr *) take_columns(call, expr, why);
		if (tle->expr == NULL)
			return NULL;
	}
	if (list_length(call->column_exprs) >= FUNC_MAX_ARGS)
	{
		refuse(why, psprintf(_("%s has too many arguments for a feature view"),
							 get_func_name(agg->aggfnoid)), NULL, NULL);
		return NULL;
	}
	describe_columns(call);
	call->runs_code = runs_user_code(call);
	return call;
}

/* ---- states ---------------------------------------------------------------------------- */

/* Can many rows be one state, which is kept as bytes? */
static bool
can_fold(const FeSqlCall *call, const AggregateFunctions *fns)
{
	const Aggref *agg = call->agg;
	FeAggRefusal ignored = {0};

	if (agg->aggkind != AGGKIND_NORMAL || agg->aggorder != NIL || agg->aggdistinct != NIL ||
		call->column_exprs == NIL || !OidIsValid(fns->combine))
		return false;
	if (agg->aggtranstype == INTERNALOID ?
		!OidIsValid(fns->serial) || !OidIsValid(fns->deserial) :
		get_typlen(agg->aggtranstype) == -2 || agg->aggtranstype == RECORDOID)
		return false;
	return check_function(agg, fns->combine, &ignored) &&
		check_function(agg, fns->serial, &ignored) &&
		check_function(agg, fns->deserial, &ignored);
}

static Aggref *
make_step(const FeSqlCall *call, int split, Oid statetype, Oid collation)
{
	Aggref	   *agg = copyObject(call->agg);

	agg->aggsplit = (AggSplit) split;
	if (DO_AGGSPLIT_COMBINE(split))
		agg->args = list_make1(makeTargetEntry((Expr *) makeVar(OUTER_VAR, 1, statetype, -1,
																collation, 0),
											   1, NULL, false));
	if (DO_AGGSPLIT_SKIPFINAL(split))
		agg->aggtype = statetype;
	return agg;
}

/* As the planner splits an aggregate, with a step in between that only combines. */
static void
make_steps(FeSqlCall *call)
{
	Oid			transtype = call->agg->aggtranstype;
	Oid			statetype = transtype == INTERNALOID ? BYTEAOID : transtype;
	Oid			collation = type_is_collatable(statetype) ? call->agg->inputcollid : InvalidOid;

	call->folds = true;
	call->steps[FE_SQL_PARTIAL] = make_step(call, AGGSPLIT_INITIAL_SERIAL, statetype, collation);
	call->steps[FE_SQL_MERGE] = make_step(call, AGGSPLIT_INITIAL_SERIAL | AGGSPLIT_FINAL_DESERIAL,
										  statetype, collation);
	call->steps[FE_SQL_FINISH] = make_step(call, AGGSPLIT_FINAL_DESERIAL, statetype, collation);
	call->state = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(call->state, 1, NULL, statetype, -1, 0);
	TupleDescInitEntryCollation(call->state, 1, collation);
}

bool
fe_same_folds(const FeSqlCall *a, const FeSqlCall *b)
{
	return a == b || (a != NULL && b != NULL && equal(a->agg, b->agg) &&
					  equal(a->column_exprs, b->column_exprs));
}

const FeFinal *
fe_fold_final(const FeAccSpec *spec)
{
	return spec->folds->fold_final;
}

bool
fe_generic_match(const Aggref *agg, bool append_only, FeAggMatch *match, FeAggRefusal *why)
{
	AggregateFunctions fns = functions_of(agg->aggfnoid);
	FeSqlCall  *call;
	FeFinal    *final;

	if (!check_order(agg, why) || !check_function(agg, fns.trans, why) ||
		!check_function(agg, fns.final, why))
		return false;
	call = make_call(agg, &fns, why);
	if (call == NULL)
		return false;
	if (append_only && can_fold(call, &fns))
		make_steps(call);
	final = palloc0(sizeof(FeFinal));
	final->name = get_func_name(agg->aggfnoid);
	final->id = FE_FINAL_CALL;
	final->call = call;
	call->fold_final = final;
	match->kind = &fe_acc_values;
	match->final = final;
	match->argtype = BYTEAOID;
	match->collation = InvalidOid;
	match->folds = call->folds ? call : NULL;
	match->arg = pack_expression(call, fns.trans);
	return true;
}

/* ---- what others ask of a call ---------------------------------------------------------- */

bool
fe_final_runs_code(const FeFinal *final)
{
	return final->call->runs_code;
}

const Aggref *
fe_final_source(const FeFinal *final)
{
	return final->call ? final->call->source : final->source;
}
