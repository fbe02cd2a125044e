/* links: src/ingest/row_image.c */
/* flags: -Wno-missing-field-initializers */
/*
 * test_row_image.c
 *		Unit tests of row images: what is written is read again, for every form of
 *		column; the same values have the same bytes, however they were stored; and
 *		other values have others.  Images are read from memory of exactly their size,
 *		so that the address sanitizer sees a byte too far.  TAP output; fixed seeds.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/tupmacs.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "fmgr.h"
#include "utils/lsyscache.h"

#include "ingest/row_image.h"
#include "pg_doubles.h"
#include "tap.h"

#define MAX_COLUMNS		20
#define MAX_BYTES		300
#define ROUNDS			20000

/* ---- types, as the catalogue has them -------------------------------------------- */

static const struct
{
	int16		len;
	bool		byval;
	char		align;
	char		storage;
}			types[] = {
	{1, true, TYPALIGN_CHAR, TYPSTORAGE_PLAIN},
	{2, true, TYPALIGN_SHORT, TYPSTORAGE_PLAIN},
	{4, true, TYPALIGN_INT, TYPSTORAGE_PLAIN},
	{8, true, TYPALIGN_DOUBLE, TYPSTORAGE_PLAIN},
	{16, false, TYPALIGN_CHAR, TYPSTORAGE_PLAIN},	/* uuid */
	{16, false, TYPALIGN_DOUBLE, TYPSTORAGE_PLAIN}, /* interval */
	{12, false, TYPALIGN_DOUBLE, TYPSTORAGE_PLAIN}, /* timetz */
	{6, false, TYPALIGN_INT, TYPSTORAGE_PLAIN}, /* macaddr */
	{-1, false, TYPALIGN_INT, TYPSTORAGE_EXTENDED}, /* text */
	{-1, false, TYPALIGN_DOUBLE, TYPSTORAGE_EXTENDED},	/* float8[] */
	{-1, false, TYPALIGN_INT, TYPSTORAGE_PLAIN},	/* oidvector: no short header */
	{-2, false, TYPALIGN_CHAR, TYPSTORAGE_PLAIN},	/* cstring */
};

void
get_typlenbyvalalign(Oid typid, int16 *typlen, bool *typbyval, char *typalign)
{
	*typlen = types[typid].len;
	*typbyval = types[typid].byval;
	*typalign = types[typid].align;
}

char
get_typstorage(Oid typid)
{
	return types[typid].storage;
}

/* What counts as compressed here is the value as it is, after the longer header. */
#define COMPRESSED_HEADER	8

struct varlena *
pg_detoast_datum_packed(struct varlena *datum)
{
	Size		size;
	struct varlena *plain;

	if (!VARATT_IS_COMPRESSED(datum))
		return datum;
	size = VARSIZE_4B(datum) - COMPRESSED_HEADER;
	plain = palloc(size + VARHDRSZ);
	SET_VARSIZE(plain, size + VARHDRSZ);
	memcpy(VARDATA(plain), (char *) datum + COMPRESSED_HEADER, size);
	return plain;
}

/* ---- random rows -------------------------------------------------------------------- */

typedef struct Row
{
	int			ncolumns;
	int			types[MAX_COLUMNS];
	bool		nulls[MAX_COLUMNS];
	int			sizes[MAX_COLUMNS];
	char		bytes[MAX_COLUMNS][MAX_BYTES];
} Row;

static pg_prng_state prng;

static int
below(int n)
{
	return (int) pg_prng_uint64_range(&prng, 0, n - 1);
}

static void
random_value(Row *row, int i)
{
	int			len = types[row->types[i]].len;

	row->nulls[i] = below(4) == 0;
	/* around the length at which a header becomes longer, too */
	row->sizes[i] = len > 0 ? len : below(3) ? below(20) : 120 + below(MAX_BYTES - 120);
	for (int b = 0; b < row->sizes[i]; b++)
		row->bytes[i][b] = len == -2 ? 'a' + below(26) : below(256);
}

static void
random_row(Row *row)
{
	row->ncolumns = 1 + below(MAX_COLUMNS);
	for (int i = 0; i < row->ncolumns; i++)
	{
		row->types[i] = below(lengthof(types));
		random_value(row, i);
	}
}

/* A varlena in one of its forms. */
static Datum
make_varlena(const char *bytes, int size)
{
	int			form = below(3);
	char	   *v = palloc(size + COMPRESSED_HEADER);

	if (form == 0 && size + VARHDRSZ_SHORT <= VARATT_SHORT_MAX)
	{
		SET_VARSIZE_SHORT(v, size + VARHDRSZ_SHORT);
		memcpy(v + VARHDRSZ_SHORT, bytes, size);
	}
	else if (form == 1)
	{
		SET_VARSIZE_COMPRESSED(v, size + COMPRESSED_HEADER);
		memcpy(v + COMPRESSED_HEADER, bytes, size);
	}
	else
	{
		SET_VARSIZE(v, size + VARHDRSZ);
		memcpy(v + VARHDRSZ, bytes, size);
	}
	return PointerGetDatum(v);
}

static Datum
make_datum(const Row *row, int i)
{
	int			type = row->types[i];
	char	   *copy;

	if (types[type].len == -1)
		return make_varlena(row->bytes[i], row->sizes[i]);
	copy = palloc0(Max(row->sizes[i], 8) + 1);
	memcpy(copy, row->bytes[i], row->sizes[i]);
	return types[type].byval ? fetch_att(copy, true, types[type].len) : PointerGetDatum(copy);
}

static void
make_form(const Row *row, FeImageForm *form, FeImageColumn *columns)
{
	form->ncolumns = row->ncolumns;
	form->columns = columns;
	for (int i = 0; i < row->ncolumns; i++)
		fe_image_column_init(&columns[i], row->types[i]);
}

static bytea *
write_row(const Row *row)
{
	FeImageColumn columns[MAX_COLUMNS];
	FeImageForm form;
	Datum		values[MAX_COLUMNS];

	make_form(row, &form, columns);
	for (int i = 0; i < row->ncolumns; i++)
		values[i] = row->nulls[i] ? (Datum) 0 : make_datum(row, i);
	return fe_row_image(&form, values, row->nulls);
}

/* ---- reading -------------------------------------------------------------------------- */

static bool
same_value(const Row *row, int i, Datum value)
{
	const char *bytes = DatumGetPointer(value);
	char		byval[8] = {0};

	if (types[row->types[i]].byval)
	{
		store_att_byval(byval, value, types[row->types[i]].len);
		return memcmp(byval, row->bytes[i], row->sizes[i]) == 0;
	}
	if (types[row->types[i]].len == -2)
		return strlen(bytes) == row->sizes[i] && memcmp(bytes, row->bytes[i], row->sizes[i]) == 0;
	if (types[row->types[i]].len == -1)
	{
		/* one that is declared without short headers has none */
		if (types[row->types[i]].storage == TYPSTORAGE_PLAIN && VARATT_IS_SHORT(bytes))
			return false;
		return VARSIZE_ANY_EXHDR(bytes) == row->sizes[i] &&
			memcmp(VARDATA_ANY(bytes), row->bytes[i], row->sizes[i]) == 0 &&
			(VARATT_IS_SHORT(bytes) || (uintptr_t) bytes % sizeof(int32) == 0);
	}
	return memcmp(bytes, row->bytes[i], row->sizes[i]) == 0 &&
		(types[row->types[i]].align != TYPALIGN_DOUBLE || (uintptr_t) bytes % 8 == 0);
}

/* The image as it may be kept elsewhere: of exactly its size, maybe with a short header. */
static char *
kept(const bytea *image)
{
	Size		size = VARSIZE(image) - VARHDRSZ;
	bool		is_short = size + VARHDRSZ_SHORT <= VARATT_SHORT_MAX && below(2);
	char	   *copy = malloc(size + (is_short ? VARHDRSZ_SHORT : VARHDRSZ));

	if (is_short)
		SET_VARSIZE_SHORT(copy, size + VARHDRSZ_SHORT);
	else
		SET_VARSIZE(copy, size + VARHDRSZ);
	memcpy(copy + (is_short ? VARHDRSZ_SHORT : VARHDRSZ), VARDATA(image), size);
	return copy;
}

static bool
reads_back(const Row *row, const bytea *image)
{
	FeImageColumn columns[MAX_COLUMNS];
	FeImageForm form;
	Datum		values[MAX_COLUMNS];
	bool		nulls[MAX_COLUMNS];
	char	   *copy = kept(image);
	bool		same = true;

	make_form(row, &form, columns);
	fe_row_image_read(&form, PointerGetDatum(copy), values, nulls);
	free(copy);					/* values are not in it */
	for (int i = 0; i < row->ncolumns; i++)
		same = same && nulls[i] == row->nulls[i] && (nulls[i] || same_value(row, i, values[i]));
	return same;
}

/* ---- properties ----------------------------------------------------------------------- */

static bool
round_trips(void)
{
	for (int round = 0; round < ROUNDS; round++)
	{
		Row			row;

		random_row(&row);
		if (!reads_back(&row, write_row(&row)))
			return false;
	}
	return true;
}

/* Written twice, from whatever forms of its values, and kept in whatever form. */
static bool
equal_rows_have_equal_images(void)
{
	for (int round = 0; round < ROUNDS; round++)
	{
		Row			row;
		bytea	   *a;
		bytea	   *b;
		char	   *copy;
		bool		equal;

		random_row(&row);
		a = write_row(&row);
		b = write_row(&row);
		copy = kept(b);
		equal = VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0 &&
			fe_row_image_equal(PointerGetDatum(a), PointerGetDatum(copy));
		free(copy);
		if (!equal)
			return false;
	}
	return true;
}

/* One byte of one value, its length, or whether it is NULL is another one. */
static bool
other_rows_have_other_images(void)
{
	for (int round = 0; round < ROUNDS; round++)
	{
		Row			row;
		Row			other;
		int			i;
		bytea	   *image;

		random_row(&row);
		other = row;
		i = below(row.ncolumns);
		if (row.nulls[i] || below(4) == 0)
			other.nulls[i] = !row.nulls[i];
		else if (row.sizes[i] > 0)
			other.bytes[i][below(row.sizes[i])] ^= 1;
		else
			other.sizes[i] = 1, other.bytes[i][0] = 'x';
		image = write_row(&row);
		if (fe_row_image_equal(PointerGetDatum(image), PointerGetDatum(write_row(&other))))
			return false;
	}
	return true;
}

static bool
nulls_take_no_bytes(void)
{
	Row			row = {.ncolumns = 9};

	for (int i = 0; i < row.ncolumns; i++)
		row.nulls[i] = true;
	return VARSIZE(write_row(&row)) == VARHDRSZ + 2 && reads_back(&row, write_row(&row));
}

static bool
no_columns(void)
{
	Row			row = {.ncolumns = 0};

	return VARSIZE(write_row(&row)) == VARHDRSZ && reads_back(&row, write_row(&row));
}

int
main(void)
{
	pg_prng_seed(&prng, 20260301);
	ok(round_trips(), "what is written is read again");
	ok(equal_rows_have_equal_images(), "equal rows have the same bytes, compressed or not, with short headers or not");
	ok(other_rows_have_other_images(), "other rows have other bytes");
	ok(nulls_take_no_bytes(), "NULLs take a bit each");
	ok(no_columns(), "an image of no columns");
	return done_testing();
}
