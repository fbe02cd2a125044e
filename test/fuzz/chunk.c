/* links: src/state/image.c src/state/chunk.c src/state/load.c src/state/apply.c */
/* links: src/state/save.c src/state/sweep.c src/state/dirty.c src/state/table.c src/state/key.c */
/* links: src/state/layout.c src/state/entity.c src/state/pane.c src/aggregate/count.c */
/* links: src/aggregate/moments_int.c src/aggregate/moments_numeric.c */
/* links: src/aggregate/moments_float8.c src/aggregate/multiset.c src/aggregate/ordered.c */
/* links: src/aggregate/values.c src/aggregate/bools.c src/aggregate/bits.c */
/* links: src/aggregate/intervals.c src/aggregate/comoments.c */
/* links: src/aggregate/value_list.c src/aggregate/buckets.c src/aggregate/buckets_acc.c */
/* links: src/aggregate/hll.c src/aggregate/hll_acc.c src/aggregate/wide.c */
/* links: src/aggregate/wide_heap.c src/aggregate/power_sums.c src/aggregate/power_final.c */
/* links: src/aggregate/decay.c src/aggregate/decay_acc.c */
/* links: src/aggregate/value.c src/aggregate/value_image.c src/aggregate/exact.c */
/* links: src/aggregate/decimal.c src/window/window.c src/memory/heap.c src/memory/pages.c */
/* links: src/memory/seq.c src/memory/seq_tree.c src/memory/seq_load.c */
/* links: src/aggregate/current.c */
/* flags: -Wno-missing-field-initializers -Wno-unused-function -DUSE_ASSERT_CHECKING=1 */
/*
 * chunk.c
 *		Fuzz target: a stored chunk, as recovery loads it.
 *
 * Input: a chunk.  Its length, check sum and fingerprint are filled in where they
 * are 0, as nobody guesses them.  Whatever of it is loaded, counters must be what
 * is there, and every entity state like any other; loading it again changes nothing.
 */
#include "../unit/images.h"
#include "fuzz.h"
#include "port/pg_crc32c.h"

#define AT_CHECKSUM		4
#define AT_LENGTH		12
#define AT_FINGERPRINT	24

/* ---- doubles of what state wants from a server beside every_kind.h's ---------------- */

int			fe_setting_exact_horizon = 60;
int			fe_setting_max_values_per_entity = 10000;
char	   *fe_setting_inject_error = "";
char	   *fe_setting_inject_wait = "";
static LWLock lock;

void
fe_inject_wait_here(const char *name)
{
}

LWLock *
fe_partition_lock(const FeViewShared *of, uint64 hash)
{
	return &lock;
}

bool
LWLockAcquire(LWLock *which, LWLockMode mode)
{
	return true;
}

void
LWLockRelease(LWLock *which)
{
}

NOT_CALLED(void fe_fold_note(FeStateWriter *w, FeRef ref, const FeEntity *e))

bool
fe_view_is(const FeViewShared *of, const FePlan *which)
{
	return true;
}

void
MemoryContextDelete(MemoryContext cxt)
{
}

NOT_CALLED(int s_lock(volatile slock_t *l, const char *file, int line, const char *func))
NOT_CALLED(int64 fe_event_time(Datum value, Oid type))
NOT_CALLED(int64 fe_track_time(const FePlan *p, int t, const Datum *values, const bool *nulls))

/* ---- a feature view ------------------------------------------------------------------- */

static FeViewShared view;
static FeStateWriter *writer;

static void
set_up(void)
{
	/* one kind of each sort, by their numbers in every_kind.h */
	static const int which[] = {0, 5, 17, 20};

	heap = fe_heap_create_private((Size) 512 * 1024 * 1024);
	make_specs();
	make_plan(which, lengthof(which));
	writer = fe_state_writer_create(heap, &view, &plan);
}

/* An empty view in an empty heap; the writer stays, it holds no references. */
static void
reset(void)
{
	if (writer == NULL)
		set_up();
	fe_heap_reset(heap);
	memset(&view, 0, sizeof(view));
	pg_atomic_write_u32(&view.state, FE_VIEW_LIVE);
	for (int t = 0; t < FE_MAX_TRACKS; t++)
		pg_atomic_write_u64(&view.cutoff[t], (uint64) PG_INT64_MIN);
	writer->table->layout = fe_layout_share(heap, &plan);
	fe_table_create(heap, writer->table);
	pg_atomic_write_u64(&view.bytes, fe_heap_used(heap));
}

/* ---- chunks --------------------------------------------------------------------------- */

static void
fill_in(char *chunk, Size len)
{
	static const char zeros[8];
	uint32		length = (uint32) len;
	uint64		fingerprint = fe_layout_fingerprint(&plan);
	pg_crc32c	crc;

	if (len < FE_CHUNK_HEADER)
		return;
	if (memcmp(chunk + AT_FINGERPRINT, zeros, 8) == 0)
		memcpy(chunk + AT_FINGERPRINT, &fingerprint, 8);
	if (memcmp(chunk + AT_LENGTH, zeros, 4) == 0)
		memcpy(chunk + AT_LENGTH, &length, 4);
	if (memcmp(chunk + AT_CHECKSUM, zeros, 4) != 0)
		return;
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, chunk + FE_CHUNK_CHECKED, len - FE_CHUNK_CHECKED);
	FIN_CRC32C(crc);
	memcpy(chunk + AT_CHECKSUM, &crc, 4);
}

/* Counts what is there, and looks at every entity. */
static void
check_view(void)
{
	FeTable    *t = writer->table;
	uint64		panes = 0;

	for (uint32 b = 0; b < pg_atomic_read_u32(&t->nbuckets); b++)
	{
		FeRef		ref;

		for (uint32 i = 0; (ref = fe_bucket_entity(fe_table_bucket(t, b), i)) != 0; i++)
		{
			FeEntity   *e = fe_heap_ptr(ref);

			panes += fe_entity_seqs(e)[0].count;
			if (!entity_round_trip(e) || nfailed > 0)
				fuzz_bug("an entity that was loaded is not like any other");
		}
	}
	if (panes != pg_atomic_read_u64(&view.panes))
		fuzz_bug("the view's panes are counted wrong");
	if (fe_heap_used(heap) != pg_atomic_read_u64(&view.bytes))
		fuzz_bug("the view's bytes are counted wrong");
}

static void
sample_chunk(const char *name, int entities, int rows, bool tombstones)
{
	StringInfoData scratch;
	StringInfo	out = buffer();
	FeChunk		header = {0};

	reset();
	initStringInfo(&scratch);
	fe_chunk_begin(out, 1);
	for (int n = 0; n < entities; n++)
	{
		FeRef		ref = new_entity(n / 2, n % 3 == 0);
		FeEntity   *e = fe_heap_ptr(ref);

		for (int i = 0; i < rows; i++)
			random_row(e, i % 3, 9000 * DAY + i);
		e->lsn = n + 1;
		if (tombstones && n % 2 == 0)
		{
			fe_entity_clear(heap, layout, e);
			e->flags |= FE_ENTITY_TOMBSTONE;
		}
		fe_chunk_add(out, layout, e, &scratch);
		free_entity(ref);
	}
	header.nentities = entities;
	header.ntracks = 1;
	header.cutoff[0] = 8000 * DAY;
	fe_chunk_finish(out, &header);
	memset(out->data + AT_CHECKSUM, 0, 4);
	memset(out->data + AT_LENGTH, 0, 4);
	memset(out->data + AT_FINGERPRINT, 0, 8);
	fuzz_sample(name, out->data, out->len);
	pfree(scratch.data);
}

static void
fuzz_samples(void)
{
	random_state = 5;
	sample_chunk("empty", 0, 0, false);
	sample_chunk("one", 1, 2, false);
	sample_chunk("again", 4, 3, false);
	sample_chunk("tombstones", 4, 1, true);
	sample_chunk("many", 20, 4, true);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *chunk;
	FeLoadResult result;
	const char *why = NULL;
	Size		done = 0;
	Size		used;

	reset();
	chunk = exactly((const char *) data, size);
	fill_in(chunk, size);
	result = fe_state_load(writer, chunk, size, &done, &why);
	fuzz_accepted = result == FE_LOAD_DONE;
	if ((result == FE_LOAD_INVALID) != (why != NULL) || done > size)
		fuzz_bug("a refusal without a reason, or the other way round");
	check_view();
	used = fe_heap_used(heap);
	done = 0;
	if (fe_state_load(writer, chunk, size, &done, &why) != result || fe_heap_used(heap) != used)
		fuzz_bug("loading it again changes something");
	pfree(chunk);
	return 0;
}
