/* links: src/state/image.c src/state/chunk.c src/state/key.c src/state/layout.c */
/* links: src/state/entity.c src/state/pane.c src/aggregate/count.c */
/* links: src/aggregate/moments_int.c src/aggregate/moments_numeric.c */
/* links: src/aggregate/moments_float8.c src/aggregate/multiset.c src/aggregate/ordered.c */
/* links: src/aggregate/value.c src/aggregate/value_image.c src/aggregate/exact.c */
/* links: src/aggregate/decimal.c src/window/window.c src/memory/heap.c src/memory/pages.c */
/* links: src/memory/seq.c src/memory/seq_tree.c src/memory/seq_load.c */
/* flags: -Wno-missing-field-initializers */
/*
 * test_image.c
 *		Unit tests of the byte form of state: what is written is built again, for
 *		every kind of accumulator, so that it goes on like the original; and
 *		whatever else is read is refused, or is as good as any other state.  Images
 *		are read from memory of exactly their size, so that the address sanitizer
 *		sees a byte too far.  TAP output; fixed seeds.
 */
#include "pg_doubles.h"

#include <time.h>

#include "access/detoast.h"
#include "aggregate/value.h"
#include "catalog/pg_type_d.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "state/image.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/pg_locale.h"
#include "utils/typcache.h"

/* ---- TAP ------------------------------------------------------------------- */

static int	ntests = 0;
static int	nfailed = 0;

static void
ok(bool pass, const char *name)
{
	ntests++;
	if (!pass)
		nfailed++;
	printf("%sok %d - %s\n", pass ? "" : "not ", ntests, name);
	fflush(stdout);
}

static uint64 random_state = 1;

static uint64
random_bits(void)
{
	random_state = random_state * UINT64CONST(6364136223846793005) +
		UINT64CONST(1442695040888963407);
	return (random_state >> 33) ^ (random_state << 31);
}

static uint32
below(uint32 n)
{
	return (uint32) (random_bits() % n);
}

/* ---- doubles of what the linked files want from a server ---------------------- */

const char	fe_state_anchor = 0;

struct varlena *
pg_detoast_datum_packed(struct varlena *v)
{
	return v;
}

Size
toast_raw_datum_size(Datum value)
{
	return VARSIZE_ANY_EXHDR(DatumGetPointer(value)) + VARHDRSZ;
}

Datum
FunctionCall2Coll(FmgrInfo *fn, Oid collation, Datum a, Datum b)
{
	LOCAL_FCINFO(fcinfo, 2);

	InitFunctionCallInfoData(*fcinfo, fn, 2, collation, NULL, NULL);
	fcinfo->args[0].value = a;
	fcinfo->args[1].value = b;
	return fn->fn_addr(fcinfo);
}

uint64
fe_key_hash_keys(const FePlan *plan, const Datum *keys, const bool *nulls)
{
	uint64		hash = 17;

	for (int k = 0; k < plan->nkeys; k++)
	{
		if (nulls[k])
			hash = hash * 31;
		else if (plan->keys[k].typbyval)
			hash = (hash ^ (uint64) keys[k]) * UINT64CONST(0x9E3779B97F4A7C15);
		else
			for (Size i = 0; i < VARSIZE_ANY_EXHDR(keys[k]); i++)
				hash = (hash ^ (unsigned char) VARDATA_ANY(keys[k])[i]) * 1099511628211;
	}
	return hash;
}

MemoryContext CurrentMemoryContext = NULL;
volatile sig_atomic_t InterruptPending = false;

/* What computing results and preparing specs need: neither is done here. */
#define NOT_CALLED(declaration) declaration { abort(); }

NOT_CALLED(void ProcessInterrupts(void))
NOT_CALLED(MemoryContext AllocSetContextCreateInternal(MemoryContext parent, const char *name,
														Size a, Size b, Size c))
NOT_CALLED(void *MemoryContextAlloc(MemoryContext cxt, Size size))
NOT_CALLED(void MemoryContextReset(MemoryContext cxt))
NOT_CALLED(void *repalloc_huge(void *p, Size size))
NOT_CALLED(Datum datumCopy(Datum value, bool byval, int len))
NOT_CALLED(Datum DirectFunctionCall2Coll(PGFunction fn, Oid collation, Datum a, Datum b))
NOT_CALLED(void fe_big_add_int128(FeBig *big, int128 v, int scale))
NOT_CALLED(Datum fe_numeric_variance(int final, int64 n, const FeBig *sum, const FeBig *squares,
									 int scale))
NOT_CALLED(void float_overflow_error(void))
NOT_CALLED(void fmgr_info(Oid fn, FmgrInfo *info))
NOT_CALLED(char *format_type_be(Oid type))
NOT_CALLED(Oid getBaseType(Oid type))
NOT_CALLED(bool get_collation_isdeterministic(Oid collation))
NOT_CALLED(Oid get_element_type(Oid type))
NOT_CALLED(char get_typstorage(Oid type))
NOT_CALLED(char get_typtype(Oid type))
NOT_CALLED(Numeric int64_to_numeric(int64 v))
NOT_CALLED(bool lc_collate_is_c(Oid collation))
NOT_CALLED(TypeCacheEntry *lookup_type_cache(Oid type, int flags))
NOT_CALLED(Datum numeric_div(PG_FUNCTION_ARGS))

/* The order of a type that this library knows nothing of. */
static Datum
compare_varlenas(PG_FUNCTION_ARGS)
{
	const char *a = PG_GETARG_POINTER(0);
	const char *b = PG_GETARG_POINTER(1);
	int			alen = VARSIZE_ANY_EXHDR(a);
	int			blen = VARSIZE_ANY_EXHDR(b);
	int			result = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(alen, blen));

	return Int32GetDatum(result != 0 ? result : alen - blen);
}

/* ---- a plan with every kind ---------------------------------------------------- */

#define DAY		(INT64CONST(86400) * 1000000)
#define MAX_ACCS	32

static FeHeap *heap;
static FeAccSpec specs[MAX_ACCS];
static const char *spec_names[MAX_ACCS];
static int	nspecs;
static FePlan plan;
static FeLayout *layout;

static FeAccSpec *
add_spec(const char *name, const FeAccKind *kind, Oid type, int len, bool byval, uint32 flags)
{
	FeAccSpec  *spec = &specs[nspecs];

	spec_names[nspecs++] = name;
	spec->kind = kind;
	spec->argtype = type;
	spec->arglen = len;
	spec->argbyval = byval;
	spec->flags = flags;
	/* the others' prepare() needs the catalogue */
	if (kind != &fe_acc_multiset && kind != &fe_acc_ordered)
		kind->prepare(spec);
	return spec;
}

static void
add_values(const char *name, const FeAccKind *kind, Oid type, int len, bool byval,
		   uint32 flags, FeValueOrder order)
{
	FeAccSpec  *spec = add_spec(name, kind, type, len, byval, flags);

	spec->order = order;
	spec->packable = len == -1;
	spec->images = order == FE_ORDER_NUMERIC || order == FE_ORDER_FLOAT8;
	spec->hashed = type == TEXTOID && (flags & FE_ACC_DISTINCT) != 0;
	spec->size = sizeof(FeSeq) +
		((flags & FE_ACC_SINGLE) && !spec->images ? sizeof(int64) : 0);
	spec->cmp.fn_addr = compare_varlenas;
	spec->cmp.fn_nargs = 2;
}

static void
make_specs(void)
{
	const FeAccKind *ms = &fe_acc_multiset;
	const FeAccKind *ord = &fe_acc_ordered;

	add_spec("count", &fe_acc_count, INT4OID, 4, true, 0);
	add_spec("int2 moments", &fe_acc_moments_int, INT2OID, 2, true, 0);
	add_spec("int4 moments with squares", &fe_acc_moments_int, INT4OID, 4, true, FE_ACC_SQUARES);
	add_spec("int8 moments", &fe_acc_moments_int, INT8OID, 8, true, 0);
	add_spec("int8 moments with squares", &fe_acc_moments_int, INT8OID, 8, true, FE_ACC_SQUARES);
	add_spec("numeric moments", &fe_acc_moments_numeric, NUMERICOID, -1, false, 0);
	add_spec("numeric moments with squares", &fe_acc_moments_numeric, NUMERICOID, -1, false,
			 FE_ACC_SQUARES);
	add_spec("float8 moments", &fe_acc_moments_float8, FLOAT8OID, 8, true, 0);
	add_spec("float8 moments with squares", &fe_acc_moments_float8, FLOAT8OID, 8, true,
			 FE_ACC_SQUARES);
	add_spec("float4 moments with squares", &fe_acc_moments_float8, FLOAT4OID, 4, true,
			 FE_ACC_SQUARES);
	add_values("multiset of bool", ms, BOOLOID, 1, true, FE_ACC_COLLATED, FE_ORDER_BOOL);
	add_values("multiset of int2", ms, INT2OID, 2, true, FE_ACC_COLLATED, FE_ORDER_INT2);
	add_values("multiset of int4, distinct", ms, INT4OID, 4, true,
			   FE_ACC_DISTINCT | FE_ACC_SINGLE, FE_ORDER_INT4);
	add_values("multiset of int8", ms, INT8OID, 8, true, FE_ACC_COLLATED, FE_ORDER_INT8);
	add_values("multiset of float8", ms, FLOAT8OID, 8, true, FE_ACC_COLLATED, FE_ORDER_FLOAT8);
	add_values("multiset of numeric", ms, NUMERICOID, -1, false, FE_ACC_COLLATED,
			   FE_ORDER_NUMERIC);
	add_values("multiset of bytea", ms, BYTEAOID, -1, false, FE_ACC_COLLATED, FE_ORDER_BYTES);
	add_values("multiset of text by hash", ms, TEXTOID, -1, false,
			   FE_ACC_DISTINCT | FE_ACC_SINGLE, FE_ORDER_BYTES);
	add_values("multiset of text by a collation", ms, TEXTOID, -1, false, FE_ACC_COLLATED,
			   FE_ORDER_GENERIC);
	add_values("multiset of uuid", ms, UUIDOID, 16, false, FE_ACC_COLLATED, FE_ORDER_BYTES);
	add_values("ordered int4", ord, INT4OID, 4, true, 0, FE_ORDER_INT4);
	add_values("ordered numeric", ord, NUMERICOID, -1, false, 0, FE_ORDER_NUMERIC);
	add_values("ordered text", ord, TEXTOID, -1, false, 0, FE_ORDER_GENERIC);
}

static void
make_plan(void)
{
	static FeWindow windows[2] = {
		{FE_WINDOW_ROLLING, 7 * DAY, DAY / 24, false, 0, 0},
		{FE_WINDOW_ROLLING, 30 * DAY, DAY / 4, false, 0, 0}
	};
	static FeKey keys[2];
	static FeAcc accs[2 * MAX_ACCS];
	static int	lifetime[MAX_ACCS];
	static int	windowed[MAX_ACCS];
	static FeTrack track;

	keys[0].type = INT8OID;
	keys[0].typlen = 8;
	keys[0].typbyval = keys[0].bitwise = true;
	keys[0].typalign = TYPALIGN_DOUBLE;
	keys[1].type = TEXTOID;
	keys[1].typlen = -1;
	keys[1].bitwise = true;
	keys[1].typalign = TYPALIGN_INT;
	plan.nkeys = 2;
	plan.keys = keys;
	plan.where_track = FE_LIFETIME;
	plan.ntracks = 1;
	plan.tracks = &track;
	plan.accs = accs;
	plan.lifetime_accs = lifetime;
	track.pane_size = FE_PANE_ACCS;
	track.accs = windowed;
	fe_grid_init(&track.grid, windows, 2, NULL, 0);
	for (int i = 0; i < 2 * nspecs; i++)
	{
		FeAcc	   *acc = &accs[plan.naccs];

		acc->spec = &specs[i / 2];
		acc->track = i % 2 == 0 ? FE_LIFETIME : 0;
		acc->offset = i % 2 == 0 ? plan.lifetime_size : track.pane_size - FE_PANE_ACCS;
		if (i % 2 == 0)
		{
			lifetime[plan.nlifetime++] = plan.naccs;
			plan.lifetime_size += acc->spec->size;
		}
		else
		{
			windowed[track.naccs++] = plan.naccs;
			track.pane_size += acc->spec->size;
		}
		plan.naccs++;
	}
	layout = fe_layout_of_plan(&plan);
}

/* ---- random rows ------------------------------------------------------------------ */

/* A value, in a buffer that is used again; how wild: from one value to any. */
static Datum
varlena_of(const void *bytes, int len)
{
	static uint64 space[2][1024];
	static int	turn;
	char	   *v = (char *) space[turn = 1 - turn];

	SET_VARSIZE(v, len + VARHDRSZ);
	memcpy(VARDATA(v), bytes, len);
	return PointerGetDatum(v);
}

static Datum
random_numeric(int wild)
{
	int16		words[64];
	int			ndigits = wild < 2 ? 1 + below(3) : 1 + below(40);

	if (wild > 1 && below(8) == 0)
	{
		static const uint16 special[] = {0xC000, 0xD000, 0xF000};

		words[0] = (int16) special[below(3)];
		return varlena_of(words, sizeof(int16));
	}
	if (wild < 2)
	{
		/* display scale 2 or 4 */
		words[0] = (int16) (0x8000 | (below(2) ? 0x2000 : 0) | ((wild == 0 ? 2 : 4) << 7) |
							((ndigits - 2) & 0x7F));
		for (int i = 0; i < ndigits; i++)
			words[1 + i] = i == ndigits - 1 ? 100 * (1 + below(99)) : 1 + below(9998);
		return varlena_of(words, (1 + ndigits) * sizeof(int16));
	}
	words[0] = (int16) ((below(2) ? 0x4000 : 0) | below(200));
	words[1] = (int16) (below(60) - 30);
	for (int i = 0; i < ndigits; i++)
		words[2 + i] = 1 + below(9998);
	return varlena_of(words, (2 + ndigits) * sizeof(int16));
}

static Datum
random_double(int wild)
{
	union
	{
		uint64		bits;
		double		d;
	}			u;

	if (wild < 2)
		return Float8GetDatum((double) below(1000) / 8);
	u.bits = random_bits();
	return Float8GetDatum(below(9) == 0 ? (below(2) ? HUGE_VAL : -HUGE_VAL) : u.d);
}

static Datum
random_value(const FeAccSpec *spec, int wild)
{
	char		bytes[600];
	int			len = wild > 1 && below(10) == 0 ? below(600) : below(12);
	int64		v = wild > 1 ? (int64) random_bits() : (int64) below(wild == 0 ? 4 : 1000) - 2;

	switch (spec->argtype)
	{
		case BOOLOID:
			return BoolGetDatum(v & 1);
		case INT2OID:
			return Int16GetDatum((int16) v);
		case INT4OID:
			return Int32GetDatum((int32) v);
		case INT8OID:
			return Int64GetDatum(v);
		case FLOAT8OID:
			return random_double(wild);
		case FLOAT4OID:
			return Float4GetDatum((float4) DatumGetFloat8(random_double(wild)));
		case NUMERICOID:
			return random_numeric(wild);
		default:
			for (int i = 0; i < sizeof(bytes); i++)
				bytes[i] = wild == 0 ? 'a' + below(2) : (char) below(256);
			if (spec->arglen > 0)
				return PointerGetDatum(memcpy(DatumGetPointer(varlena_of(bytes, 600)), bytes,
											  spec->arglen));
			return varlena_of(bytes, wild == 0 ? 2 : len);
	}
}

static void
apply_random(const FeAccSpec *spec, void *acc, int wild, int sign)
{
	FeAccInput	in;

	in.isnull = below(10) == 0;
	in.value = in.isnull ? (Datum) 0 : random_value(spec, wild);
	in.order = (int64) below(wild == 0 ? 3 : 1000) * DAY - 3 * DAY;
	in.order_isnull = below(20) == 0;
	spec->kind->apply(heap, spec, acc, &in, sign);
}

/* ---- one accumulator of each kind --------------------------------------------------- */

/* An empty buffer, one of four by turns; large, as the double grows by inches. */
static StringInfo
buffer(void)
{
	static StringInfoData buffers[4];
	static int	turn;
	StringInfo	out = &buffers[turn = (turn + 1) % lengthof(buffers)];

	if (out->data == NULL)
	{
		initStringInfo(out);
		enlargeStringInfo(out, 8 * 1024 * 1024);
	}
	resetStringInfo(out);
	return out;
}

/* A copy of exactly this size. */
static char *
exactly(const char *data, Size len)
{
	return memcpy(palloc(len), data, len);
}

/* Builds dst from src's image; false: it cannot be read, or not as it should. */
static bool
copy_acc(const FeAccSpec *spec, const void *src, void *dst)
{
	StringInfo	out = buffer();
	FeImageIn	in;
	char	   *image;
	Size		used;
	bool		good;

	spec->kind->image_write(spec, src, out);
	image = exactly(out->data, out->len);
	fe_image_in_init(&in, image, out->len);
	spec->kind->image_read(NULL, spec, NULL, &in);
	good = in.error == NULL && in.cur == in.end;
	used = fe_heap_used(heap);
	in.cur = image;
	spec->kind->image_read(heap, spec, dst, &in);
	good &= in.error == NULL && in.cur == in.end && fe_heap_used(heap) - used <= in.room;
	fe_image_in_free(&in);
	pfree(image);
	return good;
}

static bool
same_image(const FeAccSpec *spec, const void *a, const void *b)
{
	StringInfo	x = buffer();
	StringInfo	y = buffer();

	spec->kind->image_write(spec, a, x);
	spec->kind->image_write(spec, b, y);
	return x->len == y->len && memcmp(x->data, y->data, x->len) == 0;
}

/*
 * Rows enter and leave; now and then the accumulator is copied through its
 * image, and original and copy have the same rows happen to them.  A field that
 * the image lacks shows in what comes after.
 */
static bool
round_trips(const FeAccSpec *spec, int wild, int rows)
{
	int64		acc[16];
	int64		copy[16];
	bool		good = true;

	memset(acc, 0, sizeof(acc));
	for (int round = 0; round < (rows > 100 ? 6 : 30) && good; round++)
	{
		uint64		seed;

		memset(copy, 0, sizeof(copy));
		good &= copy_acc(spec, acc, copy) && same_image(spec, acc, copy);
		seed = random_state;
		for (int pass = 0; pass < 2; pass++)
		{
			random_state = seed;
			for (int i = below(rows); i >= 0; i--)
				apply_random(spec, pass == 0 ? acc : copy, wild, below(3) == 0 ? -1 : 1);
		}
		good &= same_image(spec, acc, copy);
		spec->kind->clear(heap, spec, below(2) ? acc : copy);
		if (acc[0] == 0 && acc[1] == 0)
			memcpy(acc, copy, sizeof(acc));
	}
	spec->kind->clear(heap, spec, acc);
	return good;
}

static void
test_kinds(void)
{
	static const char *const wildness[] = {"few values", "values of a column", "any values"};
	char		name[128];

	for (int i = 0; i < nspecs; i++)
	{
		for (int wild = 0; wild < 3; wild++)
		{
			bool		good = round_trips(&specs[i], wild, 40);

			if (wild > 0)
				good &= round_trips(&specs[i], wild, 2000);
			snprintf(name, sizeof(name), "%s: %s come back", spec_names[i], wildness[wild]);
			ok(good && fe_heap_used(heap) == 0, name);
		}
	}
}

/* ---- entities -------------------------------------------------------------------------- */

static FeTable table;

static FeRef
new_entity(int64 id, bool null)
{
	FeKeyProbe	probe = {0};
	char		text[16];
	FeRef		ref;

	probe.values[0] = Int64GetDatum(id);
	probe.nulls[1] = null;
	probe.values[1] = varlena_of(text, snprintf(text, sizeof(text), "m%d", (int) (id % 7)));
	fe_key_pack(&plan, &probe);
	probe.hash = fe_key_hash_keys(&plan, probe.values, probe.nulls);
	ref = fe_entity_create(heap, &table, layout, &probe);
	fe_key_free(&probe);
	return ref;
}

static void
random_row(FeEntity *e, int wild, int64 now)
{
	const FeLayoutTrack *track = &layout->tracks[0];
	int64		ts = now - (int64) (random_bits() % (wild == 0 ? DAY : 40 * DAY));
	int32		added = 0;
	int			sign = below(4) == 0 ? -1 : 1;
	FePane	   *pane = fe_pane_upsert(heap, track, fe_entity_seqs(e), ts, now - 60000000, &added);

	e->nrows += sign;
	e->lsn++;
	pane->rows += sign;
	for (int i = 0; i < track->naccs; i++)
		apply_random(track->accs[i].spec, (char *) pane + track->accs[i].offset, wild, sign);
	for (int i = 0; i < layout->nlifetime; i++)
		apply_random(layout->lifetime_accs[i].spec, (char *) e + layout->lifetime_accs[i].offset,
					 wild, sign);
}

static void
free_entity(FeRef ref)
{
	fe_entity_clear(heap, layout, fe_heap_ptr(ref));
	fe_entity_free(heap, layout, ref);
}

/* The entity that these bytes are, or 0 and why not. */
static FeRef
build(const char *data, Size len, const char **why)
{
	FeEntityImage image;
	FeKeyProbe	probe = {0};
	char	   *key = NULL;
	FeRef		ref = 0;
	Size		used = fe_heap_used(heap);

	*why = "key";
	if (!fe_image_open(&image, data, len))
		*why = image.in.error;
	else
	{
		key = exactly(image.key, image.keylen);
		if (!fe_key_read(&plan, key, image.keylen, image.nullkey, &probe))
			;
		else if (!fe_image_check(layout, &image))
			*why = image.in.error;
		else if (!fe_heap_has_room_for(heap, image.in.room, image.in.largest))
			*why = "memory";
		else
		{
			ref = fe_entity_create(heap, &table, layout, &probe);
			((FeEntity *) fe_heap_ptr(ref))->lsn = image.lsn;
			fe_image_build(heap, layout, &image, fe_heap_ptr(ref));
			if (image.tombstone)
				((FeEntity *) fe_heap_ptr(ref))->flags |= FE_ENTITY_TOMBSTONE;
			if (fe_heap_used(heap) - used > image.in.room)
				ok(false, "an entity takes no more than its image says");
		}
		fe_key_free(&probe);
		pfree(key);
	}
	fe_image_close(&image);
	return ref;
}

/* Writes, builds and writes again. */
static bool
entity_round_trip(FeEntity *e)
{
	StringInfo	first = buffer();
	StringInfo	second = buffer();
	const char *why;
	char	   *image;
	FeRef		ref;
	bool		good;

	fe_image_write(layout, e, first);
	image = exactly(first->data, first->len);
	ref = build(image, first->len, &why);
	good = ref != 0;
	if (good)
	{
		FeEntity   *copy = fe_heap_ptr(ref);

		fe_image_write(layout, copy, second);
		good = first->len == second->len && memcmp(first->data, second->data, first->len) == 0 &&
			copy->hash == e->hash && copy->keylen == e->keylen;
		free_entity(ref);
	}
	else
		printf("# %s\n", why);
	pfree(image);
	return good;
}

static void
test_entities(void)
{
	bool		good = true;
	bool		tombstones = true;

	for (int n = 0; n < 60; n++)
	{
		FeRef		ref = new_entity(n, n % 5 == 0);
		FeEntity   *e = fe_heap_ptr(ref);
		int64		now = 9000 * DAY;

		for (int i = 0; i < n * 4; i++)
			random_row(e, n % 3, now += below(1000) * 100000);
		if (n % 2 == 0)
			fe_pane_consolidate(heap, &layout->tracks[0], fe_entity_seqs(e), now);
		good &= entity_round_trip(e);
		fe_entity_clear(heap, layout, e);
		e->flags |= FE_ENTITY_TOMBSTONE;
		tombstones &= entity_round_trip(e);
		free_entity(ref);
	}
	ok(good, "entities with all kinds in lifetime and panes come back");
	ok(tombstones, "so do tombstones");
	ok(fe_heap_used(heap) == 0, "and nothing is left in the heap");
}

/* Times at which a level's grid is cut off by the ends of time. */
static void
test_far_times(void)
{
	static const int64 times[] = {
		PG_INT64_MIN + 1, PG_INT64_MIN + DAY, -DAY, 0, DAY, 2 * DAY, PG_INT64_MAX - 1
	};
	FeRef		ref = new_entity(1, false);
	FeEntity   *e = fe_heap_ptr(ref);
	int32		added = 0;

	for (int i = 0; i < lengthof(times); i++)
		fe_pane_upsert(heap, &layout->tracks[0], fe_entity_seqs(e), times[i],
					   i < 4 ? 9000 * DAY : PG_INT64_MIN, &added)->rows = i + 1;
	ok(added == lengthof(times) && entity_round_trip(e), "panes at the ends of time come back");
	free_entity(ref);
}

/* ---- any bytes ------------------------------------------------------------------------- */

#define CORPUS	24

static StringInfoData corpus[CORPUS];

static void
make_corpus(void)
{
	for (int n = 0; n < CORPUS; n++)
	{
		FeRef		ref = new_entity(n, n % 5 == 0);
		FeEntity   *e = fe_heap_ptr(ref);

		for (int i = 0; i < n / 2; i++)
			random_row(e, n % 3, 9000 * DAY + i);
		initStringInfo(&corpus[n]);
		fe_image_write(layout, e, &corpus[n]);
		printf("# image %d: %d bytes\n", n, corpus[n].len);
		free_entity(ref);
	}
}

/* One of the usual ways in which bytes go wrong. */
static void
mutate(StringInfo s)
{
	const StringInfoData *other = &corpus[below(CORPUS)];
	int			at = below(s->len);
	int			n = 1 + below(9);

	switch (below(7))
	{
		case 0:
			s->data[at] ^= 1 << below(8);
			break;
		case 1:
			s->data[at] = (char) below(256);
			break;
		case 2:
			s->data[at] = (char) (below(2) ? 0xFF : 0x80);
			break;
		case 3:
			s->len = at + 1;
			break;
		case 4:
			n = Min(s->len - at, n);
			memset(s->data + at, below(2) ? 0xFF : 0, n);
			break;
		case 5:					/* bytes are missing */
			n = Min(s->len - at, n);
			memmove(s->data + at, s->data + at + n, s->len - at - n);
			s->len = Max(s->len - n, 1);
			break;
		default:				/* of another one */
			n = Min(Min(s->len - at, 4 * n), other->len);
			memcpy(s->data + at, other->data + below(other->len - n + 1), n);
	}
}

/* What was accepted must be state like any other: written, changed, freed. */
static void
use(FeRef ref)
{
	FeEntity   *e = fe_heap_ptr(ref);

	if ((e->flags & FE_ENTITY_TOMBSTONE) == 0 && below(4) == 0)
		random_row(e, below(3), 9000 * DAY);
	if (!entity_round_trip(e))
		ok(false, "what was read can be written and read again");
	free_entity(ref);
}

static void
test_any_bytes(int times)
{
	int			accepted = 0;
	int			refused = 0;

	for (int i = 0; i < times; i++)
	{
		const StringInfoData *from = &corpus[below(CORPUS)];
		StringInfo	s = buffer();
		const char *why;
		char	   *image;
		FeRef		ref;

		appendBinaryStringInfo(s, from->data, from->len);
		for (int n = below(4); n >= 0; n--)
			mutate(s);
		image = exactly(s->data, s->len);
		ref = build(image, s->len, &why);
		if (ref != 0)
		{
			accepted++;
			use(ref);
		}
		else
			refused++;
		pfree(image);
	}
	printf("# of %d mutations %d were refused\n", times, refused);
	ok(accepted > 0 && refused > accepted, "any bytes are refused, or are state");
	ok(fe_heap_used(heap) == 0, "what was refused has left nothing in the heap");
}

/* Every image, cut at every place. */
static void
test_cut_off(void)
{
	bool		good = true;

	for (int n = 0; n < CORPUS; n++)
	{
		for (int len = 0; len < corpus[n].len; len++)
		{
			char	   *image = exactly(corpus[n].data, len);
			const char *why;

			good &= build(image, len, &why) == 0;
			pfree(image);
		}
	}
	ok(good, "an image that is cut off is refused, wherever");
}

/* ---- chunks ------------------------------------------------------------------------------ */

static void
test_chunks(void)
{
	StringInfoData out;
	StringInfoData scratch;
	FeChunk		header = {0};
	FeChunk		chunk;
	const char *why;
	const char *pos;
	const char *image;
	Size		len;
	int			n = 0;
	bool		good = true;

	initStringInfo(&out);
	initStringInfo(&scratch);
	fe_chunk_begin(&out, 1);
	for (int i = 0; i < 10; i++)
	{
		FeRef		ref = new_entity(i, false);

		fe_chunk_add(&out, layout, fe_heap_ptr(ref), &scratch);
		free_entity(ref);
	}
	header.state_version = 7;
	header.fingerprint = fe_layout_fingerprint(&plan);
	header.nentities = 10;
	header.ntracks = 1;
	header.cutoff[0] = -5;
	fe_chunk_finish(&out, &header);

	ok(fe_chunk_open(&chunk, out.data, out.len, &why), "a chunk is opened");
	ok(chunk.state_version == 7 && chunk.fingerprint == header.fingerprint &&
	   chunk.nentities == 10 && chunk.ntracks == 1 && chunk.cutoff[0] == -5,
	   "its header is what was written");
	for (pos = chunk.entities; fe_chunk_next(&chunk, &pos, &image, &len, &why); n++)
		good &= build(image, len, &why) != 0;
	ok(good && n == 10 && why == NULL, "and its entities are");
	good = true;
	for (int i = 0; i < out.len; i++)
	{
		char	   *copy = exactly(out.data, out.len);

		copy[i] ^= 1 << below(8);
		good &= !fe_chunk_open(&chunk, copy, out.len, &why) && why != NULL;
		pfree(copy);
		copy = exactly(out.data, i);
		good &= !fe_chunk_open(&chunk, copy, i, &why) && why != NULL;
		pfree(copy);
	}
	ok(good, "a chunk with a bit changed, or cut off, is refused with a reason");
	specs[1].flags |= FE_ACC_SQUARES;
	ok(fe_layout_fingerprint(&plan) != header.fingerprint,
	   "another accumulator is another fingerprint");
	specs[1].flags &= ~FE_ACC_SQUARES;
	fe_heap_reset(heap);
}

static void
set_up(void)
{
	heap = fe_heap_create_private((Size) 512 * 1024 * 1024);
	make_specs();
	make_plan();
}

#ifdef FE_FUZZER

/*
 * For libFuzzer: clang -fsanitize=fuzzer,address -DFE_FUZZER and otherwise as
 * scripts/test compiles it.
 */
int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *why;
	FeRef		ref;

	if (heap == NULL)
		set_up();
	random_state = 1;
	ref = build((const char *) data, size, &why);
	if (ref != 0)
		use(ref);
	if (nfailed > 0 || fe_heap_used(heap) != 0)
		abort();
	return 0;
}

#else

int
main(void)
{
	set_up();
	test_kinds();
	test_entities();
	test_far_times();
	make_corpus();
	test_cut_off();
	test_any_bytes(20000);
	test_chunks();
	printf("1..%d\n", ntests);
	return nfailed != 0;
}

#endif
