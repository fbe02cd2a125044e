/*
 * skew.h
 *		Between skew.c and skew_sql.c; no other file includes this.
 */
#ifndef FE_OFFLINE_SKEW_H
#define FE_OFFLINE_SKEW_H

#include "offline/past.h"

typedef struct FeSkew
{
	FePast		past;
	int64		lag;			/* us after an instant within which what happened by then
								 * may have been recorded, but for history_interval */
} FeSkew;

/* Of one column, or of entities as a whole. */
typedef struct FeSkewCounts
{
	int64		compared;
	int64		mismatches;
	int64		missing;
	int64		extra;
	bool		has_relative;
	bool		has_absolute;
	float8		relative;
	float8		absolute;
	char	   *example;		/* jsonb */
} FeSkewCounts;

/* Why a column (-1: the existence of entities) is not compared; NULL: it is. */
extern char *fe_skew_problem(const FeSkew *s, int column);
/*
 * The statement for one instant, which is T: a row of column number (-1), compared,
 * mismatches, missing, extra, greatest relative and absolute error, example.  NULL:
 * nothing can be compared.
 */
extern char *fe_skew_statement(FeSkew *s);

#endif							/* FE_OFFLINE_SKEW_H */
