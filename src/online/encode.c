/*
 * encode.c
 *		From values to what stands in Redis: texts, keys, commands.
 *		Runs in the pusher; no locks.
 *
 * A value's text is what its type's output function gives under the settings
 * below: times in UTC, ISO dates, shortest exact floats, bytea in hex, booleans
 * as t and f.  Texts are UTF-8 whatever the database's encoding.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "online/pusher.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define MAX_VALUE		(512 * 1024 * 1024 - 1)	/* Redis's limit for a string */

void
fe_encode_settings(void)
{
	static const char *const settings[][2] = {
		{"lc_monetary", "C"},
		{"search_path", "pg_catalog, pg_temp"},
	};

	fe_settings_fix(true);
	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

char *
fe_encode_text(FmgrInfo *out, Datum value, int *len)
{
	char	   *text = OutputFunctionCall(out, value);
	Size		n = strlen(text);

	if (GetDatabaseEncoding() != PG_UTF8)
	{
		text = pg_server_to_any(text, n, PG_UTF8);
		n = strlen(text);
	}
	if (n > MAX_VALUE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value of %zu bytes is too long for Redis", n)));
	*len = (int) n;
	return text;
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

char *
fe_encode_key(const FePushView *view, const Datum *keys, FeTime start, int *len)
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

/* A hash of all texts, to tell whether anything changed. */
uint64
fe_encode_content(const FePushView *view, const FePushVector *v)
{
	uint64		hash = 0;

	for (int i = 0; i < view->ncolumns; i++)
	{
		uint64		h = v->texts[i] == NULL ? 1 :
		hash_bytes_extended((const unsigned char *) v->texts[i], v->lens[i], i);

		hash = hash_combine64(hash, h);
	}
	hash &= FE_CONTENT_MASK;
	return hash <= FE_CONTENT_GONE ? hash + 2 : hash;
}

/* ---- commands ------------------------------------------------------------ */

static void
append_str(StringInfo out, const char *str)
{
	fe_redis_arg(out, str, strlen(str));
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

/* Fields and values: features that are not NULL, _ts, _lsn. */
static void
append_fields(StringInfo out, const FePushView *view, const FePushVector *v)
{
	char		lsn[32];

	for (int i = 0; i < view->ncolumns; i++)
	{
		if (v->texts[i] == NULL)
			continue;
		fe_redis_arg(out, view->columns[i].name, view->columns[i].namelen);
		fe_redis_arg(out, v->texts[i], v->lens[i]);
	}
	append_str(out, "_ts");
	append_str(out, time_text(v->T));
	snprintf(lsn, sizeof(lsn), "%X/%X", LSN_FORMAT_ARGS(v->lsn));
	append_str(out, "_lsn");
	append_str(out, lsn);
	if (view->shares)
	{
		append_str(out, view->own_lsn);
		append_str(out, lsn);
	}
}

static void
begin_script(FePusher *p, FeRedisScript script, const char *key, int keylen, int nargs)
{
	StringInfo	out = &p->redis->out;

	fe_redis_begin(out, 4 + nargs);
	append_str(out, "EVALSHA");
	append_str(out, p->redis->sha[script]);
	append_str(out, "1");
	fe_redis_arg(out, key, keylen);
}

static const char *
push_mode(const FePushView *view, FeUnitKind kind)
{
	/* where keys do not expire, there is nothing to renew or to recreate */
	if (kind == FE_UNIT_TIME && view->ttl > 0)
		return "t";
	if (view->filling)
		return view->renew_all ? "a" : "r";
	return kind == FE_UNIT_REFILL ? "r" : "s";
}

static void
push_by_script(FePusher *p, const FePushView *view, FeUnitKind kind, const FePushVector *v,
			   int nnulls)
{
	StringInfo	out = &p->redis->out;
	int			nset = 2 * (view->ncolumns - nnulls) + 4 + (view->shares ? 2 : 0);
	bool		tidy = view->filling && !view->shares;	/* it may have been shared */
	XLogRecPtr	end = GetXLogInsertRecPtr();

	begin_script(p, FE_SCRIPT_PUSH, v->key, v->keylen, 9 + nset + nnulls + (tidy ? 1 : 0));
	append_str(out, push_mode(view, kind));
	fe_redis_arg_int(out, view->ttl);
	append_str(out, !view->shares ? "0" : view->sharer_forever ? "2" : "1");
	append_str(out, view->shares ? view->own_lsn : "_lsn");
	fe_redis_arg_int(out, v->lsn >> 32);
	fe_redis_arg_int(out, v->lsn & PG_UINT32_MAX);
	fe_redis_arg_int(out, end >> 32);
	fe_redis_arg_int(out, end & PG_UINT32_MAX);
	fe_redis_arg_int(out, nset);
	append_fields(out, view, v);
	for (int i = 0; i < view->ncolumns; i++)
		if (v->texts[i] == NULL)
			fe_redis_arg(out, view->columns[i].name, view->columns[i].namelen);
	if (tidy)
		append_str(out, view->own_lsn);
}

static void
hset(StringInfo out, const FePushView *view, const FePushVector *v, int nnulls)
{
	fe_redis_begin(out, 2 + 2 * (view->ncolumns - nnulls) + 4);
	append_str(out, "HSET");
	fe_redis_arg(out, v->key, v->keylen);
	append_fields(out, view, v);
}

/* MULTI ... EXEC */
static int
push_by_transaction(StringInfo out, const FePushView *view, const FePushVector *v, int nnulls)
{
	int			replies = 3;

	appendBinaryStringInfo(out, "*1\r\n$5\r\nMULTI\r\n", 15);
	hset(out, view, v, nnulls);
	if (nnulls > 0)
	{
		fe_redis_begin(out, 2 + nnulls);
		append_str(out, "HDEL");
		fe_redis_arg(out, v->key, v->keylen);
		for (int i = 0; i < view->ncolumns; i++)
			if (v->texts[i] == NULL)
				fe_redis_arg(out, view->columns[i].name, view->columns[i].namelen);
		replies++;
	}
	if (view->ttl > 0)
	{
		fe_redis_begin(out, 3);
		append_str(out, "PEXPIRE");
		fe_redis_arg(out, v->key, v->keylen);
		fe_redis_arg_int(out, view->ttl);
		replies++;
	}
	appendBinaryStringInfo(out, "*1\r\n$4\r\nEXEC\r\n", 14);
	return replies;
}

/*
 * The plainest way that will do: one command is atomic by itself; a
 * transaction, unless something depends on what is stored.  A transaction does
 * not stop at an error, so that it must not set the expiry of a key that may be
 * somebody else's: the first push of an entity goes by script.
 */
int
fe_encode_push(FePusher *p, const FePushView *view, FeUnitKind kind, const FePushVector *v)
{
	StringInfo	out = &p->redis->out;
	int			nnulls = 0;

	for (int i = 0; i < view->ncolumns; i++)
		nnulls += v->texts[i] == NULL;

	if (view->shares || view->filling || kind == FE_UNIT_REFILL ||
		(view->ttl > 0 && (kind != FE_UNIT_CHANGE || !v->known)))
	{
		push_by_script(p, view, kind, v, nnulls);
		return 1;
	}
	if (nnulls > 0 || view->ttl > 0)
		return push_by_transaction(out, view, v, nnulls);
	hset(out, view, v, 0);
	return 1;
}

/* Deletes the key, or this view's fields when others write to the key too. */
void
fe_encode_gone(FePusher *p, const FePushView *view, const char *key, int keylen)
{
	StringInfo	out = &p->redis->out;
	int			nfields = 1;

	if (!view->shares)
	{
		fe_encode_stale(p, key, keylen);
		return;
	}
	for (int i = 0; i < view->ncolumns; i++)
		nfields += !view->columns[i].kept;
	begin_script(p, FE_SCRIPT_GONE, key, keylen, 2 + nfields);
	fe_redis_arg_int(out, view->ttl == 0 ? view->sharer_ttl : 0);
	append_str(out, view->retired ? "0" : "1");
	append_str(out, view->own_lsn);
	for (int i = 0; i < view->ncolumns; i++)
		if (!view->columns[i].kept)
			fe_redis_arg(out, view->columns[i].name, view->columns[i].namelen);
}

void
fe_encode_stale(FePusher *p, const char *key, int keylen)
{
	begin_script(p, FE_SCRIPT_STALE, key, keylen, 0);
}
