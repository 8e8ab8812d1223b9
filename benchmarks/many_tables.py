"""Measure a project of many tables: `python benchmarks/many_tables.py [TABLES]`.

Makes that many tables (1,000) in a private PostgreSQL, in groups of 100, and prints how long it
takes to load their definitions, to observe all of them, to answer the UI's queries, and to show
their pages.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from sync_assets.definitions import load_tables  # noqa: E402 (see above)
from sync_assets.engine import RelationName, observe  # noqa: E402
from sync_assets.private_server.instance import (  # noqa: E402
    child_environment,
    dagster_url,
    write_instance,
    write_workspace,
)
from sync_assets.private_server.processes import free_port, leashed  # noqa: E402
from sync_assets_tests.fixtures.browser import opened_browser  # noqa: E402
from sync_assets_tests.fixtures.pair import eventually, execute  # noqa: E402
from sync_assets_tests.fixtures.servers import running_server  # noqa: E402

GROUP = 100
GRAPH = """
{ assetNodes { id groupName kinds isMaterializable isObservable opNames jobNames
    assetKey { path } dependencyKeys { path } dependedByKeys { path } } }
"""
STATUS = (
    "{ assetNodes { assetKey { path } staleStatus assetMaterializations(limit: 1) { runId } } }"
)


def main(count: int = 1000) -> None:
    """Measure, and print one line for each figure."""
    with tempfile.TemporaryDirectory() as name, running_server("18") as server:
        folder = Path(name)
        urls = {each: server.create_database(each) for each in ("source", "target", "dagster")}
        names = [f"t{number:05}" for number in range(count)]
        execute(urls["source"], *(f"CREATE TABLE {each} (id int PRIMARY KEY)" for each in names))
        write_tables(folder / "tables", names)
        with measured("load the definitions"):
            load_tables(folder / "tables").get_repository_def()
        relations = [RelationName("public", each) for each in names]
        with measured("observe every source, one query"):
            observe(urls["source"], relations)
        with served(folder, urls) as url:
            for title, query in (("the asset graph", GRAPH), ("every asset's status", STATUS)):
                with measured(f"GraphQL: {title}"):
                    found = len(ask(url, query)["assetNodes"])
                print(f"  ({found} assets)")
            look(url, names[0])


def write_tables(folder: Path, names: Sequence[str]) -> None:
    """Write the tables down in groups of GROUP."""
    for start in range(0, len(names), GROUP):
        entries = "".join(f"    - source: {each}\n" for each in names[start : start + GROUP])
        place = folder / f"group{start // GROUP}"
        place.mkdir(parents=True)
        (place / "defs.yaml").write_text(
            f"type: sync_assets.TableSync\nattributes:\n  tables:\n{entries}"
        )


def look(url: str, name: str) -> None:
    """Open the pages a person would."""
    with opened_browser(url) as browser:
        with measured("browser: one table's page"):
            browser.open(f"assets/target/public/{name}", "Materialize")
        with measured("browser: lineage of all groups"):
            browser.open("asset-groups", "Materialize all (")
        with measured(f"browser: lineage of a group of {GROUP} tables"):
            browser.open("locations/sync_assets/asset-groups/group0/lineage", "Never materialized")


@contextmanager
def measured(title: str) -> Iterator[None]:
    """Print how long the block takes."""
    start = time.perf_counter()
    yield
    print(f"{title}: {time.perf_counter() - start:.2f} s")


@contextmanager
def served(folder: Path, urls: Mapping[str, str]) -> Iterator[str]:
    """Run the UI's server on the tables; its start is measured too."""
    write_instance(folder / "home")
    own = {
        "DAGSTER_HOME": str(folder / "home"),
        "DAGSTER_PG_URL": dagster_url(urls["dagster"]),
        "PYTHONPATH": str(ROOT),
        "SYNC_DEFS": str(folder / "tables"),
    }
    environment = child_environment(own, drop=("SYNC_", "DAGSTER_", "PG"))
    port = free_port()
    place = ["--host", "127.0.0.1", "--port", str(port)]
    words = ["-m", "dagster_webserver", "--workspace", str(write_workspace(folder)), *place]
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 (a device, not a path)
        options = {"stdout": nowhere, "stderr": nowhere, "cwd": folder, "env": environment}
        with leashed([sys.executable, *words], **options):
            with measured("start the UI's server and its code server"):
                eventually(lambda: answers(f"http://127.0.0.1:{port}"), seconds=120)
            yield f"http://127.0.0.1:{port}"


def answers(url: str) -> bool:
    """Say whether the server is there and has loaded its location."""
    try:
        return bool(ask(url, "{ assetNodes { id } }")["assetNodes"])
    except OSError:
        return False


def ask(url: str, query: str) -> dict[str, list[object]]:
    """Send a GraphQL query."""
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        told: dict[str, list[object]] = json.load(answer)["data"]
    return told


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
