/*
 * group_window.c
 *		A window among the keys of GROUP BY: tumble(), hop() or session().
 *
 * Runs wherever a definition is compiled; no locks.  The entity is the key without
 * the window.  Its events are kept in panes as for any window, and what is read
 * of it are several rows, one for each window that holds an event.
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"

#include "definition/definition.h"

#define MAX_HOPS	1000		/* windows that one row is in */

static const struct
{
	const char *name;
	FeWindowKind kind;
}			functions[] =
{
	{"tumble", FE_WINDOW_TUMBLE},
	{"hop", FE_WINDOW_HOP},
	{"session", FE_WINDOW_SESSION}
};

/* Index in functions, -1 = none of them. */
static int
group_function(const FeAnalysis *a, Oid funcid)
{
	for (int i = 0; i < lengthof(functions); i++)
		if (fe_is_own_function(a, funcid, functions[i].name))
			return i;
	return -1;
}

bool
fe_is_group_function(const FeAnalysis *a, Oid funcid)
{
	return group_function(a, funcid) >= 0;
}

void
fe_take_window_key(const FeAnalysis *a, FeFlat *flat)
{
	ListCell   *lc;

	foreach(lc, flat->keys)
	{
		FeFlatKey  *key = lfirst(lc);

		if (!IsA(key->expr, FuncExpr) || !fe_is_group_function(a, ((FuncExpr *) key->expr)->funcid))
			continue;
		if (flat->window)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a feature view cannot have two windows in GROUP BY"),
					 errhint("Create one feature view for each."),
					 fe_errposition(a, exprLocation(key->expr))));
		flat->window = key;
		flat->keys = foreach_delete_current(flat->keys, lc);
	}
	if (flat->window && flat->keys == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a window cannot be the only key of a feature view"),
				 errdetail("Besides the window, a key says whose features a row holds."),
				 errhint("Where all rows belong together, use a constant: SELECT 'all' AS scope, ... "
						 "GROUP BY scope, tumble(...)."),
				 fe_errposition(a, exprLocation(flat->window->expr))));
}

void
fe_check_group_window(const FeWindow *w, const FeAnalysis *a, int location)
{
	if (w->width <= 0)
		fe_window_error(a, location, w->kind == FE_WINDOW_SESSION ?
						_("gap of a session must be greater than zero") :
						_("width of a window must be greater than zero"), NULL);
	if (w->kind != FE_WINDOW_HOP)
		return;
	if (w->hop <= 0)
		fe_window_error(a, location, _("slide of a window must be greater than zero"), NULL);
	if (w->hop > w->width)
		fe_window_error(a, location,
						psprintf(_("slide of %s is greater than the window of %s"),
								 fe_format_usecs(w->hop), fe_format_usecs(w->width)),
						_("Events between two windows would be in none. Exclude them in WHERE, and use "
						  "tumble()."));
	if ((w->width - 1) / w->hop >= MAX_HOPS)
		fe_window_error(a, location,
						psprintf(_("a row would be in more than %d windows of %s"), MAX_HOPS,
								 fe_format_usecs(w->width)),
						_("Use a longer slide, or rolling() for a window that ends now."));
}

FeWindowTerm *
fe_parse_group_window(const FeAnalysis *a, FeFlatKey *key)
{
	/* folding also puts named and default arguments in their places */
	Node	   *expr = eval_const_expressions(NULL, copyObject(key->expr));
	FeWindowTerm *term = palloc0(sizeof(FeWindowTerm));
	FeWindow   *w = &term->window;
	FuncExpr   *call = (FuncExpr *) expr;

	if (!IsA(expr, FuncExpr))
		fe_window_error(a, exprLocation(key->expr),
						_("a window of constant time cannot be a key of a feature view"), NULL);
	w->kind = functions[group_function(a, call->funcid)].kind;
	term->time = linitial(call->args);
	term->type = exprType(term->time);
	term->location = exprLocation(key->expr);
	if (!fe_window_interval(a, call, 1, w->kind == FE_WINDOW_SESSION ? "gap" : "width", &w->width))
		fe_window_error(a, term->location, w->kind == FE_WINDOW_SESSION ?
						_("gap of a session must not be NULL") :
						_("width of a window must not be NULL"), NULL);
	w->hop = w->width;
	if (w->kind == FE_WINDOW_HOP && !fe_window_interval(a, call, 2, "slide", &w->hop))
		fe_window_error(a, term->location, _("slide of a window must not be NULL"), NULL);
	w->origin = FE_WINDOW_EPOCH;
	if (w->kind != FE_WINDOW_SESSION)
		w->origin = fe_window_origin(a, call, w->kind == FE_WINDOW_HOP ? 3 : 2);
	fe_check_group_window(w, a, term->location);
	if (fe_find_window_call(a, term->time))
		fe_window_error(a, term->location, _("the event time of a window cannot contain a window"),
						NULL);
	fe_refuse_mutable(a, term->time, _("an event time"), false);
	return term;
}
