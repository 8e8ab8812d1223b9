"""Write the reference from the models: `python scripts/generate_reference.py`, or `make reference`.

The tables in configuration.md stand between `<!-- keys of MODEL -->` and `<!-- end of keys -->`,
MODEL being a class of `sync_assets.config.model`, `.automation` or `.value_types`; schemas/ holds the JSON schema of defs.yaml, and
one for what each command prints with `--json`. A test fails while any of them is stale.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticUndefined

from sync_assets.cli.documents import DOCUMENTS
from sync_assets.cli.output import JSON_VERSION
from sync_assets.config import automation, entries, value_types
from sync_assets.config import model as configuration
from sync_assets.config.parsing import COMPONENT_KEYS, OUR_TYPES
from sync_assets.config.strict import keys_of
from sync_assets.engine.table import Table

DOCS = Path(__file__).parent.parent / "docs"
KEYS = re.compile(r"(<!-- keys of (\w+) -->\n).*?(<!-- end of keys -->)", re.DOTALL)
ENGINE_NAMES = {"sync_mode": "mode"}
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def generated() -> dict[Path, str]:
    """Every generated file with what it should hold."""
    page = DOCS / "configuration.md"
    files = {page: KEYS.sub(_filled, page.read_text(encoding="utf-8"))}
    for name, schema in _schemas().items():
        text = json.dumps({"$schema": DRAFT, **schema}, indent=2, ensure_ascii=False)
        files[DOCS / "schemas" / f"{name}.schema.json"] = f"{text}\n"
    return files


def _filled(found: re.Match[str]) -> str:
    model: type[BaseModel] = _model(found[2])
    return (
        "\n".join((found[1] + "| key | meaning | default |", "|---|---|---|", *_rows(model), ""))
        + found[3]
    )


def _model(name: str) -> Any:
    homes = (configuration, automation, value_types)
    return next((getattr(home, name) for home in homes if hasattr(home, name)), None)


def _rows(model: type[BaseModel]) -> Iterator[str]:
    for name in _ordered(model):
        field = keys_of(model)[name]
        mark = (
            " ¹"
            if model is entries.TableEntry and name in entries.TableOptions.model_fields
            else ""
        )
        meaning = (field.description or "").replace("|", "\\|")
        default = "required" if field.is_required() else _literal(default_of(model, name))
        yield f"| `{name}`{mark} | {meaning} | {default} |"


def _ordered(model: type[BaseModel]) -> list[str]:
    """What must be written first, then what the model adds to the one it extends."""
    fields = keys_of(model)
    own = {name.rstrip("_") for name in model.__annotations__}  # `except_` is written `except`
    return sorted(fields, key=lambda name: (not fields[name].is_required(), name not in own))


def default_of(model: type[BaseModel], name: str) -> Any:
    """What holds where a key is not written; None if only the key's description can say it."""
    default = keys_of(model)[name].get_default(call_default_factory=True)
    if default is None and issubclass(model, entries.TableOptions):
        engine = {field.name: field.default for field in dataclasses.fields(Table)}
        default = engine.get(ENGINE_NAMES.get(name, name))
    empty = (dataclasses.MISSING, PydanticUndefined, ())
    return None if default in empty or isinstance(default, BaseModel) else default


def _literal(default: Any) -> str:
    if isinstance(default, list) and len(default) == 1:
        (default,) = default  # one may be written without a list
    return "" if default is None else f"`{json.dumps(default).strip(chr(34))}`"


def _schemas() -> dict[str, dict[str, Any]]:
    return {"defs": _defs_schema()} | {name: _printed(name) for name in DOCUMENTS}


def _printed(name: str) -> dict[str, Any]:
    """The schema of what a command prints, which writes the version before the rest."""
    schema = _untitled(TypeAdapter(DOCUMENTS[name]).json_schema(mode="serialization"))
    version = {"const": JSON_VERSION, "type": "integer"}
    return {
        **schema,
        "properties": {"version": version, **schema["properties"]},
        "required": ["version", *schema["required"]],
        "title": f"sync-assets {name} --json",
    }


def _untitled(schema: Any) -> Any:
    """Without pydantic's titles, which only repeat the names."""
    if isinstance(schema, dict):
        return {
            key: _untitled(value)
            for key, value in schema.items()
            if key != "title" or not isinstance(value, str)
        }
    return [_untitled(value) for value in schema] if isinstance(schema, list) else schema


def _defs_schema() -> dict[str, Any]:
    """The schema of one document; other projects' components are let through."""
    attributes = _untitled(configuration.TableSyncConfig.model_json_schema())
    definitions = attributes.pop("$defs")
    for name, schema in {**definitions, "TableSyncConfig": attributes}.items():
        _write_defaults(_model(name), schema)
    ours = {
        "required": ["attributes"],
        "properties": dict.fromkeys(COMPONENT_KEYS, True) | {"attributes": attributes},
        "additionalProperties": False,
    }
    return {
        "title": "sync-assets defs.yaml",
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"type": "string", "examples": [OUR_TYPES[0]]}},
        "if": {"properties": {"type": {"enum": list(OUR_TYPES)}}},
        "then": ours,
        "$defs": definitions,
    }


def _write_defaults(model: object, schema: Mapping[str, Any]) -> None:
    """Put the engine's defaults where the model only says null."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return
    for name, key in schema["properties"].items():
        default = default_of(model, name)
        key.pop("default", None)
        if default is not None:
            key["default"] = default.value if isinstance(default, enum.Enum) else default


def main() -> None:
    """Write them."""
    for file, text in generated().items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
