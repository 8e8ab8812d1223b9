"""Columns that bear the names which our own statements use."""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sync_assets.engine
from sync_assets.engine import Deletes, RelationName, SyncMode, Table
from sync_assets.engine.inspection.why import why
from sync_assets.engine.names import quoted
from sync_assets.engine.plan import key_buckets
from sync_assets.engine.verify.counts import check_key, count_rows, schema_drift
from sync_assets.engine.verify.sample import sample_rows
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import NewDatabase, both_ways
from sync_assets_tests.fixtures.ways import WAYS

ENGINE = Path(sync_assets.engine.__file__).parent
STATEMENT = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|MERGE|JOIN|FROM|WHERE|COPY)\b")
ALIAS = re.compile(r"\b(?:AS|WITH|TABLE) (\w+)(?: \(([^()]+)\))?")
NAME = re.compile(r"[a-z]\w*")
NO_COLUMN = {"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "source_xmin", "deleted_at"}
"""PostgreSQL's own, and ours, which `xmin_column` and `deleted_column` rename."""

KEY = 30
"""Columns; PostgreSQL allows 32."""


@functools.cache
def words() -> list[str]:
    """Every alias of the engine's statements, the columns of each, and names like those they bore."""
    found = {
        "awaited",
        "s",
        "t",
        "h",
        "image",
        "number",
        "present",
        "key",
        "k0",
        "e0",
        "v0",
        "checksum",
        "key 0",
    }
    found |= {"keys_1", "old", "new", "user", "select", 'a "b', "100%s"}
    for path in ENGINE.rglob("*.py"):
        for text in _texts(ast.parse(path.read_text(encoding="utf-8"))):
            for alias in ALIAS.finditer(text):
                found |= {each for group in alias.groups() if group for each in NAME.findall(group)}
    return sorted(found - NO_COLUMN)


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and STATEMENT.search(text):
            yield text


def keys() -> dict[str, list[str]]:
    """Tables by name, each with as many of the words in its key as may be."""
    chosen = words()
    parts = [chosen[at : at + KEY] for at in range(0, len(chosen), KEY)]
    return {f"t{number}": part for number, part in enumerate(parts)}


def test_the_words_are_found() -> None:
    assert {"counted", "held", "leaf", "merged", "place", "xid"} <= set(words())
    assert 60 < len(words()) < 1000


def create(pair: Pair, name: str, key: list[str]) -> None:
    """A table with a column of each word, and three rows."""
    columns = ", ".join(f"{quoted(word)} text" for word in words())
    constraint = f", PRIMARY KEY ({', '.join(map(quoted, key))})" if key else ""
    pair.source(
        f"CREATE TABLE {name} ({columns}{constraint})",
        f"INSERT INTO {name} SELECT {', '.join(['concat(0, i)'] * len(words()))}"
        " FROM generate_series(1, 3) AS i",
    )


def changed(pair: Pair, name: str) -> None:
    """One row gone, one changed in a column outside the key, one new."""
    column = quoted(
        next(each for each in reversed(words()) if each not in (*keys().get(name, []), "t"))
    )
    newest = f"WHERE ctid IN (SELECT max(ctid) FROM {name})"
    more = ", ".join(f"{quoted(each)} || 'n'" for each in words())
    pair.source(
        f"DELETE FROM {name} {newest}",
        f"INSERT INTO {name} SELECT {more} FROM {name} {newest}",
        f"UPDATE {name} SET {column} = {column} || '!' WHERE ctid IN (SELECT min(ctid) FROM {name})",
    )


FORMS: tuple[dict[str, Any], ...] = (
    {"deletes": "hard"},
    {"deletes": "soft"},
    {"deletes": "ignore", "full_refresh": True},
)


@pytest.mark.parametrize(
    ("name", "versions"),
    list(zip(keys(), itertools.cycle(WAYS), strict=False)),
    indirect=["versions"],
)
def test_a_column_may_have_any_name_that_our_statements_use(
    pair: Pair, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(pair, name, keys()[name])
    full = f"public.{name}"
    pair.sync(full, deletes="hard")
    for options in FORMS:
        changed(pair, name)
        pair.sync(full, **options)
    changed(pair, name)
    pair.engine().copy_table_data(full, full)
    assert pair.is_exact(full)
    monkeypatch.setattr(key_buckets, "LEAST", 0)
    monkeypatch.setattr(key_buckets, "HASHING", 0.0)
    changed(pair, name)
    pair.source(f"ANALYZE {name}")
    assert "buckets" in pair.sync(full, deletes="hard", changed_blocks="off").reason
    assert pair.is_exact(full)
    pair.target(f"DELETE FROM {name} WHERE ctid IN (SELECT max(ctid) FROM {name})")
    assert pair.verify(full, repair=True, deletes="hard").rows_left == 0
    looked_at(pair, name)


def looked_at(pair: Pair, name: str) -> None:
    """Ask what the checks ask."""
    relation = RelationName("public", name)
    table = Table(relation, relation, SyncMode.XMIN_INCREMENTAL, deletes=Deletes.HARD)
    asked: list[Callable[[str, str, Table], object]] = [count_rows, schema_drift]
    for ask in asked:
        ask(pair.source_url, pair.target_url, table)
    sampled = sample_rows(pair.source_url, pair.target_url, table, 1.0)
    key = check_key(pair.target_url, table)
    assert sampled is not None
    assert key is not None
    assert (sampled.differing, key.duplicates) == (0, 0)
    found = why(pair.source_url, pair.target_url, table, ["01"] * len(keys()[name]))
    assert found.on_source == found.on_target


@both_ways
def test_rows_without_a_key_may_have_columns_of_those_names(pair: Pair) -> None:
    create(pair, "t", [])
    pair.engine().copy_table_data("t", "t")
    for _ in range(2):
        changed(pair, "t")
        assert pair.engine().copy_table_data("t", "t").rows_written == 4
        assert pair.is_exact()
    pair.target("DELETE FROM t WHERE ctid IN (SELECT max(ctid) FROM t)")
    table = Table(RelationName("public", "t"), RelationName("public", "t"), SyncMode.FULL_SYNC)
    assert pair.engine().verify(table, sync=False, repair=True).rows_left == 0
    pair.target(
        "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER act BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION act()",
    )
    changed(pair, "t")
    pair.engine().copy_table_data("t", "t")
    assert pair.is_exact()


@both_ways
def test_values_move_between_columns_of_those_names(pair: Pair) -> None:
    create(pair, "t", keys()["t0"])
    pair.sync(deletes="hard")
    last = quoted(words()[-1])
    pair.target(f"ALTER TABLE t ADD UNIQUE ({last})")
    pair.source(f"UPDATE t SET {last} = translate({last}, '12', '21')")
    assert pair.sync(deletes="hard").rows_updated == 2
    assert pair.is_exact()


def test_keys_of_those_names_are_kept_by_page(
    summarizing: PostgresServer, server18: PostgresServer, new_database: NewDatabase
) -> None:
    key = ["leaf", "page", "keys_1", "k", "m", "p", "s", "t", "first", "last", "run"]
    pair = Pair(new_database(summarizing), new_database(server18))
    pair.source("CREATE EXTENSION pg_walinspect")
    create(pair, "t", key)
    for _ in range(2):
        pair.sync(changed_blocks="require", deletes="hard")
    changed(pair, "t")
    receipt = pair.sync(changed_blocks="require", deletes="hard")
    assert (receipt.changed_pages, receipt.rows_deleted) == (1, 1)
    assert pair.is_exact()
