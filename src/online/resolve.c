/*
 * resolve.c
 *		The addresses of a host name, without blocking the pusher.
 *
 * getaddrinfo() may wait for a name server for as long as its configuration
 * says, deaf to latch and signals.  glibc's getaddrinfo_a() does the same in a
 * thread of its own, which has all signals blocked and runs nothing of the
 * server's; we look after it every few milliseconds, with all interrupts
 * served, and give up after a time limit.  A request that cannot be cancelled
 * must stay where it is until it has ended: it is kept, and taken up again by
 * the next try of the same name.  Where the C library has no such function,
 * resolution blocks.
 */
#include "postgres.h"

#include <netdb.h>
#include <sys/socket.h>

#include "miscadmin.h"
#include "online/connection.h"
#include "utils/timestamp.h"

#define POLL_FIRST	1			/* ms, doubling */
#define POLL_MAX	50

#ifdef __GLIBC__

/* What getaddrinfo_a() works on: it must not move. */
typedef struct Request
{
	struct gaicb control;
	struct addrinfo hints;
	char		host[256];
	char		port[12];
} Request;

static Request *current = NULL;	/* under way, NULL = none */

/* malloc, as it may outlive any memory context. */
static Request *
make_request(const char *host, const char *port)
{
	Request    *r = calloc(1, sizeof(Request));

	if (r == NULL)
		return NULL;
	strlcpy(r->host, host, sizeof(r->host));
	strlcpy(r->port, port, sizeof(r->port));
	r->hints.ai_socktype = SOCK_STREAM;
	r->hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
	r->control.ar_name = r->host;
	r->control.ar_service = r->port;
	r->control.ar_request = &r->hints;
	return r;
}

/* One that has ended is freed; one that goes on is left to itself. */
static void
abandon(void)
{
	if (current == NULL)
		return;
	if (gai_cancel(&current->control) != EAI_NOTCANCELED)
	{
		if (gai_error(&current->control) == 0 && current->control.ar_result != NULL)
			freeaddrinfo(current->control.ar_result);
		free(current);
	}
	current = NULL;
}

static int
start(const char *host, const char *port)
{
	struct gaicb *list[1];
	int			rc;

	if (current != NULL && strcmp(current->host, host) == 0 &&
		strcmp(current->port, port) == 0)
		return 0;
	abandon();
	current = make_request(host, port);
	if (current == NULL)
		return EAI_MEMORY;
	list[0] = &current->control;
	rc = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
	if (rc != 0)
	{
		free(current);
		current = NULL;
	}
	return rc;
}

/* The result of the request, waited for; EAI_AGAIN when it takes too long. */
static int
wait_for_result(FeRedis *redis, struct addrinfo **result)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   FE_REDIS_CONNECT_TIMEOUT);
	long		pause = POLL_FIRST;
	int			rc;

	while ((rc = gai_error(&current->control)) == EAI_INPROGRESS)
	{
		if (GetCurrentTimestamp() >= deadline)
			return EAI_AGAIN;
		fe_redis_wait(redis, pause, PGINVALID_SOCKET, 0);
		pause = Min(POLL_MAX, pause * 2);
	}
	*result = rc == 0 ? current->control.ar_result : NULL;
	free(current);
	current = NULL;
	return rc;
}

static int
resolve_name(FeRedis *redis, const char *host, const char *port, struct addrinfo **result)
{
	int			rc = start(host, port);

	return rc == 0 ? wait_for_result(redis, result) : rc;
}

#else

static int
resolve_name(FeRedis *redis, const char *host, const char *port, struct addrinfo **result)
{
	struct addrinfo hints = {0};

	hints.ai_socktype = SOCK_STREAM;
	hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
	return getaddrinfo(host, port, &hints, result);
}

#endif							/* __GLIBC__ */

int
fe_resolve(FeRedis *redis, const char *host, int port, struct addrinfo **result)
{
	struct addrinfo hints = {0};
	char		service[12];
	int			rc;

	*result = NULL;
	snprintf(service, sizeof(service), "%d", port);
	/* a numeric address needs no resolver */
	hints.ai_socktype = SOCK_STREAM;
	hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
	rc = getaddrinfo(host, service, &hints, result);
	return rc == 0 ? 0 : resolve_name(redis, host, service, result);
}
