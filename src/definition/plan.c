/*
 * plan.c
 *		Compiling stored definitions, and the per-process cache of plans.
 *
 * Runs in every process.  A definition is read from pg_rewrite by the latest
 * snapshot and without a lock on the view or its source: a worker must not
 * wait behind somebody's uncommitted DDL.  It is compiled as the view's owner,
 * in a security-restricted context and with a search_path that no reader can
 * choose, because folding constants runs functions.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_rewrite.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "rewrite/rewriteSupport.h"
#include "runtime/compat.h"
#include "storage/proc.h"
#include "storage/sinval.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "definition/definition.h"

FePlaces	(*fe_plan_places) (void);

/* ---- noticing changes ---------------------------------------------------------- */

static uint64 change_count = 1;	/* what may concern any plan */
static uint64 invalidations = 1;	/* ... and functions */
static bool plans_valid = true;
static Oid	known_catalog = InvalidOid;
static HTAB *watched = NULL;	/* Oids of sources and stored views */
static bool callbacks_registered = false;

/*
 * A reset of all caches counts when it comes from the shared queue (overflow).
 * The ingest worker also resets its own, to keep decoding apart: that says
 * nothing about the catalogue.
 */
static bool
is_own_reset(Oid relid)
{
	static uint64 messages_seen = 0;
	bool		own = !OidIsValid(relid) && messages_seen == SharedInvalidMessageCounter;

	messages_seen = SharedInvalidMessageCounter;
	return own;
}

static void
relation_changed(Datum arg, Oid relid)
{
	if (is_own_reset(relid))
		return;
	if (OidIsValid(relid) && OidIsValid(known_catalog) && relid != known_catalog &&
		(watched == NULL || hash_search(watched, &relid, HASH_FIND, NULL) == NULL))
		return;
	if (relid == known_catalog)
		known_catalog = InvalidOid; /* looked up again: it may be gone */
	change_count++;
	invalidations++;
	plans_valid = false;
}

static void
function_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	invalidations++;
	plans_valid = false;
}

/* Labels may be renamed, which changes how values are written. */
static void
enum_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	change_count++;
	function_changed(arg, cacheid, hashvalue);
}

static void
register_callbacks(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Oid)};

	if (callbacks_registered)
		return;
	watched = hash_create("feature_engine watched relations", 32, &ctl, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, function_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(ENUMOID, enum_changed, (Datum) 0);
	callbacks_registered = true;
}

uint64
fe_catalog_change_count(void)
{
	register_callbacks();
	return change_count;
}

static void
watch(Oid relid)
{
	register_callbacks();
	(void) hash_search(watched, &relid, HASH_ENTER, NULL);
}

void
fe_catalog_watch(Oid relid)
{
	watch(relid);
}

/* ---- compiling -------------------------------------------------------------------- */

Query *
fe_view_query(Oid view)
{
	Relation	rel = table_open(RewriteRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tup;
	Query	   *query = NULL;

	ScanKeyInit(&keys[0], Anum_pg_rewrite_ev_class, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(view));
	ScanKeyInit(&keys[1], Anum_pg_rewrite_rulename, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(ViewSelectRuleName));
	scan = systable_beginscan(rel, RewriteRelRulenameIndexId, true, NULL, 2, keys);
	tup = systable_getnext(scan);
	if (HeapTupleIsValid(tup))
	{
		bool		isnull;
		Datum		action = heap_getattr(tup, Anum_pg_rewrite_ev_action, RelationGetDescr(rel),
										  &isnull);
		List	   *actions = stringToNode(TextDatumGetCString(action));

		query = linitial_node(Query, actions);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return query;
}

Oid
fe_relation_owner(Oid relid)
{
	HeapTuple	tup = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tup))
	{
		owner = ((Form_pg_class) GETSTRUCT(tup))->relowner;
		ReleaseSysCache(tup);
	}
	return owner;
}

/* False: the view was dropped meanwhile. */
static bool
compile(FePlan *plan, const FeCatalogRow *row)
{
	FeAnalysis	a;
	Query	   *query = fe_view_query(plan->defview);
	Oid			userid;
	int			sec;

	plan->owner = fe_catalog_owner(row);
	if (query == NULL || !OidIsValid(plan->owner))
	{
		if (fe_catalog_by_id(row->viewid) == NULL)
			return false;
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s of feature view \"%s\" does not exist",
						query ? "relation" : "stored definition", plan->name)));
	}
	fe_analysis_init(&a, NULL, NULL);
	/* also where it cannot be compiled as it is now */
	watch(plan->defview);
	GetUserIdAndSecContext(&userid, &sec);
	SetUserIdAndSecContext(plan->owner, sec | SECURITY_RESTRICTED_OPERATION);
	fe_analyze(&a, fe_flatten(&a, query), plan);
	SetUserIdAndSecContext(userid, sec);
	fe_apply_options(plan);
	plan->state_version = (int32) fe_state_fingerprint(plan, row->generation);
	plan->version = (int32) fe_plan_fingerprint(plan, row->version);
	if (plan->join)
		fe_join_identify_parts(plan);
	for (int i = 0; i < plan->narms; i++)
		watch(plan->arms[i].source);
	if (OidIsValid(plan->relation))
		watch(plan->relation);	/* its owner */
	return true;
}

static void
copy_options(FeViewOptions *to, const FeViewOptions *from)
{
	ListCell   *lc;

	*to = *from;
	to->redis_key = from->redis_key ? pstrdup(from->redis_key) : NULL;
	to->feast_project = from->feast_project ? pstrdup(from->feast_project) : NULL;
	to->online = NIL;
	foreach(lc, from->online)
		to->online = lappend(to->online, pstrdup(lfirst(lc)));
}

FePlan *
fe_plan_load(int32 viewid, MemoryContext parent)
{
	/* under the parent only once it is complete: an error must not leak it there */
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "feature_engine plan",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	FeCatalogRow *row;
	FePlan	   *plan;

	register_callbacks();
	row = fe_catalog_by_id(viewid);
	if (row == NULL)
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(cxt);
		return NULL;
	}
	known_catalog = fe_catalog_oid(false);
	plan = palloc0(sizeof(FePlan));
	plan->cxt = cxt;
	plan->viewid = row->viewid;
	plan->generation = row->generation;
	plan->name = row->name;
	plan->relation = row->relation;
	plan->history = row->history;
	plan->defview = row->definition;
	plan->replaces = row->replaces;
	copy_options(&plan->options, &row->options);
	if (!compile(plan, row))
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(cxt);
		return NULL;
	}
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(cxt, parent);
	return plan;
}

/* ---- cache -------------------------------------------------------------------------- */

typedef struct CachedPlan
{
	int32		viewid;			/* key */
	FePlan	   *plan;
} CachedPlan;

typedef struct CachedName
{
	char		name[NAMEDATALEN];	/* key */
	int32		viewid;
} CachedName;

typedef struct CachedRelation
{
	Oid			relation;		/* key */
	int32		viewid;
} CachedRelation;

typedef struct RetiredPlan
{
	FePlan	   *plan;
	LocalTransactionId lxid;	/* transaction that may still use it */
} RetiredPlan;

static MemoryContext cache_cxt = NULL;
static HTAB *plans_by_id = NULL;
static HTAB *ids_by_name = NULL;
static HTAB *ids_by_relation = NULL;
static List *retired = NIL;

static void
create_cache(void)
{
	HASHCTL		by_id = {.keysize = sizeof(int32), .entrysize = sizeof(CachedPlan)};
	HASHCTL		by_name = {.keysize = NAMEDATALEN, .entrysize = sizeof(CachedName)};
	HASHCTL		by_relation = {.keysize = sizeof(Oid), .entrysize = sizeof(CachedRelation)};

	if (cache_cxt == NULL)
		cache_cxt = AllocSetContextCreate(CacheMemoryContext, "feature_engine plan cache",
										  ALLOCSET_DEFAULT_SIZES);
	by_id.hcxt = by_name.hcxt = by_relation.hcxt = cache_cxt;
	plans_by_id = hash_create("feature_engine plans", 16, &by_id,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ids_by_name = hash_create("feature_engine names", 16, &by_name,
							  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	ids_by_relation = hash_create("feature_engine relations", 16, &by_relation,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Frees plans that were replaced in earlier transactions. */
static void
free_retired(void)
{
	ListCell   *lc;

	foreach(lc, retired)
	{
		RetiredPlan *r = lfirst(lc);

		if (r->lxid == fe_compat_my_lxid())
			continue;
		MemoryContextDelete(r->plan->cxt);
		pfree(r);
		retired = foreach_delete_current(retired, lc);
	}
}

/* Brings the cache in line with invalidations; called before every look-up. */
static void
refresh_cache(void)
{
	HASH_SEQ_STATUS seq;
	CachedPlan *entry;
	MemoryContext old;

	if (plans_by_id != NULL && plans_valid && retired == NIL)
		return;
	register_callbacks();
	free_retired();
	if (plans_by_id != NULL && plans_valid)
		return;
	if (plans_by_id != NULL)
	{
		old = MemoryContextSwitchTo(cache_cxt == NULL ? TopMemoryContext : cache_cxt);
		hash_seq_init(&seq, plans_by_id);
		while ((entry = hash_seq_search(&seq)) != NULL)
		{
			RetiredPlan *r = palloc(sizeof(RetiredPlan));

			r->plan = entry->plan;
			r->lxid = fe_compat_my_lxid();
			retired = lappend(retired, r);
		}
		MemoryContextSwitchTo(old);
		hash_destroy(plans_by_id);
		hash_destroy(ids_by_name);
		hash_destroy(ids_by_relation);
		plans_by_id = NULL;
	}
	create_cache();
	plans_valid = true;
}

static FePlan *
remember(FePlan *plan)
{
	CachedPlan *entry;
	CachedName *name;
	CachedRelation *relation;

	MemoryContextSetParent(plan->cxt, cache_cxt);
	entry = hash_search(plans_by_id, &plan->viewid, HASH_ENTER, NULL);
	entry->plan = plan;
	if (plan->replaces != 0)
		return plan;
	name = hash_search(ids_by_name, plan->name, HASH_ENTER, NULL);
	name->viewid = plan->viewid;
	relation = hash_search(ids_by_relation, &plan->relation, HASH_ENTER, NULL);
	relation->viewid = plan->viewid;
	return plan;
}

static FePlan *
missing(bool missing_ok, const char *what)
{
	if (!missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feature view \"%s\" does not exist", what)));
	return NULL;
}

FePlan *
fe_plan_by_id(int32 viewid, bool missing_ok)
{
	refresh_cache();
	for (;;)
	{
		CachedPlan *entry = hash_search(plans_by_id, &viewid, HASH_FIND, NULL);
		uint64		before = invalidations;
		FePlan	   *plan;

		if (entry)
			return entry->plan;
		plan = fe_plan_load(viewid, CurrentMemoryContext);
		if (plan == NULL)
			return missing(missing_ok, psprintf("%d", viewid));
		if (invalidations == before)
			return remember(plan);
		/* something changed while it was compiled */
		MemoryContextDelete(plan->cxt);
		refresh_cache();
		CHECK_FOR_INTERRUPTS();
	}
}

FePlan *
fe_plan_by_name(const char *name, bool missing_ok)
{
	CachedName *entry;
	FeCatalogRow *row;

	refresh_cache();
	if (strlen(name) < NAMEDATALEN)
	{
		entry = hash_search(ids_by_name, name, HASH_FIND, NULL);
		if (entry)
			return fe_plan_by_id(entry->viewid, missing_ok);
	}
	(void) fe_catalog_oid(false);
	row = fe_catalog_by_written_name(name);
	if (row == NULL)
		return missing(missing_ok, name);
	return fe_plan_by_id(row->viewid, missing_ok);
}

FePlan *
fe_plan_by_relation(Oid relation, bool missing_ok)
{
	CachedRelation *entry;
	ListCell   *lc;

	refresh_cache();
	entry = hash_search(ids_by_relation, &relation, HASH_FIND, NULL);
	if (entry)
		return fe_plan_by_id(entry->viewid, missing_ok);
	foreach(lc, fe_catalog_read())
	{
		FeCatalogRow *row = lfirst(lc);

		if (row->replaces == 0 && row->relation == relation)
			return fe_plan_by_id(row->viewid, missing_ok);
	}
	if (!missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a feature view", get_rel_name(relation))));
	return NULL;
}

List *
fe_plan_list(bool *extension_installed)
{
	Oid			catalog = fe_catalog_oid(true);
	List	   *ids = NIL;
	ListCell   *lc;

	register_callbacks();
	*extension_installed = OidIsValid(catalog) &&
		OidIsValid(get_extension_oid(FE_EXTENSION_NAME, true));
	if (!*extension_installed)
		return NIL;
	known_catalog = catalog;
	foreach(lc, fe_catalog_read())
		ids = lappend_int(ids, ((FeCatalogRow *) lfirst(lc))->viewid);
	return ids;
}

List *
fe_plan_list_uncommitted(void)
{
	List	   *ids = NIL;
	ListCell   *lc;

	foreach(lc, fe_catalog_read())
	{
		FeCatalogRow *row = lfirst(lc);

		if (row->uncommitted)
			ids = lappend_int(ids, row->viewid);
	}
	return ids;
}

/* ---- what else is asked about a plan ----------------------------------------------------- */

FeFlat *
fe_plan_flatten(const FePlan *plan)
{
	FeAnalysis	a;
	Query	   *query = fe_view_query(plan->defview);

	if (query == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("stored definition of feature view \"%s\" does not exist", plan->name)));
	fe_analysis_init(&a, NULL, NULL);
	return fe_flatten(&a, query);
}
