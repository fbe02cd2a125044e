/*
 * hll_sql.c
 *		The SQL aggregate approx_count_distinct(x), as a batch query runs it, and
 *		the function hll_hash(x); accumulator kind "hyperloglog" keeps the same
 *		sketch for feature views.
 *
 * Runs in backends, hll_hash also in the ingest worker as part of the row program;
 * no locks.
 */
#include "postgres.h"

#include "aggregate/hll.h"
#include "aggregate/sql_aggregate.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(fe_hll_hash_value);
PG_FUNCTION_INFO_V1(fe_approx_count_distinct_transfn);
PG_FUNCTION_INFO_V1(fe_approx_count_distinct_finalfn);
PG_FUNCTION_INFO_V1(fe_approx_count_distinct_combinefn);
PG_FUNCTION_INFO_V1(fe_approx_count_distinct_serialfn);
PG_FUNCTION_INFO_V1(fe_approx_count_distinct_deserialfn);

/* How argument n is hashed, kept for the query. */
static FeHllHash *
hash_of_argument(FunctionCallInfo fcinfo, int n)
{
	FeHllHash  *hash = fcinfo->flinfo->fn_extra;
	Oid			type;

	if (hash != NULL)
		return hash;
	type = get_fn_expr_argtype(fcinfo->flinfo, n);
	if (!OidIsValid(type))
		elog(ERROR, "could not determine input data type");
	hash = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, sizeof(FeHllHash));
	if (!fe_hll_hash_init(hash, type, PG_GET_COLLATION(), fcinfo->flinfo->fn_mcxt))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an extended hash function for type %s",
						format_type_be(type)),
				 errhint("Cast the argument to a type that has one, such as text.")));
	fcinfo->flinfo->fn_extra = hash;
	return hash;
}

/* hll_hash(anyelement) returns int8 */
Datum
fe_hll_hash_value(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) fe_hll_hash(hash_of_argument(fcinfo, 0), PG_GETARG_DATUM(0)));
}

Datum
fe_approx_count_distinct_transfn(PG_FUNCTION_ARGS)
{
	MemoryContext cxt = fe_aggregate_context(fcinfo);
	FeHll	   *hll = PG_ARGISNULL(0) ? fe_hll_create(cxt) : (FeHll *) PG_GETARG_POINTER(0);
	FeHllHash  *hash = hash_of_argument(fcinfo, 1);

	if (!PG_ARGISNULL(1))
		fe_hll_add(hll, fe_hll_entry(fe_hll_hash(hash, PG_GETARG_DATUM(1))));
	PG_RETURN_POINTER(hll);
}

Datum
fe_approx_count_distinct_finalfn(PG_FUNCTION_ARGS)
{
	(void) fe_aggregate_context(fcinfo);
	PG_RETURN_INT64(PG_ARGISNULL(0) ? 0 : fe_hll_count((FeHll *) PG_GETARG_POINTER(0)));
}

Datum
fe_approx_count_distinct_combinefn(PG_FUNCTION_ARGS)
{
	MemoryContext cxt = fe_aggregate_context(fcinfo);
	FeHll	   *to = PG_ARGISNULL(0) ? fe_hll_create(cxt) : (FeHll *) PG_GETARG_POINTER(0);
	FeHll	   *from = PG_ARGISNULL(1) ? NULL : (FeHll *) PG_GETARG_POINTER(1);

	if (from != NULL && from->dense)
		fe_hll_add_registers(to, from->registers, 0, FE_HLL_REGISTERS);
	for (int i = 0; from != NULL && i < from->n; i++)
		fe_hll_add(to, from->entries[i]);
	PG_RETURN_POINTER(to);
}

/* the number of entries and these; -1 and the registers */
Datum
fe_approx_count_distinct_serialfn(PG_FUNCTION_ARGS)
{
	FeHll	   *hll = (FeHll *) PG_GETARG_POINTER(0);
	StringInfoData buf;
	int			n;

	(void) fe_aggregate_context(fcinfo);
	fe_hll_tidy(hll);
	n = hll->dense ? -1 : hll->n;
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, (char *) &n, sizeof(n));
	if (hll->dense)
		appendBinaryStringInfo(&buf, (char *) hll->registers, FE_HLL_REGISTERS);
	else
		appendBinaryStringInfo(&buf, (char *) hll->entries, n * sizeof(uint32));
	PG_RETURN_BYTEA_P(fe_serialized(&buf));
}

Datum
fe_approx_count_distinct_deserialfn(PG_FUNCTION_ARGS)
{
	FeHll	   *hll;
	StringInfoData buf;
	int			n;

	(void) fe_aggregate_context(fcinfo);
	hll = fe_hll_create(CurrentMemoryContext);
	fe_deserialize_begin(&buf, PG_GETARG_BYTEA_PP(0));
	fe_deserialize(&buf, &n, sizeof(n));
	if (n < 0)
	{
		uint8		registers[FE_HLL_REGISTERS];

		fe_deserialize(&buf, registers, FE_HLL_REGISTERS);
		fe_hll_add_registers(hll, registers, 0, FE_HLL_REGISTERS);
	}
	for (int i = 0; i < n; i++)
	{
		uint32		entry;

		fe_deserialize(&buf, &entry, sizeof(entry));
		fe_hll_add(hll, entry);
	}
	PG_RETURN_POINTER(hll);
}
