/*
 * value_list.c
 *		Lists of values for results that are arrays (see value_list.h).
 *
 * Items are sorted with the winners first:
 *
 *		first_n			ts ascending, then x ascending, NULL last
 *		last_n			ts descending, then x descending, NULL last
 *		last_distinct_n	as last_n; of equal x only the first is kept
 *		top_k			by x, to unite equal ones; then by count descending, x ascending
 *
 * Among x that are equal and look different (1.0 and 1.00) the bytes decide, so
 * that the result never depends on the order of rows.  Any process; no locks.
 */
#include "postgres.h"

#include "aggregate/value_list.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/memutils.h"

const char *
fe_list_problem(int64 limit, const char *name)
{
	if (limit >= 1 && limit <= FE_LIST_MOST)
		return NULL;
	return psprintf(_("number of elements of %s must be between 1 and %d"), name, FE_LIST_MOST);
}

void
fe_value_list_init(FeValueList *list, const FeAccSpec *spec, int final, int limit)
{
	memset(list, 0, sizeof(FeValueList));
	list->spec = spec;
	list->final = final;
	list->limit = limit;
	list->size = 32;
	list->items = palloc(list->size * sizeof(FeListItem));
	if (!spec->argbyval)
		list->cxt = AllocSetContextCreate(CurrentMemoryContext, "listed values",
										  ALLOCSET_SMALL_SIZES);
}

void
fe_value_list_init_group(FeValueList *list, const FeAccSpec *spec, int final, int limit,
						 MemoryContext cxt)
{
	memset(list, 0, sizeof(FeValueList));
	list->spec = spec;
	list->final = final;
	list->limit = limit;
	list->cxt = cxt;
	list->frees = true;
	list->size = 4;
	list->items = MemoryContextAlloc(cxt, list->size * sizeof(FeListItem));
}

void
fe_value_list_reset(FeValueList *list)
{
	list->n = 0;
	if (list->cxt != NULL)
		MemoryContextReset(list->cxt);
}

static Datum
copy_value(const FeValueList *list, Datum value)
{
	Pointer		from = DatumGetPointer(value);
	Pointer		to;
	Size		size;

	if (list->spec->argbyval)
		return value;
	size = list->spec->arglen == -1 ? VARSIZE_ANY(from) : list->spec->arglen;
	to = MemoryContextAlloc(list->cxt, size);
	memcpy(to, from, size);
	return PointerGetDatum(to);
}

void
fe_value_list_add(FeValueList *list, int64 order, Datum value, bool isnull, int64 count)
{
	FeListItem *item;

	if (list->n == list->size)
	{
		list->size *= 2;
		list->items = repalloc_huge(list->items, list->size * sizeof(FeListItem));
	}
	item = &list->items[list->n++];
	item->order = order;
	item->value = isnull ? (Datum) 0 : copy_value(list, value);
	item->isnull = isnull;
	item->count = count;
}

/* ---- values met ------------------------------------------------------------- */

void
fe_values_met_init(FeValuesMet *met, const FeAccSpec *spec, MemoryContext cxt)
{
	met->spec = spec;
	met->n = 0;
	met->size = 64;
	met->slots = MemoryContextAllocZero(cxt, met->size * sizeof(uint32));
}

void
fe_values_met_reset(FeValuesMet *met)
{
	met->n = 0;
	memset(met->slots, 0, met->size * sizeof(uint32));
}

/* The slot of the image of an item of the list: 1 + its index, or 0 where it is not in. */
static uint32 *
find_slot(const FeValuesMet *met, const FeValueList *list, int first, Datum value)
{
	uint32		i = fe_value_hash_image(met->spec, value) & (met->size - 1);

	for (;; i = (i + 1) & (met->size - 1))
	{
		uint32	   *slot = &met->slots[i];

		if (*slot == 0 ||
			fe_value_compare_images(met->spec, list->items[first + *slot - 1].value, value) == 0)
			return slot;
	}
}

bool
fe_values_met_contain(const FeValuesMet *met, const FeValueList *list, int first, Datum value)
{
	return *find_slot(met, list, first, value) != 0;
}

void
fe_values_met_add(FeValuesMet *met, const FeValueList *list, int first)
{
	if (2 * ++met->n > met->size)
	{
		met->size *= 2;
		met->slots = repalloc(met->slots, met->size * sizeof(uint32));
		memset(met->slots, 0, met->size * sizeof(uint32));
		for (uint32 i = 0; i + 1 < met->n; i++)
			*find_slot(met, list, first, list->items[first + i].value) = i + 1;
	}
	*find_slot(met, list, first, list->items[list->n - 1].value) = met->n;
}

bool
fe_value_list_has_equal(const FeValueList *list, int first, Datum value)
{
	for (int i = first; i < list->n; i++)
		if (fe_value_compare(list->spec, list->items[i].value, value) == 0)
			return true;
	return false;
}

/* ---- orders --------------------------------------------------------------- */

static int
compare_values(const FeAccSpec *spec, const FeListItem *a, const FeListItem *b)
{
	int			result = fe_value_compare(spec, a->value, b->value);

	if (result == 0 && spec->images)
		result = fe_value_compare_images(spec, a->value, b->value);
	return result;
}

/* Winners first: see the head of the file. */
static int
compare_times(const void *ap, const void *bp, void *arg)
{
	const FeListItem *a = ap;
	const FeListItem *b = bp;
	const FeValueList *list = arg;
	int			direction = list->final == FE_FINAL_FIRST_N ? 1 : -1;

	if (a->order != b->order)
		return a->order > b->order ? direction : -direction;
	if (a->isnull || b->isnull)
		return (int) a->isnull - (int) b->isnull;
	return direction * compare_values(list->spec, a, b);
}

static int
compare_plain(const void *a, const void *b, void *arg)
{
	return compare_values(((const FeValueList *) arg)->spec, a, b);
}

/* By value, the winner of last_n first among those that are equal. */
static int
compare_value_time(const void *ap, const void *bp, void *arg)
{
	const FeValueList *list = arg;
	int			result = fe_value_compare(list->spec, ((const FeListItem *) ap)->value,
										  ((const FeListItem *) bp)->value);

	return result != 0 ? result : compare_times(ap, bp, arg);
}

static int
compare_counts(const void *ap, const void *bp, void *arg)
{
	const FeListItem *a = ap;
	const FeListItem *b = bp;

	if (a->count != b->count)
		return a->count > b->count ? -1 : 1;
	return compare_plain(ap, bp, arg);
}

static void
sort(FeValueList *list, qsort_arg_comparator compare)
{
	CHECK_FOR_INTERRUPTS();
	if (list->n > 1)
		qsort_arg(list->items, list->n, sizeof(FeListItem), compare, list);
}

/* ---- what may be left out -------------------------------------------------- */

static bool
equal_values(const FeValueList *list, const FeListItem *a, const FeListItem *b)
{
	return fe_value_compare(list->spec, a->value, b->value) == 0;
}

static void
drop(const FeValueList *list, const FeListItem *item)
{
	if (list->frees && !item->isnull && !list->spec->argbyval)
		pfree(DatumGetPointer(item->value));
}

static void
cut_after(FeValueList *list, int n)
{
	for (int i = n; i < list->n; i++)
		drop(list, &list->items[i]);
	list->n = Min(list->n, n);
}

/* Of rows in their order those beyond the limit. */
static void
cut_rows(FeValueList *list)
{
	int64		rows = 0;
	int			n = 0;

	while (n < list->n && rows < list->limit)
		rows += list->items[n++].count;
	cut_after(list, n);
}

/* Of equal values all but the latest, then all beyond the limit. */
static void
cut_distinct(FeValueList *list)
{
	int			n = 0;

	sort(list, compare_value_time);
	for (int i = 0; i < list->n; i++)
	{
		if (n == 0 || !equal_values(list, &list->items[n - 1], &list->items[i]))
			list->items[n++] = list->items[i];
		else
			drop(list, &list->items[i]);
	}
	list->n = n;
	sort(list, compare_times);
	cut_after(list, list->limit);
}

/* Unites what is equal to the bytes. */
static void
unite_images(FeValueList *list)
{
	int			n = 0;

	sort(list, compare_plain);
	for (int i = 0; i < list->n; i++)
	{
		if (n > 0 && compare_plain(&list->items[n - 1], &list->items[i], list) == 0)
		{
			list->items[n - 1].count += list->items[i].count;
			drop(list, &list->items[i]);
		}
		else
			list->items[n++] = list->items[i];
	}
	list->n = n;
}

void
fe_value_list_tidy(FeValueList *list)
{
	if (list->final == FE_FINAL_TOP_K)
		unite_images(list);
	else if (list->final == FE_FINAL_LAST_DISTINCT_N)
		cut_distinct(list);
	else
	{
		sort(list, compare_times);
		cut_rows(list);
	}
}

/*
 * The most frequent ones first.  Those that are equal count as one, shown as the
 * first in the order of bytes that is still there.
 */
static void
rank_values(FeValueList *list)
{
	int			n = 0;

	for (int i = 0; i < list->n; i++)
	{
		if (list->items[i].count <= 0)
			continue;
		if (n > 0 && equal_values(list, &list->items[n - 1], &list->items[i]))
			list->items[n - 1].count += list->items[i].count;
		else
			list->items[n++] = list->items[i];
	}
	list->n = n;
	sort(list, compare_counts);
	list->n = Min(list->n, list->limit);
}

/* ---- results -------------------------------------------------------------- */

static Datum
make_array(const FeValueList *list)
{
	const FeAccSpec *spec = list->spec;
	bool		repeats = (list->final == FE_FINAL_FIRST_N || list->final == FE_FINAL_LAST_N);
	Datum	   *values = palloc(list->limit * sizeof(Datum));
	bool	   *nulls = palloc(list->limit * sizeof(bool));
	int			n = 0;
	int			lower = 1;

	for (int i = 0; i < list->n; i++)
		for (int64 k = 0; k < (repeats ? list->items[i].count : 1) && n < list->limit; k++)
		{
			values[n] = list->items[i].value;
			nulls[n++] = list->items[i].isnull;
		}
	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower, spec->argtype,
											  spec->arglen, spec->argbyval, spec->argalign));
}

Datum
fe_value_list_result(FeValueList *list, bool *isnull)
{
	fe_value_list_tidy(list);
	if (list->final == FE_FINAL_TOP_K)
	{
		/* a group may have more rows to come */
		FeValueList ranked = *list;

		ranked.items = MemoryContextAllocHuge(CurrentMemoryContext,
											  (list->n + 1) * sizeof(FeListItem));
		memcpy(ranked.items, list->items, list->n * sizeof(FeListItem));
		rank_values(&ranked);
		*isnull = ranked.n == 0;
		return *isnull ? (Datum) 0 : make_array(&ranked);
	}
	*isnull = list->n == 0;
	return *isnull ? (Datum) 0 : make_array(list);
}
