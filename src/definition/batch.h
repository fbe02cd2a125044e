/*
 * batch.h
 *		The stored definition of a view as a batch query: its text, in pieces that
 *		statements are made of, and running them as the view's owner at a given T.
 *
 * check_feature_view() compares it with the streamed values; the offline room
 * evaluates it at past instants.
 */
#ifndef FE_DEFINITION_BATCH_H
#define FE_DEFINITION_BATCH_H

#include "lib/stringinfo.h"

#include "definition/names.h"
#include "definition/plan.h"

/* A column of those that tell rows apart: a key, or the window of GROUP BY. */
typedef struct FeBatchKey
{
	int			column;
	struct FeFlatKey *key;
} FeBatchKey;

/*
 * Which rows were not there yet at a past T.  The windows of a definition leave
 * out events later than T, wherever there is one; this leaves them out elsewhere.
 */
typedef enum FeBatchPast
{
	FE_PAST_NONE,				/* T is the present, or WHERE's windows do it */
	FE_PAST_WINDOWS,			/* those whose event times are all later than T: they only
								 * make an entity exist, or fill windows of GROUP BY */
	FE_PAST_COLUMN				/* those whose event_time is not T or before */
} FeBatchPast;

/* A statement under construction; its names are c0, c1, ...: the output columns. */
typedef struct FeBatch
{
	StringInfoData sql;
	const FePlan *plan;
	struct FeFlat *flat;		/* the stored definition over its row */
	int			nkeys;
	FeBatchKey	keys[FE_MAX_KEYS + 1];
	List	   *names;			/* of the row's columns, for deparsing */
	const char *alias;			/* the row's name in them */
	FeBatchPast past;
	const char *event_time;		/* column of the source tables */
	bool		served;			/* only what is served and recorded */
	bool		sampled;		/* only entities whose keys are in the relation k */
} FeBatch;

/* ---- batch_sql.c: to be built and run with the same search_path --------------------- */

extern void fe_batch_init(FeBatch *b, const FePlan *plan);
/*
 * Only what is served and recorded: rows without a NULL among the keys, and of
 * several windows of GROUP BY the newest that has begun; per_window: each of them.
 */
extern void fe_batch_set_served(FeBatch *b, bool per_window);
/* The definition as an item of FROM, without alias. */
extern char *fe_batch_query(const FeBatch *b);
/* c0, c1, ... */
extern void fe_batch_append_columns(StringInfo sql, const FePlan *plan);
/* Does the column tell rows apart? */
extern bool fe_batch_is_key(const FeBatch *b, int column);
/* "x.c0 OPERATOR(=) y.c0 AND ..." */
extern void fe_batch_append_key_match(const FeBatch *b, StringInfo sql, const char *x,
									  const char *y);
/* "x.c0, x.c1" of the keys; x NULL: without the relation. */
extern void fe_batch_append_keys(const FeBatch *b, StringInfo sql, const char *x);
/*
 * Between the two stands an item of FROM, named x, with the keys among its columns:
 * "SELECT x.* FROM ... AS x", of a sample only its entities.  looked_up: the item finds
 * one by its key; else sessions are made of all at once.
 */
extern void fe_batch_begin_rows(FeBatch *b, bool looked_up);
extern void fe_batch_end_rows(FeBatch *b, bool looked_up);

/* For fe_batch statements over the source's rows. */
extern void fe_batch_append_source(FeBatch *b, int sample);
extern void fe_batch_append_source_keys(FeBatch *b);
extern char *fe_batch_expression(const FeBatch *b, Node *expr);

/* ---- batch_past.c ------------------------------------------------------------------- */

/*
 * How the past is told; event_time NULL: by the windows.  ERROR: no such column, or
 * one that the current user may not read.
 */
extern void fe_batch_set_past(FeBatch *b, const char *event_time);
/*
 * Why a column's value at a past T (-1: whether an entity was there) cannot be told
 * from the tables as they are now, a sentence; NULL: it can.  *undated: with an
 * event_time it could.
 */
extern char *fe_batch_past_problem(const FeBatch *b, int column, bool *undated);
/* Does HAVING depend on T other than through windows? */
extern bool fe_batch_having_uses_time(const FePlan *plan);

/* ---- batch_compare.c: two sides, value by value ----------------------------------------- */

/*
 * Appends WITH queries over relations s and b of columns c0, c1, ...: g, one row
 * an entity with the number of its rows on both sides (n0 of s, n1 of b), keys, and
 * each feature's text on both sides (vI_0, vI_1).
 */
extern void fe_batch_append_groups(FeBatch *b);
/*
 * Condition under which two different texts a and b are the same value of this
 * column; over a row of g.
 */
extern char *fe_batch_same_value(const FeBatch *b, int column);

/* ---- batch_run.c ---------------------------------------------------------------------- */

typedef void (*FeBatchCallback) (void *arg);

/*
 * Calls back with an SPI connection, as the view's owner in a security-restricted
 * context, at this T (which the callback may move by fe_clock_set_eval_time).  An
 * error of a view that skips rows gets a hint.
 */
extern void fe_batch_run(const FePlan *plan, FeTime T, FeWatermark watermark,
						 FeBatchCallback call, void *arg);

#endif							/* FE_DEFINITION_BATCH_H */
