"""What has been exported: one small JSON file beside the dataset's own.

It is written after the files that it tells of. So it may be behind them, and then they are written once
more, to the same bytes; it is never ahead. Without it everything is written once more.
"""

import hashlib
import json

from feature_engine import __version__
from feature_engine.problem import Problem

NAME = "_feature_engine.json"
FORMAT = 1

# Options that are the same for all files of a dataset.
OPTIONS = ("slice", "decimals")


class Manifest:
    def __init__(self, target, folder, content):
        self._target = target
        self._path = f"{folder}/{NAME}"
        self._content = content
        self._saved = None

    @classmethod
    def load(cls, target, folder):
        """None where there is none."""
        data = target.read(f"{folder}/{NAME}")
        if data is None:
            return None
        try:
            content = json.loads(data)
            if content["format"] != FORMAT:
                raise Problem(f'"{target.where(folder)}" was written by another version of feature-engine',
                              f"Its format is {content['format']}; this is {__version__}, which knows {FORMAT}.")
        except (ValueError, KeyError) as error:
            raise Problem(f'cannot read "{target.where(folder)}/{NAME}"', str(error),
                          "If it is beyond repair, remove it: everything is then exported once more.") from error
        manifest = cls(target, folder, content)
        manifest._saved = data
        return manifest

    @classmethod
    def new(cls, target, folder, history, options, partition):
        return cls(target, folder, {
            "format": FORMAT, "view": history.view, "identity": history.identity, "options": options,
            "partition": partition, "columns": column_list(history), "slices": {}, "compacted": None})

    def save(self):
        """If there is anything new in it."""
        data = json.dumps(self._content, indent=1, sort_keys=True).encode()
        if data == self._saved:
            return
        with self._target.create(self._path) as name, open(name, "wb") as file:
            file.write(data)
        self._saved = data

    def adopt(self, history):
        self._content["identity"] = history.identity

    def set_columns(self, history):
        self._content["columns"] = column_list(history)

    def __getattr__(self, name):
        """partition, identity, options, columns, slices, compacted"""
        try:
            return self.__dict__["_content"][name]
        except KeyError:
            raise AttributeError(name) from None

    def set_compacted(self, digest):
        self._content["compacted"] = digest

    def digest(self):
        """Changes whenever a file of the dataset does."""
        return hashlib.sha256(json.dumps([self.slices, self.columns], sort_keys=True).encode()).hexdigest()

    def files(self):
        """Paths below the dataset's folder, in the order of time."""
        return [entry["file"] for _, entry in sorted(self.slices.items())]


def column_list(history):
    return [[column.name, str(column.type), column.kind] for column in history.columns]
