"""What the data plane, persons and the reload get from the lives of personal servers."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from snickers.config.values import Container, Lifecycle, Process, Site, Static
from snickers.containers.engine import EngineAway, EngineFailed, Turns
from snickers.containers.pins import Pins
from snickers.containers.probe import NotReady
from snickers.containers.service import Lives
from snickers.containers.tried import Tried
from snickers.interfaces.engine import Ran
from snickers.interfaces.handed import Kept
from snickers.interfaces.leases import ILeases, IWaiter, Stage
from snickers.interfaces.lives import ILives, LifeFailed
from snickers.testing import MemoryEngine


@implementer(IWaiter)
class Waiter:
    def __init__(self):
        self.answers = []

    def leased(self, address):
        self.answers.append(address)

    def refused(self, refusal):
        self.answers.append(refusal)

    @property
    def kinds(self):
        return [getattr(answer, "kind", "leased") for answer in self.answers]


verifyClass(IWaiter, Waiter)

HERE = ("127.0.0.1", 40001)
"""Where a use was: it matters only while a site has two servers."""


class Prober:
    """Probes that a test lets pass or fail; by default they pass at once."""

    def __init__(self):
        self.open = []
        self.passing = True

    def probe(self, instance, health, host, engine, brief=False, unready=None):
        done = Deferred(lambda done: self.open.remove(done))
        if self.passing:
            done.callback(None)
        else:
            self.open.append(done)
        return done

    def end(self, fault=None):
        done = self.open.pop(0)
        if fault is None:
            done.callback(None)
        else:
            done.errback(NotReady(fault))


class Alarm:
    """Tells what is raised, and what is cleared of that, as `IAlarm` says."""

    def __init__(self):
        self.told = []
        self.current = set()

    def raised(self, kind, site, message):
        self.told.append(("raised", kind, site))
        self.current.add((kind, site))
        self.words = message

    def cleared(self, kind, site):
        if (kind, site) in self.current:
            self.current.remove((kind, site))
            self.told.append(("cleared", kind, site))


class Sweep:
    def __init__(self, clock):
        self.clock = clock

    @property
    def now(self):
        return self.clock.seconds()


def container(name="a.example", image="lamp", enabled=True, **life):
    return Site(name, Container(image, life=Lifecycle(**life)), enabled=enabled, data="/d/" + name)


def process(name="a.example"):
    return Site(name, Process(("serve",)), data="/d/" + name)


class Folder:
    """Says what is done with a folder, which goes well."""

    def __init__(self, made):
        self.made = made

    def begin_trial(self, site, progress, had=""):
        self.made.append(("copy", had))
        return succeed(had or "c")

    def put_back(self, site, copy, progress):
        self.made.append(("put back", copy))
        return succeed(None)

    def end_trial(self, site):
        self.made.append(("over",))


class LivesCase(TestCase):
    """The lives of sites whose engine is `MemoryEngine`."""

    def setUp(self):
        self.clock = Clock()
        self.engine = MemoryEngine(self.clock)
        self.processes = MemoryEngine(self.clock)
        self.host = self.engine.host
        self.alarm = Alarm()
        self.lives = Lives(
            None,
            self.clock,
            Sweep(self.clock),
            {Container: self.engine, Process: self.processes},
            self.alarm,
            self.clock.seconds,
        )
        self.prober = self.lives.prober = Prober()

    def turn(self, seconds=0.0, times=8):
        """Let what is under way come about, then *seconds* pass."""
        while seconds > 0:
            self.clock.advance(min(1.0, seconds))
            seconds -= 1.0
        for _ in range(times):
            self.clock.advance(0)

    def begin(self, *sites):
        self.lives.apply(sites, (), ())
        self.lives.start()
        self.turn()

    def awake(self, site="a.example"):
        waiter = Waiter()
        self.lives.take(site, waiter)
        self.turn()
        self.assertEqual(waiter.kinds, ["leased"])
        self.lives.give_back(site, HERE)
        return waiter.answers[0]

    def starts(self, engine=None):
        return (engine or self.engine).calls.count(("start", "a.example"))

    def stops(self, engine=None):
        return (engine or self.engine).calls.count(("stop", "a.example"))


class LivesTests(LivesCase):
    """What becomes of requests, persons' wishes, and changes."""

    def test_interfaces(self):
        """`Lives` is what the data plane and the control room are promised."""
        verifyObject(ILeases, self.lives)
        verifyObject(ILives, self.lives)

    def test_ready(self):
        """Where a server answers can be asked without counting anything."""
        self.begin(container())
        self.assertIsNone(self.lives.ready("a.example"))
        self.assertIsNone(self.lives.ready("unknown.example"))
        address = self.awake()
        self.assertEqual(self.lives.ready("a.example"), address)
        self.assertEqual(self.lives.states()["a.example"]["uses"], 0)
        self.lives.sleep("a.example", lambda words: None)
        self.assertIsNone(self.lives.ready("a.example"))

    def test_moved(self):
        """Whoever has leases of others is told when one holds no more: when it sleeps, when it
        crashed, and when the site is gone."""
        moves = []
        self.begin(container(), container("b.example"))
        self.lives.moved = lambda site: moves.append((site, self.lives.ready(site)))
        address = self.awake()
        self.assertEqual(moves[-1], ("a.example", address))
        self.assertEqual({site for site, _ in moves}, {"a.example"})
        moves.clear()
        self.lives.sleep("a.example", lambda words: None)
        self.turn()
        self.assertEqual(moves[0], ("a.example", None))
        self.awake()
        moves.clear()
        self.lives.apply((), (), (container(),))
        self.turn()
        self.assertEqual((moves[0], moves[-1]), (("a.example", None),) * 2)
        moves.clear()
        self.lives.give_back("b.example", HERE)
        self.lives.give_back("gone.example", HERE)
        self.turn()
        self.assertEqual(moves, [])

    def test_look(self):
        """How far a server is is told at once to whoever looks; that wakes nothing, keeps nothing
        awake, and is no use of it."""
        told = []
        self.begin(container(idle_after=10.0))
        self.lives.look("a.example", told.append)
        self.lives.look("nobody.example", told.append)
        self.turn()
        self.assertEqual(told, [Stage("asleep"), Stage()])
        self.assertEqual(self.lives.states()["a.example"]["uses"], 0)
        address = self.awake()
        told.clear()
        for _ in range(12):
            self.lives.look("a.example", told.append)
            self.turn(1.0)
        self.assertEqual((told[0].phase, told[0].address), ("awake", address))
        self.assertEqual(told[-1], Stage("asleep"))

    def test_wakes(self):
        """The first request wakes a sleeping server, waits, and is leased its address."""
        self.begin(container())
        self.assertEqual(self.lives.stage("a.example"), "asleep")
        waiter = Waiter()
        self.assertIsNone(self.lives.take("a.example", waiter))
        self.assertEqual(self.lives.stage("a.example"), "asleep")
        self.turn()
        self.assertEqual(waiter.answers, [("127.0.0.1", 40001)])
        self.assertEqual(self.lives.take("a.example", Waiter()), ("127.0.0.1", 40001))
        self.assertEqual(self.lives.states()["a.example"]["uses"], 2)
        self.assertEqual(self.lives.states()["a.example"]["state"], "awake")
        self.assertEqual(self.lives.states()["a.example"]["wakes"], {"ready": 1, "failed": 0})

    def test_stampede(self):
        """A thousand requests at once start one server, and all are leased it; the next one of
        them is refused, being one too many."""
        self.begin(container())
        waiters = [Waiter() for _ in range(1001)]
        for waiter in waiters:
            self.assertIsNone(self.lives.take("a.example", waiter))
        self.turn()
        self.assertEqual(self.starts(), 1)
        self.assertEqual({tuple(w.kinds) for w in waiters[:1000]}, {("leased",)})
        self.assertEqual(waiters[1000].kinds, ["slow"])
        self.assertEqual(self.lives.states()["a.example"]["uses"], 1000)

    def test_awake_is_a_count(self):
        """With the server awake, a lease and its return are no events: nothing is planned."""
        self.begin(container())
        self.awake()
        planned = len(self.clock.getDelayedCalls())
        for _ in range(100):
            self.assertIsNotNone(self.lives.take("a.example", None))
        for _ in range(100):
            self.lives.give_back("a.example", HERE)
        self.assertEqual(len(self.clock.getDelayedCalls()), planned)
        self.assertEqual(self.lives.states()["a.example"]["uses"], 0)

    def test_asleep_costs_nothing(self):
        """Sleeping sites are not looked at by the tick."""
        self.begin(*(container(f"s{i}.example") for i in range(50)))
        self.assertEqual(self.lives._due, set())

    def test_idle(self):
        """A server that nobody uses is stopped after ``idle after``; one in use is not."""
        self.begin(container(idle_after=60))
        self.awake()
        self.lives.take("a.example", Waiter())
        self.turn(200)
        self.assertEqual(self.stops(), 0)
        self.lives.give_back("a.example", HERE)
        self.turn(58)
        self.assertEqual(self.stops(), 0)
        self.turn(3)
        self.assertEqual(self.stops(), 1)
        self.assertEqual(self.lives.stage("a.example"), "asleep")

    def test_taken_while_stopping(self):
        """A request that comes while the server stops waits, and wakes it again."""
        self.begin(container(idle_after=60))
        self.awake()
        self.engine.hold("stop")
        self.turn(61)
        self.assertEqual(self.lives.stage("a.example"), "stopping")
        waiter = Waiter()
        self.assertIsNone(self.lives.take("a.example", waiter))
        self.turn()
        self.assertEqual(waiter.answers, [])
        self.engine.release("stop")
        self.turn()
        self.assertEqual(waiter.answers, [("127.0.0.1", 40002)])

    def test_forgotten(self):
        """One who waits no more is not called and counts for nothing; the server that it has woken
        comes."""
        self.begin(container())
        waiter = Waiter()
        self.engine.hold("start")
        self.lives.take("a.example", waiter)
        self.turn()
        self.lives.forget("a.example", waiter)
        self.turn()
        self.engine.release("start")
        self.turn()
        self.assertEqual(waiter.answers, [])
        self.assertEqual(self.lives.stage("a.example"), "awake")
        self.assertEqual(self.lives.states()["a.example"]["uses"], 0)

    def test_forgotten_by_another(self):
        """One who is forgotten by another one's lease is not called, and its use is no use."""
        lives = self.lives

        class Jealous(Waiter):
            def leased(self, address):
                super().leased(address)
                lives.forget("a.example", other)

        self.begin(container())
        other = Waiter()
        self.lives.take("a.example", Jealous())
        self.lives.take("a.example", other)
        self.turn()
        self.assertEqual(other.answers, [])
        self.assertEqual(self.lives.states()["a.example"]["uses"], 1)

    def test_broken_waiter(self):
        """One waiter's exception is logged and keeps nobody else from its lease."""

        class Broken(Waiter):
            def leased(self, address):
                raise ZeroDivisionError

        self.begin(container())
        waiter = Waiter()
        self.lives.take("a.example", Broken())
        self.lives.take("a.example", waiter)
        self.turn()
        self.assertEqual(waiter.kinds, ["leased"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cancelled_as_fast_as_they_come(self):
        """Requests for a sleeping server that are cancelled at once, however many, do not even
        start it; cancelled while it starts, they leave nobody waiting, and it sleeps again."""
        self.begin(container(idle_after=10))
        for _ in range(1000):
            waiter = Waiter()
            self.lives.take("a.example", waiter)
            self.lives.forget("a.example", waiter)
        self.turn()
        self.assertEqual(self.starts(), 0)
        self.engine.hold("start")
        waiters = [Waiter() for _ in range(1000)]
        for waiter in waiters:
            self.lives.take("a.example", waiter)
        self.turn()
        for waiter in waiters:
            self.lives.forget("a.example", waiter)
        self.turn()
        state = self.lives.states()["a.example"]
        self.assertEqual((state["waiting"], state["uses"]), (0, 0))
        self.engine.release("start")
        self.turn(30)
        self.assertEqual((self.starts(), self.stops()), (1, 1))

    def test_unknown_site(self):
        """A request for a site that is gone is refused, in a later turn, unless it is forgotten."""
        self.begin()
        waiter, gone = Waiter(), Waiter()
        self.assertIsNone(self.lives.take("a.example", waiter))
        self.lives.take("a.example", gone)
        self.lives.forget("a.example", gone)
        self.assertEqual(waiter.answers, [])
        self.turn()
        self.assertEqual(waiter.kinds, ["stopping"])
        self.assertEqual(gone.answers, [])
        self.lives.give_back("a.example", HERE)
        self.assertEqual(self.lives.stage("a.example"), "")

    def test_slow(self):
        """Who waited ``wake within`` is refused, and the start goes on for those who come."""
        self.begin(container(wake_within=10))
        self.engine.hold("start")
        waiter = Waiter()
        self.lives.take("a.example", waiter)
        self.turn(11)
        self.assertEqual(waiter.kinds, ["slow"])
        self.assertEqual(self.lives.stage("a.example"), "starting")
        late = Waiter()
        self.lives.take("a.example", late)
        self.engine.release("start")
        self.turn()
        self.assertEqual(late.kinds, ["leased"])
        self.assertEqual(self.starts(), 1)

    def test_start_fails(self):
        """A server that cannot be started is a crash: refused with when to ask again; after the
        rest the next request tries once more."""
        self.begin(container())
        self.engine.fail("start", EngineFailed("no such image"))
        waiter = Waiter()
        self.lives.take("a.example", waiter)
        self.turn()
        self.assertEqual(waiter.kinds, ["crashed"])
        self.assertEqual(waiter.answers[0].retry_after, 1)
        self.assertEqual(self.lives.states()["a.example"]["detail"], "no such image")
        self.turn(2)
        self.awake()

    def test_rests(self):
        """After five crashes in a row a person is told, and only a person or a change wakes it."""
        self.begin(container(wake="always"))
        for _ in range(5):
            self.host.end("a.example")
            self.turn(20)
        self.assertEqual(self.lives.stage("a.example"), "crashed")
        self.assertEqual(self.alarm.told, [("raised", "crashed", "a.example")])
        starts = self.starts()
        waiter = Waiter()
        self.lives.take("a.example", waiter)
        self.turn(500)
        self.assertEqual((waiter.kinds, self.starts()), (["crashed"], starts))
        waking = self.lives.wake("a.example", lambda words: None)
        self.turn()
        self.successResultOf(waking)
        self.assertEqual(self.alarm.told[1:], [("cleared", "crashed", "a.example")])

    def test_broken_engine(self):
        """An engine's unexpected exception is logged, and is that site's crash alone."""
        self.begin(container(), container("b.example"))
        self.engine.fail("start", ZeroDivisionError("oops"))
        waiter = Waiter()
        self.lives.take("a.example", waiter)
        self.turn()
        self.assertEqual(waiter.kinds, ["crashed"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.awake("b.example")

    def test_adopts(self):
        """A server that runs already is taken over after a check, and not started again."""
        former = MemoryEngine(self.clock, self.host)
        site = container()
        declared = evolve_declared(site)
        self.host.start("a.example", former.fingerprint(declared), 0)
        self.begin(site)
        self.assertEqual(self.lives.stage("a.example"), "awake")
        self.assertEqual(self.starts(), 0)
        self.assertIsNotNone(self.lives.take("a.example", Waiter()))

    def pass_on(self, within=1.0):
        """Hand over, and begin anew with another engine of the same host."""
        handed = self.lives.hand_over()
        gone = self.lives.release(within)
        self.turn()
        self.successResultOf(gone)
        self.engine = MemoryEngine(self.clock, self.host)
        self.lives.begin_anew({Container: self.engine, Process: MemoryEngine(self.clock)})
        return handed

    def test_rests_before_duty(self):
        """Before duty was taken nothing is applied, and nothing asked of an engine."""
        self.lives.rest()
        self.begin(container())
        self.assertEqual(self.lives.states(), {})

    def test_handed_over(self):
        """What is used, since when it is not, and what has befallen it goes on with the next one;
        nothing is stopped or started for that."""
        self.begin(container(idle_after=30.0))
        address = self.awake()
        self.lives.take("a.example", Waiter())
        self.lives.take("a.example", Waiter())
        self.lives.give_back("a.example", HERE)
        self.lives.take("b.example", stranger := Waiter())
        handed = self.pass_on()
        self.assertEqual(stranger.kinds, ["stopping"])
        found = handed["a.example"]
        self.assertEqual((found.uses, found.address, found.waiting), (1, address, ()))
        self.assertEqual(found.kept, Kept(wakes={"ready": 1, "failed": 0}, woken=found.kept.woken))
        self.assertEqual((self.lives.states(), self.lives.ready("a.example")), ({}, None))
        self.lives.apply([container(idle_after=30.0)], (), ())
        self.lives.inherit("a.example", found.uses, evolve(found.kept, idle=20.0))
        self.lives.inherit("unknown.example", 1, None)
        self.lives.start()
        self.turn()
        state = self.lives.states()["a.example"]
        self.assertEqual((state["state"], state["uses"]), ("awake", 1))
        self.assertEqual(state["wakes"], {"ready": 1, "failed": 0})
        self.assertEqual((self.starts(), self.stops()), (0, 0))
        self.turn(40)
        self.assertEqual(self.lives.stage("a.example"), "awake")
        self.lives.give_back("a.example", HERE)
        self.turn(31)
        self.assertEqual(self.lives.stage("a.example"), "asleep")

    def test_trial_goes_on(self):
        """A server that is being tried is tried on, from the same copy of the folder; if it fails,
        whoever has taken over undoes what it did."""
        made = []

        self.lives.copies = Folder(made)
        self.begin(container())
        address = self.awake()
        good = self.lives.states()["a.example"]["id"]
        self.prober.passing = False
        tried = container(image="lamp:2", wake="always", copy_before_update=True)
        self.lives.apply((), (tried,), ())
        self.turn()
        self.assertEqual((self.lives.stage("a.example"), made), ("checking", [("copy", "")]))
        kept = self.pass_on()["a.example"].kept
        self.assertEqual((kept.good, kept.copied, kept.back), (good, "c", False))
        made.clear()
        self.lives.apply([tried], (), ())
        self.lives.inherit("a.example", 0, kept)
        self.lives.start()
        self.turn()
        self.assertEqual((self.lives.stage("a.example"), made), ("checking", [("copy", "c")]))
        self.prober.passing = True
        self.host.end("a.example", 3)
        self.turn()
        self.assertEqual(made[1:], [("put back", "c"), ("over",)])
        state = self.lives.states()["a.example"]
        self.assertEqual((state["state"], state["id"]), ("awake", good))
        self.assertNotEqual(self.lives.ready("a.example"), address)

    def killed(self, *sites):
        """Have Snickers end without a word, and the next one be started with *sites*."""
        copies = self.lives.copies
        # Of which nothing is told to anybody.
        self.lives.hand_over()
        self.engine = MemoryEngine(self.clock, self.host)
        self.lives = self.keeping()
        self.lives.copies = copies
        self.begin(*sites)

    def keeping(self, in_thread=maybeDeferred):
        """Return lives that write down what they try."""
        lives = Lives(
            None,
            self.clock,
            Sweep(self.clock),
            {Container: self.engine},
            self.alarm,
            self.clock.seconds,
            tried=Tried(self.file, in_thread),
        )
        lives.prober = self.prober
        return lives

    def test_written_before_it_is_tried(self):
        """What is tried is not started before it is written down that it is only tried: after a
        kill nobody could tell it from one that has proven itself."""
        writes = []

        def slowly(act, path, data):
            writes.append((done := Deferred(), act, path, data))
            return done

        self.file = self.mktemp()
        self.lives = self.keeping(slowly)
        self.begin(container(wake="always"))
        self.assertEqual((self.starts(), writes), (1, []))
        self.lives.apply((), (container(image="lamp:2", wake="always"),), ())
        self.turn()
        self.assertEqual((self.lives.stage("a.example"), self.starts()), ("starting", 1))
        done, act, path, data = writes.pop()
        act(path, data)
        done.callback(None)
        self.turn()
        self.assertEqual((self.lives.stage("a.example"), self.starts()), ("awake", 2))

    def test_killed_in_a_trial(self):
        """A newcomer that is found by the next Snickers is on trial still: when it fails, what it
        has done to the folder is undone and the one before serves; so with a newer image of the
        same declaration. When it does well there is nothing left of the trial."""
        for same, well in product((False, True), (False, True)):
            self.setUp()
            self.file = self.mktemp()
            self.lives = self.keeping()
            made = []
            self.lives.copies = Folder(made)
            careful = {"wake": "always", "copy_before_update": True}
            self.begin(container(**careful))
            good = self.lives.states()["a.example"]["id"]
            self.prober.passing = False
            tried = container(image="lamp" if same else "lamp:2", **careful)
            if same:
                self.host.newer.add("a.example")
                updating = self.lives.update("a.example", lambda words: None)
                updating.addErrback(lambda _: None)
            else:
                self.lives.apply((), (tried,), ())
            self.turn()
            self.assertEqual((self.lives.stage("a.example"), made), ("checking", [("copy", "")]))
            made.clear()
            self.killed(tried)
            self.assertEqual((self.lives.stage("a.example"), made), ("checking", [("copy", "c")]))
            self.prober.passing = True
            if well:
                while self.prober.open:
                    self.prober.end()
            else:
                self.host.end("a.example", 3)
            self.turn()
            state = self.lives.states()["a.example"]
            self.assertEqual((state["state"], state["id"] == good), ("awake", not well))
            self.assertEqual(("put back", "c") in made, not well)
            self.assertEqual(Path(self.file).read_text(), "{}")

    def test_killed_going_back(self):
        """A newer image that has failed is not taken for a good one where Snickers is killed while
        the one before comes back, though both are of one declaration: that is who serves then."""
        self.file = self.mktemp()
        self.lives = self.keeping()
        self.begin(container(wake="always"))
        good = self.lives.states()["a.example"]["id"]
        self.prober.passing = False
        self.host.newer.add("a.example")
        self.lives.update("a.example", lambda words: None).addErrback(lambda _: None)
        self.turn()
        self.engine.hold("revert")
        self.host.end("a.example", 3)
        self.turn()
        self.assertEqual(self.lives.stage("a.example"), "reverting")
        self.prober.passing = True
        self.killed(container(wake="always"))
        state = self.lives.states()["a.example"]
        self.assertEqual((state["state"], state["id"]), ("awake", good))
        self.assertEqual(Path(self.file).read_text(), "{}")

    def test_idle_goes_on(self):
        """A server that was idle there is as idle here."""
        self.begin(container(idle_after=30.0))
        self.awake()
        self.turn(20)
        kept = self.pass_on()["a.example"].kept
        self.assertEqual(kept.idle, 20.0)
        self.lives.apply([container(idle_after=30.0)], (), ())
        self.lives.inherit("a.example", 0, kept)
        self.lives.start()
        self.turn()
        self.assertEqual(self.lives.stage("a.example"), "awake")
        self.turn(11)
        self.assertEqual(self.lives.stage("a.example"), "asleep")

    def test_alarms_do_not_stay(self):
        """What was raised about a server or an engine does not stay raised where nobody looks after
        them any more, and nothing is raised after that."""
        self.begin(container(wake="always"), process("b.example"))
        for _ in range(5):
            self.host.end("a.example")
            self.turn(20)
        self.processes.host.lose("gone")
        self.turn()
        raised = {entry[1:] for entry in self.alarm.told}
        self.assertEqual(raised, {("crashed", "a.example"), ("process engine", "")})
        self.alarm.told.clear()
        self.lives.hand_over()
        self.assertEqual(
            sorted(self.alarm.told),
            [("cleared", "crashed", "a.example"), ("cleared", "process engine", "")],
        )
        self.host.lose("gone, too")
        self.turn(20)
        self.assertEqual(len(self.alarm.told), 2)

    def test_a_fault_in_one(self):
        """A life that cannot be handed over keeps no other one alive."""
        self.begin(container(), container("b.example", idle_after=5.0))
        self.awake("b.example")
        self.lives._lives["a.example"]._waiting = None
        self.assertEqual(list(self.lives.hand_over()), ["b.example"])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.turn(20)
        self.assertEqual(self.stops(), 0)

    def test_waiters_are_handed_over(self):
        """Who waits is told nothing, and is handed over in order; a person is told to ask again."""
        self.prober.passing = False
        self.begin(container())
        waiters = [Waiter() for _ in range(3)]
        for waiter in waiters:
            self.lives.take("a.example", waiter)
            self.turn()
        asked = self.lives.wake("a.example", lambda words: None)
        handed = self.lives.hand_over()["a.example"]
        self.assertEqual(handed.waiting, tuple(waiters))
        self.failureResultOf(asked, LifeFailed)
        self.turn(20)
        self.assertEqual([waiter.answers for waiter in waiters], [[]] * 3)

    def test_given_back_late(self):
        """A use that is being given back is none any more."""
        self.begin(container())
        self.awake()
        self.lives.take("a.example", Waiter())
        asked = self.lives.sleep("a.example", lambda words: None)
        self.turn()
        self.lives.give_back("a.example", HERE)
        self.assertEqual(self.lives.hand_over()["a.example"].uses, 0)
        self.failureResultOf(asked, LifeFailed)

    def test_being_stopped(self):
        """That one was about to be stopped is said; its end is not waited for, since whoever goes
        on knows."""
        self.begin(container())
        self.awake()
        self.engine.stop = lambda site, within: Deferred()
        asked = self.lives.sleep("a.example", lambda words: None)
        self.turn()
        self.assertTrue(self.lives.hand_over()["a.example"].kept.stopping)
        self.failureResultOf(asked, LifeFailed)
        gone = self.lives.release(3.0)
        self.turn()
        self.successResultOf(gone)

    def test_being_started(self):
        """That one starts is waited for."""
        starting = Deferred()
        self.begin(container())
        self.engine.start = lambda declared, progress, fresh=False, beside="": starting
        self.lives.take("a.example", Waiter())
        self.turn()
        self.lives.hand_over()
        gone = self.lives.release(3.0)
        self.turn(2)
        self.assertNoResult(gone)
        starting.errback(EngineFailed("no"))
        self.turn()
        self.successResultOf(gone)

    def test_turn_taken(self):
        """That one starts is waited for, too, where the engine lets calls have their turns."""
        starting, turns = Deferred(), Turns()
        self.begin(container())
        self.engine.start = lambda declared, progress, fresh=False, beside="": turns.run(
            "a.example", lambda: starting
        )
        self.lives.take("a.example", Waiter())
        self.turn()
        self.lives.hand_over()
        gone = self.lives.release(3.0)
        self.turn(2)
        self.assertNoResult(gone)
        starting.errback(EngineFailed("no"))
        self.turn()
        self.successResultOf(gone)

    def test_bounded(self):
        """An engine that does not finish, or does not close, keeps nobody for long."""
        self.begin(container())
        self.engine.start = lambda declared, progress, fresh=False, beside="": Deferred()
        self.engine.close = Deferred
        self.lives.take("a.example", Waiter())
        self.turn()
        self.lives.hand_over()
        gone = self.lives.release(3.0)
        self.turn(3)
        self.assertNoResult(gone)
        self.turn(1)
        self.successResultOf(gone)

    def test_nothing_after(self):
        """Whatever comes of what was asked before, nothing is asked of an engine any more."""
        starting = Deferred()
        self.begin(container())
        self.engine.start = lambda declared, progress, fresh=False, beside="": starting
        self.lives.take("a.example", Waiter())
        self.turn()
        self.lives.hand_over()
        calls = list(self.engine.calls)
        starting.errback(EngineFailed("no"))
        self.turn(20)
        self.assertEqual(self.engine.calls, calls)
        self.lives.take("a.example", waiter := Waiter())
        self.turn()
        self.assertEqual(waiter.kinds, ["stopping"])

    def test_replaces(self):
        """A server of another declaration that nobody uses is stopped."""
        self.host.start("a.example", "another", 0)
        self.begin(container())
        self.assertEqual(self.lives.stage("a.example"), "asleep")
        self.assertEqual((self.starts(), self.stops()), (0, 1))

    def test_leaves_strangers_alone(self):
        """A server of a site that nobody declared runs on."""
        self.host.start("b.example", "x", 0)
        self.begin(container())
        self.assertIsNotNone(self.host.running("b.example"))
        self.assertNotIn("b.example", self.lives.states())

    def test_engine_lost_while_awake(self):
        """Without the engine a server that is awake is leased as before."""
        self.begin(container())
        address = self.awake()
        self.host.lose()
        self.turn()
        self.assertEqual(self.lives.take("a.example", Waiter()), address)
        self.assertIn(("raised", "engine", ""), self.alarm.told)
        self.host.find()
        self.turn()
        self.assertEqual(self.lives.take("a.example", Waiter()), address)
        self.assertIn(("cleared", "engine", ""), self.alarm.told)
        self.assertEqual(self.starts(), 1)

    def test_engine_lost_while_asleep(self):
        """Without the engine a request waits for it ``wake within`` long."""
        self.begin(container(wake_within=10))
        self.host.lose()
        self.turn()
        early = Waiter()
        self.lives.take("a.example", early)
        self.turn(11)
        self.assertEqual(early.kinds, ["away"])
        late = Waiter()
        self.lives.take("a.example", late)
        self.turn(5)
        self.host.find()
        self.turn()
        self.assertEqual(late.kinds, ["leased"])

    def test_ended_while_the_engine_was_away(self):
        """What ended while nobody could hear it is found out when the engine is back."""
        self.begin(container())
        self.awake()
        self.host.lose()
        self.turn()
        self.host.end("a.example")
        self.host.find()
        self.turn()
        self.assertEqual(self.lives.stage("a.example"), "crashed")

    def test_list_fails(self):
        """An engine that cannot say what it has is asked again."""
        self.engine.fail("list", EngineFailed("no"))
        self.begin(container())
        self.assertEqual(self.lives.stage("a.example"), "away")
        self.turn(2)
        self.assertEqual(self.lives.stage("a.example"), "asleep")

    def test_start_finds_the_engine_away(self):
        """A start that does not reach the engine is no crash: the request waits on."""
        self.begin(container())
        self.engine.fail("start", EngineAway("away"))
        waiter = Waiter()
        self.lives.take("a.example", waiter)
        self.turn(times=20)
        self.assertEqual(waiter.kinds, ["leased"])
        self.assertEqual(self.starts(), 2)

    def test_no_engine(self):
        """Where nothing runs containers, a request is refused at once, and the others live."""
        lives = Lives(None, self.clock, Sweep(self.clock), {Process: self.processes})
        lives.prober = self.prober
        lives.apply([container(), process("b.example")], (), ())
        lives.start()
        self.turn()
        waiter, other = Waiter(), Waiter()
        lives.take("a.example", waiter)
        lives.take("b.example", other)
        self.turn()
        self.assertEqual((waiter.kinds, other.kinds), (["away"], ["leased"]))
        failure = self.failureResultOf(lives.wake("a.example", lambda words: None), LifeFailed)
        self.assertIn("container", failure.getErrorMessage())
        self.failureResultOf(lives.logs("a.example", 1, False, lambda data: None), LifeFailed)
        lives.apply((), (), [container()])
        self.assertEqual(list(lives.states()), ["b.example"])

    def test_failed_and_dead(self):
        """A server that refuses connections is looked at: dead, it is stopped as crashed."""
        self.begin(container())
        address = self.awake()
        self.prober.passing = False
        for _ in range(5):
            self.lives.failed("a.example", address)
        self.turn()
        self.assertEqual(len(self.prober.open), 1)
        self.prober.end("refused")
        self.turn()
        self.assertEqual(self.lives.stage("a.example"), "crashed")
        self.assertEqual(self.stops(), 1)

    def test_failed_and_alive(self):
        """A server that answers the probe stays awake; doubts about another address are none."""
        self.begin(container())
        address = self.awake()
        self.prober.passing = False
        self.lives.failed("a.example", ("127.0.0.1", 1))
        self.turn()
        self.assertEqual(self.prober.open, [])
        self.lives.failed("a.example", address)
        self.turn()
        self.prober.end()
        self.assertEqual(self.lives.take("a.example", Waiter()), address)

    def test_failed_in_use(self):
        """A server in use that fails the probe is not stopped: new requests wait for it."""
        self.begin(container())
        address = self.awake()
        self.lives.take("a.example", Waiter())
        self.prober.passing = False
        self.lives.failed("a.example", address)
        self.turn()
        self.prober.end("refused")
        self.turn()
        waiter = Waiter()
        self.assertIsNone(self.lives.take("a.example", waiter))
        self.assertEqual((self.lives.stage("a.example"), self.stops()), ("checking", 0))
        self.prober.end()
        self.turn()
        self.assertEqual(waiter.answers, [address])

    def test_probe_breaks(self):
        """A probe's unexpected exception is logged and counts as a failed check."""
        self.begin(container())
        self.prober.passing = False
        self.lives.take("a.example", Waiter())
        self.turn()
        self.prober.open.pop().errback(ZeroDivisionError())
        self.turn()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.lives.stage("a.example"), "crashed")

    def test_probe_is_cancelled(self):
        """A check is ended when nobody wants its answer any more."""
        self.begin(container())
        self.prober.passing = False
        self.lives.take("a.example", Waiter())
        self.turn()
        self.assertEqual(len(self.prober.open), 1)
        self.host.end("a.example")
        self.turn()
        self.assertEqual(self.prober.open, [])
        self.assertEqual(self.lives.stage("a.example"), "crashed")

    def test_by_hand(self):
        """Waking, sleeping and restarting fire when done, and say on the way how far it is."""
        self.begin(container(wake="manual"))
        waiter = Waiter()
        self.lives.take("a.example", waiter)
        self.turn()
        self.assertEqual(waiter.kinds, ["resting"])
        said = []
        waking = self.lives.wake("a.example", said.append)
        self.assertNoResult(waking)
        self.turn()
        self.successResultOf(waking)
        self.assertIn("starting", said)
        self.assertIn("checking", said)
        restarting = self.lives.restart("a.example", said.append)
        self.assertNoResult(restarting)
        self.turn()
        self.successResultOf(restarting)
        self.assertEqual((self.starts(), self.stops()), (2, 1))
        sleeping = self.lives.sleep("a.example", said.append)
        self.turn()
        self.successResultOf(sleeping)
        self.assertEqual(self.lives.stage("a.example"), "asleep")

    def test_by_hand_unknown(self):
        """For a site that has no server of its own a person is told so."""
        for ask in (self.lives.wake, self.lives.sleep, self.lives.restart):
            self.failureResultOf(ask("x.example", lambda words: None), LifeFailed)
        self.failureResultOf(self.lives.logs("x.example", 1, False, lambda data: None), LifeFailed)

    def test_sleep_drains(self):
        """Putting to sleep waits for those who use it, at most ``drain within``."""
        self.begin(container(drain_within=30))
        self.awake()
        self.lives.take("a.example", Waiter())
        sleeping = self.lives.sleep("a.example", lambda words: None)
        self.turn(10)
        self.assertEqual((self.lives.stage("a.example"), self.stops()), ("draining", 0))
        self.lives.give_back("a.example", HERE)
        self.turn()
        self.successResultOf(sleeping)
        self.assertEqual(self.stops(), 1)

    def test_sleep_drains_no_longer(self):
        """Who still uses it when the drain is over is cut off."""
        self.begin(container(drain_within=30))
        self.awake()
        self.lives.take("a.example", Waiter())
        sleeping = self.lives.sleep("a.example", lambda words: None)
        self.turn(31)
        self.successResultOf(sleeping)
        self.lives.give_back("a.example", HERE)
        self.assertEqual(self.lives.states()["a.example"]["uses"], 1)
        self.turn()
        self.assertEqual(self.lives.states()["a.example"]["uses"], 0)

    def test_wake_fails(self):
        """A wake that fails says why; a cancelled one is told nothing."""
        self.begin(container())
        self.engine.fail("start", EngineFailed("no such image"))
        waking = self.lives.wake("a.example", lambda words: None)
        other = self.lives.wake("a.example", lambda words: None)
        other.addErrback(lambda _: None)
        other.cancel()
        self.turn()
        failure = self.failureResultOf(waking, LifeFailed)
        self.assertEqual(str(failure.value), "no such image")

    def test_progress_breaks(self):
        """A person's progress that raises is logged and keeps nothing from going on."""

        def broken(words):
            raise ZeroDivisionError

        self.begin(container())
        waking = self.lives.wake("a.example", broken)
        self.turn()
        self.successResultOf(waking)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    def test_lifecycle_changes_alone(self):
        """A change of when it runs restarts nothing."""
        self.begin(container(idle_after=60))
        self.awake()
        self.lives.apply((), [container(idle_after=10)], ())
        self.turn(9)
        self.assertEqual((self.starts(), self.stops()), (1, 0))
        self.turn(3)
        self.assertEqual(self.stops(), 1)

    def test_changes_while_in_use(self):
        """A changed declaration holds new requests, waits for the old ones, then swaps."""
        self.begin(container())
        old = self.awake()
        self.lives.take("a.example", Waiter())
        self.lives.apply((), [container(image="lamp:2")], ())
        # What the new one needs is fetched first.
        self.turn()
        waiter = Waiter()
        self.assertIsNone(self.lives.take("a.example", waiter))
        self.turn(5)
        self.assertEqual((waiter.answers, self.stops()), ([], 0))
        self.lives.give_back("a.example", HERE)
        self.turn()
        self.assertEqual(waiter.kinds, ["leased"])
        self.assertNotEqual(waiter.answers, [old])
        self.assertEqual(self.host.made, 2)

    def test_changes_while_unused(self):
        """A changed declaration of a server that nobody uses puts it to sleep."""
        self.begin(container())
        self.awake()
        self.lives.apply((), [container(image="lamp:2")], ())
        self.turn()
        self.assertEqual(self.lives.stage("a.example"), "asleep")

    def test_removed(self):
        """A removed site is drained, stopped and forgotten; new requests are refused."""
        self.begin(container())
        self.awake()
        self.lives.take("a.example", Waiter())
        self.lives.apply((), (), [container()])
        waiter = Waiter()
        self.lives.take("a.example", waiter)
        self.turn()
        self.assertEqual(waiter.kinds, ["stopping"])
        self.assertIsNotNone(self.host.running("a.example"))
        self.lives.give_back("a.example", HERE)
        self.turn()
        self.assertEqual(self.host.servers, {})
        self.assertEqual(dict(self.lives.states()), {})

    def test_removed_and_back(self):
        """A site that is back before it was drained goes on with its server."""
        self.begin(container())
        address = self.awake()
        self.lives.take("a.example", Waiter())
        self.lives.apply((), (), [container()])
        self.lives.apply([container()], (), ())
        self.turn()
        self.assertEqual(self.lives.take("a.example", Waiter()), address)
        self.assertEqual(self.stops(), 0)

    def test_no_longer_personal(self):
        """A site that became a folder of files, or was disabled, has no life any more."""
        self.begin(container(), container("b.example"))
        self.lives.apply(
            (), [Site("a.example", Static("/srv")), container("b.example", enabled=False)], ()
        )
        self.turn()
        self.assertEqual(dict(self.lives.states()), {})
        self.lives.apply([Site("c.example", Static("/srv"))], (), ())
        self.assertEqual(dict(self.lives.states()), {})

    def test_kind_changes(self):
        """A container that became a process is removed before the process is started: two
        servers never have the same data."""
        self.begin(container())
        self.awake()
        self.lives.take("a.example", Waiter())
        self.lives.apply((), [process()], ())
        waiter = Waiter()
        self.lives.take("a.example", waiter)
        self.turn(5)
        self.assertEqual((waiter.answers, self.starts(self.processes)), ([], 0))
        self.lives.give_back("a.example", HERE)
        self.turn(times=20)
        self.assertEqual(self.host.servers, {})
        self.assertEqual(waiter.kinds, ["leased"])
        self.assertEqual(self.starts(self.processes), 1)
        self.lives.give_back("a.example", HERE)
        self.assertEqual(self.lives.states()["a.example"]["uses"], 0)

    def test_kind_changes_to_and_fro(self):
        """Of several kinds that follow each other quickly, the last one lives."""
        self.begin(container())
        self.awake()
        self.lives.take("a.example", Waiter())
        self.lives.apply((), [process()], ())
        self.lives.apply((), [container()], ())
        self.lives.give_back("a.example", HERE)
        self.turn(times=20)
        self.awake()
        self.assertEqual(self.starts(self.processes), 0)
        self.assertEqual(len(self.lives._all()), 1)

    def test_close(self):
        """At the end who waits is refused, the engines are closed, and containers run on."""
        self.begin(container(), container("b.example"))
        self.awake()
        self.engine.hold("start")
        waiter = Waiter()
        self.lives.take("b.example", waiter)
        self.turn()
        waking = self.lives.wake("b.example", lambda words: None)
        closing = self.lives.close()
        self.assertEqual(waiter.kinds, ["stopping"])
        self.failureResultOf(waking, LifeFailed)
        self.turn()
        self.successResultOf(closing)
        self.assertTrue(self.engine.closed and self.processes.closed)
        self.assertIsNotNone(self.host.running("a.example"))
        late = Waiter()
        self.assertIsNone(self.lives.take("a.example", late))
        self.turn()
        self.assertEqual(late.kinds, ["stopping"])
        self.lives.apply([container("c.example")], (), ())
        self.assertNotIn("c.example", self.lives.states())

    def test_close_breaks(self):
        """An engine that fails to close is logged and keeps nothing open."""
        self.engine.close = lambda: 1 / 0
        self.begin(container())
        closing = self.lives.close()
        self.turn()
        self.successResultOf(closing)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_logs(self):
        """A site's log is its engine's."""
        self.begin(container())
        self.awake()
        self.host.say("a.example", b"hello")
        lines = []
        reading = self.lives.logs("a.example", 10, False, lines.append)
        self.turn()
        self.successResultOf(reading)
        self.assertEqual(lines, [b"hello\n"])

    def test_run(self):
        """A command is run by its engine; without a site or an engine that is said."""
        self.begin(container(), process("b.example"))
        self.awake()
        self.host.results["dump",] = Ran(3, "no room")
        running = self.lives.run("a.example", ("dump",), 5)
        self.turn()
        self.assertEqual(self.successResultOf(running), Ran(3, "no room"))
        self.failureResultOf(self.lives.run("none.example", ("dump",), 5), LifeFailed)
        self.lives._rosters[Process].engine = None
        self.failureResultOf(self.lives.run("b.example", ("dump",), 5), LifeFailed)

    def test_one_broken_site(self):
        """A site whose declaration cannot be taken harms no other."""
        fingerprint = self.engine.fingerprint

        def picky(declared):
            if declared.site == "bad.example":
                raise ZeroDivisionError
            return fingerprint(declared)

        self.engine.fingerprint = picky
        self.begin(container("bad.example"), container())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.awake()

    # At rest

    def phase(self, site="a.example"):
        return self.lives.states()[site]["state"]

    def test_paused(self):
        """Unused for long enough it is paused; the next request has it go on, no other start."""
        self.begin(container(pause_after=30.0, idle_after=300.0))
        address = self.awake()
        self.turn(31)
        self.assertEqual(self.phase(), "paused")
        self.assertTrue(self.host.running("a.example").paused)
        self.assertEqual(self.awake(), address)
        self.assertFalse(self.host.running("a.example").paused)
        self.assertEqual(self.starts(), 1)

    def test_snapshot(self):
        """The snapshot is made inside before the stop."""
        self.begin(container(idle_after=30.0, snapshot=("dump",)))
        self.awake()
        self.turn(32)
        self.assertEqual(self.host.ran, [("a.example", ("dump",))])
        self.assertEqual(self.phase(), "asleep")

    def test_snapshot_that_fails(self):
        """It is not stopped; the alarm has what the command said; the next one that succeeds takes
        the alarm back."""
        self.host.results["dump",] = Ran(3, "no space left")
        self.begin(container(idle_after=30.0, snapshot=("dump",)))
        self.awake()
        asked = self.lives.sleep("a.example", lambda words: None)
        self.turn()
        words = str(self.failureResultOf(asked, LifeFailed).value)
        self.assertIn("status 3", words)
        self.assertIn("no space left", words)
        self.assertEqual(self.phase(), "awake")
        self.assertEqual(self.stops(), 0)
        self.assertEqual(self.alarm.told, [("raised", "snapshot", "a.example")])
        self.turn(32)
        self.assertEqual(self.phase(), "awake")
        self.assertNotIn(("cleared", "snapshot", "a.example"), self.alarm.told)
        del self.host.results["dump",]
        self.turn(32)
        self.assertEqual(self.phase(), "asleep")
        self.assertEqual(self.alarm.told[-1], ("cleared", "snapshot", "a.example"))

    def test_veto(self):
        """A server that says it is in use is left awake, and asked again later."""
        self.host.results["in-use",] = Ran(1, "")
        self.begin(container(idle_after=30.0, veto=("in-use",)))
        self.awake()
        self.turn(45)
        self.assertEqual(self.phase(), "awake")
        del self.host.results["in-use",]
        self.turn(31)
        self.assertEqual(self.phase(), "asleep")

    def test_veto_that_cannot_be_asked(self):
        """Who cannot be asked is not put to sleep."""
        self.host.endless.add(("in-use",))
        self.begin(container(idle_after=30.0, veto=("in-use",)))
        self.awake()
        self.turn(60)
        self.assertEqual(self.phase(), "awake")

    def test_busy(self):
        """A server that works more than it may is in use; one that works less is not."""
        self.begin(container(idle_after=30.0, busy_above=5.0))
        self.awake()
        for _ in range(12):
            self.host.used["a.example"] = self.host.used.get("a.example", 0.0) + 1.0
            self.turn(10)
        self.assertEqual(self.phase(), "awake")
        for _ in range(5):
            self.host.used["a.example"] += 0.1
            self.turn(10)
        self.assertEqual(self.phase(), "asleep")

    def test_busy_traffic(self):
        """A server that moves more bytes by itself than it may is in use; one that moves fewer is
        not."""
        self.begin(container(idle_after=30.0, busy_traffic_above=1000))
        self.awake()
        for moved, phase in ((20_000, "awake"), (5_000, "asleep")):
            for _ in range(6):
                self.host.moved["a.example"] = self.host.moved.get("a.example", 0) + moved
                self.turn(10)
            self.assertEqual(self.phase(), phase)

    def test_busy_traffic_unknown(self):
        """A server of which nobody can say what it moves is not kept awake by that."""
        self.begin(container(idle_after=30.0, busy_traffic_above=1000))
        self.awake()
        for _ in range(6):
            self.turn(10)
        self.assertEqual(self.phase(), "asleep")

    def test_last_words(self):
        """What a server that ended wrote last is kept until one is awake again."""
        self.begin(container())
        self.awake()
        self.host.say("a.example", b"cannot open /data/db")
        self.host.end("a.example", 3)
        self.turn()
        said = self.lives.states()["a.example"]
        self.assertEqual((said["state"], said["last_words"]), ("crashed", "cannot open /data/db"))
        self.turn(2)
        self.awake()
        self.assertEqual(self.lives.states()["a.example"]["last_words"], "")

    def test_last_words_of_one_that_was_taken_back(self):
        """What a newcomer wrote is kept while the alarm that it failed is raised."""
        self.begin(container(wake="always"))
        self.assertEqual(self.phase(), "awake")
        self.prober.passing = False
        self.lives.apply((), [container(image="lamp:8", wake="always")], ())
        self.turn()
        self.host.say("a.example", b"migration failed")
        self.host.end("a.example", 1)
        self.turn()
        self.prober.passing = True
        self.turn(1)
        while self.prober.open:
            self.prober.end()
        self.turn(2)
        said = self.lives.states()["a.example"]
        self.assertEqual((said["state"], said["last_words"]), ("awake", "migration failed"))
        self.assertIn(("raised", "update", "a.example"), self.alarm.told)
        self.lives.apply((), [container(image="lamp:9", wake="always")], ())
        self.turn(2)
        self.assertEqual(self.alarm.told[-1], ("cleared", "update", "a.example"))
        self.assertEqual(self.lives.states()["a.example"]["last_words"], "")

    def test_awake_limit(self):
        """The longest idle one makes room for the one that is woken; one in use does not."""
        self.begin(container("a.example"), container("b.example"), container("c.example"))
        self.lives.awake_limit = 2
        used = Waiter()
        self.lives.take("a.example", used)
        self.turn(2)
        self.awake("b.example")
        self.turn(2)
        self.awake("c.example")
        self.turn(2)
        phases = [self.phase(f"{letter}.example") for letter in "abc"]
        self.assertEqual(phases, ["awake", "asleep", "awake"])
        self.lives.give_back("a.example", HERE)

    def test_keep_free(self):
        """While memory is short idle ones go, one after the other, not all at once."""
        free = [100]
        self.lives._free = lambda: free[0]
        self.begin(container("a.example"), container("b.example"), container("c.example"))
        for letter in "abc":
            self.awake(f"{letter}.example")
            self.turn(2)
        self.lives.keep_free = 200
        self.turn(2)
        phases = [self.phase(f"{letter}.example") for letter in "abc"]
        self.assertEqual(phases, ["asleep", "awake", "awake"])
        self.turn(5)
        free[0] = 300
        self.turn(20)
        phases = [self.phase(f"{letter}.example") for letter in "abc"]
        self.assertEqual(phases, ["asleep", "asleep", "awake"])


def evolve_declared(site):
    from snickers.interfaces.engine import Declared

    return Declared(site.name, site.kind, site.data)


NAME = "a.example"


class Imaged(MemoryEngine):
    """Says of which image its servers are: `version` of the name."""

    def __init__(self, clock):
        super().__init__(clock)
        self.version = 1
        self.images = {}
        self.started = []

    def named(self, instance):
        return evolve(instance, image=self.images[instance.id])

    def start(self, declared, progress, fresh=False, beside=""):
        exact = "" if fresh else declared.exact
        self.started.append((declared.kind.image, exact, fresh))
        starting = super().start(declared, progress, fresh, beside)

        def named(instance):
            self.images.setdefault(instance.id, exact or f"{declared.kind.image}@{self.version}")
            return self.named(instance)

        return starting.addCallback(named)

    def revert(self, site, id, progress):
        return super().revert(site, id, progress).addCallback(self.named)


class PinTests(LivesCase):
    """Another image than the file's."""

    def setUp(self):
        super().setUp()
        self.engine = Imaged(self.clock)
        self.host = self.engine.host
        self.file = self.mktemp()
        self.lives = self.another()

    def another(self):
        """Return the lives of a Snickers that has just been started."""
        lives = Lives(
            None,
            self.clock,
            Sweep(self.clock),
            {Container: self.engine},
            self.alarm,
            self.clock.seconds,
            pins=Pins(self.file, lambda act, *arguments: maybeDeferred(act, *arguments)),
        )
        lives.prober = self.prober = Prober()
        return lives

    def box(self, image="lamp:7", **kind):
        return Site(NAME, Container(image, **kind), data="/d/a")

    def update(self, image=""):
        self.engine.started.clear()
        updating = self.lives.update(NAME, lambda words: None, image)
        self.turn()
        return updating

    def again(self):
        """Have it sleep and wake; return what was started."""
        self.engine.started.clear()
        self.lives.sleep(NAME, lambda words: None)
        self.turn()
        self.awake()
        return self.engine.started

    def restart(self, *sites):
        """Have Snickers end and begin; return what is started for the next visitor."""
        self.lives.close()
        self.turn()
        self.host.end(NAME, 0)
        self.engine.started.clear()
        self.engine.closed = False
        self.lives = self.another()
        self.begin(*sites)
        self.awake()
        return self.engine.started

    def state(self):
        return self.lives.states()[NAME]

    def test_image(self):
        """An image that has proven itself is used until the file names another one: through sleep,
        a restart, and other changes of the section; and the owner is told."""
        self.begin(self.box())
        self.awake()
        self.assertEqual((self.state()["pinned"], self.state()["notice"]), ("", ""))
        self.successResultOf(self.update("lamp:8"))
        self.assertEqual(self.engine.started, [("lamp:8", "", True)])
        self.assertEqual(self.state()["pinned"], "lamp:8")
        self.assertIn("not image = lamp:7", self.state()["notice"])
        self.assertEqual(self.again(), [("lamp:8", "", False)])
        self.assertEqual(self.restart(self.box()), [("lamp:8", "", False)])
        self.lives.apply((), (self.box(memory=1 << 20),), ())
        self.turn()
        self.awake()
        self.assertEqual(self.engine.started[-1][0], "lamp:8")
        self.assertEqual(self.state()["pinned"], "lamp:8")
        self.engine.started.clear()
        self.lives.apply((), (self.box("lamp:9"),), ())
        self.turn()
        self.awake()
        self.assertEqual(self.engine.started[-1][0], "lamp:9")
        self.assertEqual((self.state()["pinned"], self.state()["notice"]), ("", ""))
        self.assertEqual(self.restart(self.box())[0][0], "lamp:7")

    def test_changed_meanwhile(self):
        """Whoever asked for an image hears that it is not what serves, where the section was
        changed while it was tried."""
        self.begin(self.box())
        self.awake()
        self.prober.passing = False
        updating = self.update("lamp:8")
        self.prober.passing = True
        self.lives.apply((), (self.box("lamp:9"),), ())
        self.turn()
        self.awake()
        failure = self.failureResultOf(updating, LifeFailed)
        self.assertIn("changed meanwhile", str(failure.value))
        self.assertIn("and not lamp:8", str(failure.value))

    def test_image_fails(self):
        """One that fails leaves nothing: the file's is started as before."""
        self.begin(self.box())
        self.awake()
        self.prober.passing = False
        updating = self.update("lamp:8")
        self.prober.passing = True
        self.host.end(NAME, 3)
        self.turn()
        failure = self.failureResultOf(updating, LifeFailed)
        self.assertIn("serves again", str(failure.value))
        self.assertEqual(self.state()["pinned"], "")
        self.assertEqual(self.again(), [("lamp:7", "", False)])
        # A plain update is of the file's image, not of the one that has failed.
        self.successResultOf(self.update())
        self.assertEqual(self.engine.started, [])

    def test_image_asked_for_too_soon(self):
        """What was refused, since another image was being tried, takes nothing from that."""
        self.begin(self.box())
        self.awake()
        self.prober.passing = False
        updating = self.update("lamp:8")
        self.failureResultOf(self.update("lamp:9"), LifeFailed)
        self.failureResultOf(self.lives.roll_back(NAME, lambda words: None), LifeFailed)
        # Nor does whoever asked for that hear that it has failed.
        self.assertNoResult(updating)
        self.prober.end()
        self.turn()
        self.successResultOf(updating)
        self.assertEqual(self.state()["pinned"], "lamp:8")

    def test_written_before_it_passes_on(self):
        """Whoever takes over reads what is kept: duty does not pass while it is being written."""
        writing = Deferred()
        self.lives.pins = Pins(self.file, lambda act, *arguments: writing)
        self.begin(self.box())
        self.awake()
        self.successResultOf(self.update("lamp:8"))
        self.lives.hand_over()
        gone = self.lives.release(3.0)
        self.turn(2)
        self.assertNoResult(gone)
        writing.callback(None)
        self.turn()
        self.successResultOf(gone)
        self.assertEqual(self.lives.calls, set())

    def test_back_to_the_files(self):
        """The file's image, asked for by name, ends the pin; a plain update is of the pinned
        one."""
        self.begin(self.box())
        self.awake()
        self.successResultOf(self.update("lamp:8"))
        self.host.newer.add(NAME)
        self.successResultOf(self.update())
        self.assertEqual(self.engine.started, [("lamp:8", "", True)])
        self.assertEqual(self.state()["pinned"], "lamp:8")
        self.successResultOf(self.update("lamp:7"))
        self.assertEqual((self.state()["pinned"], self.state()["notice"]), ("", ""))
        self.assertEqual(self.restart(self.box()), [("lamp:7", "", False)])

    def test_roll_back(self):
        """An older image of the same name is kept after going back to it, through sleep and a
        restart; an update goes beyond it."""
        self.begin(self.box())
        self.awake()
        self.engine.version = 2
        self.host.newer.add(NAME)
        self.successResultOf(self.update())
        rolling = self.lives.roll_back(NAME, lambda words: None)
        self.turn()
        self.successResultOf(rolling)
        self.assertIn("kept at lamp:7@1", self.state()["notice"])
        self.assertEqual(self.again(), [("lamp:7", "lamp:7@1", False)])
        self.assertEqual(self.restart(self.box()), [("lamp:7", "lamp:7@1", False)])
        self.lives.apply((), (self.box(memory=1 << 20),), ())
        self.turn()
        self.awake()
        self.assertEqual(self.engine.started[-1], ("lamp:7", "lamp:7@1", False))
        self.assertIn("kept at lamp:7@1", self.state()["notice"])
        self.host.newer.add(NAME)
        self.successResultOf(self.update())
        self.assertEqual(self.engine.started, [("lamp:7", "", True)])
        self.assertEqual(self.state()["notice"], "")

    def test_roll_back_to_another(self):
        """So is one of another name; every change of the section is tried again then."""
        self.begin(self.box())
        self.awake()
        self.lives.apply((), (self.box("lamp:8"),), ())
        self.turn()
        self.awake()
        rolling = self.lives.roll_back(NAME, lambda words: None)
        self.turn()
        self.successResultOf(rolling)
        self.assertEqual(self.state()["pinned"], "lamp:7")
        self.assertEqual(self.restart(self.box("lamp:8")), [("lamp:7", "lamp:7@1", False)])
        self.lives.apply((), (self.box("lamp:8", memory=1 << 20),), ())
        self.turn()
        self.awake()
        self.assertEqual(self.engine.started[-1][0], "lamp:8")
        self.assertEqual(self.state()["pinned"], "")

    def test_newer_fails(self):
        """A newer image that has failed is not what the next wake starts."""
        self.begin(self.box())
        self.awake()
        self.engine.version = 2
        self.host.newer.add(NAME)
        self.prober.passing = False
        self.update().addErrback(lambda _: None)
        self.prober.passing = True
        self.host.end(NAME, 3)
        self.turn()
        self.assertEqual(self.again(), [("lamp:7", "lamp:7@1", False)])

    def failed_after_a_restart(self):
        """Have Snickers end and begin, the file changed meanwhile to what fails: the server that
        ran before is awake again, though nobody knows how it was declared."""
        self.begin(self.box())
        self.awake()
        self.lives.close()
        self.turn()
        self.engine.closed = False
        self.lives = self.another()
        self.begin(self.box("lamp:8"))
        self.prober.passing = False
        waiter = Waiter()
        self.lives.take(NAME, waiter)
        self.turn()
        self.prober.passing = True
        self.host.end(NAME, 3)
        self.turn()
        (address,) = waiter.answers
        self.assertEqual(self.state()["image"], "lamp:7@1")
        self.lives.give_back(NAME, address)

    def test_back_after_a_restart(self):
        """A server that came back is started again though Snickers does not know any more how it
        was made, and not what has failed."""
        self.failed_after_a_restart()
        self.assertEqual(self.again(), [])
        self.assertEqual(self.state()["image"], "lamp:7@1")

    def test_gone_after_a_restart(self):
        """Once it is there no more what the file says is tried again, and stays where it proves
        itself."""
        self.failed_after_a_restart()
        self.lives.sleep(NAME, lambda words: None)
        self.turn()
        del self.host.servers[NAME]
        address = self.awake()
        self.assertEqual(self.state()["image"], "lamp:8@1")
        self.clock.advance(1)
        self.turn()
        self.assertEqual(self.lives.ready(NAME), address)

    def test_removed(self):
        """With a site goes its pin."""
        self.begin(self.box())
        self.awake()
        self.successResultOf(self.update("lamp:8"))
        self.lives.apply((), (), (self.box(),))
        self.turn()
        self.assertIsNone(self.lives.pins.of(NAME))

    def test_nothing_to_name(self):
        """A process has no image, and with a broker no other than the file's is used."""
        self.begin(self.box(), process("b.example"))
        updating = self.lives.update("b.example", lambda words: None, "lamp:8")
        self.assertIn("has no image", str(self.failureResultOf(updating, LifeFailed).value))
        self.lives.same_image = "Only the files say."
        updating = self.lives.update(NAME, lambda words: None, "lamp:8")
        self.assertEqual(
            str(self.failureResultOf(updating, LifeFailed).value), "Only the files say."
        )
        updating = self.lives.update("c.example", lambda words: None, "lamp:8")
        self.failureResultOf(updating, LifeFailed)
