/*
 * output_program.c
 *		Running the output program: keys and aggregate results to columns.
 *
 * Runs in backends and in the pusher; no locks.  Expressions are evaluated one
 * by one on demand, so that an error in one column (a division by zero) hits
 * only who asks for that column.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "utils/memutils.h"

#include "definition/definition.h"

typedef struct OutputColumn
{
	bool		wanted;
	bool		uses_time;
	int			input;			/* plain copy of this input column, or -1 */
	ExprState  *state;
} OutputColumn;

struct FeOutputProgram
{
	MemoryContext row_cxt;		/* what evaluations allocate */
	TupleTableSlot *slot;		/* borrows the caller's arrays */
	ExprContext *econtext;
	Bitmapset  *aggs;
	OutputColumn *columns;
	ExprState  *having;
	bool		having_uses_time;
	bool		runs_code;		/* of users */
	FeTime		time;
	FeWatermark watermark;
};

static bool
depends_on_time(Node *expr)
{
	FeAnalysis	a;

	fe_analysis_init(&a, NULL, NULL);
	return fe_contains_now(&a, expr, NULL) || fe_contains_final(&a, expr);
}

static void
make_column(FeOutputProgram *prog, const FePlan *plan, int i)
{
	OutputColumn *column = &prog->columns[i];
	Expr	   *expr = plan->columns[i].expr;

	column->wanted = true;
	column->uses_time = plan->columns[i].uses_time;
	column->input = -1;
	if (IsA(expr, Var))
		column->input = ((Var *) expr)->varattno - 1;
	else
	{
		fix_opfuncids((Node *) expr);
		column->state = ExecInitExpr(expr, NULL);
		prog->runs_code |= fe_runs_user_code((Node *) expr);
	}
	prog->aggs = bms_add_members(prog->aggs, plan->columns[i].aggs);
}

FeOutputProgram *
fe_output_program_create(FePlan *plan, const Bitmapset *columns, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FeOutputProgram *prog = palloc0(sizeof(FeOutputProgram));

	prog->row_cxt = AllocSetContextCreate(cxt, "feature_engine output row", ALLOCSET_SMALL_SIZES);
	prog->slot = MakeTupleTableSlot(CreateTupleDescCopy(plan->input_desc), &TTSOpsVirtual);
	prog->econtext = makeNode(ExprContext);
	prog->econtext->ecxt_scantuple = prog->slot;
	prog->econtext->ecxt_per_tuple_memory = prog->row_cxt;
	prog->columns = palloc0(sizeof(OutputColumn) * plan->ncolumns);
	for (int i = 0; i < plan->ncolumns; i++)
		if (columns == NULL || bms_is_member(i, columns))
			make_column(prog, plan, i);
	if (plan->having)
	{
		fix_opfuncids((Node *) plan->having);
		prog->having = ExecInitExpr(plan->having, NULL);
		prog->having_uses_time = depends_on_time((Node *) plan->having);
		prog->runs_code |= fe_runs_user_code((Node *) plan->having);
		prog->aggs = bms_add_members(prog->aggs, plan->having_aggs);
	}
	MemoryContextSwitchTo(old);
	return prog;
}

bool
fe_output_program_runs_code(const FeOutputProgram *prog)
{
	return prog->runs_code;
}

Bitmapset *
fe_output_program_aggs(FeOutputProgram *prog)
{
	return prog->aggs;
}

void
fe_output_program_input(FeOutputProgram *prog, const Datum *values, const bool *nulls, FeTime T)
{
	TupleTableSlot *slot = prog->slot;

	slot->tts_values = (Datum *) values;
	slot->tts_isnull = (bool *) nulls;
	slot->tts_nvalid = slot->tts_tupleDescriptor->natts;
	slot->tts_flags &= ~TTS_FLAG_EMPTY;
	prog->time = T;
}

void
fe_output_program_watermark(FeOutputProgram *prog, FeTime watermark)
{
	prog->watermark.given = true;
	prog->watermark.value = watermark;
}

/* feature_engine.now() reads the clock: it must show this T, and the old one
 * again whatever happens.  The same goes for the watermark. */
static Datum
eval_at_time(FeOutputProgram *prog, ExprState *state, bool *isnull)
{
	FeTime		old = fe_clock_set_eval_time(prog->time);
	volatile FeWatermark old_watermark = fe_clock_set_watermark(prog->watermark);
	Datum		result = (Datum) 0;

	PG_TRY();
	{
		result = ExecEvalExpr(state, prog->econtext, isnull);
	}
	PG_FINALLY();
	{
		(void) fe_clock_set_eval_time(old);
		(void) fe_clock_set_watermark(old_watermark);
	}
	PG_END_TRY();
	return result;
}

static Datum
eval(FeOutputProgram *prog, ExprState *state, bool uses_time, bool *isnull)
{
	MemoryContext old = MemoryContextSwitchTo(prog->row_cxt);
	Datum		result;

	if (uses_time)
		result = eval_at_time(prog, state, isnull);
	else
		result = ExecEvalExpr(state, prog->econtext, isnull);
	MemoryContextSwitchTo(old);
	return result;
}

bool
fe_output_program_having(FeOutputProgram *prog)
{
	bool		isnull;
	Datum		result;

	if (prog->having == NULL)
		return true;
	result = eval(prog, prog->having, prog->having_uses_time, &isnull);
	return !isnull && DatumGetBool(result);
}

Datum
fe_output_program_column(FeOutputProgram *prog, int i, bool *isnull)
{
	OutputColumn *column = &prog->columns[i];

	Assert(column->wanted);
	if (column->input >= 0)
	{
		*isnull = prog->slot->tts_isnull[column->input];
		return prog->slot->tts_values[column->input];
	}
	return eval(prog, column->state, column->uses_time, isnull);
}

void
fe_output_program_reset(FeOutputProgram *prog)
{
	MemoryContextReset(prog->row_cxt);
}
