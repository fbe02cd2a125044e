"""The connection to PostgreSQL: one ADBC connection, whose results are Arrow data.

Every transaction is REPEATABLE READ, READ ONLY, and short: a long one would hold back vacuum, and its
locks would stand in the way of partitions that come and go.
"""

import contextlib
import re

import adbc_driver_manager
import pyarrow as pa
from adbc_driver_postgresql import StatementOptions, dbapi

from feature_engine.problem import Problem

# Texts as the engine writes them to Redis, names that nobody can put something else in place of.
SETTINGS = {
    "search_path": "pg_catalog, pg_temp",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",  # literal() relies on it
    "work_mem": "64MB",  # rows are sorted
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "application_name": "feature-engine",
}

BATCH_BYTES = 8 * 1024 * 1024

# Errors after which the same may work a moment later: the connection, a server that stops or starts,
# a lock, and a partition that went while we were reading it.
TRANSIENT = re.compile("08|57P0|53|55P03|40|42P01")


def literal(text):
    return "'" + text.replace("'", "''") + "'"


def identifier(name):
    return '"' + name.replace('"', '""') + '"'


def problem(error):
    """A driver's error as one of ours: the server's own words, without what the driver puts around."""
    text = str(error)
    state = getattr(error, "sqlstate", None) or ""
    found = re.search(r"(?:ERROR|FATAL):\s+(.*?)(?=\n\n|\nLINE |\nQuery was|$)", text, re.DOTALL)
    message = found.group(1) if found else re.sub(r"^([A-Z_]+: )?(\[libpq\] )?", "", text)
    message = re.split(r"\n?Query was: | SQLSTATE: ", message)[0].strip()
    message, _, rest = message.partition("\n")
    detail = re.search(r"DETAIL:\s+(.*)", rest)
    hint = re.search(r"HINT:\s+(.*)", rest)
    # the driver gives a lost connection no state
    lost = found.group().startswith("FATAL") if found else isinstance(error, (adbc_driver_manager.OperationalError,
                                                                              OSError))
    return Problem(message, detail and detail.group(1), hint and hint.group(1),
                   transient=lost or bool(TRANSIENT.match(state)))


class Database:
    def __init__(self, dsn, stop, own_names=True):
        """dsn: a libpq connection string or URI; what it leaves out comes from libpq's environment.
        own_names: all queries are ours; else names are looked up as the user's settings say."""
        self._stop = stop
        try:
            self._connection = dbapi.connect(dsn or "postgresql://")
            with self._connection.cursor() as cursor:
                for name, value in SETTINGS.items():
                    if name == "search_path" and not own_names:
                        continue
                    cursor.execute(f"SET {name} = {value if name == 'search_path' else literal(value)}")
                cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ,"
                               " READ ONLY")
            self._connection.commit()
        except adbc_driver_manager.Error as error:
            found = problem(error)
            raise Problem("no connection to PostgreSQL", found.message,
                          None if dsn else "Say where it is with --dsn, or with PGHOST, PGUSER, PGDATABASE ...",
                          transient=True) from error

    def close(self):
        with contextlib.suppress(adbc_driver_manager.Error):
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self):
        """One snapshot for all that is read inside."""
        try:
            yield self
        finally:
            with contextlib.suppress(adbc_driver_manager.Error):
                self._connection.rollback()

    def rows(self, query, *parameters):
        """The whole result, for small ones: a list of dictionaries."""
        with self.batches(query, *parameters) as reader:
            return [row for batch in reader for row in batch.to_pylist()]

    @contextlib.contextmanager
    def batches(self, query, *parameters):
        """The result as a reader of Arrow record batches, a few megabytes each, as they arrive."""
        try:
            with self._connection.cursor() as cursor:
                cursor.adbc_statement.set_options(
                    **{StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(BATCH_BYTES)})
                self._stop.check()
                self._stop.cancels(cursor.adbc_cancel)
                try:
                    cursor.execute(query, parameters or None)
                    yield Reader(cursor.fetch_record_batch(), self._stop)
                finally:
                    self._stop.cancels(None)
        except adbc_driver_manager.Error as error:
            self._stop.check()
            raise problem(error) from error


class Reader:
    """Record batches; errors on the way (a division by zero in the last row) are told as those before."""

    def __init__(self, reader, stop):
        self._reader = reader
        self._stop = stop
        self.schema = reader.schema

    def __iter__(self):
        while True:
            try:
                batch = self._reader.read_next_batch()
            except StopIteration:
                return
            except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
                self._stop.check()
                raise problem(error) from error
            yield batch
