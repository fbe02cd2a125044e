-- check_feature_view(): that it finds what differs, and nothing else.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA checking;
SET search_path = checking, feature_engine;
CREATE TABLE samples (id serial PRIMARY KEY, "Key" int, x float8, y float4, at timestamptz DEFAULT pg_catalog.now());
ALTER TABLE samples REPLICA IDENTITY FULL;
INSERT INTO samples ("Key", x, y) SELECT n % 20, n * 1e-20, n / 7.0 FROM generate_series(1, 1000) n;
-- cancellation, NaN, infinities, a NULL key, the limits of the type
INSERT INTO samples ("Key", x, y) VALUES (1, 1e15, 0), (1, 0.3, 0), (1, -1e15, 0), (2, 'NaN', 1), (3, 'Infinity', 1),
    (NULL, 1, 1), (4, 1e300, 1), (4, -1e300, 1), (5, 1e150, 1), (5, -1e150, 1), (6, 5e-324, 1);
SELECT create_feature_view('sums', $$
    SELECT "Key", sum(x) AS s, avg(y) AS a, sum(x) FILTER (WHERE rolling(at, '1 day') AND x < 5) AS recent,
           sum(x) / count(*) AS mean, count(*) AS n, max(x) AS hi
    FROM samples WHERE id > 0 GROUP BY "Key" $$);
SELECT create_feature_view('nested', $$
    SELECT f.*, s * 2 AS twice FROM (
        SELECT "Key" + 1 AS k, id % 2 AS odd, sum(x) AS s
        FROM (SELECT "Key", id, x, x > 3 AS big FROM samples) z
        WHERE NOT big GROUP BY 1, 2 HAVING count(*) > 24) f $$);
SELECT sync() > '0/0' AS synced;
SELECT * FROM check_feature_view('sums');
SELECT * FROM check_feature_view('sums', 7);
SELECT * FROM check_feature_view('nested');
SELECT * FROM check_feature_view('nested', 7);

-- A function that lied: it was said to be immutable, and is replaced. What was computed before
-- is found to differ from what the batch query computes now.
CREATE FUNCTION keep(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 < 5; END';
CREATE FUNCTION scaled(float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
SELECT create_feature_view('kept', 'SELECT "Key", count(*) AS n FROM samples WHERE checking.keep("Key") GROUP BY "Key"');
SELECT create_feature_view('scales', 'SELECT "Key", sum(checking.scaled(x)) AS s FROM samples WHERE "Key" BETWEEN 7 AND 9 GROUP BY "Key"');
SELECT sync() > '0/0' AS synced;
SELECT * FROM check_feature_view('kept');
-- entities that the stream has not got, also in a sample, and those that it has and should not have
CREATE OR REPLACE FUNCTION keep(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 BETWEEN 1 AND 6; END';
SELECT * FROM check_feature_view('kept') ORDER BY key;
SELECT * FROM check_feature_view('kept', 100) ORDER BY key;
SELECT count(*) BETWEEN 1 AND 3 AS some FROM check_feature_view('kept', 10);
-- of small numbers a small difference counts, of great ones it does not
CREATE OR REPLACE FUNCTION scaled(float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 * (1 + 1e-12); END';
SELECT * FROM check_feature_view('scales');
CREATE OR REPLACE FUNCTION scaled(float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 * (1 + 1e-5); END';
SELECT key, feature FROM check_feature_view('scales') ORDER BY key;
CREATE OR REPLACE FUNCTION scaled(float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN ''Infinity''; END';
SELECT key, feature, batch FROM check_feature_view('scales') ORDER BY key;
CREATE OR REPLACE FUNCTION scaled(float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN ''NaN''; END';
SELECT key, feature, batch FROM check_feature_view('scales') ORDER BY key;
-- rebuilt, all is well
SELECT refresh_feature_view('scales'), refresh_feature_view('kept');
SELECT sync() > '0/0' AS synced;
SELECT * FROM check_feature_view('scales');
SELECT * FROM check_feature_view('kept', 5);

SELECT * FROM check_feature_view('nothing');
SELECT * FROM check_feature_view('kept', 0);
SELECT count(drop_feature_view(name)) FROM feature_views;
DROP FUNCTION keep, scaled;
DROP TABLE samples;
DROP SCHEMA checking;
