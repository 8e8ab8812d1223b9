"""What expressions of the source's call, and whether a target may be given them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sync_assets.engine.postgres.session import Cursor, row
from sync_assets.engine.table import Table, Trust


@dataclass(frozen=True, slots=True)
class Database:
    """A target besides its tables; `functions` are those that neither PostgreSQL nor an extension brings."""

    extensions: frozenset[str] = frozenset()
    schemas: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()


# Below 16384 are oids that initdb gave (FirstNormalObjectId, src/include/access/transam.h).
_DATABASE = """
SELECT ARRAY(SELECT extname::text FROM pg_extension), ARRAY(SELECT nspname::text FROM pg_namespace),
  ARRAY(SELECT f.oid::regprocedure::text FROM pg_proc f WHERE %s AND f.oid >= 16384 AND NOT EXISTS
    (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = f.oid AND e.deptype = 'e'))
"""


def read_database(cursor: Cursor, tables: Iterable[Table]) -> Database:
    """What there is, as far as what these tables carry may need it: functions only where one is trusted."""
    trusts = any(table.trust is Trust.SOURCE for table in tables)
    return Database(*map(frozenset, row(cursor, _DATABASE, (trusts,))))


# What initdb has made is pinned: pg_depend does not name it.
CALLED = """
  LEFT JOIN pg_operator op ON d.refclassid = 'pg_operator'::regclass AND op.oid = d.refobjid
  JOIN pg_proc f
    ON f.oid = CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE op.oprcode END
  LEFT JOIN pg_depend m ON m.classid = 'pg_proc'::regclass AND m.objid = f.oid AND m.deptype = 'e'
  LEFT JOIN pg_extension e ON e.oid = m.refobjid
"""
"""The functions `f` that dependencies `d` lead to, with the extensions `e` that bring them."""


@dataclass(frozen=True, slots=True)
class Calls:
    """What an expression calls.

    `functions` are those that neither PostgreSQL nor an extension brings, `extensions` those it needs, and
    `unstable` the functions that may say something else next time; for a default or a view, those that
    are volatile.
    """

    functions: tuple[str, ...] = ()
    extensions: frozenset[str] = frozenset()
    unstable: frozenset[str] = frozenset()

    def against(
        self, target: Database, trust: Trust, harmless: frozenset[str] = frozenset()
    ) -> Iterator[str]:
        """What speaks against evaluating it on the target; `harmless` may say something else each time."""
        trusted = trust is Trust.SOURCE
        for each in self.functions:
            if not trusted:
                yield f"it calls {each}, which is code of the source's own"
            elif each not in target.functions:
                yield f"it calls {each}, which the target lacks"
        lacking = sorted(self.extensions - target.extensions)
        if lacking:
            yield f"it needs the extension {lacking[0]}, which the target lacks"
        unstable = self.unstable - harmless
        if unstable and not trusted:
            first = min(unstable)
            said = first if first.isupper() else f"{first}()"
            yield f"{said} may say something else the next time"
