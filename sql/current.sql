-- Current values: a view without GROUP BY and aggregates over a table with a primary key.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA current_values;
SET search_path = current_values, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;
SELECT set_clock('2026-03-01 12:00+00');

CREATE TYPE address AS (street text, city text);
CREATE TABLE customers (
    customer_id int PRIMARY KEY,
    status      text,
    segment     varchar(20),
    active      boolean,
    doc         json,
    place       point,
    tags        text[],
    home        address,
    credit      numeric,
    score       float8,
    seen        timestamptz
);
ALTER TABLE customers REPLICA IDENTITY FULL;
INSERT INTO customers
SELECT n, CASE WHEN n < 3 THEN 'new' END, 'seg' || n, n <> 4, '{"a" : 1}', point(n, -n), ARRAY['x', NULL],
       ROW('Main St ' || n, 'Rome')::address, 1.50, '-0', timestamptz '2026-02-20 12:00+00' + n * interval '1 day'
FROM   generate_series(1, 4) n;

-- rows that are there, of any type: a json and a point can be neither sorted nor compared
SELECT create_feature_view('customer', $$
    SELECT customer_id, status, upper(segment) AS segment, doc, place, tags, (home).city AS city, home, credit, score,
           credit * 2 > 3 AS rich, extract(day FROM now() - seen)::int AS days_unseen
    FROM   customers WHERE active
$$, redis_key => 'cur:{customer_id}', ttl => '1 day');
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM customer ORDER BY customer_id;
SELECT get_features('customer', 2);

-- what is stored is grouped by the primary key, on which it depends
SELECT pg_get_viewdef(definition) ~ 'GROUP BY (customers\.)?customer_id;$' AS grouped FROM feature_views;
ALTER TABLE customers DROP CONSTRAINT customers_pkey;
ALTER TABLE customers ALTER customer_id TYPE bigint;
ALTER TABLE customers ALTER home TYPE text USING (home).city;

-- values, to the last digit and blank; NULLs; rows that enter and leave by WHERE; other keys
UPDATE customers SET credit = 1.5, doc = '{"a":1}', score = 0 WHERE customer_id = 1;
UPDATE customers SET status = NULL, place = NULL, tags = '{}', home = NULL WHERE customer_id = 2;
UPDATE customers SET customer_id = 30 WHERE customer_id = 3;
UPDATE customers SET active = true, doc = json_build_object('big', repeat('x', 5000)) WHERE customer_id = 4;
SELECT sync(redis => true) IS NOT NULL AS synced;
SELECT customer_id, status, segment, length(doc::text), place, tags, city, home, credit, score, rich, days_unseen
FROM   customer ORDER BY customer_id;
\! redis-cli -s "$FE_REDIS_SOCK" --raw KEYS 'cur:*' | sort
\! redis-cli -s "$FE_REDIS_SOCK" --raw HMGET cur:1 status segment doc place tags city home credit score rich days_unseen
SELECT * FROM check_feature_view('customer');
SELECT * FROM check_feature_view('customer', 2);
UPDATE customers SET active = NULL WHERE customer_id = 4;
DELETE FROM customers WHERE customer_id = 1;
-- two rows change places, within one statement and by way of a third key
BEGIN;
UPDATE customers SET customer_id = -1 WHERE customer_id = 2;
UPDATE customers SET customer_id = 2 WHERE customer_id = 30;
UPDATE customers SET customer_id = 30, status = 'moved' WHERE customer_id = -1;
COMMIT;
SELECT sync(redis => true) IS NOT NULL AS synced;
SELECT customer_id, status, segment, days_unseen FROM customer ORDER BY customer_id;
\! redis-cli -s "$FE_REDIS_SOCK" --raw KEYS 'cur:*' | sort
SELECT * FROM check_feature_view('customer');

-- another definition in its place; more columns
SELECT create_feature_view('customer', $$
    SELECT customer_id, status, upper(segment) AS segment, doc, place, tags, (home).city AS city, home, credit, score,
           credit > 0 AS rich, extract(day FROM now() - seen)::int AS days_unseen, active
    FROM   customers
$$, redis_key => 'cur:{customer_id}', replace => true);
SELECT sync() IS NOT NULL AS synced;
SELECT customer_id, status, rich, active FROM customer ORDER BY customer_id;
TRUNCATE customers;
SELECT sync() IS NOT NULL AS synced;
SELECT count(*) FROM customer;
-- with the constraint goes what depends on it
SET client_min_messages = warning;
ALTER TABLE customers DROP CONSTRAINT customers_pkey CASCADE;
RESET client_min_messages;
SELECT name FROM feature_views;

-- Keys of several columns come in the order of the primary key; projections below and above; windows
-- in WHERE, with which entities leave in time.
CREATE TABLE sessions (device text, seq int, started timestamptz, pages int, PRIMARY KEY (seq, device));
ALTER TABLE sessions REPLICA IDENTITY FULL;
SELECT create_feature_view('recent', $$
    WITH s AS (SELECT *, pages * 10 AS points FROM sessions WHERE pages IS NOT NULL)
    SELECT r.*, points > 50 AS many FROM (SELECT device, seq, started, points, w FROM s,
        LATERAL (SELECT date_part('hour', started AT TIME ZONE 'UTC') AS w) x WHERE rolling(started, '2 days', hop => '1 hour')) r
    WHERE  points <> 70
$$);
SELECT item, value, note FROM explain_feature_view('SELECT seq, device, pages FROM sessions WHERE pages > 1');
INSERT INTO sessions VALUES ('a', 1, '2026-03-01 11:00Z', 3), ('a', 2, '2026-02-28 11:00Z', 8), ('b', 1, '2026-02-01', 1),
    ('b', 2, '2026-03-01 12:30Z', 9), ('c', 1, '2026-03-01', 7), ('c', 2, '2026-03-01', NULL);
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM recent ORDER BY 1, 2;
SELECT get_features('recent', 2, 'a'::text);
SELECT set_clock('2026-03-02 11:30+00');
SELECT * FROM recent ORDER BY 1, 2;
UPDATE sessions SET started = '2026-03-02', pages = pages + 1;
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM recent ORDER BY 1, 2;
SELECT * FROM check_feature_view('recent');
SELECT drop_feature_view('recent');

-- Equal keys of another form are the same entity, and show the row's form.
CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE forms (n numeric, t text COLLATE any_case, x int, PRIMARY KEY (n, t));
ALTER TABLE forms REPLICA IDENTITY FULL;
SELECT create_feature_view('form', 'SELECT n, t, x, n::text || t AS both_keys FROM forms');
INSERT INTO forms VALUES (1.0, 'a', 1);
SELECT sync() IS NOT NULL AS synced;
UPDATE forms SET n = 1.00, t = 'A', x = 2;
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM form;
SELECT n, t FROM form WHERE n = 1 AND t = 'a';
SELECT * FROM check_feature_view('form');
SELECT drop_feature_view('form');

-- A primary key in GROUP BY determines the other columns, beside aggregates too.
SELECT create_feature_view('beside', 'SELECT n, t, x, count(*) AS rows FROM forms GROUP BY n, t HAVING x > 1');
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM beside;
UPDATE forms SET x = 1;
SELECT sync() IS NOT NULL AS synced;
SELECT count(*) FROM beside;
SELECT drop_feature_view('beside');

-- An error in an expression is its reader's, as in a batch query.
SELECT create_feature_view('inverse', 'SELECT n, t, x, 1 / x AS i FROM forms');
INSERT INTO forms VALUES (2, 'zero', 0);
SELECT sync() IS NOT NULL AS synced;
SELECT n, x FROM inverse ORDER BY n;
SELECT i FROM inverse WHERE n = 2;
SELECT drop_feature_view('inverse');

-- Refused
CREATE TABLE keyless (k int, x int);
ALTER TABLE keyless REPLICA IDENTITY FULL;
SELECT create_feature_view('refused', 'SELECT k, x FROM keyless');
CREATE TABLE deferred (k int PRIMARY KEY DEFERRABLE, x int);
ALTER TABLE deferred REPLICA IDENTITY FULL;
SELECT create_feature_view('refused', 'SELECT k, x FROM deferred');
SELECT create_feature_view('refused', 'SELECT device, pages FROM sessions');
SELECT create_feature_view('refused', 'SELECT seq::text AS seq, device, pages FROM sessions');
SELECT create_feature_view('refused', 'SELECT seq, device FROM sessions');
SELECT create_feature_view('refused', 'SELECT seq, device, s FROM sessions s');
SELECT create_feature_view('refused', 'SELECT seq, device, started::date AS day FROM sessions');
SELECT create_feature_view('refused', 'SELECT seq, device, pages FROM sessions WHERE started > now() - interval ''1 day''');
SELECT create_feature_view('refused', 'SELECT seq, device, rolling(started, ''1 day'') AS recent FROM sessions');
SELECT create_feature_view('refused', 'SELECT seq, device, pages FROM sessions ORDER BY pages LIMIT 10');
SELECT create_feature_view('refused', 'SELECT s.seq, s.device, k.x FROM sessions s, keyless k');
SELECT create_feature_view('refused', 'SELECT seq, device, n FROM sessions, (SELECT count(*) AS n FROM keyless) k');
SELECT create_feature_view('refused', 'SELECT 1 AS one');
ALTER TABLE sessions REPLICA IDENTITY DEFAULT;
SELECT create_feature_view('refused', 'SELECT seq, device, pages FROM sessions');

-- Without the old rows only what is never changed can be followed.
SELECT create_feature_view('append', 'SELECT seq, device, pages FROM sessions', append_only => true);
INSERT INTO sessions VALUES ('d', 1, now(), 5);
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM append WHERE seq = 1 AND device = 'd';
SELECT drop_feature_view('append');
SELECT set_clock(NULL);
SET client_min_messages = warning;
DROP SCHEMA current_values CASCADE;
