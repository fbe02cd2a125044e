/*
 * joins.h
 *		Between joins.c and join_lookup.c; no other file includes this.
 */
#ifndef FE_JOINS_H
#define FE_JOINS_H

#include "definition/definition.h"

/* An equality of a column of a dimension with one of the fact table. */
typedef struct FeEquality
{
	Node	   *condition;
	Var		   *dim;
	Var		   *fact;
	Oid			op;
	Oid			collation;
} FeEquality;

/* Those of the conditions that are one, of tables by their numbers: FeEquality *. */
extern List *fe_lookup_equalities(List *conditions, int fact, int dim);
/*
 * The type whose default equality the operator is, for both columns; InvalidOid
 * where there is none.  Integers of different width are compared as int8.
 */
extern Oid	fe_lookup_type(const FeEquality *eq);
/*
 * The equalities that look at most one row up, by which unique index; NIL: there is
 * none.
 */
extern List *fe_lookup_unique(Oid relid, List *equalities, Oid *index);

#endif							/* FE_JOINS_H */
