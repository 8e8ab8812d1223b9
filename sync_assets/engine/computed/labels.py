"""Labels of enums as text (pure).

PostgreSQL does not call that immutable, as a label may be renamed, which leaves no trace in any row
(https://www.postgresql.org/docs/current/sql-altertype.html). Nothing else can change it: with the
labels among what a run remembers, incremental modes can follow it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sync_assets.engine.postgres.relation import Column
from sync_assets.engine.postgres.types import UserType

_AS_TEXT = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[a-zA-Z_]\w*))\s*::\s*text\s*')


def labels_as_text(
    expressions: Iterable[tuple[str, str]], columns: Iterable[Column], types: Iterable[UserType]
) -> Mapping[str, tuple[tuple[int, str], ...]]:
    """The labels, each after its oid, that columns show of which the expression is an enum's text."""
    enums = {each.oid: each for each in types if each.kind == "e"}
    shown = {column.name: enums.get(column.type_oid) for column in columns}
    found = {}
    for name, text in expressions:
        written = _AS_TEXT.fullmatch(text)
        if written is None:
            continue
        quoted, plain = written["quoted"], written["plain"]
        read = shown.get(plain.lower() if plain else quoted.replace('""', '"'))
        if read is not None:
            found[name] = tuple(zip(read.label_oids, read.labels, strict=True))
    return found
