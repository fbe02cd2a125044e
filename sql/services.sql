-- Feature services: a name for features of several views, with the same columns in the same order
-- online and offline.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA services;
SET search_path = services, feature_engine;
SET timezone = 'UTC';
SELECT set_clock('2026-03-01 00:00+00');

CREATE TABLE orders (id serial PRIMARY KEY, customer_id int, product_id bigint, total numeric(10,2), at timestamptz);
ALTER TABLE orders REPLICA IDENTITY FULL;
INSERT INTO orders (customer_id, product_id, total, at) VALUES
	(1, 7, 10, '2026-02-01 00:00+00'), (1, 8, 20, '2026-02-02 00:00+00'), (2, 7, 5, '2026-02-28 23:00+00');
SELECT create_feature_view('customer', 'SELECT customer_id, count(*) AS orders, sum(total) AS total, max(at) AS last FROM orders GROUP BY customer_id', online => '{}', offline => true);
SELECT create_feature_view('recent', $$SELECT customer_id, count(*) AS day_orders FROM orders WHERE rolling(at, '1 day') GROUP BY customer_id$$, online => '{}', offline => true);
SELECT create_feature_view('product', 'SELECT product_id, avg(total)::float8 AS price FROM orders GROUP BY product_id', online => '{}', offline => true);
SELECT create_feature_view('pair', 'SELECT product_id, customer_id, count(*) AS bought FROM orders GROUP BY product_id, customer_id', online => '{}', offline => true);
SELECT sync() > '0/0' AS synced;

-- all views have the same key: keys are given as to a view
SELECT create_feature_service('churn_v1', ARRAY['recent:day_orders', 'customer:total', 'customer:orders']);
SELECT name, features, columns, keys, owner = current_user::regrole AS mine, full_feature_names FROM feature_services;
SELECT get_features('churn_v1', 1);
SELECT get_features('churn_v1', '2');
SELECT get_features('churn_v1', 2::bigint);
SELECT get_features('churn_v1', 3) IS NULL AS no_such_customer;
SELECT * FROM get_features('churn_v1', ARRAY[2, 3, 1, 2, NULL]);
SELECT get_features('churn_v1', '{"customer_id": 1}'::jsonb), get_features('customer', '{"customer_id": 1, "more": [1]}'::jsonb);
-- json keeps the order
SELECT get_feature_vector('churn_v1', 1);
SELECT * FROM get_feature_vector('churn_v1', ARRAY[2, 3]);
-- of a view: its features, in its order, without the keys
SELECT get_feature_vector('customer', 1);
SELECT get_features('customer', 1);

-- keys that differ: by name
SELECT create_feature_service('fraud', ARRAY['pair:*', 'product:price', 'customer:*']);
SELECT columns, keys FROM feature_services WHERE name = 'fraud';
SELECT get_features('fraud', '{"customer_id": 1, "product_id": 7}'::jsonb);
SELECT get_feature_vector('fraud', '{"product_id": "7", "customer_id": 2}'::jsonb);
-- what is missing of one view is NULL
SELECT get_feature_vector('fraud', '{"customer_id": 2, "product_id": 8}'::jsonb);
SELECT get_feature_vector('fraud', '{"customer_id": 2, "product_id": null}'::jsonb);
SELECT get_feature_vector('fraud', '{"customer_id": 9, "product_id": 9}'::jsonb) IS NULL AS nothing;
SELECT get_features('fraud', NULL::jsonb) IS NULL AS nothing;
SELECT * FROM get_feature_vector('fraud', ARRAY['{"customer_id": 1, "product_id": 8}', NULL, '{"customer_id": 1, "product_id": 7}']::jsonb[]);
SELECT get_features('fraud', 1);
SELECT get_features('fraud', 1, 7);
SELECT get_features('fraud', '{"customer_id": 1}'::jsonb);
SELECT get_features('fraud', '{"customer_id": "x", "product_id": 1}'::jsonb);
SELECT get_features('fraud', '[1]'::jsonb);
-- several keys in common, in the order of the first view
SELECT create_feature_view('pair2', 'SELECT customer_id, product_id, max(total) AS most FROM orders GROUP BY customer_id, product_id', online => '{}', offline => true);
SELECT sync() > '0/0' AS synced;
SELECT create_feature_service('pairs', ARRAY['pair:bought', 'pair2:most']);
SELECT keys FROM feature_services WHERE name = 'pairs';
SELECT get_features('pairs', 7, 1), get_features('pairs', ROW(8, 1)), get_features('pairs', 1, 7);
SELECT * FROM get_features('pairs', ARRAY[ROW(7, 2), ROW(7, 9)]);
SELECT get_features('pairs', 7);

-- Offline: the same columns in the same order.
SELECT format('SELECT string_agg(attname || '' '' || format_type(atttypid, atttypmod), '', '' ORDER BY attnum) = %L AS same_columns FROM pg_attribute WHERE attrelid = ''set_%s''::regclass AND attnum > (SELECT 3)',
	array_to_string(columns, ', '), name) AS check FROM feature_services WHERE name = 'fraud' \gset
SELECT create_training_set('set_fraud', 'SELECT customer_id, product_id, at AS event_timestamp FROM orders', service => 'fraud');
:check;
SELECT string_agg(k, ' ') AS online, (SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'set_fraud'::regclass AND attnum > 3) AS offline
FROM json_object_keys(get_feature_vector('fraud', '{"customer_id": 1, "product_id": 7}'::jsonb)) k;
-- ... and the same values: what is recorded is what is served.
SELECT sync(history => true) > '0/0' AS synced;
SELECT create_training_set('set_now', 'SELECT customer_id, product_id, feature_engine.now() AS event_timestamp FROM orders', service => 'fraud');
SELECT s.*, to_jsonb(s) - '{customer_id,product_id,event_timestamp}'::text[] = get_features('fraud', to_jsonb(s)) AS same FROM set_now s ORDER BY customer_id, product_id;
SELECT count(*) FROM get_historical_features('SELECT 1 AS customer_id, now() AS event_timestamp', service => 'churn_v1') AS f(customer_id int);

-- full_feature_names, where names clash
SELECT create_feature_view('product2', 'SELECT product_id, avg(total)::float8 AS price, count(*) AS orders FROM orders GROUP BY product_id', online => '{}');
SELECT create_feature_service('clash', ARRAY['product:*', 'product2:*']);
SELECT create_feature_service('clash', ARRAY['product:*', 'product2:*'], full_feature_names => true);
SELECT columns FROM feature_services WHERE name = 'clash';
SELECT sync() > '0/0' AS synced;
SELECT get_feature_vector('clash', 7);

-- replace; names; rights
SELECT create_feature_service('churn_v1', ARRAY['customer:orders']);
SELECT create_feature_service('Churn_V1', ARRAY['customer:orders'], replace => true);
SELECT features, columns FROM feature_services WHERE name = 'churn_v1';
SELECT get_features('CHURN_v1', 1), get_features('"churn_v1"', 1);
SELECT create_feature_service('"Odd ""name"""', ARRAY['services.customer:orders', 'PRODUCT:price']);
SELECT name, features FROM feature_services WHERE name LIKE 'Odd%';
SELECT get_feature_vector('"Odd ""name"""', '{"customer_id": 1, "product_id": 7}'::jsonb);
SELECT drop_feature_service('"Odd ""name"""');
SELECT create_feature_service(NULL, ARRAY['customer:orders']);
SELECT create_feature_service('a.b', ARRAY['customer:orders']);
SELECT create_feature_service('x', NULL);
SELECT create_feature_service('x', '{}');
SELECT create_feature_service('x', ARRAY['customer:orders', NULL]);
SELECT create_feature_service('x', ARRAY['custmer:orders']);
SELECT create_feature_service('x', ARRAY['customer:order']);
SELECT create_feature_service('customer', ARRAY['customer:orders']);
SELECT create_feature_view('churn_v1', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id');
SELECT drop_feature_service('churn_v2');
SELECT drop_feature_service('churn_v2', if_exists => true);
SELECT get_features('churn_v2', 1);
SELECT historical_features_sql('SELECT 1', service => 'churn_v2');
CREATE ROLE services_reader;
GRANT USAGE ON SCHEMA services TO services_reader;
GRANT CREATE ON SCHEMA services TO services_reader;
SET ROLE services_reader;
SELECT get_features('churn_v1', 1);
SELECT create_feature_service('theirs', ARRAY['customer:orders']);
SELECT create_feature_service('churn_v1', ARRAY['customer:orders'], replace => true);
SELECT drop_feature_service('churn_v1');
INSERT INTO feature_engine.feature_service VALUES ('mine', '{customer:orders}', false, 'services_reader');
SELECT name, columns FROM feature_services WHERE name = 'churn_v1';
RESET ROLE;
GRANT SELECT ON customer TO services_reader;
SET ROLE services_reader;
SELECT get_features('churn_v1', 1);
SELECT create_feature_service('theirs', ARRAY['customer:orders']);
SELECT create_feature_service('theirs', ARRAY['customer:total'], replace => true);
RESET ROLE;
-- the owner of a view is not at the mercy of who uses it
GRANT SELECT ON orders TO services_reader;
SELECT drop_feature_service('theirs');

-- A view that a service uses is not dropped before it; with CASCADE both go.
SELECT drop_feature_view('product');
DROP FOREIGN TABLE product;
BEGIN;
DROP FOREIGN TABLE product CASCADE;
SELECT name FROM feature_services ORDER BY name;
ROLLBACK;
BEGIN;
DROP TABLE orders CASCADE;
SELECT name FROM feature_services ORDER BY name;
ROLLBACK;
SELECT name FROM feature_services ORDER BY name;
SELECT drop_feature_service('fraud'), drop_feature_service('clash'), drop_feature_view('product');
-- a replacement keeps its features; view:* has its new ones, too
SELECT create_feature_service('all', ARRAY['product2:*']);
SELECT create_feature_view('product2', 'SELECT product_id, avg(total)::float8 AS price FROM orders GROUP BY product_id', online => '{}', replace => true);
SELECT create_feature_view('product2', 'SELECT product_id, avg(total)::float8 AS price, count(*) AS orders, max(total) AS most FROM orders GROUP BY product_id', online => '{}', replace => true);
SELECT sync() > '0/0' AS synced;
SELECT columns FROM feature_services WHERE name = 'all';
-- where they bring a name a second time, the service says so when it is used
SELECT create_feature_service('both', ARRAY['customer:total', 'product2:price', 'recent:*']);
SELECT create_feature_view('recent', $$SELECT customer_id, count(*) AS day_orders, sum(total) AS total FROM orders WHERE rolling(at, '1 day') GROUP BY customer_id$$, online => '{}', offline => true, replace => true);
SELECT sync() > '0/0' AS synced;
SELECT features, columns, keys FROM feature_services WHERE name = 'both';
SELECT get_features('both', '{"customer_id": 1, "product_id": 7}'::jsonb);
SELECT historical_features_sql('SELECT * FROM orders', service => 'both');

-- One T for all views of a call.
SELECT create_feature_service('t', ARRAY['recent:day_orders', 'customer:last']);
SET feature_engine.as_of = '2026-02-28 23:59:59+00';
SELECT get_feature_vector('t', 2);
RESET feature_engine.as_of;
SELECT set_clock('2026-03-02 00:00+00');
SELECT get_feature_vector('t', 2);
SELECT set_clock(NULL);

-- The owner is kept by name: what becomes of the role does not concern the service, but who has the name.
CREATE ROLE services_owner;
GRANT USAGE ON SCHEMA services TO services_owner;
GRANT SELECT ON customer TO services_owner;
SET ROLE services_owner;
SELECT create_feature_service('his', ARRAY['customer:last']);
RESET ROLE;
ALTER ROLE services_owner RENAME TO services_renamed;
SELECT owner FROM feature_services WHERE name = 'his';
SET ROLE services_renamed;
SELECT drop_feature_service('his');
RESET ROLE;
ALTER ROLE services_renamed RENAME TO services_owner;
REASSIGN OWNED BY services_owner TO services_reader;
SELECT owner FROM feature_services WHERE name = 'his';
DROP OWNED BY services_owner;
SELECT owner FROM feature_services WHERE name = 'his';
DROP ROLE services_owner;
SELECT owner FROM feature_services WHERE name = 'his';
SELECT drop_feature_service('his');

SET client_min_messages = warning;
SELECT count(drop_feature_service(quote_ident(name))) FROM feature_services;
SELECT count(drop_feature_view(quote_ident(name), history => true)) FROM feature_views WHERE relation::text NOT LIKE '%.%';
DROP SCHEMA services CASCADE;
DROP ROLE services_reader;
