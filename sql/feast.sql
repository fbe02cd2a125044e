-- redis_layout => 'feast': what Feast's client can read of a feature view, and what it cannot.
-- (What is in Redis then: test/t/047_feast_layout.pl.)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA feast;
SET search_path = feast, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;

CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE pair AS (a int, b int);
CREATE DOMAIN email AS text CHECK (value LIKE '%@%');
CREATE DOMAIN amount AS numeric(12,2);
CREATE TABLE facts (
    id bigint PRIMARY KEY, customer_id int, merchant text, code "char", u uuid, r float8, b bool,
    n numeric, a amount, e email, m mood, doc jsonb, i interval, s int4range, p pair,
    moment timestamptz, whole timestamptz(0), stamp timestamp, day date, bin bytea,
    labels text[], amounts numeric[], raw json
);
ALTER TABLE facts REPLICA IDENTITY FULL;

CREATE FUNCTION try(outputs text, keys text DEFAULT 'customer_id', name text DEFAULT 'v', online text[] DEFAULT NULL,
                    redis_key text DEFAULT NULL, redis_layout text DEFAULT 'feast', feast_project text DEFAULT 'demo')
RETURNS regclass LANGUAGE sql AS
$$ SELECT create_feature_view($3, 'SELECT ' || $2 || ', ' || $1 || ' FROM facts GROUP BY ' || $2,
          online => $4, redis_key => $5, redis_layout => $6, feast_project => $7) $$;

-- Options
SELECT try('count(*) AS c', redis_layout => 'json');
SELECT try('count(*) AS c', redis_layout => 'hash');
SELECT try('count(*) AS c', redis_key => 'v:{customer_id}');
SELECT try('count(*) AS c', feast_project => '_demo');
SELECT try('count(*) AS c', feast_project => 'my project');
SELECT try('count(*) AS c', feast_project => '');
SELECT try('count(*) AS c', feast_project => NULL) IS NOT NULL AS created;
SELECT name, redis_layout, feast_project = current_database() AS of_the_database, redis_key FROM feature_views;
SELECT alter_feature_view('v', redis_key => 'v:{customer_id}');
SELECT alter_feature_view('v', feast_project => 'other');
SELECT name, redis_layout, feast_project FROM feature_views;
SELECT alter_feature_view('v', redis_layout => 'hash', feast_project => 'other');
SELECT alter_feature_view('v', redis_layout => 'hash', redis_key => 'v:{customer_id}');
SELECT name, redis_layout, feast_project, redis_key FROM feature_views;
SELECT alter_feature_view('v', redis_layout => 'feast');
SELECT alter_feature_view('v', feast_project => 'demo');
SELECT alter_feature_view('v', redis_layout => 'feast', feast_project => 'demo', reset => ARRAY['redis_key']);
SELECT name, redis_layout, feast_project, redis_key FROM feature_views;
SELECT alter_feature_view('v', reset => ARRAY['feast_project']);
SELECT redis_layout, feast_project = current_database() AS of_the_database FROM feature_views;
SELECT alter_feature_view('v', reset => ARRAY['redis_layout']);
SELECT name, redis_layout, feast_project FROM feature_views;
SELECT drop_feature_view('v');

-- A database whose name is no project's
\set here :DBNAME
CREATE DATABASE "regress feast";
\c "regress feast"
SET client_min_messages = warning;
CREATE EXTENSION feature_engine;
CREATE TABLE t (id int PRIMARY KEY, k int);
ALTER TABLE t REPLICA IDENTITY FULL;
SELECT feature_engine.create_feature_view('v', 'SELECT k, count(*) AS n FROM t GROUP BY k', redis_layout => 'feast');
\c :here
DROP DATABASE "regress feast";
SET search_path = feast, feature_engine;
SET timezone = 'UTC';

-- Features: every type that Feast has
SELECT try($$ count(*) AS i8, min(customer_id) AS i4, min(customer_id)::int2 AS i2, avg(r) AS f8,
              max(r)::float4 AS f4, bool_or(b) AS yes, max(merchant) AS txt, max(e) AS dom, max(m) AS enum,
              last(bin, moment) AS bin, max(moment) AS tz, max(stamp) AS ts, max(day) AS day,
              array_agg(id ORDER BY id) AS ids, top_k(merchant, 3) AS texts, sum(n)::float8 AS total,
              sum(n)::text AS exact $$);
SELECT drop_feature_view('v');
-- ... and those that it has not, named
SELECT try('count(*) AS c, sum(n) AS total');
SELECT try('max(a) AS total');
SELECT try('last(u, moment) AS "Last One"');
SELECT try('last(doc, moment) AS doc');
SELECT try('sum(i) AS took');
SELECT try('last(s, moment) AS span');
SELECT try('last(p, moment) AS pair');
SELECT try('last(code, moment) AS code');
SELECT try('last(amounts, moment) AS amounts');
SELECT create_feature_view('v', $$SELECT o.*, o.total * 2 AS twice
    FROM (SELECT customer_id, sum(r) AS total, sum(n) AS exact FROM facts GROUP BY 1) o$$,
    redis_layout => 'feast', feast_project => 'demo');
-- unless they do not go to Redis
SELECT try('count(*) AS c, sum(n) AS total', online => ARRAY['c']);
SELECT alter_feature_view('v', online => ARRAY['total']);
SELECT alter_feature_view('v', reset => ARRAY['online']);
SELECT drop_feature_view('v');

-- Windows in GROUP BY: the newest is served, and the window itself stays out
SELECT create_feature_view('v', $$SELECT customer_id, tumble(moment, '1 day') AS w, count(*) AS c
    FROM facts GROUP BY 1, 2$$, redis_layout => 'feast', feast_project => 'demo');
SELECT create_feature_view('v', $$SELECT customer_id, tumble(moment, '1 day') AS w, count(*) AS c
    FROM facts GROUP BY 1, 2$$, redis_layout => 'feast', feast_project => 'demo', online => ARRAY['c']);
SELECT drop_feature_view('v');

-- Keys
SELECT try('count(*) AS c', keys => 'merchant, day, bin, whole, m, e, id');
SELECT drop_feature_view('v');
SELECT try('count(*) AS c', keys => 'r');
SELECT try('count(*) AS c', keys => 'b');
SELECT try('count(*) AS c', keys => 'customer_id, u');
SELECT try('count(*) AS c', keys => 'moment');
SELECT create_feature_view('v', $$SELECT moment::timestamptz(0) AS at, count(*) AS c FROM facts GROUP BY 1$$,
    redis_layout => 'feast', feast_project => 'demo');
SELECT drop_feature_view('v');

-- Names
SELECT try('count(*) AS "a:b"');
SELECT try('count(*) AS c', name => '"a:b"');
SELECT try('count(*) AS c', name => '"a@v2"');

-- Fields are named by a hash: two of one hash in one view, in two of the same join keys
SELECT try('count(*) AS f95277, sum(r) AS f207687', name => 'shop');
SELECT try('count(*) AS f95277, sum(r) AS f207687', name => 'shop', online => ARRAY['f95277']);
SELECT try('count(*) AS f52324', name => 'left');
SELECT try('count(*) AS g14110', name => 'right');
SELECT alter_feature_view('shop', reset => ARRAY['online']);
-- ... which is no matter in another project, or of other join keys
SELECT try('count(*) AS g14110', name => 'right', feast_project => 'other');
SELECT alter_feature_view('right', feast_project => 'demo');
SELECT drop_feature_view('right');
SELECT try('count(*) AS g14110', name => 'right', keys => 'customer_id, merchant');

-- One project knows a join key by one type
SELECT try('count(*) AS c', name => 'wide', keys => 'customer_id::bigint');
SELECT create_feature_view('wide', 'SELECT customer_id::bigint AS customer_id, count(*) AS c FROM facts GROUP BY 1',
    redis_layout => 'feast', feast_project => 'demo');
SELECT create_feature_view('wide', 'SELECT customer_id::bigint AS customer_id, count(*) AS c FROM facts GROUP BY 1',
    redis_layout => 'feast', feast_project => 'other');

-- Replacing a view is held to the same rules
SELECT create_feature_view('left', 'SELECT customer_id, count(*) AS f52324, sum(n) AS total FROM facts GROUP BY 1',
    redis_layout => 'feast', feast_project => 'demo', replace => true);

SELECT drop_feature_view(name) FROM feature_views ORDER BY name;
DROP SCHEMA feast CASCADE;
