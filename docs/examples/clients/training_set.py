"""Writes a training set to a Parquet file: features as they were at each label's time."""
import os
import sys

import pandas as pd
import psycopg
from psycopg.types.numeric import FloatLoader

LABELS = "SELECT customer_id, event_timestamp, label FROM labels"
FEATURES = ["customer_features:order_count_30d", "customer_features:total_spend_30d", "customer_features:last_status"]


def training_set(connection, labels, features):
    """The rows of the query labels, with the features as of their event_timestamp."""
    call = "SELECT feature_engine.historical_features_sql(entities => %s, features => %s)"
    query = connection.execute(call, [labels, features]).fetchone()[0]
    cursor = connection.execute(query)
    frame = pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])
    return frame.convert_dtypes()  # integers stay integers where some are missing


if __name__ == "__main__":
    with psycopg.connect(os.environ.get("DATABASE_URL", "")) as connection:
        connection.adapters.register_loader("numeric", FloatLoader)  # not as Decimal
        training_set(connection, LABELS, FEATURES).to_parquet(sys.argv[1], index=False)
