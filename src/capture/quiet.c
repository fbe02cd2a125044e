/*
 * quiet.c
 *		A slot that stands further on than what is stored.
 *
 * In the ingest worker.  Where nothing but this extension's own transactions
 * committed in the database between two positions of the log, state as of the
 * first is as good at the second.  The log itself tells: it is read, not decoded.
 *
 * At an orderly shutdown the slot is so moved past the transactions that stored
 * the last checkpoint.  pg_upgrade asks for that: from 17 on it takes slots along,
 * and refuses to begin while one of them has commits before it, whosesoever.
 * Whoever starts the server again finds the slot ahead of the checkpoint, and
 * looks whether that does harm.
 *
 * Takes the locks of fe_slot_status, and holds the slot for a moment.
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "capture/internal.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "replication/slot.h"
#include "runtime/compat.h"

/* Is the record a commit in this database that is not of our own writing? */
static bool
is_commit_of_others(XLogReaderState *reader)
{
	uint8		operation = XLogRecGetInfo(reader) & XLOG_XACT_OPMASK;
	xl_xact_parsed_commit parsed;

	if (XLogRecGetRmid(reader) != RM_XACT_ID ||
		(operation != XLOG_XACT_COMMIT && operation != XLOG_XACT_COMMIT_PREPARED) ||
		XLogRecGetOrigin(reader) == DoNotReplicateId)
		return false;
	ParseCommitRecord(XLogRecGetInfo(reader), (xl_xact_commit *) XLogRecGetData(reader), &parsed);
	/* below wal_level = logical commits do not tell their database */
	return parsed.dbId == MyDatabaseId || !OidIsValid(parsed.dbId);
}

/*
 * Reads the records that begin from one position on and before another.  Returns
 * the end of the last one; InvalidXLogRecPtr where there is a commit of others
 * among them, or where they cannot all be read.
 */
static XLogRecPtr
end_of_quiet(XLogRecPtr from, XLogRecPtr to)
{
	ReadLocalXLogPageNoWaitPrivate end_of_wal = {0};
	XLogReaderState *reader;
	XLogRecPtr	end = InvalidXLogRecPtr;
	char	   *message;

	reader = XLogReaderAllocate(wal_segment_size, NULL,
								XL_ROUTINE(.page_read = read_local_xlog_page_no_wait,
										   .segment_open = wal_segment_open,
										   .segment_close = wal_segment_close),
								&end_of_wal);
	if (reader == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (!XLogRecPtrIsInvalid(XLogFindNextRecord(reader, from)))
	{
		do
		{
			CHECK_FOR_INTERRUPTS();
			if (XLogReadRecord(reader, &message) == NULL || is_commit_of_others(reader))
			{
				end = InvalidXLogRecPtr;
				break;
			}
			end = reader->EndRecPtr;
		} while (end < to);
	}
	XLogReaderFree(reader);
	return end;
}

/*
 * Does the slot bring all that committed from this position on?  It may stand
 * further on, as long as it keeps the log from there and nothing lies between.
 */
bool
fe_slot_reaches(Oid dboid, XLogRecPtr lsn)
{
	XLogRecPtr	restart;
	XLogRecPtr	confirmed;

	Assert(dboid == MyDatabaseId);
	fe_slot_status(dboid, &restart, &confirmed, NULL);
	if (confirmed <= lsn)
		return true;
	return restart <= lsn && !XLogRecPtrIsInvalid(end_of_quiet(lsn, confirmed));
}

/*
 * Moves the slot from a position up to which everything is stored to the end of
 * the log, if nothing lies between; else leaves it.  The log is kept as before: it
 * is looked at again by fe_slot_reaches.
 */
void
fe_slot_skip_own(Oid dboid, XLogRecPtr lsn)
{
	NameData	name;
	XLogRecPtr	confirmed;
	XLogRecPtr	end;

	Assert(dboid == MyDatabaseId);
	if (fe_slot_status(dboid, NULL, &confirmed, NULL) != FE_SLOT_USABLE || confirmed > lsn)
		return;
	end = end_of_quiet(lsn, GetFlushRecPtr(NULL));
	if (XLogRecPtrIsInvalid(end))
		return;
	fe_slot_name(dboid, &name);
	fe_compat_slot_acquire(NameStr(name));
	SpinLockAcquire(&MyReplicationSlot->mutex);
	MyReplicationSlot->data.confirmed_flush = end;
	SpinLockRelease(&MyReplicationSlot->mutex);
	ReplicationSlotMarkDirty();
	ReplicationSlotSave();
	ReplicationSlotRelease();
}
