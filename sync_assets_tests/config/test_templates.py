"""`{{ … }}` in a defs.yaml is resolved, or refused with its line; SQL with braces stays SQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_assets.config.folder import read_components
from sync_assets.config.model import SyncedTable, TableSyncConfig
from sync_assets.engine.errors import ConfigurationError

HEAD = "type: sync_assets.TableSync\nattributes:\n"
VARIABLES = """
import dagster as dg

@dg.template_var
def regions():
    return [{"source": "eu.orders"}, {"source": "us.orders"}]

@dg.template_var
def half():
    return lambda number: number // 2

@dg.template_var
def place(context: dg.ComponentLoadContext):
    return str(context.path)
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TENANT": "o'neil",
        "BATCH": "500",
        "EMPTY": "",
        "SECRET": "hunter2",
    }.items():
        monkeypatch.setenv(name, value)


def config(folder: Path, attributes: str, head: str = HEAD) -> TableSyncConfig:
    (folder / "defs.yaml").write_text(head + attributes)
    (component,) = read_components(folder)
    return component.config


def only(folder: Path, attributes: str) -> SyncedTable:
    (synced,) = config(folder, attributes).synced_tables("g")
    return synced


@pytest.mark.parametrize(
    ("written", "where"),
    [
        ('"tenant = \'{{ env.TENANT | replace(\\"\'\\", \\"\'\'\\") }}\'"', "tenant = 'o''neil'"),
        ("\"{{ env('NOT_SET', 'true') }}\"", "true"),
        ("\"id > {{ env('BATCH') | int + 1 }}\"", "id > 501"),
        ("\"{% if env.BATCH == '500' %}a{% else %}b{% endif %} = 1\"", "a = 1"),
        ("\"a = '{% raw %}{{1,2}}{% endraw %}'::int[]\"", "a = '{{1,2}}'::int[]"),
        ('"a = {{ \\"\'{{1,2}}\'\\" }}"', "a = '{{1,2}}'"),
        # No template: not one of these is touched.
        ("\"j #> '{a,b}' = '1'\"", "j #> '{a,b}' = '1'"),
        ("\"v ~ '{#x#}'\"", "v ~ '{#x#}'"),
        ("\"a = '{1,2}' AND v = '}}'\"", "a = '{1,2}' AND v = '}}'"),
    ],
)
def test_a_template_is_what_it_stands_for(tmp_path: Path, written: str, where: str) -> None:
    found = only(tmp_path, f"  tables:\n  - {{source: t, where: {written}}}\n")
    assert found.table.where == where


def test_numbers_and_switches_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATIO", "0.25")
    monkeypatch.setenv("YES", "true")
    text = (
        '  workers: {batch_size: "{{ env.BATCH }}"}\n  tables:\n'
        '  - {source: t, max_delete_ratio: "{{ env.RATIO }}", allow_empty: "{{ env.YES }}"}\n'
    )
    found = only(tmp_path, text)
    assert (found.workers.batch_size, found.table.max_delete_ratio) == (500, 0.25)
    assert found.table.allow_empty is True


def test_a_module_beside_the_file_defines_variables(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(VARIABLES)
    head = "type: sync_assets.TableSync\ntemplate_vars_module: .own\nattributes:\n"
    text = '  tables: "{{ regions }}"\n  workers: {batch_size: "{{ half(9) }}"}\n'
    found = config(tmp_path, text, head)
    assert [str(each.table.source) for each in found.synced_tables("")] == [
        "eu.orders",
        "us.orders",
    ]
    assert found.worker_config().batch_size == 4


WRONG = {
    "a variable that is not set": (
        "  tables:\n  - source: t\n    where: \"a = '{{ env.NOT_SET }}'\"\n",
        "5: attributes.tables[0].where: NOT_SET is not set in the environment; set it, or write {{",
    ),
    "a word that nothing stands for": (
        '  tables:\n  - source: "{{ source_schema }}.x"\n',
        "4: attributes.tables[0].source: 'source_schema' is undefined; known are env",
    ),
    "SQL with two braces": (
        "  tables:\n  - source: t\n    where: \"a = '{{1,2},{3,4}}'\"\n",
        "5: attributes.tables[0].where: not a template: ",
    ),
    "a secret in the wrong place": (
        '  tables:\n  - source: t\n    sync_mode: "{{ env.SECRET }}"\n',
        "5: attributes.tables[0].sync_mode: what the template stands for is not allowed; use one of",
    ),
    "text for a number": (
        '  tables: [source: t]\n  workers: {batch_size: "{{ env.TENANT }}"}\n',
        "4: attributes.workers.batch_size: what the template stands for is not allowed; write a whole",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_resolved_is_refused_with_its_line(tmp_path: Path, case: str) -> None:
    text, expected = WRONG[case]
    with pytest.raises(ConfigurationError) as caught:
        config(tmp_path, text)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/defs.yaml:{expected}"), said
    assert "hunter2" not in said
    assert "neil" not in said
    assert "two braces" not in case or "{% raw %}" in said


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        (".nowhere", ".nowhere cannot be imported: FileNotFoundError"),
        (".bad", ".bad cannot be imported: KeyError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(
    tmp_path: Path, module: str, problem: str
) -> None:
    (tmp_path / "bad.py").write_text("raise KeyError('x')\n")
    head = f"type: sync_assets.TableSync\ntemplate_vars_module: {module}\nattributes:\n"
    with pytest.raises(ConfigurationError, match=r"defs.yaml:2: template_vars_module: ") as caught:
        config(tmp_path, "  tables: [source: a]\n", head)
    assert problem in str(caught.value)


def test_a_variable_that_takes_dagster_s_context_is_not_known_to_the_commands(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.py").write_text(VARIABLES)
    head = "type: sync_assets.TableSync\ntemplate_vars_module: .own\nattributes:\n"
    with pytest.raises(
        ConfigurationError, match="'place' is undefined; known are env, half, regions"
    ):
        config(tmp_path, '  tables: [{source: t, where: "{{ place }}"}]\n', head)
