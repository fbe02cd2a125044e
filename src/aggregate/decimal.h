/*
 * decimal.h
 *		PostgreSQL's numeric as stored, read and written without numeric.c.
 *
 * numeric.c keeps its struct to itself, and each of its functions allocates.
 * The stored form is stable, though: pg_upgrade carries it from one major
 * version to the next.  After the varlena header:
 *
 *	short:	uint16	10 s dddddd wwwwwww		sign, display scale 0..63,
 *											weight -64..63 (two's complement)
 *	long:	uint16	0s dddddddddddddd		sign, display scale 0..16383
 *			int16	weight
 *	special: uint16	1100... NaN, 1101... Infinity, 1111... -Infinity
 *
 * then the digits in base 10^4, int16 each, the first one worth 10^(4*weight),
 * without leading or trailing zeros (none at all for 0).
 */
#ifndef FE_DECIMAL_H
#define FE_DECIMAL_H

#include "aggregate/exact.h"
#include "runtime/compat.h"
#include "utils/numeric.h"

#define FE_DECIMAL_MAX_POW	38	/* 10^38 < 2^127 */

typedef enum FeDecimalClass
{
	FE_DECIMAL_FINITE = 0,
	FE_DECIMAL_NINF,
	FE_DECIMAL_PINF,
	FE_DECIMAL_NAN				/* the greatest in numeric's order */
} FeDecimalClass;

typedef struct FeDecimal
{
	const char *digits;			/* int16, perhaps not aligned */
	int			ndigits;
	int			weight;
	int			scale;			/* display scale */
	bool		negative;
	uint8		class;			/* FeDecimalClass */
} FeDecimal;

extern const int128 fe_pow10[FE_DECIMAL_MAX_POW + 1];

static inline int
fe_decimal_digit(const FeDecimal *n, int i)
{
	int16		digit;

	memcpy(&digit, n->digits + i * sizeof(int16), sizeof(int16));
	return digit;
}

/* v: a varlena that is neither compressed nor external. */
static inline void
fe_decimal_view(const void *v, FeDecimal *n)
{
	const char *data = VARDATA_ANY(v);
	int			len = VARSIZE_ANY_EXHDR(v);
	uint16		header;

	memcpy(&header, data, sizeof(uint16));
	if ((header & 0xC000) == 0x8000)
	{
		n->class = FE_DECIMAL_FINITE;
		n->negative = (header & 0x2000) != 0;
		n->scale = (header & 0x1F80) >> 7;
		n->weight = ((header & 0x0040) ? ~0x003F : 0) | (header & 0x003F);
		n->digits = data + 2;
		n->ndigits = (len - 2) / 2;
	}
	else if ((header & 0xC000) == 0xC000)
	{
		n->class = (header & 0xF000) == 0xD000 ? FE_DECIMAL_PINF :
			(header & 0xF000) == 0xF000 ? FE_DECIMAL_NINF : FE_DECIMAL_NAN;
		n->negative = false;
		n->scale = n->weight = n->ndigits = 0;
		n->digits = data;
	}
	else
	{
		int16		weight;

		memcpy(&weight, data + 2, sizeof(int16));
		n->class = FE_DECIMAL_FINITE;
		n->negative = (header & 0x4000) != 0;
		n->scale = header & 0x3FFF;
		n->weight = weight;
		n->digits = data + 4;
		n->ndigits = (len - 4) / 2;
	}
}

/*
 * A digit without its lowest `places` (1 to 3) decimal places, and whether
 * those are zero.  Constant divisors: a division costs a row's budget.
 */
static inline bool
fe_decimal_cut(int digit, int places, int *kept)
{
	*kept = places == 1 ? digit / 10 : places == 2 ? digit / 100 : digit / 1000;
	return *kept * (places == 1 ? 10 : places == 2 ? 100 : 1000) == digit;
}

/* n digits and the part of the last one that the scale (shift -3 .. 0) leaves. */
static inline bool
fe_decimal_join(const FeDecimal *n, int shift, int64 *v)
{
	static const int16 small[4] = {1, 10, 100, 1000};
	int			last = fe_decimal_digit(n, n->ndigits - 1);
	int			kept;
	int64		r = 0;

	for (int i = 0; i < n->ndigits - 1; i++)
		r = r * FE_DECIMAL_BASE + fe_decimal_digit(n, i);
	if (shift == 0)
		r = r * FE_DECIMAL_BASE + last;
	else if (fe_decimal_cut(last, -shift, &kept))
		r = r * small[4 + shift] + kept;
	else
		return false;
	*v = r;
	return true;
}

/*
 * The hot path of fe_decimal_to_int128, for what most columns hold: a short
 * header and up to 16 digits.  False says nothing about the number.
 */
static inline bool
fe_decimal_quick(const void *varlena, int *scale, int64 *v)
{
	FeDecimal	n;
	int			shift;

	if (VARATT_IS_1B(varlena) ? VARATT_IS_1B_E(varlena) : !VARATT_IS_4B_U(varlena))
		return false;
	fe_decimal_view(varlena, &n);
	shift = 4 * (n.weight - n.ndigits + 1) + n.scale;
	if (n.class != FE_DECIMAL_FINITE || (unsigned) (n.ndigits - 1) >= 4 ||
		(unsigned) (shift + 3) > 3 || n.scale > FE_DECIMAL_MAX_POW ||
		!fe_decimal_join(&n, shift, v))
		return false;
	*scale = n.scale;
	if (n.negative)
		*v = -*v;
	return true;
}

/*
 * The finite number as v * 10^-scale.  False when it (or 10^scale) does not
 * fit in 38 decimal digits.
 */
extern bool fe_decimal_to_int128(const FeDecimal *n, int128 *v);

/*
 * |v| * 10^-scale as digits of base 10^4, lowest first, at most FE_DIGITS128;
 * *lo is the weight of the first.
 */
extern int	fe_decimal_digits(uint128 v, int scale, int32 *digits, int32 *lo);

/* The numbers as PostgreSQL would have made them, palloc'd. */
extern Numeric fe_decimal_special(FeDecimalClass class);
/* v * 10^-scale */
extern Numeric fe_decimal_from_int128(int128 v, int scale);
/* A canonical big number; ERROR when it is too big for numeric. */
extern Numeric fe_decimal_from_big(const FeBig *big, int scale);

/* The same order as numeric_cmp. */
extern int	fe_decimal_compare(const void *a, const void *b);
/* Abbreviated: if the prefixes of two numbers differ, they order as they do. */
extern uint32 fe_decimal_prefix(const void *a);

#endif							/* FE_DECIMAL_H */
