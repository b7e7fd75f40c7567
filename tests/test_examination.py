"""Tests for snickers.tls.examination."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.interfaces.certificates import Submitted
from snickers.tls.examination import Examined, examine
from tests.pairs import DAY, NOW, Pair, make_pair, odd_pairs

ROOT = make_pair(common="A root")
MIDDLE = make_pair(common="A middle", issuer=ROOT)
LOWER = make_pair(common="A lower one", issuer=MIDDLE)
LEAF = make_pair("a.example", issuer=LOWER, common="leaf")

Extension = tuple[x509.ExtensionType, bool]


def with_extension(extension: x509.ExtensionType, issuer: Pair = ROOT) -> Pair:
    """Return a pair for ``a.example`` with another extension."""
    key = ec.generate_private_key(ec.SECP256R1())
    plain = make_pair("a.example", key=key, issuer=issuer).certificate
    builder = x509.CertificateBuilder(
        plain.issuer,
        plain.subject,
        key.public_key(),
        plain.serial_number,
        plain.not_valid_before_utc,
        plain.not_valid_after_utc,
    )
    for found in plain.extensions:
        builder = builder.add_extension(found.value, found.critical)
    return Pair(builder.add_extension(extension, False).sign(issuer.key, hashes.SHA256()), key)


class ExaminationTests(SynchronousTestCase):
    def examine(
        self,
        certificate: bytes = LEAF.pem + LOWER.pem + MIDDLE.pem,
        key: bytes = LEAF.key_pem,
        chain: bytes = b"",
        names: tuple[str, ...] = ("a.example",),
        roots: Any = (ROOT,),
        now: float = NOW,
    ) -> Examined:
        submitted = Submitted(certificate, key, chain, ("cert", "key", "chain"))
        found = [root.certificate for root in roots]
        return examine(
            submitted, names, now, lambda name: [root for root in found if root.subject == name]
        )

    def good(self, *notes: str, **submitted: Any) -> list[Any]:
        """What is submitted is fit, with such *notes*; return the chain."""
        found = self.examine(**submitted)
        self.assertEqual(found.problems, ())
        self.assertEqual(len(found.notes), len(notes), found.notes)
        for note, said in zip(notes, found.notes, strict=True):
            self.assertIn(note, said)
        self.assertIsNotNone(found.credentials)
        return list(found.credentials.chain)

    def bad(self, *words: str, **submitted: Any) -> None:
        """It is not, for one reason, in these *words*."""
        found = self.examine(**submitted)
        self.assertIsNone(found.credentials)
        (problem,) = found.problems
        for word in words:
            self.assertIn(word, problem)

    WHOLE = [pair.certificate for pair in (LEAF, LOWER, MIDDLE)]

    def test_odd(self) -> None:
        """A certificate that is not as it should be is said, also where it is one of the chain."""
        for odd, (data, key) in odd_pairs().items():
            if "version" in odd:
                continue
            for submitted in ({"certificate": data, "key": key}, {"chain": data}):
                found = self.examine(**submitted)
                self.assertIsNone(found.credentials, odd)
                self.assertIn("is damaged", " ".join(found.problems), odd)

    def test_good(self) -> None:
        """A certificate with its chain, whichever file that is in, is as it was given; a root is
        left out, whether it came with it or this host knows it."""
        self.assertEqual(self.good(), self.WHOLE)
        self.assertEqual(self.good(certificate=LEAF.pem, chain=LOWER.pem + MIDDLE.pem), self.WHOLE)
        self.assertEqual(
            self.good(certificate=LEAF.pem, chain=LOWER.pem + MIDDLE.pem + ROOT.pem, roots=()),
            self.WHOLE,
        )

    def test_twice(self) -> None:
        """What is in both files is there once."""
        chain = LEAF.pem + LOWER.pem + MIDDLE.pem
        self.assertEqual(self.good(certificate=chain, chain=chain), self.WHOLE)

    def test_one_file(self) -> None:
        """One file with everything may be given for both."""
        everything = LEAF.key_pem + LEAF.pem + LOWER.pem + MIDDLE.pem
        self.assertEqual(self.good(certificate=everything, key=everything), self.WHOLE)

    def test_order(self) -> None:
        """A chain that is not in its order is put in order, and that is said."""
        self.assertEqual(
            self.good("put in order", certificate=LEAF.pem + MIDDLE.pem + LOWER.pem), self.WHOLE
        )
        self.assertEqual(
            self.good(
                "not the first",
                "put in order",
                certificate=ROOT.pem + MIDDLE.pem + LOWER.pem + LEAF.pem,
            ),
            self.WHOLE,
        )

    @settings(derandomize=True, deadline=None, database=None, max_examples=30)
    @given(st.permutations([LEAF, LOWER, MIDDLE, ROOT]))
    def test_any_order(self, pairs: list[Pair]) -> None:
        """Whatever order they come in, the same chain comes out."""
        found = self.examine(certificate=b"".join(pair.pem for pair in pairs), roots=())
        self.assertEqual(list(found.credentials.chain), self.WHOLE)

    def test_left_out(self) -> None:
        """What belongs to nothing is left out, and that is said."""
        other = make_pair(common="somebody else")
        chain = LOWER.pem + other.pem + MIDDLE.pem
        self.assertEqual(self.good("somebody else", certificate=LEAF.pem, chain=chain), self.WHOLE)

    def test_not_whole(self) -> None:
        """A chain with a gap says what is lacking, and where it is to be had."""
        self.bad("cert: the chain is not whole", "A lower one", "CHAIN", certificate=LEAF.pem)
        self.bad("chain: the chain is not whole", "A middle", chain=LOWER.pem, certificate=LEAF.pem)
        self.bad("A root", roots=())
        place = x509.AuthorityInformationAccess(
            [
                x509.AccessDescription(
                    x509.oid.AuthorityInformationAccessOID.CA_ISSUERS,
                    x509.UniformResourceIdentifier("http://issuer.example/r.der"),
                )
            ]
        )
        pair = with_extension(place)
        self.bad(
            "had at http://issuer.example/r.der", certificate=pair.pem, key=pair.key_pem, roots=()
        )

    def test_namesake(self) -> None:
        """One that has the issuer's name, and has signed nothing, is not taken for it."""
        namesake = make_pair(common="A lower one", issuer=MIDDLE)
        self.bad(
            "was not signed by the certificate of A lower one",
            certificate=LEAF.pem + namesake.pem + MIDDLE.pem,
        )
        self.good("left out", certificate=LEAF.pem + namesake.pem + LOWER.pem + MIDDLE.pem)

    def test_same_name(self) -> None:
        """One that has the name of who has signed it has not signed itself."""
        pair = make_pair("a.example", issuer=ROOT, common="A root")
        self.assertEqual(
            self.good(certificate=pair.pem + ROOT.pem, key=pair.key_pem), [pair.certificate]
        )
        self.bad("not whole", certificate=pair.pem, key=pair.key_pem, roots=())

    def test_loop(self) -> None:
        """Two that have signed each other lead nowhere, and end nothing."""
        one, other = make_pair(common="one"), make_pair(common="other")
        first = make_pair(common="one", key=one.key, issuer=other)
        second = make_pair(common="other", key=other.key, issuer=one)
        leaf = make_pair("a.example", issuer=first)
        found = self.examine(leaf.pem + first.pem + second.pem, leaf.key_pem)
        self.assertIsNone(found.credentials)

    def test_self_signed(self) -> None:
        """One that has signed itself is taken, and what that means is said."""
        pair = make_pair("a.example")
        self.assertEqual(
            self.good("signed itself", certificate=pair.pem, key=pair.key_pem), [pair.certificate]
        )

    def test_other_key(self) -> None:
        """A key of another certificate says whose the certificate is, and nothing of the key."""
        self.bad("key: the key does not belong", "a.example", key=make_pair().key_pem)

    def test_no_key(self) -> None:
        """What is in the key's file instead of a key is named."""
        encrypted = LEAF.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x"),
        )
        der = LEAF.key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for key, word in (
            (LEAF.pem, "a certificate"),
            (encrypted, "passphrase"),
            (der, "openssl pkey"),
            (b"", "no private key"),
            (b"noise", "no private key"),
        ):
            self.bad("key: ", word, key=key)

    def test_no_certificate(self) -> None:
        """So is what is in the certificate's file instead of one."""
        request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(
            LEAF.key, hashes.SHA256()
        )
        for data, word in (
            (LEAF.key_pem, "but a key"),
            (request.public_bytes(serialization.Encoding.PEM), "a request for a certificate"),
            (LEAF.certificate.public_bytes(serialization.Encoding.DER), "openssl x509"),
            (b"", "no certificate"),
            (b"-----BEGIN PKCS7-----\nAA==\n-----END PKCS7-----\n", "pkcs7"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate"),
        ):
            self.bad("cert: ", word, certificate=data)
            self.bad("chain: ", word, chain=data or b"x")

    def test_both(self) -> None:
        """When both files are none of the kind, both are named."""
        found = self.examine(b"noise", b"noise")
        self.assertEqual([problem[:4] for problem in found.problems], ["cert", "key:"])

    def test_names(self) -> None:
        """Every host that it is not for is named, and what it is for."""
        self.bad(
            "not for b.example, c.example; it is for a.example",
            names=("a.example", "b.example", "c.example"),
        )
        wild = make_pair("*.x.example", issuer=ROOT)
        names = ("*.x.example", "a.x.example")
        self.good(certificate=wild.pem, key=wild.key_pem, names=names)
        self.bad("not for x.example", certificate=wild.pem, key=wild.key_pem, names=("x.example",))

    def test_no_names(self) -> None:
        """One that has a name only where browsers do not look says so."""
        pair = make_pair(issuer=ROOT, common="a.example")
        self.bad("subjectAltName", certificate=pair.pem, key=pair.key_pem)

    def test_dates(self) -> None:
        """What has ended or not begun says when; of the chain, too."""
        for begin, end, words in (
            (NOW - 9 * DAY, NOW - 5, "expired at 2027-01-15"),
            (NOW + 5, NOW + 9 * DAY, "not valid before 2027-01-15"),
        ):
            pair = make_pair("a.example", issuer=ROOT, begin=begin, end=end)
            self.bad("cert: the certificate", words, certificate=pair.pem, key=pair.key_pem)
            middle = make_pair(common="M", issuer=ROOT, begin=begin, end=end)
            pair = make_pair("a.example", issuer=middle)
            self.bad("M in the chain", words, certificate=pair.pem + middle.pem, key=pair.key_pem)

    def test_soon(self) -> None:
        """One that ends soon is taken, and that is said."""
        pair = make_pair("a.example", issuer=ROOT, begin=NOW - 80 * DAY, end=NOW + 5 * DAY)
        self.good("valid until 2027-01-20", certificate=pair.pem, key=pair.key_pem)

    def test_short_key(self) -> None:
        """A key that is too short says how long one should be."""
        key = rsa.generate_private_key(65537, 1024)
        pair = make_pair("a.example", key=key, issuer=ROOT)
        self.bad("1024 bits", "2048", certificate=pair.pem, key=pair.key_pem)

    def test_not_for_servers(self) -> None:
        """One that was made for something else says so."""
        pair = with_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))
        self.bad("not made for servers", certificate=pair.pem, key=pair.key_pem)
        pair = with_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]))
        self.good(certificate=pair.pem, key=pair.key_pem)

    def test_no_authority(self) -> None:
        """One that was signed by what may sign nothing is not taken."""
        site = make_pair("b.example", issuer=ROOT, common="b")
        pair = make_pair("a.example", issuer=site)
        self.bad("no authority's certificate", certificate=pair.pem + site.pem, key=pair.key_pem)

    def test_several(self) -> None:
        """All that is wrong is said at once."""
        pair = make_pair("b.example", issuer=LOWER, begin=NOW - 9 * DAY, end=NOW - 5)
        found = self.examine(pair.pem, pair.key_pem)
        self.assertEqual(len(found.problems), 3)

    @settings(derandomize=True, deadline=None, database=None, max_examples=200)
    @given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300))
    def test_anything(self, certificate: bytes, key: bytes, chain: bytes) -> None:
        """Whatever is in the files, words come out, and nothing is raised."""
        self.assertTrue(self.examine(certificate, key, chain).problems)
        self.examine(LEAF.pem + certificate, LEAF.key_pem + key, chain)
