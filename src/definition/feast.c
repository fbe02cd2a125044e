/*
 * feast.c
 *		What Feast asks of a feature view: names, types, keys; and what several of
 *		them must agree on.
 *
 * Refusals at creation and alteration run in the user's backend; keyspaces are made
 * in the pusher, too.  No locks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "definition/definition.h"
#include "definition/feast.h"
#include "runtime/compat.h"
#include "runtime/murmur.h"

/* ---- keyspaces -------------------------------------------------------------------- */

/* Of database names and identifiers: may be the text itself. */
static const char *
utf8(const char *text)
{
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

static int
compare_keys(const void *a, const void *b)
{
	return strcmp(utf8(((const FeFeastKey *) a)->name), utf8(((const FeFeastKey *) b)->name));
}

FeFeastKeyspace *
fe_feast_keyspace(const FePlan *plan)
{
	FeFeastKeyspace *space = palloc0(sizeof(FeFeastKeyspace));

	space->project = pstrdup(plan->options.feast_project);
	space->nkeys = plan->nkeys;
	space->keys = palloc0(sizeof(FeFeastKey) * Max(plan->nkeys, 1));
	for (int i = 0; i < plan->nkeys; i++)
	{
		const FeKey *key = &plan->keys[i];

		space->keys[i].name = pstrdup(key->name);
		space->keys[i].type = fe_feast_key_type(key->type, key->typmod);
		space->keys[i].key = i;
		if (space->keys[i].type == FE_FEAST_NONE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("key column \"%s\" of feature view \"%s\" has no type of Feast's",
							key->name, plan->name)));
	}
	qsort(space->keys, space->nkeys, sizeof(FeFeastKey), compare_keys);
	return space;
}

bool
fe_feast_same_keyspace(const FeFeastKeyspace *a, const FeFeastKeyspace *b)
{
	if (strcmp(a->project, b->project) != 0 || a->nkeys != b->nkeys)
		return false;
	for (int i = 0; i < a->nkeys; i++)
		if (a->keys[i].type != b->keys[i].type || strcmp(a->keys[i].name, b->keys[i].name) != 0)
			return false;
	return true;
}

/* demo "customer_id":4 "merchant":2; quotes in names are doubled */
char *
fe_feast_keyspace_text(const FeFeastKeyspace *space)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, space->project);
	for (int i = 0; i < space->nkeys; i++)
	{
		appendStringInfoString(&buf, " \"");
		for (const char *c = space->keys[i].name; *c; c++)
		{
			if (*c == '"')
				appendStringInfoChar(&buf, '"');
			appendStringInfoChar(&buf, *c);
		}
		appendStringInfo(&buf, "\":%d", space->keys[i].type);
	}
	return buf.data;
}

/* At a name's opening quote; *p is set behind the closing one. */
static char *
take_quoted(const char **p)
{
	StringInfoData buf;
	const char *c = *p + 1;

	initStringInfo(&buf);
	for (; *c && (*c != '"' || c[1] == '"'); c++)
	{
		if (*c == '"')
			c++;
		appendStringInfoChar(&buf, *c);
	}
	*p = *c ? c + 1 : c;
	return buf.data;
}

FeFeastKeyspace *
fe_feast_keyspace_of_text(const char *text)
{
	FeFeastKeyspace *space = palloc0(sizeof(FeFeastKeyspace));
	const char *p = text + strcspn(text, " ");

	space->project = pnstrdup(text, p - text);
	space->keys = palloc0(sizeof(FeFeastKey) * FE_MAX_KEYS);
	while (*p)
	{
		FeFeastKey *key = &space->keys[space->nkeys];

		if (p[0] != ' ' || p[1] != '"' || space->nkeys == FE_MAX_KEYS)
			elog(ERROR, "invalid keys in a footprint: %s", text);
		p++;
		key->name = take_quoted(&p);
		key->type = *p == ':' ? (FeFeastType) strtol(p + 1, (char **) &p, 10) : FE_FEAST_NONE;
		key->key = space->nkeys++;
		if (key->type <= FE_FEAST_NONE || key->type > FE_FEAST_UNIX_TIMESTAMP)
			elog(ERROR, "invalid keys in a footprint: %s", text);
	}
	return space;
}

uint32
fe_feast_field(const char *view, const char *feature)
{
	char	   *name = psprintf("%s:%s", view, feature);
	const char *text = utf8(name);

	return fe_murmur32(text, strlen(text));
}

/* ---- options ---------------------------------------------------------------------- */

/* What Feast itself accepts, in ASCII. */
static bool
is_project_name(const char *name)
{
	if (name[0] == '\0' || name[0] == '_' || name[0] == '-')
		return false;
	for (const char *c = name; *c; c++)
		if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && !(*c >= '0' && *c <= '9') &&
			*c != '_' && *c != '-')
			return false;
	return true;
}

static void
settle_project(FeViewOptions *options)
{
	char	   *name = options->feast_project;

	if (name == NULL)
	{
		name = get_database_name(MyDatabaseId);
		if (!is_project_name(name))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("redis_layout => 'feast' needs feast_project here"),
					 errdetail("It is the database's name by default, and Feast takes no project of the "
							   "name \"%s\".", name),
					 errhint("Pass feast_project => 'my_project'.")));
		options->feast_project = name;
	}
	else if (!is_project_name(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for feast_project: \"%s\"", name),
				 errhint("Feast's names of projects have letters, digits, underscores and hyphens, and "
						 "begin with neither of the latter.")));
}

void
fe_feast_settle_options(FeViewOptions *options)
{
	if (options->redis_layout != FE_LAYOUT_FEAST)
	{
		if (options->feast_project != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("feast_project is for feature views with redis_layout => 'feast'")));
		return;
	}
	if (options->redis_key != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("redis_key cannot be used with redis_layout => 'feast'"),
				 errdetail("Feast's client makes the keys that it reads of the project and the entity."),
				 errhint("Leave redis_key out; a feature view that has one lets go of it with reset => "
						 "ARRAY['redis_key'].")));
	settle_project(options);
}

/* ---- refusals --------------------------------------------------------------------- */

/* Where a column's expression stands in the query, -1: not known. */
static int
column_location(const Query *query, const char *name)
{
	ListCell   *lc;

	if (query == NULL)
		return -1;
	foreach(lc, query->targetList)
	{
		TargetEntry *te = lfirst_node(TargetEntry, lc);

		if (!te->resjunk && te->resname && strcmp(te->resname, name) == 0)
			return exprLocation((Node *) te->expr);
	}
	return -1;
}

static void
refuse_name(const char *what, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("%s \"%s\" cannot be used with redis_layout => 'feast'", what, name),
			 errdetail("Feast names a feature as view:feature, and a version of a view as view@v2."),
			 errhint("Give it a name without : and @.")));
}

static void
check_names(const FePlan *plan)
{
	if (strpbrk(plan->name, ":@") != NULL)
		refuse_name(_("feature view"), plan->name);
	for (int i = 0; i < plan->ncolumns; i++)
		if (plan->columns[i].online && strpbrk(plan->columns[i].name, ":@") != NULL)
			refuse_name(_("feature"), plan->columns[i].name);
}

static void
check_keys(const FePlan *plan, const FeAnalysis *a, const Query *query)
{
	for (int i = 0; i < plan->nkeys; i++)
	{
		const FeKey *key = &plan->keys[i];
		bool		moment;

		if (fe_feast_key_type(key->type, key->typmod) != FE_FEAST_NONE)
			continue;
		moment = fe_feast_type(key->type) == FE_FEAST_UNIX_TIMESTAMP;
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("key column \"%s\" of type %s cannot be used with redis_layout => 'feast'",
						key->name, format_type_with_typemod(key->type, key->typmod)),
				 moment ? errdetail("Feast counts whole seconds: different entities would share a key.") :
				 errdetail("Feast's keys are integers, text, bytea, dates and timestamps in whole seconds."),
				 moment ? errhint("Group by %s::%s.", quote_identifier(key->name),
								  format_type_with_typemod(getBaseType(key->type), 0)) :
				 errhint("Cast it in the definition: %s::text.", quote_identifier(key->name)),
				 a ? fe_errposition(a, column_location(query, key->name)) : 0));
	}
}

/* What to write instead of a type that Feast has not. */
static char *
advice_for_type(const FePlan *plan, int column)
{
	Oid			type = plan->columns[column].type;
	const char *name = quote_identifier(plan->columns[column].name);

	if (column == plan->window_column && plan->group_window >= 0)
		return psprintf(_("Leave the window out: online => ARRAY[...] names the features that go to Redis."));
	if (getBaseType(type) == NUMERICOID)
		return psprintf(_("Cast it in the definition: %s::float8, or %s::text to keep every digit; or "
						  "leave it out with online => ARRAY[...]."), name, name);
	if (getBaseType(type) == INTERVALOID)
		return psprintf(_("Write a number: extract(epoch FROM %s)::float8; or leave it out with online "
						  "=> ARRAY[...]."), name);
	return psprintf(_("Cast it in the definition, for instance %s::text, or leave it out with online => "
					  "ARRAY[...]."), name);
}

static void
check_types(const FePlan *plan, const FeAnalysis *a, const Query *query)
{
	for (int i = 0; i < plan->ncolumns; i++)
	{
		const FeColumn *column = &plan->columns[i];

		if (!column->online || fe_feast_type(column->type) != FE_FEAST_NONE)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("feature \"%s\" of type %s cannot be used with redis_layout => 'feast'",
						column->name, format_type_be(column->type)),
				 errdetail("Feast has bool, int2, int4, int8, float4, float8, text, bytea, timestamps, and "
						   "lists of them."),
				 errhint("%s", advice_for_type(plan, i)),
				 a ? fe_errposition(a, column_location(query, column->name)) : 0));
	}
}

/* By column; only of those that go to Redis. */
static uint32 *
field_names(const FePlan *plan)
{
	uint32	   *fields = palloc0(sizeof(uint32) * Max(plan->ncolumns, 1));

	for (int i = 0; i < plan->ncolumns; i++)
		if (plan->columns[i].online)
			fields[i] = fe_feast_field(plan->name, plan->columns[i].name);
	return fields;
}

/* Two features of one hash whose fields have the same name. */
static void
check_fields(const FePlan *plan, const FePlan *other)
{
	const uint32 *ours = field_names(plan);
	const uint32 *theirs = plan == other ? ours : field_names(other);

	for (int i = 0; i < plan->ncolumns; i++)
		for (int j = plan == other ? i + 1 : 0; j < other->ncolumns; j++)
		{
			const char *x = plan->columns[i].name;
			const char *y = other->columns[j].name;

			if (plan->columns[i].online && other->columns[j].online && ours[i] == theirs[j])
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("features \"%s:%s\" and \"%s:%s\" would be written to the same field",
								plan->name, x, other->name, y),
						 errdetail("Feast names fields by a hash of 32 bits, which is the same for both."),
						 errhint("Give the feature another name, or leave it out with online => ...")));
		}
}

void
fe_feast_check(const FePlan *plan, const FeAnalysis *a, Query *query)
{
	Query	   *positions = NULL;

	if (plan->options.redis_layout != FE_LAYOUT_FEAST)
		return;
	if (query)
	{
		positions = copyObject(query);
		fe_compat_inline_group_columns(positions);
	}
	check_names(plan);
	check_keys(plan, a, positions);
	check_types(plan, a, positions);
	check_fields(plan, plan);
}

/* In one project a join key has one type. */
static void
check_key_types(const FeFeastKeyspace *ours, const FePlan *other)
{
	const FeFeastKeyspace *theirs = fe_feast_keyspace(other);

	for (int i = 0; i < ours->nkeys; i++)
		for (int j = 0; j < theirs->nkeys; j++)
		{
			const FeFeastKey *x = &ours->keys[i];
			const FeFeastKey *y = &theirs->keys[j];

			if (strcmp(x->name, y->name) == 0 && x->type != y->type)
				ereport(ERROR,
						(errcode(ERRCODE_DATATYPE_MISMATCH),
						 errmsg("key column \"%s\" would have two types in Feast's project \"%s\"",
								x->name, ours->project),
						 errdetail("It is %s here, and %s in feature view \"%s\"; Feast makes different keys "
								   "of them.", fe_feast_value_type(x->type),
								   fe_feast_value_type(y->type), other->name),
						 errhint("Cast it in one of the definitions, give it another name, or use another "
								 "feast_project.")));
		}
}

void
fe_feast_check_clash(const FePlan *plan, const FePlan *other)
{
	FeFeastKeyspace *ours = fe_feast_keyspace(plan);

	check_key_types(ours, other);
	if (fe_feast_same_keyspace(ours, fe_feast_keyspace(other)))
		check_fields(plan, other);
}
