-- Aggregates that no specialised kind computes: PostgreSQL itself does, over the arguments of the
-- rows, which are kept. Whatever it knows is accepted, unless the result would not be the batch
-- query's; then the error says why.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA generic;
SET search_path = generic, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;
SET lc_monetary = 'C';

CREATE TYPE mood AS ENUM ('bad', 'good', 'best');
CREATE TYPE item AS (name text, price numeric);
CREATE DOMAIN percent AS numeric CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE orders (
    id bigint PRIMARY KEY, customer_id int, total numeric, score float8, ratio float4, units int, flags bit(4),
    status text, mood mood, item item, share percent, ok bool, cost money, took interval, doc jsonb, spot point,
    during tstzrange, created_at timestamptz, shipped_at timestamp
);
ALTER TABLE orders REPLICA IDENTITY FULL;
CREATE FUNCTION add_orders(first int, last int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO orders
    SELECT i, 1 + i % 3, i % 7 + 0.5, i / 3.0, i / 7.0, nullif(i % 5, 0), (i % 16)::bit(4),
           (ARRAY['new', 'paid', 'sent', NULL])[1 + i % 4], (ARRAY['bad', 'good', 'best']::mood[])[1 + i % 3],
           ROW('item ' || i % 4, i % 3)::item, i % 100, nullif(i % 3, 2) = 0, (i % 9)::money,
           make_interval(days => i % 5, hours => i % 50), jsonb_build_object('n', i % 3), point(i, i),
           tstzrange('2026-03-01Z'::timestamptz - make_interval(hours => i), '2026-03-01Z'::timestamptz - make_interval(hours => i - 2)),
           timestamptz '2026-03-01Z' - make_interval(hours => i), timestamp '2026-03-01' - make_interval(days => i % 11)
    FROM generate_series(first, last) i
$$;
CREATE FUNCTION differences(view text) RETURNS SETOF record LANGUAGE sql AS
$$ SELECT check_feature_view(view) FROM sync() $$;
SELECT set_clock('2026-03-01Z');

-- ---- what is accepted ------------------------------------------------------------

SELECT create_feature_view('lists', $$
    SELECT customer_id, array_agg(id ORDER BY id DESC) AS ids, string_agg(status, ',' ORDER BY created_at) AS statuses,
           array_agg(DISTINCT mood) AS moods, string_agg(DISTINCT status, ',' ORDER BY status DESC) AS s,
           array_agg(item ORDER BY id) AS items, jsonb_agg(item ORDER BY id) FILTER (WHERE rolling(created_at, '9 hours')) AS j,
           jsonb_object_agg(id, doc ORDER BY id) FILTER (WHERE rolling(created_at, '9 hours')) AS by_id,
           json_agg(shipped_at ORDER BY id) FILTER (WHERE rolling(created_at, '9 hours')) AS t,
           cardinality(array_agg(ROW(id, status) ORDER BY id)) AS n, array_agg(spot[0] ORDER BY id) AS x,
           xmlagg(xmlelement(name o, id) ORDER BY id) FILTER (WHERE rolling(created_at, '9 hours')) AS xml
    FROM orders GROUP BY customer_id $$);
SELECT create_feature_view('sets', $$
    SELECT customer_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY score) AS median,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY took) AS median_took,
           percentile_disc(ARRAY[0.25, 0.75]) WITHIN GROUP (ORDER BY total DESC) AS quartiles,
           percentile_disc(0.5) WITHIN GROUP (ORDER BY mood) FILTER (WHERE rolling(created_at, '1 day')) AS m1,
           mode() WITHIN GROUP (ORDER BY status) AS usual, mode() WITHIN GROUP (ORDER BY item) AS usual_item,
           rank(3, 'paid') WITHIN GROUP (ORDER BY units, status) AS r, percent_rank(3) WITHIN GROUP (ORDER BY units) AS p
    FROM orders GROUP BY customer_id $$);
SELECT create_feature_view('sums', $$
    SELECT customer_id, bool_and(ok) AS a, bool_or(ok) AS o, every(units > 0) AS e, bit_and(units) AS ba, bit_or(units) AS bo,
           bit_xor(units) AS bx, bit_or(flags) AS bf, sum(took) AS st, avg(took) AS at, sum(cost) AS sc,
           sum(took) FILTER (WHERE rolling(created_at, '1 day')) AS st1, sum(cost) FILTER (WHERE rolling(created_at, '1 day')) AS sc1,
           corr(score, units) AS c, regr_slope(score, units) AS b, covar_samp(score, units) FILTER (WHERE rolling(created_at, '1 day')) AS cs,
           range_agg(during) AS ra, range_intersect_agg(during) AS ri, sum(ratio ORDER BY id) AS r, sum(DISTINCT ratio) AS dr,
           sum(DISTINCT total) AS dt, avg(DISTINCT units) AS du, stddev(DISTINCT share) AS ds, count(DISTINCT (status, ok)) AS dp,
           sum(units ORDER BY id) AS su, last(status, created_at ORDER BY id) AS ls, max(DISTINCT total) AS hi
    FROM orders GROUP BY customer_id $$);

SELECT add_orders(1, 60);
SELECT sync() > '0/0' AS synced;
\x
SELECT customer_id, ids, statuses, moods, s, j, by_id, t, n, xml FROM lists WHERE customer_id = 2;
SELECT * FROM sets WHERE customer_id = 2;
SELECT * FROM sums WHERE customer_id = 2;
\x
SELECT get_features('sets', 1);
SELECT view, differences(view) FROM unnest('{lists,sets,sums}'::text[]) view;
-- rows leave, change, move to another entity
DELETE FROM orders WHERE id % 7 = 0;
UPDATE orders SET status = 'lost', doc = '{}', units = 40 WHERE id % 5 = 1;
UPDATE orders SET customer_id = customer_id % 3 + 1, item = ROW(repeat('long', 2000), 1)::item WHERE id % 6 = 2;
SELECT view, differences(view) FROM unnest('{lists,sets,sums}'::text[]) view;
-- time passes: rows leave the windows, and old panes are merged
SELECT set_clock('2026-03-01 08:00Z');
SELECT add_orders(61, 90);
SELECT view, differences(view) FROM unnest('{lists,sets,sums}'::text[]) view;
DELETE FROM orders WHERE customer_id = 1;
SELECT sync() > '0/0' AS synced;
SELECT customer_id, cardinality(ids) FROM lists ORDER BY 1;
TRUNCATE orders;
SELECT sync() > '0/0' AS synced;
SELECT count(*) FROM sums;
SELECT add_orders(1, 20);
SELECT view, differences(view) FROM unnest('{lists,sets,sums}'::text[]) view;

-- rows that ORDER BY leaves in no order: the arguments decide, in what is stored
SELECT pg_get_viewdef('feature_engine_def.lists'::regclass) ~ 'ORDER BY .*created_at, .*status\)' AS total_order;

-- ---- what it means -----------------------------------------------------------------

SELECT value, note FROM explain_feature_view($$
    SELECT customer_id, array_agg(id ORDER BY created_at) FILTER (WHERE units > 1 AND rolling(created_at, '1 day')) AS a,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY score) AS p, avg(DISTINCT total) AS d
    FROM orders GROUP BY customer_id $$) WHERE item = 'aggregate';

-- ---- what is refused -----------------------------------------------------------------

CREATE FUNCTION try(calls text) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT value FROM explain_feature_view('SELECT customer_id, ' || calls || ' AS x FROM orders GROUP BY 1') WHERE item = 'aggregate' $$;
-- the order matters, and is not told
SELECT try('jsonb_agg(id)');
SELECT try('xmlagg(xmlelement(name o, id))');
SELECT try('sum(ratio)');
-- the result depends on the session
SELECT try('jsonb_agg(created_at ORDER BY id)');
SELECT try('json_object_agg(id, took ORDER BY id)');
SELECT try('json_agg(during ORDER BY id)');
SELECT try('json_agg(created_at AT TIME ZONE ''UTC'' ORDER BY id)');
-- direct arguments
SELECT try('percentile_cont(customer_id) WITHIN GROUP (ORDER BY score)');
SELECT try('percentile_cont(0.25 + 0.25) WITHIN GROUP (ORDER BY score)');
-- arguments as anywhere
SELECT try('array_agg(random() ORDER BY id)');
SELECT try('array_agg(created_at::date ORDER BY id)');
SELECT try('array_agg(id ORDER BY rolling(created_at, ''1 day''))');

-- ---- aggregates of users ---------------------------------------------------------------

CREATE FUNCTION glue(s text, x anyelement, y anyelement) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
$$ BEGIN RETURN concat(s, x, '-', y, ';'); END $$;
CREATE AGGREGATE glued(anyelement, anyelement) (sfunc = glue, stype = text, initcond = '>');
CREATE FUNCTION multiply(a numeric, b numeric) RETURNS numeric LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT a * b $$;
CREATE AGGREGATE product(numeric) (sfunc = multiply, stype = numeric);
CREATE FUNCTION stable_add(a int, b int) RETURNS int LANGUAGE sql STABLE AS $$ SELECT a + b $$;
CREATE AGGREGATE stable_sum(int) (sfunc = stable_add, stype = int, initcond = '0');
CREATE FUNCTION volatile_add(a int, b int) RETURNS int LANGUAGE sql AS $$ SELECT a + b $$;
CREATE AGGREGATE volatile_sum(int) (sfunc = volatile_add, stype = int, initcond = '0');
CREATE FUNCTION plus_one(a bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT a + 1 $$;
CREATE AGGREGATE rows_of(*) (sfunc = plus_one, stype = bigint, initcond = '0');
CREATE FUNCTION picky(a int, b int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
$$ BEGIN IF b = 40 THEN RAISE 'forty'; END IF; RETURN greatest(a, b); END $$;
CREATE AGGREGATE picky_max(int) (sfunc = picky, stype = int);
SELECT try('stable_sum(units)');
SELECT try('volatile_sum(units)');
SELECT create_feature_view('own', $$
    SELECT customer_id, glued(status, mood::text COLLATE "C" ORDER BY id) AS g FROM orders GROUP BY customer_id $$);
SELECT create_feature_view('own', $$
    SELECT customer_id, glued(status, item::text ORDER BY id) AS g FROM orders GROUP BY customer_id $$);
SELECT create_feature_view('own', $$
    SELECT customer_id, glued(units, 7 ORDER BY id) AS g, product(total) AS p, product(total) FILTER (WHERE rolling(created_at, '9 hours')) AS p9,
           rows_of(*) AS n, rows_of(*) FILTER (WHERE ok) AS ok, picky_max(units) AS m FROM orders GROUP BY customer_id $$);
SELECT sync() > '0/0' AS synced;
SELECT customer_id, g, trim_scale(p) AS p, p9, n, ok, m FROM own ORDER BY 1;
SELECT differences('own');
-- an error in it is raised to who reads that entity, and to nobody else
UPDATE orders SET units = 40 WHERE id = 4;
SELECT sync() > '0/0' AS synced;
SELECT n FROM own WHERE customer_id = 2;
SELECT n, m FROM own WHERE customer_id = 2;
SELECT n, m FROM own WHERE customer_id = 3;
UPDATE orders SET units = 4 WHERE id = 4;
SELECT sync() > '0/0' AS synced;
SELECT n, m FROM own WHERE customer_id = 2;
-- what the view uses stays
DROP AGGREGATE product(numeric);
-- it runs as the owner, who must be allowed to
CREATE ROLE generic_owner;
CREATE ROLE generic_reader;
GRANT USAGE, CREATE ON SCHEMA generic TO generic_owner;
GRANT USAGE ON SCHEMA generic TO generic_reader;
GRANT SELECT ON orders TO generic_owner;
CREATE FUNCTION who(a text, b int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN current_user; END $$;
CREATE AGGREGATE whoami(int) (sfunc = who, stype = text);
REVOKE ALL ON FUNCTION whoami(int) FROM PUBLIC;
SET ROLE generic_owner;
SELECT create_feature_view('mine', 'SELECT customer_id, whoami(units) AS w, count(*) AS n FROM orders GROUP BY 1');
RESET ROLE;
GRANT EXECUTE ON FUNCTION whoami(int) TO generic_owner;
SET ROLE generic_owner;
SELECT create_feature_view('mine', 'SELECT customer_id, whoami(units) AS w, count(*) AS n FROM orders GROUP BY 1');
GRANT SELECT ON mine TO generic_reader;
RESET ROLE;
SELECT sync() > '0/0' AS synced;
SET ROLE generic_reader;
SELECT * FROM mine ORDER BY 1;
RESET ROLE;
REVOKE ALL ON FUNCTION whoami(int) FROM generic_owner;
SET ROLE generic_reader;
SELECT * FROM mine WHERE customer_id = 1;
SELECT n FROM mine WHERE customer_id = 1;
RESET ROLE;
SELECT count(drop_feature_view(name)) FROM feature_views;

-- ---- how much is kept ---------------------------------------------------------------------

ALTER SYSTEM SET feature_engine.max_values_per_entity = 50;
SELECT pg_reload_conf();
TRUNCATE orders;
SELECT create_feature_view('bounded', $$
    SELECT customer_id, array_agg(id ORDER BY id) FILTER (WHERE rolling(created_at, '60 days')) AS ids, count(*) AS n
    FROM orders WHERE id > 0 GROUP BY customer_id $$);
SELECT create_feature_view('unbounded', 'SELECT customer_id, count(DISTINCT id) AS n FROM orders GROUP BY customer_id');
SELECT add_orders(1, 150);
SELECT sync() > '0/0' AS synced;
SELECT customer_id, cardinality(ids), n FROM bounded ORDER BY 1;
INSERT INTO orders (id, customer_id, created_at) VALUES (151, 2, '2026-03-01Z');
-- one too many: the view stops and says why; others go on
SELECT sync(view => 'bounded');
SELECT sync(view => 'unbounded') > '0/0' AS synced;
SELECT customer_id, n FROM unbounded ORDER BY 1;
-- it lives on when there are fewer, or more are allowed
CREATE FUNCTION wait_for(view text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        IF (SELECT state FROM status WHERE name = view) = 'live' THEN RETURN 'live'; END IF;
        PERFORM pg_sleep(0.1);
        PERFORM pg_stat_clear_snapshot();
    END LOOP;
    RETURN 'not live';
END $$;
DELETE FROM orders WHERE id = 4;
SELECT wait_for('bounded');
SELECT sync() > '0/0' AS synced;
SELECT customer_id, cardinality(ids), n FROM bounded ORDER BY 1;
INSERT INTO orders (id, customer_id, created_at) VALUES (152, 3, '2026-03-01Z');
SELECT sync(view => 'bounded');
ALTER SYSTEM RESET feature_engine.max_values_per_entity;
SELECT pg_reload_conf();
SELECT wait_for('bounded');
SELECT differences('bounded');

-- ---- states in the place of rows ---------------------------------------------------------
-- Rows of an append_only view never leave, but with their pane: where the aggregate can combine
-- states, PostgreSQL makes one of many rows, and fewer are kept than may be.
CREATE FUNCTION weigh(s numeric[], x numeric, w numeric) RETURNS numeric[] LANGUAGE sql IMMUTABLE STRICT AS
$$ SELECT ARRAY[s[1] + x * w, s[2] + w] $$;
CREATE FUNCTION weigh_more(s numeric[], t numeric[]) RETURNS numeric[] LANGUAGE sql IMMUTABLE STRICT AS
$$ SELECT ARRAY[s[1] + t[1], s[2] + t[2]] $$;
CREATE FUNCTION weighed(s numeric[]) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT s[1] / nullif(s[2], 0) $$;
CREATE AGGREGATE weighted_mean(numeric, numeric) (sfunc = weigh, combinefunc = weigh_more, stype = numeric[], finalfunc = weighed, initcond = '{0,0}');
CREATE FUNCTION text_max(a text, b text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS
$$ BEGIN IF b = 'boom' THEN RAISE 'boom'; END IF; RETURN greatest(a, b); END $$;
CREATE AGGREGATE greatest_text(text) (sfunc = text_max, combinefunc = text_max, stype = text);
CREATE AGGREGATE half_open(bit) (sfunc = bitor, combinefunc = bitor, stype = bit);
TRUNCATE orders;
SELECT drop_feature_view('bounded'), drop_feature_view('unbounded');
ALTER SYSTEM SET feature_engine.max_values_per_entity = 500;
SELECT pg_reload_conf();
SELECT add_orders(1, 900);
SELECT create_feature_view('folded', $$
    SELECT customer_id, weighted_mean(total, units) AS m, weighted_mean(total, units) FILTER (WHERE rolling(created_at, '90 days')) AS m90,
           greatest_text(status || id) AS t, half_open(flags) AS b, count(*) AS n
    FROM orders GROUP BY customer_id $$, append_only => true);
SELECT differences('folded');
SELECT add_orders(901, 5000);
SELECT differences('folded');
SELECT customer_id, round(m, 3) AS m, t, b, n FROM folded ORDER BY 1;
SELECT memory_bytes < 200000 AS small FROM status WHERE name = 'folded';
-- panes come together, and leave
SELECT set_clock('2026-04-10Z');
INSERT INTO orders (id, customer_id, units, total, created_at) SELECT 6000 + i, 1 + i % 3, 2, i, '2026-04-09Z' FROM generate_series(1, 300) i;
SELECT differences('folded');
-- an error in the aggregate: rows are kept, as far as they may, and who reads them gets it
INSERT INTO orders (id, customer_id, status, created_at) VALUES (7000, 2, 'x', '2026-04-09Z');
SELECT create_feature_view('errs', 'SELECT customer_id, greatest_text(status) AS t, count(*) AS n FROM orders WHERE id > 5500 GROUP BY 1', append_only => true);
INSERT INTO orders (id, customer_id, status, created_at) SELECT 8000 + i, 2, CASE i WHEN 77 THEN 'boom' ELSE 's' || i END, '2026-04-09Z' FROM generate_series(1, 200) i;
SELECT sync() > '0/0' AS synced;
SELECT customer_id, n FROM errs ORDER BY 1;
SELECT t FROM errs WHERE customer_id = 2;
ALTER SYSTEM RESET feature_engine.max_values_per_entity;
SELECT pg_reload_conf();

SELECT set_clock(NULL);
SELECT count(drop_feature_view(name)) FROM feature_views;
SET client_min_messages = warning;
DROP SCHEMA generic CASCADE;
DROP ROLE generic_owner, generic_reader;
