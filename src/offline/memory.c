/*
 * memory.c
 *		What was recorded last of each entity, and whether what is offered is news.
 *
 * Private memory of the process that writes; no locks.  Values are kept as a hash
 * of their bytes.  What a hash cannot tell (after a start nothing is known) the
 * table is asked for, see write.c.  Once every entity has been offered, and the walk
 * through the history has come to its end, one that is not known is a new one, or
 * one that comes back: neither needs the table.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "offline/internal.h"
#include "utils/datum.h"
#include "utils/memutils.h"

static uint32
hash_key(FeOfflineKey key)
{
	return hash_combine(murmurhash32(key.ref), (uint32) key.window);
}

static bool
same_key(FeOfflineKey a, FeOfflineKey b)
{
	return a.ref == b.ref && a.window == b.window;
}

#define SH_PREFIX		offline
#define SH_ELEMENT_TYPE	FeOfflineEntry
#define SH_KEY_TYPE		FeOfflineKey
#define SH_KEY			key
#define SH_HASH_KEY(tb, key)	hash_key(key)
#define SH_EQUAL(tb, a, b)		same_key(a, b)
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

void
fe_offline_memory_init(FeOffline *h)
{
	if (h->entries)
		offline_destroy(h->entries);
	h->entries = offline_create(h->cxt, 64, NULL);
	h->all_offered = h->walked = h->missed = false;
}

static FeOfflineKey
key_of(const FeOffered *o)
{
	return (FeOfflineKey) {.ref = o->ref.ref, .window = o->window};
}

/* An entry of an earlier entity at the same place is none of this one. */
FeOfflineEntry *
fe_offline_known(FeOffline *h, const FeOffered *o)
{
	FeOfflineEntry *e = o->ref.ref == 0 ? NULL : offline_lookup(h->entries, key_of(o));

	return e != NULL && e->serial == o->ref.serial ? e : NULL;
}

void
fe_offline_learn(FeOffline *h, const FeOffered *o, uint64 hash, FeTime T)
{
	FeOfflineEntry *e;
	bool		found;

	if (o->ref.ref == 0)
		return;
	e = offline_insert(h->entries, key_of(o), &found);
	e->serial = o->ref.serial;
	e->left_out = false;
	e->hash = hash;
	e->lsn = o->lsn;
	e->T = T;
}

void
fe_offline_learn_left_out(FeOffline *h, const FeOffered *o)
{
	FeOfflineEntry *e;

	fe_offline_learn(h, o, o->hash, o->T);
	e = fe_offline_known(h, o);
	if (e != NULL)
		e->left_out = true;
}

void
fe_offline_unlearn(FeOffline *h, const FeOffered *o)
{
	FeOfflineEntry *e = fe_offline_known(h, o);

	if (e != NULL)
		offline_delete_item(h->entries, e);
}

/* ---- all of them ------------------------------------------------------------------- */

void
fe_offline_all_offered(FeOffline *h)
{
	h->all_offered = true;
}

void
fe_offline_missed(FeOffline *h)
{
	h->missed = true;
}

void
fe_offline_saw_deletion(FeOffline *h, FeTime T)
{
	h->gone_until = Max(h->gone_until, T);
}

/* ---- values ------------------------------------------------------------------------- */

static uint64
hash_value(Datum value, Form_pg_attribute att, uint64 seed)
{
	if (att->attbyval)
		return hash_bytes_extended((const unsigned char *) &value, sizeof(Datum), seed);
	if (att->attlen > 0)
		return hash_bytes_extended((const unsigned char *) DatumGetPointer(value), att->attlen,
								   seed);
	if (att->attlen == -2)
		return hash_bytes_extended((const unsigned char *) DatumGetCString(value),
								   strlen(DatumGetCString(value)), seed);
	else
	{
		struct varlena *plain = PG_DETOAST_DATUM_PACKED(value);
		uint64		hash = hash_bytes_extended((const unsigned char *) VARDATA_ANY(plain),
											   VARSIZE_ANY_EXHDR(plain), seed);

		if ((Pointer) plain != DatumGetPointer(value))
			pfree(plain);
		return hash;
	}
}

uint64
fe_offline_hash(const FeOffline *h, const Datum *features, const bool *nulls)
{
	uint64		hash = 0;

	for (int i = 0; i < h->shape->nfeatures; i++)
	{
		Form_pg_attribute att = TupleDescAttr(h->desc, FE_OFFLINE_FEATURE(h, i) - 1);

		hash = nulls[i] ? hash_combine64(hash, UINT64CONST(0x9e3779b97f4a7c15)) :
			hash_value(features[i], att, hash + 1);
	}
	return hash | 4;			/* none of those with a meaning */
}

/* ---- judging -------------------------------------------------------------------------- */

/* Start of the interval that comes after the one that holds t. */
static FeTime
interval_end(const FeOffline *h, FeTime t)
{
	int64		interval = h->plan->options.history_interval;
	/* from 1970 on, as windows are */
	int64		since = t + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	int64		rest = since % interval;

	return t - (rest < 0 ? rest + interval : rest) + interval;
}

/*
 * The entity is not known.  Is it certain that the history has no row of it, or a
 * deletion that this one may follow?
 */
static bool
is_new(const FeOffline *h, const FeOffered *o)
{
	if (o->ref.ref == 0 || !h->all_offered || !h->walked || h->missed ||
		fe_offline_next_suspect(h) != PG_INT64_MAX)
		return false;
	return o->T > h->gone_until &&
		(h->plan->options.history_interval == 0 || h->gone_until == PG_INT64_MIN ||
		 o->T >= interval_end(h, h->gone_until));
}

/*
 * News are other values and every change of the source; not the latter where an
 * interval thins them out, or where each window is recorded: an entity's change is
 * not one of all its windows.  A row of the same time is written over: the test
 * clock stands still.  Time never goes back: what comes before the last row waits.
 */
static void
judge_known(const FeOffline *h, const FeOfflineEntry *e, FeOffered *o)
{
	if (e->left_out && o->deleted && e->hash != o->hash)
	{
		/* it may have rows of before */
		o->state = FE_OFFLINE_UNKNOWN;
		return;
	}
	o->state = FE_OFFLINE_NEW;
	if (e->hash == o->hash && (o->deleted || o->lsn <= e->lsn || !h->every_change))
		o->state = FE_OFFLINE_SAME;
	else if (e->left_out)
		return;
	else if (o->T < e->T)
		o->until = e->T;
	else if (o->T > e->T && h->plan->options.history_interval > 0 &&
			 o->T < interval_end(h, e->T))
		o->until = interval_end(h, e->T);
	if (o->state == FE_OFFLINE_NEW && o->until != 0)
		o->state = FE_OFFLINE_HELD;
}

void
fe_offline_judge(FeOffline *h, FeOffered *o)
{
	const FeOfflineEntry *e = fe_offline_known(h, o);

	if (e != NULL)
		judge_known(h, e, o);
	else
		o->state = !is_new(h, o) ? FE_OFFLINE_UNKNOWN :
			o->deleted ? FE_OFFLINE_SAME : FE_OFFLINE_NEW;
}

void
fe_offline_judge_by(FeOffline *h, FeOffered *o, uint64 hash, FeTime T)
{
	FeOfflineEntry last = {.hash = hash, .lsn = o->lsn, .T = T};

	fe_offline_learn(h, o, hash, T);
	judge_known(h, &last, o);
}
