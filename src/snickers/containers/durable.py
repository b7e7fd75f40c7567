"""Small files that are there whole or not at all, also after a loss of power.

Blocks: for threads. It must never write into a file that others may be reading.
"""

from __future__ import annotations

import os
import secrets

from snickers.disk import keep

PARTIAL = ".partial"
"""The end of the name of what is not whole yet."""


def write(path: str, data: bytes, replace: bool = True) -> None:
    """Write the file *path*, for its owner alone. Without *replace* one that is there stays."""
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
    keep(os.path.dirname(path))
