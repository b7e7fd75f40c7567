"""Tests for `snickers.tls.signing`."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto
from twisted.trial.unittest import SynchronousTestCase

from snickers.tls import signing
from snickers.tls.credentials import PrivateKey, read_certificates, read_key
from snickers.tls.signing import DAY, Root, new_pair, new_root
from tests.pairs import NOW, trusts


class RootTests(SynchronousTestCase):
    """The root, and the one that follows it."""

    def test_extensions(self) -> None:
        """It is an authority that may sign certificates, critically, and carries its key's mark."""
        found = new_root(None, NOW).certificate.extensions
        basic = found.get_extension_for_class(x509.BasicConstraints)
        usage = found.get_extension_for_class(x509.KeyUsage)
        self.assertTrue(basic.critical and basic.value.ca)
        self.assertTrue(usage.critical and usage.value.key_cert_sign)
        self.assertFalse(usage.value.digital_signature)
        found.get_extension_for_class(x509.SubjectKeyIdentifier)

    def test_ten_years(self) -> None:
        """It is valid for ten years, and was a week ago."""
        made = new_root(None, NOW).certificate
        self.assertEqual((made.not_valid_after_utc - made.not_valid_before_utc).days, 3650)
        self.assertEqual(made.not_valid_before_utc.timestamp(), NOW - 7 * DAY)

    def test_names_differ(self) -> None:
        """No two roots have one name: a client could not tell which of them has signed."""
        names = {new_root(None, NOW).certificate.subject for _ in range(8)}
        self.assertEqual(len(names), 8)

    def test_followed(self) -> None:
        """The next root is vouched for by the one before, no longer than that one is valid."""
        old = new_root(None, NOW)
        later = NOW + 3000 * DAY
        new = new_root(old, later)
        self.assertEqual(new.older, (old.certificate,))
        assert new.cross is not None
        new.cross.verify_directly_issued_by(old.certificate)
        self.assertEqual(signing.end_of(new.cross), signing.end_of(old.certificate))
        chain = new_pair(new, ("a.example",), later).chain
        for root in (old, new):
            self.assertTrue(trusts([root.certificate], chain, "a.example", later))

    def test_forerunners_end(self) -> None:
        """What is over when a root is made vouches for nothing and is not told of."""
        old = new_root(None, NOW)
        new = new_root(old, signing.end_of(old.certificate) + 1)
        self.assertEqual((new.cross, new.older), (None, ()))

    def test_cross_left_out(self) -> None:
        """A cross certificate that is over is in no chain."""
        old = new_root(None, NOW)
        new = new_root(old, NOW + 3000 * DAY)
        later = signing.end_of(old.certificate) + 1
        self.assertEqual(len(new_pair(new, ("a.example",), later).chain), 1)

    def test_text(self) -> None:
        """Its key and certificate are read again as they were written."""
        root = new_root(None, NOW)
        text = signing.key_pem(root.key) + signing.pem([root.certificate])
        self.assertEqual(read_certificates(text, ""), [root.certificate])
        self.assertEqual(signing.key_pem(read_key(text, "")), signing.key_pem(root.key))
        self.assertNotIn("key=", repr(root))


class PairTests(SynchronousTestCase):
    """Sites' certificates."""

    def setUp(self) -> None:
        self.root = new_root(None, NOW)

    def test_openssl_trusts(self) -> None:
        """OpenSSL with all its strictness accepts the chain."""
        chain = new_pair(self.root, ("a.example",), NOW).chain
        store = crypto.X509Store()
        store.set_flags(crypto.X509StoreFlags.X509_STRICT)
        store.set_time(signing.moment(NOW).replace(tzinfo=None))
        store.add_cert(crypto.X509.from_cryptography(self.root.certificate))
        leaf = crypto.X509.from_cryptography(chain[0])
        crypto.X509StoreContext(store, leaf).verify_certificate()

    def test_extensions(self) -> None:
        """It is for servers, is no authority, and names its hosts."""
        made = new_pair(self.root, ("a.example", "*.b.example"), NOW).chain[0]
        found = made.extensions
        purposes = found.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(purposes), [ExtendedKeyUsageOID.SERVER_AUTH])
        self.assertFalse(found.get_extension_for_class(x509.BasicConstraints).value.ca)
        hosts = found.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertEqual(
            hosts.value.get_values_for_type(x509.DNSName), ["a.example", "*.b.example"]
        )
        self.assertFalse(hosts.critical)
        self.assertEqual(signing.issuer_id(made), signing.key_id(self.root.certificate))

    def test_long_name(self) -> None:
        """A name too long for a common name is in the critical list of names alone."""
        name = ".".join(["a" * 50] * 4)
        made = new_pair(self.root, (name,), NOW).chain[0]
        self.assertEqual(list(made.subject), [])
        hosts = made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertTrue(hosts.critical)

    def test_life(self) -> None:
        """It was valid an hour ago, and is for 90 days; made anew when a third of that is left."""
        credentials = new_pair(self.root, ("a.example",), NOW)
        self.assertEqual((credentials.not_before, credentials.life), (NOW - 3600, 90 * DAY))
        self.assertEqual(signing.renew_at(credentials), NOW - 3600 + 60 * DAY)

    def test_not_beyond_its_root(self) -> None:
        """It does not outlive what it was signed with."""
        end = signing.end_of(self.root.certificate)
        self.assertEqual(new_pair(self.root, ("a.example",), end - DAY).not_after, end)

    def test_any_key(self) -> None:
        """A root from elsewhere signs with whatever key it has."""
        keys: list[PrivateKey] = [
            rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate(),
            ed448.Ed448PrivateKey.generate(),
            ec.generate_private_key(ec.SECP384R1()),
        ]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Mine")])
        for key in keys:
            certificate = signing.authority_certificate(
                subject, key, subject, key, b"mark", NOW, NOW + 1000 * DAY, 1
            )
            made = new_pair(Root(key, certificate, None, ()), ("a.example",), NOW).chain[0]
            made.verify_directly_issued_by(certificate)
