"""What every engine promises, as tests: run against the fake and against the real ones.

`engine_contract` makes a test case for an engine out of an `EngineFixture`, which knows how to
make that engine, its servers, and the accidents that befall them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.containers.engine import EngineAway, EngineFailed
from snickers.interfaces.engine import (
    Address,
    Declared,
    Exit,
    IEngine,
    IEngineObserver,
    Instance,
    Ran,
)

T = TypeVar("T")


class EngineFixture(Protocol):
    """What `engine_contract` needs to know of an engine to test it."""

    lasting: bool
    """Whether servers outlive the engine object that started them."""
    lossy: bool
    """Whether `lose` and `find` do anything."""
    sole: bool
    """Whether a site has one server at a time: starting another beside it fails."""

    def engine(self) -> IEngine:
        """Return another engine object, on the same host with the same owner as all others."""

    def declared(self, site: str, does: str) -> Declared:
        """Return a server that

        - ``"serves"``: writes the lines ``one``, ``two`` and ``three``, then answers on its port,
          writing a line that contains ``asked`` for each request;
        - ``"stubborn"``: as ``"serves"``, but ends only when it is killed;
        - ``"other"``: as ``"serves"``, of another declaration;
        - ``"exits"``: ends at once with status 3;
        - ``"wrong"``: cannot be started.
        """

    def ask(self, address: Address, instance: Instance) -> Deferred[bytes]:
        """Make a request to *address*; fire with what came back, retrying while it is refused."""

    def command(self, does: str) -> Sequence[str]:
        """Return a command that can be run inside of a server that serves:

        - ``"says"``: writes the lines ``first`` and ``second`` and ends with status 3;
        - ``"talks"``: writes 30,000 lines, then ``the last one``, and ends well;
        - ``"hangs"``: ends only when it is killed;
        - ``"missing"``: there is no such program.
        """

    def crash(self, instance: Instance) -> Deferred[None]:
        """Kill the server from outside (SIGKILL)."""

    def lose(self) -> object:
        """Make the engine unreachable."""

    def find(self) -> object:
        """Make the engine reachable again."""

    def wait(self, done: Deferred[T], passing: float = 0) -> Deferred[T]:
        """Return *done*, failing it when it takes too long; with a fake clock let it pass."""

    def close(self) -> object:
        """Remove every trace; may return a Deferred."""


@implementer(IEngineObserver)
class RecordingObserver:
    """Remembers what an engine told: `events` holds each `Exit`, ``"found"`` and
    ``("lost", reason)`` in order."""

    def __init__(self) -> None:
        self.events: list[Exit | str | tuple[str, str]] = []
        self.notices: list[tuple[str, str]] = []
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def exited(self, exit: Exit) -> None:
        self._heard(exit)

    def lost(self, reason: str) -> None:
        self._heard(("lost", reason))

    def found(self) -> None:
        self._heard("found")

    def noticed(self, site: str, words: str) -> None:
        self.notices.append((site, words))
        self._look()

    @property
    def exits(self) -> list[Exit]:
        """The ends among the events."""
        return [event for event in self.events if isinstance(event, Exit)]

    @property
    def reasons(self) -> list[str]:
        """Why the engine was lost, each time."""
        return [event[1] for event in self.events if isinstance(event, tuple)]

    def _heard(self, event: Exit | str | tuple[str, str]) -> None:
        self.events.append(event)
        self._look()

    def _look(self) -> None:
        waiting, self._waiting = self._waiting, []
        for holds, done in waiting:
            if holds():
                done.callback(None)
            else:
                self._waiting.append((holds, done))

    def until(self, holds: Callable[[], bool]) -> Deferred[None]:
        """Fire when *holds* after an event, at once if it does already."""
        done: Deferred[None] = Deferred()
        if holds():
            done.callback(None)
        else:
            self._waiting.append((holds, done))
        return done


class Gathered:
    """Takes pieces of bytes and fires when enough of them came."""

    def __init__(self) -> None:
        self.data = b""
        self._waiting: list[tuple[bytes, Deferred[None]]] = []

    def __call__(self, data: bytes) -> None:
        self.data += data
        waiting, self._waiting = self._waiting, []
        for wanted, done in waiting:
            if wanted in self.data:
                done.callback(None)
            else:
                self._waiting.append((wanted, done))

    def until(self, wanted: bytes) -> Deferred[None]:
        """Fire when *wanted* is among the bytes."""
        done: Deferred[None] = Deferred()
        self._waiting.append((wanted, done))
        self(b"")
        return done


def engine_contract(make: type[EngineFixture]) -> type[TestCase]:
    """Return the tests that every engine passes; *make* is called with each test case."""

    class EngineContract(TestCase):
        """What `IEngine` promises."""

        site = "alice.example"
        timeout = 300

        def setUp(self) -> None:
            self.fixture = make(self)
            self.addCleanup(self.fixture.close)
            self.words: list[str] = []
            self.engine, self.observer = self.watching()

        def watching(self) -> tuple[IEngine, RecordingObserver]:
            engine = self.fixture.engine()
            observer = RecordingObserver()
            engine.watch(observer)
            return engine, observer

        def waited(self, done: Deferred[T], passing: float = 0) -> Deferred[T]:
            return self.fixture.wait(done, passing)

        def start(self, does: str = "serves", site: str = "") -> Deferred[Instance]:
            declared = self.fixture.declared(site or self.site, does)
            return self.waited(self.engine.start(declared, self.words.append))

        async def listed(self, engine: IEngine | None = None) -> list[Instance]:
            return sorted(await self.waited((engine or self.engine).list()), key=lambda i: i.site)

        async def running(self, engine: IEngine | None = None) -> list[Instance]:
            return [i for i in await self.listed(engine) if i.running]

        async def fails(self, done: Deferred[T]) -> str:
            try:
                await self.waited(done)
            except EngineFailed as error:
                return str(error)
            raise self.failureException("It did not fail with EngineFailed.")

        def test_interface(self) -> None:
            """It has all that `IEngine` has."""
            verifyObject(IEngine, self.engine)

        def test_told_later(self) -> None:
            """The observer is never told from within `watch`."""
            self.assertEqual(self.watching()[1].events, [])

        async def test_found_first(self) -> None:
            """The first that an observer hears of an engine that is there is ``found``."""
            await self.waited(self.observer.until(lambda: bool(self.observer.events)))
            self.assertEqual(self.observer.events, ["found"])

        async def test_start(self) -> None:
            """A started server is running, has an address, an id and the fingerprint."""
            instance = await self.start()
            self.assertTrue(instance.running)
            self.assertTrue(instance.id)
            self.assertEqual(instance.site, self.site)
            self.assertEqual(
                instance.fingerprint,
                self.engine.fingerprint(self.fixture.declared(self.site, "serves")),
            )
            self.assertIsNotNone(instance.address)
            self.assertIsNotNone(instance.started)
            self.assertEqual(await self.listed(), [instance])

        async def test_progress(self) -> None:
            """Starting says in words what it does."""
            await self.start()
            self.assertTrue(self.words)
            self.assertTrue(all(isinstance(word, str) and word for word in self.words))

        async def test_reachable(self) -> None:
            """The server answers at its address."""
            instance = await self.start()
            assert instance.address is not None
            answer = await self.waited(self.fixture.ask(instance.address, instance))
            self.assertIn(self.site.encode(), answer)

        async def test_start_again(self) -> None:
            """Starting what runs already changes nothing."""
            first = await self.start()
            self.assertEqual(await self.start(), first)
            self.assertEqual(await self.listed(), [first])
            self.assertEqual(self.observer.exits, [])

        async def test_start_at_once_twice(self) -> None:
            """Two starts at the same time make one server."""
            first, second = self.start(), self.start()
            self.assertEqual((await first).id, (await second).id)
            self.assertEqual(len(await self.listed()), 1)

        async def test_replaced(self) -> None:
            """A server of another declaration is replaced, its end told before the start is."""
            first = await self.start()
            second = await self.start("stubborn")
            self.assertNotEqual(first.id, second.id)
            self.assertEqual(await self.running(), [second])
            self.assertEqual([exit.id for exit in self.observer.exits], [first.id])

        async def test_comes_back(self) -> None:
            """A server that was replaced comes back as it was declared, in the place of what came
            after it, which is forgotten; also after it has been settled, and after a stop."""
            for stopped in (False, True):
                first = await self.start()
                second = await self.start("stubborn")
                await self.waited(self.engine.settle(self.site, second.id))
                if stopped:
                    await self.waited(self.engine.stop(self.site, 0.1), 0.1)
                back = await self.waited(self.engine.revert(self.site, first.id, self.words.append))
                self.assertEqual(back.fingerprint, first.fingerprint)
                self.assertEqual(await self.running(), [back])
                assert back.address is not None
                answer = await self.waited(self.fixture.ask(back.address, back))
                self.assertIn(self.site.encode(), answer)
                await self.fails(self.engine.revert(self.site, second.id, self.words.append))
                await self.waited(self.engine.stop(self.site, 0.1), 0.1)

        async def test_after_one_that_failed(self) -> None:
            """After a newcomer that cannot be started, or ends at once, the one before comes
            back."""
            first = await self.start()
            await self.fails(self.engine.start(self.wrong(), self.words.append))
            back = await self.waited(self.engine.revert(self.site, first.id, self.words.append))
            self.assertEqual(await self.running(), [back])
            await self.start("exits")
            again = await self.waited(self.engine.revert(self.site, back.id, self.words.append))
            self.assertEqual(await self.running(), [again])
            self.assertEqual(again.fingerprint, first.fingerprint)

        def wrong(self) -> Declared:
            return self.fixture.declared(self.site, "wrong")

        async def test_forgotten(self) -> None:
            """What was never there, or was removed with its site, does not come back."""
            first = await self.start()
            await self.fails(self.engine.revert(self.site, "nobody", self.words.append))
            await self.waited(self.engine.remove(self.site))
            await self.fails(self.engine.revert(self.site, first.id, self.words.append))
            await self.waited(self.engine.settle(self.site, first.id))

        async def beside(self, first: Instance, does: str = "stubborn") -> Instance:
            declared = self.fixture.declared(self.site, does)
            starting = self.engine.start(declared, self.words.append, False, first.id)
            return await self.waited(starting)

        async def ask(self, instance: Instance) -> None:
            assert instance.address is not None
            answer = await self.waited(self.fixture.ask(instance.address, instance))
            self.assertIn(self.site.encode(), answer)

        async def test_beside(self) -> None:
            """A server can be started beside the one that serves, which does not notice; it is said
            which of them is only tried, also when it is asked for twice."""
            first = await self.start()
            second = await self.beside(first)
            self.assertNotEqual((first.id, first.address), (second.id, second.address))
            self.assertEqual((await self.beside(first)).id, second.id)
            running = {each.id: each.beside for each in await self.running()}
            self.assertEqual(running, {first.id: False, second.id: True})
            for each in (first, second):
                await self.ask(each)
                self.assertTrue(await self.waited(self.engine.healthy(each)))
            self.assertEqual(self.observer.exits, [])

        async def test_beside_takes_over(self) -> None:
            """When the newcomer has proven itself it is the site's server; the one before runs as
            long as it is spared, is ended alone, and can come back."""
            first = await self.start()
            second = await self.beside(first)
            await self.waited(self.engine.settle(self.site, second.id, first.id))
            await self.ask(first)
            for _ in range(2):
                await self.waited(self.engine.settle(self.site, second.id))
            await self.waited(self.observer.until(lambda: bool(self.observer.exits)))
            self.assertEqual([each.id for each in await self.running()], [second.id])
            self.assertEqual([each.beside for each in await self.running()], [False])
            self.assertEqual([exit.id for exit in self.observer.exits], [first.id])
            await self.ask(second)
            back = await self.waited(self.engine.revert(self.site, first.id, self.words.append))
            self.assertEqual(back.fingerprint, first.fingerprint)
            self.assertEqual(await self.running(), [back])

        async def test_beside_fails(self) -> None:
            """A newcomer that is of no use is ended and forgotten; the one that serves does not
            notice, and what was before it can still come back."""
            zeroth = await self.start("stubborn")
            first = await self.start()
            second = await self.beside(first, "other")
            await self.waited(self.engine.settle(self.site, first.id))
            self.assertEqual(await self.running(), [first])
            self.assertIn(second.id, [exit.id for exit in self.observer.exits])
            await self.ask(first)
            await self.fails(self.engine.revert(self.site, second.id, self.words.append))
            back = await self.waited(self.engine.revert(self.site, zeroth.id, self.words.append))
            self.assertEqual(back.fingerprint, zeroth.fingerprint)

        async def test_beside_what_cannot_be_started(self) -> None:
            """What cannot be started beside another one leaves nothing."""
            first = await self.start()
            starting = self.engine.start(self.wrong(), self.words.append, False, first.id)
            await self.fails(starting)
            self.assertEqual(await self.running(), [first])
            self.assertEqual(self.observer.exits, [])

        async def test_beside_nobody(self) -> None:
            """A server that is not there any more cannot be started beside: it is a plain start."""
            first = await self.start()
            await self.waited(self.engine.stop(self.site, 5))
            second = await self.beside(first)
            self.assertEqual(await self.running(), [second])

        async def test_beside_refused(self) -> None:
            """Where there cannot be two, the one that serves does not notice that it was tried."""
            first = await self.start()
            declared = self.fixture.declared(self.site, "other")
            starting = self.engine.start(declared, self.words.append, False, first.id)
            self.assertIn("update = swap", await self.fails(starting))
            self.assertEqual(await self.running(), [first])
            self.assertEqual(self.observer.exits, [])

        async def test_both_stopped(self) -> None:
            """Of two servers none is left by a stop, a start of one, or the end of the site."""
            for end in ("stop", "start", "remove"):
                first = await self.start()
                await self.beside(first)
                if end == "start":
                    await self.start("other")
                    self.assertEqual(len(await self.running()), 1)
                    await self.waited(self.engine.stop(self.site, 0.1), 0.1)
                elif end == "stop":
                    await self.waited(self.engine.stop(self.site, 0.1), 0.1)
                else:
                    await self.waited(self.engine.remove(self.site), 0.1)
                self.assertEqual(await self.running(), [])

        async def test_prepare(self) -> None:
            """It is said whether a start would make another server; nothing that runs is touched.
            What cannot be had is said before."""
            serves, other = (
                self.fixture.declared(self.site, does) for does in ("serves", "stubborn")
            )
            say = self.words.append
            self.assertTrue(await self.waited(self.engine.prepare(serves, False, say)))
            first = await self.start()
            self.assertFalse(await self.waited(self.engine.prepare(serves, False, say)))
            self.assertTrue(await self.waited(self.engine.prepare(other, False, say)))
            self.assertTrue(await self.fails(self.engine.prepare(self.wrong(), False, say)))
            self.assertEqual(await self.running(), [first])
            await self.start("stubborn")
            self.assertTrue(await self.waited(self.engine.prepare(serves, False, say)))
            self.assertFalse(await self.waited(self.engine.prepare(other, False, say)))

        async def test_sites_apart(self) -> None:
            """Each site has a server of its own, at an address of its own."""
            first = await self.start()
            second = await self.start(site="bob.example")
            self.assertNotEqual(first.address, second.address)
            self.assertEqual(await self.running(), [first, second])
            await self.waited(self.engine.remove(self.site))
            self.assertEqual(await self.running(), [second])

        async def test_stop(self) -> None:
            """A stopped server runs no more, and its end was told by then."""
            instance = await self.start()
            await self.waited(self.engine.stop(self.site, 5))
            self.assertEqual(await self.running(), [])
            self.assertEqual([exit.id for exit in self.observer.exits], [instance.id])

        async def test_start_after_stop(self) -> None:
            """A stopped server can be started again."""
            await self.start()
            await self.waited(self.engine.stop(self.site, 5))
            instance = await self.start()
            assert instance.address is not None
            await self.waited(self.fixture.ask(instance.address, instance))
            self.assertEqual(await self.running(), [instance])

        async def test_killed(self) -> None:
            """A server that does not end within its time is killed."""
            instance = await self.start("stubborn")
            assert instance.address is not None
            await self.waited(self.fixture.ask(instance.address, instance))
            await self.waited(self.engine.stop(self.site, 0.2), 0.2)
            self.assertEqual(await self.running(), [])
            self.assertEqual([exit.code for exit in self.observer.exits], [137])

        async def test_nothing_to_stop(self) -> None:
            """Stopping and removing what is not there fires."""
            await self.waited(self.engine.stop(self.site, 5))
            await self.waited(self.engine.remove(self.site))
            self.assertEqual(self.observer.exits, [])

        async def test_stop_again(self) -> None:
            """Stopping twice is stopping once."""
            await self.start()
            await self.waited(self.engine.stop(self.site, 5))
            await self.waited(self.engine.stop(self.site, 5))
            self.assertEqual(len(self.observer.exits), 1)

        async def test_remove(self) -> None:
            """Of a removed site nothing is listed."""
            await self.start()
            await self.waited(self.engine.remove(self.site))
            self.assertEqual(await self.listed(), [])
            self.assertEqual(len(self.observer.exits), 1)

        async def test_exit(self) -> None:
            """A server that ends by itself is told once, with its status."""
            instance = await self.start("exits")
            await self.waited(self.observer.until(lambda: bool(self.observer.exits)))
            self.assertEqual(self.observer.exits, [Exit(self.site, instance.id, 3)])
            self.assertEqual(await self.running(), [])

        async def test_crash(self) -> None:
            """A server that is killed from outside is told, and can be started again."""
            instance = await self.start()
            await self.waited(self.fixture.crash(instance))
            await self.waited(self.observer.until(lambda: bool(self.observer.exits)))
            self.assertEqual(self.observer.exits, [Exit(self.site, instance.id, 137)])
            self.assertEqual(await self.running(), [])
            await self.start()
            self.assertEqual(len(await self.running()), 1)

        async def test_wrong(self) -> None:
            """What cannot be started fails in words, and nothing runs."""
            words = await self.fails(self.start("wrong"))
            self.assertGreater(len(words.split()), 3)
            self.assertEqual(await self.running(), [])

        async def test_wrong_newcomer(self) -> None:
            """A declaration that cannot be started touches nothing that runs."""
            instance = await self.start()
            await self.fails(self.start("wrong"))
            self.assertEqual(await self.running(), [instance])
            self.assertEqual(self.observer.exits, [])

        async def test_logs(self) -> None:
            """The log's last lines are given, as many as asked for."""
            instance = await self.start()
            assert instance.address is not None
            await self.waited(self.fixture.ask(instance.address, instance))
            got = Gathered()
            await self.waited(self.engine.logs(self.site, 100, False, got))
            self.assertIn(b"one\ntwo\nthree\n", got.data)
            got = Gathered()
            await self.waited(self.engine.logs(self.site, 1, False, got))
            self.assertEqual(got.data.count(b"\n"), 1)
            self.assertNotIn(b"one", got.data)

        async def test_logs_followed(self) -> None:
            """With *follow* what comes later is given too, until it is cancelled."""
            instance = await self.start()
            assert instance.address is not None
            got = Gathered()
            following = self.engine.logs(self.site, 100, True, got)
            await self.waited(got.until(b"three"))
            await self.waited(self.fixture.ask(instance.address, instance))
            await self.waited(got.until(b"asked"))
            following.cancel()
            try:
                await self.waited(following)
            except CancelledError:
                pass
            else:
                raise self.failureException("It was not cancelled.")

        async def test_logs_end(self) -> None:
            """Following ends with the server."""
            await self.start()
            following = self.engine.logs(self.site, 100, True, Gathered())
            await self.waited(self.engine.stop(self.site, 5))
            await self.waited(following)

        async def test_no_logs(self) -> None:
            """A site without a server has no log; that is said."""
            words = await self.fails(self.engine.logs(self.site, 10, False, Gathered()))
            self.assertIn(self.site, words)

        async def test_healthy(self) -> None:
            """A server without a check of its own is healthy while it runs."""
            instance = await self.start()
            self.assertTrue(await self.waited(self.engine.healthy(instance)))
            await self.waited(self.engine.stop(self.site, 5))
            self.assertFalse(await self.waited(self.engine.healthy(instance)))

        def run_inside(self, does: str, within: float = 15, passing: float = 0) -> Deferred[Ran]:
            command = self.fixture.command(does)
            return self.waited(self.engine.run(self.site, command, within), passing)

        async def test_paused(self) -> None:
            """A paused server is listed as running and paused, and goes on when resumed."""
            instance = await self.start()
            await self.waited(self.engine.pause(self.site))
            self.assertEqual(await self.listed(), [evolve(instance, paused=True)])
            await self.waited(self.engine.resume(self.site))
            self.assertEqual(await self.listed(), [instance])
            assert instance.address is not None
            answer = await self.waited(self.fixture.ask(instance.address, instance))
            self.assertIn(self.site.encode(), answer)
            self.assertEqual(self.observer.exits, [])

        async def test_paused_again(self) -> None:
            """Pausing twice is pausing once, and what is not paused can be resumed."""
            instance = await self.start()
            await self.waited(self.engine.resume(self.site))
            await self.waited(self.engine.pause(self.site))
            await self.waited(self.engine.pause(self.site))
            self.assertTrue((await self.listed())[0].paused)
            await self.waited(self.engine.resume(self.site))
            await self.waited(self.engine.resume(self.site))
            self.assertEqual(await self.listed(), [instance])

        async def test_nothing_to_pause(self) -> None:
            """What does not run can be neither paused nor resumed; that is said."""
            for call in (self.engine.pause, self.engine.resume):
                self.assertIn(self.site, await self.fails(call(self.site)))
            await self.start()
            await self.waited(self.engine.stop(self.site, 5))
            for call in (self.engine.pause, self.engine.resume):
                self.assertIn(self.site, await self.fails(call(self.site)))

        async def test_paused_stopped(self) -> None:
            """A paused server is stopped as any other: asked, not killed."""
            instance = await self.start()
            assert instance.address is not None
            await self.waited(self.fixture.ask(instance.address, instance))
            await self.waited(self.engine.pause(self.site))
            await self.waited(self.engine.stop(self.site, 5))
            self.assertEqual(await self.running(), [])
            self.assertEqual([exit.id for exit in self.observer.exits], [instance.id])
            self.assertNotEqual(self.observer.exits[0].code, 137)
            again = await self.start()
            self.assertEqual((again.running, again.paused), (True, False))

        async def test_paused_started(self) -> None:
            """A paused server that is started goes on: it is the same one."""
            instance = await self.start()
            await self.waited(self.engine.pause(self.site))
            self.assertEqual(await self.start(), instance)
            self.assertEqual(await self.listed(), [instance])

        async def test_paused_replaced(self) -> None:
            """A paused server of another declaration is replaced."""
            first = await self.start()
            await self.waited(self.engine.pause(self.site))
            second = await self.start("stubborn")
            self.assertEqual(await self.running(), [second])
            self.assertFalse(second.paused)
            self.assertEqual([exit.id for exit in self.observer.exits], [first.id])

        async def test_paused_removed(self) -> None:
            """A paused server can be removed."""
            await self.start()
            await self.waited(self.engine.pause(self.site))
            await self.waited(self.engine.remove(self.site))
            self.assertEqual(await self.listed(), [])

        async def test_run(self) -> None:
            """A command's status and what it wrote are told, whatever the status."""
            await self.start()
            self.assertEqual(await self.run_inside("says"), Ran(3, "first\nsecond"))

        async def test_run_bounded(self) -> None:
            """Of a command that talks without end the last lines are told."""
            await self.start()
            ran = await self.run_inside("talks")
            self.assertEqual((ran.code, ran.output.split("\n")[-1]), (0, "the last one"))
            self.assertLessEqual(len(ran.output), 4096)

        async def test_run_late(self) -> None:
            """A command that takes too long fails, in words that name it and the time."""
            await self.start()
            words = await self.fails(self.run_inside("hangs", 0.3, 0.3))
            self.assertIn("0.3 s", words)
            self.assertIn(self.fixture.command("hangs")[0], words)
            self.assertEqual((await self.run_inside("says")).code, 3)

        async def test_run_missing(self) -> None:
            """A command that is not there fails in words that name it."""
            await self.start()
            words = await self.fails(self.run_inside("missing"))
            self.assertIn(self.fixture.command("missing")[0], words)

        async def test_nothing_to_run_in(self) -> None:
            """Where no server runs, or only a paused one, nothing can be run; that is said."""
            self.assertIn(self.site, await self.fails(self.run_inside("says")))
            await self.start()
            await self.waited(self.engine.pause(self.site))
            self.assertIn("paused", await self.fails(self.run_inside("says")))
            await self.waited(self.engine.stop(self.site, 5))
            self.assertIn(self.site, await self.fails(self.run_inside("says")))

        async def test_loads(self) -> None:
            """The processor time of each server that runs is told, of none that is paused."""
            self.assertEqual(await self.waited(self.engine.loads()), {})
            for site in (self.site, "bob.example", "carol.example"):
                await self.start(site=site)
            await self.waited(self.engine.pause("bob.example"))
            await self.waited(self.engine.stop("carol.example", 5))
            loads = await self.waited(self.engine.loads())
            self.assertEqual(set(loads), {self.site})
            self.assertGreaterEqual(loads[self.site].processor, 0)
            await self.waited(self.engine.resume("bob.example"))
            loads = await self.waited(self.engine.loads())
            self.assertEqual(set(loads), {self.site, "bob.example"})

        async def test_adopted(self) -> None:
            """Another engine object sees the servers, runs none of them twice, hears their ends."""
            instance = await self.start()
            await self.waited(self.engine.close())
            self.engine, self.observer = self.watching()
            self.assertEqual(await self.listed(), [instance])
            self.assertEqual(await self.start(), instance)
            await self.waited(self.engine.stop(self.site, 5))
            self.assertEqual([exit.id for exit in self.observer.exits], [instance.id])

        async def succeeded(self) -> RecordingObserver:
            """Close the engine and go on with another one; return the observer of the former."""
            await self.waited(self.engine.close())
            former = self.observer
            self.engine, self.observer = self.watching()
            await self.waited(self.observer.until(lambda: bool(self.observer.events)))
            self.assertEqual(self.observer.events, ["found"])
            return former

        async def test_adopted_in_use(self) -> None:
            """What another engine object started answers where it did, is healthy, is weighed, and
            commands are run inside."""
            instance = await self.start()
            await self.succeeded()
            assert instance.address is not None
            answer = await self.waited(self.fixture.ask(instance.address, instance))
            self.assertIn(self.site.encode(), answer)
            self.assertTrue(await self.waited(self.engine.healthy(instance)))
            self.assertEqual(set(await self.waited(self.engine.loads())), {self.site})
            self.assertEqual(await self.run_inside("says"), Ran(3, "first\nsecond"))

        async def test_adopted_paused(self) -> None:
            """What was paused by another engine object is paused for this one, and goes on; and it
            pauses what the other one started."""
            instance = await self.start()
            await self.waited(self.engine.pause(self.site))
            await self.succeeded()
            self.assertEqual(await self.listed(), [evolve(instance, paused=True)])
            self.assertEqual(await self.start(), instance)
            assert instance.address is not None
            await self.waited(self.fixture.ask(instance.address, instance))
            await self.waited(self.engine.pause(self.site))
            self.assertTrue((await self.listed())[0].paused)
            await self.waited(self.engine.resume(self.site))
            await self.waited(self.fixture.ask(instance.address, instance))

        async def test_adopted_stubborn(self) -> None:
            """What another engine object started is killed when it does not end in time."""
            instance = await self.start("stubborn")
            assert instance.address is not None
            await self.waited(self.fixture.ask(instance.address, instance))
            await self.succeeded()
            await self.waited(self.engine.stop(self.site, 0.2), 0.2)
            self.assertEqual(await self.running(), [])
            self.assertEqual([exit.id for exit in self.observer.exits], [instance.id])

        async def test_adopted_crash(self) -> None:
            """The end of what another engine object started is told by this one alone, once."""
            instance = await self.start()
            former = await self.succeeded()
            await self.waited(self.fixture.crash(instance))
            await self.waited(self.observer.until(lambda: bool(self.observer.exits)))
            (exit,) = self.observer.exits
            self.assertEqual((exit.site, exit.id), (self.site, instance.id))
            self.assertIn(exit.code, (137, None))
            self.assertEqual(await self.running(), [])
            self.assertEqual(former.exits, [])

        async def test_adopted_replaced(self) -> None:
            """What another engine object started is replaced by another declaration, and removed
            with its site; others stay."""
            first, other = await self.start(), await self.start(site="bob.example")
            await self.succeeded()
            second = await self.start("stubborn")
            self.assertEqual([exit.id for exit in self.observer.exits], [first.id])
            self.assertEqual(await self.running(), [second, other])
            await self.waited(self.engine.remove(self.site), 1)
            self.assertEqual(await self.listed(), [other])

        async def test_adopted_logs(self) -> None:
            """The log goes on where it was: what was written before can be read, what comes can be
            followed, and that ends with the server."""
            instance = await self.start()
            assert instance.address is not None
            await self.waited(self.fixture.ask(instance.address, instance))
            got = Gathered()
            following = self.engine.logs(self.site, 100, True, got)
            await self.waited(got.until(b"asked"))
            following.addErrback(lambda _: None).cancel()
            await self.succeeded()
            got = Gathered()
            following = self.engine.logs(self.site, 100, True, got)
            await self.waited(got.until(b"three"))
            self.assertIn(b"one\ntwo\nthree\n", got.data)
            before = got.data.count(b"asked")
            await self.waited(self.fixture.ask(instance.address, instance))
            await self.waited(self.engine.stop(self.site, 5))
            await self.waited(following)
            self.assertGreater(got.data.count(b"asked"), before)

        async def test_adopted_comes_back(self) -> None:
            """What another engine object has started, or replaced, comes back by this one."""
            first = await self.start()
            await self.succeeded()
            second = await self.start("stubborn")
            back = await self.waited(self.engine.revert(self.site, first.id, self.words.append))
            self.assertEqual(back.fingerprint, first.fingerprint)
            third = await self.start("stubborn")
            await self.succeeded()
            listed = {each.id: each.running for each in await self.listed()}
            self.assertEqual(listed, {back.id: False, third.id: True})
            again = await self.waited(self.engine.revert(self.site, back.id, self.words.append))
            self.assertEqual(again.fingerprint, first.fingerprint)
            self.assertEqual(await self.running(), [again])
            for gone in (second, third):
                await self.fails(self.engine.revert(self.site, gone.id, self.words.append))

        async def test_adopted_again(self) -> None:
            """What has gone through several engine objects is still the same server."""
            instance = await self.start()
            for _ in range(3):
                await self.succeeded()
                self.assertEqual(await self.start(), instance)
            self.assertEqual(await self.listed(), [instance])

        async def test_not_lasting(self) -> None:
            """Where servers do not outlive their engine, closing it ends them."""
            await self.start()
            await self.waited(self.engine.close())
            self.engine, self.observer = self.watching()
            self.assertEqual(await self.running(), [])

        async def test_lost(self) -> None:
            """An engine that is away says so, calls fail with `EngineAway`, and servers run on."""
            instance = await self.start()
            self.fixture.lose()
            observer = self.observer
            await self.waited(observer.until(lambda: bool(observer.reasons)))
            reason = observer.reasons[-1]
            self.assertGreater(len(reason.split()), 3)
            try:
                await self.waited(self.engine.list())
            except EngineAway as error:
                self.assertGreater(len(str(error).split()), 3)
            else:
                raise self.failureException("It did not fail with EngineAway.")
            self.fixture.find()
            await self.waited(observer.until(lambda: observer.events[-1] == "found"))
            self.assertEqual(await self.listed(), [instance])
            self.assertEqual(self.observer.exits, [])

        async def test_closed_twice(self) -> None:
            """Closing twice is closing once."""
            await self.start()
            await self.waited(self.engine.close())
            await self.waited(self.engine.close())

    if make.lasting:
        del EngineContract.test_not_lasting
    else:
        for name in dir(EngineContract):
            if name.startswith("test_adopted"):
                delattr(EngineContract, name)
    if not make.lossy:
        del EngineContract.test_lost
    if make.sole:
        del EngineContract.test_beside
        del EngineContract.test_beside_takes_over
        del EngineContract.test_beside_fails
        del EngineContract.test_both_stopped
    else:
        del EngineContract.test_beside_refused
    return EngineContract
