"""Accounts with certificate authorities, and the conversations that are open with them.

An account's key is on the disk before the authority hears of it, so that no account is ever made
twice. Must never hold two conversations in one thread's hands, nor one in two. Everything here
blocks: call it in a thread.
"""

from __future__ import annotations

import re
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from snickers.acme.keys import new_key
from snickers.acme.said import AuthorityFailed
from snickers.acme.store import Account, Store
from snickers.config.values import Settings
from snickers.disk import Stamp, locked, read, stamp

if TYPE_CHECKING:
    # Else not before it is used, in a thread: it takes a tenth of a second and 6 MB, which a host
    # without certificates from the network shall not pay.
    from snickers.acme.client import Client

IDLE = 60.0
"""Seconds after which a conversation that rests is begun anew: its connection is likely gone."""
BASE64URL = re.compile(r"[A-Za-z0-9_-]+=*", re.ASCII)
KEPT = 16
"""Conversations that rest, at the most."""


@frozen
class Terms:
    """How an authority is spoken with."""

    trust: str = ""
    """The file of its own roots; empty: the system's are enough."""
    email: str = ""
    external: str = ""
    """The file with the key identifier and the key of an account it knows; empty: none."""

    @classmethod
    def of(cls, settings: Settings, directory: str) -> Terms:
        """Return those for the authority at *directory*: an account that it knows is the first
        authority's."""
        external = settings.acme_external_account if directory == settings.acme_directory else ""
        return cls(settings.acme_trust, settings.acme_email, external)


def read_external(path: str) -> tuple[str, str]:
    """Return the key identifier and the key in the file *path*."""
    right = "one line `KID KEY`, the key in base64url, would be right"
    try:
        content = read(path)
    except OSError as error:
        raise AuthorityFailed(
            "refused", f"acme external account: {path} cannot be read: {error.strerror}"
        ) from None
    if content.mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise AuthorityFailed(
            "refused", f"acme external account: others can read {path}: chmod 600 {path}"
        )
    words = content.data.decode("utf-8", "replace").split()
    if len(words) != 2 or BASE64URL.fullmatch(words[1]) is None:
        raise AuthorityFailed("refused", f"acme external account: {path}: {right}")
    return words[0], words[1]


class Accounts:
    """Opens conversations; *make* is `Client` but for tests."""

    def __init__(
        self,
        store: Store,
        wall: Callable[[], float],
        make: Callable[..., Client] | None = None,
    ) -> None:
        self._store = store
        self._wall = wall
        self._make = make
        self._lock = threading.Lock()
        self._resting: list[tuple[float, Terms, Client]] = []
        self._contexts: dict[str, tuple[Stamp | None, ssl.SSLContext]] = {}

    def open(self, directory: str, terms: Terms) -> Client:
        """Return a conversation with the authority, as the account that there is with it, which is
        made where there is none. To be given back by `rest`, or closed.

        Raises `AuthorityFailed`, `StoreFailed` and `OSError`.
        """
        with self._lock:
            for index, (since, known, client) in enumerate(self._resting):
                young = self._wall() - since < IDLE
                if young and client.directory == directory and known == terms:
                    del self._resting[index]
                    return client
        context = self._context(terms.trust)
        account = self._store.account(directory)
        if account is not None and account.url and account.email == terms.email:
            return self._client(directory, account, context)
        return self._register(directory, terms, context)

    def rest(self, terms: Terms, client: Client) -> None:
        """Keep a conversation for the next who needs one."""
        with self._lock:
            self._resting.append((self._wall(), terms, client))
            gone = self._resting[:-KEPT]
            self._resting = self._resting[-KEPT:]
        for _, _, old in gone:
            old.close()

    def unknown(self, client: Client) -> None:
        """The authority does not know the account of *client*: have it told again, with the same
        key."""
        client.close()
        with self._locked(client.directory):
            account = self._store.account(client.directory)
            if account is not None and account.url == client.identity.url:
                self._store.keep_account(evolve(account, url=""))

    def close(self) -> None:
        """Let go of all that rest."""
        with self._lock:
            resting, self._resting = self._resting, []
        for _, _, client in resting:
            client.close()

    def _register(self, directory: str, terms: Terms, context: ssl.SSLContext) -> Client:
        external = read_external(terms.external) if terms.external else None
        # While one asks for an account, others wait for it: they would get another one.
        with self._locked(directory):
            account = self._store.account(directory)
            if account is None:
                account = self._store.keep_account(Account(directory, new_key()))
            client = self._client(directory, account, context)
            if not account.url:
                url = client.register(terms.email, external)
                self._store.keep_account(evolve(account, url=url, email=terms.email))
            elif account.email != terms.email:
                client.change_email(terms.email)
                self._store.keep_account(evolve(account, email=terms.email))
        return client

    def _client(self, directory: str, account: Account, context: ssl.SSLContext) -> Client:
        from snickers.acme.client import Client, Identity

        make = self._make or Client
        return make(directory, Identity.of(account.key, account.url), context, self._wall)

    @contextmanager
    def _locked(self, directory: str) -> Iterator[None]:
        path = self._store.account_path(directory).removesuffix(".json") + ".lock"
        with ExitStack() as held:
            try:
                held.enter_context(locked(path))
            except TimeoutError as problem:
                # Who has it waits for the authority, so that is what is wrong.
                words = "it has not answered who asks it for an account, and others wait for that"
                raise AuthorityFailed("away", f"{directory}: {words}") from problem
            yield

    def _context(self, trust: str) -> ssl.SSLContext:
        from snickers.acme.client import trusting

        found = stamp(trust) if trust else None
        with self._lock:
            known = self._contexts.get(trust)
            if known is not None and known[0] == found:
                return known[1]
            context = trusting(trust)
            self._contexts[trust] = (found, context)
        return context
