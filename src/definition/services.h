/*
 * services.h
 *		Feature services: names for lists of features over several views, and
 *		what such a list means.
 *
 * A feature is written 'view:feature', all features of a view 'view:*'.  Backends.
 */
#ifndef FE_DEFINITION_SERVICES_H
#define FE_DEFINITION_SERVICES_H

#include "definition/plan.h"

/* ---- features.c: lists of features ------------------------------------------ */

typedef struct FeFeature
{
	int			view;			/* number in FeFeatureList.views */
	int			column;			/* of its plan */
	char	   *name;			/* of the output column */
} FeFeature;

typedef struct FeFeatureList
{
	int			nviews;
	FePlan	  **views;			/* each once, in the order of their first feature */
	int			nfeatures;
	FeFeature  *features;		/* in the order given, view:* in the view's */
	char	   *service;		/* NULL: given by hand */
	bool		missing_ok;		/* while it is resolved: no errors, but ... */
	bool		failed;			/* ... this */
} FeFeatureList;

/* Of an argument or column of type text[]; ERROR: a NULL among them. */
extern List *fe_feature_references(Datum array);
/*
 * What these references (char *) mean today.  NULL / ERROR: an unknown view or
 * feature, a key among them, one output name twice.  full_names: output columns are
 * called view__feature.  service: for messages, or NULL.
 */
extern FeFeatureList *fe_features_resolve(List *refs, bool full_names, const char *service,
										  bool missing_ok);
/* All features of one view. */
extern FeFeatureList *fe_features_of_view(FePlan *plan);
/* Does a reference name this view (as it stands in the catalogue)? */
extern bool fe_feature_of_view(const char *ref, const char *view);
/* A reference in the form that is stored; ERROR: there is no such view. */
extern char *fe_feature_stored(const char *ref);
/* Are view and feature of a reference there? */
extern bool fe_feature_exists(const char *ref);
/* Type and name of a feature. */
extern const FeColumn *fe_feature_column(const FeFeatureList *list, int n);

/* A join key of a list: the views' key columns by name. */
typedef struct FeJoinColumnName
{
	char	   *name;
	Oid			type;			/* in the first view that has it */
	int32		typmod;
} FeJoinColumnName;

/* Keys of all views, each name once (FeJoinColumnName *). */
extern List *fe_features_keys(const FeFeatureList *list);
/* Have all views the same key columns? */
extern bool fe_features_share_keys(const FeFeatureList *list);
/* ' "name" type' for a column definition list. */
extern char *fe_column_text(const char *name, Oid type, int32 typmod);
/* For use inside ereport: a hint at the most similar name (List of char *), if one is near. */
extern int	fe_hint_similar(const char *name, List *names);

/* ---- services.c: the catalogue of services ------------------------------------- */

typedef struct FeService
{
	char	   *name;
	List	   *features;		/* char *, as given */
	bool		full_names;
	Oid			owner;
} FeService;

/* NULL / ERROR where there is none of that name (written as SQL writes names). */
extern FeService *fe_service_by_name(const char *name, bool missing_ok);
/* All of them (FeService *), in the order of their names. */
extern List *fe_service_list(void);
extern FeFeatureList *fe_service_resolve(const FeService *service, bool missing_ok);

/* ERROR if a service has that name. */
extern void fe_services_refuse_view_name(const char *name);
/* A view is about to go: ERROR if a service uses it ... */
extern void fe_services_refuse_drop(const char *view);
/* ... or the services that do go with it, with a NOTICE. */
extern void fe_services_cascade_drop(const char *view);

#endif							/* FE_DEFINITION_SERVICES_H */
