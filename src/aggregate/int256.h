/*
 * int256.h
 *		256-bit two's complement numbers, as uint64[4], lowest word first: the
 *		sum of squares in moments_float8.c.  Pure functions.
 */
#ifndef FE_INT256_H
#define FE_INT256_H

static inline void
add256(uint64 *dst, const uint64 *v, bool subtract)
{
	uint64		flip = subtract ? ~UINT64CONST(0) : 0;
	uint128		t = (uint128) dst[0] + (v[0] ^ flip) + (subtract ? 1 : 0);

	dst[0] = (uint64) t;
	t = (uint128) dst[1] + (v[1] ^ flip) + (uint64) (t >> 64);
	dst[1] = (uint64) t;
	t = (uint128) dst[2] + (v[2] ^ flip) + (uint64) (t >> 64);
	dst[2] = (uint64) t;
	dst[3] += (v[3] ^ flip) + (uint64) (t >> 64);
}

/* v << bits, for bits < 128 */
static inline void
spread256(uint128 v, int bits, uint64 *dst)
{
	int			rest = bits % 64;
	uint128		low = v << rest;
	uint64		high = rest == 0 ? 0 : (uint64) (v >> (128 - rest));

	dst[0] = bits < 64 ? (uint64) low : 0;
	dst[1] = bits < 64 ? (uint64) (low >> 64) : (uint64) low;
	dst[2] = bits < 64 ? high : (uint64) (low >> 64);
	dst[3] = bits < 64 ? 0 : high;
}

static inline bool
is_zero256(const uint64 *v)
{
	return (v[0] | v[1] | v[2] | v[3]) == 0;
}

/* |v| in *abs; true if v is negative. */
static inline bool
abs256(const uint64 *v, uint64 *abs)
{
	static const uint64 zero[4];

	memcpy(abs, v, 4 * sizeof(uint64));
	if ((int64) v[3] >= 0)
		return false;
	memcpy(abs, zero, sizeof(zero));
	add256(abs, v, true);
	return true;
}

static inline void
shift256(uint64 *v, int bits)
{
	int			words = bits / 64;
	int			rest = bits % 64;

	for (int i = 3; i >= 0; i--)
	{
		uint64		high = i - words >= 0 ? v[i - words] : 0;
		uint64		low = i - words - 1 >= 0 ? v[i - words - 1] : 0;

		v[i] = rest == 0 ? high : (high << rest) | (low >> (64 - rest));
	}
}

/* Is |v| < 2^bits? */
static inline bool
fits256(const uint64 *v, int bits)
{
	uint64		abs[4];

	abs256(v, abs);
	for (int i = 3; i >= 0; i--)
	{
		if (bits <= i * 64)
		{
			if (abs[i] != 0)
				return false;
		}
		else if (bits < (i + 1) * 64)
			return (abs[i] >> (bits - i * 64)) == 0;
	}
	return true;
}

/* The digits of base 2^16, lowest first. */
static inline int
digits256(const uint64 *abs, int32 *digits)
{
	for (int i = 0; i < 16; i++)
		digits[i] = (abs[i / 4] >> (16 * (i % 4))) & 0xFFFF;
	return 16;
}

/* Is |v| < 2^bits? */
static inline bool
fits128(int128 v, int bits)
{
	uint128		abs = v < 0 ? -(uint128) v : (uint128) v;

	return bits > 0 && (abs >> bits) == 0;
}

#endif							/* FE_INT256_H */
