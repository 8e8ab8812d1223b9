"""A table as the catalog shows it, with every name ready for SQL."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg2.extensions import connection

SCHEMA = "play"
BESIDE = f"{SCHEMA}_beside"
"""Another schema, of views alone."""

TABLE = f"{SCHEMA}.t"
COMPANION = f"{SCHEMA}.companion"
OWN = "somebodys_own"
"""What somebody calls a view on the target."""

MOOD = f"{SCHEMA}.mood"
NUMBERS = f"nextval('{SCHEMA}.numbers')"
"""A number that no row has had before."""

IDENTIFIES = "identifies a row"
"""The comment of columns that a primary key may be made of."""

MOVED, MOVED_AT, PART, SECRET = "moved", "moved_at", "part", "secret"
FIXED = (MOVED, MOVED_AT, PART, SECRET)
"""The cursors, the partition key and what is masked: the configuration or the table itself names them."""

NAMES = ("c1", "c2", "c3", "c4", "c5", '"Mixed Case"', '"user"', '"값"', '"a""b, c"', '"%s {0}"')
LABELS = ("calm", "glad", "it''s", "sad", "so, so", "wild", "기쁨")


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `feeds` says that a generated column is computed from it."""

    name: str
    type: str
    not_null: bool
    generated: str | None
    virtual: bool
    feeds: bool
    identifies: bool
    primary: bool

    @property
    def plain(self) -> bool:
        """Whether anything may be done to it: no key, no cursor, not computed."""
        return not (self.identifies or self.generated or self.name in FIXED)


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition directly under the table; `first` and `end` are None for the default one."""

    name: str
    first: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class View:
    """A view, with the names and types of its columns."""

    name: str
    materialized: bool
    text: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RememberedColumns:
    """What a rendered operation needs to know.

    `tables` are all tables of the schema, `spare` those with the same columns and no other key.
    """

    columns: tuple[Column, ...]
    primary: tuple[str, ...]
    primary_name: str
    partitioned: bool
    partitions: tuple[Partition, ...]
    leaves: tuple[str, ...]
    tables: tuple[str, ...]
    spare: tuple[str, ...]
    labels: tuple[str, ...]
    views: tuple[View, ...]
    version: int

    @property
    def plain(self) -> tuple[Column, ...]:
        """The columns that anything may be done to."""
        return tuple(column for column in self.columns if column.plain)

    @property
    def identifying(self) -> tuple[Column, ...]:
        """The columns that a primary key may be made of."""
        return tuple(column for column in self.columns if column.identifies)

    @property
    def writable(self) -> tuple[Column, ...]:
        """The columns that INSERT and UPDATE name."""
        return tuple(column for column in self.columns if column.generated is None)

    def unused_table(self) -> str:
        """A name that no table has."""
        names = (f"{SCHEMA}.t_copy_{number}" for number in itertools.count())
        return next(name for name in names if name not in self.tables)

    @property
    def unused_names(self) -> tuple[str, ...]:
        """Names that a column may be given."""
        used = {column.name for column in self.columns}
        return tuple(name for name in NAMES if name not in used)


_COLUMNS = """
SELECT quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attnotnull,
  CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END, a.attgenerated = 'v',
  EXISTS (SELECT FROM pg_depend x JOIN pg_attrdef o ON o.oid = x.objid
          WHERE x.classid = 'pg_attrdef'::regclass AND x.refclassid = 'pg_class'::regclass
          AND x.refobjid = a.attrelid AND x.refobjsubid = a.attnum AND o.adnum <> a.attnum),
  coalesce(col_description(a.attrelid, a.attnum) = %s, false),
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary
          AND a.attnum = ANY (i.indkey))
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

_PRIMARY = """
SELECT quote_ident(c.conname), ARRAY(SELECT quote_ident(a.attname) FROM unnest(c.conkey)
  WITH ORDINALITY AS k (n, place) JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n
  ORDER BY k.place)
FROM pg_constraint c WHERE c.conrelid = %s::regclass AND c.contype = 'p'
"""

_PARTITIONS = """
SELECT c.oid::regclass::text, pg_get_expr(c.relpartbound, c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass
ORDER BY c.relname
"""

_LEAVES = "SELECT relid::text FROM pg_partition_tree(%s::regclass) WHERE isleaf ORDER BY 1"

_TABLES = """
SELECT oid::regclass::text FROM pg_class
WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p') ORDER BY relname
"""

_SPARE = """
WITH shape AS (
  SELECT c.oid, c.relname, array_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod),
    a.attnotnull, a.attgenerated, pg_get_expr(d.adbin, d.adrelid)) ORDER BY a.attname) AS columns
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum AND a.attgenerated <> ''
  WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'p') GROUP BY c.oid
)
SELECT other.oid::regclass::text FROM shape JOIN shape other USING (columns)
JOIN pg_class c ON c.oid = other.oid
LEFT JOIN pg_constraint own ON own.conrelid = other.oid AND own.contype = 'p'
LEFT JOIN pg_constraint k ON k.conrelid = shape.oid AND k.contype = 'p'
WHERE shape.oid = %s::regclass AND other.oid <> shape.oid AND c.relkind = 'r'
  AND NOT c.relispartition
  AND (own.oid IS NULL OR pg_get_constraintdef(own.oid) = pg_get_constraintdef(k.oid))
ORDER BY other.relname
"""

_LABELS = """
SELECT quote_literal(enumlabel) FROM pg_enum WHERE enumtypid = to_regtype(%s) ORDER BY enumsortorder
"""

_VIEWS = """
SELECT c.oid::regclass::text, c.relkind = 'm', rtrim(pg_get_viewdef(c.oid), ';'),
  ARRAY(SELECT ARRAY[quote_ident(attname), format_type(atttypid, atttypmod)] FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 ORDER BY attnum)
FROM pg_class c WHERE c.relkind IN ('v', 'm') AND c.relname <> %s
  AND c.relnamespace IN (to_regnamespace(%s), to_regnamespace(%s)) ORDER BY c.oid
"""


def read(session: connection, table: str = TABLE) -> RememberedColumns | None:
    """The table as it is now, or None. The session's search_path is pg_catalog."""
    with session.cursor() as cursor:
        cursor.execute(
            "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)",
            (table,),
        )
        found = cursor.fetchone()
        if found is None:
            return None

        def rows(statement: str, *values: str) -> list[tuple[object, ...]]:
            cursor.execute(statement, values)
            return cursor.fetchall()

        name, primary = next(iter(rows(_PRIMARY, table)), ("", []))
        return RememberedColumns(
            tuple(Column(*values) for values in rows(_COLUMNS, IDENTIFIES, table)),  # type: ignore[arg-type]
            tuple(primary),  # type: ignore[arg-type]
            str(name),
            bool(found[0]),
            tuple(_partition(*map(str, values)) for values in rows(_PARTITIONS, table)),
            _first(rows(_LEAVES, table)) if found[0] else (table,),
            _first(rows(_TABLES, SCHEMA)),
            _first(rows(_SPARE, SCHEMA, table)),
            _first(rows(_LABELS, MOOD)),
            tuple(_view(*values) for values in rows(_VIEWS, OWN, SCHEMA, BESIDE)),  # type: ignore[arg-type]
            session.server_version // 10000,
        )


def _first(rows: Iterable[tuple[object, ...]]) -> tuple[str, ...]:
    return tuple(str(values[0]) for values in rows)


def _view(name: str, materialized: bool, text: str, columns: Sequence[Sequence[str]]) -> View:
    return View(name, materialized, text, tuple((each[0], each[1]) for each in columns))


def _partition(name: str, bound: str) -> Partition:
    range_ = re.fullmatch(r"FOR VALUES FROM \('?(-?\d+)'?\) TO \('?(-?\d+)'?\)", bound)
    if range_ is None:
        return Partition(name, None, None)
    return Partition(name, int(range_[1]), int(range_[2]))
