/*
 * change_times.c
 *		before_at of views over changes(): when the row's previous change committed.
 *
 * Runs in the ingest worker, inside its transaction, while changes are evaluated.
 * Rows are told apart by their primary key.  What the group of transactions being
 * evaluated does to a row is remembered here; what came before is looked up in a
 * table (../durable/change_times.c), to which the group's times are added, and
 * committed, before it is merged: whatever is in state has its times there.  If the
 * group is evaluated once more, the same times are added once more, to no effect.
 * Takes no locks itself.
 */
#include "postgres.h"

#include "durable/durable.h"
#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "ingest/group.h"

/* A longer key stands for itself by its SHA-256. */
#define MAX_KEY			64
/* So many are kept in memory, in a transaction however large. */
#define MAX_TIMES		(64 * 1024)

typedef struct TimeKey
{
	int32		viewid;
	Oid			source;
	uint32		len;
	char		data[MAX_KEY];
} TimeKey;

/* A row that the group has changed. */
typedef struct TimeEntry
{
	TimeKey		key;
	int			last;			/* its last version, in FeTimes.times */
} TimeEntry;

/* In memory below the group's, which is not taken into account for the passes. */
struct FeTimes
{
	MemoryContext cxt;
	HTAB	   *rows;
	FeChangeTime *times;
	int			ntimes;
	int			max_times;
	List	   *truncates;		/* FeChangeTime *, without keys */
};

static FeTimes *
group_times(FeApply *apply)
{
	HASHCTL		ctl = {.keysize = sizeof(TimeKey), .entrysize = sizeof(TimeEntry)};
	MemoryContext cxt;
	FeTimes    *times;

	if (apply->times != NULL)
		return apply->times;
	cxt = AllocSetContextCreate(apply->group_cxt, "feature_engine times of changes",
								ALLOCSET_DEFAULT_SIZES);
	times = MemoryContextAllocZero(cxt, sizeof(FeTimes));
	times->cxt = cxt;
	ctl.hcxt = cxt;
	times->rows = hash_create("feature_engine rows changed", 256, &ctl,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	times->max_times = 256;
	times->times = MemoryContextAlloc(cxt, times->max_times * sizeof(FeChangeTime));
	apply->times = times;
	return times;
}

/* ---- keys ------------------------------------------------------------------------ */

static void
append_value(StringInfo buf, const FeCaptureColumn *column, Datum value)
{
	if (column->attbyval)
		appendBinaryStringInfo(buf, (const char *) &value, sizeof(Datum));
	else if (column->attlen == -1)
	{
		uint32		len = VARSIZE_ANY_EXHDR(DatumGetPointer(value));

		appendBinaryStringInfo(buf, (const char *) &len, sizeof(len));
		appendBinaryStringInfo(buf, VARDATA_ANY(DatumGetPointer(value)), len);
	}
	else if (column->attlen == -2)
		appendBinaryStringInfo(buf, DatumGetCString(value), strlen(DatumGetCString(value)) + 1);
	else
		appendBinaryStringInfo(buf, DatumGetPointer(value), column->attlen);
}

/* As it lies in the row: the next change finds the same bytes in the row before. */
static void
make_key(const FeApply *apply, const FeIngestUse *use, const FeIngestTable *table, bool after,
		 TimeKey *key)
{
	const FeArm *arm = &use->view->plan->arms[use->arm];
	const Datum *values = after ? table->newvalues : table->oldvalues;
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < apply->last_columns->natts; i++)
	{
		const FeCaptureColumn *column = &apply->last_columns->atts[i];

		if (!bms_is_member(column->attnum, arm->key_attrs))
			continue;
		appendBinaryStringInfo(&buf, (const char *) &column->attnum, sizeof(AttrNumber));
		append_value(&buf, column, values[column->attnum - 1]);
	}
	memset(key, 0, sizeof(TimeKey));
	key->viewid = use->view->plan->viewid;
	key->source = table->relid;
	key->len = buf.len;
	if (buf.len > MAX_KEY)
	{
		bytea	   *whole = palloc(VARHDRSZ + buf.len);
		bytea	   *digest;

		SET_VARSIZE(whole, VARHDRSZ + buf.len);
		memcpy(VARDATA(whole), buf.data, buf.len);
		digest = DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, PointerGetDatum(whole)));
		key->len = VARSIZE_ANY_EXHDR(digest);
		memcpy(key->data, VARDATA_ANY(digest), key->len);
	}
	else
		memcpy(key->data, buf.data, buf.len);
	pfree(buf.data);
}

static bytea *
key_bytes(MemoryContext cxt, const TimeKey *key)
{
	bytea	   *bytes = MemoryContextAlloc(cxt, VARHDRSZ + key->len);

	SET_VARSIZE(bytes, VARHDRSZ + key->len);
	memcpy(VARDATA(bytes), key->data, key->len);
	return bytes;
}

/* ---- times -------------------------------------------------------------------------- */

/* When the row was changed last before this; false: that is not known. */
static bool
find_time(FeApply *apply, const FeRecord *rec, const TimeKey *key, TimestampTz *at)
{
	FeTimes    *times = group_times(apply);
	TimeEntry  *entry = hash_search(times->rows, key, HASH_FIND, NULL);
	FeChangeTime change = {.viewid = key->viewid, .source = key->source};
	bool		found;

	if (entry != NULL)
	{
		*at = times->times[entry->last].at;
		return !times->times[entry->last].deleted;
	}
	change.key = key_bytes(CurrentMemoryContext, key);
	change.lsn = apply->current.end_lsn;
	change.change = rec->lsn;
	found = fe_durable_time_find(&change, at);
	pfree(change.key);
	return found;
}

static void
set_time(FeApply *apply, const FeRecord *rec, const TimeKey *key, bool deleted)
{
	FeTimes    *times = group_times(apply);
	bool		found;
	TimeEntry  *entry = hash_search(times->rows, key, HASH_ENTER, &found);
	FeChangeTime *time;

	/* of a transaction the last change of the row counts */
	if (!found || times->times[entry->last].lsn != apply->current.end_lsn)
	{
		bytea	   *bytes = found ? times->times[entry->last].key : key_bytes(times->cxt, key);

		if (times->ntimes == times->max_times)
		{
			times->max_times *= 2;
			times->times = repalloc(times->times, times->max_times * sizeof(FeChangeTime));
		}
		entry->last = times->ntimes++;
		time = &times->times[entry->last];
		time->viewid = key->viewid;
		time->source = key->source;
		time->key = bytes;
		time->lsn = apply->current.end_lsn;
	}
	time = &times->times[entry->last];
	time->change = rec->lsn;
	time->at = apply->current.commit_time;
	time->deleted = deleted;
}

bool
fe_change_time(FeApply *apply, const FeIngestUse *use, const FeIngestTable *table,
			   const FeRecord *rec, TimestampTz *before_at)
{
	TimeKey		before;
	TimeKey		after;
	bool		known = false;

	if (rec->kind == FE_RECORD_READ)
		return false;
	if (rec->kind != FE_RECORD_INSERT)
	{
		make_key(apply, use, table, false, &before);
		known = find_time(apply, rec, &before, before_at);
	}
	if (rec->kind == FE_RECORD_DELETE)
	{
		set_time(apply, rec, &before, true);
		return known;
	}
	make_key(apply, use, table, true, &after);
	if (rec->kind == FE_RECORD_UPDATE && memcmp(&before, &after, sizeof(TimeKey)) != 0)
		set_time(apply, rec, &before, true);
	set_time(apply, rec, &after, false);
	return known;
}

/* TRUNCATE of a table: whatever is inserted from now on are other rows. */
void
fe_change_times_truncate(FeApply *apply, const FeIngestUse *use, Oid relid)
{
	FeTimes    *times = group_times(apply);
	MemoryContext old = MemoryContextSwitchTo(times->cxt);
	FeChangeTime *truncate = palloc0(sizeof(FeChangeTime));

	truncate->viewid = use->view->plan->viewid;
	truncate->source = relid;
	truncate->lsn = apply->current.end_lsn;
	times->truncates = lappend(times->truncates, truncate);
	MemoryContextSwitchTo(old);
}

/*
 * The group is about to be merged, or there are many: its times are committed, in the
 * transaction that has evaluated it, and another one is begun.
 */
void
fe_change_times_flush(FeApply *apply)
{
	FeTimes    *times = apply->times;
	MemoryContext cxt = CurrentMemoryContext;
	ListCell   *lc;

	if (times == NULL || (times->ntimes == 0 && times->truncates == NIL))
		return;
	foreach(lc, apply->ingest->views)
	{
		int32		viewid = ((FeIngestView *) lfirst(lc))->plan->viewid;

		for (int i = 0; i < times->ntimes; i++)
			if (times->times[i].viewid == viewid)
			{
				fe_durable_times_add(viewid, times->times, times->ntimes);
				break;
			}
	}
	foreach(lc, times->truncates)
	{
		FeChangeTime *truncate = lfirst(lc);

		fe_durable_times_truncate(truncate->viewid, truncate->source, truncate->lsn);
	}
	/* whatever builds on them is on disk later than they are */
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	fe_ingest_end();
	fe_inject_point("change-times");
	fe_ingest_begin();
	MemoryContextSwitchTo(cxt);
	MemoryContextDelete(times->cxt);
	apply->times = NULL;
}

/* Between two records: a large transaction's times need not all be in memory. */
void
fe_change_times_relieve(FeApply *apply)
{
	if (apply->times->ntimes >= MAX_TIMES)
		fe_change_times_flush(apply);
}
