"""Asks authorities when certificates should be renewed (RFC 9773).

An authority that has to revoke says so by a window that lies nearer than before. What it says is
remembered on the disk, and holds while it cannot be asked. Must never ask more often than the
authority wants or than `ASK_FAILED` and `snickers.acme.renewal` allow, never of a certificate that
has ended, and never overwrite what an attempt has found out meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.acme import plan
from snickers.acme.accounts import Accounts, Terms
from snickers.acme.plan import Memory
from snickers.acme.renewal import ask_pause
from snickers.acme.said import AuthorityFailed, Suggested
from snickers.acme.standing import Standing
from snickers.acme.store import Store, StoreFailed
from snickers.config.values import Settings
from snickers.tls.threads import ThreadsStopped

ASKED_AT_ONCE = 4
"""Questions for windows, side by side."""
ASK_FAILED = 3600.0
"""Seconds after which a window is asked for again that could not be had."""


class Suggestions:
    """The windows of all sites' certificates.

    *settings* returns those that hold now, *wall* epoch seconds; *found* is called when a window
    was asked for, since something may be due.
    """

    _log = Logger()

    def __init__(
        self,
        accounts: Accounts,
        store: Store,
        settings: Callable[[], Settings],
        wall: Callable[[], float],
        found: Callable[[], None],
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._settings = settings
        self._wall = wall
        self._found = found
        self._asking = 0

    def stop(self) -> None:
        """Nobody waits for the questions that are under way any more."""
        self._asking = 0

    def look(self, row: Standing, now: float) -> None:
        """Begin to ask for *row*'s window, if that is due at *now* (epoch seconds) and nothing
        else is going on for it."""
        if row.asking or row.attempt is not None or self._asking >= ASKED_AT_ONCE:
            return
        if not plan.asks_for_window(row.known, now):
            return
        row.asking = True
        self._asking += 1
        done = Deferred.fromCoroutine(self._ask(row))

        def over(result: object) -> None:
            if row.asking:
                row.asking = False
                self._asking -= 1
            if isinstance(result, Failure) and not isinstance(result.value, ThreadsStopped):
                self._log.failure("asking when to renew {site}", result, site=row.site.name)

        done.addBoth(over)

    async def _ask(self, row: Standing) -> None:
        """Ask, and remember what was said."""
        memory = row.known.memory
        try:
            suggested = await row.work.in_thread("ask", self._asked, memory)
        except (AuthorityFailed, StoreFailed, OSError) as error:
            self._log.info(
                "{site}: when to renew could not be asked: {error}",
                site=row.site.name,
                error=str(error),
            )
            fresh = evolve(memory, ask_at=self._wall() + ASK_FAILED)
        except (CancelledError, ThreadsStopped):
            raise
        except Exception:
            # A fault of ours must not be asked for again at each look.
            self._log.failure("asking when to renew {site}", site=row.site.name)
            fresh = evolve(memory, ask_at=self._wall() + ASK_FAILED)
        else:
            pause = ask_pause(suggested.retry_after if suggested else None)
            # One that makes no suggestions any more: the last one holds no longer.
            window = suggested.window if suggested else None
            fresh = evolve(memory, window=window, ask_at=self._wall() + pause)
            if suggested and suggested.explanation and window != memory.window:
                self._log.info(
                    "{site}: {page} explains when its certificate is to be renewed",
                    site=row.site.name,
                    page=suggested.explanation,
                )
        if row.known.memory is memory and row.attempt is None:
            row.known = evolve(row.known, memory=fresh)
            await row.work.in_thread("remember", self._store.remember, row.site.name, fresh)
            self._found()

    def _asked(self, memory: Memory) -> Suggested | None:
        """In a thread."""
        terms = Terms.of(self._settings(), memory.authority)
        client = self._accounts.open(memory.authority, terms)
        try:
            found = client.suggested(memory.identity)
        except BaseException:
            client.close()
            raise
        self._accounts.rest(terms, client)
        return found
