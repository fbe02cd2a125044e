/*
 * murmur.h
 *		The finaliser of MurmurHash3 (Appleby, public domain): a permutation of
 *		64-bit numbers that spreads every bit.  No server state.
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

#endif							/* FE_MURMUR_H */
