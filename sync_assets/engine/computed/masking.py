"""Masked columns as the source reads them: their SQL, what becomes of keys, and how the key comes there.

The SQL names functions of pg_catalog alone, and not the key: that is in a setting of the transaction, so
that no statement that reads rows shows it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from sync_assets.engine import errors
from sync_assets.engine.computed.masks import Mask, MaskKey
from sync_assets.engine.names import RelationName, quoted
from sync_assets.engine.postgres.equality import TEXT_ENCODING
from sync_assets.engine.postgres.relation import Column, Key, Relation
from sync_assets.engine.postgres.session import Cursor
from sync_assets.engine.postgres.types import read_types

REDACTED = "redacted"
TEXT = 25
"""The OID of the type text."""

EQUAL_TEXT = "OPERATOR(pg_catalog.=)"
LASTING = "bd"
"""The kinds of types of users' and extensions' own whose values keep their text: base types, domains."""


def hand_over(cursor: Cursor, keys: Iterable[MaskKey | None]) -> None:
    """Give a transaction of the source the keys that it reads masked columns with.

    In a statement of its own, which has no reason to fail: the server logs the text of one that does.
    Another one follows, as pg_stat_activity shows a session's last one for as long as it is idle.
    """
    for statement in dict.fromkeys(key.handing_over for key in keys if key is not None):
        cursor.execute(statement)
        cursor.execute("SELECT 1")


def masked(
    cursor: Cursor,
    source: RelationName,
    columns: Iterable[Column],
    chosen: Mapping[str, Mask],
    key: MaskKey | None,
) -> list[Column]:
    """The columns, those `chosen` as the text that is read in their place; raises ConfigurationError."""
    return [
        _as_text(cursor, source, column, chosen[column.name], key)
        if column.name in chosen
        else column
        for column in columns
    ]


def _as_text(
    cursor: Cursor, source: RelationName, column: Column, mask: Mask, key: MaskKey | None
) -> Column:
    if mask.kind != "redact":
        _require_lasting_text(cursor, source, column)
    return dataclasses.replace(
        column,
        type="text",
        type_oid=TEXT,
        collation=None,
        generated=False,
        identity_always=False,
        expression=expression(column.name, mask, key),
    )


def _require_lasting_text(cursor: Cursor, source: RelationName, column: Column) -> None:
    """Refuse a type whose values change their text with no row written: a label may be renamed."""
    behind = read_types(cursor, [column.type_oid])
    names = (column.type, *(each.base or "" for each in behind))
    of_objects = any(name.startswith("reg") for name in names)
    if of_objects or any(each.kind not in LASTING for each in behind):
        raise errors.ConfigurationError(
            f"{column.name!r} of {source} is {column.type}, the text of whose values may change while"
            " its rows do not",
            remedy=f"Mask it by redact, or leave it out: exclude: [{column.name}].",
        )


def expression(column: str, mask: Mask, key: MaskKey | None) -> str:
    """The SQL that is read in a column's place; NULL stays NULL."""
    name = quoted(column)
    text = f"{name}::pg_catalog.text"
    if mask.kind == "redact":
        return f"CASE WHEN {name} IS NOT NULL THEN '{REDACTED}'::pg_catalog.text END"
    if mask.kind == "keep_last":
        length = f"pg_catalog.length({text})"
        longer = f"{length} OPERATOR(pg_catalog.>) {mask.keep}"
        kept = f"CASE WHEN {longer} THEN pg_catalog.right({text}, {mask.keep}) ELSE '' END"
        return f"pg_catalog.lpad({kept}, {length}, '*')"
    if key is None:
        raise AssertionError(f"the mask of {column} has no key")
    joined = "OPERATOR(pg_catalog.||)"
    message = f"pg_catalog.convert_to({text}, {TEXT_ENCODING})"
    inner = f"pg_catalog.sha256({key.inner} {joined} {message})"
    return f"pg_catalog.encode(pg_catalog.sha256({key.outer} {joined} {inner}), 'hex')"


def keys_of(relation: Relation, names: set[str], chosen: Mapping[str, Mask]) -> tuple[Key, ...]:
    """The keys among the columns `names` that still tell rows apart, by the operators of what is read."""
    lost = {name for name, mask in chosen.items() if not mask.keeps_apart}
    return tuple(
        dataclasses.replace(
            key,
            operators=tuple(
                EQUAL_TEXT if name in chosen else operator
                for name, operator in zip(key.columns, key.operators, strict=True)
            ),
        )
        for key in relation.keys
        if names.issuperset(key.columns) and lost.isdisjoint(key.columns)
    )
