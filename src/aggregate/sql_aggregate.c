/*
 * sql_aggregate.c
 *		What the transition functions of our own SQL aggregates have in common.
 *
 * Run in backends, without locks.
 */
#include "postgres.h"

#include "aggregate/sql_aggregate.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "runtime/compat.h"
#include "utils/date.h"
#include "utils/timestamp.h"

MemoryContext
fe_aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext cxt;

	if (!AggCheckCallContext(fcinfo, &cxt))
		elog(ERROR, "aggregate function called in non-aggregate context");
	return cxt;
}

void
fe_require_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument %d of %s must not be null", n, name)));
}

void
fe_require_same(bool same, const char *name)
{
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("further arguments of %s must be the same for all rows of a group", name)));
}

void
fe_require_no_problem(const char *problem)
{
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s", problem)));
}

bool
fe_argument_time(FunctionCallInfo fcinfo, int n, Oid type, int64 *ts)
{
	DateADT		date;

	if (PG_ARGISNULL(n))
		return false;
	if (type != DATEOID)
	{
		*ts = PG_GETARG_INT64(n);
		return true;
	}
	date = PG_GETARG_DATEADT(n);
	if (DATE_IS_NOBEGIN(date))
		*ts = PG_INT64_MIN;
	else if (DATE_IS_NOEND(date))
		*ts = PG_INT64_MAX;
	else if (pg_mul_s64_overflow(date, USECS_PER_DAY, ts))
		*ts = date < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	return true;
}

bytea *
fe_serialized(StringInfo buf)
{
	bytea	   *result = palloc(VARHDRSZ + buf->len);

	SET_VARSIZE(result, VARHDRSZ + buf->len);
	memcpy(VARDATA(result), buf->data, buf->len);
	return result;
}

void
fe_deserialize_begin(StringInfo buf, bytea *bytes)
{
	buf->data = VARDATA_ANY(bytes);
	buf->len = buf->maxlen = VARSIZE_ANY_EXHDR(bytes);
	buf->cursor = 0;
}

void
fe_deserialize(StringInfo buf, void *to, Size len)
{
	if (len > buf->len - buf->cursor)
		elog(ERROR, "insufficient data left in an aggregate's state");
	memcpy(to, buf->data + buf->cursor, len);
	buf->cursor += (int) len;
}
