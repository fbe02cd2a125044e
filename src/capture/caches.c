/*
 * caches.c
 *		Keeps the catalogue caches of decoding and of our own transactions apart.
 *
 * In the ingest worker; takes no locks.
 *
 * Decoding fills the relation and catalogue caches under a historic snapshot,
 * the state at the decoded position; our own transactions fill the same caches
 * with the present.  Where the two differ, entries of one must not be met by
 * the other: a row of before an ALTER TABLE would be read with the descriptor
 * of after it.  Throwing all caches away at each switch cures it, for 0.1 ms
 * plus the refilling: too much for every small batch.  So it is done only while
 * past and present can differ, which is while decoding is behind the last
 * catalogue change that we have heard of.
 *
 * How we hear of it: every commit that changed something about a relation sends
 * relation cache invalidations to all sessions, *after* its commit record was
 * inserted.  Our callback notes the insert position then; that is at or past
 * the end of that record.  Once decoding has passed the noted position it has
 * processed the change and executed its invalidations, and past and present
 * agree again.  (Decoding itself executes invalidations, too, and our own
 * flushes call the callbacks: what does not come from the shared queue says
 * nothing new about the present, and is told apart by the count of messages
 * received from there.  A foreign kind of message in between makes us note a
 * position too many, which is harmless.)
 *
 * Why that is sound, though messages come with a delay:
 *
 * - An entry that exists when its message arrives is dropped by that very
 *   message, and rebuilt by whoever runs then, from his own snapshot.
 * - Between a commit's becoming visible and its message, an own transaction
 *   could load the new state, and decoding, entered without a flush, could meet
 *   it.  What decoding depends on (columns, missing values, file node, TOAST
 *   table, replica identity) changes only under ACCESS EXCLUSIVE locks, which
 *   are held until the messages are sent; our transactions open tables with
 *   a lock, and taking it accepts the messages that were sent before.  So
 *   either we see the old state or we have heard of the change.
 * - An own transaction that meets an entry loaded by decoding is as any session
 *   whose message has not come yet: it accepts messages when it starts and when
 *   it locks a table.  If a change's message came earlier, during decoding, then
 *   its position was noted, and leaving decoding flushes.
 *
 * Only relation cache messages are watched: all that decoding loads belongs to
 * relations (class, attributes, indexes, TOAST), whose catalogue rows send one
 * with each change.  Types, functions and the like are loaded by our own
 * transactions alone, in the present.
 *
 * A queue overflow resets all caches and calls the callback as well.  At start,
 * everything is taken to have changed just now.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "capture/internal.h"
#include "storage/sinval.h"
#include "utils/inval.h"

static bool watching = false;
static XLogRecPtr changed_at = InvalidXLogRecPtr;
static uint64 messages_seen = 0;

static void
relation_changed(Datum arg, Oid relid)
{
	if (SharedInvalidMessageCounter == messages_seen)
		return;
	messages_seen = SharedInvalidMessageCounter;
	changed_at = GetXLogInsertRecPtr();
}

/* Called when decoding starts in this process: all may have changed before. */
void
fe_caches_watch(void)
{
	if (!watching)
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	watching = true;
	messages_seen = SharedInvalidMessageCounter;
	changed_at = GetXLogInsertRecPtr();
}

/* Between decoding, which has got to this position, and a transaction. */
void
fe_caches_switch(XLogRecPtr decoded)
{
	if (decoded < changed_at)
		InvalidateSystemCaches();
}
