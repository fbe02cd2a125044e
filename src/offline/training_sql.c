/*
 * training_sql.c
 *		The statement of a training set.
 *
 * Runs in backends; no locks.  For each entity row the newest row of the history
 * at or before its event_timestamp:
 *
 *		SELECT e.*, v.feature, ...
 *		FROM (SELECT * FROM (<entity query>) e ORDER BY e.event_timestamp) e
 *		LEFT JOIN LATERAL (SELECT h.feature, ... FROM v_history h
 *			WHERE h.key = e.key AND h.event_timestamp <= e.event_timestamp
 *			ORDER BY h.event_timestamp DESC LIMIT 1) v ON true
 *
 * The lateral subquery is one probe of the history's primary key, scanned backwards,
 * partition after partition from the newest that the instant leaves, and ends with
 * its first row.  There is no other plan for it that the planner could mistake for a
 * better one, with statistics or without.  In the order of time the probes stay within
 * few pages of the history, which grows in that order: a sort of the entity rows that
 * saves most of the time where the history is larger than memory, and half of it where
 * it is not (docs/training-sets.md has figures).
 *
 * Names are quoted, operators are those of the key type's btree family: written
 * with their schema where the caller's search_path finds others.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "parser/parse_coerce.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "definition/history.h"
#include "definition/query_text.h"
#include "offline/training.h"

#define EVENT_TIMESTAMP "event_timestamp"

typedef struct Statement
{
	const FeTrainingRequest *r;
	StringInfoData sql;
	const char *entity;			/* alias of the entity query */
	const char *instant;		/* its event_timestamp as timestamptz */
} Statement;

/* ---- operators ------------------------------------------------------------------ */

/* The equality that an index over the key can be searched by, or InvalidOid. */
static Oid
key_equality(Oid key, Oid given)
{
	Oid			opclass = GetDefaultOpClass(key, BTREE_AM_OID);
	Oid			family;
	Oid			input;
	Oid			op;

	if (!OidIsValid(opclass))
		return InvalidOid;
	family = get_opclass_family(opclass);
	input = get_opclass_input_type(opclass);
	op = get_opfamily_member(family, input, given, BTEqualStrategyNumber);
	if (OidIsValid(op))
		return op;
	/* polymorphic classes are for values of one type; others also for what is the same bytes */
	if (IsPolymorphicType(input) ? key == given : IsBinaryCoercible(given, input))
		return get_opfamily_member(family, input, input, BTEqualStrategyNumber);
	return InvalidOid;
}

/* An operator as the caller's search_path finds it, or with its schema. */
static char *
operator_text(Oid op, Oid left, Oid right)
{
	char	   *name = get_opname(op);
	Operator	found = oper(NULL, list_make1(makeString(name)), left, right, true, -1);
	bool		same = found != NULL && oprid(found) == op;

	if (found)
		ReleaseSysCache(found);
	return same ? name : fe_operator_text(op);
}

/* <= and its kin between instants, or minus an interval. */
static char *
time_operator(const char *name, Oid right)
{
	Oid			op = OpernameGetOprid(list_make2(makeString("pg_catalog"),
												 makeString(pstrdup(name))), TIMESTAMPTZOID, right);

	return operator_text(op, TIMESTAMPTZOID, right);
}

/* ---- what is given ---------------------------------------------------------------- */

static char *
column_names(const FeEntities *entities)
{
	StringInfoData names;
	ListCell   *lc;

	initStringInfo(&names);
	foreach(lc, entities->columns)
		appendStringInfo(&names, "%s%s", foreach_current_index(lc) ? ", " : "",
						 quote_identifier(((FeEntityColumn *) lfirst(lc))->name));
	return names.data;
}

static FeEntityColumn *
require_column(const FeTrainingRequest *r, const char *name, const FePlan *plan)
{
	FeEntityColumn *column = fe_entities_column(r->entities, r->given, name);

	if (column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the entity query has no column \"%s\"", name),
				 plan ? errdetail("It is a key of feature view \"%s\". The query's columns are %s.",
								  plan->name, column_names(r->entities)) :
				 errdetail("It is the instant as of which features are looked up. The query's columns are %s.",
						   column_names(r->entities)),
				 errhint("Name a column so: SELECT ... AS %s.", quote_identifier(name))));
	return column;
}

/* The instant of an entity row, as an expression of type timestamptz. */
static char *
instant_text(const FeTrainingRequest *r, const char *entity)
{
	FeEntityColumn *column = require_column(r, EVENT_TIMESTAMP, NULL);

	switch (getBaseType(column->type))
	{
		case TIMESTAMPTZOID:
			return psprintf("%s." EVENT_TIMESTAMP, entity);
		case TIMESTAMPOID:
			return psprintf("(%s." EVENT_TIMESTAMP " AT TIME ZONE 'UTC')", entity);
		case DATEOID:
			return psprintf("(%s." EVENT_TIMESTAMP "::timestamp AT TIME ZONE 'UTC')", entity);
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"" EVENT_TIMESTAMP "\" of the entity query is of type %s",
							format_type_be(column->type)),
					 errdetail("It must be timestamptz, or timestamp or date, which are read as UTC."),
					 errhint("Cast it: ...::timestamptz AS " EVENT_TIMESTAMP "."),
					 fe_query_text_position(r->given, column->location)));
			return NULL;		/* keep compiler quiet */
	}
}

/* ---- one view ------------------------------------------------------------------------ */

/* character is character(1): bpchar is not. */
static char *
cast_name(Oid type)
{
	return format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN);
}

/* text = character(n) is a comparison of text, which no index over the key serves. */
static void
append_key(Statement *s, const FePlan *plan, const FeColumn *key)
{
	FeEntityColumn *column = require_column(s->r, key->name, plan);
	Oid			key_type = getBaseType(key->type);
	Oid			type = getBaseType(column->type);
	Oid			op = key_equality(key_type, type);

	if (!OidIsValid(op))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of the entity query is of type %s, and cannot be looked up among keys of type %s",
						column->name, format_type_be(column->type), format_type_be(key->type)),
				 errdetail("It is a key of feature view \"%s\".", plan->name),
				 errhint("Cast it: ...::%s AS %s.", cast_name(key->type),
						 quote_identifier(column->name)),
				 fe_query_text_position(s->r->given, column->location)));
	appendStringInfo(&s->sql, "h.%s %s %s.%s%s", quote_identifier(key->name),
					 operator_text(op, key_type, type), s->entity,
					 quote_identifier(column->name),
					 key_type == BPCHAROID && type != BPCHAROID ? "::bpchar" : "");
	if (OidIsValid(key->collation) && key->collation != column->collation)
		appendStringInfo(&s->sql, " COLLATE %s", fe_qualified_collation(key->collation));
}

static void
append_conditions(Statement *s, const FePlan *plan, const FeHistoryShape *shape)
{
	for (int k = 0; k < shape->nkeys; k++)
	{
		if (plan->columns[shape->keys[k]].key < 0)
			continue;			/* the window */
		append_key(s, plan, &plan->columns[shape->keys[k]]);
		appendStringInfoString(&s->sql, "\n\t\tAND ");
	}
	appendStringInfo(&s->sql, "h.event_timestamp %s %s", time_operator("<=", TIMESTAMPTZOID),
					 s->instant);
	if (s->r->known_only)
		appendStringInfo(&s->sql, "\n\t\tAND h.created %s %s", time_operator("<=", TIMESTAMPTZOID),
						 s->instant);
}

/* So much can be taken from any instant but those of antiquity. */
#define SHORT_AGE	(36500 * USECS_PER_DAY)

/* What the row must not be older than; name: its event_timestamp.  Hours, for days differ. */
static void
append_max_age(Statement *s, const char *name)
{
	int64		usecs = s->r->max_age;
	const char *instant = s->instant;

	/* no instant that a row could have is left out by what is out of range */
	if (usecs > SHORT_AGE)
		instant = psprintf("greatest(%s, '%s'::timestamptz)", instant,
						   timestamptz_to_str(MIN_TIMESTAMP + usecs));
	appendStringInfo(&s->sql, "%s %s %s %s interval '" INT64_FORMAT ":%02d:%02d", name,
					 time_operator(">=", TIMESTAMPTZOID), instant,
					 time_operator("-", INTERVALOID), usecs / USECS_PER_HOUR,
					 (int) (usecs / USECS_PER_MINUTE % MINS_PER_HOUR),
					 (int) (usecs / USECS_PER_SEC % SECS_PER_MINUTE));
	if (usecs % USECS_PER_SEC != 0)
		appendStringInfo(&s->sql, ".%06d", (int) (usecs % USECS_PER_SEC));
	appendStringInfoChar(&s->sql, '\'');
}

static void
append_features(Statement *s, int view, const char *end)
{
	const FeFeatureList *features = s->r->features;
	const char *sep = "";

	for (int i = 0; i < features->nfeatures; i++)
	{
		if (features->features[i].view != view)
			continue;
		appendStringInfo(&s->sql, "%sh.%s", sep,
						 quote_identifier(fe_feature_column(features, i)->name));
		sep = ", ";
	}
	appendStringInfoString(&s->sql, end);
}

/* One row an entity: the newest. */
static void
append_newest(Statement *s, int view, const FeHistoryShape *shape)
{
	const FePlan *plan = s->r->features->views[view];

	appendStringInfoString(&s->sql, "\tSELECT ");
	append_features(s, view, "");
	appendStringInfo(&s->sql, "\n\tFROM %s h\n\tWHERE ", fe_qualified_relation(plan->history));
	append_conditions(s, plan, shape);
	if (s->r->max_age >= 0)
	{
		appendStringInfoString(&s->sql, "\n\t\tAND ");
		append_max_age(s, "h.event_timestamp");
	}
	appendStringInfoString(&s->sql, "\n\tORDER BY h.event_timestamp DESC\n\tLIMIT 1\n");
}

/*
 * A row for each window of an entity: the newest of the newest window that had begun
 * and was not deleted.  Windows stand in the primary key, newest first in a backward
 * scan, so that it, too, ends with its first result.
 */
static void
append_newest_window(Statement *s, int view, const FeHistoryShape *shape)
{
	const FePlan *plan = s->r->features->views[view];
	const char *window = quote_identifier(plan->columns[plan->window_column].name);

	appendStringInfoString(&s->sql, "\tSELECT ");
	append_features(s, view, "");
	appendStringInfo(&s->sql, ", h.event_timestamp\n\tFROM (\n\t\tSELECT DISTINCT ON (h.%s) h.*\n"
					 "\t\tFROM %s h\n\t\tWHERE ", window, fe_qualified_relation(plan->history));
	append_conditions(s, plan, shape);
	appendStringInfo(&s->sql, "\n\t\tAND pg_catalog.lower(h.%s) %s %s", window,
					 time_operator("<=", TIMESTAMPTZOID), s->instant);
	appendStringInfo(&s->sql, "\n\t\tORDER BY h.%s DESC, h.event_timestamp DESC) h\n"
					 "\tWHERE NOT h.is_deleted\n\tORDER BY h.%s DESC\n\tLIMIT 1\n", window, window);
}

static FeHistoryShape *
check_history(const FePlan *plan)
{
	FeHistoryShape *shape;
	char	   *problem;

	if (!OidIsValid(plan->history) || get_rel_name(plan->history) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feature view \"%s\" has no history", plan->name),
				 errdetail("Training sets are made of what was recorded of its values."),
				 errhint("SELECT alter_feature_view(%s, offline => true) begins to record it.",
						 quote_literal_cstr(plan->name))));
	shape = fe_history_shape(plan);
	problem = fe_history_problem(plan, shape, plan->history);
	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" does not hold the history of feature view \"%s\"",
						get_rel_name(plan->history), plan->name),
				 errdetail("%s", problem)));
	return shape;
}

static void
append_view(Statement *s, int view)
{
	const FePlan *plan = s->r->features->views[view];
	FeHistoryShape *shape = check_history(plan);
	const char *alias = quote_identifier(plan->name);

	appendStringInfoString(&s->sql, "\nLEFT JOIN LATERAL (\n");
	if (!shape->per_window)
		append_newest(s, view, shape);
	else
		append_newest_window(s, view, shape);
	appendStringInfo(&s->sql, ") %s ON ", alias);
	if (shape->per_window && s->r->max_age >= 0)
		append_max_age(s, psprintf("%s.event_timestamp", alias));
	else
		appendStringInfoString(&s->sql, "true");
}

/* ---- the whole -------------------------------------------------------------------------- */

/* An alias that no view has. */
static const char *
entity_alias(const FeFeatureList *features)
{
	char	   *alias = "e";

	for (int v = 0; v < features->nviews; v++)
		if (strcmp(features->views[v]->name, alias) == 0)
		{
			alias = psprintf("%s_", alias);
			v = -1;
		}
	return alias;
}

static void
check_output_names(const FeTrainingRequest *r)
{
	for (int i = 0; i < r->features->nfeatures; i++)
	{
		const FeFeature *f = &r->features->features[i];

		if (fe_entities_column(r->entities, r->given, f->name))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("both the entity query and feature view \"%s\" have a column \"%s\"",
							r->features->views[f->view]->name, f->name),
					 errhint("Use full_feature_names => true, which names columns view__feature, or give the query's column another name.")));
	}
}

char *
fe_training_sql(const FeTrainingRequest *r)
{
	Statement	s = {.r = r};
	ListCell   *lc;

	foreach(lc, r->entities->columns)
		(void) fe_entities_column(r->entities, r->given, ((FeEntityColumn *) lfirst(lc))->name);
	check_output_names(r);
	initStringInfo(&s.sql);
	s.entity = entity_alias(r->features);
	s.instant = instant_text(r, s.entity);
	appendStringInfo(&s.sql, "SELECT %s.*", s.entity);
	for (int i = 0; i < r->features->nfeatures; i++)
	{
		const FeFeature *f = &r->features->features[i];
		const char *column = fe_feature_column(r->features, i)->name;

		appendStringInfo(&s.sql, ",\n\t%s.%s", quote_identifier(r->features->views[f->view]->name),
						 quote_identifier(column));
		if (strcmp(column, f->name) != 0)
			appendStringInfo(&s.sql, " AS %s", quote_identifier(f->name));
	}
	/* a line of its own: the query may end in a comment */
	appendStringInfo(&s.sql, "\nFROM (\nSELECT * FROM (\n%s\n) %s\nORDER BY %s." EVENT_TIMESTAMP "\n) %s",
					 r->entities->text, s.entity, s.entity, s.entity);
	for (int v = 0; v < r->features->nviews; v++)
		append_view(&s, v);
	return s.sql.data;
}
