-- Whatever happens in the database: values stay those of the batch query, or an error says why not.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA events;
SET search_path = events, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;
SELECT set_clock('2026-03-01+00');

CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE size AS (w int, h int);
CREATE DOMAIN price AS numeric(10,2) CHECK (value >= 0);
CREATE TABLE items (
    dropped_before int, id int PRIMARY KEY, owner int, mood mood, moods mood[], dim size, price price,
    at timestamptz, doubled numeric GENERATED ALWAYS AS (price * 2) STORED, note text
);
ALTER TABLE items DROP dropped_before;
ALTER TABLE items REPLICA IDENTITY FULL;
CREATE TABLE buyers (owner int PRIMARY KEY);
INSERT INTO buyers SELECT generate_series(1, 50);
ALTER TABLE items ADD FOREIGN KEY (owner) REFERENCES buyers ON DELETE CASCADE ON UPDATE CASCADE;
INSERT INTO items (id, owner, mood, moods, dim, price, at, note)
    SELECT n, n % 5 + 1, 'sad', '{ok}', ROW(n, 1)::size, n, '2026-02-20', 'n' FROM generate_series(1, 20) n;

SELECT create_feature_view('sums', $$
    SELECT owner, count(*) AS n, sum(price) AS total, sum(doubled) AS twice, max(mood) AS best, min(mood) AS worst,
           last(note, at) AS latest, count(DISTINCT mood) AS moods, sum(price) FILTER (WHERE rolling(at, '30 days')) AS total30
    FROM   items GROUP BY owner $$, redis_key => 'ev:{owner}');
SELECT create_feature_view('by_mood', 'SELECT mood, count(*) AS n FROM items GROUP BY mood', redis_key => 'evm:{mood}');
SELECT create_feature_view('item', 'SELECT id, owner, mood, moods, dim, price, doubled, note FROM items', redis_key => 'evi:{id}');

-- What differs in any view: nothing.
CREATE FUNCTION differing() RETURNS TABLE (view name, key jsonb, feature text, streamed text, batch text) LANGUAGE sql AS $$
    SELECT sync(redis => true);
    SELECT v.name, c.* FROM feature_views v, check_feature_view(v.name) c
$$;
SELECT * FROM differing();
SELECT sum(n), sum(total), sum(twice) FROM sums;

-- COPY, upserts, MERGE, a writable CTE, cascades of foreign keys
COPY items (id, owner, mood, price, at, note) FROM STDIN;
101	1	ok	1.5	2026-02-27	copied
102	2	\N	2.5	2026-02-28	copied
\.
INSERT INTO items (id, owner, price) VALUES (1, 1, 100), (103, 3, 3) ON CONFLICT (id) DO UPDATE SET price = excluded.price, note = 'upsert';
INSERT INTO items (id, owner, price) VALUES (1, 1, 100) ON CONFLICT DO NOTHING;
MERGE INTO items USING (VALUES (2, 7), (104, 8)) m (id, p) ON items.id = m.id
    WHEN MATCHED THEN UPDATE SET price = p WHEN NOT MATCHED THEN INSERT (id, owner, price) VALUES (m.id, 4, p);
WITH gone AS (DELETE FROM items WHERE id = 3 RETURNING *)
    INSERT INTO items (id, owner, price, mood) SELECT id + 1000, owner, price, mood FROM gone;
UPDATE buyers SET owner = 60 WHERE owner = 5;
DELETE FROM buyers WHERE owner = 2;
SELECT * FROM differing();
SELECT * FROM sums ORDER BY owner;

-- triggers change the row that is written; as a replica they do not fire, and rows count all the same
CREATE FUNCTION marks() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := NEW.note || '' marked''; RETURN NEW; END';
CREATE TRIGGER marks BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION marks();
INSERT INTO items (id, owner, price, at, note) VALUES (201, 1, 1, '2026-02-28 12:00', 'a');
SET session_replication_role = replica;
INSERT INTO items (id, owner, price, at, note) VALUES (202, 3, 1, '2026-02-28 12:00', 'b'), (203, 999, 1, '2026-02-28', 'nobody');
UPDATE items SET price = price + 1 WHERE id = 201;
DELETE FROM items WHERE id = 1003;
RESET session_replication_role;
ALTER TABLE items DISABLE TRIGGER ALL;
UPDATE items SET note = 'c' WHERE id = 202;
ALTER TABLE items ENABLE TRIGGER ALL;
SELECT * FROM differing();
SELECT owner, latest FROM sums WHERE owner IN (1, 3, 999) ORDER BY owner;
DELETE FROM items WHERE owner = 999;
DROP TRIGGER marks ON items;

-- subtransactions: kept, rolled back, failed, nested; a rolled back TRUNCATE
BEGIN;
INSERT INTO items (id, owner, price) VALUES (301, 1, 1);
SAVEPOINT a;
INSERT INTO items (id, owner, price) VALUES (302, 1, 2);
SAVEPOINT b;
UPDATE items SET price = 1000 WHERE id = 301;
ROLLBACK TO a;
INSERT INTO items (id, owner, price) VALUES (303, 1, 4);
RELEASE a;
SAVEPOINT c;
TRUNCATE items;
INSERT INTO items (id, owner, price) VALUES (304, 1, 8);
ROLLBACK TO c;
DO $$ BEGIN
    FOR i IN 1 .. 100 LOOP
        BEGIN
            INSERT INTO items (id, owner, price) VALUES (400 + i % 60, 3, i);
        EXCEPTION WHEN unique_violation THEN
            UPDATE items SET price = price + 1 WHERE id = 400 + i % 60;
        END;
    END LOOP;
END $$;
COMMIT;
BEGIN;
TRUNCATE items;
INSERT INTO items (id, owner, price) VALUES (1, 1, 1);
ROLLBACK;
SELECT * FROM differing();
SELECT sum(n), sum(total), sum(twice) FROM sums;
-- TRUNCATE and new rows in one transaction; RESTART IDENTITY CASCADE from another table
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent VALUES (1);
ALTER TABLE items ADD parent int REFERENCES parent;
CREATE TABLE kept AS TABLE items;
TRUNCATE parent CASCADE;
SELECT * FROM differing();
SELECT count(*) FROM item;
BEGIN;
INSERT INTO items (id, owner, price) VALUES (1, 1, 1), (2, 1, 2);
TRUNCATE items;
INSERT INTO items (id, owner, price, mood, moods, dim, at, note)
    SELECT id, owner, price, mood, moods, dim, at, note FROM kept;
COMMIT;
DROP TABLE kept;
SELECT * FROM differing();
SELECT sum(n), sum(total), sum(twice) FROM sums;

-- an enum gets values, at its end and in between; they are used at once
ALTER TYPE mood ADD VALUE 'great';
UPDATE items SET mood = 'great', moods = '{great,sad}' WHERE id IN (4, 5, 6);
ALTER TYPE mood ADD VALUE 'so-so' BEFORE 'ok';
UPDATE items SET mood = 'so-so' WHERE id IN (4, 7);
SELECT * FROM differing();
SELECT mood, n FROM by_mood ORDER BY mood;
SELECT owner, worst, best, moods FROM sums ORDER BY owner;
-- a label gets another name: in SQL at once, and soon in Redis, in fields and in keys
ALTER TYPE mood RENAME VALUE 'great' TO 'super';
SELECT * FROM differing();
SELECT id, mood, moods FROM item WHERE mood = 'super' OR moods[1] = 'super' ORDER BY id;
CREATE TEMP TABLE seen (line text);
DO $$ BEGIN	-- the pusher notices by itself
    FOR i IN 1 .. 600 LOOP
        TRUNCATE seen;
        EXECUTE format('COPY seen FROM PROGRAM %L', 'redis-cli -s "$FE_REDIS_SOCK" --raw HMGET evi:5 mood moods; '
                       'redis-cli -s "$FE_REDIS_SOCK" --raw KEYS ''evm:*''');
        EXIT WHEN (SELECT count(*) FILTER (WHERE line LIKE '%super%') >= 3 AND count(*) FILTER (WHERE line LIKE '%great%') = 0 FROM seen);
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;
SELECT line FROM seen ORDER BY line COLLATE "C";

-- a composite type gets an attribute, an attribute another name
ALTER TYPE size ADD ATTRIBUTE d int;
ALTER TYPE size RENAME ATTRIBUTE w TO width;
UPDATE items SET dim = ROW(1, 2, 3) WHERE id = 5;
UPDATE items SET price = 5.5 WHERE id = 6;
SELECT * FROM differing();
SELECT id, dim, (dim).d, features -> 'dim' AS features FROM item, get_features('item', id) features WHERE id IN (5, 6) ORDER BY id;
-- a domain gets another rule
ALTER DOMAIN price ADD CONSTRAINT small CHECK (value < 5000);
INSERT INTO items (id, owner, price) VALUES (501, 1, 5000);
INSERT INTO items (id, owner, price) VALUES (501, 1, 4999);
SELECT * FROM differing();

-- columns come, go and change; names change
ALTER TABLE items ADD extra text DEFAULT 'x', ADD extra2 timestamptz DEFAULT clock_timestamp(), DROP parent;
INSERT INTO items (id, owner, price) VALUES (601, 1, 1);
ALTER TABLE items ALTER extra DROP DEFAULT, ALTER extra TYPE int USING 1, DROP extra2;
UPDATE items SET price = price WHERE id = 601;
ALTER TABLE items DROP extra, ADD extra numeric DEFAULT 3;
ALTER TABLE items RENAME price TO cost;
ALTER TABLE items RENAME TO goods;
ALTER SCHEMA events RENAME TO happenings;
SET search_path = happenings, feature_engine;
UPDATE goods SET cost = cost + 1, note = upper(note) WHERE id % 2 = 0;
SELECT v.name, c.* FROM feature_views v, check_feature_view(v.name) c;
SELECT sum(n), sum(total), sum(twice) FROM sums;
-- what a view needs stays
DO $$ BEGIN
    ALTER TABLE goods ALTER cost TYPE numeric;
EXCEPTION WHEN feature_not_supported OR syntax_error THEN
    RAISE NOTICE 'refused'; -- which of the two is named, the view or the generated column, depends on the order in pg_depend
END $$;
ALTER TABLE goods DROP COLUMN note;
ALTER TABLE goods ALTER doubled DROP EXPRESSION;
UPDATE goods SET doubled = 0 WHERE id = 601;
SELECT sync(redis => true) IS NOT NULL AS synced;
SELECT v.name, c.* FROM feature_views v, check_feature_view(v.name) c;

-- sums that overflow are an error for who reads them, as in the batch query, and only as long as they do
CREATE TABLE big (k int, i4 int, i8 bigint, n numeric, f float8);
ALTER TABLE big REPLICA IDENTITY FULL;
SELECT create_feature_view('bigs', 'SELECT k, count(*) AS c, sum(i4) AS s4, sum(i8) AS s8, avg(i8) AS a8, sum(n) AS sn, sum(f) AS sf,
    sum(i8)::bigint AS narrow FROM big GROUP BY k');
INSERT INTO big VALUES (1, 2147483647, 9223372036854775807, repeat('9', 131072)::numeric, 1.7e308);
INSERT INTO big VALUES (1, 2147483647, 9223372036854775807, repeat('9', 131072)::numeric, 1.7e308);
SELECT sync() IS NOT NULL AS synced;
SELECT k, c, s4, s8, a8 FROM bigs;
SELECT sn FROM bigs;
SELECT sum(n) FROM big;
SELECT sf FROM bigs;
SELECT sum(f) FROM big;
SELECT narrow FROM bigs;
DELETE FROM big WHERE ctid = (SELECT min(ctid) FROM big);
SELECT sync() IS NOT NULL AS synced;
SELECT k, c, s4, s8, length(sn::text) AS digits, sf, narrow FROM bigs;
SELECT * FROM check_feature_view('bigs');
SELECT drop_feature_view('bigs');

SELECT set_clock(NULL);
SET client_min_messages = warning;
DROP SCHEMA happenings CASCADE;
