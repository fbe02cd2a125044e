/*
 * probe.c
 *		How long until a committed row shows in a feature view and in Redis.
 *
 * usage: probe REDIS_SOCKET SECONDS POLL_MICROSECONDS
 *
 * A client of its own process: connects to PostgreSQL as the environment says.
 * Inserts an order for customer 0, whom nobody else uses, takes the time at
 * which the commit was reported, and looks in turn at customer_features and at
 * the hash customer:0:features until each counts the order.  Between two looks
 * it sleeps, so as not to take a core from what it measures: a figure can be
 * too large by that pause and one look, never too small.  Prints cells of a
 * markdown table: probes, then median, 99th percentile and maximum in
 * milliseconds for SQL and for Redis.
 */
#include <hiredis/hiredis.h>
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_PROBES	100000
#define PROBE_PAUSE_US	10000	/* and as much again at random */
#define GIVE_UP_SECONDS	60.0

#define INSERT_SQL	"INSERT INTO orders (customer_id, total, status) VALUES (0, 1.00, 'new')"
#define LOOK_SQL	"SELECT order_count_30d FROM customer_features WHERE customer_id = 0"
#define REDIS_KEY	"customer:0:features"
#define REDIS_FIELD	"order_count_30d"

typedef struct Probe
{
	PGconn	   *writer;
	PGconn	   *reader;
	redisContext *redis;
	useconds_t	poll;
	int			count;			/* orders of customer 0 */
	int			n;
	double		sql_ms[MAX_PROBES];
	double		redis_ms[MAX_PROBES];
} Probe;

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *fmt, ...)
{
	va_list		args;

	va_start(args, fmt);
	fputs("probe: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* ---- PostgreSQL --------------------------------------------------------- */

static PGconn *
connect_pg(const char *name, const char *sql)
{
	PGconn	   *conn = PQconnectdb("");
	PGresult   *res;

	if (PQstatus(conn) != CONNECTION_OK)
		die("%s", PQerrorMessage(conn));
	res = PQprepare(conn, name, sql, 0, NULL);
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		die("%s", PQerrorMessage(conn));
	PQclear(res);
	return conn;
}

/* The statement's first value as a number; 0 where there is no row. */
static int
execute(PGconn *conn, const char *name)
{
	PGresult   *res = PQexecPrepared(conn, name, 0, NULL, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(res);
	int			value = 0;

	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
		die("%s", PQerrorMessage(conn));
	if (PQntuples(res) > 0)
		value = atoi(PQgetvalue(res, 0, 0));
	PQclear(res);
	return value;
}

/* ---- Redis ------------------------------------------------------------------ */

static int
look_redis(redisContext *redis)
{
	redisReply *reply = redisCommand(redis, "HGET " REDIS_KEY " " REDIS_FIELD);
	int			value;

	if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
		die("Redis: %s", reply ? reply->str : redis->errstr);
	value = reply->str ? atoi(reply->str) : 0;
	freeReplyObject(reply);
	return value;
}

/* ---- one probe ------------------------------------------------------------------ */

static void
run_probe(Probe *probe)
{
	double		committed;
	double		sql = -1;
	double		redis = -1;

	execute(probe->writer, "insert");
	committed = now();
	probe->count++;
	for (;;)
	{
		if (sql < 0 && execute(probe->reader, "look") >= probe->count)
			sql = now() - committed;
		if (redis < 0 && look_redis(probe->redis) >= probe->count)
			redis = now() - committed;
		if (sql >= 0 && redis >= 0)
			break;
		if (now() - committed > GIVE_UP_SECONDS)
			die("order %d did not become visible in %s", probe->count,
				sql < 0 ? "SQL" : "Redis");
		usleep(probe->poll);
	}
	probe->sql_ms[probe->n] = sql * 1000;
	probe->redis_ms[probe->n++] = redis * 1000;
}

/* ---- figures ------------------------------------------------------------------------ */

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

static void
print_figures(double *values, int n)
{
	qsort(values, n, sizeof(double), compare);
	printf(" %.1f | %.1f | %.1f |", values[n / 2], values[(int) (n * 0.99)], values[n - 1]);
}

int
main(int argc, char **argv)
{
	static Probe probe;
	double		end;

	if (argc != 4)
		die("usage: probe REDIS_SOCKET SECONDS POLL_MICROSECONDS");
	probe.writer = connect_pg("insert", INSERT_SQL);
	probe.reader = connect_pg("look", LOOK_SQL);
	probe.redis = redisConnectUnix(argv[1]);
	if (probe.redis == NULL || probe.redis->err)
		die("no connection to Redis at %s", argv[1]);
	probe.poll = atoi(argv[3]);
	probe.count = execute(probe.reader, "look");

	end = now() + atof(argv[2]);
	while (now() < end && probe.n < MAX_PROBES)
	{
		run_probe(&probe);
		usleep(PROBE_PAUSE_US + random() % PROBE_PAUSE_US);
	}
	printf("| %d |", probe.n);
	print_figures(probe.sql_ms, probe.n);
	print_figures(probe.redis_ms, probe.n);
	putchar('\n');
	return 0;
}
