"""Statements that close and open versions (pure).

Each compares the target's rows, as the run has written them, with their open versions: of the keys
that are among `touched`, or of all where that is None.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine.history.shape import History
from sync_assets.engine.merge import merge_statements
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.equality import same_key
from sync_assets.engine.postgres.identifiers import names, relation

_VERSION, _PUBLISHED = Identifier("h"), Identifier("t")

NO_TIMES: Composable = SQL("(SELECT NULL::bigint, NULL::timestamptz WHERE false)")
"""What stands for commit times where none are known."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What the statements are made of; `times` is a table of xids and when they were committed."""

    plan: Plan
    history: History
    times: Composable = field(default_factory=lambda: NO_TIMES)

    @property
    def _parts(self) -> dict[str, Composable]:
        xid = SQL("t.{}").format(Identifier(self.plan.table.xmin_column))
        return {
            "history": relation(self.history.name),
            "target": relation(self.plan.table.target),
            "snapshot": Literal(self.plan.view.snapshot.taken_at),
            "times": SQL("{} AS c (xid, committed) ON c.xid = {}").format(self.times, xid),
            "same": self._same(_VERSION),
            "live": merge_statements.live(self.plan),
        }

    def _same(self, version: Composable, row: Composable = _PUBLISHED) -> Composable:
        """The condition that a version and a row have the same key."""
        key = self.history.key
        versions, rows = (_of(key.columns, each) for each in (version, row))
        return same_key(versions, key.operators, rows)

    def _touched(self, touched: Composable | None) -> Composable:
        """The rows of the target `t`, or those with the keys that are touched."""
        target = relation(self.plan.table.target)
        if touched is None:
            return SQL("{} AS t").format(target)
        same = merge_statements.joined(self.history.key)
        return SQL("{} AS s JOIN {} AS t ON {}").format(touched, target, same)

    def close_changed(self, touched: Composable | None) -> Composable:
        """Close the open versions that are not what their row is now."""
        # The xid tells when a row was written last, and nothing of what it is.
        compared = [name for name in self.history.columns if name != self.plan.table.xmin_column]
        return SQL(
            "UPDATE {history} AS h SET valid_to = greatest(coalesce(c.committed, {snapshot}),"
            " h.valid_from + interval '1 microsecond'), ended_by = 'update' "
            "FROM {rows} LEFT JOIN {times} WHERE h.valid_to IS NULL AND {same} AND {live} "
            "AND pg_catalog.record_image_ne(ROW({versions}), ROW({now}))"
        ).format(
            **self._parts,
            rows=self._touched(touched),
            versions=names(compared, _VERSION),
            now=names(compared, _PUBLISHED),
        )

    def close_gone(self, gone: Composable | None) -> Composable:
        """Close the open versions whose row is gone from the target, or marked as deleted."""
        among: Composable = SQL("")
        if gone is not None:
            same = self._same(_VERSION, merge_statements.STAGED)
            among = SQL(" AND EXISTS (SELECT FROM {} AS s WHERE {})").format(gone, same)
        return SQL(
            "UPDATE {history} AS h SET valid_to = greatest({snapshot},"
            " h.valid_from + interval '1 microsecond'), ended_by = 'delete' "
            "WHERE h.valid_to IS NULL{among} "
            "AND NOT EXISTS (SELECT FROM {target} AS t WHERE {same} AND {live})"
        ).format(**self._parts, among=among)

    def open_all(self) -> Composable:
        """Open a version of each row, in a history that has none."""
        return SQL(
            "INSERT INTO {history} ({columns}, valid_from, time_from) "
            "SELECT {values}, {snapshot}, 'snapshot' FROM {target} AS t WHERE {live}"
        ).format(**self._parts, **self._columns())

    def open_lacking(self, touched: Composable | None) -> Composable:
        """Open a version of each row that has none, from when the one before it ended, or later."""
        return SQL(
            "INSERT INTO {history} ({columns}, valid_from, time_from) "
            "SELECT {values}, greatest(coalesce(c.committed, {snapshot}),"
            " (SELECT max(p.valid_to) FROM {history} AS p WHERE {before})),"
            " CASE WHEN c.committed IS NULL THEN 'snapshot' ELSE 'commit' END "
            "FROM {rows} LEFT JOIN {times} WHERE {live} "
            "AND NOT EXISTS (SELECT FROM {history} AS h WHERE h.valid_to IS NULL AND {same})"
        ).format(
            **self._parts,
            **self._columns(),
            rows=self._touched(touched),
            before=self._same(Identifier("p")),
        )

    def _columns(self) -> dict[str, Composable]:
        columns = self.history.columns
        return {"columns": names(columns), "values": names(columns, _PUBLISHED)}


def _of(columns: Iterable[str], table: Composable) -> list[Composable]:
    return [SQL("{}.{}").format(table, Identifier(column)) for column in columns]
