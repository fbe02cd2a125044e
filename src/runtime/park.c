/*
 * park.c
 *		Gets our workers out of the way of commands on whole databases.
 *
 * DROP DATABASE, ALTER DATABASE ... RENAME / SET TABLESPACE and CREATE
 * DATABASE ... TEMPLATE fail while another process is connected to the
 * database, the first one also while a logical slot of it is active, whatever
 * FORCE says.  The utility hook therefore parks the database first: it marks
 * the slot, so that the launcher starts nothing, ends the workers and waits
 * until they are gone (replication slot released, procarray left).  After the
 * command, its error or this backend's end the database is let go again: a
 * worker started before the command's transaction ends waits for its lock.
 * After DROP DATABASE its slot is given back; the server itself has dropped
 * the inactive replication slot (ReplicationSlotsDropDBSlots).
 *
 * Only a user who may run the command can park a database.  Several commands
 * may park the same one (parkers counts them).  Runs in backends; takes
 * fe_shared->lock and FeDatabase.mutex for moments, waits with neither.
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "runtime/compat.h"
#include "runtime/runtime.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define PARK_TIMEOUT_MS		10000
#define PARK_POLL_MS		5

static ProcessUtility_hook_type prev_process_utility = NULL;

/* The database this backend has parked, until it lets go. */
static FeDatabase *parked = NULL;
static Oid	parked_dboid = InvalidOid;

/* ---- which commands, by whom -------------------------------------------- */

static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		result;

	if (superuser())
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	ReleaseSysCache(tuple);
	return result;
}

static bool
is_template(Oid dboid)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	ReleaseSysCache(tuple);
	return result;
}

/* The option's value, fallback where it is missing or DEFAULT. */
static const char *
option_value(List *options, const char *name, const char *fallback)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return fallback;
}

/*
 * The database that the command needs for itself, if the user may run it.
 */
static Oid
command_target(Node *stmt)
{
	const char *dbname = NULL;
	Oid			dboid;

	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			dbname = ((DropdbStmt *) stmt)->dbname;
			break;
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
				dbname = ((RenameStmt *) stmt)->subname;
			break;
		case T_AlterDatabaseStmt:
			if (option_value(((AlterDatabaseStmt *) stmt)->options, "tablespace", NULL))
				dbname = ((AlterDatabaseStmt *) stmt)->dbname;
			break;
		case T_CreatedbStmt:
			dbname = option_value(((CreatedbStmt *) stmt)->options, "template",
								  "template1");
			break;
		default:
			break;
	}
	if (dbname == NULL)
		return InvalidOid;

	dboid = get_database_oid(dbname, true);
	if (!OidIsValid(dboid))
		return InvalidOid;
	if (IsA(stmt, CreatedbStmt))
	{
		if (!may_create_databases())
			return InvalidOid;
		if (is_template(dboid))
			return dboid;
	}
	return fe_compat_database_ownercheck(dboid, GetUserId()) ? dboid : InvalidOid;
}

/* ---- parking -------------------------------------------------------------- */

static void
unpark(void)
{
	FeDatabase *db = parked;

	if (db == NULL)
		return;
	parked = NULL;
	SpinLockAcquire(&db->mutex);
	/* another session may have dropped the database, and its slot be reused */
	if (db->dboid == parked_dboid && db->parkers > 0 && --db->parkers == 0)
	{
		db->parked_by = 0;
		if (db->ingest.state == FE_WORKER_PARKED)
			db->ingest.state = FE_WORKER_STOPPED;
		if (db->pusher.state == FE_WORKER_PARKED)
			db->pusher.state = FE_WORKER_STOPPED;
	}
	SpinLockRelease(&db->mutex);
	fe_wake_launcher();
}

/* A FATAL in the middle of the command passes no PG_FINALLY. */
static void
unpark_at_exit(int code, Datum arg)
{
	unpark();
}

/* Sends SIGTERM to the database's workers; how many are there still? */
static int
end_workers(FeDatabase *db)
{
	pid_t		pids[FE_MAX_HELPERS + 2];
	int			n = 0;

	SpinLockAcquire(&db->mutex);
	if (db->ingest.pid != 0)
		pids[n++] = db->ingest.pid;
	if (db->pusher.pid != 0)
		pids[n++] = db->pusher.pid;
	for (int i = 0; i < FE_MAX_HELPERS; i++)
	{
		if (db->helpers[i] != 0)
			pids[n++] = db->helpers[i];
	}
	SpinLockRelease(&db->mutex);

	for (int i = 0; i < n; i++)
		(void) kill(pids[i], SIGTERM);
	return n;
}

/*
 * Ends the workers and waits for their end.  A worker that is just being
 * started meets the mark in fe_worker_start and goes away before it connects.
 */
static void
wait_for_workers(FeDatabase *db)
{
	TimestampTz start = GetCurrentTimestamp();

	while (end_workers(db) > 0)
	{
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), PARK_TIMEOUT_MS))
		{
			ereport(WARNING,
					(errmsg("%s workers did not leave database %u in time",
							FE_EXTENSION_NAME, db->dboid)));
			return;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 PARK_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Marks the database; false where it has no slot and so no workers. */
static bool
mark_parked(Oid dboid)
{
	static bool exit_registered = false;
	FeDatabase *db;

	if (parked != NULL)
		return false;			/* nested: the outer command holds one already */
	if (!exit_registered)
	{
		before_shmem_exit(unpark_at_exit, 0);
		exit_registered = true;
	}

	LWLockAcquire(fe_shared->lock, LW_SHARED);
	db = fe_find_database(dboid);
	if (db != NULL)
	{
		SpinLockAcquire(&db->mutex);
		db->parkers++;
		db->parked_by = MyProcPid;
		SpinLockRelease(&db->mutex);
		parked = db;
		parked_dboid = dboid;
	}
	LWLockRelease(fe_shared->lock);
	return db != NULL;
}

/* ---- the hook -------------------------------------------------------------- */

/*
 * Commands that may make the ingest worker superfluous or needed although
 * nobody calls our functions.
 */
static bool
concerns_worker(Node *stmt)
{
	FeDatabase *db;

	switch (nodeTag(stmt))
	{
		case T_DropOwnedStmt:
			return fe_my_database() != NULL;
		case T_DropStmt:
			return (((DropStmt *) stmt)->removeType == OBJECT_EXTENSION ||
					((DropStmt *) stmt)->removeType == OBJECT_SCHEMA) &&
				fe_my_database() != NULL;
		case T_TransactionStmt:
			/* a view may have been created in the prepared transaction */
			if (((TransactionStmt *) stmt)->kind != TRANS_STMT_COMMIT_PREPARED)
				return false;
			db = fe_my_database();
			return db != NULL && !db->wanted;
		default:
			return false;
	}
}

static void
call_next(PlannedStmt *pstmt, const char *query_string, bool read_only_tree,
		  ProcessUtilityContext context, ParamListInfo params,
		  QueryEnvironment *query_env, DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_process_utility)
		prev_process_utility(pstmt, query_string, read_only_tree, context,
							 params, query_env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context,
								params, query_env, dest, qc);
}

/*
 * Runs the command with its database parked, which is let go whatever happens.
 * A function of its own, so that the caller keeps no variables across the
 * longjmp.
 */
static pg_noinline void
run_parked(PlannedStmt *pstmt, const char *query_string, bool read_only_tree,
		   ProcessUtilityContext context, ParamListInfo params,
		   QueryEnvironment *query_env, DestReceiver *dest, QueryCompletion *qc)
{
	PG_TRY();
	{
		wait_for_workers(parked);
		call_next(pstmt, query_string, read_only_tree, context, params,
				  query_env, dest, qc);
	}
	PG_CATCH();
	{
		unpark();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* The command has been done: let go, or forget a database that is no more. */
static void
finish_parked(bool dropped)
{
	FeDatabase *db = parked;

	if (dropped && db != NULL && db->dboid == parked_dboid)
	{
		parked = NULL;
		(void) fe_release_database(db, true);
	}
	else
		unpark();
}

static void
process_utility(PlannedStmt *pstmt, const char *query_string, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *query_env, DestReceiver *dest, QueryCompletion *qc)
{
	NodeTag		tag = nodeTag(pstmt->utilityStmt);
	bool		request = false;
	Oid			target = InvalidOid;

	if (fe_shared != NULL && !IsAbortedTransactionBlockState())
	{
		request = concerns_worker(pstmt->utilityStmt);
		target = command_target(pstmt->utilityStmt);
	}

	if (OidIsValid(target) && mark_parked(target))
	{
		run_parked(pstmt, query_string, read_only_tree, context, params,
				   query_env, dest, qc);
		finish_parked(tag == T_DropdbStmt);
	}
	else
		call_next(pstmt, query_string, read_only_tree, context, params,
				  query_env, dest, qc);

	if (request)
		fe_request_worker();
	if (tag == T_CreatedbStmt && fe_shared != NULL)
		fe_request_scan_at_commit();
}

void
fe_park_init(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
