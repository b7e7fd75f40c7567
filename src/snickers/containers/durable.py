"""Small files that are there whole or not at all, also after a loss of power.

Blocks: for threads. It must never write into a file that others may be reading.
"""

from __future__ import annotations

import os
import secrets

PARTIAL = ".partial"
"""The end of the name of what is not whole yet."""


def sync_folder(folder: str) -> None:
    """Have what was made, renamed or removed in *folder* survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: str) -> None:
    """Have *folder* be there, those made for its owner alone."""
    if not os.path.isdir(folder):
        make_folder(os.path.dirname(folder))
        os.mkdir(folder, 0o700)
        sync_folder(os.path.dirname(folder))


def write(path: str, data: bytes, replace: bool = True) -> None:
    """Write the file *path*, for its owner alone. Without *replace* one that is there stays."""
    folder = os.path.dirname(path)
    partial = f"{path}.{secrets.token_hex(4)}{PARTIAL}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if replace:
            os.rename(partial, path)
        else:
            try:
                os.link(partial, path)
            except FileExistsError:
                pass
            os.unlink(partial)
    except BaseException:
        try:
            os.unlink(partial)
        except FileNotFoundError:
            pass
        raise
    sync_folder(folder)
