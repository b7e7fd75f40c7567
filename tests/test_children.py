"""Processes of Snickers' own, with a reactor that starts nothing."""

from __future__ import annotations

import os
import socket
import sys
from unittest.mock import Mock, patch

from twisted.internet.protocol import ProcessProtocol
from twisted.trial.unittest import SynchronousTestCase

from snickers import children
from tests.descriptors import open_descriptors


class StartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor, self.line = Mock(), Mock()

    def start(self, more: dict[int, int] | None = None) -> None:
        """Start a process that has its end of the line as number 7."""
        children.start(
            self.reactor, ProcessProtocol(), ["-m", "some.module", "x"], self.line, 7, more
        )

    def test_given(self) -> None:
        """It is given its end of the line, what was asked for, and nothing else; nothing is left
        open here."""
        with socket.socket() as front:
            before = open_descriptors()
            self.start({9: front.fileno()})
            self.assertEqual(open_descriptors() - before, set())
            ((_, executable, arguments, _), more) = self.reactor.spawnProcess.call_args
            self.assertEqual((executable, arguments[0]), (sys.executable, sys.executable))
            self.assertEqual(arguments[1:], ["-m", "some.module", "x"])
            descriptors = more["childFDs"]
            self.assertEqual(sorted(descriptors), [0, 1, 2, 7, 9])
            self.assertEqual((descriptors[1], descriptors[2]), ("r", "r"))
            self.assertEqual(descriptors[9], front.fileno())

    def test_line(self) -> None:
        """The other end is the line's."""
        self.start()
        theirs = self.reactor.spawnProcess.call_args.kwargs["childFDs"][7]
        ours, family, factory = self.reactor.adoptStreamConnection.call_args.args
        self.assertNotEqual(ours, theirs)
        self.assertEqual(family, socket.AF_UNIX)
        self.assertIs(factory.buildProtocol(None), self.line)

    def test_environment(self) -> None:
        """It has the variables of this process, but those that are meant for the first alone."""
        variables = dict.fromkeys(children.NOT_FOR_CHILDREN, "1")
        with patch.dict(os.environ, {**variables, "KEPT": "1"}):
            self.start()
        environment = self.reactor.spawnProcess.call_args.args[3]
        self.assertEqual(environment["KEPT"], "1")
        self.assertEqual(environment.keys() & variables.keys(), set())

    def test_fails(self) -> None:
        """One that cannot be started leaves nothing open."""
        self.reactor.spawnProcess.side_effect = OSError
        before = open_descriptors()
        self.assertRaises(OSError, self.start)
        self.assertEqual(open_descriptors() - before, set())
        self.reactor.adoptStreamConnection.assert_not_called()

    def test_no_descriptors(self) -> None:
        """Nor does one for which there are no descriptors left."""
        before = open_descriptors()
        with patch.object(os, "open", side_effect=OSError):
            self.assertRaises(OSError, self.start)
        self.assertEqual(open_descriptors() - before, set())
        self.reactor.spawnProcess.assert_not_called()
