"""Tests for snickers.tls.challenges."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from snickers.tls import challenges as module
from snickers.tls.challenges import QUESTIONS, Challenges, TooManyQuestions, is_token
from snickers.tls.port import CA_OFFERS
from snickers.tls.transport import harden
from tests.pairs import make_pair, shake_hands

TOKEN = b"evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
"""Of RFC 8555 section 8.3."""


class ChallengesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        self.held: list[tuple[Callable[[], Any], Deferred[Any]]] | None = None
        self.jobs = 0
        self.challenges = Challenges(
            self.folder, self.run_it, lambda context: harden(context, CA_OFFERS)
        )

    def run_it(self, function: Callable[[], Any]) -> Deferred[Any]:
        self.jobs += 1
        if self.held is None:
            return maybeDeferred(function)
        done: Deferred[Any] = Deferred()
        self.held.append((function, done))
        return done

    def put(self, *path: str, data: bytes) -> str:
        place = os.path.join(self.folder, *path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(data)
        return place

    def answer(self, token: bytes) -> bytes | None:
        return self.successResultOf(self.challenges.key_authorization(token))

    def context(self, name: bytes) -> SSL.Context | None:
        return self.successResultOf(self.challenges.context(name))

    # http-01

    def test_key_authorization(self) -> None:
        """What was left for a token is found, without the end of its line."""
        self.put("http-01", TOKEN.decode(), data=TOKEN + b".thumb\n")
        self.assertEqual(self.answer(TOKEN), TOKEN + b".thumb")

    def test_nothing(self) -> None:
        """Where there is nothing, not even a folder, there is none; nobody needs to hear that."""
        self.assertIsNone(self.answer(TOKEN))
        self.put("http-01", "other", data=b"x")
        self.assertIsNone(self.answer(TOKEN))
        self.assertIsNone(self.context(b"a.example"))

    def test_taken_away(self) -> None:
        """What was taken away is answered no more: nothing is remembered."""
        place = self.put("http-01", "token", data=b"proof")
        self.assertEqual(self.answer(b"token"), b"proof")
        os.unlink(place)
        self.assertIsNone(self.answer(b"token"))

    def test_no_token(self) -> None:
        """What is no token reaches no file."""
        self.put("secret", data=b"secret")
        for token in (b"", b"../secret", b"a/b", b"a.b", b"a?b", b"a%2fb", b"\xc3\xa4", b"x" * 129):
            self.assertIsNone(self.answer(token))
        self.assertEqual(self.jobs, 0)

    @given(st.binary(max_size=200))
    def test_tokens(self, token: bytes) -> None:
        """A token is letters, digits, minus and underscore, whatever is asked for."""
        usual = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
        is_one = 0 < len(token) <= 128 and not token.strip(usual) and set(token) <= set(usual)
        self.assertEqual(is_token(token) is not None, is_one)

    def test_no_key_authorization(self) -> None:
        """What is too long for one, or no file, is not shown to anybody."""
        self.put("http-01", "long", data=b"x" * 1025)
        self.assertIsNone(self.answer(b"long"))
        os.mkfifo(os.path.join(self.folder, "http-01", "fifo"))
        self.assertIsNone(self.answer(b"fifo"))

    # tls-alpn-01

    def test_context(self) -> None:
        """The certificate that was left for a name is shown, and acme-tls/1 spoken."""
        pair = make_pair("a.example")
        self.put("tls-alpn-01", "a.example.pem", data=pair.key_pem + pair.pem)
        context = self.context(b"a.example")
        client_context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client_context.set_alpn_protos(list(CA_OFFERS))
        client, _ = shake_hands(context, client_context)
        self.assertEqual(client.get_alpn_proto_negotiated(), b"acme-tls/1")
        self.assertEqual(client.get_peer_certificate(as_cryptography=True), pair.certificate)

    def test_no_name(self) -> None:
        """What is no name reaches no file."""
        for name in (b"", b"..", b"a/b", b".a.example", b"a" * 254, b"A.example"):
            self.assertIsNone(self.context(name))
        self.assertEqual(self.jobs, 0)

    def test_broken(self) -> None:
        """A file that is none of the kind answers nothing, and is told of once."""
        place = self.put("tls-alpn-01", "a.example.pem", data=b"noise")
        told: list[str] = []
        self.patch(
            self.challenges,
            "log",
            type("Log", (), {"warn": lambda _, text, reason: told.append(reason)})(),
        )
        for _ in range(3):
            self.assertIsNone(self.context(b"a.example"))
        (words,) = told
        self.assertIn(place, words)

    def test_mistake(self) -> None:
        """A mistake of ours is logged, and harms nobody else."""
        self.patch(module, "read", lambda path: 1 / 0)
        self.assertIsNone(self.answer(b"token"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    # Floods

    def test_bounded(self) -> None:
        """No more than so many questions are under way; whoever asks later is answered again."""
        self.held = []
        asked = [self.challenges.key_authorization(b"t%d" % n) for n in range(QUESTIONS)]
        self.failureResultOf(self.challenges.key_authorization(b"x"), TooManyQuestions)
        self.failureResultOf(self.challenges.context(b"a.example"), TooManyQuestions)
        self.assertEqual(len(self.held), QUESTIONS)
        held, self.held = self.held, None
        for function, done in held:
            maybeDeferred(function).chainDeferred(done)
        for deferred in asked:
            self.assertIsNone(self.successResultOf(deferred))
        self.assertIsNone(self.answer(b"x"))
