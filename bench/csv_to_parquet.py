"""What bench/export compares with: CSV from standard input to a Parquet file (zstd), by pyarrow alone."""

import sys

import pyarrow.csv
import pyarrow.parquet

reader = pyarrow.csv.open_csv(sys.stdin.buffer)
with pyarrow.parquet.ParquetWriter(sys.argv[1], reader.schema, compression="zstd") as writer:
    for batch in reader:
        writer.write_batch(batch)
