"""What feature-engine writes, read by Feast's own client: training sets from its file source."""
# preload: feast.cli.cli feature_engine.cli psycopg

import datetime as dt
import os
import sys
import warnings

import pandas as pd
import pyarrow.parquet as pq

warnings.filterwarnings("ignore")

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType  # noqa: E402
from feast.types import Array, Bool, Bytes, Float64, Int32, Int64, String, UnixTimestamp  # noqa: E402

import programs  # noqa: E402
import tap  # noqa: E402
from exporting import UTC, connect, fails, fresh, ok, run, succeeds  # noqa: E402

pg = connect()
pg.execute("CREATE EXTENSION feature_engine")
pg.execute("SET search_path = public, feature_engine")
pg.execute("""CREATE TABLE orders (id int8 PRIMARY KEY, customer_id int8, total float8, status text,
        created_at timestamptz);
    ALTER TABLE orders REPLICA IDENTITY FULL""")
pg.execute("""SELECT create_feature_view('customer_orders', $$
    SELECT customer_id, count(*) AS n, sum(total) AS spent, last(status, created_at) AS last_status,
           max(created_at) AS last_at, bool_or(total > 100) AS large, last_n(status, created_at, 2) AS statuses,
           '\\x01'::bytea AS raw, 7 AS seven
    FROM orders GROUP BY customer_id$$,
    offline => true, online => '{}', redis_layout => 'feast', feast_project => 'shop')""")

pg.execute("SELECT sync(history => true)")  # the pusher is done with the empty history, and leaves alone what follows


# The history, as of fixed times; customer 2 goes away, customer 4 is never there.
def record(customer, at, n, deleted=False, created=None):
    features = ["NULL"] * 8 if deleted else [
        str(n), str(n * 1.5), f"'s{n}'", f"timestamptz '{at}'", "true", f"'{{s{n},t}}'", r"'\x01'", "7"]
    pg.execute(f"INSERT INTO customer_orders_history VALUES ({customer}, '{at}', '{created or at}', '0/10', {deleted},"
               f" {', '.join(features)})")


pg.execute("""CREATE TABLE IF NOT EXISTS customer_orders_history_p202601 PARTITION OF customer_orders_history
    FOR VALUES FROM ('2026-01-01 00:00Z') TO ('2026-02-01 00:00Z')""")
for customer, at, n in ((1, "2026-01-10 01:00Z", 1), (1, "2026-01-11 01:00Z", 2), (1, "2026-01-12 01:00Z", 3),
                        (2, "2026-01-10 02:00Z", 20), (3, "2026-01-11 23:59:59.999999Z", 30)):
    record(customer, at, n)
record(2, "2026-01-11 02:00Z", 0, deleted=True)
record(3, "2026-01-10 12:00Z", 29, created="2026-01-20 00:00Z")  # computed later

to = fresh("feast")
succeeds(run("export", "--view", "customer_orders", "--to", to, "--compact"), "export --view", "customer_orders: 3 files")
succeeds(run("export", "--project", "shop", "--to", to, "--compact"), "export --project", "customer_orders: nothing new")
succeeds(run("export", "--all", "--to", to, "--compact"), "export --all", "customer_orders: nothing new")
fails(run("export", "--view", "customer_order", "--to", to), "no such view", 'no feature view "customer_order"',
      'Perhaps you mean "customer_orders".')
pg.execute("SELECT create_feature_view('plain', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id')")
fails(run("export", "--view", "plain", "--to", to), "a view without a history", "has no history",
      "alter_feature_view('plain', offline => true)")
fails(run("export", "--project", "other", "--to", to), "a project without views", 'in the Feast project "other"')

# ---- get_historical_features ----

FIELDS = [("n", Int64), ("spent", Float64), ("last_status", String), ("last_at", UnixTimestamp), ("large", Bool),
          ("statuses", Array(String)), ("raw", Bytes), ("seven", Int32)]


def open_store(name, path, explicit=True):
    folder = fresh(name)
    os.makedirs(folder)
    store = FeatureStore(config=RepoConfig(project="p", provider="local", registry=f"{folder}/registry.db",
                                           offline_store={"type": "file"}, online_store=None,
                                           entity_key_serialization_version=3))
    customer = Entity(name="customer_id", value_type=ValueType.INT64)
    source = FileSource(path=path, timestamp_field="event_timestamp", created_timestamp_column="created")
    store.apply([customer, FeatureView(name="customer_orders", entities=[customer], source=source,
                                       schema=[Field(name=n, dtype=t) for n, t in FIELDS] if explicit else [])])
    return store


def historical(store, rows, names=("n",)):
    frame = pd.DataFrame(rows, columns=["customer_id", "event_timestamp"])
    frame["event_timestamp"] = pd.to_datetime(frame["event_timestamp"], utc=True)
    found = store.get_historical_features(entity_df=frame, features=[f"customer_orders:{name}" for name in names]).to_df()
    found = found.sort_values(["customer_id", "event_timestamp"])
    return [tuple(None if pd.api.types.is_scalar(x) and pd.isna(x) else x for x in row) for row in
            found[list(names)].itertuples(index=False)]


KNOWN = [(1, "2026-01-10T01:00:00Z"), (1, "2026-01-11T00:59:59Z"), (1, "2026-01-11T01:00:00Z"), (1, "2026-01-15T00:00:00Z"),
         (2, "2026-01-11T01:59:59Z"), (2, "2026-01-11T02:00:00Z"), (3, "2026-01-12T00:00:00Z")]
VALUES = [(1,), (1,), (2,), (3,), (20,), (None,), (30,)]
directory = open_store("of-directory", f"{to}/customer_orders")
found = historical(directory, KNOWN)
ok(found == VALUES, "the directory: values as of each time, none of who has gone", str(found))
single = open_store("of-file", f"{to}/customer_orders.parquet")
found = historical(single, KNOWN)
ok(found == VALUES, "the single file: the same", str(found))
# (Feast's file store itself leaves out an entity row whose values are all later than it.)
found = historical(single, KNOWN + [(4, "2026-01-12T00:00:00Z")])
ok(found == [*VALUES, (None,)], "the single file, with an entity that has no values", str(found))
found = historical(single, [(1, "2026-01-12T02:00:00Z")], [name for name, _ in FIELDS])[0]
ok(found[0] == 3 and found[1] == 4.5 and found[2] == "s3" and found[3] == dt.datetime(2026, 1, 12, 1, tzinfo=UTC)
   and found[4] and list(found[5]) == ["s3", "t"] and found[6] == b"\1" and found[7] == 7, "every type", str(found))
inferred = open_store("inferred", f"{to}/customer_orders.parquet", explicit=False).get_feature_view("customer_orders")
types = {field.name: field.dtype for field in inferred.features}
ok(all(types[name] == kind for name, kind in FIELDS), "types that Feast infers from the file", str(types))

# ---- the generated repository ----

folder = fresh("repository")
written = run("feast", "--project", "shop", "--parquet", to, "--to", folder)
succeeds(written, "feature-engine feast", f"{folder}/feature_store.yaml", f"{folder}/features.py")
os.environ["FEAST_REDIS"] = "127.0.0.1:1"
done = programs.run([os.path.join(os.path.dirname(sys.executable), "feast"), "apply"], cwd=folder)
ok(done.returncode == 0, "feast apply", done.stdout + done.stderr)
found = historical(FeatureStore(repo_path=folder), KNOWN)
ok(found == VALUES, "get_historical_features of the generated repository", str(found))
fails(run("feast", "--project", "nobody", "--to", folder), "a project that is not there", "nobody")
fails(run("feast", "--project", "shop", "--to", "/proc/x"), "a folder that cannot be written to", "cannot use")

# ---- training-set ----

ENTITIES = "SELECT c::int8 AS customer_id, t::timestamptz AS event_timestamp, c * 10 AS label, 'a\\b' AS note FROM (VALUES " + ", ".join(
    f"({c}, '{t}')" for c, t in KNOWN) + ") v(c, t)"
file = os.path.join(to, "training.parquet")
succeeds(run("training-set", "--entities", ENTITIES, "--features", "customer_orders:n", "customer_orders:statuses",
             "customer_orders:last_at", "--to", file, PGOPTIONS="-c standard_conforming_strings=off"), "training-set", "7 rows")
table = pq.read_table(file).to_pandas().sort_values(["customer_id", "event_timestamp"])
ok([None if pd.isna(n) else n for n in table["n"]] == [n for n, in VALUES] and list(table["label"])
   == [c * 10 for c, _ in KNOWN], "training-set: the same values, and the label", str(table))
ok(set(table["note"]) == {r"a\b"}, "training-set: the text of the query, whatever the session's settings", str(table))
ok([list(x) if x is not None else None for x in table["statuses"]][:2] == [["s1", "t"]] * 2
   and str(table["last_at"].dtype.tz) == "UTC", "training-set: types")
fails(run("training-set", "--entities", "SELECT nothing", "--features", "customer_orders:n", "--to", file),
      "training-set: a mistake in the entities", "nothing")
fails(run("training-set", "--entities", ENTITIES, "--features", "customer_orders:no", "--to", file),
      "training-set: a feature that is not there", "no")

raise SystemExit(tap.finish())
