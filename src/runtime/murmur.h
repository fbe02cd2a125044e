/*
 * murmur.h
 *		MurmurHash3 (Appleby, public domain), as far as it is used: the finaliser of
 *		64-bit numbers, a permutation that spreads every bit, and the 32-bit hash of
 *		bytes, by which Feast names fields.  No server state.
 */
#ifndef FE_MURMUR_H
#define FE_MURMUR_H

#include "c.h"

static inline uint64
fe_murmur64(uint64 h)
{
	h ^= h >> 33;
	h *= UINT64CONST(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64CONST(0xc4ceb9fe1a85ec53);
	h ^= h >> 33;
	return h;
}

static inline uint32
fe_murmur_rotate(uint32 x, int n)
{
	return (x << n) | (x >> (32 - n));
}

static inline uint32
fe_murmur_scramble(uint32 k)
{
	return fe_murmur_rotate(k * 0xcc9e2d51, 15) * 0x1b873593;
}

/* MurmurHash3_x86_32 with seed 0; the same on machines of either byte order. */
static inline uint32
fe_murmur32(const void *data, Size len)
{
	const unsigned char *p = (const unsigned char *) data;
	Size		whole = len & ~(Size) 3;
	uint32		h = 0;
	uint32		tail = 0;

	for (Size i = 0; i < whole; i += 4)
	{
		uint32		k = p[i] | (uint32) p[i + 1] << 8 | (uint32) p[i + 2] << 16 |
			(uint32) p[i + 3] << 24;

		h = fe_murmur_rotate(h ^ fe_murmur_scramble(k), 13) * 5 + 0xe6546b64;
	}
	for (Size i = whole; i < len; i++)
		tail |= (uint32) p[i] << (8 * (i - whole));
	h ^= fe_murmur_scramble(tail);
	h ^= (uint32) len;
	h = (h ^ (h >> 16)) * 0x85ebca6b;
	h = (h ^ (h >> 13)) * 0xc2b2ae35;
	return h ^ (h >> 16);
}

#endif							/* FE_MURMUR_H */
