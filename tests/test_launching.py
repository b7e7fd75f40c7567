"""How programs are started, and what is said when they cannot be."""

from __future__ import annotations

import errno
import json
import os

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Process
from snickers.containers import launch, launching
from snickers.containers.engine import EngineFailed
from snickers.containers.launching import Place, Unlaunched, spawn
from snickers.interfaces.engine import Declared
from tests.descriptors import open_descriptors

PLACE = Place("/data", {"TITLE": "Alice"}, (7, 8, (8, 9)))


class Spawner:
    """A reactor that remembers what it should spawn, or fails."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        self.plan: dict = {}
        self.descriptors: dict = {}
        self.environment: dict = {}

    def spawnProcess(self, protocol, executable, arguments, environment, childFDs):
        if self.error is not None:
            raise self.error
        self.plan = json.loads(arguments[-1])
        self.script = arguments[-2]
        self.environment = environment
        self.descriptors = childFDs


class SpawnTests(SynchronousTestCase):
    """`spawn`."""

    def spawn(self, spawner: Spawner, *more, **options) -> None:
        spawn(spawner, ProcessProtocol(), ("serve", "--all"), PLACE, *more, **options)

    def test_plan(self) -> None:
        """The launcher is told who, where and what, and ends with Snickers."""
        spawner = Spawner()
        self.spawn(spawner)
        self.assertEqual(
            spawner.plan,
            {
                "parent": os.getpid(),
                "user": [7, 8, [8, 9]],
                "directory": "/data",
                "command": ["serve", "--all"],
            },
        )
        self.assertEqual(spawner.script, launch.__file__)
        self.assertEqual(spawner.environment, {"TITLE": "Alice"})

    def test_lasting(self) -> None:
        """What is to outlive Snickers has no parent to end with."""
        spawner = Spawner()
        self.spawn(spawner, lasting=True)
        self.assertIsNone(spawner.plan["parent"])

    def test_descriptors(self) -> None:
        """It reads nothing, and writes to pipes or to what it is given; none is left open here."""
        before = open_descriptors()
        for more, expected in (((), "r"), ((42,), 42)):
            spawner = Spawner()
            self.spawn(spawner, *more)
            descriptors = dict(spawner.descriptors)
            self.assertIsInstance(descriptors.pop(0), int)
            self.assertEqual(descriptors, {1: expected, 2: expected, launch.REPORT: "r"})
        self.assertEqual(open_descriptors() - before, set())

    def test_no_process(self) -> None:
        """Where no process can be made that is said in words, and nothing is left open."""
        before = open_descriptors()
        spawner = Spawner(OSError(errno.EAGAIN, "Resource temporarily unavailable"))
        error = self.assertRaises(EngineFailed, self.spawn, spawner)
        self.assertIn("Resource temporarily unavailable", str(error))
        self.assertEqual(open_descriptors() - before, set())

    def test_no_descriptor(self) -> None:
        """So it is where no descriptor is left."""

        def none_left(*_: object) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(os, "open", none_left)
        error = self.assertRaises(EngineFailed, self.spawn, Spawner())
        self.assertIn("Too many open files", str(error))


class UnlaunchedTests(SynchronousTestCase):
    """`Unlaunched` and `code`."""

    def words(self, report: bytes, kind: Process) -> str:
        return Unlaunched(report).in_words(Declared("alice.example", kind, "/data/alice"), kind)

    def test_words(self) -> None:
        """What went wrong is said with the option that is to be changed."""
        kind = Process(("serve", "x"), user="lamp")
        for step, said in (
            ("user", "user = lamp"),
            ("directory", "directory = /data/alice"),
            ("command", "command = serve"),
            ("session", "cannot be launched"),
        ):
            words = self.words(json.dumps([step, 1, "Not permitted"]).encode(), kind)
            self.assertIn(said, words)
            self.assertIn("Not permitted", words)

    def test_torn(self) -> None:
        """A report that cannot be read is told as it is."""
        self.assertIn("killed \ufffd", self.words(b"killed \xff", Process(("serve",))))

    def test_code(self) -> None:
        """Ends are told as shells tell them."""
        reasons = (ProcessDone(0), ProcessTerminated(3), ProcessTerminated(None, 15))
        self.assertEqual([launching.code(Failure(each)) for each in reasons], [0, 3, 143])
