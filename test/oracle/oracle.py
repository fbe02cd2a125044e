"""The oracle test: streamed values against batch queries over random workloads.

A feature view's definition is plain SQL, so the truth is one query away. Several
sessions change the table at random (fixed seeds); after each phase the writers rest,
the clock is moved, and every entity of every view is compared with the definition run
as a batch query at the same T, then every Redis hash with SQL, and at the end the
histories as of each phase with the batch queries of that time. The clock is the
engine's test clock, so no result depends on when the test runs.
"""

import os
import random
import re
import sys
import threading
import time

import history
import views_changes
from compare import settled_redis_differences, view_differences
from redis_client import Redis
from tap import finish, ok
from views import SCHEMA, VIEWS as ALL_VIEWS
from views_sources import Reshaper
from workload import COLUMNS, ROW, Session, connect, create_view, run

SEEDS = [int(s) for s in os.environ.get("ORACLE_SEEDS", "1 2").split()]
CHANGES = int(os.environ.get("ORACLE_CHANGES", "60000"))
PHASES = int(os.environ.get("ORACLE_PHASES", "6"))
SESSIONS = 4
VIEWS = [v for v in history.with_history(ALL_VIEWS) if re.search(os.environ.get("ORACLE_VIEWS", ""), v[0])]
START = "2026-03-01 12:34:56.789Z"
STEPS = ["0", "30 seconds", "7 minutes", "5 hours", "1 day 3 minutes", "9 days", "31 days"]


def disturb(conn, rnd, stop):
    """Now and then a worker is told to end: it must go on where it was."""
    while not stop.wait(rnd.uniform(0.3, 1.5)):
        worker = rnd.choice(["ingest_pid", "capture_pid", "pusher_pid"])
        run(conn, f"SELECT pg_terminate_backend({worker}) FROM feature_engine.worker_status()"
                  f" WHERE {worker} IS NOT NULL")


def phase_workload(conn, seed, phase, rnd, late_views):
    writers = [Session(seed * 1000 + phase * 10 + i, CHANGES // PHASES // SESSIONS) for i in range(SESSIONS)]
    for w in writers:
        w.start()
    for view in late_views:
        create_view(conn, view)
    stop = threading.Event()
    killer = threading.Thread(target=disturb, args=(connect(), rnd, stop))
    reshaper = Reshaper(connect, seed * 1000 + phase)
    if phase % 3 == 2:
        killer.start()
    if phase % 2 == 1:
        reshaper.start()
    for w in writers:
        w.join()
    stop.set()
    reshaper.stop.set()
    if reshaper.is_alive():
        reshaper.join()
    if reshaper.error:
        raise reshaper.error
    if killer.is_alive():
        killer.join()
    for w in writers:
        if w.error:
            raise w.error
    return sum(w.made for w in writers), reshaper.made


def large_transaction(conn, seed):
    run(conn, "SELECT setseed(%s)", (1.0 / (seed + 1),))
    n = CHANGES // 4
    run(conn, f"BEGIN; INSERT INTO events ({COLUMNS}) SELECT {ROW} FROM generate_series(1, {n});"
              f" DELETE FROM events WHERE id % 7 = 0; COMMIT")
    return n


def compare_all(conn, redis, seed, phase, views):
    compared, problems = view_differences(conn, views)
    ok(not problems, f"seed {seed} phase {phase}: {compared} rows of {len(views)} views equal the batch queries",
       "\n".join(problems[:40]))
    compared, problems = settled_redis_differences(conn, redis, views)
    ok(not problems, f"seed {seed} phase {phase}: {compared} Redis hashes equal SQL", "\n".join(problems[:10]))


def run_seed(seed):
    conn = connect()
    run(conn, "CREATE EXTENSION IF NOT EXISTS feature_engine")
    run(conn, SCHEMA)
    run(conn, "SELECT feature_engine.set_clock(%s)", (START,))
    redis = Redis(os.environ["FE_REDIS_SOCK"])
    rnd = random.Random(seed)
    early, late = VIEWS[: len(VIEWS) // 2], VIEWS[len(VIEWS) // 2:]
    for view in early:
        create_view(conn, view)
    # what is there when a stream begins comes as it then is: let it begin before the first change
    run(conn, "SELECT feature_engine.sync()")
    made, reshaped = 0, 0
    truth = history.Truth()
    for phase in range(PHASES):
        new = late if phase == 1 else []
        changes, reshapes = phase_workload(conn, seed, phase, rnd, new)
        made += changes
        reshaped += reshapes
        if phase == 3:
            made += large_transaction(conn, seed)
        if phase > 0:
            step = rnd.choice(STEPS)
            run(conn, "SELECT feature_engine.set_clock(feature_engine.now() + %s::interval)", (step,))
        run(conn, "SELECT feature_engine.sync()")
        views = early if phase == 0 else VIEWS
        compare_all(conn, redis, seed, phase, views)
        truth.take(conn, views)
    compared, problems = truth.differences(conn)
    ok(not problems, f"seed {seed}: {compared} rows of histories equal the batch queries of the time",
       "\n".join(problems[:20]))
    ok(reshaped > 0, f"seed {seed}: {reshaped} times partitions were changed meanwhile")
    finish_seed(conn, redis, seed, made)


def finish_seed(conn, redis, seed, made):
    for name, _, _ in VIEWS:
        run(conn, "SELECT drop_feature_view(%s)", (name,))
    run(conn, views_changes.CLEAN_UP)
    run(conn, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    deadline = time.monotonic() + 60
    while (run(conn, "SELECT count(*) FROM pg_replication_slots")[0][0] or redis.keys("*")) \
            and time.monotonic() < deadline:
        time.sleep(0.1)
    ok(run(conn, "SELECT count(*) FROM pg_replication_slots")[0][0] == 0,
       f"seed {seed}: after {made} changes and the last drop no slot is left")
    ok(not redis.keys("*"), f"seed {seed}: and no key in Redis", str(redis.keys("*")[:5]))
    run(conn, "SELECT feature_engine.set_clock(NULL)")
    conn.close()


def check_log():
    """No view stopped, none was built a second time, no worker failed by itself."""
    with open(os.environ["FE_LOG"]) as log:
        bad = [line for line in log
               if ("has stopped" in line or "are rebuilt" in line or "PANIC" in line
                   or ("feature_engine" in line.split("] ")[-1][:16] and " ERROR: " in line))
               and "there are none left" not in line]
    ok(not bad, "no view was stopped or rebuilt on the way", "".join(bad[:10]))


def main():
    for seed in SEEDS:
        try:
            run_seed(seed)
        except Exception as e:
            ok(False, f"seed {seed} ended early", repr(e))
            break
    check_log()
    return finish()


sys.exit(main())
