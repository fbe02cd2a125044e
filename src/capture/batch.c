/*
 * batch.c
 *		A sequence of change records of whole transactions.
 *
 * Lives in the process that decodes or backfills; no locks.  Records are in one
 * buffer; when decoding one large transaction makes that too long, it is written
 * to a temporary file, and then the whole batch is read from there, a window
 * at a time.
 *
 * The file is made inside a decoding callback, that is in a transaction which
 * decoding aborts afterwards: therefore it is one that outlives transactions
 * (interXact, which belongs to no resource owner).  It is removed with the
 * batch's next use, or when the process exits, however that comes about.
 */
#include "postgres.h"

#include "capture/internal.h"
#include "storage/buffile.h"
#include "utils/memutils.h"

/* What a buffer has to begin with, and is cut back to when it grew beyond ... */
#define BUFFER_BYTES	(256 * 1024)
/* ... this; also what is read from a file at a time. */
#ifndef WINDOW_BYTES
#define WINDOW_BYTES	(1024 * 1024)
#endif
#define KEEP_BYTES		(16 * 1024 * 1024)

struct FeBatch
{
	MemoryContext context;
	StringInfoData buf;			/* records not in the file */
	uint64		transactions;

	/* reading */
	const char *cursor;			/* in buf or window; NULL = at the start */

	BufFile    *file;			/* NULL: all is in memory */
	Size		file_bytes;
	Size		file_read;		/* so many of them are in the window or done */
	char	   *window;
	Size		window_size;
	Size		window_filled;
};

static void
init_buffer(FeBatch *batch, int size)
{
	batch->buf.data = MemoryContextAlloc(batch->context, size);
	batch->buf.maxlen = size;
	resetStringInfo(&batch->buf);
}

/* An empty batch, in a memory context of its own below TopMemoryContext. */
FeBatch *
fe_batch_create(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "feature_engine batch",
												  ALLOCSET_SMALL_SIZES);
	FeBatch    *batch = MemoryContextAllocZero(context, sizeof(FeBatch));

	batch->context = context;
	init_buffer(batch, BUFFER_BYTES);
	return batch;
}

StringInfo
fe_batch_buffer(FeBatch *batch)
{
	return &batch->buf;
}

void
fe_batch_reset(FeBatch *batch)
{
	if (batch->file != NULL)
	{
		BufFileClose(batch->file);
		batch->file = NULL;
		pfree(batch->window);
		batch->window = NULL;
	}
	if (batch->buf.maxlen > KEEP_BYTES)
	{
		pfree(batch->buf.data);
		init_buffer(batch, BUFFER_BYTES);
	}
	resetStringInfo(&batch->buf);
	batch->file_bytes = 0;
	batch->transactions = 0;
	batch->cursor = NULL;
}

void
fe_batch_free(FeBatch *batch)
{
	if (batch->file != NULL)
		BufFileClose(batch->file);
	MemoryContextDelete(batch->context);
}

void
fe_batch_spill(FeBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);

	if (batch->file == NULL)
		batch->file = BufFileCreateTemp(true);
	BufFileWrite(batch->file, batch->buf.data, batch->buf.len);
	batch->file_bytes += batch->buf.len;
	resetStringInfo(&batch->buf);
	MemoryContextSwitchTo(old);
}

void
fe_batch_finish(FeBatch *batch, uint64 transactions)
{
	if (batch->file != NULL)
	{
		fe_batch_spill(batch);
		batch->window_size = WINDOW_BYTES;
		batch->window = MemoryContextAlloc(batch->context, WINDOW_BYTES);
	}
	batch->transactions = transactions;
	fe_batch_rewind(batch);
}

/* Known for batches that decoding made; 0 for those the caller filled. */
uint64
fe_batch_transactions(const FeBatch *batch)
{
	return batch->transactions;
}

Size
fe_batch_bytes(const FeBatch *batch)
{
	return batch->file_bytes + batch->buf.len;
}

bool
fe_batch_in_memory(const FeBatch *batch)
{
	return batch->file == NULL;
}

/* Bytes of the records read since the last rewind. */
Size
fe_batch_bytes_read(const FeBatch *batch)
{
	if (batch->cursor == NULL)
		return 0;
	if (batch->file == NULL)
		return batch->cursor - batch->buf.data;
	return batch->file_read - (batch->window + batch->window_filled - batch->cursor);
}

/* ---- reading ------------------------------------------------------------ */

void
fe_batch_rewind(FeBatch *batch)
{
	batch->cursor = NULL;
	if (batch->file != NULL)
	{
		if (BufFileSeek(batch->file, 0, 0, SEEK_SET) != 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not rewind a temporary file of decoded changes")));
		batch->file_read = 0;
		batch->window_filled = 0;
	}
}

/* Moves what is left in the window to its front and fills it up. */
static void
fill_window(FeBatch *batch, Size needed)
{
	Size		left = batch->cursor ? batch->window + batch->window_filled - batch->cursor : 0;
	Size		wanted;

	if (left > 0 && batch->cursor != batch->window)
		memmove(batch->window, batch->cursor, left);
	if (needed > batch->window_size)
	{
		batch->window_size = needed;
		batch->window = repalloc_huge(batch->window, needed);
	}
	wanted = Min(batch->window_size - left, batch->file_bytes - batch->file_read);
	if (BufFileRead(batch->file, batch->window + left, wanted) != wanted)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read from a temporary file of decoded changes")));
	batch->file_read += wanted;
	batch->window_filled = left + wanted;
	batch->cursor = batch->window;
}

/*
 * Sees to it that the window holds the next record whole.  A length that the
 * file cannot hold is left for fe_record_read to refuse.
 */
static void
fetch_record(FeBatch *batch)
{
	Size		left = batch->cursor ? batch->window + batch->window_filled - batch->cursor : 0;
	uint32		length;

	if (left < sizeof(length))
	{
		if (batch->file_bytes == batch->file_read)
			return;
		fill_window(batch, sizeof(length));
		left = batch->window_filled;
		if (left < sizeof(length))
			return;
	}
	memcpy(&length, batch->cursor, sizeof(length));
	if (length > left && length <= left + (batch->file_bytes - batch->file_read))
		fill_window(batch, length);
}

bool
fe_batch_next(FeBatch *batch, FeRecord *rec)
{
	if (batch->file == NULL)
	{
		if (batch->cursor == NULL)
			batch->cursor = batch->buf.data;
		return fe_record_read(&batch->cursor, batch->buf.data + batch->buf.len, rec);
	}
	fetch_record(batch);
	if (batch->cursor == NULL)
		return false;
	return fe_record_read(&batch->cursor, batch->window + batch->window_filled, rec);
}
