"""What `check` looks at for types that the target lacks: their extensions, and domains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sync_assets.engine.errors import UnsupportedRelation
from sync_assets.engine.load.types import EXTENSION, creation
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.engine.postgres.types import UserType, missing_types, read_types


@dataclass(frozen=True, slots=True)
class MissingExtension:
    """An extension whose types are not where the source has them.

    `elsewhere` is the schema that holds it on the target; `available`, whether its files are on the
    target's server, which calls it `trusted`; `creatable`, whether this role may create what is.
    """

    name: str
    schema: str
    elsewhere: str | None
    available: bool
    trusted: bool
    creatable: bool


@dataclass(frozen=True, slots=True)
class MissingDomain:
    """A domain that a run creates, and how: `statement` has none of what it demands of values."""

    name: RelationName
    statement: str


@dataclass(frozen=True, slots=True)
class MissingTypes:
    """What the target lacks of the types that columns need.

    `unmade` says of those that a run cannot make why, and the remedy.
    """

    extensions: tuple[MissingExtension, ...] = ()
    domains: tuple[MissingDomain, ...] = ()
    unmade: tuple[tuple[str, str], ...] = ()


_MAY_CREATE = "SELECT has_database_privilege(current_database(), 'CREATE')"


def read_missing_types(
    source: Cursor, target: Cursor, relations: Iterable[Relation]
) -> MissingTypes:
    """What the relations' columns need and the target does not have as they do."""
    oids = {column.type_oid for relation in relations for column in relation.columns}
    missing = missing_types(target, read_types(source, sorted(oids)))
    wanted = {(each.extension, each.schema) for each in missing if each.extension}
    return MissingTypes(
        tuple(_missing_extension(target, *each) for each in sorted(wanted)),
        tuple(
            MissingDomain(each.full_name, creation(each).as_string(target))
            for each in missing
            if each.kind == "d"
        ),
        tuple(found for each in missing if (found := _unmade(each)) is not None),
    )


def _missing_extension(target: Cursor, name: str, schema: str) -> MissingExtension:
    (may_create,) = row(target, _MAY_CREATE)
    elsewhere, available, trusted = row(target, EXTENSION, {"name": name})
    return MissingExtension(name, schema, elsewhere, available, trusted, may_create)


def _unmade(wanted: UserType) -> tuple[str, str] | None:
    try:
        creation(wanted)
    except UnsupportedRelation as error:
        return error.message, error.remedy
    return None
