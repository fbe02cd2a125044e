"""Prints the features of the customers that are named as arguments, read by SQL, a line of JSON each."""
import json
import os
import sys

import psycopg
from psycopg.rows import dict_row


def read_features(connection, ids):
    """A dict for each customer, with Python's types, or None where there is no such entity."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SELECT * FROM customer_features WHERE customer_id = ANY (%s)", [ids])
        rows = {row["customer_id"]: row for row in cursor}
    return [rows.get(customer) for customer in ids]


if __name__ == "__main__":
    with psycopg.connect(os.environ.get("DATABASE_URL", "")) as connection:
        for features in read_features(connection, [int(argument) for argument in sys.argv[1:]]):
            print(json.dumps(features, default=str))
