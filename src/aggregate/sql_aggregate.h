/*
 * sql_aggregate.h
 *		What the transition functions of our own SQL aggregates have in common
 *		(private to this room).  They run in backends, without locks.
 */
#ifndef FE_SQL_AGGREGATE_H
#define FE_SQL_AGGREGATE_H

#include "fmgr.h"
#include "lib/stringinfo.h"

/* The memory of the group's state; ERROR outside of an aggregate. */
extern MemoryContext fe_aggregate_context(FunctionCallInfo fcinfo);

/* A constant argument: the same in all rows of a group, and not null. */
extern void fe_require_argument(FunctionCallInfo fcinfo, int n, const char *name);
extern void fe_require_same(bool same, const char *name);
/* Raises what one of the ..._problem functions found, if it did. */
extern void fe_require_no_problem(const char *problem);

/*
 * Event time of a row as microseconds; false: NULL.  type: of the argument;
 * timestamp and date are read as UTC, a date beyond all timestamps as infinite.
 */
extern bool fe_argument_time(FunctionCallInfo fcinfo, int n, Oid type, int64 *ts);

/* Byte forms for parallel workers of the same server: as in memory. */
extern bytea *fe_serialized(StringInfo buf);
extern void fe_deserialize_begin(StringInfo buf, bytea *bytes);
extern void fe_deserialize(StringInfo buf, void *to, Size len);

#endif							/* FE_SQL_AGGREGATE_H */
