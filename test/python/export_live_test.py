"""feature-engine export of a history that the engine writes: with changes, a backfill, retention, ingest at the same time."""
# preload: feature_engine.cli psycopg pyarrow.dataset pyarrow.parquet

import pyarrow.dataset as ds

import tap
from exporting import connect, end, files, fresh, ok, run, start, succeeds, wait_for

pg = connect()
pg.execute("CREATE EXTENSION feature_engine")
pg.execute("SET search_path = public, feature_engine")
pg.execute("SET TIME ZONE 'UTC'")
pg.execute("""CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id int8, total numeric(10,2), status text,
    created_at timestamptz);
    ALTER TABLE orders REPLICA IDENTITY FULL""")


def clock(at):
    pg.execute("SELECT set_clock(%s)", (at,))


def sync():
    pg.execute("SELECT sync(history => true)")


def order(customer, total, at):
    pg.execute("INSERT INTO orders (customer_id, total, status, created_at) VALUES (%s, %s, 'paid', %s)", (customer, total, at))


def table_rows(condition="true"):
    return [tuple(row) for row in pg.execute(f"""SELECT customer_id, event_timestamp, created, is_deleted, n, spent::float8,
        last_status FROM customer_orders_history WHERE {condition} ORDER BY 1, 2""").fetchall()]


def dataset_rows():
    table = ds.dataset(data, partitioning="hive").to_table()
    names = ("customer_id", "event_timestamp", "created", "is_deleted", "n", "spent", "last_status")
    return sorted(zip(*(table[name].to_pylist() for name in names)), key=lambda row: row[:2])


def same(name):
    sync()
    found, expected = dataset_rows(), table_rows()
    return ok(found == expected, name, f"{len(found)} {len(expected)} {found[:3]} {expected[:3]}")


def export(*arguments):
    return run("export", "--view", "customer_orders", "--to", to, *arguments)


to = fresh("live")
data = f"{to}/customer_orders"
clock("2026-01-10 12:00Z")
pg.execute("""SELECT create_feature_view('customer_orders', $$
    SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, '7 days')) AS n,
           sum(total) FILTER (WHERE rolling(created_at, '7 days')) AS spent, last(status, created_at) AS last_status
    FROM orders GROUP BY customer_id$$, offline => true, online => '{}', history_retention => '30 days')""")
for customer in range(1, 6):
    order(customer, customer * 10, "2026-01-10 11:00Z")
sync()
succeeds(export(), "what the engine has recorded", "1 files written, 5 rows")
same("the history")
order(1, 5, "2026-01-10 11:30Z")
sync()
# frozen clock: the same T again, so rows may be replaced
pg.execute("UPDATE orders SET status = 'sent' WHERE customer_id = 2")
sync()
succeeds(export(), "more at the same T", "1 files written")
same("rows that were replaced")
clock("2026-01-11 12:00Z")
order(6, 1, "2026-01-11 11:00Z")
pg.execute("DELETE FROM orders WHERE customer_id = 5")
sync()
succeeds(export(), "another day", "1 files written, 2 rows")
same("an entity that has gone")
clock("2026-01-20 12:00Z")
order(7, 1, "2026-01-20 11:00Z")
sync()
succeeds(export(), "features that fell as time went on")
same("and what time has changed")
kept = dataset_rows()
clock("2026-02-15 12:00Z")
order(8, 1, "2026-02-15 11:00Z")
sync()
wait_for("the retention", lambda: not table_rows("event_timestamp < '2026-01-12 00:00Z'"))
succeeds(export(), "after the retention")
found = dataset_rows()
ok(set(kept) | set(table_rows()) == set(found) and len({row[:2] for row in found}) == len(found),
   "what the retention dropped stays in files, each key and event_timestamp once",
   f"{len(kept)} {len(table_rows())} {len(found)}")

# ---- while rows come ----

pg.execute("SELECT alter_feature_view('customer_orders', reset => ARRAY['history_retention'])")
sync()
clock(None)
to = fresh("busy")
data = f"{to}/customer_orders"
process = start("export", "--view", "customer_orders", "--to", to, "--follow", "--interval", "0.1", "--slice", "hour",
                "--recheck", "1")
with connect() as writer:
    for i in range(300):
        writer.execute("INSERT INTO orders (customer_id, total, status, created_at) VALUES (%s, 1, 'x', clock_timestamp())",
                       (i % 20,))
        if i % 50 == 0:
            writer.execute("SELECT feature_engine.sync(history => true)")
sync()
wait_for("all rows", lambda: files(data) and len(dataset_rows()) == len(table_rows()))
ok(end(process).status == 0, "--follow while the engine records")
found = dataset_rows()
ok(found == table_rows() and len({row[:2] for row in found}) == len(found), "all there, each once")

raise SystemExit(tap.finish())
