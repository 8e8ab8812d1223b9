"""A private PostgreSQL server, run from a folder of binaries and gone when we are."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

import psycopg2
from psycopg2 import sql

from sync_assets.engine.errors import ConfigurationError, ConnectionFailed
from sync_assets.private_server.account import Account, server_account
from sync_assets.private_server.binaries import embedded_binaries, reachable_binaries
from sync_assets.private_server.cluster import initialize, write_settings
from sync_assets.private_server.processes import (
    end_watch,
    free_port,
    kill_with_children,
    start_watch,
)

__all__ = ["PostgresServer", "StopMode", "embedded_binaries", "free_port"]

StopMode = Literal["smart", "fast", "immediate"]
STOP_SIGNALS: Mapping[StopMode, signal.Signals] = MappingProxyType(
    {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
)
PATIENCE = 60.0
"""Seconds a server may take to start or to stop."""

SOCKET_PORT = 5432
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class PostgresServer:
    """A PostgreSQL server of our own, its data in `folder`; use it in a `with` statement.

    It listens on a Unix socket in a private folder, with `tcp=True` also on 127.0.0.1, there
    with a password. `settings` are written for every start, below what ALTER SYSTEM sets.
    """

    def __init__(
        self,
        folder: Path,
        binaries: Path,
        settings: Mapping[str, str] = NO_SETTINGS,
        *,
        tcp: bool = False,
    ) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.settings = dict(settings)
        self._originals = binaries
        self._tcp = tcp
        self._port = free_port() if tcp else SOCKET_PORT
        self._password = secrets.token_urlsafe(16)
        self._account = Account()
        self._room: Path | None = None
        self._handle: int | None = None
        self._programs = binaries
        self._address = str(self.data)
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    @property
    def sockets(self) -> Path:
        """The private folder of the socket, from the first start to `stop`."""
        if self._room is None:
            raise ConnectionFailed("the private server is not started", remedy="Start it first.")
        return self._room

    def start(self) -> None:
        """Start the server, after creating its data folder the first time, and wait for it."""
        if self.pid is not None:
            return
        try:
            self._prepare()
            self._launch()
            self._await_ready()
        except BaseException:
            self.stop("immediate")
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and remove everything of it but its folder."""
        try:
            self._halt(mode)
        finally:
            if self._watch is not None:
                end_watch(self._watch)
                self._watch = None
            if self._room is not None:
                shutil.rmtree(self._room, ignore_errors=True)
                self._room = None
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start the server; its URL stays the same."""
        self._halt(mode)
        self.start()

    def kill(self) -> None:
        """Kill the postmaster and all its children at once, as a power cut would."""
        if self._process is not None:
            kill_with_children(self._process, PATIENCE)

    def url(self, database: str = "postgres") -> str:
        """Return the libpq URL of a database through the Unix socket."""
        place = quote(str(self.sockets), safe="")
        return f"postgresql://postgres@/{quote(database, safe='')}?host={place}&port={self._port}"

    def tcp_url(self, database: str = "postgres") -> str:
        """Return the libpq URL of a database through 127.0.0.1, with its password."""
        if not self._tcp:
            raise ConfigurationError("this server has no TCP port", remedy="Start it with tcp.")
        place = f"postgres:{self._password}@127.0.0.1:{self._port}"
        return f"postgresql://{place}/{quote(database, safe='')}"

    def create_database(self, name: str, options: str = "") -> str:
        """Create an empty database, with `options` of the statement, and return its URL."""
        create = sql.SQL("CREATE DATABASE {} {}")
        self._execute(create.format(sql.Identifier(name), sql.SQL(options)))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the server's own programs under its account."""
        return subprocess.run(
            [str(self._programs / program), *arguments],
            check=False,
            capture_output=True,
            text=True,
            **self._account.popen,
        )

    def _prepare(self) -> None:
        """Make everything a start needs, as far as it is not there yet."""
        account = server_account()
        for folder in (self.folder, self.data):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            account.own(folder)
        if self._handle is None:
            self._handle = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY)
        self._account = replace(account, handle=self._handle)
        if self._room is None:
            # Not in the folder: a socket's path must be shorter than about 100 bytes.
            self._room = Path(tempfile.mkdtemp(prefix="sync-pg-"))
            self._account.own(self._room)
            self._programs = reachable_binaries(self._account, self._originals, self._room)
        self._address = self._account.address(self.data)
        if self._watch is None:
            pg_ctl = self._programs / "pg_ctl"
            self._watch = start_watch(self._account, pg_ctl, self._address, self._room)
        if not (self.data / "PG_VERSION").exists():
            initdb = partial(self.run, "initdb", "-D", self._address)
            initialize(self._account, self.data, initdb)
        write_settings(self._account, self.data, self.settings)

    def _launch(self) -> None:
        """Start the postmaster as our child, out of reach of the terminal's Ctrl-C."""
        listen = "127.0.0.1" if self._tcp else ""
        command = [str(self._programs / "postgres"), "-D", self._address]
        command += ["-k", str(self.sockets), "-h", listen, "-p", str(self._port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._account.popen,
            )

    def _await_ready(self) -> None:
        """Wait until the server answers; with TCP, give it this start's password."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with self._session():
                    break
            except psycopg2.OperationalError as error:
                if self.pid is None or time.monotonic() > deadline:
                    raise ConnectionFailed(
                        f"the private PostgreSQL server did not start: {self._last_words()}",
                        remedy=f"Its log is {self.log}.",
                    ) from error
                time.sleep(0.02)
        if self._tcp:
            self._execute(
                sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(self._password))
            )

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "; ".join(lines[-3:]) or "it said nothing"

    def _halt(self, mode: StopMode) -> None:
        """Stop the postmaster and wait until it has gone."""
        if self._process is None:
            return
        if self.pid is not None:
            self._process.send_signal(STOP_SIGNALS[mode])
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def _execute(self, statement: sql.Composable) -> None:
        with self._session() as session, session.cursor() as cursor:
            cursor.execute(statement)

    @contextlib.contextmanager
    def _session(self) -> Iterator[psycopg2.extensions.connection]:
        session = psycopg2.connect(self.url(), connect_timeout=10)
        try:
            session.autocommit = True
            yield session
        finally:
            session.close()
