/*
 * launcher.h
 *		Between the launcher and its guards; no other room includes this.
 */
#ifndef FE_LAUNCHER_H
#define FE_LAUNCHER_H

#include "runtime/runtime.h"

/* Queues a database to be looked at by its ingest worker. */
extern void fe_launcher_probe(Oid dboid, bool first);

/* Has this database a replication slot of ours? */
extern bool fe_guard_has_slot(Oid dboid);
/* Looks at all slots; true = come back soon, one is being given up. */
extern bool fe_guard_run(TimestampTz now);
/* The launcher must not start the ingest worker: its slot is to be dropped. */
extern bool fe_guard_holds_back(Oid dboid);

/*
 * After the server was restarted: the ingest worker is not started at once, if
 * it was at the same work in several crashes in a row.
 */
extern void fe_crashes_hold_back(FeDatabase *db, TimestampTz now);

#endif							/* FE_LAUNCHER_H */
