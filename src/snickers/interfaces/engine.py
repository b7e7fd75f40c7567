"""What runs personal servers: where their lives meet Docker, processes, or a broker.

What is to run is declared, what runs is listed, every call may be made again. Nothing here may say
what is to be done next: that is the lives' own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from snickers.config.values import Container, Process

Address = tuple[str, int] | str
"""Where a server listens: a numeric address and a port, or the path of a unix socket."""


@frozen
class Declared:
    """What an engine is to run for one site."""

    site: str
    kind: Container | Process
    data: str
    """The site's own folder on this host; made if missing, by the engine."""
    exact: str = ""
    """Which image of that name (see `Instance.image`), as long as a server that was made from it
    is known; a *fresh* start goes beyond it. Empty: what the name means now."""


@frozen
class Instance:
    """One server an engine knows of."""

    site: str
    id: str
    fingerprint: str
    """Of the `Declared` it was made from: another declaration has another one."""
    running: bool
    address: Address | None
    """Where it listens, when it runs."""
    started: float | None = None
    """Seconds since the epoch."""
    paused: bool = False
    """It runs and is frozen: it has its memory and gets no processor."""
    image: str = ""
    """What it was made from, as exactly as is known: an image with its digest; empty: nothing."""
    beside: bool = False
    """It runs beside the one that serves, and has not been `IEngine.settle`-d."""


@frozen
class Load:
    """What a server has used since it was started."""

    processor: float
    """Seconds of processor time."""
    traffic: int | None = None
    """Bytes over its network, both ways, those of visitors too; ``None``: nobody can say."""


@frozen
class Ran:
    """How a command inside of a server ended."""

    code: int
    output: str
    """The last lines of what it wrote, to either output, for a person to read."""


@frozen
class Exit:
    """How a server ended."""

    site: str
    id: str
    code: int | None
    out_of_memory: bool = False
    part: str = ""
    """Which part of a server of several it was that ended; empty: all of it, or the one that
    answers."""


class IEngineObserver(Interface):
    """Told by an engine what happened; always in the reactor's thread."""

    def exited(exit: Exit) -> None:
        """A server ended, whether asked to or not."""

    def lost(reason: str) -> None:
        """The engine itself cannot be reached; nothing is known of its servers until `found`."""

    def found() -> None:
        """The engine is there (again): list it."""

    def noticed(site: str, words: str) -> None:
        """The owner of *site* should know this of its server, which runs all the same; holds until
        it is told anew. Empty: nothing, any more."""


class IEngine(Interface):
    """Runs servers. Every call is idempotent; every Deferred fails with `EngineFailed` or
    `EngineAway` (``snickers.containers.engine``) whose text is in words for the owner.

    An implementation passes the suite in ``tests/engine_contract.py``.
    """

    def fingerprint(declared: Declared) -> str:
        """Return what tells one declaration from another."""

    def watch(observer: IEngineObserver) -> None:
        """Begin to connect and to tell *observer*: first `found` or `lost`, then what happens."""

    def list() -> Deferred[Sequence[Instance]]:
        """Fire with every server that Snickers made here, running or not."""

    def prepare(declared: Declared, fresh: bool, progress: Callable[[str], None]) -> Deferred[bool]:
        """Have at hand what a start of *declared* needs, such as its image, and touch nothing that
        runs. *fresh*: look whether there is a newer image.

        Fires with whether a start, as fresh, would make another server than there is."""

    def settle(site: str, id: str, spare: str = "") -> Deferred[None]:
        """The server *id* is the right one: end what runs beside it, but for *spare*, and forget
        all others of the site but the one that ran before it; what came after it is called off and
        forgotten, too. Fires when nothing is left to be ended or forgotten."""

    def revert(site: str, id: str, progress: Callable[[str], None]) -> Deferred[Instance]:
        """Have the server *id* run again, which ran before, and end and forget what came after it.

        Fires with it as it runs now, perhaps with another id; fails with `EngineFailed` when it
        was forgotten or cannot be started."""

    def start(
        declared: Declared, progress: Callable[[str], None], fresh: bool = False, beside: str = ""
    ) -> Deferred[Instance]:
        """Have exactly one server of *declared* run; one of another fingerprint is replaced, with
        *fresh* also one of an older image. What was replaced has ended and is kept for `revert`,
        until `settle` or `remove` forgets it.

        *beside*: the server of this id runs on, and another one is started beside it.

        Fires when the server was started, which does not say that it answers yet. *progress* is
        called with words such as ``"pulling"``.
        """

    def stop(site: str, within: float) -> Deferred[None]:
        """Ask the site's server, or both, to end, kill after *within* seconds; fires when ended.

        Fires too when none runs.
        """

    def remove(site: str) -> Deferred[None]:
        """Forget the site: stop its server, remove what was made for it. Data stays."""

    def pause(site: str) -> Deferred[None]:
        """Freeze the site's server: it keeps its memory and its connections. Fires when it is
        frozen, also when it was already; fails with `EngineFailed` when none runs."""

    def resume(site: str) -> Deferred[None]:
        """Undo `pause`. Fires when it goes on, also when it was not frozen; fails with
        `EngineFailed` when none runs."""

    def run(site: str, command: Sequence[str], within: float) -> Deferred[Ran]:
        """Run *command* inside of the site's server: in its container as the user of the server,
        or beside its process, in its folder and with its environment.

        Fires with how it ended, whatever its status; fails with `EngineFailed` when no server runs,
        when there is no such command, or when it was not done within so many seconds: then it is
        killed as far as it can be."""

    def loads() -> Deferred[Mapping[str, Load]]:
        """Fire with what each running server has used since it was started, by site; one that is
        paused or cannot be looked at is left out."""

    def healthy(instance: Instance) -> Deferred[bool]:
        """Fire with what the engine's own check says (``health = docker``)."""

    def logs(
        site: str, tail: int, follow: bool, receive: Callable[[bytes], None]
    ) -> Deferred[None]:
        """Give *receive* the last *tail* lines, and with *follow* what comes until cancelled."""

    def close() -> Deferred[None]:
        """Let go of threads and connections; servers of containers run on."""
