"""What to sync: relations, modes and options, as the user gives them."""

from __future__ import annotations

import dataclasses
import enum
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sync_assets.engine.computed.expression import require_expression
from sync_assets.engine.computed.masks import Mask, MaskKey, key_of, parsed_masks
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.names import PartitionOf, RelationName, check_part, object_name

if TYPE_CHECKING:
    from typing_extensions import Self


class Choice(str, enum.Enum):
    """A setting with a few allowed words."""

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read it by its word; raises ConfigurationError naming what is allowed."""
        try:
            return cls(value)
        except ValueError:
            allowed = ", ".join(each.value for each in cls)
            raise ConfigurationError(
                f"unknown {cls.setting()} {value!r}", remedy=f"Use one of {allowed}."
            ) from None

    @classmethod
    def setting(cls) -> str:
        """The name it is set by."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


class SyncMode(Choice):
    """How a run finds what to move."""

    FULL_SYNC = "full_sync"
    INCREMENTAL_SYNC = "incremental_sync"
    XMIN_INCREMENTAL = "xmin_incremental"


class Deletes(Choice):
    """What becomes of target rows that the source no longer has, in an incremental mode."""

    IGNORE = "ignore"
    HARD = "hard"
    SOFT = "soft"


class LateCommits(Choice):
    """How `incremental_sync` finds rows whose cursor is older than the last run's mark.

    `xid` also reads every row that a transaction newer than the mark wrote, and misses none;
    `lookback` trusts the cursor and the time it is looked back.
    """

    XID = "xid"
    LOOKBACK = "lookback"


class ChangedBlocks(Choice):
    """Whether a run asks the source's WAL which pages changed, and reads only those.

    `auto` does where that is possible and pays; `require` fails where it is not possible.
    """

    AUTO = "auto"
    OFF = "off"
    REQUIRE = "require"


class Carry(Choice):
    """What the target is given of its source's table besides rows."""

    INDEXES = "indexes"
    CHECKS = "checks"
    DEFAULTS = "defaults"
    NOT_NULL = "not_null"
    FOREIGN_KEYS = "foreign_keys"
    SEQUENCES = "sequences"
    STATISTICS = "statistics"
    COMMENTS = "comments"
    VIEWS = "views"


class Trust(Choice):
    """An owner of code, besides PostgreSQL and its extensions, that may run on the target by what it is given."""

    NOBODY = "nobody"
    SOURCE = "source"


class OnSchemaChange(Choice):
    """What a run does when the source's columns are not those of the last run.

    `ask` fails until a person has approved of the very change that a run meets.
    """

    EVOLVE = "evolve"
    FAIL = "fail"
    ASK = "ask"


# What users write, by name: each field is an option of a table.
@dataclass(frozen=True, slots=True)
class Table:
    """One table to keep in step: where from, where to, and how.

    `key` names the columns that identify a row; None takes the source's primary key, else its smallest
    unique index on NOT NULL columns. A row version that is gone cannot be seen, so `deletes: hard`
    compares all keys of the source with the target's; `soft` does too, and marks the rows in
    `deleted_column` instead of deleting them; `full_sync` always removes what the source no longer has.
    `max_delete_ratio` is the share of the target's live rows that one run may delete, judged from
    `min_deletes` rows up; `confirm_deletes` allows that many for this run, `allow_empty` an empty source.

    `columns` or `exclude` choose what travels; `expressions` are (column, SQL) pairs computed on the
    source in the column's place; `mask` are (column, Mask) pairs, made under `mask_key` or else the
    variable SYNC_MASK_KEY; `where` is an SQL condition on the source's rows. `history` keeps each
    version of a row that a run saw, in a table beside the target whose name it may give. `only` reads a
    table without the tables that inherit from it. `cursor`, `lookback` (an interval or a number, by the
    cursor's type) and `late_commits` belong to `incremental_sync`. `blocks_wait` is how many seconds
    `changed_blocks` may wait for the source's WAL to be summarized. A run with `rows`, an SQL
    condition, reads the source's rows again that fulfil it, and no others; `approved_changes` names
    what a run may take where `on_schema_change` is to ask. What it is to `carry` a run makes on the
    target once its rows are there, with calls of functions of the source's owner, which the target must
    have, where it may `trust` the source. A `dry_run` does all of the work and publishes nothing. The
    target can be a `partition_of` a table that has the rows of many sources.
    """

    source: RelationName
    target: RelationName
    mode: SyncMode = SyncMode.XMIN_INCREMENTAL
    key: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    expressions: tuple[tuple[str, str], ...] = ()
    mask: tuple[tuple[str, Mask], ...] = ()
    mask_key: str | None = dataclasses.field(default=None, repr=False)
    where: str | None = None
    only: bool = False
    cursor: str | None = None
    lookback: str | None = None
    late_commits: LateCommits = LateCommits.XID
    changed_blocks: ChangedBlocks = ChangedBlocks.AUTO
    blocks_wait: float = 0.0
    deletes: Deletes = Deletes.IGNORE
    on_schema_change: OnSchemaChange = OnSchemaChange.EVOLVE
    carry: tuple[Carry, ...] = ()
    trust: Trust = Trust.NOBODY
    xmin_column: str = "source_xmin"
    deleted_column: str = "deleted_at"
    max_delete_ratio: float = 0.5
    min_deletes: int = 100
    allow_empty: bool = False
    confirm_deletes: int | None = None
    accept_source: bool = False
    trust_source_identity: bool = False
    full_refresh: bool = False
    rows: str | None = None
    approved_changes: tuple[str, ...] = ()
    dry_run: bool = False
    history: bool | str = False
    partition_of: PartitionOf | None = None

    def __post_init__(self) -> None:
        for name in (self.xmin_column, self.deleted_column):
            check_part(name, name)
        self._check_cursor()
        self._check_rows()
        self._check_masks()
        if self.history_table == self.target:
            raise ConfigurationError(
                f"the history of {self.target} is to be in that table itself",
                remedy="Give it another name: history: {table: …}; or history: true.",
            )
        number, most = "a whole number from 0 up", sys.maxsize
        for name, value, limit, what in (
            ("min_deletes", self.min_deletes, most, number),
            ("confirm_deletes", self.confirm_deletes or 0, most, number),
            ("blocks_wait", self.blocks_wait, sys.float_info.max, "seconds, from 0 up"),
            ("max_delete_ratio", self.max_delete_ratio, 1, "from 0 to 1"),
        ):
            if not 0 <= value <= limit:
                raise ConfigurationError(f"{name} is {value}", remedy=f"It must be {what}.")
        if self.columns is not None and self.exclude:
            raise ConfigurationError(
                "columns and exclude are both set",
                remedy="Keep one: they say the same thing twice.",
            )

    @property
    def masking_key(self) -> MaskKey | None:
        """The key of its masks, None where they need none; raises ConfigurationError."""
        column = next((name for name, mask in self.mask if mask.needs_key), None)
        return key_of(column, str(self.source), self.mask_key) if column else None

    @property
    def whole(self) -> RelationName | None:
        """The table of many sources that its target is a partition of; None where it is none."""
        return self.partition_of.table if self.partition_of else None

    @property
    def history_table(self) -> RelationName | None:
        """The table of its rows' versions, beside the target; None where none are kept. Raises ConfigurationError."""
        if self.history is False:
            return None
        if isinstance(self.history, str):
            check_part(self.history, self.history)
            return RelationName(self.target.schema, self.history)
        return RelationName(self.target.schema, object_name(self.target.name, "history"))

    def _check_cursor(self) -> None:
        wanted = self.mode is SyncMode.INCREMENTAL_SYNC
        if wanted and self.cursor is None:
            raise ConfigurationError(
                "incremental_sync needs a cursor",
                remedy="Name the column that grows with every change, cursor: updated_at, "
                "or use xmin_incremental, which needs none.",
            )
        if not wanted and (self.lookback or self.late_commits is LateCommits.LOOKBACK):
            raise ConfigurationError(
                "lookback and late_commits belong to incremental_sync",
                remedy="Set sync_mode: incremental_sync and a cursor, or leave them out.",
            )

    def _check_masks(self) -> None:
        otherwise = {
            "has an expression": [name for name, _ in self.expressions],
            "is left out by exclude": self.exclude,
            # Its highest value is kept as the next run's mark, and shown in receipts.
            "is the cursor": (self.cursor,),
        }
        for name, _ in self.mask:
            for what, names in otherwise.items():
                if name in names:
                    raise ConfigurationError(
                        f"{name!r} is masked and {what}", remedy="Keep one of the two."
                    )
            if self.columns is not None and name not in self.columns:
                raise ConfigurationError(
                    f"{name!r} is masked and is not among columns",
                    remedy="Name it in columns too, or leave out its mask.",
                )

    def _check_rows(self) -> None:
        if self.rows is None:
            return
        require_expression(self.rows, "rows")
        for name in ("full_refresh", "accept_source"):
            if getattr(self, name):
                raise ConfigurationError(
                    f"rows and {name} contradict each other: {name} is about every row",
                    remedy="Ask for one of the two.",
                )


def parsed_carry(kinds: str | Iterable[str]) -> tuple[Carry, ...]:
    """What to carry from its words, or from `all`; raises ConfigurationError."""
    return tuple(Carry) if kinds == "all" else tuple(map(Carry.parse, _names(kinds) or ()))


def _names(names: str | Iterable[str] | None) -> tuple[str, ...] | None:
    return (names,) if isinstance(names, str) else None if names is None else tuple(names)


_PARSED: dict[str, Callable[[Any], Any]] = {
    "key": _names,
    "columns": _names,
    "exclude": _names,
    "expressions": lambda pairs: tuple(dict(pairs).items()),
    "mask": parsed_masks,
    "carry": parsed_carry,
    **{
        choice.setting(): choice.parse
        for choice in (ChangedBlocks, Deletes, LateCommits, OnSchemaChange, Trust)
    },
    "approved_changes": _names,
}
"""Options that scripts write more simply than `Table` keeps them."""

_OPTIONS = {field.name for field in dataclasses.fields(Table)} - {"source", "target", "mode"}


def table_of(source: str, target: str, mode: SyncMode, options: dict[str, Any]) -> Table:
    """A table from names and from options as scripts write them; raises ConfigurationError."""
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise ConfigurationError(
            f"unknown option {unknown[0]!r}", remedy=f"Known are {', '.join(sorted(_OPTIONS))}."
        )
    parsed = {name: parse(options[name]) for name, parse in _PARSED.items() if name in options}
    return Table(RelationName.parse(source), RelationName.parse(target), mode, **options | parsed)
