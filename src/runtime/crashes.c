/*
 * crashes.c
 *		Keeps a worker that crashes the server from doing so for ever.
 *
 * Whatever kills one of our processes (a signal, a lack of memory, a fault in a
 * function that a feature view calls, or in our own code) makes the postmaster
 * restart the whole server, and nothing in memory survives that.  A worker that
 * then met the same cause again would take the server down again and again.
 *
 * So while an ingest worker does what may repeat itself after a crash (catching
 * up with what was in the log when it started, a backfill, a checkpoint) there is
 * a file, which tells how many starts in a row have come no further.  It goes
 * when the worker is through, or ends by itself.  From the third start on the
 * launcher waits, longer each time, and says so; the server is well meanwhile.
 * Crashes that others cause count as well where they fall into such a time: that
 * costs a pause.
 *
 * The file is not flushed, since only crashes of the server count; it is in
 * pg_stat_tmp, which no backup takes along.
 */
#include "postgres.h"

#include <unistd.h>

#include "pgstat.h"
#include "runtime/launcher.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#define FIRST_PAUSE_MS	1000	/* before the third start; then doubling ... */
#define MAX_PAUSE_MS	(5 * 60 * 1000) /* ... up to this */

/* Of this process, the ingest worker: */
static int	starts = 0;			/* in a row, this one included */
static Oid	my_dboid = InvalidOid;
static bool marked = false;

static void
file_of(Oid dboid, char *path, Size size)
{
	snprintf(path, size, "%s/%s.%u", PG_STAT_TMP_DIR, FE_EXTENSION_NAME, dboid);
}

/* 0 where there is no file. */
static int
read_file(Oid dboid)
{
	char		path[MAXPGPATH];
	FILE	   *file;
	int			n = 0;

	file_of(dboid, path, sizeof(path));
	file = AllocateFile(path, PG_BINARY_R);
	if (file == NULL)
		return 0;
	if (fscanf(file, "%d", &n) != 1 || n < 0)
		n = 0;
	FreeFile(file);
	return n;
}

/* Goes on without, should it fail: there is a guard less, that is all. */
static void
write_file(void)
{
	char		path[MAXPGPATH];
	FILE	   *file;

	file_of(my_dboid, path, sizeof(path));
	file = AllocateFile(path, PG_BINARY_W);
	if (file == NULL || fprintf(file, "%d\n", starts) < 0)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", path)));
	if (file != NULL)
		FreeFile(file);
}

static void
remove_file(int code, Datum arg)
{
	char		path[MAXPGPATH];

	file_of(my_dboid, path, sizeof(path));
	(void) unlink(path);
	marked = false;
}

void
fe_crashes_begin(Oid dboid)
{
	my_dboid = dboid;
	starts = Min(read_file(dboid), 1000) + 1;
	write_file();
	marked = true;
	on_shmem_exit(remove_file, 0);
}

void
fe_crashes_set_danger(bool danger)
{
	if (danger == marked)
		return;
	if (danger)
		write_file();
	else
	{
		remove_file(0, 0);
		starts = 1;
	}
	marked = danger;
}

int
fe_crashes_starts(void)
{
	return starts;
}

/* ---- the launcher ------------------------------------------------------------- */

void
fe_crashes_hold_back(FeDatabase *db, TimestampTz now)
{
	int			n = read_file(db->dboid);
	int64		pause;
	char		message[FE_ERROR_LEN];

	if (n < 2)
		return;
	pause = n > 20 ? MAX_PAUSE_MS : Min(MAX_PAUSE_MS, (int64) FIRST_PAUSE_MS << (n - 2));
	snprintf(message, sizeof(message),
			 "the server has crashed %d times in a row while feature views were being worked on", n);
	ereport(WARNING,
			(errmsg("%s in database %u", message, db->dboid),
			 errdetail("Their workers are started again in %lld seconds.", (long long) pause / 1000),
			 errhint("The messages before each crash tell which process was its cause.")));
	SpinLockAcquire(&db->mutex);
	db->ingest.state = FE_WORKER_BACKOFF;
	db->ingest.failures = n;
	db->ingest.last_failure = now;
	db->ingest.next_start = TimestampTzPlusMilliseconds(now, pause);
	strlcpy(db->ingest.last_error, message, FE_ERROR_LEN);
	SpinLockRelease(&db->mutex);
}
