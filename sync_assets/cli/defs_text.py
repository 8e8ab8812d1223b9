"""A defs.yaml as text with comments: what `init` writes (pure)."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator

from sync_assets.cli.output import size
from sync_assets.engine.inspection.inventory import Found
from sync_assets.plain_text import shown

WIDTH = 92
"""Characters of a comment beside its margin."""

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
"""What YAML reads as text without quotes; a name with a dot is never one of its own words."""

HEAD = """\
# Written by sync-assets init; every key: docs/configuration.md.
#
# !! DELETED ROWS STAY BEHIND !!
# With deletes: ignore, rows that are deleted on the source, and the old key of a row whose key
# changes, stay on the target for ever. Write deletes: hard, here for all tables or at a table, to
# remove them: each run then also reads every key and compares.
type: sync_assets.TableSync
attributes:
  defaults:
    sync_mode: xmin_incremental   # reads what changed; full_sync reads everything
    deletes: ignore               # or hard, or soft: see above
  tables:"""


def defs_lines(found: Iterable[Found]) -> Iterator[str]:
    """The lines of a file that loads and runs as it is; some relation can be synced."""
    yield from HEAD.splitlines()
    for each in found:
        yield from _commented(each) if each.problem else _entry(each)


def pattern_lines(found: Iterable[Found]) -> Iterator[str]:
    """The lines of a file that takes each schema as a whole; some relation can be synced."""
    yield from HEAD.splitlines()
    schemas: dict[str, list[Found]] = {}
    for each in found:
        schemas.setdefault(each.name.schema, []).append(each)
    for schema, relations in schemas.items():
        fit = [each for each in relations if not each.problem]
        count = f"{len(fit):,} of {len(relations):,} relations can be synced by row versions"
        yield f"    # {count}; the others: sync-assets refresh"
        if _is_plain(schema) and fit:
            yield f"    - source: {json.dumps(f'{schema}.*')}"
            fit = [each for each in fit if each.xmin_column]
        for each in fit:
            yield from _entry(each)


def _is_plain(schema: str) -> bool:
    """Whether a pattern may name it: not where it would be one itself, or needs quotes."""
    return not set(schema) & set('*?".')


def _entry(found: Found) -> Iterator[str]:
    yield f"    # {_size(found)}"
    yield f"    - source: {scalar(str(found.name))}"
    if found.xmin_column:
        yield f"      xmin_column: {found.xmin_column}   # it has a source_xmin of its own"


def _size(found: Found) -> str:
    what = "partitioned, " if found.kind == "p" else ""
    count = "never analyzed" if found.rows is None else f"about {found.rows:,} rows"
    key = ", ".join(found.key)
    return f"{what}{count}, {size(found.bytes)}, key {_one_line(key)}"


def _commented(found: Found) -> Iterator[str]:
    yield "    #"
    said = _one_line(f"{found.problem}. {found.remedy}")
    # A name or a statement to paste stays in one piece.
    yield from (
        f"    # {line}"
        for line in textwrap.wrap(said, WIDTH, break_long_words=False, break_on_hyphens=False)
    )
    yield f"    # - source: {scalar(str(found.name))}"
    if found.whole:
        yield "    #   sync_mode: full_sync"


def scalar(text: str) -> str:
    """The text as YAML, in quotes where it needs them."""
    return text if PLAIN.fullmatch(text) and "." in text else json.dumps(text, ensure_ascii=True)


def _one_line(text: str) -> str:
    return shown(" ".join(text.split()))
