"""Masked columns: equal values stay equal, the rest of a sync is as without them, and no key shows."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import re
from typing import Any

import pytest

from sync_assets.engine import Deletes, RelationName, SyncMode, Table
from sync_assets.engine.computed.masks import KEY_VARIABLE, Mask
from sync_assets.engine.errors import ConfigurationError, DeleteGuard, SchemaConflict
from sync_assets.engine.inspection.why import why
from sync_assets.engine.limits import Limits
from sync_assets.engine.plan import chunks, key_buckets
from sync_assets.engine.run.first_load import by_pieces
from sync_assets.engine.verify.sample import sample_rows
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

KEY = "correct horse battery staple"
OTHER_KEY = "another horse battery staple"
CREATE = "CREATE TABLE t (id integer PRIMARY KEY, email varchar(80), name char(10), card text, n numeric)"
FILL = (
    "INSERT INTO t VALUES (1, 'a@example.org', 'Ada', '4111111111111111', 1.50),"
    " (2, 'b@example.org', 'Bob', '411', 2), (3, NULL, NULL, NULL, NULL), (4, '한글 é', '', '', 0)"
)
MASKED: dict[str, Any] = {
    "mask": {"email": "hmac", "name": "redact", "card": {"keep_last": 4}, "n": "hmac"}
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


def hashed(text: str, key: str = KEY) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def table(**options: Any) -> Table:
    masks = tuple((name, Mask.parse(mask)) for name, mask in options.pop("mask").items())
    return Table(RelationName("public", "t"), RelationName("public", "t"), mask=masks, **options)


def test_each_mask_is_what_it_says_and_null_stays_null(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync(**MASKED)
    assert pair.target("SELECT email, name, card, n FROM t ORDER BY id") == [
        (hashed("a@example.org"), "redacted", "************1111", hashed("1.50")),
        (hashed("b@example.org"), "redacted", "***", hashed("2")),
        (None, None, None, None),
        (hashed("한글 é"), "redacted", "", hashed("0")),
    ]


@pytest.mark.parametrize("key", ["k" * 16, "k" * 64, "k" * 65, "ключ ключ ключ'\\\""])
def test_hmac_is_that_of_rfc_2104_for_keys_of_any_length(pair: Pair, key: str) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'x')")
    pair.sync(mask={"v": "hmac"}, mask_key=key)
    assert pair.target("SELECT v FROM t") == [(hashed("x", key),)]


EQUAL = {
    "42": ["smallint", "bigint", "numeric", "text", "varchar(9)", "char(9)"],
    "2026-01-02 03:04:05": ["timestamp", "timestamp(0)"],
    "2026-01-02 03:04:05+00": ["timestamptz"],
    "2026-01-02": ["date"],
    "\\x00ff": ["bytea"],
    "true": ["boolean", "text"],
    "{a,NULL}": ["text[]"],
    "3 days 04:05:06": ["interval"],
}


@pytest.mark.parametrize("text", EQUAL)
def test_equal_values_are_equal_whatever_their_type_and_the_role_s_settings(
    pair: Pair, text: str
) -> None:
    ((database,),) = pair.source("SELECT current_database()")
    for setting in ("DateStyle = 'German'", "TimeZone = 'Asia/Seoul'", "bytea_output = 'escape'"):
        pair.source(f"ALTER DATABASE {database} SET {setting}")
    pair.source(f"ALTER DATABASE {database} SET IntervalStyle = 'iso_8601'")
    columns = [f"v{number} {type_}" for number, type_ in enumerate(EQUAL[text])]
    values = ", ".join([f"'{text}'"] * len(columns))
    pair.source(
        f"CREATE TABLE t (id int PRIMARY KEY, {', '.join(columns)})",
        "SET DateStyle = 'ISO'",
        f"INSERT INTO t VALUES (1, {values})",
    )
    pair.sync(mask={column.split()[0]: "hmac" for column in columns})
    names = ", ".join(column.split()[0] for column in columns)
    assert pair.target(f"SELECT {names} FROM t") == [(hashed(text),) * len(columns)]


def test_changes_of_a_masked_column_arrive_and_verify_sees_what_was_meddled_with(
    pair: Pair,
) -> None:
    pair.source(CREATE, FILL)
    pair.sync(**MASKED)
    pair.source("UPDATE t SET email = 'new@example.org' WHERE id = 1", "INSERT INTO t VALUES (9)")
    receipt = pair.sync(**MASKED)
    assert (receipt.rows_updated, receipt.rows_inserted, receipt.full) == (1, 1, False)
    assert pair.target("SELECT email FROM t WHERE id = 1") == [(hashed("new@example.org"),)]
    masks = table(**MASKED)
    assert pair.engine().verify(masks).equal
    pair.target("UPDATE t SET card = 'meddled' WHERE id = 2")
    seen = pair.engine().verify(masks, sync=False)
    assert [each.key for each in seen.examples] == [{"id": "2"}]
    assert pair.engine().verify(masks, sync=False, repair=True).equal


MASKED_KEY: dict[str, Any] = {"mask": {"email": "hmac"}, "deletes": "hard"}
KEYED = "CREATE TABLE t (email text, region int, n int, PRIMARY KEY (email, region))"
KEYS = "INSERT INTO t SELECT 'u' || i, i % 2, i FROM generate_series(1, 500) i"


def test_rows_are_found_by_a_masked_key(pair: Pair) -> None:
    pair.source(KEYED, KEYS)
    pair.sync(**MASKED_KEY)
    pair.source(
        "DELETE FROM t WHERE n = 1",
        "UPDATE t SET n = -2 WHERE n = 2",
        "INSERT INTO t VALUES ('x', 0, 0)",
    )
    receipt = pair.sync(**MASKED_KEY)
    counts = (receipt.rows_deleted, receipt.rows_updated, receipt.rows_inserted, receipt.full)
    assert counts == (1, 1, 1, False)
    keyed = table(mask={"email": "hmac"}, deletes=Deletes.HARD)
    assert pair.engine().verify(keyed).equal
    sampled = sample_rows(pair.source_url, pair.target_url, keyed, 1.0)
    assert sampled is not None
    assert (sampled.rows, sampled.differing, sampled.missing) == (500, 0, 0)
    found = why(pair.source_url, pair.target_url, keyed, [hashed("u2"), "0"])
    assert (found.on_source, found.on_target, found.equal) == (True, True, True)
    pair.target("DELETE FROM t WHERE n = -2", "UPDATE t SET n = 77 WHERE n = 3")
    assert pair.engine().verify(keyed, sync=False, repair=True).rows_left == 0
    assert pair.engine().verify(keyed, sync=False).equal


def test_masked_keys_are_compared_by_buckets_too(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_buckets, "LEAST", 0)
    monkeypatch.setattr(key_buckets, "HASHING", 0.0)
    pair.source(KEYED, KEYS, "ANALYZE t")
    pair.sync(**MASKED_KEY)
    pair.source("DELETE FROM t WHERE n = 1", "UPDATE t SET n = -2 WHERE n = 2")
    receipt = pair.sync(**MASKED_KEY, changed_blocks="off")
    assert (receipt.rows_deleted, receipt.rows_updated) == (1, 1)
    assert receipt.reason.endswith("; keys of 1 of 16 buckets")


def test_a_row_in_the_way_is_looked_for_by_its_masked_key(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT INTO t VALUES (1, 1), (2, 2)")
    pair.sync(mask={"id": "hmac"})
    pair.target("CREATE UNIQUE INDEX ON t (n)")
    pair.source("DELETE FROM t WHERE id = 1", "INSERT INTO t VALUES (3, 1)")
    assert pair.sync(mask={"id": "hmac"}).rows_deleted == 1
    assert pair.target("SELECT id, n FROM t ORDER BY n") == [(hashed("3"), 1), (hashed("2"), 2)]
    pair.source("INSERT INTO t VALUES (4, 2)")
    with pytest.raises(SchemaConflict, match="the source still has"):
        pair.sync(mask={"id": "hmac"})


def test_a_masked_key_is_compared_as_text_whatever_its_own_operators(pair: Pair) -> None:
    pair.source(
        "CREATE SCHEMA ext",
        "CREATE EXTENSION citext SCHEMA ext",
        "CREATE TABLE t (name ext.citext PRIMARY KEY, n int)",
        "INSERT INTO t VALUES ('A', 1), ('B', 2)",
    )
    masks: dict[str, Any] = {"mask": {"name": "hmac"}, "deletes": "hard"}
    pair.sync(**masks)
    pair.source("UPDATE t SET n = 3 WHERE name = 'A'", "DELETE FROM t WHERE name = 'B'")
    assert pair.sync(**masks).rows_deleted == 1
    keyed = table(mask={"name": "hmac"})
    assert why(pair.source_url, pair.target_url, keyed, [hashed("A")]).equal
    assert pair.engine().verify(keyed, sync=False).equal


def test_what_a_mask_makes_alike_is_no_key(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id int PRIMARY KEY, email text NOT NULL UNIQUE)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    )
    pair.target("CREATE TABLE t (id int, email text NOT NULL UNIQUE)")
    with pytest.raises(SchemaConflict, match=re.escape("no unique index on its key (id)")):
        pair.sync(mask={"email": "redact"})


@pytest.mark.parametrize("deletes", ["soft", "hard"])
def test_masked_keys_of_another_table_join(pair: Pair, deletes: str) -> None:
    pair.source(
        "CREATE TABLE t (id bigint PRIMARY KEY)",
        "CREATE TABLE orders (number int PRIMARY KEY, customer int)",
        "INSERT INTO t SELECT generate_series(1, 20)",
        "INSERT INTO orders SELECT i, i % 20 + 1 FROM generate_series(1, 100) i",
    )
    pair.sync(mask={"id": "hmac"}, deletes=deletes)
    pair.sync("public.orders", mask={"customer": "hmac"}, deletes=deletes)
    joined = "SELECT count(*), count(DISTINCT t.id) FROM orders JOIN t ON t.id = customer"
    assert pair.target(joined) == [(100, 20)]
    pair.source("DELETE FROM t WHERE id = 7")
    assert pair.sync(mask={"id": "hmac"}, deletes=deletes).rows_deleted == 1


def test_another_key_or_mask_makes_every_row_anew(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.source(CREATE, FILL)
    pair.sync(**MASKED)
    monkeypatch.setenv(KEY_VARIABLE, OTHER_KEY)
    receipt = pair.sync(**MASKED)
    assert "the configuration of the table" in receipt.reason
    assert (receipt.full, receipt.rows_updated) == (True, 3)
    assert pair.target("SELECT email FROM t WHERE id = 1") == [
        (hashed("a@example.org", OTHER_KEY),)
    ]
    receipt = pair.sync(mask=MASKED["mask"] | {"card": {"keep_last": 2}})
    assert (receipt.full, receipt.rows_updated) == (True, 2)
    assert not pair.sync(mask=MASKED["mask"] | {"card": {"keep_last": 2}}).full


def test_another_key_for_a_masked_key_leaves_no_row_twice(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.source(KEYED, KEYS)
    pair.sync(mask={"email": "hmac"})
    monkeypatch.setenv(KEY_VARIABLE, OTHER_KEY)
    with pytest.raises(SchemaConflict, match="masked otherwise than at the last run") as refused:
        pair.sync(mask={"email": "hmac"})
    with pytest.raises(DeleteGuard):
        pair.sync(**MASKED_KEY)
    receipt = pair.sync(**MASKED_KEY, confirm_deletes=500)
    assert (receipt.rows_deleted, receipt.rows_inserted, receipt.rows_in_target) == (500, 500, 500)
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    pair.target(refused.value.remedy.partition("anew: ")[2].partition(";")[0])
    assert pair.sync(mask={"email": "hmac"}).rows_in_target == 500


def test_a_column_that_is_masked_later_holds_no_plain_value_any_more(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    receipt = pair.sync(**MASKED)
    assert receipt.full
    assert pair.target("SELECT count(*) FROM t WHERE email LIKE '%@%' OR card LIKE '4%'") == [(0,)]
    assert pair.target("SELECT n FROM t WHERE id = 2") == [(hashed("2"),)]


def test_a_target_of_another_type_is_refused_with_the_statement_that_mends_it(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.target("CREATE TABLE t (id int PRIMARY KEY, n numeric)")
    with pytest.raises(SchemaConflict, match="text on the source and numeric on the target"):
        pair.sync(columns=["id", "n"], mask={"n": "hmac"})


@pytest.mark.parametrize("mode", [SyncMode.FULL_SYNC, SyncMode.INCREMENTAL_SYNC])
def test_masks_hold_in_every_mode_and_with_a_filter(pair: Pair, mode: SyncMode) -> None:
    pair.source(CREATE, FILL)
    cursor = {"cursor": "id"} if mode is SyncMode.INCREMENTAL_SYNC else {}
    scoped = table(mode=mode, where="n < 2", deletes=Deletes.HARD, **MASKED, **cursor)
    for change in (
        "SELECT 1",
        "UPDATE t SET n = 1 WHERE id = 2",
        "UPDATE t SET n = 5 WHERE id = 1",
    ):
        pair.source(change)
        pair.engine().sync(scoped)
    assert pair.target("SELECT n FROM t ORDER BY id") == [(hashed("1"),), (hashed("0"),)]
    assert pair.engine().verify(scoped, sync=False).equal


def test_a_first_load_by_pieces_masks_its_rows_too(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_pieces, "LEAST", 2)
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, repeat('x', 100) || i FROM generate_series(1, 60000) i",
        "ANALYZE t",
    )
    masks = table(mask={"v": "hmac", "id": "hmac"})
    receipt = pair.engine(limits=Limits(piece_mb=1)).sync(masks)
    assert "pieces" in receipt.reason
    assert pair.target("SELECT count(*) FROM t WHERE v ~ '^[0-9a-f]{64}$'") == [(60000,)]
    assert pair.engine(workers=4).verify(masks, sync=False).equal
    monkeypatch.setattr(chunks, "SMALL_CHUNK", 64)
    monkeypatch.setattr(chunks, "WORTH_A_WORKER", 1)
    again = pair.engine(workers=4).sync(dataclasses.replace(masks, full_refresh=True))
    assert again.workers > 1
    assert again.rows_unchanged == 60000


REFUSED = {
    "an expression too": ({"expressions": {"email": "md5(email)"}}, "masked and has an expression"),
    "excluded": ({"exclude": "email"}, "masked and is left out by exclude"),
    "not chosen": ({"columns": ["id"]}, "masked and is not among columns"),
    "the cursor": ({"mask": {"id": "hmac"}}, "the cursor"),
    "unknown": ({"mask": {"emial": "redact"}}, "mask names 'emial', which public.t does not have"),
    "a key made alike": ({"mask": {"id": "redact"}}, "would make rows alike"),
    "a type of labels": ({"mask": {"mood": "hmac"}}, "the text of whose values may change"),
    "a name of objects": ({"mask": {"part": "hmac"}}, "the text of whose values may change"),
    "a short key": ({"mask_key": "123456789012345"}, "15 characters, at least 16"),
    "no key": ({"mask_key": ""}, "'email' of public.t needs a key, and SYNC_MASK_KEY is not set"),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_masked_is_refused_before_anything_is_written(
    pair: Pair, options: dict[str, Any], said: str
) -> None:
    pair.source(
        "CREATE TYPE mood AS ENUM ('sad')",
        "CREATE TABLE t (id integer PRIMARY KEY, email text, mood mood[], part regclass)",
        "INSERT INTO t VALUES (1, 'a')",
    )
    mode = "incremental_sync" if said == "the cursor" else "xmin_incremental"
    cursor = {"cursor": "id"} if said == "the cursor" else {}
    with pytest.raises(ConfigurationError, match=said):
        pair.engine().copy_table_data(
            "t", "t", mode, **{"mask": {"email": "hmac"}, **cursor, **options}
        )
    assert pair.target("SELECT to_regclass('t'), to_regnamespace('sync_assets')") == [(None, None)]


def test_types_of_users_own_are_masked_where_their_text_lasts(pair: Pair) -> None:
    pair.source(
        "CREATE EXTENSION citext",
        "CREATE TYPE mood AS ENUM ('sad')",
        "CREATE DOMAIN address AS citext",
        "CREATE TABLE t (id int PRIMARY KEY, a address, m mood)",
        "INSERT INTO t VALUES (1, 'A@b', 'sad')",
    )
    pair.sync(mask={"a": "hmac", "m": "redact"})
    assert pair.target("SELECT a, m FROM t") == [(hashed("A@b"), "redacted")]
    assert pair.target("SELECT to_regtype('mood'), to_regtype('citext')") == [(None, None)]


def test_neither_a_plan_nor_a_receipt_nor_the_state_has_the_key(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    masks = table(mask_key=OTHER_KEY, **MASKED)
    planned = pair.engine().plan(masks)
    receipt = pair.engine().sync(masks)
    kept = [
        str(pair.target(f"SELECT t::text FROM sync_assets.{name} AS t"))
        for (name,) in pair.target(
            "SELECT relname FROM pg_class WHERE relnamespace = 'sync_assets'::regnamespace"
            " AND relkind = 'r'"
        )
    ]
    assert any("sync_assets.mask_" in text for text in kept)
    shown = [repr(masks), repr(planned), json.dumps(receipt.as_dict(), default=str), *kept]
    for secret in secrets(OTHER_KEY):
        assert [text for text in shown if secret in text.lower()] == []


def secrets(key: str) -> list[str]:
    """The key, and what it is handed over as, from which it could be had."""
    return [key, key.encode().hex(), bytes(byte ^ 0x36 for byte in key.encode()).hex()]
