"""The generated reference: fresh, complete, and in agreement with what the program accepts."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from sync_assets.config import automation, entries
from sync_assets.config import model as configuration
from sync_assets.config.strict import StrictModel

ROOT = Path(__file__).parents[2]
DOCS, SCRIPT = ROOT / "docs", ROOT / "scripts" / "generate_reference.py"
ELEVEN = Path(__file__).parents[1] / "scenarios" / "speed" / "eleven_tables" / "defs.yaml"
MODELS = [
    model
    for model in {**vars(automation), **vars(configuration)}.values()
    if isinstance(model, type) and issubclass(model, StrictModel) and model.model_fields
]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The script that writes it."""
    spec = importlib.util.spec_from_file_location("reference", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_is_stale(reference: ModuleType) -> None:
    stale = [
        file.name
        for file, text in reference.generated().items()
        if not file.exists() or file.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run: make reference"


def test_no_schema_is_left_over(reference: ModuleType) -> None:
    assert set((DOCS / "schemas").iterdir()) == set(reference.generated()) - {
        DOCS / "configuration.md"
    }


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_says_what_it_is_for(model: type[BaseModel]) -> None:
    silent = [name for name, field in model.model_fields.items() if not field.description]
    assert silent == [], "give it Field(description=…)"


def test_every_model_has_its_table() -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    # What is in TableOptions is marked among the keys of TableEntry.
    for model in set(MODELS) - {entries.TableOptions, automation.AutomationOptions}:
        assert f"<!-- keys of {model.__name__} -->" in page


def test_an_editor_accepts_what_loads() -> None:
    _check(yaml.safe_load(ELEVEN.read_text(encoding="utf-8")))
    _check({"type": "some_project.Component", "attributes": {"anything": 1}})


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"source": "public.t", "targt": "u"}, "targt"),
        ({"target": "public.t"}, "'source' is a required property"),
        ({"source": "public.t", "deletes": "softly"}, "softly"),
        ({"source": "public.t", "max_delete_ratio": 2}, "2"),
    ],
)
def test_an_editor_marks_what_does_not(entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=problem):
        _check({"type": "sync_assets.TableSync", "attributes": {"tables": [entry]}})


def test_an_editor_takes_a_key_of_one_column_as_text() -> None:
    entry = {"source": "public.t", "key": "id"}
    _check({"type": "sync_assets.TableSync", "attributes": {"tables": [entry]}})


def _check(document: Any) -> None:
    text = (DOCS / "schemas" / "defs.schema.json").read_text(encoding="utf-8")
    jsonschema.Draft202012Validator(json.loads(text)).validate(document)
