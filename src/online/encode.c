/*
 * encode.c
 *		From values to commands for Redis.  Runs in the pusher; no locks.
 *
 * What keys, fields and values look like is the layout's (layout.c).  Where a value
 * is written as text, it is what its type's output function gives under the
 * settings below: times in UTC, ISO dates, shortest exact floats, bytea in hex,
 * booleans as t and f.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "common/hashfn.h"
#include "online/pusher.h"
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
fe_encode_value(const FePushView *view, FePushColumn *col, Datum value, int *len,
				const char **problem)
{
	char	   *text = view->layout->value(col, value, len, problem);

	if (text != NULL && *len > MAX_VALUE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value of %d bytes is too long for Redis", *len)));
	return text;
}

char *
fe_encode_key(const FePushView *view, const Datum *keys, FeTime start, int *len)
{
	return view->layout->key(view, keys, start, len);
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

/* Fields and values: features that are not NULL, and what stands beside them. */
static void
append_fields(StringInfo out, const FePushView *view, const FePushVector *v)
{
	for (int i = 0; i < view->ncolumns; i++)
	{
		if (v->texts[i] == NULL)
			continue;
		fe_redis_arg(out, view->columns[i].name, view->columns[i].namelen);
		fe_redis_arg(out, v->texts[i], v->lens[i]);
	}
	(void) view->layout->marks(out, view, v);
}

/* The number of its arguments. */
static int
count_fields(const FePushView *view, const FePushVector *v, int nnulls)
{
	return 2 * (view->ncolumns - nnulls + view->layout->marks(NULL, view, v));
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
	int			nset = count_fields(view, v, nnulls);
	bool		own_mark = view->shares || !view->layout->owns_hash;
	bool		tidy = view->filling && !own_mark;	/* it may have been shared */
	XLogRecPtr	end = GetXLogInsertRecPtr();

	begin_script(p, FE_SCRIPT_PUSH, v->key, v->keylen, 9 + nset + nnulls + (tidy ? 1 : 0));
	append_str(out, push_mode(view, kind));
	fe_redis_arg_int(out, view->ttl);
	append_str(out, !view->shares ? "0" : view->sharer_forever ? "2" : "1");
	append_str(out, own_mark ? view->own_lsn : "_lsn");
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
	fe_redis_begin(out, 2 + count_fields(view, v, nnulls));
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

/* The view's own marks: how many of them go with its features. */
static int
count_own_marks(const FePushView *view)
{
	if (view->layout->owns_hash)
		return 1;
	return view->marks_kept ? 0 : 2;
}

/*
 * Deletes the key, or this view's fields when others write to the key too.  Where the
 * hash is not all ours, it goes with its last field.
 */
int
fe_encode_gone(FePusher *p, const FePushView *view, const char *key, int keylen)
{
	bool		owns_hash = view->layout->owns_hash;
	StringInfo	out = &p->redis->out;
	int			nmarks = count_own_marks(view);
	int			nfields = nmarks;

	if (owns_hash && !view->shares)
	{
		fe_encode_stale(p, key, keylen);
		return 1;
	}
	for (int i = 0; i < view->ncolumns; i++)
		nfields += !view->columns[i].kept;
	if (nfields == 0)
		return 0;
	begin_script(p, FE_SCRIPT_GONE, key, keylen, 2 + nfields);
	fe_redis_arg_int(out, view->ttl == 0 ? view->sharer_ttl : 0);
	append_str(out, !owns_hash ? "2" : view->retired ? "0" : "1");
	if (nmarks > 0)
		append_str(out, view->own_lsn);
	if (nmarks > 1)
		append_str(out, view->own_ts);
	for (int i = 0; i < view->ncolumns; i++)
		if (!view->columns[i].kept)
			fe_redis_arg(out, view->columns[i].name, view->columns[i].namelen);
	return 1;
}

void
fe_encode_stale(FePusher *p, const char *key, int keylen)
{
	begin_script(p, FE_SCRIPT_STALE, key, keylen, 0);
}
