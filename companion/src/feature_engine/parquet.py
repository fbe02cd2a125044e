"""Writing Parquet files, in row groups of a bounded size."""

import contextlib

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 256 * 1024
BYTES = 64 * 1024 * 1024


class Writer:
    """Gathers batches into row groups."""

    def __init__(self, path, schema, metadata, sorted_by="event_timestamp"):
        """sorted_by: the column whose order the rows come in, None: in none."""
        schema = schema.with_metadata(metadata)
        self._schema = schema
        self._waiting = []
        self._rows = self._bytes = 0
        self._writer = pq.ParquetWriter(
            path, schema, compression="zstd", version="2.6", write_statistics=True, write_page_index=True,
            # elements of lists are called "item", as Feast's inference of types expects
            use_compliant_nested_type=False,
            sorting_columns=sorted_by and [pq.SortingColumn(schema.names.index(sorted_by))])

    def write(self, batch):
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= ROWS or self._bytes >= BYTES:
            self._flush()

    def _flush(self):
        if self._waiting:
            table = pa.Table.from_batches(self._waiting).replace_schema_metadata(self._schema.metadata)
            self._writer.write_table(table, row_group_size=ROWS)
        self._waiting = []
        self._rows = self._bytes = 0

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        if kind is None:
            self._flush()
            self._writer.close()
        else:  # nobody will see the file
            with contextlib.suppress(OSError):
                self._writer.close()
