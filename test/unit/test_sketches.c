/* links: src/aggregate/wide.c src/aggregate/exact.c src/aggregate/power_final.c */
/* links: src/aggregate/decay.c src/aggregate/buckets.c src/aggregate/hll.c */
/* flags: -Wno-missing-field-initializers */
/*
 * test_sketches.c
 *		Unit tests of the arithmetic below our own aggregates: exact sums in two's
 *		complement beside those in digits, moments beside long doubles, decaying sums
 *		beside their formula, bounds of DDSketch buckets, entries and registers of
 *		HyperLogLog.  TAP output; fixed seeds.
 */
#include "pg_doubles.h"

#include <float.h>
#include <math.h>

#include "aggregate/buckets.h"
#include "aggregate/decay.h"
#include "aggregate/hll.h"
#include "aggregate/power_sums.h"
#include "tap.h"
#include "utils/array.h"
#include "utils/typcache.h"

#define NOT_CALLED(declaration) declaration { abort(); }

char	   *fe_heap_base = NULL;

NOT_CALLED(ArrayType *construct_array(Datum *elements, int n, Oid type, int len, bool byval,
									  char align))
NOT_CALLED(FeRef fe_heap_alloc(FeHeap *heap, Size size))
NOT_CALLED(FeRef fe_heap_alloc0(FeHeap *heap, Size size))
NOT_CALLED(void fe_heap_free(FeHeap *heap, FeRef ref, Size size))
NOT_CALLED(Size fe_heap_chunk_size(Size size))
NOT_CALLED(Oid getBaseType(Oid type))
NOT_CALLED(TypeCacheEntry *lookup_type_cache(Oid type, int flags))
NOT_CALLED(void fmgr_info_cxt(Oid fn, FmgrInfo *info, MemoryContext cxt))
NOT_CALLED(Datum FunctionCall2Coll(FmgrInfo *fn, Oid collation, Datum a, Datum b))
NOT_CALLED(void float_overflow_error(void))

MemoryContext CurrentMemoryContext = NULL;

void *
MemoryContextAlloc(MemoryContext cxt, Size size)
{
	return palloc(size);
}

void *
MemoryContextAllocZero(MemoryContext cxt, Size size)
{
	return palloc0(size);
}

void *
repalloc_huge(void *p, Size size)
{
	return repalloc(p, size);
}

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
	return (uint32) (random_bits() >> 8) % n;
}

/* Of any size (wild), or of few digits. */
static double
random_double(bool wild)
{
	union
	{
		uint64		bits;
		double		d;
	}			u;

	do
		u.bits = random_bits();
	while (isnan(u.d) || isinf(u.d));
	return wild ? u.d : (double) ((int) below(200001) - 100000) / (below(2) ? 1 : 64);
}

/* ---- sums -------------------------------------------------------------------- */

#define ROWS	300

static void
add(FeWideLocal *sum, double x, int power, bool negative)
{
	FeWideTerm	term;

	fe_wide_term(&term, x, power, 0);
	if (negative)
		term.negative = !term.negative;
	fe_wide_local_add(sum, &term, FE_WIDE_KEEP_ALL);
}

static bool
same_big(FeBig *a, FeBig *b)
{
	fe_big_carry(a, FE_BINARY_BASE);
	fe_big_carry(b, FE_BINARY_BASE);
	return a->sign == b->sign && a->n == b->n && (a->n == 0 || a->lo == b->lo) &&
		memcmp(a->d, b->d, a->n * sizeof(int64)) == 0;
}

/* x^power in digits, by multiplication. */
static void
add_power(FeBig *big, double x, int power)
{
	FeWideLocal one = {0};
	FeBig		factor;
	FeBig		product;
	FeBig		next;

	add(&one, x, 1, false);
	fe_big_init(&factor, NULL);
	fe_wide_to_big(&factor, one.sum);
	fe_big_carry(&factor, FE_BINARY_BASE);
	product = factor;
	for (int k = 1; k < power; k++)
	{
		fe_big_init(&next, NULL);
		fe_big_mul(&next, &product, &factor, FE_BINARY_BASE);
		product = next;
	}
	fe_big_carry(big, FE_BINARY_BASE);
	product.sign = -product.sign;
	fe_big_sub_big(big, &product);
}

/* Sums of powers are those of digits, in any order; without their rows they are 0. */
static void
test_sums(bool wild)
{
	char		name[128];

	for (int power = 1; power <= FE_POWERS; power++)
	{
		double		rows[ROWS];
		FeWideLocal sum = {0};
		FeWideLocal parts[2] = {{0}, {0}};
		FeBig		digits;
		FeBig		other;
		bool		good;
		int64		exponent;
		int64		exponent2;
		double		m;

		fe_big_init(&digits, NULL);
		fe_big_init(&other, NULL);
		for (int i = 0; i < ROWS; i++)
		{
			rows[i] = random_double(wild);
			add(&sum, rows[i], power, false);
			add_power(&digits, rows[i], power);
		}
		for (int i = ROWS - 1; i >= 0; i--)
			add(&parts[below(2)], rows[i], power, false);
		m = fe_wide_frexp(sum.sum, &exponent);
		fe_wide_to_big(&other, sum.sum);
		good = same_big(&digits, &other);
		fe_wide_local_add_wide(&parts[0], parts[1].sum, FE_WIDE_KEEP_ALL);
		good &= m == fe_wide_frexp(parts[0].sum, &exponent2) && exponent == exponent2;
		good &= (m > 0) - (m < 0) == digits.sign;
		for (int i = 0; i < ROWS; i++)
			add(&sum, rows[(i * 7) % ROWS], power, true);
		good &= fe_wide_frexp(sum.sum, &exponent) == 0;
		snprintf(name, sizeof(name), "sums of the power %d of %s are exact", power,
				 wild ? "any doubles" : "doubles of few digits");
		ok(good, name);
	}
}

/* Rounded once, to the nearest, in every place. */
static void
test_rounding(void)
{
	bool		good = true;

	for (int i = 0; i < 20000; i++)
	{
		FeWideLocal sum = {0};
		double		x = ldexp(random_double(false), (int) below(1000) - 500);
		double		y = ldexp(random_double(false), (int) below(1000) - 500);
		int64		exponent;
		double		m;

		add(&sum, x, 1, false);
		add(&sum, y, 1, false);
		m = fe_wide_frexp(sum.sum, &exponent);
		good &= ldexp(m, (int) exponent - 1074) == x + y;
	}
	ok(good, "a sum of two doubles is rounded as the processor does");
}

/* ---- moments ------------------------------------------------------------------ */

static void
test_moments(void)
{
	bool		good = true;

	for (int round = 0; round < 200; round++)
	{
		FeWideLocal sums[FE_POWERS] = {{0}};
		FeSpecials	special = {0};
		double		rows[50];
		int			n = 3 + below(47);
		long double mean = 0;
		long double m[5] = {0};
		double		skewness;
		double		kurtosis;

		for (int i = 0; i < n; i++)
		{
			rows[i] = random_double(false);
			mean += rows[i] / (long double) n;
			for (int k = 0; k < FE_POWERS; k++)
				add(&sums[k], rows[i], k + 1, false);
		}
		for (int i = 0; i < n; i++)
			for (int k = 2; k <= 4; k++)
				m[k] += powl(rows[i] - mean, k) / n;
		good &= fe_power_sums_final(FE_FINAL_SKEWNESS, n, &special, sums, &skewness);
		good &= fe_power_sums_final(FE_FINAL_KURTOSIS, n, &special, sums, &kurtosis);
		good &= fabsl(skewness - m[3] / powl(m[2], 1.5L)) < 1e-13;
		good &= fabsl(kurtosis - (m[4] / (m[2] * m[2]) - 3)) < 1e-13;
	}
	ok(good, "skewness and kurtosis are those of the definition");
}

/* ---- decaying sums --------------------------------------------------------------- */

/* What fe_decay_final would be given, with the cuts of a stream that saw later rows. */
static void
test_decay(int64 half_life, int64 spread, const char *name)
{
	bool		good = true;

	for (int round = 0; round < 300; round++)
	{
		FeWideLocal sum = {0};
		FeSpecials	special = {0};
		int64		T = (int64) (random_bits() % (UINT64CONST(1) << 60)) - (INT64CONST(1) << 58);
		int64		latest = PG_INT64_MIN;
		long double expected = 0;
		long double scale = 0;

		for (int i = below(40) + 1; i > 0; i--)
		{
			int64		ts = T - (int64) (random_bits() % spread);
			double		x = random_double(false);
			double		part;
			FeWideTerm	term;

			fe_decay_term(&term, x, ts, half_life);
			latest = Max(latest, fe_decay_period(ts, half_life, &part));
			fe_wide_local_add(&sum, &term, fe_decay_least(latest));
			expected += x * exp2l(-(long double) (T - ts) / half_life);
			scale += fabsl(x * exp2l(-(long double) (T - ts) / half_life));
		}
		good &= sum.sum == NULL || sum.sum->n <= FE_DECAY_LIMBS;
		good &= fabsl(fe_decay_final(sum.sum, &special, T, half_life) - expected) <=
			scale * 1e-14 + DBL_TRUE_MIN;
	}
	ok(good, name);
}

/* ---- DDSketch ------------------------------------------------------------------- */

static void
test_buckets(void)
{
	bool		close = true;
	bool		ordered = true;
	double		worst = 0;

	for (int i = 0; i < 200000; i++)
	{
		double		x = random_double(true);
		double		y = nextafter(x, HUGE_VAL);
		double		z = random_double(true);
		double		error = fabs(fe_dd_value(fe_dd_bucket(x)) - x) / fabs(x);

		if (fabs(x) >= DBL_MIN)
		{
			worst = Max(worst, error);
			close &= error <= FE_DD_ERROR;
		}
		ordered &= fe_dd_bucket(x) <= fe_dd_bucket(y);
		ordered &= x < z ? fe_dd_bucket(x) <= fe_dd_bucket(z) : fe_dd_bucket(x) >= fe_dd_bucket(z);
	}
	printf("# the greatest relative error is %.5f %%\n", worst * 100);
	ok(close, "a value is within 1 % of its bucket's");
	ok(ordered, "buckets are in the order of values");
	ok(fe_dd_bucket(DBL_TRUE_MIN) > FE_DD_ZERO && fe_dd_bucket(-DBL_TRUE_MIN) < FE_DD_ZERO &&
	   fe_dd_bucket(-0.0) == FE_DD_ZERO && fe_dd_bucket(DBL_MAX) < FE_DD_INFINITY &&
	   fe_dd_value(fe_dd_bucket(DBL_MAX)) <= DBL_MAX &&
	   fe_dd_value(fe_dd_bucket(HUGE_VAL)) == HUGE_VAL &&
	   isnan(fe_dd_value(fe_dd_bucket(NAN))), "the ends of float8 have buckets of their own");
}

/* Adding in any order and in parts, with retractions, gives the same set. */
static void
test_bucket_sets(void)
{
	FeBucketSet a;
	FeBucketSet b;
	int32		numbers[5000];

	fe_bucket_set_init(&a, NULL);
	fe_bucket_set_init(&b, NULL);
	for (int i = 0; i < 5000; i++)
	{
		numbers[i] = (int32) below(3000) - 1500;
		fe_bucket_set_add(&a, numbers[i], 1);
	}
	for (int i = 0; i < 1000; i++)
		fe_bucket_set_add(&b, (int32) below(9000), -1);
	for (int i = 4999; i >= 0; i--)
		fe_bucket_set_add(&b, numbers[i], 2);
	fe_bucket_set_reset(&b);
	for (int i = 4999; i >= 0; i--)
		fe_bucket_set_add(&b, numbers[i], 2);
	for (int i = 0; i < 5000; i++)
		fe_bucket_set_add(&b, numbers[(i * 3) % 5000], -1);
	ok(fe_bucket_set_tidy(&a) == 5000 && fe_bucket_set_tidy(&b) == 5000 && a.n == b.n &&
	   memcmp(a.buckets, b.buckets, a.n * sizeof(FeBucketCount)) == 0,
	   "sets of buckets depend on their counts only");
}

/* ---- HyperLogLog ------------------------------------------------------------------ */

/* The register and its value as the paper has them. */
static uint32
register_of(uint64 hash, uint8 *value)
{
	*value = 1;
	for (int bit = 64 - FE_HLL_BITS - 1; bit >= 0 && ((hash >> bit) & 1) == 0; bit--)
		(*value)++;
	return (uint32) (hash >> (64 - FE_HLL_BITS));
}

static void
test_entries(void)
{
	bool		good = true;

	for (int i = 0; i < 100000; i++)
	{
		uint64		hash = random_bits() >> below(30);
		uint8		value;
		uint8		expected;

		if (below(5) == 0)
			hash &= ~((UINT64CONST(1) << below(60)) - 1);
		if (i == 0)
			hash = 0;
		good &= fe_hll_entry_is_valid(fe_hll_entry(hash));
		good &= fe_hll_register(fe_hll_entry(hash), &value) == register_of(hash, &expected);
		good &= value == expected;
	}
	ok(good, "an entry of a list has the register that its hash has");
}

/* A set of values in parts, in another order and with repetitions. */
static void
test_sketch(int n)
{
	FeHll	   *whole = fe_hll_create(NULL);
	FeHll	   *parts[3];
	uint64		seed = random_state;
	char		name[128];
	int64		count;

	for (int p = 0; p < 3; p++)
		parts[p] = fe_hll_create(NULL);
	for (int i = 0; i < n; i++)
		fe_hll_add(whole, fe_hll_entry(random_bits() * UINT64CONST(0x9E3779B97F4A7C15)));
	for (int pass = 0; pass < 2; pass++)
	{
		random_state = seed;
		for (int i = 0; i < n; i++)
			fe_hll_add(parts[(i / 7 + pass) % 3],
					   fe_hll_entry(random_bits() * UINT64CONST(0x9E3779B97F4A7C15)));
	}
	for (int p = 1; p < 3; p++)
	{
		fe_hll_tidy(parts[p]);
		if (parts[p]->dense)
			fe_hll_add_registers(parts[0], parts[p]->registers, 0, FE_HLL_REGISTERS);
		for (int i = 0; i < parts[p]->n; i++)
			fe_hll_add(parts[0], parts[p]->entries[i]);
	}
	count = fe_hll_count(whole);
	printf("# %d values count as " INT64_FORMAT "\n", n, count);
	snprintf(name, sizeof(name), "%d values: in parts as at once, and within 3 %%", n);
	ok(count == fe_hll_count(parts[0]) && whole->dense == parts[0]->dense &&
	   whole->dense == (n > FE_HLL_SPARSE) && fabs((double) count / n - 1) < 0.03, name);
}

int
main(void)
{
	static const int sizes[] = {1, 100, 2048, 2049, 5000, 40000, 1000000, 5000000};

	test_sums(false);
	test_sums(true);
	test_rounding();
	test_moments();
	test_decay(INT64CONST(86400000000), INT64CONST(86400000000) * 30, "decay: a month by days");
	test_decay(1000000, INT64CONST(86400000000), "decay: a day by seconds");
	test_decay(1, 5000, "decay: microseconds");
	test_decay(INT64CONST(86400000000) * 36500, INT64CONST(86400000000), "decay: hardly any");
	test_buckets();
	test_bucket_sets();
	test_entries();
	for (int i = 0; i < lengthof(sizes); i++)
		test_sketch(sizes[i]);
	return done_testing();
}
