/*
 * feast_value.h
 *		The bytes that Feast's client reads from Redis: keys, fields, values.
 *
 * A *scalar* is one value of one of Feast's types, apart from any server's types.
 * Values are protobuf messages (feast.types.Value, google.protobuf.Timestamp),
 * keys the entity key's serialisation of version 3 with the project's name behind it.
 * Texts are UTF-8.  Pure functions; compile in the server and in unit tests.
 */
#ifndef FE_FEAST_VALUE_H
#define FE_FEAST_VALUE_H

#include "definition/feast_types.h"
#include "lib/stringinfo.h"

typedef struct FeFeastScalar
{
	int64		i;				/* INT32, INT64, BOOL, UNIX_TIMESTAMP (seconds) */
	double		d;				/* DOUBLE, FLOAT */
	const char *data;			/* BYTES, STRING */
	Size		len;
} FeFeastScalar;

/* Appends a Value: n is 1 unless the type is a list. */
extern void fe_feast_put_value(StringInfo out, FeFeastType type, const FeFeastScalar *scalars,
							   int n);
/* Appends a Timestamp, of microseconds since 1970. */
extern void fe_feast_put_timestamp(StringInfo out, int64 usecs);

/* A join key: name and type; values stand apart, by the same number. */
typedef struct FeFeastJoinKey
{
	const char *name;
	FeFeastType type;
} FeFeastJoinKey;

/* Appends an entity's key; join keys are sorted by name already. */
extern void fe_feast_put_key(StringInfo out, const FeFeastJoinKey *keys, int nkeys,
							 const FeFeastScalar *scalars, const char *project);
/* The reverse; texts point into the key.  False: it is no key of that kind. */
extern bool fe_feast_parse_key(const char *data, Size len, const FeFeastJoinKey *keys,
							   int nkeys, const char *project, FeFeastScalar *scalars);
/* Appends what all keys of that kind begin with. */
extern void fe_feast_put_key_head(StringInfo out, const FeFeastJoinKey *keys, int nkeys);

/* Appends the name of a feature's field, by its hash. */
extern void fe_feast_put_field(StringInfo out, uint32 hash);

#endif							/* FE_FEAST_VALUE_H */
