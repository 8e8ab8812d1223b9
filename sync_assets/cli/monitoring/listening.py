"""GET /metrics, answered by one look at the databases, one request at a time."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer

from sync_assets.cli.errors import described_error, one_line
from sync_assets.cli.output import say
from sync_assets.engine.errors import ConfigurationError, SyncError

PATH = "/metrics"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OLDER = "text/plain; version=0.0.4; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"

HIGHEST_PORT = 65_535

SLOW = 10.0
"""Seconds that a client may take to say what it wants: all others wait meanwhile."""


def address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; raises ConfigurationError."""
    host, separator, port = text.rpartition(":")
    if not separator or not re.fullmatch("[0-9]{1,5}", port) or int(port) > HIGHEST_PORT:
        raise ConfigurationError(
            f"{text!r} is not an address to listen at",
            remedy="Write host:port, as 127.0.0.1:9187, or 0.0.0.0:9187 for everybody.",
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


Exposition = Callable[[bool], bytes]
"""Looks, and returns the text: in Prometheus' older format where the argument is true."""


class MetricsServer(HTTPServer):
    """Listens at an address, and answers with an exposition made anew; raises ConfigurationError."""

    def __init__(self, host: str, port: int, exposition: Exposition) -> None:
        self.exposition = exposition
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise ConfigurationError(
                f"nothing can listen at {host}:{port}: {error.strerror or error}",
                remedy="Name another port, or end what listens there.",
            ) from None

    def handle_error(self, _request: object, _client: object) -> None:
        """Say in one line what went wrong with a request, unless its client has gone away."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            say(f"Error: {one_line(f'{type(error).__name__}: {error}')}", err=True)

    @property
    def url(self) -> str:
        """Where it is to be asked."""
        host, port = self.server_address[:2]
        named = f"[{host!s}]" if self.address_family == socket.AF_INET6 else str(host)
        return f"http://{named}:{port}{PATH}"


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: MetricsServer
    timeout = SLOW

    def do_GET(self) -> None:
        """Look, and answer; what goes wrong besides servers that are down is a 500."""
        if self.path.partition("?")[0] != PATH:
            self._answer(HTTPStatus.NOT_FOUND, PLAIN, f"Ask for {PATH}.\n".encode())
            return
        accepted = self.headers.get("Accept", "")
        older = "text/plain" in accepted and "openmetrics" not in accepted
        try:
            body = self.server.exposition(older)
        except SyncError as error:
            told = described_error(error)
            say(f"Error: {told}", err=True)
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, PLAIN, f"{told}\n".encode())
            return
        self._answer(HTTPStatus.OK, OLDER if older else OPENMETRICS, body)

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing of each request: whoever scrapes keeps a record of it."""
