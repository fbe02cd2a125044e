/*
 * passes.c
 *		In how many passes a batch is applied, and what belongs to each.
 *
 * Runs in the ingest worker; takes no locks.  Evaluated rows of a transaction are
 * held in our own memory until all are there, and room for what they may add to
 * state is made sure of before any is merged.  A transaction that is too large for
 * either is applied in several passes over its records.  Each pass takes the views
 * of one of several groups, so that nothing is evaluated twice; where that does not
 * do, the entities of one of several parts of the hash space.  So every entity
 * still changes in one step.
 *
 * The length of the batch tells how many passes to begin with.  What rows take is
 * only known once they are evaluated (a table may have a hundred views): more are
 * asked for on the way, as long as no transaction is merged in part.
 */
#include "postgres.h"

#include "ingest/group.h"

#define FE_PASS_BYTES		(64 * 1024 * 1024)	/* evaluated rows of a pass, about */
#define FE_PASS_LIMIT		(2 * FE_PASS_BYTES) /* and at most, if they can be divided */
#define FE_SMALL_BATCH		(1024 * 1024)
#define FE_ROOM_PER_BYTE	8	/* of state, for a byte of records, amply */
#define FE_MAX_TIGHT_PARTS	64	/* for the sake of room in state */
#define FE_MAX_PARTS		4096
/* With fewer row images a transaction waits for room, to come in as a whole. */
#define FE_SMALL_TXN		(16 * 1024)

/*
 * Evaluated rows take about twice their records.  Where state is nearly full, less
 * of the entities at a time need less room to be made sure of.  Small batches
 * begin with one pass.
 */
static uint32
choose_parts(const FeApply *apply, Size bytes)
{
	uint32		parts = 1 + (uint32) (bytes * 2 / FE_PASS_BYTES);

	if (bytes < FE_SMALL_BATCH)
		return 1;
	while (parts < FE_MAX_TIGHT_PARTS &&
		   !fe_heap_has_room(apply->ingest->heap, bytes * FE_ROOM_PER_BYTE / parts))
		parts *= 2;
	return parts;
}

void
fe_passes_begin(FeApply *apply)
{
	apply->pass = 0;
	apply->pass_txns = 0;
	apply->whole_txns = 0;
	apply->groups = 1;
	apply->parts = choose_parts(apply, fe_batch_bytes(apply->batch));
	apply->limit = FE_PASS_LIMIT;
}

/* Is every transaction either merged whole, or not at all? */
static bool
may_divide(const FeApply *apply)
{
	return fe_passes_count(apply) == 1 ||
		(apply->pass == 0 && apply->pass_txns == apply->whole_txns);
}

/* By views first: each further part evaluates every row once more. */
static void
divide(FeApply *apply, uint32 factor)
{
	uint32		views = apply->last_table ? apply->last_table->nviews : 1;

	for (; factor > 1; factor /= 2)
	{
		if (apply->groups < views)
			apply->groups = Min(apply->groups * 2, views);
		else
			apply->parts *= 2;
	}
	apply->whole_txns = apply->pass_txns;
}

/* Parts of the hash space do not divide what is nearly all of one entity. */
static bool
is_one_entity(const FeApply *apply)
{
	const FeOp *last = &apply->ops[apply->nops - 1];
	int			same = 0;

	for (int i = 0; i < apply->nops; i++)
		same += apply->ops[i].delta.hash == last->delta.hash && apply->ops[i].view == last->view;
	return same > apply->nops / 4 * 3;
}

/*
 * The rows evaluated take more memory than they should.  True: there are more
 * passes now, begin again; false: go on, it cannot be helped.
 */
bool
fe_passes_divide_rows(FeApply *apply)
{
	if (may_divide(apply) && apply->parts < FE_MAX_PARTS && !is_one_entity(apply))
	{
		divide(apply, 2);
		return true;
	}
	apply->limit *= 2;
	return false;
}

/*
 * The same for a transaction of so many row images that may take more of state than
 * there is.  What it really takes may be far less: many rows make few entities.
 */
bool
fe_passes_divide_room(FeApply *apply, int nops, Size room)
{
	if (nops < FE_SMALL_TXN || !may_divide(apply))
		return false;
	for (uint32 factor = 2; factor * apply->parts <= FE_MAX_TIGHT_PARTS; factor *= 2)
	{
		if (fe_apply_has_room(apply, room / factor))
		{
			divide(apply, factor);
			return true;
		}
	}
	return false;
}
