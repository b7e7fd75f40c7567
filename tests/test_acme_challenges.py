"""The answers to an authority's challenges, as files."""

from __future__ import annotations

import ssl
import time
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.challenges import (
    ACME_IDENTIFIER,
    OLD,
    Challenges,
    ProofFailed,
    proving_certificate,
    record,
)
from snickers.acme.order import Answer
from snickers.acme.store import StoreFailed

HTTP = Answer("http-01", "a.example", "the_token-1", "the_token-1.thumb")
TLS = Answer("tls-alpn-01", "a.example", "the_token-1", "the_token-1.thumb")
DNS = Answer("dns-01", "a.example", "the_token-1", "the_token-1.thumb")


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute() / "challenges"
        self.challenges = Challenges(str(self.folder))

    def files(self) -> list[str]:
        """What there is."""
        return sorted(
            str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()
        )

    def test_http(self) -> None:
        """http-01: the key authorization in a file of the token's name, until it is taken away."""
        self.challenges.put(HTTP, time.time())
        path = self.folder / "http-01" / "the_token-1"
        self.assertEqual(path.read_bytes(), b"the_token-1.thumb")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.challenges.take_away(HTTP)
        self.challenges.take_away(HTTP)
        self.assertEqual(self.files(), [])

    def test_tls(self) -> None:
        """tls-alpn-01: a key with its certificate in a file of the host's name."""
        self.challenges.put(TLS, time.time())
        path = self.folder / "tls-alpn-01" / "a.example.pem"
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
        self.challenges.take_away(TLS)
        self.assertEqual(self.files(), [])

    def test_sweep(self) -> None:
        """What killed processes have left is removed after days, and what is in use is not."""
        self.challenges.sweep(time.time())
        self.challenges.put(HTTP, time.time())
        self.challenges.put(TLS, time.time())
        self.challenges.sweep(time.time() + OLD - 60)
        self.assertEqual(len(self.files()), 2)
        self.challenges.sweep(time.time() + OLD + 60)
        self.assertEqual(self.files(), [])

    @given(st.text(max_size=200))
    def test_tokens(self, token: str) -> None:
        """A token that is none is never a path."""
        answer = Answer("http-01", "a.example", token, "x")
        try:
            path = Challenges("/folder").path(answer)
        except ProofFailed:
            return
        self.assertEqual(path, f"/folder/http-01/{token}")
        self.assertRegex(token, r"\A[A-Za-z0-9_-]{1,128}\Z")

    def test_disk(self) -> None:
        """A disk that takes nothing is said."""
        self.folder.parent.mkdir(parents=True)
        self.folder.write_text("a file in the way")
        self.assertRaises(StoreFailed, self.challenges.put, HTTP, time.time())
        self.challenges.take_away(HTTP)


class CertificateTests(SynchronousTestCase):
    def test_form(self) -> None:
        """The certificate is as RFC 8737 section 3 wants it: for the name alone, with the digest of
        the key authorization in a critical extension, and in time."""
        now = 1_800_000_000.0
        data = proving_certificate("a.example", "proof", now)
        made = x509.load_pem_x509_certificate(data)
        key = serialization.load_pem_private_key(data, None)
        self.assertEqual(made.public_key(), key.public_key())
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertEqual(names.value.get_values_for_type(x509.DNSName), ["a.example"])
        extension = made.extensions.get_extension_for_oid(ACME_IDENTIFIER)
        self.assertTrue(extension.critical)
        self.assertEqual(extension.value.value, b"\x04\x20" + sha256(b"proof").digest())
        self.assertTrue(made.not_valid_before_utc.timestamp() < now)
        self.assertTrue(made.not_valid_after_utc.timestamp() > now + 86400)
        made.verify_directly_issued_by(made)


class DnsTests(SynchronousTestCase):
    def test_record(self) -> None:
        """The record's name and value are as RFC 8555 section 8.4 has them."""
        name, value = record(DNS)
        self.assertEqual(name, "_acme-challenge.a.example")
        self.assertEqual((len(value), "=" in value), (43, False))

    def test_hook(self) -> None:
        """What writes into the DNS is told to add, and to remove."""
        told: list[tuple[str, str, str]] = []
        challenges = Challenges("/folder", lambda *said: told.append(said))
        challenges.put(DNS, 0.0)
        challenges.take_away(DNS)
        self.assertEqual(told, [("add", *record(DNS)), ("remove", *record(DNS))])

    def test_failing(self) -> None:
        """Its words are handed on; without it, it is said what would be right."""

        def broken(what: str, name: str, value: str) -> None:
            raise RuntimeError("no such zone")

        with self.assertRaises(ProofFailed) as raised:
            Challenges("/folder", broken).put(DNS, 0.0)
        self.assertEqual(str(raised.exception), "acme dns hook: no such zone")
        with self.assertRaises(ProofFailed) as raised:
            Challenges("/folder").put(DNS, 0.0)
        self.assertIn("acme dns hook = PROGRAM", str(raised.exception))
