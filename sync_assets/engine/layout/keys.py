"""Which key tells rows apart: the source's, as far as the target keeps one of them (pure)."""

from __future__ import annotations

from sync_assets.engine import errors
from sync_assets.engine.layout import remedies
from sync_assets.engine.postgres.relation import Key, Relation
from sync_assets.engine.table import SyncMode, Table


def choose_key(table: Table, relation: Relation, target: Relation | None = None) -> Key | None:
    """The source's key: the one asked for, else primary key, else smallest unique index.

    Where the target has an index for only some of the source's keys, it is one of those. None where full_sync reads a relation without one. Raises UnusableKey.
    """
    enforced = relation.has_versions
    if table.key is None:
        if enforced and relation.keys:
            there = [sorted(key.columns) for key in target.keys] if target else []
            shared = (key for key in relation.keys if sorted(key.columns) in there)
            return next(shared, relation.keys[0])
        if table.mode is SyncMode.FULL_SYNC:
            return None
        raise _no_key(table, enforced=enforced)
    for name in table.key:
        if relation.column(name) is None:
            has = ", ".join(column.name for column in relation.columns)
            raise errors.UnusableKey(
                f"the key names {name!r}, which {table.source} does not have",
                remedy=f"Its columns are {has}.",
            )
    if not enforced:
        # Nothing on the source keeps it unique: the target's own index will.
        return Key(table.key, (), primary=True)
    found = _key_within(table.key, relation)
    if found is not None:
        return found
    usable = "; ".join(", ".join(key.columns) for key in relation.keys) or "none"
    raise errors.UnusableKey(
        f"no unique index on NOT NULL columns of {table.source} covers "
        f"exactly {', '.join(table.key)}",
        remedy=f"Usable keys: {usable}; more columns that are NOT NULL may be named besides.",
    )


def _key_within(names: tuple[str, ...], relation: Relation) -> Key | None:
    """The key of those columns: one that the source enforces, or that with more besides.

    What identifies a row does so together with anything that is never NULL.
    """
    for key in relation.keys:
        if sorted(key.columns) == sorted(names):
            return key
    columns = [relation.column(name) for name in names]
    if not all(column and column.not_null for column in columns):
        return None
    for key in relation.keys:
        if set(key.columns) < set(names):
            operators = dict(zip(key.columns, key.operators, strict=True))
            by = tuple(operators.get(name, "OPERATOR(pg_catalog.=)") for name in names)
            return Key(names, by, key.primary)
    return None


def _no_key(table: Table, *, enforced: bool) -> errors.UnusableKey:
    if not enforced:
        return errors.UnusableKey(
            f"{table.source} is not a table, so nothing says what identifies its rows",
            remedy="Name the columns: key: [id]; or set sync_mode: full_sync, which needs none.",
        )
    return errors.UnusableKey(
        f"{table.source} has neither a primary key nor a plain unique index on NOT NULL columns "
        "among the columns that are synced",
        remedy=f"{errors.UnusableKey('').remedy} Or set sync_mode: full_sync, which needs none.",
    )


def key_on_target(table: Table, key: Key, source: Relation, target: Relation) -> Key:
    """The target's own key over these columns.

    Raises SchemaConflict where it has none to find rows by.
    """
    for candidate in target.keys:
        if sorted(candidate.columns) == sorted(key.columns):
            _require_writable(table, candidate, target)
            return candidate
    lacking = [column for column in key.columns if target.column(column) is None]
    if lacking:
        raise errors.SchemaConflict(
            f"the target {table.target} lacks {', '.join(lacking)}, which its rows are told apart by",
            remedy="Give the column its name back, or drop the target, to be loaded anew: "
            f"DROP TABLE {table.target.as_sql}.",
        )
    raise errors.SchemaConflict(
        f"the target {table.target} has no unique index on its key ({', '.join(key.columns)}), "
        "with every column NOT NULL",
        remedy=remedies.keyed(table.target, key, source, target),
    )


def _require_writable(table: Table, key: Key, target: Relation) -> None:
    for column in target.columns:
        if column.generated and column.name in key.columns:
            raise errors.SchemaConflict(
                f"the key column {column.name!r} of {table.target} is generated on the target"
            )
