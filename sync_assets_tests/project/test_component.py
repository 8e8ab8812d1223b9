"""`type: sync_assets.TableSync` loads through Dagster's own component machinery."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

import dagster as dg
import pytest

from sync_assets import TableSync
from sync_assets.engine.errors import ConfigurationError

HEAD = "type: sync_assets.TableSync\nattributes:\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return tmp_path


def write(folder: Path, group: str, text: str) -> None:
    (folder / group).mkdir(exist_ok=True)
    (folder / group / "defs.yaml").write_text(text)


def load(folder: Path) -> dg.Definitions:
    """As another project would: its tree, its resources, none of our definitions.py."""
    module = module_from_spec(ModuleSpec(f"host_{abs(hash(folder))}", None, is_package=True))
    module.__path__ = [str(folder)]
    sys.modules[module.__name__] = module
    tree = dg.ComponentTree.from_module(defs_module=module, project_root=folder)
    resources = {name: dg.ResourceDefinition.none_resource() for name in ("source", "target", "w")}
    return dg.Definitions.merge(tree.build_defs(), dg.Definitions(resources=resources))


def keys(definitions: dg.Definitions) -> list[str]:
    return sorted(spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs())


def cause_of(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def test_one_asset_per_table_with_its_source_above_it(folder: Path) -> None:
    write(
        folder, "shop", HEAD + "  tables:\n  - source: orders\n  - source: a.b\n    target: c.d\n"
    )
    definitions = load(folder)
    assert keys(definitions) == [
        "source/a/b",
        "source/public/orders",
        "target/c/d",
        "target/public/orders",
    ]
    graph = definitions.resolve_asset_graph()
    target = graph.get(dg.AssetKey(["target", "c", "d"]))
    assert target.parent_keys == {dg.AssetKey(["source", "a", "b"])}
    assert (target.group_name, target.is_materializable) == ("shop", True)
    assert graph.get(dg.AssetKey(["source", "a", "b"])).is_observable


def test_an_asset_names_the_line_of_its_table_and_no_other(folder: Path) -> None:
    write(folder, "shop", HEAD + "  tables:\n  - source: orders\n  - source: a.b\n")
    for spec in load(folder).resolve_all_asset_specs():
        found = spec.metadata["dagster/code_references"]
        assert isinstance(found, dg.CodeReferencesMetadataValue)
        (reference,) = found.code_references
        assert isinstance(reference, dg.LocalFileCodeReference)
        line = 4 if spec.key.path[-1] == "orders" else 5
        assert (reference.file_path, reference.line_number) == (
            str(folder / "shop" / "defs.yaml"),
            line,
        )


def test_two_documents_of_a_file_are_two_components(folder: Path) -> None:
    one = HEAD + "  tables: [source: a]\n"
    two = HEAD + "  source_connection: w\n  tables: [{source: a, target: b}]\n"
    write(folder, "shop", f"{one}---\n{two}")
    assert keys(load(folder)) == [
        "source/public/a",
        "target/public/a",
        "target/public/b",
        "w/public/a",
    ]


def test_a_source_read_by_two_components_is_shown_once(folder: Path) -> None:
    write(folder, "one", HEAD + "  tables: [source: a]\n")
    write(folder, "two", HEAD + "  tables: [{source: a, target: b}]\n")
    definitions = load(folder)
    assert keys(definitions) == ["source/public/a", "target/public/a", "target/public/b"]
    source = definitions.resolve_asset_graph().get(dg.AssetKey(["source", "public", "a"]))
    assert source.group_name == "source_public"


def test_a_target_that_is_the_next_sync_s_source_is_one_asset(folder: Path) -> None:
    write(folder, "one", HEAD + "  tables: [source: a]\n")
    chained = "  source_connection: target\n  target_connection: w\n  tables: [source: a]\n"
    write(folder, "two", HEAD + chained)
    definitions = load(folder)
    assert keys(definitions) == ["source/public/a", "target/public/a", "w/public/a"]


def test_templates_are_resolved_as_in_every_component(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TABLE", "orders")
    (folder / "shop").mkdir()
    (folder / "shop" / "words.py").write_text(
        "import dagster as dg\n@dg.template_var\ndef about(): return 'what is sold'\n"
    )
    text = HEAD.replace("attributes:", "template_vars_module: .words\nattributes:")
    table = "  tables: [{source: '{{ env.TABLE }}', description: '{{ about }}'}]\n"
    write(folder, "shop", text + table)
    (target,) = (s for s in load(folder).resolve_all_asset_specs() if s.key.path[0] == "target")
    assert (target.key.path[-1], target.description) == ("orders", "what is sold")


def test_post_processing_still_works(folder: Path) -> None:
    text = (
        HEAD
        + "  tables: [source: a]\n"
        + (
            "post_processing:\n  assets:\n  - target: 'key:target/*'\n    attributes: {tags: {x: y}}\n"
        )
    )
    write(folder, "shop", text)
    (target,) = (s for s in load(folder).resolve_all_asset_specs() if s.key.path[0] == "target")
    assert target.tags["x"] == "y"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (HEAD + "  tables:\n  - source: a\n    sync_mode: xmin\n", 5),
        (HEAD + "  tables: [source: a]\n---\n" + HEAD + "  tables:\n  - source: a.b.c\n", 8),
        (HEAD + "  tables:\n  - source: a\n    source: b\n", 5),
        ("type: sync_assets.TableSync\n", 1),
    ],
)
def test_in_any_project_the_cause_is_our_one_error(folder: Path, text: str, line: int) -> None:
    write(folder, "shop", text)
    with pytest.raises(Exception, match=r".") as caught:
        load(folder)
    cause = cause_of(caught.value)
    assert isinstance(cause, ConfigurationError)
    assert str(cause).startswith(f"{folder}/shop/defs.yaml:{line}: ")


def test_a_component_is_not_called_like_the_folder_of_another(folder: Path) -> None:
    write(folder, "shop", HEAD + "  tables: [{source: a}]\n")
    write(folder, "store", HEAD + "  name: shop\n  tables: [{source: b}]\n")
    with pytest.raises(Exception) as caught:  # noqa: PT011 (Dagster's own, around ours)
        load(folder)
    said = str(cause_of(caught.value))
    assert f"{folder}/shop/defs.yaml:3 and {folder}/store/defs.yaml:4: both components" in said
    assert said.endswith("Give one of them another `name`.")


def test_a_component_can_be_made_of_attributes_alone() -> None:
    component = TableSync.from_attributes_dict(attributes={"tables": [{"source": "orders"}]})
    assert [str(synced.table.target) for synced in component.tables] == ["public.orders"]
    with pytest.raises(ConfigurationError, match=r"^TableSync: attributes.tables: is missing"):
        TableSync.from_attributes_dict(attributes={})


def test_tools_see_the_schema_of_the_attributes() -> None:
    schema = TableSync.get_model_cls().model_json_schema()
    assert {"tables", "defaults", "workers"} <= set(schema["properties"])


def test_every_table_is_its_own_op_in_the_pool_of_its_source(folder: Path) -> None:
    write(
        folder,
        "shop",
        HEAD
        + "  tables: [source: a, source: b]\n".replace(", s", "}, {s")
        .replace("[s", "[{s")
        .replace("]", "}]"),
    )
    ops = {
        definition.op.name: definition.op.pool
        for definition in load(folder).assets or ()
        if isinstance(definition, dg.AssetsDefinition)
    }
    assert ops["target__public__a"] == ops["target__public__b"] == "sync_source"


def test_an_op_has_the_tags_that_its_launcher_reads(folder: Path) -> None:
    size = "{dagster-k8s/config: {container_config: {resources: {requests: {memory: 4Gi}}}}}"
    write(folder, "shop", HEAD + f"  tables: [{{source: a, op_tags: {size}}}, {{source: b}}]\n")
    ops = {
        asset.op.name: asset.op
        for asset in load(folder).assets or ()
        if isinstance(asset, dg.AssetsDefinition)
    }
    assert "4Gi" in str(ops["target__public__a"].tags)
    assert ops["target__public__b"].tags == {}
