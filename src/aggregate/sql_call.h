/*
 * sql_call.h
 *		A call of an SQL aggregate that PostgreSQL itself computes (private to this
 *		room): what is kept of its arguments, and how it is run over them.
 *
 * A row's arguments, ORDER BY expressions included, are kept as one string of
 * bytes, which does not depend on the process: a bit for each column that is
 * NULL, then the others' values; of a varlena its length and its bytes.
 * Constants are no columns, they stay in the call.
 */
#ifndef FE_SQL_CALL_H
#define FE_SQL_CALL_H

#include "access/tupdesc.h"
#include "aggregate/kinds.h"
#include "executor/tuptable.h"
#include "nodes/primnodes.h"

/* A call, compiled; in the memory of a plan. */
struct FeSqlCall
{
	Aggref	   *agg;			/* over columns: Vars of the outer plan */
	Aggref	   *source;			/* over the source row, without FILTER; for showing it */
	TupleDesc	columns;
	List	   *column_exprs;	/* over the source row */
	bool		distinct;		/* a row that is there twice counts once */
	bool		runs_code;		/* of users: functions, or comparisons of types */

	/*
	 * Where rows may become states: the steps that make a state of rows, one state
	 * of several, and the result of states; the state as a row of one column.
	 */
	bool		folds;
	Aggref	   *steps[3];		/* FE_SQL_PARTIAL ... */
	TupleDesc	state;
	FeFinal    *fold_final;
};

/* What a run is to do. */
typedef enum FeSqlStep
{
	FE_SQL_PARTIAL,				/* rows to a state */
	FE_SQL_MERGE,				/* states to a state */
	FE_SQL_FINISH,				/* states to the result */
	FE_SQL_WHOLE				/* rows to the result */
} FeSqlStep;

#define FE_SQL_STEPS	4

/* ---- generic.c ------------------------------------------------------------------ */

/* Any aggregate that is not one of the specialised kinds'; false: refused. */
extern bool fe_generic_match(const Aggref *agg, bool append_only, FeAggMatch *match,
							 FeAggRefusal *why);

/* ---- arguments.c ---------------------------------------------------------------- */

/*
 * The columns of a row of arguments.  Values by reference lie in
 * CurrentMemoryContext.  ERROR where the bytes are not such a row's.
 */
extern void fe_arguments_unpack(TupleDesc desc, const char *bytes, Size len,
								Datum *values, bool *nulls);
/*
 * A row of one column, after a byte that says what it is: where rows may be folded,
 * kept rows begin with FE_KEPT_ROW, and states with FE_KEPT_STATE.
 */
#define FE_KEPT_ROW		0
#define FE_KEPT_STATE	1
extern struct varlena *fe_arguments_pack_state(TupleDesc desc, Datum value, bool isnull);

/* ---- sql_run.c ------------------------------------------------------------------ */

typedef struct FeSqlRun FeSqlRun;

/* Gives the next row of arguments into an empty virtual slot; false: no more. */
typedef bool (*FeSqlSource) (void *arg, TupleTableSlot *slot);

/* In the current memory context.  ERROR where the current user may not call it. */
extern FeSqlRun *fe_sql_run_create(const FeSqlCall *call, FeSqlStep step);
/* Over all rows, or states; in CurrentMemoryContext. */
extern Datum fe_sql_run(FeSqlRun *run, FeSqlSource source, void *arg, bool *isnull);

#endif							/* FE_SQL_CALL_H */
