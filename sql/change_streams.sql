-- The examples of docs/change-streams.md, and what before_at is.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA change_streams;
SET search_path = change_streams, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;

CREATE TABLE orders (
    id bigserial PRIMARY KEY, customer_id int, product_id int, total numeric(10,2),
    status text, created_at timestamptz DEFAULT now());
ALTER TABLE orders REPLICA IDENTITY FULL;
CREATE TABLE products (id int PRIMARY KEY, name text, price numeric(10,2));
ALTER TABLE products REPLICA IDENTITY FULL;

-- The clock of the engine; that of commits runs.
SELECT set_clock('2026-02-01 00:00+00');
INSERT INTO orders (customer_id, total, status, created_at) VALUES
    (1, 100, 'pending', '2026-01-10'), (1, 50, 'paid', '2025-11-01'), (2, 30, 'pending', '2026-01-20');
INSERT INTO products VALUES (1, 'cup', 10), (2, 'pot', 20);

SELECT create_feature_view('customer_events', $$
    SELECT (after).customer_id,
           count(*)           FILTER (WHERE rolling((after).created_at, '30 days')) AS events_30d,
           sum((after).total) FILTER (WHERE rolling((after).created_at, '30 days')) AS amount_30d,
           max((after).created_at)                                                  AS last_event
    FROM changes(NULL::orders) WHERE op IN ('c', 'u', 'r')
    GROUP BY (after).customer_id
$$);
SELECT create_feature_view('price_changes', $$
    SELECT (after).id AS product_id,
           count(*) FILTER (WHERE rolling(committed_at, '30 days'))                    AS changes_30d,
           count(*) FILTER (WHERE rolling(committed_at, '30 days') AND (after).price > (before).price) AS rises_30d,
           max((after).price / (before).price - 1)                                     AS greatest_rise,
           last((before).price, committed_at)                                          AS previous_price,
           avg(extract(epoch FROM committed_at - before_at) / 3600)                    AS hours_between
    FROM changes(NULL::products)
    WHERE op = 'u' AND (before).price IS DISTINCT FROM (after).price
    GROUP BY (after).id
$$, snapshot => false);
SELECT create_feature_view('shipping_times', $$
    SELECT (after).customer_id,
           avg(extract(epoch FROM committed_at - before_at)) AS seconds_to_ship,
           last(extract(epoch FROM committed_at - before_at), committed_at) AS last_seconds_to_ship,
           count(*) AS shipped
    FROM changes(NULL::orders)
    WHERE op = 'u' AND (before).status = 'pending' AND (after).status = 'shipped'
    GROUP BY (after).customer_id
$$, snapshot => false);
SELECT sync() IS NOT NULL AS synced;

SELECT * FROM customer_events ORDER BY customer_id;
UPDATE orders SET status = 'paid' WHERE id = 1;
UPDATE orders SET status = 'delivered' WHERE id = 1;
INSERT INTO orders (customer_id, total, status, created_at) VALUES (2, 5, 'new', '2026-01-31');
DELETE FROM orders WHERE id = 3;
SELECT sync() IS NOT NULL AS synced;
-- An order counts with every change; the one that was deleted, too.
SELECT * FROM customer_events ORDER BY customer_id;
SELECT set_clock(NULL);

-- Prices
UPDATE products SET price = 12 WHERE id = 1;
UPDATE products SET name = 'mug' WHERE id = 1;          -- no change of the price, and yet one of the row
UPDATE products SET price = 9 WHERE id = 1;
UPDATE products SET price = 20 WHERE id = 2;            -- the same
UPDATE products SET price = 21 WHERE id = 2;
SELECT sync() IS NOT NULL AS synced;
SELECT product_id, changes_30d, rises_30d, round(greatest_rise, 3) AS greatest_rise, previous_price,
       hours_between BETWEEN 0 AND 1 AS between
FROM price_changes ORDER BY product_id;

-- Status: only the time since the row's last change is measured, and only where that is known.
INSERT INTO orders (id, customer_id, status) VALUES (10, 7, 'pending'), (11, 7, 'pending'), (12, 8, 'new');
SELECT pg_sleep(0.3);
UPDATE orders SET status = 'shipped' WHERE id = 10;
SELECT pg_sleep(0.3);
UPDATE orders SET status = 'shipped' WHERE id = 11;
UPDATE orders SET status = 'pending' WHERE id = 12;
BEGIN;
UPDATE orders SET status = 'shipped' WHERE id = 12;
UPDATE orders SET id = 13 WHERE id = 12;
COMMIT;
SELECT sync() IS NOT NULL AS synced;
SELECT customer_id, shipped, seconds_to_ship BETWEEN 0.4 AND 3000 AS average, last_seconds_to_ship BETWEEN 0.6 AND 3000 AS last
FROM shipping_times WHERE customer_id = 7;
SELECT customer_id, shipped, seconds_to_ship = last_seconds_to_ship AS same FROM shipping_times WHERE customer_id = 8;
-- Its key changed: it is the same row. One that is deleted and inserted again is another.
SELECT create_feature_view('row_times', $$
    SELECT (coalesce(after, before)).id, count(*) AS n, count(before_at) AS timed, count(*) FILTER (WHERE before_at = committed_at) AS same
    FROM changes(NULL::orders) WHERE op <> 'r' GROUP BY 1 $$);
SELECT sync() IS NOT NULL AS synced;
UPDATE orders SET status = 'x' WHERE id IN (10, 13);    -- changed before the view began: not known
UPDATE orders SET id = 14 WHERE id = 13;
UPDATE orders SET status = 'y' WHERE id IN (10, 14);
DELETE FROM orders WHERE id = 10;
INSERT INTO orders (id) VALUES (10);
BEGIN;
INSERT INTO orders (id) VALUES (15);
UPDATE orders SET status = 'z' WHERE id = 15;
DELETE FROM orders WHERE id = 15;
COMMIT;
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM row_times ORDER BY id;

-- before_at needs a primary key, then and now.
CREATE TABLE keyless (id int, note int);
ALTER TABLE keyless REPLICA IDENTITY FULL;
SELECT create_feature_view('keyless_times', 'SELECT (after).id, max(before_at) AS b FROM changes(NULL::keyless) GROUP BY 1');
ALTER TABLE keyless ADD PRIMARY KEY (id);
SELECT create_feature_view('keyless_times', 'SELECT (after).note, count(*) AS n, count(before_at) AS b FROM changes(NULL::keyless) GROUP BY 1');
SELECT sync() IS NOT NULL AS synced;
INSERT INTO keyless VALUES (1, 1);
UPDATE keyless SET note = 2;
SELECT sync(view => 'keyless_times') IS NOT NULL AS synced;
SELECT * FROM keyless_times ORDER BY note;
ALTER TABLE keyless DROP CONSTRAINT keyless_pkey;
UPDATE keyless SET note = 3;
\set VERBOSITY terse
SELECT sync(view => 'keyless_times');
\set VERBOSITY default
ALTER TABLE keyless ADD PRIMARY KEY (id);
SELECT refresh_feature_view('keyless_times');
SELECT sync(view => 'keyless_times') IS NOT NULL AS synced;
SELECT * FROM keyless_times ORDER BY note;

SET client_min_messages = warning;
DROP SCHEMA change_streams CASCADE;
