/*
 * training.h
 *		Training sets: the entity query as analysed, and the statement that joins
 *		it with the history of features.  What the files of this kind share;
 *		backends.
 */
#ifndef FE_OFFLINE_TRAINING_H
#define FE_OFFLINE_TRAINING_H

#include "postgres.h"
#include "lib/stringinfo.h"

#include "definition/services.h"

/* The query that gives keys and instants. */
typedef struct FeEntities
{
	char	   *text;			/* of the SELECT alone: no semicolon */
	List	   *columns;		/* FeEntityColumn * */
} FeEntities;

typedef struct FeEntityColumn
{
	char	   *name;
	Oid			type;
	int32		typmod;
	Oid			collation;
	int			location;		/* in the text given, -1 unknown */
} FeEntityColumn;

/* What is asked for. */
typedef struct FeTrainingRequest
{
	const char *given;			/* the entity query as given, for positions */
	FeEntities *entities;
	FeFeatureList *features;
	int64		max_age;		/* us, -1 = any */
	bool		known_only;
} FeTrainingRequest;

/* ---- entities.c ---------------------------------------------------------------- */

/* ERROR, with a position in the text, unless it is one SELECT that only reads. */
extern FeEntities *fe_entities_analyze(const char *text);
/* NULL: there is none; ERROR: there are several. */
extern FeEntityColumn *fe_entities_column(const FeEntities *entities, const char *given,
										  const char *name);

/* ---- training_sql.c ------------------------------------------------------------- */

/*
 * The whole statement.  ERROR: a view without history, a key or event_timestamp
 * that the entity query lacks or has in a type that cannot be compared, a name
 * that would be there twice.  To be run with the same search_path.
 */
extern char *fe_training_sql(const FeTrainingRequest *request);

#endif							/* FE_OFFLINE_TRAINING_H */
