-- backfill_history() and skew_report(): the history of a view by its batch query.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA history_batch;
SET search_path = history_batch, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;
SELECT set_clock('2024-06-20 00:00Z');

CREATE TABLE orders (id int PRIMARY KEY, customer_id int, total numeric(10,2), status text, created_at timestamptz, day date);
ALTER TABLE orders REPLICA IDENTITY FULL;
INSERT INTO orders (id, customer_id, total, status, created_at) VALUES
    (1, 1, 10, 'new',  '2024-06-01 12:00Z'),
    (2, 1, 20, 'paid', '2024-06-02 12:00Z'),
    (3, 2, 5,  'new',  '2024-06-03 12:00Z'),
    (4, 1, 7,  'new',  '2024-06-12 00:00Z'),
    (5, NULL, 1, 'new', '2024-06-02 00:00Z');
UPDATE orders SET day = (created_at AT TIME ZONE 'UTC')::date;

-- Views whose history nobody else writes: it is turned off again, and keeps its table.
CREATE FUNCTION create_stopped(name text, query text, key text DEFAULT NULL, watermark interval DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
    SELECT feature_engine.create_feature_view(name, query, offline => true, online => '{}', redis_key => key, watermark => watermark);
    SELECT feature_engine.alter_feature_view(name, offline => false) $$;
SELECT create_stopped('spend', $$
    SELECT customer_id, count(*) FILTER (WHERE w) AS n, sum(total) FILTER (WHERE w) AS total
    FROM orders, LATERAL (SELECT rolling(created_at, '2 days', hop => '0') AS w) x GROUP BY customer_id $$);

-- ---- by hand: a row where something changes ----
SELECT backfill_history('spend', '2024-06-01', '2024-06-06', '1 day');
SELECT customer_id, event_timestamp, created, is_deleted, n, total, lsn > '0/0' AS lsn FROM spend_history ORDER BY 1, 2;
-- again: nothing is added; neither by a part of it, nor where steps fall on others
SELECT backfill_history('spend', '2024-06-01', '2024-06-06', '1 day');
SELECT backfill_history('spend', '2024-06-03', '2024-06-04', '1 day');
SELECT backfill_history('spend', '2024-06-02', '2024-06-06', '2 days');

-- Value of each customer as of t, and the same by the batch query.
CREATE FUNCTION as_of(t timestamptz) RETURNS TABLE (customer_id int, n bigint, total numeric) LANGUAGE sql AS $$
    SELECT x.customer_id, x.n, x.total FROM (
        SELECT DISTINCT ON (h.customer_id) h.* FROM history_batch.spend_history h WHERE h.event_timestamp <= t
        ORDER BY h.customer_id, h.event_timestamp DESC) x WHERE NOT x.is_deleted $$;
CREATE FUNCTION batch(t timestamptz) RETURNS TABLE (customer_id int, n bigint, total numeric) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('feature_engine.as_of', t::text, true);
    RETURN QUERY SELECT d.customer_id, d.n, d.total FROM feature_engine_def.spend d WHERE d.customer_id IS NOT NULL
        AND EXISTS (SELECT FROM history_batch.orders o WHERE o.customer_id = d.customer_id AND o.created_at <= t);
    PERFORM set_config('feature_engine.as_of', '', true);
END $$;
CREATE FUNCTION differences(t timestamptz) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM (
        (SELECT * FROM history_batch.as_of(t) EXCEPT SELECT * FROM history_batch.batch(t)) UNION ALL
        (SELECT * FROM history_batch.batch(t) EXCEPT SELECT * FROM history_batch.as_of(t))) x $$;
SELECT t::date, differences(t) FROM generate_series('2024-06-01'::timestamptz, '2024-06-06', '1 day') t;

-- An earlier part ends where the history goes on: what is there says what it said. Customer 3 was
-- there in May only, by what the table says now.
CREATE TABLE before AS SELECT t, a.* FROM generate_series('2024-06-02'::timestamptz, '2024-06-08', '6 hours') t, as_of(t) a;
INSERT INTO orders VALUES (6, 3, 9, 'new', '2024-05-20 12:00Z');
SELECT backfill_history('spend', '2024-05-20', '2024-05-21', '1 day');
SELECT customer_id, event_timestamp, is_deleted, n, total FROM spend_history WHERE customer_id = 3 ORDER BY 1, 2;
SELECT count(*) FROM (SELECT t, a.* FROM generate_series('2024-06-02'::timestamptz, '2024-06-08', '6 hours') t, as_of(t) a
    EXCEPT SELECT * FROM before) x;
SELECT count(*) FROM (SELECT * FROM before EXCEPT
    SELECT t, a.* FROM generate_series('2024-06-02'::timestamptz, '2024-06-08', '6 hours') t, as_of(t) a) x;
DELETE FROM orders WHERE customer_id = 3;
DELETE FROM spend_history WHERE customer_id = 3;
-- finer steps in the middle: the same
SELECT backfill_history('spend', '2024-06-02 06:00Z', '2024-06-02 18:00Z', '6 hours');
SELECT customer_id, event_timestamp, n, total FROM spend_history WHERE customer_id = 1 ORDER BY 2;
SELECT t, differences(t) FROM generate_series('2024-06-02 06:00'::timestamptz, '2024-06-02 18:00', '6 hours') t;
SELECT count(*) FROM (SELECT t, a.* FROM generate_series('2024-06-03'::timestamptz, '2024-06-08', '6 hours') t, as_of(t) a
    EXCEPT SELECT * FROM before) x;

-- ---- what was recorded stays ----
-- (created at or before T: a row of the pusher's)
INSERT INTO spend_history VALUES (1, '2024-06-10 00:00Z', '2024-06-09 23:59Z', '0/1', false, 100, 100);
UPDATE orders SET created_at = '2024-06-07 12:00Z' WHERE id = 3;
SELECT backfill_history('spend', '2024-06-07', '2024-06-15', '1 day');
SELECT customer_id, event_timestamp, is_deleted, created, n, total FROM spend_history WHERE event_timestamp >= '2024-06-07' ORDER BY 1, 2;
SELECT backfill_history('spend', '2024-06-10', '2024-06-15', '1 day');
SELECT backfill_history('spend', '2024-06-11', '2024-06-15', '1 day');
DELETE FROM spend_history WHERE event_timestamp >= '2024-06-07';
UPDATE orders SET created_at = '2024-06-03 12:00Z' WHERE id = 3;

-- ---- entities that vanish: a row that says so ----
SELECT create_stopped('recent', $$
    SELECT customer_id, max(status COLLATE "C") AS status FROM orders WHERE rolling(created_at, '2 days', hop => '0') GROUP BY customer_id $$);
SELECT backfill_history('recent', '2024-06-01', '2024-06-19', '1 day');
SELECT customer_id, event_timestamp, is_deleted, status FROM recent_history ORDER BY 1, 2;

-- ---- what is refused ----
SELECT create_stopped('lifetime', 'SELECT customer_id, count(*) AS n, sum(total) AS total FROM orders GROUP BY customer_id');
SELECT backfill_history('lifetime', '2024-06-01', '2024-06-06', '1 day');
SELECT backfill_history('lifetime', '2024-06-01', '2024-06-06', '1 day', event_time => 'nothing');
SELECT backfill_history('lifetime', '2024-06-01', '2024-06-06', '1 day', event_time => 'status');
SELECT create_stopped('mixed', $$SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, '1 day')) AS n1, max(total) AS most FROM orders GROUP BY customer_id$$);
SELECT backfill_history('mixed', '2024-06-01', '2024-06-06', '1 day');
SELECT create_stopped('having', $$SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, '1 day')) AS n1 FROM orders GROUP BY customer_id HAVING count(*) > 1$$);
SELECT backfill_history('having', '2024-06-01', '2024-06-06', '1 day');
SELECT create_stopped('current', 'SELECT id, status FROM orders');
SELECT backfill_history('current', '2024-06-01', '2024-06-06', '1 day');
SELECT create_stopped('final', $$SELECT customer_id, tumble(created_at, '1 day') AS w, is_final(tumble(created_at, '1 day')) AS final FROM orders GROUP BY 1, 2$$, watermark => '1 hour');
SELECT backfill_history('final', '2024-06-01', '2024-06-06', '1 day');
SELECT backfill_history('final', '2024-06-01', '2024-06-06', '1 day', event_time => 'created_at');
SELECT create_stopped('changed', $$SELECT (after).customer_id, count(*) AS n FROM changes(NULL::orders) WHERE op <> 'd' GROUP BY 1$$);
SELECT backfill_history('changed', '2024-06-01', '2024-06-06', '1 day');
SELECT * FROM skew_report('changed', '2024-06-01', '2024-06-06');
SELECT create_feature_view('plain', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id', online => '{}');
SELECT backfill_history('plain', '2024-06-01', '2024-06-06', '1 day');
SELECT * FROM skew_report('plain', '2024-06-01', '2024-06-06');
SELECT backfill_history('nothing', '2024-06-01', '2024-06-06', '1 day');
SELECT backfill_history('spend', NULL, '2024-06-06', '1 day');
SELECT backfill_history('spend', '2024-06-01', 'infinity', '1 day');
SELECT backfill_history('spend', '2024-06-06', '2024-06-01', '1 day');
SELECT backfill_history('spend', '2024-06-01', '2024-06-06', '0');
SELECT backfill_history('spend', '2024-06-01', '2024-06-06', '1 month');
SELECT backfill_history('spend', '2024-06-01', '2024-06-06', NULL);
SELECT backfill_history('spend', '2024-06-01', '2024-06-06', '106751990 days');
SELECT backfill_history('spend', '2024-06-01', '2024-06-20 00:00:01Z', '1 day');
SELECT backfill_history('spend', '2024-06-01', '2024-06-06', '1 s');
SELECT alter_feature_view('spend', history_retention => '10 days');
SELECT backfill_history('spend', '2024-06-01', '2024-06-06', '1 day');
SELECT alter_feature_view('spend', reset => '{history_retention}');

-- ---- event_time: which rows were there ----
SELECT backfill_history('lifetime', '2024-06-01', '2024-06-13', '1 day', event_time => 'created_at');
SELECT customer_id, event_timestamp, is_deleted, n, total FROM lifetime_history ORDER BY 1, 2;
SELECT backfill_history('mixed', '2024-06-01', '2024-06-13', '1 day', event_time => 'created_at');
SELECT customer_id, event_timestamp, is_deleted, n1, most FROM mixed_history ORDER BY 1, 2;
-- a date is its midnight in UTC
SELECT backfill_history('having', '2024-06-01', '2024-06-06', '1 day', event_time => 'day');
SELECT customer_id, event_timestamp, is_deleted, n1 FROM having_history ORDER BY 1, 2;
SELECT backfill_history('current', '2024-06-01', '2024-06-06', '1 day', event_time => 'created_at');
SELECT id, event_timestamp, is_deleted, status FROM current_history ORDER BY 1, 2;
-- of the tables of a union each has the column; of a join the table that is aggregated
CREATE TABLE refunds (id int PRIMARY KEY, customer_id int, amount numeric, created_at timestamp);
ALTER TABLE refunds REPLICA IDENTITY FULL;
INSERT INTO refunds VALUES (1, 1, 4, '2024-06-02 18:00'), (2, 4, 4, '2024-06-04 18:00');
SELECT create_stopped('net', $$SELECT customer_id, sum(x) AS net FROM
    (SELECT customer_id, total AS x FROM orders UNION ALL SELECT customer_id, -amount FROM refunds) u GROUP BY customer_id$$);
SELECT backfill_history('net', '2024-06-02', '2024-06-06', '1 day', event_time => 'created_at');
SELECT customer_id, event_timestamp, is_deleted, net FROM net_history ORDER BY 1, 2;
SELECT backfill_history('net', '2024-06-02', '2024-06-06', '1 day', event_time => 'day');
CREATE TABLE customers (id int PRIMARY KEY, city text, day date);
ALTER TABLE customers REPLICA IDENTITY FULL;
INSERT INTO customers VALUES (1, 'Riga', '2024-06-05'), (2, 'Bonn', '2024-06-05');
SELECT create_stopped('cities', $$SELECT c.city, count(*) AS n, count(*) FILTER (WHERE rolling(o.created_at, '1 day')) AS n1
    FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.total > 0 GROUP BY c.city$$);
SELECT backfill_history('cities', '2024-06-02', '2024-06-06', '1 day', event_time => 'day');
SELECT city, event_timestamp, is_deleted, n, n1 FROM cities_history ORDER BY 1, 2;

-- ---- errors of an instant say which it is ----
SELECT create_stopped('ratio', $$SELECT customer_id, 100 / (count(*) FILTER (WHERE rolling(created_at, '2 days', hop => '0')) - 1) AS r
    FROM orders WHERE customer_id = 1 GROUP BY customer_id$$);
CREATE FUNCTION context_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE context text;
BEGIN
    EXECUTE query;
    RETURN 'no error';
EXCEPTION WHEN division_by_zero THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
    RETURN substring(context FROM 'feature view "ratio" as of [^\n]*');
END $$;
SELECT context_of($$SELECT feature_engine.backfill_history('ratio', '2024-06-01', '2024-06-06', '6 hours')$$);
CREATE TABLE ratio_history_rest PARTITION OF ratio_history DEFAULT;
INSERT INTO ratio_history VALUES (1, '2024-06-01 12:00Z', '2024-06-01 12:00Z', '0/1', false, 1);
SELECT context_of($$SELECT feature_engine.skew_report('ratio', '2024-06-01', '2024-06-06')$$);

-- ---- windows of GROUP BY: the newest that has begun, or each of them ----
SELECT create_stopped('daily', $$SELECT customer_id, tumble(created_at, '1 day') AS w, sum(total) AS total FROM orders GROUP BY 1, 2$$);
SELECT backfill_history('daily', '2024-06-01 18:00Z', '2024-06-05', '6 hours');
SELECT customer_id, event_timestamp, is_deleted, w, total FROM daily_history ORDER BY 1, 2;
SELECT create_stopped('each', $$SELECT customer_id, hop(created_at, '2 days', '1 day') AS w, sum(total) AS total, lower(hop(created_at, '2 days', '1 day')) AS since
    FROM orders GROUP BY 1, 2$$, 'each:{customer_id}:{window_start}');
SELECT backfill_history('each', '2024-06-01 18:00Z', '2024-06-05', '1 day');
SELECT customer_id, w, event_timestamp, is_deleted, total, since FROM each_history ORDER BY 1, 2, 3;
SELECT create_stopped('visits', $$SELECT customer_id, session(created_at, '1 day') AS s, count(*) AS n FROM orders GROUP BY 1, 2$$);
SELECT backfill_history('visits', '2024-06-01 18:00Z', '2024-06-05', '1 day');
SELECT customer_id, event_timestamp, is_deleted, s, n FROM visits_history ORDER BY 1, 2;

-- ---- skew ----
SELECT * FROM skew_report('spend', '2024-05-01', '2024-06-20');
SELECT feature, compared, mismatches FROM skew_report('spend', '2024-06-01', '2024-06-20', instants => 3);
SELECT feature, compared, mismatches FROM skew_report('spend', '2024-07-01', '2024-07-20');
-- a row that is not what was computed; one too few, one too many
\x
UPDATE spend_history SET total = total * 1.25 WHERE customer_id = 1 AND event_timestamp = '2024-06-03';
SELECT * FROM skew_report('spend', '2024-06-01', '2024-06-06') WHERE mismatches > 0;
-- ... a difference that is none
UPDATE spend_history SET total = 30.0000 WHERE customer_id = 1 AND event_timestamp = '2024-06-03';
SELECT * FROM skew_report('spend', '2024-06-01', '2024-06-06') WHERE mismatches > 0;
DELETE FROM spend_history WHERE customer_id = 2;
INSERT INTO spend_history VALUES (77, '2024-06-02 00:00Z', '2024-06-20 00:00Z', '0/1', false, NULL, NULL);
SELECT * FROM skew_report('spend', '2024-06-01', '2024-06-06') WHERE mismatches > 0;
DELETE FROM spend_history WHERE customer_id = 77;
-- a row that came late shows, and so does one that was changed
INSERT INTO orders VALUES (7, 1, 3, 'late', '2024-06-02 23:00Z');
SELECT feature, compared, mismatches, example FROM skew_report('spend', '2024-06-03', '2024-06-03') WHERE mismatches > 0;
-- unless it was recorded a moment later
INSERT INTO spend_history VALUES (1, '2024-06-03 00:00:00.5Z', '2024-06-20 00:00Z', '0/1', false, 3, 33);
SELECT feature, compared, mismatches, example FROM skew_report('spend', '2024-06-03', '2024-06-03') WHERE mismatches > 0;
SELECT feature, compared, mismatches FROM skew_report('spend', '2024-06-03', '2024-06-03', lag => '0.1 s') WHERE mismatches > 0;
-- what the past does not tell is not compared
SELECT * FROM skew_report('mixed', '2024-06-01', '2024-06-20');
SELECT feature, compared, mismatches FROM skew_report('mixed', '2024-06-01', '2024-06-20', event_time => 'created_at');
SELECT feature, compared, mismatches, note FROM skew_report('lifetime', '2024-06-01', '2024-06-20');
SELECT feature, compared, mismatches, note FROM skew_report('having', '2024-06-01', '2024-06-20');
\x
-- what depends on now() is compared where it was recorded
SELECT create_stopped('ages', $$SELECT customer_id, extract(hour FROM now() - max(created_at))::int AS hours, count(*) AS n
    FROM orders WHERE rolling(created_at, '2 days', hop => '0') GROUP BY customer_id$$);
SELECT backfill_history('ages', '2024-06-01', '2024-06-06', '1 hour') > 50 AS many;
SELECT feature, compared > 5 AS compared, mismatches, note FROM skew_report('ages', '2024-06-01', '2024-06-06');
SELECT * FROM skew_report('spend', '2024-06-01', '2024-06-06', instants => 0);
SELECT * FROM skew_report('spend', '2024-06-01', '2024-06-06', lag => '-1 s');
SELECT * FROM skew_report('spend', '2024-06-01', '2024-06-06', lag => '10000000 days');

-- ---- floats: rounding is no skew ----
CREATE TABLE samples (id int PRIMARY KEY, k int, x float8, at timestamptz);
ALTER TABLE samples REPLICA IDENTITY FULL;
INSERT INTO samples SELECT n, n % 3, CASE WHEN n = 40 THEN 'NaN' ELSE n * 0.1 END, '2024-06-01 00:00Z'::timestamptz + n * interval '1 hour'
FROM generate_series(1, 60) n;
SELECT create_stopped('means', $$SELECT k, avg(x) AS mean, max(x) AS most, var_pop(x) AS v FROM samples WHERE rolling(at, '1 day', hop => '0') GROUP BY k$$);
SELECT backfill_history('means', '2024-06-01', '2024-06-05', '3 hours') > 50 AS many;
SELECT feature, compared > 10 AS compared, mismatches FROM skew_report('means', '2024-06-01', '2024-06-05');
UPDATE means_history SET mean = mean * (1 + 1e-12), v = v * (1 + 1e-5);
SELECT feature, mismatches > 0 AS differs, max_relative_error < 1e-11 AS small, max_relative_error < 2e-5 AS less
FROM skew_report('means', '2024-06-01', '2024-06-05') WHERE feature <> 'most';

-- ---- random: as of any step, the history says what the query says ----
SELECT setseed(0.5);
INSERT INTO orders SELECT 100 + n, (random() * 20)::int, (random() * 100)::numeric(10,2), 'new',
    '2024-03-01 00:00Z'::timestamptz + random() * interval '60 days' FROM generate_series(1, 600) n;
SELECT backfill_history('spend', '2024-03-01', '2024-05-05', '5 hours') > 600 AS many;
SELECT sum(differences('2024-03-01'::timestamptz + n * interval '5 hours')) FROM generate_series(0, 311, 7) n;
SELECT feature, compared > 1000 AS compared, mismatches, missing, extra FROM skew_report('spend', '2024-03-01', '2024-05-05', instants => 100);
-- (what is kept from step to step goes to files)
SET work_mem = '64kB';
SELECT backfill_history('spend', '2024-03-01', '2024-05-05', '5 hours');
RESET work_mem;
SELECT max(n) AS rows_of_one_instant FROM (SELECT count(*) AS n FROM spend_history GROUP BY customer_id, event_timestamp) x;

-- ---- with what the pusher records ----
SELECT create_feature_view('live', $$
    SELECT customer_id, count(*) AS n, sum(total) AS total, max(status COLLATE "C") AS status
    FROM orders WHERE rolling(created_at, '10 days', hop => '0') GROUP BY customer_id $$, online => '{}', offline => true);
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT backfill_history('live', '2024-06-01', '2024-06-20', '1 day');
SELECT customer_id, event_timestamp, created, is_deleted, n, total, status FROM live_history
WHERE event_timestamp > '2024-06-10' ORDER BY event_timestamp, customer_id;
SELECT set_clock('2024-06-21 00:00Z');
INSERT INTO orders VALUES (1001, 1, 3, 'paid', '2024-06-20 12:00Z'), (1002, 9, 4, 'new', '2024-06-20 12:00Z');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT set_clock('2024-06-23 00:00Z');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT feature, compared, mismatches FROM skew_report('live', '2024-06-01', '2024-07-01', instants => 100, lag => '0');
INSERT INTO orders VALUES (1003, 9, 5, 'late', '2024-06-20 11:00Z');
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT feature, compared, mismatches, max_absolute_error, example->'event_timestamp' AS at
FROM skew_report('live', '2024-06-01', '2024-07-01', instants => 100, lag => '0');
SELECT backfill_history('live', '2024-06-01', '2024-06-23', '1 day');
-- who is there at the last step and gone by now goes in the history, too, though nobody else knew of it
SELECT create_feature_view('gone', $$
    SELECT customer_id, count(*) AS n FROM orders WHERE rolling(created_at, '1 day', hop => '0') AND id = 2 GROUP BY customer_id $$,
    online => '{}', offline => true);
SELECT sync(history => true) IS NOT NULL AS synced;
SELECT backfill_history('gone', '2024-06-01', '2024-06-03', '1 day');
DO $$ BEGIN
    FOR i IN 1 .. 600 LOOP
        EXIT WHEN EXISTS (SELECT FROM gone_history WHERE is_deleted);
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;
SELECT customer_id, event_timestamp, is_deleted, n FROM gone_history ORDER BY 1, 2;
SELECT relid FROM pg_partition_tree('spend_history') WHERE isleaf ORDER BY relid::text;

-- ---- rights: the owner's to write; reading takes SELECT on both ----
CREATE ROLE history_batch_reader;
GRANT USAGE ON SCHEMA history_batch TO history_batch_reader;
GRANT SELECT ON spend TO history_batch_reader;
SET ROLE history_batch_reader;
SELECT backfill_history('spend', '2024-06-01', '2024-06-06', '1 day');
SELECT count(*) FROM skew_report('spend', '2024-06-01', '2024-06-06');
RESET ROLE;
GRANT SELECT ON spend_history TO history_batch_reader;
SET ROLE history_batch_reader;
SELECT count(*) FROM skew_report('spend', '2024-06-01', '2024-06-06');
-- a column of the source that the view does not show: which rows it leaves out would tell of it
SELECT count(*) FROM skew_report('spend', '2024-06-01', '2024-06-06', event_time => 'day');
RESET ROLE;
GRANT SELECT (day) ON orders TO history_batch_reader;
SET ROLE history_batch_reader;
SELECT count(*) FROM skew_report('spend', '2024-06-01', '2024-06-06', event_time => 'day');
SELECT count(*) FROM skew_report('spend', '2024-06-01', '2024-06-06', event_time => 'created_at');
RESET ROLE;

SELECT set_clock(NULL);
SET client_min_messages = warning;
SELECT count(drop_feature_view(name, history => true)) FROM feature_views;
DROP SCHEMA history_batch CASCADE;
DROP ROLE history_batch_reader;
