"""Views over changes(), compared with the same queries over what an audit trigger wrote.

They are created before the first change, so that stream and audit begin together. What
TRUNCATE does is in neither.
"""

SCHEMA = """
CREATE TABLE events_audit (n bigserial PRIMARY KEY, op text, before events, after events);
CREATE FUNCTION events_audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.events_audit (op, before, after) VALUES (
        CASE TG_OP WHEN 'INSERT' THEN 'c' WHEN 'UPDATE' THEN 'u' ELSE 'd' END,
        CASE WHEN TG_OP <> 'INSERT' THEN OLD END, CASE WHEN TG_OP <> 'DELETE' THEN NEW END);
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON events
FOR EACH ROW EXECUTE FUNCTION events_audit();
CREATE VIEW events_changes AS
SELECT op, before, after, pg_xact_commit_timestamp(xmin) AS committed_at,
       CASE WHEN op <> 'c' THEN lag(pg_xact_commit_timestamp(xmin)) OVER w END AS before_at
FROM events_audit WINDOW w AS (PARTITION BY (coalesce(after, before)).id ORDER BY n);
"""

CLEAN_UP = "DROP VIEW events_changes; DROP TABLE events_audit; DROP FUNCTION events_audit CASCADE"

VIEWS = [
    ("c_usual", """
        SELECT (after).customer AS customer, count(*) AS n, sum((after).amount) AS spent,
               count(*) FILTER (WHERE rolling((after).created, '30 days')) AS n30,
               sum((after).amount) FILTER (WHERE rolling((after).created, '7 days')) AS spent7,
               stddev((after).score) FILTER (WHERE rolling((after).created, '30 days')) AS deviation,
               count(DISTINCT (after).merchant) AS merchants, max((after).created) AS latest,
               last((after).status, (after).created) AS status
        FROM changes(NULL::events) WHERE op IN ('c', 'u', 'r') GROUP BY (after).customer""", {}),
    ("c_kinds", """
        SELECT (coalesce(after, before)).customer AS customer,
               count(*) FILTER (WHERE op = 'c') AS c, count(*) FILTER (WHERE op = 'u') AS u,
               count(*) FILTER (WHERE op = 'd') AS d,
               count(*) FILTER (WHERE op = 'u' AND (before).status IS DISTINCT FROM (after).status) AS transitions,
               sum((after).amount - (before).amount) AS moved, avg((before).rate) AS rate,
               min((before).big) AS least, max(length((after).note)) AS longest,
               count((before).id) + count((after).id) AS images
        FROM changes(NULL::events) GROUP BY (coalesce(after, before)).customer""", {"redis_key": "ck:{customer}"}),
    ("c_times", """
        SELECT coalesce((before).id, (after).id) % 40 AS part, count(before_at) AS n,
               sum(extract(epoch FROM committed_at - before_at)) AS seconds,
               max(committed_at - before_at) AS longest, max(committed_at) AS latest,
               count(*) FILTER (WHERE op = 'd' AND before_at IS NOT NULL) AS deleted
        FROM changes(NULL::events) GROUP BY coalesce((before).id, (after).id) % 40""", {}),
    ("c_where_window", """
        SELECT s.m AS merchant, count(*) AS n, sum(s.q) AS q
        FROM (SELECT (after).merchant AS m, (after).qty AS q, (after).created AS at, (before).merchant AS was
              FROM changes(NULL::events)) s
        WHERE rolling(s.at, '7 days') AND s.m IS DISTINCT FROM s.was GROUP BY s.m""", {"snapshot": False}),
]


def batch_query(query):
    return query.replace("changes(NULL::events)", "events_changes")
