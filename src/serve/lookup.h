/*
 * lookup.h
 *		Features by key, of one view or of the views of a feature service.  What
 *		the functions in get_features.c share; no other room includes this.
 */
#ifndef FE_SERVE_LOOKUP_H
#define FE_SERVE_LOOKUP_H

#include "definition/services.h"
#include "serve/serve.h"

/* Keys as given: by position, or by name. */
typedef struct FeGivenKeys
{
	int			n;
	Oid		   *types;
	Datum	   *values;
	bool	   *nulls;
	char	  **names;			/* NULL: by position */
} FeGivenKeys;

/* One value; the fields of a composite one. */
extern void fe_keys_of_value(FeGivenKeys *keys, Oid type, Datum value, bool isnull);

struct FeKeyInput;

/* A view that is asked. */
typedef struct FeLookup
{
	FePlan	   *plan;
	MemoryContext cxt;			/* of the request: what is found out at the first key */
	Bitmapset  *columns;		/* wanted, NULL = all */
	FeServeReader *reader;		/* NULL: not opened yet */
	struct FeKeyInput *inputs;	/* [nkeys] */
	Datum	   *keys;
	bool	   *keynulls;
	Datum	   *values;			/* [ncolumns] */
	bool	   *nulls;
} FeLookup;

typedef struct FeRequest
{
	FeTime		T;				/* of all views */
	FeFeatureList *features;	/* NULL: all columns of the only view */
	int			nlookups;
	FeLookup   *lookups;
	TupleDesc	desc;			/* of the result; blessed */
	Datum	   *values;
	bool	   *nulls;
	FmgrInfo	to_json;		/* of a row of it */
	bool		ordered;		/* json, not jsonb */
} FeRequest;

/*
 * Opens a view or service for reading.  vector: features only, as json in their
 * order; else as jsonb, of a view with its keys.  ERROR: there is none, or no right.
 */
extern FeRequest *fe_request_open(const char *name, bool vector);
/* Opens a view by itself, with all columns. */
extern FeRequest *fe_request_open_view(const char *name);
extern void fe_request_close(FeRequest *r);
/*
 * Features of these keys as json or jsonb, in CurrentMemoryContext, which may be one
 * for this key alone; false where there is no entity in any view.
 */
extern bool fe_request_lookup(FeRequest *r, const FeGivenKeys *keys, Datum *result);
/* Of a view by itself: takes the keys; false: no entity can have them. */
extern bool fe_request_set_keys(FeRequest *r, const FeGivenKeys *keys);
/* The row in the only lookup's values, as jsonb. */
extern Datum fe_request_row(FeRequest *r);

#endif							/* FE_SERVE_LOOKUP_H */
