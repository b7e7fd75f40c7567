"""The last deployment and its end, kept in the keeper's folder, for ``snickers teams`` to show.

The folder belongs to the teams' user, and who deploys may be root: so it is opened once, no link is
followed in it, and what is read there is only ever shown. Blocks. Must never be a reason for a
deployment to fail.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from attrs import asdict, frozen

NAME = "deploy.json"
LIMIT = 1 << 16
"""Bytes that are read: what is written has some hundred."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen
class LastDeploy:
    """One deployment."""

    team: str
    source: str
    """As it was asked for; empty: the newest of the branch."""
    began: float
    """Seconds since the epoch."""
    ended: float | None = None
    """``None``: it is under way, or was killed."""
    failed: bool = False
    words: str = ""
    """How it ended."""


def write(folder: str, deploy: LastDeploy) -> None:
    """Have *deploy* be the last one. Raises `OSError`."""
    descriptor = os.open(folder, _FOLDER)
    new = f"{NAME}.new"
    try:
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=descriptor)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(new, flags, 0o600, dir_fd=descriptor), "w", encoding="utf-8") as file:
            json.dump(asdict(deploy), file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, NAME, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(folder: str) -> dict[str, Any] | None:
    """Return what the last one was, ``None`` where nothing is known of one."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(os.path.join(folder, NAME), flags), "rb") as file:
            told = json.loads(file.read(LIMIT))
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None
