/*
 * feast_repository.h
 *		A Feast repository in the making: what is asked for, and the views of the
 *		project.  What the files of this kind share; backends.
 */
#ifndef FE_OFFLINE_FEAST_REPOSITORY_H
#define FE_OFFLINE_FEAST_REPOSITORY_H

#include "postgres.h"
#include "lib/stringinfo.h"

#include "definition/feast.h"

typedef enum FeOfflineSource
{
	FE_OFFLINE_POSTGRES,			/* history tables */
	FE_OFFLINE_PARQUET				/* what the companion exports of them */
} FeOfflineSource;

/* The arguments. */
typedef struct FeRepositoryRequest
{
	char	   *project;
	FeOfflineSource offline;
	char	   *parquet_path;
	char	   *redis;			/* NULL in these: an environment variable */
	char	   *host;
	char	   *user;
	int			port;
	char	   *sslmode;
} FeRepositoryRequest;

/* A feature view of the project. */
typedef struct FeRepositoryView
{
	FePlan	   *plan;
	char	   *variable;
	bool		online;			/* else no feature goes to Redis, and all are for training */
} FeRepositoryView;

typedef struct FeRepository
{
	const FeRepositoryRequest *request;
	List	   *views;			/* FeRepositoryView *, by name */
	List	   *taken;			/* variables (char *) */
	List	   *entities;		/* names of those written (char *) ... */
	List	   *entity_variables;	/* ... and their variables (char *) */
	bool		used[FE_FEAST_UNIX_TIMESTAMP + 1];	/* types */
	bool		uses_lists;
	StringInfoData body;		/* of features.py, below its imports */
} FeRepository;

/* Is the column one of the features that Feast is to know? */
static inline bool
fe_is_feature(const FeRepositoryView *view, const FeColumn *column)
{
	return column->key < 0 && (column->online || !view->online);
}

/* features.py: entities, sources, feature views, feature services (feast_features.c). */
extern char *fe_features_file(FeRepository *repo);

#endif							/* FE_OFFLINE_FEAST_REPOSITORY_H */
