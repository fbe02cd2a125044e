/*
 * history.c
 *		Since when views over changes() know all changes, and which they missed.
 *
 * What such a view holds can be had from nowhere else.  So that a loss never goes
 * unnoticed, it is written down when its history begins; and wherever it has to go
 * on without some of the log, from where to where.
 *
 * In the ingest worker, inside its transactions.  Takes the locks of ordinary
 * statements on feature_engine.change_history and change_gap.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "durable/internal.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

/* Gaps of a view that are kept: the latest. */
#define MAX_GAPS		100

static XLogRecPtr
column_lsn(int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column,
									  &isnull);

	return isnull ? InvalidXLogRecPtr : DatumGetLSN(value);
}

bool
fe_durable_history_find(int32 viewid, int32 generation, FeHistory *history)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(viewid), Int32GetDatum(generation)};
	bool		found;

	memset(history, 0, sizeof(FeHistory));
	SPI_connect();
	fe_durable_execute("SELECT h.began_lsn, g.gap_from, g.gap_to FROM feature_engine.change_history h"
					   " LEFT JOIN feature_engine.change_gap g ON g.viewid = h.viewid AND g.number ="
					   " (SELECT max(number) FROM feature_engine.change_gap WHERE viewid = h.viewid)"
					   " WHERE h.viewid = $1 AND h.generation = $2",
					   2, types, values, SPI_OK_SELECT);
	found = SPI_processed == 1;
	if (found)
	{
		history->began_lsn = column_lsn(1);
		history->gap_from = column_lsn(2);
		history->gap_to = column_lsn(3);
	}
	SPI_finish();
	return found;
}

void
fe_durable_history_gap(int32 viewid, XLogRecPtr from, XLogRecPtr to, const char *reason)
{
	Oid			types[] = {INT4OID, LSNOID, LSNOID, TEXTOID, INT4OID};
	Datum		values[] = {Int32GetDatum(viewid), LSNGetDatum(from), LSNGetDatum(to),
	CStringGetTextDatum(reason), Int32GetDatum(MAX_GAPS)};

	SPI_connect();
	fe_durable_execute("INSERT INTO feature_engine.change_gap (viewid, number, gap_from, gap_to, reason)"
					   " SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4"
					   " FROM feature_engine.change_gap WHERE viewid = $1",
					   lengthof(types), types, values, SPI_OK_INSERT);
	fe_durable_execute("DELETE FROM feature_engine.change_gap WHERE viewid = $1 AND number <="
					   " (SELECT max(number) FROM feature_engine.change_gap WHERE viewid = $1) - $5",
					   lengthof(types), types, values, SPI_OK_DELETE);
	SPI_finish();
}

void
fe_durable_history_begin(int32 viewid, int32 generation, XLogRecPtr lsn)
{
	Oid			types[] = {INT4OID, INT4OID, LSNOID};
	Datum		values[] = {Int32GetDatum(viewid), Int32GetDatum(generation), LSNGetDatum(lsn)};

	SPI_connect();
	fe_durable_execute("DELETE FROM feature_engine.change_gap g USING feature_engine.change_history h"
					   " WHERE g.viewid = $1 AND h.viewid = $1 AND h.generation <> $2",
					   2, types, values, SPI_OK_DELETE);
	fe_durable_execute("INSERT INTO feature_engine.change_history (viewid, generation, began_lsn)"
					   " VALUES ($1, $2, $3) ON CONFLICT (viewid) DO UPDATE"
					   " SET generation = $2, began_lsn = $3, began_at = pg_catalog.now()",
					   lengthof(types), types, values, SPI_OK_INSERT);
	SPI_finish();
}
