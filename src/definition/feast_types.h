/*
 * feast_types.h
 *		Which of Feast's value types stand for which of PostgreSQL's.
 *
 * One table for all that speak to Feast: the options' check, the online layout,
 * the generated repository.  What has no exact counterpart has none here (numeric:
 * Feast knows no decimals), so that it is refused and not rounded.  No locks; looks
 * types up in the system caches.
 */
#ifndef FE_FEAST_TYPES_H
#define FE_FEAST_TYPES_H

#ifdef FE_FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

/* Numbers of Feast's ValueType, which are those of the fields of its Value, too. */
typedef enum FeFeastType
{
	FE_FEAST_NONE = 0,
	FE_FEAST_BYTES = 1,
	FE_FEAST_STRING = 2,
	FE_FEAST_INT32 = 3,
	FE_FEAST_INT64 = 4,
	FE_FEAST_DOUBLE = 5,
	FE_FEAST_FLOAT = 6,
	FE_FEAST_BOOL = 7,
	FE_FEAST_UNIX_TIMESTAMP = 8
} FeFeastType;

/* A list of values of type t is type t + FE_FEAST_LIST. */
#define FE_FEAST_LIST	10

static inline bool
fe_feast_is_list(FeFeastType type)
{
	return (int) type > FE_FEAST_LIST;
}

static inline FeFeastType
fe_feast_element(FeFeastType type)
{
	return (FeFeastType) ((int) type - (fe_feast_is_list(type) ? FE_FEAST_LIST : 0));
}

/*
 * Of a feature.  Domains count as what they are over; text of any kind and enums
 * are STRING, timestamps and dates UNIX_TIMESTAMP (in seconds: fractions are cut),
 * arrays lists.  FE_FEAST_NONE: none.
 */
extern FeFeastType fe_feast_type(Oid type);
/*
 * Of a key, where different values must stay different: integers, text, bytea, dates, and
 * timestamps without fractions (timestamptz(0)).
 */
extern FeFeastType fe_feast_key_type(Oid type, int32 typmod);
/* As in feast.ValueType: INT64, INT64_LIST. */
extern const char *fe_feast_value_type(FeFeastType type);
/* As in feast.types: Int64, Array(Int64). */
extern const char *fe_feast_dtype(FeFeastType type);

#endif							/* FE_FEAST_TYPES_H */
