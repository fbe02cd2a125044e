/*
 * connection.c
 *		One connection to Redis.  Runs in the pusher worker; takes no locks.
 *
 * Commands are appended to an output buffer and leave it as the socket allows;
 * replies are fed to hiredis's reader as they come.  Sending and receiving
 * always go together, so that neither side can wait for the other with full
 * buffers.  Only the set-up of a connection waits in here, by a function of the
 * caller's, who may have other work to do meanwhile.
 *
 * hiredis 0.14 to 1.x: nothing but redisReaderCreate, Feed, GetReply, Free and
 * freeReplyObject is used.
 */
#include "postgres.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "miscadmin.h"
#include "online/connection.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define RECEIVE_CHUNK	65536
#define OUT_KEEP		(256 * 1024)	/* an emptied buffer above this is shrunk */

FeRedis *
fe_redis_create(MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FeRedis    *r = palloc0(sizeof(FeRedis));

	r->sock = PGINVALID_SOCKET;
	initStringInfo(&r->out);
	MemoryContextSwitchTo(old);
	return r;
}

void
fe_redis_close(FeRedis *r)
{
	if (r->sock != PGINVALID_SOCKET)
	{
		closesocket(r->sock);
		ReleaseExternalFD();
		r->sock = PGINVALID_SOCKET;
	}
	if (r->reader)
	{
		redisReaderFree(r->reader);
		r->reader = NULL;
	}
	resetStringInfo(&r->out);
	r->out_sent = 0;
	r->owed = 0;
	r->up = false;
}

static bool
has_socket(const FeRedis *r)
{
	return r->sock != PGINVALID_SOCKET;
}

/* While a connection is being set up. */
int
fe_redis_wait(FeRedis *r, long timeout, pgsocket sock, int events)
{
	return r->wait ? r->wait(r->wait_arg, timeout, sock, events) :
		fe_worker_wait(timeout, sock, events);
}

/* Records why and closes.  Always false. */
static bool pg_attribute_printf(2, 3)
fail(FeRedis *r, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	vsnprintf(r->error, sizeof(r->error), fmt, args);
	va_end(args);
	fe_redis_close(r);
	return false;
}

/* ---- commands ----------------------------------------------------------- */

/* A RESP length line: a type character, a number, CRLF. */
static void
append_length(StringInfo out, char type, uint64 n)
{
	char		buf[24];
	char	   *p = buf + sizeof(buf);

	*--p = '\n';
	*--p = '\r';
	do
	{
		*--p = '0' + n % 10;
		n /= 10;
	} while (n > 0);
	*--p = type;
	appendBinaryStringInfo(out, p, buf + sizeof(buf) - p);
}

void
fe_redis_begin(StringInfo out, int argc)
{
	append_length(out, '*', argc);
}

void
fe_redis_arg(StringInfo out, const char *data, Size len)
{
	append_length(out, '$', len);
	enlargeStringInfo(out, len + 2);
	memcpy(out->data + out->len, data, len);
	memcpy(out->data + out->len + len, "\r\n", 3);
	out->len += len + 2;
}

void
fe_redis_arg_str(StringInfo out, const char *str)
{
	fe_redis_arg(out, str, strlen(str));
}

void
fe_redis_arg_int(StringInfo out, int64 value)
{
	char		buf[24];

	snprintf(buf, sizeof(buf), INT64_FORMAT, value);
	fe_redis_arg_str(out, buf);
}

void
fe_redis_sent(FeRedis *r, int n)
{
	if (r->owed == 0)
		r->last_received = GetCurrentTimestamp();
	r->owed += n;
}

/* ---- input and output --------------------------------------------------- */

static bool
send_some(FeRedis *r)
{
	while (fe_redis_unsent(r) > 0)
	{
		ssize_t		n = send(r->sock, r->out.data + r->out_sent, fe_redis_unsent(r),
							 MSG_NOSIGNAL);

		if (n < 0)
		{
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN || errno == EWOULDBLOCK)
				return true;
			return fail(r, "could not send to Redis: %s", strerror(errno));
		}
		r->out_sent += n;
	}

	/* All gone: start over, and give back what an unusual entity needed. */
	resetStringInfo(&r->out);
	r->out_sent = 0;
	if (r->out.maxlen > OUT_KEEP * 16)
	{
		r->out.data = repalloc(r->out.data, OUT_KEEP);
		r->out.maxlen = OUT_KEEP;
	}
	return true;
}

static bool
receive_some(FeRedis *r)
{
	static char buf[RECEIVE_CHUNK];

	for (;;)
	{
		ssize_t		n = recv(r->sock, buf, sizeof(buf), 0);

		if (n == 0)
			return fail(r, "Redis closed the connection");
		if (n < 0)
		{
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN || errno == EWOULDBLOCK)
				return true;
			return fail(r, "could not receive from Redis: %s", strerror(errno));
		}
		r->last_received = GetCurrentTimestamp();
		if (redisReaderFeed(r->reader, buf, n) != REDIS_OK)
			return fail(r, "could not keep a reply of Redis: %s", r->reader->errstr);
		if (n < sizeof(buf))
			return true;
	}
}

bool
fe_redis_pump(FeRedis *r)
{
	if (!has_socket(r))
		return false;
	/* the part already sent must not pile up behind a slow server */
	if (r->out_sent > OUT_KEEP && r->out_sent > r->out.len / 2)
	{
		r->out.len -= r->out_sent;
		memmove(r->out.data, r->out.data + r->out_sent, r->out.len + 1);
		r->out_sent = 0;
	}
	if (!send_some(r) || !receive_some(r))
		return false;
	if (fe_redis_patience(r) == 0)
		return fail(r, "Redis did not reply within %d seconds", FE_REDIS_REPLY_TIMEOUT / 1000);
	return true;
}

redisReply *
fe_redis_reply(FeRedis *r)
{
	void	   *reply = NULL;

	if (!has_socket(r))
		return NULL;
	if (redisReaderGetReply(r->reader, &reply) != REDIS_OK)
	{
		fail(r, "could not understand a reply of Redis: %s", r->reader->errstr);
		return NULL;
	}
	if (reply == NULL)
		return NULL;
	if (r->owed == 0)
	{
		freeReplyObject(reply);
		fail(r, "Redis sent a reply to no command");
		return NULL;
	}
	r->owed--;
	return reply;
}

int
fe_redis_events(const FeRedis *r)
{
	return WL_SOCKET_READABLE | (fe_redis_unsent(r) > 0 ? WL_SOCKET_WRITEABLE : 0);
}

long
fe_redis_patience(const FeRedis *r)
{
	TimestampTz deadline;

	if (r->owed == 0 || !has_socket(r))
		return -1;
	deadline = TimestampTzPlusMilliseconds(r->last_received, FE_REDIS_REPLY_TIMEOUT);
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
}

/* ---- setting up --------------------------------------------------------- */

/* Waits for the end of a connect() under way. */
static bool
finish_connect(FeRedis *r, const char *where)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   FE_REDIS_CONNECT_TIMEOUT);
	int			error = 0;
	socklen_t	len = sizeof(error);

	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (left <= 0)
			return fail(r, "could not connect to Redis at %s: timeout", where);
		if (fe_redis_wait(r, left, r->sock, WL_SOCKET_CONNECTED) & WL_SOCKET_CONNECTED)
			break;
	}
	if (getsockopt(r->sock, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error != 0)
		return fail(r, "could not connect to Redis at %s: %s", where, strerror(error));
	return true;
}

static bool
open_socket(FeRedis *r, const struct sockaddr *addr, socklen_t addrlen, const char *where)
{
	int			on = 1;

	if (!AcquireExternalFD())
		return fail(r, "could not connect to Redis: too many open files");
	r->sock = socket(addr->sa_family, SOCK_STREAM, 0);
	if (r->sock == PGINVALID_SOCKET)
	{
		ReleaseExternalFD();
		return fail(r, "could not create a socket: %s", strerror(errno));
	}
	if (!pg_set_noblock(r->sock) || fcntl(r->sock, F_SETFD, FD_CLOEXEC) < 0)
		return fail(r, "could not set up a socket: %s", strerror(errno));
	if (addr->sa_family != AF_UNIX)
	{
		setsockopt(r->sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(r->sock, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	}
	if (connect(r->sock, addr, addrlen) == 0)
		return true;
	if (errno == EINPROGRESS || errno == EINTR)
		return finish_connect(r, where);
	return fail(r, "could not connect to Redis at %s: %s", where, strerror(errno));
}

static bool
open_unix(FeRedis *r, const FeRedisUrl *url)
{
	struct sockaddr_un addr;

	memset(&addr, 0, sizeof(addr));
	addr.sun_family = AF_UNIX;
	if (strlcpy(addr.sun_path, url->path, sizeof(addr.sun_path)) >= sizeof(addr.sun_path))
		return fail(r, "the path of Redis's socket is too long");
	return open_socket(r, (struct sockaddr *) &addr, sizeof(addr), url->path);
}

static bool
open_tcp(FeRedis *r, const FeRedisUrl *url)
{
	struct addrinfo *list = NULL;
	struct addrinfo *a;
	char		where[300];
	int			rc;

	snprintf(where, sizeof(where), "%s:%d", url->host, url->port);
	rc = fe_resolve(r, url->host, url->port, &list);
	if (rc != 0)
		return fail(r, "could not resolve Redis host name \"%s\": %s", url->host,
					gai_strerror(rc));

	PG_TRY();
	{
		for (a = list; a != NULL; a = a->ai_next)
			if (open_socket(r, a->ai_addr, a->ai_addrlen, where))
				break;
	}
	PG_FINALLY();
	{
		freeaddrinfo(list);
	}
	PG_END_TRY();
	return has_socket(r);
}

/* A command and its reply, waiting for it; NULL = broken. */
static redisReply *
call(FeRedis *r, int argc, const char *const *argv)
{
	fe_redis_begin(&r->out, argc);
	for (int i = 0; i < argc; i++)
		fe_redis_arg_str(&r->out, argv[i]);
	fe_redis_sent(r, 1);

	for (;;)
	{
		redisReply *reply;

		if (!fe_redis_pump(r))
			return NULL;
		reply = fe_redis_reply(r);
		if (reply != NULL || !has_socket(r))
			return reply;
		fe_redis_wait(r, fe_redis_patience(r), r->sock, fe_redis_events(r));
	}
}

void
fe_redis_finish(FeRedis *r)
{
	while (r->owed > 0 && fe_redis_pump(r))
	{
		redisReply *reply = fe_redis_reply(r);

		if (reply != NULL)
			freeReplyObject(reply);
		else if (has_socket(r))
			fe_worker_wait(fe_redis_patience(r), r->sock, fe_redis_events(r));
	}
	fe_redis_close(r);
}

/* The same where an error is a failure to connect; what says of which step. */
static redisReply *
must_call(FeRedis *r, int argc, const char *const *argv, const char *what)
{
	redisReply *reply = call(r, argc, argv);

	if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
	{
		fail(r, "%s: %s", what, reply->str);
		freeReplyObject(reply);
		return NULL;
	}
	return reply;
}

static bool
authenticate(FeRedis *r, const FeRedisUrl *url)
{
	const char *with_user[] = {"AUTH", url->user, url->password};
	const char *default_user[] = {"AUTH", url->password};
	redisReply *reply;

	if (!url->has_auth)
		return true;
	if (url->user[0] != '\0')
		reply = must_call(r, 3, with_user, "Redis refused the user or password");
	else
		reply = must_call(r, 2, default_user, "Redis refused the password");
	if (reply == NULL)
		return false;
	freeReplyObject(reply);
	return true;
}

static bool
select_database(FeRedis *r, int db)
{
	char		number[16];
	const char *argv[] = {"SELECT", number};
	redisReply *reply;

	if (db == 0)
		return true;
	snprintf(number, sizeof(number), "%d", db);
	reply = must_call(r, 2, argv, "could not select the Redis database");
	if (reply == NULL)
		return false;
	freeReplyObject(reply);
	return true;
}

static bool
load_scripts(FeRedis *r)
{
	for (int i = 0; i < FE_NSCRIPTS; i++)
	{
		const char *argv[] = {"SCRIPT", "LOAD", fe_redis_scripts[i]};
		redisReply *reply = must_call(r, 3, argv, "could not load a script into Redis");

		if (reply == NULL)
			return false;
		if (reply->type == REDIS_REPLY_STRING)
			strlcpy(r->sha[i], reply->str, sizeof(r->sha[i]));
		freeReplyObject(reply);
	}
	return true;
}

/*
 * The run id changes when the server process does.  A user who may not ask is
 * no failure: then every connection counts as one to a new server.
 */
static bool
read_run_id(FeRedis *r)
{
	const char *argv[] = {"INFO", "server"};
	redisReply *reply = call(r, 2, argv);
	const char *id;

	r->run_id[0] = '\0';
	if (reply == NULL)
		return false;
	if (reply->type == REDIS_REPLY_STRING && (id = strstr(reply->str, "run_id:")) != NULL)
	{
		id += strlen("run_id:");
		strlcpy(r->run_id, id, Min(sizeof(r->run_id), strcspn(id, "\r\n") + 1));
	}
	freeReplyObject(reply);
	return true;
}

bool
fe_redis_connect(FeRedis *r, const FeRedisUrl *url)
{
	fe_redis_close(r);
	r->error[0] = '\0';
	if (url->tls)
		return fail(r, "TLS connections to Redis (rediss://) are not supported by this version");
	r->reader = redisReaderCreate();
	if (r->reader == NULL)
		return fail(r, "out of memory");
	if (!(url->is_unix ? open_unix(r, url) : open_tcp(r, url)))
		return false;
	/* open_tcp closes between addresses */
	if (r->reader == NULL && (r->reader = redisReaderCreate()) == NULL)
		return fail(r, "out of memory");
	r->up = authenticate(r, url) && select_database(r, url->db) &&
		read_run_id(r) && load_scripts(r);
	return r->up;
}
