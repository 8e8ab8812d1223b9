"""Whether a batch travels as CSV or as binary COPY data.

Binary is taken where it changes nothing and pays: numbers, times and the like need not be written
as text and parsed again. Short text is no smaller and no quicker that way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sync_assets.engine.layout.layout import Field
from sync_assets.engine.postgres.relation import Column
from sync_assets.engine.postgres.session import Connection, encoding_of

_CHEAP = frozenset(
    {
        "bigint",
        "boolean",
        "bpchar",
        '"char"',
        "character",
        "character varying",
        "integer",
        "json",
        "jsonb",
        "name",
        "oid",
        "smallint",
        "text",
    }
)
_COSTLY = frozenset(
    {
        "bit",
        '"bit"',
        "bit varying",
        "bytea",
        "cidr",
        "date",
        "double precision",
        "inet",
        "interval",
        "macaddr",
        "numeric",
        "real",
        "time with time zone",
        "time without time zone",
        "timestamp with time zone",
        "timestamp without time zone",
        "uuid",
    }
)
"""Types whose text is costly to write and to parse."""

SHARE = 4
"""One costly column in so many is enough to pay."""

_TYPE = re.compile(
    r"(?P<name>[a-z\" ]+?)(\([\d,-]+\))?(?P<rest> with(out)? time zone)?(?P<array>(\[\])*)"
)


UTF8 = "UTF8"


@dataclass(frozen=True, slots=True)
class BatchFormat:
    """How rows travel: as binary COPY data or as CSV, whose text is written in `encoding`."""

    binary: bool = False
    encoding: str = UTF8


def format_between(
    source: Connection, target: Connection, columns: Sequence[Column], fields: Sequence[Field]
) -> BatchFormat:
    """How rows of `columns` travel into `fields`.

    Between ends that are alike text goes as it is: bytes of SQL_ASCII need not be text, and some
    encodings know characters that UTF8 lacks. Binary data holds text too, and always in the
    session's own encoding.
    """
    encodings = {encoding_of(source), encoding_of(target)}
    encoding = encodings.pop() if len(encodings) == 1 else UTF8
    versions = (source.server_version, target.server_version)
    return BatchFormat(encoding == UTF8 and is_binary(columns, fields, *versions), encoding)


def is_binary(
    columns: Sequence[Column], fields: Sequence[Field], source_version: int, target_version: int
) -> bool:
    """Whether rows of `columns` can travel as binary data into `fields`, and it pays.

    Both types must be the same built-in one. The target's server must not be the older: it would
    take an infinite interval, which PostgreSQL 17 brought, for a finite one.
    """
    if target_version // 10000 < source_version // 10000:
        return False
    types = {column.name: column.type for column in columns}
    if any(field.expression is not None or types.get(field.name) != field.type for field in fields):
        return False
    costs = [_is_costly(field.type) for field in fields]
    return None not in costs and sum(map(bool, costs)) * SHARE >= len(costs)


def _is_costly(type_: str) -> bool | None:
    """None: not known to be the same on every server."""
    found = _TYPE.fullmatch(type_)
    name = f"{found['name']}{found['rest'] or ''}" if found else ""
    if name not in _CHEAP | _COSTLY:
        return None
    return bool(found and found["array"]) or name in _COSTLY
