"""Accounts with certificate authorities, and conversations that rest."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme import accounts
from snickers.acme.accounts import IDLE, KEPT, Accounts, Terms, read_external
from snickers.acme.client import Identity
from snickers.acme.keys import new_key
from snickers.acme.said import AuthorityFailed
from snickers.acme.store import Account, Store
from snickers.config.values import Settings
from snickers.disk import locked
from tests.acme_fake import Authority, Client

CA = "https://ca.example/directory"
TERMS = Terms(email="a@b.example")


class AccountsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.folder = Path(self.mktemp()).absolute()
        self.store = Store(str(self.folder))
        self.store.prepare()
        self.authority = Authority(CA, lambda: self.now)
        self.made: list[Client] = []
        self.accounts = Accounts(self.store, lambda: self.now, self.make)  # type: ignore[arg-type]

    def make(
        self, directory: str, identity: Identity, context: ssl.SSLContext, wall: Callable[[], float]
    ) -> Client:
        """A conversation with the authority in memory."""
        client = self.authority.open(directory, identity)
        self.made.append(client)
        return client

    def open(self, terms: Terms = TERMS, directory: str = CA) -> Any:
        """A conversation."""
        return self.accounts.open(directory, terms)

    def test_once(self) -> None:
        """An account is made once, and used from then on, after a restart too."""
        first = self.open()
        account = self.store.account(CA)
        assert account is not None
        self.assertEqual((account.url, account.email), (first.identity.url, "a@b.example"))
        self.accounts = Accounts(self.store, lambda: self.now, self.make)  # type: ignore[arg-type]
        self.assertEqual(self.open().identity.url, first.identity.url)
        self.assertEqual(self.authority.asked["register"], 1)

    def test_at_once(self) -> None:
        """Of many who need one at the same time, one makes it."""
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _: self.open().identity.url, range(16)))
        self.assertEqual(len(set(found)), 1)
        self.assertEqual(self.authority.asked["register"], 1)

    def test_silent(self) -> None:
        """Who waits in vain for another who asks for the account is told of the authority, which
        does not answer: that mends itself."""
        self.patch(accounts, "locked", partial(locked, within=0.0))
        lock = self.store.account_path(CA).removesuffix(".json") + ".lock"
        with locked(lock), self.assertRaises(AuthorityFailed) as raised:
            self.open()
        self.assertEqual(raised.exception.kind, "away")
        self.assertIn(CA, str(raised.exception))
        self.assertEqual(self.authority.asked["register"], 0)
        self.open()

    def test_key_first(self) -> None:
        """The key is kept before the authority is asked: who was killed then has the same account
        in the end."""
        self.authority.trouble["register"] = [AuthorityFailed("away", "no answer")]
        self.assertRaises(AuthorityFailed, self.open)
        before = self.store.account(CA)
        assert before is not None
        self.assertEqual(before.url, "")
        self.open()
        after = self.store.account(CA)
        assert after is not None
        self.assertEqual(after.key, before.key)
        self.assertNotEqual(after.url, "")

    def test_forgotten(self) -> None:
        """An account that the authority does not know is made again, with the same key."""
        client = self.open()
        before = self.store.account(CA)
        self.accounts.unknown(client)
        self.assertTrue(client.closed)
        self.open()
        after = self.store.account(CA)
        assert before is not None
        assert after is not None
        self.assertEqual(after.key, before.key)
        self.assertEqual(self.authority.asked["register"], 2)
        # Somebody else was told of it first.
        self.accounts.unknown(client)
        self.assertEqual(self.store.account(CA), after)

    def test_email(self) -> None:
        """A changed address is told."""
        self.open()
        self.open(evolve(TERMS, email="c@d.example"))
        self.assertEqual(self.authority.asked["email"], 1)
        account = self.store.account(CA)
        assert account is not None
        self.assertEqual(account.email, "c@d.example")
        self.open(evolve(TERMS, email="c@d.example"))
        self.assertEqual(self.authority.asked["email"], 1)

    def test_rest(self) -> None:
        """A conversation that rests is gone on with, by one at a time, while it is fresh and meant
        for the same."""
        client = self.open()
        self.accounts.rest(TERMS, client)
        self.assertIs(self.open(), client)
        other = self.open()
        self.assertIsNot(other, client)
        self.accounts.rest(TERMS, client)
        self.assertIsNot(self.open(evolve(TERMS, email="")), client)
        self.now += IDLE
        self.assertIsNot(self.open(), client)

    def test_few_rest(self) -> None:
        """Not more rest than are worth it; in the end none does."""
        clients = [self.open() for _ in range(KEPT + 2)]
        for client in clients:
            self.accounts.rest(TERMS, client)
        self.assertEqual([c.closed for c in clients], [True, True] + [False] * KEPT)
        self.accounts.close()
        self.assertTrue(all(client.closed for client in clients))

    def test_trust(self) -> None:
        """The file of roots is read again when it has changed."""
        path = self.folder / "roots.pem"
        path.write_bytes(self.authority.sign(self.authority.key.public_key(), ["x.example"]))
        terms = evolve(TERMS, trust=str(path))
        one = self.accounts._context(terms.trust)
        self.assertIs(self.accounts._context(terms.trust), one)
        path.write_bytes(self.authority.sign(self.authority.key.public_key(), ["yy.example"]))
        self.assertIsNot(self.accounts._context(terms.trust), one)


class ExternalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()

    def fault(self, text: bytes, mode: int = 0o600) -> str:
        """What is wrong with a file."""
        self.path.write_bytes(text)
        self.path.chmod(mode)
        failed = self.assertRaises(AuthorityFailed, read_external, str(self.path))
        self.assertEqual(failed.kind, "refused")
        return str(failed)

    def test_read(self) -> None:
        """A line of two words, the second in base64url."""
        self.path.write_text(" kid-1  c2VjcmV0_-\n")
        self.path.chmod(0o600)
        self.assertEqual(read_external(str(self.path)), ("kid-1", "c2VjcmV0_-"))

    def test_faults(self) -> None:
        """What is wrong is said with the path, and never with the key."""
        for text in (b"", b"kid", b"kid secret key", b"kid not+base64url", b"\xff\xfe"):
            words = self.fault(text)
            self.assertIn("`KID KEY`", words)
            self.assertIn(str(self.path), words)
            self.assertNotIn("secret", words)
        self.assertIn("chmod 600", self.fault(b"kid c2VjcmV0", 0o640))
        self.path.unlink()
        failed = self.assertRaises(AuthorityFailed, read_external, str(self.path))
        self.assertIn("No such file", str(failed))

    def test_account_needs_it(self) -> None:
        """Without a readable file no account is asked for."""
        store = Store(str(self.path))
        store.prepare()
        accounts = Accounts(store, lambda: 0.0)
        terms = Terms(external="/nonexistent")
        self.assertRaises(AuthorityFailed, accounts.open, CA, terms)
        self.assertIsNone(store.account(CA))

    def test_words(self) -> None:
        """A key is nowhere in what is printed."""
        self.assertNotIn("PRIVATE", repr(Account(CA, new_key())))


class TermsTests(SynchronousTestCase):
    def test_external(self) -> None:
        """An account that the authority knows already is the first authority's; trust and address
        are everybody's."""
        settings = Settings(
            acme_directory="https://a",
            acme_trust="roots.pem",
            acme_email="me@a.example",
            acme_external_account="account",
        )
        self.assertEqual(
            Terms.of(settings, "https://a"), Terms("roots.pem", "me@a.example", "account")
        )
        self.assertEqual(Terms.of(settings, "https://b"), Terms("roots.pem", "me@a.example"))
