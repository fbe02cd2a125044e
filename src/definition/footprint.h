/*
 * footprint.h
 *		What feature views have in Redis, as the database remembers it.
 *
 * A *footprint* is one way in which a view writes to Redis: the structure of
 * its keys, its name and its fields.  The pusher records it before the first
 * push and takes it back when no key of it can be left, so that keys of a view
 * that was dropped or redefined are found again whatever happened meanwhile:
 * Redis down, the pusher killed, the server restarted.
 *
 * All of it runs in a transaction, by the latest snapshot; written as the
 * extension's owner.
 */
#ifndef FE_FOOTPRINT_H
#define FE_FOOTPRINT_H

#include "postgres.h"
#include "nodes/pg_list.h"

typedef struct FeFootprint
{
	int64		id;				/* primary key */
	char	   *view;			/* name, as in the field _lsn:<view> */
	const char *layout;			/* 'hash', 'feast' */
	char	   *template;		/* which keys: a text of that layout's own */
	List	   *fields;			/* String nodes, sorted */
	int64		ttl;			/* ms, of all its keys; 0 = none */
} FeFootprint;

/* All of the database; NIL where the extension is not there (any more). */
extern List *fe_footprint_read(void);
extern bool fe_footprint_any(void);
/* Sets f->id. */
extern void fe_footprint_insert(FeFootprint *f);
extern void fe_footprint_set_ttl(int64 id, int64 ttl);
extern void fe_footprint_delete(int64 id);

#endif							/* FE_FOOTPRINT_H */
