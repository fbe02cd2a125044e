-- Behavioural features: the worked example of docs/behavioural-features.md, with values worked out by hand.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA behavioural;
SET search_path = behavioural, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;
SET intervalstyle = postgres;
SELECT set_clock('2026-03-31 12:00+00');

CREATE TABLE orders (
    order_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id int,
    product_id  int,
    total       numeric(10,2),
    created_at  timestamptz
);
ALTER TABLE orders REPLICA IDENTITY FULL;
INSERT INTO orders (customer_id, product_id, total, created_at) VALUES
    (1, 1,  50.00, '2026-01-10 12:00+00'),
    (1, 1, 100.00, '2026-03-06 12:00+00'),
    (1, 2,  80.00, '2026-03-20 12:00+00'),
    (1, 1,  60.00, '2026-03-26 23:30+00'),
    (1, 3,  40.00, '2026-03-30 23:30+00'),
    (2, 1,  20.00, '2026-03-31 00:30+00'),
    (3, 2,  70.00, '2026-02-01 09:00+00'),
    (3, 2,  30.00, '2026-02-11 21:00+00');

SELECT create_feature_view('customer_behaviour', $$
    SELECT b.*,
           round(orders_90d / 3.0, 2)                               AS orders_per_month,
           round(spend_7d / 7, 2)                                   AS spend_per_day_7d,
           spend_7d - spend_previous_7d                             AS spend_change_7d,
           round(spend_7d / nullif(spend_30d, 0) * 4, 2)            AS spend_acceleration
    FROM  (SELECT customer_id,
                  max(created_at)                                   AS last_order,
                  extract(day FROM now() - max(created_at))::int    AS days_since_last_order,
                  (now() AT TIME ZONE 'UTC')::date
                      - (max(created_at) AT TIME ZONE 'UTC')::date  AS calendar_days_since_last_order,
                  count(*) FILTER (WHERE w7)                        AS orders_7d,
                  count(*) FILTER (WHERE w30)                       AS orders_30d,
                  count(*) FILTER (WHERE w90)                       AS orders_90d,
                  coalesce(sum(total) FILTER (WHERE w7), 0)         AS spend_7d,
                  coalesce(sum(total) FILTER (WHERE previous_7), 0) AS spend_previous_7d,
                  coalesce(sum(total) FILTER (WHERE w30), 0)        AS spend_30d,
                  count(DISTINCT product_id)                        AS unique_products,
                  count(DISTINCT product_id) FILTER (WHERE w30)     AS unique_products_30d,
                  round(extract(epoch FROM max(created_at) - min(created_at))
                        / 86400 / nullif(count(*) - 1, 0), 4)       AS avg_days_between_orders
           FROM   orders, LATERAL (SELECT rolling(created_at, '7 days')                     AS w7,
                                          rolling(created_at, '7 days', before => '7 days') AS previous_7,
                                          rolling(created_at, '30 days')                    AS w30,
                                          rolling(created_at, '90 days')                    AS w90) w
           GROUP  BY customer_id) b
$$, redis_key => 'behaviour:{customer_id}');
SELECT sync(redis => true) IS NOT NULL AS synced;

-- Recency. Customer 1 bought 12 and a half hours ago: 0 days, but yesterday: 1 calendar day.
-- Customer 3: 2026-02-11 21:00 is 47 days and 15 hours ago, 48 calendar days.
SELECT customer_id, last_order, days_since_last_order, calendar_days_since_last_order FROM customer_behaviour ORDER BY 1;
-- Frequency. Customer 1: all 5 are younger than 90 days: 5 / 3 = 1.67 a month.
SELECT customer_id, orders_7d, orders_30d, orders_90d, orders_per_month FROM customer_behaviour ORDER BY 1;
-- Velocity and acceleration. Customer 1: 60 + 40 in 7 days, 80 in the 7 before, 100 + 80 + 60 + 40 = 280 in 30:
-- 100 / 7 = 14.29 a day; 100 - 80 = 20 more than the week before; 100 / 280 * 4 = 1.43: faster than the month's mean.
-- Customer 2: all of it in these 7 days: 4. Customer 3: nothing in 30 days: not defined.
SELECT customer_id, spend_7d, spend_previous_7d, spend_30d, spend_per_day_7d, spend_change_7d, spend_acceleration
FROM   customer_behaviour ORDER BY 1;
-- Variety. Customer 1: products 1, 2, 3; all of them in 30 days.
SELECT customer_id, unique_products, unique_products_30d FROM customer_behaviour ORDER BY 1;
-- Rhythm. Customer 1: from 2026-01-10 12:00 to 2026-03-30 23:30 are 79 days, 11 hours and 30 minutes, in 4 gaps:
-- 79.4792 / 4 = 19.8698. Customer 2: one order, no gap. Customer 3: 10 days and 12 hours: 10.5.
SELECT customer_id, avg_days_between_orders FROM customer_behaviour ORDER BY 1;
SELECT * FROM check_feature_view('customer_behaviour');
\! redis-cli -s "$FE_REDIS_SOCK" --raw HMGET behaviour:1 days_since_last_order calendar_days_since_last_order orders_per_month spend_acceleration unique_products avg_days_between_orders

-- Midnight: a calendar day more, though not 24 hours have passed since customer 2's order.
SELECT set_clock('2026-04-01 00:00+00');
SELECT customer_id, days_since_last_order, calendar_days_since_last_order, spend_7d, spend_acceleration
FROM   customer_behaviour ORDER BY 1;
-- Three days later: customer 1's order of 26 March is older than 7 days, that of 20 March older than 14.
SELECT set_clock('2026-04-04 12:00+00');
SELECT customer_id, days_since_last_order, calendar_days_since_last_order, orders_7d, spend_7d, spend_previous_7d, spend_30d,
       spend_change_7d, spend_acceleration FROM customer_behaviour ORDER BY 1;
-- An order is cancelled, one is corrected.
DELETE FROM orders WHERE customer_id = 1 AND product_id = 3;
UPDATE orders SET total = 25.00, product_id = 4 WHERE customer_id = 2;
SELECT sync() IS NOT NULL AS synced;
SELECT customer_id, last_order, spend_7d, spend_30d, spend_acceleration, unique_products, avg_days_between_orders
FROM   customer_behaviour ORDER BY 1;
SELECT * FROM check_feature_view('customer_behaviour');

-- What one may write first, and what the hint says.
SELECT create_feature_view('refused', 'SELECT customer_id, now()::date - max(created_at)::date AS days FROM orders GROUP BY 1');
SELECT create_feature_view('refused', 'SELECT customer_id, CURRENT_DATE - max(created_at)::date AS days FROM orders GROUP BY 1');
SELECT create_feature_view('refused', 'SELECT customer_id, extract(day FROM age(max(created_at))) AS days FROM orders GROUP BY 1');
SELECT create_feature_view('refused', 'SELECT customer_id, date_trunc(''month'', max(created_at)) AS m FROM orders GROUP BY 1');
SELECT create_feature_view('refused', 'SELECT customer_id, max(created_at) > now() - interval ''7 days'' AS active FROM orders GROUP BY 1');
SELECT create_feature_view('refused', 'SELECT customer_id, sum(total) FILTER (WHERE created_at > now() - interval ''7 days'') AS s FROM orders GROUP BY 1');
SELECT create_feature_view('refused', 'SELECT customer_id, avg(created_at - lag(created_at) OVER (PARTITION BY customer_id ORDER BY created_at)) AS gap FROM orders GROUP BY 1');
SELECT create_feature_view('refused', 'SELECT customer_id, count(*) FILTER (WHERE rolling(created_at, ''1 month'')) AS n FROM orders GROUP BY 1');
SELECT create_feature_view('refused', 'SELECT customer_id, sum(total) FILTER (WHERE created_at::date = CURRENT_DATE) AS today FROM orders GROUP BY 1');
SELECT create_feature_view('refused', 'SELECT customer_id, count(*) / nullif(extract(month FROM age(max(created_at), min(created_at))), 0) AS m FROM orders GROUP BY 1');

SELECT create_feature_view('refused', 'SELECT customer_id, max(age(created_at, timestamptz ''2020-01-01Z'')) AS m FROM orders GROUP BY 1');
-- What the hints lead to.
SELECT create_feature_view('hinted', 'SELECT customer_id, now() - max(created_at) < interval ''7 days'' AS active,
    extract(month FROM age(max(created_at) AT TIME ZONE ''UTC'', min(created_at) AT TIME ZONE ''UTC'')) AS months,
    date_trunc(''month'', max(created_at) AT TIME ZONE ''UTC'') AS month,
    coalesce(sum(total) FILTER (WHERE tumbling(created_at, ''1 day'')), 0) AS today FROM orders GROUP BY 1');
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM hinted ORDER BY 1;
SELECT * FROM check_feature_view('hinted');
SELECT drop_feature_view('customer_behaviour'), drop_feature_view('hinted');
SELECT set_clock(NULL);
SET client_min_messages = warning;
DROP SCHEMA behavioural CASCADE;
