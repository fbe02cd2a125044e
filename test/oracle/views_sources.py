"""Views over several tables, and over a partitioned one whose partitions come and go.

Triggers on events keep two more tables in step, so that every way in which the sessions
change events changes these as well: returns, whose types differ, and parts, partitioned
at two levels, whose rows move between partitions.  reshape() is the work of a session
that attaches, detaches, drops and truncates partitions meanwhile.
"""

import random
import threading

import psycopg2
from psycopg2 import errors

SOURCES_SCHEMA = """
DROP TABLE IF EXISTS returns, parts, apart CASCADE;
CREATE TABLE returns (
    reason   varchar(40),
    gone     int,
    value    float8,
    at       timestamp,
    customer bigint,
    id       bigint PRIMARY KEY
);
ALTER TABLE returns DROP COLUMN gone;
ALTER TABLE returns REPLICA IDENTITY FULL;
CREATE TABLE parts (
    id       bigint,
    customer int,
    qty      int,
    amount   numeric(12,2),
    score    float8,
    status   text,
    note     text,
    created  timestamptz
) PARTITION BY RANGE (qty);
CREATE TABLE p0 PARTITION OF parts FOR VALUES FROM (0) TO (3);
CREATE TABLE p1 (note text, gone text, created timestamptz, qty int, score float8, id bigint, status text,
    customer int, amount numeric(12,2));
ALTER TABLE p1 DROP COLUMN gone;
ALTER TABLE parts ATTACH PARTITION p1 FOR VALUES FROM (3) TO (6);
CREATE TABLE p2 PARTITION OF parts FOR VALUES FROM (6) TO (9) PARTITION BY LIST (status);
CREATE TABLE p2a PARTITION OF p2 FOR VALUES IN ('new', 'paid');
CREATE TABLE p2d PARTITION OF p2 DEFAULT;
CREATE TABLE pd PARTITION OF parts DEFAULT;
CREATE INDEX ON parts (id);
ALTER TABLE p0 REPLICA IDENTITY FULL;
ALTER TABLE p1 REPLICA IDENTITY FULL;
ALTER TABLE p2a REPLICA IDENTITY FULL;
ALTER TABLE p2d REPLICA IDENTITY FULL;
ALTER TABLE pd REPLICA IDENTITY FULL;
CREATE OR REPLACE FUNCTION mirror() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        IF random() < 0.5 THEN
            TRUNCATE returns, parts;
        ELSE
            TRUNCATE returns;
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM returns WHERE id = OLD.id;
        DELETE FROM parts WHERE id = OLD.id;
    ELSIF TG_OP = 'UPDATE' THEN
        UPDATE returns SET (reason, value, at, customer) =
            (SELECT left(NEW.merchant, 20), NEW.score, NEW.local_ts, NEW.customer) WHERE id = OLD.id;
        UPDATE parts SET (customer, qty, amount, score, status, note, created) =
            (SELECT NEW.customer, NEW.qty, NEW.amount, NEW.score, NEW.status, NEW.note, NEW.created) WHERE id = OLD.id;
    ELSIF NEW.id % 3 = 0 THEN
        INSERT INTO returns (id, reason, value, at, customer)
        VALUES (NEW.id, left(NEW.merchant, 20), NEW.score, NEW.local_ts, NEW.customer);
    ELSIF NEW.id % 3 = 1 THEN
        INSERT INTO parts (id, customer, qty, amount, score, status, note, created)
        VALUES (NEW.id, NEW.customer, NEW.qty, NEW.amount, NEW.score, NEW.status, NEW.note, NEW.created);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER mirror AFTER INSERT OR UPDATE OR DELETE ON events FOR EACH ROW EXECUTE FUNCTION mirror();
CREATE TRIGGER mirror_truncate AFTER TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION mirror();
"""

SOURCES_VIEWS = [
    ("u_two", """
        SELECT customer, count(*) AS n, sum(x) AS s, count(*) FILTER (WHERE kind = 'return') AS returns,
               sum(x) FILTER (WHERE w7) AS s7, max(what) AS hi, last(what, ts) FILTER (WHERE w30) AS l,
               min(ts) AS first_time, count(DISTINCT what) FILTER (WHERE w30) AS whats
        FROM (SELECT customer, amount AS x, created AS ts, 'event' AS kind, merchant AS what FROM events
              WHERE status <> 'cancelled'
              UNION ALL
              SELECT customer, -value, at AT TIME ZONE 'UTC', 'return', reason FROM returns WHERE value > -100) u,
             LATERAL (SELECT rolling(ts, '7 days') AS w7, rolling(ts, '30 days') AS w30) w
        WHERE x IS DISTINCT FROM 1 GROUP BY customer""", {}),
    ("u_twice", """
        SELECT k, count(*) AS n, sum(v) AS s, count(*) FILTER (WHERE src = 2 AND rolling(t, '30 days')) AS second
        FROM (SELECT customer AS k, qty AS v, 1 AS src, created AS t FROM events WHERE qty < 9
              UNION ALL SELECT qty, big % 1000, 2, created FROM events) u
        GROUP BY k""", {}),
    ("u_nested", """
        WITH e AS (SELECT *, amount * 2 AS twice FROM events)
        SELECT k, count(*) AS n, sum(v) AS s, max(v) AS hi
        FROM (SELECT k, v + 1 AS v FROM (
                  SELECT customer AS k, twice AS v FROM e WHERE id % 2 = 0
                  UNION ALL (SELECT customer, value FROM returns UNION ALL SELECT qty, amount FROM parts)) m
              WHERE v > -50
              UNION ALL SELECT customer, 0 FROM e WHERE rate > 10) u
        GROUP BY k""", {}),
    ("u_where_window", """
        SELECT customer, count(*) AS n, sum(x) AS s
        FROM (SELECT customer, amount AS x, created AS ts FROM events
              UNION ALL SELECT customer, amount, created FROM parts) u
        WHERE rolling(ts, '30 days') GROUP BY customer""", {}),
    ("p_lifetime", """
        SELECT customer, count(*) AS n, sum(amount) AS s, avg(score) AS a, min(note) AS lo, max(note) AS hi,
               count(DISTINCT status) AS statuses, last(qty, created) AS q
        FROM parts GROUP BY customer""", {}),
    ("p_windows", """
        SELECT customer, count(*) FILTER (WHERE rolling(created, '7 days')) AS n7,
               sum(amount) FILTER (WHERE rolling(created, '30 days') AND qty > 2) AS s30,
               max(created) AS latest
        FROM parts WHERE status IS NOT NULL GROUP BY customer""", {}),
    ("p_mid", "SELECT status, count(*) AS n, sum(amount) AS s, max(note) AS hi FROM p2 GROUP BY status", {}),
    ("p_one", "SELECT customer, count(*) AS n, sum(amount) AS s, max(note) AS hi FROM p1 GROUP BY customer", {}),
]

FILL = """SELECT -floor(random() * 1e9)::bigint, floor(random() * 60)::int, {qty}, round((random() * 400)::numeric, 2),
    random() * 100, (ARRAY['new','paid','shipped',NULL])[1 + floor(random() * 4)::int], md5(random()::text),
    feature_engine.now() - interval '40 days' * random() FROM generate_series(1, {n})"""
COLUMNS = "id, customer, qty, amount, score, status, note, created"


def fill(table, qty, n):
    return f"INSERT INTO {table} ({COLUMNS}) {FILL.format(qty=qty, n=n)};"


# each is one transaction
RESHAPES = [
    "ALTER TABLE parts DETACH PARTITION p1; DELETE FROM p1 WHERE random() < 0.2;" + fill("p1", 4, 20) +
    fill("parts", 7, 20) + "ALTER TABLE parts ATTACH PARTITION p1 FOR VALUES FROM (3) TO (6);" + fill("parts", 5, 3),
    fill("p0", 1, 10) + "DROP TABLE p0; CREATE TABLE p0 PARTITION OF parts FOR VALUES FROM (0) TO (3);"
    "ALTER TABLE p0 REPLICA IDENTITY FULL;" + fill("parts", 2, 10),
    "TRUNCATE p1;" + fill("p1", 5, 10),
    fill("p2a", 7, 1).replace("(ARRAY['new','paid','shipped',NULL])[1 + floor(random() * 4)::int]", "'paid'") +
    "TRUNCATE p2a",
    fill("parts", 8, 10) + "TRUNCATE p2;" + fill("p2", 6, 10),
    "CREATE TABLE p3 PARTITION OF parts FOR VALUES FROM (100) TO (200); ALTER TABLE p3 REPLICA IDENTITY FULL;" +
    fill("parts", 100, 20) + "UPDATE parts SET qty = 5 WHERE qty = 100 AND random() < 0.2",
    "UPDATE parts SET qty = 150 WHERE qty = 8 AND id < 0;" + fill("p3", 120, 5),
    "ALTER TABLE parts DETACH PARTITION p3;" + fill("p3", 110, 5),
    "DELETE FROM p3 WHERE random() < 0.3;",
    "ALTER TABLE parts ATTACH PARTITION p3 FOR VALUES FROM (100) TO (200)",
    "DROP TABLE p3",
    "CREATE TABLE apart (LIKE parts); ALTER TABLE apart REPLICA IDENTITY FULL;" + fill("apart", 210, 30) +
    "ALTER TABLE parts ATTACH PARTITION apart FOR VALUES FROM (200) TO (300);" + fill("parts", 220, 3),
    "DELETE FROM parts WHERE qty = 210 AND random() < 0.5; UPDATE parts SET qty = 220 WHERE qty = 210",
    "DROP TABLE apart",
    "ALTER TABLE parts ADD COLUMN extra int DEFAULT 5",
    "ALTER TABLE parts DROP COLUMN extra",
    "ALTER TABLE p2 DETACH PARTITION p2a; UPDATE p2a SET amount = 1; ALTER TABLE p2 ATTACH PARTITION p2a"
    " FOR VALUES IN ('new', 'paid')",
]


class Reshaper(threading.Thread):
    """A session that changes partitions a few times; what comes after the last one is not read anew."""

    def __init__(self, connect, seed):
        super().__init__()
        self.rnd = random.Random(seed)
        self.conn = connect()
        self.stop = threading.Event()
        self.made = 0
        self.error = None

    def run(self):
        try:
            for _ in range(self.rnd.randint(2, 20)):
                if self.stop.wait(self.rnd.uniform(0, 0.1)):
                    break
                self.reshape(self.rnd.choice(RESHAPES))
            self.conn.close()
        except Exception as e:  # reported by the main thread
            self.error = e

    def reshape(self, sql):
        with self.conn.cursor() as cur:
            try:
                cur.execute("BEGIN; SET LOCAL lock_timeout = '5s';" + sql)
                cur.execute(self.rnd.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))
                self.made += 1
            except (errors.DeadlockDetected, errors.LockNotAvailable, errors.UndefinedTable, errors.DuplicateTable,
                    errors.UndefinedColumn, errors.DuplicateColumn, errors.CheckViolation,
                    psycopg2.ProgrammingError, errors.WrongObjectType):
                cur.execute("ROLLBACK")
