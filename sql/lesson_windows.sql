-- The lesson's windowed table: orders of 30 days each, as Spark prints them, and its append
-- mode: a window's row comes once, when the window is closed, and never changes.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA lesson_windows;
SET search_path = lesson_windows, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;

CREATE TABLE orders (
    order_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id int NOT NULL,
    total       numeric(10,2) NOT NULL,
    created_at  timestamptz NOT NULL
);
ALTER TABLE orders REPLICA IDENTITY FULL;

-- The lesson's windows begin on 2026-01-02, which origin says; without it they are aligned to
-- 1970-01-01, where Spark puts them by default.
SELECT create_feature_view('orders_30d', $$
    SELECT customer_id, tumble(created_at, '30 days', '2026-01-02 00:00+00') AS window_30d,
           count(*) AS order_count, sum(total) AS total_spend
    FROM   orders GROUP BY customer_id, tumble(created_at, '30 days', '2026-01-02 00:00+00')$$);
SELECT create_feature_view('orders_30d_epoch', $$
    SELECT customer_id, tumble(created_at, '30 days') AS window_30d,
           count(*) AS order_count, sum(total) AS total_spend
    FROM   orders GROUP BY customer_id, tumble(created_at, '30 days')$$);

INSERT INTO orders (customer_id, total, created_at) VALUES
    (1, 100.00, '2026-01-02 00:00+00'), (1, 250.00, '2026-01-20 12:00+00'),
    (1,  75.50, '2026-01-31 23:59:59.999999+00'), (1, 60.00, '2026-02-01 00:00+00'),
    (2,  20.00, '2026-01-15 08:30+00'), (2, 45.25, '2026-02-14 17:45+00'),
    (3, 999.99, '2026-02-20 10:00+00');
SELECT sync() IS NOT NULL AS synced;

-- As Spark shows it: {start, end}.
SELECT format('{%s, %s}', lower(window_30d) AT TIME ZONE 'UTC', upper(window_30d) AT TIME ZONE 'UTC') AS "window",
       customer_id, order_count, total_spend
FROM   orders_30d ORDER BY lower(window_30d), customer_id;
SELECT format('{%s, %s}', lower(window_30d) AT TIME ZONE 'UTC', upper(window_30d) AT TIME ZONE 'UTC') AS "window",
       customer_id, order_count, total_spend
FROM   orders_30d_epoch ORDER BY lower(window_30d), customer_id;

-- An order that is corrected moves to the window where it belongs: rows are those of the table.
UPDATE orders SET created_at = '2026-02-01 00:00+00', total = 80.00 WHERE order_id = 3;
DELETE FROM orders WHERE customer_id = 3;
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM orders_30d ORDER BY window_30d, customer_id;
SELECT * FROM check_feature_view('orders_30d');
SELECT * FROM check_feature_view('orders_30d_epoch');
SELECT drop_feature_view('orders_30d'), drop_feature_view('orders_30d_epoch');

-- Append mode: orders are only added, and may come up to ten days late. The rows of closed
-- windows are the outer query's; a window is closed when the watermark has reached its end.
CREATE TABLE order_log (customer_id int NOT NULL, total numeric(10,2) NOT NULL, created_at timestamptz NOT NULL);
SELECT create_feature_view('closed_windows', $$
    SELECT * FROM (
        SELECT customer_id, tumble(created_at, '30 days', '2024-01-02 00:00+00') AS window_30d,
               count(*) AS order_count, sum(total) AS total_spend
        FROM   order_log GROUP BY customer_id, tumble(created_at, '30 days', '2024-01-02 00:00+00')) w
    WHERE is_final(window_30d)$$,
    append_only => true, watermark => '10 days');
SELECT sync() IS NOT NULL AS synced;
-- What Spark would have written to its sink by now: each row once.
CREATE TABLE sink (customer_id int, window_30d tstzrange, order_count bigint, total_spend numeric,
                   PRIMARY KEY (customer_id, window_30d));

INSERT INTO order_log VALUES (1, 100.00, '2024-01-02 00:00+00'), (1, 250.00, '2024-01-20 12:00+00'), (2, 20.00, '2024-01-31 08:30+00');
INSERT INTO order_log VALUES (1, 60.00, '2024-02-05 00:00+00');
SELECT sync() IS NOT NULL AS synced;
SELECT watermark('closed_windows'), (SELECT count(*) FROM closed_windows) AS closed;
-- Six days late, and the window is still open.
INSERT INTO order_log VALUES (2, 25.00, '2024-01-30 00:00+00');
INSERT INTO order_log VALUES (3, 5.00, '2024-02-11 00:00+00');
SELECT sync() IS NOT NULL AS synced;
SELECT watermark('closed_windows');
INSERT INTO sink SELECT * FROM closed_windows;
SELECT * FROM sink ORDER BY window_30d, customer_id;
-- Now it is closed: what comes for it is late, and changes nothing. What comes for the open
-- window counts, though it is older than the watermark would like.
INSERT INTO order_log VALUES (1, 1000.00, '2024-01-31 23:59:59+00'), (3, 7.00, '2024-02-01 00:00+00');
INSERT INTO order_log VALUES (1, 40.00, '2024-03-20 00:00+00');
SELECT sync() IS NOT NULL AS synced;
SELECT watermark('closed_windows'), late FROM status WHERE name = 'closed_windows';
SELECT * FROM closed_windows ORDER BY window_30d, customer_id;
-- Nothing that was written has changed, and nothing comes twice.
SELECT count(*) FROM (TABLE sink EXCEPT TABLE closed_windows) changed;
SELECT * FROM (TABLE closed_windows EXCEPT TABLE sink) new ORDER BY window_30d, customer_id;
-- The newest closed window is what get_features() gives.
SELECT get_features('closed_windows', 1);
SELECT drop_feature_view('closed_windows');
DROP TABLE orders, order_log, sink;
DROP SCHEMA lesson_windows;
