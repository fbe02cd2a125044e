/*
 * program.c
 *		Running an arm's row program: a row to keys, event times, arguments.
 *
 * Runs in the ingest worker for every row image, as the view's owner (the
 * caller switches).  Nothing is allocated per row but results; a plain column
 * or constant does not go through the executor at all.  No locks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "runtime/murmur.h"
#include "utils/acl.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

#include "definition/definition.h"

/*
 * An aggregate's argument is only evaluated, as in a batch query, for rows
 * that its filter lets pass: sum(1 / x) FILTER (WHERE x <> 0).  Nor is it for
 * rows so old that no window will hold them again.
 */
typedef struct RowGuard
{
	int			filter;			/* row expression that must be true, or -1 */
	int			track;			/* whose time must be in some window's reach, or -1 */
} RowGuard;

typedef enum RowStepKind
{
	STEP_COLUMN,
	STEP_CONST,
	STEP_EXPR
} RowStepKind;

typedef struct RowStep
{
	RowStepKind kind;
	int			target;			/* row expression */
	int			column;			/* STEP_COLUMN: attnum - 1 */
	Datum		value;			/* STEP_CONST */
	bool		isnull;
	ExprState  *state;			/* STEP_EXPR */
	int			nguards;		/* 0 = always */
	RowGuard   *guards;
	bool		decides;		/* the time that windows in WHERE look at */
} RowStep;

struct FeRowProgram
{
	TupleTableSlot *slot;		/* borrows the caller's arrays */
	ExprContext *econtext;
	ExprState  *where;
	int			where_target;
	int			nsteps;
	RowStep    *steps;			/* guards' expressions come before their users */
	FePlan	   *plan;
	const FeArm *arm;
	bool		forbidden;		/* calls or reads what the view's owner may not */
	bool		runs_code;		/* of users */
	bool		at_any_age;		/* rows too old for windows are evaluated, too */
};

/* ---- preparation --------------------------------------------------------------- */

/* How an expression is used: always, or under guards. */
typedef struct RowUse
{
	bool		always;
	List	   *guards;			/* RowGuard * */
} RowUse;

static void
add_use(RowUse *use, int filter, int track)
{
	RowGuard   *guard;

	if (filter < 0 && track < 0)
	{
		use->always = true;
		return;
	}
	guard = palloc(sizeof(RowGuard));
	guard->filter = filter;
	guard->track = track;
	use->guards = lappend(use->guards, guard);
}

static RowUse *
find_uses(const FePlan *plan)
{
	RowUse	   *uses = palloc0(sizeof(RowUse) * list_length(plan->rowexprs));

	for (int i = 0; i < plan->nkeys; i++)
		uses[plan->keys[i].expr].always = true;
	for (int i = 0; i < plan->ntracks; i++)
		uses[plan->tracks[i].expr].always = true;
	for (int i = 0; i < plan->naccs; i++)
	{
		const FeAcc *acc = &plan->accs[i];
		int			track = acc->track == FE_LIFETIME ? -1 : acc->track;

		if (acc->filter >= 0)
			add_use(&uses[acc->filter], -1, track);
		if (acc->arg >= 0)
			add_use(&uses[acc->arg], acc->filter, track);
		if (acc->order >= 0)
			add_use(&uses[acc->order], acc->filter, track);
	}
	return uses;
}

static void
make_step(FeRowProgram *prog, Node *expr, int target, RowUse *use)
{
	RowStep    *step = &prog->steps[prog->nsteps++];
	ListCell   *lc;

	step->target = target;
	if (IsA(expr, Var))
	{
		step->kind = STEP_COLUMN;
		step->column = ((Var *) expr)->varattno - 1;
	}
	else if (IsA(expr, Const))
	{
		step->kind = STEP_CONST;
		step->value = ((Const *) expr)->constvalue;
		step->isnull = ((Const *) expr)->constisnull;
	}
	else
	{
		step->kind = STEP_EXPR;
		step->state = ExecInitExpr((Expr *) expr, NULL);
	}
	/* a copied column or constant costs less than looking at guards */
	if (use->always || step->kind != STEP_EXPR)
		return;
	step->guards = palloc(sizeof(RowGuard) * list_length(use->guards));
	foreach(lc, use->guards)
		step->guards[step->nguards++] = *(RowGuard *) lfirst(lc);
}

static bool
decides(const FePlan *plan, int target)
{
	return plan->where_track >= 0 && plan->tracks[plan->where_track].expr == target;
}

#define STEP_CLASSES	4

/*
 * 0: the time that decides whether the row is in the view at all; 1: keys and
 * times and all that is always needed; 2: filters; 3: the rest
 */
static int
step_class(const FePlan *plan, const RowUse *use, int target)
{
	if (decides(plan, target))
		return 0;
	if (use->always)
		return 1;
	for (int i = 0; i < plan->naccs; i++)
		if (plan->accs[i].filter == target)
			return 2;
	return 3;
}

static bool
is_forbidden(const FePlan *plan, const FeArm *arm)
{
	return OidIsValid(fe_find_forbidden((Node *) arm->rowexprs, plan->owner)) ||
		!fe_plan_owner_may_read(plan);
}

static void
make_steps(FeRowProgram *prog)
{
	const FePlan *plan = prog->plan;
	List	   *rowexprs = prog->arm->rowexprs;
	RowUse	   *uses = find_uses(plan);
	ListCell   *lc;

	prog->steps = palloc0(sizeof(RowStep) * Max(list_length(rowexprs), 1));
	for (int class = 0; class < STEP_CLASSES; class++)
		foreach(lc, rowexprs)
		{
			int			target = foreach_current_index(lc);

			if (!uses[target].always && uses[target].guards == NIL)
				continue;		/* WHERE only */
			if (step_class(plan, &uses[target], target) != class)
				continue;
			fix_opfuncids(lfirst(lc));
			make_step(prog, lfirst(lc), target, &uses[target]);
			prog->steps[prog->nsteps - 1].decides = class == 0;
		}
}

FeRowProgram *
fe_row_program_create(FePlan *plan, int n, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FeRowProgram *prog = palloc0(sizeof(FeRowProgram));
	const FeArm *arm = &plan->arms[n];
	TupleDesc	desc = arm->form == FE_FORM_JOINED ? CreateTupleDescCopy(plan->row_desc) :
		fe_arm_row_desc(arm);

	if (desc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("source of feature view \"%s\" does not exist", plan->name)));
	prog->plan = plan;
	prog->arm = arm;
	prog->slot = MakeTupleTableSlot(desc, &TTSOpsVirtual);
	prog->econtext = makeNode(ExprContext);
	prog->econtext->ecxt_scantuple = prog->slot;
	prog->where_target = plan->where;
	if (arm->where >= 0)
	{
		Expr	   *where = list_nth(arm->rowexprs, arm->where);

		fix_opfuncids((Node *) where);
		prog->where = ExecInitExpr(where, NULL);
	}
	make_steps(prog);
	prog->forbidden = is_forbidden(plan, arm);
	prog->runs_code = fe_runs_user_code((Node *) arm->rowexprs);

	/*
	 * A row that was left out because of an error is retracted one day, and must
	 * be left out then: the same expressions are evaluated, whatever its age.
	 */
	prog->at_any_age = plan->options.on_error == FE_ON_ERROR_SKIP;
	MemoryContextSwitchTo(old);
	return prog;
}

/*
 * The executor has looked at the rights of who made the program: a worker, which
 * may do anything.  An owner who may not call a function any more, or not read
 * the table, stops his view, and only this one, with the first row.
 */
static void
check_forbidden(FeRowProgram *prog)
{
	Oid			funcid = fe_find_forbidden((Node *) prog->arm->rowexprs, prog->plan->owner);

	if (OidIsValid(funcid))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(funcid));
	fe_plan_check_owner(prog->plan);
	prog->forbidden = false;
}

bool
fe_row_program_runs_code(const FeRowProgram *prog)
{
	return prog->runs_code;
}

/* ---- running --------------------------------------------------------------------- */

typedef enum Reach
{
	REACH_NEVER,				/* in no window at any T */
	REACH_OVER,					/* in no window any more */
	REACH_SOME
} Reach;

static inline Reach
reach_of(const FeRowProgram *prog, int track, pg_atomic_uint64 *cutoffs,
		 const Datum *values, const bool *nulls)
{
	int64		time;

	time = fe_track_time(prog->plan, track, values, nulls);
	if (time == PG_INT64_MIN)
		return REACH_NEVER;
	return time < (int64) pg_atomic_read_u64(&cutoffs[track]) ? REACH_OVER : REACH_SOME;
}

static inline bool
is_wanted(const FeRowProgram *prog, const RowStep *step, pg_atomic_uint64 *cutoffs,
		  const Datum *values, const bool *nulls)
{
	for (int i = 0; i < step->nguards; i++)
	{
		const RowGuard *guard = &step->guards[i];

		if (guard->track >= 0)
		{
			Reach		reach = reach_of(prog, guard->track, cutoffs, values, nulls);

			if (reach == REACH_NEVER || (reach == REACH_OVER && !prog->at_any_age))
				continue;
		}
		if (guard->filter >= 0 && (nulls[guard->filter] || !DatumGetBool(values[guard->filter])))
			continue;
		return true;
	}
	return false;
}

FeRowResult
fe_row_program_eval(FeRowProgram *prog, const Datum *row, const bool *rownulls,
					pg_atomic_uint64 *cutoffs, Datum *values, bool *nulls)
{
	TupleTableSlot *slot = prog->slot;
	ExprContext *econtext = prog->econtext;

	if (unlikely(prog->forbidden))
		check_forbidden(prog);
	slot->tts_values = (Datum *) row;
	slot->tts_isnull = (bool *) rownulls;
	slot->tts_nvalid = slot->tts_tupleDescriptor->natts;
	slot->tts_flags &= ~TTS_FLAG_EMPTY;
	econtext->ecxt_per_tuple_memory = CurrentMemoryContext;

	if (prog->where)
	{
		bool		isnull;
		Datum		result = ExecEvalExpr(prog->where, econtext, &isnull);

		if (isnull || !DatumGetBool(result))
			return FE_ROW_OUT;
	}
	if (prog->where_target >= 0)
	{
		values[prog->where_target] = BoolGetDatum(true);
		nulls[prog->where_target] = false;
	}
	for (int i = 0; i < prog->nsteps; i++)
	{
		const RowStep *step = &prog->steps[i];
		int			target = step->target;

		if (step->kind == STEP_COLUMN)
		{
			values[target] = row[step->column];
			nulls[target] = rownulls[step->column];
		}
		else if (step->kind == STEP_CONST)
		{
			values[target] = step->value;
			nulls[target] = step->isnull;
		}
		else if (step->nguards > 0 && !is_wanted(prog, step, cutoffs, values, nulls))
		{
			values[target] = (Datum) 0;
			nulls[target] = true;
		}
		else
			values[target] = ExecEvalExpr(step->state, econtext, &nulls[target]);
		if (step->decides)
		{
			Reach		reach = reach_of(prog, prog->plan->where_track, cutoffs, values, nulls);

			if (reach != REACH_SOME)
				return reach == REACH_OVER ? FE_ROW_EXPIRED : FE_ROW_OUT;
		}
	}
	return FE_ROW_IN;
}

/* ---- keys and times ----------------------------------------------------------------- */

/* Only the type's own bytes: how a Datum is extended depends on who made it. */
static inline uint64
datum_bits(Datum value, int16 typlen)
{
	switch (typlen)
	{
		case 1:
			return (uint8) value;
		case 2:
			return (uint16) value;
		case 4:
			return (uint32) value;
		default:
			return (uint64) value;
	}
}

static inline uint64
hash_key(const FeKey *key, Datum value, bool isnull)
{
	if (isnull)
		return UINT64CONST(0x9e3779b97f4a7c15);
	if (key->bitwise)
		return fe_murmur64(datum_bits(value, key->typlen) + 1);
	return DatumGetUInt64(FunctionCall2Coll((FmgrInfo *) &key->hash, key->collation, value,
											UInt64GetDatum(0)));
}

uint64
fe_key_hash(const FePlan *plan, const Datum *values, const bool *nulls)
{
	const FeKey *key = plan->keys;
	uint64		hash = hash_key(key, values[key->expr], nulls[key->expr]);

	for (int i = 1; i < plan->nkeys; i++)
	{
		key = &plan->keys[i];
		hash = hash_combine64(hash, hash_key(key, values[key->expr], nulls[key->expr]));
	}
	return hash;
}

uint64
fe_key_hash_keys(const FePlan *plan, const Datum *keys, const bool *nulls)
{
	uint64		hash = hash_key(&plan->keys[0], keys[0], nulls[0]);

	for (int i = 1; i < plan->nkeys; i++)
		hash = hash_combine64(hash, hash_key(&plan->keys[i], keys[i], nulls[i]));
	return hash;
}

int64
fe_track_time(const FePlan *plan, int track, const Datum *values, const bool *nulls)
{
	const FeTrack *t = &plan->tracks[track];
	bool		isnull = nulls[t->expr];
	int64		time = isnull ? PG_INT64_MIN : fe_event_time(values[t->expr], t->type);

	if (plan->group_window >= 0 && track == plan->where_track)
	{
		time = fe_group_time(&plan->windows[plan->group_window], time, isnull);
		return time == FE_NULL_WINDOW && !plan->null_window ? PG_INT64_MIN : time;
	}
	return time == PG_INT64_MAX ? PG_INT64_MIN : time;
}

int64
fe_event_time(Datum value, Oid type)
{
	DateADT		date;
	int64		usecs;

	if (type != DATEOID)
		return DatumGetInt64(value);	/* timestamp reads as UTC */
	date = DatumGetDateADT(value);
	if (DATE_IS_NOBEGIN(date))
		return PG_INT64_MIN;
	if (DATE_IS_NOEND(date))
		return PG_INT64_MAX;
	if (pg_mul_s64_overflow(date, USECS_PER_DAY, &usecs))
		return date < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	return usecs;
}
