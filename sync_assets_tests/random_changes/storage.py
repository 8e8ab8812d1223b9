"""Changes of where the rows are and of what identifies them, on the source."""

from __future__ import annotations

import random

from sync_assets_tests.random_changes.rows import insertion
from sync_assets_tests.random_changes.shape import (
    NUMBERS,
    PART,
    SCHEMA,
    TABLE,
    RememberedColumns,
)
from sync_assets_tests.random_changes.values import identity, some

REPACKS_FROM = 19


def vacuum_full(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Every row moves to another file, as old as it was."""
    command = "REPACK" if shape.version >= REPACKS_FROM and chance.random() < 0.5 else "VACUUM FULL"
    return [f"{command} {TABLE}"]


def vacuum_freeze(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Rows lose their xid."""
    return [f"VACUUM (FREEZE) {TABLE}"]


def cluster(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Rows change their order."""
    return [f"CLUSTER {TABLE} USING {shape.primary_name}"]


def set_unlogged(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """The table, or one partition of it."""
    return [f"ALTER TABLE {chance.choice(shape.leaves)} SET UNLOGGED"]


def set_logged(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Unlogged before, or it is nothing."""
    leaf = chance.choice(shape.leaves)
    return [f"ALTER TABLE {leaf} SET UNLOGGED", f"ALTER TABLE {leaf} SET LOGGED"]


def prepare_copy(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Another table with some of the rows and others, to take the name later."""
    new, names = shape.unused_table(), ", ".join(column.name for column in shape.writable)
    return [
        f"CREATE TABLE {new} (LIKE {TABLE} INCLUDING ALL)",
        (
            f"INSERT INTO {new} ({names}) SELECT {names} FROM {TABLE} "
            f"WHERE NOT ({some(shape, chance, chance.randrange(2, 9))})"
        ),
        insertion(shape, chance, new, chance.randrange(1, 30)),
    ]


def swap_table(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Another table takes the name: one of before, perhaps with other columns, or a new copy."""
    copies = [name for name in shape.tables if name.startswith(f"{TABLE}_copy_")]
    prepared, new = [], chance.choice(copies) if copies else shape.unused_table()
    if not copies:
        prepared = prepare_copy(shape, chance)
    return [
        *prepared,
        (
            f"ALTER TABLE {TABLE} RENAME TO beside; ALTER TABLE {new} RENAME TO t; "
            f"ALTER TABLE {SCHEMA}.beside RENAME TO {new.removeprefix(f'{SCHEMA}.')}"
        ),
    ]


def change_primary_key(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """To another of the columns that identify a row, or to both; made unique where it is not."""
    one, other = (column.name for column in shape.identifying)
    wanted = [(one,), (other,), (one, other), (other, one)]
    part = (PART,) if shape.partitioned else ()
    names = chance.choice([each for each in wanted if (*each, *part) != shape.primary])
    statements = []
    for column in shape.identifying:
        if column.name in names:
            repeated = f"SELECT {column.name} FROM {TABLE} GROUP BY 1 HAVING count(*) > 1"
            statements.append(
                f"UPDATE {TABLE} SET {column.name} = {identity(column, NUMBERS)} "
                f"WHERE {column.name} IN ({repeated})"
            )
    return [
        *statements,
        (
            f"ALTER TABLE {TABLE} DROP CONSTRAINT {shape.primary_name}, "
            f"ADD PRIMARY KEY ({', '.join((*names, *part))})"
        ),
    ]


def repeat_former_key(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Rows share what identified them before, as the primary key no longer forbids it."""
    free = [column for column in shape.identifying if not column.primary]
    if not free:
        return []
    column = free[0]
    return [
        (
            f"UPDATE {TABLE} SET {column.name} = (SELECT min({column.name}) FROM {TABLE}) "
            f"WHERE {some(shape, chance)}"
        )
    ]
