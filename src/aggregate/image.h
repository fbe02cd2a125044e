/*
 * image.h
 *		Position-independent byte form of state: the primitives with which
 *		accumulators, panes and entities are written and read back.
 *
 * Integers are of variable length: 7 bits a byte, the lowest first, the high
 * bit set in all but the last; signed ones are folded first (0, -1, 1, -2 ..),
 * so that what is near 0 is short.  That does not depend on the machine's byte
 * order; the bytes of floats are written lowest first, and those of values by
 * reference (varlenas without their header) are as in memory.
 *
 * What is read may be any bytes.  An error is kept in the cursor, which is at
 * its end from then on and gives zeros, so that callers need to look once for
 * each part.  Reading is done twice: first to check, with no heap, which adds
 * up the memory that the state will take; then, once there is room, to build,
 * which cannot fail.  No locks; local memory only, but for what is built.
 */
#ifndef FE_IMAGE_H
#define FE_IMAGE_H

#include "aggregate/aggregate.h"
#include "lib/stringinfo.h"
#include "utils/memutils.h"

typedef struct FeImageScratch
{
	char	   *data;			/* palloc'd, aligned for any type */
	Size		size;
} FeImageScratch;

struct FeImageIn
{
	const char *cur;
	const char *end;
	const char *error;			/* why it cannot be read; NULL: nothing found yet */
	Size		room;			/* checking: heap bytes that building takes */
	Size		largest;		/* of them, the largest single piece */
	FeImageScratch scratch[2];	/* for values being compared */
};

extern void fe_image_in_init(FeImageIn *in, const char *data, Size len);
extern void fe_image_in_free(FeImageIn *in);

static inline void
fe_image_fail(FeImageIn *in, const char *error)
{
	if (in->error == NULL)
		in->error = error;
	in->cur = in->end;
}

/* Checking: an allocation of so many bytes will be made. */
static inline void
fe_image_add_room(FeImageIn *in, Size size)
{
	in->room += fe_heap_chunk_size(size);
	in->largest = Max(in->largest, size);
}

/* ---- writing -------------------------------------------------------------- */

#define FE_IMAGE_INT_BYTES	20	/* the most that an integer takes */

static inline void
fe_image_reserve(StringInfo out, int bytes)
{
	if (unlikely(out->maxlen - out->len <= bytes))
		enlargeStringInfo(out, bytes);
}

static inline void
fe_image_put(StringInfo out, uint64 v)
{
	char	   *p;

	fe_image_reserve(out, FE_IMAGE_INT_BYTES);
	p = out->data + out->len;
	for (; v >= 0x80; v >>= 7)
		*p++ = (char) (v | 0x80);
	*p++ = (char) v;
	out->len = p - out->data;
}

static inline void
fe_image_put_signed(StringInfo out, int64 v)
{
	fe_image_put(out, ((uint64) v << 1) ^ (v < 0 ? ~UINT64CONST(0) : 0));
}

static inline void
fe_image_put_int128(StringInfo out, int128 v)
{
	uint128		u = ((uint128) v << 1) ^ (v < 0 ? ~(uint128) 0 : 0);
	char	   *p;

	fe_image_reserve(out, FE_IMAGE_INT_BYTES);
	p = out->data + out->len;
	for (; u >= 0x80; u >>= 7)
		*p++ = (char) ((uint64) u | 0x80);
	*p++ = (char) u;
	out->len = p - out->data;
}

static inline void
fe_image_put_bytes(StringInfo out, const void *data, Size len)
{
	if (len > MaxAllocSize)
		enlargeStringInfo(out, -1); /* raises the error */
	fe_image_reserve(out, (int) len);
	memcpy(out->data + out->len, data, len);
	out->len += (int) len;
}

/* The lowest n bytes of a word, lowest first. */
static inline void
fe_image_put_fixed(StringInfo out, uint64 v, int n)
{
	fe_image_reserve(out, sizeof(uint64));
	for (int i = 0; i < n; i++)
		out->data[out->len++] = (char) (v >> (8 * i));
}

/* ---- reading --------------------------------------------------------------- */

static inline uint64
fe_image_get(FeImageIn *in)
{
	uint64		v = 0;

	for (int shift = 0; in->cur < in->end; shift += 7)
	{
		uint64		byte = (unsigned char) *in->cur++;

		if (shift == 63 && byte > 1)
			break;
		v |= (byte & 0x7F) << shift;
		if (byte < 0x80)
			return v;
	}
	fe_image_fail(in, "an integer is cut off or too large");
	return 0;
}

static inline int64
fe_image_get_signed(FeImageIn *in)
{
	uint64		u = fe_image_get(in);

	return (int64) (u >> 1) ^ -(int64) (u & 1);
}

static inline int128
fe_image_get_int128(FeImageIn *in)
{
	uint128		u = 0;

	for (int shift = 0; in->cur < in->end; shift += 7)
	{
		uint128		byte = (unsigned char) *in->cur++;

		if (shift == 126 && byte > 3)
			break;
		u |= (byte & 0x7F) << shift;
		if (byte < 0x80)
			return (int128) (u >> 1) ^ -(int128) (u & 1);
	}
	fe_image_fail(in, "an integer is cut off or too large");
	return 0;
}

/* A signed number that must be one of `bits` bits, sign included. */
static inline int64
fe_image_get_narrow(FeImageIn *in, int bits)
{
	int64		v = fe_image_get_signed(in);
	int64		limit = INT64CONST(1) << (bits - 1);

	if (v < -limit || v >= limit)
	{
		fe_image_fail(in, "a number is out of range");
		return 0;
	}
	return v;
}

/* A count of things of which each takes so many bytes of the image at least. */
static inline uint32
fe_image_get_count(FeImageIn *in, Size least)
{
	uint64		n = fe_image_get(in);

	if (n > (Size) (in->end - in->cur) / least || n > PG_INT32_MAX)
	{
		fe_image_fail(in, "a count is too large");
		return 0;
	}
	return (uint32) n;
}

/* The next len bytes, or NULL. */
static inline const char *
fe_image_get_bytes(FeImageIn *in, uint64 len)
{
	const char *bytes = in->cur;

	if (len > (Size) (in->end - in->cur))
	{
		fe_image_fail(in, "bytes are missing");
		return NULL;
	}
	in->cur += len;
	return bytes;
}

static inline uint64
fe_image_get_fixed(FeImageIn *in, int n)
{
	const char *bytes = fe_image_get_bytes(in, n);
	uint64		v = 0;

	if (bytes == NULL)
		return 0;
	for (int i = 0; i < n; i++)
		v |= (uint64) (unsigned char) bytes[i] << (8 * i);
	return v;
}

/* ---- parts that kinds have in common (exact.c, value_image.c) ---------------- */

extern void fe_exact_write(FeRef ref, StringInfo out);
/* heap NULL: checks only. */
extern void fe_exact_read(FeHeap *heap, FeRef *ref, FeImageIn *in);

#endif							/* FE_IMAGE_H */
