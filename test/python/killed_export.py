"""The command, killed by itself at a named point: KILL_AT, the KILL_NTH time that it comes there, with KILL_BY
(SIGKILL).

    group      a row group is in the temporary file
    rename     the temporary file is whole, not in place
    renamed    it is in place, the manifest does not know
    manifest   the manifest is about to be replaced
    compacted  the single file is in place, the manifest does not know
"""

import os
import signal
import sys

from feature_engine import export, manifest, parquet, target
from feature_engine.cli import main

point, nth = os.environ["KILL_AT"], int(os.environ["KILL_NTH"])


def die():
    global nth
    nth -= 1
    if nth == 0:
        os.kill(os.getpid(), signal.Signals[os.environ.get("KILL_BY", "SIGKILL")])


def around(place, name, before=lambda *arguments: None, after=lambda *arguments: None):
    original = getattr(place, name)

    def wrapped(*arguments, **options):
        before(*arguments)
        value = original(*arguments, **options)
        after(*arguments)
        return value

    setattr(place, name, wrapped)


class Os:
    """The module os as target.py sees it."""

    def __getattr__(self, name):
        return getattr(os, name)

    def rename(self, old, new):
        if point == "rename":
            die()
        os.rename(old, new)
        if point == "renamed" and "part-" in new or point == "compacted" and not new.endswith("part-0.parquet") \
                and new.endswith(".parquet"):
            die()


target.os = Os()
if point == "group":
    parquet.ROWS = 100
    around(parquet.Writer, "_flush", after=lambda self: die())
if point == "manifest":
    around(manifest.Manifest, "save", before=lambda self: die())
export.SAVE_EVERY = 0.0 if os.environ.get("KILL_SAVING") else 3600.0
sys.exit(main())
