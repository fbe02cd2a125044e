-- offline => true: what is pushed is recorded in an ordinary table.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA history;
SET search_path = history, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;

CREATE TABLE orders (id int PRIMARY KEY, customer_id int, total numeric(10,2), status text, created_at timestamptz);
ALTER TABLE orders REPLICA IDENTITY FULL;

-- ---- the table ----
SELECT create_feature_view('spend', $$
    SELECT customer_id, count(*) AS n, sum(total) AS total, max(status COLLATE "C") AS status
    FROM orders GROUP BY customer_id $$, offline => true, history_interval => '1 hour', history_retention => '90 days');
SELECT name, offline, history_interval, history_retention, history FROM feature_views;
\d spend_history
SELECT pg_get_partkeydef('spend_history'::regclass), obj_description('spend_history'::regclass);

-- Names that the table has for itself; names too long for it.
SELECT create_feature_view('bad', 'SELECT customer_id, count(*) AS lsn FROM orders GROUP BY customer_id', offline => true);
SELECT create_feature_view('bad', 'SELECT id AS created, count(*) AS n FROM orders GROUP BY 1', offline => true);
SELECT create_feature_view(repeat('x', 60), 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id', offline => true) IS NOT NULL AS created;
SELECT history, length(history::text) AS bytes FROM feature_views WHERE name LIKE 'xxx%';
SELECT create_feature_view(repeat('x', 61), 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id', offline => true);
SELECT drop_feature_view(repeat('x', 60), history => true);
SELECT create_feature_view('bad', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id', history_interval => '0');
SELECT create_feature_view('bad', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id', history_retention => '1 month');

-- What it is written with is not decoded.
SELECT create_feature_view('bad', 'SELECT customer_id, max(n) AS n FROM spend_history GROUP BY customer_id', append_only => true);

-- Options are altered and reset; the table stays.
SELECT alter_feature_view('spend', reset => '{history_interval,history_retention}');
SELECT alter_feature_view('spend', offline => false);
SELECT name, offline, history_interval, history_retention, history FROM feature_views;
SELECT alter_feature_view('spend', offline => true, history_interval => '5 min');
SELECT name, offline, history_interval, history_retention, history FROM feature_views;

-- A new feature is a new column; so is one that comes with another view of the name.
SELECT create_feature_view('spend', $$
    SELECT customer_id, count(*) AS n, sum(total) AS total, max(status COLLATE "C") AS status, min(total) AS least
    FROM orders GROUP BY customer_id $$, replace => true, offline => true);
SELECT sync() IS NOT NULL AS synced;
SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'spend_history'::regclass AND attnum > 0;
SELECT drop_feature_view('spend');
SELECT create_feature_view('spend', 'SELECT customer_id, count(*) AS n, avg(total) AS mean FROM orders GROUP BY customer_id', offline => true);
SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'spend_history'::regclass AND attnum > 0;
SELECT drop_feature_view('spend');

-- A table that cannot hold the history.
SELECT create_feature_view('spend', 'SELECT customer_id, count(*)::int AS n FROM orders GROUP BY customer_id', offline => true);
SELECT create_feature_view('spend', 'SELECT status, count(*) AS n FROM orders GROUP BY status', offline => true);
SELECT create_feature_view('spend', 'SELECT customer_id, status, count(*) AS n FROM orders GROUP BY 1, 2', offline => true);
CREATE TABLE plain_history (customer_id int, n bigint);
SELECT create_feature_view('plain', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id', offline => true);
SELECT create_feature_view('plain', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id');
SELECT alter_feature_view('plain', offline => true);
DROP TABLE plain_history;
SELECT alter_feature_view('plain', offline => true);

-- Other names and another schema: the view keeps its table. A table that is dropped is made again.
CREATE SCHEMA elsewhere;
ALTER TABLE plain_history RENAME TO kept;
ALTER TABLE kept SET SCHEMA elsewhere;
SELECT history FROM feature_views WHERE name = 'plain';
SELECT alter_feature_view('plain', history_retention => '30 days');
SELECT history FROM feature_views WHERE name = 'plain';
DROP TABLE elsewhere.kept;
SELECT offline, history FROM feature_views WHERE name = 'plain';
SELECT alter_feature_view('plain', offline => true);
SELECT offline, history FROM feature_views WHERE name = 'plain';
SELECT drop_feature_view('plain', history => true);
SELECT to_regclass('plain_history');

-- Each window is recorded by itself where redis_key has {window_start}.
SELECT create_feature_view('daily', $$ SELECT customer_id, tumble(created_at, '1 day') AS day, count(*) AS n FROM orders GROUP BY 1, 2 $$,
    redis_key => 'd:{customer_id}:{window_start}', offline => true);
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'daily_history'::regclass AND contype = 'p';
SELECT alter_feature_view('daily', redis_key => 'd:{customer_id}');
SELECT drop_feature_view('daily', history => true);

-- Whose table it is.
CREATE ROLE history_owner;
CREATE ROLE history_other;
GRANT USAGE, CREATE ON SCHEMA history TO history_owner;
GRANT USAGE ON SCHEMA feature_engine TO history_owner;
GRANT SELECT ON orders TO history_owner;
SET ROLE history_owner;
SELECT create_feature_view('mine', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id');
RESET ROLE;
SELECT alter_feature_view('mine', offline => true);
SELECT relowner::regrole FROM pg_class WHERE oid = 'mine_history'::regclass;
ALTER TABLE mine_history OWNER TO history_other;
SET ROLE history_owner;
SELECT alter_feature_view('mine', history_interval => '1 min');
SELECT drop_feature_view('mine', history => true);
SELECT drop_feature_view('mine');
RESET ROLE;
DROP TABLE mine_history, spend_history;
DROP OWNED BY history_owner, history_other;
DROP ROLE history_owner, history_other;

DROP SCHEMA elsewhere;
SELECT count(*) FROM feature_views;
