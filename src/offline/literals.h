/*
 * literals.h
 *		Strings and names in the files of a Feast repository.
 *
 * Whatever a name holds, it stays a name: quotes, line ends, escapes and $ mean
 * nothing in what is written here.  No locks.
 */
#ifndef FE_OFFLINE_LITERALS_H
#define FE_OFFLINE_LITERALS_H

#include "postgres.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

/* A string literal of Python. */
extern void fe_append_python(StringInfo buf, const char *text);
/*
 * A double-quoted scalar of YAML, in ASCII.  Feast puts environment variables into the
 * file before it reads it: with $ as \x24 none are taken for one.  variables: they may be.
 */
extern void fe_append_yaml(StringInfo buf, const char *text, bool variables);
/*
 * A variable of Python's for what has this name: prefix_name in ASCII, with a number
 * where *taken (char *) has it already; added there.
 */
extern char *fe_python_variable(const char *prefix, const char *name, List **taken);

#endif							/* FE_OFFLINE_LITERALS_H */
