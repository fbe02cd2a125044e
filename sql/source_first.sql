-- The source comes first: a feature view puts nothing on its table and locks it as a reader does, and
-- what the view cannot compute is the view's matter.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA source_first;
SET search_path = source_first, feature_engine;

CREATE TABLE t (id int PRIMARY KEY, k int, x int);
ALTER TABLE t REPLICA IDENTITY FULL;
CREATE TABLE d (id int PRIMARY KEY, name text);
ALTER TABLE d REPLICA IDENTITY FULL;
INSERT INTO t VALUES (1, 1, 5), (2, 2, 7);
CREATE VIEW put_on AS
    SELECT c.relname, (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = c.oid) AS triggers,
        (SELECT count(*) FROM pg_rewrite r WHERE r.ev_class = c.oid) AS rules,
        (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid) AS indexes,
        c.relnatts AS columns, c.relreplident
    FROM pg_class c WHERE c.oid IN ('t'::regclass, 'd'::regclass) ORDER BY 1;
SELECT * FROM put_on;

-- What a command holds on the tables until its transaction ends.
CREATE FUNCTION locks() RETURNS TABLE (relation regclass, modes text) LANGUAGE sql AS $$
    SELECT relation::regclass, string_agg(DISTINCT mode, ', ' ORDER BY mode) FROM pg_locks
    WHERE pid = pg_backend_pid() AND granted AND relation IN ('source_first.t'::regclass, 'source_first.d'::regclass) GROUP BY 1 ORDER BY 1 $$;
BEGIN;
SELECT create_feature_view('v', 'SELECT k, count(*) AS n, sum(10 / x) AS shares FROM t GROUP BY k', online => '{}', offline => true);
SELECT create_feature_view('joined', 'SELECT d.name, count(*) AS n FROM t JOIN d ON d.id = t.k GROUP BY d.name', online => '{}');
SELECT * FROM locks();
COMMIT;
SELECT sync() IS NOT NULL AS synced;
SELECT * FROM put_on;
BEGIN;
SELECT alter_feature_view('v', history_retention => '30 days');
SELECT * FROM v WHERE k = 1;
SELECT * FROM explain_feature_view('SELECT k, count(*) AS n FROM t GROUP BY k') WHERE false;
SELECT * FROM locks();
COMMIT;
SELECT name, altered_at > created_at AS altered FROM feature_views ORDER BY name;
-- building it anew reads the table in the worker, not here
BEGIN;
SELECT refresh_feature_view('v');
SELECT * FROM locks();
COMMIT;

-- ---- a row that the view cannot take in ----
BEGIN;
INSERT INTO t VALUES (3, 1, 0);
COMMIT;
SELECT sync();
SELECT state, last_error FROM status WHERE name = 'joined';
SELECT count(*) FROM t;
DELETE FROM t WHERE id = 3;

SET client_min_messages = warning;
SELECT count(drop_feature_view(name, history => true)) FROM feature_views;
SELECT * FROM put_on;
DROP SCHEMA source_first CASCADE;
