/* links: src/state/image.c src/state/chunk.c src/state/save.c src/state/load.c */
/* links: src/state/apply.c src/state/sweep.c src/state/dirty.c src/state/table.c */
/* links: src/state/key.c src/state/layout.c src/state/entity.c src/state/pane.c */
/* links: src/aggregate/count.c src/aggregate/multiset.c src/aggregate/value.c */
/* links: src/aggregate/value_list.c */
/* links: src/aggregate/value_image.c src/aggregate/decimal.c src/aggregate/exact.c */
/* links: src/window/window.c src/memory/heap.c src/memory/pages.c src/memory/seq.c */
/* links: src/memory/seq_tree.c src/memory/seq_load.c */
/* links: src/aggregate/current.c */
/* flags: -Wno-missing-field-initializers -DFE_MAX_TOMBSTONES=30 */
/*
 * test_checkpoint.c
 *		Unit test of checkpoint cycles: random transactions merge while a saver
 *		writes, also in the middle of a transaction; cycles are completed, given
 *		up and broken; time passes.  At any moment state is recovered from what is
 *		stored, by the rules of state.h: chunks in any order, then the log from the
 *		last whole cycle's position.  It must be the state that never went away.
 *		TAP output; fixed seeds.
 */
#include "pg_doubles.h"
#include "tap.h"

#include "access/detoast.h"
#include "aggregate/value.h"
#include "catalog/pg_type_d.h"
#include "memory/pages.h"
#include "miscadmin.h"
#include "state/image.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/pg_locale.h"
#include "utils/array.h"
#include "utils/typcache.h"

#define DAY		(INT64CONST(86400) * 1000000)
#define HOUR	(DAY / 24)

static uint64 random_state = 1;

static uint32
below(uint32 n)
{
	random_state = random_state * UINT64CONST(6364136223846793005) +
		UINT64CONST(1442695040888963407);
	return (uint32) (random_state >> 33) % n;
}

/* ---- doubles of what the linked files want from a server ---------------------- */

const char	fe_state_anchor = 0;
int			fe_setting_exact_horizon = 60;
int			fe_setting_max_values_per_entity = 10000;
char	   *fe_setting_inject_error = "state_image";
char	   *fe_setting_inject_wait = "";
MemoryContext CurrentMemoryContext = NULL;
volatile sig_atomic_t InterruptPending = false;
static LWLock lock;
static int	locked = 0;

void
fe_inject_wait_here(const char *name)
{
}

LWLock *
fe_partition_lock(const FeViewShared *view, uint64 hash)
{
	return &lock;
}

/* At most one at a time: the saver must not sit on one while the writer works. */
bool
LWLockAcquire(LWLock *which, LWLockMode mode)
{
	if (locked++ != 0)
		abort();
	return true;
}

void
LWLockRelease(LWLock *which)
{
	locked--;
}

bool
fe_view_is(const FeViewShared *view, const FePlan *plan)
{
	return true;
}

int64
fe_event_time(Datum value, Oid type)
{
	return DatumGetInt64(value);
}

int64
fe_track_time(const FePlan *p, int t, const Datum *values, const bool *nulls)
{
	int			expr = p->tracks[t].expr;

	return nulls[expr] ? PG_INT64_MIN : DatumGetInt64(values[expr]);
}

uint64
fe_key_hash_keys(const FePlan *plan, const Datum *keys, const bool *nulls)
{
	/* some keys share a hash */
	return (DatumGetInt64(keys[0]) / 2) * UINT64CONST(0x9E3779B97F4A7C15);
}

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name, Size a, Size b, Size c)
{
	return NULL;
}

void
MemoryContextDelete(MemoryContext cxt)
{
}

#define NOT_CALLED(declaration) declaration { abort(); }

NOT_CALLED(void ProcessInterrupts(void))
NOT_CALLED(void fe_fold_note(FeStateWriter *w, FeRef ref, const FeEntity *e))
NOT_CALLED(int s_lock(volatile slock_t *l, const char *file, int line, const char *func))
NOT_CALLED(void *MemoryContextAlloc(MemoryContext cxt, Size size))
NOT_CALLED(void *MemoryContextAllocZero(MemoryContext cxt, Size size))
NOT_CALLED(void *MemoryContextAllocHuge(MemoryContext cxt, Size size))
NOT_CALLED(ArrayType *construct_md_array(Datum *elements, bool *nulls, int ndims, int *dims,
										 int *lbs, Oid type, int len, bool byval, char align))
NOT_CALLED(void MemoryContextReset(MemoryContext cxt))
NOT_CALLED(void *repalloc_huge(void *p, Size size))
NOT_CALLED(Datum datumCopy(Datum value, bool byval, int len))
NOT_CALLED(Datum FunctionCall2Coll(FmgrInfo *fn, Oid collation, Datum a, Datum b))
NOT_CALLED(struct varlena *pg_detoast_datum_packed(struct varlena *v))
NOT_CALLED(Size toast_raw_datum_size(Datum value))
NOT_CALLED(void fmgr_info(Oid fn, FmgrInfo *info))
NOT_CALLED(char *format_type_be(Oid type))
NOT_CALLED(Oid getBaseType(Oid type))
NOT_CALLED(bool get_collation_isdeterministic(Oid collation))
NOT_CALLED(Oid get_element_type(Oid type))
NOT_CALLED(char get_typstorage(Oid type))
NOT_CALLED(char get_typtype(Oid type))
NOT_CALLED(bool lc_collate_is_c(Oid collation))
NOT_CALLED(pg_locale_t pg_newlocale_from_collation(Oid collation))
NOT_CALLED(TypeCacheEntry *lookup_type_cache(Oid type, int flags))

/* ---- a plan: count and distinct values, for ever or in a window ------------------ */

static FePlan plan;
static FeAccSpec specs[2];
static FeAcc accs[4];
static int	lifetime_accs[2] = {0, 1};
static int	pane_accs[2] = {2, 3};
static FeTrack track;
static FeKey key;
static FeWindow window = {FE_WINDOW_ROLLING, 2 * DAY, HOUR, false, 0, 0};

/* where: the window is in WHERE, so that entities go as time passes. */
static void
make_plan(bool where)
{
	memset(&plan, 0, sizeof(plan));
	memset(&track, 0, sizeof(track));
	specs[0].kind = &fe_acc_count;
	specs[0].argtype = INT4OID;
	specs[0].arglen = 4;
	specs[0].argbyval = true;
	specs[1] = specs[0];
	specs[0].size = sizeof(int64);
	specs[1].kind = &fe_acc_multiset;
	specs[1].flags = FE_ACC_DISTINCT | FE_ACC_SINGLE;
	specs[1].order = FE_ORDER_INT4;
	specs[1].size = sizeof(FeSeq) + sizeof(int64);
	key.type = INT8OID;
	key.typlen = 8;
	key.typbyval = key.bitwise = true;
	key.typalign = TYPALIGN_DOUBLE;
	key.expr = 0;

	plan.state_version = 3;
	plan.nkeys = 1;
	plan.keys = &key;
	plan.where_track = where ? 0 : FE_LIFETIME;
	plan.group_window = -1;
	plan.ntracks = 1;
	plan.tracks = &track;
	plan.naccs = 4;
	plan.accs = accs;
	plan.nlifetime = 2;
	plan.lifetime_accs = lifetime_accs;
	plan.lifetime_size = specs[0].size + specs[1].size;
	track.expr = 1;
	track.type = TIMESTAMPTZOID;
	track.naccs = 2;
	track.accs = pane_accs;
	track.pane_size = FE_PANE_ACCS + plan.lifetime_size;
	fe_grid_init(&track.grid, &window, 1, NULL, 0);
	for (int i = 0; i < 4; i++)
	{
		accs[i].spec = &specs[i % 2];
		accs[i].track = i < 2 ? FE_LIFETIME : 0;
		accs[i].offset = i % 2 == 0 ? 0 : specs[0].size;
		accs[i].arg = 2;
		accs[i].order = accs[i].filter = FE_NO_EXPR;
	}
}

/* ---- the log -------------------------------------------------------------------------- */

#define KEYS		60
#define MAX_ROWS	600
#define MAX_OPS		24
#define MAX_TXNS	4000

typedef struct Row
{
	int64		key;
	int64		ts;
	int32		value;
} Row;

typedef struct Op
{
	Row			row;
	int			sign;
} Op;

typedef struct Txn
{
	XLogRecPtr	lsn;
	int			ntruncates;
	int			nops;
	Op			ops[MAX_OPS];
} Txn;

static Row	rows[MAX_ROWS];
static int	nrows;
static Txn	logged[MAX_TXNS];
static int	nlogged;
static XLogRecPtr end_lsn;
static int64 engine_now;

static void
add_op(Txn *txn, Row row, int sign)
{
	txn->ops[txn->nops].row = row;
	txn->ops[txn->nops++].sign = sign;
}

static void
insert_row(Txn *txn)
{
	Row		   *row = &rows[nrows++];

	row->key = below(KEYS);
	row->ts = engine_now + HOUR - (int64) below(60) * HOUR + below(1000);
	row->value = below(5);
	add_op(txn, *row, 1);
}

static void
delete_row(Txn *txn, int which)
{
	add_op(txn, rows[which], -1);
	rows[which] = rows[--nrows];
}

static Txn *
next_txn(void)
{
	Txn		   *txn = &logged[nlogged++];
	bool		shrink = nlogged / 40 % 2;

	memset(txn, 0, sizeof(Txn));
	txn->lsn = end_lsn += 1 + below(50);
	if (below(150) == 0)
	{
		txn->ntruncates = 1 + below(2) * 300;
		nrows = 0;
	}
	for (int n = 1 + below(MAX_OPS - 1); n > 0; n--)
	{
		if (nrows > 0 && (nrows == MAX_ROWS || below(10) < (shrink ? 7 : 4)))
			delete_row(txn, below(nrows));
		else
			insert_row(txn);
	}
	return txn;
}

/* ---- a feature view ------------------------------------------------------------------ */

typedef struct View
{
	FeHeap	   *heap;
	FeViewShared *shared;
	FeStateWriter *writer;
} View;

static View
new_view(FeHeap *heap, bool online)
{
	View		v;

	v.heap = heap;
	v.shared = calloc(1, sizeof(FeViewShared));
	v.shared->online = online;
	v.shared->state_version = plan.state_version;
	pg_atomic_write_u32(&v.shared->state, FE_VIEW_LIVE);
	for (int t = 0; t < FE_MAX_TRACKS; t++)
		pg_atomic_write_u64(&v.shared->cutoff[t], (uint64) PG_INT64_MIN);
	pg_atomic_write_u32(&fe_view_table(v.shared)->full_wanted, 1);
	/* serials wrap round soon */
	fe_view_table(v.shared)->entity_serial = (uint32) -500;
	v.writer = fe_state_writer_create(heap, v.shared, &plan);
	return v;
}

static void
end_view(View *v)
{
	fe_state_writer_free(v->writer);
	free(v->shared);
	fe_heap_reset(v->heap);
}

static void save_some(void);

/* As the ingest worker: entity by entity; meanwhile the saver may do something. */
static void
apply_txn(View *v, const Txn *txn, bool disturbed)
{
	bool		done[MAX_OPS] = {false};

	for (int i = 0; i < txn->ntruncates; i++)
		fe_state_truncate_begin(v->writer, txn->lsn, 1, 0);
	for (int i = 0; i < txn->nops; i++)
	{
		FeDelta		deltas[MAX_OPS];
		Datum		values[MAX_OPS][3];
		static bool nulls[3];
		int			n = 0;

		for (int j = i; j < txn->nops; j++)
		{
			const Op   *op = &txn->ops[j];

			if (done[j] || op->row.key / 2 != txn->ops[i].row.key / 2)
				continue;
			done[j] = true;
			values[n][0] = Int64GetDatum(op->row.key);
			values[n][1] = Int64GetDatum(op->row.ts);
			values[n][2] = Int32GetDatum(op->row.value);
			deltas[n].hash = fe_key_hash_keys(&plan, values[n], nulls);
			deltas[n].sign = op->sign;
			deltas[n].values = values[n];
			deltas[n].nulls = nulls;
			n++;
		}
		if (n > 0)
			fe_state_apply(v->writer, deltas, n, txn->lsn, engine_now);
		if (disturbed)
			save_some();
	}
	if (txn->ntruncates > 0)
		fe_state_truncate_end(v->writer, txn->lsn);
}

/* In slices, for each of which there is another writer: a look at the catalogue makes one. */
static void
sweep(View *v)
{
	for (int slices = 0; !fe_state_sweep(v->writer, 100, engine_now); slices++)
	{
		if (slices > 10000)
		{
			printf("Bail out! the sweep does not come round\n");
			exit(1);
		}
		fe_state_writer_free(v->writer);
		v->writer = fe_state_writer_create(v->heap, v->shared, &plan);
	}
}

/* The pusher takes entities, and gives some back. */
static void
push_some(View *v)
{
	FeEntityRef refs[8];
	int			n = fe_state_take_dirty(v->shared, &plan, refs, below(8));

	for (int i = 0; i < n; i++)
	{
		FeEntity   *e = fe_table_find_ref(fe_view_table(v->shared), refs[i]);

		if (below(5) == 0)
			fe_state_put_dirty(v->shared, &plan, refs[i]);
		else
			fe_state_set_pushed(v->shared, &plan, refs[i],
								(e->flags & FE_ENTITY_TOMBSTONE) == 0 && below(2));
	}
}

/* ---- the store ------------------------------------------------------------------------ */

#define MAX_CHUNKS	20000

typedef struct Stored
{
	int			cycle;
	char	   *data;
	int			len;
} Stored;

static Stored store[MAX_CHUNKS];
static int	nstored;
static int	cycles;				/* begun */
static int	wholes;
static int	breaks;
static XLogRecPtr whole_lsn;	/* of the last whole cycle */
static FeStateSaver *saver;
static View view;

static void
forget_chunks(int before)
{
	int			kept = 0;

	for (int i = 0; i < nstored; i++)
	{
		if (store[i].cycle < before)
			pfree(store[i].data);
		else
			store[kept++] = store[i];
	}
	nstored = kept;
}

static void
begin_cycle(void)
{
	/* the last one, if it is not whole, was given up by a process that died */
	fe_state_cycle_begin(view.writer, end_lsn, below(12) == 0);
	saver = fe_state_saver_create(&plan, view.shared, NULL);
	cycles++;
}

static void
end_cycle(void)
{
	bool		full;
	XLogRecPtr	lsn = fe_state_saver_lsn(saver, &full);

	if (fe_state_saver_complete(saver))
	{
		whole_lsn = lsn;
		wholes++;
		if (full)
			forget_chunks(cycles);
		fe_state_saver_stored(saver);
	}
	else
		breaks++;
	saver = NULL;
}

/* A chunk of an entity or a few, at any moment. */
static void
save_some(void)
{
	StringInfoData chunk;

	if (saver == NULL || below(6) != 0)
		return;
	initStringInfo(&chunk);
	if (!fe_state_save(saver, &chunk, below(300)))
		end_cycle();
	else
	{
		store[nstored].cycle = cycles;
		store[nstored].data = palloc(chunk.len);
		memcpy(store[nstored].data, chunk.data, chunk.len);
		store[nstored++].len = chunk.len;
	}
	pfree(chunk.data);
}

/* ---- comparing -------------------------------------------------------------------------- */

static int64
sum_of_panes(const FeStateWriter *w, const FeEntity *e)
{
	FeSeqIter	it;
	const FePane *pane;
	int64		sum = 0;

	fe_seq_iter(&it, fe_entity_seqs(e), track.pane_size, 0);
	while ((pane = fe_seq_next(&it)) != NULL)
		sum += pane->rows * 1000003 + *(int64 *) ((char *) pane + FE_PANE_ACCS);
	return sum;
}

static const FeEntity *
find(View *v, int64 id)
{
	FeKeyProbe	probe = {0};
	const FeEntity *e;
	FeRef		ref;

	probe.values[0] = Int64GetDatum(id);
	fe_key_pack(&plan, &probe);
	probe.hash = fe_key_hash_keys(&plan, probe.values, probe.nulls);
	e = fe_table_find(v->writer->table, &plan, v->writer->layout, &probe, &ref);
	return e != NULL && (e->flags & FE_ENTITY_TOMBSTONE) ? NULL : e;
}

static bool
same_entity(View *a, View *b, int64 id)
{
	const FeEntity *x = find(a, id);
	const FeEntity *y = find(b, id);
	StringInfoData s[2];
	bool		same;

	if (x == NULL || y == NULL)
		return x == y;
	for (int i = 0; i < 2; i++)
	{
		initStringInfo(&s[i]);
		for (int j = 0; j < plan.nlifetime; j++)
		{
			const FeLayoutAcc *acc = &a->writer->layout->lifetime_accs[j];

			acc->spec->kind->image_write(acc->spec, (const char *) (i ? y : x) + acc->offset,
										 &s[i]);
		}
	}
	/* lifetime accumulators are not kept exact where rows leave by a window */
	same = plan.where_track >= 0 ||
		(x->nrows == y->nrows && s[0].len == s[1].len &&
		 memcmp(s[0].data, s[1].data, s[0].len) == 0);
	same &= sum_of_panes(a->writer, x) == sum_of_panes(b->writer, y);
	pfree(s[0].data);
	pfree(s[1].data);
	return same;
}

/* ---- recovery ---------------------------------------------------------------------------- */

static bool
load_all(View *v)
{
	int			order[MAX_CHUNKS];
	const char *why;

	for (int i = 0; i < nstored; i++)
		order[i] = i;
	for (int i = nstored - 1; i > 0; i--)
	{
		int			j = below(i + 1);
		int			swap = order[i];

		order[i] = order[j];
		order[j] = swap;
	}
	for (int i = 0; i < nstored; i++)
	{
		Size		done = 0;

		if (fe_state_load(v->writer, store[order[i]].data, store[order[i]].len, &done,
						  &why) != FE_LOAD_DONE)
		{
			printf("# chunk refused: %s\n", why);
			return false;
		}
	}
	fe_state_load_end(v->writer, whole_lsn, PG_INT64_MIN);
	return true;
}

/* Recovers as after a crash; the result equals what is there. */
static bool
recover(FeHeap *heap, View *v)
{
	bool		good;

	*v = new_view(heap, view.shared->online);
	good = load_all(v);
	for (int i = 0; good && i < nlogged; i++)
	{
		if (logged[i].lsn <= whole_lsn)
			continue;
		apply_txn(v, &logged[i], false);
		if (below(30) == 0)
			sweep(v);
	}
	sweep(v);
	sweep(&view);
	for (int64 id = 0; good && id < KEYS; id++)
	{
		if (same_entity(v, &view, id))
			continue;
		printf("# entity %d differs after recovery from %d (end %d)\n", (int) id,
			   (int) whole_lsn, (int) end_lsn);
		good = false;
	}
	return good;
}

/* The log is needed from the last whole cycle on only. */
static void
trim_log(void)
{
	int			kept = 0;

	for (int i = 0; i < nlogged; i++)
		if (logged[i].lsn > whole_lsn)
			logged[kept++] = logged[i];
	nlogged = kept;
}

static void
run(uint64 seed, bool where, bool online, int transactions)
{
	FeHeap	   *heaps[2];
	int			used = 0;
	int			recoveries = 0;
	bool		good = true;
	char		name[200];

	random_state = seed;
	make_plan(where);
	heaps[0] = fe_heap_create_private((Size) 64 * 1024 * 1024);
	heaps[1] = fe_heap_private_neighbour();
	nrows = nlogged = cycles = wholes = breaks = 0;
	end_lsn = 1000;
	whole_lsn = 0;
	engine_now = 9000 * DAY;
	saver = NULL;
	view = new_view(heaps[0], online);
	for (int i = 0; i < transactions && good; i++)
	{
		if (below(25) == 0)
			begin_cycle();
		apply_txn(&view, next_txn(), true);
		engine_now += (int64) below(100) * below(2) * HOUR / 100;
		if (below(200) == 0)
			engine_now += DAY;
		save_some();
		if (below(10) == 0)
			sweep(&view);
		if (online)
			push_some(&view);
		if (nlogged > MAX_TXNS / 2)
			trim_log();
		if (whole_lsn != 0 && below(20) == 0)
		{
			View		recovered;

			good &= recover(heaps[1 - used], &recovered);
			recoveries++;
			if (below(3) == 0)
			{
				/* life goes on with what was recovered */
				end_view(&view);
				view = recovered;
				saver = NULL;
				used = 1 - used;
			}
			else
				end_view(&recovered);
		}
	}
	snprintf(name, sizeof(name), "seed %d%s%s: %d recoveries are exact (%d cycles, %d whole, %d broken)",
			 (int) seed, where ? ", window in WHERE" : "", online ? ", pushed" : "",
			 recoveries, cycles, wholes, breaks);
	ok(good && recoveries > 10 && wholes > 10, name);
	forget_chunks(cycles + 1);
	end_view(&view);
}

int
main(int argc, char **argv)
{
	int			seeds = argc > 1 ? atoi(argv[1]) : 4;

	for (int seed = 1; seed <= seeds; seed++)
	{
		run(seed, false, false, 1500);
		run(seed, true, false, 1500);
		run(seed, false, true, 1500);
		run(seed, true, true, 1500);
	}
	return done_testing();
}
