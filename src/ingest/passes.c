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
 * still changes in one step; what one transaction does to one entity is held whole.
 *
 * What rows take is only known once they are evaluated: of a long record little may
 * remain, and a table may have a hundred views.  So a batch begins with one pass, and
 * when the rows take too much, their share of the batch tells how many it needs;
 * as long as no transaction is merged in part.
 */
#include "postgres.h"

#include "ingest/group.h"

#define FE_PASS_LIMIT		(128 * 1024 * 1024) /* of evaluated rows, if they can be divided */
#define FE_SMALL_BATCH		(1024 * 1024)
#define FE_ROOM_PER_BYTE	8	/* of state, for a byte of records, amply */
#define FE_MAX_TIGHT_PARTS	64	/* for the sake of room in state, to begin with */
#define FE_MAX_ROOM_PARTS	256 /* ... and when it was found missing */
#define FE_MAX_PARTS		4096
/* With fewer row images a transaction waits for room, to come in as a whole. */
#define FE_SMALL_TXN		(16 * 1024)

/*
 * Where state is nearly full, less of the entities at a time need less room to be
 * made sure of: rather several small transactions in passes than waiting.  Of a
 * large one it will be measured.
 */
static uint32
choose_parts(const FeApply *apply, Size bytes)
{
	uint32		parts = 1;

	if (bytes < FE_SMALL_BATCH || !fe_batch_in_memory(apply->batch))
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
	uint32		views = apply->last_table ? apply->last_table->nuses : 1;

	if (apply->groups < views)
	{
		uint32		more = Min(factor, (views + apply->groups - 1) / apply->groups);

		apply->groups = Min(apply->groups * more, views);
		factor = (factor + more - 1) / more;
	}
	apply->parts *= factor;
	apply->whole_txns = apply->pass_txns;
}

/* So many passes for one; a quarter more than the share of the batch that was read. */
static uint32
passes_for_batch(const FeApply *apply)
{
	Size		read = Max(fe_batch_bytes_read(apply->batch), 1);
	Size		factor = 1 + fe_batch_bytes(apply->batch) / read * 5 / 4;

	return Min(Max(factor, 2), FE_MAX_PARTS);
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
		divide(apply, passes_for_batch(apply));
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
	for (uint32 factor = 2; factor * apply->parts <= FE_MAX_ROOM_PARTS; factor *= 2)
	{
		if (fe_apply_has_room(apply, room / factor))
		{
			divide(apply, factor);
			return true;
		}
	}
	return false;
}
