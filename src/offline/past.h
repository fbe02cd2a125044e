/*
 * past.h
 *		What backfill_history() and skew_report() have in common: the batch query of
 *		a view at past instants, and its history table.
 */
#ifndef FE_OFFLINE_PAST_H
#define FE_OFFLINE_PAST_H

#include "definition/batch.h"
#include "definition/history.h"

typedef struct FePast
{
	const FePlan *plan;
	FeHistoryShape *shape;
	char	   *table;			/* the history, schema.name */
	FeBatch		batch;			/* its rows as they are recorded */
	FeTime		from;
	FeTime		to;
} FePast;

/*
 * Fills it in from the arguments view, from and to; ERROR where there is no such
 * view, no history, or no batch form.
 */
extern void fe_past_init(FePast *p, FunctionCallInfo fcinfo);
/* The argument n, a name of a column; NULL: not given. */
extern void fe_past_set_event_time(FePast *p, FunctionCallInfo fcinfo, int n);
/* Until callback.previous is put back, errors tell of the view and T. */
extern void fe_past_begin_context(const FePast *p, ErrorContextCallback *callback);
/* The output columns, in their order, by their names in the history. */
extern void fe_past_append_columns(const FePast *p, StringInfo sql);
/* Those that are keys; prefix: "x.", or "". */
extern void fe_past_append_keys(const FePast *p, StringInfo sql);
/*
 * "(SELECT DISTINCT ON ...)": the newest row of each entity under this condition, as
 * it stands in the history.
 */
extern void fe_past_append_newest(const FePast *p, StringInfo sql, const char *condition);
/* Of an interval argument; ERROR: NULL, months, less than the least, or more than 36500 days. */
extern int64 fe_past_interval(FunctionCallInfo fcinfo, int n, const char *name, int64 least);

#endif							/* FE_OFFLINE_PAST_H */
