/*
 * commits.c
 *		When the transactions committed that were merged last.
 *
 * An entity knows the position of its last change in the log, and nobody else
 * remembers commit times by position: the ingest worker notes each transaction
 * here before it merges it.  A ring for each database in shared memory, with one
 * writer and readers without locks, who look once more whether what they have
 * read was still there.
 */
#include "postgres.h"

#include "runtime/runtime.h"
#include "storage/shmem.h"

#define RING_SIZE	16384		/* a power of two */
#define RING_SPARE	64			/* the oldest ones, which may go any moment */

typedef struct FeCommit
{
	pg_atomic_uint64 lsn;
	pg_atomic_uint64 at;
} FeCommit;

/* Positions ascend from start to head; number n is in slot n % RING_SIZE. */
typedef struct FeCommitRing
{
	pg_atomic_uint64 start;
	pg_atomic_uint64 head;
	FeCommit	commits[RING_SIZE];
} FeCommitRing;

static FeCommitRing *rings;		/* as FeShared.databases */

static Size
rings_size(void)
{
	return mul_size(fe_setting_max_databases, sizeof(FeCommitRing));
}

static void
rings_init(void *area, bool found)
{
	rings = area;
	if (found)
		return;
	for (int i = 0; i < fe_setting_max_databases; i++)
	{
		pg_atomic_init_u64(&rings[i].start, 0);
		pg_atomic_init_u64(&rings[i].head, 0);
		for (int n = 0; n < RING_SIZE; n++)
		{
			pg_atomic_init_u64(&rings[i].commits[n].lsn, 0);
			pg_atomic_init_u64(&rings[i].commits[n].at, 0);
		}
	}
}

static FeCommitRing *
ring_of(const FeDatabase *db)
{
	return &rings[db - fe_shared->databases];
}

/* Another database has the slot: its positions are none of ours. */
static void
rings_release(FeDatabase *db)
{
	FeCommitRing *ring = ring_of(db);

	pg_atomic_write_u64(&ring->start, pg_atomic_read_u64(&ring->head));
}

static const FeShmemRoom commits_room = {
	.name = "feature_engine commits",
	.size = rings_size,
	.init = rings_init,
	.release = rings_release,
};

void
fe_commits_init(void)
{
	fe_shmem_register(&commits_room);
}

void
fe_commits_note(FeDatabase *db, XLogRecPtr lsn, TimestampTz at)
{
	FeCommitRing *ring = ring_of(db);
	uint64		head = pg_atomic_read_u64(&ring->head);
	FeCommit   *commit = &ring->commits[head % RING_SIZE];
	XLogRecPtr	last = pg_atomic_read_u64(&ring->commits[(head - 1) % RING_SIZE].lsn);

	if (head > pg_atomic_read_u64(&ring->start) && lsn <= last)
	{
		if (lsn == last)
			return;				/* in several passes */
		/* the log is read once more, from further back */
		pg_atomic_write_u64(&ring->start, head);
		pg_write_barrier();
	}
	pg_atomic_write_u64(&commit->lsn, lsn);
	pg_atomic_write_u64(&commit->at, (uint64) at);
	pg_write_barrier();
	pg_atomic_write_u64(&ring->head, head + 1);
}

bool
fe_commits_find(FeDatabase *db, XLogRecPtr lsn, TimestampTz *at)
{
	FeCommitRing *ring = ring_of(db);
	uint64		head = pg_atomic_read_u64(&ring->head);
	uint64		low = pg_atomic_read_u64(&ring->start);
	uint64		high = head;
	FeCommit   *commit;

	pg_read_barrier();
	if (head - low > RING_SIZE - RING_SPARE)
		low = head - (RING_SIZE - RING_SPARE);
	while (low < high)
	{
		uint64		middle = low + (high - low) / 2;

		if (pg_atomic_read_u64(&ring->commits[middle % RING_SIZE].lsn) < lsn)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == head)
		return false;
	commit = &ring->commits[low % RING_SIZE];
	if (pg_atomic_read_u64(&commit->lsn) != lsn)
		return false;
	*at = (TimestampTz) pg_atomic_read_u64(&commit->at);
	pg_read_barrier();
	return pg_atomic_read_u64(&ring->head) - low < RING_SIZE &&
		low >= pg_atomic_read_u64(&ring->start);
}
