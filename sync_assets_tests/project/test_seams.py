"""What a project may say otherwise of our assets: by `translation`, or by a class of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from sync_assets import PostgresResource
from sync_assets.definitions import load_tables
from sync_assets.engine.errors import ConfigurationError
from sync_assets_tests.fixtures.documents import printed
from sync_assets_tests.fixtures.pair import Pair

TRANSLATION = {
    "key": "raw/{{ source.schema }}_{{ target.name }}",
    "group_name": "{{ source.name }}_group",
    "description": "{{ spec.description }} Of {{ table.source_connection }}.",
    "tags": {"schema": "{{ target.schema }}"},
    "kinds": ["postgres", "{{ env('KIND', 'gold') }}"],
    "owners": ["team:{{ source.schema }}"],
    "automation_condition": "{{ dg.AutomationCondition.eager() }}",
}
OWN = '''
from collections.abc import Iterator

import dagster as dg

from sync_assets import TableSync


class AuditedSync(TableSync):
    """Copies whose keys have a prefix, each told of in the log."""

    def get_asset_spec(self, table):
        spec = super().get_asset_spec(table)
        return spec.replace_attributes(key=spec.key.with_prefix("lake")).merge_attributes(tags={"audited": "yes"})

    def execute(self, context, sync):
        context.log.info("before %s", [str(each.table.target) for each in sync.members])
        for result in sync.results():
            context.add_asset_metadata({"audit": len(sync.members)}, asset_key=result.asset_key)
            yield result
'''


@pytest.fixture
def project(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of definitions, a home, and two tables on the source."""
    for name in ("orders", "items"):
        pair.source(f"CREATE TABLE {name} (id int PRIMARY KEY)", f"INSERT INTO {name} VALUES (1)")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (tmp_path / "defs" / "shop").mkdir(parents=True)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path / "defs"))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    return tmp_path


def write(project: Path, attributes: dict[str, Any], kind: str = "sync_assets.TableSync") -> Path:
    tables = {"tables": [{"source": "orders"}, {"source": "items"}], **attributes}
    text = yaml.safe_dump({"type": kind, "attributes": tables})
    (project / "defs" / "shop" / "defs.yaml").write_text(text)
    return project / "defs"


def materialized() -> list[str]:
    with dg.DagsterInstance.get() as instance:
        return sorted(
            key.to_user_string()
            for key in instance.all_asset_keys()
            if instance.get_latest_materialization_event(key)
        )


def test_a_translation_says_what_dagster_shows_and_is_followed_by_the_commands(
    project: Path,
) -> None:
    definitions = load_tables(write(project, {"translation": TRANSLATION}))
    spec = {s.key.to_user_string(): s for s in definitions.resolve_all_asset_specs()}[
        "raw/public_orders"
    ]
    assert spec.description == "A copy of public.orders in the database source. Of source."
    assert (spec.group_name, spec.owners) == ("orders_group", ["team:public"])
    assert (spec.tags["schema"], spec.kinds) == ("public", {"postgres", "gold"})
    assert spec.automation_condition == dg.AutomationCondition.eager()
    assert [dep.asset_key.to_user_string() for dep in spec.deps] == ["source/public/orders"]
    assert len(printed("run")["tables"]) == 2
    assert materialized() == ["raw/public_items", "raw/public_orders"]
    # Nothing is new: Dagster knows of it under that key.
    assert {each["reason"] for each in printed("run")["tables"]} == {
        "nothing was written since the last run"
    }
    assert [each["target"] for each in printed("run", "key:raw/public_items")["tables"]] == [
        "public.items"
    ]


def test_a_class_of_the_project_may_change_both_the_asset_and_what_happens_around_a_sync(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "own_components.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(project))
    group = [{"source": name, "snapshot_group": "shop"} for name in ("orders", "items")]
    definitions = load_tables(write(project, {"tables": group}, "own_components.AuditedSync"))
    specs = {s.key.to_user_string(): s for s in definitions.resolve_all_asset_specs()}
    assert specs["lake/target/public/orders"].tags["audited"] == "yes"
    assert len(printed("run", "orders")["tables"]) == 2
    assert materialized() == ["lake/target/public/items", "lake/target/public/orders"]
    with dg.DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(
            dg.AssetKey(["lake", "target", "public", "items"])
        )
        (run,) = instance.get_runs()
        logged = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["audit"].value == 2
    assert event.asset_materialization.metadata["dagster/row_count"].value == 1
    assert "before ['public.orders', 'public.items']" in logged


def test_the_sensor_asks_for_tables_by_the_keys_that_they_were_given(project: Path) -> None:
    definitions = load_tables(write(project, {"translation": {"key_prefix": "raw"}}))
    ends = {
        name: PostgresResource(url=os.environ[f"SYNC_{name.upper()}_URL"])
        for name in ("source", "target")
    }
    (sensor,) = (s for s in definitions.sensors or () if s.name.endswith("_changes"))
    with dg.DagsterInstance.get() as instance:
        context = dg.build_sensor_context(instance, definitions=definitions, resources=ends)
        (request,) = sensor.evaluate_tick(context).run_requests or ()
    assert sorted(key.to_user_string() for key in request.asset_selection or ()) == [
        "raw/target/public/items",
        "raw/target/public/orders",
    ]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": (
        {"keey": "a"},
        "attributes.translation.keey: the key is not known; known keys are",
    ),
    "an unknown word": ({"key": "{{ stream }}"}, "attributes.translation: for public.orders: "),
    "a variable that is not set": (
        {"key": "{{ env.NOT_SET }}"},
        "NOT_SET is not set in the environment",
    ),
    "no text": ({"description": 1}, "attributes.translation.description: "),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_translation_that_cannot_be_resolved_is_refused_with_its_line(
    project: Path, case: str
) -> None:
    written, said = WRONG[case]
    place = write(project, {"translation": written})
    with pytest.raises(
        ConfigurationError, match=r"defs\.yaml:\d+: attributes\.translation"
    ) as caught:
        load_tables(place)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_tables_under_one_key_are_refused(project: Path) -> None:
    place = write(project, {"translation": {"key": "all/the/same"}})
    with pytest.raises(
        ConfigurationError, match=r"both .* would be the asset all/the/same"
    ) as caught:
        load_tables(place)
    assert "public.orders" in str(caught.value)
    assert "public.items" in str(caught.value)


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("raw.{schema}_{table}", ["raw.public_orders", "raw.public_items"]),
        ("{table}_copy", ["public.orders_copy", "public.items_copy"]),
        ("{schema}.{table}", ["public.orders", "public.items"]),
    ],
)
def test_targets_may_be_named_after_their_sources(
    project: Path, target: str, names: list[str]
) -> None:
    write(project, {"defaults": {"target": target}})
    assert [each["target"] for each in printed("plan")["tables"]] == names
