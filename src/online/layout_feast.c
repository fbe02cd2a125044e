/*
 * layout_feast.c
 *		Feast's layout: what its own client reads from Redis.
 *		Runs in the pusher; no locks.
 *
 * feast_value.c has the bytes, definition/feast_types.c the types; here are the ways
 * between them and values of PostgreSQL's.  All views of a project with the same
 * join keys write to one hash, as may Feast itself (views that it materializes), so
 * only our own fields are ever deleted.  _lsn:<view>, the fence, is a field that Feast
 * does not look at.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "definition/feast.h"
#include "mb/pg_wchar.h"
#include "online/feast_value.h"
#include "online/pusher.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define EPOCH_DAYS		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)

/* How values of a type are written. */
typedef struct FeFeastForm
{
	FeFeastType type;			/* of the value, perhaps a list */
	Oid			base;			/* of the value or, in a list, its elements; no domain */
	int16		len;			/* of elements */
	bool		byval;
	char		align;
	FmgrInfo   *out;			/* of STRING */
} FeFeastForm;

/* Where a view writes. */
typedef struct FeFeastView
{
	FeFeastKeyspace *space;
	FeFeastJoinKey *keys;		/* the same in UTF-8 */
	FeFeastForm *forms;			/* by the same number; NULL: of a retired view */
} FeFeastView;

/* ---- values ------------------------------------------------------------------------------- */

static const char *const infinite = "an infinite time has no form in Feast's layout";
static const char *const several_dimensions =
"an array of several dimensions has no form in Feast's layout";
static const char *const holds_null = "an array that contains NULL has no form in Feast's layout";

/* Whole seconds since 1970, fractions cut towards the past. */
static int64
seconds_of_timestamp(Timestamp value)
{
	int64		rest = value % USECS_PER_SEC;

	return value / USECS_PER_SEC - (rest < 0 ? 1 : 0) + (int64) EPOCH_DAYS * SECS_PER_DAY;
}

static bool
is_infinite(Oid base, Datum value)
{
	if (base == DATEOID)
		return DATE_NOT_FINITE(DatumGetDateADT(value));
	return (base == TIMESTAMPTZOID || base == TIMESTAMPOID) &&
		TIMESTAMP_NOT_FINITE(DatumGetTimestamp(value));
}

static FeFeastScalar
scalar(const FeFeastForm *form, Datum value)
{
	FeFeastScalar s = {0};
	bytea	   *bytes;
	int			len;

	switch (form->base)
	{
		case BOOLOID:
			s.i = DatumGetBool(value);
			break;
		case INT2OID:
			s.i = DatumGetInt16(value);
			break;
		case INT4OID:
			s.i = DatumGetInt32(value);
			break;
		case INT8OID:
			s.i = DatumGetInt64(value);
			break;
		case FLOAT4OID:
			s.d = DatumGetFloat4(value);
			break;
		case FLOAT8OID:
			s.d = DatumGetFloat8(value);
			break;
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
			s.i = seconds_of_timestamp(DatumGetTimestamp(value));
			break;
		case DATEOID:
			s.i = ((int64) DatumGetDateADT(value) + EPOCH_DAYS) * SECS_PER_DAY;
			break;
		case BYTEAOID:
			bytes = DatumGetByteaPP(value);
			s.data = VARDATA_ANY(bytes);
			s.len = VARSIZE_ANY_EXHDR(bytes);
			break;
		default:
			Assert(fe_feast_element(form->type) == FE_FEAST_STRING);
			s.data = fe_layout_text(form->out, value, &len);
			s.len = len;
	}
	return s;
}

static FeFeastForm *
make_form(FeFeastType type, Oid pgtype, MemoryContext cxt)
{
	FeFeastForm *form = palloc0(sizeof(FeFeastForm));
	Oid			written = getBaseType(pgtype);

	if (type == FE_FEAST_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("type %s has no form in Feast's layout", format_type_be(pgtype))));
	form->type = type;
	if (fe_feast_is_list(type))
	{
		written = get_element_type(written);
		get_typlenbyvalalign(written, &form->len, &form->byval, &form->align);
	}
	form->base = getBaseType(written);
	form->out = palloc0(sizeof(FmgrInfo));
	fe_layout_output(form->out, written, cxt);
	return form;
}

static void
feast_set_column(FePushView *view, FePushColumn *col, const char *feature, Oid type)
{
	StringInfoData field;

	initStringInfo(&field);
	fe_feast_put_field(&field, fe_feast_field(view->name, feature));
	col->name = field.data;
	col->namelen = field.len;
	if (OidIsValid(type))
		col->feast = make_form(fe_feast_type(type), type, view->cxt);
}

/* NULL, or why it cannot be written. */
static const char *
put_array(StringInfo out, const FeFeastForm *form, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	FeFeastScalar *scalars;
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	if (ARR_NDIM(array) > 1)
		return several_dimensions;
	deconstruct_array(array, ARR_ELEMTYPE(array), form->len, form->byval, form->align, &elems,
					  &nulls, &n);
	scalars = palloc(sizeof(FeFeastScalar) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			return holds_null;
		if (is_infinite(form->base, elems[i]))
			return infinite;
		scalars[i] = scalar(form, elems[i]);
	}
	fe_feast_put_value(out, form->type, scalars, n);
	return NULL;
}

static const char *
put_scalar(StringInfo out, const FeFeastForm *form, Datum value)
{
	FeFeastScalar s;

	if (is_infinite(form->base, value))
		return infinite;
	s = scalar(form, value);
	fe_feast_put_value(out, form->type, &s, 1);
	return NULL;
}

static char *
feast_value(FePushColumn *col, Datum value, int *len, const char **problem)
{
	const FeFeastForm *form = col->feast;
	StringInfoData out;

	initStringInfo(&out);
	*problem = fe_feast_is_list(form->type) ? put_array(&out, form, value) :
		put_scalar(&out, form, value);
	*len = out.len;
	return *problem == NULL ? out.data : NULL;
}

static int
feast_marks(StringInfo out, const FePushView *view, const FePushVector *v)
{
	StringInfoData time;

	if (out != NULL)
	{
		initStringInfo(&time);
		fe_feast_put_timestamp(&time, v->T - FE_WINDOW_EPOCH);
		fe_redis_arg_str(out, view->own_ts);
		fe_redis_arg(out, time.data, time.len);
		fe_redis_arg_str(out, view->own_lsn);
		fe_redis_arg_str(out, fe_layout_lsn(v->lsn));
	}
	return 2;
}

/* ---- keys --------------------------------------------------------------------------------- */

/* What all keys begin and end with; any bytes may be in between. */
static void
set_pattern(FePushView *view)
{
	const FeFeastView *feast = view->feast;
	StringInfoData head;
	StringInfoData pattern;

	initStringInfo(&head);
	initStringInfo(&pattern);
	fe_feast_put_key_head(&head, feast->keys, feast->space->nkeys);
	for (int i = 0; i < head.len; i++)
	{
		if (head.data[i] != '\0' && strchr("*?[]\\^-", head.data[i]) != NULL)
			appendStringInfoChar(&pattern, '\\');
		appendStringInfoChar(&pattern, head.data[i]);
	}
	/* of a project's name nothing means anything in a pattern */
	appendStringInfo(&pattern, "*%s", feast->space->project);
	view->pattern = pattern.data;
	view->pattern_len = pattern.len;
}

static void
set_keyspace(FePushView *view, FeFeastKeyspace *space)
{
	FeFeastView *feast = palloc0(sizeof(FeFeastView));

	feast->space = space;
	feast->keys = palloc0(sizeof(FeFeastJoinKey) * Max(space->nkeys, 1));
	for (int i = 0; i < space->nkeys; i++)
	{
		feast->keys[i].name = fe_push_utf8(space->keys[i].name);
		feast->keys[i].type = space->keys[i].type;
	}
	view->feast = feast;
	view->structure = psprintf("feast %s", fe_push_utf8(fe_feast_keyspace_text(space)));
	set_pattern(view);
}

static void
feast_set_keys(FePushView *view)
{
	FeFeastKeyspace *space = fe_feast_keyspace(view->plan);

	set_keyspace(view, space);
	fe_layout_key_functions(view);
	view->feast->forms = palloc0(sizeof(FeFeastForm) * Max(space->nkeys, 1));
	for (int i = 0; i < space->nkeys; i++)
		view->feast->forms[i] = *make_form(space->keys[i].type,
										   view->plan->keys[space->keys[i].key].type, view->cxt);
}

static void
feast_set_keys_of_text(FePushView *view, const char *text)
{
	set_keyspace(view, fe_feast_keyspace_of_text(text));
}

static char *
feast_keys_text(const FePushView *view)
{
	return fe_feast_keyspace_text(view->feast->space);
}

static bool
feast_same_keys(const FePushView *a, const FePushView *b)
{
	return fe_feast_same_keyspace(a->feast->space, b->feast->space);
}

static char *
feast_key(const FePushView *view, const Datum *keys, FeTime start, int *len)
{
	const FeFeastView *feast = view->feast;
	FeFeastScalar scalars[FE_MAX_KEYS];
	StringInfoData key;

	for (int i = 0; i < feast->space->nkeys; i++)
	{
		Datum		value = keys[feast->space->keys[i].key];

		if (is_infinite(feast->forms[i].base, value))
			return NULL;
		scalars[i] = scalar(&feast->forms[i], value);
	}
	initStringInfo(&key);
	fe_feast_put_key(&key, feast->keys, feast->space->nkeys, scalars, feast->space->project);
	*len = key.len;
	return key.data;
}

/* The parts are scalars, in the order of join keys. */
static bool
feast_parse_key(const FePushView *view, const char *key, int len, void **parts)
{
	const FeFeastView *feast = view->feast;
	FeFeastScalar *scalars = palloc0(sizeof(FeFeastScalar) * FE_MAX_KEYS);

	*parts = scalars;
	return fe_feast_parse_key(key, len, feast->keys, feast->space->nkeys, feast->space->project,
							  scalars);
}

static bool
timestamp_of_seconds(int64 seconds, Datum *value)
{
	int64		usecs;

	if (pg_sub_s64_overflow(seconds, (int64) EPOCH_DAYS * SECS_PER_DAY, &seconds) ||
		pg_mul_s64_overflow(seconds, USECS_PER_SEC, &usecs) || !IS_VALID_TIMESTAMP(usecs))
		return false;
	*value = TimestampGetDatum(usecs);
	return true;
}

static bool
date_of_seconds(int64 seconds, Datum *value)
{
	int64		days = seconds / SECS_PER_DAY - EPOCH_DAYS;

	if (seconds % SECS_PER_DAY != 0 || days < DATETIME_MIN_JULIAN - POSTGRES_EPOCH_JDATE ||
		days >= DATE_END_JULIAN - POSTGRES_EPOCH_JDATE)
		return false;
	*value = DateADTGetDatum((DateADT) days);
	return true;
}

static bool
text_key(const FePushView *view, int key, const FeFeastScalar *s, Datum *value)
{
	char	   *text;

	if (memchr(s->data, '\0', s->len) != NULL)
		return false;
	text = pnstrdup(s->data, s->len);
	return fe_layout_key_of_text(view, key, pg_any_to_server(text, s->len, PG_UTF8), value);
}

/* A key column's value; false: the type has none such. */
static bool
key_value(const FePushView *view, int key, Oid base, const FeFeastScalar *s, Datum *value)
{
	switch (base)
	{
		case INT2OID:
			*value = Int16GetDatum((int16) s->i);
			return s->i >= PG_INT16_MIN && s->i <= PG_INT16_MAX;
		case INT4OID:
			*value = Int32GetDatum((int32) s->i);
			return true;
		case INT8OID:
			*value = Int64GetDatum(s->i);
			return true;
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
			return timestamp_of_seconds(s->i, value);
		case DATEOID:
			return date_of_seconds(s->i, value);
		case BYTEAOID:
			*value = PointerGetDatum(cstring_to_text_with_len(s->data, s->len));
			return true;
		default:
			return text_key(view, key, s, value);
	}
}

static bool
feast_read_keys(FePushView *view, const void *parts, Datum *keys)
{
	const FeFeastView *feast = view->feast;
	const FeFeastScalar *scalars = (const FeFeastScalar *) parts;

	for (int i = 0; i < feast->space->nkeys; i++)
	{
		int			key = feast->space->keys[i].key;

		if (!key_value(view, key, feast->forms[i].base, &scalars[i], &keys[key]))
			return false;
	}
	return true;
}

const FeLayout fe_layout_feast = {
	.name = "feast",
	.owns_hash = false,
	.set_keys = feast_set_keys,
	.set_keys_of_text = feast_set_keys_of_text,
	.keys_text = feast_keys_text,
	.same_keys = feast_same_keys,
	.set_column = feast_set_column,
	.value = feast_value,
	.key = feast_key,
	.parse_key = feast_parse_key,
	.read_keys = feast_read_keys,
	.marks = feast_marks,
};
