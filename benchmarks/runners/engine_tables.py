"""The engine over the tables that are asked for, from a script that imports nothing else."""

from __future__ import annotations

import os
import sys

from sync_assets.engine import DataCopyEngine, RelationName, SyncError, Table

if sys.argv[-1] != "prepare":
    engine = DataCopyEngine(os.environ["SOURCE_URL"], os.environ["TARGET_URL"])
    names = [RelationName("public", name) for name in os.environ["ASKED"].split()]
    outcomes = engine.sync_each([Table(name, name) for name in names])
    sys.exit(any(isinstance(each, SyncError) for each in outcomes))
