"""What `check` finds about the sessions of a run: time-outs, poolers, room, clocks (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from sync_assets.engine.check.facts import Facts
from sync_assets.engine.check.finding import Finding, blocks, note, warning
from sync_assets.engine.check.on_servers import LIVABLE
from sync_assets.engine.check.server_facts import Server
from sync_assets.engine.names import quoted
from sync_assets.engine.pause import grant_to
from sync_assets.engine.postgres.access.transport import GSSAPI
from sync_assets.engine.postgres.time_outs import NAMES as TIME_OUTS

CLOCK_SECONDS = 5.0


def expiring_snapshots(facts: Facts) -> Iterator[Finding]:
    """A source before 17 that forgets old row versions under a snapshot that needs them."""
    source = facts.source
    threshold = source.settings.get("old_snapshot_threshold", "-1") if source else "-1"
    if threshold != "-1":
        yield warning(
            "source",
            f"a read that takes longer than {threshold} min fails: old_snapshot_threshold is set",
            "ALTER SYSTEM RESET old_snapshot_threshold;  -- then restart the server",
        )


def time_outs(facts: Facts) -> Iterator[Finding]:
    """Time-outs that are set for this role: a run keeps to them, and may be ended by one."""
    for server in facts.servers:
        for name in TIME_OUTS:
            value = int(server.settings.get(name, "0"))
            if 0 < value < LIVABLE.total_seconds() * 1000:
                yield warning(
                    server.side,
                    f"{name} is {value:,} ms for the role {server.role}; a run keeps to it, and"
                    " fails where it takes longer",
                    f"ALTER ROLE {quoted(server.role)} IN DATABASE {quoted(server.database)}"
                    f" SET {name} = 0;",
                )


def unseen_sessions(facts: Facts) -> Iterator[Finding]:
    """A pause that asks for what other roles' sessions do, and a role that is not shown it."""
    source = facts.source
    asked = any(each.pause_while and each.pause_while.sees_others for each in facts.limits)
    if source is not None and asked and not source.sees_all:
        yield blocks(
            "source",
            f"pause_while asks for what other roles' sessions do, which {source.role} is not shown",
            grant_to(source.role),
        )


def poolers(facts: Facts) -> Iterator[Finding]:
    """A pooler in between, which must not hand out another session in the middle of a run."""
    for server in facts.servers:
        if server.pooled:
            yield warning(
                server.side,
                "a connection pooler stands in between; snapshots and locks need session mode",
                f"SYNC_{server.side.upper()}_URL: the server's own host and port, or a pooler with"
                " pool_mode = session",
            )


def plain_text(facts: Facts) -> Iterator[Finding]:
    """A connection over a network that is not encrypted: rows are read by whoever listens."""
    for server in facts.servers:
        its = server.transport
        if its.encrypted_by is None and its.way == "network":
            yield warning(
                server.side,
                "the connection is not encrypted: whoever listens on the network reads the rows",
                f"{_verified_url(server)}  # and ssl = on in its postgresql.conf",
            )
        if its.encrypted_by is None and its.way == "tunnel":
            yield note(
                server.side,
                "the connection is encrypted by SSH as far as the bastion, and from there on it is not",
                f"{_verified_url(server)}  # needs ssl = on in its postgresql.conf",
            )


def unverified(facts: Facts) -> Iterator[Finding]:
    """Encryption with a server that nobody has verified: another one in between would not be noticed."""
    for server in facts.servers:
        its = server.transport
        reached = its.way in ("network", "tunnel")
        if reached and its.encrypted_by not in (None, GSSAPI) and its.verified is None:
            yield note(
                server.side,
                f"the connection is encrypted, but sslmode={its.sslmode} does not verify with whom: a"
                " machine in between could read and change what travels",
                _verified_url(server),
            )
        elif reached and its.verified == "authority":
            yield note(
                server.side,
                f"sslmode={its.sslmode} verifies who has signed the certificate, and not that it is this"
                " host's: with an authority for everybody, anybody has one",
                _verified_url(server),
            )


def _verified_url(server: Server) -> str:
    return f"SYNC_{server.side.upper()}_URL: …?sslmode=verify-full&sslrootcert=/path/of/the/authority.pem"


def connection_room(facts: Facts) -> Iterator[Finding]:
    """More connections at once than the source has left for this role."""
    source, room = facts.source, facts.room
    if source is not None and room.connections * room.runs > source.free_connections:
        fitting = source.free_connections // room.runs - 2
        yield warning(
            "source",
            f"{room.runs} runs at once with {room.connections} connections each may want"
            f" {room.runs * room.connections}; {source.free_connections} are free for"
            f" {source.role}",
            f"workers: {{max_workers: {fitting}, min_workers: 1}}"
            if fitting > 0
            else f"ALTER ROLE {quoted(source.role)} CONNECTION LIMIT -1;",
        )


def batch_room(facts: Facts) -> Iterator[Finding]:
    """Too little disk on this machine for the batch files of the largest first load."""
    room = facts.room
    if room.free_bytes < room.batch_bytes:
        yield warning(
            "here",
            f"batch files may take {_megabytes(room.batch_bytes)} in {room.folder}, where"
            f" {_megabytes(room.free_bytes)} are free",
            "export SYNC_BATCH_DIR=/a/folder/on/a/larger/disk",
        )


def clocks(facts: Facts) -> Iterator[Finding]:
    """Clocks that disagree: ages and deletion times are the source's."""
    if facts.source is None or facts.target is None:
        return
    apart = facts.source.ahead - facts.target.ahead
    if abs(apart) - facts.source.uncertain - facts.target.uncertain > CLOCK_SECONDS:
        first, second = ("source", "target") if apart > 0 else ("target", "source")
        yield warning(
            first,
            f"its clock is {abs(apart):.0f} s ahead of the {second}'s; ages and deletion times are"
            " by the source's clock",
            "timedatectl set-ntp true  # on both machines",
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
