/*
 * lookup.c
 *		Looking up entities by keys that are given by position or by name, in one
 *		view or in all views of a feature service.
 *
 * Runs in backends; no locks of its own.  SELECT on each view's relation is
 * required, on the columns as well as through the relation form.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "runtime/compat.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "serve/fdw.h"
#include "serve/lookup.h"

/* How one key argument becomes a key value. */
typedef struct FeKeyInput
{
	enum
	{
		FE_KEY_SAME,			/* the very type */
		FE_KEY_INTEGER,			/* another integer type */
		FE_KEY_TEXT				/* text form, through the key type's input function */
	}			how;
	Oid			type;			/* as given; InvalidOid: none yet */
	Oid			base_type;		/* without domains */
	Oid			key_base_type;
	FmgrInfo	in;
	Oid			ioparam;
} FeKeyInput;

/* ---- keys as given ----------------------------------------------------------------- */

static void
allocate_keys(FeGivenKeys *keys, int n)
{
	keys->n = n;
	keys->types = palloc0(Max(n, 1) * sizeof(Oid));
	keys->values = palloc0(Max(n, 1) * sizeof(Datum));
	keys->nulls = palloc0(Max(n, 1) * sizeof(bool));
	keys->names = NULL;
}

static void
keys_of_record(FeGivenKeys *keys, Datum record)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(record);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
											  HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {0};

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	allocate_keys(keys, desc->natts);
	heap_deform_tuple(&tuple, desc, keys->values, keys->nulls);
	for (int i = 0; i < desc->natts; i++)
		keys->types[i] = TupleDescAttr(desc, i)->atttypid;
	ReleaseTupleDesc(desc);
}

void
fe_keys_of_value(FeGivenKeys *keys, Oid type, Datum value, bool isnull)
{
	if (type_is_rowtype(type) && !isnull)
	{
		keys_of_record(keys, value);
		return;
	}
	allocate_keys(keys, 1);
	keys->types[0] = type;
	keys->values[0] = value;
	keys->nulls[0] = isnull;
}

/* The text form of a field of an object. */
static Datum
jsonb_value_text(const JsonbValue *v)
{
	Datum		text;

	switch (v->type)
	{
		case jbvString:
			return PointerGetDatum(cstring_to_text_with_len(v->val.string.val, v->val.string.len));
		case jbvNumeric:
			text = DirectFunctionCall1(numeric_out, NumericGetDatum(v->val.numeric));
			return CStringGetTextDatum(DatumGetCString(text));
		case jbvBool:
			return CStringGetTextDatum(v->val.boolean ? "true" : "false");
		default:
			return CStringGetTextDatum(JsonbToCString(NULL, v->val.binary.data, v->val.binary.len));
	}
}

/* A jsonb object as keys by name, each in its text form. */
static void
keys_of_object(FeGivenKeys *keys, Jsonb *object)
{
	JsonbIterator *it = JsonbIteratorInit(&object->root);
	JsonbValue	v;
	JsonbIteratorToken token = JsonbIteratorNext(&it, &v, true);
	int			n = 0;

	allocate_keys(keys, v.val.object.nPairs);
	keys->names = palloc0((keys->n + 1) * sizeof(char *));
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_END_OBJECT && token != WJB_DONE)
	{
		if (token == WJB_KEY)
			keys->names[n] = pnstrdup(v.val.string.val, v.val.string.len);
		else
		{
			keys->types[n] = TEXTOID;
			keys->nulls[n] = v.type == jbvNull;
			if (!keys->nulls[n])
				keys->values[n] = jsonb_value_text(&v);
			n++;
		}
	}
}

/* ---- opening ------------------------------------------------------------------------- */

static void
init_lookup(FeLookup *l, FePlan *plan)
{
	fe_plan_check_select(plan);
	l->plan = plan;
	l->cxt = CurrentMemoryContext;
	l->inputs = palloc0(plan->nkeys * sizeof(FeKeyInput));
	l->keys = palloc0(plan->nkeys * sizeof(Datum));
	l->keynulls = palloc0(plan->nkeys * sizeof(bool));
	l->values = palloc0(plan->ncolumns * sizeof(Datum));
	l->nulls = palloc0(plan->ncolumns * sizeof(bool));
}

/* to_jsonb() needs to know its argument's type. */
static void
init_json(FeRequest *r)
{
	Node	   *arg;

	if (r->ordered)
	{
		fmgr_info(F_ROW_TO_JSON_RECORD, &r->to_json);
		return;
	}
	arg = (Node *) makeConst(RECORDOID, r->desc->tdtypmod, InvalidOid, -1, (Datum) 0, true, false);
	fmgr_info(F_TO_JSONB, &r->to_json);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(arg), InvalidOid,
											 InvalidOid, COERCE_EXPLICIT_CALL), &r->to_json);
}

static FeRequest *
open_view(FePlan *plan)
{
	FeRequest  *r = palloc0(sizeof(FeRequest));

	r->T = fe_clock_eval_time();
	r->nlookups = 1;
	r->lookups = palloc0(sizeof(FeLookup));
	init_lookup(r->lookups, plan);
	/* not the relation's row type, which its owner may alter under us */
	r->desc = BlessTupleDesc(plan->output_desc);
	r->values = r->lookups->values;
	r->nulls = r->lookups->nulls;
	init_json(r);
	return r;
}

static FeRequest *
open_features(FeFeatureList *features, bool ordered)
{
	FeRequest  *r = palloc0(sizeof(FeRequest));

	r->T = fe_clock_eval_time();
	r->features = features;
	r->ordered = ordered;
	r->nlookups = features->nviews;
	r->lookups = palloc0(features->nviews * sizeof(FeLookup));
	for (int v = 0; v < features->nviews; v++)
		init_lookup(&r->lookups[v], features->views[v]);
	r->desc = CreateTemplateTupleDesc(features->nfeatures);
	for (int i = 0; i < features->nfeatures; i++)
	{
		const FeColumn *column = fe_feature_column(features, i);
		FeLookup   *l = &r->lookups[features->features[i].view];

		l->columns = bms_add_member(l->columns, features->features[i].column);
		TupleDescInitEntry(r->desc, i + 1, features->features[i].name, column->type,
						   column->typmod, 0);
	}
	r->desc = BlessTupleDesc(r->desc);
	r->values = palloc0(features->nfeatures * sizeof(Datum));
	r->nulls = palloc0(features->nfeatures * sizeof(bool));
	init_json(r);
	return r;
}

FeRequest *
fe_request_open_view(const char *name)
{
	return open_view(fe_plan_by_name(name, false));
}

FeRequest *
fe_request_open(const char *name, bool vector)
{
	FePlan	   *plan = fe_plan_by_name(name, true);
	FeService  *service;

	if (plan)
		return vector ? open_features(fe_features_of_view(plan), true) : open_view(plan);
	service = fe_service_by_name(name, true);
	if (service == NULL)
		(void) fe_plan_by_name(name, false);
	return open_features(fe_service_resolve(service, false), vector);
}

void
fe_request_close(FeRequest *r)
{
	for (int v = 0; v < r->nlookups; v++)
		if (r->lookups[v].reader)
			fe_serve_reader_release(r->lookups[v].reader);
}

/* ---- errors ---------------------------------------------------------------------------- */

static char *
key_list(FePlan *plan)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int k = 0; k < plan->nkeys; k++)
		appendStringInfo(&names, "%s%s %s", k ? ", " : "", plan->keys[k].name,
						 format_type_be(plan->keys[k].type));
	return names.data;
}

fe_compat_noreturn static void
raise_key_count(FePlan *plan, int given)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg_plural("feature view \"%s\" has %d key column, but %d were given",
						   "feature view \"%s\" has %d key columns, but %d were given",
						   plan->nkeys, plan->name, plan->nkeys, given),
			 errdetail("Its key is (%s).", key_list(plan)),
			 plan->nkeys > 1 ? errhint("Pass the keys as separate arguments, or as ROW(...).") : 0));
}

fe_compat_noreturn static void
raise_different_keys(const FeFeatureList *features)
{
	StringInfoData object;
	StringInfoData keys;
	ListCell   *lc;

	initStringInfo(&object);
	foreach(lc, fe_features_keys(features))
	{
		appendStringInfoString(&object, foreach_current_index(lc) ? ", " : "");
		escape_json(&object, ((FeJoinColumnName *) lfirst(lc))->name);
		appendStringInfoString(&object, ": ...");
	}
	initStringInfo(&keys);
	for (int v = 0; v < features->nviews; v++)
		appendStringInfo(&keys, "%s\"%s\": (%s)", v ? ", " : "", features->views[v]->name,
						 key_list(features->views[v]));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the feature views of feature service \"%s\" have different keys",
					features->service),
			 errdetail("They are %s.", keys.data),
			 errhint("Pass the keys by name: '{%s}'::jsonb.", object.data)));
}

/* ---- keys of one view -------------------------------------------------------------------- */

static void
prepare_key(FeLookup *l, int k, Oid type)
{
	FeKeyInput *input = &l->inputs[k];
	FePlan	   *plan = l->plan;
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
		fmgr_info_cxt(typinput, &input->in, l->cxt);
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
convert_key(FeLookup *l, int k)
{
	FeKeyInput *input = &l->inputs[k];
	Datum	   *value = &l->keys[k];

	if (l->keynulls[k])
		return true;
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

/* Which of the given keys is this key of the view; first: of the first view of all. */
static int
given_key(const FeGivenKeys *keys, FePlan *plan, int k, FePlan *first)
{
	const char *name = plan->keys[k].name;

	if (keys->names == NULL && plan == first)
		return k;
	for (int i = 0; i < keys->n; i++)
		if (strcmp(keys->names ? keys->names[i] : first->keys[i].name, name) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("key \"%s\" is missing", name),
			 errdetail("The key of feature view \"%s\" is (%s).", plan->name, key_list(plan))));
}

static bool
set_keys(FeLookup *l, const FeGivenKeys *keys, FePlan *first)
{
	bool		possible = true;

	for (int k = 0; k < l->plan->nkeys; k++)
	{
		int			n = given_key(keys, l->plan, k, first);

		if (l->inputs[k].type != keys->types[n])
			prepare_key(l, k, keys->types[n]);
		l->keys[k] = keys->values[n];
		l->keynulls[k] = keys->nulls[n];
	}
	for (int k = 0; k < l->plan->nkeys && possible; k++)
		possible = convert_key(l, k);
	return possible;
}

/* A jsonb value holds keys by name, unless it is the key of the view. */
static bool
is_by_name(const FePlan *first, const FeGivenKeys *keys)
{
	return keys->n == 1 && keys->types[0] == JSONBOID &&
		!(first->nkeys == 1 && getBaseType(first->keys[0].type) == JSONBOID);
}

/* The keys as each view is to take them; checks their number where they have no names. */
static const FeGivenKeys *
read_keys(FeRequest *r, const FeGivenKeys *keys, FeGivenKeys *by_name)
{
	FePlan	   *first = r->lookups[0].plan;

	if (is_by_name(first, keys) && JB_ROOT_IS_OBJECT(DatumGetJsonbP(keys->values[0])))
	{
		keys_of_object(by_name, DatumGetJsonbP(keys->values[0]));
		return by_name;
	}
	if (r->nlookups > 1 && !fe_features_share_keys(r->features))
		raise_different_keys(r->features);
	if (keys->n != first->nkeys)
		raise_key_count(first, keys->n);
	return keys;
}

static void
open_reader(FeRequest *r, FeLookup *l)
{
	MemoryContext old;

	if (l->reader)
		return;
	old = MemoryContextSwitchTo(l->cxt);
	l->reader = fe_serve_reader_create(l->plan, l->columns, r->T);
	MemoryContextSwitchTo(old);
}

/* ---- looking up ---------------------------------------------------------------------------- */

bool
fe_request_set_keys(FeRequest *r, const FeGivenKeys *keys)
{
	FeLookup   *l = &r->lookups[0];
	FeGivenKeys by_name;
	bool		possible;

	if (is_by_name(l->plan, keys) && keys->nulls[0])
		return false;
	possible = set_keys(l, read_keys(r, keys, &by_name), l->plan);
	open_reader(r, l);
	return possible;
}

Datum
fe_request_row(FeRequest *r)
{
	HeapTuple	tuple = heap_form_tuple(r->desc, r->values, r->nulls);

	return FunctionCall1(&r->to_json, HeapTupleGetDatum(tuple));
}

/* Features into the result's row; those of views without the entity are NULL. */
static void
collect_features(FeRequest *r, const bool *found)
{
	for (int i = 0; i < r->features->nfeatures; i++)
	{
		const FeFeature *f = &r->features->features[i];

		r->nulls[i] = !found[f->view] || r->lookups[f->view].nulls[f->column];
		r->values[i] = r->nulls[i] ? (Datum) 0 : r->lookups[f->view].values[f->column];
	}
}

bool
fe_request_lookup(FeRequest *r, const FeGivenKeys *given, Datum *result)
{
	FeGivenKeys by_name;
	const FeGivenKeys *keys;
	bool	   *found = palloc0(r->nlookups * sizeof(bool));
	bool		any = false;

	if (is_by_name(r->lookups[0].plan, given) && given->nulls[0])
		return false;
	keys = read_keys(r, given, &by_name);
	for (int v = 0; v < r->nlookups; v++)
		found[v] = set_keys(&r->lookups[v], keys, r->lookups[0].plan);
	for (int v = 0; v < r->nlookups; v++)
	{
		FeLookup   *l = &r->lookups[v];

		open_reader(r, l);
		found[v] = found[v] &&
			fe_serve_newest(l->reader, l->keys, l->keynulls, l->values, l->nulls);
		any |= found[v];
	}
	if (!any)
		return false;
	if (r->features)
		collect_features(r, found);
	*result = fe_request_row(r);
	return true;
}
