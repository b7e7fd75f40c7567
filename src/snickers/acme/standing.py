"""How one site stands with its certificate, while a process is on duty.

What is known of it, what is going on for it and who waits for that. What is to be known after a
restart is on the disk, not here. Must never have two attempts going on for one site, nor leave one
who waits without an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred

from snickers.acme import plan
from snickers.acme.plan import Known
from snickers.acme.tidings import SiteTidings
from snickers.acme.work import Work
from snickers.config.values import Site
from snickers.tls.credentials import CertificateUnavailable

Progress = Callable[[str], None]
"""Called with words for each step."""


@define(eq=False)
class Standing:
    """One site's."""

    site: Site
    """As the configuration has it now."""
    work: Work
    tidings: SiteTidings
    known: Known = field(factory=Known)
    read: bool = False
    """Whether its files were read."""
    reading: bool = False
    step: str = "waiting"
    """What is going on, in words."""
    attempt: Deferred[Any] | None = None
    hurry: bool = False
    """Something has changed: the next try does not wait for the pause after a failure."""
    forced: bool = False
    """Somebody wants a new certificate, whatever the date."""
    asking: bool = False
    """The authority is being asked for a window."""
    busy_until: float = 0.0
    """By the reactor's clock."""
    looked: bool = False
    """The preflight has been made in this attempt."""
    _waiters: list[tuple[Deferred[None], Progress]] = field(factory=list)
    _due: tuple[Known, Site, float, float] | None = None
    """When the next try is, for whom, and when that was found out."""

    def changed(self, site: Site) -> None:
        """The configuration has *site* now."""
        if self.site.names != site.names or self.site.acme_challenge != site.acme_challenge:
            self.hurry = True
        self.site = site

    def is_due(self, now: float, seconds: float) -> bool:
        """Return whether an attempt is to begin. *now*: epoch seconds; *seconds*: the reactor's."""
        if not self.read or self.attempt is not None or seconds < self.busy_until:
            return False
        if self.forced:
            return True
        if not self.known.memory.failures:
            self.hurry = False  # There is no pause to be ended.
        if self.hurry:
            return plan.next_try(self.site, unpaused(self.known), now) <= now
        due = self._due
        if due is None or due[0] is not self.known or due[1] is not self.site or now < due[3]:
            # Asked at every look, of every site: what does not change is not found out again, but
            # when the clock was set back.
            at = plan.next_try(self.site, self.known, now)
            due = self._due = (self.known, self.site, at, now)
        return due[2] <= now

    def state(self, now: float) -> dict[str, Any]:
        """Return what is said of it, as `IRenewer.states` has it. *now*: epoch seconds."""
        memory = self.known.memory
        window = memory.window
        return {
            "step": self.step,
            "next": plan.next_try(self.site, self.known, now) if self.read else None,
            "fault": memory.fault,
            "failures": memory.failures,
            "challenge": memory.challenge,
            "authority": memory.authority,
            "ari": None if window is None else (window.start, window.end),
        }

    def unread(self) -> None:
        """What is known holds no longer: another process may change it."""
        self.read = self.reading = self.asking = False

    # Who waits

    def wait(self, progress: Progress) -> Deferred[None]:
        """Fire when the next attempt to end has led to a certificate, and fail with
        `CertificateUnavailable` when it has not; may be cancelled. *progress* hears each step."""

        def cancelled(done: Deferred[None]) -> None:
            self._waiters = [waiter for waiter in self._waiters if waiter[0] is not done]

        done: Deferred[None] = Deferred(cancelled)
        self._waiters.append((done, progress))
        return done

    def say(self, words: str) -> None:
        """A step begins."""
        self.step = words
        for _, progress in list(self._waiters):
            progress(words)

    def answer(self, problem: CertificateUnavailable | None) -> None:
        """Tell those who wait how it went; ``None``: well."""
        waiters, self._waiters = self._waiters, []
        for done, _ in waiters:
            if not done.called:
                done.callback(None) if problem is None else done.errback(problem)


def unpaused(known: Known) -> Known:
    """Return *known* without the pause after its failures."""
    return evolve(known, memory=evolve(known.memory, failures=0))
