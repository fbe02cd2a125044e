-- Enrichment: the rows of one table are aggregated, each together with the rows of
-- other tables that have its keys. A change of such a row corrects what it touched.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA enrichment;
SET search_path = enrichment, public, feature_engine;
SET timezone = 'UTC';
CREATE TABLE products (id bigint PRIMARY KEY, sku text UNIQUE, category text, price numeric(8,2));
CREATE TABLE customers (id int PRIMARY KEY, region text, segment text);
CREATE TABLE orders (id serial PRIMARY KEY, customer_id int, product_id int, sku text, qty int, created_at timestamptz);
ALTER TABLE products REPLICA IDENTITY FULL;
ALTER TABLE customers REPLICA IDENTITY FULL;
ALTER TABLE orders REPLICA IDENTITY FULL;
INSERT INTO products VALUES (1, 'a-1', 'toys', 10), (2, 'b-2', 'books', 20), (3, 'c-3', NULL, 30), (4, NULL, 'toys', NULL);
INSERT INTO customers VALUES (1, 'north', 'new'), (2, 'south', 'loyal');
SELECT set_clock('2026-03-01 12:00Z');
INSERT INTO orders (customer_id, product_id, sku, qty, created_at) VALUES
    (1, 1, 'a-1', 1, '2026-02-28Z'), (1, 2, 'b-2', 2, '2026-02-27Z'), (1, 1, 'a-1', 3, '2026-01-01Z'),
    (2, 3, 'c-3', 1, '2026-02-20Z'), (2, 9, 'none', 5, '2026-02-21Z'), (2, NULL, NULL, 7, '2026-02-22Z');

SELECT create_feature_view('spend', $$
    SELECT o.customer_id, sum(o.qty * p.price) FILTER (WHERE rolling(o.created_at, '30 days')) AS spend,
           count(*) FILTER (WHERE p.category = 'toys') AS toys
    FROM orders o JOIN products p ON p.id = o.product_id GROUP BY o.customer_id $$);
-- LEFT JOIN: a row without a partner is there, with NULLs; both keys of products, USING, a dimension in GROUP BY
SELECT create_feature_view('by_region', $$
    SELECT c.region, count(*) AS n, count(p.id) AS found, sum(coalesce(p.price, 0) * o.qty) AS spend
    FROM orders o LEFT JOIN products p USING (sku) LEFT JOIN customers c ON o.customer_id = c.id
    GROUP BY c.region $$);
-- joined by WHERE; the windows of WHERE are what bounds what is kept of orders
SELECT create_feature_view('recent', $$
    SELECT o.customer_id, count(*) AS n, max(p.price) AS dearest
    FROM orders o, products p WHERE p.id = o.product_id AND rolling(o.created_at, '30 days') AND p.category IS NOT NULL
    GROUP BY o.customer_id $$);
CREATE FUNCTION show_all(OUT v text, OUT key text, OUT f jsonb) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT 'spend', customer_id::text, to_jsonb(s) - 'customer_id' FROM spend s
    UNION ALL SELECT 'by_region', region, to_jsonb(s) - 'region' FROM by_region s
    UNION ALL SELECT 'recent', customer_id::text, to_jsonb(s) - 'customer_id' FROM recent s ORDER BY 1, 2 $$;
CREATE FUNCTION differences(OUT v text, OUT key text, OUT feature text, OUT streamed text, OUT batch text)
    RETURNS SETOF record LANGUAGE sql AS $$
    SELECT n, (check_feature_view(n)).* FROM unnest(ARRAY['spend', 'by_region', 'recent']) n $$;
SELECT sync() IS NOT NULL;
SELECT * FROM show_all();
SELECT * FROM differences();

-- a price and a category change, a product goes, one comes, one gets another key
UPDATE products SET price = 12.5, category = 'games' WHERE id = 1;
SELECT * FROM differences();
DELETE FROM products WHERE id = 3;
INSERT INTO products VALUES (9, 'none', 'toys', 1);
SELECT * FROM differences();
UPDATE products SET id = 3, sku = 'c-3' WHERE id = 9;
SELECT * FROM differences();
SELECT * FROM show_all();

-- facts and dimensions in one transaction, in any order
BEGIN;
INSERT INTO orders (customer_id, product_id, sku, qty, created_at) VALUES (3, 7, 'new', 1, '2026-02-28Z');
UPDATE orders SET product_id = 2, sku = 'b-2' WHERE customer_id = 2;
INSERT INTO products VALUES (7, 'new', 'toys', 5);
UPDATE products SET price = price + 1;
DELETE FROM orders WHERE customer_id = 1 AND qty = 1;
UPDATE customers SET region = 'west' WHERE id = 2;
COMMIT;
SELECT * FROM differences();
-- and undone
BEGIN;
UPDATE products SET price = 0;
SAVEPOINT s;
DELETE FROM customers;
ROLLBACK TO s;
INSERT INTO orders (customer_id, product_id, sku, qty, created_at) VALUES (3, 7, 'new', 1, '2026-02-28Z');
ROLLBACK;
SELECT * FROM differences();

-- emptied and filled again: only what is different afterwards is corrected
BEGIN;
CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM products;
TRUNCATE products;
INSERT INTO products SELECT id, sku, category, CASE id WHEN 2 THEN 99 ELSE price END FROM kept;
COMMIT;
SELECT * FROM differences();
TRUNCATE customers;
SELECT * FROM differences();
INSERT INTO customers VALUES (1, 'east'), (2, 'east');
SELECT * FROM differences();
SELECT * FROM show_all();
TRUNCATE orders;
SELECT * FROM differences();
SELECT count(*) FROM show_all();
INSERT INTO orders (customer_id, product_id, sku, qty, created_at) VALUES
    (1, 1, 'a-1', 1, '2026-02-28Z'), (1, 1, 'a-1', 1, '2026-02-28Z'), (2, 2, 'b-2', 2, '2026-02-27Z');
UPDATE products SET category = 'x' WHERE id = 1;
SELECT * FROM differences();

-- time passes: rows that left the window of WHERE are not kept, and not missed
SELECT set_clock('2026-05-01Z');
UPDATE products SET price = 1;
SELECT * FROM differences();
SELECT * FROM show_all();
INSERT INTO orders (customer_id, product_id, sku, qty, created_at) VALUES
    (1, 1, 'a-1', 4, '2026-04-28Z'), (2, 2, 'b-2', 5, '2026-04-27Z'), (2, 3, 'c-3', 6, '2026-03-27Z');
SELECT * FROM differences();

-- a dry run
SELECT * FROM explain_feature_view($$
    SELECT o.customer_id, sum(o.qty * p.price) AS spend, count(*) FILTER (WHERE c.region = 'east') AS east
    FROM orders o JOIN products p ON p.id = o.product_id LEFT JOIN customers c ON c.id = o.customer_id
    WHERE rolling(o.created_at, '30 days') AND p.price > 0 GROUP BY o.customer_id $$);
-- the sample of a check, and the scale of floats
SELECT create_feature_view('floats', $$
    SELECT o.customer_id, avg(o.qty * p.price::float8) AS a FROM orders o JOIN products p ON o.product_id = p.id
    GROUP BY o.customer_id $$);
SELECT * FROM check_feature_view('floats', 10);
SELECT * FROM check_feature_view('by_region', 10);
-- ... of sessions, which are those of the sample's entities
SELECT create_feature_view('visits', $$
    SELECT c.region, o.customer_id, session(o.created_at, '30 days') AS visit, avg(o.qty * p.price::float8) AS a, count(*) AS n
    FROM orders o JOIN products p ON o.product_id = p.id LEFT JOIN customers c ON o.customer_id = c.id
    GROUP BY c.region, o.customer_id, session(o.created_at, '30 days') $$);
SELECT sync() IS NOT NULL;
SELECT region, customer_id, visit, n FROM visits ORDER BY 1, 2, 3;
SELECT * FROM check_feature_view('visits', 10);
SELECT * FROM check_feature_view('visits', 1);
SELECT drop_feature_view('visits');
-- ... whatever the table is called
CREATE TABLE k (id int PRIMARY KEY, customer_id int, at timestamptz);
ALTER TABLE k REPLICA IDENTITY FULL;
INSERT INTO k VALUES (1, 1, '2026-02-01Z'), (2, 1, '2026-02-02Z'), (3, 2, '2026-02-02Z');
SELECT create_feature_view('visits', $$SELECT customer_id, session(at, '1 hour') AS visit, count(*) AS n FROM k GROUP BY 1, 2$$);
SELECT * FROM check_feature_view('visits', 2);
SELECT drop_feature_view('visits');
DROP TABLE k;

-- what a view is looked up by stays unique; renames follow
ALTER TABLE products DROP CONSTRAINT products_sku_key;
ALTER TABLE products RENAME TO goods;
ALTER TABLE goods RENAME COLUMN price TO cost;
ALTER TABLE goods ADD COLUMN more int DEFAULT 1;
ALTER TABLE orders ADD COLUMN more int DEFAULT 1;
UPDATE goods SET cost = 3 WHERE id = 1;
SELECT * FROM differences();
ALTER TABLE goods DROP COLUMN cost;
ALTER TABLE goods RENAME COLUMN cost TO price;
ALTER TABLE goods RENAME TO products;

-- another definition, and options
SELECT create_feature_view('recent', $$
    SELECT o.customer_id, count(*) AS n, max(p.price) AS dearest, min(p.price) AS cheapest
    FROM orders o LEFT JOIN products p ON p.id = o.product_id WHERE rolling(o.created_at, '90 days')
    GROUP BY o.customer_id $$, replace => true);
SELECT sync() IS NOT NULL;
UPDATE products SET price = id * 1.25;
SELECT * FROM differences();
SELECT alter_feature_view('recent', ttl => '1 day');
SELECT refresh_feature_view('spend');
SELECT sync() IS NOT NULL;
UPDATE products SET price = id * 1.5;
SELECT * FROM differences();

-- keys of other types: equal values of numerics and of a collation without case
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE names (name text COLLATE nocase PRIMARY KEY, grade int);
CREATE TABLE rates (rate numeric, day date, value int, UNIQUE (rate, day));
CREATE TABLE sales (who int, name text COLLATE nocase, rate numeric, day date);
ALTER TABLE names REPLICA IDENTITY FULL;
ALTER TABLE rates REPLICA IDENTITY FULL;
ALTER TABLE sales REPLICA IDENTITY FULL;
INSERT INTO names VALUES ('Anna', 1), ('bob', 2);
INSERT INTO rates VALUES (1.0, '2026-01-01', 10), (1.0, NULL, 11), (1.00, NULL, 12), ('NaN', '2026-01-01', 13);
INSERT INTO sales VALUES (1, 'ANNA', 1.000, '2026-01-01'), (1, 'Bob', 'NaN', '2026-01-01'), (2, 'anna', 1, NULL), (2, NULL, 1, '2026-01-01');
SELECT create_feature_view('types', $$
    SELECT who, count(*) AS n, sum(grade) AS grades, sum(value) AS value
    FROM sales s LEFT JOIN names n ON n.name = s.name LEFT JOIN rates r ON s.rate = r.rate AND r.day = s.day
    GROUP BY who $$);
SELECT sync() IS NOT NULL;
SELECT * FROM types ORDER BY who;
UPDATE names SET name = 'ANNA', grade = 5 WHERE name = 'anna';
UPDATE rates SET rate = 1.00000, value = 20 WHERE value = 10;
SELECT * FROM check_feature_view('types');
SELECT * FROM types ORDER BY who;
SELECT drop_feature_view('types');

-- a dimension of which nothing is needed but that there is a row; other types of keys
CREATE TYPE size AS ENUM ('s', 'm', 'l');
CREATE DOMAIN code AS text CHECK (value <> '');
CREATE TABLE sizes (size size, tags text[], id uuid, code code, PRIMARY KEY (size, tags), UNIQUE (id), UNIQUE (code));
CREATE TABLE items (k int, size size, tags text[], id uuid, code varchar(10));
ALTER TABLE sizes REPLICA IDENTITY FULL;
ALTER TABLE items REPLICA IDENTITY FULL;
INSERT INTO sizes VALUES ('s', '{a,b}', '00000000-0000-0000-0000-000000000001', 'x'), ('m', '{}', '00000000-0000-0000-0000-000000000002', 'y');
INSERT INTO items VALUES (1, 's', '{a,b}', '00000000-0000-0000-0000-000000000002', 'x'), (1, 'm', '{a}', NULL, 'z'), (2, 'm', '{}', NULL, NULL);
SELECT create_feature_view('by_size', 'SELECT k, count(*) AS n FROM items i JOIN sizes s USING (size, tags) GROUP BY k');
SELECT create_feature_view('by_id', 'SELECT k, count(*) AS n, count(s.code) AS c FROM items i LEFT JOIN sizes s ON s.id = i.id GROUP BY k');
SELECT create_feature_view('by_code', 'SELECT k, count(*) AS n, max(s.id::text) AS c FROM items i RIGHT JOIN sizes s ON true GROUP BY k');
SELECT create_feature_view('by_code', 'SELECT k, count(*) AS n, max(s.size) AS c FROM sizes s RIGHT JOIN items i ON s.code = i.code GROUP BY k');
SELECT sync() IS NOT NULL;
UPDATE sizes SET tags = '{a}' WHERE size = 'm';
UPDATE sizes SET code = 'z', id = NULL WHERE size = 's';
INSERT INTO sizes VALUES ('m', '{}', '00000000-0000-0000-0000-000000000001', 'x');
SELECT n, (check_feature_view(n)).* FROM unnest(ARRAY['by_size', 'by_id', 'by_code']) n;
SELECT * FROM by_size ORDER BY k;
SELECT * FROM by_code ORDER BY k;
SELECT drop_feature_view(n) FROM unnest(ARRAY['by_size', 'by_id', 'by_code']) n;
-- a composite key, also by way of a domain
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN some_pair AS pair;
CREATE TABLE pairs (k pair PRIMARY KEY, v int);
CREATE TABLE paired (who int, k some_pair);
ALTER TABLE pairs REPLICA IDENTITY FULL;
ALTER TABLE paired REPLICA IDENTITY FULL;
INSERT INTO pairs VALUES ('(1,x)', 1), ('(2,)', 2), ('(,)', 3);
INSERT INTO paired VALUES (1, '(1,x)'), (1, '(2,)'), (2, '(,)'), (2, NULL), (3, '(9,z)');
SELECT create_feature_view('by_pair', 'SELECT who, count(*) AS n, sum(v) AS v FROM paired f LEFT JOIN pairs d ON d.k = f.k GROUP BY who');
SELECT sync() IS NOT NULL;
SELECT * FROM by_pair ORDER BY who;
UPDATE pairs SET v = v * 10;
UPDATE pairs SET k = '(9,z)' WHERE v = 20;
INSERT INTO pairs VALUES ('(2,)', 7);
SELECT * FROM check_feature_view('by_pair');
SELECT * FROM by_pair ORDER BY who;
SELECT drop_feature_view('by_pair');

-- partitions on both sides
CREATE TABLE goods (id int PRIMARY KEY, price int) PARTITION BY RANGE (id);
CREATE TABLE goods_1 PARTITION OF goods FOR VALUES FROM (0) TO (10);
CREATE TABLE goods_2 (price int, gone int, id int NOT NULL);
ALTER TABLE goods_2 DROP COLUMN gone;
ALTER TABLE goods ATTACH PARTITION goods_2 FOR VALUES FROM (10) TO (20);
CREATE TABLE bought (who int, good int) PARTITION BY LIST (who);
CREATE TABLE bought_1 PARTITION OF bought FOR VALUES IN (1);
CREATE TABLE bought_2 PARTITION OF bought DEFAULT;
ALTER TABLE goods_1 REPLICA IDENTITY FULL;
ALTER TABLE goods_2 REPLICA IDENTITY FULL;
ALTER TABLE bought_1 REPLICA IDENTITY FULL;
ALTER TABLE bought_2 REPLICA IDENTITY FULL;
INSERT INTO goods SELECT n, n FROM generate_series(1, 15) n;
INSERT INTO bought SELECT n % 3, n FROM generate_series(1, 20) n;
SELECT create_feature_view('parts', 'SELECT who, sum(price) AS s, count(*) AS n FROM bought JOIN goods ON id = good GROUP BY who');
SELECT sync() IS NOT NULL;
UPDATE goods SET id = 18, price = 100 WHERE id = 2;
UPDATE bought SET who = 1 WHERE good = 18;
SELECT * FROM check_feature_view('parts');
SELECT * FROM parts ORDER BY who;
TRUNCATE goods_1;
SELECT * FROM check_feature_view('parts');
BEGIN;
TRUNCATE goods_2;
INSERT INTO goods VALUES (3, 3), (11, 11);
UPDATE goods SET price = price + 1;
COMMIT;
SELECT * FROM check_feature_view('parts');
SELECT * FROM parts ORDER BY who;
SELECT drop_feature_view('parts');

-- several rows with one key: a deferred constraint is not for lookups
CREATE TABLE slots (id int, v int, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE slots REPLICA IDENTITY FULL;

-- what is refused
CREATE FUNCTION refused(query text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE m text; d text; h text; s text; p text;
BEGIN
    PERFORM explain_feature_view(query);
    RAISE NOTICE 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT, s = RETURNED_SQLSTATE;
    RAISE NOTICE E'%: %\n  detail: %\n  hint: %', s, m, d, h;
END $$;
SELECT refused('SELECT o.customer_id, count(*) FROM orders o JOIN products p ON p.category = o.sku GROUP BY 1');
SELECT refused('SELECT o.customer_id, count(*) FROM orders o JOIN products p ON p.id > o.product_id GROUP BY 1');
SELECT refused('SELECT o.customer_id, count(*) FROM orders o JOIN products p ON p.id = o.product_id + 1 GROUP BY 1');
SELECT refused('SELECT o.customer_id, count(*) FROM orders o JOIN products p ON p.id = o.product_id::numeric GROUP BY 1');
SELECT refused('SELECT o.customer_id, count(*) FROM orders o CROSS JOIN products p GROUP BY 1');
SELECT refused('SELECT o.customer_id, count(*) FROM orders o JOIN slots s ON s.id = o.product_id GROUP BY 1');
SELECT refused('SELECT o.customer_id, count(*) FROM orders o JOIN orders p ON p.id = o.product_id GROUP BY 1');
SELECT refused('SELECT o.customer_id, count(*) FROM orders o FULL JOIN products p ON p.id = o.product_id GROUP BY 1');
SELECT refused('SELECT o.customer_id, count(*) FROM products p LEFT JOIN orders o ON p.id = o.product_id GROUP BY 1');
SELECT refused('SELECT o.customer_id, count(*) FROM orders o LEFT JOIN products p ON p.id = o.product_id AND p.price > 1 GROUP BY 1');
SELECT refused('SELECT o.customer_id, count(*) FROM orders o LEFT JOIN (SELECT id, coalesce(price, 0) AS price FROM products) p ON p.id = o.product_id GROUP BY 1');
SELECT refused('SELECT o.customer_id, count(*) FROM orders o JOIN (products p JOIN customers c ON c.id = p.id) ON p.id = o.product_id GROUP BY 1');
SELECT refused('SELECT x.c, count(*) FROM (SELECT o.customer_id AS c FROM orders o JOIN products p ON p.id = o.product_id UNION ALL SELECT id FROM customers) x GROUP BY 1');
SELECT refused('SELECT x.c, count(*) FROM (SELECT customer_id AS c FROM orders UNION ALL SELECT id FROM customers) x JOIN customers c ON c.id = x.c GROUP BY 1');
SELECT create_feature_view('no', 'SELECT o.customer_id, count(*) FROM orders o JOIN products p ON p.id = o.product_id GROUP BY 1', append_only => true);
SELECT create_feature_view('no', 'SELECT o.customer_id, count(*) FROM orders o JOIN products p ON p.category = o.sku GROUP BY 1');
SELECT refused('SELECT c.id, c.region, count(*) AS n FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY c.id');
ALTER TABLE customers REPLICA IDENTITY DEFAULT;
SELECT create_feature_view('no', 'SELECT c.i, count(*) FROM (SELECT id AS i FROM customers) c JOIN orders o ON c.i = o.customer_id GROUP BY 1');
SELECT create_feature_view('no', 'SELECT o.customer_id, count(*) FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY 1');

-- rights on every table
CREATE ROLE enrichment_reader;
GRANT USAGE, CREATE ON SCHEMA enrichment TO enrichment_reader;
GRANT SELECT ON orders TO enrichment_reader;
SET ROLE enrichment_reader;
SELECT create_feature_view('mine', 'SELECT o.customer_id, sum(p.price) FROM orders o JOIN products p ON p.id = o.product_id GROUP BY 1');
RESET ROLE;
GRANT SELECT (id, price) ON products TO enrichment_reader;
SET ROLE enrichment_reader;
SELECT create_feature_view('mine', 'SELECT o.customer_id, sum(p.price) FROM orders o JOIN products p ON p.id = o.product_id GROUP BY 1');
RESET ROLE;

DROP TABLE products CASCADE;
SELECT name FROM feature_views WHERE relation::text LIKE '%enrichment%' OR name IN ('spend', 'by_region', 'recent', 'floats', 'mine') ORDER BY 1;
SELECT set_clock(NULL);
DROP SCHEMA enrichment CASCADE;
DROP ROLE enrichment_reader;
