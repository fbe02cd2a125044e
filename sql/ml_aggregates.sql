-- The aggregates that features need and SQL lacks (docs/aggregates.md): as plain SQL, against values
-- computed by hand, by other SQL and by other libraries; and in feature views.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA ml;
SET search_path = ml, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;

-- approx_count_distinct: the error over five orders of magnitude, of integers, numerics, text and
-- timestamps. Hashes are the same everywhere, so these figures are, too.
SELECT n, round((ints::numeric / n - 1) * 100, 2) AS ints_pct, round((nums::numeric / n - 1) * 100, 2) AS nums_pct,
       round((txts::numeric / n - 1) * 100, 2) AS txts_pct, round((tss::numeric / n - 1) * 100, 2) AS tss_pct
FROM   unnest(ARRAY[100, 1000, 2000, 3000, 10000, 100000, 1000000]) n,
       LATERAL (SELECT approx_count_distinct(i) AS ints, approx_count_distinct(i * 0.01) AS nums,
                       approx_count_distinct('user' || i) AS txts,
                       approx_count_distinct(timestamptz '2026-01-01Z' + i * interval '37 ms') AS tss
                FROM generate_series(1, n) i) e
ORDER  BY n;
-- the standard error over sets of 40000 values each: 0.81 % by theory
SELECT count(*) AS sets, round(100 * sqrt(avg((a / 40000.0 - 1) ^ 2)), 2) AS standard_error_pct,
       round(100 * avg(a / 40000.0 - 1), 2) AS bias_pct
FROM   (SELECT approx_count_distinct(i) AS a FROM generate_series(0, 2399999) i GROUP BY i / 40000) e;
-- equal values count once, however they look; NULL does not count
SELECT approx_count_distinct(x) FROM (VALUES (1.0), (1.00), (1), (NULL), (2)) v(x);
SELECT approx_count_distinct(x) FROM (VALUES (0::float8), ('-0'), ('NaN'), ('NaN'), (NULL)) v(x);
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
SELECT approx_count_distinct(x COLLATE ci), approx_count_distinct(x COLLATE "C") FROM (VALUES ('a'), ('A'), ('b')) v(x);
SELECT approx_count_distinct(x), approx_count_distinct(ARRAY[x]), approx_count_distinct(x::numeric), approx_count_distinct(x::text)
FROM (VALUES (1), (2), (2)) v(x);
SELECT approx_count_distinct(x) AS none, approx_count_distinct(x) FILTER (WHERE x > 0) AS filtered
FROM (VALUES (NULL::int)) v(x);
SELECT approx_count_distinct(point(0, 0));
-- how many times a value comes, and in which order, makes no difference
SELECT approx_count_distinct(i % 3000) = approx_count_distinct((i * 7) % 3000) AS same FROM generate_series(0, 29999) i;

-- approx_percentile: within 1 % of percentile_disc, for any distribution
CREATE TABLE samples AS
SELECT i, exp(sin(i) * 20) AS wide, sin(i) * 100 AS signed, (i % 100)::float8 AS small, 5e-324 * (i % 7) AS denormal
FROM   generate_series(1, 20000) i;
SELECT p, max(abs(a / d - 1)) <= 0.01 AS within, count(*)
FROM   unnest(ARRAY[0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1]) p,
       LATERAL (SELECT percentile_disc(p) WITHIN GROUP (ORDER BY wide), approx_percentile(wide, p) FROM samples
                UNION ALL
                SELECT percentile_disc(p) WITHIN GROUP (ORDER BY signed), approx_percentile(signed, p) FROM samples
                UNION ALL
                SELECT percentile_disc(p) WITHIN GROUP (ORDER BY small), approx_percentile(small, p) FROM samples
                WHERE small > 0) q(d, a)
GROUP  BY p ORDER BY p;
-- the greatest error over buckets of all sizes: one value is its own percentile
SELECT round(max(abs(a / x - 1)::numeric), 4) AS greatest_error
FROM   (SELECT x, approx_percentile(x, 0.5) AS a FROM
            (SELECT 1 + i / 40000.0::float8 AS x FROM generate_series(0, 39999) i
             UNION ALL SELECT 10::float8 ^ i FROM generate_series(-307, 308) i) v GROUP BY x) e;
SELECT approx_percentile(x, 0) AS p0, approx_percentile(x, 0.2) AS p20, approx_percentile(x, 0.4) AS p40,
       approx_percentile(x, 0.8) AS p80, approx_percentile(x, 1) AS p100
FROM   (VALUES ('-Infinity'::float8), (0), ('-0'), ('Infinity'), ('NaN')) v(x);
SELECT approx_percentile(x, 0.5) = 0 AS zero, approx_percentile(denormal, 1) > 0 AS positive
FROM   samples, (VALUES (0.0)) v(x);
SELECT approx_percentile(x, 0.5) IS NULL AS none FROM (VALUES (NULL::float8)) v(x);
-- the order of rows makes no difference, to the last bit
SELECT approx_percentile(wide, 0.37 ORDER BY i) = approx_percentile(wide, 0.37 ORDER BY md5(i::text)) AS same FROM samples;
SELECT approx_percentile(1, 1.5);
SELECT approx_percentile(1, 'NaN');
SELECT approx_percentile(1, NULL);
SELECT approx_percentile(wide, i / 100000.0) FROM samples;

-- histogram: element b + 1 counts the rows of width_bucket's b
SELECT histogram(x, 0, 100, 5) FROM (VALUES (-1), (0), (19.999), (20), (99), (100), (1e300), (NULL)) v(x);
SELECT histogram(signed, -80, 60, 14) = (
    SELECT array_agg(coalesce(n, 0) ORDER BY b) FROM generate_series(0, 15) b
    LEFT JOIN (SELECT width_bucket(signed, -80, 60, 14) AS b, count(*) AS n FROM samples GROUP BY 1) w USING (b)) AS same
FROM samples;
SELECT histogram(x, 10, 0, 2) AS descending FROM generate_series(-1, 11) x;
SELECT histogram(x, 0, 1, 1) FROM (VALUES ('NaN'::float8), ('Infinity'), ('-Infinity'), (0.5)) v(x);
SELECT histogram(x, '-1.7e308', '1.7e308', 4) FROM (VALUES (-1.6e308::float8), (0), (1.6e308)) v(x);
SELECT histogram(x, 0, 1, 2) IS NULL AS none FROM (VALUES (NULL::float8)) v(x);
SELECT histogram(1, 1, 1, 2);
SELECT histogram(1, 0, 'Infinity', 2);
SELECT histogram(1, 0, 1, 0);
SELECT histogram(1, 0, 1, 10001);
SELECT histogram(1, 0, NULL, 2);
SELECT histogram(i, 0, 1, i) FROM generate_series(1, 2) i;

-- skewness and kurtosis: figures of scipy.stats.skew and kurtosis (bias=True, fisher=True)
SELECT skewness(x), kurtosis(x) FROM unnest(ARRAY[2, 8, 0, 4, 1, 9, 9, 0]) x;
SELECT skewness(x), kurtosis(x) FROM generate_series(1, 5) x;
-- by their definition, in numeric
CREATE FUNCTION by_definition(xs numeric[], OUT g1 numeric, OUT g2 numeric) LANGUAGE sql AS $$
    WITH m AS (SELECT avg(x) AS mean FROM unnest(xs) x),
         c AS (SELECT avg((x - mean) ^ 2) AS m2, avg((x - mean) ^ 3) AS m3, avg((x - mean) ^ 4) AS m4 FROM unnest(xs) x, m)
    SELECT m3 / (m2 * sqrt(m2)), m4 / (m2 * m2) - 3 FROM c $$;
SELECT abs(s - g1) < 1e-12 AS g1, abs(k - g2) < 1e-12 AS g2
FROM  (SELECT array_agg(x) AS xs, skewness(x) AS s, kurtosis(x) AS k
       FROM (SELECT round((sin(i) * 1000 + i)::numeric, 3) AS x FROM generate_series(1, 500) i) r) a, LATERAL by_definition(xs);
-- a mean that is large against the spread, and a spread over all of float8, lose nothing
SELECT skewness(1e15 + x) = skewness(x) AS shifted, kurtosis(1e15 + x) = kurtosis(x) AS too FROM unnest(ARRAY[1, 2, 4, 8]) x;
SELECT skewness(x), kurtosis(x) FROM unnest(ARRAY[1.7e308, -1.7e308, 1.7e308, 5e-324, 0]) x;
SELECT skewness(x * 5e-324) = skewness(x) AS denormal FROM unnest(ARRAY[1, 2, 4, 8]) x;
-- nothing to divide by
SELECT skewness(x) IS NULL AS equal, kurtosis(x) IS NULL AS too FROM unnest(ARRAY[0.1, 0.1, 0.1]::float8[]) x;
SELECT skewness(x) IS NULL AS one, kurtosis(x) IS NULL AS too FROM unnest(ARRAY[7, NULL]) x;
SELECT skewness(x) IS NULL AS none, kurtosis(x) IS NULL AS too FROM unnest(ARRAY[NULL::float8]) x;
SELECT skewness(x), kurtosis(x) FROM unnest(ARRAY[1, 2, 'NaN'::float8]) x;
SELECT skewness(x), kurtosis(x) FROM unnest(ARRAY[1, 2, '-Infinity'::float8]) x;

-- exp_decay_sum: 2^0 for now, half of it a half-life ago; the future and infinite times do not count
SET feature_engine.as_of = '2026-03-01 00:00Z';
SELECT exp_decay_sum(x, t, '1 day') FROM (VALUES (1, timestamptz '2026-03-01Z'), (8, '2026-02-28Z'), (16, '2026-02-27Z')) v(x, t);
SELECT exp_decay_sum(x, t, '1 day'), exp_decay_sum(x, t::timestamp, '1 day') AS ts, exp_decay_sum(x, t::date, '1 day') AS date
FROM   (VALUES (4, timestamptz '2026-02-27Z'), (100, '2026-03-02Z'), (7, 'infinity'), (7, '-infinity'), (NULL, '2026-02-01Z'), (7, NULL)) v(x, t);
-- by its formula
SELECT abs(exp_decay_sum(x, t, '5 hours') / sum(x * 2 ^ (-extract(epoch FROM (feature_engine.now() - t))::float8 / 18000)) - 1) < 1e-13 AS same
FROM   (SELECT 100 + sin(i)::float8 AS x, timestamptz '2026-03-01Z' - i * interval '7 minutes' AS t FROM generate_series(0, 5000) i) v;
-- what is very old is worth nothing, and overflows nothing; what came long before the epoch likewise
SELECT exp_decay_sum(x, t, '1 us') AS old, exp_decay_sum(x, t, '1 us') FILTER (WHERE t > '2026-01-01') AS recent
FROM   (VALUES (1e308::float8, timestamptz '4713-01-01Z BC'), (1e308, '1999-12-31Z'), (3, '2026-03-01Z')) v(x, t);
SELECT exp_decay_sum(1e308, timestamptz '2026-03-01Z', '1000000 days') = 1e308 AS one;
SELECT exp_decay_sum(x, t, '1 day') AS exact
FROM   (VALUES (1e300::float8, timestamptz '2026-03-01Z'), (-2e300, '2026-02-28Z'), (1, '2026-03-01Z')) v(x, t);
SELECT exp_decay_sum(x, timestamptz '2026-02-01Z', '1 s') FROM unnest(ARRAY[1, 'Infinity'::float8]) x;
SELECT exp_decay_sum(x, timestamptz '2026-02-01Z', '1 s') FROM unnest(ARRAY['-Infinity', 'Infinity'::float8]) x;
SELECT exp_decay_sum(x, timestamptz '2026-03-01Z', '1 s') FROM unnest(ARRAY[1.7e308, 1.7e308]) x;
SELECT exp_decay_sum(1, now(), '1 month');
SELECT exp_decay_sum(1, now(), '0');
SELECT exp_decay_sum(1, now(), NULL);
RESET feature_engine.as_of;

-- first_n, last_n: element 1 is what first and last give; ties by value, NULL last
CREATE TABLE visits (id int, page text, price numeric, at timestamptz);
INSERT INTO visits VALUES
(1, 'home', 1.0, '2026-01-01 10:00Z'), (2, 'cart', 1.00, '2026-01-01 11:00Z'), (3, 'home', 2, '2026-01-01 11:00Z'),
(4, NULL, NULL, '2026-01-01 11:00Z'), (5, 'pay', 1.000, '2026-01-01 12:00Z'), (6, 'home', 3, '2026-01-01 09:00Z'),
(7, 'lost', 9, NULL), (8, NULL, 5, '2026-01-01 08:00Z');
SELECT first_n(page, at, 4), last_n(page, at, 5), last_n(page, at, 100) AS more FROM visits;
SELECT first_n(page, at, 1) = ARRAY[first(page, at)] AS first, last_n(page, at, 1) = ARRAY[last(page, at)] AS last FROM visits WHERE id <> 8;
SELECT first_n(page, at::date, 3), last_n(id, at::timestamp, 3) FROM visits;
SELECT last_distinct_n(page, at, 2), last_distinct_n(page, at, 9) AS "all", last_distinct_n(price, at, 2) FROM visits;
SELECT last_n(page, at, 2) IS NULL AS none, last_distinct_n(page, at, 2) IS NULL AS too FROM visits WHERE at IS NULL;
-- top_k: the most frequent first, then by value
SELECT top_k(page, 1), top_k(page, 2) AS two, top_k(price, 2) AS prices, top_k(page, 10) AS "all" FROM visits;
SELECT top_k(i % 10, 3) AS least FROM generate_series(0, 99) i;
SELECT top_k(page COLLATE ci, 2), top_k(page COLLATE "C", 2) FROM (VALUES ('B'), ('b'), ('a'), ('b')) v(page);
SELECT top_k(NULL::text, 2) IS NULL AS none;
-- the order of rows makes no difference
SELECT a = b AS same FROM
    (SELECT ROW(first_n(x, t, 5 ORDER BY i), last_n(x, t, 5 ORDER BY i), last_distinct_n(x, t, 5 ORDER BY i), top_k(x, 5 ORDER BY i))::text AS a,
            ROW(first_n(x, t, 5 ORDER BY j), last_n(x, t, 5 ORDER BY j), last_distinct_n(x, t, 5 ORDER BY j), top_k(x, 5 ORDER BY j))::text AS b
     FROM (SELECT i, md5(i::text) AS j, round((i % 17)::numeric, i % 3) AS x, date '2026-01-01' + i % 50 AS t FROM generate_series(1, 3000) i) v) w;
SELECT first_n(page, at, 0) FROM visits;
SELECT last_n(page, at, 1001) FROM visits;
SELECT last_distinct_n(page, at, NULL) FROM visits;
SELECT top_k(page, id) FROM visits;
SELECT last_n(point(0, 0), now(), 2);
SELECT top_k(xid '1', 2);

-- they combine: a parallel query has the same results, to the last bit
CREATE TABLE many AS
SELECT i, sin(i) * exp(i % 30) AS x, 'v' || (i * i) % 997 AS s, timestamptz '2026-01-01Z' + (i * 7919 % 10007) * interval '1 s' AS t
FROM   generate_series(1, 30000) i;
ALTER TABLE many SET (parallel_workers = 2);
ANALYZE many;
CREATE VIEW everything AS
SELECT approx_count_distinct(i) AS a, approx_count_distinct(s) AS b, approx_percentile(x, 0.9) AS c, histogram(x, -1e6, 1e6, 6) AS d,
       skewness(x) AS e, kurtosis(x) AS f, first_n(s, t, 3) AS g, last_n(x, t, 3) AS h, last_distinct_n(s, t, 4) AS k, top_k(s, 3) AS l
FROM   many;
SET max_parallel_workers_per_gather = 0;
CREATE TABLE serial AS SELECT * FROM everything;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT * FROM everything;
SELECT s.* IS NOT DISTINCT FROM e.* AS same FROM serial s, everything e;
-- one depends on now(), and does not go to workers
EXPLAIN (COSTS OFF) SELECT exp_decay_sum(x, t, '1 day') FROM many;
RESET max_parallel_workers_per_gather;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- In feature views. Further arguments must be constants.
CREATE TABLE events (id int PRIMARY KEY, g int, n int, x float8, s text, at timestamptz, day date);
SELECT create_feature_view('v', 'SELECT g, last_n(s, at, n) AS l FROM events GROUP BY g', append_only => true);
SELECT create_feature_view('v', 'SELECT g, top_k(s, NULL) AS l FROM events GROUP BY g', append_only => true);
SELECT create_feature_view('v', 'SELECT g, top_k(s, 0) AS l FROM events GROUP BY g', append_only => true);
SELECT create_feature_view('v', 'SELECT g, approx_percentile(x, 50) AS l FROM events GROUP BY g', append_only => true);
SELECT create_feature_view('v', 'SELECT g, histogram(x, 5, 5, 3) AS l FROM events GROUP BY g', append_only => true);
SELECT create_feature_view('v', $$SELECT g, exp_decay_sum(x, at, '1 year') AS l FROM events GROUP BY g$$, append_only => true);
SELECT create_feature_view('v', $$SELECT g, exp_decay_sum(x, at, now() - now()) AS l FROM events GROUP BY g$$, append_only => true);
-- the event time is that of the rows' windows, if they have any
SELECT create_feature_view('v', $$SELECT g, exp_decay_sum(x, at, '1 day') AS l FROM events WHERE rolling(day, '7 days') GROUP BY g$$, append_only => true);
-- a sketch that forgets its rows needs rows that stay
ALTER TABLE events REPLICA IDENTITY FULL;
SELECT create_feature_view('v', 'SELECT g, approx_count_distinct(s) AS l FROM events GROUP BY g');
SELECT create_feature_view('v', 'SELECT g, approx_count_distinct(point(x, x)) AS l FROM events GROUP BY g', append_only => true);

SELECT set_clock('2026-03-01 12:00Z');
INSERT INTO events
SELECT i, i % 5, i % 7, CASE WHEN i % 50 = 0 THEN 'NaN' WHEN i % 11 = 0 THEN NULL ELSE sin(i) * exp(i % 20) END,
       CASE WHEN i % 13 > 0 THEN 's' || i % 17 END, CASE WHEN i % 29 > 0 THEN feature_engine.now() - (i * 37 % 1009) * interval '1 hour' END
FROM   generate_series(1, 2000) i;
SELECT create_feature_view('v', $$
    SELECT g, skewness(x) FILTER (WHERE x < 1e9) AS g1, kurtosis(x) FILTER (WHERE x < 1e9) AS g2, skewness(n) AS ns, approx_percentile(x, 0.3) AS p30,
           approx_percentile(x, 0.9) AS p90, histogram(x, 0, 1000, 5) AS h, exp_decay_sum(n, at, '1 day') AS d,
           exp_decay_sum(n, at, '1 day') FILTER (WHERE rolling(at, '7 days')) AS d7, first_n(s, at, 2) AS f2, last_n(s, at, 3) AS l3,
           last_distinct_n(s, at, 3) AS ld3, top_k(s, 3) AS t3, top_k(s, 2) FILTER (WHERE rolling(at, '7 days')) AS t7,
           skewness(DISTINCT n) AS dn, top_k(DISTINCT s, 2) AS dt
    FROM events GROUP BY g $$);
SELECT create_feature_view('h', $$
    SELECT g, approx_count_distinct(s) AS s, approx_count_distinct(id) AS ids, approx_count_distinct(x) FILTER (WHERE rolling(at, '7 days')) AS x7
    FROM events GROUP BY g $$, append_only => true);
SELECT sync() > '0/0' AS synced;
SELECT * FROM check_feature_view('v');
SELECT * FROM check_feature_view('h');
SELECT g, h, f2, l3, ld3, t3, t7 FROM v WHERE g < 2 ORDER BY g;
SELECT * FROM h WHERE g < 2 ORDER BY g;
-- more rows, some of the future, enough for a dense sketch
INSERT INTO events SELECT i, i % 5, i % 7, i, 's' || i, feature_engine.now() + (i % 100) * interval '1 minute' FROM generate_series(2001, 20000) i;
SELECT sync() > '0/0' AS synced;
SELECT * FROM check_feature_view('v');
SELECT * FROM check_feature_view('h');
SELECT drop_feature_view('h');
-- time passes: events come into being, and fade
SELECT set_clock('2026-03-01 13:00Z');
SELECT * FROM check_feature_view('v');
SELECT set_clock('2026-03-04 13:00Z');
SELECT * FROM check_feature_view('v');
-- rows leave, also those that were there first
DELETE FROM events WHERE id % 3 = 0 OR id > 2500;
UPDATE events SET x = -x, s = upper(s), at = at + interval '90 minutes' WHERE id % 4 = 0;
SELECT sync() > '0/0' AS synced;
SELECT * FROM check_feature_view('v');
DELETE FROM events WHERE g = 3 AND id > 10;
TRUNCATE events;
INSERT INTO events VALUES (1, 1, 1, 1e300, 'one', '2026-03-04 12:00Z'), (2, 1, 2, -1e300, 'two', '2026-03-04 12:30Z'), (3, 1, NULL, NULL, NULL, NULL);
SELECT sync() > '0/0' AS synced;
SELECT * FROM check_feature_view('v');
SELECT g, g1, g2, h, f2, l3, ld3, t3 FROM v;

-- values of all sorts: domains, enums, composites, collations, equal ones that look different
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN amount AS numeric CHECK (value >= 0);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE sorts (id int PRIMARY KEY, g int, at date, m mood, d amount, p pair, c text COLLATE ci, b bytea, j jsonb, i interval, f float8);
ALTER TABLE sorts REPLICA IDENTITY FULL;
SELECT create_feature_view('sorted', $$
    SELECT g, first_n(m, at, 3) AS m1, top_k(m, 2) AS m2, last_n(d, at, 3) AS d1, last_distinct_n(d, at, 3) AS d2, top_k(d, 2) AS d3,
           last_n(p, at, 2) AS p1, last_distinct_n(p, at, 2) AS p2, top_k(p, 2) AS p3, last_n(c, at, 3) AS c1, last_distinct_n(c, at, 2) AS c2,
           top_k(c, 2) AS c3, last_distinct_n(b, at, 2) AS b2, top_k(j, 2) AS j3, last_distinct_n(i, at, 2) AS i2, top_k(i, 1) AS i3,
           last_distinct_n(f, at, 3) AS f2, top_k(f, 3) AS f3, (last_n(m, at, 2))[2] AS before, cardinality(last_distinct_n(p, at, 9)) AS pairs
    FROM sorts GROUP BY g $$);
CREATE FUNCTION fill(a int, z int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO sorts SELECT i, i % 3, date '2026-01-01' + i * i % 41, (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood, round((i % 7)::numeric, i % 3),
        ROW(i % 5, 'x' || i % 3)::pair, (ARRAY['Aa', 'aA', 'b', 'B'])[1 + i % 4], decode(md5((i % 9)::text), 'hex'), to_jsonb(i % 4),
        i % 5 * interval '1 day' + i % 2 * interval '24 hours', CASE i % 5 WHEN 0 THEN '-0'::float8 WHEN 1 THEN 0 WHEN 2 THEN 'NaN' ELSE i % 7 END
    FROM generate_series(a, z) i $$;
SELECT fill(1, 400);
SELECT sync() > '0/0' AS synced;
SELECT * FROM check_feature_view('sorted');
DELETE FROM sorts WHERE id % 3 = 1;
UPDATE sorts SET m = 'sad', d = d + 0.50, c = upper(c), f = -f WHERE id % 5 = 0;
SELECT sync() > '0/0' AS synced;
SELECT * FROM check_feature_view('sorted');
SELECT s IS NOT DISTINCT FROM b AS same_text FROM
    (SELECT string_agg(s::text, '|' ORDER BY g) AS s FROM sorted s) s, (SELECT string_agg(b::text, '|' ORDER BY g) AS b FROM feature_engine_def.sorted b) b;
SELECT get_features('sorted', 2);

-- over several tables
CREATE TABLE shop (id int PRIMARY KEY, who int, amount numeric, at timestamptz);
CREATE TABLE web (id int PRIMARY KEY, visitor int, total float8, time timestamptz);
SELECT create_feature_view('both_sorts', $$
    SELECT who, approx_count_distinct(amount) AS amounts, exp_decay_sum(amount, at, '1 day') AS recent, skewness(amount) AS g1,
           last_n(amount, at, 3) AS l3, top_k(kind, 2) AS kinds, approx_percentile(amount, 0.5) AS p50
    FROM (SELECT who, amount::float8, at, 'shop' AS kind FROM shop UNION ALL SELECT visitor, total, time, 'web' FROM web) b
    GROUP BY who $$, append_only => true);
INSERT INTO shop SELECT i, i % 3, i % 50, feature_engine.now() - i * interval '1 hour' FROM generate_series(1, 300) i;
INSERT INTO web SELECT i, i % 4, i % 70, feature_engine.now() - i * interval '50 minutes' FROM generate_series(1, 300) i;
SELECT sync() > '0/0' AS synced;
SELECT * FROM check_feature_view('both_sorts');
SELECT who, amounts, kinds FROM both_sorts ORDER BY who;

SELECT item, value, note FROM explain_feature_view($$
    SELECT g, skewness(x) AS sk, approx_percentile(x, 0.5) AS p, approx_percentile(x, 0.9) AS q, histogram(x, 0, 10, 5) AS h,
           exp_decay_sum(x, at, '1 day') AS d, last_n(s, at, 2) AS l, top_k(s, 3) AS t, approx_count_distinct(s) AS a
    FROM events GROUP BY g $$) WHERE item IN ('aggregate', 'window', 'redis');

SELECT set_clock(NULL);
SELECT count(drop_feature_view(name)) FROM feature_views;
SET client_min_messages = warning;
DROP SCHEMA ml CASCADE;
