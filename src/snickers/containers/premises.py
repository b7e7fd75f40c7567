"""What can be seen to be wrong before a process is started, and is said before anything is touched.

It makes the site's own folder where that is missing, and nothing else.
"""

from __future__ import annotations

import os
import random
import shutil
import socket

from snickers.config.values import Process
from snickers.containers.account import Account
from snickers.containers.engine import EngineFailed
from snickers.interfaces.engine import Declared

ADDRESS = "127.0.0.1"
"""Where servers listen: nobody but this host shall reach them but through Snickers."""


QUIET = range(20_000, 32_768)
"""Ports below those that systems give to outgoing connections (ip(7), ``ip_local_port_range``): one
of those could be taken by any client between our look and the server's own bind."""
TRIES = 20


def free(wanted: int) -> int:
    """Return a port of `ADDRESS` that nothing listens on: *wanted*, or any for 0."""
    if wanted == 0:
        for port in random.sample(QUIET, TRIES):
            try:
                return _free(port)
            except EngineFailed:
                continue
    return _free(wanted)


def _free(wanted: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Else connections that have just ended would count as listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, wanted))
        except OSError as error:
            raise EngineFailed(
                f"port = {wanted}: {error.strerror}. Whatever listens there would answer instead "
                "of this site; leave port out to have a free one chosen."
            ) from None
        port: int = probe.getsockname()[1]
    return port


def folders(declared: Declared, user: Account | None) -> str:
    """Make the site's own folder if it is missing; return the directory to work in."""
    assert isinstance(declared.kind, Process)
    try:
        if declared.data and not os.path.isdir(declared.data):
            os.makedirs(declared.data, 0o700)
            if user is not None:
                os.chown(declared.data, user.uid, user.gid)
    except OSError as error:
        raise EngineFailed(
            f"The site's folder {declared.data} cannot be made: {error.strerror}."
        ) from None
    directory = declared.kind.directory or declared.data
    if not os.path.isdir(directory):
        raise EngineFailed(f"directory = {directory}: there is no such folder. Make it.")
    return directory


def program(kind: Process, directory: str, path: str) -> None:
    """Fail if the command cannot be found: in *directory*, or in *path* where it has no slash."""
    name = kind.command[0]
    if "/" in name:
        found = shutil.which(os.path.join(directory, name))
    else:
        found = shutil.which(name, path=dict(kind.environment).get("PATH", path))
    if found is None and "/" in name and os.path.isfile(os.path.join(directory, name)):
        raise EngineFailed(
            f"command = {name}: the file may not be executed. Allow it: chmod +x "
            f"{os.path.join(directory, name)}"
        )
    if found is None:
        where = f"in {directory}" if "/" in name and not name.startswith("/") else "here"
        where = where if "/" in name else "in PATH"
        raise EngineFailed(
            f"command = {name}: there is no such program {where}. Install it, or give its "
            "whole path."
        )
