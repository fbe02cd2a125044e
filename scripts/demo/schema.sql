-- The demo's source table with two months of orders, and one feature view over it.
-- (The view is the README's first example.)
\set ON_ERROR_STOP on

CREATE TABLE orders (
    id          bigserial PRIMARY KEY,
    customer_id int,
    product_id  int,
    total       numeric(10,2),
    status      text,
    created_at  timestamptz DEFAULT now()
);
CREATE INDEX ON orders (customer_id, id);
ALTER TABLE orders REPLICA IDENTITY FULL;

-- Rows from before the view: the engine reads them when the view is made.
INSERT INTO orders (customer_id, product_id, total, status, created_at)
SELECT 1 + n % :customers, 1 + n % 97, round((5 + random() * 300)::numeric, 2),
       (ARRAY['new', 'paid', 'shipped', 'cancelled'])[1 + n % 4],
       now() - random() * interval '60 days'
FROM   generate_series(1, 20 * :customers) n;

CREATE EXTENSION feature_engine;
ALTER DATABASE demo SET search_path = public, feature_engine;
SET search_path = public, feature_engine;

SELECT create_feature_view('customer_features', $$
    SELECT customer_id,
           count(*)      FILTER (WHERE w30)                        AS order_count_30d,
           sum(total)    FILTER (WHERE w30)                        AS total_spend_30d,
           avg(total)    FILTER (WHERE w30)                        AS avg_order_value_30d,
           stddev(total) FILTER (WHERE w30)                        AS order_value_stddev_30d,
           max(created_at)                                         AS last_order_time,
           last(status, created_at)                                AS last_status,
           extract(day FROM now() - max(created_at))::int          AS days_since_last_order,
           (sum(total) FILTER (WHERE w30) > 1000)::int             AS is_high_value
    FROM   orders, LATERAL (SELECT rolling(created_at, '30 days') AS w30) w
    WHERE  status <> 'cancelled'
    GROUP  BY customer_id
$$, redis_key => 'customer:{customer_id}:features', ttl => '60 days');

SELECT sync(redis => true);
