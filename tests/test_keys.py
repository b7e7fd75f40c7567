"""Keys, requests, and what names a certificate to its authority."""

from __future__ import annotations

import ssl
import time
import warnings

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.keys import identity_of, new_key, request_for
from tests.acme_fake import Authority
from tests.pairs import odd_pairs


class KeysTests(SynchronousTestCase):
    def test_request(self) -> None:
        """A request is for all names, by ECDSA P-256, and names nobody as its subject."""
        made = request_for(new_key(), ["a.example", "*.a.example"])
        key = made.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        self.assertEqual(key.curve.name, "secp256r1")
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertEqual(
            names.value.get_values_for_type(x509.DNSName), ["a.example", "*.a.example"]
        )
        self.assertEqual(list(made.subject), [])
        self.assertTrue(made.is_signature_valid)

    def test_fresh(self) -> None:
        """No key is made twice."""
        self.assertEqual(len({new_key() for _ in range(5)}), 5)

    def test_identity(self) -> None:
        """What a certificate is called has two parts, of its signer and of its number."""
        authority = Authority("https://ca.example/", time.time)
        request = request_for(new_key(), ["a.example"])
        pem = authority.sign(request.public_key(), ["a.example"])
        self.assertRegex(identity_of(x509.load_pem_x509_certificate(pem)), r"\A[\w-]{27}\.[\w-]+\Z")

    def test_no_identity(self) -> None:
        """A certificate that is not as it should be is called nothing."""
        for odd, (data, _) in odd_pairs().items():
            if "version" not in odd:
                self.assertEqual(identity_of(x509.load_pem_x509_certificate(data)), "", odd)

    def test_negative(self) -> None:
        """So is one with a number below nothing, which some authorities have given."""
        authority = Authority("https://ca.example/", time.time)
        pem = authority.sign(request_for(new_key(), ["a.example"]).public_key(), ["a.example"])
        der = ssl.PEM_cert_to_DER_cert(pem.decode())
        number = x509.load_pem_x509_certificate(pem).serial_number
        size = number.bit_length() // 8 + 1
        old = number.to_bytes(size, "big")
        certificate = x509.load_der_x509_certificate(der.replace(old, b"\x80" + old[1:]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.assertLess(certificate.serial_number, 0)
            self.assertEqual(identity_of(certificate), "")
