"""A YAML file as values with line numbers, so that every complaint can name file, line and key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sync_assets.engine.errors import ConfigurationError

MOST_VALUES = 1_000_000
"""More than any list of tables has; a few lines of aliases to aliases can stand for billions."""

_SPECIAL = re.compile(r"\s*((?:- )*(?:[\w-]+: +)?)([*&!%@`].*?|\{\{.*\}\})\s*(?:#.*)?")
"""A line whose value begins with what YAML reads as an alias, an anchor, a tag or as nothing."""

KeyPath = tuple[str | int, ...]
"""The way from the top of a document to one value: mapping keys and list positions."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a YAML file; `file` is None when the values never were in one.

    `templates` are the places whose value a template stood for.
    """

    file: str | None
    value: Any
    lines: Mapping[KeyPath, int]
    templates: frozenset[KeyPath] = frozenset()

    def line(self, path: KeyPath) -> int:
        """The line of the key at `path`, or of the nearest thing around it that exists."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)

    def place(self, path: KeyPath) -> str:
        """Say where `path` is: `file:line`."""
        return f"{self.file}:{self.line(path)}" if self.file else "TableSync"

    def error(self, path: KeyPath, problem: str) -> ConfigurationError:
        """Complain about the value at `path`."""
        key = f"{_dotted(path)}: " if path else ""
        return ConfigurationError(f"{self.place(path)}: {key}{problem}", remedy="")


def replaced(value: Any, path: KeyPath, by: Mapping[KeyPath, Any]) -> Any:
    """The value that stands at `path`, with other values at some places within."""
    if path in by:
        return by[path]
    if isinstance(value, dict):
        return {key: replaced(inner, (*path, key), by) for key, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner, (*path, at), by) for at, inner in enumerate(value)]
    return value


def read_documents(file: Path) -> list[Document]:
    """Read every document of `file`; raises ConfigurationError."""
    try:
        loader = _Loader(file.read_text(encoding="utf-8"))
        try:
            documents = list(_documents(str(file), loader))
        finally:
            loader.dispose()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {error}", remedy="") from None
    except yaml.YAMLError as error:
        raise _syntax_error(file, error) from None
    if not documents:
        raise ConfigurationError(
            f"{file}:1: the file is empty; write type: sync_assets.TableSync and attributes",
            remedy="",
        )
    return documents


class _Loader(yaml.SafeLoader):
    """Dates stay text, as Dagster reads them."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own attribute)
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _documents(file: str, loader: _Loader) -> Iterator[Document]:
    while loader.check_node():
        node: yaml.Node = loader.get_node()  # type: ignore[assignment]  # there is one: checked
        if _expanded(node, {}) > MOST_VALUES:
            problem = f"its aliases stand for more than {MOST_VALUES:,} values"
            raise ConfigurationError(f"{file}:{node.start_mark.line + 1}: {problem}", remedy="")
        # Lines first: building the values folds merge keys (<<) into the nodes.
        lines = dict(_lines(file, node, (), node.start_mark.line + 1, ()))
        yield Document(file, loader.construct_document(node), lines)


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for once its aliases are followed."""
    if id(node) not in known:
        # An alias within itself is told of later, with its line.
        known[id(node)] = 0
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        pairs = isinstance(node, yaml.MappingNode)
        children = (child for pair in inner for child in pair) if pairs else inner
        known[id(node)] = 1 + sum(_expanded(child, known) for child in children)
    return known[id(node)]


def _lines(
    file: str, node: yaml.Node, path: KeyPath, line: int, above: tuple[int, ...]
) -> Iterator[tuple[KeyPath, int]]:
    if id(node) in above:
        raise ConfigurationError(f"{file}:{line}: an alias contains itself", remedy="")
    yield path, line
    above = (*above, id(node))
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield from _lines(file, item, (*path, position), item.start_mark.line + 1, above)
    if isinstance(node, yaml.MappingNode):
        _refuse_twins(file, node, path)
        for key, item in node.value:
            if isinstance(key, yaml.ScalarNode):
                inner = (*path, key.value)
                yield from _lines(file, item, inner, key.start_mark.line + 1, above)


def _refuse_twins(file: str, node: yaml.MappingNode, path: KeyPath) -> None:
    # YAML libraries keep the last of two equal keys and drop the other without a word.
    seen: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        line, name = key.start_mark.line + 1, (key.tag, key.value)
        if name in seen:
            raise ConfigurationError(
                f"{file}:{line}: {_dotted((*path, key.value))}: the key is written twice,"
                f" first on line {seen[name]}; keep one",
                remedy="",
            )
        seen[name] = line


def _syntax_error(file: Path, error: yaml.YAMLError) -> ConfigurationError:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        written = file.read_text(encoding="utf-8").splitlines()[mark.line :] if mark else []
        remedy = _in_quotes(written[0]) if written else ""
        return ConfigurationError(f"{file}{line}: not valid YAML: {problem}", remedy=remedy)
    return ConfigurationError(f"{file}: not valid YAML: {str(error).splitlines()[0]}", remedy="")


def _in_quotes(line: str) -> str:
    """What to write where the value on this line begins with what YAML keeps for itself."""
    found = _SPECIAL.fullmatch(line)
    return f'Put the value in quotes: {found[1]}"{found[2]}".' if found else ""


def _dotted(path: KeyPath) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
