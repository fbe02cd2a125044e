/*
 * get_features.c
 *		Features by key: get_features() as jsonb, get_feature_vector() as json in
 *		a fixed order, for one entity and for many; get_feature_rows().
 *
 * Runs in backends; no locks of its own.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "runtime/compat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "serve/lookup.h"

PG_FUNCTION_INFO_V1(fe_get_features_one);
PG_FUNCTION_INFO_V1(fe_get_features_keys);
PG_FUNCTION_INFO_V1(fe_get_features_many);
PG_FUNCTION_INFO_V1(fe_get_feature_vector_one);
PG_FUNCTION_INFO_V1(fe_get_feature_vector_keys);
PG_FUNCTION_INFO_V1(fe_get_feature_vector_many);
PG_FUNCTION_INFO_V1(fe_get_feature_rows_one);
PG_FUNCTION_INFO_V1(fe_get_feature_rows_keys);
PG_FUNCTION_INFO_V1(fe_watermark_of_view);

/* ---- one entity -------------------------------------------------------------------- */

/* The keys of a call (name, key1, key2, ...); false: an array of them that is NULL. */
static bool
several_keys(FunctionCallInfo fcinfo, FeGivenKeys *keys)
{
	Datum	   *more;
	bool	   *more_nulls;
	Oid		   *more_types;
	int			n = extract_variadic_args(fcinfo, 2, false, &more, &more_types, &more_nulls);

	if (n < 0)
		return false;
	keys->n = n + 1;
	keys->names = NULL;
	keys->types = palloc((n + 1) * sizeof(Oid));
	keys->values = palloc((n + 1) * sizeof(Datum));
	keys->nulls = palloc((n + 1) * sizeof(bool));
	keys->types[0] = get_fn_expr_argtype(fcinfo->flinfo, 1);
	keys->values[0] = fcinfo->args[1].value;
	keys->nulls[0] = fcinfo->args[1].isnull;
	memcpy(keys->types + 1, more_types, n * sizeof(Oid));
	memcpy(keys->values + 1, more, n * sizeof(Datum));
	memcpy(keys->nulls + 1, more_nulls, n * sizeof(bool));
	return true;
}

/* The keys of a call: (name, key), a composite value holding several, or (name, key1, ...). */
static bool
keys_of_call(FunctionCallInfo fcinfo, bool variadic, FeGivenKeys *keys)
{
	if (PG_ARGISNULL(0))
		return false;
	if (variadic)
		return several_keys(fcinfo, keys);
	fe_keys_of_value(keys, get_fn_expr_argtype(fcinfo->flinfo, 1), fcinfo->args[1].value,
					 fcinfo->args[1].isnull);
	return true;
}

static Datum
get_one(FunctionCallInfo fcinfo, bool variadic, bool vector)
{
	FeGivenKeys keys;
	FeRequest  *r;
	Datum		result;
	bool		found;

	if (!keys_of_call(fcinfo, variadic, &keys))
		PG_RETURN_NULL();
	r = fe_request_open(text_to_cstring(PG_GETARG_TEXT_PP(0)), vector);
	found = fe_request_lookup(r, &keys, &result);
	fe_request_close(r);
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

/* get_features(name text, key): one entity; a composite value holds several keys */
Datum
fe_get_features_one(PG_FUNCTION_ARGS)
{
	return get_one(fcinfo, false, false);
}

/* get_features(name text, key1, key2, ...): one entity with several keys */
Datum
fe_get_features_keys(PG_FUNCTION_ARGS)
{
	return get_one(fcinfo, true, false);
}

/* get_feature_vector(name text, key) */
Datum
fe_get_feature_vector_one(PG_FUNCTION_ARGS)
{
	return get_one(fcinfo, false, true);
}

/* get_feature_vector(name text, key1, key2, ...) */
Datum
fe_get_feature_vector_keys(PG_FUNCTION_ARGS)
{
	return get_one(fcinfo, true, true);
}

/* ---- all rows of one entity ----------------------------------------------------------- */

static void
put_row(FeRequest *r, ReturnSetInfo *rsinfo)
{
	int			column = r->lookups[0].plan->window_column;
	Datum		values[2] = {0};
	bool		nulls[2] = {true, false};

	if (column >= 0)
	{
		values[0] = r->values[column];
		nulls[0] = r->nulls[column];
	}
	values[1] = fe_request_row(r);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static Datum
get_feature_rows(FunctionCallInfo fcinfo, bool variadic)
{
	FeGivenKeys keys;
	FeRequest  *r;
	FeLookup   *l;
	bool		found;

	InitMaterializedSRF(fcinfo, 0);
	if (!keys_of_call(fcinfo, variadic, &keys))
		return (Datum) 0;
	r = fe_request_open_view(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	found = fe_request_set_keys(r, &keys);
	l = &r->lookups[0];
	found = found && fe_serve_lookup(l->reader, l->keys, l->keynulls, l->values, l->nulls);
	while (found)
	{
		put_row(r, (ReturnSetInfo *) fcinfo->resultinfo);
		found = fe_serve_next(l->reader, l->values, l->nulls);
	}
	fe_request_close(r);
	return (Datum) 0;
}

/* get_feature_rows(view text, key): TABLE (time_window tstzrange, features jsonb) */
Datum
fe_get_feature_rows_one(PG_FUNCTION_ARGS)
{
	return get_feature_rows(fcinfo, false);
}

/* get_feature_rows(view text, key1, key2, ...): the same */
Datum
fe_get_feature_rows_keys(PG_FUNCTION_ARGS)
{
	return get_feature_rows(fcinfo, true);
}

/* watermark(view text) returns timestamptz */
Datum
fe_watermark_of_view(PG_FUNCTION_ARGS)
{
	FePlan	   *plan = fe_plan_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);

	fe_plan_check_select(plan);
	if (plan->options.watermark < 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(fe_view_watermark(fe_serve_open(plan), plan));
}

/* ---- many --------------------------------------------------------------------------- */

static FmgrInfo *
element_to_jsonb(Oid type)
{
	FmgrInfo   *flinfo = palloc0(sizeof(FmgrInfo));
	Node	   *arg = (Node *) makeConst(type, -1, InvalidOid, -1, (Datum) 0, true, false);

	fmgr_info(F_TO_JSONB, flinfo);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(arg), InvalidOid,
											 InvalidOid, COERCE_EXPLICIT_CALL), flinfo);
	return flinfo;
}

/* One element of the array, and what is found by it. */
static void
put_element(FeRequest *r, ReturnSetInfo *rsinfo, FmgrInfo *key_to_jsonb, Oid type, Datum element,
			bool isnull)
{
	FeGivenKeys keys;
	Datum		values[2] = {0};
	bool		nulls[2] = {isnull, true};

	if (!isnull)
		values[0] = FunctionCall1(key_to_jsonb, element);
	/* a NULL may be a key, but not where keys are fields */
	if (!isnull || !type_is_rowtype(type))
	{
		fe_keys_of_value(&keys, type, element, isnull);
		nulls[1] = !fe_request_lookup(r, &keys, &values[1]);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static Datum
get_many(FunctionCallInfo fcinfo, bool vector)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ArrayType  *array;
	Oid			type;
	FmgrInfo   *key_to_jsonb;
	ArrayIterator it;
	Datum		element;
	bool		isnull;
	FeRequest  *r;
	MemoryContext cxt;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	array = PG_GETARG_ARRAYTYPE_P(1);
	type = ARR_ELEMTYPE(array);
	key_to_jsonb = element_to_jsonb(type);
	r = fe_request_open(text_to_cstring(PG_GETARG_TEXT_PP(0)), vector);
	cxt = AllocSetContextCreate(CurrentMemoryContext, "features of one key",
								ALLOCSET_DEFAULT_SIZES);
	it = array_create_iterator(array, 0, NULL);
	while (array_iterate(it, &element, &isnull))
	{
		MemoryContext old = MemoryContextSwitchTo(cxt);

		CHECK_FOR_INTERRUPTS();
		put_element(r, rsinfo, key_to_jsonb, type, element, isnull);
		MemoryContextSwitchTo(old);
		MemoryContextReset(cxt);
	}
	MemoryContextDelete(cxt);
	fe_request_close(r);
	return (Datum) 0;
}

/*
 * get_features(name text, keys anyarray): TABLE (key jsonb, features jsonb), in
 * input order, a row for each key; features are NULL where there is no entity
 */
Datum
fe_get_features_many(PG_FUNCTION_ARGS)
{
	return get_many(fcinfo, false);
}

/* get_feature_vector(name text, keys anyarray): TABLE (key jsonb, features json) */
Datum
fe_get_feature_vector_many(PG_FUNCTION_ARGS)
{
	return get_many(fcinfo, true);
}
