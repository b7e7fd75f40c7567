"""The answers to an authority's challenges, as files.

Whoever is asked, in whatever process of whatever team, reads them there: nothing has to be told
to anybody. Must never write what a person or a stranger could choose the path of. Everything here
blocks: call it in a thread.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from snickers.acme.order import Answer
from snickers.acme.store import StoreFailed, file_name
from snickers.disk import make_folder, replace

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
"""RFC 8555 section 8.3: base64url."""

ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""RFC 8737 section 3."""
OLD = 2 * 86400.0
"""Seconds after which an answer is of no order any more that is being looked at; one that is taken
up after that writes its answers anew."""

Dns = Callable[[str, str, str], None]
"""Called, blocking, with ``"add"`` or ``"remove"``, the name of a TXT record and its value; returns
when all servers of the zone show it. Raises with words for the owner."""


class ProofFailed(Exception):
    """A name cannot be proven from here; the text says why."""


def record(answer: Answer) -> tuple[str, str]:
    """Return the name and the value of the TXT record for *answer* (RFC 8555 section 8.4)."""
    digest = sha256(answer.proof.encode()).digest()
    value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return f"_acme-challenge.{answer.name}", value


def proving_certificate(name: str, proof: str, now: float) -> bytes:
    """Return the key and the certificate that prove *name* by ``tls-alpn-01``, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme-tls/1")])
    begin = datetime.fromtimestamp(now, UTC)
    # An octet string in an octet string: tag 4, 32 bytes.
    digest = b"\x04\x20" + sha256(proof.encode()).digest()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - timedelta(days=1))
        .not_valid_after(begin + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


class Challenges:
    """Answers in *folder*, ``STATE/acme/challenges``; *dns* writes into the DNS, ``None``: nothing
    does."""

    def __init__(self, folder: str, dns: Dns | None = None) -> None:
        self.folder = folder
        self.dns = dns

    def path(self, answer: Answer) -> str:
        """Return the file of *answer*, ``""`` where it is none."""
        if answer.challenge == "http-01":
            if TOKEN.fullmatch(answer.token) is None:
                raise ProofFailed(f"the authority's token {answer.token!r:.200} is none")
            return os.path.join(self.folder, "http-01", answer.token)
        if answer.challenge == "tls-alpn-01":
            return os.path.join(self.folder, "tls-alpn-01", f"{file_name(answer.name)}.pem")
        return ""

    def put(self, answer: Answer, now: float) -> None:
        """Have the authority find *answer*. Fails with `ProofFailed` or `StoreFailed`."""
        path = self.path(answer)
        if not path:
            self._dns("add", answer)
            return
        if answer.challenge == "http-01":
            data = answer.proof.encode()
        else:
            data = proving_certificate(answer.name, answer.proof, now)
        try:
            make_folder(os.path.dirname(path))
            replace(path, data, 0o600)
        except OSError as error:
            raise StoreFailed(
                f"{error.filename or path}: cannot be written: {error.strerror}"
            ) from None

    def take_away(self, answer: Answer) -> None:
        """Have the authority find *answer* no more; one that is not there is no matter.

        Fails with `ProofFailed` when the DNS cannot be written."""
        with suppress(StoreFailed):
            path = self.path(answer)
            if not path:
                self._dns("remove", answer)
                return
            with suppress(OSError):
                os.unlink(path)

    def sweep(self, now: float) -> None:
        """Remove answers that processes have left which were killed, when nobody can want them."""
        for folder in ("http-01", "tls-alpn-01"):
            with suppress(OSError):
                for entry in os.scandir(os.path.join(self.folder, folder)):
                    if now - entry.stat().st_mtime > OLD:
                        os.unlink(entry.path)

    def _dns(self, what: str, answer: Answer) -> None:
        if self.dns is None:
            raise ProofFailed(
                f"{answer.name}: dns-01 needs a program that writes into the DNS: "
                "write `acme dns hook = PROGRAM` into [snickers]"
            )
        name, value = record(answer)
        try:
            self.dns(what, name, value)
        except Exception as error:
            raise ProofFailed(f"acme dns hook: {error}") from error
