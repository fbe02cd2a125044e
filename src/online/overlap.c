/*
 * overlap.c
 *		Which databases of this server write to the same keys of Redis.
 *
 * Two databases with the same key template (or Feast project) overwrite each other's hashes, and
 * neither can see it in its own catalogue.  So every pusher publishes the
 * structures of its templates in shared memory when it has loaded its views,
 * and looks for others' equal ones.  What it finds goes to the server log and,
 * as the last error of pushing, to the status of both databases.  The setting
 * redis_url is the whole server's, so equal keys are the same keys.
 *
 * Takes a lightweight lock of its own, inside fe_shared->lock where a
 * database's slot is given back, and FeDatabase.mutex afterwards.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "online/pusher.h"
#include "utils/timestamp.h"

#define TRANCHE_NAME	"feature_engine online"

typedef struct WrittenKeys
{
	Oid			dboid;
	uint64		structure;		/* hash of the template without names */
	char		view[NAMEDATALEN];
} WrittenKeys;

static struct
{
	LWLock	   *lock;
	int		   *n;
	WrittenKeys *entries;		/* [max_feature_views] */
}			area;

/* ---- shared memory ---------------------------------------------------------------- */

static Size
overlap_size(void)
{
	return add_size(MAXALIGN(sizeof(int)),
					mul_size(fe_setting_max_feature_views, sizeof(WrittenKeys)));
}

static void
overlap_request(void)
{
	RequestNamedLWLockTranche(TRANCHE_NAME, 1);
}

static void
overlap_attach(void *memory, bool found)
{
	area.lock = &(GetNamedLWLockTranche(TRANCHE_NAME))->lock;
	area.n = memory;
	area.entries = (WrittenKeys *) ((char *) memory + MAXALIGN(sizeof(int)));
	if (!found)
		*area.n = 0;
}

/* The lock is held. */
static void
withdraw(Oid dboid)
{
	for (int i = 0; i < *area.n;)
	{
		if (area.entries[i].dboid == dboid)
			area.entries[i] = area.entries[--*area.n];
		else
			i++;
	}
}

static void
overlap_release(FeDatabase *db)
{
	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	withdraw(db->dboid);
	LWLockRelease(area.lock);
}

static const FeShmemRoom overlap_room = {
	.name = "feature_engine written keys",
	.size = overlap_size,
	.request = overlap_request,
	.init = overlap_attach,
	.release = overlap_release,
};

void
fe_overlap_init(void)
{
	fe_shmem_register(&overlap_room);
}

/* ---- looking and telling -------------------------------------------------------------- */

/* In the status of the other database. */
static void
note_there(Oid dboid, const char *message)
{
	TimestampTz now = GetCurrentTimestamp();
	FeDatabase *db;

	LWLockAcquire(fe_shared->lock, LW_SHARED);
	db = fe_find_database(dboid);
	if (db != NULL)
	{
		SpinLockAcquire(&db->mutex);
		strlcpy(db->redis_error, message, FE_ERROR_LEN);
		db->redis_error_at = now;
		SpinLockRelease(&db->mutex);
	}
	LWLockRelease(fe_shared->lock);
}

static void
tell(FePusher *p, FePushView *view, const WrittenKeys *other)
{
	char	   *theirs = get_database_name(other->dboid);
	char	   *message;

	if (view->overlap_told || theirs == NULL)
		return;
	view->overlap_told = true;
	message = psprintf("feature view \"%s\" of database \"%s\" and feature view \"%s\" of database \"%s\" write to the same Redis keys",
					   view->name, get_database_name(MyDatabaseId), other->view, theirs);
	ereport(WARNING,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg_internal("%s", message),
			 errhint("Each overwrites or removes what the other has pushed. Give one of them another %s.",
					 view->layout->owns_hash ? "redis_key" : "feast_project")));
	fe_push_note_error(p, message);
	note_there(other->dboid, message);
}

/* Publishes a view; true: another database has one of the same structure. */
static bool
publish(const FePushView *view, WrittenKeys *other)
{
	WrittenKeys *mine;
	uint64		structure = hash_bytes_extended((const unsigned char *) view->structure,
												strlen(view->structure), 0);
	bool		found = false;

	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	for (int i = 0; i < *area.n && !found; i++)
	{
		found = area.entries[i].structure == structure &&
			area.entries[i].dboid != MyDatabaseId;
		if (found)
			*other = area.entries[i];
	}
	if (*area.n < fe_setting_max_feature_views)
	{
		mine = &area.entries[(*area.n)++];
		mine->dboid = MyDatabaseId;
		mine->structure = structure;
		strlcpy(mine->view, view->name, NAMEDATALEN);
	}
	LWLockRelease(area.lock);
	return found;
}

/* In a transaction. */
void
fe_overlap_publish(FePusher *p)
{
	dlist_iter	it;

	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	withdraw(MyDatabaseId);
	LWLockRelease(area.lock);
	dlist_foreach(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);
		WrittenKeys other;

		if (view->retired)
			continue;
		if (publish(view, &other))
			tell(p, view, &other);
		else
			view->overlap_told = false;
	}
}
