"""Tries to have a certificate for one site: with its lock, from one authority after the other.

An order that is on the disk is taken up first. Then each authority is asked in turn, each way of
proving tried, where a failure was counted after a rehearsal; `snickers.acme.ordering` carries each
order out. How it went is remembered on the disk, and with it when the next try may be. Must never
work for a site without its lock, never let go of that while a thread works, and never fail without
a pause that grows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from snickers.acme import plan
from snickers.acme.accounts import Accounts, Terms
from snickers.acme.challenges import Challenges, ProofFailed
from snickers.acme.keys import identity_of, new_key
from snickers.acme.ledger import Ledger
from snickers.acme.order import Order, usable
from snickers.acme.ordering import Ordering, take_away
from snickers.acme.plan import Held, Known
from snickers.acme.said import AuthorityFailed
from snickers.acme.standing import Standing, unpaused
from snickers.acme.store import Lock, Store, StoreFailed
from snickers.acme.tidings import Tidings
from snickers.config.values import Settings, Site
from snickers.tls.credentials import CertificateUnavailable, Credentials, spoken
from snickers.tls.threads import ThreadsStopped

if TYPE_CHECKING:
    from snickers.acme.client import Client

BUSY_PAUSE = 30.0
"""Seconds after which a site is looked at again that another process is ordering for, or for which
nothing can be kept."""

Preflight = Callable[[Sequence[str], Settings, str, Sequence[str], str], Sequence[str]]
"""Called, blocking, with names, the settings, the site's ``acme challenge``, what CAA records call
the authority, and the URL of the account with it; returns what is wrong with the names, in words,
so that the authority would refuse; nothing: go on."""


class _Failed(Exception):
    """An order could not be had; *kind* says what kind of failure that is."""

    def __init__(self, kind: str, words: str, wait: float | None = None) -> None:
        super().__init__(words)
        self.kind = kind
        self.wait = wait


_EXPECTED = (
    AuthorityFailed,
    ProofFailed,
    StoreFailed,
    CertificateUnavailable,
    OSError,
    _Failed,
)
"""What an order may fail by; their words are for a person."""


class Attempts:
    """Makes attempts, any number side by side, at most one for a site.

    *reactor* times waits; *settings* returns those that hold now, *wall* epoch seconds; *tidings*
    is told what concerns all sites. *sites* are those that are looked after now, by name: one that
    was removed has its order ended, and nobody told. *replaced*, *preflight* and *chance* are as
    `snickers.acme.service.Acme` has them.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        store: Store,
        challenges: Challenges,
        accounts: Accounts,
        settings: Callable[[], Settings],
        wall: Callable[[], float],
        tidings: Tidings,
        sites: Mapping[str, Standing],
        replaced: Callable[[str], None],
        preflight: Preflight | None,
        chance: Callable[[], float],
    ) -> None:
        self._reactor = reactor
        self._store = store
        self._challenges = challenges
        self._accounts = accounts
        self._settings = settings
        self._wall = wall
        self._tidings = tidings
        self._sites = sites
        self._replaced = replaced
        self._preflight = preflight
        self._chance = chance
        self._ordering = Ordering(reactor, wall, store, Ledger(store.ledger), challenges)

    async def make(self, row: Standing) -> CertificateUnavailable | None:
        """Try once for *row*; return why there is no certificate, ``None`` when there is one.

        Its ``hurry`` and ``forced`` are spent, ``known`` is as it is afterwards, and ``busy_until``
        says when it is to be looked at again where the site could not be worked for at all. Raises
        `CancelledError` and `ThreadsStopped`.
        """
        name, forced = row.site.name, row.forced
        try:
            lock = await row.work.in_thread("lock", self._lock, name)
        except (StoreFailed, OSError) as error:
            # A full disk, or one that is read-only: what is kept of failures cannot be, either.
            row.busy_until, row.forced = self._reactor.seconds() + BUSY_PAUSE, False
            self._tidings.not_kept(str(error))
            return CertificateUnavailable(f"{name}: {error}")
        if lock is None:
            row.busy_until, row.forced = self._reactor.seconds() + BUSY_PAUSE, False
            return CertificateUnavailable(f"{name}: another process is ordering it just now")
        try:
            return await self._try(row, forced)
        finally:
            # Threads that nobody waits for any more still write the site's files.
            row.work.when_over(lock.release)

    def _lock(self, name: str) -> Lock | None:
        """In a thread."""
        self._store.prepare()
        return self._store.lock(name)

    def _known(self, name: str) -> tuple[Known, str]:
        """In a thread."""
        self._store.prepare()
        return self._store.known(name)

    async def _try(self, row: Standing, forced: bool) -> CertificateUnavailable | None:
        """Try, with the lock held."""
        site, before = row.site, row.known.held
        row.known, fault = await row.work.in_thread("read", self._known, site.name)
        row.tidings.key(fault)
        now = self._wall()
        hurry, row.hurry, row.forced, row.looked = row.hurry, False, False, False
        known = unpaused(row.known) if hurry else row.known
        if not forced and plan.next_try(site, known, now) > now:
            # Another process has done it meanwhile.
            if _serial(before) != _serial(known.held):
                self._told_replaced(row)
            return None
        try:
            await self._have_certificate(row, site)
        except (CancelledError, ThreadsStopped):
            raise
        except _EXPECTED as error:
            return await self._has_failed(row, site, error)
        except Exception as error:
            # A fault of ours must not become a storm: it counts like any other failure.
            self._log.failure("{site}: ordering", site=site.name)
            ours = _Failed("fault", f"a fault of Snickers: {error!r}")
            return await self._has_failed(row, site, ours)
        return None

    async def _has_failed(
        self, row: Standing, site: Site, error: Exception
    ) -> CertificateUnavailable:
        words = str(error)
        self._log.info("{site}: no certificate: {error}", site=site.name, error=words)
        kind = getattr(error, "kind", "proof" if isinstance(error, ProofFailed) else "store")
        if row.site.names == site.names or row.site.name not in self._sites:
            wait = getattr(error, "wait", getattr(error, "retry_after", None))
            staging = bool(plan.staging_of(self._settings()))
            memory = plan.after_failure(
                row.known.memory,
                kind,
                words,
                wait,
                self._wall(),
                self._chance(),
                rehearse=kind == "proof" and staging and isinstance(error, AuthorityFailed),
            )
            row.known = evolve(row.known, memory=memory)
            try:
                await row.work.in_thread("remember", self._store.remember, site.name, memory)
            except StoreFailed as failed:
                self._tidings.not_kept(str(failed))
            else:
                self._tidings.kept()
            if self._sites.get(site.name) is row:
                lacking = not plan.covers(row.known.held, site.names, self._wall())
                row.tidings.failure(memory, lacking)
        return CertificateUnavailable(f"{site.name}: {words}")

    async def _have_certificate(self, row: Standing, site: Site) -> None:
        settings = self._settings()
        flight = await row.work.in_thread("find", self._store.order, site.name)
        if flight is not None and await self._taken_up(row, site, flight, settings):
            return
        words = plan.impossible(site, settings)
        if words:
            raise _Failed("setting", words)
        await self._rehearse(row, site, settings)
        await self._by_authorities(row, site, settings)

    async def _rehearse(self, row: Standing, site: Site, settings: Settings) -> None:
        """Try where failures do not count, after one that did."""
        staging = plan.staging_of(settings)
        if not (row.known.memory.rehearse and staging):
            return
        row.say("rehearsing")
        try:
            challenge = await self._by_challenges(row, site, settings, staging, rehearsal=True)
        except AuthorityFailed as failed:
            if failed.kind not in ("away", "limited", "refused"):
                raise
            return  # nothing was found out
        memory = evolve(row.known.memory, rehearse=False, challenge=challenge)
        row.known = evolve(row.known, memory=memory)
        await row.work.in_thread("remember", self._store.remember, site.name, memory)

    async def _look_first(
        self, row: Standing, site: Site, settings: Settings, client: Client
    ) -> None:
        """Have what can be known beforehand found out before the authority is asked."""
        if row.looked or not settings.acme_preflight or self._preflight is None:
            return
        row.looked = True
        row.say("looking whether its names can be proven")
        try:
            faults = await row.work.slowly(
                "preflight",
                self._preflight,
                site.names,
                settings,
                site.acme_challenge,
                client.identities,
                client.identity.url,
            )
        except CancelledError:
            raise
        except Exception:
            self._log.failure("{site}: the preflight; the order goes on", site=site.name)
            return
        if faults:
            raise _Failed("preflight", "; ".join(faults))

    async def _by_authorities(self, row: Standing, site: Site, settings: Settings) -> None:
        """Order from the first authority that gives."""
        places = plan.directories(settings)
        for index, directory in enumerate(places):
            try:
                await self._by_challenges(row, site, settings, directory)
                return
            except AuthorityFailed as failed:
                last = index == len(places) - 1
                if last or failed.kind not in ("away", "limited", "refused"):
                    raise
                self._log.info(
                    "{site}: {error}; the fallback is asked", site=site.name, error=str(failed)
                )

    async def _by_challenges(
        self,
        row: Standing,
        site: Site,
        settings: Settings,
        directory: str,
        rehearsal: bool = False,
    ) -> str:
        """Order from one authority, proving by what works; return what that was."""
        ways = plan.challenges(site, settings, row.known.memory.challenge)
        for index, challenge in enumerate(ways):
            try:
                await self._order(row, site, settings, directory, challenge, rehearsal)
                return challenge
            except (AuthorityFailed, ProofFailed) as failed:
                proof = isinstance(failed, ProofFailed) or failed.kind == "proof"
                if not proof or index == len(ways) - 1:
                    raise
                self._log.info(
                    "{site}: {error}; {next} is tried",
                    site=site.name,
                    error=str(failed),
                    next=ways[index + 1],
                )
        raise AssertionError("there is always a way")

    async def _order(
        self,
        row: Standing,
        site: Site,
        settings: Settings,
        directory: str,
        challenge: str,
        rehearsal: bool,
    ) -> None:
        """Place an order, and once more when the authority has forgotten who we are."""
        for again in (True, False):
            client, terms = await self._open(row, settings, directory)
            if not rehearsal:
                await self._look_first(row, site, settings, client)
            replaces = ""
            known = row.known
            if (
                not rehearsal
                and known.held is not None
                and known.memory.window is not None
                and known.memory.authority == directory
                and set(known.held.names) >= set(site.names)
            ):
                replaces = known.memory.identity
            order = Order(
                site=site.name,
                directory=directory,
                account=client.identity.url,
                names=site.names,
                challenge=challenge,
                key=new_key(),
                begun=self._wall(),
                profile=settings.acme_profile if directory == settings.acme_directory else "",
                replaces=replaces,
            )
            try:
                await self._carry_out(row, order, client, terms, rehearsal)
                return
            except AuthorityFailed as failed:
                if failed.kind != "lost" or not again:
                    raise
                await row.work.in_thread("account lost", self._accounts.unknown, client)

    async def _taken_up(self, row: Standing, site: Site, flight: Order, settings: Settings) -> bool:
        """Go on with an order that was found on the disk; return whether it has led to a
        certificate, or else is done with."""
        known_places = plan.directories(settings)
        if set(flight.names) == set(site.names) and flight.directory in known_places:
            client, terms = await self._open(row, settings, flight.directory)
            if usable(flight, site.names, client.identity.url, self._wall()):
                row.say("taking up the order again")
                try:
                    await self._carry_out(row, flight, client, terms, rehearsal=False)
                    return True
                except AuthorityFailed as failed:
                    if failed.kind != "lost":
                        raise
                    # The authority knows nothing of it: it is done with, a new one is placed.
            else:
                await row.work.in_thread("rest", self._accounts.rest, terms, client)
        await take_away(flight, self._challenges, row.work.in_thread, row.work.slowly)
        await row.work.in_thread("forget", self._store.forget_order, site.name)
        row.known = evolve(row.known, in_flight=False)
        return False

    async def _open(
        self, row: Standing, settings: Settings, directory: str
    ) -> tuple[Client, Terms]:
        row.say(f"asking {directory}")
        terms = Terms.of(settings, directory)
        try:
            client = await row.work.in_thread("account", self._accounts.open, directory, terms)
        except AuthorityFailed as failed:
            if failed.kind == "away":
                self._tidings.away(directory, str(failed))
            raise
        self._tidings.answered(directory)
        return client, terms

    async def _carry_out(
        self, row: Standing, order: Order, client: Client, terms: Terms, rehearsal: bool
    ) -> None:
        held = row.known.held
        renewal = held is not None and set(held.names) == set(order.names)

        async def stored(order: Order, made: Credentials) -> None:
            await self._is_stored(row, order, made)

        try:
            await self._ordering.carry_out(
                order,
                client,
                renewal,
                row.say,
                row.work.in_thread,
                row.work.slowly,
                None if rehearsal else stored,
            )
        except BaseException:
            # It may be in the middle of something, in a thread that nobody waits for.
            if not row.work.goes_on:
                client.close()
            raise
        self._accounts.rest(terms, client)

    async def _is_stored(self, row: Standing, order: Order, made: Credentials) -> None:
        wild_alone = all(name.startswith("*.") for name in order.names)
        memory = plan.after_success(
            row.known.memory,
            "" if wild_alone else order.challenge,
            order.directory,
            identity_of(made.chain[0]),
            # Also when the authority does not take it for a successor.
            row.known.memory.window is not None,
        )
        row.known = Known(Held.of(made), memory)
        await row.work.in_thread("remember", self._store.remember, order.site, memory)
        self._log.info(
            "{site}: a new certificate from {directory}, until {end}",
            site=order.site,
            directory=order.directory,
            end=spoken(made.not_after),
        )
        row.tidings.over()
        self._tidings.kept()
        self._told_replaced(row)

    def _told_replaced(self, row: Standing) -> None:
        if self._sites.get(row.site.name) is row:
            try:
                self._replaced(row.site.name)
            except Exception:
                self._log.failure("{site}: telling of its certificate", site=row.site.name)


def _serial(held: Held | None) -> int:
    return 0 if held is None else held.serial
