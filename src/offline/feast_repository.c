/*
 * feast_repository.c
 *		feast_repository(): the files of a Feast repository, generated from the
 *		catalogue.
 *
 * Runs in backends; no locks.  Two files: feature_store.yaml, and features.py
 * (feast_features.c).  They hold names and types of
 * the catalogue, and no secret: what the caller does not give is the name of an environment
 * variable, which Feast replaces.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "utils/builtins.h"

#include "offline/feast_repository.h"
#include "offline/literals.h"

PG_FUNCTION_INFO_V1(fe_feast_repository);

/* ---- arguments -------------------------------------------------------------------- */

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static FeOfflineSource
offline_source(const char *name)
{
	if (name == NULL || strcmp(name, "postgres") == 0)
		return FE_OFFLINE_POSTGRES;
	if (strcmp(name, "parquet") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for offline_source: \"%s\"", name),
				 errhint("It is 'postgres', the history tables of this database, or 'parquet', files "
						 "that were exported from them.")));
	return FE_OFFLINE_PARQUET;
}

static FeRepositoryRequest *
read_arguments(FunctionCallInfo fcinfo)
{
	FeRepositoryRequest *r = palloc0(sizeof(FeRepositoryRequest));

	r->project = text_argument(fcinfo, 0);
	r->offline = offline_source(text_argument(fcinfo, 1));
	r->parquet_path = text_argument(fcinfo, 2);
	r->redis = text_argument(fcinfo, 3);
	r->host = text_argument(fcinfo, 4);
	r->port = PG_ARGISNULL(5) ? PostPortNumber : PG_GETARG_INT32(5);
	r->user = text_argument(fcinfo, 6);
	r->sslmode = PG_ARGISNULL(7) ? "prefer" : text_argument(fcinfo, 7);
	if ((r->offline == FE_OFFLINE_PARQUET) != (r->parquet_path != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 r->parquet_path ?
				 errmsg("parquet_path is for offline_source => 'parquet'") :
				 errmsg("offline_source => 'parquet' needs parquet_path"),
				 errhint("parquet_path is the directory or s3://bucket/prefix that feature-engine export "
						 "writes to.")));
	return r;
}

/* ---- the views ---------------------------------------------------------------------- */

static void
refuse_name(const char *what, const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("%s \"%s\" cannot be used in a Feast repository", what, name),
			 errdetail("%s", detail),
			 errhint("Give it another name in the definition.")));
}

/* Feast writes names into SQL between double quotes, and knows some columns itself. */
static void
check_names(const FeRepositoryView *view)
{
	if (strchr(view->plan->name, '"') != NULL)
		refuse_name(_("feature view"), view->plan->name, _("Feast takes no double quotes in names."));
	for (int i = 0; i < view->plan->ncolumns; i++)
	{
		const FeColumn *column = &view->plan->columns[i];

		if (strpbrk(column->name, "\":") != NULL)
			refuse_name(_("column"), column->name,
						_("Feast takes neither double quotes nor colons in names."));
		if (strcmp(column->name, "event_timestamp") == 0 || strcmp(column->name, "created") == 0)
			refuse_name(_("column"), column->name,
						_("It is the name of one of the two times of each row of a source."));
	}
}

/* Feast tells views apart without regard to case. */
static void
check_case(const FeRepositoryView *view, const FeRepositoryView *other)
{
	if (pg_strcasecmp(view->plan->name, other->plan->name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("feature views \"%s\" and \"%s\" cannot be in one project of Feast's",
						other->plan->name, view->plan->name),
				 errdetail("Their names differ in case only."),
				 errhint("Give one of them another feast_project.")));
}

static int
compare_views(const ListCell *a, const ListCell *b)
{
	const FeRepositoryView *x = lfirst(a);
	const FeRepositoryView *y = lfirst(b);

	return strcmp(x->plan->name, y->plan->name);
}

/* Views with redis_layout 'feast': of the project, or of all. */
static List *
read_views(const char *project)
{
	bool		installed;
	List	   *views = NIL;
	ListCell   *lc;

	foreach(lc, fe_plan_list(&installed))
	{
		FePlan	   *plan = fe_plan_by_id(lfirst_int(lc), true);
		FeRepositoryView *view;

		if (plan == NULL || plan->replaces != 0 ||
			plan->options.redis_layout != FE_LAYOUT_FEAST ||
			(project && strcmp(plan->options.feast_project, project) != 0))
			continue;
		view = palloc0(sizeof(FeRepositoryView));
		view->plan = plan;
		view->online = plan->options.online_enabled;
		views = lappend(views, view);
	}
	list_sort(views, compare_views);
	return views;
}

/* The only project that there is, if none was named. */
static char *
only_project(List *views)
{
	char	   *project = NULL;
	ListCell   *lc;

	foreach(lc, views)
	{
		char	   *other = ((FeRepositoryView *) lfirst(lc))->plan->options.feast_project;

		if (project && strcmp(project, other) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("feature views of this database belong to several projects of Feast's"),
					 errdetail("Among them are \"%s\" and \"%s\".", project, other),
					 errhint("Name one: feast_repository('%s').", project)));
		project = other;
	}
	return project;
}

/* Those that go to Redis were checked at creation; of a view for training they are all. */
static void
check_types(const FeRepositoryView *view)
{
	for (int i = 0; i < view->plan->ncolumns; i++)
	{
		const FeColumn *column = &view->plan->columns[i];

		if (fe_is_feature(view, column) && fe_feast_type(column->type) == FE_FEAST_NONE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("feature \"%s\" of feature view \"%s\" has no type of Feast's",
							column->name, view->plan->name),
					 errdetail("It is of type %s.", format_type_be(column->type)),
					 errhint("Cast it in the definition, for instance %s::text.",
							 quote_identifier(column->name))));
	}
}

static void
find_views(FeRepository *repo, FeRepositoryRequest *r)
{
	ListCell   *lc;

	repo->views = read_views(r->project);
	if (repo->views == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 r->project ?
				 errmsg("no feature view belongs to Feast's project \"%s\"", r->project) :
				 errmsg("no feature view is written to Redis for Feast"),
				 errhint("Create it with redis_layout => 'feast', feast_project => '%s', or change one: "
						 "alter_feature_view('...', redis_layout => 'feast').",
						 r->project ? r->project : "...")));
	if (r->project == NULL)
		r->project = only_project(repo->views);
	foreach(lc, repo->views)
	{
		FeRepositoryView *view = lfirst(lc);

		check_names(view);
		check_types(view);
		for (int i = 0; i < foreach_current_index(lc); i++)
			check_case(view, list_nth(repo->views, i));
		view->variable = fe_python_variable("view", view->plan->name, &repo->taken);
	}
}

/* ---- feature_store.yaml ------------------------------------------------------------- */

static void
yaml_setting(StringInfo buf, const char *name, const char *value, const char *variable)
{
	appendStringInfo(buf, "  %s: ", name);
	fe_append_yaml(buf, value ? value : psprintf("${%s}", variable), true);
	appendStringInfoChar(buf, '\n');
}

static char *
store_file(const FeRepositoryRequest *r)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "# Generated by feature_engine. ${NAME} is an environment variable.\n"
						   "project: ");
	fe_append_yaml(&buf, r->project, false);
	appendStringInfoString(&buf, "\nprovider: local\nregistry: registry.db\n"
						   "entity_key_serialization_version: 3\n"
						   "online_store:\n  type: redis\n");
	/* host:port,ssl=true,password=... */
	yaml_setting(&buf, "connection_string", r->redis, "FEAST_REDIS");
	if (r->offline == FE_OFFLINE_PARQUET)
	{
		appendStringInfoString(&buf, "offline_store:\n  type: file\n");
		return buf.data;
	}
	appendStringInfoString(&buf, "offline_store:\n  type: postgres\n");
	yaml_setting(&buf, "host", r->host, "PGHOST");
	appendStringInfo(&buf, "  port: %d\n  database: ", r->port);
	fe_append_yaml(&buf, get_database_name(MyDatabaseId), false);
	appendStringInfoString(&buf, "\n  db_schema: public\n");
	yaml_setting(&buf, "user", r->user, "PGUSER");
	/* a block: whatever the password's characters are */
	appendStringInfoString(&buf, "  password: |2-\n    ${PGPASSWORD}\n");
	yaml_setting(&buf, "sslmode", r->sslmode, NULL);
	return buf.data;
}

/* ---- the function ------------------------------------------------------------------ */

static void
put_file(ReturnSetInfo *rsinfo, const char *path, const char *content)
{
	Datum		values[2] = {CStringGetTextDatum(path), CStringGetTextDatum(content)};
	bool		nulls[2] = {false, false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * feast_repository(project text, offline_source text, parquet_path text, redis text,
 * host text, port integer, username text, sslmode text)
 */
Datum
fe_feast_repository(PG_FUNCTION_ARGS)
{
	FeRepository repo = {0};
	FeRepositoryRequest *r = read_arguments(fcinfo);

	InitMaterializedSRF(fcinfo, 0);
	repo.request = r;
	find_views(&repo, r);
	put_file((ReturnSetInfo *) fcinfo->resultinfo, "feature_store.yaml", store_file(r));
	put_file((ReturnSetInfo *) fcinfo->resultinfo, "features.py", fe_features_file(&repo));
	return (Datum) 0;
}
