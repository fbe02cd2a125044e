/*
 * slot.c
 *		The replication slot of a database: state, creation, end.
 *
 * In the ingest worker and the launcher.  fe_slot_status takes
 * ReplicationSlotControlLock shared.  Creating a slot waits for every
 * transaction that runs, prepared ones included; it must not be done by one
 * that somebody waits for.
 */
#include "postgres.h"

#include "access/timeline.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogutils.h"
#include "capture/internal.h"
#include "miscadmin.h"
#include "replication/logical.h"
#include "replication/slot.h"
#include "runtime/compat.h"
#include "runtime/runtime.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#define PLUGINS_SETTING		"output_plugin_libraries"

void
fe_slot_name(Oid dboid, NameData *name)
{
	memset(name, 0, sizeof(NameData));
	snprintf(NameStr(*name), NAMEDATALEN, "feature_engine_%u", dboid);
}

/* ---- state ------------------------------------------------------------------- */

static bool
is_own(const ReplicationSlotPersistentData *data, Oid dboid)
{
	return data->database == dboid && strcmp(NameStr(data->plugin), FE_PLUGIN_NAME) == 0;
}

/*
 * Where the server's timeline begins, which is after it was promoted or restored
 * last; 0 on the first one, and in recovery.
 */
static XLogRecPtr
begin_of_timeline(void)
{
	static TimeLineID known = 0;
	static XLogRecPtr begin = InvalidXLogRecPtr;
	TimeLineID	current;

	if (RecoveryInProgress())
		return InvalidXLogRecPtr;
	current = GetWALInsertionTimeLine();
	if (known != current)
	{
		List	   *history = readTimeLineHistory(current);

		begin = ((TimeLineHistoryEntry *) linitial(history))->begin;
		known = current;
		list_free_deep(history);
	}
	return begin;
}

/*
 * Why one of our slots is of no use any more; NULL: it is.
 *
 * A server keeps the slots of its files while it is a standby (a former primary,
 * a copy of a data directory).  Nothing then protects the catalog rows that
 * decoding from there would need, and changes may have taken another course.
 */
static const char *
problem_of_slot(const ReplicationSlotPersistentData *data)
{
	if (fe_compat_slot_invalidated(data))
		return "The server has invalidated it; see max_slot_wal_keep_size.";
	if (!fe_compat_slot_synced(data) && data->restart_lsn < begin_of_timeline())
		return "It is from a time before this server was promoted or restored.";
	return NULL;
}

FeSlotStatus
fe_slot_status(Oid dboid, XLogRecPtr *restart_lsn, XLogRecPtr *confirmed_lsn, pid_t *holder)
{
	FeSlotStatus status = FE_SLOT_MISSING;
	NameData	name;
	ReplicationSlot *slot;
	ReplicationSlotPersistentData data;
	pid_t		pid = 0;

	memset(&data, 0, sizeof(data));
	fe_slot_name(dboid, &name);
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(NameStr(name), false);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		data = slot->data;
		pid = slot->active_pid;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);

	if (slot != NULL)
	{
		if (!is_own(&data, dboid) || problem_of_slot(&data) != NULL)
			status = FE_SLOT_INVALID;
		else if (pid != 0 && pid != MyProcPid)
			status = FE_SLOT_IN_USE;
		else
			status = FE_SLOT_USABLE;

		/* being created by somebody else: it has a name, but no plugin yet */
		if (pid != 0 && pid != MyProcPid && data.persistency != RS_PERSISTENT)
			status = FE_SLOT_IN_USE;
	}
	if (restart_lsn)
		*restart_lsn = data.restart_lsn;
	if (confirmed_lsn)
		*confirmed_lsn = data.confirmed_flush;
	if (holder)
		*holder = status == FE_SLOT_IN_USE ? pid : 0;
	return status;
}

/* ---- output_plugin_libraries ---------------------------------------------- */

/*
 * Newer minor releases decode only with libraries named in a superuser's
 * setting, checked at each start of decoding.  A worker may add to it for
 * itself.  Where this process may not, or the server does not know the setting,
 * nothing is done: the server's own error says what to set.  In a transaction,
 * which must commit for the setting to last.
 */
void
fe_slot_allow_plugin(void)
{
	const char *value = GetConfigOption(PLUGINS_SETTING, true, false);
	char	   *copy;
	List	   *libraries = NIL;
	ListCell   *lc;

	if (value == NULL || !superuser())
		return;
	copy = pstrdup(value);
	if (!SplitDirectoriesString(copy, ',', &libraries))
		libraries = NIL;
	foreach(lc, libraries)
	{
		if (strcmp(lfirst(lc), FE_PLUGIN_NAME) == 0)
			return;
	}
	SetConfigOption(PLUGINS_SETTING,
					libraries == NIL ? FE_PLUGIN_NAME
					: psprintf("%s, %s", value, FE_PLUGIN_NAME),
					PGC_SUSET, PGC_S_SESSION);
	list_free_deep(libraries);
}

/* ---- creation and end ------------------------------------------------------- */

static void
require_logical_wal(void)
{
	if (wal_level < WAL_LEVEL_LOGICAL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature views need the write-ahead log at level \"logical\""),
				 errdetail("The setting wal_level is \"%s\".",
						   GetConfigOption("wal_level", false, false)),
				 errhint("Set wal_level = logical in postgresql.conf and restart the server.")));
}

static void
require_free_slot(void)
{
	bool		found = false;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots && !found; i++)
		found = !ReplicationSlotCtl->replication_slots[i].in_use;
	LWLockRelease(ReplicationSlotControlLock);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no replication slot is free for feature views"),
				 errdetail("The setting max_replication_slots is %d, and all are in use.",
						   max_replication_slots),
				 errhint("Set max_replication_slots = %d or more in postgresql.conf and restart the server, or drop a slot of pg_replication_slots that is not needed.",
						 max_replication_slots + 1)));
}

/*
 * Creates this database's slot.  Until it is complete the slot is ephemeral:
 * an error, or the end of the process, removes it.  All inside a transaction,
 * with the reader that waits for WAL, which does not touch the decoding context.
 */
void
fe_slot_create(Oid dboid)
{
	NameData	name;
	LogicalDecodingContext *ctx;

	Assert(dboid == MyDatabaseId);
	Assert(!IsTransactionState());
	fe_require_preloaded();
	require_logical_wal();
	require_free_slot();
	fe_slot_name(dboid, &name);

	StartTransactionCommand();
	fe_slot_allow_plugin();
	fe_compat_slot_create(NameStr(name), RS_EPHEMERAL);
	ctx = CreateInitDecodingContext(FE_PLUGIN_NAME, NIL, false, InvalidXLogRecPtr,
									XL_ROUTINE(.page_read = read_local_xlog_page,
											   .segment_open = wal_segment_open,
											   .segment_close = wal_segment_close),
									NULL, NULL, NULL);
	DecodingContextFindStartpoint(ctx);
	FreeDecodingContext(ctx);
	ReplicationSlotPersist();
	ReplicationSlotRelease();
	CommitTransactionCommand();
}

static void
require_own(Oid dboid)
{
	ReplicationSlot *slot = MyReplicationSlot;

	if (is_own(&slot->data, dboid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("replication slot \"%s\" was not made by feature_engine",
					NameStr(slot->data.name)),
			 errdetail("Feature views of the database need a slot of that name."),
			 errhint("Drop it with pg_drop_replication_slot() if nothing needs it.")));
}

/*
 * ERROR where the acquired slot has our name, but is somebody else's, or where
 * somebody who held it meanwhile has moved it past what was applied: decoding
 * would leave changes out.  The next ingest worker sees that and begins anew.
 */
void
fe_slot_require_own(Oid dboid)
{
	ReplicationSlot *slot = MyReplicationSlot;
	XLogRecPtr	applied = pg_atomic_read_u64(&fe_my_database()->applied_lsn);

	require_own(dboid);
	if (applied == InvalidXLogRecPtr || slot->data.confirmed_flush <= applied)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("replication slot \"%s\" was moved by somebody else",
					NameStr(slot->data.name)),
			 errdetail("It is at %X/%X, and changes have been taken in up to %X/%X. The feature views of this database are rebuilt from their tables.",
					   LSN_FORMAT_ARGS(slot->data.confirmed_flush), LSN_FORMAT_ARGS(applied))));
}

/*
 * Drops the slot if there is one; ERROR if another process holds it, or if
 * somebody else made it.
 */
void
fe_slot_drop(Oid dboid)
{
	NameData	name;
	const char *problem;

	if (fe_slot_status(dboid, NULL, NULL, NULL) == FE_SLOT_MISSING)
		return;
	fe_slot_name(dboid, &name);
	fe_compat_slot_acquire(NameStr(name));
	require_own(dboid);
	problem = problem_of_slot(&MyReplicationSlot->data);
	ReplicationSlotRelease();
	if (problem != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("replication slot \"%s\" cannot be used any more", NameStr(name)),
				 errdetail("%s It is dropped, a new one is made, and the feature views of this database are rebuilt from their tables.",
						   problem)));
	ReplicationSlotDrop(NameStr(name), true);
}
