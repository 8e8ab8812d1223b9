"""A table and a copy that is not ours: which of their columns can be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sync_assets.engine import errors
from sync_assets.engine.layout.our_columns import TIME, XID
from sync_assets.engine.names import RelationName, quoted, suggestion
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.postgres.relation import Column, Relation
from sync_assets.engine.postgres.session import Connection, transaction
from sync_assets.engine.snapshot.readable import require_source
from sync_assets.engine.table import SyncMode, Table

STORED = "rp"
"""Kinds of relations that a copy may be: a table, or a partitioned one."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A table, its copy, and what of them is compared.

    `columns` or `exclude` choose columns, `shared_columns` leaves out those that one end lacks. `key`
    names those that identify a row; None takes the source's own key.
    """

    source: RelationName
    target: RelationName
    key: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    shared_columns: bool = False

    def __post_init__(self) -> None:
        if self.columns is not None and self.exclude:
            raise errors.ConfigurationError(
                "columns are chosen and excluded at once", remedy="Keep one of the two."
            )


@dataclass(frozen=True, slots=True)
class TypeDifference:
    """A column whose type is not the same on both ends; its values are compared as text."""

    column: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """The columns to compare, and what else is to be said of those of both ends.

    `ours` are those of `only_in_target` that our own syncs have added.
    """

    columns: tuple[str, ...]
    only_in_source: tuple[str, ...]
    only_in_target: tuple[str, ...]
    ours: tuple[str, ...]
    types_differing: tuple[TypeDifference, ...]


def choose(sessions: Sessions, copy: Copy) -> Chosen:
    """Look at both ends; raises SyncError where they cannot be compared as they are."""
    with sessions.connected("source") as source, transaction(source) as cursor:
        table = Table(copy.source, copy.target, SyncMode.FULL_SYNC)
        here = {each.name: each for each in require_source(cursor, table).columns}
    with sessions.connected("target") as target:
        there = {each.name: each for each in _copy_on(target, copy.target).columns}
    both = {**here, **there}
    _require_known(copy, both)
    wanted = [name for name in both if _is_wanted(copy, name)]
    only_here = tuple(name for name in wanted if name not in there)
    only_there = tuple(name for name in wanted if name not in here)
    ours = tuple(_ours(table, there, only_there)) if copy.columns is None else ()
    asked = tuple(name for name in only_there if name not in ours)
    if (only_here or asked) and not copy.shared_columns:
        raise _not_alike(copy, only_here, asked)
    shared = tuple(name for name in here if name in there and name in wanted)
    if not shared:
        raise errors.ConfigurationError(
            f"{copy.source} and {copy.target} have no column in common to compare",
            remedy="Name another table, or other columns.",
        )
    return Chosen(shared, only_here, only_there, ours, tuple(_types(shared, here, there)))


def _copy_on(target: Connection, name: RelationName) -> Relation:
    """The copy, if this role can read it as one; raises SyncError."""
    with transaction(target) as cursor:
        found = read_relation(cursor, name)
        role = cursor.connection.info.user
    if found is None:
        raise errors.SchemaConflict(
            f"the target has no table {name}",
            remedy="Write schema.table=other.table where the copy has another name.",
        )
    if found.kind not in STORED:
        raise errors.UnsupportedRelation(
            f"{name} on the target is not a table",
            remedy="A view can only be the first of the two: name the ends the other way round.",
        )
    if not found.readable:
        raise errors.PrivilegeError(
            f"the role {role} may not read {name} on the target",
            remedy=f"Run on the target: GRANT SELECT ON {name.as_sql} TO {quoted(role)}.",
        )
    return found


def _ours(table: Table, there: Mapping[str, Column], only_there: Sequence[str]) -> Iterator[str]:
    """Our columns of a copy that we made, under their usual names: any of ours has the row version."""
    usual = ((table.xmin_column, XID), (table.deleted_column, TIME))
    for name, type_ in usual:
        if name not in only_there or there[name].type != type_:
            return
        yield name


def _is_wanted(copy: Copy, name: str) -> bool:
    return name not in copy.exclude and (copy.columns is None or name in copy.columns)


def _require_known(copy: Copy, known: Collection[str]) -> None:
    for name in (*(copy.columns or ()), *copy.exclude):
        if name not in known:
            raise errors.ConfigurationError(
                f"neither {copy.source} nor its copy has a column {name!r}",
                remedy=f"{suggestion(name, known)} Their columns are {', '.join(known)}.".lstrip(),
            )


def _not_alike(
    copy: Copy, only_here: Sequence[str], only_there: Sequence[str]
) -> errors.SchemaConflict:
    told = (("source", only_here), ("target", only_there))
    parts = (f"{', '.join(names)} only on the {side}" for side, names in told if names)
    return errors.SchemaConflict(
        f"{copy.source} and its copy {copy.target} have not the same columns: {'; '.join(parts)}",
        remedy="Compare those that both have with --shared-columns, or leave some out by --exclude.",
    )


def _types(
    names: Sequence[str], here: Mapping[str, Column], there: Mapping[str, Column]
) -> Iterator[TypeDifference]:
    for name in names:
        types = here[name].type, there[name].type
        if types[0] != types[1]:
            yield TypeDifference(name, *types)
