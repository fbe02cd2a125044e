/*
 * internal.h
 *		Shared by the files of this room, for no other.
 */
#ifndef FE_DURABLE_INTERNAL_H
#define FE_DURABLE_INTERNAL_H

#include "durable/durable.h"

/* Of the rows; chunks have a version of their own. */
#define FE_CHECKPOINT_FORMAT	1

/* SPI must be connected; ERROR unless the result is the expected one. */
extern void fe_durable_execute(const char *sql, int nargs, Oid *types, Datum *values,
							   int expected);

#endif							/* FE_DURABLE_INTERNAL_H */
