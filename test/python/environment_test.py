"""The packages that these tests are made with are there, and so are the servers."""
import os
from importlib import metadata

import duckdb
import psycopg
import redis

import tap

with psycopg.connect("") as pg:
    pg.execute("CREATE EXTENSION feature_engine")
    version = pg.execute("SELECT extversion FROM pg_extension WHERE extname = 'feature_engine'").fetchone()
    tap.ok(version is not None, "psycopg: a server with the extension")
    tap.ok(duckdb.sql("SELECT 1").fetchall() == [(1,)], "duckdb")
for client in (redis.Redis(port=int(os.environ["FE_REDIS_PORT"])),
               redis.Redis(unix_socket_path=os.environ["FE_REDIS_SOCK"])):
    tap.ok(client.ping(), "redis-py: by port and by socket")
feast = metadata.version("feast")  # to import it takes seconds, and others do
tap.ok(tuple(map(int, feast.split(".")[:2])) >= (0, 66), f"Feast {feast}")
raise SystemExit(tap.finish())
