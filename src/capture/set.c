/*
 * set.c
 *		The capture set: copying it, and its text form.
 *
 * The text form is the output plugin's option "tables", for transports that
 * cannot hand over a pointer:
 *
 *		relid[l][k]:attnum.attlen.byval.align[.typeoid],...;relid:...
 *
 * for example 16384:1.4.t.i,3.-1.f.i;16390:  (the second table without
 * columns).  l: each change tells its LSN; k: each update has an old key.  Tables
 * and columns are in ascending order.  No locks.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "capture/plugin.h"

/* A deep copy in the current memory context. */
FeCaptureSet *
fe_capture_set_copy(const FeCaptureSet *set)
{
	FeCaptureSet *copy = palloc0(sizeof(FeCaptureSet));

	if (set == NULL)
		return copy;
	copy->ntables = set->ntables;
	copy->tables = palloc0(Max(set->ntables, 1) * sizeof(FeCaptureTable));
	for (int i = 0; i < set->ntables; i++)
	{
		const FeCaptureTable *from = &set->tables[i];
		FeCaptureTable *to = &copy->tables[i];

		*to = *from;
		to->atts = palloc0(Max(from->natts, 1) * sizeof(FeCaptureColumn));
		if (from->natts > 0)
			memcpy(to->atts, from->atts, from->natts * sizeof(FeCaptureColumn));
		/* what deforming stops at; do not depend on the caller for it */
		to->max_attnum = from->natts > 0 ? from->atts[from->natts - 1].attnum : 0;
	}
	return copy;
}

char *
fe_capture_set_format(const FeCaptureSet *set)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < set->ntables; i++)
	{
		const FeCaptureTable *table = &set->tables[i];

		appendStringInfo(&buf, "%s%u%s%s:", i > 0 ? ";" : "", table->relid,
						 (table->flags & FE_CAPTURE_LSN) != 0 ? "l" : "",
						 (table->flags & FE_CAPTURE_OLD_KEY) != 0 ? "k" : "");
		for (int j = 0; j < table->natts; j++)
		{
			const FeCaptureColumn *column = &table->atts[j];

			appendStringInfo(&buf, "%s%d.%d.%c.%c", j > 0 ? "," : "",
							 column->attnum, column->attlen,
							 column->attbyval ? 't' : 'f', column->attalign);
			if (OidIsValid(column->atttypid))
				appendStringInfo(&buf, ".%u", column->atttypid);
		}
	}
	return buf.data;
}

/* ---- parsing ------------------------------------------------------------ */

static pg_noinline void
bad_set(const char *text, const char *at)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\" of output plugin \"%s\"",
					"tables", "feature_engine"),
			 errdetail("Unexpected input at character %d.", (int) (at - text) + 1)));
}

static int64
parse_number(const char *text, const char **p, int64 min, int64 max)
{
	const char *start = *p;
	char	   *end;
	long long	value;

	/* strtoll would also take white space and a plus sign */
	if (!(*start == '-' || (*start >= '0' && *start <= '9')))
		bad_set(text, start);
	errno = 0;
	value = strtoll(start, &end, 10);
	if (end == start || errno != 0 || value < min || value > max)
		bad_set(text, start);
	*p = end;
	return value;
}

static char
parse_char(const char *text, const char **p, const char *allowed)
{
	char		c = **p;

	if (c == '\0' || strchr(allowed, c) == NULL)
		bad_set(text, *p);
	(*p)++;
	return c;
}

static void
parse_column(const char *text, const char **p, FeCaptureColumn *column, AttrNumber after)
{
	const char *start = *p;
	int			attlen;

	column->attnum = parse_number(text, p, after + 1, MaxHeapAttributeNumber);
	parse_char(text, p, ".");
	column->attlen = attlen = parse_number(text, p, -2, PG_INT16_MAX);
	parse_char(text, p, ".");
	column->attbyval = parse_char(text, p, "tf") == 't';
	parse_char(text, p, ".");
	column->attalign = parse_char(text, p, "csid");
	column->atttypid = InvalidOid;
	if (**p == '.')
	{
		(*p)++;
		column->atttypid = parse_number(text, p, 0, PG_UINT32_MAX);
	}
	if (attlen == 0 ||
		(column->attbyval && attlen != 1 && attlen != 2 && attlen != 4 && attlen != 8))
		bad_set(text, start);
}

static void
parse_table(const char *text, const char **p, FeCaptureTable *table, Oid after)
{
	int			space = 8;

	table->relid = parse_number(text, p, (int64) after + 1, PG_UINT32_MAX);
	table->flags = 0;
	if (**p == 'l')
	{
		table->flags |= FE_CAPTURE_LSN;
		(*p)++;
	}
	if (**p == 'k')
	{
		table->flags |= FE_CAPTURE_OLD_KEY;
		(*p)++;
	}
	parse_char(text, p, ":");
	table->natts = 0;
	table->max_attnum = 0;
	table->atts = palloc0(space * sizeof(FeCaptureColumn));
	while (**p != '\0' && **p != ';')
	{
		if (table->natts > 0)
			parse_char(text, p, ",");
		if (table->natts == space)
		{
			space *= 2;
			table->atts = repalloc(table->atts, space * sizeof(FeCaptureColumn));
		}
		parse_column(text, p, &table->atts[table->natts], table->max_attnum);
		table->max_attnum = table->atts[table->natts++].attnum;
	}
}

/* In the current memory context; ERROR where the text is not well-formed. */
FeCaptureSet *
fe_capture_set_parse(const char *text)
{
	FeCaptureSet *set = palloc0(sizeof(FeCaptureSet));
	const char *p = text;
	int			space = 8;
	Oid			last = InvalidOid;

	set->tables = palloc0(space * sizeof(FeCaptureTable));
	while (*p != '\0')
	{
		if (set->ntables > 0)
			parse_char(text, &p, ";");
		if (set->ntables == space)
		{
			space *= 2;
			set->tables = repalloc(set->tables, space * sizeof(FeCaptureTable));
		}
		parse_table(text, &p, &set->tables[set->ntables], last);
		last = set->tables[set->ntables++].relid;
	}
	return set;
}
