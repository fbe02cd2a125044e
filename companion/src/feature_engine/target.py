"""Where Parquet files go: a directory, or a prefix in S3.

A file is there whole or not at all: in a directory it is written under another name, flushed to disk and
renamed; to S3 it is written to a local file first and then put, and S3 shows only what was put entirely.
Names that begin with "." or "_" are passed over by everything that reads a directory of Parquet files.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import urllib.parse

import pyarrow as pa
import pyarrow.fs as pafs

from feature_engine.problem import Busy, Problem

TEMPORARY = ".tmp"
LOCK = ".lock"
TRY_LOCK = "SELECT pg_try_advisory_lock($1) AS got"


@contextlib.contextmanager
def told(where, transient=False):
    """Errors of the file system in a sentence."""
    try:
        yield
    except OSError as error:
        raise Problem(f'cannot use "{where}"', error.strerror or str(error), transient=transient) from error


def advisory_key(name):
    digest = hashlib.sha256(f"feature-engine export {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


class Target:
    """Common to both; paths are relative, with slashes."""

    def read(self, path):
        """The bytes of a small file, or None."""
        with told(self.where(path)):
            if self.fs.get_file_info(self.full(path)).type == pafs.FileType.NotFound:
                return None
            with self.fs.open_input_stream(self.full(path)) as stream:
                return stream.read()

    def sizes(self, path, recursive=True):
        """{relative path: size} of the files below."""
        with told(self.where(path)):
            selector = pafs.FileSelector(self.full(path), allow_not_found=True, recursive=recursive)
            return {info.path[len(self.full("")):].lstrip("/"): info.size
                    for info in self.fs.get_file_info(selector) if info.type == pafs.FileType.File}

    def delete(self, path):
        with told(self.where(path)):
            self.fs.delete_file(self.full(path))

    def open(self, path):
        """For reading at any place."""
        with told(self.where(path)):
            return self.fs.open_input_file(self.full(path))

    def where(self, path):
        return f"{self.name}/{path}" if path else self.name

    def full(self, path):
        return f"{self.base}/{path}" if path else self.base

    @contextlib.contextmanager
    def lock(self, database, path):
        """Against other exporters to the same place, in whatever way they get there: a lock in the database
        (that of the session: a crash or a lost connection frees it) and, in a directory, one on a file."""
        refusal = Busy(f'another export to "{self.where(path)}" is running')
        with database.transaction():
            if not database.rows(TRY_LOCK, advisory_key(self.where(path)))[0]["got"]:
                raise refusal
        with self.lock_files(path, refusal):
            yield


class Directory(Target):
    def __init__(self, name):
        self.name = self.base = os.path.realpath(name)
        self.fs = pafs.LocalFileSystem()

    def size(self, path):
        return os.path.getsize(self.full(path))

    @contextlib.contextmanager
    def lock_files(self, path, refusal):
        with told(self.where(path)):
            os.makedirs(self.full(path), exist_ok=True)
            lock = open(os.path.join(self.full(path), LOCK), "a")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise refusal from None
            self.sweep(path)
            yield

    def sweep(self, path):
        """What a killed process has left, of which we hold the lock."""
        with told(self.where(path)):
            for folder, _, names in os.walk(self.full(path)):
                for name in names:
                    if name.startswith(".") and name.endswith(TEMPORARY):
                        os.unlink(os.path.join(folder, name))

    @contextlib.contextmanager
    def create(self, path):
        """Yields the name of a file to write; it becomes `path` when the block ends without an error."""
        final = self.full(path)
        folder = os.path.dirname(final)
        with told(folder or ".", transient=True):
            make_directories(folder)
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.", suffix=TEMPORARY)
        try:
            with told(self.where(path), transient=True):
                yield temporary
                os.fchmod(handle, 0o666 & ~UMASK)
                os.fsync(handle)
                os.rename(temporary, final)
                sync_directory(folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        finally:
            os.close(handle)


class Bucket(Target):
    def __init__(self, uri):
        try:
            self.fs, base = pafs.FileSystem.from_uri(with_endpoint(uri))
        except (OSError, pa.ArrowInvalid) as error:
            raise Problem(f'cannot use "{uri}"', str(error)) from error
        self.base = base.rstrip("/")
        self.name = f"s3://{self.base}"

    def size(self, path):
        with told(self.where(path)):
            return self.fs.get_file_info(self.full(path)).size

    @contextlib.contextmanager
    def lock_files(self, path, refusal):
        bucket = self.base.split("/")[0]
        with told(self.name):
            if self.fs.get_file_info(bucket).type == pafs.FileType.NotFound:
                raise Problem(f'there is no bucket "{bucket}"')
        yield

    @contextlib.contextmanager
    def create(self, path):
        with tempfile.TemporaryDirectory(prefix="feature-engine-") as folder:
            temporary = os.path.join(folder, "file")
            with told(folder):
                yield temporary
            with told(self.where(path), transient=True):
                pafs.copy_files(temporary, self.full(path), source_filesystem=pafs.LocalFileSystem(),
                                destination_filesystem=self.fs)


def with_endpoint(uri):
    """S3 servers of other makers are named as for every other S3 client: AWS_ENDPOINT_URL[_S3]."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint or "endpoint_override=" in uri:
        return uri
    scheme, _, host = endpoint.rpartition("://")
    options = urllib.parse.urlencode({"endpoint_override": host, "scheme": scheme or "https"})
    return f"{uri}{'&' if '?' in uri else '?'}{options}"


def open_target(name):
    if name.startswith("s3://"):
        return Bucket(name)
    if "://" in name:
        raise Problem(f'cannot write to "{name}"', hint="A target is a directory or s3://bucket/prefix.")
    return Directory(name)


def make_directories(folder):
    """As os.makedirs, and on disk."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for each in reversed(missing):
        os.mkdir(each)
        sync_directory(os.path.dirname(each))


def sync_directory(folder):
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


UMASK = current_umask()
