"""Answers whole and in pieces."""

from __future__ import annotations

import http.client
import json
from types import MappingProxyType

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from snickers.control import answers
from snickers.control.answers import encoded, is_mistake, said
from tests.control_caller import ApiCase
from tests.control_fake import LifeFailed


class FormTests(SynchronousTestCase):
    """What is said, and how."""

    def test_one_line(self) -> None:
        """An answer is one line of JSON, whatever is in it, even what is no text."""
        for value in ("a\nb", "é", "\udcff"):
            line = encoded({"x": value})
            self.assertEqual(line.count(b"\n"), 1)
            self.assertEqual(json.loads(line), {"x": value})

    def test_other_types(self) -> None:
        """What JSON does not have becomes what it has; infinity means never."""
        answer = MappingProxyType({1: (1, 2.5, float("inf")), "x": {"y": None}, "z": ValueError(3)})
        self.assertEqual(
            json.loads(encoded(answer)), {"1": [1, 2.5, "never"], "x": {"y": None}, "z": "3"}
        )

    def test_words(self) -> None:
        """A failure in words is told in these."""
        failure = Failure(LifeFailed("no such image"))
        self.assertEqual((is_mistake(failure), said(failure)), (False, "no such image"))
        self.assertIn("No space", said(Failure(OSError(28, "No space left on device"))))

    def test_mistakes(self) -> None:
        """A mistake of Snickers' own, or a failure without words, is told by its kind."""
        for problem in (KeyError("secret"), LifeFailed()):
            name = type(problem).__name__
            self.assertEqual(
                said(Failure(problem)), f"Snickers itself failed ({name}); its log says more"
            )
        self.assertTrue(is_mistake(Failure(KeyError("secret"))))


class LogTests(ApiCase):
    """Logs."""

    def test_bytes_as_they_are(self) -> None:
        """The log's bytes come unchanged, and end when it ends."""
        caller = self.call("GET", "/sites/alice.example/logs?tail=5")
        call = self.lives.calls[0]
        self.assertEqual(call.asked, ("logs", "alice.example", 5, False))
        call.tell(b"one\n\xff\x1b[31m")
        call.tell(b"")
        call.tell(b"two\n")
        call.result.callback(None)
        self.assertEqual(caller.body(), b"one\n\xff\x1b[31mtwo\n")

    def test_defaults(self) -> None:
        """Without arguments: the last 100 lines."""
        self.call("GET", "/sites/www.alice.example/logs")
        self.assertEqual(self.lives.calls[0].asked, ("logs", "alice.example", 100, False))

    def test_nothing_logged(self) -> None:
        """An empty log is an empty answer."""
        caller = self.call("GET", "/sites/alice.example/logs")
        self.lives.calls[0].result.callback(None)
        self.assertEqual((caller.response().status, caller.body()), (200, b""))

    def test_bad_numbers(self) -> None:
        """An argument that is no number is refused, and named."""
        for query in ("tail=all", "tail=-1", "tail=1000001", "tail=%C2%B2", "follow=2", "tail="):
            status, answer = self.ask("GET", f"/sites/alice.example/logs?{query}")
            self.assertEqual(status, 400)
            self.assertIn("must be a whole number from 0 to", answer["error"])
        self.assertEqual(self.lives.calls, [])

    def test_leaving_cancels(self) -> None:
        """Who leaves a log that is followed is not followed any more, and nothing is logged."""
        caller = self.call("GET", "/sites/alice.example/logs?follow=1")
        call = self.lives.calls[0]
        call.tell(b"one\n")
        caller.leave()
        self.assertTrue(call.cancelled)
        call.tell(b"two\n")
        self.assertNotIn(b"two", caller.transport.value())

    def test_failure_before_the_first_byte(self) -> None:
        """A log that cannot be read is 502 in words."""
        caller = self.call("GET", "/sites/alice.example/logs")
        self.lives.calls[0].result.errback(LifeFailed("Docker does not answer"))
        response = caller.response()
        self.assertEqual(response.status, 502)
        self.assertEqual(json.loads(response.read()), {"error": "Docker does not answer"})

    def test_failure_in_the_middle(self) -> None:
        """A log that breaks off does not end as if it were whole."""
        caller = self.call("GET", "/sites/alice.example/logs?follow=1")
        self.lives.calls[0].tell(b"one\n")
        self.lives.calls[0].result.errback(LifeFailed("Docker does not answer"))
        self.assertEqual(len(self.flushLoggedErrors(LifeFailed)), 1)
        self.assertTrue(caller.transport.disconnecting)
        self.assertRaises(http.client.IncompleteRead, caller.body)

    def test_reader_who_stands_still(self) -> None:
        """More than is kept for a reader who stands still is left out, and that is said."""
        self.patch(answers, "LOG_BACKLOG", 10)
        caller = self.call("GET", "/sites/alice.example/logs?follow=1")
        call = self.lives.calls[0]
        producer = caller.transport.producer
        producer.pauseProducing()
        for text in (b"12345\n", b"left out\n", b"789\n"):
            call.tell(text)
        producer.resumeProducing()
        call.tell(b"again\n")
        call.result.callback(None)
        self.assertEqual(
            caller.body(),
            b"12345\n789\n\n[snickers: 9 bytes left out, the reader stood still]\nagain\n",
        )
