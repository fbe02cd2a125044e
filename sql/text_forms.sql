-- Forms of text that PostgreSQL calls immutable and that depend on settings all the same (floats,
-- bytea, XML, JSON of such, functions of users): every session, the workers and Redis see the same ones.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA text_forms;
SET search_path = text_forms, feature_engine;
CREATE TABLE items (id int PRIMARY KEY, k int, f float8, b bytea, i interval, p point);
ALTER TABLE items REPLICA IDENTITY FULL;
-- looks at settings, and is said to be immutable
CREATE FUNCTION shown(f float8, b bytea, i interval, t timestamptz) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RETURN concat_ws(' ', f, b, i, t); END $$;
SELECT create_feature_view('forms', $$
    SELECT k,
           -- over the row, in the worker: a key's text, a filter, an argument
           count(*) FILTER (WHERE f::text = '0.1')                       AS tenths,
           max(f::text)                                                  AS f,
           max(b::text)                                                  AS b,
           max(p::text)                                                  AS p,
           max(shown(f, b, i, 'epoch'))                                  AS user_function,
           -- over aggregates, in who reads
           (max(f) / 3)::text                                            AS third,
           shown(max(f), NULL, max(i), 'epoch')                          AS user_output,
           xmlelement(name e, max(f), max(i))::text                      AS xml,
           max(xmlelement(name e, b)::text)                              AS xml_bytea,
           -- over the rows' arguments, in who reads
           json_agg(f ORDER BY id)::text                                 AS json,
           jsonb_agg(f ORDER BY id)::text                                AS jsonb,
           json_agg(b ORDER BY id)::text                                 AS json_bytea,
           -- constants, wherever the definition is compiled
           count(*) FILTER (WHERE b::text = '\x01ff'::bytea::text)       AS ones,
           max(shown(0.1, '\x01', '1 day', 'epoch'))                     AS constant
    FROM items GROUP BY k $$, redis_key => 'forms:{k}');
-- by whatever settings a session writes and reads
SET extra_float_digits = -10; SET bytea_output = escape; SET intervalstyle = iso_8601; SET timezone = 'Asia/Kathmandu'; SET datestyle = german;
SET xmlbinary = hex; SET quote_all_identifiers = on;
INSERT INTO items VALUES (1, 1, 0.1, '\x01ff', '1 day 02:03:04', '(0.1,3)'), (2, 1, 1.0 / 3, '\x00', '-1 mon', '(1,2)');
SELECT sync(redis => true) IS NOT NULL AS synced;
\x
SELECT * FROM forms;
RESET extra_float_digits; RESET bytea_output; RESET intervalstyle; RESET datestyle; RESET timezone; RESET xmlbinary; RESET quote_all_identifiers;
SELECT * FROM forms;
\x
SELECT * FROM check_feature_view('forms');
SET extra_float_digits = -10; SET bytea_output = escape; SET intervalstyle = iso_8601; SET timezone = 'Asia/Kathmandu';
SELECT * FROM check_feature_view('forms');
SELECT get_features('forms', 1) ->> 'third' AS third;
SELECT current_setting('extra_float_digits') AS floats, current_setting('timezone') AS zone;
RESET extra_float_digits; RESET bytea_output; RESET intervalstyle; RESET timezone;
\! redis-cli -s "$FE_REDIS_SOCK" --raw HMGET forms:1 tenths f b p user_function third user_output xml xml_bytea json jsonb json_bytea ones constant
-- a database's own settings, which workers begin with
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET extra_float_digits = -12', current_database());
            EXECUTE format('ALTER DATABASE %I SET intervalstyle = sql_standard', current_database()); END $$;
SELECT refresh_feature_view('forms');
SELECT pg_terminate_backend(ingest_pid) AS ended FROM worker_status();
SELECT sync() IS NOT NULL AS synced;
SELECT f, third, tenths, user_function, constant FROM forms;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET extra_float_digits', current_database());
            EXECUTE format('ALTER DATABASE %I RESET intervalstyle', current_database()); END $$;
SELECT drop_feature_view('forms');
SET client_min_messages = warning;
DROP SCHEMA text_forms CASCADE;
