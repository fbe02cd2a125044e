/*
 * compat.h
 *		Differences between PostgreSQL versions: the only file of the project
 *		that looks at PG_VERSION_NUM.
 *
 * Each entry gives one name of our own to what several versions spell
 * differently.  The versions in use are those of "make test-matrix".
 *
 * The first part is for every program, unit tests included; the rest is for
 * the server.
 */
#ifndef FE_COMPAT_H
#define FE_COMPAT_H

/* Headers of variable-length values: part of postgres.h up to 15. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Stands before everything else in the declaration of a function that does not return. */
#if PG_VERSION_NUM >= 180000
#define fe_compat_noreturn	pg_noreturn
#else
#define fe_compat_noreturn	pg_attribute_noreturn()
#endif

/*
 * Parameters of server functions for which unit tests have doubles: what 16
 * dropped from ExceptionalCondition, and of what type appendBinaryStringInfo's
 * data are.
 */
#if PG_VERSION_NUM >= 160000
#define FE_COMPAT_ASSERTION_ARGS	const char *condition, const char *file, int line
typedef const void FeCompatBinary;
typedef const void FeCompatFileBytes;
#else
#define FE_COMPAT_ASSERTION_ARGS \
	const char *condition, const char *error_type, const char *file, int line
typedef const char FeCompatBinary;
typedef void FeCompatFileBytes;
#endif

/* Does the collation order text by its bytes?  (The caller includes pg_locale.h.) */
#if PG_VERSION_NUM >= 180000
#define fe_compat_collate_is_c(collation) \
	(pg_newlocale_from_collation(collation)->collate_is_c)
#else
#define fe_compat_collate_is_c(collation) lc_collate_is_c(collation)
#endif

#ifndef FE_FRONTEND

#include "access/tupdesc.h"
#include "catalog/pg_database.h"
#include "utils/acl.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#if PG_VERSION_NUM >= 180000
#include "nodes/nodeFuncs.h"
#endif

/* ExplainState and the functions that print properties. */
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#else
#include "commands/explain.h"
#endif

/* May this role do to the database what its owner may do? */
#if PG_VERSION_NUM >= 160000
#define fe_compat_database_ownercheck(dboid, roleid) \
	object_ownercheck(DatabaseRelationId, (dboid), (roleid))
#else
#define fe_compat_database_ownercheck(dboid, roleid) \
	pg_database_ownercheck((dboid), (roleid))
#endif

/* Memory that check hooks hand over: malloc's own up to 15. */
#if PG_VERSION_NUM >= 160000
#define fe_compat_guc_malloc(size)	guc_malloc(LOG, (size))
#define fe_compat_guc_free(ptr)		guc_free(ptr)
#else
#define fe_compat_guc_malloc(size)	malloc(size)
#define fe_compat_guc_free(ptr)		free(ptr)
#endif

/* DecodeDateTime got a parameter for details of errors. */
static inline int
fe_compat_decode_datetime(char **field, int *ftype, int nf, int *dtype,
						  struct pg_tm *tm, fsec_t *fsec, int *tz)
{
#if PG_VERSION_NUM >= 160000
	DateTimeErrorExtra extra;

	return DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz, &extra);
#else
	return DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz);
#endif
}

/* ---- logical decoding (capture) ---- */

/* The tuple of a decoded change: wrapped up to 16. */
#if PG_VERSION_NUM >= 170000
#define fe_compat_change_tuple(t)	(t)
#else
#define fe_compat_change_tuple(t)	(&(t)->tuple)
#endif

/* Has the server taken the slot's WAL away (ReplicationSlotPersistentData)? */
#if PG_VERSION_NUM >= 160000
#define fe_compat_slot_invalidated(data) \
	((data)->invalidated != RS_INVAL_NONE || XLogRecPtrIsInvalid((data)->restart_lsn))
#else
#define fe_compat_slot_invalidated(data) XLogRecPtrIsInvalid((data)->restart_lsn)
#endif

/* Was it brought up to date from the primary while this server was a standby? */
#if PG_VERSION_NUM >= 170000
#define fe_compat_slot_synced(data) ((data)->synced)
#else
#define fe_compat_slot_synced(data) false
#endif

/* A logical slot of this database; standbys may keep it up to date, from 17 on. */
#if PG_VERSION_NUM >= 170000
#define fe_compat_slot_create(name, persistency) \
	ReplicationSlotCreate((name), true, (persistency), false, true, false)
#else
#define fe_compat_slot_create(name, persistency) \
	ReplicationSlotCreate((name), true, (persistency), false)
#endif

/*
 * Have the standbys that must not fall behind (synchronized_standby_slots) the
 * log up to there?  (The caller includes replication/slot.h.)
 */
#if PG_VERSION_NUM >= 170000
#define fe_compat_standbys_have(slot, lsn) \
	(!(slot)->data.failover || StandbySlotsHaveCaughtup((lsn), DEBUG1))
#else
#define fe_compat_standbys_have(slot, lsn)	true
#endif

/* Does pg_upgrade take slots of this version along? */
#if PG_VERSION_NUM >= 170000
#define FE_COMPAT_UPGRADE_TAKES_SLOTS	true
#else
#define FE_COMPAT_UPGRADE_TAKES_SLOTS	false
#endif

/* ERROR at once where another process holds it. */
#if PG_VERSION_NUM >= 180000
#define fe_compat_slot_acquire(name) ReplicationSlotAcquire((name), true, false)
#else
#define fe_compat_slot_acquire(name) ReplicationSlotAcquire((name), true)
#endif

/*
 * Of a transaction that has to be spilled, 18 looks whether it is known to be
 * rolled back.  It then lets go of its changes, but marks its subtransactions as
 * streamed, and announces their end to a plugin that does not stream: an ERROR
 * where there is no callback for it.  There is nothing to do.
 */
#if PG_VERSION_NUM >= 180000
struct LogicalDecodingContext;
struct ReorderBufferTXN;

static inline void
fe_compat_stream_abort_cb(struct LogicalDecodingContext *ctx, struct ReorderBufferTXN *txn,
						  XLogRecPtr abort_lsn)
{
}
#define fe_compat_ignore_stream_abort(cb) ((cb)->stream_abort_cb = fe_compat_stream_abort_cb)
#else
#define fe_compat_ignore_stream_abort(cb)	((void) 0)
#endif

/* What deforming a tuple needs of an attribute: a struct of its own from 18. */
#if PG_VERSION_NUM >= 180000
typedef CompactAttribute FeCompatDeformAttr;
#define fe_compat_deform_attr(desc, i)	TupleDescCompactAttr((desc), (i))
#define fe_compat_align_nominal(off, att) att_nominal_alignby((off), (att)->attalignby)
#define fe_compat_align_pointer(off, att, ptr) \
	att_pointer_alignby((off), (att)->attalignby, (att)->attlen, (ptr))
#else
typedef FormData_pg_attribute FeCompatDeformAttr;
#define fe_compat_deform_attr(desc, i)	TupleDescAttr((desc), (i))
#define fe_compat_align_nominal(off, att) att_align_nominal((off), (att)->attalign)
#define fe_compat_align_pointer(off, att, ptr) \
	att_align_pointer((off), (att)->attalign, (att)->attlen, (ptr))
#endif

/* Is this role an owner of the relation? */
#if PG_VERSION_NUM >= 160000
#define fe_compat_class_ownercheck(relid, roleid) \
	object_ownercheck(RelationRelationId, (relid), (roleid))
#else
#define fe_compat_class_ownercheck(relid, roleid) \
	pg_class_ownercheck((relid), (roleid))
#endif

/* May this role call the function? */
#if PG_VERSION_NUM >= 160000
#define fe_compat_may_execute(funcid, roleid) \
	(object_aclcheck(ProcedureRelationId, (funcid), (roleid), ACL_EXECUTE) == ACLCHECK_OK)
#else
#define fe_compat_may_execute(funcid, roleid) \
	(pg_proc_aclcheck((funcid), (roleid), ACL_EXECUTE) == ACLCHECK_OK)
#endif

/* ERROR unless the current user may run this query (its own range table). */
#if PG_VERSION_NUM >= 160000
#define fe_compat_check_permissions(query) \
	((void) ExecCheckPermissions((query)->rtable, (query)->rteperminfos, true))
#else
#define fe_compat_check_permissions(query) \
	((void) ExecCheckRTPerms((query)->rtable, true))
#endif

/* A name as the user wrote it, split at its dots; ERROR where it is malformed. */
#if PG_VERSION_NUM >= 160000
#define fe_compat_qualified_name(text) stringToQualifiedNameList((text), NULL)
#else
#define fe_compat_qualified_name(text) stringToQualifiedNameList(text)
#endif

/* Number of this backend's transaction, assigned even to those that only read. */
#if PG_VERSION_NUM >= 170000
#define fe_compat_my_lxid()	(MyProc->vxid.lxid)
#else
#define fe_compat_my_lxid()	(MyProc->lxid)
#endif

/* A message in the WAL that is decoded at once, not with its transaction; not flushed. */
#if PG_VERSION_NUM >= 170000
#define fe_compat_log_message(prefix, data, len) \
	LogLogicalMessage((prefix), (data), (len), false, false)
#else
#define fe_compat_log_message(prefix, data, len) \
	LogLogicalMessage((prefix), (data), (len), false)
#endif

/*
 * From 18 on, the columns of an analysed query with GROUP BY refer to an item of
 * the range table that holds the grouping expressions.  Puts the expressions
 * themselves in their place, as they were up to 17; changes the query.  (The
 * server's flatten_group_exprs loses their positions in the query's text.)
 */
#if PG_VERSION_NUM >= 180000
static inline Node *
fe_compat_inline_group_mutator(Node *node, void *arg)
{
	List	   *rtable = arg;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *) node)->varlevelsup == 0)
	{
		RangeTblEntry *rte = list_nth(rtable, ((Var *) node)->varno - 1);

		if (rte->rtekind == RTE_GROUP)
			return copyObject(list_nth(rte->groupexprs, ((Var *) node)->varattno - 1));
	}
	return expression_tree_mutator(node, fe_compat_inline_group_mutator, arg);
}

static inline void
fe_compat_inline_group_columns(Query *query)
{
	if (!query->hasGroupRTE)
		return;
	query->targetList = (List *)
		fe_compat_inline_group_mutator((Node *) query->targetList, query->rtable);
	query->havingQual = fe_compat_inline_group_mutator(query->havingQual, query->rtable);
}
#else
#define fe_compat_inline_group_columns(query)	((void) 0)
#endif

/*
 * Is the column computed when it is read, so that rows and changes hold none of
 * its values?  (The caller includes lsyscache.h.)
 */
#if PG_VERSION_NUM >= 180000
#define fe_compat_is_virtual_column(relid, attno) \
	(get_attgenerated((relid), (attno)) == ATTRIBUTE_GENERATED_VIRTUAL)
#else
#define fe_compat_is_virtual_column(relid, attno)	false
#endif

/*
 * Does SQL/JSON syntax hide a conversion that depends on the session, as that of
 * a timestamptz in JSON_OBJECT() does?  No function shows in the node.  (The
 * caller includes optimizer.h.)
 */
#if PG_VERSION_NUM >= 170000
#define fe_compat_is_mutable_json(node) \
	((IsA((node), JsonConstructorExpr) || IsA((node), JsonExpr)) && \
	 contain_mutable_functions(node))
#elif PG_VERSION_NUM >= 160000
#define fe_compat_is_mutable_json(node) \
	(IsA((node), JsonConstructorExpr) && contain_mutable_functions(node))
#else
#define fe_compat_is_mutable_json(node)	false
#endif

/* ---- planning (serve) ---- */

/*
 * A path that scans a foreign table: no order, no start-up cost, nothing to
 * recheck.  17 added clauses (of joins only), 18 a count of disabled nodes.
 */
#if PG_VERSION_NUM >= 180000
#define fe_compat_foreignscan_path(root, rel, rows, cost, outer, private_list) \
	create_foreignscan_path((root), (rel), NULL, (rows), 0, 0, (cost), NIL, (outer), NULL, NIL, \
							(private_list))
#elif PG_VERSION_NUM >= 170000
#define fe_compat_foreignscan_path(root, rel, rows, cost, outer, private_list) \
	create_foreignscan_path((root), (rel), NULL, (rows), 0, (cost), NIL, (outer), NULL, NIL, \
							(private_list))
#else
#define fe_compat_foreignscan_path(root, rel, rows, cost, outer, private_list) \
	create_foreignscan_path((root), (rel), NULL, (rows), 0, (cost), NIL, (outer), NULL, \
							(private_list))
#endif

/* A range from its bounds; they are in order. */
#if PG_VERSION_NUM >= 160000
#define fe_compat_make_range(type, lower, upper) make_range((type), (lower), (upper), false, NULL)
#else
#define fe_compat_make_range(type, lower, upper) make_range((type), (lower), (upper), false)
#endif

/* Expected number of elements of an array expression. */
#if PG_VERSION_NUM >= 170000
#define fe_compat_estimate_array_length(root, array) estimate_array_length((root), (array))
#else
#define fe_compat_estimate_array_length(root, array) estimate_array_length(array)
#endif

#endif							/* FE_FRONTEND */

/* ---- aggregates ---- */

/*
 * Which infinity an interval is: 1, -1, 0 for none; up to 16 there is none.  (The
 * caller includes timestamp.h.)
 */
#if PG_VERSION_NUM >= 170000
#define fe_compat_interval_infinity(i) (INTERVAL_IS_NOEND(i) ? 1 : INTERVAL_IS_NOBEGIN(i) ? -1 : 0)
#define fe_compat_interval_set_infinity(i, positive) \
	do { if (positive) INTERVAL_NOEND(i); else INTERVAL_NOBEGIN(i); } while (0)
#else
#define fe_compat_interval_infinity(i)	((void) (i), 0)
#define fe_compat_interval_set_infinity(i, positive)	((void) (i))
#endif

/* Is an overflow of money noticed?  Up to 17 it wraps round. */
#if PG_VERSION_NUM >= 180000
#define FE_COMPAT_MONEY_IS_CHECKED	true
#else
#define FE_COMPAT_MONEY_IS_CHECKED	false
#endif

#endif							/* FE_COMPAT_H */
