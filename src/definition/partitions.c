/*
 * partitions.c
 *		The partitions of a table, and what became of them.
 *
 * The log tells of every row that changes in a partition, but not of the rows
 * that come and go with a partition: ATTACH, DETACH and DROP are changes of
 * catalogues.  So whoever keeps state built from a partitioned table keeps the
 * list of partitions with it, and compares it with today's.  A partition is
 * named by its OID and the transaction that attached it: one that was detached
 * and attached again is another one, whatever happened in between.
 *
 * Runs in every process; catalogues only, by the latest snapshot, without locks
 * on the tables.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "common/hashfn.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "definition/definition.h"

bool
fe_is_partitioned(Oid relid)
{
	return get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE;
}

bool
fe_plan_reads_partitions(const FePlan *plan)
{
	for (int i = 0; i < plan->narms; i++)
		if (fe_is_partitioned(plan->arms[i].source))
			return true;
	return false;
}

/* ---- the list ------------------------------------------------------------------- */

static int
compare_partitions(const void *a, const void *b)
{
	const FePartition *x = a;
	const FePartition *y = b;

	if (x->relid != y->relid)
		return x->relid < y->relid ? -1 : 1;
	return (x->attached > y->attached) - (x->attached < y->attached);
}

static void
add_partition(FePartitions *list, Oid relid, TransactionId attached)
{
	if (list->n == list->max)
	{
		list->max = Max(list->max * 2, 16);
		list->items = list->items ? repalloc(list->items, list->max * sizeof(FePartition)) :
			palloc(list->max * sizeof(FePartition));
	}
	list->items[list->n++] = (FePartition)
	{
		relid, attached
	};
}

/* The tables directly below; one whose DETACH CONCURRENTLY has begun is none of them. */
static void
add_children(FePartitions *list, Relation inherits, Oid parent)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tup;

	ScanKeyInit(&key, Anum_pg_inherits_inhparent, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(parent));
	scan = systable_beginscan(inherits, InheritsParentIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		Form_pg_inherits form = (Form_pg_inherits) GETSTRUCT(tup);

		if (!form->inhdetachpending)
			add_partition(list, form->inhrelid, HeapTupleHeaderGetRawXmin(tup->t_data));
	}
	systable_endscan(scan);
}

void
fe_partitions_add(FePartitions *list, Oid root, void (*look_at) (Oid relid))
{
	Relation	inherits;
	int			next = list->n;
	Oid			parent = root;

	if (!fe_is_partitioned(root))
		return;
	inherits = table_open(InheritsRelationId, AccessShareLock);
	for (;;)
	{
		if (look_at)
			look_at(parent);
		add_children(list, inherits, parent);
		while (next < list->n && !fe_is_partitioned(list->items[next].relid))
			next++;
		if (next == list->n)
			break;
		parent = list->items[next++].relid;
	}
	table_close(inherits, AccessShareLock);
}

static void
sort_partitions(FePartitions *list)
{
	int			n = 0;

	if (list->n == 0)
		return;
	qsort(list->items, list->n, sizeof(FePartition), compare_partitions);
	for (int i = 1; i < list->n; i++)
		if (compare_partitions(&list->items[n], &list->items[i]) != 0)
			list->items[++n] = list->items[i];
	list->n = n + 1;
}

FePartitions *
fe_partitions_of_plan(const FePlan *plan, void (*look_at) (Oid relid))
{
	FePartitions *list = palloc0(sizeof(FePartitions));

	for (int i = 0; i < plan->narms; i++)
		fe_partitions_add(list, plan->arms[i].source, look_at);
	sort_partitions(list);
	return list;
}

uint64
fe_partitions_hash(const FePartitions *list)
{
	return list->n == 0 ? 0 :
		DatumGetUInt64(hash_any_extended((unsigned char *) list->items,
										 list->n * sizeof(FePartition), 0));
}

/* ---- was a partition there from the beginning? ----------------------------------- */

/*
 * CREATE TABLE ... PARTITION OF makes an empty table whose columns are inherited
 * when they are first written, by the command that also writes the system
 * columns.  Whatever else makes a table a partition (ATTACH, perhaps in the
 * transaction that created and filled it) writes its columns anew.  So a
 * column that is still as it was tells that no row of the table was ever
 * outside of the partitioned one.  Where none is (all were altered), we do not
 * know, and say no.
 */
static bool
is_untouched(HeapTuple tup)
{
	/* else the command number may be that of another command */
	return HeapTupleHeaderGetRawXmax(tup->t_data) == InvalidTransactionId;
}

static bool
was_born_as_partition(const FePartition *partition)
{
	Relation	rel = table_open(AttributeRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tup;
	bool		known = false;
	bool		born = false;
	CommandId	command = 0;

	/* in the order of attribute numbers: system columns come first */
	ScanKeyInit(&key, Anum_pg_attribute_attrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(partition->relid));
	scan = systable_beginscan(rel, AttributeRelidNumIndexId, true, NULL, 1, &key);
	while (!born && HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		Form_pg_attribute att = (Form_pg_attribute) GETSTRUCT(tup);

		if (!is_untouched(tup) ||
			HeapTupleHeaderGetRawXmin(tup->t_data) != partition->attached)
			continue;
		if (att->attnum == TableOidAttributeNumber)
		{
			known = true;
			command = HeapTupleHeaderGetRawCommandId(tup->t_data);
		}
		else if (att->attnum > 0 && known)
			born = !att->attisdropped && att->attinhcount > 0 &&
				HeapTupleHeaderGetRawCommandId(tup->t_data) == command;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return born;
}

/* ---- comparing ------------------------------------------------------------------- */

FePartitionsChange
fe_partitions_compare(const FePartitions *old, const FePartitions *new)
{
	FePartitionsChange change = FE_PARTITIONS_SAME;
	int			o = 0;

	for (int n = 0; n < new->n; n++)
	{
		int			order = o < old->n ? compare_partitions(&old->items[o], &new->items[n]) : 1;

		if (order < 0)
			return FE_PARTITIONS_OTHERS;	/* one is gone */
		if (order == 0)
			o++;
		else if (was_born_as_partition(&new->items[n]))
			change = FE_PARTITIONS_GREW;
		else
			return FE_PARTITIONS_OTHERS;
	}
	return o < old->n ? FE_PARTITIONS_OTHERS : change;
}

/* ---- the stored form ---------------------------------------------------------------- */

bytea *
fe_partitions_encode(const FePartitions *list)
{
	Size		size = list->n * sizeof(FePartition);
	bytea	   *data = palloc(VARHDRSZ + size);

	SET_VARSIZE(data, VARHDRSZ + size);
	if (size > 0)
		memcpy(VARDATA(data), list->items, size);
	return data;
}

FePartitions *
fe_partitions_decode(const bytea *data)
{
	FePartitions *list = palloc0(sizeof(FePartitions));
	Size		size = VARSIZE_ANY_EXHDR(data);

	/* whatever it is, it is not today's list then */
	if (size == 0 || size % sizeof(FePartition) != 0)
		return list;
	list->n = list->max = size / sizeof(FePartition);
	list->items = palloc(size);
	memcpy(list->items, VARDATA_ANY(data), size);
	sort_partitions(list);
	return list;
}
