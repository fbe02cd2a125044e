/*
 * sentinel.c
 *		Noticing that Redis was emptied.  Runs in the pusher; no locks.
 *
 * FLUSHALL and FLUSHDB leave the connection and the server's run id as they
 * are.  So each database keeps one key of its own in Redis, without an expiry,
 * set before anything else is pushed; every few seconds it is read (GET and not
 * EXISTS, which would not count as use under an LRU policy).  When it is gone,
 * so may be everything else: it is set again, and then everything is pushed
 * again.  A flush between the two takes the new key with it and is noticed next
 * time.  The same question is the sign of life that an idle server owes.
 *
 * A user that may not touch the key (an ACL) gets everything but this.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "online/pusher.h"
#include "utils/timestamp.h"

#define CHECK_INTERVAL	5000	/* ms */

/* feature_engine:<system identifier>:<database oid> */
static void
begin_command(FePusher *p, const char *command, int argc)
{
	StringInfo	out = &p->redis->out;
	char		key[64];

	snprintf(key, sizeof(key), "feature_engine:" UINT64_FORMAT ":%u", GetSystemIdentifier(),
			 MyDatabaseId);
	fe_redis_begin(out, argc);
	fe_redis_arg_str(out, command);
	fe_redis_arg_str(out, key);
}

void
fe_sentinel_begin(FePusher *p, bool fill)
{
	p->sentinel.asked = false;
	if (fill)
		p->sentinel.set = false;
	p->sentinel.next = GetCurrentTimestamp();
}

void
fe_sentinel_step(FePusher *p, TimestampTz now)
{
	FeSentinel *s = &p->sentinel;

	if (s->asked || now < s->next || !fe_flight_has_room(p))
		return;
	if (s->set)
		begin_command(p, "GET", 2);
	else
	{
		begin_command(p, "SET", 3);
		fe_redis_arg_str(&p->redis->out, "1");
	}
	fe_flight_add(p, s->set ? FE_UNIT_CHECK : FE_UNIT_MARK, 1, NULL, NULL, false);
	s->asked = true;
	s->next = TimestampTzPlusMilliseconds(now, CHECK_INTERVAL);
}

static void
tell_denied(FePusher *p, const char *error)
{
	if (!p->sentinel.denied)
		ereport(LOG,
				(errmsg("it will not be noticed when somebody empties Redis: %s", error),
				 errhint("Allow the Redis user of \"feature_engine.redis_url\" the keys feature_engine:*.")));
	p->sentinel.denied = true;
}

bool
fe_sentinel_reply(FePusher *p, FeUnitKind kind, const redisReply *reply, const char *error)
{
	FeSentinel *s = &p->sentinel;

	s->asked = false;
	if (error != NULL)
	{
		tell_denied(p, error);
		s->set = false;
		return false;
	}
	s->denied = false;
	if (kind == FE_UNIT_MARK)
		s->set = true;
	else if (reply->type == REDIS_REPLY_NIL)
	{
		ereport(LOG, (errmsg("Redis was emptied; all features are pushed again")));
		s->set = false;
		s->next = GetCurrentTimestamp();
		return true;
	}
	return false;
}

void
fe_sentinel_remove(FePusher *p)
{
	if (!fe_redis_connected(p->redis))
		return;
	begin_command(p, "DEL", 2);
	fe_redis_sent(p->redis, 1);
	fe_redis_finish(p->redis);
}
