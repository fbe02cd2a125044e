/*
 * fingerprint.c
 *		What a compiled definition depends on, in one number: equal in all processes,
 *		another one whenever the state, or the plan, is not the same any more.
 *
 * Of expressions it takes the text of their nodes.  Stored ones have no locations,
 * and constants are folded under fixed settings, so that the same definition always
 * gives the same text.  Runs wherever a definition is compiled; takes no locks.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "nodes/nodes.h"

#include "definition/definition.h"

static uint32
hash_text(const char *text)
{
	return hash_bytes((const unsigned char *) text, strlen(text));
}

static void
append_join(StringInfo buf, const FeJoin *join)
{
	if (join == NULL)
		return;
	for (int i = 0; i < join->ncolumns; i++)
		appendStringInfo(buf, "c%d %d|", join->columns[i].arm, join->columns[i].attnum);
	for (int d = 0; d < join->ndims; d++)
	{
		appendStringInfo(buf, "d%d|", join->dims[d].outer);
		for (int k = 0; k < join->dims[d].nkeys; k++)
		{
			const FeJoinKey *key = &join->dims[d].keys[k];

			appendStringInfo(buf, "j%d %d %u %u %u|", key->attnum, key->column, key->op,
							 key->type, key->collation);
		}
	}
}

uint32
fe_state_fingerprint(const FePlan *plan, int32 generation)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%d ", generation);
	for (int i = 0; i < plan->narms; i++)
		appendStringInfo(&buf, "%u %d %d %s|", plan->arms[i].source, plan->arms[i].form,
						 plan->arms[i].where, nodeToString(plan->arms[i].rowexprs));
	append_join(&buf, plan->join);
	for (int i = 0; i < plan->nkeys; i++)
		appendStringInfo(&buf, "k%d %u %u|", plan->keys[i].expr, plan->keys[i].eqop,
						 plan->keys[i].collation);
	for (int i = 0; i < plan->nwindows; i++)
	{
		const FeWindow *w = &plan->windows[i];

		appendStringInfo(&buf, "w%d %d " INT64_FORMAT " " INT64_FORMAT " %d " INT64_FORMAT " "
						 INT64_FORMAT "|", plan->window_track[i], w->kind, w->width, w->hop,
						 w->has_before, w->before, w->origin);
		if (w->retention != 0)
			appendStringInfo(&buf, "r" INT64_FORMAT "|", w->retention);
		if (w->apart)
			appendStringInfoString(&buf, "apart|");
	}
	for (int i = 0; i < plan->ntracks; i++)
	{
		appendStringInfo(&buf, "t%d|", plan->tracks[i].expr);
		for (int s = 0; s < plan->tracks[i].grid.nsets; s++)
			appendStringInfo(&buf, "s" UINT64_FORMAT "|", plan->tracks[i].grid.sets[s]);
	}
	appendStringInfo(&buf, "%d " UINT64_FORMAT "|", plan->where_track, plan->where_windows);
	for (int i = 0; i < plan->naccs; i++)
	{
		const FeAcc *a = &plan->accs[i];

		appendStringInfo(&buf, "a%s %u %u %u %zu %d %d %d %d|", a->spec->kind->name,
						 a->spec->flags, a->spec->argtype, a->spec->collation, a->offset,
						 a->arg, a->order, a->filter, a->track);
		if (a->spec->params.n != 0)
			appendStringInfo(&buf, "p%.17g %.17g " INT64_FORMAT "|", a->spec->params.lo,
							 a->spec->params.hi, a->spec->params.n);
	}
	/*
	 * Rows that raise errors are in no state, or there is no state with them.  Those
	 * of a stream come once, and never go: what is in its state is right in either
	 * case.
	 */
	if (plan->options.on_error == FE_ON_ERROR_SKIP && !fe_plan_is_stream(plan))
		appendStringInfoString(&buf, "skip|");
	if (fe_plan_is_stream(plan) && !plan->options.snapshot)
		appendStringInfoString(&buf, "no snapshot|");
	return hash_text(buf.data);
}

uint32
fe_plan_fingerprint(const FePlan *plan, int32 version)
{
	StringInfoData buf;
	List	   *relations = NIL;
	ListCell   *lc;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%d %d %u %u %u %s %s|", version, plan->state_version, plan->defview,
					 plan->relation, plan->owner, plan->name,
					 plan->having ? nodeToString(plan->having) : "");
	for (int i = 0; i < plan->ncolumns; i++)
	{
		appendStringInfo(&buf, "%s %s|", plan->columns[i].name,
						 nodeToString(plan->columns[i].expr));
		fe_append_type_form(&buf, plan->columns[i].type, &relations);
	}
	foreach(lc, relations)
		fe_catalog_watch(lfirst_oid(lc));
	return hash_text(buf.data);
}
