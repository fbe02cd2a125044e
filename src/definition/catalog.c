/*
 * catalog.c
 *		The catalogue of feature views: reading, writing, noticing changes.
 *
 * Read by every process, by its latest snapshot and without SPI; written only
 * by the functions of this room, as the extension's owner.  Writers hold
 * SHARE ROW EXCLUSIVE on the table until commit, so that definition commands
 * run one after the other; readers take ACCESS SHARE.  A row trigger announces
 * every change, also one that comes with a restored dump.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "runtime/compat.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "definition/definition.h"
#include "definition/services.h"

PG_FUNCTION_INFO_V1(fe_catalog_changed);
PG_FUNCTION_INFO_V1(fe_catalog_sql_drop);

/* Columns, in the order of the install script. */
enum
{
	COL_VIEWID = 1,
	COL_NAME,
	COL_RELATION,
	COL_DEFINITION,
	COL_REPLACES,
	COL_VERSION,
	COL_GENERATION,
	COL_REDIS_KEY,
	COL_TTL,
	COL_PUSH_INTERVAL,
	COL_TIME_REFRESH,
	COL_ONLINE,
	COL_APPEND_ONLY,
	COL_ON_ERROR,
	COL_CREATED_AT,
	COL_ALTERED_AT,
	COL_RETENTION,
	COL_WATERMARK,
	COL_SNAPSHOT,
	COL_OFFLINE,
	COL_HISTORY_INTERVAL,
	COL_HISTORY_RETENTION,
	COL_HISTORY,
	COL_REDIS_LAYOUT,
	COL_FEAST_PROJECT,
	COL_LAST = COL_FEAST_PROJECT
};

/* ---- identity ----------------------------------------------------------------- */

void
fe_become_owner(Oid *save_userid, int *save_sec)
{
	GetUserIdAndSecContext(save_userid, save_sec);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, *save_sec | SECURITY_LOCAL_USERID_CHANGE);
}

void
fe_become_self(Oid save_userid, int save_sec)
{
	SetUserIdAndSecContext(save_userid, save_sec);
}

/* ---- reading -------------------------------------------------------------------- */

Oid
fe_catalog_oid(bool missing_ok)
{
	Oid			schema = get_namespace_oid(FE_SCHEMA, true);
	Oid			oid = InvalidOid;

	if (OidIsValid(schema))
		oid = get_relname_relid(FE_CATALOG_TABLE, schema);
	if (!OidIsValid(oid) && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" is not installed in this database", FE_EXTENSION_NAME),
				 errhint("CREATE EXTENSION %s;", FE_EXTENSION_NAME)));
	return oid;
}

/* An interval option in its unit; ERROR is impossible: checked when written. */
static int64
option_usecs(Datum value)
{
	int64		usecs = 0;

	(void) fe_interval_usecs(DatumGetIntervalP(value), &usecs);
	return usecs;
}

static List *
option_names(Datum value)
{
	Datum	   *elems;
	int			n;
	List	   *names = NIL;

	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &elems, NULL, &n);
	for (int i = 0; i < n; i++)
		names = lappend(names, TextDatumGetCString(elems[i]));
	return names;
}

static void
read_options(const Datum *v, const bool *isnull, FeViewOptions *o)
{
	o->redis_key = isnull[COL_REDIS_KEY - 1] ? NULL : TextDatumGetCString(v[COL_REDIS_KEY - 1]);
	o->ttl = isnull[COL_TTL - 1] ? 0 : option_usecs(v[COL_TTL - 1]);
	o->push_interval = isnull[COL_PUSH_INTERVAL - 1] ? -1 :
		(int) (option_usecs(v[COL_PUSH_INTERVAL - 1]) / 1000);
	o->time_refresh = isnull[COL_TIME_REFRESH - 1] ? -1 :
		(int) (option_usecs(v[COL_TIME_REFRESH - 1]) / USECS_PER_SEC);
	o->online = isnull[COL_ONLINE - 1] ? NIL : option_names(v[COL_ONLINE - 1]);
	o->online_enabled = isnull[COL_ONLINE - 1] || o->online != NIL;
	o->append_only = DatumGetBool(v[COL_APPEND_ONLY - 1]);
	o->retention = isnull[COL_RETENTION - 1] ? 0 : option_usecs(v[COL_RETENTION - 1]);
	o->watermark = isnull[COL_WATERMARK - 1] ? -1 : option_usecs(v[COL_WATERMARK - 1]);
	/* the table's own check holds it to the names we know */
	(void) fe_on_error_by_name(TextDatumGetCString(v[COL_ON_ERROR - 1]), &o->on_error);
	o->snapshot = DatumGetBool(v[COL_SNAPSHOT - 1]);
	o->offline = DatumGetBool(v[COL_OFFLINE - 1]);
	o->history_interval = isnull[COL_HISTORY_INTERVAL - 1] ? 0 :
		option_usecs(v[COL_HISTORY_INTERVAL - 1]);
	o->history_retention = isnull[COL_HISTORY_RETENTION - 1] ? 0 :
		option_usecs(v[COL_HISTORY_RETENTION - 1]);
	(void) fe_redis_layout_by_name(TextDatumGetCString(v[COL_REDIS_LAYOUT - 1]),
								   &o->redis_layout);
	o->feast_project = isnull[COL_FEAST_PROJECT - 1] ? NULL :
		TextDatumGetCString(v[COL_FEAST_PROJECT - 1]);
}

static FeCatalogRow *
read_row(TupleTableSlot *slot)
{
	FeCatalogRow *row = palloc0(sizeof(FeCatalogRow));
	Datum	   *v;
	bool	   *isnull;
	Datum		xmin;
	bool		is_null;

	slot_getallattrs(slot);
	v = slot->tts_values;
	isnull = slot->tts_isnull;
	row->viewid = DatumGetInt32(v[COL_VIEWID - 1]);
	row->name = TextDatumGetCString(v[COL_NAME - 1]);
	row->relation = isnull[COL_RELATION - 1] ? InvalidOid : DatumGetObjectId(v[COL_RELATION - 1]);
	row->definition = DatumGetObjectId(v[COL_DEFINITION - 1]);
	row->replaces = isnull[COL_REPLACES - 1] ? 0 : DatumGetInt32(v[COL_REPLACES - 1]);
	row->version = DatumGetInt32(v[COL_VERSION - 1]);
	row->generation = DatumGetInt32(v[COL_GENERATION - 1]);
	row->history = isnull[COL_HISTORY - 1] ? InvalidOid : DatumGetObjectId(v[COL_HISTORY - 1]);
	read_options(v, isnull, &row->options);
	xmin = slot_getsysattr(slot, MinTransactionIdAttributeNumber, &is_null);
	row->uncommitted = TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
	return row;
}

static int
compare_rows(const ListCell *a, const ListCell *b)
{
	return ((FeCatalogRow *) lfirst(a))->viewid - ((FeCatalogRow *) lfirst(b))->viewid;
}

List *
fe_catalog_read(void)
{
	Oid			oid = fe_catalog_oid(true);
	List	   *rows = NIL;
	Relation	rel;
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;

	if (!OidIsValid(oid))
		return NIL;
	/* it may have gone while we waited for the lock: DROP EXTENSION */
	rel = try_table_open(oid, AccessShareLock);
	if (rel == NULL)
		return NIL;
	if (RelationGetDescr(rel)->natts < COL_LAST)
		elog(ERROR, "catalog of feature views has %d columns", RelationGetDescr(rel)->natts);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		rows = lappend(rows, read_row(slot));
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	list_sort(rows, compare_rows);
	return rows;
}

FeCatalogRow *
fe_catalog_by_id(int32 viewid)
{
	ListCell   *lc;

	foreach(lc, fe_catalog_read())
	{
		FeCatalogRow *row = lfirst(lc);

		if (row->viewid == viewid)
			return row;
	}
	return NULL;
}

/* The view of that name; pending replacements are not found. */
FeCatalogRow *
fe_catalog_by_name(const char *name)
{
	ListCell   *lc;

	foreach(lc, fe_catalog_read())
	{
		FeCatalogRow *row = lfirst(lc);

		if (row->replaces == 0 && strcmp(row->name, name) == 0)
			return row;
	}
	return NULL;
}

FeCatalogRow *
fe_catalog_by_written_name(const char *name)
{
	FeCatalogRow *row = fe_catalog_by_name(name);
	List	   *names;
	char	   *schema;

	if (row)
		return row;
	names = fe_compat_qualified_name(name);
	row = fe_catalog_by_name(strVal(llast(names)));
	if (row == NULL || list_length(names) == 1)
		return row;
	schema = get_namespace_name(get_rel_namespace(row->relation));
	if (list_length(names) > 2 || schema == NULL || strcmp(schema, strVal(linitial(names))) != 0)
		return NULL;
	return row;
}

/* ---- writing ---------------------------------------------------------------------- */

void
fe_catalog_lock(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature views and services cannot be changed on a standby"),
				 errhint("Change them on the primary.")));
	LockRelationOid(fe_catalog_oid(false), ShareRowExclusiveLock);
}

int32
fe_catalog_next_id(void)
{
	Oid			seq = get_relname_relid("feature_view_id", get_namespace_oid(FE_SCHEMA, false));
	Oid			userid;
	int			sec;
	int32		id;

	fe_become_owner(&userid, &sec);
	id = (int32) nextval_internal(seq, true);
	fe_become_self(userid, sec);
	return id;
}

void
fe_catalog_execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	Oid			userid;
	int			sec;
	int			nestlevel = NewGUCNestLevel();

	fe_become_owner(&userid, &sec);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	if (SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not write the catalog of feature views: %s", sql);
	SPI_finish();
	CommandCounterIncrement();
	AtEOXact_GUC(false, nestlevel);
	fe_become_self(userid, sec);
}

static Datum
usecs_interval(int64 usecs)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->day = (int32) (usecs / USECS_PER_DAY);
	interval->time = usecs % USECS_PER_DAY;
	return IntervalPGetDatum(interval);
}

static Datum
names_array(List *names)
{
	Datum	   *elems = palloc(sizeof(Datum) * (list_length(names) + 1));
	ListCell   *lc;

	if (names == NIL)
		return PointerGetDatum(construct_empty_array(TEXTOID));
	foreach(lc, names)
		elems[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(elems, list_length(names), TEXTOID, -1, false,
										   TYPALIGN_INT));
}

static Oid	column_types[COL_LAST] = {
	INT4OID, TEXTOID, REGCLASSOID, REGCLASSOID, INT4OID, INT4OID, INT4OID,
	TEXTOID, INTERVALOID, INTERVALOID, INTERVALOID, TEXTARRAYOID, BOOLOID, TEXTOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID, INTERVALOID, BOOLOID,
	BOOLOID, INTERVALOID, INTERVALOID, REGCLASSOID, TEXTOID, TEXTOID
};

static void
row_values(const FeCatalogRow *row, Datum *v, char *nulls)
{
	const FeViewOptions *o = &row->options;

	memset(nulls, ' ', COL_LAST);
	memset(v, 0, sizeof(Datum) * COL_LAST);
	v[COL_VIEWID - 1] = Int32GetDatum(row->viewid);
	v[COL_NAME - 1] = CStringGetTextDatum(row->name);
	v[COL_RELATION - 1] = ObjectIdGetDatum(row->relation);
	if (!OidIsValid(row->relation))
		nulls[COL_RELATION - 1] = 'n';
	v[COL_DEFINITION - 1] = ObjectIdGetDatum(row->definition);
	v[COL_REPLACES - 1] = Int32GetDatum(row->replaces);
	if (row->replaces == 0)
		nulls[COL_REPLACES - 1] = 'n';
	v[COL_VERSION - 1] = Int32GetDatum(row->version);
	v[COL_GENERATION - 1] = Int32GetDatum(row->generation);
	if (o->redis_key)
		v[COL_REDIS_KEY - 1] = CStringGetTextDatum(o->redis_key);
	else
		nulls[COL_REDIS_KEY - 1] = 'n';
	v[COL_TTL - 1] = usecs_interval(o->ttl);
	if (o->ttl <= 0)
		nulls[COL_TTL - 1] = 'n';
	v[COL_PUSH_INTERVAL - 1] = usecs_interval((int64) o->push_interval * 1000);
	if (o->push_interval < 0)
		nulls[COL_PUSH_INTERVAL - 1] = 'n';
	v[COL_TIME_REFRESH - 1] = usecs_interval((int64) o->time_refresh * USECS_PER_SEC);
	if (o->time_refresh < 0)
		nulls[COL_TIME_REFRESH - 1] = 'n';
	v[COL_ONLINE - 1] = names_array(o->online);
	if (o->online == NIL && o->online_enabled)
		nulls[COL_ONLINE - 1] = 'n';
	v[COL_APPEND_ONLY - 1] = BoolGetDatum(o->append_only);
	v[COL_ON_ERROR - 1] = CStringGetTextDatum(fe_on_error_name(o->on_error));
	/* created_at and altered_at are the statements' own */
	nulls[COL_CREATED_AT - 1] = nulls[COL_ALTERED_AT - 1] = 'n';
	v[COL_RETENTION - 1] = usecs_interval(o->retention);
	if (o->retention == 0)
		nulls[COL_RETENTION - 1] = 'n';
	v[COL_WATERMARK - 1] = usecs_interval(o->watermark);
	if (o->watermark < 0)
		nulls[COL_WATERMARK - 1] = 'n';
	v[COL_SNAPSHOT - 1] = BoolGetDatum(o->snapshot);
	v[COL_OFFLINE - 1] = BoolGetDatum(o->offline);
	v[COL_HISTORY_INTERVAL - 1] = usecs_interval(o->history_interval);
	if (o->history_interval == 0)
		nulls[COL_HISTORY_INTERVAL - 1] = 'n';
	v[COL_HISTORY_RETENTION - 1] = usecs_interval(o->history_retention);
	if (o->history_retention == 0)
		nulls[COL_HISTORY_RETENTION - 1] = 'n';
	v[COL_HISTORY - 1] = ObjectIdGetDatum(row->history);
	if (!OidIsValid(row->history))
		nulls[COL_HISTORY - 1] = 'n';
	v[COL_REDIS_LAYOUT - 1] = CStringGetTextDatum(fe_redis_layout_name(o->redis_layout));
	if (o->feast_project)
		v[COL_FEAST_PROJECT - 1] = CStringGetTextDatum(o->feast_project);
	else
		nulls[COL_FEAST_PROJECT - 1] = 'n';
}

void
fe_catalog_insert(const FeCatalogRow *row)
{
	Datum		values[COL_LAST];
	char		nulls[COL_LAST];

	row_values(row, values, nulls);
	fe_catalog_execute("INSERT INTO feature_engine." FE_CATALOG_TABLE
					   " (viewid, name, relation, definition, replaces, version, generation,"
					   " redis_key, ttl, push_interval, time_refresh, online, append_only,"
					   " on_error, retention, watermark, snapshot, offline, history_interval,"
					   " history_retention, history, redis_layout, feast_project)"
					   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $17, $18,"
					   " $19, $20, $21, $22, $23, $24, $25)",
					   COL_LAST, column_types, values, nulls);
}

void
fe_catalog_update(const FeCatalogRow *row)
{
	Datum		values[COL_LAST];
	char		nulls[COL_LAST];

	row_values(row, values, nulls);
	fe_catalog_execute("UPDATE feature_engine." FE_CATALOG_TABLE
					   " SET name = $2, relation = $3, definition = $4, replaces = $5,"
					   " version = $6, generation = $7, redis_key = $8, ttl = $9,"
					   " push_interval = $10, time_refresh = $11, online = $12,"
					   " append_only = $13, on_error = $14, altered_at = now(), retention = $17,"
					   " watermark = $18, snapshot = $19, offline = $20, history_interval = $21,"
					   " history_retention = $22, history = $23, redis_layout = $24, feast_project = $25"
					   " WHERE viewid = $1",
					   COL_LAST, column_types, values, nulls);
}

void
fe_catalog_delete(int32 viewid)
{
	Oid			type = INT4OID;
	Datum		value = Int32GetDatum(viewid);

	fe_catalog_execute("DELETE FROM feature_engine." FE_CATALOG_TABLE " WHERE viewid = $1",
					   1, &type, &value, NULL);
}

/* ---- noticing changes ------------------------------------------------------------------ */

static bool
relation_exists(Oid relid)
{
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));
}

/*
 * Trigger on the catalogue.  Workers and plan caches see the invalidation at
 * commit.  A dump does not hold the dependency of the relation on its
 * definition: it is made again with the restored row.
 */
Datum
fe_catalog_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "fe_catalog_changed: not called by trigger manager");
	CacheInvalidateRelcacheByRelid(RelationGetRelid(trigdata->tg_relation));
	if (TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) && TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);
		bool		norelation;
		bool		nodefinition;
		Oid			relation = DatumGetObjectId(heap_getattr(trigdata->tg_trigtuple, COL_RELATION,
															 desc, &norelation));
		Oid			definition = DatumGetObjectId(heap_getattr(trigdata->tg_trigtuple,
															   COL_DEFINITION, desc,
															   &nodefinition));

		if (!norelation && !nodefinition && relation_exists(relation) &&
			relation_exists(definition))
		{
			fe_forget_dependency(relation);
			fe_record_dependency(relation, definition);
		}
	}
	if (fe_shared != NULL)
		fe_request_worker();
	return PointerGetDatum(NULL);
}

/* Drops the half of a feature view that is left; both halves may be gone. */
static void
drop_remains(const FeCatalogRow *row, bool cascade)
{
	ObjectAddresses *objects = new_object_addresses();
	ObjectAddress address;
	Oid			userid;
	int			sec;

	/* first: waits for whoever is about to create a service */
	fe_catalog_delete(row->viewid);
	if (row->replaces == 0 && cascade)
		fe_services_cascade_drop(row->name);
	else if (row->replaces == 0)
		fe_services_refuse_drop(row->name);
	if (OidIsValid(row->relation) && relation_exists(row->relation))
	{
		ObjectAddressSet(address, RelationRelationId, row->relation);
		add_exact_object_address(&address, objects);
	}
	if (relation_exists(row->definition))
	{
		ObjectAddressSet(address, RelationRelationId, row->definition);
		add_exact_object_address(&address, objects);
	}
	fe_become_owner(&userid, &sec);
	performMultipleDeletions(objects, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	fe_become_self(userid, sec);
	free_object_addresses(objects);
}

/* Its history table was dropped, and must not be taken for one that gets its number later. */
static void
forget_history(FeCatalogRow *row)
{
	row->history = InvalidOid;
	row->version++;
	fe_catalog_update(row);
}

/* Was it DROP without CASCADE?  (Other commands drop columns, or what goes with them.) */
static bool
is_restricted_drop(Node *parsetree)
{
	if (IsA(parsetree, DropStmt))
		return ((DropStmt *) parsetree)->behavior == DROP_RESTRICT;
	if (IsA(parsetree, DropOwnedStmt))
		return ((DropOwnedStmt *) parsetree)->behavior == DROP_RESTRICT;
	return false;
}

/*
 * Event trigger on sql_drop: whoever drops the relation, or with CASCADE the
 * source or the stored definition, drops the feature view.
 */
Datum
fe_catalog_sql_drop(PG_FUNCTION_ARGS)
{
	List	   *rows;
	ListCell   *lc;
	bool		again;
	bool		cascade;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		elog(ERROR, "fe_catalog_sql_drop: not called by event trigger manager");
	cascade = !is_restricted_drop(((EventTriggerData *) fcinfo->context)->parsetree);
	do
	{
		again = false;
		CommandCounterIncrement();
		rows = fe_catalog_read();
		foreach(lc, rows)
		{
			FeCatalogRow *row = lfirst(lc);
			ListCell   *lo;
			bool		orphan = row->replaces != 0;

			foreach(lo, rows)
				if (((FeCatalogRow *) lfirst(lo))->viewid == row->replaces)
					orphan = false;
			if (!orphan && relation_exists(row->definition) &&
				(!OidIsValid(row->relation) || relation_exists(row->relation)))
			{
				if (OidIsValid(row->history) && !relation_exists(row->history))
					forget_history(row);
				continue;
			}
			drop_remains(row, cascade);
			again = true;
			break;
		}
	} while (again);
	PG_RETURN_NULL();
}
