/*
 * query_text.h
 *		Errors about a query that a user gave as an argument: their position is
 *		within that text.  Any room that parses one may use it; backends.
 */
#ifndef FE_DEFINITION_QUERY_TEXT_H
#define FE_DEFINITION_QUERY_TEXT_H

#include "postgres.h"

typedef struct FeQueryText
{
	ErrorContextCallback callback;
} FeQueryText;

/* Between the two PostgreSQL's own errors with a position are about the text. */
extern void fe_query_text_begin(FeQueryText *q, const char *text);
extern void fe_query_text_end(FeQueryText *q);
/* For use inside ereport: a parse location of the text. */
extern int	fe_query_text_position(const char *text, int location);

#endif							/* FE_DEFINITION_QUERY_TEXT_H */
