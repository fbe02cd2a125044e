/*
 * url.c
 *		Connection URLs of Redis.  Pure functions, any process, no locks.
 *
 * The text is cut from the left: scheme, authority (user, password, host,
 * port), path, query.  As in RFC 3986 the authority ends at the first '/', '?'
 * or '#', so such characters in a password must be %XX-encoded; an '@' need
 * not be, since the last one before that end counts.
 */
#ifdef FE_FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include <limits.h>

#include "online/url.h"

/* A stretch of the URL. */
typedef struct Span
{
	const char *p;
	size_t		len;
} Span;

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Copies with %XX resolved; false when malformed, holding a NUL or too long. */
static bool
decode(Span in, char *out, size_t outsize)
{
	size_t		n = 0;
	size_t		i;

	for (i = 0; i < in.len; i++)
	{
		char		c = in.p[i];

		if (c == '%')
		{
			int			hi = i + 2 < in.len ? hex_digit(in.p[i + 1]) : -1;
			int			lo = hi >= 0 ? hex_digit(in.p[i + 2]) : -1;

			if (lo < 0)
				return false;
			c = (char) (hi * 16 + lo);
			i += 2;
		}
		if (c == '\0' || n + 1 >= outsize)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return true;
}

/* A decimal number of at most max. */
static bool
number(Span in, int max, int *result)
{
	long		value = 0;
	size_t		i;

	if (in.len == 0 || in.len > 9)
		return false;
	for (i = 0; i < in.len; i++)
	{
		if (in.p[i] < '0' || in.p[i] > '9')
			return false;
		value = value * 10 + (in.p[i] - '0');
	}
	if (value > max)
		return false;
	*result = (int) value;
	return true;
}

/* Where the first of the characters stands, or the end. */
static size_t
find_any(Span in, const char *chars)
{
	size_t		i;

	for (i = 0; i < in.len; i++)
		if (strchr(chars, in.p[i]) != NULL)
			return i;
	return in.len;
}

/* Takes the first n characters off. */
static Span
take(Span *in, size_t n)
{
	Span		head = {in->p, n};

	in->p += n;
	in->len -= n;
	return head;
}

static const char *
parse_userinfo(Span info, FeRedisUrl *out)
{
	Span		user = take(&info, find_any(info, ":"));

	if (info.len > 0)
		take(&info, 1);			/* the colon */
	if (!decode(user, out->user, sizeof(out->user)))
		return "invalid user name";
	if (!decode(info, out->password, sizeof(out->password)))
		return "invalid password (special characters must be %-encoded)";
	out->has_auth = out->user[0] != '\0' || out->password[0] != '\0';
	return NULL;
}

/* host, host:port, [v6], [v6]:port */
static const char *
parse_host(Span in, FeRedisUrl *out)
{
	Span		host;

	if (in.len > 0 && in.p[0] == '[')
	{
		take(&in, 1);
		host = take(&in, find_any(in, "]"));
		if (in.len == 0)
			return "missing \"]\" after an IPv6 address";
		take(&in, 1);
		if (in.len > 0 && in.p[0] != ':')
			return "invalid port number";
	}
	else
		host = take(&in, find_any(in, ":"));

	if (in.len > 0)
	{
		take(&in, 1);			/* the colon */
		if (!number(in, 65535, &out->port) || out->port == 0)
			return "invalid port number";
	}
	if (host.len == 0)
		host.p = "localhost", host.len = strlen("localhost");
	if (!decode(host, out->host, sizeof(out->host)) || out->host[0] == '\0')
		return "invalid host name";
	return NULL;
}

/* What follows '?': only db=n is known. */
static const char *
parse_query(Span in, FeRedisUrl *out)
{
	while (in.len > 0)
	{
		Span		item = take(&in, find_any(in, "&"));

		if (in.len > 0)
			take(&in, 1);
		if (item.len < 3 || strncmp(item.p, "db=", 3) != 0)
			return "unknown parameter (only db is known)";
		take(&item, 3);
		if (!number(item, INT_MAX, &out->db))
			return "invalid database number";
	}
	return NULL;
}

static bool
take_scheme(Span *in, const char *scheme)
{
	size_t		len = strlen(scheme);

	if (in->len < len || pg_strncasecmp(in->p, scheme, len) != 0)
		return false;
	take(in, len);
	return true;
}

static const char *
parse(const char *url, FeRedisUrl *out)
{
	Span		in = {url, strlen(url)};
	Span		authority;
	Span		path;
	size_t		at;
	const char *error;

	if (take_scheme(&in, "unix://"))
		out->is_unix = true;
	else if (take_scheme(&in, "rediss://"))
		out->tls = true;
	else if (!take_scheme(&in, "redis://"))
		return "it must begin with redis://, rediss:// or unix://";

	authority = take(&in, find_any(in, "/?#"));
	path = take(&in, find_any(in, "?#"));

	for (at = authority.len; at > 0 && authority.p[at - 1] != '@'; at--)
		 /* find the last '@' */ ;
	if (at > 0)
	{
		Span		info = take(&authority, at);

		info.len--;				/* without the '@' */
		if ((error = parse_userinfo(info, out)) != NULL)
			return error;
	}

	if (out->is_unix)
	{
		if (authority.len > 0 || path.len == 0)
			return "unix:// must be followed by an absolute path";
		if (!decode(path, out->path, sizeof(out->path)))
			return "invalid or too long socket path";
	}
	else
	{
		if ((error = parse_host(authority, out)) != NULL)
			return error;
		if (path.len > 1)
		{
			take(&path, 1);
			if (!number(path, INT_MAX, &out->db))
				return "invalid database number";
		}
	}

	if (in.len > 0 && in.p[0] == '#')
		return "a fragment (\"#\") is not allowed";
	if (in.len > 0)
	{
		take(&in, 1);
		return parse_query(in, out);
	}
	return NULL;
}

bool
fe_redis_url_parse(const char *url, FeRedisUrl *out, const char **error)
{
	memset(out, 0, sizeof(*out));
	out->port = FE_REDIS_DEFAULT_PORT;
	*error = parse(url, out);
	return *error == NULL;
}
