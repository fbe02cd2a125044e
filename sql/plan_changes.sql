-- Lookups with several arrays; a prepared query that outlives a replacement with
-- another key; an expression that fails.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
SET search_path = public, feature_engine;
CREATE TABLE plan_changes (a int, b int, c int, x int);
ALTER TABLE plan_changes REPLICA IDENTITY FULL;
INSERT INTO plan_changes SELECT i % 3, i % 4, i % 5, i FROM generate_series(1, 600) i;
SELECT create_feature_view('by_abc', 'SELECT a, b, c, count(*) AS n FROM plan_changes GROUP BY a, b, c');
SELECT create_feature_view('by_key', 'SELECT a, max(b) AS b, count(*) AS n FROM plan_changes GROUP BY a');
SELECT sync() IS NOT NULL AS synced;

SELECT * FROM by_abc WHERE a = ANY ('{1,2}') AND b = 1 AND c = ANY ('{3,4}') ORDER BY 1, 2, 3;
SELECT * FROM by_abc WHERE a IN (1, 2) AND a = 2 AND b IN (1, NULL) AND c = 3;

SET plan_cache_mode = force_generic_plan;
PREPARE by_a(int) AS SELECT * FROM by_key WHERE a = $1 ORDER BY b;
EXECUTE by_a(1);
SELECT create_feature_view('by_key', 'SELECT a, b, count(*) AS n FROM plan_changes GROUP BY a, b', replace => true);
SELECT sync() IS NOT NULL AS synced;
EXECUTE by_a(1);
PREPARE by_a_b(int, int) AS SELECT * FROM by_key WHERE a = $1 AND b = $2;
EXECUTE by_a_b(1, 3);
SELECT create_feature_view('by_key', 'SELECT a, max(b) AS b, count(*) AS n FROM plan_changes GROUP BY a', replace => true);
SELECT sync() IS NOT NULL AS synced;
EXECUTE by_a_b(1, 3);
RESET plan_cache_mode;

-- an expression that fails for a row stops its view, and nothing else
SELECT create_feature_view('quotients', 'SELECT a, sum(100 / x) AS q FROM plan_changes GROUP BY a');
SELECT sync() IS NOT NULL AS synced;
SELECT ingest_pid AS pid FROM worker_status() \gset
INSERT INTO plan_changes VALUES (1, 1, 1, 0);
SELECT sync();
SELECT n FROM by_key WHERE a = 1;
SELECT ingest_pid = :pid AS same_worker FROM worker_status();
SELECT drop_feature_view('quotients');

SELECT drop_feature_view('by_abc'), drop_feature_view('by_key');
DROP TABLE plan_changes;
