-- What a feature view cannot be: each refusal says what, where, and what to do.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA refusals;
SET search_path = refusals, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;

CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE orders (
    id bigint PRIMARY KEY, customer_id int, total numeric, ratio float4, status text, mood mood,
    doc json, created_at timestamptz, shipped_at timestamp, day date, items int[], location point
);
ALTER TABLE orders REPLICA IDENTITY FULL;

-- Only the definition matters here: nothing is created.
CREATE FUNCTION try(query text) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT item FROM explain_feature_view(query) WHERE item = 'source' $$;

-- Not one SELECT
SELECT try('DELETE FROM orders');
SELECT try('SELECT 1; SELECT 2');
SELECT try('SELECT customer_id, count(*) INTO t FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, coun(*) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(* FROM orders');

-- Grouping
SELECT try('SELECT count(*) AS n FROM orders');
SELECT try('SELECT customer_id, total FROM orders');
SELECT try('SELECT count(*) AS n FROM orders GROUP BY customer_id');
SELECT try('SELECT customer_id FROM orders GROUP BY customer_id');
SELECT try('SELECT customer_id, count(*) AS n FROM orders GROUP BY ROLLUP (customer_id)');
SELECT try('SELECT customer_id % 10 + 1 AS k, count(*) AS n FROM orders GROUP BY customer_id % 10');
SELECT try('SELECT customer_id, max(n) AS m FROM (SELECT customer_id, id, count(*) AS n FROM orders GROUP BY 1, 2) s GROUP BY 1');

-- Other clauses
SELECT try('SELECT DISTINCT customer_id, count(*) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) AS n FROM orders GROUP BY 1 ORDER BY 2');
SELECT try('SELECT customer_id, count(*) AS n FROM orders GROUP BY 1 LIMIT 10');
SELECT try('SELECT customer_id, count(*) AS n FROM orders GROUP BY 1 UNION ALL SELECT 1, 2');
SELECT try('SELECT customer_id, rank() OVER (ORDER BY count(*)) AS r FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, (SELECT 1) AS one, count(*) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) AS n FROM orders WHERE EXISTS (SELECT FROM orders) GROUP BY 1');
SELECT try('SELECT customer_id, unnest(array_agg(id)) AS i FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) AS n FROM (SELECT * FROM orders FOR UPDATE) o GROUP BY 1');
SELECT try('WITH RECURSIVE r AS (SELECT 1 AS customer_id UNION ALL SELECT customer_id + 1 FROM r) SELECT customer_id, count(*) AS n FROM r GROUP BY 1');
SELECT try('WITH d AS (DELETE FROM orders RETURNING *) SELECT customer_id, count(*) AS n FROM d GROUP BY 1');

-- Sources
CREATE VIEW a_view AS SELECT * FROM orders;
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM orders;
CREATE UNLOGGED TABLE an_unlogged (k int);
CREATE TEMP TABLE a_temp (k int);
CREATE TABLE a_parent (k int);
CREATE TABLE a_child () INHERITS (a_parent);
CREATE TABLE another (customer_id int, name text);
SELECT try('SELECT customer_id, count(*) AS n FROM a_view GROUP BY 1');
SELECT try('SELECT customer_id, count(*) AS n FROM a_matview GROUP BY 1');
SELECT try('SELECT k, count(*) AS n FROM an_unlogged GROUP BY 1');
SELECT try('SELECT k, count(*) AS n FROM a_temp GROUP BY 1');
SELECT try('SELECT k, count(*) AS n FROM a_parent GROUP BY 1');
SELECT try('SELECT relkind, count(*) AS n FROM pg_class GROUP BY 1');
SELECT try('SELECT name, count(*) AS n FROM feature_engine.feature_view_catalog GROUP BY 1');
SELECT try('SELECT k, count(*) AS n FROM generate_series(1, 3) k GROUP BY 1');
SELECT try('SELECT k, count(*) AS n FROM (VALUES (1), (2)) v(k) GROUP BY 1');
SELECT try('SELECT x.k, count(*) AS n FROM orders o, xmltable(''/a'' PASSING xml ''<a/>'' COLUMNS k int PATH ''b'') x GROUP BY 1');
SELECT try('SELECT customer_id, count(*) AS n FROM orders TABLESAMPLE system (10) GROUP BY 1');
SELECT try('SELECT o.customer_id, count(*) AS n FROM orders o JOIN another a USING (customer_id) GROUP BY 1');
SELECT try('SELECT o.customer_id, count(*) AS n FROM orders o, orders p GROUP BY 1');
SELECT try('SELECT customer_id, count(*) AS n FROM orders LEFT JOIN LATERAL (SELECT 1) w ON true GROUP BY 1');
SELECT try('SELECT customer_id, max(ctid::text) AS m FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(o) AS n FROM orders o GROUP BY 1');

-- Keys
SELECT try('SELECT items[1] AS k, count(*) AS n FROM orders GROUP BY items[1]');
SELECT try('SELECT location, count(*) AS n FROM orders GROUP BY location');
SELECT try('SELECT mood, count(*) AS n FROM orders GROUP BY mood');

-- Expressions that change by themselves
SELECT try('SELECT customer_id, count(*) AS n FROM orders WHERE created_at > now() - interval ''30 days'' GROUP BY 1');
SELECT try('SELECT customer_id, count(*) FILTER (WHERE created_at > CURRENT_TIMESTAMP) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, sum(extract(epoch FROM now() - created_at)) AS age FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) AS n FROM orders WHERE random() < 0.5 GROUP BY 1');
SELECT try('SELECT customer_id, count(*) FILTER (WHERE status = CURRENT_USER) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, date_trunc(''day'', created_at) AS d, count(*) AS n FROM orders GROUP BY 1, 2');
SELECT try('SELECT customer_id, max(created_at)::date AS d FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, max(created_at)::text AS d FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, max(mood::text) AS m FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) AS n, current_setting(''x.y'') AS s FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) AS n, CURRENT_TIME AS t FROM orders GROUP BY 1');
-- the remedies
SELECT try('SELECT customer_id, date_trunc(''day'', created_at AT TIME ZONE ''UTC'') AS d, count(*) AS n FROM orders GROUP BY 1, 2');
SELECT try('SELECT customer_id, (max(created_at) AT TIME ZONE ''UTC'')::date AS d, now() AS t, CURRENT_DATE AS today FROM orders GROUP BY 1');

-- Windows
SELECT try('SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, ''1 month'')) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, ''0'')) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, NULL)) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, ''7 days'', hop => ''5 hours'')) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, ''7 days'', hop => ''-1 hours'')) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, make_interval(days => customer_id))) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, ''7 days'') OR total > 1) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) FILTER (WHERE NOT tumbling(created_at, ''7 days'')) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, sum(CASE WHEN w7 THEN total END) AS n FROM orders, LATERAL (SELECT rolling(created_at, ''7 days'') AS w7) w GROUP BY 1');
SELECT try('SELECT customer_id, rolling(max(created_at), ''7 days'') AS recent FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) AS n FROM orders GROUP BY 1 HAVING rolling(max(created_at), ''7 days'')');
SELECT try('SELECT customer_id, rolling(created_at, ''7 days'') AS w, count(*) AS n FROM orders GROUP BY 1, 2');
SELECT try('SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, ''7 days'') AND rolling(shipped_at, ''7 days'')) AS n FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) FILTER (WHERE rolling(shipped_at, ''7 days'')) AS n FROM orders WHERE rolling(created_at, ''30 days'') GROUP BY 1');
SELECT try('SELECT customer_id, count(*) FILTER (WHERE tumbling(created_at, ''7 days'', ''infinity'')) AS n FROM orders GROUP BY 1');

-- Aggregates
SELECT try('SELECT customer_id, array_agg(total) AS a FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, string_agg(status, '','') AS a FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, sum(ratio) AS a FROM orders GROUP BY 1');

-- Output columns
SELECT try('SELECT customer_id, count(*) + 1 FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) AS _ts FROM orders GROUP BY 1');
SELECT try('SELECT customer_id, count(*) AS n, sum(total) AS n FROM orders GROUP BY 1');

-- Options, checked when a view is created
CREATE FUNCTION create_with(redis_key text DEFAULT NULL, online text[] DEFAULT NULL, ttl interval DEFAULT NULL,
    push_interval interval DEFAULT NULL, time_refresh interval DEFAULT NULL) RETURNS regclass LANGUAGE sql AS
$$ SELECT create_feature_view('refused', 'SELECT customer_id, status, count(*) AS n FROM refusals.orders GROUP BY 1, 2',
          redis_key => $1, online => $2, ttl => $3, push_interval => $4, time_refresh => $5) $$;
SELECT create_with(redis_key => 'a:{customer_id');
SELECT create_with(redis_key => 'a:{}');
SELECT create_with(redis_key => 'a:customer_id}');
SELECT create_with(redis_key => 'a:{customer_id}');
SELECT create_with(redis_key => 'a:{customer_id}:{nothing}');
SELECT create_with(redis_key => 'a:{customer_id}{status}');
SELECT create_with(redis_key => 'a%:{customer_id}:{status}');
SELECT create_with(redis_key => 'a:{customer_id}:{status}:{status}');
SELECT create_with(online => '{nothing}');
SELECT create_with(online => '{status}');
SELECT create_with(ttl => '1 month');
SELECT create_with(ttl => '-1 day');
SELECT create_with(time_refresh => '1 millisecond');

-- The table's state
ALTER TABLE orders REPLICA IDENTITY DEFAULT;
SELECT create_feature_view('refused', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY 1');
ALTER TABLE orders REPLICA IDENTITY FULL;
CREATE ROLE refusals_user;
GRANT USAGE, CREATE ON SCHEMA refusals TO refusals_user;
SET ROLE refusals_user;
SELECT create_feature_view('refused', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY 1');
RESET ROLE;
GRANT SELECT ON orders TO refusals_user;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
SET ROLE refusals_user;
SELECT create_feature_view('refused', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY 1');
SELECT create_feature_view('pg_catalog.refused', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY 1');
RESET ROLE;
SELECT create_feature_view('pg_temp.refused', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY 1');
SELECT create_feature_view('orders', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY 1');
SELECT create_feature_view('refused', 'orders'::regclass);
SELECT create_feature_view(NULL, 'SELECT 1');
SELECT drop_feature_view('refused');
SELECT drop_feature_view('refused', if_exists => true);

SET client_min_messages = warning;
DROP SCHEMA refusals CASCADE;
DROP ROLE refusals_user;
