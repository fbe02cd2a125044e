/*
 * analyze.c
 *		From a flattened definition to the plan: row expressions, keys, windows,
 *		tracks of panes, accumulators.
 *
 * Everything equal is kept once: row expressions, windows of a track,
 * accumulators (sum(x), avg(x) and stddev(x) of the same rows share one).
 * Runs wherever a definition is compiled; no locks beyond the catalogues'.
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "definition/definition.h"

/* ---- row expressions --------------------------------------------------------- */

static int
add_rowexpr(FePlanBuilder *b, Node *expr)
{
	ListCell   *lc;

	foreach(lc, b->plan->rowexprs)
		if (equal(lfirst(lc), expr))
			return foreach_current_index(lc);
	b->plan->rowexprs = lappend(b->plan->rowexprs, expr);
	return list_length(b->plan->rowexprs) - 1;
}

/* Folds, checks and adds an expression over the source row. */
static int
add_checked_rowexpr(FePlanBuilder *b, Node *expr, const char *what)
{
	FuncExpr   *call;

	expr = eval_const_expressions(NULL, expr);
	call = fe_find_window_call(b->a, expr);
	if (call)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a window cannot be used in %s of a feature view", what),
				 errhint("rolling() and tumbling() stand in WHERE or FILTER."),
				 fe_errposition(b->a, call->location)));
	fe_refuse_mutable(b->a, expr, what, false);
	return add_rowexpr(b, expr);
}

static int
add_condition(FePlanBuilder *b, List *conditions)
{
	if (conditions == NIL)
		return FE_NO_EXPR;
	return add_rowexpr(b, (Node *) make_ands_explicit(conditions));
}

/* ---- keys ---------------------------------------------------------------------- */

/* By-value types whose equality is equality of the bytes. */
static bool
is_bitwise(Oid type)
{
	switch (getBaseType(type))
	{
		case BOOLOID:
		case CHAROID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return true;
		default:
			return false;
	}
}

static void
analyze_key(FePlanBuilder *b, FeFlatKey *flat, FeKey *key)
{
	TypeCacheEntry *entry;

	key->type = exprType(flat->expr);
	key->typmod = exprTypmod(flat->expr);
	key->collation = exprCollation(flat->expr);
	key->column = -1;
	key->eqop = flat->eqop;
	key->expr = add_checked_rowexpr(b, flat->expr, _("a key"));
	get_typlenbyvalalign(key->type, &key->typlen, &key->typbyval, &key->typalign);
	entry = lookup_type_cache(key->type, TYPECACHE_HASH_EXTENDED_PROC | TYPECACHE_EQ_OPR);
	if (!OidIsValid(entry->hash_extended_proc))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("type %s cannot be a key of a feature view", format_type_be(key->type)),
				 errdetail("It has no extended hash function."),
				 fe_errposition(b->a, exprLocation(flat->expr))));
	fmgr_info(get_opcode(key->eqop), &key->eq);
	fmgr_info(entry->hash_extended_proc, &key->hash);
	key->bitwise = is_bitwise(key->type);
}

static void
analyze_keys(FePlanBuilder *b)
{
	FePlan	   *plan = b->plan;
	ListCell   *lc;

	plan->nkeys = list_length(b->flat->keys);
	if (plan->nkeys > FE_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a feature view cannot have more than %d key columns", FE_MAX_KEYS)));
	plan->keys = palloc0(sizeof(FeKey) * plan->nkeys);
	foreach(lc, b->flat->keys)
		analyze_key(b, lfirst(lc), &plan->keys[foreach_current_index(lc)]);
}

/* ---- windows and tracks ----------------------------------------------------------- */

static int
add_track(FePlanBuilder *b, const FeWindowTerm *term)
{
	FePlan	   *plan = b->plan;
	int			expr = add_rowexpr(b, term->time);

	for (int i = 0; i < plan->ntracks; i++)
		if (plan->tracks[i].expr == expr)
			return i;
	if (plan->ntracks == FE_MAX_TRACKS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a feature view cannot have windows over more than %d event times",
						FE_MAX_TRACKS),
				 fe_errposition(b->a, term->location)));
	plan->tracks[plan->ntracks].expr = expr;
	plan->tracks[plan->ntracks].type = getBaseType(term->type);
	return plan->ntracks++;
}

static bool
same_window(const FeWindow *x, const FeWindow *y)
{
	if (x->kind != y->kind || x->width != y->width)
		return false;
	if (x->kind == FE_WINDOW_ROLLING)
		return x->hop == y->hop && x->has_before == y->has_before && x->before == y->before;
	return fe_window_floor_origin(x->origin, x->width, y->origin) == x->origin;
}

static int
add_window(FePlanBuilder *b, const FeWindowTerm *term, int track)
{
	FePlan	   *plan = b->plan;
	FeTrack    *t = &plan->tracks[track];
	int			n = plan->nwindows;

	for (int i = 0; i < n; i++)
		if (plan->window_track[i] == track && same_window(&plan->windows[i], &term->window))
			return i;
	if (n == FE_MAX_WINDOWS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a feature view cannot have more than %d different windows",
						FE_MAX_WINDOWS),
				 fe_errposition(b->a, term->location)));
	plan->windows[n] = term->window;
	plan->window_track[n] = track;
	plan->window_bit[n] = t->grid.nwindows;
	t->grid.windows[t->grid.nwindows++] = term->window;
	t->windows |= (FeWindowSet) 1 << n;
	return plan->nwindows++;
}

/* All windows of one aggregate, WHERE's included: over one event time. */
static void
add_windows(FePlanBuilder *b, List *terms, int *track, FeWindowSet *set)
{
	ListCell   *lc;

	*track = FE_LIFETIME;
	*set = 0;
	foreach(lc, terms)
	{
		FeWindowTerm *term = lfirst(lc);
		int			t = add_track(b, term);

		if (*track != FE_LIFETIME && *track != t)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("windows of one aggregate must be over the same event time"),
					 b->flat->window ?
					 errhint("The window of GROUP BY counts for every aggregate.") :
					 errhint("The windows of WHERE count for every aggregate. Put each window into "
							 "the FILTER of the aggregates that it is meant for."),
					 fe_errposition(b->a, term->location)));
		*track = t;
		*set |= (FeWindowSet) 1 << add_window(b, term, t);
	}
}

/* Remembers a set of windows in use, for the track's grid. */
static void
add_set(FePlanBuilder *b, int track, FeWindowSet set)
{
	FeWindowSet *copy;
	ListCell   *lc;

	if (track == FE_LIFETIME)
		return;
	foreach(lc, b->sets[track])
		if (*(FeWindowSet *) lfirst(lc) == set)
			return;
	if (list_length(b->sets[track]) == FE_MAX_WINDOWS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a feature view cannot have more than %d different combinations of windows",
						FE_MAX_WINDOWS)));
	copy = palloc(sizeof(FeWindowSet));
	*copy = set;
	b->sets[track] = lappend(b->sets[track], copy);
}

static void
analyze_where(FePlanBuilder *b)
{
	FePlan	   *plan = b->plan;
	List	   *conditions;

	fe_split_windows(b->a, b->flat->where, _("the WHERE clause"), &b->where_windows, &conditions);
	if (fe_flat_has_common_row(b->flat))
		b->where_conditions = conditions;
	else
		plan->where = add_condition(b, conditions);
	plan->group_window = -1;
	plan->window_column = -1;
	fe_take_window_key(b->a, b->flat);
	if (b->flat->window)
	{
		/* the first of all: it gets number 0 */
		b->where_windows = lcons(fe_parse_group_window(b->a, b->flat->window), b->where_windows);
		plan->group_window = 0;
		plan->null_window = list_length(b->where_windows) == 1;
	}
	add_windows(b, b->where_windows, &plan->where_track, &plan->where_windows);
	add_set(b, plan->where_track, plan->where_windows);
}

/* ---- aggregates ---------------------------------------------------------------------- */

static void
refuse_aggregate(FePlanBuilder *b, Aggref *agg, const FeAggRefusal *why)
{
	ereport(ERROR,
			(errcode(why->sqlstate ? why->sqlstate : ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s", why->message),
			 why->detail ? errdetail("%s", why->detail) : 0,
			 why->hint ? errhint("%s", why->hint) : 0,
			 fe_errposition(b->a, why->location > 0 ? why->location : agg->location)));
}

static Node *
aggregate_argument(Aggref *agg, int n)
{
	return (Node *) ((TargetEntry *) list_nth(agg->args, n))->expr;
}

/* What forgets its rows cannot take one out again.  What is stored has been checked. */
static void
check_append_only(FePlanBuilder *b, Aggref *agg, const FeAggMatch *match)
{
	if (match->rows || !match->kind->append_only || !b->a->check || b->a->append_only)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s is not supported in a feature view over rows that change",
					match->final->name),
			 errdetail("Its state does not tell which rows it is made of, so that an update or "
					   "delete could not be taken out of it."),
			 b->a->joined ? errhint("Use count(DISTINCT ...), which is exact.") :
			 errhint("Use count(DISTINCT ...), which is exact; or, if rows are only ever inserted, "
					 "create the feature view with append_only => true."),
			 fe_errposition(b->a, agg->location)));
}

/* An aggregate over the rows whose time has come: as a window without a beginning. */
static List *
add_until_now(FePlanBuilder *b, Aggref *agg, List *windows)
{
	FeWindowTerm *term = palloc0(sizeof(FeWindowTerm));

	term->time = eval_const_expressions(NULL, aggregate_argument(agg, 1));
	term->type = exprType(term->time);
	term->location = agg->location;
	term->window.kind = FE_WINDOW_ROLLING;
	term->window.width = term->window.hop = FE_WINDOW_ALL_TIME;
	fe_refuse_mutable(b->a, term->time, _("an event time"), false);
	return lappend(windows, term);
}

/* count(*) with a row filter counts a constant. */
static void
match_count(FeAggMatch *match)
{
	Aggref	   *count = makeNode(Aggref);
	Const	   *one = (Const *) makeBoolConst(true, false);
	FeAggRefusal why = {0};

	count->aggfnoid = F_COUNT_ANY;
	count->aggtype = INT8OID;
	count->aggargtypes = list_make1_oid(BOOLOID);
	count->args = list_make1(makeTargetEntry((Expr *) one, 1, NULL, false));
	count->aggkind = 'n';
	count->location = -1;
	if (!fe_aggregate_match(count, false, match, &why))
		elog(ERROR, "count() is not supported");
}

static bool
same_accumulator(FePlanBuilder *b, int i, const FeAcc *acc, const FeAggMatch *match)
{
	const FeAcc *other = &b->plan->accs[i];
	const FeAggMatch *m = &b->matches[i];

	return m->kind == match->kind && m->argtype == match->argtype &&
		m->collation == match->collation && m->has_order == match->has_order &&
		fe_same_folds(m->folds, match->folds) &&
		m->params.lo == match->params.lo && m->params.hi == match->params.hi &&
		m->params.n == match->params.n &&
		other->track == acc->track && other->arg == acc->arg &&
		other->order == acc->order && other->filter == acc->filter;
}

static int
add_accumulator(FePlanBuilder *b, const FeAcc *acc, const FeAggMatch *match)
{
	FePlan	   *plan = b->plan;
	int			n = plan->naccs;

	for (int i = 0; i < n; i++)
		if (same_accumulator(b, i, acc, match))
		{
			b->flags[i] |= match->final->flags;
			return i;
		}
	plan->accs = n ? repalloc(plan->accs, sizeof(FeAcc) * (n + 1)) : palloc(sizeof(FeAcc));
	b->matches = n ? repalloc(b->matches, sizeof(FeAggMatch) * (n + 1)) :
		palloc(sizeof(FeAggMatch));
	b->flags = n ? repalloc(b->flags, sizeof(uint32) * (n + 1)) : palloc(sizeof(uint32));
	plan->accs[n] = *acc;
	b->matches[n] = *match;
	b->flags[n] = match->final->flags;
	return plan->naccs++;
}

/* The accumulator of an aggregate call, FE_ROWS where the row count will do. */
static int
aggregate_accumulator(FePlanBuilder *b, Aggref *agg, int track, List *conditions,
					  FeAggMatch *match)
{
	FeAcc		acc = {0};

	if (match->rows && conditions == NIL)
		return FE_ROWS;
	acc.track = track;
	acc.filter = add_condition(b, conditions);
	acc.order = FE_NO_EXPR;
	if (match->rows)
	{
		match_count(match);
		acc.arg = add_rowexpr(b, makeBoolConst(true, false));
	}
	else
		acc.arg = add_checked_rowexpr(b, match->arg ? match->arg : aggregate_argument(agg, 0),
									  _("an aggregate's argument"));
	if (match->has_order)
	{
		Node	   *order = aggregate_argument(agg, 1);

		acc.order_type = getBaseType(exprType(order));
		acc.order = add_checked_rowexpr(b, order, _("an aggregate's argument"));
	}
	return add_accumulator(b, &acc, match);
}

static int
add_agg(FePlanBuilder *b, const FeAgg *agg)
{
	FePlan	   *plan = b->plan;
	int			n = plan->naggs;

	for (int i = 0; i < n; i++)
	{
		FeAgg	   *other = &plan->aggs[i];

		if (other->acc == agg->acc && other->track == agg->track &&
			other->windows == agg->windows && other->final == agg->final &&
			other->type == agg->type)
			return i;
	}
	plan->aggs = n ? repalloc(plan->aggs, sizeof(FeAgg) * (n + 1)) : palloc(sizeof(FeAgg));
	plan->aggs[n] = *agg;
	return plan->naggs++;
}

/* Index in plan->aggs of an aggregate call over the source row. */
int
fe_plan_add_aggregate(FePlanBuilder *b, Aggref *call)
{
	FeAggMatch	match = {0};
	FeAggRefusal why = {0};
	FeAgg		agg = {0};
	List	   *windows;
	List	   *conditions;
	ListCell   *lc;

	foreach(lc, b->aggrefs)
		if (equal(lfirst(lc), call))
			return list_nth_int(b->agg_of, foreach_current_index(lc));
	if (!fe_aggregate_match(call, b->a->append_only || b->plan->options.append_only, &match,
							&why))
		refuse_aggregate(b, call, &why);
	check_append_only(b, call, &match);
	fe_split_windows(b->a, call->aggfilter ? list_make1(call->aggfilter) : NIL,
					 _("a FILTER"), &windows, &conditions);
	if (match.until_now)
		windows = add_until_now(b, call, windows);
	add_windows(b, list_concat_copy(b->where_windows, windows), &agg.track, &agg.windows);
	add_set(b, agg.track, agg.windows);
	agg.acc = aggregate_accumulator(b, call, agg.track, conditions, &match);
	agg.final = agg.acc == FE_ROWS ? NULL : match.final;
	agg.type = call->aggtype;
	agg.typmod = -1;
	agg.collation = call->aggcollid;
	get_typlenbyval(agg.type, &agg.typlen, &agg.typbyval);
	b->aggrefs = lappend(b->aggrefs, call);
	b->agg_of = lappend_int(b->agg_of, add_agg(b, &agg));
	return llast_int(b->agg_of);
}

int
fe_plan_add_current(FePlanBuilder *b, Var *column)
{
	FeAggMatch	match;
	FeAcc		acc = {.filter = FE_NO_EXPR, .order = FE_NO_EXPR};
	FeAgg		agg = {0};

	fe_aggregate_match_current(column->vartype, &match);
	add_windows(b, b->where_windows, &acc.track, &agg.windows);
	acc.arg = add_rowexpr(b, (Node *) column);
	agg.acc = add_accumulator(b, &acc, &match);
	agg.track = acc.track;
	agg.final = match.final;
	agg.type = column->vartype;
	agg.typmod = column->vartypmod;
	agg.collation = column->varcollid;
	get_typlenbyval(agg.type, &agg.typlen, &agg.typbyval);
	return add_agg(b, &agg);
}

/* Index in plan->aggs of the window that GROUP BY has. */
int
fe_plan_add_window(FePlanBuilder *b)
{
	FeAgg		agg = {0};

	agg.acc = FE_WINDOW;
	agg.track = b->plan->where_track;
	agg.windows = b->plan->where_windows;
	agg.type = TSTZRANGEOID;
	agg.typmod = -1;
	get_typlenbyval(agg.type, &agg.typlen, &agg.typbyval);
	b->window_agg = add_agg(b, &agg);
	return b->window_agg;
}

bool
fe_plan_aggs_use_time(const FePlan *plan, const Bitmapset *aggs)
{
	int			i = -1;

	while ((i = bms_next_member(aggs, i)) >= 0)
	{
		const FeAgg *agg = &plan->aggs[i];

		if (agg->acc >= 0 && agg->final->uses_time)
			return true;
	}
	return false;
}

/* ---- all of it ------------------------------------------------------------------------ */

static void
analyze(FeAnalysis *a, FeFlat *flat, FePlan *plan)
{
	FePlanBuilder b = {.a = a, .flat = flat, .plan = plan, .window_agg = -1};

	plan->row_desc = flat->row_desc;
	plan->join = flat->join;
	/* of a stream, whatever the user said: its rows stay */
	if (a->stream)
		plan->options.append_only = true;
	plan->windows = palloc0(sizeof(FeWindow) * FE_MAX_WINDOWS);
	plan->window_bit = palloc0(sizeof(int) * FE_MAX_WINDOWS);
	plan->window_track = palloc0(sizeof(int) * FE_MAX_WINDOWS);
	plan->tracks = palloc0(sizeof(FeTrack) * FE_MAX_TRACKS);
	analyze_where(&b);
	analyze_keys(&b);
	fe_analyze_outputs(&b);
	fe_plan_share_accumulators(&b);
	fe_plan_lay_out(&b);
	fe_plan_make_arms(&b);
	if (plan->join)
		fe_join_make_parts(&b);
}

/*
 * The same with a search_path of system schemas, and fixed settings: folding constants runs the
 * definition's functions, here as in every later compilation.
 */
void
fe_analyze(FeAnalysis *a, FeFlat *flat, FePlan *plan)
{
	int			nestlevel = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	fe_settings_fix(false);
	analyze(a, flat, plan);
	AtEOXact_GUC(false, nestlevel);
}
