/*
 * bounds.c
 *		Views whose entities keep more rows of arguments than they may.
 *
 * An aggregate that has no compact state is computed from its rows' arguments
 * (kind "values").  So that neither memory nor the time of a read grows without
 * end, an entity may keep max_values_per_entity of them.  A view with one that has
 * more stops, as after an error: its values are right to the last, but are no
 * longer given.  It is built anew after a pause, and lives on once the rows have
 * become fewer or the setting has been raised.
 *
 * Runs in the ingest worker, inside its transaction, after a merge.  No locks: it
 * is the only writer.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/lsyscache.h"

#include "ingest/ingest.h"

/* Only of types whose text PostgreSQL itself makes: no user's code runs for a message. */
static void
append_key(StringInfo buf, const FeKey *key, Datum value, bool isnull)
{
	Oid			base = getBaseType(key->type);
	Oid			output;
	bool		varlena;

	appendStringInfo(buf, "%s = ", key->name);
	getTypeOutputInfo(base, &output, &varlena);
	if (isnull)
		appendStringInfoString(buf, "NULL");
	else if (base >= FirstNormalObjectId && get_typtype(base) != TYPTYPE_ENUM)
		appendStringInfo(buf, "(a %s)", get_typtype(base) == TYPTYPE_COMPOSITE ? "row" : "value");
	else
		appendStringInfoString(buf, OidOutputFunctionCall(output, value));
}

static void
stop_view(FeIngest *ingest, FeIngestView *view, uint32 kept, const Datum *keys,
		  const bool *nulls)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%u rows of arguments are kept for the entity with ", kept);
	for (int k = 0; k < view->plan->nkeys; k++)
	{
		if (k > 0)
			appendStringInfoString(&buf, ", ");
		append_key(&buf, &view->plan->keys[k], keys[k], nulls[k]);
	}
	appendStringInfo(&buf, ", more than feature_engine.max_values_per_entity (%d): raise it, or have "
					 "WHERE, FILTER or a window leave fewer rows to the aggregates that keep them",
					 fe_setting_max_values_per_entity);
	fe_ingest_fail_view(ingest, view, buf.data);
	pfree(buf.data);
}

void
fe_ingest_check_bounds(FeIngest *ingest)
{
	ListCell   *lc;

	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);
		Datum		keys[FE_MAX_KEYS];
		bool		nulls[FE_MAX_KEYS];
		uint32		kept;

		if (view->writer != NULL && fe_state_overfull(view->writer, &kept, keys, nulls))
			stop_view(ingest, view, kept, keys, nulls);
	}
}
