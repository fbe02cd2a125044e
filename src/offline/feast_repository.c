/*
 * feast_repository.c
 *		feast_repository(): the files of a Feast repository, generated from the
 *		catalogue.
 *
 * Runs in backends; no locks.  Two files: feature_store.yaml, and features.py with
 * entities, sources, feature views and feature services.  They hold names and types of
 * the catalogue, and no secret: what the caller does not give is the name of an environment
 * variable, which Feast replaces.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "definition/feast.h"
#include "definition/history.h"
#include "definition/services.h"
#include "offline/literals.h"

PG_FUNCTION_INFO_V1(fe_feast_repository);

typedef enum OfflineSource
{
	OFFLINE_POSTGRES,			/* history tables */
	OFFLINE_PARQUET				/* what the companion exports of them */
} OfflineSource;

/* The arguments. */
typedef struct Request
{
	char	   *project;
	OfflineSource offline;
	char	   *parquet_path;
	char	   *redis;			/* NULL in these: an environment variable */
	char	   *host;
	char	   *user;
	int			port;
	char	   *sslmode;
} Request;

/* A feature view of the project. */
typedef struct View
{
	FePlan	   *plan;
	char	   *variable;
	bool		online;			/* else no feature goes to Redis, and all are for training */
} View;

typedef struct Repository
{
	const Request *request;
	List	   *views;			/* View *, by name */
	List	   *taken;			/* variables (char *) */
	List	   *entities;		/* names of those written (char *) ... */
	List	   *entity_variables;	/* ... and their variables (char *) */
	bool		used[FE_FEAST_UNIX_TIMESTAMP + 1];	/* types */
	bool		uses_lists;
	StringInfoData body;		/* of features.py, below its imports */
} Repository;

/* ---- arguments -------------------------------------------------------------------- */

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static OfflineSource
offline_source(const char *name)
{
	if (name == NULL || strcmp(name, "postgres") == 0)
		return OFFLINE_POSTGRES;
	if (strcmp(name, "parquet") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for offline_source: \"%s\"", name),
				 errhint("It is 'postgres', the history tables of this database, or 'parquet', files "
						 "that were exported from them.")));
	return OFFLINE_PARQUET;
}

static Request *
read_arguments(FunctionCallInfo fcinfo)
{
	Request    *r = palloc0(sizeof(Request));

	r->project = text_argument(fcinfo, 0);
	r->offline = offline_source(text_argument(fcinfo, 1));
	r->parquet_path = text_argument(fcinfo, 2);
	r->redis = text_argument(fcinfo, 3);
	r->host = text_argument(fcinfo, 4);
	r->port = PG_ARGISNULL(5) ? PostPortNumber : PG_GETARG_INT32(5);
	r->user = text_argument(fcinfo, 6);
	r->sslmode = PG_ARGISNULL(7) ? "prefer" : text_argument(fcinfo, 7);
	if ((r->offline == OFFLINE_PARQUET) != (r->parquet_path != NULL))
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
check_names(const View *view)
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
check_case(const View *view, const View *other)
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
	return strcmp(((View *) lfirst(a))->plan->name, ((View *) lfirst(b))->plan->name);
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
		View	   *view;

		if (plan == NULL || plan->replaces != 0 ||
			plan->options.redis_layout != FE_LAYOUT_FEAST ||
			(project && strcmp(plan->options.feast_project, project) != 0))
			continue;
		view = palloc0(sizeof(View));
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
		char	   *other = ((View *) lfirst(lc))->plan->options.feast_project;

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

/* Is the column one of the features that Feast is to know? */
static bool
is_feature(const View *view, const FeColumn *column)
{
	return column->key < 0 && (column->online || !view->online);
}

/* Those that go to Redis were checked at creation; of a view for training they are all. */
static void
check_types(const View *view)
{
	for (int i = 0; i < view->plan->ncolumns; i++)
	{
		const FeColumn *column = &view->plan->columns[i];

		if (is_feature(view, column) && fe_feast_type(column->type) == FE_FEAST_NONE)
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
find_views(Repository *repo, Request *r)
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
		View	   *view = lfirst(lc);

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
store_file(const Request *r)
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
	if (r->offline == OFFLINE_PARQUET)
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

/* ---- entities ------------------------------------------------------------------------ */

static char *
entity_variable(Repository *repo, const char *name)
{
	ListCell   *entity;
	ListCell   *variable;

	forboth(entity, repo->entities, variable, repo->entity_variables)
		if (strcmp(lfirst(entity), name) == 0)
			return lfirst(variable);
	return NULL;
}

/* One for each key column, by name: a project's views agree on its type. */
static void
write_entities(Repository *repo, const View *view)
{
	StringInfo	buf = &repo->body;

	for (int i = 0; i < view->plan->nkeys; i++)
	{
		const FeKey *key = &view->plan->keys[i];
		FeFeastType type = fe_feast_key_type(key->type, key->typmod);
		char	   *variable;

		if (entity_variable(repo, key->name))
			continue;
		variable = fe_python_variable("entity", key->name, &repo->taken);
		repo->entities = lappend(repo->entities, pstrdup(key->name));
		repo->entity_variables = lappend(repo->entity_variables, variable);
		appendStringInfo(buf, "%s = Entity(name=", variable);
		fe_append_python(buf, key->name);
		appendStringInfoString(buf, ", join_keys=[");
		fe_append_python(buf, key->name);
		appendStringInfo(buf, "], value_type=ValueType.%s)\n", fe_feast_value_type(type));
	}
}

/* ---- sources --------------------------------------------------------------------------- */

/*
 * The column as Feast's reader of PostgreSQL knows its type: text for text of any kind
 * and enums, no domains, no small integers, moments with their time zone (UTC) or, in
 * lists, without it.
 */
static char *
column_text(const FeColumn *column, FeFeastType feast)
{
	static const Oid types[] = {
		[FE_FEAST_BYTES] = BYTEAOID,
		[FE_FEAST_STRING] = TEXTOID,
		[FE_FEAST_INT32] = INT4OID,
		[FE_FEAST_INT64] = INT8OID,
		[FE_FEAST_DOUBLE] = FLOAT8OID,
		[FE_FEAST_FLOAT] = FLOAT4OID,
		[FE_FEAST_BOOL] = BOOLOID,
		[FE_FEAST_UNIX_TIMESTAMP] = TIMESTAMPTZOID
	};
	const char *name = quote_identifier(column->name);
	Oid			base = getBaseType(column->type);
	Oid			element = get_element_type(base);
	Oid			target = types[fe_feast_element(feast)];

	if (feast == FE_FEAST_UNIX_TIMESTAMP && base != TIMESTAMPTZOID)
		return psprintf("%s::timestamp AT TIME ZONE 'UTC' AS %s", name, name);
	if (OidIsValid(element))
	{
		if (target == TIMESTAMPTZOID && getBaseType(element) != TIMESTAMPTZOID)
			target = TIMESTAMPOID;
		target = get_array_type(target);
	}
	if (target == column->type)
		return pstrdup(name);
	return psprintf("%s::%s AS %s", name, format_type_be(target), name);
}

/* A line of a source's query. */
static void
append_query_line(StringInfo buf, const char *text)
{
	appendStringInfoString(buf, "        ");
	fe_append_python(buf, text);
	appendStringInfoChar(buf, '\n');
}

/* What gives the rows that Feast's PostgreSQL store joins. */
static void
append_query(Repository *repo, const View *view)
{
	const FePlan *plan = view->plan;
	char	   *history = fe_history_name(plan->history);
	StringInfo	buf = &repo->body;

	append_query_line(buf, "SELECT ");
	for (int i = 0; i < plan->ncolumns; i++)
	{
		const FeColumn *column = &plan->columns[i];
		FeFeastType type = column->key < 0 ? fe_feast_type(column->type) :
			fe_feast_key_type(column->type, column->typmod);

		if (column->key >= 0 || is_feature(view, column))
			append_query_line(buf, psprintf("%s, ", column_text(column, type)));
	}
	append_query_line(buf, history ? "event_timestamp, created " :
					  "feature_engine.now() AS event_timestamp, feature_engine.now() AS created ");
	if (history == NULL)
		history = quote_qualified_identifier(get_namespace_name(get_rel_namespace(plan->relation)),
											 get_rel_name(plan->relation));
	append_query_line(buf, psprintf("FROM %s", history));
}

static void
require_history(const View *view)
{
	if (fe_history_name(view->plan->history) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature view \"%s\" has no history", view->plan->name),
				 errdetail("There are no Parquet files of a view without one."),
				 errhint("Begin one: alter_feature_view('%s', offline => true).", view->plan->name)));
}

/* The file of all rows that the companion writes for a view, with --compact. */
static char *
parquet_file(const char *directory, const char *view)
{
	StringInfoData buf;
	int			len = strlen(directory);
	const char *name = pg_server_to_any(view, strlen(view), PG_UTF8);

	while (len > 1 && directory[len - 1] == '/')
		len--;
	initStringInfo(&buf);
	appendStringInfo(&buf, "%.*s/", len, directory);
	for (const unsigned char *c = (const unsigned char *) name; *c; c++)
	{
		bool		first = (const char *) c == name;

		if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
			strchr("-~ ", *c) || (!first && strchr("._", *c)))
			appendStringInfoChar(&buf, *c);
		else
			appendStringInfo(&buf, "%%%02X", *c);
	}
	appendStringInfoString(&buf, ".parquet");
	return buf.data;
}

static char *
write_source(Repository *repo, const View *view)
{
	const Request *r = repo->request;
	StringInfo	buf = &repo->body;
	char	   *variable = fe_python_variable("source", view->plan->name, &repo->taken);

	if (r->offline == OFFLINE_PARQUET)
	{
		require_history(view);
		appendStringInfo(buf, "\n%s = FileSource(\n    name=", variable);
		fe_append_python(buf, view->plan->name);
		appendStringInfoString(buf, ",\n    path=");
		fe_append_python(buf, parquet_file(r->parquet_path, view->plan->name));
	}
	else
	{
		if (fe_history_name(view->plan->history) == NULL)
			appendStringInfoString(buf, "\n# without a history: the values of now");
		appendStringInfo(buf, "\n%s = PostgreSQLSource(\n    name=", variable);
		fe_append_python(buf, view->plan->name);
		appendStringInfoString(buf, ",\n    query=(\n");
		append_query(repo, view);
		appendStringInfoString(buf, "    )");
	}
	appendStringInfoString(buf, ",\n    timestamp_field=\"event_timestamp\",\n"
						   "    created_timestamp_column=\"created\",\n)\n");
	return variable;
}

/* ---- feature views ------------------------------------------------------------------------ */

static void
write_field(Repository *repo, const FeColumn *column, FeFeastType type)
{
	StringInfo	buf = &repo->body;

	repo->used[fe_feast_element(type)] = true;
	repo->uses_lists |= fe_feast_is_list(type);
	appendStringInfoString(buf, "        Field(name=");
	fe_append_python(buf, column->name);
	appendStringInfo(buf, ", dtype=%s),\n", fe_feast_dtype(type));
}

/* In whole seconds, as Feast counts: not fewer than the view's. */
static void
append_ttl(StringInfo buf, int64 ttl)
{
	int64		seconds = (ttl + USECS_PER_SEC - 1) / USECS_PER_SEC;

	appendStringInfo(buf, "    ttl=timedelta(days=" INT64_FORMAT ", seconds=" INT64_FORMAT "),%s\n",
					 seconds / SECS_PER_DAY, seconds % SECS_PER_DAY, ttl ? "" : "  # none");
}

static void
write_view(Repository *repo, const View *view)
{
	const FePlan *plan = view->plan;
	StringInfo	buf = &repo->body;
	char	   *source = write_source(repo, view);

	appendStringInfo(buf, "\n%s = FeatureView(\n    name=", view->variable);
	fe_append_python(buf, plan->name);
	appendStringInfoString(buf, ",\n    entities=[");
	for (int i = 0; i < plan->nkeys; i++)
		appendStringInfo(buf, "%s%s", i ? ", " : "", entity_variable(repo, plan->keys[i].name));
	appendStringInfoString(buf, "],\n");
	append_ttl(buf, plan->options.ttl);
	appendStringInfoString(buf, "    schema=[\n");
	for (int i = 0; i < plan->ncolumns; i++)
	{
		const FeColumn *column = &plan->columns[i];

		if (column->key >= 0)
			write_field(repo, column, fe_feast_key_type(column->type, column->typmod));
		else if (is_feature(view, column))
			write_field(repo, column, fe_feast_type(column->type));
	}
	appendStringInfo(buf, "    ],\n    online=%s,\n    source=%s,\n)\n",
					 view->online ? "True" : "False", source);
}

/* ---- feature services ------------------------------------------------------------------------ */

static const View *
view_of_plan(const Repository *repo, const FePlan *plan)
{
	ListCell   *lc;

	foreach(lc, repo->views)
	{
		const View *view = lfirst(lc);

		if (view->plan->viewid == plan->viewid)
			return view;
	}
	return NULL;
}

/* Why a service cannot be one of Feast's, or NULL. */
static char *
service_problem(const Repository *repo, const FeService *service)
{
	FeFeatureList *list;
	ListCell   *lc;

	foreach(lc, service->features)
		if (!fe_feature_exists(lfirst(lc)))
			return psprintf(_("\"%s\" does not exist."), (char *) lfirst(lc));
	list = fe_service_resolve(service);
	for (int i = 0; i < list->nfeatures; i++)
	{
		const View *view = view_of_plan(repo, list->views[list->features[i].view]);
		const FeColumn *column = fe_feature_column(list, i);

		if (view == NULL)
			return psprintf(_("Feature view \"%s\" does not belong to this project."),
							list->views[list->features[i].view]->name);
		if (!is_feature(view, column))
			return psprintf(_("Feature \"%s\" of feature view \"%s\" does not go to Redis."),
							column->name, view->plan->name);
	}
	return NULL;
}

static void
write_service(Repository *repo, const FeService *service)
{
	FeFeatureList *list = fe_service_resolve(service);
	StringInfo	buf = &repo->body;

	appendStringInfo(buf, "\n%s = FeatureService(\n    name=",
					 fe_python_variable("service", service->name, &repo->taken));
	fe_append_python(buf, service->name);
	appendStringInfoString(buf, ",\n    features=[\n");
	for (int v = 0; v < list->nviews; v++)
	{
		const char *separator = "";

		appendStringInfo(buf, "        %s[[", view_of_plan(repo, list->views[v])->variable);
		for (int i = 0; i < list->nfeatures; i++)
		{
			if (list->features[i].view != v)
				continue;
			appendStringInfoString(buf, separator);
			fe_append_python(buf, fe_feature_column(list, i)->name);
			separator = ", ";
		}
		appendStringInfoString(buf, "]],\n");
	}
	appendStringInfoString(buf, "    ],\n)\n");
}

static int
compare_services(const ListCell *a, const ListCell *b)
{
	return strcmp(((FeService *) lfirst(a))->name, ((FeService *) lfirst(b))->name);
}

/* Those whose features are all of this project. */
static void
write_services(Repository *repo)
{
	List	   *services = fe_service_list();
	ListCell   *lc;

	list_sort(services, compare_services);
	foreach(lc, services)
	{
		const FeService *service = lfirst(lc);
		char	   *problem = service_problem(repo, service);

		if (problem)
			ereport(NOTICE,
					(errmsg("feature service \"%s\" is left out", service->name),
					 errdetail("%s", problem)));
		else
			write_service(repo, service);
	}
}

/* ---- features.py ---------------------------------------------------------------------------- */

static void
append_imports(const Repository *repo, StringInfo buf)
{
	const char *separator = "";

	appendStringInfo(buf, "\"\"\"Generated by feature_engine: feature views of a PostgreSQL database.\"\"\"\n"
					 "from datetime import timedelta\n\n"
					 "from feast import Entity, FeatureService, FeatureView, Field%s, ValueType\n",
					 repo->request->offline == OFFLINE_PARQUET ? ", FileSource" : "");
	if (repo->request->offline == OFFLINE_POSTGRES)
		appendStringInfoString(buf, "from feast.infra.offline_stores.contrib.postgres_offline_store."
							   "postgres_source import (\n    PostgreSQLSource,\n)\n");
	appendStringInfoString(buf, "from feast.types import ");
	if (repo->uses_lists)
	{
		appendStringInfoString(buf, "Array");
		separator = ", ";
	}
	for (int type = FE_FEAST_BYTES; type <= FE_FEAST_UNIX_TIMESTAMP; type++)
		if (repo->used[type])
		{
			appendStringInfo(buf, "%s%s", separator, fe_feast_dtype((FeFeastType) type));
			separator = ", ";
		}
	appendStringInfoString(buf, "\n\n");
}

static char *
features_file(Repository *repo)
{
	StringInfoData file;
	ListCell   *lc;

	initStringInfo(&repo->body);
	foreach(lc, repo->views)
		write_entities(repo, lfirst(lc));
	foreach(lc, repo->views)
		write_view(repo, lfirst(lc));
	write_services(repo);
	initStringInfo(&file);
	append_imports(repo, &file);
	appendStringInfoString(&file, repo->body.data);
	return file.data;
}

/* ---- the function ----------------------------------------------------------------------------- */

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
	Repository	repo = {0};
	Request    *r = read_arguments(fcinfo);

	InitMaterializedSRF(fcinfo, 0);
	repo.request = r;
	find_views(&repo, r);
	put_file((ReturnSetInfo *) fcinfo->resultinfo, "feature_store.yaml", store_file(r));
	put_file((ReturnSetInfo *) fcinfo->resultinfo, "features.py", features_file(&repo));
	return (Datum) 0;
}
