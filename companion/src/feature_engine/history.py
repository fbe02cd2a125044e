"""History tables as the catalogue describes them."""

import difflib
from dataclasses import dataclass

from feature_engine.columns import map_column
from feature_engine.database import identifier
from feature_engine.problem import Problem

FIXED = ("event_timestamp", "created", "lsn", "is_deleted")

HAS_EXTENSION = "SELECT to_regclass('feature_engine.feature_views') IS NOT NULL AS found"

VIEWS = "SELECT name::text, history::oid::int8 AS history FROM feature_engine.feature_views ORDER BY 1"
OF_PROJECT = "SELECT name::text FROM feature_engine.feature_views WHERE feast_project = $1"

TABLE = """
SELECT c.oid::int8 AS oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS qualified,
       c.relname::text AS name, (SELECT system_identifier FROM pg_control_system()) AS system,
       current_database()::text AS database
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1"""

# Domains are followed down to what they are over. A type is named only if it is one of pg_catalog.
COLUMNS = """
WITH RECURSIVE col AS (
    SELECT a.attnum, a.attname, format_type(a.atttypid, a.atttypmod) AS kind, a.atttypid AS typid,
           a.atttypmod AS typmod
    FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT col.attnum, col.attname, col.kind, t.typbasetype, t.typtypmod
    FROM col JOIN pg_type t ON t.oid = col.typid WHERE t.typtype = 'd'
)
SELECT col.attname::text AS name, col.kind::text, col.typmod,
       CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace AND e.oid IS NULL THEN t.typname::text END AS typname,
       CASE WHEN e.typnamespace = 'pg_catalog'::regnamespace THEN e.typname::text
            WHEN e.oid IS NOT NULL THEN '' END AS element
FROM col JOIN pg_type t ON t.oid = col.typid LEFT JOIN pg_type e ON e.typarray = t.oid
WHERE t.typtype <> 'd' ORDER BY col.attnum"""

KEYS = """
SELECT a.attname::text AS name
FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(attnum, n) JOIN pg_attribute a ON a.attnum = k.attnum
WHERE i.indrelid = $1 AND a.attrelid = $1 AND i.indisprimary ORDER BY k.n"""


@dataclass(frozen=True)
class History:
    """Where the rows of one feature view are, and what they are like."""

    view: str
    oid: int
    table: str      # qualified, quoted
    identity: dict  # tells it from another table, in another database, of the same name
    columns: list
    keys: list      # without event_timestamp


def no_extension(database):
    return Problem("the database has no extension feature_engine with feature views",
                   hint="Is it another database that is meant? (--dsn, PGDATABASE)")


def choose_views(database, names, project):
    """Rows of VIEWS: those that are named, or all that have a history, of a Feast project where one is given."""
    with database.transaction():
        if not database.rows(HAS_EXTENSION)[0]["found"]:
            raise no_extension(database)
        views = {row["name"]: row for row in database.rows(VIEWS)}
        members = [row["name"] for row in database.rows(OF_PROJECT, project)] if project else list(views)
    for name in names:
        if name not in views:
            near = difflib.get_close_matches(name, views, 1)
            raise Problem(f'there is no feature view "{name}"',
                          hint=f'Perhaps you mean "{near[0]}".' if near else
                          "SELECT name FROM feature_engine.feature_views lists them.")
        if views[name]["history"] is None:
            raise Problem(f'feature view "{name}" has no history',
                          hint=f"SELECT feature_engine.alter_feature_view('{name}', offline => true) begins one.")
    if names:
        return [views[name] for name in dict.fromkeys(names)]
    chosen = [views[name] for name in members if views[name]["history"] is not None]
    if not chosen:
        raise Problem("there is no feature view with a history"
                      + (f' in the Feast project "{project}"' if project else ""))
    return chosen


def find_table(database, name):
    """The OID of a table given by name (a history that is left of a dropped view)."""
    with database.transaction():
        found = database.rows("SELECT to_regclass($1)::oid::int8 AS oid", name)[0]["oid"]
    if found is None:
        raise Problem(f'there is no table "{name}"', hint="Give it with its schema: --table public.x_history")
    return found


def describe(database, oid, view, decimals):
    with database.transaction():
        table = database.rows(TABLE, oid)[0]
        rows = database.rows(COLUMNS, oid)
        keys = [row["name"] for row in database.rows(KEYS, oid)]
    if "event_timestamp" not in keys or not {row["name"] for row in rows}.issuperset(FIXED):
        raise Problem(f"{table['qualified']} is not a history table",
                      f"It lacks one of the columns {', '.join(FIXED)}, or event_timestamp is not in its primary key.")
    return History(
        view=view or table["name"].removesuffix("_history"),
        oid=oid,
        table=table["qualified"],
        identity={"system": str(table["system"]), "database": table["database"], "table": oid},
        columns=[map_column(row["name"], row["kind"], row["typname"], row["element"], row["typmod"], decimals)
                 for row in rows],
        keys=[key for key in keys if key != "event_timestamp"])


def order_of(history):
    return ", ".join(identifier(name) for name in ["event_timestamp", *history.keys])
