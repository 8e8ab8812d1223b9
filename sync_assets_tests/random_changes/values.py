"""SQL that computes a value of a type from a number."""

from __future__ import annotations

import random
import re

from sync_assets_tests.random_changes.shape import (
    MOOD,
    MOVED,
    MOVED_AT,
    NUMBERS,
    PART,
    Column,
    RememberedColumns,
)

TIMES = ("timestamp without time zone", "timestamp with time zone")
TYPES = (
    "integer",
    "bigint",
    "text",
    "character varying(20)",
    "numeric(10,2)",
    "numeric",
    *TIMES,
    "date",
    "boolean",
    "double precision",
    "bytea",
    "jsonb",
    "integer[]",
    MOOD,
)

_WORDS = ("", "a", "it''s", 'say "so"', "x, y", "\\\\N", "E\\n", "기쁨", "\t", "NULL", "{}")

_VALUES = {
    "integer": "(({n}) %% 100000)::integer",
    "bigint": "({n}) * 65537",
    "numeric": "(({n}) %% 1000) / 8.0",
    "timestamp without time zone": "timestamp '2026-03-28 12:00' + ({n}) * interval '61.25 s'",
    "timestamp with time zone": "timestamptz '2026-03-28 12:00+09' + ({n}) * interval '61.25 s'",
    "date": "date '2026-01-01' + (({n}) %% 1000)::integer",
    "boolean": "({n}) %% 2 = 0",
    "double precision": "({n}) / 7.0::double precision",
    "bytea": "decode(md5(({n})::text), 'hex')",
    "jsonb": "jsonb_build_object('n', {n}, 'word', {word})",
    "integer[]": "ARRAY[1, NULL, (({n}) %% 100000)::integer]",
    "uuid": "md5(({n})::text)::uuid",
    MOOD: "(enum_range(NULL::play.mood))"
    "[1 + ({n}) %% array_length(enum_range(NULL::play.mood), 1)]",
}

CONSTANTS = {
    "integer": "7",
    "bigint": "-8000000000",
    "text": "'it''s \"so\", {1}'",
    "character varying(20)": "''",
    "numeric(12,3)": "1.5",
    "numeric": "'NaN'",
    "timestamp with time zone": "now()",
    "timestamp without time zone": "'infinity'",
    "date": "'0044-03-15 BC'",
    "boolean": "true",
    "double precision": "'-0'",
    "bytea": "'\\x00ff'",
    "jsonb": '\'{"a": [1, "x,y"]}\'',
    "integer[]": "'{1,NULL,3}'",
}
VOLATILE = {
    "double precision": "random()",
    "uuid": "gen_random_uuid()",
    "timestamp with time zone": "clock_timestamp()",
    "bigint": NUMBERS,
}


def value(type_: str, number: str, chance: random.Random) -> str:
    """An expression of that type, computed from a number that is not negative."""
    word = f"'{chance.choice(_WORDS)}'"
    text = re.fullmatch(r"text|character varying(?:\((\d+)\))?", type_)
    if text:
        return f"left({word} || (({number}) % 1000), {text[1] or 100})"
    template = _VALUES.get(re.sub(r"\(.*\)", "", type_)) or _VALUES[type_]
    return template.format(n=f"{number} + {chance.randrange(50)}", word=word).replace("%%", "%")


def new_value(column: Column, shape: RememberedColumns, number: str, chance: random.Random) -> str:
    """What a new row, or a row that is changed, has in a column."""
    if column.identifies:
        return identity(column, number)
    if column.name == MOVED:
        return NUMBERS
    if column.name == MOVED_AT:
        return "clock_timestamp()"
    if column.name == PART:
        return part(shape, number, chance)
    found = value(column.type, number, chance)
    if column.not_null or chance.random() < 0.5:
        return found
    return f"CASE WHEN ({number}) % {chance.randrange(2, 9)} <> 0 THEN {found} END"


def identity(column: Column, number: str) -> str:
    """A value of an identifying column, unique as the number is."""
    if column.type.startswith(("text", "char")):
        return f"'k' || ({number})"
    return f"({number})::{column.type}"


def part(shape: RememberedColumns, number: str, chance: random.Random) -> str:
    """A partition key for which there is a partition."""
    partition = chance.choice(shape.partitions)
    if partition.first is None or partition.end is None:
        return f"(-1 - ({number}) % 10)::integer"
    return f"({partition.first} + ({number}) % {partition.end - partition.first})::integer"


def some(shape: RememberedColumns, chance: random.Random, one_in: int | None = None) -> str:
    """A condition that holds for some rows."""
    several = one_in or chance.choice((1, 2, 3, 5, 10, 50))
    return f"{number_of(shape, chance)} % {several} = 0"


def number_of(shape: RememberedColumns, chance: random.Random) -> str:
    """A number of a row's own, though not only its own."""
    name = shape.identifying[0].name
    return f"abs(hashtext({name}::text || '{chance.randrange(1000)}')::bigint)"
