"""Prints some features of a customer as a vector, in a fixed order: what a model takes."""
import math
import os
import sys

import redis

FEATURES = ["order_count_30d", "total_spend_30d", "order_value_stddev_30d"]


def read_vector(client, customer):
    """The features as floats, NaN for NULL; None where there is no such entity."""
    pushed_at, *texts = client.hmget(f"customer:{customer}:features", ["_ts", *FEATURES])
    if pushed_at is None:
        return None
    return [math.nan if text is None else float(text) for text in texts]


if __name__ == "__main__":
    url = os.environ.get("REDIS_URL", "redis://localhost:6379")
    client = redis.Redis.from_url(url, decode_responses=True)
    print(read_vector(client, sys.argv[1]))
