"""What `check` looks at below the relations to be synced: the tables and views that a view reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.session import Cursor, rows


@dataclass(frozen=True, slots=True)
class Filtered:
    """A table whose policies hide rows from `role`: ours, or that of the view through which we read."""

    table: RelationName
    role: str


# A view reads as its owner, unless it says security_invoker (15).
_BELOW = """
WITH RECURSIVE below (oid, role) AS (
  SELECT oid, (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user)
  FROM unnest(%s::oid[]) AS oid
  UNION
  SELECT d.refobjid, CASE WHEN 'security_invoker=true' = ANY (v.reloptions)
                            OR 'security_invoker=on' = ANY (v.reloptions)
                          THEN below.role ELSE v.relowner END
  FROM below JOIN pg_class v ON v.oid = below.oid AND v.relkind = 'v'
  JOIN pg_rewrite r ON r.ev_class = v.oid
  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid
)
"""

_FILTERED = f"""{_BELOW}
SELECT DISTINCT n.nspname::text, c.relname::text, r.rolname::text
FROM below JOIN pg_class c ON c.oid = below.oid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles r ON r.oid = below.role
WHERE c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
  AND (c.relforcerowsecurity OR NOT pg_has_role(below.role, c.relowner, 'USAGE'))
ORDER BY 1, 2, 3
"""  # noqa: S608 - constants only

_EMPTY = f"""{_BELOW}
SELECT DISTINCT n.nspname::text, c.relname::text
FROM below JOIN pg_class c ON c.oid = below.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND NOT c.relispopulated ORDER BY 1, 2
"""  # noqa: S608 - constants only


def read_filtered(cursor: Cursor, oids: Sequence[int]) -> tuple[Filtered, ...]:
    """The tables among these relations, and below the views among them, that hide rows."""
    found = rows(cursor, _FILTERED, (list(oids),))
    return tuple(Filtered(RelationName(*name), role) for *name, role in found)


def read_unfilled(cursor: Cursor, oids: Sequence[int]) -> tuple[RelationName, ...]:
    """The materialized views among them, and below them, that were never filled."""
    return tuple(RelationName(*name) for name in rows(cursor, _EMPTY, (list(oids),)))
