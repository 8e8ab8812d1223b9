"""A password that a command prints: run when it is needed, kept for a while, renewed when refused.

The password goes from the command's pipe to libpq, in this process's memory: never through arguments,
the environment, a file or a message.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time

from sync_assets.engine import errors
from sync_assets.engine.postgres.access.programs import (
    environment_for_others,
    in_short,
    printable,
)

TIME_OUT = 30.0
"""Seconds that a command may take."""


class PrintedPassword:
    """What one command prints, for all connections of this process. Safe to use from many threads."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._kept: str | None = None
        self._asked = 0.0

    def get(self, lifetime: float, side: str, refused: str | None = None) -> str:
        """The password, printed anew where it is `lifetime` seconds old or is the one `refused`.

        Raises SyncError where the command prints none.
        """
        with self._lock:
            too_old = time.monotonic() - self._asked >= lifetime
            if self._kept is None or too_old or self._kept == refused:
                self._kept, asked = None, time.monotonic()
                self._kept, self._asked = _printed(self._command, side), asked
            return self._kept

    @property
    def known(self) -> str | None:
        """The password that is kept now, if any."""
        return self._kept


_printed_passwords: dict[str, PrintedPassword] = {}
_lock = threading.Lock()


def printed_password(command: str) -> PrintedPassword:
    """What this command prints; the one object for all who ask in this process."""
    with _lock:
        return _printed_passwords.setdefault(command, PrintedPassword(command))


def known_passwords() -> set[str]:
    """The passwords that are kept in this process, for whoever must not let them through."""
    return {each.known for each in list(_printed_passwords.values()) if each.known}


def _forget() -> None:
    """Begin anew in a forked process, where a lock may be held by a thread that is not there."""
    global _lock  # noqa: PLW0603 - the old one may be held for ever
    _lock = threading.Lock()
    _printed_passwords.clear()


os.register_at_fork(after_in_child=_forget)


def _printed(command: str, side: str) -> str:
    what = f"the password command of the {side}"
    process = _started(_words(command, what), what)
    with process:
        try:
            printed, said = process.communicate(timeout=TIME_OUT)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise errors.ConnectionLost(
                f"{what} printed nothing within {TIME_OUT:.0f} s, and was ended",
                remedy=_BY_HAND + " It gets no input: one that asks a person never ends.",
            ) from None
    password = _first_line(printed)
    if process.returncode:
        ended = (
            f"was ended by signal {-process.returncode}"
            if process.returncode < 0
            else f"failed with exit code {process.returncode}"
        )
        last = _last_line(said, password)
        raise errors.ConnectionFailed(f"{what} {ended}{last and f': {last}'}", remedy=_BY_HAND)
    if not password:
        raise errors.ConfigurationError(
            f"{what} printed no password",
            remedy="It must print it as the first line of its standard output, in UTF-8. "
            + _BY_HAND,
        )
    return password


_BY_HAND = "Run it by hand, as the account and with the environment that this process has."


def _words(command: str, what: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise errors.ConfigurationError(
            f"{what} cannot be divided into words: {str(error).lower()}",
            remedy="Quote its words as a shell would have them; no shell runs it.",
        ) from None
    if not words:
        raise errors.ConfigurationError(f"{what} is empty", remedy="Write a command, or unset it.")
    return words


def _started(words: list[str], what: str) -> subprocess.Popen[bytes]:
    try:
        # In a session of its own, so that a time-out ends whatever it has started, too.
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment_for_others(),
            start_new_session=True,
        )
    except OSError as error:
        raise errors.ConfigurationError(
            f"{what} cannot be run: {words[0]}: {error.strerror}",
            remedy="Write the program's whole path, or put it on the PATH of this process. No shell runs"
            " the command; for a pipe, a variable or ~ write: sh -c '…'.",
        ) from None


def _first_line(printed: bytes) -> str:
    """The password; empty where the output is no text."""
    line = printed.partition(b"\n")[0].removesuffix(b"\r")
    with contextlib.suppress(UnicodeDecodeError):
        text = line.decode()
        return "" if "\0" in text else text
    return ""


def _last_line(said: bytes, password: str) -> str:
    """What a command said last: one line of a bounded length, without what it has printed."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    line = " ".join(printable((lines or [""])[-1]).split())
    return in_short(line.replace(password, "***") if password else line)
