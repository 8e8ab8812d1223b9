"""Tables of one group: one snapshot of the source, one transaction on the target, all or none."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest

from sync_assets.engine import Progress, Receipt, RelationName, SyncError, SyncMode, Table
from sync_assets.engine.errors import (
    ConcurrentRun,
    ConfigurationError,
    DeleteGuard,
    SchemaConflict,
)
from sync_assets.engine.table import Deletes
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

CREATE = (
    "CREATE TABLE customers (id integer PRIMARY KEY, email text UNIQUE)",
    "CREATE TABLE orders (id integer PRIMARY KEY, customer integer NOT NULL REFERENCES customers, total numeric)",
    "CREATE TABLE lines (id integer, orders integer REFERENCES orders, PRIMARY KEY (orders, id))",
)
FILL = (
    "INSERT INTO customers SELECT i, i || '@x' FROM generate_series(1, 50) i",
    "INSERT INTO orders SELECT i, 1 + i % 50, i FROM generate_series(1, 200) i",
    "INSERT INTO lines SELECT i % 3, 1 + i % 200 FROM generate_series(0, 599) i",
)
# Children first, so that nothing but the engine's own order makes it work.
NAMES = ("lines", "orders", "customers")
FOREIGN_KEYS = (
    "ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers",
    "ALTER TABLE lines ADD FOREIGN KEY (orders) REFERENCES orders",
)


def group(*names: str, deletes: Deletes = Deletes.HARD) -> list[Table]:
    relations = [RelationName("public", name) for name in names or NAMES]
    return [Table(each, each, SyncMode.XMIN_INCREMENTAL, deletes=deletes) for each in relations]


def sync(pair: Pair, *names: str) -> tuple[Receipt, ...]:
    return pair.engine().sync_group(group(*names))


def is_exact(pair: Pair) -> bool:
    return pair.is_exact(*(f"public.{name}" for name in NAMES))


@pytest.fixture
def related(pair: Pair) -> Pair:
    """A group that is synced, with foreign keys on both ends."""
    pair.source(*CREATE, *FILL)
    assert [receipt.rows_inserted for receipt in sync(pair)] == [600, 200, 50]
    pair.target(*FOREIGN_KEYS, "ALTER TABLE customers ADD UNIQUE (email)")
    return pair


def test_one_snapshot_serves_all_and_each_has_its_own_receipt(related: Pair) -> None:
    def meddle(progress: Progress) -> None:
        # After the snapshot, before the last table is read.
        if progress.phase == "export" and progress.table == "public.customers" and not seen:
            seen.append(progress)
            related.source(
                "INSERT INTO customers VALUES (900, 'late')",
                "INSERT INTO orders VALUES (900, 900, 1)",
            )

    seen: list[Progress] = []
    receipts = related.engine(on_progress=meddle).sync_group(group())
    assert len({receipt.watermark for receipt in receipts}) == 1
    assert [receipt.target for receipt in receipts] == [f"public.{name}" for name in NAMES]
    assert related.target("SELECT count(*) FROM orders WHERE id = 900") == [(0,)]
    sync(related)
    assert is_exact(related)


CHANGES = {
    "new rows at both ends": (
        "INSERT INTO customers VALUES (60, 'new')",
        "INSERT INTO orders VALUES (300, 60, 1)",
        "INSERT INTO lines VALUES (1, 300)",
    ),
    "deletes from the leaves up": (
        "DELETE FROM lines WHERE orders = 7",
        "DELETE FROM orders WHERE id = 7",
    ),
    "a child moves and its parent goes": (
        "INSERT INTO customers VALUES (61, 'heir')",
        "UPDATE orders SET customer = 61 WHERE customer = 3",
        "DELETE FROM customers WHERE id = 3",
    ),
    "a parent's key changes": (
        "INSERT INTO customers SELECT 70, 'moved'",
        "UPDATE orders SET customer = 70 WHERE customer = 4",
        "DELETE FROM customers WHERE id = 4",
        "INSERT INTO customers VALUES (71, '4@x')",
    ),
    "a unique value is taken over": (
        "UPDATE orders SET customer = 6 WHERE customer = 5",
        "DELETE FROM customers WHERE id = 5",
        "INSERT INTO customers VALUES (80, '5@x')",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("action", ["", "ON DELETE CASCADE", "ON DELETE RESTRICT"])
def test_foreign_keys_hold_and_the_group_ends_exact(
    related: Pair, change: str, action: str
) -> None:
    if action:
        related.target(
            "ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey",
            f"ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers {action}",
        )
    related.source(*CHANGES[change])
    sync(related)
    assert is_exact(related)
    deferrable = "SELECT count(*) FROM pg_constraint WHERE condeferrable"
    assert related.target(deferrable) == [(0,)]
    assert [receipt.rows_written for receipt in sync(related)] == [0, 0, 0]


def test_tables_that_reference_each_other_in_a_circle(pair: Pair) -> None:
    circle = (
        "CREATE TABLE a (id integer PRIMARY KEY, b integer)",
        "CREATE TABLE b (id integer PRIMARY KEY, a integer REFERENCES a)",
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE",
    )
    pair.source(
        *circle,
        "BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1); COMMIT",
    )
    sync(pair, "a", "b")
    pair.target(
        "ALTER TABLE b ADD FOREIGN KEY (a) REFERENCES a",
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b",
    )
    pair.source(
        "BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO a VALUES (2, 2); INSERT INTO b VALUES (2, 2);"
        "UPDATE a SET b = 2; UPDATE b SET a = 2; DELETE FROM b WHERE id = 1; DELETE FROM a WHERE id = 1; COMMIT"
    )
    sync(pair, "a", "b")
    assert pair.is_exact("public.a", "public.b")


@pytest.mark.parametrize("action", ["", "ON DELETE CASCADE"])
def test_a_table_that_references_itself(pair: Pair, action: str) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, above integer REFERENCES t)",
        "INSERT INTO t VALUES (1, NULL), (2, 1), (3, 2), (4, 3)",
    )
    pair.sync(deletes="hard")
    pair.target(f"ALTER TABLE t ADD FOREIGN KEY (above) REFERENCES t {action}")
    pair.source(
        "INSERT INTO t VALUES (0, 9), (9, NULL)",
        "UPDATE t SET above = 0 WHERE id = 3",
        "DELETE FROM t WHERE id = 2",
    )
    pair.sync(deletes="hard")
    assert pair.is_exact()


def test_a_role_that_does_not_own_the_targets_goes_by_their_order(related: Pair) -> None:
    tables = ", ".join(NAMES)
    related.target(
        "DROP ROLE IF EXISTS sync_writer",
        "CREATE ROLE sync_writer LOGIN",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO sync_writer",
        "GRANT USAGE ON SCHEMA sync_assets TO sync_writer",
        "GRANT ALL ON ALL TABLES IN SCHEMA sync_assets TO sync_writer",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA sync_assets TO sync_writer",
    )
    writer = Pair(related.source_url, related.target_url.replace("postgres@", "sync_writer@"))
    related.source(*CHANGES["a child moves and its parent goes"])
    try:
        sync(writer)
        assert is_exact(related)
    finally:
        related.target("DROP OWNED BY sync_writer", "DROP ROLE sync_writer")


@contextmanager
def reading(pair: Pair) -> Iterator[list[tuple[object, ...]]]:
    """Check foreign keys and counts on the target in a loop, in a session of its own."""
    broken: list[tuple[object, ...]] = []
    looks = [0]
    stop = threading.Event()
    check = """
      SELECT (SELECT count(*) FROM lines l LEFT JOIN orders o ON o.id = l.orders WHERE o.id IS NULL),
             (SELECT count(*) FROM orders o LEFT JOIN customers c ON c.id = o.customer WHERE c.id IS NULL),
             (SELECT count(*) FROM lines) - 3 * (SELECT count(*) FROM orders)
    """

    def look() -> None:
        with closing(psycopg2.connect(pair.target_url)) as session, session.cursor() as cursor:
            session.autocommit = True
            while not stop.is_set():
                cursor.execute(check)
                found = cursor.fetchone()
                looks[0] += 1
                if found != (0, 0, 0):
                    broken.append(found or ())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield broken
    finally:
        stop.set()
        thread.join()
    assert looks[0] > 20


def test_a_reader_never_sees_the_group_half_way(related: Pair) -> None:
    churn = (
        "BEGIN; INSERT INTO customers SELECT 1000 + {n}, 'n{n}';"
        "INSERT INTO orders SELECT 1000 + 10 * {n} + i, 1000 + {n}, i FROM generate_series(0, 9) i;"
        "INSERT INTO lines SELECT i, o.id FROM orders o, generate_series(0, 2) i WHERE o.customer = 1000 + {n};"
        "DELETE FROM lines WHERE orders IN (SELECT id FROM orders WHERE customer = {n});"
        "DELETE FROM orders WHERE customer = {n}; DELETE FROM customers WHERE id = {n};"
        "UPDATE customers SET email = email || 'x' WHERE id > {n}; COMMIT"
    )
    with reading(related) as broken:
        for number in range(1, 11):
            related.source(churn.format(n=number))
            sync(related)
    assert broken == []
    assert is_exact(related)


def test_the_control_single_syncs_are_seen_half_way(related: Pair) -> None:
    related.target(
        "ALTER TABLE lines DROP CONSTRAINT lines_orders_fkey",
        "ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey",
    )
    related.source(*CHANGES["new rows at both ends"])
    seen: list[tuple[object, ...]] = []
    for table in group():
        related.engine().sync(table)
        seen += related.target(
            "SELECT count(*) FROM lines l LEFT JOIN orders o ON o.id = l.orders WHERE o.id IS NULL"
        )
    assert (1,) in seen


def test_a_failure_of_one_publishes_none(related: Pair) -> None:
    related.source(*CHANGES["new rows at both ends"], "DELETE FROM lines WHERE orders <= 190")
    state = related.target("SELECT target_table, version FROM sync_assets.state ORDER BY 1")
    with pytest.raises(DeleteGuard):
        sync(related)
    assert related.target("SELECT target_table, version FROM sync_assets.state ORDER BY 1") == state
    assert related.target("SELECT count(*) FROM customers WHERE id = 60") == [(0,)]
    assert related.leftovers() == []


def test_a_foreign_key_that_the_source_breaks_is_named(related: Pair) -> None:
    related.source(
        "ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey",
        "INSERT INTO orders VALUES (400, 4000, 1)",
    )
    with pytest.raises(SchemaConflict, match="orders_customer_fkey") as failed:
        sync(related)
    assert "reference some that are not of public.customers" in failed.value.remedy
    assert related.target("SELECT count(*) FROM orders WHERE id = 400") == [(0,)]
    related.target(failed.value.remedy.partition("run on the target: ")[2].rstrip("."))
    sync(related)
    assert is_exact(related)


@pytest.mark.parametrize(
    ("change", "first", "deferred"),
    [
        ("new rows at both ends", "orders", ""),
        ("new rows at both ends", "orders", " DEFERRABLE INITIALLY DEFERRED"),
        ("rows go at both ends", "customers", ""),
    ],
)
def test_tables_that_reference_each_other_and_are_listed_singly_are_told_what_to_write(
    pair: Pair, change: str, first: str, deferred: str
) -> None:
    pair.source(*CREATE[:2], *FILL[:2])
    pair.target(
        CREATE[0],
        "CREATE TABLE orders (id integer PRIMARY KEY, customer integer NOT NULL, total numeric)"
        " PARTITION BY HASH (id)",
        "CREATE TABLE orders_0 PARTITION OF orders FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        f"{FOREIGN_KEYS[0]}{deferred}",
    )
    for name in ("customers", "orders"):
        pair.sync(f"public.{name}")
    if change == "new rows at both ends":
        pair.source("INSERT INTO customers VALUES (60)", "INSERT INTO orders VALUES (600, 60)")
    else:
        pair.source("DELETE FROM orders WHERE customer = 7", "DELETE FROM customers WHERE id = 7")
    with pytest.raises(SchemaConflict, match="foreign key") as failed:
        pair.sync(f"public.{first}", deletes="hard")
    told = failed.value.remedy
    assert told.startswith("public.orders references public.customers, and each is synced by")
    assert "snapshot_group: related" in told
    pair.engine().sync_group(group("orders", "customers"))
    assert pair.is_exact("public.customers", "public.orders")
    pair.target(told.partition("run on the target: ")[2].rstrip("."))


def test_a_table_that_another_run_works_on_keeps_the_group_waiting(related: Pair) -> None:
    refused: list[SyncError] = []

    def second(progress: Progress) -> None:
        if progress.phase == "merge" and not refused:
            with pytest.raises(ConcurrentRun, match=r"public\.orders") as caught:
                related.engine().sync_group(group("customers", "orders"))
            refused.append(caught.value)

    (table,) = group("orders")
    related.engine(on_progress=second).sync(table)
    assert len(refused) == 1
    assert related.leftovers() == []


@pytest.mark.parametrize("names", [("orders", "orders"), ()])
def test_a_group_names_different_tables(pair: Pair, names: tuple[str, ...]) -> None:
    tables = group(*names) if names else []
    with pytest.raises(ConfigurationError, match="a group has"):
        pair.engine().sync_group(tables)


def test_an_error_names_the_table_it_is_about(related: Pair) -> None:
    related.target("ALTER TABLE orders ADD CHECK (total < 1000)")
    related.source("INSERT INTO orders VALUES (500, 1, 1000)")
    with pytest.raises(SchemaConflict) as merging:
        sync(related)
    assert str(merging.value).startswith("public.orders (merge): ")
    related.source("CREATE VIEW odd AS SELECT id, 1 / (id - 7) AS v FROM orders")
    tables = [*group(), *group("odd", deletes=Deletes.IGNORE)]
    tables[-1] = dataclasses.replace(tables[-1], mode=SyncMode.FULL_SYNC, key=("id",))
    with pytest.raises(SchemaConflict, match="division by zero") as reading:
        related.engine().sync_group(tables)
    assert str(reading.value).startswith("public.odd (")
