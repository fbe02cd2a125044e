/*
 * internal.h
 *		Shared by the files of this room, for no other.
 */
#ifndef FE_CAPTURE_INTERNAL_H
#define FE_CAPTURE_INTERNAL_H

#include "capture/capture.h"

/* ---- batch.c ---- */

/* Transactions above this size go to a temporary file piece by piece. */
#define FE_BATCH_MEMORY		(64 * 1024 * 1024)

/* Moves what is in memory to the temporary file; fe_batch_buffer is empty then. */
extern void fe_batch_spill(FeBatch *batch);
/* To be called when the batch is complete, before it is read. */
extern void fe_batch_finish(FeBatch *batch, uint64 transactions);

/* ---- decoder.c ---- */

typedef struct FePluginSink FePluginSink;
typedef struct FeDecoder FeDecoder;

/*
 * Acquires this database's slot and prepares decoding from start_lsn (or the
 * slot's confirmed position when that is later).  The sink needs its tables
 * before the first read.
 */
extern FeDecoder *fe_decoder_open(XLogRecPtr start_lsn, FePluginSink *sink);
/* Tables and columns from now on, in their text form (set.c). */
extern void fe_decoder_set_tables(FeDecoder *d, const char *tables);
/*
 * Decodes into the sink until the end of flushed WAL, or until it holds about
 * max_bytes, or for a fair amount of WAL.  Returns the position before which
 * everything that committed has been decoded.
 */
extern XLogRecPtr fe_decoder_read(FeDecoder *d, int max_bytes, bool *at_end);
extern bool fe_decoder_at_end(FeDecoder *d);
extern void fe_decoder_flush_to(XLogRecPtr lsn);
/* May the slot be moved to where only a standby with this much log can follow? */
extern bool fe_decoder_standbys_have(XLogRecPtr lsn);
/* The slot need not keep WAL for transactions that ended before lsn. */
extern void fe_decoder_confirm(FeDecoder *d, XLogRecPtr lsn);

/* ---- settled.c ---- */

typedef struct FeDecodedXids FeDecodedXids;

extern FeDecodedXids *fe_decoded_xids_create(void);
extern void fe_decoded_xids_add(FeDecodedXids *set, TransactionId xid);
extern bool fe_decoded_xids_member(const FeDecodedXids *set, TransactionId xid);
extern bool fe_decoded_xids_from(const FeDecodedXids *set, TransactionId xid);
/* Those that snapshots may not see yet, as of now. */
extern int	fe_decoded_xids_unsettled(FeDecodedXids *set, const TransactionId **xids);

/* ---- slot.c ---- */

/* Adds this library to output_plugin_libraries for this process. */
extern void fe_slot_allow_plugin(void);
/* ERROR where the slot that this process holds was made or moved by somebody else. */
extern void fe_slot_require_own(Oid dboid);

#endif							/* FE_CAPTURE_INTERNAL_H */
