"""Sites that are a folder of files.

Small files are answered from memory within the call that asked for them; what has to be looked
for, or read from a disk, is fetched by threads. The reactor must never wait for a disk here, no
answer may be longer or shorter than its head says, and no descriptor may outlive its answers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from os import urandom
from typing import Any, Protocol
from urllib.parse import quote_from_bytes

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.config.values import Static
from snickers.http.conditions import NOT_MODIFIED, read_conditions
from snickers.http.connections import Connections
from snickers.http.filebody import FileBody
from snickers.http.filecache import FileCache, Kept, Shelf, Slot
from snickers.http.files import Folder, Found, Listing, Look, Missing, Same, Signature, Slashless
from snickers.http.mediatypes import accepted_codings
from snickers.http.openfile import PIECE, OpenFile
from snickers.http.pages import answer_error, listing_page
from snickers.http.paths import BadPath, Path, read_path
from snickers.http.ranges import Span, content_range, multipart, multipart_type
from snickers.http.redirect import safe_target
from snickers.http.representation import Representation
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.exchange import Fields, IExchange, IHandler, IResponder

FRESH = 1.0
"""Seconds for which a file in memory is served without a look at the disk."""

ALARM = "folder"
"""The kind of the alarm that a site's folder is not there."""

_ALLOW = (b"Allow", b"GET, HEAD, OPTIONS")

Defer = Callable[..., Deferred[Any]]


class Coarse(Protocol):
    """A clock that is looked at, not asked."""

    @property
    def now(self) -> float:
        """Seconds, never going back."""


@frozen
class ListingPage:
    """A folder's list, as it is shown."""

    fields: Fields
    page: bytes


def _look(
    folder: Folder,
    path: Path,
    codings: Sequence[tuple[bytes, bytes]],
    known: Signature | None,
) -> Look | ListingPage:
    """Return what is at *path*. Blocks, with a long list for a tenth of a second."""
    look = folder.look(path, codings, known)
    if isinstance(look, Listing):
        return ListingPage(*listing_page(path.names, look.entries, look.complete))
    return look


@implementer(IHandler)
class StaticHandler:
    """Serves the files of a `Static`.

    *defer* calls its first argument with the others in a thread, and returns a Deferred of the
    result; *cache* is the memory for small files, one of its own by default; *alarm* is told of a
    folder of *site* that a visitor came for and that is not there, until it is; *connections*
    counts the files that are being sent.
    """

    log = Logger()

    def __init__(
        self,
        static: Static,
        defer: Defer,
        clock: Coarse,
        cache: FileCache | None = None,
        site: str = "",
        alarm: IAlarm | None = None,
        connections: Connections | None = None,
    ) -> None:
        self.defer = defer
        self.buffer = bytearray(PIECE)
        """For reads by the reactor, each copied out at once."""
        self._folder = Folder.of(static)
        self._precompressed = static.precompressed
        self._clock = clock
        self._connections = connections
        self._shelf = Shelf(cache or FileCache())
        self._slots = self._shelf.slots
        self._looking: dict[Hashable, list[_Visit]] = {}
        self._closed = False
        self._site = site
        self._alarm = alarm
        self._told = ""
        """The words of the alarm that is raised now."""

    def handle(self, exchange: IExchange) -> None:
        request = exchange.request
        if request.method != b"GET" and request.method != b"HEAD":
            self._other(exchange)
            return
        path = request.target
        if b"?" in path:
            path = path[: path.index(b"?")]
        key: Hashable = path
        codings: tuple[tuple[bytes, bytes], ...] = ()
        if self._precompressed:
            accept = request.get(b"accept-encoding")
            if accept and (codings := accepted_codings(accept)):
                key = (path, codings)
        slot = self._slots.get(key)
        if slot is None or self._clock.now - slot.checked >= FRESH:
            self._look(exchange, key, path, codings, slot)
            return
        kept = slot.kept
        conditions = read_conditions(request.fields)
        if conditions is None:
            exchange.answer(200, kept.fields, kept.length, kept.body, True)
        else:
            _answer_kept(exchange, kept, conditions)

    def close(self) -> None:
        """Forget what is in memory. Answers under way go on."""
        self._closed = True
        self._shelf.clear()
        self._tell("")

    def _other(self, exchange: IExchange) -> None:
        if exchange.request.method == b"OPTIONS":
            exchange.answer(204, [_ALLOW], None, b"", True)
        else:
            answer_error(exchange, 405, extra=[_ALLOW])

    def _tell(self, wrong: str) -> None:
        """Raise the alarm that the folder is not there, or have it over."""
        alarm = self._alarm
        if alarm is None or wrong == self._told:
            return
        if self._told:
            alarm.cleared(ALARM, self._site)
        if wrong:
            alarm.raised(ALARM, self._site, wrong)
        self._told = wrong

    # Looking for files

    def _look(
        self,
        exchange: IExchange,
        key: Hashable,
        raw: bytes,
        codings: tuple[tuple[bytes, bytes], ...],
        slot: Slot | None,
    ) -> None:
        visit = _Visit(exchange)
        others = self._looking.get(key)
        if others is not None:
            exchange.responder = visit
            others.append(visit)
            return
        try:
            path = read_path(raw)
        except BadPath as bad:
            answer_error(exchange, bad.status)
            return
        exchange.responder = visit
        self._looking[key] = [visit]
        known = slot.kept.signature if slot is not None and slot.kept.settled else None
        looked = self.defer(_look, self._folder, path, codings, known)
        looked.addCallbacks(
            self._looked,
            self._look_failed,
            callbackArgs=(self._clock.now, key, len(raw), path, slot),
            errbackArgs=(key,),
        )

    def _looked(
        self,
        look: Look | ListingPage,
        began: float,
        key: Hashable,
        key_size: int,
        path: Path,
        slot: Slot | None,
    ) -> None:
        # Nobody joins this look any longer: who asks from now on may get what is newer.
        visits = self._looking.pop(key)
        if not self._closed:
            self._tell(look.wrong if isinstance(look, Missing) else "")
        if isinstance(look, Found) and look.file is not None and self._connections is not None:
            self._connections.make_room()
            if self._connections.is_full:
                look.file.release()
                look = Missing(503)
            else:
                self._connections.count_file(look.file)
        file: OpenFile | None = None
        kept: Kept | None = None
        if isinstance(look, Same) and slot is not None:
            kept = slot.kept
            self._shelf.seen(slot, began)
        else:
            if slot is not None:
                self._shelf.drop(slot)
            if isinstance(look, Found):
                file = look.file
                representation = Representation(look, self._precompressed)
                if look.body is not None:
                    kept = Kept(look, look.body, representation)
                    if not self._closed:
                        self._shelf.put(key, kept, began, key_size)
        for visit in visits:
            if visit.over:
                continue
            visit.over = True
            exchange = visit.exchange
            if kept is not None:
                conditions = read_conditions(exchange.request.fields)
                _answer_kept(exchange, kept, conditions or {})
            elif file is not None:
                self._answer_open(visit, representation, file)
            else:
                _answer_without(exchange, path, look)
        if file is not None:
            file.release()

    def _look_failed(self, failure: Failure, key: Hashable) -> None:
        self.log.failure("A file could not be looked for", failure)
        for visit in self._looking.pop(key):
            if not visit.over:
                visit.over = True
                answer_error(visit.exchange, 500)

    def _answer_open(self, visit: _Visit, representation: Representation, file: OpenFile) -> None:
        """Answer with what is asked for of a file that is not in memory."""
        exchange = visit.exchange
        method = exchange.request.method
        conditions = read_conditions(exchange.request.fields)
        status, spans = 200, list[Span]()
        if conditions is not None:
            status, spans = representation.choose(method, conditions)
        if status not in (200, 206):
            _answer_bare(exchange, representation, status)
        elif method == b"HEAD":
            exchange.answer(200, representation.fields, representation.length, b"", True)
        else:
            fields, plan, length = _layout(representation, spans)
            FileBody(exchange, file, plan, self.defer, self.buffer, visit.paused).start(
                status, fields, length
            )


@implementer(IResponder)
class _Visit:
    """An exchange that waits for a look."""

    __slots__ = ("exchange", "over", "paused")

    def __init__(self, exchange: IExchange) -> None:
        self.exchange = exchange
        self.over = False
        self.paused = False

    def body(self, data: bytes) -> None:
        """Not asked for."""

    def body_end(self, trailers: Fields | None) -> None:
        """Not asked for."""

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def gone(self) -> None:
        self.over = True


def _answer_kept(exchange: IExchange, kept: Kept, conditions: dict[bytes, bytes]) -> None:
    """Answer with what is asked for of a file in memory."""
    representation = kept.representation
    status, spans = representation.choose(exchange.request.method, conditions)
    if status == 200:
        exchange.answer(200, kept.fields, kept.length, kept.body, True)
    elif status == 206:
        fields, plan, length = _layout(representation, spans)
        body = b"".join(
            part if isinstance(part, bytes) else kept.body[part[0] : part[1]] for part in plan
        )
        exchange.answer(206, fields, length, body, True)
    else:
        _answer_bare(exchange, representation, status)


def _answer_bare(exchange: IExchange, representation: Representation, status: int) -> None:
    """Answer with anything but bytes of the file."""
    if status == NOT_MODIFIED:
        exchange.answer(304, representation.not_modified, None, b"", True)
    elif status == 416:
        size = b"bytes */%d" % representation.length
        answer_error(exchange, 416, extra=[(b"Content-Range", size)])
    else:
        answer_error(exchange, status)


def _answer_without(exchange: IExchange, path: Path, look: Look | ListingPage) -> None:
    """Answer where there is no file to serve."""
    if isinstance(look, Slashless):
        _, mark, query = exchange.request.target.partition(b"?")
        # Made from the names that were found: two slashes at its beginning would name a host.
        location = b"/%b/" % b"/".join(
            quote_from_bytes(name, safe="!$&'()*+,;=:@~").encode("ascii") for name in path.names
        )
        fields: Fields = [(b"Location", location + mark + safe_target(query))]
        exchange.answer(301, fields, 0, b"", True)
    elif isinstance(look, ListingPage):
        exchange.answer(200, [*look.fields], len(look.page), look.page, True)
    elif isinstance(look, Missing):
        answer_error(exchange, look.status)
    else:
        answer_error(exchange, 500)


def _layout(
    representation: Representation, spans: list[Span]
) -> tuple[Fields, Sequence[bytes | Span], int]:
    """Return fields, plan and length of an answer with *spans* of the file, or all of it."""
    size = representation.length
    if not spans:
        return representation.fields, [(0, size)], size
    if len(spans) == 1:
        span = spans[0]
        fields = [*representation.fields, (b"Content-Range", content_range(span, size))]
        return fields, spans, span[1] - span[0]
    # Unguessable, so that no file can contain it on purpose.
    boundary = urandom(16).hex().encode("ascii")
    plan, length = multipart(spans, size, representation.media_type, boundary)
    return [(b"Content-Type", multipart_type(boundary)), *representation.fields[1:]], plan, length
