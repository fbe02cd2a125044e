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

/* Where evaluated vectors go. */
typedef enum FeSink
{
	FE_SINK_REDIS,
	FE_SINK_HISTORY
} FeSink;
#define FE_SINKS	2
/*
 * Waiting for a sink.  A ticket stands for "every entity that is dirty now, of
 * every live view that goes there"; fe_online_done says whether Redis has
 * confirmed them all, or the history's transactions are committed (values may be
 * newer than at the ticket's time).  Views that are not live yet are not waited
 * for.  A caller that waits for its own commits first waits for
 * FeDatabase.applied_lsn, then takes a ticket, then waits on FeDatabase.progress,
 * which is broadcast when tickets are done.
 *
 * fe_online_ticket: ERROR for Redis when feature_engine.redis_url is empty.
 * Wakes the pusher.  While the sink is out of reach, or refuses an entity, no
 * ticket of its gets done.
 */
extern uint64 fe_online_ticket(FeDatabase *db, FeSink sink);
extern bool fe_online_done(FeDatabase *db, FeSink sink, uint64 ticket);

#endif							/* FE_ONLINE_H */
