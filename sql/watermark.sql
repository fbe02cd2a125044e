-- Late rows of append-only views, by Spark's rule: a row is dropped for a window when the window
-- has ended at or before the watermark, and as a whole when every window that could hold it has.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS feature_engine;
RESET client_min_messages;
CREATE SCHEMA watermark;
SET search_path = watermark, feature_engine;
SET timezone = 'UTC';
SET datestyle = ISO;

CREATE TABLE words (word text, ts timestamptz);
SELECT create_feature_view('counts', $$
    SELECT word, hop(ts, '10 minutes', '5 minutes') AS w, count(*) AS n, is_final(hop(ts, '10 minutes', '5 minutes')) AS final
    FROM   words GROUP BY word, w$$, append_only => true, watermark => '10 minutes');
SELECT sync() IS NOT NULL AS synced;

-- The example of Spark's programming guide: windows of 10 minutes, one every 5 minutes, a
-- watermark of 10 minutes; a statement is a micro-batch. 12:08 and 12:13 are behind the highest
-- event time, 12:14 and 12:15, and count.
INSERT INTO words VALUES ('dog', '2024-01-01 12:07+00'), ('owl', '2024-01-01 12:08+00');
INSERT INTO words VALUES ('dog', '2024-01-01 12:14+00'), ('cat', '2024-01-01 12:09+00');
INSERT INTO words VALUES ('cat', '2024-01-01 12:15+00'), ('dog', '2024-01-01 12:08+00'), ('owl', '2024-01-01 12:13+00');
INSERT INTO words VALUES ('owl', '2024-01-01 12:21+00');
SELECT sync() IS NOT NULL AS synced;
SELECT watermark('counts');
SELECT lower(w)::time AS from, upper(w)::time AS until, word, n, final FROM counts ORDER BY w, word;
-- The watermark is 12:11: the donkey of 12:04 is late, its windows ended at 12:05 and 12:10. The
-- owl of 12:17 counts. And a row of 12:08 is late for the window until 12:10, which is final, but
-- not for the one until 12:15.
INSERT INTO words VALUES ('donkey', '2024-01-01 12:04+00'), ('owl', '2024-01-01 12:17+00'), ('dog', '2024-01-01 12:08+00');
SELECT sync() IS NOT NULL AS synced;
SELECT late FROM status WHERE name = 'counts';
SELECT lower(w)::time AS from, upper(w)::time AS until, word, n, final FROM counts ORDER BY w, word;
SELECT drop_feature_view('counts');
TRUNCATE words;

-- Cases, worked out by hand. Each is one view's history: an event that sets the watermark (10
-- minutes behind it), then the row in question, then how many rows its windows must have.
CREATE TABLE cases (id int, highest timestamptz, row_ts timestamptz, window_start timestamptz, expected int, why text);
INSERT INTO cases VALUES
 (1, '2024-01-01 12:20:00+00', '2024-01-01 12:09:59.999999+00', '2024-01-01 12:00+00', 0, 'watermark 12:10: the window until 12:10 has ended at it'),
 (2, '2024-01-01 12:20:00+00', '2024-01-01 12:10:00+00', '2024-01-01 12:10+00', 1, 'the next window is open'),
 (3, '2024-01-01 12:19:59.999999+00', '2024-01-01 12:00:00+00', '2024-01-01 12:00+00', 1, 'watermark a microsecond before the end: open, though the row is older than the watermark'),
 (4, '2024-01-01 12:29:00+00', '2024-01-01 12:10:30+00', '2024-01-01 12:10+00', 1, 'older than the watermark 12:19, its window until 12:20 is open'),
 (5, '2024-01-01 12:30:00+00', '2024-01-01 12:10:30+00', '2024-01-01 12:10+00', 0, 'watermark 12:20 closes it'),
 (6, '2024-01-01 12:30:00+00', '2024-01-01 12:31:00+00', '2024-01-01 12:30+00', 2, 'not late at all; the event that sets the watermark is in the same window'),
 (7, '2024-01-01 12:30:00+00', '1999-12-31 00:00:00+00', '1999-12-31 00:00+00', 0, 'years late'),
 (8, '2024-01-01 12:30:00+00', NULL, NULL, 1, 'a row without a time is in no window that could end');
CREATE TABLE events (id int, ts timestamptz);
SELECT create_feature_view('tumbled', $$
    SELECT id, tumble(ts, '10 minutes') AS w, count(*) AS n FROM events GROUP BY id, w$$,
    append_only => true, watermark => '10 minutes');
SELECT sync() IS NOT NULL AS synced;
-- The watermark is the view's, not the entity's, and never goes back: ascending highest times.
DO $$
DECLARE c cases; BEGIN
    FOR c IN SELECT * FROM cases ORDER BY highest, id LOOP
        INSERT INTO events VALUES (c.id, c.highest);
        COMMIT;
        INSERT INTO events VALUES (c.id, c.row_ts);
        COMMIT;
    END LOOP;
END $$;
SELECT sync() IS NOT NULL AS synced;
SELECT c.id, c.expected, coalesce(t.n, 0) AS got, CASE WHEN coalesce(t.n, 0) = c.expected THEN 'right' ELSE 'WRONG' END AS verdict, c.why
FROM   cases c LEFT JOIN tumbled t ON t.id = c.id AND lower(t.w) IS NOT DISTINCT FROM c.window_start ORDER BY c.id;
SELECT late, (SELECT count(*) FROM cases WHERE expected = 0) AS expected FROM status WHERE name = 'tumbled';
SELECT watermark('tumbled');

-- Within one transaction rows are judged by the watermark before it, in any order.
INSERT INTO events VALUES (20, '2024-01-01 14:00+00'), (20, '2024-01-01 12:25+00');
SELECT sync() IS NOT NULL AS synced;
SELECT lower(w)::time AS from, n FROM tumbled WHERE id = 20 ORDER BY w;
INSERT INTO events VALUES (21, '2024-01-01 12:25+00');
SELECT sync() IS NOT NULL AS synced;
SELECT count(*) FROM tumbled WHERE id = 21;
-- Rows that are read when the view is built are none of the stream: nothing is late, and
-- there is no watermark before the first change.
SELECT refresh_feature_view('tumbled');
SELECT sync() IS NOT NULL AS synced;
SELECT watermark('tumbled'), (SELECT sum(n) FROM tumbled) = (SELECT count(*) FROM events) AS all_rows;
SELECT drop_feature_view('tumbled');

-- Sessions: a row is late when it alone would have ended. One that is not late does not join a
-- session that has ended by the watermark, but begins another, as in Spark, where that session
-- has been written and forgotten.
SELECT create_feature_view('visits', $$
    SELECT id, session(ts, '10 minutes') AS w, count(*) AS n, is_final(session(ts, '10 minutes')) AS final
    FROM   events GROUP BY id, w$$, append_only => true, watermark => '10 minutes');
TRUNCATE events;
SELECT sync() IS NOT NULL AS synced;
INSERT INTO events VALUES (1, '2024-01-01 12:00+00'), (1, '2024-01-01 12:05+00');
INSERT INTO events VALUES (2, '2024-01-01 12:26+00');
SELECT sync() IS NOT NULL AS synced;
SELECT watermark('visits');
SELECT id, lower(w)::time AS from, upper(w)::time AS until, n, final FROM visits ORDER BY id, w;
-- Watermark 12:16. 12:06 ends at 12:16: late. 12:07 would end at 12:17, and the session that it is
-- near to ended at 12:15: it begins another; 12:06:30, which comes later, joins that.
INSERT INTO events VALUES (1, '2024-01-01 12:06+00');
INSERT INTO events VALUES (1, '2024-01-01 12:07+00');
INSERT INTO events VALUES (1, '2024-01-01 12:06:30+00');
SELECT sync() IS NOT NULL AS synced;
SELECT late FROM status WHERE name = 'visits';
SELECT id, lower(w)::time AS from, upper(w)::time AS until, n, final FROM visits ORDER BY id, w;
-- Later events join the open one, which joins nothing that is over.
INSERT INTO events VALUES (1, '2024-01-01 12:17+00');
SELECT sync() IS NOT NULL AS synced;
SELECT id, lower(w)::time AS from, upper(w)::time AS until, n, final FROM visits ORDER BY id, w;
-- An open session takes what falls into its middle, however old its beginning.
INSERT INTO events VALUES (3, '2024-01-01 12:10+00'), (3, '2024-01-01 12:20+00');
INSERT INTO events VALUES (4, '2024-01-01 12:32+00');
INSERT INTO events VALUES (3, '2024-01-01 12:15+00');
SELECT sync() IS NOT NULL AS synced;
SELECT watermark('visits');
SELECT id, lower(w)::time AS from, upper(w)::time AS until, n, final FROM visits WHERE id = 3 ORDER BY id, w;
SELECT drop_feature_view('visits');

-- hop() keeps its windows apart then; rolling() beside it would need the rows' own times.
SELECT create_feature_view('bad', $$
    SELECT id, hop(ts, '10 minutes', '5 minutes') AS w, count(*) FILTER (WHERE rolling(ts, '1 hour')) AS n
    FROM   events GROUP BY id, w$$, append_only => true, watermark => '10 minutes');
SELECT create_feature_view('bad', $$
    SELECT id, hop(ts, '10 minutes', '5 minutes') AS w, exp_decay_sum(1, ts, '1 hour') AS n
    FROM   events GROUP BY id, w$$, append_only => true, watermark => '10 minutes');
ALTER TABLE events REPLICA IDENTITY FULL;
SELECT create_feature_view('bad', $$
    SELECT (after).id, hop((after).ts, '10 minutes', '5 minutes') AS w, count(*) FILTER (WHERE rolling((after).ts, '1 hour')) AS n
    FROM   changes(NULL::events) GROUP BY (after).id, w$$, watermark => '10 minutes');
DROP TABLE words, cases, events;
DROP SCHEMA watermark;
