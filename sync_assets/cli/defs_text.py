"""A defs.yaml as text with comments: what `init` writes (pure)."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len

from sync_assets.cli.output import size
from sync_assets.engine.inspection.inventory import Found
from sync_assets.plain_text import json_shown, shown

WIDTH = 74
"""Characters of a comment beside its margin: a line has room on a terminal of 80 columns."""

MARGIN = 50
"""Where comments beside entries begin at most; those of longer names follow them."""

PLAIN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
"""What YAML reads as text without quotes: letters of any script; with a dot it is never one of its own words."""

HEAD = """\
# Written by sync-assets init; every key: docs/configuration.md.
#
# !! DELETED ROWS STAY BEHIND !!
# With deletes: ignore, a row that is deleted on the source stays on the target,
# and so does the old key of a row whose key changes. Write deletes: hard, below
# for all tables or at one of them, to remove such rows: each run then compares
# all keys as well.
type: sync_assets.TableSync
attributes:
  defaults:
    sync_mode: xmin_incremental   # reads what changed; full_sync: all rows
    deletes: ignore               # or hard, or soft: see above
  tables:"""


def defs_lines(found: Iterable[Found]) -> Iterator[str]:
    """The lines of a file that loads and runs as it is; some relation can be synced.

    What can be synced comes first, in the order of `found`; then, as comments, what cannot.
    """
    yield from HEAD.splitlines()
    relations = list(found)
    yield from _entries([each for each in relations if not each.problem])
    for each in relations:
        if each.problem:
            yield from _commented(each)


def pattern_lines(found: Iterable[Found]) -> Iterator[str]:
    """The lines of a file that takes each schema as a whole; some relation can be synced."""
    yield from HEAD.splitlines()
    schemas: dict[str, list[Found]] = {}
    for each in found:
        schemas.setdefault(each.name.schema, []).append(each)
    for schema, relations in schemas.items():
        fit = [each for each in relations if not each.problem]
        count = f"{len(fit):,} of {len(relations):,} relations sync by row versions"
        others = "; the others: sync-assets refresh" if len(fit) < len(relations) else ""
        yield f"    # {count}{others}"
        if _is_plain(schema) and fit:
            yield f"    - source: {scalar(f'{schema}.*')}"
            fit = [each for each in fit if each.xmin_column]
        yield from _entries(fit)


def _is_plain(schema: str) -> bool:
    """Whether a pattern may name it: not where it would be one itself, or needs quotes."""
    return not set(schema) & set('*?".')


def _entries(found: Sequence[Found]) -> Iterator[str]:
    """An entry for each, what is known of it beside it, one below the other as far as names are short."""
    entries = [f"    - source: {scalar(str(each.name))}" for each in found]
    margin = max((width for width in map(cell_len, entries) if width <= MARGIN), default=0)
    for entry, each in zip(entries, found, strict=True):
        yield f"{entry}{' ' * (margin - cell_len(entry))}   # {_size(each)}"
        if each.xmin_column:
            yield f"      xmin_column: {each.xmin_column}   # it has a source_xmin of its own"


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
    return text if PLAIN.fullmatch(text) else json_shown(json.dumps(text, ensure_ascii=False))


def _one_line(text: str) -> str:
    return shown(" ".join(text.split()))
