-- The arithmetic of aggregates: streamed results have the text of the batch query's, after rows
-- with extreme values came and went; floats agree within 1e-9 of the values' size. And first and
-- last as plain SQL aggregates.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA aggregates;
SET search_path = aggregates, feature_engine;

-- first and last: rows without a time do not count; among rows of equal time the lesser (greater)
-- value wins, and a NULL only if it is alone.
SELECT first(x, t), last(x, t)
FROM   (VALUES (1, date '2026-01-01'), (2, '2026-01-01'), (NULL, '2026-01-01'),
               (3, '2026-01-02'), (4, '2026-01-02'), (NULL, '2026-01-02'), (5, NULL)) v(x, t);
SELECT first(x, t), last(x, t)
FROM   (VALUES (NULL, timestamp '-infinity'), ('b', '2026-01-01'), (NULL, 'infinity')) v(x, t);
SELECT first(x, t) IS NULL AS none, last(x, t) IS NULL AS none FROM (VALUES (1, now())) v(x, t) WHERE false;
SELECT last(x COLLATE "C", t) FROM (VALUES ('B', timestamptz '2026-01-01+00'), ('a', '2026-01-01+00')) v(x, t);
-- without a default order nothing decides among rows of equal time
SELECT last('{}'::json, now());

-- A table of numbers, one view for each type, with all of sum, avg and the variance family, lifetime
-- and over panes of a window.
CREATE TABLE numbers (id int PRIMARY KEY, g int, at timestamptz,
                      i2 int2, i4 int4, i8 int8, num numeric, money2 numeric(10,2), f8 float8, f4 float4);
ALTER TABLE numbers REPLICA IDENTITY FULL;
CREATE FUNCTION definition_of(col name) RETURNS text LANGUAGE sql AS $$
    SELECT format('SELECT g, count(%1$I) AS n, avg(%1$I) AS a, stddev(%1$I) AS ds, stddev_pop(%1$I) AS dp, '
                  'variance(%1$I) AS vs, var_pop(%1$I) AS vp, sum(%1$I%2$s) AS s, '
                  'sum(%1$I%2$s) FILTER (WHERE rolling(at, ''20 days'')) AS s20, '
                  'avg(%1$I) FILTER (WHERE rolling(at, ''20 days'')) AS a20, '
                  'var_samp(%1$I) FILTER (WHERE rolling(at, ''20 days'')) AS v20 '
                  'FROM numbers GROUP BY g', col, CASE col WHEN 'f4' THEN '::float8' ELSE '' END)
$$;
SELECT set_clock('2026-03-01+00');
SELECT col, create_feature_view('of_' || col, definition_of(col)) IS NOT NULL AS made
FROM   unnest('{i2,i4,i8,num,money2,f8,f4}'::name[]) col;

CREATE FUNCTION pick(choice text[]) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT choice[1 + floor(random() * cardinality(choice))]
$$;
-- rows of group 1 are ordinary numbers, of group 2 extreme ones, and of group 3 both
CREATE FUNCTION add_numbers(from_id int, to_id int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO numbers
    SELECT id, 1 + id % 3, timestamptz '2026-03-01+00' - random() * interval '40 days',
           CASE WHEN extreme THEN pick('{-32768,32767}')::int2 ELSE (random() * 100)::int2 END,
           CASE WHEN extreme THEN pick('{-2147483648,2147483647}')::int4 ELSE (random() * 1e6)::int4 END,
           CASE WHEN extreme THEN pick('{-9223372036854775808,9223372036854775807}')::int8 ELSE (random() * 1e6)::int8 END,
           CASE WHEN extreme
                THEN pick('{1e100,-1e100,1e-100,1,1.0,1.00,0,0.000,99999999999999999999.99999999999999999999,1e38,'
                          '-170141183460469231731687303715884105728}')::numeric
                ELSE round(random()::numeric * 1000, id % 5) END,
           CASE WHEN extreme THEN pick('{99999999.99,-99999999.99}')::numeric ELSE (random() * 1000)::numeric(10,2) END,
           CASE WHEN extreme THEN pick('{1e100,-1e100,1e-100,4.9e-324,0}')::float8 ELSE random() * 1000 END,
           CASE WHEN extreme THEN pick('{3e38,-3e38,1e-45,0}')::float4 ELSE (random() * 1000)::float4 END
    FROM   generate_series(from_id, to_id) id,
           LATERAL (SELECT id % 3 = 1 OR (id % 3 = 2 AND random() < 0.1) AS extreme) e
$$;

-- differing values, in all views and groups; a float may differ by 1e-9 of the greatest value's size
CREATE FUNCTION differ() RETURNS TABLE (col name, g int, feature text, streamed text, batch text) LANGUAGE plpgsql AS $$
DECLARE
    c name;
BEGIN
    PERFORM sync();
    FOREACH c IN ARRAY '{i2,i4,i8,num,money2,f8,f4}'::name[] LOOP
        RETURN QUERY EXECUTE format(
            'SELECT %L::name, b.g, b.key, s.value, b.value
             FROM   (SELECT g, (jsonb_each_text(to_jsonb(x))).* FROM (%s) x) b
             FULL JOIN (SELECT g, (jsonb_each_text(to_jsonb(x))).* FROM %I x) s USING (g, key)
             LEFT JOIN LATERAL (SELECT count(*) * max(abs(%I))::float8 AS size FROM numbers
                                WHERE numbers.g = b.g AND %I::text !~* ''[a-z]{3}'') m ON %L IN (''f8'', ''f4'')
             WHERE  s.value IS DISTINCT FROM b.value
               AND  NOT coalesce(abs(s.value::float8 - b.value::float8)
                                 <= 1e-9 * CASE WHEN key ~ ''^v'' THEN size * size ELSE size END, false)',
            c, definition_of(c), 'of_' || c, c, c, c);
    END LOOP;
END $$;

SELECT setseed(0.42);
SELECT add_numbers(1, 300);
SELECT sync() > '0/0' AS synced;
SELECT count(*) AS entities, sum(n) AS numbers FROM of_num;
SELECT * FROM differ();
-- what was extreme leaves no trace
DELETE FROM numbers WHERE abs(i4::int8) > 2e9;
SELECT * FROM differ();
SELECT count(*) AS rows, max(num) < 1001 AS ordinary FROM numbers;
SELECT add_numbers(301, 600);
UPDATE numbers SET num = -num, i8 = -1 - i8, i4 = -1 - i4, f8 = -f8, money2 = NULL, g = 1 + (g + id) % 3 WHERE id % 4 = 0;
SELECT * FROM differ();
DELETE FROM numbers WHERE id % 5 > 0;
SELECT * FROM differ();

-- NaN and infinities rule while they are there
UPDATE numbers SET num = 'NaN', f8 = 'NaN', f4 = 'NaN' WHERE id = (SELECT min(id) FROM numbers WHERE g = 1);
UPDATE numbers SET num = 'Infinity', f8 = 'Infinity', f4 = 'Infinity' WHERE id = (SELECT min(id) FROM numbers WHERE g = 2);
UPDATE numbers SET num = '-Infinity', f8 = '-Infinity', f4 = '-Infinity'
WHERE  id IN (SELECT min(id) FROM numbers WHERE g = 3) OR id IN (SELECT max(id) FROM numbers WHERE g = 2);
SELECT * FROM differ();
SELECT sync() > '0/0' AS synced;
SELECT g, a, s, dp FROM of_num ORDER BY g;
SELECT g, a, s, dp FROM of_f8 ORDER BY g;
DELETE FROM numbers WHERE f8 IN ('NaN', 'Infinity', '-Infinity');
SELECT * FROM differ();

-- a sum has the greatest display scale among the rows that are still there
TRUNCATE numbers;
INSERT INTO numbers (id, g, at, num) VALUES (1, 1, '2026-02-28+00', 1), (2, 1, '2026-02-28+00', 2.0), (3, 1, '2026-02-27+00', 3.000);
SELECT sync() > '0/0' AS synced;
SELECT s, s20, a FROM of_num;
DELETE FROM numbers WHERE id = 3;
SELECT sync() > '0/0' AS synced;
SELECT s, s20, a FROM of_num;
DELETE FROM numbers WHERE id = 2;
SELECT sync() > '0/0' AS synced;
SELECT s, s20, a FROM of_num;

-- equal floats have variance 0, and overflow is the error that the batch query raises
INSERT INTO numbers (id, g, at, f8) SELECT 10 + i, 2, '2026-02-28+00', 0.1 FROM generate_series(1, 10) i;
INSERT INTO numbers (id, g, at, f8, i8) SELECT 30 + i, 3, '2026-02-28+00', 1.7e308, 9223372036854775807 FROM generate_series(1, 2) i;
SELECT sync() > '0/0' AS synced;
SELECT n, vs, vp, ds, s FROM of_f8 WHERE g = 2;
SELECT s FROM of_f8 WHERE g = 3;
SELECT sum(f8) FROM numbers WHERE g = 3;
SELECT s, a, vp FROM of_i8 WHERE g = 3;
DELETE FROM numbers WHERE id = 31;
SELECT * FROM differ();

SELECT set_clock(NULL);
SELECT count(drop_feature_view(name)) FROM feature_views;
SET client_min_messages = warning;
DROP SCHEMA aggregates CASCADE;
