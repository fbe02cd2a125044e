-- Reading features: the relation, get_features(), privileges, T, freshness.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA serve;
SET search_path = serve, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;
SELECT set_clock('2026-03-01 12:00+00');

CREATE TABLE orders (id int PRIMARY KEY, customer_id int, account bigint, merchant text,
                     total numeric(10,2), created_at timestamptz);
ALTER TABLE orders REPLICA IDENTITY FULL;
INSERT INTO orders
SELECT n, n % 5, 4000000000 + n % 3, 'shop ' || n % 2, n, timestamptz '2026-03-01 12:00+00' - n * interval '1 hour'
FROM generate_series(1, 20) n;
INSERT INTO orders VALUES (21, NULL, NULL, NULL, 1000, '2026-03-01 11:00+00');
-- many more, so that reading all of them costs more than looking some up
INSERT INTO orders SELECT n, n, 5, 'mall', 1, '2026-02-01+00' FROM generate_series(1000, 1999) n;

SELECT create_feature_view('by_customer', $$
    SELECT customer_id, count(*) AS n, sum(total) AS total,
           count(*) FILTER (WHERE rolling(created_at, '6 hours', hop => '1 hour')) AS recent
    FROM orders GROUP BY customer_id $$);
SELECT create_feature_view('by_account', $$
    SELECT account, count(*) AS n FROM orders GROUP BY account $$);
SELECT create_feature_view('by_merchant', $$
    SELECT merchant, count(*) AS n FROM orders GROUP BY merchant $$);
SELECT create_feature_view('by_both', $$
    SELECT sum(total) AS total, merchant, customer_id FROM orders GROUP BY customer_id, merchant $$);
SELECT sync() > '0/0' AS synced;

-- The relation. A condition that fixes the key is a lookup, anything else reads all entities.

SELECT * FROM by_customer WHERE total > 1 ORDER BY customer_id;
EXPLAIN (COSTS OFF) SELECT * FROM by_customer;
SELECT * FROM by_customer WHERE customer_id = 3;
EXPLAIN (COSTS OFF) SELECT * FROM by_customer WHERE customer_id = 3;
SELECT * FROM by_customer WHERE 3 = customer_id AND n > 4;
EXPLAIN (COSTS OFF) SELECT n FROM by_customer WHERE 3 = customer_id AND n > 4;
SELECT * FROM by_customer WHERE customer_id = 77;
SELECT * FROM by_customer WHERE customer_id = NULL;
SELECT * FROM by_customer WHERE customer_id IS NULL;
EXPLAIN (COSTS OFF) SELECT * FROM by_customer WHERE customer_id IS NULL;
SELECT count(*), sum(n), max(total) FROM by_customer WHERE n < 5;
SELECT customer_id FROM by_customer WHERE n = 4 ORDER BY 1;
-- an expression that is known before the scan, a subquery, a parameter
SELECT n FROM by_customer WHERE customer_id = length('two');
SELECT n FROM by_customer WHERE customer_id = (SELECT min(customer_id) FROM orders);
-- (only this line: versions differ in how they write the subquery's value)
CREATE FUNCTION access_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        IF line ~ 'Access:' THEN
            RETURN trim(line);
        END IF;
    END LOOP;
END $$;
SELECT access_of('SELECT n FROM by_customer WHERE customer_id = (SELECT min(customer_id) FROM orders)');
DROP FUNCTION access_of;
PREPARE one(int) AS SELECT * FROM by_customer WHERE customer_id = $1;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE one(2);
EXECUTE one(2);
EXECUTE one(NULL);
EXECUTE one(99);
RESET plan_cache_mode;

-- IN lists: every entity once, whatever is repeated or NULL in the list
SELECT * FROM by_customer WHERE customer_id IN (2, 4, 2, 99) ORDER BY 1;
SELECT * FROM by_customer WHERE customer_id IN (1, NULL, 1);
SELECT * FROM by_customer WHERE customer_id = ANY ('{}');
SELECT * FROM by_customer WHERE customer_id = ANY (NULL::int[]);
SELECT * FROM by_customer WHERE customer_id IN (1, 2, 3) AND customer_id = 2;
SELECT customer_id FROM by_customer WHERE customer_id NOT IN (1, 2) AND n > 1 ORDER BY 1;
EXPLAIN (COSTS OFF) SELECT * FROM by_customer WHERE customer_id IN (2, 4, 2, 99);
EXPLAIN (COSTS OFF) SELECT customer_id FROM by_customer WHERE customer_id NOT IN (1, 2);

-- integers of another width; a value that the key's type cannot hold matches nothing
SELECT customer_id FROM by_customer WHERE customer_id = 3::bigint;
SELECT customer_id FROM by_customer WHERE customer_id = 3::smallint;
SELECT customer_id FROM by_customer WHERE customer_id = 3000000000;
SELECT customer_id FROM by_customer WHERE customer_id = ANY ('{3000000000,1,4294967297}'::bigint[]);
SELECT * FROM by_account WHERE account = 4000000001;
SELECT * FROM by_account WHERE account = 1;
EXPLAIN (COSTS OFF) SELECT customer_id FROM by_customer WHERE customer_id = 3::bigint;
-- other types compare, too, but not by lookup
SELECT customer_id FROM by_customer WHERE customer_id = 3.0;
EXPLAIN (COSTS OFF) SELECT customer_id FROM by_customer WHERE customer_id = 3.0;

-- joins
CREATE TABLE people (id int PRIMARY KEY, name text);
INSERT INTO people VALUES (1, 'Anna'), (2, 'Bea'), (7, 'Carl');
ANALYZE people;
EXPLAIN (COSTS OFF)
SELECT name, n, total FROM people LEFT JOIN by_customer ON customer_id = id ORDER BY name;
SELECT name, n, total FROM people LEFT JOIN by_customer ON customer_id = id ORDER BY name;
SELECT p.name, c.n, a.n AS account_n
FROM   people p JOIN by_customer c ON c.customer_id = p.id
       LEFT JOIN by_account a ON a.account = 4000000000 + p.id ORDER BY 1;
SELECT p.name, f.n FROM people p, LATERAL (SELECT n FROM by_customer WHERE customer_id = p.id + 1) f ORDER BY 1;

-- text keys; the empty string is a key like any other, NULL is one of its own
INSERT INTO orders VALUES (22, 0, NULL, '', 1, '2026-03-01+00'), (23, 0, NULL, 'it''s "so" {x} %', 1, '2026-03-01+00');
SELECT sync() > '0/0' AS synced;
SELECT * FROM by_merchant ORDER BY merchant COLLATE "C";
SELECT * FROM by_merchant WHERE merchant = 'shop 1';
SELECT * FROM by_merchant WHERE merchant = '';
SELECT * FROM by_merchant WHERE merchant = 'it''s "so" {x} %';
SELECT * FROM by_merchant WHERE merchant = 'shop 1'::varchar;
SELECT * FROM by_merchant WHERE merchant IN ('shop 0', '', NULL) ORDER BY merchant;
EXPLAIN (COSTS OFF) SELECT * FROM by_merchant WHERE merchant = 'shop 1';
SELECT * FROM by_merchant WHERE merchant LIKE 'shop%' ORDER BY merchant;

-- two keys: a lookup needs both
SELECT * FROM by_both WHERE customer_id = 1 AND merchant = 'shop 1';
EXPLAIN (COSTS OFF) SELECT * FROM by_both WHERE customer_id = 1 AND merchant = 'shop 1';
SELECT * FROM by_both WHERE customer_id IN (1, 2) AND merchant = 'shop 0' ORDER BY customer_id;
EXPLAIN (COSTS OFF) SELECT * FROM by_both WHERE customer_id IN (1, 2) AND merchant = 'shop 0';
SELECT * FROM by_both WHERE customer_id = 1 ORDER BY merchant;
EXPLAIN (COSTS OFF) SELECT * FROM by_both WHERE customer_id = 1;
EXPLAIN (COSTS OFF) SELECT * FROM people, by_both WHERE customer_id = id AND merchant = 'shop 1';
SELECT * FROM people, by_both WHERE customer_id = id AND merchant = 'shop 1' ORDER BY id;

-- It is read only.
INSERT INTO by_customer VALUES (1);
UPDATE by_customer SET n = 0;
DELETE FROM by_customer;

-- get_features(): one entity

SELECT get_features('by_customer', 1);
SELECT get_features('by_customer', 77) IS NULL AS unknown;
SELECT get_features('by_customer', NULL::int);
SELECT get_features('by_customer', 1::bigint), get_features('by_customer', 3000000000) IS NULL AS out_of_range;
SELECT get_features('by_customer', '1');
SELECT get_features('by_customer', '1'::text);
SELECT get_features('by_merchant', 'shop 1');
SELECT get_features('by_merchant', 'shop 1'::varchar);
SELECT get_features('by_account', 4000000001);
-- several keys: in the order of GROUP BY
SELECT get_features('by_both', 1, 'shop 1');
SELECT get_features('by_both', ROW(1, 'shop 1'::text));
SELECT get_features('by_both', ROW(1, 'shop 1'));
SELECT get_features('by_both', '1', 'shop 1');
SELECT get_features('by_both', 77, 'shop 1') IS NULL AS unknown;
SELECT get_features('by_both', NULL, 'shop 1') IS NULL AS unknown;
SELECT get_features(NULL, 1) IS NULL AS no_view;
-- the name is the feature view's own, whatever the search_path
SET search_path = pg_catalog;
SELECT feature_engine.get_features('by_customer', 1);
SET search_path = serve, feature_engine;

-- many: a row each, in the order asked for
SELECT * FROM get_features('by_customer', ARRAY[3, 1, 99, NULL, 1]);
SELECT * FROM get_features('by_customer', ARRAY[3, 3000000000]);
SELECT * FROM get_features('by_customer', '{}'::int[]);
SELECT * FROM get_features('by_customer', NULL::int[]);
SELECT * FROM get_features('by_merchant', ARRAY['shop 1', 'none']);
SELECT * FROM get_features('by_customer', ARRAY['1', '2']);
SELECT * FROM get_features('by_both', ARRAY[ROW(1, 'shop 1'), ROW(99, 'shop 0')]);
SELECT id, features ->> 'n' AS n FROM people, get_features('by_customer', ARRAY[id]) ORDER BY id;

-- errors
SELECT get_features('nothing', 1);
SELECT get_features('orders', 1);
SELECT get_features('by_customer', 'one');
SELECT get_features('by_customer', 1.5);
SELECT get_features('by_customer', true);
SELECT get_features('by_customer', 1, 2);
SELECT get_features('by_both', 1);
SELECT get_features('by_both', 1, 'shop 1', 2);
SELECT get_features('by_both', ROW(1));
SELECT get_features('by_both', 'shop 1', 1);
SELECT * FROM get_features('by_customer', ARRAY[true]);
SELECT * FROM get_features('nothing', ARRAY[1]);
SELECT * FROM get_features('by_both', ARRAY[1]);

-- Privileges: reading needs SELECT on the relation, in either form, and nothing on the table.

CREATE ROLE serve_reader;
GRANT USAGE ON SCHEMA serve TO serve_reader;
SET ROLE serve_reader;
SELECT * FROM by_customer WHERE customer_id = 1;
SELECT get_features('by_customer', 1);
SELECT * FROM get_features('by_customer', ARRAY[1]);
RESET ROLE;
GRANT SELECT ON by_customer TO serve_reader;
SET ROLE serve_reader;
SELECT * FROM by_customer WHERE customer_id = 1;
SELECT get_features('by_customer', 1);
SELECT * FROM get_features('by_customer', ARRAY[1]);
SELECT count(*) FROM orders;
SELECT get_features('by_merchant', 'shop 1');
-- a foreign table of one's own on our server, or other mischief with the catalog
CREATE FOREIGN TABLE pg_temp.mine (customer_id int) SERVER feature_engine;
INSERT INTO feature_view_catalog SELECT * FROM feature_view_catalog;
SELECT set_clock('2020-01-01+00');
SELECT drop_feature_view('by_customer');
SELECT sync() > '0/0' AS synced;
RESET ROLE;
-- the server serves its own relations only
CREATE FOREIGN TABLE mine (customer_id int, n bigint) SERVER feature_engine;
SELECT * FROM mine;
DROP FOREIGN TABLE mine;
REVOKE SELECT ON by_customer FROM serve_reader;
SET ROLE serve_reader;
SELECT get_features('by_customer', 1);
RESET ROLE;

-- T: feature_engine.now(), and as_of within the exact horizon (60 s)

SELECT now() AT TIME ZONE 'UTC' = '2026-03-01 12:00' AS pg_now, feature_engine.now();
INSERT INTO orders VALUES (30, 9, NULL, NULL, 5, '2026-03-01 11:59:30+00'), (31, 9, NULL, NULL, 5, '2026-03-01 12:00:30+00');
SELECT create_feature_view('windowed', $$
    SELECT customer_id, count(*) AS n FROM orders
    WHERE rolling(created_at, '1 hour', hop => '0') GROUP BY customer_id $$);
SELECT sync() > '0/0' AS synced;
SELECT n FROM windowed WHERE customer_id = 9;
BEGIN;
SET LOCAL feature_engine.as_of = '2026-03-01 11:59:29.999999+00';
SELECT feature_engine.now();
SELECT n FROM windowed WHERE customer_id = 9;
SET LOCAL feature_engine.as_of = '2026-03-01 11:59:30+00';
SELECT n FROM windowed WHERE customer_id = 9;
SELECT get_features('windowed', 9);
SET LOCAL feature_engine.as_of = '2026-03-01 12:00:30+00';
SELECT n FROM windowed WHERE customer_id = 9;
SET LOCAL feature_engine.as_of = '2026-03-01 13:00:00+00';
SELECT n FROM windowed WHERE customer_id = 9;
ROLLBACK;
-- without a zone it is read in the session's
BEGIN;
SET LOCAL timezone = 'Asia/Tokyo';
SET LOCAL feature_engine.as_of = '2026-03-01 21:00:00';
SHOW feature_engine.as_of;
SELECT feature_engine.now();
ROLLBACK;
SET feature_engine.as_of = 'now';
SET feature_engine.as_of = 'infinity';
SET feature_engine.as_of = 'nonsense';
-- earlier than that it is an error, not an approximation; so is a lifetime value
BEGIN;
SET LOCAL feature_engine.as_of = '2026-02-01 00:00+00';
SELECT n FROM by_customer WHERE customer_id = 1;
ROLLBACK;
BEGIN;
SET LOCAL feature_engine.as_of = '2026-03-01 10:00+00';
-- (as long as nothing has been let go of yet, the value is exact)
DO $$
DECLARE
    rows int;
BEGIN
    FOR i IN 1 .. 1000 LOOP
        SELECT count(*) INTO rows FROM windowed WHERE customer_id = 9;
        ASSERT rows = 0;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
ROLLBACK;

-- A session that asks for it reads its own commits without sync().

SET feature_engine.read_your_writes = on;
INSERT INTO orders VALUES (40, 40, NULL, NULL, 1, '2026-03-01 11:00+00');
SELECT n FROM by_customer WHERE customer_id = 40;
UPDATE orders SET customer_id = 41 WHERE id = 40;
SELECT get_features('by_customer', 40) IS NULL AS gone, get_features('by_customer', 41) IS NOT NULL AS come;
DELETE FROM orders WHERE id = 40;
SELECT count(*) FROM by_customer WHERE customer_id = 41;
RESET feature_engine.read_your_writes;
-- what is not committed is not seen, by no session
BEGIN;
INSERT INTO orders VALUES (40, 40, NULL, NULL, 1, '2026-03-01 11:00+00');
SELECT sync() > '0/0' AS synced;
SELECT count(*) FROM by_customer WHERE customer_id = 40;
ROLLBACK;

-- A view whose existing rows are not all read yet: an error that says how far it is.

ALTER SYSTEM SET feature_engine.inject_wait = 'backfill-scan';
SELECT pg_reload_conf();
\c -
SET search_path = serve, feature_engine;
SELECT create_feature_view('late', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id');
DO $$ BEGIN
    WHILE (SELECT state FROM status WHERE name = 'late') <> 'backfilling' LOOP
        PERFORM pg_sleep(0.01);
        PERFORM pg_stat_clear_snapshot();
    END LOOP;
END $$;
SELECT * FROM late WHERE customer_id = 1;
SELECT get_features('late', 1);
\set VERBOSITY terse
SELECT sync('100 milliseconds') > '0/0' AS synced;
\set VERBOSITY default
-- the others go on
SELECT n FROM by_customer WHERE customer_id = 1;
SELECT name, state, worker, backfill_pct FROM status ORDER BY name COLLATE "C";
SET feature_engine.allow_stale = on;
SELECT count(*) FROM late;
SELECT get_features('late', 1) IS NULL AS nothing_yet;
RESET feature_engine.allow_stale;
ALTER SYSTEM RESET feature_engine.inject_wait;
SELECT pg_reload_conf();
SELECT sync() > '0/0' AS synced;
SELECT * FROM late WHERE customer_id = 1;

-- What can be seen of it all.

SELECT name, relation, source, redis_key, ttl, online, append_only, being_replaced
FROM   feature_views ORDER BY name COLLATE "C";
SELECT replace(query, 'orders.', '') AS query FROM feature_views WHERE name = 'by_both';   -- 15 says orders.total
SELECT name, state, worker, backfill_pct, late, null_keys, last_error, replacement
FROM   status WHERE name <> 'windowed' ORDER BY name COLLATE "C";
SELECT lag_bytes >= 0 AS lag, wal_retained_bytes >= 0 AS retained, entities, memory_bytes > 0 AS memory, waits_for
FROM   status WHERE name = 'late';

-- sync() needs a timeout that makes sense.
SELECT sync('-1 second');
SELECT sync(NULL) > '0/0' AS synced;

SELECT count(drop_feature_view(name)) FROM feature_views;
SELECT * FROM by_customer;
SELECT get_features('by_customer', 1);
SELECT sync() > '0/0' AS nothing_to_wait_for;
SELECT set_clock(NULL);
DROP TABLE orders, people;
DROP SCHEMA serve;
DROP ROLE serve_reader;
