/*
 * url.h
 *		Connection URLs of Redis, parsed without touching anything else.
 *
 * Pure C: compiles in the server and, with FE_FRONTEND, in unit tests.
 */
#ifndef FE_ONLINE_URL_H
#define FE_ONLINE_URL_H

#include <stdbool.h>

#define FE_REDIS_DEFAULT_PORT	6379

typedef struct FeRedisUrl
{
	bool		is_unix;		/* path counts, else host and port */
	bool		tls;			/* rediss:// */
	bool		has_auth;		/* AUTH [user] password */
	int			port;
	int			db;
	char		host[256];
	char		path[108];		/* of a sockaddr_un */
	char		user[256];		/* "" = the default user */
	char		password[4096];
} FeRedisUrl;

/*
 * Accepts
 *		redis://[[user][:password]@]host[:port][/db]	(rediss:// for TLS)
 *		unix://[[user][:password]@]/path[?db=n]
 * where user, password, host and path may be %XX-encoded, and ?db=n may stand
 * for /db.  False: *error is a static text that quotes nothing of the URL, which
 * may hold a password.
 */
extern bool fe_redis_url_parse(const char *url, FeRedisUrl *out, const char **error);

#endif							/* FE_ONLINE_URL_H */
