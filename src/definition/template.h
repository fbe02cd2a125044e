/*
 * template.h
 *		Key templates of the online store: customer:{customer_id}:features.
 *
 * A placeholder names a key column of the feature view; every key column must
 * be named, once.  {{ and }} are literal braces.  With two or more placeholders
 * the template's own literal characters and % are %XX-encoded in values, so
 * that different keys never render to the same text; such a template has a
 * literal between any two placeholders and no literal %.  Of a view with a window
 * in GROUP BY, {window_start} may stand for the window (its start, in seconds since
 * 1970): it counts as one more key, after the others.  Pure functions over palloc'd
 * memory; any process.
 */
#ifndef FE_TEMPLATE_H
#define FE_TEMPLATE_H

#include "definition/plan.h"

typedef struct FeTemplatePart
{
	char	   *literal;		/* NULL: a placeholder */
	int			len;			/* bytes of the literal */
	char	   *name;			/* placeholder's column, as written */
	int			key;			/* its key, -1 until resolved */
} FeTemplatePart;

typedef struct FeTemplate
{
	int			nparts;
	FeTemplatePart *parts;
	int			nplaceholders;
	bool		has_window;		/* {window_start} is one of them */
	bool		encoded;		/* values are %XX-encoded */
	bool		special[256];	/* bytes that are encoded in values */
} FeTemplate;

/* ERROR on bad syntax.  Placeholders are not resolved yet. */
extern FeTemplate *fe_template_parse(const char *text);
/* The template of a plan (its option or the default), placeholders resolved. */
extern FeTemplate *fe_template_of_plan(const FePlan *plan);
/* Key of an entity; texts by key number, none NULL. */
extern char *fe_template_render(const FeTemplate *tmpl, char **texts, int *len);
/*
 * The reverse: the key texts of a rendered key (array by key number,
 * nplaceholders entries).  False: the template cannot have made this key.
 */
extern bool fe_template_parse_key(const FeTemplate *tmpl, const char *key, int len,
								  char ***texts);
/* Pattern for Redis SCAN MATCH that every rendered key matches. */
extern char *fe_template_match_pattern(const FeTemplate *tmpl, int *len);
/* Could both render the same key? (the same literals in the same places) */
extern bool fe_template_same_structure(const FeTemplate *a, const FeTemplate *b);
/* A template as a text with key numbers for names, and the way back. */
extern char *fe_template_text(const FeTemplate *tmpl);
extern FeTemplate *fe_template_of_text(const char *text);

#endif							/* FE_TEMPLATE_H */
