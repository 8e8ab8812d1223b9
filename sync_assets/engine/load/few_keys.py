"""Keys of the source that are few: they go along in the statement that compares them, and take no table."""

from __future__ import annotations

import csv
import io

from sync_assets.engine.export.batches import Batch
from sync_assets.engine.load.staging_statements import LEAF, PAGE
from sync_assets.engine.plan.batch_format import UTF8
from sync_assets.engine.plan.key_buckets import key_width
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.snapshot.scope import texts

FEW = 64 << 10
"""Bytes of keys that go along in a statement."""


def are_few(plan: Plan, kept: bytes, batch: Batch) -> bool:
    """Whether those kept and this batch need no table: text that every server reads alike, and little.

    A filter or an expression is proven on a table in any case.
    """
    plain = plan.format.encoding == UTF8 and key_width(plan) is not None
    return plain and not any(texts(plan.table)) and len(kept) + batch.bytes <= FEW


def as_rows(names: tuple[str, ...], kept: bytes) -> list[dict[str, str]]:
    """The rows of what was kept, as a batch file has them, by the names of their columns."""
    rows = csv.reader(io.StringIO(kept.decode(), newline=""))
    pairs = (zip(names, row, strict=True) for row in rows)
    # A key's text may be empty; where it lies is a number, or not known.
    return [{name: text for name, text in row if text or name not in (LEAF, PAGE)} for row in pairs]
