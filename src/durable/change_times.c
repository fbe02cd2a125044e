/*
 * change_times.c
 *		When each row of a table changed last, for before_at of views over changes().
 *
 * A row of feature_engine.change_time says that the transaction which ends at lsn
 * in the log changed a row of that key, by the change at that position, and when it
 * committed; NULL: it deleted it.  Several versions of a key are there side by side,
 * so that whoever reads the log once more, from the position of the last checkpoint
 * on, finds what was so then: the latest version before a change is what that change
 * saw.  Older ones than the latest before the checkpoint go with it.
 *
 * Finding and adding: in the ingest worker; removing: in the checkpoint worker, too.
 * Inside their transactions.  Takes the locks of ordinary statements on the table.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "durable/internal.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

static SPIPlanPtr
find_plan(void)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT4OID, OIDOID, BYTEAOID, LSNOID, LSNOID};

	if (plan == NULL)
	{
		plan = SPI_prepare("SELECT at FROM feature_engine.change_time"
						   " WHERE viewid = $1 AND source = $2 AND key = $3 AND (lsn, change) < ($4, $5)"
						   " ORDER BY lsn DESC, change DESC LIMIT 1",
						   lengthof(types), types);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare the statement for times of changes");
	}
	return plan;
}

bool
fe_durable_time_find(const FeChangeTime *change, TimestampTz *at)
{
	Datum		values[] = {Int32GetDatum(change->viewid), ObjectIdGetDatum(change->source),
	PointerGetDatum(change->key), LSNGetDatum(change->lsn), LSNGetDatum(change->change)};
	bool		isnull = true;

	SPI_connect();
	if (SPI_execute_plan(find_plan(), values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look up the time of a change");
	if (SPI_processed == 1)
		*at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
												&isnull));
	SPI_finish();
	return !isnull;
}

/* All versions of one view among them. */
void
fe_durable_times_add(int32 viewid, const FeChangeTime *times, int n)
{
	Oid			types[] = {INT4OID, BYTEAARRAYOID, PG_LSNARRAYOID, TIMESTAMPTZARRAYOID,
	OIDARRAYOID, PG_LSNARRAYOID};
	Datum		values[6] = {Int32GetDatum(viewid)};
	Datum	   *sources = palloc(n * sizeof(Datum));
	Datum	   *changes = palloc(n * sizeof(Datum));
	Datum	   *keys = palloc(n * sizeof(Datum));
	Datum	   *lsns = palloc(n * sizeof(Datum));
	Datum	   *ats = palloc(n * sizeof(Datum));
	bool	   *nulls = palloc(n * sizeof(bool));
	int			dims[1];
	int			lbs[1] = {1};
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		if (times[i].viewid != viewid)
			continue;
		sources[count] = ObjectIdGetDatum(times[i].source);
		changes[count] = LSNGetDatum(times[i].change);
		keys[count] = PointerGetDatum(times[i].key);
		lsns[count] = LSNGetDatum(times[i].lsn);
		ats[count] = TimestampTzGetDatum(times[i].at);
		nulls[count++] = times[i].deleted;
	}
	dims[0] = count;
	values[1] = PointerGetDatum(construct_array(keys, count, BYTEAOID, -1, false, TYPALIGN_INT));
	values[2] = PointerGetDatum(construct_array(lsns, count, LSNOID, sizeof(XLogRecPtr),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[3] = PointerGetDatum(construct_md_array(ats, nulls, 1, dims, lbs, TIMESTAMPTZOID,
												   sizeof(TimestampTz), FLOAT8PASSBYVAL,
												   TYPALIGN_DOUBLE));
	values[4] = PointerGetDatum(construct_array(sources, count, OIDOID, sizeof(Oid), true,
												TYPALIGN_INT));
	values[5] = PointerGetDatum(construct_array(changes, count, LSNOID, sizeof(XLogRecPtr),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	SPI_connect();
	fe_durable_execute("INSERT INTO feature_engine.change_time (viewid, source, key, lsn, change, at)"
					   " SELECT $1, s, k, l, c, a FROM ROWS FROM (pg_catalog.unnest($5),"
					   " pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($6),"
					   " pg_catalog.unnest($4)) AS u (s, k, l, c, a)"
					   " ON CONFLICT DO NOTHING",
					   lengthof(types), types, values, SPI_OK_INSERT);
	SPI_finish();
}

/* All rows of a table are gone with the transaction that ends at lsn. */
void
fe_durable_times_truncate(int32 viewid, Oid source, XLogRecPtr lsn)
{
	Oid			types[] = {INT4OID, OIDOID, LSNOID};
	Datum		values[] = {Int32GetDatum(viewid), ObjectIdGetDatum(source), LSNGetDatum(lsn)};

	SPI_connect();
	fe_durable_execute("INSERT INTO feature_engine.change_time (viewid, source, key, lsn, change, at)"
					   " SELECT $1, $2, key, $3, '0/0', NULL FROM (SELECT DISTINCT ON (key) key, at"
					   "  FROM feature_engine.change_time WHERE viewid = $1 AND source = $2 AND lsn < $3"
					   "  ORDER BY key, lsn DESC, change DESC) AS latest WHERE at IS NOT NULL"
					   " ON CONFLICT DO NOTHING",
					   lengthof(types), types, values, SPI_OK_INSERT);
	SPI_finish();
}

/*
 * State is stored as of a position, the log will not be read from before it again.
 * since: what was stored last, whose versions have been removed then.
 */
void
fe_durable_times_prune(int32 viewid, XLogRecPtr since, XLogRecPtr stored)
{
	Oid			types[] = {INT4OID, LSNOID, LSNOID};
	Datum		values[] = {Int32GetDatum(viewid), LSNGetDatum(since), LSNGetDatum(stored)};

	fe_durable_execute("DELETE FROM feature_engine.change_time t USING feature_engine.change_time n"
					   " WHERE n.viewid = $1 AND n.lsn > $2 AND n.lsn <= $3"
					   " AND t.viewid = $1 AND t.source = n.source AND t.key = n.key"
					   " AND (t.lsn, t.change) < (n.lsn, n.change)",
					   lengthof(types), types, values, SPI_OK_DELETE);
	fe_durable_execute("DELETE FROM feature_engine.change_time"
					   " WHERE viewid = $1 AND lsn > $2 AND lsn <= $3 AND at IS NULL",
					   lengthof(types), types, values, SPI_OK_DELETE);
}

void
fe_durable_times_forget(int32 viewid)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(viewid)};

	SPI_connect();
	fe_durable_execute("DELETE FROM feature_engine.change_time WHERE viewid = $1",
					   1, types, values, SPI_OK_DELETE);
	SPI_finish();
}
