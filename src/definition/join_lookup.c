/*
 * join_lookup.c
 *		By which equalities, and which unique key, a dimension is looked up.
 *
 * Runs wherever a definition is compiled; looks at catalogues only.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "definition/joins.h"
#include "definition/names.h"

/* ---- equalities ---------------------------------------------------------------- */

/* The column that an expression is but for a change of name of its type, or NULL. */
static Var *
plain_column(Node *node)
{
	while (node && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node && IsA(node, Var) ? (Var *) node : NULL;
}

/* NULL: it is not an equality of these two tables' columns. */
static FeEquality *
parse_equality(Node *condition, int fact, int dim)
{
	OpExpr	   *op = (OpExpr *) condition;
	FeEquality *eq;
	Var		   *left;
	Var		   *right;

	if (!IsA(condition, OpExpr) || list_length(op->args) != 2)
		return NULL;
	left = plain_column(linitial(op->args));
	right = plain_column(lsecond(op->args));
	if (left == NULL || right == NULL)
		return NULL;
	if (!(left->varno == dim && right->varno == fact) &&
		!(left->varno == fact && right->varno == dim))
		return NULL;
	eq = palloc0(sizeof(FeEquality));
	eq->condition = condition;
	eq->dim = left->varno == dim ? left : right;
	eq->fact = left->varno == dim ? right : left;
	eq->op = op->opno;
	eq->collation = op->inputcollid;
	return eq;
}

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/* The operator is of many types: one of arrays, enums, ranges, or of composite ones. */
static bool
is_of_many(Oid type)
{
	return IsPolymorphicType(type) || type == RECORDOID;
}

Oid
fe_lookup_type(const FeEquality *eq)
{
	Oid			dim = getBaseType(eq->dim->vartype);
	Oid			fact = getBaseType(eq->fact->vartype);
	Oid			lefttype;
	Oid			righttype;
	Oid			type;
	TypeCacheEntry *entry;

	if (is_integer(dim) && is_integer(fact))
		type = INT8OID;
	else
	{
		op_input_types(eq->op, &lefttype, &righttype);
		type = is_of_many(lefttype) ? dim : lefttype;
		if (lefttype != righttype || !IsBinaryCoercible(dim, type) ||
			!IsBinaryCoercible(fact, type) || (is_of_many(lefttype) && fact != dim))
			return InvalidOid;
	}
	entry = lookup_type_cache(type, TYPECACHE_EQ_OPR | TYPECACHE_BTREE_OPFAMILY |
							  TYPECACHE_HASH_EXTENDED_PROC);
	if (!OidIsValid(entry->eq_opr) || !OidIsValid(entry->hash_extended_proc) ||
		!OidIsValid(entry->btree_opf) ||
		get_op_opfamily_strategy(eq->op, entry->btree_opf) != BTEqualStrategyNumber)
		return InvalidOid;
	return type;
}

List *
fe_lookup_equalities(List *conditions, int fact, int dim)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, conditions)
	{
		FeEquality *eq = parse_equality(lfirst(lc), fact, dim);

		if (eq != NULL && OidIsValid(fe_lookup_type(eq)))
			result = lappend(result, eq);
	}
	return result;
}

/* ---- unique keys --------------------------------------------------------------- */

/* Two collations, of an index and of a comparison, under which the same is equal. */
static bool
same_equality(Oid a, Oid b)
{
	if (a == b || !OidIsValid(a) || !OidIsValid(b))
		return a == b;
	return get_collation_isdeterministic(a) && get_collation_isdeterministic(b);
}

static FeEquality *
equality_of_column(List *equalities, AttrNumber attnum, Oid opclass, Oid collation)
{
	ListCell   *lc;

	foreach(lc, equalities)
	{
		FeEquality *eq = lfirst(lc);
		TypeCacheEntry *entry = lookup_type_cache(fe_lookup_type(eq), TYPECACHE_BTREE_OPFAMILY);

		if (eq->dim->varattno == attnum && get_opclass_family(opclass) == entry->btree_opf &&
			same_equality(collation, eq->collation))
			return eq;
	}
	return NULL;
}

/* Those of the equalities that give all columns of this index; NIL if they do not. */
static List *
equalities_of_index(HeapTuple tup, List *equalities)
{
	Form_pg_index index = (Form_pg_index) GETSTRUCT(tup);
	List	   *result = NIL;
	oidvector  *opclasses;
	oidvector  *collations;
	bool		isnull;

	if (!index->indisunique || !index->indisvalid || !index->indimmediate ||
		!heap_attisnull(tup, Anum_pg_index_indpred, NULL) ||
		!heap_attisnull(tup, Anum_pg_index_indexprs, NULL))
		return NIL;
	opclasses = (oidvector *) DatumGetPointer(SysCacheGetAttr(INDEXRELID, tup,
															  Anum_pg_index_indclass, &isnull));
	collations = (oidvector *) DatumGetPointer(SysCacheGetAttr(INDEXRELID, tup,
															   Anum_pg_index_indcollation,
															   &isnull));
	for (int i = 0; i < index->indnkeyatts; i++)
	{
		FeEquality *eq = equality_of_column(equalities, index->indkey.values[i],
											opclasses->values[i], collations->values[i]);

		if (eq == NULL)
			return NIL;
		result = lappend(result, eq);
	}
	return result;
}

List *
fe_lookup_unique(Oid relid, List *equalities, Oid *index)
{
	Relation	rel = RelationIdGetRelation(relid);
	List	   *result = NIL;
	ListCell   *lc;

	*index = InvalidOid;
	if (rel == NULL)
		return NIL;
	foreach(lc, RelationGetIndexList(rel))
	{
		HeapTuple	tup = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		List	   *found;

		if (!HeapTupleIsValid(tup))
			continue;
		found = equalities_of_index(tup, equalities);
		ReleaseSysCache(tup);
		if (found == NIL || (result != NIL && list_length(found) >= list_length(result)))
			continue;
		result = found;
		*index = lfirst_oid(lc);
	}
	RelationClose(rel);
	return result;
}

/* ---- as text ------------------------------------------------------------------------- */

static char *
column_text(const FeJoin *join, int arm, AttrNumber attnum, const char *prefix)
{
	const char *table = prefix ? psprintf("%s%d", prefix, arm) :
		quote_identifier(get_rel_name(join->relids[arm]));

	return psprintf("%s.%s", table,
					quote_identifier(get_attname(join->relids[arm], attnum, false)));
}

char *
fe_join_key_text(const FeJoin *join, int d, int k, const char *prefix)
{
	const FeJoinKey *key = &join->dims[d].keys[k];
	Oid			left;
	Oid			right;
	char	   *dim = column_text(join, d + 1, key->attnum, prefix);
	char	   *fact = column_text(join, 0, join->columns[key->column].attnum, prefix);

	if (prefix == NULL)
		return psprintf("%s = %s", dim, fact);
	/* the operator's sides are as they were written */
	op_input_types(key->op, &left, &right);
	if (left != right && left != key->dim_type)
		return psprintf("%s %s %s", fact, fe_operator_text(key->op), dim);
	return psprintf("%s %s %s", dim, fe_operator_text(key->op), fact);
}
