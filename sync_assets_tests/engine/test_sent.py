"""The statements that export, load, merge and history write where they send them, as text: `sent.sql`.

A few runs reach every line that sends one; what the modules of statements build for them is in
`statements.sql`. Values stay the placeholders that the driver fills in.
`SYNC_TEST_RENEW=1 pytest` on this file writes the text anew: read the difference before you commit.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

from sync_assets.engine import DataCopyEngine, PartitionOf, RelationName, SyncError, Table
from sync_assets.engine.export import copy_piece, copy_statements, leaf_access
from sync_assets.engine.load import few_keys, staging_statements
from sync_assets.engine.merge import merge_statements
from sync_assets.engine.plan import key_buckets
from sync_assets.engine.postgres import relation as leaves
from sync_assets.engine.postgres.session import PINNED, READ_COMMITTED, UNHURRIED, UNPINNED
from sync_assets.engine.run.first_load import by_pieces
from sync_assets.engine.table import Deletes
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.sent import in_lines, modules, on_one_line, recorded, silent

GOLDEN = Path(__file__).with_name("sent.sql")
ENGINE = "sync_assets.engine."
PACKAGES = tuple(f"{ENGINE}{name}" for name in ("export", "load", "merge", "history"))
BUILDERS = (copy_statements, staging_statements, merge_statements)
SHORT = {
    "; ".join(PINNED): "<PINNED>",
    "; ".join(UNPINNED): "<UNPINNED>",
    "; ".join((READ_COMMITTED, *UNHURRIED)): "<BEGIN>",
}
"""Settings of `postgres.session`, which many statements come with."""

COUNTED, MERGED = "row(cursor, SQL(before) + counted)", "cursor.execute(statement)"
SILENT = {
    "15": {f"merge.merge._merge: {COUNTED}"},
    "18": {f"merge.merge._merge: {COUNTED}", f"merge.merge._merge: {MERGED}"},
}
"""What only the other version's server is sent: a newer one counts what its MERGE does."""

ORDERS = "shop.orders"
CREATE = "CREATE TABLE shop.orders (id bigint PRIMARY KEY, total integer, email text)"
FILL = "INSERT INTO shop.orders SELECT i, i, i || '@x' FROM generate_series(1, 40) i"
UNIQUE = "ALTER TABLE shop.orders ADD CONSTRAINT one_total UNIQUE (total)"
ACTS = (
    "CREATE FUNCTION shop.act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER act BEFORE INSERT OR DELETE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.act()",
)
CHANGE = (
    "DELETE FROM shop.orders WHERE id = 1",
    "UPDATE shop.orders SET email = 'new' WHERE id = 2",
    "INSERT INTO shop.orders VALUES (101, 101, NULL)",
)


class Shop:
    """A source and a target, on which each story begins anew."""

    def __init__(self, pair: Pair) -> None:
        self.source, self.target = pair.source, pair.target
        self.source_url, self.target_url = pair.source_url, pair.target_url

    def open(self, *statements: str) -> None:
        """Leave nothing on either end but what these statements make on the source."""
        for end in (self.source, self.target):
            end("DROP SCHEMA IF EXISTS shop, kinds, moved, sync_assets CASCADE")
        self.source("CREATE SCHEMA shop", "CREATE SCHEMA kinds", *statements)

    def engine(self, setting: str = "") -> DataCopyEngine:
        """An engine of one worker, since which of several reads what is chance."""
        target = make_dsn(self.target_url, options=f"-c{setting}") if setting else self.target_url
        return DataCopyEngine(self.source_url, target, workers=1)

    def sync(self, mode: str = "xmin_incremental", **options: Any) -> None:
        """Bring the target up to date, and delete what is gone."""
        self.engine().copy_table_data(ORDERS, ORDERS, mode, **{"deletes": "hard", **options})


def a_first_load_and_a_later_run(shop: Shop) -> None:
    shop.open(CREATE, FILL)
    shop.engine("track_counts=off").copy_table_data(ORDERS, ORDERS, "xmin_incremental")
    shop.source(*CHANGE)
    shop.sync()
    name = RelationName("shop", "orders")
    shop.engine().verify(Table(name, name, deletes=Deletes.HARD))
    with closing(psycopg2.connect(shop.source_url)) as waiting:
        leaf_access.beat(waiting)


def a_filter_that_the_target_proves(shop: Shop) -> None:
    shop.open(
        "CREATE TYPE kinds.mood AS ENUM ('a', 'b')",
        'CREATE TABLE shop.orders (id bigint PRIMARY KEY, mood kinds.mood, email text COLLATE "C")',
    )
    shop.sync(where="mood > 'a'")
    with pytest.raises(SyncError):
        shop.sync(where="no_such_function(mood)")


def types_of_the_source_s_own(shop: Shop) -> None:
    shop.open(
        "CREATE TYPE kinds.mood AS ENUM ('a', 'b')",
        "CREATE DOMAIN kinds.name AS text",
        "CREATE TYPE kinds.place AS (x integer)",
        "CREATE TYPE kinds.span AS RANGE (subtype = numeric)",
        "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public",
        "CREATE TABLE shop.orders (id bigint PRIMARY KEY, mood kinds.mood, name kinds.name,"
        " place kinds.place, span kinds.span, email public.citext)",
    )
    shop.target("DROP EXTENSION IF EXISTS citext")
    shop.sync()
    shop.source(
        "ALTER TYPE kinds.mood RENAME VALUE 'a' TO 'c'",
        "ALTER TYPE kinds.mood ADD VALUE 'bb' BEFORE 'b'",
        "ALTER TYPE kinds.mood ADD VALUE 'aa' BEFORE 'c'",
        "ALTER TYPE kinds.place RENAME ATTRIBUTE x TO y",
        "ALTER TYPE kinds.place ADD ATTRIBUTE z text",
        "ALTER TYPE kinds.span RENAME TO width",
        "CREATE SCHEMA moved",
        "ALTER DOMAIN kinds.name SET SCHEMA moved",
    )
    shop.sync()


def columns_that_change(shop: Shop) -> None:
    shop.open(CREATE, FILL)
    shop.sync(deletes="ignore")
    shop.source(
        "DELETE FROM shop.orders WHERE id = 1",
        "ALTER TABLE shop.orders ALTER email TYPE integer USING id, ALTER total TYPE smallint",
    )
    with pytest.raises(SyncError):
        shop.sync(deletes="ignore")
    shop.target("UPDATE shop.orders SET email = '1'")
    shop.sync(deletes="ignore")
    shop.open(CREATE.replace("text", "json"), "INSERT INTO shop.orders VALUES (1, 1, '1')")
    shop.sync(deletes="ignore")
    shop.source("ALTER TABLE shop.orders ALTER email TYPE text")
    shop.sync(deletes="ignore")


def keys_by_page(shop: Shop) -> None:
    shop.source("CREATE EXTENSION IF NOT EXISTS pg_walinspect SCHEMA public")
    part = "CREATE TABLE shop.{0} PARTITION OF shop.orders FOR VALUES FROM ({1}) TO ({2})"
    parts = (part.format("low", 0, 10), part.format("middle", 10, 20), part.format("high", 20, 99))
    for deletes in ("hard", "soft"):
        options = {"changed_blocks": "require", "deletes": deletes}
        shop.open(f"{CREATE} PARTITION BY RANGE (id)", *parts, FILL)
        shop.sync(**options)
        shop.sync(**options)
        shop.source("DELETE FROM shop.orders WHERE id = 11", "DROP TABLE shop.low")
        shop.sync(**options)
        shop.source("DELETE FROM shop.high")
        shop.sync(**options)


def keys_by_bucket(shop: Shop) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_buckets, "LEAST", 0)
        patch.setattr(key_buckets, "HASHING", 0.0)
        shop.open(CREATE, FILL.replace("40", "2000"), "ANALYZE shop.orders")
        shop.sync(changed_blocks="off")
        shop.source("DELETE FROM shop.orders WHERE id = 1")
        shop.sync(changed_blocks="off")


def pieces_of_a_large_table(shop: Shop) -> None:
    shop.open(CREATE, FILL, "ANALYZE shop.orders")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_pieces, "LEAST", 0)
        patch.setattr(copy_piece, "SMALLEST", 0)
        patch.setattr(leaves, "RING_SHARE", leaves.ANY_SIZE)
        shop.sync()


def rows_read_again(shop: Shop) -> None:
    shop.open(CREATE, FILL)
    shop.sync()
    shop.source(*CHANGE)
    shop.target("UPDATE shop.orders SET email = 'by hand' WHERE id = 3")
    shop.sync(rows="total < 20")


def rows_without_a_key(shop: Shop) -> None:
    shop.open(CREATE.replace("PRIMARY KEY", ""), FILL)
    for _ in range(2):
        shop.sync("full_sync")


def values_that_rows_take_over(shop: Shop) -> None:
    swap = "UPDATE shop.orders SET total = 5 - total WHERE total IN (2, 3)"
    shop.open(CREATE, FILL)
    shop.sync(deletes="soft")
    shop.target(UNIQUE)
    shop.source(swap)
    shop.sync(deletes="soft")
    shop.source("DELETE FROM shop.orders WHERE id = 7", "INSERT INTO shop.orders VALUES (201, 7)")
    shop.sync(deletes="ignore", where="id > 0")
    shop.target(*ACTS)
    shop.source(swap)
    shop.sync(deletes="ignore")
    shop.source("UPDATE shop.orders SET total = 999 WHERE id IN (10, 11)")
    with pytest.raises(SyncError):
        shop.sync(deletes="ignore")


def values_that_rows_of_a_view_take_over(shop: Shop) -> None:
    shop.open(
        CREATE.replace("orders", "lines"),
        "CREATE VIEW shop.orders AS SELECT * FROM shop.lines",
        FILL.replace("orders", "lines"),
    )
    shop.sync("full_sync", key=("id",))
    shop.target(UNIQUE)
    shop.source("UPDATE shop.orders SET total = 5 - total WHERE total IN (2, 3)")
    shop.sync("full_sync", key=("id",), min_deletes=0)


def tables_that_reference_each_other(shop: Shop) -> None:
    shop.open(CREATE, FILL, "CREATE TABLE shop.lines (id bigint PRIMARY KEY, part bigint)")
    names = (RelationName("shop", "lines"), RelationName("shop", "orders"))
    group = [Table(each, each) for each in names]
    shop.engine().sync_group(group)
    shop.target("ALTER TABLE shop.lines ADD FOREIGN KEY (part) REFERENCES shop.orders")
    shop.source("INSERT INTO shop.orders VALUES (101)", "INSERT INTO shop.lines VALUES (1, 101)")
    shop.engine().sync_group(group)
    shop.source("INSERT INTO shop.lines VALUES (2, 102)")
    with pytest.raises(SyncError):
        shop.engine().sync_group(group)
    with clerk(shop), pytest.raises(SyncError):
        shop.engine("role=golden_clerk").sync_group(group)


@contextlib.contextmanager
def clerk(shop: Shop) -> Iterator[None]:
    """A role that may write to the target's tables, which are not its own."""
    schemas = "SCHEMA shop, sync_assets"
    rights = (
        f"USAGE ON {schemas}",
        f"ALL ON ALL TABLES IN {schemas}",
        f"ALL ON ALL SEQUENCES IN {schemas}",
    )
    shop.target("CREATE ROLE golden_clerk", *(f"GRANT {each} TO golden_clerk" for each in rights))
    yield
    shop.target("DROP OWNED BY golden_clerk", "DROP ROLE golden_clerk")


def what_acts_on_the_target(shop: Shop) -> None:
    shop.open(CREATE, FILL)
    shop.sync()
    shop.target(f"{UNIQUE} DEFERRABLE", *ACTS)
    shop.source("INSERT INTO shop.orders VALUES (101)")
    shop.sync(deletes="ignore", where="id > 0")
    shop.source("INSERT INTO shop.orders VALUES (102)")
    shop.sync(deletes="ignore", where="id > 0")


def a_column_that_must_not_be_empty(shop: Shop) -> None:
    shop.open(CREATE, FILL)
    shop.sync()
    shop.target(
        "ALTER TABLE shop.orders ADD own text NOT NULL DEFAULT ''",
        "ALTER TABLE shop.orders ALTER own DROP DEFAULT",
    )
    shop.source(*CHANGE)
    with pytest.raises(SyncError):
        shop.sync()


def versions_of_rows(shop: Shop) -> None:
    part = "CREATE TABLE shop.all PARTITION OF shop.orders DEFAULT"
    shop.source("CREATE EXTENSION IF NOT EXISTS pg_walinspect SCHEMA public")
    shop.open(f"{CREATE} PARTITION BY RANGE (id)", part, FILL)
    options: dict[str, Any] = {"history": True, "changed_blocks": "require"}
    shop.sync()
    for _ in range(2):
        shop.sync(**options)
    shop.source(*CHANGE)
    shop.sync(**options)
    shop.source(
        "ALTER TABLE shop.orders RENAME email TO mail",
        "ALTER TABLE shop.orders ADD note text, ALTER total TYPE bigint",
    )
    shop.sync(**options)
    shop.source("ALTER TABLE shop.orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (id, total)")
    shop.sync(history=True, deletes="soft")


def partitions_of_many_sources(shop: Shop) -> None:
    shop.open(CREATE, FILL)
    part = PartitionOf(RelationName("shop", "all_orders"), "region", "eu")
    shop.sync(partition_of=part)
    shop.source(*CHANGE)
    shop.sync(partition_of=part)


STORIES = (
    a_first_load_and_a_later_run,
    a_filter_that_the_target_proves,
    types_of_the_source_s_own,
    columns_that_change,
    keys_by_page,
    keys_by_bucket,
    pieces_of_a_large_table,
    rows_read_again,
    rows_without_a_key,
    values_that_rows_take_over,
    values_that_rows_of_a_view_take_over,
    tables_that_reference_each_other,
    what_acts_on_the_target,
    a_column_that_must_not_be_empty,
    versions_of_rows,
    partitions_of_many_sources,
)


@pytest.mark.parametrize("versions", [("15", "15"), ("18", "18")], indirect=True, ids="-".join)
def test_what_runs_send_is_what_is_written_down(
    pair: Pair, versions: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    version, _ = versions
    monkeypatch.setattr(few_keys, "FEW", 0)
    with recorded(PACKAGES, BUILDERS) as sent:
        for story in STORIES:
            story(Shop(pair))
    found = {
        name.removeprefix(ENGINE): set(map(written, texts)) for name, texts in sent.texts.items()
    }
    if os.environ.get("SYNC_TEST_RENEW") == "1":
        renew(version, found)
    changes = list(differences(expected(version), found))
    assert not changes, "\n\n".join(changes)
    assert {each.removeprefix(ENGINE) for each in silent(sent)} == SILENT[version]


def test_all_sql_in_these_modules_is_written_down() -> None:
    golden = GOLDEN.read_text("utf-8") + GOLDEN.with_name("statements.sql").read_text("utf-8")
    shown = on_one_line(golden)
    templates = {
        argument.value
        for _, tree in modules(PACKAGES)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "SQL"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }
    assert len(templates) > 100
    pieces = {on_one_line(piece) for text in templates for piece in re.split(r"{\w*}", text)}
    assert [piece for piece in pieces if piece not in shown] == []


def differences(before: Mapping[str, set[str]], now: Mapping[str, set[str]]) -> Iterator[str]:
    """What is sent no more, and what is new, each with the function that sends it."""
    for name in sorted({*before, *now}):
        was, texts = before.get(name, set()), now.get(name, set())
        yield from (f"- {name}\n{text}" for text in sorted(was - texts))
        yield from (f"+ {name}\n{text}" for text in sorted(texts - was))


def written(text: str) -> str:
    """A text as the file has it."""
    for settings, name in SHORT.items():
        text = text.replace(settings, name)
    text = re.sub(r"(staging|keys_by_page)_[0-9a-f]{16}", r"\1_<digest>", text)
    text = re.sub(r"'[-\d]+T[:.\d]+\+00:00'", "<time>", text)
    text = re.sub(r'("source_xmin" >= )\d+', r"\1<xid>", text)
    return in_lines(re.sub(r"(leaf = |ARRAY\[)\d{5,}", r"\1<oid>", text))


Texts = dict[str, dict[str, set[str]]]
"""The texts by function, with the versions that each is sent on."""


def read() -> Texts:
    found: Texts = {}
    for section in re.split(r"^-- ", GOLDEN.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        (heading, *texts) = section.strip().split("\n\n")
        name, _, version = heading.partition(", only on ")
        versions = {version} if version else {"15", "18"}
        found.setdefault(name, {}).update({text: set(versions) for text in texts})
    return found


def expected(version: str) -> dict[str, set[str]]:
    return {
        name: {text for text, versions in texts.items() if version in versions}
        for name, texts in read().items()
    }


def renew(version: str, found: Mapping[str, set[str]]) -> None:
    texts = read() if GOLDEN.exists() else {}
    for name in {*texts, *found}:
        here = texts.setdefault(name, {})
        for text in {*here, *found.get(name, ())}:
            here.setdefault(text, set()).discard(version)
            here[text] |= {version} if text in found.get(name, ()) else set()
    sections = [
        "\n\n".join((f"-- {name}{f', only on {only}' if only else ''}", *sorted(chosen)))
        for name, each in sorted(texts.items())
        for only in ("", "15", "18")
        if (chosen := [t for t, on in each.items() if on == ({only} if only else {"15", "18"})])
    ]
    GOLDEN.write_text("\n\n\n".join(sections) + "\n", encoding="utf-8")
