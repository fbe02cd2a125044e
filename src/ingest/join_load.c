/*
 * join_load.c
 *		Backfill of a joined view: what the log has brought of the fact table while
 *		the dimensions were read.
 *
 * A backfill reads the dimensions first.  Until all their rows are in, whatever
 * comes is only kept in parts, where signed counts make any order right; nothing is
 * joined with a row that may not be there yet.  Then the rows of the fact table that
 * have been kept so far are joined, here; from now on every row is, as it comes.
 *
 * Runs in the ingest worker, inside its transaction; nothing else is applied
 * meanwhile.  If it does not come to its end, the view is built anew.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "ingest/group.h"

#define FE_LOAD_OPS		4096	/* row images evaluated before a merge */

typedef struct JoinLoad
{
	FeApply    *apply;
	FeIngestView *view;
	bool		no_memory;
} JoinLoad;

/* One kept row of the fact table. */
static void
load_fact(JoinLoad *load, Datum image, int64 count)
{
	FeApply    *apply = load->apply;
	MemoryContext old = MemoryContextSwitchTo(apply->row_cxt);
	FeOp		op;

	fe_join_put_fact(load->view, 0, image);
	if (fe_join_look_up(apply, load->view, 0) &&
		fe_join_evaluate(apply, load->view, count < 0 ? -1 : 1, &op))
		for (; count != 0; count -= op.delta.sign)
			fe_group_push(apply, &op);
	MemoryContextSwitchTo(old);
	MemoryContextReset(apply->row_cxt);
}

/* The key of dimension 0, and its row there. */
static bool
put_key(JoinLoad *load, const Datum *keys, const bool *nulls, uint64 hash)
{
	FeIngestView *view = load->view;
	const FeJoin *join = view->plan->join;
	const FePlan *part = join->parts[FE_PART_ROWS(0)];
	FeJoinProbe probe;
	bool		has_null = false;
	Datum		image = 0;

	memset(&probe, 0, sizeof(probe));
	probe.delta.values = probe.values;
	probe.delta.nulls = probe.nulls;
	probe.delta.hash = hash;
	for (int k = 0; k < part->nkeys; k++)
	{
		probe.values[part->keys[k].expr] = keys[k];
		has_null |= nulls[k];
	}
	if (!has_null)
		image = fe_net_row(load->apply, view, 0, &probe, false);
	/* for as long as there are rows of this key */
	fe_join_put_dimension(view, 0, image);
	return image != 0 || join->dims[0].outer;
}

static void
load_facts(void *arg)
{
	JoinLoad   *load = arg;
	FeApply    *apply = load->apply;
	FeIngestView *part = load->view->join->parts[FE_PART_FACTS(0)];
	FeRowsScan	scan = {0};
	Datum		keys[FE_MAX_KEYS];
	bool		nulls[FE_MAX_KEYS];
	uint64		hash;
	FeRowsIter	it;
	Datum		image;
	int64		count;

	while (!load->no_memory && fe_state_part_scan(part->writer, &scan, keys, nulls, &hash, &it))
	{
		if (!put_key(load, keys, nulls, hash))
			continue;
		while (fe_state_part_next(&it, &image, &count))
			load_fact(load, image, count);
		if (apply->nops >= FE_LOAD_OPS)
			load->no_memory = !fe_apply_merge_rows(apply);
		CHECK_FOR_INTERRUPTS();
	}
	if (!load->no_memory)
		load->no_memory = !fe_apply_merge_rows(apply);
}

bool
fe_join_load(FeApply *apply, FeBackfillJob *job, FeIngestView *view)
{
	JoinLoad	load = {apply, view, false};
	MemoryContext old = MemoryContextSwitchTo(apply->group_cxt);

	fe_apply_begin_rows(apply, job);
	/* an error that is skipped must not come out of here: what is merged remains */
	if (view->plan->options.on_error == FE_ON_ERROR_SKIP)
		fe_skip_take_care(view);
	fe_evaluate_guarded(apply, view, load_facts, &load);
	MemoryContextSwitchTo(old);
	if (load.no_memory)
		return false;
	view->join->loaded = true;
	return true;
}
