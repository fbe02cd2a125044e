-- Attacks: by who reads on who owns, by owners on readers, on other owners and on the workers;
-- what happens when rights change under a live view; who sees which messages; hostile names.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA sec;
GRANT USAGE ON SCHEMA sec TO PUBLIC;
SET search_path = sec, feature_engine;
CREATE ROLE sec_owner;
CREATE ROLE sec_mallory;
CREATE ROLE sec_reader;
CREATE ROLE sec_monitor IN ROLE pg_read_all_stats;
GRANT CREATE ON SCHEMA sec TO sec_owner, sec_mallory;
CREATE SCHEMA sec_reader_own;
GRANT CREATE ON SCHEMA sec_reader_own TO sec_reader;
CREATE SCHEMA sec_mallory_own;
GRANT CREATE ON SCHEMA sec_mallory_own TO sec_mallory;
GRANT USAGE ON SCHEMA sec_reader_own, sec_mallory_own TO PUBLIC;

CREATE TABLE sales (id int PRIMARY KEY, shop int, amount int);
ALTER TABLE sales REPLICA IDENTITY FULL;
INSERT INTO sales SELECT n, n % 2, n FROM generate_series(1, 4) n;
GRANT SELECT ON sales TO sec_owner, sec_mallory;
CREATE TABLE payroll (shop int, salary int);
ALTER TABLE payroll REPLICA IDENTITY FULL;
INSERT INTO payroll VALUES (1, 100000);

-- Functions run as the view's owner, and every name in them that is not qualified is looked up
-- in pg_catalog only (as in materialized views and indexes): not in a schema of the reader's,
-- nor in his temporary one. So all readers, the workers and Redis get the same value.
SET ROLE sec_owner;
CREATE FUNCTION sec.label(bigint) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS 'BEGIN RETURN current_user || '' '' || abs($1) || '' '' || current_setting(''search_path''); END';
CREATE FUNCTION sec.helpless(bigint) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS 'BEGIN RETURN helper($1); END';
SELECT create_feature_view('labels', 'SELECT shop, sec.label(count(*)) AS label FROM sales GROUP BY shop');
SELECT create_feature_view('calls', 'SELECT shop, sec.helpless(count(*)) AS label FROM sales GROUP BY shop', online => '{}');
GRANT SELECT ON labels, calls TO sec_reader;
RESET ROLE;
SELECT sync() > '0/0' AS synced;
SET ROLE sec_reader;
CREATE FUNCTION sec_reader_own.abs(bigint) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN ''stolen as '' || current_user; END';
CREATE FUNCTION sec_reader_own.helper(bigint) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN ''stolen as '' || current_user; END';
CREATE FUNCTION pg_temp.helper(bigint) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN ''stolen as '' || current_user; END';
SET search_path = sec_reader_own, pg_catalog, sec, feature_engine, pg_temp;
SELECT * FROM labels ORDER BY shop;
SELECT get_features('labels', 1);
SELECT * FROM calls;
SELECT get_features('calls', 1);
SHOW search_path;
SET search_path = sec, feature_engine;
RESET ROLE;
SELECT count(*) FROM check_feature_view('labels');

-- What an owner's function does to the session is over with its evaluation: not a trap for the
-- reader, who might be a superuser, ...
SET ROLE sec_mallory;
CREATE FUNCTION sec_mallory_own.trap(bigint) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS 'BEGIN PERFORM set_config(''search_path'', ''sec_mallory_own'', false);
	PERFORM set_config(''timezone'', ''Asia/Tokyo'', false);
	RETURN current_setting(''search_path''); END';
SELECT create_feature_view('trap', 'SELECT shop, sec_mallory_own.trap(count(*)) AS trap FROM sales GROUP BY shop', online => '{}');
RESET ROLE;
SELECT sync() > '0/0' AS synced;
SET timezone = 'UTC';
SELECT * FROM trap ORDER BY shop;
SELECT get_features('trap', 1);
SELECT current_setting('search_path') AS search_path, current_setting('timezone') AS timezone;
-- ... nor for the next view of the worker.
SET ROLE sec_mallory;
SELECT drop_feature_view('trap');
SELECT create_feature_view('trap', 'SELECT shop, max(sec_mallory_own.trap(amount)) AS trap FROM sales GROUP BY shop');
RESET ROLE;
SET ROLE sec_owner;
CREATE FUNCTION sec.seen(int) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS 'BEGIN RETURN current_user || '' '' || current_setting(''search_path'') || '' '' || current_setting(''timezone''); END';
SELECT create_feature_view('victim', 'SELECT shop, max(sec.seen(amount)) AS seen FROM sales WHERE id > 4 GROUP BY shop');
RESET ROLE;
SELECT sync() > '0/0' AS synced;
INSERT INTO sales VALUES (5, 1, 5), (6, 1, 6);
SELECT sync() > '0/0' AS synced;
INSERT INTO sales VALUES (7, 1, 7);
SELECT sync() > '0/0' AS synced;
SELECT shop, seen LIKE '%Tokyo%' OR seen LIKE '%mallory%' AS trapped, seen LIKE 'sec_owner pg_catalog, pg_temp %' AS clean FROM victim;
SELECT drop_feature_view('trap'), drop_feature_view('victim');

-- What workers run cannot become somebody else, nor leave something behind for later.
CREATE TABLE sec_mallory_own.log (line text);
ALTER TABLE sec_mallory_own.log OWNER TO sec_mallory;
SET ROLE sec_mallory;
CREATE FUNCTION sec_mallory_own.as_root() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN ALTER ROLE sec_mallory SUPERUSER; RETURN NULL; END';
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON sec_mallory_own.log DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION sec_mallory_own.as_root();
CREATE FUNCTION sec_mallory_own.run(command text) RETURNS text LANGUAGE plpgsql VOLATILE
AS 'BEGIN EXECUTE command; RETURN ''done''; EXCEPTION WHEN OTHERS THEN RETURN sqlerrm; END';
CREATE FUNCTION sec_mallory_own.attempt(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN current_user || ': ' || concat_ws('; ',
		sec_mallory_own.run('SET ROLE pg_monitor'),
		sec_mallory_own.run('RESET ROLE'),
		sec_mallory_own.run('SET SESSION AUTHORIZATION DEFAULT'),
		sec_mallory_own.run('SET session_replication_role = replica'),
		sec_mallory_own.run('LISTEN x'),
		sec_mallory_own.run('CREATE TEMP TABLE abs (x int)'),
		sec_mallory_own.run('DECLARE c CURSOR WITH HOLD FOR SELECT sec_mallory_own.as_root()'),
		sec_mallory_own.run('INSERT INTO sec_mallory_own.log VALUES (1)'),
		sec_mallory_own.run('CREATE TRIGGER t AFTER INSERT ON sec.sales FOR EACH ROW EXECUTE FUNCTION sec_mallory_own.as_root()'),
		sec_mallory_own.run('SELECT * FROM sec.payroll'),
		sec_mallory_own.run('COMMIT'));
END $$;
SELECT create_feature_view('attempts', 'SELECT shop, max(sec_mallory_own.attempt(amount)) AS inner_call,
	sec_mallory_own.attempt(count(*)::int) AS outer_call FROM sales WHERE id = 1 GROUP BY shop', online => '{}');
RESET ROLE;
SELECT sync() > '0/0' AS synced;
SELECT replace(inner_call, '; ', E'\n') AS inner_call FROM attempts;
SELECT replace(outer_call, '; ', E'\n') AS outer_call FROM attempts;
SELECT rolsuper FROM pg_roles WHERE rolname = 'sec_mallory';
SELECT count(*) FROM sec_mallory_own.log;
SELECT drop_feature_view('attempts');

-- The stored definition, which workers compile and run, is nobody's to change; reading it is
-- reading the table.
SET ROLE sec_mallory;
SELECT create_feature_view('mine', 'SELECT shop, count(amount) AS n FROM sales GROUP BY shop', online => '{}');
CREATE OR REPLACE VIEW feature_engine_def.mine AS SELECT shop, count(salary) AS n FROM sec.payroll GROUP BY shop;
CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO feature_engine_def.mine
DO INSTEAD SELECT shop, sum(salary) AS n FROM sec.payroll GROUP BY shop;
ALTER VIEW feature_engine_def.mine SET SCHEMA sec_mallory_own;
ALTER VIEW feature_engine_def.mine RENAME COLUMN n TO m;
ALTER VIEW feature_engine_def.mine SET (security_invoker = false);
DROP VIEW feature_engine_def.mine CASCADE;
SELECT count(*) FROM feature_engine_def.mine;
SET ROLE sec_reader;
SELECT count(*) FROM feature_engine_def.mine;
RESET ROLE;
SELECT sync() > '0/0' AS synced;
-- the relation is the owner's: whatever he makes of its columns is an error at most
SET ROLE sec_mallory;
ALTER FOREIGN TABLE mine ALTER COLUMN n TYPE text;
SELECT * FROM mine;
SELECT n FROM mine WHERE shop = 1;
ALTER FOREIGN TABLE mine ALTER COLUMN n TYPE bigint;
SELECT n FROM mine WHERE shop = 1;
ALTER FOREIGN TABLE mine ADD COLUMN extra text;
SELECT * FROM mine;
ALTER FOREIGN TABLE mine DROP COLUMN extra, DROP COLUMN n;
SELECT * FROM mine;
SELECT get_features('mine', 1);
ALTER FOREIGN TABLE mine NO INHERIT sales;
ALTER TABLE sec.sales INHERIT mine;
RESET ROLE;
SELECT drop_feature_view('mine');

-- An owner who may not read the table any more: reading fails at once, as with a view, for
-- everybody; the view stops with the next row.
SET ROLE sec_owner;
SELECT create_feature_view('n_of', 'SELECT shop, count(amount) AS n FROM sales GROUP BY shop', online => '{}');
GRANT SELECT ON n_of TO sec_reader;
RESET ROLE;
SELECT sync() > '0/0' AS synced;
PREPARE n_of AS SELECT n FROM n_of WHERE shop = 0;
EXECUTE n_of;
REVOKE SELECT ON sales FROM sec_owner;
EXECUTE n_of;
SELECT get_features('n_of', 0);
SET feature_engine.allow_stale = on;
EXECUTE n_of;
RESET feature_engine.allow_stale;
-- columns are enough
GRANT SELECT (shop) ON sales TO sec_owner;
EXECUTE n_of;
GRANT SELECT (amount) ON sales TO sec_owner;
EXECUTE n_of;

-- Row-level security: refused unless the owner sees all rows, and noticed when it comes later.
ALTER TABLE sales ENABLE ROW LEVEL SECURITY;
EXECUTE n_of;
SET ROLE sec_owner;
SELECT create_feature_view('refused', 'SELECT shop, count(*) AS n FROM sales GROUP BY shop');
SET row_security = off;
SELECT get_features('n_of', 0);
RESET row_security;
RESET ROLE;
ALTER ROLE sec_owner BYPASSRLS;
EXECUTE n_of;
ALTER ROLE sec_owner NOBYPASSRLS;
EXECUTE n_of;
ALTER TABLE sales DISABLE ROW LEVEL SECURITY;
EXECUTE n_of;
-- the table's owner is bound by it only where it is forced
CREATE TABLE own (k int, v int);
ALTER TABLE own REPLICA IDENTITY FULL;
ALTER TABLE own OWNER TO sec_owner;
ALTER TABLE own ENABLE ROW LEVEL SECURITY;
SET ROLE sec_owner;
SELECT create_feature_view('own_view', 'SELECT k, count(*) AS n FROM own GROUP BY k', online => '{}');
ALTER TABLE own FORCE ROW LEVEL SECURITY;
RESET ROLE;
SELECT * FROM own_view;
INSERT INTO own VALUES (1, 1);
\set VERBOSITY terse
SELECT sync();
\set VERBOSITY default
ALTER TABLE own NO FORCE ROW LEVEL SECURITY;
SELECT refresh_feature_view('own_view');
SELECT sync() > '0/0' AS synced;
SELECT * FROM own_view;

-- Messages may hold values of rows: they are for the owner and for who may read all statistics.
SET ROLE sec_owner;
SELECT create_feature_view('broken', 'SELECT shop, sum((''secret '' || amount)::int) AS n FROM sales GROUP BY shop', online => '{}');
GRANT SELECT ON broken TO sec_reader;
RESET ROLE;
SELECT sync();
SET ROLE sec_owner;
SELECT sync(view => 'broken');
SELECT name, last_error FROM status WHERE name = 'broken';
SET ROLE sec_monitor;
SELECT name, last_error FROM status WHERE name = 'broken';
SET ROLE sec_reader;
SELECT name, last_error FROM status WHERE name = 'broken';
SELECT last_error FROM view_status() WHERE last_error IS NOT NULL;
SELECT sync(view => 'broken');
SELECT get_features('broken', 1);
RESET ROLE;
SELECT drop_feature_view('broken');

-- Tables and functions of the extension, as anybody.
SET ROLE sec_reader;
SELECT count(*) > 0 AS listed FROM feature_engine.feature_views;
INSERT INTO feature_engine.feature_view_catalog SELECT * FROM feature_engine.feature_view_catalog;
DELETE FROM feature_engine.feature_view_catalog;
SELECT * FROM feature_engine.checkpoint;
SELECT * FROM feature_engine.checkpoint_chunk;
SELECT * FROM feature_engine.online_footprint;
SELECT nextval('feature_engine.feature_view_id');
SELECT nextval('feature_engine.online_footprint_id');
SELECT push_now('labels');
SELECT refresh_feature_view('labels');
SELECT set_clock(NULL);
SELECT feature_engine.catalog_sql_drop();
SELECT feature_engine.source_rewritten();
CREATE FUNCTION feature_engine.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE VIEW feature_engine_def.mine AS SELECT 1;
CREATE FOREIGN TABLE sec_reader_own.labels (shop int, label text) SERVER feature_engine;
SET feature_engine.redis_url = 'redis://elsewhere';
\set VERBOSITY sqlstate
SHOW feature_engine.redis_url;
\set VERBOSITY default
RESET ROLE;
-- every function that PUBLIC may call; a new one belongs on this list only when it is harmless. Those
-- with an argument of type internal cannot be called in SQL.
SELECT DISTINCT p.proname AS public_function
FROM pg_proc p WHERE p.pronamespace = 'feature_engine'::regnamespace
AND NOT 'internal'::regtype = ANY (p.proargtypes)
AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) WHERE grantee = 0))
ORDER BY 1;
SELECT string_agg(c.relname, ' ' ORDER BY c.relname) AS public_relations
FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = 'feature_engine'::regnamespace AND a.grantee = 0;

-- The relation's owner is who runs the expressions.
SELECT owner FROM feature_views WHERE name = 'labels';
ALTER FOREIGN TABLE labels OWNER TO sec_mallory;
SELECT * FROM labels ORDER BY shop;
SELECT count(*) FROM check_feature_view('labels');
ALTER TABLE labels OWNER TO sec_owner;
-- who may not read the table may own the view, but nobody reads it then
ALTER FOREIGN TABLE labels OWNER TO sec_reader;
SELECT get_features('labels', 0);
REASSIGN OWNED BY sec_reader TO sec_owner;
SELECT owner FROM feature_views WHERE name = 'labels';
SELECT label FROM labels WHERE shop = 0;
-- replaced by a superuser it stays its owner's, who needs the rights
SELECT create_feature_view('labels', 'SELECT shop, sec.label(count(*)) AS label, max(salary) AS hi FROM payroll GROUP BY shop', replace => true);
SELECT create_feature_view('labels', 'SELECT shop, sec.label(count(*)) AS label, current_user::text || max(amount) AS who FROM sales GROUP BY shop', replace => true);
SELECT create_feature_view('labels', 'SELECT shop, sec.label(count(*)) AS label, max(amount) AS hi FROM sales GROUP BY shop', replace => true);
SELECT sync() > '0/0' AS synced;
SELECT owner FROM feature_views WHERE name = 'labels';
SELECT label, hi FROM labels WHERE shop = 0;
\set VERBOSITY terse
DROP ROLE sec_owner;
\set VERBOSITY default
-- what is left of an owner
DROP OWNED BY sec_mallory;
DROP ROLE sec_mallory;
REASSIGN OWNED BY sec_owner TO sec_monitor;
GRANT SELECT ON sales TO sec_monitor;
DROP OWNED BY sec_owner;
DROP ROLE sec_owner;
SELECT owner FROM feature_views WHERE name = 'labels';
SELECT label FROM labels WHERE shop = 0;
-- (stored definitions are nobody's, so that functions and tables that they use go with CASCADE)
SET client_min_messages = warning;
DROP OWNED BY sec_monitor CASCADE;
RESET client_min_messages;
SELECT count(*) FROM feature_views;
SELECT count(*) FROM pg_class WHERE relnamespace = 'feature_engine_def'::regnamespace;

-- From nothing, without a superuser: USAGE and CREATE on a schema, SELECT on the table.
CREATE ROLE sec_least;
CREATE SCHEMA sec_least_views AUTHORIZATION sec_least;
GRANT SELECT (shop) ON sales TO sec_least;
SET ROLE sec_least;
SELECT feature_engine.create_feature_view('sec_least_views.least', 'SELECT shop, count(*) AS n FROM sec.sales GROUP BY shop');
SELECT feature_engine.sync() > '0/0' AS synced;
SELECT * FROM sec_least_views.least ORDER BY shop;
SELECT count(*) FROM feature_engine.check_feature_view('least');
SELECT feature_engine.alter_feature_view('least', ttl => '1 day');
SELECT feature_engine.refresh_feature_view('least');
SELECT feature_engine.drop_feature_view('least');
RESET ROLE;

-- Hostile names: of table, schema, columns, view, key template. Nothing is ever executed, and
-- check_feature_view, which writes a statement with them, gets it right.
CREATE SCHEMA "s'; DROP TABLE sec.sales; --";
CREATE TABLE "s'; DROP TABLE sec.sales; --"."t"" %s {} $1 \ ü
x" ("k'""; %n k" text, "select" int, "a\'$$
" int);
ALTER TABLE "s'; DROP TABLE sec.sales; --"."t"" %s {} $1 \ ü
x" REPLICA IDENTITY FULL;
INSERT INTO "s'; DROP TABLE sec.sales; --"."t"" %s {} $1 \ ü
x" VALUES (E'x''"; DROP TABLE sec.sales; -- \\ %s {} \n', 1, 2), ('', 2, 3), (NULL, 3, 4);
SELECT create_feature_view('"s''; DROP TABLE sec.sales; --"."v''""; %s {} $$ \ ü"', $q$
	SELECT "k'""; %n k", "select", sum("a\'$$
") AS "f'""; %s {}", count(*) AS "n"
	FROM "s'; DROP TABLE sec.sales; --"."t"" %s {} $1 \ ü
x" GROUP BY 1, 2 $q$, redis_key => 'a''";\ $s {{}} $1:{select}:{k''"; %n k}');
SELECT create_feature_view(quote_ident(repeat('é', 31)), 'SELECT shop AS "' || repeat('ü', 31) || '", count(*) AS "' || repeat('x', 63) || '" FROM sec.sales GROUP BY 1', online => '{}');
SELECT sync() > '0/0' AS synced;
SELECT name, redis_key, state FROM feature_views JOIN status USING (name) ORDER BY name;
SELECT get_features('"v''""; %s {} $$ \ ü"', E'x''"; DROP TABLE sec.sales; -- \\ %s {} \n'::text, 1);
SELECT get_features('"s''; DROP TABLE sec.sales; --"."v''""; %s {} $$ \ ü"', ''::text, 2);
SELECT * FROM "s'; DROP TABLE sec.sales; --"."v'""; %s {} $$ \ ü" ORDER BY "select";
SELECT count(*) FROM check_feature_view('"v''""; %s {} $$ \ ü"');
SELECT count(*) FROM check_feature_view(quote_ident(repeat('é', 31)));
SELECT count(*) FROM check_feature_view('"v''""; %s {} $$ \ ü"', sample => 2);
SELECT alter_feature_view('"v''""; %s {} $$ \ ü"', online => ARRAY[$$f'"; %s {}$$], redis_key => E'b\n'';{select}/{k''"; %n k}');
SELECT sync(redis => true) > '0/0' AS synced;
SELECT refresh_feature_view('"v''""; %s {} $$ \ ü"');
SELECT sync() > '0/0' AS synced;
SELECT count(*) FROM check_feature_view('"v''""; %s {} $$ \ ü"');
-- errors repeat names as they are
SELECT get_features('"nobody''s; %s %n {}"', 1);
SELECT drop_feature_view('x''; DROP TABLE sec.sales; --');
SELECT alter_feature_view('"v''""; %s {} $$ \ ü"', online => ARRAY['%s''; --']);
SELECT alter_feature_view('"v''""; %s {} $$ \ ü"', redis_key => '{%s''; --}');
SELECT sync(view => '"%s'' OR true; --"');
SELECT count(drop_feature_view(quote_ident(name))) FROM feature_views;
SELECT count(*) FROM sec.sales;

SET client_min_messages = warning;
DROP SCHEMA sec, sec_reader_own, sec_mallory_own, sec_least_views, "s'; DROP TABLE sec.sales; --" CASCADE;
DROP OWNED BY sec_reader, sec_monitor, sec_least;
DROP ROLE sec_reader, sec_monitor, sec_least;
