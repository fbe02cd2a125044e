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

/* ---- caches.c ---- */

extern void fe_caches_watch(void);
extern void fe_caches_switch(XLogRecPtr decoded);

/* ---- settled.c ---- */

typedef struct FeDecodedXids FeDecodedXids;

extern FeDecodedXids *fe_decoded_xids_create(void);
extern void fe_decoded_xids_add(FeDecodedXids *set, TransactionId xid);
extern bool fe_decoded_xids_member(const FeDecodedXids *set, TransactionId xid);
extern bool fe_decoded_xids_from(const FeDecodedXids *set, TransactionId xid);

/* ---- slot.c ---- */

/* Adds this library to output_plugin_libraries for this process. */
extern void fe_slot_allow_plugin(void);
/* ERROR where the slot that this process holds was made by somebody else. */
extern void fe_slot_require_own(Oid dboid);

#endif							/* FE_CAPTURE_INTERNAL_H */
