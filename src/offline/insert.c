/*
 * insert.c
 *		Statements over offered rows.
 *
 * In the pusher, in its transactions, with SPI connected.  All rows go in with one
 * statement.  Where one of them is too much for an index (keys of more than a third
 * of a page, say), the statement is done again for ever smaller parts of them, each in a
 * subtransaction, until that row is found; it is left out.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "offline/internal.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/resowner.h"
#include "utils/tuplestore.h"

int
fe_offline_execute_over(FeOffline *h, FeOfflineStatement statement, FeOfflineState state,
						int from, int to, int expected)
{
	/* after an error in a subtransaction SPI still knows it */
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	int			n = 0;
	int			result;

	for (int i = from; i < to; i++)
	{
		if (h->offered[i].state != state)
			continue;
		tuplestore_puttuple(store, h->offered[i].tuple);
		n++;
	}
	enr->md.name = FE_OFFLINE_ROWS;
	enr->md.tupdesc = h->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = n;
	enr->reldata = store;
	if (n > 0)
	{
		if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
			elog(ERROR, "could not hand over rows");
		result = SPI_execute_plan(fe_offline_statement(h, statement), NULL, NULL, false, 0);
		if (result != expected)
			elog(ERROR, "statement on history failed: %s", SPI_result_code_string(result));
		SPI_unregister_relation(FE_OFFLINE_ROWS);
	}
	tuplestore_end(store);
	return n;
}

/* False: a row of these exceeds a limit, and none was inserted; *why says which limit. */
static bool
try_insert(FeOffline *h, int from, int to, int *inserted, char **why)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		int			n = fe_offline_execute_over(h, FE_OFFLINE_INSERT, FE_OFFLINE_NEW, from, to,
												SPI_OK_INSERT);

		ReleaseCurrentSubTransaction();
		*inserted += n;
		ok = true;
	}
	PG_CATCH();
	{
		ErrorData  *edata = fe_worker_caught_inside(cxt);

		CurrentResourceOwner = owner;
		(void) SPI_unregister_relation(FE_OFFLINE_ROWS);
		if (edata->sqlerrcode != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			ReThrowError(edata);
		*why = MemoryContextStrdup(h->slice_cxt, edata->message);
		FreeErrorData(edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	return ok;
}

static void
insert_part(FeOffline *h, int from, int to, int *inserted, char **why)
{
	char	   *reason = NULL;

	if (try_insert(h, from, to, inserted, &reason))
		return;
	if (to - from > 1)
	{
		int			middle = from + (to - from) / 2;

		insert_part(h, from, middle, inserted, why);
		insert_part(h, middle, to, inserted, why);
		return;
	}
	h->offered[from].state = FE_OFFLINE_LEFT_OUT;
	*why = reason;
}

int
fe_offline_insert_carefully(FeOffline *h, char **why)
{
	int			inserted = 0;

	insert_part(h, 0, h->noffered, &inserted, why);
	return inserted;
}
