"""feature-engine export: the dataset equals the history, whatever happens to the table and to the command."""
# preload: feature_engine.cli psycopg pyarrow.dataset pyarrow.parquet pandas duckdb

import os

import pandas
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import duckdb
import tap
from exporting import (connect, export, fails, files, fill, fresh, inodes, make_history, ok, rows_of,
                       rows_of_dataset, rows_of_table, run, same, succeeds)

pg = connect()


def current(table, path, name):
    return same(rows_of_dataset(os.path.join(path, table.removesuffix("_history"))), rows_of_table(pg, table), name)


# ---- a first export, and reading it ----

make_history(pg, "orders_history")
to = fresh("first")
succeeds(export("orders_history", to), "an empty history: nothing to write", "orders: nothing new")
fill(pg, "orders_history", "2026-01-10", 10, 400)
succeeds(export("orders_history", to), "a first export", "orders: 10 files written, 4000 rows")
data = os.path.join(to, "orders")
expected = rows_of_table(pg, "orders_history")
ok(files(data) == [f"date=2026-01-{day}/part-0.parquet" for day in range(10, 20)], "a file for each UTC day",
       str(files(data)))
same(rows_of_dataset(data), expected, "read by pyarrow")
same(rows_of(pq.read_table(data)), expected, "read by pyarrow.parquet")
frame = pandas.read_parquet(data)
same(sorted((c, t.value // 1000) for c, t in zip(frame.customer_id, frame.event_timestamp)),
     [row[:2] for row in expected], "read by pandas")
ok(str(frame.event_timestamp.dtype.tz) == "UTC" and frame.n.isna().sum() == sum(r[5] is None for r in expected),
       "pandas: times in UTC, NULLs")
same(duckdb.sql(f"""SELECT customer_id, epoch_us(event_timestamp), epoch_us(created), lsn, is_deleted, n, amount, status
    FROM read_parquet('{data}/**/*.parquet', hive_partitioning = true) ORDER BY 1, 2""").fetchall(), expected,
     "read by DuckDB")
ok(duckdb.sql(f"SELECT count(*) FROM read_parquet('{data}/*/*.parquet') WHERE date = DATE '2026-01-12'")
       .fetchall() == [(400,)], "DuckDB: the partition is a date")
footer = pq.ParquetFile(os.path.join(data, files(data)[0]))
column = footer.metadata.row_group(0).column(1)
ok(column.compression == "ZSTD" and column.statistics.has_min_max and column.has_offset_index,
       "zstd, statistics, page index")
times = footer.read()["event_timestamp"].to_pylist()
ok(times == sorted(times), "rows of a file are in order of event_timestamp")

# ---- what is new ----

before = inodes(data)
succeeds(export("orders_history", to), "nothing has changed", "orders: nothing new")
ok(inodes(data) == before, "nothing is written then")
fill(pg, "orders_history", "2026-01-20", 1, 50)
pg.execute("VACUUM FREEZE orders_history")
succeeds(export("orders_history", to), "another day", "1 files written, 50 rows")
pg.execute("""INSERT INTO orders_history
    SELECT 200, event_timestamp, now(), '0/1', false, 1, 2, 'backfilled' FROM orders_history
    WHERE customer_id = 1 AND event_timestamp < '2026-01-13 00:00Z'""")
succeeds(export("orders_history", to), "rows in the past, with an lsn in the past", "3 files written")
current("orders_history", to, "they are there")
pg.execute("UPDATE orders_history SET n = -1 WHERE customer_id = 5 AND event_timestamp < '2026-01-11 00:00Z'")
pg.execute("DELETE FROM orders_history WHERE customer_id = 7")
succeeds(export("orders_history", to), "replaced and deleted rows", "11 files written")
current("orders_history", to, "replaced and deleted rows: the files follow")
pg.execute("DELETE FROM orders_history WHERE event_timestamp >= '2026-01-15 00:00Z' AND event_timestamp < '2026-01-16 00:00Z'")
succeeds(export("orders_history", to), "a whole day is deleted", "1 files removed")
current("orders_history", to, "a whole day is deleted: its file goes")

# A transaction that was running during an export commits behind later ones.
with connect() as slow:
    slow.execute("BEGIN")
    slow.execute("INSERT INTO orders_history VALUES (300, '2026-01-18 01:00Z', now(), '0/2', false, 1, 1, 'slow')")
    pg.execute("INSERT INTO orders_history VALUES (301, '2026-01-18 02:00Z', now(), '0/3', false, 1, 1, 'quick')")
    succeeds(export("orders_history", to), "while a transaction is open", "1 files written")
    current("orders_history", to, "its rows are not there")
    slow.execute("COMMIT")
succeeds(export("orders_history", to), "after its commit", "1 files written")
current("orders_history", to, "they are not missed")
# the same number of rows, written by other transactions
pg.execute("""WITH gone AS (DELETE FROM orders_history WHERE customer_id = 300 RETURNING *)
    INSERT INTO orders_history SELECT 302, event_timestamp, created, lsn, is_deleted, n, amount, status FROM gone""")
succeeds(export("orders_history", to), "a row for another, all else the same", "1 files written")
current("orders_history", to, "a row for another: seen")

# ---- retention: what was exported stays ----

fill(pg, "orders_history", "2026-02-03", 2, 20)
export("orders_history", to)
everything = rows_of_table(pg, "orders_history")
pg.execute("DROP TABLE orders_history_p202601")
succeeds(export("orders_history", to, "--compact"), "a partition is dropped", "nothing new")
same(rows_of_dataset(data), everything, "its files stay")
same(rows_of(pq.read_table(f"{to}/orders.parquet")), everything, "--compact: one file with all of it")
single = os.stat(f"{to}/orders.parquet").st_ino
export("orders_history", to, "--compact")
ok(os.stat(f"{to}/orders.parquet").st_ino == single, "--compact: written anew only when something is new")
os.unlink(f"{data}/date=2026-02-03/part-0.parquet")
with open(f"{data}/date=2026-02-04/part-0.parquet", "ab") as file:
    file.write(b"damage")
succeeds(export("orders_history", to), "files that went or are not what was written: once more", "2 files written")
same(rows_of_dataset(data), everything, "they are whole again")

# ---- new features ----

pg.execute("ALTER TABLE orders_history ADD COLUMN visits bigint")
pg.execute("INSERT INTO orders_history VALUES (1, '2026-02-05 01:00Z', now(), '0/9', false, 1, 1, 'new', 42)")
succeeds(export("orders_history", to), "a feature more")
ok(all("visits" in pq.ParquetFile(f"{data}/{file}").schema_arrow.names for file in files(data)),
       "every file has the column, also those of dropped partitions")
same(sorted(rows_of_dataset(data), key=str),
     sorted(everything + rows_of_table(pg, "orders_history", "visits = 42"), key=str), "the rows are the same")
ok(sum(x or 0 for x in ds.dataset(data).to_table()["visits"].to_pylist()) == 42, "old rows: NULL in it")
os.unlink(f"{data}/_feature_engine.json")
succeeds(export("orders_history", to), "the manifest is lost: what the table has is written once more", "3 files written")
ok(len(rows_of_dataset(data)) == len(everything) + 1, "and the rest is known again")
pg.execute("ALTER TABLE orders_history DROP COLUMN visits")
fails(export("orders_history", to), "a feature less: another directory", '"visits"', "Export to another directory")

# ---- options ----

make_history(pg, "hourly_history")
fill(pg, "hourly_history", "2026-01-10", 2, 240)
to = fresh("hours")
succeeds(export("hourly_history", to, "--slice", "hour", "--from", "2026-01-10T05:30", "--to-time", "2026-01-10T07:15+00:00"),
         "--slice hour, --from, --to-time: whole hours", "3 files written, 30 rows")
ok(files(f"{to}/hourly") == [f"date=2026-01-10/part-0{h}.parquet" for h in (5, 6, 7)], "a file for each hour")
succeeds(export("hourly_history", to, "--slice", "hour"), "the rest", "45 files written, 450 rows")
current("hourly_history", to, "hours: all there")
fails(export("hourly_history", to), "days into a dataset of hours", "--slice hour")
fails(export("hourly_history", to, "--slice", "hour", "--decimals", "string"), "other decimals", "--decimals float64")
succeeds(export("hourly_history", to, "--slice", "hour", TZ="Asia/Tokyo", PGTZ="America/New_York"),
         "other time zones: the same slices", "nothing new")

# ---- mistakes ----

open(f"{to}/hourly/date=2026-01-10/stranger.parquet", "wb").close()
fails(export("hourly_history", to, "--slice", "hour"), "a stranger's file among ours", "stranger.parquet")
fails(export("no_such", to), "no such table", 'there is no table "public.no_such"')
fails(run("export", "--view", "x", "--to", to), "no extension in the database", "no extension feature_engine")
fails(run("export", "--view", "x", "--to", to, "--dsn", "host=/nonexistent dbname=x"), "no server",
      "no connection to PostgreSQL", "No such file or directory")
fails(run("export", "--view", "x", "--to", to, "--dsn", "dbname=nosuch"), "no such database", '"nosuch" does not exist')
fails(run("export", "--table", "pg_class", "--to", to), "not a history", "is not a history table")
fails(run("export", "--to", to), "no view named", "required", status=2)
fails(export("hourly_history", "gs://bucket/x"), "a target that it does not know", "s3://bucket/prefix")
fails(export("hourly_history", "/proc/nowhere"), "a target that cannot be written to", "cannot use")
pg.execute("CREATE ROLE stranger LOGIN")
fails(export("hourly_history", fresh("denied"), PGUSER="stranger"), "no right to read", "permission denied")
make_history(pg, "other_history")
fill(pg, "other_history", "2026-01-10", 2, 10)
to = fresh("adopted")
export("other_history", to)
pg.execute("DROP TABLE other_history")
make_history(pg, "other_history")
fill(pg, "other_history", "2026-01-11", 2, 20)
fails(export("other_history", to), "another table of that name", "--adopt")
succeeds(export("other_history", to, "--adopt"), "--adopt", "2 files written, 40 rows")
ok(len(rows_of_dataset(f"{to}/other")) == 50, "--adopt: what the new table has nothing of stays")
succeeds(export("other_history", to), "and is the dataset's table from then on", "nothing new")

raise SystemExit(tap.finish())
