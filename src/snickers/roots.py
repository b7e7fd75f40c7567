"""Whether the folders of `static` sites are there, said before a visitor finds that they are not.

A missing folder is no fault, since it may be on a disk that is mounted later. It blocks, so it runs
in a thread, and never on the way of a request; it must never wait for long: a disk that does not
answer keeps nobody from starting, reloading or looking at the status.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from threading import Lock, Thread

from snickers.config.values import Fault, Site, Static

LOOK_WITHIN = 2.0
"""Seconds for all folders together; a disk that is alive answers thousands of times in that."""


def warnings(sites: Iterable[Site], found: dict[str, str]) -> tuple[Fault, ...]:
    """Return what was *found* of *sites* as lines like those of faults, each at its section."""
    return tuple(
        Fault(site.where, site.name, "root", f"warning: {found[site.name]}")
        for site in sites
        if site.name in found
    )


class Roots:
    """Looks at folders; one that does not answer is waited for by one thread, however often."""

    def __init__(self, within: float = LOOK_WITHIN) -> None:
        self._within = within
        self._lock = Lock()
        self._thread: Thread | None = None
        self._at = ""
        self._found: dict[str, str] = {}

    def look(self, sites: Iterable[Site]) -> dict[str, str]:
        """Return, by the name of its site, what is wrong with the folder of each of *sites* that
        has one. Blocks, for *within* seconds at most for each who asks."""
        with self._lock:
            if self._thread is None:
                self._found = {}
                wanted = [site for site in sites if site.enabled and isinstance(site.kind, Static)]
                # A thread that waits for a disk cannot be ended: Python must not wait for it.
                self._thread = Thread(target=self._look, args=(wanted, self._found), daemon=True)
                self._thread.start()
                self._thread.join(self._within)
            found = dict(self._found)
            if self._thread.is_alive():
                found[self._at] = "its folder does not answer: is its disk away?"
            else:
                self._thread = None
            return found

    def _look(self, sites: Iterable[Site], found: dict[str, str]) -> None:
        for site in sites:
            assert isinstance(site.kind, Static)
            self._at = site.name
            if wrong := wrong_with(site.kind.root):
                found[site.name] = wrong


def wrong_with(root: str) -> str:
    """Return what keeps the folder *root* from being served, in words; ``""``: nothing. Blocks."""
    try:
        # As it is opened for a visitor; what is wrong beneath it is each file's own matter.
        os.close(os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"{root} does not exist; visitors get 503 until there is a folder"
    except NotADirectoryError:
        return f"{root} is no folder; visitors get 503 until it is one"
    except OSError as problem:
        return f"{root} cannot be opened: {problem.strerror}; visitors get 503{_who()}"
    if not os.access(root, os.X_OK, effective_ids=True):
        return f"{root} cannot be read: Permission denied; visitors get no file of it{_who()}"
    return ""


def _who() -> str:
    """Return who has looked: a person looks as another user than the one that serves."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    return f" (seen as the user {name})"
