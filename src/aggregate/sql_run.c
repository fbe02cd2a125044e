/*
 * sql_run.c
 *		Runs an SQL aggregate over rows of arguments, by PostgreSQL's own executor:
 *		an Agg node over a scan that hands the rows out.
 *
 * So everything that an aggregate may ask for is there, as in a batch query:
 * strict and polymorphic transition functions, internal states, ORDER BY and
 * DISTINCT, ordered sets with their direct arguments, final functions that look
 * at the call.  The nodes are made once and run again for each entity; nothing
 * but their own memory is left between two runs.
 *
 * Runs in backends and in the pusher, as the view's owner (the caller switches),
 * without any lock of ours.
 */
#include "postgres.h"

#include "aggregate/sql_call.h"
#include "executor/executor.h"
#include "executor/nodeAgg.h"
#include "nodes/execnodes.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

struct FeSqlRun
{
	EState	   *estate;
	PlanState  *agg;
	struct RowScan *scan;
	int16		typlen;			/* of the result */
	bool		typbyval;
};

/* ---- the scan ----------------------------------------------------------------------- */

typedef struct RowScan
{
	CustomScanState css;
	FeSqlSource source;
	void	   *arg;
	MemoryContext row_cxt;		/* what the row handed out last refers to */
} RowScan;

static void
scan_begin(CustomScanState *node, EState *estate, int eflags)
{
	RowScan    *scan = (RowScan *) node;

	scan->row_cxt = AllocSetContextCreate(estate->es_query_cxt, "feature_engine argument row",
										  ALLOCSET_SMALL_SIZES);
}

static TupleTableSlot *
scan_next(CustomScanState *node)
{
	RowScan    *scan = (RowScan *) node;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	MemoryContext old;
	bool		found;

	ExecClearTuple(slot);
	MemoryContextReset(scan->row_cxt);
	old = MemoryContextSwitchTo(scan->row_cxt);
	found = scan->source(scan->arg, slot);
	MemoryContextSwitchTo(old);
	return found ? ExecStoreVirtualTuple(slot) : NULL;
}

static void
scan_end(CustomScanState *node)
{
}

/* The source is given anew for each run. */
static void
scan_again(CustomScanState *node)
{
	ExecClearTuple(node->ss.ss_ScanTupleSlot);
	MemoryContextReset(((RowScan *) node)->row_cxt);
}

static const CustomExecMethods scan_exec_methods = {
	.CustomName = "feature_engine arguments",
	.BeginCustomScan = scan_begin,
	.ExecCustomScan = scan_next,
	.EndCustomScan = scan_end,
	.ReScanCustomScan = scan_again
};

static Node *
scan_create(CustomScan *plan)
{
	RowScan    *scan = (RowScan *) newNode(sizeof(RowScan), T_CustomScanState);

	scan->css.methods = &scan_exec_methods;
	return (Node *) scan;
}

static const CustomScanMethods scan_methods = {
	.CustomName = "feature_engine arguments",
	.CreateCustomScanState = scan_create
};

/* ---- the plan ------------------------------------------------------------------------- */

/* The columns as Vars of that number. */
static List *
column_list(TupleDesc desc, int varno)
{
	List	   *list = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		const FormData_pg_attribute *att = TupleDescAttr(desc, i);
		Var		   *var = makeVar(varno, i + 1, att->atttypid, att->atttypmod,
								  att->attcollation, 0);

		list = lappend(list, makeTargetEntry((Expr *) var, i + 1, NULL, false));
	}
	return list;
}

static Plan *
make_plan(const FeSqlCall *call, Aggref *aggref, FeSqlStep step)
{
	bool		states = step == FE_SQL_MERGE || step == FE_SQL_FINISH;
	TupleDesc	columns = states ? call->state : call->columns;
	CustomScan *scan = makeNode(CustomScan);
	Agg		   *agg = makeNode(Agg);

	scan->scan.plan.targetlist = column_list(columns, INDEX_VAR);
	scan->custom_scan_tlist = column_list(columns, INDEX_VAR);
	scan->methods = &scan_methods;
	agg->plan.targetlist = list_make1(makeTargetEntry((Expr *) copyObject(aggref), 1, NULL,
													  false));
	agg->plan.lefttree = (Plan *) scan;
	agg->aggstrategy = AGG_PLAIN;
	agg->aggsplit = aggref->aggsplit;
	agg->numGroups = 1;
	return (Plan *) agg;
}

/*
 * In memory of its own: an error on the way leaves nothing but that, which goes
 * with the caller's.
 */
FeSqlRun *
fe_sql_run_create(const FeSqlCall *call, FeSqlStep step)
{
	Aggref	   *aggref = step == FE_SQL_WHOLE ? call->agg : call->steps[step];
	FeSqlRun   *run = palloc0(sizeof(FeSqlRun));
	MemoryContext old;

	run->estate = CreateExecutorState();
	old = MemoryContextSwitchTo(run->estate->es_query_cxt);
	run->agg = ExecInitNode(make_plan(call, aggref, step), run->estate, 0);
	run->scan = (RowScan *) outerPlanState(run->agg);
	MemoryContextSwitchTo(old);
	get_typlenbyval(aggref->aggtype, &run->typlen, &run->typbyval);
	return run;
}

Datum
fe_sql_run(FeSqlRun *run, FeSqlSource source, void *arg, bool *isnull)
{
	MemoryContext result_cxt = CurrentMemoryContext;
	MemoryContext old = MemoryContextSwitchTo(run->estate->es_query_cxt);
	TupleTableSlot *slot;
	Datum		result;

	run->scan->source = source;
	run->scan->arg = arg;
	slot = ExecProcNode(run->agg);
	Assert(!TupIsNull(slot));
	result = slot_getattr(slot, 1, isnull);
	MemoryContextSwitchTo(result_cxt);
	if (!*isnull)
		result = datumCopy(result, run->typbyval, run->typlen);
	/* lets go of the transition state, and of what it has registered with it */
	MemoryContextSwitchTo(run->estate->es_query_cxt);
	ExecReScan(run->agg);
	MemoryContextSwitchTo(old);
	return result;
}
