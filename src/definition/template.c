/*
 * template.c
 *		Parsing, rendering and un-rendering of online key templates.
 *
 * Used where definitions are checked and by the pusher.  No locks.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "definition/template.h"

#define WINDOW_START	"window_start"

static void
template_error(const char *text, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid redis_key \"%s\"", text),
			 errdetail("%s", why),
			 errhint("A template looks like 'customer:{customer_id}:features'; {{ and }} are "
					 "literal braces.")));
}

/* ---- parsing -------------------------------------------------------------------- */

static FeTemplatePart *
add_part(FeTemplate *tmpl)
{
	FeTemplatePart *part;

	tmpl->parts = repalloc(tmpl->parts, sizeof(FeTemplatePart) * (tmpl->nparts + 1));
	part = &tmpl->parts[tmpl->nparts++];
	memset(part, 0, sizeof(FeTemplatePart));
	part->key = -1;
	return part;
}

static void
add_literal(FeTemplate *tmpl, StringInfo literal)
{
	FeTemplatePart *part;

	if (literal->len == 0)
		return;
	part = add_part(tmpl);
	part->literal = pnstrdup(literal->data, literal->len);
	part->len = literal->len;
	resetStringInfo(literal);
}

/* At an opening brace; returns the position after the closing one. */
static const char *
parse_placeholder(FeTemplate *tmpl, const char *text, const char *p)
{
	const char *end = strchr(p, '}');
	FeTemplatePart *part;

	if (end == NULL)
		template_error(text, _("A placeholder is not closed."));
	if (end == p + 1)
		template_error(text, _("A placeholder is empty."));
	part = add_part(tmpl);
	part->name = pnstrdup(p + 1, end - p - 1);
	tmpl->nplaceholders++;
	return end + 1;
}

static void
check_encoded(FeTemplate *tmpl, const char *text)
{
	tmpl->encoded = tmpl->nplaceholders > 1;
	if (!tmpl->encoded)
		return;
	tmpl->special['%'] = true;
	for (int i = 0; i < tmpl->nparts; i++)
	{
		FeTemplatePart *part = &tmpl->parts[i];

		if (part->literal == NULL)
		{
			if (i > 0 && tmpl->parts[i - 1].literal == NULL)
				template_error(text, _("Two placeholders need some text between them."));
			continue;
		}
		for (int c = 0; c < part->len; c++)
			tmpl->special[(unsigned char) part->literal[c]] = true;
		if (memchr(part->literal, '%', part->len) != NULL)
			template_error(text, _("A template with several placeholders cannot contain %."));
	}
}

FeTemplate *
fe_template_parse(const char *text)
{
	FeTemplate *tmpl = palloc0(sizeof(FeTemplate));
	StringInfoData literal;
	const char *p = text;

	tmpl->parts = palloc(sizeof(FeTemplatePart));
	initStringInfo(&literal);
	while (*p)
	{
		if ((p[0] == '{' && p[1] == '{') || (p[0] == '}' && p[1] == '}'))
		{
			appendStringInfoChar(&literal, *p);
			p += 2;
		}
		else if (*p == '{')
		{
			add_literal(tmpl, &literal);
			p = parse_placeholder(tmpl, text, p);
		}
		else if (*p == '}')
			template_error(text, _("A closing brace has no opening one."));
		else
			appendStringInfoChar(&literal, *p++);
	}
	add_literal(tmpl, &literal);
	check_encoded(tmpl, text);
	return tmpl;
}

/* ---- a view's template ------------------------------------------------------------ */

/* <view>:{key}:{key}; made of parts, as column names may hold braces */
static FeTemplate *
default_template(const FePlan *plan)
{
	FeTemplate *tmpl = palloc0(sizeof(FeTemplate));
	StringInfoData literal;

	tmpl->parts = palloc(sizeof(FeTemplatePart));
	initStringInfo(&literal);
	appendStringInfo(&literal, "%s:", plan->name);
	for (int i = 0; i < plan->nkeys; i++)
	{
		FeTemplatePart *part;

		if (i > 0)
			appendStringInfoChar(&literal, ':');
		/* what several placeholders must not stand beside */
		for (char *c = literal.data; plan->nkeys > 1 && *c; c++)
			if (*c == '%')
				*c = '_';
		add_literal(tmpl, &literal);
		part = add_part(tmpl);
		part->name = pstrdup(plan->keys[i].name);
		part->key = i;
		tmpl->nplaceholders++;
	}
	check_encoded(tmpl, plan->name);
	return tmpl;
}

static void
resolve_placeholder(const FePlan *plan, const char *text, FeTemplatePart *part, bool *used)
{
	int			nkeys = plan->nkeys;

	for (int i = 0; i < nkeys && part->key < 0; i++)
		if (strcmp(plan->keys[i].name, part->name) == 0)
			part->key = i;
	if (part->key < 0 && plan->group_window >= 0 && strcmp(part->name, WINDOW_START) == 0)
		part->key = nkeys;
	if (part->key >= 0)
	{
		if (used[part->key])
			template_error(text, psprintf(_("Placeholder \"%s\" stands in it twice."),
										  part->name));
		used[part->key] = true;
		return;
	}
	template_error(text, psprintf(_("Placeholder \"%s\" is not a key column of the feature view."),
								  part->name));
}

FeTemplate *
fe_template_of_plan(const FePlan *plan)
{
	const char *text = plan->options.redis_key;
	bool		used[FE_MAX_KEYS + 1] = {false};
	FeTemplate *tmpl;

	if (text == NULL)
		return default_template(plan);
	tmpl = fe_template_parse(text);
	for (int i = 0; i < tmpl->nparts; i++)
		if (tmpl->parts[i].literal == NULL)
			resolve_placeholder(plan, text, &tmpl->parts[i], used);
	tmpl->has_window = used[plan->nkeys];
	for (int i = 0; i < plan->nkeys; i++)
		if (!used[i])
			template_error(text, psprintf(_("Key column \"%s\" is missing: different entities "
											"would share a key."), plan->keys[i].name));
	return tmpl;
}

bool
fe_template_same_structure(const FeTemplate *a, const FeTemplate *b)
{
	if (a->nparts != b->nparts)
		return false;
	for (int i = 0; i < a->nparts; i++)
	{
		const FeTemplatePart *x = &a->parts[i];
		const FeTemplatePart *y = &b->parts[i];

		if ((x->literal == NULL) != (y->literal == NULL))
			return false;
		if (x->literal && (x->len != y->len || memcmp(x->literal, y->literal, x->len) != 0))
			return false;
	}
	return true;
}

/* ---- as a text of its own -------------------------------------------------------------- */

/* customer:{1}:features */
char *
fe_template_text(const FeTemplate *tmpl)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < tmpl->nparts; i++)
	{
		const FeTemplatePart *part = &tmpl->parts[i];

		if (part->literal == NULL)
			appendStringInfo(&buf, "{%d}", part->key + 1);
		for (int c = 0; part->literal != NULL && c < part->len; c++)
		{
			if (part->literal[c] == '{' || part->literal[c] == '}')
				appendStringInfoChar(&buf, part->literal[c]);
			appendStringInfoChar(&buf, part->literal[c]);
		}
	}
	return buf.data;
}

FeTemplate *
fe_template_of_text(const char *text)
{
	FeTemplate *tmpl = fe_template_parse(text);

	for (int i = 0; i < tmpl->nparts; i++)
	{
		FeTemplatePart *part = &tmpl->parts[i];

		if (part->literal != NULL)
			continue;
		part->key = atoi(part->name) - 1;
		if (part->key < 0 || part->key >= tmpl->nplaceholders)
			elog(ERROR, "invalid template in a footprint: %s", text);
	}
	return tmpl;
}

/* ---- rendering ----------------------------------------------------------------------- */

static void
append_value(const FeTemplate *tmpl, StringInfo buf, const char *value)
{
	static const char hex[] = "0123456789ABCDEF";

	for (; *value; value++)
	{
		unsigned char c = *value;

		if (tmpl->encoded && tmpl->special[c])
		{
			appendStringInfoChar(buf, '%');
			appendStringInfoChar(buf, hex[c >> 4]);
			appendStringInfoChar(buf, hex[c & 15]);
		}
		else
			appendStringInfoChar(buf, c);
	}
}

char *
fe_template_render(const FeTemplate *tmpl, char **texts, int *len)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < tmpl->nparts; i++)
	{
		FeTemplatePart *part = &tmpl->parts[i];

		if (part->literal)
			appendBinaryStringInfo(&buf, part->literal, part->len);
		else
			append_value(tmpl, &buf, texts[part->key]);
	}
	if (len)
		*len = buf.len;
	return buf.data;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* An encoded value up to the next literal character; NULL: malformed. */
static char *
take_value(const FeTemplate *tmpl, const char **p, const char *end)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (; *p < end; (*p)++)
	{
		unsigned char c = **p;

		if (c == '%')
		{
			int			hi = end - *p > 2 ? hex_digit((*p)[1]) : -1;
			int			lo = end - *p > 2 ? hex_digit((*p)[2]) : -1;

			if (hi < 0 || lo < 0 || !tmpl->special[hi << 4 | lo])
				return NULL;
			c = hi << 4 | lo;
			*p += 2;
		}
		else if (tmpl->special[c])
			break;
		appendStringInfoChar(&buf, c);
	}
	return buf.data;
}

static bool
parse_encoded(const FeTemplate *tmpl, const char *p, const char *end, char **texts)
{
	for (int i = 0; i < tmpl->nparts; i++)
	{
		FeTemplatePart *part = &tmpl->parts[i];

		if (part->literal == NULL)
		{
			texts[part->key] = take_value(tmpl, &p, end);
			if (texts[part->key] == NULL)
				return false;
			continue;
		}
		if (end - p < part->len || memcmp(p, part->literal, part->len) != 0)
			return false;
		p += part->len;
	}
	return p == end;
}

bool
fe_template_parse_key(const FeTemplate *tmpl, const char *key, int len, char ***texts)
{
	int			before = 0;
	int			after = 0;

	*texts = palloc0(sizeof(char *) * Max(tmpl->nplaceholders, 1));
	if (tmpl->encoded)
		return parse_encoded(tmpl, key, key + len, *texts);

	/* one placeholder: whatever stands between the literals */
	for (int i = 0, seen = 0; i < tmpl->nparts; i++)
	{
		FeTemplatePart *part = &tmpl->parts[i];

		if (part->literal == NULL)
			seen = 1;
		else if (seen)
			after = part->len;
		else
			before = part->len;
		if (part->literal && len >= before + after &&
			memcmp(seen ? key + len - after : key, part->literal, part->len) != 0)
			return false;
	}
	if (len < before + after)
		return false;
	(*texts)[0] = pnstrdup(key + before, len - before - after);
	return true;
}

char *
fe_template_match_pattern(const FeTemplate *tmpl, int *len)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < tmpl->nparts; i++)
	{
		FeTemplatePart *part = &tmpl->parts[i];

		if (part->literal == NULL)
		{
			appendStringInfoChar(&buf, '*');
			continue;
		}
		for (int c = 0; c < part->len; c++)
		{
			if (strchr("*?[]\\^-", part->literal[c]) != NULL)
				appendStringInfoChar(&buf, '\\');
			appendStringInfoChar(&buf, part->literal[c]);
		}
	}
	if (len)
		*len = buf.len;
	return buf.data;
}
