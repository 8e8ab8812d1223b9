"""`{{ … }}` in the values of a defs.yaml: what they stand for, told apart from SQL."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2

from sync_assets.config.yaml_file import Document, KeyPath, replaced

LEFT_FOR_LATER = ("attributes", "translation")
"""What holds for each table in turn is resolved where there is one."""

AS_IT_STANDS = "SQL that has two braces stands between {% raw %} and {% endraw %}"

MARK = "__dagster_template_var"
"""How Dagster's `template_var` marks a function."""

Scope = Mapping[str, Any]
"""The words a template may use, and what each stands for."""


class Environment:
    """The variables of this process: `env.NAME`, or `env('NAME', 'default')`.

    One that is not set and has no default is an error: Dagster's own scope takes it for nothing.
    """

    def __call__(self, name: str, default: Any = None) -> Any:
        """The variable, else the default."""
        value = os.environ.get(name, default)
        if value is None:
            raise jinja2.UndefinedError(
                f"{name} is not set in the environment; set it, or write"
                f" {{{{ env('{name}', 'a default') }}}}"
            )
        return value

    def __getattr__(self, name: str) -> str:
        """The variable; what Jinja itself asks of an object is none."""
        if name.startswith(("jinja", "__")):
            raise AttributeError(name)
        return str(self(name))


def scope_of(document: Document) -> Scope:
    """What can be known without Dagster: the environment, and what the file's own module defines.

    Raises ConfigurationError where that module cannot be imported.
    """
    scope: dict[str, Any] = {"env": Environment()}
    name = document.value.get("template_vars_module")
    if name is None:
        return scope
    try:
        module = imported(document, str(name))
    except Exception as error:  # noqa: BLE001 - whatever their code raises
        problem = f"{name} cannot be imported: {type(error).__name__}: {error}"
        raise document.error(("template_vars_module",), problem) from None
    marked = inspect.getmembers(module, lambda each: getattr(each, MARK, False))
    # One that takes Dagster's context is left out: a template that uses it is told that it is not known.
    return scope | {
        name: function() for name, function in marked if not inspect.signature(function).parameters
    }


def imported(document: Document, name: str) -> ModuleType:
    """The module of that name; with a dot before it, the one beside the file."""
    if not name.startswith(".") or document.file is None:
        return importlib.import_module(name)
    file = Path(document.file).parent / f"{name[1:].replace('.', '/')}.py"
    spec = importlib.util.spec_from_file_location(f"sync_template_vars_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module at {file}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def resolved(document: Document, scope: Scope) -> Document:
    """The document with each template of its attributes replaced; raises ConfigurationError."""
    attributes = document.value.get("attributes")
    found = {
        path: _render(document, path, text, scope)
        for path, text in _texts(attributes, ("attributes",))
        if _is_template(text) and path[:2] != LEFT_FOR_LATER
    }
    if not found:
        return document
    value = document.value | {"attributes": replaced(attributes, ("attributes",), found)}
    return dataclasses.replace(document, value=value, templates=frozenset(found))


def rendered(text: str, scope: Scope) -> Any:
    """What a template stands for: a value where it is one expression, else text.

    Raises jinja2.TemplateError.
    """
    stripped = text.strip()
    # Text alone would turn a list of a template variable into its Python spelling.
    if stripped.startswith("{{") and stripped.endswith("}}") and "}}" not in stripped[2:-2]:
        value = _jinja().compile_expression(stripped[2:-2], undefined_to_none=False)(**scope)
        if isinstance(value, jinja2.Undefined):
            str(value)  # the strict kind raises here
        return value
    return _jinja().from_string(text).render(**scope)


@cache
def _jinja() -> jinja2.Environment:
    # A comment would vanish without a word, and `{#` stands in regular expressions.
    return jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        comment_start_string="{{#--",
        comment_end_string="--#}}",
        autoescape=False,  # noqa: S701 (it is SQL and names, no page)
    )


def _is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def _render(document: Document, path: KeyPath, text: str, scope: Scope) -> Any:
    try:
        return rendered(text, scope)
    except jinja2.UndefinedError as error:
        raise document.error(
            path, f"{error.message}; known are {', '.join(sorted(scope))}"
        ) from None
    except jinja2.TemplateError as error:
        raise document.error(path, f"not a template: {error.message}; {AS_IT_STANDS}") from None


def _texts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    for key, inner in _inner(value):
        yield from _texts(inner, (*path, key))


def _inner(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)
