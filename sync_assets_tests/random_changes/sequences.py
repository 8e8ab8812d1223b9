"""What hypothesis draws: a table, and rounds of operations that end with a sync each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from hypothesis import strategies as st

from sync_assets_tests.random_changes import columns, partitions, rows, storage, target, types
from sync_assets_tests.random_changes.shape import MOVED, MOVED_AT, Shape

Render = Callable[[Shape, Random], list[str]]

DML: Mapping[str, Render] = {
    each.__name__: each
    for each in (
        rows.insert,
        rows.bulk_insert,
        rows.update,
        rows.delete,
        rows.update_key,
    )
}
DDL: Mapping[str, Render] = {
    **{
        each.__name__: each
        for each in (
            rows.truncate,
            rows.truncate_and_refill,
            columns.add_column,
            columns.add_column_with_constant,
            columns.add_column_not_null,
            columns.add_column_with_volatile,
            columns.add_generated_column,
            columns.set_expression,
            columns.drop_column,
            columns.readd_column,
            columns.rename_column,
            columns.swap_column_names,
            columns.set_not_null,
            columns.drop_not_null,
            columns.add_enum_value,
            columns.rename_enum_value,
            storage.vacuum_full,
            storage.vacuum_freeze,
            storage.cluster,
            storage.set_unlogged,
            storage.set_logged,
            storage.change_primary_key,
            storage.repeat_former_key,
            types.to_any_type,
        )
    },
    **types.TYPE_CHANGES,
}
PARTITIONS: Mapping[str, Render] = {
    each.__name__: each
    for each in (
        partitions.create_partition,
        partitions.sub_partition,
        partitions.default_partition,
        partitions.attach_partition,
        partitions.detach_partition,
        partitions.drop_partition,
        partitions.reattach_partition,
        partitions.truncate_partition,
        partitions.move_rows,
    )
}
PLAIN: Mapping[str, Render] = {"swap_table": storage.swap_table}
TARGET = {
    each.__name__: each
    for each in (
        target.truncate_target,
        target.drop_target,
        target.drop_target_column,
        target.rename_target_column,
    )
}
SOURCE: Mapping[str, Render] = {**DML, **DDL, **PARTITIONS, **PLAIN}
KINDS = (*SOURCE, *TARGET)
"""Every kind of operation, by name."""

MODES: Mapping[str, tuple[str, str | None]] = {
    "xmin": ("xmin_incremental", None),
    "moved": ("incremental_sync", MOVED),
    "moved_at": ("incremental_sync", MOVED_AT),
    "full": ("full_sync", None),
}
"""What a sync is asked for: the mode and the cursor."""

LATE = ("commits", "rolls_back", "held")
"""What a transaction does that is open while a sync reads: it has written before and commits
afterwards, or rolls back; or it has its xid, and writes and commits some operations later."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A kind, and the seed of what it is done to."""

    kind: str
    seed: int


@dataclass(frozen=True, slots=True)
class Round:
    """Operations and the sync after them, perhaps with a transaction left open across it."""

    operations: tuple[Operation, ...]
    mode: str
    late: str | None


@dataclass(frozen=True, slots=True)
class Story:
    """A table's life."""

    partitioned: bool
    seed: int
    rounds: tuple[Round, ...]


def stories() -> st.SearchStrategy[Story]:
    """Stories of one to six rounds, a third of them of a partitioned table."""
    return st.sampled_from((False, False, True)).flatmap(
        lambda partitioned: st.builds(
            Story, st.just(partitioned), _SEEDS, _tuples(_rounds(partitioned=partitioned), 6)
        )
    )


_SEEDS = st.integers(0, 2**16)


def _tuples(each: st.SearchStrategy[object], most: int) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(each, min_size=1, max_size=most).map(tuple)


def _kinds(*, partitioned: bool) -> tuple[str, ...]:
    # Partitions are a third of the stories, so that they are drawn there more often.
    own = (*PARTITIONS, *PARTITIONS) if partitioned else tuple(PLAIN)
    return (*DML, *DDL, *own, *TARGET)


_MODES = ("xmin", "xmin", "xmin", "moved", "moved_at", "full")
_LATE = (None, None, None, *LATE)


def _rounds(*, partitioned: bool) -> st.SearchStrategy[Round]:
    operations = st.builds(Operation, st.sampled_from(_kinds(partitioned=partitioned)), _SEEDS)
    return st.builds(Round, _tuples(operations, 5), st.sampled_from(_MODES), st.sampled_from(_LATE))


def even_story(chance: Random, seen: Mapping[str, int]) -> Story:
    """A story that prefers the kinds seen least, for those who tell very many.

    Hypothesis draws some kinds far more often than others, which is good at finding the shortest
    story and bad at covering all.
    """
    partitioned = chance.random() < 1 / 3
    kinds = _kinds(partitioned=partitioned)
    weights = [1 / (1 + seen.get(kind, 0)) ** 2 for kind in kinds]

    def round_() -> Round:
        chosen: Sequence[str] = chance.choices(kinds, weights, k=chance.randint(1, 5))
        operations = tuple(Operation(kind, chance.randrange(2**16)) for kind in chosen)
        return Round(operations, chance.choice(_MODES), chance.choice(_LATE))

    rounds = tuple(round_() for _ in range(chance.randint(1, 6)))
    return Story(partitioned, chance.randrange(2**16), rounds)
