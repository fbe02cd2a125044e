-- sync(): what it waits for, and what it says when that cannot come.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA syncing;
SET search_path = syncing, feature_engine;
CREATE TABLE readings (sensor int, value int);
ALTER TABLE readings REPLICA IDENTITY FULL;
INSERT INTO readings VALUES (1, 1), (2, 2);

-- A view is built after the commit of the transaction that makes it, which sync() does not wait for in vain.
BEGIN;
SELECT create_feature_view('sums', 'SELECT sensor, sum(value) AS s FROM readings GROUP BY sensor');
SELECT sync();
ROLLBACK;
SELECT create_feature_view('sums', 'SELECT sensor, sum(value) AS s FROM readings GROUP BY sensor');
SELECT sync() > '0/0' AS synced;
SELECT sync('200000 years') > '0/0' AS synced;
BEGIN;
SELECT create_feature_view('sums', 'SELECT sensor, sum(value) AS s, max(value) AS hi FROM readings GROUP BY sensor', replace => true);
SELECT sync();
ROLLBACK;
BEGIN;
SELECT refresh_feature_view('sums');
SELECT sync();
ROLLBACK;
-- in a subtransaction it is the same transaction; other views can be waited for
BEGIN;
SAVEPOINT s;
SELECT create_feature_view('more', 'SELECT sensor, min(value) AS lo FROM readings GROUP BY sensor');
RELEASE s;
SELECT sync(view => 'sums') > '0/0' AS synced;
SELECT sync(view => 'more');
ROLLBACK;
-- what needs no building needs no commit: other options, outputs over the same state, a drop
BEGIN;
SELECT alter_feature_view('sums', ttl => '1 day');
SELECT sync() > '0/0' AS synced;
SELECT create_feature_view('sums', 'SELECT sensor, sum(value) AS s, sum(value) * 2 AS double FROM readings GROUP BY sensor', replace => true);
SELECT sync() > '0/0' AS synced;
SELECT double FROM sums WHERE sensor = 2;
SELECT drop_feature_view('sums');
SELECT sync() > '0/0' AS synced;
ROLLBACK;

-- A view that has stopped: the others are caught up before it is told of.
SELECT create_feature_view('inverse', 'SELECT sensor, sum(12 / value) AS s FROM readings GROUP BY sensor');
SELECT sync() > '0/0' AS synced;
INSERT INTO readings VALUES (1, 0), (2, 5);
SELECT sync();
SELECT * FROM sums ORDER BY sensor;
INSERT INTO readings VALUES (2, 1);
SELECT sync(view => 'sums') > '0/0' AS synced;
SELECT * FROM sums ORDER BY sensor;
SELECT sync(view => 'syncing.inverse');
SELECT * FROM check_feature_view('sums');
-- so is one that is made while another has stopped
SELECT create_feature_view('halves', 'SELECT sensor, sum(6 / value) AS s FROM readings GROUP BY sensor');
SELECT sync();
SELECT create_feature_view('counts', 'SELECT sensor, count(*) AS n FROM readings GROUP BY sensor');
SELECT sync(view => 'counts') > '0/0' AS synced;
SELECT * FROM counts ORDER BY sensor;
-- when its rows are right again it comes back by itself
DELETE FROM readings WHERE value = 0;
DO $$ BEGIN
    LOOP
        BEGIN
            PERFORM sync();
            EXIT;
        EXCEPTION WHEN object_not_in_prerequisite_state THEN
            PERFORM pg_sleep(0.05);
        END;
    END LOOP;
END $$;
SELECT * FROM inverse ORDER BY sensor;
SELECT * FROM halves ORDER BY sensor;

-- a new definition that stops does not disturb the old one
SELECT create_feature_view('sums', 'SELECT sensor, sum(1 / (value - 5)) AS s FROM readings GROUP BY sensor', replace => true);
SELECT sync();
SELECT * FROM sums ORDER BY sensor;

SELECT sync(view => 'nothing');
SELECT sync('-1 second');
SELECT count(drop_feature_view(name)) FROM feature_views;
DROP TABLE readings;
DROP SCHEMA syncing;
