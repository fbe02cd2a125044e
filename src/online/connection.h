/*
 * connection.h
 *		One connection to Redis: commands out, replies in, never blocking.
 *
 * Private to the room.  hiredis is only the reply parser; the socket is ours,
 * and every wait goes through fe_worker_wait (latch, interrupts, socket).
 * Network failures are never raised: functions return false, fe_redis_error()
 * tells why, and the connection is closed.
 */
#ifndef FE_ONLINE_CONNECTION_H
#define FE_ONLINE_CONNECTION_H

#include "postgres.h"
#include <hiredis/hiredis.h>

#include "lib/stringinfo.h"
#include "online/url.h"
#include "runtime/runtime.h"

#define FE_REDIS_CONNECT_TIMEOUT	5000	/* ms, per address */
#define FE_REDIS_REPLY_TIMEOUT		10000	/* ms of silence while replies are owed */

/* Lua scripts, loaded at connection (scripts.c). */
typedef enum FeRedisScript
{
	FE_SCRIPT_PUSH,				/* set an entity's fields, with conditions */
	FE_SCRIPT_GONE,				/* take a view's fields out of a shared key */
	FE_SCRIPT_STALE,			/* delete a key if it is one of ours */
	FE_NSCRIPTS
} FeRedisScript;

extern const char *const fe_redis_scripts[FE_NSCRIPTS];

typedef struct FeRedis
{
	pgsocket	sock;			/* PGINVALID_SOCKET = none */
	bool		up;				/* connected and set up */
	redisReader *reader;
	StringInfoData out;			/* commands; the first out_sent bytes are gone */
	int			out_sent;
	uint64		owed;			/* replies not yet returned by fe_redis_reply */
	TimestampTz last_received;	/* or when the first owed command was written */
	char		run_id[64];		/* "" = the server does not tell */
	char		sha[FE_NSCRIPTS][41];
	char		error[FE_ERROR_LEN];

	/* waits while a connection is set up, as fe_worker_wait; NULL: that */
	int			(*wait) (void *arg, long timeout, pgsocket sock, int events);
	void	   *wait_arg;
} FeRedis;

extern FeRedis *fe_redis_create(MemoryContext cxt);
/* Connects, authenticates, selects the database, loads the scripts, asks for
 * the run id.  Takes up to some timeouts, waited for by r->wait; interruptible. */
extern bool fe_redis_connect(FeRedis *r, const FeRedisUrl *url);
extern void fe_redis_close(FeRedis *r);
/* Waits for all replies that are owed, throws them away and closes. */
extern void fe_redis_finish(FeRedis *r);

static inline bool
fe_redis_connected(const FeRedis *r)
{
	return r->up;
}

/* Bytes that the server has not taken yet. */
static inline int
fe_redis_unsent(const FeRedis *r)
{
	return r->out.len - r->out_sent;
}

/* resolve.c: getaddrinfo()'s code and result (freeaddrinfo it); interruptible,
 * takes FE_REDIS_CONNECT_TIMEOUT at most. */
struct addrinfo;
extern int	fe_resolve(FeRedis *r, const char *host, int port, struct addrinfo **result);
/* Waits on behalf of a connection that is being set up. */
extern int	fe_redis_wait(FeRedis *r, long timeout, pgsocket sock, int events);

/* Building a command: its head, then argc arguments; binary-safe. */
extern void fe_redis_begin(StringInfo out, int argc);
extern void fe_redis_arg(StringInfo out, const char *data, Size len);
extern void fe_redis_arg_str(StringInfo out, const char *str);
extern void fe_redis_arg_int(StringInfo out, int64 value);
/* Tells that commands with n replies were appended to r->out. */
extern void fe_redis_sent(FeRedis *r, int n);

/* Sends and receives what is possible without waiting. */
extern bool fe_redis_pump(FeRedis *r);
/* Next complete reply (freeReplyObject it), or NULL: none yet or broken. */
extern redisReply *fe_redis_reply(FeRedis *r);
/* Socket events worth waiting for. */
extern int	fe_redis_events(const FeRedis *r);
/* Milliseconds until the server counts as dead, -1 = it owes nothing. */
extern long fe_redis_patience(const FeRedis *r);

#endif							/* FE_ONLINE_CONNECTION_H */
