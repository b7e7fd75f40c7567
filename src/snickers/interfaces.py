"""Where the rooms meet: the small interfaces one room implements and another one uses.

A room imports this module, the values of ``snickers.config`` and nothing of another room; the
pieces are put together in ``snickers.tap``. Nothing here does anything. What travels through
these interfaces between the data plane, the lifecycle and the control room is a name, a number
or a frozen value, so that one day it can cross a process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import Factory, field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from snickers.config.values import Container, Process, Settings, Site

Address = tuple[str, int] | str
"""Where a server listens: a numeric address and a port, or the path of a unix socket."""

Fields = list[tuple[bytes, bytes]]
"""Header fields in order, names as they were or shall be sent."""


# The exchange: one request and its answer, whatever carried it (snickers.http)


class IRequest(Interface):
    """A request head that was checked: no field of it can desynchronise anybody."""

    method: bytes = Attribute("Upper case as sent, such as ``b'GET'``.")
    target: bytes = Attribute("Origin form: path and query, percent-encoded; ``b'*'`` for OPTIONS.")
    host: bytes = Attribute("The host asked for: lower case, no port, no trailing dot.")
    authority: bytes = Attribute("The Host field as sent: with its port.")
    version: int = Attribute("10 or 11 (HTTP/1.0, HTTP/1.1); 20 for HTTP/2.")
    fields: Fields = Attribute(
        "End-to-end fields only, spoofable forwarding fields removed, Host among them."
    )
    length: int | None = Attribute("Bytes of the body; 0: none; None: not known (chunked).")
    upgrade: bytes = Attribute("``b'websocket'`` for a well-formed WebSocket handshake, else b''.")

    def get(name: bytes) -> bytes | None:
        """Return the value of the field *name* (lower case); several are joined by ``b', '``."""


class IExchange(Interface):
    """One request being answered. The front calls its responder; the handler calls this.

    Every exchange ends exactly once: by `finish` (or `answer` with ``end``), by `abort`, by
    `upgrade`, or by the responder's ``gone()``. After its end the handler calls nothing of it.
    """

    request: IRequest = Attribute("What is asked.")
    peer: bytes = Attribute("The client's numeric address.")
    secure: bool = Attribute("Whether the client came by https.")
    id: bytes = Attribute("What tells this request from all others, in logs here and behind.")
    user: bytes = Attribute("Who asked, where a password was checked; ``b''``: nobody knows.")
    responder: IResponder | None = Attribute("Set by the handler before it returns or receives.")

    def receive() -> None:
        """Take the request's body: ``responder.body`` is called for its pieces from now on.

        Sends ``100 Continue`` where the client waits for it. A handler that answers without
        calling this leaves the body to the front, which drains or closes. Only for a request
        whose ``length`` is not 0.
        """

    def pause_body() -> None:
        """Call ``responder.body`` no more until `resume_body`; the client feels it."""

    def resume_body() -> None:
        """Undo `pause_body`."""

    def inform(status: int, fields: Fields) -> None:
        """Send an interim answer (100 to 199, not 101); dropped for HTTP/1.0."""

    def answer(
        status: int,
        fields: Fields,
        length: int | None,
        data: bytes = b"",
        end: bool = False,
    ) -> None:
        """Send the final head, and *data* of the body with it.

        *fields* are end-to-end fields only: no Connection, Transfer-Encoding or Content-Length;
        the front frames the body itself from *length*, the bytes of the whole body, ``None``
        when it is not known. *end*: nothing follows. For HEAD, 204 and 304 the front sends no
        body whatever it is given, and *length* is only announced (``None``: not announced).
        """

    def write(data: bytes) -> None:
        """Send more of the answer's body."""

    def finish(trailers: Fields | None = None) -> None:
        """End the answer. Fewer bytes than announced: the same as `abort`."""

    def abort() -> None:
        """The answer cannot be completed: make the client notice, never end it cleanly."""

    def upgrade(fields: Fields) -> Any:
        """Send ``101`` and return ``(transport, leftover)``: the raw transport, and the bytes
        that the client had already sent behind its request. The caller gives the transport a
        new ``protocol`` at once."""


class IResponder(Interface):
    """What a handler leaves with an exchange to hear of the client."""

    def body(data: bytes) -> None:
        """A piece of the request's body, never empty."""

    def body_end(trailers: Fields | None) -> None:
        """The request's body is complete. Not called for a request without one."""

    def pause() -> None:
        """The client reads slowly: call `IExchange.write` no more until `resume`.

        What is written all the same is kept, not lost."""

    def resume() -> None:
        """Undo `pause`."""

    def gone() -> None:
        """The client has gone, or broke the rules. The exchange is over; release everything."""


class IHandler(Interface):
    """A kind of site: answers its exchanges. One for each site; made anew when the site changes."""

    def handle(exchange: IExchange) -> None:
        """Answer *exchange*, now or later. Must not block, and must not raise."""

    def close() -> None:
        """The site has changed or was removed: let idle connections go. Open exchanges go on."""


# Leases: a personal server is kept awake by those who use it (snickers.containers)


@frozen
class Refusal:
    """Why a personal server cannot answer now."""

    kind: str
    """``"unreachable"`` 502, ``"slow"`` 504, ``"crashed"`` 503, ``"resting"`` 503 (wake is
    manual), ``"away"`` 503 (no engine), ``"stopping"`` 503 (Snickers itself ends)."""
    retry_after: int
    """Seconds after which asking again makes sense."""


@frozen
class Stage:
    """How far a personal server is."""

    phase: str = ""
    """``"asleep"``, ``"starting"``, ``"checking"``, ``"awake"``... as ``status`` shows it; ``""``:
    there is none, or nobody can say."""
    words: str = ""
    """What the engine says of a start, for its owner: not for visitors as it is."""
    late: bool = False
    """It is on its way for longer than ``wake within``."""
    address: Address | None = None
    """Where it answers, if it is awake: who goes there without a lease is not waited for."""


class IWaiter(Interface):
    """One who waits for a lease. Exactly one of the two is called, once, never inside `take`."""

    def leased(address: Address) -> None:
        """The server is ready at *address*; one use is counted, to be given back."""

    def refused(refusal: Refusal) -> None:
        """It will not be ready in time; nothing is counted, nothing is to be given back."""


class ILeases(Interface):
    """The data plane's view of personal servers' lives."""

    def take(site: str, waiter: IWaiter) -> Address | None:
        """Count one more use of *site*'s server and return its address if it is ready now.

        Otherwise return ``None``: *waiter* is told later, and a sleeping server is woken.
        """

    def give_back(site: str, address: Address) -> None:
        """One use less of the server at *address*: exactly once for each that was returned or
        leased. While one server takes another's place a site has two."""

    def forget(site: str, waiter: IWaiter) -> None:
        """*waiter* waits no more (its client has gone); it will not be called."""

    def failed(site: str, address: Address) -> None:
        """A new connection to *address* was refused or timed out: look whether it still lives."""

    def look(site: str, told: Callable[[Stage], None]) -> None:
        """Have *told* called, once, with how far *site*'s server is: at once or in a later turn.

        Nothing is counted, nothing is woken, and nothing is kept awake by it.
        """

    def ready(site: str) -> Address | None:
        """Return where *site*'s server answers now, ``None`` when nowhere; nothing is counted."""


# Two teams: what one that gives duty up knows of a server (snickers.duty)


@frozen
class Kept:
    """What is known of a personal server and cannot be asked of an engine."""

    idle: float = 0.0
    """Seconds since it was used last."""
    crashes: int = 0
    """In a row."""
    rest: float = 0.0
    """Seconds for which it rests after a crash; ``inf``: until it is changed or woken by hand."""
    put: bool = False
    """A person put it to sleep."""
    stopping: bool = False
    """It was about to be stopped, perhaps by a call that goes on."""
    detail: str = ""
    """What went wrong last, in words."""
    wakes: Mapping[str, int] = Factory(dict)
    """How many times it was started, by result."""
    woken: float = 0.0
    """Seconds that the last start took."""
    good: str = ""
    """The id of the last good server, while another one is tried; else empty."""
    updating: bool = False
    """That one is of a newer image, though the declaration is the same."""
    copied: str = ""
    """The copy of the site's folder that was made before that was tried on it."""
    back: bool = False
    """That one has failed: the good one was about to come back."""


@frozen(eq=False)
class Handed:
    """A life that is over here and goes on elsewhere."""

    uses: int
    address: Address | None
    """Where its server answers, as far as is known."""
    waiting: tuple[IWaiter, ...]
    """Who waits for a lease, in the order in which they came; none of them was told anything."""
    kept: Kept


# Engines: what runs personal servers (snickers.containers)


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


# Lives: the service that obeys the state machine (snickers.containers.service)


class LifeFailed(Exception):
    """What was asked of a personal server could not be done; the text says why, for a person."""


class ILives(Interface):
    """The lives of all personal servers, for the reload and the control room."""

    def apply(added: Sequence[Site], changed: Sequence[Site], removed: Sequence[Site]) -> None:
        """Take a new configuration's sites of kinds `Container` and `Process`; returns at once.

        A changed site whose server is declared as before keeps it running.
        """

    def states() -> Mapping[str, Mapping[str, Any]]:
        """Return for each site ``state`` (a name), ``since`` (epoch seconds), ``uses`` (leases),
        ``waiting``, ``detail`` (words, or ""), ``id`` (container id or pid, or ""); perhaps
        ``image`` (`Instance.image`) and ``notice`` (`IEngineObserver.noticed`)."""

    def wake(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Wake it and fire when it is ready; fails with `LifeFailed` in words."""

    def sleep(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Put it to sleep, draining first; fires when it sleeps."""

    def restart(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Sleep, then wake."""

    def update(site: str, progress: Callable[[str], None], image: str = "") -> Deferred[None]:
        """Have the newest image run, if there is a newer one: no request fails, the old server
        comes back when the new one does not prove itself. Fires when that is done or there is
        nothing newer; fails with `LifeFailed` in words when the old one serves again.

        *image*: this one instead of the file's; if it proves itself it is used until the file names
        another one."""

    def roll_back(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Have the server run again that was replaced last; fails with `LifeFailed` in words."""

    def logs(
        site: str, tail: int, follow: bool, receive: Callable[[bytes], None]
    ) -> Deferred[None]:
        """As `IEngine.logs`, for a site by name."""


# Copies: of sites' own folders (snickers.containers)


class CopyFailed(Exception):
    """What was asked of copies could not be done; the text says why and what would be right."""


@frozen
class Copy:
    """One copy of a site's own folder, whole and at rest where it is kept."""

    site: str
    id: str
    """Tells it from all others of the site; letters, digits and ``-``."""
    time: float
    """When it was begun, seconds since the epoch."""
    why: str
    """In words: ``"asked for"``, ``"fell asleep"``, ``"before a restore"``..."""
    size: int | None = None
    """Bytes that were copied, before anything is left out or made smaller; ``None``: not known."""


class ICopies(Interface):
    """Where copies of sites' own folders are kept. Every Deferred fails with `CopyFailed`; each may
    be cancelled: what works for it is ended, and what it had begun is removed, now or by the next
    call. Whatever befalls a call, copies that were there before are whole.

    Not for two calls for one site at a time, but for several sites at once. An implementation
    passes the suite in ``tests/copies_contract.py``.
    """

    form: str = Attribute("In a word, for a person: ``restic``, ``archive``.")

    def make(site: str, folder: str, why: str, progress: Callable[[str], None]) -> Deferred[Copy]:
        """Copy *folder*: owners, modes, times, symbolic and hard links, extended attributes; no
        sockets. Fires with the copy when it would survive a loss of power. *why* has no comma."""

    def list(site: str) -> Deferred[Sequence[Copy]]:
        """Fire with the site's copies, the oldest first."""

    def restore(site: str, id: str, folder: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Write the copy out as *folder*, which must not be there; fires when it would survive a
        loss of power. When it fails there is no *folder*."""

    def forget(site: str, ids: Sequence[str], progress: Callable[[str], None]) -> Deferred[None]:
        """Remove these copies and give their room back; those that are not there are no matter."""

    def verify(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Read all that is kept of the site; fires when every copy is as it was made."""


class ISnapshots(Interface):
    """Copies of the folders of sites that have a server of their own, for the control room. Every
    Deferred fails with `CopyFailed` in words; what was begun goes on when nobody waits any more."""

    def snapshot(site: str, progress: Callable[[str], None]) -> Deferred[Copy]:
        """Copy now; an awake server runs its ``snapshot`` command first."""

    def snapshots(site: str) -> Deferred[Sequence[Copy]]:
        """Fire with the copies there are, the oldest first."""

    def restore(site: str, id: str, progress: Callable[[str], None]) -> Deferred[Copy]:
        """Have the site's folder be as in the copy *id* (or a beginning of it that no other has, or
        ``"latest"``); fires with that copy when its server, if one was awake, is awake again.

        What was in the folder before is kept as a copy. Requests that come meanwhile wait.
        """

    def prove(site: str, id: str, progress: Callable[[str], None]) -> Deferred[Copy]:
        """Fire with the copy *id* when a server was started on it, apart from the site's own and
        from all networks, and has passed its health check."""

    def verify(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """As `ICopies.verify`."""


# The data plane, as a change of the configuration meets it


@frozen
class Change:
    """What of a new configuration concerns the data plane. It may cross a process."""

    settings: Settings | None = None
    """``[snickers]``, where something of it has changed."""
    added: tuple[Site, ...] = ()
    changed: tuple[Site, ...] = ()
    removed: tuple[str, ...] = ()
    """Sites that are no more, those that were never without a fault among them."""
    broken: tuple[str, ...] = ()
    """Sites that are new and were never without a fault: they are answered for all the same."""
    default: str = ""
    """The site that gets connections without a name, by one of its names; ``""``: none does."""
    certificates: tuple[str, ...] = ()
    """Sites whose certificate's files were replaced and are to be read again, by name. A change
    that names some says nothing else, not even of the default site."""


class IPlane(Interface):
    """The data plane: all who answer visitors, in this process and in others."""

    def apply(change: Change) -> None:
        """Have *change* hold from now on. What fails for one site is logged and harms no other."""


# Other processes of the data plane (snickers.workers)


BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, the bounds of a histogram of answers: those that Prometheus' own clients have."""


@frozen
class Traffic:
    """What visitors of a site have had so far. It may cross a process."""

    codes: tuple[tuple[int, int], ...] = ()
    """How many answers there were of each status."""
    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    """How many took no longer than each of `BOUNDS`, and longer than the one before; the last:
    longer than all."""
    seconds: float = 0.0
    """That they took together."""
    received: int = 0
    """Bytes from visitors, without TLS."""
    sent: int = 0
    """...and to them."""

    def __add__(self, other: Traffic) -> Traffic:
        codes = dict(self.codes)
        for status, number in other.codes:
            codes[status] = codes.get(status, 0) + number
        return Traffic(
            tuple(sorted(codes.items())),
            tuple(a + b for a, b in zip(self.buckets, other.buckets, strict=True)),
            self.seconds + other.seconds,
            self.received + other.received,
            self.sent + other.sent,
        )


NO_TRAFFIC = Traffic()


@frozen
class Share:
    """What other processes have of a site, together."""

    requests: int = 0
    connections: int = 0
    uses: int = 0
    """Uses of its server beyond those that its life counts."""
    certificate: Mapping[str, Any] | None = None
    """As `ICertificates.states` says it, where one of them has loaded it."""
    traffic: Traffic = NO_TRAFFIC


NOTHING = Share()


class IColleagues(Interface):
    """The other processes, as the one in charge asks after them."""

    def freshen() -> Deferred[None]:
        """Fire when `share` and `report` say what holds now, or when one is too slow to tell.
        Never fails."""

    def share(site: str) -> Share:
        """Return what they have of *site*."""

    def report() -> list[dict[str, Any]]:
        """Return for each ``pid``, ``since`` (epoch seconds), ``requests``, ``connections``, and
        ``serving``: whether it accepts connections."""

    def handshakes() -> Mapping[str, int]:
        """Return how many of their TLS handshakes ended how."""


# Certificates (snickers.tls)


class ICertificates(Interface):
    """Certificates of all sites, for the reload and the control room."""

    def apply(added: Sequence[Site], changed: Sequence[Site], removed: Sequence[Site]) -> None:
        """Take a new configuration's sites; returns at once and reads nothing."""

    def states() -> Mapping[str, Mapping[str, Any]]:
        """Return for each site whose certificate was loaded, or could not be: ``source``
        (``"files"``, ``"internal"``, ``"acme"``, or what stands in and why: ``"internal (acme: none
        yet)"``), ``issuer`` (who has signed it), ``not_after`` (epoch seconds, 0: there is none),
        ``names``, ``next`` (epoch seconds, when it is renewed if that is ours to do, or ``None``),
        ``fault`` (words, or "")."""

    def reread(site: str) -> None:
        """Read *site*'s certificate anew, whose files were replaced; no connection is touched.
        One that cannot be used leaves what is in use."""

    def renew(site: str) -> Deferred[None]:
        """Have a new certificate made for *site* where that is ours to do, or its files read, now.

        Fires when it is in use; fails with `snickers.tls.credentials.CertificateUnavailable` in
        words when that cannot be, and what was in use goes on.
        """


class IRenewer(Interface):
    """Certificates from an authority on the network, ordered and renewed (snickers.acme)."""

    def apply(added: Sequence[Site], changed: Sequence[Site], removed: Sequence[Site]) -> None:
        """Take a new configuration's sites, those with other certificates among them; returns at
        once. What is lacking or due is ordered by itself; what is under way goes on."""

    def renew(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Have a new certificate ordered for *site* now, whatever the date of the one there is.

        *progress* is called with words for each step. Fires when the new one is stored; fails with
        `snickers.tls.credentials.CertificateUnavailable` in words, with the old one in place.
        """

    def states() -> Mapping[str, Mapping[str, Any]]:
        """Return for each of its sites ``step`` (words: ``"waiting"``, ``"ordering"``...), ``next``
        (epoch seconds of the next try or renewal, or ``None``), ``fault`` (words, or ""),
        ``challenge`` (the one that has worked last, or ""), ``authority`` (the directory's URL of
        the one that has signed, or ""), ``ari`` (the authority's window, two epoch seconds, or
        ``None``)."""


@frozen
class Submitted:
    """A certificate that a person has: what is in the files."""

    certificate: bytes
    """PEM; perhaps with the chain."""
    key: bytes = field(repr=False)
    """PEM."""
    chain: bytes = b""
    """PEM; empty: it is with the certificate, or there is none."""
    paths: tuple[str, str, str] = ("CERT", "KEY", "CHAIN")
    """What the person calls the files."""


@frozen
class TakenIn:
    """What became of what was submitted."""

    problems: tuple[str, ...] = ()
    """Why nothing was done, in words."""
    notes: tuple[str, ...] = ()
    """What was put right, or is to be known."""
    folder: str = ""
    """Where it is now."""
    names: tuple[str, ...] = ()
    issuer: str = ""
    not_after: float = 0.0
    """Epoch seconds."""
    obstacle: str = ""
    """Why it could not be written by Snickers, in words: `undone` is what is to be done."""
    undone: tuple[tuple[str, str | None, bool], ...] = field(default=(), repr=False)
    """Step by step: a file's name in `folder`, its text (``None``: it is to be removed), and
    whether that is a secret."""


class CertifyingFailed(Exception):
    """What was asked of certificates could not be done; the text says why, for a person."""


class ICertifying(Interface):
    """What a person may ask of sites' certificates. Answers are JSON-able."""

    def report() -> list[dict[str, Any]]:
        """Return for each site whose TLS is opened here ``site``, ``names`` (its own), ``wanted``
        (the source that the configuration names), and as `ICertificates.states` and
        `IRenewer.states` have it: ``source`` (empty: nobody has asked for it yet), ``issuer``,
        ``not_after``, ``days`` (left), ``step``, ``next``, ``fault``, ``challenge``,
        ``authority``."""

    def renew(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Have a new certificate for *site* now, from where it has its certificates from. Fires
        when it is in use; fails with words."""

    def take_in(site: str, host: str, submitted: Submitted) -> Deferred[dict[str, Any]]:
        """Have what was *submitted* be the certificate of *host*, one of the names of *site*, where
        ``certificates = files`` looks for it.

        Fires with ``problems`` (words) when it is not fit, and nothing was touched; else with
        ``folder``, ``names``, ``issuer``, ``not_after``, ``notes`` (words), and ``advice``: what to
        write into the configuration, or ""; and where Snickers may not write there ``obstacle`` and
        ``undone``, as `TakenIn` has them. Fails with `CertifyingFailed`.
        """


class IAlarm(Interface):
    """Tells a person."""

    def raised(kind: str, site: str, message: str) -> None:
        """Raise an alarm: logged, kept for ``status``, given to the alarm command. The same
        (kind, site, message) is told once until `cleared`."""

    def cleared(kind: str, site: str) -> None:
        """What was raised holds no more."""


# The running whole, for the control room (snickers.control)


@frozen
class Metrics:
    """What is measured, for who draws curves of it; numbers since the start."""

    sites: Mapping[str, Traffic]
    handshakes: Mapping[str, int]
    """How many TLS handshakes ended how."""
    status: Mapping[str, Any]
    """As `IFrontDoor.status` says it."""
    lives: Mapping[str, Mapping[str, Any]]
    """As `ILives.states` says it."""


class IFrontDoor(Interface):
    """What the control room may ask of the running Snickers. Answers are JSON-able."""

    def freshen() -> Deferred[None]:
        """Fire when what the others say can tell what holds now, what other processes know
        included. Never fails: a process that does not answer soon is not waited for."""

    def status() -> dict[str, Any]:
        """Return ``{"version", "pid", "since", "config", "faults": [...], "alarms": [...],
        "sites": [{"site", "kind", "state", "since", "requests", "connections", "waiting",
        "certificate_days", "detail", ...}]}``."""

    def metrics() -> Metrics:
        """Return what is measured."""

    def plan() -> Deferred[dict[str, Any]]:
        """Fire with what a reload would do: ``{"added": [{"site", "kind"}], "changed": [{"site",
        "options": {name: [old, new]}, "closes": n}], "removed": [{"site", "closes": n}],
        "settings": [names that need a restart or apply at once], "faults": [...]}``."""

    def reload() -> Deferred[dict[str, Any]]:
        """Reload now; fires with the same form as `plan`, of what was done."""
