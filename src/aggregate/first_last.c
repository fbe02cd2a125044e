/*
 * first_last.c
 *		The SQL aggregates first(x, ts) and last(x, ts), as a batch query runs
 *		them; accumulator kind "ordered" keeps the same thing for feature views.
 *
 * The x of the row with the least (greatest) ts.  Rows with a NULL ts do not
 * count.  Among equal ts the lesser x wins for first and the greater for last,
 * in x's default order, a NULL losing against everything, so that the result
 * does not depend on the order of the rows.  Runs in backends, without locks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

typedef struct FirstLast
{
	bool		any;
	int64		order;
	bool		isnull;
	Datum		value;

	bool		order_is_date;
	int16		typlen;
	bool		typbyval;
	FmgrInfo	cmp;
} FirstLast;

PG_FUNCTION_INFO_V1(fe_first_transfn);
PG_FUNCTION_INFO_V1(fe_last_transfn);
PG_FUNCTION_INFO_V1(fe_first_last_finalfn);

static FirstLast *
create_state(FunctionCallInfo fcinfo, MemoryContext cxt)
{
	FirstLast  *state = MemoryContextAllocZero(cxt, sizeof(FirstLast));
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 1);
	Oid			order = get_fn_expr_argtype(fcinfo->flinfo, 2);
	Oid			cmp;

	if (!OidIsValid(type) || !OidIsValid(order))
		elog(ERROR, "could not determine input data types");
	cmp = lookup_type_cache(type, TYPECACHE_CMP_PROC)->cmp_proc;
	if (!OidIsValid(cmp))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify a comparison function for type %s",
						format_type_be(type)),
				 errdetail("The first argument of first and last must have a default btree operator class, which decides among rows of equal time."),
				 errhint("Cast the argument to a type that has one, such as text.")));
	fmgr_info_cxt(cmp, &state->cmp, cxt);
	get_typlenbyval(type, &state->typlen, &state->typbyval);
	state->order_is_date = (getBaseType(order) == DATEOID);
	return state;
}

static void
take_value(FirstLast *state, Datum value, bool isnull, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);

	if (state->any && !state->isnull && !state->typbyval)
		pfree(DatumGetPointer(state->value));
	state->isnull = isnull;
	if (isnull)
		state->value = (Datum) 0;
	else if (state->typlen == -1)
		state->value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	else
		state->value = datumCopy(value, state->typbyval, state->typlen);
	MemoryContextSwitchTo(old);
}

/* direction: 1 for last, -1 for first */
static Datum
first_last_step(FunctionCallInfo fcinfo, int direction)
{
	FirstLast  *state = PG_ARGISNULL(0) ? NULL : (FirstLast *) PG_GETARG_POINTER(0);
	MemoryContext cxt;
	int64		order;
	bool		better;

	if (!AggCheckCallContext(fcinfo, &cxt))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (state == NULL)
		state = create_state(fcinfo, cxt);
	if (PG_ARGISNULL(2))
		PG_RETURN_POINTER(state);

	order = state->order_is_date ? PG_GETARG_INT32(2) : PG_GETARG_INT64(2);
	if (!state->any || order != state->order)
		better = !state->any || (direction > 0 ? order > state->order : order < state->order);
	else if (PG_ARGISNULL(1) || state->isnull)
		better = !PG_ARGISNULL(1);
	else
		better = direction * DatumGetInt32(FunctionCall2Coll(&state->cmp, PG_GET_COLLATION(),
															 PG_GETARG_DATUM(1),
															 state->value)) > 0;
	if (better)
	{
		take_value(state, PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1), PG_ARGISNULL(1), cxt);
		state->any = true;
		state->order = order;
	}
	PG_RETURN_POINTER(state);
}

Datum
fe_first_transfn(PG_FUNCTION_ARGS)
{
	return first_last_step(fcinfo, -1);
}

Datum
fe_last_transfn(PG_FUNCTION_ARGS)
{
	return first_last_step(fcinfo, 1);
}

Datum
fe_first_last_finalfn(PG_FUNCTION_ARGS)
{
	FirstLast  *state = PG_ARGISNULL(0) ? NULL : (FirstLast *) PG_GETARG_POINTER(0);

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (state == NULL || !state->any || state->isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(datumCopy(state->value, state->typbyval, state->typlen));
}
