"""Prints the features of the customers that are named as arguments, a line of JSON each."""
import json
import os
import sys
from datetime import datetime
from decimal import Decimal

import redis

# What is read, in the order in which the model wants it, and what makes a value of its text.
TYPES = {
    "order_count_30d": int,
    "total_spend_30d": Decimal,  # exact; float is enough for most models
    "order_value_stddev_30d": float,
    "mean_discount": float,
    "has_returned": {"t": True, "f": False}.get,
    "last_order_time": datetime.fromisoformat,
    "last_status": str,
}


def read_features(client, ids):
    """A dict for each customer, or None where there is no such entity; one round trip."""
    with client.pipeline(transaction=False) as pipeline:
        for customer in ids:
            pipeline.hgetall(f"customer:{customer}:features")
        hashes = pipeline.execute()
    return [
        {name: parse(row[name]) if name in row else None for name, parse in TYPES.items()}
        if row else None
        for row in hashes
    ]


if __name__ == "__main__":
    url = os.environ.get("REDIS_URL", "redis://localhost:6379")
    client = redis.Redis.from_url(url, decode_responses=True)
    for features in read_features(client, sys.argv[1:]):
        print(json.dumps(features, default=str))
