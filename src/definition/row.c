/*
 * row.c
 *		The row that a definition's expressions are over, and the arms it comes
 *		from.
 *
 * Runs wherever a definition is compiled, explained or compared; looks at the
 * catalogues' caches, takes no locks.
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/ruleutils.h"

#include "definition/definition.h"

/*
 * Without a lock: the ingest worker must not wait for somebody's DDL.  What the
 * definition uses of the table can neither be dropped nor retyped.
 */
TupleDesc
fe_arm_row_desc(const FeArm *arm)
{
	Relation	rel = RelationIdGetRelation(arm->source);
	TupleDesc	desc;

	if (rel == NULL)
		return NULL;
	desc = arm->form == FE_FORM_CHANGES ? fe_changes_row_desc(RelationGetDescr(rel)) :
		CreateTupleDescCopy(RelationGetDescr(rel));
	RelationClose(rel);
	return desc;
}

/* ---- the common row and an arm's --------------------------------------------- */

static Node *
over_arm_mutator(Node *node, void *columns)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
		return copyObject(list_nth((List *) columns, ((Var *) node)->varattno - 1));
	return expression_tree_mutator(node, over_arm_mutator, columns);
}

Node *
fe_flat_over_arm(Node *expr, const FeFlatArm *arm)
{
	if (arm->columns == NIL)
		return copyObject(expr);
	return over_arm_mutator(expr, arm->columns);
}

/* ---- names -------------------------------------------------------------------- */

/* The row as a relation in FROM that has no table: only its names are looked at. */
static RangeTblEntry *
row_as_relation(TupleDesc desc)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_VALUES;
	rte->eref = makeAlias("u", NIL);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		rte->eref->colnames = lappend(rte->eref->colnames,
									  makeString(pstrdup(NameStr(att->attname))));
		rte->coltypes = lappend_oid(rte->coltypes, att->atttypid);
		rte->coltypmods = lappend_int(rte->coltypmods, att->atttypmod);
		rte->colcollations = lappend_oid(rte->colcollations, att->attcollation);
	}
	return rte;
}

List *
fe_row_names(TupleDesc row_desc, Oid source)
{
	PlannedStmt *stmt;

	if (row_desc == NULL)
		return deparse_context_for(get_rel_name(source), source);
	stmt = makeNode(PlannedStmt);
	stmt->rtable = list_make1(row_as_relation(row_desc));
	return deparse_context_for_plan_tree(stmt, list_make1("u"));
}
