/*
 * online.h
 *		What other rooms may use of the online store (Redis).
 *
 * The pusher worker (fe_pusher_worker_main, declared in runtime.h) serves one
 * database.  It starts when the ingest worker asks for it (fe_request_pusher)
 * and ends by itself, with exit code 0, when no feature view has a history and
 * feature_engine.redis_url is empty or none goes to Redis any more.
 */
#ifndef FE_ONLINE_H
#define FE_ONLINE_H

#include "runtime/runtime.h"

extern void fe_online_init(void);	/* from _PG_init: shared memory */

/*
 * Entities have become dirty, or views have changed: the pusher looks at once.
 * Any process; cheap; takes FeDatabase.mutex for an instant.
 */
extern void fe_online_wake(FeDatabase *db);

/*
 * Waiting for Redis.  A ticket stands for "every entity that is dirty now, of
 * every live view that goes to Redis"; fe_online_done says whether Redis has
 * confirmed them all (values may be newer than at the ticket's time).  Views
 * that are not live yet are not waited for.  A caller that waits for its own
 * commits first waits for FeDatabase.applied_lsn, then takes a ticket, then
 * waits on FeDatabase.progress, which is broadcast when tickets are done.
 *
 * fe_online_ticket: ERROR when feature_engine.redis_url is empty.  Wakes the
 * pusher.  While Redis is down, or refuses an entity, no ticket gets done.
 */
extern uint64 fe_online_ticket(FeDatabase *db);
extern bool fe_online_done(FeDatabase *db, uint64 ticket);

/* The same for the history of every live view that has one; with or without Redis. */
extern uint64 fe_online_history_ticket(FeDatabase *db);
extern bool fe_online_history_done(FeDatabase *db, uint64 ticket);

#endif							/* FE_ONLINE_H */
