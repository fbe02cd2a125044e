-- The feature view of the README, under the name :view, over table :source.
SELECT create_feature_view(:'view', format($$
    SELECT customer_id,
           count(*)      FILTER (WHERE w30)                        AS order_count_30d,
           sum(total)    FILTER (WHERE w30)                        AS total_spend_30d,
           avg(total)    FILTER (WHERE w30)                        AS avg_order_value_30d,
           stddev(total) FILTER (WHERE w30)                        AS order_value_stddev_30d,
           max(created_at)                                         AS last_order_time,
           last(status, created_at)                                AS last_status,
           extract(day FROM now() - max(created_at))::int          AS days_since_last_order,
           (sum(total) FILTER (WHERE w30) > 1000)::int             AS is_high_value
    FROM   %I, LATERAL (SELECT rolling(created_at, '30 days') AS w30) w
    WHERE  status <> 'cancelled'
    GROUP  BY customer_id
$$, :'source'), redis_key => 'customer:{customer_id}:features', ttl => '60 days');
