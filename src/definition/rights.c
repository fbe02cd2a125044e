/*
 * rights.c
 *		Whose rights count, after a feature view has been created.
 *
 * The expressions of a view run as its owner: who reads gets what the owner may
 * see.  So the owner must still be allowed to read the table, all rows of it;
 * his functions must not reach beyond the one evaluation; and messages that may
 * hold values are for him.
 *
 * Runs in every process; catalogues only, no locks.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "definition/definition.h"

/* ---- the owner and the table -------------------------------------------------- */

/* SELECT on the table, or on each column that the definition uses, as in a view. */
static bool
may_select(const FeArm *arm, Oid owner)
{
	int			attnum = -1;

	if (pg_class_aclcheck(arm->source, owner, ACL_SELECT) == ACLCHECK_OK)
		return true;
	if (bms_is_empty(arm->source_attrs))
		return pg_attribute_aclcheck_all(arm->source, owner, ACL_SELECT,
										 ACLMASK_ANY) == ACLCHECK_OK;
	while ((attnum = bms_next_member(arm->source_attrs, attnum)) >= 0)
	{
		AclResult	result = attnum == InvalidAttrNumber ?
			pg_attribute_aclcheck_all(arm->source, owner, ACL_SELECT, ACLMASK_ALL) :
			pg_attribute_aclcheck(arm->source, attnum, owner, ACL_SELECT);

		if (result != ACLCHECK_OK)
			return false;
	}
	return true;
}

static bool
sees_all_rows(const FeArm *arm, Oid owner)
{
	return check_enable_rls(arm->source, owner, true) != RLS_ENABLED;
}

bool
fe_plan_owner_may_read(const FePlan *plan)
{
	for (int i = 0; i < plan->narms; i++)
		if (!may_select(&plan->arms[i], plan->owner) ||
			!sees_all_rows(&plan->arms[i], plan->owner))
			return false;
	return true;
}

static void
check_arm(const FePlan *plan, const FeArm *arm)
{
	if (!may_select(arm, plan->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", get_rel_name(arm->source)),
				 errdetail("The owner of feature view \"%s\" may not read it.", plan->name)));
	if (!sees_all_rows(arm, plan->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security is enabled on table \"%s\"",
						get_rel_name(arm->source)),
				 errdetail("Feature view \"%s\" holds every row, and its owner may not see every row.",
						   plan->name)));
}

void
fe_plan_check_owner(const FePlan *plan)
{
	for (int i = 0; i < plan->narms; i++)
		check_arm(plan, &plan->arms[i]);
}

/* ---- evaluating as the owner --------------------------------------------------- */

static bool
is_user_code(Oid funcid, void *schema)
{
	if (funcid < FirstNormalObjectId)
		return func_volatile(funcid) != PROVOLATILE_IMMUTABLE;
	return get_func_namespace(funcid) != *(Oid *) schema;
}

static bool
find_user_code(Node *node, void *schema)
{
	if (node == NULL)
		return false;
	/* checks of domains are expressions that are not in the tree */
	if (IsA(node, CoerceToDomain) || check_functions_in_node(node, is_user_code, schema))
		return true;
	return expression_tree_walker(node, find_user_code, schema);
}

bool
fe_runs_user_code(Node *expr)
{
	FeAnalysis	a;

	fe_analysis_init(&a, NULL, NULL);
	return find_user_code(expr, &a.schema);
}

void
fe_owner_enter(FeOwnerContext *c, const FePlan *plan, bool runs_code)
{
	GetUserIdAndSecContext(&c->userid, &c->sec);
	SetUserIdAndSecContext(plan->owner, c->sec | SECURITY_RESTRICTED_OPERATION);
	c->nestlevel = 0;
	if (!runs_code)
		return;
	c->nestlevel = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
fe_owner_leave(const FeOwnerContext *c)
{
	if (c->nestlevel > 0)
		AtEOXact_GUC(false, c->nestlevel);
	SetUserIdAndSecContext(c->userid, c->sec);
}

/* ---- owners, and what they may see ------------------------------------------------ */

Oid
fe_catalog_owner(const FeCatalogRow *row)
{
	if (row && row->replaces != 0)
		row = fe_catalog_by_id(row->replaces);
	return row && OidIsValid(row->relation) ? fe_relation_owner(row->relation) : InvalidOid;
}

Oid
fe_owner_of_view(int32 viewid)
{
	return fe_catalog_owner(fe_catalog_by_id(viewid));
}

bool
fe_may_see_errors(Oid owner)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		(OidIsValid(owner) && has_privs_of_role(GetUserId(), owner));
}
