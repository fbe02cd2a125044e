/*
 * decimal.c
 *		PostgreSQL's numeric as stored (see decimal.h).  Pure functions.
 */
#include "postgres.h"

#include "aggregate/decimal.h"

#define E(n) ((int128) UINT64CONST(1##n))
#define E19 E(0000000000000000000)

const int128 fe_pow10[FE_DECIMAL_MAX_POW + 1] = {
	E(), E(0), E(00), E(000), E(0000), E(00000), E(000000), E(0000000), E(00000000),
	E(000000000), E(0000000000), E(00000000000), E(000000000000), E(0000000000000),
	E(00000000000000), E(000000000000000), E(0000000000000000), E(00000000000000000),
	E(000000000000000000), E19,
	E19 * E(0), E19 * E(00), E19 * E(000), E19 * E(0000), E19 * E(00000), E19 * E(000000),
	E19 * E(0000000), E19 * E(00000000), E19 * E(000000000), E19 * E(0000000000),
	E19 * E(00000000000), E19 * E(000000000000), E19 * E(0000000000000),
	E19 * E(00000000000000), E19 * E(000000000000000), E19 * E(0000000000000000),
	E19 * E(00000000000000000), E19 * E(000000000000000000), E19 * E19
};

bool
fe_decimal_to_int128(const FeDecimal *n, int128 *v)
{
	int			nd = n->ndigits;
	int			shift;			/* decimal places to the left for the last digit */
	int			last;
	int			kept;
	int128		r = 0;

	if (n->scale > FE_DECIMAL_MAX_POW)
		return false;
	if (nd == 0)
	{
		*v = 0;
		return true;
	}
	shift = 4 * (n->weight - nd + 1) + n->scale;
	if (shift <= -4 || 4 * nd + shift > FE_DECIMAL_MAX_POW)
		return false;

	/* all but the last digit, which may end in zeros beyond the scale */
	for (int i = 0; i < nd - 1; i++)
		r = r * FE_DECIMAL_BASE + fe_decimal_digit(n, i);
	last = fe_decimal_digit(n, nd - 1);
	if (shift >= 0)
		r = (r * FE_DECIMAL_BASE + last) * fe_pow10[shift];
	else if (fe_decimal_cut(last, -shift, &kept))
		r = r * fe_pow10[4 + shift] + kept;
	else
		return false;			/* digits beyond the scale: never stored */
	*v = n->negative ? -r : r;
	return true;
}

int
fe_decimal_digits(uint128 v, int scale, int32 *digits, int32 *lo)
{
	int			part = scale % 4;	/* decimal places in the last digit */
	int			n = 0;

	*lo = -(scale / 4);
	if (v == 0)
		return 0;
	if (part != 0)
	{
		int			unit = (int) fe_pow10[part];

		digits[n++] = (int32) (v % unit) * (FE_DECIMAL_BASE / unit);
		v /= unit;
		(*lo)--;
	}
	return n + fe_digits_of_uint128(v, FE_DECIMAL_BASE, digits + n);
}

/* Digits from highest (most significant, at the end) to lowest. */
static Numeric
make_numeric(bool negative, const int32 *small, const int64 *wide, int n, int32 lo, int scale)
{
	int			weight = lo + n - 1;
	int			skip = 0;
	Size		header;
	struct varlena *result;
	char	   *p;

#define DIGIT(i) (small != NULL ? small[i] : (int32) wide[i])
	while (n > 0 && DIGIT(n - 1) == 0)
		n--, weight--;
	while (skip < n && DIGIT(skip) == 0)
		skip++;
	if (n == 0)
	{
		negative = false;
		weight = 0;
	}
	if (weight > PG_INT16_MAX || weight < PG_INT16_MIN || scale > 0x3FFF)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("value overflows numeric format")));

	header = (scale <= 63 && weight >= -64 && weight <= 63) ? 2 : 4;
	result = palloc(VARHDRSZ + header + (n - skip) * sizeof(int16));
	SET_VARSIZE(result, VARHDRSZ + header + (n - skip) * sizeof(int16));
	p = VARDATA(result);
	if (header == 2)
	{
		uint16		word = 0x8000 | (negative ? 0x2000 : 0) | (scale << 7) | (weight & 0x7F);

		memcpy(p, &word, sizeof(word));
	}
	else
	{
		uint16		word = (negative ? 0x4000 : 0) | scale;
		int16		w = (int16) weight;

		memcpy(p, &word, sizeof(word));
		memcpy(p + 2, &w, sizeof(w));
	}
	p += header;
	for (int i = n - 1; i >= skip; i--)
	{
		int16		digit = (int16) DIGIT(i);

		memcpy(p, &digit, sizeof(digit));
		p += sizeof(digit);
	}
	return (Numeric) result;
#undef DIGIT
}

Numeric
fe_decimal_special(FeDecimalClass class)
{
	struct varlena *result = palloc(VARHDRSZ + sizeof(uint16));
	uint16		word = 0xC000;

	if (class == FE_DECIMAL_PINF)
		word = 0xD000;
	else if (class == FE_DECIMAL_NINF)
		word = 0xF000;
	SET_VARSIZE(result, VARHDRSZ + sizeof(uint16));
	memcpy(VARDATA(result), &word, sizeof(word));
	return (Numeric) result;
}

Numeric
fe_decimal_from_int128(int128 v, int scale)
{
	int32		digits[FE_DIGITS128];
	int32		lo;
	int			n = fe_decimal_digits(v < 0 ? -(uint128) v : (uint128) v, scale, digits, &lo);

	return make_numeric(v < 0, digits, NULL, n, lo, scale);
}

Numeric
fe_decimal_from_big(const FeBig *big, int scale)
{
	return make_numeric(big->sign < 0, NULL, big->d, big->n, big->lo, scale);
}

int
fe_decimal_compare(const void *a, const void *b)
{
	FeDecimal	x;
	FeDecimal	y;
	int			sign;
	int			n;

	fe_decimal_view(a, &x);
	fe_decimal_view(b, &y);
	if (x.class != FE_DECIMAL_FINITE || y.class != FE_DECIMAL_FINITE)
	{
		/* finite lies between -Infinity and Infinity, NaN above all */
		static const int8 rank[] = {1, 0, 2, 3};

		return rank[x.class] - rank[y.class];
	}
	if (x.ndigits == 0 || y.ndigits == 0 || x.negative != y.negative)
	{
		int			sx = x.ndigits == 0 ? 0 : x.negative ? -1 : 1;
		int			sy = y.ndigits == 0 ? 0 : y.negative ? -1 : 1;

		return sx - sy;
	}
	sign = x.negative ? -1 : 1;
	if (x.weight != y.weight)
		return x.weight > y.weight ? sign : -sign;
	n = Min(x.ndigits, y.ndigits);
	for (int i = 0; i < n; i++)
	{
		int			dx = fe_decimal_digit(&x, i);
		int			dy = fe_decimal_digit(&y, i);

		if (dx != dy)
			return dx > dy ? sign : -sign;
	}
	if (x.ndigits == y.ndigits)
		return 0;
	return x.ndigits > y.ndigits ? sign : -sign;
}

/*
 * Zero is 2^31, negative numbers lie below: weight in 5 bits, first digit in
 * 14, and the top of the second in 12.
 */
uint32
fe_decimal_prefix(const void *a)
{
	FeDecimal	n;
	uint32		body;

	fe_decimal_view(a, &n);
	if (n.class != FE_DECIMAL_FINITE)
		return n.class == FE_DECIMAL_NINF ? 0 :
			n.class == FE_DECIMAL_PINF ? PG_UINT32_MAX - 1 : PG_UINT32_MAX;
	if (n.ndigits == 0 || n.weight < -16)
		body = 0;
	else if (n.weight > 15)
		body = PG_INT32_MAX - 2;
	else
	{
		int			second = n.ndigits > 1 ? fe_decimal_digit(&n, 1) : 0;

		body = ((uint32) (n.weight + 16) << 26) | ((uint32) fe_decimal_digit(&n, 0) << 12) |
			(uint32) (second * 4096 / FE_DECIMAL_BASE);
	}
	return n.negative ? (uint32) PG_INT32_MAX - body : ((uint32) 1 << 31) + body;
}
