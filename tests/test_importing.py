"""Tests for snickers.tls.importing."""

from __future__ import annotations

import os
import ssl
import stat
from typing import Any

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from snickers.control.placing import place
from snickers.interfaces.certificates import CertifyingFailed, Submitted, TakenIn
from snickers.tls import importing
from snickers.tls.folders import Folders
from snickers.tls.importing import folder_of, take_in, to_cover, trusted_roots
from tests.pairs import NOW, Pair, make_pair, put

ROOT = make_pair(common="A root")
MIDDLE = make_pair(common="A middle", issuer=ROOT)


class Killed(BaseException):
    """The process ends here."""


def new(*names: str) -> Pair:
    return make_pair(*names, issuer=MIDDLE)


class ImportingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = os.path.join(os.path.abspath(self.mktemp()), "certificates")
        # That it is called where it must be is the disk module's business; here it only costs.
        self.patch(os, "fsync", lambda descriptor: None)

    def take_in(
        self, pair: Pair, host: str = "a.example", names: tuple[str, ...] = ("a.example",)
    ) -> TakenIn:
        submitted = Submitted(pair.pem, pair.key_pem, MIDDLE.pem, ("cert", "key", "chain"))
        return take_in(
            self.directory,
            names[0],
            names,
            host,
            submitted,
            NOW,
            lambda context: None,
            lambda name: [ROOT.certificate] if name == ROOT.certificate.subject else [],
        )

    def there(self, name: str = "a.example") -> list[Any]:
        """Return the chain that sites with ``certificates = files`` would show for *name*."""
        folders = Folders(self.directory)
        place = folders.find("a.example", name)
        return list(folders.load(place, "a.example", name, NOW).chain)

    def test_first(self) -> None:
        """It is put where it is looked for, with its chain, the key its owner's alone."""
        pair = new("a.example")
        taken = self.take_in(pair)
        folder = os.path.join(self.directory, "a.example")
        self.assertEqual(
            (taken.problems, taken.notes, taken.folder, taken.names, taken.issuer),
            ((), (), folder, ("a.example",), "A middle"),
        )
        self.assertEqual(self.there(), [pair.certificate, MIDDLE.certificate])
        modes = {
            name: stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode)
            for name in os.listdir(folder)
        }
        self.assertEqual(modes, {"cert.pem": 0o644, "key.pem": 0o600})

    def test_not_fit(self) -> None:
        """What is not fit touches nothing, not even a folder."""
        taken = self.take_in(new("b.example"))
        self.assertEqual(len(taken.problems), 1)
        self.assertEqual(taken.folder, "")
        self.assertFalse(os.path.exists(self.directory))

    def test_not_taken_by_openssl(self) -> None:
        """Nor does what OpenSSL would not take."""

        def refuse(*arguments: Any) -> None:
            raise importing.CertificateUnavailable("OpenSSL does not take it")

        self.patch(importing, "make_context", refuse)
        self.assertEqual(self.take_in(new("a.example")).problems, ("OpenSSL does not take it",))
        self.assertFalse(os.path.exists(self.directory))

    def test_before(self) -> None:
        """What was there before is kept, its chain with it, readable by its owner alone."""
        folder = os.path.join(self.directory, "a.example")
        old, lower = make_pair("a.example", issuer=MIDDLE), make_pair(common="else", issuer=ROOT)
        put(folder, old)
        with open(os.path.join(folder, "ca.pem"), "wb") as file:
            file.write(MIDDLE.pem + lower.pem)
        pair = new("a.example")
        (note,) = self.take_in(pair).notes
        previous = os.path.join(folder, "previous.pem")
        self.assertIn(previous, note)
        with open(previous, "rb") as file:
            self.assertEqual(file.read(), old.key_pem + old.pem + MIDDLE.pem + lower.pem)
        self.assertEqual(stat.S_IMODE(os.stat(previous).st_mode), 0o600)
        self.assertFalse(os.path.exists(os.path.join(folder, "ca.pem")))
        self.assertEqual(self.there(), [pair.certificate, MIDDLE.certificate])

    def test_again(self) -> None:
        """The same again is nothing new, and what was before stays what was before."""
        pair = new("a.example")
        self.take_in(new("a.example"))
        self.take_in(pair)
        with open(os.path.join(self.directory, "a.example", "previous.pem"), "rb") as file:
            before = file.read()
        self.assertEqual(self.take_in(pair).notes, ())
        with open(os.path.join(self.directory, "a.example", "previous.pem"), "rb") as file:
            self.assertEqual(file.read(), before)

    def test_broken_before(self) -> None:
        """What was there and could not be used is no reason to keep it."""
        put(
            os.path.join(self.directory, "a.example"), Pair(new("a.example").certificate, new().key)
        )
        pair = new("a.example")
        self.assertEqual(self.take_in(pair).notes, ())
        self.assertEqual(self.there()[0], pair.certificate)

    def test_killed(self) -> None:
        """Killed at any step, the folder has a pair that can be shown: of before, or the new one;
        done again, it is the new one."""
        old, pair = new("a.example"), new("a.example")
        for step in range(24):
            self.setUp()
            self.take_in(old)
            with open(os.path.join(self.directory, "a.example", "ca.pem"), "wb") as file:
                file.write(MIDDLE.pem)
            steps = iter(range(24))

            def dies(call: Any, at: int = step, steps: Any = steps) -> Any:
                def called(*arguments: Any) -> Any:
                    if next(steps) == at:
                        raise Killed
                    return call(*arguments)

                return called

            patches = [
                self.patch(os, name, dies(getattr(os, name)))
                for name in ("rename", "unlink", "fsync")
            ]
            try:
                self.take_in(pair)
                done = True
            except Killed:
                done = False
            for patch in patches:
                patch.restore()
            self.assertIn(self.there()[0], [old.certificate, pair.certificate])
            self.take_in(pair)
            self.assertEqual(self.there()[0], pair.certificate)
        self.assertTrue(done)

    def test_cannot_be_written(self) -> None:
        """What cannot be written says which file, why, and what else can be done."""

        def full(path: str, data: bytes, mode: int) -> None:
            raise OSError(28, "No space left on device", path)

        self.patch(importing, "replace", full)
        problem = self.assertRaises(CertifyingFailed, self.take_in, new("a.example"))
        for words in ("key.pem", "No space left on device"):
            self.assertIn(words, str(problem))

    def test_may_not_be_written(self) -> None:
        """What Snickers may not write comes back, step by step, for who may."""
        old, pair = new("a.example"), new("a.example")
        self.take_in(old)
        chain = os.path.join(self.directory, "a.example", "ca.pem")
        with open(chain, "wb") as file:
            file.write(MIDDLE.pem)

        def forbidden(path: str, data: bytes, mode: int) -> None:
            raise OSError(30, "Read-only file system", path)

        patch = self.patch(importing, "replace", forbidden)
        taken = self.take_in(pair)
        patch.restore()
        self.assertIn("Read-only file system", taken.obstacle)
        self.assertEqual(self.there()[0], old.certificate)
        new_chain = (pair.pem + MIDDLE.pem).decode()
        old_chain = (old.pem + MIDDLE.pem).decode()
        self.assertEqual(
            taken.undone,
            (
                ("previous.pem", old.key_pem.decode() + old_chain, True),
                ("cert.pem", new_chain + old_chain, False),
                ("key.pem", pair.key_pem.decode(), True),
                ("cert.pem", new_chain, False),
                ("ca.pem", None, False),
            ),
        )
        self.assertNotIn("PRIVATE", repr(taken))
        place(self.directory, taken.folder, taken.undone, os.getegid())
        self.assertEqual(self.there(), [pair.certificate, MIDDLE.certificate])
        self.assertFalse(os.path.exists(chain))

    def test_whose(self) -> None:
        """The site's certificate is for all its names that have no folder of their own; another
        name's is for that one."""
        names = ("a.example", "b.example")
        self.assertEqual(to_cover(self.directory, "a.example", names, "a.example"), list(names))
        self.assertEqual(to_cover(self.directory, "a.example", names, "b.example"), ["b.example"])
        self.assertIn("not for b.example", self.take_in(new("a.example"), names=names).problems[0])
        other = new("b.example")
        self.assertEqual(self.take_in(other, "b.example", names).problems, ())
        self.assertEqual(self.take_in(new("a.example"), names=names).problems, ())
        self.assertEqual(self.there("b.example")[0], other.certificate)

    def test_wildcard(self) -> None:
        """A wildcard's folder is spelled as it is there, or in the way that shells leave alone."""
        self.assertEqual(folder_of("/c", "*.x.example"), "/c/_.x.example")
        os.makedirs(os.path.join(self.directory, "*.x.example"))
        self.assertEqual(
            folder_of(self.directory, "*.x.example"), os.path.join(self.directory, "*.x.example")
        )

    def test_trusted_roots(self) -> None:
        """The roots of this host are found by their names; whoever is no root is not."""
        known = ssl.create_default_context().get_ca_certs(binary_form=True)
        for data in known[:1]:
            root = x509.load_der_x509_certificate(data)
            self.assertIn(root, trusted_roots(root.subject))
        self.assertEqual(trusted_roots(ROOT.certificate.subject), [])
