/*
 * refuse.c
 *		Finding what a definition must not contain, and pointing at it.
 *
 * Runs in backends that create or explain a definition, and in every process
 * that compiles a stored one (then there is no text to point into).  Takes no
 * locks beyond the catalogues'.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "nodes/nodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_type.h"
#include "runtime/compat.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "definition/definition.h"
#include "definition/query_text.h"

/* ---- positions ------------------------------------------------------------- */

static void
query_text_error(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) arg);
	}
}

void
fe_query_text_begin(FeQueryText *q, const char *text)
{
	q->callback.callback = query_text_error;
	q->callback.arg = unconstify(char *, text);
	q->callback.previous = error_context_stack;
	error_context_stack = &q->callback;
}

void
fe_query_text_end(FeQueryText *q)
{
	error_context_stack = q->callback.previous;
}

int
fe_query_text_position(const char *text, int location)
{
	if (text == NULL || location < 0)
		return 0;
	internalerrposition(pg_mbstrlen_with_len(text, location) + 1);
	internalerrquery(text);
	return 0;
}

void
fe_analysis_init(FeAnalysis *a, const char *text, Node *raw)
{
	memset(a, 0, sizeof(FeAnalysis));
	a->text = text;
	a->raw = raw;
	a->schema = get_namespace_oid(FE_SCHEMA, false);
}

int
fe_errposition(const FeAnalysis *a, int location)
{
	return fe_query_text_position(a->text, location);
}

/* ---- where a table is named --------------------------------------------- */

typedef struct FindRangeVar
{
	Oid			relid;
	int			left;			/* mentions to pass by */
	int			location;
} FindRangeVar;

static bool
names_row_type(TypeName *name, Oid relid)
{
	Oid			type = LookupTypeNameOid(NULL, name, true);

	return OidIsValid(type) && get_typ_typrelid(type) == relid;
}

static bool
find_range_var(Node *node, void *arg)
{
	FindRangeVar *find = arg;

	if (node == NULL)
		return false;
	if (IsA(node, RangeVar))
	{
		RangeVar   *rv = (RangeVar *) node;

		if (RangeVarGetRelid(rv, NoLock, true) == find->relid && find->left-- == 0)
		{
			find->location = rv->location;
			return true;
		}
		return false;
	}
	/* changes(NULL::orders) */
	if (IsA(node, TypeCast) && names_row_type(((TypeCast *) node)->typeName, find->relid) &&
		find->left-- == 0)
	{
		find->location = ((TypeCast *) node)->typeName->location;
		return true;
	}
	return raw_expression_tree_walker(node, find_range_var, arg);
}

int
fe_relation_location(const FeAnalysis *a, Oid relid, int nth)
{
	FindRangeVar find = {relid, nth, -1};

	if (a->raw)
		(void) find_range_var(a->raw, &find);
	return find.location;
}

/* ---- our own functions ---------------------------------------------------- */

bool
fe_is_own_function(const FeAnalysis *a, Oid funcid, const char *name)
{
	char	   *funcname;

	if (get_func_namespace(funcid) != a->schema)
		return false;
	funcname = get_func_name(funcid);
	return funcname != NULL && strcmp(funcname, name) == 0;
}

typedef struct FindCall
{
	const FeAnalysis *a;
	FuncExpr   *found;
} FindCall;

static bool
find_now(Node *node, void *arg)
{
	FindCall   *find = arg;

	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr) && fe_is_own_function(find->a, ((FuncExpr *) node)->funcid, "now"))
	{
		find->found = (FuncExpr *) node;
		return true;
	}
	return expression_tree_walker(node, find_now, arg);
}

bool
fe_contains_now(const FeAnalysis *a, Node *node, int *location)
{
	FindCall	find = {a, NULL};

	if (!find_now(node, &find))
		return false;
	if (location)
		*location = find.found->location;
	return true;
}

static bool
find_final(Node *node, void *arg)
{
	FindCall   *find = arg;

	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr) && fe_is_own_function(find->a, ((FuncExpr *) node)->funcid, "is_final"))
		return true;
	return expression_tree_walker(node, find_final, arg);
}

bool
fe_contains_final(const FeAnalysis *a, Node *node)
{
	FindCall	find = {a, NULL};

	return find_final(node, &find);
}

static bool
find_window(Node *node, void *arg)
{
	FindCall   *find = arg;

	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr))
	{
		Oid			funcid = ((FuncExpr *) node)->funcid;

		if (fe_is_own_function(find->a, funcid, "rolling") ||
			fe_is_own_function(find->a, funcid, "tumbling"))
		{
			find->found = (FuncExpr *) node;
			return true;
		}
	}
	return expression_tree_walker(node, find_window, arg);
}

FuncExpr *
fe_find_window_call(const FeAnalysis *a, Node *node)
{
	FindCall	find = {a, NULL};

	(void) find_window(node, &find);
	return find.found;
}

/* ---- mutable functions ------------------------------------------------------ */

typedef struct FindMutable
{
	const FeAnalysis *a;
	bool		now_allowed;
	Oid			funcid;			/* function found, or InvalidOid */
	Node	   *node;			/* where */
} FindMutable;

/* PostgreSQL calls it immutable, but its months and days are those of the session's zone. */
static bool
is_mutable_after_all(Oid funcid)
{
	return funcid == F_AGE_TIMESTAMPTZ_TIMESTAMPTZ;
}

static bool
is_mutable(Oid funcid, void *arg)
{
	FindMutable *find = arg;

	if (func_volatile(funcid) == PROVOLATILE_IMMUTABLE && !is_mutable_after_all(funcid))
		return false;
	if (find->now_allowed && (fe_is_own_function(find->a, funcid, "now") ||
							  fe_is_own_function(find->a, funcid, "is_final")))
		return false;
	find->funcid = funcid;
	return true;
}

static bool
find_mutable(Node *node, void *arg)
{
	FindMutable *find = arg;

	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_mutable, arg) ||
		IsA(node, SQLValueFunction) || IsA(node, NextValueExpr) ||
		fe_compat_is_mutable_json(node))
	{
		find->node = node;
		return true;
	}
	return expression_tree_walker(node, find_mutable, arg);
}

/* What a function has to do with time zones: does one of its types carry one? */
typedef enum TimezoneUse
{
	NO_TIMEZONE,
	READS_TIMESTAMPTZ,			/* shows or counts the hours and days of one */
	MAKES_TIMESTAMPTZ,			/* of a timestamp, a date or a text */
	TIMESTAMPTZ_TO_DATE
} TimezoneUse;

static TimezoneUse
timezone_use(Oid funcid)
{
	HeapTuple	tup = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	Form_pg_proc proc;
	TimezoneUse result = NO_TIMEZONE;

	if (!HeapTupleIsValid(tup))
		return NO_TIMEZONE;
	proc = (Form_pg_proc) GETSTRUCT(tup);
	if (proc->prorettype == TIMESTAMPTZOID || proc->prorettype == TIMETZOID)
		result = MAKES_TIMESTAMPTZ;
	for (int i = 0; i < proc->pronargs; i++)
		if (proc->proargtypes.values[i] == TIMESTAMPTZOID ||
			proc->proargtypes.values[i] == TIMETZOID)
			result = proc->prorettype == DATEOID ? TIMESTAMPTZ_TO_DATE : READS_TIMESTAMPTZ;
	ReleaseSysCache(tup);
	return result;
}

static const char *
mutable_hint(Oid funcid)
{
	if (!OidIsValid(funcid))
		return NULL;
	if (funcid == F_TIMESTAMPTZ_MI_INTERVAL || funcid == F_TIMESTAMPTZ_PL_INTERVAL)
		return _("The length of a day depends on the session's time zone. Subtract one time from the "
				 "other, as in now() - max(created_at) < interval '7 days', or write the timestamptz "
				 "as (... AT TIME ZONE 'UTC').");
	switch (timezone_use(funcid))
	{
		case READS_TIMESTAMPTZ:
			return _("It depends on the session's time zone. Say which one: write the timestamptz "
					 "as (... AT TIME ZONE 'UTC').");
		case TIMESTAMPTZ_TO_DATE:
			return _("It depends on the session's time zone. Say which one: "
					 "(... AT TIME ZONE 'UTC')::date.");
		case MAKES_TIMESTAMPTZ:
			return _("It depends on the session's time zone. Say in which one the time is: "
					 "(... AT TIME ZONE 'UTC').");
		case NO_TIMEZONE:
			break;
	}
	if (get_func_rettype(funcid) == CSTRINGOID)
		return _("The text form depends on the session's settings. Use to_char() with a format "
				 "on a timestamp, or leave the value in its own type.");
	return NULL;
}

/* hop() and session() are keys, and no values. */
static bool
find_group_call(Node *node, void *arg)
{
	FindCall   *find = arg;

	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr) &&
		(fe_is_own_function(find->a, ((FuncExpr *) node)->funcid, "hop") ||
		 fe_is_own_function(find->a, ((FuncExpr *) node)->funcid, "session")))
	{
		find->found = (FuncExpr *) node;
		return true;
	}
	return expression_tree_walker(node, find_group_call, arg);
}

static void
refuse_group_call(const FeAnalysis *a, Node *node, const char *what)
{
	FindCall	find = {a, NULL};

	if (find_group_call(node, &find))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s() cannot be used in %s of a feature view",
						get_func_name(find.found->funcid), what),
				 errhint("It stands in GROUP BY, alone, and its value is the window's column."),
				 fe_errposition(a, find.found->location)));
}

static void
refuse_now(const FeAnalysis *a, int location, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("now() cannot be used in %s of a feature view", what),
			 errdetail("The value would change without any change of the row."),
			 errhint("Write a window: rolling(event_time, '30 days') instead of "
					 "event_time > now() - interval '30 days'."),
			 fe_errposition(a, location)));
}

void
fe_refuse_mutable(const FeAnalysis *a, Node *node, const char *what, bool now_allowed)
{
	FindMutable find = {a, now_allowed, InvalidOid, NULL};
	const char *hint;
	int			location;

	refuse_group_call(a, node, what);
	if (!now_allowed && fe_contains_now(a, node, &location))
		refuse_now(a, location, what);
	if (!find_mutable(node, &find))
		return;
	location = exprLocation(find.node);
	hint = mutable_hint(find.funcid);
	if (!OidIsValid(find.funcid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s of a feature view must not depend on the session", what),
				 fe_errposition(a, location)));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("function %s cannot be used in %s of a feature view",
					format_procedure(find.funcid), what),
			 errdetail("It is %s; expressions must be immutable.",
					   func_volatile(find.funcid) == PROVOLATILE_VOLATILE ?
					   "volatile" : "stable, not immutable"),
			 hint ? errhint("%s", hint) : 0,
			 fe_errposition(a, location)));
}

/* ---- functions that a role may not call ------------------------------------ */

typedef struct FindForbidden
{
	Oid			role;
	Oid			funcid;
} FindForbidden;

static bool
is_forbidden(Oid funcid, void *arg)
{
	FindForbidden *find = arg;

	if (fe_compat_may_execute(funcid, find->role))
		return false;
	find->funcid = funcid;
	return true;
}

static bool
find_forbidden(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_forbidden, arg))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_forbidden, arg, 0);
	return expression_tree_walker(node, find_forbidden, arg);
}

Oid
fe_find_forbidden(Node *node, Oid role)
{
	FindForbidden find = {role, InvalidOid};

	(void) find_forbidden(node, &find);
	return find.funcid;
}
