"""Which servers behind https are trusted: the roots, read once for all sites that share them.

The system's roots take ten milliseconds to read and a megabyte to hold, so sites share a context,
and it is made in a thread. A file of roots that has changed counts within a look-up's time; one
that cannot be read must never make anybody trusted who was not, nor stop what is trusted already.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from OpenSSL import SSL
from twisted.internet.defer import Deferred

from snickers.config.values import Proxy
from snickers.stream import Address, Stream, Sweep
from snickers.tls.outgoing import Connector, NotTrusted, make_context
from snickers.tls.threads import Threads

SYSTEM_EVERY = 86400.0
"""Seconds after which the system's roots are read again: distributions renew them now and then."""

Connect = Callable[[Any, Sweep, Address, Any, float], Stream]
"""As `snickers.stream.connect`."""

_Stamp = tuple[float, ...]


class Trust:
    """Makes what connects to servers by TLS."""

    def __init__(self, threads: Threads, seconds: Callable[[], float]) -> None:
        """*seconds* is a clock that only goes on, and may be asked in any thread."""
        self._threads = threads
        self._seconds = seconds
        self._lock = Lock()
        self._contexts: WeakValueDictionary[tuple[str, bool, _Stamp], SSL.Context] = (
            WeakValueDictionary()
        )
        self._connectors: WeakValueDictionary[tuple[int, str, str], Connector] = (
            WeakValueDictionary()
        )

    def secure(self, kind: Proxy, name: str) -> Deferred[Connect]:
        """Fire with what connects to the server *name* of a site of *kind*.

        That is the same for the same name and options until the roots have changed. Fails with
        `NotTrusted`, in words, when they cannot be read.
        """
        verify = "" if kind.verify == "off" else kind.verify or name
        trust = kind.trust if verify else ""
        read = self._threads.run(lambda: self._context(trust, bool(verify)))
        return read.addCallback(self._connector, name, verify)

    def _connector(self, context: SSL.Context, name: str, verify: str) -> Connect:
        # As long as a connector lives its context does: the number is nobody else's.
        key = (id(context), name, verify)
        connector = self._connectors.get(key)
        if connector is None:
            connector = self._connectors[key] = Connector(context, name, verify)
        return connector

    def _context(self, trust: str, verify: bool) -> SSL.Context:
        """Return the context that is shared. Blocking."""
        with self._lock:
            # Looked at before it is read: what changes meanwhile is found by the next look.
            key = (trust, verify, self._stamp(trust) if verify else ())
            context = self._contexts.get(key)
            if context is None:
                context = self._contexts[key] = make_context(trust, verify)
            return context

    def _stamp(self, trust: str) -> _Stamp:
        if not trust:
            return (self._seconds() // SYSTEM_EVERY,)
        try:
            status = os.stat(trust)
        except OSError as error:
            raise NotTrusted(f"{trust} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(status.st_mode):
            raise NotTrusted(f"{trust} is not an ordinary file")
        return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
