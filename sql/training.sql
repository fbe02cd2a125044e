-- Training sets: the values of features as of the instants of entity rows, from history. And
-- feature services, which name a set of features for both, online and offline.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA training;
SET search_path = training, feature_engine;
SET timezone = 'UTC';

CREATE TABLE orders (id serial PRIMARY KEY, customer_id int, product_id bigint, total numeric(10,2), at timestamptz);
ALTER TABLE orders REPLICA IDENTITY FULL;
-- offline => true makes the history table; the rows of this test are written by hand, so that each
-- says what it is for (sql/history.sql is about those that are recorded)
SELECT create_feature_view('spend', 'SELECT customer_id, count(*) AS orders, sum(total) AS total, max(at) AS last FROM orders GROUP BY customer_id', online => '{}', offline => true),
	alter_feature_view('spend', offline => false);
SELECT create_feature_view('sales', 'SELECT product_id, count(*) AS orders, avg(total)::float8 AS price FROM orders GROUP BY product_id', online => '{}', offline => true),
	alter_feature_view('sales', offline => false);
SELECT name, history, offline FROM feature_views WHERE name IN ('spend', 'sales') ORDER BY name;
CREATE TABLE spend_history_p202601 PARTITION OF spend_history FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00');
CREATE TABLE spend_history_p202602 PARTITION OF spend_history FOR VALUES FROM ('2026-02-01 00:00+00') TO ('2026-03-01 00:00+00');
CREATE TABLE spend_history_p202603 PARTITION OF spend_history FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-04-01 00:00+00');
CREATE TABLE sales_history_p202601 PARTITION OF sales_history FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00');
CREATE TABLE sales_history_p202602 PARTITION OF sales_history FOR VALUES FROM ('2026-02-01 00:00+00') TO ('2026-03-01 00:00+00');

INSERT INTO spend_history (customer_id, event_timestamp, created, lsn, is_deleted, orders, total, last) VALUES
	(1, '2026-01-10 12:00+00', '2026-01-10 12:00+00', '0/1', false, 1, 10, '2026-01-10 11:59+00'),
	(1, '2026-01-20 12:00+00', '2026-01-20 12:00+00', '0/2', false, 2, 30, '2026-01-20 11:59+00'),
	(1, '2026-02-10 12:00+00', '2026-02-10 12:00+00', '0/3', true, NULL, NULL, NULL),
	(1, '2026-03-05 12:00+00', '2026-03-05 12:00+00', '0/4', false, 1, 99, '2026-03-05 11:59+00'),
	(2, '2026-01-15 00:00+00', '2026-03-20 00:00+00', '0/5', false, 7, 70, '2026-01-14 00:00+00'),
	(2, '2026-01-12 00:00+00', '2026-01-12 00:00+00', '0/6', false, 6, 60, '2026-01-11 00:00+00');
INSERT INTO sales_history (product_id, event_timestamp, created, lsn, is_deleted, orders, price) VALUES
	(7, '2026-01-01 00:00+00', '2026-01-01 00:00+00', '0/1', false, 5, 1.5),
	(7, '2026-02-01 00:00+00', '2026-02-01 00:00+00', '0/2', false, 9, 2.5);

-- One row for each entity row: the newest value at or before its instant.
CREATE TABLE labels (n int, customer_id int, product_id int, event_timestamp timestamptz, label boolean);
INSERT INTO labels VALUES
	(1, 1, 7, '2026-01-10 11:59:59.999999+00', true),	-- before the first value
	(2, 1, 7, '2026-01-10 12:00+00', false),			-- the very instant counts
	(3, 1, 7, '2026-01-20 11:59:59.999999+00', true),	-- what comes a moment later does not
	(4, 1, 7, '2026-02-10 11:00+00', true),				-- of the partition before
	(5, 1, 7, '2026-02-10 12:00+00', true),				-- deleted
	(6, 1, 7, '2026-03-01 00:00+00', true),				-- still deleted
	(7, 1, 7, '2026-03-31 00:00+00', true),				-- came again
	(8, 2, 8, '2026-01-16 00:00+00', false),			-- no such product
	(9, 3, 7, '2026-01-16 00:00+00', false),			-- no such customer
	(10, NULL, NULL, '2026-01-16 00:00+00', false),
	(11, 1, 7, NULL, false),
	(12, 1, 7, 'infinity', NULL),
	(13, 1, 7, '-infinity', NULL),
	(2, 1, 7, '2026-01-10 12:00+00', false);			-- the same row twice is two rows
SELECT * FROM get_historical_features('SELECT * FROM labels', ARRAY['spend:orders', 'spend:total', 'sales:price'])
	AS f(n int, customer_id int, product_id int, event_timestamp timestamptz, label boolean, orders bigint, total numeric, price float8) ORDER BY n;
-- view:* is every feature in the view's order; other columns and their order are the query's
SELECT * FROM get_historical_features('SELECT label, event_timestamp, customer_id FROM labels WHERE n IN (2, 4, 5)', ARRAY['spend:*'])
	AS f(label boolean, event_timestamp timestamptz, customer_id int, orders bigint, total numeric, last timestamptz) ORDER BY event_timestamp;
-- the features' order is the one given
SELECT f.* FROM get_historical_features('SELECT customer_id, event_timestamp, product_id FROM labels WHERE n = 4', ARRAY['sales:price', 'spend:total', 'sales:orders'])
	AS f(customer_id int, event_timestamp timestamptz, product_id int, price float8, total numeric, orders bigint);

-- max_age: at most so old
SELECT n, total FROM get_historical_features('SELECT n, customer_id, event_timestamp FROM labels WHERE n IN (2, 4, 7)', ARRAY['spend:total'], max_age => '20 days 23 hours')
	AS f(n int, customer_id int, event_timestamp timestamptz, total numeric) ORDER BY n;
SELECT n, total FROM get_historical_features('SELECT n, customer_id, event_timestamp FROM labels WHERE n IN (2, 4, 7)', ARRAY['spend:total'], max_age => '20 days 22:59:59.999999')
	AS f(n int, customer_id int, event_timestamp timestamptz, total numeric) ORDER BY n;
SELECT n, total FROM get_historical_features('SELECT n, customer_id, event_timestamp FROM labels WHERE n IN (2, 4, 7)', ARRAY['spend:total'], max_age => '0')
	AS f(n int, customer_id int, event_timestamp timestamptz, total numeric) ORDER BY n;
-- ... or of any age: where the earliest instant would be none that a timestamp can have
SELECT age, n, total FROM (VALUES (interval '36500 days'), ('1000000 days'), ('3000000 days'), ('106751991 days 04:00:54.775807'), ('2000000000 days')) a(age),
	LATERAL get_historical_features('SELECT n, customer_id, event_timestamp FROM labels WHERE n IN (1, 4, 11, 12, 13)', ARRAY['spend:total'], max_age => age)
	AS f(n int, customer_id int, event_timestamp timestamptz, total numeric) WHERE total IS NOT NULL ORDER BY 1, 2;
SELECT n, total FROM get_historical_features($$SELECT 1 AS n, 1 AS customer_id, timestamptz '4713-01-01 00:00+00 BC' AS event_timestamp UNION ALL SELECT 2, 1, '0044-03-15 00:00+00 BC'$$,
	ARRAY['spend:total'], max_age => '2000000 days')
	AS f(n int, customer_id int, event_timestamp timestamptz, total numeric) ORDER BY n;

-- known_only: values of customer 2 as of 15 January were computed in March only
SELECT known, total FROM (VALUES (true), (false)) k(known),
	LATERAL get_historical_features('SELECT customer_id, event_timestamp FROM labels WHERE n = 8', ARRAY['spend:total'], known_only => known)
	AS f(customer_id int, event_timestamp timestamptz, total numeric) ORDER BY 1;

-- The statement, for whom it may concern: EXPLAIN, \gexec, CREATE TABLE AS.
\pset format unaligned
\pset tuples_only on
SELECT historical_features_sql('SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total', 'spend:orders'], max_age => '1 day 0.5 s', known_only => true);
SELECT historical_features_sql('SELECT n, customer_id, product_id, event_timestamp FROM labels; -- comment', ARRAY['spend:*', 'sales:*'], full_feature_names => true);
\pset format aligned
\pset tuples_only off
SELECT historical_features_sql('SELECT n, customer_id, event_timestamp FROM labels WHERE n < 4 -- the first ones', ARRAY['spend:total']) || ' ORDER BY n' AS sql \gexec

-- An index probe for each entity row, in the newest partition that the instant leaves: also when
-- nothing is known about the tables.
CREATE FUNCTION plan(query text, history text, OUT ordered text, OUT probes bigint, OUT by_key_and_time bigint, OUT others bigint) LANGUAGE plpgsql AS
$$DECLARE line text; BEGIN
	SELECT 0, 0, 0 INTO probes, by_key_and_time, others;
	FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || query LOOP
		ordered := coalesce(ordered, substring(line FROM '-> +(Append|Merge Append)'));
		probes := probes + (line ~ ('Index Scan Backward using ' || history))::int;
		by_key_and_time := by_key_and_time + (line ~ 'Index Cond: .*(customer_id|code) = .*event_timestamp <= ')::int;
		others := others + (line ~ ('(Seq|Bitmap Heap|Index|Index Only) Scan on ' || history))::int;
	END LOOP; END$$;
SELECT * FROM plan(historical_features_sql('SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']), 'spend_history');
SELECT * FROM plan(historical_features_sql('SELECT n, customer_id::bigint, event_timestamp FROM labels', ARRAY['spend:total'], max_age => '1 day'), 'spend_history');

-- create_training_set: a table of the caller's
SELECT create_training_set('training.set1', 'SELECT n, customer_id, event_timestamp, label FROM labels', ARRAY['spend:orders', 'spend:total']);
SELECT * FROM set1 WHERE n IN (2, 4) ORDER BY n;
SELECT create_training_set('set1', 'SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:*']);
SELECT create_training_set('empty', 'SELECT n, customer_id, event_timestamp FROM labels WHERE false', ARRAY['spend:*']);
\d empty
-- ... in this database: where its name is given, it is this one's
SELECT create_training_set('otherdb.training.set2', 'SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']);
SELECT create_training_set(format('%I.training.set2', current_database()), 'SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']);
SELECT create_training_set('nowhere.set2', 'SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']);

-- The entity query may be any SELECT: TABLE, WITH, UNION, ORDER BY; timestamp
-- and date are read as UTC, whatever the session's time zone; keys of another integer type.
SET timezone = 'Asia/Tokyo';
SELECT customer_id, orders FROM get_historical_features($$SELECT 1::bigint AS customer_id, timestamp '2026-01-10 12:00' AS event_timestamp
	UNION ALL SELECT 1, '2026-01-10 11:59' ORDER BY 2$$, ARRAY['spend:orders'])
	AS f(customer_id bigint, event_timestamp timestamp, orders bigint) ORDER BY event_timestamp;
SELECT customer_id, event_timestamp, orders FROM get_historical_features($$WITH d AS (SELECT generate_series(10, 11) AS day)
	SELECT 1::int2 AS customer_id, make_date(2026, 1, day) AS event_timestamp FROM d$$, ARRAY['spend:orders'])
	AS f(customer_id int2, event_timestamp date, orders bigint) ORDER BY event_timestamp;
SET timezone = 'UTC';
CREATE TABLE "Odd ""names""" (customer_id int, event_timestamp timestamptz, "the ""label""; --" int);
INSERT INTO "Odd ""names""" VALUES (1, '2026-01-20 12:00+00', 1);
SELECT * FROM get_historical_features('TABLE "Odd ""names""";', ARRAY['spend:orders'])
	AS f(customer_id int, event_timestamp timestamptz, "the ""label""; --" int, orders bigint);
-- it runs as it is, once, in the same snapshot and with the session's search_path
BEGIN;
CREATE TEMP TABLE mine AS SELECT 1 AS customer_id, timestamptz '2026-01-20 12:00+00' AS event_timestamp;
SELECT * FROM get_historical_features('SELECT * FROM mine', ARRAY['spend:orders']) AS f(customer_id int, event_timestamp timestamptz, orders bigint);
ROLLBACK;

-- Operators are those of the key's type, whatever the search_path has in front.
CREATE SCHEMA trap;
CREATE FUNCTION trap.eq(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE OPERATOR trap.= (LEFTARG = int, RIGHTARG = int, FUNCTION = trap.eq);
CREATE FUNCTION trap.le(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE OPERATOR trap.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = trap.le);
SET search_path = trap, pg_catalog, training, feature_engine;
SELECT * FROM get_historical_features('SELECT n, customer_id, event_timestamp FROM labels WHERE n OPERATOR(pg_catalog.=) 3', ARRAY['spend:orders'])
	AS f(n int, customer_id int, event_timestamp timestamptz, orders bigint);
\pset format unaligned
SELECT historical_features_sql('SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total'], max_age => '1 hour');
\pset format aligned
SET search_path = training, feature_engine;
DROP SCHEMA trap CASCADE;

-- Errors: the entity query, each with its position.
SELECT historical_features_sql(NULL, ARRAY['spend:*']);
SELECT historical_features_sql('', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT 1 FROM nothing', ARRAY['spend:*']);
SELECT historical_features_sql('SELEC 1', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT * FROM labels; DROP TABLE labels', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT * FROM labels) e; DROP TABLE labels; --', ARRAY['spend:*']);
SELECT historical_features_sql('DELETE FROM labels RETURNING *', ARRAY['spend:*']);
SELECT historical_features_sql('WITH d AS (DELETE FROM labels RETURNING *) SELECT * FROM d', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT * INTO x FROM labels', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT * FROM labels FOR UPDATE', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT * FROM (SELECT * FROM labels FOR SHARE) l', ARRAY['spend:*']);
SELECT historical_features_sql('WITH l AS (SELECT * FROM labels FOR UPDATE) SELECT * FROM l', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT l.*, (SELECT n FROM labels WHERE n = 1 LIMIT 1 FOR NO KEY UPDATE) AS one FROM labels l', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT * FROM (WITH d AS (DELETE FROM labels RETURNING *) SELECT * FROM d) l', ARRAY['spend:*']);
SELECT historical_features_sql('EXPLAIN SELECT * FROM labels', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT $1 AS customer_id, now() AS event_timestamp', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT n, event_timestamp FROM labels', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT customer_id FROM labels', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT customer_id::text, event_timestamp FROM labels', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT customer_id::numeric, event_timestamp FROM labels', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT customer_id, ''2026-01-01'' AS event_timestamp FROM labels', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT customer_id, n AS customer_id, event_timestamp FROM labels', ARRAY['spend:*']);
SELECT historical_features_sql('SELECT customer_id, n AS x, n AS x, event_timestamp FROM labels', ARRAY['spend:*']);
-- ... features
SELECT historical_features_sql('SELECT * FROM labels');
SELECT historical_features_sql('SELECT * FROM labels', '{}');
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spend:*', NULL]);
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spend:*'], 'churn');
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spend']);
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spend:']);
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spent:*']);
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['nothing_of_the_sort:*']);
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spend:totl']);
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spend:nothing of the sort']);
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spend:customer_id']);
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spend:total', 'spend:*']);
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spend:*', 'sales:*']);
SELECT historical_features_sql('SELECT *, n AS total FROM labels', ARRAY['spend:total']);
SELECT historical_features_sql('SELECT *, n AS spend__total FROM labels', ARRAY['spend:total'], full_feature_names => true);
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spend:*'], max_age => '1 month');
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spend:*'], max_age => '-1 s');
SELECT historical_features_sql('SELECT * FROM labels', ARRAY['spend:*'], max_age => '-2000000000 days');
SELECT historical_features_sql('SELECT * FROM labels', service => 'nothing');
-- ... and views without a history
SELECT create_feature_view('plain', 'SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id', online => '{}');
SELECT historical_features_sql('SELECT customer_id, event_timestamp FROM labels', ARRAY['plain:*']);
SELECT drop_feature_view('plain');
-- ... the column list: its hint is the right one
SELECT * FROM get_historical_features('SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']) AS f(n int);
SELECT * FROM get_historical_features('SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']) AS f(n int, customer_id int, event_timestamp timestamptz, total float8);
SELECT * FROM get_historical_features('SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total', 'spend:orders']) AS f(n int, customer_id int, event_timestamp timestamptz, orders bigint, total numeric);
SELECT * FROM get_historical_features('SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']) AS f(n int, customer_id int, event_timestamp timestamptz, total numeric(4,1));
SELECT * FROM get_historical_features('SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']);
SELECT get_historical_features('SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']);
-- what the query itself raises
SELECT * FROM get_historical_features('SELECT 1 / (n - n) AS n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']) AS f(n int, customer_id int, event_timestamp timestamptz, total numeric);

-- Text keys: equal by the key's own collation, with an index of it.
CREATE TABLE codes (code text COLLATE "C", at timestamptz);
ALTER TABLE codes REPLICA IDENTITY FULL;
SELECT create_feature_view('by_code', 'SELECT code, count(*) AS n FROM codes GROUP BY code', online => '{}', offline => true), alter_feature_view('by_code', offline => false);
CREATE TABLE by_code_history_1 PARTITION OF by_code_history FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00');
INSERT INTO by_code_history VALUES ('a', '2026-01-01 00:00+00', '2026-01-01 00:00+00', '0/1', false, 3);
SELECT * FROM get_historical_features($$SELECT 'a'::varchar(3) AS code, timestamptz '2026-01-02 00:00+00' AS event_timestamp$$, ARRAY['by_code:n'])
	AS f(code varchar(3), event_timestamp timestamptz, n bigint);
CREATE TABLE with_codes AS SELECT 'a'::text COLLATE "POSIX" AS code, timestamptz '2026-01-02 00:00+00' AS event_timestamp;
SELECT * FROM plan(historical_features_sql('SELECT * FROM with_codes', ARRAY['by_code:n']), 'by_code_history');
SELECT * FROM get_historical_features('SELECT * FROM with_codes', ARRAY['by_code:n']) AS f(code text, event_timestamp timestamptz, n bigint);

-- Keys of character(n) are compared as such with text too: trailing blanks do not count.
CREATE TABLE padded (code char(4), at timestamptz);
ALTER TABLE padded REPLICA IDENTITY FULL;
SELECT create_feature_view('by_padded', 'SELECT code, count(*) AS n FROM padded GROUP BY code', online => '{}', offline => true), alter_feature_view('by_padded', offline => false);
CREATE TABLE by_padded_history_1 PARTITION OF by_padded_history FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00');
INSERT INTO by_padded_history VALUES ('a', '2026-01-01 10:00+00', '2026-01-01 10:00+00', '0/1', false, 1);
SELECT create_training_set('padded_text', $$ SELECT code, timestamptz '2026-01-02 00:00+00' AS event_timestamp FROM (VALUES ('a'::text), ('a   '), ('b')) AS v(code) $$, ARRAY['by_padded:n']);
SELECT quote_literal(code), n FROM padded_text ORDER BY 1;
SELECT create_training_set('padded_int', $$ SELECT 1 AS code, timestamptz '2026-01-02 00:00+00' AS event_timestamp $$, ARRAY['by_padded:n']);
SELECT drop_feature_view('by_padded', history => true);

-- Each window recorded for itself: the newest window as of the instant that had begun and is there.
SELECT create_feature_view('daily', $$SELECT customer_id, tumble(at, '1 day') AS day, count(*) AS n FROM orders GROUP BY customer_id, tumble(at, '1 day')$$,
	redis_key => 'daily:{customer_id}:{window_start}', online => '{}', offline => true), alter_feature_view('daily', offline => false);
CREATE TABLE daily_history_1 PARTITION OF daily_history FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00');
CREATE TABLE daily_history_2 PARTITION OF daily_history FOR VALUES FROM ('2026-02-01 00:00+00') TO ('2026-03-01 00:00+00');
INSERT INTO daily_history (customer_id, day, event_timestamp, created, lsn, is_deleted, n)
SELECT 1, tstzrange(d::timestamptz, d::timestamptz + '1 day'), t::timestamptz, t::timestamptz, '0/1', n IS NULL, n FROM (VALUES
	('2026-01-30 00:00+00', '2026-01-30 10:00+00', 1), ('2026-01-30 00:00+00', '2026-01-30 11:00+00', 2),
	('2026-01-31 00:00+00', '2026-01-31 10:00+00', 3), ('2026-01-30 00:00+00', '2026-01-31 11:00+00', 4),
	('2026-01-31 00:00+00', '2026-02-01 12:00+00', NULL), ('2026-02-05 00:00+00', '2026-02-02 00:00+00', 9)) v(d, t, n);
CREATE TABLE instants AS SELECT 1 AS customer_id, t::timestamptz AS event_timestamp FROM unnest(ARRAY['2026-01-30 09:00+00', '2026-01-30 10:30+00', '2026-01-31 10:30+00',
	'2026-01-31 12:00+00', '2026-02-01 13:00+00', '2026-02-03 00:00+00', '2026-02-05 00:00+00']) t;
SELECT event_timestamp, day, n FROM get_historical_features('SELECT * FROM instants', ARRAY['daily:*'])
	AS f(customer_id int, event_timestamp timestamptz, day tstzrange, n bigint) ORDER BY 1;
SELECT event_timestamp, n FROM get_historical_features('SELECT * FROM instants', ARRAY['daily:n'], max_age => '1 hour')
	AS f(customer_id int, event_timestamp timestamptz, n bigint) ORDER BY 1;
\pset format unaligned
SELECT historical_features_sql('SELECT * FROM instants', ARRAY['daily:n'], max_age => '1 hour', known_only => true);
\pset format aligned
SELECT * FROM plan(historical_features_sql('SELECT * FROM instants', ARRAY['daily:n']), 'daily_history');
SELECT drop_feature_view('daily', history => true), drop_feature_view('by_code', history => true);

-- A view called as the alias that the statement uses otherwise.
SELECT create_feature_view('e', 'SELECT customer_id, max(total) AS h FROM orders GROUP BY customer_id', online => '{}', offline => true), alter_feature_view('e', offline => false);
SELECT * FROM get_historical_features('SELECT n, customer_id, event_timestamp FROM labels WHERE n = 1', ARRAY['e:h', 'spend:total'])
	AS f(n int, customer_id int, event_timestamp timestamptz, h numeric, total numeric);
SELECT drop_feature_view('e', history => true);

-- Names are quoted: of view, table, key and features.
SELECT create_feature_view('"v''""; DROP TABLE labels; --"', $$SELECT customer_id AS "k""; --", count(*) AS "f'$1"":x", sum(total) AS "select" FROM orders GROUP BY 1$$, online => '{}', offline => true),
	alter_feature_view('"v''""; DROP TABLE labels; --"', offline => false);
SELECT create_training_set('"t""; --"', 'SELECT n, customer_id AS "k""; --", event_timestamp FROM labels', ARRAY['"v''""; DROP TABLE labels; --":f''$1":x', '"v''""; DROP TABLE labels; --":select']);
\d "t""; --"
SELECT historical_features_sql('SELECT 1', ARRAY['"v''""; DROP TABLE labels; --":%s']);
SELECT drop_feature_view('"v''""; DROP TABLE labels; --"', history => true);

-- Random histories against a correlated query.
SELECT setseed(0.26);
CREATE TABLE random_entities AS SELECT n, (random() * 21)::int AS customer_id, (random() * 6)::int AS product_id,
	timestamptz '2026-01-01 00:00+00' + floor(random() * 50 * 24) * interval '1 hour' AS event_timestamp FROM generate_series(1, 1500) n;
TRUNCATE spend_history, sales_history;
INSERT INTO spend_history (customer_id, event_timestamp, created, lsn, is_deleted, orders, total)
SELECT c, t, t + floor(random() * 3) * interval '20 hours', '0/1', deleted, CASE WHEN NOT deleted THEN n END, CASE WHEN NOT deleted THEN n / 10.0 END
FROM (SELECT n, (random() * 20)::int AS c, timestamptz '2026-01-01 00:00+00' + floor(random() * 50 * 24) * interval '1 hour' AS t, random() < 0.2 AS deleted FROM generate_series(1, 3000) n) s
ON CONFLICT DO NOTHING;
INSERT INTO sales_history (product_id, event_timestamp, created, lsn, is_deleted, orders, price)
SELECT (random() * 5)::int, timestamptz '2026-01-01 00:00+00' + floor(random() * 50 * 24) * interval '1 hour', '2026-01-01', '0/1', false, n, n FROM generate_series(1, 1000) n
ON CONFLICT DO NOTHING;
CREATE FUNCTION brute_force(max_age interval, known_only boolean) RETURNS TABLE (n int, event_timestamp timestamptz, orders bigint, total numeric, price float8) LANGUAGE sql AS $$
SELECT e.n, e.event_timestamp, s.orders, s.total, p.price FROM random_entities e
LEFT JOIN spend_history s ON s.customer_id = e.customer_id AND s.event_timestamp = (SELECT max(x.event_timestamp) FROM spend_history x WHERE x.customer_id = e.customer_id
	AND x.event_timestamp <= e.event_timestamp AND (NOT known_only OR x.created <= e.event_timestamp))
	AND (max_age IS NULL OR e.event_timestamp - s.event_timestamp <= max_age)
LEFT JOIN sales_history p ON p.product_id = e.product_id AND p.event_timestamp = (SELECT max(x.event_timestamp) FROM sales_history x WHERE x.product_id = e.product_id
	AND x.event_timestamp <= e.event_timestamp AND (NOT known_only OR x.created <= e.event_timestamp))
	AND (max_age IS NULL OR e.event_timestamp - p.event_timestamp <= max_age) $$;
CREATE FUNCTION ours(max_age interval, known_only boolean) RETURNS TABLE (n int, event_timestamp timestamptz, orders bigint, total numeric, price float8) LANGUAGE sql AS $$
SELECT f.n, f.event_timestamp, f.orders, f.total, f.price
FROM get_historical_features('SELECT * FROM random_entities', ARRAY['spend:orders', 'spend:total', 'sales:price'], max_age => ours.max_age, known_only => ours.known_only)
	AS f(n int, customer_id int, product_id int, event_timestamp timestamptz, orders bigint, total numeric, price float8) $$;
SELECT age AS max_age, known AS known_only, count(*), count((o).total) AS with_total, count((o).price) AS with_price,
	count(*) FILTER (WHERE o IS DISTINCT FROM b) AS different
FROM (VALUES (NULL::interval), ('8 hours')) a(age), (VALUES (false), (true)) k(known),
	LATERAL (SELECT o, b FROM ours(age, known) o FULL JOIN brute_force(age, known) b USING (n)) c(o, b)
GROUP BY 1, 2 ORDER BY 1, 2;

-- No leak: whatever is made of rows that came after a moment, entity rows up to that moment do not
-- change; with known_only also rows that were recorded after it, late, for instants before.
CREATE TABLE result AS SELECT known, o.* FROM (VALUES (false), (true)) k(known), LATERAL ours(NULL, known) o;
CREATE FUNCTION leaks(cut timestamptz, known boolean) RETURNS TABLE (rows bigint, spoilt bigint, leaks bigint) LANGUAGE plpgsql AS $$
BEGIN
	UPDATE spend_history SET is_deleted = false, orders = -1, total = -1 WHERE CASE WHEN known THEN created ELSE event_timestamp END > cut;
	UPDATE sales_history SET orders = -1, price = -1 WHERE event_timestamp > cut;
	RETURN QUERY SELECT count(*) FILTER (WHERE o.event_timestamp <= cut), count(*) FILTER (WHERE o.total = -1 OR o.price = -1),
		count(*) FILTER (WHERE o.event_timestamp <= cut AND (o.orders, o.total, o.price) IS DISTINCT FROM (r.orders, r.total, r.price))
	FROM ours(NULL, known) o JOIN result r ON r.n = o.n AND r.known = leaks.known;
END$$;
BEGIN;
SELECT cut, l.* FROM unnest(ARRAY['2026-02-10 00:00+00', '2026-01-31 23:30+00', '2026-01-15 12:00+00', '2026-01-05 00:00+00']::timestamptz[]) cut, leaks(cut, false) l;
ROLLBACK;
BEGIN;
SELECT cut, l.* FROM unnest(ARRAY['2026-02-10 00:00+00', '2026-01-31 23:30+00', '2026-01-15 12:00+00', '2026-01-05 00:00+00']::timestamptz[]) cut, leaks(cut, true) l;
-- without known_only the late rows are seen
SELECT count(*) > 0 AS leaks FROM ours(NULL, false) o WHERE total = -1 AND event_timestamp <= '2026-01-05 00:00+00';
ROLLBACK;

-- Privileges: SELECT on the history, as the caller; nothing of it comes through the function.
CREATE ROLE training_reader;
GRANT USAGE ON SCHEMA training TO training_reader;
GRANT SELECT ON labels TO training_reader;
SET ROLE training_reader;
SELECT total FROM get_historical_features('SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']) AS f(n int, customer_id int, event_timestamp timestamptz, total numeric);
SELECT count(*) FROM get_historical_features('SELECT * FROM orders', ARRAY['spend:total']) AS f(n int);
RESET ROLE;
GRANT SELECT ON spend_history TO training_reader;
SET ROLE training_reader;
SELECT count(*) FROM get_historical_features('SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']) AS f(n int, customer_id int, event_timestamp timestamptz, total numeric);
SELECT create_training_set('stolen', 'SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']);
CREATE TEMP TABLE dummy ();
SELECT create_training_set('pg_temp.own', 'SELECT n, customer_id, event_timestamp FROM labels', ARRAY['spend:total']);
SELECT relowner::regrole FROM pg_class WHERE oid = 'pg_temp.own'::regclass;
RESET ROLE;
SET client_min_messages = warning;
SELECT drop_feature_view('spend', history => true), drop_feature_view('sales', history => true);
DROP SCHEMA training CASCADE;
DROP OWNED BY training_reader;
DROP ROLE training_reader;
