/*
 * settled.c
 *		Remembers decoded transactions that a snapshot may not see yet.
 *
 * In the ingest worker, for what it has taken from the stream, and in the capture
 * worker, for what was decoded while other tables were captured.
 *
 * A commit can be decoded as soon as its record is flushed, but snapshots see it
 * only after the committing backend has left the list of running transactions:
 * later by a moment, or by the wait for a synchronous standby.  Whoever reads a
 * table under a snapshot must know which of the transactions that it does not see
 * were decoded already.
 *
 * Every decoded transaction with changes in this database counts, captured or
 * not: the table may be captured only since.  Those that do not run any more,
 * as the process array says, are visible to each later snapshot and need not
 * be remembered.  They are swept out when the array is full, so that it costs
 * a few nanoseconds a transaction.  Takes ProcArrayLock shared in a sweep.
 *
 * What an earlier worker, or this one before it opened the slot anew, decoded
 * is not known.  It had committed then; so all that have committed, but run
 * still, when decoding starts are taken to be decoded.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/twophase.h"
#include "capture/internal.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#define INITIAL_SPACE	4096

struct FeDecodedXids
{
	int			count;
	int			space;
	TransactionId *xids;		/* in the order of their commits */
	TransactionId *running;		/* for a sweep: one per process */
};

static int
compare_xids(const void *a, const void *b)
{
	TransactionId x = *(const TransactionId *) a;
	TransactionId y = *(const TransactionId *) b;

	return (x > y) - (x < y);
}

/* allProcCount leaves out the entries of prepared transactions, at the end. */
static int
all_procs(void)
{
	return ProcGlobal->allProcCount + max_prepared_xacts;
}

/* Into set->running: all xids in the process array, in order. */
static int
list_running(FeDecodedXids *set)
{
	int			nprocs = all_procs();
	int			nrunning = 0;

	LWLockAcquire(ProcArrayLock, LW_SHARED);
	for (int i = 0; i < nprocs; i++)
	{
		TransactionId xid = ProcGlobal->allProcs[i].xid;

		if (TransactionIdIsValid(xid))
			set->running[nrunning++] = xid;
	}
	LWLockRelease(ProcArrayLock);
	qsort(set->running, nrunning, sizeof(TransactionId), compare_xids);
	return nrunning;
}

/*
 * Forgets all that do not run any more.  A transaction's xid is taken out of
 * its PGPROC under ProcArrayLock, which snapshots take, too: what is not there
 * now is seen by every snapshot from now on.
 */
static void
sweep(FeDecodedXids *set)
{
	int			nrunning = list_running(set);
	int			kept = 0;

	for (int i = 0; i < set->count; i++)
	{
		if (bsearch(&set->xids[i], set->running, nrunning, sizeof(TransactionId),
					compare_xids) != NULL)
			set->xids[kept++] = set->xids[i];
	}
	set->count = kept;
}

/*
 * Waits until the outcome of all flushed commit records stands in the commit
 * log.  From before it inserts the record until then, a backend holds off
 * checkpoints, which need to know the same.
 */
static void
wait_for_commit_log(void)
{
	int			n;
	VirtualTransactionId *committing = GetVirtualXIDsDelayingChkpt(&n, DELAY_CHKPT_START);

	while (n > 0 && HaveVirtualXIDsDelayingChkpt(committing, n, DELAY_CHKPT_START))
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(1000L);
	}
	pfree(committing);
}

/* In the current memory context; see above for what is in it at first. */
FeDecodedXids *
fe_decoded_xids_create(void)
{
	FeDecodedXids *set = palloc0(sizeof(FeDecodedXids));
	int			nrunning;

	set->space = INITIAL_SPACE;
	set->xids = palloc(set->space * sizeof(TransactionId));
	set->running = palloc(all_procs() * sizeof(TransactionId));

	wait_for_commit_log();
	nrunning = list_running(set);
	for (int i = 0; i < nrunning; i++)
		if (TransactionIdDidCommit(set->running[i]))
			fe_decoded_xids_add(set, set->running[i]);
	return set;
}

void
fe_decoded_xids_add(FeDecodedXids *set, TransactionId xid)
{
	if (unlikely(set->count == set->space))
	{
		sweep(set);
		if (set->count > set->space / 2)
		{
			set->space *= 2;
			set->xids = repalloc(set->xids, set->space * sizeof(TransactionId));
		}
	}
	set->xids[set->count++] = xid;
}

int
fe_decoded_xids_unsettled(FeDecodedXids *set, const TransactionId **xids)
{
	sweep(set);
	*xids = set->xids;
	return set->count;
}

bool
fe_decoded_xids_member(const FeDecodedXids *set, TransactionId xid)
{
	/* the ones asked for are young */
	for (int i = set->count - 1; i >= 0; i--)
		if (set->xids[i] == xid)
			return true;
	return false;
}

/* Is there any from this xid on?  Ones forgotten for ages do not count. */
bool
fe_decoded_xids_from(const FeDecodedXids *set, TransactionId xid)
{
	TransactionId next = ReadNextTransactionId();

	for (int i = 0; i < set->count; i++)
		if (TransactionIdFollowsOrEquals(set->xids[i], xid) &&
			TransactionIdPrecedes(set->xids[i], next))
			return true;
	return false;
}
