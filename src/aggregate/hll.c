/*
 * hll.c
 *		HyperLogLog: hashing, entries, estimators (see hll.h).
 *
 * Pure functions over local memory; no locks.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate/hll.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "runtime/murmur.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

/* ---- hashing -------------------------------------------------------------- */

/*
 * By-value types whose equality is that of their bits.  PostgreSQL's hash of int8
 * folds it to 32 bits first, so that it agrees with int4's; ours need not.
 */
static int
bits_of(Oid type)
{
	switch (getBaseType(type))
	{
		case BOOLOID:
		case CHAROID:
			return 8;
		case INT2OID:
			return 16;
		case INT4OID:
		case DATEOID:
		case OIDOID:
			return 32;
		case INT8OID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return 64;
		default:
			return 0;
	}
}

bool
fe_hll_hash_init(FeHllHash *hash, Oid type, Oid collation, MemoryContext cxt)
{
	TypeCacheEntry *entry;

	memset(hash, 0, sizeof(FeHllHash));
	hash->type = type;
	hash->collation = collation;
	hash->bits = bits_of(type);
	if (hash->bits != 0)
		return true;
	entry = lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC);
	if (!OidIsValid(entry->hash_extended_proc))
		return false;
	fmgr_info_cxt(entry->hash_extended_proc, &hash->fn, cxt);
	return true;
}

uint64
fe_hll_hash(FeHllHash *hash, Datum value)
{
	if (hash->bits == 0)
		return fe_murmur64(DatumGetUInt64(FunctionCall2Coll(&hash->fn, hash->collation, value,
														   UInt64GetDatum(0))));
	/* only the type's own bits: how a Datum is extended depends on who made it */
	if (hash->bits < 64)
		value &= (UINT64CONST(1) << hash->bits) - 1;
	return fe_murmur64((uint64) value + UINT64CONST(0x9e3779b97f4a7c15));
}

/* ---- entries and registers --------------------------------------------------- */

uint32
fe_hll_entry(uint64 hash)
{
	uint64		rest = hash << FE_HLL_SPARSE_BITS;
	int			most = 64 - FE_HLL_SPARSE_BITS + 1;
	int			rank = rest == 0 ? most : 64 - pg_leftmost_one_pos64(rest);

	return ((uint32) (hash >> (64 - FE_HLL_SPARSE_BITS)) << FE_HLL_RANK_BITS) | rank;
}

bool
fe_hll_entry_is_valid(uint32 entry)
{
	uint32		rank = FE_HLL_RANK(entry);

	return rank >= 1 && rank <= 64 - FE_HLL_SPARSE_BITS + 1 &&
		FE_HLL_PLACE(entry) < (1 << FE_HLL_SPARSE_BITS);
}

/* ---- estimators ----------------------------------------------------------- */

/* Linear counting (Whang, Vander-Zanden, Taylor, 1990) over 2^25 places */
int64
fe_hll_estimate_sparse(int entries)
{
	double		places = (double) (1 << FE_HLL_SPARSE_BITS);

	return (int64) rint(-places * log1p(-entries / places));
}

/* Ertl 2017, sigma and tau of algorithm 6 */
static double
sigma(double x)
{
	double		y = 1;
	double		z = x;
	double		before;

	if (x == 1.0)
		return HUGE_VAL;
	do
	{
		x *= x;
		before = z;
		z += x * y;
		y += y;
	} while (z != before);
	return z;
}

static double
tau(double x)
{
	double		y = 1;
	double		z = 1 - x;
	double		before;

	if (x == 0.0 || x == 1.0)
		return 0.0;
	do
	{
		x = sqrt(x);
		before = z;
		y *= 0.5;
		z -= (1 - x) * (1 - x) * y;
	} while (z != before);
	return z / 3;
}

int64
fe_hll_estimate(const uint8 *registers)
{
	const double m = FE_HLL_REGISTERS;
	int			counts[FE_HLL_MOST + 1] = {0};
	double		z;

	for (int i = 0; i < FE_HLL_REGISTERS; i++)
		counts[registers[i]]++;
	z = m * tau(1 - counts[FE_HLL_MOST] / m);
	for (int k = FE_HLL_MOST - 1; k >= 1; k--)
		z = 0.5 * (z + counts[k]);
	z += m * sigma(counts[0] / m);
	return (int64) rint(m * m / (2 * M_LN2) / z);
}

/* ---- in local memory ---------------------------------------------------------- */

FeHll *
fe_hll_create(MemoryContext cxt)
{
	FeHll	   *hll = MemoryContextAllocZero(cxt, sizeof(FeHll));

	hll->cxt = cxt;
	hll->size = 8;
	hll->entries = MemoryContextAlloc(cxt, hll->size * sizeof(uint32));
	return hll;
}

void
fe_hll_reset(FeHll *hll)
{
	hll->n = hll->sorted = 0;
	hll->dense = false;
}

static void
make_dense(FeHll *hll)
{
	if (hll->registers == NULL)
		hll->registers = MemoryContextAlloc(hll->cxt, FE_HLL_REGISTERS);
	memset(hll->registers, 0, FE_HLL_REGISTERS);
	hll->dense = true;
	for (int i = 0; i < hll->n; i++)
	{
		uint8		value;
		uint32		number = fe_hll_register(hll->entries[i], &value);

		hll->registers[number] = Max(hll->registers[number], value);
	}
	hll->n = hll->sorted = 0;
}

static int
compare_entries(const void *a, const void *b)
{
	uint32		x = *(const uint32 *) a;
	uint32		y = *(const uint32 *) b;

	return (x > y) - (x < y);
}

void
fe_hll_tidy(FeHll *hll)
{
	int			n = 0;

	if (hll->dense || hll->sorted == hll->n)
		return;
	qsort(hll->entries, hll->n, sizeof(uint32), compare_entries);
	for (int i = 0; i < hll->n; i++)
	{
		/* of one place the last is the greatest */
		if (i + 1 < hll->n && FE_HLL_PLACE(hll->entries[i]) == FE_HLL_PLACE(hll->entries[i + 1]))
			continue;
		hll->entries[n++] = hll->entries[i];
	}
	hll->n = hll->sorted = n;
	if (n > FE_HLL_SPARSE)
		make_dense(hll);
}

/* For one more entry; or the sketch is dense afterwards. */
static void
make_space(FeHll *hll)
{
	fe_hll_tidy(hll);
	if (hll->dense || hll->n <= hll->size / 2)
		return;
	hll->size *= 2;
	hll->entries = repalloc(hll->entries, hll->size * sizeof(uint32));
}

void
fe_hll_add(FeHll *hll, uint32 entry)
{
	if (!hll->dense && hll->n == hll->size)
		make_space(hll);
	if (hll->dense)
	{
		uint8		value;
		uint32		number = fe_hll_register(entry, &value);

		hll->registers[number] = Max(hll->registers[number], value);
	}
	else
		hll->entries[hll->n++] = entry;
}

void
fe_hll_add_registers(FeHll *hll, const uint8 *registers, int first, int n)
{
	uint8	   *to;

	if (!hll->dense)
		make_dense(hll);
	to = hll->registers + first;
	for (int i = 0; i < n; i++)
		to[i] = Max(to[i], registers[i]);
}

int64
fe_hll_count(FeHll *hll)
{
	fe_hll_tidy(hll);
	return hll->dense ? fe_hll_estimate(hll->registers) : fe_hll_estimate_sparse(hll->n);
}
