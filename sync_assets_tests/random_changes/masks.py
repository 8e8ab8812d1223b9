"""A column that is masked, now in one way and then in another, and whether the target has what it is to have."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.random_changes.shape import SECRET, TABLE

KEY = "the key of random changes"
MASKS: tuple[Any, ...] = ("hmac", {"keep_last": 2}, "redact")
SYNCS_OF_ONE = 4
"""After so many syncs it is masked in another way."""


def mask_of(seed: int, syncs: int) -> Any:
    """How the column is masked once so many syncs have been."""
    return MASKS[(seed + syncs // SYNCS_OF_ONE) % len(MASKS)]


def is_exact(pair: Pair, mask: Any) -> bool:
    """Whether the target's rows are the source's, but for what the mask makes of the column."""
    source = [row for (row,) in pair.source(f"SELECT to_jsonb(t) FROM {TABLE} AS t")]
    wanted = Counter(_text({**row, SECRET: _masked(row[SECRET], mask)}, row) for row in source)
    there = pair.target(f"SELECT to_jsonb(t) FROM {TABLE} AS t")
    # Others are the target's own.
    columns = source[0] if source else ()
    return wanted == Counter(_text(row, columns) for (row,) in there)


def _text(row: dict[str, Any], columns: Iterable[str]) -> str:
    return json.dumps({name: row[name] for name in columns}, sort_keys=True)


def _masked(value: str | None, mask: Any) -> str | None:
    if value is None:
        return None
    if mask == "hmac":
        return hmac.new(KEY.encode(), value.encode(), hashlib.sha256).hexdigest()
    if mask == "redact":
        return "redacted"
    kept = mask["keep_last"]
    hidden = len(value) if len(value) <= kept else len(value) - kept
    return "*" * hidden + value[hidden:]
