/*
 * type_form.c
 *		What the text form of a type's values depends on beside the values.
 *
 * An enum's labels can be renamed, and a composite type can get another
 * attribute, while values stay as they are.  SQL shows the new form at once; what
 * is in Redis must be written again.  So the form is part of what a plan's
 * version is made of, and plan.c looks at it whenever such a type changes.
 * Runs wherever a definition is compiled; takes no locks beyond the catalogues'.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "definition/definition.h"

static int
compare_labels(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* Each label with its value's OID, in a fixed order. */
static void
append_labels(StringInfo buf, Oid type)
{
	CatCList   *members = SearchSysCacheList1(ENUMTYPOIDNAME, ObjectIdGetDatum(type));
	List	   *labels = NIL;
	ListCell   *lc;

	for (int i = 0; i < members->n_members; i++)
	{
		Form_pg_enum form = (Form_pg_enum) GETSTRUCT(&members->members[i]->tuple);

		labels = lappend(labels, psprintf("%u=%s", form->oid, NameStr(form->enumlabel)));
	}
	ReleaseSysCacheList(members);
	list_sort(labels, compare_labels);
	foreach(lc, labels)
		appendStringInfo(buf, "%s,", (char *) lfirst(lc));
}

static void
append_attributes(StringInfo buf, Oid relid, List **relations)
{
	int			natts = 0;
	HeapTuple	tup = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));

	if (HeapTupleIsValid(tup))
	{
		natts = ((Form_pg_class) GETSTRUCT(tup))->relnatts;
		ReleaseSysCache(tup);
	}
	*relations = list_append_unique_oid(*relations, relid);
	appendStringInfoChar(buf, '(');
	for (int i = 1; i <= natts; i++)
	{
		Oid			type = InvalidOid;

		tup = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(i));
		if (!HeapTupleIsValid(tup))
			continue;
		if (!((Form_pg_attribute) GETSTRUCT(tup))->attisdropped)
			type = ((Form_pg_attribute) GETSTRUCT(tup))->atttypid;
		ReleaseSysCache(tup);
		if (OidIsValid(type))
			fe_append_type_form(buf, type, relations);
		appendStringInfoChar(buf, ',');
	}
	appendStringInfoChar(buf, ')');
}

void
fe_append_type_form(StringInfo buf, Oid type, List **relations)
{
	Oid			element;

	type = getBaseType(type);
	element = get_element_type(type);
	if (OidIsValid(element))
	{
		fe_append_type_form(buf, element, relations);
		return;
	}
	appendStringInfo(buf, "%u", type);
	switch (get_typtype(type))
	{
		case TYPTYPE_ENUM:
			append_labels(buf, type);
			break;
		case TYPTYPE_COMPOSITE:
			append_attributes(buf, get_typ_typrelid(type), relations);
			break;
		case TYPTYPE_RANGE:
			fe_append_type_form(buf, get_range_subtype(type), relations);
			break;
		case TYPTYPE_MULTIRANGE:
			fe_append_type_form(buf, get_multirange_range(type), relations);
			break;
		default:
			break;
	}
}
