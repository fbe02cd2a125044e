/*
 * footprint.c
 *		The table of what feature views have in Redis.
 *
 * Written by the pusher, in short transactions of its own; read by it and by
 * the ingest worker, which stays until the last row is gone.  Locks: ACCESS
 * SHARE or ROW EXCLUSIVE on the table.  It may vanish at any time (DROP
 * EXTENSION): then there is nothing to read, and nothing to take back.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/tuptable.h"
#include "nodes/value.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "definition/definition.h"
#include "definition/footprint.h"

#define FOOTPRINT_TABLE		"online_footprint"

/* Columns, in the order of the install script. */
enum
{
	COL_ID = 1,
	COL_VIEW,
	COL_TEMPLATE,
	COL_FIELDS,
	COL_TTL,
	COL_LAYOUT,
	COL_LAST = COL_LAYOUT
};

/* ---- reading -------------------------------------------------------------------- */

/* NULL: there is no such table. */
static Relation
open_table(void)
{
	Oid			schema = get_namespace_oid(FE_SCHEMA, true);
	Oid			oid = OidIsValid(schema) ? get_relname_relid(FOOTPRINT_TABLE, schema) : InvalidOid;

	return OidIsValid(oid) ? try_table_open(oid, AccessShareLock) : NULL;
}

static FeFootprint *
read_row(TupleTableSlot *slot)
{
	FeFootprint *f = palloc0(sizeof(FeFootprint));
	Datum	   *elems;
	int			n;

	slot_getallattrs(slot);
	f->id = DatumGetInt64(slot->tts_values[COL_ID - 1]);
	f->view = TextDatumGetCString(slot->tts_values[COL_VIEW - 1]);
	f->template = TextDatumGetCString(slot->tts_values[COL_TEMPLATE - 1]);
	f->ttl = DatumGetInt64(slot->tts_values[COL_TTL - 1]);
	f->layout = TextDatumGetCString(slot->tts_values[COL_LAYOUT - 1]);
	deconstruct_array(DatumGetArrayTypePCopy(slot->tts_values[COL_FIELDS - 1]), TEXTOID, -1,
					  false, TYPALIGN_INT, &elems, NULL, &n);
	for (int i = 0; i < n; i++)
		f->fields = lappend(f->fields, makeString(TextDatumGetCString(elems[i])));
	return f;
}

static List *
read_rows(int max)
{
	Relation	rel = open_table();
	List	   *rows = NIL;
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;

	if (rel == NULL)
		return NIL;
	if (RelationGetDescr(rel)->natts < COL_LAST)
		elog(ERROR, "table of footprints has %d columns", RelationGetDescr(rel)->natts);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while (list_length(rows) < max && table_scan_getnextslot(scan, ForwardScanDirection, slot))
		rows = lappend(rows, read_row(slot));
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return rows;
}

List *
fe_footprint_read(void)
{
	return read_rows(PG_INT32_MAX);
}

bool
fe_footprint_any(void)
{
	return read_rows(1) != NIL;
}

/* ---- writing ---------------------------------------------------------------------- */

static bool
table_exists(void)
{
	Relation	rel = open_table();

	if (rel == NULL)
		return false;
	table_close(rel, NoLock);	/* it stays until the end of the transaction */
	return true;
}

static Datum
fields_array(List *fields)
{
	Datum	   *elems = palloc(sizeof(Datum) * (list_length(fields) + 1));
	ListCell   *lc;

	if (fields == NIL)
		return PointerGetDatum(construct_empty_array(TEXTOID));
	foreach(lc, fields)
		elems[foreach_current_index(lc)] = CStringGetTextDatum(strVal(lfirst(lc)));
	return PointerGetDatum(construct_array(elems, list_length(fields), TEXTOID, -1, false,
										   TYPALIGN_INT));
}

void
fe_footprint_insert(FeFootprint *f)
{
	Oid			types[COL_LAST] = {INT8OID, TEXTOID, TEXTOID, TEXTARRAYOID, INT8OID, TEXTOID};
	Datum		values[COL_LAST];

	if (!table_exists())
		return;
	f->id = nextval_internal(get_relname_relid("online_footprint_id",
											   get_namespace_oid(FE_SCHEMA, false)), false);
	values[COL_ID - 1] = Int64GetDatum(f->id);
	values[COL_VIEW - 1] = CStringGetTextDatum(f->view);
	values[COL_TEMPLATE - 1] = CStringGetTextDatum(f->template);
	values[COL_FIELDS - 1] = fields_array(f->fields);
	values[COL_TTL - 1] = Int64GetDatum(f->ttl);
	values[COL_LAYOUT - 1] = CStringGetTextDatum(f->layout);
	fe_catalog_execute("INSERT INTO feature_engine." FOOTPRINT_TABLE
					   " (id, view, template, fields, ttl, layout)"
					   " VALUES ($1, $2, $3, $4, $5, $6)",
					   COL_LAST, types, values, NULL);
}

void
fe_footprint_set_ttl(int64 id, int64 ttl)
{
	Oid			types[] = {INT8OID, INT8OID};
	Datum		values[] = {Int64GetDatum(id), Int64GetDatum(ttl)};

	if (table_exists())
		fe_catalog_execute("UPDATE feature_engine." FOOTPRINT_TABLE
						   " SET ttl = $2 WHERE id = $1",
						   lengthof(types), types, values, NULL);
}

void
fe_footprint_delete(int64 id)
{
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);

	if (table_exists())
		fe_catalog_execute("DELETE FROM feature_engine." FOOTPRINT_TABLE " WHERE id = $1",
						   1, &type, &value, NULL);
}
