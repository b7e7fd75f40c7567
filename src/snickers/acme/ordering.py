"""Carries one order out, from wherever it is, until its certificate is stored or it has failed.

What is to be done next says `snickers.acme.order`; here it is done: each question to the
authority and each file in a thread, each wait by the reactor's clock. The order is on the disk
before everything that the authority would count, so that cancelling this, or killing the process,
at any moment loses nothing and repeats nothing. Must never be run twice at once for a site: whoever
runs it holds the site's lock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from attrs import evolve
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from snickers.acme.challenges import Challenges, ProofFailed
from snickers.acme.keys import request_for
from snickers.acme.ledger import Ledger
from snickers.acme.order import Act, Answer, Order, Status, Step, act
from snickers.acme.said import AuthorityFailed, Authorization, Offered, Seen
from snickers.acme.store import NotYet, Store
from snickers.tls.credentials import Credentials, join, read_certificates, read_key

if TYPE_CHECKING:
    from snickers.acme.client import Client

T = TypeVar("T")

AGAIN = (1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds after which a question is asked again that got no answer: an order that was begun is
worth some patience."""
LOOKS = (0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0)
"""Seconds between two looks at an order that the authority works at; the last one holds on."""
LOOK_MOST = 60.0
"""Seconds that an authority may ask for between two looks."""
DECIDED_WITHIN = 300.0
"""Seconds an authority has to decide; the order is taken up later after that."""
PAUSE = 3600.0
"""Seconds for which nothing more is asked of who says "not so often" and not for how long."""


class InThread(Protocol):
    """Runs something that blocks; the first argument says what it is, for tests that interrupt."""

    def __call__(
        self, point: str, function: Callable[..., T], /, *arguments: Any
    ) -> Awaitable[T]: ...


class Limited(AuthorityFailed):
    """The ledger says that an order would be one too many."""

    def __init__(self, words: str, until: float, now: float) -> None:
        super().__init__("limited", words, max(0.0, until - now), whole=False)


class Ordering:
    """Carries orders out. *clock* times waits, *wall* returns epoch seconds."""

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], float],
        store: Store,
        ledger: Ledger,
        challenges: Challenges,
        request: Callable[..., Any] = request_for,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._store = store
        self._ledger = ledger
        self._challenges = challenges
        self._request = request

    async def carry_out(
        self,
        order: Order,
        client: Client,
        renewal: bool,
        say: Callable[[str], None],
        in_thread: InThread,
        slow: InThread,
        stored: Callable[[Order, Credentials], Awaitable[None]] | None,
    ) -> None:
        """Have the certificate of *order* stored, or raise why there is none.

        *renewal*: a certificate for the same names was had before. *say* is told each step in
        words. *slow* runs what may take minutes. *stored* is awaited when the certificate is in its
        place, before the order is forgotten; ``None``: this is a rehearsal, of which nothing is
        kept, neither the order nor what comes of it. Raises `AuthorityFailed`, `ProofFailed`,
        `StoreFailed`, `CertificateUnavailable`.
        """
        await _Course(self, client, renewal, say, in_thread, slow, stored).run(order)

    # What a course needs

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await deferLater(self._clock, seconds)

    def now(self) -> float:
        """Return the epoch seconds."""
        return self._wall()

    def monotonic(self) -> float:
        """Return seconds that nobody sets."""
        return float(self._clock.seconds())


class _Course:
    """One order's course."""

    def __init__(
        self,
        ordering: Ordering,
        client: Client,
        renewal: bool,
        say: Callable[[str], None],
        in_thread: InThread,
        slow: InThread,
        stored: Callable[[Order, Credentials], Awaitable[None]] | None,
    ) -> None:
        self._o = ordering
        self._store = ordering._store
        self._ledger = ordering._ledger
        self._client = client
        self._renewal = renewal
        self._say = say
        self._in_thread = in_thread
        self._slow = slow
        self._stored = stored
        self._rehearsal = stored is None
        self._begun = ordering.monotonic()
        self._looks = 0
        self._proved = False
        self._finalized = False

    async def run(self, order: Order) -> None:
        """Carry *order* out."""
        self._order = order
        seen = Seen(order.url, Status.UNKNOWN)
        while True:
            todo = act(self._order, seen.status)
            if todo is Act.FETCH:
                await self._fetch(seen)
                return
            if todo is Act.GIVE_UP:
                raise await self._given_up(seen)
            try:
                seen = await self._do(todo, seen)
            except (AuthorityFailed, ProofFailed) as failed:
                # Else it waits on the disk for an authority that can be reached.
                waits = isinstance(failed, AuthorityFailed) and failed.kind in ("away", "limited")
                if not waits and self._order.step is Step.OPEN:
                    await self._end(lost=True)
                raise

    async def _do(self, todo: Act, seen: Seen) -> Seen:
        if todo is Act.CREATE:
            return await self._create()
        if todo is Act.SEARCH:
            return await self._search()
        if todo is Act.LOOK:
            return await self._ask("look", self._client.look, self._order.url)
        if todo is Act.PROVE and not self._proved:
            self._proved = True
            await self._prove(seen)
            # What a DNS has taken is not the authority's.
            self._begun = self._o.monotonic()
            return await self._ask("poll", self._client.look, seen.url)
        if todo is Act.FINALIZE:
            return await self._finalize(seen)
        return await self._wait(seen)

    # The acts

    async def _create(self) -> Seen:
        order = self._order
        self._say("ordering")
        if not self._rehearsal:
            refused = await self._in_thread(
                "count",
                self._ledger.order,
                order.directory,
                order.names,
                self._renewal,
                self._o.now(),
                bool(order.replaces),
            )
            if refused is not None:
                raise Limited(refused.words, refused.until, self._o.now())
        await self._keep(evolve(order, step=Step.ASKED))
        return await self._place()

    async def _search(self) -> Seen:
        self._say("looking for the order")
        found = await self._ask("search", self._client.search, self._order.names)
        if found is None:
            return await self._place()
        await self._keep(evolve(self._order, step=Step.OPEN, url=found.url))
        return found

    async def _place(self) -> Seen:
        order = self._order
        try:
            seen = await self._in_thread(
                "order", self._client.create, order.names, order.profile, order.replaces
            )
        except AuthorityFailed as failed:
            if (
                order.replaces
                and failed.kind != "limited"
                and (failed.said or failed.kind != "away")
            ):
                # It may be that somebody else has renewed it, or that this authority has not given
                # or has forgotten it, for which some have no better words than that they have
                # failed: so this is an order like others.
                self._order = evolve(order, replaces="", step=Step.NEW)
                return Seen("", Status.UNKNOWN)
            if failed.kind != "away":
                # There is none, for sure.
                await self._not_placed(failed)
            raise
        await self._keep(evolve(order, step=Step.OPEN, url=seen.url))
        return seen

    async def _not_placed(self, failed: AuthorityFailed) -> None:
        order, now = self._order, self._o.now()
        await self._end(lost=True)
        if failed.kind == "limited" and not self._rehearsal:
            names = () if failed.whole else order.names
            until = now + (PAUSE if failed.retry_after is None else failed.retry_after)
            await self._in_thread("pause", self._ledger.paused, order.directory, names, until, now)

    async def _prove(self, seen: Seen) -> None:
        said: list[str] = []
        todo: list[tuple[Answer, str]] = []
        count, names = len(seen.authorizations), self._order.names
        if count > len(names):
            raise AuthorityFailed(
                "refused", f"{self._order.directory} wants {count} proofs for {len(names)} names"
            )
        for url in seen.authorizations:
            wanted = await self._ask("authorization", self._client.authorization, url)
            if wanted.status != "pending":
                continue
            if not self._is_ours(wanted):
                raise AuthorityFailed(
                    "refused",
                    f"{self._order.directory} wants {wanted.name[:100]!r} to be proven, which was "
                    "not asked for",
                )
            offered = self._choose(wanted)
            proof = self._client.identity.proof(offered.token)
            answer = Answer(offered.challenge, wanted.name, offered.token, proof)
            todo.append((answer, offered.url if offered.status == "pending" else ""))
            said.append(offered.challenge)
        self._say(f"proving by {' and '.join(dict.fromkeys(said)) or 'what was proven before'}")
        answers = tuple(dict.fromkeys((*self._order.answers, *(answer for answer, _ in todo))))
        if answers != self._order.answers:
            await self._keep(evolve(self._order, answers=answers))
        for answer, _ in todo:
            run = self._slow if answer.challenge == "dns-01" else self._in_thread
            await run("answer", self._o._challenges.put, answer, self._o.now())
        for _, url in todo:
            if url:
                await self._have_looked_at(url)

    def _is_ours(self, wanted: Authorization) -> bool:
        """Whether it is for a name that was ordered."""
        names = self._order.names
        return wanted.name in names or f"*.{wanted.name}" in names

    async def _have_looked_at(self, url: str) -> None:
        try:
            await self._ask("challenge", self._client.answer, url)
        except AuthorityFailed as failed:
            # One that was told before a restart may have been decided meanwhile.
            if failed.kind != "refused":
                raise

    def _choose(self, wanted: Authorization) -> Offered:
        challenge = "dns-01" if wanted.wildcard else self._order.challenge
        for offered in wanted.offered:
            if offered.challenge == challenge:
                return offered
        raise AuthorityFailed(
            "proof", f"{self._order.directory} does not offer {challenge} for {wanted.name}"
        )

    async def _finalize(self, seen: Seen) -> Seen:
        self._say("waiting for the certificate")
        if self._finalized:
            # It was handed in before, and has led to nothing yet.
            await self._linger(seen)
        self._finalized = True
        request = self._o._request(self._order.key, self._order.names)
        try:
            return await self._in_thread("finalize", self._client.finalize, seen, request)
        except AuthorityFailed as failed:
            if failed.kind == "away":
                # It may have come through: see, and do it again only if not.
                await self._pause(failed)
                return Seen(seen.url, Status.UNKNOWN)
            raise

    async def _wait(self, seen: Seen) -> Seen:
        await self._linger(seen)
        return await self._ask("poll", self._client.look, seen.url)

    async def _linger(self, seen: Seen) -> None:
        """Give the authority time, up to `DECIDED_WITHIN` in all."""
        pause = LOOKS[min(self._looks, len(LOOKS) - 1)]
        self._looks += 1
        if seen.retry_after is not None:
            pause = min(max(pause, seen.retry_after), LOOK_MOST)
        if self._o.monotonic() - self._begun > DECIDED_WITHIN:
            raise AuthorityFailed(
                "away", f"{self._order.directory} has not decided within {DECIDED_WITHIN:.0f} s"
            )
        await self._o.sleep(pause)

    async def _fetch(self, seen: Seen) -> None:
        self._say("fetching the certificate")
        order = self._order
        chain = await self._ask("fetch", self._client.fetch, seen.certificate)
        if self._stored is None:
            await self._in_thread("look at", self._looked_at, chain)
        else:
            made = await self._store_it(order, chain)
            await self._stored(order, made)
        await self._end(lost=False)

    async def _store_it(self, order: Order, chain: bytes) -> Credentials:
        while True:
            try:
                return await self._in_thread(
                    "store", self._store.keep_certificate, order, chain, self._o.now()
                )
            except NotYet as failed:
                if failed.seconds > LOOK_MOST:
                    raise
                # Clocks differ by seconds, and not all authorities date certificates back.
                await self._o.sleep(failed.seconds)

    def _looked_at(self, chain: bytes) -> Credentials:
        key, words = self._order.key.encode(), "a rehearsal"
        return join(read_key(key, words), read_certificates(chain, words), words)

    async def _given_up(self, seen: Seen) -> AuthorityFailed:
        """Return why the order has failed, which is forgotten."""
        words = [seen.words] if seen.words else []
        proof = False
        for url in seen.authorizations[: len(self._order.names)]:
            found = await self._ask("authorization", self._client.authorization, url)
            if found.status != "invalid" or not self._is_ours(found):
                continue
            proof = True
            said = "; ".join(one.words for one in found.offered if one.words)
            challenge = "dns-01" if found.wildcard else self._order.challenge
            words.append(f"{found.name} is not proven by {challenge}: {said or 'not said why'}")
            if not self._rehearsal:
                await self._in_thread(
                    "count failure",
                    self._ledger.failed,
                    self._order.directory,
                    found.name,
                    self._o.now(),
                )
        await self._end(lost=True)
        told = "; ".join(dict.fromkeys(words)) or "the order has failed, and it is not said why"
        return AuthorityFailed("proof" if proof else "refused", told)

    # Around them

    async def _end(self, lost: bool) -> None:
        order = self._order
        if lost and not self._rehearsal and not order.replaces:
            await self._in_thread(
                "count loss", self._ledger.lost, order.directory, order.names, self._o.now()
            )
        await take_away(order, self._o._challenges, self._in_thread, self._slow)
        if not self._rehearsal:
            await self._in_thread("forget", self._store.forget_order, order.site)

    async def _keep(self, order: Order) -> None:
        if not self._rehearsal:
            await self._in_thread("keep", self._store.keep_order, order)
        self._order = order

    async def _ask(self, point: str, question: Callable[..., T], *arguments: Any) -> T:
        """Ask what may be asked twice, again where there is no answer."""
        for pause in (*AGAIN, None):
            try:
                return await self._in_thread(point, question, *arguments)
            except AuthorityFailed as failed:
                if pause is None or failed.kind not in ("away", "limited"):
                    raise
                await self._pause(failed, pause)
        raise AssertionError

    async def _pause(self, failed: AuthorityFailed, pause: float = 1.0) -> None:
        self._say(f"asking again: {failed}")
        await self._o.sleep(min(max(pause, failed.retry_after or 0.0), LOOK_MOST))


async def take_away(
    order: Order, challenges: Challenges, in_thread: InThread, slow: InThread
) -> None:
    """Take the answers of *order* away; what the DNS does not let go of harms nobody."""
    for answer in order.answers:
        if answer.challenge == "dns-01":
            try:
                await slow("take away", challenges.take_away, answer)
            except ProofFailed:
                continue
        else:
            await in_thread("take away", challenges.take_away, answer)
