"""Sites with a server of their own, a container or a process: woken by whoever comes.

A request takes a lease before it is passed on and gives it back when it is over, a WebSocket
when it closes. While the server wakes, the request waits; a browser that shows a page is shown
the waking page after ``hold`` seconds, since it can ask again by itself. What ``answers asleep``
lists, and the looks of the waking page, must never wake a server nor count as its use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from math import inf

from zope.interface import implementer

from snickers.config.values import Asleep
from snickers.http.asleep import AsleepAnswers, answer_asleep
from snickers.http.pages import answer_error
from snickers.http.upstream import Upstream
from snickers.http.waking import LOOK, is_look, stage_answer, waking_page
from snickers.interfaces.engine import Address
from snickers.interfaces.exchange import IExchange, IHandler, IRequest, IResponder
from snickers.interfaces.leases import ILeases, IWaiter, Refusal, Stage
from snickers.stream import Sweep

MakeUpstream = Callable[[Address, Callable[[Address], None], Callable[[], None]], Upstream]

STATUS = {
    "unreachable": 502,
    "slow": 504,
    "crashed": 503,
    "resting": 503,
    "away": 503,
    "stopping": 503,
}
"""What a refusal of each kind becomes."""


def is_navigation(request: IRequest) -> bool:
    """Say whether a browser is about to show the answer as a page (Fetch §3.2.6)."""
    if request.method != b"GET" or request.upgrade:
        return False
    mode = request.get(b"sec-fetch-mode")
    if mode is not None:
        return mode == b"navigate"
    return b"text/html" in (request.get(b"accept") or b"")


@implementer(IWaiter, IResponder)
class Waiting:
    """One exchange that waits for its server."""

    __slots__ = ("deadline", "exchange", "handler", "over", "tried")

    def __init__(
        self,
        handler: PersonalHandler,
        exchange: IExchange,
        tried: tuple[Address, ...] | None = (),
    ) -> None:
        """*tried*: see `Upstream.carry`."""
        self.handler = handler
        self.exchange = exchange
        self.tried = tried
        self.deadline = inf
        """When the waking page is shown, by the sweep's clock; never, unless `hold` is called."""
        self.over = False

    def hold(self) -> None:
        """Begin to wait."""
        self.handler.waiting += 1
        self.exchange.responder = self
        if is_navigation(self.exchange.request):
            sweep = self.handler.sweep
            self.deadline = sweep.now + self.handler.hold
            sweep.watch(self)

    def leased(self, address: Address) -> None:
        self._stop_waiting()
        self.handler.carry(self.exchange, address, self.tried)

    def refused(self, refusal: Refusal) -> None:
        self._stop_waiting()
        answer_error(
            self.exchange, STATUS.get(refusal.kind, 503), refusal.kind, refusal.retry_after
        )

    def expired(self) -> None:
        """The visitor has waited for ``hold``: show that something is going on."""
        self.handler.leases.look(self.handler.site, self._looked)

    def _looked(self, stage: Stage) -> None:
        # Answered meanwhile, or about to be: the lease of an awake server is on its way.
        if self.over or stage.phase == "awake":
            return
        self._stop_waiting()
        handler = self.handler
        handler.leases.forget(handler.site, self)
        handler.show_waking(self.exchange, stage)

    def body(self, data: bytes) -> None:
        """Never called: the body is not received before there is somebody to send it to."""

    def body_end(self, trailers: object) -> None:
        """Never called, as `body`."""

    def pause(self) -> None:
        """Nothing is being written."""

    def resume(self) -> None:
        """Nothing is being written."""

    def gone(self) -> None:
        self._stop_waiting()
        self.handler.leases.forget(self.handler.site, self)

    def _stop_waiting(self) -> None:
        self.over = True
        self.handler.waiting -= 1
        self.exchange.responder = None
        self.handler.sweep.unwatch(self)


@implementer(IResponder)
class Looking:
    """One exchange that is answered by how far the server is, whatever the server does."""

    __slots__ = ("_answer", "_exchange")

    def __init__(self, exchange: IExchange, answer: Callable[[IExchange, Stage], None]) -> None:
        """*answer* is called with *exchange* unless its client has gone by then."""
        self._exchange: IExchange | None = exchange
        self._answer = answer
        exchange.responder = self

    def told(self, stage: Stage) -> None:
        """Answer."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.responder = None
            self._answer(exchange, stage)

    def body(self, data: bytes) -> None:
        """Never called: the body is not received."""

    def body_end(self, trailers: object) -> None:
        """Never called, as `body`."""

    def pause(self) -> None:
        """Nothing is being written."""

    def resume(self) -> None:
        """Nothing is being written."""

    def gone(self) -> None:
        self._exchange = None


def _nothing() -> None:
    """Nothing was taken that could be given back."""


def _answer_look(exchange: IExchange, stage: Stage) -> None:
    fields, body = stage_answer(stage)
    exchange.answer(200, fields, len(body), body, True)


@implementer(IHandler)
class PersonalHandler:
    """Passes every exchange on to the site's own server, when it is awake."""

    __slots__ = (
        "_aside",
        "_asleep",
        "_closed",
        "_make_upstream",
        "_most_waiting",
        "_upstream",
        "hold",
        "leases",
        "scripted",
        "site",
        "sweep",
        "waiting",
    )

    def __init__(
        self,
        site: str,
        hold: float,
        leases: ILeases,
        make_upstream: MakeUpstream,
        sweep: Sweep,
        most_waiting: Callable[[], int],
        asleep: Iterable[Asleep] = (),
        scripted: bool = True,
    ) -> None:
        """*most_waiting* returns how many exchanges may wait for the server at once; *asleep* is
        what is listed to be answered without it; *scripted*: see `waking_page`."""
        self.waiting = 0
        """Exchanges that wait for the server."""
        self.site = site
        self.hold = hold
        self.leases = leases
        self.sweep = sweep
        self._make_upstream = make_upstream
        self.scripted = scripted
        self._most_waiting = most_waiting
        self._asleep = AsleepAnswers(asleep)
        self._upstream: Upstream | None = None
        self._aside: Upstream | None = None
        """To the same server, for what does not count as use."""
        self._closed = False

    def handle(self, exchange: IExchange) -> None:
        request = exchange.request
        if request.target == LOOK and is_look(request):
            self.leases.look(self.site, Looking(exchange, _answer_look).told)
            return
        answer = self._asleep.find(exchange)
        if answer is None:
            self._pass(exchange)
        else:
            self._spare(exchange, answer)

    def _spare(self, exchange: IExchange, answer: Asleep) -> None:
        """Have *exchange* answered by the server if it is awake, else by *answer*; neither is use
        of it: who asks again and again must not keep it awake."""
        address = self.leases.ready(self.site)
        if address is not None:
            self._carry_aside(exchange, address)
            return

        def tell(exchange: IExchange, stage: Stage) -> None:
            # It may be awake, and another process know it.
            if stage.address is not None:
                self._carry_aside(exchange, stage.address)
            else:
                answer_asleep(exchange, answer)

        self.leases.look(self.site, Looking(exchange, tell).told)

    def _carry_aside(self, exchange: IExchange, address: Address) -> None:
        """Send *exchange*, for which there is no lease, to *address*."""
        aside = self._aside
        if aside is None or aside.address != address:
            if aside is not None:
                aside.close()
            aside = self._aside = self._make_upstream(address, self._failed, _nothing)
            if self._closed:
                aside.close()
        aside.carry(exchange)

    def _pass(self, exchange: IExchange, tried: tuple[Address, ...] | None = ()) -> None:
        if self.waiting and self.waiting >= self._most_waiting():
            if is_navigation(exchange.request):
                # A browser can wait by itself, however many others are in the way.
                self.leases.look(self.site, Looking(exchange, self.show_waking).told)
            else:
                answer_error(exchange, 503, "busy", 5)
            return
        waiting = Waiting(self, exchange, tried)
        address = self.leases.take(self.site, waiting)
        if address is None:
            waiting.hold()
        else:
            self.carry(exchange, address, tried)

    def carry(
        self, exchange: IExchange, address: Address, tried: tuple[Address, ...] | None = ()
    ) -> None:
        """Send *exchange*, for which a lease was taken, to *address*; *tried*: see
        `Upstream.carry`."""
        upstream = self._upstream
        if upstream is None or upstream.address != address:
            if upstream is not None:
                upstream.close()
            upstream = self._upstream = self._make_upstream(
                address, self._failed, partial(self.leases.give_back, self.site, address)
            )
            upstream.again = partial(self._again, address)
            if self._closed:
                upstream.close()
        upstream.carry(exchange, tried)

    def _again(self, address: Address, exchange: IExchange, tried: object) -> bool:
        """Have *exchange*, which could not be sent to *address*, wait for the server that is to be
        had now; return whether. A server that has just ended is not reached for as long as a
        connection may take, and by then another one may be there, or on its way."""
        if self.leases.ready(self.site) == address:
            return False
        exchange.responder = None
        self._pass(exchange, None)  # once: who waits shall not wait for ever
        return True

    def show_waking(self, exchange: IExchange, stage: Stage) -> None:
        """Answer with the page that asks again by itself."""
        status, fields, body = waking_page(stage, exchange.request.target, self.scripted)
        exchange.answer(status, fields, len(body), body, True)

    def close(self) -> None:
        self._closed = True
        for upstream in (self._upstream, self._aside):
            if upstream is not None:
                upstream.close()

    def _failed(self, address: Address) -> None:
        self.leases.failed(self.site, address)
