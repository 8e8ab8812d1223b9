"""Two listings of rows, ordered by the hash of what identifies them, and where they differ (pure).

A line has that hash, the hash of the whole row, how often the row is there, whether the next run
reads it anyway, and the columns of its key, as COPY writes them.
"""

from __future__ import annotations

import enum
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

HASH_DIGITS = 32
"""Of an MD5, in hexadecimal."""


class Kind(str, enum.Enum):
    """How a row differs."""

    DIFFERING = "differing"
    ONLY_IN_SOURCE = "only_in_source"
    ONLY_IN_TARGET = "only_in_target"


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not the same on both ends, or `count` equal ones where rows have no key.

    `hash` is the key's, `key` the text of its columns; the next run reads `awaited` ones anyway.
    `images` are the same at two looks if neither end has changed its rows of that key in between.
    """

    kind: Kind
    hash: str
    key: tuple[str, ...]
    awaited: bool
    count: int = 1
    images: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class _Line:
    hash: bytes
    image: bytes
    count: int
    awaited: bool
    key: tuple[bytes, ...]

    @classmethod
    def read(cls, line: bytes) -> _Line:
        key_hash, image, count, awaited, *key = line.rstrip(b"\n").split(b"\t")
        return cls(key_hash, image, int(count), awaited == b"t", tuple(key))


def differences(source: Iterable[bytes], target: Iterable[bytes]) -> Iterator[Difference]:
    """Compare two listings line by line; what is the same is forgotten at once."""
    ours, theirs = _by_hash(source), _by_hash(target)
    here, there = next(ours, None), next(theirs, None)
    while here or there:
        if there is None or (here and here[0] < there[0]):
            yield from _between(here[1] if here else [], [])
            here = next(ours, None)
        elif here is None or there[0] < here[0]:
            yield from _between([], there[1])
            there = next(theirs, None)
        else:
            if not _are_same(here[1], there[1]):
                yield from _between(here[1], there[1])
            here, there = next(ours, None), next(theirs, None)


def _by_hash(lines: Iterable[bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
    """The lines of each hash; more than one only where keys repeat."""
    for key_hash, group in itertools.groupby(lines, key=lambda line: line[:HASH_DIGITS]):
        yield key_hash, list(group)


def _are_same(here: Sequence[bytes], there: Sequence[bytes]) -> bool:
    return len(here) == len(there) == 1 and _facts(here[0]) == _facts(there[0])


def _facts(line: bytes) -> list[bytes]:
    return line.split(b"\t", 3)[:3]


def _between(source: Sequence[bytes], target: Sequence[bytes]) -> Iterator[Difference]:
    """What differs among the rows of one hash."""
    here, there = [_Line.read(line) for line in source], [_Line.read(line) for line in target]
    missing, extra = _surplus(here, there)
    changed = min(missing, extra)
    first = (here or there)[0]
    key = tuple(_unescaped(value) for value in first.key)
    awaited = any(line.awaited for line in here)
    images = b" ".join((*_images(here), b"|", *_images(there)))
    for kind, count in (
        (Kind.DIFFERING, changed),
        (Kind.ONLY_IN_SOURCE, missing - changed),
        (Kind.ONLY_IN_TARGET, extra - changed),
    ):
        if count:
            yield Difference(kind, first.hash.decode(), key, awaited, count, images)


def _images(lines: Iterable[_Line]) -> list[bytes]:
    return sorted(b"%s:%d" % (line.image, line.count) for line in lines)


def _surplus(here: Sequence[_Line], there: Sequence[_Line]) -> tuple[int, int]:
    """How many rows each end has that the other has not."""
    if {line.image for line in here}.isdisjoint(line.image for line in there):
        return sum(line.count for line in here), sum(line.count for line in there)
    ours, theirs = _counted(here), _counted(there)
    return (ours - theirs).total(), (theirs - ours).total()


def _counted(lines: Iterable[_Line]) -> Counter[bytes]:
    counted: Counter[bytes] = Counter()
    for line in lines:
        counted[line.image] += line.count
    return counted


_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def _unescaped(value: bytes) -> str:
    """A value as it was before COPY wrote it, in its text format."""
    if b"\\" not in value:
        return value.decode()
    plain = re.sub(
        rb"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), value, flags=re.DOTALL
    )
    return plain.decode()
