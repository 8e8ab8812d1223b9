"""`sync-assets doctor`: what hinders syncing now, and how to mend it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sync_assets.cli.examples import examples
from sync_assets.cli.output import print_json, say, say_sentence

if TYPE_CHECKING:
    from sync_assets.cli.connections import Ends
    from sync_assets.cli.documents import LeftBehind
    from sync_assets.cli.hindrances import Standing
    from sync_assets.engine.names import RelationName

FIX = "sync-assets doctor --fix"
INDENT = " " * 4


@click.command(
    epilog=examples(
        "sync-assets doctor",
        "sync-assets doctor --fix",
        "sync-assets doctor --json | jq -r '.hindrances[].command'",
    )
)
@click.option("--fix", is_flag=True, help="Mend what is safe to mend without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, fix: bool, as_json: bool) -> None:
    """Find what hinders syncing now, each with its mend.

    Reads both ends, this machine, and the home in which Dagster records runs: dead runs, schedules
    and sensors that are off and should run, daemons that give no sign of life, pools that are
    taken, homes and versions that differ, sessions that hang on a table's lock, and all that
    `status` tells of.

    --fix ends dead runs and sessions that hang, frees their pools, switches on what says
    `automation: running`, mends a home of broken files and drops staging tables of dead runs.
    What cannot be mended without dropping data is named with its command, and left to you.

    The exit code is 0 when nothing is in the way, else 1.
    """
    from sync_assets.cli.connections import by_connections
    from sync_assets.cli.hindrances import in_the_way
    from sync_assets.cli.selection import configured_tables, require_urls

    place, tables = configured_tables()
    require_urls(tables)
    every = list(by_connections(tables))
    found, mended = list(in_the_way(place, every, of_dagster=True)), []
    if fix:
        _mend(place, every, found)
        before, found = found, list(in_the_way(place, every, of_dagster=True))
        still = {(at, where) for at, where, _ in found}
        mended = [each for each in before if each[:2] not in still]
    left = list(_left_behind(every, drop=fix))
    if as_json:
        from sync_assets.cli.documents import DoctorDocument, Hindrance

        stand, gone = ([Hindrance.of(*each) for each in those] for those in (found, mended))
        print_json(DoctorDocument(stand, gone, left))
    else:
        _print(found, mended, left)
    sys.exit(int(bool(found)))


def _mend(place: Path, every: Sequence[Ends], found: Sequence[Standing]) -> None:
    from sync_assets.cli.errors import tell
    from sync_assets.engine.errors import SyncError
    from sync_assets.launch.doctor import Part, mend

    for ends in every:
        mine = {(ends.target_connection, str(each.table.target)) for each in ends.tables}
        kinds = {kind for at, (_, kind, _), _ in found if at in mine}
        try:
            mend(place, Part(ends.tables, ends.target_url), kinds)
        except SyncError as error:
            # What it could not mend still stands below.
            tell(error)


def _left_behind(every: Sequence[Ends], *, drop: bool) -> Iterator[LeftBehind]:
    """What lies on the targets that answer, once what is ours to drop is gone."""
    from sync_assets.cli.documents import LeftBehind
    from sync_assets.engine.errors import SyncError
    from sync_assets.engine.inspection.leftovers import drop_staging_of, leftovers

    for connection, url in {ends.target_connection: ends.target_url for ends in every}.items():
        here = [ends for ends in every if ends.target_connection == connection]
        try:
            targets = {each.table.target for ends in here for each in ends.tables}
            if drop:
                drop_staging_of(url, leftovers(url, targets).staging)
            found = leftovers(url, targets)
        except SyncError:
            continue
        for name in found.staging:
            yield LeftBehind(f"a staging table of {name}", FIX, target_connection=connection)
        for name in found.passes:
            what = f"what an unfinished full pass of {name} has loaded: another one goes on with it"
            yield LeftBehind(
                what, _forgetting(name, connection, "--load"), target_connection=connection
            )
        for name in found.others:
            what = f"{name}, a staging table of a table that is not configured here"
            yield LeftBehind(what, f"DROP TABLE {name.as_sql};", target_connection=connection)
        for name in found.remembered:
            what = f"the state of {name}, which is not configured here"
            yield LeftBehind(what, _forgetting(name, connection), target_connection=connection)


def _forgetting(name: RelationName, connection: str, *options: str) -> str:
    words = ("sync-assets", "forget", str(name), "--connection", connection, *options)
    return shlex.join(words)


def _print(
    found: Sequence[Standing], mended: Sequence[Standing], left: Sequence[LeftBehind]
) -> None:
    from sync_assets.cli.selection import names_of
    from sync_assets.hindrances.telling import lines

    names = names_of(at for at, *_ in (*found, *mended))

    def told(those: Sequence[Standing]) -> Iterator[tuple[str, str]]:
        """Each line with the command that mends what it says."""
        for command in dict.fromkeys(known.command for *_, known in those):
            its = [each for each in those if each[2].command == command]
            for line in lines(
                ((names[at], kind, about), known) for at, (_, kind, about), known in its
            ):
                yield line, command

    for line, _ in told(mended):
        say_sentence(f"mended: {line}", fg="green")
    for line, command in told(found):
        say_sentence(line)
        if command:
            say(f"{INDENT}{command}", bold=True)
    for each in left:
        say_sentence(f"left behind: {each.what}")
        say(f"{INDENT}{each.command}", bold=True)
    if not found:
        say("Nothing is in the way of a sync.")
