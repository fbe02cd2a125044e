/*
 * write.c
 *		Rows that are offered, and the transaction that records what is news of them.
 *
 * In the pusher.  Offered rows are copied; a write asks the table about entities
 * of which nothing is known (one query), makes a partition if it must, and inserts
 * all that is news (insert.c).  Memory follows once that has committed.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "offline/internal.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

/* ---- the writer -------------------------------------------------------------------------- */

static void
describe_column(TupleDesc desc, int attno, const FeColumn *column)
{
	TupleDescInitEntry(desc, attno, psprintf("c%d", attno), column->type, column->typmod, 0);
	TupleDescInitEntryCollation(desc, attno, column->collation);
}

static void
describe_fixed(TupleDesc desc, int attno, Oid type)
{
	TupleDescInitEntry(desc, attno, psprintf("c%d", attno), type, -1, 0);
}

static TupleDesc
describe(const FeOffline *h)
{
	TupleDesc	desc = CreateTemplateTupleDesc(FE_OFFLINE_FEATURE(h, h->shape->nfeatures) - 1);

	describe_fixed(desc, FE_OFFLINE_NUMBER, INT4OID);
	for (int i = 0; i < h->shape->nkeys; i++)
		describe_column(desc, FE_OFFLINE_KEY(h, i), &h->plan->columns[h->shape->keys[i]]);
	describe_fixed(desc, FE_OFFLINE_EVENT(h), TIMESTAMPTZOID);
	describe_fixed(desc, FE_OFFLINE_CREATED(h), TIMESTAMPTZOID);
	describe_fixed(desc, FE_OFFLINE_LSN(h), LSNOID);
	describe_fixed(desc, FE_OFFLINE_DELETED(h), BOOLOID);
	for (int i = 0; i < h->shape->nfeatures; i++)
		describe_column(desc, FE_OFFLINE_FEATURE(h, i), &h->plan->columns[h->shape->features[i]]);
	return desc;
}

FeOffline *
fe_offline_create(FePlan *plan, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FeOffline  *h = palloc0(sizeof(FeOffline));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	h->plan = plan;
	h->cxt = cxt;
	h->shape = fe_history_shape(plan);
	h->every_change = plan->options.history_interval == 0 && !h->shape->per_window;
	h->desc = describe(h);
	h->slice_cxt = AllocSetContextCreate(cxt, "feature_engine offered rows",
										 ALLOCSET_DEFAULT_SIZES);
	h->maxoffered = 256;
	h->offered = palloc(h->maxoffered * sizeof(FeOffered));
	h->retry_at = DT_NOBEGIN;
	h->gone_until = PG_INT64_MIN;
	dlist_init(&h->suspects);
	fe_offline_memory_init(h);
	callback->func = fe_offline_forget_plans;
	callback->arg = h;
	MemoryContextRegisterResetCallback(cxt, callback);
	MemoryContextSwitchTo(old);
	return h;
}

const FeHistoryShape *
fe_offline_shape(const FeOffline *h)
{
	return h->shape;
}

void
fe_offline_forget(FeOffline *h)
{
	fe_offline_memory_init(h);
}

/* ---- offering ------------------------------------------------------------------------------ */

static HeapTuple
form_tuple(FeOffline *h, const FeOfflineRow *row)
{
	int			n = h->desc->natts;
	Datum	   *values = palloc0(n * sizeof(Datum));
	bool	   *nulls = palloc0(n * sizeof(bool));

	values[FE_OFFLINE_NUMBER - 1] = Int32GetDatum(h->noffered);
	for (int i = 0; i < h->shape->nkeys; i++)
		values[FE_OFFLINE_KEY(h, i) - 1] = row->keys[i];
	values[FE_OFFLINE_EVENT(h) - 1] = TimestampTzGetDatum(row->T);
	values[FE_OFFLINE_CREATED(h) - 1] = TimestampTzGetDatum(row->created);
	values[FE_OFFLINE_LSN(h) - 1] = LSNGetDatum(row->lsn);
	values[FE_OFFLINE_DELETED(h) - 1] = BoolGetDatum(row->deleted);
	for (int i = 0; i < h->shape->nfeatures; i++)
	{
		bool		isnull = row->deleted || row->nulls[i];

		nulls[FE_OFFLINE_FEATURE(h, i) - 1] = isnull;
		if (!isnull)
			values[FE_OFFLINE_FEATURE(h, i) - 1] = row->features[i];
	}
	return heap_form_tuple(h->desc, values, nulls);
}

void
fe_offline_offer(FeOffline *h, const FeOfflineRow *row)
{
	FeOffered  *o;
	MemoryContext old;

	if (h->noffered == h->maxoffered)
	{
		h->maxoffered *= 2;
		h->offered = repalloc(h->offered, h->maxoffered * sizeof(FeOffered));
	}
	o = &h->offered[h->noffered];
	memset(o, 0, sizeof(FeOffered));
	o->ref = row->ref;
	o->window = row->window;
	o->T = row->T;
	o->lsn = row->lsn;
	o->deleted = row->deleted;
	o->hash = row->deleted ? FE_OFFLINE_HASH_DELETED :
		fe_offline_hash(h, row->features, row->nulls);
	fe_offline_judge(h, o);
	if (o->state == FE_OFFLINE_SAME)
		return;
	old = MemoryContextSwitchTo(h->slice_cxt);
	o->tuple = form_tuple(h, row);
	MemoryContextSwitchTo(old);
	h->noffered++;
}

int
fe_offline_offered(const FeOffline *h)
{
	return h->noffered;
}

void
fe_offline_take_back(FeOffline *h, int offered)
{
	h->noffered = offered;
}

/* ---- what is news of it --------------------------------------------------------------------- */

/* Of those of which nothing is known: what the table says. */
static void
look_up(FeOffline *h)
{
	FeOffered  *o;

	if (fe_offline_execute_over(h, FE_OFFLINE_LOOKUP, FE_OFFLINE_UNKNOWN, 0, h->noffered,
								SPI_OK_SELECT) == 0)
		return;
	for (int i = 0; i < h->noffered; i++)
	{
		o = &h->offered[i];
		/* no row, and a deletion, say the same */
		if (o->state == FE_OFFLINE_UNKNOWN)
			o->state = o->deleted ? FE_OFFLINE_SAME : FE_OFFLINE_NEW;
	}
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		FeTime		T = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 2, &isnull));
		bool		deleted = DatumGetBool(SPI_getbinval(tuple, desc, 3, &isnull));
		bool		same = DatumGetBool(SPI_getbinval(tuple, desc, 4, &isnull));

		o = &h->offered[DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull))];
		same = o->deleted ? deleted : same && !deleted;
		fe_offline_judge_by(h, o, same ? o->hash : deleted ? FE_OFFLINE_HASH_DELETED :
							FE_OFFLINE_HASH_OTHER, T);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* What was done. */
typedef struct Written
{
	int			rows;
	char	   *left_out;		/* why a row was, NULL: none was */
} Written;

/* Is there anything to record?  Then there is room for it. */
static bool
prepare_rows(FeOffline *h)
{
	bool		any = false;

	look_up(h);
	for (int i = 0; i < h->noffered; i++)
	{
		const FeOffered *o = &h->offered[i];

		if (o->state != FE_OFFLINE_NEW)
			continue;
		any = true;
		if (o->T < h->covered_lo || o->T >= h->covered_hi)
			fe_offline_make_room(h, o->T);
	}
	return any;
}

static void
write_offered(FeOffline *h, void *arg)
{
	if (prepare_rows(h))
		((Written *) arg)->rows = fe_offline_execute_over(h, FE_OFFLINE_INSERT, FE_OFFLINE_NEW,
														  0, h->noffered, SPI_OK_INSERT);
}

static void
write_carefully(FeOffline *h, void *arg)
{
	Written    *w = arg;

	if (prepare_rows(h))
		w->rows = fe_offline_insert_carefully(h, &w->left_out);
}

/* ---- a write ------------------------------------------------------------------------ */

/* Nobody else knows the keys of what has vanished. */
static void
suspect_later(FeOffline *h, const FeOffered *o)
{
	Datum		keys[FE_MAX_KEYS + 1];
	bool		isnull;

	for (int i = 0; i < h->shape->nkeys; i++)
		keys[i] = heap_getattr(o->tuple, FE_OFFLINE_KEY(h, i), h->desc, &isnull);
	fe_offline_add_suspect(h, keys, o->until);
}

static void
settle(FeOffline *h, FeViewShared *shared, FeOfflineHeld held, void *arg)
{
	for (int i = 0; i < h->noffered; i++)
	{
		const FeOffered *o = &h->offered[i];

		if (o->state == FE_OFFLINE_LEFT_OUT)
			fe_offline_learn_left_out(h, o);
		else if (o->state == FE_OFFLINE_NEW && o->deleted)
		{
			fe_offline_saw_deletion(h, o->T);
			fe_offline_unlearn(h, o);
		}
		else if (o->state == FE_OFFLINE_NEW)
			fe_offline_learn(h, o, o->hash, o->T);
		else if (o->state == FE_OFFLINE_HELD && o->deleted)
			suspect_later(h, o);
		else if (o->state == FE_OFFLINE_HELD)
			held(arg, o->ref, o->until);
		if (o->state == FE_OFFLINE_NEW)
			pg_atomic_write_u64(&shared->history_at, (uint64) o->T);
	}
}

static void
show_left_out(FeOffline *h, FeViewShared *shared, const char *why)
{
	int			n = 0;

	for (int i = 0; i < h->noffered; i++)
		n += h->offered[i].state == FE_OFFLINE_LEFT_OUT;
	fe_offline_show_left_out(h, shared, n, why);
}

bool
fe_offline_write(FeOffline *h, FeViewShared *shared, FeOfflineHeld held, void *arg)
{
	bool		ok = true;
	bool		any = false;
	Written		written = {0};

	for (int i = 0; i < h->noffered; i++)
		any |= h->offered[i].state != FE_OFFLINE_HELD;
	if (any)
		ok = fe_offline_run(h, shared, write_offered, write_carefully, &written);
	if (ok)
	{
		settle(h, shared, held, arg);
		pg_atomic_fetch_add_u64(&shared->history_rows, written.rows);
		if (written.left_out)
			show_left_out(h, shared, written.left_out);
		if (written.rows > 0)
			fe_inject_point("history_committed");
	}
	h->noffered = 0;
	MemoryContextReset(h->slice_cxt);
	return ok;
}
