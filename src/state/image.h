/*
 * image.h
 *		The byte form of one entity, and of a chunk of many (private to state).
 *
 * A chunk, integers fixed, lowest byte first:
 *
 *	 0	uint32	FE_CHUNK_MAGIC
 *	 4	uint32	CRC-32C of all that follows
 *	 8	uint16	FE_CHUNK_VERSION
 *	10	uint8	byte order of values by reference: 'l' or 'b'
 *	11	uint8	number of tracks
 *	12	uint32	length of the chunk
 *	16	int32	state version of the plan
 *	20	uint32	number of entities
 *	24	uint64	fingerprint of the layout (fe_layout_fingerprint)
 *	32	int64	cut-off of each track: older events were dropped already
 *	..	entities, each after the length of its image (image.h's integer)
 */
#ifndef FE_STATE_IMAGE_H
#define FE_STATE_IMAGE_H

#include "aggregate/image.h"
#include "state/internal.h"

#define FE_CHUNK_MAGIC		0x4D494546	/* "FEIM" */
#define FE_CHUNK_VERSION	1
#define FE_CHUNK_HEADER		32	/* without the cut-offs */
#define FE_CHUNK_CHECKED	8	/* where the check sum begins */

#ifdef WORDS_BIGENDIAN
#define FE_CHUNK_BYTE_ORDER 'b'
#else
#define FE_CHUNK_BYTE_ORDER 'l'
#endif

/* ---- one entity (image.c) ------------------------------------------------ */

/* An image being read. */
typedef struct FeEntityImage
{
	XLogRecPtr	lsn;
	bool		tombstone;
	bool		nullkey;
	const char *key;			/* in the image: perhaps not aligned */
	uint32		keylen;
	const char *content;		/* what follows the key */
	FeImageIn	in;				/* error, room, largest */
} FeEntityImage;

/* Appends an entity's image; FE_ENTITY_TOMBSTONE decides about its form. */
extern void fe_image_write(const FeLayout *layout, const FeEntity *e, StringInfo out);

/*
 * Reading: open looks at head and key, check at everything else (it may call
 * types' comparison functions, and leaves the memory needed in image->in), build
 * fills an empty entity, which cannot fail after a check and with room.  False:
 * image->in.error says why.  Close frees local memory.
 */
extern bool fe_image_open(FeEntityImage *image, const char *data, Size len);
extern bool fe_image_check(const FeLayout *layout, FeEntityImage *image);
extern void fe_image_build(FeHeap *heap, const FeLayout *layout, FeEntityImage *image,
						   FeEntity *e);
extern void fe_image_close(FeEntityImage *image);

/* ---- chunks (chunk.c) ------------------------------------------------------ */

typedef struct FeChunk
{
	int32		state_version;
	uint64		fingerprint;
	uint32		nentities;
	int			ntracks;
	int64		cutoff[FE_MAX_TRACKS];
	const char *entities;
	const char *end;
} FeChunk;

/* Makes room for a header in an empty buffer; fe_chunk_finish fills it in. */
extern void fe_chunk_begin(StringInfo out, int ntracks);
extern void fe_chunk_add(StringInfo out, const FeLayout *layout, const FeEntity *e,
						 StringInfo scratch);
extern void fe_chunk_finish(StringInfo out, const FeChunk *header);
/* False, with the reason: no chunk, or not an intact one, or of another form. */
extern bool fe_chunk_open(FeChunk *chunk, const char *data, Size len, const char **why);
/* The next image from *pos (chunk->entities at first) on; false at the end or
 * with *why set. */
extern bool fe_chunk_next(const FeChunk *chunk, const char **pos, const char **image, Size *len,
						  const char **why);
/*
 * What images depend on beside the definition, which the state version stands
 * for: grids, kinds, how types are stored.
 */
extern uint64 fe_layout_fingerprint(const FePlan *plan);

#endif							/* FE_STATE_IMAGE_H */
