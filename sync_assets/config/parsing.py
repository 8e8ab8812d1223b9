"""Check a document against the configuration; the first mistake becomes one exact error."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sync_assets.config import templates
from sync_assets.config.catalog import Catalog
from sync_assets.config.model import SyncedTable, TableSyncConfig
from sync_assets.config.patterns import Placed
from sync_assets.config.strict import keys_of
from sync_assets.config.yaml_file import Document, KeyPath, replaced
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.names import RelationName, nearest
from sync_assets.engine.table import Deletes

TYPE = "sync_assets.TableSync"
OUR_TYPES = (TYPE, "sync_assets.component.TableSync")
COMPONENT_KEYS = ("type", "attributes", "requirements", "template_vars_module", "post_processing")

LONGEST_SHOWN = 80

NO_TEXT = ("int_type", "float_type", "bool_type")
"""What pydantic says of text where a number, or true or false, is wanted."""

EXPECTED = {
    "string_type": "write text, in quotes if it looks like something else",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "finite_number": "write a number",
    "bool_type": "write true or false",
    "list_type": "write a list",
    "dict_type": "write a mapping of keys to values",
    "model_type": "write a mapping of keys to values",
}

BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "greater_than": ("gt", "more than"),
}
"""What pydantic says of a number beyond a bound, and its name for that bound."""

Discovery = Callable[[TableSyncConfig], Catalog | None]


def parse_component(document: Document, discovered: Discovery) -> TableSyncConfig | None:
    """Read a component's document; None if it is another project's component.

    Raises ConfigurationError naming file, line, key, the wrong value and what is allowed.
    """
    value = document.value
    if not isinstance(value, dict):
        raise document.error((), f"write type: {TYPE} and attributes")
    if "type" not in value:
        raise document.error((), f"type is missing; write type: {TYPE}")
    if value["type"] not in OUR_TYPES:
        kind = _kind(document, value["type"])
        if kind is Kind.FOREIGN:
            return None
        if kind is Kind.UNKNOWN:
            problem = f"{_shown(value['type'])} is not a component; use {TYPE}"
            raise document.error(("type",), problem)
    for key in value:
        if key not in COMPONENT_KEYS:
            raise document.error((str(key),), _unknown(key, COMPONENT_KEYS))
    return parse_attributes(document, discovered)


def parse_attributes(
    document: Document, discovered: Discovery, scope: templates.Scope | None = None
) -> TableSyncConfig:
    """Read the `attributes` of a document whose type is already known to be ours.

    `discovered` says what the source was found to have, `scope` what the templates may use; by
    default what can be known without Dagster.
    """
    if document.value.get("attributes") is None:
        path = ("attributes",) if "attributes" in document.value else ()
        raise document.error(path, "attributes are missing; write attributes: and below it tables:")
    document = templates.resolved(
        document, templates.scope_of(document) if scope is None else scope
    )
    config = _validated(document)
    config = config.with_catalog(discovered(config))
    workers = config.workers
    if workers.min_workers > workers.max_workers:
        raise document.error(
            ("attributes", "workers", "min_workers"),
            f"{workers.min_workers} is not allowed; use at most max_workers, {workers.max_workers}",
        )
    _check_tables(document, config)
    return config


def _validated(document: Document) -> TableSyncConfig:
    values = document.value["attributes"]
    try:
        return TableSyncConfig.model_validate(values)
    except ValidationError as error:
        # An environment variable is text, also where a number is wanted.
        texts = {_path(each): each["input"] for each in error.errors() if each["type"] in NO_TEXT}
        known = {path: yaml.safe_load(texts[path]) for path in document.templates & texts.keys()}
        if not known:
            raise _first(document, error) from None
    try:
        return TableSyncConfig.model_validate(replaced(values, ("attributes",), known))
    except ValidationError as error:
        raise _first(document, error) from None


def target_path(config: TableSyncConfig, position: int) -> KeyPath:
    """Where the target of the table at a position of all is written, or the source it follows."""
    at = config.placed[position].position
    named = config.tables[at].target is not None
    return ("attributes", "tables", at, "target" if named else "source")


def _check_tables(document: Document, config: TableSyncConfig) -> None:
    if not config.tables:
        raise document.error(("attributes", "tables"), "the list is empty; name a table's source")
    seen: dict[RelationName, KeyPath] = {}
    for position, synced in enumerate(_tables(document, config)):
        table, path = synced.table, target_path(config, position)
        same_database = synced.source_connection == synced.target_connection
        if same_database and table.source == table.target:
            raise document.error(path, f"{str(table.target)!r} would be copied onto itself")
        if table.target in seen:
            if seen[table.target] == path:
                several = f"several sources would all come into {table.target}; write partition_of"
                raise document.error(path, several)
            first = document.line(seen[table.target])
            raise document.error(
                path, f"{str(table.target)!r} is already the target of the table on line {first}"
            )
        seen[table.target] = path
    _check_automation(document, config)


def _tables(document: Document, config: TableSyncConfig) -> list[SyncedTable]:
    try:
        return config.synced_tables("")
    except ConfigurationError:
        # Which one it was is only asked when it matters: all are made at once, and kept.
        for each in config.placed:
            _require_table(document, config, each)
        raise


def _require_table(document: Document, config: TableSyncConfig, placed: Placed) -> None:
    try:
        config.synced_table(placed.entry, placed.connection)
    except ConfigurationError as error:
        place = ("attributes", "tables", placed.position)
        raise document.error(place, f"{error.message}; {error.remedy.rstrip('.')}") from None


def _check_automation(document: Document, config: TableSyncConfig) -> None:
    """Keys that need one another, or that the members of a snapshot group must share."""
    first: dict[str, SyncedTable] = {}
    for position, synced in enumerate(config.synced_tables("")):
        path = ("attributes", "tables", config.placed[position].position)
        if synced.automation.delete_schedule and synced.table.deletes is Deletes.IGNORE:
            problem = "needs deletes: hard or soft; with ignore there is nothing to sweep"
            raise document.error((*path, "delete_schedule"), problem)
        name = synced.snapshot_group
        leader = first.setdefault(name, synced) if name else synced
        if leader.automation.times != synced.automation.times:
            raise document.error(
                (*path, "snapshot_group"),
                f"{name!r} is synced at once: write the same schedule, delete_schedule, reconcile,"
                f" timezone and automation as for {leader.table.source}",
            )


class Kind(enum.Enum):
    """What a component's type is to us."""

    OURS, FOREIGN, UNKNOWN = range(3)


def _kind(document: Document, name: object) -> Kind:
    """Whether a type other than our own extends it, is another project's, or is nothing at all."""
    if not isinstance(name, str) or name.split(".")[0] == "sync_assets":
        return Kind.UNKNOWN
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(templates.imported(document, module), attribute, None) if module else None
    except Exception:  # noqa: BLE001 - whatever their code raises, Dagster will tell
        return Kind.FOREIGN if name.startswith(".") else Kind.UNKNOWN
    if found is None:
        return Kind.UNKNOWN
    # By name: what is written is read without Dagster, which the class itself would import.
    above = {f"{each.__module__}.{each.__name__}" for each in getattr(found, "__mro__", ())}
    return Kind.OURS if above.intersection(OUR_TYPES) else Kind.FOREIGN


def _first(document: Document, error: ValidationError) -> ConfigurationError:
    def place(details: ErrorDetails) -> tuple[int, bool]:
        # A misspelt key is also a missing one: the first says more.
        return document.line(_path(details)), details["type"] != "extra_forbidden"

    details = min(error.errors(include_url=False), key=place)
    path = _path(details)
    # A variable's value may be a secret.
    hidden = any(path[: len(each)] == each for each in document.templates)
    value = "what the template stands for" if hidden else _shown(details["input"])
    return document.error(path, _problem(details, value))


def _path(details: ErrorDetails) -> KeyPath:
    return ("attributes", *details["loc"])


def _problem(details: ErrorDetails, value: str) -> str:
    kind, context = details["type"], details.get("ctx", {})
    location = details["loc"]
    if kind == "extra_forbidden":
        return _unknown(location[-1], _known_keys(location[:-1]))
    if kind == "missing":
        return "is missing"
    if kind == "refused":
        return f"{value} is not allowed; {context['problem']}"
    if kind in ("enum", "literal_error"):
        allowed = context["expected"].replace("'", "").replace(" or ", ", ")
        close = nearest(value.strip("'"), allowed.split(", "))
        hint = f"; did you mean {close}?" if close else ""
        return f"{value} is not allowed; use one of {allowed}{hint}"
    if kind in BOUNDS:
        name, words = BOUNDS[kind]
        return f"{value} is not allowed; use {words} {context[name]}"
    expected = EXPECTED.get(kind, details["msg"])
    if location[:-1] == ("tables",) and isinstance(details["input"], str):
        expected = f"write source: {details['input']}"
    return f"{value} is not allowed; {expected}"


def _known_keys(location: tuple[str | int, ...]) -> Iterable[str]:
    """The keys of the model that describes what stands at a place in the attributes."""
    model: type[BaseModel] = TableSyncConfig
    for part in location:
        if isinstance(part, str):
            model = next(_models_in(keys_of(model)[part].annotation))
    return keys_of(model)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _unknown(key: object, known: Iterable[str]) -> str:
    known = list(known)
    close = nearest(str(key), known)
    hint = f"did you mean {close}?" if close else f"known keys are {', '.join(known)}"
    return f"the key is not known; {hint}"


def _shown(value: Any) -> str:
    text = repr(value)
    # A connection URL written in the wrong place must not carry its password into a log.
    if "://" in text or "password" in text.lower():
        return "the value"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
