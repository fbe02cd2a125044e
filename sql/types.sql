-- Every key type, and the types that min, max, first, last and count(DISTINCT) take.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA types;
SET search_path = types, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;
SET intervalstyle = postgres;

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN amount AS numeric CHECK (value >= 0);
CREATE TYPE pair AS (a int, b text);
CREATE COLLATION swedish (provider = icu, locale = 'sv');
CREATE COLLATION case_insensitive (provider = icu, locale = 'und-u-ks-level2', deterministic = false);

CREATE TABLE t (
    id int PRIMARY KEY,
    i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, num numeric, num2 numeric(8,2), dom amount,
    txt text, vc varchar(20), ch char(6), sv text COLLATE swedish, ci text COLLATE case_insensitive,
    bin bytea, boo boolean, moo mood, uid uuid,
    dat date, ts timestamp, tstz timestamptz, tim time, ttz timetz, span interval,
    ip inet, net cidr, mac macaddr, lsn pg_lsn, o oid, nam name, rng int4range, arr int[], js jsonb, rec pair
);
ALTER TABLE t REPLICA IDENTITY FULL;

-- rows that are there before the views
INSERT INTO t VALUES
(1, 1, 1, 1, 0.1, 0.1, 1.0, 1, 1.5, 'a', 'a', 'a', 'zebra', 'Straße', '\x00ff', true, 'ok',
 '11111111-1111-1111-1111-111111111111', '2026-01-01', '2026-01-01 10:00', '2026-01-01 10:00+00', '10:00', '10:00+00',
 '1 day', '10.0.0.1', '10.0.0.0/8', '08:00:2b:01:02:03', '0/1', 1, 'n', '[1,5)', '{1,2}', '{"a": 1}', '(1,x)'),
(2, 1, 1, 1, 0.1, 0.1, 1.00, 1.00, 1.50, 'a', 'a', 'a ', 'zebra', 'STRASSE', '\x00ff', true, 'ok',
 '11111111-1111-1111-1111-111111111111', '2026-01-01', '2026-01-01 10:00', '2026-01-01 12:00+02', '10:00', '10:00+00',
 '24:00', '10.0.0.1', '10.0.0.0/8', '08002b010203', '0/1', 1, 'n', '[1,4]', '{1,2}', '{"a":1}', '(1,x)');

-- Keys: a view for each column. Equal keys of different text (1.0 and 1.00, 0 and
-- -0, 1 day and 24 hours, words that differ in case only) are one entity.

DO $$
DECLARE
    col name;
BEGIN
    FOR col IN SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 1 LOOP
        PERFORM create_feature_view('key_' || col,
            format('SELECT %1$I AS k, count(*) AS n, max(id) AS latest FROM t GROUP BY %1$I', col));
    END LOOP;
END $$;
SELECT sync() > '0/0' AS synced;

-- rows that come later, of extreme values and of none, and changes of keys
INSERT INTO t VALUES
(3, -32768, -2147483648, -9223372036854775808, '-0', '-0', 0, 0, 0, '', '', '', 'ångström', 'strasse', '', false, 'sad',
 '22222222-2222-2222-2222-222222222222', '-infinity', '-infinity', '-infinity', '00:00', '00:00+14',
 '-1 month', '::1', '::/0', '00:00:00:00:00:00', '0/0', 0, '', 'empty', '{}', '{}', '(,)'),
(4, 32767, 2147483647, 9223372036854775807, '0', '0', 'NaN', 99999.99, 'NaN', 'å', 'å', 'å', 'öl', 'x', '\x', NULL, 'happy',
 '22222222-2222-2222-2222-222222222222', 'infinity', 'infinity', 'infinity', '24:00', '24:00-14',
 '-30 days', '::1', '::/0', '000000-000000', 'FFFFFFFF/FFFFFFFF', 4294967295, 'å', '(,)', '{NULL}', 'null', NULL),
(5, NULL, NULL, NULL, 'NaN', 'NaN', 'Infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
 NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(6, 2, 2, 2, 'Infinity', 'Infinity', 1e20, 2, 2, 'b', 'b', 'b', 'b', 'b', '\x01', false, 'sad',
 '33333333-3333-3333-3333-333333333333', '2026-01-02', '2026-01-02', '2026-01-02+00', '11:00', '11:00+00', '2 days',
 '10.0.0.2', '10.1.0.0/16', '08:00:2b:01:02:04', '0/2', 2, 'm', '[1,2)', '{2,1}', '{"b": 2}', '(2,y)');
INSERT INTO t (id, txt) VALUES (7, repeat('long key ', 200)), (8, repeat('long key ', 200));
UPDATE t SET i2 = 3, i4 = 3, i8 = 3, num = 1.000, txt = 'c', sv = 'c', ci = 'straße', bin = '\x02', boo = NULL,
             moo = 'happy', uid = NULL, dat = '2026-01-01', ts = NULL, span = '48 hours', arr = '{1,2}' WHERE id = 6;
SELECT sync() > '0/0' AS synced;

-- Entities of the view; rows that differ from the batch query; rows of t whose
-- entity is found by a join on the key, and by the key's text form.
CREATE FUNCTION check_key(col name, OUT entities int, OUT differ int, OUT joined int, OUT by_text int)
LANGUAGE plpgsql SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    EXECUTE format('SELECT count(*) FROM %I', 'key_' || col) INTO entities;
    EXECUTE format($q$
        WITH batch AS (SELECT %1$I AS k, count(*) AS n, max(id) AS latest FROM t GROUP BY %1$I)
        SELECT count(*) FROM ((TABLE %2$I EXCEPT ALL TABLE batch) UNION ALL (TABLE batch EXCEPT ALL TABLE %2$I)) d$q$,
        col, 'key_' || col) INTO differ;
    EXECUTE format('SELECT count(*) FROM t JOIN %2$I ON k = %1$I', col, 'key_' || col) INTO joined;
    EXECUTE format('SELECT count(get_features(%2$L, %1$I::text)) FROM t WHERE %1$I IS NOT NULL', col, 'key_' || col) INTO by_text;
END $$;

SELECT attname, atttypid::regtype AS type, c.*
FROM   pg_attribute, check_key(attname) c WHERE attrelid = 't'::regclass AND attnum > 1 ORDER BY attnum;
SELECT k, n, latest FROM key_sv WHERE k IS NOT NULL ORDER BY k;
SELECT lower(k) COLLATE "C" AS k, n, latest FROM key_ci WHERE k IS NOT NULL ORDER BY latest;
SELECT n FROM key_ci WHERE k = 'STRAssE';
-- with another collation than the grouping's it is no lookup
EXPLAIN (COSTS OFF) SELECT n FROM key_ci WHERE k = 'STRAssE' COLLATE "C";
SELECT n FROM key_ci WHERE k = 'STRAssE' COLLATE "C";
SELECT get_features('key_moo', 'ok'::mood), get_features('key_uid', '11111111-1111-1111-1111-111111111111'::uuid),
       get_features('key_dat', date '2026-01-01'), get_features('key_boo', true), get_features('key_bin', '\x'::bytea) ->> 'n' AS empty;
SELECT get_features('key_moo', 'angry');
-- a domain's key takes values of the type beneath it
EXPLAIN (COSTS OFF) SELECT n FROM key_dom WHERE k = 1.50;
SELECT get_features('key_tstz', '2026-01-01 11:00+01'::timestamptz), get_features('key_dom', 1.50);

-- An entity goes with its last row, whatever its key.
DELETE FROM t WHERE id > 2;
SELECT sync() > '0/0' AS synced;
SELECT sum(entities) AS entities, sum(differ) AS differ, sum(joined) AS joined, sum(by_text) AS by_text
FROM   pg_attribute, check_key(attname) c WHERE attrelid = 't'::regclass AND attnum > 1;
SELECT count(drop_feature_view(name)) FROM feature_views;

-- Keys must be hashable.
CREATE TABLE odd (bits bit(8), p point, m money, x xml);
SELECT create_feature_view('odd', 'SELECT bits, count(*) AS n FROM odd GROUP BY bits', append_only => true);
SELECT create_feature_view('odd', 'SELECT m, count(*) AS n FROM odd GROUP BY m', append_only => true);
SELECT create_feature_view('odd', 'SELECT p, count(*) AS n FROM odd GROUP BY p', append_only => true);
DROP TABLE odd;

-- Values: one view a column with every aggregate that only orders or keeps them.

SELECT set_clock('2026-03-01+00');
CREATE TABLE v (LIKE t, g int, at timestamptz);
ALTER TABLE v REPLICA IDENTITY FULL;
CREATE FUNCTION definition_of(col name) RETURNS text LANGUAGE sql AS $$
    SELECT format('SELECT g, min(%1$I) AS lo, max(%1$I) AS hi, first(%1$I, at) AS f, last(%1$I, at) AS l, '
                  'count(%1$I) AS n, count(DISTINCT %1$I) AS d, '
                  'max(%1$I) FILTER (WHERE rolling(at, ''7 days'')) AS hi7, '
                  'last(%1$I, at) FILTER (WHERE rolling(at, ''7 days'')) AS l7 FROM v GROUP BY g', col)
$$;
CREATE TABLE made (col name PRIMARY KEY, refusal text);
DO $$
DECLARE
    c name;
BEGIN
    FOR c IN SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 1 ORDER BY attnum LOOP
        BEGIN
            PERFORM create_feature_view('value_' || c, definition_of(c));
            INSERT INTO made VALUES (c, NULL);
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO made VALUES (c, sqlerrm);
        END;
    END LOOP;
END $$;
-- (18 has min and max of bytea, and of records, which no relation can hold)
SELECT col, refusal FROM made WHERE refusal IS NOT NULL AND col NOT IN ('bin', 'rec') ORDER BY col COLLATE "C";

INSERT INTO t VALUES
(3, -32768, -2147483648, -9223372036854775808, '-0', '-0', 0, 0, 0, '', '', '', 'ångström', 'strasse', '', false, 'sad',
 '22222222-2222-2222-2222-222222222222', '-infinity', '-infinity', '-infinity', '00:00', '00:00+14',
 '-1 month', '::1', '::/0', '00:00:00:00:00:00', '0/0', 0, '', 'empty', '{}', '{}', '(,)'),
(4, 32767, 2147483647, 9223372036854775807, '0.5', '0.5', 'NaN', 99999.99, 'NaN', 'å', 'å', 'å', 'öl', 'x', '\x', NULL, 'happy',
 '22222222-2222-2222-2222-222222222222', 'infinity', 'infinity', 'infinity', '24:00', '24:00-14',
 '-32 days', '::2', '::/0', '000000-000000', 'FFFFFFFF/FFFFFFFF', 4294967295, 'å', '(,)', '{NULL}', 'null', NULL),
(5, NULL, NULL, NULL, 'NaN', 'NaN', 'Infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
 NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
UPDATE t SET num = 1, dom = 1.5, span = '1 day', ci = 'Strasse' WHERE id < 4;	-- no two texts of one value here
INSERT INTO v SELECT t.*, g, timestamptz '2026-03-01+00' - (id + 2 * g) * interval '1 day'
FROM   t, generate_series(1, 3) g;
SELECT sync() > '0/0' AS synced;

CREATE FUNCTION check_value(col name) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    differ bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM %1$I s FULL JOIN (%2$s) b USING (g) WHERE s::text IS DISTINCT FROM b::text',
                   'value_' || col, definition_of(col)) INTO differ;
    RETURN differ;
END $$;
SELECT count(*) FILTER (WHERE col <> 'bin') AS views, sum(check_value(col)) AS differ FROM made WHERE refusal IS NULL;
SELECT g, lo, hi, f, l, n, d, hi7, l7 FROM value_sv ORDER BY g;
SELECT g, lo, hi, f, l, n, d, hi7, l7 FROM value_tstz ORDER BY g;
SELECT g, lo, hi, f, l, n, d, hi7, l7 FROM value_f8 ORDER BY g;
-- the least and the greatest go, and come back changed
DELETE FROM v WHERE id = 4;
UPDATE v SET at = at + interval '10 days', txt = 'zz', tstz = '2030-01-01+00' WHERE id = 3;
SELECT sync() > '0/0' AS synced;
SELECT count(*) FILTER (WHERE col <> 'bin') AS views, sum(check_value(col)) AS differ FROM made WHERE refusal IS NULL;
SELECT g, lo, hi, f, l, n, d, hi7, l7 FROM value_tstz ORDER BY g;

SELECT count(drop_feature_view(name)) = (SELECT count(*) FROM made WHERE refusal IS NULL) AS dropped FROM feature_views;
SELECT set_clock(NULL);
SET client_min_messages = warning;
DROP SCHEMA types CASCADE;
