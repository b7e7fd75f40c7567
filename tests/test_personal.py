"""Sites with a server of their own."""

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.config.values import Asleep
from snickers.http.personal import Looking, PersonalHandler, Waiting, is_navigation
from snickers.http.waking import LOOK, LOOK_FIELD
from snickers.interfaces.engine import Address
from snickers.interfaces.exchange import IHandler, IResponder
from snickers.interfaces.leases import ILeases, IWaiter, Refusal, Stage
from snickers.stream import Sweep
from tests.exchange_fake import RecordingExchange
from tests.test_proxy import FakeUpstream


@implementer(ILeases)
class Leases:
    """Leases as the test says."""

    def __init__(self) -> None:
        self.address: Address | None = None
        self.taken = 0
        self.waiters: list[Any] = []
        self.told: list[Any] = []
        self.stage: Stage | None = Stage("starting")
        """``None``: the answer to `look` comes later."""
        self.looks: list[Any] = []

    def take(self, site: str, waiter: IWaiter) -> Address | None:
        if self.address is None:
            self.waiters.append(waiter)
            return None
        self.taken += 1
        return self.address

    def give_back(self, site: str, address: Address) -> None:
        self.taken -= 1

    def forget(self, site: str, waiter: IWaiter) -> None:
        self.waiters.remove(waiter)

    def failed(self, site: str, address: Address) -> None:
        self.told.append((site, address))

    def ready(self, site: str) -> Address | None:
        return self.address

    def look(self, site: str, told: Callable[[Stage], None]) -> None:
        if self.stage is None:
            self.looks.append(told)
        else:
            told(self.stage)


PAGE = [(b"Accept", b"text/html,*/*;q=0.8"), (b"Sec-Fetch-Mode", b"navigate")]


class PersonalHandlerTests(SynchronousTestCase):
    """Waiting, being woken, being passed on."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.leases = Leases()
        verifyObject(ILeases, self.leases)
        self.upstreams: list[FakeUpstream] = []
        self.ended: list[Any] = []

        def upstream(address: Address, failed: Any, ended: Any) -> Any:
            self.ended.append(ended)
            self.upstreams.append(FakeUpstream(address, failed, ended))
            return self.upstreams[-1]

        self.most = 1000
        self.handler = PersonalHandler(
            "a.example",
            2.0,
            self.leases,
            upstream,
            self.sweep,
            lambda: self.most,
            [Asleep("/up", 204)],
        )

    def ask(self, fields: Any = (), **arguments: Any) -> RecordingExchange:
        exchange = RecordingExchange(fields=list(fields), **arguments)
        self.handler.handle(exchange)
        return exchange

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.5] * int(seconds * 2))

    def test_interfaces(self) -> None:
        """The handler is one; what waits is told of leases and of its client."""
        verifyObject(IHandler, self.handler)
        waiting = Waiting(self.handler, RecordingExchange())
        verifyObject(IWaiter, waiting)
        verifyObject(IResponder, waiting)
        verifyObject(IResponder, Looking(RecordingExchange(), lambda exchange, stage: None))

    def test_awake(self) -> None:
        """An awake server gets the exchange at once; the lease ends with it."""
        self.leases.address = ("10.0.0.2", 80)
        exchange = self.ask()
        self.assertEqual(self.upstreams[0].carried, [exchange])
        self.assertEqual(self.leases.taken, 1)
        self.ended[0]()
        self.assertEqual(self.leases.taken, 0)

    def test_waking(self) -> None:
        """A request waits for as long as it takes, then goes to the address that it is told."""
        exchange = self.ask()
        self.pass_time(50)
        self.assertIsNone(exchange.status)
        self.leases.waiters[0].leased(("10.0.0.3", 80))
        self.assertEqual(self.upstreams[0].address, ("10.0.0.3", 80))
        self.assertEqual(self.upstreams[0].carried, [exchange])

    def test_too_many(self) -> None:
        """No more wait than may; each that leaves makes room, however it leaves."""
        self.most = 2
        first, second = self.ask(), self.ask(PAGE)
        self.assertEqual(self.ask().status, 503)
        first.lose()
        third = self.ask()
        self.assertIsNone(third.status)
        self.assertEqual(self.ask().status, 503)
        self.pass_time(3)
        self.assertEqual(second.status, 503)
        fourth = self.ask()
        self.leases.waiters[-1].refused(Refusal("slow", 3))
        self.assertEqual(fourth.status, 504)
        self.leases.waiters[0].leased(("10.0.0.2", 80))
        self.assertEqual(self.handler.waiting, 0)

    def test_too_many_before_a_browser(self) -> None:
        """Who fills the places of those who wait does not keep browsers from seeing that the site
        is waking: they ask again by themselves."""
        self.most = 1
        self.ask()
        busy, page = self.ask(), self.ask(PAGE)
        self.assertEqual((busy.status, page.status, self.handler.waiting), (503, 503, 1))
        self.assertIn(b"Very busy", busy.data)
        self.assertIn(b"waking up", page.data)

    def test_another_address(self) -> None:
        """A server that woke elsewhere gets new connections; the old ones are let go."""
        for address in [("10.0.0.2", 80), ("10.0.0.3", 80)]:
            self.leases.address = address
            self.ask()
        self.assertTrue(self.upstreams[0].closed)
        self.assertEqual(self.upstreams[1].address, ("10.0.0.3", 80))

    def test_waking_page(self) -> None:
        """A browser that shows a page is shown the waking page after `hold`."""
        page, script = self.ask(PAGE), self.ask([(b"Sec-Fetch-Mode", b"no-cors")])
        self.pass_time(1)
        self.assertIsNone(page.status)
        self.pass_time(2)
        self.assertEqual(page.status, 503)
        fields = dict(page.fields)
        self.assertEqual(fields[b"Cache-Control"], b"no-store")
        self.assertIn(b"Retry-After", fields)
        self.assertIsNone(script.status)
        self.assertEqual(len(self.leases.waiters), 1)

    def test_waking_page_of_another_process(self) -> None:
        """Where another process knows how far the server is, the request waits on meanwhile: it
        may be answered, and its client may go."""
        self.leases.stage = None
        woken, gone, page = self.ask(PAGE), self.ask(PAGE), self.ask(PAGE)
        self.pass_time(3)
        self.leases.waiters.pop(0).leased(("10.0.0.3", 80))
        gone.lose()
        for told in self.leases.looks:
            told(Stage("checking"))
        self.assertEqual((woken.status, gone.status, page.status), (None, None, 503))
        self.assertIn(b"Checking", page.data)
        self.assertEqual((self.handler.waiting, self.leases.waiters), (0, []))

    def test_no_waking_page_when_awake(self) -> None:
        """When the server is awake by then, the lease is on its way, and is waited for."""
        self.leases.stage = Stage("awake")
        page = self.ask(PAGE)
        self.pass_time(3)
        self.assertIsNone(page.status)
        self.leases.waiters[0].leased(("10.0.0.3", 80))
        self.assertEqual(self.upstreams[0].carried, [page])

    def test_trouble_is_said(self) -> None:
        """With the engine away, or a start that takes too long, the page says so."""
        for stage, status, retry_after, words in [
            (Stage("away", "no such socket"), 503, b"30", b"Not available"),
            (Stage("checking", late=True), 504, b"5", b"Still waking up"),
        ]:
            self.leases.stage = stage
            page = self.ask(PAGE)
            self.pass_time(3)
            self.assertEqual((page.status, page.get(b"retry-after")), (status, retry_after))
            self.assertIn(words, page.data)
            self.assertNotIn(b"socket", page.data)

    def test_look(self) -> None:
        """A look of the waking page is answered with how far the server is, asleep and awake; it
        takes no lease and wakes nothing."""
        look = [(LOOK_FIELD, b"look")]
        for address, stage, following in [
            (None, Stage("starting"), "wait"),
            (("10.0.0.2", 80), Stage("awake"), "open"),
        ]:
            self.leases.address, self.leases.stage = address, stage
            exchange = self.ask(look, target=LOOK)
            self.assertEqual(exchange.status, 200)
            self.assertEqual(exchange.get(b"cache-control"), b"no-store")
            self.assertEqual(json.loads(exchange.data)["next"], following)
            self.assertEqual((self.leases.taken, self.leases.waiters, self.upstreams), (0, [], []))

    def test_look_of_one_who_goes(self) -> None:
        """Who has gone by the time is not answered."""
        self.leases.stage = None
        exchange = self.ask([(LOOK_FIELD, b"look")], target=LOOK)
        exchange.lose()
        self.leases.looks[0](Stage("starting"))
        self.assertIsNone(exchange.status)

    def test_the_sites_own_path(self) -> None:
        """The same path without the field is the site's own."""
        self.leases.address = ("10.0.0.2", 80)
        for exchange in (
            self.ask(target=LOOK),
            self.ask([(LOOK_FIELD, b"look")]),
            self.ask([(LOOK_FIELD, b"look")], target=LOOK, method=b"POST"),
        ):
            self.assertIn(exchange, self.upstreams[0].carried)

    def test_answered_asleep(self) -> None:
        """What is listed is answered without waking the server, while that is not awake."""
        for phase in ("asleep", "away", "crashed", "starting", "checking", "paused", "draining"):
            self.leases.stage = Stage(phase)
            self.assertEqual(self.ask(target=b"/up").status, 204)
            self.assertEqual(self.ask(target=b"/robots.txt", method=b"HEAD").status, 503)
        self.assertEqual(self.leases.waiters, [])

    def test_passed_on_awake(self) -> None:
        """When the server is awake it answers that itself; but that is no use of it, and who asks
        again and again does not keep it awake."""
        self.leases.address = ("10.0.0.2", 80)
        exchanges = [self.ask(target=b"/up"), self.ask(target=b"/robots.txt")]
        self.assertEqual(self.upstreams[0].carried, exchanges)
        self.ended[0]()
        self.assertEqual(self.leases.taken, 0)
        other = self.ask()
        self.assertEqual((self.upstreams[1].carried, self.leases.taken), ([other], 1))
        self.leases.address = ("10.0.0.4", 80)
        moved = self.ask(target=b"/up")
        self.assertEqual(self.upstreams[2].carried, [moved])
        self.assertTrue(self.upstreams[0].closed)
        self.handler.close()
        self.assertTrue(self.upstreams[2].closed)

    def test_awake_in_another_process(self) -> None:
        """A worker without a lease asks whether the server is awake: then that answers."""
        self.leases.stage = None
        awake, asleep, gone = (self.ask(target=b"/up") for _ in range(3))
        gone.lose()
        address = ("10.0.0.3", 80)
        self.leases.looks[0](Stage("awake", address=address))
        self.leases.looks[1](Stage("asleep"))
        self.leases.looks[2](Stage("awake", address=address))
        self.assertEqual((awake.status, asleep.status, gone.status), (None, 204, None))
        self.assertEqual(self.leases.waiters, [])
        self.assertEqual(self.upstreams[0].carried, [awake])

    def test_posts_wake(self) -> None:
        """Only reading is answered asleep; anything else wakes the server as ever."""
        self.ask(target=b"/up", method=b"POST")
        self.ask(target=b"/upper")
        self.assertEqual(len(self.leases.waiters), 2)

    def test_woken_in_time(self) -> None:
        """No waking page follows when the server was ready before."""
        exchange = self.ask(PAGE)
        self.leases.waiters[0].leased(("10.0.0.3", 80))
        self.pass_time(10)
        self.assertIsNone(exchange.status)

    def test_refusals(self) -> None:
        """A refusal becomes its status, with the time after which to ask again."""
        for kind, status in [("unreachable", 502), ("slow", 504), ("crashed", 503)]:
            exchange = self.ask()
            self.leases.waiters.pop().refused(Refusal(kind, 7))
            self.assertEqual(exchange.status, status)
        self.assertEqual(dict(exchange.fields)[b"Retry-After"], b"7")

    def test_the_client_goes(self) -> None:
        """Who waits no more is forgotten."""
        exchange = self.ask(PAGE)
        assert exchange.responder is not None
        exchange.responder.gone()
        self.assertEqual(self.leases.waiters, [])
        self.pass_time(10)
        self.assertIsNone(exchange.status)

    def test_ended_meanwhile(self) -> None:
        """What could not be sent since the server has just ended waits for the next one, once; the
        lease of the first is given back."""
        self.leases.address = ("10.0.0.2", 80)
        exchange = self.ask(PAGE)
        first = self.upstreams[0]
        self.leases.address = None
        self.assertTrue(first.again(exchange, ()))
        self.ended[0]()
        self.assertEqual((self.handler.waiting, self.leases.taken), (1, 0))
        self.leases.waiters[0].leased(("10.0.0.3", 80))
        second = self.upstreams[1]
        self.assertEqual((second.address, second.carried), (("10.0.0.3", 80), [exchange]))
        self.assertEqual(second.tried, [None])

    def test_ended_and_refused(self) -> None:
        """Where there is no next one it is said what has become of the server."""
        self.leases.address = ("10.0.0.2", 80)
        exchange = self.ask()
        self.leases.address = None
        self.assertTrue(self.upstreams[0].again(exchange, ()))
        self.leases.waiters.pop().refused(Refusal("crashed", 7))
        self.assertEqual(exchange.status, 503)

    def test_not_reached(self) -> None:
        """A server that is where it was, and is not reached, is not tried again."""
        self.leases.address = ("10.0.0.2", 80)
        exchange = self.ask()
        self.assertFalse(self.upstreams[0].again(exchange, ()))
        self.assertEqual(self.leases.taken, 1)

    def test_unreachable(self) -> None:
        """A server that cannot be reached is told to who leads it there."""
        self.leases.address = ("10.0.0.2", 80)
        self.ask()
        self.upstreams[0].failed(("10.0.0.2", 80))
        self.assertEqual(self.leases.told, [("a.example", ("10.0.0.2", 80))])

    def test_close(self) -> None:
        """A handler whose site changed lets connections go, also those it makes later."""
        self.ask()
        self.handler.close()
        self.leases.waiters[0].leased(("10.0.0.2", 80))
        self.assertTrue(self.upstreams[0].closed)

    def test_navigations(self) -> None:
        """What is a page, and what is not."""
        for method, fields, expected in [
            (b"GET", PAGE, True),
            (b"POST", PAGE, False),
            (b"GET", [(b"Accept", b"text/html")], True),
            (b"GET", [(b"Accept", b"*/*")], False),
            (b"GET", [(b"Accept", b"text/html"), (b"Sec-Fetch-Mode", b"cors")], False),
            (b"GET", [], False),
        ]:
            request = RecordingExchange(method=method, fields=fields).request
            self.assertEqual(is_navigation(request), expected, (method, fields))
