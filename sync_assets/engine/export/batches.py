"""Batch files: one folder a run, readable by nobody else, gone when the run is.

The folder is locked while its run lives, so whatever a killed run left behind can be told from the
files of a living one, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from sync_assets.engine import errors

BUFFER = 1 << 16
"""psycopg2 hands COPY over row by row; behind a buffer of this size that costs half."""

MOST_BYTES = 16 << 20
"""Of rows in one file: what follows goes into another, which may be loaded or wait by itself."""

BINARY_HEADER = 19
"""Bytes that binary COPY data begins with; the manual, "COPY", "Binary Format"."""

BINARY_END = b"\xff\xff"
"""The bytes that binary COPY data ends with."""


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
"""Nothing else under that name: to open a pipe would wait for who writes into it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A file with rows that one chunk of a group's member has, or with their keys alone."""

    path: Path
    rows: int
    bytes: int
    member: int = 0
    keys_only: bool = False

    def discard(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


class DiskBudget:
    """Holds exports back while the batch files on disk are over the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._changed = threading.Condition()

    def wait_for_room(self, stopped: Callable[[], bool], seconds: float) -> bool:
        """Wait until there is room, or `stopped` says so; False when neither came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._has_room() or stopped(), seconds)

    def _has_room(self) -> bool:
        return not self._used or self._used < self._limit

    def change(self, count: int) -> None:
        """Bytes were written, or with a minus sign, removed."""
        with self._changed:
            self._used += count
            self._changed.notify_all()


def _noting(
    write: Callable[[bytes], object], pages: set[int], most: int
) -> Generator[None, bytes, None]:
    """Pass rows of CSV on, and add their last value to `pages`, if it is no NULL."""
    while True:
        row = yield
        if not row.endswith(b",\n") and len(pages) <= most:
            pages.add(int(row[row.rindex(b",") + 1 :]))
        write(row)


class _Counted(io.FileIO):
    """A file that says how much was written to it."""

    def __init__(self, descriptor: int, written: Callable[[int], None]) -> None:
        super().__init__(descriptor, "w")
        self._written = written

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        count = super().write(data)
        self._written(count)
        return count


class BatchFile(io.BufferedWriter):
    """A new file for one batch, mode 0600, reporting bytes as they reach it; `size` are those."""

    def __init__(self, path: Path, written: Callable[[int], None]) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        self.path, self.size = path, 0
        self._report = written
        super().__init__(_Counted(descriptor, self._count), BUFFER)  # type: ignore[arg-type]

    def _count(self, count: int) -> None:
        self.size += count
        self._report(count)


class Files:
    """What COPY writes to: one file after another, each of whole rows and COPY data by itself.

    `opening` makes the next file; `complete` is told of one that is full and how many rows it has.
    It may wait, or raise and so end the COPY.
    """

    def __init__(
        self,
        opening: Callable[[], BatchFile],
        complete: Callable[[BatchFile, int], None],
        *,
        binary: bool,
    ) -> None:
        self._opening, self._complete, self._binary = opening, complete, binary
        self._file: BatchFile | None = None
        self._rows = 0
        self._filling = self._fill()
        next(self._filling)
        # A message of the protocol is a row, and psycopg2 calls once for each: to resume a generator
        # costs half of what a method's call does.
        self.write = self._filling.send

    def note(self, pages: set[int], most: int) -> None:
        """From now on, add to `pages` the last value of each row of CSV that has one, up to `most`."""
        noting = _noting(self.write, pages, most)
        next(noting)
        self.write = noting.send

    def read(self, _size: int = -1) -> bytes:
        """Nothing: psycopg2 wants the method to exist."""
        return b""

    def close(self) -> None:
        """Close the file that is open, whatever is in it."""
        self._filling.close()

    def finish(self) -> None:
        """Complete the last file, once COPY has written everything."""
        self.close()
        if self._file is not None:
            # The end of binary data is a message of its own, and goes with the beginning where
            # there are no rows.
            self._complete(self._file, self._rows - self._binary)

    def _fill(self) -> Generator[None, bytes, None]:
        row = yield
        header = row[:BINARY_HEADER] if self._binary else b""
        data = row
        while True:
            with self._opening() as self._file:
                yield from self._take(self._file, data)
            self._complete(self._file, self._rows)
            self._file = None
            data = header + (yield)

    def _take(self, file: BatchFile, data: bytes) -> Generator[None, bytes, None]:
        put, count = file.write, 1
        put(data)
        try:
            while file.size < MOST_BYTES:
                put((yield))
                count += 1
        finally:
            self._rows = count
        if self._binary:
            put(BINARY_END)


@contextlib.contextmanager
def batch_folder(root: Path | None = None) -> Iterator[Path]:
    """A private folder for one run's batch files, removed at the end with all that is in it."""
    base = base_folder(root)
    with _flocked(base):
        # Nobody sweeps between the folder's creation and its lock.
        _sweep(base)
        folder = Path(tempfile.mkdtemp(prefix="sync-assets-run-", dir=base))
        lock = os.open(folder, _FOLDER)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def _flocked(folder: Path) -> Iterator[None]:
    """Be the only process that changes what is in a folder."""
    lock = os.open(folder, _FOLDER)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def base_folder(root: Path | None = None) -> Path:
    """The folder that holds the runs' folders, made if need be; raises ConfigurationError."""
    base = Path(root or os.environ.get("SYNC_BATCH_DIR") or _temporary())
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        failure = _unfit(base.lstat())
    except OSError as error:
        failure = str(error)
    if failure:
        raise errors.ConfigurationError(
            f"batch files cannot be kept in {base}: {failure}",
            remedy="Name a folder of your own in SYNC_BATCH_DIR, or one in there that is yet to be"
            " made: it is made for you alone.",
        )
    return base


def _unfit(found: os.stat_result) -> str | None:
    """Why a folder may hold what others have put there; what it holds is named by its path."""
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return "it is not a folder of this user"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write into it (mode {stat.S_IMODE(found.st_mode):o})"
    return None


def _temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"sync-assets-{os.geteuid()}"


def _sweep(base: Path) -> None:
    """Remove the folders of runs that are no longer alive."""
    for folder in base.glob("sync-assets-run-*"):
        with contextlib.suppress(OSError):
            lock = os.open(folder, _FOLDER)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


@dataclass(slots=True)
class Exported:
    """What an export has moved so far of one table."""

    chunks: int = 0
    chunks_done: int = 0
    rows: int = 0
    keys: int = 0
    bytes: int = 0

    def __add__(self, other: Exported) -> Exported:
        """What two exports have moved together."""
        return Exported(*map(sum, zip(astuple(self), astuple(other), strict=True)))
