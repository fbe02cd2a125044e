"""Rounds of harm; see run and events.py."""

import os
import random
import sys
import threading
import time

import psycopg2

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))

from compare import settled_redis_differences, view_differences  # noqa: E402
from events import AGAIN, ALWAYS, CRASHES, EVENTS, EXPLAINS, Skipped  # noqa: E402
from recorded import history_differences, with_history  # noqa: E402
from server import Server, complaints  # noqa: E402
from tap import finish, ok  # noqa: E402
from views import SCHEMA, VIEWS  # noqa: E402
from workload import Session, create_view, run  # noqa: E402

# views over changes() cannot be built anew: a lost slot is a gap for them
VIEWS = with_history([view for view in VIEWS if "changes(" not in view[1]])
# may be built anew after a crash: those with joins, and those of partitions that came or went a moment before
REBUILT = sum(view[0].startswith(("vj_", "p_")) for view in VIEWS)

SEEDS = [int(s) for s in os.environ.get("TORTURE_SEEDS", "1").split()]
MINUTES = float(os.environ.get("TORTURE_MINUTES", "0"))
ROUNDS = int(os.environ.get("TORTURE_ROUNDS", "0" if MINUTES else "40"))
CHOSEN = os.environ.get("TORTURE_EVENTS", "").split() or list(EVENTS)
SESSIONS = 4
MAX_ROWS = 20000
WAIT = "150 s"
# sessions that the server has ended: no fault of theirs, or of ours
SERVER_GONE = ("57P01", "57P02", "57P03")
# asked where sync() gave up, or something else did not work
SITUATION = [
    """SELECT name, state, backfill_pct, waits_for, last_error FROM feature_engine.status WHERE state <> 'live'""",
    """SELECT pid, backend_type, state, wait_event, xact_start, left(query, 60) FROM pg_stat_activity
       WHERE backend_type LIKE 'feature_engine%' OR xact_start IS NOT NULL""",
    "SELECT pid, relation::regclass, mode, pg_blocking_pids(pid) FROM pg_locks WHERE NOT granted",
    "SELECT gid, prepared FROM pg_prepared_xacts"]


class Writer(Session):
    """A session that survives its server, and leaves a prepared transaction now and then."""

    def __init__(self, torture, number):
        super().__init__(torture.rnd.random(), 0)
        self.torture = torture
        self.number = number
        self.conn = None

    def open(self):
        self.conn = None
        super().open()
        run(self.conn, "SET lock_timeout = '3s'")

    def prepared(self):
        gid = f"t{self.number}_{self.made}_{self.rnd.random()}"
        run(self.conn, "BEGIN")
        self.change(truncate=False)
        run(self.conn, f"PREPARE TRANSACTION '{gid}'")
        if self.rnd.random() < 0.8:
            run(self.conn, f"{self.rnd.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{gid}'")

    def write(self):
        """False: the server is gone."""
        try:
            if self.conn is None or self.conn.closed:
                self.open()
            self.transaction()
            return True
        except psycopg2.Error as e:
            # no SQLSTATE: it is the connection that failed, which COPY does not tell otherwise
            gone = self.conn is None or self.conn.closed or e.pgcode is None or e.pgcode in SERVER_GONE
            if not gone:
                raise
            self.conn = None
            return False

    def run(self):
        try:
            while not self.torture.rest.is_set():
                if not self.write():
                    time.sleep(0.05)
            if self.conn is not None:
                self.conn.close()
        except Exception as e:  # reported by the main thread
            self.error = e


class Torture:
    def __init__(self, server, seed):
        self.server = server
        self.seed = seed
        self.rnd = random.Random(seed)
        self.deck = []
        self.lines = []
        self.clock = None
        self.rest = threading.Event()

    # ---- for events ----

    def set_clock(self):
        """Ahead of the real one, which is in force while the server starts: it must not go back."""
        conn = self.server.wait_up()
        if self.clock is None:
            self.clock = run(conn, "SELECT (pg_catalog.now() + interval '1 day')::text")[0][0]
        run(conn, "SELECT feature_engine.set_clock(%s)", (self.clock,))
        conn.close()

    def step_clock(self, step):
        conn = self.server.wait_up()
        self.clock = run(conn, "SELECT (%s::timestamptz + %s::interval)::text", (self.clock, step))[0][0]
        conn.close()
        self.set_clock()

    def wait_for_log(self, text, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.lines += self.server.new_lines()
            if any(text in line for line in self.lines):
                return True
            time.sleep(0.05)
        return False

    def expect_checkpoint(self, conn):
        """One is written again."""
        deadline = time.monotonic() + 60
        while not run(conn, "SELECT bool_or(written_at > statement_timestamp() - interval '2 s')"
                            " FROM feature_engine.checkpoint")[0][0]:
            if time.monotonic() > deadline:
                raise RuntimeError("no checkpoint is written any more")
            time.sleep(0.1)

    def all_stored(self):
        """Every view is in the store: without changes too."""
        conn = self.server.wait_up()
        deadline = time.monotonic() + 60
        while run(conn, "SELECT count(*) FROM feature_engine.checkpoint")[0][0] < len(VIEWS):
            if time.monotonic() > deadline:
                raise RuntimeError("not every view gets stored")
            time.sleep(0.05)
        conn.close()

    # ---- a round ----

    def next_event(self):
        if not self.deck:
            self.deck = self.rnd.sample(CHOSEN, len(CHOSEN))
        return self.deck.pop()

    def harm(self, names, skipped):
        for name in names:
            try:
                EVENTS[name](self)
            except Skipped as why:
                skipped.append(f"{name}: {why}")
            self.set_clock_when_up()
            time.sleep(self.rnd.uniform(0, 1))

    def set_clock_when_up(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                self.set_clock()
                return
            except psycopg2.Error:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def settle_prepared(self, conn, names):
        """A new slot waits for all of them, and a backfill for those that have locked a table against readers; else
        some stay over the comparison."""
        gids = run(conn, "SELECT gid FROM pg_prepared_xacts")
        locked = run(conn, "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND pid IS NULL AND granted")
        if not locked and not any(n.startswith("slot") for n in names) and self.rnd.random() < 0.4:
            return
        for (gid,) in gids:
            run(conn, f"{self.rnd.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{gid}'")

    def bound_tables(self, conn):
        """Autovacuum knows nothing of what became dead before a crash."""
        run(conn, "VACUUM feature_engine.checkpoint_chunk")
        n = run(conn, "SELECT count(*) FROM events")[0][0]
        if n > MAX_ROWS:
            # not what prepared transactions have locked
            run(conn, "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id % 3 > 0"
                      " FOR UPDATE SKIP LOCKED)")

    def work(self, names, skipped):
        self.rest.clear()
        writers = [Writer(self, n) for n in range(SESSIONS)]
        for w in writers:
            w.start()
        try:
            time.sleep(self.rnd.uniform(0.2, 2.5))
            self.harm(names, skipped)
            time.sleep(self.rnd.uniform(0, 0.7))
        finally:
            self.rest.set()
            for w in writers:
                w.join()
        for w in writers:
            if w.error:
                raise w.error

    def compare(self, names):
        self.set_clock_when_up()
        conn = self.server.wait_up()
        self.settle_prepared(conn, names)
        self.bound_tables(conn)
        run(conn, f"SELECT feature_engine.sync('{WAIT}')")
        rows, problems = view_differences(conn, VIEWS)
        hashes, more = settled_redis_differences(conn, self.server.redis(), VIEWS)
        recorded, wrong = history_differences(conn, WAIT)
        conn.close()
        return rows, hashes, recorded, problems + more + wrong

    def situation(self):
        """Who is not where he should be, and what he waits for."""
        try:
            conn = self.server.wait_up()
            found = [str(row) for query in SITUATION for row in run(conn, query)]
            conn.close()
            return found
        except psycopg2.Error as e:
            return [f"{type(e).__name__}: {e}"]

    def round(self, number, report):
        names = [self.next_event()]
        if self.rnd.random() < 0.25 and "TORTURE_EVENTS" not in os.environ:
            names.append(self.rnd.choice(AGAIN))
        skipped, problems, rows, hashes, recorded = [], [], 0, 0, 0
        self.lines = []
        try:
            self.all_stored()
            self.work(names, skipped)
            rows, hashes, recorded, problems = self.compare(names)
        except Exception as e:
            problems = [f"{type(e).__name__}: {e}"] + self.situation()
        self.lines += self.server.new_lines()
        explained = ALWAYS + [e for n in names for e in EXPLAINS.get(n, [])]
        problems += complaints(self.lines, explained)
        loaded = sum("has been loaded with" in line for line in self.lines)
        if names[0] in CRASHES and not skipped and loaded < len(VIEWS) - REBUILT - CRASHES[names[0]]:
            problems.append(f"of {len(VIEWS)} views only {loaded} were loaded from the store")
        what = " and ".join(names)
        passed = ok(not problems, f"seed {self.seed} round {number}: {what}: {rows} rows, {hashes} hashes, {recorded} recorded"
                                  + (f", {loaded} views loaded" if loaded else ""),
                    "\n".join(problems[:40] + ["last lines of the server's log:"] + self.lines[-60:]
                              if problems else []))
        for line in skipped:
            print(f"# skipped {line}", flush=True)
        if passed:
            for name in names:
                if not any(s.startswith(name + ":") for s in skipped):
                    report[name] = report.get(name, 0) + 1
        return passed

    # ---- a seed ----

    def begin(self):
        conn = self.server.wait_up()
        run(conn, SCHEMA)
        conn.close()
        self.set_clock()
        conn = self.server.wait_up()
        for view in VIEWS:
            create_view(conn, view)
        conn.close()

    def end(self):
        conn = self.server.wait_up()
        for (gid,) in run(conn, "SELECT gid FROM pg_prepared_xacts"):
            run(conn, f"ROLLBACK PREPARED '{gid}'")
        for name, _, _ in VIEWS:
            run(conn, "SELECT drop_feature_view(%s)", (name,))
        run(conn, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        deadline = time.monotonic() + 60
        while (run(conn, "SELECT 1 FROM pg_replication_slots UNION ALL"
                         " SELECT 1 FROM feature_engine.checkpoint UNION ALL"
                         " SELECT 1 FROM feature_engine.checkpoint_chunk")
               or self.server.redis().keys("*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        left = [run(conn, "SELECT slot_name FROM pg_replication_slots"),
                run(conn, "SELECT viewid, cycle FROM feature_engine.checkpoint"),
                run(conn, "SELECT DISTINCT viewid, cycle FROM feature_engine.checkpoint_chunk"),
                self.server.redis().keys("*")[:5]]
        ok(not any(left), f"seed {self.seed}: nothing is left after the last drop", str(left))
        conn.close()


def run_seed(server, seed, seconds, report):
    t = Torture(server, seed)
    t.begin()
    deadline = time.monotonic() + seconds
    number = 0
    while (not ROUNDS or number < ROUNDS) and (not MINUTES or time.monotonic() < deadline):
        number += 1
        if not t.round(number, report):
            return False
    t.end()
    return True


def prepare(server):
    conn = server.wait_up()
    run(conn, "CREATE EXTENSION feature_engine")
    small = os.environ.get("FE_SMALL")
    if small:
        os.mkdir(os.path.join(small, "space"), 0o700)
        run(conn, f"CREATE TABLESPACE small LOCATION '{small}/space'")
    conn.close()


def main():
    server = Server()
    report = {}
    prepare(server)
    for seed in SEEDS:
        try:
            if not run_seed(server, seed, MINUTES * 60 / len(SEEDS), report):
                break
        except Exception as e:
            ok(False, f"seed {seed} ended early", f"{type(e).__name__}: {e}")
            break
    print(f"# rounds survived: {sum(report.values())}")
    for name in sorted(report):
        print(f"#   {name:20s} {report[name]}")
    return finish()


sys.exit(main())
