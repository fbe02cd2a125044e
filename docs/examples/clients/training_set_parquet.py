"""Prints a training set that is made of an exported history, without a database."""
import sys

import pandas as pd

FEATURES = ["order_count_30d", "total_spend_30d", "last_status"]


def training_set(labels, folder, features):
    """The labels with the features as of their event_timestamp, missing where there was no such entity."""
    history = pd.read_parquet(folder, columns=["customer_id", "event_timestamp", *features])
    # each label takes the newest row of its customer that is not later; rows that say that the entity has
    # vanished (is_deleted) have NULL features, and count as well
    labels = labels.astype(history.dtypes[["customer_id", "event_timestamp"]].to_dict())  # of one width and unit
    return pd.merge_asof(labels.sort_values("event_timestamp"), history.sort_values("event_timestamp"),
                         on="event_timestamp", by="customer_id")


if __name__ == "__main__":
    folder, labels = sys.argv[1:]
    print(training_set(pd.read_parquet(labels), folder, FEATURES).to_csv(index=False))
