-- What a feature view reads: several tables with UNION ALL.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA sources;
SET search_path = sources, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;
SELECT set_clock('2026-05-01 12:00Z');
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, total numeric(10,2), note varchar(10), created_at timestamptz);
CREATE TABLE refunds (reason text, amount float8, gone int, refunded_at timestamp, customer_id bigint);
ALTER TABLE refunds DROP COLUMN gone;
INSERT INTO orders SELECT n, n % 4, n * 10, 'n' || n % 3, timestamptz '2026-05-01 11:00Z' - n * interval '6 hours' FROM generate_series(1, 12) n;
INSERT INTO refunds SELECT 'r' || n, n * 2.5, timestamp '2026-05-01 10:00' - n * interval '1 day', n % 5 FROM generate_series(1, 6) n;

-- the replica identity is checked of each table
SELECT create_feature_view('balance', $$SELECT customer_id, count(*) AS n FROM (SELECT customer_id FROM orders UNION ALL SELECT customer_id FROM refunds) u GROUP BY customer_id$$);
ALTER TABLE orders REPLICA IDENTITY FULL;
SELECT create_feature_view('balance', $$SELECT customer_id, count(*) AS n FROM (SELECT customer_id FROM orders UNION ALL SELECT customer_id FROM refunds) u GROUP BY customer_id$$);
ALTER TABLE refunds REPLICA IDENTITY FULL;

-- types are the union's: int and bigint, numeric and float8, varchar and text; what stands above is over the union's columns
\set balance 'SELECT customer_id, count(*) AS n, sum(x) AS x, sum(x) FILTER (WHERE w1) AS x1, max(ts) AS latest, count(*) FILTER (WHERE kind = ''refund'') AS refunds, count(DISTINCT note) AS notes, last(note, ts) AS last_note FROM (SELECT customer_id, total AS x, created_at AS ts, ''order'' AS kind, note FROM orders WHERE total > 10 UNION ALL SELECT customer_id, -amount, refunded_at AT TIME ZONE ''UTC'', ''refund'', reason FROM refunds) u, LATERAL (SELECT rolling(ts, ''1 day'') AS w1) w WHERE x <> 40 GROUP BY customer_id HAVING count(*) > 1'
SELECT create_feature_view('balance', :'balance');
SELECT sync() > '0/0' AS synced;
SELECT * FROM balance ORDER BY customer_id;
SELECT * FROM check_feature_view('balance');
SELECT * FROM check_feature_view('balance', 2);
SELECT name, source, sources FROM feature_views WHERE name = 'balance';
SELECT * FROM explain_feature_view(:'balance');

-- every kind of change of each table, in one transaction and in several
INSERT INTO orders VALUES (100, 3, 7000, 'x', '2026-05-01 11:30Z');
UPDATE refunds SET customer_id = 3, amount = amount + 1 WHERE reason IN ('r1', 'r2');
DELETE FROM orders WHERE id < 4;
BEGIN;
INSERT INTO refunds VALUES ('both', 1, '2026-05-01 11:00', 3);
UPDATE orders SET customer_id = 1 WHERE id = 100;
SAVEPOINT s;
DELETE FROM refunds;
ROLLBACK TO s;
COMMIT;
SELECT * FROM check_feature_view('balance');
SELECT * FROM balance ORDER BY customer_id;

-- the same table twice, nested unions, projections between, a CTE that two of them read; constants tell them apart
SELECT create_feature_view('nested', $$
    WITH o AS (SELECT *, total * 2 AS twice FROM orders)
    SELECT k, count(*) AS n, sum(v) AS s, count(*) FILTER (WHERE src = 3) AS thirds, min(v) AS lo
    FROM (SELECT k, v + 1 AS v, src FROM (
              SELECT customer_id AS k, twice AS v, 1 AS src FROM o WHERE id % 2 = 0
              UNION ALL
              (SELECT * FROM (SELECT id, twice, 2::bigint FROM o UNION ALL SELECT customer_id, amount, 3 FROM refunds WHERE amount > 3) i)
          ) m WHERE k IS NOT NULL
          UNION ALL SELECT customer_id, 0, 4 FROM orders) u
    WHERE src <> 99 GROUP BY k$$);
SELECT * FROM check_feature_view('nested');
UPDATE orders SET id = id + 1000, total = total / 3;
INSERT INTO refunds VALUES ('n', 12, NULL, 1);
SELECT * FROM check_feature_view('nested');
SELECT count(*), sum(n) FROM nested;

-- TRUNCATE of one of several tables: built anew; of all of them, before new rows: empty at once
TRUNCATE refunds;
SELECT sync(view => 'balance') > '0/0' AS synced;
SELECT * FROM check_feature_view('balance');
SELECT * FROM check_feature_view('nested');
BEGIN;
TRUNCATE orders, refunds;
INSERT INTO orders VALUES (1, 1, 50, 'a', '2026-05-01 11:00Z'), (2, 1, 60, 'b', '2026-05-01 11:10Z');
COMMIT;
SELECT sync() > '0/0' AS synced;
SELECT * FROM balance;
SELECT * FROM check_feature_view('balance');
BEGIN;
INSERT INTO refunds VALUES ('lost', 1, '2026-05-01 11:00', 1);
TRUNCATE refunds;
INSERT INTO refunds VALUES ('kept', 2, '2026-05-01 11:00', 1);
COMMIT;
SELECT sync(view => 'nested') > '0/0' AS synced;
SELECT * FROM check_feature_view('balance');
SELECT * FROM check_feature_view('nested');
SELECT n, refunds FROM balance;

-- names follow; what is used stays
ALTER TABLE refunds RENAME TO returns;
ALTER TABLE returns RENAME amount TO value;
INSERT INTO returns VALUES ('renamed', 3, '2026-05-01 11:00', 1);
SELECT * FROM check_feature_view('balance');
SELECT n, refunds FROM balance;
DROP TABLE returns;
\set VERBOSITY terse
ALTER TABLE returns ALTER value TYPE numeric;
\set VERBOSITY default

-- a condition that is never true, one that always is, a column that nobody needs, a key of text
SELECT create_feature_view('odd', $$SELECT what, count(*) AS n, max(v) AS hi FROM (SELECT 'order' AS what, total AS v, id AS unused FROM orders WHERE 1 = 1 UNION ALL SELECT reason, value, 0 FROM returns WHERE false UNION ALL SELECT 'return', value, 1 FROM returns WHERE NULL::bool IS NULL) u GROUP BY what$$);
INSERT INTO orders VALUES (77, 1, 60, 'odd', NULL);
SELECT * FROM check_feature_view('odd');
SELECT what, n FROM odd ORDER BY what;
SELECT drop_feature_view('odd');

-- an error in one table's rows
SELECT create_feature_view('rates', 'SELECT k, count(*) AS n, sum(r) AS s FROM (SELECT customer_id AS k, 100 / total AS r FROM orders UNION ALL SELECT customer_id, 10 / value FROM returns) u GROUP BY k', on_error => 'skip');
INSERT INTO returns VALUES ('zero', 0, '2026-05-01 11:00', 1), ('five', 5, '2026-05-01 11:00', 7);
SELECT sync() > '0/0' AS synced;
SELECT * FROM rates ORDER BY k;
SELECT skipped FROM status WHERE name = 'rates';
UPDATE returns SET value = 1 WHERE value = 0;
SELECT * FROM check_feature_view('rates');
SELECT drop_feature_view('rates');

-- a table that loses its replica identity stops the view, with the reason
SELECT drop_feature_view('nested');
ALTER TABLE returns REPLICA IDENTITY DEFAULT;
DELETE FROM returns WHERE reason = 'five';
SELECT sync(view => 'balance');
ALTER TABLE returns REPLICA IDENTITY FULL;
SELECT refresh_feature_view('balance');
SELECT sync(view => 'balance') > '0/0' AS synced;
SELECT * FROM check_feature_view('balance');

-- append_only: inserts into any of them
SELECT create_feature_view('appended', 'SELECT k, count(*) AS n FROM (SELECT customer_id AS k FROM orders UNION ALL SELECT customer_id FROM returns) u GROUP BY k', append_only => true);
INSERT INTO orders VALUES (300, 9, 1, 'z', NULL);
SELECT * FROM check_feature_view('appended');
SELECT * FROM appended WHERE k = 9;
SELECT drop_feature_view('appended');

-- a replacement reads other tables
SELECT create_feature_view('balance', 'SELECT customer_id::bigint AS customer_id, count(*) AS n, sum(total::float8) AS x, sum(total::float8) FILTER (WHERE rolling(created_at, ''1 day'')) AS x1, max(created_at) AS latest, count(*) AS refunds, count(DISTINCT note) AS notes, last(note::varchar, created_at) AS last_note FROM orders GROUP BY customer_id::bigint', replace => true);
SELECT sync() > '0/0' AS synced;
SELECT * FROM check_feature_view('balance');
SELECT name, sources FROM feature_views WHERE name = 'balance';

-- rights: of each table
CREATE ROLE sources_owner;
GRANT USAGE, CREATE ON SCHEMA sources TO sources_owner;
GRANT SELECT ON orders TO sources_owner;
SET ROLE sources_owner;
SELECT create_feature_view('owned', 'SELECT k, count(*) AS n FROM (SELECT customer_id AS k FROM orders UNION ALL SELECT customer_id FROM returns) u GROUP BY k');
RESET ROLE;
GRANT SELECT (customer_id) ON returns TO sources_owner;
SET ROLE sources_owner;
SELECT create_feature_view('owned', 'SELECT k, count(*) AS n FROM (SELECT customer_id AS k FROM orders UNION ALL SELECT customer_id FROM returns) u GROUP BY k');
SELECT sync(view => 'owned') > '0/0' AS synced;
SELECT * FROM owned ORDER BY k;
RESET ROLE;
REVOKE SELECT (customer_id) ON returns FROM sources_owner;
INSERT INTO orders VALUES (301, 9, 1, 'z', NULL);
SELECT sync(view => 'owned');
SELECT * FROM owned;
SELECT drop_feature_view('owned');
REVOKE ALL ON SCHEMA sources FROM sources_owner;
REVOKE ALL ON orders FROM sources_owner;
DROP ROLE sources_owner;

-- Refused
CREATE FUNCTION try(query text) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT item FROM explain_feature_view(query) WHERE item = 'source' $$;
\set SHOW_CONTEXT never
SELECT try('SELECT k, count(*) AS n FROM (SELECT customer_id AS k FROM orders UNION SELECT customer_id FROM returns) u GROUP BY k');
SELECT try('SELECT k, count(*) AS n FROM (SELECT customer_id AS k FROM orders INTERSECT ALL SELECT customer_id FROM returns) u GROUP BY k');
SELECT try('SELECT k, count(*) AS n FROM (SELECT customer_id AS k FROM orders UNION ALL (SELECT id FROM orders EXCEPT SELECT customer_id FROM returns)) u GROUP BY k');
SELECT try('SELECT customer_id AS k, count(*) AS n FROM orders GROUP BY 1 UNION ALL SELECT customer_id, count(*) FROM returns GROUP BY 1');
SELECT try('SELECT f.k, f.n FROM (SELECT customer_id AS k, count(*) AS n FROM orders GROUP BY 1 UNION ALL SELECT customer_id, count(*) FROM returns GROUP BY 1) f');
SELECT try('SELECT k, count(*) AS n FROM (SELECT customer_id AS k FROM orders UNION ALL SELECT 1) u GROUP BY k');
SELECT try('SELECT k, count(*) AS n FROM (SELECT customer_id AS k FROM orders UNION ALL SELECT customer_id FROM returns GROUP BY customer_id) u GROUP BY k');
SELECT try('SELECT k, count(*) AS n FROM (SELECT customer_id AS k FROM orders UNION ALL (SELECT customer_id FROM returns LIMIT 3)) u GROUP BY k');
SELECT try('SELECT k, count(*) AS n FROM (SELECT customer_id AS k FROM orders UNION ALL SELECT customer_id FROM returns ORDER BY 1) u GROUP BY k');
SELECT try('SELECT k, count(*) AS n FROM (SELECT customer_id AS k FROM orders UNION ALL SELECT customer_id FROM returns) u, orders o GROUP BY k');
SELECT try('SELECT k, count(*) AS n FROM orders o, (SELECT customer_id AS k FROM orders UNION ALL SELECT customer_id FROM returns) u GROUP BY k');
SELECT try('SELECT k, count(*) FILTER (WHERE w) AS n FROM (SELECT customer_id AS k, rolling(created_at, ''1 day'') AS w FROM orders UNION ALL SELECT customer_id, true FROM returns) u GROUP BY k');
SELECT try('SELECT k, count(*) AS n FROM (SELECT customer_id AS k FROM orders WHERE rolling(created_at, ''1 day'') UNION ALL SELECT customer_id FROM returns) u GROUP BY k');
SELECT try('SELECT k, sum(r) AS n FROM (SELECT customer_id AS k, random() AS r FROM orders UNION ALL SELECT customer_id, 1 FROM returns) u GROUP BY k');
SELECT try('SELECT k, count(*) FILTER (WHERE old) AS n FROM (SELECT customer_id AS k, created_at < now() AS old FROM orders UNION ALL SELECT customer_id, true FROM returns) u GROUP BY k');
SELECT try('SELECT k, max(v) AS n FROM (SELECT customer_id AS k, total AS v FROM orders UNION ALL SELECT customer_id, value FROM returns TABLESAMPLE system (10)) u GROUP BY k');
SELECT try('SELECT u::text AS k, count(*) AS n FROM (SELECT customer_id AS k FROM orders UNION ALL SELECT customer_id FROM returns) u GROUP BY 1');
SELECT drop_feature_view('balance');
SELECT set_clock(NULL);
DROP SCHEMA sources CASCADE;
