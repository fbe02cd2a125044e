/*
 * feast_features.c
 *		features.py of a Feast repository: entities, sources, feature views and
 *		feature services, as Python.  Runs in backends; no locks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "definition/history.h"
#include "definition/services.h"
#include "offline/feast_repository.h"
#include "offline/literals.h"

/* ---- entities ------------------------------------------------------------------------ */

static char *
entity_variable(FeRepository *repo, const char *name)
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
write_entities(FeRepository *repo, const FeRepositoryView *view)
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
append_query(FeRepository *repo, const FeRepositoryView *view)
{
	const FePlan *plan = view->plan;
	char	   *history = fe_qualified_relation(plan->history);
	StringInfo	buf = &repo->body;

	append_query_line(buf, "SELECT ");
	for (int i = 0; i < plan->ncolumns; i++)
	{
		const FeColumn *column = &plan->columns[i];
		FeFeastType type = column->key < 0 ? fe_feast_type(column->type) :
			fe_feast_key_type(column->type, column->typmod);

		if (column->key >= 0 || fe_is_feature(view, column))
			append_query_line(buf, psprintf("%s, ", column_text(column, type)));
	}
	append_query_line(buf, history ? "event_timestamp, created " :
					  "feature_engine.now() AS event_timestamp, feature_engine.now() AS created ");
	if (history == NULL)
		history = fe_qualified_relation(plan->relation);
	append_query_line(buf, psprintf("FROM %s", history));
}

static void
require_history(const FeRepositoryView *view)
{
	if (fe_qualified_relation(view->plan->history) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature view \"%s\" has no history", view->plan->name),
				 errdetail("There are no Parquet files of a view without one."),
				 errhint("Begin one: alter_feature_view(%s, offline => true).",
						 quote_literal_cstr(view->plan->name))));
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
write_source(FeRepository *repo, const FeRepositoryView *view)
{
	const FeRepositoryRequest *r = repo->request;
	StringInfo	buf = &repo->body;
	char	   *variable = fe_python_variable("source", view->plan->name, &repo->taken);

	if (r->offline == FE_OFFLINE_PARQUET)
	{
		require_history(view);
		appendStringInfo(buf, "\n%s = FileSource(\n    name=", variable);
		fe_append_python(buf, view->plan->name);
		appendStringInfoString(buf, ",\n    path=");
		fe_append_python(buf, parquet_file(r->parquet_path, view->plan->name));
	}
	else
	{
		if (fe_qualified_relation(view->plan->history) == NULL)
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
write_field(FeRepository *repo, const FeColumn *column, FeFeastType type)
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
write_view(FeRepository *repo, const FeRepositoryView *view)
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
		else if (fe_is_feature(view, column))
			write_field(repo, column, fe_feast_type(column->type));
	}
	appendStringInfo(buf, "    ],\n    online=%s,\n    source=%s,\n)\n",
					 view->online ? "True" : "False", source);
}

/* ---- feature services ------------------------------------------------------------------------ */

static const FeRepositoryView *
view_of_plan(const FeRepository *repo, const FePlan *plan)
{
	ListCell   *lc;

	foreach(lc, repo->views)
	{
		const FeRepositoryView *view = lfirst(lc);

		if (view->plan->viewid == plan->viewid)
			return view;
	}
	return NULL;
}

/* Why a service cannot be one of Feast's, or NULL. */
static char *
service_problem(const FeRepository *repo, const FeService *service)
{
	FeFeatureList *list;
	ListCell   *lc;

	foreach(lc, service->features)
		if (!fe_feature_exists(lfirst(lc)))
			return psprintf(_("\"%s\" does not exist."), (char *) lfirst(lc));
	list = fe_service_resolve(service, true);
	if (list == NULL)
		return pstrdup(_("Two of its features have one name."));
	for (int i = 0; i < list->nfeatures; i++)
	{
		const FeRepositoryView *view = view_of_plan(repo, list->views[list->features[i].view]);
		const FeColumn *column = fe_feature_column(list, i);

		if (view == NULL)
			return psprintf(_("Feature view \"%s\" does not belong to this project."),
							list->views[list->features[i].view]->name);
		if (!fe_is_feature(view, column))
			return psprintf(_("Feature \"%s\" of feature view \"%s\" does not go to Redis."),
							column->name, view->plan->name);
	}
	return NULL;
}

static void
write_service(FeRepository *repo, const FeService *service)
{
	FeFeatureList *list = fe_service_resolve(service, false);
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

/* Those whose features are all of this project. */
static void
write_services(FeRepository *repo)
{
	ListCell   *lc;

	foreach(lc, fe_service_list())
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
append_imports(const FeRepository *repo, StringInfo buf)
{
	const char *separator = "";

	appendStringInfo(buf, "\"\"\"Generated by feature_engine: feature views of a PostgreSQL "
					 "database.\"\"\"\n"
					 "from datetime import timedelta\n\n"
					 "from feast import Entity, FeatureService, FeatureView, Field%s, "
					 "ValueType\n",
					 repo->request->offline == FE_OFFLINE_PARQUET ? ", FileSource" : "");
	if (repo->request->offline == FE_OFFLINE_POSTGRES)
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

char *
fe_features_file(FeRepository *repo)
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
