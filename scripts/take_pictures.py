"""Take pictures for the documentation: `python scripts/take_pictures.py [URL]`.

With the URL of the demo's UI it keeps what a person sees in a headless Chromium: the lineage. Without
one it takes those of thirty tables, of which it syncs some, on a server and in a UI of its own. The
browser test takes the others:
SYNC_TEST_PICTURES=$PWD/docs/pictures pytest sync_assets_tests/live -k browser
"""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from sync_assets.private_server.instance import child_environment  # noqa: E402 (see above)
from sync_assets.private_server.processes import free_port, leashed  # noqa: E402
from sync_assets_tests.fixtures.browser import Browser, opened_browser  # noqa: E402
from sync_assets_tests.fixtures.pair import eventually, execute  # noqa: E402
from sync_assets_tests.fixtures.servers import running_server  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
OPENED = "global%40global%3Alistings,global%40global%3Asource_sym_v1"
NAMES = """
carriers customers invoices order_lines orders payments prices products refunds returns shipments
stock suppliers vouchers warehouses
"""
TABLE = """
CREATE TABLE {schema}.{name} (id bigint PRIMARY KEY, tenant int NOT NULL, note varchar(40),
  amount numeric(12,2), created_at timestamptz NOT NULL DEFAULT now());
COMMENT ON TABLE {schema}.{name} IS 'All {name} of the {schema} department';
COMMENT ON COLUMN {schema}.{name}.amount IS 'In euro, taxes included';
COMMENT ON COLUMN {schema}.{name}.tenant IS 'Who of us it belongs to';
"""
DEFS = """\
type: sync_assets.TableSync
attributes:
  translation: {group_name: "{{ target.schema }}"}
  tables:
    - source: "sales.*"
    - source: "archive.*"
    - source: sales.orders
      carry: all
      deletes: hard
    - source: sales.prices
      history: true
      deletes: hard
    - source: sales.customers
      mask: {note: {keep_last: 4}}
"""
FILLED = "INSERT INTO sales.{} SELECT i, i % 9, 'note ' || i, i FROM generate_series(1, 4000) i"
CHANGED = (
    "UPDATE sales.prices SET amount = 0 WHERE id <= 30",
    "DELETE FROM sales.prices WHERE id > 3990",
)
BESIDE_ROWS = (
    "CREATE INDEX orders_by_day ON sales.orders (tenant, created_at)",
    "CREATE INDEX orders_noted ON sales.orders (note) WHERE note IS NOT NULL",
    "ALTER TABLE sales.orders ADD CONSTRAINT orders_amount CHECK (amount >= 0)",
    "CREATE FUNCTION sales.rank(text) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT length($1)'",
    "CREATE INDEX orders_ranked ON sales.orders (sales.rank(note))",
    *(FILLED.format(name) for name in ("orders", "prices", "customers")),
)
"""What the asset's page tells of a table that carries all it has."""
KOREAN = """\
type: sync_assets.TableSync
attributes:
  tables:
    - source: 영업.주문
      deletes: hard
"""
KOREAN_TABLE = (
    "CREATE SCHEMA 영업",
    "CREATE TABLE 영업.주문 (번호 bigint PRIMARY KEY, 고객번호 int NOT NULL, 비고 text, 금액 numeric(12,0))",
    "COMMENT ON TABLE 영업.주문 IS '온라인 상점의 모든 주문'",
    "COMMENT ON COLUMN 영업.주문.고객번호 IS '주문한 고객'",
    "COMMENT ON COLUMN 영업.주문.금액 IS '원 단위, 부가세 포함'",
    "INSERT INTO 영업.주문 SELECT i, i % 9, '주문 ' || i, i FROM generate_series(1, 4000) i",
)
MANY_SOURCES = """\
type: sync_assets.TableSync
attributes:
  group: analytics
  defaults:
    partition_of: {table: "analytics.{table}", column: region, value: "{schema}"}
  tables:
    - source: "*.orders"
"""
GROUPS = ",".join(
    f"global%40global%3A{group}" for group in ("analytics", "source_apac", "source_eu", "source_us")
)
ROWS = """\
ops:
  target__sales__orders:
    config:
      rows: "created_at >= '2026-01-01'"
"""
TYPE = """
const editor = document.querySelector('.CodeMirror').CodeMirror;
editor.setValue(arguments[0]);
editor.setCursor(3, 12);
editor.focus();
"""


MOVED = (
    (400, 60),
    (900, 200),
    (150, 20),
    (2500, 500),
    (300, 80),
    (700, 120),
    (60, 10),
    (1200, 300),
)
"""Rows that are changed and added before each sync that a chart shows."""
MOVING = (
    "UPDATE sales.orders SET amount = amount + 1 WHERE id % 4000 < {changed}",
    "DELETE FROM sales.orders WHERE id <= (SELECT min(id) FROM sales.orders) + {added} / 4",
    "INSERT INTO sales.orders SELECT (SELECT max(id) FROM sales.orders) + generate_series(1, {added}), 1",
)


def of_the_demo(url: str) -> None:
    """What was synced."""
    with opened_browser(url, PICTURES) as browser:
        browser.open(f"asset-groups?expanded={OPENED}", "sym_company", height=1200)
        browser.gone("Loading")
        browser.keep("lineage")


def of_thirty_tables() -> None:
    """What there is to see before the first sync, and after that of one."""
    with _ui(DEFS, _departments) as ui, opened_browser(ui.url, PICTURES) as browser:
        browser.open("asset-groups", "source_sales", height=700)
        browser.wait.until(lambda driver: "fetching" not in driver.find_element("id", "root").text)
        browser.keep("groups")
        browser.open("assets/target/sales/orders", "numeric(12,2)", height=1050)
        browser.keep("discovered")
        browser.open("assets/target/sales/orders", "numeric(12,2)", height=800)
        _open_the_launchpad(browser)
        browser.driver.execute_script(TYPE, ROWS)
        browser.see("No errors")
        browser.keep("rows")
        ui.sync("sales.orders")
        browser.open("assets/target/sales/orders", "not carried", height=1100)
        browser.keep("carry", show="Metadata")
        ui.sync("sales.prices")
        ui.change(*CHANGED)
        ui.sync("sales.prices")
        browser.open("assets/target/sales/prices", "versions_closed", height=1100)
        browser.keep("history", show="Metadata")
        ui.sync("sales.customers")
        browser.open("assets/target/sales/customers", "sync/mask", height=1100)
        browser.keep("masks", show="sync/mask")


def of_charts() -> None:
    """The receipt of a table's last sync, and the numbers of those before it."""
    with _ui(DEFS, _departments) as ui, opened_browser(ui.url, PICTURES) as browser:
        ui.sync("sales.*")
        for changed, added in MOVED:
            ui.change(*(each.format(changed=changed, added=added) for each in MOVING))
            ui.sync("sales.orders")
        browser.open("assets/target/sales/orders", "sync/summary", height=1550)
        browser.keep("receipt", show="Metadata")
        browser.open("assets/target/sales/orders", "sync/summary", width=1200, height=1550)
        browser.click("Plots")
        browser.see("sync/watermark")
        browser.keep("plots", show="Metadata")


def of_a_korean_table() -> None:
    """The receipt of one whose names and comments are Korean."""
    with _ui(KOREAN, _shop) as ui, opened_browser(ui.url, PICTURES) as browser:
        ui.sync("영업.주문")
        ui.change(
            "UPDATE 영업.주문 SET 금액 = 금액 + 1000 WHERE 번호 <= 250",
            "INSERT INTO 영업.주문 SELECT i, i % 9, '새 주문', i FROM generate_series(4001, 4060) i",
        )
        ui.sync("영업.주문")
        browser.open("assets/target/영업/주문", "sync/summary", height=1550)
        browser.keep("receipt.ko", show="Metadata")


def of_many_sources() -> None:
    """One table of three sources, after a first sync."""
    with _ui(MANY_SOURCES, _regions) as ui, opened_browser(ui.url, PICTURES) as browser:
        for region in ("apac", "eu", "us"):
            ui.sync(f"analytics.orders_{region}")
        browser.open("asset-groups?expanded=" + GROUPS, "orders_eu", height=1000)
        browser.gone("Loading")
        browser.keep("many-sources")


def _open_the_launchpad(browser: Browser) -> None:
    keys = ActionChains(browser.driver)
    keys.key_down(Keys.SHIFT).click(browser.see("Materialize")).key_up(Keys.SHIFT).perform()
    browser.see("Scaffold all default config")


def _departments(source_url: str) -> None:
    for schema in ("sales", "archive"):
        tables = [TABLE.format(schema=schema, name=name) for name in NAMES.split()]
        execute(source_url, f"CREATE SCHEMA {schema}", *tables)
    execute(source_url, *BESIDE_ROWS)


def _shop(source_url: str) -> None:
    execute(source_url, *KOREAN_TABLE)


def _regions(source_url: str) -> None:
    for schema in ("apac", "eu", "us"):
        table = TABLE.format(schema=schema, name="orders")
        filled = f"INSERT INTO {schema}.orders SELECT i, i FROM generate_series(1, 4000) i"  # noqa: S608
        execute(source_url, f"CREATE SCHEMA {schema}", table, filled)


@dataclass(frozen=True)
class Shown:
    """A UI, what syncs a table that it shows, and what changes the source."""

    url: str
    sync: Callable[[str], object]
    change: Callable[..., object]


@contextmanager
def _ui(defs_text: str, fill: Callable[[str], object]) -> Iterator[Shown]:
    """A UI on a source, with an empty target."""
    port = free_port()
    with project(defs_text, fill) as environment:
        words = ["dagster_webserver", "-w", str(ROOT / "workspace.yaml"), "-p", str(port)]
        with leashed([sys.executable, "-m", *words], cwd=ROOT, env=environment):
            url = f"http://127.0.0.1:{port}"
            if not eventually(lambda: _answers(url)):
                raise TimeoutError(url)

            def sync(table: str) -> None:
                command = [sys.executable, "-m", "sync_assets.cli", "run", table]
                subprocess.run(command, cwd=ROOT, env=environment, check=True)

            yield Shown(url, sync, partial(execute, environment["SYNC_SOURCE_URL"]))


@contextmanager
def project(defs_text: str, fill: Callable[[str], object]) -> Iterator[dict[str, str]]:
    """The environment of a project on a source that `fill` has filled, with an empty target."""
    with running_server("18") as server, TemporaryDirectory() as place:
        (defs := Path(place) / "defs" / "shop").mkdir(parents=True)
        (defs / "defs.yaml").write_text(defs_text)
        (home := Path(place) / "home").mkdir()
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
        urls = {end: server.create_database(end) for end in ("source", "target")}
        fill(urls["source"])
        own = {f"SYNC_{end.upper()}_URL": url for end, url in urls.items()}
        own |= {"SYNC_DEFS": str(defs.parent), "DAGSTER_HOME": str(home)}
        yield dict(child_environment(own, drop=("SYNC_", "DAGSTER_")))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info"):  # noqa: S310 (our own server)
            return True
    except OSError:
        return False


if __name__ == "__main__":
    if sys.argv[1:]:
        of_the_demo(sys.argv[1])
    else:
        of_thirty_tables()
        of_many_sources()
        of_charts()
        of_a_korean_table()
