"""Samples the engine for bench/soak: soak_sample.py FILE.csv SECONDS INTERVAL.

One line an interval, from the views of the engine, the catalogue, /proc and Redis.
Private memory of a process is its RssAnon: what is resident, neither shared memory nor
a file's. Of shared memory what counts is feature_engine's reservation, by far the largest
mapping: how much of it the ingest worker has touched.
"""

import csv
import os
import re
import subprocess
import sys
import time

import psycopg2

WORKERS = ["launcher", "ingest", "capture", "pusher", "checkpoint"]

STATE = """
    SELECT sum(memory_bytes)::bigint AS memory, sum(entities)::bigint AS entities,
           sum(panes)::bigint AS panes, sum(tombstones)::bigint AS tombstones,
           sum(dirty)::bigint AS dirty, count(*) FILTER (WHERE state <> 'live') AS not_live,
           max(lag_bytes) AS lag, max(wal_retained_bytes) AS wal_retained,
           max(pushes) AS pushes, max(push_failures) AS push_failures
    FROM feature_engine.status"""
WORK = "SELECT changes, transactions, failures FROM feature_engine.worker_status()"
TABLES = """
    SELECT pg_total_relation_size('feature_engine.checkpoint_chunk')
           + pg_total_relation_size('feature_engine.checkpoint') AS checkpoint_tables,
           (SELECT coalesce(sum(full_bytes + more_bytes), 0)::bigint FROM feature_engine.checkpoint)
               AS checkpoint_bytes,
           (SELECT coalesce(max(cycle), 0) FROM feature_engine.checkpoint) AS cycles,
           pg_total_relation_size('orders') + pg_total_relation_size('visits') AS source_tables,
           (pg_current_wal_insert_lsn() - '0/0')::bigint AS wal"""
PROCESSES = """
    SELECT replace(backend_type, 'feature_engine ', ''), pid FROM pg_stat_activity
    WHERE backend_type LIKE 'feature_engine %'"""


def of_process(pid, field):
    """Kilobytes of a line of /proc/PID/status; None when the process has gone."""
    try:
        with open(f"/proc/{pid}/status") as f:
            return int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M).group(1))
    except (OSError, AttributeError):
        return None


def largest_shared(pid):
    """Resident kilobytes of the largest writable mapping."""
    largest, resident, current = 0, None, 0
    try:
        with open(f"/proc/{pid}/smaps") as f:
            for line in f:
                mapping = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-s", line)
                if mapping:
                    current = int(mapping.group(2), 16) - int(mapping.group(1), 16)
                elif line.startswith("Rss:") and current > largest:
                    largest, resident = current, int(line.split()[1])
    except OSError:
        pass
    return resident


def query(conn, sql):
    with conn.cursor() as cur:
        cur.execute(sql)
        return dict(zip([d.name for d in cur.description], cur.fetchone()))


def workers(conn):
    with conn.cursor() as cur:
        cur.execute(PROCESSES)
        pids = dict(cur.fetchall())
    sample = {}
    for role in WORKERS:
        sample[f"{role}_pid"] = pids.get(role)
        sample[f"{role}_private_kb"] = of_process(pids.get(role), "RssAnon")
    sample["reservation_kb"] = largest_shared(pids.get("ingest"))
    return sample


def redis():
    def call(*args):
        return subprocess.run(["redis-cli", "-s", os.environ["FE_REDIS_SOCK"], *args],
                              capture_output=True, text=True, check=True).stdout
    memory = re.search(r"used_memory:(\d+)", call("info", "memory")).group(1)
    return {"redis_keys": int(call("dbsize")), "redis_memory": int(memory)}


def main(path, seconds, interval):
    conn = psycopg2.connect("")
    conn.autocommit = True
    start = time.monotonic()
    writer = None
    with open(path, "w", newline="") as f:
        for n in range(int(seconds / interval)):
            time.sleep(max(0, start + n * interval - time.monotonic()))
            sample = {"seconds": round(time.monotonic() - start, 1), **query(conn, STATE),
                      **query(conn, WORK), **query(conn, TABLES), **workers(conn), **redis()}
            if writer is None:
                writer = csv.DictWriter(f, sample.keys(), lineterminator="\n")
                writer.writeheader()
            writer.writerow(sample)
            f.flush()


main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
