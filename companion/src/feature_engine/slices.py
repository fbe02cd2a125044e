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

import bisect
import datetime as dt
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from feature_engine.database import literal

LENGTHS = {"day": dt.timedelta(days=1), "hour": dt.timedelta(hours=1)}
MICROSECOND = dt.timedelta(microseconds=1)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)

SURVEY = """
SELECT date_bin({length}, event_timestamp, '1970-01-01 00:00:00Z') AS start, count(*) AS rows,
       sum(age(xmin)::int8)::text AS ages, sum(age(xmin)::int8 * age(xmin))::text AS squares,
       (extract(epoch FROM max(created)) * 1000000)::int8 AS created, (max(lsn) - '0/0'::pg_lsn)::int8 AS lsn,
       {base} AS base
FROM {table} WHERE {range} GROUP BY 1 ORDER BY 1"""

# What age() counts back from, modulo 2^32: the same throughout a transaction.
BASE = "(age('3'::xid) + 3)::int8"

# The last column of what Running takes.
AGE = "age(xmin)::int8 AS age"

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
    query = SURVEY.format(base=BASE, length=literal(f"1 {slicing}"), table=table, range=range_condition(lower, upper))
    return [Slice(row["start"], row["rows"], fingerprint(row)) for row in database.rows(query)]


def fingerprint(row):
    return make_fingerprint(*(int(row[name]) for name in ("base", "rows", "ages", "squares", "created", "lsn")))


def make_fingerprint(base, rows, ages, squares, created, lsn):
    return {
        "rows": rows,
        "xids": (rows * base - ages) % 2**32,
        "xids2": (rows * base * base - 2 * base * ages + squares) % 2**32,
        "created": created,
        "lsn": lsn,
    }


class Running:
    """The fingerprint of rows as they are read."""

    def __init__(self, base):
        self._base = base
        self._rows = self._ages = self._squares = 0
        self._created = self._lsn = None

    def add(self, batch):
        """One that is not empty, with the columns of a history and AGE at the end."""
        ages = batch.column(batch.num_columns - 1)
        self._rows += batch.num_rows
        self._ages += pc.sum(ages).as_py()
        self._squares += pc.sum(pc.multiply(ages, ages)).as_py()  # wraps at 2^64, if at all
        created = pc.max(batch.column("created").cast(pa.int64())).as_py()
        lsn = pc.max(batch.column("lsn")).as_py()
        self._created = created if self._created is None else max(self._created, created)
        self._lsn = lsn if self._lsn is None else max(self._lsn, lsn)

    def value(self):
        return make_fingerprint(self._base, self._rows, self._ages, self._squares, self._created, self._lsn)


def covered(database, oid, starts):
    """Of these starts of slices, those that the table has a partition for."""
    if not database.rows(IS_PARTITIONED, oid)[0]["partitioned"]:
        return set(starts)
    ranges = database.rows(PARTITIONS, oid)
    return {start for start in starts if any(
        row["everything"] or (row["from_start"] or row["lower"] is not None and row["lower"] <= start)
        and (row["to_end"] or row["upper"] is not None and start < row["upper"]) for row in ranges)}


def runs(changed, unchanged, most):
    """Changed slices in lists to be read together: nothing unchanged lies in between, and about so many rows at most."""
    run, rows = [], 0
    for each in changed:
        if run and (rows + each.rows > most or any(run[-1].start < start < each.start for start in unchanged)):
            yield run
            run, rows = [], 0
        run.append(each)
        rows += each.rows
    if run:
        yield run


def pieces(batches, length):
    """(start of a slice, rows of it), from batches in order of event_timestamp, which is in microseconds."""
    for batch in batches:
        times = batch.column("event_timestamp").cast(pa.int64())
        begin = 0
        while begin < batch.num_rows:
            start = floor(EPOCH + times[begin].as_py() * MICROSECOND, length)
            upper = (start + length - EPOCH) // MICROSECOND
            end = bisect.bisect_left(range(batch.num_rows), upper, lo=begin, key=lambda row: times[row].as_py())
            yield start, batch.slice(begin, end - begin)
            begin = end
