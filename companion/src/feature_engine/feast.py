"""feature-engine feast: the files of feast_repository(), into a directory."""

import os

from feature_engine.database import literal
from feature_engine.history import HAS_EXTENSION, no_extension
from feature_engine.problem import Problem
from feature_engine.target import Directory

# Arguments of the function that are options of the command.
ARGUMENTS = ("redis", "host", "port", "username", "sslmode")


def write_repository(database, folder, project, parquet, settings):
    """Returns the paths of the files; others in the folder are left alone."""
    given = {"project": project, **settings}
    if parquet:
        given |= {"offline_source": "parquet", "parquet_path": parquet if "://" in parquet else os.path.abspath(parquet)}
    arguments = ", ".join(f"{name} => {literal(value)}" for name, value in given.items() if value is not None)
    with database.transaction():
        if not database.rows(HAS_EXTENSION)[0]["found"]:
            raise no_extension(database)
        files = database.rows(f"SELECT path, content FROM feature_engine.feast_repository({arguments})")
    database.close()
    target = Directory(folder)
    for row in files:
        if os.path.basename(row["path"]) != row["path"]:
            raise Problem(f"\"{row['path']}\" is not the name of a file")
        with target.create(row["path"]) as name, open(name, "w", encoding="utf-8") as file:
            file.write(row["content"])
    return [target.full(row["path"]) for row in files]
