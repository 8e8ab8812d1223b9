"""Names of relations, as the user gives them and as SQL has them, and of what one is a partition of."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sync_assets.engine.errors import ConfigurationError

IDENTIFIER_BYTES = 63
"""PostgreSQL truncates longer names silently (NAMEDATALEN - 1), so they are refused here."""


ALIKE = 0.6
"""From which share of matching letters on, by `difflib`, a name is taken for a mistyped one."""


@dataclass(frozen=True, slots=True, order=True)
class RelationName:
    """A relation by schema and name, exactly as the catalog stores them."""

    schema: str
    name: str

    @classmethod
    def parse(cls, text: str | RelationName) -> RelationName:
        """Read `schema.name`; a bare name means the schema `public`.

        Names are taken as they stand, without folding to lower case. A part that contains a dot
        or a double quote is written in double quotes, as in SQL. Raises ConfigurationError.
        """
        if isinstance(text, RelationName):
            return text
        *schema, name = _split(text)
        if len(schema) > 1:
            raise ConfigurationError(
                f"{text!r} is not the name of a table",
                remedy='Write schema.table; quote a part that contains a dot: "my.schema".table.',
            )
        for part in (*schema, name):
            check_part(part, text)
        return cls(schema[0] if schema else "public", name)

    def __str__(self) -> str:
        return ".".join(
            quoted(part) if "." in part or '"' in part else part
            for part in (self.schema, self.name)
        )

    @property
    def as_sql(self) -> str:
        """The name as it can be pasted into a statement."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


def spellings(target: RelationName) -> tuple[str, ...]:
    """A table of the target as people write it; in the schema public, without it too."""
    name = str(target)
    return (name, name.removeprefix("public.")) if name.startswith("public.") else (name,)


def matches(name: RelationName, pattern: str) -> bool:
    """Whether a table is named, or matched by a glob; in the schema public without it, too."""
    known = spellings(name)
    return pattern in known or any(fnmatchcase(each, pattern) for each in known)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that a mistyped one is likely to be, None where none is near.

    Of a name with its schema the last part alone is enough, and case does not count.
    """
    from difflib import SequenceMatcher  # only a mistake pays for it

    def likeness(name: str) -> tuple[float, float]:
        """By the last part, which must be alike, and where that is the same for two by the whole."""
        pairs = zip(_parts(word), _parts(name), strict=True)
        last, whole = (SequenceMatcher(None, *pair).ratio() for pair in pairs)
        return last, whole

    best = max(known, key=likeness, default=None)
    return best if best is not None and likeness(best)[0] >= ALIKE else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """The known name that a mistyped one is likely to be, as a question; nothing where none is near."""
    close = nearest(word, known)
    return f"Did you mean {close}?" if close else ""


def _parts(name: str) -> tuple[str, str]:
    # A Korean syllable is several letters, of which one is mistyped.
    letters = unicodedata.normalize("NFD", name.lower())
    return letters.rpartition(".")[2], letters


def parts_of(names: Collection[RelationName]) -> tuple[list[str], list[str]]:
    """Schemas and names, each as an array for a statement that looks for all of them."""
    return [each.schema for each in names], [each.name for each in names]


def listed(names: Sequence[object], most: int | None) -> str:
    """The first `most` names, all for None, and how many more there are."""
    shown = names[:most]
    more = len(names) - len(shown)
    return ", ".join(map(str, shown)) + (f" and {more:,} more" if more else "")


def _split(text: str) -> list[str]:
    parts: list[str] = []
    part, quoted, position = "", False, 0
    while position < len(text):
        character = text[position]
        if character == '"' and quoted and text[position + 1 : position + 2] == '"':
            part, position = part + '"', position + 1
        elif character == '"':
            quoted = not quoted
        elif character == "." and not quoted:
            parts, part = [*parts, part], ""
        else:
            part += character
        position += 1
    if quoted:
        raise ConfigurationError(
            f"{text!r} has an unbalanced double quote",
            remedy='Write a double quote inside a quoted name twice: "a""b".',
        )
    return [*parts, part]


def check_part(part: str, text: str) -> None:
    """Refuse a part of `text` that no catalog can hold; raises ConfigurationError."""
    if not part or "\0" in part or part != part.strip():
        raise ConfigurationError(
            f"{text!r} is not a name",
            remedy="Write schema.table, without blanks around the names.",
        )
    if len(part.encode()) > IDENTIFIER_BYTES:
        raise ConfigurationError(
            f"the name {part!r} is longer than {IDENTIFIER_BYTES} bytes",
            remedy="PostgreSQL would cut it; write the name as the catalog stores it.",
        )


def object_name(*parts: str) -> str:
    """Join names with underscores, cutting the first so that it fits an identifier's 63 bytes."""
    tail = "".join(f"_{part}" for part in parts[1:])
    room = IDENTIFIER_BYTES - len(tail.encode())
    return parts[0].encode()[:room].decode(errors="ignore") + tail


def quoted(identifier: str) -> str:
    """An identifier in double quotes, for people to paste; statements use psycopg2.sql."""
    return '"' + identifier.replace('"', '""') + '"'


def staging_name(target: RelationName, *, temporary: bool) -> RelationName:
    """The staging table of a target, so named that the next run finds what a killed one left."""
    text = f"{target.schema}\0{target.name}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    schema = "pg_temp" if temporary else target.schema
    return RelationName(schema, f"sync_assets_staging_{digest}")


LONGEST_VALUE = 15
"""Characters of a value that a partition is named by."""


@dataclass(frozen=True, slots=True)
class PartitionOf:
    """The table that a target is a partition of, and by what its rows are told from other sources'.

    Every row of the target has `value` in the text column `column`, which the source has not.
    """

    table: RelationName
    column: str
    value: str

    def __post_init__(self) -> None:
        check_part(self.column, self.column)
        if not self.value or "\0" in self.value:
            raise ConfigurationError(
                f"partition_of {self.table} has no value for {self.column!r}",
                remedy="Name what tells this source's rows from the others': value: eu.",
            )

    @property
    def default_target(self) -> RelationName:
        """The partition's name where none is given: that of the table of all, and the value."""
        name = object_name(self.table.name, self.value[:LONGEST_VALUE])
        return RelationName(self.table.schema, name)

    @property
    def bound(self) -> str:
        """The partition's bound, as the catalog writes it."""
        return f"FOR VALUES IN ({self.literal})"

    def is_within(self, bound: str) -> bool:
        """Whether another's bound takes this value among others."""
        return bound != self.bound and self.literal in re.findall(r"'(?:[^']|'')*'|NULL", bound)

    @property
    def default(self) -> str:
        """The default of its column, as the catalog writes it."""
        return f"{self.literal}::text"

    @property
    def literal(self) -> str:
        """The value, as SQL has it where backslashes are themselves."""
        value = self.value.replace("'", "''")
        return f"'{value}'"
