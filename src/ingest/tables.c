/*
 * tables.c
 *		What follows from the ingest worker's list of views: which tables and
 *		columns to capture, which views a row is for, and whether the log tells
 *		all that happens to a table.
 *
 * Runs in the ingest worker, inside a transaction where it looks at tables.  Takes
 * no locks of ours.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "nodes/nodeFuncs.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "ingest/ingest.h"

#define FE_RETRY_BLOCKED_MS	3000	/* more than the interval of checks */

/* ---- tables and the capture set ---------------------------------------------- */

static int
compare_tables(const void *a, const void *b)
{
	Oid			x = ((const FeIngestTable *) a)->relid;
	Oid			y = ((const FeIngestTable *) b)->relid;

	return (x > y) - (x < y);
}

static FeIngestTable *
add_table(FeIngest *ingest, Oid relid)
{
	FeIngestTable *table;

	for (int i = 0; i < ingest->ntables; i++)
		if (ingest->tables[i].relid == relid)
			return &ingest->tables[i];
	table = &ingest->tables[ingest->ntables++];
	table->relid = relid;
	return table;
}

static void
add_use(FeIngestTable *table, FeIngestView *view, int arm)
{
	int			n = table->nuses;

	if (n == 0)
		table->uses = palloc(sizeof(FeIngestUse));
	else if ((n & (n - 1)) == 0)
		table->uses = repalloc(table->uses, 2 * n * sizeof(FeIngestUse));
	table->uses[table->nuses++] = (FeIngestUse)
	{
		view, arm
	};
}

static int
count_arms(FeIngest *ingest)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, ingest->views)
		n += ((FeIngestView *) lfirst(lc))->plan->narms;
	return n;
}

static bool
is_source_of_changes(const FeIngestTable *table)
{
	for (int i = 0; i < table->nuses; i++)
		if (fe_plan_is_stream(table->uses[i].view->plan))
			return true;
	return false;
}

/* What views over the table's changes need beside columns. */
static uint8
changes_flags(const FeIngestTable *table)
{
	uint8		flags = 0;

	for (int i = 0; i < table->nuses; i++)
	{
		const FeArm *arm = &table->uses[i].view->plan->arms[table->uses[i].arm];

		if (arm->form != FE_FORM_CHANGES)
			continue;
		flags |= arm->uses_lsn || arm->uses_before_at ? FE_CAPTURE_LSN : 0;
		flags |= !bms_is_empty(arm->before_attrs) ? FE_CAPTURE_OLD_KEY : 0;
	}
	return flags;
}

/*
 * Columns that any of the table's views needs.  Without a lock: waiting here
 * behind a TRUNCATE that waits for the backfill helper, which waits for this
 * process, would last for ever, and no deadlock detector would see it.  What
 * views use of a table cannot be dropped or retyped.  The table itself can be,
 * with its views: false then; the drop's own notice makes us look again.
 */
static bool
fill_capture_table(FeCaptureTable *ct, FeIngestTable *table)
{
	Relation	rel = RelationIdGetRelation(table->relid);
	TupleDesc	desc;
	Bitmapset  *attrs = NULL;
	int			attnum = -1;

	ct->relid = table->relid;
	table->columns = ct;
	if (rel == NULL)
	{
		table->nuses = 0;
		return false;
	}
	desc = RelationGetDescr(rel);
	for (int i = 0; i < table->nuses; i++)
	{
		const FeIngestUse *use = &table->uses[i];

		attrs = bms_add_members(attrs, use->view->plan->arms[use->arm].source_attrs);
	}
	ct->natts = bms_num_members(attrs);
	ct->atts = palloc0((ct->natts + 1) * sizeof(FeCaptureColumn));
	ct->max_attnum = 0;
	for (int i = 0; (attnum = bms_next_member(attrs, attnum)) >= 0; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, attnum - 1);

		ct->atts[i].attnum = attnum;
		ct->atts[i].attlen = att->attlen;
		ct->atts[i].attbyval = att->attbyval;
		ct->atts[i].attalign = att->attalign;
		ct->atts[i].atttypid = att->atttypid;
		ct->max_attnum = attnum;
	}
	/* a running backfill may send columns that are not captured any more */
	table->oldvalues = palloc0((desc->natts + 1) * sizeof(Datum));
	table->newvalues = palloc0((desc->natts + 1) * sizeof(Datum));
	table->oldnulls = palloc0((desc->natts + 1) * sizeof(bool));
	table->newnulls = palloc0((desc->natts + 1) * sizeof(bool));
	ct->flags = changes_flags(table);
	if (is_source_of_changes(table))
	{
		table->change = palloc0((FE_CHANGE_AFTER(desc->natts) + 1) * sizeof(Datum));
		table->changenulls = palloc0((FE_CHANGE_AFTER(desc->natts) + 1) * sizeof(bool));
		table->oldstates = palloc0(desc->natts + 1);
		table->newstates = palloc0(desc->natts + 1);
	}
	RelationClose(rel);
	return true;
}

void
fe_ingest_build_tables(FeIngest *ingest)
{
	MemoryContext old;
	ListCell   *lc;
	int			narms = count_arms(ingest);

	if (ingest->tables_cxt)
		MemoryContextDelete(ingest->tables_cxt);
	ingest->tables_cxt = AllocSetContextCreate(TopMemoryContext, "feature view sources",
											   ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(ingest->tables_cxt);
	ingest->ntables = 0;
	ingest->tables = palloc0((narms + 1) * sizeof(FeIngestTable));
	foreach(lc, ingest->views)
	{
		FeIngestView *view = lfirst(lc);

		for (int arm = 0; arm < view->plan->narms; arm++)
			add_use(add_table(ingest, view->plan->arms[arm].source), view, arm);
	}
	qsort(ingest->tables, ingest->ntables, sizeof(FeIngestTable), compare_tables);
	ingest->set = palloc0(sizeof(FeCaptureSet));
	ingest->set->ntables = ingest->ntables;
	ingest->set->tables = palloc0((narms + 1) * sizeof(FeCaptureTable));
	for (int i = 0; i < ingest->ntables; i++)
		if (!fill_capture_table(&ingest->set->tables[i], &ingest->tables[i]))
			ingest->catalog_loaded = false;
	MemoryContextSwitchTo(old);
}

/* Of the first partition that has one; *full: the old rows of all are in the log. */
static const char *
problem_of_partitions(Oid relid, bool *full)
{
	FePartitions partitions = {0};
	const char *problem = NULL;

	*full = true;
	fe_partitions_add(&partitions, relid, NULL);
	for (int i = 0; i < partitions.n && problem == NULL; i++)
	{
		bool		this_full;

		if (partitions.items[i].detaching)
			continue;
		problem = fe_partition_problem(partitions.items[i].relid, &this_full);
		*full &= this_full;
	}
	return problem;
}

/*
 * Why the log does not tell all that happens to a table; NULL where it does.
 * *full: the old rows are in it.
 */
static const char *
problem_of_source(Oid relid, bool *full)
{
	Relation	rel = RelationIdGetRelation(relid);
	const char *problem = NULL;

	*full = true;
	if (rel == NULL)
		return NULL;
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		RelationClose(rel);
		return problem_of_partitions(relid, full);
	}
	*full = rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		problem = "the table has been made unlogged, so its changes are not in the log";
	else if (rel->rd_rel->relhassubclass && find_inheritance_children(relid, NoLock) != NIL)
		problem = "other tables inherit from the table now, which is not supported";
	RelationClose(rel);
	return problem;
}

/*
 * ALTER TABLE can make a table one that could not have been a source.  Its
 * views stop, rather than be wrong, and are not rebuilt before it is one again.
 */
void
fe_ingest_check_sources(FeIngest *ingest)
{
	TimestampTz later = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), FE_RETRY_BLOCKED_MS);

	for (int i = 0; i < ingest->ntables; i++)
	{
		FeIngestTable *table = &ingest->tables[i];
		bool		full;
		const char *problem = problem_of_source(table->relid, &full);

		for (int u = 0; u < table->nuses; u++)
		{
			FeIngestView *view = table->uses[u].view;
			bool		failed = pg_atomic_read_u32(&view->shared->state) == FE_VIEW_FAILED;

			if (problem && !failed)
				fe_ingest_fail_view(ingest, view, problem);
			if (problem && fe_history_keeps_state(view))
				view->shared->resume_gap = true;
			/* of a stream, what is missing is found with each change */
			if (problem || (failed && !full && !view->plan->options.append_only &&
							!fe_plan_is_stream(view->plan)))
				view->shared->retry_at = Max(view->shared->retry_at, later);
		}
	}
}

FeIngestTable *
fe_ingest_table(FeIngest *ingest, Oid relid)
{
	int			low = 0;
	int			high = ingest->ntables - 1;

	while (low <= high)
	{
		int			mid = (low + high) / 2;

		if (ingest->tables[mid].relid == relid)
			return &ingest->tables[mid];
		if (ingest->tables[mid].relid < relid)
			low = mid + 1;
		else
			high = mid - 1;
	}
	return NULL;
}
