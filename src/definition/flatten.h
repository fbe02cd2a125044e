/*
 * flatten.h
 *		Between flatten.c and union.c; no other file includes this.
 */
#ifndef FE_FLATTEN_H
#define FE_FLATTEN_H

#include "definition/definition.h"

/*
 * What the FROM of a query, and of those below it that only project, comes down
 * to: one row.  That of a table, or one that the arms of a UNION ALL have in
 * common.
 */
typedef struct FeFlatRow
{
	List	   *arms;			/* FeFlatArm *; NIL until FROM is looked at */
	List	   *tables;			/* FeFlatTable *; several: joined, and a Var's varno is
								 * its table's number here */
	TupleDesc	desc;			/* of the common row, NULL: the single arm's own */
	List	   *where;			/* Node *, ANDed; over the row */
} FeFlatRow;

/* A query of the nest, and the ones that its range table holds. */
typedef struct FeFlatLevel
{
	FeAnalysis *a;
	FeFlatRow  *row;
	Query	   *query;
	struct FeFlatLevel *parent;
	struct FeFlatLevel **below; /* by range table index - 1 */
	int		   *tables;			/* the same: number of a table in row->tables, 0 = none */
	int			changes;		/* range table index of changes(), 0 = none */
} FeFlatLevel;

extern FeFlatLevel *fe_flat_level(FeFlatLevel *parent, FeAnalysis *a, FeFlatRow *row,
								  Query *query);
/* Fills the level's row from a query that only projects; refuses any other. */
extern void fe_flatten_projection(FeFlatLevel *level);
/* An expression of the level's query over its row. */
extern Node *fe_flatten_expr(Node *node, FeFlatLevel *level);
extern pg_noinline void fe_flat_refuse(const FeFlatLevel *level, int location, const char *what,
									   const char *hint);
/* ---- clauses.c ---- */

/* Refuses what no query of the nest may contain. */
extern void fe_flat_refuse_clauses(const FeFlatLevel *level);
/* Location of the first target that has one, or -1. */
extern int	fe_targets_location(List *targets);

/* ---- union.c ---- */

/* Fills the level's row from a query that is a UNION ALL. */
extern void fe_flatten_union(FeFlatLevel *level);
/* A column of such a query, by its number; over the row. */
extern Node *fe_union_column(FeFlatLevel *level, AttrNumber attnum);
/* Location of what follows the first set operation, or -1. */
extern int	fe_union_location(Query *query, Node *operation);

#endif							/* FE_FLATTEN_H */
