"""What `defaults` and a table may say in YAML, and the engine's table that it makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from sync_assets.config.automation import AutomationOptions
from sync_assets.config.strict import Word
from sync_assets.config.value_types import (
    PLACE,
    Carried,
    Column,
    Expression,
    Group,
    History,
    Key,
    Lookback,
    MaskOfColumn,
    Names,
    Owners,
    Partition,
    Relation,
    Relations,
    Tags,
    Target,
)
from sync_assets.engine.names import PartitionOf, RelationName
from sync_assets.engine.table import (
    ChangedBlocks,
    Deletes,
    LateCommits,
    OnSchemaChange,
    SyncMode,
    Table,
    Trust,
)


# Each field is a key in defs.yaml.
class TableOptions(AutomationOptions):
    """What `defaults` may say for every table, and a table for itself."""

    target: Target | None = Field(
        None,
        description="the table on the target; `{schema}` and `{table}` stand for the source's; else"
        " as `source`",
    )
    sync_mode: Word[SyncMode] | None = Field(
        None,
        description="`xmin_incremental` reads what changed; `incremental_sync` also reads from a"
        " `cursor` on; `full_sync` reads everything and removes what the source no longer has",
    )
    deletes: Word[Deletes] | None = Field(
        None,
        description="`ignore` leaves rows whose key is gone from the source; `hard` reads all keys"
        " in each run and deletes them; `soft` does too, and marks them in `deleted_column`",
    )
    cursor: Column | None = Field(
        None, description="the column that grows with every change; for `incremental_sync`"
    )
    lookback: Lookback | None = Field(
        None,
        description="how far before the last cursor to read again: `10 minutes` for a time, a"
        " number for a number",
    )
    late_commits: Word[LateCommits] | None = Field(
        None,
        description="`xid` also reads what newer transactions wrote, whatever the cursor says, and"
        " misses nothing; `lookback` trusts cursor and lookback, which reads less of the source",
    )
    on_schema_change: Word[OnSchemaChange] | None = Field(
        None,
        description="`evolve` follows the source's columns; `fail` stops when they change, and `ask`"
        " until `sync-assets approve`",
    )
    carry: Carried | None = Field(
        None,
        description="what the target is given besides rows, `[indexes, checks, …]` or `all`, made once"
        " the rows are there and followed from then on: see [carry](carry.md)",
    )
    trust: Word[Trust] | None = Field(
        None,
        description="`source` lets what `carry` makes call functions of the source's owner, where the target"
        " has them: [his code runs on it](carry.md#trust)",
    )
    changed_blocks: Word[ChangedBlocks] | None = Field(
        None,
        description="`auto` asks the source's WAL which pages changed, where it can tell and that"
        " pays, and reads only those; `require` fails where it can't; `off` never asks",
    )
    blocks_wait: float | None = Field(
        None,
        ge=0,
        description="how many seconds `changed_blocks` may wait, the snapshot held, for a WAL"
        " summary that reaches it",
    )
    max_delete_ratio: float | None = Field(
        None, ge=0, le=1, description="the share of the target's rows that one run may delete"
    )
    min_deletes: int | None = Field(
        None, ge=0, description="below this many deletes, the ratio is not asked"
    )
    allow_empty: bool | None = Field(None, description="let an emptied source empty the target")
    history: History | None = Field(
        None,
        description="`true` keeps each version of a row that a run saw in `<target>_history`;"
        " `{table: orders_versions}` names that table, `{table}` is the source's; see"
        " [history](history.md)",
    )
    partition_of: Partition | None = Field(
        None,
        description="the table of many sources that the target is one partition of: `{table:"
        " analytics.orders, column: region, value: eu}`; the target's own name is then that with the"
        " value, `orders_eu`, unless one is written; see [many sources](many-sources.md)",
    )
    xmin_column: Column | None = Field(
        None, description="the target's column for the source row's transaction id"
    )
    deleted_column: Column | None = Field(
        None, description="the target's column for the time a row was found to be gone"
    )
    trust_source_identity: bool | None = Field(
        None,
        description="sync by xid although the source's role may not call `pg_control_system()`,"
        " so that another server in its place would not be noticed",
    )
    group: Group | None = Field(None, description="Dagster's asset group")
    owners: Owners | None = Field(
        None, description="as Dagster shows them: e-mail addresses, or `team:` and a name"
    )
    op_tags: dict[str, Any] | None = Field(
        None,
        description="tags of the op that syncs it, as executors and launchers read them:"
        " `{dagster-k8s/config: {container_config: {resources: …}}}`",
    )
    tags: Tags | None = Field(
        None, description="as Dagster shows them; a table's own are added to those of `defaults`"
    )


class TableEntry(TableOptions):
    """One table to keep in step."""

    source: Relation = Field(
        description="`schema.table`, written as the catalog stores it; a part with a dot or a"
        " double quote goes in double quotes; with `*` or `?` every table that matches"
    )
    except_: Relations | None = Field(
        None,
        alias="except",
        description="of a pattern: the tables, or patterns, that it leaves out",
    )
    key: Key | None = Field(
        None,
        description="the columns that identify a row; they must contain those of a unique index"
        " and be NOT NULL; else the primary key, else the smallest such index",
    )
    columns: Names | None = Field(None, description="only these columns travel")
    exclude: Names | None = Field(None, description="all columns but these travel")
    expressions: dict[Column, Expression] | None = Field(
        None,
        description="SQL computed on the source in a column's place, or as a column of that name:"
        " `{email: md5(email)}`; it depends on the row alone, but for an enum's text, `{mood: mood::text}`",
    )
    mask: dict[Column, MaskOfColumn] | None = Field(
        None,
        description="what is sent in a column's place: `{email: hmac, name: redact, card: {keep_last:"
        " 4}}`, see [masks](masks.md)",
    )
    where: Expression | None = Field(
        None, description="an SQL condition on the source's rows; only those travel"
    )
    only: bool | None = Field(
        None, description="leave out the rows of tables that inherit from this one"
    )
    description: str | None = Field(
        None, description="as Dagster shows it; else what the source's comment on the table says"
    )
    snapshot_group: Group | None = Field(
        None,
        description="tables of the same name here are synced at once: one snapshot of the source,"
        " one transaction on the target, one op in Dagster",
    )


def set_values(options: BaseModel) -> dict[str, Any]:
    """The options that are written."""
    return {name: value for name, value in options if value is not None}


def engine_table(chosen: Mapping[str, Any], connection: str) -> Table:
    """The table as the engine takes it, from the source of that connection.

    Raises ConfigurationError where options contradict each other.
    """
    # Only what was set is passed on: the engine's own defaults stay the only ones.
    names = {field.name for field in dataclasses.fields(Table)} - {"source", "target"}
    options: dict[str, Any] = {name: chosen[name] for name in names if name in chosen}
    options |= {name: tuple(value) for name, value in options.items() if isinstance(value, list)}
    if "sync_mode" in chosen:
        options["mode"] = chosen["sync_mode"]
    if "expressions" in chosen:
        options["expressions"] = tuple(chosen["expressions"].items())
    if "mask" in chosen:
        options["mask"] = tuple(chosen["mask"].items())
    source = RelationName.parse(chosen["source"])
    target = source
    if "partition_of" in chosen:
        part = _partition_of(chosen["partition_of"], source, connection)
        options["partition_of"], target = part, part.default_target
    if "target" in chosen:
        target = _target(chosen["target"], source)
    if isinstance(chosen.get("history"), str):
        options["history"] = _filled(chosen["history"], source)
    return Table(source=source, target=target, **options)


def _target(text: str, source: RelationName) -> RelationName:
    """The target's name, with that of the source where it is a template; raises ConfigurationError."""
    named = RelationName.parse(text)
    filled = RelationName(_filled(named.schema, source), _filled(named.name, source))
    return RelationName.parse(str(filled))


def _partition_of(chosen: Partition, source: RelationName, connection: str) -> PartitionOf:
    value = _filled(chosen.value, source, connection=connection)
    return PartitionOf(_target(chosen.table, source), chosen.column, value)


def _filled(text: str, source: RelationName, **more: str) -> str:
    parts = {"schema": source.schema, "table": source.name, **more}
    return PLACE.sub(lambda found: parts.get(found[1], found[0]), text)
