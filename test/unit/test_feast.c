/* links: src/online/feast_value.c */
/*
 * test_feast.c
 *		The bytes of Feast's layout, against those that its own client wrote.
 */
#include "postgres_fe.h"

#include <math.h>

#include "online/feast_value.h"
#include "runtime/murmur.h"
#include "tap.h"

/* ---- helpers ---------------------------------------------------------------------- */

static char *
hex(const char *data, int len)
{
	char	   *text = palloc(2 * len + 1);

	text[0] = '\0';
	for (int i = 0; i < len; i++)
		sprintf(text + 2 * i, "%02x", (unsigned char) data[i]);
	return text;
}

static void
is_hex(const char *data, int len, const char *expected, const char *name)
{
	char	   *got = hex(data, len);

	ok(strcmp(got, expected) == 0, name);
	if (strcmp(got, expected) != 0)
		printf("#      got: %s\n# expected: %s\n", got, expected);
}

static void
value_is(FeFeastType type, const FeFeastScalar *scalars, int n, const char *expected,
		 const char *name)
{
	StringInfoData out;

	initStringInfo(&out);
	fe_feast_put_value(&out, type, scalars, n);
	is_hex(out.data, out.len, expected, name);
}

static FeFeastScalar
integer(int64 i)
{
	FeFeastScalar s = {.i = i};

	return s;
}

static FeFeastScalar
number(double d)
{
	FeFeastScalar s = {.d = d};

	return s;
}

static FeFeastScalar
bytes(const char *data, Size len)
{
	FeFeastScalar s = {.data = data,.len = len};

	return s;
}

static void
int_is(FeFeastType type, int64 i, const char *expected, const char *name)
{
	FeFeastScalar s = integer(i);

	value_is(type, &s, 1, expected, name);
}

static void
double_is(FeFeastType type, double d, const char *expected, const char *name)
{
	FeFeastScalar s = number(d);

	value_is(type, &s, 1, expected, name);
}

static void
text_is(FeFeastType type, const char *data, Size len, const char *expected, const char *name)
{
	FeFeastScalar s = bytes(data, len);

	value_is(type, &s, 1, expected, name);
}

static void
time_is(int64 usecs, const char *expected, const char *name)
{
	StringInfoData out;

	initStringInfo(&out);
	fe_feast_put_timestamp(&out, usecs);
	is_hex(out.data, out.len, expected, name);
}

/* ---- values ------------------------------------------------------------------------ */

static void
test_scalars(void)
{
	int_is(FE_FEAST_INT64, 0, "2000", "int64 0 is written");
	int_is(FE_FEAST_INT64, 2, "2002", "int64 2");
	int_is(FE_FEAST_INT64, -1, "20ffffffffffffffffff01", "int64 -1");
	int_is(FE_FEAST_INT64, 300, "20ac02", "int64 300");
	int_is(FE_FEAST_INT64, PG_INT64_MIN, "2080808080808080808001", "least int64");
	int_is(FE_FEAST_INT64, PG_INT64_MAX, "20ffffffffffffffff7f", "greatest int64");
	int_is(FE_FEAST_INT32, -1, "18ffffffffffffffffff01", "int32 -1 has ten bytes, too");
	int_is(FE_FEAST_INT32, 127, "187f", "int32 127");
	int_is(FE_FEAST_INT32, 128, "188001", "int32 128");
	int_is(FE_FEAST_BOOL, 1, "3801", "true");
	int_is(FE_FEAST_BOOL, 0, "3800", "false");
	int_is(FE_FEAST_UNIX_TIMESTAMP, 1768435200, "4080dca0cb06", "2026-01-15 00:00:00Z");
	double_is(FE_FEAST_DOUBLE, 1.5, "29000000000000f83f", "double 1.5");
	double_is(FE_FEAST_DOUBLE, 0, "290000000000000000", "double 0");
	double_is(FE_FEAST_DOUBLE, -0.0, "290000000000000080", "double -0");
	double_is(FE_FEAST_DOUBLE, HUGE_VAL, "29000000000000f07f", "Infinity");
	double_is(FE_FEAST_FLOAT, 1.5, "350000c03f", "float 1.5");
	text_is(FE_FEAST_STRING, "abc", 3, "1203616263", "abc");
	text_is(FE_FEAST_STRING, "", 0, "1200", "an empty text");
	text_is(FE_FEAST_BYTES, "\1\2", 2, "0a020102", "two bytes");
	text_is(FE_FEAST_BYTES, "\0\xff", 2, "0a0200ff", "any bytes");
}

static void
test_long_text(void)
{
	StringInfoData out;
	FeFeastScalar s;
	char	   *text = palloc(300);

	memset(text, 'x', 300);
	s = bytes(text, 300);
	initStringInfo(&out);
	fe_feast_put_value(&out, FE_FEAST_STRING, &s, 1);
	is_hex(out.data, 4, "12ac0278", "a length of two bytes");
	ok(out.len == 303, "... and all of the text");
}

static void
test_lists(void)
{
	FeFeastScalar ints[] = {integer(1), integer(2), integer(300)};
	FeFeastScalar doubles[] = {number(1.5), number(2)};
	FeFeastScalar texts[] = {bytes("a", 1), bytes("bc", 2)};
	FeFeastScalar bools[] = {integer(1), integer(0)};

#define LIST(type)	((FeFeastType) (FE_FEAST_##type + FE_FEAST_LIST))
	value_is(LIST(INT64), ints, 3, "72060a040102ac02", "a list of int64");
	value_is(LIST(INT32), ints, 3, "6a060a040102ac02", "... of int32");
	value_is(LIST(DOUBLE), doubles, 2, "7a120a10000000000000f83f0000000000000040", "... of double");
	value_is(LIST(FLOAT), doubles, 2, "82010a0a080000c03f00000040", "... of float");
	value_is(LIST(STRING), texts, 2, "62070a01610a026263", "... of text");
	value_is(LIST(BYTES), texts, 2, "5a070a01610a026263", "... of bytes");
	value_is(LIST(BOOL), bools, 2, "8a01040a020100", "... of bool");
	value_is(LIST(UNIX_TIMESTAMP), ints, 3, "9201060a040102ac02", "... of timestamps");
	value_is(LIST(INT64), ints, 0, "7200", "an empty list is written");
	value_is(LIST(STRING), texts, 0, "6200", "... of text as well");
}

static void
test_timestamps(void)
{
	time_is(INT64CONST(1768435200000000), "0880dca0cb06", "whole seconds");
	time_is(INT64CONST(1768435200123456), "0880dca0cb06108094ef3a", "microseconds");
	time_is(-500000, "08ffffffffffffffffff011080cab5ee01", "half a second before 1970");
	time_is(0, "", "the epoch is empty");
	time_is(1, "10e807", "a microsecond after it");
	time_is(-1000000, "08ffffffffffffffffff01", "a second before it");
}

/* ---- keys and fields ---------------------------------------------------------------- */

#define ONE_KEY	"01000000" "02000000" "0b000000" "637573746f6d65725f6964" "04000000" "08000000" \
	"0100000000000000" "64656d6f"
#define TWO_KEYS "02000000" "020000000b000000637573746f6d65725f6964" "02000000080000006d65726368616e74" \
	"0400000008000000ffffffffffffffff" "020000000400000041434d45" "64656d6f"

static void
test_keys(void)
{
	FeFeastJoinKey customer[] = {{"customer_id", FE_FEAST_INT64}};
	FeFeastJoinKey both[] = {{"customer_id", FE_FEAST_INT64}, {"merchant", FE_FEAST_STRING}};
	FeFeastScalar one = integer(1);
	FeFeastScalar two[] = {integer(-1), bytes("ACME", 4)};
	FeFeastScalar back[2];
	StringInfoData key;

	initStringInfo(&key);
	fe_feast_put_key(&key, customer, 1, &one, "demo");
	is_hex(key.data, key.len, ONE_KEY, "one key");
	memset(back, 0, sizeof(back));
	ok(fe_feast_parse_key(key.data, key.len, customer, 1, "demo", back) && back[0].i == 1,
	   "... and back");
	ok(!fe_feast_parse_key(key.data, key.len, customer, 1, "dem", back), "of another project");
	ok(!fe_feast_parse_key(key.data, key.len, customer, 1, "demo2", back), "... and another");
	ok(!fe_feast_parse_key(key.data, key.len, both, 2, "demo", back), "of other join keys");
	customer[0].type = FE_FEAST_INT32;
	ok(!fe_feast_parse_key(key.data, key.len, customer, 1, "demo", back), "of another type");

	resetStringInfo(&key);
	fe_feast_put_key(&key, both, 2, two, "demo");
	is_hex(key.data, key.len, TWO_KEYS, "two keys");
	memset(back, 0, sizeof(back));
	ok(fe_feast_parse_key(key.data, key.len, both, 2, "demo", back) && back[0].i == -1 &&
	   back[1].len == 4 && memcmp(back[1].data, "ACME", 4) == 0, "... and back");
	for (int len = 0; len < key.len; len++)
	{
		char	   *part = memcpy(palloc(len + 1), key.data, len);

		part = repalloc(part, Max(len, 1));	/* sanitizers see what is read behind it */
		if (fe_feast_parse_key(part, len, both, 2, "demo", back))
			ok(false, psprintf("%d bytes of it are a key", len));
		pfree(part);
	}

	/* a length beyond the end, and one that is not its type's */
	key.data[key.len - 12] = (char) 0xff;
	ok(!fe_feast_parse_key(key.data, key.len, both, 2, "demo", back), "a text beyond the end");
	resetStringInfo(&key);
	customer[0].type = FE_FEAST_INT64;
	fe_feast_put_key(&key, customer, 1, &one, "demo");
	key.data[27] = 7;
	ok(!fe_feast_parse_key(key.data, key.len, customer, 1, "demo", back), "an int64 of 7 bytes");
}

static void
test_key_types(void)
{
	FeFeastJoinKey key = {"k", FE_FEAST_INT32};
	FeFeastScalar s = integer(-2);
	FeFeastScalar back = {0};
	StringInfoData out;

	initStringInfo(&out);
	fe_feast_put_key(&out, &key, 1, &s, "p");
	is_hex(out.data, out.len, "0100000002000000010000006b" "0300000004000000feffffff" "70",
		   "an int32 has four bytes");
	ok(fe_feast_parse_key(out.data, out.len, &key, 1, "p", &back) && back.i == -2,
	   "... and its sign");

	resetStringInfo(&out);
	key.type = FE_FEAST_UNIX_TIMESTAMP;
	s = integer(1768435200);
	fe_feast_put_key(&out, &key, 1, &s, "p");
	is_hex(out.data, out.len, "0100000002000000010000006b" "0800000008000000002e686900000000" "70",
		   "a timestamp");

	resetStringInfo(&out);
	key.type = FE_FEAST_BYTES;
	s = bytes("\0p", 2);
	fe_feast_put_key(&out, &key, 1, &s, "p");
	is_hex(out.data, out.len, "0100000002000000010000006b" "01000000020000000070" "70", "bytes");
	ok(fe_feast_parse_key(out.data, out.len, &key, 1, "p", &back) && back.len == 2 &&
	   memcmp(back.data, "\0p", 2) == 0, "... and back");
}

static void
hash_is(const char *text, uint32 expected)
{
	ok(fe_murmur32(text, strlen(text)) == expected, psprintf("murmur3 of \"%s\"", text));
}

static void
test_fields(void)
{
	const char *name = "customer_features:order_count_30d";
	StringInfoData out;

	initStringInfo(&out);
	fe_feast_put_field(&out, fe_murmur32(name, strlen(name)));
	is_hex(out.data, out.len, "792f1254", "a feature's field");
	hash_is("", 0);
	hash_is("a", 0x3c2569b2);
	hash_is("ab", 0x9bbfd75f);
	hash_is("abc", 0xb3dd93fa);
	hash_is("abcd", 0x43ed676a);
	hash_is("\xff\xff\xff\xff", 0x76293b50);
}

int
main(void)
{
	test_scalars();
	test_long_text();
	test_lists();
	test_timestamps();
	test_keys();
	test_key_types();
	test_fields();
	return done_testing();
}
