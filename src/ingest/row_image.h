/*
 * row_image.h
 *		Some columns of a row as bytes: how parts of joined views keep rows
 *		(private to the ingest room).
 */
#ifndef FE_ROW_IMAGE_H
#define FE_ROW_IMAGE_H

#include "postgres.h"

/* One column, or what is to be known of it. */
typedef struct FeImageColumn
{
	int16		len;
	bool		byval;
	char		align;
	bool		packable;		/* may have a short header */
} FeImageColumn;

typedef struct FeImageForm
{
	int			ncolumns;
	FeImageColumn *columns;
} FeImageForm;

extern void fe_image_column_init(FeImageColumn *column, Oid type);
/*
 * The image of these values, in CurrentMemoryContext: the same bytes for the same
 * values, whether they were toasted or not.
 */
extern bytea *fe_row_image(const FeImageForm *form, const Datum *values, const bool *nulls);
/* The values again, in CurrentMemoryContext. */
extern void fe_row_image_read(const FeImageForm *form, Datum image, Datum *values, bool *nulls);
extern bool fe_row_image_equal(Datum a, Datum b);

#endif							/* FE_ROW_IMAGE_H */
