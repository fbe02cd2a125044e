/*
 * features.c
 *		Lists of features over several views: 'view:feature' and 'view:*'.
 *
 * Runs in backends; no locks beyond the catalogues'.  A list is resolved anew
 * wherever it is used, since views get more columns.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/value.h"
#include "runtime/compat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/varlena.h"

#include "definition/definition.h"
#include "definition/services.h"

#define MAX_SIMILAR_NAME	255 /* bytes, of what levenshtein functions take */

/* ---- similar names ----------------------------------------------------------- */

int
fe_hint_similar(const char *name, List *names)
{
	int			len = strlen(name);
	int			best = Max(len / 2, 1) + 1;
	const char *found = NULL;
	ListCell   *lc;

	foreach(lc, names)
	{
		const char *other = lfirst(lc);
		int			distance;

		if (len > MAX_SIMILAR_NAME || strlen(other) > MAX_SIMILAR_NAME)
			continue;
		distance = varstr_levenshtein_less_equal(name, len, other, strlen(other), 1, 1, 1,
												 best - 1, true);
		if (distance < best)
		{
			best = distance;
			found = other;
		}
	}
	return found ? errhint("Perhaps you meant \"%s\".", found) : 0;
}

static List *
view_names(void)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, fe_catalog_read())
	{
		FeCatalogRow *row = lfirst(lc);

		if (row->replaces == 0)
			names = lappend(names, row->name);
	}
	return names;
}

/* ---- one reference ------------------------------------------------------------- */

/* For use inside ereport. */
static int
service_context(const char *service)
{
	return service ? errcontext("feature service \"%s\"", service) : 0;
}

fe_compat_noreturn static void
raise_bad_reference(const char *ref, const char *service)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" does not name a feature", ref),
			 errhint("Write 'view:feature', or 'view:*' for all features of a view."),
			 service_context(service)));
}

/*
 * Where the name of the view ends: at the first colon outside of double quotes.
 * What stands after it is the feature, as it is.
 */
static char *
split_reference(const char *ref, const char **feature, const char *service)
{
	bool		quoted = false;
	const char *c;

	for (c = ref; *c != '\0' && (quoted || *c != ':'); c++)
		if (*c == '"')
			quoted = !quoted;
	if (*c == '\0' || c[1] == '\0' || c == ref)
		raise_bad_reference(ref, service);
	*feature = c + 1;
	return pnstrdup(ref, c - ref);
}

static FePlan *
view_of_reference(const char *ref, const char **feature, const char *service, bool missing_ok)
{
	char	   *view = split_reference(ref, feature, service);
	FePlan	   *plan = fe_plan_by_name(view, true);

	if (plan == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feature view \"%s\" does not exist", view),
				 fe_hint_similar(view, view_names()),
				 service_context(service)));
	return plan;
}

bool
fe_feature_of_view(const char *ref, const char *view)
{
	const char *feature;
	List	   *names = fe_compat_qualified_name(split_reference(ref, &feature, NULL));

	return strcmp(strVal(llast(names)), view) == 0;
}

char *
fe_feature_stored(const char *ref)
{
	const char *feature;
	const FePlan *plan = view_of_reference(ref, &feature, NULL, false);

	return psprintf("%s:%s", quote_identifier(plan->name), feature);
}

bool
fe_feature_exists(const char *ref)
{
	const char *feature;
	const FePlan *plan = fe_plan_by_name(split_reference(ref, &feature, NULL), true);

	for (int i = 0; plan && i < plan->ncolumns; i++)
		if (strcmp(feature, "*") == 0 ||
			(plan->columns[i].key < 0 && strcmp(plan->columns[i].name, feature) == 0))
			return true;
	return false;
}

fe_compat_noreturn static void
raise_unknown_feature(const FePlan *plan, const char *name, const char *service)
{
	List	   *names = NIL;

	for (int i = 0; i < plan->ncolumns; i++)
	{
		if (plan->columns[i].key < 0)
			names = lappend(names, plan->columns[i].name);
		else if (strcmp(plan->columns[i].name, name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" of feature view \"%s\" is a key, not a feature",
							name, plan->name),
					 errhint("Leave it out: keys are given for each entity."),
					 service_context(service)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("feature view \"%s\" has no feature \"%s\"", plan->name, name),
			 fe_hint_similar(name, names),
			 service_context(service)));
}

List *
fe_feature_references(Datum array)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	List	   *refs = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT,
					  &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("features must not contain NULL")));
		refs = lappend(refs, TextDatumGetCString(elems[i]));
	}
	return refs;
}

/* ---- the list -------------------------------------------------------------------- */

static int
number_of_view(FeFeatureList *list, FePlan *plan)
{
	for (int v = 0; v < list->nviews; v++)
		if (list->views[v]->viewid == plan->viewid)
			return v;
	list->views[list->nviews] = plan;
	return list->nviews++;
}

fe_compat_noreturn static void
raise_long_name(const FeFeatureList *list, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_NAME_TOO_LONG),
			 errmsg("name \"%s\" is too long for a column", name),
			 errdetail("With full_feature_names a column is called view__feature, and a name has at most %d bytes.",
					   NAMEDATALEN - 1),
			 service_context(list->service)));
}

fe_compat_noreturn static void
raise_clash(const FeFeatureList *list, const FeFeature *f, const FeFeature *other)
{
	const FePlan *plan = list->views[f->view];

	if (other->view == f->view && other->column == f->column)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("feature \"%s\" of feature view \"%s\" is named twice",
						plan->columns[f->column].name, plan->name),
				 service_context(list->service)));
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_COLUMN),
			 errmsg("two features are called \"%s\"", f->name),
			 errdetail("They are of the feature views \"%s\" and \"%s\".",
					   list->views[other->view]->name, plan->name),
			 errhint("Use full_feature_names => true, which names columns view__feature."),
			 service_context(list->service)));
}

/* False: it was wrong, and that is not an error. */
static bool
check_output_name(FeFeatureList *list, const FeFeature *f)
{
	const FeFeature *other = NULL;

	for (int i = 0; i < list->nfeatures && other == NULL; i++)
		if (strcmp(list->features[i].name, f->name) == 0)
			other = &list->features[i];
	if (other == NULL && strlen(f->name) < NAMEDATALEN)
		return true;
	if (!list->missing_ok && other)
		raise_clash(list, f, other);
	if (!list->missing_ok)
		raise_long_name(list, f->name);
	list->failed = true;
	return false;
}

static void
add_feature(FeFeatureList *list, FePlan *plan, int column, bool full_names)
{
	FeFeature  *f = &list->features[list->nfeatures];

	f->view = number_of_view(list, plan);
	f->column = column;
	f->name = full_names ? psprintf("%s__%s", plan->name, plan->columns[column].name) :
		plan->columns[column].name;
	if (check_output_name(list, f))
		list->nfeatures++;
}

/* Room for one more view and so many more features. */
static void
make_room(FeFeatureList *list, int more)
{
	Size		views = (list->nviews + 1) * sizeof(FePlan *);
	Size		features = (list->nfeatures + more) * sizeof(FeFeature);

	list->views = list->views ? repalloc(list->views, views) : palloc(views);
	list->features = list->features ? repalloc(list->features, features) : palloc(features);
}

static void
add_reference(FeFeatureList *list, const char *ref, bool full_names)
{
	const char *name;
	FePlan	   *plan = view_of_reference(ref, &name, list->service, list->missing_ok);
	int			before = list->nfeatures;
	bool		all = strcmp(name, "*") == 0;

	if (plan == NULL)
	{
		list->failed = true;
		return;
	}
	make_room(list, plan->ncolumns);
	for (int i = 0; i < plan->ncolumns; i++)
		if (plan->columns[i].key < 0 && (all || strcmp(plan->columns[i].name, name) == 0))
			add_feature(list, plan, i, full_names);
	if (list->nfeatures > before || all || list->failed)
		return;
	if (!list->missing_ok)
		raise_unknown_feature(plan, name, list->service);
	list->failed = true;
}

FeFeatureList *
fe_features_resolve(List *refs, bool full_names, const char *service, bool missing_ok)
{
	FeFeatureList *list = palloc0(sizeof(FeFeatureList));
	ListCell   *lc;

	list->service = service ? pstrdup(service) : NULL;
	list->missing_ok = missing_ok;
	foreach(lc, refs)
		add_reference(list, lfirst(lc), full_names);
	if (list->failed)
		return NULL;
	if (list->nfeatures == 0 && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no features are named"),
				 errhint("Name them: features => ARRAY['view:feature', 'other_view:*'].")));
	return list;
}

FeFeatureList *
fe_features_of_view(FePlan *plan)
{
	FeFeatureList *list = palloc0(sizeof(FeFeatureList));

	make_room(list, plan->ncolumns);
	for (int i = 0; i < plan->ncolumns; i++)
		if (plan->columns[i].key < 0)
			add_feature(list, plan, i, false);
	return list;
}

const FeColumn *
fe_feature_column(const FeFeatureList *list, int n)
{
	const FeFeature *f = &list->features[n];

	return &list->views[f->view]->columns[f->column];
}

/* ---- keys -------------------------------------------------------------------------- */

static FeJoinColumnName *
find_key(List *keys, const char *name)
{
	ListCell   *lc;

	foreach(lc, keys)
	{
		FeJoinColumnName *key = lfirst(lc);

		if (strcmp(key->name, name) == 0)
			return key;
	}
	return NULL;
}

List *
fe_features_keys(const FeFeatureList *list)
{
	List	   *keys = NIL;

	for (int v = 0; v < list->nviews; v++)
		for (int k = 0; k < list->views[v]->nkeys; k++)
		{
			const FeKey *key = &list->views[v]->keys[k];
			FeJoinColumnName *column;

			if (find_key(keys, key->name))
				continue;
			column = palloc(sizeof(FeJoinColumnName));
			column->name = key->name;
			column->type = key->type;
			column->typmod = key->typmod;
			keys = lappend(keys, column);
		}
	return keys;
}

bool
fe_features_share_keys(const FeFeatureList *list)
{
	int			nkeys = list_length(fe_features_keys(list));

	for (int v = 0; v < list->nviews; v++)
		if (list->views[v]->nkeys != nkeys)
			return false;
	return true;
}

char *
fe_column_text(const char *name, Oid type, int32 typmod)
{
	return psprintf("%s %s", quote_identifier(name), format_type_with_typemod(type, typmod));
}
