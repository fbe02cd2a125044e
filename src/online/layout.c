/*
 * layout.c
 *		The layouts of entities in Redis, and what they have in common.
 *		Runs in the pusher, in transactions; no locks.
 *
 * A layout is a table of functions (FeLayout in pusher.h) in a file of its own.
 * Whatever it looks like, an entity is one hash: fields of features, T of evaluation,
 * and the position in the log that the fence of refills compares.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "online/pusher.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static const FeLayout *const layouts[] = {
	[FE_LAYOUT_HASH] = &fe_layout_hash,
	[FE_LAYOUT_FEAST] = &fe_layout_feast
};

static const FeLayout *
layout_by_name(const char *name)
{
	for (int i = 0; i < lengthof(layouts); i++)
		if (strcmp(layouts[i]->name, name) == 0)
			return layouts[i];
	elog(ERROR, "unknown layout of Redis keys: %s", name);
	return NULL;
}

void
fe_layout_set_up(FePushView *view, const char *layout, const char *keys_text)
{
	view->layout = layout != NULL ? layout_by_name(layout) :
		layouts[view->plan->options.redis_layout];
	view->own_lsn = fe_push_utf8(psprintf("_lsn:%s", view->name));
	view->own_ts = fe_push_utf8(psprintf("_ts:%s", view->name));
	if (layout != NULL)
		view->layout->set_keys_of_text(view, keys_text);
	else
		view->layout->set_keys(view);
}

bool
fe_layout_same_keys(const FePushView *a, const FePushView *b)
{
	return a->layout == b->layout && a->layout->same_keys(a, b);
}

/* ---- for layouts -------------------------------------------------------------------- */

void
fe_layout_output(FmgrInfo *out, Oid type, MemoryContext cxt)
{
	Oid			function;
	bool		isvarlena;

	getTypeOutputInfo(type, &function, &isvarlena);
	fmgr_info_cxt(function, out, cxt);
}

void
fe_layout_key_functions(FePushView *view)
{
	const FePlan *plan = view->plan;

	view->keyout = palloc0(plan->nkeys * sizeof(FmgrInfo));
	view->keyin = palloc0(plan->nkeys * sizeof(FmgrInfo));
	view->keyioparam = palloc0(plan->nkeys * sizeof(Oid));
	for (int i = 0; i < plan->nkeys; i++)
	{
		Oid			function;

		fe_layout_output(&view->keyout[i], plan->keys[i].type, view->cxt);
		getTypeInputInfo(plan->keys[i].type, &function, &view->keyioparam[i]);
		fmgr_info_cxt(function, &view->keyin[i], view->cxt);
	}
}

char *
fe_layout_text(FmgrInfo *out, Datum value, int *len)
{
	char	   *text = OutputFunctionCall(out, value);

	if (GetDatabaseEncoding() != PG_UTF8)
		text = pg_server_to_any(text, strlen(text), PG_UTF8);
	*len = strlen(text);
	return text;
}

const char *
fe_layout_lsn(XLogRecPtr lsn)
{
	static char text[32];

	snprintf(text, sizeof(text), "%X/%X", LSN_FORMAT_ARGS(lsn));
	return text;
}

bool
fe_layout_key_of_text(const FePushView *view, int key, char *text, Datum *value)
{
	Oid			type = view->plan->keys[key].type;
	Oid			base = getBaseType(type);

	/* an enum's label may have been given another name meanwhile */
	if (get_typtype(base) == TYPTYPE_ENUM && strlen(text) < NAMEDATALEN &&
		!SearchSysCacheExists2(ENUMTYPOIDNAME, ObjectIdGetDatum(base), CStringGetDatum(text)))
		return false;
	*value = InputFunctionCall(&view->keyin[key], text, view->keyioparam[key],
							   view->plan->keys[key].typmod);
	return true;
}
