"""What the tests of the companion's export share: history tables, runs of the command, comparisons."""

import atexit
import datetime as dt
import glob
import os
import shutil
import signal
import time

import psycopg
import pyarrow as pa
import pyarrow.dataset as ds

import programs
import tap

HERE = os.path.dirname(os.path.abspath(__file__))
DIR = os.environ["FE_DIR"]
UTC = dt.timezone.utc
PATIENCE = 120
COMMAND = ("-m", "feature_engine")
KILLED = (os.path.join(HERE, "killed_export.py"),)  # the same, to be killed

# What a test of consistency compares: enough to tell rows apart, in the table's and in Arrow's words.
ROW_SQL = """SELECT customer_id, (extract(epoch FROM event_timestamp) * 1000000)::int8,
    (extract(epoch FROM created) * 1000000)::int8, (lsn - '0/0')::int8, is_deleted, n, amount::float8, status
    FROM {table} ORDER BY 1, 2"""
ROW_NAMES = ["customer_id", "event_timestamp", "created", "lsn", "is_deleted", "n", "amount", "status"]


def connect(**options):
    return psycopg.connect("", autocommit=True, **options)


def make_history(pg, table, features="n bigint, amount numeric, status text", months=("2026-01", "2026-02")):
    """A history table such as the extension makes, without a view."""
    pg.execute(f"""CREATE TABLE {table} (customer_id int NOT NULL, event_timestamp timestamptz NOT NULL,
        created timestamptz NOT NULL, lsn pg_lsn NOT NULL, is_deleted boolean NOT NULL, {features},
        PRIMARY KEY (customer_id, event_timestamp)) PARTITION BY RANGE (event_timestamp)""")
    for month in months:
        pg.execute(f"""CREATE TABLE {table}_p{month.replace('-', '')} PARTITION OF {table}
            FOR VALUES FROM ('{month}-01 00:00Z') TO (timestamptz '{month}-01 00:00Z' + interval '1 month')""")


def fill(pg, table, first, days, per_day):
    """Rows from midnight of `first` (UTC) on: so many days, so many rows each."""
    pg.execute(f"""INSERT INTO {table}
        SELECT i % 100, t, t, '0/1000'::pg_lsn + d * 1000 + i, i % 17 = 0,
               CASE WHEN i % 17 <> 0 THEN i END, CASE WHEN i % 17 <> 0 THEN i * 1.25 END,
               CASE WHEN i % 17 <> 0 THEN 'status ' || i % 5 END
        FROM generate_series(0, {days - 1}) d, generate_series(0, {per_day - 1}) i,
             LATERAL (SELECT timestamptz '{first} 00:00Z' + d * interval '24 hours'
                             + i * (interval '24 hours' / {per_day}) AS t) x""")


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __str__(self):
        return f"status {self.status}\n{self.out}{self.err}"


def run(*arguments, **environment):
    done = programs.run([*COMMAND, *arguments], os.environ | environment)
    return Result(done.returncode, done.stdout, done.stderr)


def export(table, to, *arguments, **environment):
    return run("export", "--table", f"public.{table}", "--to", to, *arguments, **environment)


def start(*arguments, program=COMMAND, **environment):
    """In the background; it does not outlive the test."""
    process = programs.Program([*program, *arguments], os.environ | environment)
    atexit.register(process.kill)
    return process


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE} s for {what}")
        time.sleep(0.02)


def fresh(name):
    path = os.path.join(DIR, name)
    shutil.rmtree(path, ignore_errors=True)
    return path


def files(path):
    """What readers see, relative to the dataset."""
    return sorted(os.path.relpath(file, path) for file in glob.glob(f"{path}/**/*.parquet", recursive=True))


def inodes(path):
    return {file: os.stat(os.path.join(path, file)).st_ino for file in files(path)}


def rows_of_table(pg, table, condition="true"):
    query = ROW_SQL.format(table=f"(SELECT * FROM {table} WHERE {condition}) h")
    return pg.execute(query).fetchall()


def rows_of(table):
    """An Arrow table's rows, in the same form."""
    table = table.sort_by([("customer_id", "ascending"), ("event_timestamp", "ascending")])
    columns = [table[name].cast(pa.int64()) if pa.types.is_timestamp(table[name].type) else table[name]
               for name in ROW_NAMES]
    return list(zip(*(column.to_pylist() for column in columns)))


def rows_of_dataset(path, **options):
    return rows_of(ds.dataset(path, partitioning="hive", **options).to_table())


def ok(passed, name, detail=""):
    return tap.ok(passed, name, "" if passed else detail)


def same(found, expected, name):
    detail = ""
    if found != expected:
        missing, extra = set(expected) - set(found), set(found) - set(expected)
        detail = (f"{len(found)} rows for {len(expected)}; missing {sorted(missing)[:3]}; extra {sorted(extra)[:3]}")
    return ok(found == expected, name, detail)


def succeeds(result, name, *words):
    return ok(result.status == 0 and all(word in result.out for word in words), name, str(result))


def fails(result, name, *words, status=1):
    right = (result.status == status and "Traceback" not in result.err
             and all(word in result.err for word in words))
    return ok(right, name, str(result))


def end(process, number=signal.SIGTERM):
    """Sends a signal; the result."""
    process.send_signal(number)
    out, _ = process.communicate(timeout=PATIENCE)
    return Result(process.returncode, out, "")
