/*
 * lists_sql.c
 *		The SQL aggregates first_n, last_n and last_distinct_n (x, ts, n) and
 *		top_k(x, k), as a batch query runs them; accumulator kinds "ordered" and
 *		"multiset" keep the rows for feature views.
 *
 * A group's rows are collected in a list, which is brought down to what can be in
 * the result whenever it has doubled.  Run in backends, without locks.
 */
#include "postgres.h"

#include "aggregate/sql_aggregate.h"
#include "aggregate/value_list.h"
#include "runtime/runtime.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(fe_first_n_transfn);
PG_FUNCTION_INFO_V1(fe_last_n_transfn);
PG_FUNCTION_INFO_V1(fe_last_distinct_n_transfn);
PG_FUNCTION_INFO_V1(fe_top_k_transfn);
PG_FUNCTION_INFO_V1(fe_list_finalfn);
PG_FUNCTION_INFO_V1(fe_list_combinefn);
PG_FUNCTION_INFO_V1(fe_list_serialfn);
PG_FUNCTION_INFO_V1(fe_list_deserialfn);

/* Of the aggregate's call in a query. */
typedef struct ListCall
{
	FeAccSpec	spec;			/* of the values: type, order, collation */
	Oid			time_type;
} ListCall;

typedef struct ListState
{
	FeValueList list;
	const ListCall *call;
	int			tidy_at;		/* items */
} ListState;

static const char *
name_of(int final)
{
	switch (final)
	{
		case FE_FINAL_FIRST_N:
			return "first_n";
		case FE_FINAL_LAST_N:
			return "last_n";
		case FE_FINAL_LAST_DISTINCT_N:
			return "last_distinct_n";
		default:
			return "top_k";
	}
}

/* ---- rows ------------------------------------------------------------------ */

static ListCall *
make_call(Oid type, Oid time_type, Oid collation, int final, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	ListCall   *call = palloc0(sizeof(ListCall));

	if (!OidIsValid(lookup_type_cache(type, TYPECACHE_CMP_PROC)->cmp_proc))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify a comparison function for type %s",
						format_type_be(type)),
				 errdetail("The first argument of %s must have a default btree operator class, which decides among rows of equal rank.",
						   name_of(final)),
				 errhint("Cast the argument to a type that has one, such as text.")));
	call->time_type = time_type;
	call->spec.argtype = type;
	call->spec.collation = collation;
	get_typlenbyvalalign(type, &call->spec.arglen, &call->spec.argbyval, &call->spec.argalign);
	fe_value_prepare(&call->spec, true);
	MemoryContextSwitchTo(old);
	return call;
}

static const ListCall *
call_of_arguments(FunctionCallInfo fcinfo, int final)
{
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 1);
		Oid			time_type = get_fn_expr_argtype(fcinfo->flinfo, 2);

		if (!OidIsValid(type) || !OidIsValid(time_type))
			elog(ERROR, "could not determine input data types");
		fcinfo->flinfo->fn_extra = make_call(type, time_type, PG_GET_COLLATION(), final,
											 fcinfo->flinfo->fn_mcxt);
	}
	return fcinfo->flinfo->fn_extra;
}

static ListState *
create_state(const ListCall *call, int final, int limit, MemoryContext cxt)
{
	ListState  *state = MemoryContextAlloc(cxt, sizeof(ListState));

	state->call = call;
	fe_value_list_init_group(&state->list, &call->spec, final, limit, cxt);
	state->tidy_at = 2 * limit + 64;
	return state;
}

static void
add_item(ListState *state, int64 order, Datum value, bool isnull, int64 count)
{
	const FeAccSpec *spec = &state->call->spec;
	Datum		plain = value;

	if (!isnull && spec->arglen == -1)
		plain = PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	fe_value_list_add(&state->list, order, plain, isnull, count);
	if (!isnull && !spec->argbyval && plain != value)
		pfree(DatumGetPointer(plain));
	if (state->list.n >= state->tidy_at)
	{
		fe_value_list_tidy(&state->list);
		state->tidy_at = Max(2 * state->list.n, 2 * state->list.limit + 64);
	}
}

/* (internal, x, ts, n), and for top_k (internal, x, k) */
static Datum
list_step(FunctionCallInfo fcinfo, int final)
{
	MemoryContext cxt = fe_aggregate_context(fcinfo);
	ListState  *state = PG_ARGISNULL(0) ? NULL : (ListState *) PG_GETARG_POINTER(0);
	bool		timed = final != FE_FINAL_TOP_K;
	int			last = timed ? 3 : 2;
	const ListCall *call = call_of_arguments(fcinfo, final);
	int64		order = 0;

	fe_require_argument(fcinfo, last, name_of(final));
	if (state == NULL)
	{
		fe_require_no_problem(fe_list_problem(PG_GETARG_INT32(last), name_of(final)));
		state = create_state(call, final, PG_GETARG_INT32(last), cxt);
	}
	fe_require_same(PG_GETARG_INT32(last) == state->list.limit, name_of(final));
	if (timed && !fe_argument_time(fcinfo, 2, call->time_type, &order))
		PG_RETURN_POINTER(state);
	if (PG_ARGISNULL(1) && (final == FE_FINAL_TOP_K || final == FE_FINAL_LAST_DISTINCT_N))
		PG_RETURN_POINTER(state);
	add_item(state, order, PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1), PG_ARGISNULL(1), 1);
	PG_RETURN_POINTER(state);
}

Datum
fe_first_n_transfn(PG_FUNCTION_ARGS)
{
	return list_step(fcinfo, FE_FINAL_FIRST_N);
}

Datum
fe_last_n_transfn(PG_FUNCTION_ARGS)
{
	return list_step(fcinfo, FE_FINAL_LAST_N);
}

Datum
fe_last_distinct_n_transfn(PG_FUNCTION_ARGS)
{
	return list_step(fcinfo, FE_FINAL_LAST_DISTINCT_N);
}

Datum
fe_top_k_transfn(PG_FUNCTION_ARGS)
{
	return list_step(fcinfo, FE_FINAL_TOP_K);
}

/* (internal, and NULLs that say the type) */
Datum
fe_list_finalfn(PG_FUNCTION_ARGS)
{
	ListState  *state = PG_ARGISNULL(0) ? NULL : (ListState *) PG_GETARG_POINTER(0);
	bool		isnull;
	Datum		result;

	(void) fe_aggregate_context(fcinfo);
	if (state == NULL)
		PG_RETURN_NULL();
	result = fe_value_list_result(&state->list, &isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

/* ---- parallel queries -------------------------------------------------------- */

/* What a combining process has to know, and a state tells. */
typedef struct ListHeader
{
	Oid			type;
	Oid			time_type;
	Oid			collation;
	int			final;
	int			limit;
	int			n;
} ListHeader;

Datum
fe_list_combinefn(PG_FUNCTION_ARGS)
{
	MemoryContext cxt = fe_aggregate_context(fcinfo);
	ListState  *to = PG_ARGISNULL(0) ? NULL : (ListState *) PG_GETARG_POINTER(0);
	ListState  *from = PG_ARGISNULL(1) ? NULL : (ListState *) PG_GETARG_POINTER(1);

	if (from == NULL)
	{
		if (to == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(to);
	}
	if (to == NULL)
	{
		const FeAccSpec *spec = &from->call->spec;

		to = create_state(make_call(spec->argtype, from->call->time_type, spec->collation,
									from->list.final, cxt),
						  from->list.final, from->list.limit, cxt);
	}
	fe_require_same(to->list.limit == from->list.limit, name_of(to->list.final));
	for (int i = 0; i < from->list.n; i++)
	{
		const FeListItem *item = &from->list.items[i];

		add_item(to, item->order, item->value, item->isnull, item->count);
	}
	PG_RETURN_POINTER(to);
}

static void
serialize_item(StringInfo buf, const FeAccSpec *spec, const FeListItem *item)
{
	Size		len = 0;

	appendBinaryStringInfo(buf, (char *) item, sizeof(FeListItem));
	if (item->isnull || spec->argbyval)
		return;
	len = spec->arglen == -1 ? VARSIZE_ANY(DatumGetPointer(item->value)) : spec->arglen;
	appendBinaryStringInfo(buf, (char *) &len, sizeof(len));
	appendBinaryStringInfo(buf, DatumGetPointer(item->value), (int) len);
}

Datum
fe_list_serialfn(PG_FUNCTION_ARGS)
{
	ListState  *state = (ListState *) PG_GETARG_POINTER(0);
	const FeAccSpec *spec = &state->call->spec;
	ListHeader	header;
	StringInfoData buf;

	(void) fe_aggregate_context(fcinfo);
	fe_value_list_tidy(&state->list);
	header.type = spec->argtype;
	header.time_type = state->call->time_type;
	header.collation = spec->collation;
	header.final = state->list.final;
	header.limit = state->list.limit;
	header.n = state->list.n;
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, (char *) &header, sizeof(header));
	for (int i = 0; i < state->list.n; i++)
		serialize_item(&buf, spec, &state->list.items[i]);
	PG_RETURN_BYTEA_P(fe_serialized(&buf));
}

/* By-reference values, as lengths and bytes, in memory that is aligned for them. */
static Datum
deserialize_value(StringInfo buf)
{
	Size		len;
	char	   *value;

	fe_deserialize(buf, &len, sizeof(len));
	value = palloc(len);
	fe_deserialize(buf, value, len);
	return PointerGetDatum(value);
}

Datum
fe_list_deserialfn(PG_FUNCTION_ARGS)
{
	ListHeader	header;
	ListState  *state;
	StringInfoData buf;

	(void) fe_aggregate_context(fcinfo);
	fe_deserialize_begin(&buf, PG_GETARG_BYTEA_PP(0));
	fe_deserialize(&buf, &header, sizeof(header));
	state = create_state(make_call(header.type, header.time_type, header.collation, header.final,
								   CurrentMemoryContext),
						 header.final, header.limit, CurrentMemoryContext);
	for (int i = 0; i < header.n; i++)
	{
		FeListItem	item;

		fe_deserialize(&buf, &item, sizeof(item));
		if (!item.isnull && !state->call->spec.argbyval)
			item.value = deserialize_value(&buf);
		add_item(state, item.order, item.value, item.isnull, item.count);
	}
	PG_RETURN_POINTER(state);
}
