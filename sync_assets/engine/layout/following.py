"""The target in the making: renamed, retyped and extended as its source was (pure)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sync_assets.engine.layout import alteration
from sync_assets.engine.layout.alteration import Alteration, Narrowing
from sync_assets.engine.layout.differences import column_before, text_changed
from sync_assets.engine.layout.keys import choose_key
from sync_assets.engine.layout.layout import MOST_COLUMNS
from sync_assets.engine.layout.renaming import renames
from sync_assets.engine.layout.stored import is_stored_elsewhere, leaf_before
from sync_assets.engine.layout.widening import holds
from sync_assets.engine.names import object_name
from sync_assets.engine.postgres.relation import Column, Key, Relation
from sync_assets.engine.postgres.types import UserType
from sync_assets.engine.state.shape import RememberedColumns
from sync_assets.engine.state.state import StateLeaf
from sync_assets.engine.table import Deletes, SyncMode, Table


@dataclass(slots=True)
class Following:
    """One evolution in the making: the target as it is after the alterations so far."""

    table: Table
    source: Relation
    before: RememberedColumns
    leaves: Sequence[StateLeaf]
    target: Relation
    alterations: list[Alteration] = field(default_factory=list)
    retypes: list[Alteration] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    whole: dict[int, str] = field(default_factory=dict)
    renamed: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)

    def pairs(self) -> Iterator[tuple[Column, Column | None]]:
        """Each column of the source with what it was at the last run."""
        for column in self.source.columns:
            yield column, column_before(column, self.source, self.before)

    @property
    def shared(self) -> bool:
        """Whether its columns are also those of other sources' targets."""
        return self.target.partition_of is not None

    def _was(self, column: Column, then: Column | None) -> Column | None:
        """What the target's column of this name held at the last run."""
        if then and (then.name == column.name or column.name in self.renamed):
            return then
        gone = (*self.before.columns, *self.before.kept)
        return next((each for each in gone if each.name == column.name), then)

    def replace(self, name: str, *, renamed: str | None = None, **changes: Any) -> None:
        """Note that a column of the target is now another."""
        new = renamed or name
        columns = tuple(
            dataclasses.replace(column, name=new, **changes) if column.name == name else column
            for column in self.target.columns
        )
        keys = tuple(
            dataclasses.replace(
                key, columns=tuple(new if column == name else column for column in key.columns)
            )
            for key in self.target.keys
        )
        self.target = dataclasses.replace(self.target, columns=columns, keys=keys)

    def rename(self) -> None:
        """Rename what was renamed, where the target has the old name and not the new one."""
        known = {each.oid for each in self.leaves}
        if self.before.relation != self.source.oid and known & {
            each.oid for each in self.source.leaves
        }:
            # Partitions under another parent; a table of its own is new and read whole anyway.
            self._read_all("the source is another table than before")
        renamed = {
            then.name: column.name
            for column, then in self.pairs()
            if then is not None and then.name != column.name
        }
        if self.shared:
            # Other sources have the old name still: theirs it stays, and the new one is another column.
            if renamed:
                self._read_all("a column was renamed")
            return
        wanted = {old: new for old, new in renamed.items() if self.target.column(old)}
        there = [column.name for column in self.target.columns]
        for name in self._in_the_way(wanted):
            self.moved[name] = self._free_name(name)
            self._rename(name, self.moved[name])
        for old, new in renames(wanted, [column.name for column in self.target.columns]):
            self._rename(old, new)
            self.renamed.add(new)
        if any(new in there for new in renamed.values()):
            # Somebody may have renamed them already, or it is what a dropped column has left.
            self._read_all("a column took another one's name")

    def _in_the_way(self, wanted: Mapping[str, str]) -> list[str]:
        """The columns that the source dropped and whose names others are to have now."""
        kept = {each.name for each in (*self.before.columns, *self.before.kept)}
        return [
            new
            for new in wanted.values()
            if new in kept and new not in wanted and self.target.column(new)
        ]

    def _free_name(self, name: str) -> str:
        taken = {column.name for column in (*self.target.columns, *self.source.columns)}
        tails = ("dropped", *(f"dropped_{number}" for number in range(2, MOST_COLUMNS)))
        names = (object_name(name, tail) for tail in tails)
        return next(each for each in names if each not in taken)

    def _rename(self, old: str, new: str) -> None:
        self.alterations.append(alteration.rename_column(self.table.target, old, new))
        self.replace(old, renamed=new)

    def _read_all(self, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)

    def change_types(self) -> None:
        """Change the type of target columns that were what the source was."""
        for column, then in self.pairs():
            there = self.target.column(column.name)
            if there is None or there.generated:
                continue
            was = self._was(column, then)
            if then is None:
                self._read_all(f"column {column.name} is another one than before")
            elif then.type != column.type and not holds(then.type, column.type):
                self._read_all(f"the type of column {column.name} changed")
            # Narrowed on the source, the target's column stayed as wide as it was.
            if was is None or not holds(was.type, there.type):
                continue
            if self.shared:
                continue
            retyped = not holds(column.type, there.type)
            recollated = there.collation == was.collation != column.collation
            if retyped or recollated:
                self._set_type(column, there, retyped=retyped)

    def _set_type(self, column: Column, there: Column, *, retyped: bool) -> None:
        type_ = column.type if retyped else there.type
        in_key = any(column.name in key.columns for key in self.target.keys)
        resent = self.table.deletes is not Deletes.SOFT and (
            self.table.mode is SyncMode.FULL_SYNC or self.table.deletes is Deletes.HARD
        )
        narrowed = retyped and not resent and not holds(there.type, type_)
        self.retypes.append(
            alteration.set_type(
                self.table.target,
                column.name,
                type_,
                column.collation,
                may_clear=retyped and resent and not in_key,
                narrows=Narrowing(column.name, there.type, type_) if narrowed else None,
            )
        )
        self.replace(column.name, type=type_, type_oid=column.type_oid, collation=column.collation)
        self._set_operators(
            {
                name: operator
                for key in self.source.keys
                for name, operator in zip(key.columns, key.operators, strict=True)
                if name == column.name
            }
        )

    def _set_operators(self, operators: Mapping[str, str]) -> None:
        keys = tuple(
            dataclasses.replace(
                key,
                operators=tuple(
                    operators.get(name, operator)
                    for name, operator in zip(key.columns, key.operators, strict=True)
                ),
            )
            for key in self.target.keys
        )
        self.target = dataclasses.replace(self.target, keys=keys)

    def add(self) -> None:
        """Add what the source has gained since the last run, with the value that old rows have."""
        for column, then in self.pairs():
            if then is not None or self.target.column(column.name) is not None:
                continue
            if column.expression is not None or column.number <= 0:
                continue
            value = self._value_of_old_rows(column)
            if self.shared and value is not None:
                # As a default it would be in the rows of other sources, too.
                self._read_all(f"column {column.name} is new, with a value in older rows")
                value = None
            owner, shape = self.target.defined_by, (column.name, column.type, column.collation)
            self.alterations.append(alteration.add_column(owner, *shape, value, shared=self.shared))
            self.alterations += alteration.comments(
                self.table.target, None, ((column.name, column.comment),)
            )
            added = dataclasses.replace(
                column, number=0, not_null=False, generated=False, identity_always=False
            )
            self.target = dataclasses.replace(self.target, columns=(*self.target.columns, added))

    def _value_of_old_rows(self, column: Column) -> str | None:
        """What rows that are older than the column have in it; notes the leaves that must be read."""
        untouched: dict[int, str | None] = {}
        for leaf in self.source.leaves:
            known = leaf_before(leaf, self.leaves)
            here = leaf.column(column.name)
            if known is None:
                continue
            if here is None or here.generation is not None or known.filenode != leaf.filenode:
                self.whole[leaf.oid] = f"column {column.name} of {leaf.name} is new"
            else:
                untouched[leaf.oid] = here.missing
        values = set(untouched.values())
        if len(values) <= 1:
            return values.pop() if values else None
        for oid, value in untouched.items():
            if value is not None:
                self.whole[oid] = f"column {column.name} is new and its older rows differ"
        return None

    def change_key(self) -> None:
        """Give the target the source's key where it has no index for it."""
        key = choose_key(self.table, self.source, self.target)
        target = self.table.target
        renamed = self.moved | {then.name: column.name for column, then in self.pairs() if then}
        old = sorted(renamed.get(name, name) for name in self.before.key)
        held = any(set(each.columns) <= set(old) for each in self.source.keys)
        if self.source.has_versions and old and not held:
            for each in self.target.keys:
                if sorted(each.columns) == old and each.constraint:
                    self.alterations.append(alteration.drop_constraint(target, each.constraint))
                    self._keep_keys([other for other in self.target.keys if other is not each])
        if key is None or any(sorted(k.columns) == sorted(key.columns) for k in self.target.keys):
            return
        columns = [self.target.column(name) for name in key.columns]
        if old == sorted(key.columns) or None in columns:
            return
        nullable = tuple(each.name for each in columns if each and not each.not_null)
        primary = key.primary and not any(each.primary for each in self.target.keys)
        self.alterations.append(alteration.add_key(target, key.columns, nullable, primary=primary))
        for name in nullable:
            self.replace(name, not_null=True)
        self._keep_keys([*self.target.keys, dataclasses.replace(key, primary=primary)])

    def _keep_keys(self, keys: Sequence[Key]) -> None:
        self.target = dataclasses.replace(self.target, keys=tuple(keys))

    def let_be_null(self) -> None:
        """Drop NOT NULL where the source did, or no longer has the column."""
        in_key = {name for key in self.target.keys if key.primary for name in key.columns}
        now = {column.name for column in self.source.columns}
        for column, then in self.pairs():
            there = self.target.column(column.name)
            was = self._was(column, then)
            if was and was.not_null and not column.not_null:
                self._drop_not_null(there, in_key, "the source lets it")
        gone = [each.name for each in self.before.columns if each.name not in now]
        for name in (*gone, *self.moved.values()):
            there = self.target.column(name)
            self._drop_not_null(there, in_key, "the source no longer has it, the target keeps it")

    def _drop_not_null(self, there: Column | None, in_key: set[str], why: str) -> None:
        if there is None or not there.not_null or there.generated or there.name in in_key:
            return
        self.alterations.append(alteration.drop_not_null(self.table.target, there.name, why))
        self.replace(there.name, not_null=False)

    def compare_types(self, types: Sequence[UserType]) -> None:
        """Read all rows where the text of a type's values changed without them."""
        then = {each.oid: each for each in self.before.types}
        for each in types:
            was = then.get(each.oid)
            if was is not None and text_changed(was, each):
                self._read_all(f"the type {each.full_name} changed")

    def full_leaves(self) -> Mapping[int, str]:
        """The leaves whose columns are stored elsewhere than at the last run."""
        for leaf in self.source.leaves:
            known = leaf_before(leaf, self.leaves)
            if known is not None and is_stored_elsewhere(leaf, known, self.pairs()):
                self.whole.setdefault(leaf.oid, f"the columns of {leaf.name} changed")
        return self.whole
