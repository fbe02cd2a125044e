/* links: src/online/url.c */
/*
 * test_url.c
 *		Which connection URLs of Redis are understood, and how.
 */
#include "postgres_fe.h"

#include "online/url.h"
#include "tap.h"

/* Parses and shows the parts that are set. */
static const char *
show(const char *url)
{
	static char buf[8192];
	static FeRedisUrl u;
	const char *error;

	if (!fe_redis_url_parse(url, &u, &error))
		snprintf(buf, sizeof(buf), "error: %s", error);
	else
		snprintf(buf, sizeof(buf), "%s%s db=%d auth=%s user=%s password=%s",
				 u.is_unix ? u.path : psprintf("%s:%d", u.host, u.port),
				 u.tls ? " tls" : "", u.db, u.has_auth ? "yes" : "no", u.user, u.password);
	return buf;
}

static void
is(const char *url, const char *expected)
{
	const char *got = show(url);

	ok(strcmp(got, expected) == 0, url);
	if (strcmp(got, expected) != 0)
		printf("#      got: %s\n# expected: %s\n", got, expected);
}

/* Refused, with a message that holds the given text and no part of the URL. */
static void
refused(const char *url, const char *why)
{
	const char *got = show(url);

	ok(strncmp(got, "error: ", 7) == 0 && strstr(got, why) != NULL, url);
	if (strstr(got, why) == NULL)
		printf("#      got: %s\n", got);
}

int
main(void)
{
	/* TCP */
	is("redis://cache.example", "cache.example:6379 db=0 auth=no user= password=");
	is("redis://cache.example:7000", "cache.example:7000 db=0 auth=no user= password=");
	is("redis://cache.example:7000/3", "cache.example:7000 db=3 auth=no user= password=");
	is("redis://cache.example/", "cache.example:6379 db=0 auth=no user= password=");
	is("redis://cache.example?db=4", "cache.example:6379 db=4 auth=no user= password=");
	is("redis://", "localhost:6379 db=0 auth=no user= password=");
	is("redis://:7000", "localhost:7000 db=0 auth=no user= password=");
	is("redis://[::1]", "::1:6379 db=0 auth=no user= password=");
	is("redis://[fe80::1]:7000/2", "fe80::1:7000 db=2 auth=no user= password=");
	is("REDIS://h", "h:6379 db=0 auth=no user= password=");
	is("rediss://h:6380", "h:6380 tls db=0 auth=no user= password=");

	/* user and password */
	is("redis://:secret@h", "h:6379 db=0 auth=yes user= password=secret");
	is("redis://app:secret@h:1/5", "h:1 db=5 auth=yes user=app password=secret");
	is("redis://app@h", "h:6379 db=0 auth=yes user=app password=");
	is("redis://@h", "h:6379 db=0 auth=no user= password=");
	is("redis://a%3Ab:p%40s%2Fs%25@h", "h:6379 db=0 auth=yes user=a:b password=p@s/s%");
	is("redis://app:a@b:c@h", "h:6379 db=0 auth=yes user=app password=a@b:c");

	/* unix sockets */
	is("unix:///run/redis.sock", "/run/redis.sock db=0 auth=no user= password=");
	is("unix:///run/redis.sock?db=7", "/run/redis.sock db=7 auth=no user= password=");
	is("unix:///a%20b/r%3f.sock", "/a b/r?.sock db=0 auth=no user= password=");
	is("unix://app:p@/run/r.sock?db=1", "/run/r.sock db=1 auth=yes user=app password=p");

	/* refused */
	refused("", "must begin with");
	refused("localhost:6379", "must begin with");
	refused("http://h", "must begin with");
	refused("redis:/h", "must begin with");
	refused("redis://h:0", "port");
	refused("redis://h:65536", "port");
	refused("redis://h:12x", "port");
	refused("redis://h:", "port");
	refused("redis://[::1", "IPv6");
	refused("redis://[::1]7", "port");
	refused("redis://h/x", "database number");
	refused("redis://h/-1", "database number");
	refused("redis://h/99999999999", "database number");
	refused("redis://h?db=", "database number");
	refused("redis://h?ssl=1", "unknown parameter");
	refused("redis://h#x", "fragment");
	refused("redis://u:p%4@h", "password");
	refused("redis://u:p%zz@h", "password");
	refused("redis://u:p%00@h", "password");
	refused("unix://run/redis.sock", "absolute path");
	refused("unix://", "absolute path");
	refused("unix:///1234567890/1234567890/1234567890/1234567890/1234567890/1234567890/"
			"1234567890/1234567890/1234567890/1234567890", "too long");

	return done_testing();
}
