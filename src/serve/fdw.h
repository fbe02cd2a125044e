/*
 * fdw.h
 *		What the planner's and the executor's side of the relation form share.
 *		No other room includes this.
 *
 * fdw_private of a ForeignScan: (wanted columns, lookup?, key that is an
 * array or -1, view's id, types of the keys' values, types of the keys).
 * fdw_exprs: of a lookup, one expression per key, then the conditions that the
 * lookup fulfils (for EXPLAIN; where rows may be rechecked, they are in
 * fdw_recheck_quals, too).
 */
#ifndef FE_FDW_H
#define FE_FDW_H

#include "catalog/pg_type.h"
#include "nodes/execnodes.h"
#include "runtime/compat.h"

#include "serve/serve.h"

static inline bool
fe_is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/*
 * A value of another integer type as the key's.  False: out of range, so that
 * no entity can have it.
 */
extern bool fe_integer_as(Oid key_type, Oid value_type, Datum *value);

extern void fe_fdw_begin(ForeignScanState *node, int eflags);
extern TupleTableSlot *fe_fdw_iterate(ForeignScanState *node);
extern void fe_fdw_rescan(ForeignScanState *node);
extern void fe_fdw_end(ForeignScanState *node);
extern void fe_fdw_explain(ForeignScanState *node, ExplainState *es);

#endif							/* FE_FDW_H */
