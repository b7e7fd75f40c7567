"""OpenSSL's contexts: made from checked credentials, and the most recently used ones kept.

A context may not change once it was used: another certificate is another context. Must never
keep more of them than asked for (23 KB each); open connections hold on to theirs by themselves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from OpenSSL import SSL

from snickers.tls.credentials import CertificateUnavailable, Credentials

Harden = Callable[[SSL.Context], None]
"""Sets what holds for every context: versions, ciphers, options, ALPN. Called in a thread."""

K = TypeVar("K", bound=Hashable)


def make_context(credentials: Credentials, harden: Harden, path: str) -> SSL.Context:
    """Return a context that shows *credentials*; *path* is for the words alone.

    Fails with `CertificateUnavailable` when OpenSSL does not take them, as it does not take
    keys that are too short. Takes some 125 µs.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    # First: it sets the level of security that the certificate is measured by.
    harden(context)
    try:
        context.use_certificate(credentials.chain[0])
        for certificate in credentials.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(credentials.key)
        context.check_privatekey()
    except SSL.Error as error:
        raise CertificateUnavailable(
            f"{path}: OpenSSL does not take the certificate: {reason(error)}"
        ) from None
    return context


def reason(error: SSL.Error) -> str:
    """Return the reasons in OpenSSL's *error*, such as ``ee key too small``."""
    found = error.args[0] if error.args else ()
    reasons = [entry[-1] for entry in found] if isinstance(found, list) else []
    return ", ".join(reasons) or "no reason given"


class Recent(Generic[K]):
    """The most recently used contexts, *limit* at most."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._contexts: OrderedDict[K, SSL.Context] = OrderedDict()

    def __len__(self) -> int:
        return len(self._contexts)

    def __contains__(self, key: K) -> bool:
        return key in self._contexts

    def get(self, key: K) -> SSL.Context | None:
        """Return the context of *key*, now the most recently used one."""
        context = self._contexts.get(key)
        if context is not None:
            self._contexts.move_to_end(key)
        return context

    def peek(self, key: K) -> SSL.Context | None:
        """Return the context of *key*, which is not a use of it."""
        return self._contexts.get(key)

    def put(self, key: K, context: SSL.Context) -> None:
        """Keep *context*, in place of the one it follows, or of the longest unused one."""
        self._contexts[key] = context
        self._contexts.move_to_end(key)
        while len(self._contexts) > self.limit:
            self._contexts.popitem(last=False)

    def refresh(self, key: K, context: SSL.Context) -> None:
        """Put *context* in the place of the one that is kept for *key*, if one is."""
        if key in self._contexts:
            self._contexts[key] = context

    def drop(self, key: K) -> None:
        """Keep none for *key*."""
        self._contexts.pop(key, None)
