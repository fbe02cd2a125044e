/*
 * stream.h
 *		Between the decoding process and the ingest worker; inside this room
 *		only.
 *
 * One DSM segment holds an FeStreamShared and after it a shm_mq through which
 * messages go from the decoding process (capture_worker.c) to the ingest worker
 * (stream.c).  A message is an FeStreamMessage and its payload.
 */
#ifndef FE_CAPTURE_STREAM_H
#define FE_CAPTURE_STREAM_H

#include "access/xlogdefs.h"
#include "port/atomics.h"
#include "runtime/runtime.h"
#include "storage/dsm.h"
#include "storage/shm_mq.h"

/*
 * Far more than a message, so that neither side waits for the other's every
 * step; small enough to stay in the processors' caches.
 */
#define FE_STREAM_QUEUE_BYTES	(4 * 1024 * 1024)

typedef enum FeStreamKind
{
	FE_STREAM_PIECE = 1,		/* records; their transaction goes on in the next message */
	FE_STREAM_WHOLE,			/* records, if any, up to the end of a transaction */
	FE_STREAM_TABLES			/* from here on: the tables of this generation */
} FeStreamKind;

typedef struct FeStreamMessage
{
	uint32		kind;
	uint32		number;			/* WHOLE: transactions that ended since the last
								 * one; TABLES: generation */
	/* WHOLE: all that committed before is in this or earlier messages */
	XLogRecPtr	position;
	/* TABLES: the xids of what was decoded before and a snapshot may not see */
} FeStreamMessage;

typedef struct FeStreamShared
{
	/* set by the ingest worker before the other side starts */
	XLogRecPtr	start_lsn;		/* decode what committed from here on */
	PGPROC	   *decoder_proc;	/* NULL until it runs */

	pg_atomic_uint32 reader_gone;
	pg_atomic_uint64 confirm_lsn;	/* the slot may go up to here */

	/*
	 * The tables wanted: their text form (set.c) in a segment of its own, which
	 * stays until a message says that the generation is in use.  The handle is
	 * written before the generation.
	 */
	pg_atomic_uint32 tables_handle;
	pg_atomic_uint32 tables_generation;

	char		error[FE_ERROR_LEN];	/* why decoding ended, written before it did */
} FeStreamShared;

#define FE_STREAM_HEAD	MAXALIGN(sizeof(FeStreamShared))

#endif							/* FE_CAPTURE_STREAM_H */
