"""The history through Feast's own client: point-in-time joins equal ours row for row, from
PostgreSQL and from Parquet; `feast materialize` fills another online store, and no newer value of ours.
"""
# preload: feast.cli.cli feature_engine.cli psycopg
import datetime
import math
import re

import feast
import pandas
from psycopg.types import TypeInfo

import exporting
import feast_repo
import tap

UTC = datetime.timezone.utc
pg = feast_repo.connect()
pg.execute("SET TIME ZONE 'UTC'")


def at(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)


# ---- a history --------------------------------------------------------------------------------------

pg.execute("""
CREATE TYPE mood AS ENUM ('calm', 'angry "x"');
CREATE DOMAIN share AS float8 CHECK (VALUE <= 1);
CREATE TABLE kinds (id int8 PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, d share,
    t text, v varchar(20), e mood, n name, raw bytea, tz timestamptz, ts timestamp, day date,
    bs bool[], i2s int2[], i4s int4[], i8s int8[], f4s float4[], f8s float8[], texts text[], moods mood[], days date[]);
CREATE TABLE orders (customer_id int8, merchant text, total float8, created_at timestamptz);
ALTER TABLE kinds REPLICA IDENTITY FULL; ALTER TABLE orders REPLICA IDENTITY FULL;
SELECT create_feature_view('kinds_then', 'SELECT * FROM kinds', redis_layout => 'feast', feast_project => 'shop',
    offline => true);
SELECT create_feature_view('pair', 'SELECT merchant, id, count(*) AS orders, sum(total) AS spent
    FROM (SELECT merchant, customer_id AS id, total FROM orders) o GROUP BY merchant, id',
    redis_layout => 'feast', feast_project => 'shop', offline => true, ttl => '12 hours');
SELECT create_feature_view('no_history', 'SELECT merchant, max(total) AS highest FROM orders GROUP BY merchant',
    redis_layout => 'feast', feast_project => 'online_only');
SELECT create_feature_service('both', ARRAY['kinds_then:f8', 'pair:*']);
""")
pg.execute("SELECT sync(history => true)")  # the pusher is done with the empty histories, and leaves alone what follows
TypeInfo.fetch(pg, "mood").register(pg)
pg.execute("""
CREATE TABLE kinds_then_2026 PARTITION OF kinds_then_history FOR VALUES FROM ('2026-01-01Z') TO ('2026-03-01Z');
CREATE TABLE pair_2026 PARTITION OF pair_history FOR VALUES FROM ('2026-01-01Z') TO ('2026-03-01Z');
INSERT INTO kinds_then_history (id, event_timestamp, created, lsn, is_deleted,
    b, i2, i4, i8, f4, f8, d, t, v, e, n, raw, tz, ts, day, bs, i2s, i4s, i8s, f4s, f8s, texts, moods, days) VALUES
 (1, '2026-01-10 00:00Z', '2026-01-10 00:00Z', '0/1', false,
  true, -5, -70000, 9007199254740991, 1.5, 0.1, 0.25, 'Жук "q"', 'v', 'angry "x"', 'nm', '\\x00ff0a',
  '2026-01-09 10:00:00.123456Z', '2026-01-09 12:34:56', '1969-07-20',
  '{t,f}', '{1,-2}', '{3,-4}', '{5,-6}', '{0.5,-1}', '{0.1,1e300}', '{a,"b,c",""}', '{calm}', '{2026-01-15,1969-07-20}'),
 (1, '2026-01-20 00:00Z', '2026-01-20 00:00Z', '0/2', false, false, 0, 0, 0, 0, 0, 0, '', '', 'calm', '', '',
  '1970-01-01Z', '1970-01-01', '1970-01-01', '{f}', '{0}', '{0}', '{0}', '{0}', '{0}', '{""}',
  '{calm}', '{1970-01-01}'),
 (1, '2026-02-01 00:00Z', '2026-02-01 00:00Z', '0/3', true,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (2, '2026-01-15 06:00Z', '2026-01-15 06:00Z', '0/4', false, NULL, 1, 2, 3, NULL, 'NaN', NULL, 'two', NULL, NULL, NULL, NULL,
  '2026-01-01Z', NULL, '2026-01-01', NULL, '{7}', '{7}', '{7}', '{7}', '{7}', '{x}', NULL, NULL);
INSERT INTO pair_history (merchant, id, event_timestamp, created, lsn, is_deleted, orders, spent) VALUES
 ('ACME', 1, '2026-01-10Z', '2026-01-10Z', '0/1', false, 1, 10.5),
 ('ACME', 1, '2026-01-10 06:00Z', '2026-01-10Z', '0/1', false, 2, 12),
 ('x"y', 1, '2026-01-10Z', '2026-01-10Z', '0/1', false, 7, 0.1),
 ('ACME', 2, '2026-01-15Z', '2026-01-15Z', '0/1', false, 3, NULL);
""")
KINDS = ("b i2 i4 i8 f4 f8 d t v e n raw tz ts day bs i2s i4s i8s f4s f8s texts moods days").split()
ENTITIES = [  # id, merchant, instant
    (1, "ACME", "2026-01-09 23:59:59"),  # before the first row
    (1, "ACME", "2026-01-10 00:00:00"),  # at its instant
    (1, "ACME", "2026-01-10 05:59:59"),
    (1, 'x"y', "2026-01-10 06:00:00"),
    (1, "ACME", "2026-01-10 18:00:00"),  # the last moment before ttl is over
    (1, "ACME", "2026-01-10 18:00:01"),
    (1, "ACME", "2026-01-25 00:00:00"),
    (1, "nobody", "2026-02-02 00:00:00"),  # gone
    (2, "ACME", "2026-01-15 07:00:00"),
    (3, "ACME", "2026-01-15 07:00:00"),  # never there
]
pg.execute("CREATE TABLE wanted (row_no int, id int8, merchant text, event_timestamp timestamptz)")
for n, (key, merchant, instant) in enumerate(ENTITIES):
    pg.execute("INSERT INTO wanted VALUES (%s, %s, %s, %s)", (n, key, merchant, at(instant)))

# ---- comparing ----------------------------------------------------------------------------------------


def normal(value):
    """One form for what the two sides return for the same value."""
    if isinstance(value, (list, tuple)) or hasattr(value, "tolist") and getattr(value, "ndim", 0):
        return [normal(x) for x in value]
    if hasattr(value, "item") and not isinstance(value, pandas.Timestamp):
        value = value.item()
    if value is None or value is pandas.NaT or isinstance(value, float) and math.isnan(value):
        return None  # pandas has one for both: NULL and NaN
    if isinstance(value, datetime.datetime):
        value = pandas.Timestamp(value)
        return (value if value.tzinfo else value.tz_localize("UTC")).tz_convert("UTC")
    if isinstance(value, datetime.date):
        return pandas.Timestamp(value, tz="UTC")
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 2**53 else value


def ours(features, max_age=None):
    """Our rows in the order of the entities."""
    sql = pg.execute("SELECT historical_features_sql('SELECT * FROM wanted', features => %s, max_age => %s::interval)",
                     (features, max_age)).fetchone()[0]
    rows = pg.execute(sql)
    names = [column.name for column in rows.description]
    return sorted((dict(zip(names, row)) for row in rows), key=lambda row: row["row_no"])


def theirs(store, features):
    """Feast's rows of the same."""
    entities = pandas.DataFrame(
        [{"row_no": n, "id": key, "merchant": merchant, "event_timestamp": pandas.Timestamp(at(instant))}
         for n, (key, merchant, instant) in enumerate(ENTITIES)])
    frame = store.get_historical_features(entity_df=entities, features=features).to_df()
    return sorted(frame.to_dict("records"), key=lambda row: row["row_no"])


def compare(name, columns, got, want, all_rows=True):
    """Row by row. Feast's file store leaves out rows whose keys have only newer or too old rows: NULLs of ours."""
    there = {row["row_no"] for row in got}
    lost = [row for row in want if row["row_no"] not in there]
    tap.ok(not (all_rows and lost) and all(row[column] is None for row in lost for column in columns),
           f"{name}: the rows", repr(lost) if lost and all_rows else "")
    want = [row for row in want if row["row_no"] in there]
    for column in columns:
        a, b = [normal(row[column]) for row in got], [normal(row[column]) for row in want]
        tap.ok(a == b, f"{name}: {column}", "" if a == b else f"got {a}\nwant {b}")


def compare_store(name, store, all_rows=True):
    compare(name, KINDS, theirs(store, [f"kinds_then:{kind}" for kind in KINDS]), ours(["kinds_then:*"]), all_rows)
    compare(name + ", two keys and ttl", ["orders", "spent"], theirs(store, ["pair:orders", "pair:spent"]),
            ours(["pair:*"], "12 hours"), all_rows)
    service = theirs(store, store.get_feature_service("both"))
    tap.ok(all(set(row) == {"row_no", "id", "merchant", "event_timestamp", "f8", "orders", "spent"} for row in service),
           f"{name}: a feature service's columns")
    rows = {row["row_no"] for row in service}
    same = [row["f8"] for row in service if row["row_no"] in (1, 2, 3, 4)]
    tap.ok({1, 2, 3, 4} <= rows and same == [0.1] * 4, f"{name}: a feature service's values", repr(service))


# ---- PostgreSQL ------------------------------------------------------------------------------------------

compare_store("postgres", feast_repo.apply("shop", "project=shop"))

# ---- Parquet: what `feature-engine export --compact` writes ------------------------------------------------

parquet = feast_repo.DIR / "parquet"
for each in ("kinds_then", "pair"):
    exporting.succeeds(exporting.run("export", "--view", each, "--to", str(parquet), "--compact"), f"export of {each}")
compare_store("parquet", feast_repo.apply("files", "project=shop", "offline_source=parquet", f"parquet_path={parquet}/"),
              all_rows=False)

# ---- materialize: another online store, as of a day ------------------------------------------------------------

folder = feast_repo.write("sqlite", "project=shop")
config = folder / "feature_store.yaml"
config.write_text(re.sub(r"online_store:\n(  .*\n)+", "online_store:\n  type: sqlite\n  path: online.db\n",
                         config.read_text()))
feast_repo.feast(folder, "apply")
feast_repo.feast(folder, "materialize", "2026-01-01T00:00:00", "2026-01-21T00:00:00")
store = feast.FeatureStore(repo_path=str(folder))
answer = store.get_online_features(features=["kinds_then:i8", "kinds_then:texts", "kinds_then:t"],
                                   entity_rows=[{"id": 1}, {"id": 2}, {"id": 3}]).to_dict()
tap.ok(answer == {"id": [1, 2, 3], "i8": [0, 3, None], "texts": [[""], ["x"], None], "t": ["", "two", None]},
       "materialize: SQLite has the values of the day", repr(answer))

# ---- materialize into our Redis: what the pusher wrote is newer, and stays ----------------------------------------

pg.execute("INSERT INTO kinds (id, i8, t) VALUES (1, 77, 'live')")
pg.execute("SELECT sync(redis => true)")
feast_repo.feast(feast_repo.DIR / "shop", "materialize", "2026-01-01T00:00:00", "2026-01-21T00:00:00")
store = feast.FeatureStore(repo_path=str(feast_repo.DIR / "shop"))
answer = store.get_online_features(features=["kinds_then:i8", "kinds_then:t"],
                                   entity_rows=[{"id": 1}, {"id": 2}]).to_dict()
tap.ok(answer["i8"] == [77, 3] and answer["t"] == ["live", "two"], "materialize: no newer value is overwritten",
       repr(answer))

# ---- without a history -----------------------------------------------------------------------------------------------

pg.execute("INSERT INTO orders VALUES (5, 'ACME', 9, '2026-01-01Z')")
pg.execute("SELECT sync(redis => true)")
store = feast_repo.apply("online_only", "project=online_only")
past, future = (store.get_historical_features(
    entity_df=pandas.DataFrame([{"merchant": "ACME", "event_timestamp": pandas.Timestamp(instant)}]),
    features=["no_history:highest"]).to_df()["highest"].tolist() for instant in ("2020-01-01T00:00Z", "2100-01-01T00:00Z"))
tap.ok(normal(past[0]) is None and future == [9.0], "a view without a history has the values of now, and no past",
       repr((past, future)))
raise SystemExit(tap.finish())
