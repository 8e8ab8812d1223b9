"""What `check` finds about values that do not travel as they are (pure)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from sync_assets.engine.check.facts import Facts
from sync_assets.engine.check.finding import Finding, blocks, note, warning
from sync_assets.engine.check.table_facts import TablePair
from sync_assets.engine.postgres.relation import Column
from sync_assets.engine.snapshot.scope import NAMES_OF_OBJECTS

HOLDING_NAMES = NAMES_OF_OBJECTS | {"regnamespace", "regrole"}
"""Types that hold an object's OID and show its name."""

LARGE_OBJECTS = ("oid", "lo")
"""What a column that names large objects is: plain, or of the extension `lo`."""

PERSONAL = frozenset(
    {
        "address",
        "birth",
        "birthdate",
        "birthday",
        "card_number",
        "credit_card",
        "dob",
        "e_mail",
        "email",
        "first_name",
        "firstname",
        "full_name",
        "iban",
        "ip",
        "ip_address",
        "last_name",
        "lastname",
        "mail",
        "mobile",
        "passport",
        "password",
        "phone",
        "ssn",
        "street",
        "surname",
        "telephone",
    }
)
"""Words, or two of them, that name personal data in a column's name split at `_`."""

PERSONAL_KOREAN = (
    "이메일",
    "메일주소",
    "전화",
    "휴대폰",
    "주민",
    "여권",
    "생년월일",
    "성명",
    "비밀번호",
)
"""Korean ones, which are written without spaces between them: they may be any part of a name."""


def unfilled_views(facts: Facts) -> Iterator[Finding]:
    """Materialized views that were made WITH NO DATA, and cannot be read."""
    for pair in facts.tables:
        for name in pair.source.unfilled:
            yield blocks(
                _source(pair),
                f"the materialized view {name} was never filled",
                f"REFRESH MATERIALIZED VIEW {name.as_sql};",
            )


def names_of_objects(facts: Facts) -> Iterator[Finding]:
    """Columns whose text is the name of a table, a function, a role: the target must have it, too."""
    for pair in facts.tables:
        found = [
            column
            for column in _travelling(pair)
            if column.type.removesuffix("[]") in HOLDING_NAMES
        ]
        if found:
            names = ", ".join(column.name for column in found)
            yield warning(
                _source(pair),
                f"{names}: what such a value names must be on the target too, or the run fails",
                f"exclude: [{names}]",
            )


def large_objects(facts: Facts) -> Iterator[Finding]:
    """Columns that may name large objects, whose contents stay where they are."""
    for pair in facts.tables:
        found = [
            column.name
            for column in _travelling(pair)
            if column.type.rpartition(".")[2] in LARGE_OBJECTS
        ]
        if found and pair.source.large_objects:
            names = ", ".join(found)
            yield note(
                _source(pair),
                f"{names}: where it names a large object, the name travels and not its contents",
                f"exclude: [{names}]",
            )


def personal_data(facts: Facts) -> Iterator[Finding]:
    """Columns whose names say that they hold personal data, and which travel as they are."""
    for pair in facts.tables:
        found = [column.name for column in _travelling(pair) if looks_personal(column.name)]
        if found:
            masks = ", ".join(f"{name}: hmac" for name in found)
            yield warning(
                _source(pair),
                f"{', '.join(found)}: by the name it is personal data, and travels as it is",
                f"mask: {{{masks}}}",
            )


def looks_personal(name: str) -> bool:
    """Whether a column's name has a word for personal data, or two that follow one another."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
    pairs = (f"{first}_{second}" for first, second in itertools.pairwise(words))
    return not PERSONAL.isdisjoint((*words, *pairs)) or any(
        word in name for word in PERSONAL_KOREAN
    )


def missing_types(facts: Facts) -> Iterator[Finding]:
    """Types that the target lacks and a run cannot make."""
    for what, remedy in facts.types.unmade:
        yield blocks("target", what, remedy)


def _travelling(pair: TablePair) -> Sequence[Column]:
    """The columns that are read as they are."""
    table, relation = pair.table, pair.source.relation
    computed = {name for name, _ in (*table.expressions, *table.mask)}
    return [
        column
        for column in (relation.columns if relation else ())
        if column.name not in computed
        and column.name not in table.exclude
        and (table.columns is None or column.name in table.columns)
    ]


def _source(pair: TablePair) -> str:
    return f"source {pair.table.source}"
