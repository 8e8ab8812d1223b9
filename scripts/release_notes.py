"""Print what CHANGELOG.md says of a release: `python scripts/release_notes.py v1.2.3`.

Fails where the tag is not the version in pyproject.toml, or the changelog has no dated section for
it: such a tag is not released.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def release_notes(tag: str, project: str, changelog: str) -> str:
    """The section of `tag` in a changelog, for a project of that version."""
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    if not version or tag != f"v{version[1]}":
        raise SystemExit(f"{tag} is not v{version and version[1]}, the version in pyproject.toml")
    heading = rf"^## \[{re.escape(version[1])}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## \[|^\[|\Z)"
    section = re.search(heading, changelog, re.MULTILINE | re.DOTALL)
    if not section or not section[1].strip():
        raise SystemExit(
            f"CHANGELOG.md has no section [{version[1]}] with its date and its changes"
        )
    return section[1].strip()


if __name__ == "__main__":
    print(  # noqa: T201 (its purpose)
        release_notes(
            sys.argv[1],
            (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
            (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        )
    )
