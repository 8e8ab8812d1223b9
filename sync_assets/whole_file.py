"""Files that are replaced as a whole, so that no reader sees half of one."""

from __future__ import annotations

import os
from pathlib import Path


def replace_whole(file: Path, content: bytes, mode: int | None = None) -> None:
    """Put the content in the file's place at once, where given with that mode; raises OSError.

    It is written beside it first: a rename is at once on one file system only.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.write_bytes(content)
        if mode is not None:
            new.chmod(mode)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
