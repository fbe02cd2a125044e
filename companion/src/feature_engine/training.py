"""feature-engine training-set: get_historical_features() into one Parquet file."""

import json

from feature_engine import __version__
from feature_engine.columns import convert, map_column, parse_type, schema_of, select_list
from feature_engine.database import literal
from feature_engine.parquet import Writer
from feature_engine.problem import Problem
from feature_engine.target import open_target

TYPE = b"POSTGRESQL:type"


def literal_or_null(text):
    return literal(text) if text else "NULL"


def call(arguments):
    """The call that prints the training set's SQL."""
    features = ("NULL" if arguments.features is None else
                "ARRAY[" + ", ".join(literal(feature) for feature in arguments.features) + "]")
    return ("SELECT feature_engine.historical_features_sql("
            f"entities => {literal(arguments.entities)}, features => {features},"
            f" service => {literal_or_null(arguments.service)}, max_age => {literal_or_null(arguments.max_age)},"
            f" full_feature_names => {arguments.full_feature_names}, known_only => {arguments.known_only}) AS query")


def columns_of(database, query, decimals):
    with database.batches(f"SELECT * FROM ({query}) t LIMIT 0") as reader:
        schema = reader.schema
    columns = []
    for field in schema:
        name = ((field.metadata or {}).get(TYPE) or b"").decode()
        typname, element = parse_type(name)
        columns.append(map_column(field.name, name, typname, element, -1, decimals))
    return columns


def write_training_set(database, arguments, stop, progress):
    """Returns the number of rows."""
    folder, _, name = arguments.to.rstrip("/").rpartition("/")
    if not name or arguments.to.startswith("s3://") and folder == "s3:/":
        raise Problem(f'"{arguments.to}" does not name a file')
    target = open_target(folder or ("/" if arguments.to.startswith("/") else "."))
    with database.transaction():
        query = database.rows(call(arguments))[0]["query"].rstrip().rstrip(";")
        columns = columns_of(database, query, arguments.decimals)
        metadata = {"feature_engine": json.dumps({"training_set": arguments.features or arguments.service,
                                                  "version": __version__})}
        rows = 0
        with target.create(name) as path, Writer(path, schema_of(columns), metadata, sorted_by=None) as writer, \
                progress(None) as count, database.batches(f"SELECT {select_list(columns)} FROM ({query}) t") as reader:
            for batch in reader:
                stop.check()
                writer.write(convert(batch, columns, arguments.infinite))
                rows += batch.num_rows
                count(batch.num_rows)
    database.close()
    return rows
