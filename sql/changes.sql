-- Feature views over the stream of a table's changes: FROM changes(NULL::t).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA changes_test;
SET search_path = changes_test, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;

CREATE TABLE orders (
    id int PRIMARY KEY, customer int, total numeric(10,2), status varchar(20), note text, created_at timestamptz
);
ALTER TABLE orders REPLICA IDENTITY FULL;
INSERT INTO orders VALUES
    (1, 1, 10, 'pending', repeat('long ', 2000), '2026-01-01'),
    (2, 1, 20, 'paid', 'x', '2026-01-02'),
    (3, 2, 30, 'paid', NULL, '2026-01-03');

-- As a query the stream is an error, never empty.
SELECT * FROM changes(NULL::orders);
SELECT count(*) FROM changes(NULL::orders) WHERE false;
SELECT * FROM changes(NULL);
SELECT changes(NULL::orders);

-- The usual reading of a change stream: an insert, an update and a row read at first count once each.
SELECT create_feature_view('usual', $$
    SELECT (after).customer, count(*) AS n, sum((after).total) AS total, max((after).created_at) AS latest
    FROM changes(NULL::orders) WHERE op IN ('c', 'u', 'r') GROUP BY (after).customer $$);
-- What happened, by kind; coalesce() of the rows as a whole or of their columns.
SELECT create_feature_view('kinds', $$
    SELECT (coalesce(after, before)).customer,
           count(*) FILTER (WHERE op = 'c') AS c, count(*) FILTER (WHERE op = 'u') AS u,
           count(*) FILTER (WHERE op = 'd') AS d, count(*) FILTER (WHERE op = 'r') AS r,
           count(committed_at) AS dated, count(DISTINCT lsn) AS positions,
           count((before).id) AS befores, count((after).id) AS afters,
           sum((after).total - (before).total) AS moved,
           max(length((after).note)) AS longest
    FROM changes(NULL::orders) GROUP BY (coalesce(after, before)).customer $$);
-- Only what comes: no rows that are there already.
SELECT create_feature_view('coming', $$
    SELECT coalesce((before).customer, (after).customer) AS customer, count(*) AS n
    FROM changes(NULL::orders) c GROUP BY 1 $$, snapshot => false);
-- Through a subquery, a CTE and LATERAL, with other names for the columns.
SELECT create_feature_view('nested', $$
    WITH s AS (SELECT o, b, a, t FROM changes(NULL::orders) x(o, b, a, t, l, bt) WHERE o <> 'r')
    SELECT (s.a).customer AS customer, count(*) AS n, count(*) FILTER (WHERE changed) AS status_changes
    FROM s, LATERAL (SELECT (s.b).status IS DISTINCT FROM (s.a).status AS changed) z
    GROUP BY (s.a).customer $$);
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM usual ORDER BY customer;
SELECT * FROM kinds ORDER BY customer;
SELECT * FROM coming ORDER BY customer;
SELECT * FROM nested ORDER BY customer;

INSERT INTO orders VALUES (4, 1, 40, 'new', 'y', '2026-01-04'), (5, 3, 50, 'new', 'y', '2026-01-05');
UPDATE orders SET status = 'shipped' WHERE id IN (1, 2);        -- the long note is not written again
UPDATE orders SET customer = 3, total = total + 1 WHERE id = 3;
UPDATE orders SET status = status WHERE id = 2;                 -- changes nothing, and is a change
BEGIN;
INSERT INTO orders VALUES (6, 1, 60, 'new', NULL, '2026-01-06');
SAVEPOINT a;
DELETE FROM orders WHERE id = 2;
ROLLBACK TO a;
DELETE FROM orders WHERE id = 4;
COMMIT;
BEGIN;
DELETE FROM orders;
ROLLBACK;
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM usual ORDER BY customer;
SELECT * FROM kinds ORDER BY customer;
SELECT * FROM coming ORDER BY customer;
SELECT * FROM nested ORDER BY customer;
-- TRUNCATE logs no changes of rows.
TRUNCATE orders;
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM kinds ORDER BY customer;

-- Names follow; what is used cannot be dropped or retyped; other columns come and go.
ALTER TABLE orders RENAME TO purchases;
ALTER TABLE purchases RENAME COLUMN total TO amount;
\set VERBOSITY terse
ALTER TABLE purchases DROP COLUMN amount;
ALTER TABLE purchases ALTER COLUMN customer TYPE bigint;
\set VERBOSITY default
ALTER TABLE purchases ADD COLUMN extra text DEFAULT 'z';
ALTER TABLE purchases ADD COLUMN unused int, ADD COLUMN later int;
ALTER TABLE purchases DROP COLUMN unused;
ALTER TABLE purchases ALTER COLUMN later TYPE bigint;      -- rewrites the table
INSERT INTO purchases VALUES (7, 1, 70, 'new', 'z', '2026-01-07', 'e', 1);
DELETE FROM purchases;
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM kinds ORDER BY customer;
SELECT name, source, snapshot FROM feature_views WHERE name IN ('usual', 'coming') ORDER BY name;
SELECT pg_get_viewdef(definition) FROM feature_views WHERE name = 'nested';
SELECT name, state, history_from IS NOT NULL AS has_history, gaps, gap_from FROM status
WHERE name IN ('usual', 'kinds', 'coming', 'nested') ORDER BY name;

-- There is no query to compare with.
SELECT * FROM check_feature_view('kinds');
SELECT item, value, note FROM explain_feature_view($$
    SELECT (after).customer, count(*) AS n, last((after).status, committed_at) AS status
    FROM changes(NULL::purchases) WHERE op = 'u' AND (before).status IS DISTINCT FROM (after).status
    GROUP BY (after).customer $$) WHERE item IN ('changes of', 'key', 'where', 'feature');
SELECT value, note FROM explain_feature_view($$
    SELECT (after).customer, last((after).status, committed_at) AS status, string_agg((after).status, ',' ORDER BY committed_at) AS all
    FROM changes(NULL::purchases) GROUP BY (after).customer $$) WHERE item = 'aggregate';

-- A new definition with the same state keeps its history; another one begins anew, beside the old one.
SELECT create_feature_view('coming', $$
    SELECT coalesce((before).customer, (after).customer) AS customer, count(*) AS n, count(*) * 2 AS twice
    FROM changes(NULL::purchases) c GROUP BY 1 $$, snapshot => false, replace => true);
SELECT * FROM coming ORDER BY customer;
SELECT create_feature_view('coming', $$
    SELECT coalesce((before).customer, (after).customer) AS customer, count(*) AS n, count(*) * 2 AS twice,
           count(DISTINCT (after).id) AS ids
    FROM changes(NULL::purchases) c GROUP BY 1 $$, snapshot => false, replace => true);
SELECT sync(view => 'coming') IS NOT NULL AS synced;
INSERT INTO purchases VALUES (8, 9, 80, 'new', 'z', '2026-01-08');
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM coming ORDER BY customer;
-- So does refreshing.
SELECT refresh_feature_view('kinds');
SELECT sync() IS NOT NULL AS synced;
SELECT customer, c, u, d, r FROM kinds ORDER BY customer;

-- Windows over event time and commit time.
SELECT set_clock('2026-02-01 00:00+00');
SELECT create_feature_view('windows', $$
    SELECT (after).customer, count(*) AS n,
           count(*) FILTER (WHERE rolling((after).created_at, '7 days')) AS n7,
           sum((after).amount) FILTER (WHERE rolling((after).created_at, '30 days')) AS amount30,
           count(*) FILTER (WHERE rolling(committed_at, '36500 days')) AS committed
    FROM changes(NULL::purchases) GROUP BY (after).customer $$);
SELECT sync() IS NOT NULL AS synced;
INSERT INTO purchases VALUES (9, 9, 90, 'new', 'z', '2026-01-30'), (10, 9, 100, 'new', 'z', '2026-01-10');
UPDATE purchases SET amount = 0 WHERE id = 9;
SELECT set_clock('2026-02-01 00:00+00');
SELECT sync() IS NOT NULL AS synced;
SELECT customer, n, n7, amount30 FROM windows ORDER BY customer;
SELECT set_clock(NULL);
SELECT customer, n, committed FROM windows ORDER BY customer;

-- ---- refusals ----

CREATE FUNCTION try(query text) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT item FROM explain_feature_view(query) WHERE item = 'changes of' $$;
SELECT try('SELECT op, count(after) AS n FROM changes(NULL::purchases) GROUP BY op');
SELECT try('SELECT op, count(*) AS n FROM changes(NULL::purchases) WHERE before IS NOT NULL GROUP BY op');
SELECT try('SELECT op, count(*) AS n FROM changes(NULL::purchases) WHERE before IS DISTINCT FROM after GROUP BY op');
SELECT try('SELECT after, count(*) AS n FROM changes(NULL::purchases) GROUP BY after');
SELECT try('SELECT op, count(*) AS n FROM changes(ROW(1)::purchases) GROUP BY op');
SELECT try('SELECT op, count(*) AS n FROM changes(NULL::int) GROUP BY op');
SELECT try('SELECT op, count(*) AS n FROM changes(NULL::kinds) GROUP BY op');
SELECT try('SELECT op, count(*) AS n FROM changes(NULL::pg_class) GROUP BY op');
SELECT try('SELECT op, count(*) AS n FROM changes(NULL::purchases) WITH ORDINALITY c GROUP BY op');
SELECT try('SELECT op, count(*) AS n FROM ROWS FROM (changes(NULL::purchases), changes(NULL::purchases)) c(op, b, a, t, l, p, o2) GROUP BY 1');
SELECT try('SELECT op, count(*) AS n FROM changes(NULL::purchases) c JOIN purchases p ON p.id = (c.after).id GROUP BY op');
SELECT try('SELECT a.op, count(*) AS n FROM changes(NULL::purchases) a, changes(NULL::purchases) b GROUP BY a.op');
SELECT try('SELECT op, count(*) AS n, lsn FROM changes(NULL::purchases) GROUP BY op');
SELECT try('SELECT op, count(*) AS n, (after).amount FROM changes(NULL::purchases) GROUP BY op');
SELECT create_feature_view('no', 'SELECT customer, count(*) AS n FROM purchases GROUP BY 1', snapshot => false);
SELECT try('SELECT x, count(*) AS n FROM (SELECT id AS x FROM purchases UNION ALL SELECT (after).id FROM changes(NULL::purchases)) u GROUP BY x');
SELECT try('SELECT x, max(b) AS b FROM (SELECT (after).id AS x, before_at AS b FROM changes(NULL::purchases) UNION ALL
    SELECT (before).id, before_at FROM changes(NULL::purchases)) u GROUP BY x');
CREATE TABLE parted (id int, day date) PARTITION BY RANGE (day);
SELECT try('SELECT op, count(*) AS n FROM changes(NULL::parted) GROUP BY op');
-- Changes of two tables, and of one table read twice, are fine.
SELECT create_feature_view('netted', $$ SELECT x, sum(n) AS n FROM (
        SELECT (after).customer AS x, 1 AS n FROM changes(NULL::purchases) WHERE op <> 'd'
        UNION ALL SELECT (before).customer, -1 FROM changes(NULL::purchases) WHERE op IN ('u', 'd')) u GROUP BY x $$);
SELECT sync(view => 'netted') IS NOT NULL AS synced;
UPDATE purchases SET customer = 10 WHERE id = 9;
SELECT sync(view => 'netted') IS NOT NULL AS synced;
SELECT * FROM netted ORDER BY x;
SELECT customer, count(*) FROM purchases GROUP BY customer ORDER BY customer;

-- What the log must have: old values, and values that an update leaves out of it.
CREATE TABLE plain (id int PRIMARY KEY, amount numeric(10,2), code varchar(4), note text);
SELECT create_feature_view('no', 'SELECT (before).amount, count(*) AS n FROM changes(NULL::plain) GROUP BY 1');
SELECT create_feature_view('no', 'SELECT (after).note, count(*) AS n FROM changes(NULL::plain) GROUP BY 1');
SELECT create_feature_view('keys', $$
    SELECT op, count(*) AS n, count((before).id) AS before, sum((after).amount) AS amount, max((after).code) AS code
    FROM changes(NULL::plain) GROUP BY op $$);
SELECT create_feature_view('notes', $$
    SELECT op, count(*) AS n, max(length((after).note)) AS length FROM changes(NULL::plain) GROUP BY op $$,
    append_only => true);
SELECT sync() IS NOT NULL AS synced;
INSERT INTO plain VALUES (1, 10, 'a', 'short'), (2, 20, 'b', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) n));
UPDATE plain SET amount = 11 WHERE id = 1;
UPDATE plain SET id = 3 WHERE id = 1;
DELETE FROM plain WHERE id = 3;
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM keys ORDER BY op;
SELECT * FROM notes ORDER BY op;
UPDATE plain SET amount = 21 WHERE id = 2;
SELECT sync(view => 'keys') IS NOT NULL AS synced;
SELECT sync(view => 'notes');
SELECT n FROM keys WHERE op = 'u';
-- It has kept what it had, and goes on where it stopped.
SELECT alter_feature_view('notes', on_error => 'skip');
SELECT sync(view => 'notes') IS NOT NULL AS synced;
SELECT * FROM notes ORDER BY op;
SELECT skipped, gaps FROM status WHERE name = 'notes';

-- Another retention would need other state, and cost it its history.
SELECT create_feature_view('daily', $$SELECT op, tumble(committed_at, '1 day') AS w, count(*) AS n
    FROM changes(NULL::plain) GROUP BY 1, 2$$, retention => '30 days');
SELECT sync(view => 'daily') IS NOT NULL AS synced;
SELECT alter_feature_view('daily', retention => '60 days');
SELECT alter_feature_view('daily', reset => ARRAY['retention']);
SELECT alter_feature_view('daily', retention => '30 days', watermark => '1 hour');
SELECT drop_feature_view('daily');

-- ---- rights: as if the table were named ----

CREATE ROLE changes_reader;
GRANT USAGE, CREATE ON SCHEMA changes_test TO changes_reader;
SET ROLE changes_reader;
SELECT create_feature_view('secret', 'SELECT (after).id, count(*) AS n FROM changes(NULL::plain) GROUP BY 1');
SELECT create_feature_view('secret', 'SELECT op, count(*) AS n FROM changes(NULL::plain) GROUP BY 1');
RESET ROLE;
GRANT SELECT (id) ON plain TO changes_reader;
SET ROLE changes_reader;
SELECT create_feature_view('secret', 'SELECT (after).code, count(*) AS n FROM changes(NULL::plain) GROUP BY 1');
SELECT create_feature_view('secret', 'SELECT x.id, count(*) AS n FROM (SELECT (after).id, (after).amount FROM changes(NULL::plain)) x GROUP BY 1');
SELECT create_feature_view('secret', 'SELECT (after).id, count(*) AS n FROM changes(NULL::plain) GROUP BY 1');
SELECT sync(view => 'secret') IS NOT NULL AS synced;
SELECT * FROM secret ORDER BY id;
RESET ROLE;
REVOKE SELECT (id) ON plain FROM changes_reader;
SET ROLE changes_reader;
SELECT * FROM secret ORDER BY id;
RESET ROLE;
SELECT drop_feature_view('secret');

-- A view of one's own as the definition; DROP takes the feature view along only with CASCADE.
CREATE VIEW by_op AS SELECT op, count(*) AS n FROM changes(NULL::plain) GROUP BY op;
SELECT create_feature_view('ops', 'by_op'::regclass);
SELECT sync(view => 'ops') IS NOT NULL AS synced;
SELECT * FROM ops ORDER BY op;
\set VERBOSITY terse
DROP TABLE plain;
SET client_min_messages = warning;
DROP TABLE plain CASCADE;
SELECT name FROM feature_views WHERE source = 'purchases'::regclass ORDER BY name;
DROP SCHEMA changes_test CASCADE;
DROP ROLE changes_reader;
