/*
 * changes.c
 *		FROM changes(NULL::orders): definitions over the stream of a table's changes.
 *
 * Each row of the stream is one change.  In a definition it is a *change row*:
 * the columns of changes() but before and after, then the table's columns twice,
 * as they were before and after the change (plan.h has the numbers).  So
 * (after).status is a plain column; before and after as a whole are none.
 *
 * The number of such a column depends on that of the table's column alone: what
 * state was built from does not change when the table gets another column.
 *
 * Runs wherever a definition is created or compiled; looks at catalogues only.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "rewrite/rewriteSupport.h"
#include "runtime/compat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "definition/definition.h"

PG_FUNCTION_INFO_V1(fe_changes);
PG_FUNCTION_INFO_V1(fe_changes_support);

/* Columns of the function, in the order of the install script. */
enum
{
	COL_OP = 1,
	COL_BEFORE,
	COL_AFTER,
	COL_COMMITTED_AT,
	COL_LSN,
	COL_BEFORE_AT
};

/* In a definition being flattened: an image as a whole, of which columns are taken. */
#define WHOLE_BEFORE	(-101)
#define WHOLE_AFTER		(-102)

/* ---- as a query ------------------------------------------------------------ */

static void
refuse_to_run(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("changes() cannot be run as a query"),
			 errdetail("Changes of a table are followed in the write-ahead log as they happen; they are stored nowhere."),
			 errhint("It stands in the definition of a feature view: SELECT create_feature_view('name', $$ SELECT ... FROM changes(NULL::orders) ... $$).")));
}

/* changes(anyelement) returns setof record */
Datum
fe_changes(PG_FUNCTION_ARGS)
{
	refuse_to_run();
	PG_RETURN_NULL();			/* not reached */
}

/*
 * Planner support: a query may be planned so that the function is never called
 * (WHERE false), and must not come out empty.
 */
Datum
fe_changes_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestSimplify))
		refuse_to_run();
	PG_RETURN_POINTER(NULL);
}

/* ---- the call in FROM --------------------------------------------------------- */

static FuncExpr *
changes_call(const FeAnalysis *a, const RangeTblEntry *rte)
{
	Node	   *expr;

	if (rte->rtekind != RTE_FUNCTION || list_length(rte->functions) != 1)
		return NULL;
	expr = ((RangeTblFunction *) linitial(rte->functions))->funcexpr;
	if (!IsA(expr, FuncExpr) || !fe_is_own_function(a, ((FuncExpr *) expr)->funcid, "changes"))
		return NULL;
	return (FuncExpr *) expr;
}

/* The table of changes(NULL::table); InvalidOid: it is not a call of changes(). */
Oid
fe_changes_table(const FeAnalysis *a, const RangeTblEntry *rte)
{
	FuncExpr   *call = changes_call(a, rte);
	Const	   *arg;
	Oid			relid;

	if (call == NULL)
		return InvalidOid;
	arg = (Const *) linitial(call->args);
	relid = get_typ_typrelid(exprType((Node *) arg));
	if (!IsA(arg, Const) || !arg->constisnull || !OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the argument of changes() must be NULL of a table's row type"),
				 errhint("Write changes(NULL::orders)."),
				 fe_errposition(a, exprLocation((Node *) arg))));
	if (rte->funcordinality)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("WITH ORDINALITY is not supported with changes()"),
				 errhint("The column lsn is different for every change, and tells where it is in "
						 "the log."),
				 fe_errposition(a, call->location)));
	return relid;
}

/* ---- its columns ----------------------------------------------------------------- */

static Var *
change_var(AttrNumber attnum, Oid type, int32 typmod, Oid collation, int location)
{
	Var		   *var = makeVar(1, attnum, type, typmod, collation, 0);

	var->location = location;
	return var;
}

/* A column of the function as one of the change row, or an image as a whole. */
Node *
fe_changes_column(const Var *var)
{
	static const AttrNumber attnums[] = {
		[COL_OP] = FE_CHANGE_OP,
		[COL_BEFORE] = WHOLE_BEFORE,
		[COL_AFTER] = WHOLE_AFTER,
		[COL_COMMITTED_AT] = FE_CHANGE_COMMITTED_AT,
		[COL_LSN] = FE_CHANGE_LSN,
		[COL_BEFORE_AT] = FE_CHANGE_BEFORE_AT,
	};

	Assert(var->varattno >= COL_OP && var->varattno <= COL_BEFORE_AT);
	return (Node *) change_var(attnums[var->varattno], var->vartype, var->vartypmod,
							   var->varcollid, var->location);
}

static bool
is_image(const Node *node)
{
	return IsA(node, Var) && (((const Var *) node)->varattno == WHOLE_BEFORE ||
							  ((const Var *) node)->varattno == WHOLE_AFTER);
}

static Node *
image_field(const FeAnalysis *a, const FieldSelect *field, const Var *image)
{
	bool		before = image->varattno == WHOLE_BEFORE;

	if (fe_compat_is_virtual_column(get_typ_typrelid(image->vartype), field->fieldnum))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("virtual generated columns are not supported in a feature view"),
				 errhint("Their values are not in the write-ahead log. Write the column's expression "
						 "instead, or make the column STORED."),
				 fe_errposition(a, image->location)));
	return (Node *) change_var(before ? FE_CHANGE_BEFORE(field->fieldnum) :
							   FE_CHANGE_AFTER(field->fieldnum),
							   field->resulttype, field->resulttypmod, field->resultcollid,
							   image->location);
}

static Node *
op_is(const char *op)
{
	return (Node *) make_opclause(TextEqualOperator, BOOLOID, false,
								  (Expr *) change_var(FE_CHANGE_OP, TEXTOID, -1,
													  DEFAULT_COLLATION_OID, -1),
								  (Expr *) makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
													 CStringGetTextDatum(op), false, false),
								  InvalidOid, DEFAULT_COLLATION_OID);
}

/* (coalesce(after, before)).x: a delete has no row after it, an insert none before. */
static Node *
coalesced_field(const FeAnalysis *a, const FieldSelect *field, const Var *first,
				const Var *second)
{
	bool		before = first->varattno == WHOLE_BEFORE;
	CaseExpr   *result = makeNode(CaseExpr);
	CaseWhen   *when = makeNode(CaseWhen);

	when->expr = (Expr *) (before ? makeBoolExpr(OR_EXPR, list_make2(op_is("u"), op_is("d")), -1) :
						   makeBoolExpr(NOT_EXPR, list_make1(op_is("d")), -1));
	when->result = (Expr *) image_field(a, field, first);
	when->location = -1;
	result->casetype = field->resulttype;
	result->casecollid = field->resultcollid;
	result->args = list_make1(when);
	result->defresult = (Expr *) image_field(a, field, second);
	result->location = first->location;
	return (Node *) result;
}

/*
 * A field of an image; NULL: arg, what the field is taken of, is none.
 */
Node *
fe_changes_field(const FeAnalysis *a, const FieldSelect *field, Node *arg)
{
	if (is_image(arg))
		return image_field(a, field, (Var *) arg);
	if (IsA(arg, CoalesceExpr) && list_length(((CoalesceExpr *) arg)->args) == 2)
	{
		List	   *args = ((CoalesceExpr *) arg)->args;

		if (is_image(linitial(args)) && is_image(lsecond(args)) &&
			((Var *) linitial(args))->varattno != ((Var *) lsecond(args))->varattno)
			return coalesced_field(a, field, linitial(args), lsecond(args));
	}
	return NULL;
}

static bool
refuse_image(Node *node, void *a)
{
	if (node == NULL)
		return false;
	if (is_image(node))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("references to a whole row are not supported in a feature view"),
				 errhint("Name the columns that are needed: (after).status, (before).status, "
						 "(coalesce(after, before)).id. Whether there is a row before and after the "
						 "change op tells: 'c' and 'r' have none before, 'd' has none after."),
				 fe_errposition(a, ((Var *) node)->location)));
	return expression_tree_walker(node, refuse_image, a);
}

/* What is left of images when columns have been taken of them. */
void
fe_changes_refuse_images(const FeAnalysis *a, Node *node)
{
	(void) refuse_image(node, (void *) a);
}

/* ---- whose rights count ------------------------------------------------------------ */

typedef struct ChangesUse
{
	const FeAnalysis *a;
	List	   *tables;			/* Oid */
	List	   *fields;			/* FieldSelect * of rows of tables */
	List	   *constants;		/* Oid of tables of whose type there are constants */
} ChangesUse;

static bool
find_changes_use(Node *node, void *arg)
{
	ChangesUse *use = arg;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		Oid			relid = fe_changes_table(use->a, (RangeTblEntry *) node);

		if (OidIsValid(relid))
			use->tables = list_append_unique_oid(use->tables, relid);
		return false;			/* query_tree_walker goes into it */
	}
	if (IsA(node, Const) && !((Const *) node)->constisnull)
		use->constants = lappend_oid(use->constants,
									 get_typ_typrelid(((Const *) node)->consttype));
	if (IsA(node, FieldSelect))
		use->fields = lappend(use->fields, node);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_changes_use, arg, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, find_changes_use, arg);
}

static void
check_table_rights(const ChangesUse *use, Oid relid, Oid role)
{
	bool		denied = false;
	bool		any = false;
	ListCell   *lc;

	if (pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK)
		return;
	foreach(lc, use->fields)
	{
		FieldSelect *field = lfirst(lc);

		if (get_typ_typrelid(exprType((Node *) field->arg)) != relid)
			continue;
		any = true;
		denied |= pg_attribute_aclcheck(relid, field->fieldnum, role, ACL_SELECT) != ACLCHECK_OK;
	}
	if (!any)
		denied = pg_attribute_aclcheck_all(relid, role, ACL_SELECT, ACLMASK_ANY) != ACLCHECK_OK;
	if (denied)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(relid));
}

/*
 * A query of changes() does not name the table for the server's own checks: it
 * takes the rights that a query of the table would.
 */
void
fe_changes_check_rights(const FeAnalysis *a, Query *query, Oid role)
{
	ChangesUse	use = {.a = a};
	ListCell   *lc;

	(void) find_changes_use((Node *) query, &use);
	foreach(lc, use.tables)
		check_table_rights(&use, lfirst_oid(lc), role);
}

/* ---- dependencies --------------------------------------------------------------------- */

/*
 * By NULL::orders the definition depends on the type of the table's rows, and a
 * table whose row type is used so cannot be altered in any way that goes over its
 * rows (ADD COLUMN with a default is one).  Nothing of that type is stored, though,
 * and of the columns that are used each has a dependency of its own.
 */
void
fe_changes_depend_on_tables(Oid definition)
{
	Oid			rule = get_rewrite_oid(definition, ViewSelectRuleName, true);
	Query	   *query = fe_view_query(definition);
	FeAnalysis	a;
	ChangesUse	use = {.a = &a};
	ListCell   *lc;

	if (query == NULL || !OidIsValid(rule))
		return;
	fe_analysis_init(&a, NULL, NULL);
	(void) find_changes_use((Node *) query, &use);
	foreach(lc, use.tables)
	{
		ObjectAddress depender;
		ObjectAddress table;

		if (list_member_oid(use.constants, lfirst_oid(lc)) ||
			deleteDependencyRecordsForSpecific(RewriteRelationId, rule, DEPENDENCY_NORMAL,
											   TypeRelationId,
											   get_rel_type_id(lfirst_oid(lc))) == 0)
			continue;
		ObjectAddressSet(depender, RewriteRelationId, rule);
		ObjectAddressSet(table, RelationRelationId, lfirst_oid(lc));
		recordDependencyOn(&depender, &table, DEPENDENCY_NORMAL);
	}
}

/* ---- the arm -------------------------------------------------------------------------- */

/* Columns of a table's primary key; without a lock on it or on the index. */
static Bitmapset *
primary_key(Oid relid)
{
	Relation	rel = RelationIdGetRelation(relid);
	Bitmapset  *attrs = NULL;
	ListCell   *lc;

	if (rel == NULL)
		return NULL;
	foreach(lc, RelationGetIndexList(rel))
	{
		HeapTuple	tup = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tup))
			continue;
		index = (Form_pg_index) GETSTRUCT(tup);
		if (index->indisprimary)
			for (int i = 0; i < index->indnkeyatts; i++)
				attrs = bms_add_member(attrs, index->indkey.values[i]);
		ReleaseSysCache(tup);
	}
	RelationClose(rel);
	return attrs;
}

/* Sorts what an arm reads of the change row: columns of the table and all else. */
void
fe_changes_split_attrs(FeArm *arm, const Bitmapset *attrs)
{
	int			i = -1;

	while ((i = bms_next_member(attrs, i)) >= 0)
	{
		AttrNumber	attnum = (i - FE_CHANGE_FIXED + 1) / 2;

		if (i == FE_CHANGE_LSN)
			arm->uses_lsn = true;
		else if (i == FE_CHANGE_BEFORE_AT)
			arm->uses_before_at = true;
		else if (i > FE_CHANGE_FIXED && i == FE_CHANGE_BEFORE(attnum))
			arm->before_attrs = bms_add_member(arm->before_attrs, attnum);
		else if (i > FE_CHANGE_FIXED)
			arm->after_attrs = bms_add_member(arm->after_attrs, attnum);
	}
	if (arm->uses_before_at)
	{
		arm->key_attrs = primary_key(arm->source);
		arm->before_attrs = bms_add_members(arm->before_attrs, arm->key_attrs);
		arm->after_attrs = bms_add_members(arm->after_attrs, arm->key_attrs);
	}
	arm->source_attrs = bms_union(arm->before_attrs, arm->after_attrs);
}

/* Describes change rows of a table. */
TupleDesc
fe_changes_row_desc(TupleDesc table)
{
	TupleDesc	desc = CreateTemplateTupleDesc(FE_CHANGE_FIXED + 2 * table->natts);

	TupleDescInitEntry(desc, FE_CHANGE_OP, "op", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, FE_CHANGE_COMMITTED_AT, "committed_at", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, FE_CHANGE_LSN, "lsn", LSNOID, -1, 0);
	TupleDescInitEntry(desc, FE_CHANGE_BEFORE_AT, "before_at", TIMESTAMPTZOID, -1, 0);
	for (AttrNumber i = 1; i <= table->natts; i++)
	{
		TupleDescCopyEntry(desc, FE_CHANGE_BEFORE(i), table, i);
		TupleDescCopyEntry(desc, FE_CHANGE_AFTER(i), table, i);
		namestrcpy(&TupleDescAttr(desc, FE_CHANGE_BEFORE(i) - 1)->attname,
				   psprintf("(before).%s", NameStr(TupleDescAttr(table, i - 1)->attname)));
		namestrcpy(&TupleDescAttr(desc, FE_CHANGE_AFTER(i) - 1)->attname,
				   psprintf("(after).%s", NameStr(TupleDescAttr(table, i - 1)->attname)));
	}
	return desc;
}

char *
fe_changes_column_name(Oid source, AttrNumber attnum)
{
	Relation	rel = RelationIdGetRelation(source);
	TupleDesc	desc = fe_changes_row_desc(RelationGetDescr(rel));

	RelationClose(rel);
	return NameStr(TupleDescAttr(desc, attnum - 1)->attname);
}

/* ---- what the log has of the rows --------------------------------------------------- */

/*
 * May a value of this column lie outside of the row?  Then an update that leaves
 * it as it is does not log it, but in the old row of a full replica identity.
 */
static bool
may_be_toasted(Form_pg_attribute att)
{
	int32		size;

	if (att->attlen != -1 || att->attstorage == TYPSTORAGE_PLAIN)
		return false;
	size = type_maximum_size(att->atttypid, att->atttypmod);
	return size < 0 || size > 24;	/* shorter ones always stay in the row */
}

static void
refuse_identity(const FeAnalysis *a, Relation rel, int location, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" needs REPLICA IDENTITY FULL for this feature view over its changes",
					RelationGetRelationName(rel)),
			 errdetail("%s", detail),
			 errhint("ALTER TABLE %s REPLICA IDENTITY FULL; or, if none of the changes that count lacks the value, create the feature view with append_only => true: it stops should one do so.",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												RelationGetRelationName(rel))),
			 fe_errposition(a, location)));
}

/* At creation: are all columns of the images that the arm reads in the log? */
static void
check_identity(const FeAnalysis *a, const FeArm *arm)
{
	Relation	rel = RelationIdGetRelation(arm->source);
	Bitmapset  *identity;
	int			attnum = -1;

	if (arm->uses_before_at && bms_is_empty(arm->key_attrs))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("before_at needs a primary key of table \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("By it the changes of one row are told from those of others."),
				 fe_errposition(a, arm->location)));
	if (rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL || a->any_log)
	{
		RelationClose(rel);
		return;
	}
	identity = RelationGetIdentityKeyBitmap(rel);
	while ((attnum = bms_next_member(arm->before_attrs, attnum)) >= 0)
		if (!bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, identity))
			refuse_identity(a, rel, arm->location,
							psprintf(_("The old value of column \"%s\" is not in the write-ahead log."),
									 get_attname(arm->source, attnum, false)));
	attnum = -1;
	while ((attnum = bms_next_member(arm->after_attrs, attnum)) >= 0)
		if (may_be_toasted(TupleDescAttr(RelationGetDescr(rel), attnum - 1)))
			refuse_identity(a, rel, arm->location,
							psprintf(_("A long value of column \"%s\" that an update leaves as it is is not in the write-ahead log."),
									 get_attname(arm->source, attnum, false)));
	RelationClose(rel);
}

/* ---- several arms ---------------------------------------------------------------------- */

static void
refuse_mixture(const FeAnalysis *a, const FeArm *arm)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("rows of a table and changes of a table cannot be counted in one feature view"),
			 errhint("Create two feature views; they may share a redis_key."),
			 fe_errposition(a, arm->location)));
}

/* Each reading of a change would take the one before it for an earlier change. */
static void
refuse_second_reading(const FeAnalysis *a, const FeArm *arm)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("before_at is not supported where the changes of a table are read more than once"),
			 errhint("Read them once, with the conditions of all readings joined by OR."),
			 fe_errposition(a, arm->location)));
}

void
fe_changes_check_arms(const FeAnalysis *a, const FePlan *plan)
{
	for (int i = 0; i < plan->narms; i++)
	{
		const FeArm *arm = &plan->arms[i];

		if ((arm->form == FE_FORM_CHANGES) != fe_plan_is_stream(plan))
			refuse_mixture(a, arm->form == FE_FORM_CHANGES ? arm : &plan->arms[0]);
		if (arm->form == FE_FORM_CHANGES && a->check)
			check_identity(a, arm);
		for (int other = 0; arm->uses_before_at && other < i; other++)
			if (plan->arms[other].source == arm->source)
				refuse_second_reading(a, arm);
	}
}
