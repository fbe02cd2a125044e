/*
 * buckets.c
 *		Which bucket a value belongs to, and results from counts (see buckets.h).
 *
 * Pure functions over local memory; no locks.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate/buckets.h"
#include "catalog/pg_type.h"
#include "port/pg_bitutils.h"
#include "utils/array.h"
#include "utils/float.h"
#include "utils/memutils.h"

/* ---- DDSketch ------------------------------------------------------------- */

#define MANTISSA_BITS	52

/*
 * The logarithm of 2^e (1 + s) is taken to be e + (6 s^3 - 21 s^2 + 50 s) / 35.
 * These are the least s, times 2^52, at which the polynomial reaches 0, 1, 2, ...
 */
static const uint64 bounds[FE_DD_OCTAVE] = {
	UINT64CONST(0x0000000000000), UINT64CONST(0x0529DA753A3AF), UINT64CONST(0x0A6A7A0A3C44C),
	UINT64CONST(0x0FC2A5EC847F8), UINT64CONST(0x15332D4C23609), UINT64CONST(0x1ABCE77E2251C),
	UINT64CONST(0x2060B410EFB24), UINT64CONST(0x261F7ACECE43C), UINT64CONST(0x2BFA2BA971C10),
	UINT64CONST(0x31F1BE88F91F0), UINT64CONST(0x380732F754EE8), UINT64CONST(0x3E3B8F9FD9D5E),
	UINT64CONST(0x448FE19941AEB), UINT64CONST(0x4B053B6EB0EBF), UINT64CONST(0x519CB3DA7C5C1),
	UINT64CONST(0x585764236CD6E), UINT64CONST(0x5F36660B2A0CB), UINT64CONST(0x663AD13A64ED3),
	UINT64CONST(0x6D65B8157488B), UINT64CONST(0x74B823E298213), UINT64CONST(0x7C33102A48373),
	UINT64CONST(0x83D7653A5D4DE), UINT64CONST(0x8BA5F1B6E520D), UINT64CONST(0x939F6327F775E),
	UINT64CONST(0x9BC43D7B8A2E0), UINT64CONST(0xA414D17E0A57E), UINT64CONST(0xAC91325D381EC),
	UINT64CONST(0xB5392A5F162E3), UINT64CONST(0xBE0C2F12E2CB9), UINT64CONST(0xC70955637E972),
	UINT64CONST(0xD02F4617AD9D3), UINT64CONST(0xD97C33721A9D3), UINT64CONST(0xE2EDD0C419FD0),
	UINT64CONST(0xEC814CDC6DECC), UINT64CONST(0xF633503F59F55)
};

/* The last bound that is not after s. */
static inline int
find_bound(uint64 s)
{
	int			lo = 0;
	int			hi = FE_DD_OCTAVE - 1;

	while (lo < hi)
	{
		int			mid = (lo + hi + 1) / 2;

		if (bounds[mid] <= s)
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo;
}

/* Of the octave of 2^e the first bucket is this, and positive for all of float8. */
#define FIRST_BUCKET(e) (((e) + 1075) * FE_DD_OCTAVE)

int32
fe_dd_bucket(double x)
{
	uint64		bits;
	uint64		mantissa;
	int			exponent;
	int32		bucket;

	if (isnan(x))
		return FE_DD_NAN;
	if (isinf(x))
		return x > 0 ? FE_DD_INFINITY : -FE_DD_INFINITY;
	if (x == 0)
		return FE_DD_ZERO;
	memcpy(&bits, &x, sizeof(bits));
	mantissa = bits & ((UINT64CONST(1) << MANTISSA_BITS) - 1);
	exponent = (int) ((bits >> MANTISSA_BITS) & 0x7FF) - 1023;
	if (exponent == -1023)
	{
		/* a denormal number: bring its first bit to where others have it */
		int			shift = MANTISSA_BITS - pg_leftmost_one_pos64(mantissa);

		mantissa = (mantissa << shift) & ((UINT64CONST(1) << MANTISSA_BITS) - 1);
		exponent = -1022 - shift;
	}
	bucket = FIRST_BUCKET(exponent) + find_bound(mantissa);
	return x < 0 ? -bucket : bucket;
}

double
fe_dd_value(int32 bucket)
{
	int32		number = abs(bucket);
	int			i = number % FE_DD_OCTAVE;
	double		lower;
	double		upper;
	double		value;

	if (bucket == FE_DD_NAN)
		return get_float8_nan();
	if (number == FE_DD_INFINITY)
		return bucket > 0 ? get_float8_infinity() : -get_float8_infinity();
	if (bucket == FE_DD_ZERO)
		return 0.0;
	lower = ldexp((double) bounds[i], -MANTISSA_BITS) + 1;
	upper = i + 1 < FE_DD_OCTAVE ? ldexp((double) bounds[i + 1], -MANTISSA_BITS) + 1 : 2;
	/* equally far, in proportion, from both bounds */
	value = 2 * lower * upper / (lower + upper);
	value = ldexp(value, number / FE_DD_OCTAVE - 1075);
	return bucket > 0 ? value : -value;
}

int32
fe_dd_percentile(const FeBucketCount *buckets, int n, double fraction)
{
	int64		total = 0;
	int64		rank;
	int64		seen = 0;
	int			i;

	for (i = 0; i < n; i++)
		total += buckets[i].count;
	rank = (int64) ceil(fraction * (double) total);
	for (i = 0; i < n - 1; i++)
	{
		seen += buckets[i].count;
		if (seen >= rank)
			break;
	}
	return buckets[i].number;
}

const char *
fe_percentile_problem(double fraction)
{
	if (fraction >= 0 && fraction <= 1)
		return NULL;
	return psprintf(_("percentile value %g is not between 0 and 1"), fraction);
}

/* ---- histogram ------------------------------------------------------------ */

/* By the formula of PostgreSQL's width_bucket(float8) of version 16 and later. */
int32
fe_histogram_bucket(double x, double lo, double hi, int32 bins)
{
	double		part;
	int32		bin;

	if (isnan(x))
		return bins + 1;
	if (lo < hi ? x < lo : x > lo)
		return 0;
	if (lo < hi ? x >= hi : x <= hi)
		return bins + 1;
	if (isinf(hi - lo))
		part = (x / 2 - lo / 2) / (hi / 2 - lo / 2);
	else
		part = (x - lo) / (hi - lo);
	bin = (int32) (bins * part);
	/* the quotient may have been rounded to 1 */
	return Min(bin, bins - 1) + 1;
}

Datum
fe_histogram_array(const int64 *counts, int32 bins)
{
	ArrayType  *array;
	Datum	   *values = palloc((bins + 2) * sizeof(Datum));

	for (int i = 0; i < bins + 2; i++)
		values[i] = Int64GetDatum(Max(counts[i], 0));
	array = construct_array(values, bins + 2, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
							TYPALIGN_DOUBLE);
	pfree(values);
	return PointerGetDatum(array);
}

const char *
fe_histogram_problem(double lo, double hi, int32 bins)
{
	if (isnan(lo) || isnan(hi) || isinf(lo) || isinf(hi))
		return _("bounds of a histogram must be finite");
	if (lo == hi)
		return _("lower bound of a histogram cannot equal its upper bound");
	if (bins < 1 || bins > FE_HISTOGRAM_MOST)
		return psprintf(_("number of bins of a histogram must be between 1 and %d"),
						FE_HISTOGRAM_MOST);
	return NULL;
}

/* ---- sets of buckets -------------------------------------------------------- */

void
fe_bucket_set_init(FeBucketSet *set, MemoryContext cxt)
{
	memset(set, 0, sizeof(FeBucketSet));
	set->cxt = cxt;
	set->size = 32;
	set->buckets = MemoryContextAlloc(cxt, set->size * sizeof(FeBucketCount));
}

static int
compare_buckets(const void *a, const void *b)
{
	return (int) ((const FeBucketCount *) a)->number - (int) ((const FeBucketCount *) b)->number;
}

/* Sorts and unites. */
static void
unite(FeBucketSet *set)
{
	int			n = 0;

	if (set->sorted == set->n)
		return;
	qsort(set->buckets, set->n, sizeof(FeBucketCount), compare_buckets);
	for (int i = 0; i < set->n; i++)
	{
		if (n > 0 && set->buckets[n - 1].number == set->buckets[i].number)
			set->buckets[n - 1].count += set->buckets[i].count;
		else
			set->buckets[n++] = set->buckets[i];
	}
	set->n = set->sorted = n;
}

static FeBucketCount *
find_sorted(FeBucketSet *set, int32 number)
{
	int			lo = 0;
	int			hi = set->sorted;

	while (lo < hi)
	{
		int			mid = (lo + hi) / 2;

		if (set->buckets[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < set->sorted && set->buckets[lo].number == number ? &set->buckets[lo] : NULL;
}

void
fe_bucket_set_add(FeBucketSet *set, int32 number, int64 count)
{
	FeBucketCount *found = find_sorted(set, number);

	if (found != NULL)
	{
		found->count += count;
		return;
	}
	/* what is new is kept aside until there is as much of it as of the old */
	if (set->n == set->size)
	{
		unite(set);
		if (set->n > set->size / 2)
		{
			set->size *= 2;
			set->buckets = repalloc_huge(set->buckets, set->size * sizeof(FeBucketCount));
		}
	}
	set->buckets[set->n].number = number;
	set->buckets[set->n].count = count;
	set->n++;
}

int64
fe_bucket_set_tidy(FeBucketSet *set)
{
	int64		total = 0;
	int			n = 0;

	unite(set);
	for (int i = 0; i < set->n; i++)
	{
		if (set->buckets[i].count <= 0)
			continue;
		total += set->buckets[i].count;
		set->buckets[n++] = set->buckets[i];
	}
	set->n = set->sorted = n;
	return total;
}
