/* links: src/capture/record.c src/capture/batch.c */
/* flags: -Wno-missing-field-initializers -Wno-unused-function -DUSE_ASSERT_CHECKING=1 */
/* flags: -DWINDOW_BYTES=64 */
/*
 * record.c
 *		Fuzz target: change records, from memory and through a batch's file.
 *
 * Input: a byte with the number of captured columns, a byte that chooses their
 * forms (rows.h), six unused ones, then records.  They must be read the same
 * way from memory and from a file, of which a small window is in memory; all
 * that they say must lie inside of the input.
 */
#include "../unit/rows.h"
#include "capture/internal.h"
#include "fuzz.h"
#include "storage/buffile.h"

#define HEAD	8

/* ---- doubles of what batch.c wants from a server ------------------------------ */

MemoryContext CurrentMemoryContext = NULL;
MemoryContext TopMemoryContext = NULL;
static void *pieces[16];		/* of the one context */

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name, Size a, Size b, Size c)
{
	return NULL;
}

static void
replace_piece(void *old, void *new)
{
	for (int i = 0; i < lengthof(pieces); i++)
	{
		if (pieces[i] != old)
			continue;
		pieces[i] = new;
		return;
	}
	fuzz_bug("too many pieces of memory, or an unknown one");
}

void *
MemoryContextAlloc(MemoryContext cxt, Size size)
{
	void	   *p = palloc(size);

	replace_piece(NULL, p);
	return p;
}

void *
MemoryContextAllocZero(MemoryContext cxt, Size size)
{
	return memset(MemoryContextAlloc(cxt, size), 0, size);
}

void *
repalloc_huge(void *p, Size size)
{
	void	   *copy = palloc(size);

	replace_piece(p, copy);
	/* as much of it as there was: batch.c only makes pieces larger */
	free(p);
	return copy;
}

void
MemoryContextDelete(MemoryContext cxt)
{
	for (int i = 0; i < lengthof(pieces); i++)
	{
		free(pieces[i]);
		pieces[i] = NULL;
	}
}

int
errcode_for_file_access(void)
{
	return errcode(ERRCODE_IO_ERROR);
}
