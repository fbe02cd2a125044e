/*
 * fill.c
 *		Finding keys in Redis that should not be there.  Runs in the pusher,
 *		look-ups in short transactions; the keyspace is walked by SCAN, one
 *		request at a time, beside all other work.
 *
 * Of a current view: keys that it can have made and that belong to no entity
 * (deleted while nobody was pushing).  Of a retired view: all keys that it can
 * have made.  In doubt a key stays: one that another view can have made as well,
 * or that cannot be read back.  What is deleted is a hash with our mark, or only
 * the view's own fields of it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "online/pusher.h"
#include "utils/memutils.h"

#define SCAN_COUNT		"1000"

typedef struct FeKeyScan
{
	char		cursor[24];
	bool		waiting;		/* for a reply */
	bool		complete;		/* the cursor has come back to 0 */
	bool		restart;		/* as soon as the reply is there */
	redisReply *reply;			/* keys under work */
	volatile size_t next;		/* first key not done */
} FeKeyScan;

/* ---- asking ----------------------------------------------------------------- */

static void
rewind_scan(FeKeyScan *scan)
{
	strcpy(scan->cursor, "0");
	scan->complete = false;
	scan->restart = false;
	scan->next = 0;
	if (scan->reply)
		freeReplyObject(scan->reply);
	scan->reply = NULL;
}

void
fe_scan_start(FePushView *view)
{
	FeKeyScan  *scan = view->scan;

	if (scan == NULL)
	{
		scan = MemoryContextAllocZero(view->cxt, sizeof(FeKeyScan));
		view->scan = scan;
	}
	view->cleaned = false;
	if (scan->waiting)
		scan->restart = true;
	else
		rewind_scan(scan);
}

void
fe_fill_all(FePusher *p)
{
	dlist_iter	it;

	dlist_foreach(it, &p->views)
	{
		FePushView *view = dlist_container(FePushView, node, it.cur);

		if (!view->retired)
			view->wants_fill = view->online;
		else if (view->scan != NULL || view->footprint != 0)
			fe_scan_restart(view, false);
	}
}

void
fe_scan_restart(FePushView *view, bool reply_lost)
{
	if (view->scan != NULL && reply_lost)
		view->scan->waiting = false;
	fe_scan_start(view);
}

void
fe_scan_end(FePushView *view)
{
	FeKeyScan  *scan = view->scan;

	if (scan == NULL)
		return;
	view->scan = NULL;
	if (scan->reply)
		freeReplyObject(scan->reply);
	pfree(scan);
}

/* [cursor, [key, ...]]; the reply is ours from now on. */
void
fe_scan_reply(FePushView *view, redisReply *reply)
{
	FeKeyScan  *scan = view->scan;
	bool		good = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
	reply->element[0]->type == REDIS_REPLY_STRING &&
	reply->element[1]->type == REDIS_REPLY_ARRAY;

	if (scan == NULL || !scan->waiting || !good)
	{
		freeReplyObject(reply);
		return;
	}
	scan->waiting = false;
	if (scan->restart)
	{
		freeReplyObject(reply);
		rewind_scan(scan);
		return;
	}
	strlcpy(scan->cursor, reply->element[0]->str, sizeof(scan->cursor));
	scan->complete = strcmp(scan->cursor, "0") == 0;
	scan->reply = reply;
	scan->next = 0;
}

static void
ask(FePusher *p, FePushView *view)
{
	FeKeyScan  *scan = view->scan;
	StringInfo	out = &p->redis->out;

	fe_redis_begin(out, 6);
	fe_redis_arg_str(out, "SCAN");
	fe_redis_arg_str(out, scan->cursor);
	fe_redis_arg_str(out, "MATCH");
	fe_redis_arg(out, view->pattern, view->pattern_len);
	fe_redis_arg_str(out, "COUNT");
	fe_redis_arg_str(out, SCAN_COUNT);
	fe_flight_add(p, FE_UNIT_SCAN, 1, view, NULL, false);
	scan->waiting = true;
}

/* ---- judging ---------------------------------------------------------------- */

/*
 * Can another view have made this key, of other parts?  Where only fields go, which
 * bear a view's name, it does not matter.
 */
static bool
is_ambiguous(FePusher *p, const FePushView *view, const redisReply *key)
{
	dlist_iter	it;
	void	   *parts;

	if (!view->layout->owns_hash)
		return false;
	dlist_foreach(it, &p->views)
	{
		FePushView *other = dlist_container(FePushView, node, it.cur);

		if (other != view && !other->retired && other->online &&
			!fe_layout_same_keys(other, view) &&
			other->layout->parse_key(other, key->str, key->len, &parts))
			return true;
	}
	return false;
}

/* Is there an entity that has this very key?  May raise errors of input functions. */
static bool
has_entity(FePushView *view, const redisReply *key, const void *parts)
{
	FePlan	   *plan = view->plan;
	int			n = plan->nkeys + plan->naggs;
	Datum	   *values = palloc0(n * sizeof(Datum));
	bool	   *nulls = palloc0(n * sizeof(bool));
	Datum		keys[FE_MAX_KEYS];
	bool		keynulls[FE_MAX_KEYS] = {false};
	char	   *rendered;
	bool		found = false;
	int			len;

	if (!view->layout->read_keys(view, parts, keys))
		return false;
	if (!fe_state_lookup(view->reader, keys, keynulls, fe_clock_eval_time(),
						 values, nulls, NULL))
		return false;

	if (!view->shown && fe_state_newest_row(view->reader) < 0)
		return false;

	/* equal keys may have different texts (1.0 and 1): only one is current */
	for (int row = 0; !found && row < (view->shown ? fe_state_rows(view->reader) : 1); row++)
	{
		FeTime		start = view->shown ? fe_state_row_window(view->reader, row).lo : 0;

		rendered = fe_encode_key(view, values, start, &len);
		found = rendered != NULL && len == key->len && memcmp(rendered, key->str, len) == 0;
	}
	return found;
}

static void
judge(FePusher *p, FePushView *view, const redisReply *key)
{
	void	   *parts;

	if (key->type != REDIS_REPLY_STRING ||
		!view->layout->parse_key(view, key->str, key->len, &parts) ||
		is_ambiguous(p, view, key))
		return;
	if (!view->retired && has_entity(view, key, parts))
		return;
	if (fe_encode_gone(p, view, key->str, key->len) > 0)
		fe_flight_add(p, FE_UNIT_STALE, 1, view, NULL, false);
}

static void
judge_some(FePusher *p, FePushView *view, volatile int *mark)
{
	FeKeyScan  *scan = view->scan;
	const redisReply *keys = scan->reply->element[1];
	MemoryContext old = MemoryContextSwitchTo(p->slice_cxt);

	for (int n = 0; n < FE_PUSH_SLICE && scan->next < keys->elements &&
		 fe_flight_has_room(p); n++, scan->next++)
	{
		*mark = p->redis->out.len;
		judge(p, view, keys->element[scan->next]);
		MemoryContextReset(p->slice_cxt);
	}
	MemoryContextSwitchTo(old);
}

/* Expressions may run, and input functions raise errors. */
static void
judge_safely(FePusher *p, FePushView *view)
{
	MemoryContext cxt = CurrentMemoryContext;
	volatile int mark = p->redis->out.len;

	PG_TRY();
	{
		fe_push_enter(view);
		fe_clock_set_eval_time(fe_clock_now());
		if (!view->retired)
			fe_push_make_programs(view);
		/* one that is being built anew does not have all its entities */
		if (view->retired || fe_push_view_ready(view))
			judge_some(p, view, &mark);
		fe_clock_set_eval_time(PG_INT64_MIN);
		fe_push_leave();
	}
	PG_CATCH();
	{
		FreeErrorData(fe_worker_caught(cxt));
		fe_clock_set_eval_time(PG_INT64_MIN);
		fe_push_drop_programs(view);
		p->redis->out.len = mark;
		view->scan->next++;		/* not one of ours, or not sure: it stays */
	}
	PG_END_TRY();
}

bool
fe_scan_step(FePusher *p, FePushView *view)
{
	FeKeyScan  *scan = view->scan;

	if (scan == NULL || scan->waiting || !fe_flight_has_room(p))
		return false;
	if (scan->reply != NULL)
	{
		judge_safely(p, view);
		if (scan->next < scan->reply->element[1]->elements)
			return true;
		freeReplyObject(scan->reply);
		scan->reply = NULL;
	}
	if (scan->complete)
	{
		fe_scan_end(view);
		view->cleaned = true;
		return false;
	}
	ask(p, view);
	return false;
}
