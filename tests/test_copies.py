"""Copies of sites' folders: what persons, the lives and the start ask for, and what comes of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from snickers.config.values import Container, Keep, Lifecycle, Process, Site, Static
from snickers.containers import copies as copies_module
from snickers.containers import durable, swap
from snickers.containers.copies import Copies
from snickers.containers.engine import EngineAway
from snickers.containers.proof import Proof, declared
from snickers.containers.service import Lives
from snickers.interfaces.copies import Copy, CopyFailed, ICopies, ISnapshots
from snickers.interfaces.engine import Ran
from snickers.testing import MemoryCopies, MemoryEngine
from tests.copies_contract import copies_contract, ignore, write
from tests.test_service import Alarm, Prober, Sweep, Waiter

NAME = "alice.example"
HERE = ("127.0.0.1", 40001)
"""Where a use was: it matters only while there are two servers."""
SNAPSHOT = ("snapshot",)


class Wall:
    """An hour later each time."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        self.now += 3600
        return self.now


class MemoryFixture:
    """`MemoryCopies`."""

    def __init__(self, case: TestCase) -> None:
        self.one = MemoryCopies(Wall())

    def copies(self) -> MemoryCopies:
        return self.one

    def damage(self, id: str) -> None:
        self.one.damaged.add(id)


CopiesContract = copies_contract(MemoryFixture)


class CopiesTests(TestCase):
    """One site whose engine is `MemoryEngine`, whose copies are `MemoryCopies`; real folders."""

    def setUp(self) -> None:
        self.above = Path(self.mktemp()).absolute()
        self.data = self.above / NAME
        write(self.data, page="one")
        self.engine = MemoryEngine(reactor)
        self.host = self.engine.host
        self.alarm = Alarm()
        self.lives = Lives(None, reactor, Sweep(reactor), {Container: self.engine}, self.alarm)
        self.prober = self.lives.prober = Prober()  # type: ignore[assignment]
        self.lives.start()
        self.addCleanup(self.lives.close)
        self.store = MemoryCopies(Wall())
        self.stores: list[ICopies] = [self.store]
        self.apart = MemoryEngine(reactor)
        self.copies = self.make_copies()
        self.lives.moved = self.copies.moved
        self.lives.copies = self.copies
        self.have(snapshot=SNAPSHOT)
        self.said: list[str] = []

    def make_copies(self) -> Copies:
        def apart() -> MemoryEngine:
            self.apart.closed = False
            return self.apart

        proof = Proof(apart, self.lives.prober, reactor.callLater)
        copies = Copies(
            reactor,
            deferToThread,
            lambda: self.stores,
            lambda name: self.site if name == NAME else None,
            self.lives,
            proof,
            self.alarm,
        )
        self.addCleanup(copies.close)
        return copies

    def have(self, image: str = "lamp", data: str = "/data", **life: Any) -> None:
        """Declare the site."""
        first = not hasattr(self, "site")
        kind = Container(image, data=data, volumes=("/srv:/srv",), life=Lifecycle(**life))
        self.site = Site(NAME, kind, data=str(self.data))
        self.lives.apply([self.site] if first else [], [] if first else [self.site], [])

    async def until(self, what: Any) -> None:
        for _ in range(1000):
            if what():
                return
            await deferLater(reactor, 0.005)
        self.fail("It has not come about.")

    async def stage(self, name: str) -> None:
        await self.until(lambda: self.lives.stage(NAME) == name)

    async def wake(self) -> None:
        await self.stage("asleep")
        await self.lives.wake(NAME, ignore)

    def page(self) -> str:
        return (self.data / "page").read_text()

    def beside(self) -> list[str]:
        return sorted(set(os.listdir(self.above)) - {NAME})

    async def whys(self) -> list[str]:
        return [copy.why for copy in await self.copies.snapshots(NAME)]

    async def contents(self, copy: Copy) -> str:
        out = self.mktemp()
        await self.store.restore(NAME, copy.id, out, ignore)
        return Path(out, "page").read_text()


class MakingTests(CopiesTests):
    """``snapshot`` and ``snapshots``."""

    async def test_interface(self) -> None:
        """They are what the control room asks."""
        verifyObject(ISnapshots, self.copies)

    async def test_asleep(self) -> None:
        """The folder of a server that sleeps is copied as it is; the server is not woken."""
        await self.stage("asleep")
        copy = await self.copies.snapshot(NAME, self.said.append)
        self.assertEqual(list(await self.copies.snapshots(NAME)), [copy])
        self.assertEqual((copy.why, await self.contents(copy)), ("asked for", "one"))
        self.assertIn("copying", self.said)
        self.assertEqual(self.host.ran, [])
        self.assertEqual(self.host.starts, 0)

    async def test_awake(self) -> None:
        """An awake server runs its ``snapshot`` command first, and runs on."""
        await self.wake()
        await self.copies.snapshot(NAME, self.said.append)
        self.assertEqual(self.host.ran, [(NAME, SNAPSHOT)])
        self.assertEqual(self.said[0], "its snapshot command runs")
        self.assertEqual(self.lives.stage(NAME), "awake")

    async def test_command_fails(self) -> None:
        """Without its success nothing is copied, and its output is told."""
        await self.wake()
        self.host.results[SNAPSHOT] = Ran(3, "no room")
        failure = await self.assertFailure(self.copies.snapshot(NAME, ignore), CopyFailed)
        self.assertIn("status 3", str(failure))
        self.assertIn("no room", str(failure))
        self.assertEqual(await self.whys(), [])

    async def test_no_folder(self) -> None:
        """A site that has no folder yet has nothing to copy."""
        os.rename(self.data, self.mktemp())
        await self.stage("asleep")
        failure = await self.assertFailure(self.copies.snapshot(NAME, ignore), CopyFailed)
        self.assertIn("nothing to copy", str(failure))

    async def test_no_server(self) -> None:
        """A name that is no site's, or of a site without a server, has no copies."""
        await self.assertFailure(self.copies.snapshots("bob.example"), CopyFailed)
        self.site = Site(NAME, Static("/srv"))
        await self.assertFailure(self.copies.snapshot(NAME, ignore), CopyFailed)

    async def test_pruned(self) -> None:
        """After each copy those are removed that the rule does not keep."""
        await self.stage("asleep")
        self.have(keep_snapshots=Keep(last=2))
        made = [await self.copies.snapshot(NAME, ignore) for _ in range(3)]
        self.assertEqual(list(await self.copies.snapshots(NAME)), made[1:])

    async def test_pruning_fails(self) -> None:
        """A new copy counts, also when old ones could not be removed."""
        await self.stage("asleep")
        self.have(keep_snapshots=Keep(last=1))
        await self.copies.snapshot(NAME, ignore)
        self.store.fail("forget", "The disk is read-only.")
        copy = await self.copies.snapshot(NAME, ignore)
        self.assertEqual(len(await self.copies.snapshots(NAME)), 2)
        self.assertEqual((await self.copies.snapshots(NAME))[-1], copy)

    async def test_all_stores(self) -> None:
        """Copies made another way are listed and restored too; new ones are made the first way."""
        await self.stage("asleep")
        old = await self.copies.snapshot(NAME, ignore)
        new_store = MemoryCopies(self.store._wall)
        # Ids are each store's own.
        new_store.calls.extend([("", "")] * 50)
        self.stores.insert(0, new_store)
        new = await self.copies.snapshot(NAME, ignore)
        self.assertEqual(list(await self.copies.snapshots(NAME)), [old, new])
        self.assertEqual([c.id for c in await new_store.list(NAME)], [new.id])
        self.assertEqual((await self.copies.restore(NAME, old.id, ignore)).id, old.id)

    async def test_one_at_a_time(self) -> None:
        """Two for one site come one after the other."""
        await self.stage("asleep")
        held = self.store.hold("make")
        first = self.copies.snapshot(NAME, ignore)
        second = self.copies.snapshot(NAME, ignore)
        await self.until(lambda: self.store.calls)
        await deferLater(reactor, 0.02)
        self.assertEqual(self.store.calls, [("make", NAME)])
        held.callback(None)
        await first
        await second

    async def test_verified(self) -> None:
        """A damaged copy is told of."""
        await self.stage("asleep")
        copy = await self.copies.snapshot(NAME, ignore)
        await self.copies.verify(NAME, ignore)
        self.store.damaged.add(copy.id)
        await self.assertFailure(self.copies.verify(NAME, ignore), CopyFailed)

    async def test_end(self) -> None:
        """The end of Snickers breaks off what is being done, and takes up nothing more."""
        await self.stage("asleep")
        self.store.hold("make")
        making = self.copies.snapshot(NAME, ignore)
        await self.until(lambda: self.store.calls)
        failing = self.assertFailure(making, CopyFailed)
        await self.copies.close()
        self.assertIn("Snickers ends", str(await failing))
        await self.assertFailure(self.copies.snapshot(NAME, ignore), CopyFailed)


class AsleepTests(CopiesTests):
    """``copy when asleep``."""

    async def test_each_time(self) -> None:
        """Each time its server has fallen asleep a copy is made, and not before it was awake."""
        self.have(copy_when_asleep=True)
        await self.stage("asleep")
        await deferLater(reactor, 0.02)
        self.assertEqual(self.store.calls, [])
        for times in (1, 2):
            await self.wake()
            await self.lives.sleep(NAME, ignore)
            await self.until(lambda n=times: self.store.calls.count(("make", NAME)) == n)
        self.assertEqual(await self.whys(), ["fell asleep"] * 2)

    async def test_off(self) -> None:
        """By default none is."""
        await self.wake()
        await self.lives.sleep(NAME, ignore)
        await deferLater(reactor, 0.02)
        self.assertEqual(self.store.calls, [])

    async def test_woken_meanwhile(self) -> None:
        """One that was woken before its turn came is left for the next time."""
        self.have(copy_when_asleep=True)
        await self.wake()
        held = self.store.hold("verify")
        verifying = self.copies.verify(NAME, ignore)
        await self.lives.sleep(NAME, ignore)
        await self.lives.wake(NAME, ignore)
        held.callback(None)
        await verifying
        await deferLater(reactor, 0.02)
        self.assertEqual(await self.whys(), [])

    async def test_room(self) -> None:
        """Long work on some sites holds up the copies of no other, and those who wait for room
        hold up no person."""
        await self.stage("asleep")
        sites = {f"{n}.example": evolve(self.site, name=f"{n}.example") for n in range(5)}
        self.patch(self.copies, "_sites", sites.get)
        busy = [Deferred[None]() for _ in range(2)]
        names = list(sites)

        async def work(wait: Deferred[None]) -> None:
            await wait

        # Persons restore two, whose own copies then want to be made.
        for name, wait in zip(names, busy, strict=False):
            self.copies._in_turn(name, lambda site, wait=wait: work(wait))
        done: list[str] = []
        held = {name: Deferred[None]() for name in names}

        async def copy(site: Site) -> None:
            done.append(site.name)
            await held[site.name]

        for name in names:
            self.copies._unasked(name, copy)
        self.assertEqual(done, ["2.example", "3.example"])
        asked = self.copies.verify("4.example", ignore)
        await asked
        for wait in busy:
            wait.callback(None)
        self.assertEqual(len(done), 2)
        for name in ("2.example", "3.example"):
            held[name].callback(None)
        await self.until(lambda: len(done) == 4)
        for name in done[2:]:
            held[name].callback(None)
        await self.until(lambda: len(done) == 5)
        self.assertEqual(sorted(done), names)
        held[done[4]].callback(None)
        await self.copies.close()

    async def test_fails(self) -> None:
        """When it cannot be made there is an alarm, until one was made."""
        self.have(copy_when_asleep=True)
        self.store.fail("make", "The disk is full.")
        await self.wake()
        await self.lives.sleep(NAME, ignore)
        await self.until(lambda: ("raised", "snapshots", NAME) in self.alarm.told)
        await self.lives.wake(NAME, ignore)
        await self.lives.sleep(NAME, ignore)
        await self.until(lambda: ("cleared", "snapshots", NAME) in self.alarm.told)
        self.assertEqual(await self.whys(), ["fell asleep"])


class BesideTests(CopiesTests):
    """``update = parallel``: while the next server is tried beside the one that serves."""

    async def replacing(self) -> None:
        self.have(update="parallel", snapshot=SNAPSHOT)
        await self.wake()
        self.prober.passing = False
        self.have("lamp:2", update="parallel", snapshot=SNAPSHOT)
        await self.stage("replacing")

    async def test_snapshot(self) -> None:
        """A copy is made of what serves, with its own command, at once."""
        await self.replacing()
        await self.copies.snapshot(NAME, self.said.append)
        self.assertEqual(self.host.ran, [(NAME, SNAPSHOT)])
        self.assertEqual(self.lives.stage(NAME), "replacing")

    async def test_restore(self) -> None:
        """A restore, which has to stop what runs, lets the next one prove itself or not first."""
        await self.stage("asleep")
        copy = await self.copies.snapshot(NAME, ignore)
        await self.replacing()
        write(self.data, page="two")
        restoring = self.copies.restore(NAME, copy.id, self.said.append)
        await self.until(lambda: "the next server is being tried" in self.said)
        self.assertEqual((self.page(), self.lives.stage(NAME)), ("two", "replacing"))
        self.prober.passing = True
        self.host.end_beside(NAME)
        await restoring
        self.assertEqual(self.page(), "one")


class TrialTests(CopiesTests):
    """``copy before update``."""

    async def trial(self) -> Waiter:
        """Have an awake server replaced by one that writes to the folder; return one who waits."""
        await self.wake()
        self.engine.hold("start")
        self.have("lamp:2", copy_before_update=True, wake="always")
        await self.until(lambda: self.engine.calls.count(("start", NAME)) == 2)
        write(self.data, page="two")
        waiter = Waiter()
        self.lives.take(NAME, waiter)
        return waiter

    async def test_proven(self) -> None:
        """A copy was made when nothing ran; the newcomer goes on with what it has written, and
        others have the folder again."""
        waiter = await self.trial()
        self.engine.release("start")
        await self.until(lambda: waiter.answers)
        self.assertEqual((waiter.kinds, self.page()), (["leased"], "two"))
        self.assertEqual(await self.whys(), ["before an update"])
        (copy,) = await self.copies.snapshots(NAME)
        self.assertEqual(await self.contents(copy), "one")
        self.assertEqual((await self.copies.snapshot(NAME, ignore)).why, "asked for")

    async def test_put_back(self) -> None:
        """If it fails, the one before finds the folder as it was, while who came waits; what the
        newcomer had written is kept, too."""
        pages: list[str] = []
        revert = self.engine.revert

        def watched(*arguments: Any) -> Any:
            pages.append(self.page())
            self.prober.passing = True
            return revert(*arguments)

        self.patch(self.engine, "revert", watched)
        waiter = await self.trial()
        self.prober.passing = False
        self.engine.release("start")
        await self.stage("checking")
        self.host.end(NAME, 3)
        await self.until(lambda: pages)
        self.assertEqual(pages, ["one"])
        await self.until(lambda: waiter.answers)
        self.assertEqual((waiter.kinds, self.page()), (["leased"], "one"))
        await self.until(lambda: self.beside() == [])
        copies = await self.copies.snapshots(NAME)
        self.assertEqual(
            [copy.why for copy in copies], ["before an update", "left by an update that failed"]
        )
        self.assertEqual(await self.contents(copies[1]), "two")
        await self.copies.verify(NAME, ignore)  # When it is its turn, what was left is gone.

    async def test_ends_meanwhile(self) -> None:
        """If Snickers ends in between, the next one tells which copy has the folder as it was,
        until that was restored."""
        await self.trial()
        (copy,) = await self.copies.snapshots(NAME)
        await self.copies.close()
        self.engine.release("start")
        await self.stage("awake")
        self.assertEqual(self.beside(), [f".{NAME}.tried"])
        self.alarm.told.clear()
        self.copies = self.lives.copies = self.make_copies()
        self.copies.start([self.site])
        self.assertEqual(self.alarm.told, [("raised", "tried", NAME)])
        self.assertIn(f"snickers restore {NAME} {copy.id}", self.alarm.words)
        self.have("lamp:2", copy_when_asleep=True)
        self.lives.moved = self.copies.moved
        self.copies.moved(NAME)
        await self.lives.sleep(NAME, ignore)
        await self.until(lambda: self.store.calls.count(("make", NAME)) == 2)
        await self.copies.verify(NAME, ignore)
        self.assertEqual((await self.whys())[1:], ["fell asleep"])
        self.assertNotIn(("cleared", "tried", NAME), self.alarm.told)
        await self.copies.restore(NAME, copy.id, ignore)
        self.assertEqual(self.page(), "one")
        self.assertEqual(self.beside(), [])
        self.assertIn(("cleared", "tried", NAME), self.alarm.told)

    async def test_removed_by_hand(self) -> None:
        """Who removes the file has the alarm end with the next that is done, or at the next start
        of whoever looks after copies."""
        await self.stage("asleep")
        mark = self.above / f".{NAME}.tried"
        mark.write_text("copy-1")
        self.copies.start([self.site])
        self.assertEqual(self.alarm.told, [("raised", "tried", NAME)])
        mark.unlink()
        await self.copies.verify(NAME, ignore)
        self.assertEqual(self.alarm.told[1:], [("cleared", "tried", NAME)])
        self.alarm.raised("tried", NAME, "so another Snickers has said")
        self.alarm.told.clear()
        self.make_copies().start([self.site])
        self.assertEqual(self.alarm.told, [("cleared", "tried", NAME)])

    async def test_goes_on_elsewhere(self) -> None:
        """Of a trial that was handed over nothing is told while it goes on."""
        await self.trial()
        (copy,) = await self.copies.snapshots(NAME)
        kept = self.lives.hand_over()[NAME].kept
        self.assertEqual(kept.copied, copy.id)
        self.engine.release("start")
        self.lives.begin_anew({Container: MemoryEngine(reactor)})
        self.lives.apply([self.site], [], [])
        self.lives.inherit(NAME, 0, kept)
        self.alarm.told.clear()
        copies = self.make_copies()
        copies.start([self.site])
        self.assertEqual(self.alarm.told, [])
        self.lives.copies = copies
        self.lives.moved = copies.moved
        self.lives.start()
        # This engine has no server that could come back, so the folder stays as it is.
        await self.until(lambda: self.alarm.told)
        self.assertEqual(self.alarm.told, [("raised", "tried", NAME)])

    async def test_does_not_go_on(self) -> None:
        """Where it turns out that there is nothing to go back to it is told then."""
        await self.stage("asleep")
        self.patch(self.lives, "owes", lambda site: "copy-1")
        (self.above / f".{NAME}.tried").write_text("copy-1")
        self.copies.start([self.site])
        self.copies.moved(NAME)
        await self.copies.verify(NAME, ignore)
        self.assertEqual(self.alarm.told, [])
        self.patch(self.lives, "owes", lambda site: "")
        self.copies.moved(NAME)
        await self.copies.verify(NAME, ignore)
        self.assertEqual(self.alarm.told, [("raised", "tried", NAME)])
        self.assertIn("copy-1", self.alarm.words)

    async def test_goes_on_with_another(self) -> None:
        """Of another copy than the one that is owed nobody knows."""
        await self.stage("asleep")
        self.patch(self.lives, "owes", lambda site: "copy-1")
        copies = self.make_copies()
        (self.above / f".{NAME}.tried").write_text("copy-1")
        copies.start([self.site])
        self.assertEqual(self.alarm.told, [])
        (self.above / f".{NAME}.tried").write_text("copy-0")
        copies.start([self.site])
        self.assertEqual(self.alarm.told, [("raised", "tried", NAME)])

    async def test_given_up(self) -> None:
        """A copy that was given up is broken off, and nothing says later that another server was
        tried."""
        await self.stage("asleep")
        self.store.hold("make")
        copied = self.copies.begin_trial(NAME, ignore)
        await self.until(lambda: ("make", NAME) in self.store.calls)
        self.copies.end_trial(NAME)
        await self.assertFailure(copied, CopyFailed)
        await self.copies.verify(NAME, ignore)
        self.assertEqual((self.beside(), await self.whys()), ([], []))

    async def test_given_up_at_the_last_moment(self) -> None:
        """Nor does it where the trial ends while that is written."""
        await self.stage("asleep")
        written: list[str] = []
        write = durable.write

        def late(path: str, data: bytes) -> None:
            write(path, data)
            written.append(path)
            blockingCallFromThread(reactor, self.copies.end_trial, NAME)

        self.patch(durable, "write", late)
        copied = self.copies.begin_trial(NAME, ignore)
        await self.assertFailure(copied, CopyFailed)
        await self.copies.verify(NAME, ignore)
        self.assertEqual((len(written), self.beside()), (1, []))

    async def test_restored_by_another(self) -> None:
        """What a person restores while one team has duty is what is put back under the other."""
        await self.stage("asleep")
        had = await self.copies.begin_trial(NAME, ignore)
        self.copies.end_trial(NAME)
        write(self.data, page="three")
        other = self.make_copies()
        restored = await other.snapshot(NAME, ignore)
        await other.restore(NAME, restored.id, ignore)
        again = await self.copies.begin_trial(NAME, ignore, had)
        self.assertNotEqual(again, had)
        write(self.data, page="four")
        await self.copies.put_back(NAME, again, ignore)
        self.assertEqual(self.page(), "three")
        self.copies.end_trial(NAME)
        await self.copies.verify(NAME, ignore)  # When it is its turn, what was left is gone.

    async def test_had(self) -> None:
        """What is good still is not copied anew."""
        await self.stage("asleep")
        had = await self.copies.begin_trial(NAME, ignore)
        self.copies.end_trial(NAME)
        self.assertEqual(await self.make_copies().begin_trial(NAME, ignore, had), had)

    async def test_tried_before(self) -> None:
        """Of a trial whose end nobody knows is told on after another one, however that ends."""
        await self.stage("asleep")
        mark = self.above / f".{NAME}.tried"
        mark.write_text("copy-0")
        self.copies.start([self.site])
        self.assertIn("copy-0", self.alarm.words)
        had = await self.copies.begin_trial(NAME, ignore)
        self.assertEqual(mark.read_text(), f"{had}\ncopy-0")
        await self.copies.put_back(NAME, had, ignore)
        self.assertEqual(mark.read_text(), "copy-0")
        self.copies.end_trial(NAME)
        await self.copies.begin_trial(NAME, ignore)
        self.patch(self.lives, "stage", lambda site: "awake")
        self.copies.end_trial(NAME)
        await self.until(lambda: mark.read_text() == "copy-0")
        await self.copies.verify(NAME, ignore)
        self.assertNotIn(("cleared", "tried", NAME), self.alarm.told)
        self.assertIn("copy-0", self.alarm.words)

    async def test_nothing_is_left(self) -> None:
        """What has proven itself leaves nothing that would be told."""
        waiter = await self.trial()
        self.assertEqual(self.beside(), [f".{NAME}.tried"])
        self.engine.release("start")
        await self.until(lambda: waiter.answers)
        await self.until(lambda: self.beside() == [])

    async def test_never_started(self) -> None:
        """What could not be started has touched nothing: nothing is put back."""
        waiter = await self.trial()
        self.host.refused[NAME] = "There is no such image."
        self.engine.release("start")
        await self.until(lambda: waiter.answers)
        self.assertEqual((waiter.kinds, self.page()), (["leased"], "two"))
        self.assertNotIn(("restore", NAME), self.store.calls)

    async def test_not_copied(self) -> None:
        """Without a copy nothing is tried: the one before serves again, and an alarm says why."""
        held = self.store.hold("make")
        self.store.fail("make", "The disk is full.")
        await self.wake()
        starts = self.host.starts
        self.have("lamp:2", copy_before_update=True, wake="always")
        await self.stage("copying")
        waiter = Waiter()
        self.lives.take(NAME, waiter)
        held.callback(None)
        await self.until(lambda: waiter.answers)
        self.assertEqual(waiter.kinds, ["leased"])
        self.assertIn(("raised", "update", NAME), self.alarm.told)
        self.assertEqual(self.host.starts, starts + 1)
        self.assertEqual((await self.copies.snapshot(NAME, ignore)).why, "asked for")

    async def test_others_wait(self) -> None:
        """Who wants a copy or a restore meanwhile gets it when the trial is over."""
        waiter = await self.trial()
        copying = self.copies.snapshot(NAME, ignore)
        await deferLater(reactor, 0.05)
        self.assertNoResult(copying)
        self.engine.release("start")
        await self.until(lambda: waiter.answers)
        self.assertEqual((await copying).why, "asked for")

    async def test_twice(self) -> None:
        """A going back that the engine's absence has broken off goes on with the folder as it was
        put back; nothing is in the way."""
        waiter = await self.trial()
        self.prober.passing = False
        self.engine.release("start")
        await self.stage("checking")
        reverts: list[str] = []
        revert = self.engine.revert

        def broken(*arguments: Any) -> Any:
            reverts.append(self.page())
            self.prober.passing = True
            if len(reverts) < 3:
                return fail(EngineAway("Docker is away."))
            return revert(*arguments)

        self.patch(self.engine, "revert", broken)
        self.host.end(NAME, 3)
        await self.until(lambda: waiter.answers)
        self.assertEqual((waiter.kinds, self.page()), (["leased"], "one"))
        self.assertEqual(reverts, ["one"] * 3)
        self.assertEqual(self.store.calls.count(("restore", NAME)), 1)
        await self.until(lambda: self.beside() == [])
        self.assertEqual(await self.whys(), ["before an update", "left by an update that failed"])
        await self.copies.verify(NAME, ignore)  # When it is its turn, what was left is gone.

    async def test_asleep(self) -> None:
        """Between two starts of a newcomer that has not proven itself others have the folder; what
        is put back in the end is what it was before the first one."""
        await self.trial()
        self.prober.passing = False
        self.engine.release("start")
        await self.stage("checking")
        await self.lives.sleep(NAME, ignore)
        self.assertEqual((await self.copies.snapshot(NAME, ignore)).why, "asked for")
        waiter = Waiter()
        self.lives.take(NAME, waiter)
        await self.stage("checking")
        self.assertEqual(await self.whys(), ["before an update", "asked for"])
        self.prober.passing = True
        self.host.end(NAME, 3)
        await self.until(lambda: waiter.answers)
        self.assertEqual((waiter.kinds, self.page()), (["leased"], "one"))
        await self.copies.verify(NAME, ignore)  # When it is its turn, what was left is gone.

    async def test_restored_between(self) -> None:
        """What is restored between two starts is what is put back, if it comes to that."""
        await self.trial()
        self.prober.passing = False
        self.engine.release("start")
        await self.stage("checking")
        await self.lives.sleep(NAME, ignore)
        write(self.data, page="three")
        copy = await self.copies.snapshot(NAME, ignore)
        await self.copies.restore(NAME, copy.id, ignore)
        waiter = Waiter()
        self.lives.take(NAME, waiter)
        await self.stage("checking")
        write(self.data, page="four")
        self.prober.passing = True
        self.host.end(NAME, 3)
        await self.until(lambda: waiter.answers)
        self.assertEqual((waiter.kinds, self.page()), (["leased"], "three"))
        await self.copies.verify(NAME, ignore)  # When it is its turn, what was left is gone.

    async def test_restore_and_changed(self) -> None:
        """A restore that has to start a server of a changed declaration lets its trial have the
        next turn, and does not wait for it; no more does the trial give up meanwhile."""
        self.patch(copies_module, "TURN_WITHIN", 0.05)
        await self.wake()
        copy = await self.copies.snapshot(NAME, ignore)
        write(self.data, page="two")
        self.engine.hold("prepare")
        self.have("lamp:2", copy_before_update=True, wake="always")
        await self.until(lambda: ("prepare", NAME) in self.engine.calls)
        held = self.store.hold("make")
        restoring = self.copies.restore(NAME, copy.id, ignore)
        await self.stage("copying")
        await deferLater(reactor, 0.2)
        self.assertEqual(self.lives.stage(NAME), "copying")
        held.callback(None)
        await restoring
        await self.stage("awake")
        self.assertEqual(self.page(), "one")
        self.assertNotIn(("raised", "update", NAME), self.alarm.told)
        self.assertEqual(await self.whys(), ["asked for", "before a restore", "before an update"])
        await self.copies.verify(NAME, ignore)  # When it is its turn, what was left is gone.

    async def test_restore_while_it_waits(self) -> None:
        """A trial that waits for its turn makes way for a restore, and is begun after that."""
        await self.wake()
        copy = await self.copies.snapshot(NAME, ignore)
        write(self.data, page="two")
        held = self.store.hold("restore")
        restoring = self.copies.restore(NAME, copy.id, ignore)
        self.have("lamp:2", copy_before_update=True, wake="always")
        await self.stage("copying")
        held.callback(None)
        await restoring
        await self.stage("awake")
        self.assertEqual(self.page(), "one")
        self.assertNotIn(("raised", "update", NAME), self.alarm.told)
        await self.copies.verify(NAME, ignore)  # When it is its turn, what was left is gone.

    async def test_waits_for_others(self) -> None:
        """A copy that is being made is waited for, but not for long."""
        self.patch(copies_module, "TURN_WITHIN", 0.05)
        held = self.store.hold("make")
        await self.wake()
        other = self.copies.snapshot(NAME, ignore)
        self.have("lamp:2", copy_before_update=True, wake="always")
        await self.until(lambda: ("raised", "update", NAME) in self.alarm.told)
        held.callback(None)
        await other
        await self.stage("awake")

    async def test_nothing_to_copy(self) -> None:
        """A site without a folder, or one that its server is not given, has nothing to copy."""
        await self.wake()
        self.have("lamp:2", data="", copy_before_update=True, wake="always")
        await self.until(lambda: self.host.made == 2)
        await self.stage("awake")
        self.assertEqual(await self.whys(), [])


class RestoringTests(CopiesTests):
    """``restore``."""

    async def copied(self) -> Copy:
        """Make a copy, and have the data be another since."""
        await self.stage("asleep")
        copy = await self.copies.snapshot(NAME, ignore)
        write(self.data, page="two", more="more")
        return copy

    async def test_asleep(self) -> None:
        """The folder is as it was; what it held before is kept as a copy; the server sleeps on."""
        copy = await self.copied()
        self.assertEqual(await self.copies.restore(NAME, copy.id, self.said.append), copy)
        self.assertEqual(self.page(), "one")
        self.assertEqual(os.listdir(self.data), ["page"])
        self.assertEqual(self.beside(), [])
        kept = (await self.copies.snapshots(NAME))[-1]
        self.assertEqual((kept.why, await self.contents(kept)), ("before a restore", "two"))
        self.assertEqual(self.lives.stage(NAME), "asleep")
        self.assertEqual(self.host.starts, 0)

    async def test_awake(self) -> None:
        """A server that was awake is put to sleep for a moment, and is awake again, anew."""
        copy = await self.copied()
        await self.wake()
        await self.copies.restore(NAME, copy.id, ignore)
        self.assertEqual((self.page(), self.lives.stage(NAME)), ("one", "awake"))
        self.assertEqual(self.host.starts, 2)

    async def test_requests_wait(self) -> None:
        """Who comes meanwhile waits and is answered from the restored data; nobody is refused, and
        no server ever runs while the folders are exchanged."""
        copy = await self.copied()
        await self.wake()
        seen: list[tuple[bool, str]] = []
        real = swap.put_in_place

        def watched(folder: str) -> str | None:
            running = self.host.running(NAME) is not None
            former = real(folder)
            seen.append((running, self.page()))
            return former

        self.patch(swap, "put_in_place", watched)
        user = Waiter()
        self.assertIsNotNone(self.lives.take(NAME, user))
        restoring = self.copies.restore(NAME, copy.id, ignore)
        await self.stage("draining")
        waiter = Waiter()
        self.assertIsNone(self.lives.take(NAME, waiter))
        self.lives.give_back(NAME, HERE)
        await restoring
        self.assertEqual(waiter.kinds, ["leased"])
        self.lives.give_back(NAME, HERE)
        self.assertEqual(seen, [(False, "one")])

    async def test_waiting_while_starting(self) -> None:
        """Nor are those refused who waited for a start that was under way."""
        copy = await self.copied()
        self.engine.hold("start")
        waiter = Waiter()
        self.lives.take(NAME, waiter)
        await self.stage("starting")
        restoring = self.copies.restore(NAME, copy.id, ignore)
        await deferLater(reactor, 0.02)
        self.engine.release("start")
        await self.until(lambda: waiter.answers)
        self.assertEqual(waiter.kinds, ["leased"])
        self.lives.give_back(NAME, HERE)
        await restoring
        self.assertEqual((self.page(), self.lives.stage(NAME)), ("one", "awake"))

    async def test_chosen(self) -> None:
        """A copy is named by its id, by a beginning that no other has, or as the latest."""
        copy = await self.copied()
        self.store.calls.extend([("", "")] * 10)
        newer = await self.copies.snapshot(NAME, ignore)
        failing = self.copies.restore(NAME, "copy-", ignore)
        self.assertIn("several", str(await self.assertFailure(failing, CopyFailed)))
        failing = self.copies.restore(NAME, "none", ignore)
        self.assertIn("no copy none", str(await self.assertFailure(failing, CopyFailed)))
        self.assertEqual((await self.copies.restore(NAME, newer.id[:-1], ignore)).id, newer.id)
        self.assertEqual((await self.copies.restore(NAME, copy.id, ignore)).id, copy.id)
        latest = await self.copies.restore(NAME, "latest", ignore)
        self.assertEqual(latest.why, "before a restore")

    async def test_none(self) -> None:
        """Without any copy that is said, and how to make one."""
        await self.stage("asleep")
        failing = self.copies.restore(NAME, "latest", ignore)
        self.assertIn("make one", str(await self.assertFailure(failing, CopyFailed)))

    async def test_not_written_out(self) -> None:
        """When a copy cannot be written out nothing has happened: the server was not touched."""
        copy = await self.copied()
        await self.wake()
        self.store.fail("restore", "The disk is full.")
        failing = self.copies.restore(NAME, copy.id, ignore)
        self.assertIn("full", str(await self.assertFailure(failing, CopyFailed)))
        self.assertEqual((self.page(), self.host.starts, self.beside()), ("two", 1, []))

    async def test_not_stopped(self) -> None:
        """When the server does not let itself be stopped the data stays as it is."""
        copy = await self.copied()
        await self.wake()
        self.host.results[SNAPSHOT] = Ran(1, "no")
        self.have(snapshot=SNAPSHOT)
        failing = self.copies.restore(NAME, copy.id, ignore)
        await self.assertFailure(failing, CopyFailed)
        self.assertEqual((self.page(), self.beside()), ("two", []))
        await self.stage("awake")

    async def test_never_asleep(self) -> None:
        """A server that does not end is not waited for without end, and nothing is exchanged, not
        when it ends at last either."""
        copy = await self.copied()
        self.patch(copies_module, "MARGIN", 0.05)
        self.have(drain_within=0.0, snapshot_within=0.0, stop_within=0.0)
        await self.wake()
        self.engine.hold("stop")
        failing = self.copies.restore(NAME, copy.id, ignore)
        await self.until(lambda: ("stop", NAME) in self.engine.calls)
        await deferLater(reactor, 0.1)
        self.engine.release("stop")
        self.assertIn("was not asleep", str(await self.assertFailure(failing, CopyFailed)))
        self.assertEqual((self.page(), self.beside()), ("two", []))

    async def test_not_exchanged(self) -> None:
        """When the folders cannot be exchanged the server is woken on what it had."""
        copy = await self.copied()
        await self.wake()

        def refuse(folder: str) -> None:
            raise CopyFailed("It is busy.")

        self.patch(swap, "put_in_place", refuse)
        failing = self.copies.restore(NAME, copy.id, ignore)
        await self.assertFailure(failing, CopyFailed)
        self.assertEqual((self.page(), self.beside()), ("two", []))
        await self.stage("awake")

    async def test_former_not_kept(self) -> None:
        """When what was there before cannot be kept as a copy it stays as a folder, an alarm says
        where, and the next restore keeps it first."""
        copy = await self.copied()
        self.store.fail("make", "The disk is full.")
        await self.copies.restore(NAME, copy.id, self.said.append)
        self.assertEqual(self.page(), "one")
        self.assertEqual(self.beside(), [f".{NAME}.former"])
        self.assertIn(("raised", "snapshots", NAME), self.alarm.told)
        self.assertIn(f".{NAME}.former", self.said[-1])
        self.store.fail("make", "The disk is full.")
        await self.assertFailure(self.copies.restore(NAME, copy.id, ignore), CopyFailed)
        await self.copies.restore(NAME, copy.id, ignore)
        self.assertEqual(self.beside(), [])
        texts = [await self.contents(each) for each in await self.copies.snapshots(NAME)]
        self.assertEqual(texts, ["one", "two", "one"])

    async def test_restored_is_not_copied_asleep(self) -> None:
        """The sleep that a restore needs makes no copy of its own."""
        copy = await self.copied()
        self.have(copy_when_asleep=True)
        await self.wake()
        await self.copies.restore(NAME, copy.id, ignore)
        self.assertEqual(await self.whys(), ["asked for", "before a restore"])

    async def test_symbolic_link(self) -> None:
        """A site's folder that is a link to elsewhere stays one; what it leads to is restored."""
        elsewhere = Path(self.mktemp()).absolute()
        elsewhere.mkdir()
        self.data.rename(elsewhere / "real")
        self.data.symlink_to(elsewhere / "real")
        copy = await self.copied()
        await self.copies.restore(NAME, copy.id, ignore)
        self.assertTrue(self.data.is_symlink())
        self.assertEqual(self.page(), "one")
        self.assertEqual(os.listdir(elsewhere), ["real"])


class StartTests(CopiesTests):
    """What an end in the middle of a restore has left."""

    async def test_killed(self) -> None:
        """A folder that was moved away is in its place again at once, before anything is started;
        what else there is of worth is kept as a copy, the rest is removed."""
        os.rename(self.data, swap.beside(str(self.data), swap.FORMER))
        write(Path(swap.beside(str(self.data), swap.RESTORED)), page="three")
        write(Path(swap.beside(str(self.data), swap.RESTORING)), page="half")
        write(Path(swap.beside(str(self.data), swap.PROVING)), page="half")
        left = declared(self.site, swap.beside(str(self.data), swap.PROVING))
        self.apart.host.start(left.site, "", 0.0)
        self.copies.start([self.site, Site("static.example", Static("/srv"))])
        self.assertEqual(self.page(), "one")
        await self.until(lambda: not self.beside())
        self.assertEqual(self.apart.host.servers, {})
        (kept,) = await self.copies.snapshots(NAME)
        self.assertEqual(kept.why, "left by a restore that was broken off")
        self.assertEqual(await self.contents(kept), "three")
        await self.copies.verify(NAME, ignore)  # When it is its turn, what was left is gone.

    async def test_nothing_left(self) -> None:
        """Usually there is nothing, and nothing is done."""
        self.copies.start([self.site])
        await deferLater(reactor, 0.02)
        self.assertEqual((self.store.calls, self.apart.calls), ([], []))


class ProvingTests(CopiesTests):
    """``snapshot prove``."""

    async def copied(self) -> Copy:
        await self.stage("asleep")
        return await self.copies.snapshot(NAME, ignore)

    async def test_proved(self) -> None:
        """A server lives from the copy, apart; nothing of it stays, and the site's own server has
        not noticed."""
        copy = await self.copied()
        self.assertEqual(await self.copies.prove(NAME, "latest", self.said.append), copy)
        self.assertEqual(self.apart.host.starts, 1)
        self.assertEqual(self.apart.host.servers, {})
        self.assertEqual((self.host.starts, self.beside()), (0, []))
        self.assertIn("checking", self.said)

    async def test_sick(self) -> None:
        """A server that does not pass its check within ``wake within`` is no proof."""
        await self.copied()
        self.have(wake_within=0.05, health="/up")
        self.prober.passing = False
        failing = self.copies.prove(NAME, "latest", ignore)
        failure = await self.assertFailure(failing, CopyFailed)
        self.assertIn("did not pass its health check (/up) within 0.05 s", str(failure))
        self.assertEqual((self.apart.host.servers, self.beside()), ({}, []))

    async def test_ends(self) -> None:
        """One that ends is no proof either, and how it ended and what it said is told."""
        await self.copied()
        self.prober.passing = False
        failing = self.copies.prove(NAME, "latest", ignore)
        await self.until(lambda: self.prober.open)
        (name,) = self.apart.host.servers
        self.apart.host.say(name, b"the database is broken")
        self.apart.host.end(name, 3)
        failure = await self.assertFailure(failing, CopyFailed)
        self.assertIn("ended with status 3", str(failure))
        self.assertIn("the database is broken", str(failure))

    async def test_not_started(self) -> None:
        """Nor is one that cannot be started."""
        await self.copied()
        self.apart.host.refused[f"{NAME}~proof"] = "There is no such image."
        failing = self.copies.prove(NAME, "latest", ignore)
        failure = await self.assertFailure(failing, CopyFailed)
        self.assertIn("no such image", str(failure))
        self.assertEqual(self.beside(), [])

    async def test_refused_at_once(self) -> None:
        """Where no server can be tried nothing is copied back first: a process, or no engine."""
        await self.copied()
        restored: list[str] = []

        async def restore(site: str, id: str, folder: str, progress: Any) -> None:
            restored.append(folder)

        self.patch(self.store, "restore", restore)
        self.apart.host.away = "Docker is away."
        failing = self.copies.prove(NAME, "latest", ignore)
        self.assertEqual(str(await self.assertFailure(failing, CopyFailed)), "Docker is away.")
        self.site = Site(NAME, Process(("serve",)), data=str(self.data))
        failing = self.copies.prove(NAME, "latest", ignore)
        failure = await self.assertFailure(failing, CopyFailed)
        self.assertTrue(str(failure).startswith(f"{NAME} is a process, which cannot"), failure)
        self.assertEqual(restored, [])

    async def test_engine_is_let_go(self) -> None:
        """The engine is there for as long as a proof needs it."""
        await self.copied()
        await self.copies.prove(NAME, "latest", ignore)
        self.assertTrue(self.apart.closed)

    async def test_away(self) -> None:
        """Without the engine that is said."""
        await self.copied()
        self.apart.host.away = "Docker is away."
        failing = self.copies.prove(NAME, "latest", ignore)
        self.assertIn("Docker is away.", str(await self.assertFailure(failing, CopyFailed)))
        self.assertEqual(self.beside(), [])
