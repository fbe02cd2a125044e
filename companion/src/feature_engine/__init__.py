"""Companion of the PostgreSQL extension feature_engine: what runs beside the server, not in it."""

from importlib import metadata

try:
    __version__ = metadata.version("feature-engine")
except metadata.PackageNotFoundError:  # run from the source tree
    __version__ = "unknown"
