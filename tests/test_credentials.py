"""Tests for snickers.tls.credentials."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.tls.credentials import (
    CertificateUnavailable,
    check,
    join,
    read_certificates,
    read_key,
    spoken,
)
from tests.pairs import DAY, NOW, make_pair, odd_pairs


def held(*names, **options):
    pair = make_pair(*names, **options)
    return join(pair.key, [pair.certificate], "cert.pem")


def key_pem(key, password=None):
    how = serialization.NoEncryption()
    if password:
        how = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


class ReadTests(SynchronousTestCase):
    def test_keys(self):
        """Keys of the usual kinds are read, with other text around them."""
        for key in (
            ec.generate_private_key(ec.SECP256R1()),
            rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate(),
        ):
            found = read_key(b"a note\n" + key_pem(key) + make_pair("a.example").pem, "key.pem")
            self.assertEqual(key_pem(found), key_pem(key))

    def test_key_of_another_kind(self):
        """A key that signs nothing is refused in words."""
        data = key_pem(x25519.X25519PrivateKey.generate())
        error = self.assertRaises(CertificateUnavailable, read_key, data, "key.pem")
        self.assertIn("cannot be used for TLS", str(error))

    def test_locked_key(self):
        """A key behind a passphrase is refused in words."""
        data = key_pem(ec.generate_private_key(ec.SECP256R1()), b"secret")
        error = self.assertRaises(CertificateUnavailable, read_key, data, "key.pem")
        self.assertIn("passphrase", str(error))

    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
    @example(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    @example(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    @example(b"")
    def test_anything(self, data):
        """Whatever is in a file, it is refused in words that name the file, and in no other way."""
        for read in (read_key, read_certificates):
            error = self.assertRaises(CertificateUnavailable, read, data, "x.pem")
            self.assertTrue(str(error).startswith("x.pem: "))

    def test_odd(self):
        """A certificate that is not as it should be is refused in words, and in no other way."""
        for odd, (data, key) in odd_pairs().items():
            try:
                join(read_key(key, "x.pem"), read_certificates(data, "x.pem"), "x.pem")
            except CertificateUnavailable as error:
                self.assertTrue(str(error).startswith("x.pem: "), odd)
            else:
                self.fail(odd)

    def test_cut_anywhere(self):
        """A file that was cut short is refused in words, wherever it was cut."""
        pair = make_pair("a.example")
        for whole, read in ((pair.key_pem, read_key), (pair.pem, read_certificates)):
            for length in range(0, len(whole) - 30, 7):
                self.assertRaises(CertificateUnavailable, read, whole[:length], "x.pem")


class JoinTests(SynchronousTestCase):
    def test_order(self):
        """The key's own certificate is first, wherever it stood; roots and doubles are left out."""
        root = make_pair(common="root")
        middle = make_pair(common="middle", issuer=root)
        leaf = make_pair("a.example", common="leaf", issuer=middle)
        certificates = [root.certificate, middle.certificate, leaf.certificate, middle.certificate]
        found = join(leaf.key, certificates, "cert.pem")
        self.assertEqual(found.chain, (leaf.certificate, middle.certificate))

    def test_facts(self):
        """Names and times are those of the certificate."""
        found = held("A.example", "*.b.example", begin=NOW, end=NOW + 10 * DAY)
        self.assertEqual(found.names, ("a.example", "*.b.example"))
        self.assertEqual((found.not_before, found.life), (NOW, 10 * DAY))

    def test_warned(self):
        """The owner hears at a fifth of its life, or 14 days before its end: the later one."""
        for life, left in ((365, 14), (90, 14), (45, 9), (6, 1.2)):
            found = held("a.example", begin=NOW, end=NOW + life * DAY)
            self.assertAlmostEqual((found.not_after - found.warn_at) / DAY, left)

    def test_strangers(self):
        """A key without its certificate is refused."""
        one, other = make_pair("a.example"), make_pair("a.example")
        self.assertRaises(CertificateUnavailable, join, one.key, [other.certificate], "cert.pem")

    def test_secret(self):
        """The key is not shown where the value is."""
        self.assertNotIn("key", repr(held("a.example")))


class CoverTests(SynchronousTestCase):
    def test_names(self):
        """RFC 9525: a wildcard is one whole left-most label, and nothing more."""
        found = held("a.example", "*.b.example", "x*.c.example")
        for name in ("a.example", "q.b.example", "*.b.example"):
            self.assertTrue(found.covers(name), name)
        for name in ("example", "b.example", "q.r.b.example", "q.a.example", "x1.c.example", ""):
            self.assertFalse(found.covers(name), name)

    def test_single_host_for_wildcard(self):
        """A certificate for one host is not one for all."""
        self.assertFalse(held("a.b.example").covers("*.b.example"))

    def test_common_name(self):
        """The common name counts for nothing."""
        self.assertFalse(held(common="a.example").covers("a.example"))


class CheckTests(SynchronousTestCase):
    def test_times(self):
        """It is good from its first second to the one before its last."""
        found = held("a.example", begin=NOW, end=NOW + DAY)
        check(found, "a.example", NOW, "cert.pem")
        check(found, "a.example", NOW + DAY - 1, "cert.pem")
        for now, words in ((NOW - 1, "not valid before"), (NOW + DAY, "expired at")):
            error = self.assertRaises(
                CertificateUnavailable, check, found, "a.example", now, "cert.pem"
            )
            self.assertIn(words, str(error))

    def test_no_names(self):
        """One without names is for no host at all."""
        error = self.assertRaises(
            CertificateUnavailable, check, held(), "a.example", NOW, "cert.pem"
        )
        self.assertIn("no host at all", str(error))

    def test_spoken(self):
        """Moments are said in UTC, and impossible ones do no harm."""
        self.assertEqual(spoken(0), "1970-01-01 00:00 UTC")
        self.assertEqual(spoken(1e300), "an impossible time")
