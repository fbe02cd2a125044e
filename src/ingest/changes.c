/*
 * changes.c
 *		Change rows: what a view over changes() sees of a change record.
 *
 * Runs in the ingest worker, inside its transaction.  A change record becomes
 * one row, which is added and never taken out: op, commit time, position in the
 * log, and of each column that is needed the value before and after the change.
 * Takes no locks.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "ingest/group.h"

/* Values of op, made once. */
typedef struct OpNames
{
	Datum		created;
	Datum		updated;
	Datum		deleted;
	Datum		read;
} OpNames;

static Datum
op_name(FeRecordKind kind)
{
	static OpNames *names = NULL;

	if (names == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		OpNames    *made = palloc(sizeof(OpNames));

		made->created = CStringGetTextDatum("c");
		made->updated = CStringGetTextDatum("u");
		made->deleted = CStringGetTextDatum("d");
		made->read = CStringGetTextDatum("r");
		names = made;
		MemoryContextSwitchTo(old);
	}
	switch (kind)
	{
		case FE_RECORD_INSERT:
			return names->created;
		case FE_RECORD_UPDATE:
			return names->updated;
		case FE_RECORD_DELETE:
			return names->deleted;
		default:
			return names->read;
	}
}

static inline void
set_column(FeIngestTable *table, AttrNumber attnum, Datum value, bool isnull)
{
	table->change[attnum - 1] = value;
	table->changenulls[attnum - 1] = isnull;
}

static void
set_head(const FeApply *apply, const FeArm *arm, FeIngestTable *table, const FeRecord *rec)
{
	bool		read = rec->kind == FE_RECORD_READ;

	set_column(table, FE_CHANGE_OP, op_name(rec->kind), false);
	/* when a row was written that was there already nobody knows */
	set_column(table, FE_CHANGE_COMMITTED_AT, TimestampTzGetDatum(apply->current.commit_time),
			   read);
	if ((arm->uses_lsn || arm->uses_before_at) && !read && rec->lsn == InvalidXLogRecPtr)
		elog(ERROR, "change of table %u does not tell its position", table->relid);
	set_column(table, FE_CHANGE_LSN,
			   LSNGetDatum(read ? apply->current.end_lsn : rec->lsn), false);
	set_column(table, FE_CHANGE_BEFORE_AT, (Datum) 0, true);
}

/* Are the primary keys of the images in the log? */
static bool
knows_key(const FeIngestTable *table, const FeArm *arm, const FeRecord *rec)
{
	int			attnum = -1;

	if (rec->kind != FE_RECORD_INSERT && rec->kind != FE_RECORD_READ && !rec->has_old)
		return false;
	while ((attnum = bms_next_member(arm->key_attrs, attnum)) >= 0)
		if ((rec->has_old && table->oldstates[attnum - 1] == FE_COLUMN_ABSENT) ||
			(rec->has_new && table->newstates[attnum - 1] == FE_COLUMN_ABSENT))
			return false;
	return true;
}

/* To be called for every change, in their order, whatever becomes of it. */
static void
set_before_at(FeApply *apply, const FeIngestUse *use, FeIngestTable *table, const FeRecord *rec)
{
	TimestampTz at;

	if (bms_is_empty(use->view->plan->arms[use->arm].key_attrs))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("before_at needs a primary key of table \"%s\", which has been dropped",
						get_rel_name(table->relid))));
	if (fe_change_time(apply, use, table, rec, &at))
		set_column(table, FE_CHANGE_BEFORE_AT, TimestampTzGetDatum(at), false);
}

/*
 * The columns that are needed of one image.  Returns the first one that the log
 * does not tell, or 0.
 */
static AttrNumber
set_image(FeIngestTable *table, const Bitmapset *attrs, bool after, bool there)
{
	const Datum *values = after ? table->newvalues : table->oldvalues;
	const bool *nulls = after ? table->newnulls : table->oldnulls;
	const char *states = after ? table->newstates : table->oldstates;
	AttrNumber	missing = 0;
	int			attnum = -1;

	while ((attnum = bms_next_member(attrs, attnum)) >= 0)
	{
		AttrNumber	column = after ? FE_CHANGE_AFTER(attnum) : FE_CHANGE_BEFORE(attnum);

		set_column(table, column, there ? values[attnum - 1] : (Datum) 0,
				   !there || nulls[attnum - 1]);
		if (there && states[attnum - 1] == FE_COLUMN_ABSENT && missing == 0)
			missing = attnum;
	}
	return missing;
}

static pg_noinline void
refuse_missing(const FeIngestTable *table, AttrNumber attnum, bool after)
{
	const char *column = attnum != 0 ? get_attname(table->relid, attnum, true) : NULL;

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the value of column \"%s\" %s a change is not in the log: the table needs REPLICA IDENTITY FULL",
					column ? column : "?", after ? "after" : "before")));
}

/*
 * Fills table->change.  False: something that the arm needs is not in the log, and
 * the view leaves such changes out; ERROR where it must not.
 */
bool
fe_change_row(FeApply *apply, const FeIngestUse *use, FeIngestTable *table, const FeRecord *rec)
{
	const FeArm *arm = &use->view->plan->arms[use->arm];
	bool		had_before = rec->kind == FE_RECORD_UPDATE || rec->kind == FE_RECORD_DELETE;
	AttrNumber	before;
	AttrNumber	after;

	set_head(apply, arm, table, rec);
	before = set_image(table, arm->before_attrs, false, had_before && rec->has_old);
	if (had_before && !rec->has_old)
		before = Max(bms_next_member(arm->before_attrs, -1), 0);
	after = set_image(table, arm->after_attrs, true, rec->has_new);
	if (arm->uses_before_at && knows_key(table, arm, rec))
		set_before_at(apply, use, table, rec);
	if (likely(before == 0 && after == 0))
		return true;
	if (use->view->plan->options.on_error != FE_ON_ERROR_SKIP)
		refuse_missing(table, before != 0 ? before : after, before == 0);
	return false;
}
