/*
 * rewritten.c
 *		Event trigger on table_rewrite: values that ALTER TABLE changes without
 *		changing rows.
 *
 * ALTER TABLE ... ALTER COLUMN ... SET EXPRESSION (PostgreSQL 17) computes a
 * stored generated column anew.  The server lets it pass, although views depend
 * on the column, and nothing of it is decoded: feature views that use a stored
 * generated column of a table that is rewritten, or of one that this is a partition
 * of, are built anew.
 *
 * Views over changes() are not: what they have counted had the values of its time.
 *
 * Runs in the user's backend, in the transaction of ALTER TABLE: the new
 * generation is seen when that commits.  Takes row locks in our catalogue.
 */
#include "postgres.h"

#include "commands/event_trigger.h"
#include "fmgr.h"

#include "definition/definition.h"

PG_FUNCTION_INFO_V1(fe_source_rewritten);

Datum
fe_source_rewritten(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		elog(ERROR, "fe_source_rewritten: not called by event trigger manager");
	fe_catalog_execute("UPDATE " FE_SCHEMA "." FE_CATALOG_TABLE " c SET generation = generation + 1 "
					   "WHERE EXISTS (SELECT FROM pg_rewrite r "
					   "JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid "
					   "JOIN pg_attribute a ON d.refclassid = 'pg_class'::regclass "
					   "AND a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
					   "WHERE r.ev_class = c.definition AND a.attgenerated = 's' "
					   "AND (a.attrelid = pg_event_trigger_table_rewrite_oid() OR a.attrelid IN "
					   "(SELECT pg_partition_ancestors(pg_event_trigger_table_rewrite_oid())))) "
					   "AND NOT EXISTS (SELECT FROM pg_rewrite r JOIN pg_depend d "
					   "ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid "
					   "WHERE r.ev_class = c.definition AND d.refclassid = 'pg_proc'::regclass "
					   "AND d.refobjid = '" FE_SCHEMA ".changes(anyelement)'::regprocedure)",
					   0, NULL, NULL, NULL);
	PG_RETURN_NULL();
}
