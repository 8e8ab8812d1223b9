"""Two listings of rows, ordered by the hash of what identifies them, and where they differ (pure).

A line has that hash, the hash of the whole row, how often the row is there, whether the next run
reads it anyway, and the columns of its key, as COPY writes them.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


class Kind(str, enum.Enum):
    """How a row differs."""

    DIFFERING = "differing"
    ONLY_IN_SOURCE = "only_in_source"
    ONLY_IN_TARGET = "only_in_target"


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not the same on both ends, or `count` equal ones where rows have no key.

    `hash` is the key's, `key` the text of its columns; the next run reads `awaited` ones anyway.
    """

    kind: Kind
    hash: str
    key: tuple[str, ...]
    awaited: bool
    count: int = 1


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
    tagged = (
        ((line, True) for line in source),
        ((line, False) for line in target),
    )
    both = heapq.merge(*tagged, key=_hash_of)
    for _, lines in itertools.groupby(both, key=_hash_of):
        group = list(lines)
        here = [line for line, of_source in group if of_source]
        there = [line for line, of_source in group if not of_source]
        if len(here) == len(there) == 1 and _facts(here[0]) == _facts(there[0]):
            continue
        yield from _between(list(map(_Line.read, here)), list(map(_Line.read, there)))


def _hash_of(tagged: tuple[bytes, bool]) -> bytes:
    return tagged[0].partition(b"\t")[0]


def _facts(line: bytes) -> list[bytes]:
    return line.split(b"\t", 3)[:3]


def _between(here: Sequence[_Line], there: Sequence[_Line]) -> Iterator[Difference]:
    """What differs among the rows of one hash; more than one of an end only where keys repeat."""
    ours, theirs = _counted(here), _counted(there)
    missing, extra = (ours - theirs).total(), (theirs - ours).total()
    changed = min(missing, extra)
    first = (*here, *there)[0]
    key = tuple(_unescaped(value) for value in first.key)
    awaited = any(line.awaited for line in here)
    for kind, count in (
        (Kind.DIFFERING, changed),
        (Kind.ONLY_IN_SOURCE, missing - changed),
        (Kind.ONLY_IN_TARGET, extra - changed),
    ):
        if count:
            yield Difference(kind, first.hash.decode(), key, awaited, count)


def _counted(lines: Iterable[_Line]) -> Counter[bytes]:
    counted: Counter[bytes] = Counter()
    for line in lines:
        counted[line.image] += line.count
    return counted


_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def _unescaped(value: bytes) -> str:
    """A value as it was before COPY wrote it, in its text format."""
    plain = re.sub(
        rb"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), value, flags=re.DOTALL
    )
    return plain.decode()
