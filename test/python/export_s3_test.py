"""feature-engine export to S3: a real server of it (moto's) on the loopback interface."""
# preload: feature_engine.cli psycopg pyarrow.dataset pyarrow.parquet

import logging
import os

import boto3
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
from moto.server import ThreadedMotoServer

import tap
from exporting import (KILLED, connect, export, fails, fill, make_history, ok, rows_of, rows_of_table, same, start,
                       succeeds, wait_for)

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
ENV = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
       "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_EC2_METADATA_DISABLED": "true"}
os.environ |= ENV
client = boto3.client("s3", endpoint_url=ENV["AWS_ENDPOINT_URL"])
client.create_bucket(Bucket="features")
fs = pyarrow.fs.S3FileSystem(endpoint_override=f"{host}:{port}", scheme="http", region="us-east-1")

pg = connect()
make_history(pg, "s3_history")
fill(pg, "s3_history", "2026-01-10", 5, 200)


def keys():
    return sorted(entry["Key"] for entry in client.list_objects_v2(Bucket="features").get("Contents", []))


def current(name, path="features/shop/s3"):
    same(rows_of(ds.dataset(path, filesystem=fs, partitioning="hive", format="parquet").to_table()),
         rows_of_table(pg, "s3_history"), name)


to = "s3://features/shop"
succeeds(export("s3_history", to), "a first export", "5 files written, 1000 rows")
ok(keys() == ["shop/s3/_feature_engine.json"] + [f"shop/s3/date=2026-01-{day}/part-0.parquet" for day in range(10, 15)],
   "objects: a file for each day, and the manifest", str(keys()))
current("read by pyarrow")
succeeds(export("s3_history", to + "/"), "nothing has changed", "nothing new")
pg.execute("DELETE FROM s3_history WHERE customer_id = 7 AND event_timestamp < '2026-01-12 00:00Z'")
pg.execute("DELETE FROM s3_history WHERE event_timestamp >= '2026-01-14 00:00Z'")
fill(pg, "s3_history", "2026-01-20", 1, 100)
succeeds(export("s3_history", to, "--compact"), "changed days, a new one, one without rows", "3 files written", "1 files removed")
current("they are there")
same(rows_of(pq.read_table("features/shop/s3.parquet", filesystem=fs)), rows_of_table(pg, "s3_history"), "--compact")
client.delete_object(Bucket="features", Key="shop/s3/date=2026-01-11/part-0.parquet")
succeeds(export("s3_history", to), "an object that went: once more", "1 files written")
current("it is there again")

# ---- killed, doubled, mistaken ----

pg.execute("UPDATE s3_history SET n = n + 1 WHERE customer_id = 3")
process = start("export", "--table", "public.s3_history", "--to", to, program=KILLED, KILL_AT="manifest", KILL_NTH="2",
                KILL_SAVING="yes")
process.communicate(timeout=120)
ok(process.returncode == -9 and len(ds.dataset("features/shop/s3", filesystem=fs, format="parquet").to_table())
   == pg.execute("SELECT count(*) FROM s3_history").fetchone()[0], "killed while days are written anew: each row once")
succeeds(export("s3_history", to), "a rerun")
current("completes it")
with connect() as lock, lock.transaction():
    lock.execute("LOCK TABLE s3_history")
    process = start("export", "--table", "public.s3_history", "--to", to)
    wait_for("the export", lambda: pg.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
             .fetchone()[0] > 0)
    fails(export("s3_history", to + "/"), "a second export to the same place", "another export", status=3)
ok(process.communicate(timeout=120) and process.returncode == 0, "the first one goes on")
fails(export("s3_history", "s3://nowhere/x"), "no such bucket", 'no bucket "nowhere"')
fails(export("s3_history", to, AWS_ENDPOINT_URL="http://127.0.0.1:1"), "no server there", "cannot use")

server.stop()
raise SystemExit(tap.finish())
