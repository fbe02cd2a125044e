-- A table of orders, and what a model wants to know of each customer.
CREATE TABLE orders (
    id bigserial PRIMARY KEY, customer_id int, total numeric(10,2), discount float8,
    status text, created_at timestamptz);
ALTER TABLE orders REPLICA IDENTITY FULL;

SELECT feature_engine.create_feature_view('customer_features', $$
    SELECT customer_id,
           count(*)      FILTER (WHERE w30) AS order_count_30d,
           sum(total)    FILTER (WHERE w30) AS total_spend_30d,
           stddev(total) FILTER (WHERE w30) AS order_value_stddev_30d,
           avg(discount)                    AS mean_discount,
           bool_or(status = 'returned')     AS has_returned,
           max(created_at)                  AS last_order_time,
           feature_engine.last(status, created_at) AS last_status
    FROM   orders, LATERAL (SELECT feature_engine.rolling(created_at, '30 days') AS w30) w
    GROUP  BY customer_id
$$, redis_key => 'customer:{customer_id}:features', ttl => '60 days');
