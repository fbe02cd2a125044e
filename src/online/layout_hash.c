/*
 * layout_hash.c
 *		The plain layout: keys by template, fields by name, values as text.
 *		Runs in the pusher; no locks.
 *
 * _ts is T of evaluation, _lsn the position of the entity's last change.  Where
 * several views write to a hash, each has an _lsn:<view>, too, to be its fence.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "online/pusher.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

/* ---- keys ----------------------------------------------------------------------------- */

static void
set_template(FePushView *view, FeTemplate *tmpl)
{
	view->tmpl = tmpl;
	view->per_window = tmpl->has_window;
	view->pattern = fe_push_utf8(fe_template_match_pattern(tmpl, NULL));
	view->pattern_len = strlen(view->pattern);
	view->structure = view->pattern;
}

static void
hash_set_keys(FePushView *view)
{
	set_template(view, fe_template_of_plan(view->plan));
	fe_layout_key_functions(view);
}

static void
hash_set_keys_of_text(FePushView *view, const char *text)
{
	set_template(view, fe_template_of_text(text));
}

static char *
hash_keys_text(const FePushView *view)
{
	return fe_template_text(view->tmpl);
}

static bool
hash_same_keys(const FePushView *a, const FePushView *b)
{
	return fe_template_same_structure(a->tmpl, b->tmpl);
}

/* Seconds since 1970, with decimals only where there are any. */
static char *
window_start_text(FeTime start)
{
	int64		usecs = start - FE_WINDOW_EPOCH;
	int64		distance = usecs < 0 ? -usecs : usecs;
	char	   *text = psprintf("%s" INT64_FORMAT ".%06d", usecs < 0 ? "-" : "",
								distance / USECS_PER_SEC, (int) (distance % USECS_PER_SEC));
	char	   *end = text + strlen(text);

	while (end[-1] == '0')
		*--end = '\0';
	if (end[-1] == '.')
		*--end = '\0';
	return text;
}

static char *
hash_key(const FePushView *view, const Datum *keys, FeTime start, int *len)
{
	char	   *texts[FE_MAX_KEYS + 1];
	char	   *key;

	for (int i = 0; i < view->plan->nkeys; i++)
		texts[i] = OutputFunctionCall(&view->keyout[i], keys[i]);
	texts[view->plan->nkeys] = window_start_text(start);
	key = fe_template_render(view->tmpl, texts, len);
	if (GetDatabaseEncoding() != PG_UTF8)
	{
		key = pg_server_to_any(key, *len, PG_UTF8);
		*len = strlen(key);
	}
	return key;
}

/* The parts are texts by key number. */
static bool
hash_parse_key(const FePushView *view, const char *key, int len, void **parts)
{
	char	  **texts;
	char	   *name;

	if (memchr(key, '\0', len) != NULL)
		return false;
	name = pg_any_to_server(key, len, PG_UTF8);
	if (!fe_template_parse_key(view->tmpl, name, name == key ? len : strlen(name), &texts))
		return false;
	*parts = texts;
	return true;
}

static bool
hash_read_keys(FePushView *view, const void *parts, Datum *keys)
{
	char	  **texts = (char **) parts;

	for (int i = 0; i < view->plan->nkeys; i++)
		if (!fe_layout_key_of_text(view, i, texts[i], &keys[i]))
			return false;
	return true;
}

/* ---- fields ----------------------------------------------------------------------------- */

static void
hash_set_column(FePushView *view, FePushColumn *col, const char *feature, Oid type)
{
	col->name = fe_push_utf8(feature);
	col->namelen = strlen(col->name);
	if (OidIsValid(type))
		fe_layout_output(&col->out, type, view->cxt);
}

static char *
hash_value(FePushColumn *col, Datum value, int *len, const char **problem)
{
	return fe_layout_text(&col->out, value, len);
}

/* T as text; entities of one slice share it. */
static const char *
time_text(FeTime T)
{
	static char text[MAXDATELEN + 1];
	static FeTime of = PG_INT64_MIN;

	if (T != of)
	{
		strlcpy(text, timestamptz_to_str(T), sizeof(text));
		of = T;
	}
	return text;
}

static int
hash_marks(StringInfo out, const FePushView *view, const FePushVector *v)
{
	if (out != NULL)
	{
		const char *lsn = fe_layout_lsn(v->lsn);

		fe_redis_arg_str(out, "_ts");
		fe_redis_arg_str(out, time_text(v->T));
		fe_redis_arg_str(out, "_lsn");
		fe_redis_arg_str(out, lsn);
		if (view->shares)
		{
			fe_redis_arg_str(out, view->own_lsn);
			fe_redis_arg_str(out, lsn);
		}
	}
	return view->shares ? 3 : 2;
}

const FeLayout fe_layout_hash = {
	.name = "hash",
	.owns_hash = true,
	.set_keys = hash_set_keys,
	.set_keys_of_text = hash_set_keys_of_text,
	.keys_text = hash_keys_text,
	.same_keys = hash_same_keys,
	.set_column = hash_set_column,
	.value = hash_value,
	.key = hash_key,
	.parse_key = hash_parse_key,
	.read_keys = hash_read_keys,
	.marks = hash_marks,
};
