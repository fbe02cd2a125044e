-- rolling() and tumbling() as a batch query runs them. T is feature_engine.as_of.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA windows;
SET search_path = windows, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;

SET feature_engine.as_of = '2026-03-11 10:20:30+00';
SELECT feature_engine.now();

-- The head is T itself, the tail moves in steps: 30 days go in steps of 6 hours.
SELECT ts, rolling(ts, '30 days')
FROM (VALUES ('2026-02-09 05:59:59.999999+00'::timestamptz), ('2026-02-09 06:00+00'),
             ('2026-02-09 10:20:30+00'), ('2026-03-11 10:20:30+00'),
             ('2026-03-11 10:20:30.000001+00'), (NULL), ('-infinity'), ('infinity')) v(ts);

-- A hop of its own, and none: exact to the microsecond.
SELECT ts, rolling(ts, '1 day', '1 day') AS by_day, rolling(ts, '1 day') AS by_5_min,
       rolling(ts, '1 day', hop => '0') AS exact
FROM (VALUES ('2026-03-09 23:59:59+00'::timestamptz), ('2026-03-10 00:00+00'), ('2026-03-10 10:14:59+00'),
             ('2026-03-10 10:15+00'), ('2026-03-10 10:20:29.999999+00'), ('2026-03-10 10:20:30+00')) v(ts);

-- The window that ended some time ago: the tail included, the head not.
SELECT ts, rolling(ts, '7 days', hop => '1 day', before => '7 days')
FROM (VALUES ('2026-02-24 23:59:59+00'::timestamptz), ('2026-02-25 00:00+00'), ('2026-03-03 23:59:59.999999+00'),
             ('2026-03-04 00:00+00')) v(ts);

-- Tumbling windows are aligned to 1970-01-01 UTC, a Thursday, or to an origin.
SELECT ts, tumbling(ts, '7 days') AS thursday, tumbling(ts, '7 days', '2026-01-05 00:00+00') AS monday,
       tumbling(ts, '1 day') AS today, tumbling(ts, '1 day', '2026-01-01 05:00+00') AS from_five
FROM (VALUES ('2026-03-04 23:59:59+00'::timestamptz), ('2026-03-05 00:00+00'), ('2026-03-09 00:00+00'),
             ('2026-03-11 00:00+00'), ('2026-03-11 05:00+00'), ('2026-03-11 10:20:30+00'),
             ('2026-03-11 10:20:31+00'), (NULL)) v(ts);

-- timestamp and date are read as UTC, whatever the session's time zone.
SET timezone = 'America/New_York';
SELECT rolling('2026-03-11 10:20:30'::timestamp, '1 hour', '0') AS at_t,
       rolling('2026-03-11 10:20:31'::timestamp, '1 hour', '0') AS after_t,
       rolling('2026-03-11'::date, '1 hour', '0') AS midnight,
       rolling('2026-03-11'::date, '12 hours', '0') AS midnight_12h,
       tumbling('2026-03-11 00:00'::timestamp, '1 day') AS today,
       tumbling('2026-03-10'::date, '1 day') AS yesterday,
       rolling('infinity'::date, '1 day') AS never;
SET timezone = 'UTC';

-- A day is 24 hours, also when clocks change.
SET feature_engine.as_of = '2026-03-29 12:00+02';
SET timezone = 'Europe/Berlin';
SELECT rolling('2026-03-28 11:00+01'::timestamptz, '1 day', '0') AS a_day_ago,
       rolling('2026-03-28 10:59:59+01'::timestamptz, '1 day', '0') AS longer_ago;
SET timezone = 'UTC';

-- Negative times, before 1970 and before 2000.
SET feature_engine.as_of = '1969-12-31 23:59:59+00';
SELECT tumbling('1969-12-31 00:00+00', '1 day') AS same_day, tumbling('1969-12-30 23:59:59+00', '1 day') AS day_before,
       rolling('1969-12-30 00:00+00', '1 day', '1 day') AS tail;
RESET feature_engine.as_of;

-- Errors
SELECT rolling(feature_engine.now(), '1 month');
SELECT rolling(feature_engine.now(), '1 year', before => '1 day');
SELECT rolling(feature_engine.now(), '1 day', '1 month');
SELECT rolling(feature_engine.now(), '0 days');
SELECT rolling(feature_engine.now(), '-1 days');
SELECT rolling(feature_engine.now(), NULL);
SELECT rolling(feature_engine.now(), '1 day', '7 hours');
SELECT rolling(feature_engine.now(), '1 day', '-1 hours');
SELECT rolling(feature_engine.now(), '1 day', before => '-1 hours');
SELECT tumbling(feature_engine.now(), '1 month');
SELECT tumbling(feature_engine.now(), NULL);
SELECT tumbling(feature_engine.now(), '1 day', 'infinity');

-- Whole queries: what a feature view over this table would hold.
CREATE TABLE orders (customer_id int, total numeric, created_at timestamptz);
INSERT INTO orders SELECT i % 3, i, '2026-03-11 00:00+00'::timestamptz - i * interval '8 hours' FROM generate_series(0, 99) i;
SET feature_engine.as_of = '2026-03-11 00:00+00';
SELECT customer_id,
       count(*) FILTER (WHERE rolling(created_at, '7 days')) AS n7,
       count(*) FILTER (WHERE rolling(created_at, '7 days', before => '7 days')) AS before7,
       sum(total) FILTER (WHERE w30 AND total > 10) AS sum30,
       count(*) FILTER (WHERE tumbling(created_at, '7 days')) AS this_week
FROM orders, LATERAL (SELECT rolling(created_at, '30 days') AS w30) w
GROUP BY 1 ORDER BY 1;

DROP SCHEMA windows CASCADE;
