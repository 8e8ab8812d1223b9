"""Views above the tables are made on the target once all that they read is there, and followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sync_assets.engine import Deletes, Receipt, RelationName, Table
from sync_assets.engine.inspection.idle import idle_among
from sync_assets.engine.table import Carry, Trust
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

SHOP = (
    "CREATE TABLE orders (id int PRIMARY KEY, customer int, amount numeric, noted text)",
    "CREATE TABLE customers (id int PRIMARY KEY, name text)",
    "INSERT INTO customers SELECT i, 'c' || i FROM generate_series(1, 10) i",
    "INSERT INTO orders SELECT i, 1 + i % 10, i, 'x' FROM generate_series(1, 100) i",
    "CREATE SCHEMA report",
    (
        "CREATE VIEW report.sums AS SELECT c.name, sum(o.amount) AS total, now() AS at FROM orders o"
        " JOIN customers c ON c.id = o.customer GROUP BY c.name"
    ),
    "CREATE VIEW report.names AS SELECT name FROM customers",
    # By name before the one that it reads.
    "CREATE VIEW public.best WITH (security_barrier) AS SELECT * FROM report.sums WHERE total > 500",
    'CREATE VIEW "Large" AS SELECT id, amount FROM orders WHERE amount > 50 WITH CHECK OPTION',
)
VIEWS = "SELECT oid::regclass::text, reloptions FROM pg_class WHERE relkind = 'v' AND oid > 16383 ORDER BY 1"
NAMES = ("orders", "customers")


def table(name: str, **options: Any) -> Table:
    relation = RelationName.parse(name)
    options = {"carry": tuple(Carry), "deletes": Deletes.HARD} | options
    return Table(relation, options.pop("target", relation), **options)


def sync(pair: Pair, names: Sequence[str] = NAMES, **options: Any) -> set[str]:
    """Sync tables as one group; return what was told."""
    receipts = pair.engine().sync_group([table(name, **options) for name in names])
    return {event for receipt in receipts for event in receipt.events if event.startswith("view")}


def rows(pair: Pair, view: str) -> bool:
    """Whether both ends' views say the same."""
    question = f"SELECT to_jsonb(v) - 'at' FROM {view} AS v ORDER BY 1"
    assert pair.target(question) == pair.source(question)
    return True


def test_views_are_made_each_after_those_that_it_reads(pair: Pair) -> None:
    pair.source(*SHOP)
    assert sync(pair) == {
        "view report.sums made",
        "view report.names made",
        "view public.best made",
        "view public.Large made",
    }
    assert pair.target(VIEWS) == pair.source(VIEWS)
    for view in ("report.sums", "best", '"Large"'):
        assert rows(pair, view)
    assert sync(pair) == set()


def test_each_table_by_itself_makes_a_view_once_all_that_it_reads_is_there(pair: Pair) -> None:
    pair.source(*SHOP)
    first = pair.sync("orders", carry="all", deletes="hard")
    missing = "view report.sums not carried: it reads public.customers, which is not synced"
    assert {"view public.Large made", missing} <= set(first.events)
    second = pair.sync("customers", carry="all", deletes="hard")
    assert {"view report.sums made", "view public.best made"} <= set(second.events)
    assert rows(pair, "best")
    known = [table("orders", deletes=Deletes.IGNORE), table("customers", deletes=Deletes.IGNORE)]
    assert len(idle_among(pair.source_url, pair.target_url, known)) == 2
    pair.source("CREATE VIEW more AS SELECT 1 FROM customers")
    assert set(idle_among(pair.source_url, pair.target_url, known)) == {known[0].target}


FOLLOWED = {
    "another definition": ['CREATE OR REPLACE VIEW "Large" AS SELECT id, amount FROM orders'],
    "other columns, below another view": [
        "DROP VIEW best",
        "DROP VIEW report.sums",
        "CREATE VIEW report.sums AS SELECT 'all'::text AS name, sum(amount)::int AS total FROM orders",
        "CREATE VIEW best AS SELECT * FROM report.sums WHERE total > 500",
    ],
    "another option": ["ALTER VIEW best RESET (security_barrier)"],
    "one less": ["DROP VIEW best"],
    "all gone": ["DROP VIEW report.sums CASCADE", 'DROP VIEW "Large", report.names'],
    "another name of a column": ["ALTER TABLE orders RENAME amount TO sum"],
    "a column less": [
        "DROP VIEW report.sums CASCADE",
        'DROP VIEW "Large"',
        "ALTER TABLE orders DROP amount",
    ],
    "another type": [
        'DROP VIEW "Large", best, report.sums',
        "ALTER TABLE orders ALTER amount TYPE text",
        SHOP[-1].replace("amount > 50", "amount > '50'"),
    ],
}


@pytest.mark.parametrize("statements", FOLLOWED.values(), ids=FOLLOWED)
def test_what_changes_on_the_source_is_followed(pair: Pair, statements: list[str]) -> None:
    pair.source(*SHOP)
    sync(pair)
    pair.source(*statements, "UPDATE orders SET noted = 'y' WHERE id = 7")
    sync(pair)
    assert pair.target(VIEWS) == pair.source(VIEWS)
    for view, _ in pair.source(VIEWS):
        assert rows(pair, view)
    assert pair.is_exact("public.orders", "public.customers")
    assert sync(pair) == set()


OUR_OWN = "CREATE FUNCTION public.mine(int) RETURNS int LANGUAGE sql AS 'SELECT $1'"
CALLS = "CREATE VIEW v AS SELECT public.mine(id) AS id FROM orders"
REFUSED: dict[str, tuple[Sequence[str], dict[str, Any], str]] = {
    "code of the source's own": (
        [OUR_OWN, CALLS],
        {},
        "it calls public.mine(integer), which is code of the source's own",
    ),
    "code that the target lacks": (
        [OUR_OWN, CALLS],
        {"trust": Trust.SOURCE},
        "it calls public.mine(integer), which the target lacks",
    ),
    "what acts when it is read": (
        ["CREATE VIEW v AS SELECT lo_unlink(id::oid) FROM orders"],
        {},
        "lo_unlink() may say something else the next time",
    ),
    "a table that is not synced": (
        [
            "CREATE TABLE other (id int)",
            "CREATE VIEW v AS SELECT id FROM orders JOIN other USING (id)",
        ],
        {},
        "it reads public.other, which is not synced",
    ),
    "rows that nothing would renew": (
        ["CREATE MATERIALIZED VIEW v AS SELECT id FROM orders"],
        {},
        "it is materialized, and no run would refresh it",
    ),
    "a column that does not travel": (
        ["CREATE VIEW v AS SELECT noted FROM orders"],
        {"exclude": ("noted",)},
        "the column noted of public.orders does not travel",
    ),
    "what the target's role may see": (
        ["CREATE VIEW v AS SELECT o.id, (SELECT max(rolpassword) FROM pg_authid) FROM orders o"],
        {},
        "it reads pg_authid, a catalog of the server's",
    ),
    "whole rows": (
        ["CREATE VIEW v AS SELECT to_jsonb(o) AS o FROM orders o"],
        {},
        "it takes whole rows of public.orders, which have other columns on the target",
    ),
    "a row's type": (
        ["CREATE VIEW v AS SELECT id, NULL::orders AS none FROM orders"],
        {},
        "it takes whole rows of public.orders, which have other columns on the target",
    ),
    "columns of a join by their places": (
        [
            (
                'CREATE VIEW v AS SELECT e FROM (orders AS "(o \\" CROSS JOIN orders AS p)'
                ' AS "j (," ("a)", b, c, d, e)'
            )
        ],
        {},
        "it names the columns of a join by their places, which are others on the target",
    ),
    "a table without its partitions": (
        ["CREATE VIEW v AS SELECT id FROM ONLY orders"],
        {},
        "it reads ONLY public.orders, which may have partitions on one end alone",
    ),
    "a table of another name": (
        ["CREATE VIEW v AS SELECT noted FROM orders"],
        {"target": RelationName("public", "replica")},
        "it reads public.orders, which is public.replica on the target",
    ),
}


@pytest.mark.parametrize(("statements", "options", "why"), REFUSED.values(), ids=REFUSED)
def test_a_view_that_cannot_be_carried_is_told_once_with_its_reason(
    pair: Pair, statements: Sequence[str], options: dict[str, Any], why: str
) -> None:
    pair.source(SHOP[0], *statements)
    told = f"view public.v not carried: {why}"
    assert f"-- {told}" in pair.engine().plan(table("orders", **options)).ddl
    assert sync(pair, ["orders"], **options) == {told}
    pair.source("INSERT INTO orders VALUES (1, 1, 1, 'new')")
    assert sync(pair, ["orders"], **options) == set()


BY_PLACE = "CREATE VIEW v AS SELECT x.c FROM orders AS x (a, b, c, d)"


def test_a_view_finds_columns_by_their_places_while_these_are_the_same(pair: Pair) -> None:
    pair.source(*SHOP[:1], BY_PLACE, SHOP[3])
    assert sync(pair, ["orders"]) == {"view public.v made"}
    assert rows(pair, "v")
    pair.source(
        "DROP VIEW v",
        "ALTER TABLE orders DROP amount",
        "ALTER TABLE orders ADD amount numeric",
        "UPDATE orders SET amount = 2 * id",
        BY_PLACE.replace("x.c", "x.d"),
    )
    moved = "it names columns of public.orders by their places, which are others on the target"
    assert sync(pair, ["orders"]) == {
        "view public.v dropped",
        f"view public.v not carried: {moved}",
    }
    pair.target("DROP TABLE orders")
    assert sync(pair, ["orders"]) == {"view public.v made"}
    assert rows(pair, "v")


def test_code_of_a_source_that_is_trusted_runs_if_the_target_has_it(pair: Pair) -> None:
    volatile = OUR_OWN.replace("LANGUAGE", "IMMUTABLE LANGUAGE")
    pair.source(
        *SHOP,
        volatile,
        CALLS,
        "CREATE INDEX mine ON orders (public.mine(id))",
        "ALTER TABLE orders ADD CHECK (public.mine(id) > 0), ADD CHECK (id < extract(epoch FROM now())),"
        " ALTER id SET DEFAULT public.mine(7)",
    )
    pair.target(volatile)
    trusted = {"trust": Trust.SOURCE}
    planned = pair.engine().plan(table("orders", **trusted)).ddl
    assert any("public.mine(" in line and "CREATE VIEW" in line for line in planned)
    receipts = pair.engine().sync_group([table(name, **trusted) for name in NAMES])
    assert not [event for receipt in receipts for event in receipt.events if "not carried" in event]
    assert rows(pair, "v")
    definitions = "SELECT indexdef FROM pg_indexes WHERE indexname = 'mine'"
    assert pair.target(definitions) == pair.source(definitions)


def test_what_somebody_built_on_a_view_or_under_its_name_stays(pair: Pair) -> None:
    pair.source(*SHOP)
    pair.target('CREATE VIEW "Large" AS SELECT 1 AS own')
    theirs = 'the target said: relation "Large" already exists'
    assert f"view public.Large not carried: {theirs}" in sync(pair)
    pair.target("CREATE VIEW own AS SELECT * FROM report.sums")
    pair.source(
        "CREATE OR REPLACE VIEW report.sums AS SELECT 'all'::text AS name, 1::numeric AS total,"
        " now() AS at FROM orders"
    )
    told = sync(pair)
    assert "view report.sums not carried: the target said: cannot drop view report.sums" in str(
        told
    )
    assert "view public.best made" in told
    assert sync(pair) == set()
    assert pair.target('SELECT * FROM "Large"') == [(1,)]
    assert len(pair.target("SELECT * FROM own")) == 10
    # Once nothing is in the way, the next full pass makes it.
    pair.source("DROP VIEW best")
    assert sync(pair) == {"view public.best dropped"}
    pair.target("DROP VIEW own")
    assert "view report.sums made" in sync(pair, full_refresh=True)
    assert rows(pair, "report.sums")


CHANGED_THERE = {
    "another definition": "CREATE OR REPLACE VIEW report.names AS SELECT name FROM customers LIMIT 1",
    "gone": "DROP VIEW report.names",
    "another option": "ALTER VIEW report.names SET (security_barrier)",
    "another name of a column below": "ALTER TABLE customers RENAME name TO kept",
}


@pytest.mark.parametrize("statement", CHANGED_THERE.values(), ids=CHANGED_THERE)
def test_a_view_that_a_hand_changed_on_the_target_is_made_again(pair: Pair, statement: str) -> None:
    pair.source(*SHOP)
    sync(pair)
    pair.target(statement)
    assert "view report.names made" in sync(pair)
    assert pair.target(VIEWS) == pair.source(VIEWS)
    assert rows(pair, "report.names")
    assert sync(pair) == set()


def test_a_plan_shows_the_statements(pair: Pair) -> None:
    pair.source(*SHOP)
    pair.sync("customers")
    planned = pair.engine().plan(table("orders", carry=(Carry.VIEWS,))).ddl
    made = [line.partition(" AS")[0] for line in planned if line.startswith("CREATE VIEW")]
    assert made == [
        'CREATE VIEW "public"."Large" WITH (check_option=cascaded)',
        'CREATE VIEW "report"."sums"',
        'CREATE VIEW "public"."best" WITH (security_barrier=true)',
    ]
    pair.target("CREATE SCHEMA IF NOT EXISTS report")
    pair.sync("orders")
    pair.target(*(line for line in planned if "VIEW" in line))
    others = [view for view in pair.source(VIEWS) if view[0] != "report.names"]
    assert pair.target(VIEWS) == others
    outcomes = pair.engine().sync_each([table(name) for name in NAMES])
    assert all(isinstance(each, Receipt) for each in outcomes)
