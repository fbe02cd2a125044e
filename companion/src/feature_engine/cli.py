"""The command feature-engine: its arguments, messages and exit status."""

import argparse
import contextlib
import datetime as dt
import sys
import time

from feature_engine import __version__, history as histories
from feature_engine.columns import DECIMALS
from feature_engine.database import Database
from feature_engine.export import Exporter, Options
from feature_engine.feast import ARGUMENTS, write_repository
from feature_engine.problem import Problem
from feature_engine.slices import LENGTHS
from feature_engine.stopping import Aborted, Stop
from feature_engine.target import open_target
from feature_engine.training import write_training_set

EPILOG = """exit status:
  0   done; also --follow that was told to stop
  1   it failed, for the reason given
  2   wrong arguments
  3   another export to the same place is running
  130 / 143   ended by SIGINT (Ctrl-C) / SIGTERM before everything was exported"""

RETRY = 5.0  # seconds, at least, until --follow tries again


# ---- messages ----

def say(text):
    print(f"feature-engine: {text}", file=sys.stderr, flush=True)


def no_progress(total):
    return contextlib.nullcontext(lambda rows: None)


@contextlib.contextmanager
def progress_bar(total):
    """A context whose value is told of each batch's rows."""
    from tqdm import tqdm  # only where somebody watches

    bar = tqdm(total=total, unit=" rows", unit_scale=True, dynamic_ncols=True, leave=False, disable=total == 0)
    with bar:
        yield bar.update


def chosen_progress(arguments):
    return progress_bar if sys.stderr.isatty() and not arguments.no_progress else no_progress


# ---- arguments ----

def moment(text):
    """ISO 8601; UTC where no offset is given."""
    try:
        time = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time such as 2026-01-15 or 2026-01-15T12:00:00Z') from None
    return time.replace(tzinfo=dt.timezone.utc) if time.tzinfo is None else time.astimezone(dt.timezone.utc)


def seconds(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("a number of seconds above 0 is needed")
    return value


def make_parser():
    parser = argparse.ArgumentParser(
        prog="feature-engine", description="Companion of the PostgreSQL extension feature_engine.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"feature-engine {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_export(commands)
    add_training_set(commands)
    add_feast(commands)
    return parser


def add_connection(parser):
    parser.add_argument("--dsn", metavar="DSN", help="libpq connection string or URI; what it leaves out, and all"
                        " without it, comes from libpq's environment (PGHOST, PGDATABASE, PGPASSFILE, ...)")


def add_export(commands):
    parser = commands.add_parser(
        "export", help="history of feature views to Parquet",
        description="Writes the history of feature views (offline => true) as Parquet: one file for each UTC day,"
        " TO/VIEW/date=YYYY-MM-DD/part-0.parquet. Run again, it writes only days that have changed. It may be"
        " killed at any moment.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--view", action="append", default=[], help="a feature view; may be given several times")
    chosen.add_argument("--project", help="all feature views of this Feast project (option feast_project)")
    chosen.add_argument("--all", action="store_true", help="all feature views with a history")
    chosen.add_argument("--table", help="a history table that is left of a dropped view")
    parser.add_argument("--to", required=True, metavar="DIR|s3://BUCKET/PREFIX",
                        help="S3: credentials and region from the environment, as for every S3 client;"
                        " AWS_ENDPOINT_URL names another server")
    add_connection(parser)
    parser.add_argument("--from", dest="lower", type=moment, metavar="TIME",
                        help="only days (hours) from the one that holds TIME on; UTC")
    parser.add_argument("--to-time", dest="upper", type=moment, metavar="TIME", help="only days that begin before TIME")
    parser.add_argument("--slice", choices=list(LENGTHS), default="day",
                        help="a file for each day, or for each hour where a day is too much to write again and again")
    parser.add_argument("--decimals", choices=DECIMALS, default="float64",
                        help="numeric columns as float64 (default; what Feast takes), decimal128 (as declared, else"
                        " 38 digits, 18 of them decimals, rounded) or string (exact)")
    parser.add_argument("--infinite", choices=("error", "null"), default="error",
                        help="what is made of infinite times, which Parquet does not have")
    parser.add_argument("--compact", action="store_true", help="also write everything to one file, TO/VIEW.parquet")
    parser.add_argument("--adopt", action="store_true",
                        help="go on with files that were exported from another table (a restored dump)")
    parser.add_argument("--follow", action="store_true", help="go on until told to stop (SIGINT, SIGTERM)")
    parser.add_argument("--interval", type=seconds, default=60.0, metavar="SECONDS", help="of --follow: 60")
    parser.add_argument("--recheck", type=seconds, default=3600.0, metavar="SECONDS",
                        help="--follow looks at the newest file's time and later ones; at all of the table once in"
                        " so many seconds: 3600")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar (there is none without a terminal)")
    parser.set_defaults(run=run_export)


def add_training_set(commands):
    parser = commands.add_parser(
        "training-set", help="features as of the time of each entity row, to a Parquet file",
        description="Writes what get_historical_features() returns to one Parquet file.")
    parser.add_argument("--entities", required=True, metavar="SQL", help="query of the entity rows: keys, event_timestamp,"
                        " and what else the training set is to hold")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--features", nargs="+", metavar="VIEW:FEATURE", help="VIEW:* for all of a view")
    wanted.add_argument("--service", help="a feature service")
    parser.add_argument("--max-age", metavar="INTERVAL", help="older values count as missing: '7 days'")
    parser.add_argument("--full-feature-names", action="store_true", help="columns are called view__feature")
    parser.add_argument("--known-only", action="store_true", help="without values that were computed later")
    parser.add_argument("--to", required=True, metavar="FILE|s3://BUCKET/KEY")
    add_connection(parser)
    parser.add_argument("--decimals", choices=DECIMALS, default="float64", help="as of export")
    parser.add_argument("--infinite", choices=("error", "null"), default="error", help="as of export")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    parser.set_defaults(run=run_training_set)


def add_feast(commands):
    parser = commands.add_parser(
        "feast", help="a Feast repository of the feature views",
        description="Writes what feast_repository() generates, feature_store.yaml and features.py, for `feast apply`.")
    parser.add_argument("--project", help="the Feast project; may be left out where there is only one")
    parser.add_argument("--to", required=True, metavar="DIR")
    parser.add_argument("--parquet", metavar="DIR|s3://BUCKET/PREFIX", help="the offline store is what was exported"
                        " there, not the history tables")
    for name in ARGUMENTS:
        parser.add_argument(f"--{name}", help=f"argument {name} of feast_repository()")
    add_connection(parser)
    parser.set_defaults(run=run_feast)


def run_feast(arguments, stop):
    settings = {name: getattr(arguments, name) for name in ARGUMENTS}
    for path in write_repository(Database(arguments.dsn, stop), arguments.to, arguments.project, arguments.parquet,
                                 settings):
        print(path)
    return 0


def run_training_set(arguments, stop):
    rows = write_training_set(Database(arguments.dsn, stop, own_names=False), arguments, stop,
                              chosen_progress(arguments))
    print(f"{arguments.to}: {rows} rows")
    return 0


# ---- export ----

def run_export(arguments, stop):
    return Following(arguments, stop).run() if arguments.follow else Session(arguments, stop).run_once()


class Session:
    """One connection, and the locks of what it exports."""

    def __init__(self, arguments, stop):
        self._arguments = arguments
        self._stop = stop
        self._resources = contextlib.ExitStack()
        self._target = open_target(arguments.to)
        self._database = None
        self._locked = set()

    def __enter__(self):
        self._database = Database(self._arguments.dsn, self._stop)
        self._resources.callback(self._database.close)
        return self

    def __exit__(self, *error):
        self._resources.close()

    def run_once(self):
        with self:
            complete = self.cycle(recent_only=False, quiet=False)
        return 0 if complete else 128 + self._stop.signal

    def cycle(self, recent_only, quiet):
        """All views once; false where it was asked to stop before the end."""
        for view, oid in self._choose():
            if self._stop.asked() or not self._export(view, oid, recent_only, quiet):
                return False
        return True

    def _choose(self):
        arguments = self._arguments
        if arguments.table:
            return [(None, histories.find_table(self._database, arguments.table))]
        views = histories.choose_views(self._database, arguments.view, arguments.project)
        return [(view["name"], view["history"]) for view in views]

    def _export(self, view, oid, recent_only, quiet):
        arguments = self._arguments
        history = histories.describe(self._database, oid, view, arguments.decimals)
        options = Options(slice=arguments.slice, decimals=arguments.decimals, infinite=arguments.infinite,
                          lower=arguments.lower, upper=arguments.upper, compact=arguments.compact,
                          adopt=arguments.adopt)
        exporter = Exporter(self._database, self._target, history, options, self._stop, chosen_progress(arguments))
        if exporter.folder not in self._locked:
            self._resources.enter_context(self._target.lock(self._database, exporter.folder))
            self._locked.add(exporter.folder)
        outcome = exporter.cycle(recent_only)
        if not quiet or outcome.files or outcome.removed:
            report(history.view, outcome)
        return outcome.complete


class Following:
    """Cycle after cycle; errors that may pass by themselves are told of and tried again."""

    def __init__(self, arguments, stop):
        self._arguments = arguments
        self._stop = stop
        self._checked = None  # when all of the table was looked at last
        self._connected = False

    def run(self):
        pause = RETRY
        while not self._stop.asked():
            try:
                with Session(self._arguments, self._stop) as session:
                    self._connected = True
                    while not self._stop.asked():
                        self._cycle(session)
                        pause = RETRY
                        self._stop.wait(self._arguments.interval)
            except Problem as problem:
                if not (problem.transient and self._connected):
                    raise
                say(f"{problem.text()}\nfeature-engine: trying again in {pause:.0f} s")
                self._stop.wait(pause)
                pause = min(2 * pause, 300)
        return 0

    def _cycle(self, session):
        now = time.monotonic()
        everything = self._checked is None or now - self._checked >= self._arguments.recheck
        if session.cycle(recent_only=not everything, quiet=self._checked is not None) and everything:
            self._checked = now


def report(view, outcome):
    text = f"{view}: {outcome.files} files written, {outcome.rows} rows"
    if outcome.removed:
        text += f"; {outcome.removed} files removed"
    print(text if outcome.files or outcome.removed else f"{view}: nothing new", flush=True)


# ---- the command ----

def main(arguments=None):
    parsed = make_parser().parse_args(arguments)
    stop = Stop(say)
    try:
        return stop.run(lambda: parsed.run(parsed, stop))
    except Problem as problem:
        say(problem.text())
        return problem.status
    except Aborted:
        say("stopped")
        return 128 + stop.signal
