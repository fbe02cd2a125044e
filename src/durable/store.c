/*
 * store.c
 *		What is stored of feature views: finding it, loading it, removing it.
 *
 * In the ingest worker, inside its transactions.  Takes the locks of ordinary
 * statements on feature_engine.checkpoint and checkpoint_chunk.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "durable/internal.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "runtime/runtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"

#define FETCH_CHUNKS	64

/* Runs one statement; SPI must be connected. */
void
fe_durable_execute(const char *sql, int nargs, Oid *types, Datum *values, int expected)
{
	int			result = SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0);

	if (result != expected)
		elog(ERROR, "\"%s\" failed: %s", sql, SPI_result_code_string(result));
}

static int64
column_int64(int column)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column,
									   &isnull));
}

/* ---- finding ------------------------------------------------------------------ */

static const char *
problem_of_row(const FePlan *plan)
{
	bool		isnull;
	TupleDesc	desc = SPI_tuptable->tupdesc;
	HeapTuple	row = SPI_tuptable->vals[0];

	if (DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull)) != FE_CHECKPOINT_FORMAT)
		return "its format is another version's";
	if ((uint64) column_int64(2) != GetSystemIdentifier())
		return "it was written by another server";
	if (DatumGetObjectId(SPI_getbinval(row, desc, 3, &isnull)) != MyDatabaseId)
		return "it was written in another database";
	return NULL;
}

/* If not, somebody has replaced or refreshed the view: it is to be built anew. */
static bool
is_of_definition(const FePlan *plan)
{
	bool		isnull;

	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4,
									   &isnull)) == plan->state_version;
}

bool
fe_durable_find(const FePlan *plan, FeStored *stored, const char **why)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(plan->viewid)};
	bool		found;

	*why = NULL;
	SPI_connect();
	fe_durable_execute("SELECT format, system_identifier, database, state_version, replay_lsn,"
					   " full_cycle, cycle, chunks, entities, full_bytes, more_bytes,"
					   " coalesce(event_time, -9223372036854775808)"
					   " FROM feature_engine.checkpoint WHERE viewid = $1",
					   1, types, values, SPI_OK_SELECT);
	found = SPI_processed == 1;
	if (found)
		*why = problem_of_row(plan);
	if (found && *why == NULL && !is_of_definition(plan))
		found = false;
	if (found && *why == NULL)
	{
		stored->lsn = (XLogRecPtr) column_int64(5);
		stored->full_cycle = column_int64(6);
		stored->cycle = column_int64(7);
		stored->chunks = column_int64(8);
		stored->entities = column_int64(9);
		stored->full_bytes = column_int64(10);
		stored->more_bytes = column_int64(11);
		stored->event_time = column_int64(12);
	}
	SPI_finish();
	return found && *why == NULL;
}

FePartitions *
fe_durable_partitions(const FePlan *plan)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(plan->viewid)};
	FePartitions *partitions = NULL;

	SPI_connect();
	fe_durable_execute("SELECT partitions FROM feature_engine.checkpoint"
					   " WHERE viewid = $1 AND partitions IS NOT NULL",
					   1, types, values, SPI_OK_SELECT);
	if (SPI_processed == 1)
	{
		bool		isnull;
		Datum		data = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		partitions = fe_partitions_decode(DatumGetByteaPP(data));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return partitions;
}

/* ---- loading ------------------------------------------------------------------- */

static bool
load_chunk(FeStateWriter *w, Datum data, const char **why)
{
	bytea	   *value = DatumGetByteaPP(data);
	Size		len = VARSIZE_ANY_EXHDR(value);
	Size		done = 0;
	char	   *chunk = palloc(len + 1);	/* aligned, unlike the value */
	FeDatabase *db = fe_my_database();
	FeLoadResult result;

	memcpy(chunk, VARDATA_ANY(value), len);
	/* between chunks state is whole: then an error is none of those that spoil it */
	pg_atomic_write_u32(&db->merging, 1);
	result = fe_state_load(w, chunk, len, &done, why);
	pg_atomic_write_u32(&db->merging, 0);
	if (result == FE_LOAD_NO_MEMORY)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("feature_engine.memory is full while stored state is loaded"),
				 errhint("Raise feature_engine.memory (up to feature_engine.max_memory) and reload; nothing is lost meanwhile.")));
	return result == FE_LOAD_DONE;
}

/* The chunks just fetched, each in memory of its own. */
static bool
load_fetched(FeStateWriter *w, FeViewShared *view, const char **why)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "feature_engine chunk",
											  ALLOCSET_DEFAULT_SIZES);
	bool		ok = true;

	for (uint64 i = 0; i < SPI_processed && ok; i++)
	{
		bool		isnull;
		Datum		data = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		CHECK_FOR_INTERRUPTS();
		ok = load_chunk(w, data, why);
		MemoryContextSwitchTo(old);
		MemoryContextReset(cxt);
	}
	pg_atomic_write_u64(&view->backfill_done, pg_atomic_read_u64(&view->entities));
	MemoryContextDelete(cxt);
	return ok;
}

/* Newest first: then each entity's first image is the one that counts. */
bool
fe_durable_load(const FePlan *plan, const FeStored *stored, FeStateWriter *w,
				FeViewShared *view, const char **why)
{
	Oid			types[] = {INT4OID, INT8OID, INT8OID};
	Datum		values[] = {Int32GetDatum(plan->viewid), Int64GetDatum(stored->full_cycle),
	Int64GetDatum(stored->cycle)};
	Portal		portal;
	int64		chunks = 0;
	uint64		fetched;
	bool		ok;

	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL,
									   "SELECT data FROM feature_engine.checkpoint_chunk"
									   " WHERE viewid = $1 AND cycle BETWEEN $2 AND $3"
									   " ORDER BY cycle DESC, number DESC",
									   lengthof(types), types, values, NULL, true, 0);
	do
	{
		SPI_cursor_fetch(portal, true, FETCH_CHUNKS);
		fetched = SPI_processed;
		chunks += fetched;
		ok = load_fetched(w, view, why);
		SPI_freetuptable(SPI_tuptable);
	} while (ok && fetched > 0);
	SPI_cursor_close(portal);
	SPI_finish();
	if (ok && chunks != stored->chunks)
	{
		*why = "chunks of it are missing";
		ok = false;
	}
	return ok;
}

/* ---- removing ------------------------------------------------------------------- */

void
fe_durable_forget(int32 viewid)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(viewid)};

	SPI_connect();
	fe_durable_execute("DELETE FROM feature_engine.checkpoint WHERE viewid = $1",
					   1, types, values, SPI_OK_DELETE);
	fe_durable_execute("DELETE FROM feature_engine.checkpoint_chunk WHERE viewid = $1",
					   1, types, values, SPI_OK_DELETE);
	SPI_finish();
}

void
fe_durable_forget_others(List *viewids)
{
	Datum	   *ids = palloc(list_length(viewids) * sizeof(Datum) + 1);
	Oid			types[] = {INT4ARRAYOID};
	Datum		values[1];
	int			n = 0;
	ListCell   *lc;

	foreach(lc, viewids)
		ids[n++] = Int32GetDatum(lfirst_int(lc));
	values[0] = PointerGetDatum(construct_array(ids, n, INT4OID, sizeof(int32), true,
												TYPALIGN_INT));
	SPI_connect();
	fe_durable_execute("DELETE FROM feature_engine.checkpoint WHERE viewid <> ALL ($1)",
					   1, types, values, SPI_OK_DELETE);
	/* by the primary key: the ids that chunks have are few */
	fe_durable_execute("WITH RECURSIVE stored (viewid) AS ("
					   "  SELECT min(viewid) FROM feature_engine.checkpoint_chunk"
					   "  UNION ALL"
					   "  SELECT (SELECT min(c.viewid) FROM feature_engine.checkpoint_chunk c"
					   "          WHERE c.viewid > s.viewid) FROM stored s WHERE s.viewid IS NOT NULL)"
					   " DELETE FROM feature_engine.checkpoint_chunk"
					   " WHERE viewid IN (SELECT viewid FROM stored WHERE viewid <> ALL ($1))",
					   1, types, values, SPI_OK_DELETE);
	fe_durable_execute("DELETE FROM feature_engine.change_history WHERE viewid <> ALL ($1)",
					   1, types, values, SPI_OK_DELETE);
	fe_durable_execute("DELETE FROM feature_engine.change_gap WHERE viewid <> ALL ($1)",
					   1, types, values, SPI_OK_DELETE);
	fe_durable_execute("DELETE FROM feature_engine.change_time WHERE viewid <> ALL ($1)",
					   1, types, values, SPI_OK_DELETE);
	SPI_finish();
}
