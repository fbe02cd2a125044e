/*
 * literals.c
 *		Strings and names in the files of a Feast repository.  Runs in backends;
 *		no locks.
 *
 * Python and YAML have the same escapes within double quotes: \\ \" \xXX \uXXXX
 * \UXXXXXXXX.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "offline/literals.h"

#define IS_PLAIN(c)		((c) >= 0x20 && (c) < 0x7f)

/* One ASCII character within double quotes. */
static void
append_ascii(StringInfo buf, unsigned char c)
{
	if (c == '"' || c == '\\')
		appendStringInfo(buf, "\\%c", c);
	else if (IS_PLAIN(c))
		appendStringInfoChar(buf, c);
	else
		appendStringInfo(buf, "\\x%02x", c);
}

void
fe_append_python(StringInfo buf, const char *text)
{
	appendStringInfoChar(buf, '"');
	for (const unsigned char *c = (const unsigned char *) text; *c; c++)
		if (IS_HIGHBIT_SET(*c))
			appendStringInfoChar(buf, *c);
		else
			append_ascii(buf, *c);
	appendStringInfoChar(buf, '"');
}

/* YAML takes some characters beyond ASCII for line ends, and refuses others. */
void
fe_append_yaml(StringInfo buf, const char *text, bool variables)
{
	const unsigned char *c = (const unsigned char *)
		pg_server_to_any(text, strlen(text), PG_UTF8);

	appendStringInfoChar(buf, '"');
	while (*c)
	{
		if (IS_HIGHBIT_SET(*c))
		{
			unsigned int point = utf8_to_unicode(c);

			appendStringInfo(buf, point > 0xffff ? "\\U%08x" : "\\u%04x", point);
			c += pg_utf_mblen(c);
			continue;
		}
		if (*c == '$' && !variables)
			appendStringInfoString(buf, "\\x24");
		else
			append_ascii(buf, *c);
		c++;
	}
	appendStringInfoChar(buf, '"');
}

static bool
is_taken(const char *name, const List *taken)
{
	ListCell   *lc;

	foreach(lc, taken)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}

char *
fe_python_variable(const char *prefix, const char *name, List **taken)
{
	char	   *base = psprintf("%s_%s", prefix, name);
	char	   *variable = base;

	for (char *c = base; *c; c++)
		if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && !(*c >= '0' && *c <= '9'))
			*c = '_';
	for (int n = 2; is_taken(variable, *taken); n++)
		variable = psprintf("%s_%d", base, n);
	*taken = lappend(*taken, variable);
	return variable;
}
