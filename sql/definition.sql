-- Definitions: what can be written, and how feature views are created, changed and dropped.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA definition;
SET search_path = definition, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;
\set VERBOSITY terse
SELECT set_clock('2026-03-01 12:00+00');

CREATE VIEW views AS
    SELECT v.* FROM feature_view_catalog v
    WHERE v.name IN ('by_lateral', 'by_subquery', 'by_cte', 'by_join', 'by_expression', 'from_view', 'no_clash', 'clash', 'mine');
CREATE TABLE orders (
    order_id bigint PRIMARY KEY, customer_id int, total numeric(10,2), status text, note text,
    created_at timestamptz
);
ALTER TABLE orders REPLICA IDENTITY FULL;
INSERT INTO orders VALUES
    (1, 1, 100, 'paid', 'a', '2026-02-28 10:00+00'), (2, 1, 1200, 'paid', 'b', '2026-02-20 10:00+00'),
    (3, 1, 50, 'cancelled', 'c', '2026-02-28 11:00+00'), (4, 2, 70, 'paid', 'd', '2026-01-15 10:00+00'),
    (5, NULL, 10, 'new', 'e', '2026-02-27 10:00+00');

-- Named windows by LATERAL, by a subquery, by a CTE; a feature that names another.
SELECT create_feature_view('by_lateral', $$
    SELECT customer_id, count(*) FILTER (WHERE w30) AS n30, sum(total) FILTER (WHERE w30 AND status = 'paid') AS spend30
    FROM orders, LATERAL (SELECT rolling(created_at, '30 days') AS w30) w
    GROUP BY customer_id $$);
SELECT create_feature_view('by_subquery', $$
    SELECT customer_id, count(*) FILTER (WHERE w30) AS n30, sum(total) FILTER (WHERE w30 AND paid) AS spend30
    FROM (SELECT customer_id, total, rolling(created_at, '30 days') AS w30, status = 'paid' AS paid FROM orders) o
    GROUP BY customer_id $$);
SELECT create_feature_view('by_cte', $$
    WITH o AS (SELECT customer_id, total, status, rolling(ts => created_at, width => '30 days', hop => '6 hours') AS w30 FROM orders)
    SELECT f.*, spend30 > 1000 AS is_high_value
    FROM (SELECT customer_id, count(*) FILTER (WHERE w30) AS n30, sum(total) FILTER (WHERE w30 AND status = 'paid') AS spend30
          FROM o GROUP BY customer_id) f $$);
SELECT create_feature_view('by_join', $$
    SELECT customer_id AS k, max(total) - min(total) AS spread, count(DISTINCT status) AS statuses
    FROM orders CROSS JOIN LATERAL (SELECT rolling(created_at, '30 days') AS w30) w
    WHERE w30 GROUP BY 1 HAVING count(*) > 1 $$);
SELECT create_feature_view('by_expression', $$
    SELECT date_trunc('month', created_at AT TIME ZONE 'UTC') AS month, lower(status) AS status,
           count(*) AS n, now() - max(created_at) AS age, CURRENT_DATE AS today
    FROM orders GROUP BY lower(status), 1 $$);
CREATE VIEW a_definition AS SELECT customer_id, avg(total) AS mean FROM orders WHERE status <> 'cancelled' GROUP BY customer_id;
SELECT create_feature_view('from_view', 'a_definition'::regclass, redis_key => 'c:{customer_id}', ttl => '1 day');
SELECT sync() IS NOT NULL;
SELECT * FROM by_lateral ORDER BY 1;
SELECT * FROM by_subquery ORDER BY 1;
SELECT * FROM by_cte ORDER BY 1;
SELECT * FROM by_join ORDER BY 1;
SELECT * FROM by_expression ORDER BY 1, 2;
SELECT * FROM from_view ORDER BY 1;
SELECT name, c.* FROM views, check_feature_view(name) c;

-- The stored definition: now() has become feature_engine.now().
SELECT replace(pg_get_viewdef('feature_engine_def.by_expression'::regclass), 'orders.', '') AS query;   -- 15 says orders.status
SELECT name, relation, definition, version, redis_key, ttl FROM feature_view_catalog WHERE name IN ('by_cte', 'from_view') ORDER BY 1;

-- A dry run
SELECT * FROM explain_feature_view($$
    SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, '7 days')) AS n7, sum(total) AS total,
           extract(day FROM now() - max(created_at))::int AS days
    FROM orders WHERE tumbling(created_at, '90 days') GROUP BY 1 $$) WHERE item NOT IN ('memory', 'aggregate');

-- What is kept once: max and min of an event time are the ends of what first and last keep, a count is
-- part of a sum. Not for other rows (a filter), nor of dates, nor where every value is needed.
ALTER TABLE orders ADD COLUMN day date;
SELECT value, note FROM explain_feature_view($$
    SELECT customer_id, max(created_at) AS latest, last(total, created_at) AS last_total, min(created_at) AS earliest,
           first(total, created_at) AS first_total, max(created_at) FILTER (WHERE total > 5) AS latest_large,
           count(total) AS n, avg(total) AS mean, min(total) AS least, max(total) AS most,
           max(day) AS last_day, last(total, day) AS total_of_day,
           count(DISTINCT day) AS days, max(created_at) FILTER (WHERE rolling(created_at, '7 days')) AS latest7,
           last(total, created_at) FILTER (WHERE rolling(created_at, '30 days')) AS last30
    FROM orders GROUP BY 1 $$) WHERE item IN ('memory', 'aggregate');
ALTER TABLE orders DROP COLUMN day;

-- A name is taken once in a database, and views that share a hash keep their fields apart.
SELECT create_feature_view('by_cte', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY 1');
SELECT create_feature_view('clash', 'SELECT customer_id AS other, min(total) AS mean FROM orders GROUP BY 1', redis_key => 'c:{other}');
SELECT create_feature_view('no_clash', 'SELECT customer_id AS other, min(total) AS mean FROM orders GROUP BY 1', redis_key => 'd:{other}');

-- Options
SELECT alter_feature_view('from_view', ttl => '2 days', push_interval => '5 ms', online => '{mean}');
SELECT redis_key, ttl, push_interval, time_refresh, online, version FROM feature_view_catalog WHERE name = 'from_view';
SELECT alter_feature_view('from_view', redis_key => 'e:{customer_id}', reset => '{ttl,online,push_interval}');
SELECT redis_key, ttl, push_interval, time_refresh, online, version FROM feature_view_catalog WHERE name = 'from_view';
SELECT alter_feature_view('from_view', redis_key => 'e:{total}');
SELECT alter_feature_view('from_view', redis_key => 'd:{customer_id}');
SELECT alter_feature_view('from_view', reset => '{speed}');
SELECT alter_feature_view('nothing', ttl => '1 day');

-- replace: only an expression changes, so the state stays and the swap is at once.
SELECT create_feature_view('by_cte', $$
    SELECT f.*, spend30 > 2000 AS is_high_value, n30 * 2 AS twice
    FROM (SELECT customer_id, count(*) FILTER (WHERE w30) AS n30, sum(total) FILTER (WHERE w30 AND status = 'paid') AS spend30
          FROM orders, LATERAL (SELECT rolling(created_at, '30 days') AS w30) w GROUP BY customer_id) f $$, replace => true);
SELECT sync() IS NOT NULL;
SELECT * FROM by_cte ORDER BY 1;
-- The state changes: built beside, then swapped.
SELECT create_feature_view('by_cte', $$
    SELECT customer_id, n30, spend30, spend30 > 2000 AS is_high_value, n30 * 3 AS twice, highest
    FROM (SELECT customer_id, count(*) FILTER (WHERE w30) AS n30, sum(total) FILTER (WHERE w30 AND status <> 'paid') AS spend30,
                 max(total) AS highest
          FROM orders, LATERAL (SELECT rolling(created_at, '30 days') AS w30) w GROUP BY customer_id) f $$, replace => true);
SELECT sync() IS NOT NULL;
DO $$ BEGIN
    FOR i IN 1 .. 600 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM definition.views WHERE replaces IS NOT NULL);
        PERFORM pg_sleep(0.05);
        COMMIT;
    END LOOP;
END $$;
SELECT name, relation, definition, replaces FROM views WHERE name = 'by_cte';
SELECT * FROM by_cte ORDER BY 1;
SELECT * FROM check_feature_view('by_cte');
SELECT create_feature_view('by_cte', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY 1', replace => true);

-- Renames follow; dropping or retyping a used column is refused, others are free.
ALTER TABLE orders RENAME COLUMN total TO amount;
ALTER TABLE orders DROP COLUMN amount;
ALTER TABLE orders ALTER COLUMN amount TYPE float8;
ALTER TABLE orders DROP COLUMN note;
INSERT INTO orders VALUES (6, 2, 80, 'paid', '2026-02-28 12:00+00');
SELECT sync() IS NOT NULL;
SELECT * FROM by_lateral ORDER BY 1;
SELECT refresh_feature_view('by_lateral');
SELECT sync() IS NOT NULL;
SELECT * FROM by_lateral ORDER BY 1;

-- Whose it is
CREATE ROLE definition_user;
GRANT USAGE ON SCHEMA definition TO definition_user;
GRANT SELECT ON orders TO definition_user;
SET ROLE definition_user;
SELECT create_feature_view('mine', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY 1');
SELECT * FROM by_lateral;
SELECT * FROM check_feature_view('by_lateral');
SELECT drop_feature_view('by_lateral');
SELECT alter_feature_view('by_lateral', ttl => '1 day');
CREATE VIEW feature_engine_def.x AS SELECT 1;
DELETE FROM feature_view_catalog;
RESET ROLE;
GRANT CREATE ON SCHEMA definition TO definition_user;
SET ROLE definition_user;
SELECT create_feature_view('mine', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY 1');
CREATE FOREIGN TABLE x (a int) SERVER feature_engine;
RESET ROLE;
SELECT relname, relkind, relowner::regrole FROM pg_class WHERE relname = 'mine' ORDER BY 2;
SELECT sync() IS NOT NULL;
SET ROLE definition_user;
SELECT * FROM mine ORDER BY 1;
SELECT drop_feature_view('definition.mine');
RESET ROLE;

-- Dropping
SELECT drop_feature_view('by_lateral');
SELECT * FROM by_lateral;
DROP FOREIGN TABLE by_subquery;
DROP VIEW feature_engine_def.by_cte;
CREATE VIEW on_top AS SELECT * FROM by_join;
SELECT drop_feature_view('by_join');
DROP TABLE orders;
SELECT name FROM views ORDER BY 1;
SET client_min_messages = warning;
DROP TABLE orders CASCADE;
SELECT name FROM views ORDER BY 1;
SELECT relname FROM pg_class WHERE relnamespace = 'feature_engine_def'::regnamespace AND relname LIKE 'by\_%';
SELECT relname FROM pg_class WHERE relnamespace = 'definition'::regnamespace;

SELECT set_clock(NULL);
DROP SCHEMA definition CASCADE;
DROP ROLE definition_user;
