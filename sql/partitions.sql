-- A partitioned table as the source: changes through any partition, at any depth; partitions come and go.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA partitions;
SET search_path = partitions, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;
SELECT set_clock('2026-05-01 12:00Z');
CREATE TABLE moves (id int, k int, amount numeric, at timestamptz, note text) PARTITION BY RANGE (k);
CREATE TABLE m1 PARTITION OF moves FOR VALUES FROM (0) TO (10);
-- columns in another order, and a hole
CREATE TABLE m2 (note text, gone int, at timestamptz, amount numeric, k int, id int);
ALTER TABLE m2 DROP COLUMN gone;
ALTER TABLE moves ATTACH PARTITION m2 FOR VALUES FROM (10) TO (20);
CREATE TABLE m3 PARTITION OF moves FOR VALUES FROM (20) TO (30) PARTITION BY LIST (id);
CREATE TABLE m3a PARTITION OF m3 FOR VALUES IN (1, 2, 3);
CREATE TABLE m3d PARTITION OF m3 DEFAULT;
INSERT INTO moves SELECT n % 6, n % 30, n, timestamptz '2026-05-01 11:00Z' - n * interval '1 hour', 'n' || n FROM generate_series(1, 120) n;

-- partitions do not take the replica identity of the table above
\set moves 'SELECT id, count(*) AS n, sum(amount) AS s, max(note) AS hi, last(k, at) AS k, count(*) FILTER (WHERE rolling(at, ''1 day'')) AS n1 FROM moves GROUP BY id'
ALTER TABLE moves REPLICA IDENTITY FULL;
SELECT create_feature_view('moves_of', :'moves');
ALTER TABLE m1 REPLICA IDENTITY FULL;
ALTER TABLE m2 REPLICA IDENTITY FULL;
ALTER TABLE m3a REPLICA IDENTITY FULL;
SELECT * FROM explain_feature_view(:'moves') WHERE item = 'source';
SELECT create_feature_view('moves_of', :'moves');
ALTER TABLE m3d REPLICA IDENTITY FULL;
SELECT * FROM explain_feature_view(:'moves') WHERE item = 'source';
SELECT create_feature_view('moves_of', :'moves');
-- beside it: one of a partition, one of a partition with partitions, one that unites two of them
SELECT create_feature_view('of_m2', 'SELECT id, count(*) AS n, sum(amount) AS s FROM m2 GROUP BY id');
SELECT create_feature_view('of_m3', 'SELECT id, count(*) AS n, sum(amount) AS s FROM m3 GROUP BY id');
SELECT create_feature_view('of_both', 'SELECT k, count(*) AS n, sum(s) AS s FROM (SELECT id AS k, amount AS s FROM moves WHERE note <> ''x'' UNION ALL SELECT k, -amount FROM m2) u GROUP BY k');
CREATE FUNCTION differences() RETURNS TABLE (view text, key jsonb, feature text, streamed text, batch text) LANGUAGE sql AS $$
    SELECT v.name, c.* FROM (SELECT name FROM feature_engine.feature_views ORDER BY name) v, check_feature_view(v.name) c
    UNION ALL SELECT v.name || ' (sample)', c.* FROM (SELECT name FROM feature_engine.feature_views ORDER BY name) v, check_feature_view(v.name, 3) c $$;
SELECT * FROM differences();
SELECT * FROM moves_of ORDER BY id;

-- changes through the table and through partitions; rows that move from one to another; TOAST
INSERT INTO moves SELECT n % 6, n % 30, n, '2026-05-01 11:30Z', 'x' FROM generate_series(1, 30) n;
INSERT INTO m2 (id, k, amount, at, note) VALUES (9, 11, 5, '2026-05-01 11:40Z', repeat('long', 3000));
UPDATE moves SET k = (k + 7) % 30, id = id + 1;
UPDATE m2 SET amount = amount + 1;
DELETE FROM moves WHERE k = 3;
BEGIN;
UPDATE moves SET k = 25 WHERE k < 5;
SAVEPOINT s;
DELETE FROM m3;
ROLLBACK TO s;
UPDATE m3 SET id = 3 WHERE id = 5;
COMMIT;
SELECT * FROM differences();
SELECT id, n, s, left(hi, 8) AS hi, k, n1 FROM moves_of ORDER BY id;

-- a new partition, its first rows in the same transaction: nothing is built anew, every event counts on
CREATE FUNCTION events() RETURNS TABLE (events bigint, state text) LANGUAGE sql AS
$$ SELECT events, state FROM feature_engine.status WHERE name = 'moves_of' AND feature_engine.sync(view => 'moves_of') IS NOT NULL $$;
SELECT events AS before FROM events() \gset
BEGIN;
CREATE TABLE m4 PARTITION OF moves FOR VALUES FROM (30) TO (40);
ALTER TABLE m4 REPLICA IDENTITY FULL;
INSERT INTO moves VALUES (1, 30, 100, '2026-05-01 11:50Z', 'm4'), (2, 31, 200, '2026-05-01 11:50Z', 'm4');
COMMIT;
UPDATE moves SET k = 35 WHERE k = 30;
-- with partitions of its own, of which one comes later
CREATE TABLE m5 PARTITION OF moves FOR VALUES FROM (40) TO (50) PARTITION BY RANGE (k);
CREATE TABLE m5a PARTITION OF m5 FOR VALUES FROM (40) TO (45);
CREATE TABLE m5b PARTITION OF m5 FOR VALUES FROM (45) TO (50);
ALTER TABLE m5a REPLICA IDENTITY FULL;
ALTER TABLE m5b REPLICA IDENTITY FULL;
INSERT INTO moves VALUES (1, 41, 300, '2026-05-01 11:55Z', 'm5'), (2, 46, 400, '2026-05-01 11:55Z', 'm5');
-- columns come and get other names
ALTER TABLE moves ADD COLUMN extra int DEFAULT 7;
ALTER TABLE moves RENAME amount TO total;
CREATE TABLE m6 PARTITION OF moves FOR VALUES FROM (60) TO (70);
ALTER TABLE m6 REPLICA IDENTITY FULL;
INSERT INTO moves VALUES (1, 61, 500, '2026-05-01 11:56Z', 'm6');
SELECT * FROM differences();
SELECT events - :before AS more_events, state FROM events();

-- the new column of old rows has its default, also when they change
SELECT create_feature_view('of_extra', 'SELECT extra, count(*) AS n, sum(extra) AS s FROM moves GROUP BY extra');
UPDATE moves SET extra = extra + 1 WHERE k < 3;
DELETE FROM moves WHERE k = 5;
SELECT * FROM differences();
SELECT * FROM of_extra ORDER BY extra;
SELECT drop_feature_view('of_extra');

-- ATTACH, also in the transaction that fills the table, and next to rows for the others
CREATE TABLE m7 (LIKE moves);
ALTER TABLE m7 REPLICA IDENTITY FULL;
INSERT INTO m7 SELECT n % 6, 70 + n % 10, n, '2026-05-01 11:00Z', 'm7' FROM generate_series(1, 10) n;
ALTER TABLE moves ATTACH PARTITION m7 FOR VALUES FROM (70) TO (80);
SELECT * FROM differences();
BEGIN;
CREATE TABLE m8 (LIKE moves);
ALTER TABLE m8 REPLICA IDENTITY FULL;
INSERT INTO m8 SELECT n % 6, 80 + n % 10, n, '2026-05-01 11:00Z', 'm8' FROM generate_series(1, 10) n;
INSERT INTO moves VALUES (1, 75, 1, '2026-05-01 11:57Z', 'other');
ALTER TABLE moves ATTACH PARTITION m8 FOR VALUES FROM (80) TO (90);
INSERT INTO moves VALUES (1, 85, 1, '2026-05-01 11:57Z', 'm8');
COMMIT;
SELECT * FROM differences();
-- DETACH; detached, changed and attached again in one transaction; DROP
ALTER TABLE moves DETACH PARTITION m7;
INSERT INTO m7 (id, k) VALUES (1, 70);
SELECT * FROM differences();
BEGIN;
ALTER TABLE moves DETACH PARTITION m8;
DELETE FROM m8 WHERE id = 1;
ALTER TABLE moves ATTACH PARTITION m8 FOR VALUES FROM (80) TO (90);
COMMIT;
SELECT * FROM differences();
ALTER TABLE moves DETACH PARTITION m8 CONCURRENTLY;
SELECT * FROM differences();
DROP TABLE m4;
SELECT * FROM differences();
-- of a part of a part
ALTER TABLE m3 DETACH PARTITION m3a;
SELECT * FROM differences();
BEGIN;
DROP TABLE m5a;
CREATE TABLE m5a PARTITION OF m5 FOR VALUES FROM (40) TO (45);
ALTER TABLE m5a REPLICA IDENTITY FULL;
INSERT INTO moves VALUES (1, 41, 300, '2026-05-01 11:55Z', 'anew');
COMMIT;
SELECT * FROM differences();
SELECT id, n, s FROM moves_of ORDER BY id;

-- TRUNCATE: of one partition, of one with partitions, of all
TRUNCATE m1;
SELECT * FROM differences();
BEGIN;
INSERT INTO moves VALUES (3, 25, 1, '2026-05-01 11:57Z', 'lost');
TRUNCATE m3;
INSERT INTO moves VALUES (3, 26, 1, '2026-05-01 11:57Z', 'kept');
COMMIT;
SELECT * FROM differences();
BEGIN;
TRUNCATE moves;
INSERT INTO moves VALUES (1, 1, 9, '2026-05-01 11:58Z', 'first'), (1, 11, 9, '2026-05-01 11:58Z', 'second');
COMMIT;
SELECT * FROM differences();
SELECT * FROM moves_of;

-- a partition whose old rows are not in the log: all right until one is needed
CREATE TABLE m9 PARTITION OF moves FOR VALUES FROM (90) TO (100);
INSERT INTO moves VALUES (1, 91, 9, '2026-05-01 11:59Z', 'm9');
SELECT * FROM differences();
UPDATE moves SET id = 2 WHERE k = 91;
SELECT sync(view => 'moves_of');
ALTER TABLE m9 REPLICA IDENTITY FULL;
SELECT refresh_feature_view('moves_of');
SELECT refresh_feature_view('of_both');
SELECT * FROM differences();

-- the table cannot go; the views can (which of them ALTER names depends on the order in pg_depend)
DROP TABLE moves;
\set VERBOSITY terse
ALTER TABLE moves ALTER total TYPE float8;
\set VERBOSITY default
ALTER TABLE moves DROP COLUMN k;
SELECT drop_feature_view(name) FROM feature_views;

-- Refused
\set SHOW_CONTEXT never
CREATE UNLOGGED TABLE m10 PARTITION OF moves FOR VALUES FROM (100) TO (110);
SELECT create_feature_view('refused', 'SELECT id, count(*) AS n FROM moves GROUP BY id');
ALTER TABLE moves DETACH PARTITION m10;
SET client_min_messages = warning;
CREATE FOREIGN DATA WRAPPER partitions_fdw;
CREATE SERVER partitions_server FOREIGN DATA WRAPPER partitions_fdw;
CREATE FOREIGN TABLE m11 PARTITION OF moves FOR VALUES FROM (110) TO (120) SERVER partitions_server;
SELECT create_feature_view('refused', 'SELECT id, count(*) AS n FROM moves GROUP BY id');
DROP FOREIGN TABLE m11;
SELECT create_feature_view('refused', 'SELECT id, count(*) AS n FROM ONLY moves GROUP BY id');
CREATE TABLE parent (k int);
CREATE TABLE child () INHERITS (parent);
SELECT create_feature_view('refused', 'SELECT k, count(*) AS n FROM parent GROUP BY k');
-- without a partition there are no rows, until there is one
CREATE TABLE bare (k int, v int) PARTITION BY LIST (k);
SELECT create_feature_view('of_bare', 'SELECT k, count(*) AS n, sum(v) AS s FROM bare GROUP BY k');
SELECT sync(view => 'of_bare') > '0/0' AS synced;
CREATE TABLE bare1 PARTITION OF bare FOR VALUES IN (1);
INSERT INTO bare VALUES (1, 10), (1, 20);
SELECT * FROM differences();
SELECT * FROM of_bare;
SELECT drop_feature_view('of_bare');
-- and when one comes later
SELECT create_feature_view('stops', 'SELECT id, count(*) AS n FROM moves GROUP BY id');
SELECT sync(view => 'stops') > '0/0' AS synced;
ALTER TABLE moves ATTACH PARTITION m10 FOR VALUES FROM (100) TO (110);
SELECT sync(view => 'stops');
ALTER TABLE moves DETACH PARTITION m10;
SELECT refresh_feature_view('stops');
SELECT * FROM differences();
SELECT drop_feature_view('stops');

SELECT set_clock(NULL);
DROP SCHEMA partitions CASCADE;
DROP FOREIGN DATA WRAPPER partitions_fdw CASCADE;
