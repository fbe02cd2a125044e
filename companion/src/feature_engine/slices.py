"""Slices of a history: the stretches of event time, a UTC day or hour each, that have a file each.

Which slices have changed since they were written is found from the rows themselves. Every version of a
row carries the id of the transaction that wrote it (xmin). So whatever happens to a slice - rows come, in
whatever order their transactions commit, however far in the past backfill_history() puts them; rows are
replaced, or deleted - its number of rows changes, or there are rows written by other transactions.
A slice's *fingerprint* is the number of its rows, the sum and the sum of squares of their transaction
ids, and the greatest `created` and `lsn`. Equal fingerprint: nothing has happened. There is no watermark
that a transaction could commit behind.

Transaction ids are 32 bits and wrap around. age(xmin) counts back from one id that is the same throughout
a transaction; from the sums of ages those of the ids follow, modulo 2^32, whenever they are taken.
"""

import datetime as dt
from dataclasses import dataclass

from feature_engine.database import literal

LENGTHS = {"day": dt.timedelta(days=1), "hour": dt.timedelta(hours=1)}
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)

SURVEY = """
SELECT date_bin({length}, event_timestamp, '1970-01-01 00:00:00Z') AS start, count(*) AS rows,
       sum(age(xmin)::int8)::text AS ages, sum(age(xmin)::int8 * age(xmin))::text AS squares,
       max(created)::text AS created, max(lsn)::text AS lsn, (age('3'::xid) + 3)::int8 AS base
FROM {table} WHERE {range} GROUP BY 1 ORDER BY 1"""

# Stretches of event time that the table has room for: a slice outside lies in a dropped partition.
PARTITIONS = """
SELECT substring(bound FROM $re$ FROM \\('([^']*)'\\)$re$)::timestamptz AS lower,
       substring(bound FROM $re$ TO \\('([^']*)'\\)$re$)::timestamptz AS upper,
       bound ~ 'MINVALUE' AS from_start, bound ~ 'MAXVALUE' AS to_end, bound = 'DEFAULT' AS everything
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
     LATERAL pg_get_expr(c.relpartbound, c.oid) AS bound WHERE i.inhparent = $1"""

IS_PARTITIONED = "SELECT relkind = 'p' AS partitioned FROM pg_class WHERE oid = $1"


@dataclass(frozen=True)
class Slice:
    start: dt.datetime
    rows: int
    fingerprint: dict


def floor(time, length):
    return time - (time - EPOCH) % length


def ceiling(time, length):
    return floor(time, length) + (length if (time - EPOCH) % length else dt.timedelta(0))


def range_condition(lower, upper):
    """Event times from lower to before upper; None is no bound."""
    terms = [f"event_timestamp {op} {literal(time.isoformat())}::timestamptz"
             for op, time in ((">=", lower), ("<", upper)) if time is not None]
    return " AND ".join(terms) or "true"


def survey(database, table, slicing, lower, upper):
    """The slices that have rows; in the caller's transaction."""
    query = SURVEY.format(length=literal(f"1 {slicing}"), table=table, range=range_condition(lower, upper))
    return [Slice(row["start"], row["rows"], fingerprint(row)) for row in database.rows(query)]


def fingerprint(row):
    base, rows, ages, squares = (int(row[name]) for name in ("base", "rows", "ages", "squares"))
    return {
        "rows": rows,
        "xids": (rows * base - ages) % 2**32,
        "xids2": (rows * base * base - 2 * base * ages + squares) % 2**32,
        "created": row["created"],
        "lsn": row["lsn"],
    }


def covered(database, oid, starts):
    """Of these starts of slices, those that the table has a partition for."""
    if not database.rows(IS_PARTITIONED, oid)[0]["partitioned"]:
        return set(starts)
    ranges = database.rows(PARTITIONS, oid)
    return {start for start in starts if any(
        row["everything"] or (row["from_start"] or row["lower"] is not None and row["lower"] <= start)
        and (row["to_end"] or row["upper"] is not None and start < row["upper"]) for row in ranges)}
