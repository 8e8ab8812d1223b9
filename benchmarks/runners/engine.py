"""One run of the engine, from a script that imports nothing else: its receipt and its memory."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from sync_assets.engine import DataCopyEngine

mode, settings, options = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
if sys.argv[-1] != "prepare":
    engine = DataCopyEngine(os.environ["SOURCE_URL"], os.environ["TARGET_URL"], **settings)
    table = os.environ["TABLE"]
    receipt = engine.copy_table_data(table, table, mode, **options)
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    print(json.dumps({"receipt": receipt.as_dict(), "vm_hwm": kilobytes * 1024}))
