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
SELECT name, offline, history_interval, history_retention, history FROM feature_views WHERE name = 'spend';
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
SELECT name, offline, history_interval, history_retention, history FROM feature_views WHERE name = 'spend';
SELECT alter_feature_view('spend', offline => true, history_interval => '5 min');
SELECT name, offline, history_interval, history_retention, history FROM feature_views WHERE name = 'spend';

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
-- ... an index that not every partition has yet makes nothing unique
CREATE TABLE plain_history (customer_id int, event_timestamp timestamptz, created timestamptz, lsn pg_lsn, is_deleted boolean, n bigint) PARTITION BY RANGE (event_timestamp);
CREATE TABLE plain_history_1 PARTITION OF plain_history FOR VALUES FROM ('2026-01-01 00:00Z') TO ('2026-02-01 00:00Z');
CREATE UNIQUE INDEX plain_history_key ON ONLY plain_history (customer_id, event_timestamp);
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
-- What its triggers run, they run as the view's owner: a superuser does not write into others' tables either.
CREATE TABLE trap_history (customer_id int NOT NULL, event_timestamp timestamptz NOT NULL, created timestamptz NOT NULL,
    lsn pg_lsn NOT NULL, is_deleted boolean NOT NULL, n bigint, PRIMARY KEY (customer_id, event_timestamp))
    PARTITION BY RANGE (event_timestamp);
ALTER TABLE trap_history OWNER TO history_owner;
SELECT create_feature_view('trap', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id', offline => true);
ALTER TABLE trap_history OWNER TO CURRENT_USER;
SELECT create_feature_view('trap', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id', offline => true);
ALTER TABLE trap_history OWNER TO history_owner;
SELECT backfill_history('trap', '2020-01-01', '2020-01-02', '1 day', event_time => 'created_at');
INSERT INTO orders VALUES (900, 900, 1, '2020-01-01');
DO $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        EXIT WHEN (SELECT history_failures FROM status WHERE name = 'trap') > 0;
        PERFORM pg_sleep(0.05), pg_stat_clear_snapshot();
    END LOOP;
END $$;
SELECT last_error FROM status WHERE name = 'trap';
ALTER TABLE trap_history OWNER TO CURRENT_USER;
SELECT sync(history => true) IS NOT NULL;
SELECT customer_id, n FROM trap_history WHERE customer_id = 900;
DELETE FROM orders WHERE id = 900;
SELECT drop_feature_view('trap', history => true);
DROP OWNED BY history_owner, history_other;
DROP ROLE history_owner, history_other;

DROP SCHEMA elsewhere;

-- ---- what is recorded ----
INSERT INTO orders VALUES (1, 1, 10, 'new', '2026-02-01 10:00+00'), (2, 2, 20, 'new', '2026-02-02 10:00+00'), (3, NULL, 1, 'new', '2026-02-02');
SELECT set_clock('2026-02-03 00:00+00');
SELECT create_feature_view('spend', $$
    SELECT customer_id, count(*) AS n, sum(total) AS total, count(*) FILTER (WHERE rolling(created_at, '2 days', hop => '0')) AS recent,
           1 / (sum(total) - 15)::int AS risky
    FROM orders GROUP BY customer_id $$, online => '{}', offline => true);
CREATE FUNCTION recorded(since timestamptz) RETURNS TABLE (customer int, at text, deleted bool, n bigint, total numeric, recent bigint, risky int)
LANGUAGE sql AS $$ SELECT customer_id, event_timestamp::text, is_deleted, n, total, recent, risky FROM history.spend_history
    WHERE event_timestamp >= since ORDER BY event_timestamp, customer_id $$;
SELECT sync(history => true) IS NOT NULL AS synced;
-- An entity with a NULL key is not recorded, as it is not pushed.
SELECT * FROM recorded('2026-01-01');
SELECT bool_and(created = event_timestamp) AS as_the_clock_says, bool_and(lsn > '0/0') AS lsn FROM spend_history;

-- A change, also one that leaves the values as they were; a feature that cannot be computed is NULL.
SELECT set_clock('2026-02-03 01:00+00');
INSERT INTO orders VALUES (4, 1, 5, 'new', '2026-02-02 11:00+00');
UPDATE orders SET total = 20.000 WHERE id = 2;
UPDATE orders SET created_at = created_at + interval '1 second' WHERE id = 2;
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT * FROM recorded('2026-02-03 01:00+00');
-- Another one at the same T is written over.
INSERT INTO orders VALUES (5, 1, 6, 'new', '2026-02-02 12:00+00');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT * FROM recorded('2026-02-03 01:00+00');
-- Time passes, with partitions of months in UTC; nothing happens; the entity vanishes and comes back.
SELECT set_clock('2026-03-01 00:00+00');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT set_clock('2026-03-01 00:01+00');
SELECT sync(history => true) IS NOT NULL AS synced;
DELETE FROM orders WHERE id = 2;
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT set_clock('2026-03-01 00:02+00');
INSERT INTO orders VALUES (6, 2, 7, 'new', '2026-02-28 12:00+00');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT * FROM recorded('2026-03-01');
SELECT relid, pg_get_expr(relpartbound, oid) FROM pg_partition_tree('spend_history') JOIN pg_class ON oid = relid WHERE isleaf ORDER BY 1;

-- Stopped, it misses what happens meanwhile; begun again it goes on, with whom it does not find any more deleted.
SELECT alter_feature_view('spend', offline => false);
SELECT sync() IS NOT NULL AS synced;
SELECT set_clock('2026-03-02 00:00+00');
DELETE FROM orders WHERE customer_id = 1;
SELECT sync() IS NOT NULL AS synced;
SELECT set_clock('2026-03-03 00:00+00');
SELECT alter_feature_view('spend', offline => true);
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT * FROM recorded('2026-03-02');

-- Built anew, and created anew over the same table: nothing is recorded twice.
SELECT set_clock('2026-03-03 00:01+00');
SELECT refresh_feature_view('spend');
SELECT sync(history => true) IS NOT NULL AS synced;
SET client_min_messages = warning;
SELECT drop_feature_view('spend');
RESET client_min_messages;
SELECT create_feature_view('spend', $$
    SELECT customer_id, count(*) AS n, sum(total) AS total, count(*) FILTER (WHERE rolling(created_at, '2 days', hop => '0')) AS recent,
           1 / (sum(total) - 15)::int AS risky, min(total) AS least
    FROM orders GROUP BY customer_id $$, offline => true);
SELECT sync(history => true) IS NOT NULL AS synced;
-- (the new feature is a new value)
SELECT customer_id, event_timestamp, n, least FROM spend_history WHERE event_timestamp > '2026-03-03 00:00+00' ORDER BY 1;
SELECT history_failures, history_at FROM status WHERE name = 'spend';

-- ---- history_interval ----
SELECT set_clock('2026-03-04 00:10+00');
SELECT alter_feature_view('spend', history_interval => '1 hour');
SELECT sync(history => true) IS NOT NULL AS synced;
INSERT INTO orders VALUES (10, 7, 1, 'new', '2026-03-04'), (11, 8, 1, 'new', '2026-03-04');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT set_clock('2026-03-04 00:20+00');
INSERT INTO orders VALUES (12, 7, 1, 'new', '2026-03-04');
DELETE FROM orders WHERE customer_id = 8;
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT set_clock('2026-03-04 00:30+00');
INSERT INTO orders VALUES (13, 7, 1, 'new', '2026-03-04');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT * FROM recorded('2026-03-04') WHERE customer IN (7, 8);
SELECT set_clock('2026-03-04 01:00+00');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT * FROM recorded('2026-03-04') WHERE customer IN (7, 8);
SELECT set_clock('2026-03-04 02:30+00');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT count(*) FROM recorded('2026-03-04 01:30+00');

-- ---- history_retention ----
-- From here on partitions of days, cut where the month's is; the month goes when it has ended long enough.
SELECT alter_feature_view('spend', history_retention => '10 days', reset => '{history_interval}');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT set_clock('2026-04-02 00:00+00');
INSERT INTO orders VALUES (14, 7, 1, 'new', '2026-03-04');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT relid, pg_get_expr(relpartbound, oid) FROM pg_partition_tree('spend_history') JOIN pg_class ON oid = relid WHERE isleaf ORDER BY 1;
SELECT set_clock('2026-04-12 00:00+00');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT relid, pg_get_expr(relpartbound, oid) FROM pg_partition_tree('spend_history') JOIN pg_class ON oid = relid WHERE isleaf ORDER BY 1;
SELECT customer_id, event_timestamp, is_deleted, n, total FROM spend_history ORDER BY 1, 2;

-- ---- windows in GROUP BY ----
-- Of several windows the newest that has begun ...
SELECT set_clock('2026-05-01 12:00+00');
TRUNCATE orders;
INSERT INTO orders VALUES (1, 1, 10, 'new', '2026-04-30 10:00+00'), (2, 1, 20, 'new', '2026-05-01 10:00+00');
SELECT create_feature_view('newest', $$ SELECT customer_id, tumble(created_at, '1 day') AS day, count(*) AS n FROM orders GROUP BY 1, 2 $$, offline => true);
-- ... or each one, until it is hidden.
SELECT create_feature_view('daily', $$ SELECT customer_id, tumble(created_at, '1 day') AS day, count(*) AS n FROM orders GROUP BY 1, 2 $$,
    redis_key => 'history:{customer_id}:{window_start}', offline => true, retention => '2 days');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT set_clock('2026-05-02 00:00+00');
INSERT INTO orders VALUES (3, 1, 20, 'new', '2026-05-02 00:00+00'), (4, 1, 20, 'new', '2026-05-01 11:00+00');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT set_clock('2026-05-03 00:00+00');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT customer_id, event_timestamp, is_deleted, day, n FROM newest_history ORDER BY 2;
SELECT customer_id, day, event_timestamp, is_deleted, n FROM daily_history ORDER BY 3, 2;

-- ---- errors: the history pauses, and says so ----
SELECT set_clock('2026-05-04 00:00+00');
DROP TABLE newest_history;
INSERT INTO orders VALUES (5, 1, 1, 'new', '2026-05-03 00:00+00');
CREATE FUNCTION eventually(condition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    FOR i IN 1 .. 300 LOOP
        EXECUTE condition INTO result;
        IF result IS NOT NULL THEN
            RETURN result;
        END IF;
        PERFORM pg_sleep(0.1);
    END LOOP;
    RETURN 'never';
END $$;
SELECT eventually($$ SELECT last_error FROM feature_engine.status WHERE name = 'newest' AND last_error ~ 'history' $$);
SELECT alter_feature_view('newest', offline => true);
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT customer_id, event_timestamp, is_deleted, day, n FROM newest_history ORDER BY 2;
SELECT history_failures > 0 AS failed, history_error FROM status JOIN feature_view_catalog USING (name) JOIN view_status() USING (viewid, history_failures) WHERE name = 'newest';

SELECT set_clock(NULL);
SELECT count(drop_feature_view(name, history => true)) FROM feature_views WHERE name IN ('spend', 'newest', 'daily');
SET client_min_messages = warning;
DROP SCHEMA history CASCADE;
