"""The files of certificates from the network."""

from __future__ import annotations

import os
import time
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.keys import identity_of, new_key, request_for
from snickers.acme.order import Answer, Order, Step
from snickers.acme.plan import Held, Known, Memory
from snickers.acme.renewal import Window
from snickers.acme.store import Account, NotYet, Store, StoreFailed, file_name
from snickers.tls.credentials import CertificateUnavailable, Credentials
from snickers.tls.ordered import Ordered
from tests.acme_fake import Authority

CA = "https://ca.example:14000/directory"


def order_for(*names: str) -> Order:
    """An order with a fresh key."""
    return Order(names[0], CA, "https://ca.example/1", names, "http-01", new_key(), 1000.0)


class StoreCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute() / "acme"
        self.store = Store(str(self.folder))
        self.store.prepare()
        self.authority = Authority(CA, time.time)

    def chain(self, order: Order, *names: str) -> bytes:
        """What the authority gives for *order*."""
        request = request_for(order.key, order.names)
        return self.authority.sign(request.public_key(), names or order.names)

    def keep(self, order: Order, chain: bytes) -> Credentials:
        """Store *chain* now."""
        return self.store.keep_certificate(order, chain, time.time())


class NamesTests(SynchronousTestCase):
    def test_names(self) -> None:
        """A wildcard's star is written out; what would lead elsewhere is refused."""
        self.assertEqual(file_name("a.example"), "a.example")
        self.assertEqual(file_name("*.a.example"), "_wildcard.a.example")
        for name in ("", "../a", "a/b", ".hidden", "a\0b"):
            self.assertRaises(StoreFailed, file_name, name)


class CertificateTests(StoreCase):
    def test_nothing(self) -> None:
        """No file is nothing, and nothing wrong."""
        kept = self.store.certificate("a.example")
        self.assertEqual((kept.credentials, kept.fault), (None, ""))

    def test_kept(self) -> None:
        """A certificate is one file with its key, for its owner alone; the one before it is kept
        once."""
        first, second = order_for("a.example"), order_for("a.example")
        one = self.keep(first, self.chain(first))
        path = Path(self.store.certificate_path("a.example"))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        text = path.read_text()
        self.assertLess(text.index("PRIVATE KEY"), text.index("BEGIN CERTIFICATE"))
        self.assertEqual(os.listdir(path.parent), ["a.example.pem"])
        two = self.keep(second, self.chain(second))
        self.assertEqual(
            sorted(os.listdir(path.parent)), ["a.example.pem", "a.example.previous.pem"]
        )
        self.assertEqual((path.parent / "a.example.previous.pem").read_text(), text)
        found = self.store.certificate("a.example").credentials
        assert found is not None
        self.assertEqual(found.chain, two.chain)
        self.assertNotEqual(found.chain, one.chain)

    def test_of_another_site(self) -> None:
        """A site whose name is another one's and ``.previous`` has files of its own; whoever shows
        certificates looks for them there, too."""
        odd = order_for("a.example.previous")
        self.keep(odd, self.chain(odd))
        for _ in range(2):
            order = order_for("a.example")
            self.keep(order, self.chain(order))
        found = self.store.certificate("a.example.previous").credentials
        assert found is not None
        self.assertTrue(found.covers("a.example.previous"))
        shown = Ordered(str(self.folder / "certificates"))
        for site in ("a.example", "a.example.previous", "*.a.example", "*.example.previous"):
            self.assertEqual(shown.path(site), self.store.certificate_path(site))
        self.assertEqual(
            shown.previous("a.example"),
            str(self.folder / "certificates" / "a.example.previous.pem"),
        )

    def test_again(self) -> None:
        """To store the same again changes nothing: the one before it is not lost."""
        first, second = order_for("a.example"), order_for("a.example")
        self.keep(first, self.chain(first))
        chain = self.chain(second)
        self.keep(second, chain)
        before = (self.folder / "certificates" / "a.example.previous.pem").read_text()
        self.keep(second, chain)
        self.assertEqual(
            (self.folder / "certificates" / "a.example.previous.pem").read_text(), before
        )

    def test_not_what_was_ordered(self) -> None:
        """A certificate of another key, or not for all names, is refused, and the old one stays."""
        good = order_for("a.example")
        self.keep(good, self.chain(good))
        other = order_for("a.example", "www.a.example")
        for chain in (self.chain(good), self.chain(other, "a.example"), b"", b"<html>"):
            self.assertRaises(CertificateUnavailable, self.keep, other, chain)
        self.assertEqual(os.listdir(self.folder / "certificates"), ["a.example.pem"])

    def test_not_now(self) -> None:
        """One that has ended, or is not valid yet, is refused with what both clocks say; the old
        one stays."""
        good, order = order_for("a.example"), order_for("a.example")
        kept = self.keep(good, self.chain(good))
        now = kept.not_before
        failed = self.assertRaises(
            NotYet, self.store.keep_certificate, order, self.chain(order), now - 90
        )
        self.assertGreaterEqual(failed.seconds, 90)
        self.assertIn("not valid before", str(failed))
        ended = self.assertRaises(
            CertificateUnavailable,
            self.store.keep_certificate,
            order,
            self.chain(order),
            kept.not_after + 90,
        )
        self.assertNotIsInstance(ended, NotYet)
        self.assertIn("has ended", str(ended))
        self.assertEqual(os.listdir(self.folder / "certificates"), ["a.example.pem"])

    def test_nothing_else(self) -> None:
        """Of what an authority sends certificates alone are stored."""
        order = order_for("a.example")
        junk = b"<html>" + new_key().encode() + b"x" * 2_000_000 + b"\n"
        self.keep(order, junk + self.chain(order) + junk)
        text = Path(self.store.certificate_path("a.example")).read_text()
        self.assertEqual((text.count("PRIVATE KEY"), text.count("<html>")), (2, 0))
        self.assertIsNotNone(self.store.certificate("a.example").credentials)

    def test_disk(self) -> None:
        """A disk that takes nothing is said with the path."""
        order = order_for("a.example")
        (self.folder / "certificates").rmdir()
        with self.assertRaises(StoreFailed) as raised:
            self.keep(order, self.chain(order))
        self.assertIn("a.example.pem", str(raised.exception))

    def test_read_by_others(self) -> None:
        """A key that others can read is as good as none, and said."""
        order = order_for("a.example")
        self.keep(order, self.chain(order))
        path = self.store.certificate_path("a.example")
        os.chmod(path, 0o640)
        kept = self.store.certificate("a.example")
        self.assertIsNone(kept.credentials)
        self.assertIn(f"{path}: others could read this key", kept.fault)

    def test_damaged(self) -> None:
        """What cannot be read is said."""
        path = Path(self.store.certificate_path("a.example"))
        path.write_text("nothing")
        self.assertIn("no private key", self.store.certificate("a.example").fault)
        path.unlink()
        path.mkdir()
        self.assertIn("cannot be read", self.store.certificate("a.example").fault)


class OrderTests(StoreCase):
    def test_order(self) -> None:
        """An order in flight is found again, and forgotten when it has ended."""
        order = evolve(
            order_for("*.a.example"),
            step=Step.OPEN,
            url="https://ca.example/order/1",
            answers=(Answer("dns-01", "a.example", "token", "proof"),),
        )
        self.assertIsNone(self.store.order("*.a.example"))
        self.store.keep_order(order)
        self.assertEqual(self.store.order("*.a.example"), order)
        path = self.folder / "orders" / "_wildcard.a.example.json"
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.store.forget_order("*.a.example")
        self.store.forget_order("*.a.example")
        self.assertIsNone(self.store.order("*.a.example"))

    def test_damaged(self) -> None:
        """A file that is none, or another site's, is no order."""
        path = self.folder / "orders" / "a.example.json"
        path.write_text("{")
        self.assertIsNone(self.store.order("a.example"))
        self.store.keep_order(order_for("b.example"))
        (self.folder / "orders" / "b.example.json").rename(path)
        self.assertIsNone(self.store.order("a.example"))


class MemoryTests(StoreCase):
    def test_memory(self) -> None:
        """What is known of a site outlives a restart; what cannot be read is nothing known."""
        memory = Memory(
            2, 1e9, "x", "proof", True, "http-01", CA, "id", Window(1.0, 2.0), 3.0, True
        )
        self.assertEqual(self.store.memory("a.example"), Memory())
        self.store.remember("a.example", memory)
        self.assertEqual(self.store.memory("a.example"), memory)
        self.store.remember("a.example", evolve(memory, window=None))
        self.assertIsNone(self.store.memory("a.example").window)
        for text in ("", "[]", "{}", '{"window": 1}', '{"window": null, "what": 1}'):
            (self.folder / "sites" / "a.example.json").write_text(text)
            self.assertEqual(self.store.memory("a.example"), Memory())


class AccountTests(StoreCase):
    def test_account(self) -> None:
        """Each authority has its account; one that is damaged is not made anew, but said."""
        account = Account(CA, new_key(), "https://ca.example/1", "a@b.example")
        self.assertIsNone(self.store.account(CA))
        self.store.keep_account(account)
        self.assertEqual(self.store.account(CA), account)
        self.assertIsNone(self.store.account("https://ca.example:14000/other"))
        path = Path(self.store.account_path(CA))
        self.assertTrue(path.name.startswith("ca.example-14000-"))
        path.write_text("{")
        with self.assertRaises(StoreFailed) as raised:
            self.store.account(CA)
        self.assertIn("from a backup", str(raised.exception))

    def test_no_key_in_words(self) -> None:
        """What is printed of an account does not show its key."""
        self.assertNotIn("PRIVATE", repr(Account(CA, new_key())))


class LockTests(StoreCase):
    def test_lock(self) -> None:
        """One at a time has a site's lock; who has not got it is not made to wait."""
        lock = self.store.lock("a.example")
        assert lock is not None
        self.assertIsNone(Store(str(self.folder)).lock("a.example"))
        other = self.store.lock("b.example")
        assert other is not None
        lock.release()
        again = self.store.lock("a.example")
        assert again is not None
        again.release()
        other.release()


class KnownTests(StoreCase):
    def test_nothing(self) -> None:
        """Of a new site nothing is known, and nothing is wrong."""
        self.assertEqual(self.store.known("a.example"), (Known(), ""))

    def test_all(self) -> None:
        """All that is kept is known together."""
        order = order_for("a.example")
        made = self.keep(order, self.chain(order))
        self.store.keep_order(order)
        window = Window(1.0, 2.0)
        memory = Memory(identity=identity_of(made.chain[0]), window=window, challenge="http-01")
        self.store.remember("a.example", memory)
        self.assertEqual(self.store.known("a.example"), (Known(Held.of(made), memory, True), ""))

    def test_another(self) -> None:
        """The window of a certificate that somebody else has put there is not known."""
        order = order_for("a.example")
        self.keep(order, self.chain(order))
        self.store.remember(
            "a.example", Memory(identity="x.y", window=Window(1.0, 2.0), challenge="http-01")
        )
        known, _ = self.store.known("a.example")
        self.assertEqual(known.memory, Memory(challenge="http-01"))

    def test_damaged(self) -> None:
        """What is wrong with a file is said; what is remembered holds all the same."""
        Path(self.store.certificate_path("a.example")).write_text("nothing")
        self.store.remember("a.example", Memory(failures=3))
        known, fault = self.store.known("a.example")
        self.assertEqual(known, Known(None, Memory(failures=3)))
        self.assertIn("a.example.pem", fault)
