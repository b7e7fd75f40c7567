"""Real certificates with their keys, for tests; quick to make, valid when and for what is asked."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from OpenSSL import SSL

NOW = 1_800_000_000.0
DAY = 86400.0


@frozen(eq=False)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: object

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def odd_pairs() -> dict[str, tuple[bytes, bytes]]:
    """Return certificates that are not as they should be, with their keys, PEM, by what is odd."""

    def made(*extensions: tuple[str, bytes]) -> tuple[bytes, bytes]:
        plain = make_pair()
        builder = x509.CertificateBuilder(
            plain.certificate.issuer,
            plain.certificate.subject,
            plain.key.public_key(),
            0x5A5A5A,
            plain.certificate.not_valid_before_utc,
            plain.certificate.not_valid_after_utc,
        )
        for dotted, value in extensions:
            kind = x509.ObjectIdentifier(dotted)
            builder = builder.add_extension(x509.UnrecognizedExtension(kind, value), False)
        pair = Pair(builder.sign(plain.key, hashes.SHA256()), plain.key)
        return pair.certificate.public_bytes(serialization.Encoding.DER), pair.key_pem

    def swapped(pair: tuple[bytes, bytes], old: bytes, new: bytes) -> tuple[bytes, bytes]:
        assert old in pair[0]
        return pair[0].replace(old, new), pair[1]

    names, constraints = "2.5.29.17", "2.5.29.19"
    found = {
        "garbage for names": made((names, b"\xff\xff")),
        "a name of a kind that nobody knows": made((names, b"\x30\x04\xa5\x02\x30\x00")),
        "garbage for constraints": made((constraints, b"\x01")),
        "a version that is none": swapped(made(), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"),
        "an extension twice": swapped(
            made(("2.5.29.14", b"\x04\x01a"), ("2.5.29.15", b"\x04\x01a")),
            b"\x55\x1d\x0f",
            b"\x55\x1d\x0e",
        ),
    }
    return {odd: (ssl.DER_cert_to_PEM_cert(der).encode(), key) for odd, (der, key) in found.items()}


def make_pair(
    *names, begin=NOW - DAY, end=NOW + 89 * DAY, key=None, issuer=None, common="test", address=None
):
    """Return a pair for *names*, signed by *issuer* (itself where there is none)."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    signer = issuer or Pair(None, key)
    builder = (
        x509.CertificateBuilder(
            issuer.certificate.subject if issuer else subject,
            subject,
            key.public_key(),
            x509.random_serial_number(),
        )
        .not_valid_before(datetime.fromtimestamp(begin, UTC))
        .not_valid_after(datetime.fromtimestamp(end, UTC))
    )
    if names:
        alternatives = [x509.DNSName(name) for name in names]
        if address is not None:
            alternatives.append(x509.IPAddress(ip_address(address)))
        hosts = x509.SubjectAlternativeName(alternatives)
        builder = builder.add_extension(hosts, critical=False)
    else:
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return Pair(builder.sign(signer.key, hashes.SHA256()), key)


def put(folder, pair, chain=b"", mode=0o600):
    """Store *pair* in *folder* as a person would, over what is there."""
    os.makedirs(folder, exist_ok=True)
    for name, data in (("cert.pem", pair.pem + chain), ("key.pem", pair.key_pem)):
        path = os.path.join(folder, name)
        with open(f"{path}.tmp", "wb") as file:
            file.write(data)
        os.chmod(f"{path}.tmp", mode if name == "key.pem" else 0o644)
        os.rename(f"{path}.tmp", path)


def put_ordered(folder, pair, site="a.example", chain=b"", mode=0o600, previous=False):
    """Store *pair* in *folder* as whoever orders certificates does; return the path."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{site}{'.previous' if previous else ''}.pem")
    with open(f"{path}.tmp", "wb") as file:
        file.write(pair.key_pem + pair.pem + chain)
    os.chmod(f"{path}.tmp", mode)
    os.rename(f"{path}.tmp", path)
    return path


def shake_hands(server_context, client_context, server_name=b"a.example"):
    """Return the client's and the server's connection after a handshake in memory."""
    server, client = SSL.Connection(server_context), SSL.Connection(client_context)
    server.set_accept_state()
    client.set_connect_state()
    client.set_tlsext_host_name(server_name)
    pending = {client, server}
    for _ in range(10):
        for me, other in ((client, server), (server, client)):
            try:
                me.do_handshake()
                pending.discard(me)
            except SSL.WantReadError:
                pass
            try:
                other.bio_write(me.bio_read(1 << 17))
            except SSL.WantReadError:
                pass
    if pending:
        raise AssertionError("the handshake did not come to its end")
    return client, server


def shown(context):
    """Return the chain that a client is shown by *context*."""
    client, _ = shake_hands(context, SSL.Context(SSL.TLS_CLIENT_METHOD))
    return client.get_peer_cert_chain(as_cryptography=True)


def trusts(
    roots: Sequence[x509.Certificate],
    chain: Sequence[x509.Certificate],
    name: str,
    now: float = NOW,
) -> bool:
    """Whether a strict client that knows *roots* accepts *chain* for *name*."""
    builder = PolicyBuilder().store(Store(roots)).time(datetime.fromtimestamp(now, UTC))
    try:
        builder.build_server_verifier(x509.DNSName(name)).verify(chain[0], list(chain[1:]))
    except VerificationError:
        return False
    return True
