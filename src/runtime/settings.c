/*
 * settings.c
 *		Everything below "feature_engine." in the configuration.
 *
 * Runs in every process that loads the library.  Takes no locks.
 *
 * Settings fixed at server start (PGC_POSTMASTER) can only be defined while
 * shared_preload_libraries is processed.  Where the library is loaded later
 * their variables keep the defaults: nothing uses them then, since
 * fe_require_preloaded() stops whoever needs shared memory.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "runtime/compat.h"
#include "runtime/runtime.h"
#include "tcop/pquery.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define FE_SETTING(name)	FE_EXTENSION_NAME "." name

char	   *fe_setting_redis_url = "";
int			fe_setting_push_interval = 5;
int			fe_setting_time_refresh = 60;
int			fe_setting_memory = 256;
int			fe_setting_max_memory = 1024;
int			fe_setting_max_databases = 16;
int			fe_setting_max_feature_views = 256;
int			fe_setting_max_wal_lag = 10240;
int			fe_setting_checkpoint_interval = 60;
int			fe_setting_checkpoint_wal = 256;
int			fe_setting_max_values_per_entity = 10000;
int			fe_setting_exact_horizon = 60;
bool		fe_setting_read_your_writes = false;
bool		fe_setting_allow_stale = false;
char	   *fe_setting_inject_error = "";
char	   *fe_setting_inject_crash = "";
char	   *fe_setting_inject_wait = "";
bool		fe_as_of_is_set = false;
FeTime		fe_as_of = 0;
bool		fe_watermark_is_set = false;
FeTime		fe_watermark = 0;

static char *as_of_text = "";
static char *watermark_text = "";

/* What the check hook of as_of hands to its assign hook. */
typedef struct AsOfExtra
{
	bool		is_set;
	FeTime		value;
} AsOfExtra;

/* The URL can hold a password: never echo it. */
static bool
check_redis_url(char **newval, void **extra, GucSource source)
{
	static const char *const schemes[] = {"redis://", "rediss://", "unix://"};
	const char *url = *newval;

	if (url == NULL || url[0] == '\0')
		return true;
	for (int i = 0; i < lengthof(schemes); i++)
	{
		if (strncmp(url, schemes[i], strlen(schemes[i])) == 0)
			return true;
	}
	GUC_check_errmsg("invalid value for parameter \"%s\"", FE_SETTING("redis_url"));
	GUC_check_errhint("Use \"redis://[user:password@]host[:port][/database]\", \"rediss://...\" or \"unix:///path/of/socket\".");
	return false;
}

/*
 * A limit above the reservation counts as the reservation: refusing the value
 * would keep a server from starting.  Who sets it in a session is told so;
 * on reload the postmaster says it once for all processes.
 */
static bool
check_memory(int *newval, void **extra, GucSource source)
{
	if (fe_shared == NULL && !process_shared_preload_libraries_in_progress)
		return true;
	if (*newval <= fe_setting_max_memory)
		return true;

	if (source > PGC_S_DEFAULT && (ActivePortal != NULL || !IsUnderPostmaster))
		ereport(ActivePortal != NULL ? WARNING : LOG,
				(errmsg("\"%s\" (%d MB) is limited by \"%s\" (%d MB)",
						FE_SETTING("memory"), *newval,
						FE_SETTING("max_memory"), fe_setting_max_memory),
				 errhint("To use more memory, raise \"%s\" and restart the server.",
						 FE_SETTING("max_memory"))));
	*newval = fe_setting_max_memory;
	return true;
}

/*
 * Parses a timestamp with time zone without the catalog, so that it works at
 * server start.  Words that depend on the present ("now", "yesterday") are
 * refused: where the setting is stored they would change their meaning.
 */
static bool
parse_as_of(const char *str, FeTime *result)
{
	static const char *const relative[] = {"now", "today", "tomorrow", "yesterday"};
	char		workbuf[MAXDATELEN + MAXDATEFIELDS];
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	int			nf;
	int			dtype;
	struct pg_tm tm;
	fsec_t		fsec;
	int			tz;

	if (ParseDateTime(str, workbuf, sizeof(workbuf), field, ftype,
					  MAXDATEFIELDS, &nf) != 0)
		return false;
	for (int i = 0; i < nf; i++)
	{
		for (int k = 0; k < lengthof(relative); k++)
		{
			if (strcmp(field[i], relative[k]) == 0)
			{
				GUC_check_errdetail("The time must be absolute.");
				return false;
			}
		}
	}
	if (fe_compat_decode_datetime(field, ftype, nf, &dtype, &tm, &fsec, &tz) != 0)
		return false;
	if (dtype == DTK_LATE || dtype == DTK_EARLY)
	{
		GUC_check_errdetail("The time must be finite.");
		return false;
	}
	if (dtype == DTK_EPOCH)
	{
		*result = SetEpochTimestamp();
		return true;
	}
	return dtype == DTK_DATE && tm2timestamp(&tm, fsec, &tz, result) == 0;
}

/* The instant as text with an explicit zone. */
static void
format_as_of(FeTime t, char *buf)
{
	struct pg_tm tm;
	fsec_t		fsec;

	/* without a zone argument the fields are UTC's; cannot fail: t is valid */
	(void) timestamp2tm(t, NULL, &tm, &fsec, NULL, NULL);
	tm.tm_isdst = 0;			/* "unknown" would suppress the zone */
	EncodeDateTime(&tm, fsec, true, 0, NULL, USE_ISO_DATES, buf);
}

/*
 * A value without a zone is read in the session's TimeZone at the moment it is
 * set.  The stored text gets an explicit zone, so that it means the same later
 * and in parallel workers (which restore TimeZone after this setting).
 */
static bool
check_as_of(char **newval, void **extra, GucSource source)
{
	AsOfExtra  *parsed;
	FeTime		t = 0;
	bool		is_set = (*newval != NULL && (*newval)[0] != '\0');

	if (is_set)
	{
		char		text[MAXDATELEN + 1];
		char	   *copy;

		if (!parse_as_of(*newval, &t))
		{
			GUC_check_errhint("Use a timestamp with time zone such as '2024-06-30 12:00:00+00', or an empty string for none.");
			return false;
		}
		format_as_of(t, text);
		copy = fe_compat_guc_malloc(strlen(text) + 1);
		if (copy == NULL)
			return false;
		strcpy(copy, text);
		fe_compat_guc_free(*newval);
		*newval = copy;
	}
	parsed = fe_compat_guc_malloc(sizeof(AsOfExtra));
	if (parsed == NULL)
		return false;
	parsed->is_set = is_set;
	parsed->value = t;
	*extra = parsed;
	return true;
}

static void
assign_as_of(const char *newval, void *extra)
{
	const AsOfExtra *parsed = extra;

	fe_as_of_is_set = parsed != NULL && parsed->is_set;
	fe_as_of = fe_as_of_is_set ? parsed->value : 0;
}

static void
assign_watermark(const char *newval, void *extra)
{
	const AsOfExtra *parsed = extra;

	fe_watermark_is_set = parsed != NULL && parsed->is_set;
	fe_watermark = fe_watermark_is_set ? parsed->value : 0;
}

/* Fixed at server start; max_memory before memory, whose check looks at it. */
static void
define_start_settings(void)
{
	DefineCustomIntVariable(FE_SETTING("max_memory"),
							"Shared memory reserved at server start for feature state.",
							"feature_engine.memory can be raised up to this without a restart.",
							&fe_setting_max_memory, 1024, 8, 60 * 1024,
							PGC_POSTMASTER, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable(FE_SETTING("max_databases"),
							"Maximum number of databases with feature views.",
							NULL,
							&fe_setting_max_databases, 16, 1, 1024,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(FE_SETTING("max_feature_views"),
							"Maximum number of feature views in the whole server.",
							NULL,
							&fe_setting_max_feature_views, 256, 1, 65536,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

/* Of the whole server, changed by reload. */
static void
define_redis_settings(void)
{
	DefineCustomStringVariable(FE_SETTING("redis_url"),
							   "Redis server that features are pushed to; empty means no pushing.",
							   "redis://[user:password@]host[:port][/database], rediss://... or unix:///path.",
							   &fe_setting_redis_url, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_redis_url, NULL, NULL);
	DefineCustomIntVariable(FE_SETTING("push_interval"),
							"Time between two pushes of changed entities to Redis.",
							"0 pushes as fast as possible.",
							&fe_setting_push_interval, 5, 0, 60000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(FE_SETTING("time_refresh"),
							"How often values that depend on the time other than through windows are evaluated again for Redis.",
							NULL,
							&fe_setting_time_refresh, 60, 1, 86400,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

/* What state and the log may take, and how exact it is. */
static void
define_limits(void)
{
	DefineCustomIntVariable(FE_SETTING("memory"),
							"Memory that feature state may use.",
							"When it is full, changes wait in the write-ahead log until it is raised.",
							&fe_setting_memory, 256, 1, 60 * 1024,
							PGC_SIGHUP, GUC_UNIT_MB, check_memory, NULL, NULL);
	DefineCustomIntVariable(FE_SETTING("max_wal_lag"),
							"Write-ahead log that may be held back before the replication slot is given up.",
							"Feature views are rebuilt when the cause is gone.",
							&fe_setting_max_wal_lag, 10240, 1, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable(FE_SETTING("checkpoint_interval"),
							"Time between two checkpoints of feature state.",
							"0 writes none: after a crash every feature view is built from its table.",
							&fe_setting_checkpoint_interval, 60, 0, 86400,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable(FE_SETTING("checkpoint_wal"),
							"Write-ahead log after which a checkpoint of feature state is due before its time.",
							"It bounds what is replayed after a crash.",
							&fe_setting_checkpoint_wal, 256, 1, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable(FE_SETTING("max_values_per_entity"),
							"How many different rows of arguments an entity may keep for aggregates that have no compact state.",
							"A feature view with an entity that has more stops, and says so in feature_engine.status.",
							&fe_setting_max_values_per_entity, 10000, 1, INT_MAX / 2,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(FE_SETTING("exact_horizon"),
							"How far back a time of evaluation may lie and still be exact to the microsecond.",
							"Events younger than this are kept one by one.",
							&fe_setting_exact_horizon, 60, 1, 3600,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_test_settings(void)
{
	DefineCustomStringVariable(FE_SETTING("inject_error"),
							   "For tests: workers raise an error at the point named here.",
							   NULL,
							   &fe_setting_inject_error, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);
	DefineCustomStringVariable(FE_SETTING("inject_crash"),
							   "For tests: workers kill themselves at the point named here.",
							   NULL,
							   &fe_setting_inject_crash, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);
	DefineCustomStringVariable(FE_SETTING("inject_wait"),
							   "For tests: workers wait at the points named here until it is reset.",
							   NULL,
							   &fe_setting_inject_wait, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);
}

/* Of a session. */
static void
define_session_settings(void)
{
	DefineCustomStringVariable(FE_SETTING("as_of"),
							   "Time at which feature views are evaluated; empty means the statement's time.",
							   "A value without a time zone is read in the session's TimeZone when it is set.",
							   &as_of_text, "",
							   PGC_USERSET, 0, check_as_of, assign_as_of, NULL);
	DefineCustomStringVariable(FE_SETTING("watermark"),
							   "Watermark at which is_final() judges; empty means that of the feature view, in a plain query the statement's time.",
							   "A value without a time zone is read in the session's TimeZone when it is set.",
							   &watermark_text, "",
							   PGC_USERSET, 0, check_as_of, assign_watermark, NULL);
	DefineCustomBoolVariable(FE_SETTING("read_your_writes"),
							 "A read of a feature view waits for the session's own commits.",
							 NULL,
							 &fe_setting_read_your_writes, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable(FE_SETTING("allow_stale"),
							 "Read feature views that are not caught up yet instead of raising an error.",
							 NULL,
							 &fe_setting_allow_stale, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
}

void
fe_settings_init(void)
{
	bool		preloading = process_shared_preload_libraries_in_progress;

	if (preloading)
		define_start_settings();
	define_redis_settings();
	define_limits();
	define_test_settings();
	define_session_settings();

	/*
	 * Loaded later, the start settings are unknown placeholders: reserving
	 * the prefix would warn about correct lines of the configuration.
	 */
	if (preloading)
		MarkGUCPrefixReserved(FE_EXTENSION_NAME);
}
