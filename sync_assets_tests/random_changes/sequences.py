"""What hypothesis draws: a table, and operations on it with a sync now and then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as st

from sync_assets_tests.random_changes import (
    columns,
    objects,
    partitions,
    rows,
    storage,
    target,
    types,
    views,
)
from sync_assets_tests.random_changes.shape import MOVED, MOVED_AT, RememberedColumns

Render = Callable[[RememberedColumns, Random], list[str]]


RenderThere = Callable[[RememberedColumns, Random, Sequence[str]], list[str]]
AnyRender = TypeVar("AnyRender", Render, RenderThere)


def _by_name(*renders: AnyRender) -> Mapping[str, AnyRender]:
    return {render.__name__: render for render in renders}


DML: Mapping[str, Render] = _by_name(
    rows.insert,
    rows.bulk_insert,
    rows.update,
    rows.delete,
    rows.update_key,
)
STORAGE: Mapping[str, Render] = _by_name(
    rows.truncate,
    rows.truncate_and_refill,
    storage.vacuum_full,
    storage.vacuum_freeze,
    storage.cluster,
    storage.set_unlogged,
    storage.set_logged,
    storage.change_primary_key,
    storage.repeat_former_key,
)
COLUMNS: Mapping[str, Render] = {
    **_by_name(
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
        types.to_any_type,
    ),
    **types.TYPE_CHANGES,
}
PARTITIONS: Mapping[str, Render] = _by_name(
    partitions.create_partition,
    partitions.sub_partition,
    partitions.default_partition,
    partitions.prepare_partition,
    partitions.attach_partition,
    partitions.detach_partition,
    partitions.drop_partition,
    partitions.reattach_partition,
    partitions.truncate_partition,
    partitions.move_rows,
)
PLAIN: Mapping[str, Render] = _by_name(storage.prepare_copy, storage.swap_table)
OBJECTS: Mapping[str, Render] = _by_name(
    objects.add_index,
    objects.add_unique,
    objects.add_check,
    objects.set_default,
    objects.add_statistics,
    objects.drop_object,
    views.create_view,
    views.replace_view,
    views.drop_view,
    views.rename_view,
    views.set_option_of_view,
)
"""Only in stories of tables that carry what they have besides rows."""

TARGET: Mapping[str, RenderThere] = _by_name(
    target.truncate_target,
    target.drop_target,
    target.drop_target_column,
    target.rename_target_column,
)
OBJECTS_THERE: Mapping[str, RenderThere] = _by_name(
    views.drop_target_view,
    views.replace_target_view,
    views.build_on_view,
)
"""What somebody does to them on the target."""

SOURCE: Mapping[str, Render] = {**DML, **STORAGE, **COLUMNS, **PARTITIONS, **PLAIN, **OBJECTS}
AGAIN = "read_again"
"""A part of the table is read again, once somebody has changed it on the target."""

NEEDS_NO_VIEW = (*types.TYPE_CHANGES, types.to_any_type.__name__)
"""What PostgreSQL refuses of a column that a view reads."""

KINDS = (*(kind for kind in SOURCE if kind not in OBJECTS), *TARGET, AGAIN)
"""Every kind of operation on rows, columns and tables, by name."""

MODES: Mapping[str, Mapping[str, Any]] = {
    "xmin": {"sync_mode": "xmin_incremental", "changed_blocks": "auto"},
    "blocks": {"sync_mode": "xmin_incremental", "changed_blocks": "require"},
    "moved": {"sync_mode": "incremental_sync", "cursor": MOVED, "changed_blocks": "require"},
    "moved_at": {"sync_mode": "incremental_sync", "cursor": MOVED_AT},
    "full": {"sync_mode": "full_sync"},
}
"""What a sync is asked for."""

LATE = ("commits", "rolls_back", "held")
"""What a transaction does that is open while a sync reads: it has written before and commits
afterwards, or rolls back; or it has its xid, and writes and commits before the next sync."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A kind, and the seed of what it is done to."""

    kind: str
    seed: str


@dataclass(frozen=True, slots=True)
class Sync:
    """A sync, perhaps with a transaction left open across it, and the seed of what that writes."""

    mode: str
    late: str | None
    seed: str


@dataclass(frozen=True, slots=True)
class Story:
    """A table's life."""

    partitioned: bool
    seed: int
    steps: tuple[Operation | Sync, ...]
    carries: bool = False
    shared: bool = False
    masked: bool = False


Choice = str | tuple[str, str | None]
"""The kind of an operation, or the mode of a sync and what is late in it."""

_SYNCS: Sequence[Choice] = [
    (mode, late)
    for mode in ("xmin", "xmin", "blocks", "blocks", "blocks", "moved", "moved_at", "full")
    for late in (None, None, None, *LATE)
]


def _choices(*, partitioned: bool, calm: bool) -> Sequence[Choice]:
    """What a step may be, as often as it is to come up; a fourth are syncs.

    What not every table allows is drawn more often.
    """
    anywhere = (*DML, *STORAGE, *TARGET)
    if calm:
        own = (*PARTITIONS,) * 4 if partitioned else (*PLAIN,) * 10
        return (*_SYNCS, *anywhere * 5, *own, *[AGAIN] * 12)
    own = (*PARTITIONS,) * 4 if partitioned else (*PLAIN,) * 3
    rare = (*types.TYPE_CHANGES, columns.set_expression.__name__, columns.drop_not_null.__name__)
    rarest = (
        "timestamp_to_timestamptz",
        "timestamptz_to_timestamp",
        "bigint_to_integer",
        "lengthen_varchar",
        "shorten_varchar",
    )
    return (*_SYNCS, *(*anywhere, *COLUMNS) * 2, *own, *rare * 2, *rarest * 2, *[AGAIN] * 12)


def stories(
    *, carries: bool = False, shared: bool = False, masked: bool = False
) -> st.SearchStrategy[Story]:
    """Stories of some twenty steps, a third of them of a partitioned table.

    In every fourth the columns stay what they are, so that tables put aside fit later. Where the table
    `carries` what it has besides rows, that changes, too. A `shared` target is a partition beside that
    of another source; where a column is `masked`, it is in one way after the other.
    """
    tables = [(False, False)] * 4 + [(True, False)] * 2 + [(False, True), (True, True)]
    drawn = st.sampled_from(tables).flatmap(lambda table: _stories(*table, carries))
    return drawn.map(lambda story: replace(story, shared=shared, masked=masked))


def _stories(partitioned: bool, calm: bool, carries: bool) -> st.SearchStrategy[Story]:
    choices = (
        *_choices(partitioned=partitioned, calm=calm),
        *(*OBJECTS,) * 6 * carries,
        *(*OBJECTS_THERE,) * 2 * carries,
    )
    # One text, and not a list: hypothesis makes most of its lists by repeating parts of others,
    # and many kinds would hardly ever come up. A text's letters are drawn alike up to 256.
    last = chr(ord(NO_STEP) + len(choices))
    letters = st.characters(min_codepoint=ord(NO_STEP), max_codepoint=ord(last))
    return st.tuples(st.integers(0, 2**16), st.text(letters, min_size=16, max_size=40)).map(
        lambda drawn: Story(partitioned, drawn[0], tuple(_steps(choices, *drawn)), carries)
    )


NO_STEP = "0"
"""The letter that a text shrinks to."""


def _steps(choices: Sequence[Choice], seed: int, text: str) -> Iterator[Operation | Sync]:
    """The steps that letters stand for.

    A step's seed is made of how often its kind has been before, so that it stays what it was when
    others are left out.
    """
    seen: Counter[Choice] = Counter()
    for letter in text.replace(NO_STEP, ""):
        choice = choices[ord(letter) - ord(NO_STEP) - 1]
        seen[choice] += 1
        own = f"{seed} {choice} {seen[choice]}"
        yield Operation(choice, own) if isinstance(choice, str) else Sync(*choice, own)
