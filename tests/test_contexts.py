"""Tests for snickers.tls.contexts."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from snickers.tls.contexts import Recent, make_context
from snickers.tls.credentials import CertificateUnavailable, join
from tests.pairs import make_pair, shown


def held(pair, *others):
    certificates = [pair.certificate, *(other.certificate for other in others)]
    return join(pair.key, certificates, "cert.pem")


class MakeTests(SynchronousTestCase):
    def test_shown(self):
        """A client is shown the certificate and its chain."""
        middle = make_pair(common="middle", issuer=make_pair(common="root"))
        pair = make_pair("a.example", common="leaf", issuer=middle)
        context = make_context(held(pair, middle), lambda context: None, "cert.pem")
        self.assertEqual(shown(context), [pair.certificate, middle.certificate])

    def test_hardened_first(self):
        """What is demanded of every context is demanded of the certificate too."""
        pair = make_pair("a.example", key=rsa.generate_private_key(65537, 1024))

        def harden(context):
            context.set_cipher_list(b"ALL:@SECLEVEL=2")

        error = self.assertRaises(
            CertificateUnavailable, make_context, held(pair), harden, "cert.pem"
        )
        self.assertIn("key too small", str(error))
        self.assertTrue(str(error).startswith("cert.pem: "))


class RecentTests(SynchronousTestCase):
    def setUp(self):
        self.recent = Recent(2)
        self.contexts = [SSL.Context(SSL.TLS_SERVER_METHOD) for _ in range(3)]
        for key, context in zip("ab", self.contexts, strict=False):
            self.recent.put(key, context)

    def test_longest_unused_goes(self):
        """The one that was not used for longest makes room."""
        self.assertIs(self.recent.get("a"), self.contexts[0])
        self.recent.put("c", self.contexts[2])
        self.assertEqual([key in self.recent for key in "abc"], [True, False, True])
        self.assertEqual(len(self.recent), 2)

    def test_peek_is_no_use(self):
        """To look at one does not keep it."""
        self.assertIs(self.recent.peek("a"), self.contexts[0])
        self.recent.put("c", self.contexts[2])
        self.assertNotIn("a", self.recent)

    def test_refresh(self):
        """A successor takes the place of one that is kept, not of one that is not."""
        self.recent.refresh("a", self.contexts[2])
        self.recent.refresh("z", self.contexts[2])
        self.assertIs(self.recent.get("a"), self.contexts[2])
        self.assertNotIn("z", self.recent)

    def test_drop(self):
        """To drop one that is not there is nothing."""
        self.recent.drop("a")
        self.recent.drop("a")
        self.assertIsNone(self.recent.get("a"))
