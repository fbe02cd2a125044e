/*
 * value_list.h
 *		Lists of values for results that are arrays: first_n, last_n,
 *		last_distinct_n and top_k (private to this room).
 *
 * Readers collect into them what accumulators hold, and SQL aggregates their rows;
 * the result is made from either by the same functions.  Collecting copies values
 * and compares none: that may happen under a lock, where a type's own function
 * must not run.  Local memory only.
 */
#ifndef FE_VALUE_LIST_H
#define FE_VALUE_LIST_H

#include "aggregate/value.h"

#define FE_LIST_MOST	1000	/* elements of a result */

typedef struct FeListItem
{
	int64		order;			/* event time; 0 where there is none */
	Datum		value;
	int64		count;			/* rows */
	bool		isnull;
} FeListItem;

typedef struct FeValueList
{
	const FeAccSpec *spec;
	int			final;			/* FE_FINAL_FIRST_N, ... */
	int			limit;			/* elements of the result */
	MemoryContext cxt;			/* of the values by reference, and of the items if frees */
	bool		frees;			/* one by one; else by a reset of cxt, which is only theirs */
	int			n;
	int			size;
	FeListItem *items;
} FeValueList;

/* What is wrong with the number of elements; NULL: nothing. */
extern const char *fe_list_problem(int64 limit, const char *name);

/* For a reader, who resets it between entities. */
extern void fe_value_list_init(FeValueList *list, const FeAccSpec *spec, int final, int limit);
extern void fe_value_list_reset(FeValueList *list);
/* For a group of a batch query: little memory, and none for what is left out. */
extern void fe_value_list_init_group(FeValueList *list, const FeAccSpec *spec, int final,
									 int limit, MemoryContext cxt);
extern void fe_value_list_add(FeValueList *list, int64 order, Datum value, bool isnull,
							  int64 count);
/* Sorts, and leaves out what cannot be in the result whatever else is added. */
extern void fe_value_list_tidy(FeValueList *list);
/* An array of the result's values; NULL: no row counts. */
extern Datum fe_value_list_result(FeValueList *list, bool *isnull);

/*
 * Which bytes the items of a list from `first` on have: a hash table, so that a
 * reader of many rows with few values holds its lock shortly.
 */
typedef struct FeValuesMet
{
	const FeAccSpec *spec;
	uint32		n;				/* items */
	uint32		size;			/* a power of two */
	uint32	   *slots;			/* 1 + index of an item, less first; 0: free */
} FeValuesMet;

extern void fe_values_met_init(FeValuesMet *met, const FeAccSpec *spec, MemoryContext cxt);
extern void fe_values_met_reset(FeValuesMet *met);
extern bool fe_values_met_contain(const FeValuesMet *met, const FeValueList *list, int first,
								  Datum value);
/* The list's last item, which is not in yet and follows those that are. */
extern void fe_values_met_add(FeValuesMet *met, const FeValueList *list, int first);
/* Is one of these items equal to the value?  Not for generic orders under a lock. */
extern bool fe_value_list_has_equal(const FeValueList *list, int first, Datum value);

#endif							/* FE_VALUE_LIST_H */
