-- A user's own test of a feature definition, as it would stand in their CI: fixtures in, clock set,
-- values out. docs/testing.md walks through it.
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS feature_engine;
SET search_path = public, feature_engine;
SET timezone = 'UTC';

SELECT plan(12);

-- the engine's time stands still where the test wants it; from here it can only go forward
SELECT set_clock('2026-03-10 12:00Z');

CREATE TABLE shop_orders (
	id bigserial PRIMARY KEY, customer_id int, total numeric(10,2), status text, created_at timestamptz);
ALTER TABLE shop_orders REPLICA IDENTITY FULL;
SELECT create_feature_view('shop_customers', $$
	SELECT customer_id,
		   count(*)   FILTER (WHERE rolling(created_at, '7 days')) AS orders_7d,
		   sum(total) FILTER (WHERE rolling(created_at, '7 days')) AS spend_7d,
		   last(status, created_at)                                AS last_status,
		   extract(day FROM now() - max(created_at))::int          AS days_since_last
	FROM   shop_orders
	WHERE  status <> 'cancelled'
	GROUP  BY customer_id
$$);
SELECT has_relation('shop_customers');
SELECT columns_are('shop_customers',
	ARRAY['customer_id', 'orders_7d', 'spend_7d', 'last_status', 'days_since_last']);

INSERT INTO shop_orders (customer_id, total, status, created_at) VALUES
	(1, 10.00, 'paid', '2026-03-10 11:00Z'), (1, 20.00, 'shipped', '2026-03-05 00:00Z'),
	(1, 99.00, 'paid', '2026-02-01 00:00Z'), (2, 5.50, 'paid', '2026-03-09 12:00Z');
SELECT ok(sync() IS NOT NULL, 'the view has caught up');

SELECT results_eq('SELECT * FROM shop_customers ORDER BY 1',
	$$VALUES (1, 2::bigint, 30.00, 'paid', 0), (2, 1, 5.50, 'paid', 1)$$, 'features of the fixtures');
SELECT is(get_features('shop_customers', 1) ->> 'spend_7d', '30.00', 'one entity as jsonb');
SELECT is(get_features('shop_customers', 3), NULL, 'no such entity');
SELECT is_empty($$SELECT * FROM check_feature_view('shop_customers')$$, 'streamed = batch');

-- a cancellation is taken back
UPDATE shop_orders SET status = 'cancelled' WHERE total = 10.00;
SELECT ok(sync() IS NOT NULL, 'the change is in');
SELECT is((SELECT spend_7d FROM shop_customers WHERE customer_id = 1), 20.00, 'without the cancelled order');

-- time passes, and the window moves on
SELECT set_clock('2026-03-13 00:00Z');
SELECT is((SELECT orders_7d FROM shop_customers WHERE customer_id = 1), 0::bigint, 'three days later none');
SELECT is((SELECT days_since_last FROM shop_customers WHERE customer_id = 2), 3, 'recency grows');
SELECT is_empty($$SELECT * FROM check_feature_view('shop_customers')$$, 'streamed = batch, later too');

SELECT set_clock(NULL);
SELECT drop_feature_view('shop_customers');
DROP TABLE shop_orders;
SELECT * FROM finish();
