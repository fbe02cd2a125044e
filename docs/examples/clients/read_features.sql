-- psql -v customer=1 -f read_features.sql
SELECT order_count_30d, total_spend_30d, last_order_time    -- the view is a relation
FROM   customer_features WHERE customer_id = :customer;

SELECT feature_engine.get_features('customer_features', :customer);    -- or as jsonb

SELECT key, features->>'order_count_30d' AS order_count_30d            -- many, in input order
FROM   feature_engine.get_features('customer_features', ARRAY[2, 99, 1]);
