"""A Feast repository of the test's database: generated, applied and opened with Feast's own client."""
import os
import pathlib
import subprocess
import sys

import psycopg

import programs

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
DIR = pathlib.Path(os.environ["FE_DIR"])

os.environ["FEAST_REDIS"] = f"127.0.0.1:{os.environ['FE_REDIS_PORT']}"


def connect(database=os.environ["PGDATABASE"]):
    """The extension's functions without a schema; queries have no parameters where there is none."""
    pg = psycopg.connect(dbname=database, autocommit=True)
    pg.execute("CREATE EXTENSION IF NOT EXISTS feature_engine")
    pg.execute("SET search_path = public, feature_engine")
    return pg


def write(name, *arguments, database=os.environ["PGDATABASE"]):
    """Writes the repository into a folder of that name."""
    folder = DIR / name
    subprocess.run([SCRIPTS / "feast-repository", database, folder, *arguments], check=True,
                   stdout=subprocess.DEVNULL)
    return folder


def feast(folder, *arguments):
    """Runs Feast's command in the repository."""
    command = pathlib.Path(sys.executable).parent / "feast"
    done = programs.run([command, *arguments], cwd=folder)
    if done.returncode != 0:
        raise SystemExit(f"feast {' '.join(arguments)}:\n{done.stdout}{done.stderr}")


def apply(name, *arguments, database=os.environ["PGDATABASE"]):
    """Generates a repository, applies it, and opens it: feast.FeatureStore."""
    import feast as package

    folder = write(name, *arguments, database=database)
    feast(folder, "apply")
    return package.FeatureStore(repo_path=str(folder))
