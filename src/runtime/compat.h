/*
 * compat.h
 *		Differences between PostgreSQL versions: the only file of the project
 *		that looks at PG_VERSION_NUM.
 *
 * Each entry gives one name of our own to what several versions spell
 * differently.  PostgreSQL 15 is the version built and tested now.
 */
#ifndef FE_COMPAT_H
#define FE_COMPAT_H

#include "access/tupdesc.h"
#include "catalog/pg_database.h"
#include "utils/acl.h"
#include "utils/datetime.h"
#include "utils/guc.h"

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

/* A logical slot of this database, without two-phase decoding or failover. */
#if PG_VERSION_NUM >= 170000
#define fe_compat_slot_create(name, persistency) \
	ReplicationSlotCreate((name), true, (persistency), false, false, false)
#else
#define fe_compat_slot_create(name, persistency) \
	ReplicationSlotCreate((name), true, (persistency), false)
#endif

/* ERROR at once where another process holds it. */
#if PG_VERSION_NUM >= 180000
#define fe_compat_slot_acquire(name) ReplicationSlotAcquire((name), true, false)
#else
#define fe_compat_slot_acquire(name) ReplicationSlotAcquire((name), true)
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

#endif							/* FE_COMPAT_H */
