"""64-bit transaction ids and the 32-bit ones that rows carry (pure).

The SQL names everything by its schema: it may stand beside the operator's own, under his path.

A row stores the low 32 bits of the id that wrote it, so an old frozen row can look as if it fell
inside any window: reading it again is harmless. What must not happen is a window that skips a new
row, hence the arithmetic modulo 2^32. The manual, "Preventing Transaction ID Wraparound Failures":
https://www.postgresql.org/docs/current/routine-vacuuming.html#VACUUM-FOR-WRAPAROUND
"""

from __future__ import annotations

from dataclasses import dataclass

RING = 1 << 32
FROZEN = 2
"""The xmin of rows that were frozen long ago."""

FIRST = 3
"""The lowest 32-bit id of a transaction."""

YOUNG = 1 << 30
"""So many ids a window may span to be told by age(), which is a signed 32-bit number."""


@dataclass(frozen=True, slots=True)
class XidWindow:
    """The ids from `start` up to, not including, `end`; both 64-bit."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"{self.start}..{self.end} is not a window of transaction ids")

    @property
    def is_empty(self) -> bool:
        """Whether no id at or above its start has ended yet, so that no row in it is visible."""
        return self.start == self.end

    @property
    def covers_ring(self) -> bool:
        """Whether every 32-bit id falls inside, so that nothing can be told apart."""
        return self.end - self.start >= RING

    def predicate(self, column: str = "xmin") -> str:
        """SQL that holds for rows whose 32-bit id may lie in the window.

        There is no `<` for xid, hence the cast through text; and no single comparison is right
        where the window crosses a multiple of 2^32, hence the two branches.
        """
        if self.covers_ring:
            return "true"
        if self.is_empty:
            return "false"
        low, high = self.start % RING, self.end % RING
        joined_by = "AND" if low < high else "OR"
        value = f"{column}::pg_catalog.text::bigint"
        from_low = f"{value} OPERATOR(pg_catalog.>=) {low}"
        return f"({from_low} {joined_by} {value} OPERATOR(pg_catalog.<) {high})"

    def quick_predicate(self, column: str = "xmin") -> str:
        """The window's condition by age(), at a third of the cost of `predicate`; never in parallel.

        age() counts from the next id at its first call in a transaction, or from the transaction's
        own: only for sessions that have none. Should that be 2^31 ids past the window's start,
        where ages wrap, every row is taken.
        """
        first, last = _usable(self.start, 1), _usable(self.end - 1, -1)
        if self.is_empty or self.end - self.start > YOUNG or first > last:
            return self.predicate(column)
        age, oldest, newest = f"pg_catalog.age({column})", _age(first), _age(last)
        return (
            f"({age} OPERATOR(pg_catalog.<=) {oldest} AND {age} OPERATOR(pg_catalog.>=) {newest}"
            f" OR {oldest} OPERATOR(pg_catalog.<) 0)"
        )


def _age(xid: int) -> str:
    return f"pg_catalog.age('{xid % RING}'::pg_catalog.xid)"


def _usable(xid: int, step: int) -> int:
    while xid % RING < FIRST:
        xid += step
    return xid


def widened(end: int, column: str = "xmin") -> str:
    """SQL for the 64-bit id of a row that is visible to a snapshot whose xmax is `end`.

    The newest id that has been given out with the row's low 32 bits; exact unless 2^32 more have
    been since. By age(), which is cheaper than a cast through text, and counts from the same id for
    both. Rows that were frozen before PostgreSQL 9.4 kept no id of their own: theirs is 2.
    """
    newest = _usable(end - 1, -1)
    latest = f"{newest}::bigint OPERATOR(pg_catalog.+) {_age(newest)}"
    since = f"(pg_catalog.age({column})::bigint OPERATOR(pg_catalog.&) {RING - 1})"
    widened_ = f"{latest} OPERATOR(pg_catalog.-) {since}"
    frozen = f"{column} OPERATOR(pg_catalog.=) '{FROZEN}'::pg_catalog.xid"
    return f"(CASE WHEN {frozen} THEN {FROZEN} ELSE {widened_} END)"
