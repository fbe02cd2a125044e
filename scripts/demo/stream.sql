-- pgbench script: one change a transaction. 85 % new orders, 10 % cancellations,
-- 5 % deletions. Customer 0 is left to the screen's freshness probe.
\set customer random(1, :customers)
\set product random(1, 97)
\set cents random(500, 30000)
\set kind random(1, 100)
\if :kind <= 85
INSERT INTO orders (customer_id, product_id, total, status) VALUES (:customer, :product, :cents / 100.0, (ARRAY['new', 'paid', 'shipped'])[1 + :cents % 3]);
\elif :kind <= 95
UPDATE orders SET status = 'cancelled' WHERE id = (SELECT max(id) FROM orders WHERE customer_id = :customer);
\else
DELETE FROM orders WHERE id = (SELECT min(id) FROM orders WHERE customer_id = :customer);
\endif
