"""feature-engine export: every type of PostgreSQL's as one that Feast accepts, and texts as Redis holds them."""
# preload: feature_engine.cli psycopg pyarrow.dataset pyarrow.parquet duckdb

import datetime as dt
import decimal
import json
import math

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import duckdb
import tap
from exporting import UTC, connect, export, fails, files, fresh, make_history, ok, succeeds

pg = connect()
pg.execute("""CREATE TYPE mood AS ENUM ('calm', 'angry "x"'); CREATE DOMAIN share AS float8;
    CREATE DOMAIN shares AS numeric(10,4)[]; CREATE TYPE pair AS (a int, b text);""")

T = pa.timestamp("us", tz="UTC")
MIDNIGHT = dt.datetime(2026, 1, 15, tzinfo=UTC)
NOON = MIDNIGHT + dt.timedelta(hours=12, microseconds=123456)

# type, literal, type in Parquet, value
TYPES = [
    ("boolean", "true", pa.bool_(), True),
    ("smallint", "-5", pa.int32(), -5),
    ("integer", "-70000", pa.int32(), -70000),
    ("bigint", "9007199254740993", pa.int64(), 9007199254740993),
    ("oid", "4294967295", pa.int64(), 4294967295),
    ("real", "0.1", pa.float32(), 0.10000000149011612),
    ("double precision", "0.1", pa.float64(), 0.1),
    ("double precision", "'-infinity'", pa.float64(), -math.inf),
    ("share", "0.25", pa.float64(), 0.25),
    ("numeric", "12345678901234567890.1", pa.float64(), 1.2345678901234567e19),
    ("numeric(10,2)", "19.99", pa.float64(), 19.99),
    ("money", "12.50", pa.string(), "$12.50"),
    ("text", "'Жук \"q\"'", pa.string(), 'Жук "q"'),
    ("text", "''", pa.string(), ""),
    ("varchar(5)", "'abc'", pa.string(), "abc"),
    ("char(4)", "'ab'", pa.string(), "ab  "),
    ("name", "'nm'", pa.string(), "nm"),
    ('"char"', "'x'", pa.string(), "x"),
    ("mood", "'angry \"x\"'", pa.string(), 'angry "x"'),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", pa.string(), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("jsonb", """'{"b": [1, null], "a": "x"}'""", pa.string(), '{"a": "x", "b": [1, null]}'),
    ("inet", "'192.168.1.5'", pa.string(), "192.168.1.5"),
    ("interval", "'1 mon 2 days 03:04:05.5'", pa.string(), "1 mon 2 days 03:04:05.5"),
    ("time", "'12:34:56.5'", pa.string(), "12:34:56.5"),
    ("tstzrange", "'[2026-01-15 02:00+02,2026-01-16 00:00Z)'", pa.string(),
     '["2026-01-15 00:00:00+00","2026-01-16 00:00:00+00")'),
    ("int4range", "'[1,5)'", pa.string(), "[1,5)"),
    ("pair", "'(1,x)'", pa.string(), "(1,x)"),
    ("pair", "'(,)'", pa.string(), "(,)"),
    ("bit(3)", "B'101'", pa.string(), "101"),
    ("bytea", r"'\x00ff0a'", pa.binary(), b"\x00\xff\x0a"),
    ("timestamptz", "'2026-01-15 14:00:00.123456+02'", T, NOON),
    ("timestamp", "'2026-01-15 12:00:00.123456'", T, NOON),
    ("date", "'2026-01-15'", T, MIDNIGHT),
    ("timestamptz", "'0001-01-01 00:00Z'", T, dt.datetime(1, 1, 1, tzinfo=UTC)),
    ("pg_lsn", "'1/2'", pa.int64(), 2**32 + 2),
    ("boolean[]", "'{t,f}'", pa.list_(pa.bool_()), [True, False]),
    ("smallint[]", "'{1,-2}'", pa.list_(pa.int32()), [1, -2]),
    ("integer[]", "'{3,NULL,-4}'", pa.list_(pa.int32()), [3, None, -4]),
    ("bigint[]", "'{}'", pa.list_(pa.int64()), []),
    ("real[]", "'{0.5}'", pa.list_(pa.float32()), [0.5]),
    ("double precision[]", "'{0.1,1e300}'", pa.list_(pa.float64()), [0.1, 1e300]),
    ("numeric[]", "'{0.1,2}'", pa.list_(pa.float64()), [0.1, 2.0]),
    ("shares", "'{0.1,2}'", pa.list_(pa.float64()), [0.1, 2.0]),
    ("text[]", """'{a,"b,c",""}'""", pa.list_(pa.string()), ["a", "b,c", ""]),
    ("mood[]", "'{calm}'", pa.list_(pa.string()), ["calm"]),
    ("uuid[]", "'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'", pa.list_(pa.string()),
     ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("bytea[]", r"""'{"\\x01","\\x"}'""", pa.list_(pa.binary()), [b"\1", b""]),
    ("timestamptz[]", "'{2026-01-15 02:00+02}'", pa.list_(T), [MIDNIGHT]),
    ("timestamp[]", "'{2026-01-15 00:00}'", pa.list_(T), [MIDNIGHT]),
    ("date[]", "'{2026-01-15}'", pa.list_(T), [MIDNIGHT]),
]
FIXED = "'2026-01-15 {}:00Z', '2026-01-15 00:00Z', '0/10', false"

names = [f"f{i}" for i in range(len(TYPES))]
make_history(pg, "types_history", ", ".join(f"{name} {kind}" for name, (kind, *_) in zip(names, TYPES)), ["2026-01"])
pg.execute(f"INSERT INTO types_history VALUES (1, {FIXED.format('01')}, {', '.join(row[1] for row in TYPES)})")
pg.execute(f"INSERT INTO types_history VALUES (1, {FIXED.format('02')})")
to = fresh("types")
# a session in another zone, with other settings
ok(export("types_history", to, PGTZ="America/New_York", PGDATESTYLE="German",
          PGOPTIONS="-c intervalstyle=iso_8601 -c bytea_output=escape").status == 0, "every type is exported")
table = ds.dataset(f"{to}/types", partitioning="hive").to_table().sort_by("event_timestamp")
for name, (kind, text, arrow, value) in zip(names, TYPES):
    found = table[name].to_pylist()
    ok(table.schema.field(name).type == arrow and found == [value, None], f"{kind} {text}: {arrow}, NULL",
       f"{table.schema.field(name).type} {found}")
ok(table.schema.field("event_timestamp").type == T and table.schema.field("lsn").type == pa.int64()
   and table["lsn"].to_pylist() == [16, 16], "event_timestamp in UTC, lsn as a number")
duck = duckdb.sql(f"SELECT * FROM '{to}/types/*/*.parquet' ORDER BY event_timestamp").to_arrow_table()
ok(all(duck[name].to_pylist() == table[name].to_pylist() for name in names
       if table.schema.field(name).type != T and not pa.types.is_list(table.schema.field(name).type)),
   "DuckDB reads the same values")
ok(all(str(pq.ParquetFile(f"{to}/types/date=2026-01-15/part-0.parquet").schema_arrow.field(name).type)
       .startswith("list<item: ") for name in names if pa.types.is_list(table.schema.field(name).type)),
   "elements of lists are called as Feast expects")

# ---- decimals ----

make_history(pg, "money_history", "bare numeric, declared numeric(10,2), list numeric(6,3)[], wide numeric(50,2)", ["2026-01"])
pg.execute(f"""INSERT INTO money_history VALUES (1, {FIXED.format('01')}, 1::numeric / 3, 19.99, '{{0.125,NULL}}', 7),
    (1, {FIXED.format('02')}, 12345678901234567890, NULL, NULL, NULL)""")
to = fresh("decimal")
succeeds(export("money_history", to, "--decimals", "decimal128"), "--decimals decimal128")
table = ds.dataset(f"{to}/money").to_table()
D = decimal.Decimal
ok([str(table.schema.field(name).type) for name in ("bare", "declared", "list", "wide")]
   == ["decimal128(38, 18)", "decimal128(10, 2)", "list<item: decimal128(6, 3)>", "decimal128(38, 18)"],
   "as declared, else 38 digits, 18 of them decimals", str(table.schema))
ok(table["bare"].to_pylist() == [D("0." + "3" * 18), D("12345678901234567890")] and table["declared"][0].as_py() == D("19.99")
   and table["list"].to_pylist() == [[D("0.125"), None], None], "their values", str(table.to_pylist()))
to = fresh("string")
succeeds(export("money_history", to, "--decimals", "string"), "--decimals string")
table = ds.dataset(f"{to}/money").to_table()
ok(table["bare"].to_pylist() == ["0.33333333333333333333", "12345678901234567890"]
   and table["list"].to_pylist() == [["0.125", None], None], "exact", str(table.to_pylist()))
pg.execute("UPDATE money_history SET bare = 'NaN'")
to = fresh("nan")
fails(export("money_history", to, "--decimals", "decimal128"), "NaN in decimal128", '"bare"', "--decimals string")
succeeds(export("money_history", to + "2"), "NaN as float64")
ok(all(math.isnan(x) for x in ds.dataset(f"{to}2/money").to_table()["bare"].to_pylist()), "is NaN")
pg.execute("UPDATE money_history SET bare = 1e30")
fails(export("money_history", to, "--decimals", "decimal128"), "too large for decimal128", "overflow")

# ---- what Parquet does not have ----

make_history(pg, "odd_history", "at timestamptz, day date, list timestamptz[], grid int[]", ["2026-01"])
pg.execute(f"""INSERT INTO odd_history VALUES (1, {FIXED.format('01')}, 'infinity', '-infinity', NULL, NULL),
    (1, {FIXED.format('02')}, NULL, NULL, '{{-infinity,2026-01-15 00:00Z}}', NULL),
    (1, {FIXED.format('03')}, '294276-12-31 00:00Z', '2026-01-15', '{{}}', NULL)""")
to = fresh("odd")
fails(export("odd_history", to), "an infinite time", '"at"', "--infinite null")
ok(files(f"{to}/odd") == [], "nothing is written then")
succeeds(export("odd_history", to, "--infinite", "null"), "--infinite null")
table = ds.dataset(f"{to}/odd").to_table().sort_by("event_timestamp")
ok(table["at"].to_pylist() == [None, None, None] and table["day"].to_pylist() == [None, None, MIDNIGHT]
   and table["list"].to_pylist() == [None, [None, MIDNIGHT], []], "NULL instead", str(table.to_pylist()))
pg.execute("UPDATE odd_history SET grid = '{{1,2},{3,4}}', at = NULL")
fails(export("odd_history", fresh("grid"), "--infinite", "null"), "an array of two dimensions", "more than one dimension", '"grid"')

# ---- names ----

odd = 'we "quote" it, and; \u0416\u0443\u043a'
make_history(pg, "date_history", f'date text, "event_date" int, "{odd.replace(chr(34), chr(34) * 2)}" int', ["2026-01"])
pg.execute(f"INSERT INTO date_history VALUES (1, {FIXED.format('01')}, 'd', 2, 3)")
to = fresh("names")
succeeds(export("date_history", to), "features called date and event_date, and one with an odd name")
table = ds.dataset(f"{to}/date", partitioning="hive").to_table()
ok(table["date"].to_pylist() == ["d"] and table["event_date"].to_pylist() == [2] and table[odd].to_pylist() == [3]
   and "event_day" in table.schema.names, "the partition column has another name", str(table.schema))
metadata = pq.ParquetFile(f"{to}/date/event_day=2026-01-15/part-0.parquet").schema_arrow.metadata
ok(json.loads(metadata[b"feature_engine"])["slice"] == "2026-01-15", "files tell what they are")

raise SystemExit(tap.finish())
