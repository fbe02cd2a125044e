/*
 * history.h
 *		The history table of a feature view (offline => true): what it looks
 *		like, and making it.  The rows in it are the offline room's.
 *
 * An ordinary table of the view's owner, in the schema of the view's relation,
 * named <view>_history and partitioned by range of event_timestamp:
 *
 *		keys		the view's key columns; where every window is recorded
 *					(redis_key with {window_start}) the window column is one
 *		event_timestamp, created, lsn, is_deleted
 *		features	all other columns of the view, and perhaps such that it had once
 *
 * Its primary key is the keys and event_timestamp.  No member of the extension:
 * it is dumped with its rows, and outlives the view.
 */
#ifndef FE_DEFINITION_HISTORY_H
#define FE_DEFINITION_HISTORY_H

#include "definition/names.h"
#include "definition/plan.h"

/* Which output columns stand where; numbers in FePlan.columns. */
typedef struct FeHistoryShape
{
	int			nkeys;
	int		   *keys;
	int			nfeatures;
	int		   *features;
	bool		per_window;		/* a row for each window of an entity */
} FeHistoryShape;

extern FeHistoryShape *fe_history_shape(const FePlan *plan);

/*
 * The history table of a view, made where there is none, with columns added that
 * it lacks; runs as the view's owner.  relation: the view's; viewid: its id (that
 * of the view that is replaced, for a replacement); known: the table it has, or
 * InvalidOid.  ERROR where a table of that name cannot hold the history.
 */
extern Oid	fe_history_ensure(const FePlan *plan, Oid relation, int32 viewid, Oid known);
/* Why a table cannot hold the history of the view (a detail); NULL: it can. */
extern char *fe_history_problem(const FePlan *plan, const FeHistoryShape *shape, Oid table);
/* ERROR where it does not belong to the view's owner. */
extern void fe_history_check_owner(const FePlan *plan);
/*
 * After the commit the pusher compares the table with the view, as after a restart.
 * Locks the catalogue as definition commands do.
 */
extern void fe_history_compare(const FePlan *plan);

#endif							/* FE_DEFINITION_HISTORY_H */
