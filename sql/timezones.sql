-- Values are the same whatever the session's TimeZone and DateStyle, also across changes to
-- and from summer time; so is what Redis holds.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA timezones;
SET search_path = timezones, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;

-- Berlin's clocks go forward at 01:00 UTC on 2026-03-29, New York's at 07:00 UTC on 2026-03-08.
SELECT set_clock('2026-03-30 00:30+00');
CREATE TABLE visits (id int PRIMARY KEY, place int, at timestamptz, local timestamp, day date, x numeric);
ALTER TABLE visits REPLICA IDENTITY FULL;

SELECT create_feature_view('visited', $$
    SELECT place, count(*) AS n,
           count(*) FILTER (WHERE rolling(at, '1 day', hop => '0'))           AS n_1d,
           count(*) FILTER (WHERE rolling(local, '1 day', hop => '0'))        AS local_1d,
           count(*) FILTER (WHERE rolling(day, '1 day', hop => '0'))          AS day_1d,
           count(*) FILTER (WHERE tumbling(at, '1 day'))                      AS today,
           max(at) AS latest, min(local) AS earliest, max(day) AS latest_day, last(x, at) AS last_x,
           (max(at) AT TIME ZONE 'UTC')::date                                 AS utc_day,
           (max(at) AT TIME ZONE 'Europe/Berlin')::date                       AS berlin_day,
           extract(hour FROM max(at) AT TIME ZONE 'America/New_York')         AS new_york_hour,
           CURRENT_DATE - max(day)                                            AS days_since,
           now() - max(at)                                                    AS age
    FROM   visits GROUP BY place
$$, redis_key => 'tz:{place}');

-- Each session writes in a zone of its own: a timestamptz is an instant, whoever wrote it.
SET timezone = 'Europe/Berlin';
INSERT INTO visits VALUES (1, 1, '2026-03-29 01:59:59', '2026-03-29 01:59:59', '2026-03-29', 1),   -- 00:59:59 UTC
                          (2, 1, '2026-03-29 03:00:00', '2026-03-29 03:00:00', '2026-03-29', 2),   -- a second later
                          (3, 1, '2026-03-29 02:30:00', '2026-03-29 02:30:00', '2026-03-28', 3);   -- does not exist there
SET timezone = 'America/New_York';
INSERT INTO visits VALUES (4, 1, '2026-03-29 20:30:00', '2026-03-29 20:30:00', '2026-03-29', 4),   -- 00:30 UTC, now
                          (5, 2, '2026-03-08 02:30:00', '2026-03-08 02:30:00', '2026-03-08', 5);
SET timezone = 'Asia/Kathmandu';
INSERT INTO visits VALUES (6, 2, '2026-03-30 05:45:00', '2026-03-30 05:45:00', '2026-03-30', 6);   -- 00:00 UTC
UPDATE visits SET x = x + 1 WHERE id = 3;
SET timezone = 'UTC';
SELECT sync(redis => true) IS NOT NULL AS synced;
SELECT id, place, at, local, day FROM visits ORDER BY id;
SELECT place, n, n_1d, local_1d, day_1d, today, latest, earliest, latest_day, last_x FROM visited ORDER BY place;
SELECT place, utc_day, berlin_day, new_york_hour, days_since, age FROM visited ORDER BY place;
\! redis-cli -s "$FE_REDIS_SOCK" --raw HMGET tz:1 n n_1d local_1d today latest earliest utc_day berlin_day new_york_hour days_since age

-- Every zone gives the same rows as UTC, and as the batch query run in that zone.
CREATE TABLE in_utc AS SELECT place, extract(epoch FROM latest) AS latest, n, n_1d, local_1d, day_1d, today, earliest,
    latest_day, last_x, utc_day, berlin_day, new_york_hour, days_since, age FROM visited;
CREATE FUNCTION differences(zone text, OUT rows int, OUT differ int, OUT checked int)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('timezone', zone, true);
    SELECT count(*) INTO rows FROM visited;
    SELECT count(*) INTO differ FROM (
        SELECT * FROM in_utc EXCEPT ALL
        SELECT place, extract(epoch FROM latest) AS latest, n, n_1d, local_1d, day_1d, today, earliest,
               latest_day, last_x, utc_day, berlin_day, new_york_hour, days_since, age FROM visited) d;
    SELECT count(*) INTO checked FROM check_feature_view('visited');
END $$;
SELECT zone, d.* FROM unnest('{UTC,Europe/Berlin,America/New_York,Asia/Kathmandu,Pacific/Kiritimati,Etc/GMT+12}'::text[]) zone,
    LATERAL differences(zone) d;
SET datestyle = 'German, DMY';
SELECT * FROM check_feature_view('visited');
SET datestyle = ISO;

-- Across the change itself: a day is 24 hours, in every zone.
SET timezone = 'Europe/Berlin';
SELECT set_clock('2026-03-30 03:00:00+02');
SELECT place, n_1d, local_1d, today, days_since, age FROM visited ORDER BY place;
SELECT set_clock('2026-03-30 03:00:00.000001+02');
SELECT place, n_1d, local_1d, today, days_since, age FROM visited ORDER BY place;
SELECT * FROM check_feature_view('visited');
-- and in autumn, where 02:30 comes twice
SELECT set_clock('2026-10-25 02:45:00+01');
INSERT INTO visits VALUES (7, 3, '2026-10-25 02:30:00+02', '2026-10-25 02:30:00', '2026-10-25', 7),
                          (8, 3, '2026-10-25 02:30:00+01', '2026-10-25 02:30:00', '2026-10-25', 8);
SELECT sync() IS NOT NULL AS synced;
SELECT place, n_1d, local_1d, today, latest, last_x, age FROM visited WHERE place = 3;
SELECT * FROM check_feature_view('visited');
SET timezone = 'UTC';
SELECT place, n_1d, local_1d, today, latest, last_x, age FROM visited WHERE place = 3;

-- What depends on the session's zone is refused, and the hint says what to write.
SELECT create_feature_view('refused', 'SELECT place, now()::date - max(at)::date AS days FROM visits GROUP BY place');
SELECT create_feature_view('refused', 'SELECT place, CURRENT_DATE - max(at)::date AS days FROM visits GROUP BY place');
SELECT create_feature_view('refused', 'SELECT place, date_trunc(''day'', max(at)) AS day FROM visits GROUP BY place');
SELECT create_feature_view('refused', 'SELECT place, extract(hour FROM max(at)) AS hour FROM visits GROUP BY place');
SELECT create_feature_view('refused', 'SELECT place, max(at - interval ''1 day'') AS m FROM visits GROUP BY place');
SELECT create_feature_view('refused', 'SELECT place, max(at) - max(day) AS d FROM visits GROUP BY place');
SELECT create_feature_view('refused', 'SELECT place, max(at) - max(local) AS d FROM visits GROUP BY place');
SELECT create_feature_view('refused', 'SELECT place, count(*) FILTER (WHERE at > local) AS n FROM visits GROUP BY place');
SELECT create_feature_view('refused', 'SELECT place, count(*) FILTER (WHERE at > ''2026-03-01'') AS n, age(max(at)) AS a FROM visits GROUP BY place');
SELECT create_feature_view('refused', 'SELECT place, max(to_char(at, ''HH24'')) AS h FROM visits GROUP BY place');
SELECT create_feature_view('refused', 'SELECT place, count(*) FILTER (WHERE at::text LIKE ''2026%'') AS n FROM visits GROUP BY place');
SELECT set_clock(NULL);
SELECT drop_feature_view('visited');
SET client_min_messages = warning;
DROP SCHEMA timezones CASCADE;
