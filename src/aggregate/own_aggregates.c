/*
 * own_aggregates.c
 *		Recognises the aggregates of this extension in a definition.
 *
 * By membership of the extension, then by name.  Some take further arguments,
 * which must be constants here: they are part of what the state means, or of what
 * the result is, not of a row.  Their rules are those of the SQL functions, with
 * the same words.
 *
 * Runs in whoever compiles a definition; needs the system caches, no locks.
 */
#include "postgres.h"

#include "aggregate/buckets.h"
#include "aggregate/decay.h"
#include "aggregate/hll.h"
#include "aggregate/value_list.h"
#include "catalog/dependency.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "runtime/runtime.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

typedef struct OwnAggregate
{
	FeFinal		final;
	const FeAccKind *kind;
	bool		has_order;		/* the second argument is the event time */
	int			constants;		/* the last so many arguments */
	bool		distinct;		/* DISTINCT makes no difference */
} OwnAggregate;

static const OwnAggregate own_aggregates[] = {
	{{.name = "first", .id = FE_FINAL_FIRST}, &fe_acc_ordered, true, 0, true},
	{{.name = "last", .id = FE_FINAL_LAST}, &fe_acc_ordered, true, 0, true},
	{{.name = "first_n", .id = FE_FINAL_FIRST_N}, &fe_acc_ordered, true, 1, false},
	{{.name = "last_n", .id = FE_FINAL_LAST_N}, &fe_acc_ordered, true, 1, false},
	{{.name = "last_distinct_n", .id = FE_FINAL_LAST_DISTINCT_N}, &fe_acc_ordered, true, 1, true},
	{{.name = "top_k", .id = FE_FINAL_TOP_K, .flags = FE_ACC_COLLATED}, &fe_acc_multiset, false, 1,
	false},
	{{.name = "approx_count_distinct", .id = FE_FINAL_APPROX_DISTINCT}, &fe_acc_hll, false, 0,
	true},
	{{.name = "approx_percentile", .id = FE_FINAL_PERCENTILE}, &fe_acc_buckets, false, 1, false},
	{{.name = "histogram", .id = FE_FINAL_HISTOGRAM}, &fe_acc_buckets, false, 3, false},
	{{.name = "skewness", .id = FE_FINAL_SKEWNESS}, &fe_acc_power_sums, false, 0, false},
	{{.name = "kurtosis", .id = FE_FINAL_KURTOSIS}, &fe_acc_power_sums, false, 0, false},
	{{.name = "exp_decay_sum", .id = FE_FINAL_DECAY_SUM, .uses_time = true}, &fe_acc_decay, true, 1, false}
};

static const OwnAggregate *
find_own(Oid fn)
{
	Oid			extension = get_extension_oid(FE_EXTENSION_NAME, true);
	char	   *name;

	if (!OidIsValid(extension) || getExtensionOfObject(ProcedureRelationId, fn) != extension)
		return NULL;
	name = get_func_name(fn);
	for (int i = 0; i < lengthof(own_aggregates); i++)
		if (strcmp(own_aggregates[i].final.name, name) == 0)
			return &own_aggregates[i];
	return NULL;
}

static FeOwnMatch
refuse(FeAggRefusal *why, int sqlstate, const char *message, const char *detail, const char *hint)
{
	why->sqlstate = sqlstate;
	why->message = pstrdup(message);
	why->detail = detail ? pstrdup(detail) : NULL;
	why->hint = hint ? pstrdup(hint) : NULL;
	return FE_OWN_REFUSED;
}

/* ---- constant arguments ------------------------------------------------------ */

static Node *
argument(const Aggref *agg, int n)
{
	return (Node *) list_nth_node(TargetEntry, agg->args, n)->expr;
}

/* The values of the constant arguments; false: refused. */
static bool
take_constants(const OwnAggregate *own, const Aggref *agg, Datum *values, FeAggRefusal *why)
{
	int			nargs = list_length(agg->aggargtypes);

	for (int i = 0; i < own->constants; i++)
	{
		Node	   *arg = argument(agg, nargs - own->constants + i);
		Node	   *folded = eval_const_expressions(NULL, arg);

		why->location = exprLocation(arg);
		if (!IsA(folded, Const))
		{
			(void) refuse(why, ERRCODE_FEATURE_NOT_SUPPORTED,
						  psprintf(_("argument %d of %s must be a constant in a feature view"),
								   nargs - own->constants + i + 1, own->final.name),
						  NULL, NULL);
			return false;
		}
		if (((Const *) folded)->constisnull)
		{
			(void) refuse(why, ERRCODE_NULL_VALUE_NOT_ALLOWED,
						  psprintf(_("argument %d of %s must not be null"),
								   nargs - own->constants + i + 1, own->final.name),
						  NULL, NULL);
			return false;
		}
		values[i] = ((Const *) folded)->constvalue;
	}
	return true;
}

/* Puts the constants into match and final; what is wrong with them. */
static const char *
use_constants(const OwnAggregate *own, const Datum *values, FeAggMatch *match, FeFinal *final)
{
	switch ((FeFinalId) own->final.id)
	{
		case FE_FINAL_FIRST_N:
		case FE_FINAL_LAST_N:
		case FE_FINAL_LAST_DISTINCT_N:
		case FE_FINAL_TOP_K:
			final->limit = DatumGetInt32(values[0]);
			return fe_list_problem(final->limit, own->final.name);
		case FE_FINAL_PERCENTILE:
			final->number = DatumGetFloat8(values[0]);
			return fe_percentile_problem(final->number);
		case FE_FINAL_HISTOGRAM:
			match->params.lo = DatumGetFloat8(values[0]);
			match->params.hi = DatumGetFloat8(values[1]);
			match->params.n = DatumGetInt32(values[2]);
			return fe_histogram_problem(match->params.lo, match->params.hi,
										(int32) match->params.n);
		case FE_FINAL_DECAY_SUM:
			match->until_now = true;
			return fe_half_life_problem(DatumGetIntervalP(values[0]), &match->params.n);
		default:
			return NULL;
	}
}

/* ---- approx_count_distinct --------------------------------------------------- */

/* What is kept of a row is the argument's hash: hll_hash(x). */
static bool
match_hash(const Aggref *agg, FeAggMatch *match, FeAggRefusal *why)
{
	Oid			type = exprType(argument(agg, 0));
	Oid			types[1] = {ANYELEMENTOID};
	Oid			fn = LookupFuncName(list_make2(makeString(FE_SCHEMA), makeString("hll_hash")),
									1, types, false);
	FeHllHash	hash;

	if (!fe_hll_hash_init(&hash, type, agg->inputcollid, CurrentMemoryContext))
		(void) refuse(why, ERRCODE_FEATURE_NOT_SUPPORTED,
					  psprintf(_("approx_count_distinct of type %s is not supported in a feature view"),
							   format_type_be(type)),
					  _("The type has no extended hash function."),
					  _("Cast the argument to a type that has one, such as text."));
	else if (type_is_collatable(type) && !OidIsValid(agg->inputcollid))
		(void) refuse(why, ERRCODE_INDETERMINATE_COLLATION,
					  _("could not determine which collation to use for approx_count_distinct"),
					  NULL, _("Use the COLLATE clause to set the collation explicitly."));
	else
	{
		match->arg = (Node *) makeFuncExpr(fn, INT8OID, list_make1(argument(agg, 0)), InvalidOid,
										   agg->inputcollid, COERCE_EXPLICIT_CALL);
		match->argtype = INT8OID;
		return true;
	}
	return false;
}

/* ---- any of them -------------------------------------------------------------- */

FeOwnMatch
fe_own_aggregate_match(const Aggref *agg, FeAggMatch *match, FeAggRefusal *why)
{
	const OwnAggregate *own = find_own(agg->aggfnoid);
	Datum		values[3];
	FeFinal    *final;
	Aggref	   *source;
	const char *problem;

	if (own == NULL || (agg->aggdistinct != NIL && !own->distinct))
		return FE_OWN_NONE;
	if (!take_constants(own, agg, values, why))
		return FE_OWN_REFUSED;
	match->kind = own->kind;
	match->has_order = own->has_order;
	match->argtype = exprType(argument(agg, 0));
	match->collation = agg->inputcollid;
	final = palloc(sizeof(FeFinal));
	*final = own->final;
	problem = use_constants(own, values, match, final);
	if (problem != NULL)
		return refuse(why, ERRCODE_INVALID_PARAMETER_VALUE, problem, NULL, NULL);
	why->location = 0;
	source = copyObject((Aggref *) agg);
	source->aggfilter = NULL;
	final->source = source;
	/* two calls with the same constants, or none, are one aggregate */
	match->final = own->constants == 0 && own->kind != &fe_acc_hll ? &own->final : final;
	if (own->kind == &fe_acc_hll && !match_hash(agg, match, why))
		return FE_OWN_REFUSED;
	return FE_OWN_MATCHED;
}
