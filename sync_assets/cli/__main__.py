"""`python -m sync_assets.cli`: the same as the console script `sync-assets`."""

from __future__ import annotations

from sync_assets.cli import main

main()
