"""A certificate authority in memory, for what is ordered from it: signs at once, by a root of its
own, whatever is told to it, and fails as it is told to."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred, maybeDeferred

from snickers.acme.client import Identity
from snickers.acme.order import Status
from snickers.acme.said import AuthorityFailed, Authorization, Offered, Seen, Suggested

T = TypeVar("T")

CHALLENGES = ("http-01", "tls-alpn-01", "dns-01")
LIFE = 90 * 86400.0


class AtOnce:
    """Runs what blocks at once, here; with *hold* it waits for `release`."""

    def __init__(self) -> None:
        self.running = False
        self.hold = False
        self.held: list[Callable[[], object]] = []

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Fire with what *function* returns."""
        if not self.hold:
            return maybeDeferred(function)
        done: Deferred[T] = Deferred()
        self.held.append(lambda: maybeDeferred(function).chainDeferred(done))
        return done

    def release(self) -> None:
        """Run what was held, and what that leads to."""
        self.hold = False
        held, self.held = self.held, []
        for one in held:
            one()


class Authority:
    """One authority, at *directory*; *wall* returns epoch seconds."""

    def __init__(self, directory: str, wall: Callable[[], float], life: float = LIFE) -> None:
        self.directory = directory
        self.wall = wall
        self.life = life
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority in memory")])
        self.orders: list[dict[str, Any]] = []
        self.asked: Counter[str] = Counter()
        self.trouble: dict[str, list[AuthorityFailed]] = {}
        """What the next questions of a kind fail with."""
        self.unproven: set[str] = set()
        """Challenges by which nothing is proven."""
        self.deciding = 0
        """How often an order is looked at until it is decided."""
        self.window: Suggested | None = None
        self.listing = True
        self.chain: Callable[[bytes], bytes] = lambda pem: pem

    def open(self, directory: str, identity: Identity) -> Client:
        """A conversation."""
        return Client(self, identity)

    def ask(self, what: str) -> None:
        """Count a question, which may fail."""
        self.asked[what] += 1
        trouble = self.trouble.get(what)
        if trouble:
            raise trouble.pop(0)

    def sign(self, key: Any, names: Sequence[str]) -> bytes:
        """A certificate."""
        begin = datetime.datetime.fromtimestamp(self.wall(), datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + datetime.timedelta(seconds=self.life))
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)


class Client:
    """A conversation with an `Authority`."""

    def __init__(self, authority: Authority, identity: Identity) -> None:
        self.authority = authority
        self.directory = authority.directory
        self.identity = identity
        self.identities = ("ca.example",)
        self.closed = False
        authority.ask("directory")

    def close(self) -> None:
        self.closed = True

    def register(self, email: str, external: tuple[str, str] | None) -> str:
        self.authority.ask("register")
        url = f"{self.directory}/account/{self.authority.asked['register']}"
        self.identity = Identity(self.identity.key, url)
        return url

    def change_email(self, email: str) -> None:
        self.authority.ask("email")

    def _order(self, url: str) -> dict[str, Any]:
        return self.authority.orders[int(url.rpartition("/")[2])]

    def create(self, names: Sequence[str], profile: str, replaces: str) -> Seen:
        self.authority.ask("create")
        self.authority.orders.append(
            {
                "names": tuple(names),
                "profile": profile,
                "replaces": replaces,
                "status": "pending",
                "told": {},
                "looks": 0,
                "account": self.identity.url,
            }
        )
        return self._seen(f"{self.directory}/order/{len(self.authority.orders) - 1}")

    def search(self, names: Sequence[str]) -> Seen | None:
        self.authority.ask("search")
        for index, order in enumerate(self.authority.orders):
            fits = set(order["names"]) == set(names) and order["status"] in ("pending", "ready")
            if fits and self.authority.listing:
                return self._seen(f"{self.directory}/order/{index}")
        return None

    def look(self, url: str) -> Seen:
        self.authority.ask("look")
        order = self._order(url)
        told = order["told"]
        if order["status"] == "pending" and len(told) == len(order["names"]):
            order["looks"] += 1
            if order["looks"] > self.authority.deciding:
                bad = any(how in self.authority.unproven for how in told.values())
                order["status"] = "invalid" if bad else "ready"
        return self._seen(url)

    def _seen(self, url: str) -> Seen:
        order = self._order(url)
        return Seen(
            url,
            Status(order["status"]),
            tuple(f"{url}/{index}/authorization" for index in range(len(order["names"]))),
            f"{url}/finalize",
            f"{url}/certificate" if order["status"] == "valid" else "",
        )

    def _part(self, url: str) -> tuple[dict[str, Any], str]:
        _, _, rest = url.partition("/order/")
        number, index, *_ = rest.split("/")
        order = self.authority.orders[int(number)]
        return order, order["names"][int(index)]

    def authorization(self, url: str) -> Authorization:
        self.authority.ask("authorization")
        order, name = self._part(url)
        how = order["told"].get(name)
        status = "pending"
        if how and order["status"] != "pending":
            status = "invalid" if how in self.authority.unproven else "valid"
        base = url.removesuffix("/authorization")
        return Authorization(
            url,
            name.removeprefix("*."),
            name.startswith("*."),
            status,
            tuple(
                Offered(
                    kind,
                    f"{base}/{kind}",
                    f"token-{name.removeprefix('*.').replace('.', '-')}",
                    "pending" if how is None else status,
                    "nobody answered" if status == "invalid" and kind == how else "",
                )
                for kind in CHALLENGES
            ),
        )

    def answer(self, url: str) -> None:
        self.authority.ask("answer")
        order, name = self._part(url)
        order["told"][name] = url.rpartition("/")[2]

    def finalize(self, seen: Seen, request: x509.CertificateSigningRequest) -> Seen:
        self.authority.ask("finalize")
        order = self._order(seen.url)
        order["status"] = "valid"
        order["chain"] = self.authority.sign(request.public_key(), order["names"])
        return self._seen(seen.url)

    def fetch(self, url: str) -> bytes:
        self.authority.ask("fetch")
        return self.authority.chain(self._order(url.removesuffix("/certificate"))["chain"])

    def suggested(self, identity: str) -> Suggested | None:
        self.authority.ask("suggested")
        return self.authority.window
