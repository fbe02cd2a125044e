"""Random sessions that change the table events: every way to change a row, a few ways
to change one's mind, values and times of every kind."""

import io
import random
import threading

import psycopg2
from psycopg2 import errors

import views_joins


def connect():
    conn = psycopg2.connect("")
    conn.autocommit = True
    run(conn, "SET search_path = public, feature_engine; SET timezone = 'UTC'")
    return conn


def run(conn, sql, args=None):
    with conn.cursor() as cur:
        cur.execute(sql, args)
        return cur.fetchall() if cur.description else None


def create_view(conn, view):
    name, query, options = view
    args = "".join(f", {k} => %s" for k in options)
    run(conn, f"SELECT create_feature_view(%s, %s{args})", [name, query] + list(options.values()))


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

    def open(self):
        self.conn = connect()
        run(self.conn, "SELECT setseed(%s)", (self.rnd.random(),))
        run(self.conn, f"SET synchronous_commit = {self.rnd.choice(['on', 'off'])}")

    def run(self):
        try:
            self.open()
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
        except (errors.DeadlockDetected, errors.LockNotAvailable, errors.UniqueViolation):
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

    def change(self, truncate=True):
        if self.rnd.random() < 0.1:
            sql, n = views_joins.change(self.rnd)
            run(self.conn, sql)
            self.made += n
            return
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
        elif kind < 0.999 or not truncate:
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
        n = self.rnd.randint(5, 60)
        rows = run(self.conn, f"SELECT {ROW} FROM generate_series(1, {n})")
        text = "".join("\t".join("\\N" if v is None else str(v) for v in row) + "\n" for row in rows)
        with self.conn.cursor() as cur:
            cur.copy_expert(f"COPY events ({COLUMNS}) FROM STDIN", io.StringIO(text))
        return n
