"""A script on ADBC, binary COPY on both ends: Arrow batches ingested; then staged, and a MERGE."""

from __future__ import annotations

import os
import sys

from adbc_driver_postgresql import dbapi

table, key, cursor = (os.environ[name] for name in ("TABLE", "KEY", "CURSOR"))
step = sys.argv[1]


def columns(at: dbapi.Cursor) -> dict[str, str]:
    """The table's columns and their types."""
    at.execute(
        "SELECT attname::text, atttypid::regtype::text FROM pg_attribute "
        f"WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"
    )
    return dict(at.fetchall())


if step != "prepare":
    source, target = (
        dbapi.connect(os.environ["SOURCE_URL"]),
        dbapi.connect(os.environ["TARGET_URL"]),
    )
    reading, writing = source.cursor(), target.cursor()
    # An inet would arrive as its bytes on the wire.
    names = {
        name: f"CASE WHEN {name} IS NOT NULL THEN format('%s', {name}) END AS {name}"
        if kind == "inet"
        else name
        for name, kind in columns(reading).items()
    }
    query = f"SELECT {', '.join(names.values())} FROM {table}"
    if step == "initial":
        reading.execute(query)
        writing.adbc_ingest(table, reading.fetch_record_batch(), mode="create")
        writing.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({key})")
    else:
        if cursor:
            writing.execute(f"SELECT max({cursor})::text FROM {table}")
            query += f" WHERE {cursor} > '{writing.fetchone()[0]}'::timestamptz"
        reading.execute(query)
        writing.adbc_ingest("staged", reading.fetch_record_batch(), mode="replace", temporary=True)
        writing.execute("ANALYZE staged")
        rest = [name for name in names if name != key]
        sets = ", ".join(f"{name} = s.{name}" for name in rest)
        old, new = (", ".join(f"{side}.{name}" for name in rest) for side in "ts")
        # jsonb arrives as json, which has no equality: where there is one, every match is written.
        json = "json" in columns(writing).values()
        differs = "" if json else f"AND ({old}) IS DISTINCT FROM ({new})"
        writing.execute(
            f"MERGE INTO {table} t USING staged s ON t.{key} = s.{key} "
            f"WHEN MATCHED {differs} THEN UPDATE SET {sets} WHEN NOT MATCHED THEN "
            f"INSERT ({', '.join(names)}) VALUES ({', '.join(f's.{name}' for name in names)})"
        )
    target.commit()
    for each in (reading, writing, source, target):
        each.close()
