-- The lesson's exercise, its customer view and its product view.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA lesson;
SET search_path = lesson, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;

-- Nothing here depends on when it runs: the engine's clock stands still, and
-- sync() waits for what was committed instead of sleeping.
SELECT set_clock('2026-03-01 12:00+00');

-- The exercise: three orders in a 30-day tumbling window.

CREATE TABLE orders (
    order_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id int,
    product_id  int,
    quantity    int,
    total       numeric(10,2),
    created_at  timestamptz
);
ALTER TABLE orders REPLICA IDENTITY FULL;

SELECT create_feature_view('exercise', $$
    SELECT customer_id, count(*) AS order_count, sum(total) AS total_spend,
           round(avg(total), 2) AS avg_order_value
    FROM   orders
    WHERE  tumbling(created_at, '30 days')
    GROUP  BY customer_id
$$);

INSERT INTO orders (customer_id, product_id, quantity, total, created_at) VALUES
    (1, 10, 1, 100.00, '2026-02-20 09:00+00'),
    (1, 11, 4, 200.00, '2026-02-25 18:30+00'),
    (2, 10, 1,  50.00, '2026-03-01 11:59+00');
SELECT sync() IS NOT NULL AS synced;

SELECT * FROM exercise ORDER BY customer_id;
SELECT get_features('exercise', 1);

-- The customer view. The definition is a plain view, so that the same text can
-- be asked both ways: as a batch query, and as it is streamed.

CREATE VIEW customer_definition AS
    SELECT customer_id,
           count(*) FILTER (WHERE w30)                              AS order_count_30d,
           sum(total) FILTER (WHERE w30)                            AS total_spend_30d,
           avg(total) FILTER (WHERE w30)                            AS avg_order_value_30d,
           stddev(total) FILTER (WHERE w30)                         AS order_value_stddev_30d,
           max(created_at)                                          AS last_order_time,
           extract(day FROM feature_engine.now() - max(created_at))::int AS days_since_last_order,
           (count(*) FILTER (WHERE w30) > 5)::int                   AS is_frequent_buyer,
           (sum(total) FILTER (WHERE w30) > 1000)::int              AS is_high_value,
           CASE WHEN count(*) > 1 THEN
               extract(epoch FROM max(created_at) - min(created_at)) / 86400 / (count(*) - 1)
           END                                                      AS avg_days_between_orders
    FROM   orders, LATERAL (SELECT rolling(created_at, '30 days') AS w30) w
    GROUP  BY customer_id;

SELECT create_feature_view('customer_features', 'customer_definition'::regclass,
                           redis_key => 'lesson:customer:{customer_id}', ttl => '60 days');

CREATE VIEW product_definition AS
    SELECT product_id,
           sum(quantity)                                            AS units_sold,
           sum(total)                                               AS revenue,
           count(DISTINCT customer_id)                              AS unique_customers,
           round(coalesce(sum(quantity) FILTER (WHERE rolling(created_at, '7 days')), 0) / 7.0, 3)
                                                                    AS sales_per_day_7d
    FROM   orders
    GROUP  BY product_id;

SELECT create_feature_view('product_features', 'product_definition'::regclass);

-- Rows that differ, text for text, between the streamed and the batch form.
CREATE VIEW differences AS
    SELECT 'customer' AS view, coalesce(b.customer_id, s.customer_id) AS key, b::text AS batch, s::text AS streamed
    FROM   customer_definition b FULL JOIN customer_features s USING (customer_id)
    WHERE  b::text IS DISTINCT FROM s::text
    UNION ALL
    SELECT 'product', coalesce(b.product_id, s.product_id), b::text, s::text
    FROM   product_definition b FULL JOIN product_features s USING (product_id)
    WHERE  b::text IS DISTINCT FROM s::text;

\x on
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM customer_features ORDER BY customer_id;
SELECT * FROM product_features ORDER BY product_id;
\x off
SELECT * FROM differences;

-- Six more orders make customer 2 a frequent buyer.
INSERT INTO orders (customer_id, product_id, quantity, total, created_at)
SELECT 2, 10 + n % 3, n, 25.50 * n, timestamptz '2026-02-10 08:00+00' + n * interval '3 days 1 hour'
FROM   generate_series(1, 6) n;
SELECT sync() IS NOT NULL AS synced;
SELECT customer_id, order_count_30d, is_frequent_buyer, is_high_value, avg_days_between_orders
FROM   customer_features ORDER BY customer_id;
SELECT * FROM product_features ORDER BY product_id;
SELECT * FROM differences;

-- Updates: of a value, of the keys, of the event time (out of the window).
UPDATE orders SET total = 120.00 WHERE order_id = 1;
UPDATE orders SET customer_id = 3, product_id = 11 WHERE order_id = 5;
UPDATE orders SET created_at = '2026-01-05 10:00+00' WHERE order_id = 6;
SELECT sync() IS NOT NULL AS synced;
SELECT customer_id, order_count_30d, total_spend_30d, avg_order_value_30d, order_value_stddev_30d
FROM   customer_features ORDER BY customer_id;
SELECT * FROM product_features ORDER BY product_id;
SELECT * FROM differences;

-- What is rolled back, wholly or to a savepoint, never shows.
BEGIN;
INSERT INTO orders (customer_id, product_id, quantity, total, created_at)
VALUES (1, 10, 99, 9999.00, '2026-03-01+00');
DELETE FROM orders WHERE customer_id = 2;
ROLLBACK;
BEGIN;
INSERT INTO orders (customer_id, product_id, quantity, total, created_at)
VALUES (4, 10, 1, 10.00, '2026-03-01+00');
SAVEPOINT s;
UPDATE orders SET total = total * 100;
ROLLBACK TO s;
COMMIT;
SELECT sync() IS NOT NULL AS synced;
SELECT customer_id, order_count_30d, total_spend_30d FROM customer_features ORDER BY customer_id;
SELECT * FROM differences;

-- Deletes: an entity goes with its last row.
DELETE FROM orders WHERE customer_id IN (3, 4);
DELETE FROM orders WHERE order_id = 2;
SELECT sync() IS NOT NULL AS synced;
SELECT customer_id, order_count_30d, total_spend_30d, last_order_time FROM customer_features ORDER BY customer_id;
SELECT get_features('customer_features', 3) IS NULL AS gone;
SELECT * FROM differences;

-- Time passes, no row changes: orders leave the windows, recency grows.
SELECT set_clock('2026-03-20 12:00+00');
SELECT customer_id, order_count_30d, total_spend_30d, days_since_last_order, is_frequent_buyer
FROM   customer_features ORDER BY customer_id;
SELECT * FROM product_features ORDER BY product_id;
SELECT * FROM differences;
-- On 8 March the exercise's next window has begun; none of the orders is in it.
SELECT * FROM exercise;
SELECT get_features('exercise', 1) IS NULL AS gone;

-- An order from the future waits until its time comes.
INSERT INTO orders (customer_id, product_id, quantity, total, created_at)
VALUES (1, 10, 7, 70.00, '2026-03-21 00:00+00');
SELECT sync() IS NOT NULL AS synced;
SELECT order_count_30d, total_spend_30d FROM customer_features WHERE customer_id = 1;
SELECT * FROM differences;
SELECT set_clock('2026-03-21 00:00+00');
SELECT order_count_30d, total_spend_30d FROM customer_features WHERE customer_id = 1;
SELECT sales_per_day_7d FROM product_features WHERE product_id = 10;
SELECT * FROM differences;

-- TRUNCATE, with new rows in the same transaction.
BEGIN;
TRUNCATE orders;
INSERT INTO orders (customer_id, product_id, quantity, total, created_at)
VALUES (7, 70, 2, 14.00, '2026-03-20+00');
COMMIT;
SELECT sync() IS NOT NULL AS synced;
SELECT customer_id, order_count_30d, total_spend_30d, order_value_stddev_30d, avg_days_between_orders
FROM   customer_features;
SELECT * FROM product_features;
SELECT * FROM exercise;
SELECT * FROM differences;
TRUNCATE orders;
SELECT sync() IS NOT NULL AS synced;
SELECT count(*) FROM customer_features;
SELECT * FROM differences;

DROP VIEW differences;
SELECT drop_feature_view('customer_features'), drop_feature_view('product_features'), drop_feature_view('exercise');
SELECT set_clock(NULL);
DROP VIEW customer_definition, product_definition;
DROP TABLE orders;
DROP SCHEMA lesson;
