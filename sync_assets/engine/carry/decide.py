"""What is to be made on a target, what to be dropped, and what cannot be there (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sync_assets.engine.carry.calls import Database
from sync_assets.engine.carry.objects import TableFacts, TableObject
from sync_assets.engine.names import RelationName
from sync_assets.engine.state.carried import Carried
from sync_assets.engine.table import Carry, Deletes, SyncMode, Table

BY_COLUMN = (Carry.DEFAULTS, Carry.NOT_NULL, Carry.SEQUENCES, Carry.COMMENTS)
"""What a column has one of, so that its name is the column's."""

AT_INSERT = frozenset(
    {
        "clock_timestamp",
        "gen_random_bytes",
        "gen_random_uuid",
        "now",
        "random",
        "statement_timestamp",
        "timeofday",
        "transaction_timestamp",
        "uuid_generate_v1",
        "uuid_generate_v1mc",
        "uuid_generate_v4",
        "uuidv4",
        "uuidv7",
    }
)
"""What a default may call although it says something else each time: no run evaluates a default."""

UNIQUE = "UNIQUE "

REFUSING = (Carry.FOREIGN_KEYS, Carry.SEQUENCES, Carry.DEFAULTS, Carry.CHECKS, Carry.NOT_NULL)
"""What may be in the way of rows, or of a column's new type, each after what leans on it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object of the source's as the target shall have it.

    `constraint` is what is made of its index, `refers_to` the target that a foreign key leads to.
    """

    object: TableObject
    definition: str
    constraint: str | None = None
    refers_to: RelationName | None = None

    @property
    def kind(self) -> Carry:
        """Its kind."""
        return self.object.kind

    @property
    def remembered(self) -> str:
        """All that tells it from another of its name."""
        parts = (self.definition, self.constraint, self.refers_to and self.refers_to.as_sql)
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be made, what of earlier runs' making to be dropped, and what cannot be made, and why.

    What was `tried` in vain is tried anew after a day, by a full pass, and once it changes.
    """

    make: tuple[Wanted, ...]
    tried: tuple[Wanted, ...]
    drop: tuple[Carried, ...]
    refused: tuple[tuple[TableObject, str], ...]


def decide(
    table: Table,
    source: TableFacts,
    target: TableFacts | None,
    database: Database,
    made: Sequence[Carried],
    together: Mapping[RelationName, Table],
) -> Decision:
    """Compare what a table's source has with what its target has, None where that is not there yet.

    `database` is the target's, `made` is what earlier runs made; `together` are the tables, by source,
    that are published in the same transaction as this one.
    """
    wanted: list[Wanted] = []
    refused: list[tuple[TableObject, str]] = []
    for each in source.objects:
        if each.kind not in table.carry:
            continue
        why = next(_against(each, table, source, database, together), None)
        if why is None:
            wanted.append(_wanted(each, table, target, together))
        else:
            refused.append((each, why))
    # A table may have the name of a view that runs made.
    made = [each for each in made if each.kind is not Carry.VIEWS]
    before = {each.place: each for each in made if each.problem is None}
    known = {each.object.place: each for each in wanted}
    there = target.objects if target else ()
    ours = {each.place_there: each for each in before.values()}
    served = {
        each: [
            other
            for other in there
            if _is_the_same(each, other)
            and not _gives_way(each, other, ours.get(other.place), known)
        ]
        for each in wanted
    }
    make = tuple(
        each
        for each in wanted
        if not served[each] and not _was_made(each, before.get(each.object.place), there)
    )
    # By whatever name: one that the source has renamed is not built again.
    serving = {other.place for those in served.values() for other in those}
    drop = tuple(
        each
        for place, each in before.items()
        if each.kind in table.carry
        and (place not in known or known[place] in make)
        and each.place_there not in serving
    )
    in_vain = {
        (each.kind, each.name, each.definition)
        for each in made
        if each.problem is not None and each.is_recent
    }
    tried = tuple(
        each for each in make if (each.kind, each.object.name, each.remembered) in in_vain
    )
    make = tuple(each for each in make if each not in tried)
    return Decision(make, tried, drop, tuple(refused))


def _against(
    each: TableObject,
    table: Table,
    source: TableFacts,
    database: Database,
    together: Mapping[RelationName, Table],
) -> Iterator[str]:
    if not each.valid:
        yield "it is not valid on the source, where rows may break it"
    harmless = AT_INSERT if each.kind is Carry.DEFAULTS else frozenset[str]()
    yield from each.calls.against(database, table.trust, harmless)
    missing = sorted(each.columns - travelling(table, source))
    if missing:
        yield f"the column {missing[0]} does not travel"
    computed = sorted(each.columns & _computed(table, each.kind))
    if computed and not (each.kind is Carry.INDEXES and each.plain):
        yield f"the column {computed[0]} is computed on its way"
    if each.kind is Carry.FOREIGN_KEYS:
        yield from _against_foreign_key(each, table, together)


def travelling(table: Table, source: TableFacts) -> frozenset[str]:
    """The columns of a source that its target has, too."""
    has = frozenset(source.columns)
    return (has if table.columns is None else has & {*table.columns}) - {*table.exclude}


def _computed(table: Table, kind: Carry) -> frozenset[str]:
    """The columns whose values are others on the target, as far as a kind of object minds."""
    if kind is Carry.COMMENTS:
        return frozenset()
    expressions = frozenset(name for name, _ in table.expressions)
    # A mask leaves NULL as it is.
    return expressions | frozenset(name for name, _ in table.mask if kind is not Carry.NOT_NULL)


def _against_foreign_key(
    each: TableObject, table: Table, together: Mapping[RelationName, Table]
) -> Iterator[str]:
    """What lets rows come before the one that they refer to, or stay after it."""
    parent = together.get(each.refers_to) if each.refers_to else None
    if parent is None:
        yield f"{each.refers_to} is not synced in one snapshot_group with {table.source}"
        return
    if parent.where is not None:
        yield f"of {parent.source} only some rows travel (where)"
    if removes(parent) and not removes(table):
        yield f"rows that are gone are deleted from {parent.target}, and not from {table.target}"


def removes(table: Table) -> bool:
    """Whether rows that are gone from the source are deleted from the target."""
    return table.mode is SyncMode.FULL_SYNC or table.deletes is Deletes.HARD


def _wanted(
    each: TableObject,
    table: Table,
    target: TableFacts | None,
    together: Mapping[RelationName, Table],
) -> Wanted:
    if each.kind is Carry.FOREIGN_KEYS and each.refers_to:
        return Wanted(each, each.definition, refers_to=together[each.refers_to].target)
    if each.unique and (not removes(table) or each.columns & _computed(table, each.kind)):
        # Rows that are gone from the source stay, and their values may be another row's now.
        plain = each.definition.removeprefix(UNIQUE).replace(" NULLS NOT DISTINCT", "", 1)
        return Wanted(each, plain)
    # PostgreSQL makes no constraint of the index of a partitioned table.
    partitioned = target is not None and target.partitioned
    return Wanted(each, each.definition, None if partitioned else each.constraint)


def _is_the_same(wanted: Wanted, other: TableObject) -> bool:
    """Whether an object of the target does what is wanted, whoever made it."""
    if other.kind is not wanted.kind or not other.valid or other.refers_to != wanted.refers_to:
        return False
    if wanted.kind in BY_COLUMN and other.name != wanted.object.name:
        return False
    return other.definition in (wanted.definition, UNIQUE + wanted.definition)


def _gives_way(
    wanted: Wanted,
    other: TableObject,
    ours: Carried | None,
    known: Mapping[tuple[Carry, str], Wanted],
) -> bool:
    """Whether an index, if a run made it, is another kind of promise than the source makes by now."""
    if ours is None:
        return False
    stricter = other.unique and not wanted.definition.startswith(UNIQUE)
    if ours.place == wanted.object.place:
        return stricter or not _is_as_lenient(wanted, other)
    still = known.get(ours.place)
    return stricter and not (still and still.definition.startswith(UNIQUE))


def _is_as_lenient(wanted: Wanted, other: TableObject) -> bool:
    """Whether an index is a constraint's that is wanted, and one that may be put off, if that is wanted."""
    return wanted.constraint is None or (other.constraint or "").startswith(wanted.constraint)


def may_be_there(made: Carried, there: TableFacts) -> bool:
    """Whether the target may still have what a run made: its column may have gone, or all of it."""
    if made.kind in (Carry.INDEXES, Carry.STATISTICS):
        # By its name alone it could be another table's.
        return any(each.place == made.place_there for each in there.objects)
    return made.kind not in BY_COLUMN or made.made_as in {"", *there.columns}


def is_in_the_way(made: Carried, source: TableFacts, target: TableFacts) -> bool:
    """Whether what goes could refuse rows that the source has, or keep a column from its new type."""
    if made.kind in REFUSING or made.definition.startswith(UNIQUE):
        return True
    reads = {
        column
        for each in target.objects
        if each.place == made.place_there
        for column in each.columns
    }
    return any(source.columns.get(name) != target.columns.get(name) for name in reads)


def _was_made(wanted: Wanted, before: Carried | None, there: Sequence[TableObject]) -> bool:
    """Whether an earlier run made it, in words that the target's server writes in another way."""
    if before is None or before.definition != wanted.remembered:
        return False
    return any(
        each.place == before.place_there and each.valid and _is_as_lenient(wanted, each)
        for each in there
    )
