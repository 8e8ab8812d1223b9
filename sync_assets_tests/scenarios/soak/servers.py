"""The servers of a soak: a source that streams to its standby, a target, and Dagster's own.

Syncs reach source and target by addresses that stay when the server behind them is another one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from sync_assets.private_server.account import server_account
from sync_assets.private_server.server import PostgresServer, embedded_binaries
from sync_assets_tests.fixtures.full_disk import SmallDisk, small_disk
from sync_assets_tests.fixtures.pair import Pair, eventually, execute
from sync_assets_tests.fixtures.proxy import Proxy
from sync_assets_tests.fixtures.servers import SETTINGS, running_server
from sync_assets_tests.fixtures.sessions import end_idle
from sync_assets_tests.fixtures.standby import running_standby

SOAKED: Mapping[str, str] = MappingProxyType(
    {
        **SETTINGS,
        # Nobody else cleans up after a month.
        "autovacuum_naptime": "15s",
        # So few that they can be exhausted, so little WAL that a small disk holds it.
        "max_connections": "60",
        "wal_keep_size": "64MB",
        "min_wal_size": "32MB",
        "max_wal_size": "64MB",
    }
)
BY_PASSWORD = "local all reader,writer scram-sha-256\n"
PASSWORDS: Mapping[str, str] = MappingProxyType({"reader": "r3ad", "writer": "wr1te"})
DAGSTER_MEGABYTES, TARGET_MEGABYTES, BATCH_MEGABYTES = 600, 300, 300


class Address:
    """A port of 127.0.0.1 that leads to one server after another."""

    def __init__(self, folder: Path, name: str) -> None:
        self._link = folder / name
        self.proxy = Proxy(self._link)

    def lead_to(self, server: PostgresServer) -> None:
        """From now on, whoever connects is connected to this one."""
        following = self._link.with_suffix(".next")
        following.symlink_to(server.sockets / ".s.PGSQL.5432")
        following.replace(self._link)

    def url(self, role: str, database: str) -> str:
        """What a sync is told."""
        return f"postgresql://{role}:{PASSWORDS[role]}@127.0.0.1:{self.proxy.port}/{database}"


@dataclass
class Servers:
    """All of them; `pair` leads past the addresses, as a superuser."""

    source_address: Address
    target_address: Address
    target: PostgresServer
    dagster: PostgresServer
    dagster_disk: SmallDisk
    target_disk: SmallDisk
    batch_disk: SmallDisk
    primary: PostgresServer = field(init=False)
    standby: PostgresServer = field(init=False)
    _primary_life: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _standby_life: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def pair(self) -> Pair:
        """The two databases as they are now."""
        return Pair(self.primary.url("source"), self.target.url("target"))

    @property
    def disks(self) -> tuple[SmallDisk, ...]:
        """Those that can be filled."""
        return (self.dagster_disk, self.target_disk, self.batch_disk)

    def begin(self) -> None:
        """Start a source, and its standby."""
        self.primary = self._primary_life.enter_context(running_server("18", SOAKED))
        _let_in_by_password(self.primary)
        self.primary.create_database("source")
        execute(
            self.primary.url("source"),
            f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORDS['reader']}'",
            "CREATE ROLE crowd LOGIN",
            "GRANT EXECUTE ON FUNCTION pg_control_system() TO reader",
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader",
        )
        self.source_address.lead_to(self.primary)
        self._begin_standby()

    def fail_over(self) -> None:
        """Lose the primary with whatever had not reached the standby, and promote that."""
        self.primary.kill()
        execute(self.standby.url(), "SELECT pg_promote()")
        self.source_address.lead_to(self.standby)
        lost, self._primary_life = self._primary_life, self._standby_life
        self._standby_life = contextlib.ExitStack()
        self.primary = self.standby
        end_idle()
        lost.close()
        self._begin_standby()

    def mend(self) -> None:
        """Undo whatever was done to a server, a network or a disk."""
        for disk in self.disks:
            disk.free()
        for address in (self.source_address, self.target_address):
            address.proxy.heal()
        for server in (self.primary, self.standby, self.target, self.dagster):
            server.start()

    def end(self) -> None:
        """Stop the source and its standby."""
        self._standby_life.close()
        self._primary_life.close()

    def _begin_standby(self) -> None:
        self.standby = self._standby_life.enter_context(running_standby(self.primary, "18", SOAKED))


@contextlib.contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """Start all of them, with empty databases."""
    with contextlib.ExitStack() as stack:
        disks = [
            stack.enter_context(small_disk(megabytes))
            for megabytes in (DAGSTER_MEGABYTES, TARGET_MEGABYTES, BATCH_MEGABYTES)
        ]
        target = stack.enter_context(running_server("15", SOAKED))
        dagster = stack.enter_context(
            PostgresServer(disks[0].folder / "server", embedded_binaries(), SOAKED)
        )
        dagster.create_database("dagster")
        _make_target(target, disks[1].folder)
        addresses = [Address(folder, name) for name in ("source", "target")]
        addresses[1].lead_to(target)
        source_address, target_address = addresses
        dagster_disk, target_disk, batch_disk = disks
        servers = Servers(
            source_address,
            target_address,
            target,
            dagster,
            dagster_disk=dagster_disk,
            target_disk=target_disk,
            batch_disk=batch_disk,
        )
        stack.callback(servers.end)
        servers.begin()
        for address in addresses:
            stack.enter_context(address.proxy)
        try:
            yield servers
        finally:
            end_idle()
            servers.mend()


def _make_target(server: PostgresServer, disk: Path) -> None:
    space = disk / "space"
    space.mkdir()
    server_account().own(space)
    _let_in_by_password(server)
    execute(
        server.url(),
        f"CREATE ROLE writer LOGIN PASSWORD '{PASSWORDS['writer']}'",
        "CREATE ROLE crowd LOGIN",
        f"CREATE TABLESPACE small LOCATION '{space}'",
        "CREATE DATABASE target OWNER writer TABLESPACE small",
    )
    execute(server.url("target"), "ALTER SCHEMA public OWNER TO writer")


def _let_in_by_password(server: PostgresServer) -> None:
    access = server.data / "pg_hba.conf"
    access.write_text(BY_PASSWORD + access.read_text())
    execute(server.url(), "SELECT pg_reload_conf()")


def is_caught_up(servers: Servers) -> bool:
    """Whether the standby streams."""
    streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    return eventually(lambda: execute(servers.primary.url(), streaming) == [(1,)])
