"""From PostgreSQL's types to those of Parquet files that Feast accepts.

A column is read through an SQL expression that already yields one of the base types that the driver
carries as they are; everything without a counterpart becomes the text that Redis holds, too.
"""

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from feature_engine.database import identifier
from feature_engine.problem import Problem

TIMESTAMP = pa.timestamp("us", tz="UTC")
DECIMAL = (38, 18)  # of numerics that declare nothing themselves
DECIMALS = ("float64", "decimal128", "string")

# By type of pg_catalog: expression over the column {c}, Arrow type.
BASE = {
    "bool": ("{c}", pa.bool_()),
    "int2": ("{c}::int4", pa.int32()),
    "int4": ("{c}", pa.int32()),
    "int8": ("{c}", pa.int64()),
    "oid": ("{c}::int8", pa.int64()),
    "float4": ("{c}", pa.float32()),
    "float8": ("{c}", pa.float64()),
    "text": ("{c}", pa.string()),
    "varchar": ("{c}", pa.string()),
    "bpchar": ("{c}", pa.string()),
    "bytea": ("{c}", pa.binary()),
    "timestamptz": ("{c}", TIMESTAMP),
    "timestamp": ("{c} AT TIME ZONE 'UTC'", TIMESTAMP),
    "date": ("{c}::timestamp AT TIME ZONE 'UTC'", TIMESTAMP),
    "pg_lsn": ("({c} - '0/0'::pg_lsn)::int8", pa.int64()),
}

# The same of arrays, by element type.
ARRAYS = {
    "bool": ("{c}", pa.bool_()),
    "int2": ("{c}::int4[]", pa.int32()),
    "int4": ("{c}", pa.int32()),
    "int8": ("{c}", pa.int64()),
    "oid": ("{c}::int8[]", pa.int64()),
    "float4": ("{c}", pa.float32()),
    "float8": ("{c}", pa.float64()),
    "bytea": ("{c}", pa.binary()),
    "timestamptz": ("{c}", TIMESTAMP),
    "timestamp": ("{c}::timestamptz[]", TIMESTAMP),
    "date": ("{c}::timestamptz[]", TIMESTAMP),
}

# The output function's text, as in Redis; a cast to text may say something else (inet, char(n)).
AS_TEXT = ("CASE WHEN {c} IS DISTINCT FROM NULL THEN format('%s', {c}) END", pa.string())
ARRAY_AS_TEXT = ("{c}::text[]", pa.string())

# The driver yields times that 64 bits of microseconds since 1970 cannot hold (infinity, after the year
# 294247) wrapped around; PostgreSQL has no time before 4714 BC, so they are known.
FIRST_TIME = pa.scalar(-210_866_803_200_000_000, pa.int64())


@dataclass(frozen=True)
class Column:
    name: str
    kind: str  # PostgreSQL's name of the type, for people
    expression: str
    type: pa.DataType
    is_array: bool


def decimal_of(typmod):
    """Precision and scale of numeric(p,s), where decimal128 can hold them."""
    if typmod >= 4:
        precision, scale = (typmod - 4) >> 16 & 0xffff, typmod - 4 & 0x7ff
        if scale <= precision <= 38:
            return precision, scale
    return DECIMAL


def numeric(decimals, typmod):
    """Expression and type of a numeric, or of an element of numeric[]."""
    if decimals == "float64":
        return "float8", pa.float64()
    if decimals == "string":
        return "text", pa.string()
    precision, scale = decimal_of(typmod)
    return f"numeric({precision},{scale})", pa.decimal128(precision, scale)


def map_column(name, kind, typname, element, typmod, decimals):
    """typname, element: names of types of pg_catalog, None for others; element: of a true array."""
    quoted = identifier(name)
    is_array = element is not None
    if "numeric" in (typname, element):
        cast, arrow = numeric(decimals, typmod)
        suffix = "[]" if is_array else ""
        text = f"::text{suffix}" if pa.types.is_decimal(arrow) else ""
        template = f"{{c}}::{cast}{suffix}{text}"
    elif is_array:
        template, arrow = ARRAYS.get(element, ARRAY_AS_TEXT)
    else:
        template, arrow = BASE.get(typname, AS_TEXT)
    return Column(name, kind, template.replace("{c}", quoted), pa.list_(arrow) if is_array else arrow, is_array)


def schema_of(columns):
    return pa.schema([pa.field(column.name, column.type) for column in columns])


def select_list(columns, *more):
    """After the columns one that tells of arrays of several dimensions, which the driver would flatten; then more."""
    items = [f"{column.expression} AS {identifier(column.name)}" for column in columns]
    tests = [f"array_ndims({identifier(column.name)}) > 1" for column in columns if column.is_array]
    items.append(f"({' OR '.join(tests) or 'false'}) IS TRUE")
    return ", ".join([*items, *more])


def convert(batch, columns, infinite):
    """A batch as the driver gives it, as one of the dataset's schema."""
    if pc.any(batch.column(len(columns))).as_py():
        raise Problem("a feature holds an array of more than one dimension",
                      "Neither Feast nor this command has a type for it: one of "
                      + ", ".join(f'"{column.name}"' for column in columns if column.is_array) + ".",
                      "Let the definition of the feature view make it one dimension, or text.")
    arrays = [convert_column(batch.column(i), column, infinite) for i, column in enumerate(columns)]
    return pa.record_batch(arrays, schema=schema_of(columns))


def convert_column(array, column, infinite):
    if array.type != column.type and not pa.types.is_decimal(leaf(column.type)):
        array = array.cast(column.type)
    elif array.type != column.type:
        array = to_decimal(array, column)
    if leaf(column.type) == TIMESTAMP:
        array = check_times(array, column, infinite)
    return array


def leaf(arrow):
    return arrow.value_type if pa.types.is_list(arrow) else arrow


def to_decimal(array, column):
    try:
        return array.cast(column.type)
    except pa.ArrowInvalid as error:
        raise Problem(f'column "{column.name}" holds a value that {column.type} cannot hold', str(error),
                      "Use --decimals string or --decimals float64.") from error


def check_times(array, column, infinite):
    """Times out of range: an error, or NULL where the user says so."""
    is_list = pa.types.is_list(array.type)
    times = array.flatten() if is_list else array
    outside = pc.less(times.cast(pa.int64()), FIRST_TIME)
    if not pc.any(outside).as_py():
        return array
    if infinite != "null":
        raise Problem(f'column "{column.name}" holds a time that Parquet cannot hold',
                      "It is infinite, or after the year 294247.",
                      "Use --infinite null to write NULL instead.")
    times = pc.if_else(outside, pa.scalar(None, TIMESTAMP), times)
    if not is_list:
        return times
    # flatten() leaves out what NULL lists may hold, so offsets are made anew
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_pylist()
    offsets, end = [0], 0
    for length in lengths:
        end += length
        offsets.append(end)
    mask = array.is_null() if array.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), times, mask=mask)


def parse_type(text):
    """The name of a type of pg_catalog in a result's metadata: (typname, element)."""
    array = re.fullmatch(r"_(.+)", text)
    return (None, array.group(1)) if array else (text, None)
