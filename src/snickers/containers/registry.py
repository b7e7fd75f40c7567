"""Who asks a registry for an image: the file that ``registry auth`` names.

The file is read for each pull, so that a new password counts at once, and holds a secret: nothing
of what is in it may be repeated in a message or a log.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Mapping

from snickers.containers.engine import EngineFailed

HUB = "docker.io"
"""The registry of images whose name begins with none."""

_HUB_NAMES = (HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")

_LARGEST = 1 << 20
"""Bytes: no file of logins is larger."""


def registry_of(image: str) -> str:
    """Return the registry, with its port if it has one, that an image's name begins with."""
    first, slash, _ = image.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        return first
    return HUB


def read(path: str) -> str:
    """Return the text of a file of logins, which nobody else may read."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise EngineFailed(
                    f"registry auth = {path}: others may read this file, and it holds a password. "
                    f"It is not used until you: chmod 600 {path}"
                )
            data = file.read(_LARGEST)
    except OSError as error:
        raise EngineFailed(
            f"registry auth = {path}: it cannot be read: {error.strerror}. Write a line "
            "USER:PASSWORD into it, or the JSON that docker login makes."
        ) from None
    return data.decode("utf-8", errors="replace")


def login(text: str, image: str, path: str) -> Mapping[str, str]:
    """Return what Docker wants to be told of who asks for *image*.

    :param text: ``USER:PASSWORD``, or JSON as in Docker's ``config.json``.
    :param path: where it was read, for the words of a failure alone.
    """
    wanted = registry_of(image)
    if text.lstrip().startswith("{"):
        found = _of_json(text, wanted, path)
    else:
        found = _of_line(text.strip(), path)
    return {**found, "serveraddress": wanted}


def _of_line(line: str, path: str) -> dict[str, str]:
    user, colon, password = line.partition(":")
    if not (user and colon and password) or "\n" in line:
        raise EngineFailed(
            f"registry auth = {path}: this is no login. Write one line USER:PASSWORD into it, or "
            "the JSON that docker login makes."
        )
    return {"username": user, "password": password}


def _of_json(text: str, wanted: str, path: str) -> dict[str, str]:
    try:
        said = json.loads(text)
        auths = {_name(name): each for name, each in said.get("auths", {}).items()}
    except (ValueError, AttributeError):
        raise EngineFailed(
            f"registry auth = {path}: this is not JSON as docker login makes it."
        ) from None
    entry = auths.get(_name(wanted))
    if entry is None:
        known = ", ".join(sorted(auths)) or "none"
        raise EngineFailed(
            f"registry auth = {path}: it has no login for {wanted} (it has: {known}). Make one: "
            f"docker --config FOLDER login {wanted}"
        )
    try:
        if entry.get("identitytoken"):
            return {"identitytoken": str(entry["identitytoken"])}
        if entry.get("auth"):
            pair = base64.b64decode(entry["auth"], validate=True).decode("utf-8").rstrip("\0")
            return _of_line(pair, path)
        return {"username": str(entry["username"]), "password": str(entry["password"])}
    except (AttributeError, LookupError, ValueError, TypeError, binascii.Error):
        raise EngineFailed(
            f"registry auth = {path}: there is no password for {wanted} in it; docker login may "
            "have left it with a credential helper, which Snickers does not ask."
        ) from None


def _name(said: str) -> str:
    """Return the registry that a key of ``auths`` means: it may be an address."""
    host = said.rpartition("://")[2].partition("/")[0].lower()
    return HUB if host in _HUB_NAMES else host
