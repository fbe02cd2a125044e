/*
 * feast_value.c
 *		Writing, and of keys also reading, the bytes of Feast's client.
 *
 * Only what is needed of protobuf: a field is its tag, number << 3 | wire type, and
 * then a varint, 4 or 8 bytes (little-endian), or a length and so many bytes.
 * A Value is a oneof, so zeros are written.  A list is a message of its own with
 * one repeated field 1, which is packed unless it holds bytes or texts.
 */
#ifdef FE_FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "online/feast_value.h"

#define WIRE_VARINT		0
#define WIRE_FIXED64	1
#define WIRE_BYTES		2
#define WIRE_FIXED32	5

#define USECS			INT64CONST(1000000)

static const int wire_types[] = {
	[FE_FEAST_BYTES] = WIRE_BYTES,
	[FE_FEAST_STRING] = WIRE_BYTES,
	[FE_FEAST_INT32] = WIRE_VARINT,
	[FE_FEAST_INT64] = WIRE_VARINT,
	[FE_FEAST_DOUBLE] = WIRE_FIXED64,
	[FE_FEAST_FLOAT] = WIRE_FIXED32,
	[FE_FEAST_BOOL] = WIRE_VARINT,
	[FE_FEAST_UNIX_TIMESTAMP] = WIRE_VARINT,
};

/* ---- protobuf --------------------------------------------------------------------- */

static void
put_varint(StringInfo out, uint64 value)
{
	while (value >= 0x80)
	{
		appendStringInfoCharMacro(out, (char) (value | 0x80));
		value >>= 7;
	}
	appendStringInfoCharMacro(out, (char) value);
}

static void
put_tag(StringInfo out, int field, int wire)
{
	put_varint(out, (uint64) field << 3 | wire);
}

static void
put_little_endian(StringInfo out, uint64 value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		appendStringInfoCharMacro(out, (char) (value >> (8 * i)));
}

static void
put_bytes(StringInfo out, const char *data, Size len)
{
	put_varint(out, len);
	appendBinaryStringInfo(out, data, len);
}

/* Without a tag; negative numbers take ten bytes, of whatever width. */
static void
put_scalar(StringInfo out, FeFeastType type, const FeFeastScalar *scalar)
{
	union
	{
		double		d;
		uint64		u;
	}			wide;
	union
	{
		float		f;
		uint32		u;
	}			narrow;

	switch (wire_types[type])
	{
		case WIRE_VARINT:
			put_varint(out, (uint64) scalar->i);
			break;
		case WIRE_FIXED64:
			wide.d = scalar->d;
			put_little_endian(out, wide.u, 8);
			break;
		case WIRE_FIXED32:
			narrow.f = (float) scalar->d;
			put_little_endian(out, narrow.u, 4);
			break;
		case WIRE_BYTES:
			put_bytes(out, scalar->data, scalar->len);
			break;
	}
}

/* The message of a list. */
static void
put_list(StringInfo out, FeFeastType element, const FeFeastScalar *scalars, int n)
{
	StringInfoData packed;

	if (wire_types[element] == WIRE_BYTES)
	{
		for (int i = 0; i < n; i++)
		{
			put_tag(out, 1, WIRE_BYTES);
			put_scalar(out, element, &scalars[i]);
		}
		return;
	}
	if (n == 0)
		return;
	initStringInfo(&packed);
	for (int i = 0; i < n; i++)
		put_scalar(&packed, element, &scalars[i]);
	put_tag(out, 1, WIRE_BYTES);
	put_bytes(out, packed.data, packed.len);
	pfree(packed.data);
}

void
fe_feast_put_value(StringInfo out, FeFeastType type, const FeFeastScalar *scalars, int n)
{
	StringInfoData list;

	if (!fe_feast_is_list(type))
	{
		Assert(n == 1);
		put_tag(out, type, wire_types[type]);
		put_scalar(out, type, scalars);
		return;
	}
	initStringInfo(&list);
	put_list(&list, fe_feast_element(type), scalars, n);
	put_tag(out, type, WIRE_BYTES);
	put_bytes(out, list.data, list.len);
	pfree(list.data);
}

/* seconds = 1, nanos = 2 (never negative); here zeros are left out. */
void
fe_feast_put_timestamp(StringInfo out, int64 usecs)
{
	int64		seconds = usecs / USECS;
	int64		rest = usecs % USECS;

	if (rest < 0)
	{
		rest += USECS;
		seconds--;
	}
	if (seconds != 0)
	{
		put_tag(out, 1, WIRE_VARINT);
		put_varint(out, (uint64) seconds);
	}
	if (rest != 0)
	{
		put_tag(out, 2, WIRE_VARINT);
		put_varint(out, (uint64) rest * 1000);
	}
}

/* ---- keys ------------------------------------------------------------------------- */

void
fe_feast_put_key_head(StringInfo out, const FeFeastJoinKey *keys, int nkeys)
{
	put_little_endian(out, nkeys, 4);
	for (int i = 0; i < nkeys; i++)
	{
		Size		len = strlen(keys[i].name);

		put_little_endian(out, FE_FEAST_STRING, 4);
		put_little_endian(out, len, 4);
		appendBinaryStringInfo(out, keys[i].name, len);
	}
}

/* Bytes of a key's value; 0: as many as it has. */
static int
key_width(FeFeastType type)
{
	switch (type)
	{
		case FE_FEAST_INT32:
			return 4;
		case FE_FEAST_INT64:
		case FE_FEAST_UNIX_TIMESTAMP:
			return 8;
		default:
			return 0;
	}
}

void
fe_feast_put_key(StringInfo out, const FeFeastJoinKey *keys, int nkeys,
				 const FeFeastScalar *scalars, const char *project)
{
	fe_feast_put_key_head(out, keys, nkeys);
	for (int i = 0; i < nkeys; i++)
	{
		int			width = key_width(keys[i].type);

		put_little_endian(out, keys[i].type, 4);
		put_little_endian(out, width > 0 ? (Size) width : scalars[i].len, 4);
		if (width > 0)
			put_little_endian(out, (uint64) scalars[i].i, width);
		else
			appendBinaryStringInfo(out, scalars[i].data, scalars[i].len);
	}
	appendBinaryStringInfo(out, project, strlen(project));
}

typedef struct KeyReader
{
	const unsigned char *p;
	Size		left;
} KeyReader;

static bool
take(KeyReader *r, int bytes, uint64 *value)
{
	if (r->left < (Size) bytes)
		return false;
	*value = 0;
	for (int i = 0; i < bytes; i++)
		*value |= (uint64) r->p[i] << (8 * i);
	r->p += bytes;
	r->left -= bytes;
	return true;
}

static bool
take_value(KeyReader *r, FeFeastType type, FeFeastScalar *scalar)
{
	int			width = key_width(type);
	uint64		value;

	if (!take(r, 4, &value) || value != (uint64) type || !take(r, 4, &value) || value > r->left)
		return false;
	scalar->data = (const char *) r->p;
	scalar->len = value;
	if (width == 0)
	{
		r->p += scalar->len;
		r->left -= scalar->len;
		return true;
	}
	if (scalar->len != (Size) width || !take(r, width, &value))
		return false;
	scalar->i = width == 4 ? (int64) (int32) value : (int64) value;
	return true;
}

bool
fe_feast_parse_key(const char *data, Size len, const FeFeastJoinKey *keys, int nkeys,
				   const char *project, FeFeastScalar *scalars)
{
	KeyReader	r = {(const unsigned char *) data, len};
	StringInfoData head;
	bool		ok;

	initStringInfo(&head);
	fe_feast_put_key_head(&head, keys, nkeys);
	ok = len >= (Size) head.len && memcmp(data, head.data, head.len) == 0;
	pfree(head.data);
	if (!ok)
		return false;
	r.p += head.len;
	r.left -= head.len;
	for (int i = 0; i < nkeys; i++)
		if (!take_value(&r, keys[i].type, &scalars[i]))
			return false;
	return r.left == strlen(project) && memcmp(r.p, project, r.left) == 0;
}

/* ---- fields ----------------------------------------------------------------------- */

void
fe_feast_put_field(StringInfo out, uint32 hash)
{
	put_little_endian(out, hash, 4);
}
