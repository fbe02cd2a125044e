/*
 * join_net.c
 *		What a transaction does to the dimensions of joined views, and what follows
 *		for the rows of the fact table that were there before it.
 *
 * A transaction that changes dimensions is read twice: first its changes of them
 * are collected, by key and in all, so that a table that is emptied and filled again
 * with the same rows has not changed; then it is evaluated.  Of a key whose row is
 * another one afterwards, each kept row of the fact table is taken out with the row
 * before and put in with the row after.  Where the transaction changes several
 * dimensions, that is done with one after the other: those before it are new, those
 * after it still old.
 *
 * Runs in the ingest worker, inside its transaction; takes no locks.  Collecting and
 * correcting are in one file, if a long one: both are about the same private net.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "ingest/group.h"

/*
 * A transaction that changes so much of dimensions is not taken step by step: its
 * views are built anew.
 */
#define FE_NET_BYTES	((Size) 256 * 1024 * 1024)
#define FE_NET_BUCKETS	1024	/* at first */

typedef struct NetImage
{
	struct NetImage *next;
	Datum		image;
	int64		count;
} NetImage;

typedef struct NetKey
{
	struct NetKey *next;
	FeJoinProbe probe;			/* of the part that keeps the dimension's rows */
	NetImage   *images;
} NetKey;

/* One dimension of one view. */
typedef struct NetDimension
{
	FeIngestView *view;
	int			dim;
	bool		truncated;		/* what was there is gone */
	uint32		nkeys;
	uint32		nbuckets;
	NetKey	  **buckets;
} NetDimension;

struct FeNet
{
	List	   *dims;			/* NetDimension * */
};

/* ---- keys -------------------------------------------------------------------------- */

static bool
same_key(const FePlan *part, const FeJoinProbe *a, const FeJoinProbe *b)
{
	if (a->delta.hash != b->delta.hash)
		return false;
	for (int k = 0; k < part->nkeys; k++)
	{
		const FeKey *key = &part->keys[k];

		if (a->nulls[key->expr] != b->nulls[key->expr])
			return false;
		if (!a->nulls[key->expr] &&
			!DatumGetBool(FunctionCall2Coll((FmgrInfo *) &key->eq, key->collation,
											a->values[key->expr], b->values[key->expr])))
			return false;
	}
	return true;
}

static const FePlan *
rows_part(const NetDimension *net)
{
	return net->view->plan->join->parts[FE_PART_ROWS(net->dim)];
}

static NetKey *
find_key(const NetDimension *net, const FeJoinProbe *probe)
{
	NetKey	   *key = net->buckets[probe->delta.hash % net->nbuckets];

	while (key != NULL && !same_key(rows_part(net), &key->probe, probe))
		key = key->next;
	return key;
}

static void
enlarge(FeApply *apply, NetDimension *net)
{
	uint32		nbuckets = net->nbuckets * 4;
	NetKey	  **buckets = MemoryContextAllocExtended(apply->net_cxt, nbuckets * sizeof(NetKey *),
													 MCXT_ALLOC_ZERO | MCXT_ALLOC_HUGE);

	for (uint32 b = 0; b < net->nbuckets; b++)
	{
		NetKey	   *key = net->buckets[b];

		while (key != NULL)
		{
			NetKey	   *next = key->next;
			NetKey	  **bucket = &buckets[key->probe.delta.hash % nbuckets];

			key->next = *bucket;
			*bucket = key;
			key = next;
		}
	}
	pfree(net->buckets);
	net->buckets = buckets;
	net->nbuckets = nbuckets;
}

/* Points to the arrays of its own. */
static void
copy_probe(const FePlan *part, FeJoinProbe *to, const FeJoinProbe *from)
{
	*to = *from;
	to->delta.values = to->values;
	to->delta.nulls = to->nulls;
	for (int k = 0; k < part->nkeys; k++)
	{
		const FeKey *key = &part->keys[k];

		if (!to->nulls[key->expr])
			to->values[key->expr] = datumCopy(from->values[key->expr], key->typbyval, key->typlen);
	}
}

static NetKey *
obtain_key(FeApply *apply, NetDimension *net, const FeJoinProbe *probe)
{
	NetKey	   *key = find_key(net, probe);
	MemoryContext old;

	if (key != NULL)
		return key;
	if (net->nkeys >= 2 * net->nbuckets)
		enlarge(apply, net);
	old = MemoryContextSwitchTo(apply->net_cxt);
	key = palloc0(sizeof(NetKey));
	copy_probe(rows_part(net), &key->probe, probe);
	key->next = net->buckets[probe->delta.hash % net->nbuckets];
	net->buckets[probe->delta.hash % net->nbuckets] = key;
	net->nkeys++;
	MemoryContextSwitchTo(old);
	return key;
}

static void
add_image(FeApply *apply, NetDimension *net, const FeJoinProbe *probe, Datum image, int sign)
{
	NetKey	   *key = obtain_key(apply, net, probe);
	NetImage   *i;
	MemoryContext old;

	for (i = key->images; i != NULL; i = i->next)
		if (fe_row_image_equal(i->image, image))
			break;
	if (i == NULL)
	{
		old = MemoryContextSwitchTo(apply->net_cxt);
		i = palloc0(sizeof(NetImage));
		i->image = datumCopy(image, false, -1);
		i->next = key->images;
		key->images = i;
		MemoryContextSwitchTo(old);
	}
	i->count += sign;
}

/* ---- collecting ---------------------------------------------------------------------- */

static NetDimension *
find_dimension(const FeNet *net, const FeIngestView *view, int d)
{
	ListCell   *lc;

	foreach(lc, net->dims)
	{
		NetDimension *dim = lfirst(lc);

		if (dim->view == view && dim->dim == d)
			return dim;
	}
	return NULL;
}

static NetDimension *
obtain_dimension(FeApply *apply, FeIngestView *view, int d)
{
	NetDimension *dim = find_dimension(apply->net, view, d);
	MemoryContext old;

	if (dim != NULL)
		return dim;
	old = MemoryContextSwitchTo(apply->net_cxt);
	dim = palloc0(sizeof(NetDimension));
	dim->view = view;
	dim->dim = d;
	dim->nbuckets = FE_NET_BUCKETS;
	dim->buckets = palloc0(sizeof(NetKey *) * dim->nbuckets);
	apply->net->dims = lappend(apply->net->dims, dim);
	MemoryContextSwitchTo(old);
	return dim;
}

static bool
is_collected(const FeApply *apply, const FeIngestUse *use)
{
	return use->view->join != NULL && use->arm > 0 && use->view->join->loaded &&
		fe_evaluate_takes(apply, use->view) && fe_pass_takes_view(apply, use->view);
}

static void
collect_rows(FeApply *apply, const FeIngestUse *use, FeIngestTable *table, const FeRecord *rec)
{
	FeIngestView *view = use->view;
	int			d = use->arm - 1;
	NetDimension *net = obtain_dimension(apply, view, d);
	FeJoinProbe oldkey;
	FeJoinProbe newkey;
	bool		has_old = rec->has_old &&
		fe_join_dimension_key(view, d, table->oldvalues, table->oldnulls, &oldkey);
	bool		has_new = rec->has_new &&
		fe_join_dimension_key(view, d, table->newvalues, table->newnulls, &newkey);
	Datum		oldrow = 0;
	Datum		newrow = 0;

	if (has_old)
		oldrow = fe_join_dimension_image(view, d, table->oldvalues, table->oldnulls);
	if (has_new)
		newrow = fe_join_dimension_image(view, d, table->newvalues, table->newnulls);
	/* only columns have changed that the view does not know */
	if (has_old && has_new && same_key(rows_part(net), &oldkey, &newkey) &&
		fe_row_image_equal(oldrow, newrow))
		return;
	if (has_old)
		add_image(apply, net, &oldkey, oldrow, -1);
	if (has_new)
		add_image(apply, net, &newkey, newrow, 1);
}

static void
check_size(FeApply *apply, FeIngestView *view)
{
	if (apply->net_cxt->mem_allocated > FE_NET_BYTES)
		fe_ingest_rebuild_view(apply->ingest, view,
							   "a transaction changed more rows of a joined table than are taken in one by one");
}

static void
collect_change(FeApply *apply, const FeRecord *rec)
{
	FeIngestTable *table = fe_evaluate_table(apply, rec->relid);
	bool		decoded = false;
	int			absent_old = 0;

	for (int i = 0; table != NULL && i < table->nuses; i++)
	{
		FeIngestView *view = table->uses[i].view;

		if (!is_collected(apply, &table->uses[i]))
			continue;
		if (!decoded)
			fe_evaluate_decode(apply, table, rec, &absent_old);
		decoded = true;
		if (!fe_evaluate_check_old(apply, view, rec, absent_old))
			continue;
		collect_rows(apply, &table->uses[i], table, rec);
		check_size(apply, view);
	}
}

/* What the transaction did to the dimension so far no longer counts. */
static void
collect_truncate(FeApply *apply, const FeRecord *rec)
{
	FeIngestTable *table = fe_evaluate_table(apply, rec->relid);

	for (int i = 0; table != NULL && i < table->nuses; i++)
	{
		const FeIngestUse *use = &table->uses[i];
		NetDimension *net;

		if (!is_collected(apply, use))
			continue;
		if (rec->kind == FE_RECORD_TRUNCATE_PART)
		{
			fe_ingest_rebuild_view(apply->ingest, use->view, FE_TRUNCATED_IN_PART);
			continue;
		}
		net = obtain_dimension(apply, use->view, use->arm - 1);
		net->truncated = true;
		net->nkeys = 0;
		memset(net->buckets, 0, sizeof(NetKey *) * net->nbuckets);
	}
}

/* After a TRUNCATE all keys that were there may have lost their rows. */
static void
add_former_keys(FeApply *apply, NetDimension *net)
{
	FeIngestView *part = net->view->join->parts[FE_PART_ROWS(net->dim)];
	FeRowsScan	scan = {0};
	Datum		keys[FE_MAX_KEYS];
	bool		nulls[FE_MAX_KEYS];
	FeRowsIter	it;
	FeJoinProbe probe;

	memset(&probe, 0, sizeof(probe));
	while (net->view->applying &&
		   fe_state_part_scan(part->writer, &scan, keys, nulls, &probe.delta.hash, &it))
	{
		for (int k = 0; k < part->plan->nkeys; k++)
		{
			probe.values[part->plan->keys[k].expr] = keys[k];
			probe.nulls[part->plan->keys[k].expr] = nulls[k];
		}
		(void) obtain_key(apply, net, &probe);
		check_size(apply, net->view);
		CHECK_FOR_INTERRUPTS();
	}
}

/* The records of one transaction. */
static void
collect_transaction(FeApply *apply)
{
	FeRecord	rec;

	while (fe_batch_next(apply->batch, &rec) && rec.kind != FE_RECORD_COMMIT)
	{
		switch (rec.kind)
		{
			case FE_RECORD_BEGIN:
				apply->xid = rec.xid;
				apply->current.end_lsn = rec.end_lsn;
				break;
			case FE_RECORD_TRUNCATE:
			case FE_RECORD_TRUNCATE_PART:
				collect_truncate(apply, &rec);
				break;
			default:
				collect_change(apply, &rec);
		}
		MemoryContextReset(apply->row_cxt);
		CHECK_FOR_INTERRUPTS();
	}
}

void
fe_net_collect(FeApply *apply, uint64 n)
{
	MemoryContext old;
	FeRecord	rec;
	ListCell   *lc;

	MemoryContextReset(apply->net_cxt);
	apply->net = MemoryContextAllocZero(apply->net_cxt, sizeof(FeNet));
	fe_batch_rewind(apply->batch);
	while (n > 0 && fe_batch_next(apply->batch, &rec))
		n -= rec.kind == FE_RECORD_COMMIT;
	old = MemoryContextSwitchTo(apply->row_cxt);
	collect_transaction(apply);
	foreach(lc, apply->net->dims)
		if (((NetDimension *) lfirst(lc))->truncated)
			add_former_keys(apply, lfirst(lc));
	MemoryContextSwitchTo(old);
	MemoryContextReset(apply->row_cxt);
}

void
fe_net_forget(FeApply *apply)
{
	if (apply->net != NULL)
		MemoryContextReset(apply->net_cxt);
	apply->net = NULL;
}

/* ---- the row of a key ------------------------------------------------------------------- */

#define MAX_ROWS	8			/* of a key that are told apart */

/* Images of a key's rows with their counts. */
typedef struct RowSet
{
	int			n;
	Datum		images[MAX_ROWS];
	int64		counts[MAX_ROWS];
} RowSet;

static void
refuse_several(const FeIngestView *view, int d)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("several rows of joined table \"%s\" have the same key",
					get_rel_name(view->plan->join->relids[d + 1]))));
}

static void
add_row(const FeIngestView *view, int d, RowSet *set, Datum image, int64 count)
{
	for (int i = 0; i < set->n; i++)
		if (fe_row_image_equal(set->images[i], image))
		{
			set->counts[i] += count;
			return;
		}
	if (set->n == MAX_ROWS)
		refuse_several(view, d);
	set->images[set->n] = image;
	set->counts[set->n++] = count;
}

Datum
fe_net_row(FeApply *apply, FeIngestView *view, int d, const FeJoinProbe *probe, bool changed)
{
	NetDimension *net = changed && apply->net ? find_dimension(apply->net, view, d) : NULL;
	NetKey	   *key = net ? find_key(net, probe) : NULL;
	RowSet		set = {0};
	FeRowsIter	it;
	Datum		image;
	int64		count;
	Datum		result = 0;

	if (net == NULL || !net->truncated)
	{
		fe_state_part_rows(view->join->parts[FE_PART_ROWS(d)]->writer, &probe->delta, &it);
		while (fe_state_part_next(&it, &image, &count))
			add_row(view, d, &set, image, count);
	}
	for (NetImage *i = key ? key->images : NULL; i != NULL; i = i->next)
		if (i->count != 0)
			add_row(view, d, &set, i->image, i->count);
	for (int i = 0; i < set.n; i++)
	{
		if (set.counts[i] == 0)
			continue;
		if (result != 0 || set.counts[i] != 1)
			refuse_several(view, d);
		result = set.images[i];
	}
	return result;
}

/* ---- corrections ----------------------------------------------------------------------- */

/* A dimension's key with its row before and after the transaction, 0 = none. */
typedef struct Correction
{
	FeApply    *apply;
	NetDimension *net;
	Datum		before;
	Datum		after;
} Correction;

static void
push_corrected(FeApply *apply, const FeOp *op, int64 count)
{
	FeOp		copy = *op;

	if (count < 0)
		copy.delta.sign = -copy.delta.sign;
	for (int64 i = 0; i < (count < 0 ? -count : count); i++)
		fe_group_push(apply, &copy);
}

/* One kept row of the fact table, as often as it is there. */
static void
correct_fact(const Correction *c, Datum image, int64 count)
{
	FeApply    *apply = c->apply;
	FeIngestView *view = c->net->view;
	int			d = c->net->dim;
	bool		outer = view->plan->join->dims[d].outer;
	FeOp		oldop;
	FeOp		newop;
	bool		has_old = false;
	bool		has_new = false;

	fe_join_put_fact(view, d, image);
	if (!fe_join_look_up(apply, view, d))
		return;
	if (c->before != 0 || outer)
	{
		fe_join_put_dimension(view, d, c->before);
		has_old = fe_join_evaluate(apply, view, -1, &oldop);
	}
	if (c->after != 0 || outer)
	{
		fe_join_put_dimension(view, d, c->after);
		has_new = fe_join_evaluate(apply, view, 1, &newop);
	}
	if (has_old && has_new && fe_evaluate_same(view, &oldop.delta, &newop.delta))
		return;
	if (has_old)
		push_corrected(apply, &oldop, count);
	if (has_new)
		push_corrected(apply, &newop, count);
}

/* The same key, for the part that keeps rows of the fact table. */
static void
fact_probe(const NetDimension *net, const NetKey *key, FeJoinProbe *probe)
{
	const FePlan *from = rows_part(net);
	const FePlan *to = net->view->plan->join->parts[FE_PART_FACTS(net->dim)];

	memset(probe, 0, sizeof(FeJoinProbe));
	probe->delta.values = probe->values;
	probe->delta.nulls = probe->nulls;
	probe->delta.hash = key->probe.delta.hash;
	for (int k = 0; k < from->nkeys; k++)
		probe->values[to->keys[k].expr] = key->probe.values[from->keys[k].expr];
}

/* There may be very many rows for a key: then they are divided like those of records. */
static bool
is_too_much(FeApply *apply)
{
	return apply->nops > 0 && fe_pass_is_full(apply) && fe_passes_divide_rows(apply);
}

static void
correct_key(FeApply *apply, NetDimension *net, const NetKey *key)
{
	FeIngestView *view = net->view;
	Correction	c = {apply, net, 0, 0};
	FeJoinProbe probe;
	FeRowsIter	it;
	Datum		image;
	int64		count;

	c.before = fe_net_row(apply, view, net->dim, &key->probe, false);
	c.after = fe_net_row(apply, view, net->dim, &key->probe, true);
	if (c.before == c.after ||
		(c.before != 0 && c.after != 0 && fe_row_image_equal(c.before, c.after)))
		return;
	fact_probe(net, key, &probe);
	fe_state_part_rows(view->join->parts[FE_PART_FACTS(net->dim)]->writer, &probe.delta, &it);
	while (fe_state_part_next(&it, &image, &count))
	{
		MemoryContext old = MemoryContextSwitchTo(apply->row_cxt);

		correct_fact(&c, image, count);
		MemoryContextSwitchTo(old);
		MemoryContextReset(apply->row_cxt);
		if (is_too_much(apply))
		{
			apply->again = true;
			return;
		}
		CHECK_FOR_INTERRUPTS();
	}
}

/* The rows of the dimension themselves. */
static void
push_rows(FeApply *apply, NetDimension *net, const NetKey *key)
{
	for (NetImage *i = key->images; i != NULL; i = i->next)
		fe_join_push_part(apply, net->view, FE_PART_ROWS(net->dim), &key->probe, i->image,
						  i->count);
}

static void
apply_dimension(void *arg)
{
	Correction *c = arg;
	FeApply    *apply = c->apply;
	NetDimension *net = c->net;

	if (net->truncated && fe_pass_is_over_parts(apply))
		apply->current.truncated = lappend(apply->current.truncated,
										   net->view->join->parts[FE_PART_ROWS(net->dim)]);
	apply->correcting = true;
	for (uint32 b = 0; b < net->nbuckets; b++)
		for (NetKey *key = net->buckets[b]; key != NULL && !apply->again; key = key->next)
		{
			if (fe_pass_is_over_parts(apply))
				push_rows(apply, net, key);
			if (fe_pass_is_over_views(apply))
				correct_key(apply, net, key);
		}
	apply->correcting = false;
}

void
fe_net_apply(FeApply *apply)
{
	ListCell   *lc;

	foreach(lc, apply->net->dims)
	{
		Correction	c = {apply, lfirst(lc), 0, 0};

		if (!apply->again && fe_evaluate_takes(apply, c.net->view))
			fe_evaluate_guarded(apply, c.net->view, apply_dimension, &c);
	}
}
