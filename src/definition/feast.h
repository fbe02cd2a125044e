/*
 * feast.h
 *		Feature views as Feast sees them (redis_layout => 'feast').
 *
 * A *keyspace* is what all keys of a view in Redis have in common: Feast's project
 * and the join keys, which are the view's key columns, by name.  Views of the same
 * keyspace share one hash an entity.  Names are in the database's encoding here, and
 * UTF-8 in Redis.  Any process; no locks.
 */
#ifndef FE_FEAST_H
#define FE_FEAST_H

#include "definition/feast_types.h"
#include "definition/plan.h"

typedef struct FeFeastKey
{
	char	   *name;
	FeFeastType type;
	int			key;			/* in FePlan.keys; of a text: its place */
} FeFeastKey;

typedef struct FeFeastKeyspace
{
	char	   *project;
	int			nkeys;
	FeFeastKey *keys;			/* by name, in the order of its UTF-8 bytes */
} FeFeastKeyspace;

/* ERROR where a key's type is none of Feast's. */
extern FeFeastKeyspace *fe_feast_keyspace(const FePlan *plan);
extern bool fe_feast_same_keyspace(const FeFeastKeyspace *a, const FeFeastKeyspace *b);
/* As a text, and the way back. */
extern char *fe_feast_keyspace_text(const FeFeastKeyspace *space);
extern FeFeastKeyspace *fe_feast_keyspace_of_text(const char *text);
/* The number by which Feast names a feature's field. */
extern uint32 fe_feast_field(const char *view, const char *feature);

#endif							/* FE_FEAST_H */
