-- What no window will hold again is not evaluated: an error in such a row is no error of the view.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA old_rows;
SET search_path = old_rows, feature_engine;
SET timezone = 'UTC';
SELECT set_clock('2026-03-10 12:00+00');
CREATE TABLE probes (id int PRIMARY KEY, sensor int, x int, at timestamptz);
ALTER TABLE probes REPLICA IDENTITY FULL;
INSERT INTO probes VALUES
    (1, 1, 2, '2026-03-10 11:30+00'), (2, 1, 0, '2026-03-08 11:30+00'), (3, 2, 0, '2026-03-08 11:30+00'),
    (4, 1, 1, NULL), (5, 2, 0, 'infinity'), (6, 2, 0, '-infinity'), (7, 2, 5, '2026-03-10 11:45+00');

SELECT create_feature_view('inverse', $$
    SELECT sensor, count(*) AS n, sum(10 / x) FILTER (WHERE rolling(at, '1 hour')) AS s,
           last(10 / x, at) FILTER (WHERE rolling(at, '1 hour')) AS l,
           count(*) FILTER (WHERE rolling(at, '1 hour') AND 10 / x > 2) AS above
    FROM probes GROUP BY sensor $$);
SELECT create_feature_view('by_inverse', $$
    SELECT 10 / x AS inverse, count(*) AS n, sum(10 / x) AS s FROM probes
    WHERE rolling(at, '1 hour') GROUP BY 10 / x $$);
SELECT sync() > '0/0' AS synced;
SELECT * FROM inverse ORDER BY sensor;
SELECT * FROM by_inverse ORDER BY inverse;
SELECT * FROM check_feature_view('inverse');
SELECT * FROM check_feature_view('by_inverse');

-- the same for changes of old rows
INSERT INTO probes VALUES (8, 2, 0, '2026-03-01 00:00+00'), (9, 3, 0, '2026-03-01 00:00+00');
UPDATE probes SET sensor = 4 WHERE id = 2;
UPDATE probes SET x = 1 WHERE id = 3;
UPDATE probes SET at = '2026-03-10 11:50+00' WHERE id = 3;
UPDATE probes SET x = 0, at = '2026-03-07 00:00+00' WHERE id = 7;
DELETE FROM probes WHERE id IN (5, 8);
SELECT sync() > '0/0' AS synced;
SELECT * FROM inverse ORDER BY sensor;
SELECT * FROM by_inverse ORDER BY inverse;
SELECT * FROM check_feature_view('inverse');
SELECT * FROM check_feature_view('by_inverse');
SELECT name, expired > 0 AS some_expired FROM status ORDER BY name;

-- a row that a window holds, or will hold, must have a value
INSERT INTO probes VALUES (10, 1, 0, '2026-03-10 12:30+00');
SELECT sync(view => 'inverse');
SELECT sync(view => 'by_inverse');

SELECT count(drop_feature_view(name)) FROM feature_views;
SELECT set_clock(NULL);
DROP TABLE probes;
DROP SCHEMA old_rows;
