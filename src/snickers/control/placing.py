"""Files that the running Snickers may not write, written by who runs the command and may.

Where certificates are root's, the front door only reads them. What it would have written is then
done here, step by step, in the folder that the configuration names and no other: an answer of the
server must never make a command of root's write, or give away, anything else; nor must anybody who
can put a link where the folder should be.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from typing import Any

from snickers.disk import keep, make_folder, replace

NAMES = frozenset({"cert.pem", "key.pem", "ca.pem", "previous.pem"})


class NotPlaced(Exception):
    """The server's answer is none that could be followed."""


def place(directory: str, folder: str, undone: Iterable[Sequence[Any]], group: int) -> None:
    """Do what is *undone* in the folder called *folder* below *directory*, durably; secrets are for
    the user that does it and for *group* alone. Raises `OSError` and `NotPlaced`.
    """
    name = os.path.basename(folder)
    if not name or name.startswith("."):
        raise NotPlaced(f"{folder!r} is no folder of a host")
    path = os.path.join(directory, name)
    if os.path.isdir(directory):
        _only_ours(directory, os.stat(directory))
    if os.path.lexists(path):
        _only_ours(path, os.lstat(path))
    else:
        make_folder(path)
        os.chown(path, -1, group)
        os.chmod(path, 0o750)
    for file, text, secret in undone:
        if not isinstance(file, str) or file not in NAMES or not isinstance(text, str | None):
            raise NotPlaced(f"{file!r} is no file of a certificate")
        if text is None:
            os.unlink(os.path.join(path, file))
            keep(path)
            continue
        replace(os.path.join(path, file), text.encode(), 0o640 if secret else 0o644, group)


def _only_ours(path: str, found: os.stat_result) -> None:
    """Fail unless nobody but who runs this, and root, can have it lead elsewhere.

    Who runs Snickers has said that it may not write there: what it may is not what was meant.
    """
    if not stat.S_ISDIR(found.st_mode):
        raise NotPlaced(f"{path} is a link or a file: a folder would be right")
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        raise NotPlaced(f"others can write to {path}: chown root {path} && chmod go-w {path}")
