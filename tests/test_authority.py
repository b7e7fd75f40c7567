"""Tests for snickers.tls.authority."""

from __future__ import annotations

import errno
import os
import stat
import threading
from datetime import UTC, datetime
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.trial.unittest import TestCase

from snickers.tls import authority as module
from snickers.tls.authority import ROOT_RENEW, Authority, folder_name
from snickers.tls.credentials import CertificateUnavailable
from snickers.tls.signing import DAY, authority_certificate, key_pem
from snickers.tls.signing import pem as pem_of
from tests.pairs import NOW, Pair, make_pair, put, shake_hands, trusts


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def pem(path):
    with open(path, "rb") as file:
        return file.read()


class RootTests(TestCase):
    """The root of the internal authority."""

    def setUp(self):
        self.folder = os.path.join(self.mktemp(), "state", "internal")
        self.authority = Authority(self.folder)

    def test_made_on_first_use(self):
        """The first use makes the folder, the key and the certificate, open to the owner alone."""
        root = self.authority.root(NOW)
        self.assertEqual(mode(self.folder), 0o700)
        self.assertEqual(mode(os.path.join(self.folder, "ca-key.pem")), 0o600)
        [published] = x509.load_pem_x509_certificates(pem(self.authority.trust))
        self.assertEqual(published, root.certificate)

    def test_kept(self):
        """A second use, by another process too, has the same root."""
        first = self.authority.root(NOW).certificate
        self.assertEqual(Authority(self.folder).root(NOW + 1000 * DAY).certificate, first)

    def test_followed(self):
        """Near its end a new one takes over; both are published until the old one's end."""
        old = self.authority.root(NOW).certificate
        later = old.not_valid_after_utc.timestamp() - ROOT_RENEW + 1
        new = self.authority.root(later).certificate
        self.assertNotEqual(new, old)
        self.assertNotEqual(new.subject, old.subject)
        published = x509.load_pem_x509_certificates(pem(self.authority.trust))
        self.assertEqual(published, [new, old])
        self.assertEqual(Authority(self.folder).root(later + 5).certificate, new)
        self.authority.root(later + ROOT_RENEW + 1)
        self.assertEqual(x509.load_pem_x509_certificates(pem(self.authority.trust)), [new])

    def test_clients_of_the_old(self):
        """After a root was followed, clients that know only one of the two trust new sites."""
        old = self.authority.root(NOW).certificate
        later = old.not_valid_after_utc.timestamp() - ROOT_RENEW + 1
        chain = self.authority.issue(("a.example",), later).credentials.chain
        new = self.authority.root(later).certificate
        self.assertTrue(trusts([old], chain, "a.example", later))
        self.assertTrue(trusts([new], chain, "a.example", later))

    def test_readable_key(self):
        """A root key that others can read is refused, with the command that mends it."""
        self.authority.root(NOW)
        path = os.path.join(self.folder, "ca-key.pem")
        os.chmod(path, 0o644)
        error = self.assertRaises(CertificateUnavailable, self.authority.root, NOW)
        self.assertIn(f"chmod 600 {path}", str(error))

    def test_garbage_is_kept(self):
        """A root that cannot be read is told of and never replaced: clients trust it."""
        self.authority.root(NOW)
        path = os.path.join(self.folder, "ca-key.pem")
        for content in (
            b"",
            b"garbage\n",
            pem(path)[:150],
            pem(path).partition(b"-----BEGIN C")[0],
        ):
            with open(path, "wb") as file:
                file.write(content)
            error = self.assertRaises(CertificateUnavailable, self.authority.root, NOW)
            self.assertIn("backup", str(error))
            self.assertEqual(pem(path), content)

    def test_brought_along(self):
        """A root from elsewhere, whatever its key, is used: it is put in ca-key.pem."""
        for key in (
            rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate(),
            ec.generate_private_key(ec.SECP384R1()),
        ):
            folder = self.mktemp()
            os.mkdir(folder, 0o700)
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Mine")])
            times = NOW, NOW + 1000 * DAY
            root = authority_certificate(subject, key, subject, key, b"mark", *times, 1)
            path = os.path.join(folder, "ca-key.pem")
            module.replace(path, pem_of([root]) + key_pem(key), 0o600)
            chain = Authority(folder).issue(("a.example",), NOW).credentials.chain
            self.assertEqual(chain[0].issuer, subject)
            chain[0].verify_directly_issued_by(root)
            again = Authority(folder).issue(("a.example",), NOW).credentials.chain
            self.assertEqual(again, chain)

    def test_clock_of_the_past(self):
        """A clock before the root's time keeps the root, and says so."""
        first = self.authority.root(NOW).certificate
        issued = self.authority.issue(("a.example",), NOW - 30 * DAY)
        self.assertIn("clock", issued.fault)
        self.assertEqual(self.authority.root(NOW).certificate, first)

    def test_publication_mended(self):
        """A published root that was lost, as by a crash before it was written, is written again."""
        self.authority.root(NOW)
        before = pem(self.authority.trust)
        os.unlink(self.authority.trust)
        self.authority.root(NOW)
        self.assertEqual(pem(self.authority.trust), before)


class SiteTests(TestCase):
    """The sites' certificates."""

    def setUp(self):
        self.folder = self.mktemp()
        self.authority = Authority(self.folder)

    def test_trusted(self):
        """A strict client that knows the root accepts it for every name, and for no other."""
        names = ("a.example", "www.a.example", "*.b.example")
        chain = self.authority.issue(names, NOW).credentials.chain
        roots = x509.load_pem_x509_certificates(pem(self.authority.trust))
        for name in ("a.example", "www.a.example", "x.b.example"):
            self.assertTrue(trusts(roots, chain, name), name)
        for name in ("b.example", "x.a.example", "x.y.b.example"):
            self.assertFalse(trusts(roots, chain, name), name)

    def test_handshake(self):
        """A client that trusts ca.pem completes a handshake and finds the name it asked for."""
        now = datetime.now(UTC).timestamp()
        credentials = self.authority.issue(("a.example",), now).credentials
        server_context = SSL.Context(SSL.TLS_SERVER_METHOD)
        server_context.use_certificate(credentials.chain[0])
        server_context.use_privatekey(credentials.key)
        client_context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client_context.load_verify_locations(self.authority.trust)
        client_context.set_verify(SSL.VERIFY_PEER)
        client, _ = shake_hands(server_context, client_context)
        self.assertEqual(client.get_peer_certificate(as_cryptography=True), credentials.chain[0])

    def test_foreign_pair(self):
        """A pair that somebody else put in the place is made anew."""
        pair = make_pair("a.example")
        folder = os.path.dirname(self.authority.path("a.example"))
        put(folder, Pair(pair.certificate, pair.key))
        with open(self.authority.path("a.example"), "ab") as file:
            file.write(pair.pem)
        found = self.authority.issue(("a.example",), NOW).credentials
        self.assertNotEqual(found.chain[0], pair.certificate)

    def test_files(self):
        """The key is open to its owner alone; the copy beside it holds the chain."""
        credentials = self.authority.issue(("a.example",), NOW).credentials
        folder = os.path.join(self.folder, "sites", "a.example")
        self.assertEqual(mode(os.path.join(folder, "key.pem")), 0o600)
        self.assertEqual(
            tuple(x509.load_pem_x509_certificates(pem(os.path.join(folder, "cert.pem")))),
            credentials.chain,
        )

    def test_kept(self):
        """It is the same one, across processes, until a third of its life is left."""
        first = self.authority.issue(("a.example",), NOW)
        again = Authority(self.folder).issue(("a.example",), first.renew_at - 1)
        self.assertEqual(again.credentials.chain, first.credentials.chain)
        renewed = self.authority.issue(("a.example",), first.renew_at)
        self.assertNotEqual(renewed.credentials.chain, first.credentials.chain)
        self.assertEqual(first.renew_at, first.credentials.not_after - first.credentials.life / 3)

    def test_names_changed(self):
        """Other names make it anew; the same names in another order do not."""
        first = self.authority.issue(("a.example", "b.example", "c.example"), NOW).credentials
        same = self.authority.issue(("a.example", "c.example", "b.example"), NOW).credentials
        self.assertEqual(same.chain, first.chain)
        fewer = self.authority.issue(("a.example", "b.example"), NOW).credentials
        self.assertEqual(fewer.names, ("a.example", "b.example"))

    def test_foreign_root(self):
        """A certificate of a root that was taken away is made anew."""
        first = self.authority.issue(("a.example",), NOW).credentials
        os.unlink(os.path.join(self.folder, "ca-key.pem"))
        again = self.authority.issue(("a.example",), NOW).credentials
        self.assertNotEqual(again.chain, first.chain)

    def test_clock_set_back(self):
        """One that is not valid yet by this host's clock is made anew."""
        first = self.authority.issue(("a.example",), NOW).credentials
        again = self.authority.issue(("a.example",), NOW - DAY).credentials
        self.assertNotEqual(again.chain, first.chain)
        self.assertLessEqual(again.not_before, NOW - DAY)

    def test_damaged_or_exposed(self):
        """A pair that is damaged, or whose key others could read, is made anew."""
        path = self.authority.path("a.example")
        first = self.authority.issue(("a.example",), NOW).credentials
        os.chmod(path, 0o640)
        second = self.authority.issue(("a.example",), NOW).credentials
        self.assertNotEqual(second.chain, first.chain)
        with open(path, "r+b") as file:
            file.truncate(100)
        third = self.authority.issue(("a.example",), NOW).credentials
        self.assertNotEqual(third.chain, second.chain)
        self.assertEqual(mode(path), 0o600)

    def test_wildcard_folder(self):
        """A wildcard's folder has no star, which a shell would take for its own."""
        self.assertEqual(folder_name("*.x.example"), "_.x.example")
        self.authority.issue(("*.x.example",), NOW)
        self.assertEqual(os.listdir(os.path.join(self.folder, "sites")), ["_.x.example"])


class FaultTests(TestCase):
    """A disk that is full, a folder that cannot be written, a crash, a rival."""

    def setUp(self):
        self.folder = self.mktemp()
        self.authority = Authority(self.folder)

    def full(self, *, path=None):
        """Have every file that is written from now on fail (those named *path* alone)."""
        original = module.replace

        def replace(where, data, mode):
            if path is None or where.endswith(path):
                raise OSError(errno.ENOSPC, "No space left on device", where)
            original(where, data, mode)

        self.patch(module, "replace", replace)

    def test_old_stays(self):
        """When it cannot be renewed the old one stays in use, with the fault in words."""
        first = self.authority.issue(("a.example",), NOW)
        self.full()
        issued = self.authority.issue(("a.example",), first.renew_at)
        self.assertEqual(issued.credentials.chain, first.credentials.chain)
        self.assertIn("No space left on device", issued.fault)
        self.assertIn(self.authority.path("a.example"), issued.fault)
        self.assertLessEqual(issued.renew_at, first.renew_at)

    def test_old_ends(self):
        """One that has expired is not used, however full the disk is."""
        first = self.authority.issue(("a.example",), NOW)
        self.full()
        end = first.credentials.not_after
        self.assertRaises(CertificateUnavailable, self.authority.issue, ("a.example",), end)

    def test_first_time(self):
        """With none to fall back to it fails in words."""
        self.full()
        error = self.assertRaises(CertificateUnavailable, self.authority.issue, ("a.example",), NOW)
        self.assertIn("No space left on device", str(error))

    def test_root_of_a_full_disk(self):
        """A root that cannot be followed by a new one goes on signing until its end."""
        old = self.authority.root(NOW).certificate
        self.full(path="ca-key.pem")
        end = old.not_valid_after_utc.timestamp()
        issued = self.authority.issue(("a.example",), end - 2 * DAY)
        self.assertIn("No space left", issued.fault)
        self.assertLessEqual(issued.credentials.not_after, end)
        self.assertTrue(trusts([old], issued.credentials.chain, "a.example", end - 2 * DAY))

    def test_copies_do_not_matter(self):
        """A copy for people that cannot be written harms no certificate."""
        self.authority.root(NOW)
        self.full(path="cert.pem")
        self.assertEqual(self.authority.issue(("a.example",), NOW).fault, "")

    def test_crash(self):
        """A crash at any rename leaves the old pair whole, or the new one."""
        first = self.authority.issue(("a.example",), NOW)
        path = self.authority.path("a.example")
        before = pem(path)
        for call in ("rename", "fsync"):
            with mock.patch(f"os.{call}", side_effect=KeyboardInterrupt):
                self.assertRaises(
                    KeyboardInterrupt, self.authority.issue, ("a.example",), first.renew_at
                )
            self.assertEqual(pem(path), before)
        with open(f"{path}.new", "wb") as file:
            file.write(before[:100])  # what a kill in the middle of writing leaves
        renewed = self.authority.issue(("a.example",), first.renew_at)
        self.assertEqual(renewed.fault, "")
        self.assertFalse(os.path.exists(f"{path}.new"))

    def test_rivals(self):
        """Several at the same time all have what the first one made."""
        made = []
        barrier = threading.Barrier(4)

        def run():
            barrier.wait()
            made.append(Authority(self.folder).issue(("a.example",), NOW).credentials.chain)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(made), 4)
        self.assertEqual(len(set(made)), 1)
