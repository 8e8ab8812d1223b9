"""`sync-assets approve`: a person sees what changed on the source, and takes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from sync_assets.cli import main
from sync_assets_tests.fixtures.documents import printed
from sync_assets_tests.fixtures.pair import Pair

TABLES = [
    {"source": "orders", "snapshot_group": "shop"},
    {"source": "items", "snapshot_group": "shop"},
    {"source": "other"},
]


@pytest.fixture(autouse=True)
def _project(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tables in step, of which none follows its source by itself."""
    attributes = {"defaults": {"on_schema_change": "ask"}, "tables": TABLES}
    document = {"type": "sync_assets.TableSync", "attributes": attributes}
    (tmp_path / "defs.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    values = {"DAGSTER_HOME": tmp_path / "home", "SYNC_DEFS": tmp_path}
    urls = {"SYNC_SOURCE_URL": pair.source_url, "SYNC_TARGET_URL": pair.target_url}
    for name, value in (values | urls).items():
        monkeypatch.setenv(name, str(value))
    for each in TABLES:
        name = each["source"]
        pair.source(f"CREATE TABLE {name} (id int PRIMARY KEY)", f"INSERT INTO {name} VALUES (1)")
    printed("run")


def approve(*words: str, says: str = "") -> str:
    done = CliRunner().invoke(main, ["approve", *words], input=says)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_change_stops_its_table_until_a_person_takes_it(pair: Pair) -> None:
    assert approve("*") == "No change of columns waits to be approved.\n"
    pair.source("ALTER TABLE orders ADD note text DEFAULT 'none'", "INSERT INTO other VALUES (2)")
    stopped = {
        each["target"]: each.get("error", {}).get("kind")
        for each in printed("run", code=1)["tables"]
    }
    assert stopped["public.orders"] == "SchemaNotApproved"
    assert stopped["public.other"] is None
    shown = approve("orders", says="n\n")
    assert 'public.orders: "note" text was added' in shown
    assert 'ALTER TABLE "public"."orders" ADD COLUMN "note" text' in shown
    assert "public.items" not in shown
    printed("run", "orders", code=1)
    assert "Take this, and sync?" in approve("orders", says="y\n")
    assert pair.target("SELECT id, note FROM orders") == [(1, "none")]
    pair.source("ALTER TABLE orders ADD more text")
    printed("run", "orders", code=1)


def test_every_change_of_a_group_is_taken_together(pair: Pair) -> None:
    pair.source("ALTER TABLE orders ADD n int", "ALTER TABLE items ADD n int")
    shown = approve("orders", "--yes")
    # Each as it is asked about, and as it is done.
    assert shown.count('"n" integer was added') == 4
    assert printed("run")["tables"][0]["schema_changes"] == []


def test_what_cannot_be_asked_is_told(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_SOURCE_URL", "host=127.0.0.1 port=1 dbname=x")
    done = CliRunner().invoke(main, ["approve", "*"])
    assert done.exit_code == 1
    assert "Connection refused" in done.output
    assert "No change" not in done.output


def test_a_change_that_leaves_the_target_as_it_is_is_asked_for_once(pair: Pair) -> None:
    pair.source("ALTER TABLE other ADD n int")
    approve("other", "--yes")
    pair.source("ALTER TABLE other ALTER n SET DEFAULT 1", "UPDATE other SET n = 1")
    printed("run", "other")
    pair.source("ALTER TABLE other ALTER n SET NOT NULL")
    assert '"n" is NOT NULL' in approve("other", "--yes")
    printed("run", "other")
    assert approve("other") == "No change of columns waits to be approved.\n"
