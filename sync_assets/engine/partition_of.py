"""One target of many: the partition that holds the rows of one source, in a table of all of them."""

from __future__ import annotations

from dataclasses import dataclass

from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.names import RelationName, check_part, object_name

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
        value = self.value.replace("'", "''")
        return f"FOR VALUES IN ('{value}')"
