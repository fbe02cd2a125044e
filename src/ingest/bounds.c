/*
 * bounds.c
 *		What entities keep of their rows' arguments: folds them into states where it
 *		can, and stops views whose entities keep more than they may.
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
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "ingest/ingest.h"

/* ---- folding ------------------------------------------------------------------- */

static void
fold_one(FeIngest *ingest, FeIngestView *view)
{
	FeOwnerContext owner;
	Size		room;

	fe_owner_enter(&owner, view->plan, true);
	room = fe_state_fold_prepare(view->writer);
	fe_owner_leave(&owner);
	if (room == 0 || !fe_heap_has_room(ingest->heap, room))
		return;
	/* set already where a transaction is partly merged */
	pg_atomic_write_u32(&ingest->db->merging, 1);
	fe_state_fold_install(view->writer);
	if (!fe_apply_in_middle(ingest->apply))
		pg_atomic_write_u32(&ingest->db->merging, 0);
}

/*
 * After an error: the rows stay as they are, and so does the view, whose batch query
 * raises the error only to who reads that entity.
 */
static void
give_up(FeIngestView *view, MemoryContext cxt)
{
	ErrorData  *edata = fe_worker_caught_inside(cxt);

	fe_state_fold_give_up(view->writer);
	ereport(LOG,
			(errmsg("feature view \"%s\" keeps rows that it could fold, because of an error: %s",
					view->plan->name, edata->message)));
	FreeErrorData(edata);
}

static void
fold_view(FeIngest *ingest, FeIngestView *view)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext cxt = AllocSetContextCreate(old, "feature_engine folding",
											  ALLOCSET_DEFAULT_SIZES);
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		while (fe_state_fold_is_due(view->writer))
		{
			fold_one(ingest, view);
			MemoryContextReset(cxt);
		}
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		give_up(view, cxt);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	CurrentResourceOwner = owner;
}

/* ---- bounds ---------------------------------------------------------------------- */

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

		if (view->writer == NULL)
			continue;
		if (fe_state_fold_is_due(view->writer) &&
			pg_atomic_read_u32(&view->shared->state) != FE_VIEW_FAILED)
			fold_view(ingest, view);
		if (fe_state_overfull(view->writer, &kept, keys, nulls))
			stop_view(ingest, view, kept, keys, nulls);
	}
}
