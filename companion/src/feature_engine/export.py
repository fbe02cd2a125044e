"""feature-engine export: a history table into a dataset of Parquet files.

    TO/VIEW/date=2026-01-15/part-0.parquet   the rows of a slice (slices.py): always of that name
    TO/VIEW/_feature_engine.json             which slices are written, and their fingerprints (manifest.py)
    TO/VIEW.parquet                          everything in one file, with --compact

An export looks which slices differ from what is written, and writes those anew, from one reading of the
table where they follow each other. Putting a file in place is atomic and no slice ever has two, so whatever
the moment at which it is killed, readers see each row once; and to go on is simply to export.
"""

import datetime as dt
import itertools
import json
import re
import time
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from feature_engine import __version__, history as histories, slices
from feature_engine.columns import convert, schema_of, select_list
from feature_engine.manifest import OPTIONS, Manifest, column_list
from feature_engine.parquet import Writer
from feature_engine.problem import Problem

PARTITION_NAMES = ("date", "event_date", "event_day", "event_date_utc")
BATCH_ROWS = 64 * 1024
# A transaction is to be short; but the table may have no index by time, so that each reads its whole partition.
ROWS_PER_TRANSACTION = 5_000_000
SAVE_EVERY = 2.0  # seconds between two writings of the manifest while files are written
UTC = dt.timezone.utc


@dataclass(frozen=True)
class Options:
    slice: str = "day"
    decimals: str = "float64"
    infinite: str = "error"
    lower: dt.datetime | None = None
    upper: dt.datetime | None = None
    compact: bool = False
    adopt: bool = False


@dataclass
class Outcome:
    """What a cycle did."""

    files: int = 0
    rows: int = 0
    removed: int = 0
    complete: bool = True


def folder_of(view):
    """The view's name as that of a folder: itself, but for what paths and patterns of paths would take otherwise."""
    name = re.sub(r"[\x00-\x1f/\\%*?\[\]{}:]", lambda found: f"%{ord(found.group()):02X}", view)
    return name.replace(".", "%2E") if name in (".", "..") else name


class Exporter:
    """One view into one target. The caller holds the target's lock (folder) while it is used."""

    def __init__(self, database, target, history, options, stop, progress):
        self._database = database
        self._target = target
        self._history = history
        self._options = options
        self._stop = stop
        self._progress = progress
        self._length = slices.LENGTHS[options.slice]
        self.folder = folder_of(history.view)
        self._saved = 0.0

    # ---- a cycle ----

    def cycle(self, recent_only=False):
        """Brings the dataset up to what the table holds now; recent_only: from the last slice written on."""
        manifest = self._load()
        lower, upper = self._bounds(manifest, recent_only)
        with self._database.transaction():
            found = slices.survey(self._database, self._history.table, self._options.slice, lower, upper)
            gone = self._gone(manifest, {each.start for each in found}, lower, upper)
        changed = [each for each in found if self._differs(manifest, each)]
        unchanged = {each.start for each in found}.difference(each.start for each in changed)
        outcome = Outcome()
        try:
            self._write_all(manifest, changed, unchanged, outcome)
            for start in gone:
                self._remove(manifest, start, outcome)
        finally:
            manifest.save()
        if self._options.compact and outcome.complete:
            self._compact(manifest)
        return outcome

    def _bounds(self, manifest, recent_only):
        lower, upper = self._options.lower, self._options.upper
        lower = lower and slices.floor(lower, self._length)
        upper = upper and slices.ceiling(upper, self._length)
        if recent_only and manifest.slices:
            last = max(parse_time(name) for name in manifest.slices)
            lower = max(lower, last) if lower else last
        return lower, upper

    def _write_all(self, manifest, changed, unchanged, outcome):
        with self._progress(sum(each.rows for each in changed)) as progress:
            for run in slices.runs(changed, unchanged, ROWS_PER_TRANSACTION):
                if outcome.complete:
                    self._write_run(manifest, run, progress, outcome)

    # ---- the dataset as it is ----

    def _load(self):
        """The manifest, made to fit; an error where this dataset and this history do not go together."""
        options = {name: getattr(self._options, name) for name in OPTIONS}
        manifest = Manifest.load(self._target, self.folder)
        sizes = self._target.sizes(self.folder)
        if manifest is None:
            manifest = Manifest.new(self._target, self.folder, self._history, options, self._partition_name())
        self._check_same(manifest, options)
        self._compare_files(manifest, {path[len(self.folder) + 1:]: size for path, size in sizes.items()})
        if manifest.columns != column_list(self._history):
            self._change_columns(manifest)
        return manifest

    def _compare_files(self, manifest, sizes):
        """The manifest follows the files that are there."""
        number = "0" if self._options.slice == "day" else r"(?P<hour>\d\d)"
        ours = re.compile(rf"{re.escape(manifest.partition)}=(?P<day>\d{{4}}-\d\d-\d\d)/part-{number}\.parquet")
        for name, entry in list(manifest.slices.items()):
            size = sizes.pop(entry["file"], None)
            if size is None:
                del manifest.slices[name]
            elif size != entry["bytes"]:
                entry["fingerprint"] = None  # not the file that was written: once more
        for file in sizes:
            if any(part.startswith((".", "_")) for part in file.split("/")):
                continue
            found = ours.fullmatch(file)
            if not found:
                raise Problem(f'"{self._target.where(self.folder)}/{file}" is not one of the files of this export',
                              "Whoever reads the dataset would read it, too.",
                              "Export to another directory, or move the file away.")
            self._take_in(manifest, file, "T".join(filter(None, found.groups())))

    def _take_in(self, manifest, file, name):
        """A file that the manifest does not know: it is lost, or behind."""
        entry = {"file": file, "fingerprint": None, "adopted": True}
        with self._target.open(f"{self.folder}/{file}") as source:
            entry["rows"] = pq.ParquetFile(source).metadata.num_rows
        self._widen(entry)
        manifest.slices[name] = entry

    def _partition_name(self):
        taken = {column.name for column in self._history.columns}
        return next(name for name in PARTITION_NAMES if name not in taken)

    def _check_same(self, manifest, options):
        where = self._target.where(self.folder)
        for name, value in options.items():
            if manifest.options[name] != value:
                raise Problem(f'"{where}" was exported with --{name} {manifest.options[name]}',
                              hint=f"Use the same, or another directory for --{name} {value}.")
        if manifest.identity != self._history.identity:
            if not self._options.adopt:
                raise Problem(f'"{where}" was exported from another table than {self._history.table} is now',
                              f"It came from {identity_text(manifest.identity)};"
                              f" this is {identity_text(self._history.identity)}.",
                              "If the table was restored from a dump or made anew and the dataset is to go on with"
                              " it, add --adopt: days that the table has rows of are then written anew.")
            manifest.adopt(self._history)
            for entry in manifest.slices.values():
                entry["fingerprint"] = None
                entry["adopted"] = True

    def _change_columns(self, manifest):
        """New features: every file has the columns that the table has now, old ones with NULLs in the new."""
        for entry in manifest.slices.values():
            self._widen(entry)
        manifest.set_columns(self._history)
        manifest.save()

    def _widen(self, entry):
        """One file, with NULLs in the columns that it lacks."""
        path = f"{self.folder}/{entry['file']}"
        schema = schema_of(self._history.columns)
        with self._target.open(path) as source:
            file = pq.ParquetFile(source)
            if not file.schema_arrow.equals(schema):
                self._check_columns(path, file.schema_arrow, schema)
                with self._target.create(path) as name, self._writer(name, file.schema_arrow.metadata) as writer:
                    for batch in file.iter_batches():
                        self._stop.check()
                        writer.write(widen(batch, schema))
        entry["bytes"] = self._target.size(path)
        entry["fingerprint"] = None

    def _check_columns(self, path, old, new):
        for field in old:
            if field.name not in new.names or new.field(field.name).type != field.type:
                now = f"of type {new.field(field.name).type}" if field.name in new.names else "not there"
                raise Problem(f'column "{field.name}" of "{self._target.where(path)}" is of type {field.type}',
                              f"In {self._history.table}, as it would be exported, it is {now}.",
                              "Export to another directory: files of one dataset have the same columns.")

    # ---- slices ----

    def _differs(self, manifest, each):
        entry = manifest.slices.get(self._name_of(each.start))
        return entry is None or entry["fingerprint"] != each.fingerprint

    def _gone(self, manifest, found, lower, upper):
        """Slices whose rows have been deleted. Where a partition was dropped, what was exported stays."""
        starts = [parse_time(name) for name, entry in manifest.slices.items() if not entry.get("adopted")]
        starts = [start for start in starts if start not in found
                  and (lower is None or lower <= start) and (upper is None or start < upper)]
        return slices.covered(self._database, self._history.oid, starts) if starts else set()

    def _name_of(self, start):
        """A slice as the manifest has it: 2026-01-15, or 2026-01-15T13 of an hour."""
        return f"{start:%Y-%m-%d}" if self._options.slice == "day" else f"{start:%Y-%m-%dT%H}"

    def _file_of(self, manifest, start):
        number = "0" if self._options.slice == "day" else f"{start:%H}"
        return f"{manifest.partition}={start:%Y-%m-%d}/part-{number}.parquet"

    def _write_run(self, manifest, run, progress, outcome):
        """Slices that follow each other, as one snapshot sees them, in one reading of the table."""
        columns = self._history.columns
        condition = slices.range_condition(run[0].start, run[-1].start + self._length)
        query = (f"SELECT {select_list(columns, slices.AGE)} FROM {self._history.table}"
                 f" WHERE {condition} ORDER BY {histories.order_of(self._history)}")
        with self._database.transaction():
            base = self._database.rows(f"SELECT {slices.BASE} AS base")[0]["base"]
            with self._database.batches(query) as reader:
                for start, pieces in itertools.groupby(slices.pieces(reader, self._length), lambda piece: piece[0]):
                    if self._stop.asked():
                        outcome.complete = False
                        return
                    self._write(manifest, start, (batch for _, batch in pieces), slices.Running(base), progress)
                    outcome.files += 1
                    outcome.rows += manifest.slices[self._name_of(start)]["rows"]

    def _write(self, manifest, start, batches, running, progress):
        """The file of a slice."""
        name, file = self._name_of(start), self._file_of(manifest, start)
        path = f"{self.folder}/{file}"
        metadata = {"feature_engine": json.dumps({"view": self._history.view, "slice": name, "version": __version__})}
        with self._target.create(path) as temporary, self._writer(temporary, metadata) as writer:
            for batch in batches:
                self._stop.check()
                running.add(batch)
                writer.write(convert(batch, self._history.columns, self._options.infinite))
                progress(batch.num_rows)
        fingerprint = running.value()
        manifest.slices[name] = {"file": file, "rows": fingerprint["rows"], "bytes": self._target.size(path),
                                 "fingerprint": fingerprint}
        if time.monotonic() - self._saved > SAVE_EVERY:
            manifest.save()
            self._saved = time.monotonic()

    def _writer(self, name, metadata):
        return Writer(name, schema_of(self._history.columns), metadata)

    def _remove(self, manifest, start, outcome):
        entry = manifest.slices.pop(self._name_of(start))
        path = f"{self.folder}/{entry['file']}"
        if path in self._target.sizes(path.rsplit("/", 1)[0]):
            self._target.delete(path)
        outcome.removed += 1

    # ---- one file of all ----

    def _compact(self, manifest):
        path = f"{self.folder}.parquet"
        digest = manifest.digest()
        if manifest.compacted == digest and path in self._target.sizes("", recursive=False):
            return
        total = sum(entry["rows"] for entry in manifest.slices.values())
        with self._target.create(path) as name, self._progress(total) as progress, \
                self._writer(name, {"feature_engine": json.dumps({"view": self._history.view})}) as writer:
            for file in manifest.files():
                with self._target.open(f"{self.folder}/{file}") as source:
                    for batch in pq.ParquetFile(source).iter_batches(batch_size=BATCH_ROWS):
                        self._stop.check()
                        writer.write(batch.replace_schema_metadata(None))
                        progress(batch.num_rows)
        manifest.set_compacted(digest)
        manifest.save()


def parse_time(name):
    return dt.datetime.fromisoformat(name if "T" not in name else f"{name}:00").replace(tzinfo=UTC)


def widen(batch, schema):
    arrays = [batch.column(field.name) if field.name in batch.schema.names
              else pa.nulls(batch.num_rows, field.type) for field in schema]
    return pa.record_batch(arrays, schema=schema)


def identity_text(identity):
    return "database \"{database}\" of server {system}, table {table}".format(**identity)
