"""The engine whose servers are Docker containers.

The reactor's side of it: calls go to threads of their own (`dockerd` says there what is to be
said), one at a time for a site; what Docker tells of the ends of containers comes from a thread
that listens. Nothing here blocks, and no thread touches what is here but by ``callFromThread``.
Containers outlive Snickers; their labels are all that is remembered of them.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from snickers.config.values import Container
from snickers.containers import subnets
from snickers.containers.engine import EngineAway, EngineFailed, Turns, fingerprint
from snickers.containers.errand import Abandoned, Errand, Seen, Stream, shut
from snickers.interfaces.engine import Declared, IEngine, IEngineObserver, Instance, Load, Ran

if TYPE_CHECKING:
    from snickers.containers.dockerd import Dockerd

T = TypeVar("T")

log = Logger()

THREADS = 24
"""Calls at once. Most of them wait: for a server that takes its time to end, or for a registry;
nobody's wake shall wait behind them. A thread is made when it is first needed."""

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
"""Seconds between two tries to reach Docker, doubled from the first to the longest: a restart of
Docker takes some seconds, and all sites wait for it."""

NEWER = "A newer image is here: it is used at the next start."

PULL_WITHIN = 3600.0
"""Seconds for which a newer image may be pulled while servers run: others wait for their turn."""

STEADY = 5.0
"""Seconds after which a stream that broke is worth a new try at once."""

CLOSE_WITHIN = 5.0
"""Seconds that threads are given to end; those that Docker keeps waiting end with Snickers."""


class IReactor(IReactorTime, IReactorFromThreads):
    """What is needed of the reactor."""


class _Thread(threading.Thread):
    """Does not keep Snickers from ending."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.daemon = True


class _Threads(ThreadPool):
    threadFactory = _Thread


@implementer(IEngine)
class DockerEngine:
    """Runs servers in containers.

    :param owner: which Snickers this is, see `snickers.containers.engine.owner_of`: containers of
        others are left alone.
    :param url: where Docker is, such as ``unix:///var/run/docker.sock`` or ``tcp://HOST:2376``;
        empty: as *environment* says in ``DOCKER_HOST``.
    :param pool: the IPv4 network out of which each site gets a small one of its own.
    :param internal: whether those lead nowhere but to this host.
    """

    def __init__(
        self,
        reactor: IReactor,
        owner: str,
        url: str = "",
        pool: str = subnets.POOL,
        environment: Mapping[str, str] = os.environ,
        internal: bool = False,
    ) -> None:
        self._reactor = reactor
        self._connect: Callable[[], Dockerd] = lambda: _connect(
            url, environment, owner, pool, internal
        )
        self._turns = Turns()
        self._observer: IEngineObserver | None = None
        self._dockerd: Dockerd | None = None
        """Whom to talk to; ``None`` while Docker is away."""
        self._away = "Snickers does not ask Docker yet, or not any more."
        self._early: list[Deferred[None]] | None = []
        """Calls that wait to hear first whether Docker is there; ``None``: that was heard."""
        self._told_lost = False
        self._live: dict[str, str] = {}
        """The run of each container that is known to run: its end shall be told."""
        self._told: dict[str, str] = {}
        """The last run of each container whose end was told."""
        self._busy: dict[str, list[Seen]] = {}
        """The sites for which a thread works, each with the ends heard of meanwhile."""
        self._errands: dict[Errand, Deferred[Any]] = {}
        self._starting: dict[str, Errand] = {}
        self._newer: dict[tuple[str, str], dict[str, str]] = {}
        """By image and file of its login: the sites that wait to hear of a newer one, and what
        each runs."""
        self._pulls = Turns()
        self._notices: dict[str, str] = {}
        self._threads: _Threads | None = None
        self._listener: threading.Thread | None = None
        self._stream: Stream | None = None
        self._closing = threading.Event()
        self._closed: list[Deferred[None]] = []
        self._over = False

    def fingerprint(self, declared: Declared) -> str:
        return fingerprint(declared)

    def watch(self, observer: IEngineObserver) -> None:
        """As `IEngine.watch`; the threads begin here."""
        self._observer = observer
        self._threads = _Threads(0, THREADS, "docker")
        self._threads.start()
        self._listener = _Thread(target=self._listen, name="docker-events")
        self._listener.start()

    def list(self) -> Deferred[Sequence[Instance]]:
        def listed(found: Sequence[Seen]) -> Sequence[Instance]:
            self._note(found)
            return [seen.instance for seen in found]

        return self._send("", Errand(), lambda dockerd, _: dockerd.listing()).addCallback(listed)

    def prepare(
        self, declared: Declared, fresh: bool, progress: Callable[[str], None]
    ) -> Deferred[bool]:
        """As `IEngine.prepare`. Waits for nobody's turn: pulling takes its time, and the server may
        be paused or stopped meanwhile."""
        wanted = self.fingerprint(declared)
        errand = Errand(lambda words: self._tell(progress, words))
        return self._send(
            "", errand, lambda dockerd, errand: dockerd.prepare(declared, wanted, fresh, errand)
        )

    def settle(self, site: str, id: str, spare: str = "") -> Deferred[None]:
        self._call_off(site)
        return self._send(
            site, Errand(), lambda dockerd, errand: dockerd.settle(site, id, spare, errand)
        )

    def revert(self, site: str, id: str, progress: Callable[[str], None]) -> Deferred[Instance]:
        errand = Errand(lambda words: self._tell(progress, words))
        sent = self._send(site, errand, lambda dockerd, errand: dockerd.revert(site, id, errand))
        return sent.addCallback(lambda seen: seen.instance)

    def start(
        self,
        declared: Declared,
        progress: Callable[[str], None],
        fresh: bool = False,
        beside: str = "",
    ) -> Deferred[Instance]:
        """As `IEngine.start`. Cancelled, or overtaken by `stop`, `settle` or `remove`, it leaves
        Docker as it was or the server running."""
        wanted = self.fingerprint(declared)

        def tell(words: str) -> None:
            if not errand.cancelled:
                progress(words)

        errand = Errand(lambda words: self._tell(tell, words))
        self._starting[declared.site] = errand

        def started(result: T) -> T:
            if self._starting.get(declared.site) is errand:
                del self._starting[declared.site]
            return result

        sent = self._send(
            declared.site,
            errand,
            lambda dockerd, errand: dockerd.start(declared, wanted, errand, fresh, beside),
        )

        def look(seen: Seen) -> Instance:
            if errand.began:
                self._notice(declared.site, "")
            if errand.stale and isinstance(declared.kind, Container):
                self._look_for_newer(declared.site, declared.kind, seen.image)
            return seen.instance

        return sent.addCallback(look).addBoth(started)

    def stop(self, site: str, within: float) -> Deferred[None]:
        self._call_off(site)
        return self._send(
            site, Errand(), lambda dockerd, errand: dockerd.stop(site, within, errand)
        )

    def remove(self, site: str) -> Deferred[None]:
        self._call_off(site)
        self._notices.pop(site, None)
        return self._send(site, Errand(), lambda dockerd, errand: dockerd.remove(site, errand))

    def pause(self, site: str) -> Deferred[None]:
        return self._send(site, Errand(), lambda dockerd, _: dockerd.pause(site))

    def resume(self, site: str) -> Deferred[None]:
        return self._send(site, Errand(), lambda dockerd, _: dockerd.resume(site))

    def run(self, site: str, command: Sequence[str], within: float) -> Deferred[Ran]:
        """As `IEngine.run`. It waits for no other call, and none waits for it; if the server ends
        meanwhile, so does the command."""
        errand = Errand()
        done = self._send(
            "", errand, lambda dockerd, errand: dockerd.run(site, command, within, errand), True
        )
        if math.isfinite(within):
            late = self._reactor.callLater(within, errand.cancel)
            done.addBoth(_unless_over(late))
        return done

    def loads(self) -> Deferred[Mapping[str, Load]]:
        return self._send("", Errand(), lambda dockerd, _: dockerd.loads())

    def healthy(self, instance: Instance) -> Deferred[bool]:
        """As `IEngine.healthy`; a container whose image has no check is healthy while it runs."""
        return self._send("", Errand(), lambda dockerd, _: dockerd.healthy(instance.id))

    def logs(
        self, site: str, tail: int, follow: bool, receive: Callable[[bytes], None]
    ) -> Deferred[None]:
        """As `IEngine.logs`; following ends with the server's run."""

        def give(data: bytes) -> None:
            if not errand.cancelled:
                receive(data)

        def read(dockerd: Dockerd, errand: Errand) -> None:
            with errand.hold(dockerd.logs(site, tail, follow)) as stream:
                for data in stream:
                    self._tell(give, data)

        errand = Errand()

        return self._send("", errand, read, alone=follow)

    def close(self) -> Deferred[None]:
        """As `IEngine.close`; calls that are under way fail with `EngineAway`."""
        done: Deferred[None] = Deferred()
        if self._over:
            done.callback(None)
            return done
        self._closed.append(done)
        if self._closing.is_set():
            return done
        self._closing.set()
        for errand, call in list(self._errands.items()):
            errand.cancel()
            if not call.called:
                call.errback(EngineAway("Snickers ends and asks Docker nothing more."))
        self._hang_up()
        self._looked()
        if self._threads is None:
            self._ended_all()
            return done
        late = self._reactor.callLater(CLOSE_WITHIN, self._ended_all)

        def gone() -> None:
            if late.active():
                late.cancel()
                self._ended_all()

        def join(threads: ThreadPool, listener: threading.Thread | None) -> None:
            threads.stop()
            if listener is not None:
                listener.join()
            self._reactor.callFromThread(gone)

        _Thread(target=join, args=(self._threads, self._listener)).start()
        return done

    def _ended_all(self) -> None:
        if self._dockerd is not None:
            self._dockerd.close()
        self._over = True
        closed, self._closed = self._closed, []
        for done in closed:
            done.callback(None)

    # Calls

    def _send(
        self,
        site: str,
        errand: Errand,
        work: Callable[[Dockerd, Errand], T],
        alone: bool = False,
    ) -> Deferred[T]:
        """Do *work* in a thread, in *site*'s turn if it has one; fire with what it returns.

        The turn ends with the work, however early the returned Deferred is cancelled.
        """
        done: Deferred[T] = Deferred(lambda _: errand.cancel())
        talked: list[Dockerd] = []

        def begin(_: object = None) -> Deferred[T]:
            if self._early is not None and self._listener is not None:
                first: Deferred[None] = Deferred()
                self._early.append(first)
                return first.addCallback(begin)
            if self._dockerd is None or self._threads is None or self._closing.is_set():
                return fail(EngineAway(self._away))
            if errand.cancelled:
                return fail(Abandoned())
            talked.append(self._dockerd)
            if site:
                self._busy[site] = []
            if alone:
                return self._in_own_thread(work, self._dockerd, errand)
            return deferToThreadPool(self._reactor, self._threads, work, self._dockerd, errand)

        def settled(result: T) -> None:
            self._heard(site, errand, result, lambda: done.callback(result), done)

        def failed(reason: Failure) -> None:
            error = reason.value
            if isinstance(error, EngineAway):
                self._doubt(talked)
            elif isinstance(error, Abandoned):
                error = EngineFailed("It was called off before it was done.")
            elif not isinstance(error, EngineFailed):
                log.failure("A call to Docker failed.", reason)
                error = EngineFailed("Docker answers what is not understood; see the log.")
            self._heard(site, errand, None, lambda: done.errback(error), done)

        self._errands[errand] = done
        begun = self._turns.run(site, begin) if site else begin()
        begun.addCallbacks(settled, failed)
        begun.addErrback(lambda reason: log.failure("An observer of Docker failed.", reason))
        return done

    def _in_own_thread(
        self, work: Callable[[Dockerd, Errand], T], dockerd: Dockerd, errand: Errand
    ) -> Deferred[T]:
        # Following a log takes as long as somebody looks at it, a command as long as it likes; they
        # must not take up the calls' threads.
        done: Deferred[T] = Deferred()

        def run() -> None:
            try:
                result = work(dockerd, errand)
            except Exception as error:
                self._reactor.callFromThread(done.errback, error)
            else:
                self._reactor.callFromThread(done.callback, result)

        _Thread(target=run, name="docker-log").start()
        return done

    def _heard(
        self,
        site: str,
        errand: Errand,
        result: object,
        fire: Callable[[], None],
        done: Deferred[T],
    ) -> None:
        """Tell of the ends before, fire, then tell of the end of what was started, if it ended."""
        self._errands.pop(errand, None)
        begun = result if isinstance(result, Seen) else None
        ends: dict[bool, list[Seen]] = {False: [], True: []}
        for seen in (*errand.ended, *self._busy.pop(site, ())):
            same = begun is not None and (seen.instance.id, seen.run) == (
                begun.instance.id,
                begun.run,
            )
            ends[same].append(seen)
        for seen in ends[False]:
            self._ended(seen)
        if begun is not None:
            self._live[begun.instance.id] = begun.run
            ends[True].append(begun)
        if not done.called:
            fire()
        for seen in ends[True]:
            self._ended(seen)

    def _call_off(self, site: str) -> None:
        """Let go of a start that is under way: who stops later means it."""
        errand = self._starting.get(site)
        if errand is not None:
            errand.cancel()

    # Newer images

    def _look_for_newer(self, site: str, kind: Container, image: str) -> None:
        """See to it that the image of *kind* is what its registry has; tell *site*, which runs
        *image*, what comes of it. Images are pulled one after the other, each once for all."""
        wanted = (kind.image, kind.registry_auth)
        if wanted in self._newer:
            self._newer[wanted][site] = image
            return
        self._newer[wanted] = {site: image}

        def done(words: Callable[[str], str]) -> None:
            for site, image in self._newer.pop(wanted).items():
                self._notice(site, words(image))

        def pulled(newest: str) -> None:
            done(lambda image: NEWER if newest != image else "")

        def failed(reason: Failure) -> None:
            log.warn("{image}: {error} It is used as it is.", image=kind.image, error=reason.value)
            done(lambda image: f"{reason.value} The image that is here is used.")

        def pull() -> Deferred[str]:
            errand = Errand()
            late = self._reactor.callLater(PULL_WITHIN, errand.cancel)
            pulling = self._send(
                "", errand, lambda dockerd, errand: dockerd.refresh(kind, errand), alone=True
            )
            return pulling.addBoth(_unless_over(late))

        self._pulls.run("", pull).addCallbacks(pulled, failed)

    def _notice(self, site: str, words: str) -> None:
        """Tell *words*, unless they are what was told already."""
        if self._observer is None or self._closing.is_set():
            return
        if words != self._notices.get(site, ""):
            self._notices[site] = words
            if not words:
                del self._notices[site]
            self._observer.noticed(site, words)

    # Ends of containers

    def _note(self, found: Sequence[Seen]) -> None:
        """Take what is there: whose ends shall be told, and who has ended unheard."""
        self._told = {
            id: run
            for id, run in self._told.items()
            if any(seen.instance.id == id for seen in found)
        }
        for seen in found:
            id = seen.instance.id
            if seen.instance.site in self._busy:
                continue  # Already seen otherwise by the thread that works for it.
            if not seen.instance.running:
                self._ended(seen)
            elif self._told.get(id) != seen.run:
                self._live[id] = seen.run

    def _ended(self, seen: Seen) -> None:
        """Tell the end of a run once, if it was known to run."""
        id = seen.instance.id
        run = self._live.get(id)
        if seen.exit is None or run is None or seen.run not in ("", run):
            return
        del self._live[id]
        self._told[id] = run
        if self._observer is not None and not self._closing.is_set():
            self._observer.exited(seen.exit)

    def _died(self, seen: Seen) -> None:
        late = self._busy.get(seen.instance.site)
        if late is None:
            self._ended(seen)
        else:
            late.append(seen)

    # Whether Docker is there

    def _tell(self, what: Callable[..., object], *arguments: object) -> None:
        """From a thread: do *what* in the reactor's, unless closed by then."""

        def do() -> None:
            if not self._closing.is_set():
                what(*arguments)

        self._reactor.callFromThread(do)

    def _found(self, dockerd: Dockerd, found: Sequence[Seen]) -> None:
        before, self._dockerd = self._dockerd, dockerd
        self._told_lost = False
        if before is not None:
            before.close()
        self._live = {seen.instance.id: seen.run for seen in found if seen.instance.running}
        if self._observer is not None:
            self._observer.found()
        self._looked()

    def _lost(self, reason: str) -> None:
        before, self._dockerd = self._dockerd, None
        self._away = reason
        if before is not None:
            before.close()
        if not self._told_lost and self._observer is not None:
            self._told_lost = True
            self._observer.lost(reason)
        self._looked()

    def _looked(self) -> None:
        early, self._early = self._early or (), None
        for first in early:
            first.callback(None)

    def _doubt(self, talked: Sequence[Dockerd]) -> None:
        """A call could not reach Docker: let the listener look, who tells `found` or `lost`."""
        if self._dockerd in talked:
            self._hang_up()

    def _hang_up(self) -> None:
        stream = self._stream
        if stream is not None:
            shut(stream)

    def _listen(self) -> None:
        """In a thread of its own, as long as Snickers lives: hear what ends."""
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self._hear()
            except (EngineAway, EngineFailed) as error:
                self._tell(self._lost, str(error))
            except Exception:
                # Whatever it was, it must not be the last that is heard of Docker.
                log.failure("Listening to Docker failed.")
                self._tell(self._lost, "Docker answers what Snickers does not understand.")
            if time.monotonic() - began > STEADY:
                pause = FIRST_PAUSE
            else:
                self._closing.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _hear(self) -> None:
        """Reach Docker and hear it until it breaks off."""
        dockerd = self._connect()
        stream = dockerd.deaths()
        try:
            # Listed when the stream is open, so that nothing falls between.
            found = dockerd.listing()
            self._stream = stream
            if self._closing.is_set():
                return
            self._tell(self._found, dockerd, found)
            for event in stream:
                seen = dockerd.death(event)
                if seen is not None:
                    self._tell(self._died, seen)
        finally:
            self._stream = None
            shut(stream)


def _unless_over(later: IDelayedCall) -> Callable[[T], T]:
    """Return what cancels *later* when a Deferred fires, and lets its result through."""

    def over(result: T) -> T:
        if later.active():
            later.cancel()
        return result

    return over


def _connect(
    url: str, environment: Mapping[str, str], owner: str, pool: str, internal: bool
) -> Dockerd:
    """Begin a conversation with Docker."""
    # Not before: Docker's package takes a tenth of a second and 7 MB, which a host without
    # containers shall not pay.
    from snickers.containers.compose import Composed
    from snickers.containers.composetool import Tool
    from snickers.containers.dockerapi import Api

    # The listener's connection, and one to spare, beside those of the calls.
    api = Api(url, THREADS + 2, environment)
    return Composed(api, owner, pool, Tool(api.where, environment), internal=internal)
