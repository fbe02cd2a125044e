/*
 * aggregate.c
 *		Which SQL aggregates the engine keeps, and how: the tables of finals and
 *		aggregates.
 *
 * An aggregate of PostgreSQL's own has a fixed OID, so a row of known_aggregates
 * names exactly one function.  min and max exist for some twenty types; they
 * are recognised by being pg_catalog's and by their sort operator, and ours by
 * being members of this extension (own_aggregates.c).  No name alone decides
 * anything.
 *
 * Whatever is not in these tables is left to PostgreSQL itself (generic.c).
 *
 * To add an aggregate over an existing kind, add a row here; for a new kind,
 * write its file and name it in kinds.h.  Runs in whoever compiles a
 * definition; needs the system caches, takes no lock of ours.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "aggregate/sql_call.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "nodes/nodeFuncs.h"
#include "runtime/runtime.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#define FINAL(name, id, flags) \
	static const FeFinal final_##name = {#name, id, flags, NULL, 0, 0, NULL, false}

FINAL(count, FE_FINAL_COUNT, 0);
FINAL(count_distinct, FE_FINAL_COUNT_DISTINCT, FE_ACC_DISTINCT);
FINAL(sum, FE_FINAL_SUM, 0);
FINAL(avg, FE_FINAL_AVG, 0);
FINAL(var_pop, FE_FINAL_VAR_POP, FE_ACC_SQUARES);
FINAL(var_samp, FE_FINAL_VAR_SAMP, FE_ACC_SQUARES);
FINAL(stddev_pop, FE_FINAL_STDDEV_POP, FE_ACC_SQUARES);
FINAL(stddev_samp, FE_FINAL_STDDEV_SAMP, FE_ACC_SQUARES);
FINAL(min, FE_FINAL_MIN, FE_ACC_COLLATED);
FINAL(max, FE_FINAL_MAX, FE_ACC_COLLATED);
FINAL(bool_and, FE_FINAL_BOOL_AND, 0);
FINAL(bool_or, FE_FINAL_BOOL_OR, 0);
FINAL(bit_and, FE_FINAL_BIT_AND, 0);
FINAL(bit_or, FE_FINAL_BIT_OR, 0);
FINAL(bit_xor, FE_FINAL_BIT_XOR, 0);
FINAL(regr_count, FE_FINAL_REGR_COUNT, 0);
FINAL(regr_sxx, FE_FINAL_REGR_SXX, 0);
FINAL(regr_syy, FE_FINAL_REGR_SYY, 0);
FINAL(regr_sxy, FE_FINAL_REGR_SXY, 0);
FINAL(regr_avgx, FE_FINAL_REGR_AVGX, 0);
FINAL(regr_avgy, FE_FINAL_REGR_AVGY, 0);
FINAL(regr_r2, FE_FINAL_REGR_R2, 0);
FINAL(regr_slope, FE_FINAL_REGR_SLOPE, 0);
FINAL(regr_intercept, FE_FINAL_REGR_INTERCEPT, 0);
FINAL(covar_pop, FE_FINAL_COVAR_POP, 0);
FINAL(covar_samp, FE_FINAL_COVAR_SAMP, 0);
FINAL(corr, FE_FINAL_CORR, 0);
FINAL(current, FE_FINAL_CURRENT, 0);

typedef struct KnownAggregate
{
	Oid			fn;
	const FeAccKind *kind;
	const FeFinal *final;
} KnownAggregate;

/* variance is var_samp, and stddev stddev_samp, under older names */
#define VARIANCE_FAMILY(TYPE, kind) \
	{F_VAR_POP_##TYPE, kind, &final_var_pop}, \
	{F_VAR_SAMP_##TYPE, kind, &final_var_samp}, \
	{F_VARIANCE_##TYPE, kind, &final_var_samp}, \
	{F_STDDEV_POP_##TYPE, kind, &final_stddev_pop}, \
	{F_STDDEV_SAMP_##TYPE, kind, &final_stddev_samp}, \
	{F_STDDEV_##TYPE, kind, &final_stddev_samp}

static const KnownAggregate known_aggregates[] = {
	{F_COUNT_ANY, &fe_acc_count, &final_count},
	{F_SUM_INT2, &fe_acc_moments_int, &final_sum},
	{F_SUM_INT4, &fe_acc_moments_int, &final_sum},
	{F_SUM_INT8, &fe_acc_moments_int, &final_sum},
	{F_SUM_NUMERIC, &fe_acc_moments_numeric, &final_sum},
	{F_SUM_FLOAT8, &fe_acc_moments_float8, &final_sum},
	{F_AVG_INT2, &fe_acc_moments_int, &final_avg},
	{F_AVG_INT4, &fe_acc_moments_int, &final_avg},
	{F_AVG_INT8, &fe_acc_moments_int, &final_avg},
	{F_AVG_NUMERIC, &fe_acc_moments_numeric, &final_avg},
	{F_AVG_FLOAT4, &fe_acc_moments_float8, &final_avg},
	{F_AVG_FLOAT8, &fe_acc_moments_float8, &final_avg},
	{F_SUM_MONEY, &fe_acc_moments_int, &final_sum},
	{F_SUM_INTERVAL, &fe_acc_intervals, &final_sum},
	{F_AVG_INTERVAL, &fe_acc_intervals, &final_avg},
	{F_BOOL_AND, &fe_acc_bools, &final_bool_and},
	{F_EVERY, &fe_acc_bools, &final_bool_and},
	{F_BOOL_OR, &fe_acc_bools, &final_bool_or},
	{F_BIT_AND_INT2, &fe_acc_bits, &final_bit_and},
	{F_BIT_AND_INT4, &fe_acc_bits, &final_bit_and},
	{F_BIT_AND_INT8, &fe_acc_bits, &final_bit_and},
	{F_BIT_OR_INT2, &fe_acc_bits, &final_bit_or},
	{F_BIT_OR_INT4, &fe_acc_bits, &final_bit_or},
	{F_BIT_OR_INT8, &fe_acc_bits, &final_bit_or},
	{F_BIT_XOR_INT2, &fe_acc_bits, &final_bit_xor},
	{F_BIT_XOR_INT4, &fe_acc_bits, &final_bit_xor},
	{F_BIT_XOR_INT8, &fe_acc_bits, &final_bit_xor},
	{F_REGR_COUNT, &fe_acc_comoments, &final_regr_count},
	{F_REGR_SXX, &fe_acc_comoments, &final_regr_sxx},
	{F_REGR_SYY, &fe_acc_comoments, &final_regr_syy},
	{F_REGR_SXY, &fe_acc_comoments, &final_regr_sxy},
	{F_REGR_AVGX, &fe_acc_comoments, &final_regr_avgx},
	{F_REGR_AVGY, &fe_acc_comoments, &final_regr_avgy},
	{F_REGR_R2, &fe_acc_comoments, &final_regr_r2},
	{F_REGR_SLOPE, &fe_acc_comoments, &final_regr_slope},
	{F_REGR_INTERCEPT, &fe_acc_comoments, &final_regr_intercept},
	{F_COVAR_POP, &fe_acc_comoments, &final_covar_pop},
	{F_COVAR_SAMP, &fe_acc_comoments, &final_covar_samp},
	{F_CORR, &fe_acc_comoments, &final_corr},
	VARIANCE_FAMILY(INT2, &fe_acc_moments_int),
	VARIANCE_FAMILY(INT4, &fe_acc_moments_int),
	VARIANCE_FAMILY(INT8, &fe_acc_moments_int),
	VARIANCE_FAMILY(NUMERIC, &fe_acc_moments_numeric),
	VARIANCE_FAMILY(FLOAT4, &fe_acc_moments_float8),
	VARIANCE_FAMILY(FLOAT8, &fe_acc_moments_float8)
};

/*
 * Accumulators that another one makes superfluous.  A sum counts the rows that
 * it adds up, and a sequence by event time begins and ends with the extremes of
 * that.  Not by a date's, of which those far off have the same microsecond.
 */
static const struct
{
	const FeAccKind *wanted;
	uint32		flags;			/* at most this may be asked of it */
	const FeAccKind *other;
	FeAccSharing sharing;
}			known_sharings[] =
{
	{&fe_acc_count, 0, &fe_acc_moments_int, FE_SHARE_ARGUMENT},
	{&fe_acc_count, 0, &fe_acc_moments_numeric, FE_SHARE_ARGUMENT},
	{&fe_acc_count, 0, &fe_acc_moments_float8, FE_SHARE_ARGUMENT},
	{&fe_acc_multiset, FE_ACC_COLLATED, &fe_acc_ordered, FE_SHARE_ORDER}
};

/* ---- refusals ------------------------------------------------------------- */

static bool
refuse(FeAggRefusal *why, int sqlstate, char *message, char *detail, char *hint)
{
	why->sqlstate = sqlstate;
	why->message = message;
	why->detail = detail;
	why->hint = hint;
	return false;
}

/* ---- recognition ---------------------------------------------------------- */

/* min or max of pg_catalog; NULL if it is neither. */
static const FeFinal *
match_extreme(Oid fn)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(fn));
	bool		sorts;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	sorts = OidIsValid(((Form_pg_aggregate) GETSTRUCT(tuple))->aggsortop);
	ReleaseSysCache(tuple);
	if (!sorts || get_func_namespace(fn) != PG_CATALOG_NAMESPACE)
		return NULL;
	name = get_func_name(fn);
	return strcmp(name, "min") == 0 ? &final_min : strcmp(name, "max") == 0 ? &final_max : NULL;
}

/* Can values of the matched type be kept sorted? */
static bool
has_order(const FeAggMatch *match)
{
	TypeCacheEntry *type = lookup_type_cache(match->argtype, TYPECACHE_CMP_PROC);

	return match->argtype != RECORDOID && type->typlen != -2 && OidIsValid(type->cmp_proc);
}

static bool
check_order(const FeAggMatch *match, const Aggref *agg, FeAggRefusal *why)
{
	if (!has_order(match))
		return refuse(why, ERRCODE_FEATURE_NOT_SUPPORTED,
					  psprintf(_("%s of type %s is not supported in a feature view"),
							   get_func_name(agg->aggfnoid), format_type_be(match->argtype)),
					  pstrdup(_("The type has no default btree operator class, in whose order values are kept.")),
					  pstrdup(_("Cast the argument to a type that has one, such as text.")));
	if (type_is_collatable(match->argtype) && !OidIsValid(match->collation))
		return refuse(why, ERRCODE_INDETERMINATE_COLLATION,
					  psprintf(_("could not determine which collation to use for %s"),
							   get_func_name(agg->aggfnoid)),
					  NULL,
					  pstrdup(_("Use the COLLATE clause to set the collation explicitly.")));
	return true;
}

/* Kind and final of an aggregate that a specialised kind computes; false: it is none. */
static bool
match_specialised(const Aggref *agg, FeAggMatch *match)
{
	for (int i = 0; i < lengthof(known_aggregates) && match->kind == NULL; i++)
	{
		if (known_aggregates[i].fn == agg->aggfnoid)
		{
			match->kind = known_aggregates[i].kind;
			match->final = known_aggregates[i].final;
		}
	}
	if (match->kind == NULL && (match->final = match_extreme(agg->aggfnoid)) != NULL)
		match->kind = &fe_acc_multiset;
	match->has_order |= match->kind == &fe_acc_comoments;
	return match->kind != NULL;
}

/*
 * Without the duplicates: the same for the least and the greatest; count has a
 * kind for it; of others PostgreSQL takes care.  False: leave it to that.
 */
static bool
match_distinct(const Aggref *agg, FeAggMatch *match)
{
	if (match->kind == &fe_acc_multiset)
		return true;
	if (agg->aggfnoid != F_COUNT_ANY)
		return false;
	/* as the executor: the argument's own collation tells what is equal */
	match->collation = exprCollation((Node *) linitial_node(TargetEntry, agg->args)->expr);
	match->kind = &fe_acc_multiset;
	match->final = &final_count_distinct;
	return has_order(match);
}

/* Where the order of the rows makes no difference (not here), ORDER BY makes none. */
bool
fe_aggregate_match(const Aggref *agg, bool append_only, FeAggMatch *match, FeAggRefusal *why)
{
	FeOwnMatch	own;

	memset(match, 0, sizeof(FeAggMatch));
	if (agg->aggfnoid == F_COUNT_)
	{
		match->rows = true;
		match->kind = &fe_acc_count;
		match->final = &final_count;
		return true;
	}
	own = fe_own_aggregate_match(agg, match, why);
	if (own == FE_OWN_REFUSED)
		return false;
	if (own == FE_OWN_NONE)
	{
		if (!match_specialised(agg, match))
			return fe_generic_match(agg, append_only, match, why);
		match->argtype = exprType((Node *) linitial_node(TargetEntry, agg->args)->expr);
		match->collation = agg->inputcollid;
		if (agg->aggdistinct != NIL && !match_distinct(agg, match))
		{
			memset(match, 0, sizeof(FeAggMatch));
			return fe_generic_match(agg, append_only, match, why);
		}
	}
	if (match->kind == &fe_acc_multiset || match->kind == &fe_acc_ordered)
		return check_order(match, agg, why);
	/* sums and counts do not depend on it: let them share an accumulator */
	match->collation = InvalidOid;
	return true;
}

void
fe_aggregate_match_current(Oid type, FeAggMatch *match)
{
	memset(match, 0, sizeof(FeAggMatch));
	match->kind = &fe_acc_current;
	match->final = &final_current;
	match->argtype = type;
}

bool
fe_final_is_current(const FeFinal *final)
{
	return final == &final_current;
}

FeAccSharing
fe_acc_sharing(const FeAggMatch *wanted, uint32 flags, const FeAggMatch *other)
{
	for (int i = 0; i < lengthof(known_sharings); i++)
	{
		if (known_sharings[i].wanted != wanted->kind || known_sharings[i].other != other->kind ||
			(flags & ~known_sharings[i].flags) != 0)
			continue;
		if (known_sharings[i].sharing == FE_SHARE_ORDER &&
			wanted->argtype != TIMESTAMPTZOID && wanted->argtype != TIMESTAMPOID)
			continue;
		return known_sharings[i].sharing;
	}
	return FE_SHARE_NOTHING;
}

/* ---- specs ----------------------------------------------------------------- */

FeAccSpec *
fe_acc_spec_create(const FeAggMatch *match, uint32 flags)
{
	FeAccSpec  *spec = palloc0(sizeof(FeAccSpec));

	spec->kind = match->kind;
	spec->flags = flags;
	spec->argtype = match->argtype;
	spec->collation = match->collation;
	spec->folds = match->folds;
	spec->params = match->params;
	if (OidIsValid(spec->argtype))
		get_typlenbyvalalign(spec->argtype, &spec->arglen, &spec->argbyval, &spec->argalign);
	spec->kind->prepare(spec);
	Assert(spec->size > 0 && spec->size % sizeof(int64) == 0);
	return spec;
}

/* Bytes of an element of a kind that is a sequence of them; 0: it is none. */
static int
element_size(const FeAccKind *kind)
{
	if (kind == &fe_acc_multiset)
		return 16;
	if (kind == &fe_acc_ordered)
		return 24;
	return 0;
}

const char *
fe_acc_kind_describe(const FeAccSpec *spec, bool stream)
{
	int			element = element_size(spec->kind);
	const char *rows = stream ? _("rows only come") : _("rows can be retracted");
	const char *name = spec->kind->name;

	if (spec->kind == &fe_acc_current)
		return psprintf(_("the row's own value, %zu bytes"), spec->size);
	if (spec->kind == &fe_acc_values)
		return psprintf(_("generic (%s): PostgreSQL's own aggregate over the arguments, which are kept; %s, %zu bytes and 16 a different row of arguments, besides its values%s"),
						name, rows, spec->size,
						!spec->folds ? "" : stream ?
						_("; states of the aggregate in the place of many rows") :
						_("; with append_only => true, states of the aggregate in the place of many rows"));
	/* the number is that of an element; values by reference come on top */
	if (element > 0)
		return psprintf(_("specialised (%s), %s, %zu bytes and %d a distinct value"),
						name, rows, spec->size, element);
	if (spec->kind == &fe_acc_hll)
		return psprintf(_("specialised (%s), append-only, %zu bytes and some 6 a distinct value, 16.5 kB from 4096 of them on"),
						name, spec->size);
	if (spec->kind == &fe_acc_buckets)
		return psprintf(_("specialised (%s), %s, %zu bytes and 8 a bucket that is not empty"),
						name, rows, spec->size);
	if (spec->kind == &fe_acc_power_sums || spec->kind == &fe_acc_decay)
		return psprintf(_("specialised (%s), %s, %zu bytes and sums of some 50 to 300"),
						name, rows, spec->size);
	return psprintf(_("specialised (%s), %s, %zu bytes"), name, rows, spec->size);
}
