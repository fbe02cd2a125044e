/*
 * schedule.c
 *		When which entity's values change because time passes, and what was
 *		pushed of it last.  Private memory of the pusher; no locks.
 *
 * A hash table holds one entry an entity; a binary heap holds (date, entity).
 * The heap is lazy: a later date is only noted in the entry, and found when the
 * earlier one comes up; an earlier date gets a heap item of its own.  Items
 * that mean nothing any more are skipped when they come up.  When they outnumber
 * the entries the heap is built anew, so its size stays bounded by theirs.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "online/pusher.h"
#include "utils/memutils.h"

#define SH_PREFIX		entries
#define SH_ELEMENT_TYPE	FeScheduleEntry
#define SH_KEY_TYPE		FeRef
#define SH_KEY			ref
#define SH_HASH_KEY(tb, key)	murmurhash32(key)
#define SH_EQUAL(tb, a, b)		((a) == (b))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct HeapItem
{
	FeTime		due;
	FeRef		ref;
} HeapItem;

struct FeSchedule
{
	MemoryContext cxt;
	entries_hash *entries;
	HeapItem	   *heap;			/* heap[0] is the earliest */
	Size		nheap;
	Size		maxheap;
};

FeSchedule *
fe_schedule_create(MemoryContext parent)
{
	MemoryContext cxt = AllocSetContextCreate(parent, "feature_engine schedule",
											  ALLOCSET_SMALL_SIZES);
	FeSchedule *s = MemoryContextAllocZero(cxt, sizeof(FeSchedule));

	s->cxt = cxt;
	s->entries = entries_create(cxt, 64, NULL);
	s->maxheap = 64;
	s->heap = MemoryContextAlloc(cxt, s->maxheap * sizeof(HeapItem));
	return s;
}

/* ---- heap ---------------------------------------------------------------- */

static void
sift_up(FeSchedule *s, Size i, HeapItem item)
{
	while (i > 0 && item.due < s->heap[(i - 1) / 2].due)
	{
		s->heap[i] = s->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	s->heap[i] = item;
}

static void
sift_down(FeSchedule *s, Size i, HeapItem item)
{
	for (;;)
	{
		Size		child = 2 * i + 1;

		if (child >= s->nheap)
			break;
		if (child + 1 < s->nheap && s->heap[child + 1].due < s->heap[child].due)
			child++;
		if (item.due <= s->heap[child].due)
			break;
		s->heap[i] = s->heap[child];
		i = child;
	}
	s->heap[i] = item;
}

static void
drop_first(FeSchedule *s)
{
	HeapItem		last = s->heap[--s->nheap];

	if (s->nheap > 0)
		sift_down(s, 0, last);
}

/* Builds the heap from the entries, without what has become meaningless. */
static void
rebuild(FeSchedule *s)
{
	entries_iterator it;
	FeScheduleEntry *e;

	s->nheap = 0;
	entries_start_iterate(s->entries, &it);
	while ((e = entries_iterate(s->entries, &it)) != NULL)
	{
		e->queued = e->due != FE_NEVER;
		if (e->queued)
			s->heap[s->nheap++] = (HeapItem) {e->due, e->ref};
	}
	for (Size i = s->nheap / 2; i-- > 0;)
		sift_down(s, i, s->heap[i]);
}

static void
push_item(FeSchedule *s, FeTime due, FeRef ref)
{
	if (s->nheap == s->maxheap)
	{
		if (s->nheap > 2 * (Size) s->entries->members + 64)
		{
			rebuild(s);			/* the entry's new due is already set */
			return;
		}
		s->maxheap *= 2;
		s->heap = repalloc_huge(s->heap, s->maxheap * sizeof(HeapItem));
	}
	sift_up(s, s->nheap++, (HeapItem) {due, ref});
}

/* ---- entries -------------------------------------------------------------- */

FeScheduleEntry *
fe_schedule_get(FeSchedule *s, FeEntityRef ref, bool create)
{
	FeScheduleEntry *e;
	bool		found = true;

	if (create)
		e = entries_insert(s->entries, ref.ref, &found);
	else
		e = entries_lookup(s->entries, ref.ref);
	if (e == NULL)
		return NULL;
	if (!found || e->serial != ref.serial)
	{
		if (!create)
			return NULL;
		e->serial = ref.serial;
		e->due = FE_NEVER;
		e->content = FE_CONTENT_UNKNOWN;
		e->retry = false;
		e->queued = false;
	}
	e->hash = ref.hash;
	return e;
}

void
fe_schedule_remove(FeSchedule *s, FeEntityRef ref)
{
	FeScheduleEntry *e = entries_lookup(s->entries, ref.ref);

	if (e != NULL && e->serial == ref.serial)
		entries_delete_item(s->entries, e);
}

void
fe_schedule_at(FeSchedule *s, FeScheduleEntry *e, FeTime due)
{
	FeTime		old = e->due;

	e->due = due;
	if (due == FE_NEVER || (e->queued && due >= old))
		return;
	e->queued = true;
	push_item(s, due, e->ref);
}

bool
fe_schedule_pop(FeSchedule *s, FeTime now, FeEntityRef *ref)
{
	while (s->nheap > 0 && s->heap[0].due <= now)
	{
		FeRef		first = s->heap[0].ref;
		FeScheduleEntry *e = entries_lookup(s->entries, first);

		if (e == NULL || e->due == FE_NEVER)
		{
			if (e != NULL)
				e->queued = false;
			drop_first(s);
			continue;
		}
		if (e->due > now)
		{
			/* put off meanwhile: the item moves to the new date */
			sift_down(s, 0, (HeapItem) {e->due, first});
			continue;
		}
		drop_first(s);
		e->due = FE_NEVER;
		e->queued = false;
		ref->ref = e->ref;
		ref->serial = e->serial;
		ref->hash = e->hash;
		return true;
	}
	return false;
}

FeTime
fe_schedule_next(const FeSchedule *s)
{
	return s->nheap > 0 ? s->heap[0].due : FE_NEVER;
}
