/*
 * windows.c
 *		rolling() and tumbling() in a definition: found among ANDed terms,
 *		checked, and turned into FeWindow.
 *
 * Runs wherever a definition is compiled, and under the SQL functions
 * themselves (window_functions.c), so that batch and stream refuse the same
 * windows with the same words.  No locks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/timestamp.h"

#include "definition/definition.h"

bool
fe_interval_usecs(const Interval *interval, int64 *usecs)
{
	int64		days;

	if (interval->month != 0)
		return false;
	days = (int64) interval->day * USECS_PER_DAY;
	return !pg_add_s64_overflow(days, interval->time, usecs);
}

/* As an interval literal of days and a time: 30 days, 06:00:00. */
char *
fe_format_usecs(int64 usecs)
{
	int64		days = usecs / USECS_PER_DAY;
	int64		rest = usecs % USECS_PER_DAY;
	int			secs = (int) (rest / USECS_PER_SEC);
	int			frac = (int) (rest % USECS_PER_SEC);
	char	   *time = psprintf("%02d:%02d:%02d", secs / 3600, secs / 60 % 60, secs % 60);

	if (frac != 0)
		time = psprintf("%s.%06d", time, frac);
	if (days == 0)
		return time;
	return psprintf(days == 1 ? INT64_FORMAT " day%s%s" : INT64_FORMAT " days%s%s", days,
					rest != 0 ? " " : "", rest != 0 ? time : "");
}

/* ---- rules of a window --------------------------------------------------- */

void
fe_window_error(const FeAnalysis *a, int location, const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 hint ? errhint("%s", hint) : 0,
			 a ? fe_errposition(a, location) : 0));
}

void
fe_check_window(const FeWindow *w, const FeAnalysis *a, int location)
{
	if (w->width <= 0)
		fe_window_error(a, location, _("width of a window must be greater than zero"), NULL);
	if (w->kind != FE_WINDOW_ROLLING)
		return;
	if (w->hop < 0)
		fe_window_error(a, location, _("hop of a window must not be negative"), NULL);
	if (w->hop > 0 && w->width % w->hop != 0)
		fe_window_error(a, location,
					 psprintf(_("hop of %s does not divide the window of %s"),
							  fe_format_usecs(w->hop), fe_format_usecs(w->width)),
					 psprintf(_("Leave hop out for the default (%s here), or write hop => '0' for a "
								"window that is exact to the microsecond."),
							  fe_format_usecs(fe_window_default_hop(w->width))));
	if (w->has_before && w->before < 0)
		fe_window_error(a, location, _("before of a window must not be negative"), NULL);
}

/* ---- calls in a definition --------------------------------------------------- */

static Const *
constant_argument(const FeAnalysis *a, FuncExpr *call, int n, const char *name)
{
	Node	   *arg = list_nth(call->args, n);

	if (!IsA(arg, Const))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s of a window must be a constant", name),
				 fe_errposition(a, exprLocation(arg))));
	return (Const *) arg;
}

/* False: NULL. */
bool
fe_window_interval(const FeAnalysis *a, FuncExpr *call, int n, const char *name, int64 *usecs)
{
	Const	   *c = constant_argument(a, call, n, name);

	if (c->constisnull)
		return false;
	if (!fe_interval_usecs(DatumGetIntervalP(c->constvalue), usecs))
		fe_window_error(a, c->location >= 0 ? c->location : call->location,
					 psprintf(_("%s of a window must not have months or years"), name),
					 _("Their length varies. Write '30 days' instead of '1 month', '365 days' "
					   "instead of '1 year'."));
	return true;
}

int64
fe_window_origin(const FeAnalysis *a, FuncExpr *call, int n)
{
	Const	   *origin = constant_argument(a, call, n, "origin");
	TimestampTz value;

	if (origin->constisnull)
		return FE_WINDOW_EPOCH;
	value = DatumGetTimestampTz(origin->constvalue);
	if (TIMESTAMP_NOT_FINITE(value))
		fe_window_error(a, call->location, _("origin of a window must be finite"), NULL);
	return value;
}

static FeWindowTerm *
parse_window(const FeAnalysis *a, FuncExpr *call)
{
	FeWindowTerm *term = palloc0(sizeof(FeWindowTerm));
	FeWindow   *w = &term->window;

	term->time = linitial(call->args);
	term->type = exprType(term->time);
	term->location = call->location;
	if (!fe_window_interval(a, call, 1, "width", &w->width))
		fe_window_error(a, call->location, _("width of a window must not be NULL"), NULL);
	if (fe_is_own_function(a, call->funcid, "rolling"))
	{
		w->kind = FE_WINDOW_ROLLING;
		if (!fe_window_interval(a, call, 2, "hop", &w->hop))
			w->hop = w->width > 0 ? fe_window_default_hop(w->width) : 0;
		w->has_before = fe_window_interval(a, call, 3, "before", &w->before);
	}
	else
	{
		w->kind = FE_WINDOW_TUMBLING;
		w->origin = fe_window_origin(a, call, 2);
	}
	fe_check_window(w, a, call->location);
	return term;
}

/* The call that a term consists of, or NULL. */
static FuncExpr *
term_call(const FeAnalysis *a, Node *term)
{
	if (IsA(term, BooleanTest) && ((BooleanTest *) term)->booltesttype == IS_TRUE)
		term = (Node *) ((BooleanTest *) term)->arg;
	if (!IsA(term, FuncExpr) || fe_find_window_call(a, term) != (FuncExpr *) term)
		return NULL;
	return (FuncExpr *) term;
}

void
fe_split_windows(const FeAnalysis *a, List *terms, const char *what,
				 List **windows, List **conditions)
{
	Node	   *all;
	ListCell   *lc;

	*windows = NIL;
	*conditions = NIL;
	if (terms == NIL)
		return;
	/* folding also puts named and default arguments in their places */
	all = eval_const_expressions(NULL, (Node *) make_ands_explicit(terms));
	foreach(lc, make_ands_implicit((Expr *) all))
	{
		Node	   *term = lfirst(lc);
		FuncExpr   *call = term_call(a, term);

		if (call)
			*windows = lappend(*windows, parse_window(a, call));
		else if ((call = fe_find_window_call(a, term)) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a window cannot stand inside another expression"),
					 errhint("rolling() and tumbling() are terms of the top-level AND of WHERE or "
							 "FILTER. Write one aggregate for each window and combine them: "
							 "count(*) FILTER (WHERE rolling(ts, '7 days')) - ..."),
					 fe_errposition(a, call->location)));
		else
			*conditions = lappend(*conditions, term);
	}
	foreach(lc, *conditions)
		fe_refuse_mutable(a, lfirst(lc), what, false);
	foreach(lc, *windows)
	{
		FeWindowTerm *w = lfirst(lc);

		if (fe_find_window_call(a, w->time))
			fe_window_error(a, w->location, _("the event time of a window cannot contain a window"),
						 NULL);
		fe_refuse_mutable(a, w->time, _("an event time"), false);
	}
}
