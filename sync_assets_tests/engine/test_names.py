"""A mistyped name finds the one that was meant."""

from __future__ import annotations

import pytest

from sync_assets.cli import COMMANDS
from sync_assets.engine.names import nearest

TABLES = (
    "public.orders",
    "public.order_lines",
    "sales.customers",
    "sales.customer_addresses",
    "sales.invoices",
    "archive.invoices_2024",
    "Shop.Products",
    "app.user_sessions",
    "app.users",
    "상점.주문",
)
MISTYPED_COMMANDS = {
    "chekc": "check",
    "chek": "check",
    "cehck": "check",
    "plna": "plan",
    "pln": "plan",
    "plans": "plan",
    "runn": "run",
    "rnu": "run",
    "Run": "run",
    "aprove": "approve",
    "approves": "approve",
    "docter": "doctor",
    "refesh": "refresh",
    "stauts": "status",
    "satus": "status",
    "wy": "why",
    "forgt": "forget",
    "verfiy": "verify",
    "worker": "workers",
    "intit": "init",
}
MISTYPED_TABLES = {
    "ordres": "public.orders",
    "order": "public.orders",
    "ORDERS": "public.orders",
    "publc.orders": "public.orders",
    "public.order": "public.orders",
    "order_line": "public.order_lines",
    "orderlines": "public.order_lines",
    "custmers": "sales.customers",
    "sale.customers": "sales.customers",
    "sales.costumers": "sales.customers",
    "customer_adresses": "sales.customer_addresses",
    "sales.customer_address": "sales.customer_addresses",
    "sales.invioces": "sales.invoices",
    "archive.invoices_2042": "archive.invoices_2024",
    "invoices2024": "archive.invoices_2024",
    "shop.products": "Shop.Products",
    "prodcuts": "Shop.Products",
    "user_session": "app.user_sessions",
    "app.user": "app.users",
    "상점.주믄": "상점.주문",
}


@pytest.mark.parametrize(
    ("mistyped", "known"), [(MISTYPED_COMMANDS, tuple(COMMANDS)), (MISTYPED_TABLES, TABLES)]
)
def test_what_was_meant_is_found(mistyped: dict[str, str], known: tuple[str, ...]) -> None:
    assert {word: nearest(word, known) for word in mistyped} == mistyped


@pytest.mark.parametrize("word", ["", "zebra", "public.zebra", "주소"])
def test_what_is_like_nothing_finds_nothing(word: str) -> None:
    assert nearest(word, TABLES) is None
