/*
 * names.h
 *		Names of what is in the catalogues, quoted and with their schemas, for
 *		statements that must mean the same under any search_path.
 */
#ifndef FE_DEFINITION_NAMES_H
#define FE_DEFINITION_NAMES_H

#include "postgres.h"

/* schema.name; NULL: there is no such relation (any more). */
extern char *fe_qualified_relation(Oid relid);
extern char *fe_qualified_collation(Oid collation);
/* OPERATOR(schema.name) */
extern char *fe_operator_text(Oid op);

#endif							/* FE_DEFINITION_NAMES_H */
