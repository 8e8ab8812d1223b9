"""Every snippet of README and docs runs, or is listed here with the reason it says itself."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_assets.config.parsing import parse_component
from sync_assets.config.yaml_file import read_documents
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.snippets import (
    ROOT,
    Place,
    Snippet,
    pages,
    set_up,
    snippets,
    tear_down,
)

LANGUAGES = {"sh", "yaml", "sql", "python", "text"}
ELSEWHERE = {
    "docs/start.md",  # the newcomer's test
    "README.ko.md",  # the same snippets as README.md, which a test compares
    "docs/start.ko.md",  # likewise
}
PAGES = [page for page in pages() if str(page.relative_to(ROOT)) not in ELSEWHERE]
NOT_RUN = {
    ("CONTRIBUTING.md", "make check"),
    ("CONTRIBUTING.md", "make test ARGS='-k watermark'"),
    ("README.md", "make demo"),
    ("docs/first-load.md", "from sync_assets.engine import DataCopyEngine, RelationName, Table"),
    (
        "docs/changed-blocks.md",
        "ALTER SYSTEM SET summarize_wal = on;  SELECT pg_reload_conf();      -- 17 and later",
    ),
    ("docs/operating.md", "pip install 'sync-assets[otel]'"),
    ("docs/benchmarks.md", "make bench"),
    ("docs/benchmarks.md", "python benchmarks/rate.py"),
    ("docs/benchmarks.md", "python benchmarks/tables.py --publish"),
    (
        "docs/benchmarks.md",
        "python benchmarks/source_cache.py --folder /usr/lib/postgresql/15/bin",
    ),
    ("docs/command-line.md", 'eval "$(_SYNC_ASSETS_COMPLETE=zsh_source sync-assets)"'),
    ("docs/command-line.md", "sync-assets state export state.json"),
    ("docs/index.md", "make demo"),
    ("docs/operating.md", "sync-assets metrics --listen 127.0.0.1:9187"),
    (
        "docs/move-a-database.md",
        "pg_dump --schema-only postgresql://source.example/shop > schema.sql",
    ),
    (
        "docs/sign-in.md",
        "export SYNC_SOURCE_URL='postgresql://sync_reader@shop.abc123.eu-central-1.rds.amazonaws.com/shop?sslmode=verify-full&sslrootcert=/etc/ssl/rds-global-bundle.pem'",
    ),
    (
        "docs/sign-in.md",
        "export SYNC_SOURCE_URL='postgresql://sync-reader%40my-project.iam@10.1.2.3/shop?sslmode=require'",
    ),
    (
        "docs/sign-in.md",
        "export SYNC_SOURCE_URL='postgresql://sync-reader@shop.postgres.database.azure.com/shop?sslmode=verify-full&sslrootcert=system'",
    ),
    (
        "docs/sign-in.md",
        "export SYNC_SOURCE_PASSWORD_COMMAND='vault read -field=password database/static-creds/sync-reader'",
    ),
    ("docs/scale-out.md", "export DAGSTER_HOME=$PWD"),
    ("docs/scale-out.md", "export SYNC_EXECUTOR=celery"),
    ("docs/scale-out.md", "docker compose --file deploy/docker/compose.yaml restart code"),
    (
        "docs/scale-out.md",
        "kubectl create configmap sync-assets-defs --from-file defs.yaml --dry-run=client -o yaml \\",
    ),
    ("docs/scale-out.md", "kubectl create secret generic sync-assets \\"),
    ("docs/scale-out.md", "mkdir -p /srv/sync-assets/defs"),
    ("docs/scale-out.md", "pip install sync-assets"),
}


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Path:
    """The page whose snippets run."""
    found: Path = request.param
    return found


@pytest.fixture
def place(tmp_path: Path, page: Path, server18: PostgresServer) -> Iterator[Place]:
    """Two databases and a folder, as the pages assume them."""
    server18.start()
    place = Place(tmp_path, server18, {})
    environment = {
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SYNC_DEFS": str(place.defs),
        "SYNC_SOURCE_URL": place.url("shop", "sync_reader"),
        "SYNC_TARGET_URL": place.url("analytics", "sync_writer"),
        "SYNC_ALERT_WEBHOOK": "http://127.0.0.1:9/",
    }
    place.defs.mkdir()
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    (place.defs / "defs.yaml").write_text(
        "type: sync_assets.TableSync\n"
        "attributes: {tables: [{source: public.orders}, {source: sales.items}]}\n"
    )
    try:
        set_up(place, page)
        yield Place(tmp_path, server18, environment)
    finally:
        tear_down(server18)


WITH_SNIPPETS = [page for page in PAGES if any(each.runs for each in snippets(page))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", WITH_SNIPPETS, indirect=True, ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_snippet_of_a_page_runs(
    page: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    for each in snippets(page):
        if each.runs:
            _run(each, place)


def test_every_fence_says_its_language() -> None:
    unknown = [
        each.name for page in pages() for each in snippets(page) if each.language not in LANGUAGES
    ]
    assert unknown == [], f"write one of {', '.join(sorted(LANGUAGES))} after the backquotes"


def test_what_cannot_run_is_listed() -> None:
    found = [each for page in PAGES for each in snippets(page) if "not run" in each.notes]
    assert {(each.page, each.first_line) for each in found} == NOT_RUN
    assert [each.name for each in found if len(each.notes["not run"]) < len("a reason")] == []


def _run(snippet: Snippet, place: Place) -> None:
    if snippet.language == "sh":
        if "| jq " in snippet.text and shutil.which("jq") is None:
            pytest.skip("jq is not installed")
        ended = place.shell(snippet.text)
        assert ended.returncode == 0, f"{snippet.name}:\n{ended.stdout}{ended.stderr}"
    elif snippet.language == "sql":
        place.sql(snippet.notes.get("on", "source"), snippet.text)
    elif snippet.language == "python":
        code = compile(place.real(snippet.text), snippet.name, "exec")
        exec(code, {"__name__": "__main__"})
    elif "edit" in snippet.notes:
        place.edit(snippet.notes["edit"], snippet.text)
    elif snippet.language == "yaml":
        _load(snippet, place)


def _load(snippet: Snippet, place: Place) -> None:
    """Tables must load; from here on they are the tables of the page."""
    if all(line.startswith("#") for line in snippet.text.splitlines()):
        return
    file = place.defs / "defs.yaml"
    file.write_text(snippet.text, encoding="utf-8")
    found = [parse_component(document, lambda _: None) for document in read_documents(file)]
    assert all(found), f"{snippet.name} holds another project's component"
