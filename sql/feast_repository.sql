-- feast_repository(): the files of a Feast repository
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA feast_repository_test;
SET search_path = feast_repository_test, public, feature_engine;
\pset format unaligned
\pset tuples_only on

CREATE TABLE orders (customer_id bigint, merchant varchar(40), total float8, status text, created_at timestamptz, day date);
ALTER TABLE orders REPLICA IDENTITY FULL;
CREATE TYPE mood AS ENUM ('calm', 'angry');
CREATE TABLE people (customer_id bigint PRIMARY KEY, mood mood, tags varchar(10)[], born date, seen timestamp, days date[]);

SELECT feast_repository();
SELECT feast_repository('shop');

SELECT create_feature_view('customer_orders', $$
	SELECT customer_id, count(*) AS orders, sum(total) AS spent, last(status, created_at) AS status
	FROM orders GROUP BY customer_id $$, redis_layout => 'feast', feast_project => 'shop', ttl => '36 hours', offline => true);
SELECT create_feature_view('merchants', $$
	SELECT merchant, customer_id, count(*) AS orders, sum(total::numeric) AS exact
	FROM orders GROUP BY merchant, customer_id $$, redis_layout => 'feast', feast_project => 'shop', online => '{orders}');
SELECT create_feature_view('people_now', 'SELECT * FROM people', redis_layout => 'feast', feast_project => 'shop',
	append_only => true);
SELECT create_feature_service('churn', ARRAY['people_now:mood', 'customer_orders:*', 'people_now:born']);
SELECT create_feature_service('exact', ARRAY['merchants:*']);

SELECT content FROM feast_repository() WHERE path = 'feature_store.yaml';
SELECT content FROM feast_repository() WHERE path = 'features.py';

-- what is given stands there, as it is; $ is for variables in it, and in names of the catalogue it is not
SELECT content FROM feast_repository('shop', redis => 'cache:6379,ssl=true,password=${REDIS_PASSWORD}', host => 'db "1"',
	port => 6543, username => E'a\\b', sslmode => 'verify-full') WHERE path = 'feature_store.yaml';

-- Parquet
SELECT feast_repository('shop', 'parquet');
SELECT feast_repository('shop', parquet_path => '/data');
SELECT feast_repository('shop', 'csv');
SELECT feast_repository('shop', 'parquet', '/data');
SELECT alter_feature_view('merchants', redis_layout => 'hash');
SELECT alter_feature_view('people_now', redis_layout => 'hash');
SELECT content FROM feast_repository('shop', 'parquet', 's3://bucket/features/') WHERE path = 'features.py';

-- several projects
SELECT alter_feature_view('merchants', redis_layout => 'feast', feast_project => 'other');
SELECT feast_repository();
SELECT path FROM feast_repository('other');

-- features for training only: those that Feast has types for
SELECT alter_feature_view('merchants', online => '{}');
SELECT feast_repository('other');

-- names
SELECT alter_feature_view('merchants', online => '{orders}');
SELECT create_feature_view('"Merchants"', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id',
	redis_layout => 'feast', feast_project => 'other');
SELECT feast_repository('other');
SELECT drop_feature_view('"Merchants"');
SELECT drop_feature_service('exact');
SELECT drop_feature_view('merchants');
SELECT create_feature_view('quotes', 'SELECT customer_id, count(*) AS "a""b" FROM orders GROUP BY customer_id',
	redis_layout => 'feast', feast_project => 'names');
SELECT feast_repository('names');
SELECT drop_feature_view('quotes');
SELECT create_feature_view('reserved', 'SELECT customer_id, max(created_at) AS created FROM orders GROUP BY customer_id',
	redis_layout => 'feast', feast_project => 'names');
SELECT feast_repository('names');
SELECT drop_feature_view('reserved');
SELECT create_feature_view('"it''s $HOME \ (1)"', E'SELECT customer_id, count(*) AS "n\n", min(total) AS "import" FROM orders GROUP BY customer_id',
	redis_layout => 'feast', feast_project => 'names');
SELECT create_feature_view('"it''s $HOME \ [1]"', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id',
	redis_layout => 'feast', feast_project => 'names');
SELECT content FROM feast_repository('names') WHERE path = 'features.py';

SELECT drop_feature_service(name) FROM feature_services;
SELECT drop_feature_view(quote_ident(name)) FROM feature_views;
SELECT sync() IS NOT NULL;
SET client_min_messages = warning;
DROP SCHEMA feast_repository_test CASCADE;
