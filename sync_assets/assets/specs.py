"""The one place that names things: a table's assets, ops and pools, and what Dagster shows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import dagster as dg

from sync_assets.config.model import SyncedTable
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.names import RelationName
from sync_assets.engine.snapshot.scope import travels
from sync_assets.engine.table import Table
from sync_assets.plain_text import as_markdown, in_markdown

LOCATION = "sync_assets"
"""Our code location, as workspace.yaml and pyproject.toml name it."""

CHANGED = re.compile(r".*_[0-9a-f]{8}")
LOST_IN_KEYS = re.compile(r'[\x00-\x1f\x7f"%/\\]|^\.\.?$|~(?=[0-9a-f]{8}$)')
"""What a key cannot hold that Dagster writes as text: a slash parts it, a selection has no way to
write a quote, a backslash or a control character, and the UI's addresses lose percent signs and dots
that stand alone. The last is how a name ends that had to change."""


def sanitized(name: str) -> str:
    """Fit a name into `[A-Za-z0-9_]`, as ops and pools need it; different names stay different.

    A name that had to change gets a digest of the true one, and so does a name that looks as if it
    already had one.
    """
    clean = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if clean == name and clean and not CHANGED.fullmatch(clean):
        return clean
    return f"{clean}_{_digest(name)}"


def _stripped(name: str) -> str:
    clean = sanitized(name)
    return clean if clean == name else clean.lstrip("_")


def code_location(environment: Mapping[str, str]) -> str:
    """The code location's name: Dagster's own variable, where a workspace names it otherwise."""
    return environment.get("DAGSTER_LOCATION_NAME") or LOCATION


def asset_key(connection: str, relation: RelationName) -> dg.AssetKey:
    """`<resource key>/<schema>/<table>`, by their true names."""
    return dg.AssetKey([connection, _in_key(relation.schema), _in_key(relation.name)])


def source_key(synced: SyncedTable) -> dg.AssetKey:
    """The asset that stands for the table on the source."""
    return asset_key(synced.source_connection, synced.table.source)


def target_key(synced: SyncedTable) -> dg.AssetKey:
    """The asset that a sync materializes."""
    if synced.key is not None:
        return dg.AssetKey(synced.key)
    return asset_key(synced.target_connection, synced.table.target)


@cache
def op_name(key: dg.AssetKey) -> str:
    """The op behind an asset, in `[A-Za-z0-9_]`: unique, as keys are."""
    return _joined([sanitized(part) for part in key.path])


def plainly(spec: dg.AssetSpec) -> dg.AssetSpec:
    """A spec for Dagster's decorators, which name inputs and outputs after keys: see `with_true_keys`."""
    deps = [plain_key(dep.asset_key) for dep in spec.deps]
    return spec.replace_attributes(key=plain_key(spec.key), deps=deps)


def plain_key(key: dg.AssetKey) -> dg.AssetKey:
    """What stands for a key until the names are made."""
    return dg.AssetKey(op_name(key))


def with_true_keys(made: dg.AssetsDefinition, keys: Iterable[dg.AssetKey]) -> dg.AssetsDefinition:
    """What was made under plain keys, under its own and with those of what it depends on."""
    return made.with_attributes(asset_key_replacements={plain_key(key): key for key in keys})


def observation_name(place: str, number: int | str | None) -> str:
    """The op that observes the sources of a component: of its folder, and its number there."""
    base = "observe" if place == "." else f"observe_{sanitized(place)}"
    return base if number in (0, None) else f"{base}__{number}"


def op_of(synced: SyncedTable) -> str:
    """The op that syncs a table: its own, or that of its snapshot group."""
    if not synced.snapshot_group:
        return op_name(asset_key(synced.target_connection, synced.table.target))
    first = asset_key(synced.target_connection, synced.snapshot_targets[0])
    return f"{op_name(first)}__{sanitized(synced.snapshot_group)}"


def by_op(tables: Iterable[SyncedTable]) -> list[tuple[SyncedTable, ...]]:
    """The tables that are synced together: each alone, but for the snapshot groups."""
    groups: dict[str, list[SyncedTable]] = {}
    for synced in tables:
        groups.setdefault(op_of(synced), []).append(synced)
    return [tuple(members) for members in groups.values()]


def refuse_one_key(tables: Sequence[SyncedTable]) -> None:
    """Raise ConfigurationError where two tables were given one key."""
    seen: dict[dg.AssetKey, SyncedTable] = {}
    for each in tables:
        key = target_key(each)
        other = seen.setdefault(key, each)
        if other is not each:
            both = f"{other.table.source} and {each.table.source}"
            raise ConfigurationError(
                f"both {both} would be the asset {key.to_user_string()}",
                remedy="Let `translation` or `get_asset_spec` name the table in the key.",
            )


def check_op(key: dg.AssetKey, check: str) -> str:
    """The op that runs a check of a target."""
    return f"{op_name(key)}__check_{check}"


def component_name(place: str, number: int | str | None) -> str:
    """What the sensors and schedules of a component begin with: its folder, its number there."""
    base = "sync" if place == "." else sanitized(place)
    return base if number in (0, None) else f"{base}__{number}"


def schedule_name(component: str, purpose: str, first_of_its_own: SyncedTable | None) -> str:
    """A name that a schedule keeps when its times are edited: its switch hangs on it.

    The schedule of the times that stand in `defaults` has the plain name; one of tables that write
    their own is called after the first of those, too.
    """
    base = f"{component}_{purpose}"
    if first_of_its_own is None:
        return base
    target = first_of_its_own.table.target
    names = [target.name] if target.schema == "public" else [target.schema, target.name]
    return f"{base}__{_joined([sanitized(name) for name in names])}"


def pool(synced: SyncedTable) -> str:
    """The pool whose limit bounds how many syncs read this table's source at once."""
    return pool_of(synced.source_connection)


def pool_of(source_connection: str) -> str:
    """The pool of a source: one for all components that read it."""
    return f"sync_{source_connection}"


def source_spec(synced: SyncedTable) -> dg.AssetSpec:
    """The table on the source, as lineage shows it: in the group of its connection and schema."""
    relation, connection = synced.table.source, synced.source_connection
    return dg.AssetSpec(
        source_key(synced),
        description=_comment(synced)
        or f"The table {in_markdown(str(relation))} in the database {connection}.",
        # Of a schema that is Korean no letter is left: its digest stands alone, not behind underscores.
        group_name=f"{connection}_{_stripped(relation.schema)}",
        kinds={"postgres"},
        metadata=_metadata(synced, connection, relation, lambda _: True),
    )


def target_spec(synced: SyncedTable) -> dg.AssetSpec:
    """The table on the target, which depends on the one on the source."""
    table, freshness = synced.table, synced.automation.tolerated
    return dg.AssetSpec(
        target_key(synced),
        description=synced.description
        or _comment(synced)
        or f"A copy of {in_markdown(str(table.source))} in the database {synced.source_connection}.",
        deps=[source_key(synced)],
        owners=list(synced.owners),
        tags=dict(synced.tags),
        code_version=_code_version(table),
        freshness_policy=dg.FreshnessPolicy.time_window(freshness) if freshness else None,
        # A dry run materializes nothing.
        skippable=True,
        group_name=synced.group,
        kinds={"postgres", "sync_assets"},
        metadata=_metadata(synced, synced.target_connection, table.target, partial(travels, table))
        | _masks(table),
    )


def _code_version(table: Table) -> str | None:
    """A digest of what is selected, so that a changed `where` shows as out of date until a sync.

    None where all of a table travels: what Dagster has of it then counts whatever it was.
    """
    selected = (table.columns, table.exclude, table.expressions, table.where, table.only)
    masked = (_masks(table),) if table.mask else ()
    return _digest(repr((*selected, *masked))) if any((*selected, *masked)) else None


def _masks(table: Table) -> dict[str, Any]:
    """Which columns are masked, and how."""
    return {"sync/mask": {name: str(mask) for name, mask in table.mask}} if table.mask else {}


def _metadata(
    synced: SyncedTable, connection: str, relation: RelationName, has: Callable[[str], bool]
) -> dict[str, Any]:
    """What both ends say alike; the connection's name sets two tables of the same name apart.

    `has` says which of the source's columns this end has.
    """
    name = {"dagster/table_name": f"{connection}.{relation}"}
    return {**name, **_reference(synced), **_columns(synced, has)}


def _comment(synced: SyncedTable) -> str | None:
    """What the source says of the table, as words and not as Markdown."""
    said = synced.discovered.comment if synced.discovered else None
    return in_markdown(said) if said else None


def _columns(
    synced: SyncedTable, has: Callable[[str], bool]
) -> dict[str, dg.TableSchemaMetadataValue]:
    """The source's columns as they were found last; a sync shows those of the target."""
    found = synced.discovered
    if found is None or not found.columns:
        return {}
    key = dg.TableColumnConstraints(nullable=False, other=["key"])
    said = {name: as_markdown(text) for name, text in found.comments}
    columns = [
        dg.TableColumn(name, kind, said.get(name), key if name in found.key else None)
        for name, kind in found.columns
        if has(name)
    ]
    return {"dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns))}


def _reference(synced: SyncedTable) -> dict[str, dg.CodeReferencesMetadataValue]:
    """The line that defines the table, which the UI links to."""
    if synced.defined_at is None:
        return {}
    file, line = synced.defined_at
    reference = dg.LocalFileCodeReference(file_path=file, line_number=line)
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}


def _in_key(name: str) -> str:
    kept = LOST_IN_KEYS.sub("_", name)
    return name if kept == name else f"{kept}~{_digest(name)}"


def _joined(parts: Sequence[str]) -> str:
    """One name of several: `a__b` and `a`, `b`, which join to the same text, get a digest."""
    name = "__".join(parts)
    plain = not any("__" in part or part.startswith("_") or part.endswith("_") for part in parts)
    return name if plain else f"{name}_{_digest('/'.join(parts))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
