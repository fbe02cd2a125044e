/*
 * plugin.h
 *		Between the output plugin and the local transport; inside this room
 *		only.
 */
#ifndef FE_CAPTURE_PLUGIN_H
#define FE_CAPTURE_PLUGIN_H

#include "capture/record.h"
#include "replication/logical.h"

/*
 * Where the plugin takes the captured columns from and puts its records.  The
 * local transport owns one and sets fe_plugin_local_sink around the creation of
 * its decoding context; the plugin's start-up callback keeps the pointer and
 * appends records straight to the batch, with no copy in between.  Where it
 * is NULL (a walsender, the SQL functions), the plugin makes a sink of its own
 * from the option "tables" and sends one message for each piece of a
 * transaction.
 */
typedef struct FePluginSink FePluginSink;

struct FePluginSink
{
	/* set by fe_plugin_sink_set_tables; in the context of the sink's owner */
	const FeCaptureSet *set;
	Datum	   *oldvalues;
	Datum	   *newvalues;
	char	   *oldstates;
	char	   *newstates;
	Datum	   *spreadvalues[2];	/* of a partition, in the order of the table above */
	char	   *spreadstates[2];

	/* targets.c */
	MemoryContext targets_cxt;
	struct HTAB *targets;		/* NULL: nothing is known yet */
	uint64		relations_changed;	/* when that was looked up */
	Oid			last_relid;		/* last one looked up */
	const struct FeTargets *last_targets;
	XLogRecPtr	record_lsn;		/* WAL record of the last change that is told its LSN ... */
	uint32		record_change;	/* ... and which of the record's changes it was */

	StringInfo	buf;			/* records are appended here */
	int			spill_at;		/* calls spill from this length on, inside of
								 * a transaction */
	void		(*spill) (FePluginSink *sink);
	/* called for every transaction that has changes in this database */
	void		(*seen) (FePluginSink *sink, TransactionId xid);
	uint64		transactions;	/* complete ones in the buffer */
	void	   *arg;
};

extern FePluginSink *fe_plugin_local_sink;

/* The set must live as long as the sink uses it; the arrays are allocated in
 * the current memory context. */
extern void fe_plugin_sink_set_tables(FePluginSink *sink, const FeCaptureSet *set);

/* ---- targets.c ---- */

/* A captured table that a relation's rows are written as rows of. */
typedef struct FeTarget
{
	const FeCaptureTable *table;
	FeCaptureTable *columns;	/* the captured columns as the relation has them */
	int		   *position;		/* by these: index in table; NULL = the same */
} FeTarget;

typedef struct FeTargets
{
	int			n;				/* 0: not captured */
	FeTarget   *targets;
	List	   *ancestors;		/* partitioned tables that it is a partition of */
} FeTargets;

/* Valid until the next call. */
extern const FeTargets *fe_targets_find(FePluginSink *sink, Relation relation);
/* A row in the order of a partition's columns to that of the table; the rest is absent. */
extern void fe_target_spread(const FeTarget *target, const Datum *values, const char *states,
							 Datum *to_values, char *to_states);

/* columns.c: copies the captured columns of one tuple */
extern bool fe_copy_columns(const FeCaptureTable *table, TupleDesc desc, HeapTuple tuple,
							Datum *values, char *states, bool *has_external,
							MemoryContext detoast_context);

#endif							/* FE_CAPTURE_PLUGIN_H */
