"""How the last servers of each site were made, so that the one before can come back.

Of each site the last two, of another declaration each, and one more until the newest has proven
itself. Where servers outlive Snickers this does too, in a file beside their marks (for Snickers'
own user alone: environments have secrets in them). What cannot be read, or means something else to
this version, is not known any more.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from snickers.config.values import Lifecycle, Process
from snickers.containers.engine import fingerprint
from snickers.interfaces.engine import Declared

log = Logger()


@frozen
class Made:
    """One server as it was made."""

    id: str
    started: float | None
    """Seconds since the epoch."""
    declared: Declared


class Declarations:
    """The declarations of all sites' last servers.

    :param folder: where they outlive this object, with a folder for each site, made when needed;
        empty: nowhere.
    """

    def __init__(self, folder: str = "") -> None:
        self._folder = folder
        self._made: dict[str, list[Made]] = {}

    def of(self, site: str) -> list[Made]:
        """Return the last servers of *site*, the newest last."""
        if site not in self._made and self._folder:
            self._made[site] = _read(self._path(site), site)
        return self._made.get(site, [])

    def sites(self) -> list[str]:
        """Return those of which anything is known."""
        known = {site for site, made in self._made.items() if made}
        if self._folder:
            with suppress(OSError):
                known.update(site for site in os.listdir(self._folder) if self.of(site))
        return sorted(known)

    def add(self, id: str, started: float | None, declared: Declared, beside: bool = False) -> None:
        """The server *id* was made; *beside* the last one, until `settle` says which of them it
        is to be."""
        made = list(self.of(declared.site))
        if made and not beside and fingerprint(made[-1].declared) == fingerprint(declared):
            made.pop()
        self._keep(declared.site, [*made, Made(id, started, declared)][-3:])

    def settle(self, site: str, id: str) -> None:
        """The server *id* is the last one: forget those after it, and those before the one before
        it."""
        made = self.of(site)
        after = next((index for index, each in enumerate(made) if each.id == id), None)
        if after is not None and (after + 1 < len(made) or len(made) > 2):
            self._keep(site, made[max(0, after - 1) : after + 1])

    def back_to(self, site: str, id: str) -> Declared | None:
        """Forget what came after the server *id* and return how that was made; ``None``: that is
        not known, and nothing is forgotten."""
        made = self.of(site)
        for index, each in enumerate(made):
            if each.id == id:
                self._keep(site, made[: index + 1])
                return each.declared
        return None

    def forget(self, site: str) -> None:
        """Forget all of *site*."""
        self._made.pop(site, None)
        if self._folder:
            with suppress(OSError):
                os.unlink(self._path(site))

    def _keep(self, site: str, made: list[Made]) -> None:
        self._made[site] = made
        if not self._folder:
            return
        path = self._path(site)
        said = [
            {
                "id": each.id,
                "started": each.started,
                "fingerprint": fingerprint(each.declared),
                "data": each.declared.data,
                **_said(each.declared.kind),
            }
            for each in made
        ]
        try:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "w", encoding="utf-8") as file:
                json.dump(said, file)
            os.replace(path + ".new", path)
        except OSError as error:
            log.warn(
                "{site}: how its server was made could not be kept in {path} ({error}): no older"
                " one can come back after this Snickers.",
                site=site,
                path=path,
                error=error.strerror,
            )

    def _path(self, site: str) -> str:
        return os.path.join(self._folder, site, "made")


def _said(kind: Any) -> dict[str, Any]:
    """Return what is kept of *kind*: all that makes a server, and how long it has to end."""
    assert isinstance(kind, Process)
    return {
        "command": kind.command,
        "port": kind.port,
        "directory": kind.directory,
        "environment": kind.environment,
        "user": kind.user,
        "stop_within": kind.life.stop_within,
    }


def _read(path: str, site: str) -> list[Made]:
    try:
        with open(path, encoding="utf-8") as file:
            return [made for each in json.load(file) if (made := _made(each, site)) is not None]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _made(said: dict[str, Any], site: str) -> Made | None:
    kind = Process(
        tuple(map(str, said["command"])),
        int(said["port"]),
        str(said["directory"]),
        tuple((str(name), str(value)) for name, value in said["environment"]),
        str(said["user"]),
        Lifecycle(stop_within=float(said["stop_within"])),
    )
    declared = Declared(site, kind, str(said["data"]))
    # Whatever else there is to say of a server now was not known then.
    if fingerprint(declared) != said["fingerprint"]:
        return None
    return Made(str(said["id"]), float(said["started"]), declared)
