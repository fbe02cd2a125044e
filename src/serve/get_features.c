/*
 * get_features.c
 *		Features by key as jsonb: get_features() for one entity and for many.
 *
 * Runs in backends.  SELECT on the feature view's relation is required, on
 * the columns as well as through the relation form.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "runtime/compat.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "serve/fdw.h"

PG_FUNCTION_INFO_V1(fe_get_features_one);
PG_FUNCTION_INFO_V1(fe_get_features_keys);
PG_FUNCTION_INFO_V1(fe_get_features_many);
PG_FUNCTION_INFO_V1(fe_get_feature_rows_one);
PG_FUNCTION_INFO_V1(fe_get_feature_rows_keys);
PG_FUNCTION_INFO_V1(fe_watermark_of_view);

/* How one key argument becomes a key value. */
typedef struct FeKeyInput
{
	enum
	{
		FE_KEY_SAME,			/* the very type */
		FE_KEY_INTEGER,			/* another integer type */
		FE_KEY_TEXT				/* text form, through the key type's input function */
	}			how;
	Oid			type;			/* as given */
	Oid			base_type;		/* without domains */
	Oid			key_base_type;
	FmgrInfo	in;
	Oid			ioparam;
} FeKeyInput;

typedef struct FeLookup
{
	FePlan	   *plan;
	FeServeReader *reader;
	FeKeyInput *inputs;			/* [nkeys] */
	Datum	   *keys;
	bool	   *keynulls;
	Datum	   *values;
	bool	   *nulls;
	TupleDesc	desc;
	FmgrInfo	to_jsonb;
} FeLookup;

/* ---- checks ---------------------------------------------------------------------- */

static void
check_select(FePlan *plan)
{
	AclResult	result = pg_class_aclcheck(plan->relation, GetUserId(), ACL_SELECT);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FOREIGN_TABLE, plan->name);
}

fe_compat_noreturn static void
raise_key_count(FePlan *plan, int given)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int k = 0; k < plan->nkeys; k++)
		appendStringInfo(&names, "%s%s %s", k ? ", " : "", plan->keys[k].name,
						 format_type_be(plan->keys[k].type));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg_plural("feature view \"%s\" has %d key column, but %d were given",
						   "feature view \"%s\" has %d key columns, but %d were given",
						   plan->nkeys, plan->name, plan->nkeys, given),
			 errdetail("Its key is (%s).", names.data),
			 plan->nkeys > 1 ? errhint("Pass the keys as separate arguments, or as ROW(...).") : 0));
}

static void
prepare_key(FePlan *plan, int k, Oid type, FeKeyInput *input)
{
	FeKey	   *key = &plan->keys[k];
	Oid			typinput;

	input->type = type;
	input->base_type = getBaseType(type);
	input->key_base_type = getBaseType(key->type);
	if (type == key->type || IsBinaryCoercible(type, input->key_base_type))
		input->how = FE_KEY_SAME;
	else if (fe_is_integer(input->base_type) && fe_is_integer(input->key_base_type))
		input->how = FE_KEY_INTEGER;
	else if (type == TEXTOID || type == UNKNOWNOID)
	{
		input->how = FE_KEY_TEXT;
		getTypeInputInfo(key->type, &typinput, &input->ioparam);
		fmgr_info(typinput, &input->in);
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("key column \"%s\" of feature view \"%s\" is of type %s, but a value of type %s was given",
						key->name, plan->name, format_type_be(key->type), format_type_be(type)),
				 errhint("Cast the value: ...::%s.", format_type_be(key->type))));
}

/* False: no entity can have this key. */
static bool
convert_key(FeLookup *l, int k, Datum *value)
{
	FeKeyInput *input = &l->inputs[k];

	if (input->how == FE_KEY_INTEGER)
		return fe_integer_as(input->key_base_type, input->base_type, value);
	if (input->how == FE_KEY_TEXT)
	{
		char	   *str = input->type == UNKNOWNOID ? DatumGetCString(*value) :
		TextDatumGetCString(*value);

		*value = InputFunctionCall(&input->in, str, input->ioparam, l->plan->keys[k].typmod);
	}
	return true;
}

/* ---- one entity -------------------------------------------------------------------- */

static FeLookup *
open_lookup(const char *name, int nkeys, const Oid *types)
{
	FeLookup   *l = palloc0(sizeof(FeLookup));
	FePlan	   *plan = fe_plan_by_name(name, false);
	Node	   *arg;
	FuncExpr   *call;

	check_select(plan);
	if (nkeys != plan->nkeys)
		raise_key_count(plan, nkeys);
	l->plan = plan;
	l->inputs = palloc0(nkeys * sizeof(FeKeyInput));
	for (int k = 0; k < nkeys; k++)
		prepare_key(plan, k, types[k], &l->inputs[k]);
	l->keys = palloc0(nkeys * sizeof(Datum));
	l->keynulls = palloc0(nkeys * sizeof(bool));
	l->values = palloc0(plan->ncolumns * sizeof(Datum));
	l->nulls = palloc0(plan->ncolumns * sizeof(bool));
	l->reader = fe_serve_reader_create(plan, NULL, fe_clock_eval_time());
	/* not the relation's row type, which its owner may alter under us */
	l->desc = BlessTupleDesc(plan->output_desc);

	/* to_jsonb() needs to know its argument's type */
	arg = (Node *) makeConst(RECORDOID, l->desc->tdtypmod, InvalidOid, -1, (Datum) 0, true,
							 false);
	call = makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(arg), InvalidOid, InvalidOid,
						COERCE_EXPLICIT_CALL);
	fmgr_info(F_TO_JSONB, &l->to_jsonb);
	fmgr_info_set_expr((Node *) call, &l->to_jsonb);
	return l;
}

/* False: no entity can have these keys. */
static bool
convert_keys(FeLookup *l)
{
	for (int k = 0; k < l->plan->nkeys; k++)
		if (!l->keynulls[k] && !convert_key(l, k, &l->keys[k]))
			return false;
	return true;
}

static Datum
row_jsonb(FeLookup *l)
{
	HeapTuple	tuple = heap_form_tuple(l->desc, l->values, l->nulls);

	return FunctionCall1(&l->to_jsonb, HeapTupleGetDatum(tuple));
}

/* Features of the keys in l->keys, as jsonb; false where there is no entity. */
static bool
lookup_jsonb(FeLookup *l, Datum *result)
{
	if (!convert_keys(l) ||
		!fe_serve_newest(l->reader, l->keys, l->keynulls, l->values, l->nulls))
		return false;
	*result = row_jsonb(l);
	return true;
}

/* The fields of a composite value as keys. */
static void
keys_of_record(Datum record, int *nkeys, Oid **types, Datum **keys, bool **nulls)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(record);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
											  HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {0};

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	*nkeys = desc->natts;
	*types = palloc0(Max(desc->natts, 1) * sizeof(Oid));
	*keys = palloc0(Max(desc->natts, 1) * sizeof(Datum));
	*nulls = palloc0(Max(desc->natts, 1) * sizeof(bool));
	heap_deform_tuple(&tuple, desc, *keys, *nulls);
	for (int i = 0; i < desc->natts; i++)
		(*types)[i] = TupleDescAttr(desc, i)->atttypid;
	ReleaseTupleDesc(desc);
}

/* The keys of a call: (view, key), a composite value holding several, or (view, key1, ...). */
static FeLookup *
lookup_of_call(FunctionCallInfo fcinfo, bool variadic)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 1);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			nkeys = 1;
	Oid		   *types = &type;
	Datum	   *keys = &fcinfo->args[1].value;
	bool	   *nulls = &fcinfo->args[1].isnull;
	FeLookup   *l;

	if (variadic)
	{
		Datum	   *more;
		bool	   *more_nulls;
		Oid		   *more_types;
		int			n = extract_variadic_args(fcinfo, 2, false, &more, &more_types, &more_nulls);

		if (n < 0)
			return NULL;
		nkeys = n + 1;
		types = palloc(nkeys * sizeof(Oid));
		keys = palloc(nkeys * sizeof(Datum));
		nulls = palloc(nkeys * sizeof(bool));
		types[0] = type;
		keys[0] = fcinfo->args[1].value;
		nulls[0] = fcinfo->args[1].isnull;
		memcpy(types + 1, more_types, n * sizeof(Oid));
		memcpy(keys + 1, more, n * sizeof(Datum));
		memcpy(nulls + 1, more_nulls, n * sizeof(bool));
	}
	else if (type_is_rowtype(type) && !PG_ARGISNULL(1))
		keys_of_record(PG_GETARG_DATUM(1), &nkeys, &types, &keys, &nulls);
	l = open_lookup(name, nkeys, types);
	memcpy(l->keys, keys, nkeys * sizeof(Datum));
	memcpy(l->keynulls, nulls, nkeys * sizeof(bool));
	return l;
}

static Datum
get_features(FunctionCallInfo fcinfo, bool variadic)
{
	FeLookup   *l = PG_ARGISNULL(0) ? NULL : lookup_of_call(fcinfo, variadic);
	Datum		result;
	bool		found;

	if (l == NULL)
		PG_RETURN_NULL();
	found = lookup_jsonb(l, &result);
	fe_serve_reader_release(l->reader);
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

/* get_features(view text, key): one entity; a composite value holds several keys */
Datum
fe_get_features_one(PG_FUNCTION_ARGS)
{
	return get_features(fcinfo, false);
}

/* get_features(view text, key1, key2, ...): one entity with several keys */
Datum
fe_get_features_keys(PG_FUNCTION_ARGS)
{
	return get_features(fcinfo, true);
}

/* ---- all rows of one entity ----------------------------------------------------------- */

static void
put_row(FeLookup *l, ReturnSetInfo *rsinfo)
{
	int			column = l->plan->window_column;
	Datum		values[2] = {0};
	bool		nulls[2] = {true, false};

	if (column >= 0)
	{
		values[0] = l->values[column];
		nulls[0] = l->nulls[column];
	}
	values[1] = row_jsonb(l);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static Datum
get_feature_rows(FunctionCallInfo fcinfo, bool variadic)
{
	FeLookup   *l;
	bool		found;

	InitMaterializedSRF(fcinfo, 0);
	l = PG_ARGISNULL(0) ? NULL : lookup_of_call(fcinfo, variadic);
	if (l == NULL)
		return (Datum) 0;
	found = convert_keys(l) &&
		fe_serve_lookup(l->reader, l->keys, l->keynulls, l->values, l->nulls);
	while (found)
	{
		put_row(l, (ReturnSetInfo *) fcinfo->resultinfo);
		found = fe_serve_next(l->reader, l->values, l->nulls);
	}
	fe_serve_reader_release(l->reader);
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

	check_select(plan);
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

/* One element of the array; opens the lookup at the first that tells the types. */
static bool
lookup_element(FeLookup **l, const char *name, Oid type, Datum element, bool isnull, Datum *result)
{
	int			nkeys = 1;
	Oid		   *types = &type;
	Datum	   *keys = &element;
	bool	   *nulls = &isnull;

	if (type_is_rowtype(type))
	{
		if (isnull)
			return false;
		keys_of_record(element, &nkeys, &types, &keys, &nulls);
	}
	if (*l == NULL)
		*l = open_lookup(name, nkeys, types);
	else if (nkeys != (*l)->plan->nkeys)
		raise_key_count((*l)->plan, nkeys);
	if (type_is_rowtype(type))
		for (int k = 0; k < nkeys; k++)
			if (types[k] != (*l)->inputs[k].type)
				prepare_key((*l)->plan, k, types[k], &(*l)->inputs[k]);
	memcpy((*l)->keys, keys, nkeys * sizeof(Datum));
	memcpy((*l)->keynulls, nulls, nkeys * sizeof(bool));
	return lookup_jsonb(*l, result);
}

/*
 * get_features(view text, keys anyarray): TABLE (key jsonb, features jsonb), in
 * input order, a row for each key; features are NULL where there is no entity
 */
Datum
fe_get_features_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ArrayType  *array;
	Oid			type;
	char	   *name;
	FmgrInfo   *key_to_jsonb;
	ArrayIterator it;
	Datum		element;
	bool		isnull;
	FeLookup   *l = NULL;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	array = PG_GETARG_ARRAYTYPE_P(1);
	type = ARR_ELEMTYPE(array);
	key_to_jsonb = element_to_jsonb(type);
	check_select(fe_plan_by_name(name, false));
	it = array_create_iterator(array, 0, NULL);
	while (array_iterate(it, &element, &isnull))
	{
		Datum		values[2] = {0};
		bool		nulls[2] = {isnull, false};

		CHECK_FOR_INTERRUPTS();
		if (!isnull)
			values[0] = FunctionCall1(key_to_jsonb, element);
		nulls[1] = !lookup_element(&l, name, type, element, isnull, &values[1]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	if (l)
		fe_serve_reader_release(l->reader);
	return (Datum) 0;
}
