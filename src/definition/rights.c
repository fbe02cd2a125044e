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
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/xml.h"

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

void
fe_plan_check_select(const FePlan *plan)
{
	AclResult	acl = pg_class_aclcheck(plan->relation, GetUserId(), ACL_SELECT);

	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_FOREIGN_TABLE, plan->name);
}

/* ---- settings ------------------------------------------------------------------- */

/*
 * Forms of text depend on settings, also where PostgreSQL calls the function
 * immutable, and functions of users may look at any.  So that all processes and
 * sessions compute the same, these hold while expressions run.
 */
static const char *const fixed_settings[][2] = {
	{"TimeZone", "UTC"},
	{"DateStyle", "ISO, YMD"},
	{"IntervalStyle", "postgres"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"xmlbinary", "base64"},
	{"quote_all_identifiers", "off"},
};

/* The usual session has most of them as they should be: setting them costs more. */
static bool
is_fixed(const char *name)
{
	switch (name[0])
	{
		case 'T':
			return strcmp(pg_get_timezone_name(session_timezone), "UTC") == 0;
		case 'D':
			return DateStyle == USE_ISO_DATES && DateOrder == DATEORDER_YMD;
		case 'I':
			return IntervalStyle == INTSTYLE_POSTGRES;
		case 'e':
			return extra_float_digits == 1;
		case 'b':
			return bytea_output == BYTEA_OUTPUT_HEX;
		case 'x':
			return xmlbinary == XMLBINARY_BASE64;
		default:
			return !quote_all_identifiers;
	}
}

void
fe_settings_fix(bool for_good)
{
	for (int i = 0; i < lengthof(fixed_settings); i++)
	{
		const char *name = fixed_settings[i][0];
		const char *value = fixed_settings[i][1];

		if (for_good)
			SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
		else if (!is_fixed(name))
			(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
									 true, 0, false);
	}
}

/* PostgreSQL's own functions that are called immutable and look at a setting. */
static bool
reads_settings(Oid funcid)
{
	static const Oid functions[] = {
		F_FLOAT4OUT, F_FLOAT8OUT, F_BYTEAOUT, F_POINT_OUT, F_LSEG_OUT, F_PATH_OUT, F_BOX_OUT,
		F_POLY_OUT, F_LINE_OUT, F_CIRCLE_OUT, F_QUOTE_IDENT
	};

	for (int i = 0; i < lengthof(functions); i++)
		if (functions[i] == funcid)
			return true;
	return false;
}

/* ---- evaluating as the owner --------------------------------------------------- */

static bool
is_user_code(Oid funcid, void *schema)
{
	if (funcid < FirstNormalObjectId)
		return func_volatile(funcid) != PROVOLATILE_IMMUTABLE || reads_settings(funcid);
	return get_func_namespace(funcid) != *(Oid *) schema;
}

static bool
find_user_code(Node *node, void *schema)
{
	if (node == NULL)
		return false;
	/* checks of domains are expressions that are not in the tree; XML shows values as text */
	if (IsA(node, CoerceToDomain) || IsA(node, XmlExpr) ||
		check_functions_in_node(node, is_user_code, schema))
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
	fe_settings_fix(false);
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
