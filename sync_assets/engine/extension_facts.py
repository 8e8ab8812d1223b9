"""What `check` looks at for extensions: those whose types the target lacks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sync_assets.engine.catalog import Cursor, Relation
from sync_assets.engine.column_types import missing_types, read_types
from sync_assets.engine.session import row


@dataclass(frozen=True, slots=True)
class MissingExtension:
    """An extension whose types are not where the source has them.

    `elsewhere` is the schema that holds it on the target; `available`, whether its files are on the
    target's server; `creatable`, whether this role may create it, as a run would.
    """

    name: str
    schema: str
    elsewhere: str | None
    available: bool
    creatable: bool


_STANDING = """
SELECT (SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = %(name)s),
       EXISTS (SELECT FROM pg_available_extensions WHERE name = %(name)s),
       EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND rolsuper)
         OR (has_database_privilege(current_database(), 'CREATE')
             AND EXISTS (SELECT FROM pg_available_extension_versions
                         WHERE name = %(name)s AND (trusted OR NOT superuser)))
"""


def read_missing_extensions(
    source: Cursor, target: Cursor, relations: Iterable[Relation]
) -> tuple[MissingExtension, ...]:
    """The extensions that the relations' columns need and the target does not have as they do."""
    oids = {column.type_oid for relation in relations for column in relation.columns}
    missing = missing_types(target, read_types(source, sorted(oids)))
    wanted = {(each.extension, each.schema) for each in missing if each.extension}
    return tuple(
        MissingExtension(name, schema, *row(target, _STANDING, {"name": name}))
        for name, schema in sorted(wanted)
    )
