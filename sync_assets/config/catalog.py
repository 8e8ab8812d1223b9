"""What a source has, as it was discovered last: kept beside the definitions, read without a connection."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.inspection.inventory import Found, inventory
from sync_assets.engine.names import RelationName, matches
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.whole_file import replace_whole

FOLDER = ".local_defs_state"
"""Where Dagster keeps the state of definitions that is local, below the folder of all definitions."""

AGAIN = "Write it anew: sync-assets refresh"


class Discovered(BaseModel):
    """One relation of a source; `columns` are names and types, `comments` what is said of columns.

    `problem` says why it cannot be synced by row versions, `whole` that all of it can be read, and
    `taken` that a pattern takes it: a new one may have to wait for that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    key: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    comment: str | None = None
    comments: tuple[tuple[str, str], ...] = ()
    problem: str | None = None
    remedy: str | None = None
    whole: bool = False
    taken: bool = True

    @property
    def name(self) -> RelationName:
        """Its name, in parts."""
        return RelationName.parse(self.source)


class Catalog(BaseModel):
    """Every relation of a source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    relations: tuple[Discovered, ...] = ()


def discover(source_url: DatabaseOrUrl, before: Catalog | None, *, takes_new: bool) -> Catalog:
    """Look at the source; raises SyncError.

    What was there `before` stays taken or not; what is new is taken where `takes_new`, and at the
    first look.
    """
    known = {each.source: each.taken for each in before.relations} if before else {}
    new = takes_new or before is None
    found = inventory(source_url)
    return Catalog(
        relations=tuple(_discovered(each, taken=known.get(str(each.name), new)) for each in found)
    )


def _discovered(found: Found, *, taken: bool) -> Discovered:
    return Discovered(
        source=str(found.name),
        key=found.key,
        columns=found.columns,
        comment=found.comment,
        comments=found.comments,
        problem=found.problem,
        remedy=found.remedy,
        whole=found.whole,
        taken=taken,
    )


def taking(catalog: Catalog, patterns: Collection[str]) -> Catalog:
    """The catalog with the relations that are named or matched taken."""
    return Catalog(
        relations=tuple(
            each.model_copy(update={"taken": True})
            if any(matches(each.name, pattern) for pattern in patterns)
            else each
            for each in catalog.relations
        )
    )


def place_of(definitions: Path, key: str) -> Path:
    """The file that holds the catalog of a component, where Dagster keeps local state under this key."""
    return definitions / FOLDER / re.sub(r"[^A-Za-z0-9._-]", "__", key) / "state"


def read_catalog(file: Path) -> Catalog | None:
    """What was written last, None if nothing was; raises ConfigurationError."""
    try:
        return Catalog.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        said = str(error).partition("\n")[0]
        raise ConfigurationError(f"{file} cannot be read: {said}", remedy=AGAIN) from None


def write_catalog(file: Path, catalog: Catalog) -> None:
    """Write it in one step, so that no reader sees half of it; raises ConfigurationError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        ignored = file.parent.parent / ".gitignore"
        if not ignored.exists():
            ignored.write_text("*\n")
        replace_whole(file, catalog.model_dump_json(exclude_defaults=True).encode())
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be written: {error.strerror}",
            remedy="Let this user write to the folder of the definitions.",
        ) from None
