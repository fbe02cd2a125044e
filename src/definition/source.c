/*
 * source.c
 *		May this table be the source of a feature view?
 *
 * What the table is (its kind) is checked whenever a definition is compiled;
 * what may change later (replica identity, row security) only at creation:
 * capture and ingest watch over it from then on.  Looks at catalogues only:
 * a process that compiles a stored definition must not wait for the table.
 */
#include "postgres.h"

#include "catalog/catalog.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "definition/definition.h"

/* The table in question. */
typedef struct Source
{
	const FeAnalysis *a;
	Oid			relid;
	Form_pg_class form;
} Source;

static void
refuse_source(const Source *s, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" cannot be the source of a feature view", NameStr(s->form->relname)),
			 errdetail("%s", why),
			 hint ? errhint("%s", hint) : 0,
			 fe_errposition(s->a, fe_relation_location(s->a, s->relid, 0))));
}

static char *
qualified_name(const Source *s)
{
	return quote_qualified_identifier(get_namespace_name(s->form->relnamespace),
									  NameStr(s->form->relname));
}

static void
check_kind(const Source *s)
{
	switch (s->form->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			return;
		case RELKIND_VIEW:
			refuse_source(s, _("It is a view."),
						  _("Name the tables that it reads, or pass the view itself as the "
							"definition: create_feature_view('name', 'that_view'::regclass)."));
			break;
		case RELKIND_MATVIEW:
			refuse_source(s, _("It is a materialized view."),
						  _("Name the tables that it reads."));
			break;
		case RELKIND_FOREIGN_TABLE:
			refuse_source(s, _("It is a foreign table, whose changes are not in this server's "
							   "write-ahead log."),
						  _("Create the feature view in the database that holds the table."));
			break;
		default:
			refuse_source(s, _("It is not a table."), NULL);
	}
}

static void
check_logged(const Source *s)
{
	if (IsSystemClass(s->relid, s->form))
		refuse_source(s, _("It is a system catalog."), NULL);
	if (s->form->relnamespace == s->a->schema)
		refuse_source(s, _("It belongs to feature_engine."), NULL);
	if (s->form->relpersistence == RELPERSISTENCE_TEMP)
		refuse_source(s, _("It is a temporary table, whose changes are not logged."),
					  _("Use an ordinary table."));
	if (s->form->relpersistence == RELPERSISTENCE_UNLOGGED)
		refuse_source(s, _("It is an unlogged table, whose changes are not logged."),
					  psprintf(_("ALTER TABLE %s SET LOGGED;"), qualified_name(s)));
	if (s->form->relkind != RELKIND_PARTITIONED_TABLE &&
		find_inheritance_children(s->relid, NoLock) != NIL)
		refuse_source(s, _("Other tables inherit from it."),
					  _("Use a partitioned table; inheritance is not supported."));
}

static void
check_security(const Source *s)
{
	if (check_enable_rls(s->relid, s->a->user, true) == RLS_ENABLED)
		refuse_source(s, _("Row-level security is enabled on it."),
					  _("A feature view holds every row. Create it as the table's owner or as a "
						"role with BYPASSRLS."));
}

/* ---- partitions ---------------------------------------------------------------- */

char *
fe_partition_problem(Oid relid, bool *full)
{
	HeapTuple	tup = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;
	char	   *problem = NULL;

	*full = true;
	if (!HeapTupleIsValid(tup))
		return NULL;			/* gone, and its rows with it: that is noticed */
	form = (Form_pg_class) GETSTRUCT(tup);
	if (form->relkind == RELKIND_FOREIGN_TABLE)
		problem = psprintf(_("partition \"%s\" is a foreign table, whose changes are not in this "
							 "server's write-ahead log"), NameStr(form->relname));
	else if (form->relkind == RELKIND_RELATION)
	{
		*full = form->relreplident == REPLICA_IDENTITY_FULL;
		if (form->relpersistence != RELPERSISTENCE_PERMANENT)
			problem = psprintf(_("partition \"%s\" is not a permanent table, so its changes are not logged"),
							   NameStr(form->relname));
	}
	ReleaseSysCache(tup);
	return problem;
}

#define MAX_HINTS	20			/* statements written out */

/* The statements that give the partitions a full replica identity; NULL: all have one. */
static char *
missing_identities(const FePartitions *partitions)
{
	StringInfoData buf;
	int			missing = 0;

	initStringInfo(&buf);
	for (int i = 0; i < partitions->n; i++)
	{
		Oid			relid = partitions->items[i].relid;
		bool		full;

		if (partitions->items[i].detaching)
			continue;
		(void) fe_partition_problem(relid, &full);
		if (!full && missing++ < MAX_HINTS)
			appendStringInfo(&buf, "ALTER TABLE %s.%s REPLICA IDENTITY FULL; ",
							 quote_identifier(get_namespace_name(get_rel_namespace(relid))),
							 quote_identifier(get_rel_name(relid)));
	}
	if (missing > MAX_HINTS)
		appendStringInfo(&buf, _("and so on for %d more; "), missing - MAX_HINTS);
	return missing > 0 ? buf.data : NULL;
}

char *
fe_partitions_missing_identities(Oid root)
{
	FePartitions partitions = {0};

	fe_partitions_add(&partitions, root, NULL);
	return missing_identities(&partitions);
}

static void
check_partitions(const Source *s)
{
	FePartitions partitions = {0};
	char	   *statements;

	fe_partitions_add(&partitions, s->relid, NULL);
	for (int i = 0; i < partitions.n; i++)
	{
		bool		full;
		char	   *problem = partitions.items[i].detaching ? NULL :
			fe_partition_problem(partitions.items[i].relid, &full);

		if (problem)
			problem[0] = pg_toupper((unsigned char) problem[0]);
		if (problem)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" cannot be the source of a feature view",
							NameStr(s->form->relname)),
					 errdetail("%s.", problem),
					 fe_errposition(s->a, fe_relation_location(s->a, s->relid, 0))));
	}
	statements = s->a->append_only ? NULL : missing_identities(&partitions);
	if (statements)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("every partition of \"%s\" needs REPLICA IDENTITY FULL to be the source of a "
						"feature view", NameStr(s->form->relname)),
				 errdetail("An update or delete takes the old row out of the features, so the old row "
						   "must be in the write-ahead log. A partition does not take the replica "
						   "identity of the table above."),
				 s->a->joined ? errhint("%.*s", (int) strlen(statements) - 1, statements) :
				 errhint("%sor, if rows are only ever inserted, create the feature view with "
						 "append_only => true.", statements),
				 fe_errposition(s->a, fe_relation_location(s->a, s->relid, 0))));
}

static void
check_replica_identity(const Source *s)
{
	if (s->a->append_only || s->form->relreplident == REPLICA_IDENTITY_FULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" needs REPLICA IDENTITY FULL to be the source of a feature view",
					NameStr(s->form->relname)),
			 errdetail("An update or delete takes the old row out of the features, so the old row "
					   "must be in the write-ahead log."),
			 s->a->joined ? errhint("ALTER TABLE %s REPLICA IDENTITY FULL;", qualified_name(s)) :
			 errhint("ALTER TABLE %s REPLICA IDENTITY FULL; or, if rows are only ever inserted, "
					 "create the feature view with append_only => true.", qualified_name(s)),
			 fe_errposition(s->a, fe_relation_location(s->a, s->relid, 0))));
}

/* Of a stream: a row that moves to another partition would be two changes. */
static void
refuse_partitions(const Source *s)
{
	if (s->form->relkind == RELKIND_PARTITIONED_TABLE)
		refuse_source(s, _("It is a partitioned table, whose changes as a stream are not supported yet."),
					  _("Name one of its partitions: changes(NULL::partition)."));
}

/* What the pusher writes carries our mark, and is not decoded. */
static void
refuse_history(const Source *s)
{
	List	   *ancestors = s->form->relispartition ? get_partition_ancestors(s->relid) : NIL;
	ListCell   *lc;

	foreach(lc, fe_catalog_read())
	{
		FeCatalogRow *row = lfirst(lc);

		if (!OidIsValid(row->history) ||
			(row->history != s->relid && !list_member_oid(ancestors, row->history)))
			continue;
		refuse_source(s, psprintf(_("It is the history of feature view \"%s\"."), row->name),
					  _("Use the tables that this feature view reads."));
	}
}

void
fe_source_check(const FeAnalysis *a, Oid relid, bool whole_rows)
{
	HeapTuple	tup = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Source		s = {a, relid, NULL};

	if (!HeapTupleIsValid(tup))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("source of a feature view does not exist")));
	s.form = (Form_pg_class) GETSTRUCT(tup);
	check_kind(&s);
	if (a->check)
	{
		refuse_history(&s);
		check_logged(&s);
		check_security(&s);
		if (!whole_rows)
			refuse_partitions(&s);
		else if (s.form->relkind == RELKIND_PARTITIONED_TABLE)
			check_partitions(&s);
		else
			check_replica_identity(&s);
	}
	ReleaseSysCache(tup);
}
