"""Checksums of rows that do not depend on their order: the statements, and what they add up to.

Everything is named by its schema: the operator's own SQL is in the same statement.
Both ends compute them alike, over each value's text under pinned settings, in UTF-8. A row belongs
to a bucket by the hash of its key's text, never by a range of keys: two servers need not agree on
which of two keys comes first.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg2.sql import SQL, Composable, Literal

from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres import identifiers
from sync_assets.engine.postgres.equality import hash_of
from sync_assets.engine.postgres.relation import Relation
from sync_assets.engine.snapshot.scope import between_pages

ROWS_PER_BUCKET = 1024
HEX, MOST_DIGITS = 16, 4
HALF = 1 << 64
"""A hash has 128 bits; each half is summed by itself, modulo this."""

SMALL_PIECE = 1024
PIECES_PER_WORKER = 4
"""Pages and pieces: each piece answers with all buckets, so there must not be too many."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What is compared on one end: columns by name, each with the SQL that reads it there.

    Without a `key` the whole row identifies it. `condition` chooses the rows, `awaited` tells
    those that the next run will read anyway. `lsns` are the columns of WAL positions.
    """

    relation: Relation
    columns: tuple[tuple[str, Composable], ...]
    key: tuple[str, ...]
    condition: Composable | None = None
    awaited: Composable | None = None
    lsns: frozenset[str] = frozenset()

    def alike(self, name: str, value: Composable) -> Composable:
        """The SQL of a value whose text is the same on every version."""
        return unpadded(value) if name in self.lsns else value

    @property
    def values(self) -> tuple[Composable, ...]:
        """The SQL of every column."""
        return tuple(self.alike(name, value) for name, value in self.columns)

    @property
    def identity(self) -> tuple[Composable, ...]:
        """The SQL of what identifies a row."""
        by_name = {name: self.alike(name, value) for name, value in self.columns}
        return tuple(by_name[name] for name in self.key) or self.values

    @property
    def image(self) -> Composable:
        """What two rows are the same by, on whatever server."""
        return hash_of(self.values)


@dataclass(frozen=True, slots=True)
class Piece:
    """What one statement reads: pages `first` up to, not including, `end`; None: to the end.

    `scanned` says that it is a large leaf, to be read in the order of its pages and no other way.
    """

    name: RelationName
    only: bool = False
    first: int | None = None
    end: int | None = None
    scanned: bool = False


def whole(relation: Relation) -> Piece:
    """All of a relation in one piece, with its partitions, or the tables that inherit from it."""
    return Piece(relation.name, only=relation.has_versions and relation.kind == "r")


def pieces(relation: Relation, workers: int) -> Iterator[Piece]:
    """Cut a relation into page ranges; the last of each leaf is open, as it may have grown."""
    if not relation.has_versions or relation.through_parent:
        yield whole(relation)
        return
    pages = sum(leaf.pages for leaf in relation.leaves)
    size = max(SMALL_PIECE, -(-pages // (workers * PIECES_PER_WORKER)))
    for leaf in relation.leaves:
        if leaf.kind != "r":
            yield Piece(leaf.name)
            continue
        if leaf.is_large:
            yield Piece(leaf.name, only=True, scanned=True)
            continue
        firsts = range(0, max(leaf.pages, 1), size)
        for first in firsts:
            end = first + size if first != firsts[-1] else None
            yield Piece(leaf.name, only=True, first=first, end=end)


def digits_for(rows: float) -> int:
    """How many hexadecimal digits of the key's hash name a bucket, for about so many rows."""
    digits = 1
    while digits < MOST_DIGITS and rows > ROWS_PER_BUCKET * HEX**digits:
        digits += 1
    return digits


def sums(rows: Rows, piece: Piece, digits: int) -> Composable:
    """COPY, for each bucket, its rows, those that the next run reads, and sums of their hashes."""
    # Rows without a key are told by their own hash, which need not be computed twice.
    image = SQL("h.image" if rows.key else "h.key")
    hashes = [hash_of(rows.identity), *([rows.image] if rows.key else [])]
    return SQL(
        "COPY (SELECT pg_catalog.left(h.key, {digits}), pg_catalog.count(*), "
        "pg_catalog.count(*) FILTER (WHERE h.awaited), {low}, {high} "
        "FROM ({read}) AS h ({names}) GROUP BY 1) TO STDOUT"
    ).format(
        digits=Literal(digits),
        low=_summed(image, 1),
        high=_summed(image, 17),
        read=_read(rows, piece, [rows.awaited or SQL("false"), *hashes]),
        names=SQL("awaited, key, image" if rows.key else "awaited, key"),
    )


def _summed(image: Composable, first: int) -> Composable:
    # The sum of bigints is numeric, and so never overflows.
    return SQL(
        "pg_catalog.sum(('x' OPERATOR(pg_catalog.||) pg_catalog.substr({}, {}, 16))::pg_catalog.bit(64)::pg_catalog.int8)"
    ).format(image, Literal(first))


def listing(rows: Rows, digits: int, buckets: Iterable[int]) -> Composable:
    """COPY the rows of some buckets, ordered by the hash of what identifies them.

    A line has that hash, the hash of the row, how often it is there, whether the next run reads
    it anyway, and the key.
    """
    names = {name: f"v{number}" for number, (name, _) in enumerate(rows.columns)}
    read = [hash_of(rows.identity), rows.awaited or SQL("false"), *rows.values]
    return SQL(
        "COPY (SELECT h.key, {columns} FROM ({read}) AS h ({names}) "
        "WHERE {chosen} {grouped}"
        'ORDER BY h.key COLLATE pg_catalog."C") TO STDOUT'
    ).format(
        columns=_listed(rows, names),
        read=_read(rows, whole(rows.relation), read),
        names=SQL(", ".join(("key", "awaited", *names.values()))),
        chosen=_begins(SQL("h.key"), [f"{bucket:0{digits}x}" for bucket in buckets]),
        grouped=SQL("" if rows.key else "GROUP BY h.key "),
    )


def _listed(rows: Rows, names: Mapping[str, str]) -> Composable:
    if not rows.key:
        return SQL("h.key, pg_catalog.count(*), pg_catalog.bool_or(h.awaited)")
    # Of rows that are not asked for, the hash of the key is all that is computed.
    image = hash_of([SQL(f"h.{name}") for name in names.values()])
    return SQL(", ").join(
        [image, SQL("1"), SQL("h.awaited"), *(SQL(f"h.{names[name]}") for name in rows.key)]
    )


def has_key_hash(key: Sequence[Composable], prefixes: Sequence[str]) -> Composable:
    """The condition that the hash of a row's key begins with one of these, of one length."""
    return _begins(hash_of(key), prefixes)


def _begins(key_hash: Composable, prefixes: Sequence[str]) -> Composable:
    return SQL("pg_catalog.left({}, {}) OPERATOR(pg_catalog.=) ANY ({})").format(
        key_hash, Literal(len(prefixes[0])), Literal(list(prefixes))
    )


def _read(rows: Rows, piece: Piece, values: Iterable[Composable]) -> Composable:
    conditions = [] if rows.condition is None else [rows.condition]
    conditions += between_pages(piece.first, piece.end)
    # OFFSET 0 keeps a hash from being computed again at each place that names it.
    return SQL("SELECT {} FROM {}{}{} OFFSET 0").format(
        SQL(", ").join(values),
        SQL("ONLY " if piece.only else ""),
        identifiers.relation(piece.name),
        SQL(" WHERE {}").format(SQL(" AND ").join(conditions)) if conditions else SQL(""),
    )


def unpadded(value: Composable) -> Composable:
    """The text of WAL positions, alone or in an array or a range, as PostgreSQL 18 writes it.

    From 19 on the part behind the slash has eight digits: 0/00000001 for 0/1.
    """
    return SQL(
        "pg_catalog.regexp_replace({}::pg_catalog.text, '/0+(?=[0-9A-F])', '/', 'g')"
    ).format(value)


class Buckets:
    """How the two ends differ, bucket by bucket; as large for a billion rows as for a thousand."""

    def __init__(self, digits: int) -> None:
        self.digits = digits
        self.rows = {1: 0, -1: 0}
        self.awaited = {1: 0, -1: 0}
        size = HEX**digits
        self._largest = array("q", [0]) * size
        self._counts = array("q", [0]) * size
        self._low, self._high = array("Q", [0]) * size, array("Q", [0]) * size
        self._lock = threading.Lock()

    def add(self, sign: int, line: bytes) -> None:
        """Take one line of `sums`: the source's with sign 1, the target's with -1."""
        bucket, rows, awaited, low, high = line.split(b"\t")
        place, count = int(bucket, HEX), int(rows)
        with self._lock:
            self.rows[sign] += count
            self.awaited[sign] += int(awaited)
            self._largest[place] += count
            self._counts[place] += sign * count
            self._low[place] = (self._low[place] + sign * int(low)) % HALF
            self._high[place] = (self._high[place] + sign * int(high)) % HALF

    def differing(self, at_once: int) -> Iterator[list[int]]:
        """The buckets that are not the same on both ends, in parts of at most so many rows."""
        part: list[int] = []
        rows = 0
        for place, marks in enumerate(zip(self._counts, self._low, self._high, strict=True)):
            if any(marks):
                if part and rows + self._largest[place] > at_once:
                    yield part
                    part, rows = [], 0
                part.append(place)
                rows += self._largest[place]
        if part:
            yield part
