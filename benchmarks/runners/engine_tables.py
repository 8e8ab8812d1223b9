"""The engine over the tables that are asked for, from a script that imports nothing else."""

from __future__ import annotations

import os
import sys

from sync_assets.engine import DataCopyEngine

if sys.argv[-1] != "prepare":
    engine = DataCopyEngine(os.environ["SOURCE_URL"], os.environ["TARGET_URL"])
    for table in os.environ["ASKED"].split():
        engine.copy_table_data(table, table, "xmin_incremental")
