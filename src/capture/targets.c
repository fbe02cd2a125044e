/*
 * targets.c
 *		Whose row is a change?  A table's own, and that of every partitioned table
 *		it is a partition of.
 *
 * Runs in the output plugin's callbacks, under the historic snapshot: whether a
 * table was a partition is looked up as of the change, so that rows of a
 * partition are captured from its first one on, and not before it was attached,
 * whatever the capture set's owner knows of it by now.  Such rows are written as
 * rows of the partitioned table; a partition's columns may be in another order.
 *
 * What was looked up is kept until some relation changes.  Catalogues only; takes
 * the locks of a catalogue look-up.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "capture/plugin.h"
#include "catalog/partition.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

/* What is known of a relation. */
typedef struct KnownRelation
{
	Oid			relid;			/* key */
	FeTargets	targets;
} KnownRelation;

/* ---- noticing changes ---------------------------------------------------------- */

static uint64 relations_changed = 0;

static void
relation_changed(Datum arg, Oid relid)
{
	relations_changed++;
}

static void
register_callback(void)
{
	static bool registered = false;

	if (!registered)
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	registered = true;
}

/* ---- a partition's columns as those of the table above -------------------------- */

static AttrNumber
attribute_by_name(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
	}
	return InvalidAttrNumber;
}

/* The column of a partition, 0 where the one or the other has not got it (yet). */
static AttrNumber
partition_attribute(TupleDesc above, TupleDesc partition, AttrNumber attnum)
{
	Form_pg_attribute att;

	if (attnum > above->natts)
		return InvalidAttrNumber;
	att = TupleDescAttr(above, attnum - 1);
	if (att->attisdropped)
		return InvalidAttrNumber;
	/* most often they are alike */
	if (attnum <= partition->natts)
	{
		Form_pg_attribute same = TupleDescAttr(partition, attnum - 1);

		if (!same->attisdropped && strcmp(NameStr(same->attname), NameStr(att->attname)) == 0)
			return attnum;
	}
	return attribute_by_name(partition, NameStr(att->attname));
}

/* Sorted by the partition's attribute numbers, as copying goes. */
static void
insert_column(FeTarget *target, AttrNumber attnum, int position)
{
	FeCaptureTable *columns = target->columns;
	int			at = columns->natts++;

	for (; at > 0 && columns->atts[at - 1].attnum > attnum; at--)
	{
		columns->atts[at] = columns->atts[at - 1];
		target->position[at] = target->position[at - 1];
	}
	columns->atts[at] = target->table->atts[position];
	columns->atts[at].attnum = attnum;
	target->position[at] = position;
}

static void
map_columns(FeTarget *target, TupleDesc above, Relation relation)
{
	const FeCaptureTable *table = target->table;
	FeCaptureTable *columns = palloc0(sizeof(FeCaptureTable));
	bool		same = true;

	columns->relid = table->relid;
	columns->atts = palloc0(Max(table->natts, 1) * sizeof(FeCaptureColumn));
	target->columns = columns;
	target->position = palloc(Max(table->natts, 1) * sizeof(int));
	for (int i = 0; i < table->natts; i++)
	{
		AttrNumber	attnum = partition_attribute(above, RelationGetDescr(relation),
												 table->atts[i].attnum);

		if (attnum != InvalidAttrNumber)
			insert_column(target, attnum, i);
	}
	for (int i = 0; i < columns->natts; i++)
		same &= target->position[i] == i;
	if (same && columns->natts == table->natts)
		target->position = NULL;
	columns->max_attnum = columns->natts > 0 ? columns->atts[columns->natts - 1].attnum : 0;
}

/* ---- looking up ------------------------------------------------------------------ */

static void
add_table(FeTargets *targets, const FeCaptureTable *table)
{
	FeTarget   *target = &targets->targets[targets->n++];

	target->table = table;
	target->columns = (FeCaptureTable *) table;
	target->position = NULL;
}

static void
add_ancestor(FeTargets *targets, const FeCaptureTable *table, Relation relation)
{
	Relation	above = RelationIdGetRelation(table->relid);
	FeTarget   *target;

	if (above == NULL)
		return;
	target = &targets->targets[targets->n++];
	target->table = table;
	map_columns(target, RelationGetDescr(above), relation);
	RelationClose(above);
}

static void
find_targets(const FeCaptureSet *set, Relation relation, FeTargets *targets)
{
	const FeCaptureTable *own = fe_capture_set_find(set, RelationGetRelid(relation));
	List	   *ancestors = relation->rd_rel->relispartition ?
		get_partition_ancestors(RelationGetRelid(relation)) : NIL;
	ListCell   *lc;

	targets->n = 0;
	targets->ancestors = ancestors;
	targets->targets = palloc(sizeof(FeTarget) * (list_length(ancestors) + 1));
	if (own)
		add_table(targets, own);
	foreach(lc, ancestors)
	{
		const FeCaptureTable *table = fe_capture_set_find(set, lfirst_oid(lc));

		if (table)
			add_ancestor(targets, table, relation);
	}
}

/* Forgets what is known, when the set or some relation has changed. */
static void
begin_anew(FePluginSink *sink)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(KnownRelation)};

	register_callback();
	MemoryContextReset(sink->targets_cxt);
	ctl.hcxt = sink->targets_cxt;
	sink->targets = hash_create("feature_engine captured relations", 64, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	sink->relations_changed = relations_changed;
	sink->last_relid = InvalidOid;
}

const FeTargets *
fe_targets_find(FePluginSink *sink, Relation relation)
{
	Oid			relid = RelationGetRelid(relation);
	KnownRelation *entry;
	bool		found;

	if (likely(relid == sink->last_relid && sink->relations_changed == relations_changed))
		return sink->last_targets;
	if (sink->targets == NULL || sink->relations_changed != relations_changed)
		begin_anew(sink);
	entry = hash_search(sink->targets, &relid, HASH_ENTER, &found);
	if (!found)
	{
		MemoryContext old = MemoryContextSwitchTo(sink->targets_cxt);

		memset(&entry->targets, 0, sizeof(FeTargets));
		find_targets(sink->set, relation, &entry->targets);
		MemoryContextSwitchTo(old);
	}
	sink->last_relid = relid;
	sink->last_targets = &entry->targets;
	return sink->last_targets;
}

void
fe_target_spread(const FeTarget *target, const Datum *values, const char *states,
				 Datum *to_values, char *to_states)
{
	memset(to_states, FE_COLUMN_ABSENT, target->table->natts);
	memset(to_values, 0, sizeof(Datum) * target->table->natts);
	for (int i = 0; i < target->columns->natts; i++)
	{
		to_values[target->position[i]] = values[i];
		to_states[target->position[i]] = states[i];
	}
}
