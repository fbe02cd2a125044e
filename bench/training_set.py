"""Training sets of the same entities by the engine and by Feast's PostgreSQL offline store, each from
an SQL query of entities to an Arrow table in the client; see offline. Prints, for each run, a line
"engine|feast SECONDS", and fails where the two differ.

    training_set.py REPOSITORY RUNS FEATURE...
"""

import sys
import time

import adbc_driver_postgresql.dbapi as adbc
import feast
import pyarrow

VIEW = "customer_features"
ENTITIES = "SELECT row_no, customer_id, event_timestamp FROM wanted"


def by_engine(features):
    with adbc.connect("postgresql://") as connection, connection.cursor() as cursor:
        names = ", ".join(f"'{VIEW}:{feature}'" for feature in features)
        cursor.execute(f"SELECT feature_engine.historical_features_sql('{ENTITIES}', ARRAY[{names}])")
        sql = cursor.fetchone()[0]
        cursor.execute(sql)
        return cursor.fetch_arrow_table()


def by_feast(store, features):
    return store.get_historical_features(
        entity_df=ENTITIES, features=[f"{VIEW}:{feature}" for feature in features]).to_arrow()


def timed(name, function, *arguments):
    begin = time.perf_counter()
    table = function(*arguments)
    print(name, f"{time.perf_counter() - begin:.3f}", flush=True)
    return table


def rows(table, features):
    """In the order of the entities; times as one type."""
    table = table.select(["row_no", *features]).sort_by("row_no")
    columns = []
    for column in table.columns:
        if pyarrow.types.is_timestamp(column.type):
            column = column.cast(pyarrow.timestamp("us", "UTC"))
        columns.append(column.to_pylist())
    return columns


def main():
    repository, runs, features = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    store = feast.FeatureStore(repo_path=repository)
    for run in range(runs):
        sides = [("engine", by_engine, features), ("feast", by_feast, store, features)]
        tables = {side[0]: timed(*side) for side in (sides if run % 2 == 0 else sides[::-1])}
        if rows(tables["engine"], features) != rows(tables["feast"], features):
            sys.exit("the training sets differ")


main()
