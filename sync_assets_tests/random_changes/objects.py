"""Changes of what the source's table has besides rows."""

from __future__ import annotations

import random

from sync_assets_tests.random_changes.shape import (
    MOVED,
    MOVED_AT,
    PART,
    SCHEMA,
    TABLE,
    RememberedColumns,
)


def _any(shape: RememberedColumns, chance: random.Random) -> str:
    stored = [column.name for column in shape.columns if not column.virtual]
    return chance.choice(stored)


def add_index(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Over an expression that each type has, partial or not."""
    where = f" WHERE {_any(shape, chance)} IS NOT NULL" * (chance.random() < 0.5)
    return [f"CREATE INDEX ON {TABLE} (({_any(shape, chance)} IS NULL), {MOVED}){where}"]


def add_unique(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """An index or a constraint that no other change of the table breaks."""
    names = [column.name for column in shape.identifying] + [PART] * shape.partitioned
    chance.shuffle(names)
    columns = ", ".join(names)
    if chance.random() < 0.5:
        return [f"CREATE UNIQUE INDEX ON {TABLE} ({columns})"]
    later = " DEFERRABLE INITIALLY DEFERRED" * (chance.random() < 0.5)
    return [f"ALTER TABLE {TABLE} ADD UNIQUE ({columns}){later}"]


def add_check(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """That names a column, which may get another name or type, or go.

    A partition that is attached would need it, too.
    """
    if shape.partitioned:
        return []
    return [
        f"ALTER TABLE {TABLE} ADD CHECK ({_any(shape, chance)} IS NULL OR {MOVED} IS NOT NULL OR true)"
    ]


def set_default(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Of a column that keeps its type; or none."""
    column, default = chance.choice([(MOVED, "7"), (MOVED_AT, "now()"), (MOVED, None)])
    change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
    return [f"ALTER TABLE {TABLE} ALTER {column} {change}"]


def add_statistics(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Extended ones, over two columns."""
    other = chance.choice([column.name for column in shape.identifying])
    name = f"{SCHEMA}.{chance.choice(['one', 'two'])}"
    return [f"CREATE STATISTICS IF NOT EXISTS {name} (ndistinct) ON {MOVED}, {other} FROM {TABLE}"]


_DROP = """
DO $$ DECLARE statement text; BEGIN
  SELECT format('DROP INDEX %s', i.indexrelid::regclass) INTO statement
  FROM pg_index AS i LEFT JOIN pg_constraint AS k ON k.conindid = i.indexrelid
  WHERE i.indrelid = '{table}'::regclass AND k.oid IS NULL ORDER BY i.indexrelid LIMIT 1;
  IF statement IS NULL OR {other} THEN
    SELECT format('ALTER TABLE {table} DROP CONSTRAINT %I', conname) INTO statement
    FROM pg_constraint WHERE conrelid = '{table}'::regclass AND contype IN ('u', 'c') AND conparentid = 0
    ORDER BY oid LIMIT 1;
  END IF;
  IF statement IS NOT NULL THEN EXECUTE statement; END IF;
END $$
"""


def drop_object(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """The oldest index, or constraint, that is not the key."""
    return [_DROP.format(table=TABLE, other=chance.random() < 0.5)]
