-- on_error: what an error in an expression over a row does to the feature view.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA on_error;
SET search_path = on_error, feature_engine;
SELECT set_clock('2026-05-01 12:00Z');
CREATE TABLE measures (k int, x int, t text, at timestamptz DEFAULT '2026-05-01 11:59Z');
ALTER TABLE measures REPLICA IDENTITY FULL;
INSERT INTO measures VALUES (1, 1), (1, 2), (1, 0), (2, 0), (3, 5);

SELECT create_feature_view('q', 'SELECT k, count(*) AS n FROM measures GROUP BY k', on_error => 'ignore');
SELECT create_feature_view('q', 'SELECT k, count(*) AS n FROM measures GROUP BY k', on_error => NULL);
SELECT on_error FROM feature_views WHERE name = 'q';
SELECT alter_feature_view('q', on_error => 'never');
SELECT drop_feature_view('q');

-- 'stop', the default: the view waits until it can be right again
SELECT create_feature_view('stops', 'SELECT k, sum(100 / x) AS q, count(*) AS n FROM measures GROUP BY k');
SELECT sync(view => 'stops');
-- 'skip': a row with an error contributes to nothing, entities of only such rows do not exist; and the backfill goes on
SELECT create_feature_view('skips', 'SELECT k, sum(100 / x) AS q, count(*) AS n FROM measures GROUP BY k', on_error => 'skip');
SELECT sync(view => 'skips') > '0/0' AS synced;
SELECT * FROM skips ORDER BY k;
SELECT name, on_error FROM feature_views ORDER BY name;
SELECT state, events, skipped, last_error FROM status WHERE name = 'skips';

-- each row image by itself: an update into the error takes the row out, one out of it puts it in
CREATE PROCEDURE show() LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    PERFORM feature_engine.sync(view => 'skips');
    FOR r IN SELECT k, q, n FROM on_error.skips ORDER BY k LOOP
        RAISE INFO '%', r;
    END LOOP;
    FOR r IN SELECT k, s.q, b.q, s.n, b.n
        FROM on_error.skips s FULL JOIN (SELECT k, sum(100 / x) AS q, count(*) AS n FROM on_error.measures WHERE x <> 0 GROUP BY k) b USING (k)
        WHERE (s.q, s.n) IS DISTINCT FROM (b.q, b.n) LOOP
        RAISE INFO 'not as the batch query without such rows: %', r;
    END LOOP;
END $$;
UPDATE measures SET x = 0 WHERE k = 3;
CALL show();
UPDATE measures SET x = 4 WHERE k = 2;
CALL show();
UPDATE measures SET k = k + 10 WHERE x = 0;
CALL show();
-- a skipped row goes as it came: without effect
DELETE FROM measures WHERE x = 0;
CALL show();
SELECT skipped FROM status WHERE name = 'skips';
-- a transaction of good and bad rows, and one that is rolled back
INSERT INTO measures SELECT n % 4, n % 3 FROM generate_series(1, 3000) n;
BEGIN;
INSERT INTO measures SELECT 1, 0 FROM generate_series(1, 100);
ROLLBACK;
BEGIN;
INSERT INTO measures VALUES (5, 0);
SAVEPOINT s;
INSERT INTO measures VALUES (5, 0);
ROLLBACK TO s;
INSERT INTO measures VALUES (5, 7);
COMMIT;
CALL show();
SELECT skipped FROM status WHERE name = 'skips';
TRUNCATE measures;
CALL show();

-- The view that stops comes back when the rows are gone: at once by refresh_feature_view.
SELECT refresh_feature_view('stops');
SELECT sync(view => 'stops') > '0/0' AS synced;
INSERT INTO measures VALUES (1, 10), (1, 0);
SELECT sync(view => 'stops');
-- other on_error: built anew at once, also where the view had stopped
SELECT alter_feature_view('stops', on_error => 'skip');
SELECT sync(view => 'stops') > '0/0' AS synced;
SELECT * FROM stops;
SELECT alter_feature_view('stops', ttl => '1 day');
SELECT on_error, ttl FROM feature_views WHERE name = 'stops';
SELECT alter_feature_view('stops', reset => ARRAY['on_error']);
SELECT on_error, ttl FROM feature_views WHERE name = 'stops';
SELECT sync(view => 'stops');
SELECT drop_feature_view('stops');
-- without a gap: beside the old one
SELECT create_feature_view('skips', 'SELECT k, sum(100 / x) AS q, count(*) AS n FROM measures WHERE x IS NOT NULL GROUP BY k', on_error => 'skip', replace => true);
CALL show();

-- The batch query knows no such thing; without such rows the two agree.
\set SHOW_CONTEXT never
SELECT * FROM check_feature_view('skips');
\set SHOW_CONTEXT errors
DELETE FROM measures WHERE x = 0;
SELECT * FROM check_feature_view('skips');
SELECT drop_feature_view('skips');

-- Every kind of expression over a row, and errors of several kinds; the aggregate result's are for its reader.
CREATE FUNCTION picky(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF i = 13 THEN
        RAISE EXCEPTION 'thirteen' USING ERRCODE = 'MY013';
    END IF;
    RETURN i;
END $$;
CREATE DOMAIN small AS int CHECK (VALUE < 1000);
TRUNCATE measures;
SELECT create_feature_view('kinds', $$
    SELECT picky(k) AS k, count(*) FILTER (WHERE 10 / x > 0) AS f, sum(x * 1000000) AS big, sum(x::small) AS s,
           count(*) FILTER (WHERE rolling(to_timestamp(x::float8 / 0.1), '1 day')) AS w, 30 / nullif(count(*), 4) AS per
    FROM measures WHERE t IS NULL OR t::int > 0 GROUP BY picky(k)$$, on_error => 'skip');
INSERT INTO measures VALUES (1, 1, NULL), (1, 2, '7');
INSERT INTO measures VALUES (1, 3, 'seven');
INSERT INTO measures VALUES (13, 4);
INSERT INTO measures VALUES (1, 0);
INSERT INTO measures VALUES (1, 1000);
INSERT INTO measures VALUES (1, 2147484);
INSERT INTO measures VALUES (1, 3, '0');
SELECT sync(view => 'kinds') > '0/0' AS synced;
SELECT * FROM kinds;
SELECT state, events, skipped FROM status WHERE name = 'kinds';
SELECT drop_feature_view('kinds');

-- Whether a row is skipped does not change with its age: what a window needs no more is evaluated all the same.
TRUNCATE measures;
SELECT create_feature_view('aged', $$
    SELECT k, count(*) AS n, sum(100 / x) FILTER (WHERE rolling(at, '1 hour')) AS q FROM measures GROUP BY k$$, on_error => 'skip');
INSERT INTO measures VALUES (1, 0), (1, 1), (2, 0);
INSERT INTO measures VALUES (1, 0, NULL, '2020-01-01Z'), (1, 4, NULL, '2020-01-01Z');
SELECT sync(view => 'aged') > '0/0' AS synced;
SELECT * FROM aged;
SELECT set_clock('2026-05-03 12:00Z');
DELETE FROM measures WHERE x = 0;
SELECT sync(view => 'aged') > '0/0' AS synced;
SELECT * FROM aged;
SELECT drop_feature_view('aged');

-- What does not come from the row's values stops the view all the same.
CREATE TABLE factors (f int);
CREATE FUNCTION times(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN i * (SELECT f FROM on_error.factors) / i; END $$;
INSERT INTO factors VALUES (2);
SELECT create_feature_view('lost', 'SELECT k, sum(times(x)) AS s FROM measures GROUP BY k', on_error => 'skip');
INSERT INTO measures VALUES (1, 5), (1, 0);
SELECT sync(view => 'lost') > '0/0' AS synced;
SELECT * FROM lost;
DROP TABLE factors;
INSERT INTO measures VALUES (1, 6);
SELECT sync(view => 'lost');
CREATE TABLE factors (f int);
INSERT INTO factors VALUES (3);
SELECT refresh_feature_view('lost');
SELECT sync(view => 'lost') > '0/0' AS synced;
SELECT * FROM lost;
SELECT drop_feature_view('lost');

-- What it costs is said beforehand.
SELECT * FROM explain_feature_view('SELECT k, sum(100 / x) AS q FROM measures WHERE x > 0 GROUP BY k') WHERE item = 'errors';
SELECT * FROM explain_feature_view('SELECT k, sum(x) AS q FROM measures GROUP BY k') WHERE item = 'errors';
SELECT set_clock(NULL);
DROP TABLE measures, factors;
SET client_min_messages = warning;
DROP SCHEMA on_error CASCADE;
