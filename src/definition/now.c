/*
 * now.c
 *		The present in a definition: now() and its kin become feature_engine.now().
 *
 * Done once, before the definition is stored, so that the stored view, the
 * streamed values and a batch query under feature_engine.as_of all mean the
 * same T.  What depends on the session's time zone as well (CURRENT_DATE,
 * LOCALTIMESTAMP) is taken in UTC.  Runs in the creating backend; no locks.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "definition/definition.h"

typedef struct NowContext
{
	FeAnalysis *a;
	Oid			now;			/* feature_engine.now() */
} NowContext;

static Node *
make_call(Oid funcid, Oid rettype, List *args, int location)
{
	FuncExpr   *call = makeFuncExpr(funcid, rettype, args, InvalidOid, InvalidOid,
									COERCE_EXPLICIT_CALL);

	call->location = location;
	return (Node *) call;
}

static Node *
make_now(NowContext *cxt, int location)
{
	return make_call(cxt->now, TIMESTAMPTZOID, NIL, location);
}

static Node *
make_int4(int32 value)
{
	return (Node *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(value),
							  false, true);
}

/* (now() AT TIME ZONE 'UTC') */
static Node *
make_utc(NowContext *cxt, int location)
{
	Const	   *utc = makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
								CStringGetTextDatum("UTC"), false, false);

	return make_call(F_TIMEZONE_TEXT_TIMESTAMPTZ, TIMESTAMPOID,
					 list_make2(utc, make_now(cxt, location)), location);
}

/* With a precision: the length coercion that the type has. */
static Node *
make_scaled(Oid funcid, Oid rettype, Node *arg, int32 typmod, int location)
{
	FuncExpr   *call = makeFuncExpr(funcid, rettype, list_make2(arg, make_int4(typmod)),
									InvalidOid, InvalidOid, COERCE_EXPLICIT_CAST);

	call->location = location;
	return (Node *) call;
}

static Node *
replace_value_function(SQLValueFunction *svf, NowContext *cxt)
{
	switch (svf->op)
	{
		case SVFOP_CURRENT_TIMESTAMP:
			return make_now(cxt, svf->location);
		case SVFOP_CURRENT_TIMESTAMP_N:
			return make_scaled(F_TIMESTAMPTZ_TIMESTAMPTZ_INT4, TIMESTAMPTZOID,
							   make_now(cxt, svf->location), svf->typmod, svf->location);
		case SVFOP_LOCALTIMESTAMP:
			return make_utc(cxt, svf->location);
		case SVFOP_LOCALTIMESTAMP_N:
			return make_scaled(F_TIMESTAMP_TIMESTAMP_INT4, TIMESTAMPOID,
							   make_utc(cxt, svf->location), svf->typmod, svf->location);
		case SVFOP_CURRENT_DATE:
			return make_call(F_DATE_TIMESTAMP, DATEOID,
							 list_make1(make_utc(cxt, svf->location)), svf->location);
		case SVFOP_CURRENT_TIME:
		case SVFOP_CURRENT_TIME_N:
		case SVFOP_LOCALTIME:
		case SVFOP_LOCALTIME_N:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("CURRENT_TIME and LOCALTIME are not supported in a feature view"),
					 errhint("Write (now() AT TIME ZONE 'UTC')::time."),
					 fe_errposition(cxt->a, svf->location)));
			break;
		default:
			break;				/* CURRENT_USER and so on: refused later */
	}
	return (Node *) svf;
}

/* age(x) counts from today's midnight, wherever that is. */
static void
refuse_age(NowContext *cxt, FuncExpr *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("age() of one argument is not supported in a feature view"),
			 errdetail("It counts from the midnight of the session's time zone."),
			 errhint("Write now() - x, or for whole calendar days (now() AT TIME ZONE 'UTC')::date - "
					 "(x AT TIME ZONE 'UTC')::date."),
			 fe_errposition(cxt->a, call->location)));
}

/* PostgreSQL calls it immutable, so that constants would be folded before it is refused. */
static void
refuse_age_with_time_zone(NowContext *cxt, FuncExpr *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("age() of timestamps with time zone is not supported in a feature view"),
			 errdetail("Its months and days are those of the session's time zone."),
			 errhint("Say which one: age(... AT TIME ZONE 'UTC', ... AT TIME ZONE 'UTC'), or subtract "
					 "one time from the other."),
			 fe_errposition(cxt->a, call->location)));
}

static Node *
replace_now(Node *node, void *arg)
{
	NowContext *cxt = arg;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, replace_now, cxt, 0);
	if (IsA(node, SQLValueFunction))
		return replace_value_function((SQLValueFunction *) node, cxt);
	if (IsA(node, FuncExpr))
	{
		FuncExpr   *call = (FuncExpr *) node;

		switch (call->funcid)
		{
			case F_NOW:
			case F_TRANSACTION_TIMESTAMP:
			case F_STATEMENT_TIMESTAMP:
			case F_CLOCK_TIMESTAMP:
				return make_now(cxt, call->location);
			case F_AGE_TIMESTAMPTZ:
			case F_AGE_TIMESTAMP:
				refuse_age(cxt, call);
				break;
			case F_AGE_TIMESTAMPTZ_TIMESTAMPTZ:
				refuse_age_with_time_zone(cxt, call);
				break;
			default:
				break;
		}
	}
	return expression_tree_mutator(node, replace_now, cxt);
}

Query *
fe_replace_now(FeAnalysis *a, Query *query)
{
	NowContext	cxt = {a, InvalidOid};

	cxt.now = LookupFuncName(list_make2(makeString(FE_SCHEMA), makeString("now")), 0, NULL, false);
	return query_tree_mutator(query, replace_now, &cxt, 0);
}
