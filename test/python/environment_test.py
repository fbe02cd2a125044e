"""The packages that these tests are made with are there, and so are the servers."""
import os

import duckdb
import feast
import psycopg
import redis

import tap

with psycopg.connect("") as pg:
    pg.execute("CREATE EXTENSION feature_engine")
    version = pg.execute("SELECT extversion FROM pg_extension WHERE extname = 'feature_engine'").fetchone()
    tap.ok(version is not None, "psycopg: a server with the extension")
    tap.ok(duckdb.sql("SELECT 1").fetchone() == (1,), "duckdb")
for client in (redis.Redis(port=int(os.environ["FE_REDIS_PORT"])),
               redis.Redis(unix_socket_path=os.environ["FE_REDIS_SOCK"])):
    tap.ok(client.ping(), "redis-py: by port and by socket")
tap.ok(tuple(map(int, feast.__version__.split(".")[:2])) >= (0, 66), f"Feast {feast.__version__}")
raise SystemExit(tap.finish())
