"""What engines share: fingerprints, owners, and turns."""

from __future__ import annotations

import os

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Container, Lifecycle, Process
from snickers.containers.engine import Turns, fingerprint, owner_of
from snickers.interfaces.engine import Declared

ALICE = Declared("alice.example", Container("lamp:7"), "/data/alice.example")


class FingerprintTests(SynchronousTestCase):
    """`fingerprint`."""

    def test_same(self) -> None:
        """Equal declarations have one fingerprint, in this run of Python and in any other."""
        self.assertEqual(fingerprint(ALICE), fingerprint(evolve(ALICE)))
        self.assertEqual(fingerprint(ALICE), "1bac4809fee7505e1714d5ef3fec9353")

    def test_different(self) -> None:
        """Whatever makes another server has another fingerprint."""
        kind = ALICE.kind
        others = [
            evolve(ALICE, site="bob.example"),
            evolve(ALICE, data="/elsewhere"),
            evolve(ALICE, kind=evolve(kind, image="lamp:8")),
            evolve(ALICE, kind=evolve(kind, command=("a", "b"))),
            evolve(ALICE, kind=evolve(kind, command=("a b",))),
            evolve(ALICE, kind=evolve(kind, port=81)),
            evolve(ALICE, kind=evolve(kind, data="/data")),
            evolve(ALICE, kind=evolve(kind, volumes=("/a:/b",))),
            evolve(ALICE, kind=evolve(kind, environment=(("A", "1"),))),
            evolve(ALICE, kind=evolve(kind, user="lamp")),
            evolve(ALICE, kind=evolve(kind, memory=1 << 20)),
            evolve(ALICE, kind=evolve(kind, cpus=0.5)),
            evolve(ALICE, kind=evolve(kind, pids=9)),
            evolve(ALICE, kind=evolve(kind, read_only=True)),
            evolve(ALICE, kind=evolve(kind, capabilities=("CHOWN",))),
            evolve(ALICE, kind=evolve(kind, network="host")),
            evolve(ALICE, kind=evolve(kind, composition="services: 1")),
            evolve(ALICE, kind=evolve(kind, composition="services: 1", service="web")),
            evolve(ALICE, kind=Process(("lamp:7",))),
        ]
        self.assertEqual(len({fingerprint(each) for each in [ALICE, *others]}), 1 + len(others))

    def test_not_of_the_server(self) -> None:
        """When it runs and where its image comes from change no server."""
        kind = evolve(ALICE.kind, life=Lifecycle(idle_after=1), pull="always", services="/c.yaml")
        self.assertEqual(fingerprint(evolve(ALICE, kind=kind)), fingerprint(ALICE))


class OwnerTests(SynchronousTestCase):
    """`owner_of`."""

    def test_owner(self) -> None:
        """Each state folder is another owner, however its path is written, made or not."""
        one, other = os.path.abspath(self.mktemp()), self.mktemp()
        self.assertEqual(owner_of(one), owner_of(one + "/"))
        self.assertEqual(owner_of(one), owner_of(os.path.relpath(one)))
        self.assertNotEqual(owner_of(one), owner_of(other))
        before = owner_of(one)
        os.makedirs(one)
        self.assertEqual(owner_of(one), before)


class TurnsTests(SynchronousTestCase):
    """`Turns`."""

    def setUp(self) -> None:
        self.turns = Turns()
        self.begun: list[str] = []

    def call(self, site: str, name: str) -> tuple[Deferred[str], Deferred[str]]:
        """Ask for a turn; return what fires when it ends, and what ends it."""
        end: Deferred[str] = Deferred()

        def begin() -> Deferred[str]:
            self.begun.append(name)
            return end

        return self.turns.run(site, begin), end

    def test_one_after_the_other(self) -> None:
        """Calls for one site run in order, each after the end of the one before."""
        first, end_first = self.call("a", "first")
        second, end_second = self.call("a", "second")
        self.assertEqual(self.begun, ["first"])
        end_first.callback("one")
        self.assertEqual(self.successResultOf(first), "one")
        self.assertEqual(self.begun, ["first", "second"])
        end_second.callback("two")
        self.assertEqual(self.successResultOf(second), "two")

    def test_beside(self) -> None:
        """Calls for different sites run beside each other."""
        self.call("a", "first")
        self.call("b", "second")
        self.assertEqual(self.begun, ["first", "second"])

    def test_failure(self) -> None:
        """A failed call fails as it did, and the next one runs."""
        first, end = self.call("a", "first")
        self.call("a", "second")
        end.errback(ZeroDivisionError())
        self.failureResultOf(first, ZeroDivisionError)
        self.assertEqual(self.begun, ["first", "second"])

    def test_raising(self) -> None:
        """A call that raises fails, and gives its turn away."""
        self.failureResultOf(self.turns.run("a", lambda: 1 / 0), ZeroDivisionError)
        self.call("a", "second")
        self.assertEqual(self.begun, ["second"])

    def test_cancelled_while_waiting(self) -> None:
        """A call that is cancelled before its turn never begins."""
        _, end = self.call("a", "first")
        second, _ = self.call("a", "second")
        self.call("a", "third")
        second.cancel()
        self.failureResultOf(second, CancelledError)
        end.callback("one")
        self.assertEqual(self.begun, ["first", "third"])

    def test_forgotten(self) -> None:
        """Nothing is kept of sites without calls: they may come and go for years."""
        _, end = self.call("a", "first")
        _, end_second = self.call("a", "second")
        end.callback("one")
        end_second.callback("two")
        self.assertEqual(self.turns._locks, {})
