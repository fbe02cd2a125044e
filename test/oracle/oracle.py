"""The oracle test: streamed values against batch queries over random workloads.

A feature view's definition is plain SQL, so the truth is one query away. Several
sessions change the table at random (fixed seeds); after each phase the writers rest,
the clock is moved, and every entity of every view is compared with the definition run
as a batch query at the same T, then every Redis hash with SQL. The clock is the
engine's test clock, so no result depends on when the test runs.
"""

import math
import os
import random
import sys
import threading
import time

import psycopg2
from psycopg2 import errors

from redis_client import Redis
from views import SCHEMA, VIEWS

SEEDS = [int(s) for s in os.environ.get("ORACLE_SEEDS", "1 2").split()]
CHANGES = int(os.environ.get("ORACLE_CHANGES", "60000"))
PHASES = int(os.environ.get("ORACLE_PHASES", "6"))
SESSIONS = 4
START = "2026-03-01 12:34:56.789Z"
STEPS = ["0", "30 seconds", "7 minutes", "5 hours", "1 day 3 minutes", "9 days", "31 days"]
FLOATS = (700, 701)
BOOL = 16

tests = 0
failures = 0


def ok(passed, name, detail=""):
    global tests, failures
    tests += 1
    failures += not passed
    print(f"{'ok' if passed else 'not ok'} {tests} - {name}", flush=True)
    for line in detail.splitlines():
        print(f"# {line}", flush=True)


def connect():
    conn = psycopg2.connect("")
    conn.autocommit = True
    run(conn, "SET search_path = public, feature_engine; SET timezone = 'UTC'")
    return conn


def run(conn, sql, args=None):
    with conn.cursor() as cur:
        cur.execute(sql, args)
        return cur.fetchall() if cur.description else None


# ---- the workload ----

# Column values: skewed keys, NULLs, repeated and extreme values, event times from the
# far past to the near future.
ROW = """
    CASE WHEN random() < 0.02 THEN NULL ELSE floor(power(random(), 2) * 60)::int END,
    (ARRAY['Acme','acme','Zoo','Ünï','a:b%c','','{x}',NULL])[1 + floor(random() * 8)::int],
    CASE WHEN random() < 0.3 THEN NULL ELSE floor(random() * 40)::bigint * 4000000000 END,
    CASE WHEN random() < 0.05 THEN NULL ELSE floor(random() * 12)::int END,
    floor(random() * 65535 - 32768)::smallint,
    CASE WHEN random() < 0.01 THEN 9223372036854775807 ELSE floor((random() - 0.5) * 1e15)::bigint END,
    round((random() * 400)::numeric, 2),
    CASE WHEN random() < 0.05 THEN NULL ELSE round((random() * 1000 - 300)::numeric, floor(random() * 7)::int) END,
    CASE WHEN random() < 0.05 THEN NULL ELSE (random() - 0.3) * power(10, floor(random() * 6)) END,
    (random() * 100)::float4,
    (ARRAY['new','paid','shipped','cancelled','refunded',NULL])[1 + floor(random() * 6)::int],
    CASE WHEN random() < 0.1 THEN repeat(md5(random()::text), floor(random() * 150)::int)
         ELSE md5(floor(random() * 50)::text) END,
    {time}, {time} AT TIME ZONE 'UTC', ({time} AT TIME ZONE 'UTC')::date
"""
TIME = """(CASE floor(random() * 20)::int
    WHEN 0 THEN NULL
    WHEN 1 THEN feature_engine.now() + random() * interval '2 days'
    WHEN 2 THEN feature_engine.now() - interval '200 days' * random()
    WHEN 3 THEN feature_engine.now() - interval '90 seconds' * random()
    WHEN 4 THEN feature_engine.now() - interval '90 seconds' * random()
    WHEN 5 THEN date_trunc('hour', feature_engine.now() - interval '8 days' * random())
    WHEN 6 THEN feature_engine.now() - interval '6 minutes' * random()
    WHEN 7 THEN feature_engine.now() - interval '3 hours' * random()
    WHEN 8 THEN feature_engine.now() - interval '95 days' * random()
    WHEN 9 THEN feature_engine.now() - interval '95 days' * random()
    ELSE feature_engine.now() - interval '10 days' * random() END)"""
COLUMNS = "customer,merchant,account,qty,small,big,amount,rate,score,ratio,status,note,created,local_ts,day"
ROW = ROW.replace("{time}", TIME)


class Session(threading.Thread):
    """One writer: random transactions until its share of changes is made."""

    def __init__(self, seed, share):
        super().__init__()
        self.rnd = random.Random(seed)
        self.share = share
        self.made = 0
        self.error = None

    def run(self):
        try:
            self.conn = connect()
            run(self.conn, "SELECT setseed(%s)", (self.rnd.random(),))
            run(self.conn, f"SET synchronous_commit = {self.rnd.choice(['on', 'off'])}")
            while self.made < self.share:
                self.transaction()
            self.conn.close()
        except Exception as e:  # reported by the main thread
            self.error = e

    def transaction(self):
        kind = self.rnd.random()
        try:
            if kind < 0.5:
                self.change()
            elif kind < 0.53:
                self.prepared()
            else:
                self.block()
        except (errors.DeadlockDetected, errors.LockNotAvailable):
            run(self.conn, "ROLLBACK")

    def block(self):
        run(self.conn, "BEGIN")
        for _ in range(self.rnd.randint(1, 5)):
            if self.rnd.random() < 0.3:
                run(self.conn, "SAVEPOINT s")
                self.change()
                run(self.conn, self.rnd.choice(["ROLLBACK TO s", "RELEASE s"]))
            else:
                self.change()
        run(self.conn, "ROLLBACK" if self.rnd.random() < 0.15 else "COMMIT")

    def prepared(self):
        gid = f"p{threading.get_ident()}_{self.made}"
        run(self.conn, "BEGIN")
        self.change()
        run(self.conn, f"PREPARE TRANSACTION '{gid}'")
        run(self.conn, f"{self.rnd.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{gid}'")

    def change(self):
        kind = self.rnd.random()
        if kind < 0.45:
            n = self.rnd.choice([1, 1, 1, 3, 20, 100])
            sql = f"INSERT INTO events ({COLUMNS}) SELECT {ROW} FROM generate_series(1, {n})"
        elif kind < 0.50:
            n = self.copy_rows()
            self.made += n
            return
        elif kind < 0.70:
            n = self.rnd.choice([1, 1, 5, 30])
            sql = f"UPDATE events SET ({COLUMNS}) = (SELECT {ROW} WHERE events.id > 0) WHERE {self.some(n)}"
        elif kind < 0.80:
            n = self.rnd.choice([1, 10, 40])
            assignment = self.rnd.choice([
                "customer = customer + 1", "created = created + interval '3 days'", "created = NULL",
                "status = 'cancelled'", "amount = amount + 1.5", "qty = NULL", "id = id",
                "merchant = upper(merchant)", "score = -score", "note = note"])
            sql = f"UPDATE events SET {assignment} WHERE {self.some(n)}"
        elif kind < 0.999:
            n = self.rnd.choice([1, 5, 30, 60])
            sql = f"DELETE FROM events WHERE {self.some(n)}"
        else:
            n = 1
            sql = "TRUNCATE events"
        run(self.conn, sql)
        self.made += n

    def some(self, n):
        # rows in one order, so that sessions seldom deadlock
        return (f"id IN (SELECT id FROM events WHERE id >= (SELECT max(id) * {self.rnd.random():.4f} "
                f"FROM events) ORDER BY id LIMIT {n} FOR UPDATE SKIP LOCKED)")

    def copy_rows(self):
        import io
        n = self.rnd.randint(5, 60)
        rows = run(self.conn, f"SELECT {ROW} FROM generate_series(1, {n})")
        text = "".join("\t".join("\\N" if v is None else str(v) for v in row) + "\n" for row in rows)
        with self.conn.cursor() as cur:
            cur.copy_expert(f"COPY events ({COLUMNS}) FROM STDIN", io.StringIO(text))
        return n


# ---- comparing ----

def text_form(column):
    """The type's output form; a boolean's cast to text is another one."""
    if column.type_code == BOOL:
        return f"""CASE "{column.name}" WHEN true THEN 't' WHEN false THEN 'f' END"""
    return f'"{column.name}"::text'


def rows_of(conn, sql):
    """Rows as text, keyed and sorted by text; which columns are floats."""
    with conn.cursor() as cur:
        cur.execute(f"SELECT * FROM ({sql}) q LIMIT 0")
        names = [d.name for d in cur.description]
        floats = [d.type_code in FLOATS for d in cur.description]
        columns = ", ".join(text_form(d) for d in cur.description)
        cur.execute(f"SELECT {columns} FROM ({sql}) q")
        return names, floats, sorted(cur.fetchall(), key=repr)


def same(a, b, is_float):
    if a == b:
        return True
    if not is_float or a is None or b is None:
        return False
    x, y = float(a), float(b)
    return math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-6)


def diff_rows(got, want, floats, nkeys):
    """First few differences; rows are matched by their key columns."""
    found = []
    g = {r[:nkeys]: r for r in got}
    w = {r[:nkeys]: r for r in want}
    if len(g) != len(got):
        found.append("an entity came twice")
    for key in sorted(set(g) | set(w), key=repr):
        a, b = g.get(key), w.get(key)
        if a is None or b is None or not all(map(same, a, b, floats)):
            found.append(f"key {key}: streamed {a}\n            batch    {b}")
    return found


def nkeys_of(name):
    return {"v_two_keys": 2, "v_key_expression": 2}.get(name, 1)


def compare_view(conn, seed, phase, T, name, query):
    run(conn, "SET feature_engine.as_of = %s", (T,))
    try:
        _, floats, got = rows_of(conn, f"SELECT * FROM {name}")
        # what is stored has T in the place of now(); so must the query that is compared
        _, _, want = rows_of(conn, query.replace("now()", "feature_engine.now()"))
    finally:
        run(conn, "RESET feature_engine.as_of")
    found = diff_rows(got, want, floats, nkeys_of(name))
    return len(want), [f"seed {seed} phase {phase} T {T} {name}: {len(found)} differences"] + found[:3] if found else []


def compare_all(conn, seed, phase, views):
    clock = run(conn, "SELECT feature_engine.now()::text")[0][0]
    compared, problems = 0, []
    for back in ("0", "17.25 seconds", "59 seconds"):
        T = run(conn, "SELECT (%s::timestamptz - %s::interval)::text", (clock, back))[0][0]
        for name, query, _ in views:
            n, found = compare_view(conn, seed, phase, T, name, query)
            compared += n
            problems += found
    ok(not problems, f"seed {seed} phase {phase}: {compared} rows of {len(views)} views equal the batch queries",
       "\n".join(problems[:40]))


# ---- Redis ----

def encode_part(text, template):
    literals = set("".join(p.split("}")[-1] for p in ("}" + template).split("{"))) | {"%"}
    return "".join("%%%02X" % ord(c) if c in literals else c for c in text)


def expected_hashes(conn, name, options):
    names, floats, rows = rows_of(conn, f"SELECT * FROM {name}")
    k = nkeys_of(name)
    template = options.get("redis_key")
    for row in rows:
        if any(v is None for v in row[:k]):
            continue
        if template:
            key = template
            for n, v in zip(names[:k], row[:k]):
                key = key.replace("{%s}" % n, encode_part(v, template))
        elif k > 1:
            key = name + ":" + ":".join(encode_part(v, ":" + name) for v in row[:k])
        else:
            key = f"{name}:{row[0]}"
        yield key, {n: (v, f) for n, v, f in zip(names[k:], row[k:], floats[k:]) if v is not None}


def redis_differences(conn, redis, views):
    found, compared = [], 0
    for name, _, options in views:
        want = dict(expected_hashes(conn, name, options))
        pattern = options.get("redis_key", name + ":*").split("{")[0].rstrip("*") + "*"
        have = set(redis.keys(pattern))
        for key in have - set(want):
            found.append(f"{name}: key {key!r} should not be there: {redis.hash(key)}")
        for key, fields in want.items():
            compared += 1
            got = redis.hash(key)
            got.pop("_ts", None)
            got.pop("_lsn", None)
            if set(got) != set(fields) or not all(same(got[f], v, fl) for f, (v, fl) in fields.items()):
                found.append(f"{name}: {key}\n  redis {got}\n  sql   {({f: v for f, (v, _) in fields.items()})}")
    return compared, found


def compare_redis(conn, redis, seed, phase, views):
    """Redis follows within moments; what is wrong must become right by itself."""
    run(conn, "SELECT feature_engine.sync(redis => true)")
    deadline = time.monotonic() + 60
    while True:
        compared, found = redis_differences(conn, redis, views)
        if not found or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    ok(not found, f"seed {seed} phase {phase}: {compared} Redis hashes equal SQL", "\n".join(found[:10]))


# ---- one seed ----

def create_view(conn, view):
    name, query, options = view
    args = "".join(f", {k} => %s" for k in options)
    run(conn, f"SELECT create_feature_view(%s, %s{args})", [name, query] + list(options.values()))


def disturb(conn, rnd, stop):
    """Now and then a worker is told to end: it must go on where it was."""
    while not stop.wait(rnd.uniform(0.3, 1.5)):
        worker = rnd.choice(["ingest_pid", "capture_pid"])
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
    if phase % 3 == 2:
        killer.start()
    for w in writers:
        w.join()
    stop.set()
    if killer.is_alive():
        killer.join()
    for w in writers:
        if w.error:
            raise w.error
    return sum(w.made for w in writers)


def large_transaction(conn, seed):
    run(conn, "SELECT setseed(%s)", (1.0 / (seed + 1),))
    n = CHANGES // 4
    run(conn, f"BEGIN; INSERT INTO events ({COLUMNS}) SELECT {ROW} FROM generate_series(1, {n});"
              f" DELETE FROM events WHERE id % 7 = 0; COMMIT")
    return n


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
    made = 0
    for phase in range(PHASES):
        new = late if phase == 1 else []
        made += phase_workload(conn, seed, phase, rnd, new)
        if phase == 3:
            made += large_transaction(conn, seed)
        if phase > 0:
            step = rnd.choice(STEPS)
            run(conn, "SELECT feature_engine.set_clock(feature_engine.now() + %s::interval)", (step,))
        run(conn, "SELECT feature_engine.sync()")
        views = early if phase == 0 else VIEWS
        compare_all(conn, seed, phase, views)
        compare_redis(conn, redis, seed, phase, views)
    finish_seed(conn, redis, seed, made)


def finish_seed(conn, redis, seed, made):
    for name, _, _ in VIEWS:
        run(conn, "SELECT drop_feature_view(%s)", (name,))
    run(conn, "DROP TABLE events")
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
    print(f"1..{tests}")
    return failures != 0


sys.exit(main())
