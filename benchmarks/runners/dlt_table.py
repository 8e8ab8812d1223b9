"""dlt's sql_table into PostgreSQL: replace, then merge, by the cursor where there is one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

backend, file_format, step = sys.argv[1:]
room = Path(os.environ["ROOM"]) / "dlt"
os.environ.update(DLT_DATA_DIR=str(room), RUNTIME__DLTHUB_TELEMETRY="false")
os.environ.setdefault("RUNTIME__LOG_LEVEL", "ERROR")
table, cursor = os.environ["TABLE"], os.environ["CURSOR"]

if step != "prepare":
    import dlt
    from dlt.sources.sql_database import sql_table

    pipeline = dlt.pipeline(
        "benchmark",
        destination=dlt.destinations.postgres(os.environ["TARGET_URL"]),
        dataset_name="dlt_data",
        pipelines_dir=str(room),
    )
    rows = sql_table(
        # SQLAlchemy 2.1 would take psycopg 3, which dlt's extra does not install.
        credentials=os.environ["SOURCE_URL"].replace("postgresql://", "postgresql+psycopg2://"),
        table=os.environ["READ"],
        schema="public",
        backend=backend,
        incremental=dlt.sources.incremental(cursor) if cursor else None,
        reflection_level="full_with_precision",
    )
    merge = {"disposition": "merge", "strategy": "upsert"}
    rows.apply_hints(
        table_name=table,
        primary_key=os.environ["KEY"],
        write_disposition="replace" if step == "initial" else merge,
    )
    pipeline.run(rows, loader_file_format=file_format).raise_on_failed_jobs()
