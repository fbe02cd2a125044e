-- Windows in GROUP BY: tumble(), hop() and session(), a row for each entity and window.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA group_windows;
SET search_path = group_windows, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;
SELECT set_clock('2026-03-10 12:00+00');

-- tumble() and hop() are ordinary functions. Windows are aligned to 1970-01-01 UTC, or to an
-- origin; timestamp and date are read as UTC, whatever the session's time zone.
SELECT tumble('2026-03-10 12:34+00', '30 days') AS epoch,
       tumble('2026-03-10 12:34+00', '30 days', '2026-01-02+00') AS origin,
       tumble('2026-03-10 12:34'::timestamp, '1 day') AS of_timestamp,
       tumble('2026-03-10'::date, '7 days') AS of_date;
SELECT * FROM hop('2026-03-10 12:34+00', '1 day', '8 hours');
SELECT * FROM hop('2026-03-10 12:34+00', '1 hour', '25 minutes', '2026-03-10 00:05+00');
SELECT * FROM hop('2026-03-10'::date, width => '1 day', slide => '1 day');
SET timezone = 'America/New_York';
SELECT tumble('2026-03-08 12:34'::timestamp, '1 day') AS not_23_hours, tumble('2026-03-10'::date, '1 day');
SET timezone = 'UTC';
-- What has no time has no window: NULL from tumble(), no row from hop().
SELECT ts, tumble(ts, '1 day'), (SELECT count(*) FROM hop(ts, '1 day', '12 hours')) AS hops
FROM (VALUES (NULL::timestamptz), ('infinity'), ('-infinity'), ('4714-11-24 00:00+00 BC'),
             ('294276-12-31 23:59:59+00')) v(ts);
-- The start belongs to a window, the end does not.
SELECT tumble('2026-03-10 00:00+00', '1 day') = tumble('2026-03-10 23:59:59.999999+00', '1 day') AS inside,
       tumble('2026-03-10 00:00+00', '1 day') = tumble('2026-03-11 00:00+00', '1 day') AS outside;
SELECT tumble('2026-03-10+00', '1 month');
SELECT tumble('2026-03-10+00', NULL);
SELECT tumble('2026-03-10+00', '0');
SELECT tumble('2026-03-10+00', '1 day', 'infinity');
SELECT hop('2026-03-10+00', '1 day', '2 days');
SELECT hop('2026-03-10+00', '1 day', '-1 hour');
SELECT hop('2026-03-10+00', '1 day', NULL);
SELECT hop('2026-03-10+00', '1 day', '1 minute');
SELECT session('2026-03-10+00'::timestamptz, '1 hour');

CREATE TABLE orders (
    id         int PRIMARY KEY,
    customer   int,
    status     text,
    total      numeric(10,2),
    created_at timestamptz,
    updated_at timestamptz
);
ALTER TABLE orders REPLICA IDENTITY FULL;

-- What is refused.
SELECT create_feature_view('bad', $$SELECT customer, tumble(created_at, '1 month') AS w, count(*) AS n
    FROM orders GROUP BY customer, w$$);
SELECT create_feature_view('bad', $$SELECT customer, tumble(created_at, NULL) AS w, count(*) AS n
    FROM orders GROUP BY customer, w$$);
SELECT create_feature_view('bad', $$SELECT customer, tumble(created_at, total * interval '1 day') AS w, count(*) AS n
    FROM orders GROUP BY customer, w$$);
SELECT create_feature_view('bad', $$SELECT customer, tumble(created_at, '0') AS w, count(*) AS n
    FROM orders GROUP BY customer, w$$);
SELECT create_feature_view('bad', $$SELECT customer, hop(created_at, '1 day', '2 days') AS w, count(*) AS n
    FROM orders GROUP BY customer, w$$);
SELECT create_feature_view('bad', $$SELECT customer, hop(created_at, '1 day', '1 minute') AS w, count(*) AS n
    FROM orders GROUP BY customer, w$$);
SELECT create_feature_view('bad', $$SELECT customer, hop(created_at, '1 day', NULL) AS w, count(*) AS n
    FROM orders GROUP BY customer, w$$);
SELECT create_feature_view('bad', $$SELECT customer, session(created_at, '0') AS w, count(*) AS n
    FROM orders GROUP BY customer, w$$);
SELECT create_feature_view('bad', $$SELECT customer, session(created_at, NULL) AS w, count(*) AS n
    FROM orders GROUP BY customer, w$$);
SELECT create_feature_view('bad', $$SELECT tumble(created_at, '1 day') AS w, count(*) AS n
    FROM orders GROUP BY w$$);
SELECT create_feature_view('bad', $$SELECT customer, tumble(created_at, '1 day') AS w, tumble(updated_at, '1 day') AS u,
    count(*) AS n FROM orders GROUP BY 1, 2, 3$$);
SELECT create_feature_view('bad', $$SELECT customer, count(*) AS n
    FROM orders GROUP BY customer, tumble(created_at, '1 day')$$);
SELECT create_feature_view('bad', $$SELECT customer, tumble(created_at, '1 day') AS w
    FROM orders GROUP BY customer, w$$);
SELECT create_feature_view('bad', $$SELECT customer, hop(created_at, '1 day', '1 hour') AS w, count(*) AS n
    FROM orders GROUP BY customer$$);
SELECT create_feature_view('bad', $$SELECT customer, count(DISTINCT session(created_at, '1 day')) AS n
    FROM orders GROUP BY customer$$);
SELECT create_feature_view('bad', $$SELECT customer, upper(x.w) AS u, count(*) AS n
    FROM orders, LATERAL (SELECT hop(created_at, '1 day', '1 hour') AS w) x GROUP BY customer, upper(x.w)$$);
SELECT create_feature_view('bad', $$SELECT customer, tumble(created_at, '1 day') AS w,
    count(*) FILTER (WHERE rolling(updated_at, '7 days')) AS n FROM orders GROUP BY customer, w$$);
SELECT create_feature_view('bad', $$SELECT customer, count(*) AS n FROM orders GROUP BY customer$$, retention => '1 day');
SELECT create_feature_view('bad', $$SELECT customer, count(*) AS n FROM orders GROUP BY customer$$, watermark => '1 day');
SELECT create_feature_view('bad', $$SELECT customer, tumble(created_at, '1 day') AS w, count(*) AS n
    FROM orders GROUP BY customer, w$$, retention => '-1 day');
SELECT create_feature_view('bad', $$SELECT customer, tumble(created_at, '1 day') AS w, count(*) AS n
    FROM orders GROUP BY customer, w$$, retention => '1 month');
SELECT create_feature_view('bad', $$SELECT customer, tumble(created_at, '1 day') AS w, count(*) AS n,
    is_final(tumble(created_at, '1 day')) AS fin FROM orders GROUP BY customer, w$$);
SELECT create_feature_view('bad', $$SELECT customer, count(*) FILTER (WHERE is_final(tumble(created_at, '1 day'))) AS n
    FROM orders GROUP BY customer$$);
SELECT create_feature_view('bad', $$SELECT customer, count(*) AS n FROM orders GROUP BY customer$$,
    redis_key => 'c:{customer}:{window_start}');

-- One view of each kind.
SELECT create_feature_view('daily', $$
    SELECT customer, tumble(created_at, '1 day') AS day, count(*) AS orders, sum(total) AS spend,
           count(*) FILTER (WHERE rolling(created_at, '6 hours', hop => '0')) AS last_6_hours,
           last(status, created_at) AS last_status, upper(tumble(created_at, '1 day')) - lower(tumble(created_at, '1 day')) AS width
    FROM   orders GROUP BY customer, tumble(created_at, '1 day')$$);
SELECT create_feature_view('hourly', $$
    SELECT customer, hop(created_at, '1 hour', '30 minutes') AS w, count(*) AS orders, max(total) AS largest
    FROM   orders WHERE status <> 'cancelled' GROUP BY customer, w HAVING count(*) > 1$$);
SELECT create_feature_view('visits', $$
    SELECT customer, session(created_at, '1 hour') AS visit, count(*) AS orders, sum(total) AS spend,
           (upper(session(created_at, '1 hour')) AT TIME ZONE 'UTC') - interval '1 hour' AS last_order
    FROM   orders GROUP BY customer, session(created_at, '1 hour')$$);
INSERT INTO orders VALUES
    (1, 1, 'new',  10, '2026-03-09 10:00+00', NULL), (2, 1, 'paid', 20, '2026-03-09 10:45+00', NULL),
    (3, 1, 'paid', 30, '2026-03-09 11:45+00', NULL), (4, 1, 'paid', 40, '2026-03-10 09:00+00', NULL),
    (5, 1, 'new',  50, '2026-03-11 08:00+00', NULL), (6, 2, 'cancelled', 60, '2026-03-10 11:00+00', NULL),
    (7, 2, 'paid', 70, '2026-03-10 11:10+00', NULL), (8, 2, 'paid', 80, NULL, NULL),
    (9, 3, 'paid', 90, 'infinity', NULL);
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM daily ORDER BY customer, day;
SELECT * FROM hourly ORDER BY customer, w;
-- A gap of exactly an hour does not end a session.
SELECT * FROM visits ORDER BY customer, visit;
SELECT (SELECT count(*) FROM check_feature_view('daily')) AS daily, (SELECT count(*) FROM check_feature_view('hourly')) AS hourly,
       (SELECT count(*) FROM check_feature_view('visits')) AS visits, (SELECT count(*) FROM check_feature_view('visits', 2)) AS sample;

-- The newest window that has begun, and all of them. What is still to come is none of the first.
SELECT get_features('daily', 1), get_features('visits', 1);
SELECT * FROM get_feature_rows('daily', 1);
SELECT * FROM get_feature_rows('visits', '2');
SELECT * FROM get_feature_rows('visits', 77);
-- Customer 3 has no window at all, but a group in GROUP BY.
SELECT get_features('daily', 3) IS NULL AS none;
SELECT * FROM get_feature_rows('daily', 3);
SELECT * FROM get_features('daily', ARRAY[1, 3, 4]);
EXPLAIN (COSTS OFF) SELECT * FROM daily WHERE customer = 1 AND day @> '2026-03-10 00:00+00'::timestamptz;
SELECT orders FROM daily WHERE customer = 1 AND day @> '2026-03-10 00:00+00'::timestamptz;
SELECT c, d.day, d.orders FROM generate_series(1, 2) c JOIN daily d ON d.customer = c ORDER BY 1, 2;

-- Rows move between windows, sessions join and split.
UPDATE orders SET created_at = '2026-03-10 00:00+00' WHERE id = 2;
DELETE FROM orders WHERE id = 4;
SELECT sync() IS NOT NULL AS synced;
SELECT customer, day, orders, spend FROM daily WHERE customer = 1 ORDER BY day;
SELECT customer, visit, orders, spend FROM visits WHERE customer = 1 ORDER BY visit;
INSERT INTO orders VALUES (10, 1, 'new', 1, '2026-03-09 10:50+00', NULL);
SELECT sync() IS NOT NULL AS synced;
SELECT customer, visit, orders, spend FROM visits WHERE customer = 1 ORDER BY visit;
DELETE FROM orders WHERE id = 10;
DELETE FROM orders WHERE customer = 3;
SELECT sync() IS NOT NULL AS synced;
SELECT customer, visit, orders, spend FROM visits WHERE customer = 1 ORDER BY visit;
SELECT count(*) FROM daily WHERE customer = 3;
SELECT (SELECT count(*) FROM check_feature_view('daily')) AS daily, (SELECT count(*) FROM check_feature_view('hourly')) AS hourly,
       (SELECT count(*) FROM check_feature_view('visits')) AS visits;

-- A view as definition; a hop() named in LATERAL; a group that has no plain column for its key.
CREATE VIEW definition AS SELECT customer, x.w, count(*) AS n, lower(x.w) AS since
    FROM orders, LATERAL (SELECT hop(created_at, '1 day', '12 hours') AS w) x GROUP BY customer, x.w;
SELECT create_feature_view('from_view', 'definition'::regclass, online => '{}');
SELECT create_feature_view('all_orders', $$SELECT 'all' AS scope, tumble(created_at, '1 day') AS w, count(*) AS n
    FROM orders GROUP BY scope, tumble(created_at, '1 day')$$, online => '{}');
SELECT create_feature_view('plain', $$SELECT customer, count(*) AS n FROM orders GROUP BY customer$$, online => '{}');
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM from_view WHERE customer = 1 ORDER BY w;
(TABLE from_view EXCEPT TABLE definition) UNION ALL (TABLE definition EXCEPT TABLE from_view);
SELECT * FROM all_orders ORDER BY w;
-- Without a window there is one row.
SELECT * FROM get_feature_rows('plain', 1);
-- What is in a window now is not known for the past.
SET feature_engine.as_of = '2026-03-10 11:00+00';
SELECT count(*) FROM from_view;
RESET feature_engine.as_of;
-- A new definition beside the old one; another width is other state.
SELECT create_feature_view('from_view', $$SELECT customer, tumble(created_at, '1 day') AS w, count(*) AS n, lower(tumble(created_at, '1 day')) AS since
    FROM orders GROUP BY customer, w$$, online => '{}', replace => true);
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM from_view WHERE customer = 1 ORDER BY w;
SELECT drop_feature_view('from_view'), drop_feature_view('all_orders'), drop_feature_view('plain');
DROP VIEW definition;

-- The dry run tells what is kept.
SELECT * FROM explain_feature_view($$
    SELECT customer, hop(created_at, '1 hour', '25 minutes') AS w, count(*) AS n, sum(total) AS s
    FROM orders GROUP BY customer, w$$);
SELECT drop_feature_view('daily'), drop_feature_view('hourly'), drop_feature_view('visits');

-- retention: what has ended so long ago is neither shown nor kept.
SELECT create_feature_view('kept', $$
    SELECT customer, tumble(created_at, '1 day') AS day, count(*) AS orders
    FROM   orders GROUP BY customer, day$$, retention => '1 day');
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM kept ORDER BY customer, day;
SELECT set_clock('2026-03-10 23:59:59.999999+00');
SELECT * FROM kept WHERE customer = 1 ORDER BY day;
SELECT set_clock('2026-03-11 00:00+00');
SELECT * FROM kept WHERE customer = 1 ORDER BY day;
SELECT count(*) FROM check_feature_view('kept');
-- A row of a window that is no longer kept is ignored, and counted.
SELECT set_clock('2026-03-12 12:00+00');
DO $$ BEGIN
    WHILE (SELECT panes FROM status WHERE name = 'kept') > 2 LOOP PERFORM pg_sleep(0.01); END LOOP;
END $$;
INSERT INTO orders VALUES (20, 1, 'new', 1, '2026-03-09 10:50+00', NULL);
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM kept WHERE customer = 1 ORDER BY day;
SELECT expired > 0 AS counted, late FROM status WHERE name = 'kept';
SELECT count(*) FROM check_feature_view('kept');
-- Another retention is other state.
SELECT alter_feature_view('kept', retention => '7 days');
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM kept WHERE customer = 1 ORDER BY day;
SELECT retention, watermark FROM feature_views WHERE name = 'kept';
SELECT alter_feature_view('kept', reset => ARRAY['retention']);
SELECT sync() IS NOT NULL AS synced;
SELECT retention FROM feature_views WHERE name = 'kept';
SELECT drop_feature_view('kept');

-- The watermark over a table: rows may still change, is_final only says which windows are over.
TRUNCATE orders;
SELECT create_feature_view('marked', $$
    SELECT customer, tumble(created_at, '1 hour') AS w, count(*) AS orders, is_final(tumble(created_at, '1 hour')) AS final
    FROM   orders GROUP BY customer, w$$, watermark => '10 minutes');
SELECT sync() IS NOT NULL AS synced;
SELECT watermark('marked');
INSERT INTO orders VALUES (1, 1, 'new', 1, '2024-01-01 10:05+00', NULL), (2, 1, 'new', 1, '2024-01-01 11:09+00', NULL);
SELECT sync() IS NOT NULL AS synced;
SELECT *, watermark('marked') FROM marked ORDER BY w;
INSERT INTO orders VALUES (3, 2, 'new', 1, '2024-01-01 11:10+00', NULL);
SELECT sync() IS NOT NULL AS synced;
SELECT *, watermark('marked') FROM marked ORDER BY customer, w;
-- Late, but not left out: this is a table.
INSERT INTO orders VALUES (4, 1, 'new', 1, '2024-01-01 10:06+00', NULL);
DELETE FROM orders WHERE id = 3;
SELECT sync() IS NOT NULL AS synced;
SELECT *, watermark('marked') FROM marked ORDER BY customer, w;
SELECT late, watermark FROM status WHERE name = 'marked';
SELECT count(*) FROM check_feature_view('marked');
-- An event of the future does not move it beyond the commit.
INSERT INTO orders VALUES (5, 1, 'new', 1, '2999-01-01 10:05+00', NULL);
SELECT sync() IS NOT NULL AS synced;
SELECT watermark('marked') BETWEEN now() - interval '1 hour' AND now() AS not_beyond FROM (SELECT clock_timestamp() AS now) n;
-- In a plain query the setting counts, or T.
SELECT is_final(tumble('2024-01-01 10:05+00', '1 hour')) AS by_t,
       is_final(tumble('2026-03-12 11:59+00', '1 hour')) AS by_t, is_final(tumble('2026-03-12 12:00+00', '1 hour')) AS by_t;
SET feature_engine.watermark = '2024-01-01 10:59:59+00';
SELECT is_final(tumble('2024-01-01 10:05+00', '1 hour')) AS by_setting;
SELECT * FROM marked WHERE customer = 1 ORDER BY w LIMIT 2;
RESET feature_engine.watermark;
SELECT drop_feature_view('marked');

-- get_feature_rows() asks for the same rights as get_features().
SELECT create_feature_view('secret', $$
    SELECT customer, status, tumble(created_at, '1 day') AS w, count(*) AS n FROM orders GROUP BY 1, 2, 3$$);
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM get_feature_rows('secret', 1, 'new');
SELECT * FROM get_feature_rows('secret', ROW(1, 'new'));
SELECT * FROM get_feature_rows('secret', 1);
SELECT * FROM get_feature_rows('nothing', 1);
CREATE ROLE group_windows_user;
GRANT USAGE ON SCHEMA group_windows TO group_windows_user;
SET ROLE group_windows_user;
SELECT * FROM get_feature_rows('secret', 1, 'new');
SELECT watermark('secret');
RESET ROLE;
DROP OWNED BY group_windows_user;
DROP ROLE group_windows_user;
SELECT drop_feature_view('secret');
SELECT set_clock(NULL);
DROP TABLE orders;
DROP SCHEMA group_windows;
