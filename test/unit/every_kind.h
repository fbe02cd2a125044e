/*
 * every_kind.h
 *		A feature view with every kind of accumulator, twice: for ever and in panes,
 *		and random rows for it.  Include it once, in a test program.
 *
 * With stand-ins for what state and aggregates want from a server beside
 * pg_doubles.h.  A new kind is a line in make_specs(), at its end: files of
 * test/fuzz/corpus name kinds by their number.
 */
#ifndef FE_EVERY_KIND_H
#define FE_EVERY_KIND_H

#include "pg_doubles.h"

#include "access/detoast.h"
#include "aggregate/sql_call.h"
#include "aggregate/value.h"
#include "catalog/pg_type_d.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "state/image.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/pg_locale.h"
#include "utils/typcache.h"

/* ---- random numbers: the same ones everywhere ----------------------------------- */

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

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name, Size a, Size b, Size c)
{
	return NULL;
}

/* What computing results and preparing specs need: neither is done here. */
#define NOT_CALLED(declaration) declaration { abort(); }

NOT_CALLED(void ProcessInterrupts(void))
NOT_CALLED(void fe_arguments_unpack(TupleDesc desc, const char *bytes, Size len, Datum *values,
									bool *nulls))
NOT_CALLED(FeSqlRun *fe_sql_run_create(const FeSqlCall *call))
NOT_CALLED(Datum fe_sql_run(FeSqlRun *run, FeSqlSource source, void *arg, bool *isnull))
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
NOT_CALLED(pg_locale_t pg_newlocale_from_collation(Oid collation))
NOT_CALLED(TypeCacheEntry *lookup_type_cache(Oid type, int flags))
NOT_CALLED(Datum numeric_div(PG_FUNCTION_ARGS))
NOT_CALLED(Datum interval_div(PG_FUNCTION_ARGS))
NOT_CALLED(Datum float8_regr_sxx(PG_FUNCTION_ARGS))
NOT_CALLED(Datum float8_regr_syy(PG_FUNCTION_ARGS))
NOT_CALLED(Datum float8_regr_sxy(PG_FUNCTION_ARGS))
NOT_CALLED(Datum float8_regr_avgx(PG_FUNCTION_ARGS))
NOT_CALLED(Datum float8_regr_avgy(PG_FUNCTION_ARGS))
NOT_CALLED(Datum float8_regr_r2(PG_FUNCTION_ARGS))
NOT_CALLED(Datum float8_regr_slope(PG_FUNCTION_ARGS))
NOT_CALLED(Datum float8_regr_intercept(PG_FUNCTION_ARGS))
NOT_CALLED(Datum float8_covar_pop(PG_FUNCTION_ARGS))
NOT_CALLED(Datum float8_covar_samp(PG_FUNCTION_ARGS))
NOT_CALLED(Datum float8_corr(PG_FUNCTION_ARGS))
NOT_CALLED(ArrayType *construct_array(Datum *elems, int n, Oid type, int len, bool byval,
									  char align))

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
	if (kind != &fe_acc_multiset && kind != &fe_acc_ordered && kind != &fe_acc_values)
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
	spec->hashed = kind == &fe_acc_values ||
		(type == TEXTOID && (flags & FE_ACC_DISTINCT) != 0);
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
	add_values("values", &fe_acc_values, BYTEAOID, -1, false, 0, FE_ORDER_BYTES);
	add_spec("money", &fe_acc_moments_int, MONEYOID, 8, true, 0);
	add_spec("booleans", &fe_acc_bools, BOOLOID, 1, true, 0);
	add_spec("bits of int4", &fe_acc_bits, INT4OID, 4, true, 0);
	add_spec("bits of int8", &fe_acc_bits, INT8OID, 8, true, 0);
	add_spec("intervals", &fe_acc_intervals, INTERVALOID, 16, false, 0);
	add_spec("float comoments", &fe_acc_comoments, FLOAT8OID, 8, true, 0);
}

/* A plan with so many of the accumulators, and its layout. */
static void
make_plan(const int *which, int n)
{
	static FeWindow windows[2] = {
		{FE_WINDOW_ROLLING, 7 * DAY, DAY / 24, false, 0, 0},
		{FE_WINDOW_ROLLING, 30 * DAY, DAY / 4, false, 0, 0}
	};
	static FeKey keys[2];
	FeTrack    *track = palloc0(sizeof(FeTrack));

	keys[0].type = INT8OID;
	keys[0].typlen = 8;
	keys[0].typbyval = keys[0].bitwise = true;
	keys[0].typalign = TYPALIGN_DOUBLE;
	keys[1].type = TEXTOID;
	keys[1].typlen = -1;
	keys[1].bitwise = true;
	keys[1].typalign = TYPALIGN_INT;
	memset(&plan, 0, sizeof(plan));
	plan.nkeys = 2;
	plan.keys = keys;
	plan.where_track = FE_LIFETIME;
	plan.ntracks = 1;
	plan.tracks = track;
	plan.accs = palloc0(2 * n * sizeof(FeAcc));
	plan.lifetime_accs = palloc0(n * sizeof(int));
	track->pane_size = FE_PANE_ACCS;
	track->accs = palloc0(n * sizeof(int));
	fe_grid_init(&track->grid, windows, 2, NULL, 0);
	for (int i = 0; i < 2 * n; i++)
	{
		FeAcc	   *acc = &plan.accs[plan.naccs];

		acc->spec = &specs[which[i / 2]];
		acc->track = i % 2 == 0 ? FE_LIFETIME : 0;
		acc->offset = i % 2 == 0 ? plan.lifetime_size : track->pane_size - FE_PANE_ACCS;
		if (i % 2 == 0)
		{
			plan.lifetime_accs[plan.nlifetime++] = plan.naccs;
			plan.lifetime_size += acc->spec->size;
		}
		else
		{
			track->accs[track->naccs++] = plan.naccs;
			track->pane_size += acc->spec->size;
		}
		plan.naccs++;
	}
	layout = fe_layout_of_plan(&plan);
}

static void
make_plan_of_all(void)
{
	int			all[MAX_ACCS];

	for (int i = 0; i < nspecs; i++)
		all[i] = i;
	make_plan(all, nspecs);
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
some_numeric(int wild)
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
		case MONEYOID:
			return Int64GetDatum(v);
		case FLOAT8OID:
			return random_double(wild);
		case FLOAT4OID:
			return Float4GetDatum((float4) DatumGetFloat8(random_double(wild)));
		case NUMERICOID:
			return some_numeric(wild);
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

#endif							/* FE_EVERY_KIND_H */
