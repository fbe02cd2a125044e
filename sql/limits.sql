-- What a feature view can have at most, and what is said beyond that.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA limits;
SET search_path = limits, feature_engine;

CREATE TABLE events (id int PRIMARY KEY, k int, x int, span interval, ts timestamptz, t timestamptz[]);
ALTER TABLE events REPLICA IDENTITY FULL;

-- A view with n of something, made by a template: %s is the number.
CREATE FUNCTION create_with(n int, item text, template text) RETURNS regclass LANGUAGE sql AS $$
    SELECT feature_engine.create_feature_view('many', format(template,
        (SELECT string_agg(replace(item, '%s', i::text), ', ' ORDER BY i) FROM generate_series(1, n) i)), online => '{}') $$;

\set VERBOSITY terse
-- ---- keys ----
SELECT create_with(16, 'k + %s AS k%s', 'SELECT %1$s, count(*) AS n FROM events GROUP BY 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16');
SELECT drop_feature_view('many');
SELECT create_with(17, 'k + %s AS k%s', 'SELECT %1$s, count(*) AS n FROM events GROUP BY 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17');

-- ---- event times, windows, combinations of windows ----
SELECT create_with(8, $$count(*) FILTER (WHERE rolling(t[%s], '1 day')) AS n%s$$, 'SELECT k, %s FROM events GROUP BY k');
SELECT drop_feature_view('many');
SELECT create_with(9, $$count(*) FILTER (WHERE rolling(t[%s], '1 day')) AS n%s$$, 'SELECT k, %s FROM events GROUP BY k');
SELECT create_with(64, $$count(*) FILTER (WHERE rolling(ts, '%s days')) AS n%s$$, 'SELECT k, %s FROM events GROUP BY k');
SELECT drop_feature_view('many');
SELECT create_with(65, $$count(*) FILTER (WHERE rolling(ts, '%s days')) AS n%s$$, 'SELECT k, %s FROM events GROUP BY k');
SELECT create_with(13, $$count(*) FILTER (WHERE rolling(ts, '%s days') AND rolling(ts, '1%s days', before => '1 day')) AS a%s,
    count(*) FILTER (WHERE rolling(ts, '%s days') AND tumbling(ts, '1%s hours')) AS b%s,
    count(*) FILTER (WHERE rolling(ts, '%s days')) AS c%s, count(*) FILTER (WHERE rolling(ts, '1%s days', before => '1 day')) AS d%s,
    count(*) FILTER (WHERE rolling(ts, '1%s days', before => '1 day') AND tumbling(ts, '1%s hours')) AS e%s,
    count(*) FILTER (WHERE tumbling(ts, '1%s hours')) AS f%s$$, 'SELECT k, %s FROM events GROUP BY k');

-- ---- joined tables ----
CREATE TABLE names (id int PRIMARY KEY, name text);
ALTER TABLE names REPLICA IDENTITY FULL;
SELECT create_with(7, 'max(n%s.name) AS m%s', 'SELECT e.k, %s FROM events e JOIN names n1 ON n1.id = e.x JOIN names n2 ON n2.id = e.x
    JOIN names n3 ON n3.id = e.x JOIN names n4 ON n4.id = e.x JOIN names n5 ON n5.id = e.x JOIN names n6 ON n6.id = e.x
    JOIN names n7 ON n7.id = e.x GROUP BY e.k');
SELECT drop_feature_view('many');
SELECT create_with(8, 'max(n%s.name) AS m%s', 'SELECT e.k, %s FROM events e JOIN names n1 ON n1.id = e.x JOIN names n2 ON n2.id = e.x
    JOIN names n3 ON n3.id = e.x JOIN names n4 ON n4.id = e.x JOIN names n5 ON n5.id = e.x JOIN names n6 ON n6.id = e.x
    JOIN names n7 ON n7.id = e.x JOIN names n8 ON n8.id = e.x GROUP BY e.k');

\set VERBOSITY default
-- ---- names and options ----
SELECT create_feature_view('a.b.c', 'SELECT k, count(*) AS n FROM events GROUP BY k');
SELECT create_feature_view('online', 'SELECT k, count(*) AS n FROM events GROUP BY k', online => '{n,NULL}');
SELECT create_feature_view('far', 'SELECT k, count(*) AS n FROM events GROUP BY k', ttl => '40000 days');
SELECT create_feature_view('far', 'SELECT k, count(*) AS n FROM events GROUP BY k', time_refresh => '10 ms');
SELECT create_feature_view('far', 'SELECT k, count(*) AS n FROM events GROUP BY k', push_interval => '2 days');
SELECT create_feature_view('far', 'SELECT k, count(*) AS n FROM events GROUP BY k', offline => true, history_interval => '0');
SELECT create_feature_view('far', 'SELECT k, count(*) AS n FROM events GROUP BY k', offline => true, history_retention => '1 minute');
SELECT create_feature_view('a_view_with_a_name_that_is_rather_long_as_names_go', 'SELECT k, count(*) AS and_a_long_feature FROM events GROUP BY k', online => '{}');
SELECT create_feature_service('long', '{a_view_with_a_name_that_is_rather_long_as_names_go:*}');
SELECT create_feature_service('longer', '{a_view_with_a_name_that_is_rather_long_as_names_go:*}', full_feature_names => true);
SELECT drop_feature_service('long');
SELECT drop_feature_view('a_view_with_a_name_that_is_rather_long_as_names_go');

-- ---- values: what overflows is raised to who reads that entity, as by the query ----
INSERT INTO events (id, k, span) VALUES (1, 1, '178000000 years'), (2, 1, '178000000 years'), (3, 2, '1 day');
SELECT create_feature_view('spans', 'SELECT k, sum(span) AS total FROM events GROUP BY k', online => '{}');
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM spans WHERE k = 2;
SELECT * FROM spans WHERE k = 1;
SELECT get_features('spans', 1);
SELECT k, sum(span) FROM events WHERE k = 1 GROUP BY k;
DELETE FROM events WHERE id = 2;
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM spans WHERE k = 1;

-- ---- a history that is no longer one ----
SELECT create_feature_view('kept', 'SELECT k, count(*) AS n, max(x) AS x FROM events GROUP BY k', offline => true, online => '{}');
SELECT create_training_set(NULL, 'SELECT 1 AS k, now() AS event_timestamp', ARRAY['kept:n']);
ALTER TABLE kept_history ALTER COLUMN x TYPE text;
SELECT historical_features_sql('SELECT 1 AS k, now() AS event_timestamp', ARRAY['kept:n']);
ALTER TABLE kept_history DROP COLUMN x;
SELECT alter_feature_view('kept', offline => true);
SELECT historical_features_sql('SELECT 1 AS k, now() AS event_timestamp', ARRAY['kept:x']) <> '' AS again;

SET client_min_messages = warning;
SELECT count(drop_feature_view(name, history => true)) FROM feature_views;
DROP SCHEMA limits CASCADE;
