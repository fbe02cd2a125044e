/*
 * feature_engine.c
 *		Entry point of the library: calls each room's init, nothing else.
 *
 * Runs in the postmaster when the library is in shared_preload_libraries, else
 * in the process that loads it.
 */
#include "postgres.h"

#include "fmgr.h"

#include "memory/heap.h"
#include "online/online.h"
#include "runtime/runtime.h"
#include "state/state.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	fe_runtime_init();
	fe_heap_init();
	fe_state_init();
	fe_online_init();
}
