/*
 * plugin.c
 *		The output plugin "feature_engine": turns decoded transactions into change
 *		records.
 *
 * Runs wherever logical decoding runs: the capture worker (local transport), a
 * walsender, or the SQL functions for slots.  It touches no shared state and
 * takes no locks; it runs no user code and looks nothing up in the catalogue
 * beyond the relation descriptor it is handed and, for partitions, the tables
 * above (targets.c).
 *
 * Only captured tables and columns are written.  BEGIN is written at a
 * transaction's first such change, so that everything else costs nothing.  A
 * prepared transaction arrives as an ordinary one at its COMMIT PREPARED, under
 * the prepared xid, since there are no two-phase callbacks.  Our own writes
 * (DoNotReplicateId) are filtered, those of other replication origins are not.
 */
#include "postgres.h"

#include "access/xact.h"
#include "capture/capture.h"
#include "capture/plugin.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "replication/logical.h"
#include "replication/origin.h"
#include "replication/output_plugin.h"
#include "runtime/compat.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* A remote message is sent when it has reached this size. */
#define MESSAGE_BYTES	(64 * 1024)

typedef struct FePlugin
{
	FePluginSink *sink;
	bool		local;			/* the sink is the local transport's */
	bool		begun;			/* BEGIN was written for the current one */
	MemoryContext detoast_context;	/* reset after each change */
	bool		detoasted;		/* anything in there? */
} FePlugin;

FePluginSink *fe_plugin_local_sink = NULL;

void
fe_plugin_sink_set_tables(FePluginSink *sink, const FeCaptureSet *set)
{
	int			natts = 1;

	for (int i = 0; i < set->ntables; i++)
		natts = Max(natts, set->tables[i].natts);
	sink->set = set;
	sink->oldvalues = palloc0(natts * sizeof(Datum));
	sink->newvalues = palloc0(natts * sizeof(Datum));
	sink->oldstates = palloc0(natts);
	sink->newstates = palloc0(natts);
	for (int i = 0; i < lengthof(sink->spreadvalues); i++)
	{
		sink->spreadvalues[i] = palloc0(natts * sizeof(Datum));
		sink->spreadstates[i] = palloc0(natts);
	}
	sink->targets_cxt = AllocSetContextCreate(CurrentMemoryContext,
											  "feature_engine captured relations",
											  ALLOCSET_SMALL_SIZES);
	sink->targets = NULL;
	sink->last_relid = InvalidOid;
}

/* ---- start-up ----------------------------------------------------------- */

/* A sink of the plugin's own: records collect in a buffer for one message. */
static FePluginSink *
make_remote_sink(List *options)
{
	FePluginSink *sink = palloc0(sizeof(FePluginSink));
	const char *tables = "";
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "tables") != 0 || option->arg == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("output plugin \"%s\" has no option \"%s\"",
							FE_PLUGIN_NAME, option->defname),
					 errhint("Its option is \"tables\".")));
		tables = strVal(option->arg);
	}
	fe_plugin_sink_set_tables(sink, fe_capture_set_parse(tables));
	sink->buf = makeStringInfo();
	sink->spill_at = MESSAGE_BYTES;
	return sink;
}

static void
startup_cb(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	FePlugin   *plugin = palloc0(sizeof(FePlugin));

	plugin->local = fe_plugin_local_sink != NULL;
	plugin->sink = plugin->local ? fe_plugin_local_sink
		: make_remote_sink(ctx->output_plugin_options);
	plugin->detoast_context = AllocSetContextCreate(ctx->context,
													"feature_engine detoasted values",
													ALLOCSET_DEFAULT_SIZES);
	ctx->output_plugin_private = plugin;
	options->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
	options->receive_rewrites = false;
	ctx->streaming = false;		/* whole transactions only, whatever callbacks there are */
}

/* ---- output ------------------------------------------------------------- */

/* Sends what has collected: a whole number of records. */
static void
send_message(LogicalDecodingContext *ctx, FePluginSink *sink)
{
	OutputPluginPrepareWrite(ctx, true);
	appendBinaryStringInfo(ctx->out, sink->buf->data, sink->buf->len);
	OutputPluginWrite(ctx, true);
	resetStringInfo(sink->buf);
}

/* Gets a large transaction out of the buffer piece by piece. */
static inline void
relieve_buffer(LogicalDecodingContext *ctx, FePlugin *plugin)
{
	FePluginSink *sink = plugin->sink;

	if (likely(sink->buf->len < sink->spill_at))
		return;
	if (plugin->local)
		sink->spill(sink);
	else
		send_message(ctx, sink);
}

static inline void
begin_if_needed(FePlugin *plugin, ReorderBufferTXN *txn)
{
	if (plugin->begun)
		return;
	fe_record_write_begin(plugin->sink->buf, txn->xid, txn->final_lsn, txn->end_lsn,
						  txn->xact_time.commit_time);
	plugin->begun = true;
}

/* ---- transactions ------------------------------------------------------- */

static void
begin_cb(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	FePlugin   *plugin = ctx->output_plugin_private;

	plugin->begun = false;
	if (plugin->local)
		plugin->sink->seen(plugin->sink, txn->xid);
}

static void
commit_cb(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	FePlugin   *plugin = ctx->output_plugin_private;

	if (!plugin->begun)
		return;
	fe_record_write_commit(plugin->sink->buf);
	plugin->sink->transactions++;
	plugin->begun = false;
	if (!plugin->local)
		send_message(ctx, plugin->sink);
}

static bool
filter_by_origin_cb(LogicalDecodingContext *ctx, RepOriginId origin)
{
	return origin == DoNotReplicateId;
}

/* ---- changes ------------------------------------------------------------ */

/*
 * Without REPLICA IDENTITY FULL the old row holds nothing but the columns of
 * the identity; the others are NULL in it, whatever they were.
 */
static void
mark_outside_identity(Relation relation, const FeCaptureTable *table, Datum *values,
					  char *states)
{
	Bitmapset  *identity = RelationGetIdentityKeyBitmap(relation);

	for (int i = 0; i < table->natts; i++)
	{
		int			attr = table->atts[i].attnum - FirstLowInvalidHeapAttributeNumber;

		if (!bms_is_member(attr, identity))
		{
			values[i] = (Datum) 0;
			states[i] = FE_COLUMN_ABSENT;
		}
	}
	bms_free(identity);
}

static void
copy_old_row(FePlugin *plugin, Relation relation, const FeCaptureTable *table, HeapTuple tuple)
{
	FePluginSink *sink = plugin->sink;
	bool		external = false;

	plugin->detoasted |= fe_copy_columns(table, RelationGetDescr(relation), tuple,
										 sink->oldvalues, sink->oldstates, &external,
										 plugin->detoast_context);
	if (relation->rd_rel->relreplident != REPLICA_IDENTITY_FULL)
		mark_outside_identity(relation, table, sink->oldvalues, sink->oldstates);
}

static void
copy_new_row(FePlugin *plugin, Relation relation, const FeCaptureTable *table, HeapTuple tuple,
			 bool has_old)
{
	FePluginSink *sink = plugin->sink;
	TupleDesc	desc = RelationGetDescr(relation);
	bool		external = false;

	plugin->detoasted |= fe_copy_columns(table, desc, tuple, sink->newvalues,
										 sink->newstates, &external,
										 plugin->detoast_context);
	if (likely(!external) || !has_old)
		return;

	/* an unchanged TOAST value: the old row has it, if the identity is full */
	for (int i = 0; i < table->natts; i++)
	{
		if (sink->newstates[i] == FE_COLUMN_ABSENT &&
			sink->oldstates[i] == FE_COLUMN_VALUE)
		{
			sink->newvalues[i] = sink->oldvalues[i];
			sink->newstates[i] = FE_COLUMN_VALUE;
		}
	}
}

/*
 * The old row of an update that the log has none of: as the key did not change,
 * the columns of the replica identity are those of the new row.  Where the
 * identity is not in the log at all, nothing is known.
 */
static void
old_key_of_new_row(FePlugin *plugin, Relation relation, const FeCaptureTable *table)
{
	FePluginSink *sink = plugin->sink;

	for (int i = 0; i < table->natts; i++)
	{
		sink->oldvalues[i] = sink->newvalues[i];
		sink->oldstates[i] = sink->newstates[i];
	}
	mark_outside_identity(relation, table, sink->oldvalues, sink->oldstates);
}

/*
 * Where a change is in the log: of the rows of one record the first is at its
 * position, and each further one a byte later, so that no two are at the same.
 */
static XLogRecPtr
lsn_of_change(FePluginSink *sink, const ReorderBufferChange *change)
{
	if (change->lsn != sink->record_lsn)
	{
		sink->record_lsn = change->lsn;
		sink->record_change = 0;
	}
	return change->lsn + sink->record_change++;
}

static FeRecordKind
change_kind(int action)
{
	switch (action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			return FE_RECORD_INSERT;
		case REORDER_BUFFER_CHANGE_UPDATE:
			return FE_RECORD_UPDATE;
		case REORDER_BUFFER_CHANGE_DELETE:
			return FE_RECORD_DELETE;
		default:
			elog(ERROR, "unexpected change of type %d in logical decoding", action);
	}
	return FE_RECORD_INSERT;	/* not reached */
}

/* A row of a partition as one of the partitioned table. */
static void
write_spread(FePluginSink *sink, FeRecordKind kind, const FeTarget *target, XLogRecPtr lsn,
			 bool has_old, bool has_new)
{
	if (has_old)
		fe_target_spread(target, sink->oldvalues, sink->oldstates, sink->spreadvalues[0],
						 sink->spreadstates[0]);
	if (has_new)
		fe_target_spread(target, sink->newvalues, sink->newstates, sink->spreadvalues[1],
						 sink->spreadstates[1]);
	fe_record_write_change(sink->buf, kind, target->table, lsn,
						   has_old ? sink->spreadvalues[0] : NULL, sink->spreadstates[0],
						   has_new ? sink->spreadvalues[1] : NULL, sink->spreadstates[1]);
}

static void
write_change(FePlugin *plugin, Relation relation, const FeTarget *target,
			 ReorderBufferChange *change)
{
	FePluginSink *sink = plugin->sink;
	FeRecordKind kind = change_kind(change->action);
	XLogRecPtr	lsn = InvalidXLogRecPtr;
	bool		has_old = kind != FE_RECORD_INSERT && change->data.tp.oldtuple != NULL;
	bool		has_new = kind != FE_RECORD_DELETE;

	if (has_new && change->data.tp.newtuple == NULL)
		elog(ERROR, "decoded change of table %u has no new row", RelationGetRelid(relation));
	if (has_old)
		copy_old_row(plugin, relation, target->columns,
					 fe_compat_change_tuple(change->data.tp.oldtuple));
	if (has_new)
		copy_new_row(plugin, relation, target->columns,
					 fe_compat_change_tuple(change->data.tp.newtuple), has_old);
	if (unlikely(target->table->flags != 0))
	{
		if ((target->table->flags & FE_CAPTURE_LSN) != 0)
			lsn = lsn_of_change(sink, change);
		if ((target->table->flags & FE_CAPTURE_OLD_KEY) != 0 && kind == FE_RECORD_UPDATE &&
			!has_old)
		{
			old_key_of_new_row(plugin, relation, target->columns);
			has_old = true;
		}
	}
	if (target->position)
		write_spread(sink, kind, target, lsn, has_old, has_new);
	else
		fe_record_write_change(sink->buf, kind, target->table, lsn,
							   has_old ? sink->oldvalues : NULL, sink->oldstates,
							   has_new ? sink->newvalues : NULL, sink->newstates);
	if (plugin->detoasted)
	{
		MemoryContextReset(plugin->detoast_context);
		plugin->detoasted = false;
	}
}

static void
change_cb(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
		  ReorderBufferChange *change)
{
	FePlugin   *plugin = ctx->output_plugin_private;
	const FeTargets *targets = fe_targets_find(plugin->sink, relation);

	if (targets->n == 0)
		return;
	begin_if_needed(plugin, txn);
	for (int i = 0; i < targets->n; i++)
		write_change(plugin, relation, &targets->targets[i], change);
	relieve_buffer(ctx, plugin);
}

/* Is one of these the table? */
static bool
is_among(Oid relid, int nrelations, Relation relations[])
{
	for (int i = 0; i < nrelations; i++)
		if (RelationGetRelid(relations[i]) == relid)
			return true;
	return false;
}

/* A partition's rows are gone, or a whole table's. */
static void
truncate_cb(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
			Relation relations[], ReorderBufferChange *change)
{
	FePlugin   *plugin = ctx->output_plugin_private;

	for (int i = 0; i < nrelations; i++)
	{
		Oid			relid = RelationGetRelid(relations[i]);
		const FeTargets *targets = fe_targets_find(plugin->sink, relations[i]);

		for (int t = 0; t < targets->n; t++)
		{
			Oid			table = targets->targets[t].table->relid;

			/* of a partitioned table all partitions come with it */
			if (table != relid && is_among(table, nrelations, relations))
				continue;
			begin_if_needed(plugin, txn);
			fe_record_write_truncate(plugin->sink->buf, table, table != relid);
		}
	}
}

/* ---- entry point -------------------------------------------------------- */

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);

void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = startup_cb;
	cb->begin_cb = begin_cb;
	cb->change_cb = change_cb;
	cb->truncate_cb = truncate_cb;
	cb->commit_cb = commit_cb;
	cb->filter_by_origin_cb = filter_by_origin_cb;
	fe_compat_ignore_stream_abort(cb);
}
