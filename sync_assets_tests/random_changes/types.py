"""Changes of a column's type on the source."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sync_assets_tests.random_changes.shape import TABLE, Column, RememberedColumns
from sync_assets_tests.random_changes.values import TYPES, number_of, value

ALTER = f"ALTER TABLE {TABLE}"


@dataclass(frozen=True, slots=True)
class TypeChange:
    """From a type that matches to one of others; `using` is made of the column's name `c`."""

    before: str
    after: Callable[[str], Sequence[str]]
    using: str = "{c}"

    def __call__(self, shape: RememberedColumns, chance: random.Random) -> list[str]:
        """Change a column, in a session whose time zone is UTC or another one."""
        found = [column for column in shape.columns if self._fits(column)]
        if not found:
            return []
        column = chance.choice(found)
        types = [type_ for type_ in self.after(column.type) if type_ != column.type]
        return altered(column, chance.choice(types), self.using.format(c=column.name), chance)

    def _fits(self, column: Column) -> bool:
        free = column.plain or (column.identifies and self.using == "{c}")
        return free and not column.feeds and re.fullmatch(self.before, column.type) is not None


def altered(column: Column, type_: str, using: str, chance: random.Random) -> list[str]:
    """The statements; a default may not convert, so it goes."""
    length = re.fullmatch(r"character varying\((\d+)\)", type_)
    cut = f"left({using}, {length[1]})" if length else using
    return [
        f"SET TimeZone = '{chance.choice(('UTC', 'Asia/Seoul'))}'",
        f"{ALTER} ALTER {column.name} DROP DEFAULT",
        # Without an expression PostgreSQL knows that it need not rewrite the rows.
        f"{ALTER} ALTER {column.name} TYPE {type_}"
        + ("" if cut == column.name else f" USING ({cut})::{type_}"),
        "RESET TimeZone",
    ]


def _only(*types: str) -> Callable[[str], Sequence[str]]:
    return lambda _: types


def _longer(type_: str) -> Sequence[str]:
    length = int(re.sub(r"\D", "", type_))
    return [f"character varying({length + more})" for more in (1, 10, 100)]


VARCHAR = r"character varying\(\d+\)"

TYPE_CHANGES = {
    "integer_to_bigint": TypeChange("integer", _only("bigint")),
    "bigint_to_integer": TypeChange("bigint", _only("integer"), "{c} % 1000000"),
    "number_to_text": TypeChange("integer|bigint|numeric.*", _only("text")),
    "text_to_varchar": TypeChange(
        "text", _only("character varying(20)", "character varying(110)", "character varying")
    ),
    "lengthen_varchar": TypeChange(VARCHAR, _longer),
    "shorten_varchar": TypeChange(VARCHAR, _only("character varying(15)", "character varying(5)")),
    "varchar_to_text": TypeChange("character varying.*", _only("text", "character varying")),
    "integer_to_numeric": TypeChange("integer", _only("numeric", "numeric(12,2)")),
    "change_numeric": TypeChange(
        "numeric.*",
        _only("numeric", "numeric(10,2)", "numeric(12,2)", "numeric(14,4)", "numeric(10,1)"),
        "mod({c}, 100000)",
    ),
    "widen_numeric": TypeChange("numeric.*", _only("numeric", "numeric(30,2)", "numeric(30,8)")),
    "timestamp_to_timestamptz": TypeChange(
        "timestamp without time zone", _only("timestamp with time zone")
    ),
    "timestamptz_to_timestamp": TypeChange(
        "timestamp with time zone", _only("timestamp without time zone")
    ),
    "timestamp_to_date": TypeChange("timestamp.*", _only("date"), "{c}"),
}


def to_any_type(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """A column gets a type that has nothing to do with the one of before."""
    found = [column for column in shape.plain if not column.feeds]
    if not found:
        return []
    column, type_ = chance.choice(found), chance.choice(TYPES)
    return altered(column, type_, value(type_, number_of(shape, chance), chance), chance)
