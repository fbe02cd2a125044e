/*
 * write.c
 *		Rows that are offered, and the transaction that records what is news of them.
 *
 * In the pusher.  Offered rows are copied; a write asks the table about entities
 * of which nothing is known (one query), makes a partition if it must, and inserts
 * all that is news with one statement.  Memory follows once that has committed.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "offline/internal.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/queryenvironment.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

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

/* ---- statements over what was offered -------------------------------------------------------- */

/* Runs a plan over the rows of one state; how many there were. */
static int
execute_over(FeOffline *h, FeOfflineStatement statement, FeOfflineState state, int expected)
{
	EphemeralNamedRelationData enr = {0};
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	int			n = 0;
	int			result;

	for (int i = 0; i < h->noffered; i++)
	{
		if (h->offered[i].state != state)
			continue;
		tuplestore_puttuple(store, h->offered[i].tuple);
		n++;
	}
	enr.md.name = FE_OFFLINE_ROWS;
	enr.md.tupdesc = h->desc;
	enr.md.enrtype = ENR_NAMED_TUPLESTORE;
	enr.md.enrtuples = n;
	enr.reldata = store;
	if (n > 0)
	{
		if (SPI_register_relation(&enr) != SPI_OK_REL_REGISTER)
			elog(ERROR, "could not hand over rows");
		result = SPI_execute_plan(fe_offline_statement(h, statement), NULL, NULL, false, 0);
		if (result != expected)
			elog(ERROR, "statement on history failed: %s", SPI_result_code_string(result));
		SPI_unregister_relation(FE_OFFLINE_ROWS);
	}
	tuplestore_end(store);
	return n;
}

/* Of those of which nothing is known: what the table says. */
static void
look_up(FeOffline *h)
{
	FeOffered  *o;

	if (execute_over(h, FE_OFFLINE_LOOKUP, FE_OFFLINE_UNKNOWN, SPI_OK_SELECT) == 0)
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
		FeOffered	as_known;

		o = &h->offered[DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull))];
		same = o->deleted ? deleted : same && !deleted;
		/* judged as if it had been known; afterwards it is */
		as_known = *o;
		fe_offline_learn(h, &as_known, same ? o->hash : FE_OFFLINE_HASH_OTHER, T);
		if (o->ref.ref != 0)
			fe_offline_judge(h, o);
		else
			o->state = same ? FE_OFFLINE_SAME : FE_OFFLINE_NEW;
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
write_offered(FeOffline *h, void *arg)
{
	int			first = -1;

	look_up(h);
	for (int i = 0; i < h->noffered; i++)
	{
		const FeOffered *o = &h->offered[i];

		if (o->state != FE_OFFLINE_NEW)
			continue;
		first = first < 0 ? i : first;
		if (o->T < h->covered_lo || o->T >= h->covered_hi)
			fe_offline_make_room(h, o->T);
	}
	if (first >= 0)
		*(int *) arg = execute_over(h, FE_OFFLINE_INSERT, FE_OFFLINE_NEW, SPI_OK_INSERT);
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

		if (o->state == FE_OFFLINE_NEW && o->deleted)
			fe_offline_unlearn(h, o);
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

bool
fe_offline_write(FeOffline *h, FeViewShared *shared, FeOfflineHeld held, void *arg)
{
	bool		ok = true;
	bool		any = false;
	int			written = 0;

	for (int i = 0; i < h->noffered; i++)
		any |= h->offered[i].state != FE_OFFLINE_HELD;
	if (any)
		ok = fe_offline_run(h, shared, write_offered, &written);
	if (ok)
	{
		settle(h, shared, held, arg);
		pg_atomic_fetch_add_u64(&shared->history_rows, written);
		if (written > 0)
			fe_inject_point("history_committed");
	}
	h->noffered = 0;
	MemoryContextReset(h->slice_cxt);
	return ok;
}
