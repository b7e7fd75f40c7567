"""What is known of servers that outlive Snickers, in the state folder: what the next one needs to
take them over as if they were its own.

A folder for each site: ``server`` (JSON, for Snickers' own user alone: environments have secrets
in them), the pipe ``output`` and the journal. A mark is believed only for a process of the same
number, the same time of start and the same boot. What cannot be read, or was written by a version
that says other things, is no mark; then the server is ended like any other that was left behind.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from attrs import asdict, frozen
from twisted.logger import Logger

from snickers.containers import sessions
from snickers.containers.launching import Place
from snickers.interfaces.engine import Instance

log = Logger()

_FORM = 1
"""Raised when what is written means something else."""
_HIGHEST = 1 << 22
"""No process has a higher number (proc(5), ``pid_max``)."""


@frozen
class Mark:
    """One server that outlives Snickers."""

    start: int
    """Of its process, as `sessions.Stat.start`."""
    boot: str
    instance: Instance
    stop_within: float
    place: Place
    ending: bool = False
    """It was told to end."""


class Marks:
    """The marks of all sites.

    :param folder: made when needed.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def folder(self, site: str) -> str:
        """Return where what there is of *site* is kept."""
        return os.path.join(self._folder, site)

    def pipe(self, site: str) -> str:
        """Return the path of the pipe that *site*'s server writes to."""
        return os.path.join(self.folder(site), "output")

    def make_folder(self, site: str) -> None:
        """Have `folder` be there. Raises `OSError`."""
        # The mode is for the last one only.
        for path in (os.path.dirname(self._folder), self._folder, self.folder(site)):
            os.makedirs(path, 0o700, exist_ok=True)

    def write(self, mark: Mark) -> None:
        """Have *mark* be the one of its site. Never fails: without it the server runs, and is ended
        instead of taken over by the next Snickers."""
        site = mark.instance.site
        path = self._path(site)
        try:
            self.make_folder(site)
            fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "w", encoding="utf-8") as file:
                json.dump({"form": _FORM, **asdict(mark)}, file)
            os.replace(path + ".new", path)
        except OSError as error:
            log.warn(
                "{site}: its server could not be noted in {folder} ({error}). It serves, but will"
                " not outlive this Snickers.",
                site=site,
                folder=self.folder(site),
                error=error.strerror,
            )

    def read(self) -> list[Mark]:
        """Return the marks of this boot."""
        try:
            names = sorted(os.listdir(self._folder))
        except OSError:
            return []
        boot = sessions.boot()
        found = [self._read(name) for name in names]
        return [mark for mark in found if mark is not None and mark.boot == boot]

    def forget(self, site: str, id: str) -> None:
        """Undo `write`, unless another server was noted since."""
        mark = self._read(site)
        if mark is None or mark.instance.id == id:
            with suppress(OSError):
                os.unlink(self._path(site))

    def remove(self, site: str) -> None:
        """Forget all that there is of *site*."""
        for path in (self._path(site), self.pipe(site)):
            with suppress(OSError):
                os.unlink(path)
        with suppress(OSError):
            os.rmdir(self.folder(site))

    def _path(self, site: str) -> str:
        return os.path.join(self.folder(site), "server")

    def _read(self, site: str) -> Mark | None:
        try:
            with open(self._path(site), encoding="utf-8") as file:
                mark = _mark(json.load(file))
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return mark if mark.instance.site == site else None


def _mark(said: dict[str, Any]) -> Mark:
    if said["form"] != _FORM:
        raise ValueError
    instance, place = said["instance"], said["place"]
    host, port = instance["address"]
    pid = int(instance["id"])
    if not 0 < pid <= _HIGHEST:
        raise ValueError
    user = place["user"]
    return Mark(
        start=int(said["start"]),
        boot=str(said["boot"]),
        instance=Instance(
            site=str(instance["site"]),
            id=str(pid),
            fingerprint=str(instance["fingerprint"]),
            running=True,
            address=(str(host), int(port)),
            started=float(instance["started"]),
            paused=bool(instance["paused"]),
        ),
        stop_within=float(said["stop_within"]),
        place=Place(
            str(place["directory"]),
            {str(name): str(value) for name, value in place["environment"].items()},
            None if user is None else (int(user[0]), int(user[1]), tuple(map(int, user[2]))),
        ),
        ending=bool(said["ending"]),
    )
