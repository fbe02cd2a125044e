/*
 * standalone.h
 *		postgres.h, or with FE_FRONTEND the little of it that this room uses, so
 *		that it can be tested without a server.  Internal to the room.
 */
#ifndef FE_STANDALONE_H
#define FE_STANDALONE_H

#ifndef FE_FRONTEND
#include "postgres.h"
#else
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define Assert(condition)	assert(condition)
#define Max(x, y)			((x) > (y) ? (x) : (y))
#define Min(x, y)			((x) < (y) ? (x) : (y))
#define likely(x)			__builtin_expect((x) != 0, 1)
#define unlikely(x)			__builtin_expect((x) != 0, 0)
#define pg_noinline			__attribute__((noinline))
#define InvalidOid			((Oid) 0)
#endif

#endif							/* FE_STANDALONE_H */
