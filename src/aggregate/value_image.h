/*
 * value_image.h
 *		Sequences of values in the byte form of state (private to this room).
 *
 * By value: integers as the difference from the value before, floats as their
 * bytes.  By reference: bytes, for a varlena after their number.
 */
#ifndef FE_VALUE_IMAGE_H
#define FE_VALUE_IMAGE_H

#include "aggregate/image.h"
#include "aggregate/value.h"

/* Where a sequence of values is; the first comes after a 0. */
typedef struct FeValueChain
{
	const FeAccSpec *spec;
	int64		last;			/* integers */
	int			turn;			/* of the scratch areas */
	FeValueProbe probe;			/* the value just read */
	FeValueProbe before;		/* and the one before it */
} FeValueChain;

extern void fe_value_chain_init(FeValueChain *chain, const FeAccSpec *spec);
extern void fe_value_write(FeValueChain *chain, Datum value, StringInfo out);
/*
 * The next value into chain->probe; false: in->error says why not.  Values by
 * reference are in in->scratch, until the next but one is read.
 */
extern bool fe_value_read(FeValueChain *chain, FeImageIn *in);
/* Of the last two values read: does the second come after the first? */
extern bool fe_value_ascends(const FeValueChain *chain);

#endif							/* FE_VALUE_IMAGE_H */
