-- Who may read features, and as whom they are computed; all ways of planning a read; T.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA priv;
GRANT USAGE ON SCHEMA priv TO PUBLIC;
SET search_path = priv, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE ROLE priv_owner;
CREATE ROLE priv_reader;
CREATE ROLE priv_other;
GRANT CREATE ON SCHEMA priv TO priv_owner;

CREATE TABLE sales (id int PRIMARY KEY, shop int, region text, amount numeric(10,2), at timestamptz);
ALTER TABLE sales REPLICA IDENTITY FULL;
INSERT INTO sales SELECT n, n % 4, 'r' || n % 2, n, timestamptz '2026-03-01 00:00+00' + n * interval '1 hour' FROM generate_series(1, 12) n;
INSERT INTO sales VALUES (13, NULL, 'r0', 100, '2026-03-01 03:00+00'), (14, NULL, NULL, 200, '2026-03-01 04:00+00');

-- Creating needs SELECT on the table.
SET ROLE priv_owner;
SELECT create_feature_view('by_shop', 'SELECT shop, count(*) AS n, sum(amount) AS total FROM sales GROUP BY shop');
RESET ROLE;
GRANT SELECT (shop, amount) ON sales TO priv_owner;
SET ROLE priv_owner;
SELECT create_feature_view('by_shop', 'SELECT shop, count(*) AS n, sum(amount) AS total FROM sales GROUP BY shop');
-- on the columns that are named, that is
SELECT create_feature_view('by_region', 'SELECT region, count(*) AS n FROM sales GROUP BY region');
RESET ROLE;
SELECT sync() > '0/0' AS synced;

-- A reader needs SELECT on the relation, nothing else; SET ROLE counts, not who has logged in.
SET ROLE priv_reader;
SELECT * FROM by_shop WHERE shop = 1;
SELECT get_features('by_shop', 1);
RESET ROLE;
GRANT SELECT ON by_shop TO priv_reader;
SET ROLE priv_reader;
SELECT * FROM by_shop WHERE shop = 1;
SELECT get_features('by_shop', 1);
SELECT count(*) FROM sales;
SELECT * FROM check_feature_view('by_shop');
-- what is the owner's alone
SELECT drop_feature_view('by_shop');
SELECT alter_feature_view('by_shop', ttl => '1 day');
SELECT refresh_feature_view('by_shop');
SELECT create_feature_view('by_shop', 'SELECT shop, count(*) AS n FROM sales GROUP BY shop', replace => true);
RESET ROLE;

-- SECURITY DEFINER: the function's owner reads; whoever may call it need not.
CREATE FUNCTION total_of(int) RETURNS numeric LANGUAGE sql SECURITY DEFINER SET search_path = priv, feature_engine
AS 'SELECT total FROM by_shop WHERE shop = $1';
CREATE FUNCTION features_of(int) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = priv, feature_engine
AS 'BEGIN RETURN get_features(''by_shop'', $1); END';
CREATE FUNCTION total_of_invoker(int) RETURNS numeric LANGUAGE plpgsql SET search_path = priv, feature_engine
AS 'BEGIN RETURN (SELECT total FROM by_shop WHERE shop = $1); END';
SET ROLE priv_other;
SELECT total_of(1), features_of(1);
\set SHOW_CONTEXT never
SELECT total_of_invoker(1);
\set SHOW_CONTEXT errors
RESET ROLE;
-- the same plan, kept by the session, as one role after the other
PREPARE kept(int) AS SELECT total FROM by_shop WHERE shop = $1;
EXECUTE kept(1);
SET ROLE priv_other;
EXECUTE kept(1);
RESET ROLE;
SET ROLE priv_reader;
EXECUTE kept(2);
RESET ROLE;
REVOKE SELECT ON by_shop FROM priv_reader;
SET ROLE priv_reader;
EXECUTE kept(2);
RESET ROLE;
-- a view over the relation reads as the view's owner
CREATE VIEW shops AS SELECT shop, n FROM by_shop WHERE n > 1;
GRANT SELECT ON shops TO priv_other;
SET ROLE priv_other;
SELECT * FROM shops WHERE shop = 2;
RESET ROLE;

-- The definition's expressions run as its owner, in the worker and in readers. What he may not
-- call cannot be in it: workers would call it for him.
CREATE FUNCTION secret(numeric) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS 'BEGIN RETURN current_user || '' '' || $1; END';
REVOKE ALL ON FUNCTION secret(numeric) FROM PUBLIC;
SET ROLE priv_owner;
SELECT create_feature_view('whose', 'SELECT shop, max(priv.secret(amount)) AS inner_call FROM sales GROUP BY shop');
SELECT create_feature_view('whose', 'SELECT shop, priv.secret(sum(amount)) AS outer_call FROM sales GROUP BY shop');
SELECT create_feature_view('whose', 'SELECT shop, count(*) AS n FROM (SELECT shop, secret(amount) IS NULL AS x FROM sales) s WHERE x GROUP BY shop');
RESET ROLE;
GRANT EXECUTE ON FUNCTION secret(numeric) TO priv_owner;
SET ROLE priv_owner;
SELECT create_feature_view('whose', 'SELECT shop, priv.secret(sum(amount)) AS outer_call, max(priv.secret(amount)) AS inner_call FROM sales GROUP BY shop');
GRANT SELECT ON whose TO priv_other;
RESET ROLE;
SELECT sync() > '0/0' AS synced;
-- as in any view, who reads must be allowed to call the functions of the columns that he reads
SET ROLE priv_other;
SELECT outer_call FROM whose WHERE shop = 1;
SELECT inner_call FROM whose WHERE shop = 1;
RESET ROLE;
GRANT EXECUTE ON FUNCTION secret(numeric) TO priv_other;
SET ROLE priv_other;
SELECT * FROM whose WHERE shop = 1;
SELECT get_features('whose', 1);
RESET ROLE;
-- an owner who may not call it any more stops his view when it is loaded anew, and no other
REVOKE ALL ON FUNCTION secret(numeric) FROM priv_owner;
SELECT refresh_feature_view('whose');
SELECT sync();
SELECT * FROM by_shop WHERE shop = 1;
GRANT EXECUTE ON FUNCTION secret(numeric) TO priv_owner;
SELECT refresh_feature_view('whose');
SELECT sync() > '0/0' AS synced;
SELECT * FROM whose WHERE shop = 1;

-- An owner who may not read the table any more: as with a plain view, nobody reads his view any
-- more, and it stops with the next row. With the right it comes back. (security.sql has more.)
REVOKE SELECT (shop, amount) ON sales FROM priv_owner;
SELECT * FROM by_shop WHERE shop = 1;
INSERT INTO sales VALUES (20, 1, 'r1', 1000, '2026-03-01 05:00+00');
SELECT sync(view => 'by_shop');
SET ROLE priv_owner;
SELECT * FROM by_shop WHERE shop = 1;
\set VERBOSITY terse
SELECT * FROM check_feature_view('by_shop');
\set VERBOSITY default
SELECT create_feature_view('again', 'SELECT shop, count(*) AS n FROM sales GROUP BY shop');
RESET ROLE;
GRANT SELECT ON sales TO priv_owner;
SELECT refresh_feature_view('by_shop'), refresh_feature_view('whose');
SELECT sync() > '0/0' AS synced;
SELECT * FROM check_feature_view('by_shop');
DELETE FROM sales WHERE id = 20;
SELECT sync() > '0/0' AS synced;

-- Ways of planning and running a read.

CREATE TABLE shop (id int PRIMARY KEY, name text, region text);
INSERT INTO shop VALUES (1, 'one', 'r1'), (2, 'two', 'r0'), (9, 'nine', 'r1'), (10, NULL, NULL);
ANALYZE shop;
SELECT create_feature_view('by_both', 'SELECT shop, region, sum(amount) AS total FROM sales GROUP BY shop, region');
SELECT sync() > '0/0' AS synced;

-- cursors: scrolled, and held beyond the transaction
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT * FROM by_shop ORDER BY shop;
DECLARE moving SCROLL CURSOR FOR SELECT shop, n FROM by_shop WHERE shop IN (1, 2) ORDER BY shop;
FETCH ALL moving;
FETCH BACKWARD 1 moving;
FETCH ABSOLUTE 1 moving;
COMMIT;
DELETE FROM sales WHERE shop = 3;
SELECT sync() > '0/0' AS synced;
FETCH ALL held;
CLOSE held;
INSERT INTO sales VALUES (3, 3, 'r1', 3, '2026-03-01 03:00+00');
SELECT sync() > '0/0' AS synced;

-- outer joins of each kind, with rows without a partner on both sides
SELECT id, name, n FROM shop LEFT JOIN by_shop ON shop = id ORDER BY id;
SELECT id, shop, n FROM shop RIGHT JOIN by_shop ON shop = id ORDER BY shop;
SELECT id, shop, n FROM shop FULL JOIN by_shop ON shop = id ORDER BY id, shop;
SELECT id FROM shop WHERE NOT EXISTS (SELECT FROM by_shop WHERE shop = id) ORDER BY id;
SELECT id FROM shop WHERE id IN (SELECT shop FROM by_shop WHERE n > 0) ORDER BY id;
SELECT s.id, f.total FROM shop s LEFT JOIN by_both f ON f.shop = s.id AND f.region = s.region ORDER BY s.id;
SELECT a.shop, b.total FROM by_shop a JOIN by_both b ON b.shop = a.shop AND b.region = 'r1' ORDER BY 1;
-- the same by every join method
SET enable_nestloop = off;
SELECT id, n FROM shop LEFT JOIN by_shop ON shop = id ORDER BY id;
SET enable_hashjoin = off;
SELECT id, n FROM shop LEFT JOIN by_shop ON shop = id ORDER BY id;
RESET enable_nestloop;
SET enable_mergejoin = off;
SELECT id, n FROM shop LEFT JOIN by_shop ON shop = id ORDER BY id;
RESET enable_hashjoin;
RESET enable_mergejoin;

-- LATERAL: the inner side depends on the outer row, NULL and repeated keys included
SELECT k, f.n FROM (VALUES (1), (NULL), (1), (77), (2)) v(k) LEFT JOIN LATERAL (SELECT n FROM by_shop WHERE shop = k) f ON true;
EXPLAIN (COSTS OFF)
SELECT s.id, f.total FROM shop s LEFT JOIN LATERAL (SELECT total FROM by_shop WHERE shop = s.id + 1 LIMIT 1) f ON true;
SELECT s.id, f.total FROM shop s LEFT JOIN LATERAL (SELECT total FROM by_shop WHERE shop = s.id + 1 LIMIT 1) f ON true ORDER BY s.id;
SELECT s.id, f.* FROM shop s, LATERAL (SELECT count(*), sum(total) FROM by_shop WHERE shop < s.id) f ORDER BY s.id;

-- generic plans: a parameter for one key, for a list, for two keys; NULL matches nothing
SET plan_cache_mode = force_generic_plan;
PREPARE listed(int[]) AS SELECT shop, n FROM by_shop WHERE shop = ANY ($1) ORDER BY shop;
EXECUTE listed('{2,1,2,NULL}');
EXECUTE listed('{}');
EXECUTE listed('{NULL}');
EXECUTE listed(NULL);
PREPARE two(int, text) AS SELECT * FROM by_both WHERE shop = $1 AND region = $2;
EXPLAIN (COSTS OFF) EXECUTE two(1, 'r1');
EXECUTE two(1, 'r1');
EXECUTE two(1, NULL);
EXECUTE two(NULL, 'r0');
PREPARE same(int) AS SELECT shop, n FROM by_shop WHERE shop IS NOT DISTINCT FROM $1;
EXECUTE same(1);
EXECUTE same(NULL);
EXECUTE kept(NULL);
-- a plan that is kept follows what happens to the view
ALTER TABLE sales RENAME COLUMN amount TO price;
EXECUTE kept(1);
SELECT create_feature_view('by_shop', 'SELECT shop, count(*) AS n, sum(price) * 2 AS total FROM sales GROUP BY shop', replace => true);
SELECT sync() > '0/0' AS synced;
EXECUTE kept(1);
RESET plan_cache_mode;

-- in PL/pgSQL, subqueries, data-modifying statements
DO $$
DECLARE
    r record;
    n int := 0;
BEGIN
    FOR i IN 1 .. 20 LOOP
        FOR r IN SELECT * FROM by_shop WHERE shop = i % 4 LOOP
            n := n + r.n;
        END LOOP;
    END LOOP;
    ASSERT n = 50, n;
END $$;
WITH up AS (UPDATE shop SET name = 'most' WHERE id = (SELECT shop FROM by_shop WHERE shop IS NOT NULL AND shop < 3 AND shop > 0 ORDER BY total DESC LIMIT 1) RETURNING id)
SELECT * FROM up;
CREATE TABLE copied AS SELECT * FROM by_shop;
SELECT count(*) FROM copied;
SELECT shop, row_number() OVER (ORDER BY total DESC) FROM by_shop WHERE shop IN (1, 2);

-- T. The clock is moved forward and back; as_of; what is exact and what is an error.

SELECT set_clock('2026-03-01 06:00+00');
SELECT create_feature_view('timed', $$
    SELECT shop, count(*) AS n, count(*) FILTER (WHERE rolling(at, '4 hours', hop => '0')) AS last4,
           count(*) FILTER (WHERE tumbling(at, '3 hours')) AS in_3h
    FROM sales WHERE shop IS NOT NULL GROUP BY shop $$);
SELECT create_feature_view('recent', $$
    SELECT shop, count(*) AS n, max(price) AS hi FROM sales WHERE rolling(at, '4 hours', hop => '0') GROUP BY shop $$);
SELECT sync() > '0/0' AS synced;
SELECT * FROM timed ORDER BY shop;
SELECT * FROM recent ORDER BY shop;
-- forward: events enter that lay ahead, others leave
SELECT set_clock('2026-03-01 09:30+00');
SELECT * FROM timed ORDER BY shop;
SELECT * FROM recent ORDER BY shop;
SELECT count(*) FROM check_feature_view('timed');
SELECT count(*) FROM check_feature_view('recent');
-- within the horizon (60 s) back it is exact
SELECT set_clock('2026-03-01 09:29:30+00');
SELECT * FROM recent ORDER BY shop;
SELECT count(*) FROM check_feature_view('timed');
SELECT set_clock('2026-03-01 09:30+00');

-- as_of: exact within the horizon; far ahead all windows are empty, but T is any
BEGIN;
SET LOCAL feature_engine.as_of = '2026-03-01 09:29:00+00';
SELECT * FROM recent ORDER BY shop;
SET LOCAL feature_engine.as_of = '2026-03-01 12:00:00+00';
SELECT * FROM timed WHERE shop = 0;
SET LOCAL feature_engine.as_of = '2999-01-01+00';
SELECT feature_engine.now();
SELECT * FROM timed ORDER BY shop;
SELECT * FROM recent ORDER BY shop;
SELECT get_features('recent', 1) IS NULL AS none;
SET LOCAL feature_engine.as_of = '294276-12-31 23:59:59+00';
SELECT * FROM timed WHERE shop = 1;
COMMIT;
-- before the horizon: an unwindowed value is an error, in every form of reading
BEGIN;
SET LOCAL feature_engine.as_of = '2026-03-01 09:00:00+00';
SAVEPOINT s;
SELECT n FROM timed WHERE shop = 1;
ROLLBACK TO s;
SELECT get_features('timed', 1);
ROLLBACK TO s;
SELECT * FROM get_features('timed', ARRAY[1]);
ROLLBACK TO s;
SELECT count(*) FROM timed;
ROLLBACK TO s;
SET LOCAL feature_engine.as_of = '4713-01-01 BC';
SELECT n FROM timed WHERE shop = 1;
ROLLBACK TO s;
ROLLBACK;
-- the clock set far back, which is not for production: what has left the windows may be gone.
-- A value is exact or an error.
SELECT set_clock('2026-03-01 02:00+00');
DO $$
BEGIN
    ASSERT NOT EXISTS (SELECT * FROM check_feature_view('timed'));
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    ASSERT sqlerrm LIKE '%cannot be evaluated as of 2026-03-01 02:00%', sqlerrm;
END $$;
-- forward again all is well
SELECT set_clock('2026-03-01 10:00+00');
SELECT * FROM timed ORDER BY shop;
SELECT count(*) FROM check_feature_view('recent');
SELECT set_clock('infinity');
SELECT set_clock(NULL);
SELECT feature_engine.now() BETWEEN statement_timestamp() - interval '1 second' AND clock_timestamp() AS runs;

DROP VIEW shops;
SELECT count(drop_feature_view(name)) FROM feature_views;
SET client_min_messages = warning;
DROP SCHEMA priv CASCADE;
DROP ROLE priv_owner, priv_reader, priv_other;
